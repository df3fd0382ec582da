//! Routes of the Gateway API as a table, and the search for the one that takes a request.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use integration::yaml;
use serde_json::{Value, json};

use crate::documents::{Document, Set, list, of_kind, shipped, text};

/// Set by the gate alone.
pub const BACKEND_HEADER: &str = "x-scopegate-backend";

/// One rule of an HTTPRoute or a GRPCRoute.
#[derive(Clone, Debug)]
pub struct Rule {
    pub kind: String,
    pub route: String,
    pub name: String,
    pub matches: Vec<Match>,
    pub target: Target,
    /// Headers that go before the backend.
    pub removed: Vec<String>,
    /// Seconds for the whole answer; zero is no limit.
    pub timeout: Option<u64>,
}

/// Where a rule leads.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Target {
    /// The cluster of that name in `envoy/envoy.yaml`: the address is the same.
    Cluster(String),
    /// A status of Envoy's own.
    Answer(u16),
    /// An address that takes no request.
    Nowhere,
}

/// One of the matches of a rule.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Match {
    pub path: PathMatch,
    pub headers: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub enum PathMatch {
    Exact(String),
    /// Whole segments.
    Prefix(String),
}

impl PathMatch {
    fn takes(&self, path: &str) -> bool {
        match self {
            PathMatch::Exact(exact) => path == exact,
            PathMatch::Prefix(prefix) => {
                let prefix = prefix.trim_end_matches('/');
                path.strip_prefix(prefix)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            }
        }
    }
}

impl Match {
    fn takes(&self, path: &str, headers: &[(&str, &str)]) -> bool {
        self.path.takes(path)
            && self.headers.iter().all(|(name, value)| {
                headers
                    .iter()
                    .any(|(given, is)| given == name && is == value)
            })
    }

    /// The Gateway API's order: exact paths, then longer prefixes, then more headers.
    pub fn precedence(&self) -> (bool, usize, usize) {
        let (exact, length) = match &self.path {
            PathMatch::Exact(path) => (true, path.len()),
            PathMatch::Prefix(path) => (false, path.len()),
        };
        (exact, length, self.headers.len())
    }
}

/// The rule that takes a request, and by which of its matches; an error where two are as good.
pub fn winner<'a>(
    rules: &'a [Rule],
    path: &str,
    headers: &[(&str, &str)],
) -> Result<Option<(&'a Rule, &'a Match)>> {
    let mut taking: Vec<(&Rule, &Match)> = rules
        .iter()
        .flat_map(|rule| rule.matches.iter().map(move |one| (rule, one)))
        .filter(|(_, one)| one.takes(path, headers))
        .collect();
    taking.sort_by_key(|(_, one)| one.precedence());
    if let [.., (second, lower), (first, upper)] = taking.as_slice() {
        ensure!(
            lower.precedence() != upper.precedence(),
            "{path} {headers:?}: {}/{} and {}/{} are as good",
            first.route,
            first.name,
            second.route,
            second.name
        );
    }
    Ok(taking.pop())
}

/// All rules of a set.
pub fn rules(set: Set) -> Result<Vec<Rule>> {
    let documents = set.documents()?;
    let clusters = clusters()?;
    let mut rules = Vec::new();
    for kind in ["HTTPRoute", "GRPCRoute"] {
        for route in of_kind(&documents, kind) {
            for rule in list(&route.spec()["rules"]) {
                let read = read(route, rule, &documents, &clusters);
                rules.push(read.with_context(|| route.title())?);
            }
        }
    }
    Ok(rules)
}

fn read(
    route: &Document,
    rule: &Value,
    documents: &[Document],
    clusters: &BTreeMap<String, String>,
) -> Result<Rule> {
    let name = text(&rule["name"])?.to_owned();
    let matches: Vec<Match> = list(&rule["matches"])
        .iter()
        .map(|one| read_match(route.kind(), one))
        .collect::<Result<_>>()?;
    // A rule without matches takes everything.
    ensure!(!matches.is_empty(), "{name}: no matches");
    let mut removed = Vec::new();
    let mut answer = None;
    for filter in list(&rule["filters"]) {
        match text(&filter["type"])? {
            "RequestHeaderModifier" => {
                for header in list(&filter["requestHeaderModifier"]["remove"]) {
                    removed.push(text(header)?.to_owned());
                }
            }
            "ExtensionRef" => {
                let wanted = &filter["extensionRef"]["name"];
                let filter = of_kind(documents, "HTTPRouteFilter")
                    .find(|filter| filter.value["metadata"]["name"] == *wanted)
                    .with_context(|| format!("{name}: no filter {wanted}"))?;
                let status = &filter.spec()["directResponse"]["statusCode"];
                answer = Some(u16::try_from(status.as_u64().context("no status")?)?);
            }
            other => bail!("{name}: a filter {other}"),
        }
    }
    let target = match (answer, list(&rule["backendRefs"])) {
        (Some(status), []) => Target::Answer(status),
        (None, [backend]) => target(backend, documents, clusters)?,
        (_, backends) => bail!("{name}: {} backends", backends.len()),
    };
    let timeout = match rule["timeouts"]["request"].as_str() {
        Some(timeout) => Some(seconds(timeout)?),
        None => policy_timeout(route, &name, documents)?,
    };
    Ok(Rule {
        kind: route.kind().to_owned(),
        route: route.name().to_owned(),
        name,
        matches,
        target,
        removed,
        timeout,
    })
}

fn read_match(kind: &str, one: &Value) -> Result<Match> {
    let path = if kind == "GRPCRoute" {
        let service = text(&one["method"]["service"])?;
        match one["method"]["method"].as_str() {
            Some(method) => PathMatch::Exact(format!("/{service}/{method}")),
            None => PathMatch::Prefix(format!("/{service}")),
        }
    } else {
        let path = text(&one["path"]["value"])?.to_owned();
        match text(&one["path"]["type"])? {
            "Exact" => PathMatch::Exact(path),
            "PathPrefix" => PathMatch::Prefix(path),
            other => bail!("a path of type {other}"),
        }
    };
    let mut headers = BTreeMap::new();
    for header in list(&one["headers"]) {
        // Exact is the default, and a pattern would be too wide.
        ensure!(header["type"].is_null() || header["type"] == json!("Exact"));
        headers.insert(
            text(&header["name"])?.to_owned(),
            text(&header["value"])?.to_owned(),
        );
    }
    for member in one.as_object().context("no match")?.keys() {
        ensure!(
            ["path", "headers", "method"].contains(&member.as_str()),
            "a match by {member}"
        );
    }
    Ok(Match { path, headers })
}

fn target(
    backend: &Value,
    documents: &[Document],
    clusters: &BTreeMap<String, String>,
) -> Result<Target> {
    let name = text(&backend["name"])?;
    let address = if backend["kind"] == json!("Backend") {
        let backend = of_kind(documents, "Backend")
            .find(|document| document.name() == name)
            .with_context(|| format!("no Backend {name}"))?;
        let endpoint = match list(&backend.spec()["endpoints"]) {
            [endpoint] => endpoint,
            endpoints => bail!("{name}: {} endpoints", endpoints.len()),
        };
        if endpoint["ip"].is_object() {
            return Ok(Target::Nowhere);
        }
        let fqdn = &endpoint["fqdn"];
        format!("{}:{}", text(&fqdn["hostname"])?, fqdn["port"])
    } else {
        let namespace = text(&backend["namespace"])?;
        granted(namespace, name, documents)?;
        format!("{name}.{namespace}.svc.cluster.local:{}", backend["port"])
    };
    let cluster = clusters
        .get(&address)
        .with_context(|| format!("{address} is no address of envoy.yaml"))?;
    Ok(Target::Cluster(cluster.clone()))
}

/// The Service's namespace allows it.
fn granted(namespace: &str, service: &str, documents: &[Document]) -> Result<()> {
    let granted = of_kind(documents, "ReferenceGrant")
        .filter(|grant| grant.value["metadata"]["namespace"] == json!(namespace))
        .flat_map(|grant| list(&grant.spec()["to"]))
        .any(|to| to["kind"] == json!("Service") && to["name"] == json!(service));
    ensure!(granted, "no ReferenceGrant for {service} in {namespace}");
    Ok(())
}

/// Envoy Gateway's timeout for a rule: of the policy for the rule, else of the one for the Gateway.
fn policy_timeout(route: &Document, rule: &str, documents: &[Document]) -> Result<Option<u64>> {
    let policy = |wanted: &dyn Fn(&Value) -> bool| {
        of_kind(documents, "BackendTrafficPolicy")
            .find(|policy| list(&policy.spec()["targetRefs"]).iter().any(wanted))
    };
    let own = policy(&|target| {
        target["kind"] == json!(route.kind())
            && target["name"] == json!(route.name())
            && target["sectionName"] == json!(rule)
    });
    let general = policy(&|target| target["kind"] == json!("Gateway"));
    own.or(general)
        .and_then(|policy| policy.spec()["timeout"]["http"]["requestTimeout"].as_str())
        .map(seconds)
        .transpose()
}

/// The clusters of the shipped bootstrap by their address.
fn clusters() -> Result<BTreeMap<String, String>> {
    let bootstrap: Value = yaml::read(&shipped("envoy.yaml"))?;
    list(&bootstrap["static_resources"]["clusters"])
        .iter()
        .map(|cluster| {
            let address = &cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]
                ["address"]["socket_address"];
            let address = format!("{}:{}", text(&address["address"])?, address["port_value"]);
            Ok((address, text(&cluster["name"])?.to_owned()))
        })
        .collect()
}

/// `300s`, `5m`, `1h`.
pub fn seconds(duration: &str) -> Result<u64> {
    let (number, unit) = duration.split_at(duration.len().saturating_sub(1));
    let number: u64 = number.parse().with_context(|| duration.to_owned())?;
    Ok(number
        * match unit {
            "s" => 1,
            "m" => 60,
            "h" => 3600,
            _ => bail!("a duration {duration}"),
        })
}
