//! The HTTP API of the query port.

use std::sync::Arc;

use bytes::Bytes;
use hyper::Response;
use hyper::header::{HeaderMap, HeaderValue};
use hyper::http::request::Parts;
use prost::Message;
use serde_json::{Value, json};

use super::ingest::response;
use super::metrics::{self, Window};
use super::operational;
use super::parameters::{Parameters, logfmt};
use super::shared::{Refusal, Shared, TENANT, UNKNOWN, tenants};
use super::span::StoredSpan;
use super::store::{self, Bounds, Found};
use super::traceql::{Field, Filter};
use super::wire::{Sample, Trace, TraceByIdResponse};
use crate::form;
use crate::otlp::json::{Dialect, attributes, resource_spans};
use crate::otlp::unix_nanos;
use crate::server::Body;

enum Answer {
    Text(String),
    Json(Value),
    Protobuf(Vec<u8>),
}

/// Tempo registers its handlers without a method filter, so this is the answer for any method.
pub(super) fn answer(shared: &Shared, head: &Parts) -> Response<Body> {
    // Tempo's router uses the decoded path: it treats `%2F` as a slash, even between `/status` and `config`.
    let path = form::decode_path(head.uri.path());
    // Tempo's querier has a copy of the read API for the frontend, on the same port.
    let copy = path.strip_prefix("/querier/");
    let (route, outcome) = match operational::page(shared, &path) {
        Some(text) => ("operational".to_owned(), Ok(Answer::Text(text))),
        None => api(shared, head, copy.unwrap_or(path.trim_start_matches('/'))),
    };
    let (status, content_type, body) = match outcome {
        Ok(Answer::Text(text)) => (200, TEXT, Bytes::from(text)),
        Ok(Answer::Json(value)) => (200, "application/json", value.to_string().into()),
        Ok(Answer::Protobuf(bytes)) => (200, "application/protobuf", bytes.into()),
        Err(refusal) => (refusal.http, TEXT, refusal.message.into()),
    };
    shared.count(head.method.as_str(), &route, &status.to_string());
    response(status, content_type, body)
}

/// The name of the route in Tempo's metrics, and the answer.
fn api(shared: &Shared, head: &Parts, path: &str) -> (String, Result<Answer, Refusal>) {
    let parameters = Parameters::parse(head.uri.query().unwrap_or_default());
    let segments: Vec<&str> = path.split('/').collect();
    let (route, second) = match &segments[..] {
        ["api", "v2", route @ ..] => (route, true),
        ["api", route @ ..] => (route, false),
        _ => (&[][..], false),
    };
    let spans = || spans(shared, &head.headers);
    let outcome = match *route {
        // Tempo requires no tenant for these two.
        ["echo"] if !second => Ok(Answer::Text("echo".to_owned())),
        ["status", "buildinfo"] if !second => Ok(Answer::Json(
            json!({ "version": "stand-in", "revision": "", "branch": "", "goVersion": "" }),
        )),
        ["traces", id] if !id.is_empty() => {
            let accept = head.headers.get("accept");
            let protobuf = accept.is_some_and(|value| value == "application/protobuf");
            spans().and_then(|spans| trace(&spans, id, second, protobuf))
        }
        ["search"] if !second => spans().and_then(|spans| search(&spans, &parameters)),
        ["search", "tags"] => spans().and_then(|spans| tags(&spans, &parameters, second)),
        // Tempo allows slashes in a tag.
        ["search", "tag", ref tag @ .., "values"] => {
            let tag = tag.join("/");
            let query = second.then(|| parameters.text("q"));
            spans().and_then(|spans| tag_values(&spans, &tag, query))
        }
        ["metrics", which @ ("query" | "query_range")] if !second => {
            spans().and_then(|spans| metric(&spans, &parameters, which == "query_range"))
        }
        // This is the answer of Go's router. Among these paths are overrides, mcp and metrics/summary, which are not
        // configured.
        _ => {
            let refusal = Refusal {
                http: 404,
                grpc: UNKNOWN,
                message: "404 page not found\n".to_owned(),
            };
            return ("notfound".to_owned(), Err(refusal));
        }
    };
    let name = match *route {
        ["traces", _] => "traces_traceid".to_owned(),
        ["search", "tag", ..] => "search_tag_tagname_values".to_owned(),
        _ => route.join("_"),
    };
    let version = if second { "v2_" } else { "" };
    (format!("api_{version}{name}"), outcome)
}

/// The spans that the caller's tenants have written.
fn spans(shared: &Shared, headers: &HeaderMap) -> Result<Vec<Arc<StoredSpan>>, Refusal> {
    // Tempo over HTTP uses the first of two headers, and `a|b` is the union of both.
    let first = headers.get(TENANT).map(HeaderValue::as_bytes);
    let tenant = first.filter(|value| !value.is_empty());
    let tenant = tenant.ok_or_else(|| Refusal {
        http: 401,
        grpc: UNKNOWN,
        message: "no org id".to_owned(),
    })?;
    Ok(shared.store.spans(&tenants(tenant)?))
}

fn trace(
    spans: &[Arc<StoredSpan>],
    id: &str,
    second: bool,
    protobuf: bool,
) -> Result<Answer, Refusal> {
    let padded = format!("{id:0>32}");
    let bytes = hex::decode(&padded).ok().filter(|bytes| bytes.len() == 16);
    let invalid = || Refusal::bad_request("trace IDs can only contain hex characters, at most 32");
    let found = store::trace(spans, &bytes.ok_or_else(invalid)?);
    // Tempo answers an unknown ID, and so one of another tenant, with 404 in v1, and in v2 with 200 and an empty
    // trace.
    if found.is_empty() && !second {
        return Err(Refusal {
            http: 404,
            grpc: UNKNOWN,
            message: "trace not found".to_owned(),
        });
    }
    if protobuf {
        let trace = Trace {
            resource_spans: found,
        };
        return Ok(Answer::Protobuf(if second {
            TraceByIdResponse { trace: Some(trace) }.encode_to_vec()
        } else {
            trace.encode_to_vec()
        }));
    }
    // Tempo's v1 keeps the name of a field that protobuf renamed long ago.
    let list = resource_spans(&found, Dialect::Tempo);
    Ok(Answer::Json(match (second, found.is_empty()) {
        (false, _) => json!({ "batches": list }),
        (true, false) => json!({ "trace": { "resourceSpans": list }, "metrics": {} }),
        // Tempo's JSON omits empty fields.
        (true, true) => json!({ "trace": {}, "metrics": {} }),
    }))
}

fn search(spans: &[Arc<StoredSpan>], parameters: &Parameters) -> Result<Answer, Refusal> {
    let filter = match parameters.text("q") {
        "" => Filter::from_tags(logfmt(parameters.text("tags"))?),
        query => Filter::parse(query).map_err(Refusal::bad_request)?,
    };
    let bounds = Bounds {
        start: parameters.number("start", 0)?,
        end: parameters.number("end", 0)?,
        limit: parameters.number("limit", DEFAULT_LIMIT)?,
    };
    let found = store::search(spans, &filter, bounds);
    let traces: Vec<Value> = found.iter().map(found_json).collect();
    Ok(Answer::Json(
        json!({ "traces": traces, "metrics": { "completedJobs": 1, "totalJobs": 1 } }),
    ))
}

fn found_json(found: &Found) -> Value {
    let span = |stored: &Arc<StoredSpan>| {
        let span = &stored.span;
        let duration = span
            .end_time_unix_nano
            .saturating_sub(span.start_time_unix_nano);
        json!({
            "spanID": hex::encode(&span.span_id),
            "name": span.name,
            "startTimeUnixNano": span.start_time_unix_nano.to_string(),
            "durationNanos": duration.to_string(),
            "attributes": attributes(&span.attributes),
        })
    };
    let spans: Vec<Value> = found.matched.iter().map(span).collect();
    let set = json!({ "spans": spans, "matched": spans.len() });
    json!({
        "traceID": found.metadata.trace_id,
        "rootServiceName": found.metadata.root_service_name,
        "rootTraceName": found.metadata.root_trace_name,
        "startTimeUnixNano": found.metadata.start_time_unix_nano.to_string(),
        "durationMs": found.metadata.duration_ms,
        "spanSet": set,
        "spanSets": [set],
    })
}

fn tags(
    spans: &[Arc<StoredSpan>],
    parameters: &Parameters,
    second: bool,
) -> Result<Answer, Refusal> {
    // Tempo reads `q` only in v2.
    let query = if second { parameters.text("q") } else { "" };
    let scopes = in_scope(spans, parameters.text("scope"), query)?;
    Ok(Answer::Json(if second {
        let scope = |(name, tags): &(&str, Vec<String>)| json!({ "name": name, "tags": tags });
        let scopes: Vec<Value> = scopes.iter().map(scope).collect();
        json!({ "scopes": scopes, "metrics": {} })
    } else {
        let names: Vec<&String> = scopes.iter().flat_map(|(_, tags)| tags).collect();
        json!({ "tagNames": names, "metrics": {} })
    }))
}

/// The names of tags by scope. An empty scope or `none` means all of them.
pub(super) fn in_scope(
    spans: &[Arc<StoredSpan>],
    scope: &str,
    query: &str,
) -> Result<Vec<(&'static str, Vec<String>)>, Refusal> {
    if !["", "none", "resource", "span", "intrinsic"].contains(&scope) {
        return Err(Refusal::bad_request(format!("invalid scope: {scope}")));
    }
    let filter = Filter::parse(query).map_err(Refusal::bad_request)?;
    let wanted = |name: &str| matches!(scope, "" | "none") || scope == name;
    Ok(store::tags(spans, &filter)
        .into_iter()
        .filter(|(name, tags)| wanted(name) && !tags.is_empty())
        .map(|(name, tags)| (name, tags.into_iter().collect()))
        .collect())
}

/// Answers with the values of a tag. `query` exists in v2 only.
fn tag_values(
    spans: &[Arc<StoredSpan>],
    tag: &str,
    query: Option<&str>,
) -> Result<Answer, Refusal> {
    let field = field(tag, query.is_some())?;
    let filter = Filter::parse(query.unwrap_or_default()).map_err(Refusal::bad_request)?;
    let values = store::tag_values(spans, &field, &filter).into_iter();
    let values: Vec<Value> = match query {
        Some(_) => values
            .map(|(kind, value)| json!({ "type": kind, "value": value }))
            .collect(),
        None => values.map(|(_, value)| json!(value)).collect(),
    };
    Ok(Answer::Json(json!({ "tagValues": values, "metrics": {} })))
}

/// The field that a tag name denotes. v1 takes bare attribute names, and v2 only TraceQL's spelling.
pub(super) fn field(tag: &str, second: bool) -> Result<Field, Refusal> {
    let invalid = || {
        let reason = "tag name is not valid intrinsic or scoped attribute";
        Refusal::bad_request(format!("{reason}: {tag}"))
    };
    match Field::parse(tag) {
        Some(field) if second || field == Field::Name => Ok(field),
        _ if second || tag.is_empty() => Err(invalid()),
        _ => Ok(Field::Either(tag.to_owned())),
    }
}

/// Tempo aligns the window to the step; here it remains as requested.
fn metric(
    spans: &[Arc<StoredSpan>],
    parameters: &Parameters,
    range: bool,
) -> Result<Answer, Refusal> {
    // Tempo reads both names, and `q` wins.
    let query = match parameters.text("q") {
        "" => parameters.text("query"),
        query => query,
    };
    let end = parameters.time("end")?.unwrap_or_else(unix_nanos);
    let since = parameters.duration("since")?.unwrap_or(3_600_000_000_000);
    let start = parameters.time("start")?;
    let window = Window {
        start: start.unwrap_or(end.saturating_sub(since)),
        end,
        step: parameters.duration("step")?.unwrap_or(60_000_000_000),
    };
    let sample =
        |it: &Sample| json!({ "timestampMs": it.timestamp_ms.to_string(), "value": it.value });
    let series: Vec<Value> = if range {
        let found = metrics::range(spans, query, window)?.into_iter();
        found
            .map(|series| {
                let samples: Vec<Value> = series.samples.iter().map(sample).collect();
                json!({ "labels": attributes(&series.labels), "samples": samples })
            })
            .collect()
    } else {
        let found = metrics::instant(spans, query, window)?.into_iter();
        found
            .map(|series| json!({ "labels": attributes(&series.labels), "value": series.value }))
            .collect()
    };
    Ok(Answer::Json(json!({ "series": series, "metrics": {} })))
}

const TEXT: &str = "text/plain; charset=utf-8";

/// Tempo's default, in traces.
pub(super) const DEFAULT_LIMIT: u32 = 20;
