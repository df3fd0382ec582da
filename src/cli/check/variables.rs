//! Environment variables that have no effect.

use super::diagnostic::Diagnostics;
use super::fault::Fault;
use super::found::{Found, Variable};
use super::tree::Node;
use crate::authz::endpoint::BACKEND_NAMES;

/// Whether a variable switches a backend on or off.
pub(super) fn is_switch(name: &str) -> bool {
    BACKEND_NAMES
        .iter()
        .any(|backend| name == switch_of(backend))
}

fn switch_of(backend: &str) -> String {
    format!("SCOPEGATE_{}_ENABLED", backend.to_ascii_uppercase())
}

/// The names of the variables that hold credentials for servers: `authorization: {environment:
/// NAME}` anywhere in a document.
pub(super) fn named(root: &Node) -> Vec<String> {
    let mut names = Vec::new();
    root.walk(&mut |node| {
        if let Some(name) = node.at(&["authorization", "environment"])
            && let Some(text) = name.text()
        {
            names.push(text.to_owned());
        }
    });
    names
}

/// Warns of variables that look like the gate's own but have no effect.
pub(super) fn judge(found: &Found, diagnostics: &mut Diagnostics) {
    let machines: Vec<_> = found
        .documents
        .iter()
        .filter_map(|document| document.machine.as_ref())
        .collect();
    let credentials: Vec<String> = found
        .documents
        .iter()
        .flat_map(|document| named(&document.root))
        .collect();
    let known = |name: &str| is_switch(name) || credentials.iter().any(|known| known == name);
    let ours = |variable: &&Variable| variable.name.starts_with("SCOPEGATE_");
    let of_machines = machines
        .iter()
        .flat_map(|machine| machine.given.iter().chain(&machine.passed));
    for variable in of_machines.chain(&found.proxies).filter(ours) {
        if known(&variable.name) {
            continue;
        }
        let switches: Vec<String> = BACKEND_NAMES.iter().map(|name| switch_of(name)).collect();
        let text = format!("the gate knows no variable {}", variable.name);
        let fault = Fault::new(variable.span.clone(), text)
            .help(format!("those that it knows are {}", switches.join(", ")));
        diagnostics.warning(&variable.source, fault, variable.place.clone());
    }
    for variable in found.proxies.iter().filter(ours) {
        let has = |list: &[Variable]| list.iter().any(|other| other.name == variable.name);
        let passed = machines
            .iter()
            .any(|machine| has(&machine.passed) || has(&machine.given));
        let Some(machine) = machines.first() else {
            continue;
        };
        if known(&variable.name) && !passed {
            let text = format!(
                "{} is set for the proxy, and does not reach the module",
                variable.name
            );
            let fault = Fault::new(variable.span.clone(), text)
                .help(format!("name it in {} too", machine.list));
            diagnostics.warning(&variable.source, fault, variable.place.clone());
        }
    }
}
