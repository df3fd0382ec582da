//! The certificate of the server, from files that may change.

use std::fmt;
use std::sync::Arc;

use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject as _};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, ServerConfig};

/// Prepares a TLS listener from a certificate chain and its private key, both in PEM.
///
/// # Errors
/// One of them cannot be read, or they do not belong together.
pub fn parse(certificate: &[u8], key: &[u8]) -> Result<Arc<ServerConfig>, TlsError> {
    let chain = CertificateDer::pem_slice_iter(certificate)
        .collect::<Result<Vec<_>, _>>()
        .map_err(TlsError::Certificate)?;
    if chain.is_empty() {
        return Err(TlsError::NoCertificate);
    }
    let key = PrivateKeyDer::from_pem_slice(key).map_err(TlsError::Key)?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .map_err(TlsError::Both)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Why TLS cannot be used.
#[derive(Debug)]
pub enum TlsError {
    /// The two do not belong together, or the library cannot use them.
    Both(rustls::Error),
    /// The file of the certificate cannot be read.
    Certificate(pem::Error),
    /// The file of the key cannot be read.
    Key(pem::Error),
    /// The file of the certificate holds none.
    NoCertificate,
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Both(error) => write!(f, "certificate and key: {error}"),
            Self::Certificate(error) => write!(f, "certificate: {error}"),
            Self::Key(error) => write!(f, "key: {error}"),
            Self::NoCertificate => f.write_str("certificate: there is none in the file"),
        }
    }
}

impl std::error::Error for TlsError {}
