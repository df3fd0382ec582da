//! The fetches of keys: when they happen, which worker does them, and what they mean for the
//! requests that wait. Workers are driven as a proxy drives them, several of them over one
//! store. Time passes where a test says so.
#![allow(clippy::panic, clippy::unwrap_used)]

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::rc::Rc;

use crate::common::{
    ALLOWED, ISSUER, NOW, Request, Token, UPTIME, at, fetched, jwk, jwk_with, jwks, merge, misfits,
};
use crate::host::{Call, Done, Host, Store};
use scopegate::authn::key_cache::Edition;
use scopegate::authn::key_lease::{COOL_DOWN, Document, Lease};
use scopegate::authn::keys::InModule;
use scopegate::words::time::Monotonic;
use scopegate::worker::{Action, CallId, CallOutcome, Entry, Event, Level, SourceId, Swap};
use serde_json::{Value, json};

/// The root of the configuration that most tests have.
const ROOT: u64 = 1;

/// How often a root is called when nothing waits.
const TICK: u64 = 500;

/// How often while requests wait.
const TICK_WAITING: u64 = 100;

/// How long a fetch is assumed to take with the default timeout of 5 s.
const LONGEST: u64 = 6_000;

/// How long requests wait by default.
const WAIT: u64 = 3_000;

/// How long an answer of the provider takes.
const ROUND_TRIP: u64 = 100;

const WAITS: &str = "waits";

/// A worker with what its host has seen.
struct Scene {
    host: Host,
    roots: Vec<u64>,
    streams: u64,
    decided: BTreeMap<u64, &'static str>,
    resumed: BTreeSet<u64>,
    /// Status codes of answers.
    replied: BTreeMap<u64, u16>,
    lines: Vec<(Level, String)>,
    fetches: Vec<&'static str>,
    calls: Vec<Call>,
}

impl Scene {
    fn new(store: &Rc<RefCell<Store>>, seed: u64, uptime: u64) -> Self {
        Self {
            host: Host::new(Box::new(InModule), store, NOW, uptime, seed),
            roots: Vec::new(),
            streams: 0,
            decided: BTreeMap::new(),
            resumed: BTreeSet::new(),
            replied: BTreeMap::new(),
            lines: Vec::new(),
            fetches: Vec::new(),
            calls: Vec::new(),
        }
    }

    /// A worker of its own that has loaded this.
    fn alone(config: &Value, seed: u64) -> Self {
        let mut scene = Self::new(&Rc::default(), seed, UPTIME);
        scene.load(ROOT, config);
        scene
    }

    fn load(&mut self, root: u64, config: &Value) {
        let document = config.to_string();
        let good = self.host.configure(
            root,
            &document,
            &[("IDP_TOKEN".to_owned(), "s3cret".to_owned())],
        );
        self.settle();
        assert!(good, "{:?}", self.lines);
        self.roots.push(root);
    }

    fn drop_root(&mut self, root: u64) {
        self.roots.retain(|known| *known != root);
        self.host.root_gone(root);
        self.settle();
    }

    /// Takes note of what was done.
    fn settle(&mut self) {
        for done in self.host.take_done() {
            match done {
                Done::Decision(stream, code) => {
                    let before = self.decided.insert(stream.0, code);
                    assert_eq!(before, None, "stream {} was decided twice", stream.0);
                }
                Done::Resume(stream) => assert!(self.resumed.insert(stream.0)),
                Done::Reply(stream, reply) => {
                    let before = self.replied.insert(stream.0, reply.status);
                    assert_eq!(before, None, "stream {} was answered twice", stream.0);
                }
                Done::Log(level, line) => self.lines.push((level, line)),
                Done::Fetch(result) => self.fetches.push(result),
                _ => {}
            }
        }
        self.calls.extend(self.host.take_calls());
    }

    /// Ticks all its roots.
    fn tick(&mut self) {
        for root in self.roots.clone() {
            self.host.tick(root);
        }
        self.settle();
    }

    /// Lets time pass in these steps, with a tick at the end of each.
    fn pass_in(&mut self, step: u64, millis: u64) {
        let mut left = millis;
        while left > 0 {
            let next = left.min(step);
            self.host.pass(next);
            self.tick();
            left -= next;
        }
    }

    fn pass(&mut self, millis: u64) {
        self.pass_in(TICK, millis);
    }

    /// Lets time pass until there is a call, but at most `most`. Returns how long it took.
    #[track_caller]
    fn until_call(&mut self, step: u64, most: u64) -> u64 {
        assert_eq!(self.calls.len(), 0);
        for passed in (step..=most).step_by(usize::try_from(step).unwrap()) {
            self.pass_in(step, step);
            if !self.calls.is_empty() {
                return passed;
            }
        }
        panic!("no call within {most} ms");
    }

    /// Lets a request with this token arrive.
    fn ask(&mut self, token: &str) -> u64 {
        self.ask_of(ROOT, &Request::bearing(token))
    }

    fn ask_of(&mut self, root: u64, request: &Request) -> u64 {
        self.streams += 1;
        let stream = self.streams;
        self.host.open(stream, root);
        let action = self.host.head(stream, &request.fields(), true);
        self.settle();
        let passed = self.decided.contains_key(&stream) && !self.replied.contains_key(&stream);
        assert_eq!(action == Action::Continue, passed, "{stream}");
        stream
    }

    /// The verdict on a request.
    fn code(&self, stream: u64) -> &'static str {
        self.decided.get(&stream).copied().unwrap_or(WAITS)
    }

    /// The verdict on a token now.
    fn verdict(&mut self, token: &str) -> &'static str {
        let stream = self.ask(token);
        self.code(stream)
    }

    #[track_caller]
    fn only_call(&mut self) -> Call {
        assert_eq!(self.calls.len(), 1, "{:?}", self.calls);
        self.calls.remove(0)
    }

    fn answer(&mut self, call: &Call, status: &str, body: &[u8]) {
        self.host.answer(call, status, body);
        self.settle();
    }

    /// Answers a call with these keys, as the provider.
    fn publish(&mut self, call: &Call, names: &[&str]) {
        self.answer(call, "200", &document(names));
    }

    /// Ends a call that nobody answers.
    fn fail(&mut self, call: &Call) {
        self.host.answer_nothing(call);
        self.settle();
    }

    /// Makes the first fetch, which yields the keys of these names.
    fn start(&mut self, names: &[&str]) {
        self.tick();
        let call = self.only_call();
        self.host.pass(ROUND_TRIP);
        self.publish(&call, names);
        assert_eq!(self.calls.len(), 0);
    }

    /// The number of log lines that contain these words.
    fn said(&self, words: &str) -> usize {
        let lines = self.lines.iter();
        lines.filter(|(_, line)| line.contains(words)).count()
    }
}

/// Workers of one process.
struct Fleet {
    store: Rc<RefCell<Store>>,
    sites: Vec<Scene>,
}

impl Fleet {
    fn new(config: &Value, workers: u64) -> Self {
        let store = Rc::<RefCell<Store>>::default();
        let sites = (1..=workers).map(|seed| {
            let mut scene = Scene::new(&store, seed, UPTIME);
            scene.load(ROOT, config);
            scene
        });
        let sites = sites.collect();
        Self { store, sites }
    }

    /// Ticks each worker, in order.
    fn tick(&mut self) {
        self.sites.iter_mut().for_each(Scene::tick);
    }

    fn pass_in(&mut self, step: u64, millis: u64) {
        let mut left = millis;
        while left > 0 {
            let next = left.min(step);
            for scene in &mut self.sites {
                scene.host.pass(next);
            }
            self.tick();
            left -= next;
        }
    }

    fn pass(&mut self, millis: u64) {
        self.pass_in(TICK, millis);
    }

    /// The calls that nobody has answered, with the positions of their workers.
    fn calls(&mut self) -> Vec<(usize, Call)> {
        let sites = self.sites.iter_mut().enumerate();
        let calls = sites.flat_map(|(position, scene)| {
            let calls = std::mem::take(&mut scene.calls);
            calls.into_iter().map(move |call| (position, call))
        });
        calls.collect()
    }

    #[track_caller]
    fn only_call(&mut self) -> (usize, Call) {
        let mut calls = self.calls();
        assert_eq!(calls.len(), 1, "{calls:?}");
        calls.remove(0)
    }

    /// Answers each call that is under way with these keys, a moment later. Returns their
    /// number.
    fn publish(&mut self, names: &[&str]) -> usize {
        let calls = self.calls();
        for scene in &mut self.sites {
            scene.host.pass(ROUND_TRIP);
        }
        for (position, call) in &calls {
            self.sites[*position].publish(call, names);
        }
        calls.len()
    }

    fn start(&mut self, names: &[&str]) {
        self.tick();
        assert_eq!(self.publish(names), 1);
        self.tick();
    }

    fn lease(&self) -> Lease {
        let store = self.store.borrow();
        let entry = store.entry("/lease/").unwrap();
        Lease::parse(entry, self.now())
    }

    fn now(&self) -> Monotonic {
        let nanos = self.sites[0].host.clocks.mono.unwrap();
        Monotonic::from_millis(nanos / 1_000_000)
    }

    /// The shared document.
    fn document(&self) -> Document {
        let store = self.store.borrow();
        let entry = store.entry("/document/").unwrap();
        Document::parse(entry, Monotonic::from_millis(u64::MAX)).unwrap()
    }
}

fn document(names: &[&str]) -> Vec<u8> {
    let keys: Vec<Value> = names.iter().map(|name| jwk(name)).collect();
    jwks(&keys)
}

/// The default schedule: every ten minutes, with a timeout of 5 s.
fn scheduled() -> Value {
    fetched(json!({}))
}

fn by(key: &'static str) -> String {
    Token::new()
        .claim("exp", NOW + 1_000_000)
        .by(key, "ES256")
        .build()
}

/// A token whose key ID is unknown, and different for each number.
fn stranger(number: u64) -> String {
    Token::new()
        .claim("exp", NOW + 1_000_000)
        .header("kid", format!("k{number}"))
        .with_signature(b"x")
}

/// Asserts that a span is the expected one, up to a tenth and a step.
#[track_caller]
fn about(span: u64, expected: u64, step: u64) {
    let least = expected - expected / 10;
    let most = expected + expected / 10 + step;
    assert!(
        (least..=most).contains(&span),
        "{span} is not about {expected}"
    );
}

// One worker: the schedule

#[test]
fn the_first_fetch_is_made_at_the_first_tick_and_is_one() {
    // A clock that has only just begun makes no difference.
    for uptime in [1, UPTIME] {
        let mut scene = Scene::new(&Rc::default(), 1, uptime);
        scene.load(ROOT, &scheduled());
        assert_eq!(
            scene.calls.len(),
            0,
            "what is only tried asks nobody anything"
        );
        scene.tick();
        scene.only_call();
        for _ in 0..11 {
            scene.pass(TICK);
            assert_eq!(scene.calls.len(), 0);
        }
    }
}

#[test]
fn the_fetch_goes_where_the_configuration_says() {
    let mut scene = Scene::alone(
        &fetched(json!({"uri": "http://idp.example:8080/certs?x=1", "timeout": "2s"})),
        1,
    );
    scene.tick();
    let call = scene.only_call();
    assert_eq!((call.cluster.as_str(), call.timeout), ("idp", 2_000));
    assert_eq!(call.root.0, ROOT);
    for (name, value) in [
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", "idp.example:8080"),
        (":path", "/certs?x=1"),
        (
            "accept",
            "application/json, application/jwk-set+json, */*;q=0.1",
        ),
        ("accept-encoding", "identity"),
        ("user-agent", "scopegate"),
    ] {
        assert_eq!(call.header(name), Some(value.as_bytes()), "{name}");
    }
    assert_eq!(call.headers.len(), 7);
}

#[test]
fn the_refresh_is_due_at_80_percent_give_or_take_10() {
    let mut seen = HashSet::new();
    for seed in 0..150 {
        let mut scene = Scene::alone(&scheduled(), seed);
        scene.start(&["p256-a"]);
        let after = ROUND_TRIP + scene.until_call(2_000, 600_000);
        about(after, 480_000, 2_000);
        seen.insert(after / 10_000);
    }
    // Spread over the whole range, so that gates do not meet.
    assert!(seen.len() >= 9, "{seen:?}");
}

#[test]
fn each_refresh_draws_anew() {
    let mut scene = Scene::alone(&scheduled(), 1);
    scene.start(&["p256-a"]);
    let mut seen = HashSet::new();
    for _ in 0..20 {
        let after = scene.until_call(TICK, 600_000);
        seen.insert(after);
        let call = scene.only_call();
        scene.publish(&call, &["p256-a"]);
    }
    assert!(seen.len() > 15, "{seen:?}");
    assert_eq!(scene.fetches.len(), 21);
    assert_eq!(
        scene.said("in use"),
        1,
        "one line a change: {:?}",
        scene.lines
    );
}

#[test]
fn cache_control_shortens_the_interval_within_bounds() {
    for (fresh, interval) in [
        (None, 600_000),
        (Some("max-age=120"), 120_000),
        (Some("max-age=0"), 60_000),
        (Some("no-store"), 60_000),
        (Some("public, max-age=61"), 61_000),
        (Some("max-age=18446744073709551615"), 600_000),
        (Some("max-age=soon"), 600_000),
    ] {
        let mut scene = Scene::alone(&scheduled(), 7);
        scene.tick();
        let call = scene.only_call();
        scene
            .host
            .answer_fresh(&call, "200", fresh, &document(&["p256-a"]));
        scene.settle();
        let after = scene.until_call(TICK, 700_000);
        about(after, interval * 8 / 10, TICK);
    }
}

#[test]
fn failures_back_off_from_1_to_60_seconds_and_keep_the_keys() {
    let mut scene = Scene::alone(&scheduled(), 5);
    scene.start(&["p256-a"]);
    scene.until_call(TICK, 600_000);
    let step = 50;
    for pause in [1, 2, 4, 8, 16, 32, 60, 60, 60, 60] {
        let call = scene.only_call();
        scene.fail(&call);
        assert_eq!(scene.verdict(&by("p256-a")), ALLOWED);
        let after = scene.until_call(step, 70_000);
        about(after, pause * 1_000, step);
    }
    assert_eq!(scene.fetches.len(), 11);
    assert_eq!(scene.said("keys cannot be fetched"), 1, "{:?}", scene.lines);
    // One success forgets them all, and is told.
    let call = scene.only_call();
    scene.publish(&call, &["p256-a"]);
    assert_eq!(scene.said("in use"), 2, "{:?}", scene.lines);
    about(scene.until_call(TICK, 600_000), 480_000, TICK);
    let call = scene.only_call();
    scene.fail(&call);
    about(scene.until_call(step, 70_000), 1_000, step);
    assert_eq!(scene.said("keys cannot be fetched"), 2);
}

#[test]
fn whatever_is_no_good_document_is_a_failure_by_its_kind() {
    let many = vec![b' '; 256 * 1024 + 1];
    let good = document(&["p256-a"]);
    let respond = |status: &'static [u8], body: &'static dyn Fn() -> Option<Box<[u8]>>| {
        CallOutcome::Response {
            status,
            cache_control: None,
            content_encoding: None,
            etag: None,
            size: 10,
            body,
        }
    };
    let cases: Vec<(CallOutcome<'_>, &str, &str)> = vec![
        (CallOutcome::Nothing, "unreachable", "no answer"),
        (CallOutcome::NotSent(3), "error", "status 3"),
        (respond(b"200", &|| None), "error", "no body"),
        (
            respond(b"200", &|| Some((*b"<html>").into())),
            "unusable",
            "HTML or XML, not JSON",
        ),
        (
            respond(b"200", &|| Some((*b"{\"keys\":[]}").into())),
            "unusable",
            "none of its 0 keys",
        ),
        (
            respond(b"500", &|| panic!("nobody reads it")),
            "status",
            "status 500",
        ),
        (
            respond(b"304", &|| panic!("nobody reads it")),
            "status",
            "status 304",
        ),
        (respond(b"2000", &|| None), "status", "status 2000"),
        (respond(b"\xff", &|| None), "status", "status"),
    ];
    for (answer, result, words) in cases {
        let mut scene = Scene::alone(&scheduled(), 1);
        scene.start(&["p256-a"]);
        scene.until_call(TICK, 600_000);
        let call = scene.only_call();
        let event = Event::Answered {
            call: call.id,
            answer,
        };
        scene.host.on(event);
        scene.settle();
        assert_eq!(scene.fetches, ["ok", result]);
        assert_eq!(scene.said(words), 1, "{words}: {:?}", scene.lines);
        assert_eq!(scene.verdict(&by("p256-a")), ALLOWED);
        about(scene.until_call(50, 70_000), 1_000, 50);
    }
    // By its size, before it is read.
    let mut scene = Scene::alone(&scheduled(), 1);
    scene.tick();
    let call = scene.only_call();
    scene.answer(&call, "200", &many);
    assert_eq!(scene.fetches, ["unusable"]);
    scene.until_call(50, 2_000);
    let call = scene.only_call();
    scene.answer(&call, "200", &good);
    assert_eq!(scene.fetches, ["unusable", "ok"]);
}

#[test]
fn a_mark_of_the_encoding_is_skipped_and_what_is_no_json_is_named() {
    let mut scene = Scene::alone(&scheduled(), 1);
    scene.tick();
    let call = scene.only_call();
    let marked = [b"\xef\xbb\xbf", document(&["p256-a"]).as_slice()].concat();
    scene.answer(&call, "200", &marked);
    assert_eq!(scene.fetches, ["ok"]);
    assert_eq!(scene.verdict(&by("p256-a")), ALLOWED);
    for (body, words) in [
        (&b"\x1f\x8b\x08\0"[..], "compressed by gzip"),
        (b"\n <!DOCTYPE html><html>", "HTML or XML, not JSON"),
        (b"\xef\xbb\xbf<html>", "HTML or XML, not JSON"),
    ] {
        let mut scene = Scene::alone(&scheduled(), 1);
        scene.tick();
        let call = scene.only_call();
        scene.answer(&call, "200", body);
        assert_eq!(scene.fetches, ["unusable"]);
        assert_eq!(scene.said(words), 1, "{:?}", scene.lines);
    }
}

#[test]
fn a_fetch_that_is_never_answered_counts_as_failed() {
    for shares in [true, false] {
        let mut scene = Scene::alone(&scheduled(), 1);
        scene.host.shares = shares;
        scene.tick();
        let lost = scene.only_call();
        // By its timeout and a second.
        scene.pass_in(TICK, LONGEST);
        assert_eq!(scene.calls.len(), 0);
        scene.host.pass(1);
        scene.tick();
        about(scene.until_call(50, 2_000), 1_000, 50);
        let call = scene.only_call();
        // An answer that comes now is too late.
        scene.publish(&lost, &["p256-a"]);
        assert_eq!(scene.fetches.len(), 0);
        assert_eq!(scene.verdict(&by("p256-a")), WAITS);
        scene.publish(&call, &["p256-a"]);
        assert_eq!(scene.fetches, ["ok"]);
        assert_eq!(scene.verdict(&by("p256-a")), ALLOWED);
    }
}

#[test]
fn answers_that_come_twice_or_to_nobody_change_nothing() {
    let mut scene = Scene::alone(&scheduled(), 1);
    scene.tick();
    let call = scene.only_call();
    let CallId::Document(source, serial) = call.id else {
        panic!("{call:?}");
    };
    // Of another source, another call, another kind.
    for id in [
        CallId::Document(SourceId(source.0 + 1), serial),
        CallId::Document(source, serial + 1),
        CallId::Document(source, 0),
        CallId::Directory(serial),
    ] {
        let other = Call { id, ..call.clone() };
        scene.publish(&other, &["p256-b"]);
        scene.fail(&other);
    }
    assert_eq!(scene.fetches.len(), 0);
    scene.publish(&call, &["p256-a"]);
    let before = scene.host.store.borrow().entry("/document/").map(Vec::from);
    for _ in 0..3 {
        scene.publish(&call, &["p256-b"]);
        scene.fail(&call);
    }
    scene.pass(10_000);
    assert_eq!(scene.fetches, ["ok"]);
    assert_eq!(scene.calls.len(), 0);
    let after = scene.host.store.borrow().entry("/document/").map(Vec::from);
    assert_eq!(after, before);
    assert_eq!(scene.verdict(&by("p256-a")), ALLOWED);
}

#[test]
fn reads_and_swaps_that_nobody_asked_for_change_nothing() {
    // A lease of somebody else, and a document that would be adopted.
    let hostile = |now: u64| {
        let mut bytes = Lease {
            holder: 4_711,
            until: Monotonic::from_millis(now + 60_000),
            failures: 9,
            retry: Monotonic::from_millis(now + 60_000),
            demanded: Monotonic::from_millis(now),
            fetched: Monotonic::from_millis(now),
            number: 9,
        };
        bytes.holder |= 1;
        bytes.to_bytes()
    };
    let mut scene = Scene::alone(&scheduled(), 1);
    scene.start(&["p256-a"]);
    scene.pass(1_000);
    let now = UPTIME + ROUND_TRIP + 1_000;
    let newer = Document {
        edition: Edition {
            number: 9,
            asked: at(ROUND_TRIP + 1_000),
        },
        max_age: None,
        tag: None,
        bytes: document(&["p256-b"]).into(),
    };
    let newer = newer.to_bytes();
    let lease = hostile(now);
    let source = SourceId(0);
    for (entry, bytes) in [(Entry::Lease, &lease), (Entry::Document, &newer)] {
        for value in [Some((bytes.as_slice(), 1)), Some((&b""[..], 0)), None] {
            scene.host.on(Event::Looked {
                source,
                entry,
                value,
            });
            scene.host.on(Event::Looked {
                source: SourceId(9),
                entry,
                value,
            });
        }
        for swap in [Swap::Done, Swap::Conflict, Swap::Unshared] {
            scene.host.on(Event::Swapped {
                source,
                entry,
                swap,
            });
        }
    }
    scene.settle();
    assert_eq!(scene.calls.len(), 0);
    assert_eq!(scene.verdict(&by("p256-a")), ALLOWED);
    // A key that is not there is asked for as if nothing had been.
    let stream = scene.ask(&by("p256-b"));
    assert_eq!(scene.code(stream), WAITS);
    let call = scene.only_call();
    scene.publish(&call, &["p256-a", "p256-b"]);
    assert_eq!(scene.code(stream), ALLOWED);
    // And shared as before.
    let store = scene.host.store.borrow();
    let shared = Document::parse(store.entry("/document/").unwrap(), at(10_000).mono);
    assert_eq!(
        shared.unwrap().bytes.as_ref(),
        document(&["p256-a", "p256-b"])
    );
}

// One worker: requests that wait

#[test]
fn without_keys_one_fetch_is_made_and_all_wait_for_it() {
    let mut scene = Scene::alone(&scheduled(), 1);
    let token = by("p256-a");
    // The first request comes before the first tick.
    let streams: Vec<u64> = (0..20).map(|_| scene.ask(&token)).collect();
    let call = scene.only_call();
    scene.tick();
    assert_eq!(scene.calls.len(), 0, "the request's fetch is the fetch");
    assert_eq!(scene.host.worker().waiting(), 20);
    scene.host.pass(ROUND_TRIP);
    scene.publish(&call, &["p256-a"]);
    for stream in streams {
        assert_eq!(scene.code(stream), ALLOWED);
        assert!(scene.resumed.contains(&stream));
        assert!(!scene.replied.contains_key(&stream));
    }
    assert_eq!(scene.host.worker().waiting(), 0);
}

#[test]
fn who_waits_for_keys_waits_for_the_next_try_if_that_comes_in_time() {
    let mut scene = Scene::alone(&scheduled(), 1);
    let stream = scene.ask(&by("p256-a"));
    let call = scene.only_call();
    scene.fail(&call);
    // The next try is a second away.
    assert_eq!(scene.code(stream), WAITS);
    about(scene.until_call(TICK_WAITING, 2_000), 1_000, TICK_WAITING);
    let call = scene.only_call();
    scene.fail(&call);
    // And the one after that two more, which is too late for this request, if only just.
    let late = scene.ask(&by("p256-a"));
    assert_eq!(scene.code(late), WAITS);
    scene.pass_in(TICK_WAITING, WAIT - 1_000);
    assert_eq!(scene.code(stream), "keys_unavailable");
    assert_eq!(scene.replied[&stream], 503);
    assert!(!scene.resumed.contains(&stream));
    let call = scene.only_call();
    scene.publish(&call, &["p256-a"]);
    assert_eq!(scene.code(late), ALLOWED);
}

#[test]
fn who_cannot_be_answered_in_time_is_not_kept() {
    let mut scene = Scene::alone(&scheduled(), 1);
    scene.tick();
    for _ in 0..4 {
        let call = scene.only_call();
        scene.fail(&call);
        scene.until_call(TICK, 70_000);
    }
    let call = scene.only_call();
    scene.fail(&call);
    // The next try is sixteen seconds away: refused at once, and by nobody's fault.
    assert_eq!(scene.verdict(&by("p256-a")), "keys_unavailable");
    assert_eq!(scene.replied.values().copied().collect::<Vec<_>>(), [503]);
    scene.until_call(TICK, 20_000);
    assert_eq!(scene.verdict(&by("p256-a")), WAITS);
}

#[test]
fn a_deadline_is_kept_by_ticks_and_without_them() {
    for wakes in [false, true] {
        let mut scene = Scene::alone(&scheduled(), 1);
        scene.start(&["p256-a"]);
        scene.pass(1_000);
        let stream = scene.ask(&by("p256-b"));
        let call = scene.only_call();
        assert_eq!(scene.code(stream), WAITS);
        if wakes {
            scene.host.pass(WAIT - 1);
            scene.host.wake(stream);
            scene.settle();
            assert_eq!(scene.code(stream), WAITS);
            scene.host.pass(1);
            scene.host.wake(stream);
            scene.settle();
        } else {
            scene.pass_in(TICK_WAITING, WAIT - 1);
            assert_eq!(scene.code(stream), WAITS);
            scene.host.pass(1);
            scene.tick();
        }
        assert_eq!(scene.code(stream), "key_pending");
        assert_eq!(scene.replied[&stream], 503);
        assert_eq!(scene.host.worker().waiting(), 0);
        // The answer to its fetch is for whoever comes next.
        scene.publish(&call, &["p256-a", "p256-b"]);
        assert_eq!(scene.verdict(&by("p256-b")), ALLOWED);
    }
}

#[test]
fn a_request_that_is_gone_is_waited_for_by_nobody() {
    let mut scene = Scene::alone(&scheduled(), 1);
    let stream = scene.ask(&by("p256-a"));
    let stays = scene.ask(&by("p256-a"));
    scene.host.gone(stream);
    let call = scene.only_call();
    scene.publish(&call, &["p256-a"]);
    assert_eq!(scene.code(stream), WAITS);
    assert_eq!(scene.code(stays), ALLOWED);
    assert_eq!(scene.host.worker().waiting(), 0);
}

#[test]
fn the_waiting_room_has_so_many_places() {
    let mut config = scheduled();
    config["limits"] = json!({"waiting_requests": 3});
    let mut scene = Scene::alone(&config, 1);
    let waiting: Vec<u64> = (0..3).map(|_| scene.ask(&by("p256-a"))).collect();
    for _ in 0..3 {
        assert_eq!(scene.verdict(&by("p256-a")), "waiting_room_full");
    }
    assert!(scene.replied.values().all(|status| *status == 503));
    let call = scene.only_call();
    // A place that is free again is taken again.
    scene.host.gone(waiting[0]);
    let late = scene.ask(&by("p256-a"));
    assert_eq!(scene.code(late), WAITS);
    assert_eq!(scene.verdict(&by("p256-a")), "waiting_room_full");
    scene.publish(&call, &["p256-a"]);
    for stream in [waiting[1], waiting[2], late] {
        assert_eq!(scene.code(stream), ALLOWED);
    }
}

#[test]
fn without_a_wait_nobody_waits_and_the_fetch_is_made_all_the_same() {
    let mut config = scheduled();
    config["limits"] = json!({"wait": "0s"});
    let mut scene = Scene::alone(&config, 1);
    assert_eq!(scene.verdict(&by("p256-a")), "keys_unavailable");
    let call = scene.only_call();
    scene.publish(&call, &["p256-a"]);
    assert_eq!(scene.verdict(&by("p256-a")), ALLOWED);
    scene.pass(1_000);
    assert_eq!(scene.verdict(&by("p256-b")), "key_pending");
    let call = scene.only_call();
    scene.publish(&call, &["p256-a"]);
    assert_eq!(scene.verdict(&by("p256-b")), "unknown_key");
}

#[test]
fn who_is_let_through_anyway_does_not_wait() {
    let mut config = scheduled();
    config["mode"] = json!("report");
    let mut scene = Scene::alone(&config, 1);
    assert_eq!(scene.verdict(&by("p256-a")), "keys_unavailable");
    assert!(scene.replied.is_empty());
    // The fetch is made for what is recorded next.
    let call = scene.only_call();
    scene.publish(&call, &["p256-a"]);
    assert_eq!(scene.verdict(&by("p256-a")), ALLOWED);
    scene.pass(1_000);
    assert_eq!(scene.verdict(&by("p256-b")), "key_pending");
    let call = scene.only_call();
    scene.publish(&call, &["p256-a"]);
    assert_eq!(scene.verdict(&by("p256-b")), "unknown_key");
    assert!(scene.replied.is_empty());
    assert_eq!(scene.host.worker().waiting(), 0);
}

// One worker: keys that are not there

#[test]
fn a_new_key_is_found_by_the_first_request_that_needs_it() {
    let mut scene = Scene::alone(&scheduled(), 1);
    scene.start(&["p256-a"]);
    scene.pass(1_000);
    let first = scene.ask(&by("p256-b"));
    let call = scene.only_call();
    let second = scene.ask(&by("p256-b"));
    assert_eq!(scene.calls.len(), 0);
    // Others are served meanwhile.
    assert_eq!(scene.verdict(&by("p256-a")), ALLOWED);
    scene.publish(&call, &["p256-a", "p256-b"]);
    assert_eq!((scene.code(first), scene.code(second)), (ALLOWED, ALLOWED));
}

#[test]
fn a_key_that_does_not_exist_is_a_401_by_the_document_that_was_asked_for_since() {
    let mut scene = Scene::alone(&scheduled(), 1);
    scene.start(&["p256-a"]);
    scene.pass(1_000);
    let stream = scene.ask(&stranger(1));
    let call = scene.only_call();
    assert_eq!(scene.code(stream), WAITS);
    // Who comes after it was asked for cannot be told by its answer.
    scene.host.pass(ROUND_TRIP);
    let late = scene.ask(&stranger(2));
    assert_eq!(scene.code(late), WAITS);
    scene.publish(&call, &["p256-a"]);
    assert_eq!(scene.code(stream), "unknown_key");
    assert_eq!(scene.replied[&stream], 401);
    assert_eq!(scene.code(late), "key_pending");
    assert_eq!(scene.replied[&late], 503);
    // The first one's retry has its verdict.
    assert_eq!(scene.verdict(&stranger(1)), "unknown_key");
}

#[test]
fn a_pending_answer_books_the_fetch_that_settles_it() {
    let mut scene = Scene::alone(&scheduled(), 1);
    scene.start(&["p256-a"]);
    scene.pass(1_000);
    // The first one's fetch begins the cool-down.
    scene.ask(&stranger(1));
    let call = scene.only_call();
    scene.publish(&call, &["p256-a"]);
    scene.pass(10_000);
    assert_eq!(scene.verdict(&stranger(2)), "key_pending");
    assert_eq!(scene.calls.len(), 0);
    // Its retries, as clients do them, are pending until there is a newer document.
    for _ in 0..19 {
        scene.pass(1_000);
        assert_eq!(scene.verdict(&stranger(2)), "key_pending");
        assert_eq!(scene.calls.len(), 0);
    }
    // At the end of the cool-down no request is needed.
    scene.pass(1_000);
    let call = scene.only_call();
    scene.publish(&call, &["p256-a"]);
    assert_eq!(scene.verdict(&stranger(2)), "unknown_key");
    // The document has answered what was booked: no fetch comes for its sake any more.
    scene.pass(60_000);
    assert_eq!(scene.calls.len(), 0);
}

#[test]
fn a_demand_that_was_answered_books_nothing() {
    let mut scene = Scene::alone(&scheduled(), 1);
    scene.start(&["p256-a"]);
    scene.pass(1_000);
    let stream = scene.ask(&stranger(1));
    let call = scene.only_call();
    scene.publish(&call, &["p256-a"]);
    assert_eq!(scene.code(stream), "unknown_key");
    scene.pass(2 * COOL_DOWN);
    assert_eq!(scene.calls.len(), 0);
}

#[test]
fn a_booked_fetch_is_the_scheduled_one_if_that_comes_first() {
    let mut scene = Scene::alone(&fetched(json!({"refresh_interval": "1m"})), 1);
    scene.start(&["p256-a"]);
    scene.pass(30_000);
    scene.ask(&stranger(1));
    let call = scene.only_call();
    scene.fail(&call);
    // The refresh is due about 48 s after the beginning, the cool-down ends at 60 s.
    assert_eq!(scene.verdict(&stranger(2)), "key_pending");
    scene.until_call(TICK, 25_000);
    let call = scene.only_call();
    scene.publish(&call, &["p256-a"]);
    assert_eq!(scene.verdict(&stranger(2)), "unknown_key");
    scene.pass(20_000);
    assert_eq!(scene.calls.len(), 0);
}

#[test]
fn unknown_kids_start_one_fetch_per_cool_down() {
    let mut scene = Scene::alone(&scheduled(), 1);
    scene.start(&["p256-a"]);
    let mut fetches = Vec::new();
    // Two requests a second, each with another kid, for five minutes.
    for number in 0..600 {
        scene.pass(TICK);
        scene.ask(&stranger(number));
        for call in std::mem::take(&mut scene.calls) {
            fetches.push(number * TICK);
            scene.publish(&call, &["p256-a"]);
        }
    }
    assert_eq!(fetches.len(), 10, "{fetches:?}");
    let apart = |pair: &[u64]| pair[1] - pair[0];
    assert!(fetches.windows(2).all(|pair| apart(pair) >= COOL_DOWN));
}

#[test]
fn failures_make_no_room_for_more_demands() {
    let mut scene = Scene::alone(&scheduled(), 1);
    scene.start(&["p256-a"]);
    scene.pass(1_000);
    let stream = scene.ask(&stranger(1));
    let call = scene.only_call();
    scene.fail(&call);
    assert_eq!(
        scene.code(stream),
        "key_pending",
        "there is no hope in time"
    );
    assert_eq!(scene.verdict(&stranger(1)), "key_pending");
    scene.pass(29_500);
    assert_eq!(scene.calls.len(), 0);
    scene.pass(TICK);
    let call = scene.only_call();
    scene.publish(&call, &["p256-a"]);
    assert_eq!(scene.verdict(&stranger(1)), "unknown_key");
}

#[test]
fn a_refresh_that_began_before_the_request_is_not_definitive() {
    let mut scene = Scene::alone(&scheduled(), 1);
    scene.start(&["p256-a"]);
    scene.until_call(TICK, 600_000);
    let refresh = scene.only_call();
    // It is under way: the request waits for it …
    scene.host.pass(50);
    let stream = scene.ask(&by("p256-b"));
    assert_eq!((scene.code(stream), scene.calls.len()), (WAITS, 0));
    scene.host.pass(50);
    scene.publish(&refresh, &["p256-a"]);
    // … and when that document lacks the key, it may have been made before the key was.
    assert_eq!(scene.code(stream), WAITS);
    let demanded = scene.only_call();
    scene.publish(&demanded, &["p256-a", "p256-b"]);
    assert_eq!(scene.code(stream), ALLOWED);
}

#[test]
fn a_withdrawn_keys_token_is_refused_for_good_where_none_can_be_asked() {
    let mut scene = Scene::alone(&scheduled(), 1);
    scene.start(&["p256-a", "p256-b"]);
    let old = by("p256-b");
    assert_eq!(scene.verdict(&old), ALLOWED);
    scene.pass(100_000);
    scene.ask(&stranger(1));
    let call = scene.only_call();
    scene.publish(&call, &["p256-a"]);
    scene.pass(1_000);
    // In the cool-down nobody can be asked, and the key does not come back.
    assert_eq!(scene.verdict(&old), "unknown_key");
    assert_eq!(scene.verdict(&stranger(2)), "key_pending");
}

#[test]
fn forged_and_misdirected_tokens_never_start_a_fetch() {
    let mut scene = Scene::alone(&scheduled(), 1);
    scene.start(&["p256-a"]);
    scene.pass(1_000);
    for (defect, code) in misfits() {
        assert_eq!(scene.verdict(&defect.build()), code);
        assert_eq!(scene.calls.len(), 0, "{code}");
    }
    scene.pass(60_000);
    assert_eq!(scene.calls.len(), 0, "nothing is booked for them");
    // The very next unknown kid may fetch: nothing was used up.
    assert_eq!(scene.verdict(&stranger(1)), WAITS);
    scene.only_call();
}

#[test]
fn strangers_with_random_kids_delay_a_rotation_by_the_cool_down_at_most() {
    let mut scene = Scene::alone(&scheduled(), 1);
    scene.start(&["p256-a"]);
    let (mut fetches, mut found) = (0, None);
    // The provider rotates at 40 s; strangers ask ten times a second all along.
    for now in (1_000..90_000).step_by(100) {
        scene.pass_in(TICK_WAITING, TICK_WAITING);
        scene.ask(&stranger(now));
        if now >= 40_000 && now % 500 == 0 && scene.verdict(&by("p256-b")) == ALLOWED {
            found = found.or(Some(now));
        }
        for call in std::mem::take(&mut scene.calls) {
            fetches += 1;
            let names: &[&str] = match now {
                40_000.. => &["p256-a", "p256-b"],
                _ => &["p256-a"],
            };
            scene.publish(&call, names);
        }
    }
    assert!(fetches <= 3, "{fetches}");
    assert!(found.unwrap() <= 40_000 + COOL_DOWN + 500, "{found:?}");
}

#[test]
fn inline_keys_are_never_fetched() {
    let mut scene = Scene::alone(&crate::common::config(), 1);
    scene.pass(20_000);
    assert_eq!(scene.verdict(&by("p256-a")), ALLOWED);
    assert_eq!(scene.verdict(&by("p256-b")), "unknown_key");
    scene.pass(60_000);
    assert_eq!(scene.calls.len(), 0);
    assert!(scene.host.store.borrow().keys().is_empty());
}

#[test]
fn keys_that_are_too_old_are_none_and_are_asked_for() {
    let mut scene = Scene::alone(
        &fetched(json!({"max_stale": "1h", "refresh_interval": "10m"})),
        1,
    );
    scene.start(&["p256-a"]);
    let token = by("p256-a");
    assert_eq!(scene.verdict(&token), ALLOWED);
    let mut passed = ROUND_TRIP;
    while passed < 3_600_000 {
        scene.pass(TICK);
        passed += TICK;
        for call in std::mem::take(&mut scene.calls) {
            scene.fail(&call);
        }
        if passed <= 3_600_000 {
            assert_eq!(scene.verdict(&token), ALLOWED, "{passed}");
        }
    }
    scene.pass(1_000);
    let stream = scene.ask(&token);
    assert_ne!(scene.code(stream), ALLOWED);
    if scene.calls.is_empty() {
        scene.until_call(TICK, 70_000);
    }
    let call = scene.only_call();
    scene.publish(&call, &["p256-a"]);
    assert_eq!(scene.verdict(&token), ALLOWED);
}

// Discovery

const DISCOVERY: &str = "/realms/platform/.well-known/openid-configuration";

fn discovering() -> Value {
    let mut config = fetched(json!({"discovery": true}));
    merge(&mut config["providers"][0], json!({"jwks": {"uri": null}}));
    config
}

fn discovery_document(issuer: &str, keys: &str) -> Vec<u8> {
    json!({"issuer": issuer, "jwks_uri": keys})
        .to_string()
        .into_bytes()
}

fn path(call: &Call) -> String {
    String::from_utf8(call.header(":path").unwrap().to_vec()).unwrap()
}

/// Answers the discovery document, and gives the call for the keys.
#[track_caller]
fn discover(scene: &mut Scene, call: &Call, keys: &str) -> Call {
    assert_eq!(path(call), DISCOVERY);
    scene.answer(call, "200", &discovery_document(ISSUER, keys));
    scene.only_call()
}

const KEYS: &str = "https://login.example.com/keys/1";

#[test]
fn discovery_leads_to_the_keys() {
    let mut scene = Scene::alone(&discovering(), 1);
    let stream = scene.ask(&by("p256-a"));
    let call = scene.only_call();
    assert_eq!(call.header(":authority"), Some(&b"login.example.com"[..]));
    let keys = discover(&mut scene, &call, KEYS);
    assert_eq!(path(&keys), "/keys/1");
    assert_ne!(keys.id, call.id);
    assert_eq!(scene.code(stream), WAITS);
    // The first step's answer, once more, is none to the second.
    scene.answer(&call, "200", &document(&["p256-b"]));
    assert_eq!(scene.code(stream), WAITS);
    scene.host.pass(ROUND_TRIP);
    scene.publish(&keys, &["p256-a"]);
    assert_eq!(scene.code(stream), ALLOWED);
    assert_eq!(scene.fetches, ["ok"], "two steps are one fetch");
}

#[test]
fn a_discovered_address_is_used_for_a_day() {
    let mut scene = Scene::alone(&fetched_daily(), 1);
    scene.tick();
    let call = scene.only_call();
    let keys = discover(&mut scene, &call, KEYS);
    scene.publish(&keys, &["p256-a"]);
    let (mut hours, mut asked) = (0, 0);
    while hours < 30 {
        scene.pass_in(60_000, 3_600_000);
        hours += 1;
        for call in std::mem::take(&mut scene.calls) {
            if path(&call) == DISCOVERY {
                assert!((24..=26).contains(&hours), "{hours}");
                asked += 1;
                let keys = discover(&mut scene, &call, "https://login.example.com/keys/2");
                assert_eq!(path(&keys), "/keys/2");
                scene.publish(&keys, &["p256-a"]);
            } else {
                scene.publish(&call, &["p256-a"]);
            }
        }
    }
    assert_eq!(asked, 1);
}

/// Discovery with one refresh an hour.
fn fetched_daily() -> Value {
    let mut config = discovering();
    config["providers"][0]["jwks"]["refresh_interval"] = json!("1h");
    config
}

#[test]
fn a_failure_asks_for_the_address_again() {
    let mut scene = Scene::alone(&discovering(), 1);
    scene.tick();
    let call = scene.only_call();
    let keys = discover(&mut scene, &call, KEYS);
    scene.publish(&keys, &["p256-a"]);
    scene.until_call(TICK, 600_000);
    let refresh = scene.only_call();
    assert_eq!(path(&refresh), "/keys/1");
    scene.answer(&refresh, "404", b"");
    scene.until_call(50, 2_000);
    let call = scene.only_call();
    let keys = discover(&mut scene, &call, "https://login.example.com/keys/2");
    scene.publish(&keys, &["p256-a"]);
    scene.until_call(TICK, 600_000);
    assert_eq!(path(&scene.only_call()), "/keys/2");
}

#[test]
fn a_discovery_document_that_leads_astray_is_a_failure() {
    for (answer, words) in [
        (
            discovery_document("https://evil.example", KEYS),
            "its issuer is",
        ),
        (
            discovery_document(ISSUER, "https://evil.example/keys"),
            "which is not in jwks.hosts",
        ),
        (
            discovery_document(ISSUER, "http://login.example.com/keys"),
            "jwks_uri is http",
        ),
        (b"{}".to_vec(), "its issuer is"),
        (b"<html>".to_vec(), "HTML or XML, not JSON"),
        (b"[]".to_vec(), "no JSON object"),
        // A key set is no discovery document.
        (document(&["p256-a"]), "its issuer is"),
    ] {
        let mut scene = Scene::alone(&discovering(), 1);
        scene.tick();
        let call = scene.only_call();
        scene.answer(&call, "200", &answer);
        assert_eq!(scene.fetches, ["discovery"], "{words}");
        assert_eq!(scene.said(words), 1, "{words}: {:?}", scene.lines);
        about(scene.until_call(50, 2_000), 1_000, 50);
        assert_eq!(path(&scene.only_call()), DISCOVERY);
    }
}

#[test]
fn a_discovery_that_is_never_answered_counts_as_failed() {
    let mut scene = Scene::alone(&discovering(), 1);
    scene.tick();
    let lost = scene.only_call();
    // Two steps, so twice the timeout.
    scene.pass(2 * 5_000 + 1_000);
    assert_eq!(scene.calls.len(), 0);
    scene.host.pass(1);
    scene.tick();
    about(scene.until_call(50, 2_000), 1_000, 50);
    scene.answer(&lost, "200", &discovery_document(ISSUER, KEYS));
    // Its answer is too late: the call that is on its way is still the first step.
    assert_eq!(path(&scene.only_call()), DISCOVERY);
}

// Several workers

#[test]
fn workers_share_one_fetch_and_adopt_within_a_tick() {
    for workers in [2, 8] {
        let mut fleet = Fleet::new(&scheduled(), workers);
        fleet.tick();
        let (position, call) = fleet.only_call();
        let streams: Vec<u64> = fleet
            .sites
            .iter_mut()
            .map(|scene| scene.ask(&by("p256-a")))
            .collect();
        fleet.pass_in(TICK_WAITING, 400);
        assert_eq!(fleet.calls().len(), 0);
        fleet.sites[position].publish(&call, &["p256-a"]);
        fleet.tick();
        for (scene, stream) in fleet.sites.iter_mut().zip(streams) {
            assert_eq!(scene.code(stream), ALLOWED);
        }
        assert_eq!(fleet.lease().holder, 0);
        assert_eq!(fleet.calls().len(), 0);
        // So they do at each refresh.
        let mut fetches = 0;
        for _ in 0..4_000 {
            fleet.pass(TICK);
            let calls = fleet.publish(&["p256-a"]);
            assert!(calls <= 1);
            fetches += calls;
        }
        // 2000 s, about one in 480 s and less, for the first of many begins it.
        assert!((4..=6).contains(&fetches), "{fetches}");
    }
}

#[test]
fn without_sharing_each_worker_fetches_for_itself() {
    let config = fetched(json!({"share": false}));
    let mut fleet = Fleet::new(&config, 3);
    fleet.tick();
    let calls = fleet.calls();
    assert_eq!(calls.len(), 3);
    fleet.sites[0].publish(&calls[0].1, &["p256-a"]);
    fleet.tick();
    assert_eq!(fleet.sites[0].verdict(&by("p256-a")), ALLOWED);
    assert_eq!(fleet.sites[1].verdict(&by("p256-a")), WAITS);
    fleet.sites[1].fail(&calls[1].1);
    fleet.sites[2].publish(&calls[2].1, &["p256-a"]);
    // The failure and the pause are its own.
    fleet.pass_in(50, 1_200);
    let (position, _) = fleet.only_call();
    assert_eq!(position, 1);
    assert!(fleet.store.borrow().keys().is_empty());
}

#[test]
fn a_host_that_shares_nothing_has_workers_for_themselves() {
    let mut fleet = Fleet::new(&scheduled(), 2);
    for scene in &mut fleet.sites {
        scene.host.shares = false;
    }
    fleet.tick();
    assert_eq!(fleet.publish(&["p256-a"]), 2);
    for scene in &mut fleet.sites {
        assert_eq!(scene.verdict(&by("p256-a")), ALLOWED);
        about(scene.until_call(TICK, 600_000), 480_000, TICK);
    }
    // One that turns out so only when it writes is no different.
    let mut scene = Scene::alone(&scheduled(), 1);
    scene.host.slow_store = true;
    scene.tick();
    while scene.calls.is_empty() {
        scene.host.shares = false;
        assert!(scene.host.answer_store());
        scene.settle();
    }
    scene.only_call();
}

#[test]
fn unknown_kids_start_one_fetch_per_cool_down_over_all_workers() {
    let mut fleet = Fleet::new(&scheduled(), 4);
    fleet.start(&["p256-a"]);
    let mut fetches: Vec<u64> = Vec::new();
    for number in 0..600 {
        fleet.pass(TICK);
        let position = usize::try_from(number % 4).unwrap();
        fleet.sites[position].ask(&stranger(number));
        for (position, call) in fleet.calls() {
            fetches.push(number * TICK);
            fleet.sites[position].publish(&call, &["p256-a"]);
        }
    }
    assert_eq!(fetches.len(), 10, "{fetches:?}");
    let apart = |pair: &[u64]| pair[1] - pair[0];
    assert!(fetches.windows(2).all(|pair| apart(pair) >= COOL_DOWN));
}

#[test]
fn without_sharing_each_worker_has_a_cool_down_of_its_own() {
    let mut fleet = Fleet::new(&fetched(json!({"share": false})), 2);
    fleet.tick();
    assert_eq!(fleet.publish(&["p256-a"]), 2);
    fleet.pass(1_000);
    for scene in &mut fleet.sites {
        scene.ask(&stranger(1));
    }
    assert_eq!(fleet.calls().len(), 2);
}

#[test]
fn a_demand_of_one_worker_serves_those_who_wait_at_another() {
    let mut fleet = Fleet::new(&scheduled(), 2);
    fleet.start(&["p256-a"]);
    fleet.pass(1_000);
    let first = fleet.sites[0].ask(&by("p256-b"));
    let second = fleet.sites[1].ask(&by("p256-b"));
    let (position, call) = fleet.only_call();
    assert_eq!(position, 0);
    fleet.sites[0].publish(&call, &["p256-a", "p256-b"]);
    fleet.tick();
    assert_eq!(fleet.sites[0].code(first), ALLOWED);
    assert_eq!(fleet.sites[1].code(second), ALLOWED);
}

#[test]
fn a_demand_of_one_worker_settles_what_came_to_another_before_it() {
    let mut fleet = Fleet::new(&scheduled(), 2);
    fleet.start(&["p256-a"]);
    fleet.pass(1_000);
    // The same token at both, and another one later.
    let first = fleet.sites[0].ask(&stranger(1));
    let second = fleet.sites[1].ask(&stranger(1));
    for scene in &mut fleet.sites {
        scene.host.pass(10);
    }
    let late = fleet.sites[1].ask(&stranger(2));
    let (_, call) = fleet.only_call();
    fleet.sites[0].publish(&call, &["p256-a"]);
    fleet.tick();
    assert_eq!(fleet.sites[0].code(first), "unknown_key");
    assert_eq!(fleet.sites[1].code(second), "unknown_key");
    // It came after that document was asked for, and nobody asks for another one yet.
    assert_eq!(fleet.sites[1].code(late), "key_pending");
    // Until the cool-down ends, which the other worker has begun.
    fleet.pass(29_500);
    assert_eq!(fleet.calls().len(), 0);
    fleet.pass(TICK);
    assert_eq!(fleet.publish(&["p256-a"]), 1);
    fleet.tick();
    assert_eq!(fleet.sites[1].verdict(&stranger(2)), "unknown_key");
}

#[test]
fn the_failures_of_one_worker_are_those_of_all() {
    let mut fleet = Fleet::new(&scheduled(), 3);
    fleet.tick();
    let mut spans = Vec::new();
    let step = 50;
    for _ in 0..4 {
        let (position, call) = fleet.only_call();
        fleet.sites[position].fail(&call);
        let mut passed = 0;
        let call = loop {
            fleet.pass_in(step, step);
            passed += step;
            if let Some(call) = fleet.calls().pop() {
                break call;
            }
        };
        let (position, call) = call;
        fleet.sites[position].calls.push(call);
        spans.push(passed);
    }
    for (span, expected) in spans.into_iter().zip([1_000, 2_000, 4_000, 8_000]) {
        about(span, expected, step);
    }
    assert_eq!(fleet.lease().failures, 4);
    assert_eq!(fleet.publish(&["p256-a"]), 1);
    fleet.tick();
    assert_eq!(fleet.lease().failures, 0);
    for scene in &mut fleet.sites {
        assert_eq!(scene.verdict(&by("p256-a")), ALLOWED);
    }
}

#[test]
fn a_holder_that_died_is_replaced_when_its_time_is_up() {
    let mut fleet = Fleet::new(&scheduled(), 3);
    fleet.tick();
    let (position, _) = fleet.only_call();
    assert_eq!(position, 0);
    drop(fleet.sites.remove(0));
    // Whoever waits meanwhile waits for nobody, and is told so.
    let stream = fleet.sites[0].ask(&by("p256-a"));
    assert_eq!(fleet.sites[0].code(stream), WAITS);
    fleet.pass_in(TICK_WAITING, WAIT);
    assert_eq!(fleet.sites[0].code(stream), "keys_unavailable");
    fleet.pass_in(TICK_WAITING, LONGEST - WAIT - TICK_WAITING);
    assert_eq!(fleet.calls().len(), 0);
    fleet.pass_in(TICK_WAITING, TICK_WAITING);
    assert_eq!(fleet.publish(&["p256-a"]), 1);
    fleet.tick();
    for scene in &mut fleet.sites {
        assert_eq!(scene.verdict(&by("p256-a")), ALLOWED);
    }
}

#[test]
fn a_holder_that_is_slower_than_it_is_believed_takes_nothing_back() {
    let mut fleet = Fleet::new(&scheduled(), 2);
    fleet.tick();
    let (_, slow) = fleet.only_call();
    // Its host stands still, the other one goes on.
    fleet.sites[1].pass_in(TICK_WAITING, LONGEST);
    let (position, call) = fleet.only_call();
    assert_eq!(position, 1);
    fleet.sites[1].host.pass(ROUND_TRIP);
    fleet.sites[1].publish(&call, &["p256-a", "p256-b"]);
    let newer = fleet.document();
    // The slow one's answer is good, and older.
    fleet.sites[0].host.pass(LONGEST + ROUND_TRIP);
    fleet.sites[0].publish(&slow, &["p256-a"]);
    assert_eq!(fleet.document(), newer);
    assert_eq!(fleet.lease().fetched, newer.edition.asked.mono);
    fleet.tick();
    for scene in &mut fleet.sites {
        assert_eq!(scene.verdict(&by("p256-b")), ALLOWED);
    }
    // Nor does its failure end the fetch of somebody else.
    let mut fleet = Fleet::new(&scheduled(), 2);
    fleet.tick();
    let (_, slow) = fleet.only_call();
    fleet.sites[1].pass_in(TICK_WAITING, LONGEST);
    let (_, call) = fleet.only_call();
    fleet.sites[0].host.pass(LONGEST);
    fleet.sites[0].fail(&slow);
    let lease = fleet.lease();
    assert_ne!(lease.holder, 0);
    assert_eq!(lease.failures, 0);
    fleet.sites[1].publish(&call, &["p256-a"]);
    assert_eq!(fleet.lease().holder, 0);
}

// Configurations that come and go

#[test]
fn a_root_that_goes_gives_its_lease_back() {
    let mut fleet = Fleet::new(&scheduled(), 2);
    fleet.tick();
    let (position, lost) = fleet.only_call();
    assert_eq!(position, 0);
    fleet.sites[0].drop_root(ROOT);
    assert_eq!(fleet.lease().holder, 0);
    assert_eq!(fleet.calls().len(), 0);
    // The next one begins at its next tick, and a late answer is nobody's.
    fleet.pass(TICK);
    let (position, call) = fleet.only_call();
    assert_eq!(position, 1);
    fleet.sites[0].publish(&lost, &["p256-b"]);
    fleet.sites[1].publish(&call, &["p256-a"]);
    assert_eq!(fleet.sites[1].verdict(&by("p256-a")), ALLOWED);
    assert_eq!(fleet.lease().failures, 0, "it was nobody's fault");
}

#[test]
fn a_root_that_goes_leaves_its_fetch_to_the_one_that_stays() {
    for stays in [1, 2] {
        let mut scene = Scene::alone(&scheduled(), 1);
        scene.tick();
        let lost = scene.only_call();
        scene.load(2, &scheduled());
        assert_eq!(scene.calls.len(), 0, "one fetch serves both");
        let stream = scene.ask_of(stays, &Request::bearing(&by("p256-a")));
        let gone = 3 - stays;
        scene.drop_root(gone);
        assert_eq!(scene.code(stream), WAITS);
        if gone == lost.root.0 {
            // Its call ends with it; the other one makes the call anew, at once.
            let call = scene.only_call();
            assert_eq!(call.root.0, stays);
            scene.publish(&lost, &["p256-b"]);
            assert_eq!(scene.code(stream), WAITS);
            scene.publish(&call, &["p256-a"]);
        } else {
            assert_eq!(scene.calls.len(), 0);
            scene.publish(&lost, &["p256-a"]);
        }
        assert_eq!(scene.code(stream), ALLOWED);
    }
}

#[test]
fn a_new_configuration_has_the_keys_of_the_old_one() {
    let mut scene = Scene::alone(&scheduled(), 1);
    scene.start(&["p256-a"]);
    assert_eq!(scene.verdict(&stranger(1)), WAITS);
    let call = scene.only_call();
    scene.fail(&call);
    // Other rules, and the same way to the same issuer's keys.
    let mut other = scheduled();
    other["providers"][0]["name"] = json!("renamed");
    other["providers"][0]["clock_skew"] = json!("5s");
    scene.load(2, &other);
    let request = Request::bearing(&by("p256-a"));
    let stream = scene.ask_of(2, &request);
    assert_eq!(scene.code(stream), ALLOWED);
    // And after the old one has gone.
    scene.drop_root(ROOT);
    scene.pass(1_000);
    let stream = scene.ask_of(2, &request);
    assert_eq!((scene.code(stream), scene.calls.len()), (ALLOWED, 0));
    // The cool-down goes on: what was booked comes at its end, once.
    scene.pass(COOL_DOWN);
    let call = scene.only_call();
    assert_eq!(call.root.0, 2);
    scene.publish(&call, &["p256-a"]);
    // It remembers who came first at the old one.
    let stream = scene.ask_of(2, &Request::bearing(&stranger(1)));
    assert_eq!(scene.code(stream), "unknown_key");
}

#[test]
fn keys_outlive_the_moment_in_which_no_configuration_names_them() {
    let mut scene = Scene::alone(&scheduled(), 1);
    scene.start(&["p256-a"]);
    scene.drop_root(ROOT);
    scene.pass(1_000);
    scene.load(2, &scheduled());
    scene.tick();
    assert_eq!(scene.calls.len(), 0);
    let stream = scene.ask_of(2, &Request::bearing(&by("p256-a")));
    assert_eq!(scene.code(stream), ALLOWED);
}

#[test]
fn another_way_or_another_issuer_is_another_source() {
    for patch in [
        json!({"issuer": "https://elsewhere"}),
        json!({"jwks": {"uri": "https://login.example.com/other"}}),
        json!({"jwks": {"cluster": "other"}}),
    ] {
        let mut scene = Scene::alone(&scheduled(), 1);
        scene.start(&["p256-a"]);
        let mut other = scheduled();
        merge(&mut other["providers"][0], patch.clone());
        scene.load(2, &other);
        scene.tick();
        let call = scene.only_call();
        assert_eq!(call.root.0, 2, "{patch}");
        let token = match patch.get("issuer") {
            Some(issuer) => Token::new().claim("iss", issuer.clone()).build(),
            None => by("p256-a"),
        };
        let stream = scene.ask_of(2, &Request::bearing(&token));
        assert_eq!(scene.code(stream), WAITS, "{patch}");
        scene.publish(&call, &["p256-a"]);
        assert_eq!(scene.code(stream), ALLOWED, "{patch}");
        assert_eq!(scene.host.store.borrow().keys().len(), 4, "{patch}");
    }
}

#[test]
fn a_new_interval_plans_anew() {
    let mut scene = Scene::alone(&scheduled(), 1);
    scene.start(&["p256-a"]);
    scene.load(2, &fetched(json!({"refresh_interval": "1m"})));
    about(ROUND_TRIP + scene.until_call(TICK, 60_000), 48_000, TICK);
}

#[test]
fn sharing_can_end_and_begin_with_a_configuration() {
    let mut fleet = Fleet::new(&scheduled(), 2);
    fleet.tick();
    // The first one fetches; the second one is to share no more.
    let (position, call) = fleet.only_call();
    assert_eq!(position, 0);
    fleet.sites[1].load(2, &fetched(json!({"share": false})));
    fleet.sites[1].tick();
    let own = fleet.sites[1].only_call();
    fleet.sites[0].publish(&call, &["p256-a"]);
    fleet.sites[1].publish(&own, &["p256-b"]);
    fleet.pass(TICK);
    assert_eq!(fleet.sites[0].verdict(&by("p256-b")), WAITS);
    let stream = fleet.sites[1].ask_of(2, &Request::bearing(&by("p256-b")));
    assert_eq!(fleet.sites[1].code(stream), ALLOWED);
}

// The shared entries

#[test]
fn a_newer_document_in_the_store_is_adopted_and_an_older_one_overwritten() {
    let mut fleet = Fleet::new(&scheduled(), 2);
    fleet.start(&["p256-a"]);
    fleet.pass(10_000);
    let shared = fleet.document();
    let write = |fleet: &Fleet, asked: u64, names: &[&str]| {
        let other = Document {
            edition: Edition {
                number: 1,
                asked: at(asked),
            },
            max_age: None,
            tag: None,
            bytes: document(names).into(),
        };
        fleet
            .store
            .borrow_mut()
            .put("/document/", &other.to_bytes());
        other
    };
    // Asked for since, though its number is no higher.
    let newer = write(&fleet, 9_000, &["p256-a", "p256-b"]);
    fleet.tick();
    for scene in &mut fleet.sites {
        assert_eq!(scene.verdict(&by("p256-b")), ALLOWED);
    }
    assert_eq!(fleet.document(), newer);
    // Older ones are overwritten, however high their number, and so is what is none.
    fleet
        .store
        .borrow_mut()
        .put("/document/", &shared.to_bytes());
    fleet.tick();
    assert_eq!(fleet.document().bytes, newer.bytes);
    assert!(fleet.document().edition.number > shared.edition.number);
    for spoilt in [&b""[..], b"scopejw2", b"anything"] {
        fleet.store.borrow_mut().put("/document/", spoilt);
        fleet.tick();
        assert_eq!(fleet.document().bytes, newer.bytes);
        assert_eq!(fleet.document().edition.asked, newer.edition.asked);
    }
    // One from the future is none.
    write(&fleet, 1_000_000, &["p256-a"]);
    fleet.tick();
    assert_eq!(fleet.document().bytes, newer.bytes);
    for scene in &mut fleet.sites {
        assert_eq!(scene.verdict(&by("p256-b")), ALLOWED);
    }
    // All that without a fetch.
    assert_eq!(fleet.calls().len(), 0);
}

#[test]
fn an_answer_that_is_older_than_what_came_meanwhile_takes_nothing_back() {
    let mut fleet = Fleet::new(&scheduled(), 1);
    fleet.start(&["p256-a"]);
    fleet.pass(1_000);
    let stream = fleet.sites[0].ask(&by("p256-b"));
    let (_, call) = fleet.only_call();
    fleet.pass(1_000);
    let newer = Document {
        edition: Edition {
            number: 9,
            asked: at(fleet.now().as_millis() - UPTIME),
        },
        max_age: None,
        tag: None,
        bytes: document(&["p256-a", "p256-b"]).into(),
    };
    fleet
        .store
        .borrow_mut()
        .put("/document/", &newer.to_bytes());
    fleet.tick();
    assert_eq!(fleet.sites[0].code(stream), ALLOWED);
    fleet.sites[0].publish(&call, &["p256-a"]);
    assert_eq!(fleet.sites[0].verdict(&by("p256-b")), ALLOWED);
    assert_eq!(fleet.document(), newer);
    fleet.pass(1_000);
    assert_eq!(fleet.sites[0].verdict(&by("p256-b")), ALLOWED);
    assert_eq!(fleet.lease().holder, 0);
}

/// A worker gives its lease back, and dies before it has written its document.
#[test]
fn a_document_that_is_told_of_and_never_seen_is_waited_for_for_a_time() {
    let mut fleet = Fleet::new(&scheduled(), 1);
    fleet.start(&["p256-a"]);
    fleet.pass(1_000);
    let told = Lease {
        fetched: fleet.now(),
        ..fleet.lease()
    };
    fleet.store.borrow_mut().put("/lease/", &told.to_bytes());
    fleet.pass(1_000);
    let stream = fleet.sites[0].ask(&stranger(1));
    assert_eq!(fleet.sites[0].code(stream), WAITS);
    fleet.pass(3_000);
    assert_eq!(fleet.sites[0].code(stream), "key_pending");
    fleet.pass(117_000);
    assert_eq!(fleet.calls().len(), 0);
    fleet.pass(2_000);
    assert_eq!(fleet.publish(&["p256-a"]), 1);
    assert_eq!(fleet.sites[0].verdict(&stranger(1)), "unknown_key");
}

#[test]
fn a_lease_that_is_spoilt_keeps_nobody_from_fetching() {
    let forever = Monotonic::from_millis(u64::MAX);
    let hostile = Lease {
        holder: 4_711,
        until: forever,
        failures: u64::MAX,
        retry: forever,
        demanded: forever,
        fetched: forever,
        number: u64::MAX,
    };
    for spoilt in [&b""[..], b"scopele3", b"anything", &hostile.to_bytes()] {
        let mut fleet = Fleet::new(&scheduled(), 2);
        fleet.start(&["p256-a"]);
        fleet.pass(1_000);
        fleet.store.borrow_mut().put("/lease/", spoilt);
        fleet.sites[1].ask(&by("p256-b"));
        assert_eq!(fleet.publish(&["p256-a", "p256-b"]), 1);
        fleet.tick();
        assert_eq!(fleet.sites[0].verdict(&by("p256-b")), ALLOWED);
    }
}

#[test]
fn a_shared_document_is_checked_as_if_the_provider_had_sent_it() {
    let mut fleet = Fleet::new(&scheduled(), 2);
    fleet.start(&["p256-a"]);
    fleet.pass(10_000);
    for bytes in [&b"{\"keys\":[]}"[..], b"<html>", b""] {
        let asked = fleet.now().as_millis() - UPTIME;
        let spoilt = Document {
            edition: Edition {
                number: 99,
                asked: at(asked),
            },
            max_age: None,
            tag: None,
            bytes: bytes.into(),
        };
        fleet
            .store
            .borrow_mut()
            .put("/document/", &spoilt.to_bytes());
        fleet.pass(5_000);
        for scene in &mut fleet.sites {
            assert_eq!(scene.verdict(&by("p256-a")), ALLOWED);
        }
    }
    for scene in &fleet.sites {
        // Once for each, not once a tick.
        assert_eq!(
            scene.said("shared keys cannot be used"),
            3,
            "{:?}",
            scene.lines
        );
    }
    // The next good one is shared again.
    fleet.sites[0].ask(&by("p256-b"));
    assert_eq!(fleet.publish(&["p256-a", "p256-b"]), 1);
    fleet.tick();
    assert_eq!(fleet.sites[1].verdict(&by("p256-b")), ALLOWED);
}

#[test]
fn what_one_configuration_cannot_use_another_one_may() {
    // The second worker is behind: its configuration allows RSA alone.
    let mut narrow = scheduled();
    narrow["providers"][0]["algorithms"] = json!(["RS256"]);
    let mut fleet = Fleet::new(&scheduled(), 2);
    fleet.sites[1].drop_root(ROOT);
    fleet.sites[1].load(ROOT, &narrow);
    fleet.start(&["p256-a"]);
    assert_eq!(fleet.sites[1].said("shared keys cannot be used"), 1);
    // It asks for itself, and fails.
    let (position, call) = fleet.only_call();
    assert_eq!(position, 1);
    fleet.sites[1].publish(&call, &["p256-a"]);
    assert_eq!(fleet.sites[1].fetches, ["unusable"]);
    // Its configuration comes, and finds what was passed over.
    fleet.sites[1].load(2, &scheduled());
    fleet.sites[1].drop_root(ROOT);
    fleet.pass(TICK);
    let stream = fleet.sites[1].ask_of(2, &Request::bearing(&by("p256-a")));
    assert_eq!(fleet.sites[1].code(stream), ALLOWED);
}

// A store that takes its time

impl Fleet {
    fn slow(&mut self) {
        for scene in &mut self.sites {
            scene.host.slow_store = true;
        }
    }

    /// Answers one read or swap of each worker, in turns, until none asks any more.
    fn interleave(&mut self) {
        let mut rounds = 0;
        while self.sites.iter_mut().any(|scene| scene.host.asks_store()) {
            for scene in &mut self.sites {
                scene.host.answer_store();
                scene.settle();
            }
            rounds += 1;
            assert!(rounds < 100, "they go on for ever");
        }
    }
}

#[test]
fn of_two_claims_at_once_one_is_taken() {
    for workers in [2, 3, 8] {
        let mut fleet = Fleet::new(&scheduled(), workers);
        fleet.start(&["p256-a"]);
        fleet.pass(1_000);
        fleet.slow();
        let streams: Vec<u64> = fleet
            .sites
            .iter_mut()
            .map(|scene| scene.ask(&by("p256-b")))
            .collect();
        for (scene, stream) in fleet.sites.iter_mut().zip(&streams) {
            assert_eq!(scene.code(*stream), WAITS);
            assert!(scene.host.asks_store());
        }
        fleet.interleave();
        assert_eq!(fleet.publish(&["p256-a", "p256-b"]), 1);
        fleet.interleave();
        fleet.tick();
        fleet.interleave();
        for (scene, stream) in fleet.sites.iter().zip(&streams) {
            assert_eq!(scene.code(*stream), ALLOWED);
        }
        assert_eq!(fleet.lease().holder, 0);
    }
}

#[test]
fn of_two_scheduled_claims_at_once_one_is_taken() {
    let mut fleet = Fleet::new(&scheduled(), 4);
    fleet.start(&["p256-a"]);
    fleet.slow();
    let mut fetches = 0;
    for _ in 0..1_100 {
        for scene in &mut fleet.sites {
            scene.host.pass(1_000);
        }
        fleet.tick();
        fleet.interleave();
        let calls = fleet.publish(&["p256-a"]);
        assert!(calls <= 1);
        fetches += calls;
        fleet.interleave();
    }
    assert!((2..=3).contains(&fetches), "{fetches}");
}

/// The first write of an entry is a swap as well, with nothing.
#[test]
fn of_two_first_claims_at_once_one_is_taken() {
    let mut fleet = Fleet::new(&scheduled(), 2);
    fleet.slow();
    fleet.tick();
    fleet.interleave();
    let calls = fleet.calls();
    assert_eq!(calls.len(), 1, "{calls:?}");
    for scene in &mut fleet.sites {
        scene.host.pass(ROUND_TRIP);
    }
    for (position, call) in &calls {
        fleet.sites[*position].publish(call, &["p256-a"]);
    }
    fleet.interleave();
    for _ in 0..4 {
        fleet.tick();
        fleet.interleave();
    }
    assert_eq!(fleet.lease().holder, 0);
    for scene in &mut fleet.sites {
        assert_eq!(scene.verdict(&by("p256-a")), ALLOWED);
    }
    assert_eq!(fleet.calls().len(), 0);
}

/// A request that waits for another worker's fetch learns within a tick that it has failed.
#[test]
fn the_failure_of_one_worker_is_heard_by_those_who_wait_at_another() {
    let mut fleet = Fleet::new(&scheduled(), 2);
    fleet.start(&["p256-a"]);
    fleet.pass(1_000);
    let first = fleet.sites[0].ask(&stranger(1));
    let second = fleet.sites[1].ask(&stranger(1));
    assert_eq!(fleet.sites[1].code(second), WAITS);
    let (position, call) = fleet.only_call();
    fleet.sites[position].fail(&call);
    fleet.pass(500);
    assert_eq!(fleet.sites[0].code(first), "key_pending");
    assert_eq!(fleet.sites[1].code(second), "key_pending");
}

/// In whatever order the answers of a store arrive, and however late, workers end up with the
/// newest document, and nobody holds the lease.
#[test]
fn workers_agree_in_whatever_order_the_store_answers() {
    for seed in 0..200_u64 {
        let mut fleet = Fleet::new(&scheduled(), 3);
        fleet.start(&["p256-a"]);
        fleet.pass(1_000);
        fleet.slow();
        let mut state = seed;
        let mut roll = |most: u64| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % most
        };
        let mut asked = 0;
        for number in 0..200 {
            let position = usize::try_from(roll(3)).unwrap();
            match roll(5) {
                0 => {
                    fleet.sites[position].ask(&stranger(seed * 1_000 + number));
                }
                1 => {
                    for scene in &mut fleet.sites {
                        scene.host.pass(300);
                    }
                    fleet.sites[position].tick();
                }
                2 => {
                    for (position, call) in fleet.calls() {
                        asked += 1;
                        if roll(3) == 0 {
                            fleet.sites[position].fail(&call);
                        } else {
                            fleet.sites[position].publish(&call, &["p256-a"]);
                        }
                    }
                }
                _ => {
                    fleet.sites[position].host.answer_store();
                    fleet.sites[position].settle();
                }
            }
        }
        // At the end all of it is answered.
        for _ in 0..5 {
            fleet.interleave();
            asked += fleet.publish(&["p256-a"]);
            fleet.interleave();
            for scene in &mut fleet.sites {
                scene.host.pass(LONGEST / 4);
            }
            fleet.tick();
        }
        fleet.interleave();
        assert!(asked <= 3, "{seed}: {asked} fetches in less than 60 s");
        // One whose answer was given up on ends by time.
        let lease = fleet.lease();
        assert_eq!(lease.other(0, fleet.now()), None, "{seed}");
        let newest = fleet.document().edition.asked.mono;
        assert_eq!(fleet.lease().fetched, newest, "{seed}");
        for scene in &mut fleet.sites {
            assert_eq!(scene.host.worker().waiting(), 0, "{seed}");
            let gates: Vec<Monotonic> = scene
                .host
                .worker()
                .gates()
                .filter_map(|(_, gate)| {
                    let trusted = gate.authenticator().providers().first()?;
                    match &trusted.keys {
                        scopegate::authn::key_cache::Keys::Fetched(cache) => {
                            Some(cache.edition()?.asked.mono)
                        }
                        scopegate::authn::key_cache::Keys::Inline(_) => None,
                    }
                })
                .collect();
            assert_eq!(gates, [newest], "{seed}");
        }
    }
}

#[test]
fn a_read_of_the_store_that_is_never_answered_holds_up_nobody_for_good() {
    let mut fleet = Fleet::new(&scheduled(), 1);
    fleet.slow();
    for lost in 0..12 {
        // So many answers come, then one is lost.
        let mut scene = Scene::alone(&scheduled(), 1);
        scene.host.slow_store = true;
        scene.tick();
        for _ in 0..lost {
            scene.host.answer_store();
            scene.settle();
            for call in std::mem::take(&mut scene.calls) {
                scene.publish(&call, &["p256-a"]);
            }
        }
        scene.host.lose_store();
        scene.host.slow_store = false;
        scene.pass(2 * LONGEST);
        for call in std::mem::take(&mut scene.calls) {
            scene.publish(&call, &["p256-a"]);
        }
        assert_eq!(scene.verdict(&by("p256-a")), ALLOWED, "{lost}");
        // And keys are refreshed from then on.
        scene.until_call(TICK, 600_000);
    }
}

#[test]
fn a_key_under_a_new_name_is_no_other_key() {
    // Two documents in a row; the tokens of a key that stays are not verified anew.
    let mut scene = Scene::alone(&scheduled(), 1);
    scene.start(&["p256-a"]);
    assert_eq!(scene.verdict(&by("p256-a")), ALLOWED);
    scene.until_call(TICK, 600_000);
    let call = scene.only_call();
    let renamed = jwk_with("p256-a", json!({"kid": "p256-z"}));
    scene.answer(&call, "200", &jwks(&[renamed]));
    assert_eq!(scene.said("in use"), 2, "that is a change");
    assert_ne!(scene.verdict(&by("p256-a")), ALLOWED);
}

/// With the operator's own credential for the key endpoint, as Kubernetes requires one.
fn credentialed(mut config: Value) -> Value {
    let jwks = json!({"jwks": {"authorization": {"environment": "IDP_TOKEN"}}});
    merge(&mut config["providers"][0], jwks);
    config
}

#[test]
fn the_credential_for_the_keys_is_shown_to_their_authority_and_never_logged() {
    let bearer = Some(&b"Bearer s3cret"[..]);
    let mut scene = Scene::alone(&credentialed(scheduled()), 1);
    scene.tick();
    let call = scene.only_call();
    assert_eq!(call.header("authorization"), bearer);
    scene.answer(&call, "403", b"");
    let mut plain = Scene::alone(&scheduled(), 1);
    plain.tick();
    assert_eq!(plain.only_call().header("authorization"), None);

    // A new configuration without one shows none, and the keys stay.
    scene.pass(2_000);
    let call = scene.only_call();
    assert_eq!(call.header("authorization"), bearer);
    scene.publish(&call, &["p256-a"]);
    assert!(
        scene.lines.iter().any(|(_, line)| line.contains("403")),
        "{:?}",
        scene.lines
    );
    for (_, line) in &scene.lines {
        assert!(!line.contains("s3cret"), "{line}");
    }
}

#[test]
fn a_discovered_address_elsewhere_gets_no_credential() {
    let mut config = credentialed(discovering());
    let hosts = json!({"jwks": {"hosts": ["10.0.0.1:6443", "login.example.com:8443"]}});
    merge(&mut config["providers"][0], hosts);
    for (keys, shown) in [
        (KEYS, true),
        ("https://10.0.0.1:6443/keys/1", false),
        ("https://login.example.com:8443/keys/1", false),
    ] {
        let mut scene = Scene::alone(&config, 1);
        scene.tick();
        let call = scene.only_call();
        assert_eq!(call.header("authorization"), Some(&b"Bearer s3cret"[..]));
        let call = discover(&mut scene, &call, keys);
        assert_eq!(call.header("authorization").is_some(), shown, "{keys}");
    }
}
