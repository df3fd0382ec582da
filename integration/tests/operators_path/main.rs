//! The operator's whole path, as `docs/first-steps.md` describes it: a deployment file is written, checked, rendered
//! and started, data goes in and out, and then one thing after another breaks, is noticed, and is fixed.
//!
//! The page is the script. Its commands are typed into a shell, with the program `scopegate`, a real Envoy and curl,
//! and they must print what the page shows. The code in between does what happens elsewhere, such as at a provider,
//! and examines more closely what a page cannot. Envoy runs the rendered files. Only addresses and ports differ,
//! `/etc/envoy` is another folder, and the trusted authorities are that of the run.
//!
//! | module | holds |
//! |---|---|
//! | [`scene`] | the machine: providers, backends, Envoy |
//! | [`sight`] | the places where a refusal is seen |

mod scene;
mod sight;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, ensure};
use integration::client::{Protocol, RawRequest};
use integration::issuer::PublishedKey;
use integration::token::Recipe;
use integration::upstream::Behaviour;
use integration::walkthrough::page::Page;
use integration::walkthrough::session::{Session, starts};
use integration::{command, drill, loki_push, remote_write};
use libtest_mimic::{Arguments, Failed, Trial};
use serde_json::json;
use tokio::task::JoinSet;

use crate::scene::{Scene, agent, alice, auditor, tokens};
use crate::sight::{Refused, all_counted, expression};

fn main() -> ExitCode {
    if let Some(code) = command::as_command() {
        return code;
    }
    let test = Trial::test("the_page_holds_from_its_first_step_to_its_last", || {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.enable_all().worker_threads(2).build();
        let done = runtime.map_err(anyhow::Error::from);
        done.and_then(|runtime| runtime.block_on(walk()))
            .map_err(|error| Failed::from(format!("{error:?}")))
    });
    libtest_mimic::run(&Arguments::from_args(), vec![test]).exit_code()
}

async fn walk() -> Result<()> {
    let mut page = Page::read("docs/first-steps.md")?;
    let mut session = Session::open()?;
    for (variable, token) in tokens()? {
        session.export(variable, &token);
    }
    let file = session.here(&page.block("The file", "yaml")?);
    std::fs::write(session.work().join("deployment.yaml"), file)?;
    let mut scene = Scene::open(session).await?;

    started(&mut scene, &mut page).await?;
    used(&scene, &mut page).await?;
    refused(&scene, &mut page).await?;
    without_a_provider(&scene, &mut page).await?;
    without_a_key(&mut scene, &mut page).await?;
    with_another_audience(&mut scene, &mut page).await?;
    with_another_claim(&mut scene, &mut page).await?;
    with_a_bad_file(&scene, &mut page).await?;
    with_a_cluster_that_is_not_there(&scene, &mut page).await?;
    with_another_tenant(&scene, &mut page).await?;
    let codes = [
        "tenant_not_granted",
        "keys_unavailable",
        "unknown_key",
        "key_pending",
        "audience_mismatch",
    ];
    all_counted(&scene, &codes).await?;
    with_a_route_of_its_own(&mut scene, &mut page).await?;
    page.end()
}

/// The partner's provider is away when Envoy starts, as the page has it later on.
async fn started(scene: &mut Scene, page: &mut Page) -> Result<()> {
    scene.session.go_on(page, "Check and render")?;
    // The start is the one that the rendered file asks for; here it is the harness's, at other ports.
    let bootstrap = std::fs::read_to_string(scene.session.machine().join("envoy.yaml"))?;
    starts(&page.block("Start", "sh")?, &bootstrap)?;
    scene.partner_door.down().await;
    scene.start().await?;
    scene.session.go_on(page, "Start")
}

async fn used(scene: &Scene, page: &mut Page) -> Result<()> {
    let took = Behaviour::Answer {
        status: 204,
        headers: Vec::new(),
        body: String::new(),
    };
    scene.upstream("loki")?.behave(took);
    scene.session.go_on(page, "Write")?;
    let pushed = scene.reached()?;
    ensure!(
        pushed.backend == "loki" && pushed.path == "/loki/api/v1/push",
        "{pushed:?}"
    );
    ensure!(pushed.header("x-scope-orgid") == [b"shop"], "{pushed:?}");
    ensure!(pushed.header("authorization").is_empty(), "{pushed:?}");
    // Agents send protobuf, which nobody types.
    let agent = drill::fresh(agent())?;
    let metrics = remote_write::request(&[("up", &[("job", "shop")], 1.0)]);
    let logs = loki_push::request(&[("{app=\"web\"}", &[(1, "hello")])]);
    for (path, arrives, backend, body) in [
        ("/prometheus/api/v1/push", "/api/v1/push", "mimir", metrics),
        ("/loki/api/v1/push", "/loki/api/v1/push", "loki", logs),
    ] {
        let write = RawRequest::post(path, body).bearer(&agent).tenant("shop");
        let write = write.header("content-type", "application/x-protobuf");
        let seen = scene.pass(&write).await?;
        ensure!(seen.path == arrives && seen.backend == backend, "{seen:?}");
        ensure!(seen.header("x-scope-orgid") == [b"shop"], "{seen:?}");
        ensure!(seen.complete && seen.body_length > 10, "{seen:?}");
    }
    scene.upstream("loki")?.behave(Behaviour::Echo);

    scene.log.clear();
    scene.session.go_on(page, "Read")?;
    let reads = scene.log.all();
    let reads: Vec<(&str, String, &[u8])> = reads
        .iter()
        .map(|seen| {
            let query = seen.path.split_once('?').map_or("", |(_, query)| query);
            let (_, query) = query.split_once('=').unwrap_or_default();
            let tenant = seen.header("x-scope-orgid");
            let tenant = tenant.first().copied().unwrap_or_default();
            let query = integration::form::decode(query);
            (seen.backend.as_str(), query, tenant)
        })
        .collect();
    let wanted: [(&str, &str, &[u8]); 4] = [
        ("loki", r#"{app="web"}"#, b"shop"),
        ("mimir", "up", b"shop"),
        ("tempo", r#"{ resource.service.name = "web" }"#, b"shop"),
        (
            "loki",
            r#"{namespace=~"shop-jobs|shop-web",app="web"}"#,
            b"platform",
        ),
    ];
    for (read, (backend, query, tenant)) in reads.iter().zip(wanted) {
        ensure!(*read == (backend, query.to_owned(), tenant), "{read:?}");
    }
    ensure!(reads.len() == wanted.len(), "{reads:?}");
    Ok(())
}

async fn refused(scene: &Scene, page: &mut Page) -> Result<()> {
    scene.session.go_on(page, "Where a refusal is seen")?;
    let refused = Refused {
        status: 403,
        code: "tenant_not_granted",
        explained: "tenant_not_granted",
        record: json!({
            "provider": "corporate",
            "subject": "alice",
            "tenants": ["bank"],
            "backend": "loki",
            "permission": "read",
        }),
        alert: Some("ScopegateDenials"),
    };
    let token = drill::fresh(alice())?;
    let request = drill::read(&token, "bank");
    refused.seen_everywhere(scene, &request).await?;
    scene.pass(&drill::read(&token, "shop")).await?;
    Ok(())
}

async fn without_a_provider(scene: &Scene, page: &mut Page) -> Result<()> {
    scene.session.go_on(page, "A provider is away")?;
    let refused = Refused {
        status: 503,
        code: "keys_unavailable",
        explained: "keys_unavailable",
        record: json!({"claimed_issuer": "https://partner.example.com", "subject": null}),
        alert: Some("ScopegateUnavailable"),
    };
    let request = drill::read(&drill::fresh(auditor())?, "bank");
    refused.seen_everywhere(scene, &request).await?;
    let missing = expression("ScopegateKeysMissing")?;
    ensure!(missing == "scopegate_jwks_keys == 0", "{missing}");

    scene.partner_door.up().await?;
    let took = scene
        .until_passed(&request, Duration::from_secs(15))
        .await?;
    eprintln!("{took:?} after the provider is back");
    scene.session.go_on(page, "It is back")
}

/// One provider has withdrawn the key of a token, and the other replaces its keys without publishing the next one first.
async fn without_a_key(scene: &mut Scene, page: &mut Page) -> Result<()> {
    let old = drill::fresh(alice().key("rsa-b").kid("2025-12"))?;
    scene.session.export("OLD", &old);
    scene.session.go_on(page, "A key is gone")?;
    let refused = Refused {
        status: 401,
        code: "unknown_key",
        explained: "unknown_key",
        record: json!({"claimed_key_id": "2025-12", "subject": null}),
        alert: Some("ScopegateDenials"),
    };
    // Asked again, another worker would say that it does not know yet: keys are fetched once in half a minute for this.
    refused.seen_of_another(scene).await?;
    scene
        .pass(&drill::read(&drill::fresh(alice())?, "shop"))
        .await?;

    let old = drill::read(&drill::fresh(auditor())?, "bank");
    scene.pass(&old).await?;
    let next = PublishedKey::named("p256-a").with_kid("2026-12");
    scene.partner.set_keys(vec![next]);
    let new = || drill::fresh(auditor().key("p256-a").kid("2026-12"));
    scene.pass(&drill::read(&new()?, "bank")).await?;
    // The other worker follows within a second.
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let replies = drill::ask_every_worker(scene.envoy()?, || Ok(old.clone())).await?;
        if replies.iter().all(|reply| reply.status == 503) {
            break;
        }
        ensure!(Instant::now() < deadline, "{replies:?}");
    }
    scene.session.export("NEW", &new()?);
    scene.session.go_on(page, "All keys are others")?;
    let refused = Refused {
        status: 503,
        code: "key_pending",
        // It asks at once, and knows nothing of keys before.
        explained: "unknown_key",
        record: json!({"claimed_key_id": "p256-b", "subject": null}),
        // It ends by itself.
        alert: None,
    };
    refused.seen_everywhere(scene, &old).await
}

async fn with_another_audience(scene: &mut Scene, page: &mut Page) -> Result<()> {
    let other = || drill::fresh(alice().claim("aud", json!(["grafana"])));
    scene.session.export("OTHER", &other()?);
    scene.session.go_on(page, "Another audience")?;
    let refused = Refused {
        status: 401,
        code: "audience_mismatch",
        explained: "audience_mismatch",
        record: json!({"claimed_audience": ["grafana"], "claimed_key_id": "rsa-a"}),
        alert: Some("ScopegateDenials"),
    };
    refused
        .seen_everywhere(scene, &drill::read(&other()?, "shop"))
        .await
}

/// The groups stand elsewhere than the configuration says.
async fn with_another_claim(scene: &mut Scene, page: &mut Page) -> Result<()> {
    let moved = || drill::fresh(shifted());
    scene.session.export("ALICE", &moved()?);
    scene.session.go_on(page, "Another claim")?;
    let refused = Refused {
        status: 403,
        code: "tenant_not_granted",
        explained: "tenant_not_granted",
        record: json!({"subject": "alice", "organizations": [], "tenants": ["shop"]}),
        alert: Some("ScopegateDenials"),
    };
    let request = drill::read(&moved()?, "shop");
    refused.seen_everywhere(scene, &request).await?;
    scene.session.go_on(page, "The right claim")?;
    scene.until_passed(&request, A_SECOND).await?;
    Ok(())
}

/// What `check` says of it, Envoy's log says too, and nothing else happens.
async fn with_a_bad_file(scene: &Scene, page: &mut Page) -> Result<()> {
    let envoy = scene.envoy()?;
    let hash = envoy.metric("scopegate_config_hash", &[]).await?;
    scene.session.go_on(page, "A bad file")?;
    let request = drill::read(&drill::fresh(shifted())?, "shop");
    for reply in drill::ask_every_worker(envoy, || Ok(request.clone())).await? {
        ensure!(reply.status == 200, "{reply:?}");
    }
    let now = envoy.metric("scopegate_config_hash", &[]).await?;
    ensure!(now.to_bits() == hash.to_bits(), "{now}, not {hash}");
    let alert = expression("ScopegateConfigurationRejected")?;
    let counter = "extension_config_discovery_http_filter_.+_config_fail";
    ensure!(alert.contains(counter), "{alert}");
    scene.session.go_on(page, "The good file again")
}

/// A configuration that loads, and has no way to the keys.
async fn with_a_cluster_that_is_not_there(scene: &Scene, page: &mut Page) -> Result<()> {
    scene.session.go_on(page, "A cluster that is not there")?;
    let refused = Refused {
        status: 503,
        code: "keys_unavailable",
        explained: "keys_unavailable",
        record: json!({"claimed_issuer": scene.corporate.issuer(), "subject": null}),
        alert: Some("ScopegateUnavailable"),
    };
    let request = drill::read(&drill::fresh(shifted())?, "shop");
    refused.seen_everywhere(scene, &request).await?;
    scene.session.go_on(page, "The cluster that is there")?;
    scene.until_passed(&request, Duration::from_secs(5)).await?;
    Ok(())
}

/// While others ask, whose requests are all answered.
async fn with_another_tenant(scene: &Scene, page: &mut Page) -> Result<()> {
    let target = scene.envoy()?.target();
    let over = Arc::new(AtomicBool::new(false));
    let mut lanes = JoinSet::new();
    for tenant in ["shop", "shop", "platform", "garage"] {
        // Whoever is limited to a part of the data asks for labels in another way.
        let path = "/loki/api/v1/query?query=%7Bapp%3D%22web%22%7D";
        let token = drill::fresh(shifted())?;
        let read = RawRequest::get(path).bearer(&token).tenant(tenant);
        let (target, over) = (target.clone(), over.clone());
        lanes.spawn(async move {
            let mut answers = Vec::new();
            while !over.load(Ordering::SeqCst) {
                let asked = SystemTime::now();
                let reply = read.send(&target, Protocol::H1).await?;
                answers.push((asked, reply.status));
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            anyhow::Ok((tenant, answers))
        });
    }
    scene.session.go_on(page, "One more tenant")?;
    let file = scene.session.machine().join("ecds/scopegate.yaml");
    let moved = std::fs::metadata(file)?.modified()?;
    tokio::time::sleep(A_SECOND + Duration::from_millis(300)).await;
    over.store(true, Ordering::SeqCst);

    let mut asked = 0;
    while let Some(lane) = lanes.join_next().await {
        let (tenant, answers) = lane??;
        asked += answers.len();
        if tenant != "garage" {
            let lost = answers.iter().find(|(_, status)| *status != 200);
            ensure!(lost.is_none(), "{tenant}: {lost:?}");
            continue;
        }
        ensure!(answers.iter().any(|(_, status)| *status == 403));
        let last = answers.iter().rev().find(|(_, status)| *status != 200);
        let (last, status) = last.context("it was there before")?;
        ensure!(*status == 403, "{status}");
        // What was asked just before the move may be answered after it.
        let took = last.duration_since(moved).unwrap_or_default();
        eprintln!("the last 403 was asked for {took:?} after the move");
        ensure!(took < A_SECOND, "{took:?}");
        let since = answers.iter().filter(|(asked, _)| asked > last);
        ensure!(since.count() > 10, "{answers:?}");
    }
    eprintln!("{asked} requests meanwhile");
    ensure!(asked > 60, "{asked}");
    scene.session.go_on(page, "It is there")
}

/// The gate names the backend, and the route leads elsewhere.
async fn with_a_route_of_its_own(scene: &mut Scene, page: &mut Page) -> Result<()> {
    scene.session.go_on(page, "A route without the gate")?;
    scene.start().await?;
    let unknown = Behaviour::Answer {
        status: 404,
        headers: Vec::new(),
        body: "404 page not found\n".to_owned(),
    };
    scene.upstream("loki")?.behave(unknown);
    scene.log.clear();
    scene.session.go_on(page, "What the running Envoy does")?;
    let seen = scene.reached()?;
    ensure!(seen.backend == "loki", "{seen:?}");
    ensure!(
        seen.path.starts_with("/prometheus/api/v1/query"),
        "{seen:?}"
    );
    let reply = scene.send(&RawRequest::get("/loki/api/v1/labels")).await?;
    ensure!(reply.status == 401 && scene.log.count() == 0, "{reply:?}");
    scene.session.go_on(page, "The routes as they were")?;
    scene.start().await?;
    let read = RawRequest::get("/prometheus/api/v1/query?query=up");
    let read = read.bearer(&drill::fresh(shifted())?).tenant("shop");
    let seen = scene.pass(&read).await?;
    ensure!(seen.backend == "mimir", "{seen:?}");
    Ok(())
}

/// Alice, whose groups stand in another claim.
fn shifted() -> Recipe {
    let recipe = alice().without("groups");
    recipe.claim("roles", json!(["shop-team"]))
}

/// How soon a file that is moved into its place counts.
const A_SECOND: Duration = Duration::from_secs(1);
