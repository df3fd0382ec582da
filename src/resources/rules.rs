//! Decisions about a conversion that the resources leave to whoever converts them.

use std::collections::BTreeSet;
use std::fmt;

use crate::words::tenant::RESERVED;

/// How resources are converted.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Rules {
    /// Groups that hold the role `writer` in each organization.
    pub writers: Vec<Template>,
    /// Reserved names that are allowed as tenants.
    pub allowed: BTreeSet<Reserved>,
    /// How unknown members of a resource are treated.
    pub unknown: Unknown,
}

/// How unknown members of a resource are treated.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Unknown {
    /// They are taken for mistakes of whoever wrote the file, and refused.
    #[default]
    Refuse,
    /// They are ignored. The API server has accepted them because its definition is newer than
    /// this program, and its upgrade must not take everything away from everybody.
    PassOver,
}

/// A group with `{name}` in place of the organization's name.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Template(String);

/// The longest template, in bytes.
const MAX_TEMPLATE: usize = 256;

const NAME: &str = "{name}";

impl Template {
    /// Parses a template such as `client:{name}`. A template without `{name}` stands for one
    /// group that all organizations share.
    ///
    /// # Errors
    /// The rule that it breaks.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let rest = text.replace(NAME, "");
        if text.is_empty() {
            return Err(TemplateError::Empty);
        }
        if text.len() > MAX_TEMPLATE {
            return Err(TemplateError::Length);
        }
        if rest.contains(['{', '}']) {
            return Err(TemplateError::Brace);
        }
        if rest.contains(char::is_control) {
            return Err(TemplateError::Control);
        }
        Ok(Self(text.to_owned()))
    }

    /// The group for the organization of that name.
    #[must_use]
    pub fn of(&self, name: &str) -> String {
        self.0.replace(NAME, name)
    }
}

/// Why a template was refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TemplateError {
    /// There is a brace that does not belong to `{name}`.
    Brace,
    /// There is a control character.
    Control,
    /// The template is empty.
    Empty,
    /// The template is longer than 256 bytes.
    Length,
}

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Brace => "the only place to fill is {name}: write client:{name}",
            Self::Control => "a group has no control characters",
            Self::Empty => "a group may not be empty: write client:{name}",
            Self::Length => "a template has at most 256 bytes",
        })
    }
}

impl std::error::Error for TemplateError {}

/// A name that backends use themselves.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Reserved(&'static str);

impl Reserved {
    /// Parses such a name.
    ///
    /// # Errors
    /// The names that there are.
    pub fn parse(name: &str) -> Result<Self, NotReserved> {
        let found = RESERVED.into_iter().find(|known| *known == name);
        found.map(Self).ok_or(NotReserved)
    }

    /// The name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.0
    }
}

/// The name is not one that backends use themselves, so it needs no permission.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct NotReserved;

impl fmt::Display for NotReserved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "reserved are {} alone", RESERVED.join(", "))
    }
}

impl std::error::Error for NotReserved {}
