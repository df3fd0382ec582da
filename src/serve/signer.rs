//! The key that signs documents at present, and the date that they get.
//!
//! A gate counts the age of a signed document from its `iat`. Documents are therefore signed
//! again at intervals even if nothing else in them changes. The date is the beginning of the
//! period in which a document is signed, so that replicas with the same key and the same period
//! produce the same bytes.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::SystemTime;

use tokio::time::Duration;

use super::signing_key::SigningKey;

/// The current key, and how long a date is used.
#[derive(Debug)]
pub struct Signer {
    key: RwLock<Arc<SigningKey>>,
    /// The length of a period in seconds, at least 1.
    every: u64,
}

/// What a signature depends on besides the document.
#[derive(Clone, Debug)]
pub struct Seal {
    /// The key.
    pub key: Arc<SigningKey>,
    /// The `iat`, in seconds since 1970.
    pub issued: u64,
}

impl Signer {
    /// Creates a signer with that key. Documents are signed again after each `every`, which is
    /// at least a second.
    #[must_use]
    pub fn new(key: SigningKey, every: Duration) -> Self {
        Self {
            key: RwLock::new(Arc::new(key)),
            every: every.as_secs().max(1),
        }
    }

    /// Signs with this key from now on.
    pub fn replace(&self, key: SigningKey) {
        *self.key.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(key);
    }

    /// The key and the date to sign with now.
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

/// The beginning of the period of `every` seconds in which a time falls.
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
