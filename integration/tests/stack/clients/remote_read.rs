//! Remote read: a Prometheus without data of its own asks Mimir through the gate.

use anyhow::{Context, Result, ensure};
use integration::client::{self, RawRequest};
use integration::part;
use integration::prometheus::{Prometheus, PrometheusSettings};
use integration::stack::{ACME, GLOBEX};
use prost::Message;
use serde_json::{Value, json};

use super::{BOTH, GRANTED, NOT_GRANTED, Whose, check_status};
use crate::scene::Scene;
use crate::tests;

tests![
    a_prometheus_reads_what_its_token_grants,
    a_prometheus_is_told_why_not,
    samples_come_when_they_are_asked_for,
];

async fn a_prometheus_reads_what_its_token_grants(scene: &Scene) -> Result<()> {
    for (who, tenants) in GRANTED {
        let prometheus = reader(scene, who, tenants).await?;
        let result = prometheus.query(&everything()).await?;
        Whose::of(tenants)
            .check(&Value::from(result).to_string())
            .with_context(|| format!("{who}, {tenants}"))?;
        // Its only request came as a stream of chunks, which the gate has passed on as it came.
        let metrics = client::get(prometheus.address(), "/metrics").await?.text();
        let answered = metrics
            .lines()
            .find(|line| line.starts_with("prometheus_remote_read_client_queries_total{"))
            .with_context(|| format!("no such counter: {metrics}"))?;
        for piece in [r#"code="200""#, r#"response_type="chunked""#] {
            ensure!(answered.contains(piece), "no {piece}: {answered}");
        }
    }
    Ok(())
}

async fn a_prometheus_is_told_why_not(scene: &Scene) -> Result<()> {
    for (who, tenants) in [("alice", GLOBEX), ("alice", BOTH), ("agent-acme", ACME)] {
        let prometheus = reader(scene, who, tenants).await?;
        let path = format!(
            "/api/v1/query?query={}",
            integration::form::encode(&everything())
        );
        let reply = client::get(prometheus.address(), &path).await?;
        let answer = reply.json()?;
        // Prometheus answers without the part that it could not read, and says so.
        ensure!(
            answer["data"]["result"] == json!([]),
            "{who}, {tenants}: {answer}"
        );
        let reason = if who == "alice" {
            NOT_GRANTED
        } else {
            "permission 'read'"
        };
        let warnings = answer["warnings"].to_string();
        ensure!(
            warnings.contains(reason) && warnings.contains("403"),
            "{who}, {tenants}: {answer}"
        );
    }
    Ok(())
}

async fn samples_come_when_they_are_asked_for(scene: &Scene) -> Result<()> {
    let request = || -> Result<RawRequest> {
        let message = ReadRequest {
            queries: vec![Query {
                start_timestamp_ms: scene.from * 1000,
                end_timestamp_ms: scene.to * 1000,
                matchers: vec![LabelMatcher {
                    r#type: REGEX,
                    name: "owner".to_owned(),
                    value: ".+".to_owned(),
                }],
            }],
            accepted_response_types: vec![SAMPLES],
        };
        let body = snap::raw::Encoder::new().compress_vec(&message.encode_to_vec())?;
        Ok(RawRequest::post("/prometheus/api/v1/read", body)
            .header("content-type", "application/x-protobuf")
            .header("content-encoding", "snappy")
            .header("x-prometheus-remote-read-version", "0.1.0"))
    };
    let labels = |body: &[u8]| -> Result<String> {
        let message = snap::raw::Decoder::new().decompress_vec(body)?;
        let response = ReadResponse::decode(message.as_slice())?;
        ensure!(response.results.len() == 1, "{response:?}");
        let series = &response.results[0].timeseries;
        ensure!(
            series.iter().all(|one| !one.samples.is_empty()),
            "{response:?}"
        );
        Ok(format!("{series:?}"))
    };
    let control = scene
        .direct(scene.stack.mimir.http(), BOTH, request()?)
        .await?;
    check_status(&control, 200)?;
    Whose::Both.check(&labels(&control.body)?)?;
    for (who, tenants) in GRANTED {
        let reply = scene.send(who, tenants, request()?).await?;
        check_status(&reply, 200)?;
        let kind = reply.header("content-type");
        ensure!(
            kind.as_deref() == Some("application/x-protobuf"),
            "{kind:?}"
        );
        Whose::of(tenants).check(&labels(&reply.body)?)?;
    }
    let reply = scene.send("alice", GLOBEX, request()?).await?;
    check_status(&reply, 403)?;
    ensure!(
        reply.json()?["error"] == json!(NOT_GRANTED),
        "{}",
        reply.text()
    );
    Ok(())
}

/// What the agents and the Collectors have written, however long ago in this run.
fn everything() -> String {
    r#"last_over_time({owner=~".+"}[1h])"#.to_owned()
}

/// An empty Prometheus with `remote_read`.
async fn reader(scene: &Scene, who: &str, tenants: &str) -> Result<Prometheus> {
    let configuration = json!({"remote_read": [{
        "url": format!("{}/prometheus/api/v1/read", scene.stack.url()),
        "headers": {"X-Scope-OrgID": tenants},
        "authorization": {"credentials": scene.token(who).await?},
        "tls_config": {"ca_file": scene.stack.authority()},
        "read_recent": true,
    }]});
    let program = part::PROMETHEUS_AGENT.find()?;
    Prometheus::start(PrometheusSettings::with_configuration(configuration).program(program)).await
}

/// `prometheus.ReadRequest`.
#[derive(Clone, PartialEq, Message)]
struct ReadRequest {
    #[prost(message, repeated, tag = "1")]
    queries: Vec<Query>,
    #[prost(int32, repeated, tag = "2")]
    accepted_response_types: Vec<i32>,
}

#[derive(Clone, PartialEq, Message)]
struct Query {
    #[prost(int64, tag = "1")]
    start_timestamp_ms: i64,
    #[prost(int64, tag = "2")]
    end_timestamp_ms: i64,
    #[prost(message, repeated, tag = "3")]
    matchers: Vec<LabelMatcher>,
}

#[derive(Clone, PartialEq, Message)]
struct LabelMatcher {
    #[prost(int32, tag = "1")]
    r#type: i32,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(string, tag = "3")]
    value: String,
}

/// `prometheus.ReadResponse`, what comes for `SAMPLES`.
#[derive(Clone, PartialEq, Message)]
struct ReadResponse {
    #[prost(message, repeated, tag = "1")]
    results: Vec<QueryResult>,
}

#[derive(Clone, PartialEq, Message)]
struct QueryResult {
    #[prost(message, repeated, tag = "1")]
    timeseries: Vec<TimeSeries>,
}

#[derive(Clone, PartialEq, Message)]
struct TimeSeries {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<Label>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<Sample>,
}

#[derive(Clone, PartialEq, Message)]
struct Label {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, PartialEq, Message)]
struct Sample {
    #[prost(double, tag = "1")]
    value: f64,
    #[prost(int64, tag = "2")]
    timestamp: i64,
}

const SAMPLES: i32 = 0;
const REGEX: i32 = 2;
