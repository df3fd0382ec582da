//! What the workers of one process tell one another about a provider's keys.
//!
//! Each worker runs a module of its own with a memory of its own. So that the
//! provider sees one fetch and not one for each worker, they share two entries: the
//! [`Notice`], which says who fetches and what came of the last fetch, and the raw
//! document of the last good one. A worker that wants to fetch first writes itself
//! into the notice by compare-and-swap; everybody else waits for what comes of it.
//!
//! Nothing in there is believed beyond what it is for. The document is parsed and
//! checked by every worker as if it had come from the provider, the notice holds
//! instants that are refused when they lie outside the possible, and a holder that
//! died is replaced when its time is up. Instants are the host's monotonic clock,
//! which all workers read alike.

use crate::authn::key_cache::COOL_DOWN;
use crate::words::time::{Monotonic, Now, Timestamp};

/// First bytes of a notice: the format and its version.
const MAGIC: [u8; 8] = *b"scopeky1";

/// Bytes of a notice.
const SIZE: usize = 80;

/// What is known of a provider's keys in this process.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Notice {
    /// Who fetches; 0 is nobody.
    pub holder: u64,
    /// Until when that is believed.
    pub until: Monotonic,
    /// How many fetches have ended.
    pub ended: u64,
    /// How many of the last ones failed in a row.
    pub failures: u64,
    /// Which fetch gave the document; 0 is none.
    pub document: u64,
    /// When that fetch was begun.
    pub asked: Now,
    /// When the next fetch is due.
    pub next: Monotonic,
    /// When an unknown key ID last started a fetch; 0 is never.
    pub demanded: Monotonic,
}

/// What a worker that wants to fetch should do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Claim {
    /// Write this notice; if the swap succeeds, fetch.
    Take(Notice),
    /// Somebody fetches, and is believed until then.
    Held(Monotonic),
    /// An unknown key ID has started a fetch at that instant, too short ago for another.
    Cooling(Monotonic),
}

/// Why a worker wants to fetch.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reason {
    /// A request has an unknown key ID.
    Demand,
    /// It is time.
    Schedule,
}

impl Notice {
    /// Reads a notice. What is malformed, or tells of instants that cannot be, is
    /// none: `longest` is the longest a fetch is believed to take, in milliseconds,
    /// `interval` the longest from one fetch to the next.
    #[must_use]
    pub fn parse(bytes: &[u8], now: Now, longest: u64, interval: u64) -> Option<Self> {
        let (magic, numbers) = bytes.split_at_checked(MAGIC.len())?;
        if magic != MAGIC || bytes.len() != SIZE {
            return None;
        }
        let mut numbers = numbers
            .chunks_exact(8)
            .filter_map(|chunk| Some(u64::from_le_bytes(chunk.try_into().ok()?)));
        let mut number = || numbers.next();
        let notice = Self {
            holder: number()?,
            until: Monotonic::from_millis(number()?),
            ended: number()?,
            failures: number()?,
            document: number()?,
            asked: Now {
                mono: Monotonic::from_millis(number()?),
                wall: Timestamp::from_secs(number()?),
            },
            next: Monotonic::from_millis(number()?),
            demanded: Monotonic::from_millis(number()?),
        };
        let possible = notice.until <= now.mono.after(longest)
            && notice.asked.mono <= now.mono
            && notice.demanded <= now.mono
            && notice.next <= now.mono.after(interval.saturating_mul(2))
            && notice.document <= notice.ended;
        possible.then_some(notice)
    }

    /// The bytes that [`Notice::parse`] reads.
    #[must_use]
    pub fn to_bytes(self) -> Vec<u8> {
        let zero = Monotonic::from_millis(0);
        let mut bytes = Vec::with_capacity(SIZE);
        bytes.extend(MAGIC);
        for number in [
            self.holder,
            self.until.since(zero),
            self.ended,
            self.failures,
            self.document,
            self.asked.mono.since(zero),
            self.asked.wall.as_secs(),
            self.next.since(zero),
            self.demanded.since(zero),
        ] {
            bytes.extend(number.to_le_bytes());
        }
        bytes
    }

    /// What a worker `me` should do that wants to fetch and would take at most
    /// `longest` milliseconds.
    #[must_use]
    pub fn claim(self, me: u64, now: Now, longest: u64, reason: Reason) -> Claim {
        if self.holder != 0 && self.holder != me && now.mono < self.until {
            return Claim::Held(self.until);
        }
        let ever = self.demanded > Monotonic::from_millis(0);
        if reason == Reason::Demand && ever && now.mono.since(self.demanded) < COOL_DOWN {
            return Claim::Cooling(self.demanded);
        }
        Claim::Take(Self {
            holder: me,
            until: now.mono.after(longest),
            demanded: if reason == Reason::Demand {
                now.mono
            } else {
                self.demanded
            },
            ..self
        })
    }

    /// The notice after `me` has fetched: with a document that was asked for at
    /// `asked`, or without. `failures` and `next` are those of the worker's own cache.
    /// `None` when the claim is not `me`'s any more: what comes too late may be older
    /// than what its successor brings, and is for this worker alone.
    #[must_use]
    pub const fn after_fetch(
        self,
        me: u64,
        asked: Option<Now>,
        failures: u32,
        next: Monotonic,
    ) -> Option<Self> {
        if self.holder != me {
            return None;
        }
        let ended = self.ended.saturating_add(1);
        let (document, asked) = match asked {
            Some(asked) => (ended, asked),
            None => (self.document, self.asked),
        };
        Some(Self {
            holder: 0,
            ended,
            failures: failures as u64,
            document,
            asked,
            next,
            ..self
        })
    }
}

/// A shared document: the number of its fetch, then its bytes.
#[must_use]
pub fn document(number: u64, bytes: &[u8]) -> Vec<u8> {
    [&number.to_le_bytes()[..], bytes].concat()
}

/// The bytes of the document of that fetch; another fetch's are none.
#[must_use]
pub fn read_document(number: u64, shared: &[u8]) -> Option<&[u8]> {
    let (mark, bytes) = shared.split_at_checked(8)?;
    (mark == number.to_le_bytes()).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONGEST: u64 = 6_000;
    const INTERVAL: u64 = 600_000;

    fn at(millis: u64) -> Now {
        Now {
            wall: Timestamp::from_secs(1_700_000_000 + millis / 1000),
            mono: Monotonic::from_millis(millis),
        }
    }

    fn taken(claim: Claim) -> Notice {
        match claim {
            Claim::Take(notice) => notice,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn one_worker_fetches_and_the_others_wait() {
        let notice = Notice::default();
        let first = taken(notice.claim(1, at(1_000), LONGEST, Reason::Schedule));
        assert_eq!(
            first.claim(2, at(1_001), LONGEST, Reason::Schedule),
            Claim::Held(Monotonic::from_millis(7_000))
        );
        // The holder may go on, and so may anybody when its time is up.
        taken(first.claim(1, at(1_002), LONGEST, Reason::Schedule));
        let second = taken(first.claim(2, at(7_000), LONGEST, Reason::Schedule));
        assert_eq!(second.holder, 2);
        // What the first brings too late is not told, and does not end the second's claim.
        let next = Monotonic::from_millis(8_000);
        assert_eq!(second.after_fetch(1, Some(at(1_000)), 0, next), None);
        assert!(second.after_fetch(2, None, 1, next).is_some());
    }

    #[test]
    fn unknown_key_ids_share_one_cool_down() {
        let first = taken(Notice::default().claim(1, at(5_000), LONGEST, Reason::Demand));
        let done = first
            .after_fetch(1, Some(at(5_000)), 0, Monotonic::from_millis(400_000))
            .unwrap();
        assert_eq!(done.holder, 0);
        assert_eq!(
            done.claim(2, at(34_999), LONGEST, Reason::Demand),
            Claim::Cooling(Monotonic::from_millis(5_000))
        );
        taken(done.claim(2, at(35_000), LONGEST, Reason::Demand));
        // A refresh that is due is no stranger's doing.
        taken(done.claim(2, at(6_000), LONGEST, Reason::Schedule));
    }

    #[test]
    fn a_notice_is_read_as_it_was_written() {
        let notice = Notice {
            holder: 7,
            until: Monotonic::from_millis(9_000),
            ended: 3,
            failures: 1,
            document: 2,
            asked: at(4_000),
            next: Monotonic::from_millis(50_000),
            demanded: Monotonic::from_millis(3_000),
        };
        let bytes = notice.to_bytes();
        assert_eq!(bytes.len(), SIZE);
        assert_eq!(
            Notice::parse(&bytes, at(5_000), LONGEST, INTERVAL),
            Some(notice)
        );
        for cut in 0..bytes.len() {
            assert_eq!(
                Notice::parse(&bytes[..cut], at(5_000), LONGEST, INTERVAL),
                None
            );
        }
    }

    #[test]
    fn impossible_instants_are_no_notice() {
        let now = at(10_000);
        let far = Monotonic::from_millis(10_000_000);
        for wrong in [
            Notice {
                until: far,
                ..Notice::default()
            },
            Notice {
                asked: at(10_001),
                ..Notice::default()
            },
            Notice {
                demanded: far,
                ..Notice::default()
            },
            Notice {
                next: far,
                ..Notice::default()
            },
            Notice {
                document: 1,
                ..Notice::default()
            },
        ] {
            assert_eq!(
                Notice::parse(&wrong.to_bytes(), now, LONGEST, INTERVAL),
                None,
                "{wrong:?}"
            );
        }
    }

    #[test]
    fn a_document_belongs_to_its_fetch() {
        let shared = document(5, b"{}");
        assert_eq!(read_document(5, &shared), Some(&b"{}"[..]));
        assert_eq!(read_document(4, &shared), None);
        assert_eq!(read_document(0, b"short"), None);
    }
}
