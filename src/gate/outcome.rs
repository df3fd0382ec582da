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

/// What becomes of a request's parameters.
#[derive(Debug)]
pub enum Query<'a> {
    /// They stay as they came: the query string without `?`.
    AsSent(Option<&'a [u8]>),
    /// They are written anew into the body, once it has been read; the query string is
    /// in there.
    InBody(Narrowing),
    /// This is the query string instead.
    Narrowed(String),
}

impl<'a> Permit<'a> {
    /// The endpoint that was asked for.
    #[must_use]
    pub const fn endpoint(&self) -> &'static Endpoint {
        self.endpoint
    }

    /// The caller.
    #[must_use]
    pub const fn session(&self) -> &Arc<Session> {
        &self.session
    }

    /// The tenant header to forward; borrowed when the client's is canonical, and empty
    /// for a probe that has none.
    #[must_use]
    pub const fn tenants(&self) -> &Cow<'a, [u8]> {
        &self.tenants
    }

    /// What becomes of the parameters.
    #[must_use]
    pub const fn query(&self) -> &Query<'a> {
        &self.query
    }

    /// What the caller may see of the tenants, if not all.
    #[must_use]
    pub const fn scope(&self) -> Option<&Arc<Scope>> {
        self.scope.as_ref()
    }

    /// For a request that opens a stream (a tail, a gRPC read): from when on its
    /// token would be refused as expired. `None` for one that an answer ends.
    #[must_use]
    pub const fn stream_expires(&self) -> Option<Timestamp> {
        self.stream_expires
    }
}

/// A request that goes on to its backend.
#[derive(Debug)]
pub enum Passage<'a> {
    /// It may, and what the permit says is put into it.
    Enforced(Permit<'a>),
    /// It does whatever was found: findings are only recorded here.
    Reported(Finding<'a>),
}

/// What would have become of a request whose passage does not depend on it. It holds no
/// permit, so that nobody can take a reported request for a permitted one.
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
        /// The tenant header in its one spelling.
        tenants: Cow<'a, [u8]>,
        /// What its body would have to be read for.
        form: Option<Narrowing>,
    },
    /// It would have been refused.
    Refused(Denial),
}

impl<'a> Finding<'a> {
    /// The caller and the tenant header in its one spelling, if it would have been let
    /// through.
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

/// A form that must be read before there is a verdict about its request.
#[derive(Debug)]
pub enum Form {
    /// It passes as it is and is judged for the record.
    Overheard(Narrowing),
    /// It is held back, and another one goes on in its place.
    Replaced(Narrowing),
}

impl Passage<'_> {
    /// The endpoint that it leads to, if it is known.
    #[must_use]
    pub const fn endpoint(&self) -> Option<&'static Endpoint> {
        match self {
            Self::Enforced(permit) => Some(permit.endpoint),
            Self::Reported(finding) => finding.endpoint,
        }
    }

    /// By which way the token came that decided, if one did.
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

    /// Why it would have been refused, if it would.
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

    /// From when on the stream that it opens is to be ended, as [`Permit::stream_expires`].
    #[must_use]
    pub const fn stream_expires(&self) -> Option<Timestamp> {
        match self {
            Self::Enforced(permit) => permit.stream_expires,
            Self::Reported(_) => None,
        }
    }

    /// Whether its body must be read.
    #[must_use]
    pub const fn has_form(&self) -> bool {
        match self {
            Self::Enforced(permit) => matches!(permit.query, Query::InBody(_)),
            Self::Reported(finding) => {
                matches!(finding.found, Found::Granted { form: Some(_), .. })
            }
        }
    }

    /// The form in its body, if it must be read.
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
    /// Answer it, without asking a backend.
    Answer(OwnAnswer),
    /// Ask the directory of projects, keep the request until it answers, and decide
    /// again.
    Ask(Question),
    /// Keep the request until this provider's keys are another set, and decide again.
    AwaitKeys {
        /// Whose keys.
        provider: ProviderIndex,
        /// What is wanted of them.
        need: Need,
        /// Why the request is refused if it cannot wait.
        otherwise: Denial,
    },
    /// Let it pass.
    Forward(Passage<'a>),
    /// What comes depends on the exact time: read the clocks and decide again.
    NeedsClock,
    /// Refuse it.
    Refuse(Denial),
}

/// An outcome with what was found out on the way to it.
#[derive(Debug)]
pub struct Evaluation<'a> {
    /// What is to be done.
    pub outcome: Outcome<'a>,
    /// The facts that were found out on the way.
    pub facts: DecisionFacts<'a>,
}

/// What a record says about a decision. The session is set once a signature was verified,
/// and what is not proven is marked as such.
#[derive(Clone, Debug, Default)]
pub struct DecisionFacts<'a> {
    /// The endpoint, once matched.
    pub endpoint: Option<&'static Endpoint>,
    /// By which way the token came that decides, once that is settled.
    pub credential: Option<CredentialKind>,
    /// The caller, once verified.
    pub session: Option<Arc<Session>>,
    /// What is known of a token that was refused, unless it was remembered.
    pub refused: Option<Refused>,
    /// The tenants as asked for, once well-formed.
    pub tenants: Option<TenantSet<'a>>,
    /// The tenant of a project, which no header names.
    pub tenant: Option<Arc<str>>,
    /// What of it the caller may see, if not all.
    pub scope: Option<Arc<Scope>>,
    /// Whether the token was remembered.
    pub cached: Option<bool>,
    /// Which provider's signature was checked with which algorithm, and whether
    /// it held: for each key that was tried.
    pub verified: Vec<(ProviderIndex, Algorithm, bool)>,
    /// Which provider's token, verified for this request, held how many group values that
    /// pose as another source's.
    pub dropped: Option<(ProviderIndex, usize)>,
}

/// When a request came, and when it is.
#[derive(Clone, Copy, Debug)]
pub struct Attempt {
    /// When the request came.
    pub arrived: Monotonic,
    /// The clocks.
    pub time: Time,
}

/// Why an evaluation stops short of a permit.
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
