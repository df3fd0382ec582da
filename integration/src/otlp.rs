//! OTLP export requests: the messages of `opentelemetry-proto`, and small builders for what the tests write.

pub mod json;

use std::time::{SystemTime, UNIX_EPOCH};

pub use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
pub use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
pub use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
pub use opentelemetry_proto::tonic::common::v1::any_value::Value;
pub use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList,
};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{
    Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric, number_data_point,
};
pub use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
pub use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};

/// Names and string values.
pub type Attributes<'text> = &'text [(&'text str, &'text str)];

/// One span for each `(trace id, span name, attributes)`. It lasts 5 ms and starts now. The first span of a trace is
/// its root, and later ones are its children. `{id:032x}` is the trace ID as it is written in paths.
#[must_use]
pub fn traces(service: &str, spans: &[(u128, &str, Attributes<'_>)]) -> ExportTraceServiceRequest {
    let start = unix_nanos();
    let lower_half = |id: u128| u64::try_from(id & u128::from(u64::MAX)).unwrap_or_default();
    let span_id = |index: usize, id: u128| {
        let id = lower_half(id).wrapping_add(index as u64 + 1);
        id.to_be_bytes()
    };
    let span = |(index, (id, name, attributes)): (usize, &(u128, &str, Attributes<'_>))| {
        let root = spans.iter().position(|(other, ..)| other == id);
        let parent = root.filter(|root| *root != index);
        Span {
            trace_id: id.to_be_bytes().to_vec(),
            span_id: span_id(index, *id).to_vec(),
            parent_span_id: parent.map_or_else(Vec::new, |root| span_id(root, *id).to_vec()),
            name: (*name).to_owned(),
            kind: SpanKind::Server.into(),
            start_time_unix_nano: start,
            end_time_unix_nano: start + 5_000_000,
            attributes: attribute_list(attributes),
            ..Span::default()
        }
    };
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(resource(service)),
            scope_spans: vec![ScopeSpans {
                spans: spans.iter().enumerate().map(span).collect(),
                ..ScopeSpans::default()
            }],
            ..ResourceSpans::default()
        }],
    }
}

/// One record for each `(time in Unix nanoseconds, line, attributes)`.
#[must_use]
pub fn logs(service: &str, records: &[(u64, &str, Attributes<'_>)]) -> ExportLogsServiceRequest {
    let record = |(time, line, attributes): &(u64, &str, Attributes<'_>)| LogRecord {
        time_unix_nano: *time,
        observed_time_unix_nano: *time,
        body: Some(text(line)),
        attributes: attribute_list(attributes),
        ..LogRecord::default()
    };
    ExportLogsServiceRequest {
        resource_logs: vec![ResourceLogs {
            resource: Some(resource(service)),
            scope_logs: vec![ScopeLogs {
                log_records: records.iter().map(record).collect(),
                ..ScopeLogs::default()
            }],
            ..ResourceLogs::default()
        }],
    }
}

/// One gauge with one point for each `(name, value, time in Unix nanoseconds, attributes)`.
#[must_use]
pub fn metrics(
    service: &str,
    points: &[(&str, f64, u64, Attributes<'_>)],
) -> ExportMetricsServiceRequest {
    let gauge = |(name, value, time, attributes): &(&str, f64, u64, Attributes<'_>)| Metric {
        name: (*name).to_owned(),
        data: Some(metric::Data::Gauge(Gauge {
            data_points: vec![NumberDataPoint {
                time_unix_nano: *time,
                value: Some(number_data_point::Value::AsDouble(*value)),
                attributes: attribute_list(attributes),
                ..NumberDataPoint::default()
            }],
        })),
        ..Metric::default()
    };
    ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            resource: Some(resource(service)),
            scope_metrics: vec![ScopeMetrics {
                metrics: points.iter().map(gauge).collect(),
                ..ScopeMetrics::default()
            }],
            ..ResourceMetrics::default()
        }],
    }
}

/// Now, in Unix nanoseconds.
#[must_use]
pub fn unix_nanos() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    })
}

/// An attribute whose value is text.
#[must_use]
pub fn attribute(key: &str, value: &str) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(text(value)),
        ..KeyValue::default()
    }
}

/// A value that is text.
#[must_use]
pub fn text(text: &str) -> AnyValue {
    AnyValue {
        value: Some(Value::StringValue(text.to_owned())),
    }
}

fn resource(service: &str) -> Resource {
    Resource {
        attributes: vec![attribute("service.name", service)],
        ..Resource::default()
    }
}

fn attribute_list(attributes: Attributes<'_>) -> Vec<KeyValue> {
    attributes
        .iter()
        .map(|(key, value)| attribute(key, value))
        .collect()
}

#[cfg(test)]
mod tests;
