//! What is known about a refused token, for the record: either what was proven, or what the
//! token says about itself.

use std::sync::Arc;

use crate::authn::json::Value;
use crate::authn::keys::VerifyingKey;
use crate::authn::token::Unverified;
use crate::words::identity::{Issuer, ProviderIndex, Subject};

/// The maximum number of a token's audiences that are kept for a record.
const MAX_AUDIENCES: usize = 16;

/// The longest text that is kept, in bytes. A record writes less of it.
const MAX_BYTES: usize = 512;

/// A token that was refused.
#[derive(Clone, Debug)]
pub enum Refused {
    /// Nothing about it is proven.
    Claimed(Claimed),
    /// Its signature is good.
    Proven(Proven),
}

/// What a token says about itself. Anybody can write that.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Claimed {
    /// Its `iss`, if it is a text.
    pub issuer: Option<Box<str>>,
    /// Its audiences.
    pub audience: ClaimedAudience,
    /// Its `kid`.
    pub key_id: Option<Box<str>>,
}

/// The `aud` claim as it is written.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ClaimedAudience {
    /// It is missing, or is neither a text nor a list.
    Unreadable,
    /// It is a text.
    One(Box<str>),
    /// It is a list.
    List {
        /// The first texts in the list.
        first: Vec<Box<str>>,
        /// The number of elements in the list.
        all: usize,
    },
}

/// What was proven about a token that was nevertheless refused.
#[derive(Clone, Debug)]
pub struct Proven {
    /// The provider that issued it.
    pub provider: ProviderIndex,
    /// Its `iss`, as the token spells it.
    pub issuer: Issuer,
    /// Its subject, if it has a usable one.
    pub subject: Option<Subject>,
    /// The key that signed it.
    pub key: Arc<VerifyingKey>,
}

impl Claimed {
    /// Collects what a token says about itself.
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

/// The beginning of a text, cut between two characters.
fn cut(text: &str) -> Box<str> {
    let mut end = text.len().min(MAX_BYTES);
    while !text.is_char_boundary(end) {
        end = end.saturating_sub(1);
    }
    text.get(..end).unwrap_or_default().into()
}
