//! A fault in a text, before it becomes a diagnostic.

use std::ops::Range;

/// Something that is wrong at a place in a text.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) span: Range<usize>,
    /// What is wrong.
    pub(super) text: String,
    /// What would be right, unless the text says it.
    pub(super) help: Option<String>,
    /// Another place in the same text that the fault refers to, with a label.
    pub(super) also: Option<(Range<usize>, &'static str)>,
}

impl Fault {
    pub(super) fn new(span: Range<usize>, text: impl Into<String>) -> Self {
        Self {
            span,
            text: text.into(),
            help: None,
            also: None,
        }
    }

    pub(super) fn help(self, help: impl Into<String>) -> Self {
        Self {
            help: Some(help.into()),
            ..self
        }
    }

    pub(super) fn with(self, span: Range<usize>, what: &'static str) -> Self {
        Self {
            also: Some((span, what)),
            ..self
        }
    }
}
