//! Checks whether a host's clocks and ticks can be relied on.
//!
//! Times decide whether a token has expired and how old keys are, so a missing clock must never
//! be mistaken for one that shows zero. A host that denies a clock, or the tick on which keys
//! are fetched, is recognised by its behaviour. Everything is then refused, with an answer that
//! asks clients to try again, until the host behaves better.

use std::fmt;

use crate::words::time::{Monotonic, Now, Timestamp};
use crate::worker::event::Reading;

/// The earliest time that a correct clock can show: 2026-01-01, before this was written.
pub const EARLIEST: Timestamp = Timestamp::from_secs(1_767_225_600);

/// How long a root goes without a tick before its clocks are read for each request, in
/// milliseconds. Ticks come twice a second.
const OVERDUE: u64 = 5_000;

/// How long a host must go on calling without ticks before it counts as one that has none, in
/// milliseconds. A machine that was suspended first makes up for its ticks.
const PATIENCE: u64 = 1_000;

/// How far the wall clock must move on, in nanoseconds, while the monotonic clock of the host
/// shows exactly the same nanosecond, before that clock counts as standing still.
const STILL: u64 = 1_000_000_000;

/// One in this many requests compares the clocks with those of the last tick.
const SAMPLE: u32 = 64;

/// What is wrong with a host.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fault {
    /// The wall clock shows a time that passed long ago.
    Early,
    /// No ticks come.
    Silent,
    /// The monotonic clock stands still.
    Still,
    /// A clock could not be read.
    Unreadable,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Early => "its wall clock shows a time that has long passed",
            Self::Silent => "it sends no ticks",
            Self::Still => "its monotonic clock stands still",
            Self::Unreadable => "a clock cannot be read",
        })
    }
}

/// The clocks of a host as one worker sees them.
#[derive(Debug, Default)]
pub struct Clocks {
    last: Now,
    /// The last reading at which the monotonic clock had moved.
    moved: Option<(u64, u64)>,
    sampled: u32,
}

impl Clocks {
    /// Takes a reading.
    ///
    /// # Errors
    /// The [`Fault`] that it shows.
    pub fn read(&mut self, reading: Reading) -> Result<Now, Fault> {
        let (Some(wall), Some(mono)) = (reading.wall, reading.mono) else {
            return Err(Fault::Unreadable);
        };
        let now = Now {
            wall: Timestamp::from_nanos(wall),
            mono: Monotonic::from_millis(mono / 1_000_000),
        };
        if now.wall < EARLIEST {
            return Err(Fault::Early);
        }
        match self.moved {
            Some((before, since)) if before == mono => {
                if wall.saturating_sub(since) >= STILL {
                    return Err(Fault::Still);
                }
            }
            _ => self.moved = Some((mono, wall)),
        }
        self.last = now;
        Ok(now)
    }

    /// The newest good reading.
    #[must_use]
    pub const fn last(&self) -> Now {
        self.last
    }

    /// Whether it is this request's turn to read the clocks although it does not need them
    /// itself.
    pub fn is_sampled(&mut self) -> bool {
        self.sampled = self.sampled.wrapping_add(1);
        self.sampled.is_multiple_of(SAMPLE)
    }
}

/// The ticks of one root.
#[derive(Debug)]
pub struct Pulse {
    /// When the last tick came, or when the root was loaded.
    last: Monotonic,
    /// Whether a tick has ever come.
    beats: bool,
    /// When the next tick was first found to be overdue.
    overdue: Option<Monotonic>,
}

impl Pulse {
    /// The pulse of a root that is being loaded.
    #[must_use]
    pub const fn new(now: Monotonic) -> Self {
        Self {
            last: now,
            beats: false,
            overdue: None,
        }
    }

    /// Notes a tick.
    pub const fn tick(&mut self, now: Monotonic) {
        *self = Self {
            last: now,
            beats: true,
            overdue: None,
        };
    }

    /// Whether the clocks of the last tick are recent, as far as is known.
    #[must_use]
    pub const fn is_steady(&self) -> bool {
        self.beats && self.overdue.is_none()
    }

    /// Notes that the root was called at this time.
    ///
    /// # Errors
    /// [`Fault::Silent`] if it is called again and again, but no tick comes.
    pub fn call(&mut self, now: Monotonic) -> Result<(), Fault> {
        if now.since(self.last) < OVERDUE {
            return Ok(());
        }
        let since = *self.overdue.get_or_insert(now);
        if now.since(since) >= PATIENCE {
            return Err(Fault::Silent);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WALL: u64 = 1_800_000_000_000_000_000;

    fn reading(wall: u64, mono: u64) -> Reading {
        Reading {
            wall: Some(wall),
            mono: Some(mono),
        }
    }

    #[test]
    fn a_clock_that_is_not_there_is_no_clock_that_says_zero() {
        let mut clocks = Clocks::default();
        let mono = Some(1);
        assert_eq!(
            clocks.read(Reading { wall: None, mono }),
            Err(Fault::Unreadable)
        );
        let wall = Some(WALL);
        assert_eq!(
            clocks.read(Reading { wall, mono: None }),
            Err(Fault::Unreadable)
        );
        assert_eq!(clocks.read(reading(0, 1)), Err(Fault::Early));
        assert!(clocks.read(reading(WALL, 1)).is_ok());
    }

    #[test]
    fn a_monotonic_clock_that_stands_still_is_told_by_the_other() {
        let mut clocks = Clocks::default();
        assert!(clocks.read(reading(WALL, 7)).is_ok());
        assert!(clocks.read(reading(WALL + 999_999_999, 7)).is_ok());
        assert_eq!(
            clocks.read(reading(WALL + 1_000_000_000, 7)),
            Err(Fault::Still)
        );
        assert!(clocks.read(reading(WALL + 1_000_000_000, 8)).is_ok());
        // A wall clock that steps is not a sign of that.
        assert!(clocks.read(reading(WALL + 3_600_000_000_000, 9)).is_ok());
        assert!(clocks.read(reading(WALL, 10)).is_ok());
    }

    #[test]
    fn a_host_without_ticks_is_told_by_its_calls() {
        let at = Monotonic::from_millis;
        let mut pulse = Pulse::new(at(1_000));
        assert!(!pulse.is_steady());
        assert_eq!(pulse.call(at(5_999)), Ok(()));
        assert_eq!(pulse.call(at(6_000)), Ok(()));
        assert_eq!(pulse.call(at(6_999)), Ok(()));
        assert_eq!(pulse.call(at(7_000)), Err(Fault::Silent));
        pulse.tick(at(7_001));
        assert!(pulse.is_steady());
        assert_eq!(pulse.call(at(7_002)), Ok(()));
    }

    #[test]
    fn a_machine_that_stood_still_is_no_such_host() {
        let at = Monotonic::from_millis;
        let mut pulse = Pulse::new(at(0));
        pulse.tick(at(500));
        assert_eq!(pulse.call(at(700)), Ok(()));
        // Eight seconds later, requests come before the tick does.
        assert_eq!(pulse.call(at(8_700)), Ok(()));
        assert!(!pulse.is_steady());
        assert_eq!(pulse.call(at(8_710)), Ok(()));
        pulse.tick(at(8_711));
        assert!(pulse.is_steady());
    }
}
