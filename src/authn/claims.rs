//! From proven claims to a [`Principal`], as the provider's claim mapping says.
//!
//! A path is a list of member names, because real claim names hold dots, slashes
//! and colons. Group values are opaque strings; a prefix keeps sources apart, so
//! that a role named like a group is not that group. What is missing or of another
//! type gives nothing, and of a token that only points at groups it is kept that they
//! are not all known, so that what is refused is refused for that reason.

use crate::authn::json::{Object, Value};
use crate::words::denial::Denial;
use crate::words::identity::{GroupIndex, Groups, Listing, Principal, ProviderIndex, Subject};

/// Longest group value, in bytes.
const MAX_GROUP_BYTES: usize = 512;

/// Member names from the top of the claims down.
pub type Path = Vec<String>;

/// Which claims name the caller and its groups.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ClaimMapping {
    /// The first that holds a text without control characters is the subject.
    pub subject: Vec<Path>,
    /// The union of all of them are the groups.
    pub groups: Vec<GroupSource>,
}

/// One place to find groups.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct GroupSource {
    /// Where: a string or a list of strings.
    pub path: Path,
    /// Put before each value.
    pub prefix: String,
    /// Splits a string into values (`scope` is one space-separated string).
    pub split: Option<String>,
}

impl ClaimMapping {
    /// Maps claims whose signature has been verified.
    ///
    /// Groups that are not `known` are dropped: they cannot decide anything.
    ///
    /// # Errors
    /// [`Denial::SubjectInvalid`], [`Denial::GroupsOverLimit`] beyond `max_groups` values.
    pub fn principal(
        &self,
        claims: &Object,
        provider: ProviderIndex,
        known: &Groups,
        max_groups: usize,
    ) -> Result<Principal, Denial> {
        let subject = self
            .subject
            .iter()
            .filter_map(|path| find(claims, path)?.as_str())
            .find_map(Subject::parse)
            .ok_or(Denial::SubjectInvalid)?;
        let mut seen: usize = 0;
        let mut listing = Listing::Whole;
        let mut groups: Vec<GroupIndex> = Vec::new();
        for source in &self.groups {
            if is_overage(claims, &source.path) {
                listing = Listing::Overage;
            }
            let Some(value) = find(claims, &source.path) else {
                continue;
            };
            if !is_of_texts(value) {
                listing = listing.max(Listing::Unread);
            }
            source.each(value, |name| {
                seen = seen.saturating_add(1);
                if seen > max_groups || name.len() > MAX_GROUP_BYTES {
                    return Err(Denial::GroupsOverLimit);
                }
                groups.extend(if source.prefix.is_empty() {
                    known.get(name)
                } else {
                    known.get(&[source.prefix.as_str(), name].concat())
                });
                Ok(())
            })?;
        }
        groups.sort_unstable();
        groups.dedup();
        Ok(Principal {
            provider,
            subject,
            listing,
            groups: groups.into(),
        })
    }
}

impl GroupSource {
    /// Visits the values of a string or a list of strings; others have none.
    fn each(
        &self,
        value: &Value,
        mut visit: impl FnMut(&str) -> Result<(), Denial>,
    ) -> Result<(), Denial> {
        let mut text = |text: &str| match &self.split {
            Some(separator) => text
                .split(separator.as_str())
                .filter(|part| !part.is_empty())
                .try_for_each(&mut visit),
            None if text.is_empty() => Ok(()),
            None => visit(text),
        };
        match value {
            Value::String(one) => text(one),
            Value::Array(many) => many.iter().filter_map(Value::as_str).try_for_each(text),
            _ => Ok(()),
        }
    }
}

/// The value at a path; `null` is nothing, and so is an e-mail address that the
/// provider does not call verified: anybody could have typed it in.
fn find<'a>(claims: &'a Object, path: &[String]) -> Option<&'a Value> {
    let (last, parents) = path.split_last()?;
    let mut object = claims;
    for name in parents {
        object = object.get(name)?.as_object()?;
    }
    // Some providers write it as a text.
    let verified = last != "email"
        || match object.get("email_verified") {
            Some(Value::Bool(verified)) => *verified,
            Some(Value::String(verified)) => verified == "true",
            _ => false,
        };
    object
        .get(last)
        .filter(|value| verified && !matches!(value, Value::Null))
}

/// Whether nothing in there is anything else than a text.
fn is_of_texts(value: &Value) -> bool {
    match value {
        Value::String(_) => true,
        Value::Array(many) => many.iter().all(|one| one.as_str().is_some()),
        _ => false,
    }
}

/// Entra's overage: above 200 groups the claim is replaced by a pointer in
/// `_claim_names` (or `hasgroups` in implicit flows), and reads as "no groups".
fn is_overage(claims: &Object, path: &[String]) -> bool {
    let [name] = path else { return false };
    let pointed = claims
        .get("_claim_names")
        .and_then(Value::as_object)
        .is_some_and(|names| names.has(name));
    let flagged = name == "groups"
        && match claims.get("hasgroups") {
            Some(Value::Bool(flag)) => *flag,
            Some(Value::String(flag)) => flag == "true",
            _ => false,
        };
    pointed || flagged
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authn::json;

    fn groups(names: &[&str]) -> Groups {
        let mut groups = Groups::default();
        for name in names {
            groups.name(name);
        }
        groups
    }

    fn path(segments: &[&str]) -> Path {
        segments.iter().map(ToString::to_string).collect()
    }

    fn source(segments: &[&str], prefix: &str, split: Option<&str>) -> GroupSource {
        GroupSource {
            path: path(segments),
            prefix: prefix.into(),
            split: split.map(Into::into),
        }
    }

    fn map(claims: &str, sources: &[GroupSource], known: &[&str]) -> Result<Principal, Denial> {
        let mapping = ClaimMapping {
            subject: vec![path(&["oid"]), path(&["sub"])],
            groups: sources.to_vec(),
        };
        let claims = json::parse_object(claims.as_bytes(), 16).unwrap();
        mapping.principal(&claims, ProviderIndex(0), &groups(known), 4)
    }

    #[test]
    fn the_first_non_empty_subject_wins() {
        let subject = |claims| map(claims, &[], &[]).map(|p| p.subject.as_str().to_owned());
        assert_eq!(subject(r#"{"sub":"s","oid":"o"}"#).as_deref(), Ok("o"));
        assert_eq!(subject(r#"{"sub":"s","oid":""}"#).as_deref(), Ok("s"));
        for claims in [
            r#"{}"#,
            r#"{"sub":""}"#,
            r#"{"sub":1}"#,
            r#"{"sub":"a\u0000"}"#,
        ] {
            assert_eq!(subject(claims), Err(Denial::SubjectInvalid), "{claims}");
        }
    }

    #[test]
    fn sources_add_up_and_prefixes_keep_them_apart() {
        let sources = [
            source(&["groups"], "", None),
            source(&["realm_access", "roles"], "role:", None),
            source(&["scope"], "scope:", Some(" ")),
            source(&["https://x/roles"], "", None),
        ];
        let known = ["a", "role:a", "scope:b", "c"];
        let groups = |claims: &str| map(claims, &sources, &known).unwrap().groups.len();
        assert_eq!(groups(r#"{"sub":"s","groups":["a",1,null]}"#), 1);
        assert_eq!(groups(r#"{"sub":"s","realm_access":{"roles":["a"]}}"#), 1);
        assert_eq!(groups(r#"{"sub":"s","scope":"x  b"}"#), 1);
        assert_eq!(groups(r#"{"sub":"s","https://x/roles":"c"}"#), 1);
        assert_eq!(
            groups(r#"{"sub":"s","groups":["role:a"]}"#),
            1,
            "values are opaque"
        );
        assert_eq!(groups(r#"{"sub":"s","groups":{"a":1}}"#), 0);
        assert_eq!(groups(r#"{"sub":"s"}"#), 0);
    }

    #[test]
    fn c17_groups_that_are_only_pointed_at_are_not_all_known() {
        let sources = [source(&["groups"], "", None), source(&["roles"], "", None)];
        let listing = |claims| map(claims, &sources, &["a"]).unwrap().listing;
        for claims in [
            r#"{"sub":"s","_claim_names":{"groups":"src1"}}"#,
            r#"{"sub":"s","hasgroups":true}"#,
            r#"{"sub":"s","hasgroups":"true"}"#,
            r#"{"sub":"s","hasgroups":true,"roles":["a"]}"#,
            r#"{"sub":"s","groups":["a"],"_claim_names":{"groups":"src1"}}"#,
            r#"{"sub":"s","groups":{"a":1},"hasgroups":true}"#,
        ] {
            assert_eq!(listing(claims), Listing::Overage, "{claims}");
        }
        for claims in [
            r#"{"sub":"s","groups":{"a":1}}"#,
            r#"{"sub":"s","groups":["a",1]}"#,
            r#"{"sub":"s","groups":[],"roles":1}"#,
        ] {
            assert_eq!(listing(claims), Listing::Unread, "{claims}");
        }
        for claims in [
            r#"{"sub":"s","hasgroups":false}"#,
            r#"{"sub":"s","groups":null,"roles":"a"}"#,
        ] {
            assert_eq!(listing(claims), Listing::Whole, "{claims}");
        }
        // What is known is known.
        let both = r#"{"sub":"s","hasgroups":true,"roles":["a"]}"#;
        assert_eq!(map(both, &sources, &["a"]).unwrap().groups.len(), 1);
    }

    #[test]
    fn c19_too_many_or_too_long_groups_are_a_refusal() {
        let sources = [source(&["groups"], "", None)];
        let many = r#"{"sub":"s","groups":["a","b","c","d","e"]}"#;
        assert_eq!(
            map(many, &sources, &[]).unwrap_err(),
            Denial::GroupsOverLimit
        );
        let long = format!(r#"{{"sub":"s","groups":["{}"]}}"#, "a".repeat(513));
        assert_eq!(
            map(&long, &sources, &[]).unwrap_err(),
            Denial::GroupsOverLimit
        );
    }
}
