//! The part of a tenant's data that a caller may see: labels, and the values that they may
//! have.
//!
//! A scope says that every series, stream or span of an answer carries one of the given values
//! under each of its labels. It comes from a label policy beside a group, or from the path of
//! the projects API, but never from the caller's query.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::hash::BuildHasher;
use std::sync::Arc;

/// The longest label name, in bytes. The backends' own limit is 1,024.
pub const MAX_NAME: usize = 128;

/// The longest value, in bytes, which leaves room for any Kubernetes name.
pub const MAX_VALUE: usize = 256;

/// The maximum number of different policies of one caller that are combined. Nobody needs as
/// many, and the cost of comparing them is the square of their number.
pub const MAX_POLICIES: usize = 64;

/// The name of a label that may be scoped: `[a-zA-Z_][a-zA-Z0-9_]*`, but not beginning with two
/// underscores, because backends reserve such names for themselves.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct LabelName(Box<str>);

impl LabelName {
    /// Parses a name.
    ///
    /// # Errors
    /// The rule that the name breaks.
    pub fn parse(name: &str) -> Result<Self, &'static str> {
        let mut bytes = name.bytes();
        let first = bytes
            .next()
            .is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
        if !first || !bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            return Err("a label's name consists of a-z, A-Z, 0-9 and _ and begins with no digit");
        }
        if name.starts_with("__") {
            return Err("names that begin with __ belong to the backends");
        }
        if name.len() > MAX_NAME {
            return Err("a label's name has at most 128 bytes");
        }
        Ok(Self(name.into()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The name of a trace's resource attribute: `[a-zA-Z_][a-zA-Z0-9_.]*`.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct AttributeName(Box<str>);

impl AttributeName {
    /// Parses a name.
    ///
    /// # Errors
    /// The rule that the name breaks.
    pub fn parse(name: &str) -> Result<Self, &'static str> {
        let first = name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.');
        if !first || !name.bytes().all(plain) || name.len() > MAX_NAME {
            return Err("an attribute's name consists of a-z, A-Z, 0-9, _ and ., at most 128");
        }
        Ok(Self(name.into()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The names that labels have among the resource attributes of traces, where they differ from
/// those of the labels.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Attributes(Vec<(LabelName, AttributeName)>);

impl Attributes {
    /// Sets the name of a label's attribute.
    pub fn insert(&mut self, label: LabelName, attribute: AttributeName) {
        self.0.push((label, attribute));
    }

    /// The name of a label's attribute, which is that of the label unless another was set.
    #[must_use]
    pub fn get<'a>(&'a self, label: &'a LabelName) -> &'a str {
        let mut named = self.0.iter();
        match named.find(|(name, _)| name == label) {
            Some((_, attribute)) => attribute.as_str(),
            None => label.as_str(),
        }
    }
}

/// A value that a scoped label may have. It is compared exactly, and never as a pattern.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct LabelValue(Box<str>);

impl LabelValue {
    /// Parses a value. An empty one is refused, because it would match whatever lacks the
    /// label.
    ///
    /// # Errors
    /// The rule that the value breaks.
    pub fn parse(value: &str) -> Result<Self, &'static str> {
        if value.is_empty() {
            return Err("an empty value would match everything without the label");
        }
        if value.len() > MAX_VALUE {
            return Err("a value has at most 256 bytes");
        }
        if value.chars().any(char::is_control) {
            return Err("a value has no control characters");
        }
        Ok(Self(value.into()))
    }

    /// The value.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The values of one label, sorted and distinct.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct LabelValues(Vec<LabelValue>);

impl LabelValues {
    /// Adds a value.
    pub fn insert(&mut self, value: LabelValue) {
        if let Err(position) = self.0.binary_search(&value) {
            self.0.insert(position, value);
        }
    }

    /// All values.
    #[must_use]
    pub fn as_slice(&self) -> &[LabelValue] {
        &self.0
    }

    fn are_within(&self, others: &Self) -> bool {
        self.0
            .iter()
            .all(|value| others.0.binary_search(value).is_ok())
    }
}

impl FromIterator<LabelValue> for LabelValues {
    fn from_iter<T: IntoIterator<Item = LabelValue>>(values: T) -> Self {
        let mut all = Self::default();
        for value in values {
            all.insert(value);
        }
        all
    }
}

/// The values that one label may have, of which there is at least one.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
struct LabelRule {
    label: LabelName,
    /// Shared by the scopes of a policy, so that equal lists are mostly the same allocation.
    values: Arc<LabelValues>,
}

impl LabelRule {
    /// Whether each of its values is one of the other's. If both share one list, no value is
    /// compared.
    fn is_within(&self, wide: &Self) -> bool {
        Arc::ptr_eq(&self.values, &wide.values) || self.values.are_within(&wide.values)
    }
}

/// A conjunction of labels with the values that each may have.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Scope(Vec<LabelRule>);

impl Scope {
    /// A scope with one label and one value.
    #[must_use]
    pub fn single(label: LabelName, value: LabelValue) -> Self {
        Self(vec![LabelRule {
            label,
            values: Arc::new(LabelValues(vec![value])),
        }])
    }

    /// Combines labels with their values, in any order.
    ///
    /// # Errors
    /// The policy has no labels, a label has no values, or a label is named twice.
    pub fn new(
        rules: impl IntoIterator<Item = (LabelName, LabelValues)>,
    ) -> Result<Self, &'static str> {
        let mut sorted: Vec<LabelRule> = Vec::new();
        for (label, values) in rules {
            if values.0.is_empty() {
                return Err("a label needs a value: with none nothing could be seen");
            }
            let position = sorted.binary_search_by(|rule| rule.label.cmp(&label));
            match position {
                Ok(_) => return Err("a label is named twice"),
                Err(position) => {
                    let values = Arc::new(values);
                    sorted.insert(position, LabelRule { label, values });
                }
            }
        }
        if sorted.is_empty() {
            return Err("a label policy needs a label");
        }
        Ok(Self(sorted))
    }

    /// The labels with their values, sorted by name.
    pub fn rules(&self) -> impl Iterator<Item = (&LabelName, &[LabelValue])> {
        self.0
            .iter()
            .map(|rule| (&rule.label, rule.values.as_slice()))
    }

    /// Shares equal lists of values with earlier scopes, and adds its own for later ones.
    pub fn share<S: BuildHasher>(&mut self, known: &mut HashSet<Arc<LabelValues>, S>) {
        for rule in &mut self.0 {
            if let Some(values) = known.get(&rule.values) {
                rule.values = Arc::clone(values);
            } else {
                known.insert(Arc::clone(&rule.values));
            }
        }
    }

    /// The approximate memory that it takes, in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        let texts = self.rules().map(|(label, values)| {
            let values = values.iter().map(|value| {
                let header = size_of::<LabelValue>();
                header.saturating_add(value.as_str().len())
            });
            values.fold(label.as_str().len(), usize::saturating_add)
        });
        let rules = self.0.len().saturating_mul(size_of::<LabelRule>());
        texts.fold(rules, usize::saturating_add)
    }

    /// The union of the scopes, if it is a scope again.
    #[must_use]
    pub fn union(scopes: &[&Self]) -> Option<Self> {
        let mut left: Vec<Self> = Vec::new();
        for scope in scopes {
            if !left.contains(scope) {
                left.push((*scope).clone());
            }
            if left.len() > MAX_POLICIES {
                return None;
            }
        }
        // Any two that combine may be merged first: a third may bridge two that differ in two
        // labels.
        while left.len() > 1 {
            let mut merged = None;
            'pairs: for (first, one) in left.iter().enumerate() {
                for (second, other) in left.iter().enumerate().skip(first.saturating_add(1)) {
                    if let Some(union) = one.with(other) {
                        merged = Some((first, second, union));
                        break 'pairs;
                    }
                }
            }
            let (first, second, union) = merged?;
            left.remove(second);
            left.remove(first);
            left.push(union);
        }
        left.pop()
    }

    /// The union of both, if it is a scope: one contains the other, or they differ in the
    /// values of one label only.
    fn with(&self, other: &Self) -> Option<Self> {
        if self.is_within(other) {
            return Some(other.clone());
        }
        if other.is_within(self) {
            return Some(self.clone());
        }
        let same_labels = self.0.len() == other.0.len()
            && self.0.iter().zip(&other.0).all(|(a, b)| a.label == b.label);
        let rules = || self.0.iter().zip(&other.0);
        // It is enough to know whether there are two.
        let differing = || {
            rules()
                .filter(|(a, b)| a.values != b.values)
                .take(2)
                .count()
        };
        if !same_labels || differing() > 1 {
            return None;
        }
        let mut union = self.clone();
        for (rule, more) in union.0.iter_mut().zip(&other.0) {
            if rule.values == more.values {
                continue;
            }
            let values = Arc::make_mut(&mut rule.values);
            for value in &more.values.0 {
                values.insert(value.clone());
            }
        }
        Some(union)
    }

    /// Whether everything in this scope is in the other as well.
    fn is_within(&self, other: &Self) -> bool {
        other.0.iter().all(|wide| {
            self.0
                .iter()
                .any(|rule| rule.label == wide.label && rule.is_within(wide))
        })
    }

    /// The form in records: `namespace=shop|web`.
    #[must_use]
    pub fn summary(&self) -> String {
        let mut text = String::new();
        for (label, values) in self.rules() {
            if !text.is_empty() {
                text.push(',');
            }
            let _ = write!(text, "{}=", label.as_str());
            for (position, value) in values.iter().enumerate() {
                if position > 0 {
                    text.push('|');
                }
                text.push_str(value.as_str());
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(rules: &[(&str, &[&str])]) -> Scope {
        let rules = rules
            .iter()
            .map(|(label, values)| (LabelName::parse(label).unwrap(), self::values(values)));
        Scope::new(rules).unwrap()
    }

    fn values(values: &[&str]) -> LabelValues {
        let values = values.iter().map(|v| LabelValue::parse(v).unwrap());
        values.collect()
    }

    fn union(scopes: &[Scope]) -> Option<String> {
        let scopes: Vec<&Scope> = scopes.iter().collect();
        Scope::union(&scopes).map(|scope| scope.summary())
    }

    #[test]
    fn names_and_values_are_plain() {
        for name in ["", "1a", "a-b", "a.b", "__name__", "__x", "ä", "a b"] {
            assert!(LabelName::parse(name).is_err(), "{name}");
        }
        for name in ["a", "_a", "resource_id", "Namespace2"] {
            assert!(LabelName::parse(name).is_ok(), "{name}");
        }
        for value in ["", "a\nb", "\0", "\u{85}"] {
            assert!(LabelValue::parse(value).is_err(), "{value:?}");
        }
        assert!(LabelValue::parse("a|b.*\"\\ é").is_ok());
        assert!(LabelValue::parse(&"a".repeat(257)).is_err());
    }

    #[test]
    fn a_policy_names_labels_and_values() {
        let label = || LabelName::parse("a").unwrap();
        let value = || values(&["x"]);
        assert!(Scope::new([]).is_err());
        assert!(Scope::new([(label(), LabelValues::default())]).is_err());
        assert!(Scope::new([(label(), value()), (label(), value())]).is_err());
    }

    #[test]
    fn values_of_one_label_add_up() {
        let all = [
            scope(&[("ns", &["web"])]),
            scope(&[("ns", &["shop", "web"])]),
            scope(&[("ns", &["a"])]),
        ];
        assert_eq!(union(&all).as_deref(), Some("ns=a|shop|web"));
        let all = [
            scope(&[("ns", &["web"]), ("c", &["x"])]),
            scope(&[("c", &["x"]), ("ns", &["shop"])]),
        ];
        assert_eq!(union(&all).as_deref(), Some("c=x,ns=shop|web"));
    }

    #[test]
    fn what_differs_in_two_labels_is_ambiguous() {
        for (one, other) in [
            (scope(&[("a", &["x"])]), scope(&[("b", &["x"])])),
            (
                scope(&[("a", &["x"]), ("b", &["x"])]),
                scope(&[("a", &["y"]), ("b", &["y"])]),
            ),
            (
                scope(&[("a", &["x"]), ("b", &["x"])]),
                scope(&[("a", &["y"])]),
            ),
        ] {
            assert_eq!(union(&[one, other]), None);
        }
    }

    #[test]
    fn a_wider_policy_takes_in_a_narrower_one() {
        let narrow = scope(&[("a", &["x"]), ("b", &["y"])]);
        let wide = scope(&[("a", &["x", "z"])]);
        assert_eq!(union(&[narrow, wide]).as_deref(), Some("a=x|z"));
        let all = [
            scope(&[("a", &["x"]), ("b", &["x"])]),
            scope(&[("a", &["y"]), ("b", &["y"])]),
            scope(&[("a", &["x", "y"]), ("b", &["x", "y"])]),
        ];
        assert_eq!(union(&all).as_deref(), Some("a=x|y,b=x|y"));
    }
}
