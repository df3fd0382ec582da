//! The configuration as the gate uses it: checked, compiled, complete.
//!
//! [`Config::parse`] reads the document of the reference configuration
//! (`envoy/scopegate.yaml`, as JSON). It is a function of its bytes and of the
//! environment handed in, so every worker comes to the same result; it reports
//! every problem at once and never half-applies a document.

mod claims;
mod closed;
mod credentials;
mod entrance;
mod environment;
mod fingerprint;
mod keys;
mod organizations;
mod organizations_from;
mod outside;
mod parse;
mod projects;
mod providers;
mod reader;
mod summary;
pub mod table;

use std::sync::Arc;

use crate::authn::discovery::Address;
use crate::authn::jwks::KeySet;
use crate::authn::verifier::Provider;
use crate::authz::endpoint::{Backend, Surface};
use crate::authz::policy::Policy;
use crate::authz::projects::{Directory, Projects, Service};
use crate::scoping::scope::Attributes;
use crate::words::origin::Origin;
use crate::words::own_header::{IdTokenHeader, SubjectHeader};
use crate::words::secret::Secret;
use crate::words::version::Version;

pub use environment::Environment;
pub use fingerprint::Fingerprint;
pub use outside::{Outside, Revision, check_outside};
pub use parse::MAX_DOCUMENT;
pub use reader::Problem;
pub use summary::Summary;

/// Everything the gate needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// Act on decisions, or only record them.
    pub mode: Mode,
    /// In `WWW-Authenticate`.
    pub realm: String,
    /// By which ways a token may come.
    pub credentials: Credentials,
    /// Trusted providers and where their keys come from.
    pub providers: Vec<ConfiguredProvider>,
    /// Who may do what where.
    pub policy: Arc<Policy>,
    /// Organizations from outside that are passed over, since one here has the same name.
    pub left_out: Arc<[Box<str>]>,
    /// Where more organizations come from, if they do.
    pub organizations_from: Option<OrganizationsFrom>,
    /// Which backends there are.
    pub backends: Backends,
    /// The projects API, if there is one.
    pub projects: Option<Arc<Projects>>,
    /// What the gate does of its own accord at the entrance.
    pub entrance: Entrance,
    /// What goes on to a backend.
    pub forward: Forward,
    /// Bounds.
    pub limits: Limits,
    /// What is recorded.
    pub audit: Audit,
    /// Which document it is, with what is in force whatever it says.
    pub fingerprint: Fingerprint,
}

/// By which ways a token may come, beside `Authorization: Bearer`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Credentials {
    /// As the password of `Authorization: Basic`.
    pub basic: bool,
    /// As an ID token in this header.
    pub id_token_header: Option<IdTokenHeader>,
}

/// A trusted provider: its rules, and where its keys come from.
#[derive(Clone, Debug)]
pub struct ConfiguredProvider {
    /// Its rules.
    pub rules: Arc<Provider>,
    /// Where its keys come from.
    pub source: KeySource,
}

impl Config {
    /// Takes from an earlier policy what is the same in both, so that it is held once. Only
    /// a configuration that nobody else holds yet does.
    pub fn share(&mut self, earlier: &Policy) {
        if let Some(policy) = Arc::get_mut(&mut self.policy) {
            policy.share(earlier);
        }
    }

    /// The parts of the endpoint table that are exposed.
    #[must_use]
    pub fn surfaces(&self) -> Vec<Surface> {
        let mut surfaces = vec![Surface::Platform];
        surfaces.extend(self.backends.loki_legacy_api.then_some(Surface::LokiLegacy));
        surfaces.extend(self.projects.is_some().then_some(Surface::Projects));
        surfaces
    }

    /// The service that is asked who may read a project, if there is one.
    #[must_use]
    pub fn directory(&self) -> Option<&Service> {
        match self.projects.as_deref()?.directory {
            Directory::Http(ref service) => Some(service),
            Directory::Inline(_) => None,
        }
    }
}

/// Whether refusals take effect.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Mode {
    /// Refuse.
    Enforce,
    /// Record what would be refused and pass everything on.
    Report,
}

/// Where a provider's keys come from.
#[derive(Clone, Debug)]
pub enum KeySource {
    /// From the configuration.
    Inline(Arc<KeySet>),
    /// From a JWK Set document, fetched.
    Uri(Remote),
}

/// Where organizations come from beside those of the configuration, and what is believed.
#[derive(Clone, Debug)]
pub struct OrganizationsFrom {
    /// Where the document is fetched, and when.
    pub remote: Remote,
    /// Whether a document without an organization is meant so.
    pub allow_empty: bool,
    /// One of these keys must have signed the document.
    pub signers: Option<Arc<KeySet>>,
    /// Whether the configuration has organizations of its own.
    pub inline: bool,
    /// The configuration itself, which is read again with each document.
    configuration: Arc<[u8]>,
}

/// Where a document is fetched, and when.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Remote {
    /// Sent as bearer token to the authority of [`Remote::start`], and to no other.
    pub authorization: Option<Secret>,
    /// Envoy's cluster that reaches its server.
    pub cluster: String,
    /// What is fetched first.
    pub start: Start,
    /// Whether the workers of a process share their fetches.
    pub share: bool,
    /// Longest time one fetch may take, in milliseconds.
    pub timeout: u64,
    /// From one good fetch to the next, in milliseconds.
    pub refresh_interval: u64,
    /// How long a document serves without a newer one, in milliseconds.
    pub max_stale: u64,
}

/// The first document on the way to the keys.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Start {
    /// The discovery document, which names the other. `hosts` are authorities beside
    /// the issuer's that may hold the keys.
    Discovery {
        /// Of the discovery document.
        address: Address,
        /// Further authorities.
        hosts: Vec<String>,
    },
    /// The document itself.
    Document(Address),
}

/// Which backends are configured.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Backends {
    /// Loki.
    pub loki: bool,
    /// Mimir.
    pub mimir: bool,
    /// Tempo.
    pub tempo: bool,
    /// What they are said to be, each as the newest that anything depends on if nothing is
    /// said.
    pub versions: [Option<Version>; 3],
    /// Whether scoped callers may not search in Tempo, which shows something of whole traces.
    pub tempo_search_denied: bool,
    /// Whether Loki's `/api/prom` paths are exposed.
    pub loki_legacy_api: bool,
    /// What labels of policies are called among the resource attributes of traces, where
    /// that is not the same.
    pub tempo_attributes: Attributes,
}

impl Backends {
    /// Whether a backend is configured.
    #[must_use]
    pub const fn has(&self, backend: Backend) -> bool {
        match backend {
            Backend::Loki => self.loki,
            Backend::Mimir => self.mimir,
            Backend::Tempo => self.tempo,
        }
    }
}

impl Backends {
    /// The version that a backend is said to be.
    #[must_use]
    pub fn version(&self, backend: Backend) -> Option<Version> {
        let mut versions = Backend::ALL.into_iter().zip(self.versions);
        versions.find(|(known, _)| *known == backend)?.1
    }
}

/// What the gate does of its own accord at the entrance: by default nothing.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Entrance {
    /// How tenants may be asked for.
    pub tenants: TenantRules,
    /// The path that answers whether the gate can do its work.
    pub health: Option<Box<str>>,
    /// Pages that may call the gate from a browser; without any, browsers are answered as
    /// everybody is.
    pub origins: Box<[Origin]>,
}

/// How a request may ask for tenants without naming them.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct TenantRules {
    /// Whether a caller who holds something on exactly one tenant need not name it.
    pub only_one_may_be_absent: bool,
    /// Whether `*`, where several tenants may be named, stands for all that the caller may
    /// ask for.
    pub star_is_all: bool,
}

/// What goes on to a backend besides the request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Forward {
    /// Whether `authorization` is kept.
    pub keep_authorization: bool,
    /// Whether a caller's scope is also sent as `X-Prom-Label-Policy`.
    pub label_policy_header: bool,
    /// Header that carries the subject.
    pub subject_header: Option<SubjectHeader>,
    /// Whether paths are rewritten here rather than in the routes.
    pub rewrite_paths: bool,
}

/// Bounds on what strangers can make the gate hold or do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Longest token, in bytes.
    pub token_bytes: usize,
    /// Most group values in a token.
    pub groups: usize,
    /// Most tenants in one request.
    pub tenants_per_request: usize,
    /// Most verified tokens remembered, per worker.
    pub cached_tokens: usize,
    /// Most requests that wait, for keys or for a directory, per worker.
    pub waiting_requests: usize,
    /// How long a request waits for keys, in milliseconds.
    pub wait: u64,
    /// How long a tail or a gRPC read lasts before its caller is checked again, in
    /// milliseconds.
    pub stream_duration: u64,
}

impl Limits {
    /// Most bytes of remembered tokens, per worker: room for typical tokens (the
    /// entries times 2 KiB), so that the largest ones cannot use sixteen times that.
    #[must_use]
    pub const fn cached_bytes(&self) -> usize {
        self.cached_tokens.saturating_mul(2048)
    }
}

/// What is recorded about decisions.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Audit {
    /// Which decisions get a line in Envoy's log.
    pub log: AuditLog,
    /// Whether the record is put into filter state for the access log.
    pub access_log: bool,
}

/// Which decisions get a line in Envoy's log.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AuditLog {
    /// Every one.
    All,
    /// Refusals.
    Denied,
    /// None.
    None,
}
