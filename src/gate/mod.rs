//! The whole decision, in the order in which it is made.
//!
//! [`Gate::decide`] takes a request's head, the time and what the worker lends to it. It
//! returns an [`Evaluation`] with a [`Passage`], a [`Denial`], or what has to be known before
//! it can give either. Nothing else can make a passage, and only a passage can be turned into
//! the header edits that let a request pass ([`crate::forward`]).

mod entrance;
mod head;
mod narrowing;
mod outcome;
mod tenants;

use std::borrow::Cow;
use std::sync::Arc;

use self::head::{Credential, Offer, check_transport, offer, opens_stream, request_line};
use self::outcome::{Found, Stop};
use crate::authn::authenticator::{
    Authenticator, Findings, Lent, Presented, TrustedProvider, Unproven,
};
use crate::authn::key_cache::{KeyCache, Keys};
use crate::authn::token_cache::{Owner, Sent, Session};
use crate::authz::endpoint::{Endpoint, Endpoints, Surface};
use crate::authz::policy::{Organizations, Remembered};
use crate::authz::projects::{self, Answers, Directory, DirectoryAnswer, Question, Resource};
use crate::config::{Config, KeySource, Mode};
use crate::words::credential::CredentialKind;
use crate::words::denial::Denial;
use crate::words::own_answer::OwnAnswer;
use crate::words::request::Head;
use crate::words::time::{Now, Time};

pub use self::outcome::{
    Attempt, DecisionFacts, Evaluation, Finding, Form, Outcome, Passage, Permit, Query,
};

/// The function that decides, with its state: keys, and the answers of a directory.
#[derive(Debug)]
pub struct Gate {
    config: Arc<Config>,
    doors: Doors,
    authenticator: Authenticator,
    answers: Answers,
    remembered: Remembered,
    grants: Grants,
}

/// Whether all grants that there should be are known.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Grants {
    /// All grants are known.
    All,
    /// The grants from outside have not arrived yet, so the gate cannot say that somebody lacks
    /// one.
    Awaited,
    /// The grants from outside have become too old to be used.
    Outdated,
}

/// The endpoints that can be requested.
#[derive(Debug)]
enum Doors {
    /// There are none as long as there is no good configuration.
    Closed,
    /// There are these.
    Open(Endpoints),
}

impl Gate {
    /// Creates a gate with this configuration. `owner` distinguishes what it remembers about
    /// tokens from what other gates do, and `seed` keys its hashes.
    #[must_use]
    pub fn new(config: Arc<Config>, owner: Owner, seed: u64) -> Self {
        let providers = config.providers.iter().map(|provider| {
            let rules = Arc::clone(&provider.rules);
            let keys = match &provider.source {
                KeySource::Inline(set) => Keys::Inline(Arc::clone(set)),
                KeySource::Uri(uri) => Keys::Fetched(KeyCache::new(uri.max_stale, seed)),
            };
            TrustedProvider { rules, keys }
        });
        Self {
            doors: Doors::Open(Endpoints::new(&config.surfaces())),
            authenticator: Authenticator::new(
                providers.collect(),
                owner,
                config.limits.token_bytes,
                config.limits.groups,
            ),
            answers: Answers::default(),
            remembered: Remembered::default(),
            grants: match config.organizations_from {
                None => Grants::All,
                Some(_) => Grants::Awaited,
            },
            config,
        }
    }

    /// Creates a gate that has no good configuration. It refuses everything, and asks clients
    /// to try again.
    #[must_use]
    pub fn closed() -> Self {
        Self {
            doors: Doors::Closed,
            ..Self::new(Arc::new(Config::closed()), Owner(0), 0)
        }
    }

    /// Decides by other organizations from now on. `config` must differ only in those. What is
    /// known about keys and proven about tokens is kept; what callers hold is derived afresh
    /// under another `owner`.
    pub fn adopt(&mut self, config: Config, owner: Owner, grants: Grants) {
        self.config = Arc::new(config);
        self.authenticator.set_owner(owner);
        self.remembered = Remembered::default();
        self.grants = grants;
    }

    /// Whether all grants that there should be are known.
    #[must_use]
    pub const fn grants(&self) -> Grants {
        self.grants
    }

    /// The configuration by which the gate decides.
    #[must_use]
    pub const fn config(&self) -> &Arc<Config> {
        &self.config
    }

    /// The providers and their keys.
    #[must_use]
    pub const fn authenticator(&self) -> &Authenticator {
        &self.authenticator
    }

    /// The providers and their keys, to be given newer keys.
    pub const fn authenticator_mut(&mut self) -> &mut Authenticator {
        &mut self.authenticator
    }

    /// Decides on a request.
    pub fn decide<'a>(
        &mut self,
        head: &Head<'a>,
        attempt: Attempt,
        lent: &mut Lent<'_>,
    ) -> Evaluation<'a> {
        let mut facts = DecisionFacts::default();
        let outcome = match self.evaluate(head, attempt, lent, &mut facts) {
            Ok(permit) => Outcome::Forward(self.passage(permit)),
            Err(Stop::Ask(question)) => Outcome::Ask(question),
            Err(Stop::AwaitKeys {
                provider,
                need,
                otherwise,
            }) => Outcome::AwaitKeys {
                provider,
                need,
                otherwise,
            },
            Err(Stop::Answer(answer)) => self.answer(answer, &facts),
            Err(Stop::Deny(denial)) => {
                self.refuse(self.with_reason(denial, &facts), facts.endpoint)
            }
            Err(Stop::NeedsClock) => Outcome::NeedsClock,
        };
        Evaluation { outcome, facts }
    }

    /// The organizations through which the caller holds the permission that was needed, for the
    /// record.
    pub fn organizations(&mut self, facts: &DecisionFacts<'_>) -> Organizations {
        let (Some(session), Some(tenants), Some(endpoint)) =
            (&facts.session, &facts.tenants, facts.endpoint)
        else {
            return Organizations::default();
        };
        // The caller's groups are positions in the policy under which the session was created.
        if session.owner != self.authenticator.owner() {
            return Organizations::default();
        }
        let policy = &self.config.policy;
        policy.organizations(
            &session.principal,
            tenants,
            endpoint.permission,
            &mut self.remembered,
        )
    }

    /// Whether findings about a request to this endpoint take effect. In `mode: report` they do
    /// not, except for the projects API, which exists only through the gate.
    #[must_use]
    pub fn enforces(&self, endpoint: Option<&'static Endpoint>) -> bool {
        let projects = endpoint.is_some_and(|endpoint| endpoint.surface == Surface::Projects);
        self.config.mode == Mode::Enforce || projects
    }

    fn passage<'a>(&self, permit: Permit<'a>) -> Passage<'a> {
        if self.enforces(Some(permit.endpoint)) {
            return Passage::Enforced(permit);
        }
        let endpoint = Some(permit.endpoint);
        let found = Found::Granted {
            session: permit.session,
            credential: permit.credential,
            tenants: permit.tenants,
            form: match permit.query {
                Query::InBody(narrowing) => Some(narrowing),
                Query::AsSent(_) | Query::Narrowed(_) => None,
            },
        };
        Passage::Reported(Finding { endpoint, found })
    }

    /// The outcome of a request that the gate is to answer itself. If findings do not take
    /// effect, a request passes unchanged, but a browser's preflight request never reaches a
    /// backend.
    fn answer<'a>(&self, answer: OwnAnswer, facts: &DecisionFacts<'a>) -> Outcome<'a> {
        let (Some(session), Some(credential), Some(tenants)) =
            (&facts.session, facts.credential, &facts.tenants)
        else {
            return Outcome::Answer(answer);
        };
        if self.enforces(facts.endpoint) {
            return Outcome::Answer(answer);
        }
        let found = Found::Granted {
            session: Arc::clone(session),
            credential,
            tenants: tenants.canonical(),
            form: None,
        };
        Outcome::Forward(Passage::Reported(Finding {
            endpoint: facts.endpoint,
            found,
        }))
    }

    /// The outcome of a request that is to be refused.
    #[must_use]
    pub fn refuse<'a>(&self, denial: Denial, endpoint: Option<&'static Endpoint>) -> Outcome<'a> {
        if self.enforces(endpoint) {
            return Outcome::Refuse(denial);
        }
        let found = Found::Refused(denial);
        Outcome::Forward(Passage::Reported(Finding { endpoint, found }))
    }

    /// Replaces a denial if the caller may hold what it seems to lack, through an organization
    /// that is not known yet or a group that its token does not list.
    fn with_reason(&self, denial: Denial, facts: &DecisionFacts<'_>) -> Denial {
        let session = facts.session.as_ref();
        let partly_known = session.is_some_and(|session| session.principal.listing.overage);
        let of_organizations = facts
            .endpoint
            .is_some_and(|e| e.surface != Surface::Projects);
        match denial {
            Denial::PermissionMissing(_)
            | Denial::ScopeAmbiguous
            | Denial::ScopeUnsupported(_)
            | Denial::TenantNotGranted
                if of_organizations && self.grants != Grants::All =>
            {
                Denial::OrganizationsUnavailable
            }
            Denial::PermissionMissing(_) | Denial::TenantNotGranted if partly_known => {
                Denial::GroupsOverage
            }
            denial => denial,
        }
    }

    fn evaluate<'a>(
        &mut self,
        head: &Head<'a>,
        attempt: Attempt,
        lent: &mut Lent<'_>,
        facts: &mut DecisionFacts<'a>,
    ) -> Result<Permit<'a>, Stop> {
        let Doors::Open(endpoints) = &self.doors else {
            return Err(Denial::GateUnavailable.into());
        };
        let (method, path, query) = request_line(head)?;
        self.at_the_entrance(head, (method, path), endpoints, attempt.time, facts)?;
        let endpoint = endpoints.find(path, method)?;
        facts.endpoint = Some(endpoint);
        check_transport(head, endpoint)?;
        let Credential { token, kind } = self.credential(head, query, lent)?;
        facts.credential = Some(kind);
        let sent = Sent {
            token: &token,
            purpose: kind.purpose(),
        };
        let session = self.authenticate(sent, attempt, lent, facts)?;
        facts.session = Some(Arc::clone(&session));
        if endpoint.surface == Surface::Projects {
            let token = &*token;
            let caller = Caller {
                token,
                credential: kind,
                session,
            };
            return self.evaluate_project(head, endpoint, caller, attempt.time, facts);
        }
        let Some(tenants) = self.tenants(head, endpoint, &session)? else {
            return self.probe(endpoint, (kind, session), query);
        };
        facts.tenants = Some(tenants.clone());
        let scope = self.config.policy.authorize(
            &session.principal,
            &tenants,
            endpoint.permission,
            &mut self.remembered,
        )?;
        facts.scope.clone_from(&scope);
        let query = match &scope {
            None => Query::AsSent(query),
            Some(scope) => {
                self.check_label_policy(endpoint, &tenants, scope)?;
                self.narrow(head, endpoint, query, scope)?
            }
        };
        if !self.has(endpoint) {
            return Err(Denial::BackendNotConfigured.into());
        }
        let stream_expires = if opens_stream(head, endpoint) {
            Some(self.authenticator.expires(&session)?)
        } else {
            None
        };
        Ok(Permit {
            endpoint,
            session,
            credential: kind,
            tenants: tenants.canonical(),
            query,
            scope,
            stream_expires,
        })
    }

    /// The credential that decides. It is the one in `authorization` if that was made for this
    /// service, so that the verdict on it is final; otherwise it is the ID token, if there is
    /// one.
    fn credential<'a>(
        &self,
        head: &Head<'a>,
        query: Option<&[u8]>,
        lent: &mut Lent<'_>,
    ) -> Result<Credential<'a>, Denial> {
        let Offer { access, id_token } = offer(head, query, &self.config.credentials)?;
        let Some(id_token) = id_token else {
            return access.ok_or(Denial::CredentialMissing);
        };
        let meant =
            |access: &Credential<'_>| self.authenticator.is_meant(&access.token, lent.tokens);
        Ok(access.filter(meant).unwrap_or(Credential {
            token: Cow::Borrowed(id_token),
            kind: CredentialKind::IdToken,
        }))
    }

    fn authenticate(
        &mut self,
        sent: Sent<'_>,
        attempt: Attempt,
        lent: &mut Lent<'_>,
        facts: &mut DecisionFacts<'_>,
    ) -> Result<Arc<Session>, Unproven> {
        let presented = Presented {
            sent,
            arrived: attempt.arrived,
            time: attempt.time,
        };
        let mut findings = Findings::default();
        let groups = self.config.policy.groups();
        let session = self
            .authenticator
            .authenticate(presented, lent, groups, &mut findings);
        facts.session = findings.session;
        facts.cached = findings.cached;
        facts.verified = findings.verified;
        facts.dropped = findings.dropped;
        facts.refused = findings.refused;
        session
    }

    fn has(&self, endpoint: &Endpoint) -> bool {
        self.config.backends.has(endpoint.backend)
    }

    /// A probe that names no tenant passes without one.
    fn probe<'a>(
        &self,
        endpoint: &'static Endpoint,
        (credential, session): (CredentialKind, Arc<Session>),
        query: Option<&'a [u8]>,
    ) -> Result<Permit<'a>, Stop> {
        if !self.has(endpoint) {
            return Err(Denial::BackendNotConfigured.into());
        }
        Ok(Permit {
            endpoint,
            session,
            credential,
            tenants: Cow::Borrowed(b""),
            query: Query::AsSent(query),
            scope: None,
            stream_expires: None,
        })
    }

    /// Decides on a request to the projects API, for which the gate sets tenant and scope,
    /// whatever the caller sent.
    fn evaluate_project<'a>(
        &mut self,
        head: &Head<'a>,
        endpoint: &'static Endpoint,
        caller: Caller<'_>,
        time: Time,
        facts: &mut DecisionFacts<'a>,
    ) -> Result<Permit<'a>, Stop> {
        let (_, path, query) = request_line(head)?;
        let Some(projects) = &self.config.projects else {
            return Err(Denial::RouteNotListed.into());
        };
        let resource = Resource::of_path(path).ok_or(Denial::ResourceNotFound)?;
        let Caller {
            token,
            credential,
            session,
        } = caller;
        match &projects.directory {
            Directory::Inline(list) => {
                let checked = projects::check_inline(list, &session.principal, resource);
                let partly_known = session.principal.listing.overage;
                // This does not apply to a service, which decides by what it knows itself.
                checked.map_err(|denial| match denial {
                    Denial::ProjectNotGranted if partly_known => Denial::GroupsOverage,
                    denial => denial,
                })?;
            }
            // The exact time is needed so that no answer is used for longer than it may be
            // remembered.
            Directory::Http(_) => {
                let now = time.exact().ok_or(Stop::NeedsClock)?;
                let question = Question::new(token, resource);
                match self.answers.get(&question, now.mono) {
                    Some(answer) => answer.verdict()?,
                    None => return Err(Stop::Ask(question)),
                }
            }
        }
        let tenant = projects.tenant(resource)?;
        facts.tenant = Some(tenant.as_str().into());
        let scope = Arc::new(projects.scope(resource)?);
        facts.scope = Some(Arc::clone(&scope));
        let query = self.narrow(head, endpoint, query, &scope)?;
        if !self.has(endpoint) {
            return Err(Denial::BackendNotConfigured.into());
        }
        Ok(Permit {
            endpoint,
            session,
            credential,
            tenants: Cow::Owned(tenant.as_str().as_bytes().to_vec()),
            query,
            scope: Some(scope),
            stream_expires: None,
        })
    }

    /// Takes the answer of the directory of projects. `None` stands for no response.
    pub fn directory_answered(&mut self, question: Question, status: Option<u16>, now: Now) {
        if let Some(service) = self.config.directory() {
            let answer = DirectoryAnswer::of_status(status);
            let time = service.cache_ttl;
            self.answers.insert(question, answer, now.mono, time);
        }
    }
}

/// A credential and the caller that it proves.
struct Caller<'a> {
    token: &'a [u8],
    credential: CredentialKind,
    session: Arc<Session>,
}
