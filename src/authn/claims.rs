//! From proven claims to a [`Principal`], as the provider's claim mapping says.
//!
//! A missing claim yields nothing. A claim that cannot be used yields nothing either, but its
//! position is recorded. A token that only points at its groups is marked as incomplete, so
//! that a refusal can give this as the reason.

use std::borrow::Cow;

use crate::authn::group_source::{At, GroupSource, Path, Prefixes, find};
use crate::authn::json::{Object, Value};
use crate::words::denial::Denial;
use crate::words::identity::{GroupIndex, Groups, Listing, Principal, ProviderIndex, Subject};

/// Longest group value, in bytes.
const MAX_GROUP_BYTES: usize = 512;

/// Which claims name the caller and its groups.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ClaimMapping {
    /// The subject is the first of these that holds a text without control characters.
    pub subject: Vec<Path>,
    /// The groups are the union of what these sources hold.
    pub groups: Vec<GroupSource>,
    /// The prefixes of all providers' sources. A value is dropped if the longest prefix that it
    /// begins with is not that of its own source, because it poses as the value of another one.
    pub prefixes: Prefixes,
}

impl ClaimMapping {
    /// The subject of claims whose signature has been verified.
    #[must_use]
    pub fn subject(&self, claims: &Object) -> Option<Subject> {
        self.subject
            .iter()
            .find_map(|path| match find(claims, path) {
                At::Value(value) => Subject::parse(value.as_str()?),
                At::Nothing | At::Unusable => None,
            })
    }

    /// Maps claims whose signature has been verified.
    ///
    /// Groups that are not `known` are left out, because they cannot affect a decision.
    ///
    /// # Errors
    /// [`Denial::SubjectInvalid`], or [`Denial::GroupsOverLimit`] if there are more than
    /// `max_groups` values.
    pub fn principal(
        &self,
        claims: &Object,
        provider: ProviderIndex,
        known: &Groups,
        max_groups: usize,
    ) -> Result<Principal, Denial> {
        let subject = self.subject(claims).ok_or(Denial::SubjectInvalid)?;
        let mut groups: Vec<GroupIndex> = Vec::new();
        let mut dropped: usize = 0;
        let mut listing = self.list(claims, max_groups, |_, name, own| {
            if own {
                groups.extend(known.get(&name));
            } else {
                dropped = dropped.saturating_add(1);
            }
        })?;
        listing.dropped = dropped;
        groups.sort_unstable();
        groups.dedup();
        Ok(Principal {
            provider,
            subject,
            listing,
            groups: groups.into(),
        })
    }

    /// Visits the caller's groups: the position of the source, the group with its prefix, and
    /// whether the source may use that name. A value that may not poses as one of another
    /// source. The result says how complete the list is, except that it does not count these.
    ///
    /// # Errors
    /// [`Denial::GroupsOverLimit`] if there are more than `max_groups` values.
    pub fn list(
        &self,
        claims: &Object,
        max_groups: usize,
        mut visit: impl FnMut(usize, Cow<'_, str>, bool),
    ) -> Result<Listing, Denial> {
        let mut seen: usize = 0;
        let mut listing = Listing::default();
        for (position, source) in self.groups.iter().enumerate() {
            listing.overage |= is_overage(claims, &source.path);
            let value = match find(claims, &source.path) {
                At::Value(value) => value,
                At::Nothing => continue,
                At::Unusable => {
                    listing.unread.push(position);
                    continue;
                }
            };
            let usable = source.each(value, |name| {
                seen = seen.saturating_add(1);
                if seen > max_groups || name.len() > MAX_GROUP_BYTES {
                    return Err(Denial::GroupsOverLimit);
                }
                let name = if source.prefix.is_empty() {
                    Cow::Borrowed(name)
                } else {
                    Cow::Owned([source.prefix.as_str(), name].concat())
                };
                let own = self.prefixes.longest(&name) == source.prefix.len();
                visit(position, name, own);
                Ok(())
            })?;
            if !usable {
                listing.unread.push(position);
            }
        }
        Ok(listing)
    }
}

impl ClaimMapping {
    /// Whether a token of this provider could yield that group.
    #[must_use]
    pub fn may_yield(&self, group: &str) -> bool {
        let longest = self.prefixes.longest(group);
        let mut sources = self.groups.iter();
        sources.any(|source| {
            source.prefix.len() == longest
                && group
                    .strip_prefix(source.prefix.as_str())
                    .is_some_and(|value| source.may_hold(value))
        })
    }
}

/// Whether a token has Entra's overage: above 200 groups the claim is replaced by a pointer in
/// `_claim_names` (or by `hasgroups` in implicit flows), which would otherwise be read as "no
/// groups".
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
            split: split.map(Into::into),
            ..GroupSource::texts(path(segments), prefix.into())
        }
    }

    fn map(claims: &str, sources: &[GroupSource], known: &[&str]) -> Result<Principal, Denial> {
        let mapping = ClaimMapping {
            subject: vec![path(&["oid"]), path(&["sub"])],
            groups: sources.to_vec(),
            prefixes: Prefixes::new(sources.iter().map(|source| source.prefix.as_str())),
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
        let posing = map(r#"{"sub":"s","groups":["role:a","a"]}"#, &sources, &known).unwrap();
        assert_eq!((posing.groups.len(), posing.listing.dropped), (1, 1));
        assert!(posing.listing.is_whole());
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
            assert!(listing(claims).overage, "{claims}");
        }
        for (claims, unread) in [
            (r#"{"sub":"s","groups":{"a":1}}"#, &[0][..]),
            (r#"{"sub":"s","groups":["a",1]}"#, &[0]),
            (r#"{"sub":"s","groups":[],"roles":1}"#, &[1]),
            (r#"{"sub":"s","groups":1,"roles":false}"#, &[0, 1]),
        ] {
            let listing = listing(claims);
            assert!(!listing.overage && !listing.is_whole(), "{claims}");
            assert_eq!(listing.unread, unread, "{claims}");
        }
        for claims in [
            r#"{"sub":"s","hasgroups":false}"#,
            r#"{"sub":"s","groups":null,"roles":"a"}"#,
        ] {
            assert!(listing(claims).is_whole(), "{claims}");
        }
        // Groups that the token does list still count.
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
