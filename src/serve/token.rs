//! The bearer tokens that are admitted: one a line in a file, so that an old one can stay
//! while a new one is handed out.

use std::fmt;

use ring::digest::{SHA256, digest};
use subtle::{Choice, ConstantTimeEq as _};

/// Most tokens in a file.
const MAX_TOKENS: usize = 16;

/// Shortest token, in bytes.
const MIN_TOKEN: usize = 16;

/// Digests of the tokens: what is compared has one length, and a dump shows no token.
#[derive(Clone)]
pub struct Tokens(Vec<[u8; 32]>);

impl Tokens {
    /// From the content of a file. Blanks around a token and empty lines do not count.
    ///
    /// # Errors
    /// The rule that it breaks.
    pub fn parse(content: &[u8]) -> Result<Self, TokenError> {
        let lines = content.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
        let mut tokens = Vec::new();
        for line in lines.filter(|line| !line.is_empty()) {
            if !line.iter().all(u8::is_ascii_graphic) {
                return Err(TokenError::Character);
            }
            if line.len() < MIN_TOKEN {
                return Err(TokenError::Short);
            }
            if tokens.len() >= MAX_TOKENS {
                return Err(TokenError::Many);
            }
            tokens.push(digest_of(line));
        }
        if tokens.is_empty() {
            return Err(TokenError::None);
        }
        Ok(Self(tokens))
    }

    /// Whether `authorization`, a header's value, shows one of them. How long that takes
    /// depends on the length of what is shown and on the number of tokens alone.
    #[must_use]
    pub fn admit(&self, authorization: &[u8]) -> bool {
        let Some((scheme, token)) = authorization.split_at_checked(SCHEME.len()) else {
            return false;
        };
        if !scheme.eq_ignore_ascii_case(SCHEME) {
            return false;
        }
        let shown = digest_of(token.trim_ascii());
        let none = Choice::from(0);
        let found = self
            .0
            .iter()
            .fold(none, |found, token| found | token.ct_eq(&shown));
        found.into()
    }
}

const SCHEME: &[u8] = b"bearer ";

/// No part of a token.
impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} tokens", self.0.len())
    }
}

fn digest_of(token: &[u8]) -> [u8; 32] {
    let mut bytes = [0; 32];
    let digest = digest(&SHA256, token);
    for (to, from) in bytes.iter_mut().zip(digest.as_ref()) {
        *to = *from;
    }
    bytes
}

/// Why there are no tokens in a file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TokenError {
    /// A blank inside, or what is no ASCII.
    Character,
    /// More than 16.
    Many,
    /// None at all.
    None,
    /// Fewer than 16 bytes.
    Short,
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Character => "a token is printable ASCII without blanks, one a line",
            Self::Many => "at most 16 tokens",
            Self::None => "there is no token in it",
            Self::Short => "a token has at least 16 bytes",
        })
    }
}

impl std::error::Error for TokenError {}
