//! PromQL: where the vector selectors of an expression are.
//!
//! # Why no selector is missed
//!
//! In Prometheus' grammar (3.14, `promql/parser`, which Mimir uses) a vector selector is
//! an operand: `name`, `name{…}` or `{…}`. So whatever stands where an operand may stand
//! is taken here for a selector, unless it is beyond doubt something else:
//!
//! 1. *Tokens end where the backend ends them.* Strings, raw strings and comments are
//!    the only tokens that can hide others. A string ends at its unescaped quote and
//!    holds no newline, a raw string at its back quote, a comment at `\n` or `\r`; one
//!    that ends at a lone `\r` is refused, for people would see it go on. A
//!    number is taken with every letter, digit, `_` and `.` that touches it, and the
//!    backend lets no other token touch a number.
//! 2. *A word where an operand may stand* is a number (`inf`, `nan`), an aggregation or
//!    a function if `(` follows, or else a metric: all keywords that may name a metric
//!    are treated as metrics. Functions are those of a list ([`names::FUNCTIONS`]), none of
//!    which selects by itself; all of their arguments are read as expressions.
//! 3. *Words that are no operands* stand only behind an operator (`bool`, `on`,
//!    `ignoring`, `group_left`, `group_right`, `fill`) or behind an operand (`offset`,
//!    `@`, `by`, `without`, `anchored`, `smoothed`). What is read in their parentheses
//!    are labels, numbers or durations; anything else there is refused.
//! 4. *Between `{` and `}`* stand matchers and quoted names only; between `[` and `]`
//!    numbers, durations and their operators only.
//!
//! Operators have no precedence here: it decides how results are combined, not what is
//! selected. Time is linear in the text, and depth is bounded.

mod grammar;
mod lexer;
mod names;

pub(super) use grammar::recognise;

#[cfg(test)]
mod tests;
