//! What Envoy's main thread does for all threads: it loads configurations, sends the requests of
//! the workers' own, hands out the answers, and writes the metrics.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::thread;
use std::time::{Duration, Instant};

use super::abi::{self, Errand, Filter, FilterConfig, Scribe};
use super::answer::Answer;
use super::calls::{self, Calls, Carrier};
use super::configurations::{self, Configuration};
use super::inbox::Message;
use super::lock::{Mutex, lock};
use super::metrics::{Board, Totals};
use super::station;
use crate::worker::{HeaderBlock, Level, RootId, StreamId};

/// How often the main thread is woken, which is the shortest interval that a worker asks for.
const TICK: Duration = Duration::from_millis(100);

/// What the main thread knows.
pub(super) static PROCESS: LazyLock<Process> = LazyLock::new(Process::default);

/// What the main thread knows.
#[derive(Debug, Default)]
pub(super) struct Process {
    calls: Mutex<Calls>,
    totals: Mutex<Totals>,
    last_root: AtomicU64,
    last_stream: AtomicU64,
    last_flush: Mutex<Option<Instant>>,
    /// Whether the ticker runs.
    ticking: AtomicBool,
    /// Which of the threads without a stream was looked after last.
    tended: AtomicUsize,
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
        let configuration = Arc::new(Configuration::new(root, envoy, name, document)?);
        let version = abi::version().to_string_lossy();
        let line = format!("loading natively, by version {version} of the interface");
        abi::log(Level::Info, &line);
        let station = station::here();
        if !station.configure(&configuration) {
            station.inbox().leave(Message::Gone(root));
            return None;
        }
        if abi::is_validation() {
            return Some(configuration);
        }
        configurations::insert(Arc::clone(&configuration));
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
            if let Some(request) = lock(&self.calls).lost(carrier) {
                calls::enqueue([request]);
            }
            Self::reset(carrier);
        }
        configurations::send(Errand::Send);
    }

    /// Notes that Envoy destroys a configuration, on whatever thread.
    pub(super) fn unload(&self, configuration: &Configuration) {
        let root = configuration.root;
        configurations::remove(root);
        configuration.end();
        lock(&self.totals).forget(root);
        // What it carried for others, another one will.
        let orphans = lock(&self.calls).orphans(root);
        calls::enqueue(orphans);
        for station in station::all() {
            station.inbox().leave(Message::Gone(root));
        }
        configurations::send(Errand::Send);
    }

    /// The number of the next stream.
    pub(super) fn next_stream(&self) -> StreamId {
        StreamId(next(&self.last_stream))
    }

    /// Runs an errand on the main thread.
    pub(super) fn run(&self, errand: Errand) {
        self.send();
        if errand == Errand::Tick {
            let overdue = lock(&self.calls).overdue(Instant::now());
            for carrier in overdue {
                Self::reset(carrier);
                self.lost(carrier);
            }
            station::here().keep(&configurations::all());
            self.tend();
            self.send();
            self.flush();
        }
    }

    /// Takes the messages of this thread, and those of one of the others that have no stream: to
    /// read large documents on behalf of all of them would hold up this thread, which all need.
    fn tend(&self) {
        station::here().tend();
        let stations = station::all();
        let last = self.tended.load(Ordering::Relaxed);
        let next = stations
            .iter()
            .enumerate()
            .cycle()
            .skip(last.wrapping_add(1));
        for (index, station) in next.take(stations.len()) {
            if station.tend() {
                self.tended.store(index, Ordering::Relaxed);
                return;
            }
        }
    }

    /// Sends the requests that wait.
    fn send(&self) {
        for request in calls::waiting() {
            // Nobody waits for an answer on behalf of a configuration that is gone: the worker is
            // told, and lets another one ask.
            if configurations::get(request.job.root()).is_none() {
                continue;
            }
            let Some(sender) = configurations::newest() else {
                request.end(Answer::Nothing);
                continue;
            };
            let (root, millis) = (sender.root, request.job.millis());
            let (cluster, headers) = (request.job.cluster.clone(), request.job.headers.clone());
            // Envoy may report on the request before it returns the number.
            lock(&self.calls).sending(root, request);
            let sent = sender.with_envoy(|envoy| {
                let sent = abi::start_stream(envoy, &cluster, &headers, millis);
                if let Ok(number) = sent {
                    lock(&self.calls).sent((root, number));
                }
                sent
            });
            let answer = match sent {
                Some(Ok(_)) => continue,
                Some(Err(status)) => Answer::NotSent(status),
                None => Answer::Nothing,
            };
            if let Some(request) = lock(&self.calls).not_sent() {
                request.end(answer);
            }
        }
        self.tend();
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
            self.tend();
        }
    }

    /// Notes that there will be no answer.
    pub(super) fn lost(&self, carrier: Carrier) {
        let request = lock(&self.calls).lost(carrier);
        if let Some(request) = request {
            request.end(Answer::Nothing);
            self.tend();
        }
    }

    fn reset((root, number): Carrier) {
        if let Some(sender) = configurations::get(root) {
            sender.with_envoy(|envoy| abi::reset_stream(envoy, number));
        }
    }

    /// Writes the metrics from the main thread, where Envoy allows it.
    fn flush(&self) {
        if let Some(newest) = configurations::newest()
            && !abi::is_1_38()
        {
            newest.with_envoy(|envoy| self.write(Scribe::Main(envoy), &newest));
        }
    }

    /// Writes the metrics from a stream's hook, now and then, where only streams may.
    pub(super) fn flush_by(&self, filter: Filter, root: RootId) {
        if !self.flush_is_due() {
            return;
        }
        if let Some(own) = configurations::get(root) {
            self.write(Scribe::Stream(filter), &own);
        }
    }

    /// Whether nothing has been written for a tick.
    fn flush_is_due(&self) -> bool {
        let mut last = lock(&self.last_flush);
        let now = Instant::now();
        let due = last.is_none_or(|last| now.duration_since(last) >= TICK);
        if due {
            *last = Some(now);
        }
        due
    }

    fn write(&self, scribe: Scribe, configuration: &Configuration) {
        let mut board = Board::default();
        for station in station::all() {
            station.counted(&mut board);
        }
        board.take_panics();
        let (root, metrics) = (configuration.root, &configuration.metrics);
        lock(&self.totals).write(&board, scribe, root, metrics);
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

    /// Wakes all threads until there is no configuration left. Those that serve do not depend on
    /// the main one, which may be busy for seconds.
    fn tick(&self) {
        loop {
            thread::sleep(TICK);
            for station in station::all() {
                station.inbox().deliver(Message::Tick);
            }
            if configurations::send(Errand::Tick) {
                continue;
            }
            self.ticking.store(false, Ordering::Release);
            // A configuration may have come in between, and found the ticker running.
            if configurations::newest().is_none() || self.ticking.swap(true, Ordering::AcqRel) {
                return;
            }
        }
    }
}

/// The number that follows the last one. The first is 1.
fn next(last: &AtomicU64) -> u64 {
    last.fetch_add(1, Ordering::Relaxed).wrapping_add(1)
}
