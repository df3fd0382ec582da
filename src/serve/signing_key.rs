//! A private key that signs documents.
//!
//! Every scheme here is deterministic: EdDSA and RSASSA-PKCS1-v1_5 by definition, ECDSA by RFC
//! 6979. Replicas with the same key therefore produce the same signature for the same bytes.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use p256::ecdsa::signature::Signer as _;
use p256::pkcs8::DecodePrivateKey as _;
use ring::digest::{SHA256, digest};
use ring::rand::SystemRandom;
use ring::signature::{
    Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair, RsaPublicKeyComponents,
};
use serde_json::{Value, json};
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;

use crate::authn::json::{MAX_DEPTH, parse_object};
use crate::authn::jwks::KeySet;
use crate::authn::keys::{Algorithm, InModule};
use crate::authn::signed_document::{SignedDocument, TYPE};
use crate::words::identity::Issuers;

/// A private key with its one algorithm, and its public half.
pub struct SigningKey {
    material: Material,
    public: PublicKey,
    key_id: String,
}

enum Material {
    Ed25519(Ed25519KeyPair),
    P256(p256::ecdsa::SigningKey),
    P384(p384::ecdsa::SigningKey),
    Rsa(Box<RsaKeyPair>),
}

/// The public half, in base64url.
enum PublicKey {
    Ed25519 { x: String },
    Ec { curve: Curve, x: String, y: String },
    Rsa { n: String, e: String },
}

#[derive(Clone, Copy)]
enum Curve {
    P256,
    P384,
}

impl Curve {
    const fn name(self) -> &'static str {
        match self {
            Self::P256 => "P-256",
            Self::P384 => "P-384",
        }
    }
}

impl SigningKey {
    /// Reads the first private key of a PEM file: PKCS#8, or the formats that older tools write
    /// (PKCS#1 for RSA, SEC1 for ECDSA). The algorithm follows from the key: `EdDSA`, `ES256`,
    /// `ES384`, or `RS256` for RSA with 2048 to 4096 bits.
    ///
    /// # Errors
    /// [`SigningKeyError`] if there is no such key.
    pub fn parse(pem: &[u8]) -> Result<Self, SigningKeyError> {
        let der = PrivateKeyDer::from_pem_slice(pem).map_err(|_| SigningKeyError::None)?;
        let (material, public) = match &der {
            PrivateKeyDer::Pkcs8(der) => of_pkcs8(der.secret_pkcs8_der()),
            PrivateKeyDer::Pkcs1(der) => of_rsa(RsaKeyPair::from_der(der.secret_pkcs1_der())),
            PrivateKeyDer::Sec1(der) => of_sec1(der.secret_sec1_der()),
            _ => None,
        }
        .ok_or(SigningKeyError::Unfit)?;
        let key_id = public.thumbprint();
        let key = Self {
            material,
            public,
            key_id,
        };
        // It is better to find out here, rather than in every gate, that the two halves in a
        // file do not belong together, or that gates do not accept the key.
        let proven = key.sign("{}").and_then(|jws| key.opens(&jws));
        proven.map_or(Err(SigningKeyError::Unfit), |()| Ok(key))
    }

    /// The `kid`, which is the thumbprint of the public half (RFC 7638).
    #[must_use]
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// The public half as a JWK.
    #[must_use]
    pub fn jwk(&self) -> Value {
        let mut jwk = self.public.members();
        for (name, value) in [
            ("alg", self.algorithm().name()),
            ("kid", &self.key_id),
            ("use", "sig"),
        ] {
            if let Some(members) = jwk.as_object_mut() {
                members.insert(name.to_owned(), value.into());
            }
        }
        jwk
    }

    /// Signs that payload as a JWS in compact form (RFC 7515 §3.1). Returns `None` if the
    /// library fails, which it does only if there is no memory left.
    #[must_use]
    pub fn sign(&self, payload: &str) -> Option<String> {
        let header = json!({
            "alg": self.algorithm().name(),
            "kid": self.key_id,
            "typ": TYPE,
        });
        // Three bytes become four characters, and header and signature take some more.
        let room = payload.len().div_ceil(3).saturating_mul(4);
        let mut jws = String::with_capacity(room.saturating_add(1024));
        URL_SAFE_NO_PAD.encode_string(header.to_string(), &mut jws);
        jws.push('.');
        URL_SAFE_NO_PAD.encode_string(payload, &mut jws);
        let signature = self.signature(jws.as_bytes())?;
        jws.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut jws);
        Some(jws)
    }

    fn signature(&self, input: &[u8]) -> Option<Vec<u8>> {
        match &self.material {
            Material::Ed25519(key) => Some(key.sign(input).as_ref().to_vec()),
            Material::P256(key) => {
                let signature: p256::ecdsa::Signature = key.try_sign(input).ok()?;
                Some(signature.to_bytes().to_vec())
            }
            Material::P384(key) => {
                let signature: p384::ecdsa::Signature = key.try_sign(input).ok()?;
                Some(signature.to_bytes().to_vec())
            }
            Material::Rsa(key) => {
                let mut signature = vec![0; key.public().modulus_len()];
                // The library uses random numbers for blinding. They do not affect the result.
                let random = SystemRandom::new();
                let signed = key.sign(&RSA_PKCS1_SHA256, &random, input, &mut signature);
                signed.ok().map(|()| signature)
            }
        }
    }

    const fn algorithm(&self) -> Algorithm {
        match &self.material {
            Material::Ed25519(_) => Algorithm::EdDSA,
            Material::P256(_) => Algorithm::ES256,
            Material::P384(_) => Algorithm::ES384,
            Material::Rsa(_) => Algorithm::RS256,
        }
    }

    /// Whether a gate with the public half accepts this JWS.
    fn opens(&self, jws: &str) -> Option<()> {
        let set = jwk_set([self]).to_string();
        let set = parse_object(set.as_bytes(), MAX_DEPTH).ok()?;
        let keys = KeySet::from_object(&set, &Algorithm::ALL, &Issuers::new("", [])).ok()?;
        let opened = SignedDocument::open(jws.as_bytes(), &keys, &InModule);
        opened.ok().map(|_| ())
    }
}

/// The public halves of keys as a JWK Set, which is the form that `signed_by` takes.
#[must_use]
pub fn jwk_set<'a>(keys: impl IntoIterator<Item = &'a SigningKey>) -> Value {
    let keys: Vec<Value> = keys.into_iter().map(SigningKey::jwk).collect();
    json!({ "keys": keys })
}

fn of_pkcs8(der: &[u8]) -> Option<(Material, PublicKey)> {
    // OpenSSL writes only the private half of an Ed25519 key.
    if let Ok(key) = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der) {
        let x = URL_SAFE_NO_PAD.encode(key.public_key().as_ref());
        return Some((Material::Ed25519(key), PublicKey::Ed25519 { x }));
    }
    if let Ok(key) = p256::SecretKey::from_pkcs8_der(der) {
        return of_p256(&key);
    }
    if let Ok(key) = p384::SecretKey::from_pkcs8_der(der) {
        return of_p384(&key);
    }
    of_rsa(RsaKeyPair::from_pkcs8(der))
}

fn of_sec1(der: &[u8]) -> Option<(Material, PublicKey)> {
    if let Ok(key) = p256::SecretKey::from_sec1_der(der) {
        return of_p256(&key);
    }
    of_p384(&p384::SecretKey::from_sec1_der(der).ok()?)
}

fn of_p256(key: &p256::SecretKey) -> Option<(Material, PublicKey)> {
    let point = key.public_key().to_sec1_bytes();
    let public = of_point(Curve::P256, &point)?;
    Some((Material::P256(key.into()), public))
}

fn of_p384(key: &p384::SecretKey) -> Option<(Material, PublicKey)> {
    let point = key.public_key().to_sec1_bytes();
    let public = of_point(Curve::P384, &point)?;
    Some((Material::P384(key.into()), public))
}

/// Reads the coordinates of an uncompressed point (SEC 1 §2.3.3).
fn of_point(curve: Curve, point: &[u8]) -> Option<PublicKey> {
    let (form, coordinates) = point.split_first()?;
    if *form != 0x04 {
        return None;
    }
    let (x, y) = coordinates.split_at_checked(coordinates.len() / 2)?;
    let [x, y] = [x, y].map(|number| URL_SAFE_NO_PAD.encode(number));
    Some(PublicKey::Ec { curve, x, y })
}

fn of_rsa<E>(key: Result<RsaKeyPair, E>) -> Option<(Material, PublicKey)> {
    let key = key.ok()?;
    let RsaPublicKeyComponents::<Vec<u8>> { n, e } = key.public().into();
    let [n, e] = [n, e].map(|number| URL_SAFE_NO_PAD.encode(number));
    let public = PublicKey::Rsa { n, e };
    Some((Material::Rsa(Box::new(key)), public))
}

impl PublicKey {
    /// The members that every JWK of this kind must have (RFC 7518 §6, RFC 8037 §2).
    fn members(&self) -> Value {
        match self {
            Self::Ed25519 { x } => json!({"crv": "Ed25519", "kty": "OKP", "x": x}),
            Self::Ec { curve, x, y } => {
                json!({"crv": curve.name(), "kty": "EC", "x": x, "y": y})
            }
            Self::Rsa { n, e } => json!({"e": e, "kty": "RSA", "n": n}),
        }
    }

    /// The thumbprint of RFC 7638 §3.1, over those members in the order of their names and
    /// without blanks.
    fn thumbprint(&self) -> String {
        let text = match self {
            Self::Ed25519 { x } => format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#),
            Self::Ec { curve, x, y } => {
                let curve = curve.name();
                format!(r#"{{"crv":"{curve}","kty":"EC","x":"{x}","y":"{y}"}}"#)
            }
            Self::Rsa { n, e } => format!(r#"{{"e":"{e}","kty":"RSA","n":"{n}"}}"#),
        };
        URL_SAFE_NO_PAD.encode(digest(&SHA256, text.as_bytes()))
    }
}

/// Shows nothing secret.
impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.algorithm(), self.key_id)
    }
}

/// Why a file has no key to sign with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SigningKeyError {
    /// There is no private key, or it is encrypted.
    None,
    /// The key is of another kind, or is broken.
    Unfit,
}

impl fmt::Display for SigningKeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => {
                "there is no private key in it: PEM is wanted, PKCS#8 without a password, as \
                 `openssl genpkey -algorithm ed25519` writes it"
            }
            Self::Unfit => {
                "its key cannot sign for gates: they take Ed25519, P-256, P-384, and RSA of 2048 \
                 to 4096 bits with the exponent 65537"
            }
        })
    }
}

impl std::error::Error for SigningKeyError {}
