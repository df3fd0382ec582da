//! Reading a document member by member, collecting every problem with its place.
//!
//! Nothing here is inlined: it runs once, at a great many places, and would make up a
//! tenth of the module.

use std::cell::{Cell, RefCell};
use std::fmt::{self, Write as _};
use std::rc::Rc;

use crate::authn::json::{Number, Object, Value};

/// One thing that is wrong in a configuration.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Problem {
    /// Where: `providers[0].jwks.cluster`; empty for the document as a whole.
    pub place: String,
    /// What, and what to do about it.
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

/// Most elements of a list, or members of an object, that is not one of those which a
/// configuration is mostly made of: those are bounded by the length of the document.
pub(super) const MAX_ELEMENTS: usize = 256;

/// Most problems that are told; whoever has as many mends these first.
const MAX_PROBLEMS: usize = 64;

/// Longest place and longest text of a problem, in characters: both hold what somebody
/// has written.
const MAX_PROBLEM: usize = 512;

/// The problems found so far, and how many more there are than are told.
#[derive(Debug, Default)]
pub(super) struct Problems {
    told: RefCell<Vec<Problem>>,
    untold: Cell<usize>,
}

impl Problems {
    /// Counts a problem, and says whether it is to be told of: only then are its place and
    /// text worth making up.
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

    /// Adds a problem that is at no place of the document.
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

/// The beginning of a text of a problem.
pub(super) fn shortened(text: &str) -> String {
    match text.char_indices().nth(MAX_PROBLEM) {
        Some((end, _)) => [text.get(..end).unwrap_or_default(), "…"].concat(),
        None => text.to_owned(),
    }
}

/// A place in a document. Only a problem needs it in words: a copy of a long name in
/// every element below it would make memory of the product of both.
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

/// `providers[0].jwks`
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

/// A value with its place.
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

    pub(super) const fn is_empty(&self) -> bool {
        self.values.is_empty()
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

    /// Its place, for what is in it.
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

    /// The members of an object; `known` closes the list of their names.
    #[inline(never)]
    pub(super) fn section(&self, known: &[&str]) -> Option<Section<'a>> {
        let Some(object) = self.value.as_object() else {
            self.expected("an object");
            return None;
        };
        let section = Section {
            place: Some(self.place()),
            object,
            problems: self.problems,
        };
        section.refuse_unknown(known);
        Some(section)
    }

    /// The members of an object whose names are free, those that are `null` included, if
    /// there are at most so many.
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

    /// The elements of a list of names, or of what may stand in place of one.
    pub(super) fn names(&self) -> Option<Elements<'a>> {
        if let Value::String(text) = self.value {
            self.expected_list_of(text);
            return None;
        }
        self.long_list()
    }

    fn expected_list_of(&self, text: &str) {
        let text = shortened(text);
        self.problem(format!("expected a list, found a string: write [{text}]"));
    }

    /// The elements of a list, if there are at most [`MAX_ELEMENTS`].
    pub(super) fn list(&self) -> Option<Elements<'a>> {
        self.elements(MAX_ELEMENTS)
    }

    /// The elements of a list that may be as long as the document has room for.
    pub(super) fn long_list(&self) -> Option<Elements<'a>> {
        self.elements(usize::MAX)
    }

    /// The elements of a list, if there are at most so many.
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

    /// A string that is not empty.
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

    /// A list of at most [`MAX_ELEMENTS`] non-empty strings.
    #[inline(never)]
    pub(super) fn texts(&self) -> Option<Vec<&'a str>> {
        if let Value::String(text) = self.value {
            self.expected_list_of(text);
            return None;
        }
        let nodes = self.list()?;
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
    pub(super) fn count(&self, least: usize, most: usize) -> Option<usize> {
        let number = self.number(least as u64, most as u64)?;
        usize::try_from(number).ok()
    }

    /// The same, whatever the platform's words are. `most` is at most 2⁵³.
    #[inline(never)]
    pub(super) fn number(&self, least: u64, most: u64) -> Option<u64> {
        let number = match self.value {
            Value::Number(Number::Unsigned(number)) => Some(*number),
            // Configurations that travel as protobuf Struct hold doubles.
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

    /// A duration such as `500ms`, `5s`, `10m`, `24h` within bounds, in milliseconds.
    #[inline(never)]
    pub(super) fn duration(&self, least: &str, most: &str) -> Option<u64> {
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
        let bounds = millis_or_zero(least)..=millis_or_zero(most);
        if !bounds.contains(&millis) {
            self.problem(format!("must lie between {least} and {most}"));
            return None;
        }
        Some(millis)
    }
}

/// An object whose member names were checked.
#[derive(Clone, Debug)]
pub(super) struct Section<'a> {
    place: Option<Rc<Place<'a>>>,
    object: &'a Object,
    problems: &'a Problems,
}

impl<'a> Section<'a> {
    /// The document itself.
    pub(super) fn top(object: &'a Object, known: &[&str], problems: &'a Problems) -> Self {
        let section = Self {
            place: None,
            object,
            problems,
        };
        section.refuse_unknown(known);
        section
    }

    /// A member that is there and not `null`.
    #[inline(never)]
    pub(super) fn get(&self, name: &str) -> Option<Node<'a>> {
        let (name, value) = self.object.member(name)?;
        (*value != Value::Null).then(|| Node {
            parent: self.place.clone(),
            step: Step::Member(name),
            value,
            problems: self.problems,
        })
    }

    /// Whether a member is there as `null`.
    pub(super) fn is_null(&self, name: &str) -> bool {
        matches!(self.object.get(name), Some(Value::Null))
    }

    /// A member that must be there.
    #[inline(never)]
    pub(super) fn require(&self, name: &str, why: &str) -> Option<Node<'a>> {
        let node = self.get(name);
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
        for (name, _) in self.object.iter() {
            if !known.contains(&name) && self.problems.is_told() {
                self.problems
                    .tell(&self.at(name), &unknown_key(name, known));
            }
        }
    }
}

/// What is said about a key that is not known where it stands.
#[inline(never)]
fn unknown_key(name: &str, known: &[&str]) -> String {
    if name == "url" && known.contains(&"uri") {
        return "unknown key: did you mean uri?".to_owned();
    }
    if let Some((_, advice)) = ADVICE.iter().find(|(wrong, _)| *wrong == name) {
        return (*advice).to_owned();
    }
    match known.iter().find(|right| is_near(name, right)) {
        Some(near) => format!("unknown key: did you mean {near}?"),
        None => format!("unknown key: known here are {}", known.join(", ")),
    }
}

/// A member that is one of a few words.
pub(super) fn word<T: Copy>(
    section: &Section<'_>,
    name: &str,
    default: T,
    words: &[(&str, T)],
) -> Option<T> {
    let Some(node) = section.get(name) else {
        return Some(default);
    };
    let text = node.text()?;
    let found = words.iter().find(|(word, _)| *word == text);
    if found.is_none() {
        let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        node.problem(format!("must be one of {}", known.join(", ")));
    }
    found.map(|(_, value)| *value)
}

#[inline(never)]
pub(super) fn flag(section: &Section<'_>, name: &str, default: bool) -> Option<bool> {
    section.get(name).map_or(Some(default), |node| node.flag())
}

/// Keys that other gateways have, or that people expect, with what to write here.
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

/// Whether a name is a likely slip for another: case, separators and a plural aside.
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

fn millis(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let unit = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(unit)
}

fn millis_or_zero(bound: &str) -> u64 {
    millis(bound).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit() {
        assert_eq!(millis("0s"), Some(0));
        assert_eq!(millis("500ms"), Some(500));
        assert_eq!(millis("24h"), Some(86_400_000));
        for text in [
            "",
            "5",
            "s",
            "1.5s",
            "-1s",
            "1d",
            "1 s",
            "99999999999999999999s",
        ] {
            assert_eq!(millis(text), None, "{text}");
        }
    }

    #[test]
    fn slips_are_recognised() {
        assert!(is_near("algorithm", "algorithms"));
        assert!(is_near("clockSkew", "clock_skew"));
        assert!(!is_near("issuer", "audiences"));
    }
}
