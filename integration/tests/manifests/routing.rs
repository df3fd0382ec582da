//! Every endpoint has exactly one route, by the precedence of the Gateway API, and no route leads past the gate.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use integration::scenario::{EndpointRow, endpoints};
use integration::yaml;
use scopegate::authz::endpoint::{BACKEND_NAMES, Surface, TABLE};
use serde_json::{Value, json};

use crate::documents::{Set, list, of_kind, only, shipped, text};
use crate::routes::{BACKEND_HEADER, PathMatch, Rule, Target, rules, seconds, winner};

integration::trials![
    every_endpoint_has_the_one_route_to_its_cluster,
    every_row_of_the_table_was_asked_for,
    escaped_slashes_stay_within_their_segment,
    every_rule_to_a_backend_asks_for_the_header_of_that_backend_and_takes_it_off,
    without_the_header_of_the_gate_no_path_leads_to_a_backend,
    a_backends_header_leads_to_that_backend_or_nowhere,
    a_backend_has_the_time_that_the_shipped_bootstrap_gives_it,
    streams_end_when_the_shipped_bootstrap_ends_them,
    routes_are_the_gateways_own,
];

/// The path that the gate forwards.
fn forwarded(row: &EndpointRow) -> &str {
    row.forwarded.as_ref().unwrap_or(&row.path)
}

fn cluster(row: &EndpointRow) -> &str {
    row.cluster.as_ref().unwrap_or(&row.backend)
}

fn every_endpoint_has_the_one_route_to_its_cluster() -> Result<()> {
    let endpoints = endpoints()?.endpoints;
    ensure!(endpoints.len() > 70, "{} endpoints", endpoints.len());
    for set in Set::ALL {
        let rules = rules(set)?;
        let mut used = BTreeSet::new();
        for row in &endpoints {
            let path = forwarded(row);
            let header = [(BACKEND_HEADER, row.backend.as_str())];
            let (rule, by) = winner(&rules, path, &header)?
                .with_context(|| format!("{set:?}: no route for {path}"))?;
            ensure!(
                rule.target == Target::Cluster(cluster(row).to_owned()),
                "{set:?}: {path} goes to {:?}, not to {}",
                rule.target,
                cluster(row)
            );
            used.insert(format!("{} {} {by:?}", rule.route, rule.name));
        }
        for rule in rules.iter().filter(|rule| leads_to_a_backend(rule)) {
            for one in &rule.matches {
                let title = format!("{} {} {one:?}", rule.route, rule.name);
                ensure!(used.contains(&title), "{set:?}: nothing takes {title}");
            }
        }
    }
    Ok(())
}

/// The rows above are the table's: none of it is left out.
fn every_row_of_the_table_was_asked_for() -> Result<()> {
    let endpoints = endpoints()?.endpoints;
    // The projects API becomes rows of the others before a route is chosen for a backend.
    for row in TABLE.iter().filter(|row| row.surface != Surface::Projects) {
        let fits = |path: &str| {
            let (mut template, mut path) = (row.template.split('/'), path.split('/'));
            loop {
                match (template.next(), path.next()) {
                    (None, None) => return true,
                    (Some(wanted), Some(is)) if wanted.starts_with('{') || wanted == is => {}
                    _ => return false,
                }
            }
        };
        ensure!(
            endpoints
                .iter()
                .any(|endpoint| endpoint.backend == row.backend.name() && fits(&endpoint.path)),
            "{} is not in the list",
            row.template
        );
    }
    Ok(())
}

/// Names may hold escaped slashes, which no route may take for others.
fn escaped_slashes_stay_within_their_segment() -> Result<()> {
    for set in Set::ALL {
        let rules = rules(set)?;
        for (backend, path, cluster) in [
            ("mimir", "/prometheus/config/v1/rules/a%2Fb/c%2fd", "mimir"),
            ("tempo", "/api/v2/search/tag/a%2Fb/values", "tempo"),
        ] {
            let (rule, _) = winner(&rules, path, &[(BACKEND_HEADER, backend)])?.context(path)?;
            ensure!(rule.target == Target::Cluster(cluster.to_owned()), "{path}");
        }
    }
    Ok(())
}

fn leads_to_a_backend(rule: &Rule) -> bool {
    matches!(rule.target, Target::Cluster(_))
}

fn every_rule_to_a_backend_asks_for_the_header_of_that_backend_and_takes_it_off() -> Result<()> {
    for set in Set::ALL {
        let rules = rules(set)?;
        let mut asking = 0;
        for rule in &rules {
            let title = format!("{set:?}: {}/{}", rule.route, rule.name);
            let Target::Cluster(cluster) = &rule.target else {
                continue;
            };
            for one in &rule.matches {
                let backend = one
                    .headers
                    .get(BACKEND_HEADER)
                    .with_context(|| format!("{title} does not ask for {BACKEND_HEADER}"))?;
                ensure!(BACKEND_NAMES.contains(&backend.as_str()), "{title}");
                ensure!(
                    cluster == backend || cluster.starts_with(&format!("{backend}_")),
                    "{title} leads {backend} to {cluster}"
                );
                ensure!(
                    one.path != PathMatch::Prefix("/".to_owned()),
                    "{title} takes every path"
                );
                asking += 1;
            }
            ensure!(
                rule.removed == [BACKEND_HEADER],
                "{title} lets the header through"
            );
        }
        ensure!(asking > 10, "{set:?}: {asking} matches");
    }
    Ok(())
}

fn without_the_header_of_the_gate_no_path_leads_to_a_backend() -> Result<()> {
    let table = endpoints()?;
    let never = table.never.iter().chain(&table.never_grpc);
    let never = never.map(|line| line.split_once(' ').map_or(line.as_str(), |(_, path)| path));
    let known = table
        .endpoints
        .iter()
        .flat_map(|row| [row.path.as_str(), forwarded(row)]);
    let paths: BTreeSet<&str> = known.chain(never).chain(["/", "/anything"]).collect();
    for set in Set::ALL {
        let rules = rules(set)?;
        for path in &paths {
            let first = winner(&rules, path, &[])?;
            if let Some((rule, _)) = first {
                ensure!(
                    !leads_to_a_backend(rule),
                    "{set:?}: {path} goes to {:?}",
                    rule.target
                );
            }
            // Envoy Gateway asks the plugin by the route of the request as it came in.
            ensure!(
                first.is_some() == (set == Set::EnvoyGateway),
                "{set:?}: {path} meets {first:?}"
            );
        }
    }
    Ok(())
}

/// Whoever names a backend, with whatever path, gets no other backend's.
fn a_backends_header_leads_to_that_backend_or_nowhere() -> Result<()> {
    let endpoints = endpoints()?.endpoints;
    for set in Set::ALL {
        let rules = rules(set)?;
        for row in &endpoints {
            for backend in BACKEND_NAMES {
                let header = [(BACKEND_HEADER, backend)];
                if let Some((rule, _)) = winner(&rules, forwarded(row), &header)? {
                    let fits = match &rule.target {
                        Target::Cluster(cluster) => cluster.starts_with(backend),
                        Target::Answer(_) | Target::Nowhere => true,
                    };
                    ensure!(fits, "{set:?}: {backend} leads to {:?}", rule.target);
                }
            }
        }
    }
    Ok(())
}

/// The times are those of `envoy/envoy.yaml`.
fn a_backend_has_the_time_that_the_shipped_bootstrap_gives_it() -> Result<()> {
    let theirs = shipped_routes()?;
    for row in &endpoints()?.endpoints {
        let path = forwarded(row);
        let route = theirs
            .iter()
            .find(|route| {
                let wanted = &route["match"];
                let header = &wanted["headers"][0]["string_match"]["exact"];
                *header == json!(row.backend)
                    && (wanted["path"] == json!(path)
                        || wanted["prefix"]
                            .as_str()
                            .is_some_and(|prefix| path.starts_with(prefix)))
            })
            .with_context(|| format!("no route for {path} in envoy.yaml"))?;
        let wanted = seconds(text(&route["route"]["timeout"])?)?;
        for set in Set::ALL {
            let rules = rules(set)?;
            let header = [(BACKEND_HEADER, row.backend.as_str())];
            let (rule, _) = winner(&rules, path, &header)?.context("no route")?;
            ensure!(
                rule.timeout == Some(wanted),
                "{set:?}: {path} has {:?} s, not {wanted}",
                rule.timeout
            );
        }
    }
    Ok(())
}

/// What bounds a stream when the gate does not: as in `envoy/envoy.yaml`.
fn streams_end_when_the_shipped_bootstrap_ends_them() -> Result<()> {
    let theirs: BTreeSet<u64> = shipped_routes()?
        .iter()
        .filter_map(|route| route["route"]["max_stream_duration"]["max_stream_duration"].as_str())
        .map(seconds)
        .collect::<Result<_>>()?;
    ensure!(theirs.len() == 1, "{theirs:?}");

    let istio = Set::Istio.documents()?;
    let patches = &only(&istio, "EnvoyFilter")?.spec()["configPatches"];
    let options = &patches[0]["patch"]["value"]["typed_config"]["common_http_protocol_options"];
    let ours = seconds(text(&options["max_stream_duration"])?)?;
    ensure!(theirs.contains(&ours), "Istio: {ours}");

    let gateway = Set::EnvoyGateway.documents()?;
    let policy = of_kind(&gateway, "BackendTrafficPolicy")
        .find(|policy| policy.name() == "streams")
        .context("no policy for streams")?
        .spec();
    let ours = seconds(text(&policy["timeout"]["http"]["maxStreamDuration"])?)?;
    ensure!(theirs.contains(&ours), "Envoy Gateway: {ours}");
    let targets = list(&policy["targetRefs"]);
    for (kind, name, rule) in [
        ("HTTPRoute", "loki", "tail"),
        ("GRPCRoute", "tempo-stream", "stream"),
    ] {
        ensure!(
            targets.iter().any(|target| {
                target["kind"] == json!(kind)
                    && target["name"] == json!(name)
                    && target["sectionName"] == json!(rule)
            }),
            "not on {name}/{rule}"
        );
    }
    Ok(())
}

fn shipped_routes() -> Result<Vec<Value>> {
    let bootstrap: Value = yaml::read(&shipped("envoy.yaml"))?;
    let manager = &bootstrap["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]
        ["typed_config"];
    let routes = list(&manager["route_config"]["virtual_hosts"][0]["routes"]);
    ensure!(!routes.is_empty(), "no routes in envoy.yaml");
    Ok(routes.to_vec())
}

/// Routes hang on the one listener, and only this namespace's may.
fn routes_are_the_gateways_own() -> Result<()> {
    for set in Set::ALL {
        let documents = set.documents()?;
        let gateway = only(&documents, "Gateway")?;
        let listener = match list(&gateway.spec()["listeners"]) {
            [listener] => listener,
            listeners => anyhow::bail!("{} listeners", listeners.len()),
        };
        ensure!(listener["protocol"] == json!("HTTPS"));
        ensure!(listener["allowedRoutes"]["namespaces"] == json!({"from": "Same"}));
        let kinds: Vec<&Value> = list(&listener["allowedRoutes"]["kinds"])
            .iter()
            .map(|kind| &kind["kind"])
            .collect();
        for kind in ["HTTPRoute", "GRPCRoute"] {
            for route in of_kind(&documents, kind) {
                let title = route.title();
                let spec = route.spec();
                ensure!(
                    spec["parentRefs"]
                        == json!([{"name": gateway.name(), "sectionName": listener["name"]}]),
                    "{title}"
                );
                ensure!(
                    spec["hostnames"] == json!([listener["hostname"]]),
                    "{title}"
                );
                let namespace = &route.value["metadata"]["namespace"];
                ensure!(
                    *namespace == gateway.value["metadata"]["namespace"],
                    "{title}"
                );
                ensure!(kinds.contains(&&json!(kind)), "{title}");
            }
        }
    }
    Ok(())
}
