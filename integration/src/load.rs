//! A steady load of valid requests, and the outcome of each.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, body::Bytes};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

/// Yields the token of the next request.
pub type Tokens = Arc<dyn Fn() -> Result<String> + Send + Sync>;

/// The outcomes of the requests so far.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    pub requests: usize,
    /// The number of requests by status. 0 stands for a request without an answer.
    pub statuses: BTreeMap<u16, usize>,
    pub longest: Duration,
    /// When a request was last answered with something other than 200.
    pub last_failure: Option<Instant>,
}

/// The handle. The load ends when it is stopped or dropped.
pub struct Load {
    tasks: Vec<JoinHandle<()>>,
    going: Arc<AtomicBool>,
    outcome: Arc<Mutex<Outcome>>,
}

impl Outcome {
    /// The number of requests that were not answered with 200.
    #[must_use]
    pub fn failed(&self) -> usize {
        self.requests - self.count(200)
    }

    #[must_use]
    pub fn count(&self, status: u16) -> usize {
        self.statuses.get(&status).copied().unwrap_or_default()
    }
}

impl Load {
    /// Sends `rate` requests per second for that tenant over `connections` persistent connections.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "who starts a load has no more use for it"
    )]
    pub fn start(gate: SocketAddr, rate: u32, connections: u32, tokens: Tokens) -> Load {
        let going = Arc::new(AtomicBool::new(true));
        let outcome = Arc::new(Mutex::new(Outcome::default()));
        let pause = Duration::from_secs(1) * connections / rate;
        let tasks = (0..connections)
            .map(|number| {
                let worker = Worker {
                    gate,
                    tokens: Arc::clone(&tokens),
                    going: Arc::clone(&going),
                    outcome: Arc::clone(&outcome),
                };
                // The connections begin at different times within one pause, so that requests are sent one by one.
                let first = Instant::now() + pause * number / connections;
                tokio::spawn(worker.run(first, pause))
            })
            .collect();
        Load {
            tasks,
            going,
            outcome,
        }
    }

    pub fn outcome(&self) -> Outcome {
        self.outcome
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Waits until every request that is under way has ended.
    pub async fn stop(mut self) -> Outcome {
        self.going.store(false, Ordering::Relaxed);
        for task in std::mem::take(&mut self.tasks) {
            let _ = task.await;
        }
        self.outcome()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// How much of a backlog is made up for.
const MOST_BEHIND: Duration = Duration::from_secs(5);

struct Worker {
    gate: SocketAddr,
    tokens: Tokens,
    going: Arc<AtomicBool>,
    outcome: Arc<Mutex<Outcome>>,
}

impl Worker {
    async fn run(self, first: Instant, pause: Duration) {
        let mut connection = None;
        let mut next = first;
        while self.going.load(Ordering::Relaxed) {
            tokio::time::sleep_until(next.into()).await;
            let begun = Instant::now();
            // A machine that stops for a moment still produces the load, up to what was due in the last seconds.
            let due = begun.checked_sub(MOST_BEHIND).unwrap_or(begun);
            next = (next + pause).max(due);
            let status = if let Ok(status) = self.exchange(&mut connection).await {
                status
            } else {
                connection = None;
                0
            };
            self.note(status, begun);
        }
    }

    async fn exchange(&self, connection: &mut Option<SendRequest<Empty<Bytes>>>) -> Result<u16> {
        if connection.as_ref().is_none_or(SendRequest::is_closed) {
            let stream = TcpStream::connect(self.gate).await?;
            stream.set_nodelay(true)?;
            let (sender, driver) = http1::handshake(TokioIo::new(stream)).await?;
            tokio::spawn(driver);
            *connection = Some(sender);
        }
        let sender = connection.as_mut().context("a connection")?;
        sender.ready().await?;
        let request = Request::get("/loki/api/v1/labels")
            .header("host", "observability.example.com")
            .header("authorization", format!("Bearer {}", (self.tokens)()?))
            .header("x-scope-orgid", "acme")
            .body(Empty::new())?;
        let reply = sender.send_request(request).await?;
        let status = reply.status().as_u16();
        // An answer that closes the connection must not cost the next request.
        let closes = reply
            .headers()
            .get("connection")
            .is_some_and(|value| value == "close");
        reply.into_body().collect().await?;
        if closes {
            *connection = None;
        }
        Ok(status)
    }

    fn note(&self, status: u16, begun: Instant) {
        let mut outcome = self.outcome.lock().unwrap_or_else(PoisonError::into_inner);
        outcome.requests += 1;
        *outcome.statuses.entry(status).or_default() += 1;
        outcome.longest = outcome.longest.max(begun.elapsed());
        if status != 200 {
            outcome.last_failure = Some(Instant::now());
        }
    }
}
