//! Formats diagnostics for people and for programs.

use std::ops::Range;

use annotate_snippets::{Annotation, AnnotationKind, Level, Renderer, Snippet};
use serde_json::json;

use super::diagnostic::{Diagnostic, Severity};
use super::source::File;

/// How many lines around a marked line are taken along, so that the only line between two marked
/// ones is not missing.
const AROUND: usize = 2;

/// The longest line that is shown unchanged, in bytes. A terminal has room for less, and the
/// renderer cuts it further, but walks through the whole line to do so.
const MAX_LINE: usize = 1024;

/// How much of a longer line is kept before and after each marked place, in bytes: more than the
/// renderer shows.
const WINDOW: usize = 256;

/// A diagnostic in the form in which compilers print theirs.
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
    // The title is the one in the module's own log. The path to the filter in Envoy's
    // configuration is long and says nothing, so it is cut off.
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
    // The renderer counts columns in the shortened text, so the column is corrected.
    let (line, column) = position(file, diagnostic.span.start);
    let given = shown.column(&diagnostic.span);
    if given == column {
        return text;
    }
    let place = |column: usize| format!("{}:{line}:{column}", file.name);
    text.replacen(&place(given), &place(column), 1)
}

/// The lines of a file that are shown. Walking through a whole large file or a long line would
/// take too long.
struct Shown {
    text: String,
    /// The number of the first line, from 1.
    line: usize,
    pieces: Vec<Piece>,
}

/// A piece of the file, and the byte at which it begins in the shown text.
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
                // The renderer folds this line away, so only its number matters.
                shown.text.push('\n');
            }
        }
        shown
    }

    /// Adds a line, or of a long one only what is near the marked places.
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

    /// The piece of the shown text for a piece of the file. If that spans several lines, only the
    /// first is marked.
    fn inside(&self, span: &Range<usize>) -> Range<usize> {
        // The end of one piece may be the beginning of another, so the last that fits is taken.
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

    /// The column in the shown text at which a piece begins, counted in characters from 1.
    fn column(&self, span: &Range<usize>) -> usize {
        let before = self.text.get(..self.inside(span).start).unwrap_or_default();
        let line = before.rsplit('\n').next().unwrap_or_default();
        line.chars().count().saturating_add(1)
    }
}

/// The first byte of the character that contains the byte `at`.
fn boundary(file: &File, at: usize) -> usize {
    let before = (0..=at).rev();
    let mut before = before.filter(|at| file.text.is_char_boundary(*at));
    before.next().unwrap_or_default()
}

/// All diagnostics as one JSON document, which is a list.
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

/// The line and the column of a byte, both counted from 1, the column in characters.
fn position(file: &File, at: usize) -> (usize, usize) {
    let (line, start) = file.line(at);
    let begun = file.text.get(start..at).unwrap_or_default();
    (line, begun.chars().count().saturating_add(1))
}
