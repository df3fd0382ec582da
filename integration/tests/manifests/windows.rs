//! No set of manifests lets clients that do not read use up the connections that all tenants share.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use integration::envoy::Envoy;
use integration::firehose::{Firehose, SlowReaders};
use integration::grpc::{GrpcClient, SEARCH, SearchRequest, SearchResponse};
use integration::issuer::Issuer;
use integration::{drill, yaml};
use serde_json::{Value, json};

use crate::documents::{Document, Set, list, of_kind, only, shipped, text};
use crate::gateway::merge;

integration::trials![
    all_streams_of_a_connection_fit_half_of_its_window,
    every_set_gives_grpc_backends_the_windows_of_the_shipped_bootstrap,
    beside_slow_readers_another_tenant_is_answered,
];

const OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

/// What `envoy/envoy.yaml` says of its gRPC backends, by the name of the cluster.
fn shipped_windows() -> Result<BTreeMap<String, Value>> {
    let bootstrap: Value = yaml::read(&shipped("envoy.yaml"))?;
    let mut found = BTreeMap::new();
    for cluster in list(&bootstrap["static_resources"]["clusters"]) {
        let options = h2(cluster);
        if !options.is_null() {
            found.insert(text(&cluster["name"])?.to_owned(), options.clone());
        }
    }
    ensure!(found.len() == 4, "{found:?}");
    Ok(found)
}

fn h2(cluster: &Value) -> &Value {
    &cluster["typed_extension_protocol_options"][OPTIONS]["explicit_http_config"]["http2_protocol_options"]
}

/// What a set changes about the cluster of that name, as Envoy reads it.
fn changes(set: Set, cluster: &Value) -> Result<Value> {
    let documents = set.documents()?;
    let mut changes = json!({});
    match set {
        Set::Istio => {
            let endpoint = &cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0];
            let address = &endpoint["endpoint"]["address"]["socket_address"];
            let patches = &only(&documents, "EnvoyFilter")?.spec()["configPatches"];
            for patch in list(patches) {
                let wanted = &patch["match"]["cluster"];
                let fits = wanted.is_null()
                    || wanted["service"] == address["address"]
                        && wanted["portNumber"] == address["port_value"];
                if patch["applyTo"] == json!("CLUSTER") && fits {
                    ensure!(patch["match"]["context"] == json!("GATEWAY"), "{patch}");
                    ensure!(patch["patch"]["operation"] == json!("MERGE"), "{patch}");
                    merge(&mut changes, &patch["patch"]["value"]);
                }
            }
        }
        Set::EnvoyGateway => {
            let policies: Vec<&Value> = of_kind(&documents, "BackendTrafficPolicy")
                .filter(|policy| policy.name() != "nowhere")
                .map(Document::spec)
                .collect();
            // One policy holds for a rule, so each must say all of it.
            for policy in &policies {
                for member in ["http2", "connection"] {
                    ensure!(policy[member] == policies[0][member], "{policy}");
                }
            }
            let policy = policies.first().context("no policy")?;
            changes["per_connection_buffer_limit_bytes"] =
                json!(bytes(&policy["connection"]["bufferLimit"])?);
            let http2 = &policy["http2"];
            changes["typed_extension_protocol_options"][OPTIONS] = json!({
                "@type": format!("type.googleapis.com/{OPTIONS}"),
                "explicit_http_config": {"http2_protocol_options": {
                    "max_concurrent_streams": http2["maxConcurrentStreams"],
                    "initial_stream_window_size": bytes(&http2["initialStreamWindowSize"])?,
                    "initial_connection_window_size": bytes(&http2["initialConnectionWindowSize"])?,
                }},
            });
        }
    }
    Ok(changes)
}

/// A quantity of Kubernetes, of the two kinds that are used.
fn bytes(quantity: &Value) -> Result<u64> {
    let quantity = text(quantity)?;
    let (number, unit) = quantity.split_at(quantity.len().saturating_sub(2));
    let unit = match unit {
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        _ => anyhow::bail!("{quantity}"),
    };
    Ok(number.parse::<u64>()? * unit)
}

/// What has been read is given back when it is half of the window, so the rest must do for what has not.
fn all_streams_of_a_connection_fit_half_of_its_window() -> Result<()> {
    for (name, options) in shipped_windows()? {
        let number = |name: &str| options[name].as_u64().context(name.to_owned());
        let streams = number("max_concurrent_streams")? * number("initial_stream_window_size")?;
        let connection = number("initial_connection_window_size")?;
        ensure!(
            streams <= connection / 2,
            "{name}: {streams} bytes in streams, {connection} in all"
        );
    }
    Ok(())
}

fn every_set_gives_grpc_backends_the_windows_of_the_shipped_bootstrap() -> Result<()> {
    let bootstrap: Value = yaml::read(&shipped("envoy.yaml"))?;
    let wanted = shipped_windows()?;
    for cluster in list(&bootstrap["static_resources"]["clusters"]) {
        let name = text(&cluster["name"])?;
        let limit = &cluster["per_connection_buffer_limit_bytes"];
        let is_backend = name != "idp" && name != "admin";
        ensure!(limit.is_u64() == is_backend, "{name}: {limit}");
        for set in Set::ALL.into_iter().filter(|_| is_backend) {
            let changes = changes(set, cluster)?;
            ensure!(
                changes["per_connection_buffer_limit_bytes"] == *limit,
                "{set:?}, {name}: {changes}"
            );
            // Envoy Gateway leaves the options out for a backend that speaks HTTP/1.1.
            if let Some(wanted) = wanted.get(name) {
                ensure!(h2(&changes) == wanted, "{set:?}, {name}: {changes}");
            } else if set == Set::Istio {
                ensure!(h2(&changes).is_null(), "{name} would speak HTTP/2");
            }
        }
    }
    Ok(())
}

/// More of them than fill the window that each set would have without the settings.
#[tokio::main]
async fn beside_slow_readers_another_tenant_is_answered() -> Result<()> {
    for set in Set::ALL {
        let corporate = Issuer::corporate().await?;
        let backend = Firehose::start("acme").await?;
        let settings = drill::settings(drill::configuration())?
            .concurrency(1)
            .cluster("idp", corporate.address())
            .cluster("tempo_grpc", backend.address())
            .edit(move |bootstrap| {
                let shipped: Value = yaml::read(&shipped("envoy.yaml"))?;
                let clusters = list(&shipped["static_resources"]["clusters"]);
                let named = |cluster: &&Value| cluster["name"] == json!("tempo_grpc");
                let theirs = clusters.iter().find(named).context("no tempo_grpc")?;
                let ours = bootstrap.cluster("tempo_grpc")?;
                for member in [
                    "typed_extension_protocol_options",
                    "per_connection_buffer_limit_bytes",
                ] {
                    ours[member] = Value::Null;
                }
                merge(ours, &changes(set, theirs)?);
                Ok(())
            });
        let envoy = Envoy::start(settings).await?;
        let gauge = "scopegate_jwks_keys";
        drill::wait_for_metric(&envoy, gauge, &[], PATIENCE, |keys| keys > 0.0).await?;
        tokio::time::sleep(Duration::from_millis(1_300)).await;
        let reader = format!("Bearer {}", drill::token_of("reader")?);
        let slow = SlowReaders::open(envoy.address(), &reader, "acme", SLOW).await?;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let other = format!("Bearer {}", drill::token_of("globex-reader")?);
        let metadata = [
            ("authorization", other.as_str()),
            ("x-scope-orgid", "globex"),
        ];
        let client = GrpcClient::connect(envoy.address()).await?;
        let search = client.server_streaming(SEARCH, &metadata, SearchRequest::default());
        let answer: Vec<SearchResponse> = tokio::time::timeout(PATIENCE, search)
            .await
            .with_context(|| {
                format!("{set:?}: no answer beside {} slow readers", slow.count())
            })??;
        ensure!(answer.len() == 1, "{set:?}: {answer:?}");
    }
    Ok(())
}

const SLOW: usize = 24;
const PATIENCE: Duration = Duration::from_secs(10);
