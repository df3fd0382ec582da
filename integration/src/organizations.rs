//! A server of organizations under a test's control. It answers with a document or misbehaves, and records who asked.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Response, StatusCode};
use serde_json::{Value, json};

use crate::server::{self, Server};

/// The handle. The server stops when it is dropped.
pub struct OrganizationServer {
    server: Server,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    status: u16,
    document: Bytes,
    tag: String,
    asked: Vec<Asked>,
}

/// A request that was received.
#[derive(Clone, Debug)]
pub struct Asked {
    pub at: Instant,
    /// Path and query.
    pub path: String,
    pub if_none_match: Option<String>,
    pub authorization: Option<String>,
    /// The status of the answer.
    pub status: u16,
}

/// A document of organizations, as it is served.
#[must_use]
pub fn document(revision: u64, organizations: &[Value]) -> Value {
    json!({"version": 1, "epoch": 1, "revision": revision, "organizations": organizations})
}

impl OrganizationServer {
    /// Starts to listen on a free port. The answer is 503 until there is a document.
    pub async fn start() -> Result<OrganizationServer> {
        let state = Arc::new(Mutex::new(State {
            status: 503,
            ..State::default()
        }));
        let shared = state.clone();
        let server = Server::start(move |stream| {
            let shared = shared.clone();
            async move {
                let handler = move |request| std::future::ready(answer(&shared, &request));
                let _ = server::serve_http(stream, handler).await;
            }
        })
        .await?;
        Ok(OrganizationServer { server, state })
    }

    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Serves these bytes from now on, with a tag of their own.
    pub fn publish(&self, document: impl Into<Bytes>) {
        let mut state = lock(&self.state);
        state.document = document.into();
        state.status = 200;
        let version = state.tag.trim_matches('"').parse().unwrap_or(0_u64);
        state.tag = format!("\"{}\"", version + 1);
    }

    /// Answers with that status from now on.
    pub fn fail(&self, status: u16) {
        lock(&self.state).status = status;
    }

    /// The requests since the last call.
    pub fn take_asked(&self) -> Vec<Asked> {
        std::mem::take(&mut lock(&self.state).asked)
    }

    /// Waits until a request has been answered with that status since the last call of [`Self::take_asked`].
    pub async fn wait_for(&self, status: u16, within: Duration) -> bool {
        let deadline = Instant::now() + within;
        while Instant::now() < deadline {
            if lock(&self.state)
                .asked
                .iter()
                .any(|asked| asked.status == status)
            {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        false
    }

    /// Closes the port, so that connections are refused.
    pub async fn down(&self) {
        self.server.down().await;
    }

    pub async fn up(&self) -> Result<()> {
        self.server.up().await
    }
}

fn answer(
    state: &Mutex<State>,
    request: &hyper::Request<hyper::body::Incoming>,
) -> Result<Response<server::Body>> {
    let header = |name: &str| {
        let value = request.headers().get(name);
        value.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    let mut state = lock(state);
    let if_none_match = header("if-none-match");
    let unchanged = state.status == 200 && if_none_match.as_ref() == Some(&state.tag);
    let status = if unchanged { 304 } else { state.status };
    state.asked.push(Asked {
        at: Instant::now(),
        path: request
            .uri()
            .path_and_query()
            .map(ToString::to_string)
            .unwrap_or_default(),
        if_none_match,
        authorization: header("authorization"),
        status,
    });
    let body = if status == 200 {
        state.document.clone()
    } else {
        Bytes::new()
    };
    let mut response = Response::new(Full::new(body).map_err(Into::into).boxed_unsync());
    *response.status_mut() = StatusCode::from_u16(status)?;
    response.headers_mut().insert(
        "etag",
        state
            .tag
            .parse()
            .unwrap_or(hyper::header::HeaderValue::from_static("\"0\"")),
    );
    Ok(response)
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
