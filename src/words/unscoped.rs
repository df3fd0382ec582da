//! Why an endpoint cannot be limited to a part of a tenant's data.

use std::fmt;

use crate::words::version::Version;

/// The longest label name that is shown whole, in bytes.
const MAX_LABEL: usize = 40;

/// Why an endpoint cannot be limited. The text also says what the caller can do instead.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Unscoped {
    /// There is no way to limit this endpoint.
    Endpoint,
    /// The operator has switched it off.
    Denied,
    /// A trace that is requested by its ID is returned as a whole.
    TraceById,
    /// Tempo looks for the values of such a tag in all traces.
    Tag,
    /// Two values of the policy for this label begin alike, and the server would take further
    /// values for one of them.
    Beginning(Label),
    /// The policy, repeated for each tenant, is longer than a header may be.
    Header,
    /// The policy is longer than a query in this language may be.
    Length,
    /// The policy for this label has a value with characters that the server does not honour on
    /// this endpoint.
    Value(Label),
    /// The server is configured as older than this version, which is the first to honour the
    /// policy.
    Version(&'static str, Version),
}

/// The name of a label, truncated if it is long.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Label {
    bytes: [u8; MAX_LABEL],
    length: usize,
}

impl Label {
    /// Takes a name, which is ASCII.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let mut bytes = [0; MAX_LABEL];
        let mut length: usize = 0;
        for (to, from) in bytes.iter_mut().zip(name.bytes()) {
            *to = from;
            length = length.saturating_add(1);
        }
        Self { bytes, length }
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.bytes.get(..self.length).unwrap_or_default();
        f.write_str(std::str::from_utf8(name).unwrap_or_default())
    }
}

impl fmt::Display for Unscoped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Endpoint => f.write_str("this endpoint cannot be limited to it"),
            Self::Denied => {
                f.write_str("this tells of whole traces, which is switched off here (backends.tempo.scoped_search)")
            }
            Self::TraceById => f.write_str(
                "a trace by its ID cannot be limited to it: search for { trace:id = \"\u{2026}\" } instead",
            ),
            Self::Tag => f.write_str(
                "the values of this tag cannot be limited to it: name its level, as in span.name or resource.name",
            ),
            Self::Beginning(label) => write!(
                f,
                "the server would not apply the policy of your label {label} here, because two of its values begin alike"
            ),
            Self::Header => f.write_str(
                "your label policy, once for each tenant, is too long for a header: name fewer tenants",
            ),
            Self::Length => f.write_str("your label policy is too long for this query language"),
            Self::Value(label) => write!(
                f,
                "the server would not apply the policy of your label {label} here: values may have letters, digits, _ - and / only"
            ),
            Self::Version(backend, version) => write!(
                f,
                "{backend} limits this endpoint to it from version {version} on only: backends.{backend}.version says that this one is older"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_named_as_far_as_there_is_room() {
        assert_eq!(Label::new("namespace").to_string(), "namespace");
        assert_eq!(Label::new(&"a".repeat(99)).to_string(), "a".repeat(40));
    }
}
