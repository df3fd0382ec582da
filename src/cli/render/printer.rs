//! A tree as YAML and as JSON that people like to read: short collections in one line, every
//! member in the order in which it was written.

use serde_yaml_ng::{Mapping, Value};

use super::scalar;

/// What is said about a member, by its place: `providers[].jwks.cluster`.
pub(super) struct Note {
    pub(super) place: &'static str,
    /// Lines above it.
    pub(super) above: &'static [&'static str],
    /// Behind it.
    pub(super) behind: &'static str,
}

/// The members of `document` as lines of YAML, `indent` blanks in.
pub(super) fn yaml(document: &Mapping, indent: usize, notes: &[Note]) -> String {
    let mut text = String::new();
    Yaml { notes }.members(document, indent, "", &mut text);
    text
}

/// `document` as lines of JSON, `indent` blanks in.
pub(super) fn json(document: &Mapping, indent: usize) -> String {
    let mut text = " ".repeat(indent);
    json_mapping(document, indent, true, &mut text);
    text.push('\n');
    text
}

struct Yaml<'a> {
    notes: &'a [Note],
}

impl Yaml<'_> {
    fn members(&self, mapping: &Mapping, indent: usize, place: &str, text: &mut String) {
        for (name, value) in mapping {
            let name = name.as_str().unwrap_or_default();
            let place = match place {
                "" => name.to_owned(),
                place => format!("{place}.{name}"),
            };
            let note = self.notes.iter().find(|note| note.place == place);
            for line in note.map_or(&[][..], |note| note.above) {
                push_line(text, indent, &format!("# {line}"));
            }
            let name = scalar::yaml(name);
            if is_short(value, !place.contains('.')) {
                let mut line = format!("{name}: {}", flow(value, scalar::yaml));
                if let Some(note) = note.filter(|note| !note.behind.is_empty()) {
                    let used = line.chars().count().saturating_add(indent);
                    let gap = COMMENTS.saturating_sub(used).max(2);
                    line.push_str(&" ".repeat(gap));
                    line.push_str("# ");
                    line.push_str(note.behind);
                }
                push_line(text, indent, &line);
            } else {
                push_line(text, indent, &format!("{name}:"));
                self.block(value, indent.saturating_add(2), &place, text);
            }
        }
    }

    fn block(&self, value: &Value, indent: usize, place: &str, text: &mut String) {
        match value {
            Value::Mapping(mapping) => self.members(mapping, indent, place, text),
            Value::Sequence(elements) => {
                for element in elements {
                    self.element(element, indent, place, text);
                }
            }
            scalar => push_line(text, indent, &flow(scalar, scalar::yaml)),
        }
    }

    fn element(&self, element: &Value, indent: usize, place: &str, text: &mut String) {
        if is_short(element, false) {
            push_line(text, indent, &format!("- {}", flow(element, scalar::yaml)));
            return;
        }
        // The first line of it begins behind the dash, as far in as the others.
        let mut inner = String::new();
        let deeper = indent.saturating_add(2);
        self.block(element, deeper, &format!("{place}[]"), &mut inner);
        let first = inner.trim_start_matches(' ');
        text.push_str(&" ".repeat(indent));
        text.push_str("- ");
        text.push_str(first);
    }
}

fn json_value(value: &Value, indent: usize, top: bool, text: &mut String) {
    if is_short(value, top) {
        text.push_str(&flow(value, scalar::quoted));
        return;
    }
    match value {
        Value::Mapping(mapping) => json_mapping(mapping, indent, false, text),
        Value::Sequence(elements) => {
            let deeper = indent.saturating_add(2);
            text.push_str("[\n");
            for (position, element) in elements.iter().enumerate() {
                text.push_str(if position == 0 { "" } else { ",\n" });
                text.push_str(&" ".repeat(deeper));
                json_value(element, deeper, false, text);
            }
            text.push('\n');
            text.push_str(&" ".repeat(indent));
            text.push(']');
        }
        scalar => text.push_str(&flow(scalar, scalar::quoted)),
    }
}

fn json_mapping(mapping: &Mapping, indent: usize, top: bool, text: &mut String) {
    let deeper = indent.saturating_add(2);
    text.push_str("{\n");
    for (position, (name, value)) in mapping.iter().enumerate() {
        text.push_str(if position == 0 { "" } else { ",\n" });
        text.push_str(&" ".repeat(deeper));
        text.push_str(&scalar::quoted(name.as_str().unwrap_or_default()));
        text.push_str(": ");
        json_value(value, deeper, top, text);
    }
    text.push('\n');
    text.push_str(&" ".repeat(indent));
    text.push('}');
}

/// Whether it stands in one line. A member of the document itself has lines of its own.
fn is_short(value: &Value, top: bool) -> bool {
    let fits = || flow(value, scalar::yaml).chars().count() <= SHORT;
    match value {
        Value::Mapping(mapping) => {
            mapping.is_empty() || (!top && mapping.values().all(is_list_of_scalars) && fits())
        }
        Value::Sequence(elements) => elements.iter().all(is_list_of_scalars) && fits(),
        _ => true,
    }
}

/// Or a scalar.
fn is_list_of_scalars(value: &Value) -> bool {
    match value {
        Value::Mapping(mapping) => mapping.is_empty(),
        Value::Sequence(elements) => elements
            .iter()
            .all(|element| !element.is_mapping() && !element.is_sequence()),
        _ => true,
    }
}

/// In one line.
fn flow(value: &Value, text: fn(&str) -> String) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(truth) => truth.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(string) => text(string),
        Value::Sequence(elements) => {
            let elements: Vec<String> =
                elements.iter().map(|element| flow(element, text)).collect();
            format!("[{}]", elements.join(", "))
        }
        Value::Mapping(mapping) => {
            let members: Vec<String> = mapping
                .iter()
                .map(|(name, value)| format!("{}: {}", flow(name, text), flow(value, text)))
                .collect();
            format!("{{{}}}", members.join(", "))
        }
        Value::Tagged(tagged) => flow(&tagged.value, text),
    }
}

fn push_line(text: &mut String, indent: usize, line: &str) {
    text.push_str(&" ".repeat(indent));
    text.push_str(line);
    text.push('\n');
}

/// Most characters of a collection in one line.
const SHORT: usize = 60;

/// Where comments behind a value begin.
const COMMENTS: usize = 41;
