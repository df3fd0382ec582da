//! A quick hash for maps that strangers can look into but not fill.
//!
//! The maps of the endpoint table, the policy and the metrics are filled from the
//! configuration; a caller's path or tenant is only looked up in them, so nobody
//! can make entries collide and a keyed hash would buy nothing. It would cost: five
//! lookups a request with SipHash are a quarter of the decision. The token cache
//! is filled by callers, but only with tokens that a provider signed; it seeds this
//! hash with a random number all the same.

use std::hash::{BuildHasher, Hasher};

/// Makes [`Quick`] hashers, all from one seed.
#[derive(Clone, Copy, Debug, Default)]
pub struct QuickHash(u64);

impl QuickHash {
    /// Hashes that differ from those of another seed.
    #[must_use]
    pub const fn seeded(seed: u64) -> Self {
        Self(seed)
    }
}

impl BuildHasher for QuickHash {
    type Hasher = Quick;

    fn build_hasher(&self) -> Quick {
        Quick(self.0)
    }
}

/// Eight bytes at a time, multiplied and folded.
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

/// Whether two byte strings are equal, a word at a time: `memcmp` in wasm goes
/// byte by byte, and tokens are long.
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
