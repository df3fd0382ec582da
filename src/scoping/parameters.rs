//! Which parameters a request may have once its query is limited to a scope.
//!
//! The values stand in the endpoint table ([`crate::authz::endpoint`]), the checks in
//! [`super::narrow`].

use super::query::{Language, Shape};

/// The parameters of an endpoint.
#[derive(Debug)]
pub struct Parameters {
    /// The language of its query.
    pub language: Language,
    /// Where its selectors are.
    pub carrier: Carrier,
    /// Names that pass with their values, once each.
    pub others: &'static [&'static str],
    /// Names that would be a second way to select.
    pub refused: &'static [&'static str],
    /// What a parameter is taken to be if the request lacks it.
    pub defaults: &'static [(&'static str, &'static str)],
    /// Whether a name that is in no list is refused rather than left out.
    pub closed: bool,
}

/// Where the selectors are.
#[derive(Clone, Copy, Debug)]
pub enum Carrier {
    /// The server's filter is a hint: it gets the scope alone, never the caller's.
    Fixed(&'static str),
    /// One parameter of any of these names, sent as the first.
    One {
        /// Its names.
        names: &'static [&'static str],
        /// What it must be.
        shape: Shape,
        /// What is done without it, or if it is empty.
        absent: Absent,
    },
    /// Any number of selectors under any of these names, sent as the first; one that
    /// is the scope alone if there is none.
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
