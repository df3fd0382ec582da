//! Verified tokens, remembered by their exact bytes.
//!
//! What is cached is the proof that these bytes carry a good signature and what
//! they say; never a decision. Times are checked again at each hit by the caller,
//! tenants and permissions are decided anew for each request, and a key that
//! leaves its provider's set takes its tokens with it ([`TokenCache::retain`]).
//!
//! Bounded by entries and by bytes. Entries are found by a keyed hash of the
//! token's last bytes, which are its signature, and compared in full: a forged
//! token with a cached token's ending is another token. When full, the entry that
//! was not used for the longest round of the clock hand goes.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;

use crate::authn::keys::VerifyingKey;
use crate::authn::verifier::TokenTimes;
use crate::words::hash::{QuickHash, equal};
use crate::words::identity::Principal;

/// What a verified token says.
#[derive(Debug)]
pub struct Session {
    /// The caller.
    pub principal: Principal,
    /// For the check at each use.
    pub times: TokenTimes,
    /// The key that signed the token.
    pub key: Arc<VerifyingKey>,
}

/// Bytes of the token's end that are hashed: a whole ES256 signature, a good part
/// of any other.
const HASHED_BYTES: usize = 64;

#[derive(Debug)]
struct Entry {
    token: Box<[u8]>,
    session: Arc<Session>,
    hash: u64,
    used: bool,
}

/// The cache.
#[derive(Debug)]
pub struct TokenCache {
    slots: Vec<Option<Entry>>,
    free: Vec<usize>,
    index: HashMap<u64, usize, QuickHash>,
    hasher: QuickHash,
    hand: usize,
    max_entries: usize,
    max_bytes: usize,
    bytes: usize,
}

impl TokenCache {
    /// A cache of at most `max_entries` tokens that together take at most
    /// `max_bytes` bytes. Zero entries caches nothing.
    #[must_use]
    pub fn new(max_entries: usize, max_bytes: usize) -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            index: HashMap::default(),
            hasher: QuickHash::seeded(RandomState::new().build_hasher().finish()),
            hand: 0,
            max_entries,
            max_bytes,
            bytes: 0,
        }
    }

    /// Remembers what another cache does as well, as far as there is room.
    pub fn add(&mut self, other: &Self) {
        for entry in other.slots.iter().flatten() {
            self.insert(&entry.token, Arc::clone(&entry.session));
        }
    }

    /// The session of exactly these bytes.
    pub fn get(&mut self, token: &[u8]) -> Option<&Arc<Session>> {
        let slot = *self.index.get(&self.hash(token))?;
        let entry = self.slots.get_mut(slot)?.as_mut()?;
        if !equal(&entry.token, token) {
            return None;
        }
        entry.used = true;
        Some(&entry.session)
    }

    /// Remembers a verified token, making room as needed.
    pub fn insert(&mut self, token: &[u8], session: Arc<Session>) {
        if token.len() > self.max_bytes || self.max_entries == 0 {
            return;
        }
        let hash = self.hash(token);
        if let Some(slot) = self.index.get(&hash).copied() {
            self.remove(slot);
        }
        while self.index.len() >= self.max_entries
            || self.bytes.saturating_add(token.len()) > self.max_bytes
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
            session,
            hash,
            used: false,
        });
        self.bytes = self.bytes.saturating_add(token.len());
        self.index.insert(hash, slot);
    }

    /// Forgets one token.
    pub fn forget(&mut self, token: &[u8]) {
        if let Some(slot) = self.index.get(&self.hash(token)).copied() {
            self.remove(slot);
        }
    }

    /// Keeps only the sessions that `keep` approves of.
    pub fn retain(&mut self, keep: impl Fn(&Session) -> bool) {
        for slot in 0..self.slots.len() {
            let stays = match self.slots.get(slot) {
                Some(Some(entry)) => keep(&entry.session),
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

    /// Whether none is.
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
            self.bytes = self.bytes.saturating_sub(entry.token.len());
            self.free.push(slot);
        }
    }

    /// Turns the clock hand to an entry that was not used since its last round.
    /// Two rounds always find one; false when the cache is empty.
    fn evict(&mut self) -> bool {
        for _ in 0..self.slots.len().saturating_mul(2) {
            let slot = self.hand;
            self.hand = slot.saturating_add(1);
            if self.hand >= self.slots.len() {
                self.hand = 0;
            }
            match self.slots.get_mut(slot) {
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
