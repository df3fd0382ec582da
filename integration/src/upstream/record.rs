//! What is recorded about a request, and how it is answered.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use bytes::Bytes;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::grpc;

/// One request as a backend saw it.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The name of the upstream that it reached.
    pub backend: String,
    pub method: String,
    /// The path and the query, as in the request.
    pub path: String,
    pub authority: Option<String>,
    /// Headers with names in lower case, including repeats, in the order of arrival (in HTTP/2, only among those with
    /// the same name).
    pub headers: Vec<(String, Vec<u8>)>,
    /// The trailers, in the same form.
    pub trailers: Vec<(String, Vec<u8>)>,
    /// `HTTP/1.1` or `HTTP/2.0`.
    pub version: String,
    pub body_length: usize,
    pub body_sha256: String,
    /// The first 4096 bytes. If a body was incomplete, this is what had arrived.
    pub body: Vec<u8>,
    /// Whether the body was complete.
    pub complete: bool,
    /// Whether the WebSocket or the HTTP/2 stream is over, whoever ended it.
    pub ended: bool,
    number: u64,
}

/// The log that all upstreams of a test write to. Clones share the same log.
#[derive(Clone, Default)]
pub struct UpstreamLog {
    inner: Arc<Mutex<Log>>,
}

#[derive(Default)]
struct Log {
    next: u64,
    seen: Vec<Seen>,
    broken: Vec<String>,
}

/// How an upstream answers from now on.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Behaviour {
    /// With 200 and a description of the request. gRPC and WebSocket have their own forms of it.
    #[default]
    Echo,
    /// With this status, these headers and this body.
    Answer {
        status: u16,
        headers: Vec<(String, String)>,
        body: String,
    },
    /// With this status at once, before the body has been read. The connection is then left open.
    Early(u16),
    /// As `Echo` does, but after this time.
    Delay(Duration),
    /// It closes the connection without an answer.
    Close,
    /// It never answers.
    Hang,
    /// With 200 and this many chunks, one per interval.
    SlowStream { chunks: usize, interval: Duration },
    /// As `Echo` does, but a gRPC answer stays open after its messages, without another message and without trailers.
    /// (A WebSocket stays open in any case.)
    Open,
}

pub(super) struct Shared {
    pub(super) name: String,
    pub(super) log: UpstreamLog,
    pub(super) behaviour: Mutex<Behaviour>,
}

impl UpstreamLog {
    #[must_use]
    pub fn new() -> UpstreamLog {
        UpstreamLog::default()
    }

    /// All requests so far.
    #[must_use]
    pub fn all(&self) -> Vec<Seen> {
        lock(&self.inner).seen.clone()
    }

    #[must_use]
    pub fn count(&self) -> usize {
        lock(&self.inner).seen.len()
    }

    /// The requests that carried this `x-test-id`.
    #[must_use]
    pub fn seen(&self, test_id: &str) -> Vec<Seen> {
        let log = lock(&self.inner);
        log.seen
            .iter()
            .filter(|seen| seen.has_test_id(test_id))
            .cloned()
            .collect()
    }

    /// The same, which are then forgotten.
    #[must_use]
    pub fn take(&self, test_id: &str) -> Vec<Seen> {
        let mut log = lock(&self.inner);
        let (taken, kept) = std::mem::take(&mut log.seen)
            .into_iter()
            .partition(|seen| seen.has_test_id(test_id));
        log.seen = kept;
        taken
    }

    /// Connections that ended in something other than well-formed HTTP. A test that relies on silence checks that
    /// this is empty too. Ordinary ends of connections appear here as well.
    #[must_use]
    pub fn broken(&self) -> Vec<String> {
        lock(&self.inner).broken.clone()
    }

    pub fn clear(&self) {
        *lock(&self.inner) = Log::default();
    }

    /// Waits for a request with that ID whose body is complete.
    pub async fn wait_for(&self, test_id: &str, within: Duration) -> Result<Seen> {
        let deadline = Instant::now() + within;
        loop {
            if let Some(seen) = self.seen(test_id).into_iter().find(|seen| seen.complete) {
                return Ok(seen);
            }
            if Instant::now() > deadline {
                return Err(anyhow!(
                    "no request with x-test-id {test_id} reached an upstream within {within:?}"
                ));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until the WebSocket or the HTTP/2 stream with that ID is over.
    pub async fn wait_for_end(&self, test_id: &str, within: Duration) -> Result<()> {
        let deadline = Instant::now() + within;
        while !self.seen(test_id).iter().any(|seen| seen.ended) {
            if Instant::now() > deadline {
                return Err(anyhow!(
                    "the upstream saw no end of {test_id} within {within:?}"
                ));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    pub(super) fn begin(&self, seen: Seen) -> u64 {
        let mut log = lock(&self.inner);
        log.next += 1;
        let number = log.next;
        log.seen.push(Seen { number, ..seen });
        number
    }

    pub(super) fn complete(&self, number: u64, body: &[u8], trailers: Vec<(String, Vec<u8>)>) {
        let mut log = lock(&self.inner);
        if let Some(seen) = log.seen.iter_mut().find(|seen| seen.number == number) {
            seen.take_body(body);
            seen.trailers = trailers;
        }
    }

    pub(super) fn cut(&self, number: u64, body: &[u8]) {
        let mut log = lock(&self.inner);
        if let Some(seen) = log.seen.iter_mut().find(|seen| seen.number == number) {
            seen.take_body(body);
            seen.complete = false;
        }
    }

    pub(super) fn end(&self, number: u64) {
        let mut log = lock(&self.inner);
        if let Some(seen) = log.seen.iter_mut().find(|seen| seen.number == number) {
            seen.ended = true;
        }
    }

    pub(super) fn note_broken(&self, backend: &str, error: &str) {
        lock(&self.inner).broken.push(format!("{backend}: {error}"));
    }
}

impl Seen {
    pub(super) fn head(backend: &str, method: &str, path: &str, version: &str) -> Seen {
        Seen {
            backend: backend.to_owned(),
            method: method.to_owned(),
            path: path.to_owned(),
            authority: None,
            headers: Vec::new(),
            trailers: Vec::new(),
            version: version.to_owned(),
            body_length: 0,
            body_sha256: String::new(),
            body: Vec::new(),
            complete: false,
            ended: false,
            number: 0,
        }
    }

    fn take_body(&mut self, body: &[u8]) {
        self.body_length = body.len();
        self.body_sha256 = hex::encode(Sha256::digest(body));
        self.body = body[..body.len().min(BODY_KEPT)].to_vec();
        self.complete = true;
    }

    /// All values of that header.
    #[must_use]
    pub fn header(&self, name: &str) -> Vec<&[u8]> {
        self.headers
            .iter()
            .filter(|(known, _)| known == name)
            .map(|(_, value)| value.as_slice())
            .collect()
    }

    fn has_test_id(&self, test_id: &str) -> bool {
        self.header(TEST_ID) == [test_id.as_bytes()]
    }

    fn is_websocket(&self) -> bool {
        self.header("upgrade")
            .iter()
            .any(|value| value.eq_ignore_ascii_case(b"websocket"))
    }

    fn is_grpc(&self) -> bool {
        self.header("content-type")
            .iter()
            .any(|value| grpc::is_grpc(value))
    }

    /// The description of the request in an echo answer.
    #[must_use]
    pub fn description(&self) -> Value {
        let headers: Vec<Value> = self
            .headers
            .iter()
            .map(|(name, value)| json!([name, String::from_utf8_lossy(value)]))
            .collect();
        json!({
            "status": "success",
            "upstream": self.backend,
            "method": self.method,
            "path": self.path,
            "version": self.version,
            "headers": headers,
            "body_length": self.body_length,
            "body_sha256": self.body_sha256,
        })
    }
}

/// What an upstream has decided to do with a request.
pub(super) enum Plan {
    Close,
    Hang,
    Early(u16),
    Answer(Answer),
    /// Complete the handshake, describe the request in a first frame, and then send back whatever arrives.
    Websocket,
}

/// An answer, independent of the version of HTTP.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    /// The pieces of the body. If there are several, one is sent per interval.
    pub(super) pieces: Vec<Bytes>,
    pub(super) interval: Duration,
    pub(super) trailers: Vec<(String, String)>,
    /// Whether nothing follows the pieces, not even the end.
    pub(super) open: bool,
    /// Whether the body is a description of the request, which is written once the request's body has been read.
    pub(super) describes: bool,
}

impl Answer {
    pub(super) fn described(mut self, seen: &Seen, body: &[u8]) -> Answer {
        if self.describes {
            let mut seen = seen.clone();
            seen.take_body(body);
            self.pieces = vec![seen.description().to_string().into()];
        }
        self
    }
}

impl Shared {
    /// Decides before the body is read. `Delay` sleeps here.
    pub(super) async fn plan(&self, seen: &Seen) -> Plan {
        let behaviour = lock(&self.behaviour).clone();
        let content_type = |value: &str| vec![("content-type".to_owned(), value.to_owned())];
        let mut answer = Answer {
            status: 200,
            headers: Vec::new(),
            pieces: Vec::new(),
            interval: Duration::ZERO,
            trailers: Vec::new(),
            open: false,
            describes: false,
        };
        match behaviour {
            Behaviour::Close => return Plan::Close,
            Behaviour::Hang => return Plan::Hang,
            Behaviour::Early(status) => return Plan::Early(status),
            Behaviour::Answer {
                status,
                headers,
                body,
            } => {
                answer.status = status;
                answer.headers = headers;
                answer.pieces = vec![body.into()];
            }
            Behaviour::SlowStream { chunks, interval } => {
                answer.headers = content_type("text/plain");
                answer.pieces = (0..chunks)
                    .map(|number| format!("chunk {number}\n").into())
                    .collect();
                answer.interval = interval;
            }
            Behaviour::Delay(_) | Behaviour::Echo | Behaviour::Open => {
                if let Behaviour::Delay(pause) = behaviour {
                    tokio::time::sleep(pause).await;
                }
                if seen.is_websocket() {
                    return Plan::Websocket;
                }
                if seen.is_grpc() {
                    answer.headers = content_type("application/grpc");
                    answer.pieces = grpc_frames(seen);
                    answer.open = behaviour == Behaviour::Open;
                    answer.trailers = vec![("grpc-status".to_owned(), "0".to_owned())];
                } else {
                    answer.headers = content_type("application/json");
                    answer.describes = true;
                }
            }
        }
        if !seen.header("origin").is_empty() {
            answer
                .headers
                .extend(OWN_CORS.map(|(name, value)| (name.to_owned(), value.to_owned())));
        }
        answer
            .headers
            .push(("x-echo".to_owned(), self.name.clone()));
        Plan::Answer(answer)
    }
}

/// The CORS headers that a server sends by itself for any page, as Mimir and Prometheus do.
pub const OWN_CORS: [(&str, &str); 4] = [
    ("access-control-allow-headers", "Accept, Authorization"),
    ("access-control-allow-methods", "GET, POST, OPTIONS"),
    ("access-control-allow-origin", "*"),
    ("access-control-expose-headers", "Date"),
];

/// A valid reply of the requested method, with the tenant in it if the message has room for text.
fn grpc_frames(seen: &Seen) -> Vec<Bytes> {
    let tenant = seen.header("x-scope-orgid").concat();
    grpc::canned_replies(&seen.path, &String::from_utf8_lossy(&tenant))
        .iter()
        .map(|message| grpc::framed(message))
        .collect()
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The header that links a recorded request to the test that sent it.
pub const TEST_ID: &str = "x-test-id";

/// Enough to look into a form or a small protobuf message. The hash covers the rest.
const BODY_KEPT: usize = 4096;
