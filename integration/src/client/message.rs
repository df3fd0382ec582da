//! A request, its target, and the answer.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use anyhow::{Context, Result};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// The server to send a request to.
#[derive(Clone, Debug)]
pub struct Target {
    pub address: SocketAddr,
    /// The trusted certificate in DER and the server name to ask for. `None` stands for plain text.
    pub tls: Option<(Vec<u8>, String)>,
}

/// The version of HTTP over which a request is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    H1,
    H2,
}

/// A request as it is sent. Nothing is added except what the protocol requires: the authority, and `content-length`
/// if there is a body but no length or transfer-encoding is given.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RawRequest {
    pub method: Vec<u8>,
    pub path: Vec<u8>,
    /// `host` in HTTP/1.1, and `:authority` in HTTP/2. `None` leaves it out.
    pub authority: Option<Vec<u8>>,
    pub headers: Vec<(Vec<u8>, Vec<u8>)>,
    pub body: Vec<u8>,
}

/// An answer, including repeated headers and trailers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reply {
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, Vec<u8>)>,
    pub body: Vec<u8>,
    pub trailers: Vec<(String, Vec<u8>)>,
}

impl Target {
    #[must_use]
    pub fn plain(address: SocketAddr) -> Target {
        Target { address, tls: None }
    }

    #[must_use]
    pub fn tls(address: SocketAddr, certificate: &[u8], name: &str) -> Target {
        Target {
            address,
            tls: Some((certificate.to_vec(), name.to_owned())),
        }
    }

    #[must_use]
    pub fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }

    /// A connection, over which that protocol is spoken if it has TLS.
    pub async fn connect(&self, alpn: &[u8]) -> Result<Connected> {
        let stream = TcpStream::connect(self.address)
            .await
            .with_context(|| format!("cannot connect to {}", self.address))?;
        stream.set_nodelay(true)?;
        let Some((certificate, name)) = &self.tls else {
            return Ok(Box::pin(stream));
        };
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(certificate.clone()))?;
        let mut config = ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![alpn.to_vec()];
        let name = ServerName::try_from(name.clone())?;
        let stream = TlsConnector::from(Arc::new(config))
            .connect(name, stream)
            .await?;
        Ok(Box::pin(stream))
    }
}

/// A connection to a target.
pub type Connected = Pin<Box<dyn Stream>>;

/// Any bidirectional stream of bytes.
pub trait Stream: AsyncRead + AsyncWrite + Send {}

impl<T: AsyncRead + AsyncWrite + Send> Stream for T {}

impl RawRequest {
    #[must_use]
    pub fn new(method: &str, path: &str) -> RawRequest {
        RawRequest {
            method: method.into(),
            path: path.into(),
            authority: Some(b"observability.example.com".to_vec()),
            ..RawRequest::default()
        }
    }

    #[must_use]
    pub fn get(path: &str) -> RawRequest {
        RawRequest::new("GET", path)
    }

    pub fn post(path: &str, body: impl Into<Vec<u8>>) -> RawRequest {
        RawRequest {
            body: body.into(),
            ..RawRequest::new("POST", path)
        }
    }

    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<Vec<u8>>) -> RawRequest {
        self.headers.push((name.into(), value.into()));
        self
    }

    #[must_use]
    pub fn bearer(self, token: &str) -> RawRequest {
        self.header("authorization", format!("Bearer {token}"))
    }

    #[must_use]
    pub fn tenant(self, tenant: &str) -> RawRequest {
        self.header("x-scope-orgid", tenant)
    }

    fn lacks(&self, name: &str) -> bool {
        !self
            .headers
            .iter()
            .any(|(known, _)| known.eq_ignore_ascii_case(name.as_bytes()))
    }

    /// The request as HTTP/1.1 writes it, whatever it holds.
    #[must_use]
    pub fn written(&self) -> Vec<u8> {
        let mut text = [self.method.as_slice(), b" ", &self.path, b" HTTP/1.1\r\n"].concat();
        let host = self.authority.iter();
        let host = host.map(|host| (&b"host"[..], host.as_slice()));
        let headers = self.headers.iter();
        let headers = headers.map(|(name, value)| (name.as_slice(), value.as_slice()));
        for (name, value) in host.chain(headers) {
            text.extend_from_slice(&[name, b": ", value, b"\r\n"].concat());
        }
        text.extend_from_slice(b"\r\n");
        text.extend_from_slice(&self.body);
        text
    }

    /// Whether the length of its body is sent although nobody has given one.
    pub(crate) fn needs_length(&self) -> bool {
        let has_body = !self.body.is_empty() || self.method == b"POST" || self.method == b"PUT";
        has_body && self.lacks("content-length") && self.lacks("transfer-encoding")
    }
}

impl Reply {
    /// The first value of that header, as text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<String> {
        self.all(name).into_iter().next()
    }

    /// All values of that header, as text.
    #[must_use]
    pub fn all(&self, name: &str) -> Vec<String> {
        self.headers
            .iter()
            .filter(|(known, _)| known == name)
            .map(|(_, value)| String::from_utf8_lossy(value).into_owned())
            .collect()
    }

    /// The status from the trailers, or from the headers of a trailers-only answer.
    #[must_use]
    pub fn grpc_status(&self) -> Option<i32> {
        self.trailers
            .iter()
            .chain(&self.headers)
            .find(|(name, _)| name == "grpc-status")
            .and_then(|(_, value)| std::str::from_utf8(value).ok()?.parse().ok())
    }

    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Result<Value> {
        serde_json::from_slice(&self.body)
            .with_context(|| format!("{} {}: no JSON", self.status, self.text()))
    }
}
