//! The outcome of a request, from a permit to a refusal.

use std::borrow::Cow;
use std::sync::Arc;

use crate::authn::authenticator::Unproven;
use crate::authn::key_cache::Need;
use crate::authn::keys::Algorithm;
use crate::authn::refused::Refused;
use crate::authn::token_cache::Session;
use crate::authz::endpoint::Endpoint;
use crate::authz::projects::Question;
use crate::scoping::narrow::Narrowing;
use crate::scoping::scope::Scope;
use crate::words::credential::CredentialKind;
use crate::words::denial::Denial;
use crate::words::identity::ProviderIndex;
use crate::words::own_answer::OwnAnswer;
use crate::words::tenant::TenantSet;
use crate::words::time::{Monotonic, Time, Timestamp};

/// Proof that a request may pass, with what forwarding and records need.
#[derive(Debug)]
pub struct Permit<'a> {
    pub(super) endpoint: &'static Endpoint,
    pub(super) session: Arc<Session>,
    pub(super) credential: CredentialKind,
    pub(super) tenants: Cow<'a, [u8]>,
    pub(super) query: Query<'a>,
    pub(super) scope: Option<Arc<Scope>>,
    pub(super) stream_expires: Option<Timestamp>,
}

/// What happens to a request's parameters.
#[derive(Debug)]
pub enum Query<'a> {
    /// They are forwarded as they were sent. This is the query string without its `?`.
    AsSent(Option<&'a [u8]>),
    /// They are written into a new body once the body has been read. The parameters of the
    /// query string go there too.
    InBody(Narrowing),
    /// They are replaced with this query string.
    Narrowed(String),
}

impl<'a> Permit<'a> {
    /// The endpoint that was requested.
    #[must_use]
    pub const fn endpoint(&self) -> &'static Endpoint {
        self.endpoint
    }

    /// The caller.
    #[must_use]
    pub const fn session(&self) -> &Arc<Session> {
        &self.session
    }

    /// The tenant header to forward. It is borrowed if the client's is canonical, and empty for
    /// a probe that names no tenant.
    #[must_use]
    pub const fn tenants(&self) -> &Cow<'a, [u8]> {
        &self.tenants
    }

    /// What happens to the parameters.
    #[must_use]
    pub const fn query(&self) -> &Query<'a> {
        &self.query
    }

    /// The part of the tenants' data that the caller may see, or `None` for all of it.
    #[must_use]
    pub const fn scope(&self) -> Option<&Arc<Scope>> {
        self.scope.as_ref()
    }

    /// The time from which the token would be refused as expired, if the request opens a stream
    /// (a tail or a gRPC read). `None` for a request that ends with its answer.
    #[must_use]
    pub const fn stream_expires(&self) -> Option<Timestamp> {
        self.stream_expires
    }
}

/// A request that is forwarded to its backend.
#[derive(Debug)]
pub enum Passage<'a> {
    /// It is allowed, and the edits follow the permit.
    Enforced(Permit<'a>),
    /// It is forwarded whatever was found, because findings are only recorded here.
    Reported(Finding<'a>),
}

/// What would have happened to a request that is forwarded anyway. It holds no permit, so a
/// reported request cannot be mistaken for a permitted one.
#[derive(Debug)]
pub struct Finding<'a> {
    pub(super) endpoint: Option<&'static Endpoint>,
    pub(super) found: Found<'a>,
}

#[derive(Debug)]
pub(super) enum Found<'a> {
    /// It would have been let through.
    Granted {
        session: Arc<Session>,
        credential: CredentialKind,
        /// The tenant header in its canonical spelling.
        tenants: Cow<'a, [u8]>,
        /// How its body would have to be narrowed, if it has to be read.
        form: Option<Narrowing>,
    },
    /// It would have been refused.
    Refused(Denial),
}

impl<'a> Finding<'a> {
    /// The caller and the canonical tenant header, if the request would have been let through.
    #[must_use]
    pub const fn granted(&self) -> Option<(&Arc<Session>, &Cow<'a, [u8]>)> {
        match &self.found {
            Found::Granted {
                session, tenants, ..
            } => Some((session, tenants)),
            Found::Refused(_) => None,
        }
    }
}

/// A form that must be read before there is a verdict on its request.
#[derive(Debug)]
pub enum Form {
    /// It is forwarded unchanged, and judged for the record.
    Overheard(Narrowing),
    /// It is held back, and replaced with another one.
    Replaced(Narrowing),
}

impl Passage<'_> {
    /// The endpoint that the request is for, if it is known.
    #[must_use]
    pub const fn endpoint(&self) -> Option<&'static Endpoint> {
        match self {
            Self::Enforced(permit) => Some(permit.endpoint),
            Self::Reported(finding) => finding.endpoint,
        }
    }

    /// How the token that decided was sent, if one did.
    #[must_use]
    pub const fn credential(&self) -> Option<CredentialKind> {
        match self {
            Self::Enforced(Permit { credential, .. })
            | Self::Reported(Finding {
                found: Found::Granted { credential, .. },
                ..
            }) => Some(*credential),
            Self::Reported(_) => None,
        }
    }

    /// Why the request would have been refused, if it would have been.
    #[must_use]
    pub const fn denial(&self) -> Option<Denial> {
        match self {
            Self::Reported(Finding {
                found: Found::Refused(denial),
                ..
            }) => Some(*denial),
            Self::Enforced(_) | Self::Reported(_) => None,
        }
    }

    /// When to end the stream that the request opens, as in [`Permit::stream_expires`].
    #[must_use]
    pub const fn stream_expires(&self) -> Option<Timestamp> {
        match self {
            Self::Enforced(permit) => permit.stream_expires,
            Self::Reported(_) => None,
        }
    }

    /// Whether the body must be read.
    #[must_use]
    pub const fn has_form(&self) -> bool {
        match self {
            Self::Enforced(permit) => matches!(permit.query, Query::InBody(_)),
            Self::Reported(finding) => {
                matches!(finding.found, Found::Granted { form: Some(_), .. })
            }
        }
    }

    /// The form in the body, if it must be read.
    #[must_use]
    pub fn into_form(self) -> Option<Form> {
        match self {
            Self::Enforced(Permit {
                query: Query::InBody(narrowing),
                ..
            }) => Some(Form::Replaced(narrowing)),
            Self::Reported(Finding {
                found:
                    Found::Granted {
                        form: Some(narrowing),
                        ..
                    },
                ..
            }) => Some(Form::Overheard(narrowing)),
            Self::Enforced(_) | Self::Reported(_) => None,
        }
    }
}

/// The outcome of a request.
#[derive(Debug)]
pub enum Outcome<'a> {
    /// Answer it without asking a backend.
    Answer(OwnAnswer),
    /// Ask the directory of projects, hold the request until it answers, and decide again.
    Ask(Question),
    /// Hold the request until this provider's keys change, and decide again.
    AwaitKeys {
        /// The provider whose keys are awaited.
        provider: ProviderIndex,
        /// What is wanted from the keys.
        need: Need,
        /// Why the request is refused if it cannot wait.
        otherwise: Denial,
    },
    /// Let it pass.
    Forward(Passage<'a>),
    /// Read the clocks and decide again, because the outcome depends on the exact time.
    NeedsClock,
    /// Refuse it.
    Refuse(Denial),
}

/// An outcome, and what was found out on the way to it.
#[derive(Debug)]
pub struct Evaluation<'a> {
    /// What is to be done.
    pub outcome: Outcome<'a>,
    /// The facts that were found out on the way.
    pub facts: DecisionFacts<'a>,
}

/// The facts for the record of a decision. The session is set once a signature was verified,
/// and what is not proven is marked as such.
#[derive(Clone, Debug, Default)]
pub struct DecisionFacts<'a> {
    /// The endpoint, once it is matched.
    pub endpoint: Option<&'static Endpoint>,
    /// How the token that decides was sent, once that is settled.
    pub credential: Option<CredentialKind>,
    /// The caller, once it is verified.
    pub session: Option<Arc<Session>>,
    /// What is known about a refused token, unless it was remembered.
    pub refused: Option<Refused>,
    /// The tenants that the request names, once they are known to be well-formed.
    pub tenants: Option<TenantSet<'a>>,
    /// The tenant of a project, which no header names.
    pub tenant: Option<Arc<str>>,
    /// The part of the tenant's data that the caller may see, if not all.
    pub scope: Option<Arc<Scope>>,
    /// Whether the token was remembered.
    pub cached: Option<bool>,
    /// One element for each key that was tried: the provider, the algorithm, and whether the
    /// signature held.
    pub verified: Vec<(ProviderIndex, Algorithm, bool)>,
    /// The provider of a token that was verified for this request, and how many of its group
    /// values pose as those of another source, if there are any.
    pub dropped: Option<(ProviderIndex, usize)>,
}

/// The times of one attempt to decide on a request.
#[derive(Clone, Copy, Debug)]
pub struct Attempt {
    /// When the request arrived.
    pub arrived: Monotonic,
    /// The current time.
    pub time: Time,
}

/// Why an evaluation ends without a permit.
pub(super) enum Stop {
    Answer(OwnAnswer),
    Ask(Question),
    AwaitKeys {
        provider: ProviderIndex,
        need: Need,
        otherwise: Denial,
    },
    Deny(Denial),
    NeedsClock,
}

impl From<Denial> for Stop {
    fn from(denial: Denial) -> Self {
        Self::Deny(denial)
    }
}

impl From<OwnAnswer> for Stop {
    fn from(answer: OwnAnswer) -> Self {
        Self::Answer(answer)
    }
}

impl From<Unproven> for Stop {
    fn from(unproven: Unproven) -> Self {
        match unproven {
            Unproven::AwaitsKeys {
                provider,
                need,
                otherwise,
            } => Self::AwaitKeys {
                provider,
                need,
                otherwise,
            },
            Unproven::NeedsClock => Self::NeedsClock,
            Unproven::Refused(denial) => Self::Deny(denial),
        }
    }
}
