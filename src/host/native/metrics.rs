//! The metrics: what the threads have counted, and what Envoy has been told.
//!
//! Envoy wants the metrics of a module defined while it loads a configuration, with the names of
//! their labels. Each thread counts for itself, and the main thread writes the sums.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU32, Ordering};

use super::abi::{self, FilterConfig, MetricId, Scribe};
use crate::worker::RootId;
use crate::worker::counters::{Kind, METRICS, Metric, PANICS_TOTAL, Registry};

/// The panics that have not been written.
static PANICS: AtomicU32 = AtomicU32::new(0);

/// Counts a panic. It belongs to no worker, because a worker that has panicked is no more.
pub(super) fn count_panic() {
    PANICS.fetch_add(1, Ordering::Relaxed);
}

/// What is to be written of one metric.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Change {
    by: i64,
    set: Option<u64>,
}

/// What has been counted and shown, by the names of the metrics with their labels.
#[derive(Debug, Default)]
pub(super) struct Board {
    names: RefCell<Vec<(Kind, Box<str>)>>,
    changes: RefCell<BTreeMap<usize, Change>>,
}

impl Registry for Board {
    fn define(&self, kind: Kind, name: &str) -> Option<u32> {
        let mut names = self.names.borrow_mut();
        let id = names.iter().position(|(_, known)| **known == *name);
        let id = id.unwrap_or_else(|| {
            names.push((kind, name.into()));
            names.len().saturating_sub(1)
        });
        u32::try_from(id).ok()
    }

    fn add(&self, id: u32, by: i64) -> bool {
        self.change(id, |change| change.by = change.by.saturating_add(by))
    }

    fn set(&self, id: u32, value: u64) -> bool {
        self.change(id, |change| change.set = Some(value))
    }
}

impl Board {
    fn change(&self, id: u32, change: impl FnOnce(&mut Change)) -> bool {
        let Ok(id) = usize::try_from(id) else {
            return false;
        };
        change(self.changes.borrow_mut().entry(id).or_default());
        true
    }

    /// Moves the changes to another board.
    pub(super) fn pour(&self, other: &Self) {
        let names = self.names.borrow();
        for (id, change) in std::mem::take(&mut *self.changes.borrow_mut()) {
            let Some((kind, name)) = names.get(id) else {
                continue;
            };
            let Some(id) = other.define(*kind, name) else {
                continue;
            };
            other.add(id, change.by);
            if let Some(value) = change.set {
                other.set(id, value);
            }
        }
    }

    /// Adds the panics of all threads.
    pub(super) fn take_panics(&self) {
        let panics = PANICS.swap(0, Ordering::Relaxed);
        if panics > 0
            && let Some(id) = self.define(Kind::Counter, PANICS_TOTAL)
        {
            self.add(id, i64::from(panics));
        }
    }

    fn each(&self, mut write: impl FnMut(Kind, &str, Change)) {
        let names = self.names.borrow();
        for (id, change) in &*self.changes.borrow() {
            if let Some((kind, name)) = names.get(*id) {
                write(*kind, name, *change);
            }
        }
    }
}

/// The numbers that Envoy has given the metrics of a configuration, in the order of [`METRICS`].
#[derive(Debug)]
pub(super) struct Metrics(Vec<Option<MetricId>>);

impl Metrics {
    /// Defines all metrics. Envoy takes definitions only while it loads a configuration.
    pub(super) fn define(envoy: FilterConfig) -> Self {
        let defined = METRICS
            .iter()
            .map(|metric| abi::define_metric(envoy, metric.kind, metric.name, metric.labels));
        Self(defined.collect())
    }

    fn find<'a>(&self, full: &'a str) -> Option<(MetricId, Vec<&'a str>)> {
        let mut numbered = METRICS.iter().zip(&self.0);
        let found =
            |(metric, id): (&Metric, &Option<MetricId>)| Some(((*id)?, metric.values(full)?));
        numbered.find_map(found)
    }
}

/// All that was written, by the names with labels.
///
/// Each configuration has metrics of its own in Envoy, and what two of them call the same is one
/// as long as one of both has it. So whatever was written before is written for each new one.
#[derive(Debug, Default)]
pub(super) struct Totals {
    values: BTreeMap<Box<str>, (Kind, i64)>,
    /// The configurations that have them all.
    known: BTreeSet<RootId>,
}

impl Totals {
    /// Writes what has changed, by the numbers of the configuration on whose behalf that scribe
    /// writes.
    pub(super) fn write(&mut self, board: &Board, scribe: Scribe, root: RootId, metrics: &Metrics) {
        let put = |name: &str, kind: Kind, value: i64, by: i64| {
            if let Some((id, values)) = metrics.find(name) {
                match kind {
                    Kind::Counter => abi::increment_counter(scribe, id, &values, by),
                    Kind::Gauge => {
                        let value = u64::try_from(value).unwrap_or(0);
                        abi::set_gauge(scribe, id, &values, value);
                    }
                }
            }
        };
        if self.known.insert(root) {
            for (name, (kind, value)) in &self.values {
                put(name, *kind, *value, 0);
            }
        }
        board.each(|kind, name, change| {
            let (_, total) = self.values.entry(name.into()).or_insert((kind, 0));
            *total = match change.set {
                Some(value) => i64::try_from(value).unwrap_or(i64::MAX),
                None => total.saturating_add(change.by),
            };
            put(name, kind, *total, change.by);
        });
    }

    /// Forgets a configuration that is gone.
    pub(super) fn forget(&mut self, root: RootId) {
        self.known.remove(&root);
    }
}
