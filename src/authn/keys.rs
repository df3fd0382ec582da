//! A verifying key, bound to one algorithm. Only this file uses the crates that check
//! signatures, apart from the stand-in provider of `scopegate explain`.
//!
//! jwt-simple imports keys, and enforces its policies on them: RSA with 2048–4096 bits and
//! exponent 65537, points on the curve, no weak Ed25519 keys. This file then applies the
//! primitive that the imported key wraps to the signing input. jwt-simple's own `verify_token`
//! is not called: it would parse the header and the claims a second time, by looser rules and,
//! for a few headers, different ones than [`crate::authn::token`], so that the engine in the
//! module and Envoy's could disagree about a token.

use std::fmt;
use std::sync::Arc;

use jwt_simple::algorithms::{
    ECDSAP256PublicKeyLike, ECDSAP384PublicKeyLike, ES256PublicKey, ES384PublicKey,
    Ed25519PublicKey, EdDSAPublicKeyLike, PS256PublicKey, PS384PublicKey, PS512PublicKey,
    RS256PublicKey, RS384PublicKey, RS512PublicKey, RSAPublicKey, RSAPublicKeyLike,
};
use p256::ecdsa::signature::Verifier as _;

/// A signature algorithm of RFC 7518 §3.1 or RFC 8037 that the gate verifies.
///
/// HS* and `none` have no variant, so no code can select them.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Algorithm {
    /// ECDSA, P-256, SHA-256
    ES256,
    /// ECDSA, P-384, SHA-384
    ES384,
    /// Ed25519
    EdDSA,
    /// RSASSA-PSS, SHA-256
    PS256,
    /// RSASSA-PSS, SHA-384
    PS384,
    /// RSASSA-PSS, SHA-512
    PS512,
    /// RSASSA-PKCS1-v1_5, SHA-256
    RS256,
    /// RSASSA-PKCS1-v1_5, SHA-384
    RS384,
    /// RSASSA-PKCS1-v1_5, SHA-512
    RS512,
}

impl Algorithm {
    /// All algorithms.
    pub const ALL: [Self; 9] = [
        Self::ES256,
        Self::ES384,
        Self::EdDSA,
        Self::PS256,
        Self::PS384,
        Self::PS512,
        Self::RS256,
        Self::RS384,
        Self::RS512,
    ];

    /// The JWA name, which is case-sensitive.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|alg| alg.name() == name)
    }

    /// The JWA name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ES256 => "ES256",
            Self::ES384 => "ES384",
            Self::EdDSA => "EdDSA",
            Self::PS256 => "PS256",
            Self::PS384 => "PS384",
            Self::PS512 => "PS512",
            Self::RS256 => "RS256",
            Self::RS384 => "RS384",
            Self::RS512 => "RS512",
        }
    }

    /// Whether its keys are RSA keys.
    #[must_use]
    pub const fn is_rsa(self) -> bool {
        matches!(
            self,
            Self::PS256 | Self::PS384 | Self::PS512 | Self::RS256 | Self::RS384 | Self::RS512
        )
    }

    /// The name of the hash that Envoy's `verify_signature` takes. `None` for algorithms that
    /// it does not support: it does RSA with PKCS#1 v1.5 padding, and ECDSA.
    #[must_use]
    pub const fn host_hash(self) -> Option<&'static str> {
        match self {
            Self::ES256 | Self::RS256 => Some("sha256"),
            Self::ES384 | Self::RS384 => Some("sha384"),
            Self::RS512 => Some("sha512"),
            Self::EdDSA | Self::PS256 | Self::PS384 | Self::PS512 => None,
        }
    }

    /// The length of `r` and of `s` in a JWS signature (RFC 7518 §3.4), in bytes, for ECDSA.
    const fn ecdsa_scalar_bytes(self) -> Option<usize> {
        match self {
            Self::ES256 => Some(32),
            Self::ES384 => Some(48),
            _ => None,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A signature that does not verify.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct BadSignature;

/// Key material that cannot be used.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct BadKey;

/// Something that checks signatures: the proxy's own crypto, or the code compiled into the
/// module.
pub trait SignatureEngine: Send {
    /// Checks `signature` over `input` with exactly the key's algorithm.
    ///
    /// # Errors
    /// [`BadSignature`] if it does not verify, for whatever reason.
    fn verify(
        &self,
        key: &VerifyingKey,
        input: &[u8],
        signature: &[u8],
    ) -> Result<(), BadSignature>;

    /// Where signatures of this algorithm are checked, for metrics.
    fn place(&self, _algorithm: Algorithm) -> Place {
        Place::Module
    }
}

/// Where signatures are checked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Place {
    /// In the proxy's crypto library.
    Host,
    /// In the code that is compiled into the module.
    Module,
}

impl Place {
    /// The name in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Module => "module",
        }
    }
}

/// The engine that is compiled into the module.
#[derive(Clone, Copy, Debug, Default)]
pub struct InModule;

impl SignatureEngine for InModule {
    fn verify(
        &self,
        key: &VerifyingKey,
        input: &[u8],
        signature: &[u8],
    ) -> Result<(), BadSignature> {
        key.verify_in_module(input, signature)
    }
}

/// Proof that a token's signature was checked with a key and was good.
///
/// Only [`Proof::by`] creates one, so each goes back to an engine's verdict. The token cache
/// stores it together with the exact bytes that it is about.
#[derive(Clone, Debug)]
pub struct Proof {
    key: Arc<VerifyingKey>,
}

impl Proof {
    /// Has an engine check a signature.
    ///
    /// # Errors
    /// [`BadSignature`] if it does not verify, for whatever reason.
    pub fn by(
        engine: &dyn SignatureEngine,
        key: &Arc<VerifyingKey>,
        input: &[u8],
        signature: &[u8],
    ) -> Result<Self, BadSignature> {
        engine.verify(key, input, signature)?;
        Ok(Self {
            key: Arc::clone(key),
        })
    }

    /// The key that the signature was checked with.
    #[must_use]
    pub const fn key(&self) -> &Arc<VerifyingKey> {
        &self.key
    }
}

/// A public key, with the one algorithm that it is bound to.
#[derive(Clone)]
pub struct VerifyingKey {
    key_id: Option<Box<str>>,
    algorithm: Algorithm,
    spki: Arc<[u8]>,
    material: Material,
}

#[derive(Clone)]
enum Material {
    ES256(ES256PublicKey),
    ES384(ES384PublicKey),
    EdDSA(Ed25519PublicKey),
    PS256(PS256PublicKey),
    PS384(PS384PublicKey),
    PS512(PS512PublicKey),
    RS256(RS256PublicKey),
    RS384(RS384PublicKey),
    RS512(RS512PublicKey),
}

impl VerifyingKey {
    /// Creates an RSA key from its modulus and exponent, both big-endian.
    ///
    /// # Errors
    /// [`BadKey`] if it has fewer than 2048 or more than 4096 bits, an exponent other than
    /// 65537 or an even modulus, or if the algorithm is not one of RSA's.
    pub fn rsa(
        key_id: Option<&str>,
        algorithm: Algorithm,
        n: &[u8],
        e: &[u8],
    ) -> Result<Self, BadKey> {
        macro_rules! import {
            ($variant:ident, $kind:ident) => {{
                let key = $kind::from_components(n, e).map_err(|_| BadKey)?;
                let spki = key.public_key().to_der().map_err(|_| BadKey)?;
                (Material::$variant(key), spki)
            }};
        }
        let (material, spki) = match algorithm {
            Algorithm::PS256 => import!(PS256, PS256PublicKey),
            Algorithm::PS384 => import!(PS384, PS384PublicKey),
            Algorithm::PS512 => import!(PS512, PS512PublicKey),
            Algorithm::RS256 => import!(RS256, RS256PublicKey),
            Algorithm::RS384 => import!(RS384, RS384PublicKey),
            Algorithm::RS512 => import!(RS512, RS512PublicKey),
            Algorithm::ES256 | Algorithm::ES384 | Algorithm::EdDSA => return Err(BadKey),
        };
        Ok(Self::new(key_id, algorithm, spki, material))
    }

    /// Creates an elliptic-curve key from its coordinates. They should have the curve's full
    /// length (RFC 7518 §6.2.1.2), but some providers write them as integers: without leading
    /// zeros, or with one zero more.
    ///
    /// # Errors
    /// [`BadKey`] if a coordinate is too long or missing, if the point is not on the curve, or
    /// if the algorithm is not one of ECDSA's.
    pub fn ec(
        key_id: Option<&str>,
        algorithm: Algorithm,
        x: &[u8],
        y: &[u8],
    ) -> Result<Self, BadKey> {
        let bytes = algorithm.ecdsa_scalar_bytes().ok_or(BadKey)?;
        let (x, y) = (coordinate(x, bytes)?, coordinate(y, bytes)?);
        let point = [&[0x04][..], &x, &y].concat();
        let (material, spki) = if algorithm == Algorithm::ES256 {
            let key = ES256PublicKey::from_bytes(&point).map_err(|_| BadKey)?;
            (Material::ES256(key), [&P256_SPKI[..], &point].concat())
        } else {
            let key = ES384PublicKey::from_bytes(&point).map_err(|_| BadKey)?;
            (Material::ES384(key), [&P384_SPKI[..], &point].concat())
        };
        Ok(Self::new(key_id, algorithm, spki, material))
    }

    /// Creates an Ed25519 key from its 32 bytes.
    ///
    /// # Errors
    /// [`BadKey`] if the length is another one, or if the key is weak.
    pub fn ed25519(key_id: Option<&str>, x: &[u8]) -> Result<Self, BadKey> {
        let key = Ed25519PublicKey::from_bytes(x).map_err(|_| BadKey)?;
        let spki = [&ED25519_SPKI[..], x].concat();
        Ok(Self::new(
            key_id,
            Algorithm::EdDSA,
            spki,
            Material::EdDSA(key),
        ))
    }

    fn new(key_id: Option<&str>, algorithm: Algorithm, spki: Vec<u8>, material: Material) -> Self {
        Self {
            key_id: key_id.map(Into::into),
            algorithm,
            spki: spki.into(),
            material,
        }
    }

    /// The `kid` under which it was published.
    #[must_use]
    pub fn key_id(&self) -> Option<&str> {
        self.key_id.as_deref()
    }

    /// The one algorithm that it verifies.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The key as a SubjectPublicKeyInfo in DER (RFC 5280 §4.1), which is what Envoy's crypto
    /// takes.
    #[must_use]
    pub fn spki(&self) -> &[u8] {
        &self.spki
    }

    /// What that information holds: an RSAPublicKey in DER (RFC 8017, appendix A.1.1), an
    /// uncompressed point, or the 32 bytes of Ed25519. `None` is never the case for a key that was
    /// created.
    #[must_use]
    pub fn subject_public_key(&self) -> Option<&[u8]> {
        let (SEQUENCE, information, _) = element(&self.spki)? else {
            return None;
        };
        let (SEQUENCE, _, rest) = element(information)? else {
            return None;
        };
        match element(rest)? {
            // All eight bits of the last byte are used.
            (BIT_STRING, [0, key @ ..], _) => Some(key),
            _ => None,
        }
    }

    /// Whether both are the same key with the same name and the same algorithm.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.algorithm == other.algorithm && self.key_id == other.key_id && self.spki == other.spki
    }

    fn verify_in_module(&self, input: &[u8], signature: &[u8]) -> Result<(), BadSignature> {
        match &self.material {
            Material::ES256(key) => {
                let signature =
                    p256::ecdsa::Signature::from_slice(signature).map_err(|_| BadSignature)?;
                let key = key.public_key().as_ref();
                key.verify(input, &signature).map_err(|_| BadSignature)
            }
            Material::ES384(key) => {
                let signature =
                    p384::ecdsa::Signature::from_slice(signature).map_err(|_| BadSignature)?;
                let key = key.public_key().as_ref();
                key.verify(input, &signature).map_err(|_| BadSignature)
            }
            Material::EdDSA(key) => {
                let signature =
                    ed25519_compact::Signature::from_slice(signature).map_err(|_| BadSignature)?;
                let key = key.public_key().as_ref();
                key.verify(input, &signature).map_err(|_| BadSignature)
            }
            Material::PS256(key) => verify_rsa(key, input, signature),
            Material::PS384(key) => verify_rsa(key, input, signature),
            Material::PS512(key) => verify_rsa(key, input, signature),
            Material::RS256(key) => verify_rsa(key, input, signature),
            Material::RS384(key) => verify_rsa(key, input, signature),
            Material::RS512(key) => verify_rsa(key, input, signature),
        }
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifyingKey")
            .field("key_id", &self.key_id)
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}

const SEQUENCE: u8 = 0x30;
const BIT_STRING: u8 = 0x03;

/// The first element of DER (ITU-T X.690): its tag, what it holds, and what follows it.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let [tag, length, rest @ ..] = der else {
        return None;
    };
    let (length, rest) = match usize::from(*length) {
        short @ ..0x80 => (short, rest),
        long => {
            let (bytes, rest) = rest.split_at_checked(long & 0x7f)?;
            let length = bytes.iter().try_fold(0_usize, |length, byte| {
                length.checked_mul(256)?.checked_add(usize::from(*byte))
            });
            (length?, rest)
        }
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((*tag, content, rest))
}

/// A coordinate with exactly `bytes` bytes that is the same number as the one written, which
/// may lack leading zeros or have one too many.
fn coordinate(written: &[u8], bytes: usize) -> Result<Vec<u8>, BadKey> {
    let written = match written {
        [0, rest @ ..] if rest.len() == bytes => rest,
        written => written,
    };
    let missing = bytes.checked_sub(written.len()).ok_or(BadKey)?;
    if written.is_empty() {
        return Err(BadKey);
    }
    Ok([&vec![0; missing], written].concat())
}

fn verify_rsa<K: RSAPublicKeyLike>(
    key: &K,
    input: &[u8],
    signature: &[u8],
) -> Result<(), BadSignature> {
    use superboring::pkey::PKey;
    use superboring::sign::Verifier;

    let public: &RSAPublicKey = key.public_key();
    let public = PKey::from_rsa(public.as_ref().clone()).map_err(|_| BadSignature)?;
    let mut verifier = Verifier::new(K::hash(), &public).map_err(|_| BadSignature)?;
    verifier
        .set_rsa_padding(key.padding_scheme())
        .map_err(|_| BadSignature)?;
    verifier.update(input).map_err(|_| BadSignature)?;
    match verifier.verify(signature) {
        Ok(true) => Ok(()),
        Ok(false) | Err(_) => Err(BadSignature),
    }
}

/// Turns a JWS ECDSA signature (`r‖s`, RFC 7518 §3.4) into the ASN.1 DER form that
/// Envoy's crypto takes.
///
/// # Errors
/// [`BadSignature`] if the length is not exactly that of the algorithm. The longer and shorter
/// spellings that DER would tolerate are thus refused.
pub fn ecdsa_der(algorithm: Algorithm, signature: &[u8]) -> Result<Vec<u8>, BadSignature> {
    let bytes = algorithm.ecdsa_scalar_bytes().ok_or(BadSignature)?;
    if signature.len() != bytes.saturating_mul(2) {
        return Err(BadSignature);
    }
    let (r, s) = signature.split_at(bytes);
    let body = [integer_der(r)?, integer_der(s)?].concat();
    // Both scalars together stay below 128 bytes, so the length fits in one byte.
    let length = u8::try_from(body.len()).map_err(|_| BadSignature)?;
    Ok([&[0x30, length][..], &body].concat())
}

/// A positive integer in minimal DER; zero is refused (CVE-2022-21449).
fn integer_der(scalar: &[u8]) -> Result<Vec<u8>, BadSignature> {
    let first = scalar
        .iter()
        .position(|byte| *byte != 0)
        .ok_or(BadSignature)?;
    let digits = scalar.get(first..).ok_or(BadSignature)?;
    let sign: &[u8] = if digits.first().is_some_and(|byte| *byte >= 0x80) {
        &[0]
    } else {
        &[]
    };
    let length = sign.len().saturating_add(digits.len());
    let length = u8::try_from(length).map_err(|_| BadSignature)?;
    Ok([&[0x02, length][..], sign, digits].concat())
}

/// The SPKI up to the point: `SEQUENCE { SEQUENCE { id-ecPublicKey, prime256v1 }, BIT STRING`
/// (RFC 5480 §2).
const P256_SPKI: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// The same, with secp384r1.
const P384_SPKI: [u8; 23] = [
    0x30, 0x76, 0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05, 0x2b,
    0x81, 0x04, 0x00, 0x22, 0x03, 0x62, 0x00,
];

/// The same, with id-Ed25519 (RFC 8410 §4).
const ED25519_SPKI: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];

#[cfg(test)]
mod tests {
    use jwt_simple::algorithms::{ES256KeyPair, ES384KeyPair};

    use super::*;

    #[test]
    fn spki_prefixes_are_what_the_crypto_crates_write() {
        let p256 = ES256KeyPair::generate().public_key();
        let point = p256.public_key().to_bytes_uncompressed();
        let ours = VerifyingKey::ec(None, Algorithm::ES256, &point[1..33], &point[33..]).unwrap();
        assert_eq!(ours.spki(), p256.to_der().unwrap());

        let p384 = ES384KeyPair::generate().public_key();
        let point = p384.public_key().to_bytes_uncompressed();
        let ours = VerifyingKey::ec(None, Algorithm::ES384, &point[1..49], &point[49..]).unwrap();
        assert_eq!(ours.spki(), p384.to_der().unwrap());
    }

    #[test]
    fn ecdsa_der_is_minimal_and_refuses_zero_and_odd_lengths() {
        let mut signature = [0; 64];
        signature[31] = 0x80;
        signature[63] = 0x01;
        assert_eq!(
            ecdsa_der(Algorithm::ES256, &signature),
            Ok(vec![0x30, 7, 2, 2, 0, 0x80, 2, 1, 1])
        );
        assert_eq!(ecdsa_der(Algorithm::ES256, &[0; 64]), Err(BadSignature));
        for length in [0, 63, 65, 96] {
            assert_eq!(
                ecdsa_der(Algorithm::ES256, &vec![1; length]),
                Err(BadSignature)
            );
        }
        assert_eq!(ecdsa_der(Algorithm::ES384, &[1; 96]).unwrap().len(), 102);
    }

    #[test]
    fn names_are_case_sensitive_and_closed() {
        for name in [
            "none", "None", "HS256", "es256", "RS1", "ES512", "ES256K", "",
        ] {
            assert_eq!(Algorithm::from_name(name), None, "{name}");
        }
        for algorithm in Algorithm::ALL {
            assert_eq!(Algorithm::from_name(algorithm.name()), Some(algorithm));
        }
    }
}
