//! From a file to what it holds of the gate's.

use std::rc::Rc;

use super::found::{Document, Found, Host};
use super::source::Source;
use super::tree::Node;
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
    found.documents.push(Document {
        source: Rc::clone(source),
        root: Rc::clone(root),
        kind,
        host: Host::Alone,
        is_json,
        machine: None,
    });
    true
}
