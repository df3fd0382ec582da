//! Texts, and their places in a file.

use std::ops::Range;
use std::rc::Rc;

use super::tree::{Style, Text};

/// A file as it was handed in, but without a byte order mark.
#[derive(Clone, Debug)]
pub(super) struct File {
    /// The name for messages: the path as it was given, or `standard input`.
    pub(super) name: String,
    pub(super) text: Rc<str>,
    /// The byte at which each line begins.
    lines: Vec<usize>,
}

impl File {
    pub(super) fn new(name: String, text: &str) -> Self {
        let ends = text.match_indices('\n').map(|(at, _)| at.saturating_add(1));
        Self {
            name,
            text: text.into(),
            lines: std::iter::once(0).chain(ends).collect(),
        }
    }

    /// The number of the line that contains a byte, from 1, and the byte at which that line
    /// begins.
    pub(super) fn line(&self, at: usize) -> (usize, usize) {
        let number = self.lines.partition_point(|start| *start <= at).max(1);
        (number, self.start(number))
    }

    /// The byte at which the line with this number, from 1, begins; the end of the text if there
    /// is no such line.
    pub(super) fn start(&self, number: usize) -> usize {
        let line = self.lines.get(number.saturating_sub(1));
        line.copied().unwrap_or(self.text.len())
    }
}

/// The text of a whole file, or a text that is written inside another one.
#[derive(Debug)]
pub(super) struct Source {
    /// The position of the file among those that were handed in, from 0.
    pub(super) file: usize,
    pub(super) text: Rc<str>,
    origin: Origin,
}

#[derive(Debug)]
enum Origin {
    /// The text is the whole file.
    File,
    /// The byte of the file for each byte of the text, and for its end.
    Inside(Vec<usize>),
}

impl Source {
    pub(super) fn of_file(position: usize, file: &File) -> Self {
        Self {
            file: position,
            text: Rc::clone(&file.text),
            origin: Origin::File,
        }
    }

    /// The text of a scalar, which is written at `span` with its quotes, escapes or indentation.
    pub(super) fn inside(&self, span: &Range<usize>, text: &Text) -> Self {
        let raw = self.text.get(span.clone()).unwrap_or_default();
        let offsets = offsets(raw, text);
        let start = span.start;
        let outer = |offset: usize| self.outer_at(start.saturating_add(offset));
        Self {
            file: self.file,
            text: text.text.as_str().into(),
            origin: Origin::Inside(offsets.into_iter().map(outer).collect()),
        }
    }

    /// A text that was decoded from a scalar in a way that loses all places, such as base64. Every
    /// byte of it is attributed to the beginning of the scalar.
    pub(super) fn somewhere_in(&self, span: &Range<usize>, text: &str) -> Self {
        let start = self.outer_at(span.start);
        Self {
            file: self.file,
            text: text.into(),
            origin: Origin::Inside(vec![start; text.len().saturating_add(1)]),
        }
    }

    /// The piece of the file in which a piece of the text is written.
    pub(super) fn outer(&self, span: &Range<usize>) -> Range<usize> {
        let start = self.outer_at(span.start);
        start..self.outer_at(span.end).max(start)
    }

    fn outer_at(&self, at: usize) -> usize {
        match &self.origin {
            Origin::File => at,
            Origin::Inside(offsets) => {
                let found = offsets.get(at).or_else(|| offsets.last());
                found.copied().unwrap_or_default()
            }
        }
    }

    /// The piece of the character that begins at a byte of the text.
    pub(super) fn character(&self, at: usize) -> Range<usize> {
        let next = self.text.get(at..).and_then(|rest| rest.chars().next());
        at..at.saturating_add(next.map_or(0, char::len_utf8))
    }

    /// The byte of the text at a line and a column, both counted from 1, the column in bytes.
    pub(super) fn at_line(&self, line: usize, column: usize) -> usize {
        let before = self.text.split_inclusive('\n').take(line.saturating_sub(1));
        let start: usize = before.map(str::len).sum();
        let at = start.saturating_add(column.saturating_sub(1));
        let mut at = at.min(self.text.len());
        while !self.text.is_char_boundary(at) {
            at = at.saturating_sub(1);
        }
        at
    }
}

/// For each byte of the text of a scalar, and for its end, the byte of `raw` at which it is
/// written. Where the place cannot be determined, it is the end of the last character that was
/// found.
fn offsets(raw: &str, text: &Text) -> Vec<usize> {
    let mut at = match text.style {
        Style::Plain | Style::Block => 0,
        Style::Single | Style::Double => 1,
    };
    // The parser lets a block begin with its first line that is not blank.
    let blank = match text.style {
        Style::Block => skipped(&text.text, |c| c == '\n'),
        _ => 0,
    };
    let mut offsets = vec![0; blank];
    for c in text.text.chars().skip(blank) {
        let written = match text.style {
            Style::Double => of_double(raw, at, c),
            Style::Single if c == '\'' => {
                let rest = raw.get(at..).unwrap_or_default();
                let blank = skipped(rest, char::is_whitespace);
                let start = at.saturating_add(blank);
                start..start.saturating_add(2)
            }
            Style::Plain | Style::Single | Style::Block => of_plain(raw, at, c),
        };
        let start = written.start.min(raw.len());
        offsets.extend(std::iter::repeat_n(start, c.len_utf8()));
        at = written.end.min(raw.len());
    }
    offsets.push(at);
    offsets
}

/// The length in bytes of the beginning of a text that consists of such characters.
fn skipped(text: &str, which: impl Fn(char) -> bool) -> usize {
    text.len()
        .saturating_sub(text.trim_start_matches(which).len())
}

/// The piece of `raw` in which a character is written where nothing is escaped. Indentation is
/// skipped, and a line end may stand for a space.
fn of_plain(raw: &str, at: usize, c: char) -> Range<usize> {
    let rest = raw.get(at..).unwrap_or_default();
    if c.is_whitespace() {
        if rest.starts_with(c) {
            return at..at.saturating_add(c.len_utf8());
        }
        let blank = skipped(rest, |c| matches!(c, ' ' | '\t' | '\r'));
        let start = at.saturating_add(blank);
        let found = raw
            .get(start..)
            .is_some_and(|rest| rest.starts_with(['\n', c]));
        return if found {
            start..start.saturating_add(1)
        } else {
            at..at
        };
    }
    let start = at.saturating_add(skipped(rest, char::is_whitespace));
    if raw.get(start..).is_some_and(|rest| rest.starts_with(c)) {
        start..start.saturating_add(c.len_utf8())
    } else {
        at..at
    }
}

/// The piece of `raw` in which a character is written between double quotes.
fn of_double(raw: &str, at: usize, c: char) -> Range<usize> {
    let mut at = at;
    loop {
        let rest = raw.get(at..).unwrap_or_default();
        // A line end that is escaped adds nothing to the text.
        let continued = rest
            .strip_prefix("\\\n")
            .or_else(|| rest.strip_prefix("\\\r\n"));
        if let Some(next) = continued {
            let next = next.trim_start_matches([' ', '\t']);
            at = raw.len().saturating_sub(next.len());
            continue;
        }
        let Some(escape) = rest.strip_prefix('\\') else {
            return of_plain(raw, at, c);
        };
        let length: usize = match escape.as_bytes().first() {
            Some(b'x') => 4,
            // JSON writes a character beyond the first plane as two escapes.
            Some(b'u') if c.len_utf16() == 2 => 12,
            Some(b'u') => 6,
            Some(b'U') => 10,
            _ => 2,
        };
        return at..at.saturating_add(length);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is written in `raw` for a piece of the text of a scalar.
    fn written<'a>(raw: &'a str, style: Style, text: &str, piece: &str) -> &'a str {
        let start = text.find(piece).unwrap();
        let text = Text {
            text: text.to_owned(),
            style,
        };
        let offsets = offsets(raw, &text);
        &raw[offsets[start]..offsets[start + piece.len()]]
    }

    #[test]
    fn text_inside_a_scalar_is_found_where_it_was_written() {
        let block = "{\n      \"a\": 1,\r\n      \"ä\": 2\n    }\n";
        let text = "{\n  \"a\": 1,\n  \"ä\": 2\n}\n";
        assert_eq!(written(block, Style::Block, text, "\"a\""), "\"a\"");
        assert_eq!(written(block, Style::Block, text, "\"ä\""), "\"ä\"");
        let double = r#""{\n \"a\": \u00e4, \ud83d\ude00b}""#;
        let text = "{\n \"a\": ä, 😀b}";
        assert_eq!(written(double, Style::Double, text, "\"a\""), r#"\"a\""#);
        assert_eq!(written(double, Style::Double, text, "ä"), r"\u00e4");
        assert_eq!(written(double, Style::Double, text, "b"), "b");
        let single = "'{''a'':\n\n  b c}'";
        assert_eq!(
            written(single, Style::Single, "{'a':\nb c}", "'a'"),
            "''a''"
        );
        assert_eq!(written(single, Style::Single, "{'a':\nb c}", "b c"), "b c");
        let continued = "\"a\\\n   b c\"";
        assert_eq!(written(continued, Style::Double, "ab c", "b c"), "b c");
        let folded = "a b\n  c\n";
        assert_eq!(written(folded, Style::Block, "\n\na b c", "c"), "c");
    }
}
