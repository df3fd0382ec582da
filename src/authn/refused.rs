//! What is known of a token that was refused, for the record: what was proven, or what it
//! says of itself.

use std::sync::Arc;

use crate::authn::json::Value;
use crate::authn::keys::VerifyingKey;
use crate::authn::token::Unverified;
use crate::words::identity::{Issuer, ProviderIndex, Subject};

/// Most audiences of a token that are kept for a record.
const MAX_AUDIENCES: usize = 16;

/// Longest text that is kept, in bytes: longer than what a record writes of it.
const MAX_BYTES: usize = 512;

/// A token that was refused.
#[derive(Clone, Debug)]
pub enum Refused {
    /// Nothing of it is proven.
    Claimed(Claimed),
    /// Its signature held.
    Proven(Proven),
}

/// What a token says of itself. Anybody can write that.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Claimed {
    /// Its `iss`, if it is a text.
    pub issuer: Option<Box<str>>,
    /// Its `aud`.
    pub audience: ClaimedAudience,
    /// Its `kid`.
    pub key_id: Option<Box<str>>,
}

/// An `aud` as it is written.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ClaimedAudience {
    /// There is none, or it is neither a text nor a list.
    Unreadable,
    /// A text.
    One(Box<str>),
    /// A list.
    List {
        /// The first texts in it.
        first: Vec<Box<str>>,
        /// How many elements it has.
        all: usize,
    },
}

/// What was proven of a token that was refused all the same.
#[derive(Clone, Debug)]
pub struct Proven {
    /// Whose it is.
    pub provider: ProviderIndex,
    /// Its `iss`, as it is spelt there.
    pub issuer: Issuer,
    /// Whom it speaks of, if that can be told.
    pub subject: Option<Subject>,
    /// The key that signed it.
    pub key: Arc<VerifyingKey>,
}

impl Claimed {
    /// What that token says.
    #[must_use]
    pub fn by(token: &Unverified<'_>) -> Self {
        let issuer = token.claims.get("iss").and_then(Value::as_str);
        let audience = match token.claims.get("aud") {
            Some(Value::String(one)) => ClaimedAudience::One(cut(one)),
            Some(Value::Array(list)) => {
                let texts = list.iter().filter_map(Value::as_str);
                ClaimedAudience::List {
                    first: texts.take(MAX_AUDIENCES).map(cut).collect(),
                    all: list.len(),
                }
            }
            _ => ClaimedAudience::Unreadable,
        };
        Self {
            issuer: issuer.map(cut),
            audience,
            key_id: token.header.key_id.as_deref().map(cut),
        }
    }
}

/// The beginning of a text, between two characters.
fn cut(text: &str) -> Box<str> {
    let mut end = text.len().min(MAX_BYTES);
    while !text.is_char_boundary(end) {
        end = end.saturating_sub(1);
    }
    text.get(..end).unwrap_or_default().into()
}
