//! Answers that the gate gives itself and that are not refusals.

use crate::words::method::Methods;

/// An answer that the gate gives itself, because it does not need to ask a backend.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum OwnAnswer {
    /// An empty result, in the form that a data source expects: this JSON document.
    Empty(&'static str),
    /// Tells a health check that all is well.
    Healthy,
    /// Tells a browser that a page may send a request to an endpoint with these methods.
    Preflight(Methods),
    /// Tells a health check what is wrong.
    Unhealthy(Unhealthy),
}

/// Why the gate cannot do its work.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Unhealthy {
    /// No provider has usable keys, so every token is answered with 503.
    NoKeys,
    /// The organizations that come from outside are not known, so callers are answered with
    /// 503.
    NoOrganizations,
    /// The host's clocks or ticks cannot be relied on.
    FaultyHost,
}

impl OwnAnswer {
    /// The stable code, as it appears in records, metrics and the proxy's access log.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Empty(_) => "answered_empty",
            Self::Healthy => "healthy",
            Self::Preflight(_) => "preflight",
            Self::Unhealthy(Unhealthy::NoKeys) => "no_keys",
            Self::Unhealthy(Unhealthy::NoOrganizations) => "no_organizations",
            Self::Unhealthy(Unhealthy::FaultyHost) => "gate_unavailable",
        }
    }

    /// The HTTP status.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::Empty(_) | Self::Healthy => 200,
            Self::Preflight(_) => 204,
            Self::Unhealthy(_) => 503,
        }
    }

    /// Whether the answer is a decision, and so is counted and recorded.
    #[must_use]
    pub const fn is_decision(self) -> bool {
        matches!(self, Self::Empty(_) | Self::Preflight(_))
    }
}
