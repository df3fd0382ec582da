//! One plugin configuration on one worker: its gate, its key fetches, the requests
//! that wait for them.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::rc::Rc;

use super::engine::Engine;
use super::fetch::{Call, Fetched};
use super::host::{self, Buffer, Level};
use super::lifetimes::Lifetimes;
use super::metrics::Metrics;
use super::stream::Progress;
use super::waiting::{Need, Waiting};
use crate::authn::key_share::Reason;
use crate::authn::keys::Algorithm;
use crate::authz::projects::Question;
use crate::config::{Config, Environment, Mode};
use crate::gate::{Attempt, Evaluation, Gate, Trace};
use crate::words::identity::ProviderIndex;
use crate::words::request::Head;
use crate::words::time::{Monotonic, Now};

/// How often the root is called when nothing waits, in milliseconds: clocks,
/// schedules and metrics are this coarse, and workers agree on keys this soon.
const TICK: u32 = 500;

/// How often while requests wait, so that their deadlines are kept.
pub(super) const TICK_WAITING: u32 = 100;

/// How long a body may take that is held back, in milliseconds. Envoy itself would wait
/// for minutes, for good where it has not the room to read on.
const BODY_TIME: u64 = 30_000;

/// Between two warnings that refusals are only recorded, in milliseconds.
const REPORT_REMINDER: u64 = 60_000;

/// Gauge of requests that wait, over all workers.
const WAITING_REQUESTS: &str = "scopegate_waiting_requests";

/// Gauge of streams that go on, over all workers.
const STREAMS: &str = "scopegate_streams";

/// The state of one plugin configuration.
#[derive(Debug)]
pub(super) struct Root {
    pub(super) id: u32,
    pub(super) gate: Option<Gate>,
    pub(super) metrics: Metrics,
    /// Providers whose answer is on its way, by callout.
    pub(super) calls: HashMap<u32, Call>,
    /// What is known of a provider's fetches.
    pub(super) fetched: HashMap<ProviderIndex, Fetched>,
    /// Questions to the directory of projects that are on their way, by callout.
    pub(super) asked: HashMap<u32, Question>,
    /// Whether the last of them failed, for one log line per change.
    pub(super) directory_failing: bool,
    pub(super) waiting: Vec<Waiting>,
    /// Whether some that wait have nothing to wait for.
    pub(super) undecided: bool,
    pub(super) lifetimes: Lifetimes,
    /// Streams whose body is held back, and since when.
    readings: Vec<(u32, Monotonic)>,
    /// What became of streams that waited, until the shell notes it.
    pub(super) settled: Vec<(u32, Progress)>,
    engine: Engine,
    now: Option<Now>,
    subject_header: Option<Rc<[u8]>>,
    realm: Rc<str>,
    reminded: Option<Monotonic>,
    tick: u32,
    entropy: u64,
    me: u64,
}

impl Root {
    pub(super) fn new(id: u32) -> Self {
        Self {
            id,
            now: None,
            gate: None,
            engine: Engine::default(),
            metrics: Metrics::default(),
            calls: HashMap::new(),
            asked: HashMap::new(),
            directory_failing: false,
            waiting: Vec::new(),
            undecided: false,
            lifetimes: Lifetimes::default(),
            readings: Vec::new(),
            settled: Vec::new(),
            subject_header: None,
            realm: Rc::from("observability"),
            fetched: HashMap::new(),
            me: 0,
            reminded: None,
            tick: 0,
            entropy: 0,
        }
    }

    /// The gate, unless the configuration failed: then everything is refused.
    pub(super) const fn gate(&mut self) -> Option<&mut Gate> {
        self.gate.as_mut()
    }

    /// The clocks as of the last tick; read now if there was none yet.
    pub(super) fn coarse_now(&mut self) -> Now {
        match self.now {
            Some(now) => now,
            None => self.precise_now(),
        }
    }

    /// The clocks, read now.
    pub(super) fn precise_now(&mut self) -> Now {
        *self.now.insert(host::now())
    }

    /// Decides about a request; `None` without a gate.
    pub(super) fn decide<'a>(
        &mut self,
        head: &Head<'a>,
        attempt: Attempt,
    ) -> Option<Evaluation<'a>> {
        let now = self.coarse_now();
        let gate = self.gate.as_mut()?;
        Some(gate.decide(head, attempt, now, &self.engine))
    }

    /// Counts what a decision looked up and verified.
    pub(super) fn count(&mut self, trace: &Trace<'_>) {
        if let Some(hit) = trace.cached {
            self.metrics.looked_up(hit);
        }
        if let (Some((provider, algorithm, held)), Some(gate)) = (trace.verified, &self.gate) {
            self.metrics
                .verified(gate.provider_name(provider), algorithm, held);
        }
    }

    /// Whether refusals take effect.
    pub(super) fn mode(&self) -> Mode {
        let gate = self.gate.as_ref();
        gate.map_or(Mode::Enforce, |gate| gate.config().mode)
    }

    /// The configured realm.
    pub(super) fn realm(&self) -> Rc<str> {
        Rc::clone(&self.realm)
    }

    /// The configured header for the subject.
    pub(super) fn subject_header(&self) -> Option<Rc<[u8]>> {
        self.subject_header.clone()
    }

    /// This root among those of all workers; never 0.
    pub(super) const fn me(&self) -> u64 {
        self.me
    }

    /// A number that varies between requests.
    pub(super) fn entropy(&mut self) -> u64 {
        self.entropy = self
            .entropy
            .wrapping_mul(0x5851_f42d_4c95_7f2d)
            .wrapping_add(1);
        self.entropy >> 33
    }

    /// What became of streams that waited, since the last call.
    pub(super) fn take_settled(&mut self) -> Vec<(u32, Progress)> {
        std::mem::take(&mut self.settled)
    }

    /// Loads the plugin configuration. False makes Envoy refuse it; a worker that
    /// is asked for traffic all the same refuses everything.
    pub(super) fn configure(&mut self, size: usize) -> bool {
        let document = host::buffer(Buffer::PluginConfiguration, size).unwrap_or_default();
        let environment = Environment::new(
            std::env::vars_os()
                .filter_map(|(name, value)| Some((name.into_string().ok()?, lossy(&value)))),
        );
        match Config::parse(&document, &environment) {
            Ok(config) => {
                // Spreads schedules over workers and gates: from the host's random
                // numbers, since every worker's memory looks the same.
                let seed = RandomState::new().build_hasher().finish();
                self.entropy = seed;
                self.me = seed | 1;
                self.realm = config.realm.as_str().into();
                let subject_header = config.forward.subject_header.as_deref();
                self.subject_header = subject_header.map(|name| name.as_bytes().into());
                self.gate = Some(Gate::new(config, seed));
                // The first fetch belongs into the first tick: clusters may not be
                // there yet, and what the trial load starts is cancelled.
                self.set_tick(1);
                true
            }
            Err(problems) => {
                for problem in &problems {
                    host::log(Level::Error, &format!("configuration: {problem}"));
                }
                self.gate = None;
                false
            }
        }
    }

    /// Time passes.
    pub(super) fn on_tick(&mut self) {
        let now = self.precise_now();
        if self.gate.is_none() {
            return;
        }
        self.look(now);
        let due = self
            .gate
            .as_mut()
            .map_or_else(Vec::new, |gate| gate.tick(now));
        for provider in due {
            if !self.fetch(provider, Reason::Schedule) {
                self.decide_waiting(Some(&Need::Keys(provider)));
            }
        }
        self.end_streams(now);
        self.decide_waiting(None);
        self.show(now);
        self.rearm();
    }

    /// The body of a stream is held back from now on.
    pub(super) fn begin_reading(&mut self, stream: u32) {
        let now = self.coarse_now().mono;
        self.readings.push((stream, now));
    }

    /// The body of a stream is held back no more.
    pub(super) fn end_reading(&mut self, stream: u32) {
        self.readings.retain(|(reading, _)| *reading != stream);
    }

    /// Streams whose body has been held back for too long.
    pub(super) fn late_readings(&mut self) -> Vec<u32> {
        let now = self.coarse_now().mono;
        let late = self
            .readings
            .iter()
            .filter(|(_, since)| now.since(*since) >= BODY_TIME);
        late.map(|(stream, _)| *stream).collect()
    }

    pub(super) fn rearm(&mut self) {
        let period = if self.waiting.is_empty() {
            TICK
        } else {
            TICK_WAITING
        };
        self.set_tick(period);
    }

    pub(super) fn set_tick(&mut self, period: u32) {
        if self.tick != period {
            self.tick = period;
            host::set_tick_period(period);
        }
    }

    fn show(&mut self, now: Now) {
        let Some(gate) = &self.gate else { return };
        let report = gate.config().mode == Mode::Report;
        self.metrics
            .show("scopegate_report_mode", u64::from(report));
        let due = self
            .reminded
            .is_none_or(|last| now.mono.since(last) >= REPORT_REMINDER);
        if report && due {
            self.reminded = Some(now.mono);
            host::log(
                Level::Warn,
                "mode is report: refusals are recorded, every request is passed on",
            );
        }
        self.metrics.show_keys(gate, now.mono);
        self.metrics
            .contribute(WAITING_REQUESTS, self.waiting.len());
        self.metrics.contribute(STREAMS, self.lifetimes.len());
        for algorithm in Algorithm::ALL {
            let used = gate
                .config()
                .providers
                .iter()
                .any(|(provider, _)| provider.algorithms.contains(&algorithm));
            if used {
                let by = if self.engine.is_host(algorithm) {
                    "host"
                } else {
                    "module"
                };
                self.metrics.show(
                    &format!("scopegate_verifier.algorithm={algorithm}.engine={by}"),
                    1,
                );
            }
        }
        self.metrics.flush();
    }

    /// The configuration is replaced: what this worker added to shared gauges goes.
    pub(super) fn retire(&mut self) {
        self.abandon();
        self.metrics.contribute(WAITING_REQUESTS, 0);
        self.metrics.contribute(STREAMS, 0);
        self.metrics.flush();
    }
}

/// A value that is not UTF-8 must not pass for absent.
fn lossy(value: &std::ffi::OsStr) -> String {
    value.to_string_lossy().into_owned()
}
