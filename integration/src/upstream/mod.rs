//! Backends that record what reaches them: HTTP/1.1, h2c, gRPC and WebSocket on one loopback port.
//!
//! A request is recorded when its head arrives, before anything is answered. "The upstream saw nothing" is therefore
//! true even for requests that were cut off later. The header `x-test-id` distinguishes the requests of parallel
//! tests.

mod record;
mod wire;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use anyhow::Result;

use crate::server::Server;
use record::{Shared, lock};
use wire::connection;

pub use record::{Behaviour, OWN_CORS, Seen, TEST_ID, UpstreamLog};

/// The handle. The server stops when it is dropped.
pub struct Upstream {
    name: String,
    server: Server,
    shared: Arc<Shared>,
}

impl Upstream {
    /// Starts to listen on a free port, recording into `log`.
    pub async fn start(name: &str, log: &UpstreamLog) -> Result<Upstream> {
        let shared = Arc::new(Shared {
            name: name.to_owned(),
            log: log.clone(),
            behaviour: Mutex::default(),
        });
        let serving = shared.clone();
        let server = Server::start(move |stream| connection(serving.clone(), stream)).await?;
        Ok(Upstream {
            name: name.to_owned(),
            server,
            shared,
        })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    pub fn log(&self) -> &UpstreamLog {
        &self.shared.log
    }

    pub fn behave(&self, behaviour: Behaviour) {
        *lock(&self.shared.behaviour) = behaviour;
    }

    /// Closes the port, so that connections are refused.
    pub async fn down(&self) {
        self.server.down().await;
    }

    pub async fn up(&self) -> Result<()> {
        self.server.up().await
    }
}
