//! What the resources do not say, and whoever converts them does.

use std::collections::BTreeSet;
use std::fmt;

use crate::words::tenant::RESERVED;

/// How resources are converted.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Rules {
    /// Groups that hold the role `writer` in each organization.
    pub writers: Vec<Template>,
    /// Reserved tenants that are meant where they are named.
    pub allowed: BTreeSet<Reserved>,
    /// What is done with members of a resource that are not known.
    pub unknown: Unknown,
}

/// What is done with members of a resource that are not known.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Unknown {
    /// They are slips of whoever wrote the file.
    #[default]
    Refuse,
    /// The API server has accepted them: its definition is newer than this program, and an
    /// upgrade of it must not take everything from everyone.
    PassOver,
}

/// A group with `{name}` in place of the organization's name.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Template(String);

/// Longest template, in bytes.
const MAX_TEMPLATE: usize = 256;

const NAME: &str = "{name}";

impl Template {
    /// Parses `client:{name}`. One without a place for the name is one group for all
    /// organizations.
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

    /// The group of the organization of that name.
    #[must_use]
    pub fn of(&self, name: &str) -> String {
        self.0.replace(NAME, name)
    }
}

/// Why a template was refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TemplateError {
    /// A brace that does not belong to `{name}`.
    Brace,
    /// A control character.
    Control,
    /// Nothing.
    Empty,
    /// More than 256 bytes.
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

/// One of the names that backends use themselves.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Reserved(&'static str);

impl Reserved {
    /// Parses one of them.
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

/// A name that backends do not use themselves, and that needs no permission.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct NotReserved;

impl fmt::Display for NotReserved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "reserved are {} alone", RESERVED.join(", "))
    }
}

impl std::error::Error for NotReserved {}
