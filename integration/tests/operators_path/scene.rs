//! The surroundings of the gate on the page: two providers behind TLS, the backends, and the Envoy that runs what was
//! rendered.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use integration::authority::Authority;
use integration::client::{Protocol, RawRequest, Reply};
use integration::drill;
use integration::envoy::{Envoy, EnvoySettings};
use integration::issuer::{Issuer, IssuerSettings};
use integration::scene::BACKEND_CLUSTERS;
use integration::server::Server;
use integration::terminator::terminate;
use integration::token::Recipe;
use integration::upstream::{Seen, Upstream, UpstreamLog};
use integration::walkthrough::session::Session;
use serde_json::json;

/// All of it.
pub struct Scene {
    pub session: Session,
    pub corporate: Issuer,
    pub partner: Issuer,
    corporate_door: Server,
    /// Where the gate meets the partner's provider.
    pub partner_door: Server,
    upstreams: Vec<Upstream>,
    pub log: UpstreamLog,
    authority: Arc<Authority>,
    envoy: Option<Envoy>,
}

impl Scene {
    /// The machine before anything is rendered: a certificate and the module are there.
    pub async fn open(session: Session) -> Result<Scene> {
        let authority = Arc::new(Authority::new()?);
        session.furnish(&authority)?;

        let corporate = Issuer::corporate().await?;
        let partner = Issuer::start(IssuerSettings::partner()).await?;
        let door =
            async |name, issuer: &Issuer| terminate(&authority, name, issuer.address()).await;
        let log = UpstreamLog::new();
        let mut upstreams = Vec::new();
        for name in BACKEND_CLUSTERS {
            upstreams.push(Upstream::start(name, &log).await?);
        }
        Ok(Scene {
            corporate_door: door("login.example.com", &corporate).await?,
            partner_door: door("partner.example.com", &partner).await?,
            session,
            corporate,
            partner,
            upstreams,
            log,
            authority,
            envoy: None,
        })
    }

    /// Start Envoy on the rendered files, in place of the one that runs.
    pub async fn start(&mut self) -> Result<()> {
        if let Some(envoy) = self.envoy.take() {
            envoy.stop().await?;
        }
        let mut settings = EnvoySettings::from_file(&self.session.machine().join("envoy.yaml"))?
            .as_rendered(self.authority.clone())
            .cluster("corporate", self.corporate_door.address())
            .cluster("partner", self.partner_door.address());
        for upstream in &self.upstreams {
            settings = settings.cluster(upstream.name(), upstream.address());
        }
        let envoy = Envoy::start(settings).await?;
        self.session.log(&envoy.log_path())?;
        self.session.lead(&[
            (
                "observability.example.com:8443",
                envoy.address().to_string(),
            ),
            ("127.0.0.1:9902", envoy.metrics_address().await?.to_string()),
            (
                "login.example.com:443",
                self.corporate_door.address().to_string(),
            ),
        ])?;
        self.envoy = Some(envoy);
        Ok(())
    }

    /// What `scopegate explain` says of a request, by the file that Envoy has and the keys that each provider serves, if
    /// it is there.
    pub fn explained(&self, request: &RawRequest) -> Result<String> {
        let file = |name: &str| self.session.work().join(name);
        fs::write(file("asked.http"), request.written())?;
        let mut words = vec!["scopegate explain /etc/envoy/ecds/scopegate.yaml".to_owned()];
        words.push("--output json --offline --request asked.http".to_owned());
        for (name, issuer, door) in [
            ("corporate", &self.corporate, &self.corporate_door),
            ("partner", &self.partner, &self.partner_door),
        ] {
            if door.is_up() && self.has_way_to(name)? {
                fs::write(file(&format!("{name}.keys")), issuer.jwks()?.to_string())?;
                words.push(format!("--jwks {name}={name}.keys"));
            }
        }
        self.session.type_in(&words.join(" "))
    }

    /// Whether the keys of a provider are fetched by a cluster that is there.
    fn has_way_to(&self, provider: &str) -> Result<bool> {
        let file = fs::read_to_string(self.session.machine().join("ecds/scopegate.yaml"))?;
        Ok(file.contains(&format!("\"cluster\": \"{provider}\"")))
    }

    pub fn envoy(&self) -> Result<&Envoy> {
        self.envoy.as_ref().context("nothing runs yet")
    }

    pub fn upstream(&self, name: &str) -> Result<&Upstream> {
        let mut upstreams = self.upstreams.iter();
        let found = upstreams.find(|upstream| upstream.name() == name);
        found.with_context(|| format!("no upstream {name}"))
    }

    pub async fn send(&self, request: &RawRequest) -> Result<Reply> {
        let target = self.envoy()?.target();
        request.send(&target, Protocol::H2).await
    }

    /// Send it, and give the one request that has reached a backend since.
    pub async fn pass(&self, request: &RawRequest) -> Result<Seen> {
        self.log.clear();
        let reply = self.send(request).await?;
        ensure!((200..300).contains(&reply.status), "{reply:?}");
        self.reached()
    }

    /// The one request that has reached a backend since the log was cleared.
    pub fn reached(&self) -> Result<Seen> {
        let mut all = self.log.all();
        ensure!(all.len() == 1, "{all:?}");
        self.log.clear();
        all.pop().context("a request")
    }

    /// Wait until such a request passes, and say how long that took.
    pub async fn until_passed(&self, request: &RawRequest, within: Duration) -> Result<Duration> {
        let started = Instant::now();
        loop {
            let reply = self.send(request).await?;
            if reply.status == 200 {
                return Ok(started.elapsed());
            }
            ensure!(
                started.elapsed() < within,
                "not within {within:?}: {reply:?}"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// The tokens of the page, by the names of its variables.
pub fn tokens() -> Result<BTreeMap<&'static str, String>> {
    Ok(BTreeMap::from([
        ("ALICE", drill::fresh(alice())?),
        ("AGENT", drill::fresh(agent())?),
        ("AUDITOR", drill::fresh(auditor())?),
    ]))
}

/// A member of the shop's team.
pub fn alice() -> Recipe {
    let recipe = Recipe::of("reader").claim("sub", "alice");
    recipe.claim("groups", json!(["shop-team"]))
}

/// The shop's agent.
pub fn agent() -> Recipe {
    Recipe::of("agent").claim("azp", "alloy-shop")
}

/// Somebody of the partner's who may read the bank's data.
pub fn auditor() -> Recipe {
    Recipe::of("partner-reader").claim("groups", json!(["auditors"]))
}
