//! From the head of a request, or the end of a wait, to an outcome and its effects.

use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::Arc;

use super::cors::Cors;
use super::desk::{Case, Desk, Peer, head_for};
use super::opening::Opening;
use super::state::{Cause, Exchange, Forwarded, Reading, Waiting};
use crate::authn::key_cache::Need;
use crate::authz::endpoint::{Endpoint, ErrorFormat};
use crate::authz::projects::Question;
use crate::forward;
use crate::gate::{Attempt, DecisionFacts, Evaluation, Outcome, Passage};
use crate::reply;
use crate::words::denial::Denial;
use crate::words::hash::QuickHash;
use crate::words::identity::ProviderIndex;
use crate::words::own_answer::{OwnAnswer, Unhealthy};
use crate::words::request::Head;
use crate::words::tenant::TenantSet;
use crate::words::time::Time;
use crate::words::verdict::Verdict;
use crate::worker::counters::Count;
use crate::worker::directory::Caller;
use crate::worker::effect::{Effect, Level};
use crate::worker::event::Action;
use crate::worker::lifetimes::Lifetime;
use crate::worker::room::{Party, Room};

/// How long a body that is held back may take, in milliseconds. A proxy would wait for minutes,
/// or forever if it has no room to read on.
const BODY_TIME: u64 = 30_000;

/// The maximum number of forms that a worker reads at a time. Together they take at most 64
/// MiB.
const MAX_READINGS: usize = 256;

/// The next state of the exchange, and how the host proceeds.
pub type Step = (Exchange, Action);

/// The maximum number of questions to the directory that may be under way for each request that
/// may wait.
const QUESTIONS_A_SEAT: usize = 4;

/// Decides on the head of a request. `None` asks for the clocks; nothing has changed then.
pub fn on_head(desk: &mut Desk<'_>, case: &Case<'_>, time: Time) -> Option<Step> {
    let (head, whole) = read(desk, case);
    if !whole {
        // A head that cannot be read completely cannot be cleaned either, so the request does
        // not pass even if refusals are only recorded.
        let (denial, facts) = (Denial::GateUnavailable, DecisionFacts::default());
        return Some(deny(desk, &head, &facts, denial, &Peer::Ask(case.peer)));
    }
    let arrived = case.arrived;
    let evaluation = desk.decide(&head, Attempt { arrived, time });
    settle(desk, case, &head, evaluation)
}

/// Refuses the request, because the host cannot be relied on.
pub fn on_faulty_host(desk: &mut Desk<'_>, case: &Case<'_>) -> Step {
    let (head, whole) = read(desk, case);
    let (denial, facts) = (Denial::GateUnavailable, DecisionFacts::default());
    if whole && desk.root.gate.is_health_check(&head) {
        let answer = OwnAnswer::Unhealthy(Unhealthy::FaultyHost);
        return answer_here(desk, case, &head, &facts, answer);
    }
    if whole {
        return refuse(desk, case, &head, &facts, denial);
    }
    deny(desk, &head, &facts, denial, &Peer::Ask(case.peer))
}

/// Reads the head of a request, and returns whether it could be read completely.
fn read<'a>(desk: &Desk<'_>, case: &Case<'a>) -> (Head<'a>, bool) {
    let mut seen: usize = 0;
    let headers = case.headers.iter();
    let headers = headers.inspect(|_| seen = seen.saturating_add(1));
    let mut head = Head::read(headers, desk.root.own_headers());
    head.has_body = !case.end;
    (head, case.headers.has_all(seen))
}

/// Acts on an outcome. `None` asks for the clocks.
fn settle(
    desk: &mut Desk<'_>,
    case: &Case<'_>,
    head: &Head<'_>,
    evaluation: Evaluation<'_>,
) -> Option<Step> {
    let Evaluation { outcome, facts } = evaluation;
    match outcome {
        Outcome::NeedsClock => None,
        Outcome::Answer(answer) => Some(answer_here(desk, case, head, &facts, answer)),
        Outcome::Forward(passage) => Some(pass(desk, case, head, &facts, passage)),
        Outcome::Refuse(denial) => {
            let peer = Peer::Ask(case.peer);
            Some(deny(desk, head, &facts, denial, &peer))
        }
        Outcome::AwaitKeys {
            provider,
            need,
            otherwise,
        } => Some(await_keys(
            desk,
            case,
            head,
            &facts,
            (provider, need, otherwise),
        )),
        Outcome::Ask(question) => Some(ask(desk, case, head, &facts, question)),
    }
}

/// Refuses a request, if refusals take effect.
fn refuse(
    desk: &mut Desk<'_>,
    case: &Case<'_>,
    head: &Head<'_>,
    facts: &DecisionFacts<'_>,
    denial: Denial,
) -> Step {
    match desk.root.gate.refuse(denial, facts.endpoint) {
        Outcome::Forward(passage) => pass(desk, case, head, facts, passage),
        _ => deny(desk, head, facts, denial, &Peer::Ask(case.peer)),
    }
}

fn await_keys(
    desk: &mut Desk<'_>,
    case: &Case<'_>,
    head: &Head<'_>,
    facts: &DecisionFacts<'_>,
    (provider, need, otherwise): (ProviderIndex, Need, Denial),
) -> Step {
    let limits = desk.root.gate.config().limits;
    let deadline = case.arrived.after(limits.wait);
    let source = desk.root.source(provider);
    let fetch = source.and_then(|source| desk.commons.sources.get_mut(source));
    let (Some(source), Some(fetch)) = (source, fetch) else {
        return refuse(desk, case, head, facts, Denial::GateUnavailable);
    };
    let expected = fetch.want(need, desk.now, deadline, desk.out);
    // A request that passes whatever is found does not wait for the findings.
    let holds = limits.wait > 0 && desk.root.gate.enforces(facts.endpoint);
    if !expected || !holds {
        fetch.owe(desk.now.mono);
        return refuse(desk, case, head, &shortened(facts), otherwise);
    }
    let awaited = Cause::Keys {
        source,
        need,
        otherwise,
    };
    wait(desk, case, head, facts, awaited)
}

fn ask(
    desk: &mut Desk<'_>,
    case: &Case<'_>,
    head: &Head<'_>,
    facts: &DecisionFacts<'_>,
    question: Question,
) -> Step {
    let config = Arc::clone(desk.root.gate.config());
    let Some(service) = config.directory() else {
        return refuse(desk, case, head, facts, Denial::GateUnavailable);
    };
    let limits = config.limits;
    let (root, now) = (desk.root.id(), desk.now.mono);
    let request_id = head.request_id.once();
    let directory = &mut desk.commons.directory;
    // A place becomes free when the request leaves it, even if the question is still under way.
    // But callers who ask and do not stay must not make the worker keep any number of
    // questions. If no request may wait, a question is still asked, for the benefit of whoever
    // asks again.
    let most = limits.waiting_requests.max(1);
    let most = most.saturating_mul(QUESTIONS_A_SEAT);
    let caller = Caller {
        root,
        party: caller_of(facts),
    };
    let asked = directory.ask(
        caller,
        &question,
        (service, now, most),
        request_id,
        desk.out,
    );
    let denial = match (asked, limits.wait) {
        (false, _) => Denial::WaitingRoomFull,
        // Whoever asks again finds the answer.
        (true, 0) => Denial::DirectoryUnavailable,
        (true, _) => return wait(desk, case, head, facts, Cause::Directory(question)),
    };
    refuse(desk, case, head, &shortened(facts), denial)
}

/// The facts for the record of a request on which nobody decides.
fn shortened(facts: &DecisionFacts<'_>) -> DecisionFacts<'static> {
    DecisionFacts {
        endpoint: facts.endpoint,
        credential: facts.credential,
        refused: facts.refused.clone(),
        cached: facts.cached,
        verified: facts.verified.clone(),
        ..DecisionFacts::default()
    }
}

fn wait(
    desk: &mut Desk<'_>,
    case: &Case<'_>,
    head: &Head<'_>,
    facts: &DecisionFacts<'_>,
    awaited: Cause,
) -> Step {
    let party = match &awaited {
        Cause::Keys { source, .. } => Party::Source(source.0),
        Cause::Directory(_) => caller_of(facts),
    };
    // A request that has waited before has a place, because it gave one back a moment ago.
    if !desk.held && !desk.has_room(party) {
        return refuse(desk, case, head, &shortened(facts), Denial::WaitingRoomFull);
    }
    let limits = desk.root.gate.config().limits;
    let mut kept = shortened(facts);
    if matches!(awaited, Cause::Directory(_)) {
        // The verdict on the token is known, and will be found in the cache when the answer
        // arrives.
        desk.count_lookups(facts);
        kept.cached = None;
    } else {
        desk.count_verifications(facts);
    }
    kept.verified = Vec::new();
    let waiting = Waiting {
        root: desk.root.id(),
        cause: awaited,
        deadline: case.arrived.after(limits.wait),
        party,
        arrived: case.arrived,
        facts: kept,
        headers: case.headers.clone(),
        end: case.end,
        peer: desk.peer(&Peer::Ask(case.peer)),
        entrance: (case.entrance)(),
    };
    desk.root.tick_every(true, desk.out);
    (Exchange::Waiting(Box::new(waiting)), Action::Pause)
}

/// The party of a caller who is authenticated, but whose rights are not known yet. If two
/// callers are mistaken for one, each gets a smaller share, but nothing else changes.
fn caller_of(facts: &DecisionFacts<'_>) -> Party {
    let mut hasher = QuickHash::default().build_hasher();
    if let Some(session) = &facts.session {
        session.principal.provider.hash(&mut hasher);
        session.principal.subject.as_str().hash(&mut hasher);
    }
    Party::Caller(hasher.finish())
}

/// The parties to the place that a form takes while it is read: the caller and each tenant.
fn readers(facts: &DecisionFacts<'_>) -> impl Iterator<Item = Party> {
    let asked = facts.tenants.iter().flat_map(TenantSet::iter);
    let project = facts.tenant.iter().map(|tenant| tenant.as_bytes());
    let tenants = asked.chain(project).map(|tenant| {
        let mut hasher = QuickHash::default().build_hasher();
        hasher.write(tenant);
        Party::Tenant(hasher.finish())
    });
    std::iter::once(caller_of(facts)).chain(tenants)
}

/// Why a waiting request is examined again.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Why {
    /// What it waits for, or something similar, has arrived.
    Came,
    /// What it waits for will not arrive in time.
    Hopeless,
    /// The host can no longer be relied on.
    Faulty,
}

/// Examines a waiting request again.
pub fn on_wake(desk: &mut Desk<'_>, waiting: &Waiting, why: Why) -> Exchange {
    let mut head = Head::read(waiting.headers.iter(), desk.root.own_headers());
    head.has_body = !waiting.end;
    let case = Case {
        headers: &waiting.headers,
        end: waiting.end,
        arrived: waiting.arrived,
        peer: &|| waiting.peer.clone(),
        entrance: &|| waiting.entrance.clone(),
    };
    let facts = &waiting.facts;
    let step = match why {
        Why::Came => {
            let attempt = Attempt {
                arrived: waiting.arrived,
                time: Time::Exact(desk.now),
            };
            let mut evaluation = desk.decide(&head, attempt);
            if matches!(waiting.cause, Cause::Directory(_)) {
                evaluation.facts.cached = None;
            }
            settle(desk, &case, &head, evaluation)
        }
        Why::Hopeless => {
            let denial = waiting.cause.otherwise();
            if let Cause::Keys { source, .. } = waiting.cause
                && let Some(fetch) = desk.commons.sources.get_mut(source)
            {
                fetch.owe(desk.now.mono);
            }
            Some(refuse(desk, &case, &head, facts, denial))
        }
        Why::Faulty => Some(refuse(desk, &case, &head, facts, Denial::GateUnavailable)),
    };
    // The clocks are exact, so nothing can ask for them.
    let (exchange, _) = step.unwrap_or_else(|| {
        refuse(
            desk,
            &case,
            &head,
            &DecisionFacts::default(),
            Denial::GateUnavailable,
        )
    });
    exchange
}

/// Lets a request pass: first come its edits, then the effects that report it.
fn pass(
    desk: &mut Desk<'_>,
    case: &Case<'_>,
    head: &Head<'_>,
    facts: &DecisionFacts<'_>,
    passage: Passage<'_>,
) -> Step {
    let parties: Box<[Party]> = if passage.has_form() {
        readers(facts).collect()
    } else {
        Box::default()
    };
    if !parties.is_empty() {
        let none = Room::default();
        let known = desk.commons.rooms.known(desk.root.id());
        let room = known.map_or(&none, |rooms| &rooms.reading);
        if !room.has_place(parties.iter().copied(), MAX_READINGS) {
            return refuse(desk, case, head, facts, Denial::WaitingRoomFull);
        }
    }
    desk.count_lookups(facts);
    let stream = desk.stream;
    let out = &mut *desk.out;
    let settings = &desk.root.gate.config().forward;
    forward::edits(&passage, head, settings, |edit| {
        out.emit(Effect::Edit { stream, edit });
    });
    if desk.held {
        desk.out.emit(Effect::Resume { stream });
    }
    let root = desk.root.id();
    let denial = passage.denial();
    let lifetime = passage.stream_expires().map(|expires| {
        let limits = desk.root.gate.config().limits;
        Lifetime {
            expires,
            latest: desk.now.mono.after(limits.stream_duration),
        }
    });
    let peer = Peer::Ask(case.peer);
    if let Some(form) = passage.into_form() {
        let deadline = desk.now.mono.after(BODY_TIME);
        let reading = Reading {
            root,
            cors: Cors::of(&desk.root.gate, head),
            tenants: facts
                .tenants
                .as_ref()
                .map(|tenants| tenants.canonical().into()),
            deadline,
            parties,
            form,
            headers: case.headers.clone(),
            endpoint: facts.endpoint,
            credential: facts.credential,
            session: facts.session.clone(),
            scope: facts.scope.clone(),
            peer: desk.peer(&peer),
            heard: Vec::new(),
        };
        return (Exchange::Reading(Box::new(reading)), Action::Continue);
    }
    let reported = denial.is_some();
    let record = desk.decided(head, facts, denial.into(), reported, &peer);
    let opening = lifetime.map(|_| Box::new(Opening::of(case, facts)));
    let forwarded = Forwarded {
        root,
        lifetime,
        cors: Cors::of(&desk.root.gate, head),
        endpoint: facts.endpoint,
        json: is_otlp_json(facts.endpoint, head),
        record,
        opening,
    };
    (Exchange::Forwarded(forwarded), Action::Continue)
}

pub(super) fn is_otlp_json(endpoint: Option<&'static Endpoint>, head: &Head<'_>) -> bool {
    endpoint.is_some_and(|endpoint| endpoint.error_format == ErrorFormat::Otlp)
        && reply::is_json(head)
}

pub(super) fn deny(
    desk: &mut Desk<'_>,
    head: &Head<'_>,
    facts: &DecisionFacts<'_>,
    denial: Denial,
    peer: &Peer<'_>,
) -> Step {
    desk.count_lookups(facts);
    let error_format = facts.endpoint.map(|endpoint| endpoint.error_format);
    let reply = desk.denial(denial, error_format, head);
    desk.answer(&reply);
    desk.decided(head, facts, Verdict::Denied(denial), false, peer);
    (Exchange::Refused, Action::Pause)
}

/// Answers a request without asking a backend.
fn answer_here(
    desk: &mut Desk<'_>,
    case: &Case<'_>,
    head: &Head<'_>,
    facts: &DecisionFacts<'_>,
    answer: OwnAnswer,
) -> Step {
    desk.count_lookups(facts);
    let mut reply = reply::answer(answer, head);
    Cors::of(&desk.root.gate, head).mark(&mut reply);
    desk.answer(&reply);
    if answer.is_decision() {
        let peer = Peer::Ask(case.peer);
        desk.decided(head, facts, Verdict::Answered(answer), false, &peer);
    }
    (Exchange::Refused, Action::Pause)
}

/// Refuses a stream of which the host has refused an effect, whatever that effect was.
/// `uncounted` says that the effect which counts a decision was not performed either.
pub fn on_unperformed(desk: &mut Desk<'_>, exchange: &Exchange, uncounted: bool) -> Exchange {
    let denial = Denial::GateUnavailable;
    if matches!(exchange, Exchange::Refused) {
        // Not even a refusal can be sent. What is held back stays so until the proxy ends it.
        desk.log(Level::Error, "a refusal could not be sent");
        if uncounted {
            desk.count(Count::Decision {
                endpoint: None,
                verdict: Verdict::Denied(denial),
            });
        }
        return Exchange::Refused;
    }
    let endpoint = match exchange {
        Exchange::Forwarded(forwarded) => forwarded.endpoint,
        Exchange::Streaming(streaming) => streaming.endpoint,
        Exchange::Reading(reading) => reading.endpoint,
        Exchange::Waiting(waiting) => waiting.facts.endpoint,
        Exchange::Opened { .. } | Exchange::Refused | Exchange::Done => None,
    };
    let facts = DecisionFacts {
        endpoint,
        ..DecisionFacts::default()
    };
    let head = head_for(endpoint, false, &[], &Cors::Off);
    if uncounted || !exchange.is_decided() {
        let (exchange, _) = deny(desk, &head, &facts, denial, &Peer::Known(None));
        return exchange;
    }
    // The decision has been counted. If there is a record, it says how the request ended.
    let reply = desk.denial(
        denial,
        endpoint.map(|endpoint| endpoint.error_format),
        &head,
    );
    desk.answer(&reply);
    if let Exchange::Forwarded(forwarded) = exchange {
        desk.log_record(forwarded.record.as_ref(), Some(denial.status()));
    }
    Exchange::Refused
}

/// Refuses a request because the host does what it must not do. No part of the request may
/// pass.
pub fn on_breach(desk: &mut Desk<'_>, endpoint: Option<&'static Endpoint>) -> Step {
    let facts = DecisionFacts {
        endpoint,
        ..DecisionFacts::default()
    };
    let head = head_for(endpoint, false, &[], &Cors::Off);
    deny(
        desk,
        &head,
        &facts,
        Denial::GateUnavailable,
        &Peer::Known(None),
    )
}

/// The endpoint that a waiting request is for.
#[must_use]
pub const fn endpoint_of(waiting: &Waiting) -> Option<&'static Endpoint> {
    waiting.facts.endpoint
}
