//! Who may do what on which tenant: organizations, roles and groups, compiled.
//!
//! A principal's rights on a tenant are the union over all organizations that list
//! the tenant and all roles its groups hold there. Everything is an index lookup:
//! the cost of a decision grows with the caller's groups times the tenants asked
//! for, never with the number of organizations or tenants configured. What is not
//! granted here does not exist: there is no default right.

use std::collections::HashMap;
use std::fmt;

use crate::denial::Denial;
use crate::hash::QuickHash;
use crate::identity::{GroupIndex, Principal};
use crate::tenant::{TenantId, TenantSet};

/// What an endpoint needs and a role grants.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Permission {
    /// Delete data.
    Delete,
    /// Query data.
    Read,
    /// See rules, alerts and delete requests.
    RulesRead,
    /// Change rules.
    RulesWrite,
    /// Ingest data.
    Write,
}

impl Permission {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Delete,
        Self::Read,
        Self::RulesRead,
        Self::RulesWrite,
        Self::Write,
    ];

    /// As in the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Delete => "delete",
            Self::Read => "read",
            Self::RulesRead => "rules-read",
            Self::RulesWrite => "rules-write",
            Self::Write => "write",
        }
    }

    /// From the configuration.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|p| p.name() == name)
    }

    const fn bit(self) -> u8 {
        match self {
            Self::Delete => 1,
            Self::Read => 2,
            Self::RulesRead => 4,
            Self::RulesWrite => 8,
            Self::Write => 16,
        }
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A set of permissions.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Permissions(u8);

impl Permissions {
    /// This set and one more.
    #[must_use]
    pub const fn with(self, permission: Permission) -> Self {
        Self(self.0 | permission.bit())
    }

    /// This set without one.
    #[must_use]
    pub const fn without(self, permission: Permission) -> Self {
        Self(self.0 & !permission.bit())
    }

    /// Both sets together.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether the permission is in the set.
    #[must_use]
    pub const fn has(self, permission: Permission) -> bool {
        self.0 & permission.bit() != 0
    }

    /// Whether nothing is permitted.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// Rights that one organization gives one group on one tenant.
#[derive(Clone, Copy, Debug)]
struct Grant {
    organization: u32,
    permissions: Permissions,
}

/// The compiled index: group → tenant → permissions.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    groups: HashMap<Box<str>, GroupIndex, QuickHash>,
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

    /// Lets `group` do `permissions` on `tenant` by way of `organization`.
    pub fn grant(
        &mut self,
        organization: u32,
        tenant: &TenantId,
        group: &str,
        permissions: Permissions,
    ) {
        if permissions.is_empty() {
            return;
        }
        let next = u32::try_from(self.tenants.len()).unwrap_or(u32::MAX);
        let tenant = *self
            .tenants
            .entry(tenant.as_str().as_bytes().into())
            .or_insert(next);
        let next = GroupIndex(u32::try_from(self.groups.len()).unwrap_or(u32::MAX));
        let group = *self.groups.entry(group.into()).or_insert(next);
        let grants = self.grants.entry((group, tenant)).or_default();
        match grants.iter_mut().find(|g| g.organization == organization) {
            Some(grant) => grant.permissions = grant.permissions.union(permissions),
            None => grants.push(Grant {
                organization,
                permissions,
            }),
        }
    }

    /// The index of a group that some role names; exact equality only.
    #[must_use]
    pub fn group(&self, name: &str) -> Option<GroupIndex> {
        self.groups.get(name).copied()
    }

    /// How many distinct tenants something is granted on.
    #[must_use]
    pub fn tenants(&self) -> usize {
        self.tenants.len()
    }

    /// Checks that the principal holds `permission` on every tenant of the set.
    ///
    /// # Errors
    /// [`Denial::TenantNotGranted`] if it holds nothing on some tenant, which is
    /// also the answer for a tenant that does not exist; otherwise
    /// [`Denial::PermissionMissing`].
    pub fn authorize(
        &self,
        principal: &Principal,
        tenants: &TenantSet<'_>,
        permission: Permission,
    ) -> Result<(), Denial> {
        let mut missing = false;
        for tenant in tenants.iter() {
            let held = self
                .grants(principal, tenant)
                .fold(Permissions::default(), |held, grant| {
                    held.union(grant.permissions)
                });
            if held.is_empty() {
                return Err(Denial::TenantNotGranted);
            }
            missing |= !held.has(permission);
        }
        if missing {
            return Err(Denial::PermissionMissing(permission));
        }
        Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::{ProviderIndex, Subject};

    const READ: Permissions = Permissions(2);
    const WRITE: Permissions = Permissions(16);

    fn policy() -> Policy {
        let mut policy = Policy::default();
        let one = policy.organization("one");
        let two = policy.organization("two");
        let (a, b) = (TenantId::parse("a").unwrap(), TenantId::parse("b").unwrap());
        policy.grant(one, &a, "readers", READ);
        policy.grant(one, &b, "writers", WRITE);
        policy.grant(two, &b, "readers", READ);
        policy
    }

    fn principal(policy: &Policy, groups: &[&str]) -> Principal {
        Principal {
            provider: ProviderIndex(0),
            subject: Subject::parse("s").unwrap(),
            groups: groups.iter().filter_map(|g| policy.group(g)).collect(),
        }
    }

    fn ask(groups: &[&str], tenants: &str, permission: Permission) -> Result<(), Denial> {
        let policy = policy();
        let set = TenantSet::parse(tenants.as_bytes(), 8).unwrap();
        policy.authorize(&principal(&policy, groups), &set, permission)
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
}
