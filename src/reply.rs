//! Turns a denial into an answer that the client understands. This is the only place that does
//! so.
//!
//! Clients differ in what they show to people (see [`ErrorFormat`]): Prometheus and Grafana's
//! alerting read JSON, OTLP exporters a google.rpc.Status, promtail and Alloy the first line of
//! text, and gRPC clients `grpc-message`.

use crate::authz::endpoint::ErrorFormat;
use crate::words::denial::{Challenge, Denial};
use crate::words::own_answer::OwnAnswer;
use crate::words::request::Head;
use crate::words::wire::{push_bytes, push_integer};

/// The smallest value of `Retry-After`, in seconds.
const RETRY_LEAST: u64 = 5;

/// The number of different values of `Retry-After`. It spreads the retries of clients that,
/// like Prometheus, add no jitter of their own.
const RETRY_SPREAD: u64 = 11;

/// The longest request ID that is echoed, in bytes.
const MAX_REQUEST_ID: usize = 128;

/// A complete local answer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Reply {
    /// The HTTP status. For gRPC clients, a proxy turns it into 200 with `grpc-status`.
    pub status: u16,
    /// The `grpc-status`, for gRPC clients only.
    pub grpc_status: Option<i32>,
    /// Headers in addition to those that the proxy sets.
    pub headers: Vec<(&'static str, String)>,
    /// The body, or `grpc-message` before its percent-encoding.
    pub body: Vec<u8>,
    /// The details for the proxy's access log: `scopegate{code}`.
    pub details: String,
}

/// Builds the answer. `error_format` is that of the endpoint, if the request matched one.
/// `entropy` is any number that varies between requests.
#[must_use]
pub fn deny(
    denial: Denial,
    error_format: Option<ErrorFormat>,
    head: &Head<'_>,
    realm: &str,
    entropy: u64,
) -> Reply {
    let message = denial.message();
    let error_format = match error_format {
        _ if head.is_grpc() => ErrorFormat::Grpc,
        // This is the path of a gRPC method that was not called through gRPC.
        None | Some(ErrorFormat::Grpc) => ErrorFormat::Text,
        Some(error_format) => error_format,
    };
    let mut headers = Vec::with_capacity(5);
    let body = match error_format {
        ErrorFormat::Grpc => message.into_owned().into_bytes(),
        ErrorFormat::Otlp => otlp(denial, &message, head, &mut headers),
        ErrorFormat::Prometheus => {
            headers.push(("content-type", "application/json".to_owned()));
            prometheus(denial, &message)
        }
        ErrorFormat::Text => {
            headers.push(("content-type", "text/plain; charset=utf-8".to_owned()));
            [message.as_bytes(), b"\n"].concat()
        }
    };
    headers.push(("x-content-type-options", "nosniff".to_owned()));
    if let Some(id) = request_id(head) {
        headers.push(("x-request-id", id.to_owned()));
    }
    if let Some(challenge) = denial.challenge() {
        headers.push(("www-authenticate", authenticate(challenge, realm)));
    }
    if let Denial::MethodNotAllowed(methods) = denial {
        headers.push(("allow", methods.to_string()));
    }
    if denial.is_retryable() {
        let spread = entropy.checked_rem(RETRY_SPREAD).unwrap_or(0);
        let seconds = RETRY_LEAST.saturating_add(spread);
        headers.push(("retry-after", seconds.to_string()));
    }
    Reply {
        status: denial.status(),
        grpc_status: matches!(error_format, ErrorFormat::Grpc).then(|| denial.grpc_status()),
        headers,
        body,
        details: format!("scopegate{{{}}}", denial.code()),
    }
}

/// How long a browser may remember the answer to a preflight request, in seconds.
const PREFLIGHT_AGE: &str = "600";

/// The headers that a page may send in addition to the harmless ones.
const PREFLIGHT_HEADERS: &str = "authorization, content-type, x-scope-orgid";

/// Builds an answer that is not a refusal.
#[must_use]
pub fn answer(answer: OwnAnswer, head: &Head<'_>) -> Reply {
    let mut headers = Vec::with_capacity(6);
    let body = match answer {
        OwnAnswer::Empty(document) => {
            headers.push(("content-type", "application/json".to_owned()));
            document.as_bytes().to_vec()
        }
        OwnAnswer::Healthy => {
            headers.push(("content-type", "text/plain; charset=utf-8".to_owned()));
            b"ok\n".to_vec()
        }
        OwnAnswer::Preflight(methods) => {
            headers.push(("access-control-allow-methods", methods.to_string()));
            headers.push(("access-control-allow-headers", PREFLIGHT_HEADERS.to_owned()));
            headers.push(("access-control-max-age", PREFLIGHT_AGE.to_owned()));
            Vec::new()
        }
        OwnAnswer::Unhealthy(_) => {
            headers.push(("content-type", "text/plain; charset=utf-8".to_owned()));
            [answer.code().as_bytes(), b"\n"].concat()
        }
    };
    headers.push(("x-content-type-options", "nosniff".to_owned()));
    headers.push(("cache-control", "no-store".to_owned()));
    if let Some(id) = request_id(head) {
        headers.push(("x-request-id", id.to_owned()));
    }
    Reply {
        status: answer.status(),
        grpc_status: None,
        headers,
        body,
        details: format!("scopegate{{{}}}", answer.code()),
    }
}

/// Writes the challenge (RFC 6750 §3). The realm's alphabet is checked with the configuration.
fn authenticate(challenge: Challenge, realm: &str) -> String {
    match challenge {
        Challenge::Plain => format!("Bearer realm=\"{realm}\""),
        Challenge::InvalidRequest => {
            format!("Bearer realm=\"{realm}\", error=\"invalid_request\"")
        }
        Challenge::InvalidToken(description) => format!(
            "Bearer realm=\"{realm}\", error=\"invalid_token\", \
             error_description=\"{description}\""
        ),
    }
}

/// Whether the request's body is JSON, in which case its OTLP answer is JSON too.
#[must_use]
pub fn is_json(head: &Head<'_>) -> bool {
    let kind = b"application/json";
    head.content_type
        .once()
        .and_then(|value| value.get(..kind.len()))
        .is_some_and(|value| value.eq_ignore_ascii_case(kind))
}

/// A google.rpc.Status in the encoding of the request (OTLP specification, "Failures"):
/// protobuf unless the request is JSON.
fn otlp(
    denial: Denial,
    message: &str,
    head: &Head<'_>,
    headers: &mut Vec<(&'static str, String)>,
) -> Vec<u8> {
    let json = is_json(head);
    let code = denial.grpc_status();
    if json {
        headers.push(("content-type", "application/json".to_owned()));
        return format!("{{\"code\":{code},\"message\":{}}}", quoted(message)).into_bytes();
    }
    headers.push(("content-type", "application/x-protobuf".to_owned()));
    // 2 is UNKNOWN. None of the gate's status codes is negative.
    let code = u64::try_from(code).unwrap_or(2);
    let mut body = Vec::with_capacity(message.len().saturating_add(8));
    push_integer(&mut body, 1, code);
    push_bytes(&mut body, 2, message.as_bytes());
    body
}

/// The error object of the Prometheus API, with the `message` that Grafana's alerting reads.
fn prometheus(denial: Denial, message: &str) -> Vec<u8> {
    let kind = match denial.status() {
        401 => "unauthorized",
        403 => "forbidden",
        404 => "not_found",
        400..=499 => "bad_data",
        _ => "unavailable",
    };
    let message = quoted(message);
    format!(
        "{{\"status\":\"error\",\"errorType\":\"{kind}\",\"error\":{message},\"message\":{message}}}"
    )
    .into_bytes()
}

fn quoted(text: &str) -> String {
    serde_json::to_string(text).unwrap_or_else(|_| "\"\"".to_owned())
}

/// The request's ID, if it can be put into a header unchanged.
fn request_id<'a>(head: &Head<'a>) -> Option<&'a str> {
    let id = head.request_id.once()?;
    let fits = !id.is_empty() && id.len() <= MAX_REQUEST_ID;
    let visible = id.iter().all(|byte| matches!(byte, 0x21..=0x7e));
    std::str::from_utf8(id).ok().filter(|_| fits && visible)
}
