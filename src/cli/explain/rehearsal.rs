//! One request through a worker, handed in as a host would do it. The wall clock stands still, and
//! there is no backend behind the gate.

use std::collections::VecDeque;

use crate::authn::keys::{InModule, SignatureEngine};
use crate::cli::console::Fetched;
use crate::forward::Edit;
use crate::reply::Reply;
use crate::words::verdict::Verdict;
use crate::worker::counters::Count;
use crate::worker::driver::{Driver, Performed, Proxy};
use crate::worker::{
    Action, CallId, CallOutcome, Effect, Event, HeaderBlock, Level, Reading, ResponseHead, RootId,
    StreamId, Swap, Worker,
};

use super::call::Call;
use super::request::{Fields, Request};
use super::sources::Sources;

const ROOT: RootId = RootId(1);
const STREAM: StreamId = StreamId(2);

/// The reading of the monotonic clock at the beginning, in nanoseconds.
const UPTIME: u64 = 1_000_000_000_000;

/// The time between two ticks, in nanoseconds: while keys are fetched, and while the request
/// waits.
const TICK: u64 = 1_000_000_000;
const TICK_WAITING: u64 = 100_000_000;

/// How long the answer of a server takes, in nanoseconds.
const ROUND_TRIP: u64 = 20_000_000;

/// How many ticks pass before the request comes, so that the discovery document, the keys and the
/// organizations can be fetched.
const TICKS_BEFORE: usize = 3;

/// More ticks than the longest wait takes.
const MAX_TICKS: usize = 1_000;

/// The seed of the worker's random numbers, which have no effect on what is shown.
const SEED: u64 = 7;

/// The address of the client, which is not shown.
const PEER: &[u8] = b"127.0.0.1:1";

/// A change of a header.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Change {
    Add(Vec<u8>, Vec<u8>),
    Remove(Vec<u8>),
    Set(Vec<u8>, Vec<u8>),
}

impl From<&Edit<'_>> for Change {
    fn from(edit: &Edit<'_>) -> Self {
        match edit {
            Edit::Add(name, value) => Self::Add(name.to_vec(), value.to_vec()),
            Edit::Remove(name) => Self::Remove(name.to_vec()),
            Edit::Set(name, value) => Self::Set(name.to_vec(), value.to_vec()),
        }
    }
}

impl Change {
    /// Applies the change to a header list.
    fn apply(&self, fields: &mut Fields) {
        match self {
            Self::Add(name, value) => fields.push((name.clone(), value.clone())),
            Self::Remove(name) => fields.retain(|(known, _)| known != name),
            Self::Set(name, value) => {
                fields.retain(|(known, _)| known != name);
                fields.push((name.clone(), value.clone()));
            }
        }
    }
}

/// A proxy that records what the worker wants it to do.
#[derive(Default)]
struct Recorder {
    wall: u64,
    mono: u64,
    calls: VecDeque<Call>,
    edits: Vec<Change>,
    response_edits: Vec<Change>,
    body: Option<Vec<u8>>,
    reply: Option<Reply>,
    resumed: bool,
    verdict: Option<Verdict>,
    record: Option<String>,
    log: Vec<(Level, String)>,
}

impl Proxy for Recorder {
    fn clocks(&mut self) -> Reading {
        Reading {
            wall: Some(self.wall),
            mono: Some(self.mono),
        }
    }

    fn perform(&mut self, effect: &Effect<'_>) -> Performed {
        match effect {
            Effect::Edit { edit, .. } => self.edits.push(edit.into()),
            Effect::EditResponse { edit, .. } => self.response_edits.push(edit.into()),
            Effect::ReplaceBody { body, .. } => self.body = Some(body.to_vec()),
            Effect::Reply { reply, .. } => self.reply = Some((*reply).clone()),
            Effect::Resume { .. } => self.resumed = true,
            Effect::FilterState { record, .. } => self.record = Some((*record).to_owned()),
            Effect::Call {
                call,
                headers,
                timeout,
                ..
            } => {
                self.calls.push_back(Call::new(*call, *timeout, headers));
            }
            Effect::Log {
                level, line, about, ..
            } => match about {
                Some(_) => {
                    self.record.get_or_insert_with(|| (*line).to_owned());
                }
                None => self.log.push((*level, (*line).to_owned())),
            },
            Effect::Count {
                count: Count::Decision { verdict, .. },
                ..
            } => self.verdict = Some(*verdict),
            // There are no other workers to share anything with.
            Effect::Look { .. } => return Performed::Looked(None),
            Effect::Swap { .. } => return Performed::Swapped(Swap::Unshared),
            Effect::DropTrailers { .. }
            | Effect::TickEvery { .. }
            | Effect::Count { .. }
            | Effect::Show { .. } => {}
        }
        Performed::Done
    }
}

/// The request that the backend receives.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Forwarded {
    /// The headers, with the pseudo-headers.
    pub(super) fields: Fields,
    /// The body that replaces the client's, if it is replaced.
    pub(super) body: Option<Vec<u8>>,
}

/// What becomes of the request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Fate {
    /// The gate answers it.
    Answered(Reply),
    /// The gate forwards it.
    Forwarded {
        request: Forwarded,
        /// The changes of the backend's answer.
        response: Vec<Change>,
    },
}

/// The outcome of a rehearsal.
pub(super) struct Rehearsal {
    pub(super) fate: Fate,
    /// `None` if nothing was decided, as when the gate answers a health check.
    pub(super) verdict: Option<Verdict>,
    /// The record in the form that the configuration asks for, if there is one.
    pub(super) record: Option<String>,
    /// The other lines of the gate's log.
    pub(super) log: Vec<(Level, String)>,
    driver: Driver<Recorder>,
}

impl Rehearsal {
    /// The worker, in its state after the request.
    pub(super) const fn worker(&self) -> &Worker {
        self.driver.worker()
    }
}

/// What a rehearsal takes besides the request.
pub(super) struct Stage<'a, 's> {
    pub(super) document: &'a [u8],
    pub(super) environment: &'a [(String, String)],
    /// The wall clock, in nanoseconds since the Unix epoch.
    pub(super) now: u64,
    pub(super) sources: &'a mut Sources<'s>,
}

impl Stage<'_, '_> {
    /// Sends the request through a worker. `None` if the worker does not come to a decision, which
    /// is a fault of this command.
    pub(super) fn play(self, request: &Request) -> Option<Rehearsal> {
        let recorder = Recorder {
            wall: self.now,
            mono: UPTIME,
            ..Recorder::default()
        };
        let engine: Box<dyn SignatureEngine> = Box::new(InModule);
        let mut play = Play {
            driver: Driver::new(Worker::new(engine, SEED), recorder),
            sources: self.sources,
        };
        play.driver.on(Event::Configured {
            root: ROOT,
            document: self.document,
            environment: self.environment,
        });
        for _ in 0..TICKS_BEFORE {
            play.tick(TICK);
        }
        let fate = play.request(request)?;
        let mut driver = play.driver;
        let recorder = driver.proxy();
        Some(Rehearsal {
            fate,
            verdict: recorder.verdict,
            record: recorder.record.take(),
            log: std::mem::take(&mut recorder.log),
            driver,
        })
    }
}

struct Play<'a, 's> {
    driver: Driver<Recorder>,
    sources: &'a mut Sources<'s>,
}

impl Play<'_, '_> {
    fn pass(&mut self, nanos: u64) {
        let recorder = self.driver.proxy();
        recorder.mono = recorder.mono.saturating_add(nanos);
    }

    /// Lets time pass, tells the worker, and answers its requests. Only the monotonic clock moves
    /// on: the wall clock stands still, so that a token is equally valid throughout.
    fn tick(&mut self, nanos: u64) {
        self.pass(nanos);
        self.driver.on(Event::Tick { root: ROOT });
        self.answer_calls();
    }

    fn answer_calls(&mut self) {
        // An answer may make the worker ask again, as for keys after a discovery document. Those
        // requests are answered in the same round.
        while let Some(call) = self.driver.proxy().calls.pop_front() {
            self.pass(ROUND_TRIP);
            match self.sources.answer(&call) {
                None => self.answer(call.id, CallOutcome::Nothing),
                Some(fetched) => self.respond(call.id, &fetched),
            }
        }
    }

    fn answer(&mut self, call: CallId, answer: CallOutcome<'_>) {
        self.driver.on(Event::Answered { call, answer });
    }

    fn respond(&mut self, call: CallId, fetched: &Fetched) {
        let header = |name: &str| {
            let found = fetched.headers.iter().find(|(known, _)| known == name);
            found.map(|(_, value)| value.as_slice())
        };
        let status = fetched.status.to_string();
        let answer = CallOutcome::Response {
            status: status.as_bytes(),
            cache_control: header("cache-control"),
            content_encoding: header("content-encoding"),
            etag: header("etag"),
            size: fetched.body.len(),
            body: &|| Some(fetched.body.as_slice().into()),
        };
        self.answer(call, answer);
    }

    fn request(&mut self, request: &Request) -> Option<Fate> {
        let mut fields = request.fields();
        let pairs = fields.iter();
        let pairs: Vec<(&[u8], &[u8])> = pairs
            .map(|(name, value)| (name.as_slice(), value.as_slice()))
            .collect();
        let headers = HeaderBlock::of(&pairs);
        self.driver.on_stream(
            STREAM,
            Event::Opened {
                stream: STREAM,
                root: ROOT,
            },
        );
        let mut action = self.driver.on_stream(
            STREAM,
            Event::Head {
                stream: STREAM,
                headers: &headers,
                end: request.body.is_empty(),
                peer: &|| Some(PEER.into()),
                entrance: &|| None,
            },
        );
        for _ in 0..MAX_TICKS {
            if action == Action::Continue || self.driver.proxy().reply.is_some() {
                break;
            }
            self.answer_calls();
            self.tick(TICK_WAITING);
            if std::mem::take(&mut self.driver.proxy().resumed) {
                action = Action::Continue;
            }
        }
        let body = &request.body;
        if action == Action::Continue && !body.is_empty() {
            action = self.driver.on_stream(
                STREAM,
                Event::Body {
                    stream: STREAM,
                    size: body.len(),
                    end: true,
                    read: &|| Some(body.as_slice().into()),
                },
            );
        }
        if let Some(reply) = self.driver.proxy().reply.take() {
            return Some(Fate::Answered(reply));
        }
        if action != Action::Continue {
            return None;
        }
        self.driver.on_stream(
            STREAM,
            Event::ResponseHead {
                stream: STREAM,
                headers: 9,
                end: false,
                head: &GoodAnswer,
            },
        );
        let recorder = self.driver.proxy();
        for change in &recorder.edits {
            change.apply(&mut fields);
        }
        Some(Fate::Forwarded {
            request: Forwarded {
                fields,
                body: recorder.body.take(),
            },
            response: std::mem::take(&mut recorder.response_edits),
        })
    }
}

/// The head of a backend's answer with status 200.
struct GoodAnswer;

impl ResponseHead for GoodAnswer {
    fn status(&self) -> Option<u16> {
        Some(200)
    }

    fn details(&self) -> Box<[u8]> {
        b"via_upstream".as_slice().into()
    }

    fn request_id(&self) -> Box<[u8]> {
        Box::default()
    }
}
