//! HTTP/1.1 exactly as written: the bytes that are given are the bytes that are sent.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::message::{RawRequest, Reply, Target};

/// Send the request on a connection of its own.
pub async fn exchange(target: &Target, request: &RawRequest) -> Result<Reply> {
    exchange_bytes(target, &serialized(request), request.method == b"HEAD").await
}

/// Sends any bytes, and reads one answer. `bodiless` says that the answer is one to a HEAD request.
pub async fn exchange_bytes(target: &Target, bytes: &[u8], bodiless: bool) -> Result<Reply> {
    let mut stream = target.connect(b"http/1.1").await?;
    // The peer may refuse and close the connection before it has read everything. Its answer still counts.
    let mut written = stream.write_all(bytes).await;
    // TLS may hold some of it back while the socket is full.
    written = written.and(stream.flush().await);
    let mut received = Vec::new();
    let mut chunk = vec![0; 16 * 1024];
    loop {
        if let Some(reply) = parse(&received, bodiless, false)? {
            return Ok(reply);
        }
        match stream.read(&mut chunk).await {
            Ok(0) => break,
            Ok(length) => received.extend_from_slice(&chunk[..length]),
            Err(_) if !received.is_empty() => break,
            Err(error) => return Err(error).context("the connection broke before an answer"),
        }
    }
    if received.is_empty() {
        written.context("the connection broke while sending")?;
        bail!("the connection was closed without an answer");
    }
    parse(&received, bodiless, true)?
        .context("the connection was closed in the middle of the answer")
}

/// The same request with its body in chunks.
#[must_use]
pub fn chunked(request: RawRequest) -> RawRequest {
    request.header("transfer-encoding", "chunked")
}

/// One chunk of a body.
#[must_use]
pub fn chunk(bytes: &[u8]) -> Vec<u8> {
    let mut chunk = format!("{:x}\r\n", bytes.len()).into_bytes();
    chunk.extend_from_slice(bytes);
    chunk.extend_from_slice(b"\r\n");
    chunk
}

/// A piece for [`exchange_pieces`] without a pause.
pub fn at_once(bytes: impl Into<Vec<u8>>) -> (Duration, Vec<u8>) {
    (Duration::ZERO, bytes.into())
}

/// Sends the head of a request and then these pieces, each after a pause, and reads one answer, which may arrive
/// before everything is sent. The request's own body is left out, and chunk sizes are left to the caller.
pub async fn exchange_pieces(
    target: &Target,
    request: &RawRequest,
    pieces: &[(Duration, Vec<u8>)],
) -> Result<Reply> {
    let stream = target.connect(b"http/1.1").await?;
    let (mut reading, mut writing) = tokio::io::split(stream);
    let head = serialized(&RawRequest {
        body: Vec::new(),
        ..request.clone()
    });
    let send = async {
        let mut sent = writing.write_all(&head).await;
        for (pause, piece) in pieces {
            tokio::time::sleep(*pause).await;
            sent = sent.and(writing.write_all(piece).await);
            sent = sent.and(writing.flush().await);
        }
        // A peer that has answered already may have closed the connection; its answer counts. A connection that is
        // open stays open until the answer arrives.
        let _ = sent;
        std::future::pending::<Result<Reply>>().await
    };
    let receive = async {
        let mut received = Vec::new();
        let mut chunk = vec![0; 16 * 1024];
        loop {
            if let Some(reply) = parse(&received, false, false)? {
                return Ok(reply);
            }
            match reading.read(&mut chunk).await {
                Ok(length) if length > 0 => received.extend_from_slice(&chunk[..length]),
                _ => break,
            }
        }
        parse(&received, false, true)?.context("the connection was closed without a full answer")
    };
    tokio::select! {
        reply = receive => reply,
        reply = send => reply,
    }
}

/// Sends these bytes, waits for that time and closes the connection without reading.
pub async fn abandon(target: &Target, bytes: &[u8], after: Duration) -> Result<()> {
    let mut stream = target.connect(b"http/1.1").await?;
    stream.write_all(bytes).await?;
    tokio::time::sleep(after).await;
    Ok(())
}

/// The request in the form in which it is sent.
#[must_use]
pub fn serialized(request: &RawRequest) -> Vec<u8> {
    let mut out = [
        request.method.as_slice(),
        b" ",
        &request.path,
        b" HTTP/1.1\r\n",
    ]
    .concat();
    let mut line = |name: &[u8], value: &[u8]| {
        out.extend_from_slice(name);
        out.extend_from_slice(b": ");
        out.extend_from_slice(value);
        out.extend_from_slice(b"\r\n");
    };
    if let Some(authority) = &request.authority {
        line(b"host", authority);
    }
    for (name, value) in &request.headers {
        line(name, value);
    }
    if request.needs_length() {
        line(b"content-length", request.body.len().to_string().as_bytes());
    }
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(&request.body);
    out
}

/// The answer, once it is complete. `closed` says that nothing more will arrive.
fn parse(received: &[u8], bodiless: bool, closed: bool) -> Result<Option<Reply>> {
    let Some((head, rest)) = split_at(received, b"\r\n\r\n") else {
        return Ok(None);
    };
    let mut lines = head
        .split(|byte| *byte == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let status_line = String::from_utf8_lossy(lines.next().unwrap_or_default()).into_owned();
    let status = status_line
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .with_context(|| format!("no status line: {status_line:?}"))?;
    if (100..200).contains(&status) && status != 101 {
        return parse(rest, bodiless, closed);
    }
    let headers: Vec<(String, Vec<u8>)> = lines.filter_map(field).collect();
    let reply = |body: &[u8], trailers| Reply {
        status,
        headers: headers.clone(),
        body: body.to_vec(),
        trailers,
    };
    let value_of = |name: &str| {
        headers
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_slice())
    };
    if bodiless || matches!(status, 101 | 204 | 304) {
        return Ok(Some(reply(b"", Vec::new())));
    }
    if value_of("transfer-encoding").is_some_and(|value| value.ends_with(b"chunked")) {
        return Ok(unchunked(rest)?.map(|(body, trailers)| reply(&body, trailers)));
    }
    if let Some(length) = value_of("content-length") {
        let length: usize = String::from_utf8_lossy(length)
            .parse()
            .context("content-length")?;
        return Ok((rest.len() >= length).then(|| reply(&rest[..length], Vec::new())));
    }
    Ok(closed.then(|| reply(rest, Vec::new())))
}

type Fields = Vec<(String, Vec<u8>)>;

fn unchunked(mut rest: &[u8]) -> Result<Option<(Vec<u8>, Fields)>> {
    let mut body = Vec::new();
    loop {
        let Some((size, after)) = split_at(rest, b"\r\n") else {
            return Ok(None);
        };
        let text = String::from_utf8_lossy(size).into_owned();
        let digits = text.split(';').next().unwrap_or_default().trim();
        let size =
            usize::from_str_radix(digits, 16).with_context(|| format!("chunk size {digits:?}"))?;
        if size == 0 {
            let mut trailers = Vec::new();
            let mut rest = after;
            loop {
                let Some((line, after)) = split_at(rest, b"\r\n") else {
                    return Ok(None);
                };
                if line.is_empty() {
                    return Ok(Some((body, trailers)));
                }
                trailers.extend(field(line));
                rest = after;
            }
        }
        if after.len() < size + 2 {
            return Ok(None);
        }
        body.extend_from_slice(&after[..size]);
        rest = &after[size + 2..];
    }
}

fn field(line: &[u8]) -> Option<(String, Vec<u8>)> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    let name = String::from_utf8_lossy(&line[..colon]).to_ascii_lowercase();
    Some((name, line[colon + 1..].trim_ascii().to_vec()))
}

fn split_at<'bytes>(bytes: &'bytes [u8], mark: &[u8]) -> Option<(&'bytes [u8], &'bytes [u8])> {
    let at = bytes
        .windows(mark.len())
        .position(|window| window == mark)?;
    Some((&bytes[..at], &bytes[at + mark.len()..]))
}
