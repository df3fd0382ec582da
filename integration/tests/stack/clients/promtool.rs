//! promtool's queries, with what it needs in its HTTP configuration file.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use integration::part;
use integration::stack::{ACME, GLOBEX};
use serde_json::json;
use tempfile::NamedTempFile;

use super::{BOTH, GRANTED, INVALID_TOKEN, NOT_GRANTED, Said, Whose, run};
use crate::scene::Scene;
use crate::tests;

tests![PROMTOOL =>
    an_instant_query_prints_series,
    a_range_query_prints_samples,
    label_values_are_listed,
    series_are_listed,
    refusals_are_printed,
];

async fn an_instant_query_prints_series(scene: &Scene) -> Result<()> {
    let query = format!("last_over_time({{{SELECTOR}}}[1h])");
    check(scene, &["instant"], &[&query]).await
}

async fn a_range_query_prints_samples(scene: &Scene) -> Result<()> {
    let (from, to) = (
        format!("--start={}", scene.from),
        format!("--end={}", scene.to),
    );
    let query = format!("{{{SELECTOR}}}");
    check(scene, &["range", &from, &to, "--step=1s"], &[&query]).await
}

async fn label_values_are_listed(scene: &Scene) -> Result<()> {
    check(scene, &["labels"], &["owner"]).await?;
    check(scene, &["labels"], &["__name__"]).await
}

async fn series_are_listed(scene: &Scene) -> Result<()> {
    let matching = format!("--match={{{SELECTOR}}}");
    check(scene, &["series", &matching], &[]).await
}

async fn refusals_are_printed(scene: &Scene) -> Result<()> {
    let query = ["vector(1)"];
    for (who, tenant) in [
        ("alice", GLOBEX),
        ("alice", BOTH),
        ("bob", ACME),
        ("nobody", ACME),
    ] {
        let token = scene.token(who).await?;
        let said = ask(scene, &token, tenant, &["instant"], &query).await?;
        said.check_refused(NOT_GRANTED)?;
        said.check_refused("client error: 403")?;
    }
    let token = scene.token("alice").await?;
    let said = ask(scene, &token, "acme|", &["instant"], &query).await?;
    // Of a 400 promtool decodes the body: these are `errorType` and `error`.
    said.check_refused("bad_data: malformed X-Scope-OrgID: no element may be empty")?;
    let said = ask(scene, &format!("{token}x"), ACME, &["labels"], &["owner"]).await?;
    said.check_refused(INVALID_TOKEN)?;
    said.check_refused("client error: 401")
}

/// As Mimir itself answers about both tenants; then through the gate, where each caller gets what is theirs.
async fn check(scene: &Scene, query: &[&str], arguments: &[&str]) -> Result<()> {
    let header = json!({"X-Scope-OrgID": {"values": [BOTH]}});
    let file = configuration(&json!({"http_headers": header}))?;
    let mimir = format!("http://{}/prometheus", scene.stack.mimir.http());
    let control = query_command(file.path(), &mimir, query, arguments)?;
    let control = run(control).await?.check(Whose::Both);
    control.with_context(|| format!("Mimir itself, {query:?}"))?;
    for (who, tenants) in GRANTED {
        let token = scene.token(who).await?;
        let said = ask(scene, &token, tenants, query, arguments).await?;
        said.check(Whose::of(tenants))
            .with_context(|| format!("{who}, {tenants}, {query:?}"))?;
    }
    Ok(())
}

async fn ask(
    scene: &Scene,
    token: &str,
    tenants: &str,
    query: &[&str],
    arguments: &[&str],
) -> Result<Said> {
    let file = configuration(&json!({
        "authorization": {"credentials": token},
        "http_headers": {"X-Scope-OrgID": {"values": [tenants]}},
        "tls_config": {"ca_file": scene.stack.authority()},
    }))?;
    let url = format!("{}/prometheus", scene.stack.url());
    run(query_command(file.path(), &url, query, arguments)?).await
}

/// `promtool query KIND [flags] URL [arguments]`.
fn query_command(file: &Path, url: &str, query: &[&str], arguments: &[&str]) -> Result<Command> {
    let mut command = Command::new(part::PROMTOOL.find()?);
    command.arg("query").args(query);
    command.arg("--http.config.file").arg(file);
    command.arg(url).args(arguments);
    Ok(command)
}

/// The file is gone with the handle.
fn configuration(document: &serde_json::Value) -> Result<NamedTempFile> {
    let file = NamedTempFile::new()?;
    // JSON is YAML.
    std::fs::write(file.path(), document.to_string())?;
    Ok(file)
}

/// Every series that says whose it is.
const SELECTOR: &str = r#"owner=~".+""#;
