//! The host shell: the only part of the module that talks to the proxy.
//!
//! It speaks the proxy-wasm ABI 0.2.1 directly rather than through the Rust SDK.
//! Measured reasons (`make bench`): the SDK decodes the header list into a vector
//! of strings and keeps a boxed context per stream, which together cost more than
//! the whole decision; and its wrappers panic on any status they do not list and
//! on bytes outside UTF-8, which takes an Envoy worker down with every stream on
//! it. Here each host call returns its status and only the callbacks that are used
//! are exported.
//!
//! | module | holds |
//! |---|---|
//! | `abi` | imports and exports of the ABI: all `unsafe` code of the crate |
//! | `host` | fallible, byte-valued host calls |
//! | `engine` | signatures by Envoy's own crypto, once it has proven itself |
//! | `metrics` | counters kept here and flushed on ticks |
//! | `root` | one plugin configuration on one worker: gate, clocks, ticks |
//! | `fetch` | its key fetches |
//! | `waiting` | its requests that wait for keys |
//! | `lifetimes` | its streams, until their time is up |
//! | `stream` | one request |
//! | `shell` | contexts by number, each callback's way to its root or stream |

mod abi;
mod engine;
mod fetch;
mod host;
mod lifetimes;
mod metrics;
mod root;
mod shell;
mod stream;
mod waiting;
