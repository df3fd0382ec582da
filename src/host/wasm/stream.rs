//! One request: read its head, decide, act; then watch for Envoy's own 503.
//!
//! A scoped request with a form in its body is decided when the body has been read.
//! Envoy gives a filter that holds back the head no body, so the head goes on, with
//! nothing of the query in it, and the body is held back whole: what follows the head
//! is the form that was written here, or the stream is answered and the backend is left
//! with a request that never became complete.

use std::sync::Arc;

use super::abi::Status;
use super::host::{self, Action, Buffer, Level, Map, Pairs};
use super::root::Root;
use super::waiting::Need;
use crate::audit::{self, Facts, Record};
use crate::authn::token_cache::Session;
use crate::authz::endpoint::{Endpoint, Family, Surface};
use crate::config::{AuditLog, Mode};
use crate::forward::{self, Edit};
use crate::gate::{Attempt, Evaluation, Outcome, Permit, Query, Trace};
use crate::reply;
use crate::scoping::narrow::{MAX_BODY, Narrowing};
use crate::scoping::scope::Scope;
use crate::words::denial::Denial;
use crate::words::request::{Head, Occurrence};
use crate::words::tenant::TenantSet;

/// What is kept of a request until its response.
#[derive(Debug, Default)]
pub(super) struct Passed {
    endpoint: Option<&'static Endpoint>,
    json: bool,
    record: Option<Record>,
    /// Whether its end is watched for.
    tracked: bool,
}

/// Where a request stands.
#[derive(Debug, Default)]
pub(super) enum Progress {
    /// Answered here, or not seen yet.
    #[default]
    Done,
    /// On its way to the backend.
    Passed(Passed),
    /// Its head is on its way, its body is held back.
    Reading(Box<Reading>),
    /// Answered here with its head on its way: no body may follow.
    Refused,
    /// A stream whose response has begun; it is ended when its time is up.
    Tracked,
    /// Kept until keys arrive.
    Waiting,
}

/// A request whose body is held back, with all that is needed to decide about it.
#[derive(Debug)]
pub(super) struct Reading {
    stream: u32,
    narrowing: Narrowing,
    headers: Option<Pairs>,
    endpoint: Option<&'static Endpoint>,
    session: Option<Arc<Session>>,
    scope: Option<Arc<Scope>>,
    /// Whether the body becomes another one; not in `mode: report`.
    rewrite: bool,
    /// What of a body has passed that does not become another one.
    heard: Vec<u8>,
}

/// What is held back of a request.
#[derive(Debug)]
pub(super) enum Held {
    /// Its body.
    Body(Box<Reading>),
    /// Its head, which waits. That its body comes all the same is the doing of a host
    /// that was told so (Envoy's `allow_on_headers_stop_iteration`), and letting the body
    /// go on would let the head go on: the request is refused.
    Head,
}

impl Progress {
    /// What is held back of a request when more of it comes. Nothing is let through
    /// until the outcome is noted.
    pub(super) fn take_held(&mut self) -> Option<Held> {
        match std::mem::replace(self, Self::Refused) {
            Self::Reading(reading) => Some(Held::Body(reading)),
            Self::Waiting => Some(Held::Head),
            other => {
                *self = other;
                None
            }
        }
    }

    /// What a reading needs of the head when its body is there.
    pub(super) fn with_headers(mut self, headers: Pairs) -> Self {
        if let Self::Reading(reading) = &mut self {
            reading.headers = Some(headers);
        }
        self
    }

    /// Where a request stands once a response has begun; gives what it was before.
    pub(super) fn answered(&mut self) -> Self {
        let next = match self {
            // Whoever answers before the end of the body still gets none of it.
            Self::Reading(reading) => {
                return Self::Passed(Passed {
                    endpoint: reading.endpoint,
                    ..Passed::default()
                });
            }
            Self::Refused => return Self::Done,
            Self::Tracked => Self::Tracked,
            Self::Passed(passed) if passed.tracked => Self::Tracked,
            Self::Done | Self::Passed(_) | Self::Waiting => Self::Done,
        };
        std::mem::replace(self, next)
    }

    /// Whether its end is watched for.
    pub(super) const fn is_tracked(&self) -> bool {
        match self {
            Self::Tracked => true,
            Self::Passed(passed) => passed.tracked,
            Self::Done | Self::Reading(_) | Self::Refused | Self::Waiting => false,
        }
    }
}

/// How often one request may ask for a fetch before it just waits.
const ASKS: usize = 3;

/// Decides about a request whose headers have arrived.
pub(super) fn on_request_headers(root: &mut Root, stream: u32, end: bool) -> (Action, Progress) {
    let Ok(pairs) = host::pairs(Map::Request) else {
        refuse_broken(&Head::default());
        return (Action::Pause, Progress::Done);
    };
    let subject_header = root.subject_header();
    let mut seen: usize = 0;
    let headers = pairs.iter().inspect(|_| seen = seen.saturating_add(1));
    let mut head = Head::read(headers, subject_header.as_deref());
    head.has_body = !end;
    if !pairs.has_all(seen) {
        refuse_broken(&head);
        return (Action::Pause, Progress::Done);
    }
    let mut attempt = Attempt {
        arrived: root.coarse_now().mono,
        last: false,
        coarse: true,
    };
    let Some(mut evaluation) = root.decide(&head, attempt) else {
        refuse_broken(&head);
        return (Action::Pause, Progress::Done);
    };
    if matches!(evaluation.outcome, Outcome::NeedsClock) {
        attempt = Attempt {
            arrived: root.precise_now().mono,
            coarse: false,
            ..attempt
        };
        let Some(again) = root.decide(&head, attempt) else {
            refuse_broken(&head);
            return (Action::Pause, Progress::Done);
        };
        evaluation = again;
    }
    // What the fetch is for may be there already, or not be allowed yet: decide again.
    for _ in 0..ASKS {
        let Outcome::Wait {
            provider,
            fetch: true,
        } = evaluation.outcome
        else {
            break;
        };
        if root.ask(stream, provider) {
            break;
        }
        attempt.coarse = false;
        let Some(again) = root.decide(&head, attempt) else {
            refuse_broken(&head);
            return (Action::Pause, Progress::Done);
        };
        evaluation = again;
    }
    if matches!(evaluation.outcome, Outcome::Ask(_)) && !root.has_room() {
        let (endpoint, cached) = (evaluation.trace.endpoint, evaluation.trace.cached);
        let trace = Trace {
            endpoint,
            cached,
            ..Trace::default()
        };
        let full = Outcome::Deny(Denial::WaitingRoomFull);
        return settle(root, stream, &head, full, &trace);
    }
    if let Outcome::Ask(question) = &evaluation.outcome
        && !root.ask_directory(stream, question, &head)
    {
        attempt.last = true;
        let Some(again) = root.decide(&head, attempt) else {
            refuse_broken(&head);
            return (Action::Pause, Progress::Done);
        };
        evaluation = again;
    }
    let need = match evaluation.outcome {
        Outcome::Ask(question) => Need::Directory(question),
        Outcome::Wait { provider, .. } => Need::Keys(provider),
        outcome => {
            let trace = evaluation.trace;
            let (action, progress) = settle(root, stream, &head, outcome, &trace);
            return (action, progress.with_headers(pairs));
        }
    };
    let (endpoint, cached) = (evaluation.trace.endpoint, evaluation.trace.cached);
    let must_wait = !passes(root, endpoint);
    match root.wait(stream, need, attempt.arrived, (pairs, end), must_wait) {
        Ok(()) => (Action::Pause, Progress::Waiting),
        Err((denial, pairs)) => {
            let head = Head::read(pairs.iter(), subject_header.as_deref());
            let trace = Trace {
                endpoint,
                cached,
                ..Trace::default()
            };
            settle(root, stream, &head, Outcome::Deny(denial), &trace)
        }
    }
}

/// Whether a request of this endpoint passes whatever is decided: in `mode: report`,
/// but for the projects API, which exists by the gate alone.
fn passes(root: &Root, endpoint: Option<&'static Endpoint>) -> bool {
    let projects = endpoint.is_some_and(|endpoint| endpoint.surface == Surface::Projects);
    root.mode() == Mode::Report && !projects
}

/// Acts on a final outcome for the stream that is in effect.
fn settle(
    root: &mut Root,
    stream: u32,
    head: &Head<'_>,
    outcome: Outcome<'_>,
    trace: &Trace<'_>,
) -> (Action, Progress) {
    root.count(trace);
    match outcome {
        Outcome::Permit(permit) => match pass(root, head, &permit, trace.endpoint) {
            Ok(()) if matches!(permit.query(), Query::InBody(_)) => {
                let rewrite = !passes(root, trace.endpoint);
                match permit.into_narrowing() {
                    Some(narrowing) => {
                        root.begin_reading(stream);
                        let reading = Reading {
                            stream,
                            narrowing,
                            headers: None,
                            endpoint: trace.endpoint,
                            session: trace.session.clone(),
                            scope: trace.scope.clone(),
                            rewrite,
                            heard: Vec::new(),
                        };
                        (Action::Continue, Progress::Reading(Box::new(reading)))
                    }
                    None => deny(root, head, trace, Denial::GateUnavailable),
                }
            }
            Ok(()) => {
                root.metrics.decided(trace.endpoint, None);
                let record = record(root, head, trace, None);
                let tracked = root.track(stream, &permit);
                let passed = Passed {
                    tracked,
                    ..passed(head, trace.endpoint, record)
                };
                (Action::Continue, Progress::Passed(passed))
            }
            // A request that kept what it should have lost must not go on.
            Err(_) => deny(root, head, trace, Denial::GateUnavailable),
        },
        Outcome::Deny(denial) => {
            if passes(root, trace.endpoint) {
                return report(root, head, trace, denial);
            }
            deny(root, head, trace, denial)
        }
        Outcome::Ask(_) | Outcome::NeedsClock | Outcome::Wait { .. } => {
            deny(root, head, trace, Denial::GateUnavailable)
        }
    }
}

fn pass(
    root: &mut Root,
    head: &Head<'_>,
    permit: &Permit<'_>,
    endpoint: Option<&'static Endpoint>,
) -> Result<(), Status> {
    let narrow = !passes(root, endpoint);
    let Some(gate) = root.gate() else {
        return Err(Status::NOT_FOUND);
    };
    let forward = &gate.config().forward;
    apply(&forward::permitted(permit, head, forward, narrow))
}

/// More of a body has come. It is held back until it has ended.
pub(super) fn on_request_body(
    root: &mut Root,
    reading: Box<Reading>,
    size: usize,
    end: bool,
) -> (Action, Progress) {
    if !reading.rewrite {
        return overhear(root, reading, size, end);
    }
    if size > MAX_BODY {
        return conclude(root, &reading, Err(Denial::BodyTooLarge));
    }
    if !end {
        return (Action::Pause, Progress::Reading(reading));
    }
    let body = host::buffer(Buffer::RequestBody, size).unwrap_or_default();
    let form = if body.len() == size {
        reading.narrowing.form(Some(&body))
    } else {
        Err(Denial::GateUnavailable)
    };
    let verdict = form.and_then(|form| {
        host::replace_body(size, form.as_bytes()).map_err(|_| Denial::GateUnavailable)
    });
    conclude(root, &reading, verdict)
}

/// `mode: report`: the body passes piece by piece, for Envoy refuses what it cannot hold,
/// and is judged at its end.
fn overhear(
    root: &mut Root,
    mut reading: Box<Reading>,
    size: usize,
    end: bool,
) -> (Action, Progress) {
    if reading.heard.len().saturating_add(size) > MAX_BODY {
        return conclude(root, &reading, Err(Denial::BodyTooLarge));
    }
    let piece = host::buffer(Buffer::RequestBody, size).unwrap_or_default();
    reading.heard.extend_from_slice(&piece);
    if !end {
        return (Action::Continue, Progress::Reading(reading));
    }
    let form = reading.narrowing.form(Some(&reading.heard));
    conclude(root, &reading, form.map(drop))
}

/// Trailers end a body without saying so to whoever holds it back.
pub(super) fn on_request_trailers(root: &mut Root, reading: &Reading) -> (Action, Progress) {
    conclude(root, reading, Err(Denial::TrailersNotExpected))
}

/// The body has been held back for too long.
pub(super) fn on_late_body(root: &mut Root, reading: &Reading) -> Progress {
    // The stream may have ended; then the previous context stays in effect.
    if host::act_on(reading.stream).is_err() {
        root.end_reading(reading.stream);
        return Progress::Refused;
    }
    let (_, progress) = conclude(root, reading, Err(Denial::BodyTimeout));
    if host::act_on(root.id).is_err() {
        host::log(Level::Error, "the root context is not known to the host");
    }
    progress
}

/// Acts on what was found in a body.
fn conclude(root: &mut Root, reading: &Reading, verdict: Result<(), Denial>) -> (Action, Progress) {
    root.end_reading(reading.stream);
    let subject_header = root.subject_header();
    let head = match &reading.headers {
        Some(headers) => Head::read(headers.iter(), subject_header.as_deref()),
        None => Head::default(),
    };
    let tenants = head.org_id.once();
    let trace = Trace {
        endpoint: reading.endpoint,
        session: reading.session.clone(),
        tenants: tenants.and_then(|tenants| TenantSet::parse(tenants, usize::MAX).ok()),
        scope: reading.scope.clone(),
        ..Trace::default()
    };
    match verdict {
        Err(denial) if reading.rewrite => {
            let (action, _) = deny(root, &head, &trace, denial);
            (action, Progress::Refused)
        }
        verdict => {
            let denial = verdict.err();
            root.metrics.decided(trace.endpoint, denial);
            let record = record(root, &head, &trace, denial);
            let passed = passed(&head, trace.endpoint, record);
            (Action::Continue, Progress::Passed(passed))
        }
    }
}

fn apply(edits: &[Edit<'_>]) -> Result<(), Status> {
    for edit in edits {
        match edit {
            Edit::Add(name, value) => host::add_header(Map::Request, name, value)?,
            Edit::Remove(name) => host::remove_header(Map::Request, name)?,
            Edit::Set(name, value) => host::set_header(Map::Request, name, value)?,
        }
    }
    Ok(())
}

fn deny(root: &mut Root, head: &Head<'_>, trace: &Trace<'_>, denial: Denial) -> (Action, Progress) {
    root.metrics.decided(trace.endpoint, Some(denial));
    record(root, head, trace, Some(denial));
    let realm = root.realm();
    let family = trace.endpoint.map(|endpoint| endpoint.family);
    send(&reply::deny(denial, family, head, &realm, root.entropy()));
    (Action::Pause, Progress::Done)
}

/// `mode: report`: the refusal is recorded and the request passes, without any
/// header that only the gate may set.
fn report(
    root: &mut Root,
    head: &Head<'_>,
    trace: &Trace<'_>,
    denial: Denial,
) -> (Action, Progress) {
    let edited = match root.gate() {
        Some(gate) => apply(&forward::reported(
            trace.endpoint,
            head,
            &gate.config().forward,
        )),
        None => Err(Status::NOT_FOUND),
    };
    if edited.is_err() {
        return deny(root, head, trace, Denial::GateUnavailable);
    }
    root.metrics.decided(trace.endpoint, Some(denial));
    let record = record(root, head, trace, Some(denial));
    (
        Action::Continue,
        Progress::Passed(passed(head, trace.endpoint, record)),
    )
}

fn passed(head: &Head<'_>, endpoint: Option<&'static Endpoint>, record: Option<Record>) -> Passed {
    let otlp = endpoint.is_some_and(|endpoint| endpoint.family == Family::Otlp);
    Passed {
        endpoint,
        json: otlp && reply::is_json(head),
        record,
        tracked: false,
    }
}

/// Writes the record where the configuration wants it. Returns it if it is to be
/// logged with the status that the backend will give.
fn record(
    root: &mut Root,
    head: &Head<'_>,
    trace: &Trace<'_>,
    denial: Option<Denial>,
) -> Option<Record> {
    let time = root.coarse_now().wall;
    let gate = root.gate()?;
    let audit = gate.config().audit;
    let projects = trace
        .endpoint
        .is_some_and(|endpoint| endpoint.surface == Surface::Projects);
    let reported = gate.config().mode == Mode::Report && !projects;
    let logged = match audit.log {
        AuditLog::All => true,
        AuditLog::Denied => denial.is_some(),
        AuditLog::None => false,
    };
    if !logged && !audit.access_log {
        return None;
    }
    // The access log has the peer's address itself; asking for it here would cost
    // as much as the rest of the record.
    let source = logged.then(|| host::property("source\0address")).flatten();
    let facts = Facts {
        time,
        denial,
        source: source.as_deref(),
        reported,
    };
    let record = audit::record(gate, head, trace, facts);
    let status = denial.filter(|_| !reported).map(Denial::status);
    if audit.access_log {
        host::set_filter_state("scopegate", record.with_status(status).as_bytes());
    }
    if !logged {
        return None;
    }
    if status.is_some() {
        host::log(Level::Info, &record.with_status(status));
        return None;
    }
    Some(record)
}

/// Refuses when there is no gate to decide.
pub(super) fn refuse_broken(head: &Head<'_>) {
    let entropy = 0;
    send(&reply::deny(
        Denial::GateUnavailable,
        None,
        head,
        "observability",
        entropy,
    ));
}

/// Answers the stream that is in effect.
pub(super) fn send(reply: &reply::Reply) {
    let headers: Vec<(&str, &[u8])> = reply
        .headers
        .iter()
        .map(|(name, value)| (*name, value.as_bytes()))
        .collect();
    let sent = host::reply(
        reply.status,
        &reply.details,
        &headers,
        &reply.body,
        reply.grpc_status,
    );
    if sent.is_err() {
        // A paused stream stays paused, so nothing passes; Envoy times it out.
        host::log(Level::Error, "a refusal could not be sent");
    }
}

/// Acts on the outcome for a request that waited; the stream is in effect.
pub(super) fn settle_waiting(
    root: &mut Root,
    stream: u32,
    head: &Head<'_>,
    evaluation: Evaluation<'_>,
) -> Progress {
    let Evaluation { outcome, trace } = evaluation;
    let (action, progress) = settle(root, stream, head, outcome, &trace);
    if action == Action::Continue && host::resume_request().is_err() {
        host::log(Level::Error, "a waiting request could not be resumed");
    }
    progress
}

/// Envoy's own 503 means that the backend cannot be reached: 502 tells clients and
/// operators that it was neither the gate nor the backend's own answer.
///
/// Envoy's own answer has a body and two or three headers at this point, or, for
/// gRPC, trailers only. What looks otherwise is the backend's, and is let go without
/// a call into the proxy unless a record waits for its status.
pub(super) fn on_response_headers(
    root: &mut Root,
    passed: &Passed,
    headers: usize,
    end: bool,
) -> Action {
    let family = passed.endpoint.map(|endpoint| endpoint.family);
    let grpc = family == Some(Family::Grpc);
    let may_be_own = if grpc {
        end
    } else {
        !end && headers <= MAX_OWN_HEADERS
    };
    if passed.record.is_none() && !may_be_own {
        return Action::Continue;
    }
    let status = host::header(Map::Response, ":status").unwrap_or_default();
    if may_be_own && (grpc || *status == *b"503") && is_unreachable() {
        let id = host::property("request\0id").unwrap_or_default();
        let head = Head {
            content_type: match (family, passed.json) {
                (Some(Family::Grpc), _) => Occurrence::Once(b"application/grpc"),
                (_, true) => Occurrence::Once(b"application/json"),
                _ => Occurrence::Absent,
            },
            request_id: Occurrence::Once(&id),
            ..Head::default()
        };
        let denial = Denial::BackendUnavailable;
        let realm = root.realm();
        log_passed(passed.record.as_ref(), Some(denial.status()));
        root.metrics.decided(passed.endpoint, Some(denial));
        send(&reply::deny(denial, family, &head, &realm, root.entropy()));
        return Action::Pause;
    }
    let status = std::str::from_utf8(&status)
        .ok()
        .and_then(|status| status.parse().ok());
    log_passed(passed.record.as_ref(), status);
    Action::Continue
}

/// Most headers of an answer that Envoy makes itself: status, length, type, and one
/// that another filter may have added.
const MAX_OWN_HEADERS: usize = 4;

/// A request that passed is gone without an answer.
pub(super) fn on_gone(passed: &Passed) {
    log_passed(passed.record.as_ref(), None);
}

fn log_passed(record: Option<&Record>, status: Option<u16>) {
    if let Some(record) = record {
        host::log(Level::Info, &record.with_status(status));
    }
}

/// Whether the response is Envoy's, for want of an upstream that answers.
fn is_unreachable() -> bool {
    let details = host::property("response\0code_details").unwrap_or_default();
    [
        &b"cluster_not_found"[..],
        b"no_healthy_upstream",
        b"upstream_reset_before_response_started",
    ]
    .iter()
    .any(|kind| details.starts_with(kind))
}
