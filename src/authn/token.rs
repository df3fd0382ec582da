//! The compact form of a signed token, with its header and its claims, before anything is
//! trusted.
//!
//! The checks are ordered by cost: length, the three parts, canonical base64url (which checks
//! every byte), strict JSON objects, rules for the header, types of claims. Nothing here is
//! proven: [`crate::authn::verifier`] turns an [`Unverified`] token into
//! [`crate::authn::verifier::Verified`] claims. The rules follow RFC 7515, RFC 7519 and
//! RFC 8725.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::authn::json::{self, Number, Object, Value};
use crate::authn::keys::Algorithm;
use crate::words::denial::Denial;
use crate::words::time::Timestamp;

/// The longest header part, in characters. Real ones take about 100, those of SAP and Entra
/// with `jku` or `x5t` a few hundred.
const MAX_HEADER_CHARS: usize = 2048;

/// The longest `kid`, in bytes.
const MAX_KEY_ID_BYTES: usize = 256;

/// Header parameters that a plain signed access token never has: `b64` (RFC 7797 §7), `crit`
/// (RFC 7515 §4.1.11; the gate understands no extension), `enc` and `zip` (encryption), and
/// `jwk` (a key from the token itself).
const REFUSED_PARAMETERS: [&str; 5] = ["b64", "crit", "enc", "jwk", "zip"];

/// A well-formed token whose signature has not been checked.
#[derive(Clone, Debug)]
pub struct Unverified<'a> {
    /// The protected header.
    pub header: Header,
    /// The payload.
    pub claims: Object,
    /// `header.payload` as sent: what the signature covers (RFC 7515 §5.2).
    pub signing_input: &'a [u8],
    /// The decoded signature.
    pub signature: Vec<u8>,
}

/// The header parameters that matter.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Header {
    /// `alg`, or `None` for any name that is never verified, including `none` and HS*.
    pub algorithm: Option<Algorithm>,
    /// `kid`, which is opaque.
    pub key_id: Option<String>,
    /// `typ`, in lower case and without the prefix `application/` (RFC 7515 §4.1.9).
    pub token_type: Option<String>,
}

impl<'a> Unverified<'a> {
    /// Parses a token of at most `max_bytes` bytes.
    ///
    /// # Errors
    /// [`Denial::TokenTooLarge`], [`Denial::TokenMalformed`],
    /// [`Denial::TokenHeaderRefused`] or [`Denial::AlgorithmNotAllowed`].
    pub fn parse(token: &'a [u8], max_bytes: usize) -> Result<Self, Denial> {
        if token.len() > max_bytes {
            return Err(Denial::TokenTooLarge);
        }
        let (first, second) = dots(token)?;
        let signing_input = token.get(..second).ok_or(Denial::TokenMalformed)?;
        let part = |from: usize, to: usize| token.get(from..to).ok_or(Denial::TokenMalformed);
        let header = part(0, first)?;
        let payload = part(first.saturating_add(1), second)?;
        let signature = part(second.saturating_add(1), token.len())?;
        if header.is_empty() || payload.is_empty() || signature.is_empty() {
            return Err(Denial::TokenMalformed);
        }
        if header.len() > MAX_HEADER_CHARS {
            return Err(Denial::TokenMalformed);
        }
        // The bytes of all parts are checked before the meaning of any.
        let signature = decode(signature)?;
        let payload = decode(payload)?;
        let header = Header::parse(&object(&decode(header)?)?)?;
        Ok(Self {
            header,
            claims: object(&payload)?,
            signing_input,
            signature,
        })
    }
}

impl Header {
    fn parse(object: &Object) -> Result<Self, Denial> {
        if REFUSED_PARAMETERS.iter().any(|name| object.has(name)) {
            return Err(Denial::TokenHeaderRefused);
        }
        // The inner layer of a nested token would have to be checked too (RFC 8725 §3.3).
        match object.get("cty") {
            None => {}
            Some(Value::String(cty)) if !is_jwt_media_type(cty) => {}
            Some(_) => return Err(Denial::TokenHeaderRefused),
        }
        let algorithm = match object.get("alg") {
            Some(Value::String(name)) => Algorithm::from_name(name),
            _ => return Err(Denial::AlgorithmNotAllowed),
        };
        let key_id = match object.get("kid") {
            None => None,
            // As in key sets, some serialisers write an empty text for a name that is missing.
            Some(Value::String(kid)) if kid.is_empty() => None,
            Some(Value::String(kid)) if kid.len() <= MAX_KEY_ID_BYTES => Some(kid.clone()),
            Some(_) => return Err(Denial::TokenMalformed),
        };
        let token_type = match object.get("typ") {
            None => None,
            Some(Value::String(typ)) => Some(normal_type(typ)),
            Some(_) => return Err(Denial::TokenMalformed),
        };
        Ok(Self {
            algorithm,
            key_id,
            token_type,
        })
    }
}

/// The media type in a `typ` or `cty`, in the form in which it is compared (RFC 7515 §4.1.9).
#[must_use]
pub fn normal_type(typ: &str) -> String {
    let lower = typ.to_ascii_lowercase();
    match lower.strip_prefix("application/") {
        Some(rest) => rest.to_owned(),
        None => lower,
    }
}

fn is_jwt_media_type(cty: &str) -> bool {
    let kind = normal_type(cty);
    kind == "jwt" || kind.ends_with("+jwt") || kind == "jose" || kind == "jose+json"
}

/// The positions of the first two dots. A third one is refused when the last part is decoded,
/// like any byte outside the alphabet. A token of a hundred thousand dots therefore costs no
/// more than its first three bytes (CVE-2025-30204).
fn dots(token: &[u8]) -> Result<(usize, usize), Denial> {
    let dot = |from: usize| {
        let rest = token.get(from..)?;
        let position = rest.iter().position(|byte| *byte == b'.')?;
        position.checked_add(from)
    };
    let first = dot(0).ok_or(Denial::TokenMalformed)?;
    let second = dot(first.saturating_add(1)).ok_or(Denial::TokenMalformed)?;
    Ok((first, second))
}

/// Decodes canonical base64url: no padding, and no trailing bits that are set (RFC 7515 §2,
/// RFC 4648 §3.5).
fn decode(part: &[u8]) -> Result<Vec<u8>, Denial> {
    URL_SAFE_NO_PAD
        .decode(part)
        .map_err(|_| Denial::TokenMalformed)
}

fn object(decoded: &[u8]) -> Result<Object, Denial> {
    json::parse_object(decoded, json::MAX_DEPTH).map_err(|_| Denial::TokenMalformed)
}

/// The claims of a token, whatever its length, its header and its signature.
#[must_use]
pub fn peek(token: &[u8]) -> Option<Object> {
    let (first, second) = dots(token).ok()?;
    let payload = token.get(first.saturating_add(1)..second)?;
    object(&decode(payload).ok()?).ok()
}

/// The `iss` of claims about which nothing else is known yet.
///
/// # Errors
/// [`Denial::IssuerUnknown`] unless it is a string.
pub fn issuer(claims: &Object) -> Result<&str, Denial> {
    claims
        .get("iss")
        .and_then(Value::as_str)
        .ok_or(Denial::IssuerUnknown)
}

/// The registered claims on which the gate decides, with their types. Other claims stay in the
/// object.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RegisteredClaims<'a> {
    /// `aud`, as a list.
    pub audiences: Vec<&'a str>,
    /// `exp`, rounded down.
    pub expires: Timestamp,
    /// `nbf`, rounded down.
    pub not_before: Option<Timestamp>,
    /// `iat`, rounded down.
    pub issued_at: Option<Timestamp>,
}

impl<'a> RegisteredClaims<'a> {
    /// Reads the claims. One with a wrong type is refused, never skipped (CVE-2026-25537).
    ///
    /// # Errors
    /// [`Denial::AudienceMismatch`] if `aud` is neither a string nor a list of strings,
    /// otherwise [`Denial::TokenMalformed`].
    pub fn read(claims: &'a Object) -> Result<Self, Denial> {
        let audiences = match claims.get("aud") {
            None => Vec::new(),
            Some(Value::String(one)) => vec![one.as_str()],
            Some(Value::Array(many)) => many
                .iter()
                .map(|element| element.as_str().ok_or(Denial::AudienceMismatch))
                .collect::<Result<_, _>>()?,
            Some(_) => return Err(Denial::AudienceMismatch),
        };
        // RFC 7519 §4.1.7 and OIDC Core §2 define these as strings.
        for name in ["jti", "nonce"] {
            if claims
                .get(name)
                .is_some_and(|value| value.as_str().is_none())
            {
                return Err(Denial::TokenMalformed);
            }
        }
        Ok(Self {
            audiences,
            expires: date(claims, "exp")?.ok_or(Denial::TokenMalformed)?,
            not_before: date(claims, "nbf")?,
            issued_at: date(claims, "iat")?,
        })
    }
}

/// A NumericDate: a number that is not negative, without its fraction (RFC 7519 §2).
fn date(claims: &Object, name: &str) -> Result<Option<Timestamp>, Denial> {
    match claims.get(name) {
        None => Ok(None),
        Some(Value::Number(Number::Unsigned(secs))) => Ok(Some(Timestamp::from_secs(*secs))),
        // `as` saturates, so a date beyond 64 bits becomes the end of time.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        Some(Value::Number(Number::Float(secs))) if *secs >= 0.0 => {
            Ok(Some(Timestamp::from_secs(*secs as u64)))
        }
        Some(_) => Err(Denial::TokenMalformed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(header: &str, payload: &str) -> String {
        format!(
            "{}.{}.c2ln",
            URL_SAFE_NO_PAD.encode(header),
            URL_SAFE_NO_PAD.encode(payload)
        )
    }

    #[test]
    fn the_parts_are_found_and_decoded() {
        let text = token(
            r#"{"alg":"RS256","kid":"k","typ":"application/AT+JWT"}"#,
            "{}",
        );
        let parsed = Unverified::parse(text.as_bytes(), 16384).unwrap();
        assert_eq!(parsed.header.key_id.as_deref(), Some("k"));
        assert_eq!(parsed.header.token_type.as_deref(), Some("at+jwt"));
        assert_eq!(parsed.signature, b"sig");
        assert_eq!(
            parsed.signing_input,
            text.rsplit_once('.').unwrap().0.as_bytes()
        );
    }

    #[test]
    fn t10_a_token_of_dots_is_cheap_and_malformed() {
        let dots = ".".repeat(16_000);
        assert_eq!(
            Unverified::parse(dots.as_bytes(), 16384).unwrap_err(),
            Denial::TokenMalformed
        );
    }
}
