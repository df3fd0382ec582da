//! Who may do what on which tenant: organizations, roles and groups, compiled.
//!
//! A principal's rights on a tenant are the union over all organizations that list
//! the tenant and all roles its groups hold there. Everything is an index lookup:
//! the cost of a decision grows with the caller's groups times the tenants asked
//! for, never with the number of organizations or tenants configured. What is not
//! granted here does not exist: there is no default right.

use std::collections::HashMap;
use std::sync::Arc;

use crate::scoping::scope::Scope;
use crate::words::denial::Denial;
use crate::words::hash::QuickHash;
use crate::words::identity::{GroupIndex, Groups, Principal};
use crate::words::permission::{Permission, Permissions};
use crate::words::tenant::{TenantId, TenantSet};

/// Rights that one organization gives one group on one tenant, on all of its data or
/// on what is in a scope.
#[derive(Clone, Debug)]
struct Grant {
    organization: u32,
    permissions: Permissions,
    scope: Option<Arc<Scope>>,
}

/// The compiled index: group → tenant → permissions.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    groups: Arc<Groups>,
    tenants: HashMap<Box<[u8]>, u32, QuickHash>,
    grants: HashMap<(GroupIndex, u32), Vec<Grant>, QuickHash>,
    organizations: Vec<Box<str>>,
}

impl Policy {
    /// Adds an organization and returns its position for [`Policy::grant`].
    pub fn organization(&mut self, name: &str) -> u32 {
        let position = u32::try_from(self.organizations.len()).unwrap_or(u32::MAX);
        self.organizations.push(name.into());
        position
    }

    /// Lets `group` do `permissions` on `tenant` by way of `organization`: on all of
    /// its data, or on what is in `scope`.
    pub fn grant(
        &mut self,
        organization: u32,
        tenant: &TenantId,
        group: &str,
        permissions: Permissions,
        scope: Option<&Arc<Scope>>,
    ) {
        if permissions.is_empty() {
            return;
        }
        let next = u32::try_from(self.tenants.len()).unwrap_or(u32::MAX);
        let tenant = *self
            .tenants
            .entry(tenant.as_str().as_bytes().into())
            .or_insert(next);
        let group = self.name_group(group);
        let grants = self.grants.entry((group, tenant)).or_default();
        let same = |grant: &&mut Grant| {
            grant.organization == organization && grant.scope.as_ref() == scope
        };
        match grants.iter_mut().find(same) {
            Some(grant) => grant.permissions = grant.permissions.union(permissions),
            None => grants.push(Grant {
                organization,
                permissions,
                scope: scope.cloned(),
            }),
        }
    }

    /// Makes a group known, so that principals are asked whether they are in it.
    pub fn name_group(&mut self, name: &str) -> GroupIndex {
        Arc::make_mut(&mut self.groups).name(name)
    }

    /// The groups that principals are asked for. They stay the same once the policy is
    /// compiled, so that threads can share them.
    #[must_use]
    pub const fn groups(&self) -> &Arc<Groups> {
        &self.groups
    }

    /// How many distinct tenants something is granted on.
    #[must_use]
    pub fn tenants(&self) -> usize {
        self.tenants.len()
    }

    /// Checks that the principal holds `permission` on every tenant of the set, and
    /// gives the scope within which it does; `None` is all of the tenants' data.
    ///
    /// Grants add up: one that is not scoped lifts the scopes of the others, as far as
    /// it gives this permission.
    ///
    /// # Errors
    /// [`Denial::TenantNotGranted`] if it holds nothing on some tenant, which is
    /// also the answer for a tenant that does not exist; [`Denial::PermissionMissing`];
    /// [`Denial::ScopeAmbiguous`] if its scopes do not make one, or are not the same on
    /// every tenant.
    pub fn authorize(
        &self,
        principal: &Principal,
        tenants: &TenantSet<'_>,
        permission: Permission,
    ) -> Result<Option<Arc<Scope>>, Denial> {
        let mut missing = false;
        let mut scopes = Vec::new();
        let mut unscoped = 0_usize;
        let mut asked = 0_usize;
        for tenant in tenants.iter() {
            let mut held = Permissions::default();
            let mut whole = false;
            let first = scopes.len();
            for grant in self.grants(principal, tenant) {
                held = held.union(grant.permissions);
                if grant.permissions.has(permission) {
                    match &grant.scope {
                        None => whole = true,
                        Some(scope) => scopes.push((asked, scope)),
                    }
                }
            }
            if held.is_empty() {
                return Err(Denial::TenantNotGranted);
            }
            missing |= !held.has(permission);
            if whole {
                scopes.truncate(first);
                unscoped = unscoped.saturating_add(1);
            }
            asked = asked.saturating_add(1);
        }
        if missing {
            return Err(Denial::PermissionMissing(permission));
        }
        if scopes.is_empty() && unscoped == asked {
            return Ok(None);
        }
        if unscoped > 0 {
            return Err(Denial::ScopeAmbiguous);
        }
        one_scope(&scopes, asked).map(Some)
    }

    /// The organizations by way of which the permission is held, for the record.
    #[must_use]
    pub fn organizations(
        &self,
        principal: &Principal,
        tenants: &TenantSet<'_>,
        permission: Permission,
    ) -> Vec<&str> {
        let mut positions: Vec<u32> = tenants
            .iter()
            .flat_map(|tenant| self.grants(principal, tenant))
            .filter(|grant| grant.permissions.has(permission))
            .map(|grant| grant.organization)
            .collect();
        positions.sort_unstable();
        positions.dedup();
        positions
            .into_iter()
            .filter_map(|position| self.organizations.get(usize::try_from(position).ok()?))
            .map(AsRef::as_ref)
            .collect()
    }

    fn grants<'a>(
        &'a self,
        principal: &'a Principal,
        tenant: &[u8],
    ) -> impl Iterator<Item = &'a Grant> {
        let tenant = self.tenants.get(tenant).copied();
        principal
            .groups
            .iter()
            .filter_map(move |group| self.grants.get(&(*group, tenant?)))
            .flatten()
    }
}

/// The scope of all tenants, each of which has scopes of its own, told by position.
fn one_scope(scopes: &[(usize, &Arc<Scope>)], tenants: usize) -> Result<Arc<Scope>, Denial> {
    let mut one: Option<Arc<Scope>> = None;
    for tenant in 0..tenants {
        let mut of_tenant = scopes
            .iter()
            .filter(|(position, _)| *position == tenant)
            .map(|(_, scope)| *scope);
        let Some(first) = of_tenant.next() else {
            return Err(Denial::GateUnavailable);
        };
        let rest: Vec<&Scope> = of_tenant.map(AsRef::as_ref).collect();
        let union = if rest.is_empty() {
            Arc::clone(first)
        } else {
            let all: Vec<&Scope> = std::iter::once(first.as_ref()).chain(rest).collect();
            Arc::new(Scope::union(&all).ok_or(Denial::ScopeAmbiguous)?)
        };
        match &one {
            Some(one) if *one != union => return Err(Denial::ScopeAmbiguous),
            Some(_) => {}
            None => one = Some(union),
        }
    }
    one.ok_or(Denial::GateUnavailable)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::identity::{ProviderIndex, Subject};

    const READ: Permissions = Permissions::NONE.with(Permission::Read);
    const WRITE: Permissions = Permissions::NONE.with(Permission::Write);

    fn policy() -> Policy {
        let mut policy = Policy::default();
        let one = policy.organization("one");
        let two = policy.organization("two");
        let (a, b) = (TenantId::parse("a").unwrap(), TenantId::parse("b").unwrap());
        policy.grant(one, &a, "readers", READ, None);
        policy.grant(one, &b, "writers", WRITE, None);
        policy.grant(two, &b, "readers", READ, None);
        policy
    }

    fn principal(policy: &Policy, groups: &[&str]) -> Principal {
        Principal {
            provider: ProviderIndex(0),
            subject: Subject::parse("s").unwrap(),
            groups: groups
                .iter()
                .filter_map(|g| policy.groups().get(g))
                .collect(),
        }
    }

    fn ask(groups: &[&str], tenants: &str, permission: Permission) -> Result<(), Denial> {
        let policy = policy();
        let set = TenantSet::parse(tenants.as_bytes(), 8).unwrap();
        let scope = policy.authorize(&principal(&policy, groups), &set, permission)?;
        assert_eq!(scope, None);
        Ok(())
    }

    #[test]
    fn rights_add_up_over_groups_and_organizations() {
        assert_eq!(ask(&["readers"], "a|b", Permission::Read), Ok(()));
        assert_eq!(ask(&["readers", "writers"], "b", Permission::Write), Ok(()));
    }

    #[test]
    fn every_element_must_be_granted() {
        assert_eq!(
            ask(&["writers"], "a|b", Permission::Write),
            Err(Denial::TenantNotGranted)
        );
        assert_eq!(
            ask(&["readers", "writers"], "a|b", Permission::Write),
            Err(Denial::PermissionMissing(Permission::Write))
        );
    }

    #[test]
    fn unknown_tenants_and_ungranted_ones_look_the_same() {
        assert_eq!(
            ask(&["writers"], "a", Permission::Read),
            Err(Denial::TenantNotGranted)
        );
        assert_eq!(
            ask(&["writers"], "nowhere", Permission::Read),
            Err(Denial::TenantNotGranted)
        );
        assert_eq!(
            ask(&[], "a", Permission::Read),
            Err(Denial::TenantNotGranted)
        );
    }

    #[test]
    fn groups_match_by_exact_equality_only() {
        for group in ["Readers", "reader", "readers ", "readers|writers", "*"] {
            assert_eq!(
                ask(&[group], "a", Permission::Read),
                Err(Denial::TenantNotGranted),
                "{group}"
            );
        }
    }

    #[test]
    fn the_record_names_the_organizations_that_gave_the_right() {
        let policy = policy();
        let set = TenantSet::parse(b"a|b", 8).unwrap();
        let caller = principal(&policy, &["readers"]);
        assert_eq!(
            policy.organizations(&caller, &set, Permission::Read),
            ["one", "two"]
        );
    }

    fn scope(label: &str, values: &[&str]) -> Arc<Scope> {
        use crate::scoping::scope::{LabelName, LabelValue};
        let values = values.iter().map(|v| LabelValue::parse(v).unwrap());
        let rule = (LabelName::parse(label).unwrap(), values.collect());
        Arc::new(Scope::new([rule]).unwrap())
    }

    fn scoped() -> Policy {
        let mut policy = policy();
        let one = policy.organization("three");
        let (a, b) = (TenantId::parse("a").unwrap(), TenantId::parse("b").unwrap());
        for (tenants, group, permissions, scope) in [
            (&[&a, &b][..], "web", READ, scope("ns", &["web"])),
            (&[&a, &b], "shop", READ, scope("ns", &["shop"])),
            (&[&a], "other", READ, scope("resource", &["web"])),
            (&[&b], "wide", READ, scope("ns", &["shop", "web"])),
            (&[&a], "writers", WRITE, scope("ns", &["web"])),
        ] {
            for tenant in tenants {
                policy.grant(one, tenant, group, permissions, Some(&scope));
            }
        }
        policy
    }

    fn scope_of(groups: &[&str], tenants: &str) -> Result<Option<String>, Denial> {
        let policy = scoped();
        let set = TenantSet::parse(tenants.as_bytes(), 8).unwrap();
        policy
            .authorize(&principal(&policy, groups), &set, Permission::Read)
            .map(|scope| scope.map(|scope| scope.summary()))
    }

    #[test]
    fn scopes_add_up_and_a_grant_without_one_lifts_them() {
        let some = |text: &str| Ok(Some(text.to_owned()));
        assert_eq!(scope_of(&["web"], "a"), some("ns=web"));
        assert_eq!(scope_of(&["web", "shop"], "a"), some("ns=shop|web"));
        assert_eq!(scope_of(&["web", "readers"], "a"), Ok(None));
        // A grant of another permission does not.
        assert_eq!(scope_of(&["web", "writers"], "b"), some("ns=web"));
    }

    #[test]
    fn scopes_that_do_not_make_one_are_ambiguous() {
        assert_eq!(
            scope_of(&["web", "other"], "a"),
            Err(Denial::ScopeAmbiguous)
        );
        assert_eq!(
            scope_of(&["web", "wide"], "a|b"),
            Err(Denial::ScopeAmbiguous)
        );
    }

    #[test]
    fn tenants_of_one_request_carry_one_scope() {
        let both = Ok(Some("ns=web".to_owned()));
        assert_eq!(scope_of(&["web"], "a|b"), both);
        let union = Ok(Some("ns=shop|web".to_owned()));
        assert_eq!(scope_of(&["web", "shop"], "b|a"), union);
        assert_eq!(scope_of(&["web", "shop", "wide"], "a|b"), union);
        assert_eq!(scope_of(&["other", "readers"], "a|b"), Ok(None));
        assert_eq!(scope_of(&["other"], "a|b"), Err(Denial::TenantNotGranted));
    }
}
