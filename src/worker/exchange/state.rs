//! The states of an exchange, each of which holds exactly what it needs.

use std::sync::Arc;

use super::cors::Cors;
use super::desk::log_record;
use super::opening::Opening;
use crate::audit::Record;
use crate::authn::key_cache::Need;
use crate::authn::token_cache::Session;
use crate::authz::endpoint::{Endpoint, ErrorFormat};
use crate::authz::projects::Question;
use crate::gate::{DecisionFacts, Form};
use crate::scoping::scope::Scope;
use crate::words::credential::CredentialKind;
use crate::words::denial::Denial;
use crate::words::time::Monotonic;
use crate::worker::commons::Commons;
use crate::worker::effect::Sink;
use crate::worker::event::{RootId, SourceId, StreamId};
use crate::worker::headers::HeaderBlock;
use crate::worker::lifetimes::Lifetime;
use crate::worker::room::Party;

/// The maximum number of headers in an answer that a proxy makes itself: status, length, type,
/// and one that another filter may have added.
const MAX_OWN_HEADERS: usize = 4;

/// The state of a request.
#[derive(Debug)]
pub enum Exchange {
    /// Its head has not arrived.
    Opened {
        /// The configuration that decides on it.
        root: RootId,
    },
    /// Its head is held back until something is known.
    Waiting(Box<Waiting>),
    /// Its head is on its way, and its body is being read.
    Reading(Box<Reading>),
    /// It is on its way to the backend.
    Forwarded(Forwarded),
    /// Its answer has begun, and is ended when its time is up.
    Streaming(Streaming),
    /// It was answered here, and nothing more of it passes.
    Refused,
    /// Nothing remains to be done for it.
    Done,
}

/// A request that waits, with everything that is needed to decide again.
#[derive(Debug)]
pub struct Waiting {
    /// The configuration that decides on it.
    pub root: RootId,
    /// What it waits for.
    pub cause: Cause,
    /// When it stops waiting.
    pub deadline: Monotonic,
    /// The party whose place it holds.
    pub(super) party: Party,
    pub(super) arrived: Monotonic,
    /// The facts for a record if nobody decides on it.
    pub(super) facts: DecisionFacts<'static>,
    pub(super) headers: HeaderBlock,
    pub(super) end: bool,
    pub(super) peer: Option<Box<[u8]>>,
    pub(super) entrance: Option<Box<[u8]>>,
}

/// What a request waits for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Cause {
    /// The answer of the directory of projects.
    Directory(Question),
    /// A newer document of keys.
    Keys {
        /// The source of the document.
        source: SourceId,
        /// What is wanted from the document.
        need: Need,
        /// Why the request is refused if no document arrives in time.
        otherwise: Denial,
    },
}

impl Cause {
    pub(super) const fn otherwise(&self) -> Denial {
        match self {
            Self::Directory(_) => Denial::DirectoryUnavailable,
            Self::Keys { otherwise, .. } => *otherwise,
        }
    }
}

/// A request whose body is being read, with everything that is needed to judge it.
#[derive(Debug)]
pub struct Reading {
    /// The configuration that decides on it.
    pub root: RootId,
    /// When its body must have ended.
    pub deadline: Monotonic,
    /// The parties whose place it holds.
    pub(super) parties: Box<[Party]>,
    pub(super) form: Form,
    pub(super) cors: Cors,
    /// The tenants that it asks for, in their canonical spelling, unless it is a project's.
    pub(super) tenants: Option<Box<[u8]>>,
    pub(super) headers: HeaderBlock,
    pub(super) endpoint: Option<&'static Endpoint>,
    pub(super) credential: Option<CredentialKind>,
    pub(super) session: Option<Arc<Session>>,
    pub(super) scope: Option<Arc<Scope>>,
    pub(super) peer: Option<Box<[u8]>>,
    /// The part of the body that has already passed, if the body passes unchanged.
    pub(super) heard: Vec<u8>,
}

/// A request that is on its way, with what is needed when its answer arrives.
#[derive(Debug)]
pub struct Forwarded {
    /// The configuration that answers for it: the one that decided on it, or the one that has
    /// taken it over.
    pub root: RootId,
    /// How long the stream that it opens may last, if it opens one.
    pub lifetime: Option<Lifetime>,
    pub(super) endpoint: Option<&'static Endpoint>,
    pub(super) json: bool,
    pub(super) cors: Cors,
    pub(super) record: Option<Record>,
    /// The request that opened the stream, if it opens one.
    pub(super) opening: Option<Box<Opening>>,
}

/// A stream that is open.
#[derive(Debug)]
pub struct Streaming {
    /// The configuration that answers for it: the one that decided on it, or the one that has
    /// taken it over.
    pub root: RootId,
    /// How long it may last.
    pub lifetime: Lifetime,
    pub(super) endpoint: Option<&'static Endpoint>,
    pub(super) opening: Option<Box<Opening>>,
}

impl Exchange {
    /// The configuration that the exchange belongs to, as long as that matters.
    #[must_use]
    pub fn root(&self) -> Option<RootId> {
        match self {
            Self::Opened { root } => Some(*root),
            Self::Waiting(waiting) => Some(waiting.root),
            Self::Reading(reading) => Some(reading.root),
            Self::Forwarded(forwarded) => Some(forwarded.root),
            Self::Streaming(streaming) => Some(streaming.root),
            Self::Refused | Self::Done => None,
        }
    }

    /// Whether there has been a decision on it.
    #[must_use]
    pub const fn is_decided(&self) -> bool {
        match self {
            Self::Opened { .. } | Self::Waiting(_) | Self::Reading(_) => false,
            Self::Forwarded(_) | Self::Streaming(_) | Self::Refused | Self::Done => true,
        }
    }

    /// Undoes what [`Exchange::enter`] has noted in the worker.
    pub fn leave(&self, stream: StreamId, commons: &mut Commons) {
        match self {
            Self::Waiting(waiting) => {
                commons.waiting.retain(|known| *known != stream);
                commons
                    .rooms
                    .of(waiting.root)
                    .waiting
                    .give_back([waiting.party]);
                commons.rooms.tidy(waiting.root);
                commons.lifetimes.clear(stream, waiting.deadline);
            }
            Self::Reading(reading) => {
                let parties = reading.parties.iter().copied();
                commons.rooms.of(reading.root).reading.give_back(parties);
                commons.rooms.tidy(reading.root);
                commons.lifetimes.clear(stream, reading.deadline);
            }
            Self::Forwarded(Forwarded {
                lifetime: Some(lifetime),
                root,
                ..
            })
            | Self::Streaming(Streaming { lifetime, root, .. }) => {
                commons.lifetimes.end(stream, *lifetime);
                commons.open.end(*root, stream);
            }
            Self::Opened { .. } | Self::Forwarded(_) | Self::Refused | Self::Done => {}
        }
    }

    /// Notes in the worker what the state needs in addition to itself: its deadlines, and its
    /// place among the requests that wait.
    pub fn enter(&self, stream: StreamId, commons: &mut Commons) {
        match self {
            Self::Waiting(waiting) => {
                commons.waiting.push(stream);
                commons.rooms.of(waiting.root).waiting.take([waiting.party]);
                commons.lifetimes.set(stream, waiting.deadline);
            }
            Self::Reading(reading) => {
                let parties = reading.parties.iter().copied();
                commons.rooms.of(reading.root).reading.take(parties);
                commons.lifetimes.set(stream, reading.deadline);
            }
            Self::Forwarded(Forwarded {
                lifetime: Some(lifetime),
                root,
                ..
            })
            | Self::Streaming(Streaming { lifetime, root, .. }) => {
                commons.lifetimes.begin(stream, *lifetime);
                commons.open.begin(*root, stream);
            }
            Self::Opened { .. } | Self::Forwarded(_) | Self::Refused | Self::Done => {}
        }
    }

    /// Whether an answer with this number of headers, and with or without an end, needs no
    /// attention. Nearly all answers are of this kind.
    #[must_use]
    pub fn expects_nothing_of(&self, head: (usize, bool)) -> bool {
        match self {
            Self::Forwarded(Forwarded {
                lifetime: None,
                record: None,
                cors: Cors::Off,
                endpoint,
                ..
            }) => !may_be_own(*endpoint, head),
            _ => false,
        }
    }

    /// The request that opened it, if it is a stream.
    #[must_use]
    pub fn opening(&self) -> Option<&Opening> {
        match self {
            Self::Forwarded(Forwarded { opening, .. })
            | Self::Streaming(Streaming { opening, .. }) => opening.as_deref(),
            _ => None,
        }
    }

    /// The same stream, with another configuration that answers for it.
    #[must_use]
    pub fn taken_over(mut self, by: RootId) -> Self {
        match &mut self {
            Self::Forwarded(Forwarded { root, .. }) | Self::Streaming(Streaming { root, .. }) => {
                *root = by;
            }
            _ => {}
        }
        self
    }

    /// How long the stream may last, and its endpoint, if it is an open stream.
    #[must_use]
    pub const fn span(&self) -> Option<(Lifetime, Option<&'static Endpoint>)> {
        match self {
            Self::Forwarded(Forwarded {
                lifetime: Some(lifetime),
                endpoint,
                ..
            })
            | Self::Streaming(Streaming {
                lifetime, endpoint, ..
            }) => Some((*lifetime, *endpoint)),
            _ => None,
        }
    }
}

/// What is kept about a request until its answer arrives.
#[derive(Clone, Copy, Debug)]
pub struct Kept<'a> {
    pub(super) endpoint: Option<&'static Endpoint>,
    pub(super) json: bool,
    pub(super) cors: &'a Cors,
    pub(super) record: Option<&'a Record>,
}

/// Whether a response looks like one that a proxy makes itself.
pub(super) fn may_be_own(
    endpoint: Option<&'static Endpoint>,
    (headers, end): (usize, bool),
) -> bool {
    if endpoint.is_some_and(|endpoint| endpoint.error_format == ErrorFormat::Grpc) {
        return end;
    }
    !end && headers <= MAX_OWN_HEADERS
}

impl Forwarded {
    /// Logs the record of a request that is gone without an answer.
    pub fn log_gone(&self, stream: StreamId, out: &mut dyn Sink) {
        if let Some(record) = &self.record {
            log_record(record, None, stream, out);
        }
    }

    /// What [`super::response::on_response`] needs to know about it.
    #[must_use]
    pub const fn kept(&self) -> Kept<'_> {
        Kept {
            endpoint: self.endpoint,
            json: self.json,
            cors: &self.cors,
            record: self.record.as_ref(),
        }
    }

    /// The state of the request once its answer has begun.
    #[must_use]
    pub fn begun(self) -> Exchange {
        match self.lifetime {
            Some(lifetime) => Exchange::Streaming(Streaming {
                root: self.root,
                lifetime,
                endpoint: self.endpoint,
                opening: self.opening,
            }),
            None => Exchange::Done,
        }
    }
}

impl Reading {
    /// The request that opened it, and what it was granted.
    #[must_use]
    pub fn opening(&self) -> Opening {
        Opening::of_form(
            self.headers.clone(),
            self.scope.clone(),
            self.tenants.clone(),
        )
    }

    /// What [`super::response::on_response`] needs to know about it.
    #[must_use]
    pub const fn kept(&self) -> Kept<'_> {
        Kept {
            endpoint: self.endpoint,
            json: false,
            cors: &self.cors,
            record: None,
        }
    }
}
