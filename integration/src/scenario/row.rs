//! A row of the table, and the prepared form of it that a replay receives.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::Value;

use crate::bytes::ByteText;
use crate::client::{Protocol, RawRequest};
use crate::issuer::{self, AnswerMode, IssuerSettings, PublishedKey};
use crate::token::Recipe;
use crate::{paths, yaml};

/// One row of the table.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// What it shows, as a sentence that is unique in the whole table.
    pub name: String,
    /// The name of a file in `scenarios/configs`, without `.yaml`.
    #[serde(default = "base")]
    pub config: String,
    /// The state of the corporate provider before the gate starts.
    #[serde(default)]
    pub issuer: IssuerState,
    /// The environment variables of the module, such as `SCOPEGATE_LOKI_ENABLED`.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// Backend clusters behind which nothing listens.
    #[serde(default)]
    pub down: Vec<String>,
    /// Whether the scenario needs a gate of its own, because it leaves traces (a cool-down, a cache).
    #[serde(default)]
    pub alone: bool,
    /// The protocols over which Envoy is asked. By default these are both.
    #[serde(default = "both")]
    pub protocols: Vec<Protocol>,
    /// Why the scenario is not part of the native replay, if it is not.
    #[serde(default)]
    pub not_native: Option<String>,
    #[serde(default)]
    pub not_envoy: Option<String>,
    pub request: RequestText,
    /// The caller: a persona's name, `none`, or a recipe.
    #[serde(default)]
    pub token: TokenText,
    /// The values of the `Authorization` headers, one or a list, instead of `Bearer ${token}`.
    #[serde(default, deserialize_with = "yaml::one_or_many")]
    pub authorization: Vec<ByteText>,
    pub expect: Expect,
}

/// The request, without its token.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequestText {
    #[serde(default = "get")]
    pub method: String,
    /// The path, in which `${token}` is replaced.
    pub path: ByteText,
    /// The values of the `X-Scope-OrgID` headers, one or a list.
    #[serde(default, deserialize_with = "yaml::one_or_many")]
    pub tenant: Vec<ByteText>,
    /// Further headers in their order, as pairs of name and value.
    #[serde(default)]
    pub headers: Vec<(String, ByteText)>,
    #[serde(default)]
    pub content_type: Option<String>,
    #[serde(default)]
    pub body: Option<ByteText>,
}

/// Where the token comes from.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(untagged)]
pub enum TokenText {
    #[default]
    Absent,
    /// A persona, or `none`.
    Name(String),
    Recipe(Box<Recipe>),
}

/// The state of the corporate provider when the gate starts.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct IssuerState {
    #[serde(default)]
    pub answer: AnswerMode,
    /// The answers to the first fetches of its keys, before the regular one.
    #[serde(default)]
    pub first: Vec<AnswerMode>,
    /// The published keys, if they are not the usual ones.
    #[serde(default)]
    pub keys: Option<Vec<PublishedKey>>,
    /// Whether nothing listens at its address.
    #[serde(default)]
    pub down: bool,
}

/// The expected outcome.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expect {
    pub status: u16,
    /// The denial code. It is absent if the request is let through.
    #[serde(default)]
    pub code: Option<String>,
    /// Further statuses that are acceptable, because Envoy itself may be the first to refuse.
    #[serde(default)]
    pub or_status: Vec<u16>,
    /// Whether Envoy may end the stream or the connection instead of answering. Even then, no backend may have seen
    /// anything.
    #[serde(default)]
    pub or_reset: bool,
    /// Whether a backend may have seen the head, without a query and without a byte of the body. A body is refused
    /// when its head is already on its way.
    #[serde(default)]
    pub or_head: bool,
    #[serde(default)]
    pub body: Option<BodyFamily>,
    /// A text that the body must contain.
    #[serde(default)]
    pub says: Option<String>,
    /// The whole body, byte for byte.
    #[serde(default)]
    pub says_only: Option<String>,
    /// What `WWW-Authenticate` must contain, or `none` if it must be absent.
    #[serde(default)]
    pub challenge: Option<String>,
    /// Whether `Retry-After` must be there, as an integer of at most 30.
    #[serde(default)]
    pub retry_after: Option<bool>,
    /// The methods in `Allow`, in any order.
    #[serde(default)]
    pub allow: Option<Vec<String>>,
    /// Headers that the answer must have exactly once, with these values.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Beginnings that no header of the answer may have.
    #[serde(default)]
    pub no_headers: Vec<String>,
    #[serde(default)]
    pub grpc_status: Option<i32>,
    /// The request that a backend must have seen. If it is absent, a scenario with a `code` expects none, and one
    /// without expects any.
    #[serde(default)]
    pub upstream: Option<UpstreamText>,
}

/// The formats of the bodies of refusals.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum BodyFamily {
    Text,
    PrometheusJson,
    OtlpProtobuf,
    OtlpJson,
    Grpc,
    Empty,
}

/// `none`, or the request that must have reached a backend.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum UpstreamText {
    Name(String),
    Request(Box<ExpectUpstream>),
}

/// The request that a backend must have seen exactly once.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ExpectUpstream {
    /// loki, mimir or tempo.
    pub backend: Option<String>,
    /// The Envoy cluster, if its name is not that of the backend.
    pub cluster: Option<String>,
    pub method: Option<String>,
    /// The path and the query, byte for byte.
    pub path: Option<String>,
    /// Headers that must be there exactly once, with these values.
    pub headers: BTreeMap<String, ByteText>,
    /// Headers that must not be there.
    pub absent: Vec<String>,
    pub body: Option<ByteText>,
}

/// A scenario with everything that a replay needs. No file is read after this.
#[derive(Clone, Debug)]
pub struct Prepared {
    pub scenario: Scenario,
    /// The file that it came from, for messages.
    pub file: String,
    /// The gate's configuration document.
    pub config: Value,
    /// The documents at the JWKS endpoints of the providers, by issuer. `None` if there is none.
    pub jwks: BTreeMap<String, Option<Value>>,
    /// The whole request, in the order in which it is sent.
    pub request: RawRequest,
    /// The token that it contains.
    pub token: Option<Vec<u8>>,
}

/// The configuration variant of that name.
pub fn config(name: &str) -> Result<Value> {
    yaml::read(&config_path(name))
}

fn config_path(name: &str) -> std::path::PathBuf {
    let folder: &Path = &paths::integration().join("scenarios/configs");
    folder.join(format!("{name}.yaml"))
}

impl Scenario {
    /// Makes the token as of `now`, composes the request and reads the configuration.
    pub fn prepare(&self, file: &str, now: i64) -> Result<Prepared> {
        let token = self
            .token
            .recipe()
            .map(|recipe| recipe.make(now))
            .transpose()?;
        let mut jwks = BTreeMap::new();
        jwks.insert(issuer::CORPORATE.to_owned(), self.issuer.jwks()?);
        jwks.insert(
            issuer::PARTNER.to_owned(),
            Some(issuer::jwks(&IssuerSettings::partner().keys)?),
        );
        Ok(Prepared {
            request: self.raw_request(token.as_deref())?,
            config: config(&self.config)?,
            file: file.to_owned(),
            scenario: self.with_filled_expectation(token.as_deref()),
            jwks,
            token,
        })
    }

    /// Replaces `${token}` in the headers that a backend must have seen, too.
    fn with_filled_expectation(&self, token: Option<&[u8]>) -> Scenario {
        let mut scenario = self.clone();
        let token = String::from_utf8_lossy(token.unwrap_or_default());
        if let Some(UpstreamText::Request(upstream)) = &mut scenario.expect.upstream {
            for value in upstream.headers.values_mut() {
                if let ByteText::Text(text) = value {
                    *text = text.replace("${token}", &token);
                }
            }
        }
        scenario
    }

    fn raw_request(&self, token: Option<&[u8]>) -> Result<RawRequest> {
        let request = &self.request;
        let filled = |text: &ByteText| {
            Ok::<_, anyhow::Error>(fill(&text.bytes()?, token.unwrap_or_default()))
        };
        let mut raw = RawRequest::new(&request.method, "");
        raw.path = filled(&request.path)?;
        if self.authorization.is_empty() {
            if let Some(token) = token {
                raw = raw.header("authorization", [b"Bearer ".as_slice(), token].concat());
            }
        } else {
            for value in &self.authorization {
                raw = raw.header("authorization", filled(value)?);
            }
        }
        for tenant in &request.tenant {
            raw = raw.header("x-scope-orgid", filled(tenant)?);
        }
        if let Some(content_type) = &request.content_type {
            raw = raw.header("content-type", content_type.as_str());
        }
        for (name, value) in &request.headers {
            raw = raw.header(name, filled(value)?);
        }
        if let Some(body) = &request.body {
            raw.body = body.bytes()?;
        }
        Ok(raw)
    }

    /// A key that is equal for scenarios that may share a gate.
    #[must_use]
    pub fn group(&self) -> String {
        let own = if self.alone { self.name.as_str() } else { "" };
        format!(
            "{} {:?} {:?} {:?} {own}",
            self.config, self.issuer, self.environment, self.down
        )
    }
}

impl TokenText {
    fn recipe(&self) -> Option<Recipe> {
        match self {
            TokenText::Absent => None,
            TokenText::Name(name) if name == "none" => None,
            TokenText::Name(persona) => Some(Recipe::of(persona)),
            TokenText::Recipe(recipe) => Some(recipe.as_ref().clone()),
        }
    }
}

impl IssuerState {
    /// The settings of the corporate provider in this state.
    #[must_use]
    pub fn settings(&self) -> IssuerSettings {
        let mut settings = IssuerSettings::corporate();
        if let Some(keys) = &self.keys {
            settings.keys.clone_from(keys);
        }
        settings
    }

    /// The document that a gate finally gets, if it gets one that is JSON.
    fn jwks(&self) -> Result<Option<Value>> {
        self.jwks_of(&self.answer)
    }

    /// The document in that answer, if there is one that is JSON.
    pub fn jwks_of(&self, answer: &AnswerMode) -> Result<Option<Value>> {
        let document = issuer::jwks(&self.settings().keys)?;
        Ok(match answer {
            _ if self.down => None,
            AnswerMode::Good | AnswerMode::Delay(_) => Some(document),
            AnswerMode::Raw(bytes) => serde_json::from_slice(&bytes.bytes()?).ok(),
            _ => None,
        })
    }
}

/// Inserts the token into a text, either unchanged or as the password of HTTP's Basic scheme.
fn fill(text: &[u8], token: &[u8]) -> Vec<u8> {
    let password = STANDARD.encode([b"agent:".as_slice(), token].concat());
    let text = replace(text, b"${token}", token);
    replace(&text, b"${as_password}", password.as_bytes())
}

fn replace(text: &[u8], mark: &[u8], by: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.windows(mark.len()).position(|window| window == mark) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(by);
        rest = &rest[at + mark.len()..];
    }
    out.extend_from_slice(rest);
    out
}

pub(super) fn base() -> String {
    "base".to_owned()
}

fn get() -> String {
    "GET".to_owned()
}

pub(super) fn both() -> Vec<Protocol> {
    vec![Protocol::H1, Protocol::H2]
}
