//! The module's configuration in the manifests, and what they must say in agreement with `envoy/envoy.yaml`.

use anyhow::{Context, Result, anyhow, ensure};
use integration::yaml;
use scopegate::config::{Config, Environment};
use serde_json::{Value, json};

use crate::documents::{Set, list, native, only, shipped, text};

integration::trials![
    the_gate_reads_its_configuration,
    both_sets_hold_one_configuration,
    the_plugin_fails_closed_and_is_named_by_digest,
    the_native_module_is_in_the_pod_and_named_by_digest,
    the_provider_is_reached_over_checked_tls,
    labels_are_those_of_the_shipped_bootstrap,
];

/// The document that reaches the module.
pub fn configuration(set: Set) -> Result<Value> {
    let documents = set.documents()?;
    Ok(match set {
        Set::Istio => only(&documents, "WasmPlugin")?.spec()["pluginConfig"].clone(),
        Set::EnvoyGateway => {
            let wasm = &only(&documents, "EnvoyExtensionPolicy")?.spec()["wasm"];
            ensure!(list(wasm).len() == 1, "one plugin, not {wasm}");
            wasm[0]["config"].clone()
        }
    })
}

fn parse(document: &Value) -> Result<Config> {
    Config::parse(document.to_string().as_bytes(), &Environment::new([]))
        .map_err(|problems| anyhow!("{problems:?}"))
}

fn the_gate_reads_its_configuration() -> Result<()> {
    for set in Set::ALL {
        let mut document = configuration(set)?;
        parse(&document).with_context(|| format!("{set:?}"))?;
        // It would say no to something it does not know.
        document["surely_unknown"] = json!(1);
        ensure!(parse(&document).is_err(), "{set:?}: an unknown key passed");
    }
    Ok(())
}

/// The two differ in the provider's cluster and in nothing else.
fn both_sets_hold_one_configuration() -> Result<()> {
    let [mut istio, mut gateway] = [
        configuration(Set::Istio)?,
        configuration(Set::EnvoyGateway)?,
    ];
    for document in [&mut istio, &mut gateway] {
        document["providers"][0]["jwks"]["cluster"] = Value::Null;
    }
    ensure!(istio == gateway, "{istio} is not {gateway}");
    Ok(())
}

fn the_plugin_fails_closed_and_is_named_by_digest() -> Result<()> {
    let istio = Set::Istio.documents()?;
    let plugin = only(&istio, "WasmPlugin")?.spec();
    ensure!(plugin["failStrategy"] != json!("FAIL_OPEN"));
    ensure!(plugin["failStrategy"].is_string(), "not left to a default");
    ensure!(plugin["phase"] == json!("AUTHN"));
    digest(&plugin["url"], &plugin["sha256"])?;

    let gateway = Set::EnvoyGateway.documents()?;
    let policy = only(&gateway, "EnvoyExtensionPolicy")?.spec();
    ensure!(
        policy["targetRefs"]
            == json!([{"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "observability"}]),
        "not on the whole Gateway: {}",
        policy["targetRefs"]
    );
    let wasm = &policy["wasm"][0];
    ensure!(wasm["failOpen"] == json!(false));
    let image = &wasm["code"]["image"];
    digest(&image["url"], &image["sha256"])
}

/// Its file is where Envoy looks for it, brought there from an image, and Envoy fetches nothing.
fn the_native_module_is_in_the_pod_and_named_by_digest() -> Result<()> {
    let documents = native()?;
    let policy = only(&documents, "EnvoyExtensionPolicy")?.spec();
    let in_wasm = Set::EnvoyGateway.documents()?;
    let other = only(&in_wasm, "EnvoyExtensionPolicy")?.spec();
    ensure!(policy["targetRefs"] == other["targetRefs"]);
    let used = list(&policy["dynamicModule"]);
    ensure!(used.len() == 1 && policy["wasm"].is_null(), "{policy}");
    // The two forms have one configuration, but for what workers share.
    let mut document = configuration(Set::EnvoyGateway)?;
    let jwks = document["providers"][0]["jwks"].as_object_mut();
    jwks.context("no jwks")?.remove("share");
    ensure!(used[0]["config"] == document, "{}", used[0]["config"]);

    let proxy = only(&documents, "EnvoyProxy")?.spec();
    let modules = list(&proxy["dynamicModules"]);
    ensure!(modules.len() == 1, "{modules:?}");
    ensure!(modules[0]["name"] == used[0]["name"]);
    ensure!(modules[0]["doNotClose"] == json!(true));
    let source = &modules[0]["source"];
    ensure!(source["type"] == json!("Local") && source["remote"].is_null());
    let path = text(&source["local"]["path"])?;
    let deployment = &proxy["provider"]["kubernetes"]["envoyDeployment"];
    let first = list(&deployment["initContainers"]);
    ensure!(first.len() == 1, "{first:?}");
    let image = text(&first[0]["image"])?;
    let (_, sum) = image.rsplit_once("@sha256:").context("no digest")?;
    ensure!(sum.len() == 64, "{image}");
    // The command puts a file of that name into the folder.
    let folder = path
        .strip_suffix("/libscopegate.so")
        .context(path.to_owned())?;
    ensure!(first[0]["command"] == json!(["/scopegate", "install-module", folder]));
    let mounts = [
        &first[0]["volumeMounts"],
        &deployment["container"]["volumeMounts"],
    ];
    for mount in mounts.map(|mounts| &mounts[0]) {
        ensure!(mount["name"] == deployment["pod"]["volumes"][0]["name"]);
        ensure!(path.starts_with(text(&mount["mountPath"])?), "{mount}");
    }
    Ok(())
}

fn digest(url: &Value, sum: &Value) -> Result<()> {
    let (url, sum) = (text(url)?, text(sum)?);
    ensure!(
        url.ends_with(&format!("@sha256:{sum}")) && sum.len() == 64,
        "{url} and {sum}"
    );
    Ok(())
}

/// The cluster that the configuration names is one that the set makes, and its certificate is checked.
fn the_provider_is_reached_over_checked_tls() -> Result<()> {
    let document = configuration(Set::Istio)?;
    let jwks = &document["providers"][0]["jwks"];
    let host = text(&jwks["uri"])?
        .strip_prefix("https://")
        .and_then(|rest| rest.split('/').next())
        .context("no host in jwks.uri")?;
    ensure!(jwks["cluster"] == json!(format!("outbound|443||{host}")));
    let istio = Set::Istio.documents()?;
    let entry = only(&istio, "ServiceEntry")?.spec();
    ensure!(entry["hosts"] == json!([host]) && entry["ports"][0]["number"] == json!(443));
    let rule = only(&istio, "DestinationRule")?.spec();
    ensure!(rule["host"] == json!(host));
    let tls = &rule["trafficPolicy"]["tls"];
    ensure!(tls["mode"] == json!("SIMPLE") && tls["sni"] == json!(host));
    ensure!(tls["subjectAltNames"] == json!([host]) && tls["caCertificates"].is_string());

    let bootstrap: Value = yaml::read(&shipped("envoy.yaml"))?;
    let ours = patched("/static_resources/clusters/-")?;
    let theirs = list(&bootstrap["static_resources"]["clusters"])
        .iter()
        .find(|cluster| cluster["name"] == json!("idp"))
        .context("no cluster idp in envoy.yaml")?;
    ensure!(ours == [theirs.clone()], "{ours:?} is not {theirs}");
    let document = configuration(Set::EnvoyGateway)?;
    ensure!(document["providers"][0]["jwks"]["cluster"] == theirs["name"]);
    Ok(())
}

/// Metrics have the same labels everywhere.
fn labels_are_those_of_the_shipped_bootstrap() -> Result<()> {
    let bootstrap: Value = yaml::read(&shipped("envoy.yaml"))?;
    let wanted = list(&bootstrap["stats_config"]["stats_tags"]);
    ensure!(!wanted.is_empty());
    let istio: Value = yaml::read(&shipped("istio/stats-tags.json"))?;
    ensure!(
        by_name(list(&istio["stats_config"]["stats_tags"])) == by_name(wanted),
        "istio/stats-tags.json"
    );
    let gateway = patched("/stats_config/stats_tags/-")?;
    ensure!(by_name(&gateway) == by_name(wanted), "gateway/gateway.yaml");
    Ok(())
}

fn by_name(tags: &[Value]) -> Vec<String> {
    let mut tags: Vec<String> = tags.iter().map(Value::to_string).collect();
    tags.sort();
    tags
}

/// What the EnvoyProxy adds to the bootstrap at that path.
fn patched(path: &str) -> Result<Vec<Value>> {
    let documents = Set::EnvoyGateway.documents()?;
    let bootstrap = &only(&documents, "EnvoyProxy")?.spec()["bootstrap"];
    ensure!(bootstrap["type"] == json!("JSONPatch"));
    Ok(list(&bootstrap["jsonPatches"])
        .iter()
        .filter(|patch| patch["op"] == json!("add") && patch["path"] == json!(path))
        .map(|patch| patch["value"].clone())
        .collect())
}
