//! The configuration document: types, bounds and misspellings of every key, each refused with
//! its place; overrides from the environment; defaults; determinism.
#![allow(clippy::panic, clippy::unwrap_used)]

use crate::common::{ISSUER, Request, Token, answer, config, jwk, jwk_with, parse};
use scopegate::authn::keys::Algorithm;
use scopegate::authn::verifier::TokenKind;
use scopegate::config::{
    AuditLog, Config, ConfiguredProvider, Environment, KeySource, Mode, Problem,
};
use scopegate::words::own_header::SubjectHeader;
use serde_json::{Value, json};

/// A document that uses every key that is supported.
fn full() -> Value {
    json!({
        "mode": "enforce",
        "realm": "observability",
        "providers": [
            {
                "name": "corporate",
                "issuer": ISSUER,
                "audiences": ["observability"],
                "algorithms": ["RS256", "ES256"],
                "clock_skew": "60s",
                "max_lifetime": "24h",
                "token_types": ["JWT", "at+jwt"],
                "accept": ["access"],
                "clients": ["grafana"],
                "reject_bound_tokens": true,
                "jwks": {
                    "uri": "https://login.example.com/certs",
                    "cluster": "idp",
                    "timeout": "5s",
                    "refresh_interval": "10m",
                    "max_stale": "24h",
                },
                "claims": {
                    "subject": [["oid"], ["sub"]],
                    "groups": [
                        {"path": ["groups"]},
                        {"path": ["scope"], "split": " ", "prefix": "scope:"},
                    ],
                },
            },
            {
                "name": "partner",
                "issuer": "https://partner.example",
                "audience_check": "off",
                "jwks": {"inline": {"keys": [jwk("p256-a"), jwk("rsa-a")]}},
                "claims": {"groups": [{"path": ["groups"], "prefix": "partner:"}]},
            },
        ],
        "organizations": [
            {
                "name": "one",
                "display_name": "One",
                "tenants": [
                    "a",
                    {"name": "shared", "types": ["data", "alerting"]},
                    {"name": "fake", "allow_reserved": true},
                ],
                "rbac": {
                    "admins": ["admins"],
                    "editors": ["employees"],
                    "viewers": [{"group": "contractors", "labels": {"namespace": ["web", "shop"]}}],
                    "writers": ["client:alloy"],
                    "auditors": ["auditors"],
                },
            },
            {"name": "two", "tenants": ["a"]},
        ],
        "roles": {"viewer": ["read"], "auditor": ["rules-read", "read"]},
        "backends": {
            "loki": {"enabled": true, "legacy_api": true},
            "mimir": {},
            "tempo": {"enabled": false, "attributes": {"namespace": "k8s.namespace.name"}},
        },
        "projects": {
            "tenant": "org_{project}",
            "resource_label": "resource",
            "directory": {"http": {
                "cluster": "control_plane",
                "authority": "control-plane.example.com:8443",
                "path": "/p/{project}/r/{resource}",
                "timeout": "1s",
                "cache_ttl": "0s",
            }},
        },
        "forward": {
            "authorization": "strip",
            "subject_header": "x-scopegate-subject",
            "label_policy_header": true,
            "rewrite_paths": true,
        },
        "limits": {
            "token_bytes": 16384,
            "groups": 2048,
            "tenants_per_request": 64,
            "cached_tokens": 4096,
            "waiting_requests": 256,
            "wait": "3s",
            "stream_duration": "1h",
        },
        "audit": {"log": "denied", "access_log": true},
    })
}

fn load(config: &Value) -> Result<Config, Vec<Problem>> {
    load_with(config, &[])
}

fn load_with(config: &Value, environment: &[(&str, &str)]) -> Result<Config, Vec<Problem>> {
    let pairs = environment
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Config::parse(config.to_string().as_bytes(), &Environment::new(pairs))
}

/// Gives the member at a path of names and positions a value; `null` removes it.
fn put(config: &mut Value, place: &str, value: Value) {
    let mut node = config;
    let mut steps = place.split('.').peekable();
    while let Some(step) = steps.next() {
        let last = steps.peek().is_none();
        if last && value.is_null() {
            node.as_object_mut().unwrap().remove(step).unwrap();
            return;
        }
        node = match (step.parse::<usize>(), node) {
            (Ok(index), Value::Array(elements)) => &mut elements[index],
            (_, Value::Object(members)) => members.entry(step).or_insert(Value::Null),
            (_, other) => panic!("{place}: {other} has no members"),
        };
    }
    *node = value;
}

fn with(place: &str, value: Value) -> Value {
    let mut config = full();
    put(&mut config, place, value);
    config
}

/// The places and texts of the problems.
fn problems(config: &Value) -> Vec<(String, String)> {
    match load(config) {
        Ok(_) => Vec::new(),
        Err(problems) => problems
            .into_iter()
            .map(|problem| (problem.place, problem.text))
            .collect(),
    }
}

/// Each change of the full document causes one problem, at this place, whose text
/// holds these words.
#[track_caller]
fn table(rows: &[(&str, Value, &str, &str)]) {
    for (change, value, place, words) in rows {
        let found = problems(&with(change, value.clone()));
        assert_eq!(found.len(), 1, "{change} = {value}: {found:?}");
        assert_eq!(found[0].0, *place, "{change} = {value}: {found:?}");
        assert!(found[0].1.contains(words), "{change} = {value}: {found:?}");
    }
}

/// These values are all taken.
#[track_caller]
fn taken(rows: &[(&str, Value)]) {
    for (change, value) in rows {
        assert_eq!(
            problems(&with(change, value.clone())),
            [],
            "{change} = {value}"
        );
    }
}

#[test]
fn the_full_document_is_sound() {
    let config = load(&full()).unwrap();
    assert_eq!(config.mode, Mode::Enforce);
    assert_eq!(config.providers.len(), 2);
    let ConfiguredProvider {
        rules: corporate,
        source,
    } = &config.providers[0];
    assert_eq!(corporate.max_lifetime, Some(86_400));
    assert_eq!(corporate.token_types, ["jwt", "at+jwt"]);
    assert_eq!(corporate.mapping.subject.len(), 2);
    let KeySource::Uri(uri) = source else {
        panic!("{source:?}");
    };
    assert_eq!(
        (uri.timeout, uri.refresh_interval, uri.max_stale),
        (5_000, 600_000, 86_400_000)
    );
    let ConfiguredProvider {
        rules: partner,
        source,
    } = &config.providers[1];
    assert_eq!(partner.audiences, None);
    assert!(matches!(source, KeySource::Inline(set) if set.keys().len() == 2));
    assert_eq!(config.policy.tenants(), 3);
    assert!(config.backends.loki && config.backends.loki_legacy_api && config.backends.mimir);
    assert!(!config.backends.tempo);
}

#[test]
fn what_is_left_out_has_the_documented_default() {
    let minimal = json!({
        "providers": [{
            "name": "p",
            "issuer": "i",
            "audiences": ["a"],
            "jwks": {"uri": "https://idp.example/", "cluster": "idp"},
        }],
        "organizations": [],
    });
    let config = load(&minimal).unwrap();
    assert_eq!(
        (config.mode, config.realm.as_str()),
        (Mode::Enforce, "observability")
    );
    let ConfiguredProvider {
        rules: provider,
        source,
    } = &config.providers[0];
    assert_eq!(provider.algorithms, [Algorithm::RS256, Algorithm::ES256]);
    assert_eq!(provider.leeway.as_secs(), 60);
    assert_eq!(provider.max_lifetime, None);
    assert_eq!(provider.token_types, ["jwt", "at+jwt"]);
    assert_eq!(provider.kinds, [TokenKind::Access]);
    assert!(provider.clients.is_empty() && !provider.reject_bound_tokens);
    assert_eq!(provider.mapping.subject, [["sub"]]);
    assert_eq!(provider.mapping.groups[0].path, ["groups"]);
    let KeySource::Uri(uri) = source else {
        panic!("{source:?}");
    };
    assert_eq!(
        (uri.timeout, uri.refresh_interval, uri.max_stale),
        (5_000, 600_000, 86_400_000)
    );
    assert_eq!(config.backends, scopegate::config::Backends::default());
    assert!(!config.forward.keep_authorization && config.forward.rewrite_paths);
    assert_eq!(
        config
            .forward
            .subject_header
            .as_ref()
            .map(SubjectHeader::as_str),
        Some("x-scopegate-subject")
    );
    let limits = config.limits;
    assert_eq!(
        (
            limits.token_bytes,
            limits.groups,
            limits.tenants_per_request
        ),
        (16_384, 2_048, 64)
    );
    assert_eq!(
        (limits.cached_tokens, limits.waiting_requests, limits.wait),
        (4_096, 256, 3_000)
    );
    assert_eq!(limits.stream_duration, 3_600_000);
    assert_eq!(
        (config.audit.log, config.audit.access_log),
        (AuditLog::Denied, true)
    );
    // `null` is the same as absent, but for the one key where it says something.
    let mut nulls = minimal;
    for name in [
        "mode", "realm", "roles", "backends", "projects", "forward", "limits", "audit",
    ] {
        nulls[name] = Value::Null;
    }
    assert_eq!(problems(&nulls), []);
}

#[test]
fn the_document_is_one_strict_json_object() {
    for (text, words) in [
        ("", "no configuration was handed over"),
        (" \n", "no configuration was handed over"),
        ("null", "no configuration was handed over"),
        ("[]", "not a JSON object"),
        ("{", "not valid JSON"),
        ("{mode: enforce}", "not valid JSON at line 1, column 2"),
        (
            "mode: enforce",
            "this looks like YAML, and the module takes JSON",
        ),
        ("\n# Ours\nproviders:\n  - name: a", "this looks like YAML"),
        ("---\n{}", "this looks like YAML"),
        ("mode=enforce", "not valid JSON"),
        // {"mode": "report"} as a Struct in an Any: the bytes of its message.
        (
            "\n\u{10}\n\u{4}mode\u{12}\u{8}\u{1a}\u{6}report",
            "this is a Struct in binary form: use a StringValue",
        ),
        (r#"{"mode":"report","mode":"enforce"}"#, "stands twice"),
        (r#"{"limits":{"groups":1,"groups":2}}"#, "stands twice"),
    ] {
        let found = Config::parse(text.as_bytes(), &Environment::default()).unwrap_err();
        assert_eq!(found.len(), 1, "{text}");
        assert_eq!(found[0].place, "", "{text}");
        assert!(found[0].text.contains(words), "{text}: {found:?}");
    }
    let places: Vec<String> = problems(&json!({}))
        .into_iter()
        .map(|(place, _)| place)
        .collect();
    assert_eq!(places, ["providers", "organizations"]);
}

#[rustfmt::skip]
#[test]
fn what_people_write_by_habit_is_answered_with_the_form_that_is_meant() {
    let groups = "providers[0].claims.groups";
    let rbac = "organizations[0].rbac";
    table(&[
        ("providers.0.jwks.url", json!("x"), "providers[0].jwks.url", "unknown key: did you mean uri?"),
        ("backends.loki.url", json!("x"), "backends.loki.url", "backends are reached by Envoy's clusters"),
        ("providers.0.client_secret", json!("x"), "providers[0].client_secret", "no secret is needed"),
        ("providers.0.client_id", json!("x"), "providers[0].client_id", "write audiences"),
        ("providers.0.groups_claim", json!("groups"), "providers[0].groups_claim", "write claims: {groups: [{path: [groups]}]}"),
        ("providers.0.claims.groups", json!("groups"), groups, "expected a list such as [{path: [groups]}], found a string"),
        ("providers.0.claims.groups", json!({"path": ["groups"]}), groups, "expected a list such as [{path: [groups]}], found an object"),
        ("providers.0.claims.groups", json!(["groups"]), &format!("{groups}[0]"), "expected an object such as {path: [groups]}, found a string"),
        ("providers.0.claims.groups", json!([{"path": "groups"}]), &format!("{groups}[0].path"), "expected a list, found a string: write [groups]"),
        ("providers.0.claims.groups", json!([{"path": "realm_access.roles"}]), &format!("{groups}[0].path"), "write [realm_access, roles], or [realm_access.roles] if that is one name"),
        ("providers.0.claims.subject", json!("sub"), "providers[0].claims.subject", "expected a list of paths such as [[sub]], found a string"),
        ("providers.0.claims.subject", json!(["sub"]), "providers[0].claims.subject[0]", "expected a list, found a string: write [sub]"),
        ("organizations.0.rbac.viewers", json!("devs"), &format!("{rbac}.viewers"), "expected a list, found a string: write [devs]"),
        ("organizations.0.rbac.viewers", json!([["devs"]]), &format!("{rbac}.viewers[0]"), "expected a group or {group, labels}, found a list"),
        ("organizations.0.rbac.viewers", json!([null]), &format!("{rbac}.viewers[0]"), "expected a group or {group, labels}, found null"),
        ("organizations.0.tenants", json!([7]), "organizations[0].tenants[0]", "expected a string, found a number: put it in quotes"),
        ("organizations.0.tenants", json!([["acme"]]), "organizations[0].tenants[0]", "expected a name or {name, types}, found a list"),
        ("organizations.0.rbac.viewers", json!([{"group": "g", "labels": {"a": "b"}}]), &format!("{rbac}.viewers[0].labels.a"), "expected a list, found a string: write [b]"),
        ("organizations.0.tenants", json!("acme"), "organizations[0].tenants", "expected a list, found a string: write [acme]"),
    ]);
}

#[rustfmt::skip]
#[test]
fn top_level_words_are_checked() {
    table(&[
        ("mode", json!("audit"), "mode", "must be one of enforce, report"),
        ("mode", json!("Enforce"), "mode", "must be one of enforce, report"),
        ("mode", json!(""), "mode", "may not be empty"),
        ("mode", json!(true), "mode", "expected a string, found true or false"),
        ("realm", json!(1), "realm", "expected a string, found a number"),
        ("realm", json!(""), "realm", "may not be empty"),
        ("realm", json!("a\"b"), "realm", "at most 128 printable ASCII"),
        ("realm", json!("a\\b"), "realm", "at most 128 printable ASCII"),
        ("realm", json!("a\r\nb"), "realm", "at most 128 printable ASCII"),
        ("realm", json!("é"), "realm", "at most 128 printable ASCII"),
        ("realm", json!("r".repeat(129)), "realm", "at most 128 printable ASCII"),
        ("audit", json!("all"), "audit", "expected an object, found a string"),
        ("audit.log", json!("some"), "audit.log", "must be one of denied, all, none"),
        ("audit.log", json!(false), "audit.log", "expected a string"),
        ("audit.access_log", json!("yes"), "audit.access_log", "expected true or false"),
        ("audit.acess_log", json!(true), "audit.acess_log", "unknown key"),
    ]);
    taken(&[
        ("mode", json!("report")),
        ("realm", json!("r".repeat(128))),
        ("audit.log", json!("all")),
        ("audit.log", json!("none")),
        ("audit.access_log", json!(false)),
    ]);
}

#[rustfmt::skip]
#[test]
fn unknown_keys_are_refused_everywhere_with_advice() {
    table(&[
        ("colour", json!(1), "colour", "unknown key: known here are mode, realm"),
        ("Mode", json!("enforce"), "Mode", "did you mean mode?"),
        ("provider", json!([]), "provider", "did you mean providers?"),
        ("providers.0.x", json!(1), "providers[0].x", "unknown key"),
        ("providers.1.x", json!(1), "providers[1].x", "unknown key"),
        ("providers.0.clockSkew", json!(1), "providers[0].clockSkew", "did you mean clock_skew?"),
        ("providers.0.algorithm", json!(1), "providers[0].algorithm", "did you mean algorithms?"),
        ("providers.0.audience", json!("x"), "providers[0].audience", "write audiences, a list"),
        ("providers.0.issuers", json!([]), "providers[0].issuers", "must stand alone"),
        ("providers.0.jwks_uri", json!("x"), "providers[0].jwks_uri", "write jwks: {uri: …"),
        ("providers.0.jwksUri", json!("x"), "providers[0].jwksUri", "write jwks: {uri: …"),
        ("providers.0.remote_jwks", json!({}), "providers[0].remote_jwks", "write jwks: {uri: …"),
        ("providers.0.local_jwks", json!({}), "providers[0].local_jwks", "write jwks: {inline: …".split(" …").next().unwrap()),
        ("providers.0.jwks.url", json!("x"), "providers[0].jwks.url", "unknown key"),
        ("providers.0.claims.x", json!(1), "providers[0].claims.x", "unknown key"),
        ("providers.0.claims.groups.1.regex", json!("x"), "providers[0].claims.groups[1].regex", "unknown key"),
        ("organizations.0.x", json!(1), "organizations[0].x", "unknown key"),
        ("organizations.0.tenant", json!("x"), "organizations[0].tenant", "write tenants, a list"),
        ("organizations.0.tenants.1.x", json!(1), "organizations[0].tenants[1].x", "unknown key"),
        ("organizations.0.rbac.owners", json!([]), "organizations[0].rbac.owners", "unknown key"),
        ("organizations.0.rbac.viewer", json!([]), "organizations[0].rbac.viewer", "did you mean viewers?"),
        ("organizations.0.rbac.viewers.0.x", json!(1), "organizations[0].rbac.viewers[0].x", "unknown key"),
        ("backends.pyroscope", json!({}), "backends.pyroscope", "known here are loki, mimir, tempo"),
        ("backends.loki.url", json!("x"), "backends.loki.url", "reached by Envoy's clusters"),
        ("backends.mimir.legacy_api", json!(true), "backends.mimir.legacy_api", "unknown key"),
        ("forward.x", json!(1), "forward.x", "unknown key"),
        ("limits.x", json!(1), "limits.x", "unknown key"),
        ("audit.x", json!(1), "audit.x", "unknown key"),
    ]);
}

#[rustfmt::skip]
#[test]
fn a_label_policy_names_labels_and_values() {
    let labels = "organizations[0].rbac.viewers[0].labels";
    let at = "organizations.0.rbac.viewers.0.labels";
    let values = format!("{labels}.namespace");
    table(&[
        (at, json!({}), labels, "needs a label"),
        (at, json!([]), labels, "expected an object"),
        (at, json!("web"), labels, "expected an object"),
        (at, json!({"namespace": []}), labels, "a label needs a value"),
        (at, json!({"namespace": "web"}), &values, "expected a list"),
        (at, json!({"namespace": null}), &values, "expected a list"),
        (at, json!({"namespace": [""]}), &format!("{values}[0]"), "may not be empty"),
        (at, json!({"namespace": ["a\nb"]}), &format!("{values}[0]"), "no control characters"),
        (at, json!({"namespace": [1]}), &format!("{values}[0]"), "expected a string"),
        (at, json!({"__name__": ["up"]}), &format!("{labels}.__name__"), "belong to the backends"),
        (at, json!({"a-b": ["x"]}), &format!("{labels}.a-b"), "consists of"),
        ("organizations.0.rbac.writers.0", json!({"group": "agents", "labels": {"namespace": ["web"]}}), "organizations[0].rbac.writers[0].labels", "has no meaning for a role without the permission read"),
    ]);
}

#[test]
fn a_label_policy_that_is_null_does_not_lift_the_limit() {
    let viewers = json!([{"group": "contractors", "labels": null}]);
    let found = problems(&with("organizations.0.rbac.viewers", viewers));
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].1.contains("labels may not be null"), "{found:?}");
}

#[rustfmt::skip]
#[test]
fn projects_have_a_tenant_a_label_and_a_directory() {
    table(&[
        ("projects", json!([]), "projects", "expected an object"),
        ("projects", json!({}), "projects.directory", "missing: who may read"),
        ("projects", json!({"directory": {}}), "projects.directory", "either inline or http"),
        ("projects", json!({"directory": {"inline": [], "http": {}}}), "projects.directory", "either inline or http"),
        ("projects", json!({"tenant": "x", "directory": {"inline": []}}), "projects.tenant", "must hold {project}"),
        ("projects", json!({"tenant": "{project}|x", "directory": {"inline": []}}), "projects.tenant", "makes no tenant ID"),
        ("projects", json!({"tenant": "{project}_{resource}", "directory": {"inline": []}}), "projects.tenant", "not a resource's"),
        ("projects", json!({"resource_label": "a-b", "directory": {"inline": []}}), "projects.resource_label", "consists of"),
        ("projects", json!({"directory": {"inline": [{"project": "p", "readers": ["g"]}]}}), "projects.directory.inline[0].resources", "missing"),
        ("projects", json!({"directory": {"inline": [{"project": "p", "resources": ["r"]}]}}), "projects.directory.inline[0].readers", "missing"),
        ("projects", json!({"directory": {"inline": [{"project": "p/q", "resources": ["r"], "readers": ["g"]}]}}), "projects.directory.inline[0].project", "an ID has"),
        ("projects", json!({"directory": {"inline": [{"project": "p", "resources": ["r", "r"], "readers": ["g"]}]}}), "projects.directory.inline[0].resources[1]", "listed twice"),
        ("projects", json!({"directory": {"http": {"cluster": "c", "authority": "a", "path": "/{project}"}}}), "projects.directory.http.path", "must hold {resource}"),
        ("projects", json!({"directory": {"http": {"cluster": "c", "authority": "a", "path": "{project}{resource}"}}}), "projects.directory.http.path", "must be a path"),
        ("projects", json!({"directory": {"http": {"cluster": "c", "authority": "a b", "path": "/{project}/{resource}"}}}), "projects.directory.http.authority", "must be a host"),
        ("projects", json!({"directory": {"http": {"authority": "a", "path": "/{project}/{resource}"}}}), "projects.directory.http.cluster", "missing"),
        ("projects", json!({"directory": {"http": {"cluster": "c", "authority": "a", "path": "/{project}/{resource}", "cache_ttl": "1h"}}}), "projects.directory.http.cache_ttl", "must lie between"),
    ]);
}

#[rustfmt::skip]
#[test]
fn a_provider_has_a_name_and_an_exact_issuer() {
    let name = "providers[0].name";
    let issuer = "providers[0].issuer";
    let shape = "1 to 63 of a-z, 0-9 and -";
    table(&[
        ("providers", Value::Null, "providers", "missing: without one no token"),
        ("providers", json!({}), "providers", "expected a list, found an object"),
        ("providers", json!([]), "providers", "must list at least one provider"),
        ("providers.0", json!("corporate"), "providers[0]", "expected an object"),
        ("providers.0.name", Value::Null, name, "missing: it stands in logs"),
        ("providers.0.name", json!(1), name, "expected a string"),
        ("providers.0.name", json!(""), name, "may not be empty"),
        ("providers.0.name", json!("Corporate"), name, shape),
        ("providers.0.name", json!("-a"), name, shape),
        ("providers.0.name", json!("a_b"), name, shape),
        ("providers.0.name", json!("a.b"), name, shape),
        ("providers.0.name", json!("a".repeat(64)), name, shape),
        ("providers.0.name", json!("partner"), "providers[1]", "the name \"partner\" is taken"),
        ("providers.0.issuer", Value::Null, issuer, "missing: the exact iss"),
        ("providers.0.issuer", json!(1), issuer, "expected a string"),
        ("providers.0.issuer", json!(""), issuer, "may not be empty"),
        ("providers.0.issuer", json!(" https://x"), issuer, "spaces"),
        ("providers.0.issuer", json!("https://x\n"), issuer, "spaces"),
        ("providers.0.issuer", json!("https://x\u{1}y"), issuer, "control characters"),
        ("providers.0.issuer", json!("https://x/{tenantid}/v2.0"), issuer, "one provider per exact issuer"),
        ("providers.0.issuer", json!("https://partner.example"), "providers[1]", "the same issuer"),
    ]);
    taken(&[
        ("providers.0.name", json!("0")),
        ("providers.0.name", json!("a".repeat(63))),
        ("providers.0.issuer", json!("kubernetes/serviceaccount")),
        ("providers.0.issuer", json!("https://partner.example/")),
    ]);
}

#[rustfmt::skip]
#[test]
fn audiences_are_named_or_switched_off_by_name() {
    let audiences = "providers[0].audiences";
    table(&[
        ("providers.0.audiences", Value::Null, audiences, "missing: name the accepted aud values, or set audience_check: off"),
        ("providers.0.audiences", json!("x"), audiences, "expected a list"),
        ("providers.0.audiences", json!([]), audiences, "at least one audience"),
        ("providers.0.audience_check", json!("off"), audiences, "audience_check is off: remove one"),
        ("providers.0.audience_check", json!(true), "providers[0].audience_check", "can only be off"),
        ("providers.1.audience_check", json!("on"), "providers[1].audience_check", "can only be off"),
        ("providers.1.audience_check", json!(0), "providers[1].audience_check", "can only be off"),
        ("providers.1.audience_check", Value::Null, "providers[1].audiences", "missing: name"),
    ]);
    // YAML reads a bare `off` as false.
    taken(&[("providers.1.audience_check", json!(false))]);
    for (value, words) in [(json!([1]), "expected a string"), (json!(["a", ""]), "may not be empty")] {
        let found = problems(&with("providers.0.audiences", value.clone()));
        assert!(found.iter().any(|(place, text)| { place.starts_with("providers[0].audiences[") && text.contains(words) }), "{found:?}");
    }
}

#[rustfmt::skip]
#[test]
fn algorithms_are_of_the_closed_list() {
    let first = "providers[0].algorithms[0]";
    let never = "is never accepted: anyone could sign";
    let list = "must be one of ES256, ES384, EdDSA, PS256";
    table(&[
        ("providers.0.algorithms", json!("RS256"), "providers[0].algorithms", "expected a list"),
        ("providers.0.algorithms", json!([]), "providers[0].algorithms", "at least one algorithm"),
        ("providers.0.algorithms", json!(["HS256"]), first, never),
        ("providers.0.algorithms", json!(["HS384"]), first, "\"HS384\" is never accepted"),
        ("providers.0.algorithms", json!(["HS512"]), first, never),
        ("providers.0.algorithms", json!(["none"]), first, never),
        ("providers.0.algorithms", json!(["nOnE"]), first, never),
        ("providers.0.algorithms", json!(["RS256", "HS256"]), "providers[0].algorithms[1]", never),
        ("providers.0.algorithms", json!(["ES512"]), first, list),
        ("providers.0.algorithms", json!(["es256"]), first, list),
        ("providers.0.algorithms", json!(["ES256K"]), first, list),
        ("providers.0.algorithms", json!([256]), first, "expected a string"),
    ]);
    for algorithm in Algorithm::ALL {
        taken(&[("providers.0.algorithms", json!([algorithm.name()]))]);
    }
}

#[rustfmt::skip]
#[test]
fn times_are_durations_within_bounds() {
    let unit = "is not a duration";
    let rows = [
        ("providers.0.clock_skew", "0s", "5m", "301s"),
        ("providers.0.jwks.timeout", "100ms", "30s", "31s"),
        ("providers.0.jwks.refresh_interval", "1m", "24h", "25h"),
        ("providers.0.jwks.max_stale", "0s", "168h", "169h"),
        ("providers.0.max_lifetime", "1m", "8760h", "8761h"),
        ("limits.wait", "0s", "30s", "31s"),
        ("limits.stream_duration", "1s", "24h", "25h"),
    ];
    for (key, least, most, beyond) in rows {
        let place = key.replace(".0", "[0]");
        let bounds = format!("must lie between {least} and {most}");
        table(&[
            (key, json!(beyond), &place, &bounds),
            (key, json!("999999h"), &place, &bounds),
            (key, json!(60), &place, "expected a duration such as 30s, found a number"),
            (key, json!(true), &place, "expected a duration"),
            (key, json!(["1s"]), &place, "expected a duration"),
            (key, json!(""), &place, unit),
            (key, json!("60"), &place, unit),
            (key, json!("1d"), &place, unit),
            (key, json!("1.5s"), &place, unit),
            (key, json!("-1s"), &place, unit),
            (key, json!("+1s"), &place, unit),
            (key, json!("1 s"), &place, unit),
            (key, json!("99999999999999999999h"), &place, unit),
            (key, json!("18446744073709551615h"), &place, unit),
        ]);
        taken(&[(key, json!(least)), (key, json!(most))]);
    }
    for (key, short) in
        [("providers.0.jwks.timeout", "99ms"), ("providers.0.jwks.refresh_interval", "59s"), ("providers.0.max_lifetime", "59999ms")]
    {
        table(&[(key, json!(short), &key.replace(".0", "[0]"), "must lie between")]);
    }
}

#[rustfmt::skip]
#[test]
fn lists_and_switches_of_a_provider_have_their_types() {
    let place = |name: &str| format!("providers[0].{name}");
    for name in ["token_types", "clients"] {
        let key = format!("providers.0.{name}");
        table(&[
            (&key, json!("JWT"), &place(name), "expected a list"),
            (&key, json!({}), &place(name), "expected a list"),
            (&key, json!([1]), &format!("{}[0]", place(name)), "expected a string"),
            (&key, json!(["a", ""]), &format!("{}[1]", place(name)), "may not be empty"),
        ]);
        taken(&[(&key, json!([]))]);
    }
    table(&[
        ("providers.0.accept", json!("access"), &place("accept"), "expected a list"),
        ("providers.0.accept", json!([]), &place("accept"), "at least one of access, id"),
        ("providers.0.accept", json!(["both"]), &place("accept[0]"), "must be access or id"),
        ("providers.0.accept", json!(["access", 1]), &place("accept[1]"), "expected a string"),
        ("providers.0.reject_bound_tokens", json!("yes"), &place("reject_bound_tokens"), "expected true or false"),
        ("providers.0.reject_bound_tokens", json!(1), &place("reject_bound_tokens"), "expected true or false"),
    ]);
    taken(&[("providers.0.accept", json!(["id"])), ("providers.0.accept", json!(["access", "id"]))]);
}

#[rustfmt::skip]
#[test]
fn keys_come_from_one_place() {
    let jwks = "providers[0].jwks";
    let url = "must be an http or https URL";
    let uri = "providers[0].jwks.uri";
    table(&[
        ("providers.0.jwks", Value::Null, jwks, "missing: one of inline, uri or discovery"),
        ("providers.0.jwks", json!("https://x"), jwks, "expected an object"),
        ("providers.0.jwks", json!({}), jwks, "must have one of inline, uri and discovery: true"),
        ("providers.0.jwks", json!({"cluster": "idp"}), jwks, "must have one of inline, uri and discovery: true"),
        ("providers.0.jwks.inline", json!({"keys": []}), jwks, "must have only one of"),
        ("providers.0.jwks.discovery", json!(true), jwks, "must have only one of"),
        ("providers.0.jwks", json!({"discovery": true}), "providers[0].jwks.cluster", "missing: Envoy's cluster"),
        ("providers.0.jwks", json!({"discovery": false, "cluster": "idp"}), jwks, "must have one of"),
        ("providers.0.jwks.discovery", json!("yes"), "providers[0].jwks.discovery", "expected true or false"),
        ("providers.0.jwks.share", json!("yes"), "providers[0].jwks.share", "expected true or false"),
        ("providers.0.jwks.hosts", json!(["keys.example.com"]), "providers[0].jwks.hosts", "has no meaning without discovery"),
        ("providers.0.jwks.uri", json!(1), uri, "expected a string"),
        ("providers.0.jwks.uri", json!(""), uri, "may not be empty"),
        ("providers.0.jwks.uri", json!("login.example.com/certs"), uri, url),
        ("providers.0.jwks.uri", json!("ftp://login.example.com/certs"), uri, url),
        ("providers.0.jwks.uri", json!("HTTPS://login.example.com/certs"), uri, url),
        ("providers.0.jwks.uri", json!("file:///etc/passwd"), uri, url),
        ("providers.0.jwks.uri", json!("https://"), uri, url),
        ("providers.0.jwks.uri", json!("https:///certs"), uri, url),
        ("providers.0.jwks.uri", json!("https://user@login.example.com/"), uri, url),
        ("providers.0.jwks.uri", json!("https://x/#y"), uri, url),
        ("providers.0.jwks.uri", json!("https://x/a b"), uri, url),
        ("providers.0.jwks.uri", json!("https://x/\r\nhost: y"), uri, url),
        ("providers.0.jwks.uri", json!("https://x\\y/"), uri, url),
        ("providers.0.jwks.uri", json!("https://x?y"), uri, url),
        ("providers.0.jwks.cluster", Value::Null, "providers[0].jwks.cluster", "missing: Envoy's cluster"),
        ("providers.0.jwks.cluster", json!(1), "providers[0].jwks.cluster", "expected a string"),
        ("providers.0.jwks.cluster", json!(""), "providers[0].jwks.cluster", "may not be empty"),
    ]);
    taken(&[
        ("providers.0.jwks.uri", json!("http://127.0.0.1:8080")),
        ("providers.0.jwks.uri", json!("https://login.example.com/certs?appid=1")),
        ("providers.0.jwks.cluster", json!("outbound|443||login.example.com")),
    ]);
}

#[rustfmt::skip]
#[test]
fn inline_keys_are_all_usable() {
    let inline = "providers[1].jwks.inline";
    let unusable = |key: Value| json!({"keys": [jwk("p256-a"), key]});
    let cannot = "cannot be used: ";
    table(&[
        ("providers.1.jwks.inline", json!("{}"), inline, "must be a JWK Set"),
        ("providers.1.jwks.inline", json!([]), inline, "must be a JWK Set"),
        ("providers.1.jwks.inline", json!({}), inline, "no list named keys"),
        ("providers.1.jwks.inline", json!({"keys": []}), inline, "none of its 0 keys"),
        ("providers.1.jwks.inline", json!({"keys": [jwk("rsa-1024")]}), inline, "none of its 1 keys"),
        ("providers.1.jwks.inline", unusable(jwk("rsa-1024")), inline, &format!("key \"rsa-1024\" {cannot}material")),
        ("providers.1.jwks.inline", unusable(jwk("p384-a")), inline, &format!("key \"p384-a\" {cannot}algorithm")),
        ("providers.1.jwks.inline", unusable(jwk_with("rsa-a", json!({"d": "x"}))), inline, &format!("key \"rsa-a\" {cannot}private_key")),
        ("providers.1.jwks.inline", unusable(json!({"kty": "oct"})), inline, "without kid"),
    ]);
    for name in ["cluster", "timeout", "refresh_interval", "max_stale"] {
        let (key, place) = (format!("providers.1.jwks.{name}"), format!("providers[1].jwks.{name}"));
        table(&[(&key, json!("5s"), &place, "has no meaning beside inline")]);
    }
    // Allowed algorithms decide what is usable.
    let mut config = with("providers.1.algorithms", json!(["ES256"]));
    assert!(problems(&config)[0].1.contains("\"rsa-a\" cannot be used: algorithm"));
    put(&mut config, "providers.1.algorithms", json!(["PS256", "ES256"]));
    assert_eq!(problems(&config), []);
}

#[rustfmt::skip]
#[test]
fn claim_paths_are_lists_of_names() {
    let subject = "providers[0].claims.subject";
    let groups = "providers[0].claims.groups";
    table(&[
        ("providers.0.claims", json!([]), "providers[0].claims", "expected an object"),
        ("providers.0.claims.subject", json!("sub"), subject, "expected a list"),
        ("providers.0.claims.subject", json!([]), subject, "at least one path"),
        ("providers.0.claims.subject", json!(["sub"]), &format!("{subject}[0]"), "expected a list"),
        ("providers.0.claims.subject", json!([[]]), &format!("{subject}[0]"), "at least one claim"),
        ("providers.0.claims.groups", json!({}), groups, "expected a list"),
        ("providers.0.claims.groups", json!(["groups"]), &format!("{groups}[0]"), "expected an object"),
        ("providers.0.claims.groups.0", json!({}), &format!("{groups}[0].path"), "missing: where"),
        ("providers.0.claims.groups.0.path", json!("groups"), &format!("{groups}[0].path"), "expected a list"),
        ("providers.0.claims.groups.0.path", json!([]), &format!("{groups}[0].path"), "at least one claim"),
        ("providers.0.claims.groups.1.prefix", json!(1), &format!("{groups}[1].prefix"), "expected a string"),
        ("providers.0.claims.groups.1.split", json!(1), &format!("{groups}[1].split"), "expected a string"),
        ("providers.0.claims.groups.1.split", json!(""), &format!("{groups}[1].split"), "may not be empty"),
        ("providers.0.claims.groups.0.path", json!(["name"]), &format!("{groups}[0].path"), "display names"),
        ("providers.0.claims.groups.0.form", json!("json"), &format!("{groups}[0].form"), "can only be list"),
        ("providers.0.claims.groups.0.keys", json!("yes"), &format!("{groups}[0].keys"), "expected true or false"),
        ("providers.0.claims.groups.0.having", json!("320"), &format!("{groups}[0].having"), "no meaning without keys"),
        ("providers.0.claims.groups.0.field", json!(""), &format!("{groups}[0].field"), "may not be empty"),
        ("providers.0.claims.groups.0", json!({"path": ["a"], "keys": true, "field": "b"}), &format!("{groups}[0]"), "only one of form, keys and field"),
        ("providers.0.claims.groups.0", json!({"path": ["a"], "form": "list", "field": "b"}), &format!("{groups}[0]"), "only one of form, keys and field"),
    ]);
    // A path that is partly text must not be read as a shorter one.
    for path in [json!(["realm_access", 1]), json!([1]), json!(["a", ""])] {
        let found = problems(&with("providers.0.claims.groups.0.path", path.clone()));
        let inside = format!("{groups}[0].path[");
        assert!(found.iter().any(|(place, _)| place.starts_with(&inside)), "{path}: {found:?}");
    }
    taken(&[
        ("providers.0.claims", json!({})),
        ("providers.0.claims.groups", json!([])),
        ("providers.0.claims.groups.0.path", json!(["https://ns/roles"])),
        ("providers.0.claims.groups.0.path", json!(["kubernetes.io", "namespace"])),
        ("providers.0.claims.groups.0.path", json!(["kubernetes.io", "serviceaccount", "name"])),
        ("providers.0.claims.groups.0.prefix", json!("")),
        ("providers.0.claims.groups.0.form", json!("list")),
        ("providers.0.claims.groups.0", json!({"path": ["a"], "keys": true, "having": "320"})),
        ("providers.0.claims.groups.0", json!({"path": ["a"], "keys": false, "field": "name", "split": ","})),
    ]);
}

/// A provider that could write the groups of another could hand out the other's rights.
#[test]
fn providers_have_no_prefix_in_common_unless_both_say_so() {
    let problem = |changes: &[(&str, Value)]| {
        let mut config = full();
        for (path, value) in changes {
            put(&mut config, path, value.clone());
        }
        load(&config).err().map(|found| found[0].to_string())
    };
    let partner = "providers.1.claims.groups";
    let both = [
        ("providers.0.shared_groups", json!(true)),
        ("providers.1.shared_groups", json!(true)),
    ];
    let scope = json!([{"path": ["x"], "prefix": "scope:"}, {"path": ["y"], "prefix": "scope:"}]);
    for (groups, named) in [
        (json!([{"path": ["groups"]}]), "no prefix"),
        (json!([{"path": ["groups"], "prefix": ""}]), "no prefix"),
        (Value::Null, "no prefix"),
        (scope, "the prefix \"scope:\""),
    ] {
        let change = (partner, groups.clone());
        let found = problem(std::slice::from_ref(&change)).unwrap();
        assert!(found.starts_with("providers[1]: "), "{found}");
        assert!(
            found.contains(named) && found.contains("\"corporate\""),
            "{found}"
        );
        for one in &both {
            assert!(
                problem(&[change.clone(), one.clone()]).is_some(),
                "{groups}"
            );
        }
        let [one, other] = both.clone();
        assert_eq!(problem(&[change, one, other]), None, "{groups}");
    }
    // Within one provider they may repeat, and one that is longer is another.
    let longer =
        json!([{"path": ["x"], "prefix": "scope:x:"}, {"path": ["y"], "prefix": "scope:x:"}]);
    assert_eq!(problem(&[(partner, longer)]), None);
}

#[test]
fn an_issuer_may_have_several_spellings() {
    let problem = |issuer: Value, issuers: Value| {
        let mut config = full();
        put(&mut config, "providers.0.issuer", issuer);
        config["providers"][0]["issuers"] = issuers;
        load(&config).err().map(|found| found[0].to_string())
    };
    let many: Vec<String> = (0..9).map(|number| format!("i{number}")).collect();
    for (issuer, issuers, expected) in [
        (
            json!(ISSUER),
            json!([ISSUER, "b"]),
            "providers[0].issuers: must stand alone",
        ),
        (
            Value::Null,
            Value::Null,
            "providers[0].issuer: missing: the exact iss",
        ),
        (
            Value::Null,
            json!("a"),
            "providers[0].issuers: expected a list",
        ),
        (
            Value::Null,
            json!([]),
            "providers[0].issuers: must have 2 to 8",
        ),
        (
            Value::Null,
            json!(["a"]),
            "providers[0].issuers: must have 2 to 8",
        ),
        (
            Value::Null,
            json!(many),
            "providers[0].issuers: has more than 8",
        ),
        (
            Value::Null,
            json!(["a", "a"]),
            "providers[0].issuers[1]: stands in the list before",
        ),
        (
            Value::Null,
            json!(["a", "https://x/{tenantid}"]),
            "providers[0].issuers[1]: a template",
        ),
        (
            Value::Null,
            json!(["a", "https://partner.example"]),
            "providers[1]: another provider has the same issuer",
        ),
    ] {
        let found = problem(issuer, issuers.clone()).unwrap();
        assert!(found.starts_with(expected), "{issuers}: {found}");
    }
    assert_eq!(
        problem(Value::Null, json!([ISSUER, "login.example.com"])),
        None
    );
}

#[rustfmt::skip]
#[test]
fn organizations_have_names_tenants_and_bindings() {
    let first = |rest: &str| format!("organizations[0]{rest}");
    table(&[
        ("organizations", Value::Null, "organizations", "missing: without one nothing is granted"),
        ("organizations", json!({}), "organizations", "expected a list"),
        ("organizations.0", json!("one"), &first(""), "expected an object"),
        ("organizations.0.name", Value::Null, &first(".name"), "missing"),
        ("organizations.0.name", json!(1), &first(".name"), "expected a string"),
        ("organizations.0.name", json!(""), &first(".name"), "may not be empty"),
        ("organizations.1.name", json!("one"), "organizations[1]", "the name \"one\" is taken"),
        ("organizations.0.display_name", json!(1), &first(".display_name"), "expected a string"),
        ("organizations.0.tenants", Value::Null, &first(".tenants"), "missing"),
        ("organizations.0.tenants", json!("a"), &first(".tenants"), "expected a list"),
        ("organizations.0.rbac", json!([]), &first(".rbac"), "expected an object"),
        ("organizations.0.rbac.viewers", json!("x"), &first(".rbac.viewers"), "expected a list"),
        ("organizations.0.rbac.viewers", json!([1]), &first(".rbac.viewers[0]"), "expected a string, found a number: put it in quotes"),
        ("organizations.0.rbac.viewers", json!([""]), &first(".rbac.viewers[0]"), "may not be empty"),
        ("organizations.0.rbac.viewers", json!([{}]), &first(".rbac.viewers[0].group"), "missing"),
        ("organizations.0.rbac.viewers", json!([{"group": 1}]), &first(".rbac.viewers[0].group"), "expected a string"),
        ("organizations.0.rbac.auditors", json!(1), &first(".rbac.auditors"), "expected a list"),
    ]);
    taken(&[
        ("organizations", json!([])),
        ("organizations.0.tenants", json!([])),
        ("organizations.0.rbac", Value::Null),
        ("organizations.0.rbac", json!({})),
    ]);
}

#[rustfmt::skip]
#[test]
fn tenants_are_names_that_every_backend_takes() {
    let second = |rest: &str| format!("organizations[0].tenants[1]{rest}");
    let (place, name) = (second(""), second(".name"));
    table(&[
        ("organizations.0.tenants.1", json!(1), &place, "expected a string, found a number"),
        ("organizations.0.tenants.1", json!(""), &place, "may not be empty"),
        ("organizations.0.tenants.1", json!("a b"), &place, "allowed are letters"),
        ("organizations.0.tenants.1", json!("a|b"), &place, "allowed are letters"),
        ("organizations.0.tenants.1", json!("a:b"), &place, "allowed are letters"),
        ("organizations.0.tenants.1", json!("é"), &place, "allowed are letters"),
        ("organizations.0.tenants.1", json!("."), &place, "may not be . or .."),
        ("organizations.0.tenants.1", json!(".."), &place, "may not be . or .."),
        ("organizations.0.tenants.1", json!("t".repeat(151)), &place, "at most 150 bytes"),
        ("organizations.0.tenants.1", json!("a"), &place, "the tenant \"a\" is listed twice"),
        ("organizations.0.tenants.1", json!({}), &name, "missing: the tenant's ID"),
        ("organizations.0.tenants.1", json!({"name": 1}), &name, "expected a string"),
        ("organizations.0.tenants.1", json!({"name": "a b"}), &name, "allowed are letters"),
        ("organizations.0.tenants.1.types", json!("data"), &second(".types"), "expected a list"),
        ("organizations.0.tenants.1.types", json!([]), &second(".types"), "at least one of data, alerting"),
        ("organizations.0.tenants.1.types", json!(["logs"]), &second(".types[0]"), "must be data or alerting"),
        ("organizations.0.tenants.1.types", json!(["data", 1]), &second(".types[1]"), "expected a string"),
        ("organizations.0.tenants.1.allow_reserved", json!("yes"), &second(".allow_reserved"), "expected true or false"),
    ]);
    for reserved in ["fake", "anonymous", "single-tenant", "__mimir_cluster"] {
        let words = "a name that a backend uses itself";
        let named = |allow: bool| json!({"name": reserved, "allow_reserved": allow});
        // The third tenant is `fake` already.
        let mut config = with("organizations.0.tenants.2", json!("b"));
        for (value, place) in [(json!(reserved), &place), (json!({ "name": reserved }), &name), (named(false), &name)] {
            put(&mut config, "organizations.0.tenants.1", value.clone());
            let found = problems(&config);
            assert_eq!(found.len(), 1, "{value}: {found:?}");
            assert_eq!(&found[0].0, place);
            assert!(found[0].1.contains(words) && found[0].1.contains("allow_reserved: true"));
        }
        put(&mut config, "organizations.0.tenants.1", named(true));
        assert_eq!(problems(&config), [], "{reserved}");
    }
    taken(&[
        ("organizations.0.tenants.1", json!("t".repeat(150))),
        ("organizations.0.tenants.1", json!("Fake")),
        ("organizations.0.tenants.1", json!("!-_.*'()")),
    ]);
}

#[rustfmt::skip]
#[test]
fn roles_are_lists_of_known_permissions() {
    let known = "must be one of alerts-read, alerts-write, delete, read, rules-read, rules-write, write";
    table(&[
        ("roles.viewer", json!("read"), "roles.viewer", "expected a list"),
        ("roles.viewer", json!(["reads"]), "roles.viewer[0]", known),
        ("roles.viewer", json!(["read", "Write"]), "roles.viewer[1]", known),
        ("roles.viewer", json!([1]), "roles.viewer[0]", "expected a string"),
        ("roles.Admin", json!([]), "roles.Admin", "a role's name consists of"),
        ("roles.a1", json!([]), "roles.a1", "a role's name consists of"),
    ]);
    taken(&[("roles.viewer", json!([])), ("roles.sre-on_call", json!(["delete"]))]);
    // Without the auditors, who would have no role then.
    let mut config = with("organizations.0.rbac", Value::Null);
    put(&mut config, "roles", json!([]));
    let place = ("roles".to_owned(), "expected an object, found a list".to_owned());
    assert_eq!(problems(&config), [place]);
}

#[rustfmt::skip]
#[test]
fn backends_and_forwarding_have_their_types() {
    let subject = "forward.subject_header";
    let shape = "must be a header name";
    table(&[
        ("backends", json!([]), "backends", "expected an object"),
        ("backends.loki", json!(true), "backends.loki", "expected an object"),
        ("backends.loki.enabled", json!("yes"), "backends.loki.enabled", "expected true or false"),
        ("backends.mimir.enabled", json!(1), "backends.mimir.enabled", "expected true or false"),
        ("backends.tempo.enabled", json!("false"), "backends.tempo.enabled", "expected true or false"),
        ("backends.loki.legacy_api", json!("on"), "backends.loki.legacy_api", "expected true or false"),
        ("forward", json!("strip"), "forward", "expected an object"),
        ("forward.authorization", json!("drop"), "forward.authorization", "must be one of strip, keep"),
        ("forward.authorization", json!(false), "forward.authorization", "expected a string"),
        ("forward.subject_header", json!(1), subject, "expected a string"),
        ("forward.subject_header", json!(""), subject, "may not be empty"),
        ("forward.subject_header", json!("x y"), subject, shape),
        ("forward.subject_header", json!(":path"), subject, shape),
        ("forward.subject_header", json!("x_subject"), subject, shape),
        ("forward.subject_header", json!("h".repeat(65)), subject, shape),
        ("forward.subject_header", json!("Authorization"), subject, "the gate reads"),
        ("forward.subject_header", json!("x-scope-orgid"), subject, "the gate reads"),
        ("forward.subject_header", json!("X-Prom-Label-Policy"), subject, "the gate reads"),
        ("forward.subject_header", json!("X-Scopegate-Backend"), subject, "the gate names the backend"),
        ("forward.subject_header", json!("host"), subject, "HTTP"),
        ("forward.subject_header", json!("content-length"), subject, "HTTP"),
        ("forward.subject_header", json!("Content-Encoding"), subject, "HTTP"),
        ("forward.subject_header", json!("te"), subject, "HTTP"),
        ("forward.subject_header", json!("x-request-id"), subject, "the proxy or a tracer"),
        ("forward.subject_header", json!("X-Envoy-Original-Path"), subject, "the proxy or a tracer"),
        ("forward.subject_header", json!("x-forwarded-for"), subject, "the proxy or a tracer"),
        ("forward.subject_header", json!("traceparent"), subject, "the proxy or a tracer"),
        ("forward.subject_header", json!("grpc-timeout"), subject, "clients and backends"),
        ("forward.subject_header", json!("x-mimir-user"), subject, "clients and backends"),
        ("forward.rewrite_paths", json!("yes"), "forward.rewrite_paths", "expected true or false"),
    ]);
    let config = load(&with("forward.subject_header", json!("X-Remote-User"))).unwrap();
    assert_eq!(config.forward.subject_header.as_ref().map(SubjectHeader::as_str), Some("x-remote-user"));
    // Here null says something: never set one.
    let mut never = full();
    never["forward"]["subject_header"] = Value::Null;
    assert_eq!(load(&never).unwrap().forward.subject_header, None);
    let config = load(&with("forward.authorization", json!("keep"))).unwrap();
    assert!(config.forward.keep_authorization);
}

#[rustfmt::skip]
#[test]
fn limits_are_whole_numbers_within_bounds() {
    table(&[("limits", json!(1), "limits", "expected an object")]);
    for (name, least, most) in [
        ("token_bytes", 256, 49_152),
        ("groups", 1, 10_000),
        ("tenants_per_request", 1, 1_000),
        ("cached_tokens", 0, 65_536),
        ("waiting_requests", 0, 4_096),
    ] {
        let key = format!("limits.{name}");
        let bounds = format!("must be a whole number from {least} to {most}");
        table(&[
            (&key, json!(most + 1), &key, &bounds),
            (&key, json!(-1), &key, &bounds),
            (&key, json!(f64::from(least) - 0.5), &key, &bounds),
            (&key, json!(f64::from(most) - 0.5), &key, &bounds),
            (&key, json!(f64::from(most) + 1.0), &key, &bounds),
            (&key, json!(1e300), &key, &bounds),
            (&key, json!(-1e300), &key, &bounds),
            (&key, json!(u64::MAX), &key, &bounds),
            (&key, json!("1000"), &key, "expected a whole number, found a string"),
            (&key, json!(true), &key, "expected a whole number"),
            (&key, json!([]), &key, "expected a whole number"),
        ]);
        taken(&[
            (&key, json!(least)),
            (&key, json!(most)),
            // Numbers of a protobuf Struct are doubles.
            (&key, json!(f64::from(least))),
            (&key, json!(f64::from(most))),
        ]);
    }
    for (key, value) in [("limits.groups", 0), ("limits.token_bytes", 255), ("limits.tenants_per_request", 0)] {
        table(&[(key, json!(value), key, "must be a whole number from")]);
    }
}

#[test]
fn numbers_as_doubles_mean_the_same() {
    let whole = load(&full()).unwrap().limits;
    let mut doubles = full();
    for (_, value) in doubles["limits"].as_object_mut().unwrap() {
        if let Some(number) = value.as_f64() {
            *value = json!(number);
        }
    }
    assert!(doubles.to_string().contains("16384.0"));
    assert_eq!(load(&doubles).unwrap().limits, whole);
    let text = full().to_string().replace("16384", "1.6384e4");
    let config = Config::parse(text.as_bytes(), &Environment::default()).unwrap();
    assert_eq!(config.limits.token_bytes, 16_384);
}

#[test]
fn every_problem_is_reported_at_once_with_its_place() {
    let mut config = full();
    let wrong = [
        ("mode", json!("off"), "mode"),
        ("realm", json!(1), "realm"),
        ("colour", json!(1), "colour"),
        ("projects", json!({}), "projects.directory"),
        ("limits.groups", json!(0), "limits.groups"),
        ("limits.wait", json!("1h"), "limits.wait"),
        ("providers.0.name", json!("A"), "providers[0].name"),
        ("providers.0.issuer", Value::Null, "providers[0].issuer"),
        (
            "providers.0.algorithms",
            json!(["none", "HS256"]),
            "providers[0].algorithms[0]",
        ),
        (
            "providers.0.clock_skew",
            json!(60),
            "providers[0].clock_skew",
        ),
        (
            "providers.0.jwks.cluster",
            Value::Null,
            "providers[0].jwks.cluster",
        ),
        (
            "providers.0.claims.subject",
            json!([]),
            "providers[0].claims.subject",
        ),
        (
            "providers.1.audience_check",
            json!("on"),
            "providers[1].audience_check",
        ),
        ("providers.1.jwks", json!({}), "providers[1].jwks"),
        (
            "organizations.0.tenants.0",
            json!("a b"),
            "organizations[0].tenants[0]",
        ),
        (
            "organizations.0.rbac.owners",
            json!([]),
            "organizations[0].rbac.owners",
        ),
        ("organizations.1.name", Value::Null, "organizations[1].name"),
        ("roles.viewer", json!(["reed"]), "roles.viewer[0]"),
        ("backends.loki.enabled", json!(1), "backends.loki.enabled"),
        ("forward.authorization", json!(1), "forward.authorization"),
        ("audit.log", json!(1), "audit.log"),
    ];
    for (change, value, _) in &wrong {
        put(&mut config, change, value.clone());
    }
    let found = load_with(&config, &[("SCOPEGATE_TEMPO_ENABLED", "maybe")]).unwrap_err();
    let places: Vec<&str> = found.iter().map(|problem| problem.place.as_str()).collect();
    for (_, _, place) in &wrong {
        assert!(places.contains(place), "{place} is not in {places:?}");
    }
    assert!(places.contains(&"providers[0].algorithms[1]"));
    assert!(places.contains(&"SCOPEGATE_TEMPO_ENABLED"));
    assert_eq!(places.len(), wrong.len() + 2, "{found:#?}");
    // As an operator reads them.
    let line = found
        .iter()
        .find(|problem| problem.place == "realm")
        .unwrap();
    assert_eq!(
        line.to_string(),
        "realm: expected a string, found a number: put it in quotes"
    );
    // Nothing of the document is left half-applied, and nothing is by chance.
    for _ in 0..5 {
        let again = load_with(&config, &[("SCOPEGATE_TEMPO_ENABLED", "maybe")]).unwrap_err();
        assert_eq!(format!("{again:?}"), format!("{found:?}"));
    }
}

#[test]
fn every_element_of_a_list_is_reported() {
    let mut missing = Vec::new();
    for (change, value) in [
        ("providers.0.audiences", json!([1, 2])),
        ("providers.0.algorithms", json!([1, "HS256"])),
        ("providers.0.accept", json!([1, "both"])),
        ("providers.0.token_types", json!([1, ""])),
        ("providers.0.clients", json!([1, ""])),
        ("providers.0.claims.subject", json!(["sub", []])),
        ("providers.0.claims.groups", json!([1, {}])),
        ("organizations.0.tenants", json!([1, "a b"])),
        ("organizations.0.tenants.1.types", json!([1, "logs"])),
        ("organizations.0.rbac.viewers", json!([1, ""])),
        ("roles.viewer", json!([1, "reads"])),
    ] {
        let found = problems(&with(change, value.clone()));
        let place = change.replace(".0", "[0]").replace(".1", "[1]");
        for index in 0..2 {
            let element = format!("{place}[{index}]");
            let named = found.iter().any(|(place, _)| place.starts_with(&element));
            if !named {
                missing.push(element);
            }
        }
    }
    assert_eq!(missing, [""; 0]);
}

#[test]
fn the_environment_overrides_which_backends_there_are() {
    let enabled = |environment: &[(&str, &str)]| {
        let config = load_with(&full(), environment).unwrap();
        (
            config.backends.loki,
            config.backends.mimir,
            config.backends.tempo,
        )
    };
    assert_eq!(enabled(&[]), (true, true, false));
    assert_eq!(
        enabled(&[("SCOPEGATE_LOKI_ENABLED", "false")]),
        (false, true, false)
    );
    assert_eq!(
        enabled(&[("SCOPEGATE_MIMIR_ENABLED", "0")]),
        (true, false, false)
    );
    assert_eq!(
        enabled(&[("SCOPEGATE_TEMPO_ENABLED", "TRUE")]),
        (true, true, true)
    );
    let all = [
        ("SCOPEGATE_LOKI_ENABLED", "False"),
        ("SCOPEGATE_MIMIR_ENABLED", "1"),
        ("SCOPEGATE_TEMPO_ENABLED", "true"),
    ];
    assert_eq!(enabled(&all), (false, true, true));
    // A backend that the document does not mention.
    let mut none = full();
    put(&mut none, "backends", Value::Null);
    let config = load_with(&none, &[("SCOPEGATE_LOKI_ENABLED", "true")]).unwrap();
    assert!(config.backends.loki && !config.backends.mimir && !config.backends.loki_legacy_api);
    // Names that are not ours, or not of a backend.
    let foreign = [
        ("LOKI_ENABLED", "maybe"),
        ("SCOPEGATE_LOKI", "maybe"),
        ("PATH", "/bin"),
    ];
    assert_eq!(enabled(&foreign), (true, true, false));
    for value in ["", " ", "yes", "on", "2", "true ", "falsch"] {
        let environment = [("SCOPEGATE_LOKI_ENABLED", value)];
        let found = load_with(&full(), &environment).unwrap_err();
        assert_eq!(found.len(), 1, "{value:?}");
        assert_eq!(found[0].place, "SCOPEGATE_LOKI_ENABLED");
        assert!(
            found[0].text.contains("neither true nor false"),
            "{found:?}"
        );
    }
}

#[test]
fn a_backend_that_is_not_configured_is_a_503() {
    let token = Token::new().build();
    for (backend, path) in [
        ("loki", "/loki/api/v1/query"),
        ("mimir", "/prometheus/api/v1/query"),
        ("tempo", "/tempo/api/search"),
    ] {
        let request = Request::bearing(&token).set(":path", path);
        assert_eq!(
            answer(&config(), &request),
            crate::common::ALLOWED,
            "{backend}"
        );
        let mut without = config();
        put(&mut without, &format!("backends.{backend}"), Value::Null);
        assert_eq!(
            answer(&without, &request),
            "backend_not_configured",
            "{backend}"
        );
        let mut off = config();
        put(
            &mut off,
            &format!("backends.{backend}"),
            json!({"enabled": false}),
        );
        assert_eq!(
            answer(&off, &request),
            "backend_not_configured",
            "{backend}"
        );
    }
}

#[test]
fn roles_and_tenant_types_grant_what_they_say() {
    let mut config = config();
    config["organizations"][0]["tenants"] = json!([
        "a",
        {"name": "b", "types": ["data", "alerting"]},
        {"name": "rules", "types": ["alerting"]},
    ]);
    config["roles"] = json!({"viewer": ["read"], "ruler": ["rules-read", "rules-write"]});
    config["organizations"][0]["rbac"] = json!({
        "admins": ["admins"],
        "viewers": ["readers"],
        "writers": ["agents"],
        "rulers": ["rulers"],
    });
    let read = ("GET", "/loki/api/v1/query");
    let write = ("POST", "/loki/api/v1/push");
    let rules = ("GET", "/loki/api/v1/rules");
    let change = ("POST", "/loki/api/v1/rules/n");
    let delete = ("POST", "/loki/api/v1/delete");
    let missing = "permission_missing";
    let nothing = "tenant_not_granted";
    for (group, tenant, (method, path), code) in [
        ("admins", "a", read, crate::common::ALLOWED),
        ("admins", "a", write, crate::common::ALLOWED),
        ("admins", "a", rules, crate::common::ALLOWED),
        ("admins", "a", delete, crate::common::ALLOWED),
        // Without `alerting`, nobody changes rules.
        ("admins", "a", change, missing),
        ("admins", "b", change, crate::common::ALLOWED),
        ("admins", "rules", change, crate::common::ALLOWED),
        ("admins", "rules", read, missing),
        ("admins", "rules", write, missing),
        ("admins", "rules", delete, missing),
        ("readers", "a", read, crate::common::ALLOWED),
        ("readers", "a", rules, missing),
        ("readers", "a", write, missing),
        ("readers", "rules", read, nothing),
        ("agents", "a", write, crate::common::ALLOWED),
        ("agents", "a", read, missing),
        ("rulers", "b", change, crate::common::ALLOWED),
        ("rulers", "b", read, missing),
        ("Admins", "a", read, nothing),
        ("admins", "c", read, nothing),
    ] {
        let token = Token::new().claim("groups", json!([group])).build();
        let request = Request::bearing(&token)
            .set(":method", method)
            .set(":path", path)
            .set("x-scope-orgid", tenant);
        assert_eq!(
            answer(&config, &request),
            code,
            "{group} {tenant} {method} {path}"
        );
    }
}

/// A document as people write it.
const YAML: &str = r#"
mode: report
providers:
  - name: corporate
    issuer: https://login.example.com/realms/platform
    audience_check: off
    clock_skew: 60s
    jwks:
      uri: https://login.example.com/realms/platform/protocol/openid-connect/certs
      cluster: outbound|443||login.example.com
      timeout: 5s
    claims:
      subject: [[sub]]
      groups:
        - {path: [groups]}
        - {path: [realm_access, roles], prefix: "role:"}
        - {path: [scope], split: " ", prefix: "scope:"}
        - {path: [azp], prefix: "client:"}
organizations:
  - name: giantswarm
    display_name: Giant Swarm
    tenants: [giantswarm, {name: shared-services, types: [data, alerting]}]
    rbac:
      admins: ["customer:giantswarm:Admins"]
      editors: [employees]
      writers: ["client:alloy-prod"]
roles:
  admin:  [read, write, rules-read, rules-write, delete]
  viewer: [read, rules-read]
backends:
  loki: {enabled: true}
  mimir: {}
  tempo:
forward:
  subject_header:
limits:
  cached_tokens: 4096
  wait: 3s
"#;

#[test]
fn the_yaml_that_people_write_is_sound() {
    let document: Value = serde_yaml_ng::from_str(YAML).unwrap();
    let config = parse(&document);
    assert_eq!(config.mode, Mode::Report);
    assert_eq!(config.providers[0].rules.audiences, None);
    assert_eq!(config.providers[0].rules.mapping.groups.len(), 4);
    assert_eq!(config.forward.subject_header, None);
    assert!(config.backends.mimir);
}

/// `tempo:` with nothing behind it is null, which is absent: not configured.
#[test]
fn a_backend_that_is_null_is_not_configured() {
    let document: Value = serde_yaml_ng::from_str(YAML).unwrap();
    assert!(!parse(&document).backends.tempo);
}

#[rustfmt::skip]
#[test]
fn what_the_gate_does_of_its_own_accord_is_checked() {
    let origin = "must be one origin";
    let browser = "as a browser sends them";
    table(&[
        ("tenants", json!({"when_absent": "one"}), "tenants.when_absent", "must be one of refuse, only"),
        ("tenants", json!({"all": "all"}), "tenants.all", "must be \"*\""),
        ("tenants", json!({"all": true}), "tenants.all", "expected a string"),
        ("tenants", json!({"any": "*"}), "tenants.any", "unknown key"),
        ("health", json!({}), "health.path", "missing"),
        ("health", json!({"path": "healthz"}), "health.path", "must be a plain path"),
        ("health", json!({"path": "/healthz?x"}), "health.path", "must be a plain path"),
        ("health", json!({"path": "/he alth"}), "health.path", "must be a plain path"),
        ("health", json!({"path": "/"}), "health.path", "must be a plain path"),
        ("health", json!({"path": "//"}), "health.path", "must be a plain path"),
        ("health", json!({"path": "/a/.."}), "health.path", "must be a plain path"),
        ("health", json!({"path": "/%2e"}), "health.path", "must be a plain path"),
        ("health", json!({"path": "/loki/api/v1/labels"}), "health.path", "is a path of the endpoint table"),
        ("health", json!({"path": "/loki/api/v1/push"}), "health.path", "is a path of the endpoint table"),
        ("health", json!({"path": "/loki/api/v1/label/health/values"}), "health.path", "is a path of the endpoint table"),
        ("health", json!({"path": "/api/prom/push"}), "health.path", "is a path of the endpoint table"),
        ("health", json!({"path": "/api/v1/rules"}), "health.path", "is a path of the endpoint table"),
        ("health", json!({"path": "/api/v1/projects/p/resources/r/logs"}), "health.path", "is a path of the endpoint table"),
        ("cors", json!({}), "cors.origins", "missing"),
        ("cors", json!({"origins": []}), "cors.origins", "must name an origin"),
        ("cors", json!({"origins": "https://a"}), "cors.origins", "expected a list"),
        ("cors", json!({"origins": ["*"]}), "cors.origins[0]", origin),
        ("cors", json!({"origins": ["https://a", "null"]}), "cors.origins[1]", origin),
        ("cors", json!({"origins": ["https://a/"]}), "cors.origins[0]", browser),
        ("cors", json!({"origins": ["https://*.a"]}), "cors.origins[0]", browser),
        ("cors", json!({"origins": ["https://a", "https://a"]}), "cors.origins[1]", "is listed twice"),
    ]);
    let version = "must be a version such as";
    table(&[
        ("backends.loki", json!({"version": 3.7}), "backends.loki.version", "expected a string"),
        ("backends.loki", json!({"version": "3"}), "backends.loki.version", version),
        ("backends.mimir", json!({"version": "v3.0"}), "backends.mimir.version", version),
        ("backends.tempo", json!({"version": "latest"}), "backends.tempo.version", version),
        ("backends.tempo", json!({"scoped_search": true}), "backends.tempo.scoped_search", "expected a string"),
        ("backends.loki", json!({"scoped_search": "deny"}), "backends.loki.scoped_search", "unknown key"),
    ]);
    taken(&[
        ("backends.loki", json!({"version": "3.10.1"})),
        ("backends.tempo", json!({"version": "3.0", "scoped_search": "deny"})),
        ("tenants", json!({})),
        ("tenants", json!({"when_absent": "refuse"})),
        ("tenants", json!({"when_absent": "only", "all": "*"})),
        ("health", json!({"path": "/-/health.z"})),
        ("cors", json!({"origins": ["https://grafana.example.com", "http://localhost:3000"]})),
    ]);
    // A tenant that is named so itself.
    let mut config = with("organizations.0.tenants.1", json!("*"));
    assert_eq!(problems(&config), []);
    put(&mut config, "tenants", json!({"all": "*"}));
    let found = problems(&config);
    assert_eq!(found[0].0, "tenants.all");
    assert!(found[0].1.contains("a tenant is named \"*\" itself"), "{found:?}");
    // Nor one that nobody holds anything on.
    put(&mut config, "organizations.0.rbac", json!({}));
    assert!(problems(&config).iter().any(|(place, _)| place == "tenants.all"));
}

#[test]
fn a_credential_for_the_keys_stands_in_a_variable_that_is_set() {
    let load = |authorization: Value, environment: &[(&str, &str)]| {
        let config = with("providers.0.jwks.authorization", authorization);
        load_with(&config, environment)
    };
    let named = json!({"environment": "IDP_TOKEN"});
    let config = load(named.clone(), &[("IDP_TOKEN", "s3cret\n")]).unwrap();
    // Whoever prints a configuration does not print it.
    let printed = format!("{config:?}");
    assert!(printed.contains("authorization: Some(Secret(…))") && !printed.contains("s3cret"));
    let environment = Environment::new([("IDP_TOKEN".to_owned(), "s3cret".to_owned())]);
    assert_eq!(format!("{environment:?}"), "{\"IDP_TOKEN\"}");

    let place = "providers[0].jwks.authorization";
    let variable = format!("{place}.environment");
    for (authorization, environment, expected, words) in [
        (named.clone(), &[][..], variable.as_str(), "is not set"),
        (named.clone(), &[("OTHER", "x")], &variable, "is not set"),
        (
            named.clone(),
            &[("IDP_TOKEN", "")],
            &variable,
            "is no token",
        ),
        (
            named,
            &[("IDP_TOKEN", "top s3cret")],
            &variable,
            "is no token",
        ),
        (json!("s3cret"), &[], place, "must be {environment: NAME}"),
        (
            json!({"environment": "eyJ.s3cret"}),
            &[],
            &variable,
            "must be the name of a variable",
        ),
        (
            json!({"environment": "IDP_TOKEN"}),
            &[("IDP_TOKEN", "Bearer s3cret")],
            &variable,
            "without the word Bearer",
        ),
        (json!({}), &[], &variable, "missing"),
        (
            json!({"token": "s3cret"}),
            &[],
            &format!("{place}.token"),
            "unknown key",
        ),
        (
            json!({"environment": 1}),
            &[],
            &variable,
            "expected a string",
        ),
    ] {
        let found = load(authorization.clone(), environment).unwrap_err();
        assert_eq!(found[0].place, expected, "{authorization}: {found:?}");
        assert!(found[0].text.contains(words), "{authorization}: {found:?}");
        let told = format!("{found:?}");
        assert!(!told.contains("s3cret"), "{told}");
    }
    let inline = with(
        "providers.1.jwks.authorization",
        json!({"environment": "X"}),
    );
    assert!(problems(&inline)[0].1.contains("no meaning beside inline"));
}
