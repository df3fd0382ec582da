//! A document for the gate that is written as a text inside another document, or as a part of it.

use std::rc::Rc;

use super::fault::Fault;
use super::found::{Document, Found, Host, Kind, Machine};
use super::source::Source;
use super::tree::{Node, Text, Value};
use super::{json, secrets, yaml};
use crate::config::table::document;

/// The kind of an object that stands alone, or `None` if it is not a document for the gate.
pub(super) fn kind(root: &Node) -> Option<Kind> {
    let has = |name: &str| root.member(name).is_some();
    if has("kind") || has("apiVersion") || has("static_resources") || has("resources") {
        return None;
    }
    if has("organizations") && (has("epoch") || has("revision")) && !has("providers") {
        return Some(Kind::Organizations);
    }
    // Other programs use the same keys, so one key alone proves little. Traefik, for example, has
    // `providers` too, but as an object.
    let keys = document::TABLE.names;
    let known = keys.iter().filter(|key| has(key)).count();
    let mut telling = root.members().iter().filter(|member| {
        let like = |key| strsim::damerau_levenshtein(&member.name, key) <= 2;
        like("providers") || like("organizations")
    });
    let ours = telling.any(|member| known > 1 || matches!(member.value.value, Value::List(_)));
    (ours || known > 2).then_some(Kind::Configuration)
}

/// Notes a configuration that is a part of another document, as in resources of Kubernetes.
pub(super) fn take_part(
    source: &Rc<Source>,
    root: &Rc<Node>,
    host: Host,
    machine: Machine,
    found: &mut Found,
) {
    found.documents.push(Document {
        source: Rc::clone(source),
        root: Rc::clone(root),
        kind: Kind::Configuration,
        host,
        is_json: false,
        machine: Some(machine),
        deployment: None,
    });
}

/// Notes the configuration in a text that Envoy hands to the module, which must be JSON.
pub(super) fn take_text(
    outer: &Rc<Source>,
    scalar: &Node,
    text: &Text,
    host: Host,
    machine: Machine,
    found: &mut Found,
) {
    let source = Rc::new(outer.inside(&scalar.span, text));
    if source.text.trim().is_empty() {
        let fault = Fault::new(scalar.span.clone(), "no configuration was handed over")
            .help("write the document here, as JSON");
        found.diagnostics.error(outer, fault, "");
        return;
    }
    let Some((root, is_json)) = read_text(&source, found) else {
        return;
    };
    for span in secrets::spans(&root) {
        found.secrets.push((source.file, source.outer(&span)));
    }
    found.documents.push(Document {
        source,
        root,
        kind: Kind::Configuration,
        host,
        is_json,
        machine: Some(machine),
        deployment: None,
    });
}

/// Parses such a text. The flag tells whether it is JSON, as it must be. `None` if it cannot be
/// read as YAML either; the error is noted in both cases.
fn read_text(source: &Rc<Source>, found: &mut Found) -> Option<(Rc<Node>, bool)> {
    let syntax = match json::read(&source.text) {
        Ok(document) => {
            for fault in document.faults {
                found.diagnostics.error(source, fault, "");
            }
            return Some((document.root, true));
        }
        Err(syntax) => syntax,
    };
    let begun = source.text.trim_start();
    let (documents, _) = yaml::read(&source.text);
    let yaml = documents.into_iter().next();
    let yaml = yaml.filter(|document| document.root.is_object() && !begun.starts_with('{'));
    let Some(document) = yaml else {
        found.diagnostics.error(source, syntax.fault(source), "");
        return None;
    };
    let start = source.text.len().saturating_sub(begun.len());
    let line = begun.find(['\n', '\r']).unwrap_or(begun.len());
    let fault = Fault::new(
        start..start.saturating_add(line),
        "this looks like YAML, and the module takes JSON",
    )
    .help("write the document as JSON here");
    found.diagnostics.error(source, fault, "");
    for fault in document.faults {
        found.diagnostics.error(source, fault, "");
    }
    Some((document.root, false))
}
