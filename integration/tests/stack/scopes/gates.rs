//! Gates beside that of the scene whose backends only record what reaches them, and the names of refusals.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use integration::client::{Protocol, RawRequest, Reply, Target};
use integration::envoy::Envoy;
use integration::upstream::{TEST_ID, Upstream, UpstreamLog};
use serde_json::Value;

use crate::scene::Scene;
use crate::side_gate::SideGate;

/// A gate in front of backends that record and echo.
pub struct Recorded {
    pub gate: SideGate,
    pub log: UpstreamLog,
    pub loki: Upstream,
    pub mimir: Upstream,
    pub tempo: Upstream,
}

impl Recorded {
    pub async fn start(scene: &Scene, configuration: Value) -> Result<Recorded> {
        let log = UpstreamLog::new();
        let loki = Upstream::start("loki", &log).await?;
        let mimir = Upstream::start("mimir", &log).await?;
        let tempo = Upstream::start("tempo", &log).await?;
        let backends = [("loki", &loki), ("mimir", &mimir), ("tempo", &tempo)]
            .map(|(name, upstream)| (name, upstream.address()));
        let gate = SideGate::start(scene, configuration, |settings| {
            let cluster = |settings: integration::envoy::EnvoySettings, (name, address)| {
                settings.cluster(name, address)
            };
            backends.into_iter().fold(settings.concurrency(1), cluster)
        })
        .await?;
        gate.wait_for_keys().await?;
        Ok(Recorded {
            gate,
            log,
            loki,
            mimir,
            tempo,
        })
    }

    /// The answer and its code, as [`ask`] gives them.
    pub async fn ask(&self, request: RawRequest, protocol: Protocol) -> Result<(Reply, String)> {
        ask(&self.gate.envoy, &self.gate.target, request, protocol).await
    }
}

/// A name for `x-test-id` that no other request has.
pub fn test_id() -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    format!("scopes-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// The answer, and the code of the refusal; empty for an answer of the backend.
pub async fn ask(
    envoy: &Envoy,
    target: &Target,
    request: RawRequest,
    protocol: Protocol,
) -> Result<(Reply, String)> {
    let id = test_id();
    let reply = request
        .header(TEST_ID, id.as_str())
        .send(target, protocol)
        .await?;
    Ok((reply, code(envoy, &id).await?))
}

/// The code of the refusal of the request with that `x-test-id`.
pub async fn code(envoy: &Envoy, id: &str) -> Result<String> {
    let line = envoy.access_line(id, Duration::from_secs(5)).await?;
    let details = line.details.unwrap_or_default();
    let code = details
        .strip_prefix("scopegate{")
        .and_then(|rest| rest.strip_suffix('}'));
    Ok(code.unwrap_or_default().to_owned())
}

/// The scene's own gate, asked in the name of somebody.
pub async fn ask_scene(
    scene: &Scene,
    who: &str,
    tenant: Option<&str>,
    request: RawRequest,
) -> Result<(Reply, String)> {
    let mut request = request.bearer(&scene.token(who).await?);
    if let Some(tenant) = tenant {
        request = request.tenant(tenant);
    }
    let envoy = scene.stack.envoy()?;
    ask(&envoy, &scene.stack.target(), request, Protocol::H1).await
}

/// That it was refused so.
pub fn check(answer: &(Reply, String), status: u16, code: &str) -> Result<()> {
    let (reply, told) = answer;
    ensure!(
        reply.status == status && told == code,
        "{} {told} instead of {status} {code}: {}",
        reply.status,
        reply.text()
    );
    Ok(())
}
