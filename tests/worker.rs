//! A worker in unusual situations: configurations that come and go, hosts with faults,
//! questions that nobody answers, and what it counts and records in all of them.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use crate::common::{ISSUER, NOW, Request, Token, UPTIME, config, fetched, jwk, jwks, merge};
use crate::host::{Done, Host, Store};
use scopegate::authn::key_lease::Document;
use scopegate::authn::keys::InModule;
use scopegate::words::time::Monotonic;
use scopegate::worker::driver::{Driver, Performed, Proxy};
use scopegate::worker::{
    Action, CallId, CallOutcome, Effect, Event, HeaderBlock, Level, Reading, ResponseHead, RootId,
    StreamId, Worker,
};
use serde_json::{Value, json};

fn host(store: &Rc<RefCell<Store>>, seed: u64) -> Host {
    Host::new(Box::new(InModule), store, NOW, UPTIME, seed)
}

fn alone() -> Host {
    host(&Rc::default(), 1)
}

fn load(host: &mut Host, root: u64, config: &Value) {
    let good = host.configure(root, &config.to_string(), &[]);
    assert!(good, "{:?}", host.take_done());
}

fn set(names: &[&str]) -> Vec<u8> {
    let keys: Vec<Value> = names.iter().map(|name| jwk(name)).collect();
    jwks(&keys)
}

fn by(key: &'static str, algorithm: &'static str) -> String {
    Token::new()
        .claim("exp", NOW + 1_000_000)
        .by(key, algorithm)
        .build()
}

/// What has become of a stream so far.
fn codes(done: &[Done], stream: u64) -> Vec<&'static str> {
    let of = |done: &Done| match done {
        Done::Decision(known, code) if known.0 == stream => Some(*code),
        _ => None,
    };
    done.iter().filter_map(of).collect()
}

fn ask(host: &mut Host, stream: u64, root: u64, request: &Request) -> Vec<&'static str> {
    host.open(stream, root);
    host.head(stream, &request.fields(), true);
    codes(&host.take_done(), stream)
}

fn ticks(host: &mut Host, roots: &[u64], millis: u64) {
    let mut left = millis;
    while left > 0 {
        host.pass(500);
        for root in roots {
            host.tick(*root);
        }
        left = left.saturating_sub(500);
    }
}

fn start(host: &mut Host, root: u64, names: &[&str]) {
    host.tick(root);
    let calls = host.take_calls();
    assert_eq!(calls.len(), 1);
    host.pass(100);
    host.answer(&calls[0], "200", &set(names));
    host.take_done();
}

/// A configuration with a projects API whose directory is asked over HTTP.
fn projects(patch: Value) -> Value {
    let mut config = config();
    config["projects"] = json!({
        "directory": {"http": {
            "cluster": "one", "authority": "one", "path": "/{project}/{resource}",
        }},
    });
    merge(&mut config, patch);
    config
}

fn project(token: &str, resource: &str) -> Request {
    Request::bearing(token).set(
        ":path",
        format!("/api/v1/projects/p/resources/{resource}/logs"),
    )
}

/// A configuration that cannot use the document at hand has no keys, and must fetch some:
/// the provider may have rotated to the algorithm that the new configuration allows.
#[test]
fn a_configuration_that_cannot_use_the_document_at_hand_fetches() {
    for share in [true, false] {
        let of = |algorithm: &str| {
            let mut config = fetched(json!({"share": share, "refresh_interval": "24h"}));
            config["providers"][0]["algorithms"] = json!([algorithm]);
            config
        };
        let mut host = alone();
        load(&mut host, 1, &of("ES256"));
        start(&mut host, 1, &["p256-a"]);
        // The provider goes over to ES384, and so does the configuration.
        load(&mut host, 2, &of("ES384"));
        host.root_gone(1);
        let request = Request::bearing(&by("p384-a", "ES384"));
        let mut seen = Vec::new();
        for stream in 1..=20 {
            seen.extend(ask(&mut host, stream, 2, &request));
            ticks(&mut host, &[2], 60_000);
            seen.extend(codes(&host.take_done(), stream));
            for call in host.take_calls() {
                host.answer(&call, "200", &set(&["p384-a"]));
            }
        }
        assert!(
            seen.contains(&"allowed"),
            "share {share}: twenty minutes, a healthy provider, and: {seen:?}"
        );
    }
}

/// Two configurations share a worker. The newer one refreshes daily; for the older one, keys of
/// more than an hour are too old.
#[test]
fn keys_that_one_configuration_calls_too_old_are_fetched_whatever_another_one_thinks() {
    for share in [true, false] {
        let mut host = alone();
        load(
            &mut host,
            1,
            &fetched(json!({"share": share, "refresh_interval": "1m", "max_stale": "1h"})),
        );
        load(
            &mut host,
            2,
            &fetched(json!({"share": share, "refresh_interval": "24h"})),
        );
        start(&mut host, 1, &["p256-a"]);
        let request = Request::bearing(&by("p256-a", "ES256"));
        assert_eq!(ask(&mut host, 1, 1, &request), ["allowed"]);
        let mut seen = Vec::new();
        for stream in 2..=100 {
            ticks(&mut host, &[1, 2], 60_000);
            for call in host.take_calls() {
                host.answer(&call, "200", &set(&["p256-a"]));
            }
            seen.extend(codes(&host.take_done(), stream - 1));
            seen.extend(ask(&mut host, stream, 1, &request));
        }
        let refused = seen.iter().filter(|code| **code != "allowed").count();
        assert_eq!(refused, 0, "share {share}: a healthy provider, {seen:?}");
    }
}

/// `jwks.hosts` says from which hosts keys may come. A document that another configuration has
/// fetched from elsewhere must not be adopted.
#[test]
fn keys_from_a_host_that_is_not_listed_are_not_adopted_from_the_store() {
    let discovering = |hosts: Value| {
        let mut config = fetched(json!({"discovery": true, "hosts": hosts}));
        merge(&mut config["providers"][0], json!({"jwks": {"uri": null}}));
        config
    };
    let store = Rc::default();
    let mut host = host(&store, 1);
    load(
        &mut host,
        1,
        &discovering(json!(["keys.elsewhere.example"])),
    );
    host.tick(1);
    let call = host.take_calls().remove(0);
    let found = json!({"issuer": ISSUER, "jwks_uri": "https://keys.elsewhere.example/certs"});
    host.answer(&call, "200", found.to_string().as_bytes());
    let call = host.take_calls().remove(0);
    assert_eq!(
        call.header(":authority"),
        Some(&b"keys.elsewhere.example"[..])
    );
    host.answer(&call, "200", &set(&["p256-a"]));
    // The operator takes that host off the list.
    load(&mut host, 2, &discovering(json!([])));
    host.root_gone(1);
    host.take_done();
    host.pass(100);
    host.tick(2);
    let request = Request::bearing(&by("p256-a", "ES256"));
    let codes = ask(&mut host, 1, 2, &request);
    assert_ne!(codes, ["allowed"], "by a key of a host that is not listed");
}

/// An answer may never come. The same question is asked again, later.
#[test]
fn a_question_to_the_directory_that_was_never_answered_is_asked_again() {
    let mut host = alone();
    load(&mut host, 1, &projects(json!({})));
    host.tick(1);
    let request = project(&by("p256-a", "ES256"), "r");
    ask(&mut host, 1, 1, &request);
    assert_eq!(host.take_calls().len(), 1);
    // Nobody ever answers.
    ticks(&mut host, &[1], 600_000);
    assert_eq!(codes(&host.take_done(), 1), ["directory_unavailable"]);
    ask(&mut host, 2, 1, &request);
    assert_eq!(
        host.take_calls().len(),
        1,
        "ten minutes later nobody is asked"
    );
}

/// Requests that come and go must not leave an unlimited number of questions behind.
#[test]
fn questions_to_the_directory_are_bounded() {
    let mut host = alone();
    load(
        &mut host,
        1,
        &projects(json!({"limits": {"waiting_requests": 8}})),
    );
    host.tick(1);
    let token = by("p256-a", "ES256");
    for stream in 0..1_000 {
        ask(
            &mut host,
            stream,
            1,
            &project(&token, &format!("r{stream}")),
        );
        host.gone(stream);
    }
    let calls = host.take_calls();
    let held = calls.iter().filter(|call| host.awaits(call)).count();
    assert!(
        held <= 64,
        "{held} questions, each with a token, are on their way"
    );
}

/// Even without a wait, the directory is asked, as keys are fetched, so that the next try finds
/// its answer.
#[test]
fn without_a_wait_the_directory_is_asked_all_the_same() {
    let mut host = alone();
    load(&mut host, 1, &projects(json!({"limits": {"wait": "0s"}})));
    host.tick(1);
    let request = project(&by("p256-a", "ES256"), "r");
    assert_eq!(ask(&mut host, 1, 1, &request), ["directory_unavailable"]);
    let calls = host.take_calls();
    assert_eq!(
        calls.len(),
        1,
        "a projects API that can never answer anything"
    );
    host.answer(&calls[0], "200", b"");
    assert_eq!(ask(&mut host, 2, 1, &request), ["allowed"]);
}

/// `mode: report` passes no header on that only the gate may set. A head that cannot be read
/// completely cannot be cleaned.
#[test]
fn a_head_that_cannot_be_read_does_not_pass_in_report_mode() {
    let mut report = config();
    report["mode"] = json!("report");
    let mut host = alone();
    load(&mut host, 1, &report);
    host.tick(1);
    let good = Request::bearing(&by("p256-a", "ES256")).and("x-scopegate-backend", "mimir");
    let pairs = good.fields();
    let pairs: Vec<(&[u8], &[u8])> = pairs.iter().map(|(n, v)| (&n[..], &v[..])).collect();
    let whole = HeaderBlock::of(&pairs);
    let whole = whole.as_bytes();
    let wall = host.clocks.wall;
    for (stream, block, wall) in [
        (1, HeaderBlock::default(), wall),
        // The last header is cut off: it is in the request, and cannot be seen.
        (2, HeaderBlock::new(whole[..whole.len() - 4].into()), wall),
        // A host that hands out neither headers nor clocks (capability_restriction_config).
        (3, HeaderBlock::default(), None),
    ] {
        host.clocks.wall = wall;
        host.tick(1);
        host.take_done();
        host.open(stream, 1);
        let action = host.on(Event::Head {
            stream: StreamId(stream),
            headers: &block,
            end: true,
            peer: &|| None,
            entrance: &|| None,
        });
        let done = host.take_done();
        let cleaned = done
            .iter()
            .any(|done| matches!(done, Done::Remove(_, name) if name == b"x-scopegate-backend"));
        assert!(
            action == Action::Pause || cleaned,
            "{stream}: passes with x-scopegate-backend: mimir and its credential: {done:?}"
        );
    }
}

/// The answer of one configuration's directory does not count for the next configuration.
#[test]
fn an_answer_to_an_earlier_configuration_of_a_root_grants_nothing() {
    let mut host = alone();
    load(&mut host, 1, &projects(json!({})));
    host.tick(1);
    let request = project(&by("p256-a", "ES256"), "r");
    ask(&mut host, 1, 1, &request);
    let call = host.take_calls().remove(0);
    assert_eq!(call.cluster, "one");
    host.gone(1);
    let mut other = projects(json!({}));
    other["projects"]["directory"]["http"]["cluster"] = json!("two");
    load(&mut host, 1, &other);
    host.take_done();
    host.answer(&call, "200", b"");
    let codes = ask(&mut host, 2, 1, &request);
    assert_ne!(
        codes,
        ["allowed"],
        "the directory that is configured was never asked"
    );
}

/// A new configuration keeps the keys of every provider, also when the old one went first.
#[test]
fn a_configuration_of_many_providers_keeps_all_keys() {
    let mut many = fetched(json!({"share": false, "refresh_interval": "24h"}));
    let one = many["providers"][0].clone();
    let names: Vec<String> = (0..20).map(|number| format!("https://i{number}")).collect();
    let providers = names.iter().enumerate().map(|(number, issuer)| {
        let mut provider = one.clone();
        merge(
            &mut provider,
            json!({"name": format!("p{number}"), "issuer": issuer, "shared_groups": true}),
        );
        provider
    });
    many["providers"] = providers.collect();
    let mut host = alone();
    load(&mut host, 1, &many);
    host.tick(1);
    for call in host.take_calls() {
        host.answer(&call, "200", &set(&["p256-a"]));
    }
    host.root_gone(1);
    load(&mut host, 2, &many);
    host.take_done();
    host.tick(2);
    let fetches = host.take_calls().len();
    assert_eq!(fetches, 0, "keys were dropped and are fetched again");
}

/// A host whose clock is wrong is not called a thousand times a second.
#[test]
fn a_host_without_a_clock_is_asked_for_slower_ticks() {
    let mut host = alone();
    load(&mut host, 1, &config());
    host.clocks.wall = Some(0);
    for _ in 0..100 {
        host.tick(1);
    }
    let done = host.take_done();
    let period = done.iter().rev().find_map(|done| match done {
        Done::TickEvery(_, millis) => Some(*millis),
        _ => None,
    });
    assert!(period >= Some(100), "{period:?}");
}

/// The log does not blame the host for what the configuration has done.
#[test]
fn a_bad_configuration_is_no_host_without_ticks() {
    let mut host = alone();
    assert!(!host.configure(1, "{}", &[]));
    let asked = host.take_done();
    let ticks = asked.iter().any(|done| matches!(done, Done::TickEvery(..)));
    let request = Request::bearing(&by("p256-a", "ES256"));
    let mut lines = Vec::new();
    for stream in 0..10 {
        host.pass(2_000);
        host.open(stream, 1);
        host.head(stream, &request.fields(), true);
        for done in host.take_done() {
            if let Done::Log(Level::Error, line) = done {
                lines.push(line);
            }
        }
    }
    assert!(
        ticks || lines.is_empty(),
        "no ticks were asked for, and then: {lines:?}"
    );
}

/// Sources that no configuration names are bounded.
#[test]
fn a_root_that_is_configured_again_and_again_leaves_no_sources_behind() {
    let mut host = alone();
    for number in 0..500 {
        load(
            &mut host,
            1,
            &fetched(json!({"uri": format!("https://login.example.com/{number}")})),
        );
    }
    let sources = host.worker().leases().count();
    assert!(sources <= 65, "{sources}");
}

struct Response(u16);

impl ResponseHead for Response {
    fn status(&self) -> Option<u16> {
        Some(self.0)
    }
    fn details(&self) -> Box<[u8]> {
        Box::default()
    }
    fn request_id(&self) -> Box<[u8]> {
        Box::default()
    }
}

/// With `audit.log: all` every allowed request has a line, including one whose time is up.
#[test]
fn a_stream_that_ends_before_its_answer_has_its_record() {
    let mut all = config();
    all["audit"] = json!({"log": "all"});
    all["limits"] = json!({"stream_duration": "10s"});
    let mut host = alone();
    load(&mut host, 1, &all);
    host.tick(1);
    let tail = Request::bearing(&by("p256-a", "ES256"))
        .set(":path", "/loki/api/v1/tail?query={a=\"b\"}")
        .set("upgrade", "websocket");
    for ended in [false, true] {
        let stream = u64::from(ended) + 1;
        host.open(stream, 1);
        assert_eq!(host.head(stream, &tail.fields(), false), Action::Continue);
        if ended {
            ticks(&mut host, &[1], 20_000);
        }
        host.gone(stream);
        let done = host.take_done();
        let lines = done.iter().filter(|done| match done {
            Done::Log(Level::Info, line) => line.contains("\"decision\""),
            _ => false,
        });
        assert_eq!(codes(&done, stream), ["allowed"]);
        assert_eq!(lines.count(), 1, "ended here: {ended}");
    }
}

/// A worker that began its event a moment earlier does not overwrite what is newer.
#[test]
fn a_document_from_a_moment_ago_is_not_taken_for_one_from_the_future() {
    let store = Rc::default();
    let (mut one, mut other) = (host(&store, 1), host(&store, 2));
    for worker in [&mut one, &mut other] {
        load(worker, 1, &fetched(json!({})));
    }
    start(&mut one, 1, &["p256-a"]);
    other.pass(100);
    other.tick(1);
    // The other one has read its clocks for a tick, and is put off by its machine; the
    // first one asks 5 ms later, is answered in 10 ms, and publishes.
    one.pass(60_005);
    other.pass(60_000);
    let request = Request::bearing(&by("p256-b", "ES256"));
    ask(&mut one, 1, 1, &request);
    let calls = one.take_calls();
    assert_eq!(calls.len(), 1);
    one.pass(10);
    one.answer(&calls[0], "200", &set(&["p256-b"]));
    let newest = store.borrow().entry("/document/").unwrap().to_vec();
    other.tick(1);
    let left = store.borrow().entry("/document/").unwrap().to_vec();
    let asked = |entry: &[u8]| {
        let far = Monotonic::from_millis(u64::MAX);
        Document::parse(entry, far).unwrap().edition.asked.mono
    };
    assert_eq!(
        asked(&left),
        asked(&newest),
        "an older document has overwritten the newest one: a key that was withdrawn is back"
    );
}

/// Decisions counted equal streams decided.
#[test]
fn a_request_that_cannot_be_resumed_is_decided_once() {
    let mut host = alone();
    load(&mut host, 1, &fetched(json!({})));
    host.tick(1);
    let call = host.take_calls().remove(0);
    assert!(ask(&mut host, 1, 1, &Request::bearing(&by("p256-a", "ES256"))).is_empty());
    host.refuse(Some(Box::new(|done| matches!(done, Done::Resume(_)))));
    host.answer(&call, "200", &set(&["p256-a"]));
    let done = host.take_done();
    assert_eq!(codes(&done, 1).len(), 1, "{:?}", codes(&done, 1));
}

/// The bounds of the token cache are those of the configurations that serve.
#[test]
fn a_configuration_that_is_gone_takes_nobody_elses_cache_with_it() {
    use scopegate::authn::keys::{BadSignature, SignatureEngine, VerifyingKey};
    struct Counting(Arc<AtomicU32>);
    impl SignatureEngine for Counting {
        fn verify(&self, key: &VerifyingKey, input: &[u8], s: &[u8]) -> Result<(), BadSignature> {
            self.0.fetch_add(1, Relaxed);
            InModule.verify(key, input, s)
        }
    }
    let checks = Arc::new(AtomicU32::new(0));
    let engine = Box::new(Counting(Arc::clone(&checks)));
    let mut host = Host::new(engine, &Rc::default(), NOW, UPTIME, 1);
    load(&mut host, 1, &config());
    let mut other = config();
    other["limits"] = json!({"cached_tokens": 0});
    load(&mut host, 2, &other);
    host.root_gone(2);
    host.tick(1);
    host.take_done();
    let request = Request::bearing(&by("p256-a", "ES256"));
    for stream in 1..=10 {
        assert_eq!(ask(&mut host, stream, 1, &request), ["allowed"]);
    }
    assert_eq!(
        checks.load(Relaxed),
        1,
        "signatures were checked for one token"
    );
}

/// What the newest adopted document lacks grants nothing, at any configuration.
#[test]
fn a_withdrawn_key_is_withdrawn_at_every_configuration() {
    let of = |algorithm: &str| {
        let mut config = fetched(json!({"refresh_interval": "1m"}));
        config["providers"][0]["algorithms"] = json!([algorithm]);
        config
    };
    let mut host = alone();
    load(&mut host, 1, &of("ES256"));
    load(&mut host, 2, &of("ES384"));
    start(&mut host, 1, &["p256-a", "p384-a"]);
    host.tick(2);
    host.take_done();
    let request = Request::bearing(&by("p384-a", "ES384"));
    assert_eq!(ask(&mut host, 1, 2, &request), ["allowed"]);
    let mut stream = 1;
    for _ in 0..600 {
        ticks(&mut host, &[1, 2], 1_000);
        for call in host.take_calls() {
            host.answer(&call, "200", &set(&["p256-a"]));
            stream = 2;
        }
    }
    assert_eq!(stream, 2, "a document without it has come, and was adopted");
    let codes = ask(&mut host, 2, 2, &request);
    assert_ne!(
        codes,
        ["allowed"],
        "ten minutes after the key was withdrawn"
    );
}

/// An effect that the host refuses leads to a 503, whatever the state.
#[test]
fn trailers_that_cannot_be_dropped_after_the_answer_has_begun_are_no_failed_refusal() {
    let mut host = alone();
    load(&mut host, 1, &config());
    host.tick(1);
    let request = Request::bearing(&by("p256-a", "ES256"))
        .set(":path", "/loki/api/v1/push")
        .set(":method", "POST")
        .set("content-type", "application/x-protobuf");
    let mut config = config();
    config["organizations"][0]["rbac"] = json!({"writers": ["readers"]});
    load(&mut host, 2, &config);
    host.tick(2);
    host.open(1, 2);
    assert_eq!(host.head(1, &request.fields(), false), Action::Continue);
    host.on(Event::ResponseHead {
        stream: StreamId(1),
        headers: 9,
        end: false,
        head: &Response(200),
    });
    host.take_done();
    host.refuse(Some(Box::new(|done| matches!(done, Done::DropTrailers(_)))));
    assert_eq!(host.trailers(1), Action::Pause);
    let done = host.take_done();
    let replied = done.iter().any(|done| matches!(done, Done::Reply(..)));
    assert!(replied, "{done:?}");
}

/// Foreign text in the log is limited in characters, and no character is cut in two.
#[test]
fn a_record_cuts_no_character_in_two() {
    let mut all = config();
    all["audit"] = json!({"log": "all"});
    let mut host = alone();
    load(&mut host, 1, &all);
    host.tick(1);
    let request = Request::bearing(&by("p256-a", "ES256"))
        .set("x-request-id", format!("a{}", "é".repeat(200)));
    assert_eq!(ask(&mut host, 1, 1, &request), ["allowed"]);
    host.gone(1);
    let lines: Vec<String> = host
        .take_done()
        .into_iter()
        .filter_map(|done| match done {
            Done::Log(_, line) => Some(line),
            _ => None,
        })
        .collect();
    assert_eq!(lines.len(), 1);
    assert!(!lines[0].contains('\u{fffd}'), "{}", lines[0]);
}

/// What was verified is counted, also for a request that waited for the directory.
#[test]
fn a_verification_is_counted_for_a_request_that_waited() {
    use scopegate::worker::counters::Count;
    #[derive(Default)]
    struct Counts {
        calls: Vec<CallId>,
        counts: Vec<String>,
    }
    impl Proxy for Counts {
        fn clocks(&mut self) -> Reading {
            Reading {
                wall: Some(NOW * 1_000_000_000),
                mono: Some(UPTIME * 1_000_000),
            }
        }
        fn perform(&mut self, effect: &Effect<'_>) -> Performed {
            match effect {
                Effect::Count {
                    count: Count::Verification { .. },
                    ..
                } => {
                    self.counts.push("verified".into());
                }
                Effect::Count {
                    count: Count::Lookup { hit },
                    ..
                } => {
                    self.counts.push(format!("hit {hit}"));
                }
                Effect::Call { call, .. } => self.calls.push(*call),
                _ => {}
            }
            Performed::Done
        }
    }
    let mut driver = Driver::new(Worker::new(Box::new(InModule), 1), Counts::default());
    let root = RootId(1);
    let document = projects(json!({})).to_string();
    driver.on(Event::Configured {
        root,
        document: document.as_bytes(),
        environment: &[],
    });
    driver.on(Event::Tick { root });
    let fields = project(&by("p256-a", "ES256"), "r").fields();
    let pairs: Vec<(&[u8], &[u8])> = fields.iter().map(|(n, v)| (&n[..], &v[..])).collect();
    let stream = StreamId(7);
    driver.on_stream(stream, Event::Opened { stream, root });
    let headers = HeaderBlock::of(&pairs);
    driver.on_stream(
        stream,
        Event::Head {
            stream,
            headers: &headers,
            end: true,
            peer: &|| None,
            entrance: &|| None,
        },
    );
    let call = driver.proxy().calls.pop().expect("a question");
    driver.on(Event::Answered {
        call,
        answer: CallOutcome::Response {
            status: b"200",
            cache_control: None,
            content_encoding: None,
            etag: None,
            size: 0,
            body: &|| None,
        },
    });
    let counts = &driver.proxy().counts;
    assert_eq!(
        counts,
        &["hit false", "verified"],
        "a token that was never seen before"
    );
}

/// A proxy-wasm host stops the iteration of whichever stream's callback it is in when that
/// callback has sent any local response: `send_local_response` sets a flag of the whole VM
/// (`stopNextIteration(true)` in proxy-wasm-cpp-host's `exports.cc`), and
/// `convertVmCallResultToFilterHeadersStatus` turns the callback's Continue into
/// `StopAllIterationAndWatermark` while it is set. If an event of one stream causes an answer
/// to another stream, the first stream must therefore not continue through the answer to that
/// event, or it would hang forever.
#[test]
fn no_stream_goes_on_by_an_event_in_which_another_one_is_answered() {
    let store = Rc::default();
    let (mut one, mut other) = (host(&store, 1), host(&store, 2));
    for worker in [&mut one, &mut other] {
        load(worker, 1, &fetched(json!({})));
        worker.tick(1);
    }
    // Both have started; the first one fetches.
    let call = one.take_calls().remove(0);
    assert_eq!(other.take_calls().len(), 0);
    // At the other one a request waits that will be refused (another tenant).
    let token = by("p256-a", "ES256");
    let refused = Request::bearing(&token).set("x-scope-orgid", "elsewhere");
    assert!(ask(&mut other, 1, 1, &refused).is_empty());
    one.pass(20);
    other.pass(20);
    one.answer(&call, "200", &set(&["p256-a"]));
    // Before its next tick a request comes there that finds the document.
    let good = Request::bearing(&token);
    other.open(2, 1);
    let action = other.head(2, &good.fields(), true);
    let done = other.take_done();
    assert_eq!(codes(&done, 2), ["allowed"]);
    let answered: Vec<StreamId> = done
        .iter()
        .filter_map(|done| match done {
            Done::Reply(stream, _) => Some(*stream),
            _ => None,
        })
        .collect();
    let resumed = done
        .iter()
        .any(|done| matches!(done, Done::Resume(StreamId(2))));
    assert!(
        action == Action::Pause && resumed || answered.is_empty(),
        "{action:?} for stream 2 in the callback that has answered {answered:?}: \
         the proxy stops it, and nobody lets it go on"
    );
}

/// A request that arrived while another worker fetched for the same key gets its answer with
/// that document, and requests no further fetch.
#[test]
fn who_was_let_in_by_another_ones_fetch_books_none() {
    let store = Rc::default();
    let mut hosts = [host(&store, 1), host(&store, 2)];
    for worker in &mut hosts {
        load(worker, 1, &fetched(json!({"refresh_interval": "24h"})));
    }
    let [one, other] = &mut hosts;
    start(one, 1, &["p256-a"]);
    other.pass(100);
    other.tick(1);
    for worker in [&mut *one, &mut *other] {
        ticks(worker, &[1], 60_000);
        assert!(worker.take_calls().is_empty());
    }
    let request = Request::bearing(&by("p256-b", "ES256"));
    assert!(ask(one, 1, 1, &request).is_empty());
    let call = one.take_calls().remove(0);
    other.pass(50);
    assert!(ask(other, 2, 1, &request).is_empty());
    one.pass(100);
    one.answer(&call, "200", &set(&["p256-a", "p256-b"]));
    assert_eq!(codes(&one.take_done(), 1), ["allowed"]);
    other.pass(50);
    ticks(other, &[1], 1_000);
    assert_eq!(codes(&other.take_done(), 2), ["allowed"]);
    one.pass(1_000);
    for _ in 0..240 {
        for worker in [&mut *one, &mut *other] {
            ticks(worker, &[1], 500);
            assert!(worker.take_calls().is_empty(), "a fetch that nobody wants");
        }
    }
}

/// Sources that no configuration names any more are kept for the next one, but not forever.
#[test]
fn sources_of_keys_that_nobody_names_do_not_pile_up() {
    let mut host = alone();
    for number in 0..300 {
        let cluster = format!("cluster-{number}");
        load(&mut host, 1, &fetched(json!({"cluster": cluster})));
        host.tick(1);
        for call in host.take_calls() {
            host.answer(&call, "200", &set(&["p256-a"]));
        }
    }
    assert_eq!(host.worker().leases().count(), 65);
}

/// What a request's configuration has promised it holds until its answer, whatever
/// configuration follows.
#[test]
fn a_new_configuration_has_an_entrance_of_its_own() {
    const PAGE: &str = "https://grafana.example.com";
    let mut before = config();
    before["audit"] = json!({"log": "none", "access_log": false});
    before["organizations"][0]["tenants"] = json!(["a"]);
    before["tenants"] = json!({"when_absent": "only", "all": "*"});
    before["health"] = json!({"path": "/healthz"});
    before["cors"] = json!({"origins": [PAGE]});
    let mut after = config();
    after["audit"] = before["audit"].clone();
    after["health"] = json!({"path": "/ready"});
    let mut host = alone();
    load(&mut host, 1, &before);
    host.tick(1);
    let page = Request::bearing(&by("p256-a", "ES256")).set("origin", PAGE);
    let unnamed = page.clone().remove("x-scope-orgid");
    let star = page.clone().set("x-scope-orgid", "*");
    let health = |path: &str| Request::new().set(":path", path);
    host.open(1, 1);
    assert_eq!(host.head(1, &page.fields(), true), Action::Continue);
    assert_eq!(ask(&mut host, 2, 1, &unnamed), ["allowed"]);
    assert_eq!(ask(&mut host, 3, 1, &star), ["allowed"]);
    // No decision is counted for a health check.
    assert_eq!(ask(&mut host, 4, 1, &health("/healthz")), [""; 0]);

    load(&mut host, 2, &after);
    host.tick(2);
    assert_eq!(ask(&mut host, 5, 2, &unnamed), ["tenant_missing"]);
    assert_eq!(ask(&mut host, 6, 2, &star), ["tenant_not_granted"]);
    assert_eq!(
        ask(&mut host, 7, 2, &health("/healthz")),
        ["route_not_listed"]
    );
    assert_eq!(ask(&mut host, 8, 2, &health("/ready")), [""; 0]);
    host.open(9, 2);
    assert_eq!(host.head(9, &page.fields(), true), Action::Continue);
    host.take_done();

    // What was let in before names the page still; what came after names none.
    let named = |done: &[Done]| {
        done.iter().any(|done| {
            matches!(done, Done::Response(_, name, Some(value))
                if name == b"access-control-allow-origin" && value == PAGE.as_bytes())
        })
    };
    host.respond(1, 200);
    assert!(named(&host.take_done()));
    host.respond(9, 200);
    assert_eq!(host.take_done(), []);
}
