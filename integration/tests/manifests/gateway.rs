//! The routes in a real Envoy, in the form in which Istio and Envoy Gateway write them. With the module every
//! endpoint reaches its backend; without it nobody does, whatever headers they send.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use integration::client::websocket::{self, Handshake};
use integration::client::{Protocol, RawRequest};
use integration::drill;
use integration::envoy::EnvoySettings;
use integration::envoy::bootstrap::Bootstrap;
use integration::issuer::Issuer;
use integration::scene::Scene;

use integration::scenario::{self, ExpectUpstream, UpstreamText, endpoints};
use integration::token;
use integration::upstream::TEST_ID;
use scopegate::authz::endpoint::BACKEND_NAMES;
use serde_json::{Value, json};

use crate::documents::{Set, list, of_kind, only, text};
use crate::routes::{BACKEND_HEADER, PathMatch, Rule, Target, rules};

integration::trials![
    through_istios_routes_every_endpoint_reaches_its_backend,
    through_envoy_gateways_routes_every_endpoint_reaches_its_backend,
    a_tail_is_a_websocket_and_nothing_else_is,
    without_the_plugin_nothing_reaches_a_backend,
    without_the_early_removal_a_forged_header_would_pass,
    the_header_removed_early_is_the_gates,
];

const FILTER_CONFIG: &str = "type.googleapis.com/envoy.config.route.v3.FilterConfig";
const HEADER_MUTATION: &str = "type.googleapis.com/envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation";

/// What stands before the backends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Gate {
    InPlace,
    /// Somebody has deleted the plugin.
    Missing,
    /// And the settings of the connection manager too.
    MissingWithoutHygiene,
}

async fn start(set: Set, gate: Gate) -> Result<Scene> {
    let mut settings = EnvoySettings::shipped()?.inline();
    if gate == Gate::InPlace {
        settings = settings
            .wasm(drill::module()?)
            .configuration(scenario::config("legacy")?);
    }
    let settings = settings.edit(move |bootstrap| write(set, gate, bootstrap));
    Scene::start_with(settings, Issuer::corporate().await?).await
}

/// Put the set's routes and settings where those of the shipped bootstrap are.
fn write(set: Set, gate: Gate, bootstrap: &mut Bootstrap) -> Result<()> {
    if set == Set::EnvoyGateway {
        let nowhere = nowhere(set)?;
        list_of(&mut bootstrap.value()["static_resources"]["clusters"])?.push(nowhere);
    }
    let routes = routes(set, gate)?;
    let manager = bootstrap.connection_manager()?;
    let mut written = json!({
        "route_config": {
            "name": "observability",
            "virtual_hosts": [{"name": "observability", "domains": ["*"], "routes": routes}],
        },
    });
    for kept in ["@type", "stat_prefix", "access_log", "http_filters"] {
        written[kept] = manager[kept].take();
    }
    match set {
        Set::Istio => {
            written["normalize_path"] = json!(true);
            written["stream_idle_timeout"] = json!("0s");
            written["upgrade_configs"] = json!([{"upgrade_type": "websocket"}]);
        }
        Set::EnvoyGateway => {
            written["normalize_path"] = json!(true);
            for filter in list_of(&mut written["http_filters"])? {
                if filter["name"] == json!("scopegate") {
                    filter["disabled"] = json!(true);
                }
            }
        }
    }
    if gate != Gate::MissingWithoutHygiene {
        hygiene(set, &mut written)?;
    }
    *manager = written;
    Ok(())
}

/// What the set says about the connection manager.
fn hygiene(set: Set, manager: &mut Value) -> Result<()> {
    let documents = set.documents()?;
    match set {
        Set::Istio => {
            let filter = only(&documents, "EnvoyFilter")?.spec();
            let patches = list(&filter["configPatches"]);
            ensure!(patches[0]["applyTo"] == json!("NETWORK_FILTER"));
            ensure!(patches[0]["patch"]["operation"] == json!("MERGE"));
            merge(manager, &patches[0]["patch"]["value"]["typed_config"]);
        }
        Set::EnvoyGateway => {
            let policy = only(&documents, "ClientTrafficPolicy")?.spec();
            let mutations: Vec<Value> = list(&policy["headers"]["earlyRequestHeaders"]["remove"])
                .iter()
                .map(|name| json!({"remove": name}))
                .collect();
            ensure!(!mutations.is_empty(), "no header is removed early");
            ensure!(policy["path"]["disableMergeSlashes"] == json!(true));
            ensure!(policy["path"]["escapedSlashesAction"] == json!("KeepUnchanged"));
            ensure!(policy["headers"]["withUnderscoresAction"] == json!("DropHeader"));
            manager["path_with_escaped_slashes_action"] = json!("KEEP_UNCHANGED");
            manager["common_http_protocol_options"] =
                json!({"headers_with_underscores_action": "DROP_HEADER"});
            manager["early_header_mutation_extensions"] = json!([{
                "name": "envoy.http.early_header_mutation.header_mutation",
                "typed_config": {"@type": HEADER_MUTATION, "mutations": mutations},
            }]);
        }
    }
    Ok(())
}

/// Messages are merged, lists are joined, the rest is replaced: as protobuf merges.
pub fn merge(into: &mut Value, patch: &Value) {
    match (into, patch) {
        (Value::Object(into), Value::Object(patch)) => {
            for (name, value) in patch {
                merge(into.entry(name).or_insert(Value::Null), value);
            }
        }
        (Value::Array(into), Value::Array(patch)) => into.extend(patch.iter().cloned()),
        (into, patch) => *into = patch.clone(),
    }
}

/// The routes of the set, in their order of precedence.
fn routes(set: Set, gate: Gate) -> Result<Vec<Value>> {
    let rules = rules(set)?;
    let mut matches: Vec<_> = rules
        .iter()
        .flat_map(|rule| rule.matches.iter().map(move |one| (one, rule)))
        .collect();
    matches.sort_by_key(|(one, _)| std::cmp::Reverse(one.precedence()));
    matches
        .into_iter()
        .map(|(one, rule)| {
            let mut wanted = match &one.path {
                PathMatch::Exact(path) => json!({"path": path}),
                PathMatch::Prefix(path) if path == "/" => json!({"prefix": "/"}),
                PathMatch::Prefix(path) => json!({"path_separated_prefix": path}),
            };
            wanted["headers"] = one
                .headers
                .iter()
                .map(|(name, value)| json!({"name": name, "string_match": {"exact": value}}))
                .collect();
            let mut route = json!({
                "match": wanted,
                "request_headers_to_remove": rule.removed,
            });
            action(set, rule, &mut route);
            if set == Set::EnvoyGateway && gate == Gate::InPlace {
                let on = json!({"@type": FILTER_CONFIG, "config": {}});
                route["typed_per_filter_config"] = json!({"scopegate": on});
            }
            Ok(route)
        })
        .collect()
}

fn action(set: Set, rule: &Rule, route: &mut Value) {
    let cluster = match &rule.target {
        Target::Answer(status) => {
            route["direct_response"] = json!({"status": status});
            return;
        }
        Target::Cluster(cluster) => cluster.as_str(),
        Target::Nowhere => "nowhere",
    };
    let timeout = format!("{}s", rule.timeout.unwrap_or(15));
    route["route"] = json!({"cluster": cluster, "timeout": timeout});
    // Istio allows websockets everywhere, Envoy Gateway on routes that lead to HTTP/1.1.
    if set == Set::EnvoyGateway && rule.kind == "HTTPRoute" {
        route["route"]["upgrade_configs"] = json!([{"upgrade_type": "websocket"}]);
    }
}

/// The cluster of the Backend that takes no request, with the limits of its policy.
fn nowhere(set: Set) -> Result<Value> {
    let documents = set.documents()?;
    let backend = of_kind(&documents, "Backend")
        .find(|backend| backend.name() == "nowhere")
        .context("no Backend nowhere")?;
    let policy = of_kind(&documents, "BackendTrafficPolicy")
        .find(|policy| policy.name() == "nowhere")
        .context("no policy for nowhere")?;
    let limits = &policy.spec()["circuitBreaker"];
    let ip = &backend.spec()["endpoints"][0]["ip"];
    let address = json!({"socket_address": {"address": ip["address"], "port_value": ip["port"]}});
    Ok(json!({
        "name": "nowhere",
        "type": "STATIC",
        "connect_timeout": "1s",
        "circuit_breakers": {"thresholds": [{
            "max_connections": limits["maxConnections"],
            "max_pending_requests": limits["maxPendingRequests"],
            "max_requests": limits["maxParallelRequests"],
            "max_retries": limits["maxParallelRetries"],
        }]},
        "load_assignment": {
            "cluster_name": "nowhere",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
        },
    }))
}

fn list_of(value: &mut Value) -> Result<&mut Vec<Value>> {
    value.as_array_mut().context("no list")
}

async fn every_endpoint_reaches_its_backend(set: Set) -> Result<()> {
    let scene = start(set, Gate::InPlace).await?;
    drill::warm(&scene.envoy).await?;
    let mut reached = 0;
    let mut problems = Vec::new();
    for (number, scenario) in endpoints()?.scenarios().into_iter().enumerate() {
        let prepared = scenario.prepare("endpoints.yaml", token::now())?;
        for protocol in &scenario.protocols {
            let id = format!("{number}-{protocol:?}");
            let request = prepared.request.clone().header(TEST_ID, id.as_str());
            let reply = request.send(&scene.envoy.target(), *protocol).await?;
            let seen = scene.log.take(&id);
            let wanted = match &scenario.expect.upstream {
                Some(UpstreamText::Request(wanted)) => Some(wanted.as_ref()),
                _ => None,
            };
            // Switched on here for all, so the rows that show it switched off do not hold.
            if wanted.is_none() && scenario.request.path.bytes()?.starts_with(b"/api/prom") {
                continue;
            }
            match (wanted, seen.as_slice()) {
                (None, []) => {}
                (Some(wanted), [seen]) => {
                    reached += 1;
                    if seen.backend != cluster_of(wanted)?
                        || Some(&seen.path) != wanted.path.as_ref()
                        || !seen.header(BACKEND_HEADER).is_empty()
                    {
                        problems.push(format!(
                            "{}: {} at {}",
                            scenario.name, seen.path, seen.backend
                        ));
                    }
                }
                (_, seen) => problems.push(format!(
                    "{} [{protocol:?}]: {}, seen {} times",
                    scenario.name,
                    reply.status,
                    seen.len()
                )),
            }
        }
    }
    ensure!(problems.is_empty(), "{set:?}: {problems:#?}");
    ensure!(
        reached > 150,
        "{set:?}: only {reached} requests reached a backend"
    );
    drill::check_health(&scene.envoy).await
}

fn cluster_of(wanted: &ExpectUpstream) -> Result<&str> {
    let cluster = wanted.cluster.as_ref().or(wanted.backend.as_ref());
    cluster.map(String::as_str).context("no cluster")
}

#[tokio::main]
async fn through_istios_routes_every_endpoint_reaches_its_backend() -> Result<()> {
    every_endpoint_reaches_its_backend(Set::Istio).await
}

#[tokio::main]
async fn through_envoy_gateways_routes_every_endpoint_reaches_its_backend() -> Result<()> {
    every_endpoint_reaches_its_backend(Set::EnvoyGateway).await
}

#[tokio::main]
async fn a_tail_is_a_websocket_and_nothing_else_is() -> Result<()> {
    for set in Set::ALL {
        let scene = start(set, Gate::InPlace).await?;
        drill::warm(&scene.envoy).await?;
        let bearer = format!("Bearer {}", drill::token_of("reader")?);
        for (path, open) in [
            ("/loki/api/v1/tail?query=%7Ba%3D%22b%22%7D", true),
            ("/api/prom/tail?query=%7Ba%3D%22b%22%7D", true),
            ("/loki/api/v1/labels", false),
        ] {
            let headers = [
                ("authorization", bearer.as_str()),
                ("x-scope-orgid", "acme"),
                (TEST_ID, path),
            ];
            let handshake = websocket::open(scene.envoy.address(), path, &headers).await?;
            let seen = scene.log.take(path);
            match handshake {
                Handshake::Open(_) => {
                    ensure!(open, "{set:?}: {path} was opened");
                    ensure!(seen.len() == 1 && seen[0].backend == "loki", "{seen:?}");
                }
                Handshake::Refused(reply) => {
                    ensure!(!open, "{set:?}: {path} was refused, {}", reply.status());
                    ensure!(seen.is_empty(), "{set:?}: {path} was refused too late");
                }
            }
        }
    }
    Ok(())
}

/// Requests that name a backend themselves, by every path there is; how many came through.
async fn forged(scene: &Scene) -> Result<BTreeMap<String, usize>> {
    let mut through = BTreeMap::new();
    let mut number = 0;
    for row in endpoints()?.endpoints {
        let grpc = row.path.contains("opentelemetry.proto") || row.path.contains("tempopb");
        let protocol = if grpc { Protocol::H2 } else { Protocol::H1 };
        for path in [Some(&row.path), row.forwarded.as_ref()]
            .into_iter()
            .flatten()
        {
            for backend in BACKEND_NAMES.into_iter().map(Some).chain([None]) {
                number += 1;
                let id = format!("forged-{number}");
                let method = row.methods.first().context("no method")?;
                let mut request = RawRequest::new(method, path)
                    .tenant("acme")
                    .bearer(&drill::token_of("admin")?)
                    .header(TEST_ID, id.as_str());
                if let Some(backend) = backend {
                    request = request
                        .header(BACKEND_HEADER, backend)
                        .header("X_Scopegate_Backend", backend);
                }
                if grpc {
                    request = request
                        .header("content-type", "application/grpc")
                        .header("te", "trailers");
                }
                let reply = request.send(&scene.envoy.target(), protocol).await?;
                if scene.log.take(&id).is_empty() {
                    // 200 is gRPC's way of saying 404.
                    let refused =
                        [404, 503].contains(&reply.status) || (grpc && reply.status == 200);
                    ensure!(refused, "{path}: {}", reply.status);
                } else {
                    *through.entry(path.to_owned()).or_default() += 1;
                }
            }
        }
    }
    Ok(through)
}

#[tokio::main]
async fn without_the_plugin_nothing_reaches_a_backend() -> Result<()> {
    for set in Set::ALL {
        let scene = start(set, Gate::Missing).await?;
        let through = forged(&scene).await?;
        ensure!(through.is_empty(), "{set:?}: {through:?}");
    }
    Ok(())
}

/// What the test above would see if the header were not removed before routing.
#[tokio::main]
async fn without_the_early_removal_a_forged_header_would_pass() -> Result<()> {
    for set in Set::ALL {
        let scene = start(set, Gate::MissingWithoutHygiene).await?;
        ensure!(forged(&scene).await?.len() > 50, "{set:?}");
    }
    Ok(())
}

/// The mutation stands for what Istio and Envoy Gateway say by the header's name.
fn the_header_removed_early_is_the_gates() -> Result<()> {
    for set in Set::ALL {
        let mut manager = json!({});
        hygiene(set, &mut manager)?;
        let mutations =
            &manager["early_header_mutation_extensions"][0]["typed_config"]["mutations"];
        ensure!(text(&mutations[0]["remove"])? == BACKEND_HEADER, "{set:?}");
    }
    Ok(())
}
