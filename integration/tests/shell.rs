//! What the shell does inside the real Envoy: bytes, routes, failures, configuration, records.

#![allow(clippy::expect_used)]
#![expect(clippy::float_cmp, reason = "what is compared is whole numbers")]

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use futures_util::future::try_join_all;
use futures_util::{SinkExt, StreamExt};
use integration::client::websocket::{self, Handshake};
use integration::client::{Protocol, RawRequest};
use integration::drill::{self, Random, fresh, read, send};
use integration::envoy::{Envoy, EnvoySettings, Update};
use integration::grpc::{
    self, Anything, ExportRequest, ExportResponse, GrpcClient, SearchRequest, SearchResponse,
};
use integration::issuer::{Issuer, PublishedKey};
use integration::scene::Scene;
use integration::token::{Recipe, Tamper};
use integration::upstream::Behaviour;
use scopegate::authz::endpoint::TABLE;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;
use tonic::Code;

const BOTH: [Protocol; 2] = [Protocol::H1, Protocol::H2];

async fn start(settings: EnvoySettings) -> Result<Scene> {
    Scene::start_with(settings, Issuer::corporate().await?).await
}

/// Envoy's own words for why it did not start.
async fn refusal(settings: EnvoySettings) -> Result<String> {
    match start(settings).await {
        Ok(scene) => bail!("it started, at {}", scene.envoy.address()),
        Err(error) => Ok(format!("{error:#}")),
    }
}

// ---- bytes

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_no_text_reach_the_upstream_or_are_refused_and_the_worker_lives()
-> Result<()> {
    let scene = drill::scene(drill::configuration()).await?;
    let target = scene.envoy.target();
    drill::warm(&scene.envoy).await?;
    let bytes = b"a\xff\xfe\x80\xc3(\xf0\x9f";
    // In headers that the gate does not decide by, they pass as they are.
    for name in [
        "x-anything",
        "user-agent",
        "cookie",
        "accept",
        "content-type",
    ] {
        for protocol in BOTH {
            let id = format!("{name}-{protocol:?}");
            let request = read(&drill::token_of("reader")?, "acme")
                .header(name, bytes.to_vec())
                .header("x-test-id", id.as_str());
            let reply = request.send(&target, protocol).await?;
            ensure!(
                reply.status == 200,
                "{id}: {} {}",
                reply.status,
                reply.text()
            );
            let seen = scene.log.take(&id);
            ensure!(
                seen.len() == 1 && seen[0].header(name) == [bytes],
                "{id}: {seen:?}"
            );
        }
    }
    // In those it decides by, they are refused.
    scene.log.clear();
    let token = drill::token_of("reader")?;
    let good = |name: &str| match name {
        "authorization" => format!("Bearer {token}").into_bytes(),
        _ => b"acme".to_vec(),
    };
    for (name, expected) in [("authorization", 400), ("x-scope-orgid", 400)] {
        for protocol in BOTH {
            for broken in [
                bytes.to_vec(),
                [good(name), bytes.to_vec()].concat(),
                vec![0xff],
            ] {
                let mut request = RawRequest::get("/loki/api/v1/labels").header(name, broken);
                for other in ["authorization", "x-scope-orgid"] {
                    if other != name {
                        request = request.header(other, good(other));
                    }
                }
                let reply = request.send(&target, protocol).await?;
                let refused =
                    reply.status == expected || (name == "authorization" && reply.status == 401);
                ensure!(refused, "{name} {protocol:?}: {}", reply.status);
            }
        }
    }
    ensure!(scene.log.count() == 0, "{} passed", scene.log.count());
    drill::check_health(&scene.envoy).await
}

#[tokio::test(flavor = "multi_thread")]
async fn random_hostile_heads_get_an_answer_and_the_worker_lives() -> Result<()> {
    const NAMES: [&str; 22] = [
        "authorization",
        "x-scope-orgid",
        "content-type",
        "x-request-id",
        "user-agent",
        "cookie",
        "accept",
        "x-scopegate-backend",
        "x-scopegate-subject",
        "x-forwarded-for",
        "x-envoy-original-path",
        "te",
        "grpc-timeout",
        "x-prom-label-policy",
        "x-scope_orgid",
        "traceparent",
        "x-loki-response-encoding-flags",
        "range",
        "expect",
        "x-envoy-upstream-rq-timeout-ms",
        "x-forwarded-proto",
        "x-\u{7e}odd",
    ];
    let scene = drill::scene(drill::configuration()).await?;
    let target = scene.envoy.target();
    drill::warm(&scene.envoy).await?;
    scene.log.clear();
    let token = drill::token_of("reader")?;
    let mut random = Random(SEED);
    let mut answered = 0;
    let mut passed = 0;
    for number in 0..240 {
        let protocol = BOTH[number % 2];
        let paths = [
            "/loki/api/v1/labels",
            "/prometheus/api/v1/query",
            "/tempo/api/search",
            "/v1/traces",
            "/",
        ];
        let mut path = paths[random.below(paths.len())].as_bytes().to_vec();
        if random.below(4) == 0 {
            path.push(b'?');
            path.extend(hostile(&mut random));
        }
        let mut request = RawRequest::get("/");
        request.path = path;
        let mut clean = true;
        if random.below(2) == 0 {
            request = request.bearer(&token).tenant("acme");
        } else {
            clean = false;
        }
        for _ in 0..random.below(6) {
            let name = NAMES[random.below(NAMES.len())];
            clean &= !matches!(name, "authorization" | "x-scope-orgid");
            let value = hostile(&mut random);
            request = request.header(name, value);
        }
        // Envoy itself may reset a stream or close a connection over it: that is an answer too.
        if let Ok(reply) = request.send(&target, protocol).await {
            answered += 1;
            if reply.status == 200 {
                passed += 1;
                ensure!(
                    clean,
                    "seed {SEED:#x}, request {number}: {request:?} passed"
                );
            }
            let sane = matches!(
                reply.status,
                200 | 400 | 401 | 403 | 404 | 405 | 415 | 417 | 431
            );
            ensure!(
                sane,
                "seed {SEED:#x}, request {number}: {} {request:?}",
                reply.status
            );
        }
    }
    eprintln!("240 hostile heads: {answered} answered, {passed} passed");
    ensure!(
        answered >= 120 && passed >= 10,
        "{answered} answered, {passed} passed"
    );
    for seen in scene.log.all() {
        ensure!(seen.header("x-scope-orgid") == [b"acme"], "{seen:?}");
        ensure!(seen.header("authorization").is_empty(), "{seen:?}");
        ensure!(seen.header("x-scopegate-backend").is_empty(), "{seen:?}");
        ensure!(
            seen.header("x-scopegate-subject") == [b"reader-1"],
            "{seen:?}"
        );
        ensure!(seen.header("x-prom-label-policy").is_empty(), "{seen:?}");
    }
    drill::check_health(&scene.envoy).await
}

/// Anything but what no HTTP stack passes: NUL and line ends.
fn hostile(random: &mut Random) -> Vec<u8> {
    let length = random.below(40);
    let below = |random: &mut Random, bound| u8::try_from(random.below(bound)).unwrap_or(0);
    let byte = |random: &mut Random| match random.below(3) {
        0 => b'!' + below(random, 94),
        1 => 0x80 + below(random, 128),
        _ => [
            b'|', b',', b';', b'"', b'%', b'\\', b'=', b'.', b'/', 0xc0, 0xaf, 0xff,
        ][random.below(12)],
    };
    (0..length).map(|_| byte(random)).collect()
}

// ---- routes

/// A path for each row of the table.
fn endpoint_paths() -> Vec<String> {
    let filled = |template: &str| {
        let segments: Vec<&str> = template
            .split('/')
            .map(|segment| {
                if segment.starts_with('{') {
                    "1a2b"
                } else {
                    segment
                }
            })
            .collect();
        segments.join("/")
    };
    let paths: BTreeSet<String> = TABLE.iter().map(|row| filled(row.template)).collect();
    paths.into_iter().collect()
}

/// Answered by Loki, Mimir or Tempo on the same ports.
const NEVER: &[&str] = &[
    "/",
    "/config",
    "/services",
    "/ready",
    "/metrics",
    "/log_level",
    "/debug/pprof/",
    "/debug/pprof/heap",
    "/debug/fgprof",
    "/ring",
    "/distributor/ring",
    "/distributor/all_user_stats",
    "/distributor/ha_tracker",
    "/ruler/ring",
    "/ruler/rule_groups",
    "/ruler/delete_tenant_config",
    "/indexgateway/ring",
    "/scheduler/ring",
    "/pattern/ring",
    "/partition-ring",
    "/partition/ring",
    "/ui/",
    "/memberlist",
    "/flush",
    "/flush/tenant",
    "/ingester/flush",
    "/ingester/shutdown",
    "/ingester/prepare_shutdown",
    "/ingester/prepare-shutdown",
    "/ingester/tsdb_metrics",
    "/ingester/tenants",
    "/ingester/tsdb/acme",
    "/ingester/prepare_partition_downscale",
    "/ingester/unregister-on-shutdown",
    "/compactor",
    "/compactor/ring",
    "/compactor/tenants",
    "/compactor/delete_tenant",
    "/compactor/delete_tenant_status",
    "/ingest-limits/usage",
    "/ingest-limits-frontend/ring",
    "/dataobj-consumer/ring",
    "/analytics",
    "/sync-indexes",
    "/loki/api/v1/cache/generation_numbers",
    "/loki/api/v1/cache/generation_numbers/increase",
    "/runtime_config",
    "/static/x",
    "/store-gateway/ring",
    "/store-gateway/tenants",
    "/querier/ring",
    "/querier/api/search",
    "/query-scheduler/ring",
    "/multitenant_alertmanager/status",
    "/multitenant_alertmanager/configs",
    "/multitenant_alertmanager/delete_tenant_config",
    "/overrides-exporter/ring",
    "/usage-tracker/ring",
    "/api/v1/user_stats",
    "/api/v1/user_limits",
    "/api/v1/analyze",
    "/api/v1/upload/block/1/start",
    "/api/v1/status/config",
    "/api/v1/status/flags",
    "/alertmanager/",
    "/alertmanager/metrics",
    "/alertmanager/api/v1/alerts",
    "/prometheus/api/v1/admin/tsdb/delete_series",
    "/prometheus/federate",
    "/prometheus/config/v1/alerts",
    "/status",
    "/status/config",
    "/status/overrides",
    "/status/overrides/acme",
    "/status/usage-stats",
    "/usage_metrics",
    "/live-store/ring",
    "/live-store/prepare-downscale",
    "/live-store/prepare-partition-downscale",
    "/backend-worker/ring",
    "/tempo/metrics",
    "/tempo/status",
    "/tempo/status/config",
    "/tempo/debug/pprof",
    "/tempo/flush",
    "/tempo/shutdown",
    "/tempo/live-store/prepare-downscale",
    "/api/search",
    "/api/traces/1a2b",
    "/api/echo",
    "/api/v2/search/tags",
    "/loki/api/v1/push/",
    "//loki/api/v1/push",
    "/loki/api/v1/../../../config",
    "/loki/api/v1/%2e%2e/config",
    "/LOKI/api/v1/labels",
    "/tempopb.Querier/FindTraceByID",
    "/tempopb.Pusher/PushBytesV2",
    "/httpgrpc.HTTP/Handle",
    "/frontend.Frontend/Process",
    "/logproto.Pusher/Push",
    "/cortex.Ingester/Push",
    "/grpc.health.v1.Health/Check",
];

#[tokio::test(flavor = "multi_thread")]
async fn no_request_reaches_a_cluster_by_its_path_alone() -> Result<()> {
    for mode in ["enforce", "report"] {
        let mut configuration = drill::configuration();
        configuration["mode"] = json!(mode);
        let scene = drill::scene(configuration).await?;
        let target = scene.envoy.target();
        drill::warm(&scene.envoy).await?;
        scene.log.clear();
        let admin = drill::token_of("admin")?;
        for (number, path) in NEVER.iter().enumerate() {
            for backend in ["loki", "mimir", "tempo"] {
                for (method, content_type) in [("GET", None), ("POST", Some("application/grpc"))] {
                    let mut request = RawRequest::new(method, path)
                        .bearer(&admin)
                        .tenant("acme")
                        .header("x-scopegate-backend", backend)
                        .header("X_Scopegate_Backend", backend);
                    if let Some(content_type) = content_type {
                        request = request.header("content-type", content_type);
                    }
                    let protocol = BOTH[number % 2];
                    let reply = request.send(&target, protocol).await?;
                    let refused = reply.status == 404
                        || (content_type.is_some() && reply.grpc_status() == Some(12))
                        // Envoy's own refusal of a path it will not carry.
                        || reply.status == 400;
                    ensure!(
                        refused,
                        "{mode} {method} {path} {backend}: {} {}",
                        reply.status,
                        reply.text()
                    );
                }
            }
        }
        ensure!(scene.log.count() == 0, "{mode}: {:?}", scene.log.all());
        if mode == "report" {
            continue;
        }
        // Endpoints, as the client may name them and as they are after the rewrite, with the client's own route header.
        let paths = endpoint_paths();
        ensure!(paths.len() > 70, "{} paths", paths.len());
        for (number, path) in paths.iter().enumerate() {
            for method in ["GET", "POST"] {
                let backend = ["loki", "mimir", "tempo"][number % 3];
                let request = RawRequest::new(method, path)
                    .tenant("acme")
                    .header("x-scopegate-backend", backend);
                let reply = request.send(&target, BOTH[number % 2]).await?;
                ensure!(
                    matches!(reply.status, 401 | 404 | 405),
                    "{method} {path}: {}",
                    reply.status
                );
            }
        }
        ensure!(scene.log.count() == 0, "{:?}", scene.log.all());
        // With a good token the table decides where it goes, whatever the client says.
        for (path, cluster) in [
            ("/loki/api/v1/labels", "loki"),
            ("/prometheus/api/v1/labels", "mimir"),
            ("/tempo/api/echo", "tempo"),
        ] {
            for lie in ["loki", "mimir", "tempo", "idp", "nonsense"] {
                let request = RawRequest::get(path)
                    .bearer(&admin)
                    .tenant("acme")
                    .header("x-scopegate-backend", lie)
                    .header("x-scopegate-backend", cluster)
                    .header("x-test-id", "lie");
                let reply = request.send(&target, Protocol::H2).await?;
                ensure!(reply.status == 200, "{path} {lie}: {}", reply.status);
                let seen = scene.log.take("lie");
                ensure!(
                    seen.len() == 1 && seen[0].backend == cluster,
                    "{path} {lie}: {seen:?}"
                );
                ensure!(seen[0].header("x-scopegate-backend").is_empty(), "{seen:?}");
            }
        }
        drill::check_health(&scene.envoy).await?;
    }
    Ok(())
}

/// Somebody takes the gate out of the filter chain and leaves the rest: nothing passes.
#[tokio::test(flavor = "multi_thread")]
async fn without_the_gate_no_header_leads_to_a_backend() -> Result<()> {
    let settings = drill::settings(drill::configuration())?.edit(|bootstrap| {
        let filters = &mut bootstrap.connection_manager()?["http_filters"];
        let filters = filters.as_array_mut().context("no filters")?;
        filters.retain(|filter| filter["name"] != json!("scopegate"));
        Ok(())
    });
    let scene = start(settings).await?;
    for backend in ["loki", "mimir", "tempo"] {
        for protocol in BOTH {
            for name in ["x-scopegate-backend", "X-Scopegate-Backend"] {
                let request = RawRequest::get("/loki/api/v1/labels")
                    .tenant("acme")
                    .header(name, backend)
                    .header(name, backend);
                // HTTP/2 knows no capital letters.
                if protocol == Protocol::H2 && name.starts_with('X') {
                    continue;
                }
                let reply = request.send(&scene.envoy.target(), protocol).await?;
                ensure!(reply.status == 404, "{backend}: {}", reply.status);
            }
        }
    }
    ensure!(scene.log.count() == 0, "{:?}", scene.log.all());
    Ok(())
}

// ---- failures behind the gate

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_is_down_is_a_502_in_the_words_of_its_clients() -> Result<()> {
    let scene = drill::scene(drill::configuration()).await?;
    let target = scene.envoy.target();
    drill::warm(&scene.envoy).await?;
    let reader = drill::token_of("reader")?;
    let agent = drill::token_of("agent")?;
    let otlp = |content_type: &str| {
        RawRequest::post("/otlp/v1/logs", "{}")
            .header("content-type", content_type)
            .bearer(&agent)
            .tenant("acme")
    };
    let push = RawRequest::post("/loki/api/v1/push", vec![b'x'; 2_000_000])
        .bearer(&agent)
        .tenant("acme");
    let get = |path: &str| RawRequest::get(path).bearer(&reader).tenant("acme");
    for way in ["down", "close"] {
        for upstream in &scene.upstreams {
            if way == "down" {
                upstream.down().await;
            } else {
                upstream.up().await?;
                upstream.behave(Behaviour::Close);
            }
        }
        for protocol in BOTH {
            for (request, content_type, body) in [
                (
                    get("/loki/api/v1/labels"),
                    "text/plain",
                    "the backend cannot be reached",
                ),
                (push.clone(), "text/plain", "the backend cannot be reached"),
                (
                    get("/tempo/api/search"),
                    "text/plain",
                    "the backend cannot be reached",
                ),
                (
                    get("/prometheus/api/v1/query?query=up"),
                    "application/json",
                    "\"status\":\"error\"",
                ),
                (
                    otlp("application/x-protobuf"),
                    "application/x-protobuf",
                    "\u{8}\u{e}\u{12}",
                ),
                (
                    otlp("application/json"),
                    "application/json",
                    "{\"code\":14,",
                ),
            ] {
                let reply = request
                    .clone()
                    .header("x-test-id", "down")
                    .send(&target, protocol)
                    .await?;
                let path = String::from_utf8_lossy(&request.path);
                let told = format!("{way} {protocol:?} {path}: {reply:?}");
                ensure!(reply.status == 502, "{told}");
                ensure!(
                    reply
                        .header("content-type")
                        .is_some_and(|is| is.starts_with(content_type)),
                    "{told}"
                );
                ensure!(reply.text().contains(body), "{told}");
                ensure!(reply.header("retry-after").is_some(), "{told}");
            }
        }
        let client = GrpcClient::connect(scene.envoy.address()).await?;
        let authorization = format!("Bearer {reader}");
        let metadata = [
            ("authorization", authorization.as_str()),
            ("x-scope-orgid", "acme"),
        ];
        let streamed: Result<Vec<SearchResponse>, _> = client
            .server_streaming(grpc::SEARCH, &metadata, SearchRequest::default())
            .await;
        let status = streamed.err().context("an error")?;
        let own = status.message().contains("the backend cannot be reached");
        ensure!(
            status.code() == Code::Unavailable && own,
            "{way}: {status:?}"
        );
    }
    let line = scene
        .envoy
        .access_line("down", Duration::from_secs(3))
        .await?;
    ensure!(
        line.details.as_deref() == Some("scopegate{backend_unavailable}"),
        "{line:?}"
    );
    for upstream in &scene.upstreams {
        upstream.behave(Behaviour::Echo);
    }
    drill::check_health(&scene.envoy).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_backend_answers_itself_passes_unchanged() -> Result<()> {
    let scene = drill::scene(drill::configuration()).await?;
    drill::warm(&scene.envoy).await?;
    let reader = drill::token_of("reader")?;
    for status in [503, 500, 429, 502, 504, 400, 401, 404, 302] {
        scene.upstream("loki")?.behave(Behaviour::Answer {
            status,
            headers: vec![
                ("retry-after".into(), "77".into()),
                ("x-own".into(), "yes".into()),
                ("content-type".into(), "application/x-own".into()),
            ],
            body: "ingester is busy\n".into(),
        });
        for protocol in BOTH {
            let id = format!("own-{status}-{protocol:?}");
            let request = read(&reader, "acme").header("x-test-id", id.as_str());
            let reply = request.send(&scene.envoy.target(), protocol).await?;
            ensure!(
                (reply.status, reply.text().as_str()) == (status, "ingester is busy\n"),
                "{reply:?}"
            );
            for (name, value) in [
                ("retry-after", "77"),
                ("x-own", "yes"),
                ("content-type", "application/x-own"),
            ] {
                ensure!(reply.all(name) == [value], "{reply:?}");
            }
            ensure!(reply.header("www-authenticate").is_none(), "{reply:?}");
            let line = scene.envoy.access_line(&id, Duration::from_secs(3)).await?;
            ensure!(line.details.as_deref() == Some("via_upstream"), "{line:?}");
        }
    }
    scene.upstream("loki")?.behave(Behaviour::Echo);
    drill::check_health(&scene.envoy).await
}

// ---- modes and switches

#[tokio::test(flavor = "multi_thread")]
async fn report_mode_passes_everything_on_and_says_so() -> Result<()> {
    let mut configuration = drill::configuration();
    configuration["mode"] = json!("report");
    let scene = drill::scene(configuration).await?;
    drill::warm(&scene.envoy).await?;
    let token = drill::token_of("reader")?;
    let forged = fresh(Recipe::of("admin").tamper(Tamper::FlipSignature))?;
    let path = "/loki/api/v1/labels";
    let trusted = |request: RawRequest| {
        request
            .header("x-scopegate-subject", "somebody-else")
            .header("x-scopegate-backend", "mimir")
            .header("x-prom-label-policy", "acme:{}")
    };
    for (id, request, code) in [
        (
            "none",
            RawRequest::get(path).tenant("acme"),
            "credential_missing",
        ),
        ("forged", read(&forged, "acme"), "signature_invalid"),
        ("globex", read(&token, "globex"), "tenant_not_granted"),
        (
            "no-tenant",
            RawRequest::get(path).bearer(&token),
            "tenant_missing",
        ),
    ] {
        for protocol in BOTH {
            let id = format!("{id}-{protocol:?}");
            let request = trusted(request.clone()).header("x-test-id", id.as_str());
            let reply = request.send(&scene.envoy.target(), protocol).await?;
            ensure!(
                reply.status == 200,
                "{id}: {} {}",
                reply.status,
                reply.text()
            );
            let seen = scene.log.take(&id);
            ensure!(
                seen.len() == 1 && seen[0].backend == "loki",
                "{id}: {seen:?}"
            );
            for name in [
                "authorization",
                "x-scopegate-subject",
                "x-scopegate-backend",
                "x-prom-label-policy",
            ] {
                ensure!(seen[0].header(name).is_empty(), "{id} {name}: {seen:?}");
            }
            let record = record_of(&scene.envoy, &id).await?;
            ensure!(
                record["code"] == code && record["decision"] != "allow",
                "{record}"
            );
        }
        drill::wait_for_metric(
            &scene.envoy,
            "scopegate_decisions_total",
            &[("code", code), ("backend", "loki"), ("permission", "read")],
            Duration::from_secs(5),
            |count| count == 2.0,
        )
        .await?;
    }
    // What is allowed is forwarded as ever.
    let reply = send(
        &scene.envoy,
        &trusted(read(&token, "acme")).header("x-test-id", "good"),
    )
    .await?;
    ensure!(reply.status == 200);
    let seen = scene.log.take("good");
    ensure!(
        seen[0].header("x-scopegate-subject") == [b"reader-1"],
        "{seen:?}"
    );
    let gauge = "scopegate_report_mode";
    drill::wait_for_metric(&scene.envoy, gauge, &[], Duration::from_secs(5), |value| {
        value == 1.0
    })
    .await?;
    ensure!(scene.envoy.log_contains("mode is report"), "no warning");
    drill::check_health(&scene.envoy).await
}

#[tokio::test(flavor = "multi_thread")]
async fn backends_are_switched_off_by_the_environment() -> Result<()> {
    let settings = drill::settings(drill::configuration())?
        .environment("SCOPEGATE_LOKI_ENABLED", "false")
        .environment("SCOPEGATE_MIMIR_ENABLED", "true");
    let scene = start(settings).await?;
    let admin = drill::token_of("admin")?;
    let agent = format!("Bearer {}", drill::token_of("agent")?);
    for (path, status) in [
        ("/loki/api/v1/labels", 503),
        ("/prometheus/api/v1/labels", 200),
        ("/tempo/api/echo", 200),
    ] {
        let request = RawRequest::get(path)
            .bearer(&admin)
            .tenant("acme")
            .header("x-test-id", path);
        let reply = send(&scene.envoy, &request).await?;
        ensure!(
            reply.status == status,
            "{path}: {} {}",
            reply.status,
            reply.text()
        );
        if status == 503 {
            let line = scene
                .envoy
                .access_line(path, Duration::from_secs(3))
                .await?;
            ensure!(
                line.details.as_deref() == Some("scopegate{backend_not_configured}"),
                "{line:?}"
            );
            ensure!(reply.header("retry-after").is_some());
        }
    }
    let client = GrpcClient::connect(scene.envoy.address()).await?;
    let metadata = [("authorization", agent.as_str()), ("x-scope-orgid", "acme")];
    let export: Result<ExportResponse, _> = client
        .unary(grpc::EXPORT_LOGS, &metadata, ExportRequest::default())
        .await;
    ensure!(export.err().map(|status| status.code()) == Some(Code::Unavailable));
    ensure!(
        scene
            .log
            .all()
            .iter()
            .all(|seen| !seen.backend.starts_with("loki"))
    );
    drill::check_health_without_reads(&scene.envoy).await?;

    let settings =
        drill::settings(drill::configuration())?.environment("SCOPEGATE_TEMPO_ENABLED", "maybe");
    let told = refusal(settings).await?;
    ensure!(told.contains("SCOPEGATE_TEMPO_ENABLED"), "{told}");
    Ok(())
}

// ---- configuration

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_configuration_refuses_to_load_with_every_problem_told() -> Result<()> {
    let mut configuration = drill::configuration();
    configuration["colour"] = json!("blue");
    configuration["providers"][0]["algorithms"] = json!(["HS256"]);
    configuration["providers"][0]["jwks"]["cluster"] = json!(7);
    configuration["organizations"][1]["tenants"] = json!(["a/b"]);
    configuration["limits"] = json!({"wait": "an hour"});
    let told = refusal(drill::settings(configuration)?).await?;
    for place in [
        "colour",
        "providers[0].algorithms[0]",
        "providers[0].jwks.cluster",
        "organizations[1].tenants[0]",
        "limits.wait",
    ] {
        ensure!(
            told.contains(&format!("configuration: {place}")),
            "{place} is not in: {told}"
        );
    }
    for broken in [
        "",
        "{",
        "[]",
        "null",
        "mode: enforce",
        "{\"mode\":\"enforce\",\"mode\":\"report\"}",
    ] {
        let broken = broken.to_owned();
        let settings = drill::settings(drill::configuration())?.edit(move |bootstrap| {
            bootstrap.scopegate()?["typed_config"]["config"]["configuration"]["value"] =
                json!(broken);
            Ok(())
        });
        let told = refusal(settings).await?;
        ensure!(told.contains("configuration: "), "{told}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_configuration_is_rejected_at_run_time_and_a_good_one_takes_over() -> Result<()> {
    let scene = start(drill::settings(drill::configuration())?.dynamic()).await?;
    drill::warm(&scene.envoy).await?;
    let stop = tokio::sync::watch::channel(false);
    let load = |lane: usize| {
        let scene = &scene;
        let stop = stop.1.clone();
        async move {
            let protocol = BOTH[lane % 2];
            let mut count = 0;
            while !*stop.borrow() {
                let token = if count % 3 == 0 {
                    drill::token_of("reader")?
                } else {
                    fresh(Recipe::of("reader").key("p256-a"))?
                };
                let reply = read(&token, "acme")
                    .send(&scene.envoy.target(), protocol)
                    .await?;
                ensure!(
                    reply.status == 200,
                    "after {count}: {} {}",
                    reply.status,
                    reply.text()
                );
                count += 1;
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            Ok(count)
        }
    };
    let reloads = async {
        let changed = change_configurations(&scene).await;
        stop.0.send_replace(true);
        changed
    };
    let (served, changed) = tokio::join!(try_join_all((0..6).map(load)), reloads);
    changed?;
    let served: usize = served?.into_iter().sum();
    eprintln!("{served} requests over the changes");
    ensure!(served > 100, "{served}");
    drill::check_health(&scene.envoy).await
}

async fn change_configurations(scene: &Scene) -> Result<()> {
    let globex = drill::token_of("globex-reader")?;
    let first = |status: u16| {
        let globex = globex.clone();
        async move {
            for _ in 0..4 {
                let reply = send(&scene.envoy, &read(&globex, "initech")).await?;
                ensure!(reply.status == status, "{}", reply.status);
            }
            anyhow::Ok(())
        }
    };
    first(403).await?;
    let mut bad = drill::configuration();
    bad["organizations"][1]["tenants"] = json!(["globex", "initech", ""]);
    let update = scene.envoy.replace_configuration(&bad).await?;
    ensure!(matches!(update, Update::Rejected(_)), "{update:?}");
    ensure!(
        scene
            .envoy
            .log_contains("configuration: organizations[1].tenants[2]")
    );
    first(403).await?;
    let mut good = drill::configuration();
    good["organizations"][1]["tenants"] = json!(["globex", "initech"]);
    for round in 0..2 {
        let update = scene.envoy.replace_configuration(&good).await?;
        ensure!(update == Update::Accepted, "{update:?}");
        // Connections that were open before may still go by the old one for a moment.
        tokio::time::sleep(Duration::from_millis(500)).await;
        first(200).await?;
        good["realm"] = json!(format!("round-{round}"));
    }
    scene.envoy.check_alive()
}

// ---- records

/// The record in the access log's filter state.
async fn record_of(envoy: &Envoy, id: &str) -> Result<Value> {
    let line = envoy.access_line(id, Duration::from_secs(3)).await?;
    match line
        .scopegate
        .with_context(|| format!("{id}: no filter state"))?
    {
        Value::String(text) => Ok(serde_json::from_str(&text)?),
        value => Ok(value),
    }
}

/// The records in Envoy's own log.
fn logged_records(envoy: &Envoy) -> Vec<Value> {
    let lines = envoy.own_lines();
    let records = lines.iter();
    records
        .filter_map(|line| serde_json::from_str(&line[line.find("{\"time\"")?..]).ok())
        .collect()
}

fn names(record: &Value) -> Vec<String> {
    record
        .as_object()
        .map(|members| members.keys().cloned().collect())
        .unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::too_many_lines, reason = "one story, told in order")]
async fn records_say_the_same_for_allow_and_deny_and_never_hold_a_token() -> Result<()> {
    const FIELDS: [&str; 17] = [
        "time",
        "request_id",
        "decision",
        "code",
        "provider",
        "issuer",
        "subject",
        "key_id",
        "credential",
        "organizations",
        "tenants",
        "endpoint",
        "backend",
        "permission",
        "scope",
        "status",
        "source",
    ];
    let fields: BTreeSet<String> = FIELDS.iter().map(|name| (*name).to_owned()).collect();
    for log in ["denied", "all", "none"] {
        let mut configuration = drill::configuration();
        configuration["audit"] = json!({"log": log, "access_log": log != "none"});
        let scene = drill::scene(configuration).await?;
        let token = drill::token_of("reader")?;
        let mut secrets = vec![token.clone()];
        let allowed = read(&token, "acme")
            .header("x-test-id", "allowed")
            .header("x-request-id", "11111111-2222-4333-8444-555555555555");
        ensure!(send(&scene.envoy, &allowed).await?.status == 200);
        let denied = read(&token, "globex").header("x-test-id", "denied");
        ensure!(send(&scene.envoy, &denied).await?.status == 403);
        for tamper in [
            Tamper::FlipSignature,
            Tamper::ExtraPart,
            Tamper::Append("\"\\ {}".into()),
        ] {
            let token = fresh(Recipe::of("reader").tamper(tamper))?;
            let refused = send(&scene.envoy, &read(&token, "acme")).await?.status;
            ensure!(matches!(refused, 400 | 401), "{refused}");
            secrets.push(token);
        }
        let in_query =
            RawRequest::get(&format!("/loki/api/v1/labels?access_token={token}")).tenant("acme");
        ensure!(send(&scene.envoy, &in_query).await?.status == 401);
        let as_tenant = read(&drill::token_of("reader")?, "evil\"\\}{");
        ensure!(send(&scene.envoy, &as_tenant).await?.status == 400);

        scene
            .envoy
            .access_line("denied", Duration::from_secs(3))
            .await?;
        tokio::time::sleep(Duration::from_millis(300)).await;
        let records = logged_records(&scene.envoy);
        let (allowing, denying): (Vec<&Value>, Vec<&Value>) = records
            .iter()
            .partition(|record| record["decision"] == "allow");
        let expected = match log {
            "denied" => (0, 6),
            "all" => (1, 6),
            _ => (0, 0),
        };
        ensure!(
            (allowing.len(), denying.len()) == expected,
            "{log}: {records:#?}"
        );
        for record in &records {
            // And beside them, of a token of which nothing is proven, what it claims.
            let (claimed, found): (BTreeSet<String>, BTreeSet<String>) = names(record)
                .into_iter()
                .partition(|name| name.starts_with("claimed_"));
            ensure!(found == fields, "{log}: {found:?}");
            ensure!(
                claimed.is_empty() || record["provider"].is_null(),
                "{record}"
            );
            let forged = record["code"] == "signature_invalid";
            ensure!(!forged || claimed.len() == 3, "{record}");
            ensure!(
                record["status"].is_u64() && record["source"].is_string(),
                "{record}"
            );
        }
        if log == "none" {
            let line = scene
                .envoy
                .access_line("denied", Duration::from_secs(3))
                .await?;
            ensure!(
                line.scopegate
                    .is_none_or(|state| state.is_null() || state == "-")
            );
        } else {
            let (allow, deny) = (
                record_of(&scene.envoy, "allowed").await?,
                record_of(&scene.envoy, "denied").await?,
            );
            ensure!(names(&allow) == names(&deny), "{allow} {deny}");
            for (name, value) in [
                ("decision", json!("allow")),
                ("code", json!("allowed")),
                ("provider", json!("corporate")),
                ("subject", json!("reader-1")),
                ("key_id", json!("rsa-a")),
                ("organizations", json!(["acme"])),
                ("tenants", json!(["acme"])),
                ("endpoint", json!("/loki/api/v1/labels")),
                ("backend", json!("loki")),
                ("permission", json!("read")),
                ("scope", json!(null)),
            ] {
                ensure!(allow[name] == value, "{name}: {allow}");
            }
            ensure!(
                deny["code"] == "tenant_not_granted" && deny["status"] == 403,
                "{deny}"
            );
            ensure!(
                deny["subject"] == "reader-1" && deny["organizations"] == json!([]),
                "{deny}"
            );
            ensure!(
                deny["source"]
                    .as_str()
                    .is_some_and(|source| source.starts_with("127.0.0.1")),
                "{deny}"
            );
        }
        let everything = format!("{}{:?}", scene.envoy.log(), scene.envoy.access_log());
        for secret in secrets {
            for part in secret.split('.').filter(|part| part.len() > 30).skip(1) {
                ensure!(!everything.contains(&part[..30]), "{log}: a token in a log");
            }
        }
        drill::check_health(&scene.envoy).await?;
    }
    Ok(())
}

type Labels = &'static [(&'static str, &'static str)];

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::too_many_lines, reason = "one story, told in order")]
async fn metrics_carry_the_names_and_labels_of_the_design() -> Result<()> {
    let scene = drill::scene(drill::configuration()).await?;
    scene.corporate.add_key(PublishedKey::named("rsa-1024"));
    let token = drill::token_of("reader")?;
    for _ in 0..12 {
        ensure!(send(&scene.envoy, &read(&token, "acme")).await?.status == 200);
    }
    for tenant in ["globex", "nowhere"] {
        ensure!(send(&scene.envoy, &read(&token, tenant)).await?.status == 403);
    }
    ensure!(
        send(&scene.envoy, &RawRequest::get("/nothing"))
            .await?
            .status
            == 404
    );
    let forged = fresh(Recipe::of("reader").tamper(Tamper::FlipSignature))?;
    ensure!(send(&scene.envoy, &read(&forged, "acme")).await?.status == 401);
    let exact: [(&str, Labels, f64); 7] = [
        (
            "scopegate_decisions_total",
            &[
                ("decision", "allow"),
                ("code", "allowed"),
                ("backend", "loki"),
                ("permission", "read"),
            ],
            12.0,
        ),
        (
            "scopegate_decisions_total",
            &[
                ("decision", "deny"),
                ("code", "tenant_not_granted"),
                ("backend", "loki"),
                ("permission", "read"),
            ],
            2.0,
        ),
        (
            "scopegate_decisions_total",
            &[
                ("decision", "deny"),
                ("code", "route_not_listed"),
                ("backend", "none"),
                ("permission", "none"),
            ],
            1.0,
        ),
        (
            "scopegate_verify_total",
            &[
                ("provider", "corporate"),
                ("algorithm", "RS256"),
                ("result", "bad"),
            ],
            1.0,
        ),
        ("scopegate_jwks_keys", &[("provider", "corporate")], 2.0),
        ("scopegate_waiting_requests", &[], 0.0),
        ("scopegate_report_mode", &[], 0.0),
    ];
    let patience = Duration::from_secs(5);
    for (name, labels, value) in exact {
        drill::wait_for_metric(&scene.envoy, name, labels, patience, |found| found == value)
            .await?;
    }
    let hits = scene
        .envoy
        .metric("scopegate_token_cache_total", &[("result", "hit")])
        .await?;
    let misses = scene
        .envoy
        .metric("scopegate_token_cache_total", &[("result", "miss")])
        .await?;
    ensure!(
        hits + misses == 15.0 && (2.0..=3.0).contains(&misses),
        "{hits} hits, {misses} misses"
    );
    let fetched = [("provider", "corporate"), ("result", "ok")];
    ensure!(
        scene
            .envoy
            .metric("scopegate_jwks_fetch_total", &fetched)
            .await?
            == 1.0
    );
    let text = scene.envoy.prometheus_metrics().await?;
    let ours: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("scopegate_"))
        .collect();
    for name in [
        "scopegate_jwks_age_seconds{provider=\"corporate\"}",
        "scopegate_jwks_keys_skipped{provider=\"corporate\"}",
        "scopegate_report_mode{}",
        "scopegate_waiting_requests{}",
    ] {
        ensure!(
            ours.iter().any(|line| line.starts_with(name)),
            "{name} is not in {ours:#?}"
        );
    }
    for (name, kind) in [("decisions_total", "counter"), ("jwks_keys", "gauge")] {
        ensure!(
            text.contains(&format!("# TYPE scopegate_{name} {kind}")),
            "{name} is no {kind}"
        );
    }
    // Every label was taken out of the name, and none names a tenant or a caller.
    for line in &ours {
        let (name, labels) = line.split_once('{').context("labels")?;
        let clean = name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        ensure!(clean, "{line}");
        for word in ["acme", "globex", "nowhere", "reader-1", "="] {
            ensure!(word == "=" || !labels.contains(word), "{line}");
        }
    }
    drill::check_health(&scene.envoy).await
}

// ---- a module that is not there, or fails

#[tokio::test(flavor = "multi_thread")]
async fn without_a_working_module_nothing_passes() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let broken = [
        ("missing", None),
        ("empty", Some(Vec::new())),
        ("garbage", Some(b"this is no module".to_vec())),
        ("traps", Some(trapping_module())),
    ];
    for (name, bytes) in broken {
        let path = folder.path().join(format!("{name}.wasm"));
        if let Some(bytes) = bytes {
            std::fs::write(&path, bytes)?;
        }
        let settings = drill::settings(drill::configuration())?.sandboxed();
        let settings = settings.edit(move |bootstrap| {
            let vm_config = &mut bootstrap.scopegate()?["typed_config"]["config"]["vm_config"];
            vm_config["code"] = json!({"local": {"filename": path}});
            Ok(())
        });
        match start(settings).await {
            Err(error) => {
                let told = format!("{error:#}");
                ensure!(name != "traps", "{told}");
                ensure!(told.contains("has refused"), "{name}: {told}");
            }
            Ok(scene) => {
                for number in 0..20 {
                    let token = drill::token_of("admin")?;
                    let request = read(&token, "acme").header("x-scopegate-backend", "loki");
                    let reply = request.send(&scene.envoy.target(), BOTH[number % 2]).await;
                    if let Ok(reply) = reply {
                        ensure!(
                            reply.status == 503,
                            "{name}: {} {}",
                            reply.status,
                            reply.text()
                        );
                    }
                }
                ensure!(scene.log.count() == 0, "{name}: {:?}", scene.log.all());
                scene.envoy.check_alive()?;
            }
        }
    }
    Ok(())
}

/// A module that loads, and ends in a trap with each request: written by hand, section by section.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the module has less than a hundred bytes"
)]
fn trapping_module() -> Vec<u8> {
    let section = |id: u8, content: &[u8]| [&[id, content.len() as u8], content].concat();
    let export = |name: &str, kind: u8, index: u8| {
        [&[name.len() as u8], name.as_bytes(), &[kind, index]].concat()
    };
    let types = [
        &[3][..],
        &[0x60, 0, 0],
        &[0x60, 1, 0x7f, 1, 0x7f],
        &[0x60, 3, 0x7f, 0x7f, 0x7f, 1, 0x7f],
    ];
    let exports = [
        vec![4],
        export("memory", 2, 0),
        export("proxy_abi_version_0_2_1", 0, 0),
        export("proxy_on_memory_allocate", 0, 1),
        export("proxy_on_request_headers", 0, 2),
    ];
    // Nothing; the address 1024; `unreachable`.
    let bodies = [
        &[3][..],
        &[2, 0, 0x0b],
        &[5, 0, 0x41, 0x80, 0x08, 0x0b],
        &[3, 0, 0, 0x0b],
    ];
    [
        b"\0asm\x01\0\0\0".to_vec(),
        section(1, &types.concat()),
        section(3, &[3, 0, 1, 2]),
        section(5, &[1, 0, 1]),
        section(7, &exports.concat()),
        section(10, &bodies.concat()),
    ]
    .concat()
}

// ---- upgrades and gRPC

#[tokio::test(flavor = "multi_thread")]
async fn tail_is_a_websocket_through_the_gate() -> Result<()> {
    let scene = drill::scene(drill::configuration()).await?;
    drill::warm(&scene.envoy).await?;
    let bearer = format!("Bearer {}", drill::token_of("reader")?);
    let path = "/loki/api/v1/tail?query=%7Bapp%3D%22a%22%7D&limit=5";
    let good = [
        ("authorization", bearer.as_str()),
        ("x-scope-orgid", "acme"),
        ("x-test-id", "tail"),
    ];
    let Handshake::Open(mut socket) = websocket::open(scene.envoy.address(), path, &good).await?
    else {
        bail!("refused");
    };
    let greeting = socket.next().await.context("a greeting")??;
    ensure!(greeting.to_text()?.contains(path), "{greeting:?}");
    for number in 0..20 {
        let message = if number % 2 == 0 {
            Message::text(format!("line {number}"))
        } else {
            Message::binary(vec![number; 10_000])
        };
        socket.send(message.clone()).await?;
        ensure!(socket.next().await.context("an echo")?? == message);
    }
    socket.close().await?;
    let seen = scene.log.take("tail");
    ensure!(
        seen.len() == 1 && seen[0].header("x-scope-orgid") == [b"acme"],
        "{seen:?}"
    );
    ensure!(seen[0].header("authorization").is_empty(), "{seen:?}");

    let both = [
        ("authorization", bearer.as_str()),
        ("x-scope-orgid", "acme|globex"),
    ];
    for (path, headers, status) in [
        (path, &good[1..], 401),
        (path, &good[..1], 400),
        (path, &both[..], 400),
        ("/loki/api/v1/query_range", &good[..2], 400),
        ("/prometheus/api/v1/query", &good[..2], 400),
        ("/nothing", &good[..2], 404),
    ] {
        match websocket::open(scene.envoy.address(), path, headers).await? {
            Handshake::Open(_) => bail!("{path} {headers:?} was let through"),
            Handshake::Refused(answer) => {
                ensure!(
                    answer.status().as_u16() == status,
                    "{path} {headers:?}: {answer:?}"
                );
            }
        }
    }
    ensure!(
        scene
            .log
            .all()
            .iter()
            .all(|seen| !seen.path.contains("tail"))
    );
    drill::check_health(&scene.envoy).await
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::too_many_lines, reason = "one story, told in order")]
async fn a_real_grpc_client_is_served_and_refused_in_its_own_terms() -> Result<()> {
    let mut configuration = drill::configuration();
    configuration["backends"]["mimir"] = json!({"enabled": false});
    let scene = drill::scene(configuration).await?;
    drill::warm(&scene.envoy).await?;
    let client = GrpcClient::connect(scene.envoy.address()).await?;
    let reader = format!("Bearer {}", drill::token_of("reader")?);
    let writer = format!("Bearer {}", drill::token_of("agent")?);
    let expired = format!("Bearer {}", fresh(Recipe::of("agent").exp_in(-600.0))?);
    let metadata =
        |authorization, tenant| [("authorization", authorization), ("x-scope-orgid", tenant)];
    for (path, cluster) in [
        (grpc::EXPORT_TRACES, "tempo_otlp_grpc"),
        (grpc::EXPORT_LOGS, "loki_grpc"),
    ] {
        let id = [("x-test-id", cluster)];
        let metadata = [&metadata(writer.as_str(), "acme")[..], &id].concat();
        let message = ExportRequest {
            resources: vec![vec![7; 70_000]],
        };
        let _: ExportResponse = client.unary(path, &metadata, message).await?;
        let seen = scene.log.take(cluster);
        ensure!(seen.len() == 1 && seen[0].backend == cluster, "{seen:?}");
        ensure!(
            seen[0].body_length > 70_000 && seen[0].header("x-scope-orgid") == [b"acme"],
            "{seen:?}"
        );
        ensure!(seen[0].header("authorization").is_empty(), "{seen:?}");
    }
    let replies: Vec<SearchResponse> = client
        .server_streaming(
            grpc::SEARCH,
            &metadata(reader.as_str(), "acme"),
            SearchRequest::default(),
        )
        .await?;
    ensure!(
        replies.len() == 2 && replies[1].traces[0].root_service_name == "acme",
        "{replies:?}"
    );
    let before = scene.log.count();
    for (path, authorization, tenant, code) in [
        (grpc::EXPORT_TRACES, "", "acme", Code::Unauthenticated),
        (
            grpc::EXPORT_TRACES,
            expired.as_str(),
            "acme",
            Code::Unauthenticated,
        ),
        (
            grpc::EXPORT_TRACES,
            writer.as_str(),
            "globex",
            Code::PermissionDenied,
        ),
        (
            grpc::EXPORT_TRACES,
            reader.as_str(),
            "acme",
            Code::PermissionDenied,
        ),
        (
            grpc::EXPORT_TRACES,
            writer.as_str(),
            "",
            Code::InvalidArgument,
        ),
        (
            grpc::EXPORT_TRACES,
            writer.as_str(),
            "acme|globex",
            Code::InvalidArgument,
        ),
        (
            "/opentelemetry.proto.collector.trace.v1.TraceService/Other",
            writer.as_str(),
            "acme",
            Code::Unimplemented,
        ),
        (
            "/tempopb.Querier/SearchRecent",
            reader.as_str(),
            "acme",
            Code::Unimplemented,
        ),
        (
            "/loki/api/v1/labels",
            reader.as_str(),
            "acme",
            Code::Unimplemented,
        ),
        (
            grpc::EXPORT_METRICS,
            writer.as_str(),
            "acme",
            Code::Unavailable,
        ),
    ] {
        let metadata: Vec<(&str, &str)> = metadata(authorization, tenant)
            .into_iter()
            .filter(|(_, value)| !value.is_empty())
            .collect();
        let refused: Result<Anything, _> = client
            .unary(path, &metadata, ExportRequest::default())
            .await;
        let status = refused
            .err()
            .with_context(|| format!("{path} {tenant} passed"))?;
        ensure!(status.code() == code, "{path} {tenant}: {status:?}");
        ensure!(!status.message().is_empty(), "{path} {tenant}: no message");
    }
    ensure!(scene.log.count() == before, "a refused call passed");
    drill::check_health(&scene.envoy).await
}

#[tokio::test(flavor = "multi_thread")]
async fn large_bodies_stream_through_and_refused_ones_do_not_stall() -> Result<()> {
    let scene = drill::scene(drill::configuration()).await?;
    drill::warm(&scene.envoy).await?;
    let agent = drill::token_of("agent")?;
    let reader = drill::token_of("reader")?;
    for protocol in BOTH {
        let push = |token: &str, id: &str| {
            RawRequest::post("/loki/api/v1/push", vec![b'x'; 3_000_000])
                .header("x-test-id", id)
                .bearer(token)
                .tenant("acme")
        };
        let start = Instant::now();
        let reply = push(&agent, "large")
            .send(&scene.envoy.target(), protocol)
            .await?;
        ensure!(reply.status == 200, "{}", reply.text());
        ensure!(scene.log.take("large")[0].body_length == 3_000_000);
        let reply = push(&reader, "refused")
            .send(&scene.envoy.target(), protocol)
            .await?;
        ensure!(reply.status == 403, "{}", reply.text());
        ensure!(scene.log.take("refused").is_empty());
        ensure!(start.elapsed() < Duration::from_secs(10));
    }
    drill::check_health(&scene.envoy).await
}

const SEED: u64 = 0x5c09_e6a7;
