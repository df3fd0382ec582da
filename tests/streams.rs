//! Which permitted requests are streams, and until when their tokens are good.
#![allow(clippy::panic)]

use crate::common::{
    ALLOWED, Bench, NOW, Request, Token, ask_at, attempt, config, gate, merge, provider,
};
use scopegate::authn::keys::InModule;
use scopegate::authz::endpoint::{Surface, TABLE};
use scopegate::gate::{Outcome, Passage};
use scopegate::words::time::Timestamp;
use serde_json::{Value, json};

/// From when on the token of this permitted request is refused, if it is a stream.
#[track_caller]
fn expires(gate: &mut Bench, request: &Request, millis: u64) -> Option<Timestamp> {
    let head = request.head();
    let attempt = attempt(millis, millis);
    match gate.evaluate(&head, attempt, &InModule).outcome {
        Outcome::Forward(Passage::Enforced(permit)) => permit.stream_expires(),
        other => panic!("{other:?}"),
    }
}

fn everything() -> Value {
    let mut config = config();
    config["backends"]["loki"]["legacy_api"] = json!(true);
    config["organizations"][0]["rbac"] = json!({"admins": ["readers"]});
    config["organizations"][0]["tenants"] = json!([{"name": "a", "types": ["data", "alerting"]}]);
    config
}

fn tail(token: &str) -> Request {
    Request::bearing(token)
        .set(":path", "/loki/api/v1/tail?query={a=\"b\"}")
        .set("upgrade", "websocket")
}

#[test]
fn tails_that_upgrade_and_grpc_reads_are_streams_and_nothing_else_is() {
    let mut gate = gate(&everything());
    let token = Token::new().build();
    let mut streams = Vec::new();
    let mut others = 0;
    for row in TABLE.iter().filter(|row| row.surface != Surface::Projects) {
        let path = row.template.replace('{', "x").replace('}', "");
        for method in ["GET", "POST", "PUT", "DELETE"] {
            if !row.methods.to_string().contains(method) {
                continue;
            }
            let mut request = Request::bearing(&token)
                .set(":path", path.replace('%', ""))
                .set(":method", method);
            if row.is_grpc() {
                request = request.set("content-type", "application/grpc+proto");
            }
            assert_eq!(
                expires(&mut gate, &request, 0).is_some(),
                row.template.contains("Streaming"),
                "{path}"
            );
            if row.upgrade {
                request = request.set("upgrade", "WebSocket");
            }
            match expires(&mut gate, &request, 0) {
                Some(_) => streams.push(row.template),
                None => others += 1,
            }
        }
    }
    assert!(TABLE.iter().any(|row| row.surface == Surface::LokiLegacy));
    assert_eq!(
        streams,
        [
            "/loki/api/v1/tail",
            "/api/prom/tail",
            "/tempopb.StreamingQuerier/Search",
            "/tempopb.StreamingQuerier/SearchTags",
            "/tempopb.StreamingQuerier/SearchTagsV2",
            "/tempopb.StreamingQuerier/SearchTagValues",
            "/tempopb.StreamingQuerier/SearchTagValuesV2",
            "/tempopb.StreamingQuerier/MetricsQueryRange",
            "/tempopb.StreamingQuerier/MetricsQueryInstant",
        ]
    );
    assert!(others > 80, "{others}");
}

#[test]
fn a_stream_expires_when_a_new_request_would_be_refused_as_expired() {
    for (skew, leeway) in [("0s", 0), ("60s", 60), ("5m", 300)] {
        let config = provider(json!({"clock_skew": skew}));
        let token = Token::new().claim("exp", NOW + 30).build();
        let request = tail(&token);
        // First seen and remembered alike.
        let mut gate = gate(&config);
        for millis in [0, 1_000] {
            let found = expires(&mut gate, &request, millis);
            assert_eq!(
                found,
                Some(Timestamp::from_secs(NOW + 30 + leeway)),
                "{skew}"
            );
        }
        let end = (30 + leeway) * 1_000;
        assert_eq!(
            ask_at(&mut gate, &request, end - 1).code(),
            ALLOWED,
            "{skew}"
        );
        assert_eq!(
            ask_at(&mut gate, &request, end).code(),
            "token_expired",
            "{skew}"
        );
    }
}

#[test]
fn the_skew_is_that_of_the_provider_whose_token_it_is() {
    let mut config = provider(json!({"clock_skew": "0s"}));
    config["providers"][0]["shared_groups"] = json!(true);
    let mut other = config["providers"][0].clone();
    merge(
        &mut other,
        json!({"name": "other", "issuer": "https://other", "clock_skew": "5m"}),
    );
    config["providers"].as_array_mut().unwrap().push(other);
    let mut gate = gate(&config);
    let ours = Token::new().build();
    let theirs = Token::new().claim("iss", "https://other").build();
    let end = |secs| Some(Timestamp::from_secs(NOW + secs));
    assert_eq!(expires(&mut gate, &tail(&ours), 0), end(300));
    assert_eq!(expires(&mut gate, &tail(&theirs), 0), end(600));
}
