//! Traces as JSON, in two dialects that differ in IDs and enums. No library writes Tempo's, and writing both here
//! shows where they differ.

use anyhow::{Context, Result, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value as Json, json};

use super::{
    AnyValue, ArrayValue, ExportTraceServiceRequest, InstrumentationScope, KeyValue, KeyValueList,
    Resource, ResourceSpans, ScopeSpans, Span, Status, Value,
};

/// A dialect of JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// OTLP/JSON: IDs in hexadecimal, enums as numbers.
    Otlp,
    /// Tempo's answers, which follow the plain protobuf mapping: IDs in base64, enums by name.
    Tempo,
}

/// The body of an OTLP/JSON push.
#[must_use]
pub fn traces(request: &ExportTraceServiceRequest) -> Json {
    json!({ "resourceSpans": resource_spans(&request.resource_spans, Dialect::Otlp) })
}

#[must_use]
pub fn resource_spans(list: &[ResourceSpans], dialect: Dialect) -> Json {
    let spans = |list: &[Span]| list.iter().map(|span| span_json(span, dialect)).collect();
    let scopes = |list: &[ScopeSpans]| -> Vec<Json> {
        list.iter()
            .map(|scoped| {
                let scope = scoped.scope.clone().unwrap_or_default();
                let spans: Vec<Json> = spans(&scoped.spans);
                let own = attributes(&scope.attributes);
                json!({
                    "scope": { "name": scope.name, "version": scope.version, "attributes": own },
                    "spans": spans,
                })
            })
            .collect()
    };
    list.iter()
        .map(|group| {
            let resource = group.resource.clone().unwrap_or_default();
            json!({
                "resource": { "attributes": attributes(&resource.attributes) },
                "scopeSpans": scopes(&group.scope_spans),
            })
        })
        .collect()
}

#[must_use]
pub fn attributes(list: &[KeyValue]) -> Json {
    list.iter()
        .map(|pair| {
            let value = pair.value.as_ref().map_or_else(|| json!({}), any_value);
            json!({ "key": pair.key, "value": value })
        })
        .collect()
}

fn span_json(span: &Span, dialect: Dialect) -> Json {
    let id = |bytes: &[u8]| match dialect {
        Dialect::Otlp => hex::encode(bytes),
        Dialect::Tempo => STANDARD.encode(bytes),
    };
    let named = |number: i32, names: &[&str]| {
        let name = usize::try_from(number).ok().and_then(|at| names.get(at));
        match (dialect, name) {
            (Dialect::Tempo, Some(name)) => json!(name),
            _ => json!(number),
        }
    };
    let status = span.status.clone().unwrap_or_default();
    json!({
        "traceId": id(&span.trace_id),
        "spanId": id(&span.span_id),
        "parentSpanId": id(&span.parent_span_id),
        "traceState": span.trace_state,
        "name": span.name,
        "kind": named(span.kind, KINDS),
        "startTimeUnixNano": span.start_time_unix_nano.to_string(),
        "endTimeUnixNano": span.end_time_unix_nano.to_string(),
        "attributes": attributes(&span.attributes),
        "status": { "message": status.message, "code": named(status.code, CODES) },
        "flags": span.flags,
    })
}

fn any_value(value: &AnyValue) -> Json {
    match &value.value {
        None => json!({}),
        Some(Value::StringValue(text)) => json!({ "stringValue": text }),
        Some(Value::BoolValue(flag)) => json!({ "boolValue": flag }),
        Some(Value::IntValue(number)) => json!({ "intValue": number.to_string() }),
        Some(Value::DoubleValue(number)) => json!({ "doubleValue": number }),
        Some(Value::ArrayValue(array)) => {
            let values: Vec<Json> = array.values.iter().map(any_value).collect();
            json!({ "arrayValue": { "values": values } })
        }
        Some(Value::KvlistValue(map)) => {
            json!({ "kvlistValue": { "values": attributes(&map.values) } })
        }
        Some(Value::BytesValue(bytes)) => json!({ "bytesValue": STANDARD.encode(bytes) }),
        // This is an index into a dictionary, which profiles have but traces do not.
        Some(Value::StringValueStrindex(_)) => json!({}),
    }
}

/// Reads an OTLP/JSON push. Unknown fields are ignored, as OTLP requires. A field of the wrong type is an error.
pub fn parse_traces(body: &[u8]) -> Result<ExportTraceServiceRequest> {
    let root: Json = serde_json::from_slice(body).context("no JSON")?;
    if !root.is_object() {
        bail!("no JSON object");
    }
    let resource_spans = each(&root, "resourceSpans", |group| {
        Ok(ResourceSpans {
            resource: Some(Resource {
                attributes: each(&group["resource"], "attributes", key_value)?,
                ..Resource::default()
            }),
            scope_spans: each(group, "scopeSpans", parse_scope_spans)?,
            ..ResourceSpans::default()
        })
    })?;
    Ok(ExportTraceServiceRequest { resource_spans })
}

fn parse_scope_spans(scoped: &Json) -> Result<ScopeSpans> {
    let scope = &scoped["scope"];
    Ok(ScopeSpans {
        scope: Some(InstrumentationScope {
            name: text(scope, "name")?,
            version: text(scope, "version")?,
            attributes: each(scope, "attributes", key_value)?,
            ..InstrumentationScope::default()
        }),
        spans: each(scoped, "spans", parse_span)?,
        ..ScopeSpans::default()
    })
}

fn parse_span(span: &Json) -> Result<Span> {
    let status = &span["status"];
    Ok(Span {
        trace_id: id(span, "traceId")?,
        span_id: id(span, "spanId")?,
        trace_state: text(span, "traceState")?,
        parent_span_id: id(span, "parentSpanId")?,
        name: text(span, "name")?,
        kind: enumeration(span, "kind", KINDS)?,
        start_time_unix_nano: integer(span, "startTimeUnixNano")?,
        end_time_unix_nano: integer(span, "endTimeUnixNano")?,
        attributes: each(span, "attributes", key_value)?,
        status: Some(Status {
            message: text(status, "message")?,
            code: enumeration(status, "code", CODES)?,
        }),
        flags: integer(span, "flags")?,
        ..Span::default()
    })
}

fn key_value(pair: &Json) -> Result<KeyValue> {
    Ok(KeyValue {
        key: text(pair, "key")?,
        value: Some(parse_any_value(&pair["value"])?),
        ..KeyValue::default()
    })
}

fn parse_any_value(value: &Json) -> Result<AnyValue> {
    let Some((kind, content)) = value.as_object().and_then(|object| object.iter().next()) else {
        return Ok(AnyValue::default());
    };
    let wrong = || format!("{kind} has the wrong type");
    let parsed = match kind.as_str() {
        "stringValue" => Value::StringValue(text(value, kind)?),
        "boolValue" => Value::BoolValue(content.as_bool().with_context(wrong)?),
        "intValue" => Value::IntValue(integer(value, kind)?),
        "doubleValue" => Value::DoubleValue(content.as_f64().with_context(wrong)?),
        "arrayValue" => Value::ArrayValue(ArrayValue {
            values: each(content, "values", parse_any_value)?,
        }),
        "kvlistValue" => Value::KvlistValue(KeyValueList {
            values: each(content, "values", key_value)?,
        }),
        "bytesValue" => Value::BytesValue(STANDARD.decode(text(value, kind)?)?),
        other => bail!("unknown kind of value {other:?}"),
    };
    Ok(AnyValue {
        value: Some(parsed),
    })
}

fn each<T>(parent: &Json, name: &str, read: impl Fn(&Json) -> Result<T>) -> Result<Vec<T>> {
    match &parent[name] {
        Json::Null => Ok(Vec::new()),
        Json::Array(list) => list.iter().map(read).collect(),
        _ => bail!("{name} is no list"),
    }
}

fn text(parent: &Json, name: &str) -> Result<String> {
    match &parent[name] {
        Json::Null => Ok(String::new()),
        Json::String(text) => Ok(text.clone()),
        _ => bail!("{name} is no string"),
    }
}

/// Reads a 64-bit number. They are written as strings, because JSON readers lose digits, but plain numbers are
/// allowed too.
fn integer<T: std::str::FromStr>(parent: &Json, name: &str) -> Result<T> {
    let digits = match &parent[name] {
        Json::Null => "0".to_owned(),
        Json::Number(number) => number.to_string(),
        Json::String(text) => text.clone(),
        _ => bail!("{name} is no number"),
    };
    let parsed = digits.parse().ok();
    parsed.with_context(|| format!("{name} is no integer in range"))
}

/// Reads an enum. OTLP/JSON sends numbers, but the Collector's receiver, which Tempo uses, reads names too.
fn enumeration(parent: &Json, name: &str, names: &[&str]) -> Result<i32> {
    let found = names.iter().position(|known| parent[name] == **known);
    match found {
        Some(index) => Ok(i32::try_from(index)?),
        None => integer(parent, name),
    }
}

/// Reads a trace or span ID, which is hexadecimal, unlike other bytes in protobuf's JSON.
fn id(parent: &Json, name: &str) -> Result<Vec<u8>> {
    let text = text(parent, name)?;
    hex::decode(&text).with_context(|| format!("{name} is no hex"))
}

const KINDS: &[&str] = &[
    "SPAN_KIND_UNSPECIFIED",
    "SPAN_KIND_INTERNAL",
    "SPAN_KIND_SERVER",
    "SPAN_KIND_CLIENT",
    "SPAN_KIND_PRODUCER",
    "SPAN_KIND_CONSUMER",
];

const CODES: &[&str] = &["STATUS_CODE_UNSET", "STATUS_CODE_OK", "STATUS_CODE_ERROR"];
