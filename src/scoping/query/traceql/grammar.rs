//! How filters and pipelines consist of tokens, as far as this decides where filters are.

use super::lexer::{Lexer, Operator, is_space, is_word};
use crate::scoping::query::language::Shape;
use crate::scoping::query::splice::{Piece, Place};
use crate::words::refusal::{Refusal, Rule};

/// Hints that change how much is read and in which order, but never what.
const HINTS: [&[u8]; 5] = [
    b"exemplars",
    b"most_recent",
    b"sample",
    b"span_sample",
    b"trace_sample",
];

/// Finds every filter.
pub(in crate::scoping::query) fn recognise(
    shape: Shape,
    text: &str,
) -> Result<Vec<Place>, Refusal> {
    let control = |byte: u8| byte.is_ascii_control() && !is_space(byte);
    if let Some(at) = text.bytes().position(control) {
        return Err(Refusal {
            at,
            rule: Rule::Character,
        });
    }
    let mut reader = Reader {
        lexer: Lexer::new(text),
        places: Vec::new(),
        spans_only: shape == Shape::SpanQuery,
    };
    match shape {
        Shape::Pipeline | Shape::PlainQuery => reader.lexer.refuse(Rule::Syntax)?,
        Shape::Query | Shape::SpanQuery => reader.query()?,
        Shape::Selector => reader.selector()?,
    }
    Ok(reader.places)
}

/// The kind of a stage in a pipeline.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Function {
    /// It yields a value that is compared with others.
    Aggregate,
    /// It takes any attributes and numbers.
    Plain,
    /// It takes a filter first.
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

/// Takes a text apart from left to right. Each method takes what its name says, including the
/// white space before it.
struct Reader<'a> {
    lexer: Lexer<'a>,
    places: Vec<Place>,
    /// Whether queries about traces as a whole are refused.
    spans_only: bool,
}

impl Reader<'_> {
    fn query(&mut self) -> Result<(), Refusal> {
        self.pipeline()?;
        while self.lexer.next()?.is_some() {
            self.hints()?;
        }
        Ok(())
    }

    fn selector(&mut self) -> Result<(), Refusal> {
        if self.lexer.next()? != Some(b'{') {
            return self.lexer.refuse(Rule::OneSelector);
        }
        self.filter()?;
        match self.lexer.next()? {
            None => Ok(()),
            Some(_) => self.lexer.refuse(Rule::OneSelector),
        }
    }

    /// Takes `spansets | stage | …`. This is the only place where Tempo begins to read spans.
    fn pipeline(&mut self) -> Result<(), Refusal> {
        self.spansets()?;
        while self.lexer.next()? == Some(b'|') {
            self.lexer.bump();
            self.stage()?;
        }
        Ok(())
    }

    /// Takes filters, and pipelines in parentheses, with operators between them. Numbers may
    /// follow the first one: `({…} | rate()) > 5`.
    fn spansets(&mut self) -> Result<(), Refusal> {
        self.spanset()?;
        while let Some(operator) = self.lexer.operator()? {
            let number = match operator {
                Operator::Match => return self.lexer.refuse(Rule::Syntax),
                Operator::Arithmetic | Operator::Comparison | Operator::Order => true,
                Operator::Logical | Operator::NoMatch | Operator::Structural => false,
            };
            match self.lexer.next()? {
                Some(b'-' | b'.' | b'0'..=b'9') if number => self.lexer.number()?,
                _ => self.spanset()?,
            }
        }
        Ok(())
    }

    fn spanset(&mut self) -> Result<(), Refusal> {
        match self.lexer.next()? {
            Some(b'{') => self.filter(),
            Some(b'(') => {
                self.lexer.enter()?;
                self.pipeline()?;
                self.lexer.leave(b')')
            }
            None if self.lexer.open() == 0 => self.lexer.refuse(Rule::NoFilter),
            Some(b'"' | b'-' | b'.' | b'`') => self.lexer.refuse(Rule::NoFilter),
            Some(byte) if is_word(byte) => self.lexer.refuse(Rule::NoFilter),
            _ => self.lexer.unexpected(),
        }
    }

    fn filter(&mut self) -> Result<(), Refusal> {
        self.lexer.set_in_filter(true);
        self.lexer.enter()?;
        let begin = self.lexer.at();
        if self.lexer.next()? == Some(b'}') {
            self.place(begin, Piece::FilterAlone);
        } else {
            self.place(begin, Piece::FilterOpen);
            self.field()?;
            self.lexer.next()?;
            self.place(self.lexer.at(), Piece::FilterClose);
        }
        self.lexer.leave(b'}')?;
        self.lexer.set_in_filter(false);
        Ok(())
    }

    /// Takes what stands between two `|`.
    fn stage(&mut self) -> Result<(), Refusal> {
        self.lexer.next()?;
        let mut ahead = self.lexer.here();
        ahead.take_while(|byte| is_space(byte) || byte == b'(');
        if ahead.peek() == Some(b'{') {
            return self.spansets();
        }
        let word = self.lexer.word_ahead();
        match Function::named(word) {
            Some(Function::Plain | Function::Compare) => {
                self.function()?;
                self.lexer.next()?;
                if self.lexer.word_ahead() == b"by" {
                    self.function()?;
                }
                self.thresholds()
            }
            Some(Function::Aggregate) | None => self.scalars(),
        }
    }

    /// Takes scalars such as `avg(duration) + 1 > 2s`.
    fn scalars(&mut self) -> Result<(), Refusal> {
        let before = self.lexer.open();
        loop {
            match self.lexer.next()? {
                Some(b'(') => {
                    self.lexer.enter()?;
                    continue;
                }
                Some(b'-') => {
                    self.lexer.bump();
                    continue;
                }
                Some(byte) if byte.is_ascii_alphabetic() && !self.lexer.is_constant_ahead() => {
                    if Function::named(self.lexer.word_ahead()) != Some(Function::Aggregate) {
                        return self.lexer.refuse(Rule::Function);
                    }
                    self.function()?;
                }
                _ => self.lexer.number()?,
            }
            while self.lexer.open() > before && self.lexer.next()? == Some(b')') {
                self.lexer.leave(b')')?;
            }
            if !self.scalar_operator()? {
                break;
            }
        }
        if self.lexer.open() > before {
            return self.lexer.unexpected();
        }
        Ok(())
    }

    /// Takes a threshold such as `> 5` behind the result of a function.
    fn thresholds(&mut self) -> Result<(), Refusal> {
        while self.scalar_operator()? {
            self.lexer.number()?;
        }
        Ok(())
    }

    fn scalar_operator(&mut self) -> Result<bool, Refusal> {
        match self.lexer.operator()? {
            None => Ok(false),
            Some(Operator::Arithmetic | Operator::Comparison | Operator::Order) => Ok(true),
            Some(_) => self.lexer.refuse(Rule::Syntax),
        }
    }

    /// Takes a word and its arguments.
    fn function(&mut self) -> Result<(), Refusal> {
        let begin = self.lexer.here();
        let name = self.lexer.take_word();
        if self.lexer.next()? != Some(b'(') {
            return self.lexer.unexpected();
        }
        self.lexer.enter()?;
        if Function::named(name) == Some(Function::Compare) {
            // It reports on every attribute and intrinsic, including those of whole traces.
            if self.spans_only {
                return begin.refuse(Rule::WholeTrace);
            }
            if self.lexer.next()? != Some(b'{') {
                return self.lexer.unexpected();
            }
            self.filter()?;
        } else if self.lexer.next()? != Some(b')') {
            self.field()?;
        }
        while self.lexer.next()? == Some(b',') {
            self.lexer.bump();
            self.field()?;
        }
        self.lexer.leave(b')')
    }

    /// Takes an expression over one span.
    fn field(&mut self) -> Result<(), Refusal> {
        let before = self.lexer.open();
        loop {
            match self.lexer.next()? {
                Some(b'(') => {
                    self.lexer.enter()?;
                    continue;
                }
                Some(b'-' | b'!') => {
                    self.lexer.bump();
                    continue;
                }
                _ => self.operand()?,
            }
            while self.lexer.open() > before && self.lexer.next()? == Some(b')') {
                self.lexer.leave(b')')?;
            }
            match self.lexer.operator()? {
                None => break,
                Some(Operator::Structural) => return self.lexer.refuse(Rule::Syntax),
                Some(_) => {}
            }
        }
        if self.lexer.open() > before {
            return self.lexer.unexpected();
        }
        Ok(())
    }

    fn operand(&mut self) -> Result<(), Refusal> {
        match self.lexer.next()? {
            Some(b'"') => self.lexer.string(),
            Some(b'`') => self.lexer.raw_string(),
            Some(b'0'..=b'9') => self.lexer.number(),
            Some(b'.') => {
                if self.lexer.peek_second().is_some_and(|b| b.is_ascii_digit()) {
                    return self.lexer.number();
                }
                self.lexer.bump();
                self.lexer.attribute()
            }
            Some(byte) if is_word(byte) => self.word(),
            _ => self.lexer.unexpected(),
        }
    }

    /// Takes an intrinsic, a constant, an attribute with its scope, or `cidr(…)`.
    fn word(&mut self) -> Result<(), Refusal> {
        let begin = self.lexer.here();
        let word = self.lexer.take_word();
        let of_trace = matches!(
            word,
            b"childCount" | b"rootName" | b"rootServiceName" | b"traceDuration"
        );
        if self.spans_only && of_trace {
            return begin.refuse(Rule::WholeTrace);
        }
        let scoped = matches!(
            word,
            b"event" | b"instrumentation" | b"link" | b"resource" | b"span"
        );
        match self.lexer.peek() {
            // Newer versions of Tempo may read the other span's attributes.
            Some(b'.') if word == b"parent" => begin.refuse(Rule::Parent),
            Some(b'.') if scoped => {
                self.lexer.bump();
                self.lexer.attribute()
            }
            Some(b':') if scoped || word == b"trace" => {
                self.lexer.bump();
                let name = self.lexer.take_word();
                if name.is_empty() {
                    return self.lexer.unexpected();
                }
                let of_trace = match word {
                    b"trace" => name != b"id",
                    _ => name == b"childCount",
                };
                if self.spans_only && of_trace {
                    return begin.refuse(Rule::WholeTrace);
                }
                match self.lexer.peek() {
                    Some(b'.' | b':') => self.lexer.refuse(Rule::Syntax),
                    _ => Ok(()),
                }
            }
            Some(b'.' | b':') => begin.refuse(Rule::Syntax),
            _ => match self.lexer.next()? {
                Some(b'(') if word == b"cidr" => self.cidr(),
                Some(b'(') => begin.refuse(Rule::Function),
                _ => Ok(()),
            },
        }
    }

    /// Takes arguments such as `(span.address, "10.0.0.0/8", …)`.
    fn cidr(&mut self) -> Result<(), Refusal> {
        self.lexer.enter()?;
        if matches!(self.lexer.next()?, Some(b'.' | b'a'..=b'z'))
            && self.lexer.word_ahead() != b"cidr"
        {
            self.operand()?;
        }
        while self.lexer.next()? == Some(b',') {
            self.lexer.bump();
            match self.lexer.next()? {
                Some(b'"' | b'`') => self.operand()?,
                _ => return self.lexer.unexpected(),
            }
        }
        self.lexer.leave(b')')
    }

    /// Takes hints such as `with(most_recent=true)`.
    fn hints(&mut self) -> Result<(), Refusal> {
        if self.lexer.word_ahead() != b"with" {
            return self.lexer.unexpected();
        }
        self.lexer.take_word();
        if self.lexer.next()? != Some(b'(') {
            return self.lexer.unexpected();
        }
        self.lexer.enter()?;
        loop {
            self.lexer.next()?;
            if !HINTS.contains(&self.lexer.word_ahead()) {
                return self.lexer.refuse(Rule::Hint);
            }
            self.lexer.take_word();
            if self.lexer.next()? != Some(b'=') {
                return self.lexer.refuse(Rule::Hint);
            }
            self.lexer.bump();
            match (self.lexer.next()?, self.lexer.word_ahead()) {
                (_, b"false" | b"true") => {
                    self.lexer.take_word();
                }
                (Some(b'.' | b'0'..=b'9'), _) => self.lexer.number()?,
                _ => return self.lexer.refuse(Rule::Hint),
            }
            if self.lexer.next()? != Some(b',') {
                return self.lexer.leave(b')');
            }
            self.lexer.bump();
        }
    }

    fn place(&mut self, at: usize, piece: Piece) {
        self.places.push(Place { at, piece });
    }
}
