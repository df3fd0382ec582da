//! Places that are few, and who may take one.
//!
//! Those who want places are told apart as parties: a source of keys, a caller, the
//! tenants of a request. Whoever stands alone may take all. Where there may be others, a
//! party may hold at most as many as it leaves: one that takes all it can gets half, the
//! next one half of what is left, and of 256 places eight such parties leave none.

use std::collections::BTreeMap;

/// Whom a place is for.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Party {
    /// Those who wait for keys of one source, by its number.
    Source(u32),
    /// One caller, by a hash of provider and subject.
    Caller(u64),
    /// Those who ask for the same tenants, by a hash of them.
    Tenants(u64),
}

/// Places with those who hold some.
#[derive(Debug, Default)]
pub struct Room {
    held: BTreeMap<Party, usize>,
    all: usize,
}

impl Room {
    /// How many places are taken.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.all
    }

    /// Whether no place is taken.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.all == 0
    }

    /// Whether the party may take one of `most` places. `alone`: there can be no other.
    #[must_use]
    pub fn has_place(&self, party: Party, alone: bool, most: usize) -> bool {
        let left = most.saturating_sub(self.all);
        let held = self.held.get(&party).copied().unwrap_or_default();
        left > 0 && (alone || held < left)
    }

    /// The party takes a place.
    pub fn take(&mut self, party: Party) {
        let held = self.held.entry(party).or_default();
        *held = held.saturating_add(1);
        self.all = self.all.saturating_add(1);
    }

    /// The party gives a place back.
    pub fn give_back(&mut self, party: Party) {
        let Some(held) = self.held.get_mut(&party) else {
            return;
        };
        *held = held.saturating_sub(1);
        self.all = self.all.saturating_sub(1);
        if *held == 0 {
            self.held.remove(&party);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes as many places as the party can have.
    fn fill(room: &mut Room, party: Party, alone: bool, most: usize) -> usize {
        let mut taken = 0;
        while room.has_place(party, alone, most) {
            room.take(party);
            taken += 1;
        }
        taken
    }

    #[test]
    fn who_stands_alone_may_take_all() {
        let mut room = Room::default();
        assert_eq!(fill(&mut room, Party::Source(1), true, 256), 256);
        assert_eq!(room.len(), 256);
    }

    #[test]
    fn whoever_takes_all_it_can_leaves_as_many_for_others() {
        let mut room = Room::default();
        let shares: Vec<usize> = (0..9)
            .map(|number| fill(&mut room, Party::Source(number), false, 256))
            .collect();
        assert_eq!(shares, [128, 64, 32, 16, 8, 4, 2, 1, 1]);
        assert_eq!(room.len(), 256);
        // What the first gives back it does not get again while others hold so much.
        for _ in 0..64 {
            room.give_back(Party::Source(0));
        }
        assert_eq!(fill(&mut room, Party::Source(0), false, 256), 0);
        assert_eq!(fill(&mut room, Party::Source(9), false, 256), 32);
    }

    #[test]
    fn a_single_place_is_for_whoever_comes() {
        let mut room = Room::default();
        assert_eq!(fill(&mut room, Party::Caller(1), false, 1), 1);
        assert_eq!(fill(&mut room, Party::Caller(2), false, 1), 0);
        room.give_back(Party::Caller(1));
        room.give_back(Party::Caller(1));
        assert!(room.is_empty());
        assert_eq!(fill(&mut room, Party::Caller(2), false, 0), 0);
    }
}
