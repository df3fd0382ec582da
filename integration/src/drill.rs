//! What the drills share: a plain configuration, a gate that runs it, callers, and checks that the workers are alive.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use tonic::{Code, Status};

use crate::client::{Protocol, RawRequest, Reply};
use crate::envoy::{self, Envoy, EnvoySettings};
use crate::grpc::{GrpcClient, SEARCH, SearchRequest, SearchResponse};
use crate::issuer::{AnswerMode, CORPORATE, Issuer};
use crate::scene::Scene;
use crate::token::{self, Recipe};
use crate::upstream::TEST_ID;

/// The module under test.
pub fn module() -> Result<PathBuf> {
    envoy::module().context("SCOPEGATE_WASM names the module: `make test` builds it and sets this")
}

/// A configuration with one provider, two organizations and all backends. Tests change members of it.
#[must_use]
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
#[must_use]
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

/// The same, running, with an issuer and echoing upstreams.
pub async fn scene(configuration: Value) -> Result<Scene> {
    Scene::start_with(settings(configuration)?, Issuer::corporate().await?).await
}

/// A token that no cache has seen yet.
pub fn fresh(recipe: Recipe) -> Result<String> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    recipe
        .claim("jti", format!("drill-{number}"))
        .text(token::now())
}

/// A valid token of that persona that no cache has seen yet.
pub fn token_of(persona: &str) -> Result<String> {
    fresh(Recipe::of(persona))
}

/// The simplest read.
#[must_use]
pub fn read(token: &str, tenant: &str) -> RawRequest {
    RawRequest::get("/loki/api/v1/labels")
        .bearer(token)
        .tenant(tenant)
}

/// Sends one request through that Envoy.
pub async fn send(envoy: &Envoy, request: &RawRequest) -> Result<Reply> {
    request.send(&envoy.target(), Protocol::H1).await
}

/// Sends a request with `id` as its `x-test-id`. Returns its status, and the response code details from the access
/// log.
pub async fn verdict(envoy: &Envoy, request: RawRequest, id: &str) -> Result<(u16, String)> {
    let reply = send(envoy, &request.header(TEST_ID, id)).await?;
    let line = envoy.access_line(id, Duration::from_secs(3)).await?;
    Ok((reply.status, line.details.unwrap_or_default()))
}

/// Sends such requests, each over a connection of its own, until each worker has received some. Returns all answers.
pub async fn ask_every_worker(
    envoy: &Envoy,
    request: impl Fn() -> Result<RawRequest>,
) -> Result<Vec<Reply>> {
    let before = envoy.connections().await?;
    let mut replies = Vec::new();
    while replies.len() < MOST_ASKED {
        for _ in 0..8 {
            replies.push(send(envoy, &request()?).await?);
        }
        let now = envoy.connections().await?;
        if !now.is_empty()
            && now
                .iter()
                .zip(&before)
                .all(|(now, before)| now > &(before + 1))
        {
            return Ok(replies);
        }
    }
    bail!("some worker was given no connection in {MOST_ASKED}")
}

/// Has a refresh withdraw a key, and immediately afterwards has an unknown key ID trigger a fetch that fails. A
/// second later no worker may accept tokens of that key. `refresh` returns as soon as the provider has been asked
/// that many times. The keys must be shared and must have been there for a while, and the refresh interval must be a
/// minute.
pub async fn withdraw_before_a_failure(
    scene: &Scene,
    refresh: impl AsyncFnOnce(usize) -> Result<()>,
) -> Result<()> {
    let (envoy, corporate) = (&scene.envoy, &scene.corporate);
    let issued = token::now() - 600;
    let leaving = fresh(Recipe::of("reader").key("p256-a").claim("iat", issued))?;
    let by_the_key = || Ok(read(&leaving, "acme"));
    for reply in ask_every_worker(envoy, by_the_key).await? {
        ensure!(reply.status == 200, "{} {}", reply.status, reply.text());
    }
    // The worker that gets this connection fetches now, so it is also the first to refresh.
    let connection = GrpcClient::connect(envoy.address()).await?;
    let fetches = corporate.fetches().jwks;
    ask_for_unknown(&connection).await?;
    corporate
        .wait_for_fetches(fetches + 1, Duration::from_secs(5))
        .await?;
    corporate.remove_key("p256-a");
    refresh(fetches + 2).await?;
    corporate.set_answer(AnswerMode::Status(500));
    let deadline = Instant::now() + Duration::from_millis(400);
    while corporate.fetches().jwks < fetches + 3 && Instant::now() < deadline {
        ask_for_unknown(&connection).await?;
    }
    if let [.., refreshed, failed] = corporate.jwks_fetched_at()[..] {
        eprintln!("a fetch failed {:?} after the refresh", failed - refreshed);
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let refused = ask_every_worker(envoy, by_the_key).await?;
    let passed = refused.iter().filter(|reply| reply.status == 200).count();
    ensure!(
        passed == 0,
        "a second later {passed} of {} requests passed by the withdrawn key",
        refused.len()
    );
    for reply in &refused {
        ensure!(matches!(reply.status, 401 | 503), "{}", reply.status);
    }
    Ok(())
}

/// Makes a call with a token whose key does not exist, over a connection that is kept open. It must not pass.
async fn ask_for_unknown(connection: &GrpcClient) -> Result<()> {
    let bearer = format!("Bearer {}", fresh(Recipe::of("reader").kid("nobody"))?);
    let metadata = [
        ("authorization", bearer.as_str()),
        ("x-scope-orgid", "acme"),
    ];
    let answer: Result<Vec<SearchResponse>, Status> = connection
        .server_streaming(SEARCH, &metadata, SearchRequest::default())
        .await;
    let status = answer.err().context("an unknown key passed")?;
    let refused = matches!(status.code(), Code::Unauthenticated | Code::Unavailable);
    ensure!(refused, "an unknown key: {status:?}");
    Ok(())
}

/// Sends valid reads until every worker must have its keys. None of them may be refused.
pub async fn warm(envoy: &Envoy) -> Result<()> {
    for _ in 0..16 {
        let reply = send(envoy, &read(&token_of("reader")?, "acme")).await?;
        if reply.status != 200 {
            bail!("not warm: {} {}", reply.status, reply.text());
        }
    }
    Ok(())
}

/// Checks that Envoy runs, that no worker's VM has died, and that valid requests pass on every worker.
pub async fn check_health(envoy: &Envoy) -> Result<()> {
    check_health_without_reads(envoy).await?;
    warm(envoy).await
}

/// The same, for backends that do not answer reads.
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

/// Waits until a metric (the sum of all series that match) has a value that `enough` accepts.
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

/// The numbers of a seeded generator (splitmix64). A failure can be reproduced with its seed.
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
        usize::try_from(self.draw() % bound.max(1) as u64).unwrap_or(0)
    }
}

/// With eight workers, a hundred connections leave one of them out about once in a hundred thousand times.
const MOST_ASKED: usize = 400;

/// What Envoy logs when a VM has died.
const CRASHES: [&str; 2] = ["Proxy-Wasm VM failed", "Function: proxy_on"];
