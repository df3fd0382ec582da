//! From the bytes of a token to a session: the provider, its rules, its keys, the proof.

use std::sync::Arc;

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

/// A provider whose tokens are accepted: its rules, and the keys it is held to.
#[derive(Debug)]
pub struct TrustedProvider {
    /// Its rules.
    pub rules: Arc<Provider>,
    /// Its keys.
    pub keys: Keys,
}

/// All that tokens of one configuration are judged by.
#[derive(Debug)]
pub struct Authenticator {
    providers: Vec<TrustedProvider>,
    owner: Owner,
    token_bytes: usize,
    max_groups: usize,
}

/// A token that is to be judged.
#[derive(Clone, Copy, Debug)]
pub struct Presented<'a> {
    /// Its bytes, and what they are taken for.
    pub sent: Sent<'a>,
    /// When its request came.
    pub arrived: Monotonic,
    /// The clocks.
    pub time: Time,
}

/// What the worker lends to a decision: what it remembers of tokens, and what checks
/// signatures.
pub struct Lent<'a> {
    /// Tokens that are remembered.
    pub tokens: &'a mut TokenCache,
    /// Checks signatures.
    pub engine: &'a dyn SignatureEngine,
}

/// What was found out about a token on the way to a verdict.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    /// The caller, once verified.
    pub session: Option<Arc<Session>>,
    /// Whether the token was remembered.
    pub cached: Option<bool>,
    /// Which provider's signature was checked with which algorithm, and whether it held: for
    /// each key that was tried.
    pub verified: Vec<(ProviderIndex, Algorithm, bool)>,
    /// Which provider's token, judged anew, held how many group values that pose as another
    /// source's.
    pub dropped: Option<(ProviderIndex, usize)>,
    /// What is known of a token that was refused, unless it was remembered.
    pub refused: Option<Refused>,
}

/// Why there is no session.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Unproven {
    /// A newer document of the provider's keys may bring one; `otherwise` is the answer
    /// if none can be waited for.
    AwaitsKeys {
        /// Whose keys.
        provider: ProviderIndex,
        /// What is wanted of them.
        need: Need,
        /// Why the request is refused then.
        otherwise: Denial,
    },
    /// What comes depends on the exact time.
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
    /// Judges by these providers. `owner` tells its sessions from those of other
    /// configurations; `token_bytes` and `max_groups` bound what a token may hold.
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

    /// Its sessions are told from others by this.
    #[must_use]
    pub const fn owner(&self) -> Owner {
        self.owner
    }

    /// Its sessions are told from others by this from now on: earlier ones are derived anew
    /// from what is proven of their tokens.
    pub const fn set_owner(&mut self, owner: Owner) {
        self.owner = owner;
    }

    /// The trusted providers, in the order of the configuration.
    #[must_use]
    pub fn providers(&self) -> &[TrustedProvider] {
        &self.providers
    }

    /// One of them.
    #[must_use]
    pub fn provider(&self, ProviderIndex(position): ProviderIndex) -> Option<&TrustedProvider> {
        self.providers.get(position)
    }

    /// Its keys.
    pub fn keys_mut(&mut self, ProviderIndex(position): ProviderIndex) -> Option<&mut Keys> {
        let provider = self.providers.get_mut(position)?;
        Some(&mut provider.keys)
    }

    /// The session of a token.
    ///
    /// # Errors
    /// [`Unproven`]
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
            // A token that has expired by a clock that lags has expired by any other.
            Err(Denial::TokenExpired) => return Err(Denial::TokenExpired.into()),
            Ok(None) => {}
            // But a clock that lags must not refuse a token of this second.
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

    /// The session of a token that is not remembered.
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
        // These very bytes may have been proven for another configuration, with a key
        // that is trusted for this issuer still: all but the signature is judged anew.
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
            // If none of them has signed it, some key has that is not known. The one that is
            // known to have comes first.
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

    /// From a proven token to a session, which is remembered.
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
        });
        tokens.insert(sent, proof, self.owner, Arc::clone(&session));
        Ok(session)
    }

    /// Whose tokens have that `iss`.
    fn position(&self, issuer: &str) -> Option<usize> {
        let mut providers = self.providers.iter();
        providers.position(|provider| provider.rules.issuers.find(issuer).is_some())
    }

    /// Whether a token that came as an access token was made for this service, so that the
    /// verdict on it is final: it says that it is of a provider, and names one of its audiences.
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

    /// The session of a remembered token whose times hold now and whose provider still
    /// has keys that are fresh enough.
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

    /// From when on a request with the session's token would be refused as expired.
    ///
    /// # Errors
    /// [`Denial::GateUnavailable`] for a session of another configuration.
    pub fn expires(&self, session: &Session) -> Result<Timestamp, Denial> {
        self.provider(session.principal.provider)
            .map(|provider| provider.rules.expires(session.times))
            .ok_or(Denial::GateUnavailable)
    }

    /// Reads a document by a provider's rules.
    ///
    /// # Errors
    /// [`JwksError`]
    pub fn read_keys(&self, provider: ProviderIndex, document: &[u8]) -> Result<KeySet, JwksError> {
        let rules = &self.provider(provider).ok_or(JwksError::NoList)?.rules;
        KeySet::parse(document, &rules.algorithms, &rules.issuers)
    }

    /// Puts what a newer document holds in place of a provider's keys: `None` if it
    /// has no usable key. Every remembered token whose key is not in it ends at once.
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
