//! What the drills share: one plain configuration, a gate that runs it, callers, and the signs that a worker lives.

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

/// One provider, two organizations, all backends. Tests change members of it.
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

/// The same, running, with an issuer and echoing upstreams around it.
pub async fn scene(configuration: Value) -> Result<Scene> {
    Scene::start_with(settings(configuration)?, Issuer::corporate().await?).await
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
#[must_use]
pub fn read(token: &str, tenant: &str) -> RawRequest {
    RawRequest::get("/loki/api/v1/labels")
        .bearer(token)
        .tenant(tenant)
}

/// One request through that Envoy.
pub async fn send(envoy: &Envoy, request: &RawRequest) -> Result<Reply> {
    request.send(&envoy.target(), Protocol::H1).await
}

/// The status of a request, and the response-code details in the access log, by that `x-test-id`.
pub async fn verdict(envoy: &Envoy, request: RawRequest, id: &str) -> Result<(u16, String)> {
    let reply = send(envoy, &request.header(TEST_ID, id)).await?;
    let line = envoy.access_line(id, Duration::from_secs(3)).await?;
    Ok((reply.status, line.details.unwrap_or_default()))
}

/// Send such requests, each over a connection of its own, until each worker has had some, and give all answers.
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

/// Have a refresh withdraw a key, and at once an unknown key ID start a fetch that fails; a second later no worker may
/// let in by that key. `refresh` returns as soon as the provider has been asked that often. The keys must be shared
/// and here for a while, and the interval a minute.
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
    // Whichever worker has this connection fetches now, and so it is the first to refresh.
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

/// A call by a token whose key is nowhere, over a connection that is kept; it must not pass.
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
        usize::try_from(self.draw() % bound.max(1) as u64).unwrap_or(0)
    }
}

/// With eight workers one is left out by a hundred connections about once in a hundred thousand times.
const MOST_ASKED: usize = 400;

/// What Envoy logs when a VM has died.
const CRASHES: [&str; 2] = ["Proxy-Wasm VM failed", "Function: proxy_on"];
