//! A worker: events in, effects out.
//!
//! A worker is all that one thread of a proxy knows: the configurations that serve on it,
//! old beside new, its streams, the tokens that it has verified, and where keys come from.
//! It does nothing by itself. A host hands in each [`Event`] with [`Worker::on`] and
//! performs what the worker emits into a [`Sink`]; the outcome of an effect is an event
//! again. So a worker runs anywhere, natively beside a store and a clock of a test's
//! making, and a host holds no rule.
//!
//! The laws, which hosts and tests rely on:
//!
//! - The effects of a stream are performed in order. The host drops those after one that
//!   it could not perform and hands in [`Event::Unperformed`], which is answered by a
//!   refusal that asks for another try. What counts and records a decision stands after
//!   its edits.
//! - [`Action::Exact`] asks for the same event once more, with the clocks read; nothing
//!   has changed and nothing was emitted.
//! - No rule depends on ticks alone: a new document is adopted at any event that sees it,
//!   and a deadline also ends by [`Event::Wake`].
//! - [`Event::Looked`], [`Event::Swapped`] and [`Event::Answered`] may come late, twice or
//!   never. What is not expected changes nothing.

pub mod announcement;
pub mod clocks;
pub mod commons;
pub mod counters;
pub mod dice;
pub mod directory;
pub mod document_fetch;
pub mod driver;
pub mod effect;
pub mod event;
pub mod excerpt;
pub mod exchange;
pub mod headers;
pub mod keyring;
pub mod lifetimes;
pub mod machine;
pub mod received;
pub mod room;
mod root;
pub mod roster;
pub mod sources;

pub use effect::{Effect, Level, Sink};
pub use event::{
    Action, CallId, CallOutcome, Entry, Event, Reading, ResponseHead, RootId, SourceId, StreamId,
    Swap,
};
pub use headers::HeaderBlock;
pub use machine::Worker;
