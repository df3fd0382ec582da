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

/// Puts the matcher into every selector.
///
/// The text may have [`MAX_TEXT`] bytes and the result [`MAX_SCOPED`], in TraceQL
/// [`MAX_TRACEQL`]. The time it takes is linear in the text.
///
/// # Errors
/// [`Failure::Refused`] for a text that is not understood without doubt, is not of the
/// shape or is too long; [`Failure::Unsound`] if the result, read a second time, does
/// not have the matcher in each of its selectors.
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

/// The text that selects all that is in the scope: what is sent where nothing is asked
/// for. It is held to the same limits and read once as any other.
///
/// # Errors
/// [`Failure::Refused`] if it is too long, or not of the shape; [`Failure::Unsound`] if
/// it does not read as one selector with the matcher.
pub fn whole(language: Language, shape: Shape, matcher: &Matcher) -> Result<String, Failure> {
    let text = matcher.selector(language);
    let scoped = Scoped {
        text,
        insertions: Vec::new(),
        selectors: 1,
    };
    checked(language, shape, scoped, matcher, 0).map(|scoped| scoped.text)
}

/// A text that is to be sent, if it is short enough and a second reading bears it out.
/// `end`: how long the text was that it was made of.
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

/// Whether a second reading finds as many selectors, each beginning with the matcher.
fn is_sound(language: Language, shape: Shape, scoped: &Scoped, matcher: &Matcher) -> bool {
    let shape = match shape {
        Shape::PlainQuery | Shape::SpanQuery => shape,
        Shape::Pipeline | Shape::Query | Shape::Selector => Shape::Query,
    };
    // The insertions may have made it longer than what is read from strangers.
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
