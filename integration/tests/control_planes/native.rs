//! The native module in Envoy Gateway: what takes the place of the module in wasm, and that it fails closed as well.
//!
//! With `make HOST=native` the other cases run against it too.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};

use crate::admission::taken;
use crate::case::{Case, List, cases, until};
use crate::cases;
use crate::live::{Load, changes_lose_no_request};
use crate::product::{Form, Kind, Product, reader};

cases![OF_ENVOY_GATEWAY:
    the_native_module_takes_over_and_gives_back,
    changes_of_a_native_gate_lose_no_request,
    a_native_gate_refuses_a_bad_configuration,
    without_the_native_module_nothing_is_reached,
    a_pod_without_the_image_of_the_native_module_does_not_start,
];

/// Istio has nothing by which it would be loaded.
pub const fn only(kind: Kind) -> List {
    match kind {
        Kind::Istio => &[],
        Kind::EnvoyGateway => OF_ENVOY_GATEWAY,
    }
}

/// What is about the image that a product fetches, its sandbox, or what is printed for it alone.
const OF_THE_OTHER_FORM: [&str; 6] = [
    "the_page_installs_it",
    "who_has_the_same_store_is_known",
    "its_restarts_are_counted_by_the_names_that_dashboard_and_rules_ask_for",
    "another_digest_is_refused",
    "what_is_no_module_is_refused",
    "a_pod_that_starts_without_the_registry_never_passes_anybody",
];

/// Whether a case can be about either form of the module. The Helm chart prints one form.
pub fn is_for_both(case: &str) -> bool {
    !case.starts_with("helm_") && !OF_THE_OTHER_FORM.contains(&case)
}

/// The pods can load the module before the policy names it. Where the proxy is started anew here, a cluster has others
/// beside it.
async fn turn(product: &mut Product, form: Form) -> Result<()> {
    if product.form == form {
        return Ok(());
    }
    product.turn_to(form)?;
    let policy = product.carrier.clone();
    match form {
        Form::Native => {
            put_gateway(product).await?;
            product.start_proxy().await?;
            product.put(&policy).await?;
        }
        Form::Wasm => {
            product.put(&policy).await?;
            until(async || !loads(product).await, "the one in wasm", product).await?;
            put_gateway(product).await?;
            product.start_proxy().await?;
        }
    }
    product.begin().await
}

/// The file with the pods in it.
async fn put_gateway(product: &Product) -> Result<()> {
    for document in product.shipped("gateway.yaml")? {
        product.put(&document).await?;
    }
    product.until_settled().await
}

/// Whether the listener that serves has the native module in it.
async fn loads(product: &Product) -> bool {
    let path = "/config_dump?resource=dynamic_listeners";
    let dump = product.admin(path).await.unwrap_or_default();
    let dump: Value = serde_json::from_str(&dump).unwrap_or_default();
    let listeners = dump["configs"].as_array().into_iter().flatten();
    let mut active = listeners.map(|listener| listener["active_state"].to_string());
    active.any(|active| active.contains("libscopegate.so"))
}

/// Run it with the native module, and leave the form as it was.
async fn natively(product: &mut Product, case: Case) -> Result<()> {
    let before = product.form;
    turn(product, Form::Native).await?;
    let outcome = case(product).await;
    let back = turn(product, before).await;
    outcome.and(back)
}

/// Whoever changes the form applies gateway.yaml, waits for the pods, and then applies policy.yaml; and back the other
/// way round.
async fn the_native_module_takes_over_and_gives_back(product: &mut Product) -> Result<()> {
    let before = product.form;
    turn(product, Form::Wasm).await?;
    let outcome = there_and_back(product).await;
    if outcome.is_err() {
        // Somewhere on the way.
        product.turn_to(Form::Wasm)?;
        product.put(&product.carrier).await?;
        put_gateway(product).await?;
        product.start_proxy().await?;
    }
    let back = turn(product, before).await;
    outcome.and(back)
}

async fn there_and_back(product: &mut Product) -> Result<()> {
    product.turn_to(Form::Native)?;
    // The pods of before have no such file, and nothing asks them for it.
    let load = Load::start(product.target());
    put_gateway(product).await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (sent, lost) = end(load).await?;
    ensure!(lost == 0, "{lost} of {sent} lost before the policy");
    product.start_proxy().await?;
    product.until_status(&reader(), 200).await?;
    ensure!(!loads(product).await, "it is there before the policy");
    let load = Load::start(product.target());
    product.put(&product.carrier).await?;
    until(async || loads(product).await, "the native module", product).await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let there = end(load).await?;

    // What was put in its place is taken strictly, and is all that is there.
    taken(product, &product.shipped("gateway.yaml")?).await?;
    taken(product, &product.shipped("policy.yaml")?).await?;
    let policy = product.scene.api.get(&product.carrier).await?;
    ensure!(policy["spec"]["wasm"].is_null(), "{policy}");
    cases::people_and_agents_get_what_they_may(product).await?;
    // By the names of the other form.
    let written = async || {
        let metrics = product.metrics().await.unwrap_or_default();
        let counts = |line: &str| {
            line.starts_with("scopegate_decisions_total{") && line.contains("decision=\"allow\"")
        };
        metrics.lines().any(counts) && !metrics.contains("dynamicmodulescustom")
    };
    until(written, "scopegate_decisions_total", product).await?;

    let load = Load::start(product.target());
    product.turn_to(Form::Wasm)?;
    product.put(&product.carrier).await?;
    until(async || !loads(product).await, "the one in wasm", product).await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let back = end(load).await?;
    let (sent, lost) = (there.0 + back.0, there.1 + back.1);
    product.noted(&format!(
        "{lost} of {sent} requests answered 404 in two changes of the form"
    ));
    put_gateway(product).await?;
    product.start_proxy().await?;
    product.begin().await
}

/// How many requests were sent, and how many of them came in the moment in which Envoy has the routes of one form and
/// the listener of the other: the gate is then on no route, and the entrance leads nowhere. Nothing else may be answered.
async fn end(load: Load) -> Result<(usize, usize)> {
    let statuses = load.stop().await?;
    let sent: usize = statuses.values().sum();
    let count = |status: u16| statuses.get(&status).copied().unwrap_or_default();
    let (served, lost) = (count(200), count(404));
    ensure!(served > 10 && served + lost == sent, "{statuses:?}");
    Ok((sent, lost))
}

async fn changes_of_a_native_gate_lose_no_request(product: &mut Product) -> Result<()> {
    natively(product, |product| {
        Box::pin(changes_lose_no_request(product))
    })
    .await
}

/// Later: the one before goes on. First: nothing listens, and a good one is taken.
async fn a_native_gate_refuses_a_bad_configuration(product: &mut Product) -> Result<()> {
    natively(product, |product| {
        Box::pin(async move {
            cases::a_bad_configuration_leaves_the_old_one(product).await?;
            product.recover().await?;
            cases::a_bad_first_configuration_refuses(product).await?;
            product.begin().await
        })
    })
    .await
}

/// Neither where the policy is gone, nor where the module is not registered, is not in the pod or cannot be fetched.
async fn without_the_native_module_nothing_is_reached(product: &mut Product) -> Result<()> {
    natively(product, |product| {
        Box::pin(async move {
            cases::without_the_gate_nothing_is_reached(product).await?;
            product.begin().await?;
            let outcome = astray(product).await;
            put_gateway(product).await?;
            product.begin().await?;
            outcome
        })
    })
    .await
}

async fn astray(product: &mut Product) -> Result<()> {
    let smuggling = reader().header("x-scopegate-backend", "loki");
    let documents = product.shipped("gateway.yaml")?;
    let mut proxies = documents
        .into_iter()
        .filter(|it| it["kind"] == "EnvoyProxy");
    let proxy = proxies.next().context("no EnvoyProxy")?;
    let with = |modules: Value| {
        let mut proxy = proxy.clone();
        proxy["spec"]["dynamicModules"] = modules;
        proxy
    };
    // Not registered.
    product.put(&with(json!([]))).await?;
    product.until_status(&reader(), 500).await?;
    product.refuse(&smuggling, 500).await?;
    let condition = product.condition().await?;
    let expected = Some("Accepted=False Invalid");
    ensure!(condition.as_deref() == expected, "{condition:?}");
    product.put(&proxy).await?;
    product.until_status(&reader(), 200).await?;

    // Not in the pod: what serves goes on, and a new pod listens on nothing.
    let mut modules = proxy["spec"]["dynamicModules"].clone();
    modules[0]["source"]["local"]["path"] = json!("/opt/scopegate/another.so");
    let told = "rejected the last update";
    let before = product.plane_log().matches(told).count();
    product.put(&with(modules.clone())).await?;
    let logged = async || product.plane_log().matches(told).count() > before;
    until(logged, told, product).await?;
    product.pass(&reader()).await?;
    product.start_proxy().await?;
    for _ in 0..20 {
        let status = product.status(&smuggling).await;
        ensure!(status.is_none(), "{status:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    product.put(&proxy).await?;
    product.until_status(&reader(), 200).await?;

    // Fetched, from where nobody answers: requests pass without the gate, and the routes ask for its header.
    modules[0]["source"] = json!({
        "type": "Remote",
        "remote": {"url": "http://registry.example.com:1/gate.so", "sha256": "1".repeat(64)},
    });
    product.put(&with(modules)).await?;
    product.until_status(&reader(), 404).await?;
    product.refuse(&smuggling, 404).await?;
    product.put(&proxy).await?;
    product.until_status(&reader(), 200).await?;
    Ok(())
}

/// Those that run go on.
async fn a_pod_without_the_image_of_the_native_module_does_not_start(
    product: &mut Product,
) -> Result<()> {
    natively(product, |product| {
        Box::pin(async move {
            product.scene.stop_registry();
            let started = product.start_second_proxy().await;
            product.stop_second_proxy();
            product.pass(&reader()).await?;
            product.scene.start_registry().await?;
            match started {
                Ok(()) => bail!("it starts without the module"),
                Err(error) => {
                    let said = format!("{error:#}");
                    ensure!(said.contains("registry.example.com"), "{said}");
                }
            }
            product.start_second_proxy().await?;
            let second = product.second_target();
            let served = product.until_status_at(&second, &reader(), 200).await;
            product.stop_second_proxy();
            served.map(drop)
        })
    })
    .await
}
