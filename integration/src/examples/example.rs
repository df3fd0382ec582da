//! The files.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::{paths, yaml};

/// The one that is no example.
pub const REQUESTS: &str = "requests";

/// One deployment file.
pub struct Example {
    /// Without `.yaml`.
    pub name: String,
    pub text: String,
    pub document: Value,
}

/// All of them, by name.
pub fn all() -> Result<Vec<Example>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder())? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let stem = name.strip_suffix(".yaml");
        ensure!(
            stem.is_some() || name == "README.md",
            "{name} is no example"
        );
        names.extend(stem.filter(|stem| *stem != REQUESTS).map(str::to_owned));
    }
    names.sort();
    names.into_iter().map(Example::read).collect()
}

/// Where they are.
#[must_use]
pub fn folder() -> PathBuf {
    paths::repository().join("envoy/examples")
}

impl Example {
    fn read(name: String) -> Result<Example> {
        let path = folder().join(format!("{name}.yaml"));
        let text = fs::read_to_string(&path)?;
        let document = yaml::parse(&text).with_context(|| name.clone())?;
        Ok(Example {
            name,
            text,
            document,
        })
    }

    #[must_use]
    pub fn path(&self) -> String {
        folder()
            .join(format!("{}.yaml", self.name))
            .display()
            .to_string()
    }

    /// Its only provider.
    #[must_use]
    pub fn provider(&self) -> &Value {
        &self.document["providers"][0]
    }

    /// What its provider is called, here and in `integration/identities`.
    pub fn provider_name(&self) -> Result<&str> {
        let others = &self.document["providers"][1];
        ensure!(others.is_null(), "{}: two providers", self.name);
        self.provider()["name"]
            .as_str()
            .context("a provider without a name")
    }

    /// The names of the claims at the top of a token that are read for groups.
    #[must_use]
    pub fn group_claims(&self) -> Vec<&str> {
        let sources = self.provider()["claims"]["groups"].as_array();
        let sources = sources.into_iter().flatten();
        sources
            .filter_map(|source| source["path"][0].as_str())
            .collect()
    }

    /// The longest lifetime of its tokens, in seconds.
    pub fn max_lifetime(&self) -> Result<i64> {
        let text = self.provider()["max_lifetime"].as_str();
        let hours = text
            .and_then(|text| text.strip_suffix('h'))
            .context("no max_lifetime in hours")?;
        Ok(hours.parse::<i64>()?.saturating_mul(3600))
    }

    /// Each of these values stands in it outside of comments, and wherever it says "Replace" there is one of them, on
    /// that line or below that comment.
    pub fn marks(&self, values: &[&str]) -> Result<()> {
        let name = &self.name;
        let parts = |line: &'_ str| -> (String, String) {
            let (code, comment) = line.split_once('#').unwrap_or((line, ""));
            (code.trim().to_owned(), comment.to_owned())
        };
        let lines: Vec<(String, String)> = self.text.lines().map(parts).collect();
        for value in values {
            let found = lines.iter().any(|(code, _)| code.contains(value));
            ensure!(found, "{name}: {value} is not there");
        }
        let holds = |line: &(String, String)| values.iter().any(|value| line.0.contains(value));
        let mut marks = 0;
        for (at, line) in lines.iter().enumerate() {
            // What stands at the top speaks of all of it.
            if !line.1.contains("Replace") {
                continue;
            }
            marks += 1;
            let own = !line.0.is_empty();
            let below = lines.iter().skip(at).filter(|line| !line.0.is_empty());
            let found = below.take(if own { 1 } else { 3 }).any(holds);
            ensure!(
                found,
                "{name}, line {}: the index does not say what",
                at + 1
            );
        }
        ensure!(marks > 3, "{name}: {marks} marks");
        Ok(())
    }
}
