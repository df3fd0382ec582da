//! scopegate: a secure, multi-tenant gate for Loki, Mimir and Tempo inside Envoy.
//!
//! # Architecture on one page
//!
//! Everything but [`host`] is pure: bytes, the time and a signature engine come in as
//! values. The core decides: [`gate::Gate::decide`] reads a request's head and gives a
//! [`gate::Passage`], which alone can be turned into header edits ([`forward::edits`]), a
//! [`words::denial::Denial`], which [`reply::deny`] turns into the answer that the client in
//! question understands, or what must be known before there is either.
//!
//! A [`worker::Worker`] is what surrounds the decision on one thread of a proxy:
//! configurations old and new, streams, keys, verified tokens. It is a state machine that
//! takes [`worker::Event`]s and gives [`worker::Effect`]s. A [`host`] carries events in and
//! effects out and holds no rule, so that a second one is small.
//!
//! ```text
//!  proxy ── callback ──▶ host ── Event ──▶ worker ──▶ gate ──▶ authn, authz, scoping
//!    ▲                    │                  │
//!    └────── calls ───────┘ ◀─── Effect ─────┘
//! ```
//!
//! A module may use those that stand before it, in its own row or in one above. The
//! files inside a module may use each other as long as no two depend on one another,
//! even through others. `tests/layers` reads this table and every path in the
//! source, and fails on one that breaks the order.
//!
//! | layer | modules |
//! |---|---|
//! | [`words`] | `hash` `time` `wire` `tenant` `identity` `origin` `request` `own_header` `method` `own_answer` `permission` `refusal` `version` `credential` `secret` `unscoped` `denial` `verdict` |
//! | [`authn`] | `bearer` `basic` `json` `keys` `token` `refused` `jwks` `discovery` `group_source` `claims` `verifier` `token_cache` `key_cache` `key_lease` `authenticator` `signed_document` |
//! | [`scoping`] | `scope` `tags` `query` `form` `parameters` `narrow` |
//! | [`authz`] | `endpoint` `policy` `projects` |
//! | composition | [`config`] [`gate`] [`forward`] [`reply`] [`audit`] |
//! | [`worker`] | `headers` `event` `counters` `effect` `excerpt` `announcement` `clocks` `dice` `lifetimes` `room` `directory` `document_fetch` `received` `sources` `root` `commons` `keyring` `roster` `exchange` `machine` `driver` |
//! | hosts | [`host`] |
//! | programs | `resources` `serve` `cli` |
//!
//! A panic in the module kills the VM of a whole Envoy worker with every stream on
//! it, so outside tests nothing here may panic: the lints below and those of the
//! workspace deny the ways to.
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
