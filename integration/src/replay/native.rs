//! The scenario table against the core, without a proxy: the same gate, fed with the headers Envoy would hand it.
//!
//! What is played here is the host's part only: clocks that tick, a provider that answers or does not, a request that
//! waits, header edits that are made. Where Envoy itself refuses a request before the gate sees it, the gate must
//! refuse it too.

use anyhow::{Result, bail};

use scopegate::authn::keys::InModule;
use scopegate::authz::endpoint::Surface;
use scopegate::config::{Config, Environment, Mode};
use scopegate::forward::{self, Edit};
use scopegate::gate::{self, Attempt, Evaluation, Gate, Query, Trace};
use scopegate::reply;
use scopegate::scoping::narrow::MAX_BODY;
use scopegate::words::denial::Denial;
use scopegate::words::identity::ProviderIndex;
use scopegate::words::request::{BACKEND_HEADER, Head};
use scopegate::words::time::{Monotonic, Now, Timestamp};

use crate::client;
use crate::issuer::{self, AnswerMode};
use crate::scenario::{self, Outcome, Prepared, Replay, Scenario, Upstreamed};
use crate::token;

use super::Report;

/// Replay these scenarios, each with a gate of its own, on all cores.
pub fn all(scenarios: &[(String, Scenario)]) -> Report {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let share = scenarios.len().div_ceil(cores).max(1);
    let reports: Vec<Report> = std::thread::scope(|scope| {
        let threads: Vec<_> = scenarios
            .chunks(share)
            .map(|rows| scope.spawn(|| some(rows)))
            .collect();
        let reports = threads.into_iter().map(|thread| match thread.join() {
            Ok(report) => report,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        reports.collect()
    });
    let mut whole = Report::default();
    for report in reports {
        whole.add(report);
    }
    whole
}

fn some(rows: &[(String, Scenario)]) -> Report {
    let mut report = Report::default();
    for (file, scenario) in rows {
        if scenario.not_native.is_some() {
            report.skipped += 1;
            continue;
        }
        report.replayed += 1;
        let title = format!("{file}: {} [native]", scenario.name);
        // What Envoy may answer first is no excuse for the gate.
        let mut strict = scenario.clone();
        strict.expect.or_status.clear();
        let attempt = strict
            .prepare(file, token::now())
            .and_then(|prepared| Ok((Native.replay(&prepared)?, prepared)));
        match attempt {
            Ok((outcome, prepared)) => {
                let problems = scenario::check(&prepared, &outcome);
                let lines = problems.iter().map(|problem| format!("{title}: {problem}"));
                report.failures.extend(lines);
            }
            Err(error) => report.failures.push(format!("{title}: {error:#}")),
        }
    }
    report
}

/// The core as a replay.
pub struct Native;

impl Replay for Native {
    fn replay(&mut self, scenario: &Prepared) -> Result<Outcome> {
        World::start(scenario)?.answer()
    }
}

/// A gate and the host around it.
struct World<'scenario> {
    scenario: &'scenario Prepared,
    gate: Gate,
    now: Now,
}

type Fields = Vec<(Vec<u8>, Vec<u8>)>;

impl World<'_> {
    fn start(scenario: &Prepared) -> Result<World<'_>> {
        let document = serde_json::to_vec(&scenario.config)?;
        let environment = Environment::new(scenario.scenario.environment.clone());
        let config = match Config::parse(&document, &environment) {
            Ok(config) => config,
            Err(problems) => {
                let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
                bail!("the configuration is refused: {}", problems.join("; "));
            }
        };
        let mut world = World {
            scenario,
            gate: Gate::new(config, SEED),
            now: Now {
                wall: Timestamp::from_secs(u64::try_from(token::now())?),
                mono: Monotonic::from_millis(0),
            },
        };
        // As a replay through Envoy does, the gate has a moment to fetch its keys.
        for _ in 0..=2 {
            world.tick(1_000);
        }
        Ok(world)
    }

    /// The monotonic clock moves; fetches that are due are answered at once. The wall clock stands still, so that a
    /// token means the same in every run.
    fn tick(&mut self, millis: u64) {
        self.now.mono = self.now.mono.after(millis);
        for provider in self.gate.tick(self.now) {
            self.fetch(provider);
        }
    }

    fn fetch(&mut self, provider: ProviderIndex) {
        let name = self.gate.provider_name(provider);
        let providers = &self.gate.config().providers;
        let issuer = providers
            .iter()
            .find(|(rules, _)| rules.name == name)
            .map_or("", |(rules, _)| rules.issuer.as_str());
        let state = &self.scenario.scenario.issuer;
        if issuer == issuer::CORPORATE && state.answer == AnswerMode::Hang && !state.down {
            return;
        }
        match self.scenario.jwks.get(issuer) {
            Some(Some(document)) => {
                // An unusable document is a failed fetch, which the gate notes itself.
                let document = document.to_string();
                let _ = self
                    .gate
                    .keys_arrived(provider, document.as_bytes(), self.now, None);
            }
            _ => self.gate.keys_failed(provider, self.now),
        }
    }

    fn answer(&mut self) -> Result<Outcome> {
        let fields = as_envoy_hands_them(self.scenario);
        let subject_header = self.gate.config().forward.subject_header.clone();
        let pairs = fields
            .iter()
            .map(|(name, value)| (name.as_slice(), value.as_slice()));
        let mut head = Head::read(pairs, subject_header.as_deref().map(str::as_bytes));
        let sent = &self.scenario.request.body;
        head.has_body = !sent.is_empty();
        let Evaluation { outcome, trace } = self.decide(&head)?;
        match outcome {
            gate::Outcome::Permit(permit) => {
                let narrow = !self.passes(&trace);
                let grpc = permit.endpoint().is_grpc();
                let edits = forward::permitted(&permit, &head, &self.gate.config().forward, narrow);
                let body = match permit.query() {
                    Query::InBody(_) if sent.len() > MAX_BODY => Err(Denial::BodyTooLarge),
                    Query::InBody(narrowing) => narrowing.form(Some(sent)).map(String::into_bytes),
                    Query::AsSent(_) | Query::Narrowed(_) => Ok(sent.clone()),
                };
                match body {
                    Ok(body) if narrow => Ok(self.forwarded(&fields, &edits, grpc, &body)),
                    Err(denial) if narrow => Ok(self.denied(&fields, &head, denial, &trace)),
                    _ => Ok(self.forwarded(&fields, &edits, grpc, sent)),
                }
            }
            gate::Outcome::Deny(denial) => Ok(self.denied(&fields, &head, denial, &trace)),
            gate::Outcome::Ask(_) | gate::Outcome::NeedsClock | gate::Outcome::Wait { .. } => {
                bail!("the gate came to no decision")
            }
        }
    }

    /// What the shell does with a request until there is a verdict.
    fn decide<'head>(&mut self, head: &Head<'head>) -> Result<Evaluation<'head>> {
        let limits = self.gate.config().limits;
        let mut attempt = Attempt {
            arrived: self.now.mono,
            last: false,
            coarse: true,
        };
        for _ in 0..MAX_ATTEMPTS {
            let evaluation = self.gate.decide(head, attempt, self.now, &InModule);
            let refused = |denial| Evaluation {
                outcome: gate::Outcome::Deny(denial),
                trace: evaluation.trace.clone(),
            };
            match evaluation.outcome {
                gate::Outcome::NeedsClock => attempt.coarse = false,
                gate::Outcome::Wait { provider, fetch } => {
                    if limits.wait == 0 || self.passes(&evaluation.trace) {
                        return Ok(refused(Denial::KeysUnavailable));
                    }
                    if limits.waiting_requests == 0 {
                        return Ok(refused(Denial::WaitingRoomFull));
                    }
                    if fetch {
                        self.now.mono = self.now.mono.after(ROUND_TRIP);
                        self.fetch(provider);
                    }
                    self.tick(TICK_WAITING);
                    attempt.last = self.now.mono.since(attempt.arrived) >= limits.wait;
                }
                // No directory is played here: none can be reached.
                gate::Outcome::Ask(question) => {
                    self.gate.directory_answered(question, None, self.now);
                }
                _ => return Ok(evaluation),
            }
        }
        bail!("still no decision after {MAX_ATTEMPTS} attempts")
    }

    /// Whether the request passes whatever is decided.
    fn passes(&self, trace: &Trace<'_>) -> bool {
        let projects = trace
            .endpoint
            .is_some_and(|endpoint| endpoint.surface == Surface::Projects);
        self.gate.config().mode == Mode::Report && !projects
    }

    fn denied(
        &self,
        fields: &Fields,
        head: &Head<'_>,
        denial: Denial,
        trace: &Trace<'_>,
    ) -> Outcome {
        let config = self.gate.config();
        if self.passes(trace) {
            let edits = forward::reported(trace.endpoint, head, &config.forward);
            let grpc = trace.endpoint.is_some_and(|endpoint| endpoint.is_grpc());
            return self.forwarded(fields, &edits, grpc, &self.scenario.request.body);
        }
        let family = trace.endpoint.map(|endpoint| endpoint.family);
        let reply = reply::deny(denial, family, head, &config.realm, SEED);
        Outcome {
            reply: as_envoy_sends_it(&reply, fields),
            code: Some(denial.code().to_owned()),
            upstream: Vec::new(),
        }
    }

    /// The request with its edits, as the shipped routes pass it on, and a backend's good answer.
    fn forwarded(&self, fields: &Fields, edits: &[Edit<'_>], grpc: bool, body: &[u8]) -> Outcome {
        let mut fields = fields.clone();
        for edit in edits {
            // An added header that is there already stands there twice, as it would in Envoy.
            if let Edit::Remove(name) | Edit::Set(name, _) = edit {
                fields.retain(|(known, _)| known != name);
            }
            if let Edit::Add(name, value) | Edit::Set(name, value) = edit {
                fields.push((name.to_vec(), value.to_vec()));
            }
        }
        let value_of = |wanted: &str| {
            fields
                .iter()
                .find(|(name, _)| name == wanted.as_bytes())
                .map(|(_, value)| value.clone())
        };
        let Some(backend) = value_of(BACKEND_HEADER) else {
            let reply = client::Reply {
                status: 404,
                ..client::Reply::default()
            };
            return Outcome {
                reply,
                ..Outcome::default()
            };
        };
        let upgrade = value_of("upgrade").is_some();
        let upstream = Upstreamed {
            backend: lossy(&backend),
            cluster: None,
            method: lossy(&value_of(":method").unwrap_or_default()),
            path: value_of(":path").unwrap_or_default(),
            headers: fields
                .iter()
                .filter(|(name, _)| !name.starts_with(b":") && name != BACKEND_HEADER.as_bytes())
                .map(|(name, value)| (lossy(name), value.clone()))
                .collect(),
            body: Some(body[..body.len().min(BODY_SHOWN)].to_vec()),
            complete: true,
        };
        let mut reply = client::Reply {
            status: if upgrade { 101 } else { 200 },
            ..client::Reply::default()
        };
        if grpc {
            reply
                .trailers
                .push(("grpc-status".to_owned(), b"0".to_vec()));
        }
        Outcome {
            reply,
            code: None,
            upstream: vec![upstream],
        }
    }
}

/// The header list as a filter sees it: pseudo-headers first, names in lower case, and those headers joined that Envoy
/// keeps in one place each.
fn as_envoy_hands_them(scenario: &Prepared) -> Fields {
    let request = &scenario.request;
    let mut fields: Fields = vec![
        (b":method".to_vec(), request.method.clone()),
        (b":path".to_vec(), request.path.clone()),
        (b":scheme".to_vec(), b"https".to_vec()),
    ];
    if let Some(authority) = &request.authority {
        fields.push((b":authority".to_vec(), authority.clone()));
    }
    for (name, value) in &request.headers {
        let name = name.to_ascii_lowercase();
        let joined = JOINED.contains(&name.as_slice());
        let known = fields
            .iter_mut()
            .find(|(known, _)| joined && *known == name);
        match known {
            Some((_, values)) => {
                values.push(b',');
                values.extend_from_slice(value);
            }
            None => fields.push((name, value.clone())),
        }
    }
    if request.needs_length() {
        let length = request.body.len().to_string();
        fields.push((b"content-length".to_vec(), length.into_bytes()));
    }
    fields
}

/// A local reply on the wire: to gRPC, as Envoy tells it, a 200 without a body and its message in a header.
fn as_envoy_sends_it(reply: &reply::Reply, request: &Fields) -> client::Reply {
    let value_of = |wanted: &[u8]| {
        let found = request.iter().find(|(name, _)| name == wanted);
        found.map_or(&b""[..], |(_, value)| value)
    };
    let mut headers: Vec<(String, Vec<u8>)> = reply
        .headers
        .iter()
        .map(|(name, value)| ((*name).to_owned(), value.clone().into_bytes()))
        .collect();
    let mut header = |name: &str, value: &str| headers.push((name.to_owned(), value.into()));
    let content_type = value_of(b"content-type");
    let is_grpc =
        content_type == b"application/grpc" || content_type.starts_with(b"application/grpc+");
    if is_grpc {
        let status = reply.grpc_status.unwrap_or(GRPC_UNKNOWN);
        header("content-type", "application/grpc");
        header("grpc-status", &status.to_string());
        header("grpc-message", &lossy(&reply.body));
        return client::Reply {
            status: 200,
            headers,
            ..client::Reply::default()
        };
    }
    if !reply
        .headers
        .iter()
        .any(|(name, _)| *name == "content-type")
    {
        header("content-type", "text/plain");
    }
    let bodiless = value_of(b":method") == b"HEAD";
    let body = if bodiless { &[] } else { reply.body.as_slice() };
    client::Reply {
        status: reply.status,
        headers,
        body: body.to_vec(),
        trailers: Vec::new(),
    }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Repeats of these reach a filter as one value with commas.
const JOINED: [&[u8]; 6] = [
    b"authorization",
    b"connection",
    b"content-type",
    b"upgrade",
    b"user-agent",
    b"x-request-id",
];
/// As much as an upstream keeps of a body.
const BODY_SHOWN: usize = 4096;
/// A gate that sends no status of its own to gRPC has forgotten it.
const GRPC_UNKNOWN: i32 = 2;
const SEED: u64 = 7;
/// Of a fetch, in milliseconds.
const ROUND_TRIP: u64 = 20;
/// Of the root while requests wait, in milliseconds.
const TICK_WAITING: u64 = 100;
/// More than the longest wait has ticks.
const MAX_ATTEMPTS: usize = 1_000;
