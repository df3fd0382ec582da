//! Who is calling: from the bytes of a token to a proven caller.

pub mod authenticator;
pub mod basic;
pub mod bearer;
pub mod claims;
pub mod discovery;
pub mod group_source;
pub mod json;
pub mod jwks;
pub mod key_cache;
pub mod key_lease;
pub mod keys;
pub mod refused;
pub mod signed_document;
pub mod token;
pub mod token_cache;
pub mod verifier;
