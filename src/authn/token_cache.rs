//! Verified tokens, remembered by their exact bytes.
//!
//! The cache holds the proof that exactly these bytes, sent for a given purpose, carry a good
//! signature, and the session that they give the configuration that asked last. It never holds
//! a decision. The caller checks times again at each hit, tenants and permissions are decided
//! afresh for each request, and a key that leaves its provider's set takes its tokens with it
//! ([`TokenCache::retain`]). One cache serves all configurations of a worker: another
//! configuration derives a session of its own from the same proof.
//!
//! The cache is bounded both by entries and by bytes. Entries are found by a keyed hash of the
//! token's last bytes, which are its signature, and are then compared in full, so a forged
//! token that ends like a cached one is not mistaken for it.
//!
//! Whoever gets tokens from a provider can show any number of them once. An entry is therefore
//! *settled* only when a caller that some role names uses it again. As long as the others take
//! a quarter of the cache, only they are evicted, so a flood of tokens evicts its own.
//! Otherwise the clock hand evicts an entry that has not been used since its last round.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher};
use std::sync::{Arc, OnceLock};

use crate::authn::keys::{Proof, VerifyingKey};
use crate::authn::verifier::TokenTimes;
use crate::words::credential::Purpose;
use crate::words::hash::{QuickHash, equal};
use crate::words::identity::{Issuer, Principal};

/// The identity and the validity of a verified token.
#[derive(Debug)]
pub struct Session {
    /// The caller.
    pub principal: Principal,
    /// The `iss`, as the token spells it.
    pub issuer: Issuer,
    /// The times of the token, which are checked at each use.
    pub times: TokenTimes,
    /// The key that signed the token.
    pub key: Arc<VerifyingKey>,
    /// The configuration whose group positions the principal holds.
    pub owner: Owner,
    /// What records say of the caller, once one has been written.
    pub recorded: OnceLock<Box<str>>,
}

/// Identifies the configuration that created a session, in one of its states. Another one may
/// map claims differently, or know other groups.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Owner(pub u64);

/// The number of bytes at a token's end that are hashed: a whole ES256 signature, and a good
/// part of any other.
const HASHED_BYTES: usize = 64;

/// The bytes of a token, with the purpose that it is assumed to have. The same bytes with
/// another purpose are another token.
#[derive(Clone, Copy, Debug)]
pub struct Sent<'a> {
    /// The bytes of the token.
    pub token: &'a [u8],
    /// The purpose that the token is assumed to have.
    pub purpose: Purpose,
}

#[derive(Debug)]
struct Entry {
    token: Box<[u8]>,
    purpose: Purpose,
    proof: Proof,
    owner: Owner,
    session: Arc<Session>,
    hash: u64,
    used: bool,
    settled: bool,
}

/// The room that some entries take.
#[derive(Clone, Copy, Debug, Default)]
struct Taken {
    entries: usize,
    bytes: usize,
}

impl Entry {
    fn is(&self, sent: Sent<'_>) -> bool {
        self.purpose == sent.purpose && equal(&self.token, sent.token)
    }
}

impl Taken {
    const fn add(&mut self, token: &[u8]) {
        self.entries = self.entries.saturating_add(1);
        self.bytes = self.bytes.saturating_add(token.len());
    }

    const fn subtract(&mut self, token: &[u8]) {
        self.entries = self.entries.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(token.len());
    }
}

/// The share of the cache that is for tokens which are not settled: one part in this many.
const UNSETTLED: usize = 4;

/// The remembered tokens.
#[derive(Debug)]
pub struct TokenCache {
    slots: Vec<Option<Entry>>,
    free: Vec<usize>,
    index: HashMap<u64, usize, QuickHash>,
    hasher: QuickHash,
    hand: usize,
    max_entries: usize,
    max_bytes: usize,
    all: Taken,
    /// The room that entries take which are not settled.
    unsettled: Taken,
}

impl TokenCache {
    /// A cache of at most `max_entries` tokens that together take at most `max_bytes` bytes.
    /// With zero entries nothing is cached. `seed` keys the hash.
    #[must_use]
    pub fn new(max_entries: usize, max_bytes: usize, seed: u64) -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            index: HashMap::default(),
            hasher: QuickHash::seeded(seed),
            hand: 0,
            max_entries,
            max_bytes,
            all: Taken::default(),
            unsettled: Taken::default(),
        }
    }

    /// Changes the limits, and evicts what exceeds the new ones.
    pub fn resize(&mut self, max_entries: usize, max_bytes: usize) {
        self.max_entries = max_entries;
        self.max_bytes = max_bytes;
        while self.index.len() > max_entries || self.all.bytes > max_bytes {
            if !self.evict() {
                return;
            }
        }
    }

    /// The session of exactly these bytes for that configuration, if it was the last to ask.
    pub fn session(&mut self, sent: Sent<'_>, owner: Owner) -> Option<&Arc<Session>> {
        let slot = self.slot(sent)?;
        let entry = self.slots.get_mut(slot)?.as_mut()?;
        if entry.owner != owner {
            return None;
        }
        entry.used = true;
        if !entry.settled && !entry.session.principal.groups.is_empty() {
            entry.settled = true;
            self.unsettled.subtract(&entry.token);
        }
        Some(&entry.session)
    }

    /// The proof that exactly these bytes carry a good signature, whichever configuration asked
    /// for it.
    pub fn proof(&mut self, sent: Sent<'_>) -> Option<&Proof> {
        let slot = self.slot(sent)?;
        Some(&self.slots.get(slot)?.as_ref()?.proof)
    }

    fn slot(&self, sent: Sent<'_>) -> Option<usize> {
        let slot = *self.index.get(&self.hash(sent.token))?;
        let entry = self.slots.get(slot)?.as_ref()?;
        entry.is(sent).then_some(slot)
    }

    /// Remembers a verified token, making room as needed.
    pub fn insert(&mut self, sent: Sent<'_>, proof: Proof, owner: Owner, session: Arc<Session>) {
        let Sent { token, purpose } = sent;
        if token.len() > self.max_bytes || self.max_entries == 0 {
            return;
        }
        let hash = self.hash(token);
        // When another configuration asks for the same token, this counts as using it again.
        let mut again = false;
        if let Some(slot) = self.index.get(&hash).copied() {
            if let Some(Some(entry)) = self.slots.get(slot) {
                again = entry.is(sent);
            }
            self.remove(slot);
        }
        let settled = again && !session.principal.groups.is_empty();
        while self.index.len() >= self.max_entries
            || self.all.bytes.saturating_add(token.len()) > self.max_bytes
        {
            if !self.evict() {
                return;
            }
        }
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len().saturating_sub(1)
        });
        let Some(place) = self.slots.get_mut(slot) else {
            return;
        };
        *place = Some(Entry {
            token: token.into(),
            purpose,
            proof,
            owner,
            session,
            hash,
            used: again,
            settled,
        });
        self.all.add(token);
        if !settled {
            self.unsettled.add(token);
        }
        self.index.insert(hash, slot);
    }

    /// Forgets one token.
    pub fn forget(&mut self, sent: Sent<'_>) {
        if let Some(slot) = self.slot(sent) {
            self.remove(slot);
        }
    }

    /// Keeps only the tokens whose session `keep` approves of.
    pub fn retain(&mut self, keep: impl Fn(Owner, &Session) -> bool) {
        for slot in 0..self.slots.len() {
            let stays = match self.slots.get(slot) {
                Some(Some(entry)) => keep(entry.owner, &entry.session),
                _ => true,
            };
            if !stays {
                self.remove(slot);
            }
        }
    }

    /// How many tokens are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether no token is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    fn hash(&self, token: &[u8]) -> u64 {
        let start = token.len().saturating_sub(HASHED_BYTES);
        let mut hasher = self.hasher.build_hasher();
        hasher.write(token.get(start..).unwrap_or_default());
        hasher.write_usize(token.len());
        hasher.finish()
    }

    fn remove(&mut self, slot: usize) {
        if let Some(entry) = self.slots.get_mut(slot).and_then(Option::take) {
            self.index.remove(&entry.hash);
            self.all.subtract(&entry.token);
            if !entry.settled {
                self.unsettled.subtract(&entry.token);
            }
            self.free.push(slot);
        }
    }

    /// Whether tokens that are not settled take more than their share.
    const fn is_flooded(&self) -> bool {
        let Taken { entries, bytes } = self.unsettled;
        entries > 0
            && (entries.saturating_mul(UNSETTLED) >= self.max_entries
                || bytes.saturating_mul(UNSETTLED) >= self.max_bytes)
    }

    /// Turns the clock hand to an entry to evict. If the tokens that are not settled take more
    /// than their share, it is one of them; otherwise it is an entry that has not been used
    /// since the last round. Two rounds always find one. Returns false if the cache is empty.
    fn evict(&mut self) -> bool {
        let flooded = self.is_flooded();
        for _ in 0..self.slots.len().saturating_mul(2) {
            let slot = self.hand;
            self.hand = slot.saturating_add(1);
            if self.hand >= self.slots.len() {
                self.hand = 0;
            }
            match self.slots.get_mut(slot) {
                Some(Some(entry)) if flooded && entry.settled => {}
                Some(Some(entry)) if entry.used => entry.used = false,
                Some(Some(_)) => {
                    self.remove(slot);
                    return true;
                }
                _ => {}
            }
        }
        false
    }
}
