//! The Tempo data source over HTTP.

use anyhow::{Context, Result, ensure};
use integration::otlp::ExportTraceServiceRequest;
use integration::stack::collector::Exporter;
use integration::stack::tempo_stand_in::wire::TraceByIdResponse;
use integration::stack::{ACME, GLOBEX};
use prost::Message;

use super::{BOTH, NOT_GRANTED, Source, check_status, get, send, text};
use crate::clients::{GRANTED, NO_TENANT, Whose};
use crate::scene::{Scene, trace_id};
use crate::tests;

tests![
    save_and_test_is_content,
    searches_find_traces,
    tags_and_their_values_are_listed,
    a_trace_comes_as_protobuf,
    metrics_are_drawn,
    errors_are_shown,
];

async fn save_and_test_is_content(scene: &Scene) -> Result<()> {
    for (who, tenants) in [("alice", ACME), ("carol", BOTH)] {
        for path in ["/tempo/api/echo", "/tempo/api/status/buildinfo"] {
            let reply = send(scene, who, tenants, &get(path, &[])).await?;
            check_status(&reply, 200)?;
            let wanted = if path.ends_with("echo") {
                "echo"
            } else {
                "version"
            };
            ensure!(text(&reply)?.contains(wanted), "{}", text(&reply)?);
        }
    }
    let reply = send(scene, "alice", GLOBEX, &get("/tempo/api/echo", &[])).await?;
    Source::Tempo.check_refused(&reply, 403, "", NOT_GRANTED)
}

async fn searches_find_traces(scene: &Scene) -> Result<()> {
    let (start, end) = (scene.from.to_string(), scene.to.to_string());
    let range = [
        ("limit", "20"),
        ("spss", "3"),
        ("start", start.as_str()),
        ("end", end.as_str()),
    ];
    let everything = [&[("q", "{}")][..], &range].concat();
    Source::Tempo
        .check(scene, &get("/tempo/api/search", &everything))
        .await?;
    // Asking for the other tenant's by name finds nothing of theirs.
    for query in [
        r#"{ resource.service.name = "globex-shop" }"#,
        r#"{ span.owner = "globex" }"#,
    ] {
        let request = get("/tempo/api/search", &[&[("q", query)][..], &range].concat());
        let control = scene
            .direct(
                scene.stack.tempo.http(),
                GLOBEX,
                Source::own(request.clone()),
            )
            .await?;
        check_status(&control, 200)?;
        Whose::Globex.check(&control.text())?;
        let reply = send(scene, "alice", ACME, &request).await?;
        check_status(&reply, 200)?;
        Whose::Nobodys.check(&text(&reply)?)?;
    }
    Ok(())
}

async fn tags_and_their_values_are_listed(scene: &Scene) -> Result<()> {
    let (start, end) = (scene.from.to_string(), scene.to.to_string());
    let range = [
        ("limit", "5000"),
        ("start", start.as_str()),
        ("end", end.as_str()),
    ];
    for path in [
        "/tempo/api/v2/search/tag/resource.service.name/values",
        "/tempo/api/v2/search/tag/.service.name/values",
        "/tempo/api/v2/search/tag/span.owner/values",
        "/tempo/api/v2/search/tag/name/values",
        "/tempo/api/search/tag/service.name/values",
        "/tempo/api/search/tag/owner/values",
    ] {
        Source::Tempo.check(scene, &get(path, &range)).await?;
    }
    // Names of tags are the same for both tenants.
    for path in ["/tempo/api/v2/search/tags", "/tempo/api/search/tags"] {
        let reply = send(scene, "alice", ACME, &get(path, &range)).await?;
        check_status(&reply, 200)?;
        for tag in ["service.name", "owner"] {
            ensure!(
                text(&reply)?.contains(&format!("\"{tag}\"")),
                "{}",
                text(&reply)?
            );
        }
        let reply = send(scene, "alice", BOTH, &get(path, &range)).await?;
        Source::Tempo.check_refused(&reply, 403, "", NOT_GRANTED)?;
    }
    Ok(())
}

async fn a_trace_comes_as_protobuf(scene: &Scene) -> Result<()> {
    let id = |tenant| format!("{:032x}", trace_id(tenant, Exporter::Http));
    for (who, tenants) in GRANTED {
        for tenant in [ACME, GLOBEX] {
            let granted = tenants.split('|').any(|one| one == tenant);
            for version in ["", "v2/"] {
                let path = format!("/tempo/api/{version}traces/{}", id(tenant));
                let request = get(
                    &path,
                    &[
                        ("start", &scene.from.to_string()),
                        ("end", &scene.to.to_string()),
                    ],
                )
                .header("accept", "application/protobuf");
                let own = Source::own(request.clone());
                let control = scene.direct(scene.stack.tempo.http(), tenant, own).await?;
                check_status(&control, 200)?;
                let reply = send(scene, who, tenants, &request).await?;
                let what = format!("{who}, {tenants}, {path}");
                if granted {
                    check_status(&reply, 200).context(what.clone())?;
                    let (ours, control) = (
                        services(version, &reply.body)?,
                        services(version, &control.body)?,
                    );
                    ensure!(ours == control, "{what}: {ours}");
                    Whose::of(tenant).check(&ours).context(what)?;
                } else {
                    // Of another tenant's trace Tempo knows nothing: v1 says 404, v2 sends an empty one.
                    ensure!(
                        [200, 404].contains(&reply.status),
                        "{what}: {}",
                        reply.status
                    );
                    Whose::Nobodys.check(&reply.text()).context(what)?;
                }
            }
        }
    }
    let path = format!("/tempo/api/traces/{}", id(GLOBEX));
    let reply = send(scene, "alice", GLOBEX, &get(&path, &[])).await?;
    Source::Tempo.check_refused(&reply, 403, "", NOT_GRANTED)
}

async fn metrics_are_drawn(scene: &Scene) -> Result<()> {
    let (start, end) = (scene.from.to_string(), scene.to.to_string());
    for tenant in [ACME, GLOBEX] {
        let query = format!("{{ resource.service.name = \"{tenant}-shop\" }} | count_over_time()");
        let parameters = [
            ("query", query.as_str()),
            ("start", &start),
            ("end", &end),
            ("step", "10s"),
        ];
        for path in ["/tempo/api/metrics/query_range", "/tempo/api/metrics/query"] {
            let request = get(path, &parameters);
            let own = Source::own(request.clone());
            let control = scene.direct(scene.stack.tempo.http(), tenant, own).await?;
            check_status(&control, 200).context(path)?;
            ensure!(
                control.text().contains("\"value\""),
                "{path}: {}",
                control.text()
            );
            let reply = send(scene, "alice", ACME, &request).await?;
            check_status(&reply, 200).context(path)?;
            let drawn =
                text(&reply)?.contains("\"value\":") && text(&reply)?.contains("\"labels\"");
            ensure!(tenant == GLOBEX || drawn, "{path}: {}", text(&reply)?);
            if tenant == GLOBEX {
                let acme = scene
                    .direct(scene.stack.tempo.http(), ACME, Source::own(request.clone()))
                    .await?;
                ensure!(text(&reply)? == acme.text(), "{path}: {}", text(&reply)?);
                ensure!(
                    acme.text() != control.text(),
                    "nothing to tell apart: {}",
                    acme.text()
                );
            }
            let refused = send(scene, "alice", GLOBEX, &request).await?;
            Source::Tempo.check_refused(&refused, 403, "", NOT_GRANTED)?;
        }
    }
    Ok(())
}

async fn errors_are_shown(scene: &Scene) -> Result<()> {
    let request = get("/tempo/api/search", &[("q", "{}")]);
    let token = scene.token("alice").await?;
    let without = request.bearer(&token);
    let without = without
        .send(&scene.stack.target(), integration::client::Protocol::H1)
        .await?;
    Source::Tempo.check_refused(&without, 400, "", NO_TENANT)?;
    let wrong = get("/tempo/api/search", &[("q", "{ nonsense")]);
    let reply = send(scene, "alice", ACME, &wrong).await?;
    let control = scene
        .direct(scene.stack.tempo.http(), ACME, Source::own(wrong))
        .await?;
    check_status(&reply, 400)?;
    ensure!(
        text(&reply)? == control.text(),
        "{} {}",
        text(&reply)?,
        control.text()
    );
    Ok(())
}

/// What is in the trace of an answer: of v1 the trace itself, of v2 in a message around it.
fn services(version: &str, body: &[u8]) -> Result<String> {
    let mut spans = if version.is_empty() {
        ExportTraceServiceRequest::decode(body)?.resource_spans
    } else {
        let answer = TraceByIdResponse::decode(body)?;
        answer.trace.context("no trace")?.resource_spans
    };
    ensure!(!spans.is_empty(), "an empty trace");
    spans.sort_by_key(|group| format!("{group:?}"));
    Ok(format!("{spans:?}"))
}
