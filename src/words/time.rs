//! Instants and spans as plain numbers that the caller hands in.
//!
//! Nothing in the core reads a clock. There are two types because the two clocks answer
//! different questions: [`Timestamp`] is wall time and is compared with `exp`, `nbf` and `iat`;
//! [`Monotonic`] never steps back and drives schedules.

/// Wall-clock time in whole seconds since the Unix epoch (RFC 7519 `NumericDate`).
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Timestamp(u64);

impl Timestamp {
    /// Converts from seconds since the epoch.
    #[must_use]
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs)
    }

    /// Converts from nanoseconds since the epoch, rounding down.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos / 1_000_000_000)
    }

    /// The number of seconds since the epoch.
    #[must_use]
    pub const fn as_secs(self) -> u64 {
        self.0
    }

    /// This instant plus a span in seconds. It saturates instead of wrapping.
    #[must_use]
    pub const fn after(self, secs: u64) -> Self {
        Self(self.0.saturating_add(secs))
    }

    /// The seconds from `earlier` to this instant, or 0 if this is not later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// The tolerated difference between the provider's clock and the gate's, in seconds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Leeway(u64);

impl Leeway {
    /// Converts from seconds, which the configuration limits to 0–300.
    #[must_use]
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs)
    }

    /// The number of seconds.
    #[must_use]
    pub const fn as_secs(self) -> u64 {
        self.0
    }
}

/// Milliseconds on a clock that only moves forward. Its zero has no meaning, but all workers of
/// a process read the same clock.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct Monotonic(u64);

impl Monotonic {
    /// Converts from milliseconds since the clock's own zero.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// The number of milliseconds since the clock's own zero.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// This instant plus `millis`.
    #[must_use]
    pub const fn after(self, millis: u64) -> Self {
        Self(self.0.saturating_add(millis))
    }

    /// The milliseconds from `earlier` to this instant, or 0 if this is not later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// Both clocks, read together once per event.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Now {
    /// The wall-clock time, for the times in tokens.
    pub wall: Timestamp,
    /// The monotonic time, for schedules and deadlines.
    pub mono: Monotonic,
}

/// Both clocks, with the precision that an event provides.
#[derive(Clone, Copy, Debug)]
pub enum Time {
    /// The clocks may lag by up to a second. That is enough for a remembered token, and saves a
    /// call into the proxy for each request.
    Coarse(Now),
    /// The clocks were read for this event.
    Exact(Now),
}

impl Time {
    /// The clocks, whatever their precision.
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
