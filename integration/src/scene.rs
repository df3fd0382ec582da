//! A running gate in one state, with everything around it that its tests need.

use anyhow::{Context, Result};

use crate::envoy::{Envoy, EnvoySettings};
use crate::issuer::{Issuer, IssuerSettings};
use crate::upstream::{Upstream, UpstreamLog};

/// The handle, which takes everything down when it is dropped.
pub struct Scene {
    pub envoy: Envoy,
    pub corporate: Issuer,
    pub partner: Issuer,
    pub upstreams: Vec<Upstream>,
    pub log: UpstreamLog,
}

impl Scene {
    /// Starts Envoy with these settings, a second issuer, and upstreams that echo. Their clusters are filled in here.
    pub async fn start_with(mut settings: EnvoySettings, corporate: Issuer) -> Result<Scene> {
        let partner = Issuer::start(IssuerSettings::partner()).await?;
        let log = UpstreamLog::new();
        let mut upstreams = Vec::new();
        for name in BACKEND_CLUSTERS {
            let upstream = Upstream::start(name, &log).await?;
            settings = settings.cluster(name, upstream.address());
            upstreams.push(upstream);
        }
        settings = settings
            .cluster("idp", corporate.address())
            .cluster("idp_partner", partner.address());
        Ok(Scene {
            envoy: Envoy::start(settings).await?,
            corporate,
            partner,
            upstreams,
            log,
        })
    }

    pub fn upstream(&self, name: &str) -> Result<&Upstream> {
        self.upstreams
            .iter()
            .find(|upstream| upstream.name() == name)
            .with_context(|| format!("no upstream {name}"))
    }
}

/// The clusters of the shipped bootstrap that lead to backends.
pub const BACKEND_CLUSTERS: [&str; 8] = [
    "loki",
    "loki_grpc",
    "mimir",
    "mimir_grpc",
    "tempo",
    "tempo_grpc",
    "tempo_otlp_http",
    "tempo_otlp_grpc",
];
