//! A fast hash for maps that strangers can look into but not fill.
//!
//! The maps of the endpoint table and of the metrics are filled with names from the code. Those
//! of a policy are filled from the configuration, in which many people may have written names.
//! Their hash therefore depends on the whole configuration ([`QuickHash::of_document`]): every
//! attempt to find names that collide changes the hash. A caller's path or tenant is only
//! looked up, and a keyed hash would be expensive: five lookups for a request with SipHash take
//! a quarter of the time of a decision. The token cache is filled by callers, but only with
//! tokens that a provider has signed; it nevertheless seeds this hash with a random number.

use std::hash::{BuildHasher, Hasher};

/// Makes [`Quick`] hashers that all share one seed.
#[derive(Clone, Copy, Debug, Default)]
pub struct QuickHash(u64);

impl QuickHash {
    /// A hash that differs from the hash with any other seed.
    #[must_use]
    pub const fn seeded(seed: u64) -> Self {
        Self(seed)
    }
}

impl QuickHash {
    /// A hash that depends on every byte of a document.
    #[must_use]
    pub fn of_document(document: &[u8]) -> Self {
        let mut hasher = Self::seeded(0x5c09_e9a7_e0d0_c0de).build_hasher();
        hasher.write(document);
        Self::seeded(hasher.finish())
    }

    /// A hash that depends on another document as well.
    #[must_use]
    pub fn and(self, Self(other): Self) -> Self {
        let mut hasher = self.build_hasher();
        hasher.write_u64(other);
        Self::seeded(hasher.finish())
    }
}

impl BuildHasher for QuickHash {
    type Hasher = Quick;

    fn build_hasher(&self) -> Quick {
        Quick(self.0)
    }
}

/// Reads eight bytes at a time, and multiplies and folds them.
#[derive(Clone, Copy, Debug)]
pub struct Quick(u64);

impl Quick {
    fn mix(&mut self, word: u64) {
        let mixed = (self.0 ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed ^ (mixed >> 32);
    }
}

impl Hasher for Quick {
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.mix(u64::from_le_bytes(*word));
        }
        let mut last = [0; 8];
        for (to, from) in last.iter_mut().zip(rest) {
            *to = *from;
        }
        self.mix(u64::from_le_bytes(last) ^ (bytes.len() as u64));
    }

    fn write_u8(&mut self, value: u8) {
        self.mix(u64::from(value));
    }

    fn write_u32(&mut self, value: u32) {
        self.mix(u64::from(value));
    }

    fn write_u64(&mut self, value: u64) {
        self.mix(value);
    }

    fn write_usize(&mut self, value: usize) {
        self.mix(value as u64);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// Whether two byte strings are equal. It compares a word at a time, because `memcmp` in wasm
/// compares byte by byte, and tokens are long.
#[must_use]
pub fn equal(a: &[u8], b: &[u8]) -> bool {
    let ((a_words, a_rest), (b_words, b_rest)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    let word = |bytes: &[u8; 8]| u64::from_le_bytes(*bytes);
    a.len() == b.len()
        && a_words.iter().zip(b_words).all(|(a, b)| word(a) == word(b))
        && a_rest == b_rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equality_is_equality_at_every_length_and_place() {
        for length in 0..40 {
            let a = vec![7; length];
            assert!(equal(&a, &a.clone()));
            assert!(!equal(&a, &vec![7; length + 1]));
            for place in 0..length {
                let mut b = a.clone();
                b[place] = 8;
                assert!(!equal(&a, &b), "{length} {place}");
            }
        }
    }

    #[test]
    fn lengths_and_seeds_make_a_difference() {
        let hash = |seed, bytes: &[u8]| {
            let mut hasher = QuickHash::seeded(seed).build_hasher();
            hasher.write(bytes);
            hasher.finish()
        };
        assert_ne!(hash(0, b"a"), hash(0, b"a\0"));
        assert_ne!(hash(0, b"a"), hash(1, b"a"));
        assert_eq!(hash(3, b"abcdefghi"), hash(3, b"abcdefghi"));
    }
}
