//! `logcli stats` and Grafana's index/stats: numbers without names, which count what lies in Loki's store.

use anyhow::{Context, Result, ensure};
use integration::client::RawRequest;
use integration::form;
use integration::stack::{ACME, GLOBEX, loki};

use super::{BOTH, GRANTED, NOT_GRANTED, check_status, eventually, run};
use crate::tests;
use crate::world::World;

tests![statistics_count_what_the_caller_may_read];

async fn statistics_count_what_the_caller_may_read(world: &World) -> Result<()> {
    let server = world.stack.loki.http();
    // Lines in memory are not counted.
    let flush = RawRequest::post("/flush", "");
    check_status(&world.direct(server, ACME, flush).await?, 204)?;
    eventually("both tenants' lines are in the store", || async {
        Ok(counted(world, ACME).await? > 0 && counted(world, GLOBEX).await? > 0)
    })
    .await?;
    let [acme, globex] = [counted(world, ACME).await?, counted(world, GLOBEX).await?];

    for (who, tenants) in GRANTED {
        let token = world.token(who).await?;
        for (owner, entries) in [(ACME, acme), (GLOBEX, globex)] {
            let granted = tenants.split('|').any(|tenant| tenant == owner);
            let entries = if granted { entries } else { 0 };
            let what = format!("{who}, {tenants}, {owner}");

            let reply = world.send(who, tenants, request(world, owner)).await?;
            check_status(&reply, 200)?;
            ensure!(
                reply.json()?["entries"] == entries,
                "{what}: {}",
                reply.text()
            );

            let mut command = loki::logcli(&world.stack.url(), Some(&world.stack.authority()))?;
            command
                .arg(format!("--bearer-token={token}"))
                .arg(format!("--org-id={tenants}"));
            command.args(["stats", "--since=1h", &selector(owner)]);
            let said = run(command).await?;
            let line = format!("entries: {entries}\n");
            ensure!(
                said.content && said.out.contains(&line),
                "{what}: {} {}",
                said.out,
                said.err
            );
        }
    }
    for tenants in [GLOBEX, BOTH] {
        let reply = world.send("alice", tenants, request(world, ACME)).await?;
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
async fn counted(world: &World, tenant: &str) -> Result<u64> {
    let server = world.stack.loki.http();
    let reply = world.direct(server, tenant, request(world, tenant)).await?;
    check_status(&reply, 200)?;
    let entries = reply.json()?["entries"].as_u64();
    entries.with_context(|| format!("no number: {}", reply.text()))
}

fn request(world: &World, owner: &str) -> RawRequest {
    let query = form::encode(&selector(owner));
    RawRequest::get(&format!(
        "/loki/api/v1/index/stats?query={query}&start={}000000000&end={}000000000",
        world.from, world.to
    ))
}

fn selector(owner: &str) -> String {
    format!("{{owner=\"{owner}\"}}")
}
