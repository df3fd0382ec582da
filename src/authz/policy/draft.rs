//! A policy while it is being read from a configuration.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::compiled::Policy;
use super::reach::Reach;
use super::roll::{Holders, Holding, Kind, KindIndex, OrganizationIndex, RollIndex, ScopeIndex};
use crate::scoping::scope::{LabelValues, Scope};
use crate::words::hash::QuickHash;
use crate::words::identity::{GroupIndex, Groups};
use crate::words::permission::Permissions;
use crate::words::tenant::TenantId;

/// A policy that is still being built. It takes memory in proportion to what is added to it.
#[derive(Debug, Default)]
pub struct Draft {
    groups: Groups,
    organizations: Vec<Box<str>>,
    scopes: Vec<Arc<Scope>>,
    known_scopes: HashMap<Arc<Scope>, ScopeIndex, QuickHash>,
    known_values: HashSet<Arc<LabelValues>, QuickHash>,
    rolls: Vec<Holders>,
    kinds: Vec<Kind>,
    /// From a kind and one more roll to the kind of tenants that are on both.
    longer: HashMap<(Option<KindIndex>, RollIndex), KindIndex, QuickHash>,
    tenants: HashMap<Box<[u8]>, KindIndex, QuickHash>,
    has_star: bool,
}

/// A list of who holds what in an organization, on the tenants that are added to it.
#[derive(Clone, Copy, Debug)]
pub struct Roll(Option<RollIndex>);

impl Draft {
    /// An empty draft whose names are hashed with `hash`.
    #[must_use]
    pub fn hashed(hash: QuickHash) -> Self {
        Self {
            groups: Groups::hashed(hash),
            known_scopes: HashMap::with_hasher(hash),
            known_values: HashSet::with_hasher(hash),
            tenants: HashMap::with_hasher(hash),
            ..Self::default()
        }
    }

    /// Adds an organization.
    pub fn organization(&mut self, name: &str) -> OrganizationIndex {
        let position = position(self.organizations.len());
        self.organizations.push(name.into());
        OrganizationIndex(position)
    }

    /// Adds a list of groups that hold permissions in an organization, either on all data of
    /// the tenants on the roll or within a scope. A group may occur several times; its
    /// permissions add up.
    pub fn roll<'a>(
        &mut self,
        organization: OrganizationIndex,
        grants: impl IntoIterator<Item = (&'a str, Permissions, Option<&'a Arc<Scope>>)>,
    ) -> Roll {
        let mut holdings = Vec::new();
        for (group, permissions, scope) in grants {
            let group = self.name_group(group);
            let scope = scope.map(|scope| self.scope(scope));
            if !permissions.is_empty() {
                holdings.push(Holding {
                    group,
                    scope,
                    permissions,
                });
            }
        }
        if holdings.is_empty() {
            return Roll(None);
        }
        holdings.sort_unstable_by_key(|held| (held.group, held.scope));
        holdings.dedup_by(|next, held| {
            let same = next.group == held.group && next.scope == held.scope;
            if same {
                held.permissions = held.permissions.union(next.permissions);
            }
            same
        });
        let roll = RollIndex(position(self.rolls.len()));
        self.rolls.push(Holders {
            organization,
            holdings: holdings.into(),
        });
        Roll(Some(roll))
    }

    /// Puts a tenant on a roll. A tenant may be on several rolls, each of a different
    /// organization.
    pub fn enrol(&mut self, tenant: &TenantId, Roll(roll): Roll) {
        self.has_star |= tenant.as_str() == "*";
        let Some(roll) = roll else { return };
        let name = tenant.as_str().as_bytes();
        let rest = self.tenants.get(name).copied();
        let kind = self.with_roll(rest, roll);
        match self.tenants.get_mut(name) {
            Some(known) => *known = kind,
            None => {
                self.tenants.insert(name.into(), kind);
            }
        }
    }

    /// Adds a group to those that the policy knows, so that principals keep it.
    pub fn name_group(&mut self, name: &str) -> GroupIndex {
        self.groups.name(name)
    }

    /// Whether a tenant is named `*`, no matter who holds anything on it.
    #[must_use]
    pub const fn has_star(&self) -> bool {
        self.has_star
    }

    /// Compiles the policy. `indexed` says whether to build the index that [`Policy::held`]
    /// needs.
    #[must_use]
    pub fn finish(mut self, indexed: bool) -> Policy {
        self.tenants.shrink_to_fit();
        // A group on a roll without tenants holds nothing.
        let mut stood_on: Vec<u32> = self.kinds.iter().map(|kind| kind.last.0).collect();
        stood_on.sort_unstable();
        let rolls = self.rolls.iter().zip(0_u32..);
        let rolls = rolls.filter(|(_, position)| stood_on.binary_search(position).is_ok());
        let holdings = rolls.flat_map(|(holders, _)| holders.holdings.iter());
        let mut holders: Vec<GroupIndex> = holdings.map(|held| held.group).collect();
        holders.sort_unstable();
        holders.dedup();
        let reach = indexed.then(|| {
            let groups = self.groups.len();
            Arc::new(Reach::new(groups, &self.rolls, &self.kinds, &self.tenants))
        });
        Policy {
            reach,
            holders: holders.into(),
            groups: Arc::new(self.groups),
            organizations: self.organizations.into(),
            scopes: self.scopes.into(),
            rolls: self.rolls.into(),
            kinds: self.kinds.into(),
            tenants: Arc::new(self.tenants),
        }
    }

    fn scope(&mut self, scope: &Arc<Scope>) -> ScopeIndex {
        if let Some(known) = self.known_scopes.get(scope) {
            return *known;
        }
        let index = ScopeIndex(position(self.scopes.len()));
        let mut shared = Scope::clone(scope);
        shared.share(&mut self.known_values);
        let shared = Arc::new(shared);
        self.known_scopes.insert(Arc::clone(&shared), index);
        self.scopes.push(shared);
        index
    }

    fn with_roll(&mut self, rest: Option<KindIndex>, last: RollIndex) -> KindIndex {
        let next = KindIndex(position(self.kinds.len()));
        let kind = *self.longer.entry((rest, last)).or_insert(next);
        if kind == next {
            let known = rest.and_then(|KindIndex(rest)| {
                let rest = usize::try_from(rest).ok()?;
                self.kinds.get(rest)
            });
            let rolls = known.map_or(0, |known| known.rolls).saturating_add(1);
            self.kinds.push(Kind { rest, last, rolls });
        }
        kind
    }
}

/// Converts a position. There are fewer than 2³² of anything, because each has a text of its
/// own in a document that is much shorter.
fn position(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}
