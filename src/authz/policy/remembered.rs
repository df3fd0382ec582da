//! Findings about callers that take long to obtain.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::reach::Held;
use super::roll::{KindIndex, OrganizationIndex, ScopeIndex};
use super::standing::Standing;
use crate::scoping::scope::Scope;
use crate::words::hash::QuickHash;
use crate::words::identity::GroupIndex;
use crate::words::permission::Permission;

/// The most memory that all findings may take, in bytes. Those about one caller may take an
/// eighth of it.
const MAX_BYTES: usize = 16_777_216;

/// The memory, in bytes, at which the unions of scopes are forgotten before another is added.
const MAX_SUM_BYTES: usize = 4_194_304;

/// The memory that a finding, a caller or a union takes in addition to its lists, in bytes.
const ENTRY_BYTES: usize = 192;

/// The maximum number of organizations that a finding remembers by name: as many as a record
/// can hold.
pub(super) const MAX_ORGANIZATIONS: usize = 256;

/// What a caller holds on the tenants of one kind.
#[derive(Debug)]
pub(super) struct Findings {
    pub(super) standing: Standing,
    pub(super) organizations: Organizations,
}

/// Organizations through which something is held.
#[derive(Clone, Debug, Default)]
pub struct Organizations {
    /// The first organizations, in the order of the configuration.
    pub first: Vec<OrganizationIndex>,
    /// The least number of organizations there are. For tenants of one kind it is exact.
    pub all: usize,
}

impl Organizations {
    /// Collects organizations, which may be in any order.
    pub(super) fn of(mut organizations: Vec<OrganizationIndex>) -> Self {
        if organizations.len() > 1 {
            organizations.sort_unstable();
            organizations.dedup();
        }
        let all = organizations.len();
        if all > MAX_ORGANIZATIONS {
            organizations.truncate(MAX_ORGANIZATIONS);
            organizations.shrink_to_fit();
        }
        Self {
            first: organizations,
            all,
        }
    }

    /// Adds the organizations for another kind of tenants. Some of them may be the same.
    pub(super) fn add(&mut self, mut others: Self) {
        if self.first.is_empty() {
            *self = others;
            return;
        }
        self.first.append(&mut others.first);
        let all = self.all.max(others.all);
        *self = Self::of(std::mem::take(&mut self.first));
        self.all = self.all.max(all);
    }
}

/// Findings about callers, by the groups of their sessions, for one policy, and unions of
/// scopes.
///
/// Both are bounded in bytes. The callers that were looked up first are forgotten first, and
/// are looked up again when they ask. No decision depends on whether something is remembered.
#[derive(Debug, Default)]
pub struct Remembered {
    callers: HashMap<usize, Caller, QuickHash>,
    /// The addresses of the callers' groups, in the order in which the callers arrived.
    order: VecDeque<usize>,
    bytes: usize,
    sums: HashMap<Box<[ScopeIndex]>, Option<Arc<Scope>>, QuickHash>,
    sum_bytes: usize,
}

/// What was found out about one caller. It is stored under the address of the caller's groups
/// and keeps them alive, so no others can have that address while it exists.
#[derive(Debug)]
struct Caller {
    _groups: Arc<[GroupIndex]>,
    findings: HashMap<(KindIndex, Permission), Findings, QuickHash>,
    held: HashMap<Option<Permission>, Arc<Held>, QuickHash>,
    bytes: usize,
}

impl Caller {
    fn of(groups: &Arc<[GroupIndex]>) -> Self {
        Self {
            _groups: Arc::clone(groups),
            findings: HashMap::default(),
            held: HashMap::default(),
            bytes: ENTRY_BYTES.saturating_add(size_of_val(&**groups)),
        }
    }
}

fn address_of(groups: &Arc<[GroupIndex]>) -> usize {
    Arc::as_ptr(groups).addr()
}

impl Remembered {
    /// The finding, either remembered or obtained now.
    pub(super) fn of(
        &mut self,
        groups: &Arc<[GroupIndex]>,
        kind: KindIndex,
        permission: Permission,
        search: impl FnOnce(&mut Sums<'_>) -> Findings,
    ) -> &Findings {
        self.enter(groups);
        let Self {
            callers,
            bytes,
            sums,
            sum_bytes,
            ..
        } = self;
        let caller = callers.entry(address_of(groups));
        let caller = caller.or_insert_with(|| Caller::of(groups));
        let findings = caller.findings.entry((kind, permission));
        findings.or_insert_with(|| {
            let found = search(&mut Sums { sums, sum_bytes });
            let lists = size_of_val(&*found.organizations.first);
            let size = ENTRY_BYTES.saturating_add(lists);
            *bytes = bytes.saturating_add(size);
            caller.bytes = caller.bytes.saturating_add(size);
            found
        })
    }

    /// The tenants on which a caller holds something, either remembered or obtained now.
    pub(super) fn held(
        &mut self,
        groups: &Arc<[GroupIndex]>,
        permission: Option<Permission>,
        search: impl FnOnce() -> Held,
    ) -> Arc<Held> {
        self.enter(groups);
        let caller = self.callers.entry(address_of(groups));
        let caller = caller.or_insert_with(|| Caller::of(groups));
        let held = caller.held.entry(permission).or_insert_with(|| {
            let held = search();
            let names = held.names.as_ref().map_or(0, |names| names.len());
            let size = ENTRY_BYTES.saturating_add(names);
            self.bytes = self.bytes.saturating_add(size);
            caller.bytes = caller.bytes.saturating_add(size);
            Arc::new(held)
        });
        Arc::clone(held)
    }

    /// Makes room for the findings about a caller, and adds an entry for it.
    fn enter(&mut self, groups: &Arc<[GroupIndex]>) {
        let address = address_of(groups);
        self.make_room(address);
        if let Entry::Vacant(place) = self.callers.entry(address) {
            let caller = place.insert(Caller::of(groups));
            self.bytes = self.bytes.saturating_add(caller.bytes);
            self.order.push_back(address);
        }
    }

    /// Forgets what exceeds the limits: first the caller's own findings, then the oldest
    /// callers.
    fn make_room(&mut self, address: usize) {
        let own = self.callers.get(&address).map_or(0, |caller| caller.bytes);
        if own > MAX_BYTES / 8 {
            self.forget(address);
            self.order.retain(|known| *known != address);
        }
        while self.bytes > MAX_BYTES {
            let Some(first) = self.order.pop_front() else {
                return;
            };
            self.forget(first);
        }
    }

    fn forget(&mut self, address: usize) {
        if let Some(caller) = self.callers.remove(&address) {
            self.bytes = self.bytes.saturating_sub(caller.bytes);
        }
    }

    /// The unions of scopes that are known.
    pub(super) const fn sums(&mut self) -> Sums<'_> {
        Sums {
            sums: &mut self.sums,
            sum_bytes: &mut self.sum_bytes,
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.callers
            .values()
            .map(|caller| caller.findings.len())
            .sum()
    }

    #[cfg(test)]
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }
}

/// Unions of scopes. Callers with the same policies share them, and so does a caller with a new
/// token.
pub(super) struct Sums<'a> {
    sums: &'a mut HashMap<Box<[ScopeIndex]>, Option<Arc<Scope>>, QuickHash>,
    sum_bytes: &'a mut usize,
}

impl Sums<'_> {
    /// The union of these scopes, either remembered or computed now. `None` if they do not
    /// combine into one scope.
    pub(super) fn of(
        &mut self,
        scopes: &[ScopeIndex],
        add_up: impl FnOnce() -> Option<Arc<Scope>>,
    ) -> Option<Arc<Scope>> {
        if let Some(known) = self.sums.get(scopes) {
            return known.clone();
        }
        if *self.sum_bytes > MAX_SUM_BYTES {
            self.sums.clear();
            *self.sum_bytes = 0;
        }
        let sum = add_up();
        let size = sum.as_ref().map_or(0, |scope| scope.size());
        let size = ENTRY_BYTES
            .saturating_add(size)
            .saturating_add(size_of_val(scopes));
        *self.sum_bytes = self.sum_bytes.saturating_add(size);
        self.sums.insert(scopes.into(), sum.clone());
        sum
    }
}
