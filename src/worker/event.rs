//! What a host reports to a worker, and how the worker answers.

use crate::worker::headers::HeaderBlock;

/// A configuration that a host has loaded, for as long as it is in use.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct RootId(pub u64);

/// A request, from its head until it is gone. A number is never used twice.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct StreamId(pub u64);

/// A source of documents, by its number in the worker.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct SourceId(pub u32);

/// A request of the worker's own that is under way.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum CallId {
    /// A question to the directory of projects.
    Directory(u64),
    /// A request for a document of that source.
    Document(SourceId, u64),
}

/// An entry that the workers of a process share about a source.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Entry {
    /// Its newest document.
    Document,
    /// The lease, which says who may fetch next.
    Lease,
    /// When the loading of a configuration was last announced. This entry belongs to no source.
    Load,
}

impl Entry {
    /// The name of the entry in the key of the shared data.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Document => "document",
            Self::Load => "load",
            Self::Lease => "lease",
        }
    }
}

/// The clocks as a host read them. `None` stands for one that it could not read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Reading {
    /// Nanoseconds since the Unix epoch.
    pub wall: Option<u64>,
    /// Nanoseconds on a clock that never steps and that all workers of a process share.
    pub mono: Option<u64>,
}

/// Bytes that are obtained by a call into the proxy, which is made only when they are needed.
/// The result is `None` if the proxy has none.
pub type Lazy<'a> = &'a dyn Fn() -> Option<Box<[u8]>>;

/// What a host can say about the head of a response. Each question costs a call into the proxy.
pub trait ResponseHead {
    /// The status of the response.
    fn status(&self) -> Option<u16>;
    /// The proxy's response code details, which say why there is a response.
    fn details(&self) -> Box<[u8]>;
    /// The ID of the request.
    fn request_id(&self) -> Box<[u8]>;
}

/// The outcome of a request of the worker's own.
#[derive(Clone, Copy)]
pub enum CallOutcome<'a> {
    /// Nobody answered.
    Nothing,
    /// The host did not even send the request, with this number as the reason.
    NotSent(u32),
    /// There is a response.
    Response {
        /// Its status, as written in the response.
        status: &'a [u8],
        /// Its `cache-control`, if it has one.
        cache_control: Option<&'a [u8]>,
        /// Its `content-encoding`, if it has one.
        content_encoding: Option<&'a [u8]>,
        /// Its `etag`, if it has one.
        etag: Option<&'a [u8]>,
        /// The length of its body, in bytes.
        size: usize,
        /// The body, or `None` if the host does not hand it out.
        body: Lazy<'a>,
    },
}

/// Something that happened.
#[derive(Clone, Copy)]
pub enum Event<'a> {
    // Events of a root.
    /// A configuration is loaded. The worker answers [`Action::Continue`] if it is good.
    Configured {
        /// The root that loads it.
        root: RootId,
        /// The document.
        document: &'a [u8],
        /// The names and values of the environment, which may override parts of the document.
        environment: &'a [(String, String)],
    },
    /// A configuration is no longer in use, and the calls made on its behalf will not be
    /// answered.
    RootGone {
        /// The number of the root.
        root: RootId,
    },
    /// Time has passed, as requested with [`crate::worker::Effect::TickEvery`].
    Tick {
        /// The number of the root.
        root: RootId,
    },

    // Events of a stream.
    /// A request is about to arrive.
    Opened {
        /// The number of its stream.
        stream: StreamId,
        /// The configuration that decides on it.
        root: RootId,
    },
    /// The head of a request has arrived.
    Head {
        /// The number of its stream.
        stream: StreamId,
        /// Its headers, in order.
        headers: &'a HeaderBlock,
        /// Whether nothing follows the head.
        end: bool,
        /// The address of the peer.
        peer: Lazy<'a>,
        /// Where it came in, in the host's own spelling: the plugin, and the port of the proxy's
        /// that the client reached. Nothing in it may be for the client to choose.
        entrance: Lazy<'a>,
    },
    /// A piece of a request's body has arrived.
    Body {
        /// The number of its stream.
        stream: StreamId,
        /// The number of bytes that are there. If the body is held back, these are all bytes so
        /// far.
        size: usize,
        /// Whether it is the last piece.
        end: bool,
        /// These bytes.
        read: Lazy<'a>,
    },
    /// A request ends with trailers.
    Trailers {
        /// The number of its stream.
        stream: StreamId,
    },
    /// The head of a response has arrived, whoever made it.
    ResponseHead {
        /// The number of its stream.
        stream: StreamId,
        /// The number of headers that it has.
        headers: usize,
        /// Whether nothing follows the head.
        end: bool,
        /// Answers further questions about the head.
        head: &'a dyn ResponseHead,
    },
    /// The deadline of a stream may have passed.
    Wake {
        /// The number of its stream.
        stream: StreamId,
    },
    /// The host refused an effect of the stream, and performed none of those after it.
    Unperformed {
        /// The number of its stream.
        stream: StreamId,
        /// Whether one of the effects that were not performed would have counted a decision.
        uncounted: bool,
    },
    /// A request is over.
    Gone {
        /// The number of its stream.
        stream: StreamId,
    },

    // Events of the worker.
    /// A shared entry was read: its bytes, which are empty if nobody has written it, and the
    /// number with which to swap it.
    Looked {
        /// The source that the entry belongs to.
        source: SourceId,
        /// The entry.
        entry: Entry,
        /// `None` on a host that shares nothing.
        value: Option<(&'a [u8], u32)>,
    },
    /// A swap of a shared entry has ended.
    Swapped {
        /// The source that the entry belongs to.
        source: SourceId,
        /// The entry.
        entry: Entry,
        /// The outcome.
        swap: Swap,
    },
    /// A request of the worker's own has ended.
    Answered {
        /// The number of the call.
        call: CallId,
        /// The outcome of the call.
        answer: CallOutcome<'a>,
    },
}

/// The outcome of a swap.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Swap {
    /// Another worker has written the entry in the meantime.
    Conflict,
    /// The entry is written.
    Done,
    /// The host shares nothing.
    Unshared,
}

/// How a host proceeds after an event.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Action {
    /// It lets the stream go on.
    Continue,
    /// It reads the clocks and hands in the same event again, with them. Nothing has changed.
    Exact,
    /// It holds the stream back.
    Pause,
}
