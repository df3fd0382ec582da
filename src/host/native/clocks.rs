//! The clocks.

use std::sync::LazyLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::worker::Reading;

/// The zero of the monotonic clock.
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Reads both clocks.
pub(super) fn read() -> Reading {
    let nanos = |time: Duration| u64::try_from(time.as_nanos()).ok();
    let wall = SystemTime::now().duration_since(UNIX_EPOCH);
    // A clock that says zero would not be there.
    let mono = START.elapsed().saturating_add(Duration::from_secs(1));
    Reading {
        wall: wall.ok().and_then(nanos),
        mono: nanos(mono),
    }
}
