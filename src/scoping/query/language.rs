//! The query languages, what may be asked for in them, and how long it may be.

/// A backend's query language.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Language {
    /// LogQL, of Loki.
    LogQl,
    /// PromQL, of Mimir and Prometheus.
    PromQl,
    /// TraceQL, of Tempo.
    TraceQl,
}

/// What a text must be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Shape {
    /// A query, or a pipeline without its selector, which is put before it (LogQL only).
    Pipeline,
    /// Any query whose strings hold no quote, backslash or back quote, however they are
    /// written (LogQL only): its server puts them into another query as they are.
    PlainQuery,
    /// Any query; it may have no selector at all, as `1+1`.
    Query,
    /// Any query that asks for nothing of a trace as a whole (TraceQL only).
    SpanQuery,
    /// One selector and nothing else.
    Selector,
}

/// Longest text that is read, in bytes. Loki refuses 128 KiB itself; a query string
/// ends at Envoy's limit for all headers, 60 KiB.
pub const MAX_TEXT: usize = 65_536;

/// Longest TraceQL that is sent, in bytes: up to here this reading is known to agree
/// with Tempo's.
pub const MAX_TRACEQL: usize = 1_024;

/// Longest scoped text, in bytes: twice what Loki reads. Many selectors with a matcher
/// of many values would otherwise use up the module's memory.
pub const MAX_SCOPED: usize = 262_144;

/// Deepest nesting of parentheses and calls.
pub(super) const MAX_DEPTH: usize = 64;
