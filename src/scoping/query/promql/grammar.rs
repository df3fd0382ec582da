//! How expressions consist of tokens, as far as this decides where selectors are.

use super::lexer::{Lexer, begins_word};
use super::names::{AGGREGATIONS, DURATIONS, FUNCTIONS, NO_METRICS, is_any};
use crate::scoping::query::language::{MAX_DEPTH, Shape};
use crate::scoping::query::splice::{Piece, Place};
use crate::scoping::query::text::Cursor;
use crate::words::refusal::{Refusal, Rule};

/// Finds the places where a matcher has to be inserted.
pub(in crate::scoping::query) fn recognise(
    shape: Shape,
    text: &str,
) -> Result<Vec<Place>, Refusal> {
    let mut reader = Reader {
        lexer: Lexer::new(text),
        places: Vec::new(),
        depth: 0,
    };
    reader.lexer.trivia();
    match shape {
        Shape::Query => reader.expression()?,
        Shape::Selector => reader.selector()?,
        Shape::Pipeline | Shape::PlainQuery | Shape::SpanQuery => {
            return reader.lexer.refuse(Rule::Syntax);
        }
    }
    reader.lexer.trivia();
    if let Some(refusal) = reader.lexer.doubt() {
        return Err(refusal);
    }
    match reader.lexer.peek() {
        None => Ok(reader.places),
        Some(_) if shape == Shape::Selector => reader.lexer.refuse(Rule::OneSelector),
        Some(b')' | b'}' | b']') => reader.lexer.refuse(Rule::Unbalanced),
        Some(_) => reader.lexer.refuse(Rule::Syntax),
    }
}

struct Reader<'a> {
    lexer: Lexer<'a>,
    places: Vec<Place>,
    depth: usize,
}

impl<'a> Reader<'a> {
    /// Takes operands with operators between them.
    fn expression(&mut self) -> Result<(), Refusal> {
        if self.depth > MAX_DEPTH {
            return self.lexer.refuse(Rule::Depth);
        }
        self.depth = self.depth.saturating_add(1);
        loop {
            self.operand()?;
            self.lexer.trivia();
            if !self.lexer.operator() {
                break;
            }
            self.modifiers()?;
        }
        self.depth = self.depth.saturating_sub(1);
        Ok(())
    }

    fn operand(&mut self) -> Result<(), Refusal> {
        self.lexer.signs();
        match self.lexer.peek() {
            Some(b'(') => {
                self.lexer.bump();
                self.expression()?;
                self.lexer.close(b')')?;
            }
            Some(b'{') => self.braces()?,
            Some(b'"' | b'\'') => {
                self.lexer.string()?;
            }
            Some(b'`') => {
                self.lexer.raw_string()?;
            }
            Some(byte) if self.lexer.begins_number(byte) => self.lexer.number(),
            Some(byte) if begins_word(byte) => self.named()?,
            None => return self.lexer.refuse(Rule::Syntax),
            Some(byte) => return self.lexer.unexpected(byte),
        }
        self.postfixes()
    }

    /// Takes an operand that begins with a word.
    #[inline(never)]
    fn named(&mut self) -> Result<(), Refusal> {
        let before = self.lexer.here();
        let word = self.lexer.word();
        if is_any(word, &["inf", "nan"]) {
            return Ok(());
        }
        let aggregation = is_any(word, AGGREGATIONS);
        let after = self.lexer.here();
        self.lexer.trivia();
        if self.lexer.peek() == Some(b'(') {
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
            self.lexer.trivia();
            return self.arguments();
        }
        self.metric(word, &before, after)
    }

    /// Takes a metric's name, alone or with braces behind it.
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
        if self.lexer.peek() == Some(b'{') {
            return self.braces();
        }
        self.lexer.go_back(after);
        self.places.push(Place {
            at: self.lexer.at(),
            piece: Piece::Braced,
        });
        Ok(())
    }

    /// Takes exactly one selector.
    fn selector(&mut self) -> Result<(), Refusal> {
        match self.lexer.peek() {
            Some(b'{') => self.braces(),
            Some(byte) if begins_word(byte) => {
                let before = self.lexer.here();
                let name = self.lexer.word();
                if is_any(name, &["inf", "nan"]) {
                    return before.refuse(Rule::OneSelector);
                }
                let after = self.lexer.here();
                self.lexer.trivia();
                self.metric(name, &before, after)
            }
            _ => self.lexer.refuse(Rule::OneSelector),
        }
    }

    /// Takes `{…}` with matchers and quoted metric names.
    #[inline(never)]
    fn braces(&mut self) -> Result<(), Refusal> {
        let opened = self.lexer.here();
        self.lexer.bump();
        self.places.push(Place {
            at: self.lexer.at(),
            // A comma before the closing brace is legal in PromQL.
            piece: Piece::First,
        });
        loop {
            self.lexer.trivia();
            if self.lexer.eat(b'}') {
                return Ok(());
            }
            self.matcher(&opened)?;
            self.lexer.trivia();
            match self.lexer.peek() {
                Some(b',') => self.lexer.bump(),
                Some(b'}') => {}
                None => return opened.refuse(Rule::Unbalanced),
                Some(_) => return self.lexer.refuse(Rule::Matcher),
            }
        }
    }

    /// Takes `name op "value"`, or a metric's name in quotes.
    fn matcher(&mut self, opened: &Cursor<'a>) -> Result<(), Refusal> {
        let before = self.lexer.here();
        let (name, quoted) = match self.lexer.peek() {
            None => return opened.refuse(Rule::Unbalanced),
            Some(b'"' | b'\'') => (self.lexer.string()?, true),
            Some(b'`') => (self.lexer.raw_string()?, true),
            Some(byte) if byte.is_ascii_alphabetic() || byte == b'_' => {
                let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
                (self.lexer.take_while(plain), false)
            }
            Some(_) => return self.lexer.refuse(Rule::Matcher),
        };
        if !is_plain(name) {
            return before.refuse(Rule::Backslash);
        }
        self.lexer.trivia();
        let operator = match (self.lexer.peek(), self.lexer.peek_second()) {
            (Some(b'='), Some(b'~')) | (Some(b'!'), Some(b'~' | b'=')) => 2,
            (Some(b'='), _) => 1,
            _ if quoted => {
                return if name.starts_with(b"__") {
                    before.refuse(Rule::ReservedName)
                } else {
                    Ok(())
                };
            }
            _ => return self.lexer.refuse(Rule::Matcher),
        };
        self.lexer.skip(operator);
        self.lexer.trivia();
        let value_at = self.lexer.here();
        let (value, escapes) = match self.lexer.peek() {
            Some(b'"' | b'\'') => (self.lexer.string()?, true),
            Some(b'`') => (self.lexer.raw_string()?, false),
            _ => return self.lexer.refuse(Rule::Matcher),
        };
        if name == b"__name__" {
            return match value {
                [b'_', b'_', ..] => value_at.refuse(Rule::ReservedName),
                // An escape such as \x5f spells an underscore too.
                [b'\\', b'\\', ..] => Ok(()),
                [b'\\', ..] | [b'_', b'\\', ..] if escapes => value_at.refuse(Rule::Backslash),
                _ => Ok(()),
            };
        }
        // Mimir distinguishes the tenants of a federated query by the first of these names,
        // which can only choose among the tenants that the request names. Grafana's Metrics
        // Drilldown adds the last one to nearly every query.
        let known = matches!(
            name,
            b"__tenant_id__" | b"__type__" | b"__unit__" | b"__ignore_usage__"
        );
        if name.starts_with(b"__") && !known {
            return before.refuse(Rule::ReservedName);
        }
        Ok(())
    }

    /// Takes `( expression, … )`.
    #[inline(never)]
    fn arguments(&mut self) -> Result<(), Refusal> {
        let opened = self.lexer.here();
        if !self.lexer.eat(b'(') {
            return self.lexer.refuse(Rule::Syntax);
        }
        self.lexer.trivia();
        if self.lexer.eat(b')') {
            return Ok(());
        }
        loop {
            self.expression()?;
            self.lexer.trivia();
            match self.lexer.peek() {
                Some(b',') => self.lexer.bump(),
                Some(b')') => {
                    self.lexer.bump();
                    return Ok(());
                }
                None => return opened.refuse(Rule::Unbalanced),
                Some(_) => return self.lexer.refuse(Rule::Syntax),
            }
        }
    }

    /// Takes `by (…)` or `without (…)`, if one is next. Since `by` may also name a metric, it
    /// counts only with its parenthesis.
    #[inline(never)]
    fn grouping(&mut self) -> Result<bool, Refusal> {
        let before = self.lexer.here();
        self.lexer.trivia();
        if is_any(self.lexer.word(), &["by", "without"]) {
            self.lexer.trivia();
            if self.lexer.peek() == Some(b'(') {
                self.labels()?;
                return Ok(true);
            }
        }
        self.lexer.go_back(before);
        Ok(false)
    }

    /// Takes `( label, … )`.
    #[inline(never)]
    fn labels(&mut self) -> Result<(), Refusal> {
        let opened = self.lexer.here();
        if !self.lexer.eat(b'(') {
            return self.lexer.refuse(Rule::Syntax);
        }
        loop {
            self.lexer.trivia();
            let before = self.lexer.here();
            let name = match self.lexer.peek() {
                Some(b')') => {
                    self.lexer.bump();
                    return Ok(());
                }
                Some(b'"' | b'\'') => self.lexer.string()?,
                Some(b'`') => self.lexer.raw_string()?,
                Some(byte) if begins_word(byte) => self.lexer.word(),
                None => return opened.refuse(Rule::Unbalanced),
                Some(_) => return self.lexer.refuse(Rule::Syntax),
            };
            if !is_plain(name) {
                return before.refuse(Rule::Backslash);
            }
            self.lexer.trivia();
            match self.lexer.peek() {
                Some(b',') => self.lexer.bump(),
                Some(b')') => {}
                None => return opened.refuse(Rule::Unbalanced),
                Some(_) => return self.lexer.refuse(Rule::Syntax),
            }
        }
    }

    /// Takes what may stand between an operator and its right side.
    #[inline(never)]
    fn modifiers(&mut self) -> Result<(), Refusal> {
        loop {
            self.lexer.trivia();
            let before = self.lexer.here();
            let word = self.lexer.word();
            if is_any(word, &["bool"]) {
                continue;
            }
            self.lexer.trivia();
            if is_any(word, &["on", "ignoring"]) {
                self.labels()?;
                continue;
            }
            let opens = self.lexer.peek() == Some(b'(');
            if is_any(word, &["group_left", "group_right"]) {
                if opens {
                    self.labels()?;
                }
                continue;
            }
            if opens && is_any(word, &["fill", "fill_left", "fill_right"]) {
                self.lexer.bump();
                self.lexer.trivia();
                self.lexer.signs();
                self.scalar()?;
                self.lexer.close(b')')?;
                continue;
            }
            self.lexer.go_back(before);
            self.lexer.trivia();
            return Ok(());
        }
    }

    /// Takes what may follow an operand.
    #[inline(never)]
    fn postfixes(&mut self) -> Result<(), Refusal> {
        loop {
            self.lexer.trivia();
            match self.lexer.peek() {
                Some(b'[') => {
                    let opened = self.lexer.here();
                    self.lexer.bump();
                    self.durations(b']', &opened)?;
                }
                Some(b'@') => {
                    self.lexer.bump();
                    self.lexer.trivia();
                    self.instant()?;
                }
                _ => {
                    let before = self.lexer.here();
                    let word = self.lexer.word();
                    if is_any(word, &["anchored", "smoothed"]) {
                        continue;
                    }
                    if is_any(word, &["offset"]) {
                        self.lexer.trivia();
                        self.offset()?;
                        continue;
                    }
                    self.lexer.go_back(before);
                    return Ok(());
                }
            }
        }
    }

    /// Takes what may follow `@`: a number, `start()` or `end()`.
    fn instant(&mut self) -> Result<(), Refusal> {
        self.lexer.signs();
        let before = self.lexer.here();
        if !is_any(self.lexer.word(), &["start", "end"]) {
            self.lexer.go_back(before);
            return self.scalar();
        }
        self.lexer.trivia();
        if !self.lexer.eat(b'(') {
            return self.lexer.refuse(Rule::Syntax);
        }
        self.lexer.close(b')')
    }

    /// Takes what may follow `offset`: a duration, or an expression of durations.
    fn offset(&mut self) -> Result<(), Refusal> {
        self.lexer.signs();
        let before = self.lexer.here();
        let called = is_any(self.lexer.word(), DURATIONS);
        if !called {
            self.lexer.go_back(before);
        }
        self.lexer.trivia();
        let opened = self.lexer.here();
        if self.lexer.eat(b'(') {
            return self.durations(b')', &opened);
        }
        if called {
            return self.lexer.refuse(Rule::Range);
        }
        self.scalar()
    }

    /// Takes a number or a duration.
    fn scalar(&mut self) -> Result<(), Refusal> {
        match self.lexer.peek() {
            Some(byte) if self.lexer.begins_number(byte) => {
                self.lexer.number();
                Ok(())
            }
            _ => {
                let before = self.lexer.here();
                if is_any(self.lexer.word(), &["inf", "nan"]) {
                    return Ok(());
                }
                before.refuse(Rule::Range)
            }
        }
    }

    /// Takes numbers, durations, their operators and functions, up to the closing byte.
    #[inline(never)]
    fn durations(&mut self, close: u8, opened: &Cursor<'a>) -> Result<(), Refusal> {
        let mut nested: usize = 0;
        loop {
            let before = self.lexer.here();
            match self.lexer.peek() {
                None => return opened.refuse(Rule::Unbalanced),
                Some(byte) if byte == close && nested == 0 => {
                    self.lexer.bump();
                    return Ok(());
                }
                Some(b'(') => {
                    nested = nested.saturating_add(1);
                    self.lexer.bump();
                }
                Some(b')') if nested > 0 => {
                    nested = nested.saturating_sub(1);
                    self.lexer.bump();
                }
                Some(
                    b' ' | b'\t' | b'\n' | b'\r' | b'+' | b'-' | b'*' | b'/' | b'%' | b'^' | b':'
                    | b',' | b'.',
                ) => self.lexer.bump(),
                Some(byte) if byte.is_ascii_digit() => self.lexer.number(),
                Some(byte) if byte.is_ascii_alphabetic() => {
                    let letters = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
                    if !is_any(self.lexer.take_while(letters), DURATIONS) {
                        return before.refuse(Rule::Range);
                    }
                }
                Some(b'#') => return self.lexer.refuse(Rule::Comment),
                Some(_) => return self.lexer.refuse(Rule::Range),
            }
        }
    }
}

/// Whether a quoted name remains a single name when somebody prints it without escaping. A
/// quote in it would end the quotes that are put around it.
fn is_plain(name: &[u8]) -> bool {
    !name
        .iter()
        .any(|byte| matches!(byte, b'\\' | b'"' | b'\'' | b'`'))
}
