//! Checks signatures with ring, whose code for RSA and the curves is BoringSSL's.

use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256,
    RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, UnparsedPublicKey, VerificationAlgorithm,
};

use crate::authn::keys::{Algorithm, BadSignature, Place, SignatureEngine, VerifyingKey};

/// The engine of the native host.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ring;

const fn scheme(algorithm: Algorithm) -> &'static dyn VerificationAlgorithm {
    match algorithm {
        Algorithm::ES256 => &ECDSA_P256_SHA256_FIXED,
        Algorithm::ES384 => &ECDSA_P384_SHA384_FIXED,
        Algorithm::EdDSA => &ED25519,
        Algorithm::PS256 => &RSA_PSS_2048_8192_SHA256,
        Algorithm::PS384 => &RSA_PSS_2048_8192_SHA384,
        Algorithm::PS512 => &RSA_PSS_2048_8192_SHA512,
        Algorithm::RS256 => &RSA_PKCS1_2048_8192_SHA256,
        Algorithm::RS384 => &RSA_PKCS1_2048_8192_SHA384,
        Algorithm::RS512 => &RSA_PKCS1_2048_8192_SHA512,
    }
}

impl SignatureEngine for Ring {
    fn verify(
        &self,
        key: &VerifyingKey,
        input: &[u8],
        signature: &[u8],
    ) -> Result<(), BadSignature> {
        let public = key.subject_public_key().ok_or(BadSignature)?;
        UnparsedPublicKey::new(scheme(key.algorithm()), public)
            .verify(input, signature)
            .map_err(|_| BadSignature)
    }

    fn place(&self, _algorithm: Algorithm) -> Place {
        Place::Module
    }
}
