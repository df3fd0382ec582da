//! Why a form or a query is refused, in the words that the caller reads.
//!
//! The types are defined here because [`super::denial`] carries them. Their values are created
//! where forms and queries are read ([`crate::scoping`]).

use std::fmt;

/// Why a form is refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FormError {
    /// A `%` is not followed by two hexadecimal digits (RFC 3986 §2.1).
    Escape,
    /// There is a raw `;`, which separates pairs for some servers and not for others.
    Semicolon,
    /// The decoded text is not UTF-8, or holds a control character other than a tab or a line
    /// end.
    Text,
    /// There are more than 64 pairs.
    TooMany,
}

impl FormError {
    /// What is wrong and what to do about it, for the caller to read.
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

/// Why a query is refused: the position and the rule.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Refusal {
    /// The offset into the text as it was sent, in bytes.
    pub at: usize,
    /// The rule that the text breaks there.
    pub rule: Rule,
}

/// The rules that a query can break.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Rule {
    /// A backslash stands where it could hide a name.
    Backslash,
    /// A byte outside of strings is one that the language does not use.
    Character,
    /// A comment stands in a place, or has a form, that backends and people read differently.
    Comment,
    /// A closing bracket lacks its opening one, or the other way round.
    Unbalanced,
    /// A function selects data by itself, or the gate does not know it.
    Function,
    /// The gate does not know a hint.
    Hint,
    /// Something other than a label matcher stands between braces.
    Matcher,
    /// A name begins with two underscores, which backends reserve for themselves.
    ReservedName,
    /// An attribute is that of a span's parent, which may be out of scope.
    Parent,
    /// Something other than numbers and durations stands where only they may.
    Range,
    /// A selector is missing, or is not the only expression where it has to be.
    OneSelector,
    /// A pipeline has no filter before it.
    NoFilter,
    /// A string holds a quote, a backslash or a back quote, or an escape that could stand for
    /// one, and the server would paste it into another query unchanged.
    Pasted,
    /// A string does not end.
    String,
    /// What stands here is not what the grammar of the language allows.
    Syntax,
    /// Brackets are nested deeper than 64 levels, or 512 in a filter of TraceQL.
    Depth,
    /// The query reports on a trace as a whole, but the caller may see only spans in scope.
    WholeTrace,
    /// The text is longer than the gate reads, or would be longer than it sends.
    Length,
}

impl Rule {
    /// The rule in words, for the caller to read.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Backslash => "no backslash or quote in a metric's name or a quoted label name",
            Self::Character => "unexpected character",
            Self::Comment => "no comment of this form here",
            Self::Depth => "nested too deeply",
            Self::Function => "unknown function, or one that reads series without a selector",
            Self::Hint => "unknown query hint",
            Self::Length => {
                "too long: with the scope in it TraceQL may have 1,024 bytes, which is as much as Tempo reads, and other languages 256 KiB"
            }
            Self::Matcher => "not a label matcher",
            Self::NoFilter => "a pipeline must start with a filter: { }",
            Self::OneSelector => "one selector and nothing else is expected",
            Self::Parent => "a span's parent may be out of scope",
            Self::Pasted => "no quote, backslash or back quote in a string here",
            Self::Range => "only numbers and durations may stand here",
            Self::ReservedName => "names that begin with __ are reserved",
            Self::String => "a string does not end",
            Self::Syntax => "not understood",
            Self::WholeTrace => "this tells of whole traces, which is switched off here",
            Self::Unbalanced => "brackets do not match",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at byte {}: {}", self.at, self.rule.words())
    }
}
