//! Places that are few, and who may take one.
//!
//! Those who want places are told apart as parties: a source of keys, a caller, the
//! tenant of a request. Whoever stands alone may take all. Where there may be others, a
//! party may hold at most as many as it leaves: one that takes all it can gets half, the
//! next one half of what is left, and of 256 places eight such parties leave none.

use std::collections::BTreeMap;

use crate::worker::event::RootId;

/// Whom a place is for.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Party {
    /// Those who wait for keys of one source, by its number.
    Source(u32),
    /// One caller, by a hash of provider and subject.
    Caller(u64),
    /// Those who ask for one tenant, by a hash of it.
    Tenant(u64),
}

/// Places with those who hold some. A place may be for several parties at once, each of
/// which must be entitled to it.
#[derive(Debug, Default)]
pub struct Room {
    held: BTreeMap<Party, usize>,
    all: usize,
}

impl Room {
    /// Whether no place is taken.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.all == 0
    }

    /// Whether there is one of `most` places left. Whoever can be nobody but themselves
    /// may take it.
    #[must_use]
    pub const fn has_any(&self, most: usize) -> bool {
        self.all < most
    }

    /// Whether these parties may take one of `most` places.
    pub fn has_place(&self, parties: impl IntoIterator<Item = Party>, most: usize) -> bool {
        let left = most.saturating_sub(self.all);
        parties.into_iter().all(|party| {
            let held = self.held.get(&party).copied().unwrap_or_default();
            held < left
        })
    }

    /// The parties take a place.
    pub fn take(&mut self, parties: impl IntoIterator<Item = Party>) {
        for party in parties {
            let held = self.held.entry(party).or_default();
            *held = held.saturating_add(1);
        }
        self.all = self.all.saturating_add(1);
    }

    /// The parties, which have taken a place, give it back.
    pub fn give_back(&mut self, parties: impl IntoIterator<Item = Party>) {
        for party in parties {
            if let Some(held) = self.held.get_mut(&party) {
                *held = held.saturating_sub(1);
                if *held == 0 {
                    self.held.remove(&party);
                }
            }
        }
        self.all = self.all.saturating_sub(1);
    }
}

/// The rooms of each configuration, so that what one of them allows is none of the others'
/// business.
#[derive(Debug, Default)]
pub struct Rooms(BTreeMap<RootId, RootRooms>);

/// The rooms of a configuration.
#[derive(Debug, Default)]
pub struct RootRooms {
    /// Of those who wait.
    pub waiting: Room,
    /// Of those whose form is read.
    pub reading: Room,
}

impl Rooms {
    /// Those of a configuration, if somebody holds a place there.
    #[must_use]
    pub fn known(&self, root: RootId) -> Option<&RootRooms> {
        self.0.get(&root)
    }

    /// Those of a configuration, to take a place or to give one back.
    pub fn of(&mut self, root: RootId) -> &mut RootRooms {
        self.0.entry(root).or_default()
    }

    /// Forgets the rooms of a configuration in which nobody holds a place.
    pub fn tidy(&mut self, root: RootId) {
        let empty = |rooms: &RootRooms| rooms.waiting.is_empty() && rooms.reading.is_empty();
        if self.0.get(&root).is_some_and(empty) {
            self.0.remove(&root);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes as many places as the parties can have.
    fn fill(room: &mut Room, parties: &[Party], most: usize) -> usize {
        let parties = || parties.iter().copied();
        let mut taken = 0;
        while room.has_place(parties(), most) {
            room.take(parties());
            taken += 1;
        }
        taken
    }

    #[test]
    fn whoever_takes_all_it_can_leaves_as_many_for_others() {
        let mut room = Room::default();
        let shares: Vec<usize> = (0..9)
            .map(|number| fill(&mut room, &[Party::Source(number)], 256))
            .collect();
        assert_eq!(shares, [128, 64, 32, 16, 8, 4, 2, 1, 1]);
        assert!(!room.has_any(256));
        // What the first gives back it does not get again while others hold so much.
        for _ in 0..64 {
            room.give_back([Party::Source(0)]);
        }
        assert_eq!(fill(&mut room, &[Party::Source(0)], 256), 0);
        assert_eq!(fill(&mut room, &[Party::Source(9)], 256), 32);
    }

    #[test]
    fn a_place_for_several_needs_a_share_of_each() {
        let mut room = Room::default();
        let (alice, bob) = (Party::Caller(1), Party::Caller(2));
        let tenants: Vec<Party> = (0..20).map(Party::Tenant).collect();
        let both = fill(&mut room, &[alice, tenants[0], tenants[1]], 256);
        assert_eq!(both, 128);
        // By no other set of tenants does one caller get more.
        for tenant in &tenants {
            assert_eq!(fill(&mut room, &[alice, *tenant], 256), 0);
        }
        // Nor do many callers of one tenant.
        assert_eq!(fill(&mut room, &[bob, tenants[0]], 256), 0);
        assert_eq!(fill(&mut room, &[bob, tenants[2]], 256), 64);
    }

    #[test]
    fn a_single_place_is_for_whoever_comes() {
        let mut room = Room::default();
        assert_eq!(fill(&mut room, &[Party::Caller(1)], 1), 1);
        assert_eq!(fill(&mut room, &[Party::Caller(2)], 1), 0);
        room.give_back([Party::Caller(1)]);
        assert!(room.is_empty());
        assert_eq!(fill(&mut room, &[Party::Caller(2)], 0), 0);
    }
}
