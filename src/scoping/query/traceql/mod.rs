//! Filters in TraceQL.
//!
//! *For every text that Tempo (2.7 to 3.0.3, and its main branch of summer 2026)
//! accepts, the filters found here are all that Tempo finds, every pipeline begins with
//! one of them, and inside each the inserted `M && (…)` binds all that was there:*
//!
//! 1. **Tokens.** Tempo reads `{` as the beginning of a filter and as nothing else, so
//!    no filter is missed as long as both sides agree where strings, attribute names and
//!    comments end. There are no comments here: `//`, `/*` and `#` are refused wherever
//!    they would not be inside a string. Strings end by the same rule as Go's. Behind
//!    `.`, or a scope and `.`, Tempo switches to a mode in which nearly every character
//!    belongs to a name, quotes and `#` too; here such a name is made of quoted parts and
//!    of characters that open nothing in either mode, and what follows it must be one of
//!    those that end it in Tempo. A word before `.` or `:` must be a scope, and a
//!    number has only forms that Tempo reads as one token, so that the mode is entered
//!    in the same places. What is not ASCII is refused outside strings. All this holds
//!    for texts up to [`MAX_TRACEQL`](super::MAX_TRACEQL) bytes; longer ones are not sent.
//! 2. **Pipelines.** Tempo lets a pipeline begin with `select(…)`, `by(…)` or a
//!    comparison of aggregates, and then reads all spans. One begins at the start of the
//!    text or behind a parenthesis; in both places `{` or another parenthesis is demanded
//!    here. Exempt are the parentheses of calls and those around scalars behind a `|`:
//!    they hold no pipeline in Tempo, and no `|` here. What begins with `{` behind its
//!    parentheses is, for Tempo too, an expression over filters, or over pipelines to
//!    which the same applies.
//! 3. **Binding.** In Tempo `&&` and `||` have the same precedence, so the user's
//!    expression is put between parentheses. Its own are balanced and never closed
//!    before they are opened, so the inserted ones belong together.
//!
//! In `compare({…})` the inner filter divides what the outer one let through. All of
//! that has the matcher already: with it the inner filter means what it meant.

mod grammar;
mod lexer;

pub(super) use grammar::recognise;

#[cfg(test)]
mod tests;
