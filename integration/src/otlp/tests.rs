//! The bytes are what the official generated code (opentelemetry-proto for Python) makes of the same messages.

#![allow(clippy::expect_used)]

use prost::Message;

use super::*;

const LOGS: &str = "0a3c0a150a130a0c736572766963652e6e616d6512030a0173122312210901000000000000002a030a016c32080a016b1203\
                    0a0176590100000000000000";
const METRICS: &str = "0a3e0a150a130a0c736572766963652e6e616d6512030a0173122512230a016d2a1e0a1c190200000000000000210000\
                       00000000f83f3a080a016b12030a0176";
const SUM: &str = "0a2d122b12290a01631a01313a210a1b11010000000000000019020000000000000031090000000000000010021801";
const TRACES: &str = "0a8a010a090a070a016112021807127d0a060a017812013112730a103031323334353637383961626364656612083031\
                      3233343536371a017a220837363534333231302a016e30033903000000000000004104000000000000004a240a0162121f\
                      2a1d0a0210010a0921000000000000e03f0a0c320a0a080a016312033a01797a051201651802850100010000";

fn value(value: Value) -> Option<AnyValue> {
    Some(AnyValue { value: Some(value) })
}

fn pair(key: &str, content: Value) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: value(content),
    }
}

fn every_field() -> ExportTraceServiceRequest {
    let map = KeyValueList {
        values: vec![pair("c", Value::Bytes(b"y".to_vec()))],
    };
    let array = [Value::Bool(true), Value::Double(0.5), Value::Map(map)];
    let array = ArrayValue {
        values: array.into_iter().filter_map(value).collect(),
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
        attributes: vec![pair("b", Value::Array(array))],
        status: Some(Status {
            message: "e".to_owned(),
            code: 2,
        }),
        flags: 256,
    };
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(Resource {
                attributes: vec![pair("a", Value::Int(7))],
            }),
            scope_spans: vec![ScopeSpans {
                scope: Some(InstrumentationScope {
                    name: "x".to_owned(),
                    version: "1".to_owned(),
                    attributes: Vec::new(),
                }),
                spans: vec![span],
            }],
        }],
    }
}

fn bytes(hex: &str) -> Vec<u8> {
    json::from_hex(hex).expect("hex")
}

#[test]
fn messages_are_encoded_as_the_official_ones() {
    let attributes: Attributes<'_> = &[("k", "v")];
    let written = logs("s", &[(1, "l", attributes)]);
    assert_eq!(written.encode_to_vec(), bytes(LOGS));
    let written = metrics("s", &[("m", 1.5, 2, attributes)]);
    assert_eq!(written.encode_to_vec(), bytes(METRICS));
    assert_eq!(every_field().encode_to_vec(), bytes(TRACES));
    let sum = MetricData::Sum(Sum {
        data_points: vec![NumberDataPoint {
            start_time_unix_nano: 1,
            time_unix_nano: 2,
            value: Some(Number::Int(9)),
            attributes: Vec::new(),
        }],
        aggregation_temporality: 2,
        is_monotonic: true,
    });
    let written = ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            resource: None,
            scope_metrics: vec![ScopeMetrics {
                scope: None,
                metrics: vec![Metric {
                    name: "c".to_owned(),
                    unit: "1".to_owned(),
                    data: Some(sum),
                    ..Metric::default()
                }],
            }],
        }],
    };
    assert_eq!(written.encode_to_vec(), bytes(SUM));
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
