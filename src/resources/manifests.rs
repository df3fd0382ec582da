//! Resources in files: a file may hold several documents, and a document a list of resources.

use serde::Deserialize as _;
use serde_json::Value;

/// The longest file, in bytes. It is as much as a reader of the result accepts, with room for
/// everything else that a resource holds.
pub const MAX_FILE: usize = 67_108_864;

/// One resource of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Manifest {
    /// The position of the document in the file, counted from 1.
    pub document: usize,
    /// The position in the document, if that is a list, counted from 0.
    pub item: Option<usize>,
    /// The resource.
    pub value: Value,
}

/// Where a file cannot be read any further, and why.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Unreadable {
    /// The position of the document, counted from 1.
    pub document: usize,
    /// What is wrong with it.
    pub text: String,
}

/// Reads all resources of a file in YAML or JSON. Also returns why it stopped early, if it did.
///
/// It stops at a document that cannot be read, because nobody knows where the next one begins.
/// Empty documents are skipped.
#[must_use]
pub fn read(content: &[u8]) -> (Vec<Manifest>, Option<Unreadable>) {
    let mut manifests = Vec::new();
    if content.len() > MAX_FILE {
        let text = format!("has {} bytes: at most {MAX_FILE} are read", content.len());
        return (manifests, Some(Unreadable { document: 1, text }));
    }
    let documents = serde_yaml_ng::Deserializer::from_slice(content);
    for (document, deserializer) in (1..).zip(documents) {
        // This type refuses a key that occurs twice.
        let value = serde_yaml_ng::Value::deserialize(deserializer)
            .map_err(|error| error.to_string())
            .and_then(|value| serde_json::to_value(value).map_err(|error| error.to_string()));
        match value {
            Ok(Value::Null) => {}
            Ok(value) => manifests.extend(items(document, value)),
            Err(text) => return (manifests, Some(Unreadable { document, text })),
        }
    }
    (manifests, None)
}

/// The resources in a document.
fn items(document: usize, mut value: Value) -> Vec<Manifest> {
    let is_list = value
        .get("kind")
        .and_then(Value::as_str)
        .is_some_and(|kind| kind.ends_with("List"));
    if is_list && let Some(Value::Array(items)) = value.get_mut("items").map(Value::take) {
        let manifest = |(item, value)| Manifest {
            document,
            item: Some(item),
            value,
        };
        return items.into_iter().enumerate().map(manifest).collect();
    }
    vec![Manifest {
        document,
        item: None,
        value,
    }]
}
