//! What is wrong with a text, before it is said.

use std::ops::Range;

/// Something wrong at a place of a text.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) span: Range<usize>,
    /// What is wrong, in words.
    pub(super) text: String,
    /// What would be right.
    pub(super) help: Option<String>,
    /// Another place that has to do with it.
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
