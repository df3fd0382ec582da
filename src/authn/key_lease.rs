//! The two entries that the workers of one process share about one source of documents, such as
//! a provider's keys.
//!
//! The [`Document`] is the newest good one, with its number and the time at which it was
//! requested. The [`Lease`] says who may fetch next, and when. The two are separate so that a
//! failed fetch, which changes the lease, hides no document: whoever sees a document newer than
//! its own adopts it, whatever has failed since.
//!
//! An entry is trusted no further than its purpose requires. Every worker parses and checks a
//! document as if it had come from its server. A lease ends by time, impossible instants are
//! ignored, and a malformed entry counts as none. Instants are those of the host's monotonic
//! clock, which all workers of a process share.

use crate::authn::key_cache::Edition;
use crate::words::time::{Monotonic, Now, Timestamp};

/// The least time between two fetches that unknown key IDs trigger, in milliseconds. Strangers
/// cannot cause more traffic to the provider than this, and a true rotation waits no longer.
pub const COOL_DOWN: u64 = 30_000;

/// The longest time that a fetch is assumed to take, in milliseconds: two requests with the
/// longest timeout that a configuration can set, and one second more.
pub const LONGEST_FETCH: u64 = 61_000;

/// The first and the longest wait after a failed fetch, in milliseconds.
const BACK_OFF: (u64, u64) = (1_000, 60_000);

/// The latest retry that is believed, in milliseconds from now: the longest wait with its
/// spread.
const LATEST_RETRY: u64 = 66_001;

/// How long a worker looks for a document that the lease announces, in milliseconds after it
/// was requested. One that has not been published by then never will be.
const NEWS: u64 = 122_000;

/// How far another worker's clock may be ahead of this one's, in milliseconds. A worker that
/// read its clock a moment earlier finds entries that have been written since.
const AHEAD: u64 = 1_000;

/// The first bytes of an entry, which name its kind and the version of its format.
const DOCUMENT_MAGIC: [u8; 8] = *b"scopejw3";
const LEASE_MAGIC: [u8; 8] = *b"scopele3";

/// The newest good document of a source.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Document {
    /// The number of the document, and when it was requested.
    pub edition: Edition,
    /// How long its server calls it fresh, in milliseconds, if the server says so.
    pub max_age: Option<u64>,
    /// The entity tag that its server gave it (RFC 9110 §8.8.3), if any.
    pub tag: Option<Box<[u8]>>,
    /// The document as it was received, unparsed.
    pub bytes: Box<[u8]>,
}

impl Document {
    /// Reads an entry. Returns `None` if it is malformed, or was requested in the future.
    #[must_use]
    pub fn parse(entry: &[u8], now: Monotonic) -> Option<Self> {
        let (mut numbers, bytes) = numbers::<5>(entry, DOCUMENT_MAGIC)?;
        let mut next = || numbers.next();
        let edition = Edition {
            number: next()?,
            asked: Now {
                mono: Monotonic::from_millis(next()?),
                wall: Timestamp::from_secs(next()?),
            },
        };
        let max_age = next()?;
        let tag = usize::try_from(next()?).ok()?;
        let (tag, bytes) = bytes.split_at_checked(tag)?;
        (edition.asked.mono <= now.after(AHEAD)).then(|| Self {
            edition,
            max_age: (max_age != u64::MAX).then_some(max_age),
            tag: (!tag.is_empty()).then(|| tag.into()),
            bytes: bytes.into(),
        })
    }

    /// The bytes that [`Document::parse`] reads.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let Edition { number, asked } = self.edition;
        let max_age = self.max_age.unwrap_or(u64::MAX);
        let tag = self.tag.as_deref().unwrap_or_default();
        let numbers = [
            number,
            asked.mono.as_millis(),
            asked.wall.as_secs(),
            max_age,
            tag.len() as u64,
        ];
        let mut entry = written(DOCUMENT_MAGIC, &numbers);
        entry.extend_from_slice(tag);
        entry.extend_from_slice(&self.bytes);
        entry
    }

    /// Whether this document was requested later than the other one, and so knows more.
    #[must_use]
    pub fn is_newer(&self, other: Option<&Self>) -> bool {
        other.is_none_or(|other| self.edition.asked.mono > other.edition.asked.mono)
    }
}

/// Who may fetch next, and when.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Lease {
    /// The worker that fetches, or 0 if none does.
    pub holder: u64,
    /// The time until which the holder is believed to be fetching.
    pub until: Monotonic,
    /// The number of fetches that have failed in a row.
    pub failures: u64,
    /// After a failure, nobody tries again before this time.
    pub retry: Monotonic,
    /// When an unknown key ID last triggered a fetch, or 0 if none ever did.
    pub demanded: Monotonic,
    /// When the last good document was requested, or last found to be unchanged. A worker with
    /// an older one looks for that document before it fetches.
    pub fetched: Monotonic,
    /// The number of that document.
    pub number: u64,
}

/// Why a worker wants to fetch.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reason {
    /// A request has an unknown key ID.
    Demand,
    /// The schedule says so.
    Schedule,
}

/// What a worker that wants to fetch should do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Claim {
    /// Write this lease and, if the swap succeeds, fetch.
    Take(Lease),
    /// Wait: another worker is fetching, and is believed to be until then.
    Held(Monotonic),
    /// Wait: nobody may fetch before then.
    NotBefore(Monotonic),
    /// Look at the newer document that there is first.
    Newer,
}

impl Lease {
    /// Reads an entry. A malformed one is a lease without a holder, and impossible instants are
    /// ignored.
    #[must_use]
    pub fn parse(entry: &[u8], now: Monotonic) -> Self {
        Self::read(entry).unwrap_or_default().believed(now)
    }

    fn read(entry: &[u8]) -> Option<Self> {
        let (mut numbers, rest) = numbers::<7>(entry, LEASE_MAGIC)?;
        if !rest.is_empty() {
            return None;
        }
        let mut next = || numbers.next();
        Some(Self {
            holder: next()?,
            until: Monotonic::from_millis(next()?),
            failures: next()?,
            retry: Monotonic::from_millis(next()?),
            demanded: Monotonic::from_millis(next()?),
            fetched: Monotonic::from_millis(next()?),
            number: next()?,
        })
    }

    fn believed(self, now: Monotonic) -> Self {
        let never = Monotonic::from_millis(0);
        let by = |instant: Monotonic, latest: Monotonic| {
            if instant <= latest { instant } else { never }
        };
        Self {
            until: by(self.until, now.after(LONGEST_FETCH)),
            retry: by(self.retry, now.after(LATEST_RETRY)),
            demanded: by(self.demanded, now.after(AHEAD)),
            fetched: by(self.fetched, now.after(AHEAD)),
            ..self
        }
    }

    /// The bytes that [`Lease::parse`] reads.
    #[must_use]
    pub fn to_bytes(self) -> Vec<u8> {
        let numbers = [
            self.holder,
            self.until.as_millis(),
            self.failures,
            self.retry.as_millis(),
            self.demanded.as_millis(),
            self.fetched.as_millis(),
            self.number,
        ];
        written(LEASE_MAGIC, &numbers)
    }

    /// The time until which an unknown key ID triggers no fetch.
    #[must_use]
    pub fn cool(self) -> Monotonic {
        if self.demanded == Monotonic::from_millis(0) {
            return self.demanded;
        }
        self.demanded.after(COOL_DOWN)
    }

    /// The time until which a worker other than `worker_id` is believed to be fetching, if one
    /// is.
    #[must_use]
    pub fn other(self, worker_id: u64, now: Monotonic) -> Option<Monotonic> {
        let other = self.holder != 0 && self.holder != worker_id && now < self.until;
        other.then_some(self.until)
    }

    /// Whether there is, or will be in a moment, a document that was requested later than the
    /// newest known one.
    #[must_use]
    pub fn tells_of_newer(self, now: Monotonic, known: Monotonic) -> bool {
        known < self.fetched && now.since(self.fetched) <= NEWS
    }

    /// What the worker `worker_id`, which wants to fetch, should do. A fetch takes it at most
    /// `longest` milliseconds, and the newest document that it knows was requested at `known`.
    #[must_use]
    pub fn claim(
        self,
        worker_id: u64,
        now: Monotonic,
        longest: u64,
        reason: Reason,
        known: Monotonic,
    ) -> Claim {
        if let Some(until) = self.other(worker_id, now) {
            return Claim::Held(until);
        }
        if self.tells_of_newer(now, known) {
            return Claim::Newer;
        }
        let earliest = match reason {
            Reason::Demand => self.cool(),
            Reason::Schedule => self.retry,
        };
        if now < earliest {
            return Claim::NotBefore(earliest);
        }
        Claim::Take(Self {
            holder: worker_id,
            until: now.after(longest.min(LONGEST_FETCH)),
            demanded: match reason {
                Reason::Demand => now,
                Reason::Schedule => self.demanded,
            },
            ..self
        })
    }

    /// The lease after a fetch that began at `asked` and yielded the document `number`, or
    /// found it unchanged.
    #[must_use]
    pub fn after_success(self, asked: Monotonic, number: u64) -> Self {
        Self {
            number: self.number.max(number),
            holder: 0,
            failures: 0,
            retry: Monotonic::from_millis(0),
            fetched: self.fetched.max(asked),
            ..self
        }
    }

    /// The lease after a fetch that yielded nothing usable. The pause doubles from a second up
    /// to a minute, or up to `longest` milliseconds if that is less. `spread` changes its
    /// length by up to a tenth.
    #[must_use]
    pub fn after_failure(
        self,
        now: Monotonic,
        longest: u64,
        spread: impl FnOnce(u64) -> u64,
    ) -> Self {
        let (first, most) = BACK_OFF;
        let doublings = u32::try_from(self.failures.min(6)).unwrap_or(6);
        let pause = first.saturating_mul(1 << doublings);
        let pause = pause.min(longest.max(first)).min(most);
        Self {
            holder: 0,
            failures: self.failures.saturating_add(1),
            retry: now.after(spread(pause)),
            ..self
        }
    }

    /// The lease of a worker that no longer shares it, and so ignores what others do.
    #[must_use]
    pub const fn alone(self) -> Self {
        Self {
            holder: 0,
            fetched: Monotonic::from_millis(0),
            number: 0,
            ..self
        }
    }

    /// The lease after its holder has gone without reporting a result.
    #[must_use]
    pub const fn abandoned(self) -> Self {
        Self { holder: 0, ..self }
    }
}

/// The numbers behind the first bytes of an entry, and the bytes that follow them.
fn numbers<const COUNT: usize>(
    entry: &[u8],
    magic: [u8; 8],
) -> Option<(impl Iterator<Item = u64>, &[u8])> {
    let rest = entry.strip_prefix(&magic)?;
    let (numbers, rest) = rest.split_at_checked(COUNT.saturating_mul(8))?;
    let (words, _) = numbers.as_chunks::<8>();
    Some((words.iter().map(|word| u64::from_le_bytes(*word)), rest))
}

fn written(magic: [u8; 8], numbers: &[u64]) -> Vec<u8> {
    let mut entry = magic.to_vec();
    for number in numbers {
        entry.extend(number.to_le_bytes());
    }
    entry
}
