//! The part of TraceQL that the stand-in understands: `{ field = "text" && ( … ) && field =~ "^(?:text|…)$" }`,
//! followed in metrics queries by `| rate()` or `| count_over_time()`. Of patterns it accepts only such lists of
//! plain words. Everything else is an error and never a guess: a result for a query that was not understood would let
//! a test of the gate pass for the wrong reason.

use super::span::StoredSpan;
use crate::otlp::{self, AnyValue, Value};

/// Conditions that must all hold for one span.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Filter(Vec<(Field, Vec<String>)>);

/// What a condition refers to.
#[derive(Debug, PartialEq)]
pub(super) enum Field {
    Name,
    Resource(String),
    Span(String),
    /// `.attribute`, of the span or of its resource.
    Either(String),
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Metric {
    CountOverTime,
    Rate,
}

impl Filter {
    /// Parses a search query. As in Tempo, the empty one finds everything.
    pub(super) fn parse(query: &str) -> Result<Filter, String> {
        if query.trim().is_empty() {
            return Ok(Filter::default());
        }
        match spanset(query)? {
            (filter, "") => Ok(filter),
            (_, rest) => Err(unsupported(rest)),
        }
    }

    /// The older `tags` parameter: each tag is an attribute that must have that value.
    pub(super) fn from_tags(tags: impl IntoIterator<Item = (String, String)>) -> Filter {
        let field = |name: String| match name.as_str() {
            "name" => Field::Name,
            _ => Field::Either(name),
        };
        Filter(
            tags.into_iter()
                .map(|(name, value)| (field(name), vec![value]))
                .collect(),
        )
    }

    pub(super) fn matches(&self, span: &StoredSpan) -> bool {
        self.0.iter().all(|(field, wanted)| {
            let is_wanted = |value: &AnyValue| matches!(&value.value, Some(Value::StringValue(text)) if wanted.contains(text));
            field.values(span).iter().any(is_wanted)
        })
    }
}

impl Field {
    /// Parses `name` or a scoped attribute. As in Tempo, a bare word gives `None`.
    pub(super) fn parse(text: &str) -> Option<Field> {
        let attribute = |prefix| {
            text.strip_prefix(prefix)
                .filter(|name| !name.is_empty())
                .map(str::to_owned)
        };
        match text {
            "name" => Some(Field::Name),
            _ => attribute("resource.")
                .map(Field::Resource)
                .or_else(|| attribute("span.").map(Field::Span))
                .or_else(|| attribute(".").map(Field::Either)),
        }
    }

    pub(super) fn values(&self, span: &StoredSpan) -> Vec<AnyValue> {
        let (resource, own, key) = match self {
            Field::Name => return vec![otlp::text(&span.span.name)],
            Field::Resource(key) => (true, false, key),
            Field::Span(key) => (false, true, key),
            Field::Either(key) => (true, true, key),
        };
        let resource = resource.then_some(&span.resource.attributes);
        let own = own.then_some(&span.span.attributes);
        let pairs = resource.into_iter().chain(own).flatten();
        pairs
            .filter(|pair| pair.key == *key)
            .filter_map(|pair| pair.value.clone())
            .collect()
    }
}

/// Parses a metrics query.
pub(super) fn parse_metrics(query: &str) -> Result<(Filter, Metric), String> {
    let (filter, rest) = spanset(query)?;
    match rest.strip_prefix('|').map(str::trim) {
        Some("rate()") => Ok((filter, Metric::Rate)),
        Some("count_over_time()") => Ok((filter, Metric::CountOverTime)),
        _ => Err(unsupported(rest)),
    }
}

/// The braces at the beginning, and what follows them.
fn spanset(query: &str) -> Result<(Filter, &str), String> {
    let mut rest = after(query, "{")?;
    let mut conditions = Vec::new();
    if let Ok(end) = after(rest, "}") {
        return Ok((Filter(conditions), end.trim()));
    }
    rest = all_of(rest, &mut conditions)?;
    let end = after(rest, "}")?;
    Ok((Filter(conditions), end.trim()))
}

/// Conditions and groups of them that must all hold. Returns what follows.
fn all_of<'text>(
    text: &'text str,
    conditions: &mut Vec<(Field, Vec<String>)>,
) -> Result<&'text str, String> {
    let mut rest = text;
    loop {
        rest = match after(rest, "(") {
            Ok(group) => after(all_of(group, conditions)?, ")")?,
            Err(_) => condition(rest, conditions)?,
        };
        match after(rest, "&&") {
            Ok(more) => rest = more,
            Err(_) => return Ok(rest),
        }
    }
}

fn condition<'text>(
    text: &'text str,
    conditions: &mut Vec<(Field, Vec<String>)>,
) -> Result<&'text str, String> {
    let field = text.trim_start();
    let end = field
        .find(|character: char| character.is_whitespace() || "=!<>~&|{}()\"`".contains(character));
    let (name, tail) = field.split_at(end.unwrap_or(field.len()));
    let name = Field::parse(name).ok_or_else(|| unsupported(field))?;
    let (values, tail) = if let Ok(pattern) = after(tail, "=~") {
        let (pattern, tail) = quoted(pattern)?;
        (words(&pattern)?, tail)
    } else {
        let (value, tail) = quoted(after(tail, "=")?)?;
        (vec![value], tail)
    };
    conditions.push((name, values));
    Ok(tail)
}

/// The words in `^(?:one|other)$`.
fn words(pattern: &str) -> Result<Vec<String>, String> {
    let list = pattern
        .strip_prefix("^(?:")
        .and_then(|rest| rest.strip_suffix(")$"));
    let words: Vec<String> = list
        .ok_or_else(|| unsupported(pattern))?
        .split('|')
        .map(str::to_owned)
        .collect();
    let plain = |word: &String| {
        let mut bytes = word.bytes();
        !word.is_empty() && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    if words.iter().all(plain) {
        Ok(words)
    } else {
        Err(unsupported(pattern))
    }
}

fn after<'text>(text: &'text str, mark: &str) -> Result<&'text str, String> {
    let rest = text.trim_start().strip_prefix(mark);
    rest.ok_or_else(|| unsupported(text))
}

/// Parses a string in double quotes with backslash escapes, or in back quotes without.
fn quoted(text: &str) -> Result<(String, &str), String> {
    let text = text.trim_start();
    let quote = text.chars().next().filter(|first| "\"`".contains(*first));
    let quote = quote.ok_or_else(|| unsupported(text))?;
    let mut value = String::new();
    let mut characters = text.char_indices().skip(1);
    while let Some((at, character)) = characters.next() {
        if character == quote {
            return Ok((value, &text[at + 1..]));
        }
        if character == '\\' && quote == '"' {
            match characters.next() {
                Some((_, escaped @ ('"' | '\\'))) => value.push(escaped),
                _ => return Err(unsupported(&text[at..])),
            }
        } else {
            value.push(character);
        }
    }
    Err("invalid TraceQL query: the string has no end".to_owned())
}

/// A message that begins like Tempo's own.
fn unsupported(rest: &str) -> String {
    format!("invalid TraceQL query: not understood by this stand-in, from {rest:?} on")
}
