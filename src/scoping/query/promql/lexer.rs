//! Where tokens end: words, numbers, operators and comments as Prometheus reads them.

use super::names::is_any;
use crate::scoping::query::text::Cursor;
use crate::words::refusal::{Refusal, Rule};

/// Takes tokens from left to right. [`Lexer::trivia`] takes the white space before each.
pub(super) struct Lexer<'a> {
    cursor: Cursor<'a>,
    /// The first comment that other readers end in a different place.
    doubt: Option<Refusal>,
}

impl<'a> Lexer<'a> {
    pub(super) const fn new(text: &'a str) -> Self {
        Self {
            cursor: Cursor::new(text),
            doubt: None,
        }
    }

    /// Why the text is refused although all of it was understood, if it is: a comment that
    /// other readers end in a different place.
    pub(super) const fn doubt(&self) -> Option<Refusal> {
        self.doubt
    }

    /// The current place, to refuse the text there or to go back to.
    pub(super) fn here(&self) -> Cursor<'a> {
        self.cursor.clone()
    }

    /// Continues from a place that was reached before.
    pub(super) const fn go_back(&mut self, place: Cursor<'a>) {
        self.cursor = place;
    }

    /// The current offset in bytes.
    pub(super) const fn at(&self) -> usize {
        self.cursor.at()
    }

    pub(super) fn refuse<T>(&self, rule: Rule) -> Result<T, Refusal> {
        self.cursor.refuse(rule)
    }

    /// The next byte, or `None` at the end.
    pub(super) fn peek(&self) -> Option<u8> {
        self.cursor.peek()
    }

    /// The byte after the next one.
    pub(super) fn peek_second(&self) -> Option<u8> {
        self.cursor.peek_second()
    }

    pub(super) fn bump(&mut self) {
        self.cursor.bump();
    }

    pub(super) fn skip(&mut self, bytes: usize) {
        self.cursor.skip(bytes);
    }

    /// Takes the next byte if it equals `byte`.
    pub(super) fn eat(&mut self, byte: u8) -> bool {
        self.cursor.eat(byte)
    }

    pub(super) fn take_while(&mut self, fits: fn(u8) -> bool) -> &'a [u8] {
        self.cursor.take_while(fits)
    }

    /// Takes a string whose opening quote is next. Returns what is between its quotes.
    pub(super) fn string(&mut self) -> Result<&'a [u8], Refusal> {
        self.cursor.string()
    }

    /// Takes a string in back quotes. Returns what is between them.
    pub(super) fn raw_string(&mut self) -> Result<&'a [u8], Refusal> {
        self.cursor.raw_string()
    }

    /// Skips spaces and comments.
    #[inline(never)]
    pub(super) fn trivia(&mut self) {
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

    /// Takes a word. Returns an empty slice if none is next.
    #[inline(never)]
    pub(super) fn word(&mut self) -> &'a [u8] {
        match self.cursor.peek() {
            Some(byte) if begins_word(byte) => self
                .cursor
                .take_while(|byte| begins_word(byte) || byte.is_ascii_digit()),
            _ => &[],
        }
    }

    pub(super) fn begins_number(&self, byte: u8) -> bool {
        let fraction = || {
            self.cursor
                .peek_second()
                .is_some_and(|b| b.is_ascii_digit())
        };
        byte.is_ascii_digit() || (byte == b'.' && fraction())
    }

    /// Takes a number or a duration, with everything that touches it.
    #[inline(never)]
    pub(super) fn number(&mut self) {
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
    pub(super) fn signs(&mut self) {
        self.trivia();
        while matches!(self.cursor.peek(), Some(b'+' | b'-')) {
            self.cursor.bump();
            self.trivia();
        }
    }

    /// Takes a binary operator, if one is next.
    pub(super) fn operator(&mut self) -> bool {
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

    #[inline(never)]
    pub(super) fn close(&mut self, byte: u8) -> Result<(), Refusal> {
        self.trivia();
        if self.cursor.eat(byte) {
            return Ok(());
        }
        match self.cursor.peek() {
            None => self.cursor.refuse(Rule::Unbalanced),
            Some(byte) => self.unexpected(byte),
        }
    }

    pub(super) fn unexpected(&self, byte: u8) -> Result<(), Refusal> {
        self.cursor.refuse(match byte {
            b')' | b'}' | b']' => Rule::Unbalanced,
            0x20..=0x7e => Rule::Syntax,
            _ => Rule::Character,
        })
    }
}

/// Whether a byte can begin a word. Digits can only continue one.
pub(super) fn begins_word(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || matches!(byte, b'_' | b':')
}
