//! The states of an exchange, each with exactly what it needs.

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

/// Most headers of an answer that a proxy makes itself: status, length, type, and one
/// that another filter may have added.
const MAX_OWN_HEADERS: usize = 4;

/// Where a request stands.
#[derive(Debug)]
pub enum Exchange {
    /// Its head has not come.
    Opened {
        /// The configuration that decides about it.
        root: RootId,
    },
    /// Its head is held back until something is known.
    Waiting(Box<Waiting>),
    /// Its head is on its way, its body is read.
    Reading(Box<Reading>),
    /// It is on its way to the backend.
    Forwarded(Forwarded),
    /// Its answer has begun, and is ended when its time is up.
    Streaming(Streaming),
    /// It was answered here; nothing more of it goes on.
    Refused,
    /// Nothing is to be done about it any more.
    Done,
}

/// A request that waits, with all that is needed to decide again.
#[derive(Debug)]
pub struct Waiting {
    /// The configuration that decides about it.
    pub root: RootId,
    /// What it waits for.
    pub cause: Cause,
    /// Until when.
    pub deadline: Monotonic,
    /// Whose place it holds.
    pub(super) party: Party,
    pub(super) arrived: Monotonic,
    /// What a record says if nobody decides about it.
    pub(super) facts: DecisionFacts<'static>,
    pub(super) headers: HeaderBlock,
    pub(super) end: bool,
    pub(super) peer: Option<Box<[u8]>>,
}

/// What a request waits for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Cause {
    /// What the directory of projects says.
    Directory(Question),
    /// A newer document of keys.
    Keys {
        /// From this source.
        source: SourceId,
        /// What is wanted of it.
        need: Need,
        /// Why the request is refused if there is none in time.
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

/// A request whose body is read, with all that is needed to judge it.
#[derive(Debug)]
pub struct Reading {
    /// The configuration that decides about it.
    pub root: RootId,
    /// When its body must have ended.
    pub deadline: Monotonic,
    /// Whose place it holds.
    pub(super) parties: Box<[Party]>,
    pub(super) form: Form,
    pub(super) cors: Cors,
    /// The tenants that are asked for, in their one spelling, unless it is a project's.
    pub(super) tenants: Option<Box<[u8]>>,
    pub(super) headers: HeaderBlock,
    pub(super) endpoint: Option<&'static Endpoint>,
    pub(super) credential: Option<CredentialKind>,
    pub(super) session: Option<Arc<Session>>,
    pub(super) scope: Option<Arc<Scope>>,
    pub(super) peer: Option<Box<[u8]>>,
    /// What has passed of a body that passes as it is.
    pub(super) heard: Vec<u8>,
}

/// A request that is on its way, with what is needed when its answer comes.
#[derive(Debug)]
pub struct Forwarded {
    /// The configuration that decided about it.
    pub root: RootId,
    /// How long the stream may last that it opens, if it opens one.
    pub lifetime: Option<Lifetime>,
    pub(super) endpoint: Option<&'static Endpoint>,
    pub(super) json: bool,
    pub(super) cors: Cors,
    pub(super) record: Option<Record>,
    /// What opened the stream, where grants may change before it ends.
    pub(super) opening: Option<Box<Opening>>,
}

/// A stream that goes on.
#[derive(Debug)]
pub struct Streaming {
    /// The configuration that decided about it.
    pub root: RootId,
    /// How long it may last.
    pub lifetime: Lifetime,
    pub(super) endpoint: Option<&'static Endpoint>,
    pub(super) opening: Option<Box<Opening>>,
}

impl Exchange {
    /// The configuration that the exchange belongs to, while it matters.
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

    /// Whether there has been a decision about it.
    #[must_use]
    pub const fn is_decided(&self) -> bool {
        match self {
            Self::Opened { .. } | Self::Waiting(_) | Self::Reading(_) => false,
            Self::Forwarded(_) | Self::Streaming(_) | Self::Refused | Self::Done => true,
        }
    }

    /// Takes back what [`Exchange::enter`] has the worker keep.
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
                ..
            })
            | Self::Streaming(Streaming { lifetime, .. }) => {
                commons.lifetimes.end(stream, *lifetime);
            }
            Self::Opened { .. } | Self::Forwarded(_) | Self::Refused | Self::Done => {}
        }
    }

    /// Has the worker keep what the state needs besides itself: its deadlines, and its
    /// place among those who wait.
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
                ..
            })
            | Self::Streaming(Streaming { lifetime, .. }) => {
                commons.lifetimes.begin(stream, *lifetime);
            }
            Self::Opened { .. } | Self::Forwarded(_) | Self::Refused | Self::Done => {}
        }
    }

    /// Whether nothing hangs on the answer whose head has so many headers, and an end or
    /// not: by far the most are such.
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

    /// What opened it, if it is a stream whose grant may change before it ends.
    #[must_use]
    pub fn opening(&self) -> Option<&Opening> {
        match self {
            Self::Forwarded(Forwarded { opening, .. })
            | Self::Streaming(Streaming { opening, .. }) => opening.as_deref(),
            _ => None,
        }
    }

    /// How long the stream may last, and what it is, if it is one that goes on.
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

/// What is kept of a request until its answer comes.
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
    /// It is gone without an answer: its record is not.
    pub fn log_gone(&self, stream: StreamId, out: &mut dyn Sink) {
        if let Some(record) = &self.record {
            log_record(record, None, stream, out);
        }
    }

    /// What [`super::response::on_response`] needs of it.
    #[must_use]
    pub const fn kept(&self) -> Kept<'_> {
        Kept {
            endpoint: self.endpoint,
            json: self.json,
            cors: &self.cors,
            record: self.record.as_ref(),
        }
    }

    /// It goes on after its answer has begun.
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
    /// What opened it, and how much it was granted.
    #[must_use]
    pub fn opening(&self) -> Opening {
        Opening::of_form(
            self.headers.clone(),
            self.scope.clone(),
            self.tenants.clone(),
        )
    }

    /// What [`super::response::on_response`] needs of it.
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
