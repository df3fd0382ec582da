//! What Tempo reads as one token, and which bytes are white space.

use crate::scoping::query::language::{MAX_DEPTH, MAX_TRACEQL};
use crate::scoping::query::text::Cursor;
use crate::words::refusal::{Refusal, Rule};

/// Deepest nesting inside a filter. Each level takes two bytes and no stack, and the
/// insertion adds one: a text that is sent never reaches this when it is read again.
const MAX_FILTER_DEPTH: usize = MAX_TRACEQL / 2;

pub(super) const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

pub(super) const fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// What may stand in an attribute's name without quotes.
const fn is_name(byte: u8) -> bool {
    is_word(byte) || matches!(byte, b'.' | b':' | b'/' | b'@' | b'-')
}

/// What ends an attribute's name in Tempo.
const fn ends_name(byte: u8) -> bool {
    is_space(byte)
        || matches!(
            byte,
            b'{' | b'}'
                | b'('
                | b')'
                | b'='
                | b'~'
                | b'!'
                | b'<'
                | b'>'
                | b'&'
                | b'|'
                | b'^'
                | b','
        )
}

/// Binary operators by the kind of their operands. Which bytes make one does not depend
/// on where it stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Operator {
    /// `+ - * / % ^`, of values.
    Arithmetic,
    /// `= != >= <=`, of values.
    Comparison,
    /// `&&` and `||`, of conditions and of spans.
    Logical,
    /// `=~`, of values.
    Match,
    /// `!~`, of values and of spans.
    NoMatch,
    /// `>` and `<`, of values and of spans.
    Order,
    /// `>> &> !< ~` and their kin, of spans.
    Structural,
}

/// Takes tokens from left to right. Each method takes what it is named for, white space
/// before it too.
pub(super) struct Lexer<'a> {
    cursor: Cursor<'a>,
    /// Brackets that are not closed yet.
    open: usize,
    in_filter: bool,
}

impl<'a> Lexer<'a> {
    pub(super) const fn new(text: &'a str) -> Self {
        Self {
            cursor: Cursor::new(text),
            open: 0,
            in_filter: false,
        }
    }

    /// How many brackets are not closed yet.
    pub(super) const fn open(&self) -> usize {
        self.open
    }

    /// Says whether the next brackets are inside a filter, where they may be nested
    /// deeper.
    pub(super) const fn set_in_filter(&mut self, inside: bool) {
        self.in_filter = inside;
    }

    /// The place that was reached, to refuse or to look further from.
    pub(super) fn here(&self) -> Cursor<'a> {
        self.cursor.clone()
    }

    /// Bytes from the beginning.
    pub(super) const fn at(&self) -> usize {
        self.cursor.at()
    }

    pub(super) fn refuse<T>(&self, rule: Rule) -> Result<T, Refusal> {
        self.cursor.refuse(rule)
    }

    /// The byte here, white space or not.
    pub(super) fn peek(&self) -> Option<u8> {
        self.cursor.peek()
    }

    /// The byte after that.
    pub(super) fn peek_second(&self) -> Option<u8> {
        self.cursor.peek_second()
    }

    pub(super) fn bump(&mut self) {
        self.cursor.bump();
    }

    /// Takes a word that begins here; empty if none does.
    pub(super) fn take_word(&mut self) -> &'a [u8] {
        self.cursor.take_while(is_word)
    }

    /// Takes a string in double quotes that begins here.
    pub(super) fn string(&mut self) -> Result<(), Refusal> {
        self.cursor.string().map(drop)
    }

    /// Takes a string in back quotes that begins here.
    pub(super) fn raw_string(&mut self) -> Result<(), Refusal> {
        self.cursor.raw_string().map(drop)
    }

    /// The name of an attribute, up to what ends it.
    pub(super) fn attribute(&mut self) -> Result<(), Refusal> {
        match self.cursor.peek() {
            Some(b'"' | b'@') => {}
            Some(byte) if is_word(byte) => {}
            _ => return self.unexpected(),
        }
        loop {
            match (self.cursor.peek(), self.cursor.peek_second()) {
                (None, _) => return Ok(()),
                (Some(b'"'), _) => self.quoted_part()?,
                (Some(b'/'), Some(b'/' | b'*')) => return self.cursor.refuse(Rule::Comment),
                (Some(byte), _) if is_name(byte) => self.cursor.bump(),
                (Some(byte), _) if ends_name(byte) => return Ok(()),
                (Some(b'#'), _) => return self.cursor.refuse(Rule::Comment),
                (Some(b'\\'), _) => return self.cursor.refuse(Rule::Backslash),
                (Some(_), _) => return self.cursor.refuse(Rule::Character),
            }
        }
    }

    /// Only the quote and the backslash itself may be escaped.
    fn quoted_part(&mut self) -> Result<(), Refusal> {
        let begin = self.cursor.clone();
        let mut bytes = self.cursor.string()?.iter();
        while let Some(byte) = bytes.next() {
            if *byte == b'\\' && !matches!(bytes.next(), Some(b'"' | b'\\')) {
                return begin.refuse(Rule::Backslash);
            }
        }
        Ok(())
    }

    /// A number, a duration or the name of one.
    pub(super) fn number(&mut self) -> Result<(), Refusal> {
        while self.next()? == Some(b'-') {
            self.cursor.bump();
        }
        if self.is_constant_ahead() {
            self.cursor.take_while(is_word);
            return Ok(());
        }
        let begin = self.cursor.clone();
        if !matches!(begin.peek(), Some(b'.' | b'0'..=b'9')) {
            return self.unexpected();
        }
        let mut exponent = true;
        loop {
            if !self.digits() {
                return begin.refuse(Rule::Syntax);
            }
            let mut ahead = self.cursor.clone();
            if exponent && (ahead.eat(b'e') || ahead.eat(b'E')) {
                let _sign = ahead.eat(b'+') || ahead.eat(b'-');
                if ahead.take_while(|byte| byte.is_ascii_digit()).is_empty() {
                    return begin.refuse(Rule::Syntax);
                }
                self.cursor = ahead;
                break;
            }
            // U+00B5, as in `5µs`.
            let micro = self.cursor.peek() == Some(0xc2) && self.cursor.peek_second() == Some(0xb5);
            if micro {
                self.cursor.skip(2);
            }
            let unit = self.cursor.take_while(|byte| byte.is_ascii_lowercase());
            match unit {
                b"s" if micro => {}
                _ if micro => return begin.refuse(Rule::Syntax),
                b"" if exponent => break,
                b"d" | b"h" | b"m" | b"ms" | b"ns" | b"s" | b"us" | b"w" | b"y" => {}
                _ => return begin.refuse(Rule::Syntax),
            }
            // Durations go on: `1h30m`.
            exponent = false;
            if !self.cursor.peek().is_some_and(|byte| byte.is_ascii_digit()) {
                break;
            }
        }
        match self.cursor.peek() {
            Some(byte) if is_word(byte) || matches!(byte, b'.' | b':') => {
                begin.refuse(Rule::Syntax)
            }
            _ => Ok(()),
        }
    }

    /// `1`, `1.5` or `.5`
    fn digits(&mut self) -> bool {
        let whole = self.cursor.take_while(|byte| byte.is_ascii_digit());
        let mut ahead = self.cursor.clone();
        if !ahead.eat(b'.') {
            return !whole.is_empty();
        }
        if ahead.take_while(|byte| byte.is_ascii_digit()).is_empty() {
            return false;
        }
        self.cursor = ahead;
        true
    }

    pub(super) fn is_constant_ahead(&self) -> bool {
        matches!(self.word_ahead(), b"maxInt" | b"minInt")
    }

    /// A binary operator, if one is here: always the longest, as in Tempo. A single `|`
    /// is none.
    pub(super) fn operator(&mut self) -> Result<Option<Operator>, Refusal> {
        let Some(first) = self.next()? else {
            return Ok(None);
        };
        let second = self.cursor.peek_second().unwrap_or(b' ');
        let (operator, length) = match (first, second) {
            (b'&', b'&') | (b'|', b'|') => (Operator::Logical, 2),
            (b'&' | b'!', b'<' | b'>') => {
                let mut ahead = self.cursor.clone();
                ahead.skip(2);
                let doubled = ahead.peek() == Some(second);
                (Operator::Structural, if doubled { 3 } else { 2 })
            }
            (b'&', b'~') | (b'<', b'<') | (b'>', b'>') => (Operator::Structural, 2),
            (b'!' | b'<' | b'>', b'=') => (Operator::Comparison, 2),
            (b'!', b'~') => (Operator::NoMatch, 2),
            (b'=', b'~') => (Operator::Match, 2),
            (b'=', _) => (Operator::Comparison, 1),
            (b'<' | b'>', _) => (Operator::Order, 1),
            (b'~', _) => (Operator::Structural, 1),
            (b'+' | b'-' | b'*' | b'/' | b'%' | b'^', _) => (Operator::Arithmetic, 1),
            _ => return Ok(None),
        };
        self.cursor.skip(length);
        Ok(Some(operator))
    }

    /// Takes an opening bracket.
    pub(super) fn enter(&mut self) -> Result<(), Refusal> {
        let most = if self.in_filter {
            MAX_FILTER_DEPTH
        } else {
            MAX_DEPTH
        };
        if self.open >= most {
            return self.cursor.refuse(Rule::Depth);
        }
        self.open = self.open.saturating_add(1);
        self.cursor.bump();
        Ok(())
    }

    /// Takes a closing bracket.
    pub(super) fn leave(&mut self, bracket: u8) -> Result<(), Refusal> {
        if self.next()? != Some(bracket) {
            return self.unexpected();
        }
        self.open = self.open.saturating_sub(1);
        self.cursor.bump();
        Ok(())
    }

    /// The next byte that is no white space.
    pub(super) fn next(&mut self) -> Result<Option<u8>, Refusal> {
        self.cursor.take_while(is_space);
        match (self.cursor.peek(), self.cursor.peek_second()) {
            (Some(b'/'), Some(b'/' | b'*')) | (Some(b'#'), _) => self.cursor.refuse(Rule::Comment),
            (byte, _) => Ok(byte),
        }
    }

    pub(super) fn word_ahead(&self) -> &'a [u8] {
        self.cursor.clone().take_while(is_word)
    }

    /// Refuses what is here, by the rule that tells most.
    pub(super) fn unexpected<T>(&self) -> Result<T, Refusal> {
        self.cursor.refuse(match self.cursor.peek() {
            None if self.open > 0 => Rule::Unbalanced,
            Some(b'(' | b')' | b'{' | b'}') => Rule::Unbalanced,
            Some(b'$' | b'\'' | b';' | b'?' | b'@' | b'[' | b'\\' | b']' | b'`') => Rule::Character,
            Some(byte) if !byte.is_ascii() => Rule::Character,
            _ => Rule::Syntax,
        })
    }
}
