//! Lists every key with its path.

use super::{Described, Form, Table, Text, document};

/// All keys by their paths, such as `providers[].jwks.uri`, in the order of the table.
#[must_use]
pub fn every_key() -> Vec<(String, Described)> {
    let mut found = Vec::new();
    walk(&document::TABLE, "", &mut found);
    found
}

/// The path of a key in the section whose path is `section`.
#[must_use]
pub fn path_of(section: &str, name: &str) -> String {
    if section.is_empty() {
        name.to_owned()
    } else {
        [section, ".", name].concat()
    }
}

/// The sections within a form whose path is `path`, each with its own path.
#[must_use]
pub fn sections_in(path: &str, form: &Form) -> Vec<(String, &'static Table)> {
    match form {
        Form::Section(table) => vec![(path.to_owned(), *table)],
        Form::Either(forms) => forms
            .iter()
            .flat_map(|form| sections_in(path, form))
            .collect(),
        Form::List { of, .. } => sections_in(&[path, "[]"].concat(), of),
        Form::Map { name, of, .. } => sections_in(&path_of(path, &placeholder(name)), of),
        _ => Vec::new(),
    }
}

/// What a path has in place of a name that is free: `<role>`.
#[must_use]
pub fn placeholder(name: &Text) -> String {
    if name.noun.contains('<') {
        name.noun.to_owned()
    } else {
        format!("<{}>", name.noun)
    }
}

fn walk(table: &Table, section: &str, found: &mut Vec<(String, Described)>) {
    for key in (table.keys)() {
        let path = path_of(section, key.name);
        let sections = sections_in(&path, &key.form);
        found.push((path, key));
        for (path, table) in sections {
            walk(table, &path, found);
        }
    }
}
