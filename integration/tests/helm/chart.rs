//! What Helm prints of values, and what `scopegate render` prints of the deployment file that says the same.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context as _, Result, bail, ensure};
use clap::Parser as _;
use integration::{part, paths};
use scopegate::cli::{Arguments, Console, Disk, Outcome, run};
use serde::Deserialize as _;
use serde_json::{Value, json};

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Product {
    Istio,
    EnvoyGateway,
}

impl Product {
    pub const ALL: [Self; 2] = [Self::Istio, Self::EnvoyGateway];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Istio => "istio",
            Self::EnvoyGateway => "envoy-gateway",
        }
    }

    /// The file with the gate's configuration, and the line above that.
    pub const fn carrier(self) -> (&'static str, &'static str) {
        match self {
            Self::Istio => ("plugin.yaml", "  pluginConfig:\n"),
            Self::EnvoyGateway => ("policy.yaml", "      config:\n"),
        }
    }
}

pub fn folder() -> PathBuf {
    paths::repository().join("envoy/helm")
}

/// Runs Helm with settings of nobody, so that no cluster and no plugin is asked.
pub fn helm(arguments: &[&str], home: &Path) -> Result<Output> {
    Command::new(part::HELM.find()?)
        .args(arguments)
        .env_clear()
        .env("HOME", home)
        .output()
        .context("helm")
}

/// Values in a file that any reader of YAML reads in the same way: JSON, with what YAML does not take as it is escaped.
pub fn written(values: &Value) -> Result<tempfile::NamedTempFile> {
    let file = tempfile::NamedTempFile::new()?;
    fs::write(file.path(), escaped(values)?)?;
    Ok(file)
}

fn escaped(values: &Value) -> Result<String> {
    let mut text = String::new();
    for character in values.to_string().chars() {
        match character {
            '\u{7f}'..='\u{9f}'
            | '\u{2028}'
            | '\u{2029}'
            | '\u{feff}'
            | '\u{fffe}'
            | '\u{ffff}' => {
                write!(text, "\\u{:04x}", u32::from(character))?;
            }
            character => text.push(character),
        }
    }
    Ok(text)
}

/// What `helm template` prints of these values, or what it says against them.
pub fn template(
    product: Product,
    values: Option<&Value>,
    namespace: &str,
    arguments: &[&str],
) -> Result<Result<String, String>> {
    let home = tempfile::tempdir()?;
    let chart = folder();
    let product = format!("product={}", product.name());
    let mut line = vec![
        "template",
        "scopegate",
        chart.to_str().context("a path that is no text")?,
        "--namespace",
        namespace,
        "--set",
        &product,
    ];
    let file = values.map(written).transpose()?;
    if let Some(file) = &file {
        line.extend([
            "-f",
            file.path().to_str().context("a path that is no text")?,
        ]);
    }
    line.extend(arguments);
    let output = helm(&line, home.path())?;
    let said = String::from_utf8(output.stderr)?;
    if !output.status.success() {
        return Ok(Err(said));
    }
    ensure!(said.is_empty(), "helm warns: {said}");
    Ok(Ok(String::from_utf8(output.stdout)?))
}

/// Its documents as they are written, by the names of their templates.
pub fn by_template(printed: &str) -> Result<BTreeMap<String, Vec<String>>> {
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let documents = printed.strip_prefix("---\n").unwrap_or(printed);
    for document in documents
        .split("\n---\n")
        .filter(|it| !it.trim().is_empty())
    {
        let document = document.strip_prefix("# Source: scopegate/templates/");
        let (name, text) = document
            .and_then(|it| it.split_once('\n'))
            .with_context(|| format!("no source in {document:?}"))?;
        found
            .entry(name.to_owned())
            .or_default()
            .push(text.trim().to_owned());
    }
    Ok(found)
}

/// What `scopegate render` prints of a deployment file, or what it says against it.
pub fn render(
    product: Product,
    deployment_file: &Value,
) -> Result<Result<BTreeMap<String, String>, String>> {
    let (mut printed, mut said) = (Vec::new(), Vec::new());
    let outcome = run(
        Arguments::try_parse_from([
            "scopegate",
            "render",
            product.name(),
            "-",
            "--output",
            "json",
        ])?,
        &mut Console {
            input: &mut escaped(deployment_file)?.as_bytes(),
            files: &Disk,
            output: &mut printed,
            errors: &mut said,
            styled: false,
            variables: BTreeMap::new(),
            now: 0,
            web: &mut scopegate::cli::Unconnected,
        },
    );
    let said = String::from_utf8(said)?;
    match outcome {
        Outcome::Good => {}
        Outcome::Problems => return Ok(Err(said)),
        Outcome::WrongUse => bail!("{said}"),
    }
    let mut files: Value = serde_json::from_slice(&printed)?;
    let mut files: BTreeMap<String, String> = serde_json::from_value(files["files"].take())?;
    files.remove("kustomization.yaml");
    Ok(Ok(files))
}

/// The values that say what a deployment file says.
pub fn values_of(deployment_file: &Value) -> Value {
    let mut configuration = deployment_file.clone();
    let deployment = configuration
        .as_object_mut()
        .and_then(|members| members.remove("deployment"));
    json!({"deployment": deployment, "configuration": configuration})
}

pub fn parsed(text: &str) -> Result<Vec<Value>> {
    let mut documents = Vec::new();
    for document in serde_yaml_ng::Deserializer::from_str(text) {
        let value = Value::deserialize(document).with_context(|| text.to_owned())?;
        if !value.is_null() {
            documents.push(value);
        }
    }
    Ok(documents)
}
