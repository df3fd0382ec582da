//! The Loki data source.

use anyhow::{Context, Result, ensure};
use integration::stack::{ACME, GLOBEX};
use serde_json::json;

use super::{BOTH, NOT_GRANTED, Source, check_status, get, post, send, text};
use crate::clients::{NO_TENANT, NOT_SINGLE};
use crate::scene::Scene;
use crate::tests;

tests![
    save_and_test_is_content,
    queries_by_get_and_by_form,
    explore_finds_labels_and_values,
    explore_draws_volumes,
    drilldown_finds_fields_and_patterns,
    several_tenants_are_told_apart,
    live_tailing_finds_no_older_api,
    errors_are_shown,
];

async fn save_and_test_is_content(scene: &Scene) -> Result<()> {
    let request = get(
        "/loki/api/v1/query",
        &[
            ("direction", "backward"),
            ("query", "vector(1)+vector(1)"),
            ("time", "4000000000"),
        ],
    );
    for (who, tenants) in [("alice", ACME), ("carol", BOTH)] {
        let reply = send(scene, who, tenants, &request).await?;
        check_status(&reply, 200)?;
        let answer: serde_json::Value = serde_json::from_str(&text(&reply)?)?;
        ensure!(
            answer["data"]["result"][0]["value"][1] == json!("2"),
            "{answer}"
        );
        // The older test, and the probe for features.
        for path in ["/loki/api/v1/labels", "/loki/api/v1/status/buildinfo"] {
            check_status(&send(scene, who, tenants, &get(path, &[])).await?, 200)?;
        }
        let reply = send(scene, who, GLOBEX, &request).await?;
        let granted = who == "carol";
        check_status(&reply, if granted { 200 } else { 403 })?;
    }
    Ok(())
}

async fn queries_by_get_and_by_form(scene: &Scene) -> Result<()> {
    let (start, end) = nanos(scene);
    let lines = [
        ("query", SELECTOR),
        ("direction", "backward"),
        ("limit", "1000"),
        ("start", &start),
        ("end", &end),
        ("step", "15000ms"),
    ];
    let volume = [
        (
            "query",
            r#"sum by (service_name) (count_over_time({service_name=~".+"}[1h]))"#,
        ),
        ("direction", "backward"),
        ("start", &start),
        ("end", &end),
        ("step", "15000ms"),
    ];
    let instant = [
        ("query", volume[0].1),
        ("direction", "backward"),
        ("time", &end),
    ];
    for (path, parameters) in [
        ("/loki/api/v1/query_range", &lines[..]),
        ("/loki/api/v1/query_range", &volume),
        ("/loki/api/v1/query", &instant),
    ] {
        for request in [get(path, parameters), post(path, parameters)] {
            let request = request.header("x-query-tags", "Source=logvolhist");
            Source::Loki.check(scene, &request).await?;
        }
    }
    Ok(())
}

async fn explore_finds_labels_and_values(scene: &Scene) -> Result<()> {
    let (start, end) = nanos(scene);
    let range = [("start", start.as_str()), ("end", end.as_str())];
    let narrowed = [("query", r#"{owner=~".+"}"#), range[0], range[1]];
    let series = [("match[]", SELECTOR), range[0], range[1]];
    for (path, parameters) in [
        ("/loki/api/v1/labels", &range[..]),
        ("/loki/api/v1/labels", &narrowed),
        ("/loki/api/v1/label/service_name/values", &range),
        ("/loki/api/v1/label/service_name/values", &narrowed),
        ("/loki/api/v1/series", &series),
    ] {
        for request in [get(path, parameters), post(path, parameters)] {
            Source::Loki.check(scene, &request).await?;
        }
    }
    Ok(())
}

async fn explore_draws_volumes(scene: &Scene) -> Result<()> {
    // Volumes are cut into steps; one of less than a chunk's span has none.
    let start = format!("{}000000000", scene.from - 3600);
    let (_, end) = nanos(scene);
    let parameters = [
        ("query", SELECTOR),
        ("start", &start),
        ("end", &end),
        ("limit", "5000"),
        ("step", "60s"),
    ];
    for path in [
        "/loki/api/v1/index/volume",
        "/loki/api/v1/index/volume_range",
    ] {
        Source::Loki.check(scene, &get(path, &parameters)).await?;
    }
    Ok(())
}

async fn drilldown_finds_fields_and_patterns(scene: &Scene) -> Result<()> {
    let (start, end) = nanos(scene);
    let range = [
        ("query", SELECTOR),
        ("start", start.as_str()),
        ("end", end.as_str()),
    ];
    Source::Loki
        .check(scene, &get("/loki/api/v1/detected_labels", &range))
        .await?;
    let values = "/loki/api/v1/detected_field/msg/values";
    Source::Loki.check(scene, &get(values, &range)).await?;
    // These two name no tenant: the same as the server itself says to that tenant.
    for path in ["/loki/api/v1/detected_fields", "/loki/api/v1/patterns"] {
        let request = get(path, &range);
        let control = scene
            .direct(scene.stack.loki.http(), ACME, request.clone())
            .await?;
        check_status(&control, 200)?;
        let reply = send(scene, "alice", ACME, &request).await?;
        check_status(&reply, 200).context(path)?;
        let text = text(&reply)?;
        ensure!(!text.contains(GLOBEX), "{text}");
        let fields = path.ends_with("fields");
        ensure!(!fields || text.contains("\"msg\""), "{text}");
        let refused = send(scene, "alice", GLOBEX, &request).await?;
        Source::Loki.check_refused(&refused, 403, "", NOT_GRANTED)?;
    }
    let limits = get("/loki/api/v1/drilldown-limits", &[]);
    check_status(&send(scene, "alice", ACME, &limits).await?, 200)?;
    let refused = send(scene, "carol", BOTH, &limits).await?;
    Source::Loki.check_refused(&refused, 400, "", NOT_SINGLE)
}

async fn several_tenants_are_told_apart(scene: &Scene) -> Result<()> {
    let (start, end) = nanos(scene);
    let ask = async |query: &str| -> Result<String> {
        let parameters = [
            ("query", query),
            ("start", &start),
            ("end", &end),
            ("limit", "1000"),
        ];
        let request = post("/loki/api/v1/query_range", &parameters);
        let reply = send(scene, "carol", BOTH, &request).await?;
        check_status(&reply, 200)?;
        text(&reply)
    };
    let both = ask(SELECTOR).await?;
    for tenant in [ACME, GLOBEX] {
        ensure!(
            both.contains(&format!(r#""__tenant_id__":"{tenant}""#)),
            "{both}"
        );
    }
    let one = ask(r#"{service_name=~".+", __tenant_id__="acme"}"#).await?;
    ensure!(one.contains("of acme") && !one.contains(GLOBEX), "{one}");
    Ok(())
}

/// An answer of 400 would be taken for a Loki of 2019.
async fn live_tailing_finds_no_older_api(scene: &Scene) -> Result<()> {
    let request = get("/loki/api/v2alpha/tail", &[]);
    check_status(&send(scene, "alice", ACME, &request).await?, 404)
}

async fn errors_are_shown(scene: &Scene) -> Result<()> {
    let request = get("/loki/api/v1/labels", &[]);
    let token = scene.token("alice").await?;
    let target = scene.stack.target();
    let protocol = integration::client::Protocol::H1;
    let without = request
        .clone()
        .bearer(&token)
        .send(&target, protocol)
        .await?;
    Source::Loki.check_refused(&without, 400, "", NO_TENANT)?;
    // What is wrong with a query says Loki, in its own words.
    let wrong = get("/loki/api/v1/query_range", &[("query", "{nonsense")]);
    let reply = send(scene, "alice", ACME, &wrong).await?;
    let control = scene.direct(scene.stack.loki.http(), ACME, wrong).await?;
    check_status(&reply, 400)?;
    ensure!(
        text(&reply)? == control.text(),
        "{} {}",
        text(&reply)?,
        control.text()
    );
    Ok(())
}

/// When the scene was written, in nanoseconds.
fn nanos(scene: &Scene) -> (String, String) {
    let nanos = |seconds: i64| format!("{seconds}000000000");
    (nanos(scene.from), nanos(scene.to))
}

const SELECTOR: &str = r#"{service_name=~".+"}"#;
