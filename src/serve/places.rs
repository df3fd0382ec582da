//! The places of a listener: how many connections there may be at once, and which one gives way
//! when all places are taken.
//!
//! Clients that open connections and ask for nothing must not keep out those that do ask. A
//! connection is therefore a newcomer until it has received an answer that only admitted
//! callers get. A newcomer has little time, and gives way first. The others may pause between
//! two requests.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::{Duration, Instant, sleep_until};

/// The limits for connections.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The number of simultaneous connections.
    pub places: usize,
    /// The longest time from the connection to the end of the first request's head, including
    /// the handshake.
    pub first: Duration,
    /// The longest time between two requests.
    pub idle: Duration,
}

/// All places of a listener.
#[derive(Debug)]
pub struct Places {
    limits: Limits,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    /// The number of the next connection.
    next: u64,
    seats: BTreeMap<u64, Seat>,
}

#[derive(Debug)]
struct Seat {
    is_known: bool,
    /// When the place was taken, or when the last request arrived.
    since: Instant,
    leave: Arc<Notify>,
}

impl Places {
    /// Creates the places, all of which are free.
    #[must_use]
    pub fn new(limits: Limits) -> Arc<Self> {
        let taken = Mutex::default();
        Arc::new(Self { limits, taken })
    }

    /// Takes a place for a new connection. If none is left, another connection gives way.
    #[must_use]
    pub fn take(self: &Arc<Self>) -> Place {
        let leave = Arc::new(Notify::new());
        let mut taken = self.lock();
        if taken.seats.len() >= self.limits.places {
            taken.free_one(self.limits.places / 4);
        }
        let name = taken.next;
        taken.next = name.saturating_add(1);
        let seat = Seat {
            is_known: false,
            since: Instant::now(),
            leave: Arc::clone(&leave),
        };
        taken.seats.insert(name, seat);
        drop(taken);
        Place {
            places: Arc::clone(self),
            name,
            leave,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
    /// Ends the newcomer that has been there longest. If newcomers have no more than `share` of
    /// the places, it ends the connection that has asked for nothing for the longest time
    /// instead. Known clients therefore cannot keep newcomers out, and once newcomers have
    /// their share they only take places from each other.
    fn free_one(&mut self, share: usize) {
        let newcomers = self.seats.values().filter(|seat| !seat.is_known).count();
        let goes_known = newcomers <= share && newcomers < self.seats.len();
        let candidates = self
            .seats
            .iter()
            .filter(|(_, seat)| seat.is_known == goes_known);
        let name = candidates
            .min_by_key(|(name, seat)| (seat.since, **name))
            .map(|(name, _)| *name);
        if let Some(seat) = name.and_then(|name| self.seats.remove(&name)) {
            seat.leave.notify_one();
        }
    }
}

/// The place of one connection, which becomes free when this is dropped.
#[derive(Debug)]
pub struct Place {
    places: Arc<Places>,
    name: u64,
    leave: Arc<Notify>,
}

impl Place {
    /// Notes that the connection has asked for something that not everybody gets.
    pub fn asked(&self) {
        if let Some(seat) = self.places.lock().seats.get_mut(&self.name) {
            seat.is_known = true;
            seat.since = Instant::now();
        }
    }

    /// Returns when the connection has to end, because it gives way or its time is over.
    pub async fn lost(&self) {
        while let Some(until) = self.until() {
            if until <= Instant::now() {
                return;
            }
            tokio::select! {
                () = self.leave.notified() => return,
                () = sleep_until(until) => {}
            }
        }
    }

    /// When its time is over unless it asks for something. `None` once it has given way.
    fn until(&self) -> Option<Instant> {
        let limits = self.places.limits;
        let taken = self.places.lock();
        let seat = taken.seats.get(&self.name)?;
        let time = if seat.is_known {
            limits.idle
        } else {
            limits.first
        };
        seat.since.checked_add(time)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.lock().seats.remove(&self.name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(3600);

    fn places(places: usize, first: Duration, idle: Duration) -> Arc<Places> {
        Places::new(Limits {
            places,
            first,
            idle,
        })
    }

    fn is_gone(place: &Place) -> bool {
        place.until().is_none()
    }

    #[test]
    fn the_newcomer_who_has_been_there_longest_gives_way() {
        let places = places(8, LONG, LONG);
        let known = places.take();
        known.asked();
        let newcomers: Vec<Place> = (0..7).map(|_| places.take()).collect();
        for gone in 0..5 {
            let latest = places.take();
            assert!(!is_gone(&latest) && !is_gone(&known));
            let lost: Vec<bool> = newcomers.iter().map(is_gone).collect();
            let first_kept = lost.iter().position(|gone| !gone);
            assert_eq!(first_kept, Some(gone + 1), "{lost:?}");
            // A client that leaves on its own would make room, so this one stays.
            std::mem::forget(latest);
        }
    }

    #[test]
    fn those_who_are_known_keep_out_nobody_and_the_one_idle_longest_goes() {
        let places = places(8, LONG, LONG);
        let known: Vec<Place> = (0..8).map(|_| places.take()).collect();
        for place in &known {
            place.asked();
        }
        std::thread::sleep(Duration::from_millis(2));
        known[0].asked();
        let newcomers: Vec<Place> = (0..10).map(|_| places.take()).collect();
        let kept: Vec<bool> = known.iter().map(|place| !is_gone(place)).collect();
        // A quarter of the places and one more belong to newcomers, who from then on take
        // places from each other.
        assert_eq!(
            kept,
            [true, false, false, false, true, true, true, true],
            "{kept:?}"
        );
        assert_eq!(newcomers.iter().filter(|it| !is_gone(it)).count(), 3);
        assert!(!is_gone(&newcomers[9]));
    }

    #[test]
    fn a_place_that_is_dropped_is_free_again() {
        let places = places(2, LONG, LONG);
        let first = places.take();
        for _ in 0..10 {
            drop(places.take());
        }
        assert!(!is_gone(&first));
    }

    #[tokio::test]
    async fn a_newcomer_has_little_time_and_whoever_asks_has_more() {
        let (first, idle) = (Duration::from_millis(40), Duration::from_millis(400));
        let places = places(4, first, idle);
        let began = Instant::now();
        let (silent, asks) = (places.take(), places.take());
        asks.asked();
        silent.lost().await;
        assert!(began.elapsed() >= first);
        asks.lost().await;
        assert!(began.elapsed() >= idle);
    }

    #[tokio::test]
    async fn whoever_gives_way_is_told_at_once() {
        let places = places(1, LONG, LONG);
        let first = places.take();
        let (second, ()) = tokio::join!(async { places.take() }, first.lost());
        assert!(!is_gone(&second));
    }
}
