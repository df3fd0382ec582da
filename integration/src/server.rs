//! A small server on a loopback port that ends when its handle is dropped. It can close and reopen its port.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

pub type Body = UnsyncBoxBody<Bytes, anyhow::Error>;
type Serving = Pin<Box<dyn Future<Output = ()> + Send>>;
type Connection = Arc<dyn Fn(TcpStream) -> Serving + Send + Sync>;

/// The handle. Dropping it closes the port and every connection.
pub struct Server {
    address: SocketAddr,
    connection: Connection,
    running: Mutex<Option<JoinHandle<()>>>,
}

impl Server {
    /// Listen on a free loopback port; each connection is served by what `connection` returns.
    pub async fn start<C, F>(connection: C) -> Result<Server>
    where
        C: Fn(TcpStream) -> F + Send + Sync + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await;
        Server::on(listener.context("no loopback port")?, connection)
    }

    /// The same at an address and port of the caller's, which others may listen on too.
    pub fn start_at<C, F>(address: SocketAddr, connection: C) -> Result<Server>
    where
        C: Fn(TcpStream) -> F + Send + Sync + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        Server::on(listen(address)?, connection)
    }

    fn on<C, F>(listener: TcpListener, connection: C) -> Result<Server>
    where
        C: Fn(TcpStream) -> F + Send + Sync + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let server = Server {
            address: listener.local_addr()?,
            connection: Arc::new(move |stream| -> Serving { Box::pin(connection(stream)) }),
            running: Mutex::new(None),
        };
        server.serve(listener);
        Ok(server)
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether the port is open.
    pub fn is_up(&self) -> bool {
        self.running.lock().is_ok_and(|running| running.is_some())
    }

    /// Closes the port and all connections. The kernel then refuses the next connection.
    pub async fn down(&self) {
        let running = self
            .running
            .lock()
            .ok()
            .and_then(|mut running| running.take());
        if let Some(task) = running {
            task.abort();
            let _ = task.await;
        }
    }

    /// Opens the same port again. Does nothing if it is open.
    pub async fn up(&self) -> Result<()> {
        if self.is_up() {
            return Ok(());
        }
        let mut last = None;
        for _ in 0..50 {
            match listen(self.address) {
                Ok(listener) => {
                    self.serve(listener);
                    return Ok(());
                }
                Err(error) => last = Some(error),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Err(anyhow!("cannot reopen {}: {last:?}", self.address))
    }

    fn serve(&self, listener: TcpListener) {
        let task = tokio::spawn(accept(listener, self.connection.clone()));
        if let Ok(mut running) = self.running.lock() {
            *running = Some(task);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Ok(running) = self.running.get_mut()
            && let Some(task) = running.take()
        {
            task.abort();
        }
    }
}

/// Serves one connection with hyper, in HTTP/1.1 or h2c, depending on how the client begins. An error of the handler
/// closes the connection (in HTTP/2, the stream) without an answer. Mistakes of the client are returned as text.
pub async fn serve_http<H, F>(stream: TcpStream, handler: H) -> Result<(), String>
where
    H: Fn(Request<Incoming>) -> F,
    F: Future<Output = Result<Response<Body>>> + Send + 'static,
{
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http2().max_header_list_size(MAX_HEADER_LIST);
    builder
        .serve_connection(TokioIo::new(stream), service_fn(handler))
        .await
        .map_err(|error| error.to_string())
}

/// A body that is complete.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into())
        .map_err(|never| match never {})
        .boxed_unsync()
}

async fn accept(listener: TcpListener, connection: Connection) {
    // Dropping the set when the task is aborted also closes the connections.
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let _ = stream.set_nodelay(true);
        connections.spawn(connection(stream));
        while connections.try_join_next().is_some() {}
    }
}

/// More than anything that Envoy lets through (60 KiB by default), so that this server is never the one to refuse.
const MAX_HEADER_LIST: u32 = 1024 * 1024;

/// A port of that address, shared with whoever else asks for it like this: a proxy may listen on the same port of every
/// address.
fn listen(address: SocketAddr) -> Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    if !address.ip().is_loopback() {
        socket.set_reuseport(true)?;
    }
    let bound = socket.bind(address);
    bound.with_context(|| format!("cannot listen on {address}"))?;
    Ok(socket.listen(1024)?)
}
