//! Keys and the forms in which they stand in a document.

use crate::words::permission::Permission;

/// Most elements of a list, or members of an object, that is not one of those which a
/// configuration is mostly made of: those are bounded by the length of the document.
pub const MAX_ELEMENTS: usize = 256;

/// A key: its name, and the form of what stands there.
#[derive(Clone, Copy, Debug)]
pub struct Key<F> {
    /// As in the document.
    pub name: &'static str,
    /// The form.
    pub form: F,
}

/// What must be there, always or where nothing else says otherwise.
#[derive(Clone, Copy, Debug)]
pub struct Required<F> {
    /// The form.
    pub of: F,
    /// Why: it stands behind `missing:`.
    pub why: &'static str,
    /// Whether it must be there whatever else is; if not, a rule of the section says when.
    pub always: bool,
}

impl<F: Copy> Required<F> {
    /// Must be there.
    pub(super) const fn always(of: F, why: &'static str) -> Self {
        Self {
            of,
            why,
            always: true,
        }
    }

    /// Must be there unless something else is.
    pub(super) const fn otherwise(of: F, why: &'static str) -> Self {
        Self {
            of,
            why,
            always: false,
        }
    }
}

/// `true` or `false`.
#[derive(Clone, Copy, Debug)]
pub struct Flag {
    /// What holds if nothing is said.
    pub default: bool,
}

/// A whole number.
#[derive(Clone, Copy, Debug)]
pub struct Count {
    /// The least that is accepted.
    pub least: usize,
    /// The most that is accepted.
    pub most: usize,
    /// What holds if nothing is said.
    pub default: usize,
}

/// A whole number that must be there, of as many bits as every JSON reader keeps.
#[derive(Clone, Copy, Debug)]
pub struct Number {
    /// The least that is accepted.
    pub least: u64,
    /// The most that is accepted, 2⁵³ at most.
    pub most: u64,
}

/// A duration such as `30s`.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    /// The shortest that is accepted.
    pub least: &'static str,
    /// The longest that is accepted.
    pub most: &'static str,
}

impl Span {
    /// The shortest, in milliseconds.
    #[must_use]
    pub fn least_millis(&self) -> u64 {
        millis(self.least).unwrap_or(0)
    }

    /// The longest, in milliseconds.
    #[must_use]
    pub fn most_millis(&self) -> u64 {
        millis(self.most).unwrap_or(0)
    }
}

/// The milliseconds of a duration such as `30s`.
#[must_use]
pub fn millis(text: &str) -> Option<u64> {
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

/// A duration that something else stands in for if it is not there.
#[derive(Clone, Copy, Debug)]
pub struct Duration {
    /// Its bounds.
    pub span: Span,
    /// What holds if nothing is said.
    pub default: &'static str,
}

impl Duration {
    /// With these bounds, both included.
    pub(super) const fn new(
        least: &'static str,
        most: &'static str,
        default: &'static str,
    ) -> Self {
        Self {
            span: Span { least, most },
            default,
        }
    }
}

/// One of a few words, each with its meaning.
#[derive(Clone, Copy, Debug)]
pub struct Word<T: 'static> {
    /// The words.
    pub words: &'static [(&'static str, T)],
    /// What holds if nothing is said: one of the meanings.
    pub default: T,
}

/// A list of words out of a few.
#[derive(Clone, Copy, Debug)]
pub struct Words<T: 'static> {
    /// What may be named.
    pub all: &'static [T],
    /// Its names.
    pub name: fn(T) -> &'static str,
    /// Fewest words of the list.
    pub least: usize,
    /// What holds if nothing is said.
    pub default: &'static [T],
}

impl<T: Copy> Words<T> {
    /// What a word means, if it is one of them.
    pub(in crate::config) fn find(&self, word: &str) -> Option<T> {
        self.all
            .iter()
            .copied()
            .find(|meaning| (self.name)(*meaning) == word)
    }

    /// All words, as in `a, b, c`.
    pub(in crate::config) fn names(&self) -> String {
        let names: Vec<&str> = self.all.iter().map(|it| (self.name)(*it)).collect();
        names.join(", ")
    }
}

/// One word, and no other, that says something which is not so if it is not there.
#[derive(Clone, Copy, Debug)]
pub struct Exactly {
    /// The word.
    pub word: &'static str,
    /// Whether `false` says the same, which is what YAML makes of some words.
    pub or_false: bool,
}

/// A text.
#[derive(Clone, Copy, Debug)]
pub struct Text {
    /// What it is called.
    pub noun: &'static str,
    /// Most bytes; [`usize::MAX`] if only the document bounds it.
    pub longest: usize,
    /// What all accepted texts match, as a regular expression of JSON Schema.
    pub pattern: Option<&'static str>,
    /// Whether it may be empty.
    pub may_be_empty: bool,
    /// Whether `null` says something else than nothing.
    pub or_null: bool,
}

impl Text {
    /// Any but the empty one. The noun is what it is called.
    pub(super) const fn of(noun: &'static str) -> Self {
        Self {
            noun,
            longest: usize::MAX,
            pattern: None,
            may_be_empty: false,
            or_null: false,
        }
    }

    /// Of so many bytes at most.
    pub(super) const fn up_to(mut self, longest: usize) -> Self {
        self.longest = longest;
        self
    }

    /// That matches this. It may match more than is accepted, never less.
    pub(super) const fn like(mut self, pattern: &'static str) -> Self {
        self.pattern = Some(pattern);
        self
    }

    /// That may be empty.
    pub(super) const fn or_empty(mut self) -> Self {
        self.may_be_empty = true;
        self
    }

    /// In whose place `null` may stand, which means something.
    pub(super) const fn or_null(mut self) -> Self {
        self.or_null = true;
        self
    }
}

/// A text that another one stands in for if it is not there.
#[derive(Clone, Copy, Debug)]
pub struct Preset {
    /// The text.
    pub text: Text,
    /// What holds if nothing is said.
    pub default: &'static str,
}

/// A list of texts.
#[derive(Clone, Copy, Debug)]
pub struct Texts {
    /// Each of them.
    pub of: Text,
    /// Fewest of them.
    pub least: usize,
    /// Most of them.
    pub most: usize,
    /// What holds if nothing is said.
    pub default: &'static [&'static str],
}

impl Texts {
    /// As many as a list may have, and none if nothing is said.
    pub(super) const fn of(of: Text) -> Self {
        Self {
            of,
            least: 0,
            most: MAX_ELEMENTS,
            default: &[],
        }
    }

    /// At least so many.
    pub(super) const fn at_least(mut self, least: usize) -> Self {
        self.least = least;
        self
    }

    /// At most so many.
    pub(super) const fn up_to(mut self, most: usize) -> Self {
        self.most = most;
        self
    }

    /// As many as the document has room for.
    pub(super) const fn endless(self) -> Self {
        self.up_to(usize::MAX)
    }

    /// These if nothing is said.
    pub(super) const fn or(mut self, default: &'static [&'static str]) -> Self {
        self.default = default;
        self
    }
}

/// A list.
#[derive(Clone, Copy, Debug)]
pub struct List<F> {
    /// Each element.
    pub of: F,
    /// Fewest elements.
    pub least: usize,
    /// Most elements.
    pub most: usize,
    /// What must be in the list, and what the list is if nothing is said.
    pub holds: Option<&'static str>,
}

impl<F: Copy> List<F> {
    /// As many as a list may have.
    pub(super) const fn of(of: F) -> Self {
        Self {
            of,
            least: 0,
            most: MAX_ELEMENTS,
            holds: None,
        }
    }

    /// At least so many.
    pub(super) const fn at_least(mut self, least: usize) -> Self {
        self.least = least;
        self
    }

    /// At most so many.
    pub(super) const fn up_to(mut self, most: usize) -> Self {
        self.most = most;
        self
    }

    /// As many as the document has room for.
    pub(super) const fn endless(self) -> Self {
        self.up_to(usize::MAX)
    }

    /// This word among the elements.
    pub(super) const fn holding(mut self, word: &'static str) -> Self {
        self.holds = Some(word);
        self
    }
}

/// Paths into the claims of a token.
#[derive(Clone, Copy, Debug)]
pub struct Paths {
    /// Each of them, as a list of names.
    pub of: Texts,
    /// Fewest of them.
    pub least: usize,
    /// What holds if nothing is said.
    pub default: &'static [&'static [&'static str]],
}

/// An object whose names the operator chooses.
#[derive(Clone, Copy, Debug)]
pub struct Map<F> {
    /// Each name.
    pub name: Text,
    /// What stands under each.
    pub of: F,
    /// Most names.
    pub most: usize,
    /// Names that everybody has.
    pub usual: fn() -> Vec<String>,
    /// Whether `null` under a name says the same as leaving it out.
    pub or_null: bool,
}

/// An object from the names of roles to what they may do.
#[derive(Clone, Copy, Debug)]
pub struct Roles {
    /// Each name.
    pub name: Text,
    /// What each may do.
    pub permissions: Words<Permission>,
    /// Most names.
    pub most: usize,
    /// The roles that are there if nothing is said of them.
    pub default: &'static [(&'static str, &'static [Permission])],
}

/// A JWK Set (RFC 7517), whose members are not the gate's to name.
#[derive(Clone, Copy, Debug)]
pub struct JwkSet;

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
}
