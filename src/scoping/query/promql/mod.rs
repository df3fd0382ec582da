//! PromQL: finds the vector selectors of an expression.
//!
//! # Why no selector is missed
//!
//! In Prometheus' grammar (3.14, `promql/parser`, which Mimir uses) a vector selector is an
//! operand: `name`, `name{…}` or `{…}`. Whatever stands where an operand may stand is therefore
//! taken for a selector here, unless it is beyond doubt something else:
//!
//! 1. *Tokens end where the backend ends them.* Strings, raw strings and comments are the only
//!    tokens that can hide others. A string ends at its unescaped quote and holds no newline; a
//!    raw string ends at its back quote; and a comment ends at `\n` or `\r`. One that ends at a
//!    lone `\r` is refused, because people would see it go on. A number is taken with every
//!    letter, digit, `_` and `.` that touches it, and the backend lets no other token touch a
//!    number.
//! 2. *A word where an operand may stand* is a number (`inf`, `nan`), an aggregation or a
//!    function if `(` follows, and otherwise a metric: all keywords that may name a metric are
//!    treated as metrics. Functions must be in a list ([`names::FUNCTIONS`]), none of which
//!    selects data by itself. All of their arguments are read as expressions.
//! 3. *Words that are not operands* follow an operator (`bool`, `on`, `ignoring`, `group_left`,
//!    `group_right`, `fill`) or an operand (`offset`, `@`, `by`, `without`, `anchored`,
//!    `smoothed`). Their parentheses hold labels, numbers or durations; anything else there is
//!    refused.
//! 4. *Between `{` and `}`* there are only matchers and quoted names; between `[` and `]` only
//!    numbers, durations and their operators.
//!
//! Operators have no precedence here, because it decides how results are combined and not what
//! is selected. The time taken is linear in the length of the text, and depth is bounded.

mod grammar;
mod lexer;
mod names;

pub(super) use grammar::recognise;

#[cfg(test)]
mod tests;
