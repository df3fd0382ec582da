//! One request: read its head, decide, act; then watch for Envoy's own 503.

use super::abi::Status;
use super::host::{self, Action, Level, Map};
use super::root::Root;
use crate::audit::{self, Facts, Record};
use crate::config::{AuditLog, Mode};
use crate::denial::Denial;
use crate::endpoint::{Endpoint, Family};
use crate::forward::{self, Edit};
use crate::gate::{Attempt, Evaluation, Outcome, Permit, Trace};
use crate::reply;
use crate::request::{Head, Occurrence};

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
    /// A stream whose response has begun; it is ended when its time is up.
    Tracked,
    /// Kept until keys arrive.
    Waiting,
}

impl Progress {
    /// Where a request stands once a response has begun; gives what it was before.
    pub(super) fn answered(&mut self) -> Self {
        let next = match self {
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
            Self::Done | Self::Waiting => false,
        }
    }
}

/// How often one request may ask for a fetch before it just waits.
const ASKS: usize = 3;

/// Decides about a request whose headers have arrived.
pub(super) fn on_request_headers(root: &mut Root, stream: u32) -> (Action, Progress) {
    let Ok(pairs) = host::pairs(Map::Request) else {
        refuse_broken(&Head::default());
        return (Action::Pause, Progress::Done);
    };
    let subject_header = root.subject_header();
    let mut seen: usize = 0;
    let headers = pairs.iter().inspect(|_| seen = seen.saturating_add(1));
    let head = Head::read(headers, subject_header.as_deref());
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
    if let Outcome::Wait { provider, .. } = evaluation.outcome {
        let (endpoint, cached) = (evaluation.trace.endpoint, evaluation.trace.cached);
        return match root.wait(stream, provider, attempt.arrived, pairs) {
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
        };
    }
    let Evaluation { outcome, trace } = evaluation;
    settle(root, stream, &head, outcome, &trace)
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
        Outcome::Permit(permit) => match pass(root, head, &permit) {
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
            if root.mode() == Mode::Report {
                return report(root, head, trace, denial);
            }
            deny(root, head, trace, denial)
        }
        Outcome::NeedsClock | Outcome::Wait { .. } => {
            deny(root, head, trace, Denial::GateUnavailable)
        }
    }
}

fn pass(root: &mut Root, head: &Head<'_>, permit: &Permit<'_>) -> Result<(), Status> {
    let Some(gate) = root.gate() else {
        return Err(Status::NOT_FOUND);
    };
    apply(&forward::permitted(permit, head, &gate.config().forward))
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
    let reported = gate.config().mode == Mode::Report;
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
