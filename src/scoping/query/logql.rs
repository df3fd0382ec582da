//! LogQL: finds the stream selectors of an expression.
//!
//! # Why no selector is missed
//!
//! In Loki's grammar (2.9 to 3.7, `pkg/logql/syntax`) an opening brace occurs in a single
//! production, that of a stream selector, and every selector begins with one. If each `{` that
//! Loki reads as a token gets the matcher, it does not matter what is around it: pipelines,
//! aggregations, binary operations and `variants` need not be understood. What remains is to
//! find the tokens as Loki does (Go's `text/scanner` with the tokens of the Go language, and a
//! few of Loki's own):
//!
//! 1. *Strings* end at their unescaped quote and hold no newline. *Raw strings* end at the next
//!    back quote.
//! 2. *Comments* begin with `#` and end at the newline. One with a carriage return that does
//!    not belong to a Windows line end is refused, because people would see it end there. Go's
//!    own comments, which Loki skips although its manual does not say so, are refused: what one
//!    reader takes for a comment, another takes for a query.
//! 3. *Character literals* (`'{'`) are refused, and so is every byte outside ASCII except in
//!    strings and comments (a letter would be an identifier, and U+FEFF is skipped). Only the
//!    micro sign of durations may follow a digit.
//! 4. *Ranges* (`[5m]`) extend for Loki to the next `]`, whatever is in between, so only
//!    letters, digits and `.` are accepted there.
//! 5. *Everything else* consists of characters none of which is a brace.
//!
//! So no selector is missed. Selectors are nevertheless read as strictly as Loki reads them.
//! Two of them side by side, or a matcher without braces, are refused here with their position:
//! what should be an error in Loki must not depend on what another version makes of it.
//!
//! The time taken is linear in the length of the text.

use super::language::{MAX_DEPTH, Shape};
use super::splice::{Piece, Place};
use super::text::Cursor;
use crate::words::refusal::{Refusal, Rule};

/// Finds the places where a matcher has to be inserted.
pub(super) fn recognise(shape: Shape, text: &str) -> Result<Vec<Place>, Refusal> {
    let mut reader = Reader {
        cursor: Cursor::new(text),
        places: Vec::new(),
        plain: shape == Shape::PlainQuery,
        before: Before::Nothing,
    };
    reader.trivia()?;
    match shape {
        Shape::Query | Shape::PlainQuery => {}
        Shape::SpanQuery => return reader.cursor.refuse(Rule::Syntax),
        Shape::Selector => {
            if reader.cursor.peek() != Some(b'{') {
                return reader.cursor.refuse(Rule::OneSelector);
            }
            reader.selector()?;
            reader.trivia()?;
            return match reader.cursor.peek() {
                None => Ok(reader.places),
                Some(_) => reader.cursor.refuse(Rule::OneSelector),
            };
        }
        // No query begins with an operator of a pipeline.
        Shape::Pipeline if matches!(reader.cursor.peek(), None | Some(b'|' | b'!')) => {
            reader.places.push(Place {
                at: 0,
                piece: Piece::Braced,
            });
        }
        Shape::Pipeline => {}
    }
    reader.expression()?;
    Ok(reader.places)
}

struct Reader<'a> {
    cursor: Cursor<'a>,
    places: Vec<Place>,
    /// Whether strings must hold nothing that would end another string.
    plain: bool,
    /// What precedes the next token of an expression.
    before: Before,
}

/// What precedes a token, as far as it decides what the token may be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Before {
    /// Nothing that could be one side of an operation: the beginning of the text, `(`, `,` or
    /// an operator.
    Nothing,
    /// One side of an operation: `)`, `]`, a selector or a string.
    Operand,
    /// A word, which may be a keyword, a function or a number.
    Word,
}

impl Reader<'_> {
    fn expression(&mut self) -> Result<(), Refusal> {
        // Whether a pipeline has begun, at the top level and in each open parenthesis.
        let mut pipelines = vec![false];
        loop {
            self.trivia()?;
            let in_pipeline = pipelines.last().copied().unwrap_or(true);
            match self.cursor.peek() {
                None if pipelines.len() > 1 => return self.cursor.refuse(Rule::Unbalanced),
                None => return Ok(()),
                Some(b'{') if self.before == Before::Operand => {
                    return self.cursor.refuse(Rule::Syntax);
                }
                Some(b'{') => {
                    self.selector()?;
                    self.before = Before::Operand;
                }
                Some(b'(') => {
                    if pipelines.len() > MAX_DEPTH {
                        return self.cursor.refuse(Rule::Depth);
                    }
                    pipelines.push(in_pipeline);
                    self.cursor.bump();
                    self.before = Before::Nothing;
                }
                Some(b')') if pipelines.len() > 1 => {
                    pipelines.pop();
                    self.cursor.bump();
                    self.before = Before::Operand;
                }
                Some(b')' | b'}' | b']') => return self.cursor.refuse(Rule::Unbalanced),
                Some(b'[') => {
                    self.range()?;
                    self.before = Before::Operand;
                    if let Some(pipeline) = pipelines.last_mut() {
                        *pipeline = false;
                    }
                }
                Some(byte) => {
                    if byte == b'|'
                        && let Some(pipeline) = pipelines.last_mut()
                    {
                        *pipeline = true;
                    }
                    let bare = self.before == Before::Nothing && !in_pipeline;
                    let place = self.cursor.clone();
                    self.token()?;
                    if bare && self.before == Before::Word && self.is_compared_with_a_string()? {
                        return place.refuse(Rule::Matcher);
                    }
                }
            }
        }
    }

    /// Whether an operator of matchers and then a string follow.
    fn is_compared_with_a_string(&self) -> Result<bool, Refusal> {
        let mut ahead = Reader {
            cursor: self.cursor.clone(),
            places: Vec::new(),
            plain: false,
            before: self.before,
        };
        ahead.trivia()?;
        if !ahead.operator() {
            return Ok(false);
        }
        ahead.trivia()?;
        Ok(matches!(ahead.cursor.peek(), Some(b'"' | b'`')))
    }

    /// Takes an operator of a matcher (`=`, `!=`, `=~`, `!~`), if one is next.
    fn operator(&mut self) -> bool {
        let length = match (self.cursor.peek(), self.cursor.peek_second()) {
            (Some(b'='), Some(b'=')) => 0,
            (Some(b'='), Some(b'~')) | (Some(b'!'), Some(b'~' | b'=')) => 2,
            (Some(b'='), _) => 1,
            _ => 0,
        };
        self.cursor.skip(length);
        length > 0
    }

    /// Takes `{…}`.
    fn selector(&mut self) -> Result<(), Refusal> {
        let opened = self.cursor.clone();
        self.cursor.bump();
        let at = self.cursor.at();
        self.trivia()?;
        if self.cursor.eat(b'}') {
            let piece = Piece::Alone;
            self.places.push(Place { at, piece });
            return Ok(());
        }
        let piece = Piece::First;
        self.places.push(Place { at, piece });
        loop {
            self.trivia()?;
            self.matcher(&opened)?;
            self.trivia()?;
            match self.cursor.peek() {
                None => return opened.refuse(Rule::Unbalanced),
                Some(b'}') => {
                    self.cursor.bump();
                    return Ok(());
                }
                // A comma before the closing brace is an error in Loki.
                Some(b',') => self.cursor.bump(),
                Some(_) => return self.no_matcher(),
            }
        }
    }

    /// Takes `name op "value"`.
    fn matcher(&mut self, opened: &Cursor<'_>) -> Result<(), Refusal> {
        let begins = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_';
        match self.cursor.peek() {
            None => return opened.refuse(Rule::Unbalanced),
            Some(byte) if begins(byte) => {}
            Some(_) => return self.no_matcher(),
        }
        self.cursor
            .take_while(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        self.trivia()?;
        if !self.operator() {
            return self.no_matcher();
        }
        self.trivia()?;
        match self.cursor.peek() {
            Some(b'"' | b'`') => self.token(),
            _ => self.no_matcher(),
        }
    }

    /// Refuses what stands in place of a matcher or of a part of one.
    fn no_matcher(&self) -> Result<(), Refusal> {
        match (self.cursor.peek(), self.cursor.peek_second()) {
            (Some(b'/'), Some(b'/' | b'*')) => self.cursor.refuse(Rule::Comment),
            (Some(b'\'' | 0..=0x20 | 0x7f..), _) => self.cursor.refuse(Rule::Character),
            _ => self.cursor.refuse(Rule::Matcher),
        }
    }

    /// Takes a range such as `[5m]`.
    fn range(&mut self) -> Result<(), Refusal> {
        let opened = self.cursor.clone();
        self.cursor.bump();
        self.cursor
            .take_while(|byte| byte.is_ascii_alphanumeric() || byte == b'.');
        if self.cursor.eat(b']') {
            return Ok(());
        }
        match self.cursor.peek() {
            None => opened.refuse(Rule::Unbalanced),
            Some(_) => self.cursor.refuse(Rule::Range),
        }
    }

    /// Takes one token that is not a bracket. Only its end matters.
    fn token(&mut self) -> Result<(), Refusal> {
        self.before = match self.cursor.peek() {
            Some(b'"' | b'`') => Before::Operand,
            Some(byte) if byte.is_ascii_alphanumeric() || byte == b'_' => Before::Word,
            _ => Before::Nothing,
        };
        match self.cursor.peek() {
            Some(quote @ (b'"' | b'`')) => {
                let before = self.cursor.clone();
                let inside = match quote {
                    b'"' => self.cursor.string()?,
                    _ => self.cursor.raw_string()?,
                };
                if self.plain && !is_plain(inside, quote == b'"') {
                    return before.refuse(Rule::Pasted);
                }
                Ok(())
            }
            Some(b'/') if matches!(self.cursor.peek_second(), Some(b'/' | b'*')) => {
                self.cursor.refuse(Rule::Comment)
            }
            Some(byte) if byte.is_ascii_alphanumeric() || byte == b'_' => {
                let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
                let taken = self.cursor.take_while(word);
                if matches!(taken, b"and" | b"bool" | b"or" | b"unless") {
                    self.before = Before::Nothing;
                }
                if taken.last().is_some_and(u8::is_ascii_digit) {
                    self.micro_sign();
                }
                Ok(())
            }
            // These are the other characters that the language uses, and those such as `$` that
            // Loki refuses itself.
            Some(b'\'') => self.cursor.refuse(Rule::Character),
            Some(0x21..=0x7e) => {
                self.cursor.bump();
                Ok(())
            }
            _ => self.cursor.refuse(Rule::Character),
        }
    }

    /// Takes the micro sign (U+00B5) of a duration such as `5µs`.
    fn micro_sign(&mut self) {
        if self.cursor.peek() == Some(0xc2) && self.cursor.peek_second() == Some(0xb5) {
            self.cursor.skip(2);
        }
    }

    /// Skips spaces and comments.
    fn trivia(&mut self) -> Result<(), Refusal> {
        loop {
            self.cursor
                .take_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r'));
            if self.cursor.peek() != Some(b'#') {
                return Ok(());
            }
            self.cursor
                .take_while(|byte| !matches!(byte, b'\n' | b'\r'));
            // A Windows line end is not read in two ways.
            let line_end = self.cursor.peek_second() == Some(b'\n');
            if self.cursor.peek() == Some(b'\r') && !line_end {
                return self.cursor.refuse(Rule::Comment);
            }
        }
    }
}

/// Whether a string means the same when its resolved value is put between quotes unchanged,
/// which is so if it holds no quote and no backslash. `escaped` says that the string has the
/// escapes of the Go language. Numeric escapes are not resolved here, because any of them may
/// spell a quote.
fn is_plain(inside: &[u8], escaped: bool) -> bool {
    let mut bytes = inside.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' if escaped => match bytes.next() {
                Some(b'a' | b'b' | b'f' | b'n' | b'r' | b't' | b'v') => {}
                _ => return false,
            },
            b'"' | b'`' | b'\\' => return false,
            _ => {}
        }
    }
    true
}

#[cfg(test)]
mod tests;
