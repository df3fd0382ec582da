//! Organizations from resources of the cluster: `scopegate serve-organizations` with the shipped account, and gates that
//! ask it.

use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use integration::client::{self, RawRequest};
use integration::kubernetes::documents;
use integration::paths;
use integration::process::Process;
use integration::server::Server;
use integration::terminator::relay;
use integration::upstream::Behaviour;
use serde_json::{Value, json};

use crate::case::cases;
use crate::live::Load;
use crate::product::{Product, by, reader};
use crate::rendered::{Rendered, shipped_deployment};
use crate::scene::ORGANIZATIONS;
use crate::streams::Streams;

cases![ALL: organizations_of_the_cluster_come_and_go];

const HOST: &str = "scopegate-organizations.scopegate.svc";
/// Where it listens: others share port 443 of all addresses, which it does not.
const PORT: u16 = 8443;
/// Envoy Gateway has 8081 of all addresses.
const HEALTH_PORT: u16 = 8444;
/// The shortest that a gate takes.
const POLL: Duration = Duration::from_secs(5);
/// Until every worker has what one of them has fetched.
const SPREAD: Duration = Duration::from_secs(1);

async fn organizations_of_the_cluster_come_and_go(product: &mut Product) -> Result<()> {
    let (server, door) = serve(product).await?;
    let mut deployment = shipped_deployment(product)?;
    deployment["organizations_from"] = json!({
        "uri": format!("https://{HOST}/organizations"),
        "cluster": "organizations",
        "refresh_interval": format!("{}s", POLL.as_secs()),
    });
    let rendered = Rendered::put(product, &deployment).await?;
    let outcome = come_and_go(product).await;
    let outcome = match outcome {
        Err(error) => {
            let log = product.proxy_log();
            let told: Vec<&str> = log
                .lines()
                .filter(|line| line.contains("organizations: "))
                .collect();
            Err(error.context(told.join("\n")))
        }
        good => good,
    };
    product.scene.upstream("tempo")?.behave(Behaviour::Echo);
    let taken_back = rendered.take_back(product).await;
    drop((server, door));
    outcome.and(taken_back)
}

/// The server with the shipped account and its rights, and with the flags of the shipped Deployment.
async fn serve(product: &Product) -> Result<(Process, Server)> {
    let scene = &product.scene;
    let definition = paths::integration().join("control-planes/grafana-organization.yaml");
    for document in documents(&fs::read_to_string(definition)?)? {
        scene.api.apply(&document).await?;
    }
    scene.api.until_defined().await?;
    // A gate takes no document without organizations, which would withdraw every grant.
    scene.api.apply(&resource("first", &["first"])).await?;
    for file in ["rbac.yaml", "service.yaml"] {
        let file = paths::repository().join("envoy/organizations").join(file);
        for document in documents(&fs::read_to_string(file)?)? {
            scene.api.apply(&document).await?;
        }
    }
    scene.put_name(HOST, ORGANIZATIONS)?;
    scene.put_name(&format!("{HOST}.cluster.local"), ORGANIZATIONS)?;
    let ports = [("https", 443)];
    scene
        .put_endpoints(
            "scopegate",
            "scopegate-organizations",
            ORGANIZATIONS,
            &ports,
            None,
        )
        .await?;
    let (certificate, key) = scene.authority.issue(&[HOST])?;
    let (certificate_file, key_file) = (
        scene.file("organizations.crt"),
        scene.file("organizations.key"),
    );
    fs::write(&certificate_file, certificate)?;
    fs::write(&key_file, key)?;
    let kubeconfig = scene
        .kubeconfig_of("scopegate", "scopegate-organizations")
        .await?;
    let mut command = Command::new(std::env::current_exe()?);
    command
        .args([
            "serve-organizations",
            "--kubernetes",
            "--output=json",
            "--epoch=1",
        ])
        .arg(format!("--listen={ORGANIZATIONS}:{PORT}"))
        .arg(format!("--health-listen={ORGANIZATIONS}:{HEALTH_PORT}"))
        .arg(format!("--tls-cert={}", certificate_file.display()))
        .arg(format!("--tls-key={}", key_file.display()))
        .env("KUBECONFIG", kubeconfig);
    let mut server = Process::start_in("organizations", command, &scene.file("organizations.log"))?;
    let address = (ORGANIZATIONS, HEALTH_PORT).into();
    let ready = async || {
        let ready = client::get(address, "/readyz").await;
        ready.is_ok_and(|reply| reply.status == 200)
    };
    server
        .wait_until("ready", Duration::from_secs(20), ready)
        .await?;
    let door = relay((ORGANIZATIONS, 443).into(), (ORGANIZATIONS, PORT).into())?;
    Ok((server, door))
}

async fn come_and_go(product: &mut Product) -> Result<()> {
    product.until_status(&reader(), 200).await?;
    let newcomer = by(
        &["builders"],
        RawRequest::get("/loki/api/v1/labels"),
        "newco",
    );
    product.until_status(&newcomer, 403).await?;
    product.scene.upstream("tempo")?.behave(Behaviour::Open);
    let granted = Streams::open(product, &["sre"], "platform").await?;
    let load = Load::start(product.target());

    product
        .scene
        .api
        .apply(&resource("newco", &["newco"]))
        .await?;
    let came = product
        .until_status_within(2 * POLL + SPREAD, &newcomer, 200)
        .await?;
    tokio::time::sleep(SPREAD).await;
    let theirs = Streams::open(product, &["builders"], "newco").await?;
    // Another change, by which they keep what they have.
    product
        .scene
        .api
        .apply(&resource("newco", &["newco", "newer"]))
        .await?;
    let newer = by(
        &["builders"],
        RawRequest::get("/loki/api/v1/labels"),
        "newer",
    );
    product
        .until_status_within(2 * POLL + SPREAD, &newer, 200)
        .await?;
    ensure!(theirs.over().is_empty(), "{:?} are over", theirs.over());

    product.scene.api.delete(&resource("newco", &[])).await?;
    let went = product
        .until_status_within(2 * POLL + SPREAD, &newcomer, 403)
        .await?;
    theirs.until_over(product, SPREAD * 2).await?;
    ensure!(granted.over().is_empty(), "{:?} too", granted.over());
    let statuses = load.stop().await?;
    let sent: usize = statuses.values().sum();
    ensure!(
        statuses.len() == 1 && statuses.contains_key(&200),
        "{statuses:?}"
    );
    ensure!(sent > 100, "{sent} requests");
    product.measured("an organization is served", came);
    product.measured("a deleted one is not", went);
    product.noted(&format!(
        "polled every {} s; {sent} requests beside it, none lost",
        POLL.as_secs()
    ));
    Ok(())
}

fn resource(name: &str, tenants: &[&str]) -> Value {
    let tenants = tenants.iter().map(|name| json!({"name": name}));
    json!({
        "apiVersion": "observability.giantswarm.io/v1alpha2",
        "kind": "GrafanaOrganization",
        "metadata": {"name": name},
        "spec": {
            "displayName": name,
            "rbac": {"admins": ["newco-admins"], "viewers": ["builders"]},
            "tenants": tenants.collect::<Vec<_>>(),
        },
    })
}
