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
