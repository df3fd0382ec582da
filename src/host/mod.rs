//! Hosts carry events from a proxy into the worker, and effects back to the proxy. This is the
//! only part that names a proxy.

pub mod wasm;

#[cfg(feature = "native")]
pub mod native;
