//! Reads YAML files into types, through the JSON data model.
//!
//! This detour lets an enum be written as `{append: "x"}`, as people expect, instead of with YAML tags.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::de::{Deserialize, DeserializeOwned, Deserializer};
use serde_json::Value;

/// The document in that file.
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    parse(&text).with_context(|| format!("in {}", path.display()))
}

/// The document in that text.
pub fn parse<T: DeserializeOwned>(text: &str) -> Result<T> {
    let value: Value = serde_yaml_ng::from_str(text)?;
    Ok(serde_json::from_value(value)?)
}

/// Reads a field that may hold one value or a list of them.
pub fn one_or_many<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned,
{
    let value = Value::deserialize(deserializer)?;
    let many = match value {
        Value::Array(items) => items,
        Value::Null => Vec::new(),
        one => vec![one],
    };
    many.into_iter()
        .map(|item| serde_json::from_value(item).map_err(serde::de::Error::custom))
        .collect()
}
