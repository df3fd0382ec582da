//! kubeconform compares every resource with its definition, and would notice a mistake.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use integration::part;
use serde_json::{Value, json};

use crate::documents::{Document, Set, native, plain};

integration::trials![
    every_resource_satisfies_its_definition needs [MANIFESTS],
    a_slip_anywhere_is_refused needs [MANIFESTS],
];

/// Members whose content Kubernetes does not look into: Envoy's own configuration, and ours.
const OPEN: [&str; 4] = ["config", "json", "pluginConfig", "value"];

fn every_resource_satisfies_its_definition() -> Result<()> {
    are_valid(&all()?)
}

/// An unknown member in any object, or a wrong type anywhere, would be noticed.
fn a_slip_anywhere_is_refused() -> Result<()> {
    slips_are_refused(&all()?, 500)
}

/// Each satisfies its definition.
pub fn are_valid(documents: &[Document]) -> Result<()> {
    let verdicts = validate(documents.iter().map(|document| &document.value))?;
    for (document, verdict) in documents.iter().zip(verdicts) {
        ensure!(verdict.is_none(), "{}: {verdict:?}", document.title());
    }
    Ok(())
}

/// A slip in any of more than so many places of them would not.
pub fn slips_are_refused(documents: &[Document], places_at_least: usize) -> Result<()> {
    let mut slips = Vec::new();
    for document in documents {
        for place in places(&document.value) {
            let mut changed = document.value.clone();
            let node = changed
                .pointer_mut(&place)
                .with_context(|| format!("nothing at {place}"))?;
            match node {
                Value::Object(members) => {
                    // Where any name may stand, as in limits, no list may.
                    members.insert("surelyUnknown".to_owned(), json!([1]));
                }
                node => *node = json!({"surely": "wrong"}),
            }
            slips.push((format!("{} at {place}", document.title()), changed));
        }
    }
    ensure!(
        slips.len() > places_at_least,
        "only {} slips were made",
        slips.len()
    );
    let verdicts = validate(slips.iter().map(|(_, changed)| changed))?;
    let unnoticed: Vec<&String> = slips
        .iter()
        .zip(verdicts)
        .filter_map(|((title, _), verdict)| verdict.is_none().then_some(title))
        .collect();
    ensure!(unnoticed.is_empty(), "unnoticed: {unnoticed:#?}");
    Ok(())
}

fn all() -> Result<Vec<Document>> {
    let mut documents = Vec::new();
    for set in Set::ALL {
        documents.extend(set.documents()?);
        documents.extend(set.extras()?);
    }
    documents.extend(native()?);
    documents.extend(plain()?);
    Ok(documents)
}

/// Pointers to everything in the document's spec that has a definition.
fn places(document: &Value) -> Vec<String> {
    let mut found = Vec::new();
    // A ConfigMap has none.
    let spec = document.get("spec").map(|spec| ("/spec".to_owned(), spec));
    let mut open: Vec<(String, &Value)> = spec.into_iter().collect();
    while let Some((place, value)) = open.pop() {
        match value {
            Value::Object(members) => {
                for (name, member) in members {
                    if OPEN.contains(&name.as_str()) && (member.is_object() || member.is_array()) {
                        continue;
                    }
                    let name = name.replace('~', "~0").replace('/', "~1");
                    open.push((format!("{place}/{name}"), member));
                }
            }
            Value::Array(elements) => {
                for (position, element) in elements.iter().enumerate() {
                    open.push((format!("{place}/{position}"), element));
                }
                // An array in place of an object, or the other way round, is a wrong type too.
            }
            _ => {}
        }
        // A JSON patch may set anything, a scalar too.
        if !place.ends_with("/value") || !place.contains("/jsonPatches/") {
            found.push(place);
        }
    }
    found
}

/// What kubeconform says against each, in the same order; nothing against what is valid.
pub fn validate<'a>(resources: impl Iterator<Item = &'a Value>) -> Result<Vec<Option<String>>> {
    let folder = tempfile::tempdir()?;
    let mut files = Vec::new();
    for (position, resource) in resources.enumerate() {
        let file = folder.path().join(format!("{position}.json"));
        fs::write(&file, serde_json::to_vec(resource)?)?;
        files.push(file);
    }
    // kubeconform and the schemas.
    let tools = part::MANIFESTS.find()?;
    let location = tools.join("schemas/{{.Group}}/{{.ResourceKind}}_{{.ResourceAPIVersion}}.json");
    let output = Command::new(tools.join("bin/kubeconform"))
        .args(["-strict", "-verbose", "-output", "json"])
        .arg("-schema-location")
        .arg(location)
        .arg(folder.path())
        .output()
        .context("kubeconform")?;
    let report: Value = serde_json::from_slice(&output.stdout).with_context(|| {
        format!(
            "kubeconform said {:?}",
            String::from_utf8_lossy(&output.stderr)
        )
    })?;
    let mut verdicts: BTreeMap<&Path, Option<String>> = BTreeMap::new();
    for resource in report["resources"].as_array().context("no resources")? {
        let file = resource["filename"].as_str().context("no filename")?;
        let verdict = match resource["status"].as_str() {
            Some("statusValid") => None,
            Some("statusInvalid") => Some(resource["msg"].to_string()),
            // Whatever else it means, the resource was not looked at.
            other => anyhow::bail!("{other:?}: {}", resource["msg"]),
        };
        verdicts.insert(Path::new(file), verdict);
    }
    files
        .iter()
        .map(|file| {
            verdicts
                .remove(file.as_path())
                .with_context(|| format!("nothing about {}", file.display()))
        })
        .collect()
}
