//! The gRPC methods that the gate lets through: messages, paths, a client, and replies for the upstream.
//!
//! Field numbers come from the .proto files of the servers. Only the fields that the tests use are declared, which
//! protobuf allows.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;
use tonic::metadata::{AsciiMetadataKey, AsciiMetadataValue, MetadataMap};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status, Streaming};
use tonic_prost::ProstCodec;

/// `tempopb.SearchRequest`.
#[derive(Clone, PartialEq, Message)]
pub struct SearchRequest {
    #[prost(map = "string, string", tag = "1")]
    pub tags: HashMap<String, String>,
    #[prost(uint32, tag = "4")]
    pub limit: u32,
    #[prost(uint32, tag = "5")]
    pub start: u32,
    #[prost(uint32, tag = "6")]
    pub end: u32,
    #[prost(string, tag = "8")]
    pub query: String,
}

/// `tempopb.SearchResponse`.
#[derive(Clone, PartialEq, Message)]
pub struct SearchResponse {
    #[prost(message, repeated, tag = "1")]
    pub traces: Vec<TraceSearchMetadata>,
}

/// `tempopb.TraceSearchMetadata`.
#[derive(Clone, PartialEq, Message)]
pub struct TraceSearchMetadata {
    #[prost(string, tag = "1")]
    pub trace_id: String,
    #[prost(string, tag = "2")]
    pub root_service_name: String,
    #[prost(string, tag = "3")]
    pub root_trace_name: String,
    #[prost(uint64, tag = "4")]
    pub start_time_unix_nano: u64,
    #[prost(uint32, tag = "5")]
    pub duration_ms: u32,
}

/// `tempopb.SearchTagsResponse`.
#[derive(Clone, PartialEq, Message)]
pub struct SearchTagsResponse {
    #[prost(string, repeated, tag = "1")]
    pub tag_names: Vec<String>,
}

/// Any OTLP `Export*Request`: repeated entries for resources, which are opaque here.
#[derive(Clone, PartialEq, Message)]
pub struct ExportRequest {
    #[prost(bytes = "vec", repeated, tag = "1")]
    pub resources: Vec<Vec<u8>>,
}

/// Any OTLP `Export*Response`. An empty one says that everything was accepted.
#[derive(Clone, PartialEq, Message)]
pub struct ExportResponse {}

/// A message about which nothing is known.
#[derive(Clone, PartialEq, Message)]
pub struct Anything {}

/// A real gRPC client over h2c.
#[derive(Clone)]
pub struct GrpcClient {
    channel: Channel,
}

impl GrpcClient {
    /// Connects to that address. Fails if nobody listens there.
    pub async fn connect(address: SocketAddr) -> Result<GrpcClient> {
        let endpoint =
            Endpoint::from_shared(format!("http://{address}"))?.timeout(Duration::from_secs(20));
        let channel = endpoint
            .connect()
            .await
            .with_context(|| format!("no gRPC at {address}"))?;
        Ok(GrpcClient { channel })
    }

    /// The same, with a window of `window` bytes for each stream and for all together. The server cannot send more
    /// than that beyond what has been read.
    ///
    /// # Errors
    /// Nobody listens there.
    pub async fn connect_narrow(address: SocketAddr, window: u32) -> Result<GrpcClient> {
        let endpoint = Endpoint::from_shared(format!("http://{address}"))?
            .initial_stream_window_size(window)
            .initial_connection_window_size(window);
        let channel = endpoint
            .connect()
            .await
            .with_context(|| format!("no gRPC at {address}"))?;
        Ok(GrpcClient { channel })
    }

    /// Sends one request and reads one reply. `path` is `/package.Service/Method`.
    pub async fn unary<Q, R>(
        &self,
        path: &str,
        metadata: &[(&str, &str)],
        message: Q,
    ) -> Result<R, Status>
    where
        Q: Message + Default + 'static,
        R: Message + Default + 'static,
    {
        let request = with_metadata(message, metadata)?;
        let mut client = tonic::client::Grpc::new(self.channel.clone());
        ready(&mut client).await?;
        let path = method_path(path)?;
        let reply = client
            .unary(request, path, ProstCodec::<Q, R>::default())
            .await?;
        Ok(reply.into_inner())
    }

    /// Sends one request and reads a stream of replies to its end.
    pub async fn server_streaming<Q, R>(
        &self,
        path: &str,
        metadata: &[(&str, &str)],
        message: Q,
    ) -> Result<Vec<R>, Status>
    where
        Q: Message + Default + 'static,
        R: Message + Default + 'static,
    {
        let mut stream = self.open(path, metadata, message).await?;
        let mut messages = Vec::new();
        while let Some(message) = stream.message().await? {
            messages.push(message);
        }
        Ok(messages)
    }

    /// Sends one request, and returns a stream of replies for the caller to read.
    pub async fn open<Q, R>(
        &self,
        path: &str,
        metadata: &[(&str, &str)],
        message: Q,
    ) -> Result<Streaming<R>, Status>
    where
        Q: Message + Default + 'static,
        R: Message + Default + 'static,
    {
        let request = with_metadata(message, metadata)?;
        let mut client = tonic::client::Grpc::new(self.channel.clone());
        ready(&mut client).await?;
        let path = method_path(path)?;
        let reply = client
            .server_streaming(request, path, ProstCodec::<Q, R>::default())
            .await?;
        Ok(reply.into_inner())
    }
}

/// Whether the content type says gRPC, in any of its forms.
#[must_use]
pub fn is_grpc(content_type: &[u8]) -> bool {
    content_type == b"application/grpc" || content_type.starts_with(b"application/grpc+")
}

/// A message with its five bytes of gRPC framing, not compressed.
#[must_use]
pub fn framed(message: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(message.len() + 5);
    frame.put_u8(0);
    // Nothing here comes close to the four GiB that the prefix can express.
    frame.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    frame.put_slice(message);
    frame.freeze()
}

/// The replies of an echo upstream to that method: one empty message if it is unary, and two if it is streaming, with
/// the tenant in them if the message has a field for it.
#[must_use]
pub fn canned_replies(path: &str, tenant: &str) -> Vec<Vec<u8>> {
    let search = |number: u32| SearchResponse {
        traces: vec![TraceSearchMetadata {
            trace_id: format!("{number:032x}"),
            root_service_name: tenant.to_owned(),
            root_trace_name: path.to_owned(),
            start_time_unix_nano: 1,
            duration_ms: number,
        }],
    };
    let tags = SearchTagsResponse {
        tag_names: vec![tenant.to_owned()],
    };
    match path {
        SEARCH => vec![search(1).encode_to_vec(), search(2).encode_to_vec()],
        SEARCH_TAGS => vec![tags.encode_to_vec(), tags.encode_to_vec()],
        path if path.starts_with("/tempopb.StreamingQuerier/") => vec![Vec::new(), Vec::new()],
        _ => vec![Vec::new()],
    }
}

fn with_metadata<Q>(message: Q, metadata: &[(&str, &str)]) -> Result<Request<Q>, Status> {
    let mut request = Request::new(message);
    let map: &mut MetadataMap = request.metadata_mut();
    for (name, value) in metadata {
        let name: AsciiMetadataKey = name
            .parse()
            .map_err(|_| Status::internal(format!("test bug: {name:?} is no metadata key")))?;
        let value: AsciiMetadataValue = value.parse().map_err(|_| {
            Status::internal(format!("test bug: the value of {name:?} is not ASCII"))
        })?;
        map.append(name, value);
    }
    Ok(request)
}

async fn ready(client: &mut tonic::client::Grpc<Channel>) -> Result<(), Status> {
    client
        .ready()
        .await
        .map_err(|error| Status::unknown(format!("connection: {error}")))
}

fn method_path(path: &str) -> Result<tonic::codegen::http::uri::PathAndQuery, Status> {
    path.parse()
        .map_err(|_| Status::internal(format!("test bug: {path:?} is no method path")))
}

pub const SEARCH: &str = "/tempopb.StreamingQuerier/Search";
pub const SEARCH_TAGS: &str = "/tempopb.StreamingQuerier/SearchTags";
pub const EXPORT_TRACES: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
pub const EXPORT_LOGS: &str = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";
pub const EXPORT_METRICS: &str = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";
