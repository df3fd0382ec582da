//! What the workers of one process share about one source of documents, such as a
//! provider's keys: two entries.
//!
//! The [`Document`] is the newest good one, with its number and the time it was asked
//! for. The [`Lease`] says who may fetch next and when. They are apart so that a failed
//! fetch, which moves the lease, hides no document: whoever sees a document that is newer
//! than its own adopts it, whatever has failed since.
//!
//! Nothing in them is believed beyond what it is for. A document is parsed and checked by
//! every worker as if it had come from its server; a lease ends by time, instants that
//! cannot be count for nothing, and a malformed entry is none. Instants are of the host's
//! monotonic clock, which all workers of a process read alike.

use crate::authn::key_cache::Edition;
use crate::words::time::{Monotonic, Now, Timestamp};

/// Least time between two fetches that unknown key IDs start, in milliseconds: strangers
/// cannot drive more traffic than this to the provider, and a true rotation waits no
/// longer.
pub const COOL_DOWN: u64 = 30_000;

/// Longest that a fetch is believed to take, in milliseconds: two requests of the longest
/// timeout that a configuration can set, and a second.
pub const LONGEST_FETCH: u64 = 61_000;

/// First and longest wait after a failed fetch, in milliseconds.
const BACK_OFF: (u64, u64) = (1_000, 60_000);

/// Latest retry that is believed, in milliseconds from now: the longest wait and its
/// spread.
const LATEST_RETRY: u64 = 66_001;

/// How long after it was asked for a document is looked for that the lease tells of, in
/// milliseconds. One that has not been published by then never will be.
const NEWS: u64 = 122_000;

/// How far ahead of this worker's clock another one's may be, in milliseconds: whoever read
/// it a moment earlier meets entries that were written since.
const AHEAD: u64 = 1_000;

/// First bytes of an entry: what it is, and the version of its form.
const DOCUMENT_MAGIC: [u8; 8] = *b"scopejw3";
const LEASE_MAGIC: [u8; 8] = *b"scopele3";

/// The newest good document of a source.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Document {
    /// Its number, and when it was asked for.
    pub edition: Edition,
    /// How long its server calls it fresh, in milliseconds, if it says so.
    pub max_age: Option<u64>,
    /// What its server calls this state of it (RFC 9110 §8.8.3), if it says so.
    pub tag: Option<Box<[u8]>>,
    /// What came, unparsed.
    pub bytes: Box<[u8]>,
}

impl Document {
    /// Reads an entry; what is malformed, or was asked for in the future, is none.
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

    /// Whether it was asked for later than the other, so that it knows more.
    #[must_use]
    pub fn is_newer(&self, other: Option<&Self>) -> bool {
        other.is_none_or(|other| self.edition.asked.mono > other.edition.asked.mono)
    }
}

/// Who may fetch next, and when.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Lease {
    /// Who fetches; 0 is nobody.
    pub holder: u64,
    /// Until when that is believed.
    pub until: Monotonic,
    /// How many fetches failed in a row.
    pub failures: u64,
    /// Before when nobody tries again after a failure.
    pub retry: Monotonic,
    /// When an unknown key ID last started a fetch; 0 is never.
    pub demanded: Monotonic,
    /// When the last good document was asked for, or last found to be unchanged, so that
    /// whoever has an older one looks for it before fetching.
    pub fetched: Monotonic,
    /// The number of that document.
    pub number: u64,
}

/// Why a worker wants to fetch.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reason {
    /// A request has an unknown key ID.
    Demand,
    /// It is time.
    Schedule,
}

/// What a worker that wants to fetch should do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Claim {
    /// Write this lease; if the swap succeeds, fetch.
    Take(Lease),
    /// Somebody fetches, and is believed until then.
    Held(Monotonic),
    /// Nobody fetches before then.
    NotBefore(Monotonic),
    /// There is a newer document to look at first.
    Newer,
}

impl Lease {
    /// Reads an entry; what is malformed is nobody's lease, and an instant that cannot
    /// be counts for nothing.
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

    /// Until when nobody may fetch because of an unknown key ID.
    #[must_use]
    pub fn cool(self) -> Monotonic {
        if self.demanded == Monotonic::from_millis(0) {
            return self.demanded;
        }
        self.demanded.after(COOL_DOWN)
    }

    /// Who fetches other than `worker_id`, and until when that is believed.
    #[must_use]
    pub fn other(self, worker_id: u64, now: Monotonic) -> Option<Monotonic> {
        let other = self.holder != 0 && self.holder != worker_id && now < self.until;
        other.then_some(self.until)
    }

    /// Whether there is, or will be in a moment, a document that was asked for later than
    /// the newest that is known.
    #[must_use]
    pub fn tells_of_newer(self, now: Monotonic, known: Monotonic) -> bool {
        known < self.fetched && now.since(self.fetched) <= NEWS
    }

    /// What a worker `worker_id` should do that wants to fetch, takes at most `longest`
    /// milliseconds, and knows of documents asked for until `known`.
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

    /// The lease after a fetch that gave a document of that number, or found it to be
    /// unchanged, and was begun at `asked`.
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

    /// The lease after a fetch that gave nothing usable: the pause doubles from a second
    /// to a minute, or to `longest`, in milliseconds, where that is less. `spread` changes its
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

    /// The lease of a worker that shares it no more: what others do is no matter.
    #[must_use]
    pub const fn alone(self) -> Self {
        Self {
            holder: 0,
            fetched: Monotonic::from_millis(0),
            number: 0,
            ..self
        }
    }

    /// The lease after its holder has gone without an answer.
    #[must_use]
    pub const fn abandoned(self) -> Self {
        Self { holder: 0, ..self }
    }
}

/// The numbers behind the first bytes of an entry, and what follows them.
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
