//! The platform on one machine: real Loki, Mimir, Keycloak and agents as processes, with the gate in front of them.
//!
//! | module | gives |
//! |---|---|
//! | [`loki`], [`mimir`], [`tempo`] | the backends, with a stand-in for Tempo if there is no program |
//! | [`keycloak`] | the OpenID provider, with its admin interface |
//! | [`dex`] | a second OpenID provider, which only its own tests start |
//! | [`collector`] | an OpenTelemetry Collector that writes through the gate |
//! | [`backend`], [`daemon`] | processes that are killed and started again |
//!
//! The configuration files are in `integration/stack`, and the containers of `docker-compose.yaml` use them as well.

pub mod backend;
pub mod collector;
pub mod daemon;
pub mod dex;
pub mod keycloak;
pub mod loki;
pub mod mimir;
pub mod tempo;
pub mod tempo_stand_in;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::authority::Authority;
use crate::client::Target;
use crate::drill;
use crate::envoy::bootstrap::{Bootstrap, SERVER_NAME};
use crate::envoy::{Envoy, EnvoySettings};
use crate::part::{self, Part};
use crate::process;
use crate::prometheus::{Prometheus, PrometheusSettings};
use backend::{Backend, loopback};
use collector::{Collector, CollectorSettings, Exporter};
use keycloak::{Keycloak, PLATFORM};
use tempo::Tempo;

/// Everything that runs. It is dropped, and so stopped, from top to bottom.
pub struct Stack {
    envoy: Mutex<Option<Arc<Envoy>>>,
    gate: Gate,
    authority: Arc<Authority>,
    folder: TempDir,
    pub loki: Backend,
    pub mimir: Backend,
    pub tempo: Tempo,
    pub keycloak: Keycloak,
}

/// The ports of the gate, which stay the same when Envoy is started again.
#[derive(Clone, Copy, Debug)]
struct Gate {
    tls: u16,
    plain: u16,
}

impl Stack {
    /// Starts everything and waits until each part is ready. `said` is called with each part that became ready, and
    /// the time that it took.
    pub async fn start(said: impl Fn(&str)) -> Result<Stack> {
        let began = Instant::now();
        let tell = |what: &str| {
            said(&format!(
                "{what} after {:.0} s",
                began.elapsed().as_secs_f32()
            ));
        };
        // Programs are built first, because a server that waits while the next one is built would not be ready in
        // time.
        if let Some(reason) = part::lacking(&PARTS)? {
            bail!(reason);
        }
        let (loki, mimir, tempo, keycloak) = tokio::try_join!(
            async { loki::start().await.inspect(|_| tell("Loki is ready")) },
            async { mimir::start().await.inspect(|_| tell("Mimir is ready")) },
            async {
                let tempo = Tempo::start().await?;
                tell(&format!("Tempo ({}) is ready", tempo.kind()));
                anyhow::Ok(tempo)
            },
            async {
                Keycloak::start()
                    .await
                    .inspect(|_| tell("Keycloak is ready"))
            },
        )?;
        let gate = Gate {
            tls: process::free_port()?,
            plain: process::free_port()?,
        };
        let folder = tempfile::Builder::new()
            .prefix("scopegate-stack-")
            .tempdir()?;
        let authority = Arc::new(Authority::new()?);
        std::fs::write(folder.path().join(AUTHORITY), authority.pem())?;
        let stack = Stack {
            envoy: Mutex::new(None),
            gate,
            authority,
            folder,
            loki,
            mimir,
            tempo,
            keycloak,
        };
        stack.start_envoy().await?;
        tell("Envoy with the gate is ready");
        Ok(stack)
    }

    /// The module's configuration. Tests change members of it.
    pub fn configuration(&self) -> Value {
        json!({
            "providers": [{
                "name": "keycloak",
                "issuer": self.keycloak.issuer(PLATFORM),
                "audiences": ["observability"],
                "jwks": {"uri": self.keycloak.jwks_url(), "cluster": "idp"},
                "claims": {"groups": [
                    {"path": ["groups"]},
                    {"path": ["realm_access", "roles"], "prefix": "role:"},
                    {"path": ["azp"], "prefix": "client:"},
                ]},
            }],
            "organizations": [
                {
                    "name": "acme",
                    "tenants": [{"name": ACME, "types": ["data", "alerting"]}],
                    "rbac": {
                        "admins": ["acme-admins"],
                        "editors": ["acme-editors"],
                        "viewers": ["acme-viewers"],
                        "writers": ["client:agent-acme"],
                    },
                },
                {
                    "name": "globex",
                    "tenants": [{"name": GLOBEX, "types": ["data", "alerting"]}],
                    "rbac": {
                        "admins": ["globex-admins"],
                        "editors": ["globex-editors"],
                        "viewers": ["globex-viewers", "role:globex-reader"],
                        "writers": ["client:agent-globex"],
                    },
                },
                {
                    "name": "scratch",
                    "tenants": [{"name": SCRATCH, "types": ["data", "alerting"]}],
                    "rbac": {
                        "admins": ["acme-admins"],
                        "editors": ["acme-editors"],
                        "viewers": ["acme-viewers"],
                        "writers": ["client:agent-acme"],
                    },
                },
                // Namespaces and resources of several teams, not all of whose members may see all of them.
                {
                    "name": "initech",
                    "tenants": [
                        {"name": INITECH, "types": ["data", "alerting"]},
                        {"name": HOOLI, "types": ["data", "alerting"]},
                        APOLLO_TENANT,
                        UMBRELLA,
                        SOYLENT,
                    ],
                    "rbac": {
                        "admins": [
                            "initech-admins",
                            {"group": "initech-web-admins", "labels": {"namespace": ["web"]}},
                        ],
                        "viewers": [
                            {"group": "initech-web", "labels": {"namespace": ["web"]}},
                            {"group": "initech-shops", "labels": {"namespace": ["web", "shop"]}},
                            {"group": "initech-quartz", "labels": {"resource_id": ["quartz"]}},
                        ],
                        "writers": ["client:agent-acme"],
                    },
                },
            ],
            "backends": {
                "loki": {"legacy_api": true},
                "mimir": {},
                "tempo": {"attributes": {"namespace": NAMESPACE}},
            },
            "projects": {
                "tenant": "project-{project}",
                "resource_label": "resource_id",
                "directory": {"inline": [{
                    "project": APOLLO,
                    "resources": ["quartz", "basalt"],
                    "readers": ["apollo-readers"],
                }]},
            },
            "audit": {"log": "denied"},
        })
    }

    /// The shipped Envoy in front of this stack, with that configuration.
    pub fn settings(&self, configuration: Value) -> Result<EnvoySettings> {
        let Gate { tls, plain } = self.gate;
        Ok(drill::settings(configuration)?
            .tls_from(Arc::clone(&self.authority))
            .edit(move |bootstrap: &mut Bootstrap| {
                bootstrap.listener()?["address"]["socket_address"]["port_value"] = json!(tls);
                bootstrap.add_plain_listener(plain)
            })
            .cluster("loki", self.loki.http())
            .cluster("loki_grpc", self.loki.grpc())
            .cluster("mimir", self.mimir.http())
            .cluster("mimir_grpc", self.mimir.grpc())
            .cluster("tempo", self.tempo.http())
            .cluster("tempo_grpc", self.tempo.http())
            .cluster("tempo_otlp_http", self.tempo.otlp_http())
            .cluster("tempo_otlp_grpc", self.tempo.otlp_grpc())
            .cluster("idp", self.keycloak.address()))
    }

    /// Starts Envoy, on the ports that it had if it ran before.
    pub async fn start_envoy(&self) -> Result<()> {
        self.start_envoy_with(self.settings(self.configuration())?)
            .await
    }

    /// The same with those settings, which [`Stack::settings`] made.
    pub async fn start_envoy_with(&self, settings: EnvoySettings) -> Result<()> {
        self.kill_envoy();
        let envoy = Envoy::start(settings).await?;
        *self.lock() = Some(Arc::new(envoy));
        self.wait_for_keys().await
    }

    /// Kills Envoy at once.
    pub fn kill_envoy(&self) {
        drop(self.lock().take());
    }

    /// # Errors
    /// It has been killed.
    pub fn envoy(&self) -> Result<Arc<Envoy>> {
        self.lock().clone().context("Envoy is down")
    }

    /// Waits until each worker accepts a token of the provider.
    async fn wait_for_keys(&self) -> Result<()> {
        let envoy = self.envoy()?;
        let deadline = Instant::now() + KEYS;
        while envoy.metric("scopegate_jwks_keys", &[]).await? == 0.0 {
            ensure!(Instant::now() < deadline, "no keys within {KEYS:?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<Envoy>>> {
        self.envoy.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The gate without TLS, for requests by the client of these tests.
    pub fn plain(&self) -> SocketAddr {
        loopback(self.gate.plain)
    }

    /// The gate with TLS, as it is shipped.
    pub fn tls(&self) -> SocketAddr {
        loopback(self.gate.tls)
    }

    /// The target for requests by the client of these tests.
    pub fn target(&self) -> Target {
        Target::plain(self.plain())
    }

    /// The same, with TLS.
    pub fn tls_target(&self) -> Target {
        Target::tls(self.tls(), &self.authority.der(), SERVER_NAME)
    }

    /// `https://127.0.0.1:port`, for real clients.
    pub fn url(&self) -> String {
        format!("https://{}", self.tls())
    }

    /// The certificate that real clients trust, in PEM.
    pub fn authority(&self) -> PathBuf {
        self.folder.path().join(AUTHORITY)
    }

    /// A Collector that writes for that tenant, with a token of `agent-<tenant>`.
    pub async fn collector(&self, tenant: &str, exporter: Exporter) -> Result<Collector> {
        let token = self.keycloak.machine(&format!("agent-{tenant}")).await?;
        let settings = CollectorSettings {
            url: self.url(),
            grpc: self.tls().to_string(),
            authority: self.authority(),
            tenant: tenant.to_owned(),
            exporter,
            give_up: "0s".to_owned(),
        };
        Collector::start(&settings, &token).await
    }

    /// A Prometheus that scrapes `targets` four times per second and writes the results for that tenant. It fetches
    /// its tokens itself, as `agent-<tenant>`.
    pub async fn agent(&self, tenant: &str, targets: &[SocketAddr]) -> Result<Prometheus> {
        let targets: Vec<String> = targets.iter().map(SocketAddr::to_string).collect();
        let client = format!("agent-{tenant}");
        Prometheus::start(
            PrometheusSettings::with_configuration(json!({
                "global": {"scrape_interval": "250ms", "scrape_timeout": "250ms"},
                "scrape_configs": [{"job_name": client, "static_configs": [{"targets": targets}]}],
                "remote_write": [{
                    "url": format!("{}/prometheus/api/v1/push", self.url()),
                    "headers": {"X-Scope-OrgID": tenant},
                    "send_exemplars": true,
                    "metadata_config": {"send": true, "send_interval": "1s"},
                    "tls_config": {"ca_file": self.authority()},
                    "oauth2": {
                        "client_id": client,
                        "client_secret": format!("{client}-secret"),
                        "token_url": self.keycloak.token_url(),
                    },
                    "queue_config": {
                        "batch_send_deadline": "200ms",
                        "min_backoff": "100ms",
                        "max_backoff": "1s",
                        "max_shards": 2,
                    },
                }],
            }))
            .flag("--enable-feature=exemplar-storage")
            .program(part::PROMETHEUS_AGENT.find()?),
        )
        .await
    }
}

const KEYS: Duration = Duration::from_secs(60);
/// The name of the file with the authority's certificate.
const AUTHORITY: &str = "ca.crt";

/// The tenant of most tests.
pub const ACME: &str = "acme";
/// The other tenant.
pub const GLOBEX: &str = "globex";
/// A tenant of the same people as acme, for what tests write while others rely on acme's data not to change.
pub const SCRATCH: &str = "scratch";
/// A tenant whose people see one of its namespaces, two, or all.
pub const INITECH: &str = "initech";
/// A tenant of the same people, for requests that ask two tenants at once.
pub const HOOLI: &str = "hooli";
/// Tenants of the same people: one with data of several namespaces, and one with data of the namespace `web` only.
pub const UMBRELLA: &str = "umbrella";
pub const SOYLENT: &str = "soylent";
/// A project with the resources `quartz` and `basalt`, and its tenant.
pub const APOLLO: &str = "apollo";
pub const APOLLO_TENANT: &str = "project-apollo";
/// The attribute that corresponds to the label `namespace` in traces.
pub const NAMESPACE: &str = "k8s.namespace.name";

/// Everything that is built from source or fetched for the stack, in the order in which it is needed.
pub const PARTS: [Part; 5] = [
    part::KEYCLOAK,
    part::LOKI,
    part::MIMIR,
    part::PROMETHEUS_AGENT,
    part::OTELCOL,
];
