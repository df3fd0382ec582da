//! Clusters that a document names and that no proxy has.

use super::diagnostic::Diagnostics;
use super::fault::Fault;
use super::found::{Document, Found, Host};
use super::place;
use super::tree::Node;

/// Warns of clusters that a document names but the proxy does not have, and of clusters that are
/// used for an `https` URL but do not verify the server.
pub(super) fn judge(found: &Found, diagnostics: &mut Diagnostics) {
    for document in &found.documents {
        for Named { node, secure } in named(&document.root) {
            let Some(name) = node.text() else { continue };
            let doubt = doubt(document, name, found).or_else(|| {
                let trusting = secure && found.clusters.trusting.contains(name);
                trusting.then(|| {
                    let text = format!("the cluster {name:?} does not verify whom it speaks to");
                    (text, VERIFY.to_owned())
                })
            });
            if let Some((text, help)) = doubt {
                let fault = Fault::new(node.span.clone(), text).help(help);
                let place = place::of(&document.root, node);
                diagnostics.warning(&document.source, fault, place);
            }
        }
    }
}

const VERIFY: &str = "give its UpstreamTlsContext a validation_context with trusted_ca and \
                      match_typed_subject_alt_names: else anybody on the way can answer with \
                      keys of his own";

/// A cluster that a document names.
struct Named<'a> {
    node: &'a Node,
    /// Whether the cluster is used to fetch from an `https` URL.
    secure: bool,
}

fn named(root: &Node) -> Vec<Named<'_>> {
    let mut all = Vec::new();
    for provider in root.list("providers") {
        if let (Some(jwks), Some(node)) = (provider.get("jwks"), provider.at(&["jwks", "cluster"]))
        {
            let issuers = provider.list("issuers").first();
            let issuer = provider.text_of("issuer");
            let issuer = issuer.or_else(|| issuers.and_then(|first| first.text()));
            let url = jwks.text_of("uri").or(issuer);
            all.push(Named {
                node,
                secure: url.is_some_and(|url| url.starts_with("https://")),
            });
        }
    }
    if let Some(node) = root.at(&["projects", "directory", "http", "cluster"]) {
        let secure = false;
        all.push(Named { node, secure });
    }
    if let Some(from) = root.get("organizations_from")
        && let Some(node) = from.get("cluster")
    {
        let url = from.text_of("uri");
        let secure = url.is_some_and(|url| url.starts_with("https://"));
        all.push(Named { node, secure });
    }
    all
}

/// What is wrong with the name of a cluster, and what would be right.
fn doubt(document: &Document, name: &str, found: &Found) -> Option<(String, String)> {
    let clusters = &found.clusters;
    if clusters.names.contains(name) {
        return None;
    }
    if document.host == Host::Istio {
        return of_istio(name, found);
    }
    // Clusters that a control plane hands out do not appear in the files.
    let complete = clusters.bootstrap && !clusters.discovered;
    complete.then(|| {
        let known: Vec<&str> = clusters.names.iter().map(String::as_str).collect();
        let text = format!("the bootstrap has no cluster {name:?}");
        let help = match known.as_slice() {
            [] => "it has none".to_owned(),
            known => format!("it has {}", known.join(", ")),
        };
        (text, help)
    })
}

/// The same for names of clusters that Istio makes.
fn of_istio(name: &str, found: &Found) -> Option<(String, String)> {
    let Some((port, host)) = parts(name) else {
        let text = format!("Istio has no cluster {name:?} of its own making");
        let help = "its names are outbound|443||login.example.com: the port and the host of a \
                    Service or a ServiceEntry";
        return Some((text, help.to_owned()));
    };
    let entries = &found.clusters.entries;
    // The Services of a Kubernetes cluster do not appear among the files.
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

/// The port and the host in a name such as `outbound|443||login.example.com`.
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
