//! Inserts a matcher into every selector of a query, or refuses the query.
//!
//! The text is recognised and spliced, and never printed from a syntax tree. What is sent is
//! what was received with insertions, so no construct is changed or lost, and removing the
//! insertions restores the original bytes. The rule that everything rests on: *for every text
//! that the backend accepts, the selectors found here include all that the backend finds.*
//! Accepting more than the backend does is harmless, because the backend refuses it. The
//! documentation of each recogniser argues that it cannot find fewer. Whatever is not
//! understood is refused with its position and the rule.
//!
//! The result is read a second time: it must hold the same number of selectors, and each must
//! begin with the matcher.

mod language;
mod logql;
mod matcher;
mod promql;
mod splice;
mod text;
mod traceql;

use crate::words::refusal::{Refusal, Rule};
use splice::{Piece, Place, room, splice};

pub use language::{Language, MAX_SCOPED, MAX_TEXT, MAX_TRACEQL, Shape};
pub use matcher::Matcher;
pub use splice::Scoped;

/// Why a text could not be scoped.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Failure {
    /// The text is not one that can be scoped.
    Refused(Refusal),
    /// The second reading does not confirm the first, which is a fault of the gate.
    Unsound,
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// Inserts the matcher into every selector.
///
/// The text may have up to [`MAX_TEXT`] bytes and the result up to [`MAX_SCOPED`], or
/// [`MAX_TRACEQL`] in TraceQL. The time taken is linear in the length of the text.
///
/// # Errors
/// [`Failure::Refused`] if the text is not understood without doubt, does not have the shape or
/// is too long. [`Failure::Unsound`] if a second reading of the result does not find the
/// matcher in each of its selectors.
pub fn scope(
    language: Language,
    shape: Shape,
    text: &str,
    matcher: &Matcher,
) -> Result<Scoped, Failure> {
    let places = recognise(language, shape, text)?;
    let room = room(&places, matcher);
    if text.len().saturating_add(room) > MAX_SCOPED {
        return Err(Refusal {
            at: text.len(),
            rule: Rule::Length,
        }
        .into());
    }
    let scoped = splice(text, &places, matcher);
    checked(language, shape, scoped, matcher, text.len())
}

/// The text that selects everything in the scope. It is sent if the caller asks for nothing in
/// particular. It has the same limits as any other text, and is also checked by reading it.
///
/// # Errors
/// [`Failure::Refused`] if it is too long. [`Failure::Unsound`] if it cannot be read as one
/// selector with the matcher.
pub fn whole(language: Language, shape: Shape, matcher: &Matcher) -> Result<String, Failure> {
    let text = matcher.selector(language);
    let scoped = Scoped {
        text,
        insertions: Vec::new(),
        selectors: 1,
    };
    checked(language, shape, scoped, matcher, 0).map(|scoped| scoped.text)
}

/// Returns a text to be sent, provided that it is short enough and a second reading confirms
/// it. `end` is the length of the text that it was made from.
fn checked(
    language: Language,
    shape: Shape,
    scoped: Scoped,
    matcher: &Matcher,
    end: usize,
) -> Result<Scoped, Failure> {
    let most = match language {
        Language::LogQl | Language::PromQl => MAX_SCOPED,
        Language::TraceQl => MAX_TRACEQL,
    };
    if scoped.text.len() > most {
        let rule = Rule::Length;
        return Err(Refusal { at: end, rule }.into());
    }
    if is_sound(language, shape, &scoped, matcher) {
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

/// Whether a second reading finds the same number of selectors, each beginning with the
/// matcher.
fn is_sound(language: Language, shape: Shape, scoped: &Scoped, matcher: &Matcher) -> bool {
    let shape = match shape {
        Shape::PlainQuery | Shape::SpanQuery => shape,
        Shape::Pipeline | Shape::Query | Shape::Selector => Shape::Query,
    };
    // The insertions may have made the text longer than what is read from callers.
    let places = match language {
        Language::LogQl => logql::recognise(shape, &scoped.text),
        Language::PromQl => promql::recognise(shape, &scoped.text),
        Language::TraceQl => traceql::recognise(shape, &scoped.text),
    };
    let Ok(places) = places else { return false };
    let mut found: usize = 0;
    for place in &places {
        let rest = scoped.text.get(place.at..).unwrap_or("");
        let held = match place.piece {
            Piece::FilterClose => continue,
            // A metric's name, or a pipeline without a selector, did not get the matcher.
            Piece::Braced => None,
            Piece::Alone | Piece::First => rest.strip_prefix(matcher.as_str()),
            Piece::FilterAlone | Piece::FilterOpen => rest
                .strip_prefix(' ')
                .and_then(|rest| rest.strip_prefix(matcher.as_str())),
        };
        let ended = held.is_some_and(|rest| match language {
            // If the matcher is alone, spaces and comments of the original may follow it.
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
