//! A real Dex: an OpenID provider that delegates logins to others, and all of whose tokens are of one kind.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::backend::loopback;
use super::daemon::{Daemon, Recipe};
use super::keycloak::Tokens;
use crate::client::{self, Reply};
use crate::{form, part, process};

/// How Dex is started.
#[derive(Clone, Debug)]
pub struct DexSettings {
    pub storage: Storage,
    /// How long a key signs. A key older than that is replaced when Dex starts, and every 30 seconds while it runs.
    pub signing_keys: &'static str,
    /// The issuer whose ID tokens are exchanged through the connector [`UPSTREAM`].
    pub upstream: Option<String>,
}

/// Where Dex stores its keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storage {
    /// In memory: they are lost when the process ends.
    Memory,
    /// In SQLite: they are still there after a restart.
    Sqlite,
}

/// The handle.
pub struct Dex {
    daemon: Daemon,
    address: SocketAddr,
}

/// A person in its password database.
#[derive(Clone, Copy, Debug)]
pub struct Person {
    pub email: &'static str,
    pub name: &'static str,
    pub id: &'static str,
    pub password: &'static str,
    /// The hash of the password, by bcrypt. Dex accepts none with a cost below 10.
    hash: &'static str,
}

impl Dex {
    /// Starts it and waits until it answers. `DEX` may name the program.
    pub async fn start(settings: DexSettings) -> Result<Dex> {
        let program = part::DEX.find()?;
        let folder = tempfile::Builder::new()
            .prefix("scopegate-dex-")
            .tempdir()?;
        let address = loopback(process::free_port()?);
        let configuration = configuration(&settings, address, folder.path());
        let file = folder.path().join("dex.yaml");
        // JSON is valid YAML.
        fs::write(&file, serde_json::to_vec_pretty(&configuration)?)?;
        let recipe = Recipe {
            name: "dex",
            command: Box::new(move || {
                let mut command = Command::new(&program);
                command.arg("serve").arg(&file);
                command
            }),
            ready: (address, "/dex/healthz"),
            patience: START,
        };
        Ok(Dex {
            daemon: Daemon::start(recipe, folder).await?,
            address,
        })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn daemon(&self) -> &Daemon {
        &self.daemon
    }

    /// The `iss` of its tokens.
    pub fn issuer(&self) -> String {
        issuer(self.address)
    }

    /// What it publishes about itself.
    pub async fn discovery(&self) -> Result<Value> {
        let path = "/dex/.well-known/openid-configuration";
        client::get(self.address, path).await?.json()
    }

    /// The IDs of the keys that it publishes, beginning with the one that signs.
    pub async fn key_ids(&self) -> Result<Vec<String>> {
        let set = client::get(self.address, "/dex/keys").await?.json()?;
        let keys = set["keys"].as_array().context("no keys")?;
        let ids = keys.iter().map(|key| key["kid"].as_str());
        let ids: Option<Vec<&str>> = ids.collect();
        Ok(ids
            .context("a key without an ID")?
            .into_iter()
            .map(str::to_owned)
            .collect())
    }

    /// The answer of the token endpoint to that client, whose secret is its name followed by `-secret`.
    pub async fn grant(&self, client: &str, form: &[(&str, &str)]) -> Result<Reply> {
        let secret = format!("{client}-secret");
        let who = [("client_id", client), ("client_secret", &secret)];
        client::post_form(self.address, "/dex/token", &[&who, form].concat()).await
    }

    /// Gets tokens with the password grant.
    pub async fn login(&self, client: &str, person: &Person, scope: &str) -> Result<Tokens> {
        let reply = self
            .grant(
                client,
                &[
                    ("grant_type", "password"),
                    ("username", person.email),
                    ("password", person.password),
                    ("scope", scope),
                ],
            )
            .await?;
        Tokens::of(&reply)
    }

    /// Gets tokens as a browser gets them for the client: with a code, through that connector. If the connector shows
    /// a form, it is filled in with `user` and `password`.
    pub async fn browse(
        &self,
        client: &str,
        connector: &str,
        (user, password): (&str, &str),
        scope: &str,
    ) -> Result<Tokens> {
        let challenge = ring::digest::digest(&ring::digest::SHA256, VERIFIER.as_bytes());
        let query = form_urlencoded::Serializer::new(String::new())
            .extend_pairs([
                ("client_id", client),
                ("redirect_uri", CALLBACK),
                ("response_type", "code"),
                ("scope", scope),
                ("state", STATE),
                ("code_challenge", &URL_SAFE_NO_PAD.encode(challenge)),
                ("code_challenge_method", "S256"),
            ])
            .finish();
        let mut reply = self.get(&format!("/dex/auth/{connector}?{query}")).await?;
        let mut asked = false;
        let code = loop {
            let Some(location) = reply.header("location") else {
                ensure!(!asked, "{user} is not let in: {}", reply.text());
                let action =
                    action(&reply).with_context(|| format!("no form: {}", reply.text()))?;
                let fields = [("login", user), ("password", password)];
                reply = client::post_form(self.address, &action, &fields).await?;
                asked = true;
                continue;
            };
            if let Some(query) = location.strip_prefix(CALLBACK) {
                let mut fields = form::parse(query.trim_start_matches('?'));
                ensure!(
                    fields.get("state").is_some_and(|state| state == STATE),
                    "{location}"
                );
                break fields
                    .remove("code")
                    .with_context(|| format!("no code: {location}"))?;
            }
            let own = format!("http://{}", self.address);
            let path = location.strip_prefix(&own).unwrap_or(&location);
            ensure!(path.starts_with('/'), "led away to {location}");
            reply = self.get(path).await?;
        };
        let reply = self
            .grant(
                client,
                &[
                    ("grant_type", "authorization_code"),
                    ("code", &code),
                    ("redirect_uri", CALLBACK),
                    ("code_verifier", VERIFIER),
                ],
            )
            .await?;
        Tokens::of(&reply)
    }

    /// Gets a token in exchange for an ID token of the upstream issuer.
    pub async fn exchange(&self, client: &str, token: &str, scope: &str) -> Result<String> {
        let reply = self
            .grant(
                client,
                &[
                    (
                        "grant_type",
                        "urn:ietf:params:oauth:grant-type:token-exchange",
                    ),
                    ("connector_id", UPSTREAM),
                    ("subject_token", token),
                    (
                        "subject_token_type",
                        "urn:ietf:params:oauth:token-type:id_token",
                    ),
                    ("scope", scope),
                ],
            )
            .await?;
        Ok(Tokens::of(&reply)?.access)
    }

    async fn get(&self, path: &str) -> Result<Reply> {
        let reply = client::get(self.address, path).await?;
        if reply.status >= 400 {
            bail!("{path}: {} {}", reply.status, reply.text());
        }
        Ok(reply)
    }
}

fn configuration(settings: &DexSettings, address: SocketAddr, folder: &Path) -> Value {
    let mut connectors = vec![json!({"type": "mockCallback", "id": MOCK, "name": "Mock"})];
    if let Some(upstream) = &settings.upstream {
        connectors.push(json!({
            "type": "oidc",
            "id": UPSTREAM,
            "name": "Keycloak",
            "config": {
                "issuer": upstream,
                "clientID": "dex",
                "clientSecret": "dex-secret",
                "redirectURI": format!("{}/callback", issuer(address)),
                // The scope `email` is omitted, because service accounts lack it.
                "scopes": ["profile"],
                "userNameKey": "preferred_username",
                "claimModifications": {"newGroupFromClaims": [
                    {"prefix": "client", "delimiter": ":", "claims": ["azp"]},
                ]},
            },
        }));
    }
    let passwords = [ALICE, ZOFIE].map(|person| {
        json!({
            "email": person.email,
            "username": person.name,
            "userID": person.id,
            "hash": person.hash,
        })
    });
    let client = |id: &str| {
        json!({
            "id": id,
            "name": id,
            "secret": format!("{id}-secret"),
            "redirectURIs": [CALLBACK],
        })
    };
    // Nobody logs in to this client. Others name it as an audience.
    let mut audience = client("observability");
    audience["trustedPeers"] = json!([GRAFANA, AGENTS]);
    json!({
        "issuer": issuer(address),
        "storage": match settings.storage {
            Storage::Memory => json!({"type": "memory"}),
            Storage::Sqlite => json!({
                "type": "sqlite3",
                "config": {"file": folder.join("dex.db")},
            }),
        },
        "web": {"http": address.to_string()},
        "oauth2": {
            "responseTypes": ["code"],
            "skipApprovalScreen": true,
            "passwordConnector": LOCAL,
        },
        "expiry": {"signingKeys": settings.signing_keys, "idTokens": "10m"},
        "enablePasswordDB": true,
        "staticPasswords": passwords,
        "staticClients": [client(GRAFANA), client(AGENTS), audience],
        "connectors": connectors,
    })
}

fn issuer(address: SocketAddr) -> String {
    format!("http://{address}/dex")
}

/// The URL to which the form of a page is sent.
fn action(page: &Reply) -> Option<String> {
    let text = page.text();
    let (_, rest) = text.split_once("<form method=\"post\" action=\"")?;
    let (action, _) = rest.split_once('"')?;
    Some(action.replace("&amp;", "&"))
}

/// The client that people log in to.
pub const GRAFANA: &str = "grafana";
/// The client at which machines exchange their tokens.
pub const AGENTS: &str = "agents";
/// The connector to the password database.
pub const LOCAL: &str = "local";
/// The connector that lets everybody in as Kilgore Trout of the group `authors`.
pub const MOCK: &str = "mock";
/// The connector to another issuer.
pub const UPSTREAM: &str = "upstream";

pub const ALICE: Person = Person {
    email: "alice@acme.example",
    name: "Alice",
    id: "alice",
    password: "alice",
    hash: "$2a$10$95CfWynFVwSQ8Bp4l2tzIeZjtYZMOuKDaAgPp4yPSCz9pHSu41B7i",
};
pub const ZOFIE: Person = Person {
    email: "zofie@globex.example",
    name: "Žofie Ångström",
    id: "žofie",
    password: "zofie",
    hash: "$2a$10$d6gPx/0m5gCTfm09E86F/uU0c4SQtS9sYe47EG24i2t1nXGW3n4Va",
};

/// Nothing listens there: the code is read from the address.
const CALLBACK: &str = "http://127.0.0.1/callback";
const STATE: &str = "a-state-of-this-flow";
/// It has 43 characters, which is the minimum.
const VERIFIER: &str = "a-verifier-that-is-long-enough-for-rfc-7636";
const START: Duration = Duration::from_secs(60);
