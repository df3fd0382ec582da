//! Listeners: connections taken, limited and ended.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use hyper::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Duration, sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

use super::answer::Answer;

/// Most connections at once on a listener.
const CONNECTIONS: usize = 512;

/// Longest handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Longest time from one request to the next on a connection: longer than gates wait from one
/// poll to the next by default, so that connections are kept.
const IDLE: Duration = Duration::from_secs(120);

/// How long open requests may take once nothing new is taken.
const LAST: Duration = Duration::from_secs(5);

/// The certificate of a listener, which may change.
#[derive(Clone, Debug)]
pub enum Security {
    /// None: plain HTTP.
    Plain,
    /// This one now.
    Tls(watch::Receiver<Arc<ServerConfig>>),
}

/// Answers every request on `listener` until `end` is true.
pub async fn serve<F>(
    listener: TcpListener,
    security: Security,
    answer: F,
    mut end: watch::Receiver<bool>,
) where
    F: Fn(&Request<Incoming>) -> Answer + Clone + Send + Sync + 'static,
{
    let graceful = GracefulShutdown::new();
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let taken = tokio::select! {
            taken = accept(&listener, &room) => taken,
            _ = end.wait_for(|end| *end) => break,
        };
        let Some((stream, permit)) = taken else { break };
        let watcher = graceful.watcher();
        let security = security.clone();
        let answer = answer.clone();
        tokio::spawn(async move {
            match security {
                Security::Plain => talk(stream, answer, watcher).await,
                Security::Tls(config) => {
                    let config = Arc::clone(&config.borrow());
                    let hands = TlsAcceptor::from(config).accept(stream);
                    if let Ok(Ok(stream)) = timeout(HANDSHAKE, hands).await {
                        talk(stream, answer, watcher).await;
                    }
                }
            }
            drop(permit);
        });
    }
    drop(listener);
    let _ = timeout(LAST, graceful.shutdown()).await;
}

type Permit = tokio::sync::OwnedSemaphorePermit;

/// The next connection, once there is room for it; none when there never will be.
async fn accept(listener: &TcpListener, room: &Arc<Semaphore>) -> Option<(TcpStream, Permit)> {
    let permit = Arc::clone(room).acquire_owned().await.ok()?;
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return Some((stream, permit)),
            // Out of descriptors, or the caller has gone: neither lasts.
            Err(_) => sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn talk<S, F>(stream: S, answer: F, watcher: hyper_util::server::graceful::Watcher)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
    F: Fn(&Request<Incoming>) -> Answer + Clone,
{
    let service = service_fn(move |request| {
        let answer = answer(&request);
        async move { Ok::<_, Infallible>(answer) }
    });
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(IDLE)
        .max_concurrent_streams(16);
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    // Whoever breaks off is no failure of ours.
    let _ = watcher.watch(connection).await;
}

/// Listens there.
///
/// # Errors
/// The address, and why it cannot be had.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, String> {
    let bound = TcpListener::bind(address).await;
    bound.map_err(|error| format!("{address}: {error}"))
}
