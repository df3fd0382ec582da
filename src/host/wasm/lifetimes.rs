//! Streams that outlive their check: how long each may last, and its end.
//!
//! A tail or a gRPC read is decided once, when it begins. It is ended at the
//! instant from which its token would be refused as expired, or after
//! `limits.stream_duration`, whichever comes first; whoever opens it again is
//! checked again. Nothing else ends it: a key that its provider withdraws, or a new
//! configuration, counts from the next request on, and a stream keeps the limits of
//! the configuration that let it in. In `mode: report` none is ended.
//!
//! An entry lives as long as its stream, so Envoy's limits on connections and
//! streams bound the list. A module that had to be started anew after a crash knows
//! the older ones no more: for these, a route's `max_stream_duration` is the fence.
//!
//! The end is a local reply, the one host call that does right at any moment. If no
//! response has begun, the client reads it. Otherwise Envoy can only reset the
//! stream (HTTP/1.1: close the connection), which is what `proxy_close_stream` does
//! too, but that would leave `via_upstream` as the access log's details.

use std::collections::BTreeMap;

use super::host::{self, Level};
use super::root::Root;
use super::stream;
use crate::authz::endpoint::Endpoint;
use crate::config::Mode;
use crate::gate::Permit;
use crate::reply::{self, Reply};
use crate::words::denial::Denial;
use crate::words::request::{Head, Occurrence};
use crate::words::time::{Monotonic, Now, Timestamp};

/// Why a stream is ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum End {
    /// It has lasted for `limits.stream_duration`.
    MaxDuration,
    /// Its token has expired.
    TokenExpired,
}

impl End {
    /// In metrics, and in the access log as `scopegate{reason}`.
    const fn reason(self) -> &'static str {
        match self {
            Self::MaxDuration => "max_duration",
            Self::TokenExpired => "token_expired",
        }
    }
}

/// How long one stream may last. The token's time is told by the wall clock, as for
/// every request; the span by the one that never steps.
#[derive(Clone, Copy, Debug)]
struct Lifetime {
    endpoint: &'static Endpoint,
    expires: Timestamp,
    latest: Monotonic,
}

impl Lifetime {
    fn end(&self, now: Now) -> Option<End> {
        if now.wall >= self.expires {
            return Some(End::TokenExpired);
        }
        (now.mono >= self.latest).then_some(End::MaxDuration)
    }
}

/// The streams that go on, by context.
#[derive(Debug, Default)]
pub(super) struct Lifetimes(BTreeMap<u32, Lifetime>);

impl Lifetimes {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// A stream is gone.
    pub(super) fn forget(&mut self, stream: u32) {
        self.0.remove(&stream);
    }

    /// Takes out the streams whose time is up.
    fn take_due(&mut self, now: Now) -> Vec<(u32, &'static Endpoint, End)> {
        let due: Vec<_> = self
            .0
            .iter()
            .filter_map(|(stream, lifetime)| {
                let end = lifetime.end(now)?;
                Some((*stream, lifetime.endpoint, end))
            })
            .collect();
        for (stream, _, _) in &due {
            self.forget(*stream);
        }
        due
    }
}

impl Root {
    /// Notes a permitted stream that is to be ended in time; says whether it is one.
    pub(super) fn track(&mut self, stream: u32, permit: &Permit<'_>) -> bool {
        let Some(expires) = permit.stream_expires() else {
            return false;
        };
        let limit = match &self.gate {
            Some(gate) if gate.config().mode == Mode::Enforce => {
                gate.config().limits.stream_duration
            }
            _ => return false,
        };
        let latest = self.precise_now().mono.after(limit);
        let lifetime = Lifetime {
            endpoint: permit.endpoint(),
            expires,
            latest,
        };
        self.lifetimes.0.insert(stream, lifetime);
        true
    }

    /// Ends the streams whose time is up.
    pub(super) fn end_streams(&mut self, now: Now) {
        let due = self.lifetimes.take_due(now);
        if due.is_empty() {
            return;
        }
        for (stream, endpoint, end) in due {
            // The stream may have ended by itself; then the previous context stays
            // in effect.
            if host::act_on(stream).is_err() {
                continue;
            }
            self.metrics.ended(end.reason());
            let reply = self.farewell(endpoint, end);
            stream::send(&reply);
        }
        if host::act_on(self.id).is_err() {
            host::log(Level::Error, "the root context is not known to the host");
        }
    }

    /// What a client reads whose response has not begun.
    fn farewell(&mut self, endpoint: &'static Endpoint, end: End) -> Reply {
        let content_type = if endpoint.is_grpc() {
            Occurrence::Once(&b"application/grpc"[..])
        } else {
            Occurrence::Absent
        };
        let head = Head {
            content_type,
            ..Head::default()
        };
        let denial = match end {
            End::MaxDuration => Denial::GateUnavailable,
            End::TokenExpired => Denial::TokenExpired,
        };
        let realm = self.realm();
        let reply = reply::deny(denial, Some(endpoint.family), &head, &realm, self.entropy());
        if end == End::TokenExpired {
            return reply;
        }
        // Not a refusal: as retryable as a fault of ours, in words of its own.
        let line_end = if endpoint.is_grpc() { "" } else { "\n" };
        Reply {
            body: format!("limits.stream_duration is over: open it again{line_end}").into_bytes(),
            details: format!("scopegate{{{}}}", end.reason()),
            ..reply
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authz::endpoint::TABLE;

    const TAIL: &str = "/loki/api/v1/tail";
    const SEARCH: &str = "/tempopb.StreamingQuerier/Search";

    fn endpoint(template: &str) -> &'static Endpoint {
        TABLE.iter().find(|row| row.template == template).unwrap()
    }

    fn now(wall: u64, mono: u64) -> Now {
        Now {
            wall: Timestamp::from_secs(wall),
            mono: Monotonic::from_millis(mono),
        }
    }

    fn lifetimes(rows: &[(u32, u64, u64)]) -> Lifetimes {
        let mut lifetimes = Lifetimes::default();
        for (stream, expires, latest) in rows {
            let lifetime = Lifetime {
                endpoint: endpoint(TAIL),
                expires: Timestamp::from_secs(*expires),
                latest: Monotonic::from_millis(*latest),
            };
            lifetimes.0.insert(*stream, lifetime);
        }
        lifetimes
    }

    fn due(lifetimes: &mut Lifetimes, now: Now) -> Vec<(u32, End)> {
        let due = lifetimes.take_due(now);
        due.into_iter().map(|(s, _, end)| (s, end)).collect()
    }

    #[test]
    fn whichever_comes_first_ends_a_stream_and_ends_it_once() {
        let mut open = lifetimes(&[(1, 100, 9_000), (2, 200, 5_000), (3, 200, 9_000)]);
        assert_eq!(due(&mut open, now(99, 4_999)), []);
        assert_eq!(due(&mut open, now(99, 5_000)), [(2, End::MaxDuration)]);
        assert_eq!(due(&mut open, now(100, 5_001)), [(1, End::TokenExpired)]);
        assert_eq!(due(&mut open, now(199, 8_999)), []);
        assert_eq!(open.len(), 1);
        assert_eq!(due(&mut open, now(200, 9_000)), [(3, End::TokenExpired)]);
        assert_eq!(open.len(), 0);
    }

    #[test]
    fn a_clock_that_steps_moves_the_end_of_a_token_and_no_span() {
        let mut open = lifetimes(&[(1, 100, 9_000), (2, 300, 9_000)]);
        // An hour back, then where it should be.
        assert_eq!(due(&mut open, now(0, 8_000)), []);
        assert_eq!(due(&mut open, now(101, 8_001)), [(1, End::TokenExpired)]);
        assert_eq!(due(&mut open, now(0, 9_000)), [(2, End::MaxDuration)]);
    }

    #[test]
    fn a_stream_that_is_gone_is_not_ended() {
        let mut open = lifetimes(&[(1, 100, 9_000), (2, 100, 9_000)]);
        open.forget(1);
        open.forget(7);
        assert_eq!(due(&mut open, now(100, 0)), [(2, End::TokenExpired)]);
    }

    #[test]
    fn a_client_without_a_response_reads_why() {
        let mut root = Root::new(1);
        let reply = root.farewell(endpoint(TAIL), End::TokenExpired);
        assert_eq!((reply.status, reply.grpc_status), (401, None));
        assert_eq!(reply.details, "scopegate{token_expired}");
        let reply = root.farewell(endpoint(SEARCH), End::TokenExpired);
        assert_eq!((reply.status, reply.grpc_status), (401, Some(16)));
        let reply = root.farewell(endpoint(TAIL), End::MaxDuration);
        assert_eq!((reply.status, reply.grpc_status), (503, None));
        assert_eq!(reply.details, "scopegate{max_duration}");
        assert!(reply.body.ends_with(b"again\n"));
        assert!(reply.headers.iter().any(|(name, _)| *name == "retry-after"));
        let reply = root.farewell(endpoint(SEARCH), End::MaxDuration);
        assert_eq!((reply.status, reply.grpc_status), (503, Some(14)));
        assert!(reply.body.ends_with(b"again"));
    }
}
