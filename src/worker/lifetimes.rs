//! When something must be done about a stream, even if nothing happens to it.

use std::collections::BTreeSet;

use crate::words::time::{Monotonic, Now, Timestamp};
use crate::worker::event::StreamId;

/// When a stream has to end. The expiry of a token is compared with the wall clock, as for
/// every request; the longest duration is measured with the monotonic clock.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Lifetime {
    /// From when on the token is refused as expired.
    pub expires: Timestamp,
    /// When the stream has lasted as long as it may.
    pub latest: Monotonic,
}

/// The deadlines of all streams that have one.
#[derive(Debug, Default)]
pub struct Lifetimes {
    by_mono: BTreeSet<(Monotonic, StreamId)>,
    by_wall: BTreeSet<(Timestamp, StreamId)>,
}

impl Lifetimes {
    /// Sets a deadline for a stream that waits or is waited for.
    pub fn set(&mut self, stream: StreamId, deadline: Monotonic) {
        self.by_mono.insert((deadline, stream));
    }

    /// Notes that a stream is open until one of two ends.
    pub fn begin(&mut self, stream: StreamId, lifetime: Lifetime) {
        self.by_mono.insert((lifetime.latest, stream));
        self.by_wall.insert((lifetime.expires, stream));
    }

    /// Removes a deadline that no longer matters.
    pub fn clear(&mut self, stream: StreamId, deadline: Monotonic) {
        self.by_mono.remove(&(deadline, stream));
    }

    /// Removes a stream that is over.
    pub fn end(&mut self, stream: StreamId, lifetime: Lifetime) {
        self.by_mono.remove(&(lifetime.latest, stream));
        self.by_wall.remove(&(lifetime.expires, stream));
    }

    /// The number of open streams that have an end.
    #[must_use]
    pub fn streams(&self) -> usize {
        self.by_wall.len()
    }

    /// Takes out a deadline that has passed, and returns its stream.
    pub fn take_due(&mut self, now: Now) -> Option<StreamId> {
        let expired = self.by_wall.first().filter(|(at, _)| *at <= now.wall);
        if expired.is_some() {
            return self.by_wall.pop_first().map(|(_, stream)| stream);
        }
        let late = self.by_mono.first().filter(|(at, _)| *at <= now.mono);
        late.is_some()
            .then(|| self.by_mono.pop_first())
            .flatten()
            .map(|(_, stream)| stream)
    }
}

/// Why a stream is ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum End {
    /// It has lasted for `limits.stream_duration`.
    MaxDuration,
    /// Its token has expired.
    TokenExpired,
}

impl End {
    /// The reason in metrics, and in the access log as `scopegate{reason}`.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::MaxDuration => "max_duration",
            Self::TokenExpired => "token_expired",
        }
    }
}

impl Lifetime {
    /// Why the stream is over by now, if it is.
    #[must_use]
    pub fn over(&self, now: Now) -> Option<End> {
        if now.wall >= self.expires {
            return Some(End::TokenExpired);
        }
        (now.mono >= self.latest).then_some(End::MaxDuration)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now(wall: u64, mono: u64) -> Now {
        Now {
            wall: Timestamp::from_secs(wall),
            mono: Monotonic::from_millis(mono),
        }
    }

    fn lifetime(expires: u64, latest: u64) -> Lifetime {
        Lifetime {
            expires: Timestamp::from_secs(expires),
            latest: Monotonic::from_millis(latest),
        }
    }

    /// Takes out what is due, as a worker does.
    fn due(all: &mut Lifetimes, open: &[(u64, Lifetime)], now: Now) -> Vec<(u64, End)> {
        let mut ended = Vec::new();
        while let Some(StreamId(stream)) = all.take_due(now) {
            let (_, lifetime) = open.iter().find(|(known, _)| *known == stream).unwrap();
            ended.push((stream, lifetime.over(now).unwrap()));
            all.end(StreamId(stream), *lifetime);
        }
        ended
    }

    fn begun(open: &[(u64, Lifetime)]) -> Lifetimes {
        let mut all = Lifetimes::default();
        for (stream, lifetime) in open {
            all.begin(StreamId(*stream), *lifetime);
        }
        all
    }

    #[test]
    fn a_stream_is_ended_by_whichever_time_is_up_first() {
        let open = [
            (1, lifetime(100, 9_000)),
            (2, lifetime(200, 5_000)),
            (3, lifetime(200, 9_000)),
        ];
        let mut all = begun(&open);
        assert_eq!(due(&mut all, &open, now(99, 4_999)), []);
        assert_eq!(
            due(&mut all, &open, now(99, 5_000)),
            [(2, End::MaxDuration)]
        );
        assert_eq!(
            due(&mut all, &open, now(100, 5_001)),
            [(1, End::TokenExpired)]
        );
        assert_eq!(due(&mut all, &open, now(199, 8_999)), []);
        assert_eq!(all.streams(), 1);
        assert_eq!(
            due(&mut all, &open, now(200, 9_000)),
            [(3, End::TokenExpired)]
        );
        assert_eq!(all.streams(), 0);
    }

    #[test]
    fn a_clock_that_steps_moves_the_end_of_a_token_and_no_span() {
        let open = [(1, lifetime(100, 9_000)), (2, lifetime(300, 9_000))];
        let mut all = begun(&open);
        // The clock goes back an hour, and then to where it should be.
        assert_eq!(due(&mut all, &open, now(0, 8_000)), []);
        assert_eq!(
            due(&mut all, &open, now(101, 8_001)),
            [(1, End::TokenExpired)]
        );
        assert_eq!(due(&mut all, &open, now(0, 9_000)), [(2, End::MaxDuration)]);
    }
}
