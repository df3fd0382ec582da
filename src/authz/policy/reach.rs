//! The index from a caller to the tenants on which it holds something. It exists only if a
//! configuration asks for it.
//!
//! Its size grows with the text of the configuration: it has one entry for each group on a
//! roll, and one for each roll that a tenant is on.

use std::collections::HashMap;

use super::roll::{Holders, Kind, KindIndex, RollIndex};
use crate::words::hash::QuickHash;
use crate::words::identity::GroupIndex;

/// Names of tenants, sorted.
type Names = Box<[Box<[u8]>]>;

/// The index.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Reach {
    /// For each group, the rolls that it is on.
    rolls: Box<[Box<[RollIndex]>]>,
    /// For each roll, the kinds whose tenants are on it.
    kinds: Box<[Box<[KindIndex]>]>,
    /// For each kind, its tenants.
    tenants: Box<[Names]>,
}

/// The tenants on which a caller holds something.
#[derive(Debug, Default)]
pub struct Held {
    /// The number of tenants.
    pub count: usize,
    /// Their names in the form of the header, sorted and joined by `|`. `None` if there are
    /// more than were asked for, or none.
    pub names: Option<Box<[u8]>>,
}

impl Reach {
    pub(super) fn new(
        groups: usize,
        rolls: &[Holders],
        kinds: &[Kind],
        tenants: &HashMap<Box<[u8]>, KindIndex, QuickHash>,
    ) -> Self {
        let mut of_group = lists(groups);
        for (holders, position) in rolls.iter().zip(0_u32..) {
            for held in &holders.holdings {
                push(&mut of_group, held.group.0, RollIndex(position));
            }
        }
        // A group may be on a roll several times, once for each scope.
        of_group.iter_mut().for_each(Vec::dedup);
        let mut of_kind = lists(kinds.len());
        for (tenant, KindIndex(kind)) in tenants {
            push(&mut of_kind, *kind, tenant.clone());
        }
        let mut of_roll = lists(rolls.len());
        for (names, position) in of_kind.iter_mut().zip(0_u32..) {
            names.sort_unstable();
            let mut next = Some(KindIndex(position)).filter(|_| !names.is_empty());
            while let Some(kind) = next.and_then(|KindIndex(kind)| get(kinds, kind)) {
                push(&mut of_roll, kind.last.0, KindIndex(position));
                next = kind.rest;
            }
        }
        Self {
            rolls: frozen(of_group),
            kinds: frozen(of_roll),
            tenants: frozen(of_kind),
        }
    }

    /// The kinds of tenants on which these groups hold anything, each once.
    pub(super) fn kinds_of(&self, groups: &[GroupIndex]) -> Vec<KindIndex> {
        let rolls = groups
            .iter()
            .filter_map(|GroupIndex(group)| get(&self.rolls, *group));
        let mut rolls: Vec<RollIndex> = rolls.flatten().copied().collect();
        rolls.sort_unstable_by_key(|RollIndex(position)| *position);
        rolls.dedup();
        let kinds = rolls
            .iter()
            .filter_map(|RollIndex(roll)| get(&self.kinds, *roll));
        let mut kinds: Vec<KindIndex> = kinds.flatten().copied().collect();
        kinds.sort_unstable_by_key(|KindIndex(position)| *position);
        kinds.dedup();
        kinds
    }

    /// All tenants of these kinds. Their names are included if there are at most `most`.
    pub(super) fn held(&self, kinds: &[KindIndex], most: usize) -> Held {
        let lists = || {
            kinds
                .iter()
                .filter_map(|KindIndex(kind)| get(&self.tenants, *kind))
        };
        let count = lists().map(|names| names.len()).sum();
        let mut names = Vec::new();
        if count <= most {
            names = lists().flatten().map(AsRef::as_ref).collect();
            names.sort_unstable();
        }
        let names: &[&[u8]] = &names;
        Held {
            count,
            names: (!names.is_empty()).then(|| names.join(&b'|').into()),
        }
    }
}

fn push<T>(lists: &mut [Vec<T>], position: u32, value: T) {
    let position = usize::try_from(position).ok();
    if let Some(list) = position.and_then(|position| lists.get_mut(position)) {
        list.push(value);
    }
}

fn lists<T>(count: usize) -> Vec<Vec<T>> {
    std::iter::repeat_with(Vec::new).take(count).collect()
}

fn get<T>(list: &[T], position: u32) -> Option<&T> {
    list.get(usize::try_from(position).ok()?)
}

fn frozen<T>(lists: Vec<Vec<T>>) -> Box<[Box<[T]>]> {
    lists.into_iter().map(Vec::into_boxed_slice).collect()
}
