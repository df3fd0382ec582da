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

/// A server with a certificate for that name, which passes on what it decrypts.
pub async fn terminate(authority: &Authority, name: &str, to: SocketAddr) -> Result<Server> {
    let acceptor = acceptor(authority, name)?;
    Server::start(move |stream| decrypt(acceptor.clone(), stream, to)).await
}

/// The same at an address of the caller's.
pub fn terminate_at(
    at: SocketAddr,
    authority: &Authority,
    name: &str,
    to: SocketAddr,
) -> Result<Server> {
    let acceptor = acceptor(authority, name)?;
    Server::start_at(at, move |stream| decrypt(acceptor.clone(), stream, to))
}

fn acceptor(authority: &Authority, name: &str) -> Result<TlsAcceptor> {
    let (certificate, key) = authority.issue(&[name])?;
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from_pem_slice(certificate.as_bytes())?],
            PrivateKeyDer::from_pem_slice(key.as_bytes())?,
        )?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

async fn decrypt(acceptor: TlsAcceptor, stream: TcpStream, to: SocketAddr) {
    // A client that does not trust the certificate leaves, which is what some tests are about.
    let Ok(mut inside) = acceptor.accept(stream).await else {
        return;
    };
    let Ok(mut outside) = TcpStream::connect(to).await else {
        return;
    };
    let _ = copy_bidirectional(&mut inside, &mut outside).await;
}

/// A server that passes on every byte as it comes.
pub fn relay(at: SocketAddr, to: SocketAddr) -> Result<Server> {
    Server::start_at(at, move |mut inside| async move {
        let Ok(mut outside) = TcpStream::connect(to).await else {
            return;
        };
        let _ = copy_bidirectional(&mut inside, &mut outside).await;
    })
}
