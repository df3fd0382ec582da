//! Sequences of events over several workers of one process, compared with a small model.
//!
//! Two to eight workers share a store. A provider rotates its keys, fails, stalls and lies;
//! requests arrive, wait, pass and are refused; workers die, configurations are replaced, the
//! host refuses effects, and answers come late or twice. Between a read of the store and its
//! swap, the other workers go on. [`Scene::check`] says what the model requires.
#![allow(clippy::unwrap_used, dead_code)]

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::OnceLock;

use scopegate::authn::key_lease::{COOL_DOWN, Document, Lease};
use scopegate::authn::keys::{BadSignature, SignatureEngine, VerifyingKey};
use scopegate::words::time::Monotonic;
use scopegate::worker::{Action, Event, StreamId};
use serde_json::{Value, json};

use crate::common::{ISSUER, NOW, Token, UPTIME, jwk, jwks};
use crate::host::{Call, Done, Fields, Host, Store};

/// Longest that a request waits, in milliseconds.
const WAIT: u64 = 3_000;

/// How long after the provider has recovered all workers hold keys, in milliseconds: the lease
/// of a holder that died, and the longest pause after failures.
const HEALED: u64 = 61_000 + 66_001 + 1_000;

/// Keys that the provider may publish; the last one it never does.
const KEYS: [&str; 4] = ["p256-a", "p256-b", "p384-a", "p256-stranger"];

/// A signature that is good if it names its key.
struct Table;

impl SignatureEngine for Table {
    fn verify(&self, key: &VerifyingKey, _: &[u8], signature: &[u8]) -> Result<(), BadSignature> {
        if key.key_id().map(str::as_bytes) == Some(signature) {
            return Ok(());
        }
        Err(BadSignature)
    }
}

/// A token with what the model knows of it.
struct Known {
    text: String,
    key: &'static str,
    issued: u64,
    expires: u64,
}

/// For each key a few tokens, some of them old, some short.
fn tokens() -> &'static [Known] {
    static TOKENS: OnceLock<Vec<Known>> = OnceLock::new();
    TOKENS.get_or_init(|| {
        let mut tokens = Vec::new();
        for key in KEYS {
            for (number, (issued, expires)) in [
                (NOW - 300, NOW + 100_000),
                (NOW - 1, NOW + 100_000),
                (NOW + 30, NOW + 100_000),
                (NOW - 300, NOW + 40),
            ]
            .into_iter()
            .enumerate()
            {
                let algorithm = if key.starts_with("p384") {
                    "ES384"
                } else {
                    "ES256"
                };
                let token = Token::new()
                    .by(key, algorithm)
                    .claim("iat", issued)
                    .claim("exp", expires)
                    .claim("jti", number.to_string());
                tokens.push(Known {
                    text: token.with_signature(key.as_bytes()),
                    key,
                    issued,
                    expires,
                });
            }
        }
        tokens
    })
}

/// The document of a set of keys, by the bits of their positions.
fn document(keys: usize) -> &'static [u8] {
    static DOCUMENTS: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    let documents = DOCUMENTS.get_or_init(|| {
        let set = |bits: usize| {
            let names = KEYS.iter().enumerate();
            let names = names.filter(|(bit, _)| bits & (1 << bit) != 0);
            let keys: Vec<Value> = names.map(|(_, name)| jwk(name)).collect();
            jwks(&keys)
        };
        (0..8).map(set).collect()
    });
    &documents[keys % 8]
}

fn names(document: &[u8]) -> BTreeSet<String> {
    let value: Value = serde_json::from_slice(document).unwrap_or_default();
    let keys = value["keys"].as_array().cloned().unwrap_or_default();
    let names = keys.iter().filter_map(|key| key["kid"].as_str());
    names.map(str::to_owned).collect()
}

/// A configuration; each number is another one.
fn configuration(number: u64, share: bool) -> String {
    let interval = if number.is_multiple_of(3) { "1m" } else { "1h" };
    let tenants = if number % 4 == 3 {
        json!(["b"])
    } else {
        json!(["a", "b"])
    };
    json!({
        "realm": format!("r{number}"),
        "providers": [{
            "name": "corporate",
            "issuer": ISSUER,
            "audiences": ["observability"],
            "algorithms": ["ES256", "ES384"],
            "jwks": {
                "uri": "https://login.example.com/certs",
                "cluster": "idp",
                "share": share,
                "refresh_interval": interval,
                "max_stale": "24h",
            },
        }],
        "organizations": [{
            "name": "one",
            "tenants": tenants,
            "rbac": {
                "viewers": [{"group": "readers", "labels": {"namespace": ["web"]}}],
                "writers": ["readers"],
            },
        }],
        "backends": {"loki": {}, "mimir": {}, "tempo": {}},
        "limits": {"wait": "3s", "waiting_requests": 3},
        "audit": {"log": "all"},
    })
    .to_string()
}

/// Whether configuration `number` grants tenant `a`.
fn grants(number: u64) -> bool {
    number % 4 != 3
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Mood {
    Fails,
    Good,
    Lies,
    Stalls,
}

/// One step of a sequence; numbers are taken modulo what there is.
#[derive(Clone, Copy, Debug)]
pub enum Step {
    /// Time passes, with ticks of all workers.
    Pass(u64),
    /// One worker ticks.
    Tick(usize),
    /// A request arrives: worker, token, with a form or not.
    Ask(usize, usize, bool),
    /// Its body arrives.
    Body(usize),
    /// It is gone.
    Leave(usize),
    /// Its deadline is looked at.
    Wake(usize),
    /// It has trailers.
    Trailers(usize),
    /// The store answers a worker so many times.
    Store(usize, u64),
    /// The provider answers the call of that number, perhaps not for the last time.
    Decided(usize, bool),
    /// The provider publishes these keys.
    Publish(usize),
    /// The mood of the provider changes.
    Mood(Mood),
    /// A worker dies, and another takes its place.
    Die(usize),
    /// A worker loads the next configuration beside the one it has.
    Load(usize),
    /// A worker's oldest configuration goes.
    Unload(usize),
    /// The host of a worker refuses the next effect of a stream but so many.
    Refuse(usize, u64),
    /// The wall clock steps.
    Clock(bool),
}

/// What chooses the steps of a sequence.
pub trait Choice {
    /// A number below that one.
    fn below(&mut self, end: u64) -> u64;

    /// A position in any list, modulo its length.
    fn index(&mut self) -> usize;
}

/// Numbers by a seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

impl Choice for Random {
    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn index(&mut self) -> usize {
        usize::try_from(self.below(1 << 20)).unwrap()
    }
}

/// A byte for each number, so that who changes a byte changes one choice.
struct Bytes<'a>(&'a [u8]);

impl Choice for Bytes<'_> {
    fn below(&mut self, end: u64) -> u64 {
        self.index() as u64 % end
    }

    fn index(&mut self) -> usize {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        usize::from(*first)
    }
}

/// What happens to how many workers.
pub struct Sequence {
    pub workers: usize,
    pub share: bool,
    /// Whether all workers have keys when it begins.
    pub warm: bool,
    /// The number of the first configuration.
    pub first: u64,
    pub steps: Vec<Step>,
}

/// The sequence of that number.
pub fn sequence(seed: u64) -> Sequence {
    let mut random = Random(seed.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1));
    let mut sequence = beginning(&mut random);
    let length = 20 + random.below(50);
    sequence.steps = (0..length).map(|_| step(&mut random)).collect();
    sequence
}

/// The longest sequence that bytes stand for.
const LONGEST: usize = 100;

/// The sequence that these bytes stand for.
pub fn sequence_of(bytes: &[u8]) -> Sequence {
    let mut bytes = Bytes(bytes);
    let mut sequence = beginning(&mut bytes);
    while !bytes.0.is_empty() && sequence.steps.len() < LONGEST {
        sequence.steps.push(step(&mut bytes));
    }
    sequence
}

fn beginning(choice: &mut impl Choice) -> Sequence {
    Sequence {
        workers: 2 + usize::try_from(choice.below(7)).unwrap(),
        share: choice.below(4) > 0,
        warm: choice.below(4) > 0,
        first: choice.below(8),
        steps: Vec::new(),
    }
}

fn step(random: &mut impl Choice) -> Step {
    let (one, other) = (random.index(), random.index());
    match random.below(100) {
        0..=14 => Step::Pass([100, 500, 1_000, 2_000, 10_000, 31_000][one % 6]),
        15..=21 => Step::Tick(one),
        22..=44 => Step::Ask(one, other, one % 7 == 0),
        45..=48 => Step::Body(one),
        49..=51 => Step::Leave(one),
        52..=53 => Step::Wake(one),
        54 => Step::Trailers(one),
        55..=69 => Step::Store(one, random.below(4) + 1),
        70..=81 => Step::Decided(one, other % 5 == 0),
        82..=86 => Step::Publish(one),
        87..=90 => Step::Mood([Mood::Fails, Mood::Good, Mood::Lies, Mood::Stalls][one % 4]),
        91..=92 => Step::Die(one),
        93..=94 => Step::Load(one),
        95 => Step::Unload(one),
        96..=98 => Step::Refuse(one, random.below(6)),
        _ => Step::Clock(one % 2 == 0),
    }
}

/// Where a stream stands, as the model sees it.
#[derive(Clone, Debug)]
struct Stream {
    worker: usize,
    root: u64,
    token: usize,
    arrived: u64,
    form: bool,
    /// The head has been allowed to go on.
    passed: bool,
    /// A part of it is held back.
    paused: bool,
    replied: usize,
    resumed: usize,
    decisions: Vec<&'static str>,
    edited: bool,
    refused_effect: bool,
    gone: bool,
}

/// A document as the model knows it.
#[derive(Clone, Debug)]
struct Seen {
    asked: u64,
    asked_wall: u64,
    keys: BTreeSet<String>,
}

struct Place {
    host: Host,
    /// Configurations that are loaded, by root, with their number.
    roots: BTreeMap<u64, u64>,
    /// Every document that has come before this worker.
    seen: Vec<Seen>,
    /// First arrivals since this worker began, by token.
    first: BTreeMap<usize, u64>,
}

struct Pending {
    worker: usize,
    generation: u64,
    call: Call,
    asked: u64,
    asked_wall: u64,
}

struct Scene {
    share: bool,
    store: Rc<RefCell<Store>>,
    places: Vec<Place>,
    generations: Vec<u64>,
    streams: BTreeMap<u64, Stream>,
    calls: Vec<Pending>,
    published: usize,
    mood: Mood,
    wall: u64,
    mono: u64,
    next_root: u64,
    next_stream: u64,
    next_seed: u64,
    configurations: u64,
    demanded: BTreeMap<usize, u64>,
    /// How often each code was the verdict.
    codes: BTreeMap<&'static str, u64>,
}

type Verdict = Result<(), String>;

impl Scene {
    fn new(sequence: &Sequence) -> Self {
        let mut scene = Self {
            share: sequence.share,
            store: Rc::default(),
            places: Vec::new(),
            generations: vec![0; sequence.workers],
            streams: BTreeMap::new(),
            calls: Vec::new(),
            published: 1,
            mood: Mood::Good,
            wall: NOW * 1_000,
            mono: UPTIME,
            next_root: 0,
            next_stream: 1 << 20,
            next_seed: 1,
            configurations: sequence.first,
            demanded: BTreeMap::new(),
            codes: BTreeMap::new(),
        };
        for _ in 0..sequence.workers {
            let place = scene.place();
            scene.places.push(place);
        }
        scene
    }

    fn place(&mut self) -> Place {
        self.next_seed += 1;
        let number = self.configurations;
        let mut host = Host::new(Box::new(Table), &self.store, 0, 0, self.next_seed);
        host.slow_store = true;
        let mut place = Place {
            host,
            roots: BTreeMap::new(),
            seen: Vec::new(),
            first: BTreeMap::new(),
        };
        self.load(&mut place, number);
        place
    }

    fn load(&mut self, place: &mut Place, number: u64) {
        self.set_clocks(&mut place.host);
        self.next_root += 1;
        let document = configuration(number, self.share);
        assert!(place.host.configure(self.next_root, &document, &[]));
        place.roots.insert(self.next_root, number);
    }

    fn set_clocks(&self, host: &mut Host) {
        host.clocks.wall = Some(self.wall * 1_000_000);
        host.clocks.mono = Some(self.mono * 1_000_000);
    }

    fn worker(&self, number: usize) -> usize {
        number % self.places.len()
    }

    /// A stream that is not gone, of those of that number.
    fn stream(&self, number: usize) -> Option<u64> {
        let live: Vec<u64> = self
            .streams
            .iter()
            .filter(|(_, stream)| !stream.gone)
            .map(|(id, _)| *id)
            .collect();
        (!live.is_empty()).then(|| live[number % live.len()])
    }

    fn run(&mut self, step: Step) -> Verdict {
        match step {
            Step::Pass(millis) => self.pass(millis)?,
            Step::Tick(worker) => {
                let worker = self.worker(worker);
                self.tick(worker)?;
            }
            Step::Ask(worker, token, form) => self.ask(worker, token, form)?,
            Step::Body(stream) => self.body(stream)?,
            Step::Leave(stream) => {
                if let Some(id) = self.stream(stream) {
                    self.on(id, |host| {
                        host.gone(id);
                        None
                    })?;
                    self.stream_mut(id).gone = true;
                }
            }
            Step::Wake(stream) => {
                if let Some(id) = self.stream(stream) {
                    self.on(id, |host| {
                        let stream = StreamId(id);
                        host.on(Event::Wake { stream });
                        None
                    })?;
                }
            }
            Step::Trailers(stream) => self.trailers(stream)?,
            Step::Store(worker, times) => {
                let worker = self.worker(worker);
                for _ in 0..times {
                    self.answer_store(worker)?;
                }
            }
            Step::Decided(call, again) => self.answer(call, again)?,
            Step::Publish(keys) => self.published = keys % 8,
            Step::Mood(mood) => self.mood = mood,
            Step::Die(worker) => self.die(worker),
            Step::Load(worker) => {
                let worker = self.worker(worker);
                self.configurations += 1;
                let mut place = self.places.remove(worker);
                self.load(&mut place, self.configurations);
                self.places.insert(worker, place);
                self.take(worker, None)?;
            }
            Step::Unload(worker) => {
                let worker = self.worker(worker);
                self.unload(worker)?;
            }
            Step::Refuse(worker, after) => {
                let worker = self.worker(worker);
                let mut left = Some(after);
                self.places[worker].host.refuse(Some(Box::new(move |_| {
                    let now = left == Some(0);
                    left = left.and_then(|left| left.checked_sub(1));
                    now
                })));
            }
            Step::Clock(forward) => {
                self.wall = if forward {
                    self.wall + 20_000
                } else {
                    self.wall - 20_000
                };
                self.mono += 1;
                for worker in 0..self.places.len() {
                    self.tick(worker)?;
                }
            }
        }
        self.check_demand()?;
        self.check_editions()
    }

    /// Once a document has reached a worker, all its configurations use the newest one,
    /// including those that were loaded later.
    fn check_editions(&self) -> Verdict {
        for (number, place) in self.places.iter().enumerate() {
            let newest = place.seen.iter().map(|seen| seen.asked).max();
            for (root, gate) in place.host.worker().gates() {
                let keys = &gate.authenticator().providers()[0].keys;
                let held = keys.edition().map(|edition| edition.asked.mono.as_millis());
                if held != newest {
                    return Err(format!(
                        "worker {number}, {root:?} goes by the document of {held:?}, not {newest:?}"
                    ));
                }
            }
        }
        Ok(())
    }

    /// Time passes; ticks come as often as a worker has asked for at most.
    fn pass(&mut self, millis: u64) -> Verdict {
        let mut left = millis;
        while left > 0 {
            let part = left.min(500);
            left -= part;
            self.mono += part;
            self.wall += part;
            for worker in 0..self.places.len() {
                self.tick(worker)?;
            }
        }
        Ok(())
    }

    fn tick(&mut self, worker: usize) -> Verdict {
        let roots: Vec<u64> = self.places[worker].roots.keys().copied().collect();
        for root in roots {
            let (wall, mono) = (self.wall, self.mono);
            let host = &mut self.places[worker].host;
            host.clocks.wall = Some(wall * 1_000_000);
            host.clocks.mono = Some(mono * 1_000_000);
            host.tick(root);
            self.take(worker, None)?;
        }
        Ok(())
    }

    fn answer_store(&mut self, worker: usize) -> Verdict {
        let (wall, mono) = (self.wall, self.mono);
        let before = self.store.borrow().entry("/document/").map(<[u8]>::to_vec);
        let place = &mut self.places[worker];
        place.host.clocks.wall = Some(wall * 1_000_000);
        place.host.clocks.mono = Some(mono * 1_000_000);
        let looks = place.host.looks_at_document();
        if !place.host.answer_store() {
            return Ok(());
        }
        if looks
            && let Some(bytes) = before
            && let Some(document) = Document::parse(&bytes, Monotonic::from_millis(mono))
        {
            place.seen.push(Seen {
                asked: document.edition.asked.mono.as_millis(),
                asked_wall: document.edition.asked.wall.as_secs(),
                keys: names(&document.bytes),
            });
        }
        self.take(worker, None)
    }

    fn drain_store(&mut self, worker: usize) -> Verdict {
        // A worker asks anew every second if it is not answered.
        for _ in 0..10_000 {
            if !self.places[worker].host.asks_store() {
                return Ok(());
            }
            self.answer_store(worker)?;
        }
        Err(format!("worker {worker} asks the store without end"))
    }

    fn ask(&mut self, worker: usize, token: usize, form: bool) -> Verdict {
        let worker = self.worker(worker);
        let token = token % tokens().len();
        let place = &mut self.places[worker];
        let roots: Vec<u64> = place.roots.keys().copied().collect();
        let root = roots[token % roots.len()];
        self.next_stream += 1;
        let id = self.next_stream;
        place.first.entry(token).or_insert(self.mono);
        self.streams.insert(
            id,
            Stream {
                worker,
                root,
                token,
                arrived: self.mono,
                form,
                passed: false,
                paused: false,
                replied: 0,
                resumed: 0,
                decisions: Vec::new(),
                edited: false,
                refused_effect: false,
                gone: false,
            },
        );
        let fields = request(&tokens()[token].text, form);
        self.on(id, |host| {
            host.open(id, root);
            Some(host.head(id, &fields, !form))
        })?;
        Ok(())
    }

    fn body(&mut self, stream: usize) -> Verdict {
        let Some(id) = self.stream(stream) else {
            return Ok(());
        };
        let known = &self.streams[&id];
        let due = known.form && known.passed && known.decisions.is_empty() && known.replied == 0;
        if !due {
            return Ok(());
        }
        self.on(id, |host| {
            Some(host.body(id, b"query=%7Ba%3D%22b%22%7D", true))
        })
    }

    fn trailers(&mut self, stream: usize) -> Verdict {
        let Some(id) = self.stream(stream) else {
            return Ok(());
        };
        let known = &self.streams[&id];
        if !known.passed || known.replied > 0 {
            return Ok(());
        }
        self.on(id, |host| Some(host.trailers(id)))
    }

    /// Hands an event of a stream to its worker.
    fn on(&mut self, id: u64, act: impl FnOnce(&mut Host) -> Option<Action>) -> Verdict {
        let worker = self.streams[&id].worker;
        let (wall, mono) = (self.wall, self.mono);
        let host = &mut self.places[worker].host;
        host.clocks.wall = Some(wall * 1_000_000);
        host.clocks.mono = Some(mono * 1_000_000);
        let action = act(host);
        self.take(worker, action.map(|action| (id, action)))
    }

    fn stream_mut(&mut self, id: u64) -> &mut Stream {
        self.streams.get_mut(&id).unwrap()
    }

    /// Notes what a worker has done, and compares it with the model.
    fn take(&mut self, worker: usize, action: Option<(u64, Action)>) -> Verdict {
        let (asked, asked_wall) = (self.mono, self.wall);
        let generation = self.generations[worker];
        let place = &mut self.places[worker];
        for call in place.host.take_calls() {
            self.calls.push(Pending {
                worker,
                generation,
                call,
                asked,
                asked_wall,
            });
        }
        for StreamId(id) in place.host.take_unperformed() {
            if let Some(stream) = self.streams.get_mut(&id) {
                stream.refused_effect = true;
            }
            place.host.refuse(None);
        }
        for done in self.places[worker].host.take_done() {
            let Some(StreamId(id)) = done.stream() else {
                continue;
            };
            self.note(id, &done)?;
        }
        if let Some((id, action)) = action {
            let stream = self.stream_mut(id);
            stream.paused = action == Action::Pause;
            stream.passed |= action == Action::Continue;
        }
        Ok(())
    }

    fn note(&mut self, id: u64, done: &Done) -> Verdict {
        let Some(stream) = self.streams.get_mut(&id) else {
            return Err(format!("an effect of a stream that never was: {done:?}"));
        };
        if stream.gone {
            return Err(format!("an effect of a stream that is gone: {done:?}"));
        }
        match done {
            Done::Add(_, name, _) if name == b"x-scopegate-backend" => {
                stream.edited = true;
                let stream = stream.clone();
                self.check(id, &stream, "permitted")?;
            }
            Done::Resume(_) => {
                stream.resumed += 1;
                stream.passed = true;
                stream.paused = false;
            }
            Done::Reply(..) => {
                stream.replied += 1;
                if stream.replied > 1 {
                    return Err(format!("stream {id} is answered twice"));
                }
            }
            Done::Decision(_, code) => {
                stream.decisions.push(code);
                *self.codes.entry(code).or_default() += 1;
                let stream = stream.clone();
                if stream.decisions.len() > 1 && !stream.refused_effect {
                    return Err(format!("stream {id} is decided twice: {stream:?}"));
                }
                self.check(id, &stream, code)?;
            }
            _ => {}
        }
        Ok(())
    }

    /// What must hold of each decision.
    fn check(&self, id: u64, stream: &Stream, code: &str) -> Verdict {
        let place = &self.places[stream.worker];
        let token = &tokens()[stream.token];
        let newest = place.seen.iter().max_by_key(|seen| seen.asked);
        let wrong = |what: &str| {
            let (mono, wall) = (self.mono, self.wall);
            Err(format!(
                "stream {id}: {code}, though {what}\n{stream:?}\ntoken by {} issued {} expires {}\n\
                 newest {newest:?}\nat {mono} / {wall}",
                token.key, token.issued, token.expires
            ))
        };
        match code {
            "allowed" => {
                if !stream.edited {
                    return wrong("its edits were not made");
                }
                if stream.replied > 0 {
                    return wrong("it was answered here");
                }
            }
            // The edits are made when the decision falls; a form may be read later.
            "permitted" => {
                if !newest.is_some_and(|seen| seen.keys.contains(token.key)) {
                    return wrong("the newest document lacks its key");
                }
                // The clock of the last tick may lag by half a second.
                let expires = (token.expires + 60) * 1_000;
                if self.wall.saturating_sub(600) >= expires {
                    return wrong("its token has expired");
                }
                let number = place.roots.get(&stream.root);
                if !number.is_some_and(|number| grants(*number)) {
                    return wrong("its configuration grants nothing");
                }
            }
            "unknown_key" => {
                let Some(newest) = newest else {
                    return wrong("there is no document");
                };
                let first = place.first[&stream.token];
                let withdrawn = place.seen.iter().any(|seen| seen.keys.contains(token.key));
                let old = token.issued + 60 <= newest.asked_wall;
                if newest.asked < first && !(withdrawn && old) {
                    return wrong("no document was asked for since the token first came");
                }
                if newest.keys.contains(token.key) {
                    return wrong("the newest document has its key");
                }
            }
            "keys_unavailable" => {
                let deadline = stream.arrived + WAIT;
                let lease = self.lease(stream.worker);
                if self.mono < deadline && lease.retry.as_millis() <= deadline {
                    return wrong("it was worth while to wait");
                }
                // After a first failure the next try is a second away.
                if lease.failures <= 1 && self.mono + 1_101 < deadline {
                    return wrong("the first retry is near");
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn lease(&self, worker: usize) -> Lease {
        if !self.share {
            let mut leases = self.places[worker].host.worker().leases();
            return leases.next().unwrap_or_default();
        }
        let store = self.store.borrow();
        let entry = store.entry("/lease/").unwrap_or_default();
        Lease::parse(entry, Monotonic::from_millis(self.mono))
    }

    /// Unknown key IDs start one fetch per cool-down, of the process or of a worker.
    fn check_demand(&mut self) -> Verdict {
        for worker in 0..self.places.len() {
            let demanded = self.lease(worker).demanded.as_millis();
            let place = if self.share { 0 } else { worker };
            let last = self.demanded.entry(place).or_insert(0);
            if demanded != *last && demanded != 0 {
                if *last != 0 && demanded < *last + COOL_DOWN {
                    return Err(format!("demand fetches at {last} and {demanded}"));
                }
                *last = demanded;
            }
        }
        Ok(())
    }

    fn answer(&mut self, number: usize, again: bool) -> Verdict {
        if self.calls.is_empty() || self.mood == Mood::Stalls {
            return Ok(());
        }
        let position = number % self.calls.len();
        let pending = &self.calls[position];
        let worker = pending.worker;
        let call = pending.call.clone();
        let seen = Seen {
            asked: pending.asked,
            asked_wall: pending.asked_wall / 1_000,
            keys: names(document(self.published)),
        };
        // What belongs to a worker that has died will be answered to nobody.
        let lives = pending.generation == self.generations[worker]
            && self.places[worker].roots.contains_key(&call.root.0);
        if !again || !lives {
            self.calls.remove(position);
        }
        if !lives {
            return Ok(());
        }
        let (wall, mono, mood) = (self.wall, self.mono, self.mood);
        let body = document(self.published);
        let place = &mut self.places[worker];
        place.host.clocks.wall = Some(wall * 1_000_000);
        place.host.clocks.mono = Some(mono * 1_000_000);
        match mood {
            Mood::Good if self.published != 0 && place.host.awaits(&call) => {
                place.seen.push(seen);
                place.host.answer(&call, "200", body);
            }
            Mood::Good | Mood::Stalls => place.host.answer(&call, "200", body),
            Mood::Fails => place.host.answer(&call, "500", b"no"),
            Mood::Lies => place.host.answer(&call, "200", b"{\"keys\": []}"),
        }
        self.take(worker, None)
    }

    fn die(&mut self, worker: usize) {
        let worker = self.worker(worker);
        self.generations[worker] += 1;
        let place = self.place();
        self.places[worker] = place;
        for stream in self.streams.values_mut() {
            stream.gone |= stream.worker == worker;
        }
        // A worker of its own cools down by itself.
        if !self.share {
            self.demanded.remove(&worker);
        }
    }

    /// The streams of a configuration are gone before it is.
    fn unload(&mut self, worker: usize) -> Verdict {
        let roots: Vec<u64> = self.places[worker].roots.keys().copied().collect();
        let [oldest, _, ..] = roots.as_slice() else {
            return Ok(());
        };
        let streams = self.streams.iter().filter(|(_, stream)| {
            stream.worker == worker && stream.root == *oldest && !stream.gone
        });
        let streams: Vec<u64> = streams.map(|(id, _)| *id).collect();
        for id in streams {
            self.on(id, |host| {
                host.gone(id);
                None
            })?;
            self.stream_mut(id).gone = true;
        }
        self.places[worker].host.root_gone(*oldest);
        self.places[worker].roots.remove(oldest);
        self.take(worker, None)
    }

    /// A document that is published is adopted by all workers within two ticks.
    fn check_agreement(&mut self) -> Verdict {
        if !self.share {
            return Ok(());
        }
        for worker in 0..self.places.len() {
            self.drain_store(worker)?;
        }
        let newest = self.newest_in_store();
        for _ in 0..2 {
            for worker in 0..self.places.len() {
                self.tick(worker)?;
                self.drain_store(worker)?;
            }
        }
        for worker in 0..self.places.len() {
            for (_, gate) in self.places[worker].host.worker().gates() {
                let keys = &gate.authenticator().providers()[0].keys;
                let held = keys.edition().map(|edition| edition.asked.mono.as_millis());
                if newest > held {
                    return Err(format!(
                        "worker {worker} holds the document of {held:?}, published is {newest:?}"
                    ));
                }
            }
        }
        Ok(())
    }

    fn newest_in_store(&self) -> Option<u64> {
        let store = self.store.borrow();
        let document = Document::parse(
            store.entry("/document/")?,
            Monotonic::from_millis(self.mono),
        )?;
        Some(document.edition.asked.mono.as_millis())
    }

    /// Time passes, and everything that is asked for is answered.
    fn half_a_second(&mut self) -> Verdict {
        self.mono += 500;
        self.wall += 500;
        for worker in 0..self.places.len() {
            self.drain_store(worker)?;
            self.tick(worker)?;
            self.drain_store(worker)?;
        }
        while !self.calls.is_empty() {
            self.answer(0, false)?;
        }
        for worker in 0..self.places.len() {
            self.drain_store(worker)?;
        }
        Ok(())
    }

    /// All workers have keys.
    fn warm(&mut self) -> Verdict {
        for _ in 0..2 {
            self.half_a_second()?;
        }
        Ok(())
    }

    /// The provider heals, everything that was asked for is answered, time passes.
    fn heal(&mut self) -> Verdict {
        self.mood = Mood::Good;
        if self.published == 0 {
            self.published = 1;
        }
        for place in &mut self.places {
            place.host.refuse(None);
        }
        let end = self.mono + HEALED;
        while self.mono < end {
            self.half_a_second()?;
            self.check_demand()?;
        }
        for (number, place) in self.places.iter().enumerate() {
            for (_, gate) in place.host.worker().gates() {
                let keys = &gate.authenticator().providers()[0].keys;
                if keys.usable(Monotonic::from_millis(self.mono)).is_none() {
                    return Err(format!("worker {number} has no keys though all is well"));
                }
            }
            if place.host.worker().waiting() > 0 {
                return Err(format!("worker {number}: requests still wait"));
            }
        }
        self.check_agreement()
    }

    /// What must hold of each stream in the end.
    fn check_streams(&self) -> Verdict {
        for (id, stream) in &self.streams {
            let wrong = |what: &str| Err(format!("stream {id} {what}: {stream:?}"));
            if stream.refused_effect {
                if stream.decisions.contains(&"allowed") && stream.replied > 0 && stream.form {
                    continue;
                }
                continue;
            }
            if stream.gone {
                continue;
            }
            if stream.paused && stream.replied == 0 {
                return wrong("is held back for good");
            }
            if stream.passed && stream.replied > 0 && !stream.form {
                return wrong("went on and was answered");
            }
            // A form whose body has not come is answered when its time is up.
            let decided = stream.passed || stream.replied > 0;
            if decided != (stream.decisions.len() == 1) {
                return wrong("was not counted once");
            }
        }
        Ok(())
    }
}

fn request(token: &str, form: bool) -> Fields {
    let field = |name: &str, value: &str| (name.as_bytes().to_vec(), value.as_bytes().to_vec());
    let mut fields = vec![
        field(":path", "/loki/api/v1/query"),
        field("authorization", &format!("Bearer {token}")),
        field("x-scope-orgid", "a"),
    ];
    if form {
        fields.push(field(":method", "POST"));
        fields.push(field("content-type", "application/x-www-form-urlencoded"));
    } else {
        fields.push(field(":method", "GET"));
        fields[0] = field(":path", "/loki/api/v1/query?query=%7Ba%3D%22b%22%7D");
    }
    fields
}

/// Plays a sequence. Returns how often each code was the verdict.
///
/// # Errors
/// What the model does not expect.
pub fn play(sequence: &Sequence) -> Result<BTreeMap<&'static str, u64>, String> {
    let mut scene = Scene::new(sequence);
    for worker in 0..scene.places.len() {
        scene.take(worker, None)?;
    }
    if sequence.warm {
        scene.warm()?;
    }
    for (number, step) in sequence.steps.iter().enumerate() {
        scene
            .run(*step)
            .map_err(|error| format!("step {number} {step:?}: {error}"))?;
    }
    scene
        .check_agreement()
        .map_err(|error| format!("then: {error}"))?;
    scene
        .heal()
        .map_err(|error| format!("when the provider heals: {error}"))?;
    scene.check_streams()?;
    Ok(scene.codes)
}
