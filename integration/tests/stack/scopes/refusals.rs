//! What cannot be scoped, or not without doubt, is refused and reaches no server.

use anyhow::{Result, ensure};
use integration::client::{Protocol, RawRequest};
use integration::form;
use integration::stack::INITECH;
use scopegate::authz::endpoint::{Scoping, Surface, TABLE};

use super::asks::ASKS;
use super::data::TeamData;
use super::gates::{ask, ask_scene, check};
use crate::scene::Scene;
use crate::servers::Servers;

crate::tests![
    an_endpoint_that_cannot_be_scoped_is_refused,
    labels_that_make_no_scope_are_refused,
    parameters_and_queries_in_doubt_are_refused,
];

/// Each such row of the table, by somebody who may do everything within a scope.
async fn an_endpoint_that_cannot_be_scoped_is_refused(scene: &Scene) -> Result<()> {
    let token = scene.token("adam").await?;
    let envoy = scene.stack.envoy()?;
    let before = Servers::seen(scene).await?;
    let mut wrong = Vec::new();
    let mut rows = 0;
    for row in TABLE {
        let refused = matches!(row.scoping, Scoping::Unsupported | Scoping::WholeTrace);
        if !refused || row.surface == Surface::Projects {
            continue;
        }
        for method in ["GET", "POST", "PUT", "DELETE"] {
            let named = scopegate::words::method::Methods::from_name(method.as_bytes());
            if !named.is_some_and(|named| row.methods.has(named)) {
                continue;
            }
            rows += 1;
            let mut request = RawRequest::new(method, &concrete(row.template))
                .bearer(&token)
                .tenant(INITECH);
            if row.is_grpc() {
                request = request
                    .header("content-type", "application/grpc")
                    .header("te", "trailers");
                request.body = vec![0; 5];
            }
            let protocol = if row.is_grpc() {
                Protocol::H2
            } else {
                Protocol::H1
            };
            let answer = ask(&envoy, &scene.stack.target(), request, protocol).await?;
            let refused = if row.is_grpc() {
                answer.1 == "scope_unsupported" && answer.0.grpc_status() == Some(7)
            } else {
                check(&answer, 403, "scope_unsupported").is_ok()
            };
            if !refused {
                wrong.push(format!(
                    "{method} {}: {} {} {}",
                    row.template,
                    answer.0.status,
                    answer.1,
                    answer.0.text()
                ));
            }
        }
    }
    let after = Servers::seen(scene).await?;
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    ensure!(before == after, "{before:?} became {after:?}");
    ensure!(rows > 40, "only {rows} rows");
    Ok(())
}

/// A path of that template.
fn concrete(template: &str) -> String {
    let segments = template.split('/').map(|segment| match segment {
        "{traceID}" => "1234567890abcdef1234567890abcdef",
        _ if segment.starts_with('{') => "x",
        _ => segment,
    });
    segments.collect::<Vec<_>>().join("/")
}

/// Two groups that limit different labels: neither is the whole of what amber may see, and no matcher is.
async fn labels_that_make_no_scope_are_refused(scene: &Scene) -> Result<()> {
    let data = TeamData::of(scene).await?;
    let before = Servers::seen(scene).await?;
    let mut wrong = Vec::new();
    for ask in ASKS {
        for (method, _) in ask.endpoints() {
            let answer =
                ask_scene(scene, "amber", Some(INITECH), ask.request(method, data)).await?;
            if let Err(error) = check(&answer, 403, "scope_ambiguous") {
                wrong.push(format!("{method} {}: {error}", ask.path));
            }
        }
    }
    let after = Servers::seen(scene).await?;
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    ensure!(before == after, "{before:?} became {after:?}");
    Ok(())
}

/// Query strings as they are sent, and the code.
#[rustfmt::skip]
const IN_DOUBT: &[(&str, &str, &str)] = &[
    ("/loki/api/v1/query_range", "", "query_missing"),
    ("/loki/api/v1/query_range", "query=", "query_missing"),
    ("/loki/api/v1/query_range", "query=%7Ba%3D%22b%22%7D&query=%7Bc%3D%22d%22%7D", "parameter_repeated"),
    ("/loki/api/v1/query_range", "query=%7Ba%3D%22b%22%7D&limit=1&limit=2", "parameter_repeated"),
    ("/loki/api/v1/query_range", "query=%7Ba%3D%22b%22%7D;limit=1", "parameters_malformed"),
    ("/loki/api/v1/query_range", "query=%7Ba%3D%22b%22%7D&x=%zz", "parameters_malformed"),
    ("/loki/api/v1/query_range", "query=%7Ba%3D%22b%22%7D&x=%", "parameters_malformed"),
    ("/loki/api/v1/query_range", "query=%7Ba%3D%22b%FF%22%7D", "parameters_malformed"),
    ("/loki/api/v1/query_range", "query=%7Ba%3D%22b%22%7D%00", "parameters_malformed"),
    ("/prometheus/api/v1/query", "", "query_missing"),
    ("/prometheus/api/v1/query", "query=up&query=up", "parameter_repeated"),
    ("/prometheus/api/v1/query", "query=up&quer%79=up", "parameter_repeated"),
    ("/prometheus/api/v1/series", "match%5B%5D=%7Ba%3D%22b%22%7D;match%5B%5D=up", "parameters_malformed"),
    ("/tempo/api/search", "tags=bird%3Dosprey", "parameter_refused"),
    ("/tempo/api/search", "q=%7B%7D&minDuration=1s", "parameter_refused"),
    ("/tempo/api/search", "q=%7B%7D&q=%7B%7D", "parameter_repeated"),
    ("/tempo/api/metrics/query", "q=%7B%7D%7Crate()&query=%7B%7D%7Crate()", "parameter_repeated"),
    ("/tempo/api/metrics/query", "", "query_missing"),
];

/// Queries that are refused by a rule, all as `query_refused`.
#[rustfmt::skip]
const REFUSED: &[(&str, &str, &str)] = &[
    ("/loki/api/v1/query_range", "query", "{bird=\"kestrel\"} // {bird=\"osprey\"}"),
    ("/loki/api/v1/query_range", "query", "{bird=\"kestrel\"} /* } */"),
    ("/loki/api/v1/query_range", "query", "{bird='osprey'}"),
    ("/loki/api/v1/query_range", "query", "{bird=\"kestrel\""),
    ("/loki/api/v1/query_range", "query", "\u{feff}{bird=\"kestrel\"}"),
    ("/loki/api/v1/index/volume", "query", "sum(count_over_time({bird=\"kestrel\"}[5m]))"),
    ("/loki/api/v1/series", "match[]", "{bird=\"kestrel\"} or {bird=\"osprey\"}"),
    ("/loki/api/v1/labels", "query", "{bird=\"kestrel\"} |= \"x\""),
    ("/prometheus/api/v1/query", "query", "info(birds_total)"),
    ("/prometheus/api/v1/query", "query", "birds_total{namespace=\"web\" or namespace=\"shop\"}"),
    ("/prometheus/api/v1/query", "query", "birds_total{"),
    ("/prometheus/api/v1/query", "query", "birds_total #{\rosprey_nests"),
    ("/prometheus/api/v1/series", "match[]", "birds_total or osprey_nests"),
    ("/prometheus/api/v1/series", "match[]", "sum(birds_total)"),
    ("/tempo/api/search", "q", "count() > 1"),
    ("/tempo/api/search", "q", "select(.bird)"),
    ("/tempo/api/search", "q", "{ .bird`=1} || { .x`=1 }"),
    ("/tempo/api/search", "q", "{ } // }"),
];

async fn parameters_and_queries_in_doubt_are_refused(scene: &Scene) -> Result<()> {
    let mut cases: Vec<(String, &str)> = IN_DOUBT
        .iter()
        .map(|(path, query, code)| (format!("{path}?{query}"), *code))
        .collect();
    cases.extend(REFUSED.iter().map(|(path, name, query)| {
        let (name, query) = (form::encode(name), form::encode(query));
        (format!("{path}?{name}={query}"), "query_refused")
    }));
    let deep = format!("{}birds_total{}", "(".repeat(65), ")".repeat(65));
    cases.push((
        format!("/prometheus/api/v1/query?query={}", form::encode(&deep)),
        "query_refused",
    ));
    let many = "&x=1".repeat(64);
    cases.push((
        format!("/prometheus/api/v1/query?query=birds_total{many}"),
        "parameters_malformed",
    ));
    let before = Servers::seen(scene).await?;
    let mut wrong = Vec::new();
    for (path, code) in &cases {
        let answer = ask_scene(scene, "wendy", Some(INITECH), RawRequest::get(path)).await?;
        if let Err(error) = check(&answer, 400, code) {
            wrong.push(format!("{path}: {error}"));
        }
        if answer.0.text().contains("namespace=") {
            wrong.push(format!("{path}: tells the scope: {}", answer.0.text()));
        }
    }
    let after = Servers::seen(scene).await?;
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    ensure!(before == after, "{before:?} became {after:?}");
    Ok(())
}
