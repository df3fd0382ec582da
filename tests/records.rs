//! What the record of a refused token holds: what was proven about it, or what it claims.
#![allow(clippy::unwrap_used)]

use std::cell::RefCell;
use std::rc::Rc;

use crate::common::{ISSUER, NOW, Request, Token, UPTIME, config, merge};
use crate::host::{Done, Host, Store};
use scopegate::authn::keys::InModule;
use serde_json::{Value, json};

const ROOT: u64 = 1;

/// The record of one request.
fn record(configuration: &Value, request: &Request) -> Value {
    let store = Rc::new(RefCell::new(Store::default()));
    let mut host = Host::new(Box::new(InModule), &store, NOW, UPTIME, 1);
    assert!(host.configure(ROOT, &configuration.to_string(), &[]));
    host.open(1, ROOT);
    host.head(1, &request.fields(), true);
    let lines = host.take_done().into_iter().filter_map(|done| match done {
        Done::FilterState(_, line) => Some(line),
        _ => None,
    });
    let lines: Vec<String> = lines.collect();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].len() <= 7 * 1_024, "{} bytes", lines[0].len());
    serde_json::from_str(&lines[0]).unwrap()
}

fn of(configuration: &Value, token: &Token) -> Value {
    record(configuration, &Request::bearing(&token.build()))
}

/// A token with recognisable names, whatever becomes of it.
fn token() -> Token {
    Token::new().claim("aud", "observability")
}

#[test]
fn a_token_of_which_nothing_is_proven_says_what_it_claims() {
    let stranger = json!("https://elsewhere.example/");
    for (token, code, issuer, audience) in [
        (
            token().claim("iss", stranger.clone()),
            "issuer_unknown",
            stranger.clone(),
            json!("observability"),
        ),
        (
            token().claim("iss", 7),
            "issuer_unknown",
            Value::Null,
            json!("observability"),
        ),
        (
            token().claim("aud", "grafana"),
            "audience_mismatch",
            json!(ISSUER),
            json!("grafana"),
        ),
        (
            token().claim("aud", json!(["a", "b"])),
            "audience_mismatch",
            json!(ISSUER),
            json!(["a", "b"]),
        ),
        (
            token().without("aud"),
            "audience_mismatch",
            json!(ISSUER),
            Value::Null,
        ),
        (
            token().claim("exp", 1),
            "token_expired",
            json!(ISSUER),
            json!("observability"),
        ),
        (
            token().header("alg", "HS256"),
            "algorithm_not_allowed",
            json!(ISSUER),
            json!("observability"),
        ),
        (
            token().forged_by("p256-b", "ES256"),
            "signature_invalid",
            json!(ISSUER),
            json!("observability"),
        ),
    ] {
        let record = of(&config(), &token);
        assert_eq!(record["code"], code, "{record}");
        assert_eq!(record["claimed_issuer"], issuer, "{record}");
        assert_eq!(record["claimed_audience"], audience, "{record}");
        assert_eq!(record["claimed_key_id"], "p256-a", "{record}");
        for proven in ["provider", "issuer", "subject", "key_id"] {
            assert_eq!(record[proven], Value::Null, "{proven}: {record}");
        }
        assert_eq!(record["credential"], "bearer", "{record}");
    }
    let unknown = of(&config(), &token().by("p256-stranger", "ES256"));
    assert_eq!(unknown["code"], "unknown_key");
    assert_eq!(unknown["claimed_key_id"], "p256-stranger");
    let nameless = of(
        &config(),
        &token().by("p256-stranger", "ES256").without_header("kid"),
    );
    assert_eq!(nameless["claimed_key_id"], Value::Null);
    assert!(nameless.as_object().unwrap().contains_key("claimed_key_id"));
}

#[test]
fn a_token_whose_signature_held_is_named_by_what_is_proven() {
    let mut strict = config();
    merge(
        &mut strict["providers"][0],
        json!({"clients": ["alloy"], "reject_bound_tokens": true}),
    );
    strict["limits"] = json!({"groups": 2});
    let groups = json!(["a", "b", "c"]);
    let good = token().claim("azp", "alloy");
    for (token, code, subject) in [
        (
            token().claim("azp", "evil"),
            "client_not_allowed",
            json!("alice"),
        ),
        (
            good.clone().claim("cnf", json!({})),
            "bound_token",
            json!("alice"),
        ),
        (
            good.clone().claim("sub", "a\nb"),
            "subject_invalid",
            Value::Null,
        ),
        (
            good.clone().claim("groups", groups),
            "groups_over_limit",
            json!("alice"),
        ),
        (
            good.clone().claim("hasgroups", true).without("groups"),
            "groups_overage",
            json!("alice"),
        ),
        (
            good.claim("groups", json!(["x"])),
            "tenant_not_granted",
            json!("alice"),
        ),
    ] {
        let record = of(&strict, &token);
        assert_eq!(record["code"], code, "{record}");
        assert_eq!(record["provider"], "corporate", "{record}");
        assert_eq!(record["issuer"], ISSUER, "{record}");
        assert_eq!(record["subject"], subject, "{record}");
        assert_eq!(record["key_id"], "p256-a", "{record}");
        let names = record.as_object().unwrap();
        assert!(
            !names.keys().any(|name| name.starts_with("claimed_")),
            "{record}"
        );
    }
}

#[test]
fn what_is_no_token_claims_nothing() {
    for authorization in ["Bearer x", "Bearer a.b.c", "Basic YTpi", "Bearer"] {
        let request = Request::bearing("").set("authorization", authorization);
        let record = record(&config(), &request);
        let names = record.as_object().unwrap();
        assert!(
            !names.keys().any(|name| name.starts_with("claimed_")),
            "{record}"
        );
        let is_one = authorization.starts_with("Bearer ");
        assert_eq!(record["credential"].is_string(), is_one, "{record}");
    }
}

#[test]
fn claims_are_bounded_and_escaped() {
    let long = "\u{1}\"\\\n".repeat(500);
    let many: Vec<String> = (0..50)
        .map(|number| format!("audience-{number}-{}", "x".repeat(300)))
        .collect();
    let hostile = token().claim("iss", long.clone()).claim("aud", json!(many));
    let request = Request::bearing(&hostile.build()).set("x-request-id", long);
    let mut wide = config();
    wide["limits"] = json!({"token_bytes": 49_152});
    let record = record(&wide, &request);
    assert_eq!(record["code"], "issuer_unknown");
    assert!(record["claimed_issuer"].as_str().unwrap().len() <= 256);
    let listed = record["claimed_audience"].as_array().unwrap().len();
    assert!((1..=4).contains(&listed), "{listed}");
    assert_eq!(record["claimed_audience_omitted"], 50 - listed);
}

#[test]
fn a_record_names_the_kind_of_the_credential_that_decided() {
    let mut open = config();
    open["credentials"] = json!(["bearer", "basic", {"id_token_header": "x-id-token"}]);
    open["providers"][0]["id_token_audiences"] = json!(["grafana"]);
    let id = token().claim("aud", "grafana").build();
    let request = Request::bearing("opaque").and("x-id-token", &id);
    let decided = record(&open, &request);
    assert_eq!(
        (&decided["code"], &decided["credential"]),
        (&json!("allowed"), &json!("id_token"))
    );
    let request = Request::bearing(&token().build()).and("x-id-token", &id);
    assert_eq!(record(&open, &request)["credential"], "bearer");
    let request = Request::bearing("opaque").and("x-id-token", "a.b");
    let refused = record(&open, &request);
    assert_eq!(
        (&refused["code"], &refused["credential"]),
        (&json!("token_malformed"), &json!("id_token"))
    );
    let nothing = record(&open, &Request::bearing("").remove("authorization"));
    assert_eq!(nothing["credential"], Value::Null);
}

/// What a provider writes where groups are expected is never silently nothing.
#[test]
fn groups_that_cannot_be_used_are_named() {
    let mut sources = config();
    let source = |number: usize| json!({"path": ["more", format!("g{number}")], "prefix": format!("{number}:")});
    let mut groups = vec![
        json!({"path": ["groups"]}),
        json!({"path": ["email"], "prefix": "email:"}),
    ];
    groups.extend((0..10).map(source));
    sources["providers"][0]["claims"] = json!({"groups": groups});
    let plain = of(&sources, &token());
    let names = plain.as_object().unwrap();
    assert!(!names.contains_key("groups_unread") && !names.contains_key("groups_dropped"));

    let odd = token()
        .claim(
            "groups",
            json!(["readers", 1, "3:posing", "email:root@example.com"]),
        )
        .claim("email", "alice@example.com");
    let record = of(&sources, &odd);
    assert_eq!(record["code"], "allowed");
    assert_eq!(record["groups_unread"], json!(["groups", "email"]));
    assert_eq!(record["groups_dropped"], 2);

    let more: serde_json::Map<String, Value> = (0..10)
        .map(|number| (format!("g{number}"), json!(number)))
        .collect();
    let record = of(
        &sources,
        &token().claim("groups", false).claim("more", json!(more)),
    );
    assert_eq!(record["code"], "tenant_not_granted");
    let unread = record["groups_unread"].as_array().unwrap();
    assert_eq!((unread.len(), &unread[1]), (8, &json!("more.g0")));
    assert_eq!(record["groups_unread_omitted"], 3);
}
