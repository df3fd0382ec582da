//! Queries: every selector of a text gets a matcher, or the text is refused.
//!
//! The text is recognised and spliced, never printed anew: what comes out is what came
//! in with insertions, so that no construct is changed or lost, and taking the
//! insertions out gives back the original bytes. The rule that carries everything:
//! *for every text that the backend accepts, the selectors found here include all that
//! the backend finds.* Accepting more than the backend does is harmless, for the
//! backend refuses it; each recogniser's own documentation argues that it cannot find
//! less. Whatever is not understood is refused with its place and the rule.
//!
//! A result is read a second time: it must hold the same number of selectors, each
//! beginning with the matcher.

mod cursor;
mod logql;
mod matcher;
mod promql;
mod traceql;

use std::ops::Range;

use crate::words::refusal::{Refusal, Rule};

pub use matcher::Matcher;

/// A backend's query language.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Language {
    /// Loki's.
    LogQl,
    /// Mimir's, and Prometheus'.
    PromQl,
    /// Tempo's.
    TraceQl,
}

/// What a text must be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Shape {
    /// A query, or a pipeline without its selector, which is put before it (LogQL only).
    Pipeline,
    /// Any query; it may have no selector at all, as `1+1`.
    Query,
    /// One selector and nothing else.
    Selector,
}

/// Longest text that is read, in bytes. Loki refuses 128 KiB itself; a query string
/// ends at Envoy's limit for all headers, 60 KiB.
pub const MAX_TEXT: usize = 65_536;

/// Longest TraceQL that is sent, in bytes: up to here this reading is known to agree
/// with Tempo's.
pub const MAX_TRACEQL: usize = 1_024;

/// Longest scoped text, in bytes: twice what Loki reads. Many selectors with a matcher
/// of many values would otherwise use up the module's memory.
pub const MAX_SCOPED: usize = 262_144;

/// Deepest nesting of parentheses and calls.
const MAX_DEPTH: usize = 64;

/// Why there is no scoped text.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Failure {
    /// The text is not one that can be scoped.
    Refused(Refusal),
    /// The second reading does not bear out the first: a fault of ours.
    Unsound,
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// A text in which every selector has the matcher.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Scoped {
    /// For the backend.
    pub text: String,
    /// Where something was inserted, in bytes of `text`, in order: without these the
    /// original is left.
    pub insertions: Vec<Range<usize>>,
    /// How many selectors it has.
    pub selectors: usize,
}

/// What is inserted at a place.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Piece {
    /// The matcher, alone between braces.
    Alone,
    /// The matcher before others.
    First,
    /// A selector of its own: after a metric's name, before a pipeline.
    Braced,
    /// The matcher in a filter that has nothing else (TraceQL).
    FilterAlone,
    /// The matcher and what binds the rest of a filter to it (TraceQL).
    FilterOpen,
    /// The end of that rest.
    FilterClose,
}

/// A place in a text.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Place {
    at: usize,
    piece: Piece,
}

/// Puts the matcher into every selector.
///
/// # Errors
/// [`Failure::Refused`] for a text that is not understood without doubt.
pub fn scope(
    language: Language,
    shape: Shape,
    text: &str,
    matcher: &Matcher,
) -> Result<Scoped, Failure> {
    let places = recognise(language, shape, text)?;
    let room = insertions_length(&places, matcher);
    if text.len().saturating_add(room) > MAX_SCOPED {
        return Err(Refusal {
            at: text.len(),
            rule: Rule::Length,
        }
        .into());
    }
    let scoped = splice(text, &places, matcher);
    if language == Language::TraceQl && scoped.text.len() > MAX_TRACEQL {
        return Err(Refusal {
            at: text.len(),
            rule: Rule::Length,
        }
        .into());
    }
    if is_sound(language, &scoped, matcher) {
        Ok(scoped)
    } else {
        Err(Failure::Unsound)
    }
}

fn recognise(language: Language, shape: Shape, text: &str) -> Result<Vec<Place>, Refusal> {
    if text.len() > MAX_TEXT {
        return Err(Refusal {
            at: MAX_TEXT,
            rule: Rule::Length,
        });
    }
    match language {
        Language::LogQl => logql::recognise(shape, text),
        Language::PromQl => promql::recognise(shape, text),
        Language::TraceQl => traceql::recognise(shape, text),
    }
}

/// At most so many bytes are inserted.
fn insertions_length(places: &[Place], matcher: &Matcher) -> usize {
    let each = matcher.as_str().len().saturating_add(8);
    places.len().saturating_mul(each)
}

fn splice(text: &str, places: &[Place], matcher: &Matcher) -> Scoped {
    let room = insertions_length(places, matcher);
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

/// Whether a second reading finds as many selectors, each beginning with the matcher.
fn is_sound(language: Language, scoped: &Scoped, matcher: &Matcher) -> bool {
    // The insertions may have made it longer than what is read from strangers.
    let places = match language {
        Language::LogQl => logql::recognise(Shape::Query, &scoped.text),
        Language::PromQl => promql::recognise(Shape::Query, &scoped.text),
        Language::TraceQl => traceql::recognise(Shape::Query, &scoped.text),
    };
    let Ok(places) = places else { return false };
    let mut found: usize = 0;
    for place in &places {
        let rest = scoped.text.get(place.at..).unwrap_or("");
        let held = match place.piece {
            Piece::FilterClose => continue,
            // A metric's name or a pipeline without a selector is left.
            Piece::Braced => None,
            Piece::Alone | Piece::First => rest.strip_prefix(matcher.as_str()),
            Piece::FilterAlone | Piece::FilterOpen => rest
                .strip_prefix(' ')
                .and_then(|rest| rest.strip_prefix(matcher.as_str())),
        };
        let ended = held.is_some_and(|rest| match language {
            // Alone, it has what stood there behind it: spaces and comments.
            Language::LogQl | Language::PromQl => {
                rest.starts_with([',', '}', ' ', '\t', '\n', '\r', '#'])
            }
            Language::TraceQl => rest.starts_with(" && (") || rest.trim_start().starts_with('}'),
        });
        if !ended {
            return false;
        }
        found = found.saturating_add(1);
    }
    found == scoped.selectors
}

#[cfg(test)]
mod tests;
