//! Rules that hold for a whole space of inputs, tried at random or, if the space is small,
//! completely.
//!
//! `PROPTEST_CASES` sets the number of cases. A failure prints its smallest input.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

use std::borrow::Cow;

use crate::common::{
    ALLOWED, Bench, Decided, NOW, Request, Token, ask, attempt, b64, config, fetched, gate,
    issuers, jwk, jwks, keys, parse, unb64,
};
use crate::laws::is_path_of;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::Config as ProptestConfig;
use scopegate::authn::json;
use scopegate::authn::jwks::KeySet;
use scopegate::authn::keys::{Algorithm, InModule};
use scopegate::authn::token::Unverified;
use scopegate::authz::endpoint::{Backend, Endpoint, Endpoints, Rewrite, Surface, TABLE};
use scopegate::config::{Config, Environment};
use scopegate::gate::Outcome;
use scopegate::words::denial::Denial;
use scopegate::words::request::OwnHeaders;
use scopegate::words::request::{Head, Occurrence};
use scopegate::words::tenant::TenantSet;
use serde_json::{Value, json as object};

/// Failures are printed rather than kept in files beside the tests.
fn settings() -> ProptestConfig {
    ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

// One changed byte

/// Every position of a valid token, several bytes in its place: none may pass, not
/// even where the token itself is remembered.
fn no_changed_byte_passes(key: &'static str, algorithm: &'static str) {
    let token = Token::new().by(key, algorithm).build();
    let mut gate = gate(&keys(&[jwk(key)], &[algorithm]));
    assert_eq!(ask(&mut gate, &Request::bearing(&token)).code(), ALLOWED);
    for position in 0..token.len() {
        let original = token.as_bytes()[position];
        // The alphabet's neighbour changes one bit or two, the others are far off.
        let neighbour = match original {
            b'A'..=b'Y' | b'a'..=b'y' | b'0'..=b'8' => original + 1,
            b'-' => b'_',
            _ => original - 1,
        };
        for byte in [neighbour, b'A', b'.', b'=', b' ', 0xff] {
            if byte == original {
                continue;
            }
            let mut changed = token.clone().into_bytes();
            changed[position] = byte;
            let header = [&b"Bearer "[..], &changed].concat();
            let answer = ask(&mut gate, &Request::new().set("authorization", header));
            let Decided::Denied(denial) = answer else {
                panic!("{position}: {original} to {byte}: {answer:?}");
            };
            assert_eq!(denial.status(), 401, "{position}: {original} to {byte}");
        }
        let shorter = [&token[..position], &token[position + 1..]].concat();
        let answer = ask(&mut gate, &Request::bearing(&shorter));
        assert_ne!(answer.code(), ALLOWED, "without {position}");
    }
    assert_eq!(gate.cached_tokens(), 1);
}

#[test]
fn no_changed_byte_of_an_es256_token_passes() {
    no_changed_byte_passes("p256-a", "ES256");
}

#[test]
fn no_changed_byte_of_an_eddsa_token_passes() {
    no_changed_byte_passes("ed25519-a", "EdDSA");
}

#[test]
fn no_changed_byte_of_an_rs256_token_passes() {
    no_changed_byte_passes("rsa-a", "RS256");
}

// Tenants

const TENANT_BYTES: &str = "[a-zA-Z0-9!_.*'()-]";

fn tenant() -> impl Strategy<Value = String> {
    let any = proptest::string::string_regex(&format!("{TENANT_BYTES}{{1,150}}")).unwrap();
    // Few enough names that lists repeat some.
    prop_oneof![any, "[ab.]{1,2}"].prop_filter("a path", |id| id != "." && id != "..")
}

fn is_tenant_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!-_.*'()".contains(&byte)
}

proptest! {
    #![proptest_config(settings())]

    #[test]
    fn tenant_lists_have_one_canonical_form(mut tenants in vec(tenant(), 1..12)) {
        let header = tenants.join("|");
        let set = TenantSet::parse(header.as_bytes(), 64).unwrap();
        prop_assert_eq!(set.asked(), tenants.len());
        let canonical = set.canonical().into_owned();
        tenants.sort_unstable_by(|a, b| a.as_bytes().cmp(b.as_bytes()));
        tenants.dedup();
        let joined = tenants.join("|");
        prop_assert_eq!(&canonical, joined.as_bytes());
        let listed: Vec<&[u8]> = set.iter().collect();
        prop_assert!(listed.windows(2).all(|pair| pair[0] < pair[1]));
        // The canonical form is its own.
        let again = TenantSet::parse(&canonical, 64).unwrap();
        let again = again.canonical();
        prop_assert!(matches!(again, Cow::Borrowed(_)));
        prop_assert_eq!(again.as_ref(), &canonical[..]);
    }

    #[test]
    fn a_byte_outside_the_alphabet_refuses_the_whole_list(
        tenants in vec(tenant(), 1..4),
        byte in any::<u8>(),
        place in any::<prop::sample::Index>(),
    ) {
        prop_assume!(!is_tenant_byte(byte) && byte != b'|');
        let mut header = tenants.join("|").into_bytes();
        header.insert(place.index(header.len() + 1), byte);
        prop_assert!(TenantSet::parse(&header, 64).is_err());
    }

    #[test]
    fn any_bytes_are_a_tenant_list_or_refused(header in vec(any::<u8>(), 0..200)) {
        if let Ok(set) = TenantSet::parse(&header, 8) {
            prop_assert!(header.iter().all(|byte| is_tenant_byte(*byte) || *byte == b'|'));
            prop_assert!(set.asked() <= 8);
            prop_assert!(set.iter().all(|id| (1..=150).contains(&id.len())));
        }
    }
}

// Paths

/// Texts that parsers of paths disagree about.
const TRICKS: [&str; 32] = [
    "/", "//", "/.", "/..", "/../", "/./", ".", "..", ";", ";x=1", "\\", "#", "#x", "%", "%2",
    "%2F", "%2f", "%5C", "%2E", "%2e%2e", "%25", "%252F", "%00", "%0A", "%zz", "\0", "\r\n", " ",
    "\u{e9}", "%C3%A9", "%FF", "{name}",
];

fn rows() -> Vec<&'static Endpoint> {
    // The projects API is not forwarded as it comes.
    let platform = |row: &&Endpoint| row.surface != Surface::Projects;
    TABLE.iter().filter(platform).collect()
}

/// A row's path with its template segments filled in.
fn fill(row: &Endpoint, filler: &str) -> String {
    let segments = row.template.split('/').map(|segment| {
        if segment.starts_with('{') {
            filler
        } else {
            segment
        }
    });
    segments.collect::<Vec<_>>().join("/")
}

/// A gate that grants everything on `a`, with the token that proves it.
fn open_gate() -> (Bench, String) {
    let mut config = config();
    config["organizations"][0]["rbac"] = object!({"admins": ["readers"]});
    config["organizations"][0]["tenants"] = object!([{"name": "a", "types": ["data", "alerting"]}]);
    config["backends"]["loki"] = object!({"legacy_api": true});
    (
        gate(&config),
        Token::new().claim("exp", NOW + 3_000).build(),
    )
}

/// What the rewrite of a row makes of a path and its query, told a second time.
fn rewritten(row: &Endpoint, path: &str) -> Option<String> {
    let (raw, query) = match path.split_once('?') {
        Some((raw, query)) => (raw, format!("?{query}")),
        None => (path, String::new()),
    };
    match row.rewrite {
        Rewrite::Keep => None,
        Rewrite::To(target) => Some(format!("{target}{query}")),
        Rewrite::WithoutPrefix(prefix) => Some(format!("{}{query}", &raw[prefix.len()..])),
    }
}

#[test]
fn every_row_is_reached_by_its_path_and_forwarded_by_its_rewrite() {
    let (mut gate, token) = open_gate();
    for row in rows() {
        for method in row.methods.to_string().split(", ") {
            for query in ["", "?", "?query=%7Ba%3D%22b%22%7D&x=a?b"] {
                let path = format!("{}{query}", fill(row, "n-1"));
                let kind = if row.is_grpc() {
                    "application/grpc"
                } else {
                    "text/plain"
                };
                let request = Request::bearing(&token)
                    .set(":method", method)
                    .set(":path", &path)
                    .set("content-type", kind);
                let Decided::Allowed { edits, .. } = ask(&mut gate, &request) else {
                    panic!("{method} {path}: {:?}", ask(&mut gate, &request));
                };
                let path_edit = edits.iter().find(|(name, _)| name == ":path");
                let set = path_edit.and_then(|(_, value)| value.clone());
                assert_eq!(set, rewritten(row, &path), "{method} {path}");
                let backend = Some(row.backend.name().to_owned());
                assert!(edits.contains(&("x-scopegate-backend".to_owned(), backend)));
                // What a backend sees is never a path that a row of another meaning owns.
                if let Some(seen) = set {
                    let seen = seen.split('?').next().unwrap();
                    let endpoints = Endpoints::new(&[Surface::Platform, Surface::LokiLegacy]);
                    if let Ok(owner) = endpoints.find(seen.as_bytes(), method.as_bytes()) {
                        assert_eq!(owner.backend, row.backend, "{seen}");
                        assert_eq!(owner.permission, row.permission, "{seen}");
                    } else {
                        assert_eq!(row.backend, Backend::Tempo, "{seen}");
                        assert!(seen.starts_with("/api/"), "{seen}");
                    }
                }
            }
        }
    }
}

/// Every trick in every place of every row: the same row by a second parser, or 404.
#[test]
fn no_trick_anywhere_in_a_path_is_listed_as_something_else() {
    let endpoints = Endpoints::new(&[Surface::Platform, Surface::LokiLegacy]);
    for row in rows() {
        let path = fill(row, "n.m");
        for trick in TRICKS {
            for place in 0..=path.len() {
                let (before, after) = path.split_at(place);
                let tricked = format!("{before}{trick}{after}");
                if let Ok(found) = endpoints.find(tricked.as_bytes(), b"GET") {
                    assert_eq!(is_path_of(found, tricked.as_bytes()), Ok(()));
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4 * settings().cases, ..settings() })]

    #[test]
    fn a_mutated_path_is_listed_or_refused(
        row in select(rows()),
        filler in select(vec!["n", "a%2Fb", "x.y", "..x", "a:b@c", "%C3%A9", "r%20s"]),
        trick in select(TRICKS.to_vec()),
        place in any::<prop::sample::Index>(),
        removed in 0_usize..3,
        method in select(vec!["GET", "POST", "PUT", "DELETE", "HEAD", "get", ""]),
    ) {
        let endpoints = Endpoints::new(&[Surface::Platform, Surface::LokiLegacy]);
        let mut path = fill(row, filler).into_bytes();
        let at = place.index(path.len() + 1);
        let end = (at + removed).min(path.len());
        path.splice(at..end, trick.bytes());
        match endpoints.find(&path, method.as_bytes()) {
            Ok(row) => {
                prop_assert!(row.methods.to_string().split(", ").any(|known| known == method));
                prop_assert_eq!(is_path_of(row, &path), Ok(()));
            }
            Err(Denial::MethodNotAllowed(methods)) => {
                prop_assert!(!methods.to_string().split(", ").any(|known| known == method));
            }
            Err(Denial::PathEscapeRefused(_)) => {
                let path = String::from_utf8_lossy(&path);
                prop_assert!(path.contains("/rules/"), "{}", path);
            }
            Err(Denial::RouteMoved(_)) => {
                let path = String::from_utf8_lossy(&path);
                prop_assert!(path.contains("/api/v1/rules"), "{}", path);
            }
            Err(denial) => prop_assert_eq!(denial, Denial::RouteNotListed),
        }
    }

    #[test]
    fn tricks_in_literal_segments_are_never_listed(
        row in select(rows()),
        trick in select(TRICKS.to_vec()),
        place in any::<prop::sample::Index>(),
    ) {
        prop_assume!(!row.template.contains('{'));
        let endpoints = Endpoints::new(&[Surface::Platform, Surface::LokiLegacy]);
        let mut path = row.template.to_owned();
        path.insert_str(place.index(path.len() + 1), trick);
        let found = endpoints.find(path.as_bytes(), b"GET");
        // A slash can make one listed path of another only through a template.
        if let Ok(other) = found {
            prop_assert!(other.template.contains('{'), "{} is {}", path, other.template);
            prop_assert_eq!(is_path_of(other, path.as_bytes()), Ok(()));
        }
    }

    #[test]
    fn random_paths_are_never_listed(path in vec(any::<u8>(), 0..80)) {
        let endpoints = Endpoints::new(&[Surface::Platform, Surface::LokiLegacy]);
        prop_assert_eq!(endpoints.find(&path, b"GET").unwrap_err(), Denial::RouteNotListed);
    }
}

// Base64

proptest! {
    #![proptest_config(settings())]

    #[test]
    fn only_the_canonical_spelling_of_a_part_is_taken(text in "[A-Za-z0-9_=+/-]{1,24}") {
        let header = b64(r#"{"alg":"ES256"}"#);
        let token = format!("{header}.e30.{text}");
        if let Ok(token) = Unverified::parse(token.as_bytes(), 16_384) {
            prop_assert_eq!(b64(token.signature), text);
        }
    }

    #[test]
    fn every_other_spelling_of_the_same_bytes_is_refused(
        bytes in vec(any::<u8>(), 1..40),
        bits in 1_u8..16,
    ) {
        let header = b64(r#"{"alg":"ES256"}"#);
        let text = b64(&bytes);
        let takes = |text: &str| {
            Unverified::parse(format!("{header}.e30.{text}").as_bytes(), 16_384).is_ok()
        };
        prop_assert!(takes(&text));
        prop_assert_eq!(unb64(&text), bytes.clone());
        let padded = format!("{text}=");
        prop_assert!(!takes(&padded));
        // The last character's unused bits.
        let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let last = *text.as_bytes().last().unwrap();
        let value = alphabet.iter().position(|byte| *byte == last).unwrap();
        let unused = match bytes.len() % 3 {
            0 => 1,
            1 => 16,
            _ => 4,
        };
        let extra = usize::from(bits) % unused;
        if extra > 0 {
            let twin = char::from(alphabet[value + extra]);
            let spelled = format!("{}{twin}", &text[..text.len() - 1]);
            prop_assert!(!takes(&spelled), "{} and {}", text, spelled);
        }
    }
}

// JSON

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 64, 8, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::hash_map(any::<String>(), inner, 0..24)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// Text that is nearly JSON.
fn jsonish() -> impl Strategy<Value = Vec<u8>> {
    let pieces: Vec<&[u8]> = vec![
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b":",
        b"\"",
        b"\"a\"",
        b"\"b\"",
        b"\"\\u0061\"",
        b"1",
        b"-0",
        b"1e5",
        b"1e999",
        b"true",
        b"null",
        b" ",
        b"\\",
        b"\xff",
        b"\xef\xbb\xbf",
        b"\0",
        b"{\"a\":",
        b"\"\\ud800\"",
        b"0.1",
        b"NaN",
    ];
    vec(select(pieces), 0..24).prop_map(|pieces| pieces.concat())
}

/// Whether both parsers see the same value; numbers as JSON writes them.
fn same(ours: &json::Value, theirs: &Value) -> bool {
    match (ours, theirs) {
        (json::Value::Null, Value::Null) => true,
        (json::Value::Bool(a), Value::Bool(b)) => a == b,
        (json::Value::String(a), Value::String(b)) => a == b,
        (json::Value::Number(a), Value::Number(b)) => match *a {
            json::Number::Unsigned(a) => b.as_u64() == Some(a),
            json::Number::Negative(a) => b.as_i64() == Some(a),
            json::Number::Float(a) => b.as_f64() == Some(a),
        },
        (json::Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        (json::Value::Object(a), Value::Object(b)) => {
            a.iter().count() == b.len()
                && a.iter()
                    .all(|(name, a)| b.get(name).is_some_and(|b| same(a, b)))
        }
        _ => false,
    }
}

proptest! {
    #![proptest_config(settings())]

    #[test]
    fn json_that_anyone_writes_is_read_as_it_is(value in json_value()) {
        let text = value.to_string();
        let ours = json::parse(text.as_bytes(), 16).unwrap();
        let theirs: Value = serde_json::from_str(&text).unwrap();
        prop_assert!(same(&ours, &theirs), "{}", text);
    }

    #[test]
    fn what_the_strict_parser_takes_serde_json_takes_and_reads_alike(text in jsonish()) {
        if let Ok(ours) = json::parse(&text, 16) {
            let theirs: Value = serde_json::from_slice(&text).unwrap();
            prop_assert!(same(&ours, &theirs));
        }
    }

    #[test]
    fn random_bytes_are_no_trouble_for_the_json_parser(bytes in vec(any::<u8>(), 0..200)) {
        if json::parse(&bytes, 16).is_ok() {
            prop_assert!(serde_json::from_slice::<Value>(&bytes).is_ok());
        }
    }

    #[test]
    fn a_repeated_name_is_refused_wherever_it_stands(
        names in prop::collection::hash_set("[a-z]{1,6}", 1..40),
        twin in any::<prop::sample::Index>(),
        place in any::<prop::sample::Index>(),
        escaped in any::<bool>(),
        outer in select(vec![("", ""), ("{\"x\":", "}"), ("{\"x\":[1,[", "]]}"), ("{\"x\":{\"y\":", "}}")]),
    ) {
        let names: Vec<String> = names.into_iter().collect();
        let mut members: Vec<String> = names.iter().map(|name| format!("\"{name}\":1")).collect();
        let twin = &names[twin.index(names.len())];
        let spelled = if escaped {
            let escapes: Vec<String> = twin.bytes().map(|it| format!("\\u{it:04x}")).collect();
            escapes.concat()
        } else {
            twin.clone()
        };
        let wrap = |members: &[String]| format!("{}{{{}}}{}", outer.0, members.join(","), outer.1);
        prop_assert!(json::parse_object(wrap(&members).as_bytes(), 16).is_ok());
        members.insert(place.index(members.len() + 1), format!("\"{spelled}\":2"));
        let text = wrap(&members);
        prop_assert_eq!(
            json::parse_object(text.as_bytes(), 16).unwrap_err(),
            json::JsonError::Duplicate(twin.clone()),
            "{}", text
        );
    }
}

// Heads

fn header_name() -> impl Strategy<Value = Vec<u8>> {
    let known: Vec<&[u8]> = vec![
        b":method",
        b":path",
        b"authorization",
        b"x-scope-orgid",
        b"x_scope_orgid",
        b"connection",
        b"content-type",
        b"upgrade",
        b"x-scopegate-backend",
        b"x-mimir-",
        b"X-Scope-OrgID",
        b"",
        b"x",
        b"x-scopegate",
        b"remote-user",
    ];
    prop_oneof![
        4 => select(known).prop_map(<[u8]>::to_vec),
        1 => vec(any::<u8>(), 0..80),
    ]
}

fn header_value() -> impl Strategy<Value = Vec<u8>> {
    let known: Vec<&[u8]> = vec![
        b"GET",
        b"/loki/api/v1/query",
        b"Bearer a.b.c",
        b"a",
        b"a|b",
        b"x-scope-orgid",
        b"close",
        b"application/grpc",
        b"websocket",
        b"/loki/api/v1/query?access_token=%",
        b"",
    ];
    prop_oneof![
        select(known).prop_map(<[u8]>::to_vec),
        vec(any::<u8>(), 0..60),
    ]
}

proptest! {
    #![proptest_config(settings())]

    #[test]
    fn any_header_list_is_read_and_none_passes_without_a_token(
        headers in vec((header_name(), header_value()), 0..20),
        subject in select(vec![None, Some(&b"remote-user"[..]), Some(&b""[..])]),
    ) {
        let pairs = || headers.iter().map(|(name, value)| (&name[..], &value[..]));
        let own = OwnHeaders { subject, id_token: None };
        let head = Head::read(pairs(), own);
        let count = |name: &[u8]| headers.iter().filter(|(other, _)| other == name).count();
        for (name, read) in [
            (&b":method"[..], head.method),
            (b":path", head.path),
            (b"authorization", head.authorization),
            (b"x-scope-orgid", head.org_id),
        ] {
            let expected = match count(name) {
                0 => matches!(read, Occurrence::Absent),
                1 => read.once().is_some(),
                _ => matches!(read, Occurrence::Repeated),
            };
            prop_assert!(expected, "{:?}", read);
        }
        // Every spelling of the tenant header but the one that is read.
        for (name, _) in &headers {
            let folded = String::from_utf8_lossy(name).to_ascii_lowercase().replace('_', "-");
            if folded == "x-scope-orgid" && name != b"x-scope-orgid" {
                prop_assert!(head.forbidden.contains(&&name[..]));
            }
        }
        let mut gate = gate(&config());
        let outcome = gate.evaluate(&head, attempt(0, 0), &InModule).outcome;
        prop_assert!(matches!(outcome, Outcome::Refuse(_)));
    }
}

// Junk

/// A valid document with a few bytes replaced.
fn spoiled(document: Vec<u8>) -> impl Strategy<Value = Vec<u8>> {
    let edit = (any::<prop::sample::Index>(), any::<u8>(), 0_usize..3);
    vec(edit, 1..4).prop_map(move |edits| {
        let mut bytes = document.clone();
        for (place, byte, kind) in edits {
            let at = place.index(bytes.len());
            match kind {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ => {
                    bytes.remove(at);
                }
            }
        }
        bytes
    })
}

proptest! {
    #![proptest_config(settings())]

    #[test]
    fn random_bytes_are_no_configuration(bytes in vec(any::<u8>(), 0..300)) {
        let problems = Config::parse(&bytes, &Environment::default()).unwrap_err();
        prop_assert!(!problems.is_empty());
    }

    #[test]
    fn random_json_is_no_configuration(value in json_value()) {
        let problems = Config::parse(value.to_string().as_bytes(), &Environment::default());
        prop_assert!(!problems.unwrap_err().is_empty());
    }

    #[test]
    fn a_spoiled_configuration_is_refused_with_problems_or_sound(
        document in spoiled(fetched(object!({"max_stale": "1h"})).to_string().into_bytes()),
    ) {
        match Config::parse(&document, &Environment::default()) {
            Ok(config) => prop_assert_eq!(config.providers.len(), 1),
            Err(problems) => {
                prop_assert!(!problems.is_empty());
                // The same bytes, the same problems.
                let again = Config::parse(&document, &Environment::default()).unwrap_err();
                prop_assert_eq!(problems, again);
            }
        }
    }

    #[test]
    fn random_bytes_are_no_key_set(bytes in vec(any::<u8>(), 0..300)) {
        prop_assert!(KeySet::parse(&bytes, &Algorithm::ALL, &issuers()).is_err());
    }

    #[test]
    fn random_json_is_no_key_set(value in json_value()) {
        let listed = object!({"keys": [value]}).to_string();
        for text in [value.to_string(), listed] {
            prop_assert!(KeySet::parse(text.as_bytes(), &Algorithm::ALL, &issuers()).is_err());
        }
    }

    #[test]
    fn a_spoiled_key_set_never_gives_another_key_for_the_same_name(
        document in spoiled(jwks(&[jwk("p256-a"), jwk("ed25519-a")])),
    ) {
        // A byte more or less in a coordinate leaves the curve. Only Ed25519 takes
        // nearly half of all strings for a point, so there it is another key.
        let sound = KeySet::parse(&jwks(&[jwk("p256-a")]), &Algorithm::ALL, &issuers()).unwrap();
        if let Ok(set) = KeySet::parse(&document, &Algorithm::ALL, &issuers()) {
            prop_assert!(set.keys().len() <= 2);
            for key in set.keys().iter().filter(|key| key.algorithm() == Algorithm::ES256) {
                prop_assert_eq!(key.spki(), sound.keys()[0].spki());
            }
        }
    }

    #[test]
    fn random_authorization_never_passes(
        bytes in prop_oneof![
            vec(any::<u8>(), 0..200),
            vec(any::<u8>(), 0..200).prop_map(|rest| [&b"Bearer "[..], &rest].concat()),
            "Bearer [A-Za-z0-9_-]{0,40}\\.[A-Za-z0-9_-]{0,40}\\.[A-Za-z0-9_-]{0,40}"
                .prop_map(String::into_bytes),
        ],
    ) {
        let answer = ask(&mut gate(&config()), &Request::new().set("authorization", bytes));
        let Decided::Denied(denial) = answer else {
            return Err(TestCaseError::fail(format!("{answer:?}")));
        };
        prop_assert!(matches!(denial.status(), 400 | 401));
    }

    #[test]
    fn random_headers_and_claims_under_any_signature_never_pass(
        header in json_value(),
        claims in json_value(),
        signature in vec(any::<u8>(), 0..80),
    ) {
        let plain = Token::new();
        for token in [
            plain.clone().raw_header(header.to_string()),
            plain.clone().raw_claims(claims.to_string()),
            plain.clone(),
        ] {
            let forged = token.with_signature(&signature);
            prop_assert_ne!(crate::common::verdict(&config(), &forged), ALLOWED);
        }
        // Well signed, too: what is not a claims object for us is no token.
        let signed = plain.raw_claims(claims.to_string()).build();
        prop_assert_ne!(crate::common::verdict(&config(), &signed), ALLOWED);
    }

    #[test]
    fn spoiled_tokens_never_pass(token in spoiled(Token::new().build().into_bytes())) {
        prop_assume!(token != Token::new().build().as_bytes());
        let header = [&b"Bearer "[..], &token].concat();
        let answer = ask(&mut gate(&config()), &Request::new().set("authorization", header));
        // A space before a token is one more space after the scheme.
        let trimmed = token.trim_ascii_start() == Token::new().build().as_bytes();
        prop_assert_eq!(answer.code() == ALLOWED, trimmed);
    }
}

#[test]
fn the_configuration_of_the_properties_is_sound() {
    // Else "refused" above would say nothing.
    assert_eq!(
        parse(&fetched(object!({"max_stale": "1h"})))
            .providers
            .len(),
        1
    );
    assert_eq!(
        crate::common::verdict(&config(), &Token::new().build()),
        ALLOWED
    );
}
