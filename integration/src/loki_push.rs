//! The body of Loki's push in protobuf (`logproto.PushRequest`), compressed with snappy, as promtail and Alloy send
//! it.

use prost::Message;

/// A stream: its labels as a selector, and lines with their times in Unix nanoseconds.
pub type Stream<'text> = (&'text str, &'text [(u64, &'text str)]);

/// The body. Its content type is `application/x-protobuf`.
#[must_use]
pub fn request(streams: &[Stream<'_>]) -> Vec<u8> {
    let streams = streams
        .iter()
        .map(|(labels, lines)| WireStream {
            labels: (*labels).to_owned(),
            entries: lines
                .iter()
                .map(|(time, line)| Entry {
                    timestamp: Some(Timestamp {
                        seconds: i64::try_from(time / NANOS).unwrap_or(i64::MAX),
                        nanos: i32::try_from(time % NANOS).unwrap_or_default(),
                    }),
                    line: (*line).to_owned(),
                })
                .collect(),
        })
        .collect();
    let message = PushRequest { streams }.encode_to_vec();
    // This fails only beyond 4 GiB.
    snap::raw::Encoder::new()
        .compress_vec(&message)
        .unwrap_or_default()
}

/// A time for lines that are written at once, in Unix nanoseconds: now, or a second ago when Loki's volumes by step would
/// leave out all of them.
///
/// `index/volume_range` cuts a range at multiples of its step, each cut ends a millisecond before the next, and Loki
/// 3.7 asks its stores in whole seconds. So nothing counts that lies in the last second of a step. Steps of tests are
/// multiples of 15 seconds.
#[must_use]
pub fn moment() -> u64 {
    counted(crate::otlp::unix_nanos())
}

fn counted(now: u64) -> u64 {
    if now / NANOS % SHORTEST_STEP == SHORTEST_STEP - 1 {
        now - NANOS
    } else {
        now
    }
}

#[derive(Clone, PartialEq, Message)]
struct PushRequest {
    #[prost(message, repeated, tag = "1")]
    streams: Vec<WireStream>,
}

#[derive(Clone, PartialEq, Message)]
struct WireStream {
    #[prost(string, tag = "1")]
    labels: String,
    #[prost(message, repeated, tag = "2")]
    entries: Vec<Entry>,
}

#[derive(Clone, PartialEq, Message)]
struct Entry {
    #[prost(message, optional, tag = "1")]
    timestamp: Option<Timestamp>,
    #[prost(string, tag = "2")]
    line: String,
}

#[derive(Clone, PartialEq, Message)]
struct Timestamp {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

const NANOS: u64 = 1_000_000_000;
/// In seconds.
const SHORTEST_STEP: u64 = 15;

#[cfg(test)]
mod tests {
    use super::{NANOS, counted};

    #[test]
    fn lines_are_written_when_a_step_counts_them() {
        let second = |second: u64, fraction| (1_800_000_000 + second) * NANOS + fraction;
        for end in [14, 29, 44, 59] {
            assert_eq!(counted(second(end, 5)), second(end - 1, 5));
            assert_eq!(
                counted(second(end - 1, 999_999_999)),
                second(end - 1, 999_999_999)
            );
            assert_eq!(counted(second(end + 1, 0)), second(end + 1, 0));
        }
    }
}
