//! Realistic sizes: bodies of 10 and 50 MiB, many tails, and slow readers. Envoy streams them, the module sees none
//! of it, and memory does not grow.

#![expect(
    clippy::cast_precision_loss,
    reason = "what is counted here, also in seconds, is far below 2^53"
)]

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use futures_util::StreamExt;
use futures_util::future::try_join_all;
use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper::body::{Bytes, Incoming};
use hyper_util::rt::TokioIo;
use integration::client::RawRequest;
use integration::client::websocket::{self, Handshake};
use integration::drill::{self, Random};
use integration::process::resident;
use integration::stack::ACME;
use integration::{form, loki_push, otlp, remote_write};
use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinHandle;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use crate::scene::Scene;
use crate::side_gate::SideGate;

crate::tests![
    the_module_asks_for_no_body_of_an_answer,
    a_push_of_10_mib_to_loki_and_an_answer_of_50_mib,
    a_remote_write_of_10_mib_to_mimir,
    a_hundred_tails_see_a_line_each,
];

/// What a host does not find among the exports it does not call. Bodies of requests it
/// is told of, and holds back those of scoped forms only.
async fn the_module_asks_for_no_body_of_an_answer(_: &Scene) -> Result<()> {
    let module = std::fs::read(drill::module()?)?;
    let names = |name: &str| {
        module
            .windows(name.len())
            .any(|window| window == name.as_bytes())
    };
    ensure!(
        names("proxy_on_request_headers"),
        "the names of exports are not to be found this way"
    );
    let callback = "proxy_on_response_body";
    ensure!(!names(callback), "the module exports {callback}");
    Ok(())
}

async fn a_push_of_10_mib_to_loki_and_an_answer_of_50_mib(scene: &Scene) -> Result<()> {
    let began = otlp::unix_nanos();
    let memory = Memory::watch(scene.stack.envoy()?.id())?;
    let took = Instant::now();
    for push in 0..PUSHES {
        let body = lines_body(began + push * LINES, push);
        ensure!(body.len() > TEN_MIB, "a body of {} bytes", body.len());
        let request = RawRequest::post("/loki/api/v1/push", body)
            .header("content-type", "application/x-protobuf");
        let reply = scene.send("agent-acme", ACME, request).await?;
        ensure!(
            reply.status == 204,
            "push {push}: {} {}",
            reply.status,
            reply.text()
        );
    }
    println!(
        "{PUSHES} pushes of 10 MiB to Loki in {:.1} s: Envoy {}",
        took.elapsed().as_secs_f32(),
        memory.grown()?
    );
    memory.below(TEN_MIB).context("a push")?;

    let query = form::encode(&format!("{{service_name=\"{SERVICE}\"}}"));
    let path = format!(
        "/loki/api/v1/query_range?query={query}&start={began}&end={}&limit=100000&direction=forward",
        began + PUSHES * LINES
    );
    let direct = Download::start(scene, scene.stack.loki.http(), &path).await?;
    let direct = direct.rest().await?;
    ensure!(
        direct.bytes > 50 << 20,
        "an answer of {} bytes",
        direct.bytes
    );

    let memory = Memory::watch(scene.stack.envoy()?.id())?;
    let took = Instant::now();
    let through = Download::start(scene, scene.stack.plain(), &path)
        .await?
        .rest()
        .await?;
    ensure!(
        through == direct,
        "{through:?} through the gate, {direct:?} directly"
    );
    println!(
        "an answer of {:.1} MiB in {:.1} s, SHA-256 {} both ways: Envoy {}",
        mebibytes(through.bytes as u64),
        took.elapsed().as_secs_f32(),
        &through.digest[..16],
        memory.grown()?
    );
    memory.below(BOUND).context("a reader")?;

    // Slow ones: Envoy has to hold the backend back, or hold the answers.
    let memory = Memory::watch(scene.stack.envoy()?.id())?;
    let slow = read_slowly(scene, scene.stack.plain(), &path).await?;
    println!(
        "{READERS} slow readers of {:.0} MiB each at 64 KiB/s for {} s: Envoy {}",
        mebibytes(direct.bytes as u64),
        SLOW.as_secs(),
        memory.grown()?
    );
    memory.below(BOUND).context("slow readers")?;
    // And the slow get all of it in the end.
    let late = slow.into_iter().next().context("no reader")?.rest().await?;
    ensure!(late == direct, "{late:?} slowly, {direct:?} directly");

    // An Envoy that is told to hold the answers is seen to: the measure measures.
    let side_gate = SideGate::start(scene, scene.stack.configuration(), |settings| {
        settings.edit(|bootstrap| {
            let limit = json!(128 << 20);
            let listeners = bootstrap.value()["static_resources"]["listeners"].as_array_mut();
            for listener in listeners.context("no listeners")? {
                listener["per_connection_buffer_limit_bytes"] = limit.clone();
            }
            bootstrap.cluster("loki")?["per_connection_buffer_limit_bytes"] = limit;
            Ok(())
        })
    })
    .await?;
    side_gate.wait_for_keys().await?;
    let memory = Memory::watch(side_gate.envoy.id())?;
    let slow = read_slowly(scene, side_gate.target.address, &path).await?;
    println!(
        "the same with buffers of 128 MiB: Envoy {}",
        memory.grown()?
    );
    drop(slow);
    ensure!(
        memory.below(2 * BOUND).is_err(),
        "no growth is seen where there must be one"
    );
    Ok(())
}

async fn a_remote_write_of_10_mib_to_mimir(scene: &Scene) -> Result<()> {
    let mut random = Random(10);
    let names: Vec<String> = (0..LINES)
        .map(|number| format!("{number}-{}", noise(&mut random)))
        .collect();
    let labels: Vec<[(&str, &str); 2]> = names
        .iter()
        .map(|name| [("name", name.as_str()), ("owner", ACME)])
        .collect();
    let samples: Vec<remote_write::Sample<'_>> = labels
        .iter()
        .map(|labels| ("acme_sizes", labels.as_slice(), 1.0))
        .collect();
    let body = remote_write::request(&samples);
    ensure!(body.len() > TEN_MIB, "a body of {} bytes", body.len());
    let memory = Memory::watch(scene.stack.envoy()?.id())?;
    let took = Instant::now();
    let request = RawRequest::post("/prometheus/api/v1/push", body)
        .header("content-type", "application/x-protobuf")
        .header("content-encoding", "snappy")
        .header("x-prometheus-remote-write-version", "0.1.0");
    let reply = scene.send("agent-acme", ACME, request).await?;
    ensure!(reply.status == 200, "{} {}", reply.status, reply.text());
    println!(
        "a remote write of 10 MiB in {:.1} s: Envoy {}",
        took.elapsed().as_secs_f32(),
        memory.grown()?
    );
    memory.below(TEN_MIB)?;

    let path = "/prometheus/api/v1/query?query=count(acme_sizes)";
    let reply = scene.send("alice", ACME, RawRequest::get(path)).await?;
    let count = reply.json()?["data"]["result"][0]["value"][1].clone();
    ensure!(
        count == json!(LINES.to_string()),
        "{count} series: {}",
        reply.text()
    );
    Ok(())
}

async fn a_hundred_tails_see_a_line_each(scene: &Scene) -> Result<()> {
    let token = format!("Bearer {}", scene.token("alice").await?);
    let envoy = scene.stack.envoy()?;
    let memory = Memory::watch(envoy.id())?;
    let tails = try_join_all((0..TAILS).map(|_| open_tail(scene, &token))).await?;
    let all = |streams| streams >= TAILS as f64;
    drill::wait_for_metric(
        &envoy,
        "scopegate_streams",
        &[],
        Duration::from_secs(5),
        all,
    )
    .await?;

    let began = Instant::now();
    let reopened = AtomicUsize::new(0);
    let seen = Mutex::new(Vec::new());
    let done = AtomicBool::new(false);
    let reading = async {
        let read = try_join_all(tails.into_iter().map(|mut socket| {
            let (reopened, seen, token) = (&reopened, &seen, token.as_str());
            async move {
                while !sees_a_line(&mut socket).await? {
                    // On a busy machine Loki closes the connection to its own ingester now and then, and with it
                    // every tail (1011). Grafana and logcli open it again.
                    reopened.fetch_add(1, Ordering::SeqCst);
                    socket = open_tail(scene, token).await?;
                }
                seen.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(began.elapsed());
                // Open until all have seen one.
                anyhow::Ok(socket)
            }
        }));
        let read = tokio::time::timeout(TAIL_PATIENCE, read).await;
        done.store(true, Ordering::SeqCst);
        let count = seen.lock().unwrap_or_else(PoisonError::into_inner).len();
        read.with_context(|| format!("{count} of {TAILS} tails saw a line"))?
    };
    // A tail begins in Loki a little after its handshake: lines come until everybody has one.
    let writing = async {
        for number in 0_u64.. {
            if done.load(Ordering::SeqCst) {
                break;
            }
            let line = format!("line of {TAILED}, {number}");
            let entries = [(otlp::unix_nanos(), line.as_str())];
            let body = loki_push::request(&[(&format!("{{service_name=\"{TAILED}\"}}"), &entries)]);
            let request = RawRequest::post("/loki/api/v1/push", body)
                .header("content-type", "application/x-protobuf");
            let reply = scene.send("agent-acme", ACME, request).await?;
            ensure!(reply.status == 204, "{} {}", reply.status, reply.text());
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        Ok(())
    };
    let (written, read) = tokio::join!(writing, reading);
    written?;
    let open = read?;
    let seen = seen.into_inner().unwrap_or_else(PoisonError::into_inner);
    let (first, last) = (
        seen.iter().min().context("none")?,
        seen.iter().max().context("none")?,
    );
    println!(
        "{} tails at once: the first saw a line after {} ms, the last after {} ms, {} were opened again: Envoy {}",
        open.len(),
        first.as_millis(),
        last.as_millis(),
        reopened.load(Ordering::SeqCst),
        memory.grown()?
    );
    memory.below(BOUND)
}

async fn open_tail(scene: &Scene, token: &str) -> Result<Tail> {
    let query = form::encode(&format!("{{service_name=\"{TAILED}\"}}"));
    let path = format!("/loki/api/v1/tail?query={query}");
    let headers = [("authorization", token), ("x-scope-orgid", ACME)];
    match websocket::open(scene.stack.plain(), &path, &headers).await? {
        Handshake::Open(socket) => Ok(socket),
        Handshake::Refused(response) => bail!("a tail is refused: {response:?}"),
    }
}

/// False where Loki has ended it before.
async fn sees_a_line(tail: &mut Tail) -> Result<bool> {
    let wanted = format!("line of {TAILED}");
    loop {
        let message = tail.next().await.context("ended without a word")??;
        if let Message::Close(Some(close)) = &message {
            ensure!(close.code == CloseCode::Error, "{close:?}");
            return Ok(false);
        }
        if message.into_text().is_ok_and(|text| text.contains(&wanted)) {
            return Ok(true);
        }
    }
}

/// Several slow readers at once, each with most of its answer still to come.
async fn read_slowly(scene: &Scene, server: SocketAddr, path: &str) -> Result<Vec<Download>> {
    let readers = (0..READERS).map(|_| async {
        let mut download = Download::start(scene, server, path).await?;
        download.slowly(SLOW).await?;
        let bytes = download.taken.len();
        ensure!(
            bytes > 256 << 10 && bytes < 8 << 20,
            "{bytes} bytes in {SLOW:?}"
        );
        anyhow::Ok(download)
    });
    try_join_all(readers).await
}

type Tail = Box<WebSocketStream<TcpStream>>;

/// What Envoy holds resident, sampled until the handle is dropped.
struct Memory {
    process: u32,
    before: u64,
    peak: Arc<AtomicU64>,
    sampling: JoinHandle<()>,
}

impl Memory {
    fn watch(process: u32) -> Result<Memory> {
        let before = resident(process)?;
        let peak = Arc::new(AtomicU64::new(before));
        let highest = Arc::clone(&peak);
        let sampling = tokio::spawn(async move {
            loop {
                highest.fetch_max(resident(process).unwrap_or_default(), Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        Ok(Memory {
            process,
            before,
            peak,
            sampling,
        })
    }

    /// For people to read.
    fn grown(&self) -> Result<String> {
        let peak = self.peak.load(Ordering::SeqCst);
        let [before, peak, after] = [self.before, peak, resident(self.process)?].map(mebibytes);
        Ok(format!(
            "held {before:.1} MiB before, {peak:.1} at most, {after:.1} after"
        ))
    }

    /// # Errors
    /// It grew by as much as that at some time.
    fn below(&self, bound: usize) -> Result<()> {
        let grown = self.peak.load(Ordering::SeqCst).saturating_sub(self.before);
        ensure!(
            grown < bound as u64,
            "Envoy grew by {:.1} MiB",
            mebibytes(grown)
        );
        Ok(())
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.sampling.abort();
    }
}

/// An answer on its way.
struct Download {
    body: Incoming,
    taken: Vec<u8>,
}

/// What came.
#[derive(Debug, PartialEq)]
struct Whole {
    /// Without Loki's statistics about the query, which are never twice the same.
    bytes: usize,
    digest: String,
}

impl Download {
    /// Ask for it as alice, at a gate or a server.
    async fn start(scene: &Scene, server: SocketAddr, path: &str) -> Result<Download> {
        // The kernel must not be the one that takes the answer in.
        let socket = TcpSocket::new_v4()?;
        socket.set_recv_buffer_size(RECEIVE)?;
        let stream = socket.connect(server).await?;
        let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
            .max_buf_size(RECEIVE as usize)
            .handshake::<_, Empty<Bytes>>(TokioIo::new(stream))
            .await?;
        tokio::spawn(connection);
        let request = Request::get(path)
            .header("host", "observability.example.com")
            .header(
                "authorization",
                format!("Bearer {}", scene.token("alice").await?),
            )
            .header("x-scope-orgid", ACME)
            .body(Empty::new())?;
        let answer = tokio::time::timeout(ANSWER, sender.send_request(request)).await??;
        ensure!(answer.status() == 200, "{}", answer.status());
        Ok(Download {
            body: answer.into_body(),
            taken: Vec::new(),
        })
    }

    /// Read at 64 KiB/s for so long.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "some megabytes at the most"
    )]
    async fn slowly(&mut self, time: Duration) -> Result<()> {
        let began = Instant::now();
        while began.elapsed() < time {
            let allowed = (began.elapsed().as_secs_f64() * RATE) as usize;
            if self.taken.len() <= allowed {
                ensure!(
                    self.more().await?,
                    "the answer ended after {} bytes",
                    self.taken.len()
                );
            } else {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        Ok(())
    }

    /// Read to the end.
    async fn rest(mut self) -> Result<Whole> {
        while self.more().await? {}
        let statistics = b",\"stats\":{";
        let end = self
            .taken
            .windows(statistics.len())
            .rposition(|window| window == statistics)
            .context("no statistics in the answer")?;
        let digest = Sha256::digest(&self.taken[..end]);
        Ok(Whole {
            bytes: end,
            digest: hex::encode(digest),
        })
    }

    async fn more(&mut self) -> Result<bool> {
        let frame = tokio::time::timeout(ANSWER, self.body.frame()).await?;
        let Some(frame) = frame else { return Ok(false) };
        if let Some(data) = frame?.data_ref() {
            self.taken.extend_from_slice(data);
        }
        Ok(true)
    }
}

/// A push of more than 10 MiB on the wire: what it says does not compress.
fn lines_body(first: u64, seed: u64) -> Vec<u8> {
    let mut random = Random(seed);
    let lines: Vec<String> = (0..LINES).map(|_| noise(&mut random)).collect();
    let entries: Vec<(u64, &str)> = (first..).zip(lines.iter().map(String::as_str)).collect();
    loki_push::request(&[(&format!("{{service_name=\"{SERVICE}\"}}"), &entries)])
}

/// 1 KiB of letters and digits.
fn noise(random: &mut Random) -> String {
    let bytes: Vec<u8> = (0..96).flat_map(|_| random.draw().to_le_bytes()).collect();
    STANDARD_NO_PAD.encode(bytes)
}

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

const TEN_MIB: usize = 10 << 20;
/// Of 1 KiB each, in one push.
const LINES: u64 = 10_240;
const PUSHES: u64 = 5;
const TAILS: usize = 100;
const READERS: usize = 4;
const SLOW: Duration = Duration::from_secs(10);
/// Bytes a second.
const RATE: f64 = 65_536.0;
const RECEIVE: u32 = 65_536;
/// By how much Envoy may grow: far less than one answer, and more than the buffers of all connections.
const BOUND: usize = 32 << 20;
const ANSWER: Duration = Duration::from_secs(60);
const TAIL_PATIENCE: Duration = Duration::from_secs(40);
const SERVICE: &str = "acme-sizes";
const TAILED: &str = "acme-tails";
