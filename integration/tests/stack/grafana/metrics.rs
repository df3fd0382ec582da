//! The Prometheus data source, on Mimir: with POST by default, and with GET where only that is served.

use anyhow::{Context, Result, ensure};
use integration::client::RawRequest;
use integration::stack::{ACME, GLOBEX};
use serde_json::{Value, json};

use super::{BOTH, NOT_GRANTED, Source, check_status, get, post, send, text};
use crate::clients::{NO_TENANT, NOT_SINGLE};
use crate::scene::Scene;
use crate::tests;

tests![
    save_and_test_is_content,
    queries_by_form_and_by_get,
    explore_finds_labels_and_values,
    metadata_and_exemplars_are_found,
    several_tenants_are_told_apart,
    rules_and_alerts_are_listed,
    a_post_that_is_not_served_is_tried_again_as_get,
    errors_are_shown,
];

async fn save_and_test_is_content(scene: &Scene) -> Result<()> {
    let request = post(
        "/prometheus/api/v1/query",
        &[("query", "1+1"), ("time", "4")],
    );
    for (who, tenants) in [("alice", ACME), ("carol", BOTH)] {
        let reply = send(scene, who, tenants, &request).await?;
        check_status(&reply, 200)?;
        let answer: Value = serde_json::from_str(&text(&reply)?)?;
        ensure!(answer["data"]["result"] == json!([4, "2"]), "{answer}");
        // Which software it is, and whether it has rules: asked in the same test.
        let reply = send(
            scene,
            who,
            tenants,
            &get("/prometheus/api/v1/status/buildinfo", &[]),
        )
        .await?;
        check_status(&reply, 200)?;
        let answer: Value = serde_json::from_str(&text(&reply)?)?;
        ensure!(
            answer["data"]["features"]["ruler_config_api"] == json!("true"),
            "{answer}"
        );
    }
    let reply = send(scene, "alice", GLOBEX, &request).await?;
    Source::Mimir.check_refused(&reply, 403, "forbidden", NOT_GRANTED)
}

async fn queries_by_form_and_by_get(scene: &Scene) -> Result<()> {
    let (start, end) = (scene.from.to_string(), scene.to.to_string());
    let range = [
        ("query", SELECTOR),
        ("start", &start),
        ("end", &end),
        ("step", "1"),
    ];
    let recent = format!("last_over_time({SELECTOR}[1h])");
    let instant = [("query", recent.as_str()), ("time", end.as_str())];
    for (path, parameters) in [
        ("/prometheus/api/v1/query_range", &range[..]),
        ("/prometheus/api/v1/query", &instant),
    ] {
        for request in [post(path, parameters), get(path, parameters)] {
            Source::Mimir.check(scene, &request).await?;
        }
    }
    Ok(())
}

async fn explore_finds_labels_and_values(scene: &Scene) -> Result<()> {
    let (start, end) = (scene.from.to_string(), scene.to.to_string());
    let range = [("start", start.as_str()), ("end", end.as_str())];
    let narrowed = [
        range[0],
        range[1],
        ("match[]", SELECTOR),
        ("limit", "40000"),
    ];
    for path in ["/prometheus/api/v1/labels", "/prometheus/api/v1/series"] {
        for request in [post(path, &narrowed), get(path, &narrowed)] {
            Source::Mimir.check(scene, &request).await?;
        }
    }
    Source::Mimir
        .check(scene, &post("/prometheus/api/v1/labels", &range))
        .await?;
    for name in ["owner", "__name__"] {
        let path = format!("/prometheus/api/v1/label/{name}/values");
        Source::Mimir.check(scene, &get(&path, &range)).await?;
        Source::Mimir.check(scene, &get(&path, &narrowed)).await?;
    }
    Ok(())
}

async fn metadata_and_exemplars_are_found(scene: &Scene) -> Result<()> {
    Source::Mimir
        .check(
            scene,
            &get("/prometheus/api/v1/metadata", &[("limit", "40000")]),
        )
        .await?;
    let (start, end) = (scene.from.to_string(), scene.to.to_string());
    let parameters = [
        ("query", r#"{__name__=~".+_orders_total"}"#),
        ("start", &start),
        ("end", &end),
    ];
    for request in [
        post("/prometheus/api/v1/query_exemplars", &parameters),
        get("/prometheus/api/v1/query_exemplars", &parameters),
    ] {
        Source::Mimir.check(scene, &request).await?;
    }
    Ok(())
}

async fn several_tenants_are_told_apart(scene: &Scene) -> Result<()> {
    let end = scene.to.to_string();
    let ask = async |query: &str| -> Result<Value> {
        let request = post(
            "/prometheus/api/v1/query",
            &[("query", query), ("time", &end)],
        );
        let reply = send(scene, "carol", BOTH, &request).await?;
        check_status(&reply, 200)?;
        Ok(serde_json::from_str(&text(&reply)?)?)
    };
    let query = format!("count by (__tenant_id__) (last_over_time({SELECTOR}[1h]))");
    let both = ask(&query).await?;
    let result = both["data"]["result"].as_array().context("no result")?;
    let tenants: Vec<&Value> = result
        .iter()
        .map(|one| &one["metric"]["__tenant_id__"])
        .collect();
    ensure!(
        tenants.len() == 2
            && [ACME, GLOBEX]
                .iter()
                .all(|one| tenants.contains(&&json!(one))),
        "{both}"
    );
    let one = ask(r#"last_over_time({owner=~".+", __tenant_id__="acme"}[1h])"#)
        .await?
        .to_string();
    ensure!(
        one.contains("acme_orders_total") && !one.contains(GLOBEX),
        "{one}"
    );
    Ok(())
}

async fn rules_and_alerts_are_listed(scene: &Scene) -> Result<()> {
    // The rules of the scene, once the ruler has noticed them.
    for (who, tenant, other) in [
        ("alice", ACME, GLOBEX),
        ("bob", GLOBEX, ACME),
        ("carol", ACME, GLOBEX),
    ] {
        let ours = format!("{tenant}-group");
        crate::clients::eventually("the ruler lists the group", || async {
            let reply = send(scene, who, tenant, &get("/prometheus/api/v1/rules", &[])).await?;
            check_status(&reply, 200)?;
            let text = text(&reply)?;
            ensure!(!text.contains(other), "{text}");
            Ok(text.contains(&ours))
        })
        .await?;
        let path = "/prometheus/config/v1/rules";
        let reply = send(scene, who, tenant, &get(path, &[])).await?;
        check_status(&reply, 200)?;
        let listed = text(&reply)?;
        ensure!(
            listed.contains(&ours) && !listed.contains(other),
            "{listed}"
        );
    }
    for path in [
        "/prometheus/api/v1/rules",
        "/prometheus/api/v1/alerts",
        "/prometheus/config/v1/rules",
    ] {
        let reply = send(scene, "alice", GLOBEX, &get(path, &[])).await?;
        Source::Mimir.check_refused(&reply, 403, "forbidden", NOT_GRANTED)?;
        let reply = send(scene, "carol", BOTH, &get(path, &[])).await?;
        Source::Mimir.check_refused(&reply, 400, "bad_data", NOT_SINGLE)?;
    }
    Ok(())
}

/// Older Grafanas try POST for everything; the plugin takes 405 and 400 as a reason to try GET.
async fn a_post_that_is_not_served_is_tried_again_as_get(scene: &Scene) -> Result<()> {
    for path in [
        "/prometheus/api/v1/label/owner/values",
        "/prometheus/api/v1/metadata",
    ] {
        let reply = send(scene, "alice", ACME, &post(path, &[])).await?;
        check_status(&reply, 405)?;
        ensure!(
            reply.header("allow").as_deref() == Some("GET"),
            "{:?}",
            reply.headers
        );
        check_status(&send(scene, "alice", ACME, &get(path, &[])).await?, 200)?;
    }
    Ok(())
}

async fn errors_are_shown(scene: &Scene) -> Result<()> {
    let request = post("/prometheus/api/v1/query", &[("query", "1+1")]);
    let target = scene.stack.target();
    let protocol = integration::client::Protocol::H1;
    let token = scene.token("alice").await?;
    let without = request
        .clone()
        .bearer(&token)
        .send(&target, protocol)
        .await?;
    Source::Mimir.check_refused(&without, 400, "bad_data", NO_TENANT)?;
    let stranger: RawRequest = request.tenant(ACME);
    let stranger = stranger
        .bearer("no.such.token")
        .send(&target, protocol)
        .await?;
    check_status(&stranger, 401)?;
    ensure!(
        stranger.json()?["status"] == json!("error"),
        "{}",
        stranger.text()
    );
    // What is wrong with a query says Mimir, in its own words.
    let wrong = post("/prometheus/api/v1/query", &[("query", "sum(")]);
    let reply = send(scene, "alice", ACME, &wrong).await?;
    let control = scene.direct(scene.stack.mimir.http(), ACME, wrong).await?;
    check_status(&reply, 400)?;
    ensure!(
        text(&reply)? == control.text(),
        "{} {}",
        text(&reply)?,
        control.text()
    );
    Ok(())
}

const SELECTOR: &str = r#"{owner=~".+"}"#;
