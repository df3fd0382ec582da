//! Which endpoint of Loki, Mimir or Tempo a request means.
//!
//! The table ([`TABLE`]) is closed: a path that is not in it does not exist here,
//! whatever the backend would do with it. Matching is on the raw path, byte for
//! byte; percent-escapes are understood in template segments only, decoded once,
//! and never into something that another parser could take for path structure.

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
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Loki, Self::Mimir, Self::Tempo];

    /// As in the configuration and in the route header.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Loki => "loki",
            Self::Mimir => "mimir",
            Self::Tempo => "tempo",
        }
    }
}

/// Names of all backends, in the order of [`Backend::ALL`].
pub const BACKEND_NAMES: [&str; 3] = ["loki", "mimir", "tempo"];

/// How an endpoint's clients read an error (which body they show to people).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ErrorFormat {
    /// Trailers-only reply with `grpc-status`.
    Grpc,
    /// google.rpc.Status, in the request's encoding (OTLP/HTTP).
    Otlp,
    /// Prometheus API JSON, which Grafana's alerting reads as well.
    Prometheus,
    /// One line of plain text.
    Text,
}

/// How many tenants one request may name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Tenants {
    /// Federated reads: `a|b`.
    Many,
    /// Writes, rules, alerts, tails: exactly one.
    One,
    /// Probes that tell nothing of any tenant: none, or as [`Tenants::Many`].
    Optional,
}

/// How a path changes on its way to the backend.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Rewrite {
    /// Not at all.
    Keep,
    /// To this path.
    To(&'static str),
    /// Its first segment goes (`/tempo/api/search` → `/api/search`).
    WithoutPrefix(&'static str),
}

/// Which part of the table a row belongs to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Surface {
    /// Loki's paths from before `/loki/api/v1`, off unless `backends.loki.legacy_api`.
    LokiLegacy,
    /// The platform API.
    Platform,
    /// The projects API, if `projects` is configured.
    Projects,
}

/// One row of the table.
#[derive(Debug)]
pub struct Endpoint {
    /// Methods of this row; other rows may take other methods of the same path.
    pub methods: Methods,
    /// The path; `{x}` is one segment, `{x%2F}` one that may hold this escape, `{x%}` one
    /// that may hold any of printable characters.
    pub template: &'static str,
    /// Who answers it.
    pub backend: Backend,
    /// What the caller must hold on the tenant.
    pub permission: Permission,
    /// How to refuse it.
    pub error_format: ErrorFormat,
    /// Whether it federates.
    pub tenants: Tenants,
    /// What becomes of its parameters when the caller is scoped.
    pub scoping: Scoping,
    /// Whether it is upgraded to a websocket.
    pub upgrade: bool,
    /// How its path changes.
    pub rewrite: Rewrite,
    /// Which part of the table it belongs to.
    pub surface: Surface,
}

impl Endpoint {
    /// What the one free segment of its template is filled with in a path that matches,
    /// percent-decoded.
    #[must_use]
    pub fn segment(&self, path: &[u8]) -> Option<Vec<u8>> {
        let (before, rest) = self.template.split_once('{')?;
        let (_, after) = rest.split_once('}')?;
        let path = path.strip_prefix(before.as_bytes())?;
        path::decoded(path.strip_suffix(after.as_bytes())?)
    }

    /// What is said to a path that is none, but begins like this one, if that is of rules:
    /// what follows must be names in doubt.
    fn doubt(&self, path: &[u8]) -> Option<Denial> {
        let (before, _) = self.template.split_once('{')?;
        let names = path.strip_prefix(before.as_bytes())?;
        if names.is_empty() {
            return None;
        }
        match (self.permission, self.backend) {
            // It decodes them twice.
            (Permission::RulesRead | Permission::RulesWrite, Backend::Loki) => Some(
                Denial::PathEscapeRefused("percent signs, slashes, backslashes and semicolons"),
            ),
            (Permission::RulesRead | Permission::RulesWrite, _) => Some(Denial::PathEscapeRefused(
                "dot segments, empty segments, control characters and broken escapes",
            )),
            _ => None,
        }
    }

    /// Whether it is a gRPC method.
    #[must_use]
    pub const fn is_grpc(&self) -> bool {
        matches!(self.error_format, ErrorFormat::Grpc)
    }
}
