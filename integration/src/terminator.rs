//! Terminates TLS in front of a server that has none.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Result;
use tokio::io::copy_bidirectional;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::authority::Authority;
use crate::server::Server;

/// Starts a server with a certificate for that name, which passes on what it decrypts.
pub async fn terminate(authority: &Authority, name: &str, to: SocketAddr) -> Result<Server> {
    let (certificate, key) = authority.issue(&[name])?;
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from_pem_slice(certificate.as_bytes())?],
            PrivateKeyDer::from_pem_slice(key.as_bytes())?,
        )?;
    let acceptor = TlsAcceptor::from(Arc::new(config));
    Server::start(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            // A client that does not trust the certificate leaves, which is what some tests are about.
            let Ok(mut inside) = acceptor.accept(stream).await else {
                return;
            };
            let Ok(mut outside) = TcpStream::connect(to).await else {
                return;
            };
            let _ = copy_bidirectional(&mut inside, &mut outside).await;
        }
    })
    .await
}
