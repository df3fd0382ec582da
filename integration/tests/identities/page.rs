//! A page of `docs/providers`, and the parts of it that are the gate's configuration.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use integration::{paths, yaml};
use serde_json::{Map, Value};

/// Sections that every page has, in this order.
const SECTIONS: [&str; 5] = [
    "At the provider",
    "In the gate",
    "What the claims mean",
    "What to send",
    "Traps",
];

/// The top level of the gate's configuration, as far as pages use it.
const GATE: [&str; 4] = ["credentials", "organizations", "providers", "roles"];

/// One page.
pub struct Page {
    name: String,
    text: String,
    /// All blocks of the gate's configuration together.
    pub document: Map<String, Value>,
}

impl Page {
    /// Reads a page and its blocks of YAML that begin with a key of the gate; each key stands in one of them.
    pub fn read(name: &str) -> Result<Page> {
        let path = folder().join(format!("{name}.md"));
        let text =
            fs::read_to_string(&path).with_context(|| format!("no page {}", path.display()))?;
        let mut document = Map::new();
        for block in blocks(&text) {
            let members: Map<String, Value> =
                yaml::parse(&block).with_context(|| format!("{name}.md:\n{block}"))?;
            let known = members.keys().filter(|key| GATE.contains(&key.as_str()));
            match known.count() {
                0 => continue,
                count => ensure!(count == members.len(), "{name}.md: a mixed block:\n{block}"),
            }
            for (key, value) in members {
                if document.insert(key.clone(), value).is_some() {
                    bail!("{name}.md: {key} stands there twice");
                }
            }
        }
        for key in ["providers", "organizations"] {
            ensure!(document.contains_key(key), "{name}.md: no {key}");
        }
        Ok(Page {
            name: name.to_owned(),
            text,
            document,
        })
    }

    /// What a reader could stumble over.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let found: Vec<&str> = self
            .text
            .lines()
            .filter_map(|line| line.strip_prefix("## "))
            .collect();
        if found != SECTIONS {
            problems.push(format!("{}.md: the sections are {found:?}", self.name));
        }
        let prefixes = self.prefixes();
        for group in self.groups() {
            let of_source = |prefix: &String| group.starts_with(prefix.as_str());
            if !prefixes.iter().any(of_source) {
                problems.push(format!("{}.md: {group} begins with no prefix", self.name));
            }
        }
        let own = format!("{}:", self.name);
        for prefix in &prefixes {
            if !prefix.starts_with(&own) {
                problems.push(format!(
                    "{}.md: the prefix {prefix:?} does not name it",
                    self.name
                ));
            }
        }
        problems
    }

    /// The prefixes of all sources of groups.
    fn prefixes(&self) -> Vec<String> {
        let sources = list(&self.document["providers"])
            .iter()
            .flat_map(|provider| list(&provider["claims"]["groups"]));
        sources
            .map(|source| source["prefix"].as_str().unwrap_or_default().to_owned())
            .collect()
    }

    /// The groups that hold a role.
    fn groups(&self) -> Vec<String> {
        let holders = list(&self.document["organizations"])
            .iter()
            .filter_map(|organization| organization["rbac"].as_object())
            .flat_map(Map::values)
            .flat_map(list);
        holders
            .filter_map(|holder| holder.as_str().or_else(|| holder["group"].as_str()))
            .map(ToOwned::to_owned)
            .collect()
    }
}

/// Pages that are about no provider.
const OTHERS: [&str; 2] = ["README", "basic"];

/// The names of all pages of providers.
pub fn names() -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(folder())? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if let Some(name) = name
            .strip_suffix(".md")
            .filter(|name| !OTHERS.contains(name))
        {
            names.insert(name.to_owned());
        }
    }
    Ok(names)
}

/// The text of the index.
pub fn index() -> Result<String> {
    Ok(fs::read_to_string(folder().join("README.md"))?)
}

fn folder() -> PathBuf {
    paths::repository().join("docs/providers")
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// The blocks of YAML in a text.
fn blocks(text: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut open: Option<String> = None;
    for line in text.lines() {
        match &mut open {
            None if line == "```yaml" => open = Some(String::new()),
            None => {}
            Some(_) if line == "```" => blocks.extend(open.take()),
            Some(block) => {
                block.push_str(line);
                block.push('\n');
            }
        }
    }
    blocks
}
