//! The YAML documents of a folder, each with its file.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use integration::paths;
use serde::Deserialize;
use serde_json::Value;

/// One of the two sets of manifests.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Set {
    Istio,
    EnvoyGateway,
}

impl Set {
    pub const ALL: [Set; 2] = [Set::Istio, Set::EnvoyGateway];

    pub fn folder(self) -> PathBuf {
        shipped(match self {
            Set::Istio => "istio",
            Set::EnvoyGateway => "gateway",
        })
    }

    /// Every document of the set.
    pub fn documents(self) -> Result<Vec<Document>> {
        let mut documents = all(&self.folder())?;
        // It says how the others are put together.
        documents.retain(|document| document.kind() != "Kustomization");
        Ok(documents)
    }

    /// What only some want.
    pub fn extras(self) -> Result<Vec<Document>> {
        all(&self.folder().join("extras"))
    }
}

/// What differs for the native module in Envoy Gateway.
pub fn native() -> Result<Vec<Document>> {
    all(&shipped("gateway/native"))
}

/// Every document of a folder's files.
fn all(folder: &Path) -> Result<Vec<Document>> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder)?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    files.retain(|path| {
        path.extension()
            .is_some_and(|extension| extension == "yaml")
    });
    files.sort();
    ensure!(!files.is_empty(), "no file in {}", folder.display());
    let mut documents = Vec::new();
    for path in files {
        documents.extend(read(&path)?);
    }
    Ok(documents)
}

/// The resources of plain Envoy in Kubernetes.
pub fn plain() -> Result<Vec<Document>> {
    let mut documents = Vec::new();
    for name in ["workload", "service", "disruption", "network"] {
        documents.extend(read(&shipped(&format!("kustomize/envoy/{name}.yaml")))?);
    }
    Ok(documents)
}

/// A path under `envoy/`.
pub fn shipped(path: &str) -> PathBuf {
    paths::repository().join("envoy").join(path)
}

/// One resource.
#[derive(Clone, Debug)]
pub struct Document {
    pub file: PathBuf,
    pub value: Value,
}

impl Document {
    pub fn kind(&self) -> &str {
        self.value["kind"].as_str().unwrap_or_default()
    }

    pub fn name(&self) -> &str {
        self.value["metadata"]["name"].as_str().unwrap_or_default()
    }

    pub fn spec(&self) -> &Value {
        &self.value["spec"]
    }

    /// For messages.
    pub fn title(&self) -> String {
        let file = self.file.file_name().unwrap_or_default();
        format!(
            "{} {} in {}",
            self.kind(),
            self.name(),
            file.to_string_lossy()
        )
    }
}

/// All documents of a file.
pub fn read(file: &Path) -> Result<Vec<Document>> {
    let text = fs::read_to_string(file).with_context(|| file.display().to_string())?;
    let mut documents = Vec::new();
    for document in serde_yaml_ng::Deserializer::from_str(&text) {
        let value = Value::deserialize(document).with_context(|| file.display().to_string())?;
        // A comment between two separators is a document too.
        if !value.is_null() {
            let file = file.to_path_buf();
            documents.push(Document { file, value });
        }
    }
    Ok(documents)
}

/// Those of a kind.
pub fn of_kind<'a>(
    documents: &'a [Document],
    kind: &'a str,
) -> impl Iterator<Item = &'a Document> + 'a {
    documents
        .iter()
        .filter(move |document| document.kind() == kind)
}

/// The only one of a kind.
pub fn only<'a>(documents: &'a [Document], kind: &str) -> Result<&'a Document> {
    let found: Vec<&Document> = documents
        .iter()
        .filter(|document| document.kind() == kind)
        .collect();
    let [document] = found.as_slice() else {
        anyhow::bail!("{} of kind {kind}, not one", found.len());
    };
    Ok(document)
}

/// The members of a list; none of anything else.
pub fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// The text of a member that must be one.
pub fn text(value: &Value) -> Result<&str> {
    value
        .as_str()
        .with_context(|| format!("{value} is no text"))
}
