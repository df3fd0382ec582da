//! Calls into the host that pass bytes and handle every status.

use super::abi::{self, Status};
use crate::worker::counters::{Kind, Registry};
use crate::worker::event::Reading;
use crate::worker::{Action, HeaderBlock, Level, Swap};

/// The header maps of the ABI.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Map {
    CallResponse = 6,
    Request = 0,
    RequestTrailers = 1,
    Response = 2,
}

/// The buffers of the ABI.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Buffer {
    CallResponseBody = 4,
    PluginConfiguration = 7,
    RequestBody = 0,
}

/// The number of an action in the ABI, which has none that asks for clocks.
pub(super) const fn code(action: Action) -> u32 {
    match action {
        Action::Continue => 0,
        Action::Exact | Action::Pause => 1,
    }
}

/// Writes one line to the proxy's log.
pub(super) fn log(level: Level, line: &str) {
    let level = match level {
        Level::Info => 2,
        Level::Warn => 3,
        Level::Error => 4,
    };
    // Nothing can be done about a log line that the proxy does not accept.
    let _ = abi::log(level, line.as_bytes());
}

/// Reads both clocks: the proxy's wall clock, and WASI's monotonic one.
pub(super) fn clocks() -> Reading {
    Reading {
        wall: abi::current_time_nanos().ok(),
        mono: abi::monotonic_nanos(),
    }
}

/// A value that the workers of the process share, and the number with which to swap it. The
/// value is empty if nobody has written it. `None` on a host that shares nothing.
pub(super) fn shared(key: &str) -> Option<(Box<[u8]>, u32)> {
    match abi::shared_data(key.as_bytes()) {
        Ok(found) => Some(found),
        Err(Status::NOT_FOUND) => Some((Box::default(), 0)),
        Err(_) => None,
    }
}

/// Writes a shared value if it is still the one that was read with the number `swap`, or if
/// there was none and `swap` is 0.
pub(super) fn swap_shared(key: &str, value: &[u8], swap: u32) -> Swap {
    // The ABI takes 0 to mean "whatever is there". Any other number also writes where nothing
    // is, so a number that no entry has writes only there.
    let swap = if swap == 0 { u32::MAX } else { swap };
    match abi::set_shared_data(key.as_bytes(), value, swap) {
        Ok(()) => Swap::Done,
        Err(Status::CAS_MISMATCH) => Swap::Conflict,
        Err(_) => Swap::Unshared,
    }
}

/// Sets when the current root context is called next, and how often from then on.
pub(super) fn set_tick_period(millis: u32) {
    // A host without ticks is recognised by their absence.
    let _ = abi::set_tick_period(millis);
}

/// A whole header map in one call, undecoded.
pub(super) fn headers(map: Map) -> Option<HeaderBlock> {
    abi::header_pairs(map as u32).ok().map(HeaderBlock::new)
}

/// The first value of a header.
pub(super) fn header(map: Map, name: &str) -> Option<Box<[u8]>> {
    abi::header(map as u32, name.as_bytes()).ok()
}

pub(super) fn add_header(map: Map, name: &[u8], value: &[u8]) -> Result<(), Status> {
    abi::add_header(map as u32, name, value)
}

pub(super) fn set_header(map: Map, name: &[u8], value: &[u8]) -> Result<(), Status> {
    abi::replace_header(map as u32, name, value)
}

pub(super) fn remove_header(map: Map, name: &[u8]) -> Result<(), Status> {
    abi::remove_header(map as u32, name)
}

/// Removes all trailers of the request.
pub(super) fn drop_trailers() -> Result<(), Status> {
    let none: [(&str, &str); 0] = [];
    let none = HeaderBlock::of(&none);
    abi::set_header_pairs(Map::RequestTrailers as u32, none.as_bytes())
}

/// A property by its path, whose segments are separated by NUL.
pub(super) fn property(path: &str) -> Option<Box<[u8]>> {
    abi::property(path.as_bytes()).ok()
}

/// Stores a value in the stream's filter state as `wasm.<name>`.
pub(super) fn set_filter_state(name: &str, value: &str) {
    // Only records depend on it.
    let _ = abi::set_property(name.as_bytes(), value.as_bytes());
}

/// Answers the current stream.
pub(super) fn reply(reply: &crate::reply::Reply) -> Result<(), Status> {
    abi::send_local_response(
        u32::from(reply.status),
        reply.details.as_bytes(),
        &reply.body,
        HeaderBlock::of(&reply.headers).as_bytes(),
        reply.grpc_status.unwrap_or(-1),
    )
}

/// Resumes a request that was paused.
pub(super) fn resume_request() -> Result<(), Status> {
    abi::continue_stream(0)
}

/// Makes the calls that follow act on another context. If this fails, the previous context
/// stays current, so the caller must not continue to act.
pub(super) fn act_on(context: u32) -> Result<(), Status> {
    abi::set_effective_context(context)
}

/// Starts an HTTP request and returns the number that its answer will carry.
pub(super) fn http(cluster: &str, headers: &[(&str, &[u8])], timeout: u64) -> Result<u32, Status> {
    let pairs = headers
        .iter()
        .map(|(name, value)| (name.as_bytes(), *value));
    let headers = HeaderBlock::of(&pairs.collect::<Vec<_>>());
    let timeout = u32::try_from(timeout).unwrap_or(u32::MAX);
    abi::http_call(cluster.as_bytes(), headers.as_bytes(), timeout)
}

/// Calls a function that the proxy offers by its name.
pub(super) fn foreign(name: &str, argument: &[u8]) -> Option<Box<[u8]>> {
    abi::call_foreign_function(name.as_bytes(), argument).ok()
}

/// Up to `max` bytes of a buffer.
pub(super) fn buffer(buffer: Buffer, max: usize) -> Option<Box<[u8]>> {
    abi::buffer(buffer as u32, max).ok()
}

/// Replaces a request body of `size` bytes.
pub(super) fn replace_body(size: usize, body: &[u8]) -> Result<(), Status> {
    abi::set_buffer(Buffer::RequestBody as u32, size, body)
}

/// The proxy's metrics.
#[derive(Clone, Copy, Debug)]
pub(super) struct Metrics;

impl Registry for Metrics {
    fn define(&self, kind: Kind, name: &str) -> Option<u32> {
        let kind = match kind {
            Kind::Counter => 0,
            Kind::Gauge => 1,
        };
        abi::define_metric(kind, name.as_bytes()).ok()
    }

    fn add(&self, id: u32, by: i64) -> bool {
        abi::increment_metric(id, by).is_ok()
    }

    fn set(&self, id: u32, value: u64) -> bool {
        abi::record_metric(id, value).is_ok()
    }
}
