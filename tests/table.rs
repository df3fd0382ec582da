//! The table of keys is the only place for names, bounds and defaults: the reader takes them
//! from there, and the comments of the reference configuration agree with it.

#![cfg(feature = "cli")]
#![allow(clippy::panic, clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use scopegate::config::table::{Described, Form, every_key, millis, path_of};
use serde_json::Value;

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The files of a folder that are code, without their tests and comments.
fn code(folder: &str) -> BTreeMap<String, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let entries = fs::read_dir(root).unwrap().map(|entry| entry.unwrap());
    let files = entries.filter(|entry| entry.path().extension().is_some_and(|it| it == "rs"));
    let names = files.map(|entry| entry.file_name().into_string().unwrap());
    let code = names.map(|name| {
        let text = read(&format!("{folder}/{name}"));
        let text = text.split("#[cfg(test)]").next().unwrap();
        let lines = text
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"));
        (name, lines.collect::<Vec<&str>>().join("\n"))
    });
    code.collect()
}

#[test]
fn the_reader_has_no_names_bounds_and_defaults_of_its_own() {
    let names: BTreeSet<&str> = every_key().iter().map(|(_, key)| key.name).collect();
    let mut problems = Vec::new();
    for (file, code) in code("src/config") {
        // Keys that other gateways have, and claims that people write: no keys of ours.
        let code =
            ["const ADVICE", "const DISPLAY_NAMES"]
                .iter()
                .fold(code, |code, list| match code.split_once(list) {
                    Some((before, after)) => [before, after.split_once("];").unwrap().1].concat(),
                    None => code,
                });
        for (number, line) in code.lines().enumerate() {
            for text in line.split('"').skip(1).step_by(2) {
                if names.contains(text) {
                    problems.push(format!("{file}:{number}: names the key {text:?}"));
                }
                if millis(text).is_some() {
                    problems.push(format!("{file}:{number}: has the duration {text:?}"));
                }
            }
        }
        for word in [
            "Count {",
            "Span {",
            "Duration::new",
            "Word {",
            "Words {",
            "Preset {",
        ] {
            let made = code.contains(word) && file != "reader.rs";
            if made {
                problems.push(format!("{file}: makes a form: {word}"));
            }
        }
    }
    assert!(problems.is_empty(), "{problems:#?}");
}

/// A key that is known but never read would be accepted and have no effect.
#[test]
fn every_key_of_the_table_is_read() {
    let readers: String = code("src/config").into_values().collect();
    let mut found = BTreeSet::new();
    for (file, code) in code("src/config/table") {
        let mut module = file.trim_end_matches(".rs").to_owned();
        for line in code.lines().map(str::trim) {
            if let Some(name) = line.strip_prefix("pub mod ") {
                module = name.trim_end_matches([' ', '{', ';']).to_owned();
            }
            // `NAME: Form = "name", …`
            let Some((key, rest)) = line.split_once(": ") else {
                continue;
            };
            let Some((_, name)) = rest.split_once(" = \"") else {
                continue;
            };
            if !key.chars().all(|c| c.is_ascii_uppercase() || c == '_') {
                continue;
            }
            // Another document has keys of its own.
            if file != "outside.rs" {
                found.insert(name.split('"').next().unwrap().to_owned());
            }
            // What all backends have is read in a loop.
            let read = readers.contains(&format!("{module}::{key}"))
                || (module == "backends" && code.contains(&format!("section: {key},")))
                || (file == "backends.rs" && code.contains(&format!(": {module}::{key},")));
            assert!(read, "{module}::{key} is in the table, and nobody reads it");
        }
    }
    let names: BTreeSet<String> = every_key()
        .into_iter()
        .map(|(_, key)| key.name.to_owned())
        .collect();
    assert_eq!(found, names);
}

/// A line of the reference configuration that has a key: what stands there, and what the
/// comment beside it says, or the one above it.
struct Line {
    value: String,
    comment: String,
}

/// The lines of the reference configuration by the paths of their keys.
fn lines() -> Vec<(String, Line)> {
    let text = read("envoy/scopegate.yaml");
    let mut lines = Vec::new();
    let mut above = String::new();
    let mut open: Vec<(usize, String)> = Vec::new();
    for line in text.lines() {
        let mut rest = line.trim_start();
        if let Some(comment) = rest.strip_prefix('#') {
            above.push_str(comment);
            continue;
        }
        let mut indent = line.len() - rest.len();
        open.retain(|(other, _)| *other < indent);
        if let Some(element) = rest.strip_prefix("- ") {
            let list = open
                .last()
                .map(|(_, path)| path.clone())
                .unwrap_or_default();
            open.push((indent, format!("{list}[]")));
            indent += 2;
            rest = element;
        }
        let (rest, beside) = rest.split_once("# ").unwrap_or((rest, ""));
        let plain = |key: &&str| key.chars().all(|c| c.is_ascii_lowercase() || c == '_');
        if let Some((key, value)) = rest.split_once(':').filter(|(key, _)| plain(key)) {
            let section = open
                .last()
                .map(|(_, path)| path.clone())
                .unwrap_or_default();
            let path = path_of(&section, key);
            open.push((indent, path.clone()));
            let line = Line {
                value: value.trim().to_owned(),
                comment: format!("{above} {beside}"),
            };
            lines.push((path, line));
        }
        above.clear();
    }
    lines
}

/// The keys of the table that the reference configuration has in a line of their own.
fn found() -> Vec<(String, Line, Described)> {
    let keys: BTreeMap<String, Described> = every_key().into_iter().collect();
    let lines = lines().into_iter();
    let found = lines.filter_map(|(path, line)| {
        let key = keys.get(&path)?.clone();
        Some((path, line, key))
    });
    found.collect()
}

/// `256 to 49152`, `100ms to 30s`
fn ranges(comment: &str) -> Vec<String> {
    let words: Vec<&str> = comment
        .split_whitespace()
        .map(|word| word.trim_matches([',', ':', ';', '.']))
        .collect();
    let number = |word: &str| word.parse::<usize>().is_ok() || millis(word).is_some();
    let ranges = words
        .windows(3)
        .filter(|three| three[1] == "to" && number(three[0]) && number(three[2]));
    ranges.map(|three| three.join(" ")).collect()
}

#[test]
fn bounds_in_comments_of_the_reference_configuration_are_those_of_the_table() {
    let mut bounded = 0;
    for (path, line, key) in found() {
        let bounds = match &key.form {
            Form::Count(count) => vec![format!("{} to {}", count.least, count.most)],
            Form::Duration(span) => vec![format!("{} to {}", span.least, span.most)],
            Form::List { least, most, .. } if *least > 1 => vec![format!("{least} to {most}")],
            _ => Vec::new(),
        };
        bounded += bounds.len();
        assert_eq!(ranges(&line.comment), bounds, "{path}");
    }
    assert!(bounded > 12, "{bounded}");
}

/// Where the reference configuration shows something else than the default without naming
/// the default.
const SHOWN: [&str; 6] = [
    "backends.loki.version",
    "backends.mimir",
    "credentials",
    "providers[].claims.groups",
    "providers[].claims.subject",
    "providers[].jwks.discovery",
];

#[test]
fn defaults_in_the_reference_configuration_are_those_of_the_table() {
    let mut same = 0;
    for (path, line, key) in found() {
        let Some(default) = &key.default else {
            continue;
        };
        let value: Value = serde_yaml_ng::from_str(&line.value).unwrap();
        if value == *default {
            same += 1;
        } else if !SHOWN.contains(&path.as_str()) && !value.is_null() && !value.is_array() {
            let default = default.to_string();
            let named = line
                .comment
                .contains(&format!("{} is the default", default.trim_matches('"')));
            assert!(named, "{path}: {value}, not {default}");
        }
    }
    assert!(same > 25, "{same}");
}

#[test]
fn words_in_comments_of_the_reference_configuration_are_those_of_the_table() {
    let mut all = 0;
    for (path, line, key) in found() {
        let words = match &key.form {
            Form::Word(words) => words.clone(),
            Form::List { of, .. } => match &**of {
                Form::Word(words) => words.clone(),
                _ => Vec::new(),
            },
            _ => Vec::new(),
        };
        let text = format!("{} {}", line.value, line.comment);
        for word in words {
            all += 1;
            assert!(text.contains(word), "{path}: {word} is not told of");
        }
    }
    assert!(all > 20, "{all}");
}

#[test]
fn the_reference_configuration_names_the_schema_beside_it() {
    let text = read("envoy/scopegate.yaml");
    let line = text.lines().next().unwrap();
    let schema = line
        .strip_prefix("# yaml-language-server: $schema=")
        .unwrap();
    let schema: Value = serde_json::from_str(&read(&format!("envoy/{schema}"))).unwrap();
    assert_eq!(schema["$schema"], "http://json-schema.org/draft-07/schema#");
}
