//! A directory of projects under a test's control. It says who may read which resource, or misbehaves, and records
//! who asked.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Result, anyhow};
use hyper::{Response, StatusCode};

use crate::server::{self, Server};

/// How the directory answers from now on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Answer {
    /// 200
    #[default]
    Allowed,
    Status(u16),
    /// 200 after this time.
    Late(Duration),
    /// It never answers.
    Hang,
    /// It closes the connection without an answer.
    Reset,
}

/// A question that was received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    pub method: String,
    pub authority: String,
    /// Path and query.
    pub path: String,
    pub authorization: String,
    pub request_id: String,
    /// The names of all its headers, in lower case.
    pub headers: Vec<String>,
}

/// The handle. The server stops when it is dropped.
pub struct Directory {
    server: Server,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    answer: Answer,
    asked: Vec<Asked>,
}

impl Directory {
    /// Starts to listen on a free port.
    pub async fn start() -> Result<Directory> {
        let state = Arc::new(Mutex::new(State::default()));
        let shared = state.clone();
        let server = Server::start(move |stream| {
            let shared = shared.clone();
            async move {
                let handler = move |request| answer(shared.clone(), request);
                let _ = server::serve_http(stream, handler).await;
            }
        })
        .await?;
        Ok(Directory { server, state })
    }

    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    pub fn set_answer(&self, answer: Answer) {
        lock(&self.state).answer = answer;
    }

    /// The questions since the last call.
    pub fn take_asked(&self) -> Vec<Asked> {
        std::mem::take(&mut lock(&self.state).asked)
    }

    /// Closes the port, so that connections are refused.
    pub async fn down(&self) {
        self.server.down().await;
    }

    pub async fn up(&self) -> Result<()> {
        self.server.up().await
    }
}

async fn answer(
    state: Arc<Mutex<State>>,
    request: hyper::Request<hyper::body::Incoming>,
) -> Result<Response<server::Body>> {
    let header = |name: &str| {
        let value = request.headers().get(name);
        value.map_or(String::new(), |value| {
            String::from_utf8_lossy(value.as_bytes()).into_owned()
        })
    };
    let asked = Asked {
        method: request.method().to_string(),
        authority: header("host"),
        path: request
            .uri()
            .path_and_query()
            .map(ToString::to_string)
            .unwrap_or_default(),
        authorization: header("authorization"),
        request_id: header("x-request-id"),
        headers: request.headers().keys().map(ToString::to_string).collect(),
    };
    let answer = {
        let mut state = lock(&state);
        state.asked.push(asked);
        state.answer
    };
    let status = match answer {
        Answer::Allowed => 200,
        Answer::Status(status) => status,
        Answer::Late(pause) => {
            tokio::time::sleep(pause).await;
            200
        }
        Answer::Hang => std::future::pending().await,
        Answer::Reset => return Err(anyhow!("reset as told")),
    };
    let mut response = Response::new(server::full("{\"id\": \"whatever\"}"));
    *response.status_mut() = StatusCode::from_u16(status)?;
    Ok(response)
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
