//! Clusters that a document names and no proxy has.

use super::diagnostic::Diagnostics;
use super::fault::Fault;
use super::found::{Document, Found, Host};
use super::place;
use super::tree::Node;

/// Warns of clusters that are named and not there.
pub(super) fn judge(found: &Found, diagnostics: &mut Diagnostics) {
    for document in &found.documents {
        for node in named(&document.root) {
            let Some(name) = node.text() else { continue };
            if let Some((text, help)) = doubt(document, name, found) {
                let fault = Fault::new(node.span.clone(), text).help(help);
                let place = place::of(&document.root, node);
                diagnostics.warning(&document.source, fault, place);
            }
        }
    }
}

/// The clusters that a document names.
fn named(root: &Node) -> Vec<&Node> {
    let providers = root.list("providers");
    let keys = providers
        .iter()
        .filter_map(|provider| provider.at(&["jwks", "cluster"]));
    let others = [
        &["projects", "directory", "http", "cluster"][..],
        &["organizations_from", "cluster"],
    ];
    keys.chain(others.into_iter().filter_map(|path| root.at(path)))
        .collect()
}

/// What is wrong with a name, and what would be right.
fn doubt(document: &Document, name: &str, found: &Found) -> Option<(String, String)> {
    let clusters = &found.clusters;
    if clusters.names.contains(name) {
        return None;
    }
    if document.host == Host::Istio {
        return of_istio(name, found);
    }
    // What a control plane hands out is not known here.
    let complete = clusters.bootstrap && !clusters.discovered;
    complete.then(|| {
        let known: Vec<&str> = clusters.names.iter().map(String::as_str).collect();
        let text = format!("the bootstrap has no cluster {name:?}");
        (text, format!("it has {}", known.join(", ")))
    })
}

/// The same where Istio makes the clusters.
fn of_istio(name: &str, found: &Found) -> Option<(String, String)> {
    let Some((port, host)) = parts(name) else {
        let text = format!("Istio has no cluster {name:?} of its own making");
        let help = "its names are outbound|443||login.example.com: the port and the host of a \
                    Service or a ServiceEntry";
        return Some((text, help.to_owned()));
    };
    let entries = &found.clusters.entries;
    // Services of the cluster are not among the files.
    let known = entries.is_empty()
        || host.contains(".svc.")
        || entries.contains(&(host.to_owned(), port.to_owned()));
    (!known).then(|| {
        let text =
            format!("no ServiceEntry among the files has the host {host} with the port {port}");
        let hosts: Vec<String> = entries
            .iter()
            .map(|(host, port)| format!("outbound|{port}||{host}"))
            .collect();
        (
            text,
            format!("those that are there make {}", hosts.join(", ")),
        )
    })
}

/// Port and host of `outbound|443||login.example.com`.
fn parts(name: &str) -> Option<(&str, &str)> {
    let parts: Vec<&str> = name.split('|').collect();
    let [direction, port, _, host] = parts.as_slice() else {
        return None;
    };
    let sound = *direction == "outbound"
        && port.parse::<u16>().is_ok_and(|port| port > 0)
        && !host.is_empty();
    sound.then_some((*port, *host))
}
