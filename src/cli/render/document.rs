//! A deployment file: the gate's own document, and what stands in it beside that.

use std::collections::BTreeMap;

use serde_yaml_ng::{Mapping, Value};

use super::address::Address;
use super::deployment::{Deployment, Overrides, Servers, is_cluster, urls, variable};
use super::section::Problems;
use crate::authz::endpoint::Backend;
use crate::config::{Backends, Config, Environment, Problem};

/// A deployment file that has been understood.
#[derive(Debug)]
pub(super) struct Document {
    /// The gate's own document, with what variables say.
    pub(super) gate: Mapping,
    pub(super) deployment: Deployment,
    /// Which backends are enabled in it.
    pub(super) backends: Backends,
    /// Where its clusters lead, in the order in which they stand in it.
    pub(super) clusters: Vec<Reached>,
    /// The variables that the module must be able to read.
    pub(super) variables: Vec<String>,
    /// What variables have said otherwise than the file, for people.
    pub(super) overridden: Vec<String>,
}

impl Document {
    /// The enabled backends, and where they are.
    pub(super) fn servers(&self) -> impl Iterator<Item = (Backend, &Servers)> {
        let enabled = Backend::ALL
            .into_iter()
            .filter(|backend| self.backends.has(*backend));
        enabled.filter_map(|backend| Some((backend, self.deployment.servers(backend)?)))
    }
}

/// A cluster of the gate's own requests.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Reached {
    pub(super) name: String,
    pub(super) address: Address,
    pub(super) trusted_ca: String,
    /// Whether keys come from there.
    pub(super) keys: bool,
}

/// Reads a deployment file.
///
/// # Errors
/// Everything that is wrong with it.
pub(super) fn read(
    text: &str,
    variables: &BTreeMap<String, String>,
) -> Result<Document, Vec<Problem>> {
    let problems = Problems::default();
    let document = read_into(text, &Overrides(variables), &problems);
    match document {
        Some(document) if problems.is_empty() => Ok(document),
        _ => Err(problems.into_vec()),
    }
}

fn read_into(text: &str, overrides: &Overrides<'_>, problems: &Problems) -> Option<Document> {
    let value: Value = match serde_yaml_ng::from_str(text) {
        Ok(value) => value,
        Err(error) => {
            problems.add("", format!("not YAML: {error}"));
            return None;
        }
    };
    check_tree(&value, "", problems);
    let Value::Mapping(mut gate) = value else {
        problems.add("", "expected an object: a deployment file");
        return None;
    };
    let section = gate.shift_remove("deployment");
    if section.is_none() {
        problems.add("deployment", "missing: where the gate runs");
    }
    let deployment = Deployment::read(section.as_ref(), overrides, problems);
    let mut overridden = override_backends(&mut gate, overrides, problems);
    overridden.extend(overridden_urls(overrides));

    let clusters = clusters_of(&gate, &deployment, problems);
    let variables = variables_of(&gate);
    let config = parse(&gate, &variables, problems)?;
    if !config.forward.rewrite_paths {
        let text = "expected true: the routes that are printed match rewritten paths";
        problems.add("forward.rewrite_paths", text);
    }
    for backend in Backend::ALL {
        if config.backends.has(backend) && deployment.servers(backend).is_none() {
            let place = format!("deployment.backends.{}.url", backend.name());
            // One that is there and wrong has been told of.
            if problems.are_at(&place) || problems.are_at(&variable(backend, "url")) {
                continue;
            }
            let text = format!(
                "missing: the backend is enabled in backends.{}",
                backend.name()
            );
            problems.add(&place, text);
        }
    }
    Some(Document {
        gate,
        deployment,
        backends: config.backends,
        clusters,
        variables,
        overridden,
    })
}

/// The gate reads its document itself; what variables hold that it names is not known here.
fn parse(gate: &Mapping, variables: &[String], problems: &Problems) -> Option<Config> {
    let bytes = match serde_json::to_vec(gate) {
        Ok(bytes) => bytes,
        Err(error) => {
            problems.add("", error.to_string());
            return None;
        }
    };
    let values = variables
        .iter()
        .map(|name| (name.clone(), "unknown".to_owned()));
    match Config::parse(&bytes, &Environment::new(values)) {
        Ok(config) => Some(config),
        Err(found) => {
            for problem in found {
                problems.add(&problem.place, problem.text);
            }
            None
        }
    }
}

/// What YAML can say and JSON cannot.
fn check_tree(value: &Value, place: &str, problems: &Problems) {
    match value {
        Value::Tagged(tagged) => problems.add(place, format!("{} means nothing here", tagged.tag)),
        Value::Number(number) if number.as_f64().is_some_and(|it| !it.is_finite()) => {
            problems.add(place, "expected a number that is one");
        }
        Value::Sequence(elements) => {
            for (index, element) in elements.iter().enumerate() {
                check_tree(element, &format!("{place}[{index}]"), problems);
            }
        }
        Value::Mapping(members) => {
            for (name, member) in members {
                let Value::String(name) = name else {
                    problems.add(place, "expected texts as keys: put them between quotes");
                    continue;
                };
                let place = match place {
                    "" => name.clone(),
                    place => format!("{place}.{name}"),
                };
                check_tree(member, &place, problems);
            }
        }
        _ => {}
    }
}

/// Writes into the document what `SCOPEGATE_LOKI_ENABLED` and the like say.
fn override_backends(
    gate: &mut Mapping,
    overrides: &Overrides<'_>,
    problems: &Problems,
) -> Vec<String> {
    let mut said = Vec::new();
    for backend in Backend::ALL {
        let variable = variable(backend, "enabled");
        let Some(value) = overrides.get(&variable) else {
            continue;
        };
        let enabled = match value.to_ascii_lowercase().as_str() {
            "true" | "1" => true,
            "false" | "0" => false,
            _ => {
                problems.add(&variable, "expected true or false");
                continue;
            }
        };
        let backends = gate
            .entry("backends".into())
            .or_insert_with(|| Value::Mapping(Mapping::new()));
        // What is no object is told of by the gate.
        let Value::Mapping(backends) = backends else {
            continue;
        };
        let section = backends
            .entry(backend.name().into())
            .or_insert_with(|| Value::Mapping(Mapping::new()));
        if let Value::Mapping(section) = section {
            section.insert("enabled".into(), enabled.into());
            said.push(format!(
                "{variable} sets backends.{}.enabled",
                backend.name()
            ));
        }
    }
    said
}

fn overridden_urls(overrides: &Overrides<'_>) -> Vec<String> {
    let mut said = Vec::new();
    for backend in Backend::ALL {
        for name in urls(backend) {
            let variable = variable(backend, name);
            if overrides.get(&variable).is_some() {
                let name = format!("deployment.backends.{}.{name}", backend.name());
                said.push(format!("{variable} sets {name}"));
            }
        }
    }
    said
}

/// Where the gate's own requests go: the cluster of every source, and where that leads.
fn clusters_of(gate: &Mapping, deployment: &Deployment, problems: &Problems) -> Vec<Reached> {
    let mut clusters = Clusters {
        deployment,
        problems,
        found: Vec::new(),
    };
    let providers = gate.get("providers").and_then(Value::as_sequence);
    for (index, provider) in providers.into_iter().flatten().enumerate() {
        let Some(jwks) = provider.get("jwks") else {
            continue;
        };
        let url = match text_of(jwks, "uri") {
            Some(uri) => Some(uri),
            None if jwks.get("discovery").is_some() => issuer(provider),
            None => continue,
        };
        let place = format!("providers[{index}].jwks.cluster");
        clusters.add(jwks, &place, url, true);
    }
    if let Some(source) = gate.get("organizations_from") {
        let url = text_of(source, "uri");
        clusters.add(source, "organizations_from.cluster", url, false);
    }
    let projects = gate.get("projects");
    let directory = projects.and_then(|projects| projects.get("directory")?.get("http"));
    if let Some(directory) = directory {
        clusters.add(directory, "projects.directory.http.cluster", None, false);
    }
    for name in deployment.clusters.keys() {
        if !clusters.found.iter().any(|cluster| cluster.name == *name) {
            let place = format!("deployment.clusters.{name}");
            problems.add(&place, "not used: no cluster of the gate has that name");
        }
    }
    clusters.found
}

/// The issuer of a provider, or the first of several.
fn issuer(provider: &Value) -> Option<&str> {
    let several = || provider.get("issuers")?.get(0)?.as_str();
    text_of(provider, "issuer").or_else(several)
}

fn text_of<'a>(value: &'a Value, name: &str) -> Option<&'a str> {
    value.get(name)?.as_str()
}

struct Clusters<'a> {
    deployment: &'a Deployment,
    problems: &'a Problems,
    found: Vec<Reached>,
}

impl Clusters<'_> {
    /// The cluster of a source.
    fn add(&mut self, source: &Value, place: &str, url: Option<&str>, keys: bool) {
        // What is missing, or no text, is told of by the gate.
        let Some(name) = text_of(source, "cluster").map(ToOwned::to_owned) else {
            return;
        };
        if !is_cluster(&name) {
            self.problems.add(
                place,
                "expected a name of at most 60 letters, digits, _ and -",
            );
            return;
        }
        if TAKEN.contains(&name.as_str()) {
            self.problems.add(
                place,
                format!("{name} is the cluster of something else: take another name"),
            );
            return;
        }
        let said = self.deployment.clusters.get(&name);
        let address = match (said, url) {
            (Some(said), _) => said.address.clone(),
            // The gate may take a URL that no manifest can lead to.
            (None, Some(url)) => match Address::of_url(url) {
                Ok(address) => address,
                Err(text) => {
                    self.problems
                        .add(place, format!("it leads where {url} says: {text}"));
                    return;
                }
            },
            (None, None) => {
                let missing = format!("deployment.clusters.{name}.url");
                let text = format!("missing: where {place} leads, which nothing else says");
                self.problems.add(&missing, text);
                return;
            }
        };
        let trusted_ca = said.and_then(|said| said.trusted_ca.clone());
        let reached = Reached {
            trusted_ca: trusted_ca.unwrap_or_else(|| self.deployment.trusted_ca.clone()),
            name,
            address,
            keys,
        };
        match self
            .found
            .iter_mut()
            .find(|other| other.name == reached.name)
        {
            None => self.found.push(reached),
            Some(other) if other.address == reached.address => other.keys |= keys,
            Some(other) => {
                let text = format!(
                    "{} is already the cluster of {}: take another name, or say in deployment.clusters where it leads",
                    reached.name, other.address.host
                );
                self.problems.add(place, text);
            }
        }
    }
}

/// The variables in which secrets are that the document names, each once, in order.
fn variables_of(gate: &Mapping) -> Vec<String> {
    let mut found = Vec::new();
    let mut note = |source: Option<&Value>| {
        let name = source
            .and_then(|source| source.get("authorization"))
            .and_then(|authorization| authorization.get("environment"))
            .and_then(Value::as_str);
        if let Some(name) = name
            && !found.iter().any(|known| known == name)
        {
            found.push(name.to_owned());
        }
    };
    let providers = gate.get("providers").and_then(Value::as_sequence);
    for provider in providers.into_iter().flatten() {
        note(provider.get("jwks"));
    }
    note(gate.get("organizations_from"));
    found
}

/// Clusters that the printed files have for something else.
const TAKEN: [&str; 11] = [
    "loki",
    "loki_grpc",
    "mimir",
    "mimir_grpc",
    "tempo",
    "tempo_grpc",
    "tempo_otlp_http",
    "tempo_otlp_grpc",
    "admin",
    // Envoy Gateway's own.
    "prometheus_stats",
    "xds_cluster",
];
