//! From a well-formed token to proven claims: one provider's rules, then the signature.
//!
//! The order is fixed: the provider is chosen by exact `iss`, its rules about
//! algorithm, times, audience and kind of token are checked, then the key is
//! looked up in that provider's set alone, and only then is the signature
//! verified. Follows RFC 8725 and RFC 9068 §4.

use std::sync::Arc;

use crate::authn::claims::ClaimMapping;
use crate::authn::json::{Object, Value};
use crate::authn::jwks::{KeySet, Lookup};
use crate::authn::keys::{Algorithm, Proof, SignatureEngine, VerifyingKey};
use crate::authn::token::{self, RegisteredClaims, Unverified};
use crate::words::credential::Purpose;
use crate::words::denial::Denial;
use crate::words::identity::{Issuer, Issuers};
use crate::words::time::{Leeway, Timestamp};

/// What kind of token a provider issued.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TokenKind {
    /// For calling APIs.
    Access,
    /// For telling a client who logged in (OpenID Connect Core §2).
    Id,
}

impl TokenKind {
    /// As in the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Access => "access",
            Self::Id => "id",
        }
    }
}

/// A trusted provider's rules, compiled from the configuration.
#[derive(Clone, Debug)]
pub struct Provider {
    /// Its name in logs and metrics.
    pub name: String,
    /// The exact `iss`, in each of its spellings.
    pub issuers: Issuers,
    /// Accepted `aud` values; `None` only if the check was switched off by name.
    pub audiences: Option<Vec<String>>,
    /// Accepted `aud` values of ID tokens that come in a header of their own; without any,
    /// none of them is accepted.
    pub id_token_audiences: Vec<String>,
    /// Accepted `alg` values.
    pub algorithms: Vec<Algorithm>,
    /// Tolerated clock difference.
    pub leeway: Leeway,
    /// Longest accepted lifetime, in seconds.
    pub max_lifetime: Option<u64>,
    /// Accepted `typ` values, lower case; absent `typ` is always accepted.
    pub token_types: Vec<String>,
    /// Accepted kinds.
    pub kinds: Vec<TokenKind>,
    /// Claims that only its ID tokens have, where it does not state the kind.
    pub id_token_claims: Vec<String>,
    /// Accepted clients (`azp`, `appid`, `cid`, `client_id`); empty accepts any.
    pub clients: Vec<String>,
    /// Whether a token with `cnf` is refused, because Bearer proves no key.
    pub reject_bound_tokens: bool,
    /// How claims become a principal.
    pub mapping: ClaimMapping,
}

/// The times of a token, kept to be checked again at each use.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TokenTimes {
    /// `exp`
    pub expires: Timestamp,
    /// `nbf`
    pub not_before: Option<Timestamp>,
    /// `iat`
    pub issued_at: Option<Timestamp>,
}

/// Claims whose signature was verified. Only [`Provider::verify`] makes one.
#[derive(Debug)]
pub struct Verified<'a> {
    claims: &'a Object,
    issuer: Issuer,
    times: TokenTimes,
    key: Arc<VerifyingKey>,
}

impl Verified<'_> {
    /// The proven payload.
    #[must_use]
    pub const fn claims(&self) -> &Object {
        self.claims
    }

    /// Its `iss`, as it is spelt there.
    #[must_use]
    pub const fn issuer(&self) -> &Issuer {
        &self.issuer
    }

    /// Its times.
    #[must_use]
    pub const fn times(&self) -> TokenTimes {
        self.times
    }

    /// The key that signed it.
    #[must_use]
    pub const fn key(&self) -> &Arc<VerifyingKey> {
        &self.key
    }
}

/// A token that passed every check but the signature's.
#[derive(Debug)]
pub struct Plausible<'a> {
    token: &'a Unverified<'a>,
    purpose: Purpose,
    issuer: Issuer,
    algorithm: Algorithm,
    times: TokenTimes,
}

impl Plausible<'_> {
    /// The `kid` that it names, unproven.
    #[must_use]
    pub fn key_id(&self) -> Option<&str> {
        self.token.header.key_id.as_deref()
    }

    /// Has an engine check its signature with that key.
    ///
    /// # Errors
    /// [`Denial::KeyAlgorithmMismatch`] or [`Denial::SignatureInvalid`].
    pub fn prove(
        &self,
        key: &Arc<VerifyingKey>,
        engine: &dyn SignatureEngine,
    ) -> Result<Proof, Denial> {
        if key.algorithm() != self.algorithm {
            return Err(Denial::KeyAlgorithmMismatch);
        }
        let Unverified {
            signing_input,
            signature,
            ..
        } = self.token;
        Proof::by(engine, key, signing_input, signature).map_err(|_| Denial::SignatureInvalid)
    }

    /// Its `iss`, which is one of its provider's, unproven.
    #[must_use]
    pub const fn issuer(&self) -> &Issuer {
        &self.issuer
    }

    /// Its payload, unproven.
    #[must_use]
    pub const fn claims(&self) -> &Object {
        &self.token.claims
    }

    /// Its times, unproven.
    #[must_use]
    pub const fn times(&self) -> TokenTimes {
        self.times
    }

    /// What a set knows about the key that would have signed it.
    #[must_use]
    pub fn lookup<'k>(&self, keys: &'k KeySet) -> Lookup<'k> {
        keys.find(self.key_id(), self.algorithm)
    }
}

impl Provider {
    /// Every check that costs no cryptography.
    ///
    /// # Errors
    /// The first 401 that applies.
    pub fn check<'a>(
        &self,
        token: &'a Unverified<'a>,
        purpose: Purpose,
        now: Timestamp,
    ) -> Result<Plausible<'a>, Denial> {
        // The caller chose the provider by this; a token of another one has no
        // business here (RFC 8725 §3.8).
        let issuer = self
            .issuers
            .find(token::issuer(&token.claims)?)
            .ok_or(Denial::IssuerUnknown)?
            .clone();
        let algorithm = token
            .header
            .algorithm
            .filter(|algorithm| self.algorithms.contains(algorithm))
            .ok_or(Denial::AlgorithmNotAllowed)?;
        if let Some(typ) = &token.header.token_type {
            self.check_type(typ, purpose)?;
        }
        let registered = RegisteredClaims::read(&token.claims)?;
        let times = TokenTimes {
            expires: registered.expires,
            not_before: registered.not_before,
            issued_at: registered.issued_at,
        };
        self.check_times(times, now)?;
        let audiences = match purpose {
            Purpose::Access => self.audiences.as_deref(),
            Purpose::Identity => Some(&*self.id_token_audiences),
        };
        if let Some(audiences) = audiences
            && !names_one_of(&registered.audiences, audiences)
        {
            return Err(Denial::AudienceMismatch);
        }
        let stated = stated(&token.claims).ok_or(Denial::TokenKindRefused)?;
        let stated = stated.or_else(|| self.marked(&token.claims));
        let fits = match purpose {
            Purpose::Access => self.kinds.contains(&stated.unwrap_or(TokenKind::Access)),
            Purpose::Identity => {
                stated != Some(TokenKind::Access) && !has_access_claims(&token.claims)
            }
        };
        if !fits {
            return Err(Denial::TokenKindRefused);
        }
        Ok(Plausible {
            token,
            purpose,
            issuer,
            algorithm,
            times,
        })
    }

    /// Claims whose signature is proven, if nothing that only proven claims may decide
    /// speaks against them.
    ///
    /// # Errors
    /// [`Denial::KeyAlgorithmMismatch`], [`Denial::BoundToken`] or
    /// [`Denial::ClientNotAllowed`].
    pub fn verify<'a>(&self, token: &Plausible<'a>, proof: &Proof) -> Result<Verified<'a>, Denial> {
        if proof.key().algorithm() != token.algorithm {
            return Err(Denial::KeyAlgorithmMismatch);
        }
        let claims = &token.token.claims;
        if self.reject_bound_tokens && claims.has("cnf") {
            return Err(Denial::BoundToken);
        }
        let allowed = match token.purpose {
            Purpose::Access => self.clients.is_empty() || self.allows_client(claims),
            Purpose::Identity => self.allows_login(claims),
        };
        if !allowed {
            return Err(Denial::ClientNotAllowed);
        }
        Ok(Verified {
            claims,
            issuer: token.issuer.clone(),
            times: token.times,
            key: Arc::clone(proof.key()),
        })
    }

    /// Checks times at first sight and at each use of a cached token.
    ///
    /// A token is invalid on and after `exp` plus leeway (RFC 7519 §4.1.4), before
    /// `nbf` minus leeway, and when `iat` lies in the future beyond leeway.
    ///
    /// # Errors
    /// [`Denial::TokenExpired`], [`Denial::TokenNotYetValid`],
    /// [`Denial::IssuedInFuture`] or [`Denial::LifetimeTooLong`].
    pub fn check_times(&self, times: TokenTimes, now: Timestamp) -> Result<(), Denial> {
        if now >= self.expires(times) {
            return Err(Denial::TokenExpired);
        }
        let leeway = self.leeway.as_secs();
        let latest = now.after(leeway);
        if times.not_before.is_some_and(|nbf| nbf > latest) {
            return Err(Denial::TokenNotYetValid);
        }
        if times.issued_at.is_some_and(|iat| iat > latest) {
            return Err(Denial::IssuedInFuture);
        }
        if let Some(max) = self.max_lifetime {
            let ahead = times.expires.since(now);
            let whole = times.issued_at.map_or(0, |iat| times.expires.since(iat));
            if ahead > max.saturating_add(leeway) || whole > max {
                return Err(Denial::LifetimeTooLong);
            }
        }
        Ok(())
    }

    /// The instant from which a token of these times is refused as expired.
    #[must_use]
    pub const fn expires(&self, times: TokenTimes) -> Timestamp {
        times.expires.after(self.leeway.as_secs())
    }

    /// The kind that a token's claims tell of, where the provider marks one of the two.
    fn marked(&self, claims: &Object) -> Option<TokenKind> {
        if self.id_token_claims.is_empty() {
            return None;
        }
        let mut marks = self.id_token_claims.iter();
        Some(if marks.any(|name| claims.has(name)) {
            TokenKind::Id
        } else {
            TokenKind::Access
        })
    }

    /// Whether a `typ` may stand in the header of a token for that purpose.
    fn check_type(&self, typ: &String, purpose: Purpose) -> Result<(), Denial> {
        match (purpose, typ.as_str()) {
            (Purpose::Identity, "jwt") => Ok(()),
            // The header of access tokens (RFC 9068 §2.1).
            (Purpose::Identity, "at+jwt") => Err(Denial::TokenKindRefused),
            (Purpose::Access, _) if self.token_types.contains(typ) => Ok(()),
            _ => Err(Denial::TokenTypeRefused),
        }
    }

    /// Whether a token with these claims, of one of its issuers, was made for this service:
    /// it names one of the audiences, unless none is asked for.
    #[must_use]
    pub fn is_audience(&self, claims: &Object) -> bool {
        let Some(audiences) = &self.audiences else {
            return true;
        };
        match claims.get("aud") {
            Some(Value::String(one)) => audiences.contains(one),
            Some(Value::Array(many)) => {
                let texts: Vec<&str> = many.iter().filter_map(Value::as_str).collect();
                names_one_of(&texts, audiences)
            }
            _ => false,
        }
    }

    /// Every client claim present must be allowed, and one must be present, so
    /// that an allowed `azp` beside another `client_id` does not pass.
    fn allows_client(&self, claims: &Object) -> bool {
        let mut present = clients_of(claims).peekable();
        let allowed = |client: &str| self.clients.iter().any(|allowed| allowed == client);
        present.peek().is_some() && present.all(|value| value.as_str().is_some_and(allowed))
    }

    /// An ID token names its client in `aud`, and need not name it again. If it names one to
    /// whom it was given (OpenID Connect Core §2, `azp`), that is an audience, or one of the
    /// clients.
    fn allows_login(&self, claims: &Object) -> bool {
        let allowed = |client: &str| {
            let mut allowed = self.id_token_audiences.iter().chain(&self.clients);
            allowed.any(|allowed| allowed == client)
        };
        clients_of(claims).all(|value| value.as_str().is_some_and(allowed))
    }
}

/// The clients that claims name.
fn clients_of(claims: &Object) -> impl Iterator<Item = &Value> {
    CLIENT_CLAIMS.iter().filter_map(|name| claims.get(name))
}

/// Whether one of those is ours.
fn names_one_of(named: &[&str], ours: &[String]) -> bool {
    named
        .iter()
        .any(|audience| ours.iter().any(|our| our == audience))
}

/// Where providers put the client's name: OIDC, Entra v1, Okta, RFC 9068.
const CLIENT_CLAIMS: [&str; 4] = ["azp", "appid", "cid", "client_id"];

/// The kind of token, by what providers state: `Some(None)` if they state nothing, `None`
/// for any other kind.
///
/// Keycloak states it in the payload's `typ`, Cognito in `token_use`; a security
/// event or logout token has `events` (RFC 8417 §2.2, OIDC Back-Channel Logout).
/// Where nothing is stated, the audience tells: an ID token's is its client.
#[expect(clippy::option_option)]
fn stated(claims: &Object) -> Option<Option<TokenKind>> {
    if claims.has("events") {
        return None;
    }
    let keycloak = match claims.get("typ") {
        None => None,
        Some(Value::String(typ)) => match typ.to_ascii_lowercase().as_str() {
            "bearer" | "at+jwt" | "access" | "dpop" => Some(TokenKind::Access),
            "jwt" => None,
            "id" => Some(TokenKind::Id),
            _ => return None,
        },
        Some(_) => return None,
    };
    let cognito = match claims.get("token_use") {
        None => None,
        Some(Value::String(usage)) => match usage.as_str() {
            "access" => Some(TokenKind::Access),
            "id" => Some(TokenKind::Id),
            _ => return None,
        },
        Some(_) => return None,
    };
    Some(match (keycloak, cognito) {
        (Some(TokenKind::Id), _) | (_, Some(TokenKind::Id)) => Some(TokenKind::Id),
        (one, other) => one.or(other),
    })
}

/// Whether claims hold what only access tokens have: scopes, what kind of client asked and
/// how it proved itself.
fn has_access_claims(claims: &Object) -> bool {
    ACCESS_CLAIMS.iter().any(|name| claims.has(name))
}

/// Claims of access tokens alone: RFC 9068 §2.2.3, Auth0's `gty`, Okta's, Entra's.
const ACCESS_CLAIMS: [&str; 8] = [
    "scope", "gty", "scp", "cid", "appid", "appidacr", "azpacr", "idtyp",
];
