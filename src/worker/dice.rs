//! Numbers that vary. No cryptography depends on them.

/// A small generator (splitmix64).
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// Creates a generator. Different seeds give different numbers.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub const fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// The span, made longer or shorter by up to a tenth, so that many workers that wait for
    /// the same time do not act at once.
    pub fn spread(&mut self, span: u64) -> u64 {
        let tenth = span / 10;
        let width = tenth.saturating_mul(2).saturating_add(1);
        let offset = self.roll().checked_rem(width);
        span.saturating_sub(tenth)
            .saturating_add(offset.unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_span_is_within_a_tenth() {
        let mut dice = Dice::new(1);
        for span in [0, 1, 9, 1_000, 60_000] {
            for _ in 0..1_000 {
                let spread = dice.spread(span);
                assert!(spread >= span - span / 10 && spread <= span + span / 10);
            }
        }
    }
}
