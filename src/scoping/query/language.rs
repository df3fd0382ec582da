//! The query languages, the forms that a text may have, and how long it may be.

/// A backend's query language.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Language {
    /// LogQL, the language of Loki.
    LogQl,
    /// PromQL, the language of Mimir and Prometheus.
    PromQl,
    /// TraceQL, the language of Tempo.
    TraceQl,
}

/// The form that a text must have.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Shape {
    /// A query, or a pipeline without the selector that the gate puts before it (LogQL only).
    Pipeline,
    /// Any query whose strings hold no quote, backslash or back quote, however they are written
    /// (LogQL only). Its server pastes them into another query unchanged.
    PlainQuery,
    /// Any query, which may have no selector at all, like `1+1`.
    Query,
    /// Any query that asks for nothing about a trace as a whole (TraceQL only).
    SpanQuery,
    /// A single selector and nothing else.
    Selector,
}

/// The longest text that is read, in bytes. Loki itself refuses 128 KiB, and a query string is
/// limited by the 60 KiB that Envoy allows for all headers.
pub const MAX_TEXT: usize = 65_536;

/// The longest TraceQL that is sent, in bytes. Up to this length the gate's reading is known to
/// agree with Tempo's.
pub const MAX_TRACEQL: usize = 1_024;

/// The longest scoped text, in bytes: twice what Loki reads. Without a limit, many selectors
/// with a matcher of many values would use up the module's memory.
pub const MAX_SCOPED: usize = 262_144;

/// The deepest nesting of parentheses and calls.
pub(super) const MAX_DEPTH: usize = 64;
