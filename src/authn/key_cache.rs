//! One provider's keys over time: events in, what to do out.
//!
//! States: a set is held or not; a fetch is under way, or due at some instant. The
//! rules (design §4):
//!
//! 1. A refresh is due at 80 % of the interval, ±10 % so that many gates do not
//!    meet. Requests never wait for it.
//! 2. A failed fetch keeps the set and is tried again after 1 s, doubling to 60 s.
//! 3. A set serves until `max_stale` after its fetch, then there are no keys.
//! 4. An unknown `kid` may start one fetch per [`COOL_DOWN`], whoever asks. It is
//!    refused for good only when a set that was asked for after the request came
//!    (or clearly after the token was issued) lacks it: a 401 makes agents drop
//!    data, so a doubt about our own knowledge is never one.
//!
//! Where workers share their fetches ([`crate::authn::key_share`]), a fetch of this cache
//! may turn out to be another worker's: [`KeyCache::defer`] waits for it,
//! [`KeyCache::adopt`] and [`KeyCache::adopt_failure`] take what came of it.

use std::sync::Arc;

use crate::authn::jwks::KeySet;
use crate::words::denial::Denial;
use crate::words::time::{Leeway, Monotonic, Now, Timestamp};

/// Least time between two fetches that unknown key IDs start, in milliseconds:
/// strangers cannot drive more traffic than this to the provider, and a true
/// rotation waits no longer.
pub const COOL_DOWN: u64 = 30_000;

/// Shortest time that a provider's `Cache-Control` can ask for between two fetches,
/// in milliseconds.
pub const LEAST_INTERVAL: u64 = 60_000;

/// How much later than the worker that fetched last the others try, in milliseconds:
/// it goes on fetching for all while it lives.
pub const HEAD_START: u64 = 3_000;

/// First and longest wait after a failed fetch, in milliseconds.
const BACK_OFF: (u64, u64) = (1_000, 60_000);

/// When to fetch, from the configuration. Milliseconds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Schedule {
    /// From one good fetch to the next.
    pub refresh_interval: u64,
    /// How long a set serves after its fetch.
    pub max_stale: u64,
    /// How long one fetch may take.
    pub timeout: u64,
    /// How long a request may wait for keys.
    pub wait: u64,
}

/// What a request that lacks its key should do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Demand {
    /// Start a fetch and wait for it.
    Fetch,
    /// Wait: a fetch is under way or about to be.
    Wait,
    /// Refuse.
    Refuse(Denial),
}

#[derive(Clone, Debug)]
struct Held {
    set: Arc<KeySet>,
    asked: Monotonic,
    asked_wall: Timestamp,
    /// Inline keys come from the configuration and do not age.
    ages: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Fetch {
    Due(Monotonic),
    /// Another worker's, believed until then.
    Elsewhere(Monotonic),
    Never,
    UnderWay(Now),
}

/// The state machine.
#[derive(Clone, Debug)]
pub struct KeyCache {
    schedule: Schedule,
    held: Option<Held>,
    fetch: Fetch,
    failures: u32,
    demanded: Option<Monotonic>,
    /// When a fetch by schedule is due, whatever is under way.
    next: Monotonic,
    jitter: u64,
}

impl KeyCache {
    /// A cache that fetches; the first fetch is due at once. `seed` spreads the
    /// schedules of different gates and providers.
    #[must_use]
    pub const fn fetched(schedule: Schedule, seed: u64) -> Self {
        Self {
            schedule,
            held: None,
            fetch: Fetch::Due(Monotonic::from_millis(0)),
            failures: 0,
            demanded: None,
            next: Monotonic::from_millis(0),
            jitter: seed,
        }
    }

    /// A cache that holds what the configuration gives, for good.
    #[must_use]
    pub const fn inline(schedule: Schedule, set: Arc<KeySet>) -> Self {
        Self {
            schedule,
            held: Some(Held {
                set,
                asked: Monotonic::from_millis(0),
                asked_wall: Timestamp::from_secs(0),
                ages: false,
            }),
            fetch: Fetch::Never,
            failures: 0,
            demanded: None,
            next: Monotonic::from_millis(0),
            jitter: 0,
        }
    }

    /// The keys to verify with, unless there are none or they are too old.
    #[must_use]
    pub fn keys(&self, now: Monotonic) -> Option<&Arc<KeySet>> {
        self.held
            .as_ref()
            .filter(|held| !held.ages || now.since(held.asked) <= self.schedule.max_stale)
            .map(|held| &held.set)
    }

    /// The set whatever its age, for metrics and for comparing with the next one.
    #[must_use]
    pub fn held(&self) -> Option<&Arc<KeySet>> {
        self.held.as_ref().map(|held| &held.set)
    }

    /// Milliseconds since the held set was asked for; `None` for inline and no keys.
    #[must_use]
    pub fn age(&self, now: Monotonic) -> Option<u64> {
        self.held
            .as_ref()
            .filter(|held| held.ages)
            .map(|held| now.since(held.asked))
    }

    /// Time passes; true when a fetch should start now. The caller then reports
    /// [`KeyCache::loaded`] or [`KeyCache::failed`].
    pub fn tick(&mut self, now: Now) -> bool {
        match self.fetch {
            Fetch::Due(at) if now.mono >= at => {
                self.fetch = Fetch::UnderWay(now);
                true
            }
            // Whoever had it brought nothing in time.
            Fetch::Elsewhere(until) if now.mono >= until => {
                self.fetch = Fetch::UnderWay(now);
                true
            }
            // The host answers every callout; should it ever not, start over.
            Fetch::UnderWay(since)
                if now.mono.since(since.mono) > self.schedule.timeout.saturating_mul(2) =>
            {
                self.failed(now);
                false
            }
            _ => false,
        }
    }

    /// A request needs a key that is not there. `arrived` is when the request
    /// came, `issued_at` its token's (unproven) `iat`.
    pub fn demand(
        &mut self,
        now: Now,
        arrived: Monotonic,
        issued_at: Option<Timestamp>,
        leeway: Leeway,
    ) -> Demand {
        let usable = self.keys(now.mono).is_some();
        let cooling = self
            .demanded
            .is_some_and(|last| now.mono.since(last) < COOL_DOWN);
        if usable && self.is_definitive(arrived, issued_at.filter(|_| cooling), leeway) {
            return Demand::Refuse(Denial::UnknownKey);
        }
        match self.fetch {
            Fetch::Never => Demand::Refuse(Denial::UnknownKey),
            Fetch::Elsewhere(_) | Fetch::UnderWay(_) => Demand::Wait,
            Fetch::Due(at) if !usable => {
                if now.mono >= at {
                    self.fetch = Fetch::UnderWay(now);
                    Demand::Fetch
                } else if at.since(now.mono) <= self.schedule.wait {
                    Demand::Wait
                } else {
                    Demand::Refuse(Denial::KeysUnavailable)
                }
            }
            Fetch::Due(_) => {
                if cooling {
                    return Demand::Refuse(Denial::KeysUnavailable);
                }
                self.demanded = Some(now.mono);
                self.fetch = Fetch::UnderWay(now);
                Demand::Fetch
            }
        }
    }

    /// The fetch that was to start is another worker's, which is believed until then.
    pub const fn defer(&mut self, until: Monotonic) {
        self.fetch = Fetch::Elsewhere(until);
    }

    /// Nobody fetches any more, and nothing came of it: a fetch that waits for another
    /// worker's is due.
    pub fn released(&mut self, now: Now) {
        if matches!(self.fetch, Fetch::Elsewhere(_)) {
            self.fetch = Fetch::Due(now.mono);
        }
    }

    /// The fetch that an unknown key ID was to start comes too soon after another
    /// worker's of that instant: what was due before is due.
    pub const fn cool(&mut self, demanded: Monotonic) {
        self.demanded = Some(demanded);
        self.fetch = Fetch::Due(self.next);
    }

    /// A fetch gave a set, which its provider calls fresh for `max_age` milliseconds.
    /// Returns the set that it replaces.
    pub fn loaded(
        &mut self,
        set: Arc<KeySet>,
        now: Now,
        max_age: Option<u64>,
    ) -> Option<Arc<KeySet>> {
        let interval = max_age.map_or(self.schedule.refresh_interval, |age| {
            age.max(LEAST_INTERVAL).min(self.schedule.refresh_interval)
        });
        let refresh = self.spread(interval.saturating_mul(8) / 10, now);
        let asked = self.asked().unwrap_or(now);
        self.take(set, asked, now.mono.after(refresh))
    }

    /// When the fetch under way was begun.
    #[must_use]
    pub const fn asked(&self) -> Option<Now> {
        match self.fetch {
            Fetch::UnderWay(since) => Some(since),
            Fetch::Due(_) | Fetch::Elsewhere(_) | Fetch::Never => None,
        }
    }

    /// Another worker's fetch, begun at `asked`, gave a set; that worker fetches
    /// again at `next`. Returns the set that it replaces.
    pub fn adopt(&mut self, set: Arc<KeySet>, asked: Now, next: Monotonic) -> Option<Arc<KeySet>> {
        self.take(set, asked, next.after(HEAD_START))
    }

    fn take(&mut self, set: Arc<KeySet>, asked: Now, next: Monotonic) -> Option<Arc<KeySet>> {
        self.failures = 0;
        self.due(next);
        let old = self.held.replace(Held {
            set,
            asked: asked.mono,
            asked_wall: asked.wall,
            ages: true,
        });
        old.map(|held| held.set)
    }

    /// A fetch failed, or gave nothing usable: what is held stays.
    pub fn failed(&mut self, now: Now) {
        let (first, longest) = BACK_OFF;
        let pause = first.saturating_mul(1 << self.failures.min(6)).min(longest);
        self.failures = self.failures.saturating_add(1);
        let pause = self.spread(pause, now);
        self.due(now.mono.after(pause));
    }

    /// Another worker's fetch failed, the `failures`th in a row; it tries again at
    /// `next`.
    pub const fn adopt_failure(&mut self, failures: u32, next: Monotonic) {
        self.failures = failures;
        self.due(next.after(HEAD_START));
    }

    const fn due(&mut self, next: Monotonic) {
        self.next = next;
        self.fetch = Fetch::Due(next);
    }

    /// When the next fetch by schedule is due.
    #[must_use]
    pub const fn next(&self) -> Monotonic {
        self.next
    }

    /// Failed fetches in a row.
    #[must_use]
    pub const fn failures(&self) -> u32 {
        self.failures
    }

    /// Whether the held set can say that a key does not exist: it was asked for
    /// after the request came, or (while another fetch is not allowed yet) after
    /// the token was issued as both clocks see it.
    fn is_definitive(
        &self,
        arrived: Monotonic,
        issued_at: Option<Timestamp>,
        leeway: Leeway,
    ) -> bool {
        let Some(held) = &self.held else { return false };
        let issued_before = |iat: Timestamp| iat.after(leeway.as_secs()) <= held.asked_wall;
        held.ages && (held.asked >= arrived || issued_at.is_some_and(issued_before))
    }

    /// ±10 %, from a small generator (splitmix64): no cryptography rests on it.
    fn spread(&mut self, span: u64, now: Now) -> u64 {
        let salt = now.mono.since(Monotonic::from_millis(0));
        self.jitter = self
            .jitter
            .wrapping_add(salt)
            .wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.jitter;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let fifth = span / 5;
        let offset = mixed.checked_rem(fifth.saturating_add(1)).unwrap_or(0);
        span.saturating_sub(span / 10).saturating_add(offset)
    }
}
