//! From a well-formed token to proven claims: the rules of one provider, then the signature.
//!
//! The order is fixed: the provider is chosen by its exact `iss`; its rules for algorithm,
//! times, audience and kind of token are checked; then the key is looked up in that provider's
//! set alone; and only then is the signature verified. This follows RFC 8725 and RFC 9068 §4.

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

/// The kind of a token that a provider issued.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TokenKind {
    /// The token is for calling APIs.
    Access,
    /// The token tells a client who has logged in (OpenID Connect Core §2).
    Id,
}

impl TokenKind {
    /// The name in the configuration.
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
    /// Accepted `aud` values, or `None` if the check was explicitly switched off.
    pub audiences: Option<Vec<String>>,
    /// Accepted `aud` values of ID tokens that arrive in a header of their own. If the list is
    /// empty, no such token is accepted.
    pub id_token_audiences: Vec<String>,
    /// Accepted `alg` values.
    pub algorithms: Vec<Algorithm>,
    /// Tolerated clock difference.
    pub leeway: Leeway,
    /// Longest accepted lifetime, in seconds.
    pub max_lifetime: Option<u64>,
    /// Accepted `typ` values, in lower case. A token without `typ` is always accepted.
    pub token_types: Vec<String>,
    /// Accepted kinds of tokens.
    pub kinds: Vec<TokenKind>,
    /// Claims that only ID tokens of this provider have, for a provider that does not state the
    /// kind.
    pub id_token_claims: Vec<String>,
    /// Accepted clients (`azp`, `appid`, `cid`, `client_id`); empty accepts any.
    pub clients: Vec<String>,
    /// Whether a token with `cnf` is refused, because a Bearer request proves possession of no
    /// key.
    pub reject_bound_tokens: bool,
    /// How claims become a principal.
    pub mapping: ClaimMapping,
}

/// The times of a token, which are kept so that they can be checked at each use.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TokenTimes {
    /// When the token expires (`exp`).
    pub expires: Timestamp,
    /// When the token begins to be valid (`nbf`), if it says so.
    pub not_before: Option<Timestamp>,
    /// When the token was issued (`iat`), if it says so.
    pub issued_at: Option<Timestamp>,
}

/// Claims whose signature was verified. Only [`Provider::verify`] creates them.
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

    /// The `iss`, as the token spells it.
    #[must_use]
    pub const fn issuer(&self) -> &Issuer {
        &self.issuer
    }

    /// The times of the token.
    #[must_use]
    pub const fn times(&self) -> TokenTimes {
        self.times
    }

    /// The key that signed the token.
    #[must_use]
    pub const fn key(&self) -> &Arc<VerifyingKey> {
        &self.key
    }
}

/// A token that passed every check except that of the signature.
#[derive(Debug)]
pub struct Plausible<'a> {
    token: &'a Unverified<'a>,
    purpose: Purpose,
    issuer: Issuer,
    algorithm: Algorithm,
    times: TokenTimes,
}

impl Plausible<'_> {
    /// The `kid` that the token names, which is not proven.
    #[must_use]
    pub fn key_id(&self) -> Option<&str> {
        self.token.header.key_id.as_deref()
    }

    /// Has an engine check the signature with that key.
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

    /// The `iss`, which is one of the provider's but is not proven.
    #[must_use]
    pub const fn issuer(&self) -> &Issuer {
        &self.issuer
    }

    /// The payload, which is not proven.
    #[must_use]
    pub const fn claims(&self) -> &Object {
        &self.token.claims
    }

    /// The times, which are not proven.
    #[must_use]
    pub const fn times(&self) -> TokenTimes {
        self.times
    }

    /// What a set knows about the key that should have signed the token.
    #[must_use]
    pub fn lookup<'k>(&self, keys: &'k KeySet) -> Lookup<'k> {
        keys.find(self.key_id(), self.algorithm)
    }
}

impl Provider {
    /// Performs every check that needs no cryptography.
    ///
    /// # Errors
    /// The first 401 that applies.
    pub fn check<'a>(
        &self,
        token: &'a Unverified<'a>,
        purpose: Purpose,
        now: Timestamp,
    ) -> Result<Plausible<'a>, Denial> {
        // The caller chose the provider by the `iss`. A token of another provider must not get
        // here (RFC 8725 §3.8).
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

    /// Returns the claims, whose signature is proven, after the checks that only proven claims
    /// may decide.
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

    /// Checks the times of a token, at first sight and at each use of a cached one.
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

    /// The instant from which a token with these times is refused as expired.
    #[must_use]
    pub const fn expires(&self, times: TokenTimes) -> Timestamp {
        times.expires.after(self.leeway.as_secs())
    }

    /// The kind that follows from a token's claims, if the provider is one whose ID tokens are
    /// marked by certain claims.
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

    /// Whether the header of a token with that purpose may have this `typ`.
    fn check_type(&self, typ: &String, purpose: Purpose) -> Result<(), Denial> {
        match (purpose, typ.as_str()) {
            (Purpose::Identity, "jwt") => Ok(()),
            // This is the `typ` of access tokens (RFC 9068 §2.1).
            (Purpose::Identity, "at+jwt") => Err(Denial::TokenKindRefused),
            (Purpose::Access, _) if self.token_types.contains(typ) => Ok(()),
            _ => Err(Denial::TokenTypeRefused),
        }
    }

    /// Whether a token with these claims, from one of this provider's issuers, was made for
    /// this service. It must name one of the audiences, unless the check is switched off.
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

    /// Whether the token's client is allowed. A client claim must be present, and each one that
    /// is must be allowed, so that an allowed `azp` beside another `client_id` does not pass.
    fn allows_client(&self, claims: &Object) -> bool {
        let mut present = clients_of(claims).peekable();
        let allowed = |client: &str| self.clients.iter().any(|allowed| allowed == client);
        present.peek().is_some() && present.all(|value| value.as_str().is_some_and(allowed))
    }

    /// Whether the client of an ID token is allowed. An ID token names its client in `aud` and
    /// need not name it again. If it names the client that it was issued to (OpenID Connect
    /// Core §2, `azp`), that must be one of the audiences or of the clients.
    fn allows_login(&self, claims: &Object) -> bool {
        let allowed = |client: &str| {
            let mut allowed = self.id_token_audiences.iter().chain(&self.clients);
            allowed.any(|allowed| allowed == client)
        };
        clients_of(claims).all(|value| value.as_str().is_some_and(allowed))
    }
}

/// The clients that the claims name.
fn clients_of(claims: &Object) -> impl Iterator<Item = &Value> {
    CLIENT_CLAIMS.iter().filter_map(|name| claims.get(name))
}

/// Whether one of the names is one of ours.
fn names_one_of(named: &[&str], ours: &[String]) -> bool {
    named
        .iter()
        .any(|audience| ours.iter().any(|our| our == audience))
}

/// The claims in which providers name the client: OIDC, Entra v1, Okta, RFC 9068.
const CLIENT_CLAIMS: [&str; 4] = ["azp", "appid", "cid", "client_id"];

/// The kind of a token, by what its provider states: `Some(None)` if it states nothing, and
/// `None` if it states a kind other than the two.
///
/// Keycloak states the kind in the payload's `typ`, Cognito in `token_use`. A security event or
/// logout token has `events` (RFC 8417 §2.2, OIDC Back-Channel Logout). If nothing is stated,
/// the audience decides, because that of an ID token is its client.
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

/// Whether the claims include one that only access tokens have: scopes, the type of client that
/// asked, or how it authenticated itself.
fn has_access_claims(claims: &Object) -> bool {
    ACCESS_CLAIMS.iter().any(|name| claims.has(name))
}

/// Claims that only access tokens have: those of RFC 9068 §2.2.3, Auth0's `gty`, and those of
/// Okta and Entra.
const ACCESS_CLAIMS: [&str; 8] = [
    "scope", "gty", "scp", "cid", "appid", "appidacr", "azpacr", "idtyp",
];
