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
//!    are treated as metrics. Functions are those of a list ([`FUNCTIONS`]), none of
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

use super::language::{MAX_DEPTH, Shape};
use super::splice::{Piece, Place};
use super::text::Cursor;
use crate::words::refusal::{Refusal, Rule};

/// The places where a matcher belongs.
pub(super) fn recognise(shape: Shape, text: &str) -> Result<Vec<Place>, Refusal> {
    let mut reader = Reader {
        cursor: Cursor::new(text),
        places: Vec::new(),
        depth: 0,
        doubt: None,
    };
    reader.trivia();
    match shape {
        Shape::Query => reader.expression()?,
        Shape::Selector => reader.selector()?,
        Shape::Pipeline => return reader.cursor.refuse(Rule::Syntax),
    }
    reader.trivia();
    if let Some(refusal) = reader.doubt {
        return Err(refusal);
    }
    match reader.cursor.peek() {
        None => Ok(reader.places),
        Some(_) if shape == Shape::Selector => reader.cursor.refuse(Rule::OneSelector),
        Some(b')' | b'}' | b']') => reader.cursor.refuse(Rule::Unbalanced),
        Some(_) => reader.cursor.refuse(Rule::Syntax),
    }
}

struct Reader<'a> {
    cursor: Cursor<'a>,
    places: Vec<Place>,
    depth: usize,
    /// The first comment that other readers end elsewhere.
    doubt: Option<Refusal>,
}

impl<'a> Reader<'a> {
    /// Operands with operators between them.
    fn expression(&mut self) -> Result<(), Refusal> {
        if self.depth > MAX_DEPTH {
            return self.cursor.refuse(Rule::Depth);
        }
        self.depth = self.depth.saturating_add(1);
        loop {
            self.operand()?;
            self.trivia();
            if !self.operator() {
                break;
            }
            self.modifiers()?;
        }
        self.depth = self.depth.saturating_sub(1);
        Ok(())
    }

    fn operand(&mut self) -> Result<(), Refusal> {
        self.signs();
        match self.cursor.peek() {
            Some(b'(') => {
                self.cursor.bump();
                self.expression()?;
                self.close(b')')?;
            }
            Some(b'{') => self.braces()?,
            Some(b'"' | b'\'') => {
                self.cursor.string()?;
            }
            Some(b'`') => {
                self.cursor.raw_string()?;
            }
            Some(byte) if self.begins_number(byte) => self.number(),
            Some(byte) if begins_word(byte) => self.named()?,
            None => return self.cursor.refuse(Rule::Syntax),
            Some(byte) => return self.unexpected(byte),
        }
        self.postfixes()
    }

    /// An operand that begins with a word.
    #[inline(never)]
    fn named(&mut self) -> Result<(), Refusal> {
        let before = self.cursor.clone();
        let word = self.word();
        if is_any(word, &["inf", "nan"]) {
            return Ok(());
        }
        let aggregation = is_any(word, AGGREGATIONS);
        let after = self.cursor.clone();
        self.trivia();
        if self.cursor.peek() == Some(b'(') {
            if aggregation {
                self.arguments()?;
                self.grouping()?;
                return Ok(());
            }
            if FUNCTIONS.iter().any(|known| known.as_bytes() == word) {
                return self.arguments();
            }
            return before.refuse(Rule::Function);
        }
        if aggregation && self.grouping()? {
            self.trivia();
            return self.arguments();
        }
        self.metric(word, &before, after)
    }

    /// A metric's name, alone or before braces, which may be next.
    fn metric(
        &mut self,
        name: &[u8],
        before: &Cursor<'a>,
        after: Cursor<'a>,
    ) -> Result<(), Refusal> {
        if is_any(name, NO_METRICS) {
            return before.refuse(Rule::Syntax);
        }
        if name.starts_with(b"__") {
            return before.refuse(Rule::ReservedName);
        }
        if self.cursor.peek() == Some(b'{') {
            return self.braces();
        }
        self.cursor = after;
        self.places.push(Place {
            at: self.cursor.at(),
            piece: Piece::Braced,
        });
        Ok(())
    }

    /// Exactly one selector.
    fn selector(&mut self) -> Result<(), Refusal> {
        match self.cursor.peek() {
            Some(b'{') => self.braces(),
            Some(byte) if begins_word(byte) => {
                let before = self.cursor.clone();
                let name = self.word();
                if is_any(name, &["inf", "nan"]) {
                    return before.refuse(Rule::OneSelector);
                }
                let after = self.cursor.clone();
                self.trivia();
                self.metric(name, &before, after)
            }
            _ => self.cursor.refuse(Rule::OneSelector),
        }
    }

    /// `{…}` with matchers and quoted metric names.
    #[inline(never)]
    fn braces(&mut self) -> Result<(), Refusal> {
        let opened = self.cursor.clone();
        self.cursor.bump();
        self.places.push(Place {
            at: self.cursor.at(),
            // A comma before the closing brace is legal.
            piece: Piece::First,
        });
        loop {
            self.trivia();
            if self.cursor.eat(b'}') {
                return Ok(());
            }
            self.matcher(&opened)?;
            self.trivia();
            match self.cursor.peek() {
                Some(b',') => self.cursor.bump(),
                Some(b'}') => {}
                None => return opened.refuse(Rule::Unbalanced),
                Some(_) => return self.cursor.refuse(Rule::Matcher),
            }
        }
    }

    /// `name op "value"`, or a metric's name in quotes.
    fn matcher(&mut self, opened: &Cursor<'a>) -> Result<(), Refusal> {
        let before = self.cursor.clone();
        let (name, quoted) = match self.cursor.peek() {
            None => return opened.refuse(Rule::Unbalanced),
            Some(b'"' | b'\'') => (self.cursor.string()?, true),
            Some(b'`') => (self.cursor.raw_string()?, true),
            Some(byte) if byte.is_ascii_alphabetic() || byte == b'_' => {
                let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
                (self.cursor.take_while(plain), false)
            }
            Some(_) => return self.cursor.refuse(Rule::Matcher),
        };
        if name.contains(&b'\\') {
            return before.refuse(Rule::Backslash);
        }
        self.trivia();
        let operator = match (self.cursor.peek(), self.cursor.peek_second()) {
            (Some(b'='), Some(b'~')) | (Some(b'!'), Some(b'~' | b'=')) => 2,
            (Some(b'='), _) => 1,
            _ if quoted => {
                return if name.starts_with(b"__") {
                    before.refuse(Rule::ReservedName)
                } else {
                    Ok(())
                };
            }
            _ => return self.cursor.refuse(Rule::Matcher),
        };
        self.cursor.skip(operator);
        self.trivia();
        let value_at = self.cursor.clone();
        let (value, escapes) = match self.cursor.peek() {
            Some(b'"' | b'\'') => (self.cursor.string()?, true),
            Some(b'`') => (self.cursor.raw_string()?, false),
            _ => return self.cursor.refuse(Rule::Matcher),
        };
        if name == b"__name__" {
            return match value {
                [b'_', b'_', ..] => value_at.refuse(Rule::ReservedName),
                // What is written as \x5f is an underscore too.
                [b'\\', b'\\', ..] => Ok(()),
                [b'\\', ..] | [b'_', b'\\', ..] if escapes => value_at.refuse(Rule::Backslash),
                _ => Ok(()),
            };
        }
        // Grafana's Metrics Drilldown adds the last one to nearly every query.
        let known = matches!(name, b"__type__" | b"__unit__" | b"__ignore_usage__");
        if name.starts_with(b"__") && !known {
            return before.refuse(Rule::ReservedName);
        }
        Ok(())
    }

    /// `( expression, … )`
    #[inline(never)]
    fn arguments(&mut self) -> Result<(), Refusal> {
        let opened = self.cursor.clone();
        if !self.cursor.eat(b'(') {
            return self.cursor.refuse(Rule::Syntax);
        }
        self.trivia();
        if self.cursor.eat(b')') {
            return Ok(());
        }
        loop {
            self.expression()?;
            self.trivia();
            match self.cursor.peek() {
                Some(b',') => self.cursor.bump(),
                Some(b')') => {
                    self.cursor.bump();
                    return Ok(());
                }
                None => return opened.refuse(Rule::Unbalanced),
                Some(_) => return self.cursor.refuse(Rule::Syntax),
            }
        }
    }

    /// `by (…)` or `without (…)`, if it is next. As `by` may also name a metric, it
    /// counts only with its parenthesis.
    #[inline(never)]
    fn grouping(&mut self) -> Result<bool, Refusal> {
        let before = self.cursor.clone();
        self.trivia();
        if is_any(self.word(), &["by", "without"]) {
            self.trivia();
            if self.cursor.peek() == Some(b'(') {
                self.labels()?;
                return Ok(true);
            }
        }
        self.cursor = before;
        Ok(false)
    }

    /// `( label, … )`
    #[inline(never)]
    fn labels(&mut self) -> Result<(), Refusal> {
        let opened = self.cursor.clone();
        if !self.cursor.eat(b'(') {
            return self.cursor.refuse(Rule::Syntax);
        }
        loop {
            self.trivia();
            match self.cursor.peek() {
                Some(b')') => {
                    self.cursor.bump();
                    return Ok(());
                }
                Some(b'"' | b'\'') => {
                    self.cursor.string()?;
                }
                Some(b'`') => {
                    self.cursor.raw_string()?;
                }
                Some(byte) if begins_word(byte) => {
                    self.word();
                }
                None => return opened.refuse(Rule::Unbalanced),
                Some(_) => return self.cursor.refuse(Rule::Syntax),
            }
            self.trivia();
            match self.cursor.peek() {
                Some(b',') => self.cursor.bump(),
                Some(b')') => {}
                None => return opened.refuse(Rule::Unbalanced),
                Some(_) => return self.cursor.refuse(Rule::Syntax),
            }
        }
    }

    /// A binary operator, if one is next.
    fn operator(&mut self) -> bool {
        let length = match (self.cursor.peek(), self.cursor.peek_second()) {
            (Some(b'=' | b'!'), Some(b'=')) | (Some(b'<' | b'>'), Some(b'=' | b'/')) => 2,
            (Some(b'+' | b'-' | b'*' | b'/' | b'%' | b'^' | b'<' | b'>'), _) => 1,
            _ => {
                let before = self.cursor.clone();
                let known = is_any(self.word(), &["and", "or", "unless", "atan2"]);
                if !known {
                    self.cursor = before;
                }
                return known;
            }
        };
        self.cursor.skip(length);
        true
    }

    /// What may stand between an operator and its right side.
    #[inline(never)]
    fn modifiers(&mut self) -> Result<(), Refusal> {
        loop {
            self.trivia();
            let before = self.cursor.clone();
            let word = self.word();
            if is_any(word, &["bool"]) {
                continue;
            }
            self.trivia();
            if is_any(word, &["on", "ignoring"]) {
                self.labels()?;
                continue;
            }
            let opens = self.cursor.peek() == Some(b'(');
            if is_any(word, &["group_left", "group_right"]) {
                if opens {
                    self.labels()?;
                }
                continue;
            }
            if opens && is_any(word, &["fill", "fill_left", "fill_right"]) {
                self.cursor.bump();
                self.trivia();
                self.signs();
                self.scalar()?;
                self.close(b')')?;
                continue;
            }
            self.cursor = before;
            self.trivia();
            return Ok(());
        }
    }

    /// What may stand behind an operand.
    #[inline(never)]
    fn postfixes(&mut self) -> Result<(), Refusal> {
        loop {
            self.trivia();
            match self.cursor.peek() {
                Some(b'[') => {
                    let opened = self.cursor.clone();
                    self.cursor.bump();
                    self.durations(b']', &opened)?;
                }
                Some(b'@') => {
                    self.cursor.bump();
                    self.trivia();
                    self.instant()?;
                }
                _ => {
                    let before = self.cursor.clone();
                    let word = self.word();
                    if is_any(word, &["anchored", "smoothed"]) {
                        continue;
                    }
                    if is_any(word, &["offset"]) {
                        self.trivia();
                        self.offset()?;
                        continue;
                    }
                    self.cursor = before;
                    return Ok(());
                }
            }
        }
    }

    /// Behind `@`: a number, `start()` or `end()`.
    fn instant(&mut self) -> Result<(), Refusal> {
        self.signs();
        let before = self.cursor.clone();
        if !is_any(self.word(), &["start", "end"]) {
            self.cursor = before;
            return self.scalar();
        }
        self.trivia();
        if !self.cursor.eat(b'(') {
            return self.cursor.refuse(Rule::Syntax);
        }
        self.close(b')')
    }

    /// Behind `offset`: a duration, or an expression of durations.
    fn offset(&mut self) -> Result<(), Refusal> {
        self.signs();
        let before = self.cursor.clone();
        let called = is_any(self.word(), DURATIONS);
        if !called {
            self.cursor = before;
        }
        self.trivia();
        let opened = self.cursor.clone();
        if self.cursor.eat(b'(') {
            return self.durations(b')', &opened);
        }
        if called {
            return self.cursor.refuse(Rule::Range);
        }
        self.scalar()
    }

    /// A number or a duration.
    fn scalar(&mut self) -> Result<(), Refusal> {
        match self.cursor.peek() {
            Some(byte) if self.begins_number(byte) => {
                self.number();
                Ok(())
            }
            _ => {
                let before = self.cursor.clone();
                if is_any(self.word(), &["inf", "nan"]) {
                    return Ok(());
                }
                before.refuse(Rule::Range)
            }
        }
    }

    /// Numbers, durations, their operators and functions, up to the closing byte.
    #[inline(never)]
    fn durations(&mut self, close: u8, opened: &Cursor<'a>) -> Result<(), Refusal> {
        let mut nested: usize = 0;
        loop {
            let before = self.cursor.clone();
            match self.cursor.peek() {
                None => return opened.refuse(Rule::Unbalanced),
                Some(byte) if byte == close && nested == 0 => {
                    self.cursor.bump();
                    return Ok(());
                }
                Some(b'(') => {
                    nested = nested.saturating_add(1);
                    self.cursor.bump();
                }
                Some(b')') if nested > 0 => {
                    nested = nested.saturating_sub(1);
                    self.cursor.bump();
                }
                Some(
                    b' ' | b'\t' | b'\n' | b'\r' | b'+' | b'-' | b'*' | b'/' | b'%' | b'^' | b':'
                    | b',' | b'.',
                ) => self.cursor.bump(),
                Some(byte) if byte.is_ascii_digit() => self.number(),
                Some(byte) if byte.is_ascii_alphabetic() => {
                    let letters = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
                    if !is_any(self.cursor.take_while(letters), DURATIONS) {
                        return before.refuse(Rule::Range);
                    }
                }
                Some(b'#') => return self.cursor.refuse(Rule::Comment),
                Some(_) => return self.cursor.refuse(Rule::Range),
            }
        }
    }

    fn begins_number(&self, byte: u8) -> bool {
        let fraction = || {
            self.cursor
                .peek_second()
                .is_some_and(|b| b.is_ascii_digit())
        };
        byte.is_ascii_digit() || (byte == b'.' && fraction())
    }

    /// A number or a duration with everything that touches it.
    #[inline(never)]
    fn number(&mut self) {
        let touches = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.');
        let run = self.cursor.take_while(touches);
        let [mantissa @ .., b'e' | b'E'] = run else {
            return;
        };
        let decimal = |byte: &u8| byte.is_ascii_digit() || matches!(byte, b'_' | b'.');
        let signed = matches!(self.cursor.peek(), Some(b'+' | b'-'));
        let exponent = self
            .cursor
            .peek_second()
            .is_some_and(|b| b.is_ascii_digit());
        if signed && exponent && mantissa.iter().all(decimal) {
            self.cursor.bump();
            self.cursor.take_while(touches);
        }
    }

    #[inline(never)]
    fn signs(&mut self) {
        self.trivia();
        while matches!(self.cursor.peek(), Some(b'+' | b'-')) {
            self.cursor.bump();
            self.trivia();
        }
    }

    /// A word, or nothing if none is here.
    #[inline(never)]
    fn word(&mut self) -> &'a [u8] {
        match self.cursor.peek() {
            Some(byte) if begins_word(byte) => self
                .cursor
                .take_while(|byte| begins_word(byte) || byte.is_ascii_digit()),
            _ => &[],
        }
    }

    #[inline(never)]
    fn close(&mut self, byte: u8) -> Result<(), Refusal> {
        self.trivia();
        if self.cursor.eat(byte) {
            return Ok(());
        }
        match self.cursor.peek() {
            None => self.cursor.refuse(Rule::Unbalanced),
            Some(byte) => self.unexpected(byte),
        }
    }

    fn unexpected(&self, byte: u8) -> Result<(), Refusal> {
        self.cursor.refuse(match byte {
            b')' | b'}' | b']' => Rule::Unbalanced,
            0x20..=0x7e => Rule::Syntax,
            _ => Rule::Character,
        })
    }

    /// Spaces and comments.
    #[inline(never)]
    fn trivia(&mut self) {
        loop {
            self.cursor
                .take_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r'));
            if self.cursor.peek() != Some(b'#') {
                return;
            }
            self.cursor
                .take_while(|byte| !matches!(byte, b'\n' | b'\r'));
            let returns = self.cursor.peek() == Some(b'\r');
            if returns && self.cursor.peek_second() != Some(b'\n') {
                self.doubt.get_or_insert(Refusal {
                    at: self.cursor.at(),
                    rule: Rule::Comment,
                });
            }
        }
    }
}

fn begins_word(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || matches!(byte, b'_' | b':')
}

/// Keywords know no case.
#[inline(never)]
fn is_any(word: &[u8], known: &[&str]) -> bool {
    known
        .iter()
        .any(|known| word.eq_ignore_ascii_case(known.as_bytes()))
}

/// Aggregations of Prometheus 3.14.
const AGGREGATIONS: &[&str] = &[
    "avg",
    "bottomk",
    "count",
    "count_values",
    "group",
    "limit_ratio",
    "limitk",
    "max",
    "min",
    "quantile",
    "stddev",
    "stdvar",
    "sum",
    "topk",
];

/// Keywords that cannot name a metric.
const NO_METRICS: &[&str] = &[
    "atan2",
    "bool",
    "group_left",
    "group_right",
    "ignoring",
    "on",
];

/// Functions of duration expressions; without `_of` in Mimir.
const DURATIONS: &[&str] = &["max", "max_of", "min", "min_of", "range", "step"];

/// Functions of Prometheus 3.14 and earlier but `info`, which selects `target_info` by
/// itself. A function that is not here is refused: it may select by itself as well.
const FUNCTIONS: &[&str] = &[
    "abs",
    "absent",
    "absent_over_time",
    "acos",
    "acosh",
    "asin",
    "asinh",
    "atan",
    "atanh",
    "avg_over_time",
    "ceil",
    "changes",
    "clamp",
    "clamp_max",
    "clamp_min",
    "cos",
    "cosh",
    "count_over_time",
    "day_of_month",
    "day_of_week",
    "day_of_year",
    "days_in_month",
    "deg",
    "delta",
    "deriv",
    "double_exponential_smoothing",
    "end",
    "exp",
    "first_over_time",
    "floor",
    "histogram_avg",
    "histogram_count",
    "histogram_fraction",
    "histogram_quantile",
    "histogram_quantiles",
    "histogram_stddev",
    "histogram_stdvar",
    "histogram_sum",
    "holt_winters",
    "hour",
    "idelta",
    "increase",
    "irate",
    "label_join",
    "label_replace",
    "last_over_time",
    "ln",
    "log10",
    "log2",
    "mad_over_time",
    "max_of",
    "max_over_time",
    "min_of",
    "min_over_time",
    "minute",
    "month",
    "pi",
    "predict_linear",
    "present_over_time",
    "quantile_over_time",
    "rad",
    "range",
    "rate",
    "resets",
    "round",
    "scalar",
    "sgn",
    "sin",
    "sinh",
    "sort",
    "sort_by_label",
    "sort_by_label_desc",
    "sort_desc",
    "sqrt",
    "start",
    "start_timestamp",
    "stddev_over_time",
    "stdvar_over_time",
    "step",
    "sum_over_time",
    "tan",
    "tanh",
    "time",
    "timestamp",
    "ts_of_first_over_time",
    "ts_of_last_over_time",
    "ts_of_max_over_time",
    "ts_of_min_over_time",
    "vector",
    "year",
];

#[cfg(test)]
mod tests;
