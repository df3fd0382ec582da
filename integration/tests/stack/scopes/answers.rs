//! Which parts of a backend's answer reach a scoped caller, and which of the caller's headers reach a backend.

use anyhow::{Context, Result, ensure};
use integration::client::{Protocol, RawRequest};
use integration::form;
use integration::stack::{APOLLO, INITECH};
use integration::upstream::{Behaviour, TEST_ID};

use super::asks::FORM;
use super::bodies::{QUERY, QUERY_RANGE};
use super::gates::{Recorded, check, test_id};
use super::resources::{LOGS, METRICS, path};
use crate::scene::Scene;

crate::tests![
    answers_pass_unchanged_and_headers_about_tenants_do_not,
    a_backend_that_is_down_is_told_from_one_that_is_not_there,
];

async fn answers_pass_unchanged_and_headers_about_tenants_do_not(scene: &Scene) -> Result<()> {
    let recorded = Recorded::start(scene, scene.stack.configuration()).await?;
    let (pia, wendy) = (scene.token("pia").await?, scene.token("wendy").await?);
    let logs = format!(
        "{}?query=%7C%3D%22x%22&direction=forward",
        path(APOLLO, "quartz", LOGS)
    );
    let metrics = format!(
        "{}?query=up&start=1&end=2&step=15s",
        path(APOLLO, "basalt", METRICS)
    );
    #[rustfmt::skip]
    let cases = [
        (&logs, &pia, "project-apollo", "/loki/api/v1/query_range?query=%7Bresource_id%3D%22quartz%22%7D%7C%3D%22x%22&direction=forward&limit=1000"),
        (&metrics, &pia, "project-apollo", "/prometheus/api/v1/query_range?query=up%7Bresource_id%3D%22basalt%22%7D&start=1&end=2&step=15s"),
        (&"/prometheus/api/v1/query?query=up".to_owned(), &wendy, INITECH, "/prometheus/api/v1/query?query=up%7Bnamespace%3D%22web%22%7D"),
        (&"/tempo/api/v2/search/tag/span.x/values?q=%7B%20.x%20%3D%201%20%7D".to_owned(), &wendy, INITECH, "/api/v2/search/tag/span.x/values?q=%7B%20resource.k8s.namespace.name%20%3D%20%22web%22%20%7D"),
    ];
    // Nothing of an answer is the gate's business: not its status, not its bytes, however odd.
    for (status, body) in [
        (200, "{\"status\" :\"success\",\n \"data\":{\u{1F}}}"),
        (422, "anything"),
        (429, ""),
        (500, "x"),
    ] {
        for upstream in [&recorded.loki, &recorded.mimir, &recorded.tempo] {
            upstream.behave(Behaviour::Answer {
                status,
                headers: vec![
                    ("x-answer".to_owned(), "kept".to_owned()),
                    ("content-type".to_owned(), "a/b".to_owned()),
                ],
                body: body.to_owned(),
            });
        }
        for (sent, token, tenant, expected) in &cases {
            let id = test_id();
            let reply = RawRequest::get(sent)
                .bearer(token)
                .tenant(if *tenant == INITECH { INITECH } else { "acme" })
                .header("x-prom-label-policy", "acme:%7Bx%3D%22y%22%7D")
                .header("X-Prom-Label-Policy", "project-apollo:%7B%7D")
                .header(TEST_ID, id.as_str())
                .send(&recorded.gate.target, Protocol::H1)
                .await?;
            ensure!(
                reply.status == status
                    && reply.text() == body
                    && reply.header("x-answer").as_deref() == Some("kept")
                    && reply.header("content-type").as_deref() == Some("a/b"),
                "{sent}: {} {:?} {}",
                reply.status,
                reply.headers,
                reply.text()
            );
            let seen = recorded.log.take(&id);
            ensure!(seen.len() == 1, "{sent}: {} requests", seen.len());
            let seen = &seen[0];
            ensure!(
                same_target(&seen.path, expected),
                "{sent}: {} is not {expected}",
                seen.path
            );
            ensure!(
                seen.header("x-scope-orgid") == [tenant.as_bytes()],
                "{sent}: {seen:?}"
            );
            for name in [
                "x-prom-label-policy",
                "authorization",
                "x-scopegate-backend",
            ] {
                ensure!(seen.header(name).is_empty(), "{sent}: {name} in {seen:?}");
            }
        }
    }
    Ok(())
}

async fn a_backend_that_is_down_is_told_from_one_that_is_not_there(scene: &Scene) -> Result<()> {
    let mut configuration = scene.stack.configuration();
    let backends = configuration["backends"]
        .as_object_mut()
        .context("no backends")?;
    backends.remove("mimir");
    let recorded = Recorded::start(scene, configuration).await?;
    recorded.loki.down().await;
    let (pia, wendy) = (scene.token("pia").await?, scene.token("wendy").await?);
    let query = RawRequest::post(QUERY_RANGE, QUERY).header("content-type", FORM);
    let metrics = format!("{}?query=up", path(APOLLO, "quartz", METRICS));
    let cases = [
        (
            RawRequest::get(&path(APOLLO, "quartz", LOGS)).bearer(&pia),
            502,
            "backend_unavailable",
        ),
        (
            RawRequest::get(&metrics).bearer(&pia),
            503,
            "backend_not_configured",
        ),
        (
            RawRequest::get(&format!("{QUERY_RANGE}?{QUERY}"))
                .bearer(&wendy)
                .tenant(INITECH),
            502,
            "backend_unavailable",
        ),
        (
            query.bearer(&wendy).tenant(INITECH),
            502,
            "backend_unavailable",
        ),
        (
            RawRequest::get("/prometheus/api/v1/query?query=up")
                .bearer(&wendy)
                .tenant(INITECH),
            503,
            "backend_not_configured",
        ),
    ];
    for (request, status, code) in cases {
        let what = String::from_utf8_lossy(&request.path).into_owned();
        let answer = recorded.ask(request, Protocol::H1).await?;
        check(&answer, status, code).context(what)?;
    }
    // Refusals come before: who may not read is not told what is configured.
    let answer = recorded
        .ask(RawRequest::get(&metrics).bearer(&wendy), Protocol::H1)
        .await?;
    check(&answer, 403, "project_not_granted")?;
    ensure!(recorded.log.count() == 0, "{:?}", recorded.log.all());
    Ok(())
}

/// The same path and the same parameters in the same order, however they are escaped.
fn same_target(left: &str, right: &str) -> bool {
    let decoded = |text: &str| text.split(['?', '&']).map(form::decode).collect::<Vec<_>>();
    decoded(left) == decoded(right)
}
