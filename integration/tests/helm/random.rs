//! Deployment files that are drawn: mostly good ones, with something in them that is not.

use anyhow::Result;
use integration::drill::Random;
use serde_json::{Value, json};

use crate::alike::changed;

/// What has a meaning to YAML, to JSON, to Helm's templates, to Envoy's formats or to a shell.
pub const ODD: [&str; 34] = [
    "a\" b",
    "it's",
    "a\nb: c",
    "\n---\n",
    "---",
    "{{ .Values }}",
    "{{ fail \"x\" }}",
    "{% raw %}",
    "}}",
    "# no comment",
    "a #b",
    "a: b",
    "a:",
    "- a",
    "&a *b !c",
    "yes",
    "NO",
    "null",
    "~",
    "1e3",
    "0x10",
    "0o14",
    "1_000",
    "12:30",
    "2026-01-01",
    " blanks ",
    "\u{7f}\u{85}\u{2028}\u{feff}\u{ffff}",
    "tab\there",
    "back\\slash\\n",
    "%REQ(X)%",
    "$(id) `id` ${HOME}",
    "ключ 🔑",
    "<&>",
    "1000000",
];

/// URLs of backends, the ones that every product takes first.
const URLS: [&str; 20] = [
    "http://a.logs.svc",
    "http://a.logs.svc.cluster.local:3100",
    "http://b.logs.svc:1/",
    "http://c.scopegate.svc:80",
    "http://loki",
    "http://10.1.2.3:80",
    "http://[::1]:80",
    "http://[1:2:3:4:5:6:7::]",
    "http://01.2.3.4",
    "http://1.2.3.256",
    "http://[1::2::3]",
    "http://[::1.2.3.4]",
    "https://a.logs.svc",
    "http://A.Logs.svc:080",
    "http://a.logs.svc:70000",
    "http://a.logs.svc?x",
    "http://-a",
    "http://a_b.c.svc",
    "",
    "http://\u{212a}.logs.svc",
];

const TEXTS: [&str; 20] = [
    "scopegate",
    "a-b",
    "a.b",
    "A",
    "a_b",
    "-a",
    "/a",
    "/a b",
    "sha256:1",
    "registry:5000/a/b",
    "1",
    "512Mi",
    "1Gi",
    "511Mi",
    "true",
    "90s",
    "a\"b",
    "x\ny",
    "{{ . }}",
    "é",
];

const SOURCES: [&str; 10] = [
    "https://login.example.com/keys",
    "https://login.example.com:8443/keys",
    "http://dex.dex.svc:5556/keys",
    "https://dex.dex.svc/keys",
    "https://10.0.0.1/keys",
    "https://keys.example.org",
    "https://login_1.example.com/keys",
    "https://login.example.com./keys",
    "https://login.example.com:0/keys",
    "https://[::1]x/keys",
];

const CLUSTERS: [&str; 8] = [
    "idp",
    "idp_2",
    "IDP",
    "idp-2",
    "loki",
    "tempo_otlp_http",
    "-",
    "a b",
];

/// The shipped deployment file with changes.
pub fn drawn(random: &mut Random) -> Result<Value> {
    let mut changes = backends(random);
    changes.extend(members(random));
    changes.extend(sources(random));
    for group in 0..random.below(4) {
        let text = one(random, &ODD);
        changes.push((
            format!("/organizations/0/rbac/viewers/{group}"),
            json!(text),
        ));
    }
    changed(
        changes
            .iter()
            .map(|(place, it)| (place.as_str(), it.clone())),
    )
}

type Changes = Vec<(String, Value)>;

fn one<'a>(random: &mut Random, among: &[&'a str]) -> &'a str {
    let drawn = among.get(random.below(among.len()));
    drawn.copied().unwrap_or_default()
}

fn backends(random: &mut Random) -> Changes {
    let mut changes = Vec::new();
    for (backend, members) in [
        ("loki", &["url", "grpc_url"][..]),
        ("mimir", &["url", "grpc_url"]),
        ("tempo", &["url", "grpc_url", "otlp_url", "otlp_grpc_url"]),
    ] {
        let section = match random.below(16) {
            0 => Some(json!({"enabled": false})),
            1 => Some(json!({"enabled": true})),
            2 => Some(json!({})),
            3 => Some(Value::Null),
            _ => None,
        };
        changes.extend(section.map(|section| (format!("/backends/{backend}"), section)));
        for member in members {
            let url = match random.below(30) {
                0 => json!(one(random, &URLS)),
                1..=5 => json!(one(random, &URLS[..4])),
                6..=10 if *member != "url" => Value::Null,
                _ => continue,
            };
            changes.push((format!("/deployment/backends/{backend}/{member}"), url));
        }
    }
    changes
}

fn members(random: &mut Random) -> Changes {
    let mut changes = Vec::new();
    for name in [
        "host",
        "tls/secret",
        "image",
        "digest",
        "memory",
        "trusted_ca",
        "module",
        "tls/key",
    ] {
        if random.below(60) == 0 {
            let text = one(random, &TEXTS);
            changes.push((format!("/deployment/{name}"), json!(text)));
        }
    }
    let numbers = [1, 2, 3, 16, 30, 128, 129, 1000, 1001, 0];
    for name in ["workers", "replicas"] {
        if random.below(12) == 0 {
            let number = numbers[random.below(numbers.len())];
            changes.push((format!("/deployment/{name}"), json!(number)));
        }
    }
    changes
}

/// Providers, organizations from outside, and where their clusters lead.
fn sources(random: &mut Random) -> Changes {
    let mut changes = Vec::new();
    if random.below(2) == 0 {
        changes.push(("/providers/0/jwks".to_owned(), keys(random, 0)));
    }
    for index in 1..=random.below(3) {
        let provider = json!({
            "name": format!("p{index}"),
            "issuer": one(random, &SOURCES),
            "audiences": [one(random, &TEXTS)],
            "jwks": keys(random, index),
            "claims": {"groups": [{"path": ["groups"], "prefix": format!("p{index}:")}]},
        });
        changes.push((format!("/providers/{index}"), provider));
    }
    if random.below(3) == 0 {
        let source = json!({"uri": one(random, &SOURCES), "cluster": one(random, &CLUSTERS)});
        changes.push(("/organizations_from".to_owned(), source));
    }
    if random.below(4) == 0 {
        let mut clusters = json!({});
        for _ in 0..=random.below(2) {
            clusters[one(random, &CLUSTERS)] = json!({"url": one(random, &SOURCES)});
        }
        changes.push(("/deployment/clusters".to_owned(), clusters));
    }
    changes
}

fn keys(random: &mut Random, index: usize) -> Value {
    let mut keys = json!({"cluster": format!("keys_{index}")});
    if random.below(6) == 0 {
        keys["cluster"] = json!(one(random, &CLUSTERS));
    }
    if random.below(2) == 0 {
        keys["uri"] = json!(one(random, &SOURCES));
    } else {
        keys["discovery"] = json!(true);
    }
    if random.below(3) == 0 {
        keys["share"] = json!(random.below(2) == 0);
    }
    if random.below(3) == 0 {
        keys["authorization"] = json!({"environment": one(random, &["KEYS", "OTHER_KEYS"])});
    }
    keys
}
