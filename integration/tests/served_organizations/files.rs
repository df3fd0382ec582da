//! Files that change, are swapped, break and disappear.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use integration::served::{Resources, Served};
use serde_json::Value;

use crate::{block_on, resource};

integration::trials![
    a_change_is_served_under_a_higher_mark,
    a_mount_that_is_swapped_is_never_seen_by_halves,
    a_resource_that_does_not_convert_blocks_no_other,
    what_is_being_deleted_grants_nothing,
    a_file_that_cannot_be_read_takes_nothing_away,
    with_a_revision_replicas_say_the_same_byte_for_byte,
    a_change_without_a_higher_revision_is_held_back,
    a_comment_is_no_change,
    a_document_that_no_gate_takes_is_not_served,
    what_is_no_organization_is_told_of,
];

async fn start(resources: &Resources, more: &[&str]) -> Result<Served> {
    let folder = resources.path().display().to_string();
    let arguments = [&["--files", &folder, "--insecure-http"], more].concat();
    Served::start(&arguments).await
}

fn a_change_is_served_under_a_higher_mark() -> Result<()> {
    block_on(async {
        let resources = Resources::new()?;
        resources.write("a.yaml", &resource("a", "x"))?;
        // Neither of these is read.
        resources.write("b.txt", &resource("b", "x"))?;
        resources.write(".c.yaml", &resource("c", "x"))?;
        let served = start(&resources, &[]).await?;
        let first = served.until("a list", |_| true).await?;
        ensure!(first.names() == ["a"], "{first:?}");
        resources.write("b.yml", &resource("b", "x"))?;
        let second = served
            .until("b", |document| document.names() == ["a", "b"])
            .await?;
        ensure!(second.mark() > first.mark());
        fs::remove_file(resources.file("a.yaml"))?;
        let third = served
            .until("no a", |document| document.names() == ["b"])
            .await?;
        ensure!(third.mark() > second.mark());
        // Back to what was there before: another document all the same.
        resources.write("a.yaml", &resource("a", "x"))?;
        let fourth = served
            .until("a again", |document| document.names() == ["a", "b"])
            .await?;
        ensure!(fourth.mark() > third.mark() && fourth.tag != second.tag);
        Ok(())
    })
}

/// As kubelet mounts a ConfigMap: files are links into `..data`, which is a link that is replaced.
fn a_mount_that_is_swapped_is_never_seen_by_halves() -> Result<()> {
    block_on(async {
        let resources = Resources::new()?;
        let put = |round: usize| -> Result<()> {
            let folder = resources.file(&format!("..{round}"));
            fs::create_dir(&folder)?;
            for name in ["a", "b", "c"] {
                let group = format!("round-{round}");
                fs::write(folder.join(format!("{name}.yaml")), resource(name, &group))?;
            }
            symlink(format!("..{round}"), resources.file("..data_tmp"))?;
            fs::rename(resources.file("..data_tmp"), resources.file("..data"))?;
            Ok(())
        };
        put(0)?;
        for name in ["a.yaml", "b.yaml", "c.yaml"] {
            symlink(format!("..data/{name}"), resources.file(name))?;
        }
        let served = start(&resources, &[]).await?;
        served.until("a list", |_| true).await?;
        let mut seen = Vec::new();
        for round in 1..=20 {
            put(round)?;
            fs::remove_dir_all(resources.file(&format!("..{}", round - 1)))?;
            let wanted = format!("round-{round}");
            let pause = Duration::from_millis(40 + 13 * (round as u64 % 5));
            tokio::time::sleep(pause).await;
            let document = served.document().await?;
            let groups: Vec<_> = document.organizations.iter().map(group).collect();
            ensure!(groups.len() == 3, "{}", document.text);
            ensure!(
                groups.iter().all(|it| *it == groups[0]),
                "{}",
                document.text
            );
            seen.push(groups[0].clone());
            if round == 20 {
                let is_last = |organization: &serde_json::Value| group(organization) == wanted;
                served
                    .until("the last", |it| it.organizations.iter().all(is_last))
                    .await?;
            }
        }
        seen.dedup();
        ensure!(seen.len() > 5, "hardly a swap was seen: {seen:?}");
        Ok(())
    })
}

fn group(organization: &serde_json::Value) -> String {
    let group = organization["rbac"]["viewers"][0].as_str();
    group.unwrap_or_default().to_owned()
}

fn a_resource_that_does_not_convert_blocks_no_other() -> Result<()> {
    block_on(async {
        let resources = Resources::new()?;
        let good = resource("a", "x") + &resource("b", "x");
        resources.write("a.yaml", &good)?;
        let served = start(&resources, &[]).await?;
        served
            .until("both", |document| document.names() == ["a", "b"])
            .await?;
        let bad = resource("b", "x").replace(
            "\"tenants\":[{\"name\":\"b\"",
            "\"tenants\":[{\"name\":\"b b\"",
        );
        resources.write(
            "a.yaml",
            &(bad.clone() + &resource("a", "y") + &resource("c", "x")),
        )?;
        let document = served
            .until("a and c", |document| document.names() == ["a", "c"])
            .await?;
        ensure!(document.text.contains("\"y\""), "{}", document.text);
        served.until_metric("dropped", 1).await?;
        let told = served.events("resource dropped");
        ensure!(told.len() == 1 && told[0]["name"] == "b", "{told:?}");
        let why = told[0]["problems"].as_str().unwrap_or_default();
        ensure!(
            why.starts_with("spec.tenants[0].name: \"b b\" is no tenant ID"),
            "{why}"
        );
        // It is not told again as long as nothing new is wrong with it.
        resources.write("a.yaml", &(bad + &resource("a", "z")))?;
        served
            .until("z", |document| document.text.contains("\"z\""))
            .await?;
        ensure!(served.events("resource dropped").len() == 1);
        resources.write("a.yaml", &good)?;
        served
            .until("both", |document| document.names() == ["a", "b"])
            .await?;
        served.until_metric("dropped", 0).await
    })
}

fn what_is_being_deleted_grants_nothing() -> Result<()> {
    block_on(async {
        let resources = Resources::new()?;
        let going = resource("b", "x").replace(
            "\"metadata\":{",
            "\"metadata\":{\"deletionTimestamp\":\"2026-11-26T00:00:00Z\",",
        );
        resources.write("a.yaml", &(resource("a", "x") + &going))?;
        let served = start(&resources, &[]).await?;
        let document = served.until("a list", |_| true).await?;
        ensure!(document.names() == ["a"], "{document:?}");
        served.until_metric("dropped", 0).await
    })
}

fn a_file_that_cannot_be_read_takes_nothing_away() -> Result<()> {
    block_on(async {
        let resources = Resources::new()?;
        resources.write("a.yaml", &resource("a", "x"))?;
        resources.write("b.yaml", &resource("b", "x"))?;
        let served = start(&resources, &[]).await?;
        let first = served.until("a list", |_| true).await?;
        resources.write("b.yaml", "spec: [\n")?;
        served.until_metric("held", 1).await?;
        ensure!(served.document().await?.text == first.text);
        ensure!(served.health("/readyz").await?.status == 200);
        let told = served.events("files cannot be used: the last list is held");
        ensure!(told.len() == 1, "{told:?}");
        let why = told[0]["why"].as_str().unwrap_or_default();
        ensure!(why.contains("b.yaml, document 1: "), "{why}");
        // Not a single resource: so does a mount look that has gone.
        fs::remove_file(resources.file("a.yaml"))?;
        fs::remove_file(resources.file("b.yaml"))?;
        tokio::time::sleep(Duration::from_millis(200)).await;
        ensure!(served.document().await?.text == first.text);
        ensure!(served.metric("held").await? == 1);
        ensure!(served.metric("source_errors_total").await? > 1);
        resources.write("b.yaml", &resource("b", "x"))?;
        served
            .until("b alone", |document| document.names() == ["b"])
            .await?;
        served.until_metric("held", 0).await
    })
}

fn with_a_revision_replicas_say_the_same_byte_for_byte() -> Result<()> {
    block_on(async {
        let resources = Resources::new()?;
        resources.write("a.yaml", &resource("a", "x"))?;
        resources.write("revision", "41\n")?;
        let revision = resources.text("revision");
        let more = ["--revision-file", &revision];
        let one = start(&resources, &more).await?;
        let first = one.until("a list", |_| true).await?;
        ensure!(first.mark() == (1, 41), "{first:?}");
        let two = start(&resources, &more).await?;
        let other = two.until("a list", |_| true).await?;
        ensure!(first.text == other.text && first.tag == other.tag);
        resources.write("a.yaml", &resource("a", "y"))?;
        resources.write("revision", "42")?;
        let first = one.until("42", |document| document.revision == 42).await?;
        let other = two.until("42", |document| document.revision == 42).await?;
        ensure!(first.text == other.text && first.tag == other.tag);
        ensure!(first.text.contains("\"y\""));
        Ok(())
    })
}

fn a_change_without_a_higher_revision_is_held_back() -> Result<()> {
    block_on(async {
        let resources = Resources::new()?;
        resources.write("a.yaml", &resource("a", "x"))?;
        resources.write("revision", "41")?;
        let revision = resources.text("revision");
        let served = start(&resources, &["--revision-file", &revision]).await?;
        let first = served.until("a list", |_| true).await?;
        resources.write("a.yaml", &resource("a", "y"))?;
        served.until_metric("refused_documents_total", 1).await?;
        ensure!(served.document().await?.text == first.text);
        ensure!(served.metric("held").await? == 1);
        resources.write("revision", "40")?;
        served.until_metric("refused_documents_total", 2).await?;
        ensure!(served.document().await?.text == first.text);
        resources.write("revision", "forty-two")?;
        tokio::time::sleep(Duration::from_millis(200)).await;
        ensure!(served.document().await?.text == first.text);
        resources.write("revision", "42")?;
        let second = served
            .until("42", |document| document.revision == 42)
            .await?;
        ensure!(second.text.contains("\"y\""), "{}", second.text);
        served.until_metric("held", 0).await
    })
}

fn a_comment_is_no_change() -> Result<()> {
    block_on(async {
        let resources = Resources::new()?;
        resources.write("a.yaml", &resource("a", "x"))?;
        let served = start(&resources, &[]).await?;
        let first = served.until("a list", |_| true).await?;
        resources.write("a.yaml", &format!("# Mine.\n{}", resource("a", "x")))?;
        tokio::time::sleep(Duration::from_millis(250)).await;
        ensure!(served.document().await?.text == first.text);
        Ok(())
    })
}

fn a_document_that_no_gate_takes_is_not_served() -> Result<()> {
    block_on(async {
        let resources = Resources::new()?;
        resources.write("a.yaml", &resource("a", "x"))?;
        let served = start(&resources, &[]).await?;
        let first = served.until("a list", |_| true).await?;
        let long = "g".repeat(9_000_000);
        resources.write("b.yaml", &resource("b", &long))?;
        served.until_metric("dropped", 1).await?;
        ensure!(served.document().await?.text == first.text);
        // Each alone would do; together they are too long.
        let half = "g".repeat(5_000_000);
        resources.write("b.yaml", &(resource("b", &half) + &resource("c", &half)))?;
        served.until_metric("refused_documents_total", 1).await?;
        ensure!(served.document().await?.text == first.text);
        ensure!(served.metric("held").await? == 1);
        Ok(())
    })
}

fn what_is_no_organization_is_told_of() -> Result<()> {
    block_on(async {
        let resources = Resources::new()?;
        let configuration = "organizations:\n- name: b\n  tenants: [b]\n";
        resources.write("b.yaml", configuration)?;
        let served = start(&resources, &[]).await?;
        let told = async |wanted: &[(&str, &str)]| -> Result<()> {
            let deadline = Instant::now() + Duration::from_secs(10);
            loop {
                let events = served.events("documents passed over");
                let text = |event: &Value, field: &str| {
                    event[field].as_str().unwrap_or_default().to_owned()
                };
                let is = |(event, (file, count)): (&Value, &(&str, &str))| {
                    text(event, "file").ends_with(file) && text(event, "documents") == *count
                };
                if events.len() == wanted.len() && events.iter().zip(wanted).all(is) {
                    return Ok(());
                }
                ensure!(Instant::now() < deadline, "{events:?}");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        // Once, though the list is held and looked at again and again.
        told(&[("/b.yaml", "1")]).await?;
        served.until_metric("held", 1).await?;
        tokio::time::sleep(Duration::from_millis(300)).await;
        told(&[("/b.yaml", "1")]).await?;
        resources.write("a.yaml", &(resource("a", "x") + "kind: ConfigMap\n"))?;
        served
            .until("a", |document| document.names() == ["a"])
            .await?;
        told(&[("/b.yaml", "1"), ("/a.yaml", "1")]).await?;
        resources.write("b.yaml", &format!("{configuration}---\n{configuration}"))?;
        told(&[("/b.yaml", "1"), ("/a.yaml", "1"), ("/b.yaml", "2")]).await
    })
}
