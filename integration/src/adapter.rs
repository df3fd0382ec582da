//! Lets a Prometheus stand in for Mimir.
//!
//! Mimir takes remote writes at `/api/v1/push`, which is where the gate sends them; Prometheus takes them at
//! `/api/v1/write` under its route prefix. This adapter maps that one path and passes everything else through
//! unchanged. It enforces nothing. Prometheus knows no tenants, so only the gate keeps them apart here. The adapter
//! remembers the tenant of each request, because behind the gate that can be seen nowhere else.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::TcpStream;

use crate::server::Server;

/// The handle; the adapter stops when it is dropped.
pub struct MimirAdapter {
    server: Server,
    passed: Arc<Mutex<Vec<Passed>>>,
}

/// A request that passed through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passed {
    /// The path, as the gate sent it.
    pub path: String,
    pub tenant: Option<String>,
}

impl MimirAdapter {
    /// Starts the adapter in front of a Prometheus that serves under `/prometheus`.
    pub async fn start(prometheus: SocketAddr) -> Result<MimirAdapter> {
        let passed = Arc::new(Mutex::new(Vec::new()));
        let seen = passed.clone();
        let server = Server::start(move |stream| {
            let seen = seen.clone();
            async move {
                // Either end may leave at any time. That ends the connection, and nothing else.
                let _ = pass(stream, prometheus, &seen).await;
            }
        })
        .await?;
        Ok(MimirAdapter { server, passed })
    }

    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// All requests so far.
    pub fn passed(&self) -> Vec<Passed> {
        self.passed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// Handles one request per connection: the head is rewritten, and the rest is passed on as bytes.
async fn pass(
    mut client: TcpStream,
    prometheus: SocketAddr,
    seen: &Mutex<Vec<Passed>>,
) -> Result<()> {
    let mut received = Vec::new();
    let end = loop {
        if let Some(at) = received.windows(4).position(|window| window == b"\r\n\r\n") {
            break at;
        }
        if client.read_buf(&mut received).await? == 0 {
            bail!("no request");
        }
    };
    let head = String::from_utf8_lossy(&received[..end]).into_owned();
    let (request_line, fields) = head.split_once("\r\n").unwrap_or((head.as_str(), ""));
    let mut words = request_line.splitn(3, ' ');
    let (method, path) = (
        words.next().context("no method")?,
        words.next().context("no path")?,
    );
    let tenant = fields
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("x-scope-orgid"))
        .map(|(_, value)| value.trim().to_owned());
    seen.lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(Passed {
            path: path.to_owned(),
            tenant,
        });
    let target = if path == PUSH { WRITE } else { path };
    // With `close`, the end of the answer is the end of the connection, so no second head has to be found.
    let mut forwarded = format!("{method} {target} HTTP/1.1\r\nconnection: close\r\n");
    for line in fields.lines() {
        let is_connection = line
            .split_once(':')
            .is_some_and(|(name, _)| name.eq_ignore_ascii_case("connection"));
        if !is_connection {
            forwarded.push_str(line);
            forwarded.push_str("\r\n");
        }
    }
    forwarded.push_str("\r\n");
    let mut server = TcpStream::connect(prometheus).await?;
    server.write_all(forwarded.as_bytes()).await?;
    server.write_all(&received[end + 4..]).await?;
    copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}

const PUSH: &str = "/api/v1/push";
const WRITE: &str = "/prometheus/api/v1/write";
