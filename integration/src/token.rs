//! Recipes for tokens: each begins with a persona's valid token, and then says what is wrong with this one.
//!
//! A recipe is data, so that a scenario in YAML can describe any token, valid or hostile. The steps are applied in
//! this order: claims, header, signature, tampering. Everything that is not mentioned stays valid, so a refusal
//! proves the one rule that the recipe breaks.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use anyhow::{Context, Result, anyhow, bail};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::bytes::ByteText;
use crate::keys::{self, TestKey};
use crate::{paths, yaml};

/// A caller as the provider knows it: the issuer of its tokens, and what they claim.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Persona {
    /// The `iss` claim.
    pub issuer: String,
    /// The name of a file in `integration/keys`.
    pub key: String,
    /// The key ID, if it differs from `key` because one key pair is published under several IDs.
    #[serde(default)]
    pub kid: Option<String>,
    pub claims: Map<String, Value>,
}

/// How to make one token. `Recipe::of("reader")` is valid for ten minutes.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Recipe {
    pub persona: String,
    /// Claims to set, verbatim. `null` sets a JSON null.
    pub claims: Map<String, Value>,
    /// Claims to leave out, in YAML one or a list.
    #[serde(deserialize_with = "yaml::one_or_many")]
    pub without: Vec<String>,
    /// The seconds from now until it expires. Fractions are kept.
    pub exp_in: Option<f64>,
    pub nbf_in: Option<f64>,
    pub iat_in: Option<f64>,
    /// A text that is put before the closing brace of the payload, so that a member can be written twice.
    pub payload_append: Option<String>,
    /// The whole payload, in place of the claims.
    pub raw_payload: Option<ByteText>,
    /// Header members to set, verbatim.
    pub header: Map<String, Value>,
    #[serde(deserialize_with = "yaml::one_or_many")]
    pub header_without: Vec<String>,
    pub header_append: Option<String>,
    pub raw_header: Option<ByteText>,
    /// The key to sign with (a file name), if it is not the persona's.
    pub key: Option<String>,
    /// The algorithm to sign with. The header names it too, unless `header` sets `alg`.
    pub alg: Option<String>,
    pub kid: Option<String>,
    /// Signs with HMAC and this secret (RFC 8725 §2.1). The header says HS256.
    pub hmac_with: Option<HmacSecret>,
    /// Whether the payload is this persona's token, nested as in RFC 7519 §5.2.
    pub nested: bool,
    /// Changes to the finished text, in their order; in YAML one or a list.
    #[serde(deserialize_with = "yaml::one_or_many")]
    pub tamper: Vec<Tamper>,
}

/// The spelling of the public key that an HMAC forger uses as the secret.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HmacSecret {
    SpkiPem,
    SpkiDer,
    Jwk,
    Empty,
}

/// One change to the finished compact form.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Tamper {
    /// Flips a bit of the decoded signature.
    FlipSignature,
    /// Flips a bit of the decoded payload.
    FlipPayload,
    /// Removes the last character.
    Truncate,
    EmptySignature,
    EmptyPayload,
    EmptyHeader,
    /// Leaves two parts: no signature, and no dot before it.
    DropSignature,
    /// Adds a fourth part.
    ExtraPart,
    /// Makes five parts, as a JWE has.
    FiveParts,
    SwapParts,
    /// Adds `=` to each part.
    Pad,
    /// Uses `+` and `/` for `-` and `_`. The token is made again until its signature holds one of them.
    StandardAlphabet,
    /// Sets bits after the last full byte, which a lenient decoder ignores.
    TrailingBits,
    /// Writes an ECDSA signature as ASN.1 instead of R‖S.
    DerSignature,
    /// Uses the second, equally valid ES256 signature.
    HighS,
    /// Sets r = s = 0 (CVE-2022-21449).
    ZeroSignature,
    /// Adds one byte to the signature.
    LongSignature,
    Prepend(ByteText),
    Append(ByteText),
    /// Appends this many dots.
    Dots(usize),
}

impl Recipe {
    #[must_use]
    pub fn of(persona: &str) -> Recipe {
        Recipe {
            persona: persona.to_owned(),
            ..Recipe::default()
        }
    }

    #[must_use]
    pub fn claim(mut self, name: &str, value: impl Into<Value>) -> Recipe {
        self.claims.insert(name.to_owned(), value.into());
        self
    }

    #[must_use]
    pub fn without(mut self, claim: &str) -> Recipe {
        self.without.push(claim.to_owned());
        self
    }

    #[must_use]
    pub fn exp_in(mut self, seconds: f64) -> Recipe {
        self.exp_in = Some(seconds);
        self
    }

    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<Value>) -> Recipe {
        self.header.insert(name.to_owned(), value.into());
        self
    }

    /// Signs with this key, with its own name as `kid`.
    #[must_use]
    pub fn key(mut self, name: &str) -> Recipe {
        self.key = Some(name.to_owned());
        self
    }

    #[must_use]
    pub fn kid(mut self, kid: &str) -> Recipe {
        self.kid = Some(kid.to_owned());
        self
    }

    #[must_use]
    pub fn alg(mut self, algorithm: &str) -> Recipe {
        self.alg = Some(algorithm.to_owned());
        self
    }

    #[must_use]
    pub fn tamper(mut self, tamper: Tamper) -> Recipe {
        self.tamper.push(tamper);
        self
    }

    /// Makes the token as bytes, because a hostile one need not be text. `now` is in seconds since 1970.
    pub fn make(&self, now: i64) -> Result<Vec<u8>> {
        let persona = persona(&self.persona)?;
        let key = keys::key(self.key.as_deref().unwrap_or(&persona.key))?;
        let redo = self
            .tamper
            .iter()
            .any(|step| matches!(step, Tamper::StandardAlphabet));
        for attempt in 0..MAX_ATTEMPTS {
            let salt = redo.then_some(attempt);
            let token = self.assemble(&persona, &key, now, salt)?;
            if !redo || token.contains(&b'-') || token.contains(&b'_') {
                return self.tampered(token);
            }
        }
        bail!(
            "no token with a character that differs between the alphabets in {MAX_ATTEMPTS} tries"
        )
    }

    /// Makes the token as text. Fails if the recipe makes bytes that are not text.
    pub fn text(&self, now: i64) -> Result<String> {
        String::from_utf8(self.make(now)?).map_err(|_| anyhow!("this recipe's token is not text"))
    }

    fn assemble(
        &self,
        persona: &Persona,
        key: &TestKey,
        now: i64,
        salt: Option<u32>,
    ) -> Result<Vec<u8>> {
        let algorithm = match (&self.alg, self.hmac_with) {
            (Some(alg), _) => alg.clone(),
            (None, Some(_)) => "HS256".to_owned(),
            (None, None) => key.default_algorithm().to_owned(),
        };
        let header = self.header_text(persona, &algorithm)?;
        let payload = self.payload_text(persona, now, salt)?;
        let signing_input = format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(header),
            URL_SAFE_NO_PAD.encode(payload)
        );
        let signature = match self.hmac_with {
            Some(secret) => keys::hmac(&algorithm, &secret.bytes(key)?, signing_input.as_bytes())?,
            None if algorithm == "none" => Vec::new(),
            None => key.sign(&algorithm, signing_input.as_bytes())?,
        };
        Ok(format!("{signing_input}.{}", URL_SAFE_NO_PAD.encode(signature)).into_bytes())
    }

    fn header_text(&self, persona: &Persona, algorithm: &str) -> Result<Vec<u8>> {
        if let Some(raw) = &self.raw_header {
            return raw.bytes();
        }
        let own_kid = match &self.key {
            Some(key) => key.clone(),
            None => persona.kid.clone().unwrap_or_else(|| persona.key.clone()),
        };
        let mut header = Map::new();
        header.insert("alg".to_owned(), algorithm.into());
        header.insert("kid".to_owned(), self.kid.clone().unwrap_or(own_kid).into());
        header.insert("typ".to_owned(), "JWT".into());
        if self.nested {
            header.insert("cty".to_owned(), "JWT".into());
        }
        header.extend(self.header.clone());
        for name in &self.header_without {
            header.remove(name);
        }
        Ok(with_appended(
            &Value::Object(header).to_string(),
            self.header_append.as_deref(),
        ))
    }

    fn payload_text(&self, persona: &Persona, now: i64, salt: Option<u32>) -> Result<Vec<u8>> {
        if self.nested {
            return Recipe::of(&self.persona).make(now);
        }
        if let Some(raw) = &self.raw_payload {
            return raw.bytes();
        }
        let mut claims = persona.claims.clone();
        claims.insert("iss".to_owned(), persona.issuer.clone().into());
        claims.insert("iat".to_owned(), (now - 5).into());
        claims.insert("exp".to_owned(), (now + 600).into());
        for (name, offset) in [
            ("exp", self.exp_in),
            ("nbf", self.nbf_in),
            ("iat", self.iat_in),
        ] {
            if let Some(offset) = offset {
                claims.insert(name.to_owned(), moment(now, offset));
            }
        }
        claims.extend(self.claims.clone());
        for name in &self.without {
            claims.remove(name);
        }
        if let Some(salt) = salt {
            claims.insert("jti".to_owned(), format!("try-{salt}").into());
        }
        Ok(with_appended(
            &Value::Object(claims).to_string(),
            self.payload_append.as_deref(),
        ))
    }

    fn tampered(&self, token: Vec<u8>) -> Result<Vec<u8>> {
        self.tamper.iter().try_fold(token, |token, step| {
            step.apply(token)
                .with_context(|| format!("tampering {step:?} does not fit this token"))
        })
    }
}

impl HmacSecret {
    fn bytes(self, key: &TestKey) -> Result<Vec<u8>> {
        Ok(match self {
            HmacSecret::SpkiPem => key.spki_pem()?.into_bytes(),
            HmacSecret::SpkiDer => key.spki_der(),
            HmacSecret::Jwk => key.jwk().to_string().into_bytes(),
            HmacSecret::Empty => Vec::new(),
        })
    }
}

impl Tamper {
    fn apply(&self, token: Vec<u8>) -> Result<Vec<u8>> {
        match self {
            Tamper::Prepend(text) => return Ok([text.bytes()?, token].concat()),
            Tamper::Append(text) => return Ok([token, text.bytes()?].concat()),
            Tamper::Dots(count) => return Ok([token, vec![b'.'; *count]].concat()),
            Tamper::Truncate => return Ok(token[..token.len().saturating_sub(1)].to_vec()),
            _ => {}
        }
        let text = String::from_utf8(token)
            .map_err(|_| anyhow!("an earlier step made bytes that are no text"))?;
        let parts: Vec<&str> = text.split('.').collect();
        let [header, payload, signature] = parts.as_slice() else {
            bail!("an earlier step left {} parts", parts.len());
        };
        let resigned = |signature: Vec<u8>| {
            format!("{header}.{payload}.{}", URL_SAFE_NO_PAD.encode(signature))
        };
        let raw = || {
            URL_SAFE_NO_PAD
                .decode(signature)
                .map_err(|error| anyhow!("signature: {error}"))
        };
        let changed = match self {
            Tamper::FlipSignature => {
                let mut bytes = raw()?;
                flip(&mut bytes)?;
                resigned(bytes)
            }
            Tamper::FlipPayload => {
                // Flipping the low bit of a digit keeps the JSON well-formed, so only the signature reveals it.
                let mut bytes = URL_SAFE_NO_PAD.decode(payload)?;
                let digit = bytes
                    .iter_mut()
                    .rev()
                    .find(|byte| byte.is_ascii_digit())
                    .context("no digit")?;
                *digit ^= 1;
                format!("{header}.{}.{signature}", URL_SAFE_NO_PAD.encode(bytes))
            }
            Tamper::EmptySignature => format!("{header}.{payload}."),
            Tamper::EmptyPayload => format!("{header}..{signature}"),
            Tamper::EmptyHeader => format!(".{payload}.{signature}"),
            Tamper::DropSignature => format!("{header}.{payload}"),
            Tamper::ExtraPart => format!("{text}.{payload}"),
            Tamper::FiveParts => format!("{header}.{payload}.{signature}.{payload}.{signature}"),
            Tamper::SwapParts => format!("{payload}.{header}.{signature}"),
            Tamper::Pad => parts
                .iter()
                .map(|part| format!("{part}{}", "=".repeat((4 - part.len() % 4) % 4)))
                .collect::<Vec<_>>()
                .join("."),
            Tamper::StandardAlphabet => text.replace('-', "+").replace('_', "/"),
            Tamper::TrailingBits => format!("{header}.{payload}.{}", with_trailing_bit(signature)?),
            Tamper::DerSignature => resigned(keys::der_signature(&raw()?)?),
            Tamper::HighS => resigned(keys::high_s(&raw()?)?),
            Tamper::ZeroSignature => resigned(vec![0; raw()?.len()]),
            Tamper::LongSignature => resigned([raw()?, vec![0]].concat()),
            Tamper::Prepend(_) | Tamper::Append(_) | Tamper::Dots(_) | Tamper::Truncate => {
                text.clone()
            }
        };
        Ok(changed.into_bytes())
    }
}

/// The persona of that name from `integration/scenarios/personas.yaml`.
pub fn persona(name: &str) -> Result<Persona> {
    static PERSONAS: OnceLock<Result<BTreeMap<String, Persona>, String>> = OnceLock::new();
    let personas = PERSONAS
        .get_or_init(|| {
            let path = paths::integration().join("scenarios/personas.yaml");
            yaml::read(&path).map_err(|error| format!("{error:#}"))
        })
        .as_ref()
        .map_err(|error| anyhow!("{error}"))?;
    personas
        .get(name)
        .cloned()
        .with_context(|| format!("no persona {name:?}"))
}

/// The seconds since 1970 by this machine's clock.
#[must_use]
pub fn now() -> i64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| {
            i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
        })
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "seconds that a test names, and those since 1970, fit into both"
)]
fn moment(now: i64, offset: f64) -> Value {
    if offset.fract() == 0.0 {
        Value::from(now + offset as i64)
    } else {
        Value::from(now as f64 + offset)
    }
}

fn with_appended(json: &str, appended: Option<&str>) -> Vec<u8> {
    match (appended, json.strip_suffix('}')) {
        (Some(text), Some(open)) => format!("{open},{text}}}").into_bytes(),
        _ => json.as_bytes().to_vec(),
    }
}

fn flip(bytes: &mut [u8]) -> Result<()> {
    let middle = bytes.len() / 2;
    *bytes.get_mut(middle).context("nothing to flip")? ^= 0x10;
    Ok(())
}

fn with_trailing_bit(part: &str) -> Result<String> {
    if part.len().is_multiple_of(4) {
        bail!("a part of {} characters has no spare bits", part.len());
    }
    let last = part.bytes().last().context("an empty part")?;
    let index = ALPHABET
        .iter()
        .position(|known| *known == last)
        .context("not base64url")?;
    let other = ALPHABET[index | 1];
    Ok(format!("{}{}", &part[..part.len() - 1], char::from(other)))
}

/// Half of all signatures hold such a character in each ten bytes, so this number of tries never fails.
const MAX_ATTEMPTS: u32 = 64;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
