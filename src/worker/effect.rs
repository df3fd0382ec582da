//! What a worker wants a host to do.

use crate::forward::Edit;
use crate::reply::Reply;
use crate::worker::counters::{Count, Gauge};
use crate::worker::event::{CallId, Entry, RootId, SourceId, StreamId};

/// Takes effects, in order, and answers nothing: the outcome of one is an event.
///
/// The effects of a stream are performed in the order in which they come. When the host
/// refuses one, it performs no further effect of that stream from the same event and
/// hands in [`crate::worker::Event::Unperformed`]. What counts and records a decision
/// stands after its edits, so that nothing is told that has not happened.
pub trait Sink {
    /// Takes one.
    fn emit(&mut self, effect: Effect<'_>);
}

/// How loud a log line is.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Level {
    /// For the record.
    Info,
    /// Somebody should look at it.
    Warn,
    /// Requests are refused for it.
    Error,
}

/// One thing to do.
#[derive(Debug)]
pub enum Effect<'a> {
    // Of a stream.
    /// Change a header of the request.
    Edit {
        /// The number of its stream.
        stream: StreamId,
        /// The change.
        edit: Edit<'a>,
    },
    /// Change a header of the response.
    EditResponse {
        /// Of which request.
        stream: StreamId,
        /// The change.
        edit: Edit<'a>,
    },
    /// Put other bytes in place of the request's body.
    ReplaceBody {
        /// The number of its stream.
        stream: StreamId,
        /// How many bytes are held back.
        size: usize,
        /// The others.
        body: &'a [u8],
    },
    /// Let the request end without its trailers.
    DropTrailers {
        /// The number of its stream.
        stream: StreamId,
    },
    /// Answer the request; nothing of it goes on.
    Reply {
        /// The number of its stream.
        stream: StreamId,
        /// With what.
        reply: &'a Reply,
    },
    /// Let a request go on that was paused at an earlier event.
    Resume {
        /// The number of its stream.
        stream: StreamId,
    },
    /// Show the record of a decision to the access log.
    FilterState {
        /// Of which request.
        stream: StreamId,
        /// The record.
        record: &'a str,
    },

    // Of a root.
    /// Send a request of the worker's own, a GET without a body, on behalf of a root.
    Call {
        /// Whose; the call ends with it.
        root: RootId,
        /// Its number.
        call: CallId,
        /// The host's name of the way to the server.
        cluster: &'a str,
        /// Its headers, pseudo-headers first.
        headers: &'a [(&'a str, &'a [u8])],
        /// Longest time to answer, in milliseconds.
        timeout: u64,
    },
    /// Hand in a tick of the root from now on, each time after so many milliseconds.
    TickEvery {
        /// The number of the root.
        root: RootId,
        /// How often.
        millis: u32,
    },

    // Of the worker.
    /// Read a shared entry.
    Look {
        /// Of this source.
        source: SourceId,
        /// The entry.
        entry: Entry,
        /// Its key in the shared data.
        key: &'a str,
    },
    /// Write a shared entry, if it is still the one that was read with that number.
    Swap {
        /// Of this source.
        source: SourceId,
        /// The entry.
        entry: Entry,
        /// Its key in the shared data.
        key: &'a str,
        /// What to write.
        value: &'a [u8],
        /// The number; 0 if there was nothing.
        swap: u32,
    },
    /// Write a line into the log.
    Log {
        /// How loud.
        level: Level,
        /// What it says.
        line: &'a str,
        /// The stream whose decision it records.
        about: Option<StreamId>,
    },
    /// Count something.
    Count {
        /// The thing that is counted.
        count: Count<'a>,
        /// The stream whose decision is counted.
        about: Option<StreamId>,
    },
    /// Show a value.
    Show {
        /// Of what.
        gauge: Gauge<'a>,
        /// The value.
        value: u64,
    },
}

impl Effect<'_> {
    /// The stream that it is an effect of, if it is one of a stream.
    #[must_use]
    pub const fn stream(&self) -> Option<StreamId> {
        match self {
            Self::Edit { stream, .. }
            | Self::EditResponse { stream, .. }
            | Self::ReplaceBody { stream, .. }
            | Self::DropTrailers { stream }
            | Self::Reply { stream, .. }
            | Self::Resume { stream }
            | Self::FilterState { stream, .. } => Some(*stream),
            Self::Log { about, .. } | Self::Count { about, .. } => *about,
            Self::Call { .. }
            | Self::TickEvery { .. }
            | Self::Look { .. }
            | Self::Swap { .. }
            | Self::Show { .. } => None,
        }
    }

    /// The number of the stream or root that it must be performed on, if that matters.
    #[must_use]
    pub const fn context(&self) -> Option<u64> {
        match self {
            Self::Edit { stream, .. }
            | Self::EditResponse { stream, .. }
            | Self::ReplaceBody { stream, .. }
            | Self::DropTrailers { stream }
            | Self::Reply { stream, .. }
            | Self::Resume { stream }
            | Self::FilterState { stream, .. } => Some(stream.0),
            Self::Call { root, .. } | Self::TickEvery { root, .. } => Some(root.0),
            Self::Log { .. }
            | Self::Count { .. }
            | Self::Look { .. }
            | Self::Swap { .. }
            | Self::Show { .. } => None,
        }
    }
}
