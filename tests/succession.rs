//! A newer configuration answers for the streams that an older one has let in, as soon as it serves in the same place.

use std::rc::Rc;

use crate::common::{NOW, Request, Token, UPTIME, config, fetched, jwk, jwks};
use crate::host::{Done, Host};
use scopegate::authn::keys::InModule;
use serde_json::{Value, json};

/// The configuration of before, and the one that comes.
const OLD: u64 = 1;
const NEW: u64 = 2;

struct Proxy {
    host: Host,
    streams: u64,
}

impl Proxy {
    fn new(config: &Value) -> Self {
        let host = Host::new(Box::new(InModule), &Rc::default(), NOW, UPTIME, 1);
        let mut proxy = Self { host, streams: 100 };
        proxy.load(OLD, config);
        proxy
    }

    #[track_caller]
    fn load(&mut self, root: u64, config: &Value) {
        let good = self.host.configure(root, &config.to_string(), &[]);
        assert!(good, "{:?}", self.host.take_done());
        self.host.tick(root);
    }

    /// A request that the configuration of that number answers, whatever comes of it.
    fn ask(&mut self, root: u64, request: &Request) -> u64 {
        self.streams += 1;
        self.host.open(self.streams, root);
        self.host.head(self.streams, &request.fields(), true);
        self.streams
    }

    /// A tail that is open.
    #[track_caller]
    fn tail(&mut self, token: &Token) -> u64 {
        self.host.take_done();
        let stream = self.ask(OLD, &tail(token));
        let allowed = Done::Decision(scopegate::worker::StreamId(stream), "allowed");
        assert!(self.host.take_done().contains(&allowed));
        self.host.respond(stream, 101);
        stream
    }

    /// Somebody who has no part in it asks at that configuration.
    fn somebody(&mut self, root: u64) {
        let stream = self.ask(root, &Request::new());
        self.host.gone(stream);
    }

    /// The streams that end within a second, with their statuses and details.
    fn ended(&mut self, root: u64) -> Vec<(u64, u16, String)> {
        self.host.take_done();
        for _ in 0..2 {
            self.host.pass(500);
            self.host.tick(root);
        }
        let done = self.host.take_done();
        let replies = done.iter().filter_map(|done| match done {
            Done::Reply(stream, reply) => Some((stream.0, reply.status, reply.details.clone())),
            _ => None,
        });
        replies.collect()
    }
}

fn tail(token: &Token) -> Request {
    Request::bearing(&token.build())
        .set(":path", "/loki/api/v1/tail?query={a=\"b\"}")
        .set("upgrade", "websocket")
}

fn reader() -> Token {
    Token::new().claim("exp", NOW + 86_400)
}

fn withdrawn() -> Value {
    let mut config = config();
    config["organizations"][0]["rbac"] = json!({"viewers": ["nobody"]});
    config
}

fn ended_for_lack_of_a_grant(stream: u64) -> [(u64, u16, String); 1] {
    [(stream, 403, "scopegate{grant_withdrawn}".to_owned())]
}

#[test]
fn a_right_that_a_configuration_withdraws_ends_its_streams() {
    let mut proxy = Proxy::new(&config());
    let stream = proxy.tail(&reader());
    proxy.load(NEW, &withdrawn());
    // Nothing says so far that it is for this place.
    assert_eq!(proxy.ended(NEW), []);
    proxy.somebody(NEW);
    assert_eq!(proxy.ended(NEW), ended_for_lack_of_a_grant(stream));
    assert_eq!(proxy.host.take_counted(), ["grant_withdrawn"]);
    proxy.somebody(NEW);
    assert_eq!(proxy.ended(NEW), []);
}

#[test]
fn what_is_still_granted_goes_on_and_the_newest_configuration_answers_for_it() {
    let mut proxy = Proxy::new(&config());
    let stream = proxy.tail(&reader());
    let mut more = config();
    more["organizations"][0]["tenants"] = json!(["a", "newco"]);
    proxy.load(NEW, &more);
    proxy.somebody(NEW);
    assert_eq!(proxy.ended(NEW), []);
    proxy.host.root_gone(OLD);
    proxy.load(NEW + 1, &withdrawn());
    proxy.somebody(NEW + 1);
    assert_eq!(proxy.ended(NEW + 1), ended_for_lack_of_a_grant(stream));
}

#[test]
fn a_configuration_for_another_place_ends_nothing() {
    let mut proxy = Proxy::new(&config());
    let stream = proxy.tail(&reader());
    proxy.load(NEW, &withdrawn());
    for elsewhere in [Some("there"), None] {
        proxy.host.entrance = elsewhere;
        proxy.somebody(NEW);
        assert_eq!(proxy.ended(NEW), [], "{elsewhere:?}");
    }
    // An older one takes nothing over, though it still serves those who are connected.
    proxy.host.entrance = Some("here");
    proxy.somebody(OLD);
    assert_eq!(proxy.ended(OLD), []);
    proxy.host.gone(stream);
}

#[test]
fn an_older_configuration_has_no_say_over_the_streams_of_a_newer_one() {
    let mut proxy = Proxy::new(&withdrawn());
    proxy.load(NEW, &config());
    let stream = proxy.ask(NEW, &tail(&reader()));
    proxy.host.respond(stream, 101);
    proxy.somebody(OLD);
    assert_eq!(proxy.ended(OLD), []);
}

#[test]
fn a_provider_that_is_gone_ends_its_streams_and_one_without_keys_does_not_yet() {
    let mut proxy = Proxy::new(&config());
    let stream = proxy.tail(&reader());
    proxy.load(NEW, &fetched(json!({})));
    proxy.somebody(NEW);
    assert_eq!(proxy.ended(NEW), [], "no keys have come");
    let mut foreign = config();
    foreign["providers"][0]["issuer"] = json!("https://elsewhere.example.com");
    proxy.load(NEW + 1, &foreign);
    proxy.somebody(NEW + 1);
    let ended = proxy.ended(NEW + 1);
    assert_eq!(ended.len(), 1, "{ended:?}");
    assert_eq!((ended[0].0, ended[0].1), (stream, 401));
    assert_eq!(ended[0].2, "scopegate{grant_withdrawn}");
}

#[test]
fn keys_that_come_later_decide_it() {
    let mut proxy = Proxy::new(&config());
    let stream = proxy.tail(&reader());
    let mut without = fetched(json!({}));
    without["organizations"] = withdrawn()["organizations"].clone();
    proxy.load(NEW, &without);
    proxy.somebody(NEW);
    assert_eq!(proxy.ended(NEW), [], "no keys have come");
    let calls = proxy.host.take_calls();
    assert_eq!(calls.len(), 1);
    let keys = jwks(&[jwk("p256-a"), jwk("p256-b")]);
    proxy.host.answer(&calls[0], "200", &keys);
    proxy.somebody(NEW);
    assert_eq!(proxy.ended(NEW), ended_for_lack_of_a_grant(stream));
}

#[test]
fn a_configuration_that_reports_ends_nothing_and_neither_does_a_bad_one() {
    let mut proxy = Proxy::new(&config());
    let stream = proxy.tail(&reader());
    assert!(!proxy.host.configure(NEW, "{}", &[]));
    proxy.host.tick(NEW);
    proxy.somebody(NEW);
    assert_eq!(proxy.ended(NEW), []);
    let mut reports = withdrawn();
    reports["mode"] = json!("report");
    proxy.load(NEW + 1, &reports);
    proxy.somebody(NEW + 1);
    assert_eq!(proxy.ended(NEW + 1), []);
    proxy.host.gone(stream);
}

#[test]
fn a_narrower_scope_ends_a_stream_that_showed_more() {
    let scoped = |values: Value| {
        let mut config = config();
        config["organizations"][0]["rbac"] =
            json!({"viewers": [{"group": "readers", "labels": {"namespace": values}}]});
        config
    };
    let mut proxy = Proxy::new(&scoped(json!(["web", "shop"])));
    let request = tail(&reader()).set(":path", "/loki/api/v1/tail?query=%7Ba%3D%22b%22%7D");
    let stream = proxy.ask(OLD, &request);
    proxy.host.respond(stream, 101);
    proxy.load(NEW, &scoped(json!(["shop", "web"])));
    proxy.somebody(NEW);
    assert_eq!(proxy.ended(NEW), []);
    proxy.load(NEW + 1, &scoped(json!(["web"])));
    proxy.somebody(NEW + 1);
    assert_eq!(proxy.ended(NEW + 1), ended_for_lack_of_a_grant(stream));
}
