//! What browsers are told about an answer (Fetch standard, "CORS protocol").
//!
//! A page of a listed origin may read every answer, including a refusal. The headers with which
//! a backend itself says who may read an answer are removed: Mimir lets any page read it.

use crate::forward::Edit;
use crate::gate::Gate;
use crate::reply::Reply;
use crate::words::origin::Origin;
use crate::words::request::{Head, Occurrence};

/// The headers that a backend may not set, because the gate does.
const BACKENDS_OWN: [&str; 7] = [
    "access-control-allow-origin",
    "access-control-allow-credentials",
    "access-control-allow-headers",
    "access-control-allow-methods",
    "access-control-allow-private-network",
    "access-control-expose-headers",
    "access-control-max-age",
];

/// What is done to the answer to a request.
#[derive(Clone, Debug, Default)]
pub enum Cors {
    /// Nothing, because no origins are configured.
    #[default]
    Off,
    /// The answer may be read by this page, or by none.
    On(Option<Origin>),
}

impl Cors {
    /// Determines what is done to the answer to a request with this head.
    pub fn of(gate: &Gate, head: &Head<'_>) -> Self {
        if gate.config().entrance.origins.is_empty() {
            return Self::Off;
        }
        Self::On(gate.listed_origin(head).cloned())
    }

    /// Whether nothing is done.
    pub const fn is_off(&self) -> bool {
        matches!(self, Self::Off)
    }

    /// The origin as the request named it, if it is a listed one.
    pub fn origin(&self) -> Occurrence<'_> {
        match self {
            Self::On(Some(origin)) => Occurrence::Once(origin.as_str().as_bytes()),
            Self::Off | Self::On(None) => Occurrence::Absent,
        }
    }

    /// Adds the headers to an answer of the gate.
    pub fn mark(&self, reply: &mut Reply) {
        let Self::On(origin) = self else { return };
        // A cache must not give one page an answer that was for another.
        reply.headers.push(("vary", "Origin".to_owned()));
        if let Some(origin) = origin {
            let origin = origin.as_str().to_owned();
            reply.headers.push((ALLOW_ORIGIN, origin));
        }
    }

    /// Emits the edits of a backend's answer.
    pub fn edits(&self, mut emit: impl FnMut(Edit<'_>)) {
        let Self::On(origin) = self else { return };
        for name in BACKENDS_OWN {
            emit(Edit::Remove(name.as_bytes()));
        }
        emit(Edit::Add(b"vary", b"Origin".into()));
        if let Some(origin) = origin {
            let origin = origin.as_str().as_bytes();
            emit(Edit::Add(ALLOW_ORIGIN.as_bytes(), origin.into()));
        }
    }
}

const ALLOW_ORIGIN: &str = "access-control-allow-origin";
