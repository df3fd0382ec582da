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
        let spans =
            std::iter::once(&diagnostic.span).chain(diagnostic.also.as_ref().map(|(span, _)| span));
        let first = spans.clone().map(|span| span.start).min().unwrap_or(0);
        let last = spans.map(|span| span.end).max().unwrap_or(0);
        let (first, _) = file.line(first);
        let (last, _) = file.line(last);
        let line = first.saturating_sub(AROUND).max(1);
        let start = file.start(line);
        let end = file.start(last.saturating_add(AROUND).saturating_add(1));
        Self {
            text: file.text.get(start..end).unwrap_or_default().to_owned(),
            line,
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
