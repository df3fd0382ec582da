//! Finds out which endpoint of Loki, Mimir or Tempo a request addresses.
//!
//! The table ([`TABLE`]) is closed: a path that is not in it does not exist here, whatever the
//! backend would do with it. The raw path is matched byte for byte. Percent-escapes are
//! understood only in the free segments of a template, are decoded once, and never decode to
//! something that another parser could take for path structure.

mod index;
mod path;
mod scoping;
mod table;

use crate::words::denial::Denial;
use crate::words::method::Methods;
use crate::words::permission::Permission;

pub use index::Endpoints;
pub use scoping::{Honoured, Scoping};
pub use table::TABLE;

/// The software behind an endpoint.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Backend {
    /// Grafana Loki: logs.
    Loki,
    /// Grafana Mimir, or Prometheus: metrics.
    Mimir,
    /// Grafana Tempo: traces.
    Tempo,
}

impl Backend {
    /// All backends.
    pub const ALL: [Self; 3] = [Self::Loki, Self::Mimir, Self::Tempo];

    /// The name, as in the configuration and in the route header.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Loki => "loki",
            Self::Mimir => "mimir",
            Self::Tempo => "tempo",
        }
    }
}

/// The names of all backends, in the order of [`Backend::ALL`].
pub const BACKEND_NAMES: [&str; 3] = ["loki", "mimir", "tempo"];

/// The format in which the clients of an endpoint expect an error, so that they show its text.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ErrorFormat {
    /// A trailers-only reply with `grpc-status`.
    Grpc,
    /// A google.rpc.Status in the encoding of the request (OTLP/HTTP).
    Otlp,
    /// The JSON of the Prometheus API, which Grafana's alerting reads as well.
    Prometheus,
    /// One line of plain text.
    Text,
}

/// How many tenants one request may name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Tenants {
    /// Any number: federated reads (`a|b`).
    Many,
    /// Exactly one: writes, rules, alerts and tails.
    One,
    /// None, or as many as for [`Tenants::Many`]: probes whose answer reveals nothing about a
    /// tenant.
    Optional,
}

/// How the path changes on its way to the backend.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Rewrite {
    /// It does not change.
    Keep,
    /// It becomes this path.
    To(&'static str),
    /// It loses its first segment (`/tempo/api/search` → `/api/search`).
    WithoutPrefix(&'static str),
}

/// The part of the table that a row belongs to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Surface {
    /// Loki's paths from before `/loki/api/v1`, which are off unless `backends.loki.legacy_api`
    /// is set.
    LokiLegacy,
    /// The platform API.
    Platform,
    /// The projects API, which exists if `projects` is configured.
    Projects,
}

/// One row of the table.
#[derive(Debug)]
pub struct Endpoint {
    /// The methods of this row. Other rows may have other methods of the same path.
    pub methods: Methods,
    /// The path. `{x}` stands for one segment, `{x%2F}` for one that may hold this escape, and
    /// `{x%}` for one that may hold an escape of any printable character.
    pub template: &'static str,
    /// The backend that answers it.
    pub backend: Backend,
    /// The permission that the caller must hold on the tenant.
    pub permission: Permission,
    /// The format in which it is refused.
    pub error_format: ErrorFormat,
    /// How many tenants a request may name.
    pub tenants: Tenants,
    /// What happens to its parameters if the caller is scoped.
    pub scoping: Scoping,
    /// Whether it is upgraded to a WebSocket.
    pub upgrade: bool,
    /// How its path changes.
    pub rewrite: Rewrite,
    /// The part of the table that it belongs to.
    pub surface: Surface,
}

impl Endpoint {
    /// The percent-decoded text that stands for the one free segment of the template, in a path
    /// that matches.
    #[must_use]
    pub fn segment(&self, path: &[u8]) -> Option<Vec<u8>> {
        let (before, rest) = self.template.split_once('{')?;
        let (_, after) = rest.split_once('}')?;
        let path = path.strip_prefix(before.as_bytes())?;
        path::decoded(path.strip_suffix(after.as_bytes())?)
    }

    /// The refusal of a path that matches no row but begins like this one, if this row is one
    /// of rules. What follows that beginning must then be names that can be read in several
    /// ways.
    fn doubt(&self, path: &[u8]) -> Option<Denial> {
        let (before, _) = self.template.split_once('{')?;
        let names = path.strip_prefix(before.as_bytes())?;
        if names.is_empty() {
            return None;
        }
        match (self.permission, self.backend) {
            // Loki decodes the names twice.
            (Permission::RulesRead | Permission::RulesWrite, Backend::Loki) => Some(
                Denial::PathEscapeRefused("percent signs, slashes, backslashes and semicolons"),
            ),
            (Permission::RulesRead | Permission::RulesWrite, _) => Some(Denial::PathEscapeRefused(
                "dot segments, empty segments, control characters and broken escapes",
            )),
            _ => None,
        }
    }

    /// Whether the endpoint is a gRPC method.
    #[must_use]
    pub const fn is_grpc(&self) -> bool {
        matches!(self.error_format, ErrorFormat::Grpc)
    }
}
