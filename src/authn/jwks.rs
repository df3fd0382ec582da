//! From a JWK Set document (RFC 7517 §5) to a [`KeySet`] and the keys skipped on the way.
//!
//! One unusual key never spoils the set, but a set without a single usable key counts as a
//! failed fetch. Each key is bound to one algorithm here, once and for all: to its `alg` or, if
//! it has none, to one that its type implies. No token can therefore choose (RFC 8725 §3.1).
//! Keys belong to one issuer.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::authn::json::{self, JsonError, Object, Value};
use crate::authn::keys::{Algorithm, VerifyingKey};
use crate::words::identity::{Issuer, Issuers};

/// The largest document, in bytes. A hundred RSA keys with certificates fit in it.
pub const MAX_DOCUMENT_BYTES: usize = 256 * 1024;

/// The maximum number of usable keys that are kept from a document. Providers publish two to
/// ten.
pub const MAX_KEYS: usize = 64;

/// The maximum number of unusable keys in a set that are reported one by one.
pub const MAX_SKIPPED: usize = 16;

/// A provider's usable keys. The set is never empty.
#[derive(Clone, Debug)]
pub struct KeySet {
    keys: Vec<Arc<VerifyingKey>>,
    skipped: Vec<Skipped>,
    /// The number of keys that were left out and are not reported.
    untold: usize,
    /// The number of usable keys behind the first [`MAX_KEYS`].
    surplus: usize,
}

/// A key that was read but cannot be used.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Skipped {
    /// Its `kid`, if it has a readable one.
    pub key_id: Option<String>,
    /// Why it is skipped.
    pub reason: SkipReason,
}

/// Why a key was skipped.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SkipReason {
    /// Its algorithm is unknown, or is not one that the provider's configuration allows.
    Algorithm,
    /// It is an RSA key without `alg`, and the configuration allows several RSA algorithms but
    /// not RS256.
    AlgorithmUnclear,
    /// Another key of the set has the same `kid` and algorithm.
    DuplicateKeyId,
    /// Its `issuer` member names another issuer of the same host (Entra).
    ForeignIssuer,
    /// Its numbers are missing, badly encoded, too weak or not on the curve.
    Material,
    /// It holds private members: the provider published its private key.
    PrivateKey,
    /// Its `kty` is not RSA, EC or OKP.
    Type,
    /// Its `use` or `key_ops` is not for signatures.
    Use,
}

impl SkipReason {
    /// A stable name for logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Algorithm => "algorithm",
            Self::AlgorithmUnclear => "algorithm_unclear",
            Self::DuplicateKeyId => "duplicate_kid",
            Self::ForeignIssuer => "foreign_issuer",
            Self::Material => "material",
            Self::PrivateKey => "private_key",
            Self::Type => "type",
            Self::Use => "use",
        }
    }
}

/// Why a document is no key set.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum JwksError {
    /// It is not a JSON object by the strict rules.
    Json(JsonError),
    /// It has no `keys` list.
    NoList,
    /// None of the listed keys is usable.
    NoUsableKey {
        /// The number of keys that are listed.
        listed: usize,
        /// Why the first key was skipped, if there was one.
        first: Option<SkipReason>,
    },
    /// It is longer than [`MAX_DOCUMENT_BYTES`].
    TooLarge,
}

impl fmt::Display for JwksError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Json(error) => error.fmt(f),
            Self::NoList => f.write_str("no list named keys"),
            Self::NoUsableKey {
                listed,
                first: Some(reason),
            } => write!(
                f,
                "none of its {listed} keys is usable (the first: {})",
                reason.name()
            ),
            Self::NoUsableKey { listed, .. } => {
                write!(f, "none of its {listed} keys is usable")
            }
            Self::TooLarge => write!(f, "larger than {MAX_DOCUMENT_BYTES} bytes"),
        }
    }
}

/// The maximum number of keys that are tried for a token that names none of them.
const MAX_CANDIDATES: usize = 4;

/// What a set knows about the key that signed a token.
#[derive(Clone, Debug)]
pub enum Lookup<'a> {
    /// The key of that name is bound to another algorithm.
    AlgorithmMismatch,
    /// Keys that may have signed the token although it does not name them: at least one, in the
    /// order of the document.
    Candidates(Vec<&'a Arc<VerifyingKey>>),
    /// The key of that name.
    Found(&'a Arc<VerifyingKey>),
    /// No key of the set can have signed the token.
    Unknown,
}

impl KeySet {
    /// Whether both sets hold the same keys.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.keys.len() == other.keys.len() && self.keys.iter().all(|key| other.holds(key))
    }

    /// The names of those keys that have one.
    pub fn key_ids(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().filter_map(|key| key.key_id())
    }

    /// Parses a document, binding keys to `algorithms`, the provider's list of accepted ones.
    ///
    /// # Errors
    /// [`JwksError`]. The caller keeps the set that it has.
    pub fn parse(
        document: &[u8],
        algorithms: &[Algorithm],
        issuers: &Issuers,
    ) -> Result<Self, JwksError> {
        if document.len() > MAX_DOCUMENT_BYTES {
            return Err(JwksError::TooLarge);
        }
        let object = json::parse_object(document, json::MAX_DEPTH).map_err(JwksError::Json)?;
        Self::from_object(&object, algorithms, issuers)
    }

    /// Does what [`KeySet::parse`] does, for a document that has already been parsed.
    ///
    /// # Errors
    /// [`JwksError`].
    pub fn from_object(
        document: &Object,
        algorithms: &[Algorithm],
        issuers: &Issuers,
    ) -> Result<Self, JwksError> {
        let Some(listed) = document.get("keys").and_then(Value::as_array) else {
            return Err(JwksError::NoList);
        };
        let mut keys: Vec<Arc<VerifyingKey>> = Vec::new();
        let mut skipped = Vec::new();
        for jwk in listed {
            let key_id = jwk
                .as_object()
                .and_then(|jwk| jwk.get("kid"))
                .and_then(Value::as_str)
                // Some serialisers write an empty text for a name that is missing.
                .filter(|key_id| !key_id.is_empty());
            match import(jwk, key_id, algorithms, issuers) {
                // The same key listed twice is one key.
                Ok(key) if keys.iter().any(|other| other.is_same(&key)) => {}
                Ok(key) => keys.push(Arc::new(key)),
                Err(reason) => skipped.push(Skipped {
                    key_id: key_id.map(ToOwned::to_owned),
                    reason,
                }),
            }
        }
        drop_ambiguous(&mut keys, &mut skipped);
        let surplus = keys.len().saturating_sub(MAX_KEYS);
        keys.truncate(MAX_KEYS);
        let untold = skipped.len().saturating_sub(MAX_SKIPPED);
        skipped.truncate(MAX_SKIPPED);
        if keys.is_empty() {
            return Err(JwksError::NoUsableKey {
                listed: listed.len(),
                first: skipped.first().map(|skipped| skipped.reason),
            });
        }
        Ok(Self {
            keys,
            skipped,
            untold,
            surplus,
        })
    }

    /// Finds the key for a token's `kid` and `alg` (RFC 7515 §4.1.4). If the token has no
    /// `kid`, any key with that algorithm may have signed it. If no key has its `kid`, any key
    /// without a name may have.
    #[must_use]
    pub fn find(&self, key_id: Option<&str>, algorithm: Algorithm) -> Lookup<'_> {
        let named = |key: &&Arc<VerifyingKey>| key_id.is_some() && key.key_id() == key_id;
        let mut of_name = self.keys.iter().filter(named).peekable();
        if of_name.peek().is_some() {
            // No two keys of the set have the same name and algorithm.
            return match of_name.find(|key| key.algorithm() == algorithm) {
                Some(key) => Lookup::Found(key),
                None => Lookup::AlgorithmMismatch,
            };
        }
        let candidates = self.keys.iter().filter(|key| {
            let unnamed = key_id.is_none() || key.key_id().is_none();
            unnamed && key.algorithm() == algorithm
        });
        let candidates: Vec<_> = candidates.take(MAX_CANDIDATES).collect();
        if candidates.is_empty() {
            Lookup::Unknown
        } else {
            Lookup::Candidates(candidates)
        }
    }

    /// Whether the set holds exactly this key.
    #[must_use]
    pub fn holds(&self, key: &VerifyingKey) -> bool {
        self.keys.iter().any(|held| held.is_same(key))
    }

    /// The usable keys.
    #[must_use]
    pub fn keys(&self) -> &[Arc<VerifyingKey>] {
        &self.keys
    }

    /// The first [`MAX_SKIPPED`] keys that were left out.
    #[must_use]
    pub fn skipped(&self) -> &[Skipped] {
        &self.skipped
    }

    /// The number of usable keys behind the first [`MAX_KEYS`], which are not used.
    #[must_use]
    pub const fn surplus(&self) -> usize {
        self.surplus
    }

    /// The number of keys that were left out beyond those in [`KeySet::skipped`].
    #[must_use]
    pub const fn untold(&self) -> usize {
        self.untold
    }
}

/// Drops different keys that have the same name and algorithm. It is unclear which of them is
/// meant (RFC 7517 §4.5), so all of them go.
fn drop_ambiguous(keys: &mut Vec<Arc<VerifyingKey>>, skipped: &mut Vec<Skipped>) {
    let twins = |key: &VerifyingKey, keys: &[Arc<VerifyingKey>]| {
        key.key_id().is_some()
            && keys
                .iter()
                .filter(|other| {
                    other.key_id() == key.key_id() && other.algorithm() == key.algorithm()
                })
                .count()
                > 1
    };
    let all = keys.clone();
    keys.retain(|key| {
        let ambiguous = twins(key, &all);
        if ambiguous {
            skipped.push(Skipped {
                key_id: key.key_id().map(ToOwned::to_owned),
                reason: SkipReason::DuplicateKeyId,
            });
        }
        !ambiguous
    });
}

fn import(
    jwk: &Value,
    key_id: Option<&str>,
    algorithms: &[Algorithm],
    issuers: &Issuers,
) -> Result<VerifyingKey, SkipReason> {
    let jwk = jwk.as_object().ok_or(SkipReason::Type)?;
    if PRIVATE_MEMBERS.iter().any(|name| jwk.has(name)) {
        return Err(SkipReason::PrivateKey);
    }
    check_use(jwk)?;
    if jwk
        .get("issuer")
        .and_then(Value::as_str)
        .is_some_and(|theirs| is_foreign(theirs, issuers))
    {
        return Err(SkipReason::ForeignIssuer);
    }
    let kty = jwk.get("kty").and_then(Value::as_str);
    let algorithm = bind(jwk, kty, algorithms)?;
    let imported = match kty {
        Some("RSA") => {
            let n = number(jwk, "n")?;
            // Some providers leave DER's sign byte in place.
            let n = n.strip_prefix(&[0]).unwrap_or(&n);
            let e = number(jwk, "e")?;
            if n.first() == Some(&0) {
                return Err(SkipReason::Material);
            }
            // Others write the exponent as an integer of a fixed size.
            let zeros = e.iter().take_while(|byte| **byte == 0).count();
            let e = e.get(zeros..).unwrap_or_default();
            VerifyingKey::rsa(key_id, algorithm, n, e)
        }
        Some("EC") => VerifyingKey::ec(key_id, algorithm, &number(jwk, "x")?, &number(jwk, "y")?),
        Some("OKP") => VerifyingKey::ed25519(key_id, &number(jwk, "x")?),
        _ => return Err(SkipReason::Type),
    };
    imported.map_err(|_| SkipReason::Material)
}

/// Members that only a private key has (RFC 7518 §6), and `k`, which a symmetric key has.
const PRIVATE_MEMBERS: [&str; 7] = ["d", "p", "q", "dp", "dq", "qi", "k"];

fn check_use(jwk: &Object) -> Result<(), SkipReason> {
    match jwk.get("use") {
        None | Some(Value::Null) => {}
        Some(Value::String(usage)) if usage == "sig" || usage.is_empty() => {}
        Some(_) => return Err(SkipReason::Use),
    }
    match jwk.get("key_ops") {
        None | Some(Value::Null) => Ok(()),
        Some(Value::Array(ops)) if ops.is_empty() => Ok(()),
        Some(Value::Array(ops)) if ops.iter().any(|op| op.as_str() == Some("verify")) => Ok(()),
        Some(_) => Err(SkipReason::Use),
    }
}

/// Chooses the algorithm that a key is bound to.
fn bind(
    jwk: &Object,
    kty: Option<&str>,
    algorithms: &[Algorithm],
) -> Result<Algorithm, SkipReason> {
    let curve = jwk.get("crv").and_then(Value::as_str);
    let stated = match jwk.get("alg") {
        None | Some(Value::Null) => None,
        Some(Value::String(name)) if name.is_empty() => None,
        Some(Value::String(name)) => Some(Algorithm::from_name(name).ok_or(SkipReason::Algorithm)?),
        Some(_) => return Err(SkipReason::Algorithm),
    };
    let by_curve = |algorithm: Algorithm| match stated {
        None => Ok(algorithm),
        Some(stated) if stated == algorithm => Ok(algorithm),
        Some(_) => Err(SkipReason::Algorithm),
    };
    let bound = match (kty, curve) {
        (Some("RSA"), _) => match stated {
            Some(stated) if stated.is_rsa() => stated,
            Some(_) => return Err(SkipReason::Algorithm),
            None => rsa_default(algorithms)?,
        },
        (Some("EC"), Some("P-256")) => by_curve(Algorithm::ES256)?,
        (Some("EC"), Some("P-384")) => by_curve(Algorithm::ES384)?,
        (Some("OKP"), Some("Ed25519")) => by_curve(Algorithm::EdDSA)?,
        (Some("EC" | "OKP"), _) => return Err(SkipReason::Algorithm),
        _ => return Err(SkipReason::Type),
    };
    if algorithms.contains(&bound) {
        Ok(bound)
    } else {
        Err(SkipReason::Algorithm)
    }
}

/// RSA keys without `alg` (Entra) are bound to RS256, unless the operator allowed exactly one
/// other RSA algorithm and so chose that one.
fn rsa_default(algorithms: &[Algorithm]) -> Result<Algorithm, SkipReason> {
    if algorithms.contains(&Algorithm::RS256) {
        return Ok(Algorithm::RS256);
    }
    let mut rsa = algorithms.iter().filter(|algorithm| algorithm.is_rsa());
    match (rsa.next(), rsa.next()) {
        (Some(only), None) => Ok(*only),
        (None, _) => Err(SkipReason::Algorithm),
        _ => Err(SkipReason::AlgorithmUnclear),
    }
}

/// Decodes a Base64urlUInt or a coordinate. It must be canonical (RFC 7518 §2) except for
/// padding, which some providers leave in place. In a token, padding is never accepted.
fn number(jwk: &Object, name: &str) -> Result<Vec<u8>, SkipReason> {
    jwk.get(name)
        .and_then(Value::as_str)
        .map(|text| {
            text.strip_suffix("==")
                .or(text.strip_suffix('='))
                .unwrap_or(text)
        })
        .and_then(|text| URL_SAFE_NO_PAD.decode(text).ok())
        .ok_or(SkipReason::Material)
}

/// Whether a key belongs to another issuer. Entra publishes the keys of several issuers in one
/// document and names each key's in `issuer`, with `{tenantid}` where any tenant is meant. Only
/// issuers on the same host are compared; elsewhere the member has no known meaning.
fn is_foreign(theirs: &str, issuers: &Issuers) -> bool {
    let host = |url: &str| url.split('/').nth(2).map(ToOwned::to_owned);
    let Some(named) = host(theirs) else {
        return false;
    };
    let is_named = |ours: &str| match theirs.split_once("{tenantid}") {
        None => theirs == ours,
        Some((before, after)) => ours.starts_with(before) && ours.ends_with(after),
    };
    let ours = || issuers.iter().map(Issuer::as_str);
    ours().any(|ours| host(ours).as_ref() == Some(&named)) && !ours().any(is_named)
}
