//! scopegate: a secure, multi-tenant gate for Loki, Mimir and Tempo inside Envoy.
//!
//! # Architecture on one page
//!
//! Everything except [`host`] is pure: bytes, the time and a signature engine are passed in as
//! values. The core decides: [`gate::Gate::decide`] reads a request's head and returns a
//! [`gate::Passage`], which alone can be turned into header edits ([`forward::edits`]); or a
//! [`words::denial::Denial`], which [`reply::deny`] turns into an answer that the client
//! understands; or what has to be known before it can decide.
//!
//! A [`worker::Worker`] surrounds the decision on one thread of a proxy. It holds the current
//! and the draining configurations, streams, keys and verified tokens. It is a state machine
//! that takes [`worker::Event`]s and emits [`worker::Effect`]s. A [`host`] carries events in
//! and effects out. It contains no rule, so that a second host would be small.
//!
//! ```text
//!  proxy ── callback ──▶ host ── Event ──▶ worker ──▶ gate ──▶ authn, authz, scoping
//!    ▲                    │                  │
//!    └────── calls ───────┘ ◀─── Effect ─────┘
//! ```
//!
//! A module may use those that come before it, in its own row or in a row above. The files
//! inside a module may use each other as long as no two depend on one another, even indirectly.
//! `tests/layers` reads this table and every path in the source, and fails on one that breaks
//! the order.
//!
//! | layer | modules |
//! |---|---|
//! | [`words`] | `build` `hash` `time` `wire` `tenant` `identity` `origin` `request` `own_header` `method` `own_answer` `permission` `refusal` `version` `credential` `secret` `unscoped` `denial` `verdict` |
//! | [`authn`] | `bearer` `basic` `json` `keys` `token` `refused` `jwks` `discovery` `group_source` `claims` `verifier` `token_cache` `key_cache` `key_lease` `authenticator` `signed_document` |
//! | [`scoping`] | `scope` `tags` `query` `form` `parameters` `narrow` |
//! | [`authz`] | `endpoint` `policy` `projects` |
//! | composition | [`config`] [`gate`] [`forward`] [`reply`] [`audit`] |
//! | [`worker`] | `headers` `event` `counters` `effect` `excerpt` `announcement` `clocks` `dice` `lifetimes` `succession` `room` `directory` `document_fetch` `received` `sources` `root` `commons` `keyring` `roster` `exchange` `machine` `driver` |
//! | hosts | [`host`] |
//! | programs | `resources` `serve` `cli` |
//!
//! A panic in the module kills the VM of a whole Envoy worker with every stream on it. Outside
//! of tests nothing here may panic, and the lints below and in the workspace deny what could.
#![cfg_attr(
    not(test),
    deny(
        clippy::arithmetic_side_effects,
        clippy::indexing_slicing,
        clippy::string_slice,
        clippy::unreachable
    )
)]
#![deny(missing_docs)]
#![cfg_attr(test, allow(clippy::needless_raw_string_hashes))]

pub mod audit;
pub mod authn;
pub mod authz;
#[cfg(feature = "commands")]
pub mod cli;
pub mod config;
pub mod forward;
pub mod gate;
// In a browser the commands have no proxy around them, whose functions this imports.
#[cfg(not(all(target_arch = "wasm32", feature = "commands")))]
pub mod host;
pub mod reply;
#[cfg(feature = "commands")]
pub mod resources;
pub mod scoping;
#[cfg(feature = "serve")]
pub mod serve;
pub mod words;
pub mod worker;
