//! Filters in TraceQL.
//!
//! *For every text that Tempo (2.7 to 3.0.3, and its main branch of summer 2026)
//! accepts, the filters found here are all that Tempo finds, every pipeline begins with
//! one of them, and inside each the inserted `M && (…)` binds all that was there:*
//!
//! 1. **Tokens.** Tempo reads `{` as the beginning of a filter and as nothing else, so
//!    no filter is missed as long as both sides agree where strings, attribute names and
//!    comments end. There are no comments here: `//`, `/*` and `#` are refused wherever
//!    they would not be inside a string. Strings end by the same rule as Go's. Behind
//!    `.`, or a scope and `.`, Tempo switches to a mode in which nearly every character
//!    belongs to a name, quotes and `#` too; here such a name is made of quoted parts and
//!    of characters that open nothing in either mode, and what follows it must be one of
//!    those that end it in Tempo. A word before `.` or `:` must be a scope, and a
//!    number has only forms that Tempo reads as one token, so that the mode is entered
//!    in the same places. What is not ASCII is refused outside strings. All this holds
//!    for texts up to [`super::MAX_TRACEQL`] bytes; longer ones are not sent.
//! 2. **Pipelines.** Tempo lets a pipeline begin with `select(…)`, `by(…)` or a
//!    comparison of aggregates, and then reads all spans. One begins at the start of the
//!    text or behind a parenthesis; in both places `{` or another parenthesis is demanded
//!    here. Exempt are the parentheses of calls and those around scalars behind a `|`:
//!    they hold no pipeline in Tempo, and no `|` here. What begins with `{` behind its
//!    parentheses is, for Tempo too, an expression over filters, or over pipelines to
//!    which the same applies.
//! 3. **Binding.** In Tempo `&&` and `||` have the same precedence, so the user's
//!    expression is put between parentheses. Its own are balanced and never closed
//!    before they are opened, so the inserted ones belong together.
//!
//! In `compare({…})` the inner filter divides what the outer one let through. All of
//! that has the matcher already: with it the inner filter means what it meant.

use super::language::{MAX_DEPTH, MAX_TRACEQL, Shape};
use super::splice::{Piece, Place};
use super::text::Cursor;
use crate::words::refusal::{Refusal, Rule};

/// Deepest nesting inside a filter. Each level takes two bytes and no stack, and the
/// insertion adds one: a text that is sent never reaches this when it is read again.
const MAX_FILTER_DEPTH: usize = MAX_TRACEQL / 2;

/// Hints that change how much is read and in which order, never what.
const HINTS: [&[u8]; 5] = [
    b"exemplars",
    b"most_recent",
    b"sample",
    b"span_sample",
    b"trace_sample",
];

/// Finds every filter.
pub(super) fn recognise(shape: Shape, text: &str) -> Result<Vec<Place>, Refusal> {
    let control = |byte: u8| byte.is_ascii_control() && !is_space(byte);
    if let Some(at) = text.bytes().position(control) {
        return Err(Refusal {
            at,
            rule: Rule::Character,
        });
    }
    let mut reader = Reader {
        cursor: Cursor::new(text),
        open: 0,
        in_filter: false,
        places: Vec::new(),
    };
    match shape {
        Shape::Pipeline => reader.cursor.refuse(Rule::Syntax)?,
        Shape::Query => reader.query()?,
        Shape::Selector => reader.selector()?,
    }
    Ok(reader.places)
}

const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

const fn is_word(byte: u8) -> bool {
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
enum Operator {
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

/// What a stage of a pipeline is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Function {
    /// A value to compare with others.
    Aggregate,
    /// Anything that takes attributes and numbers.
    Plain,
    /// Takes a filter first.
    Compare,
}

impl Function {
    fn named(name: &[u8]) -> Option<Self> {
        Some(match name {
            b"avg" | b"count" | b"max" | b"min" | b"sum" => Self::Aggregate,
            b"compare" => Self::Compare,
            b"avg_over_time"
            | b"bottomk"
            | b"by"
            | b"coalesce"
            | b"count_over_time"
            | b"histogram_over_time"
            | b"max_over_time"
            | b"min_over_time"
            | b"quantile_over_time"
            | b"rate"
            | b"select"
            | b"sum_over_time"
            | b"topk" => Self::Plain,
            _ => return None,
        })
    }
}

/// Takes a text apart from left to right. Each method takes what it is named for,
/// white space before it too.
struct Reader<'a> {
    cursor: Cursor<'a>,
    /// Brackets that are not closed yet.
    open: usize,
    in_filter: bool,
    places: Vec<Place>,
}

impl<'a> Reader<'a> {
    fn query(&mut self) -> Result<(), Refusal> {
        self.pipeline()?;
        while self.next()?.is_some() {
            self.hints()?;
        }
        Ok(())
    }

    fn selector(&mut self) -> Result<(), Refusal> {
        if self.next()? != Some(b'{') {
            return self.cursor.refuse(Rule::OneSelector);
        }
        self.filter()?;
        match self.next()? {
            None => Ok(()),
            Some(_) => self.cursor.refuse(Rule::OneSelector),
        }
    }

    /// `spansets | stage | …`; the only place where Tempo begins to read spans.
    fn pipeline(&mut self) -> Result<(), Refusal> {
        self.spansets()?;
        while self.next()? == Some(b'|') {
            self.cursor.bump();
            self.stage()?;
        }
        Ok(())
    }

    /// Filters and pipelines between parentheses, with operators between them. Numbers
    /// may follow the first one: `({…} | rate()) > 5`.
    fn spansets(&mut self) -> Result<(), Refusal> {
        self.spanset()?;
        while let Some(operator) = self.operator()? {
            let number = match operator {
                Operator::Match => return self.cursor.refuse(Rule::Syntax),
                Operator::Arithmetic | Operator::Comparison | Operator::Order => true,
                Operator::Logical | Operator::NoMatch | Operator::Structural => false,
            };
            match self.next()? {
                Some(b'-' | b'.' | b'0'..=b'9') if number => self.number()?,
                _ => self.spanset()?,
            }
        }
        Ok(())
    }

    fn spanset(&mut self) -> Result<(), Refusal> {
        match self.next()? {
            Some(b'{') => self.filter(),
            Some(b'(') => {
                self.enter()?;
                self.pipeline()?;
                self.leave(b')')
            }
            None if self.open == 0 => self.cursor.refuse(Rule::NoFilter),
            Some(b'"' | b'-' | b'.' | b'`') => self.cursor.refuse(Rule::NoFilter),
            Some(byte) if is_word(byte) => self.cursor.refuse(Rule::NoFilter),
            _ => self.unexpected(),
        }
    }

    fn filter(&mut self) -> Result<(), Refusal> {
        self.in_filter = true;
        self.enter()?;
        let begin = self.cursor.at();
        if self.next()? == Some(b'}') {
            self.place(begin, Piece::FilterAlone);
        } else {
            self.place(begin, Piece::FilterOpen);
            self.field()?;
            self.next()?;
            self.place(self.cursor.at(), Piece::FilterClose);
        }
        self.leave(b'}')?;
        self.in_filter = false;
        Ok(())
    }

    /// What stands between `|` and the next.
    fn stage(&mut self) -> Result<(), Refusal> {
        self.next()?;
        let mut ahead = self.cursor.clone();
        ahead.take_while(|byte| is_space(byte) || byte == b'(');
        if ahead.peek() == Some(b'{') {
            return self.spansets();
        }
        let word = self.word_ahead();
        match Function::named(word) {
            Some(Function::Plain | Function::Compare) => {
                self.function()?;
                self.next()?;
                if self.word_ahead() == b"by" {
                    self.function()?;
                }
                self.thresholds()
            }
            Some(Function::Aggregate) | None => self.scalars(),
        }
    }

    /// `avg(duration) + 1 > 2s`
    fn scalars(&mut self) -> Result<(), Refusal> {
        let before = self.open;
        loop {
            match self.next()? {
                Some(b'(') => {
                    self.enter()?;
                    continue;
                }
                Some(b'-') => {
                    self.cursor.bump();
                    continue;
                }
                Some(byte) if byte.is_ascii_alphabetic() && !self.is_constant_ahead() => {
                    if Function::named(self.word_ahead()) != Some(Function::Aggregate) {
                        return self.cursor.refuse(Rule::Function);
                    }
                    self.function()?;
                }
                _ => self.number()?,
            }
            while self.open > before && self.next()? == Some(b')') {
                self.leave(b')')?;
            }
            if !self.scalar_operator()? {
                break;
            }
        }
        if self.open > before {
            return self.unexpected();
        }
        Ok(())
    }

    /// `> 5` behind what a function made.
    fn thresholds(&mut self) -> Result<(), Refusal> {
        while self.scalar_operator()? {
            self.number()?;
        }
        Ok(())
    }

    fn scalar_operator(&mut self) -> Result<bool, Refusal> {
        match self.operator()? {
            None => Ok(false),
            Some(Operator::Arithmetic | Operator::Comparison | Operator::Order) => Ok(true),
            Some(_) => self.cursor.refuse(Rule::Syntax),
        }
    }

    /// A word and its arguments.
    fn function(&mut self) -> Result<(), Refusal> {
        let name = self.cursor.take_while(is_word);
        if self.next()? != Some(b'(') {
            return self.unexpected();
        }
        self.enter()?;
        if Function::named(name) == Some(Function::Compare) {
            if self.next()? != Some(b'{') {
                return self.unexpected();
            }
            self.filter()?;
        } else if self.next()? != Some(b')') {
            self.field()?;
        }
        while self.next()? == Some(b',') {
            self.cursor.bump();
            self.field()?;
        }
        self.leave(b')')
    }

    /// An expression over one span.
    fn field(&mut self) -> Result<(), Refusal> {
        let before = self.open;
        loop {
            match self.next()? {
                Some(b'(') => {
                    self.enter()?;
                    continue;
                }
                Some(b'-' | b'!') => {
                    self.cursor.bump();
                    continue;
                }
                _ => self.operand()?,
            }
            while self.open > before && self.next()? == Some(b')') {
                self.leave(b')')?;
            }
            match self.operator()? {
                None => break,
                Some(Operator::Structural) => return self.cursor.refuse(Rule::Syntax),
                Some(_) => {}
            }
        }
        if self.open > before {
            return self.unexpected();
        }
        Ok(())
    }

    fn operand(&mut self) -> Result<(), Refusal> {
        match self.next()? {
            Some(b'"') => self.cursor.string().map(drop),
            Some(b'`') => self.cursor.raw_string().map(drop),
            Some(b'0'..=b'9') => self.number(),
            Some(b'.') => {
                if self
                    .cursor
                    .peek_second()
                    .is_some_and(|b| b.is_ascii_digit())
                {
                    return self.number();
                }
                self.cursor.bump();
                self.attribute()
            }
            Some(byte) if is_word(byte) => self.word(),
            _ => self.unexpected(),
        }
    }

    /// An intrinsic, a constant, an attribute with its scope or `cidr(…)`.
    fn word(&mut self) -> Result<(), Refusal> {
        let begin = self.cursor.clone();
        let word = self.cursor.take_while(is_word);
        let scoped = matches!(
            word,
            b"event" | b"instrumentation" | b"link" | b"resource" | b"span"
        );
        match self.cursor.peek() {
            Some(b'.') if scoped || word == b"parent" => {
                self.cursor.bump();
                self.attribute()
            }
            Some(b':') if scoped || word == b"trace" => {
                self.cursor.bump();
                if self.cursor.take_while(is_word).is_empty() {
                    return self.unexpected();
                }
                match self.cursor.peek() {
                    Some(b'.' | b':') => self.cursor.refuse(Rule::Syntax),
                    _ => Ok(()),
                }
            }
            Some(b'.' | b':') => begin.refuse(Rule::Syntax),
            _ => match self.next()? {
                Some(b'(') if word == b"cidr" => self.cidr(),
                Some(b'(') => begin.refuse(Rule::Function),
                _ => Ok(()),
            },
        }
    }

    /// `(span.address, "10.0.0.0/8", …)`
    fn cidr(&mut self) -> Result<(), Refusal> {
        self.enter()?;
        if matches!(self.next()?, Some(b'.' | b'a'..=b'z')) && self.word_ahead() != b"cidr" {
            self.operand()?;
        }
        while self.next()? == Some(b',') {
            self.cursor.bump();
            match self.next()? {
                Some(b'"' | b'`') => self.operand()?,
                _ => return self.unexpected(),
            }
        }
        self.leave(b')')
    }

    /// The name of an attribute, up to what ends it.
    fn attribute(&mut self) -> Result<(), Refusal> {
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
    fn number(&mut self) -> Result<(), Refusal> {
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

    fn is_constant_ahead(&self) -> bool {
        matches!(self.word_ahead(), b"maxInt" | b"minInt")
    }

    /// `with(most_recent=true)`
    fn hints(&mut self) -> Result<(), Refusal> {
        if self.word_ahead() != b"with" {
            return self.unexpected();
        }
        self.cursor.take_while(is_word);
        if self.next()? != Some(b'(') {
            return self.unexpected();
        }
        self.enter()?;
        loop {
            self.next()?;
            if !HINTS.contains(&self.word_ahead()) {
                return self.cursor.refuse(Rule::Hint);
            }
            self.cursor.take_while(is_word);
            if self.next()? != Some(b'=') {
                return self.cursor.refuse(Rule::Hint);
            }
            self.cursor.bump();
            match (self.next()?, self.word_ahead()) {
                (_, b"false" | b"true") => {
                    self.cursor.take_while(is_word);
                }
                (Some(b'.' | b'0'..=b'9'), _) => self.number()?,
                _ => return self.cursor.refuse(Rule::Hint),
            }
            if self.next()? != Some(b',') {
                return self.leave(b')');
            }
            self.cursor.bump();
        }
    }

    /// A binary operator, if one is here: always the longest, as in Tempo. A single `|`
    /// is none.
    fn operator(&mut self) -> Result<Option<Operator>, Refusal> {
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
    fn enter(&mut self) -> Result<(), Refusal> {
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
    fn leave(&mut self, bracket: u8) -> Result<(), Refusal> {
        if self.next()? != Some(bracket) {
            return self.unexpected();
        }
        self.open = self.open.saturating_sub(1);
        self.cursor.bump();
        Ok(())
    }

    /// The next byte that is no white space.
    fn next(&mut self) -> Result<Option<u8>, Refusal> {
        self.cursor.take_while(is_space);
        match (self.cursor.peek(), self.cursor.peek_second()) {
            (Some(b'/'), Some(b'/' | b'*')) | (Some(b'#'), _) => self.cursor.refuse(Rule::Comment),
            (byte, _) => Ok(byte),
        }
    }

    fn word_ahead(&self) -> &'a [u8] {
        self.cursor.clone().take_while(is_word)
    }

    fn place(&mut self, at: usize, piece: Piece) {
        self.places.push(Place { at, piece });
    }

    /// Refuses what is here, by the rule that tells most.
    fn unexpected<T>(&self) -> Result<T, Refusal> {
        self.cursor.refuse(match self.cursor.peek() {
            None if self.open > 0 => Rule::Unbalanced,
            Some(b'(' | b')' | b'{' | b'}') => Rule::Unbalanced,
            Some(b'$' | b'\'' | b';' | b'?' | b'@' | b'[' | b'\\' | b']' | b'`') => Rule::Character,
            Some(byte) if !byte.is_ascii() => Rule::Character,
            _ => Rule::Syntax,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scoping::query::{Failure, Language, Matcher, Scoped, scope};
    use crate::scoping::scope::{Attributes, LabelName, LabelValue, Scope};

    fn matcher() -> Matcher {
        let label = LabelName::parse("rid").unwrap();
        let scope = Scope::single(label, LabelValue::parse("r").unwrap());
        Matcher::new(Language::TraceQl, &scope, &Attributes::default())
    }

    fn attempt(shape: Shape, text: &str) -> Result<Scoped, Refusal> {
        match scope(Language::TraceQl, shape, text, &matcher()) {
            Ok(scoped) => Ok(scoped),
            Err(Failure::Refused(refusal)) => Err(refusal),
            Err(Failure::Unsound) => panic!("read differently a second time: {text}"),
        }
    }

    /// `~M~` stands for the matcher, `~(~` and `~)~` for what binds the rest to it.
    #[track_caller]
    fn accepts(marked: &str) {
        let text = marked
            .replace("~M~", "")
            .replace("~(~", "")
            .replace("~)~", "");
        let expected = marked
            .replace("~M~", r#" resource.rid = "r" "#)
            .replace("~(~", r#" resource.rid = "r" && ("#)
            .replace("~)~", ")");
        match attempt(Shape::Query, &text) {
            Ok(scoped) => assert_eq!(scoped.text, expected),
            Err(refusal) => panic!("{text}: {refusal}"),
        }
    }

    #[track_caller]
    fn refuses(text: &str, rule: Rule, at: usize) {
        let refusal = attempt(Shape::Query, text).map(|scoped| scoped.text);
        assert_eq!(refusal, Err(Refusal { at, rule }), "{text}");
    }

    #[test]
    fn a_pipeline_without_a_filter_reads_all_spans() {
        for (text, at) in [
            ("", 0),
            (" ", 1),
            ("select(.a)", 0),
            ("by(.a)", 0),
            ("count() > 1", 0),
            ("(count()) > 1", 1),
            ("((( avg(duration) ))) > 1s", 4),
            ("rate()", 0),
            ("3 = 3", 0),
            ("-1 < count()", 0),
            ("(3) = 3", 1),
            (".5 = .5", 0),
            ("\"a\" = \"a\"", 0),
            ("`a` = `a`", 0),
            ("(select(.a)) && ({ })", 1),
            ("({ }) && (select(.a))", 10),
            ("({ }) && select(.a)", 9),
            ("({ }) || (3 = 3)", 10),
            ("({ }) && 3 = 3", 9),
            ("({ } | rate()) / rate()", 17),
            ("({ } | count()) > (count())", 19),
            ("{ } && count() > 1", 7),
            ("{ } | { } && (count() > 1)", 14),
            ("({ } | rate()) / (rate())", 18),
            ("max(duration) > 3s | { }", 0),
        ] {
            refuses(text, Rule::NoFilter, at);
        }
    }

    #[test]
    fn and_and_or_have_the_same_precedence() {
        accepts("{~(~ .c = 3 || .d = 4 ~)~}");
        accepts("{~(~ .a ~)~} || {~(~ .b ~)~}");
        accepts("{~(~(.a || .b) && !(.c || -.d < 1)~)~}");
    }

    #[test]
    fn what_is_inserted_cannot_be_closed() {
        refuses("{ .a) || (.b }", Rule::Unbalanced, 4);
        refuses("{ ) || ( }", Rule::Unbalanced, 2);
        refuses("{ (.a }", Rule::Unbalanced, 6);
        refuses("{ .a }}", Rule::Unbalanced, 6);
        refuses("{ .a", Rule::Unbalanced, 4);
        refuses("{", Rule::Unbalanced, 1);
        refuses("({ }", Rule::Unbalanced, 4);
        refuses("{ })", Rule::Unbalanced, 3);
        refuses("{ ) }", Rule::Unbalanced, 2);
        refuses("{ { } }", Rule::Unbalanced, 2);
        refuses("{ .a && { .b } }", Rule::Unbalanced, 8);
        refuses("{ .a } { .b }", Rule::Unbalanced, 7);
        refuses("{ .a , .b }", Rule::Syntax, 5);
        refuses("{ .a | .b }", Rule::Syntax, 5);
        refuses("{ .a >> .b }", Rule::Syntax, 7);
    }

    #[test]
    fn names_of_attributes_swallow_quotes_and_comments_in_tempo() {
        refuses("{ .a` = 1 } || { .b` = 1 }", Rule::Character, 4);
        refuses("{ .a' = 1 } || { .b' = 1 }", Rule::Character, 4);
        refuses("{ .a//b = 1 }", Rule::Comment, 4);
        refuses("{ .a/*b = 1 } || { .b*/ = 1 }", Rule::Comment, 4);
        refuses("{ .a# = 1 }", Rule::Comment, 4);
        refuses("{ .a[0] = 1 }", Rule::Character, 4);
        refuses("{ .a+1 = 1 }", Rule::Character, 4);
        refuses("{ .a*2 = 1 }", Rule::Character, 4);
        refuses("{ .a\\ = 1 }", Rule::Backslash, 4);
        refuses("{ .ä = 1 }", Rule::Character, 3);
        refuses("{ .a\u{a0}= 1 }", Rule::Character, 4);
        refuses("{ . a = 1 }", Rule::Syntax, 3);
        refuses("{ span. a = 1 }", Rule::Syntax, 7);
        refuses("{ .`a` = 1 }", Rule::Character, 3);
        refuses("{ foo.`a` = 1 }", Rule::Syntax, 2);
        refuses("{ foo:bar = 1 }", Rule::Syntax, 2);
        refuses("{ span:name.`a = 1 }", Rule::Syntax, 11);
        refuses("{ span:\"a\" = 1 }", Rule::Syntax, 7);
        refuses("{ 1.a` = 1 }", Rule::Syntax, 2);
        refuses("{ 1 .a` = 1 }", Rule::Syntax, 4);
    }

    #[test]
    fn names_of_attributes_may_have_quoted_parts() {
        accepts(r#"{~(~ ."a}{" = 1 ~)~}"#);
        accepts(r#"{~(~ span."a b".c = "}" ~)~}"#);
        accepts(r#"{~(~ span.a."\"\\" = 1 ~)~} && {~M~}"#);
    }

    #[test]
    fn comments_are_refused() {
        refuses("{ } // x", Rule::Comment, 4);
        refuses("{ } /* x */", Rule::Comment, 4);
        refuses("{ } # x", Rule::Comment, 4);
        refuses("// x\n{ }", Rule::Comment, 0);
        refuses("{ // }\n .a }", Rule::Comment, 2);
        refuses("{ 1 //\n 2 }", Rule::Comment, 4);
        refuses("{ 1 / /* */ 2 }", Rule::Comment, 6);
        refuses("{ } | rate(/* ) */)", Rule::Comment, 11);
        refuses("({ } | rate()) //* ({ } | rate())", Rule::Comment, 15);
    }

    #[test]
    fn characters_without_a_meaning_are_refused() {
        for (text, at) in [
            ("\u{feff}{ }", 0),
            ("{ \0 }", 2),
            ("{ .a = \"\u{1}\" }", 8),
            ("{ .a\u{b}= 1 }", 4),
            ("{ .a = '}' }", 7),
            ("{ .a = ü }", 7),
            ("{ } | ü()", 6),
            ("{ } ; { }", 4),
        ] {
            refuses(text, Rule::Character, at);
        }
    }

    #[test]
    fn durations_may_be_in_microseconds() {
        accepts("{~(~ duration > 1µs && duration < 1.5ms ~)~}");
        refuses("{ duration > 1µ }", Rule::Syntax, 13);
        refuses("{ duration > 1µm }", Rule::Syntax, 13);
    }

    #[test]
    fn strings_end_as_in_go() {
        accepts(r#"{~(~ name = "}\"{" ~)~}"#);
        accepts(r#"{~(~ name = "\\" ~)~} || {~(~ name =~ `"\}{` ~)~}"#);
        accepts("{~(~ name = `a\n}` ~)~}");
        accepts(r#"{~(~name="ä // /* # '"~)~}"#);
        refuses(r#"{ name = "a }"#, Rule::String, 9);
        refuses("{ name = `a }", Rule::String, 9);
        refuses("{ name = \"a\n\" }", Rule::String, 9);
        refuses("{ name = \"a\\\n\" }", Rule::String, 9);
        refuses(r#"{ ."a }"#, Rule::String, 3);
        refuses(r#"{ ."a\n" = 1 }"#, Rule::Backslash, 3);
        refuses(r#"{ name = "a"b }"#, Rule::Syntax, 12);
    }

    #[test]
    fn filters_and_their_operands() {
        accepts("{~M~}");
        accepts("{~M~ }");
        accepts("{~M~\n\t}");
        accepts("{~(~.a=1~)~}");
        accepts("\n{~(~\n .a = 1\r\n~)~}\n");
        accepts("{~(~true~)~}");
        accepts("{~(~ status = error && kind=server && name !~ \"a|b\" ~)~}");
        accepts("{~(~nestedSetParent<0 && true~)~}");
        accepts("{~(~ .http.status_code>=500||span.x!=nil ~)~}");
        accepts("{~(~ resource.service.name=~\"a.*\" ~)~}");
        accepts("{~(~ parent.resource.a = parent.span.b ~)~}");
        accepts("{~(~ event.a-b = 1 && link.a/b = 2 && instrumentation.a:b@c = 3 ~)~}");
        accepts("{~(~ event:name = \"x\" && span:duration>-1.5ms && trace:id = \"ab\" ~)~}");
        accepts("{~(~ instrumentation:version = \"1\" && link:traceID = \"1\" ~)~}");
        accepts("{~(~ .a ^ 2 % 3 * 4 / 5 - 6 + -.b = --1 ~)~}");
        accepts("{~(~ duration > 1h30m && .a < 1e-5 && .b > .5 && .c = minInt ~)~}");
        accepts("{~(~ span.1a = 0 ~)~}");
        accepts("{~(~ cidr(span.address, \"10.0.0.0/8\", `::/0`) || .a ~)~}");
        for (text, at) in [
            ("{ .a = }", 7),
            ("{ = 1 }", 2),
            ("{ .a .b }", 5),
            ("{ .a == 1 }", 6),
            ("{ .a & .b }", 5),
            ("{ .a ! .b }", 5),
            ("{ 1x }", 2),
            ("{ 0x10 }", 2),
            ("{ 1_000 }", 2),
            ("{ 1. }", 2),
            ("{ 1e }", 2),
            ("{ 1h30 }", 2),
            ("{ 1.5.5 }", 2),
            ("{ cidr(span.a, .b) }", 15),
        ] {
            let refusal = attempt(Shape::Query, text).unwrap_err();
            let known = matches!(refusal.rule, Rule::Syntax | Rule::Unbalanced);
            assert!(known && refusal.at == at, "{text}: {refusal}");
        }
        refuses("{ foo(.a) }", Rule::Function, 2);
        refuses("{ cidr(cidr(.a)) }", Rule::Syntax, 7);
    }

    #[test]
    fn spansets_with_every_operator() {
        for operator in [
            "&&", "||", ">", ">>", "<", "<<", "~", "!>", "!>>", "!<", "!<<", "!~", "&>", "&>>",
            "&<", "&<<", "&~",
        ] {
            accepts(&format!("{{~(~.a~)~}} {operator} {{~M~}}"));
            accepts(&format!("{{~(~.a~)~}}{operator}{{~M~}}"));
            accepts(&format!(
                "({{~M~}} {operator} ({{~M~}})) {operator} {{~(~.b~)~}}"
            ));
            accepts(&format!(
                "({{~M~}} | count() > 1 | {{~(~.a~)~}}) {operator} ({{~M~}} | count() > 2)"
            ));
        }
        refuses("{ } =~ { }", Rule::Syntax, 6);
        refuses("{ } & { }", Rule::Syntax, 4);
        refuses("{ } ! { }", Rule::Syntax, 4);
        refuses("{ } >", Rule::NoFilter, 5);
    }

    #[test]
    fn stages_of_pipelines() {
        for stage in [
            "count() > 1",
            "avg(duration) > 1s",
            "avg(span.foo) + 1 > 2",
            "(max(.a) - min(.a)) * 2 >= -(3)",
            "sum( (1 + .a) * 2 )<=.5",
            "1 < count()",
            "count() != maxInt",
            "select(.a, span.b,event:name)",
            "by(resource.service.name)",
            "by(1 + .a) | coalesce() | count() > 2",
            "rate()",
            "rate() > 5",
            "rate() by (resource.x, .y)",
            "rate()by(name)>-5 | topk(3)",
            "count_over_time() by (name) | bottomk(10)",
            "quantile_over_time(duration, .9, 0.99, 1) by (span.a)",
            "histogram_over_time(duration)",
            "min_over_time(duration) by (.a)",
            "max_over_time(span.a)",
            "sum_over_time(span.a)",
            "avg_over_time(span.a)",
            "{~(~.b~)~}",
            "{~M~} && ({~(~.c~)~} >> {~M~})",
            "( ({~(~.b~)~}) )",
            "compare({~(~ .x = 1 ~)~})",
            "compare( {~M~}, 10 )",
            "compare({~(~status=error~)~}, 10, 1700000000000000000, 1700000000000000001)",
        ] {
            accepts(&format!("{{~(~.a~)~}} | {stage}"));
            accepts(&format!("{{~M~}}|{stage}"));
            accepts(&format!("({{~M~}} | {stage})"));
        }
        refuses("{ } | info()", Rule::Function, 6);
        refuses("{ } | foo", Rule::Function, 6);
        refuses("{ } | avg(.a) + rate() > 1", Rule::Function, 16);
        refuses("{ } | count", Rule::Syntax, 11);
        refuses("{ } |", Rule::Syntax, 5);
        refuses("{ } | | { }", Rule::Syntax, 6);
        refuses("{ } | (count() | { }) > 1", Rule::Syntax, 15);
        refuses("{ } | (count() > 1", Rule::Unbalanced, 18);
        refuses("{ } | select({ })", Rule::Unbalanced, 13);
        refuses("{ } | compare(.a)", Rule::Syntax, 14);
        refuses("{ } | compare({ }, { })", Rule::Unbalanced, 19);
        refuses("{ } | compare({ } && { })", Rule::Syntax, 18);
        refuses("{ } | count() > 1 && { }", Rule::Syntax, 20);
        refuses("{ } select(.a)", Rule::Syntax, 4);
        refuses("{ } by (.a)", Rule::Syntax, 4);
    }

    #[test]
    fn arithmetic_of_metrics() {
        accepts("({~M~} | rate()) / ({~M~} | count_over_time())");
        accepts("(({~(~.a~)~} | rate()) + ({~M~} | rate() | topk(3))) * ({~M~} | rate()) > 5");
        accepts("({~M~} | rate() by (.a)) - ({~M~} | rate()) | topk(3) > 1.5");
        accepts("({~M~} | count()) > 2");
        accepts("({~M~} | count()) % ({~M~} | count()) ^ ({~M~} | avg(.a)) = -1s");
    }

    #[test]
    fn hints_are_known_ones() {
        accepts("{~M~} with(most_recent=true)");
        accepts("{~M~} | rate() with(span_sample=0.1, trace_sample=true)");
        accepts("{~M~} | rate() by (.a) with (sample = 0.1, exemplars=100)with(sample=false)");
        refuses("{ } with(x=\"{\")", Rule::Hint, 9);
        refuses("{ } with(most_recent=\"{\")", Rule::Hint, 21);
        refuses("{ } with(most_recent={})", Rule::Hint, 21);
        refuses("{ } with(skip_ast_transformations=true)", Rule::Hint, 9);
        refuses("{ } with(most_recent)", Rule::Hint, 20);
        refuses("{ } with()", Rule::Hint, 9);
        refuses("{ } with(sample=1", Rule::Unbalanced, 17);
        refuses("{ } with(sample=1) | { }", Rule::Syntax, 19);
        refuses("({ } with(sample=1))", Rule::Syntax, 5);
        refuses("with(sample=1) { }", Rule::NoFilter, 0);
    }

    #[test]
    fn one_filter_alone() {
        for text in ["{}", " { .a = 1 } ", "{ .a || .b }"] {
            assert_eq!(attempt(Shape::Selector, text).unwrap().selectors, 1);
        }
        for (text, at) in [
            ("", 0),
            ("{ } && { }", 4),
            ("({ })", 0),
            ("{ } | rate()", 4),
            ("{ } with(sample=1)", 4),
            ("select(.a)", 0),
        ] {
            let rule = Rule::OneSelector;
            let refusal = attempt(Shape::Selector, text).unwrap_err();
            assert_eq!(refusal, Refusal { at, rule }, "{text}");
        }
        let pipeline = attempt(Shape::Pipeline, "| rate()").unwrap_err();
        assert_eq!(pipeline.rule, Rule::Syntax);
    }

    #[test]
    fn nesting_is_bounded() {
        let nest = |levels: usize| format!("{}{{}}{}", "(".repeat(levels), ")".repeat(levels));
        assert!(attempt(Shape::Query, &nest(64)).is_ok());
        refuses(&nest(65), Rule::Depth, 64);
        let nest = |levels: usize| {
            let close = ")".repeat(levels);
            format!("{{ }} | {}1{close} = count()", "(".repeat(levels))
        };
        assert!(attempt(Shape::Query, &nest(64)).is_ok());
        refuses(&nest(65), Rule::Depth, 70);
        // Inside a filter only the length of what is sent is a limit.
        for levels in 0..600 {
            let text = format!("{{{}.a{}}}", "(".repeat(levels), ")".repeat(levels));
            match attempt(Shape::Query, &text) {
                Ok(scoped) => assert!(scoped.text.len() <= MAX_TRACEQL),
                Err(refusal) => assert!(matches!(refusal.rule, Rule::Depth | Rule::Length)),
            }
        }
        // Far too deep is refused all the same, and long texts are read in one go.
        let deep = "{ } | (".repeat(9_000);
        assert!(attempt(Shape::Query, &deep).is_err());
        let long = "{}&&".repeat(16_000);
        assert_eq!(
            attempt(Shape::Query, &long).unwrap_err().rule,
            Rule::NoFilter
        );
    }

    #[test]
    fn what_is_sent_has_at_most_1024_bytes() {
        let text = |length: usize| format!("{{.{}}}", "a".repeat(length));
        let longest = (0..1024).take_while(|n| attempt(Shape::Query, &text(*n + 1)).is_ok());
        let longest = attempt(Shape::Query, &text(longest.count())).unwrap();
        assert_eq!(longest.text.len(), 1024);
        let refusal = attempt(Shape::Query, &text(1022)).unwrap_err();
        assert_eq!(refusal.rule, Rule::Length);
    }

    /// Counts braces outside quotes: a reading that shares nothing with the one above,
    /// and agrees with it once names can have no quotes of their own.
    fn filters(text: &str) -> usize {
        let mut quote = None;
        let mut filters = 0;
        let mut escaped = false;
        for byte in text.bytes() {
            match quote {
                Some(b'"') if escaped => escaped = false,
                Some(b'"') if byte == b'\\' => escaped = true,
                Some(open) if open == byte => quote = None,
                Some(_) => {}
                None if matches!(byte, b'"' | b'`') => quote = Some(byte),
                None => filters += usize::from(byte == b'{'),
            }
        }
        filters
    }

    #[test]
    fn mutations_are_scoped_or_refused() {
        let seeds = [
            r#"{ resource.service.name = "a" && .b` } || { span."x y" =~ `c` }"#,
            r#"({ .a = 1 } | rate() by (.b)) / ({ } | count_over_time()) > 5 with(sample=true)"#,
            r#"{ } | compare({ name = "\"}" }, 10) | { -(.a + 1h) !~ "x" } !>> ({ event:name })"#,
            r#"({ .a || !.b } | (avg(duration) + 1) > 2s | select(.c, span.d)) &~ ({ true })"#,
        ];
        let tokens: Vec<&str> = "{ } ( ) | || && ` \" ' \\ // /* # . .a span. = =~ ! - > >> , 1 \
            1s true select( by( count() rate() with( compare({ name : ä"
            .split_ascii_whitespace()
            .chain([" ", "\n"])
            .collect();
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut random = |below: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            usize::try_from(state % u64::try_from(below).unwrap()).unwrap()
        };
        let matcher = matcher();
        let mut accepted = 0;
        for _ in 0..100_000 {
            let mut text: Vec<char> = seeds[random(seeds.len())].chars().collect();
            for _ in 0..=random(3) {
                let at = random(text.len() + 1);
                match random(4) {
                    0 => text.truncate(at),
                    1 => drop(text.drain(at..(at + random(6)).min(text.len()))),
                    _ => drop(text.splice(at..at, tokens[random(tokens.len())].chars())),
                }
            }
            let text: String = text.into_iter().collect();
            let Ok(scoped) = attempt(Shape::Query, &text) else {
                continue;
            };
            accepted += 1;
            let mut left = String::new();
            let mut done = 0;
            for insertion in &scoped.insertions {
                left += &scoped.text[done..insertion.start];
                done = insertion.end;
            }
            left += &scoped.text[done..];
            assert_eq!(left, text);
            assert_eq!(filters(&text), scoped.selectors, "{text}");
            assert_eq!(
                scoped.text.matches(matcher.as_str()).count(),
                scoped.selectors
            );
        }
        assert!(accepted > 1_000, "{accepted}");
    }
}
