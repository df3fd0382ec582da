//! logcli's commands, each as a viewer of one tenant, of the other, and of both.

use anyhow::{Context, Result};
use integration::stack::{ACME, GLOBEX, loki};

use super::{BOTH, GRANTED, INVALID_TOKEN, NO_TENANT, NO_TOKEN, NOT_GRANTED, Said, Whose, run};
use crate::scene::Scene;
use crate::tests;

tests![LOGCLI =>
    a_query_prints_lines,
    an_instant_query_prints_a_vector,
    labels_and_their_values_are_listed,
    series_are_listed,
    volumes_are_summed,
    refusals_are_printed,
];

async fn a_query_prints_lines(scene: &Scene) -> Result<()> {
    check(scene, &["query", "--since=1h", "--limit=1000", SELECTOR]).await?;
    check(
        scene,
        &[
            "query",
            "--since=1h",
            "--output=jsonl",
            "--forward",
            SELECTOR,
        ],
    )
    .await?;
    // Pages of several requests.
    check(
        scene,
        &["query", "--since=1h", "--limit=60", "--batch=7", SELECTOR],
    )
    .await
}

async fn an_instant_query_prints_a_vector(scene: &Scene) -> Result<()> {
    let query = r#"sum by (owner) (count_over_time({owner=~".+"}[1h]))"#;
    check(scene, &["instant-query", query]).await?;
    check(scene, &["query", "--since=1h", "--step=60s", query]).await
}

async fn labels_and_their_values_are_listed(scene: &Scene) -> Result<()> {
    check(scene, &["labels", "--since=1h"]).await?;
    check(scene, &["labels", "--since=1h", "owner"]).await
}

async fn series_are_listed(scene: &Scene) -> Result<()> {
    check(scene, &["series", "--since=1h", SELECTOR]).await?;
    check(
        scene,
        &["series", "--since=1h", "--analyze-labels", SELECTOR],
    )
    .await
}

async fn volumes_are_summed(scene: &Scene) -> Result<()> {
    check(scene, &["volume", "--since=1h", SELECTOR]).await?;
    check(scene, &["volume_range", "--since=1h", SELECTOR]).await
}

async fn refusals_are_printed(scene: &Scene) -> Result<()> {
    let query = ["query", SELECTOR];
    for (who, tenant) in [
        ("alice", GLOBEX),
        ("alice", BOTH),
        ("bob", ACME),
        ("nobody", ACME),
    ] {
        let said = ask(scene, who, Some(tenant), &query).await?;
        said.check_refused(NOT_GRANTED)?;
    }
    ask(scene, "alice", None, &query)
        .await?
        .check_refused(NO_TENANT)?;
    ask(scene, "alice", Some("acme|"), &query)
        .await?
        .check_refused("malformed X-Scope-OrgID")?;
    ask(scene, "agent-acme", Some(ACME), &query)
        .await?
        .check_refused("this needs the permission 'read' on the tenant, which you do not hold")?;
    let token = scene.token("alice").await?;
    for (token, reason) in [(None, NO_TOKEN), (Some(format!("{token}x")), INVALID_TOKEN)] {
        let mut command = loki::logcli(&scene.stack.url(), Some(&scene.stack.authority()))?;
        command.arg("--org-id=acme");
        command.args(token.map(|token| format!("--bearer-token={token}")));
        command.args(query);
        run(command).await?.check_refused(reason)?;
    }
    Ok(())
}

/// As Loki itself answers about both tenants; then through the gate, where each caller gets what is theirs.
async fn check(scene: &Scene, arguments: &[&str]) -> Result<()> {
    let mut control = loki::logcli(&format!("http://{}", scene.stack.loki.http()), None)?;
    control.arg(format!("--org-id={BOTH}")).args(arguments);
    let control = run(control).await?.check(Whose::Both);
    control.with_context(|| format!("Loki itself, {arguments:?}"))?;
    for (who, tenants) in GRANTED {
        let said = ask(scene, who, Some(tenants), arguments).await?;
        said.check(Whose::of(tenants))
            .with_context(|| format!("{who}, {tenants}, {arguments:?}"))?;
    }
    Ok(())
}

async fn ask(scene: &Scene, who: &str, tenants: Option<&str>, arguments: &[&str]) -> Result<Said> {
    let mut command = loki::logcli(&scene.stack.url(), Some(&scene.stack.authority()))?;
    command.arg(format!("--bearer-token={}", scene.token(who).await?));
    command.args(tenants.map(|tenants| format!("--org-id={tenants}")));
    command.args(arguments);
    run(command).await
}

/// Every stream of the scene.
const SELECTOR: &str = r#"{service_name=~".+"}"#;
