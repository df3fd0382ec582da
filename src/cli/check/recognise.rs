//! Finds what belongs to the gate in a file.

use std::rc::Rc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::found::{Document, Found, Host, Kind};
use super::source::Source;
use super::tree::{Node, Value};
use super::yaml;
use super::{embedded, envoy, json, kubernetes};

/// How deeply files may be nested in one another, as a bootstrap in a `ConfigMap` in a list.
const MAX_FILES: usize = 3;

/// Reads a file, or the payload of a signed document.
pub(super) fn read(source: &Rc<Source>, found: &mut Found) {
    match signed(source) {
        // The payload is what a gate sees once it has verified the signature, which takes the
        // gate's keys and is not done here.
        Some(payload) => read_file(&Rc::new(payload), 0, found),
        None => read_file(source, 0, found),
    }
}

/// The payload of a signed document, which is a JWS in compact form (RFC 7515 §7.1).
fn signed(source: &Source) -> Option<Source> {
    let text = source.text.trim();
    let [header, payload, _] = text.split('.').collect::<Vec<_>>()[..] else {
        return None;
    };
    let part = |part: &str| String::from_utf8(URL_SAFE_NO_PAD.decode(part).ok()?).ok();
    json::read(&part(header)?).ok()?.root.member("alg")?;
    Some(source.somewhere_in(&(0..source.text.len()), &part(payload)?))
}

fn read_file(source: &Rc<Source>, depth: usize, found: &mut Found) {
    let (documents, fault, is_json) = match json::read(&source.text) {
        Ok(document) => (vec![document], None, true),
        Err(syntax) => {
            let (documents, fault) = yaml::read(&source.text);
            // A text that begins like JSON gets the error of the JSON parser.
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
    let nothing = fault.is_none() && documents.iter().all(|document| is_empty(&document.root));
    if nothing && depth == 0 {
        found.empty.push(Rc::clone(source));
    }
    for document in documents {
        if read_document(source, &document.root, is_json, depth, found) {
            envoy::note_secrets(source, &document.root, found);
            for fault in document.faults {
                found.diagnostics.error(source, fault, "");
            }
        }
    }
    // The texts of a `ConfigMap` may be anything.
    let ours = depth == 0 || source.text.contains("scopegate") || source.text.contains("jwks");
    if let Some(fault) = fault.filter(|_| ours) {
        found.diagnostics.error(source, fault, "");
    }
}

/// Whether a document is empty, or is a list of resources without any.
fn is_empty(root: &Node) -> bool {
    let none = |node: &Node| match &node.value {
        Value::Null => true,
        Value::List(list) => list.is_empty(),
        _ => false,
    };
    let members = root.members();
    let resources = |name: &str| matches!(name, "resources" | "version_info" | "versionInfo");
    none(root)
        || root
            .field("resources")
            .is_some_and(|list| none(&list.value))
            && members.iter().all(|member| resources(&member.name))
}

/// Reads a document, and returns whether anything in it belongs to the gate.
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
        // The text of a deployment file contains more than the document.
        is_json: is_json && alone.is_none(),
        deployment: alone.is_some().then(|| Rc::clone(root)),
        root: alone.unwrap_or_else(|| Rc::clone(root)),
        kind,
        host: Host::Alone,
        machine: None,
    });
    true
}

/// The configuration in a deployment file of `scopegate render`, which is the file without its
/// section `deployment:`. `None` if there is no such section.
fn without_deployment(root: &Rc<Node>) -> Option<Rc<Node>> {
    root.member("deployment")?.value.is_object().then_some(())?;
    let members = root.members().iter();
    let others = members.filter(|member| member.name != "deployment");
    Some(Rc::new(Node {
        span: root.span.clone(),
        value: Value::Object(others.cloned().collect()),
    }))
}
