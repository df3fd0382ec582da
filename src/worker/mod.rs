//! A worker takes events and emits effects.
//!
//! A worker is everything that one thread of a proxy knows: the configurations in use on it,
//! old ones beside the new one; its streams; the tokens that it has verified; and the sources
//! of keys. It does nothing by itself. A host hands in each [`Event`] with [`Worker::on`], and
//! performs what the worker emits into a [`Sink`]; the outcome of an effect is another event. A
//! worker can therefore run anywhere, even natively beside a test's own store and clock, and a
//! host contains no rule.
//!
//! Hosts and tests rely on these laws:
//!
//! - The effects of a stream are performed in order. If the host cannot perform one, it drops
//!   those that follow and hands in [`Event::Unperformed`], to which the worker responds with a
//!   refusal that asks the client to try again. The effects that count and record a decision
//!   follow its edits.
//! - [`Action::Exact`] asks for the same event once more, with the clocks read. Nothing has
//!   changed, and nothing was emitted.
//! - No rule depends on ticks alone: a new document is adopted at any event that reveals it,
//!   and a deadline also ends with [`Event::Wake`].
//! - [`Event::Looked`], [`Event::Swapped`] and [`Event::Answered`] may come late, twice or
//!   never. One that is not expected changes nothing.

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
pub mod succession;

pub use effect::{Effect, Level, Sink};
pub use event::{
    Action, CallId, CallOutcome, Entry, Event, Reading, ResponseHead, RootId, SourceId, StreamId,
    Swap,
};
pub use headers::HeaderBlock;
pub use machine::Worker;
