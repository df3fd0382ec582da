//! TraceQL: finds the filters of a query.
//!
//! *For every text that Tempo (2.7 to 3.0.3, and its main branch of summer 2026) accepts, the
//! filters found here are all that Tempo finds, every pipeline begins with one of them, and in
//! each of them the inserted `M && (…)` applies to everything that was there:*
//!
//! 1. **Tokens.** Tempo reads `{` only as the beginning of a filter, so no filter is missed as
//!    long as both sides agree on where strings, attribute names and comments end. There are no
//!    comments here: `//`, `/*` and `#` are refused wherever they would not be inside a string.
//!    Strings end by the same rule as in Go. Behind `.`, or behind a scope and `.`, Tempo
//!    switches to a mode in which nearly every character belongs to a name, including quotes
//!    and `#`. Here such a name consists of quoted parts and of characters that open nothing in
//!    either mode, and it must be followed by a character that ends it in Tempo. A word before
//!    `.` or `:` must be a scope, and a number has only forms that Tempo reads as one token, so
//!    that the mode is entered in the same places. Outside of strings, everything that is not
//!    ASCII is refused. All this holds for texts up to [`MAX_TRACEQL`](super::MAX_TRACEQL)
//!    bytes; longer ones are not sent.
//! 2. **Pipelines.** Tempo lets a pipeline begin with `select(…)`, `by(…)` or a comparison of
//!    aggregates, and then reads all spans. A pipeline begins at the start of the text or
//!    behind a parenthesis; in both places `{` or another parenthesis is required here. The
//!    exceptions are the parentheses of calls, and those around scalars behind a `|`: they hold
//!    no pipeline in Tempo, and no `|` here. What begins with `{` behind its parentheses is,
//!    for Tempo too, an expression over filters, or over pipelines to which the same applies.
//! 3. **Binding.** In Tempo `&&` and `||` have the same precedence, so the user's expression is
//!    put between parentheses. Its own parentheses are balanced and never closed before they
//!    are opened, so the inserted ones belong together.
//!
//! In `compare({…})` the inner filter divides what the outer one let through. All of that has
//! the matcher already, so adding the matcher to the inner filter does not change its meaning.

mod grammar;
mod lexer;

pub(super) use grammar::recognise;

#[cfg(test)]
mod tests;
