//! A document that its author has signed, as a JWS in compact form (RFC 7515 §3.1).

use std::fmt;
use std::sync::Arc;

use crate::authn::json::Object;
use crate::authn::jwks::{KeySet, Lookup};
use crate::authn::keys::{Proof, SignatureEngine, VerifyingKey};
use crate::authn::token::Unverified;

/// The `typ` of such a document, if it has one. It tells documents of several kinds apart that
/// are signed with the same key (RFC 8725 §3.11).
pub const TYPE: &str = "scopegate-organizations+jws";

/// A document whose signature is good.
#[derive(Debug)]
pub struct SignedDocument {
    /// The key that signed it.
    pub key: Arc<VerifyingKey>,
    /// Its payload.
    pub payload: Object,
}

/// Why a document is not believed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum SignedDocumentError {
    /// It has another `typ`.
    Foreign,
    /// It is not a JWS that holds a JSON object.
    Malformed,
    /// It is JSON without a signature.
    Plain,
    /// None of the listed keys has signed it.
    Unproven {
        /// The key ID that it names.
        key_id: Option<String>,
    },
}

impl fmt::Display for SignedDocumentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Foreign => f.write_str("its typ is another document's"),
            Self::Malformed => f.write_str("it is no JWS in compact form with a JSON object in it"),
            Self::Plain => f.write_str(
                "it is plain JSON, and organizations_from.signed_by wants it signed: a JWS in \
                 compact form, as serve-organizations makes it with --signing-key",
            ),
            Self::Unproven { key_id: None } => {
                f.write_str("none of the keys of signed_by has signed it, and it names no kid")
            }
            Self::Unproven { key_id: Some(name) } => write!(
                f,
                "none of the keys of signed_by has signed it, which names the kid {name:?}"
            ),
        }
    }
}

/// Whether bytes begin like a JWS in compact form, which is with an object in base64url.
#[must_use]
pub fn looks_signed(document: &[u8]) -> bool {
    document.starts_with(b"eyJ")
}

impl SignedDocument {
    /// Opens a JWS that one of these keys has signed.
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
        let unverified = unverified.map_err(|_| {
            if jws.trim_ascii_start().starts_with(b"{") {
                SignedDocumentError::Plain
            } else {
                SignedDocumentError::Malformed
            }
        })?;
        let header = &unverified.header;
        let unproven = || SignedDocumentError::Unproven {
            key_id: header.key_id.clone(),
        };
        if header.token_type.as_deref().is_some_and(|typ| typ != TYPE) {
            return Err(SignedDocumentError::Foreign);
        }
        let algorithm = header.algorithm.ok_or_else(unproven)?;
        let candidates = match keys.find(header.key_id.as_deref(), algorithm) {
            Lookup::Found(key) => vec![key],
            Lookup::Candidates(keys) => keys,
            Lookup::AlgorithmMismatch | Lookup::Unknown => Vec::new(),
        };
        let (input, signature) = (unverified.signing_input, &unverified.signature);
        let mut proofs = candidates
            .into_iter()
            .filter_map(|key| Proof::by(engine, key, input, signature).ok());
        let proof = proofs.next().ok_or_else(unproven)?;
        Ok(Self {
            key: Arc::clone(proof.key()),
            payload: unverified.claims,
        })
    }
}
