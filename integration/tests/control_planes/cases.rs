//! What must hold under both control planes, each from the shipped manifests.

use anyhow::{Context as _, Result, ensure};
use integration::client::RawRequest;
use serde_json::json;

use crate::case::{cases, said, until};
use crate::live::changes_lose_no_request;
use crate::product::{Form, Kind, Product, by, lost, reader};

cases![ALL:
    every_manifest_is_taken_as_it_is,
    people_and_agents_get_what_they_may,
    a_backend_sees_the_tenant_and_no_credential,
    a_tenant_is_added,
    changes_lose_no_request,
    a_route_without_the_gates_header_leads_past_nothing,
    a_bad_configuration_leaves_the_old_one,
    another_digest_is_refused,
    what_is_no_module_is_refused,
    without_the_gate_nothing_is_reached,
    a_route_of_another_namespace_leads_nowhere,
    provider_and_registry_may_be_away,
    a_pod_that_starts_without_the_registry_never_passes_anybody,
    a_bad_first_configuration_refuses,
    it_serves_without_control_plane_and_api,
];

/// Strictly, in order and in reverse order.
async fn every_manifest_is_taken_as_it_is(product: &mut Product) -> Result<()> {
    let files = product.kind.files();
    for file in files.iter().chain(files.iter().rev()) {
        for document in product.shipped(file)? {
            let answer = product.scene.api.try_apply(&document).await?;
            let (kind, name) = (&document["kind"], &document["metadata"]["name"]);
            ensure!(answer.refusal().is_none(), "{kind} {name}: {answer:?}");
            // istiod warns of every EnvoyFilter, whatever is in it.
            let expected = usize::from(document["kind"] == "EnvoyFilter");
            ensure!(
                answer.warnings.len() <= expected,
                "{kind} {name}: {:?}",
                answer.warnings
            );
            let there = product.scene.api.get(&document).await?;
            let lost = lost(&document["spec"], &there["spec"]);
            ensure!(lost.is_empty(), "{kind} {name} lost {lost:?}");
        }
    }
    Ok(())
}

pub async fn people_and_agents_get_what_they_may(product: &mut Product) -> Result<()> {
    let get = RawRequest::get;
    for path in [
        "/loki/api/v1/labels",
        "/prometheus/api/v1/query?query=up",
        "/tempo/api/search/tags",
    ] {
        product
            .pass(&by(&["developers"], get(path), "platform"))
            .await?;
        product.refuse(&get(path).tenant("platform"), 401).await?;
        product
            .refuse(&by(&["developers"], get(path), "elsewhere"), 403)
            .await?;
        product
            .refuse(&by(&["strangers"], get(path), "platform"), 403)
            .await?;
    }
    let rules = "/prometheus/config/v1/rules/checkout";
    let change = RawRequest::post(rules, "name: checkout\nrules: []\n");
    product
        .pass(&by(&["sre"], change.clone(), "shared"))
        .await?;
    product
        .refuse(&by(&["developers"], change, "shared"), 403)
        .await?;
    product
        .refuse(&by(&["platform-admins"], get("/config"), "platform"), 404)
        .await?;
    let health = product.send(&get("/healthz")).await?;
    ensure!(
        health.status == 200 && health.text() == "ok\n",
        "{health:?}"
    );
    Ok(())
}

async fn a_backend_sees_the_tenant_and_no_credential(product: &mut Product) -> Result<()> {
    let seen = product.pass(&reader()).await?;
    let header = |name: &str| {
        let values = seen.header(name).into_iter();
        let values = values.map(|value| String::from_utf8_lossy(value).into_owned());
        values.collect::<Vec<_>>()
    };
    ensure!(header("x-scope-orgid") == ["platform"], "{seen:?}");
    ensure!(header("x-scopegate-subject") == ["ann"], "{seen:?}");
    for absent in ["authorization", "x-scopegate-backend"] {
        ensure!(header(absent).is_empty(), "{absent}: {seen:?}");
    }
    // What a client says of itself counts for nothing.
    let posing = reader()
        .header("x-scopegate-subject", "root")
        .header("x-scopegate-backend", "mimir");
    let seen = product.pass(&posing).await?;
    ensure!(seen.header("x-scopegate-subject") == [b"ann"], "{seen:?}");
    ensure!(seen.header("x-scopegate-backend").is_empty(), "{seen:?}");
    Ok(())
}

async fn a_tenant_is_added(product: &mut Product) -> Result<()> {
    let newcomer = by(
        &["developers"],
        RawRequest::get("/loki/api/v1/labels"),
        "newco",
    );
    // What the case before has changed may still be served.
    product.until_status(&newcomer, 403).await?;
    product.refuse(&newcomer, 403).await?;
    let with_it = product.configured(|config| {
        if let Some(tenants) = config["organizations"][0]["tenants"].as_array_mut() {
            tenants.push(json!("newco"));
        }
    });
    product.put(&with_it).await?;
    let took = product.until_status(&newcomer, 200).await?;
    product.measured("it is live", took);
    Ok(())
}

pub async fn a_bad_configuration_leaves_the_old_one(product: &mut Product) -> Result<()> {
    let bad = product.configured(|config| {
        config["mode"] = json!("enforced");
        // Of one that it has refused before, Envoy says nothing again.
        config["realm"] = json!("bad");
    });
    let (condition, told) = match product.kind {
        Kind::Istio => (None, "ACK ERROR"),
        Kind::EnvoyGateway => (Some("Accepted=True Accepted"), "rejected the last update"),
    };
    let line = "configuration: mode: must be one of enforce, report";
    let before = (
        said(&product.proxy_log(), line),
        said(&product.plane_log(), told),
    );
    product.put(&bad).await?;
    let logged = async || said(&product.proxy_log(), line) > before.0;
    until(logged, line, product).await?;
    // A while longer.
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    product.pass(&reader()).await?;
    ensure!(product.condition().await?.as_deref() == condition);
    let logged = async || said(&product.plane_log(), told) > before.1;
    until(logged, told, product).await
}

/// One that nobody has, one that is not the image's, and that of an index which names the image.
async fn another_digest_is_refused(product: &mut Product) -> Result<()> {
    let (status, digest) = (
        match product.kind {
            Kind::Istio => 403,
            Kind::EnvoyGateway => 500,
        },
        product.scene.digest.clone(),
    );
    let with = |other: &str, all: bool| -> Result<serde_json::Value> {
        let carrier = product.carrier_with(|_| {}).to_string();
        let carrier = if all {
            carrier.replace(&digest, other)
        } else {
            carrier.replace(
                &format!("\"sha256\":\"{digest}\""),
                &format!("\"sha256\":\"{other}\""),
            )
        };
        Ok(serde_json::from_str(&carrier)?)
    };
    let index = product.scene.put_index().await?;
    for other in [
        with(&"0".repeat(64), true)?,
        with(&"1".repeat(64), false)?,
        with(&index, true)?,
    ] {
        product.put(&other).await?;
        product.until_status(&reader(), status).await?;
        product.refuse(&reader(), status).await?;
        if product.kind == Kind::EnvoyGateway {
            let condition = product.condition().await?;
            ensure!(
                condition.as_deref() == Some("Accepted=False Invalid"),
                "{condition:?}"
            );
        }
        product.begin().await?;
    }
    Ok(())
}

/// An image whose digest is as it was named, and which holds a text.
async fn what_is_no_module_is_refused(product: &mut Product) -> Result<()> {
    let (good, strange) = (
        product.scene.digest.clone(),
        product.scene.strange.1.clone(),
    );
    let carrier = product.carrier_with(|_| {}).to_string();
    let carrier = serde_json::from_str(&carrier.replace(&good, &strange))?;
    product.put(&carrier).await?;
    let status = match product.kind {
        Kind::Istio => 403,
        Kind::EnvoyGateway => 500,
    };
    let smuggling = reader().header("x-scopegate-backend", "loki");
    for _ in 0..2 {
        product.until_status(&reader(), status).await?;
        product.refuse(&smuggling, status).await?;
        // The same in a proxy that has never had another one.
        product.start_proxy().await?;
    }
    // As docs/troubleshooting.md has it.
    let told = "is invalid";
    match product.kind {
        Kind::Istio => {
            until(async || product.proxy_log().contains(told), told, product).await?;
        }
        Kind::EnvoyGateway => {
            let condition = product.condition().await?;
            ensure!(
                condition.as_deref() == Some("Accepted=False Invalid"),
                "{condition:?}"
            );
            ensure!(
                product.told().await.contains(told),
                "{}",
                product.told().await
            );
        }
    }
    product.begin().await
}

pub async fn without_the_gate_nothing_is_reached(product: &mut Product) -> Result<()> {
    let smuggling = reader().header("x-scopegate-backend", "loki");
    product.delete_carrier().await?;
    product.until_status(&reader(), 404).await?;
    product.refuse(&smuggling, 404).await?;
    // The same where it is for something that is not there.
    let astray = product.carrier_with(|carrier| {
        carrier["spec"]["targetRefs"][0]["name"] = json!("nobody");
    });
    product.put(&astray).await?;
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    product.refuse(&reader(), 404).await?;
    product.refuse(&smuggling, 404).await?;
    product.begin().await?;
    // And where it was lost.
    product.put(&astray).await?;
    product.until_status(&reader(), 404).await?;
    product.refuse(&smuggling, 404).await?;
    Ok(())
}

async fn a_route_of_another_namespace_leads_nowhere(product: &mut Product) -> Result<()> {
    let route = json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": "around", "namespace": "loki"},
        "spec": {
            "parentRefs": [{"name": "observability", "namespace": "scopegate"}],
            "hostnames": [crate::scene::HOST],
            "rules": [{
                "matches": [{"path": {"type": "Exact", "value": "/ready"}}],
                "backendRefs": [{"name": "loki-gateway", "port": 80}],
            }],
        },
    });
    product.scene.api.apply(&route).await?;
    let told = async || {
        let route = product.scene.api.get(&route).await.unwrap_or_default();
        let conditions = route["status"]["parents"][0]["conditions"]
            .as_array()
            .cloned();
        let mut conditions = conditions.into_iter().flatten();
        conditions.any(|it| it["type"] == "Accepted" && it["reason"] == "NotAllowedByListeners")
    };
    until(told, "NotAllowedByListeners", product).await?;
    product.refuse(&RawRequest::get("/ready"), 404).await?;
    product.scene.api.delete(&route).await
}

/// Whoever may write routes beside the gate's can lead a path to a backend, but not past the gate.
async fn a_route_without_the_gates_header_leads_past_nothing(product: &mut Product) -> Result<()> {
    let routes = product.shipped("routes.yaml")?;
    let mut around = routes
        .into_iter()
        .find(|route| route["kind"] == "HTTPRoute" && route["metadata"]["name"] == "loki")
        .context("no route to Loki")?;
    around["metadata"]["name"] = json!("around");
    let rule = &mut around["spec"]["rules"][0];
    rule["matches"] = json!([{"path": {"type": "PathPrefix", "value": "/ready"}}]);
    let rule = rule.clone();
    around["spec"]["rules"] = json!([rule]);
    product.scene.api.apply(&around).await?;
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    let refused = async |request: RawRequest, status: u16| product.refuse(&request, status).await;
    refused(RawRequest::get("/ready"), 404).await?;
    refused(by(&["sre"], RawRequest::get("/ready"), "platform"), 404).await?;
    let smuggling = RawRequest::get("/ready").header("x-scopegate-backend", "loki");
    refused(smuggling, 404).await?;
    product.scene.api.delete(&around).await
}

/// Istio's routes lead to other namespaces, which allow that by a grant.
pub async fn a_grant_that_is_gone_ends_in_no_backend(product: &mut Product) -> Result<()> {
    let grants = product.shipped("grants.yaml")?;
    let of_loki = grants
        .iter()
        .find(|grant| grant["metadata"]["namespace"] == "loki");
    let of_loki = of_loki.context("no grant of Loki's")?;
    product.scene.api.delete(of_loki).await?;
    product.until_status(&reader(), 500).await?;
    product.refuse(&reader(), 500).await?;
    product.scene.api.apply(of_loki).await?;
    product.until_status(&reader(), 200).await?;
    Ok(())
}

/// What is loaded goes on without them.
async fn provider_and_registry_may_be_away(product: &mut Product) -> Result<()> {
    ensure!(
        product.scene.issuer.fetches().jwks > 0,
        "no keys were fetched"
    );
    product.scene.provider.down().await;
    product.scene.stop_registry();
    for _ in 0..20 {
        product.pass(&reader()).await?;
    }
    product.scene.provider.up().await?;
    product.scene.start_registry().await
}

/// Envoy Gateway has the module itself. In Istio each pod fetches it: one that could not refuses everything, also when
/// the registry is back, until the plugin changes.
async fn a_pod_that_starts_without_the_registry_never_passes_anybody(
    product: &mut Product,
) -> Result<()> {
    product.scene.stop_registry();
    product.start_proxy().await?;
    let smuggling = reader().header("x-scopegate-backend", "loki");
    if product.kind == Kind::EnvoyGateway {
        product.until_status(&reader(), 200).await?;
        product.refuse(&unknown(), 403).await?;
        return product.scene.start_registry().await;
    }
    product.until_status(&reader(), 403).await?;
    product.refuse(&smuggling, 403).await?;
    product.scene.start_registry().await?;
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    product.refuse(&smuggling, 403).await?;
    // As docs/troubleshooting.md has it.
    let touched = product.carrier_with(|carrier| {
        carrier["metadata"]["annotations"] = json!({"example.com/fetch": "again"});
    });
    product.put(&touched).await?;
    let took = product.until_status(&reader(), 200).await?;
    product.measured("a changed plugin is fetched", took);
    Ok(())
}

/// Somebody who is in no group.
fn unknown() -> RawRequest {
    let labels = RawRequest::get("/loki/api/v1/labels");
    by(&["strangers"], labels, "platform")
}

pub async fn a_bad_first_configuration_refuses(product: &mut Product) -> Result<()> {
    let bad = product.configured(|config| config["mode"] = json!("enforced"));
    if product.form == Form::Native {
        // Envoy takes no listener whose module refuses its configuration: neither in the pod that runs, nor in a new one.
        let told = "rejected the last update";
        let before = said(&product.plane_log(), told);
        product.put(&bad).await?;
        let logged = async || said(&product.plane_log(), told) > before;
        until(logged, told, product).await?;
        product.pass(&reader()).await?;
        let before = said(&product.plane_log(), told);
        product.start_proxy().await?;
        let logged = async || said(&product.plane_log(), told) > before;
        until(logged, told, product).await?;
        for _ in 0..20 {
            let status = product.status(&reader()).await;
            ensure!(status.is_none(), "{status:?}");
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        return Ok(());
    }
    product.put(&bad).await?;
    product.start_proxy().await?;
    let status = match product.kind {
        Kind::Istio => 500,
        Kind::EnvoyGateway => 503,
    };
    product.until_status(&reader(), status).await?;
    let reply = product.refuse(&reader(), status).await?;
    if product.kind == Kind::Istio {
        ensure!(reply.body.is_empty(), "{reply:?}");
    }
    Ok(())
}

async fn it_serves_without_control_plane_and_api(product: &mut Product) -> Result<()> {
    product.stop_control_plane();
    product.pass(&reader()).await?;
    product.scene.api.stop();
    product.pass(&reader()).await?;
    product.refuse(&unknown(), 403).await?;
    product
        .scene
        .api
        .start_servers()
        .await
        .context("the API does not come back")?;
    product.start_control_plane().await
}
