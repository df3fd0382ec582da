//! One thing that is said about a file.

use std::ops::Range;
use std::rc::Rc;

use super::fault::Fault;
use super::source::Source;

/// How bad it is.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Severity {
    /// It does not load, or lets requests pass.
    Error,
    /// It loads and can hardly be meant.
    Warning,
}

impl Severity {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// One thing that is said about a file, at a place of it.
#[derive(Debug)]
pub(super) struct Diagnostic {
    pub(super) severity: Severity,
    /// The position of the file among those that were handed in.
    pub(super) file: usize,
    /// Bytes of the file.
    pub(super) span: Range<usize>,
    /// The place in the document, `providers[0].jwks.cluster`; empty for the whole.
    pub(super) place: String,
    /// What is wrong.
    pub(super) message: String,
    /// What would be right, where the message does not say it.
    pub(super) help: Option<String>,
    /// Another piece of the same file that has to do with it.
    pub(super) also: Option<(Range<usize>, String)>,
}

impl Diagnostic {
    pub(super) fn new(
        severity: Severity,
        source: &Source,
        fault: Fault,
        place: impl Into<String>,
    ) -> Self {
        Self {
            severity,
            file: source.file,
            span: source.outer(&fault.span),
            place: place.into(),
            message: fault.text,
            help: fault.help,
            also: fault
                .also
                .map(|(span, what)| (source.outer(&span), what.to_owned())),
        }
    }
}

/// What has been found so far.
#[derive(Debug, Default)]
pub(super) struct Diagnostics(Vec<Diagnostic>);

impl Diagnostics {
    pub(super) fn add(&mut self, diagnostic: Diagnostic) {
        self.0.push(diagnostic);
    }

    pub(super) fn error(&mut self, source: &Rc<Source>, fault: Fault, place: impl Into<String>) {
        self.add(Diagnostic::new(Severity::Error, source, fault, place));
    }

    pub(super) fn warning(&mut self, source: &Rc<Source>, fault: Fault, place: impl Into<String>) {
        self.add(Diagnostic::new(Severity::Warning, source, fault, place));
    }

    /// Whether an error was found in that piece of a file.
    pub(super) fn errs_at(&self, file: usize, span: &Range<usize>) -> bool {
        self.0.iter().any(|found| {
            found.severity == Severity::Error && found.file == file && found.span == *span
        })
    }

    /// Whether an error was found anywhere below a place of a document of that file.
    pub(super) fn errs_below(&self, file: usize, place: &str) -> bool {
        self.0.iter().any(|found| {
            found.severity == Severity::Error
                && found.file == file
                && found.place.starts_with(place)
        })
    }

    /// In the order of the files and of their lines, each once.
    pub(super) fn sorted(mut self) -> Vec<Diagnostic> {
        self.0.sort_by(|a, b| {
            let key = |d: &Diagnostic| (d.file, d.span.start, d.severity);
            key(a).cmp(&key(b))
        });
        self.0.dedup_by(|a, b| {
            a.file == b.file && a.span == b.span && a.message == b.message && a.place == b.place
        });
        self.0
    }
}
