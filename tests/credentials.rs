//! The ways in which a token may be sent, and which of two tokens decides.
#![allow(clippy::unwrap_used)]

use crate::common::{Decided, Request, Token, answer, config, merge};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use scopegate::config::{Config, Environment};
use serde_json::{Value, json};

/// A provider whose ID tokens for the client `grafana` are accepted, in addition to Basic.
fn open() -> Value {
    let mut config = config();
    config["credentials"] = json!(["bearer", "basic", {"id_token_header": "X-ID-Token"}]);
    config["providers"][0]["id_token_audiences"] = json!(["grafana"]);
    config
}

/// An ID token of `alice` for Grafana.
fn id_token() -> Token {
    Token::new().claim("aud", "grafana")
}

/// A request with these values of `authorization` and `x-id-token`.
fn request(authorization: Option<&str>, id_token: Option<&str>) -> Request {
    let mut request = Request::bearing("").remove("authorization");
    if let Some(value) = authorization {
        request = request.and("authorization", value);
    }
    if let Some(value) = id_token {
        request = request.and("x-id-token", value);
    }
    request
}

#[track_caller]
fn check(config: &Value, authorization: Option<&str>, id_token: Option<&str>, code: &str) {
    let request = request(authorization, id_token);
    assert_eq!(
        answer(config, &request),
        code,
        "{authorization:?} {id_token:?}"
    );
}

fn bearer(token: &Token) -> String {
    format!("Bearer {}", token.build())
}

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

#[test]
fn only_a_bearer_token_counts_by_default() {
    let plain = config();
    let good = Token::new().build();
    check(
        &plain,
        Some(&basic("agent", &good)),
        None,
        "scheme_not_supported",
    );
    check(&plain, None, Some(&good), "credential_missing");
    check(
        &plain,
        Some(&format!("Bearer {good}")),
        Some("x"),
        "allowed",
    );
}

#[test]
fn a_password_may_be_the_token() {
    let good = Token::new().build();
    for user in ["agent", "", "a b"] {
        check(&open(), Some(&basic(user, &good)), None, "allowed");
    }
    // The first colon ends the name: what follows is the token.
    check(&open(), Some(&basic("a:b", &good)), None, "token_malformed");
    let foreign = Token::new().claim("aud", "other").build();
    check(
        &open(),
        Some(&basic("agent", &foreign)),
        None,
        "audience_mismatch",
    );
    let unpadded = basic("agent", &good).trim_end_matches('=').to_owned();
    let ragged = [unpadded.as_str(), "="].concat();
    for value in [
        "Basic",
        "Basic ",
        "Basic x",
        "Basic YWdlbnQ6",
        "Basic YWdlbnQ=",
    ] {
        check(&open(), Some(value), None, "authorization_malformed");
    }
    let broken = if ragged == basic("agent", &good) {
        unpadded
    } else {
        ragged
    };
    check(&open(), Some(&broken), None, "authorization_malformed");
    let twice = [basic("a", &good), basic("b", &good)].join(", ");
    check(&open(), Some(&twice), None, "credential_repeated");
    check(&open(), Some("Negotiate abc"), None, "scheme_not_supported");
    // An ID token is no more an access token for coming as a password.
    let id = Token::new().claim("typ", "ID").build();
    check(
        &open(),
        Some(&basic("agent", &id)),
        None,
        "token_kind_refused",
    );
}

/// Google's access tokens are opaque, and Entra's may be for another service.
#[test]
fn an_id_token_decides_where_the_bearer_was_not_made_for_us() {
    let good = id_token().build();
    let elsewhere = Token::new().claim("aud", "00000003-0000-0000-c000-000000000000");
    let strangers = Token::new().claim("iss", "https://elsewhere");
    for other in [
        None,
        Some("Bearer ya29.a0AfH6SMBxyz".to_owned()),
        Some("Bearer opaque".to_owned()),
        Some("Basic YTpi".to_owned()),
        Some("Negotiate abc".to_owned()),
        Some(bearer(&elsewhere)),
        Some(bearer(&strangers)),
        Some(bearer(&Token::new().without("aud"))),
    ] {
        check(&open(), other.as_deref(), Some(&good), "allowed");
        // Alone: what the bearer says does not help.
        let expired = id_token().claim("exp", 1).build();
        check(&open(), other.as_deref(), Some(&expired), "token_expired");
    }
    let wrong = Token::new().claim("aud", "other").build();
    check(
        &open(),
        Some("Bearer opaque"),
        Some(&wrong),
        "audience_mismatch",
    );
}

#[test]
fn a_bearer_that_was_made_for_us_is_final() {
    let good = id_token().build();
    for (token, code) in [
        (Token::new(), "allowed"),
        (
            Token::new().claim("aud", json!(["x", "observability"])),
            "allowed",
        ),
        (Token::new().claim("exp", 1), "token_expired"),
        (Token::new().claim("typ", "Refresh"), "token_kind_refused"),
        (
            Token::new().claim("groups", json!(["strangers"])),
            "tenant_not_granted",
        ),
        (Token::new().claim("sub", ""), "subject_invalid"),
        (Token::new().by("p256-stranger", "ES256"), "unknown_key"),
        (Token::new().header("alg", "none"), "algorithm_not_allowed"),
        (
            Token::new().header("crit", json!(["x"])),
            "token_header_refused",
        ),
    ] {
        check(&open(), Some(&bearer(&token)), Some(&good), code);
        let password = basic("agent", &token.build());
        check(&open(), Some(&password), Some(&good), code);
    }
    check(
        &open(),
        Some("Bearer"),
        Some(&good),
        "authorization_malformed",
    );
}

#[test]
fn what_says_that_it_is_an_access_token_is_no_id_token() {
    for (name, value) in [
        ("typ", json!("Bearer")),
        ("typ", json!("at+jwt")),
        ("typ", json!("Refresh")),
        ("token_use", json!("access")),
        ("scope", json!("openid")),
        ("scp", json!(["logs"])),
        ("cid", json!("grafana")),
        ("appid", json!("grafana")),
        ("azpacr", json!("1")),
        ("idtyp", json!("app")),
        ("gty", json!("client-credentials")),
        ("events", json!({})),
    ] {
        let token = id_token().claim(name, value.clone()).build();
        let request = request(None, Some(&token));
        assert_eq!(
            answer(&open(), &request),
            "token_kind_refused",
            "{name} {value}"
        );
    }
    let header = id_token().header("typ", "at+jwt").build();
    check(&open(), None, Some(&header), "token_kind_refused");
    let header = id_token().header("typ", "logout+jwt").build();
    check(&open(), None, Some(&header), "token_type_refused");
    for (name, value) in [("typ", "ID"), ("token_use", "id"), ("nonce", "n")] {
        let token = id_token().claim(name, value).build();
        check(&open(), None, Some(&token), "allowed");
    }
    // The one list is not the other.
    let ours = Token::new().build();
    check(&open(), None, Some(&ours), "audience_mismatch");
    check(
        &open(),
        Some(&bearer(&id_token())),
        None,
        "audience_mismatch",
    );
    let mut lax = open();
    lax["providers"][0]["accept"] = json!(["access", "id"]);
    lax["providers"][0]["audiences"] = json!(["observability", "grafana"]);
    check(
        &lax,
        Some(&bearer(&id_token().claim("typ", "ID"))),
        None,
        "allowed",
    );
}

/// Zitadel gives both kinds of tokens the same audience, and states no kind.
#[test]
fn claims_may_mark_an_id_token_where_nothing_states_the_kind() {
    let mut config = open();
    config["providers"][0]["id_token_claims"] = json!(["at_hash", "nonce"]);
    let plain = Token::new()
        .claim("aud", json!(["observability", "grafana"]))
        .claim("azp", "grafana");
    check(&config, Some(&bearer(&plain)), None, "allowed");
    check(&config, None, Some(&plain.build()), "token_kind_refused");
    for mark in ["at_hash", "nonce"] {
        let marked = plain.clone().claim(mark, "x");
        check(&config, Some(&bearer(&marked)), None, "token_kind_refused");
        check(&config, None, Some(&marked.build()), "allowed");
        // What is stated counts.
        let stated = marked.claim("typ", "Bearer");
        check(&config, Some(&bearer(&stated)), None, "allowed");
        check(&config, None, Some(&stated.build()), "token_kind_refused");
    }
}

#[test]
fn a_provider_without_audiences_for_them_gives_no_id_tokens() {
    let mut two = open();
    let mut partner = two["providers"][0].clone();
    partner
        .as_object_mut()
        .unwrap()
        .remove("id_token_audiences");
    merge(
        &mut partner,
        json!({
            "name": "partner", "issuer": "https://partner.example", "audience_check": "off",
            "claims": {"groups": [{"path": ["groups"], "prefix": "partner:"}]},
        }),
    );
    partner.as_object_mut().unwrap().remove("audiences");
    two["providers"].as_array_mut().unwrap().push(partner);
    let theirs = Token::new().claim("iss", "https://partner.example");
    check(&two, None, Some(&theirs.build()), "audience_mismatch");
    // Any of its bearer tokens was made for us, as far as can be told.
    let good = id_token().build();
    check(
        &two,
        Some(&bearer(&theirs)),
        Some(&good),
        "tenant_not_granted",
    );
}

#[test]
fn the_clients_of_a_provider_bind_its_id_tokens_too() {
    let mut config = open();
    config["providers"][0]["clients"] = json!(["alloy"]);
    // The audience of an ID token is its client.
    check(&config, None, Some(&id_token().build()), "allowed");
    for (azp, code) in [
        ("grafana", "allowed"),
        ("alloy", "allowed"),
        ("stranger", "client_not_allowed"),
    ] {
        let token = id_token().claim("azp", azp).build();
        check(&config, None, Some(&token), code);
    }
    check(
        &config,
        Some(&bearer(&Token::new())),
        None,
        "client_not_allowed",
    );
}

/// An ID token may say which of its audiences it was given to.
#[test]
fn an_id_token_that_was_given_to_somebody_else_is_refused() {
    let both = id_token().claim("aud", json!(["grafana", "wiki"]));
    for (azp, code) in [
        (json!("grafana"), "allowed"),
        (json!("wiki"), "client_not_allowed"),
        (json!(["grafana"]), "client_not_allowed"),
        (Value::Null, "client_not_allowed"),
    ] {
        let token = both.clone().claim("azp", azp).build();
        check(&open(), None, Some(&token), code);
    }
    check(&open(), None, Some(&both.build()), "allowed");
    let one = id_token().claim("aud", json!(["grafana"])).build();
    check(&open(), None, Some(&one), "allowed");
    let theirs = id_token().claim("azp", "wiki").build();
    check(&open(), None, Some(&theirs), "client_not_allowed");
}

/// A backend that receives a token assumes that it was verified.
#[test]
fn a_bearer_beside_the_id_token_that_decided_is_never_kept() {
    let mut keep = open();
    keep["forward"] = json!({"authorization": "keep"});
    let good = id_token().build();
    let forged = Token::new().claim("iss", "https://elsewhere").build();
    let removed = |authorization: &str, id_token: Option<&str>| {
        let mut gate = crate::common::gate(&keep);
        let request = request(Some(authorization), id_token);
        let Decided::Allowed { edits, .. } = crate::common::ask(&mut gate, &request) else {
            panic!("{authorization} is not let in");
        };
        edits.contains(&("authorization".to_owned(), None))
    };
    for beside in [format!("Bearer {forged}"), "Negotiate abc".to_owned()] {
        assert!(removed(&beside, Some(&good)), "{beside}");
    }
    // Nobody has verified the name before the password.
    assert!(removed(&basic("root", &Token::new().build()), None));
    let ours = bearer(&Token::new());
    assert!(!removed(&ours, Some(&good)));
    assert!(!removed(&ours, None));
}

#[test]
fn a_bearer_that_is_too_long_is_ours_all_the_same() {
    let long = Token::new().claim("padding", "x".repeat(20_000));
    let good = id_token().build();
    check(
        &open(),
        Some(&bearer(&long)),
        Some(&good),
        "token_too_large",
    );
    let theirs = long.claim("aud", "elsewhere");
    check(&open(), Some(&bearer(&theirs)), Some(&good), "allowed");
}

#[test]
fn two_of_a_kind_are_one_too_many() {
    let good = id_token().build();
    let twice = request(None, Some(&good)).and("x-id-token", &good);
    assert_eq!(answer(&open(), &twice), "credential_repeated");
    let twice = request(Some(&bearer(&Token::new())), Some(&good)).and("x-id-token", "x");
    assert_eq!(answer(&open(), &twice), "credential_repeated");
    let in_query =
        request(None, Some(&good)).set(":path", format!("/loki/api/v1/labels?access_token={good}"));
    assert_eq!(answer(&open(), &in_query), "credential_repeated");
    for joined in [format!("{good},{good}"), format!("{good}, {good}")] {
        check(&open(), None, Some(&joined), "credential_repeated");
    }
    // An empty one is none.
    check(&open(), None, Some(""), "credential_missing");
    check(&open(), Some(&bearer(&Token::new())), Some(""), "allowed");
    // Another spelling of the name is not read.
    let other = request(None, None).and("x_id_token", &good);
    assert_eq!(answer(&open(), &other), "credential_missing");
}

/// A proof is of a token for its purpose, whichever came first.
#[test]
fn what_is_remembered_is_remembered_with_its_purpose() {
    let mut config = open();
    config["providers"][0]["audiences"] = json!(["observability"]);
    let mut gate = crate::common::gate(&config);
    let token = id_token().claim("typ", "ID").build();
    let as_id = request(None, Some(&token));
    let as_bearer = request(Some(&format!("Bearer {token}")), None);
    let as_password = request(Some(&basic("a", &token)), None);
    for _ in 0..3 {
        assert_eq!(crate::common::ask(&mut gate, &as_id).code(), "allowed");
        assert_eq!(
            crate::common::ask(&mut gate, &as_bearer).code(),
            "audience_mismatch"
        );
        assert_eq!(
            crate::common::ask(&mut gate, &as_password).code(),
            "audience_mismatch"
        );
    }
}

#[test]
fn the_header_for_id_tokens_and_the_lists_go_together() {
    let problem = |patch: Value| {
        let mut config = config();
        merge(&mut config["providers"][0], patch["provider"].clone());
        merge(&mut config, patch["config"].clone());
        let document = config.to_string();
        let found = Config::parse(document.as_bytes(), &Environment::default());
        found.err().map(|problems| problems[0].to_string())
    };
    let header = |name: &str| json!(["bearer", {"id_token_header": name}]);
    let lists = json!({"id_token_audiences": ["grafana"]});
    for (provider, credentials, expected) in [
        (json!({}), json!([]), "credentials: must have bearer"),
        (json!({}), json!(["basic"]), "credentials: must have bearer"),
        (
            json!({}),
            json!("bearer"),
            "credentials: expected a list, found a string: write [bearer]",
        ),
        (
            json!({}),
            json!(["bearer", "cookie"]),
            "credentials[1]: must be bearer, basic",
        ),
        (
            json!({}),
            json!(["bearer", "bearer"]),
            "credentials[1]: stands in the list before",
        ),
        (
            json!({}),
            header("x-id-token"),
            "credentials: id_token_header has no meaning",
        ),
        (
            lists.clone(),
            json!(["bearer"]),
            "credentials: a provider has id_token_audiences",
        ),
        (
            lists.clone(),
            header("authorization"),
            "credentials[1].id_token_header: the gate reads",
        ),
        (
            lists.clone(),
            header("cookie"),
            "credentials[1].id_token_header: HTTP gives",
        ),
        (
            lists.clone(),
            header("x-access-token"),
            "credentials[1].id_token_header: clients and",
        ),
        (
            lists.clone(),
            header("x_id"),
            "credentials[1].id_token_header: must be a header name",
        ),
        (
            lists.clone(),
            header("x-scopegate-subject"),
            "credentials: id_token_header may not be",
        ),
        (
            json!({"id_token_audiences": [1]}),
            header("x-id-token"),
            "providers[0].id_token_audiences[0]",
        ),
    ] {
        let found = problem(json!({"provider": provider, "config": {"credentials": credentials}}));
        let found = found.unwrap_or_default();
        assert!(found.starts_with(expected), "{credentials}: {found}");
    }
    let found = problem(json!({"provider": lists, "config": {}})).unwrap();
    assert!(found.contains("id_token_audiences"), "{found}");
    for name in ["x-id-token", "X-Login", "remote-token"] {
        let config = json!({"credentials": header(name)});
        let found = problem(json!({"provider": lists, "config": config}));
        assert_eq!(found, None, "{name}");
    }
}
