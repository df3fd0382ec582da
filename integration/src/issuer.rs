//! An OpenID provider under a test's control, with discovery, JWKS and token endpoint. It can misbehave in every way
//! that we know of.
//!
//! The `iss` that it claims need not be the address on which it listens: the gate reaches a provider through an Envoy
//! cluster, so tests use fixed issuer names, and tokens are the same in every run.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::bytes::ByteText;
use crate::form;
use crate::keys;
use crate::server::{self, Body, Server};
use crate::token::{self, Recipe};

/// The initial state of a provider.
#[derive(Clone, Debug)]
pub struct IssuerSettings {
    /// The `iss` of tokens and of the discovery document. `None` stands for the address on which it listens.
    pub issuer: Option<String>,
    /// The path of the key set, in addition to `/jwks`, which always works.
    pub jwks_path: String,
    pub keys: Vec<PublishedKey>,
    pub clients: Vec<Client>,
    pub users: Vec<User>,
    /// The lifetime of a token from the token endpoint, in seconds.
    pub lifetime: u32,
}

/// A key as the JWKS document shows it. In YAML it is a bare name, or `{key, kid, alg, members}`, where `alg: null`
/// leaves `alg` out.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(from = "PublishedKeyText")]
pub struct PublishedKey {
    /// The name of its file in `integration/keys`.
    pub key: String,
    pub kid: Option<String>,
    /// The `alg` of the JWK. `None` leaves it out.
    pub alg: Option<String>,
    /// Members that are added or replaced. `null` removes one.
    pub members: Map<String, Value>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum PublishedKeyText {
    Name(String),
    Full(PublishedKeyFields),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PublishedKeyFields {
    key: String,
    #[serde(default)]
    kid: Option<String>,
    #[serde(default = "default_alg")]
    alg: Option<String>,
    #[serde(default)]
    members: Map<String, Value>,
}

/// A machine client that the token endpoint knows.
#[derive(Clone, Debug)]
pub struct Client {
    pub id: String,
    pub secret: String,
    /// The persona whose claims its tokens carry.
    pub persona: String,
}

/// A person who uses the `password` grant.
#[derive(Clone, Debug)]
pub struct User {
    pub name: String,
    pub password: String,
    pub persona: String,
}

/// How the JWKS endpoint answers, and the discovery endpoint where that makes sense.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "snake_case")]
pub enum AnswerMode {
    #[default]
    Good,
    Status(u16),
    /// It never answers.
    Hang,
    /// It closes the connection without an answer.
    Reset,
    /// 200 with a login page.
    Html,
    /// `{"keys": []}`.
    EmptySet,
    /// The good set, padded to 5 MiB.
    Huge,
    /// The good set, behind this many other keys.
    ManyKeys(usize),
    /// A 302 to the place of the good set.
    Redirect,
    /// 429 with Retry-After.
    TooManyRequests,
    /// 200 with exactly these bytes.
    Raw(ByteText),
    /// The good set, after this many milliseconds.
    Delay(u64),
    /// A 200 and the first half of the good set, after which the connection ends.
    Cut,
    /// This answer, once [`Issuer::release`] is called.
    Held(Box<AnswerMode>),
}

/// How often each endpoint was requested since the start or the last reset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fetches {
    pub discovery: usize,
    pub jwks: usize,
    pub token: usize,
}

/// The handle. The server stops when it is dropped.
pub struct Issuer {
    server: Server,
    state: Arc<Mutex<State>>,
}

struct State {
    settings: IssuerSettings,
    issuer: String,
    address: Option<SocketAddr>,
    answer: AnswerMode,
    first_answers: VecDeque<AnswerMode>,
    held: bool,
    discovery_answer: AnswerMode,
    discovery_members: Map<String, Value>,
    cache_control: Option<String>,
    wanted: Option<String>,
    fetches: Fetches,
    jwks_fetched_at: Vec<Instant>,
    minted: u64,
}

impl Issuer {
    pub async fn start(settings: IssuerSettings) -> Result<Issuer> {
        let state = Arc::new(Mutex::new(State::of(settings)));
        let shared = state.clone();
        let server = Server::start(move |stream| {
            let shared = shared.clone();
            async move {
                let _ = server::serve_http(stream, move |request| answer(shared.clone(), request))
                    .await;
            }
        })
        .await?;
        let issuer = Issuer { server, state };
        {
            let mut state = lock(&issuer.state);
            state.address = Some(issuer.address());
            if state.settings.issuer.is_none() {
                state.issuer = format!("http://{}", issuer.address());
            }
        }
        Ok(issuer)
    }

    /// Starts the corporate provider of the scenarios, with the issuer name of the personas.
    pub async fn corporate() -> Result<Issuer> {
        Issuer::start(IssuerSettings::corporate()).await
    }

    /// Starts the partner provider of the scenarios.
    pub async fn partner() -> Result<Issuer> {
        Issuer::start(IssuerSettings::partner()).await
    }

    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// The `iss` claim of its tokens.
    pub fn issuer(&self) -> String {
        lock(&self.state).issuer.clone()
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address())
    }

    pub fn jwks_url(&self) -> String {
        self.url("/jwks")
    }

    pub fn token_url(&self) -> String {
        self.url("/token")
    }

    /// Changes how the JWKS endpoint answers from the next fetch on.
    pub fn set_answer(&self, answer: AnswerMode) {
        lock(&self.state).answer = answer;
    }

    /// Gives these answers to the next fetches of the JWKS, one after the other, and then the one that is set.
    pub fn answer_first(&self, answers: impl IntoIterator<Item = AnswerMode>) {
        lock(&self.state).first_answers = answers.into_iter().collect();
    }

    /// Releases answers that are [`AnswerMode::Held`], from now on.
    pub fn release(&self) {
        lock(&self.state).held = false;
    }

    /// The same, for the discovery document.
    pub fn set_discovery_answer(&self, answer: AnswerMode) {
        lock(&self.state).discovery_answer = answer;
    }

    /// Sets members to add to the discovery document or, if they are null, to remove from it.
    pub fn set_discovery_members(&self, members: Map<String, Value>) {
        lock(&self.state).discovery_members = members;
    }

    /// Requires this bearer token for the discovery document and the keys.
    pub fn want_credential(&self, token: &str) {
        lock(&self.state).wanted = Some(format!("Bearer {token}"));
    }

    pub fn set_cache_control(&self, value: Option<&str>) {
        lock(&self.state).cache_control = value.map(str::to_owned);
    }

    pub fn set_keys(&self, keys: Vec<PublishedKey>) {
        lock(&self.state).settings.keys = keys;
    }

    pub fn keys(&self) -> Vec<PublishedKey> {
        lock(&self.state).settings.keys.clone()
    }

    pub fn add_key(&self, key: PublishedKey) {
        lock(&self.state).settings.keys.push(key);
    }

    /// Removes the key with that `kid` from the set.
    pub fn remove_key(&self, kid: &str) {
        lock(&self.state)
            .settings
            .keys
            .retain(|key| key.kid() != kid);
    }

    /// Replaces the key material of a `kid` that is in use, which some providers do against all advice.
    pub fn replace_key(&self, kid: &str, material: &str) {
        for key in &mut lock(&self.state).settings.keys {
            if key.kid() == kid {
                key.kid = Some(kid.to_owned());
                material.clone_into(&mut key.key);
            }
        }
    }

    /// The document that the JWKS endpoint serves in the answer mode `Good`.
    pub fn jwks(&self) -> Result<Value> {
        jwks(&lock(&self.state).settings.keys)
    }

    pub fn fetches(&self) -> Fetches {
        lock(&self.state).fetches
    }

    pub fn reset_fetches(&self) {
        let mut state = lock(&self.state);
        state.fetches = Fetches::default();
        state.jwks_fetched_at.clear();
    }

    /// The times at which the fetches of the JWKS arrived.
    pub fn jwks_fetched_at(&self) -> Vec<Instant> {
        lock(&self.state).jwks_fetched_at.clone()
    }

    /// Waits until the JWKS endpoint has been requested this many times.
    pub async fn wait_for_fetches(&self, jwks: usize, within: Duration) -> Result<()> {
        let deadline = Instant::now() + within;
        while self.fetches().jwks < jwks {
            if Instant::now() > deadline {
                return Err(anyhow!(
                    "{} of {jwks} JWKS fetches came within {within:?}",
                    self.fetches().jwks
                ));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    /// Closes the port, so that connections are refused.
    pub async fn down(&self) {
        self.server.down().await;
    }

    pub async fn up(&self) -> Result<()> {
        self.server.up().await
    }

    /// A token of this issuer, whatever `iss` the persona has.
    pub fn token(&self, recipe: Recipe) -> Result<String> {
        recipe.claim("iss", self.issuer()).text(token::now())
    }
}

impl IssuerSettings {
    /// The provider to which all personas except one belong.
    #[must_use]
    pub fn corporate() -> IssuerSettings {
        let rsa_b = |alg: &str| {
            PublishedKey::named("rsa-b")
                .with_kid(&alg.to_lowercase())
                .with_alg(alg)
        };
        IssuerSettings {
            issuer: Some(CORPORATE.to_owned()),
            jwks_path: "/realms/platform/protocol/openid-connect/certs".to_owned(),
            keys: vec![
                PublishedKey::named("rsa-a"),
                PublishedKey::named("p256-a"),
                PublishedKey::named("p384-a"),
                PublishedKey::named("ed25519-a"),
                rsa_b("RS384"),
                rsa_b("RS512"),
                rsa_b("PS256"),
                rsa_b("PS384"),
                rsa_b("PS512"),
            ],
            clients: Vec::new(),
            users: Vec::new(),
            lifetime: 600,
        }
    }

    /// A second provider with a single ES256 key.
    #[must_use]
    pub fn partner() -> IssuerSettings {
        IssuerSettings {
            issuer: Some(PARTNER.to_owned()),
            jwks_path: "/keys".to_owned(),
            keys: vec![PublishedKey::named("p256-b")],
            ..IssuerSettings::corporate()
        }
    }

    #[must_use]
    pub fn client(mut self, id: &str, secret: &str, persona: &str) -> IssuerSettings {
        self.clients.push(Client {
            id: id.to_owned(),
            secret: secret.to_owned(),
            persona: persona.to_owned(),
        });
        self
    }

    #[must_use]
    pub fn user(mut self, name: &str, password: &str, persona: &str) -> IssuerSettings {
        self.users.push(User {
            name: name.to_owned(),
            password: password.to_owned(),
            persona: persona.to_owned(),
        });
        self
    }
}

impl PublishedKey {
    /// The key published under its own name, with the natural algorithm for its type.
    #[must_use]
    pub fn named(key: &str) -> PublishedKey {
        PublishedKey {
            key: key.to_owned(),
            kid: None,
            alg: Some(DEFAULT_ALG.to_owned()),
            members: Map::new(),
        }
    }

    #[must_use]
    pub fn with_kid(mut self, kid: &str) -> PublishedKey {
        self.kid = Some(kid.to_owned());
        self
    }

    #[must_use]
    pub fn with_alg(mut self, alg: &str) -> PublishedKey {
        self.alg = Some(alg.to_owned());
        self
    }

    /// Removes the `alg` member, as Entra does.
    #[must_use]
    pub fn without_alg(mut self) -> PublishedKey {
        self.alg = None;
        self
    }

    #[must_use]
    pub fn with_member(mut self, name: &str, value: impl Into<Value>) -> PublishedKey {
        self.members.insert(name.to_owned(), value.into());
        self
    }

    /// The key ID in the document, which by default is the key's own name.
    #[must_use]
    pub fn kid(&self) -> &str {
        self.kid.as_deref().unwrap_or(&self.key)
    }

    fn jwk(&self) -> Result<Value> {
        let key = keys::key(&self.key)?;
        let mut jwk = key.jwk();
        let members = jwk
            .as_object_mut()
            .ok_or_else(|| anyhow!("a JWK is an object"))?;
        members.insert("kid".to_owned(), self.kid().into());
        members.insert("use".to_owned(), "sig".into());
        match self.alg.as_deref() {
            Some(DEFAULT_ALG) => members.insert("alg".to_owned(), key.default_algorithm().into()),
            Some(alg) => members.insert("alg".to_owned(), alg.into()),
            None => None,
        };
        for (name, value) in &self.members {
            if value.is_null() {
                members.remove(name);
            } else {
                members.insert(name.clone(), value.clone());
            }
        }
        Ok(jwk)
    }
}

/// The JWKS document of these keys.
pub fn jwks(keys: &[PublishedKey]) -> Result<Value> {
    let keys: Result<Vec<Value>> = keys.iter().map(PublishedKey::jwk).collect();
    Ok(json!({ "keys": keys? }))
}

impl From<PublishedKeyText> for PublishedKey {
    fn from(text: PublishedKeyText) -> PublishedKey {
        match text {
            PublishedKeyText::Name(name) => PublishedKey::named(&name),
            PublishedKeyText::Full(PublishedKeyFields {
                key,
                kid,
                alg,
                members,
            }) => PublishedKey {
                key,
                kid,
                alg,
                members,
            },
        }
    }
}

impl State {
    fn of(settings: IssuerSettings) -> State {
        State {
            issuer: settings.issuer.clone().unwrap_or_default(),
            settings,
            address: None,
            answer: AnswerMode::Good,
            first_answers: VecDeque::new(),
            held: true,
            discovery_answer: AnswerMode::Good,
            discovery_members: Map::new(),
            cache_control: None,
            wanted: None,
            fetches: Fetches::default(),
            jwks_fetched_at: Vec::new(),
            minted: 0,
        }
    }

    fn discovery(&self) -> Value {
        let base = &self.issuer;
        let mut document = json!({
            "issuer": base,
            "jwks_uri": self.jwks_uri(),
            "token_endpoint": format!("{base}/token"),
            "authorization_endpoint": format!("{base}/authorize"),
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "grant_types_supported": ["client_credentials", "password"],
            "id_token_signing_alg_values_supported": ["RS256", "ES256"],
        });
        if let Some(members) = document.as_object_mut() {
            for (name, value) in &self.discovery_members {
                if value.is_null() {
                    members.remove(name);
                } else {
                    members.insert(name.clone(), value.clone());
                }
            }
        }
        document
    }

    /// The URL is on the host of the issuer, because the gate ties that host to one cluster.
    fn jwks_uri(&self) -> String {
        let scheme_end = self.issuer.find("://").map_or(0, |at| at + 3);
        let host_end = self.issuer[scheme_end..]
            .find('/')
            .map_or(self.issuer.len(), |at| scheme_end + at);
        format!("{}{}", &self.issuer[..host_end], self.settings.jwks_path)
    }

    fn good_answer(&self, document: &Value) -> Response<Body> {
        let mut response = json_answer(StatusCode::OK, document);
        let cache_control = self.cache_control.as_deref().map(str::parse);
        if let Some(Ok(value)) = cache_control {
            response.headers_mut().insert("cache-control", value);
        }
        response
    }

    fn token_answer(
        &mut self,
        form: &BTreeMap<String, String>,
        authorization: Option<&str>,
    ) -> Response<Body> {
        let (id, secret) = basic(authorization)
            .or_else(|| {
                Some((
                    form.get("client_id")?.clone(),
                    form.get("client_secret")?.clone(),
                ))
            })
            .unwrap_or_default();
        let client = self
            .settings
            .clients
            .iter()
            .find(|client| client.id == id && client.secret == secret);
        let persona = match form.get("grant_type").map(String::as_str) {
            Some("client_credentials") => match client {
                Some(client) => client.persona.clone(),
                None => return oauth_error(StatusCode::UNAUTHORIZED, "invalid_client"),
            },
            Some("password") => {
                let user = self.settings.users.iter().find(|user| {
                    form.get("username") == Some(&user.name)
                        && form.get("password") == Some(&user.password)
                });
                match user {
                    Some(user) => user.persona.clone(),
                    None => return oauth_error(StatusCode::BAD_REQUEST, "invalid_grant"),
                }
            }
            _ => return oauth_error(StatusCode::BAD_REQUEST, "unsupported_grant_type"),
        };
        self.minted += 1;
        let mut recipe = Recipe::of(&persona)
            .claim("iss", self.issuer.clone())
            .claim("jti", format!("{}-{}", persona, self.minted))
            .exp_in(self.settings.lifetime.into());
        if let Some(scope) = form.get("scope") {
            recipe = recipe.claim("scope", scope.clone());
        }
        match self.sign_with_published(recipe) {
            Ok(token) => json_answer(
                StatusCode::OK,
                &json!({
                    "access_token": token,
                    "token_type": "Bearer",
                    "expires_in": self.settings.lifetime,
                }),
            ),
            Err(error) => {
                let message =
                    json!({"error": "server_error", "error_description": format!("{error:#}")});
                json_answer(StatusCode::INTERNAL_SERVER_ERROR, &message)
            }
        }
    }

    /// After a rotation, the persona's usual key may be gone. The first key of the set then signs instead.
    fn sign_with_published(&self, recipe: Recipe) -> Result<String> {
        let usual = token::persona(&recipe.persona)?.key;
        let published = self.settings.keys.iter();
        let recipe = match published
            .clone()
            .find(|key| key.key == usual)
            .or(published.clone().next())
        {
            Some(key) => recipe.key(&key.key).kid(key.kid()),
            None => recipe,
        };
        recipe.text(token::now())
    }
}

async fn answer(state: Arc<Mutex<State>>, request: Request<Incoming>) -> Result<Response<Body>> {
    let path = request.uri().path().to_owned();
    if path.ends_with("/token") {
        return token_endpoint(&state, request).await;
    }
    let (mode, document) = {
        let mut state = lock(&state);
        let shown = request.headers().get("authorization");
        let shown = shown.and_then(|value| value.to_str().ok());
        if state.wanted.is_some() && state.wanted.as_deref() != shown {
            return Ok(plain(StatusCode::UNAUTHORIZED, "Unauthorized"));
        }
        if path.ends_with("/.well-known/openid-configuration") {
            state.fetches.discovery += 1;
            (state.discovery_answer.clone(), state.discovery())
        } else if path == "/good" {
            (AnswerMode::Good, jwks(&state.settings.keys)?)
        } else if path == "/jwks" || path == state.settings.jwks_path {
            state.fetches.jwks += 1;
            state.jwks_fetched_at.push(Instant::now());
            let first = state.first_answers.pop_front();
            let answer = first.unwrap_or_else(|| state.answer.clone());
            (answer, jwks(&state.settings.keys)?)
        } else {
            let nothing = json!({"error": "no such endpoint"});
            return Ok(json_answer(StatusCode::NOT_FOUND, &nothing));
        }
    };
    let mut mode = mode;
    while let AnswerMode::Held(then) = mode {
        while lock(&state).held {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        mode = *then;
    }
    let good = || lock(&state).good_answer(&document);
    Ok(match mode {
        AnswerMode::Good => good(),
        AnswerMode::Delay(milliseconds) => {
            tokio::time::sleep(Duration::from_millis(milliseconds)).await;
            good()
        }
        AnswerMode::Status(status) => {
            plain(StatusCode::from_u16(status)?, "the provider has a bad day")
        }
        AnswerMode::Hang | AnswerMode::Held(_) => std::future::pending().await,
        AnswerMode::Reset => return Err(anyhow!("reset as told")),
        AnswerMode::Html => typed(
            StatusCode::OK,
            "text/html",
            "<html><body>Please log in</body></html>",
        ),
        AnswerMode::EmptySet => json_answer(StatusCode::OK, &json!({"keys": []})),
        AnswerMode::Huge => {
            let mut huge = document.clone();
            if let Some(members) = huge.as_object_mut() {
                members.insert("padding".to_owned(), "x".repeat(HUGE).into());
            }
            json_answer(StatusCode::OK, &huge)
        }
        AnswerMode::ManyKeys(count) => json_answer(StatusCode::OK, &many_keys(&document, count)),
        AnswerMode::Redirect => {
            let mut response = plain(StatusCode::FOUND, "");
            response.headers_mut().insert("location", "/good".parse()?);
            response
        }
        AnswerMode::TooManyRequests => {
            let mut response = plain(StatusCode::TOO_MANY_REQUESTS, "slow down");
            response.headers_mut().insert("retry-after", "30".parse()?);
            response
        }
        AnswerMode::Raw(bytes) => typed(StatusCode::OK, "application/json", bytes.bytes()?),
        AnswerMode::Cut => cut(&document)?,
    })
}

async fn token_endpoint(
    state: &Mutex<State>,
    request: Request<Incoming>,
) -> Result<Response<Body>> {
    let authorization = request
        .headers()
        .get("authorization")
        .and_then(|value| value.to_str().ok())
        .map(str::to_owned);
    let body = request.into_body().collect().await?.to_bytes();
    let form = form::parse(&String::from_utf8_lossy(&body));
    let mut state = lock(state);
    state.fetches.token += 1;
    Ok(state.token_answer(&form, authorization.as_deref()))
}

/// Puts the good keys last, behind this many copies with other IDs.
fn many_keys(document: &Value, count: usize) -> Value {
    let good = document["keys"].as_array().cloned().unwrap_or_default();
    let Some(first) = good.first().cloned() else {
        return document.clone();
    };
    let copies = (0..count).map(|number| {
        let mut copy = first.clone();
        copy["kid"] = format!("copy-{number}").into();
        copy
    });
    let keys: Vec<Value> = copies.chain(good.clone()).collect();
    json!({ "keys": keys })
}

fn cut(document: &Value) -> Result<Response<Body>> {
    let text = document.to_string();
    let half = Bytes::copy_from_slice(&text.as_bytes()[..text.len() / 2]);
    let frames = futures_util::stream::iter([
        Ok(hyper::body::Frame::data(half)),
        Err(anyhow!("cut as told")),
    ]);
    let body = http_body_util::StreamBody::new(frames).boxed_unsync();
    Ok(Response::builder()
        .header("content-type", "application/json")
        .header("content-length", text.len())
        .body(body)?)
}

fn basic(authorization: Option<&str>) -> Option<(String, String)> {
    let encoded = authorization?.strip_prefix("Basic ")?;
    let text = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (id, secret) = text.split_once(':')?;
    // RFC 6749 §2.3.1: both parts are form-encoded before they are joined.
    Some((form::decode(id), form::decode(secret)))
}

fn oauth_error(status: StatusCode, code: &str) -> Response<Body> {
    json_answer(status, &json!({ "error": code }))
}

fn json_answer(status: StatusCode, value: &Value) -> Response<Body> {
    typed(status, "application/json", value.to_string())
}

fn plain(status: StatusCode, text: &'static str) -> Response<Body> {
    typed(status, "text/plain", text)
}

fn typed(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(server::full(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(
        "content-type",
        hyper::header::HeaderValue::from_static(content_type),
    );
    response
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "serde wants a value of the field's type"
)]
fn default_alg() -> Option<String> {
    Some(DEFAULT_ALG.to_owned())
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The issuer of nearly all personas.
pub const CORPORATE: &str = "https://login.example.com/realms/platform";
/// The issuer of the persona `partner-reader`.
pub const PARTNER: &str = "https://partner.example.com";

/// Stands for the algorithm that fits the key.
const DEFAULT_ALG: &str = "default";
const HUGE: usize = 5 * 1024 * 1024;
