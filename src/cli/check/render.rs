//! Diagnostics as people and programs read them.

use std::ops::Range;

use annotate_snippets::{Annotation, AnnotationKind, Level, Renderer, Snippet};
use serde_json::json;

use super::diagnostic::{Diagnostic, Severity};
use super::source::File;

/// Lines shown around one that is meant, where the one between two of them would be missing.
const AROUND: usize = 2;

/// The longest line that is shown as it is, in bytes. A terminal has room for less: what is
/// beyond is left out by the renderer, which goes through all of it for that.
const MAX_LINE: usize = 1024;

/// What is kept of a longer one before and after each place that is meant, in bytes: more
/// than the renderer shows.
const WINDOW: usize = 256;

/// One diagnostic as a compiler shows it.
pub(super) fn text(diagnostic: &Diagnostic, file: &File, styled: bool) -> String {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let shown = Shown::of(file, diagnostic);
    let mut snippet = Snippet::source(shown.text.as_str())
        .path(file.name.as_str())
        .line_start(shown.line)
        .fold(true);
    snippet = snippet.annotation(AnnotationKind::Primary.span(shown.inside(&diagnostic.span)));
    if let Some((span, what)) = &diagnostic.also {
        let context: Annotation<'_> = AnnotationKind::Context
            .span(shown.inside(span))
            .label(what.as_str());
        snippet = snippet.annotation(context);
    }
    // As the module's own log says it. What leads to a filter in Envoy's configuration is
    // long and tells nothing.
    let place = diagnostic.place.as_str();
    let place = place
        .rsplit_once("typed_config.")
        .map_or(place, |(_, tail)| tail);
    let title = if place.is_empty() {
        diagnostic.message.clone()
    } else {
        format!("{place}: {}", diagnostic.message)
    };
    let mut group = level.primary_title(title).element(snippet);
    if let Some(help) = &diagnostic.help {
        group = group.element(Level::HELP.message(help.as_str()));
    }
    let renderer = if styled {
        Renderer::styled()
    } else {
        Renderer::plain()
    };
    let text = renderer.render(&[group]);
    // It counts columns in what it was given.
    let (line, column) = position(file, diagnostic.span.start);
    let given = shown.column(&diagnostic.span);
    if given == column {
        return text;
    }
    let place = |column: usize| format!("{}:{line}:{column}", file.name);
    text.replacen(&place(given), &place(column), 1)
}

/// The lines of a file that are shown: all of a large one, or a long line, would take long to
/// go through.
struct Shown {
    text: String,
    /// The number of the first one.
    line: usize,
    pieces: Vec<Piece>,
}

/// A piece of the file, and where it stands in what is shown.
struct Piece {
    written: Range<usize>,
    at: usize,
}

impl Shown {
    fn of(file: &File, diagnostic: &Diagnostic) -> Self {
        let also = diagnostic.also.iter().map(|(span, _)| span);
        let starts: Vec<usize> = std::iter::once(&diagnostic.span)
            .chain(also)
            .map(|span| span.start)
            .collect();
        let meant: Vec<usize> = starts.iter().map(|start| file.line(*start).0).collect();
        let first = meant.iter().copied().min().unwrap_or(1);
        let last = meant.iter().copied().max().unwrap_or(first);
        let mut shown = Self {
            text: String::new(),
            line: first,
            pieces: Vec::new(),
        };
        for number in first..=last {
            let line = file.start(number)..file.start(number.saturating_add(1));
            if meant.iter().any(|meant| meant.abs_diff(number) <= AROUND) {
                shown.take(file, line, &starts);
            } else {
                // It is folded away, and only counts.
                shown.text.push('\n');
            }
        }
        shown
    }

    /// Takes a line, or what is near the places that are meant in a long one.
    fn take(&mut self, file: &File, line: Range<usize>, starts: &[usize]) {
        if line.len() <= MAX_LINE {
            self.keep(file, line);
            return;
        }
        let last = line.end == file.text.len();
        let mut here: Vec<usize> = starts.to_vec();
        here.retain(|start| line.contains(start) || (last && *start == line.end));
        here.sort_unstable();
        let mut from = line.start;
        for start in here {
            let begin = boundary(file, start.saturating_sub(WINDOW)).max(from);
            let end = boundary(file, start.saturating_add(WINDOW).min(line.end)).max(begin);
            if begin > from {
                self.text.push('…');
            }
            self.keep(file, begin..end);
            from = end;
        }
        if from < line.end {
            self.text.push_str("…\n");
        }
    }

    fn keep(&mut self, file: &File, written: Range<usize>) {
        let at = self.text.len();
        let text = file.text.get(written.clone()).unwrap_or_default();
        self.text.push_str(text);
        self.pieces.push(Piece { written, at });
    }

    /// The same piece in what is shown. A piece of several lines is shown by its first one.
    fn inside(&self, span: &Range<usize>) -> Range<usize> {
        // The end of one is the beginning of another, but for the end of the file.
        let piece = self.pieces.iter().rev();
        let mut piece = piece.filter(|piece| piece.written.start <= span.start);
        let Some(Piece { written, at }) = piece.next() else {
            return 0..0;
        };
        let place = |byte: usize| {
            let inside = byte.min(written.end).saturating_sub(written.start);
            at.saturating_add(inside)
        };
        let start = place(span.start);
        let piece = self.text.get(start..place(span.end)).unwrap_or_default();
        let line = piece.split(['\n', '\r']).next().unwrap_or_default();
        start..start.saturating_add(line.len())
    }

    /// The column at which a piece begins in what is shown, in characters, from 1.
    fn column(&self, span: &Range<usize>) -> usize {
        let before = self.text.get(..self.inside(span).start).unwrap_or_default();
        let line = before.rsplit('\n').next().unwrap_or_default();
        line.chars().count().saturating_add(1)
    }
}

/// The first byte of the character that a byte of a file is in.
fn boundary(file: &File, at: usize) -> usize {
    let before = (0..=at).rev();
    let mut before = before.filter(|at| file.text.is_char_boundary(*at));
    before.next().unwrap_or_default()
}

/// All diagnostics as one JSON document: a list.
pub(super) fn json(diagnostics: &[Diagnostic], files: &[File]) -> String {
    let list: Vec<_> = diagnostics
        .iter()
        .filter_map(|diagnostic| {
            let file = files.get(diagnostic.file)?;
            let (line, column) = position(file, diagnostic.span.start);
            let (end_line, end_column) = position(file, diagnostic.span.end);
            Some(json!({
                "severity": diagnostic.severity.name(),
                "file": file.name,
                "line": line,
                "column": column,
                "end_line": end_line,
                "end_column": end_column,
                "place": diagnostic.place,
                "message": diagnostic.message,
                "help": diagnostic.help,
            }))
        })
        .collect();
    format!("{:#}\n", serde_json::Value::from(list))
}

/// Line and column of a byte, in characters, both from 1.
fn position(file: &File, at: usize) -> (usize, usize) {
    let (line, start) = file.line(at);
    let begun = file.text.get(start..at).unwrap_or_default();
    (line, begun.chars().count().saturating_add(1))
}
