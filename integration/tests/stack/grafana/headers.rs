//! What Grafana sends in addition to the question, which of it reaches a server, and how answers are transferred.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use integration::client::{Protocol, RawRequest};
use integration::stack::ACME;
use integration::upstream::{Upstream, UpstreamLog};
use serde_json::Value;

use super::{Source, check_status, get, text};
use crate::scene::Scene;
use crate::side_gate::SideGate;
use crate::tests;

tests![
    nobodys_identity_reaches_a_server,
    compressed_answers_arrive_intact
];

/// The headers of a query from a dashboard by a person, with "Forward OAuth Identity" and cookies that are kept.
/// `Authorization` and `X-Scope-OrgID` are not among them.
pub fn added(request: RawRequest) -> RawRequest {
    IDENTITY
        .iter()
        .chain(&PASSED)
        .fold(request, |request, (name, value)| {
            request.header(name, *value)
        })
}

/// A gate of its own, whose Loki shows what reaches it.
async fn nobodys_identity_reaches_a_server(scene: &Scene) -> Result<()> {
    let log = UpstreamLog::new();
    let loki = Upstream::start("loki", &log).await?;
    let address = loki.address();
    let configuration = scene.stack.configuration();
    let gate = SideGate::start(scene, configuration, |settings| {
        settings.cluster("loki", address)
    })
    .await?;
    gate.wait_for_keys().await?;

    let query = get("/loki/api/v1/query", &[("query", "vector(1)")]);
    let token = scene.token("alice").await?;
    let request = added(query)
        .bearer(&token)
        .tenant(ACME)
        .header("x-test-id", "grafana");
    let reply = request.send(&gate.target, Protocol::H1).await?;
    check_status(&reply, 200)?;
    let seen = log.wait_for("grafana", ARRIVAL).await?;
    for (name, value) in IDENTITY {
        ensure!(seen.header(name).is_empty(), "{name} has passed");
        let leaked = seen
            .headers
            .iter()
            .any(|(_, sent)| sent == value.as_bytes());
        ensure!(!leaked, "the value of {name} has passed under another name");
    }
    ensure!(
        seen.header("authorization").is_empty(),
        "the token has passed"
    );
    ensure!(
        seen.header("x-scope-orgid") == [b"acme"],
        "{:?}",
        seen.headers
    );
    ensure!(
        seen.header("x-scopegate-subject").len() == 1,
        "{:?}",
        seen.headers
    );
    for (name, value) in PASSED {
        ensure!(
            seen.header(name) == [value.as_bytes()],
            "{name}: {:?}",
            seen.header(name)
        );
    }
    Ok(())
}

async fn compressed_answers_arrive_intact(scene: &Scene) -> Result<()> {
    let everything = get(
        "/prometheus/api/v1/series",
        &[("match[]", r#"{__name__=~".+"}"#)],
    );
    let request = everything.header("accept-encoding", "gzip");
    let control = scene
        .direct(Source::Mimir.server(scene), ACME, request.clone())
        .await?;
    let reply = scene.send("alice", ACME, request).await?;
    for reply in [&control, &reply] {
        check_status(reply, 200)?;
        let encoding = reply.header("content-encoding");
        ensure!(
            encoding.as_deref() == Some("gzip"),
            "{encoding:?}, {} bytes",
            reply.body.len()
        );
    }
    let series = |text: &str| -> Result<Vec<String>> {
        let answer: Value = serde_json::from_str(text)?;
        let list = answer["data"].as_array().context("no list")?;
        let mut series: Vec<String> = list.iter().map(Value::to_string).collect();
        series.sort();
        Ok(series)
    };
    let (ours, control) = (series(&text(&reply)?)?, series(&text(&control)?)?);
    ensure!(
        ours == control && !ours.is_empty(),
        "{} and {}",
        ours.len(),
        control.len()
    );
    Ok(())
}

/// Credentials and statements about the caller, which are for the gate or for nobody.
const IDENTITY: [(&str, &str); 2] = [
    (
        "x-id-token",
        "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJpZC10b2tlbiJ9.c2lnbmF0dXJl",
    ),
    (
        "x-grafana-id",
        "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJ1c2VyOjEifQ.c2lnbmF0dXJl",
    ),
];

/// The rest, which servers put into their logs or take as hints.
const PASSED: [(&str, &str); 12] = [
    ("accept-encoding", "gzip"),
    (
        "cookie",
        "grafana_session=0123456789abcdef; grafana_session_expiry=1700000000",
    ),
    (
        "traceparent",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    ),
    ("user-agent", "Grafana/12.2.0"),
    ("x-dashboard-uid", "orders"),
    ("x-datasource-uid", "P8E80F9AEF21F6940"),
    ("x-grafana-org-id", "1"),
    ("x-loki-response-encoding-flags", "categorize-labels"),
    ("x-panel-id", "2"),
    ("x-panel-plugin-id", "timeseries"),
    ("x-query-group-id", "6d8b6a6e-1b0c-4f0a-9a57-0f8f2f1f2a11"),
    ("x-query-tags", "Source=grafana"),
];

const ARRIVAL: Duration = Duration::from_secs(10);
