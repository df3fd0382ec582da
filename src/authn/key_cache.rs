//! The keys of one provider that one configuration holds, and what it may say about a key that
//! is not among them.
//!
//! A 401 makes an agent drop its data for good. A token is therefore told that its key does not
//! exist only on the strength of a document that can know: one that was requested after the
//! token first arrived. Until there is such a document, the answer is a 503 that asks the
//! client to try again. The first arrivals are remembered, so that a retry gets its verdict. A
//! token whose first arrival was forgotten gets one more 503, and never a 401 too many.
//!
//! How documents are fetched is the concern of [`crate::worker::document_fetch`].

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use crate::authn::jwks::KeySet;
use crate::words::denial::Denial;
use crate::words::time::{Leeway, Monotonic, Now, Timestamp};

/// The maximum number of first arrivals that are remembered, and of names of withdrawn keys.
const REMEMBERED: usize = 256;

/// A provider's keys.
#[derive(Debug)]
pub enum Keys {
    /// Keys from the configuration, which never change.
    Inline(Arc<KeySet>),
    /// Keys from the provider's documents.
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

    /// The keys, whatever their age, for metrics.
    #[must_use]
    pub fn held(&self) -> Option<&Arc<KeySet>> {
        match self {
            Self::Inline(set) => Some(set),
            Self::Fetched(cache) => cache.held.as_ref()?.set.as_ref(),
        }
    }

    /// The document that the keys were read from, if they come in documents.
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

    /// The answer for a token whose key is not among the usable ones.
    pub fn missing(&mut self, stranger: &Stranger<'_>, now: Monotonic) -> Missing {
        match self {
            Self::Inline(_) => Missing::Final(Denial::UnknownKey),
            Self::Fetched(cache) => cache.missing(stranger, now),
        }
    }
}

/// A token that passed every check except that of its signature, because its key is not known.
#[derive(Clone, Copy, Debug)]
pub struct Stranger<'a> {
    /// The bytes of the token.
    pub token: &'a [u8],
    /// The `kid` that it names.
    pub key_id: Option<&'a str>,
    /// When this request with the token arrived.
    pub arrived: Monotonic,
    /// The token's `iat`, which is not proven.
    pub issued_at: Option<Timestamp>,
    /// How far the provider's clock may be off.
    pub leeway: Leeway,
}

/// What a provider's keys are needed for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Need {
    /// There are keys, but a certain one is missing.
    Key,
    /// There are no keys.
    Keys,
}

/// The answer for a token whose key is missing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Missing {
    /// A newer document may hold the key. `otherwise` is the answer if the request cannot wait
    /// for one.
    Awaits {
        /// What the document is needed for.
        need: Need,
        /// Why the request is refused if it cannot wait.
        otherwise: Denial,
    },
    /// The key does not exist.
    Final(Denial),
}

/// Identifies the document that a set was read from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Edition {
    /// The number of the document among those of its source.
    pub number: u64,
    /// When the document was requested.
    pub asked: Now,
}

#[derive(Clone, Debug)]
struct CachedSet {
    /// The keys, or `None` if the document had no usable one.
    set: Option<Arc<KeySet>>,
    edition: Edition,
}

/// Keys that come in documents.
#[derive(Clone, Debug)]
pub struct KeyCache {
    /// How long a set may be used after it was requested, in milliseconds.
    max_stale: u64,
    held: Option<CachedSet>,
    /// The keys of earlier documents that are missing from the current one, as hashes of their
    /// names.
    withdrawn: VecDeque<u64>,
    /// When each token with an unknown key first arrived, by the hash of the token.
    arrivals: VecDeque<(u64, Monotonic)>,
    seed: u64,
}

impl KeyCache {
    /// An empty cache whose sets may be used for `max_stale` milliseconds. `seed` keys the
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

    /// Takes over what the cache of an earlier configuration remembers about tokens and
    /// withdrawn keys. The key set is handed over separately.
    pub fn inherit(&mut self, earlier: &Self) {
        self.withdrawn.clone_from(&earlier.withdrawn);
        self.arrivals.clone_from(&earlier.arrivals);
        self.seed = earlier.seed;
    }

    /// The document that the set was read from.
    #[must_use]
    pub fn edition(&self) -> Option<Edition> {
        self.held.as_ref().map(|held| held.edition)
    }

    /// Milliseconds since the document was requested.
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

    /// Replaces the set with that of a newer document, which is `None` if it has no usable key.
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

    /// The hashes under which the names of a set's keys are remembered.
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
        // A withdrawn key does not come back under the same name. A token that was issued
        // before the document that lacks its key was requested cannot have been signed by a
        // successor of that name.
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

    /// When these bytes first arrived, as far as that is remembered.
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

/// SipHash with a secret key, because strangers choose what is hashed.
fn hash(seed: u64, bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    seed.hash(&mut hasher);
    bytes.hash(&mut hasher);
    hasher.finish()
}
