//! Access to servers over HTTP/1.1 with TLS, and through a proxy if the environment variables name
//! one.

use core::time::Duration;

use ureq::Agent;
use ureq::config::Config;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

use super::console::{Fetched, Wanted, Web};

/// Servers that are reached over the network.
#[derive(Clone, Copy, Debug, Default)]
pub struct Network;

impl Web for Network {
    fn get(&mut self, wanted: Wanted<'_>) -> Result<Fetched, String> {
        let roots = match wanted.authorities {
            None => RootCerts::PlatformVerifier,
            Some(pem) => RootCerts::new_with_certs(&certificates(pem)?),
        };
        let config = Config::builder()
            .tls_config(TlsConfig::builder().root_certs(roots).build())
            .timeout_global(Some(Duration::from_millis(wanted.timeout)))
            .http_status_as_error(false)
            // The gate does not follow redirects either.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .build();
        let mut request = Agent::new_with_config(config).get(wanted.url);
        for (name, value) in wanted.headers {
            request = request.header(name, value.as_slice());
        }
        let mut response = request.call().map_err(|error| error.to_string())?;
        let status = response.status().as_u16();
        let headers = response.headers().iter();
        let headers = headers.map(|(name, value)| (name.to_string(), value.as_bytes().to_vec()));
        let headers = headers.collect();
        let most = u64::try_from(wanted.most).unwrap_or(u64::MAX);
        let body = response.body_mut().with_config().limit(most);
        Ok(Fetched {
            status,
            headers,
            body: body.read_to_vec().map_err(|error| error.to_string())?,
        })
    }
}

fn certificates(pem: &[u8]) -> Result<Vec<Certificate<'static>>, String> {
    let mut certificates = Vec::new();
    for item in parse_pem(pem) {
        match item {
            Ok(PemItem::Certificate(certificate)) => certificates.push(certificate),
            Ok(_) => {}
            Err(error) => return Err(format!("the authorities cannot be read: {error}")),
        }
    }
    if certificates.is_empty() {
        return Err("there is no certificate in the file of authorities".to_owned());
    }
    Ok(certificates)
}
