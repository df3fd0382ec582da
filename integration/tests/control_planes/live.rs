//! Changes while requests go on: what callers notice of them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use integration::client::{Protocol, RawRequest, Target};
use integration::issuer::{self, PublishedKey};
use integration::token::Recipe;
use integration::upstream::Behaviour;
use integration::{drill, token};
use serde_json::json;
use tokio::task::JoinHandle;

use crate::product::{Kind, Product, by};

/// How long a change may take until it is served. A tenth of that was measured.
const SOON: Duration = Duration::from_secs(3);

/// How long a stream goes on that nobody ends.
const READ: Duration = Duration::from_secs(16);

/// `shutdown.drainTimeout` of the shipped `EnvoyProxy`.
const DRAIN: Duration = Duration::from_secs(10);

/// A tenant, a provider and a role come and go while a load of valid requests and one long read go on.
pub async fn changes_lose_no_request(product: &mut Product) -> Result<()> {
    // What the case before has changed is taken back, which must not replace the listener of the read.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let mimir = product.scene.upstream("mimir")?;
    mimir.behave(Behaviour::SlowStream {
        chunks: usize::try_from(READ.as_millis() / 500)?,
        interval: Duration::from_millis(500),
    });
    let target = product.target();
    let read = tokio::spawn(long_read(target.clone()));
    let load = Load::start(target);
    tokio::time::sleep(Duration::from_secs(1)).await;

    let labels = || RawRequest::get("/loki/api/v1/labels");
    let newcomer = by(&["developers"], labels(), "newco");
    let mut documents = vec![product.configured(|config| {
        push(&mut config["organizations"][0]["tenants"], json!("newco"));
    })];
    product.put(&documents[0]).await?;
    let mut times = vec![product.until_status(&newcomer, 200).await?];

    // Another provider, whose keys stand in the configuration.
    let keys = issuer::jwks(&[PublishedKey::named("p256-b")])?;
    documents.push(product.configured(|config| {
        push(&mut config["organizations"][0]["tenants"], json!("newco"));
        push(
            &mut config["organizations"][0]["rbac"]["viewers"],
            json!("partner:auditors"),
        );
        push(
            &mut config["providers"],
            json!({
                "name": "partner",
                "issuer": issuer::PARTNER,
                "audiences": ["observability-partners"],
                "algorithms": ["ES256"],
                "jwks": {"inline": keys},
                "claims": {"groups": [{"path": ["groups"], "prefix": "partner:"}]},
            }),
        );
    }));
    let auditor = Recipe::of("partner-reader").claim("groups", json!(["auditors"]));
    let auditor = labels()
        .bearer(&auditor.text(token::now())?)
        .tenant("newco");
    product.put(&documents[1]).await?;
    times.push(product.until_status(&auditor, 200).await?);

    // And the viewers lose their role.
    let withdrawn = product.configured(|config| {
        config["organizations"][0]["rbac"]["viewers"] = json!(["nobody"]);
    });
    product.put(&withdrawn).await?;
    let viewer = by(&["developers"], labels(), "platform");
    times.push(product.until_status(&viewer, 403).await?);
    ensure!(times.iter().all(|took| *took < SOON), "{times:?}");

    let (ended, complete) = read.await??;
    let statuses = load.stop().await?;
    product.scene.upstream("mimir")?.behave(Behaviour::Echo);
    let name = product.kind.name();
    eprintln!("{name}: live after {times:?}, the read {complete} after {ended:?}, {statuses:?}");
    for (what, took) in ["a tenant", "a provider", "a withdrawn role"]
        .iter()
        .zip(&times)
    {
        product.measured(&format!("{what} is live"), *took);
    }
    let all: usize = statuses.values().sum();
    ensure!(all > 100 && statuses.len() == 1, "{statuses:?}");
    ensure!(statuses.contains_key(&200), "{statuses:?}");
    match product.kind {
        // Envoy takes over the plugin's new configuration without touching a connection.
        Kind::Istio => ensure!(complete, "the read was cut after {ended:?}"),
        // The listener is another one, and the old one drains.
        Kind::EnvoyGateway => ensure!(
            !complete && ended > DRAIN && ended < READ,
            "{complete} after {ended:?}"
        ),
    }
    Ok(())
}

fn push(list: &mut serde_json::Value, value: serde_json::Value) {
    if let Some(list) = list.as_array_mut() {
        list.push(value);
    }
}

/// A read whose answer takes a while: how long it went on, and whether all of it came.
async fn long_read(target: Target) -> Result<(Duration, bool)> {
    let begun = Instant::now();
    let request = RawRequest::get("/prometheus/api/v1/query_range?query=up&start=0&end=1&step=1");
    let answer = by(&["sre"], request, "platform")
        .send(&target, Protocol::H2)
        .await;
    Ok((
        begun.elapsed(),
        answer.is_ok_and(|reply| reply.status == 200),
    ))
}

/// Requests of a caller whom no change concerns, each on a connection of its own.
pub struct Load {
    going: Arc<AtomicBool>,
    task: JoinHandle<Result<BTreeMap<u16, usize>>>,
}

impl Load {
    pub fn start(target: Target) -> Self {
        let going = Arc::new(AtomicBool::new(true));
        let task = tokio::spawn(Self::run(target, Arc::clone(&going)));
        Self { going, task }
    }

    async fn run(target: Target, going: Arc<AtomicBool>) -> Result<BTreeMap<u16, usize>> {
        let token = drill::fresh(Recipe::of("reader").claim("groups", json!(["sre"])))?;
        let request = RawRequest::get("/loki/api/v1/labels")
            .bearer(&token)
            .tenant("platform");
        let mut statuses = BTreeMap::new();
        while going.load(Ordering::Relaxed) {
            let reply = request.send(&target, Protocol::H2).await;
            // 0 stands for no answer.
            let status = reply.map_or(0, |reply| reply.status);
            *statuses.entry(status).or_default() += 1;
            tokio::time::sleep(Duration::from_millis(40)).await;
        }
        Ok(statuses)
    }

    pub async fn stop(mut self) -> Result<BTreeMap<u16, usize>> {
        self.going.store(false, Ordering::Relaxed);
        (&mut self.task).await?
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.task.abort();
    }
}
