//! Sections, and the forms that contain them.

#[cfg(feature = "commands")]
use serde_json::Value;

use super::Text;
#[cfg(feature = "commands")]
use super::{Count, Exactly, Key, Number, Span};

/// The keys of a section.
#[derive(Clone, Copy, Debug)]
pub struct Table {
    /// The names of the keys. Others are refused.
    pub names: &'static [&'static str],
    /// What the section is for.
    #[cfg(feature = "commands")]
    pub about: &'static str,
    /// The full description of each key.
    #[cfg(feature = "commands")]
    pub keys: fn() -> Vec<Described>,
    /// The rules that its keys must obey together.
    #[cfg(feature = "commands")]
    pub rules: &'static [Constraint],
}

/// A section.
#[derive(Clone, Copy, Debug)]
pub struct Object(
    /// The keys of the section.
    pub &'static Table,
);

/// A text, or a section that says more than the text can.
#[derive(Clone, Copy, Debug)]
pub struct OrObject {
    /// The form of the text.
    pub text: Text,
    /// The accepted texts, if there are only a few.
    pub words: &'static [&'static str],
    /// The keys of the section.
    pub table: &'static Table,
}

/// Sources of groups.
#[derive(Clone, Copy, Debug)]
pub struct Sources {
    /// The form of each source.
    pub of: Object,
    /// The default is a single source: the string or strings at this path.
    pub default: &'static [&'static str],
}

/// A key with its full description.
#[cfg(feature = "commands")]
#[derive(Clone, Debug)]
pub struct Described {
    /// The name of the key.
    pub name: &'static str,
    /// One or two sentences, as Markdown, with links that are relative to `docs`.
    pub prose: &'static str,
    /// The form of the value.
    pub form: Form,
    /// Whether the key is required.
    pub need: Need,
    /// The default, if it is a value that could be written in the document.
    pub default: Option<Value>,
}

#[cfg(feature = "commands")]
impl Described {
    pub(super) fn new<F: Describe>(key: &Key<F>, prose: &'static str) -> Self {
        Self {
            name: key.name,
            prose,
            form: key.form.form(),
            need: key.form.need(),
            default: key.form.default(),
        }
    }
}

/// Whether a key is required.
#[cfg(feature = "commands")]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Need {
    /// It is always required.
    Always,
    /// It is optional.
    Never,
    /// It is required if a rule of its section says so.
    Sometimes,
}

/// The form of a value, or of an element of a list.
#[cfg(feature = "commands")]
#[derive(Clone, Debug)]
pub enum Form {
    /// A whole number within bounds.
    Count(Count),
    /// A duration within bounds.
    Duration(Span),
    /// One of several forms.
    Either(Vec<Self>),
    /// One word.
    Exactly(Exactly),
    /// `true` or `false`.
    Flag,
    /// A JWK Set.
    JwkSet,
    /// A list.
    List {
        /// The form of each element.
        of: Box<Self>,
        /// The minimum number of elements.
        least: usize,
        /// The maximum number of elements, or [`usize::MAX`] if only the document limits it.
        most: usize,
        /// A word that must be among them.
        holds: Option<&'static str>,
    },
    /// An object whose names are free.
    Map {
        /// The form of each name.
        name: Text,
        /// The form of the value under each name.
        of: Box<Self>,
        /// The number of names that there may be, or [`usize::MAX`] if only the document limits
        /// it.
        most: usize,
        /// Names that are commonly used.
        usual: Vec<String>,
        /// Whether a name whose value is `null` is treated as if it were left out.
        or_null: bool,
    },
    /// A whole number within bounds that may exceed a platform's word.
    Number(Number),
    /// A section.
    Section(&'static Table),
    /// A text.
    Text(Text),
    /// One of a few words.
    Word(Vec<&'static str>),
}

/// A rule that the keys of a section must obey together. A flag counts as present if it is
/// `true`.
#[cfg(feature = "commands")]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Constraint {
    /// At most one of these keys may be present.
    AtMostOneOf(&'static [&'static str]),
    /// The first key may be present only if the second is.
    Beside(&'static str, &'static str),
    /// If the first key is present, none of the others may be.
    NotBeside(&'static str, &'static [&'static str]),
    /// The key must not be `null`.
    NotNull(&'static str),
    /// Exactly one of these keys must be present.
    OneOf(&'static [&'static str]),
    /// The first key must be present unless the second is.
    Unless(&'static str, &'static str),
}

/// Describes a form.
#[cfg(feature = "commands")]
pub(super) trait Describe {
    fn form(&self) -> Form;

    fn need(&self) -> Need {
        Need::Never
    }

    fn default(&self) -> Option<Value> {
        None
    }
}
