//! Which bytes Tempo reads as one token, and which are white space.

use crate::scoping::query::language::{MAX_DEPTH, MAX_TRACEQL};
use crate::scoping::query::text::Cursor;
use crate::words::refusal::{Refusal, Rule};

/// The deepest nesting inside a filter. Each level takes two bytes of text and no stack, and
/// the insertion adds one level, so a text that is sent never reaches this when it is read
/// again.
const MAX_FILTER_DEPTH: usize = MAX_TRACEQL / 2;

pub(super) const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

pub(super) const fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Whether a byte may occur in an attribute's name without quotes.
const fn is_name(byte: u8) -> bool {
    is_word(byte) || matches!(byte, b'.' | b':' | b'/' | b'@' | b'-')
}

/// Whether a byte ends an attribute's name in Tempo.
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

/// Binary operators by the kind of their operands. Which bytes form an operator does not depend
/// on where it stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Operator {
    /// `+ - * / % ^`, between values.
    Arithmetic,
    /// `= != >= <=`, between values.
    Comparison,
    /// `&&` and `||`, between conditions and between spans.
    Logical,
    /// `=~`, between values.
    Match,
    /// `!~`, between values and between spans.
    NoMatch,
    /// `>` and `<`, between values and between spans.
    Order,
    /// Structural operators such as `>> &> !< ~`, between spans.
    Structural,
}

/// Takes tokens from left to right. Each method takes what its name says, including the white
/// space before it.
pub(super) struct Lexer<'a> {
    cursor: Cursor<'a>,
    /// The number of brackets that are not closed yet.
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

    /// The number of brackets that are not closed yet.
    pub(super) const fn open(&self) -> usize {
        self.open
    }

    /// Says whether the next brackets are inside a filter, where they may be nested deeper.
    pub(super) const fn set_in_filter(&mut self, inside: bool) {
        self.in_filter = inside;
    }

    /// The current place, to refuse the text there or to look further from.
    pub(super) fn here(&self) -> Cursor<'a> {
        self.cursor.clone()
    }

    /// The current offset in bytes.
    pub(super) const fn at(&self) -> usize {
        self.cursor.at()
    }

    pub(super) fn refuse<T>(&self, rule: Rule) -> Result<T, Refusal> {
        self.cursor.refuse(rule)
    }

    /// The next byte, white space or not.
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

    /// Takes a word. Returns an empty slice if none begins here.
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

    /// Takes the name of an attribute, up to the character that ends it.
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

    /// Takes a quoted part of a name, in which only the quote and the backslash may be escaped.
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

    /// Takes a number, a duration, or the name of one.
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
            // A duration may have further parts, as in `1h30m`.
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

    /// Takes a decimal number such as `1`, `1.5` or `.5`.
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

    /// Takes a binary operator, if one is here: always the longest, as Tempo does. A single `|`
    /// is not an operator.
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

    /// The next byte that is not white space.
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

    /// Refuses what is here, by the most specific rule.
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
