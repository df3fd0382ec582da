//! `scopegate serve-organizations`: the organizations document over HTTP.
//!
//! ```text
//!  files ───────┐                                   ┌─▶ http: GET, HEAD
//!               ├─▶ catalog ─▶ document ─▶ shelf ───┤
//!  kubernetes ──┘                            ▲      └─▶ health, metrics
//!                              key ─▶ signer ─┘
//! ```
//!
//! 1. What is on the [`shelf`] is served until there is something newer, whatever happens to
//!    its source.
//! 2. A resource that cannot be converted is left out, and does not block any other.
//! 3. Nothing is served before everything has been read once.
//! 4. A document is never followed by one with a lower mark, nor by a different one with the
//!    same mark.
//! 5. A signed document gets a new date, and so a new tag, long before gates consider it too
//!    old.

pub mod answer;
mod api;
pub mod catalog;
pub mod counters;
pub mod files;
pub mod kubernetes;
pub mod listener;
pub mod log;
pub mod options;
mod places;
pub mod program;
pub mod shelf;
pub mod signer;
pub mod signing_key;
pub mod tls;
pub mod token;
