//! Reads a document member by member, and collects every problem with its place.
//!
//! None of these functions is inlined. They run only once, but in very many places, so inlining
//! them would take up a tenth of the module.

use std::cell::{Cell, RefCell};
use std::fmt::{self, Write as _};
use std::rc::Rc;

use super::table::{
    self, Count, Duration, Flag, Key, Required, Span, Table, Texts, Word, jwks, millis,
};
use crate::authn::json::{Number, Object, Value};

/// One thing that is wrong in a configuration.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Problem {
    /// The place, such as `providers[0].jwks.cluster`. It is empty for the document as a whole.
    pub place: String,
    /// What is wrong, and what to do about it.
    pub text: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.place.is_empty() {
            f.write_str(&self.text)
        } else {
            write!(f, "{}: {}", self.place, self.text)
        }
    }
}

/// The maximum number of problems that are reported. Whoever has more can fix these first.
const MAX_PROBLEMS: usize = 64;

/// The longest place and the longest text of a problem, in characters. Both contain text that
/// somebody else has written.
const MAX_PROBLEM: usize = 512;

/// The problems that are reported, and the number of those that are not.
#[derive(Debug, Default)]
pub(super) struct Problems {
    told: RefCell<Vec<Problem>>,
    untold: Cell<usize>,
}

impl Problems {
    /// Counts a problem, and returns whether to report it. Only then is it worth composing the
    /// place and the text.
    #[inline(never)]
    fn is_told(&self) -> bool {
        let room = self.told.borrow().len() < MAX_PROBLEMS;
        if !room {
            self.untold.set(self.untold.get().saturating_add(1));
        }
        room
    }

    #[inline(never)]
    fn tell(&self, place: &str, text: &str) {
        self.told.borrow_mut().push(Problem {
            place: shortened(place),
            text: shortened(text),
        });
    }

    /// Adds a problem that does not belong to a place in the document.
    pub(super) fn add(&self, place: &str, text: &str) {
        if self.is_told() {
            self.tell(place, text);
        }
    }

    pub(super) fn into_vec(self) -> Vec<Problem> {
        let mut problems = self.told.into_inner();
        let untold = self.untold.get();
        if untold > 0 {
            problems.push(Problem {
                place: String::new(),
                text: format!("and {untold} more problems"),
            });
        }
        problems
    }
}

/// The beginning of the text of a problem.
pub(super) fn shortened(text: &str) -> String {
    match text.char_indices().nth(MAX_PROBLEM) {
        Some((end, _)) => [text.get(..end).unwrap_or_default(), "…"].concat(),
        None => text.to_owned(),
    }
}

/// A place in a document. It is written out only for a problem: a copy of a long name in every
/// element below it would take memory in proportion to the product of both.
#[derive(Debug)]
struct Place<'a> {
    parent: Option<Rc<Self>>,
    step: Step<'a>,
}

#[derive(Clone, Copy, Debug)]
enum Step<'a> {
    Member(&'a str),
    Element(usize),
}

/// Writes a place, such as `providers[0].jwks`.
#[inline(never)]
fn in_words(place: Option<&Rc<Place<'_>>>, last: Option<Step<'_>>) -> String {
    let steps = std::iter::successors(place, |place| place.parent.as_ref());
    let mut steps: Vec<Step<'_>> = last
        .into_iter()
        .chain(steps.map(|place| place.step))
        .collect();
    steps.reverse();
    let mut words = String::new();
    for step in steps {
        match step {
            Step::Member(name) => {
                if !words.is_empty() {
                    words.push('.');
                }
                words.push_str(name);
            }
            Step::Element(index) => {
                let _ = write!(words, "[{index}]");
            }
        }
    }
    words
}

/// A value and its place.
#[derive(Clone, Debug)]
pub(super) struct Node<'a> {
    parent: Option<Rc<Place<'a>>>,
    step: Step<'a>,
    pub(super) value: &'a Value,
    problems: &'a Problems,
}

/// The elements of a list, each with its place.
#[derive(Clone, Debug)]
pub(super) struct Elements<'a> {
    list: Rc<Place<'a>>,
    values: &'a [Value],
    problems: &'a Problems,
}

impl<'a> Elements<'a> {
    pub(super) const fn len(&self) -> usize {
        self.values.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Node<'a>> {
        (0..self.values.len()).filter_map(|index| self.node(index))
    }

    #[inline(never)]
    fn node(&self, index: usize) -> Option<Node<'a>> {
        Some(Node {
            parent: Some(Rc::clone(&self.list)),
            step: Step::Element(index),
            value: self.values.get(index)?,
            problems: self.problems,
        })
    }
}

impl<'a> Node<'a> {
    pub(super) fn problem(&self, text: impl AsRef<str>) {
        self.say(text.as_ref());
    }

    #[inline(never)]
    fn say(&self, text: &str) {
        if self.problems.is_told() {
            let place = in_words(self.parent.as_ref(), Some(self.step));
            self.problems.tell(&place, text);
        }
    }

    /// The place of this value, for the values inside it.
    fn place(&self) -> Rc<Place<'a>> {
        Rc::new(Place {
            parent: self.parent.clone(),
            step: self.step,
        })
    }

    #[inline(never)]
    pub(super) fn expected(&self, what: &str) {
        self.problem(format!("expected {what}, found {}", self.value.kind()));
    }

    /// The members of an object. The table lists all names that are accepted.
    pub(super) fn section(&self, table: &Table) -> Option<Section<'a>> {
        self.section_of(table.names)
    }

    /// The members of an object. `known` lists all names that are accepted.
    #[inline(never)]
    pub(super) fn section_of(&self, known: &[&str]) -> Option<Section<'a>> {
        let Some(object) = self.value.as_object() else {
            self.expected("an object");
            return None;
        };
        let section = Section {
            place: Some(self.place()),
            object: Some(object),
            problems: self.problems,
        };
        section.refuse_unknown(known);
        Some(section)
    }

    /// The members of an object whose names are free, including those that are `null`, if there
    /// are at most `most`.
    #[inline(never)]
    pub(super) fn members(&self, most: usize) -> Option<Vec<(&'a str, Self)>> {
        let Some(object) = self.value.as_object() else {
            self.expected("an object");
            return None;
        };
        if object.iter().nth(most).is_some() {
            self.problem(format!("has more than {most} members"));
            return None;
        }
        let place = self.place();
        let member = |(name, value)| {
            let node = Node {
                parent: Some(Rc::clone(&place)),
                step: Step::Member(name),
                value,
                problems: self.problems,
            };
            (name, node)
        };
        Some(object.iter().map(member).collect())
    }

    /// The elements of a list of names, or of what may stand in place of a name, if there are
    /// at most `most`.
    pub(super) fn names(&self, most: usize) -> Option<Elements<'a>> {
        if let Value::String(text) = self.value {
            self.expected_list_of(text);
            return None;
        }
        self.elements(most)
    }

    fn expected_list_of(&self, text: &str) {
        let text = shortened(text);
        self.problem(format!("expected a list, found a string: write [{text}]"));
    }

    /// The elements of a list, if there are at most `most`.
    #[inline(never)]
    pub(super) fn elements(&self, most: usize) -> Option<Elements<'a>> {
        let Some(elements) = self.value.as_array() else {
            self.expected("a list");
            return None;
        };
        if elements.len() > most {
            self.problem(format!("has more than {most} elements"));
            return None;
        }
        Some(Elements {
            list: self.place(),
            values: elements,
            problems: self.problems,
        })
    }

    /// A string, which must not be empty.
    #[inline(never)]
    pub(super) fn text(&self) -> Option<&'a str> {
        match self.value {
            Value::String(text) if !text.is_empty() => Some(text),
            Value::String(_) => {
                self.problem("may not be empty");
                None
            }
            Value::Number(_) | Value::Bool(_) => {
                let kind = self.value.kind();
                self.problem(format!("expected a string, found {kind}: put it in quotes"));
                None
            }
            _ => {
                self.expected("a string");
                None
            }
        }
    }

    /// A list of non-empty strings, if there are at most `most`.
    #[inline(never)]
    pub(super) fn texts(&self, most: usize) -> Option<Vec<&'a str>> {
        if let Value::String(text) = self.value {
            self.expected_list_of(text);
            return None;
        }
        let nodes = self.elements(most)?;
        let texts: Vec<_> = nodes.iter().map(|node| node.text()).collect();
        texts.into_iter().collect()
    }

    /// `true` or `false`.
    #[inline(never)]
    pub(super) fn flag(&self) -> Option<bool> {
        let Value::Bool(flag) = self.value else {
            self.expected("true or false");
            return None;
        };
        Some(*flag)
    }

    /// A whole number within bounds.
    pub(super) fn count(&self, bounds: &Count) -> Option<usize> {
        let Count { least, most, .. } = *bounds;
        let number = self.number(&table::Number {
            least: least as u64,
            most: most as u64,
        });
        usize::try_from(number?).ok()
    }

    /// A whole number within bounds, independent of the platform's word size.
    #[inline(never)]
    pub(super) fn number(&self, bounds: &table::Number) -> Option<u64> {
        let table::Number { least, most } = *bounds;
        let number = match self.value {
            Value::Number(Number::Unsigned(number)) => Some(*number),
            // Configurations that arrive as a protobuf Struct hold doubles.
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                clippy::cast_precision_loss
            )]
            Value::Number(Number::Float(number))
                if number.fract() == 0.0 && *number >= 0.0 && *number <= most as f64 =>
            {
                Some(*number as u64)
            }
            Value::Number(_) => None,
            _ => {
                self.expected("a whole number");
                return None;
            }
        };
        match number {
            Some(number) if (least..=most).contains(&number) => Some(number),
            _ => {
                self.problem(format!("must be a whole number from {least} to {most}"));
                None
            }
        }
    }

    /// A duration within bounds, such as `500ms`, `5s`, `10m` or `24h`, in milliseconds.
    #[inline(never)]
    pub(super) fn duration(&self, bounds: &Span) -> Option<u64> {
        let Span { least, most } = bounds;
        let Value::String(text) = self.value else {
            self.expected("a duration such as 30s");
            return None;
        };
        let Some(millis) = millis(text) else {
            self.problem(format!(
                "{text:?} is not a duration: write a whole number with ms, s, m or h, such as 30s"
            ));
            return None;
        };
        if !(bounds.least_millis()..=bounds.most_millis()).contains(&millis) {
            self.problem(format!("must lie between {least} and {most}"));
            return None;
        }
        Some(millis)
    }
}

/// An object whose member names have been checked.
#[derive(Clone, Debug)]
pub(super) struct Section<'a> {
    place: Option<Rc<Place<'a>>>,
    /// `None` if the section is missing, in which case every default applies.
    object: Option<&'a Object>,
    problems: &'a Problems,
}

impl<'a> Section<'a> {
    /// The document itself.
    pub(super) fn top(object: &'a Object, table: &Table, problems: &'a Problems) -> Self {
        let section = Self {
            place: None,
            object: Some(object),
            problems,
        };
        section.refuse_unknown(table.names);
        section
    }

    /// The value of a key, if it is there and not `null`.
    pub(super) fn get<F>(&self, key: &Key<F>) -> Option<Node<'a>> {
        self.member(key.name)
    }

    /// A section, which is empty if it is missing.
    pub(super) fn open(&self, key: &Key<table::Object>) -> Option<Self> {
        match self.get(key) {
            Some(node) => node.section(key.form.0),
            None => Some(Self {
                place: None,
                object: None,
                problems: self.problems,
            }),
        }
    }

    /// `true` or `false`, or the default.
    pub(super) fn flag(&self, key: &Key<Flag>) -> Option<bool> {
        self.get(key)
            .map_or(Some(key.form.default), |node| node.flag())
    }

    /// A whole number within bounds, or the default.
    pub(super) fn count(&self, key: &Key<Count>) -> Option<usize> {
        self.get(key)
            .map_or(Some(key.form.default), |node| node.count(&key.form))
    }

    /// A duration within bounds, or the default, in milliseconds.
    pub(super) fn duration(&self, key: &Key<Duration>) -> Option<u64> {
        match self.get(key) {
            Some(node) => node.duration(&key.form.span),
            None => millis(key.form.default),
        }
    }

    /// A list of non-empty strings, or the default.
    pub(super) fn texts(&self, key: &Key<Texts>) -> Option<Vec<&'a str>> {
        match self.get(key) {
            Some(node) => node.texts(key.form.most),
            None => Some(key.form.default.to_vec()),
        }
    }

    /// The meaning of one of a few words, or the default.
    pub(super) fn word<T: Copy>(&self, key: &Key<Word<T>>) -> Option<T> {
        let Some(node) = self.get(key) else {
            return Some(key.form.default);
        };
        let text = node.text()?;
        let words = key.form.words;
        let found = words.iter().find(|(word, _)| *word == text);
        if found.is_none() {
            let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            node.problem(format!("must be one of {}", known.join(", ")));
        }
        found.map(|(_, meaning)| *meaning)
    }

    /// A member that is there and not `null`.
    #[inline(never)]
    pub(super) fn member(&self, name: &str) -> Option<Node<'a>> {
        let (name, value) = self.object?.member(name)?;
        (*value != Value::Null).then(|| Node {
            parent: self.place.clone(),
            step: Step::Member(name),
            value,
            problems: self.problems,
        })
    }

    /// Whether a key is there and `null`.
    pub(super) fn is_null<F>(&self, key: &Key<F>) -> bool {
        let value = self.object.and_then(|object| object.get(key.name));
        matches!(value, Some(Value::Null))
    }

    /// The value of a key that must be there.
    pub(super) fn require<F>(&self, key: &Key<Required<F>>) -> Option<Node<'a>> {
        self.required(key.name, key.form.why)
    }

    #[inline(never)]
    fn required(&self, name: &str, why: &str) -> Option<Node<'a>> {
        let node = self.member(name);
        if node.is_none() && self.problems.is_told() {
            self.problems
                .tell(&self.at(name), &format!("missing: {why}"));
        }
        node
    }

    pub(super) fn problem(&self, text: &str) {
        if self.problems.is_told() {
            let place = in_words(self.place.as_ref(), None);
            self.problems.tell(&place, text);
        }
    }

    #[inline(never)]
    fn at(&self, name: &str) -> String {
        in_words(self.place.as_ref(), Some(Step::Member(name)))
    }

    #[inline(never)]
    fn refuse_unknown(&self, known: &[&str]) {
        for (name, _) in self.object.iter().flat_map(|object| object.iter()) {
            if !known.contains(&name) && self.problems.is_told() {
                self.problems
                    .tell(&self.at(name), &unknown_key(name, known));
            }
        }
    }
}

/// The message about a key that is not known in its place.
#[inline(never)]
fn unknown_key(name: &str, known: &[&str]) -> String {
    if name == "url" && known.contains(&jwks::URI.name) {
        return format!("unknown key: did you mean {}?", jwks::URI.name);
    }
    if let Some((_, advice)) = ADVICE.iter().find(|(wrong, _)| *wrong == name) {
        return (*advice).to_owned();
    }
    match known.iter().find(|right| is_near(name, right)) {
        Some(near) => format!("unknown key: did you mean {near}?"),
        None => format!("unknown key: known here are {}", known.join(", ")),
    }
}

/// Keys that other gateways have or that people expect, with what to write here instead.
const ADVICE: [(&str, &str); 12] = [
    (
        "id_token_header",
        "unknown key: write credentials: [bearer, {id_token_header: x-id-token}]",
    ),
    ("audience", "unknown key: write audiences, a list"),
    ("jwks_uri", "unknown key: write jwks: {uri: …, cluster: …}"),
    ("jwksUri", "unknown key: write jwks: {uri: …, cluster: …}"),
    (
        "local_jwks",
        "unknown key: write jwks: {inline: {keys: […]}}",
    ),
    (
        "remote_jwks",
        "unknown key: write jwks: {uri: …, cluster: …}",
    ),
    ("tenant", "unknown key: write tenants, a list"),
    ("client_secret", NO_SECRET),
    ("clientSecret", NO_SECRET),
    (
        "client_id",
        "unknown key: write audiences, whom tokens are for, or clients, whose tokens are taken",
    ),
    (
        "groups_claim",
        "unknown key: write claims: {groups: [{path: [groups]}]}",
    ),
    (
        "url",
        "unknown key: backends are reached by Envoy's clusters, see the routes",
    ),
];

const NO_SECRET: &str = "unknown key: tokens are verified with public keys and no secret is \
                         needed: remove it, and renew it if it was a real one";

/// Whether a name is likely to be a misspelling of another. Case, separators and a plural are
/// ignored.
fn is_near(wrong: &str, right: &str) -> bool {
    let fold = |name: &str| {
        let plain: String = name
            .chars()
            .filter(char::is_ascii_alphanumeric)
            .map(|c| c.to_ascii_lowercase())
            .collect();
        plain.trim_end_matches('s').to_owned()
    };
    fold(wrong) == fold(right)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_recognised() {
        assert!(is_near("algorithm", "algorithms"));
        assert!(is_near("clockSkew", "clock_skew"));
        assert!(!is_near("issuer", "audiences"));
    }
}
