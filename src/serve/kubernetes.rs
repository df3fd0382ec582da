//! Organizations from the resources of a cluster: from a list, then a watch, and another list
//! from time to time.
//!
//! The revision of a document is a resource version: that of the last event that changed an
//! organization or, if there was no such event, that of the list. A revision therefore always
//! says what the cluster held at that version. `docs/organizations.md` explains what follows
//! from this.

use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_util::StreamExt as _;
use kube::Client;
use kube::api::{Api, DynamicObject, WatchEvent, WatchParams};
use tokio::time::{Duration, Instant, sleep, timeout, timeout_at};

use super::api::{self, Definition, REQUEST, Trouble};
use super::catalog::{Catalog, Change};
use super::counters::Counters;
use super::options::Options;
use super::shelf::{Placed, Shelf};
use crate::resources::document::Mark;
use crate::resources::grafana::Version;

/// The longest watch. The server is asked to end it then.
const WATCH: Duration = Duration::from_secs(240);

/// How long a watch may remain silent beyond its time before it is considered dead.
const GRACE: Duration = Duration::from_secs(15);

/// Events that follow each other within this time result in one document.
const QUIET: Duration = Duration::from_millis(20);

/// No event waits longer than this.
const PATIENCE: Duration = Duration::from_millis(500);

/// The waits between two looks at a definition that does not exist, and between a failure and
/// the next try. The first wait is the first of these; later ones grow up to the second.
const PAUSE: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(10)];

/// Follows the resources until the program ends.
pub async fn follow(
    client: Client,
    [resync, settle]: [Duration; 2],
    options: Arc<Options>,
    shelf: Arc<Shelf>,
    counters: Arc<Counters>,
) {
    let mut follower = Follower {
        definitions: Api::all_with(client.clone(), &api::definitions()),
        client,
        resync,
        settle,
        settling: None,
        options,
        shelf,
        counters,
        catalog: Catalog::default(),
        seen: Seen::default(),
        held: false,
        failures: 0,
    };
    loop {
        if let Err(trouble) = follower.round().await {
            follower.pause(&trouble).await;
        }
    }
}

/// How much of the cluster's history has been seen.
#[derive(Debug, Default)]
struct Seen {
    /// The resource version that the document stands for.
    revision: Option<u64>,
    /// The identity of the definition. One with another identity has other resources.
    uid: Option<String>,
    /// Whether every event since the last list was seen.
    unbroken: bool,
}

struct Follower {
    client: Client,
    definitions: Api<DynamicObject>,
    resync: Duration,
    settle: Duration,
    /// Since when there have been resources of a definition that has come back.
    settling: Option<Instant>,
    options: Arc<Options>,
    shelf: Arc<Shelf>,
    counters: Arc<Counters>,
    catalog: Catalog,
    seen: Seen,
    /// Whether the last list is kept because the definition did not exist.
    held: bool,
    failures: u32,
}

impl Follower {
    /// Reads a list, and follows the watch after it until the next list is due.
    async fn round(&mut self) -> Result<(), Trouble> {
        let definition = self.definition().await?;
        if self
            .seen
            .uid
            .as_ref()
            .is_some_and(|uid| *uid != definition.uid)
        {
            self.held = true;
        }
        let resources = Api::all_with(self.client.clone(), &api::resources(definition.version));
        let (objects, listed) = api::list(&resources).await?;
        // The deletion of the definition may have begun while the list was being read.
        if self.definition().await? != definition {
            return Err(Trouble::Definition("the definition changes"));
        }
        if self.held
            && let Some(why) = self.coming_back(&objects)
        {
            self.seen.uid = Some(definition.uid);
            return Err(Trouble::Definition(why));
        }
        self.settling = None;
        self.contact();
        self.seen.uid = Some(definition.uid);
        self.held = false;
        self.counters.held.store(false, Ordering::Relaxed);
        self.take(objects, listed, definition.version);
        self.watch(&resources, listed, definition.version).await
    }

    /// Why the list of a definition that has come back does not count yet. Whoever installs the
    /// operator again creates the definition first, and then the resources one by one.
    fn coming_back(&mut self, objects: &[DynamicObject]) -> Option<&'static str> {
        if self.catalog.is_empty() {
            return None;
        }
        if objects.is_empty() {
            self.settling = None;
            return Some("the definition is back, and no resource is yet");
        }
        let names = objects.iter().filter_map(|it| it.metadata.name.as_deref());
        let since = *self.settling.get_or_insert_with(Instant::now);
        let settles = since.elapsed() < self.settle;
        let missing = self.catalog.is_missing_from(&names.collect());
        (settles && missing).then_some("the definition is back, and not all resources are yet")
    }

    async fn definition(&self) -> Result<Definition, Trouble> {
        api::definition(&self.definitions, || self.counters.contact()).await
    }

    /// Applies a whole list.
    fn take(&mut self, objects: Vec<DynamicObject>, listed: u64, version: Version) {
        let objects: Vec<(String, DynamicObject)> = objects
            .into_iter()
            .map(|object| (object.metadata.name.clone().unwrap_or_default(), object))
            .collect();
        let names: BTreeSet<&str> = objects.iter().map(|(name, _)| name.as_str()).collect();
        let missing = self.catalog.missing(&names);
        let mut changes: Vec<(u64, String, Change)> = missing
            .into_iter()
            .map(|name| (listed, name, Change::Remove))
            .collect();
        changes.extend(
            objects
                .into_iter()
                .map(|(name, object)| (listed, name, change(object, version))),
        );
        let (rules, log) = (&self.options.rules, self.options.log);
        let latest = self.catalog.apply(changes, rules, log, &self.counters);
        // After a gap nobody knows what there was in between, so only the version of the list
        // itself certainly matches its content.
        if latest.is_some() || !self.seen.unbroken || self.seen.revision.is_none() {
            if latest.is_some() && self.seen.unbroken {
                log.warn("a list told of changes that no event did", &[]);
            }
            self.seen.revision = Some(listed);
        }
        self.put();
    }

    /// Applies events until the next list is due.
    async fn watch(
        &mut self,
        resources: &Api<DynamicObject>,
        listed: u64,
        version: Version,
    ) -> Result<(), Trouble> {
        self.seen.unbroken = false;
        let due = Instant::now()
            .checked_add(self.resync)
            .unwrap_or_else(Instant::now);
        let mut from = listed.to_string();
        while Instant::now() < due {
            let left = due.saturating_duration_since(Instant::now());
            let length = left.clamp(Duration::from_secs(1), WATCH);
            let seconds = u32::try_from(length.as_secs()).unwrap_or(1);
            let parameters = WatchParams::default().timeout(seconds);
            let began = timeout(REQUEST, resources.watch(&parameters, &from)).await;
            let events = began.map_err(|_| Trouble::Api("no answer".to_owned()))??;
            let mut events = pin!(events);
            self.contact();
            let dead = Instant::now().checked_add(length.saturating_add(GRACE));
            let dead = dead.unwrap_or_else(Instant::now);
            loop {
                let first = timeout_at(dead, events.next()).await;
                let first = first.map_err(|_| Trouble::Api("the watch is dead".to_owned()))?;
                // The server has ended the watch in time.
                let Some(first) = first else { break };
                let mut batch = Batch::new(version);
                let mut ended = !batch.add(first?)?;
                let patience = Instant::now().checked_add(PATIENCE);
                while !ended && patience.is_some_and(|until| Instant::now() < until) {
                    match timeout(QUIET, events.next()).await {
                        Err(_) => break,
                        Ok(None) => ended = true,
                        Ok(Some(event)) => ended = !batch.add(event?)?,
                    }
                }
                self.contact();
                if let Some(seen) = self.events(batch).await? {
                    from = seen;
                }
                if ended {
                    break;
                }
            }
        }
        self.seen.unbroken = true;
        Ok(())
    }

    /// Applies a batch of events. Returns the resource version up to which they are complete.
    async fn events(&mut self, batch: Batch) -> Result<Option<String>, Trouble> {
        let removes = batch
            .changes
            .iter()
            .any(|(_, name, change)| matches!(change, Change::Remove) && self.catalog.has(name));
        // Whoever uninstalls the operator deletes the resources together with the definition.
        // Until it is clear whether that is the case, nothing is withdrawn.
        if removes {
            self.definition().await?;
        }
        if !batch.changes.is_empty() {
            let (rules, log) = (&self.options.rules, self.options.log);
            let changed = self
                .catalog
                .apply(batch.changes, rules, log, &self.counters);
            if let Some(at) = changed {
                self.seen.revision = Some(at);
                self.put();
            }
        }
        Ok(batch.seen)
    }

    fn put(&mut self) {
        let log = self.options.log;
        let mark = self
            .seen
            .revision
            .and_then(|revision| Mark::new(self.options.epoch, revision));
        let Some(mark) = mark else {
            log.error("the resource version is no number below 2^53", &[]);
            return;
        };
        let organizations = self.catalog.organizations();
        let count = self.catalog.len();
        match self.shelf.put(mark, &organizations, count) {
            Ok(Placed::New) => {
                log.info("published", &[("mark", &mark), ("organizations", &count)]);
                self.counters.held.store(self.held, Ordering::Relaxed);
            }
            Ok(Placed::Same) => self.counters.held.store(self.held, Ordering::Relaxed),
            Err(refused) => {
                Counters::count(&self.counters.refused_documents);
                self.counters.held.store(true, Ordering::Relaxed);
                log.error("document refused", &[("why", &refused)]);
            }
        }
    }

    fn contact(&mut self) {
        if self.failures > 0 {
            self.options.log.info("the cluster answers again", &[]);
        }
        self.failures = 0;
        self.counters.contact();
    }

    /// Logs a trouble once, and waits before the next round.
    async fn pause(&mut self, trouble: &Trouble) {
        let log = self.options.log;
        self.seen.unbroken = false;
        match trouble {
            // The next list follows immediately.
            Trouble::Missed => {
                log.info("events were missed: listing anew", &[]);
                return;
            }
            Trouble::Definition(why) => {
                if !self.held {
                    log.warn("the last list is held", &[("why", why)]);
                }
                self.held = true;
                self.counters.held.store(true, Ordering::Relaxed);
                sleep(PAUSE[0]).await;
                return;
            }
            Trouble::Api(why) => {
                Counters::count(&self.counters.source_errors);
                if self.failures == 0 {
                    log.warn("the cluster cannot be asked", &[("why", why)]);
                }
            }
        }
        let [first, longest] = PAUSE;
        let wait = first.saturating_mul(1 << self.failures.min(5)).min(longest);
        self.failures = self.failures.saturating_add(1);
        sleep(wait).await;
    }
}

/// Events that followed each other closely.
struct Batch {
    version: Version,
    changes: Vec<(u64, String, Change)>,
    /// The resource version of the last of them.
    seen: Option<String>,
}

impl Batch {
    const fn new(version: Version) -> Self {
        Self {
            version,
            changes: Vec::new(),
            seen: None,
        }
    }

    /// Adds an event. Returns whether there may be more.
    fn add(&mut self, event: WatchEvent<DynamicObject>) -> Result<bool, Trouble> {
        let (object, deleted) = match event {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => (object, false),
            WatchEvent::Deleted(object) => (object, true),
            WatchEvent::Bookmark(bookmark) => {
                self.seen = Some(bookmark.metadata.resource_version);
                return Ok(true);
            }
            WatchEvent::Error(status) => return Err(kube::Error::Api(status).into()),
        };
        let seen = object.metadata.resource_version.clone().unwrap_or_default();
        let at = api::number(&seen)?;
        let name = object.metadata.name.clone().unwrap_or_default();
        let change = if deleted {
            Change::Remove
        } else {
            change(object, self.version)
        };
        self.changes.push((at, name, change));
        self.seen = Some(seen);
        Ok(true)
    }
}

fn change(object: DynamicObject, version: Version) -> Change {
    serde_json::to_value(object).map_or(Change::Remove, |value| Change::of(value, version))
}
