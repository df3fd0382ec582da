//! What shows that the gate runs, and which configuration: logs, metrics, conditions.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::Parser as _;
use integration::client::RawRequest;
use integration::paths;
use scopegate::cli::{Arguments, Console, Disk, Outcome, run};
use serde_json::{Value, json};

use crate::case::{cases, said, until};
use crate::product::{Kind, Product, by, reader};

cases![ALL:
    a_pod_says_which_configuration_it_runs,
    the_access_log_has_the_record,
    its_restarts_are_counted_by_the_names_that_dashboard_and_rules_ask_for,
    a_gateway_without_an_address_serves_and_is_not_programmed,
];

/// What `scopegate check` says of it: the digest that the log has, and the number that the metric has.
fn checked(document: &Value) -> Result<(String, String)> {
    let (mut output, mut errors) = (Vec::new(), Vec::new());
    let outcome = run(
        Arguments::try_parse_from(["scopegate", "check", "-"])?,
        &mut Console {
            input: &mut document.to_string().as_bytes(),
            files: &Disk,
            output: &mut output,
            errors: &mut errors,
            styled: false,
            now: 0,
            web: &mut scopegate::cli::Unconnected,
            variables: BTreeMap::new(),
        },
    );
    let errors = String::from_utf8_lossy(&errors);
    ensure!(outcome == Outcome::Good, "{errors}");
    let said = String::from_utf8(output)?;
    let behind = |word: &str| -> Result<String> {
        let (_, rest) = said.split_once(word).with_context(|| said.clone())?;
        let found = rest.split([',', ' ', '\n']).next().unwrap_or_default();
        Ok(found.to_owned())
    };
    Ok((behind("sha256 ")?, behind("scopegate_config_hash ")?))
}

/// The log and the metric of a pod change with a configuration that it takes, and with no other.
async fn a_pod_says_which_configuration_it_runs(product: &mut Product) -> Result<()> {
    let with = |tenant: &'static str, mode: &'static str| {
        product.configured(move |config| {
            config["mode"] = json!(mode);
            if let Some(tenants) = config["organizations"][0]["tenants"].as_array_mut() {
                tenants.push(json!(tenant));
            }
        })
    };
    let taken = with("taken", "enforce");
    let (digest, number) = checked(&taken)?;
    product.put(&taken).await?;
    let line = format!("mode enforce, sha256 {digest}");
    until(async || product.proxy_log().contains(&line), &line, product).await?;
    let runs = async |number: &str| {
        let metrics = product.metrics().await.unwrap_or_default();
        let hashes = metrics
            .lines()
            .filter(|line| line.starts_with("scopegate_config_hash"));
        let mut hashes = hashes.map(|line| line.ends_with(&format!(" {number}")));
        hashes.next() == Some(true) && hashes.all(|same| same)
    };
    until(async || runs(&number).await, "its hash", product).await?;

    let refused = with("refused", "enforced");
    let told = match product.kind {
        Kind::Istio => "ACK ERROR",
        Kind::EnvoyGateway => "rejected the last update",
    };
    let before = said(&product.plane_log(), told);
    product.put(&refused).await?;
    let logged = async || said(&product.plane_log(), told) > before;
    until(logged, told, product).await?;
    // The condition is that of a good one, and the metric is that of the one before.
    let condition = product.condition().await?;
    let expected = match product.kind {
        Kind::Istio => None,
        Kind::EnvoyGateway => Some("Accepted=True Accepted"),
    };
    ensure!(condition.as_deref() == expected, "{condition:?}");
    ensure!(runs(&number).await, "another hash");
    // What dashboard and rules count refusals by.
    let (prefix, suffix) = match product.kind {
        Kind::Istio => (
            "envoy_extension_config_discovery_http_filter_",
            "_config_fail",
        ),
        Kind::EnvoyGateway => ("envoy_listener_manager_lds_update_rejected", ""),
    };
    let metrics = product.metrics().await?;
    let mut counted = metrics.lines().filter(|line| {
        let name = line.split('{').next().unwrap_or_default();
        name.starts_with(prefix) && name.ends_with(suffix) && !line.ends_with(" 0")
    });
    ensure!(counted.next().is_some(), "{prefix}…{suffix} does not count");
    let asked = text_of_monitoring()?;
    let regex = "envoy_(extension_config_discovery_http_filter_.+_config_fail|listener_manager_lds_update_rejected)";
    ensure!(asked.iter().all(|text| text.contains(regex)), "{regex}");
    product.recover().await
}

/// As `extras/access-log.yaml` has it in Istio, and by itself in Envoy Gateway.
async fn the_access_log_has_the_record(product: &mut Product) -> Result<()> {
    let shipped = match product.kind {
        Kind::Istio => product.shipped("extras/access-log.yaml")?,
        Kind::EnvoyGateway => Vec::new(),
    };
    let mesh = if shipped.is_empty() {
        None
    } else {
        let providers = comment(product, "extras/access-log.yaml", "extensionProviders:")?;
        Some(product.change_mesh(&providers).await?)
    };
    for document in &shipped {
        let answer = product.scene.api.try_apply(document).await?;
        ensure!(answer.refusal().is_none(), "{answer:?}");
        ensure!(answer.warnings.is_empty(), "{:?}", answer.warnings);
    }
    let stranger = by(
        &["strangers"],
        RawRequest::get("/loki/api/v1/labels?secret=1"),
        "platform",
    );
    let line = async || -> Option<Value> {
        product.send(&stranger).await.ok()?;
        tokio::time::sleep(Duration::from_millis(200)).await;
        let log = product.proxy_log();
        let lines = log
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line.get(line.find('{')?..)?).ok());
        let mut lines = lines.filter(|line| {
            line["scopegate"]
                .as_str()
                .is_some_and(|record| record.contains("tenant_not_granted"))
        });
        lines.next()
    };
    until(async || line().await.is_some(), "a record", product).await?;
    let line = line().await.context("no line")?;
    ensure!(line["path"] == "/loki/api/v1/labels", "{line}");
    ensure!(!line.to_string().contains("secret"), "{line}");
    ensure!(line["response_code"] == 403, "{line}");
    for document in &shipped {
        product.scene.api.delete(document).await?;
    }
    if let Some(mesh) = mesh {
        product.put(&mesh).await?;
    }
    Ok(())
}

/// YAML in the comment of a shipped file, from that line on to the comment's end.
fn comment(product: &Product, file: &str, from: &str) -> Result<String> {
    let text = product.text(file)?;
    let lines = text
        .lines()
        .map_while(|line| line.strip_prefix('#'))
        .map(|line| line.strip_prefix("   ").unwrap_or(line));
    let lines: Vec<&str> = lines.skip_while(|line| *line != from).collect();
    ensure!(lines.len() > 1, "no {from} in {file}");
    Ok(lines.join("\n"))
}

/// Whatever Istio or Envoy Gateway call the plugin.
async fn its_restarts_are_counted_by_the_names_that_dashboard_and_rules_ask_for(
    product: &mut Product,
) -> Result<()> {
    let metrics = product.metrics().await?;
    for kind in ["success", "failure"] {
        let names = metrics.lines().filter_map(|line| line.split('{').next());
        // What the regular expression below takes.
        let mut names = names.filter(|name| {
            let middle = name.strip_prefix("envoy_wasm_");
            let middle = middle.and_then(|it| it.strip_suffix(&format!("vm_reload_{kind}")));
            middle.is_some_and(|it| it.is_empty() || (it.len() > 1 && it.ends_with('_')))
        });
        ensure!(names.next().is_some(), "no vm_reload_{kind}");
    }
    let regex = "envoy_wasm_(.+_)?vm_reload_(success|failure)";
    for text in text_of_monitoring()? {
        ensure!(text.contains(regex), "{regex}");
    }
    Ok(())
}

/// The dashboard and the rules.
fn text_of_monitoring() -> Result<Vec<String>> {
    let folder = paths::repository().join("envoy/monitoring");
    let files = ["dashboard.json", "rules.yaml", "prometheusrule.yaml"];
    let texts = files.map(|file| fs::read_to_string(folder.join(file)));
    texts
        .into_iter()
        .map(|text| text.context("no file"))
        .collect()
}

/// The condition waits for a load balancer, and the gate does not.
async fn a_gateway_without_an_address_serves_and_is_not_programmed(
    product: &mut Product,
) -> Result<()> {
    let programmed = async || {
        let gateway = json!({
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "Gateway",
            "metadata": {"name": "observability", "namespace": "scopegate"},
        });
        let gateway = product.scene.api.get(&gateway).await.unwrap_or_default();
        let conditions = gateway["status"]["conditions"].as_array();
        let mut conditions = conditions.into_iter().flatten();
        let found = conditions.find(|it| it["type"] == "Programmed");
        found.map_or_else(String::new, |it| {
            format!("{} {}", it["status"], it["reason"])
        })
    };
    let (before, service) = (programmed().await, product.service().await?);
    ensure!(before.contains("True"), "{before}");
    let path = format!("{}/status", product.scene.api.path_of(&service).await?);
    let address = |ingress: Value| json!({"status": {"loadBalancer": {"ingress": ingress}}});
    product
        .scene
        .api
        .call("PATCH", &path, &address(json!([])))
        .await?;
    let waiting = async || {
        let condition = programmed().await;
        condition.contains("False") && condition.contains("AddressNotAssigned")
    };
    until(waiting, "AddressNotAssigned", product).await?;
    product.pass(&reader()).await?;
    let ingress = service["status"]["loadBalancer"]["ingress"].clone();
    product
        .scene
        .api
        .call("PATCH", &path, &address(ingress))
        .await?;
    until(
        async || programmed().await.contains("True"),
        "Programmed",
        product,
    )
    .await
}
