//! LogQL: where the stream selectors of an expression are.
//!
//! # Why no selector is missed
//!
//! In Loki's grammar (2.9 to 3.7, `pkg/logql/syntax`) an opening brace occurs in one
//! production only, that of a stream selector, and every selector begins with one. So
//! each `{` that Loki reads as a token gets the matcher, whatever is around it:
//! pipelines, aggregations, binary operations and `variants` need no understanding.
//! What is left is to find the tokens as Loki does (Go's `text/scanner` with the Go
//! language's tokens, and a few of Loki's own):
//!
//! 1. *Strings* end at their unescaped quote and hold no newline; *raw strings* end at
//!    the next back quote.
//! 2. *Comments* begin with `#` and end at the newline. One with a carriage return in
//!    it is refused, for people would see it end there. Go's own comments, which Loki
//!    skips although its manual does not say so, are refused: what one reader takes for
//!    a comment, another takes for a query.
//! 3. *Character literals* (`'{'`) are refused, and so is every byte outside ASCII but
//!    in strings and comments (a letter would be an identifier, U+FEFF is skipped); only
//!    the micro sign of durations may stand behind a digit.
//! 4. *Ranges* (`[5m]`) are read by Loki up to the next `]` whatever is in between, so
//!    only letters, digits and `.` may be.
//! 5. *Everything else* is one or more characters none of which is a brace.
//!
//! Time is linear in the text.

use super::language::{MAX_DEPTH, Shape};
use super::splice::{Piece, Place};
use super::text::Cursor;
use crate::words::refusal::{Refusal, Rule};

/// The places where a matcher belongs.
pub(super) fn recognise(shape: Shape, text: &str) -> Result<Vec<Place>, Refusal> {
    let mut reader = Reader {
        cursor: Cursor::new(text),
        places: Vec::new(),
    };
    reader.trivia()?;
    match shape {
        Shape::Query => {}
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
}

impl Reader<'_> {
    fn expression(&mut self) -> Result<(), Refusal> {
        let mut depth: usize = 0;
        loop {
            self.trivia()?;
            match self.cursor.peek() {
                None if depth > 0 => return self.cursor.refuse(Rule::Unbalanced),
                None => return Ok(()),
                Some(b'{') => self.selector()?,
                Some(b'(') => {
                    depth = depth.saturating_add(1);
                    if depth > MAX_DEPTH {
                        return self.cursor.refuse(Rule::Depth);
                    }
                    self.cursor.bump();
                }
                Some(b')') if depth > 0 => {
                    depth = depth.saturating_sub(1);
                    self.cursor.bump();
                }
                Some(b')' | b'}' | b']') => return self.cursor.refuse(Rule::Unbalanced),
                Some(b'[') => self.range()?,
                Some(_) => self.token()?,
            }
        }
    }

    /// `{…}`
    fn selector(&mut self) -> Result<(), Refusal> {
        let opened = self.cursor.clone();
        self.cursor.bump();
        let at = self.cursor.at();
        self.trivia()?;
        // A comma before the closing brace would be an error.
        let piece = match self.cursor.peek() {
            Some(b'}') => Piece::Alone,
            _ => Piece::First,
        };
        self.places.push(Place { at, piece });
        loop {
            self.trivia()?;
            match self.cursor.peek() {
                None => return opened.refuse(Rule::Unbalanced),
                Some(b'}') => {
                    self.cursor.bump();
                    return Ok(());
                }
                Some(b'{' | b'(' | b')' | b'[' | b']' | b'|') => {
                    return self.cursor.refuse(Rule::Matcher);
                }
                Some(_) => self.token()?,
            }
        }
    }

    /// `[5m]`
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

    /// One token that is no bracket; only its end matters.
    fn token(&mut self) -> Result<(), Refusal> {
        match self.cursor.peek() {
            Some(b'"') => self.cursor.string().map(|_| ()),
            Some(b'`') => self.cursor.raw_string().map(|_| ()),
            Some(b'/') if matches!(self.cursor.peek_second(), Some(b'/' | b'*')) => {
                self.cursor.refuse(Rule::Comment)
            }
            Some(byte) if byte.is_ascii_alphanumeric() || byte == b'_' => {
                let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
                let taken = self.cursor.take_while(word);
                if taken.last().is_some_and(u8::is_ascii_digit) {
                    self.micro_sign();
                }
                Ok(())
            }
            // What the language uses besides, and `$` and the like, which it refuses
            // itself.
            Some(b'\'') => self.cursor.refuse(Rule::Character),
            Some(0x21..=0x7e) => {
                self.cursor.bump();
                Ok(())
            }
            _ => self.cursor.refuse(Rule::Character),
        }
    }

    /// U+00B5, as in `5µs`.
    fn micro_sign(&mut self) {
        if self.cursor.peek() == Some(0xc2) && self.cursor.peek_second() == Some(0xb5) {
            self.cursor.skip(2);
        }
    }

    /// Spaces and comments.
    fn trivia(&mut self) -> Result<(), Refusal> {
        loop {
            self.cursor
                .take_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r'));
            if self.cursor.peek() != Some(b'#') {
                return Ok(());
            }
            self.cursor
                .take_while(|byte| !matches!(byte, b'\n' | b'\r'));
            // The end of a line as Windows has it is no second reading.
            let line_end = self.cursor.peek_second() == Some(b'\n');
            if self.cursor.peek() == Some(b'\r') && !line_end {
                return self.cursor.refuse(Rule::Comment);
            }
        }
    }
}

#[cfg(test)]
mod tests;
