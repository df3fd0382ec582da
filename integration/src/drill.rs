//! What the drills share: one plain configuration, a gate that runs it, callers, and the signs that a worker lives.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::client::{Protocol, RawRequest, Reply};
use crate::envoy::{self, Envoy, EnvoySettings};
use crate::issuer::{CORPORATE, Issuer};
use crate::replay::Stage;
use crate::token::{self, Recipe};

/// The module under test.
pub fn module() -> Result<PathBuf> {
    envoy::module().context("SCOPEGATE_WASM names the module: `make test` builds it and sets this")
}

/// One provider, two organizations, all backends. Tests change members of it.
pub fn configuration() -> Value {
    json!({
        "providers": [provider("corporate", CORPORATE, "idp")],
        "organizations": [
            {
                "name": "acme",
                "tenants": [{"name": "acme", "types": ["data", "alerting"]}],
                "rbac": {
                    "admins": ["acme-admins"],
                    "editors": ["acme-editors"],
                    "viewers": ["acme-viewers"],
                    "writers": ["client:agent-acme"],
                },
            },
            {"name": "globex", "tenants": ["globex"], "rbac": {"viewers": ["globex-viewers"]}},
        ],
        "backends": {"loki": {}, "mimir": {}, "tempo": {}},
    })
}

/// A provider whose keys are fetched through `cluster`.
pub fn provider(name: &str, issuer: &str, cluster: &str) -> Value {
    json!({
        "name": name,
        "issuer": issuer,
        "audiences": ["observability"],
        "jwks": {"uri": format!("https://{name}.example.com/jwks"), "cluster": cluster},
        "claims": {"groups": [{"path": ["groups"]}, {"path": ["azp"], "prefix": "client:"}]},
    })
}

/// The shipped Envoy with the module and that configuration.
pub fn settings(configuration: Value) -> Result<EnvoySettings> {
    Ok(EnvoySettings::shipped()?
        .wasm(module()?)
        .configuration(configuration))
}

/// The same, running, with an issuer and echoing upstreams around it.
pub async fn stage(configuration: Value) -> Result<Stage> {
    Stage::start_with(settings(configuration)?, Issuer::corporate().await?).await
}

/// A token that no cache has seen.
pub fn fresh(recipe: Recipe) -> Result<String> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    recipe
        .claim("jti", format!("drill-{number}"))
        .text(token::now())
}

/// A valid token of that persona, seen by no cache.
pub fn token_of(persona: &str) -> Result<String> {
    fresh(Recipe::of(persona))
}

/// The plainest read there is.
pub fn read(token: &str, tenant: &str) -> RawRequest {
    RawRequest::get("/loki/api/v1/labels")
        .bearer(token)
        .tenant(tenant)
}

/// One request through that Envoy.
pub async fn send(envoy: &Envoy, request: &RawRequest) -> Result<Reply> {
    request.send(&envoy.target(), Protocol::H1).await
}

/// Send valid reads until each worker must have its keys; none may be refused.
pub async fn warm(envoy: &Envoy) -> Result<()> {
    for _ in 0..16 {
        let reply = send(envoy, &read(&token_of("reader")?, "acme")).await?;
        if reply.status != 200 {
            bail!("not warm: {} {}", reply.status, reply.text());
        }
    }
    Ok(())
}

/// Envoy runs, no worker's VM has died, and valid requests pass on every worker.
pub async fn check_health(envoy: &Envoy) -> Result<()> {
    check_health_without_reads(envoy).await?;
    warm(envoy).await
}

/// The same where nobody answers reads.
pub async fn check_health_without_reads(envoy: &Envoy) -> Result<()> {
    envoy.check_alive()?;
    for crash in CRASHES {
        if envoy.log_contains(crash) {
            bail!("Envoy's log says {crash:?}");
        }
    }
    for (name, value) in envoy.stats().await? {
        if name.contains("vm_reload") && value != 0 {
            bail!("{name} is {value}");
        }
    }
    Ok(())
}

/// Wait until a series (the sum of all that match) has a value that `enough` accepts.
pub async fn wait_for_metric(
    envoy: &Envoy,
    name: &str,
    labels: &[(&str, &str)],
    within: Duration,
    enough: impl Fn(f64) -> bool,
) -> Result<f64> {
    let deadline = Instant::now() + within;
    loop {
        let value = envoy.metric(name, labels).await?;
        if enough(value) {
            return Ok(value);
        }
        if Instant::now() > deadline {
            bail!("{name}{labels:?} is {value} after {within:?}");
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The numbers of a seeded generator (splitmix64): a failure comes back with its seed.
pub struct Random(pub u64);

impl Random {
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        (self.draw() % bound.max(1) as u64) as usize
    }
}

/// What Envoy logs when a VM has died.
const CRASHES: [&str; 2] = ["Proxy-Wasm VM failed", "Function: proxy_on"];
