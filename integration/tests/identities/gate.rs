//! The gate with a page's configuration: a worker of the core, and a host that hands it the recipe's documents.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;

use anyhow::{Context, Result, bail, ensure};
use integration::identity::{ALLOWED, Ask, Recipe, Token, Verb};
use integration::replay::denial_code;
use scopegate::authn::keys::InModule;
use scopegate::worker::Action;
use serde_json::{Value, json};

use host::{Call, Done, Fields, Host, Store};

#[path = "../../../tests/common/host.rs"]
#[expect(
    dead_code,
    reason = "the tests of the core use it as well, and more of it"
)]
mod host;

/// When all of this happens, in seconds since 1970.
const NOW: u64 = 1_800_000_000;

/// The verdict on a request.
#[derive(Debug, Eq, PartialEq)]
pub struct Verdict {
    pub status: u16,
    pub code: String,
}

/// A worker and its host.
pub struct Gate<'recipe> {
    recipe: &'recipe Recipe,
    host: Host,
    fetched: BTreeSet<String>,
    streams: u64,
}

impl<'recipe> Gate<'recipe> {
    /// A gate whose configuration consists of this and three backends, and which has had a moment to fetch its keys.
    pub fn start(document: &Value, recipe: &'recipe Recipe) -> Result<Gate<'recipe>> {
        let mut document = document.clone();
        document["backends"] = json!({"loki": {}, "mimir": {}, "tempo": {}});
        let store = Rc::new(RefCell::new(Store::default()));
        let mut gate = Gate {
            recipe,
            host: Host::new(Box::new(InModule), &store, NOW, UPTIME, SEED),
            fetched: BTreeSet::new(),
            streams: ROOT,
        };
        let good = gate.host.configure(ROOT, &document.to_string(), &[]);
        ensure!(
            good,
            "the configuration is refused: {:?}",
            gate.host.take_done()
        );
        for _ in 0..=2 {
            gate.host.pass_mono(1_000);
            gate.host.tick(ROOT);
            // A discovery document leads to another fetch.
            for _ in 0..=1 {
                gate.answer_calls()?;
            }
        }
        gate.host.take_done();
        Ok(gate)
    }

    /// Documents of the recipe that nobody has asked for.
    pub fn unfetched(&self) -> impl Iterator<Item = &str> {
        let urls = self.recipe.documents.iter().map(|it| it.url.as_str());
        urls.filter(|url| !self.fetched.contains(*url))
    }

    /// Sends a token with a request.
    pub fn ask(&mut self, token: &Token, ask: &Ask) -> Result<Verdict> {
        let (method, path, body): (_, _, &[u8]) = match ask.verb {
            Verb::Read => ("GET", "/loki/api/v1/query?query=%7Bapp%3D%22a%22%7D", b""),
            Verb::Write => ("POST", "/loki/api/v1/push", b"snappy"),
            Verb::Rules => ("POST", "/prometheus/config/v1/rules/n", b"name: g"),
        };
        let mut fields: Fields = Vec::new();
        let mut field = |name: &str, value: &str| fields.push((name.into(), value.into()));
        field(":method", method);
        field(":path", path);
        field(":scheme", "https");
        field(":authority", "observability.example.com");
        field("x-scope-orgid", &ask.tenant);
        if !body.is_empty() {
            field("content-type", "application/x-protobuf");
            field("content-length", &body.len().to_string());
        }
        for (name, value) in token.headers(self.recipe, i64::try_from(NOW)?)? {
            field(&name, &value);
        }
        self.streams += 1;
        let stream = self.streams;
        self.host.open(stream, ROOT);
        let action = self.host.head(stream, &fields, body.is_empty());
        let done = self.host.take_done();
        let reply = done.iter().find_map(|done| match done {
            Done::Reply(_, reply) => Some(reply),
            _ => None,
        });
        let verdict = match reply {
            Some(reply) => Verdict {
                status: reply.status,
                code: denial_code(&reply.details)
                    .context("a reply without a code")?
                    .to_owned(),
            },
            None if action == Action::Continue => Verdict {
                status: 200,
                code: ALLOWED.to_owned(),
            },
            None => bail!("{}: the worker came to no decision", token.name),
        };
        self.host.gone(stream);
        self.host.take_done();
        Ok(verdict)
    }

    fn answer_calls(&mut self) -> Result<()> {
        for call in self.host.take_calls() {
            self.host.pass_mono(ROUND_TRIP);
            let url = url(&call)?;
            let documents = &self.recipe.documents;
            let Some(document) = documents.iter().find(|document| document.url == url) else {
                self.host.answer(&call, "404", b"");
                continue;
            };
            if self.recipe.injected.get(&call.cluster) != document.credential.as_ref() {
                self.host.answer(&call, "401", b"");
                continue;
            }
            self.fetched.insert(url);
            self.host.answer(&call, "200", document.text()?.as_bytes());
        }
        Ok(())
    }
}

/// What a worker asks for.
fn url(call: &Call) -> Result<String> {
    let part = |name: &str| {
        let value = call.header(name).unwrap_or_default();
        String::from_utf8(value.to_vec())
    };
    Ok(format!(
        "{}://{}{}",
        part(":scheme")?,
        part(":authority")?,
        part(":path")?
    ))
}

const SEED: u64 = 7;
const ROOT: u64 = 1;
/// Where the monotonic clock stands, in milliseconds.
const UPTIME: u64 = 1_000_000;
/// Of a fetch, in milliseconds.
const ROUND_TRIP: u64 = 20;
