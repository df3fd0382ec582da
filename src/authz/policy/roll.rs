//! Who holds what in an organization, and which tenants it lists under the same terms.

use crate::words::identity::GroupIndex;
use crate::words::permission::Permissions;

/// The position of an organization in the policy.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct OrganizationIndex(pub(super) u32);

/// The position of a scope in the policy. Equal scopes have the same one.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(super) struct ScopeIndex(pub(super) u32);

/// The position of a list of holders.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) struct RollIndex(pub(super) u32);

/// The position of a kind of tenants.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) struct KindIndex(pub(super) u32);

/// What a group holds in one organization, either on all of a tenant's data or within a scope.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Holding {
    pub(super) group: GroupIndex,
    pub(super) scope: Option<ScopeIndex>,
    pub(super) permissions: Permissions,
}

/// Who holds what on those tenants of an organization that it lists under the same terms.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Holders {
    pub(super) organization: OrganizationIndex,
    /// Sorted by group, then by scope. Each pair occurs once.
    pub(super) holdings: Box<[Holding]>,
}

/// Tenants that are on the same rolls: those of another kind, and one more roll.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Kind {
    pub(super) rest: Option<KindIndex>,
    pub(super) last: RollIndex,
    /// The number of rolls.
    pub(super) rolls: usize,
}

impl Holders {
    /// Passes on what each of the groups holds. `groups` must be sorted.
    pub(super) fn each_of(&self, groups: &[GroupIndex], mut hand_on: impl FnMut(&Holding)) {
        // Iterates over whichever list is shorter, and looks its elements up in the other.
        if groups.len() <= self.holdings.len() {
            for group in groups {
                let first = self.holdings.partition_point(|held| held.group < *group);
                let from_there = self.holdings.get(first..).unwrap_or_default();
                let of_group = from_there.iter().take_while(|held| held.group == *group);
                of_group.for_each(&mut hand_on);
            }
        } else {
            let held = self.holdings.iter();
            held.filter(|held| groups.binary_search(&held.group).is_ok())
                .for_each(hand_on);
        }
    }
}
