//! gRPC over hyper, and the streaming queries.

use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{HeaderMap, HeaderValue};
use hyper::{Request, Response};
use prost::Message;

use super::http;
use super::ingest::{gunzip, response};
use super::metrics::{self, Window};
use super::shared::{Refusal, Shared, UNIMPLEMENTED, UNKNOWN, only_tenant, tenants};
use super::store::{self, Bounds};
use super::traceql::Filter;
use super::wire::{
    QueryInstantResponse, QueryRangeRequest, QueryRangeResponse, SearchTagValuesRequest,
    SearchTagValuesResponse, SearchTagValuesV2Response, SearchTagsRequest, SearchTagsV2Response,
    SearchTagsV2Scope, TagValue,
};
use crate::form;
use crate::grpc::{SearchRequest, SearchResponse, SearchTagsResponse, framed};
use crate::server::{Body, full};

/// What a method does: it turns path, metadata and message into the messages of the answer.
type Call = fn(&Shared, &str, &HeaderMap, &[u8]) -> Result<Vec<Vec<u8>>, Refusal>;

pub(super) fn is_grpc(headers: &HeaderMap) -> bool {
    let content_type = headers.get("content-type");
    content_type.is_some_and(|value| crate::grpc::is_grpc(value.as_bytes()))
}

/// Answers one request message with the messages that `call` returns. Also returns whether all went well.
pub(super) async fn answer(
    shared: &Shared,
    request: Request<Incoming>,
    call: Call,
) -> (Response<Body>, bool) {
    let (head, body) = request.into_parts();
    let body = body
        .collect()
        .await
        .map(http_body_util::Collected::to_bytes);
    if !is_grpc(&head.headers) {
        return (response(415, "text/plain", "no gRPC"), false);
    }
    let outcome = body
        .map_err(|error| Refusal::bad_request(error.to_string()))
        .and_then(|body| unframed(&body))
        .and_then(|message| call(shared, head.uri.path(), &head.headers, &message));
    let good = outcome.is_ok();
    (reply(outcome), good)
}

/// Answers on the query port: `tempopb.StreamingQuerier`, and methods that nobody may reach through the gate.
pub(super) fn query(
    shared: &Shared,
    path: &str,
    headers: &HeaderMap,
    message: &[u8],
) -> Result<Vec<Vec<u8>>, Refusal> {
    // Tempo serves its components' own methods on the same port. Here they answer OK and empty, so that a test can
    // show that the server answers and the gate does not.
    if INTERNAL.contains(&path) {
        return Ok(vec![Vec::new()]);
    }
    let method = path.strip_prefix("/tempopb.StreamingQuerier/");
    let unknown = || Refusal {
        http: 404,
        grpc: UNIMPLEMENTED,
        message: format!("unknown method {path}"),
    };
    let method = method.ok_or_else(unknown)?;
    // Tempo requires exactly one value in the metadata; otherwise it returns an error without a code.
    let Some(value) = only_tenant(headers) else {
        return Err(Refusal {
            http: 401,
            grpc: UNKNOWN,
            message: "no org id".to_owned(),
        });
    };
    let spans = shared.store.spans(&tenants(value)?);
    Ok(match method {
        "Search" => {
            let request: SearchRequest = decoded(message)?;
            let filter = if request.query.is_empty() {
                Filter::from_tags(request.tags)
            } else {
                parsed(&request.query)?
            };
            let bounds = Bounds {
                start: request.start,
                end: request.end,
                limit: match request.limit {
                    0 => http::DEFAULT_LIMIT,
                    limit => limit,
                },
            };
            // Tempo streams what has been found so far, and sends each trace once. Here every trace is a message of
            // its own, and an empty result is one empty message, so that the client notices the streaming.
            let mut messages: Vec<Vec<u8>> = store::search(&spans, &filter, bounds)
                .into_iter()
                .map(|found| {
                    SearchResponse {
                        traces: vec![found.metadata],
                    }
                    .encode_to_vec()
                })
                .collect();
            if messages.is_empty() {
                messages.push(Vec::new());
            }
            messages
        }
        "SearchTags" | "SearchTagsV2" => {
            let request: SearchTagsRequest = decoded(message)?;
            let scopes = http::in_scope(&spans, &request.scope, &request.query)?;
            let reply = if method == "SearchTags" {
                let tag_names = scopes.into_iter().flat_map(|(_, tags)| tags).collect();
                SearchTagsResponse { tag_names }.encode_to_vec()
            } else {
                let scope = |(name, tags): (&str, Vec<String>)| SearchTagsV2Scope {
                    name: name.to_owned(),
                    tags,
                };
                let scopes = scopes.into_iter().map(scope).collect();
                SearchTagsV2Response { scopes }.encode_to_vec()
            };
            vec![reply]
        }
        "SearchTagValues" | "SearchTagValuesV2" => {
            let request: SearchTagValuesRequest = decoded(message)?;
            let second = method == "SearchTagValuesV2";
            let field = http::field(&request.tag_name, second)?;
            let values = store::tag_values(&spans, &field, &parsed(&request.query)?).into_iter();
            let reply = if second {
                let value = |(kind, value): (&str, String)| TagValue {
                    r#type: kind.to_owned(),
                    value,
                };
                let tag_values = values.map(value).collect();
                SearchTagValuesV2Response { tag_values }.encode_to_vec()
            } else {
                let tag_values = values.map(|(_, value)| value).collect();
                SearchTagValuesResponse { tag_values }.encode_to_vec()
            };
            vec![reply]
        }
        "MetricsQueryRange" | "MetricsQueryInstant" => {
            let request: QueryRangeRequest = decoded(message)?;
            let window = Window {
                start: request.start,
                end: request.end,
                step: request.step,
            };
            let reply = if method == "MetricsQueryRange" {
                let series = metrics::range(&spans, &request.query, window)?;
                QueryRangeResponse { series }.encode_to_vec()
            } else {
                let series = metrics::instant(&spans, &request.query, window)?;
                QueryInstantResponse { series }.encode_to_vec()
            };
            vec![reply]
        }
        _ => return Err(unknown()),
    })
}

fn parsed(query: &str) -> Result<Filter, Refusal> {
    Filter::parse(query).map_err(Refusal::bad_request)
}

fn decoded<M: Message + Default>(message: &[u8]) -> Result<M, Refusal> {
    M::decode(message).map_err(|error| Refusal::bad_request(error.to_string()))
}

/// The single message of a request. The Collector's otlp exporter compresses it with gzip by default.
fn unframed(body: &[u8]) -> Result<Vec<u8>, Refusal> {
    let wrong = || Refusal::bad_request("not one gRPC message");
    let (head, message) = body.split_at_checked(5).ok_or_else(wrong)?;
    let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]);
    if message.len() != length as usize {
        return Err(wrong());
    }
    match head[0] {
        0 => Ok(message.to_vec()),
        _ => gunzip(message).map_err(|error| Refusal::bad_request(error.to_string())),
    }
}

fn reply(outcome: Result<Vec<Vec<u8>>, Refusal>) -> Response<Body> {
    let (messages, mut status) = match outcome {
        Ok(messages) => (messages, grpc_status(0, "")),
        Err(refusal) => (Vec::new(), grpc_status(refusal.grpc, &refusal.message)),
    };
    if messages.is_empty() {
        // There is nothing to send but the status, so it goes into the headers.
        status.insert("content-type", GRPC);
        let mut response = Response::new(full(Bytes::new()));
        *response.headers_mut() = status;
        return response;
    }
    let frames = messages
        .iter()
        .map(|message| Frame::data(framed(message)))
        .chain([Frame::trailers(status)])
        .map(anyhow::Ok)
        .collect::<Vec<_>>();
    let mut response = Response::new(StreamBody::new(stream::iter(frames)).boxed_unsync());
    response.headers_mut().insert("content-type", GRPC);
    response
}

fn grpc_status(code: i32, message: &str) -> HeaderMap {
    let mut status = HeaderMap::new();
    status.insert("grpc-status", HeaderValue::from(code));
    if let Ok(message) = HeaderValue::try_from(form::encode(message)) {
        status.insert("grpc-message", message);
    }
    status
}

const INTERNAL: [&str; 3] = [
    "/tempopb.Querier/FindTraceByID",
    "/httpgrpc.HTTP/Handle",
    "/grpc.health.v1.Health/Check",
];

const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");
