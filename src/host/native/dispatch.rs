//! Passes each hook to the worker of its thread.
//!
//! A panic ends here. The request whose hook it was is refused, and so are the others that the
//! worker of that thread knew: nobody can say what has been decided about them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::abi::{self, Errand, Filter, FilterConfig, Map, Wake};
use super::calls::Carrier;
use super::configurations::{self, Configuration};
use super::perform::{self, Entered, Todo};
use super::process::PROCESS;
use super::station;
use super::{drill, metrics};
use crate::audit::add_status;
use crate::reply::Reply;
use crate::worker::{Action, Event, HeaderBlock, Level, ResponseHead, StreamId};

/// Whether the stream goes on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Flow {
    /// It goes on.
    On,
    /// It is held back.
    Held,
    /// It has been answered.
    Answered,
}

/// Runs a hook, which must not unwind into Envoy.
fn guard<T>(hook: &str, act: impl FnOnce() -> T) -> Option<T> {
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        drill::panic_at(hook);
        act()
    }));
    if outcome.is_err() {
        let line = format!("panic in {hook}: the open requests of this thread are refused");
        abi::log(Level::Error, &line);
        metrics::count_panic();
        // At once, because those that wait are called by nobody.
        let _ = catch_unwind(|| station::here().recover());
    }
    outcome.ok()
}

/// Refuses a stream about which nothing is known any more. A client tries again.
fn fault(filter: Filter) -> Reply {
    let content_type = abi::header(filter, Map::Request, b"content-type");
    let grpc = content_type.is_some_and(|it| it.starts_with(b"application/grpc"));
    let headers = [
        ("content-type", "text/plain; charset=utf-8"),
        ("x-content-type-options", "nosniff"),
        ("retry-after", "5"),
    ];
    let mut headers = headers
        .map(|(name, value)| (name, value.to_owned()))
        .to_vec();
    if grpc {
        headers.retain(|(name, _)| *name != "content-type");
    }
    Reply {
        status: 503,
        grpc_status: grpc.then_some(UNAVAILABLE),
        headers,
        body: b"the gate is not ready: try again\n".to_vec(),
        details: "scopegate{gate_unavailable}".to_owned(),
    }
}

/// The code of gRPC that has clients try again.
const UNAVAILABLE: i32 = 14;

/// Refuses a stream whose hook has panicked.
fn refuse(filter: Filter, stream: StreamId) {
    guard("give_up", || station::here().give_up(stream, filter));
    abi::reply(filter, &fault(filter));
}

fn answer(filter: Filter, reply: &Reply) -> Flow {
    abi::reply(filter, reply);
    Flow::Answered
}

/// Hands in an event of a stream from its own hook.
fn on_stream(hook: &str, filter: Filter, stream: StreamId, event: Event<'_>) -> Flow {
    let is_response = matches!(event, Event::ResponseHead { .. });
    let left = guard(hook, || station::here().on_stream(stream, filter, event));
    match left {
        None => {
            refuse(filter, stream);
            Flow::Answered
        }
        // That is its refusal, on its way to the client.
        Some(Err(Entered::Refused)) if is_response => Flow::On,
        Some(Err(Entered::Refused)) => Flow::Held,
        Some(Err(_)) => answer(filter, &fault(filter)),
        Some(Ok(left)) => match (left.reply, left.action) {
            (Some(reply), _) => answer(filter, &reply),
            (None, Action::Continue) => {
                if left.edited {
                    abi::choose_route_again(filter);
                }
                Flow::On
            }
            (None, Action::Exact | Action::Pause) => Flow::Held,
        },
    }
}

pub(super) fn on_config_new(
    envoy: FilterConfig,
    name: &[u8],
    document: &[u8],
) -> Option<Arc<Configuration>> {
    guard("config_new", || PROCESS.load(envoy, name, document)).flatten()
}

pub(super) fn on_config_destroy(configuration: &Configuration) {
    guard("config_destroy", || PROCESS.unload(configuration));
}

pub(super) fn on_config_scheduled(errand: Errand) {
    guard("config_scheduled", || PROCESS.run(errand));
}

pub(super) fn on_answer_head(carrier: Carrier, headers: &HeaderBlock) {
    guard("answer_head", || PROCESS.head(carrier, headers));
}

pub(super) fn on_answer_data(carrier: Carrier, piece: &[u8]) {
    guard("answer_data", || PROCESS.data(carrier, piece));
}

pub(super) fn on_answer_complete(carrier: Carrier) {
    guard("answer_complete", || PROCESS.complete(carrier));
}

pub(super) fn on_answer_lost(carrier: Carrier) {
    guard("answer_lost", || PROCESS.lost(carrier));
}

/// Begins a stream. It has a number even if that fails: then the worker does not know it, and it
/// is refused.
pub(super) fn on_filter_new(configuration: &Configuration, filter: Filter) -> StreamId {
    let stream = PROCESS.next_stream();
    guard("filter_new", || {
        station::here().open(stream, filter, configuration);
    });
    stream
}

/// Envoy answers a stream itself.
pub(super) fn on_local_reply(stream: StreamId, details: &[u8]) {
    if abi::is_1_38() {
        guard("local_reply", || {
            station::here().note_details(stream, details);
        });
    }
}

/// What Envoy 1.38 has said when it answered that stream itself.
fn noted_details(stream: StreamId) -> Option<Box<[u8]>> {
    let noted = || station::here().details_of(stream);
    abi::is_1_38().then(|| guard("noted_details", noted))??
}

/// A stream has ended, and its filter is still there. Its access log is written afterwards.
pub(super) fn on_stream_complete(filter: Filter, stream: StreamId) {
    guard("stream_complete", || {
        if let Some(mut record) = station::here().record(stream) {
            if let Some(status) = abi::response_status(filter) {
                add_status(&mut record, status);
            }
            abi::set_filter_state(filter, b"wasm.scopegate", record.as_bytes());
        }
        if abi::is_1_38()
            && let Some(root) = station::here().root_of(stream)
        {
            PROCESS.flush_by(filter, root);
        }
    });
}

pub(super) fn on_filter_destroy(stream: StreamId) {
    guard("filter_destroy", || station::here().close(stream));
}

pub(super) fn on_request_headers(filter: Filter, stream: StreamId, end: bool) -> Flow {
    let headers = abi::headers(filter, Map::Request).unwrap_or_default();
    let event = Event::Head {
        stream,
        headers: &headers,
        end,
        peer: &|| abi::peer(filter),
        entrance: &|| entrance(filter),
    };
    on_stream("request_headers", filter, stream, event)
}

/// The name of the filter in Envoy's configuration, and the listener's port. Neither is the
/// client's to choose.
fn entrance(filter: Filter) -> Option<Box<[u8]>> {
    let port = abi::destination_port(filter)?;
    let configuration = configurations::get(perform::current_root())?;
    Some(
        [&*configuration.name, &port.to_be_bytes()[..]]
            .join(&0)
            .into(),
    )
}

pub(super) fn on_request_body(filter: Filter, stream: StreamId, end: bool) -> Flow {
    let event = Event::Body {
        stream,
        size: abi::body_size(filter),
        end,
        read: &|| abi::body(filter),
    };
    on_stream("request_body", filter, stream, event)
}

pub(super) fn on_request_trailers(filter: Filter, stream: StreamId) -> Flow {
    let event = Event::Trailers { stream };
    on_stream("request_trailers", filter, stream, event)
}

pub(super) fn on_response_headers(filter: Filter, stream: StreamId, end: bool) -> Flow {
    let event = Event::ResponseHead {
        stream,
        headers: abi::header_count(filter, Map::Response),
        end,
        head: &Response {
            filter,
            noted: noted_details(stream),
        },
    };
    on_stream("response_headers", filter, stream, event)
}

pub(super) fn on_scheduled(filter: Filter, stream: StreamId, wake: Wake) {
    let todo = guard("scheduled", || station::here().woken(stream, wake));
    match todo {
        None => refuse(filter, stream),
        Some(None) => {}
        Some(Some(Todo::Resume)) => {
            abi::choose_route_again(filter);
            abi::resume(filter);
        }
        Some(Some(Todo::Reply(reply))) => abi::reply(filter, &reply),
        Some(Some(Todo::Refuse)) => abi::reply(filter, &fault(filter)),
    }
}

/// The response of a stream.
struct Response {
    filter: Filter,
    noted: Option<Box<[u8]>>,
}

impl ResponseHead for Response {
    fn status(&self) -> Option<u16> {
        let status = abi::header(self.filter, Map::Response, b":status")?;
        std::str::from_utf8(&status).ok()?.parse().ok()
    }

    fn details(&self) -> Box<[u8]> {
        let noted = || self.noted.clone();
        abi::code_details(self.filter)
            .or_else(noted)
            .unwrap_or_default()
    }

    fn request_id(&self) -> Box<[u8]> {
        abi::request_id(self.filter).unwrap_or_default()
    }
}
