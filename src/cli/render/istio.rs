//! How Istio names things, and what it needs a Service or a name for.

use std::collections::BTreeSet;

use super::address::{Address, is_label};
use super::document::{Document, Reached};
use super::hosted::{MODE, REWRITE_PATHS, STREAM_DURATION};
use super::printer::Note;
use super::section::Problems;

/// Istio's own name for a cluster.
pub(super) fn cluster(reached: &Reached) -> String {
    let address = &reached.address;
    let host = address.service().map_or_else(
        || address.host.clone(),
        |(name, namespace)| service_host(name, namespace),
    );
    format!("outbound|{}||{host}", address.port)
}

/// A Service's whole name, as Istio has it.
pub(super) fn service_host(name: &str, namespace: &str) -> String {
    format!("{name}.{namespace}.svc.cluster.local")
}

/// What Istio must be told of: what is no Service of the cluster.
pub(super) fn external(document: &Document) -> impl Iterator<Item = &Reached> {
    let mut seen = BTreeSet::new();
    let outside = document
        .clusters
        .iter()
        .filter(|cluster| cluster.address.service().is_none());
    outside.filter(move |cluster| seen.insert(cluster.address.host.as_str()))
}

/// Services that speak TLS themselves, beside Istio's own.
pub(super) fn with_tls(document: &Document) -> impl Iterator<Item = &Reached> {
    let mut seen = BTreeSet::new();
    let services = document
        .clusters
        .iter()
        .filter(|cluster| cluster.address.tls && cluster.address.service().is_some());
    services.filter(move |cluster| seen.insert(self::cluster(cluster)))
}

/// The name of a resource for a cluster.
pub(super) fn resource(cluster: &str) -> String {
    cluster.to_ascii_lowercase().replace('_', "-")
}

/// What Istio cannot be told.
pub(super) fn check(document: &Document, problems: &Problems) {
    for (backend, servers) in document.servers() {
        for (name, address) in servers.named() {
            if address.service().is_none() {
                let place = format!("deployment.backends.{}.{name}", backend.name());
                let text = "expected a Service: http://NAME.NAMESPACE.svc.cluster.local:PORT";
                problems.add(&place, text);
            }
        }
    }
    let mut names = BTreeSet::new();
    let mut addresses: Vec<&Reached> = Vec::new();
    for cluster in &document.clusters {
        let place = format!("deployment.clusters.{}.url", cluster.name);
        let Address { port, .. } = cluster.address;
        if cluster.address.is_ip() {
            problems.add(
                &place,
                "expected a name and no IP address: Istio knows hosts by names",
            );
        }
        let same = |other: &&&Reached| other.address.host == cluster.address.host;
        match addresses.iter().find(same) {
            Some(other) if other.address.port != port && cluster.address.service().is_none() => {
                let text = format!(
                    "{} is reached at another port by the cluster {}: one port for each host",
                    other.address.host, other.name
                );
                problems.add(&place, text);
            }
            Some(_) => {}
            None => addresses.push(cluster),
        }
    }
    for cluster in external(document).chain(with_tls(document)) {
        let name = resource(&cluster.name);
        if !is_label(&name) || !names.insert(name) {
            let text = format!(
                "the cluster {} cannot be the name of a resource, or another one is called the same",
                cluster.name
            );
            problems.add("providers", text);
        }
    }
}

/// What is said in the plugin about the gate's document.
pub(super) const NOTES: [Note; 6] = [
    MODE,
    Note {
        place: "providers[].jwks.cluster",
        above: &["Istio's name for that port of that host; it exists because of provider.yaml."],
        behind: "",
    },
    Note {
        place: "providers[].jwks.share",
        above: &[
            "One fetch for all workers of a proxy, through a store that all WasmPlugins of",
            "this gateway have in common: Istio sets no vm_id, and has no field for one. Set",
            "it to false if any of them is not yours: it could put keys of its own there.",
        ],
        behind: "",
    },
    Note {
        place: "organizations_from.share",
        above: &[
            "Through the same store. If any other WasmPlugin of this gateway is not yours, have the",
            "document signed (signed_by), or set this to false: it could put organizations there.",
        ],
        behind: "",
    },
    REWRITE_PATHS,
    STREAM_DURATION,
];
