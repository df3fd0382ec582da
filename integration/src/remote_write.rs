//! Prometheus remote write 1.0: makes a request body from a few samples.

use prost::Message;

use crate::token;

/// A series: its name, its labels and its current value.
pub type Sample<'text> = (&'text str, &'text [(&'text str, &'text str)], f64);

/// A `prometheus.WriteRequest`, compressed with snappy as the protocol requires.
#[must_use]
pub fn request(samples: &[Sample<'_>]) -> Vec<u8> {
    request_at(samples, token::now() * 1000)
}

/// The same for a given time, in milliseconds since 1970.
#[must_use]
pub fn request_at(samples: &[Sample<'_>], timestamp: i64) -> Vec<u8> {
    let timeseries = samples
        .iter()
        .map(|(name, labels, value)| TimeSeries {
            labels: sorted_labels(name, labels),
            samples: vec![WireSample {
                value: *value,
                timestamp,
            }],
            exemplars: Vec::new(),
        })
        .collect();
    compressed(&WriteRequest { timeseries })
}

/// The same, with an exemplar for each series that has the single label `trace_id`.
#[must_use]
pub fn request_with_exemplars(samples: &[(Sample<'_>, &str)], timestamp: i64) -> Vec<u8> {
    let timeseries = samples
        .iter()
        .map(|((name, labels, value), trace)| TimeSeries {
            labels: sorted_labels(name, labels),
            samples: vec![WireSample {
                value: *value,
                timestamp,
            }],
            exemplars: vec![Exemplar {
                labels: vec![Label {
                    name: "trace_id".to_owned(),
                    value: (*trace).to_owned(),
                }],
                value: *value,
                timestamp,
            }],
        })
        .collect();
    compressed(&WriteRequest { timeseries })
}

fn compressed(request: &WriteRequest) -> Vec<u8> {
    let message = request.encode_to_vec();
    // This fails only beyond 4 GiB.
    snap::raw::Encoder::new()
        .compress_vec(&message)
        .unwrap_or_default()
}

fn sorted_labels(name: &str, labels: &[(&str, &str)]) -> Vec<Label> {
    let mut all: Vec<Label> = std::iter::once(("__name__", name))
        .chain(labels.iter().copied())
        .map(|(name, value)| Label {
            name: name.to_owned(),
            value: value.to_owned(),
        })
        .collect();
    all.sort_by(|left, right| left.name.cmp(&right.name));
    all
}

#[derive(Clone, PartialEq, Message)]
struct WriteRequest {
    #[prost(message, repeated, tag = "1")]
    timeseries: Vec<TimeSeries>,
}

#[derive(Clone, PartialEq, Message)]
struct TimeSeries {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<Label>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<WireSample>,
    #[prost(message, repeated, tag = "3")]
    exemplars: Vec<Exemplar>,
}

#[derive(Clone, PartialEq, Message)]
struct Exemplar {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<Label>,
    #[prost(double, tag = "2")]
    value: f64,
    #[prost(int64, tag = "3")]
    timestamp: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Label {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, PartialEq, Message)]
struct WireSample {
    #[prost(double, tag = "1")]
    value: f64,
    #[prost(int64, tag = "2")]
    timestamp: i64,
}
