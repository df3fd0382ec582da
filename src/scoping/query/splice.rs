//! Insertions into a text that leave each of its bytes unchanged.

use std::ops::Range;

use super::matcher::Matcher;

/// A text in which every selector has the matcher.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Scoped {
    /// The text that is sent to the backend.
    pub text: String,
    /// Where something was inserted, as sorted byte ranges of `text`. Without these ranges, the
    /// original remains.
    pub insertions: Vec<Range<usize>>,
    /// The number of selectors in the text.
    pub selectors: usize,
}

/// What is inserted at a place.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Piece {
    /// The matcher, alone between braces.
    Alone,
    /// The matcher before others.
    First,
    /// A selector of its own: behind a metric's name, or before a pipeline.
    Braced,
    /// The matcher in a filter that is otherwise empty (TraceQL).
    FilterAlone,
    /// The matcher, and the opening of the parenthesis around the rest of the filter (TraceQL).
    FilterOpen,
    /// The end of that parenthesis.
    FilterClose,
}

/// A place in a text.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Place {
    /// The offset in bytes.
    pub(super) at: usize,
    /// What is inserted there.
    pub(super) piece: Piece,
}

/// The most bytes that all insertions together can take.
pub(super) fn room(places: &[Place], matcher: &Matcher) -> usize {
    let each = matcher.as_str().len().saturating_add(8);
    places.len().saturating_mul(each)
}

/// Inserts each piece at its place. The places must be sorted and lie between characters.
pub(super) fn splice(text: &str, places: &[Place], matcher: &Matcher) -> Scoped {
    let room = room(places, matcher);
    let matcher = matcher.as_str();
    let mut scoped = Scoped {
        text: String::with_capacity(text.len().saturating_add(room)),
        insertions: Vec::with_capacity(places.len()),
        selectors: 0,
    };
    let mut done = 0;
    for place in places {
        scoped.text.push_str(text.get(done..place.at).unwrap_or(""));
        done = place.at;
        let begin = scoped.text.len();
        let (before, after) = match place.piece {
            Piece::Alone => ("", ""),
            Piece::First => ("", ","),
            Piece::Braced => ("{", "}"),
            Piece::FilterAlone => (" ", " "),
            Piece::FilterOpen => (" ", " && ("),
            Piece::FilterClose => ("", ")"),
        };
        scoped.text.push_str(before);
        if place.piece != Piece::FilterClose {
            scoped.text.push_str(matcher);
            scoped.selectors = scoped.selectors.saturating_add(1);
        }
        scoped.text.push_str(after);
        scoped.insertions.push(begin..scoped.text.len());
    }
    scoped.text.push_str(text.get(done..).unwrap_or(""));
    scoped
}
