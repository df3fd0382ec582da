//! What the documents promise stands in the code: the reference configuration
//! parses and uses every key, the README has a row for every code.

#![allow(clippy::panic, clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fs;

use scopegate::authz::endpoint::{Scoping, Surface, TABLE};
#[cfg(feature = "cli")]
use scopegate::config::table::every_key;
use scopegate::config::{Config, Environment};
use scopegate::words::denial::ROWS;
use serde_json::Value;

fn read(path: &str) -> String {
    let path = format!("{}/{path}", env!("CARGO_MANIFEST_DIR"));
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn reference() -> Value {
    serde_yaml_ng::from_str(&read("envoy/scopegate.yaml")).unwrap()
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

/// The README's table of refusals: code and status of each row, in order.
fn refusals(readme: &str) -> Vec<(String, String)> {
    let section = readme.split("## Refusals").nth(1).unwrap();
    let section = section.split("\n## ").next().unwrap();
    section
        .lines()
        .filter_map(|line| {
            let mut cells = line.strip_prefix("| `")?.split(" | ");
            let code = cells.next()?.strip_suffix('`')?;
            Some((code.to_owned(), cells.next()?.to_owned()))
        })
        .collect()
}

#[test]
fn the_readme_tells_every_refusal_with_its_status() {
    let written: BTreeSet<(String, String)> = refusals(&read("README.md")).into_iter().collect();
    let rows: BTreeSet<(String, String)> = ROWS
        .iter()
        .map(|row| (row.code.to_owned(), row.status.to_string()))
        .collect();
    let missing: Vec<_> = rows.difference(&written).collect();
    assert!(missing.is_empty(), "README.md lacks {missing:?}");
    let invented: Vec<_> = written.difference(&rows).collect();
    assert!(invented.is_empty(), "README.md invents {invented:?}");
}

/// The README's table of the versions from which on a server limits an endpoint.
#[test]
fn the_readme_tells_from_which_version_on_an_endpoint_is_limited() {
    let readme = read("README.md");
    let mut rows = 0;
    for row in TABLE.iter().filter(|row| row.surface != Surface::Projects) {
        let Scoping::Parameters(_, honoured) = row.scoping else {
            continue;
        };
        let name = row.backend.name();
        let name = name[..1].to_ascii_uppercase() + &name[1..];
        let line = format!("\n| `{}` | {name} {} |\n", row.template, honoured.since);
        assert!(readme.contains(&line), "README.md lacks {line}");
        rows += 1;
    }
    let section = readme.split("| endpoint | from version |").nth(1).unwrap();
    let lines = section
        .lines()
        .skip(2)
        .take_while(|line| line.starts_with('|'));
    assert_eq!(lines.count(), rows, "README.md has lines of no row");
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
