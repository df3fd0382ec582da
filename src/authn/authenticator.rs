//! From the bytes of a token to a session: finds the provider and its rules, then the key, and
//! checks the signature.

use std::sync::{Arc, OnceLock};

use crate::authn::jwks::{JwksError, KeySet, Lookup};
use crate::authn::key_cache::{Edition, Keys, Missing, Need, Stranger};
use crate::authn::keys::{Algorithm, Proof, SignatureEngine, VerifyingKey};
use crate::authn::refused::{Claimed, Proven, Refused};
use crate::authn::token::{self, Unverified};
use crate::authn::token_cache::{Owner, Sent, Session, TokenCache};
use crate::authn::verifier::{Plausible, Provider};
use crate::words::credential::Purpose;
use crate::words::denial::Denial;
use crate::words::identity::{Groups, Principal, ProviderIndex};
use crate::words::time::{Monotonic, Now, Time, Timestamp};

/// A provider whose tokens are accepted: its rules and its keys.
#[derive(Debug)]
pub struct TrustedProvider {
    /// The rules that its tokens have to meet.
    pub rules: Arc<Provider>,
    /// The keys that may have signed its tokens.
    pub keys: Keys,
}

/// The trusted providers of one configuration, and the limits by which its tokens are judged.
#[derive(Debug)]
pub struct Authenticator {
    providers: Vec<TrustedProvider>,
    owner: Owner,
    token_bytes: usize,
    max_groups: usize,
}

/// A token to be judged.
#[derive(Clone, Copy, Debug)]
pub struct Presented<'a> {
    /// The bytes of the token, and the purpose that it is assumed to have.
    pub sent: Sent<'a>,
    /// When the request with the token arrived.
    pub arrived: Monotonic,
    /// The time of the decision.
    pub time: Time,
}

/// What the worker lends to a decision: the remembered tokens, and the engine that checks
/// signatures.
pub struct Lent<'a> {
    /// The remembered tokens.
    pub tokens: &'a mut TokenCache,
    /// The engine that checks signatures.
    pub engine: &'a dyn SignatureEngine,
}

/// What was found out about a token on the way to a verdict.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    /// The caller, once verified.
    pub session: Option<Arc<Session>>,
    /// Whether the token was remembered.
    pub cached: Option<bool>,
    /// One element for each key that was tried: the provider, the algorithm, and whether the
    /// signature held.
    pub verified: Vec<(ProviderIndex, Algorithm, bool)>,
    /// The provider of a token that was judged afresh, and how many of its group values pose as
    /// those of another source, if there are any.
    pub dropped: Option<(ProviderIndex, usize)>,
    /// What is known about a refused token, unless it was remembered.
    pub refused: Option<Refused>,
}

/// Why there is no session.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Unproven {
    /// A newer document of the provider's keys may hold the key. `otherwise` is the answer if
    /// the request cannot wait for one.
    AwaitsKeys {
        /// The provider whose keys are awaited.
        provider: ProviderIndex,
        /// What is wanted from the keys.
        need: Need,
        /// Why the request is refused if it cannot wait.
        otherwise: Denial,
    },
    /// The verdict depends on the exact time, which was not read for this event.
    NeedsClock,
    /// The token is refused.
    Refused(Denial),
}

impl From<Denial> for Unproven {
    fn from(denial: Denial) -> Self {
        Self::Refused(denial)
    }
}

impl Authenticator {
    /// Creates an authenticator for these providers. `owner` distinguishes its sessions from
    /// those of other configurations; `token_bytes` and `max_groups` limit what a token may
    /// hold.
    #[must_use]
    pub const fn new(
        providers: Vec<TrustedProvider>,
        owner: Owner,
        token_bytes: usize,
        max_groups: usize,
    ) -> Self {
        Self {
            providers,
            owner,
            token_bytes,
            max_groups,
        }
    }

    /// The owner that marks the sessions of this authenticator.
    #[must_use]
    pub const fn owner(&self) -> Owner {
        self.owner
    }

    /// Changes the owner of the sessions from now on. Earlier sessions are derived afresh from
    /// what is proven about their tokens.
    pub const fn set_owner(&mut self, owner: Owner) {
        self.owner = owner;
    }

    /// The trusted providers, in the order of the configuration.
    #[must_use]
    pub fn providers(&self) -> &[TrustedProvider] {
        &self.providers
    }

    /// The provider at a position of the configuration.
    #[must_use]
    pub fn provider(&self, ProviderIndex(position): ProviderIndex) -> Option<&TrustedProvider> {
        self.providers.get(position)
    }

    /// The keys of the provider at a position of the configuration.
    pub fn keys_mut(&mut self, ProviderIndex(position): ProviderIndex) -> Option<&mut Keys> {
        let provider = self.providers.get_mut(position)?;
        Some(&mut provider.keys)
    }

    /// The session of a token.
    ///
    /// # Errors
    /// [`Unproven`] if there is none.
    pub fn authenticate(
        &mut self,
        presented: Presented<'_>,
        lent: &mut Lent<'_>,
        known: &Groups,
        findings: &mut Findings,
    ) -> Result<Arc<Session>, Unproven> {
        let Presented { sent, time, .. } = presented;
        match self.remembered(sent, time.now(), lent.tokens, findings) {
            Ok(Some(session)) => {
                findings.cached = Some(true);
                return Ok(session);
            }
            // A coarse clock can only lag, so a token that has expired by it has expired by the
            // exact clock too.
            Err(Denial::TokenExpired) => return Err(Denial::TokenExpired.into()),
            Ok(None) => {}
            // A clock that lags must not refuse a token that was issued this very second.
            Err(_) if time.exact().is_none() => return Err(Unproven::NeedsClock),
            Err(denial) => return Err(denial.into()),
        }
        let now = time.exact().ok_or(Unproven::NeedsClock)?;
        findings.cached = Some(false);
        let unverified = Unverified::parse(sent.token, self.token_bytes)?;
        let judged = self.judge(&unverified, presented, now, lent, known, findings);
        if judged.is_err() && findings.refused.is_none() {
            findings.refused = Some(Refused::Claimed(Claimed::by(&unverified)));
        }
        judged
    }

    /// Judges a token that is not remembered, and returns its session.
    fn judge(
        &mut self,
        unverified: &Unverified<'_>,
        presented: Presented<'_>,
        now: Now,
        lent: &mut Lent<'_>,
        known: &Groups,
        findings: &mut Findings,
    ) -> Result<Arc<Session>, Unproven> {
        let sent = presented.sent;
        let issuer = token::issuer(&unverified.claims)?;
        let position = self.position(issuer).ok_or(Denial::IssuerUnknown)?;
        let provider = self
            .providers
            .get_mut(position)
            .ok_or(Denial::GateUnavailable)?;
        let index = ProviderIndex(position);
        let rules = Arc::clone(&provider.rules);
        let plausible = rules.check(unverified, sent.purpose, now.wall)?;
        let stranger = Stranger {
            token: sent.token,
            key_id: plausible.key_id(),
            arrived: presented.arrived,
            issued_at: plausible.times().issued_at,
            leeway: rules.leeway,
        };
        // These very bytes may have been proven for another configuration, with a key that is
        // still trusted for this issuer. Then everything but the signature is judged afresh.
        let earlier = lent.tokens.proof(sent).cloned();
        let mut prove = |key: &Arc<VerifyingKey>| {
            if let Some(proof) = earlier.as_ref().filter(|proof| proof.key().is_same(key)) {
                return Ok(proof.clone());
            }
            let proof = plausible.prove(key, lent.engine);
            let tried = (index, key.algorithm(), proof.is_ok());
            findings.verified.push(tried);
            proof
        };
        let lookup = provider
            .keys
            .usable(now.mono)
            .map(|set| plausible.lookup(set));
        let proof = match lookup {
            Some(Lookup::Found(key)) => Some(prove(key)?),
            Some(Lookup::AlgorithmMismatch) => return Err(Denial::KeyAlgorithmMismatch.into()),
            // If none of these keys has signed the token, an unknown one has. A key that is
            // known to have signed it is tried first.
            Some(Lookup::Candidates(mut keys)) => {
                let earlier = earlier.as_ref().map(Proof::key);
                keys.sort_by_key(|key| !earlier.is_some_and(|earlier| earlier.is_same(key)));
                keys.into_iter().find_map(|key| prove(key).ok())
            }
            Some(Lookup::Unknown) | None => None,
        };
        let Some(proof) = proof else {
            return Err(match provider.keys.missing(&stranger, now.mono) {
                Missing::Final(denial) => Unproven::Refused(denial),
                Missing::Awaits { need, otherwise } => Unproven::AwaitsKeys {
                    provider: index,
                    need,
                    otherwise,
                },
            });
        };
        let admitted = self.admit(sent, &plausible, proof.clone(), index, lent.tokens, known);
        match &admitted {
            Ok(session) => {
                let dropped = session.principal.listing.dropped;
                findings.dropped = (dropped > 0).then_some((index, dropped));
            }
            Err(_) => {
                findings.refused = Some(Refused::Proven(Proven {
                    provider: index,
                    issuer: plausible.issuer().clone(),
                    subject: rules.mapping.subject(plausible.claims()),
                    key: Arc::clone(proof.key()),
                }));
            }
        }
        Ok(admitted?)
    }

    /// Turns a proven token into a session, which is remembered.
    fn admit(
        &self,
        sent: Sent<'_>,
        plausible: &Plausible<'_>,
        proof: Proof,
        provider: ProviderIndex,
        tokens: &mut TokenCache,
        known: &Groups,
    ) -> Result<Arc<Session>, Denial> {
        let rules = &self
            .provider(provider)
            .ok_or(Denial::GateUnavailable)?
            .rules;
        let verified = rules.verify(plausible, &proof)?;
        let principal: Principal =
            rules
                .mapping
                .principal(verified.claims(), provider, known, self.max_groups)?;
        let session = Arc::new(Session {
            principal,
            issuer: verified.issuer().clone(),
            times: verified.times(),
            key: Arc::clone(verified.key()),
            owner: self.owner,
            recorded: OnceLock::new(),
        });
        tokens.insert(sent, proof, self.owner, Arc::clone(&session));
        Ok(session)
    }

    /// The position of the provider with that `iss`.
    fn position(&self, issuer: &str) -> Option<usize> {
        let mut providers = self.providers.iter();
        providers.position(|provider| provider.rules.issuers.find(issuer).is_some())
    }

    /// Whether a token that arrived as an access token was made for this service, so that the
    /// verdict on it is final: its `iss` is that of a provider, and its `aud` names one of that
    /// provider's audiences.
    pub fn is_meant(&self, token: &[u8], tokens: &mut TokenCache) -> bool {
        let sent = Sent {
            token,
            purpose: Purpose::Access,
        };
        if tokens.session(sent, self.owner).is_some() {
            return true;
        }
        let Some(claims) = token::peek(token) else {
            return false;
        };
        let issuer = token::issuer(&claims).ok();
        let position = issuer.and_then(|issuer| self.position(issuer));
        let provider = position.and_then(|position| self.providers.get(position));
        provider.is_some_and(|provider| provider.rules.is_audience(&claims))
    }

    /// The session of a remembered token, if its times hold now and its provider still has keys
    /// that are fresh enough.
    fn remembered(
        &self,
        sent: Sent<'_>,
        now: Now,
        tokens: &mut TokenCache,
        findings: &mut Findings,
    ) -> Result<Option<Arc<Session>>, Denial> {
        let Some(session) = tokens.session(sent, self.owner).map(Arc::clone) else {
            return Ok(None);
        };
        let provider = self
            .provider(session.principal.provider)
            .filter(|provider| provider.keys.usable(now.mono).is_some());
        let Some(provider) = provider else {
            return Ok(None);
        };
        let times = provider.rules.check_times(session.times, now.wall);
        if let Err(denial) = times {
            findings.session = Some(session);
            if denial == Denial::TokenExpired {
                tokens.forget(sent);
            }
            return Err(denial);
        }
        Ok(Some(session))
    }

    /// The time from which a request with the session's token is refused as expired.
    ///
    /// # Errors
    /// [`Denial::GateUnavailable`] for a session of another configuration.
    pub fn expires(&self, session: &Session) -> Result<Timestamp, Denial> {
        self.provider(session.principal.provider)
            .map(|provider| provider.rules.expires(session.times))
            .ok_or(Denial::GateUnavailable)
    }

    /// Reads a key set document by the rules of a provider.
    ///
    /// # Errors
    /// [`JwksError`]
    pub fn read_keys(&self, provider: ProviderIndex, document: &[u8]) -> Result<KeySet, JwksError> {
        let rules = &self.provider(provider).ok_or(JwksError::NoList)?.rules;
        KeySet::parse(document, &rules.algorithms, &rules.issuers)
    }

    /// Replaces a provider's keys with those of a newer document, which are `None` if it has no
    /// usable key. Every remembered token whose key is not among them is forgotten at once.
    pub fn adopt(
        &mut self,
        provider: ProviderIndex,
        set: Option<&Arc<KeySet>>,
        edition: Edition,
        tokens: &mut TokenCache,
    ) {
        if let Some(Keys::Fetched(cache)) = self.keys_mut(provider) {
            cache.adopt(set.map(Arc::clone), edition);
        }
        let ours = self.owner;
        tokens.retain(|owner, session| {
            owner != ours
                || session.principal.provider != provider
                || set.is_some_and(|set| set.holds(&session.key))
        });
    }
}
