//! What a worker wants its host to do.

use crate::forward::Edit;
use crate::reply::Reply;
use crate::worker::counters::{Count, Gauge};
use crate::worker::event::{CallId, Entry, RootId, SourceId, StreamId};

/// Takes effects in their order. It returns nothing, because the outcome of an effect is an
/// event.
///
/// The effects of a stream are performed in the order in which they are emitted. If the host
/// refuses one, it performs no further effect of that stream from the same event, and hands in
/// [`crate::worker::Event::Unperformed`]. The effects that count and record a decision follow
/// its edits, so that nothing is reported that has not happened.
pub trait Sink {
    /// Takes one effect.
    fn emit(&mut self, effect: Effect<'_>);
}

/// The severity of a log line.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Level {
    /// Information.
    Info,
    /// A problem that somebody should look at.
    Warn,
    /// A problem because of which requests are refused.
    Error,
}

/// One thing for the host to do.
#[derive(Debug)]
pub enum Effect<'a> {
    // Effects of a stream.
    /// Change a header of the request.
    Edit {
        /// The number of its stream.
        stream: StreamId,
        /// The change.
        edit: Edit<'a>,
    },
    /// Change a header of the response.
    EditResponse {
        /// The number of its stream.
        stream: StreamId,
        /// The change.
        edit: Edit<'a>,
    },
    /// Replace the request's body with other bytes.
    ReplaceBody {
        /// The number of its stream.
        stream: StreamId,
        /// The number of bytes that are held back.
        size: usize,
        /// The new body.
        body: &'a [u8],
    },
    /// Let the request end without its trailers.
    DropTrailers {
        /// The number of its stream.
        stream: StreamId,
    },
    /// Answer the request, none of which goes on to the backend.
    Reply {
        /// The number of its stream.
        stream: StreamId,
        /// The answer.
        reply: &'a Reply,
    },
    /// Resume a request that was paused at an earlier event.
    Resume {
        /// The number of its stream.
        stream: StreamId,
    },
    /// Make the record of a decision available to the access log.
    FilterState {
        /// The number of its stream.
        stream: StreamId,
        /// The record.
        record: &'a str,
    },

    // Effects of a root.
    /// Send a request of the worker's own on behalf of a root: a GET without a body.
    Call {
        /// The root. The call ends with it.
        root: RootId,
        /// The number of the call.
        call: CallId,
        /// The host's name of the way to the server.
        cluster: &'a str,
        /// Its headers, pseudo-headers first.
        headers: &'a [(&'a str, &'a [u8])],
        /// The longest time that the answer may take, in milliseconds.
        timeout: u64,
    },
    /// From now on, hand in a tick of the root at this interval.
    TickEvery {
        /// The number of the root.
        root: RootId,
        /// The interval in milliseconds.
        millis: u32,
    },

    // Effects of the worker.
    /// Read a shared entry.
    Look {
        /// The source that the entry belongs to.
        source: SourceId,
        /// The entry.
        entry: Entry,
        /// Its key in the shared data.
        key: &'a str,
    },
    /// Write a shared entry, if it is still the one that was read with that number.
    Swap {
        /// The source that the entry belongs to.
        source: SourceId,
        /// The entry.
        entry: Entry,
        /// Its key in the shared data.
        key: &'a str,
        /// The bytes to write.
        value: &'a [u8],
        /// The number that was read, or 0 if there was no entry.
        swap: u32,
    },
    /// Write a line to the log.
    Log {
        /// The severity.
        level: Level,
        /// The text of the line.
        line: &'a str,
        /// The stream whose decision it records.
        about: Option<StreamId>,
    },
    /// Count something.
    Count {
        /// What is counted.
        count: Count<'a>,
        /// The stream whose decision is counted.
        about: Option<StreamId>,
    },
    /// Show a value.
    Show {
        /// What the value describes.
        gauge: Gauge<'a>,
        /// The value.
        value: u64,
    },
}

impl Effect<'_> {
    /// The stream that the effect belongs to, if any.
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

    /// The number of the stream or root on which it must be performed, if that matters.
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
