//! Everything at once for half an hour, and afterwards nothing is left of it.
//!
//! Callers read, push, send forms, tail, search and read slowly; others come with tokens that are no good or ask for
//! what is not theirs; some go away in the midst. Meanwhile the provider rotates its keys and fails, configurations
//! and documents of organizations come, and workers die. `SCOPEGATE_SOAK_SECONDS` says for how long.
//!
//! What must hold in the end: each answer was one of those that its request may get; each request that was sent has
//! been counted as allowed or by the code of its refusal; Envoy takes no more memory than it did after a sixth of the
//! time; no stream is left, and no worker has died but those that were made to.

#![expect(
    clippy::cast_precision_loss,
    reason = "what is counted here, also in bytes, is far below 2^53"
)]

mod callers;
mod changes;
mod ledger;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use integration::drill;
use integration::envoy::{self, Envoy};
use integration::firehose::Firehose;
use integration::issuer::Issuer;
use integration::organizations::OrganizationServer;
use integration::upstream::{Upstream, UpstreamLog};
use integration::{part, process};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use ledger::Ledger;

/// A gate with everything that a caller or a change of this test needs.
pub struct Site {
    pub envoy: Envoy,
    pub corporate: Issuer,
    pub organizations: OrganizationServer,
    pub log: UpstreamLog,
    /// Whether a worker can be made to die.
    pub mortal: bool,
    pub until: Instant,
    _backends: Vec<Upstream>,
    _hose: Firehose,
}

fn main() -> ExitCode {
    let soaked = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(anyhow::Error::from)
        .and_then(|runtime| runtime.block_on(soak()));
    match soaked {
        Ok(()) => {
            println!("test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out");
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("{error:?}");
            println!(
                "test result: FAILED. 0 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out"
            );
            ExitCode::FAILURE
        }
    }
}

/// For how long.
fn time() -> Result<Duration> {
    let seconds = std::env::var("SCOPEGATE_SOAK_SECONDS");
    let seconds = seconds.map_or(Ok(1_800), |text| text.parse());
    Ok(Duration::from_secs(
        seconds.context("SCOPEGATE_SOAK_SECONDS")?,
    ))
}

/// The configuration: keys are fetched each minute, organizations come from outside too, and one of the readers is
/// scoped.
#[must_use]
pub fn configuration(number: u64) -> Value {
    let mut configuration = drill::configuration();
    configuration["providers"][0]["jwks"]["refresh_interval"] = json!("1m");
    configuration["organizations"][1]["display_name"] = json!(format!("Globex {number}"));
    let scoped = json!({"group": "globex-viewers", "labels": {"namespace": ["web"]}});
    configuration["organizations"][1]["rbac"]["viewers"] = json!([scoped]);
    configuration["organizations_from"] = json!({
        "uri": "https://organizations.example.com/v1/organizations",
        "cluster": "idp_partner",
        "refresh_interval": "10s",
    });
    // So few that they are full long before memory is first looked at.
    configuration["limits"] = json!({"stream_duration": "5m", "cached_tokens": 200});
    configuration
}

/// A document with one more organization than the configuration has.
#[must_use]
pub fn organizations(revision: u64) -> String {
    let initech = json!({
        "name": "initech",
        "tenants": ["initech"],
        "rbac": {"viewers": ["acme-viewers"]},
    });
    integration::organizations::document(revision, &[initech]).to_string()
}

impl Site {
    async fn start(time: Duration) -> Result<Site> {
        let corporate = Issuer::corporate().await?;
        let organizations_server = OrganizationServer::start().await?;
        organizations_server.publish(organizations(1));
        let hose = Firehose::start("acme").await?;
        let log = UpstreamLog::new();
        let mortal = envoy::native().is_none();
        let mut settings = drill::settings(configuration(0))?
            .dynamic()
            .concurrency(2)
            .cluster("idp", corporate.address())
            .cluster("idp_partner", organizations_server.address())
            .cluster("tempo_grpc", hose.address());
        if mortal {
            settings = settings.wasm(part::CRASH.find()?);
        }
        let mut backends = Vec::new();
        for name in ["loki", "mimir", "tempo_otlp_grpc"] {
            let backend = Upstream::start(name, &log).await?;
            settings = settings.cluster(name, backend.address());
            backends.push(backend);
        }
        let envoy = Envoy::start(settings).await?;
        let keys = |keys| keys > 0.0;
        drill::wait_for_metric(&envoy, "scopegate_jwks_keys", &[], PATIENCE, keys).await?;
        sleep(Duration::from_secs(2)).await;
        Ok(Site {
            envoy,
            corporate,
            organizations: organizations_server,
            log,
            mortal,
            until: Instant::now() + time,
            _backends: backends,
            _hose: hose,
        })
    }

    /// Whether it goes on.
    #[must_use]
    pub fn goes_on(&self) -> bool {
        Instant::now() < self.until
    }

    /// Waits for that time, or until the end.
    pub async fn pause(&self, time: Duration) {
        tokio::time::sleep_until(self.until.min(Instant::now() + time)).await;
    }

    /// What Envoy has allocated, in bytes. What it has from the system besides is its allocator's reserve.
    async fn memory(&self) -> Result<u64> {
        let memory = self.envoy.admin_get("/memory").await?.json()?;
        let allocated = memory["allocated"].as_str().context("no number")?;
        Ok(allocated.parse()?)
    }

    /// How many decisions have been counted, allowed and denied.
    async fn decisions(&self) -> Result<[f64; 2]> {
        let count = async |decision| {
            let labels = [("decision", decision)];
            self.envoy
                .metric("scopegate_decisions_total", &labels)
                .await
        };
        Ok([count("allow").await?, count("deny").await?])
    }
}

async fn soak() -> Result<()> {
    let time = time()?;
    let site = Arc::new(Site::start(time).await?);
    let before: f64 = site.decisions().await?.iter().sum();
    let ledger = Arc::new(Ledger::default());
    let began = Instant::now();
    let tasks = callers::start(&site, &ledger);
    let changes = changes::start(&site);
    let memory = watch(&site, began, time).await?;
    for task in tasks {
        task.await??;
    }
    let deaths = changes.await??;

    ledger.print();
    print_details(&site);
    check_memory(&memory)?;
    ledger.check()?;
    check_streams(&site, deaths).await?;
    check_count(&site, &ledger, before, deaths).await?;
    site.envoy.check_alive()?;
    let lost = site.envoy.metric("envoy_wasm_vm_reload_success", &[]).await;
    let lost = lost.unwrap_or_default();
    // A worker that dies makes one anew; both have died when both were met.
    ensure!(
        lost <= 2.0 * deaths as f64,
        "{lost} VMs were made anew, where {deaths} requests were to end one"
    );
    Ok(())
}

/// What Envoy has allocated: second by second, with its time.
async fn watch(site: &Site, began: Instant, time: Duration) -> Result<Vec<(f64, u64)>> {
    let mut memory = Vec::new();
    let mut shown = Instant::now();
    while site.goes_on() {
        site.pause(Duration::from_secs(1)).await;
        let part = began.elapsed().as_secs_f64() / time.as_secs_f64();
        memory.push((part, site.memory().await?));
        // What the backends note would only grow here.
        site.log.clear();
        if shown.elapsed() > Duration::from_secs(60) {
            shown = Instant::now();
            let resident = process::resident(site.envoy.id())?;
            let (_, allocated) = memory.last().context("no sample")?;
            println!(
                "{:.0} % of the time: {} MiB allocated, {} MiB resident",
                part * 100.0,
                allocated >> 20,
                resident >> 20
            );
        }
    }
    Ok(memory)
}

/// The lower quartile of what was allocated in that part of the time. What is allocated at a moment depends on the
/// requests of that moment.
fn quartile(memory: &[(f64, u64)], part: std::ops::Range<f64>) -> Result<u64> {
    let within = memory.iter().filter(|(at, _)| part.contains(at));
    let mut sizes: Vec<u64> = within.map(|(_, size)| *size).collect();
    sizes.sort_unstable();
    let quarter = sizes.len() / 4;
    sizes.get(quarter).copied().context("no sample")
}

fn check_memory(memory: &[(f64, u64)]) -> Result<()> {
    let (early, late) = (quartile(memory, 0.17..0.45)?, quartile(memory, 0.72..2.0)?);
    let growth = late as f64 / early as f64 - 1.0;
    println!(
        "allocated: {} KiB early, {} KiB late, {:+.1} %",
        early >> 10,
        late >> 10,
        growth * 100.0
    );
    ensure!(growth.abs() <= 0.05, "memory is not flat: {growth:+.3}");
    Ok(())
}

/// How often each code stands in the access log.
fn print_details(site: &Site) {
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for line in site.envoy.access_log() {
        let details = line.details.unwrap_or_default();
        // Others hold addresses and the like.
        let details = details.split('{').take(2).collect::<Vec<_>>().join("{");
        *counts.entry(details).or_default() += 1;
    }
    for (details, count) in counts {
        println!("{count:>10} {details}");
    }
}

/// All streams end when their callers are gone.
async fn check_streams(site: &Site, deaths: u64) -> Result<()> {
    // A VM that dies leaves what it had added to a gauge, and nobody else knows how much that is.
    let left = deaths as f64 * LEFT_BY_A_DEATH;
    let none = |count: f64| count >= -0.5 && count <= left + 0.5;
    for name in ["scopegate_streams", "scopegate_waiting_requests"] {
        drill::wait_for_metric(&site.envoy, name, &[], PATIENCE, none).await?;
    }
    let active = "envoy_http_downstream_rq_active";
    // The one that asks is a request of the admin interface's own.
    let few = |count: f64| count < 1.5;
    drill::wait_for_metric(&site.envoy, active, &[], PATIENCE, few).await?;
    Ok(())
}

/// Each request is counted once.
async fn check_count(site: &Site, ledger: &Ledger, before: f64, deaths: u64) -> Result<()> {
    // Counts are written at ticks.
    sleep(Duration::from_secs(2)).await;
    let [allowed, denied] = site.decisions().await?;
    let counted = allowed + denied - before;
    let (sent, unknown) = (ledger.answered() as f64, ledger.unanswered() as f64);
    println!("{sent} requests were answered, {unknown} were not; {counted} were counted");
    // A worker that dies takes with it what it has counted since its last tick, and those of its requests that wait
    // are refused by Envoy.
    let lost = deaths as f64 * LOST_BY_A_DEATH;
    let most = sent + unknown + deaths as f64;
    ensure!(
        counted <= most + 0.5 && counted >= sent - lost - 0.5,
        "{counted} decisions for {sent} to {most} requests, less {lost}"
    );
    Ok(())
}

const PATIENCE: Duration = Duration::from_secs(20);
/// The streams that are open at once.
const LEFT_BY_A_DEATH: f64 = 7.0;
/// The requests of a second and a half.
const LOST_BY_A_DEATH: f64 = 400.0;
