//! Sends requests exactly as given, over HTTP/1.1 and HTTP/2, and reads the answers.
//!
//! Ordinary clients repair or refuse exactly what these tests are about: repeated headers, bytes that are not text,
//! odd paths. Both protocols are therefore implemented here, with one connection for each request.

pub mod h1;
pub mod h2;
mod message;
pub mod websocket;

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, anyhow};

pub use message::{Protocol, RawRequest, Reply, Target};

impl RawRequest {
    /// Send it and wait for the whole answer.
    pub async fn send(&self, target: &Target, protocol: Protocol) -> Result<Reply> {
        let exchange = async {
            match protocol {
                Protocol::H1 => h1::exchange(target, self).await,
                Protocol::H2 => h2::exchange(target, self).await,
            }
        };
        tokio::time::timeout(PATIENCE, exchange)
            .await
            .map_err(|_| anyhow!("no full answer within {PATIENCE:?}"))?
    }
}

/// GET over HTTP/1.1 from a server of the test itself.
pub async fn get(address: SocketAddr, path: &str) -> Result<Reply> {
    let mut request = RawRequest::get(path);
    request.authority = Some(address.to_string().into_bytes());
    request.send(&Target::plain(address), Protocol::H1).await
}

/// POST a form over HTTP/1.1 to a server of the test itself.
pub async fn post_form(address: SocketAddr, path: &str, fields: &[(&str, &str)]) -> Result<Reply> {
    let body = form_urlencoded::Serializer::new(String::new())
        .extend_pairs(fields)
        .finish();
    let mut request = RawRequest::post(path, body);
    request.authority = Some(address.to_string().into_bytes());
    request
        .header("content-type", "application/x-www-form-urlencoded")
        .send(&Target::plain(address), Protocol::H1)
        .await
}

/// How long an answer may take: longer than any wait that the gate may be configured with, and shorter than a test
/// runner's patience.
const PATIENCE: Duration = Duration::from_secs(30);
