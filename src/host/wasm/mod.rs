//! The host for proxy-wasm, ABI 0.2.1. It turns callbacks into events, and effects into calls.
//!
//! `abi` holds the imports and exports and all unsafe code of the crate; `call` the fallible
//! host calls; `engine` the signatures by Envoy's own crypto; `dispatch` the way of each
//! callback into the worker; and `perform` the way of each effect into the proxy. There is no
//! rule here: the worker determines what is decided, when, and in which order.
//!
//! The host speaks the ABI directly rather than through the Rust SDK, for reasons that were
//! measured (`make bench`). The SDK decodes the header list into a vector of strings and keeps
//! a boxed context for each stream, which together cost more than the whole decision. Its
//! wrappers also panic on any status that they do not list and on bytes outside UTF-8, which
//! takes down an Envoy worker with every stream on it.

pub mod engine;

// Two hosts in one module would define the same callbacks.
#[cfg(not(all(target_arch = "wasm32", feature = "bare")))]
mod abi;
#[cfg(not(all(target_arch = "wasm32", feature = "bare")))]
mod call;
#[cfg(not(all(target_arch = "wasm32", feature = "bare")))]
mod dispatch;
#[cfg(not(all(target_arch = "wasm32", feature = "bare")))]
mod perform;
