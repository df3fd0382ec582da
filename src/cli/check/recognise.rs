//! From a file to what it holds of the gate's.

use std::rc::Rc;

use super::found::{Document, Found, Host, Kind};
use super::source::Source;
use super::tree::{Node, Value};
use super::yaml;
use super::{embedded, envoy, json, kubernetes};

/// How deep files may stand in one another: a bootstrap in a `ConfigMap` in a list.
const MAX_FILES: usize = 3;

/// Reads a file, or a text that may be one.
pub(super) fn read(source: &Rc<Source>, found: &mut Found) {
    read_file(source, 0, found);
}

fn read_file(source: &Rc<Source>, depth: usize, found: &mut Found) {
    let (documents, fault, is_json) = match json::read(&source.text) {
        Ok(document) => (vec![document], None, true),
        Err(syntax) => {
            let (documents, fault) = yaml::read(&source.text);
            // What is written like JSON is told what JSON wants.
            let begun = source.text.trim_start().strip_prefix('{');
            let meant = begun.is_some_and(|rest| rest.trim_start().starts_with('"'));
            let fault = if meant {
                Some(syntax.fault(source))
            } else {
                fault
            };
            (documents, fault, false)
        }
    };
    for document in documents {
        if read_document(source, &document.root, is_json, depth, found) {
            envoy::note_secrets(source, &document.root, found);
            for fault in document.faults {
                found.diagnostics.error(source, fault, "");
            }
        }
    }
    // What stands in a ConfigMap may be anything.
    let ours = depth == 0 || source.text.contains("scopegate") || source.text.contains("jwks");
    if let Some(fault) = fault.filter(|_| ours) {
        found.diagnostics.error(source, fault, "");
    }
}

/// Whether something of the gate's stands in a document.
fn read_document(
    source: &Rc<Source>,
    root: &Rc<Node>,
    is_json: bool,
    depth: usize,
    found: &mut Found,
) -> bool {
    if kubernetes::is_resource(root) {
        let resource = kubernetes::read(source, root, root, found);
        if depth < MAX_FILES {
            for file in resource.files {
                read_file(&file, depth.saturating_add(1), found);
            }
        }
        return resource.ours;
    }
    if envoy::is_envoy(root) {
        return envoy::read(source, root, root, Host::Envoy, found);
    }
    let Some(kind) = embedded::kind(root) else {
        return false;
    };
    let alone = (kind == Kind::Configuration)
        .then(|| without_deployment(root))
        .flatten();
    found.documents.push(Document {
        source: Rc::clone(source),
        // Its text has more in it than the document.
        is_json: is_json && alone.is_none(),
        root: alone.unwrap_or_else(|| Rc::clone(root)),
        kind,
        host: Host::Alone,
        machine: None,
    });
    true
}

/// A deployment file, as `render` takes it, without what stands beside the configuration.
fn without_deployment(root: &Rc<Node>) -> Option<Rc<Node>> {
    root.member("deployment")?.value.is_object().then_some(())?;
    let members = root.members().iter();
    let others = members.filter(|member| member.name != "deployment");
    Some(Rc::new(Node {
        span: root.span.clone(),
        value: Value::Object(others.cloned().collect()),
    }))
}
