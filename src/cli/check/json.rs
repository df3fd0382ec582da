//! Reads JSON as a tree.

use std::collections::HashMap;
use std::ops::Range;
use std::rc::Rc;

use serde::de::IgnoredAny;

use super::fault::Fault;
use super::source::Source;
use super::tree::{Member, Node, Style, Text, Value};
use super::yaml::Document;

/// The deepest nesting that is read.
const MAX_DEPTH: usize = 100;

/// The place where a text stops being JSON, and the reason.
#[derive(Debug)]
pub(super) struct Syntax {
    /// Counted from 1.
    pub(super) line: usize,
    /// Counted in bytes, from 1.
    pub(super) column: usize,
    pub(super) text: String,
}

impl Syntax {
    /// The same as a fault at a character of the text.
    pub(super) fn fault(&self, source: &Source) -> Fault {
        let text = format!("this is not JSON: {}", self.text);
        let written = source.text.trim_end();
        let at = source.at_line(self.line, self.column);
        // If the text ends too early, its last character is shown.
        let last = written.char_indices().next_back().map_or(0, |(at, _)| at);
        let at = at.min(last);
        let fault = Fault::new(source.character(at), text);
        let before = source.text.get(..at).unwrap_or_default().trim_end();
        let rest = source.text.get(at..).unwrap_or_default();
        if before.ends_with(',') && rest.starts_with(['}', ']']) {
            return fault.help("leave out the comma before it");
        }
        fault
    }
}

/// Parses a JSON text. A key that appears twice in an object is a fault of the document, which
/// keeps the first.
///
/// # Errors
/// The text is not JSON, or is nested more than [`MAX_DEPTH`] deep.
pub(super) fn read(text: &str) -> Result<Document, Syntax> {
    // serde_json checks that it is JSON; the reader below then only has to find where each value
    // stands.
    serde_json::from_str::<IgnoredAny>(text).map_err(|error| {
        let place = format!(" at line {} column {}", error.line(), error.column());
        let text = error.to_string();
        Syntax {
            line: error.line(),
            column: error.column(),
            text: text.strip_suffix(&place).unwrap_or(&text).to_owned(),
        }
    })?;
    let mut reader = Reader {
        text,
        at: 0,
        depth: 0,
        faults: Vec::new(),
    };
    match reader.value() {
        Some(root) => Ok(Document {
            root: Rc::new(root),
            faults: reader.faults,
        }),
        None => Err(Syntax {
            line: 1,
            column: 1,
            text: "nested too deeply".to_owned(),
        }),
    }
}

/// Walks through a text that is known to be JSON.
struct Reader<'t> {
    text: &'t str,
    at: usize,
    depth: usize,
    faults: Vec<Fault>,
}

impl Reader<'_> {
    fn rest(&self) -> &str {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// Skips blanks, and returns the next character without taking it.
    fn next(&mut self) -> Option<char> {
        let rest = self.rest();
        let blank = rest.len().saturating_sub(rest.trim_start().len());
        self.at = self.at.saturating_add(blank);
        self.rest().chars().next()
    }

    fn step(&mut self) {
        self.at = self.at.saturating_add(1);
    }

    fn value(&mut self) -> Option<Node> {
        let first = self.next()?;
        let start = self.at;
        let value = match first {
            '{' | '[' => {
                self.depth = self
                    .depth
                    .checked_add(1)
                    .filter(|deep| *deep <= MAX_DEPTH)?;
                let value = if first == '{' {
                    Value::Object(self.members()?)
                } else {
                    Value::List(self.elements()?)
                };
                self.depth = self.depth.saturating_sub(1);
                value
            }
            '"' => Value::Text(Text {
                text: self.string()?,
                style: Style::Double,
            }),
            _ => self.word(),
        };
        Some(Node {
            span: start..self.at,
            value,
        })
    }

    /// Takes a number, or one of the words `true`, `false` and `null`.
    fn word(&mut self) -> Value {
        let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '+' | '.');
        let rest = self.rest();
        let length = rest.find(|c| !word(c)).unwrap_or(rest.len());
        let text = rest.get(..length).unwrap_or_default().to_owned();
        self.at = self.at.saturating_add(length);
        match text.as_str() {
            "true" => Value::Bool(true),
            "false" => Value::Bool(false),
            "null" => Value::Null,
            _ => Value::Number(text),
        }
    }

    fn string(&mut self) -> Option<String> {
        let rest = self.rest();
        let mut escaped = true;
        let end = rest.char_indices().find(|(_, c)| {
            let ends = *c == '"' && !escaped;
            escaped = *c == '\\' && !escaped;
            ends
        });
        let length = end?.0.saturating_add(1);
        let text = serde_json::from_str(rest.get(..length)?).ok();
        self.at = self.at.saturating_add(length);
        text
    }

    fn elements(&mut self) -> Option<Vec<Rc<Node>>> {
        self.step();
        let mut elements = Vec::new();
        while self.next()? != ']' {
            elements.push(Rc::new(self.value()?));
            if self.next()? == ',' {
                self.step();
            }
        }
        self.step();
        Some(elements)
    }

    fn members(&mut self) -> Option<Vec<Member>> {
        self.step();
        let mut members = Vec::new();
        let mut names: HashMap<String, Range<usize>> = HashMap::new();
        while self.next()? != '}' {
            let start = self.at;
            let name = self.string()?;
            let key = start..self.at;
            self.next()?;
            self.step();
            let value = Rc::new(self.value()?);
            if self.next()? == ',' {
                self.step();
            }
            if let Some(first) = names.get(&name) {
                let text = format!("the key {name:?} stands twice in one object");
                let fault = Fault::new(key, text)
                    .with(first.clone(), "it stands here before")
                    .help("keep one");
                self.faults.push(fault);
                continue;
            }
            names.insert(name.clone(), key.clone());
            members.push(Member {
                key,
                name,
                plain: false,
                value,
            });
        }
        self.step();
        Some(members)
    }
}
