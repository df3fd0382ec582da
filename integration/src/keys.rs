//! Test keys: read from `integration/keys`, signing as any algorithm asked for, also as one that does not fit.
//!
//! Keys are files rather than generated ones because RSA generation is slow in a debug build and because a token
//! that fails today must fail tomorrow.

use std::collections::BTreeMap;
use std::fs;
use std::sync::{Arc, Mutex, OnceLock};

use anyhow::{Context, Result, anyhow, bail};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::rand::SystemRandom;
use ring::signature::{self, EcdsaKeyPair, Ed25519KeyPair, RsaKeyPair};
use serde_json::{Value, json};

use crate::paths;

/// One key pair of `integration/keys`, known by its file name.
pub struct TestKey {
    name: String,
    pkcs8: Vec<u8>,
    public: Public,
}

/// The public half, in the pieces a JWK is made of.
enum Public {
    Rsa { n: Vec<u8>, e: Vec<u8> },
    Ec { curve: Curve, point: Vec<u8> },
    Ed25519 { x: Vec<u8> },
}

#[derive(Clone, Copy)]
enum Curve {
    P256,
    P384,
    P521,
}

/// The key of that name; each file is read once per process.
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
        let pkcs8 = pem_body(&text).with_context(|| format!("{} is not PEM", path.display()))?;
        let public =
            public_half(&pkcs8).with_context(|| format!("{} is not PKCS#8", path.display()))?;
        Ok(TestKey {
            name: name.to_owned(),
            pkcs8,
            public,
        })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// The algorithm this key signs with unless told otherwise.
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

    /// The public key as a JWK without `kid`, `alg` and `use`: who publishes it adds those.
    pub fn jwk(&self) -> Value {
        let b64 = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        match &self.public {
            Public::Rsa { n, e } => json!({"kty": "RSA", "n": b64(n), "e": b64(e)}),
            Public::Ec { curve, point } => {
                let (x, y) = point[1..].split_at((point.len() - 1) / 2);
                json!({"kty": "EC", "crv": curve.name(), "x": b64(x), "y": b64(y)})
            }
            Public::Ed25519 { x } => json!({"kty": "OKP", "crv": "Ed25519", "x": b64(x)}),
        }
    }

    /// SubjectPublicKeyInfo in DER: what an HS256 forger would take as the shared secret.
    pub fn spki_der(&self) -> Vec<u8> {
        let (algorithm, bits) = match &self.public {
            Public::Rsa { n, e } => (
                der(0x30, &[OID_RSA, &[0x05, 0x00]].concat()),
                der(0x30, &[der_integer(n), der_integer(e)].concat()),
            ),
            Public::Ec { curve, point } => {
                (der(0x30, &[OID_EC, curve.oid()].concat()), point.clone())
            }
            Public::Ed25519 { x } => (der(0x30, OID_ED25519), x.clone()),
        };
        let bits = der(0x03, &[&[0x00], bits.as_slice()].concat());
        der(0x30, &[algorithm, bits].concat())
    }

    /// The same in PEM, line length and final newline as OpenSSL writes them.
    pub fn spki_pem(&self) -> String {
        let body = STANDARD.encode(self.spki_der());
        let lines: Vec<&str> = (0..body.len())
            .step_by(64)
            .map(|start| &body[start..body.len().min(start + 64)])
            .collect();
        format!(
            "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
            lines.join("\n")
        )
    }

    /// A JWS signature over `message`; ECDSA as raw R‖S.
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
            let pair = RsaKeyPair::from_pkcs8(&self.pkcs8).map_err(|_| failed())?;
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
            let pair =
                EcdsaKeyPair::from_pkcs8(scheme, &self.pkcs8, &random).map_err(|_| failed())?;
            return Ok(pair
                .sign(&random, message)
                .map_err(|_| failed())?
                .as_ref()
                .to_vec());
        }
        if algorithm == "EdDSA" {
            let pair =
                Ed25519KeyPair::from_pkcs8_maybe_unchecked(&self.pkcs8).map_err(|_| failed())?;
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

    fn oid(self) -> &'static [u8] {
        match self {
            Curve::P256 => OID_P256,
            Curve::P384 => OID_P384,
            Curve::P521 => OID_P521,
        }
    }
}

/// HMAC-SHA-2 with any bytes as the secret: for forgeries only, nobody may accept the result.
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

/// An ASN.1 SEQUENCE of the two halves of a raw ECDSA signature.
pub fn der_signature(raw: &[u8]) -> Vec<u8> {
    let (r, s) = raw.split_at(raw.len() / 2);
    der(0x30, &[der_integer(r), der_integer(s)].concat())
}

/// The other valid ES256 signature, (r, n − s), whichever of the two has the greater s.
pub fn high_s(raw: &[u8]) -> Result<Vec<u8>> {
    if raw.len() != 64 {
        bail!("high_s is written for P-256 only");
    }
    let (r, s) = raw.split_at(32);
    let mut other = [0_u8; 32];
    let mut borrow = 0_i16;
    for index in (0..32).rev() {
        let mut digit = i16::from(P256_ORDER[index]) - i16::from(s[index]) - borrow;
        borrow = i16::from(digit < 0);
        if digit < 0 {
            digit += 256;
        }
        other[index] = digit as u8;
    }
    let greater = if other.as_slice() > s {
        other.as_slice()
    } else {
        s
    };
    Ok([r, greater].concat())
}

fn pem_body(text: &str) -> Result<Vec<u8>> {
    let start = text.find("-----BEGIN").context("no BEGIN line")?;
    let body: String = text[start..]
        .lines()
        .skip(1)
        .take_while(|line| !line.starts_with("-----END"))
        .collect();
    Ok(STANDARD.decode(body.trim())?)
}

fn public_half(pkcs8: &[u8]) -> Result<Public> {
    let (outer, _) = element(pkcs8, 0x30)?;
    let (_version, rest) = element(outer, 0x02)?;
    let (algorithm, rest) = element(rest, 0x30)?;
    let (private, _) = element(rest, 0x04)?;
    if algorithm.starts_with(OID_RSA) {
        let (fields, _) = element(private, 0x30)?;
        let (_version, rest) = element(fields, 0x02)?;
        let (n, rest) = element(rest, 0x02)?;
        let (e, _) = element(rest, 0x02)?;
        return Ok(Public::Rsa {
            n: without_sign_byte(n),
            e: without_sign_byte(e),
        });
    }
    if let Some(curve) = algorithm.strip_prefix(OID_EC) {
        let curve = [Curve::P256, Curve::P384, Curve::P521]
            .into_iter()
            .find(|known| curve == known.oid())
            .context("unknown curve")?;
        let (fields, _) = element(private, 0x30)?;
        let (_version, rest) = element(fields, 0x02)?;
        let (_scalar, rest) = element(rest, 0x04)?;
        let (tagged, _) = element(rest, 0xa1)?;
        let (bits, _) = element(tagged, 0x03)?;
        return Ok(Public::Ec {
            curve,
            point: bits.get(1..).context("empty point")?.to_vec(),
        });
    }
    let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(pkcs8)
        .map_err(|_| anyhow!("unknown key type"))?;
    Ok(Public::Ed25519 {
        x: signature::KeyPair::public_key(&pair).as_ref().to_vec(),
    })
}

/// The content of the DER element with that tag at the start of `input`, and what follows it.
fn element(input: &[u8], tag: u8) -> Result<(&[u8], &[u8])> {
    let (&found, rest) = input.split_first().context("DER ends early")?;
    if found != tag {
        bail!("DER tag {found:#x} where {tag:#x} was due");
    }
    let (&first, mut rest) = rest.split_first().context("DER ends early")?;
    let mut length = usize::from(first);
    if first >= 0x80 {
        let digits = usize::from(first & 0x7f);
        if digits > rest.len() {
            bail!("DER ends early");
        }
        let (bytes, after) = rest.split_at(digits);
        length = bytes
            .iter()
            .fold(0, |sum, byte| sum << 8 | usize::from(*byte));
        rest = after;
    }
    if length > rest.len() {
        bail!("DER ends early");
    }
    Ok(rest.split_at(length))
}

fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    match content.len() {
        short @ 0..0x80 => out.push(short as u8),
        long @ 0x80..0x100 => out.extend([0x81, long as u8]),
        longer => out.extend([0x82, (longer >> 8) as u8, longer as u8]),
    }
    out.extend_from_slice(content);
    out
}

fn der_integer(magnitude: &[u8]) -> Vec<u8> {
    let start = magnitude
        .iter()
        .position(|byte| *byte != 0)
        .unwrap_or(magnitude.len().saturating_sub(1));
    let mut digits = magnitude[start..].to_vec();
    if digits.first().is_none_or(|first| *first >= 0x80) {
        digits.insert(0, 0);
    }
    der(0x02, &digits)
}

fn without_sign_byte(integer: &[u8]) -> Vec<u8> {
    integer.strip_prefix(&[0]).unwrap_or(integer).to_vec()
}

const OID_RSA: &[u8] = &[
    0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01,
];
const OID_EC: &[u8] = &[0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
const OID_P256: &[u8] = &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const OID_P384: &[u8] = &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22];
const OID_P521: &[u8] = &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x23];
const OID_ED25519: &[u8] = &[0x06, 0x03, 0x2b, 0x65, 0x70];

/// The order n of P-256 (FIPS 186-5), needed for the second spelling of a signature.
const P256_ORDER: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xbc, 0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];
