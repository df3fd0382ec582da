//! A gate in front of backends that two tenants share, and the calls of the tenant that does nothing wrong.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http2::{self, SendRequest};
use hyper::header::{HeaderMap, HeaderValue};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use integration::drill;
use integration::envoy::{Envoy, EnvoySettings};
use integration::firehose::{Firehose, SlowReaders};
use integration::grpc::{self, GrpcClient, SEARCH, SearchRequest, SearchResponse};
use integration::issuer::Issuer;
use integration::pace::{self, Turns, Window};
use integration::process;
use integration::server::{self, Body, Server};
use serde_json::Value;
use tokio::net::TcpStream;

use crate::report::Row;

/// The handle.
pub struct Street {
    pub envoy: Envoy,
    /// The listener without TLS.
    pub gate: SocketAddr,
    /// Tempo's streams, which have no end for `acme`.
    pub hose: Firehose,
    victim: Victim,
    quiet: Vec<Window>,
    _backend: Server,
    _corporate: Issuer,
}

impl Street {
    /// A gate that has its keys, with one worker, so that everything that can be shared is shared. Its listener has
    /// no TLS; if `tls` is set, there is another one with TLS.
    pub async fn start(
        configuration: Value,
        tls: bool,
        change: impl FnOnce(EnvoySettings) -> EnvoySettings,
    ) -> Result<Street> {
        let corporate = Issuer::corporate().await?;
        let hose = Firehose::start("acme").await?;
        let mut settings = drill::settings(configuration)?
            .concurrency(1)
            .cluster("idp", corporate.address())
            .cluster("tempo_grpc", hose.address());
        let backend = Server::start(|stream| async {
            // How a connection ends is for the other side to say.
            let _ = server::serve_http(stream, swallow).await;
        })
        .await?;
        for name in ["loki", "mimir", "tempo_otlp_grpc"] {
            settings = settings.cluster(name, backend.address());
        }
        let port = process::free_port()?;
        if tls {
            settings = settings
                .tls()?
                .edit(move |bootstrap| bootstrap.add_plain_listener(port));
        }
        let envoy = Envoy::start(change(settings)).await?;
        let gate = if tls {
            SocketAddr::from(([127, 0, 0, 1], port))
        } else {
            envoy.address()
        };
        let keys = |keys| keys > 0.0;
        drill::wait_for_metric(&envoy, "scopegate_jwks_keys", &[], KEYS, keys).await?;
        // The gauge is of the worker that fetched, which may be the main thread: the other one has them a tick later.
        tokio::time::sleep(Duration::from_millis(1_300)).await;
        let victim = Victim::connect(gate).await?;
        // Connections, the memory of tokens and the allocator of Envoy get warm.
        victim.windows(1).await;
        let quiet = victim.windows(QUIET).await;
        Ok(Street {
            envoy,
            gate,
            hose,
            victim,
            quiet,
            _backend: backend,
            _corporate: corporate,
        })
    }

    /// The victim's calls in this many windows.
    pub async fn windows(&self, count: u32) -> Vec<Window> {
        self.victim.windows(count).await
    }

    /// Opens this many, one after the other: all at once would leave less unread.
    pub async fn slow_readers(&self, count: usize) -> Result<Vec<SlowReaders>> {
        let bearer = format!("Bearer {}", drill::token_of("reader")?);
        let mut slow = Vec::new();
        for _ in 0..count {
            slow.push(SlowReaders::open(self.gate, &bearer, "acme", 1).await?);
        }
        // Until every buffer on the way is full.
        tokio::time::sleep(FILLED).await;
        Ok(slow)
    }

    /// Wait until the backend has noticed that all slow readers are gone.
    pub async fn wait_for_silence(&self) -> Result<()> {
        let deadline = Instant::now() + KEYS;
        while self.hose.open() > 0 {
            ensure!(Instant::now() < deadline, "{} go on", self.hose.open());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// What Envoy has allocated.
    pub async fn memory(&self) -> Result<u64> {
        let memory = self.envoy.admin_get("/memory").await?.json()?;
        let allocated = memory["allocated"].as_str().context("no number")?;
        Ok(allocated.parse()?)
    }

    /// What the victim saw during an attack, with its p99 as text.
    pub fn row(&self, beside: &[Window], note: &str) -> Result<Row> {
        let (quiet, all) = (pace::together(&self.quiet), pace::together(beside));
        ensure!(
            quiet.errors.is_empty(),
            "{} calls failed with nobody there: {}",
            quiet.errors.len(),
            quiet.errors[0]
        );
        if let Some(error) = all.errors.first() {
            eprintln!(
                "{} calls of the victim failed, one: {error}",
                all.errors.len()
            );
        }
        let calls = f64::from(u32::try_from(all.calls())?);
        let seconds = WINDOW.as_secs_f64() * f64::from(u32::try_from(beside.len())?);
        let (calm, loud) = (pace::median_p99(&self.quiet), pace::median_p99(beside));
        Ok(Row {
            requests: all.calls(),
            failed: all.errors.len(),
            longest: all.longest(),
            rate: calls / seconds,
            due: f64::from(RATE),
            p99: Some((calm, loud)),
            note: note.to_owned(),
            ..Row::default()
        })
    }
}

/// Reads everything and answers little. A backend that examines what it receives, in a debug build and on the cores
/// of those who are timed, would affect the times itself.
async fn swallow(request: Request<Incoming>) -> Result<Response<Body>> {
    let is_grpc = request
        .headers()
        .get("content-type")
        .is_some_and(|value| grpc::is_grpc(value.as_bytes()));
    let mut body = request.into_body();
    while let Some(frame) = body.frame().await {
        frame?;
    }
    if is_grpc {
        let response = Response::builder().header("content-type", "application/grpc");
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        let message = server::full(grpc::framed(b"")).with_trailers(async { Some(Ok(trailers)) });
        return Ok(response.body(message.boxed_unsync())?);
    }
    Ok(Response::new(server::full("{}")))
}

/// Reads labels and searches traces, over a few connections that it keeps.
struct Victim {
    http: Turns<SendRequest<Empty<Bytes>>>,
    grpc: Turns<GrpcClient>,
    tokens: Turns<String>,
}

impl Victim {
    async fn connect(gate: SocketAddr) -> Result<Victim> {
        let (mut http, mut grpc) = (Vec::new(), Vec::new());
        for _ in 0..CONNECTIONS {
            let io = TokioIo::new(TcpStream::connect(gate).await?);
            let (sender, driver) = http2::handshake(TokioExecutor::new(), io).await?;
            tokio::spawn(driver);
            http.push(sender);
            grpc.push(GrpcClient::connect(gate).await?);
        }
        let tokens: Result<Vec<String>> = (0..TOKENS)
            .map(|_| Ok(format!("Bearer {}", drill::token_of("globex-reader")?)))
            .collect();
        Ok(Victim {
            http: Turns::new(http),
            grpc: Turns::new(grpc),
            tokens: Turns::new(tokens?),
        })
    }

    async fn windows(&self, count: u32) -> Vec<Window> {
        pace::windows(count, WINDOW, RATE, |number| {
            let http = self.http.at(number / 2);
            let grpc = self.grpc.at(number / 2);
            let token = self.tokens.at(number);
            async move {
                let token = token.context("no token")?;
                if number % 2 == 0 {
                    labels(http.context("no connection")?, &token).await
                } else {
                    search(grpc.context("no connection")?, &token).await
                }
            }
        })
        .await
    }
}

async fn labels(mut sender: SendRequest<Empty<Bytes>>, bearer: &str) -> Result<()> {
    let request = Request::get("http://observability.example.com/loki/api/v1/labels")
        .header("authorization", bearer)
        .header("x-scope-orgid", "globex")
        .body(Empty::new())?;
    sender.ready().await?;
    let reply = sender.send_request(request).await?;
    let status = reply.status();
    let body = reply.into_body().collect().await?.to_bytes();
    ensure!(status == 200, "{status} {}", String::from_utf8_lossy(&body));
    Ok(())
}

async fn search(client: GrpcClient, bearer: &str) -> Result<()> {
    let metadata = [("authorization", bearer), ("x-scope-orgid", "globex")];
    let answer: Vec<SearchResponse> = client
        .server_streaming(SEARCH, &metadata, SearchRequest::default())
        .await?;
    let found = answer.iter().flat_map(|message| &message.traces);
    let owners: Vec<&str> = found
        .map(|trace| trace.root_service_name.as_str())
        .collect();
    ensure!(owners == ["globex"], "an answer of {owners:?}");
    Ok(())
}

/// Calls per second: enough for a p99, and a tenth of what would keep a core busy.
pub const RATE: u32 = 100;
const WINDOW: Duration = Duration::from_secs(2);
const QUIET: u32 = 3;
const CONNECTIONS: usize = 4;
const TOKENS: usize = 32;
const FILLED: Duration = Duration::from_secs(1);
const KEYS: Duration = Duration::from_secs(10);
