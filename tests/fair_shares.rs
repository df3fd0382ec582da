//! The resources of which a worker has few, and that nobody can take all of them: places for
//! requests that wait, forms that are being read, questions to a directory, remembered tokens.
#![allow(missing_docs)]

use std::cell::RefCell;
use std::rc::Rc;

use crate::common::{NOW, Request, Token, UPTIME, config, jwk, jwks, merge};
use crate::host::{Call, Done, Host, Store};
use scopegate::authn::keys::InModule;
use scopegate::worker::Action;
use serde_json::{Value, json};

const FULL: &str = "waiting_room_full";

struct Scene {
    host: Host,
    streams: u64,
}

impl Scene {
    fn new(configuration: &Value) -> Self {
        let store = Rc::new(RefCell::new(Store::default()));
        let mut host = Host::new(Box::new(InModule), &store, NOW, UPTIME, 1);
        assert!(host.configure(1, &configuration.to_string(), &[]));
        host.tick(1);
        Self { host, streams: 0 }
    }

    /// Hands in a head. `None` means that there is no verdict yet.
    fn ask(&mut self, request: &Request, end: bool) -> (u64, Option<&'static str>) {
        self.streams += 1;
        let stream = self.streams;
        self.host.open(stream, 1);
        self.host.head(stream, &request.fields(), end);
        (stream, self.code(stream))
    }

    fn code(&mut self, stream: u64) -> Option<&'static str> {
        let done = self.host.take_done();
        done.iter().find_map(|done| match done {
            Done::Decision(known, code) if known.0 == stream => Some(*code),
            _ => None,
        })
    }

    /// Asks until a request is refused. Returns the streams that were not.
    fn fill(&mut self, mut request: impl FnMut(u64) -> Request, end: bool) -> Vec<u64> {
        let mut streams = Vec::new();
        loop {
            let number = streams.len() as u64;
            assert!(number < 10_000, "there is no bound");
            match self.ask(&request(number), end) {
                (stream, None) => streams.push(stream),
                (_, code) => {
                    assert_eq!(code, Some(FULL));
                    return streams;
                }
            }
        }
    }
}

fn of(provider: &str, subject: &str) -> Token {
    let key = if provider == "one" {
        "p256-a"
    } else {
        "p256-b"
    };
    Token::new()
        .by(key, "ES256")
        .claim("iss", format!("https://{provider}.example.com"))
        .claim("sub", subject)
}

/// Two providers whose keys are fetched.
fn two_providers(patch: Value) -> Value {
    let mut config = config();
    let provider = |name: &str| {
        let issuer = format!("https://{name}.example.com");
        let jwks = json!({"uri": format!("{issuer}/keys"), "cluster": name});
        json!({
            "name": name, "issuer": issuer, "audiences": ["observability"], "jwks": jwks,
            "shared_groups": true,
        })
    };
    config["providers"] = json!([provider("one"), provider("two")]);
    merge(&mut config, patch);
    config
}

fn keys(host: &mut Host, call: &Call, name: &str) {
    host.answer(call, "200", &jwks(&[jwk(name)]));
}

#[test]
fn those_who_wait_for_one_provider_leave_places_for_another() {
    let limits = json!({"limits": {"waiting_requests": 16}});
    let mut scene = Scene::new(&two_providers(limits));
    let calls = scene.host.take_calls();
    assert_eq!(calls.len(), 2);
    let first = of("one", "alice").build();
    let crowd = scene.fill(|_| Request::bearing(&first), true);
    assert_eq!(crowd.len(), 8);
    let second = of("two", "bob").build();
    let (bob, code) = scene.ask(&Request::bearing(&second), true);
    assert_eq!(code, None);
    let call = calls.iter().find(|call| call.cluster == "two").unwrap();
    keys(&mut scene.host, call, "p256-b");
    assert_eq!(scene.code(bob), Some("allowed"));
    // And when the first provider comes back, all who waited for it pass.
    let call = calls.iter().find(|call| call.cluster == "one").unwrap();
    keys(&mut scene.host, call, "p256-a");
    let done = scene.host.take_done();
    let allowed = done
        .iter()
        .filter(|done| matches!(done, Done::Decision(_, "allowed")));
    assert_eq!(allowed.count(), 8);
}

#[test]
fn whoever_waits_and_finds_nothing_keeps_the_place() {
    let limits = json!({"limits": {"waiting_requests": 8}});
    let mut scene = Scene::new(&two_providers(limits));
    let calls = scene.host.take_calls();
    let stranger = of("one", "alice").header("kid", "new").build();
    let crowd = scene.fill(|_| Request::bearing(&stranger), true);
    assert_eq!(crowd.len(), 4);
    let other = of("two", "bob").build();
    let others = scene.fill(|_| Request::bearing(&other), true);
    assert_eq!(others.len(), 2);
    // Keys come, and among them not the one: its requests are looked at, and wait on for
    // the fetch that their own key is worth, though they hold more than is left.
    let call = calls.iter().find(|call| call.cluster == "one").unwrap();
    keys(&mut scene.host, call, "p256-a");
    let done = scene.host.take_done();
    let full = done
        .iter()
        .filter(|done| matches!(done, Done::Decision(_, FULL)));
    assert_eq!(full.count(), 0, "{done:?}");
}

/// Two tenants, of each of which its readers see a part.
fn scoped() -> Value {
    let mut config = config();
    let organization = |tenant: &str| {
        let grant = json!({"group": tenant, "labels": {"ns": ["web"]}});
        json!({"name": tenant, "tenants": [tenant], "rbac": {"viewers": [grant]}})
    };
    config["organizations"] = json!([organization("a"), organization("b")]);
    config
}

fn form(tenant: &str) -> Request {
    let token = Token::new()
        .claim("groups", json!([tenant]))
        .claim("sub", tenant)
        .build();
    Request::bearing(&token)
        .set(":method", "POST")
        .set(":path", "/loki/api/v1/query")
        .set("x-scope-orgid", tenant)
        .set("content-type", "application/x-www-form-urlencoded")
}

#[test]
fn forms_that_never_end_leave_places_for_other_tenants() {
    let mut scene = Scene::new(&scoped());
    let slow = scene.fill(|_| form("a"), false);
    assert_eq!(slow.len(), 128);
    let (stream, code) = scene.ask(&form("b"), false);
    assert_eq!(code, None);
    let action = scene.host.body(stream, b"query=%7Bns%3D%22web%22%7D", true);
    assert_eq!(action, Action::Continue);
    assert_eq!(scene.code(stream), Some("allowed"));
    // What has ended, or is gone, holds no place.
    for stream in &slow[..100] {
        scene.host.gone(*stream);
    }
    assert_eq!(scene.fill(|_| form("a"), false).len(), 100);
    scene.host.pass(31_000);
    scene.host.tick(1);
    scene.host.take_done();
    assert_eq!(scene.fill(|_| form("a"), false).len(), 128);
}

/// It does not help to name other sets of tenants, or to come as many callers.
#[test]
fn nobody_takes_the_places_of_forms_by_asking_for_other_tenants() {
    let mut config = config();
    let organization = |tenant: &str, group: &str| {
        let grant = json!({"group": group, "labels": {"ns": ["web"]}});
        json!({"name": tenant, "tenants": [tenant], "rbac": {"viewers": [grant]}})
    };
    let own = ["t1", "t2", "t3", "t4"].map(|tenant| organization(tenant, "own"));
    let mut organizations = own.to_vec();
    organizations.push(organization("b", "b"));
    config["organizations"] = organizations.into();
    let mut scene = Scene::new(&config);
    let token = Token::new().claim("groups", json!(["own"])).build();
    let mut held = 0;
    for tenants in ["t1", "t2", "t1|t2", "t3", "t1|t3", "t4", "t3|t4"] {
        let request = form("b")
            .set("authorization", format!("Bearer {token}"))
            .set("x-scope-orgid", tenants);
        held += scene.fill(|_| request.clone(), false).len();
    }
    assert_eq!(held, 128);
    let many = |number: u64| {
        let token = Token::new()
            .claim("groups", json!(["own"]))
            .claim("sub", format!("s{number}"))
            .build();
        form("b")
            .set("authorization", format!("Bearer {token}"))
            .set("x-scope-orgid", "t1")
    };
    assert_eq!(scene.fill(many, false).len(), 0);
    assert_eq!(scene.ask(&form("b"), false).1, None);
}

#[test]
fn a_form_may_take_its_time_but_no_more() {
    let mut scene = Scene::new(&scoped());
    let (stream, code) = scene.ask(&form("a"), false);
    assert_eq!(code, None);
    for _ in 0..59 {
        scene.host.pass(500);
        scene.host.tick(1);
    }
    assert_eq!(scene.code(stream), None);
    scene.host.pass(1_000);
    scene.host.tick(1);
    assert_eq!(scene.code(stream), Some("body_timeout"));
}

/// The limits of one configuration do not affect another.
#[test]
fn those_who_wait_by_one_configuration_take_no_places_of_another() {
    let limits = |most: u64| json!({"limits": {"waiting_requests": most}});
    let mut scene = Scene::new(&two_providers(limits(256)));
    let other = two_providers(limits(16)).to_string();
    assert!(scene.host.configure(2, &other, &[]));
    let first = of("one", "alice").build();
    assert_eq!(scene.fill(|_| Request::bearing(&first), true).len(), 128);
    scene.host.open(1_000, 2);
    let request = Request::bearing(&of("two", "bob").build());
    scene.host.head(1_000, &request.fields(), true);
    assert_eq!(scene.code(1_000), None);
    // The rooms of a configuration that is gone are gone, and new ones begin empty.
    scene.host.root_gone(1);
    scene.host.take_done();
    assert!(scene.host.configure(1, &other, &[]));
    assert_eq!(scene.fill(|_| Request::bearing(&first), true).len(), 8);
}

#[test]
fn those_who_wait_for_keys_leave_places_to_those_who_wait_for_a_directory() {
    let mut config = projects(json!({"limits": {"waiting_requests": 16}}));
    config["providers"][0]["jwks"] =
        json!({"uri": "https://login.example.com/certs", "cluster": "idp"});
    let mut scene = Scene::new(&config);
    let token = Token::new().build();
    assert_eq!(scene.fill(|_| Request::bearing(&token), true).len(), 8);
}

#[test]
fn in_report_mode_a_form_that_finds_no_place_passes_and_is_recorded() {
    let mut report = scoped();
    report["mode"] = json!("report");
    let mut scene = Scene::new(&report);
    assert_eq!(scene.fill(|_| form("a"), false).len(), 128);
    let (stream, code) = scene.ask(&form("a"), false);
    assert_eq!(code, Some(FULL));
    let action = scene.host.body(stream, b"query=", true);
    assert_eq!(action, Action::Continue);
}

/// The projects API with a directory that is asked.
fn projects(patch: Value) -> Value {
    let mut config = config();
    let service = json!({"cluster": "one", "authority": "one", "path": "/{project}/{resource}"});
    config["projects"] = json!({"directory": {"http": service}});
    merge(&mut config, patch);
    config
}

fn resource(subject: &str, number: u64) -> Request {
    let token = Token::new().claim("sub", subject).build();
    let path = format!("/api/v1/projects/p/resources/r{number}/logs");
    Request::bearing(&token).set(":path", path)
}

#[test]
fn one_caller_of_the_projects_api_leaves_places_and_questions_for_another() {
    let limits = json!({"limits": {"waiting_requests": 16}});
    let mut scene = Scene::new(&projects(limits));
    let waiting = scene.fill(|number| resource("mallory", number), true);
    assert_eq!(waiting.len(), 8);
    // Those who ask and leave have questions under way all the same.
    for number in 100..10_000 {
        let (stream, _) = scene.ask(&resource("mallory", number), true);
        scene.host.gone(stream);
    }
    let asked = scene.host.take_calls();
    assert_eq!(asked.len(), 32);
    let (stream, code) = scene.ask(&resource("alice", 1), true);
    assert_eq!(code, None);
    let call = scene.host.take_calls().remove(0);
    scene.host.answer(&call, "200", b"");
    assert_eq!(scene.code(stream), Some("allowed"));
}

#[test]
fn questions_that_nobody_answers_free_their_places() {
    let limits = json!({"limits": {"waiting_requests": 4}});
    let mut scene = Scene::new(&projects(limits));
    for round in 0..3_u64 {
        for number in 0..100 {
            let (stream, _) = scene.ask(&resource("mallory", round * 100 + number), true);
            scene.host.gone(stream);
        }
        assert_eq!(scene.host.take_calls().len(), 8, "in round {round}");
        // The timeout, and a second.
        scene.host.pass(3_100);
        scene.host.tick(1);
    }
}

#[test]
fn a_question_that_is_under_way_is_waited_for_though_no_other_may_be_asked() {
    let limits = json!({"limits": {"waiting_requests": 16}});
    let mut scene = Scene::new(&projects(limits));
    for number in 0..100 {
        let (stream, _) = scene.ask(&resource("mallory", number), true);
        scene.host.gone(stream);
    }
    let calls = scene.host.take_calls();
    assert_eq!(calls.len(), 32);
    let (stream, code) = scene.ask(&resource("mallory", 0), true);
    assert_eq!(code, None);
    scene.host.answer(&calls[0], "200", b"");
    assert_eq!(scene.code(stream), Some("allowed"));
}

#[test]
fn without_a_waiting_room_a_directory_is_asked_all_the_same() {
    let limits = json!({"limits": {"waiting_requests": 0}});
    let mut scene = Scene::new(&projects(limits));
    let request = resource("alice", 1);
    assert_eq!(scene.ask(&request, true).1, Some(FULL));
    let call = scene.host.take_calls().remove(0);
    scene.host.answer(&call, "200", b"");
    assert_eq!(scene.ask(&request, true).1, Some("allowed"));
}

#[test]
fn questions_are_bounded_by_what_their_tokens_take() {
    let limits = json!({"limits": {"waiting_requests": 4_096, "token_bytes": 49_152}});
    let mut scene = Scene::new(&projects(limits));
    let long = "x".repeat(20_000);
    for number in 0..1_000 {
        let token = Token::new().claim("long", long.as_str()).build();
        let path = format!("/api/v1/projects/p/resources/r{number}/logs");
        let request = Request::bearing(&token).set(":path", path);
        let (stream, _) = scene.ask(&request, true);
        scene.host.gone(stream);
    }
    let asked = scene.host.take_calls().len();
    assert!((100..200).contains(&asked), "{asked}");
    // Another caller with tokens as long is asked about all the same.
    let token = Token::new()
        .claim("sub", "bob")
        .claim("long", long.as_str())
        .build();
    let path = "/api/v1/projects/p/resources/bob/logs";
    let (_, code) = scene.ask(&Request::bearing(&token).set(":path", path), true);
    assert_eq!((code, scene.host.take_calls().len()), (None, 1));
}
