//! The harness itself: before it judges the gate, it must be known to report the truth.

#![allow(clippy::expect_used, clippy::unwrap_used)]

use std::path::Path;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use integration::adapter::MimirAdapter;
use integration::client::h1;
use integration::client::h2::{self, Piece};
use integration::client::websocket::{self, Handshake};
use integration::client::{self, Protocol, RawRequest, Target};
use integration::envoy::{Envoy, EnvoySettings, Update};
use integration::grpc::{self, GrpcClient, SearchRequest, SearchResponse};
use integration::issuer::{AnswerMode, Issuer, IssuerSettings, PublishedKey};
use integration::prometheus::{Prometheus, PrometheusSettings};
use integration::remote_write;
use integration::replay::denial_code;
use integration::scene::Scene;
use integration::token::{Recipe, Tamper, now};
use integration::upstream::{Behaviour, Upstream, UpstreamLog};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

const BOTH: [Protocol; 2] = [Protocol::H1, Protocol::H2];

/// The claims, if an independent library finds the token good against the issuer's own documents.
async fn verified(issuer: &Issuer, token: &str) -> Result<Value, jsonwebtoken::errors::Error> {
    let jwks = client::get(issuer.address(), "/jwks")
        .await
        .expect("jwks")
        .json()
        .expect("json");
    let header = jsonwebtoken::decode_header(token)?;
    let keys: jsonwebtoken::jwk::JwkSet = serde_json::from_value(jwks).expect("a JWK set");
    let jwk = keys
        .find(header.kid.as_deref().unwrap_or_default())
        .expect("published");
    let mut validation = jsonwebtoken::Validation::new(header.alg);
    validation.set_audience(&["observability"]);
    validation.set_issuer(&[issuer.issuer()]);
    let key = jsonwebtoken::DecodingKey::from_jwk(jwk)?;
    Ok(jsonwebtoken::decode::<Value>(token, &key, &validation)?.claims)
}

#[tokio::test]
async fn tokens_verify_against_the_published_keys_for_every_algorithm() {
    let issuer = Issuer::corporate().await.expect("issuer");
    let own = Recipe::of("reader");
    let recipes = [
        own.clone(),
        own.clone().key("p256-a"),
        own.clone().key("p384-a"),
        own.clone().key("ed25519-a"),
        own.clone().key("rsa-b").kid("rs384").alg("RS384"),
        own.clone().key("rsa-b").kid("rs512").alg("RS512"),
        own.clone().key("rsa-b").kid("ps256").alg("PS256"),
        own.clone().key("rsa-b").kid("ps384").alg("PS384"),
        own.clone().key("rsa-b").kid("ps512").alg("PS512"),
    ];
    for recipe in recipes {
        let token = issuer.token(recipe.clone()).expect("token");
        let claims = verified(&issuer, &token)
            .await
            .unwrap_or_else(|error| panic!("{recipe:?}: {error}"));
        assert_eq!(claims["sub"], "reader-1");
    }
}

#[tokio::test]
async fn hostile_tokens_do_not_verify() {
    let issuer = Issuer::corporate().await.expect("issuer");
    let own = Recipe::of("reader");
    let recipes = [
        own.clone().exp_in(-120.0),
        own.clone().tamper(Tamper::FlipSignature),
        own.clone().tamper(Tamper::FlipPayload),
        own.clone().tamper(Tamper::EmptySignature),
        own.clone().tamper(Tamper::TrailingBits),
        own.clone().key("p256-a").tamper(Tamper::DerSignature),
        own.clone().key("p256-a").tamper(Tamper::ZeroSignature),
        own.clone().key("rsa-stranger").kid("rsa-a"),
    ];
    for recipe in recipes {
        let token = recipe.text(now()).expect("token");
        assert!(verified(&issuer, &token).await.is_err(), "{recipe:?}");
    }
    // The second spelling of an ECDSA signature is a good one (RFC 7515 does not ask for low s).
    let token = own
        .key("p256-a")
        .tamper(Tamper::HighS)
        .text(now())
        .expect("token");
    verified(&issuer, &token).await.expect("high s");
}

#[tokio::test]
async fn issuer_serves_discovery_and_tokens() {
    let settings = IssuerSettings::corporate()
        .client("agent-acme", "s3cret&=", "agent")
        .user("rita", "pw", "reader");
    let issuer = Issuer::start(settings).await.expect("issuer");
    let discovery = client::get(
        issuer.address(),
        "/realms/platform/.well-known/openid-configuration",
    )
    .await;
    let discovery = discovery.expect("discovery").json().expect("json");
    assert_eq!(
        discovery["issuer"],
        "https://login.example.com/realms/platform"
    );
    let jwks_uri = discovery["jwks_uri"].as_str().expect("jwks_uri");
    assert_eq!(
        jwks_uri,
        "https://login.example.com/realms/platform/protocol/openid-connect/certs"
    );

    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", "agent-acme"),
        ("client_secret", "s3cret&="),
    ];
    let answer = client::post_form(issuer.address(), "/token", &form)
        .await
        .expect("token");
    let token = answer.json().expect("json")["access_token"]
        .as_str()
        .expect("token")
        .to_owned();
    assert_eq!(
        verified(&issuer, &token).await.expect("good")["azp"],
        "agent-acme"
    );

    let form = [
        ("grant_type", "password"),
        ("username", "rita"),
        ("password", "pw"),
    ];
    let answer = client::post_form(issuer.address(), "/token", &form)
        .await
        .expect("token");
    let token = answer.json().expect("json")["access_token"]
        .as_str()
        .expect("token")
        .to_owned();
    assert_eq!(
        verified(&issuer, &token).await.expect("good")["sub"],
        "reader-1"
    );

    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", "agent-acme"),
        ("client_secret", "wrong"),
    ];
    assert_eq!(
        client::post_form(issuer.address(), "/token", &form)
            .await
            .expect("answer")
            .status,
        401
    );
    assert_eq!(issuer.fetches().token, 3);
}

#[tokio::test]
async fn issuer_misbehaves_as_told() {
    let issuer = Issuer::corporate().await.expect("issuer");
    let fetch = || client::get(issuer.address(), "/jwks");
    for (mode, status) in [
        (AnswerMode::Status(500), 500),
        (AnswerMode::Redirect, 302),
        (AnswerMode::TooManyRequests, 429),
        (AnswerMode::Html, 200),
        (AnswerMode::EmptySet, 200),
        (AnswerMode::Delay(20), 200),
        (AnswerMode::ManyKeys(100), 200),
        (AnswerMode::Raw("{}".into()), 200),
        (AnswerMode::Huge, 200),
    ] {
        issuer.set_answer(mode.clone());
        assert_eq!(fetch().await.expect("answer").status, status, "{mode:?}");
    }
    assert!(fetch().await.expect("answer").body.len() > 5 * 1024 * 1024);
    for mode in [AnswerMode::Reset, AnswerMode::Cut] {
        issuer.set_answer(mode.clone());
        assert!(fetch().await.is_err(), "{mode:?}");
    }
    issuer.set_answer(AnswerMode::Hang);
    assert!(
        tokio::time::timeout(Duration::from_millis(200), fetch())
            .await
            .is_err()
    );

    issuer.set_answer(AnswerMode::Good);
    let held = AnswerMode::Held(Box::new(AnswerMode::Status(502)));
    issuer.answer_first([AnswerMode::Status(500), held]);
    assert_eq!(fetch().await.expect("answer").status, 500);
    let release = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        issuer.release();
    };
    let ((), answer) = tokio::join!(release, fetch());
    assert_eq!(answer.expect("answer").status, 502);
    issuer.set_cache_control(Some("no-store"));
    assert_eq!(
        fetch()
            .await
            .expect("answer")
            .header("cache-control")
            .as_deref(),
        Some("no-store")
    );
    issuer.down().await;
    assert!(fetch().await.is_err(), "the port is closed");
    issuer.up().await.expect("up");
    assert_eq!(fetch().await.expect("answer").status, 200);

    let kids = |document: Value| -> Vec<String> {
        let keys = document["keys"].as_array().cloned().unwrap_or_default();
        keys.iter()
            .map(|key| key["kid"].as_str().unwrap_or_default().to_owned())
            .collect()
    };
    issuer.remove_key("rsa-a");
    issuer.add_key(PublishedKey::named("rsa-b").with_kid("next"));
    issuer.replace_key("p256-a", "p256-b");
    let document = fetch().await.expect("answer").json().expect("json");
    let kids = kids(document.clone());
    assert!(!kids.contains(&"rsa-a".to_owned()) && kids.contains(&"next".to_owned()));
    let p256_b = integration::keys::key("p256-b").expect("key").jwk();
    assert_eq!(document["keys"][0]["x"], p256_b["x"]);
}

#[tokio::test]
async fn upstream_records_repeats_and_bytes_that_are_no_text() {
    let log = UpstreamLog::new();
    let upstream = Upstream::start("loki", &log).await.expect("upstream");
    for (number, protocol) in BOTH.into_iter().enumerate() {
        let id = format!("test-{number}");
        // hyper's HTTP/2 server refuses unescaped quotes; our HTTP/1.1 one must not.
        let path = match protocol {
            Protocol::H1 => "/loki/api/v1/query_range?query={a=\"b\"}",
            Protocol::H2 => "/loki/api/v1/query_range?query=%7Ba%3D%22b%22%7D",
        };
        let request = RawRequest::post(path, "x=1")
            .header("x-test-id", id.as_str())
            .header("x-twice", "one")
            .header("x-twice", "two")
            .header("x-bytes", b"\xff\xfe".to_vec());
        let reply = request
            .send(&Target::plain(upstream.address()), protocol)
            .await
            .expect("answer");
        assert_eq!(reply.status, 200);
        assert_eq!(reply.header("x-echo").as_deref(), Some("loki"));
        assert_eq!(reply.json().expect("json")["path"], path);
        let seen = log.take(&id);
        assert_eq!(seen.len(), 1);
        assert_eq!(seen[0].header("x-twice"), [b"one", b"two"]);
        assert_eq!(seen[0].header("x-bytes"), [b"\xff\xfe"]);
        assert_eq!(seen[0].body, b"x=1");
        assert!(seen[0].complete);
    }
    assert!(log.take("test-0").is_empty());

    let request = RawRequest::post("/", "").header("x-test-id", "trailing");
    let target = Target::plain(upstream.address());
    let last = [(Duration::ZERO, b"0\r\nX: y\r\n\r\n".to_vec())];
    let reply = h1::exchange_pieces(&target, &h1::chunked(request.clone()), &last).await;
    assert_eq!(reply.expect("answer").status, 200);
    let last = [Piece::Trailers(vec![(b"x".to_vec(), b"y".to_vec())])];
    let reply = h2::exchange_pieces(&target, &request, &last).await;
    assert_eq!(reply.expect("answer").status, 200);
    let seen = log.take("trailing");
    assert_eq!(seen.len(), 2);
    for seen in seen {
        assert_eq!(seen.trailers, [("x".to_owned(), b"y".to_vec())]);
    }

    let request = RawRequest::get("/").header("x-test-id", "slow");
    upstream.behave(Behaviour::SlowStream {
        chunks: 3,
        interval: Duration::from_millis(10),
    });
    let reply = request
        .send(&Target::plain(upstream.address()), Protocol::H1)
        .await
        .expect("answer");
    assert_eq!(reply.text(), "chunk 0\nchunk 1\nchunk 2\n");
    upstream.behave(Behaviour::Close);
    request
        .send(&Target::plain(upstream.address()), Protocol::H1)
        .await
        .expect_err("closed");
    upstream.behave(Behaviour::Answer {
        status: 503,
        headers: vec![],
        body: "no".into(),
    });
    let reply = request
        .send(&Target::plain(upstream.address()), Protocol::H2)
        .await
        .expect("answer");
    assert_eq!((reply.status, reply.text().as_str()), (503, "no"));
}

#[tokio::test]
async fn large_bodies_and_heads_pass_both_clients() {
    let log = UpstreamLog::new();
    let upstream = Upstream::start("loki", &log).await.expect("upstream");
    for protocol in BOTH {
        let request =
            RawRequest::post("/", vec![b'x'; 1_000_000]).header("x-long", "y".repeat(40_000));
        let reply = request
            .send(&Target::plain(upstream.address()), protocol)
            .await
            .expect("answer");
        assert_eq!(reply.json().expect("json")["body_length"], 1_000_000);
    }
}

/// The shipped Envoy without the gate, which lets a test name its backend.
async fn ungated(settings: EnvoySettings, log: &UpstreamLog) -> (Envoy, Vec<Upstream>) {
    let mut upstreams = Vec::new();
    let mut settings = settings;
    for name in ["loki", "tempo", "tempo_grpc"] {
        let upstream = Upstream::start(name, log).await.expect("upstream");
        settings = settings.cluster(name, upstream.address());
        upstreams.push(upstream);
    }
    (Envoy::start(settings).await.expect("envoy"), upstreams)
}

#[tokio::test]
async fn envoy_starts_routes_and_leaves_nothing_behind() {
    let log = UpstreamLog::new();
    let (envoy, _upstreams) = ungated(EnvoySettings::shipped().expect("bootstrap"), &log).await;
    for protocol in BOTH {
        let id = format!("{protocol:?}");
        let request = RawRequest::get("/loki/api/v1/labels")
            .header("x-scopegate-backend", "loki")
            .header("x-bytes", b"\xff\xfe".to_vec())
            .header("x-test-id", id.as_str());
        let reply = request
            .send(&envoy.target(), protocol)
            .await
            .expect("answer");
        assert_eq!(reply.status, 200, "{}", reply.text());
        assert_eq!(log.take(&id)[0].header("x-bytes"), [b"\xff\xfe"]);
        let line = envoy
            .access_line(&id, Duration::from_secs(2))
            .await
            .expect("access log");
        assert_eq!(
            (line.status, line.cluster.as_deref()),
            (Some(200), Some("loki"))
        );
        assert_eq!(line.details.as_deref(), Some("via_upstream"));
    }
    let refused = RawRequest::get("/loki/api/v1/labels")
        .send(&envoy.target(), Protocol::H1)
        .await;
    assert_eq!(refused.expect("answer").status, 404);
    assert!(envoy.stats().await.expect("stats")["http.observability.downstream_rq_total"] >= 3);
    assert!(
        envoy
            .prometheus_metrics()
            .await
            .expect("metrics")
            .contains("envoy_server_live")
    );
    assert!(envoy.log_contains("starting main dispatch loop"));

    let process = format!("/proc/{}", envoy.id());
    assert!(Path::new(&process).exists());
    drop(envoy);
    assert!(!Path::new(&process).exists());
}

#[tokio::test]
async fn envoy_serves_tls_grpc_and_websockets() {
    let log = UpstreamLog::new();
    let settings = EnvoySettings::shipped()
        .expect("bootstrap")
        .tls()
        .expect("certificate");
    let (envoy, _upstreams) = ungated(settings, &log).await;
    for protocol in BOTH {
        let request = RawRequest::get("/loki/api/v1/labels").header("x-scopegate-backend", "loki");
        assert_eq!(
            request
                .send(&envoy.target(), protocol)
                .await
                .expect("answer")
                .status,
            200
        );
    }
    envoy.stop().await.expect("an orderly end");

    let (envoy, _upstreams) = ungated(EnvoySettings::shipped().expect("bootstrap"), &log).await;
    let client = GrpcClient::connect(envoy.address()).await.expect("grpc");
    let metadata = [
        ("x-scopegate-backend", "tempo"),
        ("x-scope-orgid", "acme"),
        ("x-test-id", "grpc"),
    ];
    let search = SearchRequest {
        query: "{}".into(),
        ..SearchRequest::default()
    };
    let replies: Vec<SearchResponse> = client
        .server_streaming(grpc::SEARCH, &metadata, search)
        .await
        .expect("stream");
    assert_eq!(replies.len(), 2);
    assert_eq!(replies[0].traces[0].root_service_name, "acme");
    assert_eq!(log.take("grpc")[0].backend, "tempo_grpc");

    let headers = [("x-scopegate-backend", "loki")];
    let handshake = websocket::open(
        envoy.address(),
        "/loki/api/v1/tail?query=%7Ba%3D%22b%22%7D",
        &headers,
    )
    .await;
    let Handshake::Open(mut socket) = handshake.expect("handshake") else {
        panic!("the handshake was refused")
    };
    let greeting = socket.next().await.expect("greeting").expect("frame");
    assert!(
        greeting
            .to_text()
            .expect("text")
            .contains("/loki/api/v1/tail")
    );
    socket.send(Message::text("hello")).await.expect("send");
    assert_eq!(
        socket.next().await.expect("echo").expect("frame"),
        Message::text("hello")
    );
}

#[tokio::test]
async fn envoy_takes_a_new_listener_while_running_and_names_what_it_rejects() {
    let log = UpstreamLog::new();
    let settings = EnvoySettings::shipped().expect("bootstrap").dynamic();
    let (envoy, _upstreams) = ungated(settings, &log).await;
    let request = RawRequest::get("/").header("x-scopegate-backend", "loki");
    assert_eq!(
        request
            .send(&envoy.target(), Protocol::H1)
            .await
            .expect("answer")
            .status,
        200
    );
    let update = envoy
        .replace_listener(|listener| {
            let manager = integration::envoy::bootstrap::connection_manager(listener)?;
            manager["route_config"]["virtual_hosts"][0]["routes"] =
                json!([{"match": {"prefix": "/"}, "direct_response": {"status": 418}}]);
            Ok(())
        })
        .await;
    assert_eq!(update.expect("update"), Update::Accepted);
    assert_eq!(
        request
            .send(&envoy.target(), Protocol::H1)
            .await
            .expect("answer")
            .status,
        418
    );
    let update = envoy
        .replace_listener(|listener| {
            let manager = integration::envoy::bootstrap::connection_manager(listener)?;
            manager["http_filters"] = json!([{"name": "no.such.filter"}]);
            Ok(())
        })
        .await;
    assert!(matches!(update.expect("update"), Update::Rejected(_)));
    assert_eq!(
        request
            .send(&envoy.target(), Protocol::H1)
            .await
            .expect("answer")
            .status,
        418
    );
}

#[tokio::test]
async fn envoy_that_cannot_start_says_why() {
    let settings = EnvoySettings::shipped()
        .expect("bootstrap")
        .edit(|bootstrap| {
            bootstrap.value()["no_such_field"] = json!(1);
            Ok(())
        });
    let error = Envoy::start(settings).await.err().expect("refused");
    assert!(format!("{error:#}").contains("no_such_field"), "{error:#}");
}

#[tokio::test]
async fn prometheus_takes_samples_and_answers_queries() {
    let settings = PrometheusSettings::receiver().route_prefix("/prometheus");
    let prometheus = Prometheus::start(settings).await.expect("prometheus");
    let body = remote_write::request(&[("harness_sample", &[("who", "test")], 42.0)]);
    let request = RawRequest::post("/prometheus/api/v1/write", body)
        .header("content-type", "application/x-protobuf")
        .header("content-encoding", "snappy")
        .header("x-prometheus-remote-write-version", "0.1.0");
    let reply = request
        .send(&Target::plain(prometheus.address()), Protocol::H1)
        .await
        .expect("answer");
    assert!(matches!(reply.status, 200 | 204), "{}", reply.text());
    assert_eq!(
        prometheus.value("harness_sample").await.expect("query"),
        Some(42.0)
    );

    let adapter = MimirAdapter::start(prometheus.address())
        .await
        .expect("adapter");
    let target = Target::plain(adapter.address());
    let body = remote_write::request(&[("harness_sample", &[("who", "adapter")], 43.0)]);
    let push = RawRequest::post("/api/v1/push", body)
        .header("content-type", "application/x-protobuf")
        .header("content-encoding", "snappy")
        .header("x-prometheus-remote-write-version", "0.1.0")
        .tenant("acme");
    let reply = push.send(&target, Protocol::H1).await.expect("answer");
    assert!(matches!(reply.status, 200 | 204), "{}", reply.text());
    let path = r#"/prometheus/api/v1/query?query=harness_sample{who="adapter"}"#;
    let read = RawRequest::get(path).tenant("acme");
    let reply = read.send(&target, Protocol::H1).await.expect("answer");
    assert!(reply.text().contains("\"43\""), "{}", reply.text());
    let passed = adapter.passed();
    assert_eq!(passed[0].path, "/api/v1/push");
    assert_eq!(passed[0].tenant.as_deref(), Some("acme"));

    let process = format!("/proc/{}", prometheus.id());
    drop(prometheus);
    assert!(!Path::new(&process).exists());
}

#[tokio::test]
async fn a_stage_tells_which_cluster_a_request_reached() {
    let corporate = Issuer::corporate().await.expect("issuer");
    let settings = EnvoySettings::shipped().expect("bootstrap");
    let scene = Scene::start_with(settings, corporate).await.expect("scene");
    for (path, cluster) in [
        ("/v1/traces", "tempo_otlp_http"),
        ("/api/search", "tempo"),
        ("/tempopb.StreamingQuerier/Search", "tempo_grpc"),
    ] {
        let request = RawRequest::post(path, "")
            .header("x-scopegate-backend", "tempo")
            .header("x-test-id", cluster);
        let reply = request.send(&scene.envoy.target(), Protocol::H2).await;
        assert_eq!(reply.expect("answer").status, 200);
        assert_eq!(scene.log.take(cluster)[0].backend, cluster);
    }
    assert!(scene.upstream("loki").is_ok());
    assert_eq!(
        denial_code("scopegate{token_expired}"),
        Some("token_expired")
    );
}
