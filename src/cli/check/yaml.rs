//! Reads YAML as trees.

use std::collections::HashMap;
use std::ops::Range;
use std::rc::Rc;

use saphyr_parser::{Event, Parser, ScalarStyle, Span, Tag};

use super::fault::Fault;
use super::scalar;
use super::tree::{Member, Node, Style, Text, Value};

/// The deepest nesting that is read. A route in a bootstrap is about twenty levels deep.
const MAX_DEPTH: usize = 100;

/// The most values that a document may have once its aliases are replaced by what they name. A
/// short file can expand without end.
const MAX_VALUES: usize = 4_000_000;

/// A document of a stream.
#[derive(Debug)]
pub(super) struct Document {
    pub(super) root: Rc<Node>,
    /// Faults that do not keep the document from being read.
    pub(super) faults: Vec<Fault>,
}

/// The documents of a text up to the first fault that ends the reading, and that fault.
pub(super) fn read(text: &str) -> (Vec<Document>, Option<Fault>) {
    let bytes = Bytes::of(text);
    let mut documents = Vec::new();
    let mut builder = Builder::new(text);
    for event in Parser::new_from_str(text) {
        let done = match event {
            Ok((event, span)) => builder.take(event, bytes.range(span)),
            Err(error) => {
                let at = bytes.at(error.marker().index());
                Err(unreadable(text, at, error.info()))
            }
        };
        match done {
            Ok(None) => {}
            Ok(Some(document)) => {
                documents.push(document);
                builder = Builder::new(text);
            }
            Err(fault) => return (documents, Some(fault)),
        }
    }
    (documents, None)
}

/// The parser's error, with its likely cause where that can be seen.
fn unreadable(text: &str, at: usize, info: &str) -> Fault {
    let before = text.get(..at).unwrap_or_default();
    let line = before.rsplit('\n').next().unwrap_or_default();
    let rest = text.get(at..).unwrap_or_default();
    let rest = rest.split('\n').next().unwrap_or_default();
    let whole = [line, rest].concat();
    let indentation = whole
        .len()
        .saturating_sub(whole.trim_start_matches([' ', '\t']).len());
    let start = at.saturating_sub(line.len());
    let tab = whole.get(..indentation).and_then(|blank| blank.find('\t'));
    if let Some(tab) = tab {
        let tab = start.saturating_add(tab);
        return Fault::new(
            tab..tab.saturating_add(1),
            "this is not YAML: a tab in the indentation",
        )
        .help("indent with spaces");
    }
    let end = at.saturating_add(rest.chars().next().map_or(0, char::len_utf8));
    let fault = Fault::new(at..end, format!("this is not YAML: {info}"));
    if whole.contains("{{") {
        return fault.help(TEMPLATE);
    }
    fault
}

/// The advice about a template that has not been filled in.
const TEMPLATE: &str = "this looks like a template: check what it gives, such as the output of \
                        `helm template`";

/// Converts the parser's positions, which count characters, to bytes.
struct Bytes {
    /// The byte of each character; empty if every character is one byte.
    offsets: Vec<usize>,
    length: usize,
}

impl Bytes {
    fn of(text: &str) -> Self {
        let offsets = if text.is_ascii() {
            Vec::new()
        } else {
            text.char_indices().map(|(at, _)| at).collect()
        };
        Self {
            offsets,
            length: text.len(),
        }
    }

    fn at(&self, index: usize) -> usize {
        if self.offsets.is_empty() {
            return index.min(self.length);
        }
        self.offsets.get(index).copied().unwrap_or(self.length)
    }

    fn range(&self, span: Span) -> Range<usize> {
        let start = self.at(span.start.index());
        start..self.at(span.end.index()).max(start)
    }
}

/// Builds a tree from the events of one document.
struct Builder<'t> {
    text: &'t str,
    open: Vec<Open>,
    /// The values that aliases may name, each with how many values it contains, itself included.
    anchors: HashMap<usize, (Rc<Node>, usize)>,
    values: usize,
    root: Option<Rc<Node>>,
    faults: Vec<Fault>,
}

/// A list or an object whose end has not been reached.
struct Open {
    start: usize,
    anchor: usize,
    /// How many values came before it.
    before: usize,
    kind: Kind,
}

enum Kind {
    List(Vec<Rc<Node>>),
    Object {
        members: Vec<Member>,
        /// The piece of each name.
        names: HashMap<String, Range<usize>>,
        key: Option<Key>,
    },
}

/// A key whose value has not come yet.
struct Key {
    span: Range<usize>,
    name: String,
    /// Whether it is written without quotes.
    plain: bool,
}

impl<'t> Builder<'t> {
    fn new(text: &'t str) -> Self {
        Self {
            text,
            open: Vec::new(),
            anchors: HashMap::new(),
            values: 0,
            root: None,
            faults: Vec::new(),
        }
    }

    /// Takes an event, and returns the document once it has ended.
    ///
    /// # Errors
    /// The fault that ends the reading.
    fn take(&mut self, event: Event<'_>, span: Range<usize>) -> Result<Option<Document>, Fault> {
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) => {}
            Event::DocumentEnd => {
                let root = self.root.take();
                let faults = std::mem::take(&mut self.faults);
                return Ok(root.map(|root| Document { root, faults }));
            }
            Event::Alias(anchor) => {
                let Some((node, values)) = self.anchors.get(&anchor) else {
                    let text = "this alias names nothing that stands before it";
                    return Err(Fault::new(span, text));
                };
                let (node, values) = (Rc::clone(node), *values);
                self.count(values, &span)?;
                self.place(node, &span)?;
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.count(1, &span)?;
                let value = self.scalar(&text, style, tag.as_deref(), &span);
                let node = Rc::new(Node {
                    span: span.clone(),
                    value,
                });
                self.remember(anchor, &node, 1);
                self.place(node, &span)?;
            }
            Event::SequenceStart(anchor, tag) => {
                self.open(anchor, tag.as_deref(), Kind::List(Vec::new()), &span)?;
            }
            Event::MappingStart(anchor, tag) => {
                let kind = Kind::Object {
                    members: Vec::new(),
                    names: HashMap::new(),
                    key: None,
                };
                self.open(anchor, tag.as_deref(), kind, &span)?;
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(&span)?,
        }
        Ok(None)
    }

    fn count(&mut self, values: usize, span: &Range<usize>) -> Result<(), Fault> {
        self.values = self.values.saturating_add(values);
        if self.values > MAX_VALUES {
            let text = "the aliases of this document stand for more than four million values";
            return Err(Fault::new(span.clone(), text));
        }
        Ok(())
    }

    fn remember(&mut self, anchor: usize, node: &Rc<Node>, values: usize) {
        if anchor > 0 {
            self.anchors.insert(anchor, (Rc::clone(node), values));
        }
    }

    fn scalar(
        &mut self,
        text: &str,
        style: ScalarStyle,
        tag: Option<&Tag>,
        span: &Range<usize>,
    ) -> Value {
        let style = match style {
            ScalarStyle::Plain => Style::Plain,
            ScalarStyle::SingleQuoted => Style::Single,
            ScalarStyle::DoubleQuoted => Style::Double,
            ScalarStyle::Literal | ScalarStyle::Folded => Style::Block,
        };
        let as_text = || {
            Value::Text(Text {
                text: text.to_owned(),
                style,
            })
        };
        let Some(tag) = tag else {
            return if style == Style::Plain {
                scalar::resolve(text)
            } else {
                as_text()
            };
        };
        match (tag.is_yaml_core_schema(), tag.suffix.as_str()) {
            (true, "null" | "bool" | "int" | "float") => scalar::resolve(text),
            (true, "str") => as_text(),
            _ => {
                self.unknown_tag(tag, span);
                as_text()
            }
        }
    }

    fn unknown_tag(&mut self, tag: &Tag, span: &Range<usize>) {
        let plain = tag.is_yaml_core_schema() && matches!(tag.suffix.as_str(), "map" | "seq");
        // The tag `!` alone makes a text of the value.
        let bare = tag.handle.is_empty() && tag.suffix == "!";
        if !plain && !bare {
            let text = format!("the tag {tag} means nothing to Envoy and Kubernetes");
            self.faults
                .push(Fault::new(span.clone(), text).help("write the value itself"));
        }
    }

    fn open(
        &mut self,
        anchor: usize,
        tag: Option<&Tag>,
        kind: Kind,
        span: &Range<usize>,
    ) -> Result<(), Fault> {
        if self.open.len() >= MAX_DEPTH {
            return Err(Fault::new(span.clone(), "nested too deeply"));
        }
        if let Some(tag) = tag {
            self.unknown_tag(tag, span);
        }
        let before = self.values;
        self.count(1, span)?;
        self.open.push(Open {
            start: span.start,
            anchor,
            before,
            kind,
        });
        Ok(())
    }

    fn close(&mut self, end: &Range<usize>) -> Result<(), Fault> {
        let Some(open) = self.open.pop() else {
            return Ok(());
        };
        let Open {
            start,
            anchor,
            before,
            kind,
        } = open;
        let (value, last) = match kind {
            Kind::List(elements) => {
                let last = elements.last().map(|node| node.span.end);
                (Value::List(elements), last)
            }
            Kind::Object { members, .. } => {
                let last = members
                    .last()
                    .map(|member| member.value.span.end.max(member.key.end));
                (Value::Object(members), last)
            }
        };
        let flow = self
            .text
            .get(start..)
            .is_some_and(|rest| rest.starts_with(['{', '[']));
        // In block style this event is placed where the next value begins.
        let end = if flow {
            end.end
        } else {
            last.unwrap_or(end.start)
        };
        let node = Rc::new(Node {
            span: start..end.max(start),
            value,
        });
        let values = self.values.saturating_sub(before);
        self.remember(anchor, &node, values);
        let span = node.span.clone();
        self.place(node, &span)
    }

    /// Puts a complete value into the list or object that it belongs to. `span` is where the
    /// value, or its alias, is written.
    fn place(&mut self, node: Rc<Node>, span: &Range<usize>) -> Result<(), Fault> {
        let Some(open) = self.open.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        match &mut open.kind {
            Kind::List(elements) => elements.push(node),
            Kind::Object {
                members,
                names,
                key,
            } => match key.take() {
                None => {
                    let (name, plain) = self.text_of_key(&node, span)?;
                    if let Some(open) = self.open.last_mut()
                        && let Kind::Object { key, .. } = &mut open.kind
                    {
                        *key = Some(Key {
                            span: span.clone(),
                            name,
                            plain,
                        });
                    }
                }
                Some(Key { span, name, plain }) => {
                    if let Some(first) = names.get(&name) {
                        let text = format!("the key {name:?} stands twice in one object");
                        let fault = Fault::new(span, text)
                            .with(first.clone(), "it stands here before")
                            .help("keep one: of two, some tools silently take the last");
                        self.faults.push(fault);
                        return Ok(());
                    }
                    names.insert(name.clone(), span.clone());
                    members.push(Member {
                        key: span,
                        name,
                        plain,
                        value: node,
                    });
                }
            },
        }
        Ok(())
    }

    /// The name that a key stands for, and whether it is written without quotes.
    fn text_of_key(&self, node: &Node, span: &Range<usize>) -> Result<(String, bool), Fault> {
        match &node.value {
            Value::Text(text) => Ok((text.text.clone(), text.style == Style::Plain)),
            // JSON makes a text of such a key.
            Value::Bool(_) | Value::Number(_) | Value::Null => {
                let written = self.text.get(node.span.clone()).unwrap_or_default();
                Ok((written.to_owned(), true))
            }
            Value::List(_) | Value::Object(_) => {
                let fault = Fault::new(span.clone(), "a key must be a name");
                Err(if node.is_object() {
                    fault.help(TEMPLATE)
                } else {
                    fault
                })
            }
        }
    }
}
