//! The configurations that Envoy has loaded.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, ThreadId};

use super::abi::{ConfigScheduler, Errand, FilterConfig};
use super::lock::{Mutex, lock};
use super::metrics::Metrics;
use crate::worker::RootId;

static LOADED: Mutex<BTreeMap<RootId, Arc<Configuration>>> = Mutex::new(BTreeMap::new());

/// A configuration.
#[derive(Debug)]
pub(super) struct Configuration {
    pub(super) root: RootId,
    /// The name of the filter in Envoy's configuration.
    pub(super) name: Box<[u8]>,
    pub(super) document: Box<[u8]>,
    pub(super) environment: Vec<(String, String)>,
    pub(super) metrics: Metrics,
    /// Envoy's side, until Envoy destroys it.
    envoy: Mutex<Option<FilterConfig>>,
    /// The thread that uses it.
    user: Mutex<Option<ThreadId>>,
    /// Whether Envoy destroys it.
    ended: AtomicBool,
    scheduler: ConfigScheduler,
}

impl Configuration {
    /// Reads what Envoy is loading, on the main thread. `None` means that Envoy refuses to be
    /// woken for it.
    pub(super) fn new(
        root: RootId,
        envoy: FilterConfig,
        name: &[u8],
        document: &[u8],
    ) -> Option<Self> {
        // A value that is not UTF-8 must not be treated as absent.
        let variables = std::env::vars_os().filter_map(|(name, value)| {
            let name = name.into_string().ok()?;
            Some((name, value.to_string_lossy().into_owned()))
        });
        Some(Self {
            root,
            name: name.into(),
            document: document.into(),
            environment: variables.collect(),
            metrics: Metrics::define(envoy),
            envoy: Mutex::new(Some(envoy)),
            user: Mutex::new(None),
            ended: AtomicBool::new(false),
            scheduler: ConfigScheduler::new(envoy)?,
        })
    }

    /// Uses Envoy's side on the main thread, unless Envoy has destroyed it. Envoy may do that on
    /// another thread, which waits until this has ended.
    pub(super) fn with_envoy<T>(&self, act: impl FnOnce(FilterConfig) -> T) -> Option<T> {
        let envoy = lock(&self.envoy);
        if self.ended.load(Ordering::Acquire) {
            return None;
        }
        let used = |by| *lock(&self.user) = by;
        used(Some(thread::current().id()));
        let done = (*envoy).map(act);
        used(None);
        done
    }

    /// Notes that Envoy destroys its side. It may do so in the midst of what it was asked to do
    /// here: the last stream of a configuration that is gone otherwise keeps it alive.
    pub(super) fn end(&self) {
        self.ended.store(true, Ordering::Release);
        let user = *lock(&self.user);
        if user != Some(thread::current().id()) {
            *lock(&self.envoy) = None;
        }
    }

    /// Has the main thread run an errand.
    pub(super) fn send(&self, errand: Errand) {
        self.scheduler.commit(errand);
    }
}

/// Notes a configuration that is in use.
pub(super) fn insert(configuration: Arc<Configuration>) {
    lock(&LOADED).insert(configuration.root, configuration);
}

/// Forgets one.
pub(super) fn remove(root: RootId) {
    // It is dropped when the lock is free again, because Envoy may wait for whoever holds it.
    let gone = lock(&LOADED).remove(&root);
    drop(gone);
}

/// The configuration with that number.
pub(super) fn get(root: RootId) -> Option<Arc<Configuration>> {
    lock(&LOADED).get(&root).map(Arc::clone)
}

/// All of them, the newest last.
pub(super) fn all() -> Vec<Arc<Configuration>> {
    lock(&LOADED).values().map(Arc::clone).collect()
}

/// The one that was loaded last.
pub(super) fn newest() -> Option<Arc<Configuration>> {
    lock(&LOADED).values().next_back().map(Arc::clone)
}

/// Has the main thread run an errand, if there is a configuration through which it can be woken.
/// Returns whether there is.
pub(super) fn send(errand: Errand) -> bool {
    let newest = newest();
    if let Some(newest) = &newest {
        newest.send(errand);
    }
    newest.is_some()
}
