//! A diagnostic: an error or a warning about a place in a file.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::rc::Rc;

use super::fault::Fault;
use super::source::Source;

/// How serious a diagnostic is.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Severity {
    /// The configuration does not load, or requests pass without the gate.
    Error,
    /// The configuration loads, but is hardly what was meant.
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

/// An error or a warning about a place in a file.
#[derive(Debug)]
pub(super) struct Diagnostic {
    pub(super) severity: Severity,
    /// The position of the file among those that were handed in, from 0.
    pub(super) file: usize,
    /// The piece of the file, in bytes.
    pub(super) span: Range<usize>,
    /// The place in the document, such as `providers[0].jwks.cluster`; empty for the whole
    /// document.
    pub(super) place: String,
    /// What is wrong.
    pub(super) message: String,
    /// What would be right, unless the message says it.
    pub(super) help: Option<String>,
    /// Another piece of the same file that the diagnostic refers to, with a label.
    pub(super) also: Option<(Range<usize>, String)>,
    /// How many diagnostics this one stands for: more than 1 only in the line that sums up the
    /// rest.
    pub(super) times: usize,
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
            times: 1,
        }
    }
}

/// The most diagnostics that are shown for one file and one severity. Somebody who has this many
/// will fix these first.
const MAX_TOLD: usize = 128;

/// The diagnostics found so far.
#[derive(Debug, Default)]
pub(super) struct Diagnostics {
    all: Vec<Diagnostic>,
    /// The pieces of files with errors: the position of the file, the first byte and the end.
    spans: BTreeSet<(usize, usize, usize)>,
    /// The places of errors: the position of the file and the place in its document.
    places: BTreeSet<(usize, String)>,
}

impl Diagnostics {
    pub(super) fn add(&mut self, diagnostic: Diagnostic) {
        if diagnostic.severity == Severity::Error {
            let Range { start, end } = diagnostic.span;
            self.spans.insert((diagnostic.file, start, end));
            self.places
                .insert((diagnostic.file, diagnostic.place.clone()));
        }
        self.all.push(diagnostic);
    }

    pub(super) fn error(&mut self, source: &Rc<Source>, fault: Fault, place: impl Into<String>) {
        self.add(Diagnostic::new(Severity::Error, source, fault, place));
    }

    pub(super) fn warning(&mut self, source: &Rc<Source>, fault: Fault, place: impl Into<String>) {
        self.add(Diagnostic::new(Severity::Warning, source, fault, place));
    }

    /// Whether there is an error about exactly this piece of a file.
    pub(super) fn errs_at(&self, file: usize, span: &Range<usize>) -> bool {
        self.spans.contains(&(file, span.start, span.end))
    }

    /// Whether there is an error in a file at a place that begins with `place`.
    pub(super) fn errs_below(&self, file: usize, place: &str) -> bool {
        let mut from = self.places.range((file, place.to_owned())..);
        from.next()
            .is_some_and(|(found, first)| *found == file && first.starts_with(place))
    }

    /// The diagnostics without duplicates, in the order of the files and, within a file, of the
    /// places. If a file has more than [`MAX_TOLD`] of one severity, the last one shown says how
    /// many there are from there on.
    pub(super) fn sorted(self) -> Vec<Diagnostic> {
        let mut all = self.all;
        all.sort_by(|a, b| {
            let key = |d: &Diagnostic| (d.file, d.span.start, d.severity);
            key(a).cmp(&key(b))
        });
        all.dedup_by(|a, b| {
            a.file == b.file && a.span == b.span && a.message == b.message && a.place == b.place
        });
        let mut numbers: BTreeMap<(usize, Severity), usize> = BTreeMap::new();
        for one in &all {
            let number = numbers.entry((one.file, one.severity)).or_default();
            *number = number.saturating_add(1);
        }
        let mut told: BTreeMap<(usize, Severity), usize> = BTreeMap::new();
        all.retain_mut(|one| {
            let key = (one.file, one.severity);
            let before = told.entry(key).or_default();
            let untold = numbers
                .get(&key)
                .map_or(0, |all| all.saturating_sub(*before));
            *before = before.saturating_add(1);
            if *before == MAX_TOLD && untold > 1 {
                let what = match one.severity {
                    Severity::Error => "problems",
                    Severity::Warning => "warnings",
                };
                one.message = format!("and {untold} more {what} from here on");
                one.place.clear();
                one.help = None;
                one.also = None;
                one.times = untold;
            }
            *before <= MAX_TOLD
        });
        all
    }
}
