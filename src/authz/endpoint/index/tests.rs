use super::*;
use crate::authz::endpoint::Tenants;
use crate::words::permission::Permission;

fn find(method: &str, path: &str) -> Result<&'static str, Denial> {
    let endpoints = Endpoints::new(&[Surface::Platform]);
    endpoints
        .find(path.as_bytes(), method.as_bytes())
        .map(|endpoint| endpoint.template)
}

#[test]
fn every_row_is_found_by_its_own_path_and_by_no_other_method() {
    let endpoints = Endpoints::new(&[Surface::Platform, Surface::LokiLegacy, Surface::Projects]);
    for row in TABLE {
        let filled = row
            .template
            .replace("{namespace%}", "ns")
            .replace("{group%}", "g")
            .replace("{tag%2F}", "service.name");
        let filled = regexless_fill(&filled);
        for (method, name) in Methods::NAMES {
            let found = endpoints.find(filled.as_bytes(), name.as_bytes());
            if row.methods.has(method) {
                let found = found.unwrap();
                assert!(found.methods.has(method), "{name} {filled}");
                assert_eq!(found.template, row.template);
            } else if let Err(denial) = found {
                assert!(
                    matches!(denial, Denial::MethodNotAllowed(_)),
                    "{name} {filled}"
                );
            }
        }
    }
}

/// Fills the remaining `{…}` with a plain segment.
fn regexless_fill(template: &str) -> String {
    let segment = |s: &str| {
        if s.starts_with('{') {
            "x1".to_owned()
        } else {
            s.to_owned()
        }
    };
    template
        .split('/')
        .map(segment)
        .collect::<Vec<_>>()
        .join("/")
}

#[test]
fn methods_are_case_sensitive_and_the_denial_lists_them_all() {
    assert_eq!(find("GET", "/loki/api/v1/query"), Ok("/loki/api/v1/query"));
    for method in ["get", "HEAD", "OPTIONS", "PATCH", "CONNECT", ""] {
        let Err(Denial::MethodNotAllowed(methods)) = find(method, "/loki/api/v1/query") else {
            panic!("{method}");
        };
        assert_eq!(methods.to_string(), "GET, POST");
    }
    let Err(Denial::MethodNotAllowed(methods)) = find("PATCH", "/loki/api/v1/delete") else {
        panic!();
    };
    assert_eq!(methods.to_string(), "GET, POST, PUT, DELETE");
}

#[test]
fn paths_that_only_resemble_an_endpoint_are_not_listed() {
    for path in [
        "",
        "/",
        "*",
        "/loki/api/v1/query/",
        "/loki/api/v1//query",
        "//loki/api/v1/query",
        "/loki/api/v1/./query",
        "/loki/api/v1/x/../query",
        "/loki/api/v1/query;x=y",
        "/loki/api/v1/query#x",
        "/loki/api/v1/que%72y",
        "/loki%2fapi/v1/query",
        "/loki\\api\\v1\\query",
        "/LOKI/api/v1/query",
        "/loki/api/v1/query\0",
        "/loki/api/v1/label//values",
        "/loki/api/v1/label/../values",
        "/loki/api/v1/label/%2e%2e/values",
        "/loki/api/v1/label/a%2Fb/values",
        "/loki/api/v1/label/a%5cb/values",
        "/loki/api/v1/label/a%2/values",
        "/loki/api/v1/label/a%zz/values",
        "/loki/api/v1/label/a%/values",
        "/loki/api/v1/label/a%00/values",
        "/loki/api/v1/label/a%252e/values",
        "/loki/api/v1/label/a%ff/values",
        "/loki/api/v1/label/a;b/values",
        "/loki/api/v1/label/{name}/values",
        "/loki/api/v1/label/a b/values",
        "/loki/api/v1/rules/",
        "/tempo/api/v2/search/tag/a%25b/values",
        "/tempo/api/traces/",
        "/tempo/api/traces/a/b",
        "/config",
        "/metrics",
        "/ready",
        "/flush",
        "/debug/pprof/",
        "/loki/api/v1/cache/generation_numbers",
        "/config/tenant/v1/limits",
        "/tempo/metrics",
        "/tempo/status/config",
        "/tempo/api/overrides",
        "/tempo/api/mcp",
        "/tempo/querier/api/search",
        "/alertmanager/",
        "/alertmanager/api/v1/alerts",
        "/alertmanager/api/v2/silence/a%2Fb",
        "/api/search",
        "/alertmanager/metrics",
        "/prometheus/api/v1/admin/tsdb/snapshot",
        "/prometheus/federate",
        "/api/prom/push",
        "/httpgrpc.HTTP/Handle",
        "/tempopb.Querier/FindTraceByID",
        "/tempopb.StreamingQuerier/Other",
        "/grpc.health.v1.Health/Check",
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    ] {
        assert_eq!(find("GET", path), Err(Denial::RouteNotListed), "{path}");
        assert_eq!(find("POST", path), Err(Denial::RouteNotListed), "{path}");
    }
}

#[test]
fn a_name_of_rules_in_doubt_is_a_refusal_and_no_group_that_does_not_exist() {
    for name in [
        "a%2fb", "a%25b", "a%5Cb", "a%3Bb", "a;b", "..", "%2e%2e", "a%00", "a%ff", "a%zz", "a%",
        "{x}",
    ] {
        for path in [
            format!("/loki/api/v1/rules/{name}"),
            format!("/loki/api/v1/rules/{name}/group"),
            format!("/loki/api/v1/rules/namespace/{name}"),
            format!("/loki/api/v1/rules//{name}"),
            format!("/loki/api/v1/rules/a/b/{name}"),
        ] {
            for method in ["GET", "POST", "DELETE", "PATCH"] {
                let refused = find(method, &path).unwrap_err();
                assert_eq!(refused.code(), "path_escape_refused", "{path}");
                assert!(refused.message().contains("percent signs"), "{path}");
            }
        }
    }
    for name in [
        "..",
        "a%2F..%2Fb",
        "a%2F%2Fb",
        "a;b",
        "a%00",
        "a%2Eb",
        "a%ff",
    ] {
        let path = format!("/prometheus/config/v1/rules/{name}/group");
        let refused = find("GET", &path).unwrap_err();
        assert_eq!(refused.code(), "path_escape_refused", "{path}");
        assert!(refused.message().contains("dot segments"), "{path}");
    }
}

#[test]
fn paths_that_have_moved_are_told_where_to() {
    for path in [
        "/api/v1/rules",
        "/api/v1/rules/ns/group",
        "/prometheus/api/v1/rules/ns",
        "/prometheus/api/v1/rules/ns/a%2Fb",
        "/prometheus/api/v1/rules/",
    ] {
        let moved = Err(Denial::RouteMoved("/prometheus/config/v1/rules"));
        for method in ["GET", "POST", "DELETE"] {
            assert_eq!(find(method, path), moved, "{path}");
        }
    }
    for path in [
        "/api/v1/rulesets",
        "/api/v1/rule",
        "/prometheus/api/v1/rules2",
    ] {
        assert_eq!(find("GET", path), Err(Denial::RouteNotListed), "{path}");
    }
}

#[test]
fn segments_may_carry_the_escapes_they_need() {
    for path in [
        "/loki/api/v1/label/a%20b/values",
        "/loki/api/v1/label/caf%C3%A9/values",
        "/prometheus/api/v1/label/__name__/values",
        "/prometheus/config/v1/rules/a%2Fb",
        "/prometheus/config/v1/rules/%2Fetc%2frules/g%20h",
        "/prometheus/config/v1/rules/100%25/a%5cb%3Bc",
        "/prometheus/config/v1/rules/a%252Fb",
        "/tempo/api/v2/search/tag/resource.service.name/values",
        "/tempo/api/v2/search/tag/span.app.kubernetes.io%2Fname/values",
        "/tempo/api/traces/0123456789abcdef",
    ] {
        assert!(find("GET", path).is_ok(), "{path}");
    }
}

#[test]
fn writes_rules_alerts_deletes_and_tails_take_one_tenant() {
    for row in TABLE {
        let single = row.permission != Permission::Read || row.upgrade;
        if single {
            assert_eq!(row.tenants, Tenants::One, "{}", row.template);
        }
    }
}

#[test]
fn reads_are_never_reached_by_a_weaker_permission() {
    let writes = TABLE
        .iter()
        .filter(|row| row.permission == Permission::Write);
    for row in writes {
        assert_eq!(row.methods, Methods::POST, "{}", row.template);
    }
}

#[test]
fn legacy_paths_are_off_by_default() {
    let both = Endpoints::new(&[Surface::Platform, Surface::LokiLegacy]);
    assert!(both.find(b"/api/prom/push", b"POST").is_ok());
    assert_eq!(find("POST", "/api/prom/push"), Err(Denial::RouteNotListed));
}
