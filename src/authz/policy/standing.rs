//! What all that a caller holds adds up to.

use std::sync::Arc;

use super::roll::{Holding, ScopeIndex};
use crate::scoping::scope::{MAX_POLICIES, Scope};
use crate::words::permission::{Permission, Permissions};

/// What a caller holds of one permission on the tenants of one kind.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Standing {
    /// It has no rights at all, as on a tenant that does not exist.
    Nothing,
    /// It has rights, but not this permission.
    Other,
    /// It has the permission on all data.
    Whole,
    /// It has the permission within a scope.
    Within(Arc<Scope>),
    /// It has the permission within scopes that do not combine into one.
    Ambiguous,
}

/// Adds up what a caller holds on the tenants of one kind.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// All permissions that the caller holds.
    pub(super) held: Permissions,
    /// Whether the permission is held on all data.
    pub(super) whole: bool,
    /// The scopes within which the permission is held, each once and sorted. If there are too
    /// many, the list has one more than is allowed.
    pub(super) scopes: Vec<ScopeIndex>,
}

impl Tally {
    pub(super) fn add(&mut self, holding: &Holding, permission: Permission) {
        self.held = self.held.union(holding.permissions);
        if !holding.permissions.has(permission) {
            return;
        }
        let Some(scope) = holding.scope else {
            self.whole = true;
            return;
        };
        if self.scopes.len() <= MAX_POLICIES
            && let Err(place) = self.scopes.binary_search(&scope)
        {
            self.scopes.insert(place, scope);
        }
    }
}
