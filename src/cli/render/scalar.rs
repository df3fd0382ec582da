//! How one text is written in YAML and in JSON so that it is read as itself.

use std::fmt::Write as _;

/// As a plain scalar where nobody can take it for anything else, in a flow or out of it;
/// between double quotes everywhere else. YAML 1.1, which Kubernetes' tools read, is meant
/// as well: `no`, `on`, `1e3` and `0x1F` are quoted.
pub(super) fn yaml(text: &str) -> String {
    if is_plain(text) {
        text.to_owned()
    } else {
        quoted(text)
    }
}

/// Between double quotes, as YAML and JSON both read it.
pub(super) fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            // What YAML takes for the end of a line, for a byte order mark or for nothing
            // that may stand in a file. All of it is below U+10000.
            '\0'..='\x1f'
            | '\x7f'..='\u{9f}'
            | '\u{2028}'
            | '\u{2029}'
            | '\u{feff}'
            | '\u{fffe}'
            | '\u{ffff}' => {
                let _ = write!(quoted, "\\u{:04x}", u32::from(character));
            }
            character => quoted.push(character),
        }
    }
    quoted.push('"');
    quoted
}

fn is_plain(text: &str) -> bool {
    is_duration(text) || (is_word(text) && !RESERVED.contains(&text.to_ascii_lowercase().as_str()))
}

/// Begins with a letter, and holds what means nothing to YAML; colons in a URL and before
/// a digest alone.
fn is_word(text: &str) -> bool {
    let colons = text.contains("://") || text.contains("@sha256:");
    let harmless = |character: char| {
        character.is_ascii_alphanumeric()
            || matches!(character, '_' | '-' | '.' | '/' | '@')
            || (colons && character == ':')
    };
    // A colon at the end, or before a blank, would make a key of it; there are no blanks.
    (text.starts_with(|first: char| first.is_ascii_alphabetic()) || text.starts_with('/'))
        && text.chars().all(harmless)
        && !text.ends_with(':')
}

/// `90s`, and never `1e3` or `0x10`.
fn is_duration(text: &str) -> bool {
    let digits = text.trim_end_matches(|unit: char| unit.is_ascii_alphabetic());
    let unit = text.strip_prefix(digits).unwrap_or_default();
    !digits.is_empty()
        && digits.chars().all(|digit| digit.is_ascii_digit())
        && matches!(unit, "ms" | "s" | "m" | "h" | "Ki" | "Mi" | "Gi")
}

/// What some reader of YAML takes for a truth value or for nothing.
const RESERVED: [&str; 10] = [
    "true", "false", "yes", "no", "on", "off", "y", "n", "null", "nan",
];

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn harmless_words_need_no_quotes() {
        for text in [
            "platform",
            "x-scopegate-subject",
            "24h",
            "https://login.example.com/keys",
            "registry.example.com/scopegate@sha256:00",
            "/etc/envoy/tls/tls.crt",
        ] {
            assert_eq!(yaml(text), text);
            let read: String = serde_yaml_ng::from_str(text).unwrap();
            assert_eq!(read, text);
        }
    }

    #[test]
    fn what_yaml_reads_as_something_else_is_quoted() {
        for text in [
            "",
            " ",
            "no",
            "On",
            "NULL",
            "~",
            "1",
            "1e3",
            "0x1F",
            "1.5",
            "12:30",
            "a: b",
            "a:",
            "client:",
            "- a",
            "#",
            "a #b",
            "{{ x }}",
            "{%",
            "*a",
            "&a",
            "!a",
            "|",
            ">",
            "'",
            "\"",
            "%",
            "@a",
            "`",
            "?",
            "a\nb",
            "a\r\n",
            "\t",
            "\u{85}",
            "\u{2028}",
            "\u{feff}",
            "\0",
            "\x7f",
            "=",
            "<<",
            "---",
            "...",
            "\\",
            "é",
            "\u{10ffff}",
            ".inf",
            "2026-01-01",
        ] {
            let written = yaml(text);
            assert!(written.starts_with('"'), "{text:?}: {written}");
            let read: String = serde_yaml_ng::from_str(&written).unwrap();
            assert_eq!(read, text);
            let read: String = serde_json::from_str(&written).unwrap();
            assert_eq!(read, text);
        }
    }
}
