//! The page in a Chromium. What it does there stands in `playground/walk/walk.mjs`.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use integration::{drill, issuer, part, paths, trials, yaml};
use serde_json::{Value, json};

use crate::agreement::Node;

trials! {
    every_example_is_there needs [BROWSER, PLAYGROUND],
    a_browser_walks_through_the_page needs [BROWSER, PLAYGROUND],
}

/// The module holds the files as they are.
fn every_example_is_there() -> Result<()> {
    let folder = paths::repository().join("envoy/examples");
    let requests: Vec<Value> = yaml::read(&folder.join("requests.yaml"))?;
    let examples = Node::start()?.examples()?;
    let examples = examples.as_array().context("no list")?;
    ensure!(examples.len() == requests.len(), "{}", examples.len());
    let mut names = BTreeSet::new();
    for (example, request) in examples.iter().zip(&requests) {
        let name = request["example"].as_str().context("of no example")?;
        names.insert(format!("{name}.yaml"));
        let file = fs::read_to_string(folder.join(format!("{name}.yaml")))?;
        ensure!(example["configuration"] == json!(file), "{name}");
        for (key, value) in request.as_object().context("no request")? {
            ensure!(example[key] == *value, "{name}: {key}");
        }
    }
    for entry in fs::read_dir(&folder)? {
        let path = entry?.path();
        let name = path.file_name().context("no name")?.to_string_lossy();
        let is_other =
            path.extension().is_none_or(|kind| kind != "yaml") || name == "requests.yaml";
        ensure!(
            is_other || names.contains(&*name),
            "{name} is not in the playground"
        );
    }
    Ok(())
}

fn a_browser_walks_through_the_page() -> Result<()> {
    let folder = part::BROWSER.find()?;
    let examples = Node::start()?.examples()?;
    let expected = examples
        .as_array()
        .context("no list")?
        .iter()
        .map(|example| {
            let sent = &example["param"]["query"];
            let becomes = &example["becomes"]["query"];
            match (sent.as_str(), becomes.as_str()) {
                (Some(sent), Some(becomes)) if sent != becomes => {
                    json!({"code": example["expect"], "query": becomes, "sent": sent})
                }
                _ => json!({"code": example["expect"]}),
            }
        });
    let expected: Vec<Value> = expected.collect();
    let keys = [issuer::PublishedKey::named("rsa-a")];
    let given = json!({
        "configuration": serde_json::to_string_pretty(&drill::configuration())?,
        "token": drill::token_of("reader")?,
        "jwks": issuer::jwks(&keys)?.to_string(),
        "path": "/loki/api/v1/labels",
        "tenant": "acme",
        "expected": expected,
    });
    let mut walk = Command::new("node");
    walk.arg(folder.join("walk.mjs"))
        .arg(part::PLAYGROUND.find()?)
        .arg(folder.join("chromium"));
    // The pictures of the documentation.
    if std::env::var_os("SCOPEGATE_WRITE").is_some() {
        walk.arg(paths::repository().join("docs/pictures"));
    }
    let mut walk = walk
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot start node")?;
    walk.stdin
        .take()
        .context("no input")?
        .write_all(given.to_string().as_bytes())?;
    let ended = walk.wait_with_output()?;
    let told = String::from_utf8_lossy(&ended.stdout);
    ensure!(
        ended.status.success(),
        "{told}{}",
        String::from_utf8_lossy(&ended.stderr)
    );
    let seen: Value = serde_json::from_str(&told)?;
    ensure!(
        seen["examples"] == json!(expected.len()) && seen["connections"] == 0,
        "{seen}"
    );
    eprintln!("{seen}");
    Ok(())
}
