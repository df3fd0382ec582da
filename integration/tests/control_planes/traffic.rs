//! What a request goes through around the gate: sizes, paths, retries.

use anyhow::{Context as _, Result, ensure};
use integration::client::{Protocol, RawRequest};
use integration::drill;
use integration::token::Recipe;
use serde_json::{Value, json};

use crate::case::{List, cases, said, until};
use crate::cases::a_grant_that_is_gone_ends_in_no_backend;
use crate::product::{Kind, Product, by, reader};

cases![ALL:
    forms_paths_and_pushes_of_their_sizes_pass,
    what_must_not_be_sent_twice_is_not,
];

cases![OF_ISTIO:
    the_edge_profile_changes_nothing,
    a_listener_is_not_taken_while_a_bad_configuration_stands,
    a_grant_that_is_gone_ends_in_no_backend,
];

cases![OF_ENVOY_GATEWAY:
    files_are_applied_in_an_order_without_gaps,
    what_cannot_be_published_holds_up_all_that_comes_later,
];

pub const fn only(kind: Kind) -> List {
    match kind {
        Kind::Istio => OF_ISTIO,
        Kind::EnvoyGateway => OF_ENVOY_GATEWAY,
    }
}

async fn forms_paths_and_pushes_of_their_sizes_pass(product: &mut Product) -> Result<()> {
    sizes(product).await
}

async fn sizes(product: &Product) -> Result<()> {
    let scoped = product.configured(|config| {
        config["organizations"][0]["rbac"]["viewers"] =
            json!(["developers", {"group": "web", "labels": {"namespace": ["web"]}}]);
    });
    product.put(&scoped).await?;
    let form = |length: usize| {
        let start = "query=%7Bapp%3D%22a%22%7D&time=1&x=";
        let body = format!("{start}{}", "a".repeat(length - start.len()));
        let request = RawRequest::post("/loki/api/v1/query", body);
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        by(&["web"], request, "platform")
    };
    product.until_status(&form(1_000), 200).await?;
    let namespace = "/prometheus/config/v1/rules/a%2Fb";
    let rules = by(&["developers"], RawRequest::get(namespace), "platform");
    let agent = drill::fresh(Recipe::of("reader").claim("azp", "alloy"))?;
    let push = RawRequest::post("/loki/api/v1/push", vec![b'x'; 5 << 20]);
    let push = push.bearer(&agent).tenant("platform");
    for protocol in [Protocol::H1, Protocol::H2] {
        let pass = async |request: &RawRequest| {
            product.scene.log.clear();
            let path = || format!("{protocol:?}: {}", String::from_utf8_lossy(&request.path));
            let reply = request.send(&product.target(), protocol).await;
            let reply = reply.with_context(path)?;
            ensure!(reply.status == 200, "{}: {reply:?}", path());
            let mut all = product.scene.log.all();
            ensure!(all.len() == 1, "{all:?}");
            all.pop().context("a request")
        };
        let seen = pass(&form(200 << 10)).await?;
        let body = String::from_utf8_lossy(&seen.body).into_owned();
        ensure!(body.contains("namespace"), "{body}");
        let seen = pass(&rules).await?;
        ensure!(seen.path == namespace, "{seen:?}");
        let seen = pass(&push).await?;
        ensure!(seen.body_length == 5 << 20, "{} bytes", seen.body_length);
    }
    // As large as an agent's largest batch, which no buffer on the way holds as a whole.
    let large = RawRequest::post("/loki/api/v1/push", vec![b'x'; 64 << 20]);
    let seen = product
        .pass(&large.bearer(&agent).tenant("platform"))
        .await?;
    ensure!(seen.body_length == 64 << 20, "{} bytes", seen.body_length);
    let over = product.refuse(&form(300 << 10), 413).await?;
    // The words of docs/refusals.md.
    let words = "the body is too large: at most 256 KiB of parameters";
    ensure!(over.text().contains(words), "{over:?}");
    Ok(())
}

/// Writes and silences are tried again only where the backend cannot have seen them, if at all.
async fn what_must_not_be_sent_twice_is_not(product: &mut Product) -> Result<()> {
    product.pass(&reader()).await?;
    let dump = product.admin("/config_dump").await?;
    let dump: Value = serde_json::from_str(&dump).context("no JSON")?;
    let (mut once, mut again) = (0, 0);
    let mut open = vec![&dump];
    while let Some(value) = open.pop() {
        let paths = &value["match"];
        let path = ["path", "prefix", "path_separated_prefix"]
            .into_iter()
            .find_map(|kind| paths[kind].as_str());
        let leads = value["route"].is_object() && paths.to_string().contains("x-scopegate-backend");
        if let (Some(path), true) = (path, leads) {
            let policy = &value["route"]["retry_policy"];
            let tries = match (policy.is_object(), policy["num_retries"].as_u64()) {
                (false, _) => 0,
                (true, tries) => tries.unwrap_or(1),
            };
            let writes = path.ends_with("/push")
                || path.starts_with("/otlp/")
                || path.starts_with("/v1/")
                || path.contains("opentelemetry.proto.collector");
            let alerts = path == "/api/v1/alerts" || path.starts_with("/alertmanager");
            // After these the backend cannot have seen it.
            let unseen = policy["retry_on"] == "connect-failure,refused-stream";
            if writes || alerts {
                ensure!(tries == 0 || unseen, "{}: {path}: {policy}", value["name"]);
                once += 1;
            } else if tries > 0 {
                again += 1;
            }
        }
        match value {
            Value::Object(members) => open.extend(members.values()),
            Value::Array(elements) => open.extend(elements),
            _ => {}
        }
    }
    ensure!(once >= 9 && again >= 4, "{once} once, {again} again");
    Ok(())
}

/// Istio's own settings for gateways at the edge, in the mesh's configuration.
async fn the_edge_profile_changes_nothing(product: &mut Product) -> Result<()> {
    let edge = "defaultConfig: {connectionSettings: {profile: EDGE}}";
    let mesh = product.change_mesh(edge).await?;
    let outcome = async {
        let arrived = async || merges_slashes(product).await.unwrap_or_default();
        until(arrived, "a listener of the profile", product).await?;
        sizes(product).await
    };
    let outcome = outcome.await;
    product.put(&mesh).await?;
    outcome
}

/// Whether the listener that serves merges slashes, which the profile EDGE has it do and which is not patched.
async fn merges_slashes(product: &Product) -> Result<bool> {
    let dump = product
        .admin("/config_dump?resource=dynamic_listeners")
        .await?;
    let dump: Value = serde_json::from_str(&dump).context("no JSON")?;
    let listeners = dump["configs"].as_array().into_iter().flatten();
    let mut active = listeners.map(|listener| listener["active_state"].to_string());
    Ok(active.any(|active| active.contains("\"merge_slashes\":true")))
}

/// Nothing of it is lost: what was refused comes with a later change.
async fn a_listener_is_not_taken_while_a_bad_configuration_stands(
    product: &mut Product,
) -> Result<()> {
    let bad = product.configured(|config| config["mode"] = json!("enforced"));
    let told = "ADS:ECDS: ACK ERROR";
    let before = said(&product.plane_log(), told);
    product.put(&bad).await?;
    let logged = async || said(&product.plane_log(), told) > before;
    until(logged, told, product).await?;
    let edge = "defaultConfig: {connectionSettings: {profile: EDGE}}";
    let told = "ADS:LDS: ACK ERROR";
    let before = said(&product.plane_log(), told);
    let mesh = product.change_mesh(edge).await?;
    let logged = async || said(&product.plane_log(), told) > before;
    until(logged, told, product).await?;
    product.pass(&reader()).await?;
    let merges = async || merges_slashes(product).await.unwrap_or_default();
    ensure!(!merges().await, "it is taken");
    product.recover().await?;
    let more = "defaultConfig: {connectionSettings: {profile: EDGE, httpMaxConcurrentStreams: 99}}";
    product.change_mesh(more).await?;
    until(
        async || merges().await,
        "a listener of the profile",
        product,
    )
    .await?;
    product.put(&mesh).await
}

async fn files_are_applied_in_an_order_without_gaps(product: &mut Product) -> Result<()> {
    let log = product.plane_log();
    ensure!(!log.is_empty(), "no log");
    let gap = log
        .lines()
        .find(|line| line.contains("bypassing filter rule"));
    ensure!(gap.is_none(), "{gap:?}");
    Ok(())
}

async fn what_cannot_be_published_holds_up_all_that_comes_later(
    product: &mut Product,
) -> Result<()> {
    let newcomer = by(
        &["developers"],
        RawRequest::get("/loki/api/v1/labels"),
        "newco",
    );
    let with_it = product.configured(|config| {
        if let Some(tenants) = config["organizations"][0]["tenants"].as_array_mut() {
            tenants.push(json!("newco"));
        }
    });
    let find = |file: &str, kind: &str, name: &str| -> Result<Value> {
        let documents = product.shipped(file)?;
        let mut documents = documents.into_iter();
        documents
            .find(|it| it["kind"] == kind && it["metadata"]["name"] == name)
            .context("it is not shipped")
    };
    let filter = find("routes.yaml", "HTTPRouteFilter", "not-found")?;
    let backend = find("backends.yaml", "Backend", "loki")?;
    let mut odd_filter = filter.clone();
    odd_filter["spec"]["directResponse"]["statusCode"] = json!(99);
    let mut odd_backend = backend.clone();
    odd_backend["spec"]["endpoints"][0]["fqdn"]["port"] = json!(0);
    for (good, odd) in [(filter, odd_filter), (backend, odd_backend)] {
        let before = told(product);
        product.put(&odd).await?;
        until(async || told(product) > before, "a line", product).await?;
        product.put(&with_it).await?;
        tokio::time::sleep(std::time::Duration::from_secs(2)).await;
        product.refuse(&newcomer, 403).await?;
        product.pass(&reader()).await?;
        let condition = product.condition().await?;
        ensure!(
            condition.as_deref() == Some("Accepted=True Accepted"),
            "{condition:?}"
        );
        product.put(&good).await?;
        product.until_status(&newcomer, 200).await?;
        product.begin().await?;
        product.until_status(&newcomer, 403).await?;
    }
    Ok(())
}

/// How often Envoy Gateway has said so.
fn told(product: &Product) -> usize {
    let log = product.plane_log();
    log.matches("skipped sending it").count()
}
