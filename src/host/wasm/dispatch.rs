//! Passes each callback to the worker, by the number of its context.
//!
//! A callback that arrives while another one is still running is refused or does nothing. It
//! never panics.

use std::cell::RefCell;
use std::hash::{BuildHasher, Hasher, RandomState};

use super::call::{self, Buffer, Map};
use super::engine::Engine;
use super::perform::Caller;
use crate::worker::driver::Driver;
use crate::worker::{Action, CallOutcome, Event, ResponseHead, RootId, StreamId, Worker};

type Machine = Driver<Caller>;

thread_local! {
    // A VM is one thread of one worker.
    static MACHINE: RefCell<Option<Machine>> = const { RefCell::new(None) };
}

fn stream(context: u32) -> StreamId {
    StreamId(context.into())
}

fn root(context: u32) -> RootId {
    RootId(context.into())
}

/// Runs `act` with the machine for a callback of that context, unless another callback is
/// running.
fn with<T>(context: u32, act: impl FnOnce(&mut Machine) -> T) -> Option<T> {
    MACHINE.with(|machine| {
        let mut machine = machine.try_borrow_mut().ok()?;
        let machine = machine.get_or_insert_with(|| {
            // The seed comes from the host's random numbers, because the memory of every VM
            // looks the same.
            let seed = RandomState::new().build_hasher().finish();
            let worker = Worker::new(Box::new(Engine::new(call::foreign)), seed);
            Driver::new(worker, Caller::default())
        });
        machine.proxy().called_by(context);
        Some(act(machine))
    })
}

/// Hands in an event of a stream. The stream is held back if that is not possible.
fn on_stream(context: u32, event: Event<'_>) -> u32 {
    let action = with(context, |machine| machine.on_stream(stream(context), event));
    call::code(action.unwrap_or(Action::Pause))
}

pub(super) fn on_context_create(context: u32, parent: u32) {
    if parent != 0 {
        let (stream, root) = (stream(context), root(parent));
        on_stream(context, Event::Opened { stream, root });
    }
}

pub(super) fn on_configure(context: u32, size: usize) -> bool {
    let document = call::buffer(Buffer::PluginConfiguration, size).unwrap_or_default();
    // A value that is not UTF-8 must not be treated as absent.
    let variables = std::env::vars_os().filter_map(|(name, value)| {
        let name = name.into_string().ok()?;
        Some((name, value.to_string_lossy().into_owned()))
    });
    let event = Event::Configured {
        root: root(context),
        document: &document,
        environment: &variables.collect::<Vec<_>>(),
    };
    with(context, |machine| machine.on(event)) == Some(Action::Continue)
}

pub(super) fn on_tick(context: u32) {
    let root = root(context);
    with(context, |machine| {
        machine.on(Event::Tick { root });
        machine.proxy().flush();
    });
}

pub(super) fn on_http_call_response(context: u32, token: u32, headers: usize, size: usize) {
    with(context, |machine| {
        let Some(call) = machine.proxy().ended(token) else {
            return;
        };
        // A request that failed has no headers at all.
        let header = |name| call::header(Map::CallResponse, name).filter(|_| headers > 0);
        let (status, cache_control) = (header(":status"), header("cache-control"));
        let (content_encoding, etag) = (header("content-encoding"), header("etag"));
        let body = || call::buffer(Buffer::CallResponseBody, size);
        let answer = match &status {
            None => CallOutcome::Nothing,
            Some(status) => CallOutcome::Response {
                status,
                cache_control: cache_control.as_deref(),
                content_encoding: content_encoding.as_deref(),
                etag: etag.as_deref(),
                size,
                body: &body,
            },
        };
        machine.on(Event::Answered { call, answer });
        machine.proxy().flush();
    });
}

pub(super) fn on_request_headers(context: u32, end: bool) -> u32 {
    let headers = call::headers(Map::Request).unwrap_or_default();
    let event = Event::Head {
        stream: stream(context),
        headers: &headers,
        end,
        peer: &|| call::property("source\0address"),
        entrance: &entrance,
    };
    on_stream(context, event)
}

/// The plugin and the listener's port of the current stream. Neither is the client's to choose, as
/// a server name is: by one that nobody else asks for, a stream would outlive its grant.
fn entrance() -> Option<Box<[u8]>> {
    let port = call::property("destination\0port")?;
    let plugin = call::property("plugin_name").unwrap_or_default();
    Some([&*plugin, &*port].join(&0).into())
}

pub(super) fn on_request_body(context: u32, size: usize, end: bool) -> u32 {
    let event = Event::Body {
        stream: stream(context),
        size,
        end,
        read: &|| call::buffer(Buffer::RequestBody, size),
    };
    on_stream(context, event)
}

pub(super) fn on_request_trailers(context: u32) -> u32 {
    let stream = stream(context);
    on_stream(context, Event::Trailers { stream })
}

pub(super) fn on_response_headers(context: u32, headers: usize, end: bool) -> u32 {
    let event = Event::ResponseHead {
        stream: stream(context),
        headers,
        end,
        head: &Response,
    };
    on_stream(context, event)
}

/// The response of the current stream.
struct Response;

impl ResponseHead for Response {
    fn status(&self) -> Option<u16> {
        let status = call::header(Map::Response, ":status")?;
        std::str::from_utf8(&status).ok()?.parse().ok()
    }

    fn details(&self) -> Box<[u8]> {
        call::property("response\0code_details").unwrap_or_default()
    }

    fn request_id(&self) -> Box<[u8]> {
        call::property("request\0id").unwrap_or_default()
    }
}

pub(super) fn on_delete(context: u32) {
    let (stream, root) = (stream(context), root(context));
    with(context, |machine| {
        if machine.worker().is_root(root) {
            machine.on(Event::RootGone { root });
            machine.proxy().forget(root);
            machine.proxy().flush();
        } else {
            machine.on_stream(stream, Event::Gone { stream });
        }
    });
}
