//! A real Keycloak with the realms of `integration/stack/keycloak`, and its admin API.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use super::backend::loopback;
use super::daemon::{Daemon, Recipe};
use crate::client::{self, Protocol, RawRequest, Reply, Target};
use crate::{part, paths, process};

/// The handle.
pub struct Keycloak {
    daemon: Daemon,
    address: SocketAddr,
}

/// The answer of the token endpoint.
#[derive(Clone, Debug)]
pub struct Tokens {
    pub access: String,
    pub refresh: Option<String>,
    pub id: Option<String>,
}

impl Tokens {
    /// The tokens in that answer of a token endpoint.
    pub(super) fn of(reply: &Reply) -> Result<Tokens> {
        let answer = reply.json()?;
        let text = |name: &str| answer[name].as_str().map(str::to_owned);
        Ok(Tokens {
            access: text("access_token").with_context(|| format!("{}: {answer}", reply.status))?,
            refresh: text("refresh_token"),
            id: text("id_token"),
        })
    }
}

impl Keycloak {
    /// Starts it and waits until both realms answer. `KEYCLOAK` may name the folder of an installation.
    pub async fn start() -> Result<Keycloak> {
        let installed = part::KEYCLOAK.find()?;
        let folder = tempfile::Builder::new()
            .prefix("scopegate-keycloak-")
            .tempdir()?;
        let home = folder.path().join("home");
        copy_installation(&installed, &home)?;
        let port = process::free_port()?;
        let management = process::free_port()?;
        let address = loopback(port);
        let recipe = Recipe {
            name: "keycloak",
            command: Box::new(move || command(&home, port, management)),
            ready: (address, "/realms/platform"),
            patience: START,
        };
        Ok(Keycloak {
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

    /// The `iss` of that realm's tokens.
    pub fn issuer(&self, realm: &str) -> String {
        format!("http://{}/realms/{realm}", self.address)
    }

    pub fn jwks_url(&self) -> String {
        format!("{}{PROTOCOL}/certs", self.issuer(PLATFORM))
    }

    pub fn token_url(&self) -> String {
        format!("{}{PROTOCOL}/token", self.issuer(PLATFORM))
    }

    /// Requests any grant at the token endpoint of that realm.
    pub async fn grant(&self, realm: &str, form: &[(&str, &str)]) -> Result<Tokens> {
        let path = format!("/realms/{realm}{PROTOCOL}/token");
        let reply = client::post_form(self.address, &path, form).await?;
        Tokens::of(&reply)
    }

    /// The tokens of a person who has logged in to Grafana. The password is the name.
    pub async fn login(&self, user: &str) -> Result<Tokens> {
        self.login_to(PLATFORM, GRAFANA, user).await
    }

    /// The same for another realm or another client, whose secret is its name followed by `-secret`.
    pub async fn login_to(&self, realm: &str, client: &str, user: &str) -> Result<Tokens> {
        let secret = format!("{client}-secret");
        self.grant(
            realm,
            &[
                ("grant_type", "password"),
                ("client_id", client),
                ("client_secret", &secret),
                ("username", user),
                ("password", user),
                ("scope", "openid"),
            ],
        )
        .await
    }

    /// The access token of a person.
    pub async fn user(&self, user: &str) -> Result<String> {
        Ok(self.login(user).await?.access)
    }

    /// The access token of a machine, whose secret is its name followed by `-secret`.
    pub async fn machine(&self, client: &str) -> Result<String> {
        let secret = format!("{client}-secret");
        let tokens = self
            .grant(
                PLATFORM,
                &[
                    ("grant_type", "client_credentials"),
                    ("client_id", client),
                    ("client_secret", &secret),
                ],
            )
            .await?;
        Ok(tokens.access)
    }

    /// Sends a request to the admin API. `path` is appended to `/admin/realms/platform`.
    pub async fn admin(&self, method: &str, path: &str, body: Option<Value>) -> Result<Reply> {
        let token = self
            .grant(
                "master",
                &[
                    ("grant_type", "password"),
                    ("client_id", "admin-cli"),
                    ("username", ADMIN),
                    ("password", ADMIN),
                ],
            )
            .await?;
        let mut request = RawRequest::new(method, &format!("/admin/realms/{PLATFORM}{path}"))
            .bearer(&token.access);
        request.authority = Some(self.address.to_string().into_bytes());
        if let Some(body) = body {
            request.body = body.to_string().into_bytes();
            request = request.header("content-type", "application/json");
        }
        let reply = request
            .send(&Target::plain(self.address), Protocol::H1)
            .await?;
        ensure!(
            (200..300).contains(&reply.status),
            "{method} {path}: {} {}",
            reply.status,
            reply.text()
        );
        Ok(reply)
    }

    /// Creates an RS256 key that signs from now on. The old ones remain published. Returns the ID of its component.
    pub async fn add_signing_key(&self, priority: u32) -> Result<String> {
        let settings = json!({
            "priority": [priority.to_string()],
            "algorithm": ["RS256"],
            "keySize": ["2048"],
        });
        self.add_key(&format!("rsa-{priority}"), "rsa-generated", settings)
            .await
    }

    /// Creates an ES256 key, which signs for clients that want that algorithm. Returns the ID of its component.
    pub async fn add_elliptic_key(&self) -> Result<String> {
        let settings = json!({"priority": ["100"], "ecdsaEllipticCurveKey": ["P-256"]});
        self.add_key("ecdsa", "ecdsa-generated", settings).await
    }

    async fn add_key(&self, name: &str, provider: &str, mut settings: Value) -> Result<String> {
        settings["enabled"] = json!(["true"]);
        settings["active"] = json!(["true"]);
        let realm = self.admin("GET", "", None).await?.json()?;
        let component = json!({
            "name": name,
            "providerId": provider,
            "providerType": KEY_PROVIDER,
            "parentId": realm["id"],
            "config": settings,
        });
        let reply = self.admin("POST", "/components", Some(component)).await?;
        let location = reply.header("location").context("no location")?;
        let id = location.rsplit('/').next().context("no id")?;
        Ok(id.to_owned())
    }

    /// The components that hold RS256 signing keys, in any order.
    pub async fn signing_keys(&self) -> Result<Vec<Value>> {
        let path = format!("/components?type={KEY_PROVIDER}");
        let components = self.admin("GET", &path, None).await?.json()?;
        let all = components.as_array().cloned().unwrap_or_default();
        Ok(all
            .into_iter()
            .filter(|component| component["providerId"] == json!("rsa-generated"))
            .collect())
    }

    /// Removes a key permanently.
    pub async fn remove_key(&self, component: &str) -> Result<()> {
        self.admin("DELETE", &format!("/components/{component}"), None)
            .await?;
        Ok(())
    }

    pub async fn user_id(&self, user: &str) -> Result<String> {
        let path = format!("/users?exact=true&username={user}");
        let users = self.admin("GET", &path, None).await?.json()?;
        let id = users[0]["id"].as_str();
        Ok(id.with_context(|| format!("no user {user}"))?.to_owned())
    }

    pub async fn group_id(&self, group: &str) -> Result<String> {
        let path = format!("/groups?exact=true&search={group}");
        let groups = self.admin("GET", &path, None).await?.json()?;
        let id = groups[0]["id"].as_str();
        Ok(id.with_context(|| format!("no group {group}"))?.to_owned())
    }

    /// Adds a person to a group (`PUT`), or removes them from it (`DELETE`).
    pub async fn membership(&self, method: &str, user: &str, group: &str) -> Result<()> {
        let path = format!(
            "/users/{}/groups/{}",
            self.user_id(user).await?,
            self.group_id(group).await?
        );
        self.admin(method, &path, None).await?;
        Ok(())
    }

    /// Ends all sessions of a person.
    pub async fn logout(&self, user: &str) -> Result<()> {
        let path = format!("/users/{}/logout", self.user_id(user).await?);
        self.admin("POST", &path, Some(json!({}))).await?;
        Ok(())
    }
}

/// Creates a folder of its own for what a run writes. The libraries, which are most of its size, are only linked.
fn copy_installation(installed: &Path, home: &Path) -> Result<()> {
    let import = home.join("data/import");
    fs::create_dir_all(&import)?;
    for part in ["bin", "conf", "providers", "themes"] {
        let copied = Command::new("cp")
            .arg("-r")
            .arg(installed.join(part))
            .arg(home)
            .status()?;
        ensure!(copied.success(), "no Keycloak in {}", installed.display());
    }
    symlink(installed.join("lib"), home.join("lib"))?;
    let realms = paths::integration().join("stack/keycloak");
    let mut found = false;
    for entry in fs::read_dir(&realms)? {
        let path: PathBuf = entry?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "json")
        {
            fs::copy(&path, import.join(path.file_name().context("no name")?))?;
            found = true;
        }
    }
    if !found {
        bail!("no realm in {}", realms.display());
    }
    Ok(())
}

fn command(home: &Path, port: u16, management: u16) -> Command {
    let mut command = Command::new(home.join("bin/kc.sh"));
    command
        .args(["start", "--optimized", "--import-realm", "--cache=local"])
        .args(["--http-enabled=true", "--hostname-strict=false"])
        .args([
            "--http-host=127.0.0.1",
            "--log-level=warn,org.keycloak.events:off",
        ])
        .arg(format!("--http-port={port}"))
        .arg(format!("--http-management-port={management}"))
        .env("KC_BOOTSTRAP_ADMIN_USERNAME", ADMIN)
        .env("KC_BOOTSTRAP_ADMIN_PASSWORD", ADMIN)
        .env("JAVA_OPTS_KC_HEAP", "-Xmx512m")
        // This makes it ready sooner. It is never busy for long.
        .env("JAVA_OPTS_APPEND", "-XX:TieredStopAtLevel=1");
    command
}

/// The realm that the gate trusts.
pub const PLATFORM: &str = "platform";
/// A realm of the same server that the gate does not trust.
pub const STRANGERS: &str = "strangers";
/// Grafana's client in both realms.
pub const GRAFANA: &str = "grafana";

const ADMIN: &str = "admin";
const PROTOCOL: &str = "/protocol/openid-connect";
const KEY_PROVIDER: &str = "org.keycloak.keys.KeyProvider";
/// On two busy cores, 45 to 80 s were measured.
const START: Duration = Duration::from_secs(240);
