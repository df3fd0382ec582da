//! A WebSocket client for the tail endpoints.

use std::net::SocketAddr;

use anyhow::{Result, anyhow};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, http};

use super::message::{Connected, Target};

/// The outcome of a handshake.
pub enum Handshake<S = TcpStream> {
    Open(Box<WebSocketStream<S>>),
    /// The answer was not a 101.
    Refused(http::Response<Option<Vec<u8>>>),
}

/// Opens a WebSocket at that address. `headers` are added to those of the handshake.
pub async fn open(address: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Result<Handshake> {
    let stream = TcpStream::connect(address).await?;
    handshake(stream, &address.to_string(), path, headers).await
}

/// Opens a WebSocket at that target, with TLS if it has that.
pub async fn open_at(
    target: &Target,
    path: &str,
    headers: &[(&str, &str)],
) -> Result<Handshake<Connected>> {
    let authority = match &target.tls {
        Some((_, name)) => name.clone(),
        None => target.address.to_string(),
    };
    let stream = target.connect(b"http/1.1").await?;
    handshake(stream, &authority, path, headers).await
}

async fn handshake<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    authority: &str,
    path: &str,
    headers: &[(&str, &str)],
) -> Result<Handshake<S>> {
    let mut request = format!("ws://{authority}{path}").into_client_request()?;
    for (name, value) in headers {
        let name: http::HeaderName = name.parse()?;
        request.headers_mut().append(name, value.parse()?);
    }
    match tokio_tungstenite::client_async(request, stream).await {
        Ok((socket, _)) => Ok(Handshake::Open(Box::new(socket))),
        Err(Error::Http(response)) => Ok(Handshake::Refused(*response)),
        Err(error) => Err(anyhow!("handshake: {error}")),
    }
}
