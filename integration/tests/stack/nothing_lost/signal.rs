//! What is sent: its kinds, and how each item is recognised again.

#![expect(
    clippy::cast_precision_loss,
    reason = "what is counted here, also in seconds, is far below 2^53"
)]

use std::fmt;
use std::time::Duration;

use integration::otlp;
use prost::Message;

/// What is sent, and by which client.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Signal {
    Samples,
    Lines,
    Points,
    Spans,
    SpansByGrpc,
}

/// One thing that is sent: its number in the drill, and its time in Unix nanoseconds.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Entry {
    pub time: u64,
    pub number: u64,
}

/// What is sent during a drill bears its name.
#[derive(Clone, Copy, Debug)]
pub struct Drill {
    pub name: &'static str,
    /// The upper half of its trace ids.
    pub run: u64,
    /// How many things have been made.
    pub made: u64,
}

impl Signal {
    pub const ALL: [Signal; 5] = [
        Signal::Samples,
        Signal::Lines,
        Signal::Points,
        Signal::Spans,
        Signal::SpansByGrpc,
    ];
    /// What is handed to a Collector.
    pub const EXPORTED: [Signal; 4] = [
        Signal::Lines,
        Signal::Points,
        Signal::Spans,
        Signal::SpansByGrpc,
    ];

    pub fn client(self) -> &'static str {
        match self {
            Signal::Samples => "Prometheus, remote write",
            Signal::SpansByGrpc => "Collector, OTLP over gRPC",
            _ => "Collector, OTLP over HTTP",
        }
    }

    /// What stands in the client's log lines about it.
    pub fn in_log(self) -> &'static str {
        match self {
            Signal::Samples => "failedSampleCount",
            Signal::Lines => "\"otelcol.signal\": \"logs\"",
            Signal::Points => "\"otelcol.signal\": \"metrics\"",
            Signal::Spans | Signal::SpansByGrpc => "\"otelcol.signal\": \"traces\"",
        }
    }

    /// Where a Collector takes it.
    pub fn path(self) -> &'static str {
        match self {
            Signal::Lines => "/v1/logs",
            Signal::Points => "/v1/metrics",
            _ => "/v1/traces",
        }
    }

    /// Between two of them.
    pub fn pause(self) -> Duration {
        match self {
            Signal::Spans | Signal::SpansByGrpc => Duration::from_millis(500),
            _ => Duration::from_millis(250),
        }
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Signal::Samples => "samples",
            Signal::Lines => "log lines",
            Signal::Points => "points",
            Signal::Spans | Signal::SpansByGrpc => "spans",
        })
    }
}

impl Drill {
    pub fn service(&self) -> String {
        format!("drill-{}", self.name)
    }

    pub fn samples(&self) -> String {
        format!("drill_scrapes{{drill=\"{}\"}}", self.name)
    }

    pub fn points(&self) -> String {
        format!("drill_points{{drill=\"{}\"}}", self.name)
    }

    pub fn line(&self, number: u64) -> String {
        format!("line {number} of {}", self.name)
    }

    pub fn span(&self, number: u64) -> String {
        format!("span {number} of {}", self.name)
    }

    /// `{id:032x}` in paths.
    pub fn trace(&self, signal: Signal, number: u64) -> u128 {
        let way = u64::from(signal == Signal::SpansByGrpc) << 63;
        u128::from(self.run) << 64 | u128::from(way | number)
    }

    /// The export request of one thing.
    pub fn message(&self, signal: Signal, entry: Entry) -> Vec<u8> {
        let Entry { time, number } = entry;
        let service = self.service();
        let attributes = [("drill", self.name)];
        match signal {
            Signal::Lines => {
                otlp::logs(&service, &[(time, &self.line(number), &[])]).encode_to_vec()
            }
            Signal::Points | Signal::Samples => {
                let point = ("drill_points", number as f64, time, &attributes[..]);
                otlp::metrics(&service, &[point]).encode_to_vec()
            }
            Signal::Spans | Signal::SpansByGrpc => {
                let span = (
                    self.trace(signal, number),
                    &*self.span(number),
                    &attributes[..],
                );
                otlp::traces(&service, &[span]).encode_to_vec()
            }
        }
    }
}
