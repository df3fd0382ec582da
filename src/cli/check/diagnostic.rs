//! One thing that is said about a file.

use std::collections::{BTreeMap, BTreeSet};
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
    /// How many it stands for.
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

/// Most that are told of one file and one severity; whoever has as many mends these first.
const MAX_TOLD: usize = 128;

/// What has been found so far.
#[derive(Debug, Default)]
pub(super) struct Diagnostics {
    all: Vec<Diagnostic>,
    /// The pieces of files that errors were found in.
    spans: BTreeSet<(usize, usize, usize)>,
    /// The places of errors, by file.
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

    /// Whether an error was found in that piece of a file.
    pub(super) fn errs_at(&self, file: usize, span: &Range<usize>) -> bool {
        self.spans.contains(&(file, span.start, span.end))
    }

    /// Whether an error was found anywhere below a place of a document of that file.
    pub(super) fn errs_below(&self, file: usize, place: &str) -> bool {
        let mut from = self.places.range((file, place.to_owned())..);
        from.next()
            .is_some_and(|(found, first)| *found == file && first.starts_with(place))
    }

    /// In the order of the files and of their lines, each once. Of very many only the first
    /// are told, and how many more there are.
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
