//! The two OTLP receivers.

use std::io::Read;
use std::sync::Arc;

use anyhow::Context;
use bytes::Bytes;
use flate2::read::GzDecoder;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::HeaderMap;
use hyper::{Method, Request, Response};
use prost::Message;
use serde_json::json;

use super::shared::{Refusal, Shared, UNAVAILABLE, UNIMPLEMENTED, only_tenant, tenants};
use super::wire::RpcStatus;
use crate::grpc::EXPORT_TRACES;
use crate::otlp::{ExportTraceServiceRequest, json};
use crate::server::{Body, full};

/// Handles `POST /v1/traces`, in protobuf or JSON, plain or gzip. Refusals before the encoding is known are text.
pub(super) async fn http(shared: Arc<Shared>, request: Request<Incoming>) -> Response<Body> {
    let (head, body) = request.into_parts();
    let body = body
        .collect()
        .await
        .map(http_body_util::Collected::to_bytes);
    let content_type = head.headers.get("content-type");
    let media_type = content_type.and_then(|value| value.to_str().ok());
    let media_type = media_type.and_then(|value| value.split(';').next());
    let json = match (head.uri.path(), media_type.map(str::trim)) {
        (path, _) if path != "/v1/traces" => return text(404, "404 page not found"),
        _ if head.method != Method::POST => {
            return text(405, "405 method not allowed, supported: [POST]");
        }
        (_, Some("application/x-protobuf")) => false,
        (_, Some("application/json")) => true,
        _ => {
            let supported = "[application/json, application/x-protobuf]";
            return text(
                415,
                &format!("415 unsupported media type, supported: {supported}"),
            );
        }
    };
    let taken = body
        .map_err(|error| Refusal::bad_request(error.to_string()))
        .and_then(|body| decoded(&head.headers, &body, json))
        .and_then(|message| take(&shared, &head.headers, message));
    // Tempo's receiver answers in the encoding of the request, and a refusal is a google.rpc.Status.
    let (status, body) = match (taken, json) {
        (Ok(()), false) => (200, Bytes::new()),
        (Ok(()), true) => (200, json!({ "partialSuccess": {} }).to_string().into()),
        (Err(refusal), false) => {
            let message = RpcStatus {
                code: refusal.grpc,
                message: refusal.message,
            };
            (refusal.http, message.encode_to_vec().into())
        }
        (Err(refusal), true) => {
            let message = json!({ "code": refusal.grpc, "message": refusal.message });
            (refusal.http, message.to_string().into())
        }
    };
    let content_type = if json {
        "application/json"
    } else {
        "application/x-protobuf"
    };
    response(status, content_type, body)
}

/// Handles `TraceService/Export`.
pub(super) fn grpc(
    shared: &Shared,
    path: &str,
    headers: &HeaderMap,
    message: &[u8],
) -> Result<Vec<Vec<u8>>, Refusal> {
    if path != EXPORT_TRACES {
        return Err(Refusal {
            http: 404,
            grpc: UNIMPLEMENTED,
            message: format!("unknown method {path}"),
        });
    }
    let message = ExportTraceServiceRequest::decode(message)
        .map_err(|error| Refusal::bad_request(error.to_string()))?;
    take(shared, headers, message)?;
    Ok(vec![Vec::new()])
}

/// Decompresses gzip.
pub(super) fn gunzip(packed: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut plain = Vec::new();
    GzDecoder::new(packed).read_to_end(&mut plain)?;
    Ok(plain)
}

pub(super) fn response(status: u16, content_type: &str, body: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(full(body));
    *response.status_mut() = status.try_into().unwrap_or_default();
    if let Ok(value) = content_type.try_into() {
        response.headers_mut().insert("content-type", value);
    }
    response
}

fn text(status: u16, message: &str) -> Response<Body> {
    response(status, "text/plain; charset=utf-8", message.to_owned())
}

fn decoded(
    headers: &HeaderMap,
    body: &[u8],
    json: bool,
) -> Result<ExportTraceServiceRequest, Refusal> {
    let decode = || {
        let encoding = headers
            .get("content-encoding")
            .map(hyper::http::HeaderValue::as_bytes);
        let plain = match encoding {
            None | Some(b"" | b"identity") => body.to_vec(),
            Some(b"gzip") => gunzip(body)?,
            // Tempo's receiver supports more encodings.
            Some(_) => anyhow::bail!("unsupported Content-Encoding"),
        };
        if json {
            json::parse_traces(&plain)
        } else {
            ExportTraceServiceRequest::decode(plain.as_slice()).context("no protobuf")
        }
    };
    decode().map_err(|error| Refusal::bad_request(format!("{error:#}")))
}

/// Tempo's distributor looks for the tenant only after its receiver has decoded the message.
fn take(
    shared: &Shared,
    headers: &HeaderMap,
    message: ExportTraceServiceRequest,
) -> Result<(), Refusal> {
    // In Tempo, a missing or repeated tenant is an error that clients retry: 503 and UNAVAILABLE.
    let Some(value) = only_tenant(headers) else {
        return Err(Refusal {
            http: 503,
            grpc: UNAVAILABLE,
            message: "no org id".to_owned(),
        });
    };
    // In Tempo, `a|b` on a write is a permanent 400, and `a|a` means a.
    let tenants = tenants(value)?;
    let [tenant] = &tenants[..] else {
        return Err(Refusal::bad_request("multiple org IDs present"));
    };
    let groups = message.resource_spans.iter();
    let mut spans = groups
        .flat_map(|group| &group.scope_spans)
        .flat_map(|scoped| &scoped.spans);
    // In Tempo, one invalid ID spoils the whole request.
    if spans.any(|span| span.trace_id.len() != 16) {
        return Err(Refusal::bad_request("trace ids must be 128 bit"));
    }
    shared.store.insert(tenant, message);
    Ok(())
}
