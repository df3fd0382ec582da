//! One plugin configuration on one worker: its gate, its key fetches, the requests
//! that wait for them.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::rc::Rc;
use std::time::Instant;

use super::engine::Engine;
use super::host::{self, Buffer, Level, Map, Pairs};
use super::metrics::Metrics;
use super::stream::{self, Progress};
use crate::config::{Config, Environment, Mode};
use crate::denial::Denial;
use crate::gate::{Attempt, Evaluation, Gate, Outcome, Trace};
use crate::identity::ProviderIndex;
use crate::jwks::MAX_DOCUMENT_BYTES;
use crate::keys::Algorithm;
use crate::request::Head;
use crate::time::{Monotonic, Now};

/// How often the root is called when nothing waits, in milliseconds: clocks,
/// schedules and metrics are this coarse.
const TICK: u32 = 1_000;

/// How often while requests wait, so that their deadlines are kept.
const TICK_WAITING: u32 = 100;

/// Between two warnings that refusals are only recorded, in milliseconds.
const REPORT_REMINDER: u64 = 60_000;

/// Gauge of requests that wait, over all workers.
const WAITING_REQUESTS: &str = "scopegate_waiting_requests";

/// A request that waits for keys, with all that is needed to decide again.
#[derive(Debug)]
struct Waiting {
    stream: u32,
    provider: ProviderIndex,
    arrived: Monotonic,
    headers: Pairs,
}

/// The state of one plugin configuration.
#[derive(Debug)]
pub(super) struct Root {
    id: u32,
    zero: Instant,
    now: Option<Now>,
    gate: Option<Gate>,
    pub(super) engine: Engine,
    pub(super) metrics: Metrics,
    calls: HashMap<u32, ProviderIndex>,
    waiting: Vec<Waiting>,
    settled: Vec<(u32, Progress)>,
    subject_header: Option<Rc<[u8]>>,
    realm: Rc<str>,
    failing: HashMap<ProviderIndex, bool>,
    reminded: Option<Monotonic>,
    tick: u32,
    entropy: u64,
}

impl Root {
    pub(super) fn new(id: u32) -> Self {
        Self {
            id,
            zero: Instant::now(),
            now: None,
            gate: None,
            engine: Engine::default(),
            metrics: Metrics::default(),
            calls: HashMap::new(),
            waiting: Vec::new(),
            settled: Vec::new(),
            subject_header: None,
            realm: Rc::from("observability"),
            failing: HashMap::new(),
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
        *self.now.insert(host::now(self.zero))
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
        let Some(gate) = &mut self.gate else {
            return;
        };
        for provider in gate.tick(now) {
            self.fetch(provider);
        }
        self.decide_waiting(None);
        self.show(now);
        self.rearm();
    }

    fn rearm(&mut self) {
        let period = if self.waiting.is_empty() {
            TICK
        } else {
            TICK_WAITING
        };
        self.set_tick(period);
    }

    fn set_tick(&mut self, period: u32) {
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

    /// Starts a fetch. Must run with this root in effect, so that the callout
    /// outlives the request that asked for it.
    fn fetch(&mut self, provider: ProviderIndex) {
        let now = self.coarse_now();
        let Some(gate) = &mut self.gate else { return };
        let Some(uri) = gate.key_uri(provider) else {
            return;
        };
        let headers: [(&str, &[u8]); 6] = [
            (":method", b"GET"),
            (":scheme", uri.scheme.as_bytes()),
            (":authority", uri.authority.as_bytes()),
            (":path", uri.path.as_bytes()),
            ("accept", b"application/json"),
            ("user-agent", b"scopegate"),
        ];
        match host::call(&uri.cluster, &headers, uri.timeout) {
            Ok(token) => {
                self.calls.insert(token, provider);
            }
            Err(status) => {
                let what = format!(
                    "the host does not take the request (status {}): does the cluster exist?",
                    status.code()
                );
                gate.keys_failed(provider, now);
                self.fetch_failed(provider, "error", &what);
            }
        }
    }

    /// A callout ended; this root is in effect.
    pub(super) fn on_http_call_response(&mut self, token: u32, headers: usize, body_size: usize) {
        let Some(provider) = self.calls.remove(&token) else {
            return;
        };
        let now = self.precise_now();
        let answer = read_answer(headers, body_size);
        let Some(gate) = &mut self.gate else { return };
        match answer {
            Ok(document) => {
                let before = gate
                    .key_states()
                    .nth(provider.0)
                    .and_then(|(_, keys)| keys.held().cloned());
                match gate.keys_arrived(provider, &document, now) {
                    Ok(set) => {
                        let same = before.is_some_and(|before| {
                            before.keys().len() == set.keys().len()
                                && set.keys().iter().all(|key| before.holds(key))
                        });
                        self.fetch_succeeded(provider, &set, same);
                    }
                    Err(error) => self.fetch_failed(provider, "unusable", &error.to_string()),
                }
            }
            Err((result, what)) => {
                gate.keys_failed(provider, now);
                self.fetch_failed(provider, result, &what);
            }
        }
        self.decide_waiting(Some(provider));
        self.rearm();
    }

    /// One log line per change, not per fetch.
    fn fetch_succeeded(&mut self, provider: ProviderIndex, set: &crate::jwks::KeySet, same: bool) {
        let recovered = self.failing.insert(provider, false) == Some(true);
        let name = self.provider_name(provider);
        self.metrics.fetched(&name, "ok");
        if same && !recovered {
            return;
        }
        host::log(
            Level::Info,
            &format!("provider {name}: {} keys in use", set.keys().len()),
        );
        for skipped in set.skipped() {
            host::log(
                Level::Warn,
                &format!(
                    "provider {name}: key {:?} skipped: {}",
                    skipped.key_id.as_deref().map(bounded).unwrap_or_default(),
                    skipped.reason.name()
                ),
            );
        }
    }

    fn fetch_failed(&mut self, provider: ProviderIndex, result: &str, what: &str) {
        let name = self.provider_name(provider);
        self.metrics.fetched(&name, result);
        if self.failing.insert(provider, true) == Some(true) {
            return;
        }
        let uri = self
            .gate
            .as_ref()
            .and_then(|gate| gate.key_uri(provider))
            .map(|uri| {
                format!(
                    "{}://{}{} by cluster {}",
                    uri.scheme, uri.authority, uri.path, uri.cluster
                )
            })
            .unwrap_or_default();
        host::log(
            Level::Warn,
            &format!("provider {name}: keys cannot be fetched from {uri}: {what}"),
        );
    }

    fn provider_name(&self, provider: ProviderIndex) -> String {
        let gate = self.gate.as_ref();
        gate.map_or("", |gate| gate.provider_name(provider))
            .to_owned()
    }

    /// Takes a request in that must wait; the caller pauses it.
    ///
    /// # Errors
    /// [`Denial::WaitingRoomFull`] or, if no waiting is configured,
    /// [`Denial::KeysUnavailable`].
    pub(super) fn wait(
        &mut self,
        stream: u32,
        provider: ProviderIndex,
        arrived: Monotonic,
        headers: Pairs,
        fetch: bool,
    ) -> Result<(), (Denial, Pairs)> {
        let limits = match &self.gate {
            Some(gate) => gate.config().limits,
            None => return Err((Denial::GateUnavailable, headers)),
        };
        if fetch {
            // The callout must belong to the root, and what follows to the stream.
            if host::act_on(self.id).is_ok() {
                self.fetch(provider);
            } else {
                let now = self.coarse_now();
                if let Some(gate) = &mut self.gate {
                    gate.keys_failed(provider, now);
                }
            }
        }
        // A callout that failed at once leaves nothing to wait for in report mode
        // either: there every request passes anyway.
        let refusal = if limits.wait == 0 || self.mode() == Mode::Report {
            Some(Denial::KeysUnavailable)
        } else if self.waiting.len() >= limits.waiting_requests {
            Some(Denial::WaitingRoomFull)
        } else {
            None
        };
        if refusal.is_none() && self.waiting.is_empty() && host::act_on(self.id).is_ok() {
            self.set_tick(TICK_WAITING);
        }
        if host::act_on(stream).is_err() {
            return Err((Denial::GateUnavailable, headers));
        }
        if let Some(denial) = refusal {
            return Err((denial, headers));
        }
        self.waiting.push(Waiting {
            stream,
            provider,
            arrived,
            headers,
        });
        Ok(())
    }

    /// The configuration is replaced: what this worker added to shared gauges goes.
    pub(super) fn retire(&mut self) {
        self.metrics.contribute(WAITING_REQUESTS, 0);
        self.metrics.flush();
    }

    /// A stream is gone: it waits no more.
    pub(super) fn forget(&mut self, stream: u32) {
        self.waiting.retain(|waiting| waiting.stream != stream);
    }

    /// Decides again about requests: all of one provider after its fetch, or those
    /// whose time is up.
    fn decide_waiting(&mut self, provider: Option<ProviderIndex>) {
        if self.waiting.is_empty() {
            return;
        }
        let now = self.coarse_now();
        let wait = match &self.gate {
            Some(gate) => gate.config().limits.wait,
            None => 0,
        };
        let mut fetches = Vec::new();
        for waiting in std::mem::take(&mut self.waiting) {
            let last = now.mono.since(waiting.arrived) >= wait;
            let asked = provider.is_some_and(|provider| waiting.provider == provider);
            if !last && !asked {
                self.waiting.push(waiting);
                continue;
            }
            // The stream may have ended; then the previous context stays in effect.
            if host::act_on(waiting.stream).is_err() {
                continue;
            }
            let attempt = Attempt {
                arrived: waiting.arrived,
                last,
                coarse: false,
            };
            let subject_header = self.subject_header();
            let head = Head::read(waiting.headers.iter(), subject_header.as_deref());
            let Some(evaluation) = self.decide(&head, attempt) else {
                stream::refuse_broken(&head);
                continue;
            };
            if let Outcome::Wait { provider, fetch } = evaluation.outcome {
                drop(head);
                if fetch {
                    fetches.push(provider);
                }
                self.waiting.push(Waiting {
                    provider,
                    ..waiting
                });
                continue;
            }
            let progress = stream::settle_waiting(self, &head, evaluation);
            self.settled.push((waiting.stream, progress));
        }
        if host::act_on(self.id).is_ok() {
            for provider in fetches {
                self.fetch(provider);
            }
        }
    }
}

/// Status first, then size, then the body: a failed callout has no headers at all.
fn read_answer(headers: usize, body_size: usize) -> Result<Box<[u8]>, (&'static str, String)> {
    if headers == 0 {
        return Err(("unreachable", "no answer".to_owned()));
    }
    let status = host::header(Map::CallResponse, ":status").unwrap_or_default();
    if *status != *b"200" {
        let status = String::from_utf8_lossy(&status).into_owned();
        return Err(("status", format!("status {status}")));
    }
    if body_size > MAX_DOCUMENT_BYTES {
        return Err(("unusable", format!("{body_size} bytes are too many")));
    }
    host::buffer(Buffer::CallResponseBody, body_size)
        .map_err(|status| ("error", format!("no body (status {})", status.code())))
}

fn bounded(text: &str) -> &str {
    text.get(..64).unwrap_or(text)
}

/// A value that is not UTF-8 must not pass for absent.
fn lossy(value: &std::ffi::OsStr) -> String {
    value.to_string_lossy().into_owned()
}
