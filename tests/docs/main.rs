//! What the documents promise is true of the code: the reference configuration parses and uses
//! every key, tables are those of the code, links lead to something that exists, and commands
//! exist.

#![allow(clippy::panic, clippy::unwrap_used)]

mod commands;
mod generated;
mod licences;
mod links;
mod page;
mod shell;
mod versions;

#[cfg(feature = "cli")]
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
#[cfg(feature = "cli")]
use std::path::Path;

use scopegate::authz::endpoint::{Scoping, TABLE};
#[cfg(feature = "cli")]
use scopegate::config::table::every_key;
use scopegate::config::{Config, Environment};
use serde_json::Value;

use page::Page;

fn read(path: &str) -> String {
    let path = format!("{}/{path}", env!("CARGO_MANIFEST_DIR"));
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn reference() -> Value {
    serde_yaml_ng::from_str(&read("envoy/scopegate.yaml")).unwrap()
}

#[test]
fn the_version_that_is_built_stands_in_the_changelog() {
    let version = env!("CARGO_PKG_VERSION");
    let heading = format!("\n## [{version}] - ");
    assert!(read("CHANGELOG.md").contains(&heading), "{version}");
    assert!(
        read("Dockerfile").contains(&format!("VERSION={version} ")),
        "{version}"
    );
}

#[test]
fn the_reference_configuration_parses() {
    let document = serde_json::to_vec(&reference()).unwrap();
    if let Err(problems) = Config::parse(&document, &Environment::default()) {
        panic!("{problems:#?}");
    }
}

#[cfg(feature = "cli")]
#[test]
fn the_reference_configuration_uses_every_key() {
    fn collect(value: &Value, names: &mut BTreeSet<String>) {
        match value {
            Value::Object(members) => {
                for (name, value) in members {
                    names.insert(name.clone());
                    collect(value, names);
                }
            }
            Value::Array(elements) => elements.iter().for_each(|e| collect(e, names)),
            _ => {}
        }
    }
    let mut used = BTreeSet::new();
    collect(&reference(), &mut used);
    let keys: BTreeSet<&str> = every_key().iter().map(|(_, key)| key.name).collect();
    // Where one of two may stand, the other one stands in a comment.
    let text = read("envoy/scopegate.yaml");
    let noted = |key: &str| {
        text.lines()
            .filter_map(|line| line.trim_start().strip_prefix("# "))
            .any(|line| line.contains(&format!("{key}: ")) || line.trim() == format!("{key}:"))
    };
    for key in keys {
        assert!(
            used.contains(key) || noted(key),
            "envoy/scopegate.yaml does not use {key}"
        );
    }
}

/// `docs/mistakes.md` shows wrong ones.
#[test]
fn configurations_on_the_pages_are_read() {
    let mut count = 0;
    for path in page::paths() {
        if path.ends_with("mistakes.md") {
            continue;
        }
        for block in Page::read(&path).blocks {
            if !block.info.starts_with("yaml") {
                continue;
            }
            let document: Value = serde_yaml_ng::from_str(&block.text)
                .unwrap_or_else(|error| panic!("{}: {error}: {}", path.display(), block.text));
            let has = |name| document.get(name).is_some();
            if !has("providers") || !has("organizations") || has("deployment") {
                continue;
            }
            count += 1;
            let document = serde_json::to_vec(&document).unwrap();
            if let Err(problems) = Config::parse(&document, &Environment::default()) {
                panic!("{}: {problems:#?}", path.display());
            }
        }
    }
    assert!(count > 2, "{count}");
}

/// The README's configuration is short, and `scopegate check` finds nothing in it. What it does in Envoy is in
/// `integration/tests/run.rs`.
#[cfg(feature = "cli")]
#[test]
fn the_readmes_configuration_is_good() {
    use clap::Parser as _;
    use scopegate::cli::{Arguments, Console, Disk, Outcome, Unconnected, run};

    let blocks = Page::read(Path::new("README.md")).blocks;
    let mut blocks = blocks.iter().filter(|block| block.info == "yaml");
    let text = &blocks.next().unwrap().text;
    assert!(blocks.next().is_none());
    assert!(text.lines().count() <= 20, "{text}");
    let (mut output, mut errors) = (Vec::new(), Vec::new());
    let mut console = Console {
        input: &mut text.as_bytes(),
        files: &Disk,
        output: &mut output,
        errors: &mut errors,
        styled: false,
        variables: BTreeMap::default(),
        now: 0,
        web: &mut Unconnected,
    };
    let line = ["scopegate", "check", "--strict", "-"];
    let outcome = run(Arguments::parse_from(line), &mut console);
    let output = String::from_utf8(output).unwrap();
    assert_eq!(outcome, Outcome::Good, "{output}");
    assert!(
        output.contains(": good: 1 provider, 1 organization"),
        "{output}"
    );
}

/// A row is limited for scoped callers only because a test has shown it on a real server.
#[test]
fn every_row_that_can_be_scoped_names_a_test_of_a_real_server() {
    for row in TABLE {
        let Scoping::Parameters(_, honoured) = row.scoping else {
            continue;
        };
        let (module, name) = honoured.shown_by.rsplit_once("::").unwrap();
        let path = format!("integration/tests/{}", module.replace("::", "/"));
        let file = format!("{}/{path}.rs", env!("CARGO_MANIFEST_DIR"));
        let source = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{file}: {error}"));
        let list = source
            .split("tests![")
            .nth(1)
            .unwrap()
            .split("];")
            .next()
            .unwrap();
        assert!(
            list.contains(&format!("{name},")),
            "{file} does not list {name}"
        );
        assert!(
            source.contains(&format!("async fn {name}(")),
            "{file} lacks {name}"
        );
    }
}
