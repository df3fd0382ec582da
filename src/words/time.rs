//! Instants and spans as plain numbers handed in by the caller.
//!
//! Nothing in the core reads a clock. Two clocks are told apart by type because
//! they answer different questions: [`Timestamp`] is wall time and is compared
//! with `exp`, `nbf` and `iat`; [`Monotonic`] never steps and drives schedules.

/// Wall-clock time in whole seconds since the Unix epoch (RFC 7519 `NumericDate`).
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Timestamp(u64);

impl Timestamp {
    /// From seconds since the epoch.
    #[must_use]
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs)
    }

    /// From nanoseconds since the epoch, rounded down.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos / 1_000_000_000)
    }

    /// Seconds since the epoch.
    #[must_use]
    pub const fn as_secs(self) -> u64 {
        self.0
    }

    /// This instant plus a span; sticks at the far end instead of wrapping.
    #[must_use]
    pub const fn after(self, secs: u64) -> Self {
        Self(self.0.saturating_add(secs))
    }

    /// Seconds from `earlier` to this instant, 0 when it is not later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// Tolerated difference between the provider's clock and ours, in seconds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Leeway(u64);

impl Leeway {
    /// From seconds; the configuration bounds it to 0–300.
    #[must_use]
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs)
    }

    /// In seconds.
    #[must_use]
    pub const fn as_secs(self) -> u64 {
        self.0
    }
}

/// Milliseconds on a clock that only moves forward; its zero means nothing, but all
/// workers of a process read the same clock.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct Monotonic(u64);

impl Monotonic {
    /// From milliseconds since the clock's own zero.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the clock's own zero.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// This instant plus `millis`.
    #[must_use]
    pub const fn after(self, millis: u64) -> Self {
        Self(self.0.saturating_add(millis))
    }

    /// Milliseconds from `earlier` to this instant, 0 when it is not later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// Both clocks, read together once per event.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Now {
    /// For token times.
    pub wall: Timestamp,
    /// For schedules and deadlines.
    pub mono: Monotonic,
}

/// Both clocks, as exactly as an event has them.
#[derive(Clone, Copy, Debug)]
pub enum Time {
    /// They may lag by up to a second, which does for tokens that are remembered, and
    /// saves a call into the proxy for each request.
    Coarse(Now),
    /// Read for this event.
    Exact(Now),
}

impl Time {
    /// The clocks, however exact.
    #[must_use]
    pub const fn now(self) -> Now {
        match self {
            Self::Coarse(now) | Self::Exact(now) => now,
        }
    }

    /// The clocks, if they were read for this event.
    #[must_use]
    pub const fn exact(self) -> Option<Now> {
        match self {
            Self::Coarse(_) => None,
            Self::Exact(now) => Some(now),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_stick_at_the_ends() {
        assert_eq!(Timestamp::from_secs(u64::MAX).after(1).as_secs(), u64::MAX);
        assert_eq!(Timestamp::from_secs(1).since(Timestamp::from_secs(2)), 0);
        assert_eq!(Timestamp::from_nanos(1_999_999_999).as_secs(), 1);
        assert_eq!(
            Monotonic::from_millis(5).since(Monotonic::from_millis(2)),
            3
        );
    }
}
