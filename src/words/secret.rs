//! A text that must not be shown.

use std::fmt;
use std::sync::Arc;

/// A credential of the operator. No output holds it by accident.
#[derive(Clone, Eq, PartialEq)]
pub struct Secret(Arc<str>);

/// Longest bearer token, in bytes.
const MAX_BYTES: usize = 16_384;

impl Secret {
    /// Parses a bearer token from a variable or a file, where blanks and line ends at both ends
    /// are not part of it.
    ///
    /// Returns `None` for a text that no header could carry: one that is empty, longer than 16
    /// KiB, or holds a byte outside 0x21–0x7e.
    #[must_use]
    pub fn bearer(text: &str) -> Option<Self> {
        let token = text.trim_ascii();
        let fits = !token.is_empty() && token.len() <= MAX_BYTES;
        let visible = |byte: u8| matches!(byte, 0x21..=0x7e);
        (fits && token.bytes().all(visible)).then(|| Self(token.into()))
    }

    /// The text itself, for whoever it has to be sent to.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_a_token_and_is_not_shown() {
        let secret = Secret::bearer(" s.e-c_r~t\n").unwrap();
        assert_eq!(secret.expose(), "s.e-c_r~t");
        assert_eq!(format!("{secret:?}"), "Secret(…)");
        let long = "a".repeat(16_385);
        for bad in ["", " \n", "a b", "a\nb", "\u{fc}", "a\0", long.as_str()] {
            assert!(Secret::bearer(bad).is_none(), "{bad:?}");
        }
    }
}
