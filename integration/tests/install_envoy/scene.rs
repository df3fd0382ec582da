//! The surroundings of the Envoy on the page: a provider behind TLS, and two backends.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use integration::authority::Authority;
use integration::envoy::{Envoy, EnvoySettings};
use integration::issuer::Issuer;
use integration::server::Server;
use integration::terminator::terminate;
use integration::token::Recipe;
use integration::upstream::{Seen, Upstream, UpstreamLog};
use integration::walkthrough::session::Session;
use serde_json::json;

/// All of it.
pub struct Scene {
    pub session: Session,
    /// Where the gate meets the provider.
    pub door: Server,
    pub log: UpstreamLog,
    /// Stops when it is dropped.
    _provider: Issuer,
    backends: Vec<Upstream>,
    authority: Arc<Authority>,
    envoy: Option<Envoy>,
}

impl Scene {
    /// The machine before Envoy has a file.
    pub async fn open(session: Session) -> Result<Scene> {
        let authority = Arc::new(Authority::new()?);
        session.furnish(&authority)?;
        let provider = Issuer::corporate().await?;
        let log = UpstreamLog::new();
        let mut backends = Vec::new();
        for name in ["loki", "mimir"] {
            backends.push(Upstream::start(name, &log).await?);
        }
        Ok(Scene {
            door: terminate(&authority, "login.example.com", provider.address()).await?,
            session,
            log,
            _provider: provider,
            backends,
            authority,
            envoy: None,
        })
    }

    /// Start Envoy on the file that is there, in place of the one that runs.
    pub async fn start(&mut self) -> Result<()> {
        if let Some(envoy) = self.envoy.take() {
            envoy.stop().await?;
        }
        let file = self.session.machine().join("envoy.yaml");
        let mut settings = EnvoySettings::from_file(&file)?
            .as_rendered(self.authority.clone())
            .cluster("corporate", self.door.address());
        for backend in &self.backends {
            settings = settings.cluster(backend.name(), backend.address());
        }
        let envoy = Envoy::start(settings).await?;
        self.session.log(&envoy.log_path())?;
        self.session.lead(&[
            (
                "observability.example.com:8443",
                envoy.address().to_string(),
            ),
            ("127.0.0.1:9901", envoy.admin_address().to_string()),
        ])?;
        self.envoy = Some(envoy);
        Ok(())
    }

    /// The one request that has reached a backend since the log was cleared.
    pub fn reached(&self) -> Result<Seen> {
        let mut all = self.log.all();
        ensure!(all.len() == 1, "{all:?}");
        self.log.clear();
        all.pop().context("a request")
    }
}

/// A member of the shop's team.
pub fn alice() -> Recipe {
    let recipe = Recipe::of("reader").claim("sub", "alice");
    recipe.claim("groups", json!(["shop-team"]))
}
