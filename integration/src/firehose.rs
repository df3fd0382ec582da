//! A gRPC server that sends more than a slow reader accepts. One tenant gets endless streams, as fast as HTTP/2
//! allows, and everybody else gets one message.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{HeaderMap, HeaderValue};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tokio::net::TcpStream;
use tonic::Streaming;

use crate::grpc::{self, GrpcClient, SEARCH, SearchRequest, SearchResponse, TraceSearchMetadata};
use crate::server::{Body, Server};

/// The handle. The server stops when it is dropped.
pub struct Firehose {
    server: Server,
    open: Arc<AtomicUsize>,
    connections: Arc<AtomicUsize>,
}

impl Firehose {
    /// Starts to listen on a free loopback port. `greedy` is the tenant whose streams have no end.
    ///
    /// # Errors
    /// There is no free port.
    pub async fn start(greedy: &str) -> Result<Firehose> {
        let greedy: Arc<str> = Arc::from(greedy);
        let open = Arc::new(AtomicUsize::new(0));
        let connections = Arc::new(AtomicUsize::new(0));
        let (opened, connected) = (Arc::clone(&open), Arc::clone(&connections));
        let server = Server::start(move |stream| {
            connected.fetch_add(1, Ordering::Relaxed);
            serve(stream, Arc::clone(&greedy), Arc::clone(&opened))
        })
        .await?;
        Ok(Firehose {
            server,
            open,
            connections,
        })
    }

    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// The number of endless streams that are open.
    #[must_use]
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// The number of connections so far.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

/// Serves one connection to its end. The client has to limit the number of streams.
async fn serve(stream: TcpStream, greedy: Arc<str>, open: Arc<AtomicUsize>) {
    let service = service_fn(move |request| answer(request, Arc::clone(&greedy), open.clone()));
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder.max_concurrent_streams(None);
    // It is up to the other side how a connection ends.
    let _ = builder
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn answer(
    request: Request<Incoming>,
    greedy: Arc<str>,
    open: Arc<AtomicUsize>,
) -> Result<Response<Body>> {
    let tenant = request.headers().get("x-scope-orgid").cloned();
    let Some(tenant) = tenant.as_ref().and_then(|tenant| tenant.to_str().ok()) else {
        bail!("no tenant");
    };
    let is_greedy = tenant == &*greedy;
    let message = message(tenant, if is_greedy { CHUNK } else { 0 });
    request.into_body().collect().await?;
    let response = Response::builder().header("content-type", "application/grpc");
    let body = if is_greedy {
        open.fetch_add(1, Ordering::Relaxed);
        let end = End(open);
        let frames = stream::repeat_with(move || {
            let _ = &end;
            Ok(Frame::data(message.clone()))
        });
        StreamBody::new(frames).boxed_unsync()
    } else {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        let frames = [Ok(Frame::data(message)), Ok(Frame::trailers(trailers))];
        StreamBody::new(stream::iter(frames)).boxed_unsync()
    };
    let body = body.map_err(|never: Infallible| match never {});
    Ok(response.body(body.boxed_unsync())?)
}

/// A search result for that tenant, with a name of `bytes` bytes.
fn message(tenant: &str, bytes: usize) -> Bytes {
    let found = TraceSearchMetadata {
        root_service_name: tenant.to_owned(),
        root_trace_name: "x".repeat(bytes),
        ..TraceSearchMetadata::default()
    };
    let response = SearchResponse {
        traces: vec![found],
    };
    grpc::framed(&response.encode_to_vec())
}

/// Dropped together with its stream.
struct End(Arc<AtomicUsize>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Calls whose answers nobody reads. Each has a connection of its own with the smallest window that HTTP/2 has, so
/// the gate has to hold what the backend has sent, or hold the backend back. They end when they are dropped.
pub struct SlowReaders {
    answers: Vec<Streaming<SearchResponse>>,
}

impl SlowReaders {
    /// Opens this many calls, and waits until each has an answer.
    ///
    /// # Errors
    /// One of them is refused.
    pub async fn open(
        gate: SocketAddr,
        bearer: &str,
        tenant: &str,
        count: usize,
    ) -> Result<SlowReaders> {
        let metadata = [("authorization", bearer), ("x-scope-orgid", tenant)];
        let opened = stream::iter(0..count).map(|_| async {
            let client = GrpcClient::connect_narrow(gate, LEAST_WINDOW).await?;
            let answer = client.open(SEARCH, &metadata, SearchRequest::default());
            answer.await.context("a slow reader is refused")
        });
        let answers: Vec<Result<_>> = opened.buffer_unordered(AT_ONCE).collect().await;
        let answers = answers.into_iter().collect::<Result<_>>()?;
        Ok(SlowReaders { answers })
    }

    #[must_use]
    pub fn count(&self) -> usize {
        self.answers.len()
    }
}

/// RFC 9113 §6.9.2. A connection begins with this window and cannot have a smaller one.
const LEAST_WINDOW: u32 = 65_535;
const AT_ONCE: usize = 16;
const CHUNK: usize = 32 * 1024;
