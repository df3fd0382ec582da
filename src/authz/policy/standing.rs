//! What a caller's holdings come to.

use std::sync::Arc;

use super::roll::{Holding, ScopeIndex};
use crate::scoping::scope::{MAX_POLICIES, Scope};
use crate::words::permission::{Permission, Permissions};

/// What a caller holds of one permission on the tenants of one kind.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Standing {
    /// No right whatever, as on a tenant that does not exist.
    Nothing,
    /// Rights, but not this one.
    Other,
    /// It, on all data.
    Whole,
    /// It, on what is in a scope.
    Within(Arc<Scope>),
    /// It, within scopes that do not make one.
    Ambiguous,
}

/// What a caller's holdings on the tenants of one kind come to.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Any rights.
    pub(super) held: Permissions,
    /// Whether the permission is held on all data.
    pub(super) whole: bool,
    /// The scopes within which it is held: each once, in order, and one more than there
    /// may be if there are too many.
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
