//! Why a form or a query is refused, in the words that its caller reads.
//!
//! The values stand here because [`super::denial`] carries them; they are made where
//! forms and queries are read ([`crate::scoping`]).

use std::fmt;

/// Why a form is refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FormError {
    /// A `%` without two hexadecimal digits.
    Escape,
    /// A raw `;`, which separates for some servers and not for others.
    Semicolon,
    /// Not UTF-8, or a control character other than tab and line ends.
    Text,
    /// More than 64 pairs.
    TooMany,
}

impl FormError {
    /// What is wrong, in words.
    #[must_use]
    pub const fn rule(self) -> &'static str {
        match self {
            Self::Escape => "a % needs two hexadecimal digits",
            Self::Semicolon => "write a semicolon as %3B",
            Self::Text => "only UTF-8 without control characters",
            Self::TooMany => "at most 64 parameters",
        }
    }
}

impl fmt::Display for FormError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.rule())
    }
}

/// Why a query is refused: where, and by which rule.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Refusal {
    /// The offset into the text as it was sent, in bytes.
    pub at: usize,
    /// What stands there and may not.
    pub rule: Rule,
}

/// What a query may not be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Rule {
    /// Backslashes in places where a name could be hidden by them.
    Backslash,
    /// A byte that the language has no use for outside strings.
    Character,
    /// Comments in a place or form that backends and people read differently.
    Comment,
    /// A closing bracket without its opening one, or the other way round.
    Unbalanced,
    /// A function that selects by itself, or that is not known here.
    Function,
    /// A hint that is not known here.
    Hint,
    /// Something that is no label matcher between braces.
    Matcher,
    /// Names that backends keep for themselves.
    ReservedName,
    /// Something other than numbers and durations where only they may stand.
    Range,
    /// A selector is missing, or is not alone.
    OneSelector,
    /// A pipeline without a filter before it.
    NoFilter,
    /// A string without its end.
    String,
    /// Something else than what the language has here.
    Syntax,
    /// Too deep.
    Depth,
    /// Too long.
    Length,
}

impl Rule {
    /// In words, for the caller.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Backslash => "no backslash in a metric's name or a quoted label name",
            Self::Character => "unexpected character",
            Self::Comment => "no comment of this form here",
            Self::Depth => "nested too deeply",
            Self::Function => "unknown function, or one that selects by itself",
            Self::Hint => "unknown query hint",
            Self::Length => "too long",
            Self::Matcher => "not a label matcher",
            Self::NoFilter => "a pipeline must start with a filter: { }",
            Self::OneSelector => "one selector and nothing else is expected",
            Self::Range => "only numbers and durations may stand here",
            Self::ReservedName => "names that begin with __ are reserved",
            Self::String => "a string does not end",
            Self::Syntax => "not understood",
            Self::Unbalanced => "brackets do not match",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at byte {}: {}", self.at, self.rule.words())
    }
}
