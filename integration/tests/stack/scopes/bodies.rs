//! What reaches a backend from a scoped request with a body.

use std::convert::Infallible;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use integration::client::{Protocol, RawRequest, Reply, Target, h1};
use integration::form;
use integration::stack::INITECH;
use integration::upstream::TEST_ID;
use tokio::net::TcpStream;

use super::asks::FORM;
use super::gates::{Recorded, check, code, test_id};
use crate::scene::Scene;

crate::tests![
    a_refused_body_reaches_no_backend,
    a_scoped_body_takes_the_place_of_the_original,
];

pub const QUERY: &str = "query=%7Boriginal%3D%22yes%22%7D";
pub const QUERY_RANGE: &str = "/loki/api/v1/query_range";

/// The rule for the longest body.
const MAX_BODY: usize = 262_144;

#[expect(clippy::too_many_lines, reason = "one story, told in order")]
async fn a_refused_body_reaches_no_backend(scene: &Scene) -> Result<()> {
    let recorded = Recorded::start(scene, scene.stack.configuration()).await?;
    let token = scene.token("wendy").await?;
    let long = format!("{QUERY}&pad={}", "x".repeat(MAX_BODY));
    let post = |body: &str| {
        let request = RawRequest::post(QUERY_RANGE, body)
            .bearer(&token)
            .tenant(INITECH);
        request.header("content-type", FORM)
    };
    let typed = |content_type: &str| {
        let request = RawRequest::post(QUERY_RANGE, QUERY)
            .bearer(&token)
            .tenant(INITECH);
        request.header("content-type", content_type)
    };
    let mut untyped = typed("");
    untyped.headers.retain(|(name, _)| name != b"content-type");
    let mut doubled = post(QUERY);
    doubled.path = format!("{QUERY_RANGE}?{QUERY}").into_bytes();
    let mut get = post(QUERY);
    get.method = b"GET".to_vec();
    get = get.header("content-length", QUERY.len().to_string());
    let cases = [
        (
            "a bad escape",
            post(&format!("{QUERY}&x=%zz")),
            400,
            "parameters_malformed",
        ),
        (
            "a semicolon",
            post(&format!("{QUERY};x=1")),
            400,
            "parameters_malformed",
        ),
        (
            "a query twice",
            post(&format!("{QUERY}&{QUERY}")),
            400,
            "parameter_repeated",
        ),
        ("a query in the URL too", doubled, 400, "parameter_repeated"),
        ("no query", post("original=yes"), 400, "query_missing"),
        (
            "a query in doubt",
            post(&format!("{QUERY}%20%2F%2F")),
            400,
            "query_refused",
        ),
        (
            "JSON",
            typed("application/json"),
            415,
            "content_type_not_supported",
        ),
        (
            "plain text",
            typed("text/plain"),
            415,
            "content_type_not_supported",
        ),
        (
            "parts",
            typed("multipart/form-data; boundary=x"),
            415,
            "content_type_not_supported",
        ),
        ("no type", untyped, 415, "content_type_not_supported"),
        (
            "two types",
            typed(FORM).header("content-type", "text/plain"),
            415,
            "content_type_not_supported",
        ),
        (
            "an encoding",
            post(QUERY).header("content-encoding", "gzip"),
            415,
            "content_type_not_supported",
        ),
        ("too long", post(&long), 413, "body_too_large"),
        ("a GET", get, 400, "body_not_expected"),
    ];
    for (what, request, status, code) in cases {
        for protocol in [Protocol::H1, Protocol::H2] {
            let answer = recorded
                .ask(request.clone(), protocol)
                .await
                .with_context(|| format!("{what}, {protocol:?}"))?;
            check(&answer, status, code).with_context(|| format!("{what}, {protocol:?}"))?;
        }
    }
    // In pieces: too long without having said so.
    let id = test_id();
    let reply = post_in_chunks(&recorded.gate.target, &token, &id, chunked(&long, "")).await?;
    let told = code(&recorded.gate.envoy, &id).await?;
    check(&(reply, told), 413, "body_too_large")?;
    // Trailers: Envoy does not pass on those of HTTP/1.1, where such a request is as good as without.
    let in_chunks = test_id();
    let body = chunked(QUERY, "x-more: original\r\n");
    post_in_chunks(&recorded.gate.target, &token, &in_chunks, body).await?;
    let id = test_id();
    let trailers = [("x-more".parse()?, "original".parse()?)];
    let frames = vec![
        Frame::data(Bytes::from(QUERY)),
        Frame::trailers(trailers.into_iter().collect()),
    ];
    let response = post_in_frames(&recorded.gate.target, QUERY_RANGE, &token, &id, frames).await?;
    let told = code(&recorded.gate.envoy, &id).await?;
    ensure!(
        response.status() == 400 && told == "trailers_not_expected",
        "{} {told}",
        response.status()
    );
    let passed = recorded.log.take(&in_chunks);
    ensure!(
        passed.len() == 1
            && passed[0].body == b"query=%7Bnamespace%3D%22web%22%2Coriginal%3D%22yes%22%7D",
        "{passed:?}"
    );
    let leaked: Vec<_> = recorded
        .log
        .all()
        .into_iter()
        .filter(|seen| seen.complete || !seen.body.is_empty() || seen.path.contains("original"))
        .collect();
    ensure!(leaked.is_empty(), "{leaked:?}");
    Ok(())
}

/// The same request, let through.
async fn a_scoped_body_takes_the_place_of_the_original(scene: &Scene) -> Result<()> {
    let recorded = Recorded::start(scene, scene.stack.configuration()).await?;
    let token = scene.token("wendy").await?;
    let body = |times: usize| {
        let pad = "original".repeat(times);
        format!("pad={pad}&{QUERY}&start=1&end=2")
    };
    let post = |id: &str, content_type: &str, body: String| {
        RawRequest::post(&format!("{QUERY_RANGE}?limit=7&unknown=original"), body)
            .bearer(&token)
            .tenant(INITECH)
            .header("content-type", content_type)
            .header(TEST_ID, id)
    };
    let target = &recorded.gate.target;
    let long = body(30_000);
    let capital = "Application/X-WWW-Form-Urlencoded; charset=UTF-8";
    for request in [
        post("long", FORM, long.clone()),
        post("capital", capital, body(1)),
    ] {
        request.send(target, Protocol::H1).await?;
    }
    let mut in_chunks = post("chunks", FORM, long.clone()).header("transfer-encoding", "chunked");
    in_chunks.body = chunked(&String::from_utf8(in_chunks.body)?, "");
    in_chunks.send(target, Protocol::H1).await?;
    // Envoy holds back no more of an HTTP/2 stream than its window, which must not be less than the rule's.
    post("h2", FORM, long).send(target, Protocol::H2).await?;
    let path = format!("{QUERY_RANGE}?limit=7");
    let pieces = body(100);
    let pieces = pieces.as_bytes().chunks(300).map(Bytes::copy_from_slice);
    let frames = pieces.map(Frame::data).collect();
    post_in_frames(target, &path, &token, "frames", frames).await?;
    for id in ["long", "capital", "chunks", "h2", "frames"] {
        let seen = recorded.log.take(id);
        ensure!(seen.len() == 1, "{id}: {} requests", seen.len());
        let seen = &seen[0];
        let text = String::from_utf8_lossy(&seen.body).into_owned();
        let pairs = form::parse(&text);
        let expected = [
            ("end", "2"),
            ("limit", "7"),
            ("query", "{namespace=\"web\",original=\"yes\"}"),
            ("start", "1"),
        ];
        let sent: Vec<(&str, &str)> = pairs
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        ensure!(
            sent == expected && seen.body_length == text.len(),
            "{id}: {} {text}",
            seen.body_length
        );
        ensure!(
            seen.path == QUERY_RANGE && seen.method == "POST",
            "{id}: {} {}",
            seen.method,
            seen.path
        );
        let length = seen.header("content-length");
        ensure!(
            length.is_empty() || length == [text.len().to_string().as_bytes()],
            "{id}: {length:?}"
        );
        ensure!(
            seen.header("content-type").len() == 1
                && seen.header("x-scope-orgid") == [INITECH.as_bytes()],
            "{id}: {seen:?}"
        );
    }
    Ok(())
}

/// In chunks of 1000 bytes, with these lines behind the last.
fn chunked(body: &str, trailers: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for chunk in body.as_bytes().chunks(1000) {
        out.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        out.extend_from_slice(chunk);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(format!("0\r\n{trailers}\r\n").as_bytes());
    out
}

async fn post_in_chunks(target: &Target, token: &str, id: &str, body: Vec<u8>) -> Result<Reply> {
    let head = format!(
        "POST {QUERY_RANGE} HTTP/1.1\r\nhost: observability.example.com\r\nauthorization: Bearer {token}\r\n\
         x-scope-orgid: {INITECH}\r\ncontent-type: {FORM}\r\n{TEST_ID}: {id}\r\ntransfer-encoding: chunked\r\n\r\n"
    );
    h1::exchange_bytes(target, &[head.into_bytes(), body].concat(), false).await
}

/// HTTP/2, by hyper: without a length, and with trailers if they are among the frames.
async fn post_in_frames(
    target: &Target,
    path: &str,
    token: &str,
    id: &str,
    frames: Vec<Frame<Bytes>>,
) -> Result<Response<Bytes>> {
    let stream = TokioIo::new(TcpStream::connect(target.address).await?);
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await?;
    let running = tokio::spawn(connection);
    let frames = frames.into_iter().map(Ok::<_, Infallible>);
    let request = Request::post(format!("http://observability.example.com{path}"))
        .header("authorization", format!("Bearer {token}"))
        .header("x-scope-orgid", INITECH)
        .header("content-type", FORM)
        .header(TEST_ID, id)
        .body(StreamBody::new(stream::iter(frames)))?;
    let (head, body) = sender.send_request(request).await?.into_parts();
    let body = body.collect().await?.to_bytes();
    running.abort();
    Ok(Response::from_parts(head, body))
}
