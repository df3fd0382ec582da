//! Organizations from outside in a real Envoy: they are adopted without a push, a drain or a lost request.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use futures_util::StreamExt;
use integration::client::Protocol;
use integration::client::websocket::{self, Handshake};
use integration::drill;
use integration::issuer::Issuer;
use integration::organizations::{OrganizationServer, document};
use integration::process::resident;
use integration::scene::Scene;
use integration::token::Recipe;
use scopegate::config::{Config, Environment};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_tungstenite::WebSocketStream;

/// How long until every worker has seen a change: a poll, its spread, and a tick.
const SEEN: Duration = Duration::from_millis(6_200);

fn configuration() -> Value {
    let mut configuration = drill::configuration();
    configuration["organizations_from"] = json!({
        "uri": "https://organizations.example.com/v1/organizations?of=all",
        "cluster": "organizations",
        "refresh_interval": "5s",
        "timeout": "2s",
    });
    configuration
}

fn organization(name: &str, viewers: &[&str]) -> Value {
    json!({"name": name, "tenants": [name], "rbac": {"viewers": viewers}})
}

async fn scene(workers: u32, server: &OrganizationServer) -> Result<Scene> {
    let settings = drill::settings(configuration())?
        .concurrency(workers)
        .dynamic()
        .cluster("organizations", server.address());
    Scene::start_with(settings, Issuer::corporate().await?).await
}

/// A token that nobody has seen, of somebody in that group.
fn token(group: &str) -> Result<String> {
    drill::fresh(Recipe::of("reader").claim("groups", json!([group])))
}

async fn status(scene: &Scene, token: &str, tenant: &str) -> Result<u16> {
    Ok(drill::send(&scene.envoy, &drill::read(token, tenant))
        .await?
        .status)
}

/// Every worker answers with that status, within that time.
async fn settles(
    scene: &Scene,
    token: &str,
    tenant: &str,
    status: u16,
    within: Duration,
) -> Result<Duration> {
    let began = Instant::now();
    loop {
        let request = || Ok(drill::read(token, tenant));
        let replies = drill::ask_every_worker(&scene.envoy, request).await?;
        if replies.iter().all(|reply| reply.status == status) {
            return Ok(began.elapsed());
        }
        ensure!(
            began.elapsed() < within,
            "{tenant}: {:?}",
            replies.iter().map(|reply| reply.status).collect::<Vec<_>>()
        );
        sleep(Duration::from_millis(100)).await;
    }
}

/// A tail on which the backend has said its first word.
async fn tail(scene: &Scene, bearer: &str, tenant: &str) -> Result<WebSocketStream<TcpStream>> {
    let bearer = format!("Bearer {bearer}");
    let headers = [
        ("authorization", bearer.as_str()),
        ("x-scope-orgid", tenant),
    ];
    let path = "/loki/api/v1/tail?query=%7Bapp%3D%22a%22%7D";
    let Handshake::Open(mut tail) = websocket::open(scene.envoy.address(), path, &headers).await?
    else {
        bail!("a tail was refused");
    };
    tail.next().await.context("a greeting")??;
    Ok(*tail)
}

/// Requests for as long as a change takes, and what they were answered.
fn load(scene: &Scene, bearer: &str) -> JoinHandle<Vec<Result<u16>>> {
    let (target, bearer) = (scene.envoy.target(), bearer.to_owned());
    tokio::spawn(async move {
        let began = Instant::now();
        let mut statuses = Vec::new();
        while began.elapsed() < SEEN + Duration::from_secs(1) {
            let reply = drill::read(&bearer, "acme")
                .send(&target, Protocol::H1)
                .await;
            statuses.push(reply.map(|reply| reply.status));
            sleep(Duration::from_millis(5)).await;
        }
        statuses
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn tenants_come_and_go_while_requests_and_streams_go_on() -> Result<()> {
    let server = OrganizationServer::start().await?;
    let scene = scene(2, &server).await?;
    drill::warm(&scene.envoy).await?;
    says_once_what_it_has_loaded(&scene).await?;
    let hooli = token("hooli-viewers")?;
    // Nothing is known yet: what the configuration grants is served, and everything else asks for another try.
    ensure!(status(&scene, &hooli, "hooli").await? == 503);
    let reader = drill::token_of("reader")?;
    ensure!(status(&scene, &reader, "acme").await? == 200);

    server.publish(document(1, &[organization("hooli", &["hooli-viewers"])]).to_string());
    settles(&scene, &hooli, "hooli", 200, SEEN).await?;
    settles(&scene, &hooli, "acme", 403, SEEN).await?;
    let line = "organizations: 1 from outside in use, epoch 1, revision 1, sha256 ";
    ensure!(scene.envoy.log_contains(line), "{}", scene.envoy.log());

    // A stream of each kind of grant, and requests all the time.
    let mut gone = tail(&scene, &hooli, "hooli").await?;
    let mut stays = tail(&scene, &reader, "acme").await?;
    let load = load(&scene, &reader);
    let withdrawn = Instant::now();
    server.publish(document(2, &[organization("initech", &["hooli-viewers"])]).to_string());
    let ended = tokio::time::timeout(2 * SEEN, async {
        while let Some(Ok(_)) = gone.next().await {}
    });
    ended
        .await
        .context("the tail of a withdrawn grant goes on")?;
    ensure!(withdrawn.elapsed() < 2 * Duration::from_millis(5_500) + Duration::from_secs(1));
    settles(&scene, &hooli, "hooli", 403, SEEN).await?;
    settles(&scene, &hooli, "initech", 200, SEEN).await?;
    // It says no more, and has not ended.
    let said = tokio::time::timeout(Duration::from_millis(300), stays.next()).await;
    ensure!(said.is_err(), "a stream that is granted still was ended");
    for status in load.await? {
        ensure!(status? == 200, "a request was lost");
    }
    let ended = scene
        .envoy
        .metric(
            "scopegate_streams_ended_total",
            &[("reason", "grant_withdrawn")],
        )
        .await?;
    ensure!((ended - 1.0).abs() < 0.1, "{ended}");

    all_workers_go_by_one_fetch(&server).await?;
    a_lagging_replica_revives_nothing(&server, &scene, &hooli).await?;
    a_new_configuration_finds_the_document(&server, &scene, &hooli).await?;
    scene.envoy.check_alive()
}

/// One line for the process, though its configuration is tried first and then loaded by each worker.
async fn says_once_what_it_has_loaded(scene: &Scene) -> Result<()> {
    let document = configuration().to_string();
    let config = Config::parse(document.as_bytes(), &Environment::default());
    let config = config.map_err(|problems| anyhow!("{problems:?}"))?;
    let line = format!("scopegate {}", scopegate::words::build::VERSION);
    let log = scene.envoy.log();
    let lines: Vec<&str> = log.lines().filter(|known| known.contains(&line)).collect();
    ensure!(lines.len() == 1, "{lines:?}");
    ensure!(
        lines[0].ends_with(&format!(": {}", config.summary())),
        "{lines:?}"
    );
    sleep(Duration::from_millis(1_200)).await;
    let shown = scene.envoy.metric("scopegate_config_hash", &[]).await?;
    #[expect(clippy::cast_precision_loss, reason = "it has 48 bits")]
    let expected = config.fingerprint.number() as f64;
    ensure!((shown - expected).abs() < 0.5, "{shown} {expected}");
    let version = scopegate::words::build::VERSION;
    let build = scene
        .envoy
        .metric("scopegate_build_info", &[("version", version)])
        .await?;
    ensure!((build - 1.0).abs() < 0.1, "{build}");
    Ok(())
}

async fn all_workers_go_by_one_fetch(server: &OrganizationServer) -> Result<()> {
    server.take_asked();
    sleep(Duration::from_secs(11)).await;
    let asked = server.take_asked();
    ensure!((2..=3).contains(&asked.len()), "{asked:?}");
    for asked in &asked {
        ensure!(
            asked.status == 304 && asked.path == "/v1/organizations?of=all",
            "{asked:?}"
        );
    }
    Ok(())
}

async fn a_lagging_replica_revives_nothing(
    server: &OrganizationServer,
    scene: &Scene,
    hooli: &str,
) -> Result<()> {
    server.publish(document(1, &[organization("hooli", &["hooli-viewers"])]).to_string());
    ensure!(server.wait_for(200, SEEN).await);
    sleep(Duration::from_millis(1_200)).await;
    ensure!(status(scene, hooli, "hooli").await? == 403);
    ensure!(
        scene
            .envoy
            .log_contains("epoch 1, revision 1 is older than what is in use")
    );
    let older = scene
        .envoy
        .metric(
            "scopegate_organizations_fetch_total",
            &[("result", "older")],
        )
        .await?;
    ensure!(older >= 1.0, "{older}");
    Ok(())
}

/// While its server is away, and nobody notices.
async fn a_new_configuration_finds_the_document(
    server: &OrganizationServer,
    scene: &Scene,
    hooli: &str,
) -> Result<()> {
    server.down().await;
    let mut changed = configuration();
    changed["realm"] = json!("changed");
    scene.envoy.replace_configuration(&changed).await?;
    for _ in 0..20 {
        ensure!(status(scene, hooli, "initech").await? == 200);
        sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

/// A large document in one answer, and what its adoption does to the worker's other requests.
#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_organizations_are_adopted_between_two_requests() -> Result<()> {
    let server = OrganizationServer::start().await?;
    let scene = scene(1, &server).await?;
    drill::warm(&scene.envoy).await?;
    let groups: Vec<Vec<String>> = (0..10_000)
        .map(|at| {
            (0..10)
                .map(|group| format!("organization-{at}-group-{group}"))
                .collect()
        })
        .collect();
    let all = |revision: u64| {
        let organizations: Vec<Value> = groups
            .iter()
            .enumerate()
            .map(|(at, groups)| {
                json!({"name": format!("organization-{at}"), "tenants": [format!("tenant-{at}-{revision}")],
                    "rbac": {"viewers": groups}})
            })
            .collect();
        document(revision, &organizations).to_string()
    };
    let first = all(1);
    let length = first.len();
    let before = resident(scene.envoy.id())?;
    server.publish(first);
    let token = token("organization-9999-group-9")?;
    settles(&scene, &token, "tenant-9999-1", 200, 3 * SEEN).await?;
    let reader = drill::token_of("reader")?;
    server.publish(all(2));
    let (mut longest, began) = (Duration::ZERO, Instant::now());
    while began.elapsed() < SEEN {
        let asked = Instant::now();
        ensure!(status(&scene, &reader, "acme").await? == 200);
        longest = longest.max(asked.elapsed());
    }
    settles(&scene, &token, "tenant-9999-2", 200, SEEN).await?;
    let grown = resident(scene.envoy.id())?.saturating_sub(before) >> 20;
    println!(
        "{length} bytes: the longest request took {longest:?} while they were adopted, and Envoy has grown by \
         {grown} MiB"
    );
    // Two documents, two policies, and what it takes to read one.
    ensure!(grown < 160, "{grown} MiB");
    ensure!(longest < Duration::from_secs(3), "{longest:?}");
    scene.envoy.check_alive()
}
