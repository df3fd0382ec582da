//! A right is withdrawn while connections are open: what each of them sees, depending on how Envoy gets its new
//! configuration.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use futures_util::StreamExt;
use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use integration::client::websocket::{self, Handshake};
use integration::client::{Protocol, RawRequest};
use integration::drill;
use integration::envoy::Update;
use integration::grpc::{GrpcClient, SEARCH, SearchRequest, SearchResponse};
use integration::issuer::Issuer;
use integration::scene::Scene;
use integration::token::Recipe;
use integration::upstream::Behaviour;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_tungstenite::WebSocketStream;

/// Readers of `acme` may read.
fn granted() -> Value {
    drill::configuration()
}

/// They no longer may.
fn withdrawn() -> Value {
    let mut configuration = drill::configuration();
    configuration["organizations"][0]["rbac"]["viewers"] = json!([]);
    configuration
}

/// They still may, and there is more.
fn more() -> Value {
    let mut configuration = drill::configuration();
    configuration["organizations"][1]["tenants"] = json!(["globex", "more"]);
    configuration
}

/// A connection that is kept for as long as the other side lets it.
enum Kept {
    One(http1::SendRequest<Empty<Bytes>>),
    Two(http2::SendRequest<Empty<Bytes>>),
}

impl Kept {
    async fn connect(gate: SocketAddr, version: u8) -> Result<Kept> {
        let io = TokioIo::new(TcpStream::connect(gate).await?);
        if version == 1 {
            let (sender, driver) = http1::handshake(io).await?;
            tokio::spawn(driver);
            Ok(Kept::One(sender))
        } else {
            let (sender, driver) = http2::handshake(TokioExecutor::new(), io).await?;
            tokio::spawn(driver);
            Ok(Kept::Two(sender))
        }
    }

    /// The status of a read; an error once the connection is over.
    async fn ask(&mut self, bearer: &str) -> Result<u16> {
        let path = "/loki/api/v1/labels";
        let (authority, target) = (
            "observability.example.com",
            format!("http://observability.example.com{path}"),
        );
        let request = |target: &str| {
            Request::get(target)
                .header("authorization", bearer)
                .header("x-scope-orgid", "acme")
        };
        let reply = match self {
            Kept::One(sender) => {
                sender.ready().await?;
                let request = request(path).header("host", authority);
                sender.send_request(request.body(Empty::new())?).await?
            }
            Kept::Two(sender) => {
                sender.ready().await?;
                sender
                    .send_request(request(&target).body(Empty::new())?)
                    .await?
            }
        };
        let status = reply.status().as_u16();
        reply.into_body().collect().await?;
        Ok(status)
    }
}

/// What a client that keeps its connection has seen.
#[derive(Debug, Default)]
struct Seen {
    /// Since the new configuration was taken over.
    allowed: usize,
    refused_after: Option<Duration>,
    reconnected: usize,
}

/// Ask over and over, and over a new connection where the old one has been closed, until the answer is no.
async fn ask_on(
    gate: SocketAddr,
    mut kept: Kept,
    version: u8,
    bearer: String,
    until: Instant,
) -> Result<Seen> {
    let mut seen = Seen::default();
    let began = Instant::now();
    while Instant::now() < until {
        match kept.ask(&bearer).await {
            Ok(200) => seen.allowed += 1,
            Ok(403) => {
                seen.refused_after = Some(began.elapsed());
                return Ok(seen);
            }
            Ok(status) => bail!("{status}"),
            Err(_) => {
                kept = Kept::connect(gate, version).await?;
                seen.reconnected += 1;
                continue;
            }
        }
        sleep(EACH).await;
    }
    Ok(seen)
}

/// Everything that is open, and the outcome for each.
#[derive(Debug)]
struct Outcome {
    one: Seen,
    two: Seen,
    /// A connection that was silent for the whole time: whether it is there at the end, and its answer.
    silent: Option<u16>,
    tail: Option<Duration>,
    grpc: Option<Duration>,
    /// A tail of somebody who keeps the right.
    granted: Option<Duration>,
}

/// Open one of each, have `update` withdraw the right, and look for that long.
async fn withdraw(
    scene: &Scene,
    span: Duration,
    update: impl AsyncFnOnce() -> Result<()>,
) -> Result<Outcome> {
    drill::warm(&scene.envoy).await?;
    // Each worker takes the keys over on its own tick.
    sleep(Duration::from_millis(1_300)).await;
    let gate = scene.envoy.address();
    let bearer = format!("Bearer {}", drill::token_of("reader")?);
    scene.upstream("tempo_grpc")?.behave(Behaviour::Open);
    let mut one = Kept::connect(gate, 1).await?;
    let mut two = Kept::connect(gate, 2).await?;
    let mut silent = Kept::connect(gate, 1).await?;
    for kept in [&mut one, &mut two, &mut silent] {
        let status = kept.ask(&bearer).await?;
        ensure!(status == 200, "{status} before");
    }
    let headers = [
        ("authorization", bearer.as_str()),
        ("x-scope-orgid", "acme"),
    ];
    let tail = open_tail(gate, &bearer).await?;
    let editor = Recipe::of("reader").claim("groups", json!(["acme-editors"]));
    let editor = format!("Bearer {}", drill::fresh(editor)?);
    let granted = open_tail(gate, &editor).await?;
    let client = GrpcClient::connect(gate).await?;
    let search = client.open(SEARCH, &headers, SearchRequest::default());
    let mut search: tonic::Streaming<SearchResponse> = search.await?;
    for _ in 0..2 {
        search.message().await?.context("a message")?;
    }

    update().await?;
    let began = Instant::now();
    let until = began + span;
    let ended = |mut tail: WebSocketStream<TcpStream>| -> JoinHandle<Option<Duration>> {
        tokio::spawn(async move {
            let end = async { while let Some(Ok(_)) = tail.next().await {} };
            tokio::time::timeout_at(until.into(), end).await.ok()?;
            Some(began.elapsed())
        })
    };
    let (tail, granted) = (ended(tail), ended(granted));
    let grpc = tokio::spawn(async move {
        let end = async { while let Ok(Some(_)) = search.message().await {} };
        tokio::time::timeout_at(until.into(), end).await.ok()?;
        Some(began.elapsed())
    });
    let (one, two) = tokio::try_join!(
        ask_on(gate, one, 1, bearer.clone(), until),
        ask_on(gate, two, 2, bearer.clone(), until)
    )?;
    let outcome = Outcome {
        one,
        two,
        tail: tail.await?,
        grpc: grpc.await?,
        granted: granted.await?,
        silent: silent.ask(&bearer).await.ok(),
    };
    Ok(outcome)
}

/// A tail on which the backend has said its first word.
async fn open_tail(gate: SocketAddr, bearer: &str) -> Result<WebSocketStream<TcpStream>> {
    let headers = [("authorization", bearer), ("x-scope-orgid", "acme")];
    let path = "/loki/api/v1/tail?query=%7Bapp%3D%22a%22%7D";
    let Handshake::Open(mut tail) = websocket::open(gate, path, &headers).await? else {
        bail!("a tail was refused");
    };
    tail.next().await.context("a greeting")??;
    Ok(*tail)
}

async fn by_listener(seconds: u32, strategy: &str, span: Duration) -> Result<Outcome> {
    let settings = drill::settings(granted())?
        .dynamic()
        .drain(seconds, strategy);
    let scene = Scene::start_with(settings, Issuer::corporate().await?).await?;
    withdraw(&scene, span, async || {
        let update = scene.envoy.replace_configuration(&withdrawn()).await?;
        ensure!(update == Update::Accepted, "{update:?}");
        Ok(())
    })
    .await
}

/// Requests on connections of their own, so that every worker gets some, until the task is dropped.
fn ask_around(scene: &Scene) -> Abort {
    let target = scene.envoy.target();
    Abort(tokio::spawn(async move {
        loop {
            let _ = RawRequest::get("/healthz")
                .send(&target, Protocol::H1)
                .await;
            sleep(Duration::from_millis(10)).await;
        }
    }))
}

/// A task that ends with its handle.
struct Abort(JoinHandle<()>);

impl Drop for Abort {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What Envoy does by default, and why it is configured differently.
#[tokio::test(flavor = "multi_thread")]
async fn by_a_listener_that_drains_gradually_a_withdrawn_right_lives_on() -> Result<()> {
    let outcome = by_listener(600, "gradual", Duration::from_secs(1)).await?;
    // When those who ask are sent away is up to Envoy's version and to chance.
    ensure!(outcome.silent == Some(200), "{outcome:?}");
    ensure!(outcome.granted.is_none(), "{outcome:?}");
    // As long as the new listener has no requests.
    if outcome.one.reconnected + outcome.two.reconnected == 0 {
        let streams = (outcome.tail, outcome.grpc);
        ensure!(streams == (None, None), "{outcome:?}");
    }
    Ok(())
}

/// Whoever asks is sent away with the first answer, and whoever does not, or has a stream, when the time is over. A stream
/// of the right that is withdrawn may end before, once the new listener has had a request.
#[tokio::test(flavor = "multi_thread")]
async fn by_a_listener_that_drains_at_once_a_withdrawn_right_has_one_more_answer() -> Result<()> {
    let drain = Duration::from_secs(2);
    let outcome = by_listener(2, "immediate", drain * 2).await?;
    for seen in [&outcome.one, &outcome.two] {
        ensure!(seen.allowed <= 1 && seen.reconnected == 1, "{outcome:?}");
        ensure!(
            seen.refused_after.is_some_and(|after| after < drain),
            "{outcome:?}"
        );
    }
    ensure!(outcome.silent.is_none(), "{outcome:?}");
    ensure!(
        outcome.tail.is_some() && outcome.grpc.is_some(),
        "{outcome:?}"
    );
    ensure!(
        outcome.granted.is_some_and(|after| after >= drain / 2),
        "{outcome:?}"
    );
    Ok(())
}

/// Nobody is sent away: the next request is judged anew, on every connection, and streams end that are no longer granted.
#[tokio::test(flavor = "multi_thread")]
async fn by_discovery_of_the_filter_a_withdrawn_right_ends_with_the_next_request() -> Result<()> {
    let scene = drill::scene(granted()).await?;
    let span = Duration::from_secs(4);
    let _asking = ask_around(&scene);
    let outcome = withdraw(&scene, span, async || {
        let update = scene.envoy.replace_configuration(&withdrawn()).await?;
        ensure!(update == Update::Accepted, "{update:?}");
        // Main thread first, then the workers.
        sleep(Duration::from_millis(50)).await;
        Ok(())
    })
    .await?;
    for seen in [&outcome.one, &outcome.two] {
        ensure!((seen.allowed, seen.reconnected) == (0, 0), "{outcome:?}");
        ensure!(seen.refused_after.is_some(), "{outcome:?}");
    }
    ensure!(outcome.silent == Some(403), "{outcome:?}");
    for ended in [outcome.tail, outcome.grpc] {
        ensure!(ended.is_some_and(|after| after < span), "{outcome:?}");
    }
    ensure!(outcome.granted.is_none(), "{outcome:?}");
    let log = scene.envoy.access_log();
    let reasons = log.iter().map(|line| format!("{line:?}"));
    let ended = reasons.filter(|line| line.contains("scopegate{grant_withdrawn}"));
    ensure!(ended.count() == 2, "{log:?}");
    let fetches = scene.corporate.fetches().jwks;
    ensure!(fetches == 1, "{fetches} fetches of keys that were there");
    drill::check_health_without_reads(&scene.envoy).await
}

/// Streams that began before a change end with their tokens after it.
#[tokio::test(flavor = "multi_thread")]
async fn by_discovery_of_the_filter_open_streams_still_end_with_their_tokens() -> Result<()> {
    let without_leeway = |mut configuration: Value| {
        configuration["providers"][0]["clock_skew"] = json!("0s");
        configuration
    };
    let scene = drill::scene(without_leeway(granted())).await?;
    drill::warm(&scene.envoy).await?;
    let seconds = 4.0;
    let token = drill::fresh(Recipe::of("reader").exp_in(seconds))?;
    let bearer = format!("Bearer {token}");
    let mut tail = open_tail(scene.envoy.address(), &bearer).await?;
    let began = Instant::now();
    let update = scene
        .envoy
        .replace_configuration(&without_leeway(more()))
        .await?;
    ensure!(update == Update::Accepted, "{update:?}");
    let end = async { while let Some(Ok(_)) = tail.next().await {} };
    tokio::time::timeout(PATIENCE, end)
        .await
        .context("the tail goes on after its token")?;
    let lasted = began.elapsed();
    ensure!(
        (2.5..=7.5).contains(&lasted.as_secs_f64()),
        "it ended after {lasted:?}"
    );
    Ok(())
}

const EACH: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_secs(15);
