//! Performs each effect with the crate's calls.
//!
//! The crate's traits act on the context of the callback. A gate also acts on others, such as the requests that have
//! waited for keys, so this uses the functions under the traits, and `set_effective_context`. Those that can fail here
//! are few: most of them panic on every status but success.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, UNIX_EPOCH};

use proxy_wasm::hostcalls;
#[cfg(not(feature = "details"))]
use proxy_wasm::types::GrpcStatusCode;
use proxy_wasm::types::{BufferType, MapType, MetricType, Status};
use scopegate::forward::Edit;
use scopegate::reply::Reply;
use scopegate::worker::counters::{Counters, Kind, Registry};
use scopegate::worker::driver::{Performed, Proxy};
use scopegate::worker::{CallId, Effect, Level, Reading, RootId, Swap};

/// How soon a root is called to send what could not be sent from a request's callback, in milliseconds.
const SOON: u32 = 1;

/// The proxy that called the module.
#[derive(Debug, Default)]
pub struct Caller {
    /// The context that calls act on.
    context: u32,
    /// The context that the callback belongs to.
    home: u32,
    /// The worker's requests that are under way, with their roots.
    calls: HashMap<u32, (CallId, RootId)>,
    /// The requests that wait for a callback of their root.
    deferred: BTreeMap<RootId, Vec<Deferred>>,
    /// The interval at which the worker wants a root to be called, in milliseconds.
    ticks: BTreeMap<RootId, u32>,
    counters: Counters,
}

/// A request of the worker's own that is yet to be sent.
#[derive(Debug)]
struct Deferred {
    call: CallId,
    cluster: String,
    headers: Vec<(String, String)>,
    timeout: u64,
}

impl Caller {
    /// Notes the context of a callback. Calls act on it until they name another one.
    pub fn called_by(&mut self, context: u32) {
        (self.context, self.home) = (context, context);
    }

    /// The worker's number of a request that has ended.
    pub fn ended(&mut self, token: u32) -> Option<CallId> {
        self.calls.remove(&token).map(|(call, _)| call)
    }

    /// Forgets the requests of a root that is gone.
    pub fn forget(&mut self, root: RootId) {
        self.calls.retain(|_, (_, known)| *known != root);
        self.deferred.remove(&root);
        self.ticks.remove(&root);
    }

    /// Writes the counters to the proxy.
    pub fn flush(&mut self) {
        self.counters.flush(&Metrics);
    }

    /// Sends the requests that have waited for this callback of their root. Returns those that could not be sent, with
    /// the status.
    pub fn send_deferred(&mut self, root: RootId) -> Vec<(CallId, u32)> {
        let Some(deferred) = self.deferred.remove(&root) else {
            return Vec::new();
        };
        if let Some(millis) = self.ticks.get(&root) {
            tick_every(*millis);
        }
        let mut unsent = Vec::new();
        for request in deferred {
            let call = request.call;
            if let Err(status) = self.send(root, request) {
                unsent.push((call, status as u32));
            }
        }
        unsent
    }

    fn send(&mut self, root: RootId, request: Deferred) -> Result<(), Status> {
        let pairs = request.headers.iter();
        let token = hostcalls::dispatch_http_call(
            &request.cluster,
            pairs.map(|(name, value)| (&**name, &**value)).collect(),
            None,
            Vec::new(),
            Duration::from_millis(request.timeout.min(u32::MAX.into())),
        )?;
        self.calls.insert(token, (request.call, root));
        Ok(())
    }

    /// Sends a request now, or soon.
    ///
    /// The crate hands an answer to the context whose callback was running when the request was sent, whatever context
    /// was in effect, and drops the answer if that context is gone. The keys that a client's request has asked for must
    /// not be lost because the client hangs up, so only callbacks of the root send them.
    fn call(&mut self, root: RootId, request: Deferred) -> Result<(), Status> {
        if cfg!(feature = "direct") || u64::from(self.home) == root.0 {
            return self.send(root, request);
        }
        tick_every(SOON);
        self.deferred.entry(root).or_default().push(request);
        Ok(())
    }

    fn act_on(&mut self, context: u64) -> Result<(), Status> {
        let context = u32::try_from(context).map_err(|_| Status::NotFound)?;
        if self.context != context {
            hostcalls::set_effective_context(context)?;
            self.context = context;
        }
        Ok(())
    }

    fn try_perform(&mut self, effect: &Effect<'_>) -> Result<Performed, Status> {
        if let Some(context) = effect.context() {
            self.act_on(context)?;
        }
        match effect {
            Effect::Edit { edit, .. } => edit_header(MapType::HttpRequestHeaders, edit)?,
            Effect::EditResponse { edit, .. } => edit_header(MapType::HttpResponseHeaders, edit)?,
            Effect::ReplaceBody { size, body, .. } => {
                hostcalls::set_buffer(BufferType::HttpRequestBody, 0, *size, body)?;
            }
            Effect::DropTrailers { .. } => {
                hostcalls::set_map(MapType::HttpRequestTrailers, Vec::new())?;
            }
            Effect::Reply { reply, .. } => send_reply(reply)?,
            Effect::Resume { .. } => hostcalls::resume_http_request()?,
            // Only records depend on it, but a host that refuses it is a panic.
            Effect::FilterState { record, .. } => {
                hostcalls::set_property(vec!["scopegate"], Some(record.as_bytes()))?;
            }
            Effect::TickEvery { root, millis } => {
                self.ticks.insert(*root, *millis);
                if !self.deferred.contains_key(root) {
                    tick_every(*millis);
                }
            }
            Effect::Count { count, .. } => self.counters.count(*count),
            Effect::Show { gauge, value } => self.counters.show(&Metrics, *gauge, *value),
            Effect::Log { level, line, .. } => log::log!(severity(*level), "{line}"),
            Effect::Look { key, .. } => {
                let (value, swap) = hostcalls::get_shared_data(key)?;
                let value = value.unwrap_or_default().into();
                return Ok(Performed::Looked(Some((value, swap.unwrap_or(0)))));
            }
            Effect::Swap {
                key, value, swap, ..
            } => return Ok(Performed::Swapped(swap_shared(key, value, *swap))),
            Effect::Call {
                root,
                call,
                cluster,
                headers,
                timeout,
            } => {
                // The crate sends text alone.
                let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
                let pairs = headers.iter();
                let request = Deferred {
                    call: *call,
                    cluster: (*cluster).to_owned(),
                    headers: pairs
                        .map(|(name, value)| ((*name).to_owned(), text(value)))
                        .collect(),
                    timeout: *timeout,
                };
                self.call(*root, request)?;
            }
        }
        Ok(Performed::Done)
    }
}

impl Proxy for Caller {
    fn clocks(&mut self) -> Reading {
        let wall = hostcalls::get_current_time().ok();
        let wall = wall.and_then(|now| now.duration_since(UNIX_EPOCH).ok());
        Reading {
            wall: wall.and_then(|now| u64::try_from(now.as_nanos()).ok()),
            mono: monotonic_nanos(),
        }
    }

    fn perform(&mut self, effect: &Effect<'_>) -> Performed {
        let performed = self.try_perform(effect);
        // What the worker wants done to the stream of this callback must act on that stream.
        if self.context != self.home && hostcalls::set_effective_context(self.home).is_ok() {
            self.context = self.home;
        }
        performed.unwrap_or_else(|status| Performed::Refused(status as u32))
    }
}

fn tick_every(millis: u32) {
    let _ = hostcalls::set_tick_period(Duration::from_millis(millis.into()));
}

fn severity(level: Level) -> log::Level {
    match level {
        Level::Info => log::Level::Info,
        Level::Warn => log::Level::Warn,
        Level::Error => log::Level::Error,
    }
}

fn edit_header(map: MapType, edit: &Edit<'_>) -> Result<(), Status> {
    let text = |name| std::str::from_utf8(name).map_err(|_| Status::BadArgument);
    match edit {
        Edit::Add(name, value) => hostcalls::add_map_value_bytes(map, text(name)?, value),
        Edit::Remove(name) => hostcalls::remove_map_value(map, text(name)?),
        Edit::Set(name, value) => hostcalls::set_map_value_bytes(map, text(name)?, Some(value)),
    }
}

/// Answers the current stream. The crate has no way to hand over the details of the response, which say in the access
/// log and to other filters that it was the gate, and why.
#[cfg(not(feature = "details"))]
fn send_reply(reply: &Reply) -> Result<(), Status> {
    let pairs = reply.headers.iter();
    match reply.grpc_status {
        None => hostcalls::send_http_response(
            reply.status.into(),
            pairs.map(|(name, value)| (*name, &**value)).collect(),
            Some(&reply.body),
        ),
        Some(code) => hostcalls::send_grpc_response(
            grpc_status(code),
            Some(&String::from_utf8_lossy(&reply.body)),
            pairs
                .map(|(name, value)| (*name, value.as_bytes()))
                .collect(),
        ),
    }
}

/// Answers the current stream with an import of its own beside the crate.
#[cfg(feature = "details")]
fn send_reply(reply: &Reply) -> Result<(), Status> {
    #[link(wasm_import_module = "env")]
    unsafe extern "C" {
        fn proxy_send_local_response(
            status: u32,
            details: *const u8,
            details_size: usize,
            body: *const u8,
            body_size: usize,
            headers: *const u8,
            headers_size: usize,
            grpc_status: i32,
        ) -> u32;
    }
    let headers = scopegate::worker::HeaderBlock::of(&reply.headers);
    let headers = headers.as_bytes();
    // SAFETY: pointers and sizes come from live slices, and the host keeps none of them.
    let status = unsafe {
        proxy_send_local_response(
            reply.status.into(),
            reply.details.as_ptr(),
            reply.details.len(),
            reply.body.as_ptr(),
            reply.body.len(),
            headers.as_ptr(),
            headers.len(),
            reply.grpc_status.unwrap_or(-1),
        )
    };
    if status == 0 {
        Ok(())
    } else {
        Err(Status::InternalFailure)
    }
}

#[cfg(not(feature = "details"))]
fn grpc_status(code: i32) -> GrpcStatusCode {
    match code {
        0 => GrpcStatusCode::Ok,
        1 => GrpcStatusCode::Cancelled,
        3 => GrpcStatusCode::InvalidArgument,
        4 => GrpcStatusCode::DeadlineExceeded,
        5 => GrpcStatusCode::NotFound,
        6 => GrpcStatusCode::AlreadyExists,
        7 => GrpcStatusCode::PermissionDenied,
        8 => GrpcStatusCode::ResourceExhausted,
        9 => GrpcStatusCode::FailedPrecondition,
        10 => GrpcStatusCode::Aborted,
        11 => GrpcStatusCode::OutOfRange,
        12 => GrpcStatusCode::Unimplemented,
        13 => GrpcStatusCode::Internal,
        14 => GrpcStatusCode::Unavailable,
        15 => GrpcStatusCode::DataLoss,
        16 => GrpcStatusCode::Unauthenticated,
        _ => GrpcStatusCode::Unknown,
    }
}

fn swap_shared(key: &str, value: &[u8], swap: u32) -> Swap {
    // The ABI takes 0 to mean "whatever is there". Any other number also writes where nothing is, so a number that no
    // entry has writes only there.
    let swap = if swap == 0 { u32::MAX } else { swap };
    match hostcalls::set_shared_data(key, Some(value), Some(swap)) {
        Ok(()) => Swap::Done,
        Err(Status::CasMismatch) => Swap::Conflict,
        Err(_) => Swap::Unshared,
    }
}

/// The host's monotonic clock, which the crate leaves to WASI. That of Rust's library hides how far it is from its zero,
/// which is what the VMs of a process have in common.
fn monotonic_nanos() -> Option<u64> {
    #[link(wasm_import_module = "wasi_snapshot_preview1")]
    unsafe extern "C" {
        fn clock_time_get(clock: u32, precision: u64, time: *mut u64) -> u32;
    }
    const MONOTONIC: u32 = 1;
    let mut time = 0;
    // SAFETY: the pointer is that of a local.
    let code = unsafe { clock_time_get(MONOTONIC, 1, &raw mut time) };
    (code == 0).then_some(time)
}

/// The proxy's metrics.
#[derive(Clone, Copy, Debug)]
struct Metrics;

impl Registry for Metrics {
    fn define(&self, kind: Kind, name: &str) -> Option<u32> {
        let kind = match kind {
            Kind::Counter => MetricType::Counter,
            Kind::Gauge => MetricType::Gauge,
        };
        hostcalls::define_metric(kind, name).ok()
    }

    fn add(&self, id: u32, by: i64) -> bool {
        hostcalls::increment_metric(id, by).is_ok()
    }

    fn set(&self, id: u32, value: u64) -> bool {
        hostcalls::record_metric(id, value).is_ok()
    }
}
