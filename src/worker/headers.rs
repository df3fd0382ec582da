//! A list of headers as bytes, read in place.
//!
//! The format is that of proxy-wasm: the number of pairs, the sizes of each name and value,
//! then names and values, each followed by a NUL. Numbers have 32 bits and are little-endian.

/// A list of headers: names and values in their order, including repeats.
#[derive(Clone, Debug, Default)]
pub struct HeaderBlock(Box<[u8]>);

impl HeaderBlock {
    /// Takes a list as a host wrote it. [`HeaderBlock::has_all`] tells whether it is
    /// consistent.
    #[must_use]
    pub const fn new(bytes: Box<[u8]>) -> Self {
        Self(bytes)
    }

    /// Writes a list.
    #[must_use]
    pub fn of(pairs: &[(impl AsRef<[u8]>, impl AsRef<[u8]>)]) -> Self {
        let pairs = pairs.iter();
        Self::write(pairs.map(|(name, value)| (name.as_ref(), value.as_ref())))
    }

    /// Writes a list. It looks at the pairs more than once.
    #[must_use]
    pub fn write<'a>(pairs: impl ExactSizeIterator<Item = (&'a [u8], &'a [u8])> + Clone) -> Self {
        let size = |length: usize| u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes();
        // Two numbers and two NULs.
        let with_frame = |(name, value): (&[u8], &[u8])| {
            name.len().saturating_add(value.len()).saturating_add(10)
        };
        let sizes = pairs.clone().map(with_frame);
        let whole = sizes.fold(4, usize::saturating_add);
        let mut bytes = Vec::with_capacity(whole);
        bytes.extend(size(pairs.len()));
        for (name, value) in pairs.clone() {
            bytes.extend(size(name.len()));
            bytes.extend(size(value.len()));
        }
        for (name, value) in pairs {
            bytes.extend_from_slice(name);
            bytes.push(0);
            bytes.extend_from_slice(value);
            bytes.push(0);
        }
        Self(bytes.into())
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The pairs in their order. A list that contradicts itself ends early, which
    /// [`HeaderBlock::has_all`] detects.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let count = self.number(0).unwrap_or(0);
        let mut sizes: usize = 4;
        let mut data = count.saturating_mul(8).saturating_add(4);
        (0..count).map_while(move |_| {
            let name_size = self.number(sizes)?;
            let value_size = self.number(sizes.checked_add(4)?)?;
            sizes = sizes.checked_add(8)?;
            let name_end = data.checked_add(name_size)?;
            let name = self.0.get(data..name_end)?;
            let value_start = name_end.checked_add(1)?;
            let value_end = value_start.checked_add(value_size)?;
            let value = self.0.get(value_start..value_end)?;
            data = value_end.checked_add(1)?;
            Some((name, value))
        })
    }

    /// Whether the list claims to hold exactly `seen` pairs.
    #[must_use]
    pub fn has_all(&self, seen: usize) -> bool {
        self.number(0) == Some(seen)
    }

    fn number(&self, at: usize) -> Option<usize> {
        let bytes = self.0.get(at..at.checked_add(4)?)?;
        let number = u32::from_le_bytes(bytes.try_into().ok()?);
        usize::try_from(number).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sound(block: &HeaderBlock) -> bool {
        block.has_all(block.iter().count())
    }

    #[test]
    fn what_is_written_is_read_back() {
        let headers: [(&[u8], &[u8]); 3] = [(b"a", b"1"), (b"bb", b""), (b"c", b"\xff\x00")];
        let block = HeaderBlock::of(&headers);
        assert!(sound(&block));
        assert_eq!(block.iter().collect::<Vec<_>>(), headers);
    }

    #[test]
    fn lists_that_contradict_themselves_are_told() {
        let good = HeaderBlock::of(&[(b"a", b"1"), (b"b", b"2")]).0.to_vec();
        let block = |bytes: &[u8]| HeaderBlock::new(bytes.into());
        for cut in 0..good.len() - 1 {
            assert!(!sound(&block(&good[..cut])), "{cut}");
        }
        let mut huge = good.clone();
        huge[0..4].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(!sound(&block(&huge)));
        let mut long = good;
        long[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(!sound(&block(&long)));
    }
}
