//! HTTP/2 with prior knowledge, frame by frame (RFC 9113), with any header bytes, any path and any order of fields.
//!
//! Fields are sent as literals that are never indexed and never Huffman-coded (RFC 7541 §6.2.3), so the peer decodes
//! exactly what a test specifies.

use std::collections::VecDeque;
use std::pin::Pin;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use loona_hpack::Decoder;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::message::{RawRequest, Reply, Stream, Target};

/// Send the request on a connection of its own, as stream 1.
pub async fn exchange(target: &Target, request: &RawRequest) -> Result<Reply> {
    let mut fields = fields_of(target, request);
    if request.needs_length() {
        fields.push((
            b"content-length".to_vec(),
            request.body.len().to_string().into(),
        ));
    }
    exchange_fields(target, &fields, &request.body).await
}

/// Send exactly these fields, pseudo-headers included.
pub async fn exchange_fields(
    target: &Target,
    fields: &[(Vec<u8>, Vec<u8>)],
    body: &[u8],
) -> Result<Reply> {
    let mut connection = Connection::open(target).await?;
    connection.send_fields(fields, body.is_empty()).await?;
    connection.converse(body).await
}

/// What may follow a head.
#[derive(Clone, Debug)]
pub enum Piece {
    /// A DATA frame of at most [`MAX_FRAME`] bytes. The flag says whether it has END_STREAM.
    Data(Vec<u8>, bool),
    Pause(Duration),
    /// A block of fields that ends the stream.
    Trailers(Vec<(Vec<u8>, Vec<u8>)>),
}

/// Sends the head of a request, which does not end the stream, and then these pieces. The request's own body is left
/// out. All pieces together must fit into the peer's first window.
pub async fn exchange_pieces(
    target: &Target,
    request: &RawRequest,
    pieces: &[Piece],
) -> Result<Reply> {
    let mut connection = Connection::open(target).await?;
    let fields = fields_of(target, request);
    connection.send_fields(&fields, false).await?;
    for piece in pieces {
        match piece {
            Piece::Data(bytes, end) => {
                let flags = if *end { END_STREAM } else { 0 };
                connection.frame(DATA, flags, 1, bytes).await?;
            }
            Piece::Pause(pause) => tokio::time::sleep(*pause).await,
            Piece::Trailers(fields) => connection.send_fields(fields, true).await?,
        }
    }
    connection.converse(b"").await
}

/// The fields of a request, without a length that nobody has given.
fn fields_of(target: &Target, request: &RawRequest) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut fields: Vec<(Vec<u8>, Vec<u8>)> = vec![
        (b":method".to_vec(), request.method.clone()),
        (b":scheme".to_vec(), target.scheme().into()),
        (b":path".to_vec(), request.path.clone()),
    ];
    if let Some(authority) = &request.authority {
        fields.push((b":authority".to_vec(), authority.clone()));
    }
    for (name, value) in &request.headers {
        fields.push((name.to_ascii_lowercase(), value.clone()));
    }
    fields
}

struct Connection<'hpack> {
    stream: Pin<Box<dyn Stream>>,
    decoder: Decoder<'hpack>,
    window: i64,
    stream_window: i64,
    peer_initial_window: i64,
}

impl Connection<'_> {
    async fn open(target: &Target) -> Result<Self> {
        let mut connection = Connection {
            stream: target.connect(b"h2").await?,
            decoder: Decoder::new(),
            window: INITIAL_WINDOW,
            stream_window: INITIAL_WINDOW,
            peer_initial_window: INITIAL_WINDOW,
        };
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
        connection.stream.write_all(preface).await?;
        connection.frame(SETTINGS, 0, 0, &[]).await?;
        Ok(connection)
    }

    async fn send_fields(&mut self, fields: &[(Vec<u8>, Vec<u8>)], end: bool) -> Result<()> {
        let mut block = Vec::new();
        for (name, value) in fields {
            block.push(0x10);
            literal(&mut block, name);
            literal(&mut block, value);
        }
        let end_stream = if end { END_STREAM } else { 0 };
        let mut pieces: VecDeque<&[u8]> = block.chunks(MAX_FRAME).collect();
        let first = pieces.pop_front().unwrap_or_default();
        let last = pieces.is_empty();
        let end_headers = |last: bool| if last { END_HEADERS } else { 0 };
        self.frame(HEADERS, end_stream | end_headers(last), 1, first)
            .await?;
        while let Some(piece) = pieces.pop_front() {
            self.frame(CONTINUATION, end_headers(pieces.is_empty()), 1, piece)
                .await?;
        }
        Ok(())
    }

    async fn converse(&mut self, body: &[u8]) -> Result<Reply> {
        let mut unsent = body;
        let mut reply: Option<Reply> = None;
        let mut block = Vec::new();
        let mut block_ends_stream = false;
        loop {
            unsent = self.send_body(unsent).await?;
            let (kind, flags, stream, payload) = self.next_frame().await?;
            match kind {
                SETTINGS if flags & ACK == 0 => {
                    self.take_settings(&payload);
                    self.frame(SETTINGS, ACK, 0, &[]).await?;
                }
                PING if flags & ACK == 0 => self.frame(PING, ACK, 0, &payload).await?,
                WINDOW_UPDATE => {
                    let increment = i64::from(u32::from_be_bytes(four(&payload)?) & 0x7fff_ffff);
                    if stream == 0 {
                        self.window += increment;
                    } else {
                        self.stream_window += increment;
                    }
                }
                GOAWAY => {
                    let code = payload
                        .get(4..8)
                        .map(four)
                        .transpose()?
                        .map_or(0, u32::from_be_bytes);
                    if code != 0 {
                        bail!("the peer ended the connection with HTTP/2 error {code}");
                    }
                }
                RST_STREAM if stream == 1 => {
                    let code = u32::from_be_bytes(four(&payload)?);
                    bail!("the peer reset the stream with HTTP/2 error {code}");
                }
                HEADERS | CONTINUATION if stream == 1 => {
                    if kind == HEADERS {
                        block.clear();
                        block_ends_stream = flags & END_STREAM != 0;
                        block.extend_from_slice(unpadded(flags, &payload)?);
                    } else {
                        block.extend_from_slice(&payload);
                    }
                    if flags & END_HEADERS != 0 {
                        self.take_fields(&block, &mut reply)?;
                        if block_ends_stream {
                            return reply.context("the stream ended without an answer");
                        }
                    }
                }
                DATA if stream == 1 => {
                    let reply = reply.as_mut().context("a body before the headers")?;
                    reply.body.extend_from_slice(plain_data(flags, &payload)?);
                    if flags & END_STREAM != 0 {
                        return Ok(reply.clone());
                    }
                    if !payload.is_empty() {
                        let increment = u32::try_from(payload.len())?.to_be_bytes();
                        self.frame(WINDOW_UPDATE, 0, 0, &increment).await?;
                        self.frame(WINDOW_UPDATE, 0, 1, &increment).await?;
                    }
                }
                _ => {}
            }
        }
    }

    /// Sends as much of the body as the peer's windows allow, and returns the rest.
    async fn send_body<'body>(&mut self, mut unsent: &'body [u8]) -> Result<&'body [u8]> {
        while !unsent.is_empty() {
            let allowed = usize::try_from(self.window.min(self.stream_window)).unwrap_or(0);
            let length = unsent.len().min(MAX_FRAME).min(allowed);
            if length == 0 {
                break;
            }
            let (piece, rest) = unsent.split_at(length);
            let flags = if rest.is_empty() { END_STREAM } else { 0 };
            self.frame(DATA, flags, 1, piece).await?;
            let length = i64::try_from(length)?;
            self.window -= length;
            self.stream_window -= length;
            unsent = rest;
        }
        Ok(unsent)
    }

    fn take_settings(&mut self, payload: &[u8]) {
        for setting in payload.chunks_exact(6) {
            if setting[..2] == SETTINGS_INITIAL_WINDOW {
                let value = i64::from(u32::from_be_bytes([
                    setting[2], setting[3], setting[4], setting[5],
                ]));
                self.stream_window += value - self.peer_initial_window;
                self.peer_initial_window = value;
            }
        }
    }

    /// The first block is the head, unless it is an interim 1xx; the next one is the trailers.
    fn take_fields(&mut self, block: &[u8], reply: &mut Option<Reply>) -> Result<()> {
        let decoded = self
            .decoder
            .decode(block)
            .map_err(|error| anyhow!("HPACK: {error:?}"))?;
        let fields: Vec<(String, Vec<u8>)> = decoded
            .into_iter()
            .map(|(name, value)| (String::from_utf8_lossy(&name).into_owned(), value.clone()))
            .collect();
        if let Some(reply) = reply {
            reply.trailers = fields;
            return Ok(());
        }
        let status = fields
            .iter()
            .find(|(name, _)| name == ":status")
            .and_then(|(_, value)| std::str::from_utf8(value).ok()?.parse().ok())
            .context("no :status")?;
        if !(100..200).contains(&status) {
            *reply = Some(Reply {
                status,
                headers: fields
                    .into_iter()
                    .filter(|(name, _)| !name.starts_with(':'))
                    .collect(),
                ..Reply::default()
            });
        }
        Ok(())
    }

    async fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Result<()> {
        let length = u32::try_from(payload.len())?.to_be_bytes();
        let mut frame = vec![length[1], length[2], length[3], kind, flags];
        frame.extend_from_slice(&stream.to_be_bytes());
        frame.extend_from_slice(payload);
        // A peer that has already refused may be gone; its answer is in the receive buffer.
        let _ = self.stream.write_all(&frame).await;
        let _ = self.stream.flush().await;
        Ok(())
    }

    async fn next_frame(&mut self) -> Result<(u8, u8, u32, Vec<u8>)> {
        let mut head = [0; 9];
        self.stream
            .read_exact(&mut head)
            .await
            .context("the connection was closed without a full answer")?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]) & 0x7fff_ffff;
        let mut payload = vec![0; length];
        self.stream
            .read_exact(&mut payload)
            .await
            .context("the connection was closed inside a frame")?;
        Ok((head[3], head[4], stream, payload))
    }
}

fn literal(block: &mut Vec<u8>, text: &[u8]) {
    // RFC 7541 §5.1, with a prefix of seven bits. The eighth bit says that the text is not Huffman-coded.
    let lowest = |number: usize| number.to_le_bytes()[0];
    if text.len() < 127 {
        block.push(lowest(text.len()));
    } else {
        block.push(127);
        let mut rest = text.len() - 127;
        while rest >= 128 {
            block.push(lowest(rest) | 128);
            rest /= 128;
        }
        block.push(lowest(rest));
    }
    block.extend_from_slice(text);
}

fn plain_data(flags: u8, payload: &[u8]) -> Result<&[u8]> {
    if flags & PADDED == 0 {
        return Ok(payload);
    }
    let (&padding, rest) = payload.split_first().context("padding")?;
    rest.get(..rest.len().saturating_sub(usize::from(padding)))
        .context("padding")
}

fn unpadded(flags: u8, payload: &[u8]) -> Result<&[u8]> {
    let rest = plain_data(flags, payload)?;
    if flags & PRIORITY == 0 {
        return Ok(rest);
    }
    rest.get(5..).context("priority fields")
}

fn four(bytes: &[u8]) -> Result<[u8; 4]> {
    bytes
        .get(..4)
        .and_then(|four| four.try_into().ok())
        .context("a short frame")
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

const ACK: u8 = 0x1;
const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;

const SETTINGS_INITIAL_WINDOW: [u8; 2] = [0, 4];
/// The values from RFC 9113 §6.9.2 and §4.2.
const INITIAL_WINDOW: i64 = 65_535;
pub const MAX_FRAME: usize = 16_384;
