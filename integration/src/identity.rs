//! A provider as data: what it publishes, and the tokens that it issues.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::issuer::{self, PublishedKey};
use crate::{keys, paths, yaml};

/// What the code of a request that passes reads.
pub const ALLOWED: &str = "allowed";

/// One file of `identities`.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Recipe {
    pub documents: Vec<Document>,
    /// The bearer tokens that Envoy puts into requests through a cluster.
    pub injected: BTreeMap<String, String>,
    /// A token of the same provider that is not ours: of another tenant, realm, pool, owner.
    elsewhere: Option<Elsewhere>,
    /// A token for somebody else than us.
    audience: Elsewhere,
    /// Kinds of token that the provider does not have, and why.
    lacks: BTreeMap<Kind, String>,
    pub tokens: Vec<Token>,
}

/// The document at a URL.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Document {
    pub url: String,
    #[serde(default)]
    body: Option<Value>,
    #[serde(default)]
    keys: Vec<PublishedKey>,
    /// The bearer token that is required for it.
    #[serde(default)]
    pub credential: Option<String>,
}

/// How such a token differs from a good one.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Elsewhere {
    claims: Map<String, Value>,
    /// The key that signs it, if it is another.
    #[serde(default)]
    key: Option<String>,
    code: String,
}

impl Default for Elsewhere {
    fn default() -> Elsewhere {
        let mut claims = Map::new();
        claims.insert("aud".to_owned(), "somebody-else".into());
        Elsewhere {
            claims,
            key: None,
            code: "audience_mismatch".to_owned(),
        }
    }
}

/// Who uses a token, and what for.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A person calls the gate with it.
    Person,
    /// A machine calls the gate with it.
    Machine,
    /// An ID token in place of an access token.
    Id,
    /// Whatever else is worth a look.
    Other,
}

/// One token, and the expected outcome.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Token {
    pub name: String,
    #[serde(default = "other")]
    pub kind: Kind,
    /// The token whose members it inherits unless it has its own. `null` removes one.
    #[serde(default)]
    like: Option<String>,
    /// File name in `integration/keys`.
    #[serde(default)]
    key: Option<String>,
    #[serde(default)]
    header: Map<String, Value>,
    #[serde(default)]
    claims: Map<String, Value>,
    /// Dates, in seconds from now.
    #[serde(default)]
    pub times: BTreeMap<String, i64>,
    /// The headers in which it is sent. `${token}` stands for it, and `${NAME}` for the token of that name.
    #[serde(default)]
    pub sent: BTreeMap<String, String>,
    pub asks: Vec<Ask>,
}

/// A request: `{read: acme}`, `{write: acme}` or `{rules: acme}`, with `refused: code` where it is refused.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "AskText")]
pub struct Ask {
    pub verb: Verb,
    pub tenant: String,
    /// The expected code, or [`ALLOWED`].
    pub code: String,
}

/// What is asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verb {
    Read,
    Write,
    /// A change of rules.
    Rules,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AskText {
    read: Option<String>,
    write: Option<String>,
    rules: Option<String>,
    refused: Option<String>,
}

impl TryFrom<AskText> for Ask {
    type Error = &'static str;

    fn try_from(text: AskText) -> Result<Ask, Self::Error> {
        let (verb, tenant) = match (text.read, text.write, text.rules) {
            (Some(tenant), None, None) => (Verb::Read, tenant),
            (None, Some(tenant), None) => (Verb::Write, tenant),
            (None, None, Some(tenant)) => (Verb::Rules, tenant),
            _ => return Err("one of read, write and rules"),
        };
        Ok(Ask {
            verb,
            tenant,
            code: text.refused.unwrap_or_else(|| ALLOWED.to_owned()),
        })
    }
}

impl Ask {
    /// The same request, with another answer.
    #[must_use]
    pub fn with_code(&self, code: &str) -> Ask {
        Ask {
            code: code.to_owned(),
            ..self.clone()
        }
    }
}

impl std::fmt::Display for Verb {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Verb::Read => "reading",
            Verb::Write => "writing",
            Verb::Rules => "changing rules of",
        })
    }
}

impl Recipe {
    /// The provider of that name.
    pub fn read(name: &str) -> Result<Recipe> {
        let mut recipe: Recipe = yaml::read(&folder().join(format!("{name}.yaml")))?;
        let mut tokens: Vec<Token> = Vec::new();
        for mut token in recipe.tokens {
            if let Some(like) = &token.like {
                let base = tokens.iter().find(|base| base.name == *like);
                let base = base.with_context(|| format!("{name}.yaml: no token {like:?} above"))?;
                token.inherit(base);
            }
            tokens.push(token);
        }
        recipe.tokens = tokens;
        Ok(recipe)
    }

    /// What must be in every recipe, in words where it is not.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        for kind in [Kind::Person, Kind::Machine, Kind::Id] {
            let has = self.tokens.iter().any(|token| token.kind == kind);
            match self.lacks.get(&kind) {
                None if !has => problems.push(format!("no token of a {kind:?}, and no reason why")),
                Some(_) if has => problems.push(format!("lacks {kind:?}, but has it")),
                _ => {}
            }
        }
        if self.elsewhere.is_none() {
            problems.push("says nothing of tokens from elsewhere".to_owned());
        }
        for token in &self.tokens {
            let may = token.granted().is_some();
            match token.kind {
                Kind::Person | Kind::Machine if !may => {
                    problems.push(format!("{}: may do nothing", token.name));
                }
                Kind::Id if may => problems.push(format!("{}: is let in", token.name)),
                _ => {}
            }
        }
        problems
    }

    /// A token that is let in, with one thing wrong each time, and the code of its refusal.
    #[must_use]
    pub fn defects_of(&self, token: &Token) -> Vec<(Token, String)> {
        if token.granted().is_none() {
            return Vec::new();
        }
        let defect = |what: &str, change: &dyn Fn(&mut Token)| {
            let mut token = token.clone();
            token.name = format!("{} ({what})", token.name);
            change(&mut token);
            token
        };
        let changed = |what: &str, elsewhere: &Elsewhere| {
            let token = defect(what, &|token| {
                token.claims = merged(&token.claims, &elsewhere.claims);
                if let Some(key) = &elsewhere.key {
                    token.key = Some(key.clone());
                }
            });
            (token, elsewhere.code.clone())
        };
        let mut defects = vec![
            changed("another audience", &self.audience),
            (
                defect("expired", &|token| {
                    token.times.insert("iat".to_owned(), -7200);
                    token.times.insert("exp".to_owned(), -3600);
                }),
                "token_expired".to_owned(),
            ),
            (
                defect("forged", &|token| {
                    token.key = Some("rsa-stranger".to_owned());
                }),
                "signature_invalid".to_owned(),
            ),
        ];
        defects.extend(
            self.elsewhere
                .iter()
                .map(|elsewhere| changed("from elsewhere", elsewhere)),
        );
        defects
    }
}

impl Document {
    /// What is answered at its URL.
    pub fn text(&self) -> Result<String> {
        match &self.body {
            Some(body) => Ok(body.to_string()),
            None if self.keys.is_empty() => bail!("{}: neither body nor keys", self.url),
            None => Ok(issuer::jwks(&self.keys)?.to_string()),
        }
    }
}

impl Token {
    fn inherit(&mut self, base: &Token) {
        self.header = merged(&base.header, &self.header);
        self.claims = merged(&base.claims, &self.claims);
        self.key = self.key.take().or_else(|| base.key.clone());
        if self.times.is_empty() {
            self.times.clone_from(&base.times);
        }
        if self.sent.is_empty() {
            self.sent.clone_from(&base.sent);
        }
    }

    /// A token of the same shape that says this instead; `null` takes a member out.
    #[must_use]
    pub fn with(&self, claims: &Map<String, Value>) -> Token {
        let mut token = self.clone();
        token.claims = merged(&token.claims, claims);
        token
    }

    /// The first request that it is good for.
    #[must_use]
    pub fn granted(&self) -> Option<&Ask> {
        self.asks.iter().find(|ask| ask.code == ALLOWED)
    }

    /// The signed token. `now` is in seconds since 1970.
    pub fn text(&self, now: i64) -> Result<String> {
        let mut claims = self.claims.clone();
        for (name, offset) in &self.times {
            let date = now.saturating_add(*offset);
            claims.insert(name.clone(), date.into());
        }
        for name in ["exp", "iat"] {
            if !claims.contains_key(name) {
                bail!("{}: no {name}", self.name);
            }
        }
        let part = |members: &Map<String, Value>| {
            URL_SAFE_NO_PAD.encode(Value::Object(members.clone()).to_string())
        };
        let input = format!("{}.{}", part(&self.header), part(&claims));
        let key = self.key.as_deref();
        let key = keys::key(key.with_context(|| format!("{}: no key", self.name))?)?;
        let algorithm = self.header.get("alg").and_then(Value::as_str);
        let algorithm = algorithm.with_context(|| format!("{}: no alg", self.name))?;
        let signature = key.sign(algorithm, input.as_bytes())?;
        Ok(format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    /// The headers it travels in.
    pub fn headers(&self, recipe: &Recipe, now: i64) -> Result<Vec<(String, String)>> {
        let text = self.text(now)?;
        if self.sent.is_empty() {
            return Ok(vec![("authorization".to_owned(), format!("Bearer {text}"))]);
        }
        let mut headers = Vec::new();
        for (name, value) in &self.sent {
            let mut value = value.replace("${token}", &text);
            for other in &recipe.tokens {
                let mark = format!("${{{}}}", other.name);
                if value.contains(&mark) {
                    value = value.replace(&mark, &other.text(now)?);
                }
            }
            ensure!(
                !value.contains("${"),
                "{}: no such token: {value}",
                self.name
            );
            headers.push((name.clone(), value));
        }
        Ok(headers)
    }
}

/// The members of both; `null` takes one out.
fn merged(base: &Map<String, Value>, own: &Map<String, Value>) -> Map<String, Value> {
    let mut merged = base.clone();
    for (name, value) in own {
        if value.is_null() {
            merged.remove(name);
        } else {
            merged.insert(name.clone(), value.clone());
        }
    }
    merged
}

/// The names of all recipes.
pub fn names() -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(folder())? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        names.extend(name.strip_suffix(".yaml").map(ToOwned::to_owned));
    }
    Ok(names)
}

fn folder() -> PathBuf {
    paths::integration().join("identities")
}

fn other() -> Kind {
    Kind::Other
}
