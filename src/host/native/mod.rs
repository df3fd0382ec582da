//! The host for Envoy's dynamic modules: a shared object in Envoy's own process.
//!
//! `abi` holds the imports and exports and all unsafe code; `dispatch` the way of each hook into
//! the worker; `perform` the way of each effect into the proxy; `engine` the signatures.
//!
//! A worker of this crate belongs to one thread of the proxy. Here its [`station`] surrounds it,
//! for which other threads leave messages in its [`inbox`]. What the threads share is in
//! [`configurations`], in [`store`], which holds the newest documents, and in [`calls`], the
//! workers' own requests. Envoy's main thread sends these and writes the metrics ([`process`]).
//!
//! Envoy gives a filter no timer, and calls a thread only for a stream. A ticker of the
//! process's own therefore hands each station its ticks, and the main thread hands out answers.
//! If streams are open on that thread, the thread itself takes them, woken through one of these;
//! if not, nobody else uses the station, and the main thread does.

mod abi;
mod answer;
mod calls;
mod clocks;
mod configurations;
mod dispatch;
mod drill;
pub mod engine;
mod inbox;
mod lock;
mod metrics;
mod perform;
mod process;
mod station;
mod store;
#[cfg(test)]
mod tests;
