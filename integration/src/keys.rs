//! Test keys from `integration/keys`. They sign with any algorithm, even one that does not fit.
//!
//! The keys are files and are not generated, because generating RSA keys is slow in a debug build, and because a
//! token that fails today must fail tomorrow.

use std::collections::BTreeMap;
use std::fs;
use std::sync::{Arc, Mutex, OnceLock};

use anyhow::{Context, Result, anyhow, bail};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use pkcs1::RsaPrivateKey;
use pkcs8::der::asn1::{BitStringRef, UintRef};
use pkcs8::der::pem::LineEnding;
use pkcs8::der::{Decode, Encode};
use pkcs8::spki::SubjectPublicKeyInfoRef;
use pkcs8::{Document, ObjectIdentifier, PrivateKeyInfoRef, SecretDocument};
use ring::rand::SystemRandom;
use ring::signature::{self, EcdsaKeyPair, Ed25519KeyPair, RsaKeyPair};
use sec1::EcPrivateKey;
use serde_json::{Value, json};

use crate::paths;

/// A key pair of `integration/keys`, known by its file name.
pub struct TestKey {
    name: String,
    pkcs8: SecretDocument,
    public: Public,
    spki: Document,
}

/// The public half, in the parts that a JWK consists of.
enum Public {
    Rsa {
        n: Vec<u8>,
        e: Vec<u8>,
    },
    Ec {
        curve: Curve,
        x: Vec<u8>,
        y: Vec<u8>,
    },
    Ed25519 {
        x: Vec<u8>,
    },
}

#[derive(Clone, Copy)]
enum Curve {
    P256,
    P384,
    P521,
}

/// The key of that name. Each file is read once per process.
pub fn key(name: &str) -> Result<Arc<TestKey>> {
    static KEYS: OnceLock<Mutex<BTreeMap<String, Arc<TestKey>>>> = OnceLock::new();
    let mut keys = KEYS
        .get_or_init(Mutex::default)
        .lock()
        .map_err(|_| anyhow!("the key table is poisoned"))?;
    if let Some(key) = keys.get(name) {
        return Ok(key.clone());
    }
    let key = Arc::new(TestKey::read(name)?);
    keys.insert(name.to_owned(), key.clone());
    Ok(key)
}

impl TestKey {
    fn read(name: &str) -> Result<TestKey> {
        let path = paths::integration()
            .join("keys")
            .join(format!("{name}.pem"));
        let text = fs::read_to_string(&path)
            .with_context(|| format!("no test key {name}: {}", path.display()))?;
        let (_, pkcs8) = SecretDocument::from_pem(&text)
            .map_err(|error| anyhow!("{} is not PEM: {error}", path.display()))?;
        let (public, spki) = public_half(pkcs8.as_bytes())
            .with_context(|| format!("{} is not PKCS#8", path.display()))?;
        Ok(TestKey {
            name: name.to_owned(),
            pkcs8,
            public,
            spki,
        })
    }

    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The algorithm that this key signs with by default.
    #[must_use]
    pub fn default_algorithm(&self) -> &'static str {
        match &self.public {
            Public::Rsa { .. } => "RS256",
            Public::Ec {
                curve: Curve::P256, ..
            } => "ES256",
            Public::Ec {
                curve: Curve::P384, ..
            } => "ES384",
            Public::Ec {
                curve: Curve::P521, ..
            } => "ES512",
            Public::Ed25519 { .. } => "EdDSA",
        }
    }

    /// The public key as a JWK without `kid`, `alg` and `use`, which the publisher adds.
    #[must_use]
    pub fn jwk(&self) -> Value {
        let b64 = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        match &self.public {
            Public::Rsa { n, e } => json!({"kty": "RSA", "n": b64(n), "e": b64(e)}),
            Public::Ec { curve, x, y } => {
                json!({"kty": "EC", "crv": curve.name(), "x": b64(x), "y": b64(y)})
            }
            Public::Ed25519 { x } => json!({"kty": "OKP", "crv": "Ed25519", "x": b64(x)}),
        }
    }

    /// The SubjectPublicKeyInfo in DER, which a forger with HS256 would use as the shared secret.
    #[must_use]
    pub fn spki_der(&self) -> Vec<u8> {
        self.spki.as_bytes().to_vec()
    }

    /// The same in PEM, with lines as long as OpenSSL writes them and a final newline.
    pub fn spki_pem(&self) -> Result<String> {
        let pem = self.spki.to_pem("PUBLIC KEY", LineEnding::LF);
        pem.map_err(|error| anyhow!("key {}: {error}", self.name))
    }

    /// A JWS signature over `message`. That of ECDSA is R‖S.
    pub fn sign(&self, algorithm: &str, message: &[u8]) -> Result<Vec<u8>> {
        let random = SystemRandom::new();
        let failed = || anyhow!("key {} cannot sign {algorithm}", self.name);
        let rsa: Option<&'static dyn signature::RsaEncoding> = match algorithm {
            "RS256" => Some(&signature::RSA_PKCS1_SHA256),
            "RS384" => Some(&signature::RSA_PKCS1_SHA384),
            "RS512" => Some(&signature::RSA_PKCS1_SHA512),
            "PS256" => Some(&signature::RSA_PSS_SHA256),
            "PS384" => Some(&signature::RSA_PSS_SHA384),
            "PS512" => Some(&signature::RSA_PSS_SHA512),
            _ => None,
        };
        if let Some(encoding) = rsa {
            let pair = RsaKeyPair::from_pkcs8(self.pkcs8.as_bytes()).map_err(|_| failed())?;
            let mut signature = vec![0; pair.public().modulus_len()];
            pair.sign(encoding, &random, message, &mut signature)
                .map_err(|_| failed())?;
            return Ok(signature);
        }
        let ecdsa = match algorithm {
            "ES256" => Some(&signature::ECDSA_P256_SHA256_FIXED_SIGNING),
            "ES384" => Some(&signature::ECDSA_P384_SHA384_FIXED_SIGNING),
            _ => None,
        };
        if let Some(scheme) = ecdsa {
            let pair = EcdsaKeyPair::from_pkcs8(scheme, self.pkcs8.as_bytes(), &random)
                .map_err(|_| failed())?;
            return Ok(pair
                .sign(&random, message)
                .map_err(|_| failed())?
                .as_ref()
                .to_vec());
        }
        if algorithm == "EdDSA" {
            let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(self.pkcs8.as_bytes())
                .map_err(|_| failed())?;
            return Ok(pair.sign(message).as_ref().to_vec());
        }
        bail!("no signing for algorithm {algorithm}")
    }
}

impl Curve {
    fn name(self) -> &'static str {
        match self {
            Curve::P256 => "P-256",
            Curve::P384 => "P-384",
            Curve::P521 => "P-521",
        }
    }

    fn of(oid: ObjectIdentifier) -> Result<Curve> {
        match oid {
            OID_P256 => Ok(Curve::P256),
            OID_P384 => Ok(Curve::P384),
            OID_P521 => Ok(Curve::P521),
            other => bail!("unknown curve {other}"),
        }
    }
}

/// An HMAC with SHA-2 and any bytes as the secret. It is used for forgeries only, and nobody may accept the result.
pub fn hmac(algorithm: &str, secret: &[u8], message: &[u8]) -> Result<Vec<u8>> {
    let algorithm = match algorithm {
        "HS256" => ring::hmac::HMAC_SHA256,
        "HS384" => ring::hmac::HMAC_SHA384,
        "HS512" => ring::hmac::HMAC_SHA512,
        other => bail!("{other} is no HMAC algorithm"),
    };
    let key = ring::hmac::Key::new(algorithm, secret);
    Ok(ring::hmac::sign(&key, message).as_ref().to_vec())
}

/// Converts a raw ECDSA signature to an ASN.1 SEQUENCE of its two halves.
pub fn der_signature(raw: &[u8]) -> Result<Vec<u8>> {
    Ok(match raw.len() {
        64 => {
            let signature = p256::ecdsa::Signature::from_slice(raw)?;
            signature.to_der().as_bytes().to_vec()
        }
        96 => {
            let signature = p384::ecdsa::Signature::from_slice(raw)?;
            signature.to_der().as_bytes().to_vec()
        }
        other => bail!("no ECDSA signature has {other} bytes here"),
    })
}

/// The one of the two valid ES256 signatures, (r, s) and (r, n − s), that has the greater s.
pub fn high_s(raw: &[u8]) -> Result<Vec<u8>> {
    let given = p256::ecdsa::Signature::from_slice(raw).context("high_s is for P-256 only")?;
    let (r, s) = given.split_scalars();
    let other = p256::ecdsa::Signature::from_scalars(r, -s)?;
    let greater = if given.normalize_s() == given {
        other
    } else {
        given
    };
    Ok(greater.to_vec())
}

/// The parts of the public half, and the whole of it as SubjectPublicKeyInfo.
fn public_half(pkcs8: &[u8]) -> Result<(Public, Document)> {
    let pair = PrivateKeyInfoRef::from_der(pkcs8)?;
    let private = pair.private_key.as_bytes();
    let (public, bits) = match pair.algorithm.oid {
        pkcs1::ALGORITHM_OID => {
            let pair = RsaPrivateKey::<UintRef>::from_der(private)?;
            let key = pair.public_key();
            let n = key.modulus.as_bytes().to_vec();
            let e = key.public_exponent.as_bytes().to_vec();
            (Public::Rsa { n, e }, key.to_der()?)
        }
        sec1::ALGORITHM_OID => {
            let curve = Curve::of(pair.algorithm.parameters_oid()?)?;
            let point = EcPrivateKey::from_der(private)?.public_key;
            let point = point.context("no public key beside the private one")?;
            let (_, coordinates) = point.split_first().context("empty point")?;
            let (x, y) = coordinates.split_at(coordinates.len() / 2);
            let (x, y) = (x.to_vec(), y.to_vec());
            (Public::Ec { curve, x, y }, point.to_vec())
        }
        _ => {
            let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(pkcs8)
                .map_err(|_| anyhow!("unknown key type"))?;
            let x = signature::KeyPair::public_key(&pair).as_ref().to_vec();
            (Public::Ed25519 { x: x.clone() }, x)
        }
    };
    // Both structures name an algorithm by the same identifier and parameters.
    let spki = SubjectPublicKeyInfoRef {
        algorithm: pair.algorithm,
        subject_public_key: BitStringRef::from_bytes(&bits)?,
    };
    Ok((public, Document::encode_msg(&spki)?))
}

// RFC 5480 §2.1.1.1
const OID_P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const OID_P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const OID_P521: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.35");
