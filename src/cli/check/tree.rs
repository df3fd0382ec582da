//! Values with the places where they are written.

use std::ops::Range;
use std::rc::Rc;

/// A value, and the bytes of its text that it is written in.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) span: Range<usize>,
    pub(super) value: Value,
}

#[derive(Debug)]
pub(super) enum Value {
    Null,
    Bool(bool),
    /// In the form in which JSON writes it.
    Number(String),
    Text(Text),
    List(Vec<Rc<Node>>),
    Object(Vec<Member>),
}

/// A text, and how it is written.
#[derive(Debug)]
pub(super) struct Text {
    pub(super) text: String,
    pub(super) style: Style,
}

/// How a text is written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Style {
    /// Without quotes.
    Plain,
    /// Between `'`.
    Single,
    /// Between `"`.
    Double,
    /// After `|` or `>`.
    Block,
}

/// A member of an object.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) key: Range<usize>,
    pub(super) name: String,
    /// Whether the name is written without quotes.
    pub(super) plain: bool,
    pub(super) value: Rc<Node>,
}

impl Node {
    pub(super) fn members(&self) -> &[Member] {
        match &self.value {
            Value::Object(members) => members,
            _ => &[],
        }
    }

    pub(super) fn elements(&self) -> &[Rc<Self>] {
        match &self.value {
            Value::List(elements) => elements,
            _ => &[],
        }
    }

    pub(super) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(&text.text),
            _ => None,
        }
    }

    pub(super) const fn is_object(&self) -> bool {
        matches!(self.value, Value::Object(_))
    }

    /// The member with this name.
    pub(super) fn member(&self, name: &str) -> Option<&Member> {
        self.members().iter().find(|member| member.name == name)
    }

    /// The value of the member with this name.
    pub(super) fn get(&self, name: &str) -> Option<&Rc<Self>> {
        self.member(name).map(|member| &member.value)
    }

    /// The text of the member with this name; `None` if it is not a text.
    pub(super) fn text_of(&self, name: &str) -> Option<&str> {
        self.get(name)?.text()
    }

    /// The elements of the member with this name; none if it is not a list.
    pub(super) fn list(&self, name: &str) -> &[Rc<Self>] {
        self.get(name).map_or(&[], |node| node.elements())
    }

    /// The value at the end of a path of names.
    pub(super) fn at(&self, path: &[&str]) -> Option<&Self> {
        path.iter()
            .try_fold(self, |node, name| node.get(name).map(Rc::as_ref))
    }

    /// A field of a protobuf message. JSON allows two spellings of its name: `host_env_keys` and
    /// `hostEnvKeys`.
    pub(super) fn field(&self, name: &str) -> Option<&Member> {
        self.member(name).or_else(|| self.member(&camel(name)))
    }

    /// Visits this value and everything in it.
    pub(super) fn walk<'a>(&'a self, visit: &mut impl FnMut(&'a Self)) {
        visit(self);
        for element in self.elements() {
            element.walk(visit);
        }
        for member in self.members() {
            member.value.walk(visit);
        }
    }

    /// Whether any text in this value contains `word`.
    pub(super) fn mentions(&self, word: &str) -> bool {
        let mut found = false;
        self.walk(&mut |node| found |= node.text().is_some_and(|text| text.contains(word)));
        found
    }

    /// This value as JSON. Values that JSON cannot express, such as `.inf`, were read as texts.
    pub(super) fn to_json(&self) -> String {
        let mut json = String::new();
        self.write(&mut json);
        json
    }

    fn write(&self, json: &mut String) {
        match &self.value {
            Value::Null => json.push_str("null"),
            Value::Bool(true) => json.push_str("true"),
            Value::Bool(false) => json.push_str("false"),
            Value::Number(number) => json.push_str(number),
            Value::Text(text) => quote(&text.text, json),
            Value::List(elements) => {
                json.push('[');
                for (position, element) in elements.iter().enumerate() {
                    if position > 0 {
                        json.push(',');
                    }
                    element.write(json);
                }
                json.push(']');
            }
            Value::Object(members) => {
                json.push('{');
                for (position, member) in members.iter().enumerate() {
                    if position > 0 {
                        json.push(',');
                    }
                    quote(&member.name, json);
                    json.push(':');
                    member.value.write(json);
                }
                json.push('}');
            }
        }
    }
}

fn quote(text: &str, json: &mut String) {
    json.push_str(&serde_json::Value::from(text).to_string());
}

/// Converts `host_env_keys` to `hostEnvKeys`.
pub(super) fn camel(name: &str) -> String {
    let mut words = name.split('_');
    let mut camel = words.next().unwrap_or_default().to_owned();
    for word in words {
        let mut letters = word.chars();
        camel.extend(letters.next().map(|first| first.to_ascii_uppercase()));
        camel.push_str(letters.as_str());
    }
    camel
}
