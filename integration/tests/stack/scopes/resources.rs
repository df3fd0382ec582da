//! The projects API in front of the real servers: who may read which resource, which defaults apply, and that nothing
//! of another resource is returned.

use anyhow::{Result, ensure};
use integration::client::{Protocol, RawRequest, Reply, Target};
use integration::stack::{APOLLO, APOLLO_TENANT, INITECH};

use super::asks::request;
use super::data::TeamData;
use super::gates::{ask_scene, check};
use crate::reads::settled;
use crate::scene::Scene;

crate::tests![
    a_resources_logs_are_its_own,
    a_resources_metrics_are_its_own,
    a_project_is_there_for_its_readers,
];

/// The path of a resource's logs or metrics.
pub fn path(project: &str, resource: &str, what: &str) -> String {
    format!("/api/v1/projects/{project}/resources/{resource}/{what}")
}

pub const LOGS: &str = "logs";
pub const METRICS: &str = "metrics/query_range";

/// What is asked for in the query of quartz's logs, what reaches Loki, and whether lines come back.
#[rustfmt::skip]
const LOG_QUERIES: &[(Option<&str>, &str, bool)] = &[
    (None, "{resource_id=\"quartz\"}", true),
    (Some(""), "{resource_id=\"quartz\"}", true),
    (Some("|= \"kestrel\""), "{resource_id=\"quartz\"} |= \"kestrel\"", true),
    (Some("| logfmt | plumage=\"merlin\""), "{resource_id=\"quartz\"} | logfmt | plumage=\"merlin\"", true),
    (Some("{bird=\"osprey\"} |= \"by the\""), "{bird=\"osprey\",resource_id=\"quartz\"} |= \"by the\"", true),
    (Some("{resource_id=~\".+\"}"), "{resource_id=~\".+\",resource_id=\"quartz\"}", true),
    (Some("{resource_id=\"basalt\"}"), "{resource_id=\"basalt\",resource_id=\"quartz\"}", false),
    (Some("sum by (bird, resource_id) (count_over_time({bird!=\"\"}[5m]))"), "sum by (bird, resource_id) (count_over_time({bird!=\"\",resource_id=\"quartz\"}[5m]))", true),
];

async fn a_resources_logs_are_its_own(scene: &Scene) -> Result<()> {
    let data = TeamData::of(scene).await?;
    for (sent, expected, found) in LOG_QUERIES {
        for more in [&[][..], &[("limit", "5"), ("direction", "forward")]] {
            let mut pairs = times(data);
            pairs.extend(
                more.iter()
                    .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
            );
            let reply = read(scene, LOGS, &with(&pairs, "query", *sent)).await?;
            if more.is_empty() {
                pairs.push(("limit".to_owned(), "1000".to_owned()));
            }
            let expected = request(
                "GET",
                "/loki/api/v1/query_range",
                &with(&pairs, "query", Some(expected)),
            );
            let direct = scene
                .direct(scene.stack.loki.http(), APOLLO_TENANT, expected)
                .await?;
            let text = reply.text();
            ensure!(
                reply.status == 200 && settled(&reply) == settled(&direct),
                "{sent:?}: {} {text}\nis not {} {}",
                reply.status,
                direct.status,
                direct.text()
            );
            ensure!(
                reply.header("content-type") == direct.header("content-type"),
                "{sent:?}: {:?}",
                reply.headers
            );
            ensure!(!text.contains("basalt"), "{sent:?}: {text}");
            ensure!(text.contains("quartz") == *found, "{sent:?}: {text}");
        }
    }
    // The tenant as a whole shows the other resource, and more lines than are given unasked.
    let whole = request(
        "GET",
        "/loki/api/v1/query_range",
        &with(&times(data), "query", Some("{resource_id=\"basalt\"}")),
    );
    let whole = scene
        .direct(scene.stack.loki.http(), APOLLO_TENANT, whole)
        .await?;
    ensure!(whole.text().contains("basalt"), "{}", whole.text());
    let many = read(scene, LOGS, &times(data)).await?;
    ensure!(lines(&many)? == 1000, "{} lines", lines(&many)?);
    let more = read(scene, LOGS, &with(&times(data), "limit", Some("1100"))).await?;
    ensure!(lines(&more)? == 1100, "{} lines", lines(&more)?);
    // Without any parameter: the last hour.
    let none = read(scene, LOGS, &[]).await?;
    ensure!(lines(&none)? == 1000, "{} {}", none.status, none.text());
    Ok(())
}

/// What is asked of quartz's metrics, and what reaches Mimir.
#[rustfmt::skip]
const METRIC_QUERIES: &[(&str, &str)] = &[
    ("birds_total", "birds_total{resource_id=\"quartz\"}"),
    ("birds_total{resource_id=~\".+\"}", "birds_total{resource_id=\"quartz\",resource_id=~\".+\"}"),
    ("sum by (bird, resource_id) (rate(birds_total[1m]))", "sum by (bird, resource_id) (rate(birds_total{resource_id=\"quartz\"}[1m]))"),
    ("{__name__=~\".*_nests\"}", "{resource_id=\"quartz\",__name__=~\".*_nests\"}"),
];

/// Byte for byte what Mimir says.
async fn a_resources_metrics_are_its_own(scene: &Scene) -> Result<()> {
    let data = TeamData::of(scene).await?;
    let mut pairs = times(data);
    pairs.push(("step".to_owned(), "10".to_owned()));
    for (sent, expected) in METRIC_QUERIES {
        let reply = read(scene, METRICS, &with(&pairs, "query", Some(sent))).await?;
        let expected = request(
            "GET",
            "/prometheus/api/v1/query_range",
            &with(&pairs, "query", Some(expected)),
        );
        let direct = scene
            .direct(scene.stack.mimir.http(), APOLLO_TENANT, expected)
            .await?;
        ensure!(
            reply.status == 200
                && settled(&reply) == settled(&direct)
                && reply.body.len() == direct.body.len(),
            "{sent}: {} {}\nis not {} {}",
            reply.status,
            reply.text(),
            direct.status,
            direct.text()
        );
        ensure!(
            reply.header("content-type") == direct.header("content-type"),
            "{sent}: {:?}",
            reply.headers
        );
        ensure!(
            reply.text().contains("quartz") && !reply.text().contains("basalt"),
            "{sent}: {}",
            reply.text()
        );
        let whole = request(
            "GET",
            "/prometheus/api/v1/query_range",
            &with(&pairs, "query", Some(sent)),
        );
        let whole = scene
            .direct(scene.stack.mimir.http(), APOLLO_TENANT, whole)
            .await?;
        ensure!(whole.text().contains("basalt"), "{sent}: {}", whole.text());
    }
    // Mimir's own refusals pass as well.
    let reply = read(
        scene,
        METRICS,
        &with(&times(data), "query", Some("birds_total")),
    )
    .await?;
    ensure!(
        reply.status == 400 && reply.text().contains("bad_data"),
        "{} {}",
        reply.status,
        reply.text()
    );
    Ok(())
}

async fn a_project_is_there_for_its_readers(scene: &Scene) -> Result<()> {
    TeamData::of(scene).await?;
    let metrics = format!("{}?query=birds_total", path(APOLLO, "quartz", METRICS));
    let logs = path(APOLLO, "quartz", LOGS);
    // Whoever is not of the readers, whatever else they may do: also with the tenant, and a policy, in headers.
    for who in ["iris", "wendy", "adam", "alice", "nobody", "agent-acme"] {
        for tenant in [None, Some(APOLLO_TENANT), Some(INITECH)] {
            for path in [&logs, &metrics] {
                let answer = ask_scene(scene, who, tenant, RawRequest::get(path)).await?;
                check(&answer, 403, "project_not_granted")?;
            }
        }
    }
    let refused: &[(&str, String, u16, &str)] = &[
        (
            "GET",
            path("artemis", "quartz", LOGS),
            403,
            "project_not_granted",
        ),
        (
            "GET",
            path(APOLLO, "marble", LOGS),
            404,
            "resource_not_found",
        ),
        (
            "GET",
            format!("{}?query=up", path(APOLLO, "marble", METRICS)),
            404,
            "resource_not_found",
        ),
        ("GET", path(APOLLO, "quartz", METRICS), 400, "query_missing"),
        (
            "GET",
            format!("{logs}?tenant=initech"),
            400,
            "parameter_unknown",
        ),
        (
            "GET",
            format!("{logs}?query=&query="),
            400,
            "parameter_repeated",
        ),
        (
            "GET",
            format!("{logs}?match[]=%7Bbird%3D%22osprey%22%7D"),
            400,
            "parameter_unknown",
        ),
        (
            "GET",
            format!("{logs}?query=%7Bbird%3D"),
            400,
            "query_refused",
        ),
        ("POST", logs.clone(), 405, "method_not_allowed"),
        ("GET", format!("{logs}/"), 404, "route_not_listed"),
    ];
    for (method, path, status, code) in refused {
        let answer = ask_scene(scene, "pia", None, RawRequest::new(method, path)).await?;
        check(&answer, *status, code).map_err(|error| error.context(path.clone()))?;
    }
    // A reader of the project is nobody to the platform API, and needs a token here too.
    let answer = ask_scene(
        scene,
        "pia",
        Some(APOLLO_TENANT),
        RawRequest::get("/loki/api/v1/labels"),
    )
    .await?;
    check(&answer, 403, "tenant_not_granted")?;
    let reply = RawRequest::get(&logs)
        .send(&scene.stack.target(), Protocol::H1)
        .await?;
    ensure!(reply.status == 401, "{} {}", reply.status, reply.text());
    // What a client says of tenants and policies changes nothing.
    for tenant in [INITECH, "a|b", "", "acme"] {
        let request = RawRequest::get(&format!("{logs}?limit=1")).header(
            "x-prom-label-policy",
            "project-apollo:%7Bresource_id%3D%22basalt%22%7D",
        );
        let (reply, _) = ask_scene(scene, "pia", Some(tenant), request).await?;
        ensure!(
            reply.status == 200
                && reply.text().contains("in project-apollo")
                && !reply.text().contains("basalt"),
            "{tenant}: {} {}",
            reply.status,
            reply.text()
        );
    }
    Ok(())
}

/// As pia, who sends no tenant.
async fn read(scene: &Scene, what: &str, pairs: &[(String, String)]) -> Result<Reply> {
    let request = request("GET", &path(APOLLO, "quartz", what), pairs);
    let token = scene.token("pia").await?;
    request
        .bearer(&token)
        .send(&Target::plain(scene.stack.plain()), Protocol::H1)
        .await
}

fn times(data: TeamData) -> Vec<(String, String)> {
    [("start", data.from), ("end", data.to)]
        .map(|(name, time)| (name.to_owned(), time.to_string()))
        .to_vec()
}

/// With one more, if there is one.
fn with(pairs: &[(String, String)], name: &str, value: Option<&str>) -> Vec<(String, String)> {
    let more = value.map(|value| (name.to_owned(), value.to_owned()));
    pairs.iter().cloned().chain(more).collect()
}

/// How many lines there are in an answer of Loki.
fn lines(reply: &Reply) -> Result<usize> {
    let answer = reply.json()?;
    let streams = answer["data"]["result"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    Ok(streams
        .iter()
        .filter_map(|stream| stream["values"].as_array().map(Vec::len))
        .sum())
}
