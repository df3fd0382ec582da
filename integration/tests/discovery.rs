//! The gate's configuration in the file from which the shipped bootstrap reads it: what happens to requests while it
//! is replaced, who may replace it and with what, and what clients are told if there is none.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use integration::client::{Protocol, RawRequest};
use integration::drill;
use integration::envoy::bootstrap::{self, Bootstrap};
use integration::envoy::{Envoy, Update};
use integration::grpc::{EXPORT_LOGS, ExportRequest, ExportResponse, GrpcClient};
use integration::issuer::Issuer;
use integration::load::Load;
use integration::scene::Scene;
use integration::upstream::Behaviour;
use integration::{paths, process, yaml};
use serde_json::{Value, json};
use tonic::Code;

/// Readers of `acme` may read `globex` too, or not.
fn configuration(both: bool) -> Value {
    let mut configuration = drill::configuration();
    if both {
        configuration["organizations"][1]["rbac"]["viewers"] =
            json!(["globex-viewers", "acme-viewers"]);
    }
    configuration
}

/// The status of a read of `globex` by a reader of `acme`.
async fn globex(envoy: &Envoy) -> Result<u16> {
    let request = drill::read(&drill::token_of("reader")?, "globex");
    Ok(drill::send(envoy, &request).await?.status)
}

/// Waits until the workers have the configuration that the main thread has accepted.
async fn until_globex_says(envoy: &Envoy, status: u16) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let requests = || Ok(drill::read(&drill::token_of("reader")?, "globex"));
        let replies = drill::ask_every_worker(envoy, requests).await?;
        if replies.iter().all(|reply| reply.status == status) {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "not {status} everywhere");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_changes_under_load_lose_no_request() -> Result<()> {
    let scene = drill::scene(configuration(false)).await?;
    let envoy = &scene.envoy;
    drill::warm(envoy).await?;
    until_globex_says(envoy, 403).await?;
    let tokens = Arc::new(|| drill::token_of("reader"));
    let load = Load::start(envoy.address(), 200, 4, tokens);
    let mut memory = 0;
    for change in 1..=CHANGES {
        let update = envoy
            .replace_configuration(&configuration(change % 2 == 1))
            .await?;
        ensure!(update == Update::Accepted, "{change}: {update:?}");
        if change % 250 == 0 {
            until_globex_says(envoy, 403).await?;
        }
        if change == CHANGES / 2 {
            memory = process::resident(envoy.id())?;
        }
    }
    let grown = process::resident(envoy.id())?.saturating_sub(memory);
    let update = envoy.replace_configuration(&configuration(true)).await?;
    ensure!(update == Update::Accepted, "{update:?}");
    until_globex_says(envoy, 200).await?;
    let outcome = load.stop().await;
    println!("{CHANGES} changes, {outcome:?}, {grown} bytes in the second half");
    ensure!(outcome.failed() == 0, "{outcome:?}");
    ensure!(outcome.requests > 100, "{outcome:?}");
    ensure!(grown < MOST_GROWN, "grew by {grown} bytes");
    let fetches = scene.corporate.fetches().jwks;
    ensure!(fetches == 1, "{fetches} fetches of keys that were there");
    drill::check_health(envoy).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_file_changes_nothing_and_is_told() -> Result<()> {
    let settings = drill::settings(configuration(true))?.sandboxed();
    let scene = Scene::start_with(settings, Issuer::corporate().await?).await?;
    let envoy = &scene.envoy;
    drill::warm(envoy).await?;
    let path = envoy.discovered()?;
    let good = fs::read_to_string(&path)?;
    let module = drill::module()?.canonicalize()?;
    let module = module.to_string_lossy();
    let bad = [
        // The gate does not know it.
        (
            good.replacen(r#"\"providers\""#, r#"\"provider\""#, 1),
            "update_rejected",
            "configuration: provider: unknown key",
        ),
        // Envoy does not know it.
        (
            good.replacen("failure_policy", "failure_polizy", 1),
            "update_rejected",
            "failure_polizy",
        ),
        (
            good.replacen(&*module, "/no/such/module.wasm", 1),
            "update_rejected",
            "/no/such/module.wasm",
        ),
        // Another resource, or none.
        (
            good.replacen(r#""name":"scopegate""#, r#""name":"scopegatf""#, 9),
            "update_rejected",
            "scopegatf",
        ),
        (good[..good.len() / 2].to_owned(), "update_failure", ""),
        (String::new(), "update_failure", ""),
    ];
    for (number, (bad, counter, told)) in bad.iter().enumerate() {
        ensure!(*bad != good, "{number} is not bad");
        let before = counts(envoy).await?;
        let update = envoy.rediscover(|| put(&path, bad)).await?;
        let Update::Rejected(reason) = &update else {
            bail!("{number}: {update:?}");
        };
        ensure!(reason.contains("Filesystem config update"), "{reason}");
        let after = counts(envoy).await?;
        for of in [counter, "config_fail"] {
            ensure!(after(of) == before(of) + 1, "{number}: {of}");
        }
        ensure!(envoy.log_contains(told), "{number}: no {told:?} in the log");
        ensure!(globex(envoy).await? == 200, "{number}");
    }
    let update = envoy.replace_configuration(&configuration(false)).await?;
    ensure!(update == Update::Accepted, "{update:?}");
    until_globex_says(envoy, 403).await?;
    drill::check_health(envoy).await
}

/// The kubelet never touches a mounted file: it swaps a link to the folder in which all of them are.
#[tokio::test(flavor = "multi_thread")]
async fn a_config_map_is_followed() -> Result<()> {
    let settings = drill::settings(configuration(false))?.sandboxed();
    let scene = Scene::start_with(settings, Issuer::corporate().await?).await?;
    let envoy = &scene.envoy;
    drill::warm(envoy).await?;
    let path = envoy.discovered()?;
    let folder = path.parent().context("no folder")?;
    let name = path.file_name().context("no name")?;
    let text = |both: bool| -> Result<String> {
        let mut file: Value = yaml::read(&path)?;
        file["resources"][0]["typed_config"]["config"]["configuration"]["value"] =
            json!(configuration(both).to_string());
        Ok(file.to_string())
    };
    for (version, both) in [true, false, true].into_iter().enumerate() {
        let next = text(both)?;
        let update = envoy
            .rediscover(|| {
                let data = format!("..2026_11_26_{version}");
                fs::create_dir(folder.join(&data))?;
                fs::write(folder.join(&data).join(name), next)?;
                if version == 0 {
                    // As the volume is from the beginning; the plain file is that of this test.
                    fs::remove_file(&path)?;
                    symlink(Path::new("..data").join(name), &path)?;
                }
                symlink(&data, folder.join("..data_tmp"))?;
                fs::rename(folder.join("..data_tmp"), folder.join("..data"))?;
                if let Some(before) = version.checked_sub(1) {
                    fs::remove_dir_all(folder.join(format!("..2026_11_26_{before}")))?;
                }
                Ok(())
            })
            .await?;
        ensure!(update == Update::Accepted, "{version}: {update:?}");
        until_globex_says(envoy, if both { 200 } else { 403 }).await?;
    }
    drill::check_health(envoy).await
}

/// Whatever keeps Envoy from having a configuration, senders keep their data, and a good file ends the problem.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_configuration_clients_are_told_to_try_again() -> Result<()> {
    let bad = drill::settings(json!({"no_such_key": 1}))?;
    let no_module = drill::settings(configuration(false))?.edit(|bootstrap| {
        let vm_config = &mut bootstrap.scopegate()?["typed_config"]["config"]["vm_config"];
        vm_config["code"]["local"]["filename"] = json!("/no/such/module.wasm");
        Ok(())
    });
    for settings in [bad, no_module] {
        let began = Instant::now();
        let settings = settings.sandboxed().refused_too();
        let scene = Scene::start_with(settings, Issuer::corporate().await?).await?;
        ensure!(began.elapsed() < PATIENCE, "it waits for a better file");
        let envoy = &scene.envoy;
        for protocol in [Protocol::H1, Protocol::H2] {
            for request in requests()? {
                let reply = request.send(&envoy.target(), protocol).await?;
                let told = format!("{request:?}: {reply:?}");
                ensure!(reply.status == 503, "{told}");
                ensure!(
                    reply.header("retry-after").as_deref() == Some("10"),
                    "{told}"
                );
                ensure!(reply.text().contains("no configuration"), "{told}");
            }
        }
        let bearer = format!("Bearer {}", drill::token_of("admin")?);
        let metadata = [("authorization", &*bearer), ("x-scope-orgid", "acme")];
        let client = GrpcClient::connect(envoy.address()).await?;
        let answer: Result<ExportResponse, _> = client
            .unary(EXPORT_LOGS, &metadata, ExportRequest::default())
            .await;
        let status = answer.err().context("it passed")?;
        ensure!(status.code() == Code::Unavailable, "{status:?}");
        ensure!(status.message().contains("no configuration"), "{status:?}");
        ensure!(scene.log.count() == 0, "a backend was reached");
        let flags = envoy.access_log();
        let flagged = flags
            .iter()
            .all(|line| line.flags.as_deref() == Some("NFCF"));
        ensure!(flagged && !flags.is_empty(), "{flags:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_file_after_a_bad_one_brings_the_gate_up() -> Result<()> {
    let settings = drill::settings(json!({"no_such_key": 1}))?.refused_too();
    let scene = Scene::start_with(settings, Issuer::corporate().await?).await?;
    let envoy = &scene.envoy;
    ensure!(globex(envoy).await? == 503);
    let still = envoy.replace_configuration(&json!({"nor_this": 1})).await?;
    ensure!(matches!(still, Update::Rejected(_)), "{still:?}");
    ensure!(globex(envoy).await? == 503);
    let update = envoy.replace_configuration(&configuration(true)).await?;
    ensure!(update == Update::Accepted, "{update:?}");
    until_globex_says(envoy, 200).await?;
    for request in requests()? {
        let reply = drill::send(envoy, &request).await?;
        ensure!(reply.status == 200, "{request:?}: {reply:?}");
    }
    drill::check_health(envoy).await
}

/// Neither a backend's report of its own troubles nor an answer of the gate is replaced.
#[tokio::test(flavor = "multi_thread")]
async fn no_other_answer_is_taken_for_it() -> Result<()> {
    let scene = drill::scene(configuration(false)).await?;
    let envoy = &scene.envoy;
    drill::warm(envoy).await?;
    for status in [500, 503] {
        scene.upstream("loki")?.behave(Behaviour::Answer {
            status,
            headers: vec![("x-backend".to_owned(), "loki".to_owned())],
            body: "the ring is on fire".to_owned(),
        });
        for request in requests()? {
            let reply = drill::send(envoy, &request).await?;
            let told = format!("{request:?}: {reply:?}");
            ensure!(reply.status == status, "{told}");
            ensure!(reply.text() == "the ring is on fire", "{told}");
            ensure!(reply.header("retry-after").is_none(), "{told}");
            ensure!(
                reply.header("x-backend").as_deref() == Some("loki"),
                "{told}"
            );
        }
    }
    scene.upstream("loki")?.down().await;
    for request in requests()? {
        let reply = drill::send(envoy, &request).await?;
        let told = format!("{request:?}: {reply:?}");
        ensure!(reply.status == 502, "{told}");
        ensure!(!reply.text().contains("no configuration"), "{told}");
    }
    ensure!(globex(envoy).await? == 403);
    Ok(())
}

/// Envoy's own message about a missing file, which the documents repeat.
#[tokio::test(flavor = "multi_thread")]
async fn without_the_file_envoy_does_not_start() -> Result<()> {
    let settings =
        drill::settings(configuration(false))?
            .inline()
            .edit(|bootstrap| {
                *bootstrap.scopegate()? = shipped_filter()?;
                let source = &mut bootstrap::scopegate(bootstrap.listener()?)?["config_discovery"]
                    ["config_source"];
                source["path_config_source"] = json!({"path": "/no/such/scopegate.yaml"});
                Ok(())
            });
    let Err(error) = Envoy::start(settings).await else {
        bail!("it started");
    };
    let told = format!("{error:#}");
    ensure!(told.contains("/no/such/scopegate.yaml"), "{told}");
    Ok(())
}

#[test]
fn the_filter_takes_what_is_in_its_file() -> Result<()> {
    let file: Value = yaml::read(&shipped("ecds/scopegate.yaml"))?;
    let filter = shipped_filter()?;
    let [resource] = file["resources"].as_array().context("no list")?.as_slice() else {
        bail!("not one resource");
    };
    ensure!(resource["name"] == filter["name"], "{filter}");
    let types = &filter["config_discovery"]["type_urls"];
    ensure!(types == &json!([resource["typed_config"]["@type"]]));
    Ok(())
}

/// The filter as it stands in the shipped listener.
fn shipped_filter() -> Result<Value> {
    let file = yaml::read(&shipped("ecds/scopegate.yaml"))?;
    let mut bootstrap = Bootstrap::new(yaml::read(&shipped("envoy.yaml"))?, file);
    Ok(bootstrap::scopegate(bootstrap.listener()?)?.clone())
}

fn shipped(file: &str) -> PathBuf {
    paths::repository().join("envoy").join(file)
}

/// One allowed request of each kind: logs over OTLP and in Loki's own format, and a read.
fn requests() -> Result<Vec<RawRequest>> {
    let token = drill::token_of("admin")?;
    let otlp = |content_type: &str, body: &[u8]| {
        let mut request = RawRequest::new("POST", "/v1/logs")
            .bearer(&token)
            .tenant("acme")
            .header("content-type", content_type);
        request.body = body.to_vec();
        request
    };
    Ok(vec![
        otlp("application/x-protobuf", b"\x0a\x00"),
        otlp("application/json", br#"{"resourceLogs": []}"#),
        RawRequest::post("/loki/api/v1/push", r#"{"streams": []}"#)
            .bearer(&token)
            .tenant("acme")
            .header("content-type", "application/json"),
        drill::read(&token, "acme"),
    ])
}

/// Write beside the watched folder, and rename.
fn put(path: &Path, text: &str) -> Result<()> {
    let next = path.parent().context("no folder")?.with_extension("next");
    fs::write(&next, text)?;
    fs::rename(next, path)?;
    Ok(())
}

/// What Envoy has counted of the file so far.
async fn counts(envoy: &Envoy) -> Result<impl Fn(&str) -> i64> {
    let stats = envoy.stats().await?;
    Ok(move |name: &str| {
        let name = format!("extension_config_discovery.http_filter.scopegate.{name}");
        stats.get(&name).copied().unwrap_or_default()
    })
}

const CHANGES: usize = 1_000;
/// How much more memory the process may hold after half of the changes, in bytes. 2 MiB were measured, and 5 MiB for
/// 3,500 changes. If a VM stayed behind with each change, twenty changes would exceed this.
const MOST_GROWN: u64 = 32 << 20;
const PATIENCE: Duration = Duration::from_secs(15);
