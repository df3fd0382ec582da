//! What the teams of a tenant have written: in each of three tenants there are three namespaces with two resources
//! each.
//!
//! Whatever belongs to a namespace carries the name of its bird, and whatever belongs to a resource that of its
//! stone: in names and values of labels, metric names, lines and spans. No query needs to contain these words, so an
//! answer with such a word in it contains data.

#![expect(
    clippy::cast_precision_loss,
    reason = "what is counted here, also in seconds, is far below 2^53"
)]

use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Result;
use integration::client::RawRequest;
use integration::stack::{APOLLO_TENANT, HOOLI, INITECH, NAMESPACE};
use integration::{form, loki_push, otlp, remote_write, token};
use prost::Message;
use scopegate::authz::endpoint::Backend;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::clients::{check_status, eventually};
use crate::reads::server;
use crate::scene::Scene;

/// When the data of the teams was written, in Unix seconds.
#[derive(Clone, Copy, Debug)]
pub struct TeamData {
    pub from: i64,
    pub to: i64,
}

/// A namespace, its bird, and how much of everything it has: so that sums tell namespaces apart, and enough for Loki to
/// show a pattern.
pub const NAMESPACES: [(&str, &str, u64); 3] = [
    ("web", "kestrel", 32),
    ("shop", "osprey", 37),
    ("vault", "merlin", 43),
];
/// The values of `resource_id`.
pub const RESOURCES: [&str; 2] = ["quartz", "basalt"];

/// Somebody, what they may see, and what a matcher of it looks like.
#[derive(Clone, Copy, Debug)]
pub struct Eye {
    pub who: &'static str,
    pub shown: &'static [&'static str],
    pub hidden: &'static [&'static str],
    /// In LogQL and in PromQL.
    pub matcher: &'static str,
    /// In TraceQL.
    pub filter: &'static str,
}

/// One group, and two groups whose policies add up.
pub const EYES: [Eye; 2] = [
    Eye {
        who: "wendy",
        shown: &["kestrel"],
        hidden: &["osprey", "merlin", "\"shop\"", "\"vault\""],
        matcher: "namespace=\"web\"",
        filter: "resource.k8s.namespace.name = \"web\"",
    },
    Eye {
        who: "sam",
        shown: &["kestrel", "osprey"],
        hidden: &["merlin", "\"vault\""],
        matcher: "namespace=~\"web|shop\"",
        filter: "resource.k8s.namespace.name =~ \"^(?:web|shop)$\"",
    },
];

impl Eye {
    /// The word of this text that they may not see.
    pub fn offence(&self, text: &str) -> Option<&'static str> {
        let found = self.hidden.iter().find(|word| text.contains(**word));
        found.copied()
    }
}

impl TeamData {
    /// Written by the first who asks.
    pub async fn of(scene: &Scene) -> Result<TeamData> {
        static SCENE: OnceCell<TeamData> = OnceCell::const_new();
        let data = SCENE.get_or_try_init(|| async {
            let from = token::now() - 60;
            for tenant in [INITECH, HOOLI, APOLLO_TENANT] {
                push_lines(scene, tenant).await?;
                push_samples(scene, tenant).await?;
                push_spans(scene, tenant).await?;
                wait(scene, tenant).await?;
            }
            let to = token::now() + 1;
            anyhow::Ok(TeamData { from, to })
        });
        data.await.copied()
    }
}

/// The pairs of namespace and resource, with their bird and their amount.
fn parts() -> impl Iterator<Item = (&'static str, &'static str, u64, &'static str)> {
    NAMESPACES
        .into_iter()
        .flat_map(|(namespace, bird, amount)| {
            RESOURCES.map(|stone| (namespace, bird, amount, stone))
        })
}

/// The labels of a part, as streams and series have them.
fn labels(tenant: &str, namespace: &str, bird: &str, stone: &str) -> Vec<(String, String)> {
    [
        ("namespace", namespace),
        ("resource_id", stone),
        ("bird", bird),
        ("plot", tenant),
        (&format!("only_{bird}"), "yes"),
        (&format!("of_{stone}"), "yes"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .to_vec()
}

async fn push_lines(scene: &Scene, tenant: &str) -> Result<()> {
    let now = loki_push::moment();
    let streams: Vec<Value> = parts()
        .map(|(namespace, bird, amount, stone)| {
            // More than the projects API gives without being asked for a number.
            let many = tenant == APOLLO_TENANT && (bird, stone) == ("kestrel", "quartz");
            let amount = if many { 1100 } else { amount };
            let line = |number: u64| {
                format!("level=info plumage={bird} {bird}_seen={number} msg=\"a {bird} by the {stone} in {tenant}\"")
            };
            let values: Vec<Value> = (0..amount)
                .map(|number| json!([(now + number).to_string(), line(number)]))
                .collect();
            let labels: serde_json::Map<String, Value> = labels(tenant, namespace, bird, stone)
                .into_iter()
                .map(|(name, value)| (name, json!(value)))
                .collect();
            json!({"stream": labels, "values": values})
        })
        .collect();
    push(scene, tenant, &streams).await
}

/// Streams as Loki's JSON has them.
pub async fn push(scene: &Scene, tenant: &str, streams: &[Value]) -> Result<()> {
    let body = json!({"streams": streams}).to_string();
    let request =
        RawRequest::post("/loki/api/v1/push", body).header("content-type", "application/json");
    check_status(&scene.send(WRITER, tenant, request).await?, 204)
}

/// One more line for each namespace, for who tails.
pub async fn push_tailed(scene: &Scene, tenant: &str) -> Result<()> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let streams: Vec<Value> = NAMESPACES
        .iter()
        .map(|(namespace, bird, _)| {
            json!({
                "stream": {"namespace": namespace, "tailed": "yes"},
                "values": [[otlp::unix_nanos().to_string(), format!("{bird} no. {number:04}")]],
            })
        })
        .collect();
    push(scene, tenant, &streams).await
}

/// Counters that grow, each with an exemplar, and a gauge that has the name of its bird.
async fn push_samples(scene: &Scene, tenant: &str) -> Result<()> {
    let now = token::now();
    for step in 0..STEPS {
        let owned: Vec<_> = parts()
            .flat_map(|(namespace, bird, amount, stone)| {
                let labels = labels(tenant, namespace, bird, stone);
                let value = (amount * (step + 1)) as f64;
                let trace = format!("trace-of-{bird}-{stone}");
                let gauge = format!("{bird}_nests");
                [
                    (
                        "birds_total".to_owned(),
                        labels.clone(),
                        value,
                        trace.clone(),
                    ),
                    (gauge, labels, amount as f64, trace),
                ]
            })
            .collect();
        let texts: Vec<Vec<(&str, &str)>> = owned
            .iter()
            .map(|(_, labels, ..)| {
                let pairs = labels.iter();
                pairs
                    .map(|(name, value)| (name.as_str(), value.as_str()))
                    .collect()
            })
            .collect();
        let samples: Vec<(remote_write::Sample<'_>, &str)> = owned
            .iter()
            .zip(&texts)
            .map(|((name, _, value, trace), labels)| {
                ((name.as_str(), labels.as_slice(), *value), trace.as_str())
            })
            .collect();
        let time = (now - i64::try_from(STEPS - 1 - step)? * 10) * 1000;
        let body = remote_write::request_with_exemplars(&samples, time);
        let request = RawRequest::post("/prometheus/api/v1/push", body)
            .header("content-type", "application/x-protobuf")
            .header("content-encoding", "snappy")
            .header("x-prometheus-remote-write-version", "0.1.0");
        check_status(&scene.send(WRITER, tenant, request).await?, 200)?;
    }
    Ok(())
}

/// One trace for each part.
async fn push_spans(scene: &Scene, tenant: &str) -> Result<()> {
    for (index, (namespace, bird, _, stone)) in (1_u128..).zip(parts()) {
        let seen_by = format!("only_{bird}");
        let name = format!("{bird} flies");
        let attributes = [(seen_by.as_str(), "yes"), ("kind", "bird")];
        let spans = [(index << 64 | 0x5eed, name.as_str(), attributes.as_slice())];
        let mut request = otlp::traces(&format!("{bird}-{stone}"), &spans);
        let of_resource = [
            (NAMESPACE, namespace),
            ("resource_id", stone),
            ("bird", bird),
            ("plot", tenant),
        ];
        for resource in request
            .resource_spans
            .iter_mut()
            .filter_map(|spans| spans.resource.as_mut())
        {
            resource
                .attributes
                .extend(of_resource.map(|(key, value)| otlp::attribute(key, value)));
        }
        let request = RawRequest::post("/v1/traces", request.encode_to_vec())
            .header("content-type", "application/x-protobuf");
        check_status(&scene.send(WRITER, tenant, request).await?, 200)?;
    }
    Ok(())
}

/// Until each server has all of it.
async fn wait(scene: &Scene, tenant: &str) -> Result<()> {
    // Loki makes patterns of lines a little later.
    let patterns = form::encode("{bird=~\".+\"}");
    let patterns = format!("/loki/api/v1/patterns?since=10m&query={patterns}");
    let paths = [
        (Backend::Loki, "/loki/api/v1/label/bird/values?since=10m"),
        (Backend::Loki, &patterns),
        (Backend::Mimir, "/prometheus/api/v1/label/bird/values"),
        (Backend::Tempo, "/api/v2/search/tag/resource.bird/values"),
    ];
    for (backend, path) in paths {
        eventually(&format!("{tenant} has {path}"), || async {
            let reply = scene
                .direct(server(scene, backend), tenant, RawRequest::get(path))
                .await?;
            let text = reply.text();
            Ok(NAMESPACES.iter().all(|(_, bird, _)| text.contains(bird)))
        })
        .await?;
    }
    Ok(())
}

/// It may write all of these tenants.
const WRITER: &str = "agent-acme";
/// Samples of a series, ten seconds apart.
const STEPS: u64 = 4;
