//! The host for proxy-wasm, ABI 0.2.1: callbacks to events, effects to calls.
//!
//! `abi` holds the imports and exports and all unsafe code of the crate, `call` fallible
//! host calls, `engine` signatures by Envoy's own crypto, `dispatch` each callback's way into
//! the worker, `perform` each effect's way into the proxy. No rule stands here: what is
//! decided, when, and in which order is the worker's.
//!
//! It speaks the ABI directly rather than through the Rust SDK. Measured reasons
//! (`make bench`): the SDK decodes the header list into a vector of strings and keeps a
//! boxed context per stream, which together cost more than the whole decision; and its
//! wrappers panic on any status they do not list and on bytes outside UTF-8, which takes
//! an Envoy worker down with every stream on it.

mod abi;
mod call;
mod dispatch;
mod engine;
mod perform;
