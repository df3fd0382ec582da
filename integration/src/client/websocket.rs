//! A WebSocket client for the tail endpoints.

use std::net::SocketAddr;

use anyhow::{Result, anyhow};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, http};

/// The outcome of a handshake.
pub enum Handshake {
    Open(Box<WebSocketStream<TcpStream>>),
    /// The answer was not a 101.
    Refused(http::Response<Option<Vec<u8>>>),
}

/// Opens a WebSocket at that address. `headers` are added to those of the handshake.
pub async fn open(address: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Result<Handshake> {
    let mut request = format!("ws://{address}{path}").into_client_request()?;
    for (name, value) in headers {
        let name: http::HeaderName = name.parse()?;
        request.headers_mut().append(name, value.parse()?);
    }
    let stream = TcpStream::connect(address).await?;
    match tokio_tungstenite::client_async(request, stream).await {
        Ok((socket, _)) => Ok(Handshake::Open(Box::new(socket))),
        Err(Error::Http(response)) => Ok(Handshake::Refused(*response)),
        Err(error) => Err(anyhow!("handshake: {error}")),
    }
}
