//! The two versions of HTTP that an upstream speaks.
//!
//! HTTP/1.1 is implemented here, because hyper refuses request targets that Grafana and curl do send (`{a="b"}`
//! unescaped), and a recorder that refuses would hide what the gate let through. HTTP/2 carries only gRPC, for which
//! hyper is sufficient.

use std::convert::Infallible;
use std::fmt::Write;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::{Request, Response};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::record::{Answer, Plan, Seen, Shared};
use crate::server::{self, Body};

type Fields = Vec<(String, Vec<u8>)>;

/// Serves one connection to its end. Problems with it are written to the log.
pub(super) async fn connection(shared: Arc<Shared>, stream: TcpStream) {
    let mut first = [0; 4];
    // This is the PRI of the HTTP/2 preface. Any known client sends four bytes in one packet.
    let peeked = stream.peek(&mut first).await.unwrap_or(0);
    let ended = if first[..peeked] == *b"PRI " {
        let handler = shared.clone();
        server::serve_http(stream, move |request| {
            http2_answer(handler.clone(), request)
        })
        .await
    } else {
        http1(&shared, stream)
            .await
            .map_err(|error| format!("{error:#}"))
    };
    if let Err(error) = ended {
        shared.log.note_broken(&shared.name, &error);
    }
}

/// Serves request after request on a persistent connection.
async fn http1(shared: &Shared, mut stream: TcpStream) -> Result<()> {
    let mut buffer = Vec::new();
    loop {
        let Some(head) = read_head(&mut stream, &mut buffer).await? else {
            return Ok(());
        };
        let seen = http1_head(&shared.name, &head)?;
        let number = shared.log.begin(seen.clone());
        let answer = match shared.plan(&seen).await {
            Plan::Close => return Ok(()),
            Plan::Hang => match std::future::pending::<Infallible>().await {},
            Plan::Early(status) => {
                let head = format!("HTTP/1.1 {status} as told\r\ncontent-length: 0\r\n\r\n");
                stream.write_all(head.as_bytes()).await?;
                read_noted(shared, number, &mut stream, &mut buffer, &seen).await?;
                continue;
            }
            Plan::Websocket => {
                shared.log.complete(number, &[], Vec::new());
                let ended = websocket(stream, &seen).await;
                shared.log.end(number);
                return ended;
            }
            Plan::Answer(answer) => answer,
        };
        let body = read_noted(shared, number, &mut stream, &mut buffer, &seen).await?;
        let answer = answer.described(&seen, &body);
        write_answer(&mut stream, &seen, answer).await?;
        let closes = seen
            .header("connection")
            .iter()
            .any(|value| value.eq_ignore_ascii_case(b"close"));
        if closes {
            return Ok(());
        }
    }
}

/// Reads the body and records it, even if it never ends, because tests of bodies that are held back ask how much of
/// it arrived.
async fn read_noted(
    shared: &Shared,
    number: u64,
    stream: &mut TcpStream,
    buffer: &mut Vec<u8>,
    seen: &Seen,
) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    match read_body(stream, buffer, seen, &mut body).await {
        Ok(trailers) => shared.log.complete(number, &body, trailers),
        Err(error) => {
            body.append(buffer);
            shared.log.cut(number, &body);
            return Err(error);
        }
    }
    Ok(body)
}

/// The head without its blank line. `None` if the client has closed the connection between two requests.
async fn read_head(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Result<Option<Vec<u8>>> {
    loop {
        if let Some(at) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = buffer.drain(..at + 4).take(at).collect();
            return Ok(Some(head));
        }
        if stream.read_buf(buffer).await? == 0 {
            if buffer.is_empty() {
                return Ok(None);
            }
            bail!("the connection ended inside a request head");
        }
    }
}

fn http1_head(backend: &str, head: &[u8]) -> Result<Seen> {
    let mut lines = head
        .split(|byte| *byte == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let request_line = lossy(lines.next().unwrap_or_default());
    let (method, rest) = request_line.split_once(' ').context("no request line")?;
    let (path, version) = rest
        .rsplit_once(' ')
        .context("no version in the request line")?;
    let headers: Result<Fields> = lines.map(field).collect();
    let mut seen = Seen::head(backend, method, path, version);
    seen.headers = headers?;
    seen.authority = seen.header("host").first().map(|host| lossy(host));
    Ok(seen)
}

/// Parses a line of a head or of trailers.
fn field(line: &[u8]) -> Result<(String, Vec<u8>)> {
    let colon = line
        .iter()
        .position(|byte| *byte == b':')
        .context("a header without a colon")?;
    let name = lossy(&line[..colon]).to_ascii_lowercase();
    Ok((name, line[colon + 1..].trim_ascii().to_vec()))
}

/// Reads to the end of the body, and returns its trailers. What arrived before an error is in `body` and `buffer`.
async fn read_body(
    stream: &mut TcpStream,
    buffer: &mut Vec<u8>,
    seen: &Seen,
    body: &mut Vec<u8>,
) -> Result<Fields> {
    if seen
        .header("transfer-encoding")
        .iter()
        .any(|value| value.ends_with(b"chunked"))
    {
        return read_chunks(stream, buffer, body).await;
    }
    let length = match seen.header("content-length").first() {
        Some(length) => lossy(length).parse().context("content-length")?,
        None => 0,
    };
    body.extend(read_exactly(stream, buffer, length).await?);
    Ok(Vec::new())
}

async fn read_chunks(
    stream: &mut TcpStream,
    buffer: &mut Vec<u8>,
    body: &mut Vec<u8>,
) -> Result<Fields> {
    loop {
        let line = read_line(stream, buffer).await?;
        let digits = line.split(';').next().unwrap_or_default().trim().to_owned();
        let size =
            usize::from_str_radix(&digits, 16).with_context(|| format!("chunk size {digits:?}"))?;
        body.extend(read_exactly(stream, buffer, size).await?);
        if size > 0 {
            read_line(stream, buffer).await?;
            continue;
        }
        let mut trailers = Vec::new();
        loop {
            let line = read_line(stream, buffer).await?;
            if line.is_empty() {
                return Ok(trailers);
            }
            trailers.push(field(line.as_bytes())?);
        }
    }
}

async fn read_line(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Result<String> {
    loop {
        if let Some(at) = buffer.windows(2).position(|window| window == b"\r\n") {
            let line: Vec<u8> = buffer.drain(..at + 2).take(at).collect();
            return Ok(lossy(&line));
        }
        if stream.read_buf(buffer).await? == 0 {
            bail!("the connection ended inside a chunked body");
        }
    }
}

async fn read_exactly(
    stream: &mut TcpStream,
    buffer: &mut Vec<u8>,
    length: usize,
) -> Result<Vec<u8>> {
    while buffer.len() < length {
        if stream.read_buf(buffer).await? == 0 {
            bail!("the connection ended inside a body");
        }
    }
    Ok(buffer.drain(..length).collect())
}

async fn write_answer(stream: &mut TcpStream, seen: &Seen, answer: Answer) -> Result<()> {
    let mut head = format!("HTTP/1.1 {} as told\r\n", answer.status);
    for (name, value) in &answer.headers {
        write!(head, "{name}: {value}\r\n")?;
    }
    let bodiless = seen.method == "HEAD" || matches!(answer.status, 204 | 304);
    let chunked = answer.pieces.len() > 1 || !answer.trailers.is_empty();
    if chunked && !bodiless {
        head.push_str("transfer-encoding: chunked\r\n");
    } else if !matches!(answer.status, 204 | 304) {
        let length: usize = answer.pieces.iter().map(Bytes::len).sum();
        write!(head, "content-length: {length}\r\n")?;
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes()).await?;
    if bodiless {
        return Ok(());
    }
    for (number, piece) in answer.pieces.iter().enumerate() {
        if number > 0 {
            tokio::time::sleep(answer.interval).await;
        }
        if chunked {
            stream
                .write_all(format!("{:x}\r\n", piece.len()).as_bytes())
                .await?;
            stream.write_all(piece).await?;
            stream.write_all(b"\r\n").await?;
        } else {
            stream.write_all(piece).await?;
        }
    }
    if chunked {
        let mut trailers = String::new();
        for (name, value) in &answer.trailers {
            write!(trailers, "{name}: {value}\r\n")?;
        }
        stream
            .write_all(format!("0\r\n{trailers}\r\n").as_bytes())
            .await?;
    }
    Ok(())
}

async fn websocket(mut stream: TcpStream, seen: &Seen) -> Result<()> {
    let keys = seen.header("sec-websocket-key");
    let accept = derive_accept_key(keys.first().context("no sec-websocket-key")?);
    let head = format!(
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-accept: \
         {accept}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await?;
    let mut socket = WebSocketStream::from_raw_socket(stream, Role::Server, None).await;
    // The client may leave at any time, which is not a fault.
    if socket
        .send(Message::text(seen.description().to_string()))
        .await
        .is_err()
    {
        return Ok(());
    }
    while let Some(Ok(message)) = socket.next().await {
        let echo = message.is_text() || message.is_binary();
        if echo && socket.send(message).await.is_err() {
            break;
        }
    }
    Ok(())
}

async fn http2_answer(shared: Arc<Shared>, request: Request<Incoming>) -> Result<Response<Body>> {
    let path = request
        .uri()
        .path_and_query()
        .map_or_else(|| request.uri().to_string(), ToString::to_string);
    let version = format!("{:?}", request.version());
    let mut seen = Seen::head(&shared.name, request.method().as_str(), &path, &version);
    seen.authority = request.uri().authority().map(ToString::to_string);
    seen.headers = fields(request.headers());
    let number = shared.log.begin(seen.clone());
    let end = End {
        shared: shared.clone(),
        number,
    };
    let answer = match shared.plan(&seen).await {
        Plan::Close => bail!("closed as told"),
        Plan::Hang => match std::future::pending::<Infallible>().await {},
        Plan::Websocket => bail!("no websockets over HTTP/2"),
        Plan::Early(_) => bail!("no early answers over HTTP/2"),
        Plan::Answer(answer) => answer,
    };
    let body = request.into_body().collect().await?;
    let trailers = body.trailers().map(fields).unwrap_or_default();
    let body = body.to_bytes();
    shared.log.complete(number, &body, trailers);
    http2_response(answer.described(&seen, &body), end)
}

fn fields(map: &HeaderMap) -> Fields {
    map.iter()
        .map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()))
        .collect()
}

fn http2_response(answer: Answer, end: End) -> Result<Response<Body>> {
    let mut builder = Response::builder().status(answer.status);
    for (name, value) in answer.headers {
        builder = builder.header(name, value);
    }
    let mut trailers = HeaderMap::new();
    for (name, value) in answer.trailers {
        trailers.append(HeaderName::try_from(name)?, HeaderValue::try_from(value)?);
    }
    let interval = answer.interval;
    let pieces = futures_util::stream::iter(answer.pieces).enumerate().then(
        move |(number, piece)| async move {
            if number > 0 {
                tokio::time::sleep(interval).await;
            }
            anyhow::Ok(Frame::data(piece))
        },
    );
    let last = (!trailers.is_empty()).then(|| Ok(Frame::trailers(trailers)));
    let last = if answer.open {
        futures_util::stream::pending().left_stream()
    } else {
        futures_util::stream::iter(last).right_stream()
    };
    let frames = pieces.chain(last).map(move |frame| {
        let _ = &end;
        frame
    });
    Ok(builder.body(StreamBody::new(frames).boxed_unsync())?)
}

/// Notes the end of an HTTP/2 stream when it is dropped with it, before the answer or after.
struct End {
    shared: Arc<Shared>,
    number: u64,
}

impl Drop for End {
    fn drop(&mut self) {
        self.shared.log.end(self.number);
    }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
