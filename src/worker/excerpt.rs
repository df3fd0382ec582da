//! Log lines, and excerpts from other people's texts in them.

use std::borrow::Cow;

use crate::words::wire::is_hidden;
use crate::worker::effect::{Effect, Level, Sink};

/// The longest name or status of somebody else in a log line, in characters.
pub const MAX_NAME: usize = 64;

/// The longest explanation that holds somebody else's words, in characters.
pub const MAX_EXPLANATION: usize = 256;

/// The beginning of a text that somebody else wrote, cut between two characters.
#[must_use]
pub fn excerpt(text: &str, characters: usize) -> String {
    text.chars().take(characters).collect()
}

/// Writes a log line that does not belong to a stream. It remains a single line, whatever text
/// of somebody else it holds: characters that would end it, or disguise it, are escaped.
pub fn say(out: &mut dyn Sink, level: Level, line: &str) {
    let line = one_line(line);
    out.emit(Effect::Log {
        level,
        line: &line,
        about: None,
    });
}

/// A text in which control characters, ends of lines and marks of direction are escaped.
fn one_line(text: &str) -> Cow<'_, str> {
    if !text.contains(is_hidden) {
        return Cow::Borrowed(text);
    }
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        if is_hidden(c) {
            line.extend(c.escape_default());
        } else {
            line.push(c);
        }
    }
    Cow::Owned(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_stays_one() {
        assert_eq!(one_line("plain \u{e9}"), "plain \u{e9}");
        let forged = "a\n[info] b\u{1b}[31m\r\u{2028}\u{202e}";
        assert_eq!(
            one_line(forged),
            "a\\n[info] b\\u{1b}[31m\\r\\u{2028}\\u{202e}"
        );
    }

    #[test]
    fn an_excerpt_is_cut_between_characters() {
        let text = "a".repeat(63) + "é" + &"b".repeat(100_000);
        assert_eq!(excerpt(&text, MAX_NAME), "a".repeat(63) + "é");
    }
}
