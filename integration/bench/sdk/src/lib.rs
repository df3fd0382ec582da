//! The gate as a filter on the crate `proxy-wasm`: the same worker as in `scopegate.wasm`, under the crate's
//! `RootContext` and `HttpContext` instead of the host in `src/host/wasm`.
//!
//! It is written as a careful author would write it: what comes from outside is read as bytes wherever the crate offers
//! that, and nothing is asked in a phase that has no answer. What the crate cannot do is said where it is missed.

mod contexts;
mod proxy;

use proxy_wasm::types::LogLevel;

proxy_wasm::main! {{
    // Brings the hook that writes panics to the log, too.
    proxy_wasm::set_log_level(LogLevel::Info);
    proxy_wasm::set_root_context(contexts::root);
}}
