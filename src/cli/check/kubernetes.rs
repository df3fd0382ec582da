//! Resources of Kubernetes, Istio and Envoy Gateway.

use std::rc::Rc;

use super::envoy::{self, scalar_text, variable, warn_of_open};
use super::fault::Fault;
use super::found::{Found, Host, Machine};
use super::source::Source;
use super::tree::{Node, Value};
use super::{dynamic, embedded, place, rules};

/// The outcome of reading a resource.
#[derive(Default)]
pub(super) struct Resource {
    /// Whether something in it belongs to the gate.
    pub(super) ours: bool,
    /// Texts in it that may be files of their own.
    pub(super) files: Vec<Rc<Source>>,
}

/// Whether a document is a resource of Kubernetes.
pub(super) fn is_resource(root: &Node) -> bool {
    let text = |name: &str| root.get(name).is_some_and(|value| value.text().is_some());
    text("kind") && text("apiVersion")
}

/// Reads a resource. `root` is the document that contains it: the resource itself, or a list of
/// resources.
pub(super) fn read(
    source: &Rc<Source>,
    root: &Rc<Node>,
    resource: &Rc<Node>,
    found: &mut Found,
) -> Resource {
    let kind = resource.get("kind").and_then(|kind| kind.text());
    let spec = resource.get("spec");
    let reader = Reader { source, root };
    let ours = match (kind.unwrap_or_default(), spec) {
        ("ConfigMap", _) => {
            return Resource {
                ours: false,
                files: reader.files(resource),
            };
        }
        (kind, _) if kind.ends_with("List") => {
            let items = resource.get("items");
            let mut all = Resource::default();
            for item in items.map_or(&[][..], |items| items.elements()) {
                if is_resource(item) {
                    let one = read(source, root, item, found);
                    all.ours |= one.ours;
                    all.files.extend(one.files);
                }
            }
            return all;
        }
        ("WasmPlugin", Some(spec)) => reader.plugin(resource, spec, found),
        ("EnvoyFilter", Some(spec)) => {
            for patch in spec.list("configPatches") {
                note_patched_cluster(patch, found);
            }
            envoy::read(source, root, spec, Host::Istio, found)
        }
        ("EnvoyExtensionPolicy", Some(spec)) => reader.policy(spec, found),
        ("EnvoyProxy", Some(spec)) => reader.proxy(spec, found),
        ("ServiceEntry", Some(spec)) => {
            note_entry(spec, found);
            false
        }
        ("Backend", Some(spec)) => {
            note_backend(resource, spec, found);
            false
        }
        ("HTTPRoute" | "GRPCRoute", Some(spec)) => rules::of_gateway_api(source, root, spec, found),
        ("VirtualService", Some(spec)) => rules::of_istio(source, root, spec, found),
        ("Deployment" | "DaemonSet" | "StatefulSet" | "Pod", Some(spec)) => {
            reader.containers(spec, found);
            false
        }
        _ => false,
    };
    Resource {
        ours,
        files: Vec::new(),
    }
}

struct Reader<'a> {
    source: &'a Rc<Source>,
    root: &'a Rc<Node>,
}

impl Reader<'_> {
    /// The texts of a `ConfigMap`.
    fn files(&self, resource: &Node) -> Vec<Rc<Source>> {
        let data = resource.get("data");
        let members = data.map_or(&[][..], |data| data.members());
        let inner = members
            .iter()
            .filter_map(|member| match &member.value.value {
                Value::Text(text) => Some(Rc::new(self.source.inside(&member.value.span, text))),
                _ => None,
            });
        inner.collect()
    }

    fn plugin(&self, resource: &Node, spec: &Rc<Node>, found: &mut Found) -> bool {
        let config = spec.get("pluginConfig");
        let named = [
            spec.text_of("url").unwrap_or_default(),
            spec.text_of("pluginName").unwrap_or_default(),
            resource
                .at(&["metadata", "name"])
                .and_then(Node::text)
                .unwrap_or_default(),
        ];
        let ours = named.iter().any(|name| name.contains("scopegate"))
            || config.is_some_and(|config| embedded::kind(config).is_some());
        if !ours {
            return false;
        }
        note_gateways(spec, found);
        if let Some(member) = spec.member("failStrategy") {
            warn_of_open(
                self.source,
                self.root,
                member,
                "FAIL_OPEN",
                "FAIL_CLOSE",
                found,
            );
        }
        let mut machine = Machine {
            list: "vmConfig.env, with valueFrom: HOST",
            ..Machine::default()
        };
        let variables = spec.at(&["vmConfig", "env"]);
        for entry in variables.map_or(&[][..], Node::elements) {
            let Some(name) = entry.get("name") else {
                continue;
            };
            let from_host = entry.text_of("valueFrom") == Some("HOST");
            let value = entry.get("value").and_then(|value| scalar_text(value));
            let list = if from_host {
                &mut machine.passed
            } else {
                &mut machine.given
            };
            list.extend(variable(self.source, self.root, name, value));
        }
        self.take(spec, "pluginConfig", Host::Istio, machine, found);
        true
    }

    fn policy(&self, spec: &Rc<Node>, found: &mut Found) -> bool {
        let mut any = false;
        for module in spec.list("wasm") {
            let config = module.get("config");
            let mut named = false;
            for name in ["name", "rootID", "code"] {
                if let Some(node) = module.get(name) {
                    node.walk(&mut |node| {
                        named |= node.text().is_some_and(|text| text.contains("scopegate"));
                    });
                }
            }
            let known = config.is_some_and(|config| embedded::kind(config).is_some());
            if !named && !known {
                continue;
            }
            any = true;
            if let Some(member) = module.member("failOpen") {
                warn_of_open(
                    self.source,
                    self.root,
                    member,
                    "true",
                    "failOpen: false",
                    found,
                );
            }
            let mut machine = Machine {
                list: "env.hostKeys of the module",
                ..Machine::default()
            };
            let keys = module.at(&["env", "hostKeys"]);
            for name in keys.map_or(&[][..], Node::elements) {
                machine
                    .passed
                    .extend(variable(self.source, self.root, name, None));
            }
            self.take(module, "config", Host::EnvoyGateway, machine, found);
        }
        for module in spec.list("dynamicModule") {
            let config = module.get("config");
            let named = ["name", "filterName"].iter().any(|name| {
                let name = module.text_of(name);
                name.is_some_and(|name| name.contains("scopegate"))
            });
            if !named && config.is_none_or(|config| embedded::kind(config).is_none()) {
                continue;
            }
            any = true;
            let name = module.text_of("name").map(str::to_owned);
            found.modules.extend(name);
            let machine = dynamic::machine();
            self.take(module, "config", Host::EnvoyGateway, machine, found);
        }
        if any {
            note_gateways(spec, found);
        }
        any
    }

    /// Notes the configuration in the field `name` of `node`, or reports why there is none.
    fn take(&self, node: &Node, name: &str, host: Host, machine: Machine, found: &mut Found) {
        let config = node.get(name);
        match config.map(|config| (config, &config.value)) {
            None | Some((_, Value::Null)) => {
                let at = node.member(name).map(|member| member.key.clone());
                let at = at.unwrap_or_else(|| place::head(node, None));
                let fault = Fault::new(at, "no configuration was handed over")
                    .help(format!("write the document under {name}"));
                let place = place::of(self.root, node);
                found.diagnostics.error(self.source, fault, place);
            }
            Some((config, Value::Text(_))) => {
                let fault = Fault::new(
                    place::head(config, node.member(name).map(|member| &member.key)),
                    format!("{name} is an object, and this is a text"),
                )
                .help(format!("write the keys of the document under {name}"));
                let place = place::of(self.root, config);
                found.diagnostics.error(self.source, fault, place);
            }
            Some((config, _)) => {
                embedded::take_part(self.source, config, host, machine, found);
            }
        }
    }

    fn proxy(&self, spec: &Rc<Node>, found: &mut Found) -> bool {
        self.containers(spec, found);
        dynamic::note_remote(self.source, self.root, spec, found);
        let bootstrap = spec.get("bootstrap");
        let patches = bootstrap.and_then(|bootstrap| bootstrap.get("jsonPatches"));
        for patch in patches.map_or(&[][..], |patches| patches.elements()) {
            let path = patch.get("path").and_then(|path| path.text());
            let value = patch.get("value");
            if path.is_some_and(|path| path.starts_with("/static_resources/clusters")) {
                found.clusters.bootstrap = true;
                if let Some(cluster) = value {
                    envoy::note_cluster(cluster, found);
                }
            }
        }
        let whole = bootstrap.and_then(|bootstrap| bootstrap.get("value"));
        if let Some(Value::Text(text)) = whole.map(|whole| &whole.value)
            && let (documents, None) = super::yaml::read(&text.text)
        {
            for document in documents {
                envoy::clusters(&document.root, found);
            }
        }
        false
    }

    /// Notes the environment variables of the containers of a pod, or of Envoy Gateway's proxies.
    fn containers(&self, spec: &Node, found: &mut Found) {
        let mut all = Vec::new();
        spec.walk(&mut |node| {
            for name in ["container", "containers"] {
                let Some(value) = node.get(name) else {
                    continue;
                };
                let one = value.is_object().then_some(value);
                for container in one.into_iter().chain(value.elements()) {
                    let variables = container.get("env");
                    all.extend(variables.map_or(&[][..], |list| list.elements()));
                }
            }
        });
        for entry in all {
            let Some(name) = entry.get("name") else {
                continue;
            };
            let value = entry.get("value").and_then(|value| scalar_text(value));
            found
                .proxies
                .extend(variable(self.source, self.root, name, value));
        }
    }
}

/// Notes the hosts and ports that Istio makes clusters of.
fn note_entry(spec: &Node, found: &mut Found) {
    for host in spec.list("hosts").iter().filter_map(|host| host.text()) {
        for port in spec.list("ports") {
            if let Some(Value::Number(number)) = port.get("number").map(|number| &number.value) {
                let entry = (host.to_owned(), number.clone());
                found.clusters.entries.insert(entry);
            }
        }
    }
}

/// Notes whether a `Backend` of Envoy Gateway takes requests: addresses set aside for
/// documentation (RFC 5737) do not.
fn note_backend(resource: &Node, spec: &Node, found: &mut Found) {
    let Some(name) = resource.at(&["metadata", "name"]).and_then(Node::text) else {
        return;
    };
    let endpoints = spec.list("endpoints");
    let nowhere = !endpoints.is_empty()
        && endpoints.iter().all(|endpoint| {
            let address = endpoint.at(&["ip", "address"]).and_then(Node::text);
            address
                .is_some_and(|address| NOWHERE.iter().any(|network| address.starts_with(network)))
        });
    let list = if nowhere {
        &mut found.nowhere
    } else {
        &mut found.somewhere
    };
    list.insert(name.to_owned());
}

/// The beginnings of addresses in the networks set aside for documentation.
const NOWHERE: [&str; 3] = ["192.0.2.", "198.51.100.", "203.0.113."];

/// Notes the gateways that a policy or a plugin applies to.
fn note_gateways(spec: &Node, found: &mut Found) {
    let one = spec.get("targetRef").into_iter();
    let several = spec.list("targetRefs");
    let mut any = false;
    for target in one.chain(several) {
        if target.get("kind").and_then(|kind| kind.text()) == Some("Gateway") {
            let name = target.get("name").and_then(|name| name.text());
            found.gateways.names.extend(name.map(str::to_owned));
            any = true;
        }
    }
    found.gateways.any |= !any;
}

/// Notes a cluster that an `EnvoyFilter` adds to those of Istio.
fn note_patched_cluster(patch: &Node, found: &mut Found) {
    let to = patch.get("applyTo").and_then(|to| to.text());
    let name = patch.at(&["patch", "value", "name"]).and_then(Node::text);
    if to == Some("CLUSTER") {
        found.clusters.names.extend(name.map(str::to_owned));
    }
}
