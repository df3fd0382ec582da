//! The scenario table itself: every row can be read and every token in it can be made.

#![allow(clippy::expect_used)]

use integration::client::Reply;
use integration::scenario::{self, Outcome, Prepared, Scenario, Upstreamed};
use integration::{token, yaml};

#[test]
fn every_scenario_can_be_prepared() {
    let scenarios = scenario::load().expect("the scenario table");
    for (file, scenario) in &scenarios {
        let prepared = scenario.prepare(file, token::now());
        prepared.unwrap_or_else(|error| panic!("{file}: {}: {error:#}", scenario.name));
    }
    eprintln!("{} scenarios", scenarios.len());
}

/// A refusal as the gate words it, and a scenario that expects it.
fn refusal() -> (Prepared, Outcome) {
    let text = r#"
        name: refused
        request: {path: /loki/api/v1/labels, tenant: acme}
        token: reader
        expect: {status: 401, code: token_expired, body: text, challenge: 'error="invalid_token"', retry_after: false}
    "#;
    let scenario: Scenario = yaml::parse(text).expect("a scenario");
    let header = |name: &str, value: &str| (name.to_owned(), value.as_bytes().to_vec());
    let reply = Reply {
        status: 401,
        headers: vec![
            header("content-type", "text/plain"),
            header("x-content-type-options", "nosniff"),
            header(
                "www-authenticate",
                r#"Bearer realm="observability", error="invalid_token""#,
            ),
        ],
        body: b"request a new token\n".to_vec(),
        trailers: Vec::new(),
    };
    let outcome = Outcome {
        reply,
        code: Some("token_expired".to_owned()),
        upstream: Vec::new(),
    };
    (
        scenario.prepare("test", token::now()).expect("prepared"),
        outcome,
    )
}

#[test]
fn an_outcome_as_expected_has_no_problems() {
    let (prepared, outcome) = refusal();
    assert_eq!(scenario::check(&prepared, &outcome), Vec::<String>::new());
}

type Change = fn(&mut Outcome, &Prepared);

#[test]
fn every_difference_is_found() {
    let changes: [(&str, Change); 9] = [
        ("status", |outcome, _| outcome.reply.status = 403),
        ("code", |outcome, _| {
            outcome.code = Some("unknown_key".to_owned());
        }),
        ("challenges", |outcome, _| outcome.reply.headers.truncate(2)),
        ("X-Content-Type-Options", |outcome, _| {
            outcome.reply.headers.remove(1);
        }),
        ("not Text", |outcome, _| {
            outcome.reply.body = b"a\nb\n".to_vec();
        }),
        ("Retry-After", |outcome, _| {
            outcome
                .reply
                .headers
                .push(("retry-after".to_owned(), b"5".to_vec()));
        }),
        ("nobody asked for", |outcome, _| {
            outcome
                .reply
                .headers
                .push(("x-new".to_owned(), b"1".to_vec()));
        }),
        ("a backend saw loki", |outcome, _| {
            outcome.upstream.push(Upstreamed {
                backend: "loki".to_owned(),
                ..Upstreamed::default()
            });
        }),
        ("shows the token", |outcome, prepared| {
            outcome.reply.body = prepared.token.clone().unwrap_or_default();
        }),
    ];
    for (word, change) in changes {
        let (prepared, mut outcome) = refusal();
        change(&mut outcome, &prepared);
        let problems = scenario::check(&prepared, &outcome).join("; ");
        assert!(problems.contains(word), "{word}: {problems:?}");
    }
}
