//! `docs/openapi.yaml` describes what the projects API does: its paths and parameters are those
//! of the table, and its refusals are those of the gate, in code, status, text and form.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use scopegate::authz::endpoint::{Backend, Endpoint, ErrorFormat, Scoping, Surface, TABLE};
use scopegate::reply;
use scopegate::scoping::parameters::{Absent, Carrier, Parameters};
use scopegate::words::denial::{Denial, ROWS};
use scopegate::words::method::Methods;
use scopegate::words::refusal::{FormError, Refusal, Rule};
use scopegate::words::request::Head;
use serde_json::Value;

fn read(path: &str) -> String {
    let path = format!("{}/{path}", env!("CARGO_MANIFEST_DIR"));
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn document() -> Value {
    serde_yaml_ng::from_str(&read("docs/openapi.yaml")).unwrap()
}

/// What a reference points at, or the value itself.
fn resolve<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    match value["$ref"].as_str() {
        Some(place) => document
            .pointer(place.trim_start_matches('#'))
            .unwrap_or_else(|| panic!("nothing at {place}")),
        None => value,
    }
}

fn rows() -> impl Iterator<Item = &'static Endpoint> {
    TABLE.iter().filter(|row| row.surface == Surface::Projects)
}

fn parameters(row: &Endpoint) -> &'static Parameters {
    match row.scoping {
        Scoping::Parameters(parameters, _) => parameters,
        _ => panic!("{} has no parameters", row.template),
    }
}

/// The path of a row as the document writes it.
fn documented_path(row: &Endpoint) -> String {
    row.template
        .replace("{project}", "{projectId}")
        .replace("{resource}", "{resourceId}")
}

/// Members of an object, none of nothing.
fn members(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

/// Codes that a GET of the projects API cannot get, whatever its row.
const NOT_HERE: [&str; 18] = [
    // Only bodies are read for these, and a GET has none.
    "body_timeout",
    "body_too_large",
    "content_type_not_supported",
    "trailers_not_expected",
    // Who may read a project is the directory's to say, not roles on tenants.
    "permission_missing",
    "scope_ambiguous",
    "tenant_not_granted",
    // They are about other paths.
    "path_escape_refused",
    "route_moved",
    // The header is not read.
    "tenant_ambiguous",
    "tenants_over_limit",
    "tenant_malformed",
    "tenant_missing",
    "tenant_not_single",
    "tenant_repeated",
    // Both rows can be scoped, by one query each.
    "scope_unsupported",
    "parameter_refused",
    // Who may read a project is no matter of organizations.
    "organizations_unavailable",
];

/// The codes that a request to that row can get.
fn possible(row: &Endpoint) -> BTreeSet<&'static str> {
    let Parameters {
        carrier, refused, ..
    } = parameters(row);
    let Carrier::One { absent, .. } = carrier else {
        panic!("{}: more than one query", row.template);
    };
    assert!(refused.is_empty(), "{}: a refused parameter", row.template);
    let mut codes: BTreeSet<&str> = ROWS.iter().map(|row| row.code).collect();
    for code in NOT_HERE {
        assert!(codes.remove(code), "there is no code {code}");
    }
    if *absent == Absent::Scope {
        codes.remove("query_missing");
    }
    codes
}

/// A denial for each code, with the details that the document's examples have.
fn denials() -> BTreeMap<&'static str, Denial> {
    let refusal = Refusal {
        at: 13,
        rule: Rule::Unbalanced,
    };
    let detailed = [
        Denial::MethodNotAllowed(Methods::GET),
        Denial::ParameterRepeated("query"),
        Denial::ParametersMalformed(FormError::Escape),
        Denial::QueryRefused("query", refusal),
    ];
    ROWS.iter()
        .filter_map(|row| row.denial)
        .chain(detailed)
        .map(|denial| (denial.code(), denial))
        .collect()
}

/// Of a request whose path was not looked at, or is none of the table.
fn is_before_match(denial: Denial) -> bool {
    matches!(
        denial,
        Denial::ConnectionHeader
            | Denial::MethodNotAllowed(_)
            | Denial::RequestMalformed
            | Denial::RouteNotListed
    )
}

/// Names with a capital inside are examples of what Envoy and the backends say.
fn is_code(name: &str) -> bool {
    name.bytes()
        .all(|byte| byte.is_ascii_lowercase() || byte == b'_')
}

#[test]
fn paths_and_methods_are_those_of_the_table() {
    let document = document();
    let documented: BTreeMap<String, BTreeSet<String>> = members(&document["paths"])
        .map(|(path, item)| {
            let methods = members(item).filter(|(name, _)| *name != "parameters");
            (
                path.clone(),
                methods.map(|(name, _)| name.clone()).collect(),
            )
        })
        .collect();
    let table: BTreeMap<String, BTreeSet<String>> = rows()
        .map(|row| {
            let methods = row.methods.to_string().to_lowercase();
            let methods = methods.split(", ").map(ToOwned::to_owned).collect();
            (documented_path(row), methods)
        })
        .collect();
    assert_eq!(table.len(), 2);
    assert_eq!(documented, table);
}

#[test]
fn parameters_are_those_of_the_table() {
    let document = document();
    for row in rows() {
        let Parameters {
            carrier,
            others,
            defaults,
            closed,
            ..
        } = parameters(row);
        assert!(closed, "{}: more than what is documented", row.template);
        let Carrier::One { names, absent, .. } = carrier else {
            panic!("{}: more than one query", row.template);
        };
        let known: BTreeSet<&str> = names.iter().chain(*others).copied().collect();
        let operation = &document["paths"][documented_path(row)]["get"];
        let documented = operation["parameters"].as_array().unwrap();
        let names: BTreeSet<&str> = documented
            .iter()
            .map(|parameter| {
                assert_eq!(parameter["in"], "query");
                parameter["name"].as_str().unwrap()
            })
            .collect();
        assert_eq!(names, known, "{}", row.template);
        for parameter in documented {
            let name = parameter["name"].as_str().unwrap();
            if name == "query" {
                let required = parameter["required"].as_bool().unwrap_or_default();
                assert_eq!(required, *absent == Absent::Refuse, "{}", row.template);
            }
            for (_, value) in defaults.iter().filter(|(set, _)| *set == name) {
                assert_eq!(parameter["schema"]["default"].to_string(), *value);
            }
        }
    }
}

#[test]
fn an_id_is_what_the_gate_takes_for_one() {
    let document = document();
    let schema = &document["components"]["schemas"]["Id"];
    assert_eq!(schema["pattern"], "^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$");
    let longest = schema["maxLength"].as_u64().unwrap();
    let text = |length: u64| "a".repeat(usize::try_from(length).unwrap());
    assert!(scopegate::authz::projects::is_id(&text(longest)));
    assert!(!scopegate::authz::projects::is_id(&text(longest + 1)));
    assert!(!scopegate::authz::projects::is_id(""));
}

#[test]
fn every_refusal_is_documented_under_its_status_as_the_gate_says_it() {
    let document = document();
    let denials = denials();
    for row in rows() {
        let operation = &document["paths"][documented_path(row)]["get"];
        let mut documented = BTreeSet::new();
        for (status, response) in members(&operation["responses"]) {
            let response = resolve(&document, response);
            for (kind, media) in members(&response["content"]) {
                for (name, example) in members(&media["examples"]) {
                    if !is_code(name) || status == "200" {
                        continue;
                    }
                    let denial = denials[name.as_str()];
                    assert!(documented.insert(name.as_str()), "{name} is there twice");
                    assert_eq!(denial.status().to_string(), *status, "{name}");
                    let value = &resolve(&document, example)["value"];
                    check_reply(row.error_format, denial, kind, value);
                    check_headers(denial, &document, response);
                }
            }
        }
        assert_eq!(documented, possible(row), "{}", row.template);
    }
}

/// That the gate's reply has that type and body.
fn check_reply(error_format: ErrorFormat, denial: Denial, kind: &str, value: &Value) {
    let error_format = (!is_before_match(denial)).then_some(error_format);
    let reply = reply::deny(denial, error_format, &Head::default(), "observability", 4);
    let sent = reply
        .headers
        .iter()
        .find(|(name, _)| *name == "content-type");
    let (_, sent) = sent.expect("a content type");
    assert!(sent.starts_with(kind), "{denial:?}: {sent}, not {kind}");
    let body = String::from_utf8(reply.body).unwrap();
    match value {
        Value::String(text) => assert_eq!(*text, body, "{denial:?}"),
        value => assert_eq!(
            *value,
            serde_json::from_str::<Value>(&body).unwrap(),
            "{denial:?}"
        ),
    }
}

/// That each header of the gate's reply is documented, and none is required that it lacks.
fn check_headers(denial: Denial, document: &Value, response: &Value) {
    let head = Head {
        request_id: scopegate::words::request::Occurrence::Once(b"id"),
        ..Head::default()
    };
    let reply = reply::deny(
        denial,
        Some(ErrorFormat::Prometheus),
        &head,
        "observability",
        4,
    );
    let sent: BTreeSet<&str> = reply.headers.iter().map(|(name, _)| *name).collect();
    let documented: BTreeMap<String, &Value> = members(&response["headers"])
        .map(|(name, header)| (name.to_lowercase(), resolve(document, header)))
        .collect();
    for name in &sent {
        // `nosniff` is not promised where the backend's answers lack it.
        let known = documented.contains_key(*name);
        let exempt = ["content-type", "x-content-type-options"].contains(name);
        assert!(known || exempt, "{denial:?}: {name} is not documented");
    }
    for (name, header) in documented {
        let required = header["required"] == true;
        let promised = sent.contains(name.as_str());
        assert!(!required || promised, "{denial:?} has no {name}");
    }
}

#[test]
fn both_backends_are_there() {
    let backends: Vec<Backend> = rows().map(|row| row.backend).collect();
    assert_eq!(backends, [Backend::Loki, Backend::Mimir]);
}
