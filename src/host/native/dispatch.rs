//! Passes each hook to the worker of its thread.
//!
//! A panic ends here. The request whose hook it was is refused, and so are the others that the
//! worker of that thread knew: nobody can say what has been decided about them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::abi::{self, Errand, Filter, FilterConfig, Map, Wake};
use super::calls::Carrier;
use super::perform::{self, Todo};
use super::process::{Configuration, PROCESS};
use super::station;
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

/// Runs a hook that must not panic.
fn guard<T>(act: impl FnOnce() -> T) -> Option<T> {
    let outcome = catch_unwind(AssertUnwindSafe(act));
    if outcome.is_err() {
        abi::log(
            Level::Error,
            "panic: the requests of this thread are refused",
        );
    }
    outcome.ok()
}

/// Refuses a stream about which nothing is known any more. A client tries again.
fn fault() -> Reply {
    let headers = [
        ("content-type", "text/plain; charset=utf-8"),
        ("x-content-type-options", "nosniff"),
        ("retry-after", "5"),
    ];
    Reply {
        status: 503,
        grpc_status: None,
        headers: headers.map(|(name, value)| (name, value.to_owned())).into(),
        body: b"the gate is not ready: try again\n".to_vec(),
        details: "scopegate{gate_unavailable}".to_owned(),
    }
}

fn answer(filter: Filter, reply: &Reply) -> Flow {
    abi::reply(filter, reply);
    Flow::Answered
}

/// Hands in an event of a stream from its own hook.
fn on_stream(filter: Filter, stream: StreamId, event: Event<'_>) -> Flow {
    let left = guard(|| station::here().on_stream(stream, filter, event));
    match left.flatten() {
        None => answer(filter, &fault()),
        Some(left) => match (left.reply, left.action) {
            (Some(reply), _) => answer(filter, &reply),
            (None, Action::Continue) => Flow::On,
            (None, Action::Exact | Action::Pause) => Flow::Held,
        },
    }
}

pub(super) fn on_config_new(
    envoy: FilterConfig,
    name: &[u8],
    document: &[u8],
) -> Option<Arc<Configuration>> {
    guard(|| PROCESS.load(envoy, name, document)).flatten()
}

pub(super) fn on_config_destroy(configuration: &Configuration) {
    guard(|| PROCESS.unload(configuration.root));
}

pub(super) fn on_config_scheduled(errand: Errand) {
    guard(|| PROCESS.run(errand));
}

pub(super) fn on_answer_head(carrier: Carrier, headers: &HeaderBlock) {
    guard(|| PROCESS.head(carrier, headers));
}

pub(super) fn on_answer_data(carrier: Carrier, piece: &[u8]) {
    guard(|| PROCESS.data(carrier, piece));
}

pub(super) fn on_answer_complete(carrier: Carrier) {
    guard(|| PROCESS.complete(carrier));
}

pub(super) fn on_answer_lost(carrier: Carrier) {
    guard(|| PROCESS.lost(carrier));
}

/// Begins a stream. It has a number even if that fails: then the worker does not know it, and it
/// is refused.
pub(super) fn on_filter_new(configuration: &Configuration, filter: Filter) -> StreamId {
    let stream = PROCESS.next_stream();
    guard(|| station::here().open(stream, filter, configuration));
    stream
}

pub(super) fn on_filter_destroy(stream: StreamId) {
    guard(|| station::here().close(stream));
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
    let flow = on_stream(filter, stream, event);
    if flow == Flow::On {
        abi::choose_route_again(filter);
    }
    flow
}

/// The name of the filter in Envoy's configuration, and the listener's port. Neither is the
/// client's to choose.
fn entrance(filter: Filter) -> Option<Box<[u8]>> {
    let port = abi::destination_port(filter)?;
    let name = PROCESS.name_of(perform::current_root())?;
    Some([&*name, &port.to_be_bytes()[..]].join(&0).into())
}

pub(super) fn on_request_body(filter: Filter, stream: StreamId, end: bool) -> Flow {
    let event = Event::Body {
        stream,
        size: abi::body_size(filter),
        end,
        read: &|| abi::body(filter),
    };
    on_stream(filter, stream, event)
}

pub(super) fn on_request_trailers(filter: Filter, stream: StreamId) -> Flow {
    on_stream(filter, stream, Event::Trailers { stream })
}

pub(super) fn on_response_headers(filter: Filter, stream: StreamId, end: bool) -> Flow {
    let event = Event::ResponseHead {
        stream,
        headers: abi::header_count(filter, Map::Response),
        end,
        head: &Response(filter),
    };
    on_stream(filter, stream, event)
}

pub(super) fn on_scheduled(filter: Filter, stream: StreamId, wake: Wake) {
    let todo = guard(|| station::here().woken(stream, wake));
    match todo.flatten() {
        None => {}
        Some(Todo::Resume) => {
            abi::choose_route_again(filter);
            abi::resume(filter);
        }
        Some(Todo::Reply(reply)) => abi::reply(filter, &reply),
    }
}

/// The response of a stream.
struct Response(Filter);

impl ResponseHead for Response {
    fn status(&self) -> Option<u16> {
        let status = abi::header(self.0, Map::Response, b":status")?;
        std::str::from_utf8(&status).ok()?.parse().ok()
    }

    fn details(&self) -> Box<[u8]> {
        abi::code_details(self.0).unwrap_or_default()
    }

    fn request_id(&self) -> Box<[u8]> {
        abi::request_id(self.0).unwrap_or_default()
    }
}
