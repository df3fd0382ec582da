//! An Envoy for tests: streams, configurations and requests of the module's own, on threads that
//! the test starts.
//!
//! Its functions stand where Envoy's are linked otherwise. They behave as those of Envoy 1.38,
//! which destroys the filter of a stream while that stream is being answered. What Envoy does not
//! survive is noted as a foul: a stream or a configuration that is used on another thread or
//! after its end, and requests that are under way on behalf of a configuration that has a
//! successor.

use std::collections::{BTreeMap, VecDeque};
use std::ffi::c_void;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::thread::{self, ThreadId};

use super::super::lock::{Mutex, lock};
use super::{Bytes, Configuration, Handle, Pair, Pointer, export, pair};

/// What the module has done that Envoy does not survive.
static FOULS: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn foul(what: &str) {
    lock(&FOULS).push(what.to_owned());
}

/// Takes the fouls.
pub(in super::super) fn fouls() -> Vec<String> {
    std::mem::take(&mut lock(&FOULS))
}

/// The gauges by their numbers, with what they show.
static GAUGES: Mutex<Vec<(Vec<u8>, Option<u64>)>> = Mutex::new(Vec::new());

/// What a gauge shows.
pub(in super::super) fn gauge(name: &str) -> Option<u64> {
    let gauges = lock(&GAUGES);
    let (_, value) = gauges.iter().find(|(known, _)| known == name.as_bytes())?;
    *value
}

/// Headers as the module gets and sets them.
type Headers = Vec<(Vec<u8>, Vec<u8>)>;

/// What wakes a thread.
#[derive(Debug)]
enum Letter {
    Stream(Weak<Stream>, u64),
    Config(Weak<Config>, u64),
}

/// The wake-ups of one thread.
#[derive(Debug, Default)]
pub(in super::super) struct Mailbox(Mutex<VecDeque<Letter>>);

impl Mailbox {
    /// Runs the hooks of all wake-ups that have come.
    pub(in super::super) fn pump(&self) {
        while let Some(letter) = { lock(&self.0).pop_front() } {
            match letter {
                Letter::Stream(stream, event) => {
                    if let Some(stream) = stream.upgrade()
                        && !stream.gone.load(Ordering::Relaxed)
                    {
                        export::scheduled(stream.envoy(), stream.module(), event);
                    }
                }
                Letter::Config(config, event) => {
                    if let Some(config) = config.upgrade() {
                        let envoy = Arc::as_ptr(&config).cast_mut().cast();
                        export::config_scheduled(envoy, config.module(), event);
                    }
                }
            }
        }
    }
}

/// A stream of a thread.
#[derive(Debug)]
pub(in super::super) struct Stream {
    me: Weak<Self>,
    thread: ThreadId,
    mailbox: Arc<Mailbox>,
    module: AtomicPtr<c_void>,
    gone: AtomicBool,
    resumed: AtomicBool,
    status: AtomicU32,
    headers: Mutex<Headers>,
    /// What the module was shown last, which lives until the next time.
    shown: Mutex<Headers>,
    record: Mutex<Option<Vec<u8>>>,
    _config: Arc<Config>,
}

impl Stream {
    /// Begins a stream, and shows its head to the module. Returns whether it goes on.
    pub(in super::super) fn open(
        config: &Arc<Config>,
        mailbox: &Arc<Mailbox>,
        headers: Headers,
    ) -> (Arc<Self>, bool) {
        let stream = Arc::new_cyclic(|me| Self {
            me: Weak::clone(me),
            thread: thread::current().id(),
            mailbox: Arc::clone(mailbox),
            module: AtomicPtr::new(null_mut()),
            gone: AtomicBool::new(false),
            resumed: AtomicBool::new(false),
            status: AtomicU32::new(0),
            headers: Mutex::new(headers),
            shown: Mutex::default(),
            record: Mutex::default(),
            _config: Arc::clone(config),
        });
        let module = export::filter_new(config.module(), stream.envoy());
        stream.module.store(module, Ordering::Relaxed);
        let flow = export::request_headers(stream.envoy(), module, true);
        (stream, flow == 0)
    }

    fn envoy(&self) -> Pointer {
        std::ptr::from_ref(self).cast_mut().cast()
    }

    fn module(&self) -> Pointer {
        self.module.load(Ordering::Relaxed)
    }

    /// Ends it, with the status that a backend has given, or with none.
    pub(in super::super) fn end(&self, status: u32) {
        if self.gone.load(Ordering::Relaxed) {
            return;
        }
        if status > 0 {
            self.status.store(status, Ordering::Relaxed);
            export::response_headers(self.envoy(), self.module(), false);
            if self.gone.load(Ordering::Relaxed) {
                return;
            }
        }
        export::stream_complete(self.envoy(), self.module());
        self.gone.store(true, Ordering::Relaxed);
        export::filter_destroy(self.module());
    }

    /// Whether the module has let it go on after it was held back.
    pub(in super::super) fn was_resumed(&self) -> bool {
        self.resumed.load(Ordering::Relaxed)
    }

    /// The status that the client has got, or 0.
    pub(in super::super) fn status(&self) -> u32 {
        self.status.load(Ordering::Relaxed)
    }

    /// Whether it has ended.
    pub(in super::super) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Relaxed)
    }

    /// The headers as the module has left them.
    pub(in super::super) fn headers(&self) -> Headers {
        lock(&self.headers).clone()
    }

    /// The record for the access log.
    pub(in super::super) fn record(&self) -> Option<Vec<u8>> {
        lock(&self.record).clone()
    }
}

/// A configuration. It goes with whatever holds it last, on whatever thread.
#[derive(Debug)]
pub(in super::super) struct Config {
    me: Weak<Self>,
    main: ThreadId,
    mailbox: Arc<Mailbox>,
    module: AtomicPtr<Configuration>,
    calls: Mutex<BTreeMap<u64, Call>>,
}

/// A request of the module's own.
#[derive(Debug)]
struct Call {
    /// What answers it, once the time has come.
    answer: Answer,
    after: u32,
}

/// How a request of the module's own is answered.
#[derive(Clone, Debug)]
pub(in super::super) enum Answer {
    /// With this status and this body.
    Whole(u16, Vec<u8>),
    /// The connection breaks.
    Reset,
}

/// What answers requests of the module's own: how, and after how many rounds of the main thread.
pub(in super::super) type Server = fn(u64) -> (Answer, u32);

/// The configurations that have been loaded.
static CONFIGS: Mutex<Vec<Weak<Config>>> = Mutex::new(Vec::new());
static SERVER: Mutex<Option<Server>> = Mutex::new(None);
static NUMBER: AtomicU64 = AtomicU64::new(0);

/// Has that server answer.
pub(in super::super) fn serve(server: Server) {
    *lock(&SERVER) = Some(server);
}

impl Config {
    /// Loads a configuration on this thread, which is the main thread from now on.
    pub(in super::super) fn load(mailbox: &Arc<Mailbox>, document: &[u8]) -> Option<Arc<Self>> {
        let config = Arc::new_cyclic(|me| Self {
            me: Weak::clone(me),
            main: thread::current().id(),
            mailbox: Arc::clone(mailbox),
            module: AtomicPtr::new(null_mut()),
            calls: Mutex::default(),
        });
        let envoy = Arc::as_ptr(&config).cast_mut().cast();
        let module = export::config_new(envoy, Bytes::of(b"scopegate"), Bytes::of(document));
        config.module.store(module.cast_mut(), Ordering::Relaxed);
        if module.is_null() {
            return None;
        }
        let mut configs = lock(&CONFIGS);
        configs.retain(|config| config.strong_count() > 0);
        for before in configs.iter().filter_map(Weak::upgrade) {
            if !lock(&before.calls).is_empty() {
                foul("a successor leaves requests under way");
            }
        }
        configs.push(Arc::downgrade(&config));
        Some(config)
    }

    fn module(&self) -> *const Configuration {
        self.module.load(Ordering::Relaxed)
    }

    /// Answers the requests whose time has come, on the main thread.
    pub(in super::super) fn answer(&self) {
        let mut due = Vec::new();
        lock(&self.calls).retain(|number, call| {
            call.after = call.after.saturating_sub(1);
            if call.after == 0 {
                due.push((*number, call.answer.clone()));
            }
            call.after > 0
        });
        let envoy = std::ptr::from_ref(self).cast_mut().cast();
        for (number, answer) in due {
            match answer {
                Answer::Whole(status, body) => {
                    let status = status.to_string();
                    let head = [pair(b":status", status.as_bytes())];
                    let module = self.module();
                    export::config_stream_headers(envoy, module, number, head.as_ptr(), 1, false);
                    let (one, two) = body.split_at(body.len() / 2);
                    let pieces = [Bytes::of(one), Bytes::of(two)];
                    export::config_stream_data(envoy, module, number, pieces.as_ptr(), 2, true);
                    export::config_stream_complete(envoy, module, number);
                }
                Answer::Reset => {
                    export::config_stream_reset(envoy, self.module(), number, 0);
                }
            }
        }
    }
}

impl Drop for Config {
    fn drop(&mut self) {
        export::config_destroy(self.module());
    }
}

/// The stream of that pointer, which must be used on its own thread while it lasts.
fn stream<'a>(envoy: Pointer) -> &'a Stream {
    // SAFETY: the test holds each stream until its filter has been destroyed.
    let stream: &Stream = unsafe { &*envoy.cast::<Stream>() };
    if stream.thread != thread::current().id() {
        foul("a stream was used on another thread");
    }
    if stream.gone.load(Ordering::Relaxed) {
        foul("a stream was used after its end");
    }
    stream
}

fn config<'a>(envoy: Pointer) -> &'a Config {
    // SAFETY: a configuration is there until the module has been told that it goes.
    let config: &Config = unsafe { &*envoy.cast::<Config>() };
    if config.main != thread::current().id() {
        foul("a configuration was used on another thread");
    }
    config
}

fn owned(bytes: Bytes) -> Vec<u8> {
    // SAFETY: the caller's bytes live during the call.
    unsafe { bytes.get() }.to_vec()
}

macro_rules! pretend {
    ($($(#[$attribute:meta])* fn $name:ident($($arg:ident: $kind:ty),* $(,)?) $(-> $result:ty)? $body:block)*) => {
        $($(#[$attribute])* pub(super) unsafe extern "C" fn $name($($arg: $kind),*) $(-> $result)? $body)*
    };
}

pretend! {
    fn add_header(filter: Pointer, map: u32, key: Bytes, value: Bytes) -> bool {
        if map == 0 && value.length > 0 {
            lock(&stream(filter).headers).push((owned(key), owned(value)));
        }
        value.length > 0
    }
    fn set_header_value(filter: Pointer, map: u32, key: Bytes, value: Bytes) -> bool {
        if map == 0 {
            let key = owned(key);
            let mut headers = lock(&stream(filter).headers);
            headers.retain(|(name, _)| *name != key);
            if value.length > 0 {
                headers.push((key, owned(value)));
            }
        }
        true
    }
    fn get_headers_size(filter: Pointer, map: u32) -> usize {
        let headers = lock(&stream(filter).headers).len();
        if map == 0 { headers } else { 1 }
    }
    fn get_headers(filter: Pointer, map: u32, headers: *mut Pair) -> bool {
        let stream = stream(filter);
        let mut shown = lock(&stream.shown);
        shown.clone_from(&lock(&stream.headers));
        for (at, (name, value)) in shown.iter().enumerate() {
            // SAFETY: the caller has room for as many as there are.
            unsafe { headers.add(at).write(pair(name, value)) };
        }
        map == 0
    }
    fn get_header(
        filter: Pointer, _map: u32, _key: Bytes, value: *mut Bytes, _index: usize, size: *mut usize,
    ) -> bool {
        let stream = stream(filter);
        let mut shown = lock(&stream.shown);
        *shown = vec![(Vec::new(), stream.status().to_string().into_bytes())];
        // SAFETY: the caller has room for both, and reads the value before the next call.
        unsafe {
            value.write(shown.first().map_or(Bytes::NONE, |(_, status)| Bytes::of(status)));
            size.write(1);
        }
        true
    }
    fn clear_route_cache(filter: Pointer) {
        stream(filter);
    }
    fn continue_decoding(filter: Pointer) {
        stream(filter).resumed.store(true, Ordering::Relaxed);
    }
    fn send_response(
        filter: Pointer, status: u32, _headers: *const Pair, _size: usize, _body: Bytes, details: Bytes,
    ) {
        let stream = stream(filter);
        stream.status.store(status, Ordering::Relaxed);
        // A stream that is answered while it is begun has no number yet.
        let module = stream.module();
        if !module.is_null() {
            export::local_reply(filter, module, status, details, false);
            export::stream_complete(filter, module);
            stream.gone.store(true, Ordering::Relaxed);
            export::filter_destroy(module);
        }
    }
    fn set_filter_state_bytes(filter: Pointer, _key: Bytes, value: Bytes) -> bool {
        if lock(&stream(filter).record).replace(owned(value)).is_some() {
            foul("a record was written twice");
        }
        true
    }
    fn attribute_int(filter: Pointer, id: u32, result: *mut u64) -> bool {
        let status = stream(filter).status();
        // SAFETY: the caller has room for it.
        unsafe { result.write(u64::from(status)) };
        id == super::RESPONSE_CODE
    }
    fn attribute_string(_filter: Pointer, _id: u32, _result: *mut Bytes) -> bool {
        false
    }
    fn scheduler_new(filter: Pointer) -> Handle {
        let stream = stream(filter);
        let scheduler = (Weak::clone(&stream.me), Arc::clone(&stream.mailbox));
        Handle(Box::into_raw(Box::new(scheduler)).cast())
    }
    fn scheduler_commit(scheduler: Pointer, event: u64) {
        // SAFETY: it has not been deleted.
        let (stream, mailbox) = unsafe { &*scheduler.cast::<(Weak<Stream>, Arc<Mailbox>)>() };
        lock(&mailbox.0).push_back(Letter::Stream(Weak::clone(stream), event));
    }
    fn scheduler_delete(scheduler: Pointer) {
        // SAFETY: it is deleted once.
        drop(unsafe { Box::from_raw(scheduler.cast::<(Weak<Stream>, Arc<Mailbox>)>()) });
    }
    fn config_scheduler_new(envoy: Pointer) -> Handle {
        let config = config(envoy);
        let scheduler = (Weak::clone(&config.me), Arc::clone(&config.mailbox));
        Handle(Box::into_raw(Box::new(scheduler)).cast())
    }
    fn config_scheduler_commit(scheduler: Pointer, event: u64) {
        // SAFETY: it has not been deleted.
        let (config, mailbox) = unsafe { &*scheduler.cast::<(Weak<Config>, Arc<Mailbox>)>() };
        lock(&mailbox.0).push_back(Letter::Config(Weak::clone(config), event));
    }
    fn config_scheduler_delete(scheduler: Pointer) {
        // SAFETY: it is deleted once.
        drop(unsafe { Box::from_raw(scheduler.cast::<(Weak<Config>, Arc<Mailbox>)>()) });
    }
    #[allow(clippy::too_many_arguments)]
    fn start_http_stream(
        envoy: Pointer, number: *mut u64, _cluster: Bytes, _headers: *const Pair, _size: usize,
        _body: Bytes, _end: bool, _timeout: u64,
    ) -> u32 {
        let config = config(envoy);
        let server = *lock(&SERVER);
        let new = NUMBER.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller has room for it.
        unsafe { number.write(new) };
        let Some(server) = server else {
            return 2;
        };
        let (answer, after) = server(new);
        lock(&config.calls).insert(new, Call { answer, after });
        0
    }
    fn received_is_buffered(_filter: Pointer) -> bool { false }
    fn reset_http_stream(envoy: Pointer, number: u64) {
        let config = config(envoy);
        let call = lock(&config.calls).remove(&number);
        if call.is_some() {
            export::config_stream_reset(envoy, config.module(), number, 2);
        }
    }
    fn append_body(_filter: Pointer, _body: u32, _data: Bytes) -> bool { true }
    fn drain_body(_filter: Pointer, _body: u32, _size: usize) -> bool { true }
    fn body_chunks(_filter: Pointer, _body: u32, _chunks: *mut Bytes) -> bool { true }
    fn body_chunks_size(_filter: Pointer, _body: u32) -> usize { 0 }
    fn body_size(_filter: Pointer, _body: u32) -> usize { 0 }
    fn define_counter(
        _config: Pointer, _name: Bytes, _labels: *const Bytes, _size: usize, _id: *mut usize,
    ) -> u32 { 0 }
    fn define_gauge(
        _config: Pointer, name: Bytes, _labels: *const Bytes, _size: usize, id: *mut usize,
    ) -> u32 {
        let name = owned(name);
        let mut gauges = lock(&GAUGES);
        let known = gauges.iter().position(|(known, _)| *known == name);
        // SAFETY: the caller has room for it.
        unsafe { id.write(known.unwrap_or(gauges.len())) };
        if known.is_none() {
            gauges.push((name, None));
        }
        0
    }
    fn is_validation_mode() -> bool { false }
    fn log_line(level: u32, line: Bytes) {
        if level >= 4 {
            let line = owned(line);
            let line = String::from_utf8_lossy(&line);
            if line.contains("panic") {
                foul(&line);
            }
        }
    }
    fn stream_increment_counter(
        filter: Pointer, _id: usize, _labels: *const Bytes, _size: usize, _by: u64,
    ) -> u32 {
        stream(filter);
        0
    }
    fn stream_set_gauge(
        filter: Pointer, id: usize, _labels: *const Bytes, _size: usize, value: u64,
    ) -> u32 {
        stream(filter);
        if let Some((_, last)) = lock(&GAUGES).get_mut(id) {
            *last = Some(value);
        }
        0
    }
}
