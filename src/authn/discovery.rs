//! Where a provider publishes its keys (OpenID Connect Discovery 1.0 §4).
//!
//! The document is fetched from the issuer through the configured cluster. It may name any URL
//! as `jwks_uri`, but the gate follows it only to the issuer's own host or to a host that the
//! configuration lists, and never from https to http.

use std::fmt;

use crate::authn::json::{self, Value};

/// The longest document, in bytes. Large ones take about 10 KiB.
pub const MAX_DOCUMENT_BYTES: usize = 256 * 1024;

/// The deepest nesting. Known documents have two levels.
const MAX_DEPTH: usize = 16;

/// A URL, split into the parts that a request needs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Address {
    /// The pseudo-header `:scheme`: `http` or `https`.
    pub scheme: String,
    /// The pseudo-header `:authority`: the host, with a port if the URL has one.
    pub authority: String,
    /// The pseudo-header `:path`, including the query string.
    pub path: String,
}

/// Why a discovery document is not followed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum DiscoveryError {
    /// `jwks_uri` is on a host that is neither the issuer's nor listed.
    ForeignHost(String),
    /// `issuer` is not the configured one, byte for byte.
    IssuerDiffers(String),
    /// The document is not a JSON object, or is longer than [`MAX_DOCUMENT_BYTES`].
    NoObject,
    /// `jwks_uri` is missing, or is not an http or https URL.
    NoUri,
    /// `jwks_uri` is http although the issuer is https.
    Unprotected,
}

impl fmt::Display for DiscoveryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ForeignHost(host) => {
                write!(f, "jwks_uri is on {host:?}, which is not in jwks.hosts")
            }
            Self::IssuerDiffers(issuer) => write!(f, "its issuer is {issuer:?}"),
            Self::NoObject => f.write_str("the discovery document is no JSON object"),
            Self::NoUri => f.write_str("the discovery document has no jwks_uri"),
            Self::Unprotected => f.write_str("jwks_uri is http, the issuer https"),
        }
    }
}

impl Address {
    /// Parses an absolute http or https URL. Returns `None` if it has a user, spaces or a
    /// fragment.
    #[must_use]
    pub fn parse(uri: &str) -> Option<Self> {
        let (scheme, rest) = uri.split_once("://")?;
        if !matches!(scheme, "http" | "https") {
            return None;
        }
        let (authority, path) = match rest.find('/') {
            Some(slash) => rest.split_at(slash),
            None => (rest, "/"),
        };
        let visible = |text: &str| text.bytes().all(|byte| matches!(byte, 0x21..=0x7e));
        let sound = !authority.is_empty()
            && visible(authority)
            && visible(path)
            && !authority.contains(['@', '?', '#', '\\'])
            && !path.contains('#');
        sound.then(|| Self {
            scheme: scheme.to_owned(),
            authority: authority.to_owned(),
            path: path.to_owned(),
        })
    }

    /// The address of the issuer's discovery document: the issuer's URL without a slash at its
    /// end, followed by `/.well-known/openid-configuration`. Returns `None` if the issuer is
    /// not a URL.
    #[must_use]
    pub fn of_discovery(issuer: &str) -> Option<Self> {
        let base = issuer.strip_suffix('/').unwrap_or(issuer);
        let address = Self::parse(&format!("{base}/.well-known/openid-configuration"))?;
        (!address.path.contains('?')).then_some(address)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", self.scheme, self.authority, self.path)
    }
}

/// Reads a discovery document, and returns the address of the keys of `issuer`. `hosts` are
/// further authorities from which keys may be fetched.
///
/// # Errors
/// [`DiscoveryError`]
pub fn keys_address(
    document: &[u8],
    issuer: &str,
    hosts: &[String],
) -> Result<Address, DiscoveryError> {
    if document.len() > MAX_DOCUMENT_BYTES {
        return Err(DiscoveryError::NoObject);
    }
    let object = json::parse_object(document, MAX_DEPTH).map_err(|_| DiscoveryError::NoObject)?;
    match object.get("issuer").and_then(Value::as_str) {
        Some(stated) if stated == issuer => {}
        stated => {
            let stated = stated.unwrap_or_default();
            let brief: String = stated.chars().take(128).collect();
            return Err(DiscoveryError::IssuerDiffers(brief));
        }
    }
    let address = object
        .get("jwks_uri")
        .and_then(Value::as_str)
        .and_then(Address::parse)
        .ok_or(DiscoveryError::NoUri)?;
    let own = Address::parse(issuer).ok_or(DiscoveryError::NoUri)?;
    if own.scheme == "https" && address.scheme != "https" {
        return Err(DiscoveryError::Unprotected);
    }
    let allowed = address.authority == own.authority || hosts.contains(&address.authority);
    if !allowed {
        return Err(DiscoveryError::ForeignHost(address.authority));
    }
    Ok(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ISSUER: &str = "https://login.example.com/realms/platform";

    fn read(document: &str, hosts: &[&str]) -> Result<Address, DiscoveryError> {
        let hosts: Vec<String> = hosts.iter().map(ToString::to_string).collect();
        keys_address(document.as_bytes(), ISSUER, &hosts)
    }

    fn document(issuer: &str, uri: &str) -> String {
        format!(r#"{{"issuer": "{issuer}", "jwks_uri": "{uri}", "more": [1]}}"#)
    }

    #[test]
    fn keys_on_the_issuers_host_are_followed() {
        let found = read(
            &document(ISSUER, "https://login.example.com/certs?v=2"),
            &[],
        )
        .unwrap();
        assert_eq!(found.to_string(), "https://login.example.com/certs?v=2");
    }

    #[test]
    fn another_host_must_be_listed() {
        let document = document(ISSUER, "https://keys.example.com/certs");
        assert_eq!(
            read(&document, &[]),
            Err(DiscoveryError::ForeignHost("keys.example.com".into()))
        );
        assert!(read(&document, &["keys.example.com"]).is_ok());
        // A host name that only begins or ends like a listed one is a different host, and so is
        // one with another port.
        assert!(read(&document, &["keys.example.com.evil.org", "example.com"]).is_err());
        assert!(read(&document, &["keys.example.com:443"]).is_err());
    }

    #[test]
    fn the_issuer_is_compared_byte_for_byte() {
        for other in [
            "https://login.example.com/realms/platform/",
            "https://login.example.com/realms/Platform",
            "https://login.example.com",
            "",
        ] {
            let found = read(&document(other, "https://login.example.com/certs"), &[]);
            assert_eq!(found, Err(DiscoveryError::IssuerDiffers(other.into())));
        }
    }

    #[test]
    fn what_is_less_protected_or_no_url_is_not_followed() {
        assert_eq!(
            read(&document(ISSUER, "http://login.example.com/certs"), &[]),
            Err(DiscoveryError::Unprotected)
        );
        for uri in [
            "",
            "certs",
            "file:///etc/passwd",
            "https://",
            "https://a@login.example.com/x",
        ] {
            assert_eq!(
                read(&document(ISSUER, uri), &[]),
                Err(DiscoveryError::NoUri),
                "{uri}"
            );
        }
        for text in ["", "[]", "null", "{\"issuer\": 1}", "{"] {
            assert!(read(text, &[]).is_err(), "{text}");
        }
    }

    #[test]
    fn a_document_that_is_too_long_is_not_read() {
        let mut long = document(ISSUER, "https://login.example.com/certs");
        long.push_str(&" ".repeat(MAX_DOCUMENT_BYTES));
        assert_eq!(read(&long, &[]), Err(DiscoveryError::NoObject));
    }

    #[test]
    fn the_documents_own_address_follows_the_issuer() {
        let of = |issuer: &str| Address::of_discovery(issuer).map(|address| address.to_string());
        let wanted = Some(format!("{ISSUER}/.well-known/openid-configuration"));
        assert_eq!(of(ISSUER), wanted);
        assert_eq!(of(&format!("{ISSUER}/")), wanted);
        assert_eq!(
            of("https://a.example.com"),
            Some("https://a.example.com/.well-known/openid-configuration".into())
        );
        assert_eq!(of("accounts.google.com"), None);
        assert_eq!(of("https://a.example.com/?x=1"), None);
    }
}
