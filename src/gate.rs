//! The whole decision, in reading order.
//!
//! [`Gate::decide`] takes a request's head, the clocks and what the worker lends to it,
//! and gives an [`Evaluation`]: a [`Passage`], a [`Denial`], or what must be known before
//! there is either. Nothing else can make a passage, and only a passage can be turned
//! into the header edits that let a request pass ([`crate::forward`]).

use std::borrow::Cow;
use std::sync::Arc;

use crate::authn::authenticator::{
    Authenticator, Findings, Lent, Presented, TrustedProvider, Unproven,
};
use crate::authn::bearer;
use crate::authn::key_cache::{KeyCache, Keys, Need};
use crate::authn::keys::Algorithm;
use crate::authn::token_cache::{Owner, Session};
use crate::authz::endpoint::{Endpoint, Endpoints, Honoured, Scoping, Surface, Tenants};
use crate::authz::policy::{Organizations, Remembered};
use crate::authz::projects::{self, Answer, Answers, Directory, Question, Resource};
use crate::config::{Config, KeySource, Mode};
use crate::scoping::form;
use crate::scoping::narrow::{MAX_BODY, Narrowing};
use crate::scoping::parameters::Parameters;
use crate::scoping::scope::Scope;
use crate::scoping::tags;
use crate::words::denial::Denial;
use crate::words::identity::ProviderIndex;
use crate::words::method::Methods;
use crate::words::origin::Origin;
use crate::words::own_answer::{OwnAnswer, Unhealthy};
use crate::words::permission::Permission;
use crate::words::request::{Head, Occurrence};
use crate::words::tenant::{TenantError, TenantSet};
use crate::words::time::{Monotonic, Now, Time, Timestamp};
use crate::words::unscoped::Unscoped;

/// The composed decision function with its state: keys, and what a directory said.
#[derive(Debug)]
pub struct Gate {
    config: Arc<Config>,
    doors: Doors,
    authenticator: Authenticator,
    answers: Answers,
    remembered: Remembered,
}

/// What can be asked for.
#[derive(Debug)]
enum Doors {
    /// There is no good configuration: nothing, for as long as that is so.
    Closed,
    /// These endpoints.
    Open(Endpoints),
}

/// Proof that a request may pass, with what forwarding and records need.
#[derive(Debug)]
pub struct Permit<'a> {
    endpoint: &'static Endpoint,
    session: Arc<Session>,
    tenants: Cow<'a, [u8]>,
    query: Query<'a>,
    scope: Option<Arc<Scope>>,
    stream_expires: Option<Timestamp>,
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
    endpoint: Option<&'static Endpoint>,
    found: Found<'a>,
}

#[derive(Debug)]
enum Found<'a> {
    /// It would have been let through.
    Granted {
        session: Arc<Session>,
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

/// What came of a request.
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
    /// What came of it.
    pub outcome: Outcome<'a>,
    /// How.
    pub trace: Trace<'a>,
}

/// What a record says about a decision. Holds proven facts only: the session is
/// set once a signature was verified.
#[derive(Clone, Debug, Default)]
pub struct Trace<'a> {
    /// The endpoint, once matched.
    pub endpoint: Option<&'static Endpoint>,
    /// The caller, once verified.
    pub session: Option<Arc<Session>>,
    /// The tenants as asked for, once well-formed.
    pub tenants: Option<TenantSet<'a>>,
    /// The tenant of a project, which no header names.
    pub tenant: Option<Arc<str>>,
    /// What of it the caller may see, if not all.
    pub scope: Option<Arc<Scope>>,
    /// Whether the token was remembered.
    pub cached: Option<bool>,
    /// Which provider's signature was checked with which algorithm, and whether
    /// the token held.
    pub verified: Option<(ProviderIndex, Algorithm, bool)>,
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
enum Stop {
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

impl Gate {
    /// A gate by this configuration. `owner` tells what it remembers of tokens from what
    /// other gates do, `seed` keys its hashes.
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
            config,
        }
    }

    /// A gate that refuses everything, with an answer that asks for another try: there is
    /// no good configuration.
    #[must_use]
    pub fn closed() -> Self {
        Self {
            doors: Doors::Closed,
            ..Self::new(Arc::new(Config::closed()), Owner(0), 0)
        }
    }

    /// The configuration it decides by.
    #[must_use]
    pub const fn config(&self) -> &Arc<Config> {
        &self.config
    }

    /// Its providers and their keys.
    #[must_use]
    pub const fn authenticator(&self) -> &Authenticator {
        &self.authenticator
    }

    /// Its providers and their keys, to give them newer ones.
    pub const fn authenticator_mut(&mut self) -> &mut Authenticator {
        &mut self.authenticator
    }

    /// Decides about a request.
    pub fn decide<'a>(
        &mut self,
        head: &Head<'a>,
        attempt: Attempt,
        lent: &mut Lent<'_>,
    ) -> Evaluation<'a> {
        let mut trace = Trace::default();
        let outcome = match self.evaluate(head, attempt, lent, &mut trace) {
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
            Err(Stop::Answer(answer)) => self.answer(answer, &trace),
            Err(Stop::Deny(denial)) => self.refuse(denial, trace.endpoint),
            Err(Stop::NeedsClock) => Outcome::NeedsClock,
        };
        Evaluation { outcome, trace }
    }

    /// The organizations by way of which the caller holds what was asked for, for the
    /// record.
    pub fn organizations(&mut self, trace: &Trace<'_>) -> Organizations {
        let (Some(session), Some(tenants), Some(endpoint)) =
            (&trace.session, &trace.tenants, trace.endpoint)
        else {
            return Organizations::default();
        };
        let policy = &self.config.policy;
        policy.organizations(
            &session.principal,
            tenants,
            endpoint.permission,
            &mut self.remembered,
        )
    }

    /// Whether findings about a request of this endpoint take effect: not in
    /// `mode: report`, but for the projects API, which exists by the gate alone.
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
            tenants: permit.tenants,
            form: match permit.query {
                Query::InBody(narrowing) => Some(narrowing),
                Query::AsSent(_) | Query::Narrowed(_) => None,
            },
        };
        Passage::Reported(Finding { endpoint, found })
    }

    /// What comes of a request that is to be answered here. Where findings do not take
    /// effect it passes as it is; a browser's question of its own never reaches a backend.
    fn answer<'a>(&self, answer: OwnAnswer, trace: &Trace<'a>) -> Outcome<'a> {
        let (Some(session), Some(tenants)) = (&trace.session, &trace.tenants) else {
            return Outcome::Answer(answer);
        };
        if self.enforces(trace.endpoint) {
            return Outcome::Answer(answer);
        }
        let found = Found::Granted {
            session: Arc::clone(session),
            tenants: tenants.canonical(),
            form: None,
        };
        Outcome::Forward(Passage::Reported(Finding {
            endpoint: trace.endpoint,
            found,
        }))
    }

    /// What comes of a request that is to be refused.
    #[must_use]
    pub fn refuse<'a>(&self, denial: Denial, endpoint: Option<&'static Endpoint>) -> Outcome<'a> {
        if self.enforces(endpoint) {
            return Outcome::Refuse(denial);
        }
        let found = Found::Refused(denial);
        Outcome::Forward(Passage::Reported(Finding { endpoint, found }))
    }

    fn evaluate<'a>(
        &mut self,
        head: &Head<'a>,
        attempt: Attempt,
        lent: &mut Lent<'_>,
        trace: &mut Trace<'a>,
    ) -> Result<Permit<'a>, Stop> {
        let Doors::Open(endpoints) = &self.doors else {
            return Err(Denial::GateUnavailable.into());
        };
        let (method, path, query) = request_line(head)?;
        self.at_the_entrance(head, (method, path), endpoints, attempt.time, trace)?;
        let endpoint = endpoints.find(path, method)?;
        trace.endpoint = Some(endpoint);
        check_transport(head, endpoint)?;
        let token = credential(head, query)?;
        let session = match self.authenticate(token, attempt, lent, trace) {
            // Which tenants the caller has is not known, so that none can be left out.
            Err(Unproven::Refused(Denial::GroupsOverage))
                if head.org_id == Occurrence::Absent
                    && self.config.entrance.tenants.only_one_may_be_absent =>
            {
                return Err(Denial::TenantMissing.into());
            }
            session => session?,
        };
        trace.session = Some(Arc::clone(&session));
        if endpoint.surface == Surface::Projects {
            let caller = Caller { token, session };
            return self.evaluate_project(head, endpoint, caller, attempt.time, trace);
        }
        let Some(tenants) = self.tenants(head, endpoint, &session)? else {
            return self.probe(endpoint, session, query);
        };
        trace.tenants = Some(tenants.clone());
        let scope = self.config.policy.authorize(
            &session.principal,
            &tenants,
            endpoint.permission,
            &mut self.remembered,
        )?;
        trace.scope.clone_from(&scope);
        let query = match &scope {
            None => Query::AsSent(query),
            // What is answered here is said for a backend, so that there must be one.
            Some(_)
                if matches!(endpoint.scoping, Scoping::AnsweredEmpty(_)) && !self.has(endpoint) =>
            {
                return Err(Denial::BackendNotConfigured.into());
            }
            Some(scope) => self.narrow(head, endpoint, query, scope)?,
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
            tenants: tenants.canonical(),
            query,
            scope,
            stream_expires,
        })
    }

    fn authenticate(
        &mut self,
        token: &[u8],
        attempt: Attempt,
        lent: &mut Lent<'_>,
        trace: &mut Trace<'_>,
    ) -> Result<Arc<Session>, Unproven> {
        let presented = Presented {
            token,
            arrived: attempt.arrived,
            time: attempt.time,
        };
        let mut findings = Findings::default();
        let groups = self.config.policy.groups();
        let session = self
            .authenticator
            .authenticate(presented, lent, groups, &mut findings);
        trace.session = findings.session;
        trace.cached = findings.cached;
        trace.verified = findings.verified;
        session
    }

    fn has(&self, endpoint: &Endpoint) -> bool {
        self.config.backends.has(endpoint.backend)
    }

    /// What is answered before anybody has shown who they are: health checks, and what
    /// browsers ask for pages (Fetch standard, "CORS-preflight request").
    fn at_the_entrance(
        &self,
        head: &Head<'_>,
        (method, path): (&[u8], &[u8]),
        endpoints: &Endpoints,
        time: Time,
        trace: &mut Trace<'_>,
    ) -> Result<(), Stop> {
        if self.is_health_path(path) {
            return match method {
                b"GET" | b"HEAD" => Err(self.health(time).into()),
                _ => Err(Denial::MethodNotAllowed(Methods::GET).into()),
            };
        }
        if method == b"OPTIONS"
            && self.listed_origin(head).is_some()
            && let Occurrence::Once(asked) = head.asked_method
            && let Ok(endpoint) = endpoints.find(path, asked)
        {
            trace.endpoint = Some(endpoint);
            return Err(OwnAnswer::Preflight(endpoint.methods).into());
        }
        Ok(())
    }

    fn is_health_path(&self, path: &[u8]) -> bool {
        let health = self.config.entrance.health.as_ref();
        health.is_some_and(|health| health.as_bytes() == path)
    }

    /// Whether that asks how the gate is, which is answered whatever the matter is.
    #[must_use]
    pub fn is_health_check(&self, head: &Head<'_>) -> bool {
        request_line(head).is_ok_and(|(method, path, _)| {
            self.is_health_path(path) && matches!(method, b"GET" | b"HEAD")
        })
    }

    /// The gate can do its work if one provider at least has keys that may still serve:
    /// what one provider fails to do must not take the gate from all others.
    fn health(&self, time: Time) -> OwnAnswer {
        let now = time.now().mono;
        let mut providers = self.authenticator.providers().iter();
        if providers.any(|provider| provider.keys.are_usable(now)) {
            OwnAnswer::Healthy
        } else {
            OwnAnswer::Unhealthy(Unhealthy::NoKeys)
        }
    }

    /// The page that a browser sends the request for, if it is one of those that may.
    #[must_use]
    pub fn listed_origin(&self, head: &Head<'_>) -> Option<&Origin> {
        let sent = head.origin.once()?;
        let mut origins = self.config.entrance.origins.iter();
        origins.find(|origin| origin.as_str().as_bytes() == sent)
    }

    /// The projects API: tenant and scope are set here, whatever the caller sent.
    fn evaluate_project<'a>(
        &mut self,
        head: &Head<'a>,
        endpoint: &'static Endpoint,
        caller: Caller<'_>,
        time: Time,
        trace: &mut Trace<'a>,
    ) -> Result<Permit<'a>, Stop> {
        let (_, path, query) = request_line(head)?;
        let Some(projects) = &self.config.projects else {
            return Err(Denial::RouteNotListed.into());
        };
        let resource = Resource::of_path(path).ok_or(Denial::ResourceNotFound)?;
        let Caller { token, session } = caller;
        match &projects.directory {
            Directory::Inline(list) => {
                projects::check_inline(list, &session.principal, resource)?;
            }
            // No answer is used for longer than it may be remembered.
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
        trace.tenant = Some(tenant.as_str().into());
        let scope = Arc::new(projects.scope(resource)?);
        trace.scope = Some(Arc::clone(&scope));
        let query = self.narrow(head, endpoint, query, &scope)?;
        if !self.has(endpoint) {
            return Err(Denial::BackendNotConfigured.into());
        }
        Ok(Permit {
            endpoint,
            session,
            tenants: Cow::Owned(tenant.as_str().as_bytes().to_vec()),
            query,
            scope: Some(scope),
            stream_expires: None,
        })
    }

    /// Whether the server behind an endpoint honours what limits it, as far as it is known.
    fn check_backend(
        &self,
        endpoint: &Endpoint,
        parameters: &Parameters,
        honoured: Honoured,
    ) -> Result<(), Denial> {
        let backends = &self.config.backends;
        let backend = endpoint.backend;
        if backends
            .version(backend)
            .is_some_and(|version| version < honoured.since)
        {
            return Err(unscoped(Unscoped::Version(backend.name(), honoured.since)));
        }
        if parameters.whole_traces && backends.tempo_search_denied {
            return Err(unscoped(Unscoped::Denied));
        }
        Ok(())
    }

    /// Puts the scope into the parameters, or says how it will be put into the body.
    fn narrow<'a>(
        &self,
        head: &Head<'a>,
        endpoint: &Endpoint,
        query: Option<&'a [u8]>,
        scope: &Scope,
    ) -> Result<Query<'a>, Stop> {
        let parameters = match endpoint.scoping {
            Scoping::AnsweredEmpty(document) => {
                return Err(OwnAnswer::Empty(document).into());
            }
            Scoping::Harmless => return Ok(Query::AsSent(query)),
            Scoping::Parameters(parameters, honoured) => {
                self.check_backend(endpoint, parameters, honoured)?;
                parameters
            }
            Scoping::Unsupported => return Err(unscoped(Unscoped::Endpoint).into()),
            Scoping::WholeTrace => return Err(unscoped(Unscoped::TraceById).into()),
        };
        if parameters.tag_in_path {
            let (_, path, _) = request_line(head)?;
            let tag = endpoint.segment(path);
            if !tag.is_some_and(|tag| tags::are_filtered(&tag)) {
                return Err(unscoped(Unscoped::Tag).into());
            }
        }
        let attributes = &self.config.backends.tempo_attributes;
        let narrowing = Narrowing::new(parameters, scope, attributes, query)?;
        // What follows the head of a websocket is no body.
        if !head.has_body || head.upgrade != Occurrence::Absent {
            return Ok(Query::Narrowed(narrowing.form(None)?));
        }
        if head.method.once() != Some(b"POST") {
            return Err(Denial::BodyNotExpected.into());
        }
        if !head.is_form() {
            return Err(Denial::ContentTypeNotSupported.into());
        }
        let length = match head.content_length {
            Occurrence::Absent => None,
            Occurrence::Once(length) => Some(length),
            Occurrence::Repeated => return Err(Denial::RequestMalformed.into()),
        };
        if length.is_some_and(|length| !is_at_most(length, MAX_BODY)) {
            return Err(Denial::BodyTooLarge.into());
        }
        Ok(Query::InBody(narrowing))
    }

    /// What the directory of projects said; `None` for no response.
    pub fn directory_answered(&mut self, question: Question, status: Option<u16>, now: Now) {
        if let Some(service) = self.config.directory() {
            let answer = Answer::of_status(status);
            let time = service.cache_ttl;
            self.answers.insert(question, answer, now.mono, time);
        }
    }

    /// The tenants that are asked for; `None` for a probe that names none.
    fn tenants<'a>(
        &mut self,
        head: &Head<'a>,
        endpoint: &Endpoint,
        session: &Session,
    ) -> Result<Option<TenantSet<'a>>, Denial> {
        let header = match head.org_id {
            Occurrence::Once(header) => header,
            Occurrence::Absent if endpoint.tenants == Tenants::Optional => {
                // What it tells is about the server, which is for those whom it serves.
                return if self.config.policy.grants_anything(&session.principal) {
                    Ok(None)
                } else {
                    Err(Denial::TenantNotGranted)
                };
            }
            Occurrence::Absent => return self.only_tenant(session).map(Some),
            Occurrence::Repeated => return Err(Denial::TenantRepeated),
        };
        let star_is_all = self.config.entrance.tenants.star_is_all;
        if star_is_all && header == b"*" {
            return self.all_tenants(endpoint, session).map(Some);
        }
        let limit = self.config.limits.tenants_per_request;
        let tenants = TenantSet::parse(header, limit).map_err(Denial::TenantMalformed)?;
        if star_is_all && tenants.iter().any(|tenant| tenant == b"*") {
            return Err(Denial::TenantMalformed(TenantError::StarBeside));
        }
        match endpoint.tenants {
            Tenants::One if tenants.asked() > 1 => Err(Denial::TenantNotSingle),
            Tenants::One | Tenants::Many | Tenants::Optional => Ok(Some(tenants)),
        }
    }

    /// The one tenant of a caller who has no other, where that may be left out.
    fn only_tenant<'a>(&mut self, session: &Session) -> Result<TenantSet<'a>, Denial> {
        if !self.config.entrance.tenants.only_one_may_be_absent {
            return Err(Denial::TenantMissing);
        }
        let policy = &self.config.policy;
        let held = policy.held(&session.principal, None, 1, &mut self.remembered);
        match (held.count, &held.names) {
            (0, _) => Err(Denial::TenantNotGranted),
            (1, Some(name)) => Ok(TenantSet::of(name)),
            (count, _) => Err(Denial::TenantAmbiguous(count)),
        }
    }

    /// All tenants on which the caller holds what the endpoint takes.
    fn all_tenants<'a>(
        &mut self,
        endpoint: &Endpoint,
        session: &Session,
    ) -> Result<TenantSet<'a>, Denial> {
        if endpoint.tenants == Tenants::One {
            return Err(Denial::TenantNotSingle);
        }
        let policy = &self.config.policy;
        let limit = self.config.limits.tenants_per_request;
        let wanted = Some(endpoint.permission);
        let held = policy.held(&session.principal, wanted, limit, &mut self.remembered);
        match &held.names {
            Some(names) => Ok(TenantSet::of(names)),
            None if held.count > 0 => Err(Denial::TenantsOverLimit(held.count)),
            None if policy.grants_anything(&session.principal) => {
                Err(Denial::PermissionMissing(endpoint.permission))
            }
            None => Err(Denial::TenantNotGranted),
        }
    }

    /// A probe that names no tenant goes on without one.
    fn probe<'a>(
        &self,
        endpoint: &'static Endpoint,
        session: Arc<Session>,
        query: Option<&'a [u8]>,
    ) -> Result<Permit<'a>, Stop> {
        if !self.has(endpoint) {
            return Err(Denial::BackendNotConfigured.into());
        }
        Ok(Permit {
            endpoint,
            session,
            tenants: Cow::Borrowed(b""),
            query: Query::AsSent(query),
            scope: None,
            stream_expires: None,
        })
    }
}

const fn unscoped(why: Unscoped) -> Denial {
    Denial::ScopeUnsupported(why)
}

/// A credential and who it stands for.
struct Caller<'a> {
    token: &'a [u8],
    session: Arc<Session>,
}

/// Whether a `content-length` is a number that is not larger.
fn is_at_most(length: &[u8], most: usize) -> bool {
    std::str::from_utf8(length)
        .ok()
        .and_then(|length| length.parse::<usize>().ok())
        .is_some_and(|length| length <= most)
}

/// Method, path and query string; anything ambiguous about the head is refused.
#[expect(clippy::type_complexity)]
fn request_line<'a>(head: &Head<'a>) -> Result<(&'a [u8], &'a [u8], Option<&'a [u8]>), Denial> {
    let (Occurrence::Once(method), Occurrence::Once(path)) = (head.method, head.path) else {
        return Err(Denial::RequestMalformed);
    };
    if head.connection_names_protected {
        return Err(Denial::ConnectionHeader);
    }
    match path.iter().position(|byte| *byte == b'?') {
        None => Ok((method, path, None)),
        Some(mark) => {
            let (path, query) = path.split_at(mark);
            Ok((method, path, query.get(1..)))
        }
    }
}

/// gRPC methods are called by gRPC and nothing else is; only tails upgrade.
fn check_transport(head: &Head<'_>, endpoint: &Endpoint) -> Result<(), Denial> {
    let fits = if endpoint.is_grpc() {
        head.calls_grpc()
    } else {
        !head.resembles_grpc()
    };
    if !fits {
        return Err(Denial::RouteNotListed);
    }
    match head.upgrade {
        Occurrence::Absent => Ok(()),
        Occurrence::Once(protocol)
            if endpoint.upgrade && protocol.eq_ignore_ascii_case(b"websocket") =>
        {
            Ok(())
        }
        Occurrence::Once(_) | Occurrence::Repeated => Err(Denial::UpgradeNotSupported),
    }
}

/// Whether a request that fits its endpoint goes on after its answer has begun, for
/// as long as both sides like: a websocket, or a method of Tempo's streaming API.
fn opens_stream(head: &Head<'_>, endpoint: &Endpoint) -> bool {
    let upgraded = endpoint.upgrade && head.upgrade != Occurrence::Absent;
    upgraded || (endpoint.is_grpc() && endpoint.permission == Permission::Read)
}

fn credential<'a>(head: &Head<'a>, query: Option<&[u8]>) -> Result<&'a [u8], Denial> {
    let in_query = query.is_some_and(form::has_access_token);
    match head.authorization {
        Occurrence::Repeated => Err(Denial::CredentialRepeated),
        Occurrence::Absent if in_query => Err(Denial::TokenInQuery),
        Occurrence::Absent => Err(Denial::CredentialMissing),
        Occurrence::Once(_) if in_query => Err(Denial::CredentialRepeated),
        Occurrence::Once(value) => bearer::parse(value).map_err(|error| match error {
            bearer::BearerError::Malformed => Denial::AuthorizationMalformed,
            bearer::BearerError::OtherScheme => Denial::SchemeNotSupported,
            bearer::BearerError::Several => Denial::CredentialRepeated,
        }),
    }
}
