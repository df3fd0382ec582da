//! A document that its author has signed: a JWS in compact form (RFC 7515 §3.1).

use std::fmt;

use crate::authn::json::Object;
use crate::authn::jwks::{KeySet, Lookup};
use crate::authn::keys::{Proof, SignatureEngine};
use crate::authn::token::Unverified;

/// `typ` of such a document, where it has one: one key may sign documents of several kinds
/// (RFC 8725 §3.11).
const TYPE: &str = "scopegate-organizations+jws";

/// A document whose signature is good.
#[derive(Debug)]
pub struct SignedDocument {
    /// Its payload.
    pub payload: Object,
}

/// Why it is not believed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SignedDocumentError {
    /// It is of another `typ`.
    Foreign,
    /// It is no JWS with a JSON object in it.
    Malformed,
    /// No key of the list has signed it.
    Unproven,
}

impl fmt::Display for SignedDocumentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Foreign => "its typ is another document's",
            Self::Malformed => "it is no JWS in compact form with a JSON object in it",
            Self::Unproven => "none of the keys of signed_by has signed it",
        })
    }
}

impl SignedDocument {
    /// Takes a JWS that one of these keys has signed.
    ///
    /// # Errors
    /// [`SignedDocumentError`]
    pub fn open(
        jws: &[u8],
        keys: &KeySet,
        engine: &dyn SignatureEngine,
    ) -> Result<Self, SignedDocumentError> {
        // A file ends with a line end.
        let jws = jws.trim_ascii_end();
        let unverified = Unverified::parse(jws, jws.len());
        let unverified = unverified.map_err(|_| SignedDocumentError::Malformed)?;
        let header = &unverified.header;
        if header.token_type.as_deref().is_some_and(|typ| typ != TYPE) {
            return Err(SignedDocumentError::Foreign);
        }
        let algorithm = header.algorithm.ok_or(SignedDocumentError::Unproven)?;
        let candidates = match keys.find(header.key_id.as_deref(), algorithm) {
            Lookup::Found(key) => vec![key],
            Lookup::Candidates(keys) => keys,
            Lookup::AlgorithmMismatch | Lookup::Unknown => Vec::new(),
        };
        let (input, signature) = (unverified.signing_input, &unverified.signature);
        let mut proofs = candidates
            .into_iter()
            .map(|key| Proof::by(engine, key, input, signature));
        if !proofs.any(|proof| proof.is_ok()) {
            return Err(SignedDocumentError::Unproven);
        }
        Ok(Self {
            payload: unverified.claims,
        })
    }
}
