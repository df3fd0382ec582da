//! The values of plain scalars in YAML.
//!
//! Scalars are read by the core schema of YAML 1.2. Many programs still follow YAML 1.1 (PyYAML,
//! and the parser of Kubernetes in parts), so there are warnings about texts that the two read
//! differently.

use super::tree::{Style, Text, Value};

/// The value of a plain scalar in the core schema.
pub(super) fn resolve(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        text => number(text).map_or_else(
            || {
                Value::Text(Text {
                    text: text.to_owned(),
                    style: Style::Plain,
                })
            },
            Value::Number,
        ),
    }
}

/// A number of the core schema in the form in which JSON writes it; `None` if the text is not a
/// number.
pub(super) fn number(text: &str) -> Option<String> {
    let based = |prefix: &str, base: u32| {
        let digits = text.strip_prefix(prefix)?;
        let plain = !digits.is_empty() && digits.chars().all(|digit| digit.is_digit(base));
        let number = plain.then(|| u64::from_str_radix(digits, base).ok())??;
        Some(number.to_string())
    };
    if let Some(number) = based("0x", 16).or_else(|| based("0o", 8)) {
        return Some(number);
    }
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (unsigned, None),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (mantissa, None),
    };
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let some = whole.len().saturating_add(fraction.map_or(0, str::len)) > 0;
    let power = exponent.is_none_or(|exponent| {
        let exponent = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
        !exponent.is_empty() && digits(exponent)
    });
    if !some || !power || !digits(whole) || !fraction.is_none_or(digits) {
        return None;
    }
    if fraction.is_none() && exponent.is_none() {
        if let Ok(number) = text.parse::<i64>() {
            return Some(number.to_string());
        }
        if let Ok(number) = text.parse::<u64>() {
            return Some(number.to_string());
        }
    }
    // A number too large for a double has no form in JSON, and stays a text.
    let number = serde_json::Number::from_f64(text.parse().ok()?)?;
    Some(number.to_string())
}

/// What YAML 1.1 reads where the core schema of 1.2 reads a text: `false` for `off`, for example.
pub(super) fn in_yaml_1_1(text: &str) -> Option<&'static str> {
    match text {
        "y" | "Y" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => return Some("true"),
        "n" | "N" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => return Some("false"),
        _ => {}
    }
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if !unsigned.starts_with(|first: char| first.is_ascii_digit()) {
        return None;
    }
    if is_date(text) {
        return Some("a date");
    }
    let binary = unsigned.strip_prefix("0b").is_some_and(|digits| {
        !digits.is_empty()
            && digits
                .bytes()
                .all(|byte| matches!(byte, b'0' | b'1' | b'_'))
    });
    let without: String = unsigned.chars().filter(|c| *c != '_').collect();
    let grouped = without != unsigned && number(&without).is_some();
    (binary || grouped || is_sexagesimal(&without)).then_some("a number")
}

/// Whether a text is a number in base 60, such as `12:30:00`.
fn is_sexagesimal(text: &str) -> bool {
    let (text, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let mut parts = text.split(':');
    let first = parts.next().unwrap_or_default();
    let sixty = |part: &str| {
        matches!(part.len(), 1 | 2)
            && digits(part)
            && (part.len() == 1 || part.starts_with(|tens: char| tens < '6'))
    };
    let rest: Vec<&str> = parts.collect();
    !first.is_empty()
        && digits(first)
        && !rest.is_empty()
        && rest.into_iter().all(sixty)
        && digits(fraction)
}

/// Whether a text is a date such as `2026-01-31`, with or without a time.
fn is_date(text: &str) -> bool {
    let date = text.split(['T', 't', ' ']).next().unwrap_or_default();
    let parts: Vec<&str> = date.split('-').collect();
    let [year, month, day] = parts.as_slice() else {
        return false;
    };
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let short = |text: &str| matches!(text.len(), 1 | 2) && digits(text);
    year.len() == 4 && digits(year) && short(month) && short(day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_core_schema() {
        for (text, number_of) in [
            ("0", "0"),
            ("-7", "-7"),
            ("+7", "7"),
            ("0123", "123"),
            ("0x1F", "31"),
            ("0o17", "15"),
            ("1e3", "1000.0"),
            (".5", "0.5"),
            ("5.", "5.0"),
            ("18446744073709551615", "18446744073709551615"),
        ] {
            assert_eq!(number(text).as_deref(), Some(number_of), "{text}");
        }
        for text in [
            "", ".", "-", "+", "e3", "1e", "1_000", "0x", "0o8", "12:30", "1.2.3", ".inf", "1e999",
            "--1",
        ] {
            assert_eq!(number(text), None, "{text}");
        }
    }

    #[test]
    fn yaml_1_1_reads_more() {
        for (text, reading) in [
            ("no", "false"),
            ("On", "true"),
            ("y", "true"),
            ("1_000", "a number"),
            ("0b11", "a number"),
            ("12:30:00", "a number"),
            ("190:20:30.15", "a number"),
            ("2026-01-31", "a date"),
            ("2026-01-31T12:00:00Z", "a date"),
        ] {
            assert_eq!(in_yaml_1_1(text), Some(reading), "{text}");
        }
        for text in [
            "",
            "none",
            "offside",
            "10m",
            "a_b",
            "web-1",
            "10.0.0.1:80",
            "12:75",
            "2026-1",
            "1-2-3",
            "sha256:00",
            "_1",
        ] {
            assert_eq!(in_yaml_1_1(text), None, "{text}");
        }
    }
}
