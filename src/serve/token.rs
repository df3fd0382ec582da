//! The bearer tokens that are admitted. A file lists one per line, so that an old one can stay
//! valid while a new one is being distributed.

use std::fmt;

use ring::digest::{SHA256, digest};
use subtle::{Choice, ConstantTimeEq as _};

/// The maximum number of tokens in a file.
const MAX_TOKENS: usize = 16;

/// The shortest token, in bytes.
const MIN_TOKEN: usize = 16;

/// Digests of the tokens. They all have the same length for the comparison, and a memory dump
/// shows no token.
#[derive(Clone)]
pub struct Tokens(Vec<[u8; 32]>);

impl Tokens {
    /// Reads the content of a file. Blanks around a token and empty lines are ignored.
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

    /// Whether `authorization`, the value of a header, holds one of the tokens. The time that
    /// this takes depends only on the length of the value and on the number of tokens.
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

/// Shows no part of a token.
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

/// Why a file holds no usable tokens.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TokenError {
    /// A token holds a blank or a character outside ASCII.
    Character,
    /// There are more than 16 tokens.
    Many,
    /// There are no tokens.
    None,
    /// A token has fewer than 16 bytes.
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
