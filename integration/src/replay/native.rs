//! Plays the scenario table with a worker, without a proxy: the same state machine receives the headers that Envoy
//! would hand to it.
//!
//! Only the part of the host is simulated: clocks that tick, a provider that answers or does not, header edits that
//! are applied. If Envoy itself refuses a request before the gate sees it, the gate must refuse it too.

use std::cell::RefCell;
use std::rc::Rc;

use anyhow::{Result, bail, ensure};

use scopegate::authn::keys::InModule;
use scopegate::reply;
use scopegate::words::request::BACKEND_HEADER;
use scopegate::worker::Action;

use crate::client;
use crate::issuer::{self, AnswerMode};
use crate::scenario::{self, Outcome, Prepared, Replay, Scenario, Upstreamed};
use crate::token;
use crate::upstream::OWN_CORS;

use super::Report;
use host::{Call, Done, Fields, Host, Store};

#[path = "../../../tests/common/host.rs"]
#[expect(
    dead_code,
    reason = "the tests of the core use it as well, and more of it"
)]
mod host;

/// Plays these scenarios, each with a gate of its own, on all cores.
#[must_use]
pub fn all(scenarios: &[(String, Scenario)]) -> Report {
    all_by(scenarios, "native", |prepared| Native.replay(prepared))
}

/// Plays these scenarios with something else that simulates Envoy natively. The word names it.
pub(super) fn all_by(
    scenarios: &[(String, Scenario)],
    word: &str,
    replay: impl Fn(&Prepared) -> Result<Outcome> + Sync,
) -> Report {
    let replay = &replay;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let share = scenarios.len().div_ceil(cores).max(1);
    let reports: Vec<Report> = std::thread::scope(|scope| {
        let threads: Vec<_> = scenarios
            .chunks(share)
            .map(|rows| scope.spawn(move || some(rows, word, replay)))
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

fn some(
    rows: &[(String, Scenario)],
    word: &str,
    replay: &impl Fn(&Prepared) -> Result<Outcome>,
) -> Report {
    let mut report = Report::default();
    for (file, scenario) in rows {
        if scenario.not_native.is_some() {
            report.skipped += 1;
            continue;
        }
        report.replayed += 1;
        let title = format!("{file}: {} [{word}]", scenario.name);
        // The fact that Envoy may answer first is no excuse for the gate.
        let mut strict = scenario.clone();
        strict.expect.or_status.clear();
        let attempt = strict
            .prepare(file, token::now())
            .and_then(|prepared| Ok((replay(&prepared)?, prepared)));
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

/// A worker as a replay.
pub struct Native;

impl Replay for Native {
    fn replay(&mut self, scenario: &Prepared) -> Result<Outcome> {
        NativeScene::start(scenario)?.answer()
    }
}

/// A worker and the host around it.
struct NativeScene<'scenario> {
    scenario: &'scenario Prepared,
    host: Host,
    /// How often the corporate provider has been asked.
    asked: usize,
}

impl NativeScene<'_> {
    fn start(scenario: &Prepared) -> Result<NativeScene<'_>> {
        let document = scenario.config.to_string();
        let environment: Vec<_> = scenario.scenario.environment.clone().into_iter().collect();
        let store = Rc::new(RefCell::new(Store::default()));
        let wall = u64::try_from(token::now())?;
        let mut scene = NativeScene {
            scenario,
            host: Host::new(Box::new(InModule), &store, wall, UPTIME, SEED),
            asked: 0,
        };
        let good = scene.host.configure(ROOT, &document, &environment);
        ensure!(
            good,
            "the configuration is refused: {:?}",
            scene.host.take_done()
        );
        // As in a replay through Envoy, the gate has a moment to fetch its keys.
        for _ in 0..=2 {
            scene.tick(1_000);
        }
        scene.host.take_done();
        Ok(scene)
    }

    /// Advances the monotonic clock. Requests of the worker are answered a moment later. The wall clock stands still,
    /// so that a token means the same in every run.
    fn tick(&mut self, millis: u64) {
        self.host.pass_mono(millis);
        self.host.tick(ROOT);
        self.answer_calls();
    }

    fn answer_calls(&mut self) {
        for call in self.host.take_calls() {
            self.host.pass_mono(ROUND_TRIP);
            self.answer_call(&call);
        }
    }

    fn answer_call(&mut self, call: &Call) {
        let issuer = match call.cluster.as_str() {
            "idp" => issuer::CORPORATE,
            "idp_partner" => issuer::PARTNER,
            // There is no directory here, and none can be reached.
            _ => return self.host.answer_nothing(call),
        };
        let state = &self.scenario.scenario.issuer;
        let corporate = issuer == issuer::CORPORATE;
        let first = state.first.get(self.asked).filter(|_| corporate);
        if corporate && first.is_none() && state.answer == AnswerMode::Hang && !state.down {
            return;
        }
        let document = match first {
            Some(answer) => state.jwks_of(answer).ok().flatten(),
            None => self.scenario.jwks.get(issuer).cloned().flatten(),
        };
        self.asked += usize::from(corporate);
        match document {
            Some(document) => {
                let document = document.to_string();
                self.host.answer(call, "200", document.as_bytes());
            }
            _ => self.host.answer_nothing(call),
        }
    }

    fn answer(&mut self) -> Result<Outcome> {
        let fields = as_envoy_hands_them(self.scenario);
        let sent = &self.scenario.request.body;
        self.host.open(STREAM, ROOT);
        let mut action = self.host.head(STREAM, &fields, sent.is_empty());
        let mut done = self.host.take_done();
        for _ in 0..MAX_TICKS {
            if action == Action::Continue || replied(&done).is_some() {
                break;
            }
            // The request waits: the worker has requested something, or will do so at a tick.
            self.answer_calls();
            self.tick(TICK_WAITING);
            done.extend(self.host.take_done());
            if done.iter().any(|done| matches!(done, Done::Resume(_))) {
                action = Action::Continue;
            }
        }
        if action == Action::Continue && !sent.is_empty() {
            action = self.host.body(STREAM, sent, true);
            done.extend(self.host.take_done());
        }
        if let Some(reply) = replied(&done) {
            return Ok(Outcome {
                code: super::denial_code(&reply.details).map(str::to_owned),
                reply: as_envoy_sends_it(reply, &fields),
                upstream: Vec::new(),
            });
        }
        if action != Action::Continue {
            bail!("the worker came to no decision");
        }
        let asked_by_page = fields.iter().any(|(name, _)| name == b"origin");
        self.host.respond(STREAM, 200);
        let edits = self.host.take_done();
        let mut outcome = forwarded(fields, &done, sent);
        let headers = &mut outcome.reply.headers;
        if asked_by_page {
            let own = OWN_CORS.map(|(name, value)| (name.to_owned(), value.into()));
            headers.extend(own);
        }
        for edit in edits {
            if let Done::Response(_, name, value) = edit {
                let name = lossy(&name);
                match value {
                    Some(value) => headers.push((name, value)),
                    None => headers.retain(|(known, _)| *known != name),
                }
            }
        }
        Ok(outcome)
    }
}

fn replied(done: &[Done]) -> Option<&reply::Reply> {
    done.iter().find_map(|done| match done {
        Done::Reply(_, reply) => Some(reply),
        _ => None,
    })
}

/// The request with its edits, as the shipped routes forward it, and a good answer of a backend.
fn forwarded(mut fields: Fields, done: &[Done], sent: &[u8]) -> Outcome {
    let mut body = sent;
    for done in done {
        match done {
            // If a header that is added is there already, it occurs twice, as it would in Envoy.
            Done::Add(_, name, value) => fields.push((name.clone(), value.clone())),
            Done::Remove(_, name) => fields.retain(|(known, _)| known != name),
            Done::Set(_, name, value) => {
                fields.retain(|(known, _)| known != name);
                fields.push((name.clone(), value.clone()));
            }
            Done::Body(_, other) => body = other,
            _ => {}
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
    let grpc = value_of("content-type").is_some_and(|kind| kind.starts_with(b"application/grpc"));
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

/// The header list as a filter sees it: pseudo-headers first, names in lower case, and repeated values joined for
/// those headers that Envoy stores in one place.
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

/// A local reply as it is sent. For gRPC, as Envoy does, it is a 200 without a body and with its message in a header.
pub(super) fn as_envoy_sends_it(
    reply: &reply::Reply,
    request: &[(Vec<u8>, Vec<u8>)],
) -> client::Reply {
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

/// Headers whose repeated values a filter sees joined with commas.
const JOINED: [&[u8]; 6] = [
    b"authorization",
    b"connection",
    b"content-type",
    b"upgrade",
    b"user-agent",
    b"x-request-id",
];
/// As much of a body as an upstream keeps.
const BODY_SHOWN: usize = 4096;
/// A gate that sends no gRPC status of its own has forgotten it.
const GRPC_UNKNOWN: i32 = 2;
const SEED: u64 = 7;
const ROOT: u64 = 1;
const STREAM: u64 = 2;
/// The initial time of the monotonic clock, in milliseconds.
const UPTIME: u64 = 1_000_000;
/// The duration of a fetch, in milliseconds.
const ROUND_TRIP: u64 = 20;
/// The tick interval of a root while requests wait, in milliseconds.
const TICK_WAITING: u64 = 100;
/// More ticks than the longest wait takes.
const MAX_TICKS: usize = 1_000;
