//! The configuration in the form that the gate uses: checked, compiled and complete.
//!
//! [`Config::parse`] reads a document in the form of the reference configuration
//! (`envoy/scopegate.yaml`), as JSON. The result depends only on the bytes of the document and
//! on the environment that is passed in, so every worker obtains the same one. All problems are
//! reported at once, and a document is never applied in part.

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
    /// Whether decisions take effect or are only recorded.
    pub mode: Mode,
    /// The realm in `WWW-Authenticate`.
    pub realm: String,
    /// The ways in which a token may be sent.
    pub credentials: Credentials,
    /// The trusted providers, and where their keys come from.
    pub providers: Vec<ConfiguredProvider>,
    /// Who may do what on which tenant.
    pub policy: Arc<Policy>,
    /// Organizations from outside that are ignored, because the configuration has one of the
    /// same name.
    pub left_out: Arc<[Box<str>]>,
    /// Where further organizations come from, if they do.
    pub organizations_from: Option<OrganizationsFrom>,
    /// The configured backends.
    pub backends: Backends,
    /// The projects API, if there is one.
    pub projects: Option<Arc<Projects>>,
    /// What the gate offers besides forwarding requests.
    pub entrance: Entrance,
    /// What is sent to a backend in addition to the request.
    pub forward: Forward,
    /// Limits on what strangers can make the gate hold or do.
    pub limits: Limits,
    /// What is recorded about decisions.
    pub audit: Audit,
    /// Identifies the document, together with the environment variables that override it.
    pub fingerprint: Fingerprint,
}

/// The ways in which a token may be sent, besides `Authorization: Bearer`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Credentials {
    /// Whether it may be sent as the password of `Authorization: Basic`.
    pub basic: bool,
    /// The header in which it may be sent as an ID token, if there is one.
    pub id_token_header: Option<IdTokenHeader>,
}

/// A trusted provider: its rules, and where its keys come from.
#[derive(Clone, Debug)]
pub struct ConfiguredProvider {
    /// The rules for its tokens.
    pub rules: Arc<Provider>,
    /// Where its keys come from.
    pub source: KeySource,
}

impl Config {
    /// Shares the parts that are equal with an earlier policy, so that they are held once. This
    /// happens only while nobody else holds this configuration.
    pub fn share(&mut self, earlier: &Policy) {
        if let Some(policy) = Arc::get_mut(&mut self.policy) {
            policy.share(earlier);
        }
    }

    /// Has the workers of the process share all that they fetch, whatever the document says.
    pub fn share_fetches(&mut self) {
        for provider in &mut self.providers {
            if let KeySource::Uri(remote) = &mut provider.source {
                remote.share = true;
            }
        }
        if let Some(from) = &mut self.organizations_from {
            from.remote.share = true;
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

    /// The service that is asked who may read a project, if one is configured.
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
    /// Requests are refused.
    Enforce,
    /// Every request is passed on, and the record says what would have been refused.
    Report,
}

/// Where a provider's keys come from.
#[derive(Clone, Debug)]
pub enum KeySource {
    /// They are in the configuration.
    Inline(Arc<KeySet>),
    /// They are fetched as a JWK Set document.
    Uri(Remote),
}

/// Where organizations come from besides those of the configuration, and which documents are
/// believed.
#[derive(Clone, Debug)]
pub struct OrganizationsFrom {
    /// Where the document is fetched, and when.
    pub remote: Remote,
    /// Whether a document without organizations is accepted.
    pub allow_empty: bool,
    /// The keys of which one must have signed the document, if it has to be signed.
    pub signers: Option<Arc<KeySet>>,
    /// Whether the configuration has organizations of its own.
    pub inline: bool,
    /// The configuration itself, which is read again together with each document.
    configuration: Arc<[u8]>,
}

/// Where a document is fetched, and when.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Remote {
    /// The secret that is sent as a bearer token to the authority of [`Remote::start`], and to
    /// no other.
    pub authorization: Option<Secret>,
    /// Envoy's cluster that reaches the server.
    pub cluster: String,
    /// What is fetched first.
    pub start: Start,
    /// Whether the workers of a process share what they fetch.
    pub share: bool,
    /// The longest time that a fetch may take, in milliseconds.
    pub timeout: u64,
    /// The time from one successful fetch to the next, in milliseconds.
    pub refresh_interval: u64,
    /// How long a document is used without a newer one, in milliseconds.
    pub max_stale: u64,
}

/// The first document on the way to the keys.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Start {
    /// The discovery document, which names the address of the keys. `hosts` are authorities,
    /// besides the issuer's, from which the keys may be fetched.
    Discovery {
        /// The address of the discovery document.
        address: Address,
        /// Further authorities.
        hosts: Vec<String>,
    },
    /// The document itself.
    Document(Address),
}

/// The configured backends.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Backends {
    /// Whether Loki is configured.
    pub loki: bool,
    /// Whether Mimir is configured.
    pub mimir: bool,
    /// Whether Tempo is configured.
    pub tempo: bool,
    /// The versions that the configuration states. A backend without one is treated as new
    /// enough for everything.
    pub versions: [Option<Version>; 3],
    /// Whether scoped callers are refused searches in Tempo, which reveal something about whole
    /// traces.
    pub tempo_search_denied: bool,
    /// Whether Loki's `/api/prom` paths are exposed.
    pub loki_legacy_api: bool,
    /// The names of the resource attributes of traces that correspond to the labels of
    /// policies, where they differ from the labels.
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
    /// The version that the configuration states for a backend.
    #[must_use]
    pub fn version(&self, backend: Backend) -> Option<Version> {
        let mut versions = Backend::ALL.into_iter().zip(self.versions);
        versions.find(|(known, _)| *known == backend)?.1
    }
}

/// What the gate offers besides forwarding requests. By default this is nothing.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Entrance {
    /// How a request may ask for tenants without naming them.
    pub tenants: TenantRules,
    /// The path of the health check, if there is one.
    pub health: Option<Box<str>>,
    /// The origins of pages that may call the gate from a browser. If there are none, requests
    /// from browsers are treated like all others.
    pub origins: Box<[Origin]>,
}

/// How a request may ask for tenants without naming them.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct TenantRules {
    /// Whether a caller who holds anything on exactly one tenant need not name it.
    pub only_one_may_be_absent: bool,
    /// Whether `*` stands for all tenants that the caller may ask for, on endpoints that accept
    /// several tenants.
    pub star_is_all: bool,
}

/// What is sent to a backend in addition to the request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Forward {
    /// Whether the backend receives the `authorization` header.
    pub keep_authorization: bool,
    /// Whether a caller's scope is also sent in `X-Prom-Label-Policy`.
    pub label_policy_header: bool,
    /// The header that carries the subject, if there is one.
    pub subject_header: Option<SubjectHeader>,
    /// Whether the gate rewrites paths. If not, the routes do it.
    pub rewrite_paths: bool,
}

/// Limits on what strangers can make the gate hold or do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// The longest token, in bytes.
    pub token_bytes: usize,
    /// The maximum number of group values in a token.
    pub groups: usize,
    /// The maximum number of tenants in one request.
    pub tenants_per_request: usize,
    /// The maximum number of verified tokens that each worker remembers.
    pub cached_tokens: usize,
    /// The maximum number of requests that wait in each worker, for keys or for a directory.
    pub waiting_requests: usize,
    /// How long a request waits, in milliseconds.
    pub wait: u64,
    /// How long a tail or a gRPC read lasts before it is ended and its caller has to be checked
    /// again, in milliseconds.
    pub stream_duration: u64,
}

impl Limits {
    /// The number of bytes that remembered tokens may take in each worker: the number of
    /// entries times 2 KiB. This is room for typical tokens, but not for the largest ones,
    /// which could take sixteen times as much.
    #[must_use]
    pub const fn cached_bytes(&self) -> usize {
        self.cached_tokens.saturating_mul(2048)
    }
}

/// What is recorded about decisions.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Audit {
    /// The decisions that are written to Envoy's log.
    pub log: AuditLog,
    /// Whether the record is also put into filter state for the access log.
    pub access_log: bool,
}

/// The decisions that are written to Envoy's log.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AuditLog {
    /// All decisions.
    All,
    /// Only refusals.
    Denied,
    /// No decisions.
    None,
}
