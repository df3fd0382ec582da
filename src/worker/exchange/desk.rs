//! What the steps of an exchange work with, and how they report.

use super::cors::Cors;
use crate::audit::{self, Facts, Record};
use crate::authn::authenticator::Lent;
use crate::authz::endpoint::{Endpoint, ErrorFormat};
use crate::config::AuditLog;
use crate::gate::{Attempt, DecisionFacts, Evaluation};
use crate::reply::{self, Reply};
use crate::words::denial::Denial;
use crate::words::request::{Head, Occurrence};
use crate::words::time::{Monotonic, Now};
use crate::words::verdict::Verdict;
use crate::worker::commons::Commons;
use crate::worker::counters::Count;
use crate::worker::effect::{Effect, Level, Sink};
use crate::worker::event::{Lazy, StreamId};
use crate::worker::headers::HeaderBlock;
use crate::worker::room::{Party, Room};
use crate::worker::root::Root;

/// What a step works with: the stream, its root, and what all streams share.
pub struct Desk<'a> {
    /// The number of the stream.
    pub stream: StreamId,
    /// The configuration that decides on it.
    pub root: &'a mut Root,
    /// What all streams of the worker share.
    pub commons: &'a mut Commons,
    /// The current time, as exactly as the event provides it.
    pub now: Now,
    /// Whether the head has been held back since an earlier event.
    pub held: bool,
    /// Takes the effects.
    pub out: &'a mut dyn Sink,
}

/// A request, with its head as it was received.
#[derive(Clone, Copy)]
pub struct Case<'a> {
    /// Its headers.
    pub headers: &'a HeaderBlock,
    /// Whether nothing follows the head.
    pub end: bool,
    /// When the request arrived.
    pub arrived: Monotonic,
    /// The address of the peer.
    pub peer: Lazy<'a>,
    /// Where it came in.
    pub entrance: Lazy<'a>,
}

/// How to obtain a peer's address.
pub(super) enum Peer<'a> {
    Ask(Lazy<'a>),
    Known(Option<&'a [u8]>),
}

/// What is still known about a head if only its endpoint was kept.
pub(super) fn head_for<'a>(
    endpoint: Option<&'static Endpoint>,
    json: bool,
    id: &'a [u8],
    cors: &'a Cors,
) -> Head<'a> {
    let error_format = endpoint.map(|endpoint| endpoint.error_format);
    let content_type: Occurrence<'a> = match (error_format, json) {
        (Some(ErrorFormat::Grpc), _) => Occurrence::Once(b"application/grpc"),
        (_, true) => Occurrence::Once(b"application/json"),
        _ => Occurrence::Absent,
    };
    Head {
        content_type,
        request_id: Occurrence::Once(id),
        origin: cors.origin(),
        ..Head::default()
    }
}

impl Desk<'_> {
    pub(super) fn decide<'h>(&mut self, head: &Head<'h>, attempt: Attempt) -> Evaluation<'h> {
        let Commons { tokens, engine, .. } = &mut *self.commons;
        let mut lent = Lent {
            tokens,
            engine: engine.as_ref(),
        };
        self.root.gate.decide(head, attempt, &mut lent)
    }

    /// Whether one more request of that party may wait.
    pub(super) fn has_room(&self, party: Party) -> bool {
        let config = self.root.gate.config();
        let most = config.limits.waiting_requests;
        let mut sources: Vec<_> = self.root.sources().map(|(_, source)| source).collect();
        sources.dedup();
        let none = Room::default();
        let known = self.commons.rooms.known(self.root.id());
        let room = known.map_or(&none, |rooms| &rooms.waiting);
        // If there is only one provider and nothing else to wait for, all places belong to it.
        if sources.len() == 1 && config.directory().is_none() {
            room.has_any(most)
        } else {
            room.has_place([party], most)
        }
    }

    /// The peer's address, kept only if a log line may need it. Asking for it costs as much as
    /// the rest of a record, and the access log has it anyway.
    pub(super) fn peer(&self, peer: &Peer<'_>) -> Option<Box<[u8]>> {
        if self.root.gate.config().audit.log == AuditLog::None {
            return None;
        }
        match peer {
            Peer::Ask(ask) => ask(),
            Peer::Known(known) => known.map(Into::into),
        }
    }

    pub(super) fn denial(
        &mut self,
        denial: Denial,
        error_format: Option<ErrorFormat>,
        head: &Head<'_>,
    ) -> Reply {
        let entropy = self.commons.dice.roll();
        let realm = &self.root.gate.config().realm;
        let mut reply = reply::deny(denial, error_format, head, realm, entropy);
        Cors::of(&self.root.gate, head).mark(&mut reply);
        reply
    }

    /// Answers the stream. Nothing of its request goes on to the backend.
    pub(super) fn answer(&mut self, reply: &Reply) {
        let stream = self.stream;
        self.out.emit(Effect::Reply { stream, reply });
    }

    /// Counts and records a decision. Returns the record if it is to be logged with the status
    /// that the backend will give.
    pub(super) fn decided(
        &mut self,
        head: &Head<'_>,
        decision: &DecisionFacts<'_>,
        verdict: Verdict,
        reported: bool,
        peer: &Peer<'_>,
    ) -> Option<Record> {
        self.count(Count::Decision {
            endpoint: decision.endpoint,
            verdict,
        });
        let config = self.root.gate.config();
        let logged = match config.audit.log {
            AuditLog::All => true,
            AuditLog::Denied => matches!(verdict, Verdict::Denied(_)),
            AuditLog::None => false,
        };
        if !logged && !config.audit.access_log {
            return None;
        }
        let source = logged.then(|| self.peer(peer)).flatten();
        let facts = Facts {
            time: self.now.wall,
            verdict,
            source: source.as_deref(),
            reported,
        };
        let access_log = config.audit.access_log;
        let mut record = audit::record(&mut self.root.gate, head, decision, facts);
        let status = verdict.status().filter(|_| !reported);
        let stream = self.stream;
        if access_log {
            self.out.emit(Effect::FilterState {
                stream,
                record: record.with_status(status),
            });
        }
        if !logged {
            return None;
        }
        if status.is_some() {
            self.log_record(Some(&record), status);
            return None;
        }
        Some(record)
    }

    /// Counts what a decision looked up and verified.
    pub(super) fn count_lookups(&mut self, decision: &DecisionFacts<'_>) {
        if let Some(hit) = decision.cached {
            self.out.emit(Effect::Count {
                count: Count::Lookup { hit },
                about: None,
            });
        }
        self.count_verifications(decision);
    }

    /// Counts what was verified for a decision.
    pub(super) fn count_verifications(&mut self, decision: &DecisionFacts<'_>) {
        let authenticator = self.root.gate.authenticator();
        for &(provider, algorithm, held) in &decision.verified {
            let Some(provider) = authenticator.provider(provider) else {
                continue;
            };
            self.out.emit(Effect::Count {
                count: Count::Verification {
                    provider: &provider.rules.name,
                    algorithm,
                    held,
                },
                about: None,
            });
        }
        if let Some((provider, values)) = decision.dropped
            && let Some(provider) = authenticator.provider(provider)
        {
            self.out.emit(Effect::Count {
                count: Count::GroupsDropped {
                    provider: &provider.rules.name,
                    values,
                },
                about: None,
            });
        }
    }

    pub(super) fn count(&mut self, count: Count<'_>) {
        let about = Some(self.stream);
        self.out.emit(Effect::Count { count, about });
    }

    pub(super) fn log(&mut self, level: Level, line: &str) {
        self.out.emit(Effect::Log {
            level,
            line,
            about: None,
        });
    }

    /// Writes the record of a request whose status is known.
    pub(super) fn log_record(&mut self, record: Option<&Record>, status: Option<u16>) {
        if let Some(record) = record {
            log_record(record, status, self.stream, self.out);
        }
    }
}

pub(super) fn log_record(
    record: &Record,
    status: Option<u16>,
    stream: StreamId,
    out: &mut dyn Sink,
) {
    let mut record = record.clone();
    out.emit(Effect::Log {
        level: Level::Info,
        line: record.with_status(status),
        about: Some(stream),
    });
}
