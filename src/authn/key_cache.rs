//! The keys that one configuration holds of one provider, and what it may say of a key
//! that is not among them.
//!
//! A 401 makes an agent drop its data for good, so a token is told that its key does not
//! exist only by a document that can know: one that was asked for after the token first
//! arrived. Until there is one the answer is a 503 that asks for another try. The first
//! arrivals are remembered, so that a retry finds its verdict; one that was forgotten
//! gets a 503 once more, never a 401 too many.
//!
//! How documents come here is no matter of this file: see [`crate::worker::document_fetch`].

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use crate::authn::jwks::KeySet;
use crate::words::denial::Denial;
use crate::words::time::{Leeway, Monotonic, Now, Timestamp};

/// Most first arrivals that are remembered, and most names of withdrawn keys.
const REMEMBERED: usize = 256;

/// A provider's keys.
#[derive(Debug)]
pub enum Keys {
    /// From the configuration, for good.
    Inline(Arc<KeySet>),
    /// From the provider's documents.
    Fetched(KeyCache),
}

impl Keys {
    /// The keys to verify with, unless there are none or they are too old.
    #[must_use]
    pub fn usable(&self, now: Monotonic) -> Option<&Arc<KeySet>> {
        match self {
            Self::Inline(set) => Some(set),
            Self::Fetched(cache) => cache.usable(now),
        }
    }

    /// The keys whatever their age, for metrics.
    #[must_use]
    pub fn held(&self) -> Option<&Arc<KeySet>> {
        match self {
            Self::Inline(set) => Some(set),
            Self::Fetched(cache) => cache.held.as_ref()?.set.as_ref(),
        }
    }

    /// Which document they are from, if they come in documents.
    #[must_use]
    pub fn edition(&self) -> Option<Edition> {
        match self {
            Self::Inline(_) => None,
            Self::Fetched(cache) => cache.edition(),
        }
    }

    /// Whether there are keys that may serve now.
    #[must_use]
    pub fn are_usable(&self, now: Monotonic) -> bool {
        match self {
            Self::Inline(_) => true,
            Self::Fetched(cache) => cache.usable(now).is_some(),
        }
    }

    /// What is to be said to a token whose key is not among the usable ones.
    pub fn missing(&mut self, stranger: &Stranger<'_>, now: Monotonic) -> Missing {
        match self {
            Self::Inline(_) => Missing::Final(Denial::UnknownKey),
            Self::Fetched(cache) => cache.missing(stranger, now),
        }
    }
}

/// A token that passed every check but its signature's, and whose key is not there.
#[derive(Clone, Copy, Debug)]
pub struct Stranger<'a> {
    /// Its bytes.
    pub token: &'a [u8],
    /// The `kid` that it names.
    pub key_id: Option<&'a str>,
    /// When it came, this time.
    pub arrived: Monotonic,
    /// Its `iat`, unproven.
    pub issued_at: Option<Timestamp>,
    /// How far the provider's clock may be off.
    pub leeway: Leeway,
}

/// Why keys are wanted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Need {
    /// There are some, but not a certain one.
    Key,
    /// There are none.
    Keys,
}

/// What is to be said to a token whose key is not there.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Missing {
    /// A newer document may hold the key. `otherwise` is the answer if none can be
    /// waited for.
    Awaits {
        /// What is wanted of it.
        need: Need,
        /// Why the request is refused then.
        otherwise: Denial,
    },
    /// The key does not exist.
    Final(Denial),
}

/// Which document a set was read from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Edition {
    /// Its number among the documents of its source.
    pub number: u64,
    /// When it was asked for.
    pub asked: Now,
}

#[derive(Clone, Debug)]
struct CachedSet {
    /// `None` for a document in which there was no usable key.
    set: Option<Arc<KeySet>>,
    edition: Edition,
}

/// Keys that come in documents.
#[derive(Clone, Debug)]
pub struct KeyCache {
    /// How long a set serves after it was asked for, in milliseconds.
    max_stale: u64,
    held: Option<CachedSet>,
    /// Keys of earlier documents that are not in the held one, by the hash of their name.
    withdrawn: VecDeque<u64>,
    /// When tokens of unknown keys came first, by their hash.
    arrivals: VecDeque<(u64, Monotonic)>,
    seed: u64,
}

impl KeyCache {
    /// An empty one, whose sets serve for `max_stale` milliseconds. `seed` keys the
    /// hashes, so that nobody can make two tokens look like one.
    #[must_use]
    pub const fn new(max_stale: u64, seed: u64) -> Self {
        Self {
            max_stale,
            held: None,
            withdrawn: VecDeque::new(),
            arrivals: VecDeque::new(),
            seed,
        }
    }

    /// Takes over what the cache of an earlier configuration remembers of tokens and
    /// withdrawn keys; the set comes by itself.
    pub fn inherit(&mut self, earlier: &Self) {
        self.withdrawn.clone_from(&earlier.withdrawn);
        self.arrivals.clone_from(&earlier.arrivals);
        self.seed = earlier.seed;
    }

    /// Which document the set is from.
    #[must_use]
    pub fn edition(&self) -> Option<Edition> {
        self.held.as_ref().map(|held| held.edition)
    }

    /// Milliseconds since the document was asked for.
    #[must_use]
    pub fn age(&self, now: Monotonic) -> Option<u64> {
        self.edition().map(|edition| now.since(edition.asked.mono))
    }

    fn usable(&self, now: Monotonic) -> Option<&Arc<KeySet>> {
        self.held
            .as_ref()
            .filter(|held| now.since(held.edition.asked.mono) <= self.max_stale)
            .and_then(|held| held.set.as_ref())
    }

    /// Puts what a newer document holds in place of the held set: `None` if there is
    /// no usable key in it.
    pub fn adopt(&mut self, set: Option<Arc<KeySet>>, edition: Edition) {
        let before = self.held.take().and_then(|held| held.set);
        let kept = self.names(set.as_deref());
        for name in self.names(before.as_deref()) {
            if !kept.contains(&name) {
                remember(&mut self.withdrawn, name);
            }
        }
        self.withdrawn.retain(|name| !kept.contains(name));
        self.held = Some(CachedSet { set, edition });
    }

    /// The names of a set's keys, as they are remembered.
    fn names(&self, set: Option<&KeySet>) -> Vec<u64> {
        let names = set.into_iter().flat_map(KeySet::key_ids);
        names.map(|name| hash(self.seed, name.as_bytes())).collect()
    }

    fn missing(&mut self, stranger: &Stranger<'_>, now: Monotonic) -> Missing {
        let usable = self.usable(now).is_some();
        let Some(Edition { asked, .. }) = self.edition().filter(|_| usable) else {
            return Missing::Awaits {
                need: Need::Keys,
                otherwise: Denial::KeysUnavailable,
            };
        };
        let first = self.first_arrival(stranger);
        if asked.mono >= first {
            return Missing::Final(Denial::UnknownKey);
        }
        // A key that was withdrawn does not come back, and what was issued before the
        // document that lacks it is not its successor's.
        let withdrawn = stranger
            .key_id
            .is_some_and(|name| self.withdrawn.contains(&hash(self.seed, name.as_bytes())));
        let before = |issued: Timestamp| issued.after(stranger.leeway.as_secs()) <= asked.wall;
        let otherwise = if withdrawn && stranger.issued_at.is_some_and(before) {
            Denial::UnknownKey
        } else {
            Denial::KeyPending
        };
        Missing::Awaits {
            need: Need::Key,
            otherwise,
        }
    }

    /// When these bytes came first, as far as is remembered.
    fn first_arrival(&mut self, stranger: &Stranger<'_>) -> Monotonic {
        let token = hash(self.seed, stranger.token);
        let known = self.arrivals.iter().find(|(known, _)| *known == token);
        if let Some((_, first)) = known {
            return *first;
        }
        if self.arrivals.len() >= REMEMBERED {
            self.arrivals.pop_front();
        }
        self.arrivals.push_back((token, stranger.arrived));
        stranger.arrived
    }
}

fn remember(names: &mut VecDeque<u64>, name: u64) {
    if names.contains(&name) {
        return;
    }
    if names.len() >= REMEMBERED {
        names.pop_front();
    }
    names.push_back(name);
}

/// SipHash with a secret in front: strangers choose what is hashed.
fn hash(seed: u64, bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    seed.hash(&mut hasher);
    bytes.hash(&mut hasher);
    hasher.finish()
}
