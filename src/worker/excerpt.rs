//! Log lines, and what of somebody else's text stands in them.

use crate::worker::effect::{Effect, Level, Sink};

/// Longest name or status of somebody else's in a log line, in characters.
pub const MAX_NAME: usize = 64;

/// Longest explanation that holds somebody else's words, in characters.
pub const MAX_EXPLANATION: usize = 256;

/// The beginning of a text that somebody else wrote, cut between two characters.
#[must_use]
pub fn excerpt(text: &str, characters: usize) -> String {
    text.chars().take(characters).collect()
}

/// Writes a line that is about no stream.
pub fn say(out: &mut dyn Sink, level: Level, line: &str) {
    out.emit(Effect::Log {
        level,
        line,
        about: None,
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excerpt_is_cut_between_characters() {
        let text = "a".repeat(63) + "é" + &"b".repeat(100_000);
        assert_eq!(excerpt(&text, MAX_NAME), "a".repeat(63) + "é");
    }
}
