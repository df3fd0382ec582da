//! The parameters that a request may have once its query is limited to a scope.
//!
//! The values are in the endpoint table ([`crate::authz::endpoint`]), and the checks in
//! [`super::narrow`].

use super::query::{Language, Shape};

/// The parameters of an endpoint. The list is closed: a parameter that it does not name is
/// never sent.
#[derive(Debug)]
pub struct Parameters {
    /// The language of the endpoint's query.
    pub language: Language,
    /// The parameters that hold selectors.
    pub carrier: Carrier,
    /// The names of parameters that pass with their values, each at most once.
    pub others: &'static [&'static str],
    /// The names of parameters that are refused, because they would be a second way to select
    /// data.
    pub refused: &'static [&'static str],
    /// The names and values of parameters that are added if the request lacks them.
    pub defaults: &'static [(&'static str, &'static str)],
    /// Whether a parameter that is in none of the lists is refused rather than left out.
    pub closed: bool,
    /// Whether the path names a tag. Tempo limits only the values of some tags to a filter
    /// ([`super::tags`]).
    pub tag_in_path: bool,
    /// Whether the answer reveals something about whole traces of which only a part is in
    /// scope.
    pub whole_traces: bool,
}

/// The parameters that hold the selectors.
#[derive(Clone, Copy, Debug)]
pub enum Carrier {
    /// The server takes the filter in this parameter only as a hint, so the scope alone is
    /// sent, and never what the caller asked for.
    Fixed(&'static str),
    /// One parameter holds the selectors. It may have any of several names, and is sent under
    /// the first.
    One {
        /// The names, of which there is at least one.
        names: &'static [&'static str],
        /// What the parameter's value must be.
        shape: Shape,
        /// What happens if the parameter is missing or blank.
        absent: Absent,
    },
    /// Any number of parameters with any of these names hold one selector each. They are sent
    /// under the first name. If there are none, the scope alone is sent.
    Many(&'static [&'static str]),
}

/// What happens if the parameter with the selectors is missing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Absent {
    /// The scope alone is sent.
    Scope,
    /// The request is refused.
    Refuse,
}
