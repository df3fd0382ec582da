//! A token that no provider has issued: the operator's claims, signed with a key that is thrown
//! away.

use std::collections::BTreeSet;

use jwt_simple::algorithms::{
    ECDSAP256KeyPairLike as _, ECDSAP384KeyPairLike as _, ES256KeyPair, ES384KeyPair,
    Ed25519KeyPair, EdDSAKeyPairLike as _, PS256KeyPair, PS384KeyPair, PS512KeyPair, RS256KeyPair,
    RS384KeyPair, RS512KeyPair, RSAKeyPairLike as _,
};
use jwt_simple::claims::JWTClaims;
use jwt_simple::common::HeaderOptions;
use serde_json::{Map, Value, json};

use crate::authn::keys::Algorithm;
use crate::authn::verifier::Provider;
use crate::words::credential::Purpose;
use crate::words::time::Timestamp;

/// The key ID of the stand-in key.
const KEY_ID: &str = "scopegate-explain";

/// The bits of an RSA key: the fewest that are accepted, because making a key takes time.
const RSA_BITS: usize = 2_048;

/// How long the token is valid if the claims do not say, in seconds.
const LIFETIME: u64 = 300;

/// The algorithms in order of preference: those come first for which a key is cheap to make.
const PREFERRED: [Algorithm; 9] = [
    Algorithm::EdDSA,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::RS256,
    Algorithm::PS256,
    Algorithm::RS384,
    Algorithm::PS384,
    Algorithm::RS512,
    Algorithm::PS512,
];

/// A token, and the key set that stands in for its provider's.
pub(super) struct StandIn {
    pub(super) token: String,
    /// The key set as a JWK Set.
    pub(super) jwks: Value,
    pub(super) algorithm: Algorithm,
    /// The claims that were missing and have been filled in, each with its value.
    pub(super) filled: Vec<String>,
}

impl StandIn {
    /// Signs claims as the provider would. Missing claims that every token has are filled in;
    /// those that are present stay, even if they are wrong.
    ///
    /// # Errors
    /// A message that says why the token cannot be made.
    pub(super) fn sign(
        provider: &Provider,
        mut claims: Map<String, Value>,
        purpose: Purpose,
        now: Timestamp,
    ) -> Result<Self, String> {
        let filled = fill(provider, &mut claims, purpose, now);
        let allowed: BTreeSet<Algorithm> = provider.algorithms.iter().copied().collect();
        let algorithm = PREFERRED.into_iter().find(|one| allowed.contains(one));
        let algorithm = algorithm.ok_or("the provider allows no algorithm")?;
        let options = HeaderOptions {
            signature_type: match purpose {
                Purpose::Access => provider.token_types.first().cloned(),
                Purpose::Identity => None,
            },
            ..HeaderOptions::default()
        };
        let (token, key) = signed(algorithm, claims, &options)
            .map_err(|error| format!("a stand-in could not be signed: {error}"))?;
        let mut key: Value = serde_json::from_str(&key)
            .map_err(|error| format!("a stand-in has no readable key: {error}"))?;
        if let Some(members) = key.as_object_mut() {
            members.insert("kid".to_owned(), json!(KEY_ID));
            members.insert("alg".to_owned(), json!(algorithm.name()));
            members.insert("use".to_owned(), json!("sig"));
        }
        Ok(Self {
            token,
            jwks: json!({ "keys": [key] }),
            algorithm,
            filled,
        })
    }
}

/// Fills in the missing claims, and returns them as texts.
fn fill(
    provider: &Provider,
    claims: &mut Map<String, Value>,
    purpose: Purpose,
    now: Timestamp,
) -> Vec<String> {
    let audience = match purpose {
        Purpose::Access => provider.audiences.iter().flatten().next(),
        Purpose::Identity => provider.id_token_audiences.first(),
    };
    let issued = now.as_secs();
    let lifetime = provider.max_lifetime.unwrap_or(LIFETIME).min(LIFETIME);
    let subject = provider.mapping.subject.first();
    let subject = subject.and_then(|path| match path.as_slice() {
        [name] => Some(name.as_str()),
        _ => None,
    });
    let mut filled = Vec::new();
    let mut put = |name: &str, value: Value| {
        if !claims.contains_key(name) {
            filled.push(format!("{name}: {value}"));
            claims.insert(name.to_owned(), value);
        }
    };
    put("iss", json!(provider.issuers.first().as_str()));
    if let Some(audience) = audience {
        put("aud", json!(audience));
    }
    put("iat", json!(issued));
    put("exp", json!(issued.saturating_add(lifetime)));
    if let Some(subject) = subject {
        put(subject, json!("somebody"));
    }
    filled
}

/// A JWS in compact form, and the public key as a JWK.
fn signed(
    algorithm: Algorithm,
    claims: Map<String, Value>,
    options: &HeaderOptions,
) -> Result<(String, String), jwt_simple::Error> {
    // None of jwt-simple's own claims is set, so the token holds exactly the claims in `claims`.
    let claims = JWTClaims {
        issued_at: None,
        expires_at: None,
        invalid_before: None,
        issuer: None,
        subject: None,
        audiences: None,
        jwt_id: None,
        nonce: None,
        custom: claims,
    };
    macro_rules! with {
        ($pair:expr) => {{
            let pair = $pair.with_key_id(KEY_ID);
            let token = pair.sign_with_options(claims, options)?;
            Ok((token, pair.public_key().to_jwk()))
        }};
    }
    match algorithm {
        Algorithm::EdDSA => with!(Ed25519KeyPair::generate()),
        Algorithm::ES256 => with!(ES256KeyPair::generate()),
        Algorithm::ES384 => with!(ES384KeyPair::generate()),
        Algorithm::PS256 => with!(PS256KeyPair::generate(RSA_BITS)?),
        Algorithm::PS384 => with!(PS384KeyPair::generate(RSA_BITS)?),
        Algorithm::PS512 => with!(PS512KeyPair::generate(RSA_BITS)?),
        Algorithm::RS256 => with!(RS256KeyPair::generate(RSA_BITS)?),
        Algorithm::RS384 => with!(RS384KeyPair::generate(RSA_BITS)?),
        Algorithm::RS512 => with!(RS512KeyPair::generate(RSA_BITS)?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authn::jwks::KeySet;
    use crate::authn::keys::InModule;
    use crate::config::{Config, Environment};

    fn provider(algorithm: Algorithm) -> Provider {
        let document = json!({
            "providers": [{
                "name": "corporate",
                "issuer": "https://idp.example.com",
                "audiences": ["observability"],
                "algorithms": [algorithm.name()],
                "max_lifetime": "1m",
                "jwks": {"uri": "https://idp.example.com/keys", "cluster": "idp"},
            }],
            "organizations": [{"name": "acme", "tenants": ["acme"], "rbac": {"viewers": ["a"]}}],
            "backends": {"loki": {}},
        });
        let config = Config::parse(
            document.to_string().as_bytes(),
            &Environment::new(std::iter::empty()),
        );
        let rules = &config.unwrap().providers[0].rules;
        Provider::clone(rules)
    }

    #[test]
    fn a_stand_in_passes_for_the_providers_own_whatever_the_algorithm() {
        for algorithm in Algorithm::ALL {
            let provider = provider(algorithm);
            let now = Timestamp::from_secs(1_000);
            let claims = json!({"groups": ["a"], "exp": 1_060});
            let claims = claims.as_object().unwrap().clone();
            let made = StandIn::sign(&provider, claims, Purpose::Access, now).unwrap();
            assert_eq!(made.algorithm, algorithm);
            let names = made.filled.join(" ");
            assert!(
                names.contains("iss: ") && !names.contains("exp: "),
                "{names}"
            );
            let keys = made.jwks.to_string();
            let keys = KeySet::parse(keys.as_bytes(), &[algorithm], &provider.issuers).unwrap();
            let token = made.token.as_bytes();
            let unverified = crate::authn::token::Unverified::parse(token, 8_192).unwrap();
            assert_eq!(unverified.claims.iter().count(), 6);
            let plausible = provider.check(&unverified, Purpose::Access, now).unwrap();
            let key = &keys.keys()[0];
            assert!(plausible.prove(key, &InModule).is_ok(), "{algorithm:?}");
        }
    }

    #[test]
    fn what_is_there_stays() {
        let provider = provider(Algorithm::ES256);
        let claims = json!({"iss": "x", "aud": null, "sub": null, "iat": 1, "exp": "soon"});
        let claims = claims.as_object().unwrap().clone();
        let now = Timestamp::from_secs(1_000);
        let made = StandIn::sign(&provider, claims, Purpose::Access, now).unwrap();
        assert!(made.filled.is_empty(), "{:?}", made.filled);
    }
}
