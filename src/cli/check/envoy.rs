//! Envoy's own configuration: a bootstrap, files of resources, and patches of them.

use std::rc::Rc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::embedded;
use super::fault::Fault;
use super::found::{Found, Host, Machine, Variable};
use super::source::Source;
use super::tree::{Member, Node, Value};
use super::{dynamic, filters, messages, place, rules, secrets};

/// Whether a document is a bootstrap or a file of resources.
pub(super) fn is_envoy(root: &Node) -> bool {
    let list = |name: &str| {
        root.field(name)
            .is_some_and(|m| !m.value.elements().is_empty())
    };
    root.field("static_resources").is_some()
        || root.field("dynamic_resources").is_some()
        || root.member("admin").is_some()
        || list("resources")
        || filters::is_file(root)
}

/// Reads a piece of Envoy's configuration, at any depth. Returns whether anything in it belongs to
/// the gate.
pub(super) fn read(
    source: &Rc<Source>,
    root: &Rc<Node>,
    piece: &Rc<Node>,
    host: Host,
    found: &mut Found,
) -> bool {
    let before = found.documents.len();
    let mut wasm: Vec<&Node> = Vec::new();
    let mut modules: Vec<&Node> = Vec::new();
    let mut managers: Vec<&Node> = Vec::new();
    piece.walk(&mut |node| {
        wasm.extend(message(node, ".http.wasm.v3.Wasm"));
        modules.extend(message(node, dynamic::FILTER));
        managers.extend(message(node, ".HttpConnectionManager"));
    });
    clusters(piece, found);
    let mut ours = false;
    for wasm in wasm {
        let is_ours = match wasm.field("config") {
            Some(module) => read_module(source, root, &module.value, host, found),
            // The key `config` may be misspelt.
            None => wasm.mentions("scopegate"),
        };
        if is_ours {
            messages::judge(source, root, wasm, &messages::WASM, found);
        }
        ours |= is_ours;
    }
    for module in modules {
        if dynamic::read(source, root, module, found) {
            ours = true;
            let handed = Handed {
                name: "filter_config",
                is_binary: false,
            };
            let machine = dynamic::machine();
            read_configuration(source, root, module, handed, (host, machine), found);
        }
    }
    if ours {
        filters::read_file(source, root, found);
    }
    for manager in managers {
        filters::read(source, root, manager, found);
        ours |= rules::of_envoy(source, root, manager, found);
    }
    ours || found.documents.len() > before
}

/// The fields of a message whose type ends with `kind`, even if it is written as a `TypedStruct`.
/// `None` if the node is another message.
fn message<'a>(node: &'a Node, kind: &str) -> Option<&'a Node> {
    let named = |name: &str| {
        node.field(name)
            .and_then(|member| member.value.text())
            .is_some_and(|text| text.ends_with(kind))
    };
    if named("@type") {
        return Some(node);
    }
    named("type_url").then(|| node.get("value").map(Rc::as_ref))?
}

/// Notes the clusters in a piece of Envoy's configuration, and whether a control plane may add
/// more.
pub(super) fn clusters(piece: &Node, found: &mut Found) {
    if let Some(resources) = piece.field("static_resources") {
        found.clusters.bootstrap = true;
        for cluster in resources.value.list("clusters") {
            note_cluster(cluster, found);
        }
    }
    if let Some(resources) = piece.field("dynamic_resources") {
        let by_others = ["cds_config", "ads_config"];
        found.clusters.discovered |= by_others
            .iter()
            .any(|name| resources.value.field(name).is_some());
    }
    piece.walk(&mut |node| {
        if let Some(cluster) = message(node, ".cluster.v3.Cluster") {
            note_cluster(cluster, found);
        }
    });
}

/// Notes a cluster, and whether it leaves the server unverified.
pub(super) fn note_cluster(cluster: &Node, found: &mut Found) {
    let Some(name) = cluster.text_of("name") else {
        return;
    };
    let (mut authority, mut host) = (false, false);
    cluster.walk(&mut |node| {
        let has = |names: &[&str]| names.iter().any(|name| node.field(name).is_some());
        // A validation context that comes by SDS, and a pinned certificate or key, are taken to
        // check both the authority and the name.
        let both = has(&[
            "validation_context_sds_secret_config",
            "combined_validation_context",
            "verify_certificate_spki",
            "verify_certificate_hash",
        ]);
        authority |= both || has(&["trusted_ca", "system_root_certs"]);
        host |= both
            || has(&[
                "match_typed_subject_alt_names",
                "match_subject_alt_names",
                "auto_sni_san_validation",
            ]);
    });
    found.clusters.names.insert(name.to_owned());
    if !authority || !host {
        found.clusters.trusting.insert(name.to_owned());
    }
}

/// Whether the configuration of a module is meant for this gate.
fn is_ours(config: &Node) -> bool {
    let named = |node: Option<&Member>| {
        node.and_then(|member| member.value.text())
            .is_some_and(|text| text.contains("scopegate"))
    };
    let machine = config.field("vm_config");
    let machine = machine.map(|member| &member.value);
    let code = machine.and_then(|machine| machine.field("code"));
    let code = code.is_some_and(|code| code.value.mentions("scopegate"));
    let document = config.field("configuration");
    let document = document.and_then(|member| member.value.get("value"));
    let by_document = document.is_some_and(|value| match value.text() {
        Some(text) => text.contains("providers") && text.contains("jwks"),
        None => embedded::kind(value).is_some(),
    });
    named(config.field("name"))
        || named(config.field("root_id"))
        || named(machine.and_then(|machine| machine.field("vm_id")))
        || code
        || by_document
}

fn read_module(
    source: &Rc<Source>,
    root: &Node,
    config: &Node,
    host: Host,
    found: &mut Found,
) -> bool {
    if !is_ours(config) {
        return false;
    }
    messages::judge(source, root, config, &messages::PLUGIN, found);
    messages::judge_code(source, root, config, host, found);
    for (name, open) in [("failure_policy", "FAIL_OPEN"), ("fail_open", "true")] {
        if let Some(member) = config.field(name) {
            warn_of_open(source, root, member, open, "FAIL_RELOAD", found);
        }
    }
    let machine = config.field("vm_config").map(|member| &member.value);
    let variables = machine.and_then(|machine| machine.field("environment_variables"));
    let machine = variables.map_or_else(Machine::default, |member| {
        read_variables(source, root, &member.value)
    });
    let machine = Machine {
        list: "host_env_keys of vm_config.environment_variables",
        ..machine
    };
    let handed = Handed {
        name: "configuration",
        is_binary: true,
    };
    read_configuration(source, root, config, handed, (host, machine), found);
    true
}

/// How Envoy hands the configuration to the module.
#[derive(Clone, Copy)]
struct Handed {
    /// The field that has it.
    name: &'static str,
    /// Whether a `Struct` arrives in its binary form, and not as JSON.
    is_binary: bool,
}

/// Notes the configuration in the message `config`, or reports why there is none.
fn read_configuration(
    source: &Rc<Source>,
    root: &Node,
    config: &Node,
    handed: Handed,
    (host, machine): (Host, Machine),
    found: &mut Found,
) {
    let name = handed.name;
    let Some(member) = config.field(name) else {
        let fault = Fault::new(
            place::head(config, None),
            "no configuration was handed over",
        )
        .help(format!(
            "write {name}: {{\"@type\": type.googleapis.com/google.protobuf.StringValue, \
             value: \"the document as JSON\"}}",
        ));
        found
            .diagnostics
            .error(source, fault, place::of(root, config));
        return;
    };
    let configuration = &member.value;
    let kind = configuration.get("@type").and_then(|kind| kind.text());
    let value = configuration.get("value");
    let any = format!("{name} is a google.protobuf.Any, which names its type");
    let help = "write \"@type\": type.googleapis.com/google.protobuf.StringValue, and the \
                document as JSON in value";
    match (kind, value) {
        (Some(kind), Some(value)) if kind.ends_with("google.protobuf.StringValue") => {
            if let Value::Text(text) = &value.value {
                embedded::take_text(source, value, text, host, machine, found);
                return;
            }
            let fault = Fault::new(
                place::head(value, None),
                "a StringValue holds a text, and this is none",
            )
            .help("write the document as JSON in a text, after value: |");
            found
                .diagnostics
                .error(source, fault, place::of(root, value));
            if value.is_object() {
                embedded::take_part(source, value, host, machine, found);
            }
        }
        (Some(kind), Some(value))
            if kind.ends_with("google.protobuf.Struct") && !handed.is_binary =>
        {
            embedded::take_part(source, value, host, machine, found);
        }
        (Some(kind), value) if kind.ends_with("google.protobuf.Struct") => {
            let at = configuration.get("@type").map(|kind| kind.span.clone());
            let fault = Fault::new(
                at.unwrap_or_default(),
                "a Struct reaches the module in binary form",
            )
            .help("use a google.protobuf.StringValue, with the document as JSON in value");
            found
                .diagnostics
                .error(source, fault, place::of(root, configuration));
            if let Some(value) = value.filter(|value| value.is_object()) {
                embedded::take_part(source, value, host, machine, found);
            }
        }
        (Some(kind), Some(value)) if kind.ends_with("google.protobuf.BytesValue") => {
            read_bytes(source, root, value, host, machine, found);
        }
        _ => {
            let fault = Fault::new(member.key.clone(), any).help(help);
            found
                .diagnostics
                .error(source, fault, place::of(root, configuration));
            if embedded::kind(configuration).is_some() {
                embedded::take_part(source, configuration, host, machine, found);
            } else if let Value::Text(text) = &configuration.value {
                embedded::take_text(source, configuration, text, host, machine, found);
            }
        }
    }
}

/// Reads a `BytesValue`, which is base64 in files. Its content is attributed to the scalar as a
/// whole, because lines inside base64 cannot be pointed at.
fn read_bytes(
    source: &Rc<Source>,
    root: &Node,
    value: &Node,
    host: Host,
    machine: Machine,
    found: &mut Found,
) {
    let bytes = value.text().and_then(|text| STANDARD.decode(text).ok());
    let Some(text) = bytes.and_then(|bytes| String::from_utf8(bytes).ok()) else {
        let fault = Fault::new(value.span.clone(), "this is not the base64 of a text")
            .help("use a google.protobuf.StringValue, with the document as JSON in value");
        found
            .diagnostics
            .error(source, fault, place::of(root, value));
        return;
    };
    let inner = Rc::new(source.somewhere_in(&value.span, &text));
    let whole = Node {
        span: 0..text.len(),
        value: Value::Null,
    };
    // With any quoted style, quotes would be expected around a text that has none.
    let plain = super::tree::Text {
        text,
        style: super::tree::Style::Plain,
    };
    embedded::take_text(&inner, &whole, &plain, host, machine, found);
}

/// Warns of a setting that lets requests pass when the gate fails: `open` is the value that does,
/// and `instead` is what to write.
pub(super) fn warn_of_open(
    source: &Rc<Source>,
    root: &Node,
    member: &Member,
    open: &str,
    instead: &str,
    found: &mut Found,
) {
    let value = &member.value;
    let is_open = match &value.value {
        Value::Text(text) => text.text == open,
        Value::Bool(flag) => *flag && open == "true",
        _ => false,
    };
    if is_open {
        let text = "requests pass without the gate when it fails";
        let fault = Fault::new(value.span.clone(), text).help(format!("write {instead}"));
        found
            .diagnostics
            .warning(source, fault, place::of(root, value));
    }
}

/// Reads the message `environment_variables`.
fn read_variables(source: &Rc<Source>, root: &Node, node: &Node) -> Machine {
    let mut machine = Machine::default();
    if let Some(passed) = node.field("host_env_keys") {
        for name in passed.value.elements() {
            machine.passed.extend(variable(source, root, name, None));
        }
    }
    if let Some(given) = node.field("key_values") {
        for member in given.value.members() {
            machine.given.push(Variable {
                name: member.name.clone(),
                value: scalar_text(&member.value),
                source: Rc::clone(source),
                span: member.key.clone(),
                place: place::of(root, &member.value),
            });
        }
    }
    machine
}

/// A variable whose name is the text of `name`; `None` if that is not a text.
pub(super) fn variable(
    source: &Rc<Source>,
    root: &Node,
    name: &Node,
    value: Option<String>,
) -> Option<Variable> {
    Some(Variable {
        name: name.text()?.to_owned(),
        value,
        source: Rc::clone(source),
        span: name.span.clone(),
        place: place::of(root, name),
    })
}

/// The value of a variable as a text: proxies convert numbers and booleans. `None` for lists,
/// objects and null.
pub(super) fn scalar_text(node: &Node) -> Option<String> {
    match &node.value {
        Value::Text(text) => Some(text.text.clone()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Number(number) => Some(number.clone()),
        _ => None,
    }
}

/// Notes the secrets of a document in which something belongs to the gate.
pub(super) fn note_secrets(source: &Source, root: &Node, found: &mut Found) {
    for span in secrets::spans(root) {
        found.secrets.push((source.file, source.outer(&span)));
    }
}
