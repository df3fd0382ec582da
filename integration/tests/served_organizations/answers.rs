//! The answers that different callers get.

use anyhow::{Context, Result, ensure};
use integration::client::RawRequest;
use integration::served::{PATH, Resources, Served};
use scopegate::config::{Config, Environment};
use serde_json::{Value, json};

use crate::{block_on, resource};

integration::trials![
    before_the_first_list_there_is_503_and_not_ready,
    the_document_is_what_a_configuration_has,
    head_is_get_without_the_body,
    other_methods_and_paths_are_refused,
    whoever_has_the_document_gets_304,
    a_newer_document_with_the_same_organizations_is_not_sent_for_an_older_one,
    http_2_is_spoken_too,
    health_is_told_and_counted,
];

fn before_the_first_list_there_is_503_and_not_ready() -> Result<()> {
    block_on(async {
        let resources = Resources::new()?;
        let folder = resources.path().display().to_string();
        let served = Served::start(&["--files", &folder, "--insecure-http"]).await?;
        let reply = served.get().await?;
        ensure!(reply.status == 503, "{}", reply.status);
        ensure!(reply.header("retry-after").as_deref() == Some("5"));
        ensure!(served.health("/readyz").await?.status == 503);
        ensure!(served.health("/livez").await?.status == 200);
        resources.write("a.yaml", &resource("acme", "viewers"))?;
        served.until("a list", |_| true).await?;
        ensure!(served.health("/readyz").await?.status == 200);
        Ok(())
    })
}

fn the_document_is_what_a_configuration_has() -> Result<()> {
    block_on(async {
        let resources = Resources::new()?;
        resources.write("a.yaml", &(resource("b", "x") + &resource("a", "y")))?;
        let folder = resources.path().display().to_string();
        let writers = ["--writers", "client:{name}", "--epoch", "7"];
        let arguments = [&["--files", &folder, "--insecure-http"][..], &writers].concat();
        let served = Served::start(&arguments).await?;
        let document = served.until("a list", |_| true).await?;
        let revision = document.revision;
        let wanted = format!(
            "{{\"version\":1,\"epoch\":7,\"revision\":{revision},\"organizations\":[\
             {{\"name\":\"a\",\"display_name\":\"a\",\"tenants\":[\"a\"],\
             \"rbac\":{{\"viewers\":[\"y\"],\"writers\":[\"client:a\"]}}}},\
             {{\"name\":\"b\",\"display_name\":\"b\",\"tenants\":[\"b\"],\
             \"rbac\":{{\"viewers\":[\"x\"],\"writers\":[\"client:b\"]}}}}]}}\n"
        );
        ensure!(document.text == wanted, "{}", document.text);
        ensure!(revision < 1 << 53);
        let reference = include_str!("../../../envoy/scopegate.yaml");
        let mut configuration: Value = serde_yaml_ng::from_str(reference)?;
        configuration["organizations"] = json!(document.organizations);
        let read = Config::parse(
            configuration.to_string().as_bytes(),
            &Environment::default(),
        );
        ensure!(read.is_ok(), "{read:?}");
        let reply = served.get().await?;
        ensure!(reply.header("content-type").as_deref() == Some("application/json"));
        ensure!(reply.header("cache-control").as_deref() == Some("no-cache"));
        Ok(())
    })
}

/// A server with one organization.
async fn one() -> Result<(Resources, Served)> {
    let resources = Resources::new()?;
    resources.write("a.yaml", &resource("acme", "viewers"))?;
    let file = resources.text("a.yaml");
    let served = Served::start(&["--files", &file, "--insecure-http"]).await?;
    served.until("a list", |_| true).await?;
    Ok((resources, served))
}

fn head_is_get_without_the_body() -> Result<()> {
    block_on(async {
        let (_resources, served) = one().await?;
        let get = served.get().await?;
        let head = served.ask(RawRequest::new("HEAD", PATH)).await?;
        ensure!(head.status == 200 && head.body.is_empty(), "{head:?}");
        for name in ["content-length", "content-type", "etag", "cache-control"] {
            ensure!(head.header(name) == get.header(name), "{name}: {head:?}");
        }
        ensure!(head.header("content-length") == Some(get.body.len().to_string()));
        Ok(())
    })
}

fn other_methods_and_paths_are_refused() -> Result<()> {
    block_on(async {
        let (_resources, served) = one().await?;
        for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"] {
            let reply = served.ask(RawRequest::new(method, PATH)).await?;
            ensure!(reply.status == 405, "{method}: {}", reply.status);
            ensure!(reply.header("allow").as_deref() == Some("GET, HEAD"));
        }
        for path in [
            "/",
            "/organizations/",
            "/Organizations",
            "/metrics",
            "/livez",
        ] {
            let reply = served.ask(RawRequest::get(path)).await?;
            ensure!(reply.status == 404, "{path}: {}", reply.status);
        }
        Ok(())
    })
}

async fn status_with(served: &Served, tag: &str) -> Result<u16> {
    let request = RawRequest::get(PATH).header("if-none-match", tag);
    Ok(served.ask(request).await?.status)
}

fn whoever_has_the_document_gets_304() -> Result<()> {
    block_on(async {
        let (resources, served) = one().await?;
        let first = served.document().await?;
        ensure!(first.tag.starts_with('"'), "a strong tag: {}", first.tag);
        let tag = &first.tag;
        let request = RawRequest::get(PATH).header("if-none-match", tag.as_str());
        let reply = served.ask(request).await?;
        ensure!(reply.status == 304 && reply.body.is_empty(), "{reply:?}");
        ensure!(reply.header("etag").as_ref() == Some(tag));
        for same in [format!("W/{tag}"), format!("\"x\", {tag}"), "*".to_owned()] {
            ensure!(status_with(&served, &same).await? == 304, "{same}");
        }
        for other in ["\"x\"", "x", "", "W/\"\"", tag.trim_matches('"')] {
            ensure!(status_with(&served, other).await? == 200, "{other}");
        }
        resources.write("a.yaml", &resource("acme", "others"))?;
        let second = served
            .until("another", |document| document.tag != *tag)
            .await?;
        ensure!(second.mark() > first.mark());
        ensure!(status_with(&served, tag).await? == 200);
        Ok(())
    })
}

/// Replicas of which one was started later know the same under different marks.
fn a_newer_document_with_the_same_organizations_is_not_sent_for_an_older_one() -> Result<()> {
    block_on(async {
        let (_resources, served) = one().await?;
        let document = served.document().await?;
        let mark = format!("\"{}.{}.", document.epoch, document.revision);
        let hash = document.tag.strip_prefix(&mark).unwrap_or_default();
        ensure!(!hash.is_empty(), "{}", document.tag);
        let (epoch, revision) = document.mark();
        let tag = |epoch, revision| format!("\"{epoch}.{revision}.{hash}");
        for newer in [tag(epoch, revision + 1), tag(epoch + 1, 0)] {
            let request = RawRequest::get(PATH).header("if-none-match", newer.as_str());
            let reply = served.ask(request).await?;
            ensure!(reply.status == 304, "{newer}");
            // What the caller has stays what it has.
            ensure!(reply.header("etag").as_ref() == Some(&newer), "{reply:?}");
        }
        for older in [tag(epoch, revision - 1), tag(epoch - 1, revision + 1)] {
            ensure!(status_with(&served, &older).await? == 200, "{older}");
        }
        Ok(())
    })
}

fn http_2_is_spoken_too() -> Result<()> {
    block_on(async {
        let (_resources, served) = one().await?;
        let protocol = integration::client::Protocol::H2;
        let reply = RawRequest::get(PATH)
            .send(served.target(), protocol)
            .await?;
        ensure!(reply.status == 200);
        ensure!(reply.body == served.get().await?.body);
        Ok(())
    })
}

fn health_is_told_and_counted() -> Result<()> {
    block_on(async {
        let (_resources, served) = one().await?;
        let document = served.document().await?;
        ensure!(served.metric("ready").await? == 1);
        ensure!(served.metric("served").await? == 1);
        ensure!(served.metric("epoch").await? == 1);
        ensure!(served.metric("revision").await? == document.revision);
        ensure!(served.metric("document_bytes").await? == document.text.len() as u64);
        ensure!(served.metric("dropped").await? == 0);
        ensure!(served.metric("held").await? == 0);
        let before = served.metric("requests_total{code=\"405\"}").await?;
        served.ask(RawRequest::post(PATH, "")).await?;
        let after = served.metric("requests_total{code=\"405\"}").await?;
        ensure!(after == before + 1);
        // Every name is described, here and on the page, and is what it says.
        let page = include_str!("../../../docs/organizations.md");
        let text = String::from_utf8(served.health("/metrics").await?.body)?;
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let name = line.split(['{', ' ']).next().unwrap_or_default();
            ensure!(text.contains(&format!("# HELP {name} ")), "{name}");
            let short = name.trim_start_matches("scopegate_organizations_");
            ensure!(page.contains(&format!("`{short}")), "{name}");
            let kind = if name.ends_with("_total") {
                "counter"
            } else {
                "gauge"
            };
            ensure!(text.contains(&format!("# TYPE {name} {kind}")), "{name}");
        }
        // And alerts are on what there is.
        let rules = include_str!("../../../envoy/monitoring/serve-organizations.yaml");
        let watched = rules.split("scopegate_organizations_").skip(1);
        for rest in watched {
            let end = rest.find(|c: char| c != '_' && !c.is_ascii_alphanumeric());
            let name = &rest[..end.unwrap_or(rest.len())];
            served.metric(name).await.context("is watched")?;
        }
        let other = served.health("/organizations").await?;
        ensure!(other.status == 404, "{}", other.status);
        Ok(())
    })
}
