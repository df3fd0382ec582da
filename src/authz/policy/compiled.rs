//! The compiled policy, and the questions that it answers.

use std::collections::HashMap;
use std::sync::Arc;

use super::reach::{Held, Reach};
use super::remembered::{Findings, Organizations, Remembered, Sums};
use super::roll::{Holders, Kind, KindIndex, OrganizationIndex, RollIndex, ScopeIndex};
use super::standing::{Standing, Tally};
use crate::scoping::scope::{MAX_POLICIES, Scope};
use crate::words::denial::Denial;
use crate::words::hash::QuickHash;
use crate::words::identity::{GroupIndex, Groups, Principal};
use crate::words::permission::Permission;
use crate::words::tenant::TenantSet;

/// The number of steps up to which the outcome of a search is not worth remembering.
const QUICK: usize = 64;

/// The compiled policy, in parts that several policies can share.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    pub(super) groups: Arc<Groups>,
    pub(super) organizations: Arc<[Box<str>]>,
    pub(super) scopes: Arc<[Arc<Scope>]>,
    pub(super) rolls: Arc<[Holders]>,
    pub(super) kinds: Arc<[Kind]>,
    pub(super) tenants: Arc<HashMap<Box<[u8]>, KindIndex, QuickHash>>,
    /// The groups that hold anything on any tenant, sorted.
    pub(super) holders: Arc<[GroupIndex]>,
    pub(super) reach: Option<Arc<Reach>>,
}

impl Policy {
    /// The groups that the policy knows. They do not change once the policy is compiled, so
    /// threads can share them.
    #[must_use]
    pub const fn groups(&self) -> &Arc<Groups> {
        &self.groups
    }

    /// Takes the parts that are unchanged over from an earlier policy. An earlier policy stays
    /// in use until its last connection has been drained, and by then many others may have
    /// followed it.
    pub fn share(&mut self, earlier: &Self) {
        take_if_same(&mut self.groups, &earlier.groups);
        take_if_same(&mut self.organizations, &earlier.organizations);
        take_if_same(&mut self.scopes, &earlier.scopes);
        take_if_same(&mut self.rolls, &earlier.rolls);
        take_if_same(&mut self.kinds, &earlier.kinds);
        take_if_same(&mut self.tenants, &earlier.tenants);
        take_if_same(&mut self.holders, &earlier.holders);
        if let (Some(reach), Some(earlier)) = (&mut self.reach, &earlier.reach) {
            take_if_same(reach, earlier);
        }
    }

    /// The number of distinct tenants on which something is granted.
    #[must_use]
    pub fn tenants(&self) -> usize {
        self.tenants.len()
    }

    /// The number of organizations.
    #[must_use]
    pub fn organization_count(&self) -> usize {
        self.organizations.len()
    }

    /// The name of an organization, for records.
    #[must_use]
    pub fn organization(&self, OrganizationIndex(position): OrganizationIndex) -> Option<&str> {
        let name = self.organizations.get(usize::try_from(position).ok()?)?;
        Some(name)
    }

    /// Checks that the caller holds `permission` on every tenant of the set. Returns the scope
    /// within which it does, or `None` for all of the tenants' data.
    ///
    /// Grants add up: one without a scope lifts the scopes of the others, as far as it gives
    /// this permission.
    ///
    /// # Errors
    /// [`Denial::TenantNotGranted`] if the caller holds nothing on some tenant, which is also
    /// the answer for a tenant that does not exist. [`Denial::PermissionMissing`] if it holds
    /// something, but not this permission. [`Denial::ScopeAmbiguous`] if its scopes do not
    /// combine into one, or differ between the tenants.
    pub fn authorize(
        &self,
        principal: &Principal,
        tenants: &TenantSet<'_>,
        permission: Permission,
        remembered: &mut Remembered,
    ) -> Result<Option<Arc<Scope>>, Denial> {
        let mut missing = false;
        let mut all: Option<Standing> = None;
        let mut last = None;
        for tenant in tenants.iter() {
            let Some(kind) = self.tenants.get(tenant).copied() else {
                return Err(Denial::TenantNotGranted);
            };
            if last == Some(kind) {
                continue;
            }
            last = Some(kind);
            let standing = self.standing(principal, kind, permission, remembered);
            match (standing, &mut all) {
                (Standing::Nothing, _) => return Err(Denial::TenantNotGranted),
                (Standing::Other, _) => missing = true,
                (standing, all @ None) => *all = Some(standing),
                (standing, Some(all)) if *all == standing => {}
                (_, Some(all)) => *all = Standing::Ambiguous,
            }
        }
        if missing {
            return Err(Denial::PermissionMissing(permission));
        }
        match all {
            Some(Standing::Whole) => Ok(None),
            Some(Standing::Within(scope)) => Ok(Some(scope)),
            Some(Standing::Ambiguous) => Err(Denial::ScopeAmbiguous),
            // A set of tenants is never empty.
            Some(Standing::Nothing | Standing::Other) | None => Err(Denial::TenantNotGranted),
        }
    }

    /// Whether the caller holds anything on any tenant.
    #[must_use]
    pub fn grants_anything(&self, principal: &Principal) -> bool {
        let mut groups = principal.groups.iter();
        groups.any(|group| self.holders.binary_search(group).is_ok())
    }

    /// The tenants on which the caller holds a permission or, for `None`, anything at all.
    /// Their names are included if there are at most `most` of them. Without an index the
    /// result is empty.
    #[must_use]
    pub fn held(
        &self,
        principal: &Principal,
        permission: Option<Permission>,
        most: usize,
        remembered: &mut Remembered,
    ) -> Arc<Held> {
        remembered.held(&principal.groups, permission, || {
            let Some(reach) = &self.reach else {
                return Held::default();
            };
            let mut kinds = reach.kinds_of(&principal.groups);
            if let Some(permission) = permission {
                kinds.retain(|kind| {
                    let tally = self.tally(principal, *kind, permission);
                    tally.whole || !tally.scopes.is_empty()
                });
            }
            reach.held(&kinds, most)
        })
    }

    /// The organizations through which the permission is held, for the record.
    #[must_use]
    pub fn organizations(
        &self,
        principal: &Principal,
        tenants: &TenantSet<'_>,
        permission: Permission,
        remembered: &mut Remembered,
    ) -> Organizations {
        let mut organizations = Organizations::default();
        let mut last = None;
        for tenant in tenants.iter() {
            let kind = self.tenants.get(tenant).copied();
            let Some(kind) = kind.filter(|kind| last != Some(*kind)) else {
                continue;
            };
            last = Some(kind);
            if self.is_quick(principal, kind) {
                organizations.add(self.organizations_of(principal, kind, permission));
            } else {
                let known = remembered.of(&principal.groups, kind, permission, |sums| {
                    self.search(principal, kind, permission, sums)
                });
                organizations.add(known.organizations.clone());
            }
        }
        organizations
    }

    fn standing(
        &self,
        principal: &Principal,
        kind: KindIndex,
        permission: Permission,
        remembered: &mut Remembered,
    ) -> Standing {
        if self.is_quick(principal, kind) {
            let tally = self.tally(principal, kind, permission);
            return self.standing_of(&tally, &mut remembered.sums());
        }
        let known = remembered.of(&principal.groups, kind, permission, |sums| {
            self.search(principal, kind, permission, sums)
        });
        known.standing.clone()
    }

    /// Whether it takes no longer to find out what a caller holds than to look it up.
    fn is_quick(&self, principal: &Principal, kind: KindIndex) -> bool {
        let rolls = self.kind(kind).map_or(0, |kind| kind.rolls);
        principal.groups.len().saturating_mul(rolls) <= QUICK
    }

    fn search(
        &self,
        principal: &Principal,
        kind: KindIndex,
        permission: Permission,
        sums: &mut Sums<'_>,
    ) -> Findings {
        let tally = self.tally(principal, kind, permission);
        Findings {
            standing: self.standing_of(&tally, sums),
            organizations: self.organizations_of(principal, kind, permission),
        }
    }

    fn tally(&self, principal: &Principal, kind: KindIndex, permission: Permission) -> Tally {
        let mut tally = Tally::default();
        for holders in self.rolls(kind) {
            holders.each_of(&principal.groups, |held| tally.add(held, permission));
        }
        tally
    }

    fn standing_of(&self, tally: &Tally, sums: &mut Sums<'_>) -> Standing {
        if tally.held.is_empty() {
            Standing::Nothing
        } else if tally.whole {
            Standing::Whole
        } else if tally.scopes.is_empty() {
            Standing::Other
        } else {
            self.one_scope(&tally.scopes, sums)
                .map_or(Standing::Ambiguous, Standing::Within)
        }
    }

    /// The union of the scopes, if it is a scope again.
    fn one_scope(&self, scopes: &[ScopeIndex], sums: &mut Sums<'_>) -> Option<Arc<Scope>> {
        let scope = |ScopeIndex(position): &ScopeIndex| {
            let position = usize::try_from(*position).ok()?;
            self.scopes.get(position)
        };
        if let [one] = scopes {
            return scope(one).map(Arc::clone);
        }
        if scopes.len() > MAX_POLICIES {
            return None;
        }
        sums.of(scopes, || {
            let scopes: Option<Vec<&Scope>> = scopes
                .iter()
                .map(|index| scope(index).map(AsRef::as_ref))
                .collect();
            Scope::union(&scopes?).map(Arc::new)
        })
    }

    /// The organizations through which the permission is held on tenants of one kind.
    fn organizations_of(
        &self,
        principal: &Principal,
        kind: KindIndex,
        permission: Permission,
    ) -> Organizations {
        let mut holding = Vec::new();
        for holders in self.rolls(kind) {
            let mut holds = false;
            holders.each_of(&principal.groups, |held| {
                holds |= held.permissions.has(permission);
            });
            if holds {
                holding.push(holders.organization);
            }
        }
        Organizations::of(holding)
    }

    fn kind(&self, KindIndex(position): KindIndex) -> Option<&Kind> {
        self.kinds.get(usize::try_from(position).ok()?)
    }

    /// The rolls that list the tenants of a kind.
    fn rolls(&self, kind: KindIndex) -> impl Iterator<Item = &Holders> {
        let first = self.kind(kind);
        let kinds = std::iter::successors(first, |kind| self.kind(kind.rest?));
        kinds.filter_map(|kind| {
            let RollIndex(position) = kind.last;
            self.rolls.get(usize::try_from(position).ok()?)
        })
    }
}

fn take_if_same<T: PartialEq + ?Sized>(part: &mut Arc<T>, earlier: &Arc<T>) {
    if **part == **earlier {
        *part = Arc::clone(earlier);
    }
}
