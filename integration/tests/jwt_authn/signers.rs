//! Key pairs that providers may have, and signatures with them under any name of an algorithm.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use integration::drill::Random;
use integration::keys;
use integration::paths;
use p256::ecdsa::signature::hazmat::PrehashSigner;
use pkcs8::der::Decode;
use pkcs8::{PrivateKeyInfoRef, SecretDocument};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
    EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384,
    RSA_PKCS1_SHA512, RSA_PSS_SHA256, RSA_PSS_SHA384, RSA_PSS_SHA512, RsaEncoding, RsaKeyPair,
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256, Sha384, Sha512};

/// What kind of key it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Rsa,
    P256,
    P384,
    Ed25519,
}

/// A key pair.
pub struct Signer {
    pub kind: Kind,
    /// The public half, without `kid`, `alg` and `use`.
    pub jwk: Value,
    private: Private,
}

enum Private {
    Rsa(RsaKeyPair),
    /// RSA of 1024 bits.
    Weak(jsonwebtoken::EncodingKey),
    /// The quick one, and the one that signs any hash.
    P256(EcdsaKeyPair, p256::ecdsa::SigningKey),
    P384(EcdsaKeyPair, p384::ecdsa::SigningKey),
    Ed25519(Ed25519KeyPair),
}

/// All the key pairs of a run: always the same.
pub struct Pool {
    ordinary: Vec<Arc<Signer>>,
    /// EC keys of which one coordinate begins with a zero.
    pub short: Vec<Arc<Signer>>,
    /// RSA of 1024 bits.
    pub weak: Arc<Signer>,
    /// RSA of 4096 bits.
    pub strong: Arc<Signer>,
    /// RSA of 2048 bits that a certificate is made for.
    pub certified: Arc<Signer>,
}

impl Kind {
    /// The name of the algorithm that such a key is for.
    pub const fn algorithm(self) -> &'static str {
        match self {
            Kind::Rsa => "RS256",
            Kind::P256 => "ES256",
            Kind::P384 => "ES384",
            Kind::Ed25519 => "EdDSA",
        }
    }

    /// The names that a key of this kind could sign under.
    pub const fn algorithms(self) -> &'static [&'static str] {
        match self {
            Kind::Rsa => &["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"],
            Kind::P256 => &["ES256"],
            Kind::P384 => &["ES384"],
            Kind::Ed25519 => &["EdDSA"],
        }
    }
}

impl Signer {
    fn rsa(name: &str) -> Signer {
        let pair = RsaKeyPair::from_pkcs8(pkcs8(name).as_bytes()).expect("an RSA key");
        Signer {
            kind: Kind::Rsa,
            jwk: keys::key(name).expect("a test key").jwk(),
            private: Private::Rsa(pair),
        }
    }

    fn weak() -> Signer {
        let name = "rsa-1024";
        let pkcs8 = pkcs8(name);
        let pkcs8 = PrivateKeyInfoRef::from_der(pkcs8.as_bytes()).expect("PKCS#8");
        let private = jsonwebtoken::EncodingKey::from_rsa_der(pkcs8.private_key.as_bytes());
        Signer {
            kind: Kind::Rsa,
            jwk: keys::key(name).expect("a test key").jwk(),
            private: Private::Weak(private),
        }
    }

    fn p256(random: &mut Random) -> Signer {
        let scalar = bytes::<32>(random);
        let private = p256::ecdsa::SigningKey::from_slice(&scalar).expect("a scalar");
        let point = private.verifying_key().to_sec1_point(false);
        let point = point.as_bytes();
        let pair = pair(&ECDSA_P256_SHA256_FIXED_SIGNING, &scalar, point);
        Signer {
            kind: Kind::P256,
            jwk: ec("P-256", point),
            private: Private::P256(pair, private),
        }
    }

    fn p384(random: &mut Random) -> Signer {
        let scalar = bytes::<48>(random);
        let private = p384::ecdsa::SigningKey::from_slice(&scalar).expect("a scalar");
        let point = private.verifying_key().to_sec1_point(false);
        let point = point.as_bytes();
        let pair = pair(&ECDSA_P384_SHA384_FIXED_SIGNING, &scalar, point);
        Signer {
            kind: Kind::P384,
            jwk: ec("P-384", point),
            private: Private::P384(pair, private),
        }
    }

    fn ed25519(random: &mut Random) -> Signer {
        let private = Ed25519KeyPair::from_seed_unchecked(&bytes::<32>(random)).expect("a seed");
        let x = URL_SAFE_NO_PAD.encode(private.public_key());
        Signer {
            kind: Kind::Ed25519,
            jwk: json!({"kty": "OKP", "crv": "Ed25519", "x": x}),
            private: Private::Ed25519(private),
        }
    }

    /// A signature with the hash that the name asks for, whether or not the name is of this kind of key.
    pub fn sign(&self, algorithm: &str, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.private {
            Private::Rsa(pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                let signed = pair.sign(encoding(algorithm), &random, message, &mut signature);
                signed.expect("a signature");
                signature
            }
            Private::Weak(key) => {
                let name = jsonwebtoken::Algorithm::RS256;
                let text = jsonwebtoken::crypto::sign(message, key, name).expect("a signature");
                URL_SAFE_NO_PAD.decode(text).expect("base64url")
            }
            Private::P256(_, key) if matches!(algorithm.get(2..), Some("384" | "512")) => {
                let hash = digest(algorithm, message);
                let signed: p256::ecdsa::Signature = key.sign_prehash(&hash).expect("a signature");
                signed.to_bytes().to_vec()
            }
            Private::P384(_, key) if algorithm.get(2..) != Some("384") => {
                let hash = digest(algorithm, message);
                let signed: p384::ecdsa::Signature = key.sign_prehash(&hash).expect("a signature");
                signed.to_bytes().to_vec()
            }
            Private::P256(pair, _) | Private::P384(pair, _) => {
                let signed = pair.sign(&random, message).expect("a signature");
                signed.as_ref().to_vec()
            }
            Private::Ed25519(key) => key.sign(message).as_ref().to_vec(),
        }
    }
}

impl Pool {
    pub fn new() -> Pool {
        let mut random = Random(0x6a77_745f_6175_7468);
        let mut ordinary: Vec<Signer> = ["rsa-a", "rsa-b", "rsa-stranger"].map(Signer::rsa).into();
        ordinary.extend((0..16).map(|_| Signer::p256(&mut random)));
        ordinary.extend((0..10).map(|_| Signer::p384(&mut random)));
        ordinary.extend((0..10).map(|_| Signer::ed25519(&mut random)));
        let short = vec![
            with_zero(|| Signer::p256(&mut random), "x"),
            with_zero(|| Signer::p256(&mut random), "y"),
            with_zero(|| Signer::p384(&mut random), "x"),
            with_zero(|| Signer::p384(&mut random), "y"),
        ];
        Pool {
            ordinary: ordinary.into_iter().map(Arc::new).collect(),
            short: short.into_iter().map(Arc::new).collect(),
            weak: Arc::new(Signer::weak()),
            strong: Arc::new(Signer::rsa("rsa-4096")),
            certified: Arc::new(Signer::rsa("rsa-a")),
        }
    }

    /// A key pair that is none of `others`, and of that kind if there is one more.
    pub fn other(&self, kind: Kind, others: &[Arc<Signer>], random: &mut Random) -> Arc<Signer> {
        let is_new = |signer: &&Arc<Signer>| !others.iter().any(|other| Arc::ptr_eq(other, signer));
        let new: Vec<_> = self.ordinary.iter().filter(is_new).collect();
        let fitting: Vec<_> = new.iter().filter(|signer| signer.kind == kind).collect();
        match fitting[..] {
            [] => Arc::clone(new[random.below(new.len())]),
            _ => Arc::clone(fitting[random.below(fitting.len())]),
        }
    }
}

/// The first key pair whose coordinate of that name begins with a zero: one in 256.
fn with_zero(mut make: impl FnMut() -> Signer, coordinate: &str) -> Signer {
    loop {
        let signer = make();
        if decoded(&signer.jwk, coordinate)[0] == 0 {
            return signer;
        }
    }
}

/// The bytes of a member that holds a number or a coordinate.
pub fn decoded(jwk: &Value, member: &str) -> Vec<u8> {
    let text = jwk[member].as_str().expect("a member of a key");
    URL_SAFE_NO_PAD.decode(text).expect("base64url")
}

fn ec(curve: &str, point: &[u8]) -> Value {
    let (x, y) = point[1..].split_at(point.len() / 2);
    let b64 = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    json!({"kty": "EC", "crv": curve, "x": b64(x), "y": b64(y)})
}

fn pair(algorithm: &'static EcdsaSigningAlgorithm, scalar: &[u8], point: &[u8]) -> EcdsaKeyPair {
    let random = SystemRandom::new();
    EcdsaKeyPair::from_private_key_and_public_key(algorithm, scalar, point, &random)
        .expect("a pair of keys")
}

fn pkcs8(name: &str) -> SecretDocument {
    let path = paths::integration().join(format!("keys/{name}.pem"));
    let text = std::fs::read_to_string(path).expect("a test key");
    let (_, document) = SecretDocument::from_pem(&text).expect("PEM");
    document
}

fn encoding(algorithm: &str) -> &'static dyn RsaEncoding {
    match algorithm {
        "RS384" => &RSA_PKCS1_SHA384,
        "RS512" => &RSA_PKCS1_SHA512,
        "PS256" => &RSA_PSS_SHA256,
        "PS384" => &RSA_PSS_SHA384,
        "PS512" => &RSA_PSS_SHA512,
        _ => &RSA_PKCS1_SHA256,
    }
}

fn digest(algorithm: &str, message: &[u8]) -> Vec<u8> {
    match algorithm.get(2..) {
        Some("384") => Sha384::digest(message).to_vec(),
        Some("512") => Sha512::digest(message).to_vec(),
        _ => Sha256::digest(message).to_vec(),
    }
}

/// Bytes that are a scalar below the order of any of the curves.
fn bytes<const LENGTH: usize>(random: &mut Random) -> [u8; LENGTH] {
    let mut bytes = [0; LENGTH];
    for chunk in bytes.chunks_mut(8) {
        chunk.copy_from_slice(&random.draw().to_be_bytes());
    }
    bytes[0] &= 0x7f;
    bytes
}
