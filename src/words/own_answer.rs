//! Answers of the gate's own that are no refusals.

use crate::words::method::Methods;

/// What the gate says itself where nothing needs to be asked of a backend.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum OwnAnswer {
    /// Nothing, in the shape that a data source expects: this JSON document.
    Empty(&'static str),
    /// To a health check: all is well.
    Healthy,
    /// To a browser that asks whether a page may send a request to an endpoint of these
    /// methods: it may.
    Preflight(Methods),
    /// To a health check: this is the matter.
    Unhealthy(Unhealthy),
}

/// Why the gate cannot do its work.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Unhealthy {
    /// No provider has usable keys, so that every token is answered with 503.
    NoKeys,
    /// Organizations that come from outside are not known, so that callers are answered with
    /// 503.
    NoOrganizations,
    /// The host's clocks or ticks cannot be relied on.
    FaultyHost,
}

impl OwnAnswer {
    /// The stable code, as in records, metrics and the proxy's access log.
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

    /// Whether it stands for a decision, which is counted and recorded.
    #[must_use]
    pub const fn is_decision(self) -> bool {
        matches!(self, Self::Empty(_) | Self::Preflight(_))
    }
}
