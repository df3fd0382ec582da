//! What the workers of a proxy share, and with whom.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use integration::client::RawRequest;
use serde_json::{Value, json};

use crate::case::cases;
use crate::product::{Form, Kind, Product, by, reader};

cases![ALL:
    a_tenant_is_added_while_the_provider_is_away,
    who_has_the_same_store_is_known,
];

fn with_newcomer(product: &Product, share: Option<bool>) -> Value {
    product.configured(|config| {
        if let Some(tenants) = config["organizations"][0]["tenants"].as_array_mut() {
            tenants.push(json!("newco"));
        }
        if let Some(share) = share {
            config["providers"][0]["jwks"]["share"] = json!(share);
        }
    })
}

/// No request is lost, and nothing is fetched: the workers of the new configuration have the keys of the old one's.
async fn a_tenant_is_added_while_the_provider_is_away(product: &mut Product) -> Result<()> {
    let newcomer = by(
        &["developers"],
        RawRequest::get("/loki/api/v1/labels"),
        "newco",
    );
    product.refuse(&newcomer, 403).await?;
    product.scene.provider.down().await;
    let done = AtomicBool::new(false);
    let (lost, changed) = tokio::join!(
        async {
            let (mut sent, mut lost) = (0_u32, Vec::new());
            while !done.load(Ordering::Relaxed) {
                match product.status(&reader()).await {
                    Some(200) => {}
                    other => lost.push(other),
                }
                sent += 1;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            (sent, lost)
        },
        async {
            product.put(&with_newcomer(product, None)).await?;
            let took = product.until_status(&newcomer, 200).await;
            // Every worker has its turn.
            for _ in 0..40 {
                let status = product.status(&newcomer).await;
                ensure!(status == Some(200), "{status:?}");
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
            done.store(true, Ordering::Relaxed);
            took
        }
    );
    product.scene.provider.up().await?;
    let (sent, lost) = lost;
    eprintln!(
        "{}: {sent} requests, live after {:?}",
        product.kind.name(),
        changed?
    );
    ensure!(lost.is_empty() && sent > 50, "{lost:?} of {sent}");
    // The native module has one set of keys, whatever is said of sharing.
    if product.kind == Kind::EnvoyGateway && product.form == Form::Wasm {
        // Where nothing is shared, the workers of the new one have no keys.
        let apart = product.configured(|config| {
            config["providers"][0]["jwks"]["share"] = json!(false);
        });
        product.put(&apart).await?;
        product.start_proxy().await?;
        product.until_status(&reader(), 200).await?;
        tokio::time::sleep(Duration::from_secs(1)).await;
        product.scene.provider.down().await;
        product.put(&with_newcomer(product, Some(false))).await?;
        let starved = product.until_status(&reader(), 503).await;
        product.scene.provider.up().await?;
        starved?;
    }
    Ok(())
}

/// What the comments of the manifests say of `vm_id`.
async fn who_has_the_same_store_is_known(product: &mut Product) -> Result<()> {
    let mut stores = stores(product).await?;
    match product.kind {
        // All without one have one in common.
        Kind::Istio => ensure!(stores == [""], "{stores:?}"),
        Kind::EnvoyGateway => {
            let [own] = stores.as_slice() else {
                anyhow::bail!("{stores:?}");
            };
            ensure!(!own.is_empty(), "no vm_id");
            let own = own.clone();
            // Two more plugins, one in the same policy and one in another.
            let twice = product.carrier_with(|policy| {
                let mut second = policy["spec"]["wasm"][0].clone();
                second["name"] = json!("second");
                if let Some(plugins) = policy["spec"]["wasm"].as_array_mut() {
                    plugins.push(second);
                }
            });
            product.put(&twice).await?;
            let mut other = product.carrier_with(|policy| {
                policy["spec"]["targetRefs"] = json!([{
                    "group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": "tempo",
                }]);
            });
            other["metadata"]["name"] = json!("other");
            product.put(&other).await?;
            for _ in 0..100 {
                stores = self::stores(product).await?;
                if stores.len() == 3 {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            product.scene.api.delete(&other).await?;
            ensure!(stores.len() == 3 && stores.contains(&own), "{stores:?}");
        }
    }
    Ok(())
}

/// The different `vm_id`s of all modules in the proxy.
async fn stores(product: &Product) -> Result<Vec<String>> {
    let dump = product.admin("/config_dump").await?;
    let dump: Value = serde_json::from_str(&dump).context("no JSON")?;
    let mut found = Vec::new();
    let mut open = vec![&dump];
    while let Some(value) = open.pop() {
        if let Some(machine) = value.get("vm_config") {
            let store = machine["vm_id"].as_str().unwrap_or_default();
            found.push(store.to_owned());
        }
        match value {
            Value::Object(members) => open.extend(members.values()),
            Value::Array(elements) => open.extend(elements),
            _ => {}
        }
    }
    found.sort();
    found.dedup();
    Ok(found)
}
