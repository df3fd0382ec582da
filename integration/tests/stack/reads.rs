//! Every read of the endpoint table, as a question whose answer is known to contain data of the tenant.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use integration::client::{RawRequest, Reply};
use integration::form;
use integration::stack::collector::Exporter;
use prost::Message;
use scopegate::authz::endpoint::{Backend, Endpoint, Endpoints, Rewrite, Surface, Tenants};
use serde_json::Value;

use crate::scene::{Scene, trace_id};

/// A read with its parameters. In path and parameters `T` stands for the tenant, `FROM` and `TO` for the time of the
/// data in seconds, `TRACE` for a trace of the tenant.
#[derive(Clone, Copy, Debug)]
pub struct Read {
    pub path: &'static str,
    pub parameters: &'static [(&'static str, &'static str)],
    /// Whether the answer holds data, and so the name of whose they are.
    pub tells: bool,
}

const fn read(path: &'static str, parameters: &'static [(&'static str, &'static str)]) -> Read {
    Read {
        path,
        parameters,
        tells: true,
    }
}

/// An answer without anybody's data.
const fn mute(path: &'static str, parameters: &'static [(&'static str, &'static str)]) -> Read {
    Read {
        tells: false,
        ..read(path, parameters)
    }
}

const TIMES: (&str, &str) = ("start", "FROM");
const UNTIL: (&str, &str) = ("end", "TO");
/// Everybody's logs.
const LOGS: (&str, &str) = ("query", "{owner=~\".+\"}");
/// Everybody's series.
const SERIES: (&str, &str) = ("query", "{owner=~\".+\"}");

/// All of them but tail, remote read and gRPC, which have clients of their own.
pub const READS: &[Read] = &[
    read(
        "/loki/api/v1/query",
        &[
            (
                "query",
                "sum by (owner, service_name) (count_over_time({owner=~\".+\"}[1h]))",
            ),
            ("time", "TO"),
        ],
    ),
    read(
        "/loki/api/v1/query_range",
        &[LOGS, TIMES, UNTIL, ("limit", "100")],
    ),
    read(
        "/loki/api/v1/query_range",
        &[
            (
                "query",
                "sum by (owner) (count_over_time({owner=~\".+\"}[5m]))",
            ),
            TIMES,
            UNTIL,
            ("step", "60"),
        ],
    ),
    read("/loki/api/v1/labels", &[TIMES, UNTIL]),
    read("/loki/api/v1/label", &[TIMES, UNTIL]),
    read("/loki/api/v1/label/owner/values", &[TIMES, UNTIL]),
    read("/loki/api/v1/label/service_name/values", &[TIMES, UNTIL]),
    read(
        "/loki/api/v1/series",
        &[("match[]", "{owner=~\".+\"}"), TIMES, UNTIL],
    ),
    mute("/loki/api/v1/index/stats", &[LOGS, TIMES, UNTIL]),
    mute(
        "/loki/api/v1/index/shards",
        &[LOGS, TIMES, UNTIL, ("targetBytesPerShard", "100KB")],
    ),
    read("/loki/api/v1/index/volume", &[LOGS, TIMES, UNTIL]),
    read(
        "/loki/api/v1/index/volume_range",
        &[LOGS, TIMES, UNTIL, ("step", "60")],
    ),
    mute("/loki/api/v1/patterns", &[LOGS, TIMES, UNTIL]),
    read("/loki/api/v1/detected_labels", &[LOGS, TIMES, UNTIL]),
    mute("/loki/api/v1/detected_fields", &[LOGS, TIMES, UNTIL]),
    read(
        "/loki/api/v1/detected_field/msg/values",
        &[("query", "{owner=~\".+\"} | logfmt"), TIMES, UNTIL],
    ),
    mute("/loki/api/v1/format_query", &[LOGS]),
    mute("/loki/api/v1/status/buildinfo", &[]),
    mute("/loki/api/v1/drilldown-limits", &[]),
    read("/loki/api/v1/rules", &[]),
    read("/loki/api/v1/rules/T-rules", &[]),
    read("/loki/api/v1/rules/T-rules/T-group", &[]),
    read("/loki/api/v1/delete", &[]),
    // Answers with streams only, whatever the time.
    read("/api/prom/query", &[LOGS, TIMES, UNTIL]),
    read("/api/prom/label", &[TIMES, UNTIL]),
    // An old quirk of Loki: label names, not values.
    read("/api/prom/label/owner/values", &[TIMES, UNTIL]),
    read(
        "/api/prom/series",
        &[("match[]", "{owner=~\".+\"}"), TIMES, UNTIL],
    ),
    read("/api/prom/rules", &[]),
    read("/api/prom/rules/T-rules", &[]),
    read("/api/prom/rules/T-rules/T-group", &[]),
    read("/prometheus/api/v1/query", &[SERIES, ("time", "TO")]),
    read(
        "/prometheus/api/v1/query_range",
        &[SERIES, TIMES, UNTIL, ("step", "1")],
    ),
    read(
        "/prometheus/api/v1/query_exemplars",
        &[SERIES, TIMES, UNTIL],
    ),
    read("/prometheus/api/v1/labels", &[TIMES, UNTIL]),
    read("/prometheus/api/v1/label/owner/values", &[TIMES, UNTIL]),
    read("/prometheus/api/v1/label/__name__/values", &[TIMES, UNTIL]),
    read(
        "/prometheus/api/v1/series",
        &[("match[]", "{owner=~\".+\"}"), TIMES, UNTIL],
    ),
    read("/prometheus/api/v1/metadata", &[]),
    mute("/prometheus/api/v1/format_query", &[SERIES]),
    read("/prometheus/api/v1/cardinality/label_names", &[]),
    read(
        "/prometheus/api/v1/cardinality/label_values",
        &[("label_names[]", "owner")],
    ),
    read(
        "/prometheus/api/v1/cardinality/active_series",
        &[("selector", "{owner=~\".+\"}")],
    ),
    mute(
        "/prometheus/api/v1/cardinality/active_native_histogram_metrics",
        &[("selector", "{owner=~\".+\"}")],
    ),
    read("/prometheus/api/v1/rules", &[]),
    mute("/prometheus/api/v1/alerts", &[]),
    mute("/prometheus/api/v1/status/buildinfo", &[]),
    mute("/api/v1/status/buildinfo", &[]),
    mute("/alertmanager/api/v1/status/buildinfo", &[]),
    mute("/alertmanager/api/v2/status", &[]),
    mute("/alertmanager/api/v2/receivers", &[]),
    mute("/alertmanager/api/v2/alerts", &[]),
    mute("/alertmanager/api/v2/alerts/groups", &[]),
    mute("/alertmanager/api/v2/silences", &[]),
    read("/prometheus/config/v1/rules", &[]),
    read("/prometheus/config/v1/rules/T-rules", &[]),
    read("/prometheus/config/v1/rules/T-rules/T-group", &[]),
    read("/tempo/api/traces/TRACE", &[]),
    read("/tempo/api/v2/traces/TRACE", &[]),
    read("/tempo/api/search", &[("q", "{}"), TIMES, UNTIL]),
    mute("/tempo/api/search/tags", &[TIMES, UNTIL]),
    mute("/tempo/api/v2/search/tags", &[TIMES, UNTIL]),
    read("/tempo/api/search/tag/owner/values", &[TIMES, UNTIL]),
    read(
        "/tempo/api/v2/search/tag/resource.service.name/values",
        &[TIMES, UNTIL],
    ),
    mute(
        "/tempo/api/v2/search/tag/span.a%2Fb/values",
        &[TIMES, UNTIL],
    ),
    mute(
        "/tempo/api/metrics/query",
        &[("q", "{} | count_over_time()"), TIMES, UNTIL],
    ),
    mute(
        "/tempo/api/metrics/query_range",
        &[
            ("q", "{} | count_over_time()"),
            TIMES,
            UNTIL,
            ("step", "60"),
        ],
    ),
    mute("/tempo/api/echo", &[]),
    mute("/tempo/api/status/buildinfo", &[]),
];

impl Read {
    /// The rows of the table that it is a request of, one for each method that reads.
    pub fn endpoints(&self, tenant: &str) -> Vec<(&'static str, &'static Endpoint)> {
        let endpoints = Endpoints::new(&[Surface::Platform, Surface::LokiLegacy]);
        let path = Self::concrete(self.path, tenant, 0, 0);
        ["GET", "POST"]
            .into_iter()
            .filter_map(|method| {
                Some((
                    method,
                    endpoints.find(path.as_bytes(), method.as_bytes()).ok()?,
                ))
            })
            .filter(|(_, endpoint)| endpoint.permission.name().ends_with("read"))
            .collect()
    }

    /// As a client sends it to the gate; a POST carries its parameters as a form.
    pub fn request(&self, scene: &Scene, method: &str, tenant: &str) -> RawRequest {
        self.request_to(&self.gate_path(scene, tenant), scene, method, tenant)
    }

    /// As the server expects it.
    pub fn direct(
        &self,
        scene: &Scene,
        method: &str,
        tenant: &str,
        endpoint: &Endpoint,
    ) -> RawRequest {
        let path = self.gate_path(scene, tenant);
        let path = match endpoint.rewrite {
            Rewrite::Keep => path,
            Rewrite::To(path) => path.to_owned(),
            Rewrite::WithoutPrefix(prefix) => path.strip_prefix(prefix).unwrap_or(&path).to_owned(),
        };
        self.request_to(&path, scene, method, tenant)
    }

    pub fn gate_path(&self, scene: &Scene, tenant: &str) -> String {
        Self::concrete(self.path, tenant, scene.from, scene.to)
    }

    fn request_to(&self, path: &str, scene: &Scene, method: &str, tenant: &str) -> RawRequest {
        let pairs: Vec<String> = self
            .parameters
            .iter()
            .map(|(name, value)| {
                let value = Self::concrete(value, tenant, scene.from, scene.to);
                format!("{}={}", form::encode(name), form::encode(&value))
            })
            .collect();
        let form = pairs.join("&");
        if method == "POST" {
            return RawRequest::post(path, form)
                .header("content-type", "application/x-www-form-urlencoded");
        }
        if form.is_empty() {
            return RawRequest::get(path);
        }
        RawRequest::get(&format!("{path}?{form}"))
    }

    fn concrete(text: &str, tenant: &str, from: i64, to: i64) -> String {
        // A trace of several tenants' is asked for as the first one's.
        let first = tenant.split('|').next().unwrap_or(tenant);
        match text {
            "FROM" => from.to_string(),
            "TO" => to.to_string(),
            _ => text
                .replace(
                    "TRACE",
                    &format!("{:032x}", trace_id(first, Exporter::Http)),
                )
                .replace("T-", &format!("{first}-")),
        }
    }
}

/// The server behind a row.
pub fn server(scene: &Scene, backend: Backend) -> SocketAddr {
    match backend {
        Backend::Loki => scene.stack.loki.http(),
        Backend::Mimir => scene.stack.mimir.http(),
        Backend::Tempo => scene.stack.tempo.http(),
    }
}

/// Whether the server answers it for `a|b`.
pub fn federates(endpoint: &Endpoint) -> bool {
    endpoint.tenants != Tenants::One
}

/// An answer without what differs from one time to the next: durations, and the order in lists.
pub fn settled(reply: &Reply) -> String {
    match serde_json::from_slice::<Value>(&reply.body) {
        Ok(value) => sorted(value).to_string(),
        Err(_) => reply.text(),
    }
}

fn sorted(value: Value) -> Value {
    match value {
        Value::Object(members) => members
            .into_iter()
            .filter(|(name, _)| !UNSETTLED.contains(&name.as_str()))
            .map(|(name, value)| (name, sorted(value)))
            .collect(),
        Value::Array(items) => {
            let mut items: Vec<Value> = items.into_iter().map(sorted).collect();
            items.sort_by_key(Value::to_string);
            Value::Array(items)
        }
        other => other,
    }
}

/// Execution statistics of Loki, of Mimir's rules and of Tempo.
const UNSETTLED: [&str; 6] = [
    "stats",
    "evaluationTime",
    "lastEvaluation",
    "metrics",
    "totalEntriesReturned",
    "lastError",
];

/// A remote read of everybody's series (`prometheus.ReadRequest`, snappy).
pub fn remote_read(scene: &Scene) -> RawRequest {
    let message = ReadRequest {
        queries: vec![Query {
            start_timestamp_ms: scene.from * 1000,
            end_timestamp_ms: scene.to * 1000,
            matchers: vec![LabelMatcher {
                r#type: 2,
                name: "owner".to_owned(),
                value: ".+".to_owned(),
            }],
        }],
    };
    let body = snap::raw::Encoder::new()
        .compress_vec(&message.encode_to_vec())
        .unwrap_or_default();
    RawRequest::post("/prometheus/api/v1/read", body)
        .header("content-type", "application/x-protobuf")
        .header("content-encoding", "snappy")
        .header("x-prometheus-remote-read-version", "0.1.0")
}

/// What a remote read brought, uncompressed: labels stand in it as text.
pub fn remote_read_text(reply: &Reply) -> Result<String> {
    let bytes = snap::raw::Decoder::new()
        .decompress_vec(&reply.body)
        .with_context(|| format!("{} {}", reply.status, reply.text()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[derive(Clone, PartialEq, Message)]
struct ReadRequest {
    #[prost(message, repeated, tag = "1")]
    queries: Vec<Query>,
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
    /// 0 equal, 1 not equal, 2 regular expression, 3 its negation.
    #[prost(int32, tag = "1")]
    r#type: i32,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(string, tag = "3")]
    value: String,
}
