//! Who is calling: the types between a verified token and a policy decision.

use std::collections::HashMap;
use std::fmt::{self, Write as _};
use std::sync::Arc;

use crate::words::hash::QuickHash;

/// An `iss` value, compared byte for byte and never as a parsed URL.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Issuer(Arc<str>);

impl Issuer {
    /// Wraps a configured issuer.
    #[must_use]
    pub fn new(issuer: &str) -> Self {
        Self(issuer.into())
    }

    /// The issuer as tokens spell it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The spellings of one provider's `iss`; Google and Microsoft have two. Each is compared byte
/// for byte. The first one is used to find the discovery document and the keys.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Issuers {
    first: Issuer,
    others: Box<[Issuer]>,
}

impl Issuers {
    /// Collects these spellings, `first` being the one that leads to the discovery document and
    /// the keys.
    #[must_use]
    pub fn new<'a>(first: &str, others: impl IntoIterator<Item = &'a str>) -> Self {
        Self {
            first: Issuer::new(first),
            others: others.into_iter().map(Issuer::new).collect(),
        }
    }

    /// The spelling that leads to the discovery document and the keys.
    #[must_use]
    pub const fn first(&self) -> &Issuer {
        &self.first
    }

    /// All spellings, beginning with the first.
    pub fn iter(&self) -> impl Iterator<Item = &Issuer> {
        std::iter::once(&self.first).chain(&*self.others)
    }

    /// The spelling that equals `issuer` byte for byte.
    #[must_use]
    pub fn find(&self, issuer: &str) -> Option<&Issuer> {
        self.iter().find(|known| known.as_str() == issuer)
    }
}

/// Longest subject, in bytes. OpenID Connect Core §2 allows `sub` 255 ASCII characters, but the
/// claim that names a person is not always `sub`.
pub const MAX_SUBJECT_BYTES: usize = 1_024;

/// The caller's name: text without control characters.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Subject {
    text: Box<str>,
    /// The form for a header, if it differs from the text.
    encoded: Option<Box<str>>,
}

impl Subject {
    /// Takes a claim value that names somebody. Returns `None` if it is empty, longer than
    /// [`MAX_SUBJECT_BYTES`] or holds a control character.
    #[must_use]
    pub fn parse(value: &str) -> Option<Self> {
        let fits = !value.is_empty() && value.len() <= MAX_SUBJECT_BYTES;
        if !fits || value.chars().any(char::is_control) {
            return None;
        }
        Some(Self {
            text: value.into(),
            encoded: encoded(value).map(Into::into),
        })
    }

    /// The value.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The form for a header. Bytes that would not survive there are percent-encoded
    /// (RFC 3986 §2.1), and so is the percent sign, so that no two subjects have the same form.
    #[must_use]
    pub fn in_header(&self) -> &str {
        self.encoded.as_ref().unwrap_or(&self.text)
    }
}

/// Encodes a subject for a header. Returns `None` if it can stand there as it is.
fn encoded(subject: &str) -> Option<String> {
    let last = subject.len().saturating_sub(1);
    let stays = |(place, byte): (usize, u8)| match byte {
        b'%' => false,
        // A space at either end would be taken for padding.
        b' ' => place != 0 && place != last,
        byte => matches!(byte, 0x21..=0x7e),
    };
    if subject.bytes().enumerate().all(stays) {
        return None;
    }
    let mut text = String::with_capacity(subject.len().saturating_mul(3));
    for (place, byte) in subject.bytes().enumerate() {
        if stays((place, byte)) {
            text.push(char::from(byte));
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
    }
    Some(text)
}

/// The position of a group in the compiled policy. Groups that no role names have none.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct GroupIndex(pub(crate) u32);

/// The groups that some role names, each with its position.
///
/// Names are opaque and compared for exact equality. The policy fills this map while it is
/// compiled. A caller's groups are looked up in it, and those without a position are dropped,
/// because they cannot affect a decision.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Groups(HashMap<Box<str>, GroupIndex, QuickHash>);

impl Groups {
    /// An empty set whose names are hashed with `hash`.
    #[must_use]
    pub fn hashed(hash: QuickHash) -> Self {
        Self(HashMap::with_hasher(hash))
    }

    /// The position of a group, which is added if it is new.
    ///
    /// There are fewer than 2³² groups: each is a text of a configuration.
    pub fn name(&mut self, name: &str) -> GroupIndex {
        let next = GroupIndex(u32::try_from(self.0.len()).unwrap_or(u32::MAX));
        *self.0.entry(name.into()).or_insert(next)
    }

    /// The number of groups.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no groups.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The position of a group, if it has one.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<GroupIndex> {
        self.0.get(name).copied()
    }
}

/// The position of a provider in the configuration.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct ProviderIndex(pub(crate) usize);

impl ProviderIndex {
    /// The provider at that position.
    #[must_use]
    pub const fn at(position: usize) -> Self {
        Self(position)
    }
}

/// How completely a token lists its caller's groups.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Listing {
    /// Whether the token points at groups that it does not list (Entra's overage).
    pub overage: bool,
    /// The positions, in the provider's mapping, of the sources in which the token holds
    /// something that cannot be used.
    pub unread: Vec<usize>,
    /// How many values were dropped because they pose as those of another source.
    pub dropped: usize,
}

impl Listing {
    /// Whether the token lists all of its caller's groups.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        !self.overage && self.unread.is_empty()
    }
}

/// A proven caller, reduced to what decisions and records need.
#[derive(Clone, Debug)]
pub struct Principal {
    /// Which provider vouches for the caller.
    pub provider: ProviderIndex,
    /// The caller's name there.
    pub subject: Subject,
    /// How completely the token lists the caller's groups.
    pub listing: Listing,
    /// The caller's groups that some role names, sorted and distinct. They are shared with the
    /// remembered answers about them.
    pub groups: Arc<[GroupIndex]>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_keep_the_position_they_got_first() {
        let mut groups = Groups::default();
        let a = groups.name("a");
        let b = groups.name("b");
        assert_ne!(a, b);
        assert_eq!(groups.name("a"), a);
        assert_eq!(groups.get("b"), Some(b));
        assert_eq!(groups.get("B"), None);
    }

    #[test]
    fn subjects_are_bounded_and_spelt_in_one_way() {
        for plain in ["a", "auth0|5f", "system:serviceaccount:a:b", "x y"] {
            assert_eq!(Subject::parse(plain).unwrap().in_header(), plain);
        }
        for (subject, spelt) in [
            ("J\u{fc}rgen", "J%C3%BCrgen"),
            ("J%C3%BCrgen", "J%25C3%25BCrgen"),
            (" a ", "%20a%20"),
            (" ", "%20"),
            ("a  b", "a  b"),
            ("\u{2028}", "%E2%80%A8"),
            ("100%", "100%25"),
        ] {
            let parsed = Subject::parse(subject).unwrap();
            assert_eq!((parsed.as_str(), parsed.in_header()), (subject, spelt));
        }
        assert!(Subject::parse(&"a".repeat(1_024)).is_some());
        let long = "a".repeat(1_025);
        for bad in [
            "",
            "a\0b",
            "a\nb",
            "a\tb",
            "a\u{7f}",
            "a\u{85}",
            long.as_str(),
        ] {
            assert!(Subject::parse(bad).is_none(), "{bad:?}");
        }
    }
}
