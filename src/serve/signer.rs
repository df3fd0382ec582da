//! Who signs documents now, and of what date.
//!
//! A gate counts the age of a signed document from its `iat`, so it is signed anew every so
//! often though nothing else in it changes. The date is the beginning of the period that it
//! is signed in: replicas with the same key and the same period write the same bytes.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::SystemTime;

use tokio::time::Duration;

use super::signing_key::SigningKey;

/// The key of now, and how long a date lasts.
#[derive(Debug)]
pub struct Signer {
    key: RwLock<Arc<SigningKey>>,
    /// In seconds, at least 1.
    every: u64,
}

/// What a signature has besides the document.
#[derive(Clone, Debug)]
pub struct Seal {
    /// Who signs.
    pub key: Arc<SigningKey>,
    /// The `iat`, in seconds since 1970.
    pub issued: u64,
}

impl Signer {
    /// One that signs with that key, anew each `every`, which is at least a second.
    #[must_use]
    pub fn new(key: SigningKey, every: Duration) -> Self {
        Self {
            key: RwLock::new(Arc::new(key)),
            every: every.as_secs().max(1),
        }
    }

    /// From now on it signs with this key.
    pub fn replace(&self, key: SigningKey) {
        *self.key.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(key);
    }

    /// How a document is to be signed now.
    #[must_use]
    pub fn seal(&self) -> Seal {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now = since.map_or(0, |since| since.as_secs());
        let key = self.key.read().unwrap_or_else(PoisonError::into_inner);
        Seal {
            key: Arc::clone(&key),
            issued: beginning(now, self.every),
        }
    }
}

/// Of the period of so many seconds that a time is in.
fn beginning(now: u64, every: u64) -> u64 {
    now.saturating_sub(now.checked_rem(every).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::beginning;

    #[test]
    fn the_date_is_the_beginning_of_the_period() {
        for (now, every, date) in [
            (1_799, 600, 1_200),
            (1_800, 600, 1_800),
            (2_399, 600, 1_800),
            (599, 600, 0),
            (1_799, 1, 1_799),
            (0, 1, 0),
        ] {
            assert_eq!(beginning(now, every), date, "{now} {every}");
        }
    }
}
