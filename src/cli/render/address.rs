//! Where something is reached: scheme, host and port of a URL.

use std::net::IpAddr;

/// Scheme, host and port.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Address {
    pub(super) tls: bool,
    /// A DNS name in small letters, or an IP address without brackets.
    pub(super) host: String,
    pub(super) port: u16,
}

impl Address {
    /// Of `http://HOST[:PORT]` or `https://HOST[:PORT]`.
    ///
    /// # Errors
    /// What is wrong with it, for people.
    pub(super) fn of_origin(url: &str) -> Result<Self, String> {
        let (address, rest) = split(url)?;
        if matches!(rest, "" | "/") {
            Ok(address)
        } else {
            Err("expected scheme, host and port alone: the path of a request is kept".to_owned())
        }
    }

    /// Of a URL, whatever its path.
    ///
    /// # Errors
    /// What is wrong with it, for people.
    pub(super) fn of_url(url: &str) -> Result<Self, String> {
        split(url).map(|(address, _)| address)
    }

    /// Whether the host is an IP address and no name.
    pub(super) fn is_ip(&self) -> bool {
        self.host.parse::<IpAddr>().is_ok()
    }

    /// Name and namespace of the Service whose name in the cluster this is.
    pub(super) fn service(&self) -> Option<(&str, &str)> {
        let (name, rest) = self.host.split_once('.')?;
        let (namespace, rest) = rest.split_once('.')?;
        matches!(rest, "svc" | "svc.cluster.local").then_some((name, namespace))
    }
}

fn split(url: &str) -> Result<(Address, &str), String> {
    let (tls, rest) = if let Some(rest) = url.strip_prefix("https://") {
        (true, rest)
    } else if let Some(rest) = url.strip_prefix("http://") {
        (false, rest)
    } else {
        return Err("expected a URL that begins with http:// or https://".to_owned());
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, rest) = rest.split_at_checked(end).unwrap_or((rest, ""));
    let parts = match authority.strip_prefix('[') {
        Some(inner) => inner.split_once(']').and_then(|(host, rest)| {
            let port = rest.strip_prefix(':');
            (rest.is_empty() || port.is_some()).then_some((host, port))
        }),
        None => Some(match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        }),
    };
    let (host, port) = parts.unwrap_or_default();
    let port = match port {
        None => Some(if tls { 443 } else { 80 }),
        // A parser of numbers takes a sign, which has no place here.
        Some(port) if !port.bytes().all(|byte| byte.is_ascii_digit()) || port.len() > 9 => None,
        Some(port) => port.parse().ok().filter(|port| *port > 0),
    };
    let host = host.to_ascii_lowercase();
    if !is_name(&host) && host.parse::<IpAddr>().is_err() {
        return Err("expected the name of a host, or its IP address, behind the scheme".to_owned());
    }
    match port {
        Some(port) => Ok((Address { tls, host, port }, rest)),
        None => Err("expected a port from 1 to 65535".to_owned()),
    }
}

/// Whether it is a DNS name in small letters: labels of letters, digits and hyphens
/// (RFC 1123), at most 253 characters.
pub(super) fn is_name(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_label)
}

/// Whether it is one label of a DNS name, which is what Kubernetes calls most things.
pub(super) fn is_label(text: &str) -> bool {
    let end = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    text.len() <= 63
        && end(text.as_bytes().first())
        && end(text.as_bytes().last())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        let of = |url: &str| Address::of_origin(url).map(|it| (it.tls, it.host, it.port));
        assert_eq!(of("http://loki"), Ok((false, "loki".to_owned(), 80)));
        assert_eq!(of("https://A.b:8/"), Ok((true, "a.b".to_owned(), 8)));
        assert_eq!(of("https://[::1]:8"), Ok((true, "::1".to_owned(), 8)));
        for wrong in [
            "",
            "loki:80",
            "ftp://a",
            "http://",
            "http://a:0",
            "http://a:99999",
            "http://a:",
            "http://a/b",
            "http://a?b",
            "http://u@a",
            "http://a b",
            "http://a\n",
            "http://a:+80",
            "http://a:0000000080",
            "http://[::1",
            "http://[::1]junk",
            "http://[::1]junk:80",
            "http://-a",
            "http://a..b",
        ] {
            assert!(of(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_service_is_known_by_its_name() {
        let service = |url: &str| {
            let address = Address::of_origin(url).unwrap();
            let found = address.service();
            found.map(|(name, namespace)| format!("{name} in {namespace}"))
        };
        let found = Some("a in b".to_owned());
        assert_eq!(service("http://a.b.svc.cluster.local"), found);
        assert_eq!(service("http://a.b.svc"), found);
        assert_eq!(service("http://a.b.example.com"), None);
        assert_eq!(service("http://a"), None);
    }
}
