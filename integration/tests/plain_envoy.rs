//! The shipped bootstrap and the shipped configuration of the gate, unchanged except for addresses: what they answer
//! without a token.

use anyhow::{Context, Result, ensure};
use integration::client::{Protocol, RawRequest, Target};
use integration::envoy::EnvoySettings;
use integration::issuer::Issuer;
use integration::scene::Scene;
use integration::token::Recipe;
use integration::{drill, paths};
use serde_json::json;

async fn shipped() -> Result<Scene> {
    let settings = EnvoySettings::shipped()?
        .wasm(drill::module()?)
        .sandboxed()
        .metrics();
    Scene::start_with(settings, Issuer::corporate().await?).await
}

/// 200 on the gate's own port once it can judge tokens, and 503 where it cannot: what a load balancer asks for.
#[tokio::test(flavor = "multi_thread")]
async fn the_gates_port_answers_a_load_balancer() -> Result<()> {
    let scene = shipped().await?;
    let health = RawRequest::get("/healthz");
    drill::wait_for_metric(
        &scene.envoy,
        "scopegate_jwks_keys",
        &[],
        std::time::Duration::from_secs(10),
        |keys| keys > 0.0,
    )
    .await?;
    // Each worker takes the keys over on its own tick.
    tokio::time::sleep(std::time::Duration::from_millis(1_300)).await;
    for reply in drill::ask_every_worker(&scene.envoy, || Ok(health.clone())).await? {
        ensure!(reply.status == 200, "{reply:?}");
    }
    ensure!(scene.log.count() == 0, "a backend was reached");
    // The shipped grants are as the file says.
    let token = |groups: &str| drill::fresh(Recipe::of("reader").claim("groups", json!([groups])));
    for (group, status) in [("developers", 200), ("strangers", 403)] {
        let request = drill::read(&token(group)?, "platform");
        let reply = drill::send(&scene.envoy, &request).await?;
        ensure!(reply.status == status, "{group}: {reply:?}");
    }
    // By this number one finds who runs the file: as `scopegate check` has it, on the page.
    let hash = scene.envoy.metric("scopegate_config_hash", &[]).await?;
    let page = std::fs::read_to_string(paths::repository().join("docs/monitoring.md"))?;
    ensure!(
        page.contains(&format!("scopegate_config_hash {hash}\n")),
        "{hash}"
    );
    // Both workers serve by one fetch, so they share what is kept under the `vm_id`, which is all that names the gate
    // in its log, of whichever thread the line is.
    ensure!(
        scene.corporate.fetches().jwks == 1,
        "{:?}",
        scene.corporate.fetches()
    );
    let log = scene.envoy.log();
    let lines: Vec<&str> = log
        .lines()
        .filter_map(|line| Some(line.split_once("wasm log ")?.1))
        .collect();
    ensure!(lines.iter().any(|line| line.contains("tenant_not_granted")));
    ensure!(lines.iter().any(|line| line.contains(", mode enforce, ")));
    for line in lines {
        let said = line.strip_prefix("scopegate: ");
        ensure!(
            said.is_some_and(|said| !said.starts_with("scopegate:")),
            "{line}"
        );
    }

    let issuer = Issuer::corporate().await?;
    issuer.down().await;
    let settings = EnvoySettings::shipped()?.wasm(drill::module()?).sandboxed();
    let scene = Scene::start_with(settings, issuer).await?;
    let reply = drill::send(&scene.envoy, &health).await?;
    ensure!(reply.status == 503, "{reply:?}");
    ensure!(reply.text().contains("no_keys"), "{reply:?}");
    Ok(())
}

/// The other paths of the admin port can stop Envoy and show its configuration.
#[tokio::test(flavor = "multi_thread")]
async fn the_port_of_metrics_serves_metrics_and_nothing_else() -> Result<()> {
    let scene = shipped().await?;
    let metrics = Target::plain(scene.envoy.metrics_address().await?);
    for protocol in [Protocol::H1, Protocol::H2] {
        for path in ["/stats/prometheus", "/stats/prometheus?usedonly"] {
            let reply = RawRequest::get(path).send(&metrics, protocol).await?;
            ensure!(reply.status == 200, "{path}: {}", reply.status);
            ensure!(reply.text().contains("\nenvoy_cluster_"), "{path}");
            ensure!(reply.text().contains("\nscopegate_"), "{path}");
        }
        for method in ["GET", "POST", "PUT", "DELETE", "HEAD"] {
            for path in OTHERS {
                let mut request = RawRequest::new(method, path);
                request
                    .headers
                    .push((b"x-scopegate-backend".to_vec(), b"loki".to_vec()));
                let reply = request.send(&metrics, protocol).await?;
                // What is no path at all is refused before it is looked for.
                ensure!(
                    [400, 404].contains(&reply.status),
                    "{method} {path}: {reply:?}"
                );
                ensure!(
                    !reply.text().contains("envoy"),
                    "{method} {path}: {reply:?}"
                );
            }
        }
        for method in ["POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"] {
            let request = RawRequest::new(method, "/stats/prometheus");
            let reply = request.send(&metrics, protocol).await?;
            ensure!(reply.status == 404, "{method}: {}", reply.status);
        }
    }
    // The same port reaches the admin port in earnest: what is refused above is there.
    let admin = scene.envoy.admin_get("/config_dump").await?;
    ensure!(admin.status == 200 && admin.text().contains("scopegate"));
    // And the gate's own port does not lead there.
    let reply = drill::send(&scene.envoy, &RawRequest::get("/stats/prometheus")).await?;
    ensure!(reply.status == 404 || reply.status == 401, "{reply:?}");
    scene.envoy.check_alive()?;
    let seen = scene.log.all();
    let none: Vec<_> = seen.iter().map(|seen| &seen.path).collect();
    ensure!(none.is_empty(), "{none:?}");
    let bootstrap: serde_json::Value =
        integration::yaml::read(&paths::repository().join("envoy/envoy.yaml"))?;
    let admin = &bootstrap["admin"]["address"]["socket_address"];
    ensure!(admin["address"] == json!("127.0.0.1"), "{admin}");
    let clusters = bootstrap["static_resources"]["clusters"].as_array();
    let cluster = clusters
        .context("no clusters")?
        .iter()
        .find(|cluster| cluster["name"] == json!("admin"))
        .context("no cluster admin")?;
    let endpoint = &cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"];
    ensure!(
        &endpoint["address"]["socket_address"] == admin,
        "{endpoint}"
    );
    Ok(())
}

/// What the admin port has, and ways in which it might be reached.
const OTHERS: [&str; 26] = [
    "/",
    "/quitquitquit",
    "/config_dump",
    "/stats",
    "/stats/",
    "/stats/prometheus/",
    "/stats/prometheus/../quitquitquit",
    "/stats/prometheus/../../quitquitquit",
    "/stats/prometheus/%2e%2e/%2e%2e/quitquitquit",
    "/stats/prometheus/..%2f..%2fquitquitquit",
    "/stats/prometheus%2f..%2f..%2fquitquitquit",
    "/stats/prometheus/..\\..\\quitquitquit",
    "//stats/prometheus",
    "/./stats/prometheus",
    "/x/../stats/prometheus",
    "/stats//prometheus",
    "/Stats/Prometheus",
    "/stats%2fprometheus",
    "/stats/%70rometheus",
    "/stats/prometheus;/quitquitquit",
    "/stats/prometheus%3f/../quitquitquit",
    "/logging?level=trace",
    "/runtime_modify?a=b",
    "/healthcheck/fail",
    "/drain_listeners",
    "/loki/api/v1/labels",
];
