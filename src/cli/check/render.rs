//! Diagnostics as people and programs read them.

use std::ops::Range;

use annotate_snippets::{Annotation, AnnotationKind, Level, Renderer, Snippet};
use serde_json::json;

use super::diagnostic::{Diagnostic, Severity};
use super::source::File;

/// Lines shown before and after the one that is meant.
const AROUND: usize = 1;

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
    // As the module's own log says it.
    let title = if diagnostic.place.is_empty() {
        diagnostic.message.clone()
    } else {
        format!("{}: {}", diagnostic.place, diagnostic.message)
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
    renderer.render(&[group])
}

/// The lines of a file that are shown: all of a large one would take long to go through.
struct Shown {
    text: String,
    /// The number of the first one.
    line: usize,
    /// The byte at which it begins.
    start: usize,
}

impl Shown {
    fn of(file: &File, diagnostic: &Diagnostic) -> Self {
        let text = &file.text;
        let spans =
            std::iter::once(&diagnostic.span).chain(diagnostic.also.as_ref().map(|(span, _)| span));
        let first = spans.clone().map(|span| span.start).min().unwrap_or(0);
        let last = spans.map(|span| span.end).max().unwrap_or(0);
        let before = text.get(..first).unwrap_or_default();
        let mut start = before.rfind('\n').map_or(0, |end| end.saturating_add(1));
        for _ in 0..AROUND {
            let earlier = text.get(..start.saturating_sub(1)).unwrap_or_default();
            start = earlier.rfind('\n').map_or(0, |end| end.saturating_add(1));
        }
        let mut end = last;
        for _ in 0..=AROUND {
            let later = text.get(end..).unwrap_or_default();
            let line = later
                .find('\n')
                .map_or(later.len(), |at| at.saturating_add(1));
            end = end.saturating_add(line);
        }
        let above = text.get(..start).unwrap_or_default();
        Self {
            text: text.get(start..end).unwrap_or_default().to_owned(),
            line: above.matches('\n').count().saturating_add(1),
            start,
        }
    }

    /// The same piece, counted from the first line shown. A piece of several lines is shown
    /// by its first one.
    fn inside(&self, span: &Range<usize>) -> Range<usize> {
        let start = span.start.saturating_sub(self.start).min(self.text.len());
        let end = span.end.saturating_sub(self.start).min(self.text.len());
        let piece = self.text.get(start..end).unwrap_or_default();
        let line = piece.split(['\n', '\r']).next().unwrap_or_default();
        start..start.saturating_add(line.len())
    }
}

/// All diagnostics as one JSON document: a list.
pub(super) fn json(diagnostics: &[Diagnostic], files: &[File]) -> String {
    let list: Vec<_> = diagnostics
        .iter()
        .filter_map(|diagnostic| {
            let file = files.get(diagnostic.file)?;
            let (line, column) = position(&file.text, diagnostic.span.start);
            let (end_line, end_column) = position(&file.text, diagnostic.span.end);
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
pub(super) fn position(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line = before.matches('\n').count().saturating_add(1);
    let begun = before.rsplit('\n').next().unwrap_or_default();
    (line, begun.chars().count().saturating_add(1))
}
