//! Prints the reference of all keys as Markdown, from the table of keys.

use std::fmt::Write as _;

use serde_json::Value;

use crate::config::table::{
    Constraint, Described, Form, MAX_ELEMENTS, Need, Table, document, path_of, placeholder,
    sections_in,
};

/// The longest default that is shown in a cell, in characters. A longer one is shown below the
/// table.
const MAX_CELL: usize = 60;

/// The page `docs/configuration.md`.
pub(super) fn reference() -> String {
    let mut page = String::from(
        "# Configuration\n\n\
         This page lists every key of a configuration, by section. \
         [`envoy/scopegate.yaml`](../envoy/scopegate.yaml) shows the\n\
         keys in use, and [`envoy/scopegate.schema.json`](../envoy/scopegate.schema.json) lets \
         editors check and complete them.\n`scopegate schema --markdown` prints this page.\n\n\
         A document has at most 8 MiB. A list has at most 256 elements unless its row says \
         otherwise. Lists of organizations,\ntenants, groups and resources are the exception: \
         only the size of the document limits them\n\
         ([what can grow, and how far](bounds.md)).\n",
    );
    section(&mut page, "", &document::TABLE);
    page
}

/// Writes a section and the sections in it. Writing to a string cannot fail, so the results are
/// ignored.
fn section(page: &mut String, path: &str, table: &Table) {
    let keys = (table.keys)();
    let title = if path.is_empty() {
        "The document".to_owned()
    } else {
        format!("`{path}`")
    };
    let _ = write!(page, "\n## {title}\n\n{}\n\n", paragraph(table.about));
    page.push_str("| key | what stands there | default | meaning |\n|---|---|---|---|\n");
    let mut below = String::new();
    for key in &keys {
        let default = default(key, table.rules, &mut below);
        let prose = cell(&paragraph(key.prose));
        let form = cell(&form_of(&key.form, &path_of(path, key.name)));
        let _ = writeln!(
            page,
            "| `{}` | {form} | {} | {prose} |",
            key.name,
            cell(&default)
        );
    }
    for rule in table.rules {
        let rule = sentence(*rule, &keys);
        if !rule.is_empty() {
            let _ = write!(page, "\n{rule}\n");
        }
    }
    page.push_str(&below);
    for key in &keys {
        for (path, table) in sections_in(&path_of(path, key.name), &key.form) {
            section(page, &path, table);
        }
    }
}

fn form_of(form: &Form, path: &str) -> String {
    match form {
        Form::Count(count) => format!("whole number, {}–{}", count.least, count.most),
        Form::Number(count) => format!("whole number, {}–{}", count.least, count.most),
        Form::Duration(span) => format!("duration, `{}`–`{}`", span.least, span.most),
        Form::Either(forms) => {
            let forms = forms.iter().map(|form| form_of(form, path));
            forms.collect::<Vec<String>>().join(", or ")
        }
        Form::Exactly(word) => format!("`{}`", word.word),
        Form::Flag => "`true`, `false`".to_owned(),
        Form::JwkSet => "JWK Set".to_owned(),
        Form::List {
            of, least, most, ..
        } => {
            let of = form_of(of, &format!("{path}[]"));
            let number = match (*least, *most) {
                (0, usize::MAX | MAX_ELEMENTS) => "list",
                (least, usize::MAX | MAX_ELEMENTS) => &format!("list of at least {least}"),
                (0, most) => &format!("list of at most {most}"),
                (least, most) => &format!("list of {least} to {most}"),
            };
            format!("{number}: {of}")
        }
        Form::Map { name, of, most, .. } => {
            let of = form_of(of, &format!("{path}.{}", placeholder(name)));
            let number = match *most {
                usize::MAX => String::new(),
                most => format!(" of at most {most}"),
            };
            format!("object{number}: `{}` to {of}", placeholder(name))
        }
        Form::Section(_) => format!("[section](#{})", anchor(path)),
        Form::Text(text) => {
            let bound = match text.longest {
                usize::MAX => String::new(),
                longest => format!(", at most {longest} bytes"),
            };
            let null = if text.or_null { ", or `null`" } else { "" };
            format!("{}{bound}{null}", text.noun)
        }
        Form::Word(words) => {
            let words = words.iter().map(|word| format!("`{word}`"));
            words.collect::<Vec<String>>().join(", ")
        }
    }
}

/// What applies if a key is missing, for the key's row. A default that is too long for a cell is
/// appended to `below`.
fn default(key: &Described, rules: &[Constraint], below: &mut String) -> String {
    let by_rule = rules.iter().find_map(|rule| match rule {
        Constraint::OneOf(names) if names.contains(&key.name) => Some("one of these".to_owned()),
        Constraint::Unless(name, other) if *name == key.name => {
            Some(format!("required unless `{other}`"))
        }
        _ => None,
    });
    match (by_rule, &key.default) {
        (Some(words), _) => words,
        (None, Some(value)) => {
            let text = flow(value);
            if text.chars().count() <= MAX_CELL {
                return format!("`{text}`");
            }
            let _ = write!(below, "\nBy default `{}` are\n\n```yaml\n", key.name);
            for (name, value) in value.as_object().into_iter().flatten() {
                let _ = writeln!(below, "{name}: {}", flow(value));
            }
            below.push_str("```\n");
            "below".to_owned()
        }
        (None, None) if key.need == Need::Always => "required".to_owned(),
        (None, None) => String::new(),
    }
}

/// A value as YAML writes it on one line.
fn flow(value: &Value) -> String {
    match value {
        Value::Array(elements) => {
            let elements = elements.iter().map(flow).collect::<Vec<String>>();
            format!("[{}]", elements.join(", "))
        }
        Value::Object(members) => {
            let members = members.iter();
            let members = members.map(|(name, value)| format!("{name}: {}", flow(value)));
            format!("{{{}}}", members.collect::<Vec<String>>().join(", "))
        }
        Value::String(text) if text.starts_with(|first: char| first.is_ascii_alphanumeric()) => {
            text.clone()
        }
        other => other.to_string(),
    }
}

fn sentence(rule: Constraint, keys: &[Described]) -> String {
    let quoted = |name: &str| {
        let flag = keys
            .iter()
            .any(|key| key.name == name && matches!(key.form, Form::Flag));
        if flag {
            format!("`{name}: true`")
        } else {
            format!("`{name}`")
        }
    };
    let names = |names: &[&str]| list(&names.iter().map(|it| quoted(it)).collect::<Vec<_>>());
    match rule {
        Constraint::AtMostOneOf(given) => format!("At most one of {} may be there.", names(given)),
        Constraint::Beside(name, other) => {
            format!("`{name}` has a meaning beside {} alone.", quoted(other))
        }
        Constraint::NotBeside(name, others) => {
            let others: Vec<String> = others.iter().map(|it| format!("`{it}`")).collect();
            let others = list(&others);
            format!("Beside `{name}` there may be none of {others}.")
        }
        // The prose of the key says this.
        Constraint::NotNull(_) => String::new(),
        Constraint::OneOf(given) => format!("Exactly one of {} must be there.", names(given)),
        Constraint::Unless(name, other) => format!("`{name}` must be there unless `{other}` is."),
    }
}

/// The elements of a list in one phrase, such as `a`, `b` and `c`.
fn list(quoted: &[String]) -> String {
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} and {last}", others.join(", ")),
        None => String::new(),
    }
}

/// The prose on one line.
fn paragraph(prose: &str) -> String {
    prose.split_whitespace().collect::<Vec<&str>>().join(" ")
}

/// The text with everything escaped that would end a cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

/// The anchor that GitHub makes for a heading.
fn anchor(heading: &str) -> String {
    heading
        .chars()
        .filter(|character| character.is_alphanumeric() || matches!(character, '-' | '_'))
        .flat_map(char::to_lowercase)
        .collect()
}
