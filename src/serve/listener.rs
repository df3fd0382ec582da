//! Listeners, which accept and end connections.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::time::{Duration, sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

use super::answer::FullResponse;
use super::places::{Limits, Place, Places};

/// The maximum number of simultaneous connections to the listener for documents. Those to the
/// health port are counted separately. Processes often have no more than 1,024 descriptors.
const CONNECTIONS: usize = 512;

/// The maximum number of simultaneous connections to the listener for health and metrics.
const HEALTH_CONNECTIONS: usize = 128;

/// The maximum number of connections that wait to be accepted. A client that finds the queue
/// full tries again only after a second, so the queue is longer than the 128 of the standard
/// library. The system has a limit of its own (`net.core.somaxconn`, usually 4,096).
const QUEUE: u32 = 4096;

/// The longest time from the connection to the end of the first request's head, including the
/// handshake.
const FIRST: Duration = Duration::from_secs(10);

/// The longest time between two requests on a connection. It is longer than the default
/// interval at which gates poll, so that connections are kept.
const IDLE: Duration = Duration::from_secs(120);

/// How long open requests may take once no new ones are accepted.
const LAST: Duration = Duration::from_secs(5);

/// How a listener protects its connections. Its certificate may change.
#[derive(Clone, Debug)]
pub enum Security {
    /// It does not: plain HTTP.
    Plain,
    /// It uses TLS with this certificate.
    Tls(watch::Receiver<Arc<ServerConfig>>),
}

/// What a listener is for.
#[derive(Clone, Copy, Debug)]
pub enum Purpose {
    /// The document.
    Documents,
    /// Health and metrics.
    Health,
}

impl Purpose {
    const fn limits(self) -> Limits {
        let places = match self {
            Self::Documents => CONNECTIONS,
            Self::Health => HEALTH_CONNECTIONS,
        };
        Limits {
            places,
            first: FIRST,
            idle: IDLE,
        }
    }
}

/// Answers every request on `listener` until `end` becomes true.
pub async fn serve<F>(
    listener: TcpListener,
    purpose: Purpose,
    security: Security,
    answer: F,
    mut end: watch::Receiver<bool>,
) where
    F: Fn(&Request<Incoming>) -> FullResponse + Clone + Send + Sync + 'static,
{
    let graceful = GracefulShutdown::new();
    let places = Places::new(purpose.limits());
    loop {
        let stream = tokio::select! {
            stream = accept(&listener) => stream,
            _ = end.wait_for(|end| *end) => break,
        };
        let place = Arc::new(places.take());
        let talk = secure(
            stream,
            security.clone(),
            answer.clone(),
            Arc::clone(&place),
            graceful.watcher(),
        );
        tokio::spawn(async move {
            tokio::select! {
                () = talk => {}
                () = place.lost() => {}
            }
        });
    }
    drop(listener);
    let _ = timeout(LAST, graceful.shutdown()).await;
}

/// Waits for the next connection.
async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            // There are no descriptors left, or the client has gone. Both are temporary.
            Err(_) => sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn secure<F>(
    stream: TcpStream,
    security: Security,
    answer: F,
    place: Arc<Place>,
    watcher: Watcher,
) where
    F: Fn(&Request<Incoming>) -> FullResponse + Clone,
{
    match security {
        Security::Plain => talk(stream, answer, place, watcher).await,
        Security::Tls(config) => {
            let config = Arc::clone(&config.borrow());
            if let Ok(stream) = TlsAcceptor::from(config).accept(stream).await {
                talk(stream, answer, place, watcher).await;
            }
        }
    }
}

async fn talk<S, F>(stream: S, answer: F, place: Arc<Place>, watcher: Watcher)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
    F: Fn(&Request<Incoming>) -> FullResponse + Clone,
{
    let service = service_fn(move |request| {
        let answer = answer(&request);
        if is_for_the_admitted(answer.status()) {
            place.asked();
        }
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
    // It is not a failure of this program if a client breaks off.
    let _ = watcher.watch(connection).await;
}

/// Whether a status is one that only admitted callers get. A caller without a token does not
/// get it, and neither does one that requests something which does not exist.
fn is_for_the_admitted(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::OK | StatusCode::NOT_MODIFIED | StatusCode::SERVICE_UNAVAILABLE
    )
}

/// Listens on that address.
///
/// # Errors
/// The address, and why it cannot be used.
pub fn bind(address: SocketAddr) -> Result<TcpListener, String> {
    let bound = || {
        let socket = if address.is_ipv4() {
            TcpSocket::new_v4()
        } else {
            TcpSocket::new_v6()
        }?;
        // After a restart, the program need not wait for connections that have just ended.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(QUEUE)
    };
    bound().map_err(|error| format!("{address}: {error}"))
}
