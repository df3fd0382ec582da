//! Keys, and the forms that their values have in a document.

use crate::words::permission::Permission;

/// The maximum number of elements of a list, or of members of an object. It does not apply to
/// those that make up most of a configuration, which only the length of the document limits.
pub const MAX_ELEMENTS: usize = 256;

/// A key: its name, and the form of its value.
#[derive(Clone, Copy, Debug)]
pub struct Key<F> {
    /// The name in the document.
    pub name: &'static str,
    /// The form of the value.
    pub form: F,
}

/// A value that must be there, always or unless something else replaces it.
#[derive(Clone, Copy, Debug)]
pub struct Required<F> {
    /// The form of the value.
    pub of: F,
    /// Why it must be there, as the text behind `missing:`.
    pub why: &'static str,
    /// Whether it is always required. If not, a rule of the section says when it is.
    pub always: bool,
}

impl<F: Copy> Required<F> {
    /// A value that must always be there.
    pub(super) const fn always(of: F, why: &'static str) -> Self {
        Self {
            of,
            why,
            always: true,
        }
    }

    /// A value that must be there unless something else is.
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
    /// The value if the key is missing.
    pub default: bool,
}

/// A whole number.
#[derive(Clone, Copy, Debug)]
pub struct Count {
    /// The smallest value that is accepted.
    pub least: usize,
    /// The largest value that is accepted.
    pub most: usize,
    /// The value if the key is missing.
    pub default: usize,
}

/// A whole number that must be there. It has no more bits than every JSON reader preserves.
#[derive(Clone, Copy, Debug)]
pub struct Number {
    /// The smallest value that is accepted.
    pub least: u64,
    /// The largest value that is accepted, at most 2⁵³.
    pub most: u64,
}

/// A duration such as `30s`.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    /// The shortest duration that is accepted.
    pub least: &'static str,
    /// The longest duration that is accepted.
    pub most: &'static str,
}

impl Span {
    /// The shortest duration, in milliseconds.
    #[must_use]
    pub fn least_millis(&self) -> u64 {
        millis(self.least).unwrap_or(0)
    }

    /// The longest duration, in milliseconds.
    #[must_use]
    pub fn most_millis(&self) -> u64 {
        millis(self.most).unwrap_or(0)
    }
}

/// The number of milliseconds in a duration such as `30s`.
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

/// A duration with a default.
#[derive(Clone, Copy, Debug)]
pub struct Duration {
    /// The bounds of the duration.
    pub span: Span,
    /// The value if the key is missing.
    pub default: &'static str,
}

impl Duration {
    /// A duration within these bounds, both included.
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
    /// The words with their meanings.
    pub words: &'static [(&'static str, T)],
    /// The meaning if the key is missing.
    pub default: T,
}

/// A list of words from a small set.
#[derive(Clone, Copy, Debug)]
pub struct Words<T: 'static> {
    /// The meanings that may be listed.
    pub all: &'static [T],
    /// The word for a meaning.
    pub name: fn(T) -> &'static str,
    /// The minimum number of words.
    pub least: usize,
    /// The value if the key is missing.
    pub default: &'static [T],
}

impl<T: Copy> Words<T> {
    /// The meaning of a word, if it is one of them.
    pub(in crate::config) fn find(&self, word: &str) -> Option<T> {
        self.all
            .iter()
            .copied()
            .find(|meaning| (self.name)(*meaning) == word)
    }

    /// All words, separated by commas.
    pub(in crate::config) fn names(&self) -> String {
        let names: Vec<&str> = self.all.iter().map(|it| (self.name)(*it)).collect();
        names.join(", ")
    }
}

/// A single word that takes effect if it is there. No other word is accepted.
#[derive(Clone, Copy, Debug)]
pub struct Exactly {
    /// The word.
    pub word: &'static str,
    /// Whether `false` means the same, because YAML reads some words as `false`.
    pub or_false: bool,
}

/// A text.
#[derive(Clone, Copy, Debug)]
pub struct Text {
    /// What messages call the text.
    pub noun: &'static str,
    /// The longest text, in bytes, or [`usize::MAX`] if only the document limits it.
    pub longest: usize,
    /// A regular expression of JSON Schema that all accepted texts match.
    pub pattern: Option<&'static str>,
    /// Whether the text may be empty.
    pub may_be_empty: bool,
    /// Whether `null` has a meaning of its own.
    pub or_null: bool,
}

impl Text {
    /// Any text that is not empty. `noun` is what messages call it.
    pub(super) const fn of(noun: &'static str) -> Self {
        Self {
            noun,
            longest: usize::MAX,
            pattern: None,
            may_be_empty: false,
            or_null: false,
        }
    }

    /// Limits the text to `longest` bytes.
    pub(super) const fn up_to(mut self, longest: usize) -> Self {
        self.longest = longest;
        self
    }

    /// Requires a match. The pattern may match more than is accepted, but never less.
    pub(super) const fn like(mut self, pattern: &'static str) -> Self {
        self.pattern = Some(pattern);
        self
    }

    /// Allows the text to be empty.
    pub(super) const fn or_empty(mut self) -> Self {
        self.may_be_empty = true;
        self
    }

    /// Allows `null` in place of the text, with a meaning of its own.
    pub(super) const fn or_null(mut self) -> Self {
        self.or_null = true;
        self
    }
}

/// A text with a default.
#[derive(Clone, Copy, Debug)]
pub struct Preset {
    /// The form of the text.
    pub text: Text,
    /// The value if the key is missing.
    pub default: &'static str,
}

/// A list of texts.
#[derive(Clone, Copy, Debug)]
pub struct Texts {
    /// The form of each text.
    pub of: Text,
    /// The minimum number of texts.
    pub least: usize,
    /// The maximum number of texts.
    pub most: usize,
    /// The value if the key is missing.
    pub default: &'static [&'static str],
}

impl Texts {
    /// As many texts as a list may have. The default is an empty list.
    pub(super) const fn of(of: Text) -> Self {
        Self {
            of,
            least: 0,
            most: MAX_ELEMENTS,
            default: &[],
        }
    }

    /// Requires at least `least` texts.
    pub(super) const fn at_least(mut self, least: usize) -> Self {
        self.least = least;
        self
    }

    /// Allows at most `most` texts.
    pub(super) const fn up_to(mut self, most: usize) -> Self {
        self.most = most;
        self
    }

    /// Allows as many texts as the document has room for.
    pub(super) const fn endless(self) -> Self {
        self.up_to(usize::MAX)
    }

    /// Sets the default.
    pub(super) const fn or(mut self, default: &'static [&'static str]) -> Self {
        self.default = default;
        self
    }
}

/// A list.
#[derive(Clone, Copy, Debug)]
pub struct List<F> {
    /// The form of each element.
    pub of: F,
    /// The minimum number of elements.
    pub least: usize,
    /// The maximum number of elements.
    pub most: usize,
    /// A word that the list must contain. The default is a list of this word alone.
    pub holds: Option<&'static str>,
}

impl<F: Copy> List<F> {
    /// As many elements as a list may have.
    pub(super) const fn of(of: F) -> Self {
        Self {
            of,
            least: 0,
            most: MAX_ELEMENTS,
            holds: None,
        }
    }

    /// Requires at least `least` elements.
    pub(super) const fn at_least(mut self, least: usize) -> Self {
        self.least = least;
        self
    }

    /// Allows at most `most` elements.
    pub(super) const fn up_to(mut self, most: usize) -> Self {
        self.most = most;
        self
    }

    /// Allows as many elements as the document has room for.
    pub(super) const fn endless(self) -> Self {
        self.up_to(usize::MAX)
    }

    /// Requires this word among the elements.
    pub(super) const fn holding(mut self, word: &'static str) -> Self {
        self.holds = Some(word);
        self
    }
}

/// Paths into the claims of a token.
#[derive(Clone, Copy, Debug)]
pub struct Paths {
    /// The form of each path, which is a list of names.
    pub of: Texts,
    /// The minimum number of paths.
    pub least: usize,
    /// The value if the key is missing.
    pub default: &'static [&'static [&'static str]],
}

/// An object whose names the operator chooses.
#[derive(Clone, Copy, Debug)]
pub struct Map<F> {
    /// The form of each name.
    pub name: Text,
    /// The form of the value under each name.
    pub of: F,
    /// The maximum number of names.
    pub most: usize,
    /// Names that are commonly used.
    pub usual: fn() -> Vec<String>,
    /// Whether a name whose value is `null` is treated as if it were left out.
    pub or_null: bool,
}

/// An object that gives the permissions of roles by their names.
#[derive(Clone, Copy, Debug)]
pub struct Roles {
    /// The form of each name.
    pub name: Text,
    /// The permissions of each role.
    pub permissions: Words<Permission>,
    /// The maximum number of names.
    pub most: usize,
    /// The default roles.
    pub default: &'static [(&'static str, &'static [Permission])],
}

/// A JWK Set (RFC 7517), whose members the gate does not define.
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
