//! A host without a proxy: a worker, clocks that a test sets, a store that workers share, and a
//! list of what was done.
//!
//! The tests of the core and the native replay of the scenario table drive workers with it.
//! Reads and swaps of the store are answered at once, or when the test says so.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use scopegate::authn::keys::SignatureEngine;
use scopegate::forward::Edit;
use scopegate::reply::Reply;
use scopegate::worker::counters::Count;
use scopegate::worker::driver::{Driver, Performed, Proxy};
use scopegate::worker::{
    Action, CallId, CallOutcome, Effect, Entry, Event, HeaderBlock, Level, Reading, ResponseHead,
    RootId, SourceId, StreamId, Swap, Worker,
};

/// Names and values, in order.
pub type Fields = Vec<(Vec<u8>, Vec<u8>)>;

/// An effect that was performed, or one that waits for its answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Done {
    Add(StreamId, Vec<u8>, Vec<u8>),
    Remove(StreamId, Vec<u8>),
    Set(StreamId, Vec<u8>, Vec<u8>),
    Body(StreamId, Vec<u8>),
    /// A header of the response, with its new value, or without one if it was removed.
    Response(StreamId, Vec<u8>, Option<Vec<u8>>),
    DropTrailers(StreamId),
    Reply(StreamId, Reply),
    Resume(StreamId),
    FilterState(StreamId, String),
    TickEvery(RootId, u32),
    Log(Level, String),
    /// A decision that was counted, by its code or `allowed`.
    Decision(StreamId, &'static str),
    /// A fetch of keys that has ended, with its result.
    Fetch(&'static str),
    Other,
}

impl Done {
    pub fn stream(&self) -> Option<StreamId> {
        match self {
            Self::Add(stream, ..)
            | Self::Remove(stream, _)
            | Self::Set(stream, ..)
            | Self::Body(stream, _)
            | Self::Response(stream, ..)
            | Self::DropTrailers(stream)
            | Self::Reply(stream, _)
            | Self::Resume(stream)
            | Self::FilterState(stream, _)
            | Self::Decision(stream, _) => Some(*stream),
            Self::TickEvery(..) | Self::Log(..) | Self::Fetch(_) | Self::Other => None,
        }
    }
}

/// A request of a worker's own.
#[derive(Clone, Debug)]
pub struct Call {
    pub root: RootId,
    pub id: CallId,
    pub cluster: String,
    pub headers: Vec<(String, Vec<u8>)>,
    pub timeout: u64,
}

impl Call {
    /// One of its headers.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_slice())
    }
}

/// What a worker has requested from the store.
#[derive(Clone, Debug)]
pub enum Asked {
    Look(SourceId, Entry, String),
    Swap(SourceId, Entry, String, Vec<u8>, u32),
}

/// The shared data of a process.
#[derive(Debug, Default)]
pub struct Store {
    entries: BTreeMap<String, (Vec<u8>, u32)>,
}

impl Store {
    fn look(&self, key: &str) -> (Vec<u8>, u32) {
        self.entries.get(key).cloned().unwrap_or_default()
    }

    fn swap(&mut self, key: &str, value: &[u8], swap: u32) -> Swap {
        let entry = self.entries.entry(key.to_owned()).or_default();
        if entry.1 != swap {
            return Swap::Conflict;
        }
        *entry = (value.to_vec(), entry.1 + 1);
        Swap::Done
    }

    /// The bytes of the entry whose key contains `part`.
    pub fn entry(&self, part: &str) -> Option<&[u8]> {
        let mut entries = self.entries.iter();
        entries
            .find(|(key, _)| key.contains(part))
            .map(|(_, (bytes, _))| bytes.as_slice())
    }

    /// Writes the entry whose key contains `part`, as another worker would.
    pub fn put(&mut self, part: &str, value: &[u8]) {
        let mut entries = self.entries.iter_mut();
        let found = entries.find(|(key, _)| key.contains(part));
        let Some((_, entry)) = found else {
            unreachable!("no entry of {part} was written before");
        };
        *entry = (value.to_vec(), entry.1 + 1);
    }

    /// The keys of all entries about sources.
    pub fn keys(&self) -> Vec<&str> {
        let keys = self.entries.keys().map(String::as_str);
        keys.filter(|key| !key.contains("/load/")).collect()
    }
}

/// Says whether the host refuses an effect.
pub type Refuses = Box<dyn FnMut(&Done) -> bool>;

/// The proxy that the worker works for.
struct Recorder {
    store: Rc<RefCell<Store>>,
    slow_store: bool,
    shares: bool,
    clocks: Reading,
    done: Vec<Done>,
    calls: VecDeque<Call>,
    asked: VecDeque<Asked>,
    unperformed: Vec<StreamId>,
    refuses: Option<Refuses>,
    /// The value of every gauge.
    gauges: BTreeMap<String, u64>,
    /// The results of fetches of organizations, and the reasons why streams were ended.
    counted: Vec<&'static str>,
}

impl Proxy for Recorder {
    fn clocks(&mut self) -> Reading {
        self.clocks
    }

    fn perform(&mut self, effect: &Effect<'_>) -> Performed {
        match effect {
            Effect::Show { gauge, value } => {
                self.gauges.insert(gauge.name(), *value);
            }
            Effect::Count {
                count: Count::OrganizationsFetch { result } | Count::StreamEnded { reason: result },
                ..
            } => self.counted.push(result),
            _ => {}
        }
        let done = match effect {
            Effect::Edit { stream, edit } => match edit {
                Edit::Add(name, value) => Done::Add(*stream, (*name).into(), value.clone().into()),
                Edit::Remove(name) => Done::Remove(*stream, (*name).into()),
                Edit::Set(name, value) => Done::Set(*stream, (*name).into(), value.clone().into()),
            },
            Effect::EditResponse { stream, edit } => match edit {
                Edit::Add(name, value) | Edit::Set(name, value) => {
                    Done::Response(*stream, (*name).into(), Some(value.clone().into()))
                }
                Edit::Remove(name) => Done::Response(*stream, (*name).into(), None),
            },
            Effect::ReplaceBody { stream, body, .. } => Done::Body(*stream, (*body).into()),
            Effect::DropTrailers { stream } => Done::DropTrailers(*stream),
            Effect::Reply { stream, reply } => Done::Reply(*stream, (*reply).clone()),
            Effect::Resume { stream } => Done::Resume(*stream),
            Effect::FilterState { stream, record } => Done::FilterState(*stream, (*record).into()),
            Effect::TickEvery { root, millis } => Done::TickEvery(*root, *millis),
            Effect::Log { level, line, .. } => Done::Log(*level, (*line).into()),
            Effect::Count {
                count: Count::Decision { verdict, .. },
                about: Some(stream),
            } => Done::Decision(*stream, verdict.code()),
            Effect::Count {
                count: Count::Fetch { result, .. },
                ..
            } => Done::Fetch(result),
            Effect::Count { .. } | Effect::Show { .. } => Done::Other,
            Effect::Call {
                root,
                call,
                cluster,
                headers,
                timeout,
            } => {
                let pairs = headers.iter();
                self.calls.push_back(Call {
                    root: *root,
                    id: *call,
                    cluster: (*cluster).into(),
                    headers: pairs.map(|(n, v)| ((*n).to_owned(), v.to_vec())).collect(),
                    timeout: *timeout,
                });
                return Performed::Done;
            }
            Effect::Look { source, entry, key } => {
                if !self.shares {
                    return Performed::Looked(None);
                }
                if !self.slow_store {
                    let (bytes, swap) = self.store.borrow().look(key);
                    return Performed::Looked(Some((bytes.into(), swap)));
                }
                self.asked
                    .push_back(Asked::Look(*source, *entry, (*key).to_owned()));
                return Performed::Done;
            }
            Effect::Swap {
                source,
                entry,
                key,
                value,
                swap,
            } => {
                if !self.shares {
                    return Performed::Swapped(Swap::Unshared);
                }
                if !self.slow_store {
                    return Performed::Swapped(self.store.borrow_mut().swap(key, value, *swap));
                }
                let key = (*key).to_owned();
                self.asked
                    .push_back(Asked::Swap(*source, *entry, key, (*value).into(), *swap));
                return Performed::Done;
            }
        };
        if let Some(stream) = effect.stream()
            && let Some(refuses) = &mut self.refuses
            && refuses(&done)
        {
            self.unperformed.push(stream);
            return Performed::Refused(1);
        }
        self.done.push(done);
        Performed::Done
    }
}

/// One worker, and what a proxy does for it.
pub struct Host {
    driver: Driver<Recorder>,
    pub store: Rc<RefCell<Store>>,
    /// The clocks in nanoseconds. `None` stands for one that cannot be read.
    pub clocks: Reading,
    /// Whether reads and swaps wait for [`Host::answer_store`].
    pub slow_store: bool,
    /// Whether the host shares entries that can be read and swapped.
    pub shares: bool,
    /// Where requests come in from now on, if the host says it.
    pub entrance: Option<&'static str>,
}

impl Host {
    /// A host whose clocks show these times, the wall clock in seconds and the other one in
    /// milliseconds.
    pub fn new(
        engine: Box<dyn SignatureEngine>,
        store: &Rc<RefCell<Store>>,
        wall: u64,
        mono: u64,
        seed: u64,
    ) -> Self {
        let clocks = Self::clocks_of(wall, mono);
        let recorder = Recorder {
            store: Rc::clone(store),
            slow_store: false,
            shares: true,
            clocks,
            done: Vec::new(),
            calls: VecDeque::new(),
            asked: VecDeque::new(),
            unperformed: Vec::new(),
            refuses: None,
            gauges: BTreeMap::new(),
            counted: Vec::new(),
        };
        Self {
            driver: Driver::new(Worker::new(engine, seed), recorder),
            store: Rc::clone(store),
            clocks,
            slow_store: false,
            shares: true,
            entrance: Some("here"),
        }
    }

    /// Clocks that show these times, in seconds and in milliseconds.
    pub const fn clocks_of(wall: u64, mono: u64) -> Reading {
        Reading {
            wall: Some(wall * 1_000_000_000),
            mono: Some(mono * 1_000_000),
        }
    }

    pub fn worker(&self) -> &Worker {
        self.driver.worker()
    }

    fn recorder(&mut self) -> &mut Recorder {
        self.driver.proxy()
    }

    /// Advances both clocks.
    pub fn pass(&mut self, millis: u64) {
        for clock in [&mut self.clocks.wall, &mut self.clocks.mono] {
            *clock = clock.map(|nanos| nanos + millis * 1_000_000);
        }
    }

    /// Advances the monotonic clock.
    pub fn pass_mono(&mut self, millis: u64) {
        self.clocks.mono = self.clocks.mono.map(|nanos| nanos + millis * 1_000_000);
    }

    /// Sets which effects the host refuses from now on.
    pub fn refuse(&mut self, refuses: Option<Refuses>) {
        self.recorder().refuses = refuses;
    }

    /// Hands in an event as the host of a proxy does. An event of a stream is first handed in
    /// without clocks.
    pub fn on(&mut self, event: Event<'_>) -> Action {
        let (clocks, slow_store, shares) = (self.clocks, self.slow_store, self.shares);
        let store = Rc::clone(&self.store);
        let recorder = self.recorder();
        recorder.clocks = clocks;
        recorder.slow_store = slow_store;
        recorder.shares = shares;
        recorder.store = store;
        match event {
            Event::Opened { stream, .. }
            | Event::Head { stream, .. }
            | Event::Body { stream, .. }
            | Event::Trailers { stream }
            | Event::ResponseHead { stream, .. }
            | Event::Gone { stream } => self.driver.on_stream(stream, event),
            _ => self.driver.on(event),
        }
    }

    /// Answers the oldest read or swap. Returns whether there was one.
    pub fn answer_store(&mut self) -> bool {
        let Some(asked) = self.recorder().asked.pop_front() else {
            return false;
        };
        match asked {
            Asked::Look(source, entry, key) => {
                let (bytes, swap) = self.store.borrow().look(&key);
                self.on(Event::Looked {
                    source,
                    entry,
                    value: Some((&bytes, swap)),
                });
            }
            Asked::Swap(source, entry, key, value, swap) => {
                let swap = self.store.borrow_mut().swap(&key, &value, swap);
                self.on(Event::Swapped {
                    source,
                    entry,
                    swap,
                });
            }
        }
        true
    }

    /// Forgets what was requested from the store, so that it is never answered.
    pub fn lose_store(&mut self) -> Vec<Asked> {
        self.recorder().asked.drain(..).collect()
    }

    /// Whether the oldest request is a read of the document that the worker still waits for.
    pub fn looks_at_document(&mut self) -> bool {
        match self.recorder().asked.front() {
            Some(Asked::Look(source, Entry::Document, _)) => {
                let source = *source;
                self.worker().looks_at(source, Entry::Document)
            }
            _ => false,
        }
    }

    /// The streams of which an effect was refused since the last call.
    pub fn take_unperformed(&mut self) -> Vec<StreamId> {
        std::mem::take(&mut self.recorder().unperformed)
    }

    /// Whether the worker still waits for the answer to that call.
    pub fn awaits(&self, call: &Call) -> bool {
        self.worker().awaits(call.id)
    }

    /// Ends the use of a configuration.
    pub fn root_gone(&mut self, root: u64) {
        let root = RootId(root);
        self.on(Event::RootGone { root });
    }

    /// Whether a read or a swap waits for its answer.
    pub fn asks_store(&mut self) -> bool {
        !self.recorder().asked.is_empty()
    }

    /// The worker's own requests since the last call.
    pub fn take_calls(&mut self) -> Vec<Call> {
        self.recorder().calls.drain(..).collect()
    }

    /// The value of a gauge.
    pub fn gauge(&mut self, name: &str) -> Option<u64> {
        self.recorder().gauges.get(name).copied()
    }

    /// The results of fetches of organizations, and the reasons why streams were ended, since
    /// the last call.
    pub fn take_counted(&mut self) -> Vec<&'static str> {
        std::mem::take(&mut self.recorder().counted)
    }

    /// What was done since the last call.
    pub fn take_done(&mut self) -> Vec<Done> {
        std::mem::take(&mut self.recorder().done)
    }

    pub fn configure(
        &mut self,
        root: u64,
        document: &str,
        environment: &[(String, String)],
    ) -> bool {
        let event = Event::Configured {
            root: RootId(root),
            document: document.as_bytes(),
            environment,
        };
        self.on(event) == Action::Continue
    }

    pub fn tick(&mut self, root: u64) {
        let root = RootId(root);
        self.on(Event::Tick { root });
    }

    pub fn open(&mut self, stream: u64, root: u64) {
        let (stream, root) = (StreamId(stream), RootId(root));
        self.on(Event::Opened { stream, root });
    }

    pub fn head(&mut self, stream: u64, fields: &Fields, end: bool) -> Action {
        let pairs: Vec<(&[u8], &[u8])> = fields
            .iter()
            .map(|(name, value)| (name.as_slice(), value.as_slice()))
            .collect();
        let headers = HeaderBlock::of(&pairs);
        let entrance = self.entrance.map(str::as_bytes);
        self.on(Event::Head {
            stream: StreamId(stream),
            headers: &headers,
            end,
            peer: &|| Some(b"127.0.0.1:1".as_slice().into()),
            entrance: &|| entrance.map(Into::into),
        })
    }

    pub fn body(&mut self, stream: u64, body: &[u8], end: bool) -> Action {
        self.on(Event::Body {
            stream: StreamId(stream),
            size: body.len(),
            end,
            read: &|| Some(body.into()),
        })
    }

    /// Makes the backend answer with that status and many headers.
    pub fn respond(&mut self, stream: u64, status: u16) -> Action {
        self.on(Event::ResponseHead {
            stream: StreamId(stream),
            headers: 9,
            end: false,
            head: &BackendHead(status),
        })
    }

    pub fn trailers(&mut self, stream: u64) -> Action {
        let stream = StreamId(stream);
        self.on(Event::Trailers { stream })
    }

    pub fn gone(&mut self, stream: u64) {
        let stream = StreamId(stream);
        self.on(Event::Gone { stream });
    }

    /// Tells the worker that the deadline of the stream may have passed.
    pub fn wake(&mut self, stream: u64) {
        let stream = StreamId(stream);
        self.on(Event::Wake { stream });
    }

    /// Answers a request of the worker's own, as the provider or the directory would.
    pub fn answer(&mut self, call: &Call, status: &str, body: &[u8]) {
        self.answer_fresh(call, status, None, body);
    }

    /// The same, with a `cache-control`.
    pub fn answer_fresh(&mut self, call: &Call, status: &str, fresh: Option<&str>, body: &[u8]) {
        self.answer_with(call, status, (fresh, None), body);
    }

    /// The same, with an `etag`.
    pub fn answer_tagged(&mut self, call: &Call, status: &str, etag: &str, body: &[u8]) {
        self.answer_with(call, status, (None, Some(etag)), body);
    }

    fn answer_with(
        &mut self,
        call: &Call,
        status: &str,
        (fresh, etag): (Option<&str>, Option<&str>),
        body: &[u8],
    ) {
        let answer = CallOutcome::Response {
            status: status.as_bytes(),
            cache_control: fresh.map(str::as_bytes),
            content_encoding: None,
            etag: etag.map(str::as_bytes),
            size: body.len(),
            body: &|| Some(body.into()),
        };
        self.on(Event::Answered {
            call: call.id,
            answer,
        });
    }

    /// Ends a call that nobody answers.
    pub fn answer_nothing(&mut self, call: &Call) {
        let answer = CallOutcome::Nothing;
        self.on(Event::Answered {
            call: call.id,
            answer,
        });
    }
}

/// The head of an answer from a backend.
struct BackendHead(u16);

impl ResponseHead for BackendHead {
    fn status(&self) -> Option<u16> {
        Some(self.0)
    }

    fn details(&self) -> Box<[u8]> {
        b"via_upstream".as_slice().into()
    }

    fn request_id(&self) -> Box<[u8]> {
        Box::default()
    }
}
