//! What a host tells a worker, and what the worker asks of the host.

use crate::worker::headers::HeaderBlock;

/// A configuration that a host has loaded, for as long as it serves.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct RootId(pub u64);

/// A request, from its head until it is gone. A number is not given twice.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct StreamId(pub u64);

/// A place that a provider's keys come from, by its number in the worker.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct SourceId(pub u32);

/// A request of the worker's own that is on its way.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum CallId {
    /// To the directory of projects.
    Directory(u64),
    /// For a document of that source.
    Document(SourceId, u64),
}

/// An entry that the workers of a process share about a source.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Entry {
    /// Its newest document.
    Document,
    /// Who may fetch next.
    Lease,
    /// When it was said last that a configuration is loaded. It is about no source.
    Load,
}

impl Entry {
    /// Its name in the key of the shared data.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Document => "document",
            Self::Load => "load",
            Self::Lease => "lease",
        }
    }
}

/// The clocks as a host read them; `None` for one that it could not read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Reading {
    /// Nanoseconds since the Unix epoch.
    pub wall: Option<u64>,
    /// Nanoseconds on a clock that never steps, which all workers of a process share.
    pub mono: Option<u64>,
}

/// Bytes that cost a call into the proxy, which is made when they are wanted; `None` if it
/// has none.
pub type Lazy<'a> = &'a dyn Fn() -> Option<Box<[u8]>>;

/// What a host can say about the head of a response, each at the cost of a call.
pub trait ResponseHead {
    /// Its status.
    fn status(&self) -> Option<u16>;
    /// Why there is a response: the proxy's response code details.
    fn details(&self) -> Box<[u8]>;
    /// The ID of its request.
    fn request_id(&self) -> Box<[u8]>;
}

/// The outcome of a request of the worker's own.
#[derive(Clone, Copy)]
pub enum CallOutcome<'a> {
    /// Nobody answered.
    Nothing,
    /// The host did not even send it, and gave that number as the reason.
    NotSent(u32),
    /// A response.
    Response {
        /// Its status, as it stands in the response.
        status: &'a [u8],
        /// Its `cache-control`, if it has one.
        cache_control: Option<&'a [u8]>,
        /// `content-encoding`
        content_encoding: Option<&'a [u8]>,
        /// `etag`
        etag: Option<&'a [u8]>,
        /// How many bytes its body has.
        size: usize,
        /// The body; `None` if the host does not hand it out.
        body: Lazy<'a>,
    },
}

/// Something that happened.
#[derive(Clone, Copy)]
pub enum Event<'a> {
    // Of a root.
    /// A configuration is loaded. The worker's answer is [`Action::Continue`] if it is
    /// good.
    Configured {
        /// By this root.
        root: RootId,
        /// The document.
        document: &'a [u8],
        /// Names and values of the environment, which may override parts of it.
        environment: &'a [(String, String)],
    },
    /// A configuration serves no more, and what it had asked for will not be answered.
    RootGone {
        /// The number of the root.
        root: RootId,
    },
    /// Time has passed, as [`crate::worker::Effect::TickEvery`] asked for.
    Tick {
        /// Of this root.
        root: RootId,
    },

    // Of a stream.
    /// A request is to come.
    Opened {
        /// Its number.
        stream: StreamId,
        /// The configuration that decides about it.
        root: RootId,
    },
    /// The head of a request is there.
    Head {
        /// The number of its stream.
        stream: StreamId,
        /// Its headers, in order.
        headers: &'a HeaderBlock,
        /// Whether nothing follows it.
        end: bool,
        /// The address of the peer.
        peer: Lazy<'a>,
    },
    /// A piece of a request's body is there.
    Body {
        /// The number of its stream.
        stream: StreamId,
        /// How many bytes are there: all so far, where they are held back.
        size: usize,
        /// Whether it is the last.
        end: bool,
        /// These bytes.
        read: Lazy<'a>,
    },
    /// A request ends with trailers.
    Trailers {
        /// The number of its stream.
        stream: StreamId,
    },
    /// The head of a response is there, whoever made it.
    ResponseHead {
        /// To which request.
        stream: StreamId,
        /// How many headers it has.
        headers: usize,
        /// Whether nothing follows it.
        end: bool,
        /// What else can be asked about it.
        head: &'a dyn ResponseHead,
    },
    /// The stream's deadline may have passed.
    Wake {
        /// The number of its stream.
        stream: StreamId,
    },
    /// The host refused an effect of the stream, and performed none of those after it.
    Unperformed {
        /// The number of its stream.
        stream: StreamId,
        /// Whether one of those after it would have counted a decision.
        uncounted: bool,
    },
    /// A request is over.
    Gone {
        /// The number of its stream.
        stream: StreamId,
    },

    // Of the worker.
    /// A shared entry was read: its bytes, empty when nobody has written it, and the
    /// number for swapping it.
    Looked {
        /// Of this source.
        source: SourceId,
        /// The entry.
        entry: Entry,
        /// `None` on a host that shares nothing.
        value: Option<(&'a [u8], u32)>,
    },
    /// A shared entry was to be swapped.
    Swapped {
        /// Of this source.
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
        /// With what.
        answer: CallOutcome<'a>,
    },
}

/// The outcome of a swap.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Swap {
    /// Somebody else has written meanwhile.
    Conflict,
    /// It is written.
    Done,
    /// The host shares nothing.
    Unshared,
}

/// What a host does after an event.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Action {
    /// Let the stream go on.
    Continue,
    /// Read the clocks and hand in the same event again, with them. Nothing has changed.
    Exact,
    /// Hold the stream back.
    Pause,
}
