//! What the tests of the core share: keys, tokens, configurations and requests.
//!
//! The clock stands at [`NOW`] unless a test moves it. The keys are those of
//! `integration/keys`, so that the scenario table and these tests trust the same ones. Nothing
//! outside the tests may trust them.
#![allow(
    clippy::expect_used,
    clippy::missing_panics_doc,
    clippy::must_use_candidate,
    clippy::panic,
    clippy::unwrap_used,
    dead_code
)]

use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jwt_simple::algorithms::{
    ECDSAP256KeyPairLike as _, ECDSAP384KeyPairLike as _, ES256KeyPair, ES384KeyPair,
    Ed25519KeyPair, EdDSAKeyPairLike as _,
};
use p256::ecdsa::signature::Signer as _;
use scopegate::authn::authenticator::Lent;
use scopegate::authn::jwks::JwksError;
use scopegate::authn::key_cache::{Edition, Keys, Need};
use scopegate::authn::keys::{InModule, SignatureEngine};
use scopegate::authn::token_cache::{Owner, TokenCache};
use scopegate::config::{Config, Environment};
use scopegate::forward::{self, Edit};
use scopegate::gate::{Attempt, Evaluation, Gate, Outcome, Passage};
use scopegate::words::denial::Denial;
use scopegate::words::identity::{Issuers, ProviderIndex};
use scopegate::words::own_answer::OwnAnswer;
use scopegate::words::request::{Head, OwnHeaders};
use scopegate::words::time::{Monotonic, Now, Time, Timestamp};
use serde_json::{Map, Value, json};
use superboring::hash::MessageDigest;
use superboring::pkey::{PKey, Private};
use superboring::rsa::{Padding, Rsa};

/// The wall-clock time of the tests, in seconds.
pub const NOW: u64 = 1_800_000_000;

/// The monotonic clock at that time, in milliseconds. It is far from zero, so that "an hour
/// ago" exists.
pub const UPTIME: u64 = 1_000_000_000;

pub const ISSUER: &str = "https://login.example.com/realms/platform";

/// [`ISSUER`] in its only spelling.
pub fn issuers() -> Issuers {
    Issuers::new(ISSUER, [])
}

/// What [`Decided::code`] returns for a request that may pass.
pub const ALLOWED: &str = "allowed";

/// Both clocks, `millis` after the beginning of the tests.
pub const fn at(millis: u64) -> Now {
    Now {
        wall: Timestamp::from_secs(NOW + millis / 1000),
        mono: Monotonic::from_millis(UPTIME + millis),
    }
}

pub fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

pub fn unb64(text: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(text).unwrap()
}

// Keys

/// The PEM text of a key in `integration/keys`, without the comment above it.
pub fn pem(name: &str) -> String {
    // The fuzzers are a package of their own.
    let mut folders = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    let keys = folders.find_map(|folder| {
        let keys = folder.join("integration/keys");
        keys.is_dir().then_some(keys)
    });
    let path = keys.unwrap().join(format!("{name}.pem"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    text[text.find("-----BEGIN").unwrap()..].to_owned()
}

fn rsa(name: &str) -> Rsa<Private> {
    Rsa::private_key_from_pem(pem(name).as_bytes()).unwrap()
}

/// The public half of a key as a JWK with `kid` (the name of its file), and nothing else that a
/// provider might add.
pub fn jwk(name: &str) -> Value {
    let ec = |curve: &str, point: &[u8]| {
        let (x, y) = point[1..].split_at(point.len() / 2);
        json!({"kid": name, "kty": "EC", "crv": curve, "x": b64(x), "y": b64(y)})
    };
    if name.starts_with("rsa") {
        let key = rsa(name);
        let (n, e) = (key.n().to_vec(), key.e().to_vec());
        json!({"kid": name, "kty": "RSA", "n": b64(n), "e": b64(e)})
    } else if name.starts_with("p256") {
        let pair = ES256KeyPair::from_pem(&pem(name)).unwrap();
        let key = pair.key_pair().public_key();
        ec("P-256", &key.to_bytes_uncompressed())
    } else if name.starts_with("p384") {
        let pair = ES384KeyPair::from_pem(&pem(name)).unwrap();
        let key = pair.key_pair().public_key();
        ec("P-384", &key.to_bytes_uncompressed())
    } else {
        let pair = Ed25519KeyPair::from_pem(&pem(name)).unwrap();
        let key = pair.key_pair().public_key();
        json!({"kid": name, "kty": "OKP", "crv": "Ed25519", "x": b64(key.to_bytes())})
    }
}

/// The public half of an RSA key as SubjectPublicKeyInfo, in DER and in PEM.
pub fn spki(name: &str) -> (Vec<u8>, String) {
    let key = rsa(name).public_key().unwrap();
    let pem = String::from_utf8(key.public_key_to_pem().unwrap()).unwrap();
    (key.public_key_to_der().unwrap(), pem)
}

/// [`jwk`] with members added or replaced. `null` removes one.
pub fn jwk_with(name: &str, members: Value) -> Value {
    let mut jwk = jwk(name);
    merge(&mut jwk, members);
    jwk
}

pub fn jwks(keys: &[Value]) -> Vec<u8> {
    json!({ "keys": keys }).to_string().into_bytes()
}

/// Signs with a key of `integration/keys`, with any algorithm that fits its type.
pub fn sign(key: &str, algorithm: &str, input: &[u8]) -> Vec<u8> {
    match algorithm {
        "ES256" => {
            let pair = ES256KeyPair::from_pem(&pem(key)).unwrap();
            let signer: &p256::ecdsa::SigningKey = pair.key_pair().as_ref();
            let signature: p256::ecdsa::Signature = signer.sign(input);
            signature.to_vec()
        }
        "ES384" => {
            let pair = ES384KeyPair::from_pem(&pem(key)).unwrap();
            let signer: &p384::ecdsa::SigningKey = pair.key_pair().as_ref();
            let signature: p384::ecdsa::Signature = signer.sign(input);
            signature.to_vec()
        }
        "EdDSA" => {
            let pair = Ed25519KeyPair::from_pem(&pem(key)).unwrap();
            let pair: &ed25519_compact::KeyPair = pair.key_pair().as_ref();
            pair.sk.sign(input, None).to_vec()
        }
        _ => {
            let padding = match &algorithm[..2] {
                "PS" => Padding::PKCS1_PSS,
                _ => Padding::PKCS1,
            };
            let key = PKey::from_rsa(rsa(key)).unwrap();
            let mut signer = superboring::sign::Signer::new(digest(algorithm), &key).unwrap();
            signer.set_rsa_padding(padding).unwrap();
            signer.update(input).unwrap();
            signer.sign_to_vec().unwrap()
        }
    }
}

pub fn hmac(secret: &[u8], algorithm: &str, input: &[u8]) -> Vec<u8> {
    let mut mac = superboring::hmac::Hmac::init(secret, &digest(algorithm)).unwrap();
    mac.update(input).unwrap();
    mac.finalize().unwrap()
}

fn digest(algorithm: &str) -> MessageDigest {
    match &algorithm[2..] {
        "384" => MessageDigest::sha384(),
        "512" => MessageDigest::sha512(),
        _ => MessageDigest::sha256(),
    }
}

// Tokens

/// A token that is being made. [`Token::new`] begins with a valid one.
#[derive(Clone, Debug)]
pub struct Token {
    header: Value,
    claims: Value,
    raw_header: Option<String>,
    raw_claims: Option<String>,
    key: &'static str,
    algorithm: &'static str,
}

impl Token {
    /// A valid ES256 access token of the corporate provider, for alice, who is in `readers`.
    pub fn new() -> Self {
        Self {
            header: json!({"alg": "ES256", "kid": "p256-a", "typ": "JWT"}),
            claims: json!({
                "iss": ISSUER,
                "sub": "alice",
                "aud": "observability",
                "exp": NOW + 300,
                "iat": NOW - 10,
                "groups": ["readers"],
            }),
            raw_header: None,
            raw_claims: None,
            key: "p256-a",
            algorithm: "ES256",
        }
    }

    /// Signs with that key, which `kid` names too, and sets that `alg`.
    pub fn by(mut self, key: &'static str, algorithm: &'static str) -> Self {
        (self.key, self.algorithm) = (key, algorithm);
        self.header("kid", key).header("alg", algorithm)
    }

    /// Signs with that key, but leaves the header as it is.
    pub fn forged_by(mut self, key: &'static str, algorithm: &'static str) -> Self {
        (self.key, self.algorithm) = (key, algorithm);
        self
    }

    pub fn header(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.header[name] = value.into();
        self
    }

    pub fn without_header(mut self, name: &str) -> Self {
        self.header.as_object_mut().unwrap().remove(name);
        self
    }

    pub fn claim(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.claims[name] = value.into();
        self
    }

    pub fn without(mut self, name: &str) -> Self {
        self.claims.as_object_mut().unwrap().remove(name);
        self
    }

    /// Sets the bytes of the header, for what `serde_json` would not write.
    pub fn raw_header(mut self, text: impl Into<String>) -> Self {
        self.raw_header = Some(text.into());
        self
    }

    /// Replaces `from` in the text of the header, for duplicates and odd spellings.
    pub fn header_text(self, from: &str, to: &str) -> Self {
        let text = self.header.to_string();
        assert!(text.contains(from), "{text}");
        self.raw_header(text.replacen(from, to, 1))
    }

    /// Replaces `from` in the text of the payload.
    pub fn claims_text(mut self, from: &str, to: &str) -> Self {
        let text = self.claims.to_string();
        assert!(text.contains(from), "{text}");
        self.raw_claims = Some(text.replacen(from, to, 1));
        self
    }

    /// Sets the bytes of the payload.
    pub fn raw_claims(mut self, text: impl Into<String>) -> Self {
        self.raw_claims = Some(text.into());
        self
    }

    /// `header.payload`.
    pub fn signing_input(&self) -> String {
        let header = self.raw_header.clone();
        let claims = self.raw_claims.clone();
        format!(
            "{}.{}",
            b64(header.unwrap_or_else(|| self.header.to_string())),
            b64(claims.unwrap_or_else(|| self.claims.to_string())),
        )
    }

    /// The signed token.
    pub fn build(&self) -> String {
        let input = self.signing_input();
        let signature = sign(self.key, self.algorithm, input.as_bytes());
        format!("{input}.{}", b64(signature))
    }

    /// The token with this signature in place of a good one.
    pub fn with_signature(&self, signature: &[u8]) -> String {
        format!("{}.{}", self.signing_input(), b64(signature))
    }
}

/// Tokens that are refused for a reason other than a missing key, although most of them name
/// one that is missing, with their codes.
pub fn misfits() -> Vec<(Token, &'static str)> {
    let unknown = || Token::new().header("kid", "nobody-knows");
    vec![
        (
            Token::new().forged_by("p256-stranger", "ES256"),
            "signature_invalid",
        ),
        (
            unknown().claim("iss", "https://evil.example"),
            "issuer_unknown",
        ),
        (unknown().claim("aud", "loki"), "audience_mismatch"),
        (unknown().claim("exp", NOW - 100), "token_expired"),
        (unknown().claim("nbf", NOW + 1_000), "token_not_yet_valid"),
        (unknown().claim("iat", NOW + 1_000), "issued_in_future"),
        (unknown().claim("typ", "ID"), "token_kind_refused"),
        (unknown().header("typ", "logout+jwt"), "token_type_refused"),
        (unknown().header("alg", "HS256"), "algorithm_not_allowed"),
        (unknown().header("alg", "RS512"), "algorithm_not_allowed"),
        (
            unknown().header("crit", json!(["exp"])),
            "token_header_refused",
        ),
        (
            Token::new().header("kid", "k".repeat(257)),
            "token_malformed",
        ),
        // This key exists, but for another algorithm.
        (
            Token::new().header("alg", "RS256"),
            "key_algorithm_mismatch",
        ),
    ]
}

// Configurations

/// Replaces and adds members, as in RFC 7396 at every level. `null` removes one.
pub fn merge(target: &mut Value, patch: Value) {
    let Value::Object(patch) = patch else {
        *target = patch;
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let members = target.as_object_mut().unwrap();
    for (name, value) in patch {
        if value.is_null() {
            members.remove(&name);
        } else {
            merge(members.entry(name).or_insert(Value::Null), value);
        }
    }
}

/// A configuration with one provider whose keys are inline. `readers` may read `a` and `b`.
pub fn config() -> Value {
    json!({
        "providers": [{
            "name": "corporate",
            "issuer": ISSUER,
            "audiences": ["observability"],
            "jwks": {"inline": {"keys": [jwk("p256-a")]}},
        }],
        "organizations": [{
            "name": "one",
            "tenants": ["a", "b"],
            "rbac": {"viewers": ["readers"], "writers": ["agents"]},
        }],
        "backends": {"loki": {}, "mimir": {}, "tempo": {}},
    })
}

/// [`config`] with changes to the provider.
pub fn provider(patch: Value) -> Value {
    let mut config = config();
    merge(&mut config["providers"][0], patch);
    config
}

/// [`config`] with other inline keys, and with the algorithms that they need.
pub fn keys(keys: &[Value], algorithms: &[&str]) -> Value {
    provider(json!({"algorithms": algorithms, "jwks": {"inline": {"keys": keys}}}))
}

/// [`config`] with keys that are fetched, on the default schedule.
pub fn fetched(patch: Value) -> Value {
    let mut config = config();
    config["providers"][0]["jwks"] =
        json!({"uri": "https://login.example.com/certs", "cluster": "idp"});
    merge(&mut config["providers"][0]["jwks"], patch);
    config
}

pub fn parse(config: &Value) -> Config {
    let document = config.to_string();
    Config::parse(document.as_bytes(), &Environment::default()).unwrap_or_else(|problems| {
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        panic!("{}", lines.join("\n"))
    })
}

/// A gate, and what a worker lends to it.
#[derive(Debug)]
pub struct Bench {
    pub gate: Gate,
    pub tokens: TokenCache,
}

pub fn gate(config: &Value) -> Bench {
    let config = parse(config);
    let limits = config.limits;
    Bench {
        gate: Gate::new(Arc::new(config), Owner(1), 7),
        tokens: TokenCache::new(limits.cached_tokens, limits.cached_bytes(), 7),
    }
}

impl Bench {
    /// The number of tokens that are remembered.
    pub fn cached_tokens(&self) -> usize {
        self.tokens.len()
    }

    /// Gives the provider at that position the keys of a document that was requested at that
    /// time.
    pub fn give(&mut self, provider: usize, document: &[u8], asked: u64) -> Result<(), JwksError> {
        let provider = ProviderIndex::at(provider);
        let set = self.gate.authenticator().read_keys(provider, document)?;
        let edition = Edition {
            number: asked,
            asked: at(asked),
        };
        let authenticator = self.gate.authenticator_mut();
        authenticator.adopt(provider, Some(&Arc::new(set)), edition, &mut self.tokens);
        Ok(())
    }

    /// The same, with the keys of these names.
    pub fn give_keys(&mut self, provider: usize, names: &[&str], asked: u64) {
        let keys: Vec<Value> = names.iter().map(|name| jwk(name)).collect();
        self.give(provider, &jwks(&keys), asked).unwrap();
    }

    /// When the document of that provider's keys was requested, if there is one.
    pub fn keys_from(&self, provider: usize) -> Option<u64> {
        let trusted = self
            .gate
            .authenticator()
            .provider(ProviderIndex::at(provider))?;
        let Keys::Fetched(cache) = &trusted.keys else {
            return None;
        };
        let asked = cache.edition()?.asked.mono;
        Some(asked.since(at(0).mono))
    }

    /// Evaluates a request as the gate does.
    pub fn evaluate<'a>(
        &mut self,
        head: &Head<'a>,
        attempt: Attempt,
        engine: &dyn SignatureEngine,
    ) -> Evaluation<'a> {
        let tokens = &mut self.tokens;
        self.gate
            .decide(head, attempt, &mut Lent { tokens, engine })
    }
}

// Requests

/// The head of a request. It begins as a log query for tenant `a` without a credential.
#[derive(Clone, Debug)]
pub struct Request(Vec<(Vec<u8>, Vec<u8>)>);

impl Request {
    pub fn new() -> Self {
        Self(Vec::new())
            .set(":method", "GET")
            .set(":path", "/loki/api/v1/query?query={a=\"b\"}")
            .set("x-scope-orgid", "a")
    }

    /// A head with exactly these headers.
    pub fn of(fields: Vec<(Vec<u8>, Vec<u8>)>) -> Self {
        Self(fields)
    }

    pub fn bearing(token: &str) -> Self {
        Self::new().set("authorization", format!("Bearer {token}"))
    }

    /// Sets a header to exactly one value.
    pub fn set(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.0.retain(|(other, _)| other != name.as_bytes());
        self.and(name, value)
    }

    /// Removes a header.
    pub fn remove(mut self, name: &str) -> Self {
        self.0.retain(|(other, _)| other != name.as_bytes());
        self
    }

    /// Adds a value to those that the header may have.
    pub fn and(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.0.push((name.into(), value.as_ref().to_vec()));
        self
    }

    /// The headers in the form in which a host has them.
    pub fn fields(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        self.0.clone()
    }

    pub fn head(&self) -> Head<'_> {
        let pairs = self.0.iter().map(|(n, v)| (n.as_slice(), v.as_slice()));
        let own = OwnHeaders {
            subject: Some(b"x-scopegate-subject"),
            id_token: Some(b"x-id-token"),
        };
        Head::read(pairs, own)
    }
}

/// An outcome that borrows nothing.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Decided {
    Allowed {
        tenants: Vec<u8>,
        /// Names and new values of headers. A removal has no value.
        edits: Vec<(String, Option<String>)>,
    },
    Denied(Denial),
    /// The gate answers by itself.
    Own(OwnAnswer),
    /// The directory of projects must be asked.
    Asks,
    NeedsClock,
    /// The request passes whatever was found about it.
    Reported,
    /// Keys may arrive. The denial applies if they do not.
    Waits(Need, Denial),
}

impl Decided {
    /// The denial's code, or what happened instead.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Allowed { .. } => ALLOWED,
            Self::Denied(denial) => denial.code(),
            Self::Own(answer) => answer.code(),
            Self::Asks => "asks",
            Self::NeedsClock => "needs the clock",
            Self::Reported => "reported",
            Self::Waits(Need::Keys, _) => "waits for keys",
            Self::Waits(Need::Key, _) => "waits for a key",
        }
    }
}

/// Decides on a request with any times and any engine.
pub fn decide(
    bench: &mut Bench,
    request: &Request,
    attempt: Attempt,
    engine: &dyn SignatureEngine,
) -> Decided {
    let head = request.head();
    match bench.evaluate(&head, attempt, engine).outcome {
        Outcome::Answer(answer) => Decided::Own(answer),
        Outcome::Ask(_) => Decided::Asks,
        Outcome::Refuse(denial) => Decided::Denied(denial),
        Outcome::NeedsClock => Decided::NeedsClock,
        Outcome::AwaitKeys {
            need, otherwise, ..
        } => Decided::Waits(need, otherwise),
        Outcome::Forward(passage) => {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let mut edits = Vec::new();
            let settings = &bench.gate.config().forward;
            forward::edits(&passage, &head, settings, |edit| {
                edits.push(match edit {
                    Edit::Remove(name) => (text(name), None),
                    Edit::Add(name, value) | Edit::Set(name, value) => {
                        (text(name), Some(text(&value)))
                    }
                });
            });
            match passage {
                Passage::Enforced(permit) => Decided::Allowed {
                    tenants: permit.tenants().to_vec(),
                    edits,
                },
                Passage::Reported(_) => Decided::Reported,
            }
        }
    }
}

/// A request that arrived at `arrived` and is examined with exact clocks at `now`.
pub const fn attempt(arrived: u64, now: u64) -> Attempt {
    Attempt {
        arrived: at(arrived).mono,
        time: Time::Exact(at(now)),
    }
}

/// Decides on a request that arrives at this time.
pub fn ask_at(bench: &mut Bench, request: &Request, millis: u64) -> Decided {
    decide(bench, request, attempt(millis, millis), &InModule)
}

/// Decides on a request that arrives at [`NOW`].
pub fn ask(gate: &mut Bench, request: &Request) -> Decided {
    ask_at(gate, request, 0)
}

/// The verdict of a new gate with this configuration on this request.
pub fn answer(config: &Value, request: &Request) -> &'static str {
    ask(&mut gate(config), request).code()
}

/// The verdict of a new gate with this configuration on this token.
pub fn verdict(config: &Value, token: &str) -> &'static str {
    answer(config, &Request::bearing(token))
}

/// Asserts that the defective token is refused with exactly this code, and that the control
/// passes.
#[track_caller]
pub fn refused(config: &Value, defect: &Token, code: &str, control: &Token) {
    let defect = defect.build();
    assert_eq!(verdict(config, &defect), code, "{}", readable(&defect));
    let control = control.build();
    assert_eq!(verdict(config, &control), ALLOWED, "{}", readable(&control));
}

/// Asserts that the token passes.
#[track_caller]
pub fn accepted(config: &Value, token: &Token) {
    let token = token.build();
    assert_eq!(verdict(config, &token), ALLOWED, "{}", readable(&token));
}

/// A token's header and payload, for failure messages.
pub fn readable(token: &str) -> String {
    let parts = token.split('.').take(2).map(|part| {
        URL_SAFE_NO_PAD.decode(part).map_or_else(
            |_| part.to_owned(),
            |bytes| String::from_utf8_lossy(&bytes).into_owned(),
        )
    });
    let text = parts.collect::<Vec<_>>().join(" . ");
    text.chars().take(600).collect()
}
