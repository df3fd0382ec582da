//! An upstream that stands in for Tempo if no Tempo program is available.
//!
//! It stores the spans that it is sent, by tenant, and answers queries about them as Tempo (2026-08) does with
//! `multitenancy_enabled`, `query_frontend.multi_tenant_queries_enabled` and `stream_over_http_enabled`. Comments
//! that begin with "Tempo" name the behaviour that is imitated. What is not imitated is refused:
//!
//! 1. of TraceQL, only what `traceql.rs` describes is accepted; anything else is 400 or INVALID_ARGUMENT;
//! 2. nothing is stored on disk: [`TempoStandIn::down`] closes the ports and keeps the spans, as the write-ahead log
//!    would;
//! 3. a request target has to be escaped (`"` as `%22`), which Tempo does not require.

mod grpc;
mod http;
mod ingest;
mod metrics;
mod operational;
mod parameters;
mod shared;
mod span;
mod store;
mod traceql;
pub mod wire;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use anyhow::Result;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::{Request, Response, Version};

use crate::server::{Body, Server, serve_http};
use shared::Shared;

/// The handle. The listeners stop when it is dropped.
pub struct TempoStandIn {
    http: Server,
    otlp_http: Server,
    otlp_grpc: Server,
    shared: Arc<Shared>,
}

impl TempoStandIn {
    /// Starts to listen on three free loopback ports.
    pub async fn start() -> Result<TempoStandIn> {
        let shared = Arc::<Shared>::default();
        Ok(TempoStandIn {
            http: listen(&shared, query_port).await?,
            otlp_http: listen(&shared, ingest::http).await?,
            otlp_grpc: listen(&shared, otlp_grpc_port).await?,
            shared,
        })
    }

    /// The port for the HTTP API and streaming gRPC (Tempo's 3200).
    pub fn http(&self) -> SocketAddr {
        self.http.address()
    }

    /// The port for OTLP over HTTP (Tempo's 4318).
    pub fn otlp_http(&self) -> SocketAddr {
        self.otlp_http.address()
    }

    /// The port for OTLP over gRPC (Tempo's 4317).
    pub fn otlp_grpc(&self) -> SocketAddr {
        self.otlp_grpc.address()
    }

    /// Closes all three ports, so that connections are refused.
    pub async fn down(&self) {
        for server in self.servers() {
            server.down().await;
        }
    }

    /// Opens the same ports again, with every span still there.
    pub async fn up(&self) -> Result<()> {
        for server in self.servers() {
            server.up().await?;
        }
        Ok(())
    }

    /// The number of requests that have reached any of the ports, whatever their outcome.
    pub fn requests(&self) -> usize {
        self.shared.requests.load(Ordering::SeqCst)
    }

    /// The number of spans that the tenant has.
    pub fn spans(&self, tenant: &str) -> usize {
        self.shared.store.spans(&[tenant.to_owned()]).len()
    }

    fn servers(&self) -> [&Server; 3] {
        [&self.http, &self.otlp_http, &self.otlp_grpc]
    }
}

async fn listen<H, F>(shared: &Arc<Shared>, handler: H) -> Result<Server>
where
    H: Fn(Arc<Shared>, Request<Incoming>) -> F + Copy + Send + Sync + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let shared = shared.clone();
    Server::start(move |stream| {
        let shared = shared.clone();
        async move {
            // It does not matter here how a connection ends, because what was requested has been counted.
            let _ = serve_http(stream, move |request| {
                shared.requests.fetch_add(1, Ordering::SeqCst);
                let answer = handler(shared.clone(), request);
                async move { Ok(answer.await) }
            })
            .await;
        }
    })
    .await
}

/// Tempo with `stream_over_http_enabled`: HTTP/2 with a gRPC content type goes to the gRPC server, the rest to HTTP.
async fn query_port(shared: Arc<Shared>, request: Request<Incoming>) -> Response<Body> {
    if request.version() == Version::HTTP_2 && grpc::is_grpc(request.headers()) {
        let route = request.uri().path().to_owned();
        let (answer, good) = grpc::answer(&shared, request, grpc::query).await;
        // dskit's labels for gRPC.
        let status = if good { "success" } else { "error" };
        shared.count("gRPC", &route, status);
        return answer;
    }
    let (head, body) = request.into_parts();
    // Tempo's read handlers look only at the URL. The body is read so that the client can finish.
    let _ = body.collect().await;
    http::answer(&shared, &head)
}

async fn otlp_grpc_port(shared: Arc<Shared>, request: Request<Incoming>) -> Response<Body> {
    grpc::answer(&shared, request, ingest::grpc).await.0
}
