//! Which parameters a request may have once its query is limited to a scope.
//!
//! The values stand in the endpoint table ([`crate::authz::endpoint`]), the checks in
//! [`super::narrow`].

use super::query::{Language, Shape};

/// The parameters of an endpoint, a closed list: none is sent that is not named here.
#[derive(Debug)]
pub struct Parameters {
    /// The language of the endpoint's query.
    pub language: Language,
    /// Which of the parameters hold selectors.
    pub carrier: Carrier,
    /// Names of parameters that pass with their values, each at most once.
    pub others: &'static [&'static str],
    /// Names of parameters that would be a second way to select, and are refused.
    pub refused: &'static [&'static str],
    /// Names and values of parameters that are added if the request lacks them.
    pub defaults: &'static [(&'static str, &'static str)],
    /// Whether a parameter that is in no list is refused rather than left out.
    pub closed: bool,
    /// Whether the path names a tag, of whose values only some are limited to a filter
    /// ([`super::tags`]).
    pub tag_in_path: bool,
    /// Whether the answer shows something of whole traces of which a part is in scope.
    pub whole_traces: bool,
}

/// Which parameters hold the selectors.
#[derive(Clone, Copy, Debug)]
pub enum Carrier {
    /// The server takes this parameter's filter for a hint only, so it is sent the scope
    /// alone and never what the caller asked for.
    Fixed(&'static str),
    /// One parameter under any of several names holds them; it is sent under the first.
    One {
        /// The names, of which there is at least one.
        names: &'static [&'static str],
        /// What the parameter's value must be.
        shape: Shape,
        /// What is done if the parameter is not there or is blank.
        absent: Absent,
    },
    /// Any number of parameters under any of these names hold one selector each. They
    /// are sent under the first; if there is none, the scope alone is sent.
    Many(&'static [&'static str]),
}

/// What is done without the parameter that carries selectors.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Absent {
    /// The scope alone is sent.
    Scope,
    /// The request is refused.
    Refuse,
}
