//! The main purpose with real data: a Prometheus writes through the gate to another one, and a reader reads it back.

#![allow(clippy::expect_used)]
#![expect(
    clippy::cast_precision_loss,
    reason = "what is counted here, also in seconds, is far below 2^53"
)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use http_body_util::BodyExt;
use hyper::Response;
use integration::adapter::MimirAdapter;
use integration::client::{self, Protocol, RawRequest, Reply, Target};
use integration::drill;
use integration::envoy::Envoy;
use integration::issuer::{Issuer, IssuerSettings};
use integration::prometheus::{Prometheus, PrometheusSettings};
use integration::server::{self, Server};
use integration::{form, remote_write};
use serde_json::{Value, json};

/// The gate between two Prometheus servers. Keys and tokens come from two issuers with the same name, so that the
/// keys can be unavailable while agents still get tokens.
struct Job {
    envoy: Envoy,
    /// Before the gate.
    relay: Server,
    adapter: MimirAdapter,
    /// Behind the gate.
    store: Prometheus,
    keys: Issuer,
    tokens: Issuer,
}

impl Job {
    async fn start(keys_are_up: bool) -> Result<Job> {
        let settings = IssuerSettings::corporate().client("agent-acme", "s3cret", "agent");
        let keys = Issuer::start(settings.clone()).await?;
        let tokens = Issuer::start(settings).await?;
        if !keys_are_up {
            keys.down().await;
        }
        let receiver = PrometheusSettings::receiver().route_prefix("/prometheus");
        let store = Prometheus::start(receiver).await?;
        let adapter = MimirAdapter::start(store.address()).await?;
        let settings = drill::settings(drill::configuration())?
            .cluster("idp", keys.address())
            .cluster("mimir", adapter.address());
        let envoy = Envoy::start(settings).await?;
        Ok(Job {
            relay: relay(envoy.address()).await?,
            envoy,
            adapter,
            store,
            keys,
            tokens,
        })
    }

    /// An agent that scrapes `exporter` four times a second and writes what it finds through the gate.
    async fn agent(&self, exporter: &Exporter) -> Result<Prometheus> {
        let configuration = json!({
            "global": {"scrape_interval": "250ms", "scrape_timeout": "250ms"},
            "scrape_configs": [{
                "job_name": "drill",
                "static_configs": [{"targets": [exporter.server.address().to_string()]}],
            }],
            "remote_write": [{
                "url": format!("http://{}/prometheus/api/v1/push", self.relay.address()),
                "headers": {"X-Scope-OrgID": "acme"},
                "oauth2": {
                    "client_id": "agent-acme",
                    "client_secret": "s3cret",
                    "token_url": self.tokens.token_url(),
                    "scopes": ["openid"],
                },
                "queue_config": {
                    "batch_send_deadline": "200ms",
                    "min_backoff": "100ms",
                    "max_backoff": "1s",
                    "max_shards": 2,
                },
            }],
        });
        Prometheus::start(PrometheusSettings::with_configuration(configuration)).await
    }

    async fn query(&self, token: &str, tenant: &str, expression: &str) -> Result<Reply> {
        let path = format!(
            "/prometheus/api/v1/query?query={}",
            form::encode(expression)
        );
        let request = RawRequest::get(&path).bearer(token).tenant(tenant);
        drill::send(&self.envoy, &request).await
    }
}

/// Passes requests on unchanged, adding the tenant header if it is missing. Debian's Prometheus 2.42 reads
/// `remote_write.headers` but sends none of them: the patch that removes OpenTelemetry from it also removes the
/// transport that adds them. For any other Prometheus this changes nothing.
async fn relay(gate: SocketAddr) -> Result<Server> {
    Server::start(move |stream| async move {
        let _ = server::serve_http(stream, move |request| async move {
            let (head, body) = request.into_parts();
            let mut onward = RawRequest::new(head.method.as_str(), head.uri.path());
            onward.body = body.collect().await?.to_bytes().to_vec();
            for (name, value) in &head.headers {
                onward = onward.header(name.as_str(), value.as_bytes());
            }
            if !head.headers.contains_key("x-scope-orgid") {
                onward = onward.tenant("acme");
            }
            onward.authority = None;
            let reply = onward.send(&Target::plain(gate), Protocol::H1).await?;
            let mut answer = Response::builder().status(reply.status);
            for (name, value) in reply.headers {
                if name != "transfer-encoding" && name != "content-length" {
                    answer = answer.header(name, value);
                }
            }
            Ok(answer.body(server::full(reply.body))?)
        })
        .await;
    })
    .await
}

/// Something to scrape: a counter that counts the scrapes, so that each scrape is one sample with a value of its own.
struct Exporter {
    server: Server,
    scrapes: Arc<AtomicUsize>,
}

impl Exporter {
    async fn start() -> Result<Exporter> {
        let scrapes = Arc::new(AtomicUsize::new(0));
        let counter = scrapes.clone();
        let server = Server::start(move |stream| {
            let counter = counter.clone();
            async move {
                let _ = server::serve_http(stream, move |_| {
                    let number = counter.fetch_add(1, Ordering::SeqCst) + 1;
                    async move {
                        let text =
                            format!("# TYPE drill_scrapes counter\ndrill_scrapes {number}\n");
                        Ok(Response::builder()
                            .header("content-type", "text/plain; version=0.0.4")
                            .body(server::full(text))?)
                    }
                })
                .await;
            }
        })
        .await?;
        Ok(Exporter { server, scrapes })
    }

    fn scrapes(&self) -> usize {
        self.scrapes.load(Ordering::SeqCst)
    }

    async fn wait_for(&self, scrapes: usize) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(30);
        while self.scrapes() < scrapes {
            ensure!(Instant::now() < deadline, "{} scrapes", self.scrapes());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }
}

/// A counter of a Prometheus about itself, summed over its series.
async fn own_metric(prometheus: &Prometheus, name: &str) -> Result<f64> {
    let text = client::get(prometheus.address(), "/metrics").await?.text();
    let series = text.lines().filter(|line| {
        let end = line.find(['{', ' ']).unwrap_or(line.len());
        &line[..end] == name
    });
    Ok(series
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum())
}

/// Values and times of every stored sample of the counter.
async fn stored(prometheus: &Prometheus) -> Result<Vec<Value>> {
    let series = prometheus.query("drill_scrapes[1h]").await?;
    let samples = series.first().map(|series| series["values"].clone());
    Ok(samples
        .and_then(|samples| samples.as_array().cloned())
        .unwrap_or_default())
}

async fn wait_for_stored(job: &Job, agent: &Prometheus, samples: usize) -> Result<()> {
    let count = "count_over_time(drill_scrapes[1h])";
    let arrived = job
        .store
        .wait_for(count, PATIENCE, |count| count >= samples as f64);
    let told = || format!("the agent's log:\n{}", agent.log());
    arrived.await.map(|_| ()).with_context(told)
}

/// Waits until the store has as many samples as the agent. They must then be the same, and none may be missing.
async fn check_complete(job: &Job, agent: &Prometheus, exporter: &Exporter) -> Result<()> {
    exporter.server.down().await;
    // The last scrape may still be on its way into the agent.
    tokio::time::sleep(Duration::from_millis(600)).await;
    let sent = stored(agent).await?;
    ensure!(
        sent.len() == exporter.scrapes(),
        "{} scrapes, {} samples at the agent",
        exporter.scrapes(),
        sent.len()
    );
    wait_for_stored(job, agent, sent.len()).await?;
    ensure!(stored(&job.store).await? == sent, "not the same samples");
    for lost in ["dropped", "failed"] {
        let name = format!("prometheus_remote_storage_samples_{lost}_total");
        let count = own_metric(agent, &name).await?;
        ensure!(count == 0.0, "{name} is {count}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn samples_written_by_an_agent_are_read_back_by_a_reader_of_the_tenant() -> Result<()> {
    let job = Job::start(true).await?;
    let exporter = Exporter::start().await?;
    let agent = job.agent(&exporter).await?;
    exporter.wait_for(12).await?;
    check_complete(&job, &agent, &exporter).await?;
    // What passes from here on is none of the agent's.
    drop(agent);
    ensure!(
        job.tokens.fetches().token >= 1,
        "the agent asked for a token"
    );
    let pushes = job.adapter.passed();
    ensure!(
        pushes.iter().all(|passed| passed.path == "/api/v1/push"
            && passed.tenant.as_deref() == Some("acme")),
        "{pushes:?}"
    );

    let reader = drill::token_of("reader")?;
    let count = "count_over_time(drill_scrapes[1h])";
    let reply = job.query(&reader, "acme", count).await?;
    ensure!(reply.status == 200, "{}", reply.text());
    let answer = reply.json()?;
    let value = answer["data"]["result"][0]["value"][1].as_str();
    let value: usize = value.context("a value")?.parse()?;
    ensure!(value == exporter.scrapes(), "{answer}");

    let before = job.adapter.passed().len();
    let reply = job.query(&reader, "globex", count).await?;
    ensure!(reply.status == 403, "{}", reply.text());
    ensure!(
        reply.json()?["errorType"] == "forbidden",
        "{}",
        reply.text()
    );
    let globex = drill::token_of("globex-reader")?;
    ensure!(job.query(&globex, "acme", count).await?.status == 403);

    let body = remote_write::request(&[("drill_by_a_viewer", &[], 1.0)]);
    let push = RawRequest::post("/prometheus/api/v1/push", body)
        .header("content-type", "application/x-protobuf")
        .header("content-encoding", "snappy")
        .header("x-test-id", "viewer")
        .bearer(&reader)
        .tenant("acme");
    let reply = drill::send(&job.envoy, &push).await?;
    ensure!(reply.status == 403, "{}", reply.text());
    ensure!(reply.text().contains("'write'"), "{}", reply.text());
    let line = job
        .envoy
        .access_line("viewer", Duration::from_secs(3))
        .await?;
    ensure!(
        line.details.as_deref() == Some("scopegate{permission_missing}"),
        "{line:?}"
    );
    ensure!(job.adapter.passed().len() == before, "something passed");
    ensure!(job.store.query("drill_by_a_viewer").await?.is_empty());
    drill::check_health_without_reads(&job.envoy).await
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_come_late_delay_samples_and_lose_none() -> Result<()> {
    let job = Job::start(false).await?;
    let exporter = Exporter::start().await?;
    let agent = job.agent(&exporter).await?;
    drill::wait_for_metric(
        &job.envoy,
        "scopegate_decisions_total",
        &[
            ("decision", "deny"),
            ("code", "keys_unavailable"),
            ("permission", "write"),
        ],
        Duration::from_secs(30),
        |count| count >= 2.0,
    )
    .await?;
    let retried = "prometheus_remote_storage_samples_retried_total";
    ensure!(own_metric(&agent, retried).await? > 0.0, "{retried}");
    let push = RawRequest::post("/prometheus/api/v1/push", "")
        .bearer(&drill::token_of("agent")?)
        .tenant("acme");
    let reply = drill::send(&job.envoy, &push).await?;
    ensure!(reply.status == 503, "{}", reply.text());
    let retry_after: u64 = reply
        .header("retry-after")
        .context("Retry-After")?
        .parse()?;
    ensure!((5..=15).contains(&retry_after), "{retry_after}");
    ensure!(stored(&job.store).await?.is_empty(), "stored without keys");
    ensure!(job.adapter.passed().is_empty(), "passed without keys");

    job.keys.up().await?;
    let scraped_without_keys = exporter.scrapes();
    wait_for_stored(&job, &agent, scraped_without_keys).await?;
    exporter.wait_for(scraped_without_keys + 8).await?;
    check_complete(&job, &agent, &exporter).await?;
    let sent = own_metric(&agent, "prometheus_remote_storage_samples_in_total").await?;
    ensure!(sent >= exporter.scrapes() as f64, "{sent}");
    eprintln!(
        "{} samples, {} of them scraped before there were keys, {} retries",
        exporter.scrapes(),
        scraped_without_keys,
        own_metric(&agent, retried).await?
    );
    drill::check_health_without_reads(&job.envoy).await
}

/// Back-off of the gate's fetch and of the agent together stay far below.
const PATIENCE: Duration = Duration::from_secs(60);
