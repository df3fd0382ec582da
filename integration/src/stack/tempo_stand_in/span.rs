//! A span as it is kept.

use crate::otlp::{InstrumentationScope, Resource, Span};

/// A span with what its group said of it.
pub(super) struct StoredSpan {
    pub(super) resource: Resource,
    pub(super) scope: Option<InstrumentationScope>,
    pub(super) span: Span,
}
