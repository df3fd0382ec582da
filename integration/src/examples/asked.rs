//! The requests of `requests.yaml`, and the tokens that they come with.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use scopegate::words::denial::ROWS;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::example::{self, Example, REQUESTS};
use crate::client::RawRequest;
use crate::identity::{ALLOWED, Kind, Recipe, Token};
use crate::{command, grpc, paths, token, yaml};

/// One request. Its members are described in the index.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    pub example: String,
    pub title: String,
    caller: Caller,
    pub claims: Map<String, Value>,
    #[serde(rename = "as")]
    way: Way,
    method: String,
    path: String,
    #[serde(default)]
    pub tenant: Option<String>,
    #[serde(default)]
    param: BTreeMap<String, String>,
    #[serde(default)]
    body: Option<String>,
    /// What differs at the backend from what was asked: `tenant`, and parameters by their names.
    #[serde(default)]
    becomes: BTreeMap<String, String>,
    pub expect: String,
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
enum Caller {
    Person,
    Machine,
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
enum Way {
    Bearer,
    Basic,
    IdToken,
}

/// Those of `requests.yaml`, in their order.
pub fn all() -> Result<Vec<Asked>> {
    yaml::read(&example::folder().join(format!("{REQUESTS}.yaml")))
}

/// More of them, which no index lists.
pub fn more() -> Result<Vec<Asked>> {
    yaml::read(&paths::integration().join("tests/examples/more.yaml"))
}

/// The status that goes with a code.
pub fn status(code: &str) -> Result<u16> {
    if code == ALLOWED {
        return Ok(200);
    }
    let row = ROWS.iter().find(|row| row.code == code);
    Ok(row
        .with_context(|| format!("there is no code {code}"))?
        .status)
}

impl Asked {
    /// As the index shows it.
    #[must_use]
    pub fn answer(&self) -> String {
        match status(&self.expect) {
            Ok(status) if status != 200 => format!("{status} `{}`", self.expect),
            _ => self.expect.clone(),
        }
    }

    /// What `scopegate explain` says of it.
    pub fn explained(&self, example: &Example) -> Result<Value> {
        let folder = tempfile::tempdir()?;
        let file = |name: &str, text: &str| -> Result<String> {
            let path = folder.path().join(name);
            fs::write(&path, text)?;
            Ok(path.display().to_string())
        };
        let claims = file(
            "claims.json",
            &Value::Object(self.claims.clone()).to_string(),
        )?;
        let (configuration, now) = (example.path(), token::now().to_string());
        let mut words = vec!["explain", &configuration, "--claims", &claims, "--offline"];
        words.extend(["--output", "json", "--at", &now]);
        words.extend([
            "--method",
            &self.method,
            "--path",
            &self.path,
            "--as",
            self.way.word(),
        ]);
        if let Some(tenant) = &self.tenant {
            words.extend(["--tenant", tenant]);
        }
        let param = self.param.iter();
        let param: Vec<String> = param
            .map(|(name, value)| format!("--param={name}={value}"))
            .collect();
        words.extend(param.iter().map(String::as_str));
        let body = self
            .body
            .as_ref()
            .map(|body| file("body", body))
            .transpose()?;
        if let Some(body) = &body {
            words.extend([
                "--body-file",
                body,
                "--header",
                "content-type: application/json",
            ]);
        }
        let (_, said) = command::run(&words, b"")?;
        serde_json::from_str(&said).context(said)
    }

    /// Whether `explain` has said what is expected.
    pub fn expected(&self, said: &Value) -> Result<()> {
        let title = &self.title;
        ensure!(said["code"] == self.expect, "{title}: {said:#}");
        let forwarded = &said["forwarded"];
        ensure!(
            forwarded.is_null() == (self.expect != ALLOWED),
            "{title}: {said:#}"
        );
        if self.expect != ALLOWED {
            return Ok(());
        }
        let mut wanted = self.param.clone();
        wanted.extend(self.becomes.clone());
        let tenant = wanted.remove(TENANT).or_else(|| self.tenant.clone());
        let headers = forwarded["headers"].as_array().context("no headers")?;
        let sent = headers.iter().find(|header| header[0] == "x-scope-orgid");
        let sent = sent.map(|header| header[1].as_str().unwrap_or_default());
        ensure!(sent == tenant.as_deref(), "{title}: {said:#}");
        let path = forwarded["path"].as_str().context("no path")?;
        let (_, parameters) = path.split_once('?').unwrap_or_default();
        let parameters: BTreeMap<String, String> = form_urlencoded::parse(parameters.as_bytes())
            .into_owned()
            .collect();
        ensure!(
            parameters == wanted,
            "{title}: {parameters:?} is not {wanted:?}"
        );
        Ok(())
    }

    /// A token of the provider's in which nothing but these claims grants anything.
    pub fn token(&self, example: &Example, recipe: &Recipe) -> Result<Token> {
        let (kind, own_header) = match (self.caller, self.way) {
            (Caller::Person, way) => (Kind::Person, way == Way::IdToken),
            (Caller::Machine, _) => (Kind::Machine, false),
        };
        let mut shapes = recipe.tokens.iter();
        let shape = shapes
            .find(|token| token.kind == kind && token.sent.contains_key("x-id-token") == own_header)
            .with_context(|| format!("{}: no such token", self.title))?;
        let none = example
            .group_claims()
            .into_iter()
            .map(|name| (name.to_owned(), Value::Null));
        let mut token = shape.with(&none.collect()).with(&self.claims);
        token.name.clone_from(&self.title);
        Ok(token)
    }

    /// The request as a client sends it, with that token or with none.
    pub fn sent(&self, recipe: &Recipe, token: Option<&Token>) -> Result<RawRequest> {
        let escaped = |text: &str| utf8_percent_encode(text, ESCAPED).to_string();
        let param = self.param.iter();
        let param = param.map(|(name, value)| format!("{}={}", escaped(name), escaped(value)));
        let param: Vec<String> = param.collect();
        let path = [self.path.as_str(), &param.join("&")];
        let path = path.into_iter().filter(|part| !part.is_empty());
        let path = path.collect::<Vec<_>>().join("?");
        let mut request = RawRequest::new(&self.method, &path);
        if let Some(body) = &self.body {
            request.body = body.clone().into();
            request = request.header("content-type", "application/json");
        }
        if let Some(tenant) = &self.tenant {
            request = request.tenant(tenant);
        }
        let Some(token) = token else {
            return Ok(request);
        };
        let now = token::now();
        if self.way == Way::Basic {
            let pair = STANDARD.encode(format!("agent:{}", token.text(now)?));
            return Ok(request.header("authorization", format!("Basic {pair}")));
        }
        let headers = token.headers(recipe, now)?.into_iter();
        Ok(headers.fold(request, |request, (name, value)| {
            request.header(&name, value)
        }))
    }

    /// The same logs over gRPC, if that is what it sends.
    pub fn over_grpc(&self, recipe: &Recipe, token: &Token) -> Result<Option<RawRequest>> {
        if self.path != PUSH {
            return Ok(None);
        }
        let mut asked = self.clone();
        grpc::EXPORT_LOGS.clone_into(&mut asked.path);
        asked.body = None;
        let request = asked.sent(recipe, Some(token))?;
        let mut request = request
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        request.body = grpc::framed(&[]).to_vec();
        Ok(Some(request))
    }

    #[must_use]
    pub fn body(&self) -> &[u8] {
        self.body.as_deref().unwrap_or_default().as_bytes()
    }
}

impl Way {
    fn word(self) -> &'static str {
        match self {
            Way::Bearer => "bearer",
            Way::Basic => "basic",
            Way::IdToken => "id-token",
        }
    }
}

/// Where logs are written over HTTP.
const PUSH: &str = "/loki/api/v1/push";
/// What is no parameter in [`Asked::becomes`].
const TENANT: &str = "tenant";
/// As `explain` writes parameters, so that paths can be compared.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');
