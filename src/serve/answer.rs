//! The answers to requests.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{
    ALLOW, AUTHORIZATION, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderMap,
    HeaderValue, IF_NONE_MATCH, RETRY_AFTER, WWW_AUTHENTICATE,
};
use hyper::{Method, Response, StatusCode};

use super::counters::Counters;
use super::shelf::Shelf;
use super::token::Tokens;

/// The path of the document.
pub const PATH: &str = "/organizations";

/// How long clients should wait while there is no document yet, in seconds.
const RETRY_SECONDS: &str = "5";

/// An answer with its whole body.
pub type FullResponse = Response<Full<Bytes>>;

/// Answers a request for the document. Without `tokens`, everybody may have it.
#[must_use]
pub fn organizations(
    method: &Method,
    path: &str,
    headers: &HeaderMap,
    shelf: &Shelf,
    tokens: Option<&Tokens>,
) -> FullResponse {
    if path != PATH {
        return text(StatusCode::NOT_FOUND, "not found\n");
    }
    if let Some(answer) = other_method(method) {
        return answer;
    }
    let authorization = headers.get(AUTHORIZATION).map(HeaderValue::as_bytes);
    if tokens.is_some_and(|tokens| !authorization.is_some_and(|sent| tokens.admit(sent))) {
        let mut answer = text(StatusCode::UNAUTHORIZED, "a bearer token is needed\n");
        put(&mut answer, WWW_AUTHENTICATE, "Bearer");
        return answer;
    }
    let Some(document) = shelf.document() else {
        let why = "the organizations have not been read yet\n";
        let mut answer = text(StatusCode::SERVICE_UNAVAILABLE, why);
        put(&mut answer, RETRY_AFTER, RETRY_SECONDS);
        return answer;
    };
    let had = headers
        .get_all(IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .find(|tag| *tag == "*" || document.is_had_with(tag));
    let mut answer = if let Some(tag) = had {
        let mut answer = Response::new(Full::default());
        *answer.status_mut() = StatusCode::NOT_MODIFIED;
        // The answer repeats the caller's tag, whose document may be newer than this one.
        let tag = if tag == "*" { &document.tag() } else { tag };
        put(&mut answer, ETAG, tag);
        answer
    } else {
        let mut answer = Response::new(Full::new(document.body().clone()));
        put(&mut answer, ETAG, &document.tag());
        put(&mut answer, CONTENT_TYPE, document.media_type());
        headless(method, answer)
    };
    put(&mut answer, CACHE_CONTROL, "no-cache");
    answer
}

/// Answers a request about the health of this process.
#[must_use]
pub fn health(method: &Method, path: &str, shelf: &Shelf, counters: &Counters) -> FullResponse {
    if let Some(answer) = other_method(method) {
        return answer;
    }
    let answer = match path {
        "/livez" => text(StatusCode::OK, "ok\n"),
        "/readyz" if shelf.is_ready() => text(StatusCode::OK, "ok\n"),
        "/readyz" => text(StatusCode::SERVICE_UNAVAILABLE, "not ready\n"),
        "/metrics" => {
            let mut answer = text(StatusCode::OK, counters.text(shelf));
            put(&mut answer, CONTENT_TYPE, "text/plain; version=0.0.4");
            answer
        }
        _ => text(StatusCode::NOT_FOUND, "not found\n"),
    };
    headless(method, answer)
}

fn other_method(method: &Method) -> Option<FullResponse> {
    if *method == Method::GET || *method == Method::HEAD {
        return None;
    }
    let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, "GET and HEAD only\n");
    put(&mut answer, ALLOW, "GET, HEAD");
    Some(answer)
}

/// The answer to a HEAD request: the same without the body, but with its length.
fn headless(method: &Method, mut answer: FullResponse) -> FullResponse {
    if *method == Method::HEAD {
        let length = hyper::body::Body::size_hint(answer.body()).exact();
        put(
            &mut answer,
            CONTENT_LENGTH,
            &length.unwrap_or(0).to_string(),
        );
        *answer.body_mut() = Full::default();
    }
    answer
}

fn text(status: StatusCode, text: impl Into<Bytes>) -> FullResponse {
    let mut answer = Response::new(Full::new(text.into()));
    *answer.status_mut() = status;
    put(&mut answer, CONTENT_TYPE, "text/plain");
    answer
}

fn put(answer: &mut FullResponse, name: hyper::header::HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        answer.headers_mut().insert(name, value);
    }
}
