//! Query parameters as Go reads them.

use std::collections::BTreeMap;
use std::str::FromStr;

use super::shared::Refusal;

/// Query parameters. If one is repeated, the first counts, as in Go's `Query().Get`.
pub(super) struct Parameters(BTreeMap<String, String>);

impl Parameters {
    pub(super) fn parse(query: &str) -> Parameters {
        let mut first = BTreeMap::new();
        for (name, value) in form_urlencoded::parse(query.as_bytes()).into_owned() {
            first.entry(name).or_insert(value);
        }
        Parameters(first)
    }

    pub(super) fn text(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    pub(super) fn number<T: FromStr>(&self, name: &str, otherwise: T) -> Result<T, Refusal> {
        match self.text(name) {
            "" => Ok(otherwise),
            text => text.parse().map_err(|_| invalid(name, text)),
        }
    }

    /// A time in Unix seconds or, from 11 digits on, in nanoseconds. The result is in nanoseconds.
    pub(super) fn time(&self, name: &str) -> Result<Option<u64>, Refusal> {
        match self.text(name) {
            "" => Ok(None),
            text if text.len() > 10 => self.number(name, 0).map(Some),
            _ => self
                .number(name, 0)
                .map(|seconds: u64| Some(seconds * 1_000_000_000)),
        }
    }

    /// A duration in seconds, or a number with one unit. The result is in nanoseconds.
    pub(super) fn duration(&self, name: &str) -> Result<Option<u64>, Refusal> {
        let text = self.text(name);
        if text.is_empty() {
            return Ok(None);
        }
        let digits = text.trim_end_matches(|character: char| character.is_ascii_alphabetic());
        let unit: u64 = match &text[digits.len()..] {
            "ms" => 1_000_000,
            "" | "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return Err(invalid(name, text)),
        };
        let number: Option<u64> = digits.parse().ok();
        let nanos = number.and_then(|number| number.checked_mul(unit));
        nanos.map(Some).ok_or_else(|| invalid(name, text))
    }
}

fn invalid(name: &str, text: &str) -> Refusal {
    Refusal::bad_request(format!("invalid {name}: {text:?}"))
}

/// Parses `name=value name="a value"`. There are no escapes inside the quotes.
pub(super) fn logfmt(text: &str) -> Result<Vec<(String, String)>, Refusal> {
    let mut pairs = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (name, tail) = rest.split_once('=').ok_or_else(|| invalid("tags", rest))?;
        let (value, tail) = match tail.strip_prefix('"') {
            Some(quoted) => quoted
                .split_once('"')
                .ok_or_else(|| invalid("tags", rest))?,
            None => tail.split_once(' ').unwrap_or((tail, "")),
        };
        if name.contains([' ', '"']) || value.contains(['"', '\\']) {
            return Err(invalid("tags", rest));
        }
        pairs.push((name.to_owned(), value.to_owned()));
        rest = tail.trim_start();
    }
    Ok(pairs)
}
