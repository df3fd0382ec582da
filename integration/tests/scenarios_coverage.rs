//! What the scenario table must cover: every denial code, and every row of the endpoint table.

#![allow(clippy::expect_used)]

use std::collections::BTreeSet;
use std::fs;

use integration::client::Reply;
use integration::scenario::{self, BodyFamily, Outcome, Scenario, Upstreamed};
use integration::{paths, yaml};
use scopegate::authz::endpoint::{Endpoint, Endpoints, ErrorFormat, Surface, TABLE, Tenants};
use scopegate::words::denial::ROWS;
use scopegate::words::method::Methods;

/// Without the rows that `endpoints.yaml` stands for.
const LEAST_WRITTEN: usize = 170;

/// Codes that no request can provoke, each with the reason.
const NOT_BY_REQUEST: [(&str, &str); 4] = [
    (
        "body_timeout",
        "needs a body that does not end: scopes.rs sends one",
    ),
    (
        "gate_unavailable",
        "needs a host without a clock: regression.rs takes it away",
    ),
    (
        "scope_unsound",
        "needs a fault of the gate: a query that a second reading does not bear out",
    ),
    (
        "trailers_not_expected",
        "a scenario has no trailers: tests/scopes.rs sends some",
    ),
];

#[test]
fn there_are_enough_scenarios() {
    let scenarios = scenario::load().expect("the scenario table");
    let written = scenarios
        .iter()
        .filter(|(file, _)| file != "endpoints.yaml");
    let count = written.count();
    assert!(count >= LEAST_WRITTEN, "{count} scenarios");
}

#[test]
fn every_denial_code_has_a_scenario() {
    let mut codes: BTreeSet<&str> = ROWS.iter().map(|row| row.code).collect();
    let scenarios = scenario::load().expect("the scenario table");
    let mut wanted = codes.clone();
    for (code, _) in NOT_BY_REQUEST {
        assert!(wanted.remove(code), "{code} is no code any more");
    }
    let shown: BTreeSet<&str> = scenarios
        .iter()
        .filter_map(|(_, scenario)| scenario.expect.code.as_deref())
        .collect();
    let own = ["answered_empty", "healthy", "no_keys", "preflight"];
    let missing: Vec<_> = own.iter().filter(|code| !shown.contains(*code)).collect();
    assert!(
        missing.is_empty(),
        "answers without a scenario: {missing:?}"
    );
    codes.extend(own);
    let unknown: Vec<_> = shown.difference(&codes).collect();
    assert!(unknown.is_empty(), "codes that do not exist: {unknown:?}");
    let missing: Vec<_> = wanted.difference(&shown).collect();
    assert!(missing.is_empty(), "codes without a scenario: {missing:?}");
    eprintln!("{} codes in {} scenarios", shown.len(), scenarios.len());
}

/// `endpoints.yaml` is written by the backends' documentation and the table in src by somebody else: they must say the
/// same of every method of every path.
#[test]
fn every_endpoint_of_the_table_has_scenarios() {
    let rows = scenario::endpoints().expect("endpoints.yaml").endpoints;
    let index = Endpoints::new(&[Surface::Platform, Surface::LokiLegacy]);
    let mut shown = BTreeSet::new();
    for row in &rows {
        for method in &row.methods {
            let title = format!("{method} {}", row.path);
            let endpoint = index
                .find(row.path.as_bytes(), method.as_bytes())
                .unwrap_or_else(|denial| panic!("{title}: {denial:?}"));
            assert_eq!(endpoint.backend.name(), row.backend, "{title}");
            assert_eq!(endpoint.permission.name(), row.needs, "{title}");
            assert_eq!(endpoint.tenants != Tenants::One, row.federates, "{title}");
            assert_eq!(
                endpoint.tenants == Tenants::Optional,
                row.tenant_optional,
                "{title}"
            );
            assert_eq!(body_of(endpoint), row.refused, "{title}");
            assert_eq!(
                endpoint.surface == Surface::LokiLegacy,
                row.config == "legacy",
                "{title}"
            );
            assert!(
                shown.insert((endpoint.template, method.clone())),
                "{title} twice"
            );
        }
    }
    // What a row of the projects API forwards is never what it got: its scenarios are written out.
    let projects = Endpoints::new(&[Surface::Projects]);
    for (_, scenario) in scenario::load().expect("the scenario table") {
        let path = scenario.request.path.bytes().expect("a path");
        let path = path.split(|byte| *byte == b'?').next().unwrap_or_default();
        let method = scenario.request.method;
        if scenario.expect.status == 200
            && let Ok(endpoint) = projects.find(path, method.as_bytes())
        {
            shown.insert((endpoint.template, method));
        }
    }
    let missing: Vec<String> = TABLE
        .iter()
        .flat_map(|endpoint| {
            let methods = ["GET", "POST", "PUT", "DELETE"].into_iter();
            let own = methods.filter(|name| {
                Methods::from_name(name.as_bytes()).is_some_and(|one| endpoint.methods.has(one))
            });
            own.map(|name| (endpoint.template, name.to_owned()))
        })
        .filter(|key| !shown.contains(key))
        .map(|(template, method)| format!("{method} {template}"))
        .collect();
    assert!(
        missing.is_empty(),
        "endpoints without a scenario: {missing:?}"
    );
}

fn body_of(endpoint: &Endpoint) -> BodyFamily {
    match endpoint.error_format {
        ErrorFormat::Grpc => BodyFamily::Grpc,
        ErrorFormat::Otlp => BodyFamily::OtlpProtobuf,
        ErrorFormat::Prometheus => BodyFamily::PrometheusJson,
        ErrorFormat::Text => BodyFamily::Text,
    }
}

/// A scenario in which neither replay takes part shows nothing.
#[test]
fn every_scenario_is_replayed_somewhere() {
    let scenarios = scenario::load().expect("the scenario table");
    for (file, scenario) in &scenarios {
        assert!(
            scenario.not_envoy.is_none() || scenario.not_native.is_none(),
            "{file}: {}",
            scenario.name
        );
        assert!(!scenario.protocols.is_empty(), "{file}: {}", scenario.name);
    }
}

/// A configuration that nobody uses is a forgotten rule.
#[test]
fn every_configuration_is_used() {
    let scenarios = scenario::load().expect("the scenario table");
    let used: BTreeSet<String> = scenarios
        .iter()
        .map(|(_, scenario)| format!("{}.yaml", scenario.config))
        .collect();
    let folder = paths::integration().join("scenarios/configs");
    for entry in fs::read_dir(folder).expect("scenarios/configs") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let _: serde_json::Value = yaml::read(&path).expect("a document");
        assert!(
            used.contains(name.as_ref()),
            "{name} is used by no scenario"
        );
    }
}

/// The comparison itself: what the table leans on must be able to fail.
#[test]
fn a_wrong_cluster_and_a_wrong_body_are_found() {
    let scenario: Scenario = yaml::parse(
        "{name: x, request: {path: /}, expect: {status: 200, says_only: a, upstream: {backend: tempo, cluster: tempo_grpc}}}",
    )
    .expect("a scenario");
    let prepared = scenario.prepare("test", 0).expect("prepared");
    let outcome = |body: &str, cluster: &str| Outcome {
        reply: Reply {
            status: 200,
            body: body.into(),
            ..Reply::default()
        },
        code: None,
        upstream: vec![Upstreamed {
            backend: "tempo".to_owned(),
            cluster: Some(cluster.to_owned()),
            ..Upstreamed::default()
        }],
    };
    let problems = |body, cluster| scenario::check(&prepared, &outcome(body, cluster)).len();
    assert_eq!(problems("a", "tempo_grpc"), 0);
    assert_eq!(problems("b", "tempo_grpc"), 1);
    assert_eq!(problems("a", "tempo"), 1);
}

/// Where Envoy may answer first, a refusal of the gate must still be the right one.
#[test]
fn an_answer_of_envoy_excuses_no_wrong_code() {
    let scenario: Scenario = yaml::parse(
        "{name: x, request: {path: /}, expect: {status: 400, or_status: [400], code: tenant_malformed}}",
    )
    .expect("a scenario");
    let prepared = scenario.prepare("test", 0).expect("prepared");
    let problems = |code: Option<&str>| {
        let reply = Reply {
            status: 400,
            headers: vec![("x-content-type-options".to_owned(), b"nosniff".to_vec())],
            ..Reply::default()
        };
        let outcome = Outcome {
            reply,
            code: code.map(str::to_owned),
            upstream: Vec::new(),
        };
        scenario::check(&prepared, &outcome)
    };
    assert_eq!(problems(None), Vec::<String>::new());
    assert_eq!(problems(Some("tenant_malformed")), Vec::<String>::new());
    assert_eq!(problems(Some("tenant_missing")).len(), 1);
}
