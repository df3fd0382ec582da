//! The origin of a page in a browser (RFC 6454), compared byte for byte.

use std::net::Ipv6Addr;
use std::sync::Arc;

/// Longest origin, in bytes.
pub const MAX_ORIGIN: usize = 300;

/// A configured origin, as browsers send it: `https://grafana.example.com`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Origin(Arc<str>);

impl Origin {
    /// Parses an origin. A text that no browser would send is refused, because it could never
    /// match.
    ///
    /// # Errors
    /// The rule that the text breaks.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        if text == "*" || text == "null" {
            return Err("must be one origin: * and null are what any page can send");
        }
        let (scheme, rest) = text
            .split_once("://")
            .filter(|(scheme, _)| matches!(*scheme, "http" | "https"))
            .ok_or("must begin with http:// or https://, as in https://grafana.example.com")?;
        let (host, port) = match rest.rsplit_once(':') {
            // The colons of an IPv6 address stand within its brackets.
            Some((host, port)) if !port.contains(']') => (host, Some(port)),
            _ => (rest, None),
        };
        if text.len() > MAX_ORIGIN || !is_host(host) {
            return Err(
                "must be scheme, host and port as a browser sends them: in lowercase, without a path or a slash at the end",
            );
        }
        if let Some(port) = port {
            let default = if scheme == "http" { 80 } else { 443 };
            let number = port
                .parse::<u16>()
                .ok()
                .filter(|_| !port.starts_with(['0', '+']));
            if number.is_none_or(|number| number == default) {
                return Err("must have a port of 1 to 65535, or none where it is the default one");
            }
        }
        Ok(Self(text.into()))
    }

    /// The origin as it appears in headers.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A name, or an IPv6 address in brackets.
fn is_host(host: &str) -> bool {
    if let Some(address) = host.strip_prefix('[') {
        let address = address.strip_suffix(']');
        return address.is_some_and(|address| {
            address
                .parse::<Ipv6Addr>()
                .is_ok_and(|parsed| parsed.to_string() == address)
        });
    }
    let plain = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_')
    };
    host.split('.')
        .all(|label| !label.is_empty() && label.bytes().all(plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_what_browsers_send() {
        for good in [
            "https://grafana.example.com",
            "http://localhost:3000",
            "https://[::1]:8443",
            "https://[::1]",
            "http://10.0.0.1",
        ] {
            assert!(Origin::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "*",
            "null",
            "grafana.example.com",
            "https://",
            "https://*.example.com",
            "https://grafana.example.com/",
            "https://Grafana.example.com",
            "HTTPS://grafana.example.com",
            "https://grafana.example.com:443",
            "http://grafana.example.com:80",
            "https://grafana.example.com:",
            "https://grafana.example.com:0",
            "https://grafana.example.com:08443",
            "https://grafana.example.com:65536",
            "https://user@grafana.example.com",
            "https://a b",
            "https://a, https://b",
            "ftp://example.com",
            "https://example.com?x",
            "https://[",
            "https://[::1",
            "https://[::1]:",
            "https://a:1:8443",
            "https://..",
            "https://a..b",
            "https://a.",
        ] {
            assert!(Origin::parse(bad).is_err(), "{bad}");
        }
    }
}
