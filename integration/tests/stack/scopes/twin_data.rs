//! The same data twice: in one tenant together with what other teams have written, and in another tenant alone.
//!
//! Whatever belongs to the namespace `web` is in both, byte for byte and with the same times. A caller who is limited
//! to `web` in the first tenant must therefore get the answers that anybody gets in the second.

#![expect(
    clippy::cast_precision_loss,
    reason = "what is counted here is far below 2^53"
)]

use std::time::{Duration, Instant};

use anyhow::Result;
use integration::client::RawRequest;
use integration::stack::{SOYLENT, UMBRELLA};
use integration::{form, remote_write, token};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use super::data::push;
use crate::clients::{check_status, eventually};
use crate::reads::server;
use crate::scene::Scene;
use scopegate::authz::endpoint::Backend;

/// When the data was written, in Unix seconds.
#[derive(Clone, Copy, Debug)]
pub struct Twins {
    pub from: i64,
    pub to: i64,
}

/// A stream, and as many series: its namespace, its bird and its stone.
type Part = (&'static str, &'static str, &'static str);

const INSIDE: [Part; 4] = [
    ("web", "kestrel", "quartz"),
    ("web", "kestrel", "basalt"),
    ("web", "wren", "quartz"),
    ("web", "heron", "slate"),
];

/// Of others: with birds and stones of their own and of those inside, and in namespaces that a careless matcher takes
/// for `web`. The last has no such label, but says that it is of `web` wherever else that can be said.
const OUTSIDE: [Part; 8] = [
    ("shop", "kestrel", "quartz"),
    ("shop", "osprey", "basalt"),
    ("vault", "merlin", "quartz"),
    ("vault", "wren", "marble"),
    ("web2", "merlin", "slate"),
    ("myweb", "kestrel", "basalt"),
    ("Web", "osprey", "quartz"),
    ("", "merlin", "quartz"),
];

/// What stands in nothing that is inside.
pub const HIDDEN: [&str; 8] = [
    "osprey",
    "merlin",
    "marble",
    "\"shop\"",
    "\"vault\"",
    "\"web2\"",
    "\"myweb\"",
    "\"Web\"",
];

impl Twins {
    /// Written by the first who asks.
    pub async fn of(scene: &Scene) -> Result<Twins> {
        static SCENE: OnceCell<Twins> = OnceCell::const_new();
        let twins = SCENE.get_or_try_init(|| async {
            let to = token::now();
            let twins = Twins {
                from: to - SPAN,
                to,
            };
            for (tenant, parts) in [
                // What is outside comes first, so that nothing inside stands first by chance.
                (UMBRELLA, &OUTSIDE[..]),
                (UMBRELLA, &INSIDE[..]),
                (SOYLENT, &INSIDE[..]),
            ] {
                push_lines(scene, tenant, parts, twins).await?;
                push_samples(scene, tenant, parts, twins).await?;
            }
            twins.wait(scene).await?;
            anyhow::Ok(twins)
        });
        twins.await.copied()
    }

    /// Until both tenants have all of it, and Loki counts it in its index.
    async fn wait(self, scene: &Scene) -> Result<()> {
        let loki = scene.stack.loki.http();
        // Lines in memory are not counted.
        let flush = RawRequest::post("/flush", "");
        check_status(&scene.direct(loki, UMBRELLA, flush).await?, 204)?;
        let everything = form::encode("{bird=~\".+\"}");
        let range = format!("query={everything}&start={}&end={}", self.from, self.to);
        let paths = [
            (Backend::Loki, format!("/loki/api/v1/patterns?{range}")),
            (Backend::Loki, format!("/loki/api/v1/query_range?{range}")),
            (
                Backend::Mimir,
                "/prometheus/api/v1/label/bird/values".to_owned(),
            ),
        ];
        for (tenant, parts) in [(UMBRELLA, &OUTSIDE[..]), (SOYLENT, &INSIDE[..])] {
            for (backend, path) in &paths {
                eventually(&format!("{tenant} has {path}"), || async {
                    let request = RawRequest::get(&format!("{path}&limit=5000"));
                    let request = if *backend == Backend::Mimir {
                        RawRequest::get(path)
                    } else {
                        request
                    };
                    let text = scene
                        .direct(server(scene, *backend), tenant, request)
                        .await?
                        .text();
                    Ok(parts.iter().all(|(_, bird, _)| text.contains(bird)))
                })
                .await?;
            }
            let path = format!("/loki/api/v1/index/stats?{range}");
            let lines = u64::try_from(LINES * parts.len())?;
            eventually(&format!("{tenant}: {path}"), || async {
                let reply = scene.direct(loki, tenant, RawRequest::get(&path)).await?;
                Ok(reply.json()?["entries"].as_u64() >= Some(lines))
            })
            .await?;
        }
        Ok(())
    }

    /// Until Loki counts every line of both tenants equally often, and names their labels. At every quarter of an hour it
    /// builds an index. From then on it counts what it has in memory and in that index twice, in one tenant a moment
    /// before the other. Answers then differ, and not because of the gate. If it never settles, they are compared all the
    /// same.
    pub async fn settle(self, scene: &Scene) -> Result<()> {
        let started = Instant::now();
        loop {
            let umbrella = self
                .times_counted(scene, UMBRELLA, OUTSIDE.len() + INSIDE.len())
                .await?;
            let soylent = self.times_counted(scene, SOYLENT, INSIDE.len()).await?;
            if umbrella.is_some() && umbrella == soylent {
                return Ok(());
            }
            if started.elapsed() > SETTLED {
                println!(
                    "not settled within {SETTLED:?}: {umbrella:?} in {UMBRELLA}, {soylent:?} in {SOYLENT}"
                );
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    }

    /// How often Loki counts each line of a tenant, if it counts all of them equally often and names their labels.
    async fn times_counted(
        self,
        scene: &Scene,
        tenant: &str,
        streams: usize,
    ) -> Result<Option<u64>> {
        let loki = scene.stack.loki.http();
        let range = format!("start={}&end={}", self.from, self.to);
        let everything = form::encode("{bird=~\".+\"}");
        let ask = async |path: String| scene.direct(loki, tenant, RawRequest::get(&path)).await;
        let stats = ask(format!(
            "/loki/api/v1/index/stats?query={everything}&{range}"
        ))
        .await?;
        let labels = ask(format!("/loki/api/v1/detected_labels?{range}")).await?;
        let lines = u64::try_from(LINES * streams)?;
        let counted = stats.json()?["entries"].as_u64().unwrap_or_default();
        let whole = counted > 0 && counted % lines == 0 && labels.text().contains("\"bird\"");
        Ok(whole.then_some(counted / lines))
    }
}

fn labels((namespace, bird, stone): Part) -> Vec<(String, String)> {
    let only = format!("only_{bird}");
    let mut labels = vec![
        ("bird", bird),
        ("plot", "orchard"),
        ("resource_id", stone),
        (only.as_str(), "yes"),
    ];
    if namespace.is_empty() {
        labels.push(("k8s_namespace", "web"));
    } else {
        labels.push(("namespace", namespace));
    }
    labels
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// In three formats, and no two of one tenant at the same time: then a limit leaves out the same ones everywhere.
async fn push_lines(scene: &Scene, tenant: &str, parts: &[Part], twins: Twins) -> Result<()> {
    let streams: Vec<Value> = parts
        .iter()
        .zip(1_usize..)
        .map(|(part, place)| {
            let (namespace, bird, stone) = *part;
            let values: Vec<Value> = (0..LINES)
                .map(|number| {
                    let millis = number * 1400 + place * 7 + parts.len();
                    let time = twins.from * 1000 + i64::try_from(millis).unwrap_or_default();
                    let level = ["info", "warn", "error"][(number + place) % 3];
                    let took = (number * 37 + place * 11) % 90;
                    let line = match number % 4 {
                        0 | 1 => format!(
                            "level={level} plumage={bird} {bird}_seen={number} msg=\"a {bird} by the {stone}\" ms={took}"
                        ),
                        2 => json!({"level": level, "plumage": bird, "nest": {"stone": stone, "eggs": number % 5}, "ms": took})
                            .to_string(),
                        _ => format!("GET /{bird}/{number} 200 namespace=web by {stone}"),
                    };
                    let mut metadata = json!({"ring": format!("{bird}-{}", number % 4)});
                    if namespace.is_empty() {
                        metadata["namespace"] = json!("web");
                    }
                    json!([format!("{time}000000"), line, metadata])
                })
                .collect();
            let labels: serde_json::Map<String, Value> = labels(*part)
                .into_iter()
                .map(|(name, value)| (name, json!(value)))
                .collect();
            json!({"stream": labels, "values": values})
        })
        .collect();
    push(scene, tenant, &streams).await
}

/// A counter, gauges and a histogram, every one with exemplars; no two values are alike, so that a rank is one.
async fn push_samples(scene: &Scene, tenant: &str, parts: &[Part], twins: Twins) -> Result<()> {
    for step in 0..SPAN / SCRAPE {
        let mut owned = Vec::new();
        for (part, place) in parts.iter().zip(1_i64..) {
            let (_, bird, stone) = *part;
            // One that has ended, and is stale at the end.
            if bird == "heron" && step > SPAN / SCRAPE / 2 {
                continue;
            }
            let value = |factor: i64| (step * factor + place) as f64 + place as f64 / 64.0;
            let mut series = |name: &str, more: Option<(&str, &str)>, value: f64| {
                let mut labels = labels(*part);
                labels.extend(more.map(|(name, value)| (name.to_owned(), value.to_owned())));
                owned.push((name.to_owned(), labels, value));
            };
            series("birds_total", None, value(3 + place));
            series(&format!("{bird}_nests"), None, value(0));
            series(
                "temperature",
                None,
                ((step * 7 + place * 5) % 23) as f64 + place as f64 / 64.0,
            );
            series("flight_seconds_bucket", Some(("le", "1")), value(1));
            series("flight_seconds_bucket", Some(("le", "10")), value(2));
            series("flight_seconds_bucket", Some(("le", "+Inf")), value(4));
            series("flight_seconds_count", Some(("of", stone)), value(4));
        }
        let texts: Vec<Vec<(&str, &str)>> = owned
            .iter()
            .map(|(_, labels, _)| {
                let pairs = labels.iter();
                pairs
                    .map(|(name, value)| (name.as_str(), value.as_str()))
                    .collect()
            })
            .collect();
        let traces: Vec<String> = owned
            .iter()
            .map(|(name, labels, _)| format!("{name}-{}-{step}", labels[0].1))
            .collect();
        let samples: Vec<(remote_write::Sample<'_>, &str)> = owned
            .iter()
            .zip(&texts)
            .zip(&traces)
            .map(|(((name, _, value), labels), trace)| {
                ((name.as_str(), labels.as_slice(), *value), trace.as_str())
            })
            .collect();
        let time = (twins.from + step * SCRAPE) * 1000;
        let body = remote_write::request_with_exemplars(&samples, time);
        let request = RawRequest::post("/prometheus/api/v1/push", body)
            .header("content-type", "application/x-protobuf")
            .header("content-encoding", "snappy")
            .header("x-prometheus-remote-write-version", "0.1.0");
        check_status(&scene.send("agent-acme", tenant, request).await?, 200)?;
    }
    Ok(())
}

/// How long Loki may count lines of one tenant more often than of the other until its answers are compared all the same.
const SETTLED: Duration = Duration::from_secs(20);
/// For how long there are data, in seconds.
const SPAN: i64 = 360;
/// Seconds between samples.
const SCRAPE: i64 = 15;
/// Of each stream: so many that Loki makes patterns of them.
const LINES: usize = 256;
