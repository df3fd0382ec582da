//! One place in the claims that holds groups, and the form that they have there.
//!
//! Group values are opaque texts. A prefix keeps sources apart, so that a role in one claim is
//! not taken for a group of the same name in another. No other source may imitate that prefix:
//! a value that begins with the prefix of another source is accepted from that source only.

use std::borrow::Cow;
use std::sync::Arc;

use crate::authn::json::{self, Object, Value};
use crate::words::denial::Denial;

/// The nesting of a list that is written as text.
const MAX_DEPTH: usize = 2;

/// Names of members, from the top of the claims down. They are separate texts because real
/// claim names hold dots, slashes and colons.
pub type Path = Vec<String>;

/// A place in the claims where groups are found.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct GroupSource {
    /// Where the groups are among the claims.
    pub path: Path,
    /// The text that is put before each value.
    pub prefix: String,
    /// The form in which the groups are written.
    pub shape: Shape,
    /// The separator at which each text is split into values, which are then trimmed of blanks
    /// (`scope` is one text with values between spaces).
    pub split: Option<String>,
}

/// The form in which groups are written.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Shape {
    /// A text, or a list of texts.
    Texts,
    /// A list that is written as text: as JSON, or as `[a, b]`.
    ListInText,
    /// The names of an object's members (Zitadel's roles).
    Keys {
        /// Takes only the members that are objects and have a member of this name.
        having: Option<String>,
    },
    /// The member of this name in each object of a list.
    Field(String),
}

/// What is found at a path.
pub(super) enum At<'a> {
    /// There is nothing, or `null`.
    Nothing,
    /// There is something that may not be used.
    Unusable,
    /// There is this value.
    Value(&'a Value),
}

/// The value at a path.
pub(super) fn find<'a>(claims: &'a Object, path: &[String]) -> At<'a> {
    let Some((last, parents)) = path.split_last() else {
        return At::Nothing;
    };
    let mut object = claims;
    for name in parents {
        match object.get(name) {
            None | Some(Value::Null) => return At::Nothing,
            Some(Value::Object(inner)) => object = inner,
            Some(_) => return At::Unusable,
        }
    }
    match object.get(last) {
        None | Some(Value::Null) => At::Nothing,
        Some(_) if !may_be_used(object, last) => At::Unusable,
        Some(value) => At::Value(value),
    }
}

/// Whether a member of that object may be used. An e-mail address is used only if the provider
/// says that it is verified, because anybody could have typed it in.
fn may_be_used(object: &Object, name: &str) -> bool {
    name != "email"
        || match object.get("email_verified") {
            Some(Value::Bool(verified)) => *verified,
            // Some providers write this as a text.
            Some(Value::String(verified)) => verified == "true",
            _ => false,
        }
}

/// The prefixes of all sources of all providers, sorted and distinct.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Prefixes(Arc<[Box<str>]>);

impl Prefixes {
    /// Collects the prefixes.
    #[must_use]
    pub fn new<'a>(prefixes: impl IntoIterator<Item = &'a str>) -> Self {
        let mut prefixes: Vec<Box<str>> = prefixes.into_iter().map(Into::into).collect();
        prefixes.sort_unstable();
        prefixes.dedup();
        Self(prefixes.into())
    }

    /// The length, in bytes, of the longest prefix that a value begins with.
    pub(super) fn longest(&self, value: &str) -> usize {
        let value = value.as_bytes();
        let mut beginning = value;
        loop {
            // All prefixes with which the value begins are sorted before it, and whatever is
            // sorted between one of them and the value begins with that prefix.
            let before = self
                .0
                .partition_point(|prefix| prefix.as_bytes() <= beginning);
            let Some(nearest) = before.checked_sub(1).and_then(|at| self.0.get(at)) else {
                return 0;
            };
            let pairs = nearest.bytes().zip(beginning);
            let common = pairs.take_while(|(a, b)| a == *b).count();
            if common == nearest.len() {
                return common;
            }
            beginning = value.get(..common).unwrap_or_default();
        }
    }
}

impl GroupSource {
    /// A source that reads texts and lists of texts at a path, unchanged.
    #[must_use]
    pub const fn texts(path: Path, prefix: String) -> Self {
        Self {
            path,
            prefix,
            shape: Shape::Texts,
            split: None,
        }
    }

    /// Whether this source could hold the value.
    #[must_use]
    pub fn may_hold(&self, value: &str) -> bool {
        let whole = self.split.as_ref().is_none_or(|separator| {
            !value.contains(separator.as_str()) && value.trim_ascii() == value
        });
        whole && !value.is_empty()
    }

    /// Visits the values that the source holds, and returns whether all of it could be used.
    pub(super) fn each<'v>(
        &self,
        value: &'v Value,
        mut visit: impl FnMut(&str) -> Result<(), Denial>,
    ) -> Result<bool, Denial> {
        let mut text = |text: &str| match &self.split {
            Some(separator) => text
                .split(separator.as_str())
                .map(str::trim_ascii)
                .filter(|part| !part.is_empty())
                .try_for_each(&mut visit),
            None if text.is_empty() => Ok(()),
            None => visit(text),
        };
        match (&self.shape, value) {
            (Shape::Texts | Shape::ListInText, Value::Array(many)) => texts(many, Some, text),
            // A list that is written as text is taken for one value here, which is hardly what
            // was meant.
            (Shape::Texts, Value::String(one)) => text(one).map(|()| in_brackets(one).is_none()),
            (Shape::ListInText, Value::String(one)) => list_in_text(one, text),
            (Shape::Keys { having }, Value::Object(members)) => {
                let mut usable = true;
                for (name, member) in members.iter() {
                    match (having, member) {
                        // This is more likely a switch that is off.
                        (_, Value::Bool(false) | Value::Null) => usable = false,
                        (None, _) => text(name)?,
                        (Some(having), Value::Object(member)) if member.has(having) => text(name)?,
                        // The member belongs to something else.
                        (Some(_), Value::Object(_)) => {}
                        (Some(_), _) => usable = false,
                    }
                }
                Ok(usable)
            }
            (Shape::Field(name), Value::Array(many)) => {
                let member = |one: &'v Value| {
                    let object = one.as_object()?;
                    may_be_used(object, name).then(|| object.get(name))?
                };
                texts(many, member, text)
            }
            _ => Ok(false),
        }
    }
}

/// Visits the texts of a list, and returns whether every element yielded one.
fn texts<'a>(
    list: &'a [Value],
    text_of: impl Fn(&'a Value) -> Option<&'a Value>,
    mut visit: impl FnMut(&str) -> Result<(), Denial>,
) -> Result<bool, Denial> {
    let mut usable = true;
    for one in list {
        match text_of(one).and_then(Value::as_str) {
            Some(text) => visit(text)?,
            None => usable = false,
        }
    }
    Ok(usable)
}

/// Visits the elements of a list that is written as text. Amazon Cognito writes `[a, b]` where
/// a list of another provider is mapped to an attribute; others write JSON.
fn list_in_text(
    text: &str,
    mut visit: impl FnMut(&str) -> Result<(), Denial>,
) -> Result<bool, Denial> {
    match json::parse(text.as_bytes(), MAX_DEPTH) {
        Ok(Value::Array(many)) => return texts(&many, Some, visit),
        Ok(Value::Object(_)) => return Ok(false),
        Ok(_) | Err(_) => {}
    }
    let Some(inner) = in_brackets(text) else {
        return if text.is_empty() {
            Ok(true)
        } else {
            visit(text).map(|()| true)
        };
    };
    // The text was meant as JSON, or as something else that must not be guessed.
    if inner.contains(['"', '[', ']', '{', '}']) || inner.trim_ascii().starts_with('\'') {
        return Ok(false);
    }
    inner
        .split(',')
        .map(str::trim_ascii)
        .filter(|part| !part.is_empty())
        .try_for_each(visit)
        .map(|()| true)
}

/// The text between brackets, if it begins and ends with them.
fn in_brackets(text: &str) -> Option<&str> {
    let rest = text.trim_ascii().strip_prefix('[')?;
    rest.strip_suffix(']')
}

/// A path as records spell it, with dots between its names.
#[must_use]
pub fn spelt(path: &[String]) -> Cow<'_, str> {
    match path {
        [name] => Cow::Borrowed(name),
        names => Cow::Owned(names.join(".")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(shape: Shape, split: Option<&str>) -> GroupSource {
        GroupSource {
            shape,
            split: split.map(Into::into),
            ..GroupSource::texts(vec!["groups".to_owned()], String::new())
        }
    }

    /// The values of a claim, and whether all of it could be used.
    fn values(source: &GroupSource, claim: &str) -> (Vec<String>, bool) {
        let value = json::parse(claim.as_bytes(), 16).unwrap();
        let mut values = Vec::new();
        let usable = source
            .each(&value, |text| {
                values.push(text.to_owned());
                Ok(())
            })
            .unwrap();
        (values, usable)
    }

    #[track_caller]
    fn check(source: &GroupSource, claim: &str, expected: &[&str], usable: bool) {
        let expected = expected.iter().map(ToString::to_string).collect();
        assert_eq!(values(source, claim), (expected, usable), "{claim}");
    }

    #[test]
    fn texts_and_lists_of_texts() {
        let texts = source(Shape::Texts, None);
        check(&texts, r#""a""#, &["a"], true);
        check(&texts, r#"" a ""#, &[" a "], true);
        check(&texts, r#""""#, &[], true);
        check(&texts, r#"["a","","b"]"#, &["a", "b"], true);
        check(&texts, r#"["a",1,null]"#, &["a"], false);
        check(&texts, r#""[a, b]""#, &["[a, b]"], false);
        check(&texts, r#"{"a":1}"#, &[], false);
        check(&texts, "7", &[], false);
    }

    #[test]
    fn split_texts_lose_the_blanks_around_their_parts() {
        let comma = source(Shape::Texts, Some(","));
        check(&comma, r#""a, b ,,c""#, &["a", "b", "c"], true);
        check(&comma, r#"["a, b","c"]"#, &["a", "b", "c"], true);
        let blank = source(Shape::Texts, Some(" "));
        check(&blank, r#""openid  logs\t""#, &["openid", "logs"], true);
        let fields = source(Shape::Field("name".into()), Some(";"));
        check(&fields, r#"[{"name":"a; b"}]"#, &["a", "b"], true);
    }

    #[test]
    fn a_list_may_be_written_into_a_text() {
        let list = source(Shape::ListInText, None);
        check(&list, r#""[\"a, b\", \"c\"]""#, &["a, b", "c"], true);
        check(&list, r#""[\"a\", 1]""#, &["a"], false);
        check(&list, r#""[\"a\", [\"b\"]]""#, &["a"], false);
        check(&list, r#""[a, b c,, d]""#, &["a", "b c", "d"], true);
        check(&list, r#"" [a] ""#, &["a"], true);
        check(&list, r#""[]""#, &[], true);
        check(&list, r#""""#, &[], true);
        check(&list, r#""a, b""#, &["a, b"], true);
        check(&list, r#""[a""#, &["[a"], true);
        check(&list, r#"["a"]"#, &["a"], true);
        for broken in [
            r#""[\"a\",]""#,
            r#""['a']""#,
            r#""[[[\"a\"]]]""#,
            r#""{\"a\":1}""#,
            r#""[[a]]""#,
        ] {
            check(&list, broken, &[], false);
        }
        check(&list, "{}", &[], false);
    }

    #[test]
    fn names_of_members_may_be_groups() {
        let keys = source(Shape::Keys { having: None }, None);
        let roles = r#"{"admin":{"1":"acme.example"},"viewer":{"2":"x"},"odd":1}"#;
        check(&keys, roles, &["admin", "viewer", "odd"], true);
        check(&keys, "[]", &[], false);
        let switches = r#"{"admin":false,"viewer":null,"editor":true}"#;
        check(&keys, switches, &["editor"], false);
        let having = Some("1".to_owned());
        let keys = source(Shape::Keys { having }, None);
        check(&keys, roles, &["admin"], false);
        check(&keys, r#"{"viewer":{"2":"x"}}"#, &[], true);
    }

    #[test]
    fn a_field_of_each_object_may_be_a_group() {
        let field = source(Shape::Field("name".into()), None);
        check(
            &field,
            r#"[{"name":"a","id":1},{"name":"b"}]"#,
            &["a", "b"],
            true,
        );
        check(
            &field,
            r#"[{"name":"a"},{"id":1},{"name":2},"c"]"#,
            &["a"],
            false,
        );
        check(&field, r#"{"name":"a"}"#, &[], false);
        let email = source(Shape::Field("email".into()), None);
        let emails = r#"[{"email":"a","email_verified":true},{"email":"b","email_verified":false},{"email":"c"}]"#;
        check(&email, emails, &["a"], false);
    }

    #[test]
    fn the_longest_prefix_of_a_value_is_found_among_all() {
        let prefixes = Prefixes::new(["", "client:", "client:robot:", "role:", "client:"]);
        for (value, longest) in [
            ("", ""),
            ("a", ""),
            ("client", ""),
            ("client:", "client:"),
            ("client:a", "client:"),
            ("client:robot", "client:"),
            ("client:robot:", "client:robot:"),
            ("client:robot:x", "client:robot:"),
            ("client:zebra", "client:"),
            ("roles:x", ""),
            ("role:x", "role:"),
            ("z\u{e9}", ""),
        ] {
            assert_eq!(prefixes.longest(value), longest.len(), "{value}");
        }
        // Compares the search with the plain rule, for all short texts of three letters.
        let mut texts = vec![String::new()];
        for length in 0..5 {
            let longest: Vec<_> = texts
                .iter()
                .filter(|t| t.len() == length)
                .cloned()
                .collect();
            texts.extend(
                longest
                    .iter()
                    .flat_map(|text| ["a", "b", "c"].map(|c| text.clone() + c)),
            );
        }
        for seed in 0..200_u64 {
            let chosen =
                |number: u64| (seed.wrapping_mul(2_654_435_761) >> number).is_multiple_of(5);
            let numbered = texts.iter().take(40).zip(0..);
            let some: Vec<_> = numbered
                .filter(|(_, number)| chosen(*number))
                .map(|(t, _)| t.as_str())
                .collect();
            let prefixes = Prefixes::new(some.iter().copied());
            for value in &texts {
                let begin = some.iter().filter(|prefix| value.starts_with(**prefix));
                let plain = begin.map(|prefix| prefix.len()).max().unwrap_or(0);
                assert_eq!(prefixes.longest(value), plain, "{some:?} {value}");
            }
        }
    }
}
