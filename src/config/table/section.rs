//! Sections, and the forms that hold them.

#[cfg(feature = "commands")]
use serde_json::Value;

use super::Text;
#[cfg(feature = "commands")]
use super::{Count, Exactly, Key, Number, Span};

/// The keys of a section.
#[derive(Clone, Copy, Debug)]
pub struct Table {
    /// Their names. Others are refused.
    pub names: &'static [&'static str],
    /// What the section is for.
    #[cfg(feature = "commands")]
    pub about: &'static str,
    /// Everything there is to say of each key.
    #[cfg(feature = "commands")]
    pub keys: fn() -> Vec<Described>,
    /// What its keys must agree in.
    #[cfg(feature = "commands")]
    pub rules: &'static [Constraint],
}

/// A section.
#[derive(Clone, Copy, Debug)]
pub struct Object(
    /// Its keys.
    pub &'static Table,
);

/// A text, or a section that says more.
#[derive(Clone, Copy, Debug)]
pub struct OrObject {
    /// The text, if it is one.
    pub text: Text,
    /// The words, if they are a few.
    pub words: &'static [&'static str],
    /// The keys of the section.
    pub table: &'static Table,
}

/// Sources of groups.
#[derive(Clone, Copy, Debug)]
pub struct Sources {
    /// Each of them.
    pub of: Object,
    /// If nothing is said there is one: the string or strings at this path.
    pub default: &'static [&'static str],
}

/// A key with everything there is to say of it.
#[cfg(feature = "commands")]
#[derive(Clone, Debug)]
pub struct Described {
    /// Its name.
    pub name: &'static str,
    /// One or two sentences, as Markdown, with links that are relative to `docs`.
    pub prose: &'static str,
    /// What stands there.
    pub form: Form,
    /// Whether it must be there.
    pub need: Need,
    /// What holds if it is not, where that is a value that could stand there.
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

/// Whether a key must be there.
#[cfg(feature = "commands")]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Need {
    /// It must.
    Always,
    /// It need not.
    Never,
    /// A rule of its section says when.
    Sometimes,
}

/// What stands at a key, or in a list.
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
        /// Each element.
        of: Box<Self>,
        /// Fewest elements.
        least: usize,
        /// Most elements; [`usize::MAX`] if only the document bounds them.
        most: usize,
        /// A word that must be among them.
        holds: Option<&'static str>,
    },
    /// An object whose names are free.
    Map {
        /// Each name.
        name: Text,
        /// What stands under each.
        of: Box<Self>,
        /// Most names; [`usize::MAX`] if only the document bounds them.
        most: usize,
        /// Names that everybody has.
        usual: Vec<String>,
        /// Whether `null` under a name says the same as leaving it out.
        or_null: bool,
    },
    /// A whole number within bounds that a platform's words may not hold.
    Number(Number),
    /// A section.
    Section(&'static Table),
    /// A text.
    Text(Text),
    /// One of a few words.
    Word(Vec<&'static str>),
}

/// What the keys of a section must agree in. A flag counts as there if it is `true`.
#[cfg(feature = "commands")]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Constraint {
    /// At most one of them.
    AtMostOneOf(&'static [&'static str]),
    /// The first only beside the second.
    Beside(&'static str, &'static str),
    /// Beside the first none of the others.
    NotBeside(&'static str, &'static [&'static str]),
    /// Not as `null`.
    NotNull(&'static str),
    /// Exactly one of them.
    OneOf(&'static [&'static str]),
    /// The first must be there unless the second is.
    Unless(&'static str, &'static str),
}

/// What can be said of a form.
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
