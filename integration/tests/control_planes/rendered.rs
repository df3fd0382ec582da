//! What `scopegate render` prints of a deployment file, in the place of the shipped manifests.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use integration::kubernetes::documents;
use integration::{command, paths, yaml};
use serde_json::{Value, json};

use crate::product::{Form, Kind, Product};

/// What is applied, and what was there before.
pub struct Rendered {
    documents: Vec<Value>,
    carrier: Value,
}

/// The shipped deployment file, with the digest of the module's image.
pub fn shipped_deployment(product: &Product) -> Result<Value> {
    let mut document = yaml::read(&paths::repository().join("envoy/deployment.yaml"))?;
    with_digest(&mut document, product)?;
    Ok(document)
}

pub fn with_digest(document: &mut Value, product: &Product) -> Result<()> {
    let digest = match product.form {
        Form::Wasm => product.scene.digest.as_str(),
        Form::Native => product.scene.native_digest()?,
    };
    document["deployment"]["digest"] = json!(format!("sha256:{digest}"));
    Ok(())
}

impl Rendered {
    /// Render a deployment file and put it there, with a proxy that has been started since.
    pub async fn put(product: &mut Product, deployment: &Value) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let target = match product.kind {
            Kind::Istio => "istio",
            Kind::EnvoyGateway => "envoy-gateway",
        };
        let place = folder.path().display().to_string();
        let mut words = vec!["render", target, "-", "--output-dir", &place];
        if product.form == Form::Native {
            words.push("--native");
        }
        let (good, said) = command::run(&words, deployment.to_string().as_bytes())?;
        ensure!(good, "{said}");
        let mut rendered = Vec::new();
        for file in product.kind.files() {
            let path: PathBuf = folder.path().join(file);
            // A file of which nothing is needed is not written.
            if path.exists() {
                rendered.extend(documents(&fs::read_to_string(path)?)?);
            }
        }
        let kind = &product.carrier["kind"];
        let mut carriers = rendered.iter().filter(|it| it["kind"] == *kind);
        let carrier = carriers.next().context("it carries nothing")?.clone();
        for document in &rendered {
            product.put(document).await?;
        }
        let gone: Vec<Value> = beyond(&shipped(product)?, &rendered);
        for document in &gone {
            product.scene.api.delete(document).await?;
        }
        let carrier = std::mem::replace(&mut product.carrier, carrier);
        product.until_settled().await?;
        product.start_proxy().await?;
        Ok(Self {
            documents: rendered,
            carrier,
        })
    }

    /// Of what was put there one after the other, as one.
    pub fn after(mut self, first: Self) -> Self {
        self.documents.extend(first.documents);
        self.carrier = first.carrier;
        self
    }

    /// Put the shipped manifests back.
    pub async fn take_back(self, product: &mut Product) -> Result<()> {
        product.carrier = self.carrier;
        let shipped = shipped(product)?;
        for document in &shipped {
            product.put(document).await?;
        }
        for document in beyond(&self.documents, &shipped) {
            product.scene.api.delete(&document).await?;
        }
        product.until_settled().await?;
        product.start_proxy().await?;
        product.begin().await
    }
}

fn shipped(product: &Product) -> Result<Vec<Value>> {
    let mut all = Vec::new();
    for file in product.kind.files() {
        all.extend(product.shipped(file)?);
    }
    Ok(all)
}

/// What is in the one and not in the other.
fn beyond(documents: &[Value], others: &[Value]) -> Vec<Value> {
    let name = |document: &Value| {
        let metadata = &document["metadata"];
        format!(
            "{} {} {}",
            document["kind"], metadata["namespace"], metadata["name"]
        )
    };
    let known: BTreeSet<String> = others.iter().map(name).collect();
    let left = documents.iter().filter(|it| !known.contains(&name(it)));
    left.cloned().collect()
}
