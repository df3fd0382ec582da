//! What the gate offers besides forwarding, in front of the real servers: tenants that are not named, pages in
//! browsers, and the requests that data sources send on their own.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use integration::client::{Protocol, RawRequest, Reply, Target};
use integration::form;
use integration::stack::{ACME, APOLLO_TENANT, GLOBEX, HOOLI, INITECH, SCRATCH, SOYLENT, UMBRELLA};
use serde_json::{Value, json};

use crate::reads::settled;
use crate::scene::Scene;
use crate::side_gate::SideGate;

crate::tests![
    a_page_of_a_listed_origin_reads_and_mimirs_leave_for_every_page_is_taken_out,
    all_tenants_of_a_caller_are_those_that_it_may_read,
    a_tenant_that_is_not_named_is_the_only_one,
    what_data_sources_ask_unasked_has_the_shape_of_a_tenant_without_any,
    the_gates_health_is_that_of_its_keys,
];

const PAGE: &str = "https://grafana.example.com";

async fn gate(scene: &Scene) -> Result<SideGate> {
    let mut configuration = scene.stack.configuration();
    configuration["tenants"] = json!({"when_absent": "only", "all": "*"});
    configuration["health"] = json!({"path": "/healthz"});
    configuration["cors"] = json!({"origins": [PAGE]});
    let gate = SideGate::start(scene, configuration, |settings| settings).await?;
    gate.wait_for_keys().await?;
    Ok(gate)
}

/// As that caller, with that tenant header or none.
async fn ask(
    scene: &Scene,
    gate: &SideGate,
    who: &str,
    tenant: Option<&str>,
    request: RawRequest,
) -> Result<Reply> {
    let mut request = request.bearer(&scene.token(who).await?);
    if let Some(tenant) = tenant {
        request = request.tenant(tenant);
    }
    request.send(&gate.target, Protocol::H1).await
}

fn cors(reply: &Reply) -> Vec<(String, String)> {
    let headers = reply.headers.iter();
    let cors = headers.filter(|(name, _)| name.starts_with("access-control-"));
    cors.map(|(name, value)| (name.clone(), String::from_utf8_lossy(value).into_owned()))
        .collect()
}

async fn a_page_of_a_listed_origin_reads_and_mimirs_leave_for_every_page_is_taken_out(
    scene: &Scene,
) -> Result<()> {
    let gate = gate(scene).await?;
    let labels = || RawRequest::get("/prometheus/api/v1/labels");
    // The server itself lets any page read, by a star or by its name.
    let there = labels()
        .header("origin", "https://evil.example.com")
        .tenant(ACME)
        .send(&Target::plain(scene.stack.mimir.http()), Protocol::H1)
        .await?;
    let leave = there.header("access-control-allow-origin");
    ensure!(
        matches!(leave.as_deref(), Some("*" | "https://evil.example.com")),
        "Mimir says {:?}, so nothing is shown",
        cors(&there)
    );
    let listed = [("access-control-allow-origin".to_owned(), PAGE.to_owned())];
    for (origin, who, status, expected) in [
        (PAGE, "alice", 200, &listed[..]),
        (PAGE, "nobody", 403, &listed),
        ("https://evil.example.com", "alice", 200, &[]),
        ("https://evil.example.com", "nobody", 403, &[]),
        ("null", "alice", 200, &[]),
    ] {
        let request = labels().header("origin", origin);
        let here = ask(scene, &gate, who, Some(ACME), request).await?;
        let what = format!("{origin}, {who}: {} {:?}", here.status, here.headers);
        ensure!(here.status == status, "{what}");
        ensure!(cors(&here) == expected, "{what}");
        ensure!(
            here.all("vary")
                .iter()
                .any(|value| value.contains("Origin")),
            "{what}"
        );
    }
    let preflight = RawRequest::new("OPTIONS", "/loki/api/v1/query_range?query=x")
        .header("origin", PAGE)
        .header("access-control-request-method", "GET")
        .header(
            "access-control-request-headers",
            "authorization,x-scope-orgid",
        );
    let answer = preflight.send(&gate.target, Protocol::H2).await?;
    ensure!(
        answer.status == 204,
        "{} {:?}",
        answer.status,
        answer.headers
    );
    for (name, value) in [
        ("access-control-allow-origin", PAGE),
        ("access-control-allow-methods", "GET, POST"),
        (
            "access-control-allow-headers",
            "authorization, content-type, x-scope-orgid",
        ),
    ] {
        ensure!(
            answer.header(name).as_deref() == Some(value),
            "{:?}",
            answer.headers
        );
    }
    Ok(())
}

async fn all_tenants_of_a_caller_are_those_that_it_may_read(scene: &Scene) -> Result<()> {
    let gate = gate(scene).await?;
    let times = format!("start={}&end={}", scene.from, scene.to);
    let logs = form::encode("sum by (owner, __tenant_id__) (count_over_time({owner=~\".+\"}[1h]))");
    let paths = [
        format!(
            "/prometheus/api/v1/series?match[]={}&{times}",
            form::encode("{owner=~\".+\"}")
        ),
        format!("/prometheus/api/v1/label/__tenant_id__/values?{times}"),
        format!("/loki/api/v1/query?query={logs}&time={}", scene.to),
        format!("/loki/api/v1/labels?{times}"),
        format!("/tempo/api/search?q={}&{times}", form::encode("{}")),
    ];
    for path in &paths {
        for (who, tenants) in [
            ("carol", vec![ACME, GLOBEX, SCRATCH]),
            ("bob", vec![GLOBEX]),
            (
                "wendy",
                vec![HOOLI, INITECH, APOLLO_TENANT, SOYLENT, UMBRELLA],
            ),
        ] {
            if who == "wendy" && !path.contains("/api/v1/label") {
                continue;
            }
            let mut tenants = tenants;
            tenants.sort_unstable();
            let request = || RawRequest::get(path);
            let named = ask(scene, &gate, who, Some(&tenants.join("|")), request()).await?;
            let star = ask(scene, &gate, who, Some("*"), request()).await?;
            ensure!(
                named.status == 200 && star.status == 200,
                "{who} {path}: {} {}, {} {}",
                named.status,
                named.text(),
                star.status,
                star.text()
            );
            ensure!(
                settled(&named) == settled(&star),
                "{who} {path}: {} is not {}",
                star.text(),
                named.text()
            );
            if who == "bob" {
                ensure!(!star.text().contains(ACME), "{path}: {}", star.text());
            }
        }
    }
    for (who, tenant, status) in [
        ("pia", "*", 403),
        ("carol", "*|acme", 400),
        ("agent-acme", "*", 403),
    ] {
        let request = RawRequest::get(&paths[1]);
        let reply = ask(scene, &gate, who, Some(tenant), request).await?;
        ensure!(
            reply.status == status,
            "{who} {tenant}: {} {}",
            reply.status,
            reply.text()
        );
    }
    let rules = RawRequest::get("/prometheus/config/v1/rules");
    let rules = ask(scene, &gate, "carol", Some("*"), rules).await?;
    ensure!(rules.status == 400, "{} {}", rules.status, rules.text());
    Ok(())
}

async fn a_tenant_that_is_not_named_is_the_only_one(scene: &Scene) -> Result<()> {
    let gate = gate(scene).await?;
    let series = format!(
        "/prometheus/api/v1/series?match[]={}&start={}&end={}",
        form::encode("{owner=~\".+\"}"),
        scene.from,
        scene.to
    );
    let named = ask(scene, &gate, "bob", Some(GLOBEX), RawRequest::get(&series)).await?;
    let absent = ask(scene, &gate, "bob", None, RawRequest::get(&series)).await?;
    ensure!(absent.status == 200, "{} {}", absent.status, absent.text());
    ensure!(
        settled(&named) == settled(&absent) && absent.text().contains(GLOBEX),
        "{} is not {}",
        absent.text(),
        named.text()
    );
    for (who, status, says) in [
        ("alice", 400, "you have 2 of them"),
        ("pia", 403, "no such tenant"),
        ("nobody", 403, "no such tenant"),
    ] {
        let reply = ask(scene, &gate, who, None, RawRequest::get(&series)).await?;
        ensure!(
            reply.status == status && reply.text().contains(says),
            "{who}: {} {}",
            reply.status,
            reply.text()
        );
    }
    Ok(())
}

async fn what_data_sources_ask_unasked_has_the_shape_of_a_tenant_without_any(
    scene: &Scene,
) -> Result<()> {
    for path in [
        "/prometheus/api/v1/metadata",
        "/prometheus/api/v1/rules",
        "/prometheus/api/v1/alerts",
    ] {
        let there = scene
            .direct(
                scene.stack.mimir.http(),
                "nobody-has-this",
                RawRequest::get(path),
            )
            .await?;
        let here = scene.send("wendy", INITECH, RawRequest::get(path)).await?;
        ensure!(
            here.status == 200 && there.status == 200,
            "{path}: {} {}",
            here.status,
            there.status
        );
        let of = |reply: &Reply| -> Result<(Value, Value)> {
            let value = reply.json()?;
            Ok((value["status"].clone(), value["data"].clone()))
        };
        let (here, there) = (of(&here)?, of(&there)?);
        ensure!(here == there, "{path}: {here:?} is not {there:?}");
        // Who may see all asks the server.
        let whole = scene.send("iris", INITECH, RawRequest::get(path)).await?;
        ensure!(whole.status == 200, "{path}: {}", whole.status);
    }
    let limits = RawRequest::get("/loki/api/v1/drilldown-limits");
    let limits = scene.send("wendy", INITECH, limits).await?;
    ensure!(limits.status == 200, "{} {}", limits.status, limits.text());
    Ok(())
}

async fn the_gates_health_is_that_of_its_keys(scene: &Scene) -> Result<()> {
    let gate = gate(scene).await?;
    // The worker that is asked may be the one that takes up the other's keys a moment later.
    let began = Instant::now();
    loop {
        let health = RawRequest::get("/healthz");
        let reply = health.send(&gate.target, Protocol::H1).await?;
        let told = (reply.status, reply.text());
        if told == (200, "ok\n".to_owned()) {
            return Ok(());
        }
        ensure!(told == (503, "no_keys\n".to_owned()), "{told:?}");
        ensure!(began.elapsed() < Duration::from_secs(5), "{told:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
