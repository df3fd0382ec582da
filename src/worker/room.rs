//! Shares a limited number of places between those who want them.
//!
//! Those who want places are divided into parties: a source of keys, a caller, or the tenant of
//! a request. If there can be only one party, it may take all places. If there may be others, a
//! party may hold at most as many places as it leaves free. A party that takes all it can gets
//! half of the places, the next one gets half of the rest, and of 256 places eight such parties
//! leave none.

use std::collections::BTreeMap;

use crate::worker::event::RootId;

/// A party that a place can be for.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Party {
    /// The requests that wait for keys of one source, by its number.
    Source(u32),
    /// One caller, by a hash of provider and subject.
    Caller(u64),
    /// The requests for one tenant, by a hash of it.
    Tenant(u64),
}

/// Places, and who holds them. A place may be for several parties at once, each of which must
/// be entitled to it.
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

    /// Whether one of `most` places is free. This is the only condition if there can be only
    /// one party.
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

    /// Takes a place for the parties.
    pub fn take(&mut self, parties: impl IntoIterator<Item = Party>) {
        for party in parties {
            let held = self.held.entry(party).or_default();
            *held = held.saturating_add(1);
        }
        self.all = self.all.saturating_add(1);
    }

    /// Gives back a place that the parties have taken.
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

/// The rooms of each configuration. They are separate, so that the limits of one configuration
/// do not affect another.
#[derive(Debug, Default)]
pub struct Rooms(BTreeMap<RootId, RootRooms>);

/// The rooms of a configuration.
#[derive(Debug, Default)]
pub struct RootRooms {
    /// The places for requests that wait.
    pub waiting: Room,
    /// The places for requests whose form is being read.
    pub reading: Room,
}

impl Rooms {
    /// The rooms of a configuration, if somebody holds a place there.
    #[must_use]
    pub fn known(&self, root: RootId) -> Option<&RootRooms> {
        self.0.get(&root)
    }

    /// The rooms of a configuration, to take a place or to give one back.
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

    /// Takes as many places as the parties can get.
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
        // The first party does not get back what it returns while others hold so many.
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
        // One caller does not get more through another set of tenants.
        for tenant in &tenants {
            assert_eq!(fill(&mut room, &[alice, *tenant], 256), 0);
        }
        // Many callers of one tenant do not get more either.
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
