//! The entries that the workers of the process share: the newest documents and their leases.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::lock::{Mutex, lock};
use crate::worker::Swap;

/// Bytes, and the number that changes with each write.
type Written = (Box<[u8]>, u32);

static STORE: LazyLock<Mutex<Store>> = LazyLock::new(Mutex::default);

/// An entry and the number with which to swap it. Both are empty if nobody has written it.
pub(super) fn look(key: &str) -> Written {
    lock(&STORE).look(key)
}

/// Writes an entry if it is still the one that was read with that number.
pub(super) fn swap(key: &str, value: &[u8], read: u32) -> Swap {
    lock(&STORE).swap(key, value, read)
}

/// The entries by their keys.
#[derive(Debug, Default)]
struct Store(HashMap<String, Written>);

impl Store {
    fn look(&self, key: &str) -> Written {
        self.0.get(key).cloned().unwrap_or_default()
    }

    fn swap(&mut self, key: &str, value: &[u8], read: u32) -> Swap {
        let number = self.0.get(key).map_or(0, |(_, number)| *number);
        if number != read {
            return Swap::Conflict;
        }
        // The number 0 stands for an entry that is not there.
        let next = number.checked_add(1).unwrap_or(1);
        self.0.insert(key.to_owned(), (value.into(), next));
        Swap::Done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_read_last_is_overwritten() {
        let mut store = Store::default();
        assert_eq!(store.look("lease"), (Box::default(), 0));
        assert_eq!(store.swap("lease", b"a", 1), Swap::Conflict);
        assert_eq!(store.swap("lease", b"a", 0), Swap::Done);
        assert_eq!(store.swap("lease", b"b", 0), Swap::Conflict);
        let (bytes, number) = store.look("lease");
        assert_eq!(&*bytes, b"a");
        assert_eq!(store.swap("lease", b"b", number), Swap::Done);
        assert_eq!(store.swap("lease", b"c", number), Swap::Conflict);
    }

    #[test]
    fn a_number_that_overflows_is_no_missing_entry() {
        let mut store = Store::default();
        store
            .0
            .insert("lease".to_owned(), (Box::default(), u32::MAX));
        assert_eq!(store.swap("lease", b"a", u32::MAX), Swap::Done);
        assert_eq!(store.look("lease").1, 1);
    }
}
