//! The Helm chart on the real control planes, by Helm itself: what an installation, an upgrade, a rollback and an end
//! mean for callers.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use integration::client::{Protocol, RawRequest};
use integration::kubernetes::documents;
use integration::{drill, part, paths, yaml};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::case::{cases, until};
use crate::live::Load;
use crate::product::{Kind, Product, by, lost, reader};
use crate::scene::image;

cases![ALL:
    helm_takes_over_what_render_has_printed,
    helm_upgrades_and_rolls_back_a_configuration,
    helm_upgrades_and_rolls_back_a_module,
    helm_ends_a_release_and_begins_another,
];

const RELEASE: &str = "scopegate";

const fn product_of(kind: Kind) -> &'static str {
    match kind {
        Kind::Istio => "istio",
        Kind::EnvoyGateway => "envoy-gateway",
    }
}

/// The values that say what the shipped deployment file says, with the digest of the module's image.
fn values(product: &Product) -> Result<Value> {
    let mut configuration: Value = yaml::read(&paths::repository().join("envoy/deployment.yaml"))?;
    let mut deployment = configuration["deployment"].take();
    deployment["digest"] = json!(format!("sha256:{}", product.scene.digest));
    configuration
        .as_object_mut()
        .context("no document")?
        .remove("deployment");
    let product = product_of(product.kind);
    Ok(json!({"product": product, "deployment": deployment, "configuration": configuration}))
}

/// Runs Helm as an administrator; the chart and the values stand behind `arguments`, if there are values.
async fn try_helm(product: &Product, arguments: &[&str], values: Option<&Value>) -> Result<Output> {
    let kubeconfig = product.scene.file("helm.kubeconfig");
    fs::write(&kubeconfig, product.scene.api.admin_kubeconfig())?;
    let mut command = Command::new(part::HELM.find()?);
    command.args(arguments);
    if let Some(values) = values {
        let file = product.scene.file("values.json");
        fs::write(&file, values.to_string())?;
        command.arg(paths::repository().join("envoy/helm"));
        command.arg("--values").arg(file);
    }
    command
        .args(["--namespace", "scopegate", "--kubeconfig"])
        .arg(kubeconfig)
        .env_clear()
        .env("HOME", product.scene.file("helm-home"));
    Ok(command.output().await?)
}

async fn helm(product: &Product, arguments: &[&str], values: Option<&Value>) -> Result<String> {
    let output = try_helm(product, arguments, values).await?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "helm {arguments:?}: {said}");
    Ok(String::from_utf8(output.stdout)?)
}

/// There is a release, of the values that say what is shipped.
async fn released(product: &Product) -> Result<()> {
    let known = try_helm(product, &["status", RELEASE], None).await?;
    if !known.status.success() {
        let arguments = ["install", RELEASE, "--take-ownership"];
        helm(product, &arguments, Some(&values(product)?)).await?;
    }
    Ok(())
}

/// Everything that the release holds stands in the API as it was written.
async fn nothing_is_lost(product: &Product) -> Result<usize> {
    let manifest = helm(product, &["get", "manifest", RELEASE], None).await?;
    let held = documents(&manifest)?;
    for document in &held {
        let there = product.scene.api.get(document).await?;
        let lost = lost(&document["spec"], &there["spec"]);
        let title = format!("{} {}", document["kind"], document["metadata"]["name"]);
        ensure!(lost.is_empty(), "{title} lost {lost:?}");
    }
    Ok(held.len())
}

fn newcomer() -> RawRequest {
    by(
        &["developers"],
        RawRequest::get("/loki/api/v1/labels"),
        "newco",
    )
}

/// 200, 401 and 403.
async fn serves(product: &Product) -> Result<()> {
    product.until_status(&reader(), 200).await?;
    product.pass(&reader()).await?;
    let labels = RawRequest::get("/loki/api/v1/labels");
    product
        .refuse(&labels.clone().tenant("platform"), 401)
        .await?;
    let stranger = by(&["strangers"], labels, "platform");
    product.refuse(&stranger, 403).await?;
    Ok(())
}

/// What has been applied before becomes part of a release, and nobody notices.
async fn helm_takes_over_what_render_has_printed(product: &mut Product) -> Result<()> {
    let values = values(product)?;
    // Without being told to, it touches nothing that is not its own.
    let refused = try_helm(product, &["install", RELEASE], Some(&values)).await?;
    let said = String::from_utf8_lossy(&refused.stderr);
    ensure!(
        !refused.status.success() && said.contains("invalid ownership metadata"),
        "{said}"
    );
    let load = Load::start(product.target());
    let arguments = ["install", RELEASE, "--take-ownership"];
    helm(product, &arguments, Some(&values)).await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let statuses = load.stop().await?;
    ensure!(
        statuses.len() == 1 && statuses.contains_key(&200),
        "{statuses:?}"
    );
    let held = nothing_is_lost(product).await?;
    let shipped = product
        .kind
        .files()
        .iter()
        .map(|file| Ok(product.shipped(file)?.len()))
        .sum::<Result<usize>>()?;
    ensure!(held == shipped, "{held} in the release, {shipped} shipped");
    serves(product).await
}

/// A tenant comes with an upgrade and goes with its rollback, while a load of valid requests goes on.
async fn helm_upgrades_and_rolls_back_a_configuration(product: &mut Product) -> Result<()> {
    released(product).await?;
    product.until_status(&newcomer(), 403).await?;
    let mut with_it = values(product)?;
    let tenants = with_it["configuration"]["organizations"][0]["tenants"].as_array_mut();
    tenants.context("no tenants")?.push(json!("newco"));
    let load = Load::start(product.target());
    helm(product, &["upgrade", RELEASE], Some(&with_it)).await?;
    let came = product.until_status(&newcomer(), 200).await?;
    helm(product, &["rollback", RELEASE, "1"], None).await?;
    let went = product.until_status(&newcomer(), 403).await?;

    // A bad one is accepted, and the one before it goes on.
    let mut bad = values(product)?;
    bad["configuration"]["providers"][0]["claims"]["groups"][0] = json!({"path": ["name"]});
    helm(product, &["upgrade", RELEASE], Some(&bad)).await?;
    let line = "configuration: providers[0].claims.groups[0]";
    until(async || product.proxy_log().contains(line), line, product).await?;
    ensure!(product.status(&reader()).await == Some(200));
    // And one that breaks the schema does not even get there.
    bad["configuration"]["mode"] = json!("enforced");
    let refused = try_helm(product, &["upgrade", RELEASE], Some(&bad)).await?;
    let said = String::from_utf8_lossy(&refused.stderr);
    ensure!(
        !refused.status.success() && said.contains("/configuration/mode"),
        "{said}"
    );
    helm(product, &["rollback", RELEASE, "1"], None).await?;
    // That has been served before, so that there is no line to wait for.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let statuses = load.stop().await?;
    let name = product.kind.name();
    eprintln!("{name}: a tenant is live {came:?} after helm, gone {went:?} after it, {statuses:?}");
    ensure!(
        statuses.len() == 1 && statuses.contains_key(&200),
        "{statuses:?}"
    );
    serves(product).await
}

/// Another module comes with an upgrade, and one that nobody has.
async fn helm_upgrades_and_rolls_back_a_module(product: &mut Product) -> Result<()> {
    released(product).await?;
    let digest = another_module(product).await?;
    let of = |digest: &str| -> Result<Value> {
        let mut values = values(product)?;
        values["deployment"]["digest"] = json!(format!("sha256:{digest}"));
        Ok(values)
    };
    let before = modules(product).await?;
    ensure!(before.len() == 1, "{before:?}");
    let load = Load::start(product.target());
    helm(product, &["upgrade", RELEASE], Some(&of(&digest)?)).await?;
    let runs = async || {
        let now = modules(product).await;
        now.is_ok_and(|now| now.len() == 1 && now != before)
    };
    until(runs, "the other module", product).await?;
    let stranger = by(
        &["strangers"],
        RawRequest::get("/loki/api/v1/labels"),
        "platform",
    );
    product.until_status(&stranger, 403).await?;
    ensure!(product.status(&reader()).await == Some(200));
    helm(product, &["rollback", RELEASE], None).await?;
    let gone = async || modules(product).await.is_ok_and(|now| now == before);
    until(gone, "the module from before", product).await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let statuses = load.stop().await?;
    eprintln!("{}: another module: {statuses:?}", product.kind.name());
    ensure!(
        statuses.len() == 1 && statuses.contains_key(&200),
        "{statuses:?}"
    );

    // Helm is content, and the gate refuses everything.
    let nobody = of(&"1".repeat(64))?;
    helm(product, &["upgrade", RELEASE], Some(&nobody)).await?;
    let status = match product.kind {
        Kind::Istio => 403,
        Kind::EnvoyGateway => 500,
    };
    product.until_status(&reader(), status).await?;
    product.refuse(&reader(), status).await?;
    let told = helm(product, &["status", RELEASE], None).await?;
    ensure!(told.contains("STATUS: deployed"), "{told}");
    helm(product, &["rollback", RELEASE], None).await?;
    let back = product.until_status(&reader(), 200).await?;
    eprintln!("{}: back {back:?} after a rollback", product.kind.name());
    serves(product).await
}

/// Nothing is reached while a release ends, and nothing while another begins but through the gate.
async fn helm_ends_a_release_and_begins_another(product: &mut Product) -> Result<()> {
    released(product).await?;
    product.scene.log.clear();
    let going = Arc::new(AtomicBool::new(true));
    let smuggler = {
        let (going, target) = (Arc::clone(&going), product.target());
        tokio::spawn(async move {
            let labels = RawRequest::get("/loki/api/v1/labels").tenant("platform");
            let smuggling = labels.header("x-scopegate-backend", "loki");
            let mut sent = 0;
            while going.load(Ordering::Relaxed) {
                // What is answered is a matter of what is there; whom it reaches is not.
                let _ = smuggling.send(&target, Protocol::H2).await;
                sent += 1;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            sent
        })
    };
    helm(product, &["uninstall", RELEASE, "--wait"], None).await?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    for file in product.kind.files() {
        for document in product.shipped(file)? {
            let gone = product.scene.api.get(&document).await.is_err();
            let title = format!("{} {}", document["kind"], document["metadata"]["name"]);
            ensure!(gone, "{title} is still there");
        }
    }
    let values = values(product)?;
    helm(product, &["install", RELEASE], Some(&values)).await?;
    nothing_is_lost(product).await?;
    product.start_proxy().await?;
    product.until_status(&reader(), 200).await?;
    going.store(false, Ordering::Relaxed);
    let sent = smuggler.await?;
    // The reader's own have reached Loki with a tenant and a subject; the smuggler has none.
    let all = product.scene.log.all();
    let past_the_gate = all
        .iter()
        .filter(|seen| seen.header("x-scopegate-subject").is_empty());
    ensure!(
        past_the_gate.count() == 0,
        "of {sent} requests some reached a backend"
    );
    ensure!(sent > 100, "only {sent} requests were sent");
    serves(product).await
}

/// The module with a section that means nothing, in an image of its own; gives the image's digest.
async fn another_module(product: &Product) -> Result<String> {
    let mut bytes = fs::read(drill::module()?)?;
    // A custom section: its kind, its length, and a name of four letters.
    bytes.extend([0, 5, 4, b'm', b'a', b'r', b'k']);
    let module = product.scene.file("another.wasm");
    fs::write(&module, bytes)?;
    let layout = product.scene.file("another-image");
    let digest = image(&module, &layout, "9.9.9")?;
    push(product, &layout, &digest).await?;
    Ok(digest)
}

/// Where Envoy has its modules from, in what is not about to end. Both products name files and URLs by what is in them.
async fn modules(product: &Product) -> Result<BTreeSet<String>> {
    let dump: Value = serde_json::from_str(&product.admin("/config_dump").await?)?;
    let mut found = BTreeSet::new();
    let mut open = vec![&dump];
    while let Some(value) = open.pop() {
        match value {
            Value::Object(members) => {
                let members = members.iter().filter(|(name, _)| *name != "draining_state");
                open.extend(members.map(|(_, member)| member));
            }
            Value::Array(elements) => open.extend(elements),
            Value::String(text) if text.contains('/') => {
                let is_module = Path::new(text).extension().is_some_and(|it| it == "wasm");
                found.extend(is_module.then(|| text.clone()));
            }
            _ => {}
        }
    }
    Ok(found)
}

/// Every blob of a layout, and its manifest.
async fn push(product: &Product, layout: &Path, digest: &str) -> Result<()> {
    let registry = product.scene.registry()?;
    let blobs = layout.join("blobs/sha256");
    for entry in fs::read_dir(&blobs)? {
        let name = entry?.file_name().into_string().unwrap_or_default();
        let mut post = RawRequest::new(
            "POST",
            &format!("/v2/scopegate/blobs/uploads/?digest=sha256:{name}"),
        );
        post.body = fs::read(blobs.join(&name))?;
        let reply = post.send(&registry, Protocol::H1).await?;
        ensure!(reply.status == 201, "{name}: {}", reply.status);
    }
    let manifest = fs::read(blobs.join(digest))?;
    let kind: Value = serde_json::from_slice(&manifest)?;
    let mut put = RawRequest::new("PUT", &format!("/v2/scopegate/manifests/sha256:{digest}"));
    let kind = kind["mediaType"].as_str().context("no media type")?;
    put = put.header("content-type", kind);
    put.body = manifest;
    let reply = put.send(&registry, Protocol::H1).await?;
    ensure!(reply.status == 201, "{reply:?}");
    Ok(())
}
