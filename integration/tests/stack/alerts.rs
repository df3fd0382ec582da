//! Mimir's Alertmanager through the gate, as Grafana and mimirtool use it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use integration::client::{RawRequest, Reply};
use integration::stack::{ACME, GLOBEX, SCRATCH};
use serde_json::{Value, json};

use crate::scene::Scene;

crate::tests![
    what_is_written_to_the_alertmanager_is_there_and_only_for_its_tenant,
    the_secrets_of_receivers_are_for_those_who_could_change_them,
];

const CONFIGURATION: &str = "/api/v1/alerts";
const ALERTS: &str = "/alertmanager/api/v2/alerts";
const SILENCES: &str = "/alertmanager/api/v2/silences";

/// What a receiver must not tell everybody.
const SECRET: &str = "hooks.example.com/services/s3cr3t";

fn json_of(method: &str, path: &str, body: &Value) -> RawRequest {
    let mut request = RawRequest::new(method, path).header("content-type", "application/json");
    request.body = body.to_string().into_bytes();
    request
}

fn configuration(receiver: &str) -> RawRequest {
    let configuration = format!(
        "route: {{receiver: {receiver}}}\nreceivers:\n  - name: {receiver}\n    webhook_configs: [{{url: \"https://{SECRET}\"}}]\n"
    );
    json_of(
        "POST",
        CONFIGURATION,
        &json!({"template_files": {}, "alertmanager_config": configuration}),
    )
}

fn expect(what: &str, reply: &Reply, status: u16) -> Result<()> {
    ensure!(
        reply.status == status,
        "{what}: {} {}",
        reply.status,
        reply.text()
    );
    Ok(())
}

/// Asks until the answer holds the text: a new configuration counts when Mimir has polled it.
async fn until_told(scene: &Scene, who: &str, path: &str, text: &str) -> Result<Reply> {
    let began = Instant::now();
    loop {
        let reply = scene.send(who, SCRATCH, RawRequest::get(path)).await?;
        if reply.status == 200 && reply.text().contains(text) {
            return Ok(reply);
        }
        if began.elapsed() > Duration::from_secs(30) {
            bail!("{path}: no {text} in {} {}", reply.status, reply.text());
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}

async fn what_is_written_to_the_alertmanager_is_there_and_only_for_its_tenant(
    scene: &Scene,
) -> Result<()> {
    let written = scene.send("ada", SCRATCH, configuration("pager")).await?;
    expect("the configuration", &written, 201)?;
    until_told(scene, "alice", "/alertmanager/api/v2/receivers", "pager").await?;

    let alert =
        json!([{"labels": {"alertname": "ScratchDown", "severity": "page"}, "annotations": {}}]);
    let sent = scene
        .send("ada", SCRATCH, json_of("POST", ALERTS, &alert))
        .await?;
    expect("an alert", &sent, 200)?;
    for path in [ALERTS, "/alertmanager/api/v2/alerts/groups"] {
        until_told(scene, "alice", path, "ScratchDown").await?;
    }

    let silence = json!({
        "matchers": [{"name": "alertname", "value": "ScratchDown", "isRegex": false, "isEqual": true}],
        "startsAt": "2020-01-01T00:00:00Z", "endsAt": "2099-01-01T00:00:00Z",
        "createdBy": "ada", "comment": "maintenance",
    });
    let made = scene
        .send("ada", SCRATCH, json_of("POST", SILENCES, &silence))
        .await?;
    expect("a silence", &made, 200)?;
    let made = made.json()?;
    let id = made["silenceID"].as_str().context("no ID")?;
    let path = format!("/alertmanager/api/v2/silence/{id}");
    until_told(scene, "alice", SILENCES, id).await?;
    until_told(scene, "alice", &path, "maintenance").await?;

    // What the server itself says of the two tenants.
    let mimir = scene.stack.mimir.http();
    for (tenant, holds) in [(SCRATCH, true), (GLOBEX, false), (ACME, false)] {
        for path in [ALERTS, SILENCES] {
            let there = scene
                .direct(mimir, tenant, RawRequest::get(path))
                .await?
                .text();
            ensure!(
                there.contains("ScratchDown") == holds,
                "{tenant} {path}: {there}"
            );
        }
    }
    // Those of another tenant are not asked for by its name, and not by the ID of what it has.
    for (who, tenant, status) in [("bob", SCRATCH, 403), ("bob", GLOBEX, 404)] {
        let reply = scene.send(who, tenant, RawRequest::get(&path)).await?;
        expect(&format!("{who} on {tenant}"), &reply, status)?;
    }

    let gone = scene
        .send("ada", SCRATCH, RawRequest::new("DELETE", &path))
        .await?;
    expect("the end of the silence", &gone, 200)?;
    until_told(scene, "alice", &path, "expired").await?;
    let gone = scene
        .send("ada", SCRATCH, RawRequest::new("DELETE", CONFIGURATION))
        .await?;
    expect("the end of the configuration", &gone, 200)
}

async fn the_secrets_of_receivers_are_for_those_who_could_change_them(scene: &Scene) -> Result<()> {
    let written = scene.send("ada", ACME, configuration("secretive")).await?;
    expect("the configuration", &written, 201)?;
    let read = scene
        .send("ada", ACME, RawRequest::get(CONFIGURATION))
        .await?;
    expect("an admin reads it", &read, 200)?;
    ensure!(read.text().contains(SECRET), "{}", read.text());
    // A viewer gets the status, in which Mimir itself hides them.
    for (method, path) in [
        ("GET", CONFIGURATION),
        ("POST", CONFIGURATION),
        ("DELETE", CONFIGURATION),
        ("POST", ALERTS),
        ("POST", SILENCES),
        ("DELETE", "/alertmanager/api/v2/silence/1"),
    ] {
        let reply = scene
            .send("alice", ACME, RawRequest::new(method, path))
            .await?;
        expect(&format!("{method} {path} by a viewer"), &reply, 403)?;
        ensure!(
            reply.text().contains("alerts-write") && reply.text().contains("\"status\":\"error\""),
            "{}",
            reply.text()
        );
    }
    let began = Instant::now();
    loop {
        let path = "/alertmanager/api/v2/status";
        let status = scene.send("alice", ACME, RawRequest::get(path)).await?;
        // Mimir answers 406 until it has seen the configuration for itself.
        if status.status != 406 {
            expect("the status", &status, 200)?;
        }
        ensure!(!status.text().contains(SECRET), "{}", status.text());
        if status.text().contains("secretive") {
            break;
        }
        ensure!(
            began.elapsed() < Duration::from_secs(30),
            "{}",
            status.text()
        );
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    let several = scene
        .send("ada", &format!("{ACME}|{SCRATCH}"), RawRequest::get(ALERTS))
        .await?;
    expect("several tenants", &several, 400)?;
    let gone = scene
        .send("ada", ACME, RawRequest::new("DELETE", CONFIGURATION))
        .await?;
    expect("the end of the configuration", &gone, 200)
}
