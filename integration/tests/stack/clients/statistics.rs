//! `logcli stats` and Grafana's index/stats: numbers without names that count what is in Loki's store.

use anyhow::{Context, Result, ensure};
use integration::client::RawRequest;
use integration::form;
use integration::stack::{ACME, GLOBEX, loki};

use super::{BOTH, GRANTED, NOT_GRANTED, check_status, eventually, run};
use crate::scene::Scene;
use crate::tests;

tests![LOGCLI => statistics_count_what_the_caller_may_read];

async fn statistics_count_what_the_caller_may_read(scene: &Scene) -> Result<()> {
    let server = scene.stack.loki.http();
    // Lines in memory are not counted.
    let flush = RawRequest::post("/flush", "");
    check_status(&scene.direct(server, ACME, flush).await?, 204)?;
    eventually("both tenants' lines are in the store", || async {
        Ok(counted(scene, ACME).await? > 0 && counted(scene, GLOBEX).await? > 0)
    })
    .await?;
    for (who, tenants) in GRANTED {
        let token = scene.token(who).await?;
        for owner in [ACME, GLOBEX] {
            let what = format!("{who}, {tenants}, {owner}");
            let before = counted(scene, owner).await?;
            let reply = scene.send(who, tenants, request(scene, owner)).await?;
            check_status(&reply, 200)?;
            let by_api = reply.json()?["entries"].as_u64().context(what.clone())?;

            let mut command = loki::logcli(&scene.stack.url(), Some(&scene.stack.authority()))?;
            command.arg(format!("--bearer-token={token}"));
            command.arg(format!("--org-id={tenants}"));
            command.args(["stats", "--since=1h", &selector(owner)]);
            let said = run(command).await?;
            ensure!(said.content, "{what}: {}", said.err);
            let line = said
                .out
                .lines()
                .find_map(|line| line.trim().strip_prefix("entries: "));
            let by_logcli: u64 = line.with_context(|| said.out.clone())?.parse()?;

            // Loki counts lines twice for a while after it has written its index.
            let after = counted(scene, owner).await?;
            let granted = tenants.split('|').any(|tenant| tenant == owner);
            let right = if granted { before..=after } else { 0..=0 };
            for entries in [by_api, by_logcli] {
                ensure!(right.contains(&entries), "{what}: {entries}, not {right:?}");
            }
        }
    }
    for tenants in [GLOBEX, BOTH] {
        let reply = scene.send("alice", tenants, request(scene, ACME)).await?;
        check_status(&reply, 403)?;
        ensure!(
            reply.text() == format!("{NOT_GRANTED}\n"),
            "{}",
            reply.text()
        );
    }
    Ok(())
}

/// How many lines of its own Loki itself counts for that tenant.
async fn counted(scene: &Scene, tenant: &str) -> Result<u64> {
    let server = scene.stack.loki.http();
    let reply = scene.direct(server, tenant, request(scene, tenant)).await?;
    check_status(&reply, 200)?;
    let entries = reply.json()?["entries"].as_u64();
    entries.with_context(|| format!("no number: {}", reply.text()))
}

fn request(scene: &Scene, owner: &str) -> RawRequest {
    let query = form::encode(&selector(owner));
    RawRequest::get(&format!(
        "/loki/api/v1/index/stats?query={query}&start={}000000000&end={}000000000",
        scene.from, scene.to
    ))
}

fn selector(owner: &str) -> String {
    format!("{{owner=\"{owner}\"}}")
}
