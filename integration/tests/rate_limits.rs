//! The limits of `envoy/rate-limits` in the shipped bootstrap, added as `docs/rate-limits.md` describes: whom they
//! count together, what the answer is, and that a real Prometheus loses nothing because of them.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use integration::adapter::MimirAdapter;
use integration::client::{Protocol, RawRequest, Reply};
use integration::envoy::Envoy;
use integration::envoy::bootstrap::Bootstrap;
use integration::grpc::{EXPORT_LOGS, ExportRequest, ExportResponse, GrpcClient};
use integration::issuer::Issuer;
use integration::prometheus::{Prometheus, PrometheusSettings};
use integration::scenario::{self, EndpointRow};
use integration::scene::Scene;
use integration::token::Recipe;
use integration::{drill, rate_limits};
use serde_json::{Value, json};
use tonic::Code;

/// So many writes and reads, and not one more within an hour.
fn exactly(writes: u32, reads: u32) -> impl FnOnce(&mut Bootstrap) -> Result<()> + Send {
    move |bootstrap| {
        rate_limits::add(bootstrap, |filters| {
            for (filter, tokens) in filters.iter_mut().zip([writes, reads]) {
                let all = filter["typed_config"]["descriptors"].as_array_mut();
                for descriptor in all.context("no descriptors")? {
                    // Whoever is named has one more.
                    let named = descriptor["entries"][0]["value"].is_string();
                    descriptor["token_bucket"] = bucket(tokens + u32::from(named), "3600s");
                    if named {
                        descriptor["entries"][0]["value"] = json!("globex");
                    }
                }
            }
            Ok(())
        })
    }
}

fn bucket(tokens: u32, interval: &str) -> Value {
    json!({"max_tokens": tokens, "tokens_per_fill": 1, "fill_interval": interval})
}

/// Agents may write both tenants, and readers read both.
fn configuration() -> Value {
    let mut configuration = drill::configuration();
    for organization in 0..2 {
        let rbac = &mut configuration["organizations"][organization]["rbac"];
        rbac["writers"] = json!(["client:agent-acme"]);
        rbac["viewers"] = json!(["acme-viewers"]);
        rbac["admins"] = json!(["acme-admins"]);
    }
    configuration
}

async fn scene(edit: impl FnOnce(&mut Bootstrap) -> Result<()> + Send + 'static) -> Result<Scene> {
    let settings = drill::settings(configuration())?.edit(edit);
    let scene = Scene::start_with(settings, Issuer::corporate().await?).await?;
    let workers = drill::wait_for_metric(
        &scene.envoy,
        "scopegate_jwks_keys",
        &[],
        Duration::from_secs(10),
        |keys| keys > 0.0,
    );
    workers.await?;
    // Each worker takes the keys over on its own tick.
    tokio::time::sleep(Duration::from_millis(1_300)).await;
    Ok(scene)
}

fn write(path: &str, tenant: &str) -> Result<RawRequest> {
    Ok(RawRequest::post(path, "")
        .bearer(&drill::token_of("agent")?)
        .tenant(tenant))
}

fn read(subject: &str, tenants: &str) -> Result<RawRequest> {
    let token = drill::fresh(Recipe::of("reader").claim("sub", subject))?;
    Ok(drill::read(&token, tenants))
}

async fn status(scene: &Scene, request: RawRequest) -> Result<u16> {
    Ok(drill::send(&scene.envoy, &request).await?.status)
}

/// Whether the answer is Envoy's own for the limit, whose text is in a header too for gRPC.
fn is_limited(reply: &Reply) -> bool {
    let message = reply.header("grpc-message").unwrap_or_default();
    reply.text() == LIMITED || message == LIMITED
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_are_counted_by_tenant_and_told_to_come_back() -> Result<()> {
    let scene = scene(exactly(3, 9)).await?;
    for path in ["/loki/api/v1/push", "/v1/logs", "/api/v1/push"] {
        let status = status(&scene, write(path, "acme")?).await?;
        ensure!(status == 200, "{path}: {status}");
    }
    let before = scene.log.count();
    for protocol in [Protocol::H1, Protocol::H2] {
        let request = write("/v1/traces", "acme")?;
        let reply = request.send(&scene.envoy.target(), protocol).await?;
        ensure!(reply.status == 503 && is_limited(&reply), "{reply:?}");
        let after = reply.header("retry-after");
        ensure!(after.as_deref() == Some("5"), "{reply:?}");
    }
    let bearer = format!("Bearer {}", drill::token_of("agent")?);
    let metadata = [("authorization", &*bearer), ("x-scope-orgid", "acme")];
    let client = GrpcClient::connect(scene.envoy.address()).await?;
    let answer: Result<ExportResponse, _> = client
        .unary(EXPORT_LOGS, &metadata, ExportRequest::default())
        .await;
    let refused = answer.err().context("it passed")?;
    ensure!(refused.code() == Code::Unavailable, "{refused:?}");
    ensure!(scene.log.count() == before, "a backend was reached");

    // Reads of the same tenant are another matter, and so is another tenant: one that is named and has more.
    ensure!(status(&scene, read("alice", "acme")?).await? == 200);
    for expected in [200, 200, 200, 200, 503] {
        let status = status(&scene, write("/loki/api/v1/push", "globex")?).await?;
        ensure!(status == expected, "globex: {status}, not {expected}");
    }
    // What the gate refuses takes nothing from anybody.
    let stranger = drill::read("no.such.token", "acme");
    ensure!(status(&scene, stranger).await? == 401);
    drill::check_health_without_reads(&scene.envoy).await
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_are_counted_by_caller_however_tenants_are_combined() -> Result<()> {
    let scene = scene(exactly(1, 4)).await?;
    for tenants in ["acme", "globex", "acme|globex", "globex|acme"] {
        let status = status(&scene, read("alice", tenants)?).await?;
        ensure!(status == 200, "{tenants}: {status}");
    }
    let reply = drill::send(&scene.envoy, &read("alice", "acme")?).await?;
    ensure!(reply.status == 429 && is_limited(&reply), "{reply:?}");
    // A header of hers does not make her somebody else.
    let request = read("alice", "acme")?.header("x-scopegate-subject", "bob");
    ensure!(status(&scene, request).await? == 429);
    ensure!(status(&scene, read("bob", "acme")?).await? == 200);
    // Not a write, though it is a POST.
    let mut query = RawRequest::post("/prometheus/api/v1/query", "query=up")
        .header("content-type", "application/x-www-form-urlencoded");
    query = query
        .bearer(&drill::fresh(Recipe::of("reader").claim("sub", "alice"))?)
        .tenant("acme");
    ensure!(status(&scene, query).await? == 429);
    drill::check_health_without_reads(&scene.envoy).await
}

/// The route of a request is chosen twice, and before the gate it is not the route of a backend. Every row of the
/// endpoint table is counted as what it is.
#[tokio::test(flavor = "multi_thread")]
async fn every_write_is_counted_as_a_write_and_nothing_else_is() -> Result<()> {
    let scene = scene(exactly(1, 1)).await?;
    ensure!(status(&scene, write("/loki/api/v1/push", "acme")?).await? == 200);
    let mut seen = BTreeSet::new();
    let rows = scenario::endpoints()?.endpoints;
    for row in rows.iter().filter(|row| row.config == "base") {
        let method = row.methods.first().context("no method")?;
        let subject = format!("caller of {method} {}", row.path);
        let recipe = Recipe::of("admin").claim("sub", subject);
        let mut replies = Vec::new();
        for _ in 0..2 {
            let writes = row.needs == "write";
            let token = if writes {
                drill::token_of("agent")?
            } else {
                drill::fresh(recipe.clone())?
            };
            replies.push(ask(&scene.envoy, row, method, &token).await?);
        }
        let [first, second] = replies.as_slice() else {
            continue;
        };
        let told = format!("{method} {}: {first:?} {second:?}", row.path);
        if row.needs == "write" {
            ensure!(is_limited(first) && is_limited(second), "{told}");
        } else {
            ensure!(!is_limited(first) && is_limited(second), "{told}");
        }
        seen.insert(row.needs.clone());
    }
    ensure!(seen.len() > 4, "only {seen:?}");
    Ok(())
}

async fn ask(envoy: &Envoy, row: &EndpointRow, method: &str, token: &str) -> Result<Reply> {
    let mut request = RawRequest::new(method, &row.path)
        .bearer(token)
        .tenant("acme");
    // gRPC's limit is in the trailers of a 200, and in the same header.
    let protocol = if row.path.contains("opentelemetry.proto") || row.path.contains("tempopb") {
        request = request
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        Protocol::H2
    } else {
        Protocol::H1
    };
    request.send(&envoy.target(), protocol).await
}

/// Buckets beyond the limit are forgotten, which is why there are many.
#[tokio::test(flavor = "multi_thread")]
async fn more_callers_than_buckets_are_not_limited() -> Result<()> {
    for (buckets, expected) in [(2, 200), (10, 429)] {
        let scene = scene(move |bootstrap| {
            exactly(9, 1)(bootstrap)?;
            let filters = bootstrap.connection_manager()?["http_filters"].as_array_mut();
            for filter in filters.context("no filters")? {
                if filter["name"] == json!("rate_limit_reads") {
                    filter["typed_config"]["max_dynamic_descriptors"] = json!(buckets);
                }
            }
            Ok(())
        })
        .await?;
        for subject in ["alice", "bob", "carol"] {
            ensure!(status(&scene, read(subject, "acme")?).await? == 200);
        }
        let again = status(&scene, read("alice", "acme")?).await?;
        ensure!(again == expected, "{buckets}: {again}");
    }
    Ok(())
}

/// The first route of a request, which is not the route of a backend, settles which filters the request gets: a
/// filter that only routes enable is never enabled. What the enabled filters do is settled by the second route.
#[tokio::test(flavor = "multi_thread")]
async fn a_filter_that_only_routes_switch_on_counts_nothing() -> Result<()> {
    for (disabled, expected) in [(true, 200), (false, 503)] {
        let scene = scene(move |bootstrap| {
            let manager = bootstrap.connection_manager()?;
            let limit = json!({
                "@type": "type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit",
                "stat_prefix": "by_route",
            });
            let mut of_route = limit.clone();
            of_route["token_bucket"] = bucket(1, "3600s");
            of_route["status"] = json!({"code": "ServiceUnavailable"});
            for switch in ["filter_enabled", "filter_enforced"] {
                of_route[switch] = json!({"default_value": {"numerator": 100}});
            }
            let filters = manager["http_filters"].as_array_mut();
            let filter = json!({"name": "by_route", "disabled": disabled, "typed_config": limit});
            filters.context("no filters")?.insert(1, filter);
            let routes = manager["route_config"]["virtual_hosts"][0]["routes"].as_array_mut();
            for route in routes.context("no routes")? {
                if route["route"]["timeout"] == json!("60s") {
                    route["typed_per_filter_config"] = json!({"by_route": of_route});
                }
            }
            Ok(())
        })
        .await?;
        ensure!(status(&scene, write("/loki/api/v1/push", "acme")?).await? == 200);
        let second = status(&scene, write("/loki/api/v1/push", "acme")?).await?;
        ensure!(second == expected, "disabled: {disabled}: {second}");
    }
    Ok(())
}

/// A write that meets the limit waits in the agent and is sent again.
#[tokio::test(flavor = "multi_thread")]
async fn prometheus_loses_nothing_by_the_limit() -> Result<()> {
    let issuer = Issuer::corporate().await?;
    let receiver = PrometheusSettings::receiver().route_prefix("/prometheus");
    let backend = Prometheus::start(receiver).await?;
    let adapter = MimirAdapter::start(backend.address()).await?;
    // Debian's Prometheus 2.42 reads `remote_write.headers` and sends none of them: the gate names the tenant.
    let mut configuration = drill::configuration();
    configuration["tenants"] = json!({"when_absent": "only"});
    // Three writes a second where eight and more are wanted.
    let settings = drill::settings(configuration)?
        .cluster("idp", issuer.address())
        .cluster("mimir", adapter.address())
        .edit(|bootstrap| {
            rate_limits::add(bootstrap, |filters| {
                let writes = &mut filters[0]["typed_config"];
                writes["descriptors"][0]["token_bucket"] =
                    json!({"max_tokens": 2, "tokens_per_fill": 1, "fill_interval": "0.3s"});
                writes["response_headers_to_add"][0]["header"]["value"] = json!("1");
                Ok(())
            })
        });
    let envoy = Envoy::start(settings).await?;
    let url = format!("http://{}/api/v1/push", envoy.address());
    let agent = Prometheus::start(PrometheusSettings::with_configuration(json!({
        "global": {"scrape_interval": "250ms"},
        "scrape_configs": [{
            "job_name": "gate",
            "metrics_path": "/stats/prometheus",
            "params": {"filter": ["^server\\."]},
            "static_configs": [{"targets": [envoy.admin_address().to_string()]}],
        }],
        "remote_write": [{
            "url": url,
            "authorization": {"credentials": drill::token_of("agent")?},
            // Small batches, so that there are many.
            "queue_config": {
                "max_samples_per_send": 20, "max_shards": 2, "capacity": 1_000,
                "batch_send_deadline": "200ms",
            },
            "metadata_config": {"send": false},
        }],
    })))
    .await?;
    let sent = "envoy_server_uptime";
    let enough = Duration::from_secs(30);
    let counted = format!("count_over_time({sent}[5m])");
    agent
        .wait_for(&counted, enough, |count| count >= 12.0)
        .await?;
    let limited = limited(&envoy).await?;
    ensure!(limited > 5, "only {limited} writes met the limit");
    // What has been scraped until now; the rest may be on its way.
    let last = agent.value(&format!("timestamp({sent})")).await?;
    let last = last.context("nothing scraped")?;
    let of_the_past = |at: f64| format!("count_over_time({sent}[5m] @ {at})");
    let wanted = agent.value(&of_the_past(last)).await?.context("nothing")?;
    let stored = backend
        .wait_for(&of_the_past(last), Duration::from_secs(60), |count| {
            count >= wanted
        })
        .await?;
    ensure!((stored - wanted).abs() < 0.5, "{stored} of {wanted}");
    println!("{limited} writes met the limit, {stored} of {wanted} samples are there");
    let metrics = integration::client::get(agent.address(), "/metrics").await?;
    let metrics = metrics.text();
    for (name, zero) in [
        ("prometheus_remote_storage_samples_retried_total", false),
        ("prometheus_remote_storage_samples_failed_total", true),
        ("prometheus_remote_storage_samples_dropped_total", true),
    ] {
        let of = metrics.lines().filter(|line| line.starts_with(name));
        let values = of.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
        let sum: f64 = values.sum();
        ensure!((sum == 0.0) == zero, "{name}: {sum}");
    }
    Ok(())
}

/// The number of writes that were asked to come again.
async fn limited(envoy: &Envoy) -> Result<i64> {
    let stats = envoy.stats().await?;
    let name = "writes.http_local_rate_limit.rate_limited";
    Ok(stats.get(name).copied().unwrap_or_default())
}

const LIMITED: &str = "local_rate_limited";
