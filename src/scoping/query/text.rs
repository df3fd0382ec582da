//! A text with a position that only moves forward.

use crate::words::refusal::{Refusal, Rule};

/// Working on bytes is enough: everything that the languages consist of is ASCII, and no byte
/// of a longer UTF-8 sequence looks like ASCII.
#[derive(Clone, Debug)]
pub(super) struct Cursor<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) const fn new(text: &'a str) -> Self {
        Self {
            text: text.as_bytes(),
            at: 0,
        }
    }

    /// The current offset in bytes.
    pub(super) const fn at(&self) -> usize {
        self.at
    }

    pub(super) fn refuse<T>(&self, rule: Rule) -> Result<T, Refusal> {
        Err(Refusal { at: self.at, rule })
    }

    /// The next byte, or `None` at the end.
    pub(super) fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    /// The byte after the next one.
    pub(super) fn peek_second(&self) -> Option<u8> {
        self.text.get(self.at.saturating_add(1)).copied()
    }

    pub(super) fn bump(&mut self) {
        self.skip(1);
    }

    pub(super) fn skip(&mut self, bytes: usize) {
        self.at = self.at.saturating_add(bytes).min(self.text.len());
    }

    /// Takes the next byte if it equals `byte`.
    pub(super) fn eat(&mut self, byte: u8) -> bool {
        let here = self.peek() == Some(byte);
        if here {
            self.bump();
        }
        here
    }

    /// Takes all bytes that fit.
    ///
    /// Like the functions below, this one is neither generic nor inlined: copies of it in each
    /// place would make up most of the recognisers' code.
    #[inline(never)]
    pub(super) fn take_while(&mut self, fits: fn(u8) -> bool) -> &'a [u8] {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let length = rest.iter().position(|byte| !fits(*byte));
        let taken = rest.get(..length.unwrap_or(rest.len())).unwrap_or_default();
        self.skip(taken.len());
        taken
    }

    /// The text between `begin` and the current position.
    pub(super) fn since(&self, begin: usize) -> &'a [u8] {
        self.text.get(begin..self.at).unwrap_or_default()
    }

    /// Takes a string with backslash escapes whose opening quote is next. Returns what is
    /// between its quotes. Only a backslash and the byte after it decide where the string ends;
    /// longer escapes hold no quotes.
    #[inline(never)]
    pub(super) fn string(&mut self) -> Result<&'a [u8], Refusal> {
        let opened = self.clone();
        let Some(quote) = self.peek() else {
            return self.refuse(Rule::String);
        };
        self.bump();
        let begin = self.at;
        loop {
            match self.peek() {
                None | Some(b'\n') => return opened.refuse(Rule::String),
                Some(b'\\') if self.peek_second() == Some(b'\n') => {
                    return opened.refuse(Rule::String);
                }
                Some(b'\\') => self.skip(2),
                Some(byte) if byte == quote => {
                    let inside = self.since(begin);
                    self.bump();
                    return Ok(inside);
                }
                Some(_) => self.bump(),
            }
        }
    }

    /// Takes a string in back quotes, which has no escapes and may span several lines.
    #[inline(never)]
    pub(super) fn raw_string(&mut self) -> Result<&'a [u8], Refusal> {
        let opened = self.clone();
        self.bump();
        let inside = self.take_while(|byte| byte != b'`');
        if self.eat(b'`') {
            Ok(inside)
        } else {
            opened.refuse(Rule::String)
        }
    }
}
