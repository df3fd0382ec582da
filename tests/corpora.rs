//! Inputs that fuzzers have found worth keeping, put to the targets again: `fuzz/corpus` has a
//! file for each target, and in it an input to a line.
//!
//! `SCOPEGATE_WRITE=1` adds what a fuzzer should begin with. What it finds is added by `make fuzz`.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::common::{ISSUER, NOW, Token, UPTIME, b64, config, fetched, jwk, jwks};
use crate::targets::{TARGETS, put};
use scopegate::authn::key_cache::Edition;
use scopegate::authn::key_lease::{Document, Lease};
use scopegate::authz::endpoint::TABLE;
use scopegate::words::time::{Monotonic, Now, Timestamp};
use serde_json::{Value, json};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus")
}

fn file(target: &str) -> PathBuf {
    folder().join(format!("{target}.txt"))
}

/// The bytes of a line, in which `\xNN`, `\t`, `\r`, `\n`, `\'`, `\"` and `\\` stand for one each.
fn unescaped(line: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = line.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        bytes.push(match rest.next().unwrap() {
            b't' => b'\t',
            b'r' => b'\r',
            b'n' => b'\n',
            b'x' => {
                let digits = [rest.next().unwrap(), rest.next().unwrap()];
                let digits = std::str::from_utf8(&digits).unwrap();
                u8::from_str_radix(digits, 16).unwrap()
            }
            other => other,
        });
    }
    bytes
}

fn corpus(target: &str) -> Vec<Vec<u8>> {
    let text = std::fs::read_to_string(file(target)).unwrap_or_default();
    text.lines().map(unescaped).collect()
}

#[test]
fn what_fuzzers_have_found_holds() {
    for (target, _) in TARGETS {
        let corpus = corpus(target);
        let taken = corpus.iter().filter(|bytes| put(target, bytes)).count();
        // Else the law has been asked about refusals only.
        assert!(taken > 0, "{target}: none of {} is taken", corpus.len());
        assert!(taken < corpus.len(), "{target}: all are taken");
    }
}

#[test]
fn each_corpus_is_that_of_a_target_and_has_no_input_twice() {
    let names: BTreeSet<String> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let expected = TARGETS.iter().map(|(name, _)| format!("{name}.txt"));
    assert_eq!(names, expected.collect());
    for (target, _) in TARGETS {
        let corpus = corpus(target);
        let different: BTreeSet<&Vec<u8>> = corpus.iter().collect();
        assert_eq!(different.len(), corpus.len(), "{target}");
    }
}

/// The fuzzers, by their package, are the targets.
#[test]
fn each_target_has_a_fuzzer() {
    let folder = folder().join("../fuzz_targets");
    let fuzzers: BTreeSet<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let expected = TARGETS.iter().map(|(name, _)| format!("{name}.rs"));
    assert_eq!(fuzzers, expected.collect());
    let manifest = std::fs::read_to_string(self::folder().join("../Cargo.toml")).unwrap();
    for (target, _) in TARGETS {
        assert!(manifest.contains(&format!("\nname = \"{target}\"\n")));
    }
}

#[test]
fn seeds_are_in_the_corpora() {
    let write = std::env::var_os("SCOPEGATE_WRITE").is_some();
    for (target, _) in TARGETS {
        let mut corpus = corpus(target);
        let missing = seeds(target).into_iter();
        let missing: Vec<Vec<u8>> = missing.filter(|seed| !corpus.contains(seed)).collect();
        if write {
            corpus.extend(missing);
            let lines: BTreeSet<String> = corpus
                .iter()
                .map(|bytes| format!("{}\n", bytes.escape_ascii()))
                .collect();
            std::fs::write(file(target), String::from_iter(lines)).unwrap();
        } else {
            assert!(missing.is_empty(), "{target}: SCOPEGATE_WRITE=1 adds seeds");
        }
    }
}

/// What a fuzzer of that target begins with, some of it good and some not.
fn seeds(target: &str) -> Vec<Vec<u8>> {
    let token = Token::new().build();
    let texts = |texts: &[&str]| texts.iter().map(|text| text.as_bytes().to_vec()).collect();
    match target {
        "bearer" => texts(&[
            &format!("Bearer {token}"),
            "bEARER   a.b.c",
            "Bearer a.b.c, Bearer d.e.f",
            "Basic YWdlbnQ6YS5iLmM=",
            "Basic  Og==",
            "DPoP a.b.c",
        ]),
        "claims" => claims(),
        "configuration" => configurations(),
        "discovery" => discovery_documents(),
        "form" => texts(&[
            "query=%7Bapp%3D%22web%22%7D&start=1&end=2&limit=5",
            "match[]=up&match%5B%5D=%7Bjob%3D%22x%22%7D",
            "query=sum(rate(http_requests_total%7Bcode%3D~%225..%22%7D%5B5m%5D))&time=1",
            "query=a&query=b",
            "query=%zz;start=1",
            "",
        ]),
        "grpc" => {
            let rows = TABLE.iter().filter(|row| row.is_grpc());
            let mut names: Vec<Vec<u8>> = rows.map(|row| row.template.into()).collect();
            names.extend(
                texts(&["/logproto.Pusher/Push", "/grpc.health.v1.Health/Check", "/"])
                    as Vec<Vec<u8>>,
            );
            names
        }
        "head" => heads(&token),
        "jwks" => key_sets(),
        "logql" => queries(include_str!("queries/logql.txt")),
        "organizations" => organizations(),
        "path" => paths(),
        "promql" => queries(include_str!("queries/promql.txt")),
        "shared" => shared_entries(),
        "tenants" => texts(&[
            "a",
            "b|a|a",
            "team-1_x|(y)|*|!'.",
            "a||b",
            "..",
            "a|.|b",
            "a/b",
            "|",
        ]),
        "token" => tokens(),
        "traceql" => queries(include_str!("queries/traceql.txt")),
        "worker" => (0..40).map(sequence).collect(),
        _ => Vec::new(),
    }
}

/// Every twentieth query of the tests, of those that the fuzzers read as they stand there, and the
/// first of them with its end cut off.
fn queries(text: &str) -> Vec<Vec<u8>> {
    let lines = text.lines().filter(|line| !line.starts_with("##"));
    let plain = lines.filter(|line| !line.is_empty() && !line.contains(['⏎', '␍', '␉']));
    let mut queries: Vec<Vec<u8>> = plain.step_by(20).map(Into::into).collect();
    if let Some([begin @ .., _]) = queries.first().map(Vec::as_slice) {
        queries.push(begin.to_vec());
    }
    queries
}

fn values(values: &[Value]) -> Vec<Vec<u8>> {
    let texts = values.iter().map(ToString::to_string);
    texts.map(String::into_bytes).collect()
}

fn claims() -> Vec<Vec<u8>> {
    let good = json!({
        "iss": ISSUER, "sub": "alice", "aud": "observability", "exp": NOW + 300, "iat": NOW - 10,
        "groups": ["readers"],
    });
    let with = |name: &str, value: Value| {
        let mut claims = good.clone();
        claims[name] = value;
        claims
    };
    values(&[
        good.clone(),
        with("aud", json!(["account", "observability"])),
        with("exp", json!(NOW - 100)),
        with("exp", json!(1.8e9 + 300.5)),
        with("nbf", json!(NOW + 1_000)),
        with("groups", json!("readers")),
        with("groups", json!({"readers": true})),
        with("sub", json!("")),
        with("iss", json!("https://login.example.com/")),
    ])
}

fn configurations() -> Vec<Vec<u8>> {
    let mut full = config();
    full["organizations"][0]["rbac"] = json!({
        "viewers": [{"group": "readers", "labels": {"namespace": ["web"]}}],
        "admins": ["operators"],
    });
    full["organizations_from"] = json!({"uri": "https://o.example.com/v1", "cluster": "o"});
    full["limits"] = json!({"wait": "3s", "waiting_requests": 3});
    full["audit"] = json!({"log": "all"});
    full["mode"] = json!("report");
    values(&[
        config(),
        full,
        fetched(json!({"max_stale": "1h", "share": true})),
        json!({"providers": []}),
        json!({}),
    ])
}

fn discovery_documents() -> Vec<Vec<u8>> {
    let document = |issuer: &str, keys: &str| json!({"issuer": issuer, "jwks_uri": keys});
    values(&[
        document(ISSUER, "https://login.example.com/realms/platform/certs"),
        document(ISSUER, "https://keys.example.com/certs?v=1"),
        document(ISSUER, "https://evil.example/certs"),
        document(ISSUER, "http://login.example.com/certs"),
        document(ISSUER, "https://login.example.com@evil.example/"),
        document("https://login.example.com", "https://login.example.com/"),
    ])
}

fn heads(token: &str) -> Vec<Vec<u8>> {
    let head = |path: &str, tenants: &str, more: &str| {
        format!(
            ":method: GET\n:path: {path}\nauthorization: Bearer {token}\nx-scope-orgid: {tenants}{more}"
        )
        .into_bytes()
    };
    vec![
        head("/loki/api/v1/query?query={a=\"b\"}", "a", ""),
        head(
            "/prometheus/api/v1/labels",
            "b|a",
            "\nconnection: x-scope-orgid",
        ),
        head(
            "/tempo/api/search",
            "a",
            "\nx-scopegate-backend: loki\nX_Scope_OrgID: c",
        ),
        head("/loki/api/v1/labels", "c", ""),
        head("/loki/api/v1/labels", "a", "\nx-scope-orgid: b"),
        head("/loki/api/v1/push", "a", "\ncontent-length: 3"),
        b":method: OPTIONS\n:path: /loki/api/v1/labels\norigin: https://x.example".to_vec(),
    ]
}

fn key_sets() -> Vec<Vec<u8>> {
    let mut sets: Vec<Vec<u8>> = [
        vec![jwk("p256-a")],
        vec![jwk("p384-a"), jwk("ed25519-a"), jwk("rsa-a")],
        vec![jwk("p256-a"), jwk("p256-b"), jwk("p256-a")],
        vec![crate::common::jwk_with("p256-a", json!({"use": "enc"}))],
        vec![
            crate::common::jwk_with("p256-a", json!({"d": "AA"})),
            crate::common::jwk_with("p256-b", json!({"use": "sig", "alg": "ES256"})),
        ],
        vec![crate::common::jwk_with("p256-b", json!({"kid": null}))],
    ]
    .iter()
    .map(|keys| jwks(keys))
    .collect();
    sets.push(b"{\"keys\": {}}".to_vec());
    sets
}

fn organizations() -> Vec<Vec<u8>> {
    let document =
        |list: Value| json!({"version": 1, "epoch": 1, "revision": 3, "organizations": list});
    let one = json!({"name": "two", "tenants": ["c"], "rbac": {"viewers": ["guests"]}});
    let typed = json!({"name": "three", "tenants": [{"name": "d", "types": ["data", "alerting"]}],
        "rbac": {"admins": [{"group": "x", "labels": {"namespace": ["web"]}}]}});
    values(&[
        document(json!([one])),
        document(json!([one, typed])),
        document(json!([one, one])),
        document(json!([])),
        document(json!([{"name": "one", "tenants": ["a"]}])),
        json!({"version": 2}),
    ])
}

fn paths() -> Vec<Vec<u8>> {
    let mut paths: Vec<Vec<u8>> = Vec::new();
    for row in TABLE {
        let filled: Vec<&str> = row
            .template
            .split('/')
            .map(|segment| {
                if segment.starts_with('{') {
                    "n%2Fm"
                } else {
                    segment
                }
            })
            .collect();
        let methods = row.methods.to_string();
        let method = methods.split(", ").next().unwrap_or_default();
        paths.push(format!("{method} {}", filled.join("/")).into_bytes());
    }
    paths.sort();
    paths.dedup();
    paths
}

fn shared_entries() -> Vec<Vec<u8>> {
    let asked = Now {
        wall: Timestamp::from_secs(NOW - 60),
        mono: Monotonic::from_millis(UPTIME - 60_000),
    };
    let document = |keys: &[Value], tag: Option<Box<[u8]>>| {
        let document = Document {
            edition: Edition { number: 3, asked },
            max_age: tag.is_none().then_some(60_000),
            tag,
            bytes: jwks(keys).into(),
        };
        [b"d".to_vec(), document.to_bytes()].concat()
    };
    let lease = |lease: Lease| [b"e".to_vec(), lease.to_bytes()].concat();
    let soon = Monotonic::from_millis(UPTIME + 50_000);
    vec![
        document(&[jwk("p256-a")], None),
        document(&[jwk("p256-b")], Some(b"\"v1\"".as_slice().into())),
        document(&[], None),
        lease(Lease::default()),
        lease(Lease {
            holder: 7,
            until: soon,
            failures: 2,
            retry: soon,
            demanded: asked.mono,
            fetched: asked.mono,
            number: 9,
        }),
        b"dscopejw3".to_vec(),
        b"escopele3".to_vec(),
    ]
}

fn tokens() -> Vec<Vec<u8>> {
    let good = Token::new();
    let mut tokens: Vec<Vec<u8>> = [
        good.build(),
        good.clone().by("ed25519-a", "EdDSA").build(),
        good.clone().header("typ", "at+jwt").build(),
        good.clone().header("crit", json!(["exp"])).build(),
        good.clone().header("alg", "none").build(),
        good.clone().without_header("kid").build(),
        good.raw_claims("{\"a\":1,\"\\u0061\":2}").build(),
    ]
    .map(String::into_bytes)
    .to_vec();
    tokens.push(b"a.b.c".to_vec());
    tokens.push(format!("{}..", b64("{\"alg\":\"ES256\"}")).into_bytes());
    tokens
}

/// Some bytes by a number.
fn sequence(number: u64) -> Vec<u8> {
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let length = 8 + number * 6;
    let byte = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..length).map(byte).collect()
}
