//! A span as it is stored.

use crate::otlp::{InstrumentationScope, Resource, Span};

/// A span, together with what its group says about it.
pub(super) struct StoredSpan {
    pub(super) resource: Resource,
    pub(super) scope: Option<InstrumentationScope>,
    pub(super) span: Span,
}
