//! What the documents promise stands in the code: the reference configuration
//! parses and uses every key, tables are those of the code, links lead somewhere,
//! and commands are ones that there are.

#![allow(clippy::panic, clippy::unwrap_used)]

mod commands;
mod generated;
mod links;
mod page;
mod shell;

use std::collections::BTreeSet;
use std::fs;

use scopegate::authz::endpoint::{Scoping, TABLE};
#[cfg(feature = "cli")]
use scopegate::config::table::every_key;
use scopegate::config::{Config, Environment};
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
