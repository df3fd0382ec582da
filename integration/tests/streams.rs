//! Streams end when their time is up: tails and gRPC reads in the real Envoy, by the expiry of their token or by the
//! configured duration.

#![allow(clippy::expect_used)]
#![expect(
    clippy::cast_precision_loss,
    reason = "what is counted here, also in seconds, is far below 2^53"
)]
#![expect(clippy::float_cmp, reason = "what is compared is whole numbers")]

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use futures_util::future::try_join_all;
use futures_util::{SinkExt, StreamExt};
use integration::client::RawRequest;
use integration::client::websocket::{self, Handshake};
use integration::drill::{self, fresh, send, wait_for_metric};
use integration::grpc::{
    EXPORT_TRACES, ExportRequest, ExportResponse, GrpcClient, SEARCH, SearchRequest, SearchResponse,
};
use integration::issuer::{AnswerMode, Issuer};
use integration::scene::Scene;
use integration::token::Recipe;
use integration::upstream::Behaviour;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tonic::{Code, Status, Streaming};

const TAIL: &str = "/loki/api/v1/tail?query=%7Bapp%3D%22a%22%7D";

/// Expiry without leeway, to the second.
fn configuration(stream_duration: &str) -> Value {
    let mut configuration = drill::configuration();
    configuration["providers"][0]["clock_skew"] = json!("0s");
    configuration["limits"] = json!({"stream_duration": stream_duration});
    configuration
}

/// Everything runs and each worker has its keys; gRPC reads stay open.
async fn scene(configuration: Value) -> Result<Scene> {
    let scene = drill::scene(configuration).await?;
    scene.upstream("tempo_grpc")?.behave(Behaviour::Open);
    drill::warm(&scene.envoy).await?;
    Ok(scene)
}

fn wall() -> Result<f64> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64())
}

/// The value of `Authorization` with a token that expires at that second.
fn bearer_until(expires: i64) -> Result<String> {
    let token = fresh(Recipe::of("reader").claim("exp", expires))?;
    Ok(format!("Bearer {token}"))
}

fn bearer() -> Result<String> {
    Ok(format!("Bearer {}", drill::token_of("reader")?))
}

/// A tail on which the backend has said its first word.
async fn tail(scene: &Scene, bearer: &str, id: &str) -> Result<WebSocketStream<TcpStream>> {
    let headers = [
        ("authorization", bearer),
        ("x-scope-orgid", "acme"),
        ("x-test-id", id),
    ];
    let Handshake::Open(mut socket) =
        websocket::open(scene.envoy.address(), TAIL, &headers).await?
    else {
        bail!("{id} was refused");
    };
    socket.next().await.context("a greeting")??;
    Ok(*socket)
}

async fn still_echoes(socket: &mut WebSocketStream<TcpStream>) -> Result<()> {
    let message = Message::text("still there?");
    socket.send(message.clone()).await?;
    ensure!(socket.next().await.context("an echo")?? == message);
    Ok(())
}

/// Wait until Envoy closes the connection of a tail; the backend would send a close frame.
async fn tail_ended(mut socket: WebSocketStream<TcpStream>) -> Result<()> {
    loop {
        match tokio::time::timeout(PATIENCE, socket.next()).await {
            Err(_) => bail!("the tail goes on"),
            Ok(None | Some(Err(_))) => return Ok(()),
            Ok(Some(Ok(Message::Close(frame)))) => bail!("closed in form: {frame:?}"),
            Ok(Some(Ok(_))) => {}
        }
    }
}

async fn search(
    client: &GrpcClient,
    bearer: &str,
    id: &str,
) -> Result<Streaming<SearchResponse>, Status> {
    let metadata = [
        ("authorization", bearer),
        ("x-scope-orgid", "acme"),
        ("x-test-id", id),
    ];
    client
        .open(SEARCH, &metadata, SearchRequest::default())
        .await
}

/// Read the two messages that an open search begins with.
async fn begun(stream: &mut Streaming<SearchResponse>) -> Result<()> {
    for _ in 0..2 {
        stream.message().await?.context("a message")?;
    }
    Ok(())
}

/// What a client sees when its search ends.
async fn search_ended(mut stream: Streaming<SearchResponse>) -> Result<Status> {
    match tokio::time::timeout(PATIENCE, stream.message()).await {
        Err(_) => bail!("the search goes on"),
        Ok(Ok(message)) => bail!("no error but {message:?}"),
        Ok(Err(status)) => Ok(status),
    }
}

async fn check_details(scene: &Scene, id: &str, status: u16, details: &str) -> Result<()> {
    let line = scene.envoy.access_line(id, PATIENCE).await?;
    ensure!(
        line.status == Some(status) && line.details.as_deref() == Some(details),
        "{line:?}"
    );
    Ok(())
}

async fn streams_become(scene: &Scene, count: f64) -> Result<()> {
    wait_for_metric(&scene.envoy, "scopegate_streams", &[], PATIENCE, |value| {
        value == count
    })
    .await?;
    Ok(())
}

async fn ended_become(scene: &Scene, reason: &str, count: f64) -> Result<()> {
    let labels = [("reason", reason)];
    let name = "scopegate_streams_ended_total";
    wait_for_metric(&scene.envoy, name, &labels, PATIENCE, |value| {
        value == count
    })
    .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_with_its_token_and_only_with_its_own() -> Result<()> {
    let scene = scene(configuration("1h")).await?;
    let client = GrpcClient::connect(scene.envoy.address()).await?;
    let expires = integration::token::now() + 6;
    let short = bearer_until(expires)?;
    let long = bearer_until(expires + 600)?;

    let short_tail = tail(&scene, &short, "short-tail").await?;
    let mut long_tail = tail(&scene, &long, "long-tail").await?;
    let mut short_search = search(&client, &short, "short-search").await?;
    let mut long_search = search(&client, &long, "long-search").await?;
    begun(&mut short_search).await?;
    begun(&mut long_search).await?;
    ensure!(wall()? < expires as f64, "too slow to begin in time");
    streams_become(&scene, 4.0).await?;

    let ends = async { tail_ended(short_tail).await.map(|()| wall()) };
    let searches = async { (search_ended(short_search).await, wall()) };
    let (tail_end, (status, search_end)) = tokio::join!(ends, searches);
    let late = [tail_end?? - expires as f64, search_end? - expires as f64];
    let status = status?;
    eprintln!("ended {late:?} s after the token; the search by {status:?}");
    ensure!(
        late.iter().all(|late| (0.0..2.5).contains(late)),
        "{late:?}"
    );
    ensure!(status.code() == Code::Internal, "{status:?}");

    for id in ["short-tail", "short-search"] {
        scene.log.wait_for_end(id, PATIENCE).await?;
    }
    check_details(&scene, "short-tail", 101, "scopegate{token_expired}").await?;
    check_details(&scene, "short-search", 200, "scopegate{token_expired}").await?;
    ended_become(&scene, "token_expired", 2.0).await?;
    ended_become(&scene, "max_duration", 0.0).await?;
    streams_become(&scene, 2.0).await?;

    // Those of the other token go on, beside and on the same connection.
    still_echoes(&mut long_tail).await?;
    for id in ["long-tail", "long-search"] {
        ensure!(scene.log.seen(id).iter().all(|seen| !seen.ended), "{id}");
    }
    // The token of the ended ones opens no new one.
    let refused = search(&client, &short, "again")
        .await
        .err()
        .context("let through")?;
    ensure!(refused.code() == Code::Unauthenticated, "{refused:?}");

    // Whoever leaves is forgotten.
    drop(long_tail);
    drop(long_search);
    streams_become(&scene, 0.0).await?;
    ended_become(&scene, "token_expired", 2.0).await?;
    drill::check_health(&scene.envoy).await
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::too_many_lines, reason = "one story, told in order")]
async fn a_stream_ends_after_the_configured_span_and_nothing_else_does() -> Result<()> {
    let scene = scene(configuration("2s")).await?;
    let client = GrpcClient::connect(scene.envoy.address()).await?;
    let bearer = bearer()?;
    // Ordinary requests that take longer than any stream may.
    scene.upstream("tempo")?.behave(Behaviour::SlowStream {
        chunks: 10,
        interval: Duration::from_millis(500),
    });
    for name in ["loki", "mimir", "tempo_otlp_grpc"] {
        scene.upstream(name)?.behave(Behaviour::Delay(SLOW));
    }
    let token = drill::token_of("reader")?;
    let agent = drill::token_of("agent")?;
    let ordinary = async {
        let trickle = RawRequest::get("/tempo/api/search")
            .bearer(&token)
            .tenant("acme");
        let query = RawRequest::get("/prometheus/api/v1/query?query=up")
            .bearer(&token)
            .tenant("acme");
        let push = RawRequest::post("/loki/api/v1/push", vec![0; 100_000])
            .header("content-type", "application/x-protobuf")
            .bearer(&agent)
            .tenant("acme");
        let began = Instant::now();
        let (trickle, query, push) = tokio::try_join!(
            send(&scene.envoy, &trickle),
            send(&scene.envoy, &query),
            send(&scene.envoy, &push)
        )?;
        ensure!(
            trickle.status == 200 && trickle.text().ends_with("chunk 9\n"),
            "{trickle:?}"
        );
        ensure!(
            query.status == 200 && push.status == 200,
            "{query:?} {push:?}"
        );
        ensure!(began.elapsed() > SLOW, "not slow");
        Ok(())
    };
    let export = async {
        let bearer = format!("Bearer {agent}");
        let metadata = [
            ("authorization", bearer.as_str()),
            ("x-scope-orgid", "acme"),
        ];
        let began = Instant::now();
        let _: ExportResponse = client
            .unary(EXPORT_TRACES, &metadata, ExportRequest::default())
            .await?;
        ensure!(began.elapsed() > SLOW, "not slow");
        Ok(())
    };
    let tails = async {
        // Its backend takes longer to answer than it may last.
        let began = Instant::now();
        let headers = [
            ("authorization", bearer.as_str()),
            ("x-scope-orgid", "acme"),
            ("x-test-id", "slow-tail"),
        ];
        let answer = websocket::open(scene.envoy.address(), TAIL, &headers).await?;
        let Handshake::Refused(answer) = answer else {
            bail!("the backend has not answered, and yet it is open");
        };
        ensure!(
            answer.status() == 503 && answer.headers().contains_key("retry-after"),
            "{answer:?}"
        );
        let text =
            String::from_utf8_lossy(answer.body().as_deref().unwrap_or_default()).into_owned();
        ensure!(text.contains("limits.stream_duration"), "{text}");
        Ok(began.elapsed())
    };
    let searches = async {
        let began = Instant::now();
        let mut stream = search(&client, &bearer, "search").await?;
        begun(&mut stream).await?;
        let status = search_ended(stream).await?;
        ensure!(status.code() == Code::Internal, "{status:?}");
        Ok(began.elapsed())
    };
    let ((), (), tail_span, search_span) = tokio::try_join!(ordinary, export, tails, searches)?;
    eprintln!("a tail lasted {tail_span:?}, a search {search_span:?}");
    check_details(&scene, "slow-tail", 503, "scopegate{max_duration}").await?;
    check_details(&scene, "search", 200, "scopegate{max_duration}").await?;

    scene.upstream("loki")?.behave(Behaviour::Echo);
    let began = Instant::now();
    tail_ended(tail(&scene, &bearer, "tail").await?).await?;
    let open_span = began.elapsed();
    eprintln!("an open tail lasted {open_span:?}");
    for span in [tail_span, search_span, open_span] {
        ensure!((SPAN..SPAN * 2).contains(&span), "{span:?}");
    }
    check_details(&scene, "tail", 101, "scopegate{max_duration}").await?;
    for id in ["tail", "search"] {
        scene.log.wait_for_end(id, PATIENCE).await?;
    }
    ended_become(&scene, "max_duration", 3.0).await?;
    ended_become(&scene, "token_expired", 0.0).await?;
    streams_become(&scene, 0.0).await?;
    drill::check_health(&scene.envoy).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_whose_backend_is_silent_is_refused_in_its_own_terms() -> Result<()> {
    let scene = scene(configuration("1h")).await?;
    for name in ["loki", "tempo_grpc"] {
        scene.upstream(name)?.behave(Behaviour::Hang);
    }
    let client = GrpcClient::connect(scene.envoy.address()).await?;
    let bearer = bearer_until(integration::token::now() + 3)?;
    let headers = [
        ("authorization", bearer.as_str()),
        ("x-scope-orgid", "acme"),
        ("x-test-id", "tail"),
    ];
    let (tail, search) = tokio::join!(
        websocket::open(scene.envoy.address(), TAIL, &headers),
        search(&client, &bearer, "search"),
    );
    let Handshake::Refused(answer) = tail? else {
        bail!("open");
    };
    ensure!(answer.status() == 401, "{answer:?}");
    let challenge = answer
        .headers()
        .get("www-authenticate")
        .context("no challenge")?;
    ensure!(
        challenge.to_str()?.contains("invalid_token"),
        "{challenge:?}"
    );
    let status = search.err().context("open")?;
    ensure!(status.code() == Code::Unauthenticated, "{status:?}");
    check_details(&scene, "tail", 401, "scopegate{token_expired}").await?;
    check_details(&scene, "search", 200, "scopegate{token_expired}").await?;
    scene.log.wait_for_end("search", PATIENCE).await?;
    streams_become(&scene, 0.0).await?;
    for name in ["loki", "tempo_grpc"] {
        scene.upstream(name)?.behave(Behaviour::Echo);
    }
    drill::check_health(&scene.envoy).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_waited_for_keys_is_ended_too() -> Result<()> {
    let issuer = Issuer::corporate().await?;
    issuer.set_answer(AnswerMode::Delay(4_000));
    let mut configuration = configuration("2s");
    configuration["providers"][0]["jwks"]["timeout"] = json!("20s");
    configuration["limits"]["wait"] = json!("20s");
    // One worker: its first fetch is on the way when the streams come.
    let settings = drill::settings(configuration)?.concurrency(1);
    let scene = Scene::start_with(settings, issuer).await?;
    scene.upstream("tempo_grpc")?.behave(Behaviour::Open);
    let client = GrpcClient::connect(scene.envoy.address()).await?;
    let bearer = bearer()?;
    let began = Instant::now();
    let (tail, search) = tokio::join!(
        tail(&scene, &bearer, "tail"),
        search(&client, &bearer, "search")
    );
    let mut search = search?;
    begun(&mut search).await?;
    ensure!(
        began.elapsed() > Duration::from_millis(500),
        "did not wait: {:?}",
        began.elapsed()
    );
    let passed = Instant::now();
    let (tail, search) = tokio::join!(tail_ended(tail?), search_ended(search));
    tail?;
    ensure!(search?.code() == Code::Internal);
    let span = passed.elapsed();
    ensure!(span < SPAN * 2, "{span:?}");
    ended_become(&scene, "max_duration", 2.0).await?;
    streams_become(&scene, 0.0).await?;
    drill::check_health(&scene.envoy).await
}

#[tokio::test(flavor = "multi_thread")]
async fn in_report_mode_no_stream_is_ended() -> Result<()> {
    let mut configuration = configuration("1s");
    configuration["mode"] = json!("report");
    let scene = scene(configuration).await?;
    let client = GrpcClient::connect(scene.envoy.address()).await?;
    let short = bearer_until(integration::token::now() + 3)?;
    let mut tail = tail(&scene, &short, "tail").await?;
    let mut search = search(&client, &short, "search").await?;
    begun(&mut search).await?;
    tokio::time::sleep(Duration::from_secs(6)).await;
    still_echoes(&mut tail).await?;
    for id in ["tail", "search"] {
        let seen = scene.log.seen(id);
        ensure!(seen.len() == 1 && !seen[0].ended, "{seen:?}");
    }
    for name in ["scopegate_streams", "scopegate_streams_ended_total"] {
        let value = scene.envoy.metric(name, &[]).await?;
        ensure!(value == 0.0, "{name} is {value}");
    }
    drill::check_health(&scene.envoy).await
}

#[tokio::test(flavor = "multi_thread")]
async fn many_streams_that_end_at_once_leave_the_workers_and_the_connections_in_good_health()
-> Result<()> {
    let scene = scene(configuration("1h")).await?;
    let expires = integration::token::now() + 10;
    let clients = try_join_all((0..4).map(|_| GrpcClient::connect(scene.envoy.address()))).await?;
    let mut searches = Vec::new();
    let mut tails = Vec::new();
    for number in 0..MANY {
        let bearer = bearer_until(expires)?;
        let mut stream = search(&clients[number % 4], &bearer, &format!("search-{number}")).await?;
        begun(&mut stream).await?;
        searches.push(stream);
        tails.push(tail(&scene, &bearer, &format!("tail-{number}")).await?);
    }
    ensure!(wall()? < expires as f64 - 1.0, "too slow to begin in time");
    streams_become(&scene, 2.0 * MANY as f64).await?;
    let (tails, searches) = tokio::join!(
        try_join_all(tails.into_iter().map(tail_ended)),
        try_join_all(searches.into_iter().map(search_ended)),
    );
    tails?;
    searches?;
    let late = wall()? - expires as f64;
    ensure!(late < 3.0, "{late}");
    for number in 0..MANY {
        for id in [format!("search-{number}"), format!("tail-{number}")] {
            scene.log.wait_for_end(&id, PATIENCE).await?;
        }
    }
    ended_become(&scene, "token_expired", 2.0 * MANY as f64).await?;
    streams_become(&scene, 0.0).await?;
    // The connections that carried them carry on.
    let bearer = bearer()?;
    for client in &clients {
        begun(&mut search(client, &bearer, "after").await?).await?;
    }
    drill::check_health(&scene.envoy).await
}

const PATIENCE: Duration = Duration::from_secs(30);

/// `limits.stream_duration` where it is short.
const SPAN: Duration = Duration::from_secs(2);

/// Longer than that.
const SLOW: Duration = Duration::from_secs(8);

const MANY: usize = 60;
