//! What is written as JSON can be read back completely.

#![allow(clippy::expect_used)]

use super::*;

fn value(value: Value) -> AnyValue {
    AnyValue { value: Some(value) }
}

fn pair(key: &str, content: Value) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(value(content)),
        ..KeyValue::default()
    }
}

fn every_field() -> ExportTraceServiceRequest {
    let map = KeyValueList {
        values: vec![pair("c", Value::BytesValue(b"y".to_vec()))],
    };
    let array = [
        Value::BoolValue(true),
        Value::DoubleValue(0.5),
        Value::KvlistValue(map),
    ];
    let array = ArrayValue {
        values: array.into_iter().map(value).collect(),
    };
    let span = Span {
        trace_id: b"0123456789abcdef".to_vec(),
        span_id: b"01234567".to_vec(),
        trace_state: "z".to_owned(),
        parent_span_id: b"76543210".to_vec(),
        name: "n".to_owned(),
        kind: 3,
        start_time_unix_nano: 3,
        end_time_unix_nano: 4,
        attributes: vec![pair("b", Value::ArrayValue(array))],
        status: Some(Status {
            message: "e".to_owned(),
            code: 2,
        }),
        flags: 256,
        ..Span::default()
    };
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(Resource {
                attributes: vec![pair("a", Value::IntValue(7))],
                ..Resource::default()
            }),
            scope_spans: vec![ScopeSpans {
                scope: Some(InstrumentationScope {
                    name: "x".to_owned(),
                    version: "1".to_owned(),
                    ..InstrumentationScope::default()
                }),
                spans: vec![span],
                ..ScopeSpans::default()
            }],
            ..ResourceSpans::default()
        }],
    }
}

#[test]
fn json_carries_all_of_a_trace() {
    let written = json::traces(&every_field());
    let span = &written["resourceSpans"][0]["scopeSpans"][0]["spans"][0];
    assert_eq!(span["traceId"], "30313233343536373839616263646566");
    assert_eq!(span["startTimeUnixNano"], "3");
    let read = json::parse_traces(written.to_string().as_bytes());
    assert_eq!(read.expect("a request"), every_field());
}
