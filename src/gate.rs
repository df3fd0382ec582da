//! The whole decision, in reading order.
//!
//! [`Gate::decide`] takes a request's head, both clocks and a signature engine and
//! gives an [`Evaluation`]: a [`Permit`], a [`Denial`], or the advice to wait for
//! keys. Nothing else can make a `Permit`, and only a `Permit` can be turned into
//! the header edits that let a request pass ([`crate::forward`]).

use std::borrow::Cow;
use std::sync::Arc;

use crate::authn::bearer;
use crate::authn::jwks::{JwksError, KeySet};
use crate::authn::key_cache::{Demand, KeyCache, Schedule};
use crate::authn::keys::{Algorithm, BadSignature, SignatureEngine, VerifyingKey};
use crate::authn::token::{self, Unverified};
use crate::authn::token_cache::{Session, TokenCache};
use crate::authz::endpoint::{Endpoint, Endpoints, Scoping, Surface, Tenants};
use crate::authz::projects::{self, Answer, Answers, Directory, Question, Resource};
use crate::config::{Config, KeySource, KeyUri};
use crate::scoping::form;
use crate::scoping::narrow::{MAX_BODY, Narrowing};
use crate::scoping::scope::Scope;
use crate::words::denial::Denial;
use crate::words::identity::ProviderIndex;
use crate::words::permission::Permission;
use crate::words::request::{Head, Occurrence};
use crate::words::tenant::TenantSet;
use crate::words::time::{Monotonic, Now, Timestamp};

/// The composed decision function with its state: keys and verified tokens.
#[derive(Debug)]
pub struct Gate {
    config: Config,
    endpoints: Endpoints,
    keys: Vec<KeyCache>,
    tokens: TokenCache,
    /// What the directory of projects said.
    answers: Answers,
    /// Tokens that an earlier gate has verified, for their signatures only.
    proven: Option<TokenCache>,
    /// When that was taken over, as of the first tick after.
    succeeded: Option<Monotonic>,
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

    /// The tenant header to forward; borrowed when the client's is canonical.
    #[must_use]
    pub const fn tenants(&self) -> &Cow<'a, [u8]> {
        &self.tenants
    }

    /// What becomes of the parameters.
    #[must_use]
    pub const fn query(&self) -> &Query<'a> {
        &self.query
    }

    /// What is to be put into the body, if there is one to be read.
    #[must_use]
    pub fn into_narrowing(self) -> Option<Narrowing> {
        match self.query {
            Query::InBody(narrowing) => Some(narrowing),
            Query::AsSent(_) | Query::Narrowed(_) => None,
        }
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

/// What came of a request.
#[derive(Debug)]
pub enum Outcome<'a> {
    /// Ask the directory of projects, keep the request until it answers, and decide
    /// again.
    Ask(Question),
    /// Refuse it.
    Deny(Denial),
    /// Nothing changed yet, but what comes depends on the exact time: read the
    /// clocks and decide again.
    NeedsClock,
    /// Forward it.
    Permit(Permit<'a>),
    /// Keep it until this provider's keys arrive, and decide again.
    Wait {
        /// Whose keys.
        provider: ProviderIndex,
        /// Whether the caller must start the fetch.
        fetch: bool,
    },
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

/// When a request came, and whether it may still wait.
#[derive(Clone, Copy, Debug)]
pub struct Attempt {
    /// When the request came.
    pub arrived: Monotonic,
    /// Whether its time or the room to wait is used up.
    pub last: bool,
    /// Whether the clocks may lag by up to a second, which does for remembered
    /// tokens and saves a call into the proxy for each request.
    pub coarse: bool,
}

/// How long what an earlier gate knew is kept, in milliseconds: whoever calls often has
/// called by then.
pub const PROVEN_FOR: u64 = 600_000;

/// For tokens whose signature has been verified before.
struct Proven;

impl SignatureEngine for Proven {
    fn verify(&self, _: &VerifyingKey, _: &[u8], _: &[u8]) -> Result<(), BadSignature> {
        Ok(())
    }
}

/// Why an evaluation stops short of a permit.
enum Stop {
    Ask(Question),
    Deny(Denial),
    NeedsClock,
    Wait {
        provider: ProviderIndex,
        fetch: bool,
    },
}

impl From<Denial> for Stop {
    fn from(denial: Denial) -> Self {
        Self::Deny(denial)
    }
}

impl Gate {
    /// A gate with empty caches. `seed` spreads fetch schedules.
    #[must_use]
    pub fn new(config: Config, seed: u64) -> Self {
        let keys = (0_u64..)
            .zip(&config.providers)
            .map(|(position, (_, source))| new_key_cache(source, &config, seed ^ position))
            .collect();
        Self {
            endpoints: Endpoints::new(&config.surfaces()),
            tokens: TokenCache::new(config.limits.cached_tokens, config.limits.cached_bytes()),
            keys,
            answers: Answers::default(),
            proven: None,
            succeeded: None,
            config,
        }
    }

    /// Takes over what an earlier gate, of another configuration, knows of tokens:
    /// that their signatures are good. It is of use for [`PROVEN_FOR`].
    pub fn succeed(&mut self, earlier: &Self) {
        let limits = self.config.limits;
        let mut proven = TokenCache::new(limits.cached_tokens, limits.cached_bytes());
        // An earlier gate may have had no request yet when the next configuration came.
        if let Some(older) = &earlier.proven {
            proven.add(older);
        }
        proven.add(&earlier.tokens);
        self.proven = Some(proven);
        self.succeeded = None;
    }

    /// The configuration it decides by.
    #[must_use]
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// How many verified tokens it remembers.
    #[must_use]
    pub fn cached_tokens(&self) -> usize {
        self.tokens.len()
    }

    /// Decides about a request.
    pub fn decide<'a>(
        &mut self,
        head: &Head<'a>,
        attempt: Attempt,
        now: Now,
        engine: &dyn SignatureEngine,
    ) -> Evaluation<'a> {
        let mut trace = Trace::default();
        let outcome = match self.evaluate(head, attempt, now, engine, &mut trace) {
            Ok(permit) => Outcome::Permit(permit),
            Err(Stop::Ask(question)) => Outcome::Ask(question),
            Err(Stop::Deny(denial)) => Outcome::Deny(denial),
            Err(Stop::NeedsClock) => Outcome::NeedsClock,
            Err(Stop::Wait { provider, fetch }) => Outcome::Wait { provider, fetch },
        };
        Evaluation { outcome, trace }
    }

    fn evaluate<'a>(
        &mut self,
        head: &Head<'a>,
        attempt: Attempt,
        now: Now,
        engine: &dyn SignatureEngine,
        trace: &mut Trace<'a>,
    ) -> Result<Permit<'a>, Stop> {
        let (method, path, query) = request_line(head)?;
        let endpoint = self.endpoints.find(path, method)?;
        trace.endpoint = Some(endpoint);
        check_transport(head, endpoint)?;
        let token = credential(head, query)?;
        let session = self.authenticate(token, attempt, now, engine, trace)?;
        trace.session = Some(Arc::clone(&session));
        if endpoint.surface == Surface::Projects {
            let token = Token { token, session };
            return self.evaluate_project(head, endpoint, token, attempt, now, trace);
        }
        let tenants = self.tenants(head, endpoint)?;
        trace.tenants = Some(tenants.clone());
        let scope =
            self.config
                .policy
                .authorize(&session.principal, &tenants, endpoint.permission)?;
        trace.scope.clone_from(&scope);
        let query = match &scope {
            None => Query::AsSent(query),
            Some(scope) => self.narrow(head, endpoint, query, scope)?,
        };
        if !self.config.backends.has(endpoint.backend) {
            return Err(Denial::BackendNotConfigured.into());
        }
        let stream_expires = if opens_stream(head, endpoint) {
            Some(self.expires(&session)?)
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

    /// The projects API: tenant and scope are set here, whatever the caller sent.
    fn evaluate_project<'a>(
        &mut self,
        head: &Head<'a>,
        endpoint: &'static Endpoint,
        caller: Token<'_>,
        attempt: Attempt,
        now: Now,
        trace: &mut Trace<'a>,
    ) -> Result<Permit<'a>, Stop> {
        let (_, path, query) = request_line(head)?;
        let Some(projects) = &self.config.projects else {
            return Err(Denial::RouteNotListed.into());
        };
        let resource = Resource::of_path(path).ok_or(Denial::ResourceNotFound)?;
        let Token { token, session } = caller;
        match &projects.directory {
            Directory::Inline(list) => {
                projects::check_inline(list, &session.principal, resource)?;
            }
            // No answer is used for longer than it may be remembered.
            Directory::Http(_) if attempt.coarse => return Err(Stop::NeedsClock),
            Directory::Http(_) => {
                let question = Question::new(token, resource);
                match self.answers.get(&question, now.mono) {
                    Some(answer) => answer.verdict()?,
                    None if attempt.last => return Err(Denial::DirectoryUnavailable.into()),
                    None => return Err(Stop::Ask(question)),
                }
            }
        }
        let tenant = projects.tenant(resource)?;
        trace.tenant = Some(tenant.as_str().into());
        let scope = Arc::new(projects.scope(resource)?);
        trace.scope = Some(Arc::clone(&scope));
        let query = self.narrow(head, endpoint, query, &scope)?;
        if !self.config.backends.has(endpoint.backend) {
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

    /// Puts the scope into the parameters, or says how it will be put into the body.
    fn narrow<'a>(
        &self,
        head: &Head<'a>,
        endpoint: &Endpoint,
        query: Option<&'a [u8]>,
        scope: &Scope,
    ) -> Result<Query<'a>, Denial> {
        let parameters = match endpoint.scoping {
            Scoping::Harmless => return Ok(Query::AsSent(query)),
            Scoping::Parameters(parameters) => parameters,
            Scoping::Unsupported => return Err(Denial::ScopeUnsupported),
        };
        let attributes = &self.config.backends.tempo_attributes;
        let narrowing = Narrowing::new(parameters, scope, attributes, query)?;
        // What follows the head of a websocket is no body.
        if !head.has_body || head.upgrade != Occurrence::Absent {
            return narrowing.form(None).map(Query::Narrowed);
        }
        if head.method.once() != Some(b"POST") {
            return Err(Denial::BodyNotExpected);
        }
        if !head.is_form() {
            return Err(Denial::ContentTypeNotSupported);
        }
        let length = match head.content_length {
            Occurrence::Absent => None,
            Occurrence::Once(length) => Some(length),
            Occurrence::Repeated => return Err(Denial::RequestMalformed),
        };
        if length.is_some_and(|length| !is_at_most(length, MAX_BODY)) {
            return Err(Denial::BodyTooLarge);
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

    /// From when on a request with the session's token would be refused as expired.
    fn expires(&self, session: &Session) -> Result<Timestamp, Denial> {
        let ProviderIndex(position) = session.principal.provider;
        match self.config.providers.get(position) {
            Some((provider, _)) => Ok(provider.expires(session.times)),
            None => Err(Denial::GateUnavailable),
        }
    }

    fn tenants<'a>(&self, head: &Head<'a>, endpoint: &Endpoint) -> Result<TenantSet<'a>, Denial> {
        let header = match head.org_id {
            Occurrence::Once(header) => header,
            Occurrence::Absent => return Err(Denial::TenantMissing),
            Occurrence::Repeated => return Err(Denial::TenantRepeated),
        };
        let limit = self.config.limits.tenants_per_request;
        let tenants = TenantSet::parse(header, limit).map_err(Denial::TenantMalformed)?;
        match endpoint.tenants {
            Tenants::One if tenants.asked() > 1 => Err(Denial::TenantNotSingle),
            Tenants::One | Tenants::Many => Ok(tenants),
        }
    }

    fn authenticate(
        &mut self,
        token: &[u8],
        attempt: Attempt,
        now: Now,
        engine: &dyn SignatureEngine,
        trace: &mut Trace<'_>,
    ) -> Result<Arc<Session>, Stop> {
        match self.remembered(token, now, trace) {
            Ok(Some(session)) => {
                trace.cached = Some(true);
                return Ok(session);
            }
            // What has expired on a clock that lags has expired.
            Err(Denial::TokenExpired) => return Err(Denial::TokenExpired.into()),
            // But such a clock must not refuse a token of this second.
            Ok(None) | Err(_) if attempt.coarse => return Err(Stop::NeedsClock),
            Ok(None) => {}
            Err(denial) => return Err(denial.into()),
        }
        trace.cached = Some(false);
        let unverified = Unverified::parse(token, self.config.limits.token_bytes)?;
        let issuer = token::issuer(&unverified.claims)?;
        let position = self
            .config
            .providers
            .iter()
            .position(|(provider, _)| provider.issuer.as_str() == issuer)
            .ok_or(Denial::IssuerUnknown)?;
        let (Some((provider, _)), Some(keys)) = (
            self.config.providers.get(position),
            self.keys.get_mut(position),
        ) else {
            return Err(Denial::GateUnavailable.into());
        };
        let index = ProviderIndex(position);
        let plausible = provider.check(unverified, now.wall)?;
        let found = match keys.keys(now.mono) {
            None => Err(Denial::KeysUnavailable),
            Some(set) => plausible.key(set).map(Arc::clone),
        };
        let key = match found {
            Ok(key) => key,
            Err(Denial::UnknownKey | Denial::KeysUnavailable) => {
                let issued_at = plausible.times().issued_at;
                return Err(
                    match keys.demand(now, attempt.arrived, issued_at, provider.leeway) {
                        Demand::Refuse(denial) => Stop::Deny(denial),
                        Demand::Fetch => Stop::Wait {
                            provider: index,
                            fetch: true,
                        },
                        Demand::Wait if attempt.last => Denial::KeysUnavailable.into(),
                        Demand::Wait => Stop::Wait {
                            provider: index,
                            fetch: false,
                        },
                    },
                );
            }
            Err(denial) => return Err(denial.into()),
        };
        let algorithm = key.algorithm();
        // These very bytes may have been proven under an earlier configuration, and
        // the key is trusted for this issuer still: all but the signature is judged
        // anew.
        let proven = self.proven.as_mut().is_some_and(|proven| {
            let earlier = proven.get(token);
            earlier.is_some_and(|session| session.key.is_same(&key))
        });
        let engine = if proven { &Proven } else { engine };
        let verified = provider.verify(plausible, &key, engine);
        let held = !matches!(verified, Err(Denial::SignatureInvalid));
        trace.verified = (!proven).then_some((index, algorithm, held));
        let verified = verified?;
        let principal = provider.mapping.principal(
            verified.claims(),
            index,
            self.config.policy.groups(),
            self.config.limits.groups,
        )?;
        let session = Arc::new(Session {
            principal,
            times: verified.times(),
            key: Arc::clone(verified.key()),
        });
        self.tokens.insert(token, Arc::clone(&session));
        Ok(session)
    }

    /// The session of a remembered token whose times hold now and whose provider
    /// still has keys that are fresh enough.
    fn remembered(
        &mut self,
        token: &[u8],
        now: Now,
        trace: &mut Trace<'_>,
    ) -> Result<Option<Arc<Session>>, Denial> {
        let Some(session) = self.tokens.get(token).map(Arc::clone) else {
            return Ok(None);
        };
        let ProviderIndex(position) = session.principal.provider;
        let usable = self
            .keys
            .get(position)
            .is_some_and(|keys| keys.keys(now.mono).is_some());
        let Some((provider, _)) = self.config.providers.get(position).filter(|_| usable) else {
            return Ok(None);
        };
        let times = provider.check_times(session.times, now.wall);
        if let Err(denial) = times {
            trace.session = Some(session);
            if denial == Denial::TokenExpired {
                self.tokens.forget(token);
            }
            return Err(denial);
        }
        Ok(Some(session))
    }

    /// Time passes: the providers whose keys should be fetched now.
    pub fn tick(&mut self, now: Now) -> Vec<ProviderIndex> {
        if self.proven.is_some() {
            let since = *self.succeeded.get_or_insert(now.mono);
            if now.mono.since(since) > PROVEN_FOR {
                self.proven = None;
            }
        }
        self.keys
            .iter_mut()
            .enumerate()
            .filter_map(|(position, keys)| keys.tick(now).then_some(ProviderIndex(position)))
            .collect()
    }

    /// A provider's document arrived, fresh for `max_age` milliseconds if it says so.
    /// A usable one replaces the set at once and ends every remembered token whose
    /// key is gone.
    ///
    /// # Errors
    /// [`JwksError`]: what was held stays and the fetch counts as failed.
    pub fn keys_arrived(
        &mut self,
        provider: ProviderIndex,
        document: &[u8],
        now: Now,
        max_age: Option<u64>,
    ) -> Result<Arc<KeySet>, JwksError> {
        let parsed = self.parse_keys(provider, document);
        let Some(keys) = self.keys.get_mut(provider.0) else {
            return parsed;
        };
        match &parsed {
            Ok(set) => {
                keys.loaded(Arc::clone(set), now, max_age);
                self.forget_lost(provider, set);
            }
            Err(_) => keys.failed(now),
        }
        parsed
    }

    /// The document of another worker's fetch, which was begun at `asked`; that worker
    /// fetches again at `next`. It is checked like one of our own.
    ///
    /// # Errors
    /// [`JwksError`]: what was held stays.
    pub fn keys_adopted(
        &mut self,
        provider: ProviderIndex,
        document: &[u8],
        asked: Now,
        next: Monotonic,
    ) -> Result<Arc<KeySet>, JwksError> {
        let set = self.parse_keys(provider, document)?;
        if let Some(keys) = self.keys.get_mut(provider.0) {
            keys.adopt(Arc::clone(&set), asked, next);
            self.forget_lost(provider, &set);
        }
        Ok(set)
    }

    fn parse_keys(
        &self,
        provider: ProviderIndex,
        document: &[u8],
    ) -> Result<Arc<KeySet>, JwksError> {
        match self.config.providers.get(provider.0) {
            Some((rules, _)) => {
                KeySet::parse(document, &rules.algorithms, rules.issuer.as_str()).map(Arc::new)
            }
            None => Err(JwksError::NoList),
        }
    }

    /// Ends every remembered token of the provider whose key is not in its set.
    fn forget_lost(&mut self, provider: ProviderIndex, set: &KeySet) {
        self.tokens
            .retain(|session| session.principal.provider != provider || set.holds(&session.key));
    }

    /// A fetch failed.
    pub fn keys_failed(&mut self, provider: ProviderIndex, now: Now) {
        if let Some(keys) = self.keys.get_mut(provider.0) {
            keys.failed(now);
        }
    }

    /// A provider's keys over time, to tell them what other workers do.
    pub fn key_cache(&mut self, provider: ProviderIndex) -> Option<&mut KeyCache> {
        self.keys.get_mut(provider.0)
    }

    /// Where a provider's keys are fetched, if they are.
    #[must_use]
    pub fn key_uri(&self, provider: ProviderIndex) -> Option<&KeyUri> {
        match self.config.providers.get(provider.0) {
            Some((_, KeySource::Uri(uri))) => Some(uri),
            _ => None,
        }
    }

    /// A provider's name, for logs and metrics.
    #[must_use]
    pub fn provider_name(&self, provider: ProviderIndex) -> &str {
        self.config
            .providers
            .get(provider.0)
            .map_or("", |(rules, _)| rules.name.as_str())
    }

    /// Each provider's name and keys, for metrics.
    pub fn key_states(&self) -> impl Iterator<Item = (&str, &KeyCache)> {
        let names = self.config.providers.iter();
        names
            .map(|(provider, _)| provider.name.as_str())
            .zip(&self.keys)
    }
}

fn new_key_cache(source: &KeySource, config: &Config, seed: u64) -> KeyCache {
    let wait = config.limits.wait;
    match source {
        KeySource::Uri(uri) => KeyCache::fetched(
            Schedule {
                refresh_interval: uri.refresh_interval,
                max_stale: uri.max_stale,
                timeout: uri.timeout,
                wait,
            },
            seed,
        ),
        KeySource::Inline(set) => KeyCache::inline(
            Schedule {
                refresh_interval: 0,
                max_stale: 0,
                timeout: 0,
                wait,
            },
            Arc::new(set.clone()),
        ),
    }
}

/// A credential and who it stands for.
struct Token<'a> {
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
