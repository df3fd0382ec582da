//! What Istio and Envoy Gateway have in common: the module comes as an image into a proxy that
//! others run too.

use serde_yaml_ng::{Mapping, Value};

use super::document::{Document, Reached};
use super::printer::Note;
use super::section::Problems;

/// The gate's document with clusters of these names. Whether workers share what they fetch is
/// spelled out, because it is decided by who else runs in the proxy, which this program cannot
/// know.
pub(super) fn document(document: &Document, name: impl Fn(&Reached) -> String) -> Mapping {
    let mut gate = document.gate.clone();
    let rename = |source: &mut Mapping| {
        let cluster = source.get("cluster").and_then(Value::as_str);
        let reached = document
            .clusters
            .iter()
            .find(|it| Some(it.name.as_str()) == cluster);
        if let Some(reached) = reached {
            source.insert("cluster".into(), name(reached).into());
            return true;
        }
        false
    };
    let spell_out = |source: &mut Mapping| {
        if rename(source) {
            source.entry("share".into()).or_insert(Value::Bool(true));
        }
    };
    for provider in members_of(gate.get_mut("providers")) {
        if let Some(Value::Mapping(jwks)) = provider.get_mut("jwks") {
            spell_out(jwks);
        }
    }
    if let Some(Value::Mapping(source)) = gate.get_mut("organizations_from") {
        spell_out(source);
    }
    let directory = gate
        .get_mut("projects")
        .and_then(|projects| projects.get_mut("directory"))
        .and_then(|directory| directory.get_mut("http"));
    if let Some(Value::Mapping(directory)) = directory {
        rename(directory);
    }
    gate
}

/// The elements of a list that is one.
fn members_of(list: Option<&mut Value>) -> impl Iterator<Item = &mut Value> {
    list.and_then(Value::as_sequence_mut).into_iter().flatten()
}

/// What plain Envoy can do without.
pub(super) fn check(document: &Document, problems: &Problems) {
    if document.deployment.host.is_none() {
        problems.add("deployment.host", "missing: what clients call the gate");
    }
    check_image(document, problems);
    for (backend, servers) in document.servers() {
        for (name, address) in servers.named() {
            if address.tls {
                let place = format!("deployment.backends.{}.{name}", backend.name());
                problems.add(
                    &place,
                    "expected http: TLS to backends is printed for plain Envoy alone",
                );
            }
        }
    }
}

/// The module comes out of an image, by its digest.
pub(super) fn check_image(document: &Document, problems: &Problems) {
    let deployment = &document.deployment;
    if deployment.image.is_none() {
        problems.add("deployment.image", "missing: the image of the module");
    }
    if deployment.digest.is_none() {
        problems.add("deployment.digest", "missing: the digest of that image");
    }
}

pub(super) const MODE: Note = Note {
    place: "mode",
    above: &[],
    behind: "report: refuse nothing, record what would be refused",
};

pub(super) const REWRITE_PATHS: Note = Note {
    place: "forward.rewrite_paths",
    above: &[],
    behind: "routes.yaml matches the rewritten paths",
};

pub(super) const STREAM_DURATION: Note = Note {
    place: "limits.stream_duration",
    above: &[],
    behind: "longest tail or gRPC read",
};

const IN_THE_BOOTSTRAP: Note = Note {
    place: "providers[].jwks.cluster",
    above: &[],
    behind: "in the bootstrap, gateway.yaml",
};

/// What is said in Envoy Gateway's policy about the gate's document.
pub(super) const GATEWAY_NOTES: [Note; 6] = [
    MODE,
    IN_THE_BOOTSTRAP,
    Note {
        place: "providers[].jwks.share",
        above: &[
            "One fetch for all workers of a proxy. Envoy Gateway gives each plugin of each",
            "policy a vm_id of its own, so no other one has this store.",
        ],
        behind: "",
    },
    Note {
        place: "organizations_from.share",
        above: &["One fetch for all workers of a proxy, in the plugin's own store, as with keys."],
        behind: "",
    },
    REWRITE_PATHS,
    STREAM_DURATION,
];

/// The same for the native module, which has one set of keys for all workers in any case.
pub(super) const NATIVE_NOTES: [Note; 4] = [MODE, IN_THE_BOOTSTRAP, REWRITE_PATHS, STREAM_DURATION];
