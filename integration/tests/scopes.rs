//! Scoped requests in the real Envoy, as far as a table of requests and answers cannot express them: bodies in
//! pieces, trailers, limits, waits, early answers. What a form may hold is in `scenarios/13-scopes.yaml`.
//!
//! The rule behind every test: a backend gets either the complete scoped form, or not a byte of the caller's
//! parameters.

#![allow(clippy::expect_used)]
#![expect(clippy::float_cmp, reason = "what is compared is whole numbers")]

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use futures_util::StreamExt;
use integration::client::h1::{self, at_once, chunk, chunked};
use integration::client::h2::{self, Piece};
use integration::client::websocket::{self, Handshake};
use integration::client::{Protocol, RawRequest, Reply};
use integration::drill::{self, fresh};
use integration::envoy::{AccessLine, EnvoySettings};
use integration::issuer::{AnswerMode, Issuer};
use integration::replay::denial_code;
use integration::scenario;
use integration::scene::Scene;
use integration::token::Recipe;
use integration::upstream::{Behaviour, Seen};
use scopegate::authz::endpoint::{Endpoints, Scoping, Surface};
use serde_json::{Value, json};

const QUERY: &str = "/loki/api/v1/query";
const FORM: &str = "application/x-www-form-urlencoded";
const GOOD: &str = "query=%7Bapp%3D%22a%22%7D&time=1";
const SCOPED: &str = "query=%7Bnamespace%3D%22web%22%2Capp%3D%22a%22%7D&time=1";
/// What no backend may ever see of a refused form.
const BAD: &str = "query=%7Bapp%3D%22secret%22%7D&query=%7Bapp%3D%22secret%22%7D";

/// Issuer, upstreams and Envoy with the configuration of the scoped scenarios, changed by `change`, and their keys.
async fn scene(
    change: impl FnOnce(&mut Value),
    edit: impl FnOnce(EnvoySettings) -> EnvoySettings,
) -> Result<Scene> {
    let mut configuration = scenario::config("scopes")?;
    change(&mut configuration);
    let reports = configuration["mode"] == "report";
    let settings = edit(drill::settings(configuration)?);
    let scene = Scene::start_with(settings, Issuer::corporate().await?).await?;
    drill::warm(&scene.envoy).await?;
    if reports {
        // Everything passes there, with keys or without: each worker takes them over on its own tick.
        scene.corporate.wait_for_fetches(1, PATIENCE).await?;
        tokio::time::sleep(Duration::from_millis(1_500)).await;
    }
    Ok(scene)
}

fn buffer_limit(bytes: usize) -> impl FnOnce(EnvoySettings) -> EnvoySettings {
    move |settings| {
        settings.edit(move |bootstrap| {
            bootstrap.listener()?["per_connection_buffer_limit_bytes"] = json!(bytes);
            Ok(())
        })
    }
}

fn token(groups: &[&str]) -> Result<String> {
    fresh(Recipe::of("reader").claim("groups", json!(groups)))
}

/// A scoped caller's request with that id; a POST says that it has a form.
fn request(method: &str, path: &str, id: &str) -> Result<RawRequest> {
    let request = RawRequest::new(method, path)
        .bearer(&token(&["web"])?)
        .tenant("acme")
        .header("x-test-id", id);
    Ok(match method {
        "POST" => request.header("content-type", FORM),
        _ => request,
    })
}

/// The request of that id came whole, once, with that path and body, and with no length but the right one.
async fn check_passed(scene: &Scene, id: &str, path: &str, body: &str) -> Result<Seen> {
    let seen = scene.log.wait_for(id, PATIENCE).await?;
    ensure!(scene.log.seen(id).len() == 1, "{id} came more than once");
    ensure!(seen.path == path, "{id}: path {}", seen.path);
    let came = String::from_utf8_lossy(&seen.body);
    ensure!(came == body, "{id}: body {came}");
    let lengths = seen.header("content-length");
    let length = body.len().to_string();
    ensure!(
        lengths.iter().all(|given| *given == length.as_bytes()) && lengths.len() <= 1,
        "{id}: content-length {lengths:?} of {length}"
    );
    Ok(seen)
}

/// No backend saw more of the request than a head without a query.
fn check_nothing(scene: &Scene, id: &str) -> Result<()> {
    for seen in scene.log.seen(id) {
        ensure!(
            !seen.complete && seen.body.is_empty() && !seen.path.contains('?'),
            "{id}: {seen:?}"
        );
    }
    Ok(())
}

/// The audit record in a line of the access log, where it stands as text.
fn record(line: AccessLine) -> Result<Value> {
    let record = line.scopegate.context("an audit record")?;
    match record.as_str() {
        Some(text) => Ok(serde_json::from_str(text)?),
        None => Ok(record),
    }
}

async fn check_refused(
    scene: &Scene,
    id: &str,
    reply: &Reply,
    status: u16,
    code: &str,
) -> Result<()> {
    ensure!(
        reply.status == status,
        "{id}: {} {}",
        reply.status,
        reply.text()
    );
    let line = scene.envoy.access_line(id, PATIENCE).await?;
    let given = line.details.as_deref().and_then(denial_code);
    ensure!(given == Some(code), "{id}: {line:?}");
    let record = record(line)?;
    ensure!(
        record["decision"] == "deny" && record["code"] == code && record["status"] == status,
        "{id}: {record}"
    );
    settled().await;
    check_nothing(scene, id)
}

/// What would wrongly follow an answer has a moment to do so.
async fn settled() {
    tokio::time::sleep(Duration::from_millis(150)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_come_in_any_pieces() -> Result<()> {
    let scene = scene(|_| (), |settings| settings).await?;
    let target = scene.envoy.target();
    let pause = Duration::from_millis(3);

    let small = GOOD.as_bytes().chunks(3);
    let mut pieces: Vec<_> = small.clone().map(|piece| (pause, chunk(piece))).collect();
    pieces.push((pause, b"0\r\n\r\n".to_vec()));
    let chunks = chunked(request("POST", QUERY, "chunks")?);
    let reply = h1::exchange_pieces(&target, &chunks, &pieces).await?;
    ensure!(reply.status == 200, "{}", reply.text());
    check_passed(&scene, "chunks", QUERY, SCOPED).await?;

    let length = request("POST", QUERY, "length")?.header("content-length", GOOD.len().to_string());
    let pieces: Vec<_> = small.clone().map(|piece| (pause, piece.to_vec())).collect();
    let reply = h1::exchange_pieces(&target, &length, &pieces).await?;
    ensure!(reply.status == 200, "{}", reply.text());
    let seen = check_passed(&scene, "length", QUERY, SCOPED).await?;
    ensure!(seen.header("content-length").is_empty());

    // In the last frame, and in an empty one after it.
    for (id, last) in [("frames", true), ("empty-frame", false)] {
        let count = small.len();
        let mut pieces = Vec::new();
        for (number, piece) in small.clone().enumerate() {
            pieces.push(Piece::Data(piece.to_vec(), last && number + 1 == count));
            pieces.push(Piece::Pause(pause));
        }
        if !last {
            pieces.push(Piece::Data(Vec::new(), true));
        }
        let reply = h2::exchange_pieces(&target, &request("POST", QUERY, id)?, &pieces).await?;
        ensure!(reply.status == 200, "{id}: {}", reply.text());
        check_passed(&scene, id, QUERY, SCOPED).await?;
    }

    // A body of nothing: the parameters of the URL go into it.
    let path = format!("{QUERY}?{GOOD}");
    let empty = chunked(request("POST", &path, "no-chunk")?);
    let pieces = [(Duration::from_millis(50), b"0\r\n\r\n".to_vec())];
    let reply = h1::exchange_pieces(&target, &empty, &pieces).await?;
    ensure!(reply.status == 200, "{}", reply.text());
    check_passed(&scene, "no-chunk", QUERY, SCOPED).await?;
    let empty = request("POST", &path, "no-frame")?;
    let pieces = [Piece::Data(Vec::new(), true)];
    let reply = h2::exchange_pieces(&target, &empty, &pieces).await?;
    ensure!(reply.status == 200, "{}", reply.text());
    check_passed(&scene, "no-frame", QUERY, SCOPED).await?;

    // A GET that does not end with its head has a body, be it empty.
    let get = chunked(request("GET", &path, "get-chunks")?);
    let reply = h1::exchange_pieces(&target, &get, &[at_once("0\r\n\r\n")]).await?;
    check_refused(&scene, "get-chunks", &reply, 400, "body_not_expected").await?;
    let get = request("GET", &path, "get-frame")?;
    let pieces = [Piece::Data(Vec::new(), true)];
    let reply = h2::exchange_pieces(&target, &get, &pieces).await?;
    check_refused(&scene, "get-frame", &reply, 400, "body_not_expected").await?;

    // A bad form in pieces is refused at its end, after its head has gone.
    let pieces = BAD.as_bytes().chunks(7).map(|piece| (pause, chunk(piece)));
    let pieces: Vec<_> = pieces.chain([at_once("0\r\n\r\n")]).collect();
    let bad = chunked(request("POST", QUERY, "bad")?);
    let reply = h1::exchange_pieces(&target, &bad, &pieces).await?;
    check_refused(&scene, "bad", &reply, 400, "parameter_repeated").await?;

    let labels = [("code", "parameter_repeated")];
    let name = "scopegate_decisions_total";
    drill::wait_for_metric(&scene.envoy, name, &labels, PATIENCE, |count| count == 1.0).await?;
    drill::check_health(&scene.envoy).await
}

#[tokio::test(flavor = "multi_thread")]
async fn trailers_end_no_body() -> Result<()> {
    let scene = scene(|_| (), EnvoySettings::with_trailers).await?;
    let target = scene.envoy.target();
    let fields = vec![(b"x-late".to_vec(), b"1".to_vec())];
    let sent = |bytes: &str| Piece::Data(bytes.as_bytes().to_vec(), false);
    for (id, pieces) in [
        ("body", vec![sent(GOOD)]),
        (
            "slow",
            vec![sent(GOOD), Piece::Pause(Duration::from_millis(50))],
        ),
        ("nothing", vec![]),
        ("empty", vec![sent("")]),
        ("bad", vec![sent(BAD)]),
    ] {
        let mut pieces = pieces;
        pieces.push(Piece::Trailers(fields.clone()));
        let request = request("POST", QUERY, id)?;
        let reply = h2::exchange_pieces(&target, &request, &pieces).await?;
        check_refused(&scene, id, &reply, 400, "trailers_not_expected").await?;
    }
    for (id, body) in [
        ("h1-body", chunk(GOOD.as_bytes())),
        ("h1-nothing", Vec::new()),
    ] {
        let request = chunked(request("POST", QUERY, id)?);
        let pieces = [at_once(body), at_once("0\r\nx-late: 1\r\n\r\n")];
        let reply = h1::exchange_pieces(&target, &request, &pieces).await?;
        check_refused(&scene, id, &reply, 400, "trailers_not_expected").await?;
    }
    // Where nothing is scoped they are nobody's business.
    let free = RawRequest::new("POST", QUERY)
        .bearer(&token(&["acme-viewers"])?)
        .tenant("acme")
        .header("content-type", FORM)
        .header("x-test-id", "free");
    let pieces = [sent(BAD), Piece::Trailers(fields)];
    let reply = h2::exchange_pieces(&target, &free, &pieces).await?;
    ensure!(reply.status == 200, "{}", reply.text());
    check_passed(&scene, "free", QUERY, BAD).await?;
    drill::check_health(&scene.envoy).await
}

/// As shipped Envoy drops the trailers of HTTP/1.1, and the body is one like any other.
#[tokio::test(flavor = "multi_thread")]
async fn bodies_have_limits() -> Result<()> {
    let shipped = scene(|_| (), |settings| settings).await?;
    let trailing = chunked(request("POST", QUERY, "dropped")?);
    let pieces = [
        at_once(chunk(GOOD.as_bytes())),
        at_once("0\r\nx-late: 1\r\n\r\n"),
    ];
    let reply = h1::exchange_pieces(&shipped.envoy.target(), &trailing, &pieces).await?;
    ensure!(reply.status == 200, "{}", reply.text());
    check_passed(&shipped, "dropped", QUERY, SCOPED).await?;

    // Just at the limit, which is the shipped Envoy's own as well; what is unknown is left out.
    let start = format!("{GOOD}&x=");
    let full = format!("{start}{}", "a".repeat(262_144 - start.len()));
    let wide = scene(|_| (), buffer_limit(1024 * 1024)).await?;
    for (name, scene) in [("shipped", &shipped), ("wide", &wide)] {
        let id = format!("{name}-declared");
        let mut whole = request("POST", QUERY, &id)?;
        whole.body = full.clone().into_bytes();
        let reply = whole.send(&scene.envoy.target(), Protocol::H1).await?;
        ensure!(
            reply.status == 200,
            "{id}: {} {}",
            reply.status,
            reply.text()
        );
        check_passed(scene, &id, QUERY, SCOPED).await?;
        let id = format!("{name}-h2");
        let mut whole = request("POST", QUERY, &id)?;
        whole.body = full.clone().into_bytes();
        let reply = whole.send(&scene.envoy.target(), Protocol::H2).await?;
        ensure!(
            reply.status == 200,
            "{id}: {} {}",
            reply.status,
            reply.text()
        );
        check_passed(scene, &id, QUERY, SCOPED).await?;
        let id = format!("{name}-h2-over");
        let mut over = request("POST", QUERY, &id)?;
        over.body = format!("{full}b").into_bytes();
        let reply = over.send(&scene.envoy.target(), Protocol::H2).await?;
        check_refused(scene, &id, &reply, 413, "body_too_large").await?;
        let id = format!("{name}-undeclared");
        let over = chunked(request("POST", QUERY, &id)?);
        let body = [chunk(full.as_bytes()), chunk(b"b"), b"0\r\n\r\n".to_vec()].concat();
        let reply = h1::exchange_pieces(&scene.envoy.target(), &over, &[at_once(body)]).await?;
        ensure!(reply.status == 413, "{id}: {}", reply.status);
        settled().await;
        check_nothing(scene, &id)?;
    }
    let line = wide.envoy.access_line("wide-undeclared", PATIENCE).await?;
    let code = line.details.as_deref().and_then(denial_code);
    ensure!(code == Some("body_too_large"), "{line:?}");
    drill::check_health(&wide.envoy).await?;
    drill::check_health(&shipped.envoy).await
}

/// Envoy refuses what it cannot hold; a caller whose requests are not changed must not feel that.
#[tokio::test(flavor = "multi_thread")]
async fn a_small_buffer_refuses_scoped_bodies_only() -> Result<()> {
    let start = format!("{GOOD}&x=");
    let body = format!("{start}{}", "a".repeat(60_000));
    let small = scene(|_| (), buffer_limit(8 * 1024)).await?;
    let mut over = request("POST", QUERY, "small")?;
    over.body = body.clone().into_bytes();
    let reply = over.send(&small.envoy.target(), Protocol::H1).await?;
    ensure!(reply.status == 413, "{} {}", reply.status, reply.text());
    settled().await;
    check_nothing(&small, "small")?;
    drill::check_health(&small.envoy).await?;

    let report = scene(|it| it["mode"] = json!("report"), buffer_limit(8 * 1024)).await?;
    let mut over = request("POST", QUERY, "report")?;
    over.body = body.clone().into_bytes();
    let reply = over.send(&report.envoy.target(), Protocol::H1).await?;
    ensure!(
        reply.status == 200,
        "report: {} {}",
        reply.status,
        reply.text()
    );
    let seen = report.log.wait_for("report", PATIENCE).await?;
    ensure!(seen.body_length == body.len(), "{seen:?}");
    drill::check_health(&report.envoy).await
}

/// Half a form, and then nothing: Envoy would wait for minutes.
#[tokio::test(flavor = "multi_thread")]
async fn a_form_that_does_not_end_is_answered() -> Result<()> {
    let scene = scene(|_| (), |settings| settings).await?;
    let slow = chunked(request("POST", QUERY, "slow")?);
    let begun = tokio::time::Instant::now();
    let pieces = [
        at_once(chunk(&GOOD.as_bytes()[..9])),
        (Duration::from_secs(50), chunk(&GOOD.as_bytes()[9..])),
    ];
    let reply = h1::exchange_pieces(&scene.envoy.target(), &slow, &pieces).await?;
    let took = begun.elapsed();
    ensure!(reply.status == 408, "{} {}", reply.status, reply.text());
    ensure!(reply.text().contains("30 seconds"), "{}", reply.text());
    let bounds = Duration::from_secs(29)..Duration::from_secs(45);
    ensure!(bounds.contains(&took), "{took:?}");
    let line = scene.envoy.access_line("slow", PATIENCE).await?;
    let code = line.details.as_deref().and_then(denial_code);
    ensure!(code == Some("body_timeout"), "{line:?}");
    check_nothing(&scene, "slow")?;
    drill::check_health(&scene.envoy).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_never_ends_is_never_let_through() -> Result<()> {
    let scene = scene(|_| (), |settings| settings).await?;
    let target = scene.envoy.target();

    // The caller goes away in the middle.
    for (id, half) in [("gone", &GOOD[..10]), ("gone-whole", GOOD)] {
        let head = chunked(request("POST", QUERY, id)?);
        let bytes = [h1::serialized(&head), chunk(half.as_bytes())].concat();
        h1::abandon(&target, &bytes, Duration::from_millis(200)).await?;
    }
    // Of a caller whose forms are not changed a backend sees that much: it would show here.
    let free = chunked(RawRequest::new("POST", QUERY))
        .bearer(&token(&["acme-viewers"])?)
        .tenant("acme")
        .header("x-test-id", "free");
    let bytes = [h1::serialized(&free), chunk(&GOOD.as_bytes()[..10])].concat();
    h1::abandon(&target, &bytes, Duration::from_millis(200)).await?;
    let declared = request("POST", QUERY, "gone-declared")?.header("content-length", "100");
    let bytes = [h1::serialized(&declared), GOOD.into()].concat();
    h1::abandon(&target, &bytes, Duration::from_millis(200)).await?;

    // The backend answers before there is a body, and then the rest comes.
    for status in [200, 500] {
        scene.upstream("loki")?.behave(Behaviour::Early(status));
        for (kind, body) in [("good", GOOD), ("bad", BAD)] {
            let id = format!("early-{status}-{kind}");
            let early = chunked(request("POST", QUERY, &id)?);
            let (first, rest) = body.split_at(9);
            let pieces = [
                at_once(chunk(first.as_bytes())),
                (Duration::from_millis(300), chunk(rest.as_bytes())),
                at_once("0\r\n\r\n"),
            ];
            let reply = h1::exchange_pieces(&target, &early, &pieces).await?;
            ensure!(
                reply.status == status || reply.status == 400,
                "{id}: {} {}",
                reply.status,
                reply.text()
            );
            let id2 = format!("{id}-h2");
            let pieces = [
                Piece::Data(first.into(), false),
                Piece::Pause(Duration::from_millis(300)),
                Piece::Data(rest.into(), true),
            ];
            // A reset is an end as well.
            let _ = h2::exchange_pieces(&target, &request("POST", QUERY, &id2)?, &pieces).await;
        }
    }
    scene.upstream("loki")?.behave(Behaviour::Echo);
    tokio::time::sleep(Duration::from_millis(500)).await;
    let seen = scene.log.seen("free");
    ensure!(
        seen.len() == 1 && !seen[0].complete && seen[0].body == GOOD.as_bytes()[..10],
        "{seen:?}"
    );
    for seen in scene.log.all() {
        let body = String::from_utf8_lossy(&seen.body).into_owned();
        let id = String::from_utf8_lossy(&seen.header("x-test-id").concat()).into_owned();
        if id.starts_with("gone") {
            ensure!(!seen.complete && body.is_empty(), "{seen:?}");
        }
        if id.starts_with("early") {
            let scoped = id.contains("good") && body.contains("namespace");
            ensure!(body.is_empty() || scoped, "{id}: {body}");
        }
        ensure!(!body.contains("secret"), "{id}: {body}");
    }
    drill::check_health(&scene.envoy).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_waits_for_keys_with_its_head() -> Result<()> {
    let mut configuration = scenario::config("scopes")?;
    configuration["limits"] = json!({"wait": "20s"});
    let issuer = Issuer::corporate().await?;
    issuer.set_answer(AnswerMode::Delay(4_000));
    let scene = Scene::start_with(drill::settings(configuration)?, issuer).await?;
    let target = scene.envoy.target();
    let since = Instant::now();
    let large = format!("{GOOD}&x={}", "a".repeat(200_000));
    let mut sending = Vec::new();
    for (id, body) in [("good", GOOD), ("bad", BAD), ("large", large.as_str())] {
        for protocol in [Protocol::H1, Protocol::H2] {
            let id = format!("{id}-{protocol:?}");
            let mut waiting = request("POST", QUERY, &id)?;
            waiting.body = body.as_bytes().to_vec();
            let target = target.clone();
            sending.push(async move { (id, waiting.send(&target, protocol).await) });
        }
    }
    // One whose body ends only after the keys have come.
    let late = chunked(request("POST", QUERY, "late")?);
    let pieces = [
        at_once(chunk(&GOOD.as_bytes()[..9])),
        (Duration::from_secs(6), chunk(&GOOD.as_bytes()[9..])),
        at_once("0\r\n\r\n"),
    ];
    let (replies, late) = tokio::join!(
        futures_util::future::join_all(sending),
        h1::exchange_pieces(&target, &late, &pieces)
    );
    ensure!(late?.status == 200);
    check_passed(&scene, "late", QUERY, SCOPED).await?;
    ensure!(since.elapsed() > Duration::from_secs(5));
    for (id, reply) in replies {
        let reply = reply?;
        if id.starts_with("bad") {
            check_refused(&scene, &id, &reply, 400, "parameter_repeated").await?;
        } else {
            ensure!(
                reply.status == 200,
                "{id}: {} {}",
                reply.status,
                reply.text()
            );
            check_passed(&scene, &id, QUERY, SCOPED).await?;
        }
    }
    drill::check_health(&scene.envoy).await
}

/// Envoy can be configured to pass on bodies of requests whose head is held back. A request that still waits for its
/// verdict must not pass with its body then.
#[tokio::test(flavor = "multi_thread")]
async fn no_body_pulls_a_waiting_head_along() -> Result<()> {
    let issuer = Issuer::corporate().await?;
    issuer.set_answer(AnswerMode::Delay(2_000));
    let settings = drill::settings(scenario::config("scopes")?)?.sandboxed();
    let settings = settings.edit(|envoy| {
        let plugin = &mut envoy.scopegate()?["typed_config"]["config"];
        plugin["allow_on_headers_stop_iteration"] = json!(true);
        Ok(())
    });
    let scene = Scene::start_with(settings, issuer).await?;
    let mut sending = Vec::new();
    for (id, path) in [("scoped", QUERY), ("push", "/loki/api/v1/push")] {
        for protocol in [Protocol::H1, Protocol::H2] {
            let id = format!("{id}-{protocol:?}");
            let mut waiting = request("POST", path, &id)?;
            waiting.body = GOOD.into();
            let target = scene.envoy.target();
            sending.push(async move { (id, waiting.send(&target, protocol).await) });
        }
    }
    for (id, reply) in futures_util::future::join_all(sending).await {
        let reply = reply?;
        ensure!(
            reply.status == 503,
            "{id}: {} {}",
            reply.status,
            reply.text()
        );
        check_nothing(&scene, &id)?;
    }
    drill::warm(&scene.envoy).await?;
    // With the keys there nothing waits, and everything is as ever.
    let mut good = request("POST", QUERY, "good")?;
    good.body = GOOD.into();
    let reply = good.send(&scene.envoy.target(), Protocol::H1).await?;
    ensure!(reply.status == 200, "{} {}", reply.status, reply.text());
    check_passed(&scene, "good", QUERY, SCOPED).await?;
    drill::check_health(&scene.envoy).await
}

#[tokio::test(flavor = "multi_thread")]
async fn tails_are_scoped_by_their_handshake() -> Result<()> {
    let scene = scene(|_| (), |settings| settings).await?;
    let bearer = format!("Bearer {}", token(&["web"])?);
    let tail = |query: &'static str, id: &'static str| {
        let headers = [
            ("authorization", bearer.clone()),
            ("x-scope-orgid", "acme".to_owned()),
            ("x-test-id", id.to_owned()),
        ];
        let address = scene.envoy.address();
        async move {
            let headers: Vec<(&str, &str)> =
                headers.iter().map(|(n, v)| (*n, v.as_str())).collect();
            let path = format!("/loki/api/v1/tail?{query}");
            websocket::open(address, &path, &headers).await
        }
    };
    let Handshake::Open(mut socket) =
        tail("query=%7Bapp%3D%22a%22%7D&shards=1&limit=5", "open").await?
    else {
        bail!("a tail was refused");
    };
    socket.next().await.context("a greeting")??;
    let seen = scene.log.seen("open");
    ensure!(
        seen.len() == 1
            && seen[0].path
                == "/loki/api/v1/tail?query=%7Bnamespace%3D%22web%22%2Capp%3D%22a%22%7D&limit=5",
        "{seen:?}"
    );
    for (query, status) in [
        ("query=%7B%7D&query=%7B%7D", 400),
        ("query=%7B%7D;x", 400),
        ("", 400),
    ] {
        let Handshake::Refused(reply) = tail(query, "refused").await? else {
            bail!("a tail of {query} was let through");
        };
        ensure!(reply.status() == status, "{query}: {}", reply.status());
    }
    ensure!(scene.log.seen("refused").is_empty());
    drill::check_health(&scene.envoy).await
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_say_the_scope_where_that_is_wanted() -> Result<()> {
    let change = |configuration: &mut Value| {
        configuration["forward"] = json!({
            "label_policy_header": true, "rewrite_paths": false, "subject_header": "x-who",
        });
    };
    // The shipped Envoy drops every name with an underscore; the gate must not depend on that.
    let underscores = |settings: EnvoySettings| {
        settings.edit(|bootstrap| {
            let options = &mut bootstrap.connection_manager()?["common_http_protocol_options"];
            options["headers_with_underscores_action"] = json!("ALLOW");
            Ok(())
        })
    };
    let scene = scene(change, underscores).await?;
    let web = "%7Bnamespace%3D%22web%22%7D";
    let both = "%7Bnamespace%3D~%22shop%7Cweb%22%7D";
    let acme = format!("acme:{web}");
    let federated = format!("acme:{web},globex:{web}");
    let union = format!("acme:{both}");
    let t0 = "q=%7B%20resource.k8s.namespace.name%20%3D%20%22web%22%20%7D";
    let tempo = format!("/tempo/api/search?{t0}");
    let up = format!("/prometheus/api/v1/query?query=up{web}");
    let up_both = format!("/prometheus/api/v1/query?query=up{both}");
    let metrics = "/prometheus/api/v1/query?query=up";
    for (id, groups, tenant, path, forwarded, policy) in [
        (
            "one",
            &["web"][..],
            "acme",
            metrics,
            up.as_str(),
            Some(acme.as_str()),
        ),
        (
            "two",
            &["web"],
            "globex|acme",
            metrics,
            &up,
            Some(&federated),
        ),
        (
            "union",
            &["web", "shop"],
            "acme",
            metrics,
            &up_both,
            Some(&union),
        ),
        ("all", &["acme-viewers"], "acme", metrics, metrics, None),
        (
            "traces",
            &["web"],
            "acme",
            "/tempo/api/search",
            &tempo,
            None,
        ),
    ] {
        for protocol in [Protocol::H1, Protocol::H2] {
            let id = format!("{id}-{protocol:?}");
            let reply = RawRequest::get(path)
                .bearer(&token(groups)?)
                .tenant(tenant)
                .header("x-test-id", id.as_str())
                .header("X-Prom-Label-Policy", "acme:%7B%7D")
                .header("x_prom_label_policy", "acme:%7B%7D")
                .header("x-prom_label-policy", "acme:%7B%7D")
                .header("X-Who", "root")
                .header("x_who", "root")
                .send(&scene.envoy.target(), protocol)
                .await?;
            ensure!(reply.status == 200, "{id}: {}", reply.text());
            let seen = check_passed(&scene, &id, forwarded, "").await?;
            let given: Vec<_> = seen
                .headers
                .iter()
                .filter(|(name, _)| name.replace('_', "-") == "x-prom-label-policy")
                .map(|(_, value)| String::from_utf8_lossy(value).into_owned())
                .collect();
            let wanted: Vec<String> = policy.iter().map(|policy| (*policy).to_owned()).collect();
            ensure!(given == wanted, "{id}: {given:?}");
            ensure!(seen.header("x-who") == [b"reader-1"], "{id}: {seen:?}");
            ensure!(seen.header("x_who").is_empty(), "{id}: {seen:?}");
        }
    }
    // A form keeps its path and gets the same header.
    let mut form = request("POST", "/prometheus/api/v1/query", "form")?;
    form.body = b"query=up".to_vec();
    let reply = form.send(&scene.envoy.target(), Protocol::H1).await?;
    ensure!(reply.status == 200, "{}", reply.text());
    let body = format!("query=up{web}");
    let seen = check_passed(&scene, "form", "/prometheus/api/v1/query", &body).await?;
    ensure!(
        seen.header("x-prom-label-policy") == [acme.as_bytes()],
        "{seen:?}"
    );
    drill::check_health(&scene.envoy).await
}

#[tokio::test(flavor = "multi_thread")]
async fn records_name_the_scope() -> Result<()> {
    let enforced = scene(|_| (), |settings| settings).await?;
    let reported = scene(|it| it["mode"] = json!("report"), |settings| settings).await?;
    for (id, method, path, body, code) in [
        (
            "get",
            "GET",
            "/prometheus/api/v1/query?query=up",
            "",
            "allowed",
        ),
        (
            "post",
            "POST",
            "/prometheus/api/v1/query",
            "query=up",
            "allowed",
        ),
        (
            "bad-get",
            "GET",
            "/prometheus/api/v1/query?query=up&query=up",
            "",
            "parameter_repeated",
        ),
        (
            "bad-post",
            "POST",
            "/prometheus/api/v1/query",
            "query=up&query=up",
            "parameter_repeated",
        ),
        (
            "never",
            "GET",
            "/prometheus/config/v1/rules",
            "",
            "scope_unsupported",
        ),
    ] {
        for (scene, refused) in [(&enforced, "deny"), (&reported, "report")] {
            let mut request = request(method, path, id)?;
            request.body = body.into();
            let reply = request.send(&scene.envoy.target(), Protocol::H2).await?;
            let line = scene.envoy.access_line(id, PATIENCE).await?;
            let record = record(line)?;
            let decision = if code == "allowed" { "allow" } else { refused };
            ensure!(
                record["scope"] == "namespace=web"
                    && record["code"] == code
                    && record["decision"] == decision
                    && record["subject"] == "reader-1"
                    && record["tenants"] == json!(["acme"])
                    && record["organizations"] == json!(["acme"]),
                "{id}: {record}"
            );
            let passes = decision != "deny";
            ensure!((reply.status == 200) == passes, "{id}: {}", reply.status);
            if refused == "report" {
                check_passed(scene, id, path, body).await?;
            }
        }
    }
    drill::check_health(&enforced.envoy).await?;
    drill::check_health(&reported.envoy).await
}

/// Whoever may see a part of a tenant reaches, with every permission there is, no endpoint that cannot be scoped.
#[tokio::test(flavor = "multi_thread")]
async fn every_endpoint_scopes_or_refuses() -> Result<()> {
    let scene = scene(|_| (), |settings| settings).await?;
    let index = Endpoints::new(&[Surface::Platform, Surface::LokiLegacy]);
    let token = token(&["web-admins"])?;
    let mut counts = [0, 0, 0, 0];
    for row in scenario::endpoints()?.endpoints {
        for method in &row.methods {
            let endpoint = index
                .find(row.path.as_bytes(), method.as_bytes())
                .map_err(|denial| anyhow::anyhow!("{method} {}: {denial:?}", row.path))?;
            let id = format!("{method}-{}", row.path);
            let mut path = row.path.clone();
            if !endpoint.is_grpc() {
                path.push_str("?query=up&query=up;%zz");
            }
            let mut request = RawRequest::new(method, &path)
                .bearer(&token)
                .tenant(match row.needs.as_str() {
                    "rules-write" | "alerts-read" | "alerts-write" => "acme-alerts",
                    _ => "acme",
                })
                .header("x-test-id", id.as_str());
            let mut protocol = Protocol::H1;
            if endpoint.is_grpc() {
                request = request
                    .header("content-type", "application/grpc")
                    .header("te", "trailers");
                request.body = vec![0; 5];
                protocol = Protocol::H2;
            }
            let reply = request.send(&scene.envoy.target(), protocol).await?;
            let line = scene.envoy.access_line(&id, PATIENCE).await?;
            let code = line.details.as_deref().and_then(denial_code);
            let seen = scene.log.seen(&id);
            let fits = match endpoint.scoping {
                Scoping::Harmless => {
                    counts[0] += 1;
                    code.is_none() && seen.len() == 1 && reply.status == 200
                }
                Scoping::AnsweredEmpty(document) => {
                    counts[3] += 1;
                    let empty = reply.body == document.as_bytes();
                    code == Some("answered_empty") && seen.is_empty() && empty
                }
                // Its query was in doubt.
                Scoping::Parameters(..) => {
                    counts[1] += 1;
                    code == Some("parameters_malformed") && seen.is_empty()
                }
                Scoping::Unsupported | Scoping::WholeTrace => {
                    counts[2] += 1;
                    code == Some("scope_unsupported") && seen.is_empty()
                }
            };
            ensure!(fits, "{id}: {} {line:?} {seen:?}", reply.status);
        }
    }
    ensure!(
        counts[..3].iter().all(|count| *count > 3) && counts[3] == 3,
        "{counts:?}"
    );
    drill::check_health(&scene.envoy).await
}

const PATIENCE: Duration = Duration::from_secs(10);
