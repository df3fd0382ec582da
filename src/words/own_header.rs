//! The names of the gate's own headers: the one that tells a backend who is calling, and the
//! one in which a client passes on an ID token.
//!
//! The gate removes whatever a client sends under such a name, and puts the proven subject into
//! the first of them. The name must therefore have no other meaning to anybody: not to the
//! gate, which would read the client's value first; not to the proxy, which would put its own
//! value there afterwards; and not to clients and backends, which would no longer understand
//! each other.

use crate::words::request::BACKEND_HEADER;

/// Longest name, in bytes.
pub const MAX_NAME: usize = 64;

/// The name of the header that carries the subject, unless another is configured.
pub const STANDARD: &str = "x-scopegate-subject";

/// A name in lower case that may be used for the header with the subject.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SubjectHeader(Box<str>);

impl SubjectHeader {
    /// The name that is used unless another is configured.
    #[must_use]
    pub fn standard() -> Self {
        Self(STANDARD.into())
    }

    /// Parses a name in any case.
    ///
    /// # Errors
    /// The rule that the name breaks.
    pub fn parse(name: &str) -> Result<Self, &'static str> {
        let name = spelt(name)?;
        match meaning_of(&name) {
            Some(meaning) => Err(meaning),
            None => Ok(Self(name.into())),
        }
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A name in lower case that may be used for the header with an ID token, or is used for it by
/// convention.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct IdTokenHeader(Box<str>);

impl IdTokenHeader {
    /// Parses a name in any case.
    ///
    /// # Errors
    /// The rule that the name breaks.
    pub fn parse(name: &str) -> Result<Self, &'static str> {
        let name = spelt(name)?;
        match meaning_of(&name) {
            Some(meaning) if name != ID_TOKEN_BY_CUSTOM => Err(meaning),
            _ => Ok(Self(name.into())),
        }
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The header in which Grafana sends the ID token of whoever has logged in (Forward OAuth
/// Identity).
const ID_TOKEN_BY_CUSTOM: &str = "x-id-token";

/// Checks a name and converts it to lower case.
fn spelt(name: &str) -> Result<String, &'static str> {
    let name = name.to_ascii_lowercase();
    let word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let plain = |byte: u8| word(byte) || byte == b'-';
    let begins = name.bytes().next().is_some_and(word);
    let ends = name.bytes().next_back().is_some_and(word);
    if !begins || !ends || name.len() > MAX_NAME || !name.bytes().all(plain) {
        return Err("must be a header name of at most 64 letters, digits and -");
    }
    Ok(name)
}

/// Headers that already have a meaning, by what that meaning is. A name that ends in a dash
/// stands for all names that begin with it.
const TAKEN: [(&str, &[&str]); 5] = [
    (
        "the gate names the backend in this header",
        &[BACKEND_HEADER],
    ),
    (
        "the gate reads, sets or removes this header itself",
        &[
            "authorization",
            "x-prom-label-policy",
            "x-query-tags",
            "x-scope-orgid",
        ],
    ),
    (
        "HTTP gives this header a meaning",
        &[
            "accept",
            "accept-",
            "access-control-",
            "age",
            "allow",
            "alt-",
            "authority",
            "cache-control",
            "capsule-protocol",
            "cdn-loop",
            "clear-site-data",
            "connection",
            "content-",
            "cookie",
            "date",
            "delta-base",
            "depth",
            "destination",
            "dpop",
            "early-data",
            "etag",
            "expect",
            "expires",
            "forwarded",
            "from",
            "host",
            "http2-",
            "if-",
            "keep-alive",
            "last-modified",
            "link",
            "location",
            "max-forwards",
            "method",
            "negotiate",
            "nel",
            "origin",
            "overwrite",
            "path",
            "pragma",
            "prefer",
            "preference-applied",
            "priority",
            "protocol",
            "proxy-",
            "range",
            "referer",
            "refresh",
            "reporting-endpoints",
            "retry-after",
            "scheme",
            "sec-",
            "server",
            "set-cookie",
            "sourcemap",
            "status",
            "te",
            "timing-allow-origin",
            "trailer",
            "trailers",
            "transfer-encoding",
            "upgrade",
            "upgrade-insecure-requests",
            "url",
            "user-agent",
            "vary",
            "via",
            "warning",
            "www-authenticate",
            "x-content-type-options",
            "x-frame-options",
            "x-http-method",
            "x-http-method-override",
            "x-method-override",
            "x-requested-with",
        ],
    ),
    (
        "the proxy or a tracer sets this header",
        &[
            "b3",
            "baggage",
            "cf-",
            "cf-connecting-ip",
            "client-ip",
            "elastic-apm-traceparent",
            "fastly-client-ip",
            "grpc-trace-bin",
            "sw8",
            "sw8-",
            "traceparent",
            "tracestate",
            "true-client-ip",
            "x-amzn-",
            "x-aws-",
            "x-b3-",
            "x-client-ip",
            "x-client-trace-id",
            "x-cloud-",
            "x-cloud-trace-context",
            "x-cluster-client-ip",
            "x-correlation-id",
            "x-datadog-",
            "x-envoy-",
            "x-forwarded",
            "x-forwarded-",
            "x-instana-",
            "x-istio-",
            "x-original-",
            "x-original-url",
            "x-ot-",
            "x-ot-span-context",
            "x-ratelimit-",
            "x-real-ip",
            "x-request-id",
            "x-rewrite-",
            "x-rewrite-url",
            "x-span-",
            "x-trace-",
        ],
    ),
    (
        "clients and backends give this header a meaning",
        &[
            "cluster-validation-label",
            "grpc-",
            "recent-data-target",
            "retry-attempt",
            "sharding-control",
            "uber-trace-id",
            "x-access-token",
            "x-cortex-",
            "x-dashboard-",
            "x-datasource-",
            "x-filter-queryables",
            "x-grafana-",
            "x-id-token",
            "x-loki-",
            "x-mimir-",
            "x-panel-",
            "x-prometheus-",
            "x-query-",
            "x-read-consistency",
            "x-read-consistency-",
            "x-rule-",
            "x-scope-userid",
            "x-tempo-",
        ],
    ),
];

/// The meaning that a header already has, if it has one.
fn meaning_of(name: &str) -> Option<&'static str> {
    let is_it = |taken: &&str| name == *taken || (taken.ends_with('-') && name.starts_with(taken));
    let mut meanings = TAKEN.iter();
    let (meaning, _) = meanings.find(|(_, names)| names.iter().any(is_it))?;
    Some(meaning)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::request::{Head, Occurrence, OwnHeaders};

    fn own(name: &str) -> OwnHeaders<'_> {
        OwnHeaders {
            subject: Some(name.as_bytes()),
            id_token: None,
        }
    }

    #[test]
    fn what_the_gate_reads_of_a_head_is_taken() {
        let names = [
            "authorization",
            "connection",
            "content-encoding",
            "content-length",
            "content-type",
            "upgrade",
            "x-request-id",
            "x-scope-orgid",
        ];
        for name in names {
            assert!(SubjectHeader::parse(name).is_err(), "{name}");
            // The head reads these itself, so it would not remove one that carries the subject.
            let pair = (name.as_bytes(), &b"root"[..]);
            let head = Head::read([pair].into_iter(), own(name));
            assert!(head.forbidden.is_empty(), "{name}");
        }
    }

    #[test]
    fn a_name_that_is_free_is_removed_from_what_a_client_sends() {
        for name in [
            "x-scopegate-subject",
            "x-remote-user",
            "remote-user",
            "x-auth-request-user",
            "x-user",
            "x-webauth-user",
        ] {
            let header = SubjectHeader::parse(name).unwrap();
            let pair = (name.as_bytes(), &b"root"[..]);
            let head = Head::read([pair].into_iter(), own(header.as_str()));
            assert_eq!(head.forbidden, [name.as_bytes()], "{name}");
            assert_eq!(head.request_id, Occurrence::Absent);
        }
    }
}
