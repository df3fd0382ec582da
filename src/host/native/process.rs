//! What the threads of the process share: the configurations, the stations, the newest
//! documents, and the worker's own requests, which Envoy's main thread sends.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, Weak};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::abi::{self, ConfigScheduler, Errand, FilterConfig};
use super::calls::{Answer, Calls, Carrier, Job, Request};
use super::metrics::{Board, Metrics, Totals};
use super::station::{self, Message, Station, lock};
use super::store::Store;
use crate::worker::{HeaderBlock, Reading, RootId, StreamId, Swap};

/// How often the main thread is woken, which is the shortest interval that a worker asks for.
const TICK: Duration = Duration::from_millis(100);

/// What all threads share.
pub(super) static PROCESS: LazyLock<Process> = LazyLock::new(Process::default);

/// The zero of the monotonic clock.
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// A configuration that Envoy has loaded.
#[derive(Debug)]
pub(super) struct Configuration {
    pub(super) root: RootId,
    /// The name of the filter in Envoy's configuration.
    pub(super) name: Box<[u8]>,
    pub(super) document: Box<[u8]>,
    pub(super) environment: Vec<(String, String)>,
    envoy: FilterConfig,
    scheduler: ConfigScheduler,
    metrics: Metrics,
}

/// What all threads share.
#[derive(Debug, Default)]
pub(super) struct Process {
    configurations: Mutex<BTreeMap<RootId, Arc<Configuration>>>,
    stations: Mutex<Vec<Arc<Station>>>,
    store: Mutex<Store>,
    /// The requests that are to be sent.
    waiting: Mutex<Vec<Request>>,
    /// The request that is being sent, and what Envoy has already reported about it.
    calls: Mutex<Calls>,
    totals: Mutex<Totals>,
    last_root: AtomicU64,
    last_stream: AtomicU64,
    crashes: AtomicU64,
    /// Whether the ticker runs.
    ticking: AtomicBool,
}

/// Reads both clocks.
pub(super) fn clocks() -> Reading {
    let nanos = |time: Duration| u64::try_from(time.as_nanos()).ok();
    let wall = SystemTime::now().duration_since(UNIX_EPOCH);
    // A clock that says zero would not be there.
    let mono = START.elapsed().saturating_add(Duration::from_secs(1));
    Reading {
        wall: wall.ok().and_then(nanos),
        mono: nanos(mono),
    }
}

impl Process {
    /// Loads a configuration, on the main thread. `None` means that it is refused.
    pub(super) fn load(
        &self,
        envoy: FilterConfig,
        name: &[u8],
        document: &[u8],
    ) -> Option<Arc<Configuration>> {
        let root = RootId(next(&self.last_root));
        // A value that is not UTF-8 must not be treated as absent.
        let variables = std::env::vars_os().filter_map(|(name, value)| {
            let name = name.into_string().ok()?;
            Some((name, value.to_string_lossy().into_owned()))
        });
        let configuration = Arc::new(Configuration {
            root,
            name: name.into(),
            document: document.into(),
            environment: variables.collect(),
            envoy,
            scheduler: ConfigScheduler::new(envoy)?,
            metrics: Metrics::define(envoy),
        });
        let station = station::here();
        if !station.configure(&configuration) {
            station.leave(Message::Gone(root));
            return None;
        }
        if abi::is_validation() {
            return Some(configuration);
        }
        lock(&self.configurations).insert(root, Arc::clone(&configuration));
        self.take_over(root);
        self.start_ticker();
        Some(configuration)
    }

    /// Has the newest configuration make the requests that others have under way. Envoy may
    /// destroy a configuration on any thread, and does not survive requests that are under way
    /// then.
    fn take_over(&self, heir: RootId) {
        let others = lock(&self.calls).of_others(heir);
        for carrier in others {
            let Some(request) = lock(&self.calls).lost(carrier) else {
                continue;
            };
            lock(&self.waiting).push(request);
            self.reset(carrier);
        }
    }

    /// Notes that Envoy destroys a configuration, on whatever thread.
    pub(super) fn unload(&self, root: RootId) {
        lock(&self.configurations).remove(&root);
        let orphans = lock(&self.calls).orphans(root);
        lock(&self.waiting).extend(orphans);
        for station in self.all_stations() {
            station.leave(Message::Gone(root));
        }
    }

    /// The name of a configuration's filter.
    pub(super) fn name_of(&self, root: RootId) -> Option<Box<[u8]>> {
        Some(lock(&self.configurations).get(&root)?.name.clone())
    }

    /// The number of the next stream.
    pub(super) fn next_stream(&self) -> StreamId {
        StreamId(next(&self.last_stream))
    }

    /// Notes the station of a thread.
    pub(super) fn settle(&self, station: Arc<Station>) {
        lock(&self.stations).push(station);
    }

    fn all_stations(&self) -> Vec<Arc<Station>> {
        lock(&self.stations).clone()
    }

    /// A shared entry, and the number with which to swap it.
    pub(super) fn look(&self, key: &str) -> (Box<[u8]>, u32) {
        lock(&self.store).look(key)
    }

    /// Writes a shared entry if it is still the one that was read.
    pub(super) fn swap(&self, key: &str, value: &[u8], read: u32) -> Swap {
        lock(&self.store).swap(key, value, read)
    }

    /// Notes that a worker has panicked.
    pub(super) fn count_crash(&self) {
        self.crashes.fetch_add(1, Ordering::Relaxed);
    }

    /// Has the main thread send requests.
    pub(super) fn request(&self, station: &Weak<Station>, jobs: Vec<Job>) {
        let requests = jobs.into_iter().map(|job| Request::new(station, job));
        lock(&self.waiting).extend(requests);
        if let Some(newest) = self.newest() {
            newest.scheduler.commit(Errand::Send);
        }
    }

    fn newest(&self) -> Option<Arc<Configuration>> {
        let configurations = lock(&self.configurations);
        configurations.values().next_back().map(Arc::clone)
    }

    /// The configuration that sends a request: its own or, if that is gone, another one.
    fn sender(&self, root: RootId) -> Option<Arc<Configuration>> {
        let own = lock(&self.configurations).get(&root).map(Arc::clone);
        own.or_else(|| self.newest())
    }

    /// Runs an errand on the main thread.
    pub(super) fn run(&self, errand: Errand) {
        self.send();
        if errand == Errand::Tick {
            let overdue = lock(&self.calls).overdue(Instant::now());
            for carrier in overdue {
                self.reset(carrier);
                self.lost(carrier);
            }
            for station in self.all_stations() {
                station.deliver(Message::Tick);
            }
            self.send();
            self.flush();
        }
    }

    /// Sends the requests that wait.
    fn send(&self) {
        let waiting = std::mem::take(&mut *lock(&self.waiting));
        for request in waiting {
            let Some(sender) = self.sender(request.job.root()) else {
                request.end(Answer::Nothing);
                continue;
            };
            let (root, millis) = (sender.root, request.job.millis());
            let (cluster, headers) = (request.job.cluster.clone(), request.job.headers.clone());
            // Envoy may report on the request before it returns the number.
            lock(&self.calls).sending(root, request);
            match abi::start_stream(sender.envoy, &cluster, &headers, millis) {
                Ok(number) => lock(&self.calls).sent((root, number)),
                Err(status) => {
                    if let Some(request) = lock(&self.calls).not_sent() {
                        request.end(Answer::NotSent(status));
                    }
                }
            }
        }
    }

    /// Takes the head of an answer.
    pub(super) fn head(&self, carrier: Carrier, headers: &HeaderBlock) {
        lock(&self.calls).head(carrier, headers);
    }

    /// Takes a piece of an answer's body.
    pub(super) fn data(&self, carrier: Carrier, piece: &[u8]) {
        lock(&self.calls).data(carrier, piece);
    }

    /// Takes the end of an answer.
    pub(super) fn complete(&self, carrier: Carrier) {
        let ended = lock(&self.calls).complete(carrier);
        if let Some((request, answer)) = ended {
            request.end(answer);
        }
    }

    /// Notes that there will be no answer.
    pub(super) fn lost(&self, carrier: Carrier) {
        let request = lock(&self.calls).lost(carrier);
        if let Some(request) = request {
            request.end(Answer::Nothing);
        }
    }

    fn reset(&self, (root, number): Carrier) {
        let sender = lock(&self.configurations).get(&root).map(Arc::clone);
        if let Some(sender) = sender {
            abi::reset_stream(sender.envoy, number);
        }
    }

    /// Writes the metrics.
    fn flush(&self) {
        let Some(newest) = self.newest() else { return };
        let mut board = Board::default();
        for station in self.all_stations() {
            station.counted(&mut board);
        }
        lock(&self.totals).write(&board, newest.envoy, &newest.metrics);
    }

    fn start_ticker(&self) {
        if self.ticking.swap(true, Ordering::AcqRel) {
            return;
        }
        let started = thread::Builder::new()
            .name("scopegate".to_owned())
            .spawn(|| PROCESS.tick());
        if started.is_err() {
            // Requests are refused while no ticks come, which the worker notices.
            self.ticking.store(false, Ordering::Release);
        }
    }

    /// Wakes the main thread until there is no configuration left.
    fn tick(&self) {
        loop {
            thread::sleep(TICK);
            if let Some(newest) = self.newest() {
                newest.scheduler.commit(Errand::Tick);
                continue;
            }
            self.ticking.store(false, Ordering::Release);
            // A configuration may have come in between, and found the ticker running.
            if self.newest().is_none() || self.ticking.swap(true, Ordering::AcqRel) {
                return;
            }
        }
    }
}

/// The number that follows the last one. The first is 1.
fn next(last: &AtomicU64) -> u64 {
    last.fetch_add(1, Ordering::Relaxed).wrapping_add(1)
}
