//! Organizations that come from outside: how they are adopted, refused or become too old, and
//! what happens to tokens and streams.
#![allow(clippy::panic, clippy::unwrap_used)]

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crate::common::{NOW, Request, Token, UPTIME, b64, config, jwk, merge, sign};
use crate::host::{Call, Done, Host, Store};
use scopegate::authn::keys::{BadSignature, InModule, SignatureEngine, VerifyingKey};
use scopegate::config::{Config, Environment};
use scopegate::worker::{Action, Level};
use serde_json::{Value, json};

const ROOT: u64 = 1;

/// How often a document is asked for, in milliseconds, with its spread.
const POLL: u64 = 16_500;

/// Checks signatures, and counts.
struct Counting(Arc<AtomicUsize>);

impl SignatureEngine for Counting {
    fn verify(&self, key: &VerifyingKey, input: &[u8], sig: &[u8]) -> Result<(), BadSignature> {
        self.0.fetch_add(1, Relaxed);
        InModule.verify(key, input, sig)
    }
}

/// Some workers of a process, and what their server of organizations knows.
struct Fleet {
    workers: Vec<Host>,
    checks: Arc<AtomicUsize>,
    streams: u64,
    /// What is answered: status, tag, document.
    server: Option<(&'static str, String, String)>,
    asked: Vec<Call>,
    /// Milliseconds.
    passed: u64,
}

/// The inline organization `one`, and others from outside.
fn outside(patch: Value) -> Value {
    let mut config = config();
    config["organizations_from"] = json!({
        "uri": "https://organizations.example.com/v1/organizations",
        "cluster": "organizations",
    });
    merge(&mut config["organizations_from"], patch);
    config
}

fn organization(name: &str, tenant: &str, group: &str) -> Value {
    json!({"name": name, "tenants": [tenant], "rbac": {"viewers": [group], "writers": [group]}})
}

fn document(revision: u64, organizations: &[Value]) -> String {
    json!({"version": 1, "epoch": 1, "revision": revision, "organizations": organizations})
        .to_string()
}

impl Fleet {
    fn new(config: &Value, workers: u64) -> Self {
        let store = Rc::new(RefCell::new(Store::default()));
        let checks = Arc::new(AtomicUsize::new(0));
        let mut fleet = Self {
            workers: Vec::new(),
            checks: Arc::clone(&checks),
            streams: 0,
            server: None,
            asked: Vec::new(),
            passed: 0,
        };
        for seed in 0..workers {
            let engine = Box::new(Counting(Arc::clone(&checks)));
            fleet
                .workers
                .push(Host::new(engine, &store, NOW, UPTIME, 40 + seed));
        }
        for worker in 0..fleet.workers.len() {
            fleet.load(worker, ROOT, config);
        }
        fleet
    }

    #[track_caller]
    fn load(&mut self, worker: usize, root: u64, config: &Value) {
        let host = &mut self.workers[worker];
        assert!(
            host.configure(root, &config.to_string(), &[]),
            "{:?}",
            host.take_done()
        );
        self.tick_root(worker, root);
    }

    fn publish(&mut self, tag: &str, document: String) {
        self.server = Some(("200", tag.to_owned(), document));
    }

    fn tick_root(&mut self, worker: usize, root: u64) {
        self.workers[worker].tick(root);
        self.serve(worker);
    }

    /// Answers what a worker asks for.
    fn serve(&mut self, worker: usize) {
        let host = &mut self.workers[worker];
        for call in host.take_calls() {
            match &self.server {
                None => host.answer_nothing(&call),
                Some((status, tag, document)) => {
                    let same = call.header("if-none-match") == Some(tag.as_bytes());
                    let status = if same { "304" } else { status };
                    let body = if same { "" } else { document };
                    host.answer_tagged(&call, status, tag, body.as_bytes());
                }
            }
            self.asked.push(call);
        }
    }

    /// Time passes in steps of a tick.
    fn pass(&mut self, millis: u64) {
        for _ in 0..millis.div_ceil(500) {
            self.passed += 500;
            for worker in 0..self.workers.len() {
                self.workers[worker].pass(500);
                self.tick_root(worker, ROOT);
            }
        }
    }

    fn request(&mut self, worker: usize, root: u64, request: &Request) -> (u64, &'static str) {
        self.streams += 1;
        let stream = self.streams;
        let host = &mut self.workers[worker];
        host.take_done();
        host.open(stream, root);
        host.head(stream, &request.fields(), true);
        let done = host.take_done();
        let mut codes = done.iter().filter_map(|done| match done {
            Done::Decision(_, code) => Some(*code),
            _ => None,
        });
        (stream, codes.next().unwrap())
    }

    /// Checks the verdict on a read of a tenant, on each worker.
    #[track_caller]
    fn expect(&mut self, token: &Token, tenant: &str, code: &str) {
        let request = Request::bearing(&token.build()).set("x-scope-orgid", tenant);
        for worker in 0..self.workers.len() {
            let (_, found) = self.request(worker, ROOT, &request);
            assert_eq!(found, code, "worker {worker}, tenant {tenant}");
        }
    }

    /// What the first worker answers to a health check.
    fn health(&mut self) -> (u16, String) {
        self.streams += 1;
        let fields = Request::new().set(":path", "/healthz").fields();
        let host = &mut self.workers[0];
        host.take_done();
        host.open(self.streams, ROOT);
        host.head(self.streams, &fields, true);
        let replies = replies(&host.take_done());
        let [(_, status, details)] = &replies[..] else {
            panic!("{replies:?}");
        };
        (*status, details.clone())
    }

    fn logged(&mut self, worker: usize, level: Level) -> Vec<String> {
        let done = self.workers[worker].take_done();
        let lines = done.into_iter().filter_map(|done| match done {
            Done::Log(known, line) if known == level => Some(line),
            _ => None,
        });
        lines.collect()
    }

    /// Opens a tail whose answer has begun.
    fn tail(&mut self, token: &Token, tenant: &str) -> u64 {
        let request = Request::bearing(&token.build())
            .set(":path", "/loki/api/v1/tail?query={a=\"b\"}")
            .set("upgrade", "websocket")
            .set("x-scope-orgid", tenant);
        let (stream, code) = self.request(0, ROOT, &request);
        assert_eq!(code, "allowed");
        assert_eq!(self.workers[0].respond(stream, 101), Action::Continue);
        stream
    }
}

fn replies(done: &[Done]) -> Vec<(u64, u16, String)> {
    let replies = done.iter().filter_map(|done| match done {
        Done::Reply(stream, reply) => Some((stream.0, reply.status, reply.details.clone())),
        _ => None,
    });
    replies.collect()
}

#[test]
fn until_the_first_document_inline_serves_and_want_of_a_grant_is_retryable() {
    let mut fleet = Fleet::new(&outside(json!({})), 2);
    let alice = Token::new();
    fleet.expect(&alice, "a", "allowed");
    fleet.expect(&alice, "other", "organizations_unavailable");
    fleet.expect(&alice, "a|other", "organizations_unavailable");
    // An agent that may not write may get the role from outside.
    let push = Request::bearing(&alice.build())
        .set(":path", "/otlp/v1/logs")
        .set(":method", "POST")
        .set("x-scope-orgid", "a");
    fleet.expect(
        &Token::new().claim("exp", NOW - 3_600),
        "a",
        "token_expired",
    );
    let (stream, code) = fleet.request(0, ROOT, &push);
    assert_eq!(code, "organizations_unavailable");
    assert!(stream > 0);

    fleet.publish(
        "\"1\"",
        document(1, &[organization("two", "other", "readers")]),
    );
    fleet.pass(3_000);
    fleet.expect(&alice, "other", "allowed");
    fleet.expect(&alice, "a|other", "allowed");
    fleet.expect(&alice, "third", "tenant_not_granted");
    let (_, code) = fleet.request(0, ROOT, &push);
    assert_eq!(code, "permission_missing");
}

#[test]
fn the_answer_to_an_agent_is_503_with_retry_after() {
    let mut fleet = Fleet::new(&outside(json!({})), 1);
    let push = Request::bearing(&Token::new().build())
        .set(":path", "/otlp/v1/logs")
        .set(":method", "POST")
        .set("x-scope-orgid", "other");
    fleet.streams += 1;
    let host = &mut fleet.workers[0];
    host.take_done();
    host.open(9, ROOT);
    host.head(9, &push.fields(), false);
    let done = host.take_done();
    let reply = done.iter().find_map(|done| match done {
        Done::Reply(_, reply) => Some(reply.clone()),
        _ => None,
    });
    let reply = reply.unwrap();
    assert_eq!(reply.status, 503);
    assert!(reply.headers.iter().any(|(name, _)| *name == "retry-after"));
}

#[test]
fn one_worker_asks_for_all_and_what_is_unchanged_is_not_read_again() {
    let mut fleet = Fleet::new(&outside(json!({})), 3);
    fleet.publish(
        "\"1\"",
        document(1, &[organization("two", "other", "readers")]),
    );
    fleet.pass(3_000);
    let first = fleet.asked.len();
    // The first try, which nobody answered, and its retry.
    assert!(first <= 3, "{first}");
    fleet.expect(&Token::new(), "other", "allowed");
    for host in &mut fleet.workers {
        host.take_done();
        host.take_counted();
    }
    fleet.pass(150_000);
    let polls = fleet.asked.len() - first;
    assert!((9..=12).contains(&polls), "{polls}");
    for call in &fleet.asked[first..] {
        assert_eq!(call.header("if-none-match"), Some(&b"\"1\""[..]));
        assert_eq!(call.cluster, "organizations");
        assert_eq!(
            call.header(":authority"),
            Some(&b"organizations.example.com"[..])
        );
    }
    let mut counted = Vec::new();
    for worker in 0..3 {
        counted.extend(fleet.workers[worker].take_counted());
        // Nothing is said of a document that stays as it is.
        assert_eq!(fleet.logged(worker, Level::Info), [""; 0]);
        assert_eq!(fleet.logged(worker, Level::Warn), [""; 0]);
    }
    assert_eq!(counted, vec!["unchanged"; polls]);
    // A server without tags: the same bytes are the same document.
    fleet.server = Some((
        "200",
        "\"x\"".to_owned(),
        document(1, &[organization("two", "other", "readers")]),
    ));
    fleet.pass(40_000);
    for worker in 0..3 {
        assert_eq!(fleet.logged(worker, Level::Info), [""; 0]);
    }
    // Each worker knows how old it is.
    for host in &mut fleet.workers {
        assert!(host.gauge("scopegate_organizations_age_seconds").unwrap() <= 17);
        assert_eq!(host.gauge("scopegate_organizations"), Some(1));
    }
}

#[test]
fn a_change_is_adopted_within_a_poll_and_proven_tokens_stay_proven() {
    let mut fleet = Fleet::new(&outside(json!({})), 2);
    fleet.publish(
        "\"1\"",
        document(1, &[organization("two", "other", "readers")]),
    );
    fleet.pass(3_000);
    // The token has a group that no organization has named yet.
    let token = Token::new()
        .claim("groups", json!(["readers", "newcomers"]))
        .claim("exp", NOW + 86_400);
    fleet.expect(&token, "other", "allowed");
    fleet.expect(&token, "third", "tenant_not_granted");
    let proven = fleet.checks.load(Relaxed);
    let hash = fleet.workers[1].gauge("scopegate_organizations_hash");

    fleet.publish(
        "\"2\"",
        document(
            2,
            &[
                organization("three", "third", "newcomers"),
                organization("two", "other", "others"),
            ],
        ),
    );
    fleet.pass(POLL + 1_000);
    fleet.expect(&token, "third", "allowed");
    fleet.expect(&token, "other", "tenant_not_granted");
    fleet.expect(&token, "a", "allowed");
    assert_eq!(
        fleet.checks.load(Relaxed),
        proven,
        "no signature is checked again"
    );
    fleet.pass(500);
    let after = fleet.workers[1].gauge("scopegate_organizations_hash");
    assert!(after.is_some() && after != hash);
    assert_eq!(
        after,
        fleet.workers[0].gauge("scopegate_organizations_hash")
    );
}

#[test]
fn streams_end_with_their_grant_and_others_go_on() {
    let mut fleet = Fleet::new(&outside(json!({})), 1);
    let scoped = |values: Value| {
        json!({"name": "scoped", "tenants": ["s"], "rbac": {
            "viewers": [{"group": "readers", "labels": {"namespace": values}}]}})
    };
    let before = [
        organization("two", "gone", "readers"),
        organization("three", "stays", "readers"),
        organization("four", "moves", "readers"),
        scoped(json!(["web", "shop"])),
    ];
    fleet.publish("\"1\"", document(1, &before));
    fleet.pass(3_000);
    let token = Token::new()
        .claim("exp", NOW + 86_400)
        .claim("groups", json!(["readers", "newcomers"]));
    let gone = fleet.tail(&token, "gone");
    let stays = fleet.tail(&token, "stays");
    let moves = fleet.tail(&token, "moves");
    let inline = fleet.tail(&token, "a");
    let narrowed = {
        let request = Request::bearing(&token.build())
            .set(":path", "/loki/api/v1/tail?query=%7Ba%3D%22b%22%7D")
            .set("upgrade", "websocket")
            .set("x-scope-orgid", "s");
        let (stream, code) = fleet.request(0, ROOT, &request);
        assert_eq!(code, "allowed");
        fleet.workers[0].respond(stream, 101);
        stream
    };
    fleet.workers[0].take_counted();
    fleet.workers[0].take_done();

    // The same again: nobody notices.
    fleet.publish("\"1b\"", document(2, &before));
    fleet.pass(POLL + 500);
    assert_eq!(replies(&fleet.workers[0].take_done()), []);

    let after = [
        organization("three", "stays", "readers"),
        // Granted by another group, which nobody had named before.
        organization("four", "moves", "newcomers"),
        scoped(json!(["web"])),
    ];
    fleet.publish("\"2\"", document(3, &after));
    fleet.pass(POLL + 500);
    let mut ended = replies(&fleet.workers[0].take_done());
    ended.sort_unstable();
    let mut expected =
        [gone, narrowed].map(|stream| (stream, 403, "scopegate{grant_withdrawn}".to_owned()));
    expected.sort_unstable();
    assert_eq!(ended, expected);
    let counted = fleet.workers[0].take_counted();
    let withdrawn = counted
        .iter()
        .filter(|reason| **reason == "grant_withdrawn");
    assert_eq!(withdrawn.count(), 2);
    for stream in [stays, moves, inline] {
        fleet.workers[0].gone(stream);
    }
}

#[test]
fn an_earlier_revision_revives_nothing_and_a_bad_document_changes_nothing() {
    let mut fleet = Fleet::new(&outside(json!({})), 2);
    let good = [organization("two", "other", "readers")];
    fleet.publish("\"5\"", document(5, &good));
    fleet.pass(3_000);
    let token = Token::new().claim("exp", NOW + 86_400);
    let old = document(4, &[organization("withdrawn", "secret", "readers")]);
    let epoch = json!({"version": 1, "epoch": 0, "revision": 99,
        "organizations": [organization("withdrawn", "secret", "readers")]});
    let twice = json!([organization("two", "x", "g"), organization("two", "y", "g")]);
    let bad: Vec<(String, &str, &str)> = vec![
        (old, "older", "epoch 1, revision 4 is older than what is in use"),
        (epoch.to_string(), "older", "epoch 0, revision 99 is older than what is in use"),
        (
            signed("p256-a", 6, NOW),
            "unusable",
            "it is signed, a JWS, and organizations_from has no signed_by: put the public keys of",
        ),
        ("{".into(), "unusable", "not valid JSON at line 1, column 1"),
        ("<html>".into(), "unusable", "the answer is HTML or XML, not JSON"),
        ("\u{1f}\u{8b}".into(), "unusable", "not valid JSON"),
        ("[]".into(), "unusable", "not a JSON object"),
        ("{}".into(), "unusable", "version: missing: the form of this document, 1; epoch: missing"),
        (document(6, &[]), "unusable", "organizations: is empty, which would withdraw every grant"),
        (
            document(6, &[json!({"name": "x", "tenants": ["a/b"], "rbac": {"viewrs": ["g"]}})]),
            "unusable",
            "organizations[0].tenants[0]: \"a/b\" is no tenant ID",
        ),
        (
            json!({"version": 1, "epoch": 1, "revision": 6, "organizations": twice}).to_string(),
            "unusable",
            "organizations[1]: the name \"two\" is taken",
        ),
        (
            json!({"version": 2, "epoch": 1, "revision": 6, "organizations": good}).to_string(),
            "unusable",
            "version: must be a whole number from 1 to 1",
        ),
        (
            json!({"version": 1, "epoch": 1, "revision": -6, "organizations": good}).to_string(),
            "unusable",
            "revision: must be a whole number from 0 to 9007199254740991",
        ),
        (
            json!({"version": 1, "epoch": 1, "revision": 6, "organizations": good, "mode": "report"})
                .to_string(),
            "unusable",
            "mode: unknown key",
        ),
    ];
    for (document, result, line) in bad {
        for host in &mut fleet.workers {
            host.take_done();
            host.take_counted();
        }
        fleet.publish("\"other\"", document);
        fleet.pass(POLL + 500);
        let mut counted = Vec::new();
        let mut lines = Vec::new();
        for worker in 0..2 {
            counted.extend(fleet.workers[worker].take_counted());
            lines.extend(fleet.logged(worker, Level::Warn));
        }
        assert!(counted.contains(&result), "{line}: {counted:?}");
        assert!(!counted.contains(&"ok"), "{line}: {counted:?}");
        assert!(
            lines.iter().any(|known| known.contains(line)),
            "{line}\n{lines:#?}"
        );
        fleet.expect(&token, "other", "allowed");
        fleet.expect(&token, "secret", "tenant_not_granted");
        // What is good again is said once.
        fleet.publish("\"5\"", self::document(5, &good));
        fleet.pass(70_000);
        let infos: Vec<String> = (0..2)
            .flat_map(|worker| fleet.logged(worker, Level::Info))
            .collect();
        assert!(infos.iter().any(|line| line.contains("again")), "{infos:?}");
    }
}

#[test]
fn an_equal_revision_with_other_content_is_adopted() {
    // A server that was started with other options serves the same state otherwise.
    let mut fleet = Fleet::new(&outside(json!({})), 1);
    fleet.publish(
        "\"1\"",
        document(1, &[organization("two", "other", "readers")]),
    );
    fleet.pass(3_000);
    fleet.publish(
        "\"2\"",
        document(1, &[organization("two", "another", "readers")]),
    );
    fleet.pass(POLL + 500);
    fleet.expect(&Token::new(), "another", "allowed");
    fleet.expect(&Token::new(), "other", "tenant_not_granted");
}

#[test]
fn what_is_too_old_serves_no_more_and_comes_back_when_it_is_confirmed() {
    let mut fleet = Fleet::new(&outside(json!({"max_stale": "5m"})), 2);
    fleet.publish(
        "\"1\"",
        document(1, &[organization("two", "other", "readers")]),
    );
    fleet.pass(3_000);
    let token = Token::new().claim("exp", NOW + 86_400);
    let stream = fleet.tail(&token, "other");
    let inline = fleet.tail(&token, "a");
    fleet.server = None;
    fleet.pass(280_000);
    fleet.expect(&token, "other", "allowed");
    fleet.expect(&token, "unknown", "tenant_not_granted");
    fleet.workers[0].take_done();
    fleet.pass(40_000);
    let done = fleet.workers[0].take_done();
    assert_eq!(
        replies(&done),
        [(stream, 503, "scopegate{grant_withdrawn}".to_owned())]
    );
    fleet.expect(&token, "other", "organizations_unavailable");
    fleet.expect(&token, "unknown", "organizations_unavailable");
    fleet.expect(&token, "a", "allowed");
    fleet.publish(
        "\"1\"",
        document(1, &[organization("two", "other", "readers")]),
    );
    fleet.pass(70_000);
    fleet.expect(&token, "other", "allowed");
    fleet.expect(&token, "unknown", "tenant_not_granted");
    fleet.workers[0].gone(inline);
}

#[test]
fn a_document_is_too_old_for_a_request_though_no_tick_has_said_so() {
    let mut fleet = Fleet::new(&outside(json!({"max_stale": "1m"})), 1);
    fleet.publish(
        "\"1\"",
        document(1, &[organization("two", "other", "readers")]),
    );
    fleet.pass(3_000);
    let token = Token::new().claim("exp", NOW + 86_400);
    fleet.expect(&token, "other", "allowed");
    // Ticks come, the clocks pass, but the request comes before the tick that would notice.
    fleet.server = None;
    fleet.pass(57_000);
    fleet.expect(&token, "other", "allowed");
    let host = &mut fleet.workers[0];
    for _ in 0..10 {
        host.pass(400);
        host.tick(99);
    }
    host.pass(900);
    let request = Request::bearing(&token.build()).set("x-scope-orgid", "other");
    let (_, code) = fleet.request(0, ROOT, &request);
    assert_eq!(code, "organizations_unavailable");
}

#[test]
fn a_new_configuration_and_a_new_worker_find_the_document_also_in_an_outage() {
    let mut fleet = Fleet::new(&outside(json!({})), 2);
    fleet.publish(
        "\"1\"",
        document(1, &[organization("two", "other", "readers")]),
    );
    fleet.pass(3_000);
    fleet.server = None;
    let token = Token::new().claim("exp", NOW + 86_400);
    let mut changed = outside(json!({"refresh_interval": "30s"}));
    changed["realm"] = json!("changed");
    fleet.load(0, 2, &changed);
    let request = Request::bearing(&token.build()).set("x-scope-orgid", "other");
    let (_, code) = fleet.request(0, 2, &request);
    assert_eq!(code, "allowed");
    // Another way to it is another source.
    let elsewhere = outside(json!({"cluster": "elsewhere"}));
    fleet.load(0, 3, &elsewhere);
    let (_, code) = fleet.request(0, 3, &request);
    assert_eq!(code, "organizations_unavailable");

    let store = Rc::clone(&fleet.workers[0].store);
    let engine = Box::new(Counting(Arc::clone(&fleet.checks)));
    let mut late = Host::new(engine, &store, NOW, UPTIME, 99);
    late.clocks = fleet.workers[0].clocks;
    fleet.workers.push(late);
    fleet.load(2, ROOT, &outside(json!({})));
    let (_, code) = fleet.request(2, ROOT, &request);
    assert_eq!(code, "allowed", "a worker that comes later asks the others");
}

/// It cannot use the held document, and must not take an earlier one for the newest.
#[test]
fn a_new_configuration_does_not_go_back_behind_the_others() {
    let mut first = outside(json!({}));
    first["roles"] = json!({"auditor": ["read"]});
    let mut fleet = Fleet::new(&first, 1);
    let audited = json!({"name": "two", "tenants": ["other"], "rbac": {"auditors": ["readers"]}});
    fleet.publish("\"5\"", document(5, &[audited]));
    fleet.pass(3_000);
    fleet.load(0, 2, &outside(json!({})));
    let withdrawn = organization("withdrawn", "secret", "readers");
    fleet.publish("\"4\"", document(4, &[withdrawn]));
    fleet.pass(POLL);
    fleet.tick_root(0, 2);
    fleet.pass(5_000);
    let token = Token::new().claim("exp", NOW + 86_400);
    let request = Request::bearing(&token.build()).set("x-scope-orgid", "secret");
    let (_, code) = fleet.request(0, 2, &request);
    assert_eq!(code, "organizations_unavailable");
    fleet.expect(&token, "secret", "tenant_not_granted");
}

/// A replica that counts differently may be left over that has never been as far as another one
/// was. What it says is not outdated because of that, and its signatures are current.
#[test]
fn an_earlier_revision_of_what_is_in_force_confirms_it_and_withdraws_no_floor() {
    let config = outside(json!({
        "signed_by": {"keys": [jwk("p256-a")]},
        "max_stale": "1h",
    }));
    let mut fleet = Fleet::new(&config, 2);
    let token = Token::new().claim("exp", NOW + 86_400);
    fleet.publish("\"9\"", signed("p256-a", 9, NOW));
    fleet.pass(3_000);
    fleet.expect(&token, "other", "allowed");
    // Before it is too old, and after.
    for (tag, later) in [("\"3\"", 3_000), ("\"4\"", 9_000)] {
        fleet.server = None;
        fleet.pass(later * 1_000 - fleet.passed);
        fleet.publish(tag, signed("p256-a", 3, NOW + later));
        fleet.pass(POLL + 60_000);
        fleet.expect(&token, "other", "allowed");
    }
    // Neither gives way to what was withdrawn before.
    let withdrawn = json!({"version": 1, "epoch": 1, "revision": 8, "iat": NOW + 9_000,
        "organizations": [organization("withdrawn", "secret", "readers")]});
    let header = json!({"alg": "ES256", "kid": "p256-a"});
    fleet.publish("\"8\"", jws("p256-a", &header, &withdrawn));
    fleet.pass(POLL + 1_000);
    fleet.expect(&token, "other", "allowed");
    fleet.expect(&token, "secret", "tenant_not_granted");
}

/// A slow body does not outlive the grant with which its head was let through.
#[test]
fn a_form_that_is_still_read_ends_with_its_grant() {
    let scoped = |namespace: &str| {
        json!({"name": "scoped", "tenants": ["s"], "rbac": {
            "viewers": [{"group": "readers", "labels": {"namespace": [namespace]}}]}})
    };
    for (after, ends) in [(scoped("web"), false), (scoped("shop"), true)] {
        let mut fleet = Fleet::new(&outside(json!({"refresh_interval": "5s"})), 1);
        fleet.publish("\"1\"", document(1, &[scoped("web")]));
        fleet.pass(3_000);
        let body = b"query=up";
        let fields = Request::bearing(&Token::new().build())
            .set(":method", "POST")
            .set(":path", "/prometheus/api/v1/query")
            .set("content-type", "application/x-www-form-urlencoded")
            .set("content-length", body.len().to_string())
            .set("x-scope-orgid", "s")
            .fields();
        let host = &mut fleet.workers[0];
        host.open(900, ROOT);
        assert_eq!(host.head(900, &fields, false), Action::Continue);
        assert_eq!(host.body(900, b"query=", false), Action::Pause);
        host.take_done();
        let more = organization("more", "more", "readers");
        fleet.publish("\"2\"", document(2, &[after, more]));
        fleet.pass(6_000);
        let ended = replies(&fleet.workers[0].take_done());
        assert_eq!(ended.len(), usize::from(ends), "{ended:?}");
        if !ends {
            let action = fleet.workers[0].body(900, body, true);
            assert_eq!(action, Action::Continue);
        }
    }
}

#[test]
fn nothing_is_shared_where_that_is_off() {
    let mut fleet = Fleet::new(&outside(json!({"share": false})), 2);
    fleet.publish(
        "\"1\"",
        document(1, &[organization("two", "other", "readers")]),
    );
    fleet.pass(3_000);
    fleet.expect(&Token::new(), "other", "allowed");
    let polls = fleet.asked.len();
    fleet.pass(60_000);
    assert!(fleet.asked.len() - polls >= 6, "each asks for itself");
    let store = fleet.workers[0].store.borrow();
    assert!(
        store
            .keys()
            .iter()
            .all(|key| !key.contains("organizations"))
    );
}

#[test]
fn whoever_leaves_the_tenant_out_waits_for_all_organizations() {
    let mut config = outside(json!({}));
    config["tenants"] = json!({"when_absent": "only", "all": "*"});
    config["organizations"][0]["tenants"] = json!(["a"]);
    let mut fleet = Fleet::new(&config, 1);
    let absent = Request::bearing(&Token::new().build()).remove("x-scope-orgid");
    let star = Request::bearing(&Token::new().build()).set("x-scope-orgid", "*");
    for request in [&absent, &star] {
        let (_, code) = fleet.request(0, ROOT, request);
        assert_eq!(code, "organizations_unavailable");
    }
    fleet.publish(
        "\"1\"",
        document(1, &[organization("two", "other", "others")]),
    );
    fleet.pass(3_000);
    for request in [&absent, &star] {
        let (_, code) = fleet.request(0, ROOT, request);
        assert_eq!(code, "allowed");
    }
    fleet.publish(
        "\"2\"",
        document(2, &[json!({"name": "star", "tenants": ["*"], "rbac": {}})]),
    );
    fleet.pass(POLL + 500);
    let lines = fleet.logged(0, Level::Warn);
    assert!(
        lines
            .iter()
            .any(|line| line.contains("a tenant is named \"*\"")),
        "{lines:?}"
    );
}

/// A gate that has not received organizations yet leaves the work to those that have. When they
/// are too old for all gates, the grants of the configuration remain in use.
#[test]
fn health_says_whether_organizations_have_come() {
    let mut config = outside(json!({"max_stale": "5m"}));
    config["health"] = json!({"path": "/healthz"});
    let mut alone = config.clone();
    alone.as_object_mut().unwrap().remove("organizations");
    for (config, at_last) in [(config, 200), (alone, 503)] {
        let mut fleet = Fleet::new(&config, 1);
        assert_eq!(
            fleet.health(),
            (503, "scopegate{no_organizations}".to_owned())
        );
        fleet.publish(
            "\"1\"",
            document(1, &[organization("two", "other", "readers")]),
        );
        fleet.pass(3_000);
        assert_eq!(fleet.health().0, 200);
        fleet.server = None;
        fleet.pass(290_000);
        assert_eq!(fleet.health().0, 200);
        fleet.pass(60_000);
        assert_eq!(fleet.health().0, at_last);
    }
}

/// A JWS in compact form of that payload.
fn jws(key: &str, header: &Value, payload: &Value) -> String {
    let input = format!("{}.{}", b64(header.to_string()), b64(payload.to_string()));
    let signature = sign(key, "ES256", input.as_bytes());
    format!("{input}.{}\n", b64(signature))
}

fn signed(key: &str, revision: u64, issued: u64) -> String {
    signed_of(key, revision, issued, "other")
}

fn signed_of(key: &str, revision: u64, issued: u64, tenant: &str) -> String {
    let header = json!({"alg": "ES256", "kid": key, "typ": "scopegate-organizations+jws"});
    let organizations = [organization("two", tenant, "readers")];
    let payload = json!({"version": 1, "epoch": 1, "revision": revision, "iat": issued,
        "organizations": organizations});
    jws(key, &header, &payload)
}

#[test]
fn a_document_that_must_be_signed_counts_only_with_its_signature_and_from_its_date() {
    let config = outside(json!({
        "signed_by": {"keys": [jwk("p256-a")]},
        "max_stale": "1h",
    }));
    let mut fleet = Fleet::new(&config, 2);
    let token = Token::new().claim("exp", NOW + 86_400);
    let plain = document(1, &[organization("two", "other", "readers")]);
    let (one, two) = (signed("p256-a", 1, NOW), signed("p256-a", 2, NOW));
    let (content, signature) = (
        one.rsplit_once('.').unwrap().0,
        two.rsplit_once('.').unwrap().1,
    );
    let forged = format!("{content}.{signature}");
    let header = json!({"alg": "none"});
    let payload = json!({"version": 1, "epoch": 1, "revision": 1, "iat": NOW, "organizations": []});
    let none = format!("{}.{}.", b64(header.to_string()), b64(payload.to_string()));
    let foreign = jws(
        "p256-a",
        &json!({"alg": "ES256", "kid": "p256-a", "typ": "at+jwt"}),
        &payload,
    );
    let undated = jws(
        "p256-a",
        &json!({"alg": "ES256", "kid": "p256-a"}),
        &json!({"version": 1, "epoch": 1, "revision": 1, "organizations": [organization("two", "other", "readers")]}),
    );
    for (document, why) in [
        (
            plain,
            "it is plain JSON, and organizations_from.signed_by wants it signed: a JWS in compact \
             form, as serve-organizations makes it with --signing-key",
        ),
        (
            "e.f".to_owned(),
            "it is no JWS in compact form with a JSON object in it",
        ),
        (forged, "none of the keys of signed_by has signed it"),
        (none, "it is no JWS"),
        (
            signed("p256-b", 1, NOW),
            "none of the keys of signed_by has signed it, which names the kid \"p256-b\"",
        ),
        (foreign, "its typ is another document's"),
        (undated, "iat: missing: when it was signed"),
        (
            signed("p256-a", 1, NOW - 3_700),
            "iat: was signed longer ago than",
        ),
        (
            signed("p256-a", 1, NOW + 4_000),
            "iat: was signed in the future",
        ),
    ] {
        let mut unaware = Fleet::new(&config, 1);
        unaware.publish("\"x\"", document.clone());
        unaware.pass(3_000);
        unaware.expect(&token, "other", "organizations_unavailable");
        // Another failure is another line only after something good.
        let mut fleet = Fleet::new(&config, 1);
        fleet.publish("\"1\"", signed("p256-a", 1, NOW));
        fleet.pass(3_000);
        fleet.workers[0].take_counted();
        fleet.workers[0].take_done();
        fleet.publish("\"x\"", document);
        let mut lines = Vec::new();
        for _ in 0..POLL.div_ceil(1_000) {
            fleet.pass(1_000);
            lines.extend(fleet.logged(0, Level::Warn));
        }
        let results = fleet.workers[0].take_counted();
        assert!(results.contains(&"unusable"), "{why}: {results:?}");
        assert!(
            lines.iter().any(|line| line.contains(why)),
            "{why}: {lines:?}"
        );
        fleet.expect(&token, "other", "allowed");
    }
    fleet.publish("\"1\"", signed("p256-a", 1, NOW - 60));
    fleet.pass(3_000);
    fleet.expect(&token, "other", "allowed");
    // A later date makes it no other one.
    let mut told = Vec::new();
    fleet.publish("\"1.1\"", signed("p256-a", 1, NOW - 50));
    for _ in 0..POLL.div_ceil(1_000) {
        fleet.pass(1_000);
        told.extend(fleet.logged(0, Level::Info));
        told.extend(fleet.logged(1, Level::Info));
    }
    assert_eq!(told, [""; 0]);
    assert!(fleet.workers[0].take_counted().contains(&"ok"));
    // That it is unchanged makes it no younger.
    fleet.pass(3_520_000);
    fleet.expect(&token, "other", "allowed");
    fleet.pass(30_000);
    fleet.expect(&token, "other", "organizations_unavailable");
    fleet.publish("\"2\"", signed("p256-a", 1, NOW + 3_500));
    fleet.pass(POLL + 60_000);
    fleet.expect(&token, "other", "allowed");
}

#[test]
fn what_is_dangerous_must_be_spelt_out() {
    let problems = |config: &Value| -> Vec<String> {
        let document = config.to_string();
        match Config::parse(document.as_bytes(), &Environment::default()) {
            Ok(_) => Vec::new(),
            Err(problems) => problems.iter().map(ToString::to_string).collect(),
        }
    };
    for (patch, expected) in [
        (json!({}), None),
        (
            json!({"uri": "http://organizations/v1"}),
            Some(
                "organizations_from.uri: whoever can change this document on its way can give themselves any tenant: use https, or write allow_http: true",
            ),
        ),
        (
            json!({"uri": "http://organizations/v1", "allow_http": true}),
            None,
        ),
        (
            json!({"uri": "ftp://x"}),
            Some("organizations_from.uri: must be an http or https URL"),
        ),
        (
            json!({"cluster": null}),
            Some("organizations_from.cluster: missing: Envoy's cluster that reaches it"),
        ),
        (
            json!({"refresh_interval": "4s"}),
            Some("organizations_from.refresh_interval: must lie between 5s and 10m"),
        ),
        (
            json!({"refresh_interval": "11m"}),
            Some("organizations_from.refresh_interval: must lie between 5s and 10m"),
        ),
        (
            json!({"url": "https://x"}),
            Some("organizations_from.url: unknown key"),
        ),
        (
            json!({"signed_by": {"keys": []}}),
            Some("organizations_from.signed_by: none of its 0 keys is usable"),
        ),
        (
            json!({"authorization": "secret"}),
            Some("organizations_from.authorization: must be {environment: NAME}"),
        ),
    ] {
        let found = problems(&outside(patch.clone()));
        match expected {
            None => assert_eq!(found, [""; 0], "{patch}"),
            Some(text) => assert!(
                found.iter().any(|line| line.starts_with(text)),
                "{patch}: {found:?}"
            ),
        }
    }
    // Instead of the inline list.
    let mut alone = outside(json!({}));
    alone.as_object_mut().unwrap().remove("organizations");
    assert_eq!(problems(&alone), [""; 0]);
    alone.as_object_mut().unwrap().remove("organizations_from");
    assert_eq!(
        problems(&alone),
        ["organizations: missing: without one nothing is granted"]
    );
    // An empty document is taken where that is meant.
    let mut fleet = Fleet::new(&outside(json!({"allow_empty": true})), 1);
    fleet.publish("\"1\"", document(1, &[]));
    fleet.pass(3_000);
    fleet.expect(&Token::new(), "other", "tenant_not_granted");
}

#[test]
fn a_credential_goes_to_the_server_and_into_no_log() {
    let config = outside(json!({"authorization": {"environment": "ORGANIZATIONS_TOKEN"}}));
    let store = Rc::new(RefCell::new(Store::default()));
    let mut host = Host::new(Box::new(InModule), &store, NOW, UPTIME, 7);
    let environment = [("ORGANIZATIONS_TOKEN".to_owned(), "s3cr3t".to_owned())];
    assert!(host.configure(ROOT, &config.to_string(), &environment));
    host.tick(ROOT);
    let calls = host.take_calls();
    assert_eq!(
        calls[0].header("authorization"),
        Some(&b"Bearer s3cr3t"[..])
    );
    host.answer(&calls[0], "401", b"");
    let done = host.take_done();
    assert!(!format!("{done:?}").contains("s3cr3t"));
    assert!(format!("{done:?}").contains("status 401"));
}

#[test]
fn one_line_says_what_a_process_has_loaded() {
    let mut fleet = Fleet::new(&outside(json!({})), 3);
    let told = |fleet: &mut Fleet| -> Vec<String> {
        let lines = (0..fleet.workers.len()).flat_map(|worker| fleet.logged(worker, Level::Info));
        lines.collect()
    };
    let lines = told(&mut fleet);
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(
        lines[0].contains(
            ": 1 provider, 1 organization, 2 tenants and those from outside, \
            backends loki mimir tempo, mode enforce, sha256 "
        ),
        "{lines:?}"
    );
    let mut changed = outside(json!({}));
    changed["realm"] = json!("changed");
    for worker in 0..3 {
        fleet.load(worker, 2, &changed);
    }
    assert_eq!(told(&mut fleet).len(), 1);
    fleet.tick_root(0, 2);
    let hash = fleet.workers[0].gauge("scopegate_config_hash").unwrap();
    assert!(lines[0].contains("sha256 ") && hash > 0);
    // Later somebody may load the same again, and says so.
    for host in &mut fleet.workers {
        host.pass(20_000);
    }
    for worker in 0..3 {
        fleet.load(worker, 3, &changed);
    }
    assert_eq!(told(&mut fleet).len(), 1);
    assert_eq!(fleet.workers[0].gauge("scopegate_config_hash"), Some(hash));
}

/// Whoever may name organizations elsewhere can neither change one of the configuration nor
/// prevent others from being changed.
#[test]
fn an_organization_of_the_configurations_name_kept_a_withdrawn_grant_alive() {
    let mut fleet = Fleet::new(&outside(json!({})), 2);
    let token = Token::new().claim("exp", NOW + 86_400);
    let two = organization("two", "other", "readers");
    let three = organization("three", "third", "readers");
    fleet.publish("\"1\"", document(1, &[two.clone(), three.clone()]));
    fleet.pass(3_000);
    fleet.expect(&token, "third", "allowed");
    // The configuration has `one`, and here its tenants would be somebody else's.
    let posing = organization("one", "secret", "readers");
    fleet.publish("\"2\"", document(2, &[posing, two]));
    for host in &mut fleet.workers {
        host.take_done();
    }
    fleet.pass(POLL + 500);
    let lines: Vec<String> = (0..2)
        .flat_map(|worker| fleet.logged(worker, Level::Warn))
        .collect();
    assert_eq!(
        lines,
        [
            "organizations: 1 from outside left out, because the configuration has one of the \
             same name: one"
        ]
    );
    assert_eq!(fleet.workers[0].gauge("scopegate_organizations"), Some(1));
    fleet.expect(&token, "third", "tenant_not_granted");
    fleet.expect(&token, "secret", "tenant_not_granted");
    fleet.expect(&token, "other", "allowed");
    fleet.expect(&token, "a", "allowed");
    // A configuration that has one more keeps the others too.
    let mut more = outside(json!({}));
    let own = organization("two", "own", "readers");
    more["organizations"].as_array_mut().unwrap().push(own);
    fleet.load(0, 2, &more);
    let code = |fleet: &mut Fleet, tenant: &str| {
        let request = Request::bearing(&token.build()).set("x-scope-orgid", tenant);
        fleet.request(0, 2, &request).1
    };
    assert_eq!(code(&mut fleet, "own"), "allowed");
    assert_eq!(code(&mut fleet, "other"), "tenant_not_granted");
}

/// The highest possible revision, signed with a stolen key, counts for as long as the key does.
#[test]
fn a_revision_of_a_key_that_was_withdrawn_kept_everything_after_it_out() {
    let by = |key: &str| outside(json!({"signed_by": {"keys": [jwk(key)]}, "max_stale": "1h"}));
    let mut fleet = Fleet::new(&by("p256-a"), 1);
    let token = Token::new().claim("exp", NOW + 86_400);
    let request = Request::bearing(&token.build()).set("x-scope-orgid", "other");
    let highest = 9_007_199_254_740_991;
    fleet.publish("\"evil\"", signed("p256-a", highest, NOW));
    fleet.pass(3_000);
    fleet.expect(&token, "other", "allowed");
    fleet.load(0, 2, &by("p256-b"));
    assert_eq!(fleet.request(0, 2, &request).1, "organizations_unavailable");
    fleet.publish("\"7\"", signed("p256-b", 7, NOW));
    fleet.workers[0].root_gone(ROOT);
    for _ in 0..60 {
        fleet.workers[0].pass(500);
        fleet.tick_root(0, 2);
    }
    assert_eq!(fleet.request(0, 2, &request).1, "allowed");
    // By a key that still counts it is not gone back behind.
    let mut next = by("p256-b");
    next["realm"] = json!("changed");
    fleet.load(0, 3, &next);
    fleet.publish("\"6\"", signed_of("p256-b", 6, NOW, "withdrawn"));
    for _ in 0..60 {
        fleet.workers[0].pass(500);
        fleet.tick_root(0, 3);
    }
    assert_eq!(fleet.request(0, 3, &request).1, "allowed");
}

/// The answer confirms the document that the request named, and without a tag it named none.
#[test]
fn a_304_that_nobody_had_asked_for_confirmed_what_was_old() {
    let mut fleet = Fleet::new(&outside(json!({"max_stale": "1m"})), 1);
    let token = Token::new().claim("exp", NOW + 86_400);
    // A tag that is none is not sent back.
    fleet.publish("", document(1, &[organization("two", "other", "readers")]));
    fleet.pass(3_000);
    fleet.expect(&token, "other", "allowed");
    fleet.server = Some(("304", String::new(), String::new()));
    fleet.pass(90_000);
    fleet.expect(&token, "other", "organizations_unavailable");
    assert!(!fleet.workers[0].take_counted().contains(&"unchanged"));
}

/// After an outage, a withdrawn grant lasted up to a minute longer, however often the server
/// was polled.
#[test]
fn an_outage_put_off_the_next_poll_for_longer_than_polls_are_apart() {
    let mut fleet = Fleet::new(&outside(json!({"refresh_interval": "5s"})), 1);
    let token = Token::new().claim("exp", NOW + 86_400);
    fleet.publish(
        "\"1\"",
        document(1, &[organization("two", "other", "readers")]),
    );
    fleet.pass(3_000);
    fleet.server = None;
    fleet.pass(300_000);
    fleet.publish(
        "\"2\"",
        document(2, &[organization("two", "elsewhere", "readers")]),
    );
    fleet.pass(6_000);
    fleet.expect(&token, "other", "tenant_not_granted");
}

/// The log reports each reason, and no text from a document ends its line.
#[test]
fn the_first_reason_hid_the_others_and_a_key_could_forge_a_line() {
    let mut fleet = Fleet::new(&outside(json!({})), 1);
    fleet.server = Some(("500", "\"0\"".to_owned(), String::new()));
    fleet.pass(POLL);
    let forged = "x\n[info] wasm log scopegate: {\"decision\":\"allow\"}\u{1b}[31m";
    let mut bad: Value = serde_json::from_str(&document(1, &[])).unwrap();
    bad[forged] = json!(1);
    fleet.publish("\"1\"", bad.to_string());
    fleet.pass(2 * POLL);
    let lines = fleet.logged(0, Level::Warn);
    assert_eq!(lines.len(), 3, "{lines:#?}");
    assert!(lines[0].ends_with("no answer"), "{lines:#?}");
    assert!(lines[1].ends_with("status 500"), "{lines:#?}");
    assert!(lines[2].contains("x\\n[info] wasm log"), "{lines:#?}");
    assert!(!lines[2].contains(char::is_control), "{lines:#?}");
}
