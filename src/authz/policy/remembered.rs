//! What was found out about callers, where that takes long.

use std::collections::HashMap;
use std::sync::Arc;

use super::roll::{KindIndex, OrganizationIndex};
use super::standing::Standing;
use crate::words::hash::QuickHash;
use crate::words::identity::GroupIndex;
use crate::words::permission::Permission;

/// Most memory that findings may take before the last one, in bytes.
const MAX_BYTES: usize = 4_194_304;

/// What a finding takes beside its lists.
const ENTRY_BYTES: usize = 192;

/// What a caller holds on the tenants of one kind.
#[derive(Debug)]
pub(super) struct Findings {
    pub(super) standing: Standing,
    /// By way of which.
    pub(super) organizations: Box<[OrganizationIndex]>,
}

/// Findings about callers, by the groups of their sessions, for one policy.
///
/// When they take more than 4 MiB, all are forgotten, since finding out once more does
/// no harm. No decision depends on whether something is remembered.
#[derive(Debug, Default)]
pub struct Remembered {
    entries: HashMap<Key, Entry, QuickHash>,
    bytes: usize,
}

#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
struct Key {
    /// The address of the groups of a session. The entry holds them, so that no others can
    /// have the same for as long as the entry is there.
    groups: usize,
    kind: KindIndex,
    permission: Permission,
}

#[derive(Debug)]
struct Entry {
    _groups: Arc<[GroupIndex]>,
    findings: Findings,
}

impl Remembered {
    /// What is known, or is found out now.
    pub(super) fn of(
        &mut self,
        groups: &Arc<[GroupIndex]>,
        kind: KindIndex,
        permission: Permission,
        search: impl FnOnce() -> Findings,
    ) -> &Findings {
        let key = Key {
            groups: Arc::as_ptr(groups).addr(),
            kind,
            permission,
        };
        if self.bytes > MAX_BYTES {
            self.entries.clear();
            self.bytes = 0;
        }
        let entry = self.entries.entry(key).or_insert_with(|| {
            let findings = search();
            self.bytes = self.bytes.saturating_add(size(groups, &findings));
            Entry {
                _groups: Arc::clone(groups),
                findings,
            }
        });
        &entry.findings
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }
}

fn size(groups: &[GroupIndex], findings: &Findings) -> usize {
    let scope = match &findings.standing {
        Standing::Within(scope) => scope.size(),
        _ => 0,
    };
    let groups = size_of_val(groups);
    let organizations = size_of_val(&*findings.organizations);
    [ENTRY_BYTES, scope, groups, organizations]
        .into_iter()
        .fold(0, usize::saturating_add)
}
