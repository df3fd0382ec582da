//! The ABI of Envoy's dynamic modules, as far as the gate uses it
//! (<https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/advanced/dynamic_modules>).
//!
//! All unsafe code of this host is here, and in the Envoy that stands in for the real one in its
//! tests (`abi/pretend.rs`). The functions that Envoy has are linked by name, so Envoy
//! refuses to load the module if one of them is missing. Only functions that Envoy 1.38
//! has are linked; newer ones are looked up.
#![allow(unsafe_code)]

use std::ffi::{CStr, c_char, c_void};
use std::ptr::{NonNull, null, null_mut};
use std::sync::{Arc, LazyLock};

use super::calls::Carrier;
use super::configurations::Configuration;
use super::dispatch::{self, Flow};
use crate::reply::Reply;
use crate::worker::counters::Kind;
use crate::worker::{HeaderBlock, Level, StreamId};

/// Envoy's side of a stream. It is used on the thread of the stream alone, until Envoy destroys
/// the filter.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Filter(NonNull<c_void>);

// SAFETY: a filter moves between threads only as a value in a worker, which uses it on the
// stream's own thread.
unsafe impl Send for Filter {}

/// Envoy's side of a configuration. It is used on the main thread, until Envoy destroys the
/// configuration.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct FilterConfig(NonNull<c_void>);

// SAFETY: as above.
unsafe impl Send for FilterConfig {}
// SAFETY: as above.
unsafe impl Sync for FilterConfig {}

/// The header maps of a stream.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Map {
    Request = 0,
    RequestTrailers = 1,
    Response = 2,
}

/// Why a stream's thread is woken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Wake {
    /// There is something to do with that stream.
    Stream,
    /// There are messages for the thread.
    Thread,
}

/// Why the main thread is woken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Errand {
    /// There are requests to send.
    Send,
    /// Time has passed.
    Tick,
}

/// The number of a metric of a configuration.
#[derive(Clone, Copy, Debug)]
pub(super) struct MetricId(usize);

/// Bytes of either side.
#[repr(C)]
#[derive(Clone, Copy)]
struct Bytes {
    ptr: *const u8,
    length: usize,
}

/// A header of either side.
#[repr(C)]
#[derive(Clone, Copy)]
struct Pair {
    key: Bytes,
    value: Bytes,
}

impl Bytes {
    const NONE: Self = Self {
        ptr: null(),
        length: 0,
    };

    const fn of(bytes: &[u8]) -> Self {
        Self {
            ptr: bytes.as_ptr(),
            length: bytes.len(),
        }
    }

    /// # Safety
    /// These are bytes of Envoy's that live as long as the result is used.
    unsafe fn get<'a>(self) -> &'a [u8] {
        if self.ptr.is_null() || self.length == 0 {
            return &[];
        }
        // SAFETY: by the caller's promise.
        unsafe { std::slice::from_raw_parts(self.ptr, self.length) }
    }
}

/// Declares Envoy's functions. Where the module is not linked for Envoy, stubs replace them, so
/// that the host is built, linted and documented together with everything else. In its own tests
/// they are those of `abi/pretend.rs`.
macro_rules! imports {
    ($($name:ident as $link:literal ($($arg:ident: $kind:ty),* $(,)?) $(-> $result:ty)?;)*) => {
        #[cfg(not(any(test, doc, feature = "commands")))]
        mod import {
            use super::*;
            unsafe extern "C" {
                $(
                    #[link_name = concat!("envoy_dynamic_module_callback_", $link)]
                    pub(super) fn $name($($arg: $kind),*) $(-> $result)?;
                )*
            }
        }
        #[cfg(all(not(test), any(doc, feature = "commands")))]
        #[allow(unused_imports, clippy::too_many_arguments, clippy::unused_unit)]
        mod import {
            use super::*;
            $(pub(super) unsafe extern "C" fn $name($(_: $kind),*) $(-> $result)? { Default::default() })*
        }
    };
}

#[cfg(test)]
pub(super) mod pretend;
#[cfg(test)]
use pretend as import;

type Pointer = *mut c_void;

imports! {
    add_header as "http_add_header"(filter: Pointer, map: u32, key: Bytes, value: Bytes) -> bool;
    append_body as "http_append_body"(filter: Pointer, body: u32, data: Bytes) -> bool;
    attribute_int as "http_filter_get_attribute_int"(filter: Pointer, id: u32, result: *mut u64) -> bool;
    attribute_string as "http_filter_get_attribute_string"(filter: Pointer, id: u32, result: *mut Bytes) -> bool;
    body_chunks as "http_get_body_chunks"(filter: Pointer, body: u32, chunks: *mut Bytes) -> bool;
    body_chunks_size as "http_get_body_chunks_size"(filter: Pointer, body: u32) -> usize;
    body_size as "http_get_body_size"(filter: Pointer, body: u32) -> usize;
    clear_route_cache as "http_clear_route_cache"(filter: Pointer);
    config_scheduler_commit as "http_filter_config_scheduler_commit"(scheduler: Pointer, event: u64);
    config_scheduler_delete as "http_filter_config_scheduler_delete"(scheduler: Pointer);
    config_scheduler_new as "http_filter_config_scheduler_new"(config: Pointer) -> Handle;
    continue_decoding as "http_filter_continue_decoding"(filter: Pointer);
    define_counter as "http_filter_config_define_counter"(
        config: Pointer, name: Bytes, labels: *const Bytes, size: usize, id: *mut usize,
    ) -> u32;
    define_gauge as "http_filter_config_define_gauge"(
        config: Pointer, name: Bytes, labels: *const Bytes, size: usize, id: *mut usize,
    ) -> u32;
    drain_body as "http_drain_body"(filter: Pointer, body: u32, size: usize) -> bool;
    get_header as "http_get_header"(
        filter: Pointer, map: u32, key: Bytes, value: *mut Bytes, index: usize, size: *mut usize,
    ) -> bool;
    get_headers as "http_get_headers"(filter: Pointer, map: u32, headers: *mut Pair) -> bool;
    get_headers_size as "http_get_headers_size"(filter: Pointer, map: u32) -> usize;
    is_validation_mode as "is_validation_mode"() -> bool;
    log_line as "log"(level: u32, line: Bytes);
    received_is_buffered as "http_received_buffered_request_body"(filter: Pointer) -> bool;
    reset_http_stream as "http_filter_config_reset_http_stream"(config: Pointer, stream: u64);
    scheduler_commit as "http_filter_scheduler_commit"(scheduler: Pointer, event: u64);
    scheduler_delete as "http_filter_scheduler_delete"(scheduler: Pointer);
    scheduler_new as "http_filter_scheduler_new"(filter: Pointer) -> Handle;
    send_response as "http_send_response"(
        filter: Pointer, status: u32, headers: *const Pair, size: usize, body: Bytes, details: Bytes,
    );
    set_filter_state_bytes as "http_set_filter_state_bytes"(filter: Pointer, key: Bytes, value: Bytes) -> bool;
    set_header_value as "http_set_header"(filter: Pointer, map: u32, key: Bytes, value: Bytes) -> bool;
    stream_increment_counter as "http_filter_increment_counter"(
        filter: Pointer, id: usize, labels: *const Bytes, size: usize, by: u64,
    ) -> u32;
    stream_set_gauge as "http_filter_set_gauge"(
        filter: Pointer, id: usize, labels: *const Bytes, size: usize, value: u64,
    ) -> u32;
    start_http_stream as "http_filter_config_start_http_stream"(
        config: Pointer, stream: *mut u64, cluster: Bytes, headers: *const Pair, size: usize,
        body: Bytes, end: bool, timeout: u64,
    ) -> u32;
}

/// A pointer that may be null.
#[repr(transparent)]
#[derive(Clone, Copy)]
struct Handle(Pointer);

impl Default for Handle {
    fn default() -> Self {
        Self(null_mut())
    }
}

/// The pieces of a request's body: what has arrived last, and what is held back.
const RECEIVED: u32 = 0;
const BUFFERED: u32 = 1;

/// Attributes by their numbers.
const REQUEST_ID: u32 = 9;
const RESPONSE_CODE: u32 = 15;
const CODE_DETAILS: u32 = 16;
const SOURCE_ADDRESS: u32 = 24;
const DESTINATION_PORT: u32 = 27;

const SUCCESS: u32 = 0;

fn done(success: bool) -> Option<()> {
    success.then_some(())
}

/// All headers of a map, in their order.
pub(super) fn headers(filter: Filter, map: Map) -> Option<HeaderBlock> {
    let mut pairs = vec![
        Pair {
            key: Bytes::NONE,
            value: Bytes::NONE
        };
        header_count(filter, map)
    ];
    // SAFETY: there is room for as many headers as Envoy says that there are.
    let found = unsafe { import::get_headers(filter.0.as_ptr(), map as u32, pairs.as_mut_ptr()) };
    // SAFETY: Envoy's bytes live until the hook ends or a header changes.
    found.then(|| unsafe { block(&pairs) })
}

/// # Safety
/// These are bytes of Envoy's that live during the call.
unsafe fn block(pairs: &[Pair]) -> HeaderBlock {
    let bytes = |pair: &Pair| {
        // SAFETY: by the caller's promise.
        unsafe { (pair.key.get(), pair.value.get()) }
    };
    HeaderBlock::write(pairs.iter().map(bytes))
}

/// The number of headers of a map.
pub(super) fn header_count(filter: Filter, map: Map) -> usize {
    // SAFETY: the filter is alive, as everywhere below.
    unsafe { import::get_headers_size(filter.0.as_ptr(), map as u32) }
}

/// The first value of a header.
pub(super) fn header(filter: Filter, map: Map, name: &[u8]) -> Option<Box<[u8]>> {
    let mut value = Bytes::NONE;
    let mut size = 0;
    // SAFETY: both results are written before the call returns.
    let found = unsafe {
        import::get_header(
            filter.0.as_ptr(),
            map as u32,
            Bytes::of(name),
            &raw mut value,
            0,
            &raw mut size,
        )
    };
    // SAFETY: the bytes live until the hook ends or a header changes, and are copied here.
    (found && size > 0).then(|| unsafe { value.get() }.into())
}

/// Adds a header that is not there.
pub(super) fn add_header(filter: Filter, map: Map, name: &[u8], value: &[u8]) -> Option<()> {
    let (name, value) = (Bytes::of(name), Bytes::of(value));
    // SAFETY: Envoy copies the bytes.
    done(unsafe { import::add_header(filter.0.as_ptr(), map as u32, name, value) })
}

/// Sets a header to exactly this value. An empty value removes it.
pub(super) fn set_header(filter: Filter, map: Map, name: &[u8], value: &[u8]) -> Option<()> {
    let (name, value) = (Bytes::of(name), Bytes::of(value));
    // SAFETY: Envoy copies the bytes.
    done(unsafe { import::set_header_value(filter.0.as_ptr(), map as u32, name, value) })
}

/// Removes every value of a header.
pub(super) fn remove_header(filter: Filter, map: Map, name: &[u8]) -> Option<()> {
    // SAFETY: Envoy copies the bytes.
    done(unsafe {
        import::set_header_value(filter.0.as_ptr(), map as u32, Bytes::of(name), Bytes::NONE)
    })
}

/// Removes all trailers of the request.
pub(super) fn drop_trailers(filter: Filter) -> Option<()> {
    let trailers = headers(filter, Map::RequestTrailers)?;
    for (name, _) in trailers.iter() {
        remove_header(filter, Map::RequestTrailers, name)?;
    }
    Some(())
}

/// Where the bytes of the request's body are, in their order. After the head has been held back,
/// or behind a filter that holds bodies back, what Envoy hands in is what it has buffered.
fn body_parts(filter: Filter) -> &'static [u32] {
    // SAFETY: the filter is alive.
    if unsafe { import::received_is_buffered(filter.0.as_ptr()) } {
        &[RECEIVED]
    } else {
        &[BUFFERED, RECEIVED]
    }
}

/// The number of bytes of the request's body that are there.
pub(super) fn body_size(filter: Filter) -> usize {
    // SAFETY: the filter is alive.
    let size = |body: &u32| unsafe { import::body_size(filter.0.as_ptr(), *body) };
    let sizes = body_parts(filter).iter().map(size);
    sizes.fold(0, usize::saturating_add)
}

/// These bytes.
pub(super) fn body(filter: Filter) -> Option<Box<[u8]>> {
    let mut whole = Vec::with_capacity(body_size(filter));
    for &body in body_parts(filter) {
        let size = unsafe { import::body_chunks_size(filter.0.as_ptr(), body) };
        if size == 0 {
            continue;
        }
        let mut chunks = vec![Bytes::NONE; size];
        // SAFETY: there is room for as many pieces as Envoy says that there are.
        done(unsafe { import::body_chunks(filter.0.as_ptr(), body, chunks.as_mut_ptr()) })?;
        for chunk in chunks {
            // SAFETY: the bytes live until the hook ends or the body changes.
            whole.extend_from_slice(unsafe { chunk.get() });
        }
    }
    Some(whole.into())
}

/// Replaces the bytes that are there.
pub(super) fn replace_body(filter: Filter, new: &[u8]) -> Option<()> {
    let mut last = None;
    for &body in body_parts(filter) {
        let size = unsafe { import::body_size(filter.0.as_ptr(), body) };
        if size > 0 {
            done(unsafe { import::drain_body(filter.0.as_ptr(), body, size) })?;
            last = Some(body);
        }
    }
    // SAFETY: Envoy copies the bytes.
    let append = |body| unsafe { import::append_body(filter.0.as_ptr(), body, Bytes::of(new)) };
    // HTTP/1.1 ends a body with an empty piece, after which all of it is held back.
    done(last.map_or_else(|| append(RECEIVED) || append(BUFFERED), append))
}

/// Answers a stream. Envoy may destroy its filter before this returns.
pub(super) fn reply(filter: Filter, reply: &Reply) {
    let status = reply.grpc_status.map(|status| status.to_string());
    let mut headers: Vec<Pair> = reply
        .headers
        .iter()
        .map(|(name, value)| pair(name.as_bytes(), value.as_bytes()))
        .collect();
    // Envoy makes a success of a refused call unless it is told otherwise.
    headers.extend(
        status
            .as_ref()
            .map(|status| pair(b"grpc-status", status.as_bytes())),
    );
    // SAFETY: Envoy copies all bytes.
    unsafe {
        import::send_response(
            filter.0.as_ptr(),
            u32::from(reply.status),
            headers.as_ptr(),
            headers.len(),
            Bytes::of(&reply.body),
            Bytes::of(reply.details.as_bytes()),
        );
    }
}

const fn pair(key: &[u8], value: &[u8]) -> Pair {
    Pair {
        key: Bytes::of(key),
        value: Bytes::of(value),
    }
}

/// Resumes a request that was held back. Envoy may call other hooks before this returns.
pub(super) fn resume(filter: Filter) {
    // SAFETY: the filter is alive.
    unsafe { import::continue_decoding(filter.0.as_ptr()) }
}

/// Has Envoy choose the route again by the headers as they are now.
pub(super) fn choose_route_again(filter: Filter) {
    // SAFETY: the filter is alive.
    unsafe { import::clear_route_cache(filter.0.as_ptr()) }
}

/// Stores a value in the stream's filter state.
pub(super) fn set_filter_state(filter: Filter, key: &[u8], value: &[u8]) {
    // Only records depend on it.
    // SAFETY: Envoy copies the bytes.
    let _ = unsafe {
        import::set_filter_state_bytes(filter.0.as_ptr(), Bytes::of(key), Bytes::of(value))
    };
}

fn attribute(filter: Filter, id: u32) -> Option<Box<[u8]>> {
    let mut value = Bytes::NONE;
    // SAFETY: the result is written before the call returns.
    let found = unsafe { import::attribute_string(filter.0.as_ptr(), id, &raw mut value) };
    // SAFETY: the bytes live until the hook ends, and are copied here.
    found.then(|| unsafe { value.get() }.into())
}

/// The address of the peer, with its port.
pub(super) fn peer(filter: Filter) -> Option<Box<[u8]>> {
    attribute(filter, SOURCE_ADDRESS)
}

/// Why there is a response. Envoy 1.38 does not say.
pub(super) fn code_details(filter: Filter) -> Option<Box<[u8]>> {
    attribute(filter, CODE_DETAILS)
}

/// The ID of the request.
pub(super) fn request_id(filter: Filter) -> Option<Box<[u8]>> {
    attribute(filter, REQUEST_ID)
}

fn number(filter: Filter, id: u32) -> Option<u64> {
    let mut value = 0;
    // SAFETY: the result is written before the call returns.
    let found = unsafe { import::attribute_int(filter.0.as_ptr(), id, &raw mut value) };
    found.then_some(value)
}

/// The port of the proxy's that the client reached.
pub(super) fn destination_port(filter: Filter) -> Option<u64> {
    number(filter, DESTINATION_PORT)
}

/// The status of the response. There is none if the stream ended without one.
pub(super) fn response_status(filter: Filter) -> Option<u16> {
    let status = u16::try_from(number(filter, RESPONSE_CODE)?).ok()?;
    (status > 0).then_some(status)
}

/// Wakes the thread of a stream. It may be used on any thread, and does nothing once the stream
/// is gone.
#[derive(Debug)]
pub(super) struct StreamScheduler(NonNull<c_void>);

// SAFETY: Envoy's schedulers may be used on any thread.
unsafe impl Send for StreamScheduler {}
// SAFETY: as above.
unsafe impl Sync for StreamScheduler {}

impl StreamScheduler {
    pub(super) fn new(filter: Filter) -> Option<Self> {
        // SAFETY: the filter is alive.
        NonNull::new(unsafe { import::scheduler_new(filter.0.as_ptr()) }.0).map(Self)
    }

    pub(super) fn commit(&self, wake: Wake) {
        let event = match wake {
            Wake::Stream => 1,
            Wake::Thread => 2,
        };
        // SAFETY: the scheduler has not been deleted.
        unsafe { import::scheduler_commit(self.0.as_ptr(), event) }
    }
}

impl Drop for StreamScheduler {
    fn drop(&mut self) {
        // SAFETY: nobody else has it.
        unsafe { import::scheduler_delete(self.0.as_ptr()) }
    }
}

/// Wakes the main thread for a configuration, in the same way.
#[derive(Debug)]
pub(super) struct ConfigScheduler(NonNull<c_void>);

// SAFETY: Envoy's schedulers may be used on any thread.
unsafe impl Send for ConfigScheduler {}
// SAFETY: as above.
unsafe impl Sync for ConfigScheduler {}

impl ConfigScheduler {
    pub(super) fn new(config: FilterConfig) -> Option<Self> {
        // SAFETY: the configuration is being loaded.
        NonNull::new(unsafe { import::config_scheduler_new(config.0.as_ptr()) }.0).map(Self)
    }

    pub(super) fn commit(&self, errand: Errand) {
        let event = match errand {
            Errand::Send => 1,
            Errand::Tick => 2,
        };
        // SAFETY: the scheduler has not been deleted.
        unsafe { import::config_scheduler_commit(self.0.as_ptr(), event) }
    }
}

impl Drop for ConfigScheduler {
    fn drop(&mut self) {
        // SAFETY: nobody else has it.
        unsafe { import::config_scheduler_delete(self.0.as_ptr()) }
    }
}

/// Whether Envoy only tries its configuration.
pub(super) fn is_validation() -> bool {
    // SAFETY: it takes nothing.
    unsafe { import::is_validation_mode() }
}

/// Sends a request without a body, on the main thread. Returns its number, or Envoy's reason why
/// it was not sent. Envoy may report on it before this returns.
pub(super) fn start_stream(
    config: FilterConfig,
    cluster: &str,
    headers: &[(Box<str>, Box<[u8]>)],
    millis: u64,
) -> Result<u64, u32> {
    let headers: Vec<Pair> = headers
        .iter()
        .map(|(name, value)| pair(name.as_bytes(), value))
        .collect();
    let mut number = 0;
    // SAFETY: Envoy copies all bytes, and writes the number before the call returns.
    let status = unsafe {
        import::start_http_stream(
            config.0.as_ptr(),
            &raw mut number,
            Bytes::of(cluster.as_bytes()),
            headers.as_ptr(),
            headers.len(),
            Bytes::NONE,
            true,
            millis,
        )
    };
    if status == SUCCESS {
        Ok(number)
    } else {
        Err(status)
    }
}

/// Ends a request of the module's own, on the main thread.
pub(super) fn reset_stream(config: FilterConfig, number: u64) {
    // SAFETY: the configuration is alive.
    unsafe { import::reset_http_stream(config.0.as_ptr(), number) }
}

/// Defines a metric while a configuration is loaded.
pub(super) fn define_metric(
    config: FilterConfig,
    kind: Kind,
    name: &str,
    labels: &[&str],
) -> Option<MetricId> {
    let labels: Vec<Bytes> = labels
        .iter()
        .map(|label| Bytes::of(label.as_bytes()))
        .collect();
    let mut id = 0;
    let (name, size) = (Bytes::of(name.as_bytes()), labels.len());
    // SAFETY: Envoy copies all bytes, and writes the number before the call returns.
    let status = unsafe {
        match kind {
            Kind::Counter => {
                import::define_counter(config.0.as_ptr(), name, labels.as_ptr(), size, &raw mut id)
            }
            Kind::Gauge => {
                import::define_gauge(config.0.as_ptr(), name, labels.as_ptr(), size, &raw mut id)
            }
        }
    };
    (status == SUCCESS).then_some(MetricId(id))
}

/// A function that writes a metric of a configuration.
type Write = unsafe extern "C" fn(Pointer, usize, *const Bytes, usize, u64) -> u32;

/// The functions of Envoy 1.39 and newer that write metrics without a stream.
static INCREMENT: LazyLock<Option<Write>> = LazyLock::new(|| {
    look_up(c"envoy_dynamic_module_callback_http_filter_config_increment_counter")
});
static SET: LazyLock<Option<Write>> =
    LazyLock::new(|| look_up(c"envoy_dynamic_module_callback_http_filter_config_set_gauge"));

/// The address of a function that Envoy may have.
fn address(name: &CStr) -> Option<NonNull<c_void>> {
    unsafe extern "C" {
        fn dlsym(handle: Pointer, name: *const c_char) -> Pointer;
    }
    // SAFETY: the name ends with a NUL. A null handle stands for what the process has.
    NonNull::new(unsafe { dlsym(null_mut(), name.as_ptr()) })
}

/// Whether Envoy has that function.
fn is_there(name: &CStr) -> bool {
    address(name).is_some()
}

fn look_up(name: &CStr) -> Option<Write> {
    // SAFETY: the function has this signature in every version that has it.
    address(name).map(|found| unsafe { std::mem::transmute::<Pointer, Write>(found.as_ptr()) })
}

/// Who writes metrics.
#[derive(Clone, Copy, Debug)]
pub(super) enum Scribe {
    /// The main thread, in Envoy 1.39 or newer.
    Main(FilterConfig),
    /// The thread of a stream, in one of its hooks.
    Stream(Filter),
}

/// Whether this is Envoy 1.38, where the main thread can write no metrics, and the attribute with
/// the details of a response is missing.
pub(super) fn is_1_38() -> bool {
    INCREMENT.is_none() || SET.is_none()
}

/// Adds to a counter. What the scribe cannot write is lost: nothing depends on a metric.
pub(super) fn increment_counter(scribe: Scribe, id: MetricId, labels: &[&str], by: i64) {
    let by = by.unsigned_abs();
    write(
        scribe,
        *INCREMENT,
        import::stream_increment_counter,
        id,
        labels,
        by,
    );
}

/// Sets a gauge.
pub(super) fn set_gauge(scribe: Scribe, id: MetricId, labels: &[&str], value: u64) {
    write(scribe, *SET, import::stream_set_gauge, id, labels, value);
}

fn write(
    scribe: Scribe,
    main: Option<Write>,
    stream: Write,
    MetricId(id): MetricId,
    labels: &[&str],
    value: u64,
) {
    let labels: Vec<Bytes> = labels
        .iter()
        .map(|label| Bytes::of(label.as_bytes()))
        .collect();
    let (function, envoy) = match scribe {
        Scribe::Main(FilterConfig(config)) => (main, config),
        Scribe::Stream(Filter(filter)) => (Some(stream), filter),
    };
    if let Some(function) = function {
        // SAFETY: Envoy copies all bytes, and what it writes for is alive.
        let _ = unsafe { function(envoy.as_ptr(), id, labels.as_ptr(), labels.len(), value) };
    }
}

/// The version of the ABI that Envoy has, by the functions that are there: that of 1.38 and 1.39,
/// or that of 1.40. What the module uses is the same in both. Envoy warns of any other.
pub(super) fn version() -> &'static CStr {
    if is_there(c"envoy_dynamic_module_callback_log_v2") {
        c"v0.2.0"
    } else {
        c"v0.1.0"
    }
}

/// Writes one line to the proxy's log.
pub(super) fn log(level: Level, line: &str) {
    let level = match level {
        Level::Info => 2,
        Level::Warn => 3,
        Level::Error => 4,
    };
    // SAFETY: Envoy copies the bytes.
    unsafe { import::log_line(level, Bytes::of(line.as_bytes())) }
}

/// The hooks that Envoy calls. It refuses a module that lacks one of them.
mod export {
    use super::{
        Arc, Bytes, Carrier, Configuration, Errand, Filter, FilterConfig, Flow, NonNull, Pair,
        Pointer, StreamId, Wake, block, c_char, dispatch, null, version,
    };

    // How a head, a body or trailers go on.
    const CONTINUE: u32 = 0;
    const STOP: u32 = 1;
    const STOP_ALL_AND_WATERMARK: u32 = 4;

    macro_rules! exports {
        ($(fn $name:ident as $link:literal ($($arg:ident: $kind:ty),* $(,)?) $(-> $result:ty)? $body:block)*) => {
            $(
                #[cfg_attr(
                    not(any(test, doc, feature = "commands")),
                    unsafe(export_name = concat!("envoy_dynamic_module_on_", $link))
                )]
                #[cfg_attr(any(test, doc, feature = "commands"), allow(dead_code))]
                pub(super) extern "C" fn $name($($arg: $kind),*) $(-> $result)? $body
            )*
        };
    }

    /// What Envoy gives back to identify a stream: its number.
    fn stream(module: Pointer) -> StreamId {
        StreamId(u64::try_from(module.addr()).unwrap_or(0))
    }

    fn filter(envoy: Pointer) -> Option<Filter> {
        NonNull::new(envoy).map(Filter)
    }

    /// The configuration of that pointer.
    fn configuration<'a>(module: *const Configuration) -> Option<&'a Configuration> {
        // SAFETY: Envoy gives back what `config_new` has returned, until it destroys it.
        unsafe { module.as_ref() }
    }

    fn carrier(module: *const Configuration, number: u64) -> Option<Carrier> {
        Some((configuration(module)?.root, number))
    }

    fn code(flow: Flow, held: u32) -> u32 {
        match flow {
            Flow::On => CONTINUE,
            Flow::Held => held,
            Flow::Answered => STOP,
        }
    }

    exports! {
        fn program_init as "program_init"() -> *const c_char {
            version().as_ptr()
        }
        fn config_new as "http_filter_config_new"(
            envoy: Pointer, name: Bytes, document: Bytes,
        ) -> *const Configuration {
            let Some(envoy) = NonNull::new(envoy) else {
                return null();
            };
            // SAFETY: both live during the hook.
            let (name, document) = unsafe { (name.get(), document.get()) };
            let loaded = dispatch::on_config_new(FilterConfig(envoy), name, document);
            loaded.map_or(null(), Arc::into_raw)
        }
        fn config_destroy as "http_filter_config_destroy"(module: *const Configuration) {
            if !module.is_null() {
                // SAFETY: Envoy gives back what `config_new` has returned, once.
                let configuration = unsafe { Arc::from_raw(module) };
                dispatch::on_config_destroy(&configuration);
            }
        }
        fn config_scheduled as "http_filter_config_scheduled"(
            _envoy: Pointer, _module: *const Configuration, event: u64,
        ) {
            dispatch::on_config_scheduled(if event == 1 { Errand::Send } else { Errand::Tick });
        }
        fn config_callout_done as "http_filter_config_http_callout_done"(
            _envoy: Pointer, _module: *const Configuration, _callout: u64, _result: u32,
            _headers: *const Pair, _size: usize, _body: *const Bytes, _body_size: usize,
        ) {}
        fn config_stream_headers as "http_filter_config_http_stream_headers"(
            _envoy: Pointer, module: *const Configuration, number: u64,
            headers: *const Pair, size: usize, _end: bool,
        ) {
            if let Some(carrier) = carrier(module, number)
                && !headers.is_null()
            {
                // SAFETY: Envoy has as many headers as it says, which live during the hook.
                let headers = unsafe { block(std::slice::from_raw_parts(headers, size)) };
                dispatch::on_answer_head(carrier, &headers);
            }
        }
        fn config_stream_data as "http_filter_config_http_stream_data"(
            _envoy: Pointer, module: *const Configuration, number: u64,
            data: *const Bytes, count: usize, _end: bool,
        ) {
            if let Some(carrier) = carrier(module, number)
                && !data.is_null()
            {
                // SAFETY: Envoy has as many pieces as it says, which live during the hook.
                for piece in unsafe { std::slice::from_raw_parts(data, count) } {
                    // SAFETY: as above.
                    dispatch::on_answer_data(carrier, unsafe { piece.get() });
                }
            }
        }
        fn config_stream_trailers as "http_filter_config_http_stream_trailers"(
            _envoy: Pointer, _module: *const Configuration, _number: u64,
            _trailers: *const Pair, _size: usize,
        ) {}
        fn config_stream_complete as "http_filter_config_http_stream_complete"(
            _envoy: Pointer, module: *const Configuration, number: u64,
        ) {
            if let Some(carrier) = carrier(module, number) {
                dispatch::on_answer_complete(carrier);
            }
        }
        fn config_stream_reset as "http_filter_config_http_stream_reset"(
            _envoy: Pointer, module: *const Configuration, number: u64, _reason: u32,
        ) {
            if let Some(carrier) = carrier(module, number) {
                dispatch::on_answer_lost(carrier);
            }
        }
        fn filter_new as "http_filter_new"(
            module: *const Configuration, envoy: Pointer,
        ) -> Pointer {
            // Some versions of Envoy call the hooks with a null that is returned here.
            let unknown = std::ptr::without_provenance_mut(usize::MAX);
            let (Some(configuration), Some(filter)) = (configuration(module), filter(envoy)) else {
                return unknown;
            };
            let StreamId(number) = dispatch::on_filter_new(configuration, filter);
            usize::try_from(number).map_or(unknown, std::ptr::without_provenance_mut)
        }
        fn filter_destroy as "http_filter_destroy"(module: Pointer) {
            dispatch::on_filter_destroy(stream(module));
        }
        fn request_headers as "http_filter_request_headers"(
            envoy: Pointer, module: Pointer, end: bool,
        ) -> u32 {
            filter(envoy).map_or(STOP, |filter| {
                code(
                    dispatch::on_request_headers(filter, stream(module), end),
                    STOP_ALL_AND_WATERMARK,
                )
            })
        }
        fn request_body as "http_filter_request_body"(
            envoy: Pointer, module: Pointer, end: bool,
        ) -> u32 {
            filter(envoy).map_or(STOP, |filter| {
                code(dispatch::on_request_body(filter, stream(module), end), STOP)
            })
        }
        fn request_trailers as "http_filter_request_trailers"(
            envoy: Pointer, module: Pointer,
        ) -> u32 {
            filter(envoy).map_or(STOP, |filter| {
                code(dispatch::on_request_trailers(filter, stream(module)), STOP)
            })
        }
        fn response_headers as "http_filter_response_headers"(
            envoy: Pointer, module: Pointer, end: bool,
        ) -> u32 {
            filter(envoy).map_or(STOP, |filter| {
                code(dispatch::on_response_headers(filter, stream(module), end), STOP)
            })
        }
        fn response_body as "http_filter_response_body"(
            _envoy: Pointer, _module: Pointer, _end: bool,
        ) -> u32 {
            CONTINUE
        }
        fn response_trailers as "http_filter_response_trailers"(
            _envoy: Pointer, _module: Pointer,
        ) -> u32 {
            CONTINUE
        }
        fn local_reply as "http_filter_local_reply"(
            _envoy: Pointer, module: Pointer, _status: u32, details: Bytes, _reset: bool,
        ) -> u32 {
            // SAFETY: the bytes live during the hook.
            dispatch::on_local_reply(stream(module), unsafe { details.get() });
            CONTINUE
        }
        fn stream_complete as "http_filter_stream_complete"(envoy: Pointer, module: Pointer) {
            if let Some(filter) = filter(envoy) {
                dispatch::on_stream_complete(filter, stream(module));
            }
        }
        fn scheduled as "http_filter_scheduled"(envoy: Pointer, module: Pointer, event: u64) {
            if let Some(filter) = filter(envoy) {
                let wake = if event == 1 { Wake::Stream } else { Wake::Thread };
                dispatch::on_scheduled(filter, stream(module), wake);
            }
        }
        fn callout_done as "http_filter_http_callout_done"(
            _envoy: Pointer, _module: Pointer, _callout: u64, _result: u32,
            _headers: *const Pair, _size: usize, _body: *const Bytes, _body_size: usize,
        ) {}
        fn stream_headers as "http_filter_http_stream_headers"(
            _envoy: Pointer, _module: Pointer, _number: u64,
            _headers: *const Pair, _size: usize, _end: bool,
        ) {}
        fn stream_data as "http_filter_http_stream_data"(
            _envoy: Pointer, _module: Pointer, _number: u64,
            _data: *const Bytes, _count: usize, _end: bool,
        ) {}
        fn stream_trailers as "http_filter_http_stream_trailers"(
            _envoy: Pointer, _module: Pointer, _number: u64, _trailers: *const Pair, _size: usize,
        ) {}
        fn stream_done as "http_filter_http_stream_complete"(
            _envoy: Pointer, _module: Pointer, _number: u64,
        ) {}
        fn stream_reset as "http_filter_http_stream_reset"(
            _envoy: Pointer, _module: Pointer, _number: u64, _reason: u32,
        ) {}
        fn above_watermark as "http_filter_downstream_above_write_buffer_high_watermark"(
            _envoy: Pointer, _module: Pointer,
        ) {}
        fn below_watermark as "http_filter_downstream_below_write_buffer_low_watermark"(
            _envoy: Pointer, _module: Pointer,
        ) {}
    }
}
