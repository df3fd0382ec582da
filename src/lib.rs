//! scopegate: a secure, multi-tenant gate for Loki, Mimir and Tempo inside Envoy.
//!
//! # Architecture on one page
//!
//! The core is pure: bytes, clocks and a signature engine go in, a decision comes
//! out. It knows no proxy, reads no clock and writes no log. `host` is the
//! shell: the only module that talks to the proxy.
//!
//! A module may use those that stand before it, in its own row or in one above. The
//! files inside a module may use each other as long as no two depend on one another,
//! even by way of others. `tests/layers` reads this table and every path in the
//! source, and fails on one that breaks the order.
//!
//! | layer | modules |
//! |---|---|
//! | [`words`] | `hash` `time` `wire` `tenant` `identity` `request` `method` `permission` `refusal` `denial` |
//! | [`authn`] | `bearer` `json` `keys` `token` `jwks` `discovery` `claims` `verifier` `token_cache` `key_cache` `key_share` |
//! | [`scoping`] | `scope` `query` `form` `parameters` `narrow` |
//! | [`authz`] | `endpoint` `policy` `projects` |
//! | composition | [`config`] [`gate`] [`forward`] [`reply`] [`audit`] |
//! | host shell | [`host`] |
//!
//! A request goes through [`gate::Gate::decide`] once, twice if it had to wait for
//! keys. The result is a [`gate::Permit`], which alone can be turned into header
//! edits ([`forward::permitted`]), or a [`words::denial::Denial`], which [`reply::deny`]
//! turns into the answer that the client in question understands.
//!
//! A panic in the module kills the VM of a whole Envoy worker with every stream on
//! it, so outside tests nothing here may panic: the lints below deny the ways to.
#![cfg_attr(
    not(test),
    deny(
        clippy::arithmetic_side_effects,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::string_slice,
        clippy::todo,
        clippy::unimplemented,
        clippy::unreachable,
        clippy::unwrap_used
    )
)]
#![deny(missing_docs, unsafe_code, clippy::pedantic)]
#![allow(
    clippy::doc_markdown,
    clippy::match_same_arms,
    clippy::module_name_repetitions,
    clippy::struct_excessive_bools
)]
#![cfg_attr(test, allow(clippy::needless_raw_string_hashes))]

pub mod audit;
pub mod authn;
pub mod authz;
pub mod config;
pub mod forward;
pub mod gate;
pub mod host;
pub mod reply;
pub mod scoping;
pub mod words;
