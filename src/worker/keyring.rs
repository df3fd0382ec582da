//! What news from a source of keys means for the configurations that name it.
//!
//! Each configuration reads a document by its own rules, and adopts it if it can use it. A
//! document that none can use is passed over or, if it was fetched here, makes the fetch a
//! failed one.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::authn::authenticator::Authenticator;
use crate::authn::jwks::{JwksError, KeySet, MAX_DOCUMENT_BYTES, MAX_KEYS};
use crate::authn::key_cache::{KeyCache, Keys};
use crate::authn::key_lease::Document;
use crate::authn::token_cache::TokenCache;
use crate::words::identity::ProviderIndex;
use crate::words::time::Now;
use crate::worker::counters::Count;
use crate::worker::document_fetch::{DocumentFetch, News};
use crate::worker::effect::{Effect, Level, Sink};
use crate::worker::event::{CallOutcome, Entry, RootId, SourceId, Swap};
use crate::worker::excerpt::{MAX_EXPLANATION, MAX_NAME, excerpt, say};
use crate::worker::received::{Failure, Received};
use crate::worker::root::Root;
use crate::worker::sources::Sources;

/// The configurations of a worker.
pub type Roots = BTreeMap<RootId, Root>;

/// What requests that wait for keys of a source need to know.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[must_use]
pub enum Heard {
    /// There is a newer document.
    Changed,
    /// Nothing has changed.
    Nothing,
    /// Nothing is under way any more.
    Settled,
}

/// A source's document as one configuration reads it.
type Reading = (RootId, ProviderIndex, Result<Arc<KeySet>, JwksError>);

/// The keys of all configurations of a worker, at the time of an event.
pub struct Keyring<'a> {
    /// The sources of keys.
    pub sources: &'a mut Sources,
    /// The configurations that need keys.
    pub roots: &'a mut Roots,
    /// The remembered tokens, which are forgotten together with the keys that signed them.
    pub tokens: &'a mut TokenCache,
    /// The current time.
    pub now: Now,
    /// Takes the effects.
    pub out: &'a mut dyn Sink,
}

impl Keyring<'_> {
    /// Gives a new root, which is not among the others yet, the keys of its providers that are
    /// available.
    pub fn take_over(&mut self, root: &mut Root) {
        let served: Vec<_> = root.sources().collect();
        for (provider, source) in served {
            let keys = root.gate.authenticator_mut().keys_mut(provider);
            if let (Some(earlier), Some(Keys::Fetched(cache))) = (self.cache_of(source), keys) {
                cache.inherit(earlier);
            }
            let held = self.sources.get(source).and_then(|fetch| fetch.held());
            let Some(document) = held else { continue };
            match root
                .gate
                .authenticator()
                .read_keys(provider, &document.bytes)
            {
                Ok(set) => {
                    let authenticator = root.gate.authenticator_mut();
                    let set = Arc::new(set);
                    adopt(authenticator, provider, Some(&set), document, self.tokens);
                }
                Err(error) => {
                    let name = provider_name(root, source);
                    let error = excerpt(&error.to_string(), MAX_EXPLANATION);
                    let line = format!("provider {name}: the keys at hand cannot be used: {error}");
                    say(self.out, Level::Warn, &line);
                }
            }
        }
    }

    /// The cache of the newest root that names the source.
    fn cache_of(&self, source: SourceId) -> Option<&KeyCache> {
        self.roots.values().rev().find_map(|root| {
            let provider = root.provider_of(source)?;
            match &root.gate.authenticator().provider(provider)?.keys {
                Keys::Fetched(cache) => Some(cache),
                Keys::Inline(_) => None,
            }
        })
    }

    /// Handles a tick.
    pub fn tick(&mut self, source: SourceId) -> Heard {
        let fetch = self.sources.get_mut(source);
        let news = fetch.map_or(News::None, |fetch| fetch.tick(self.now, self.out));
        self.hear(source, news)
    }

    /// Handles the end of a root, which is no longer among the others.
    pub fn root_gone(&mut self, gone: RootId, source: SourceId) -> Heard {
        let heirs = self.roots.values().rev();
        let heir = heirs.filter_map(|root| Some((root.id(), root.remote(source)?)));
        let heir = heir.map(|(heir, uri)| (heir, uri.clone())).next();
        let fetch = self.sources.get_mut(source);
        let news = fetch.map_or(News::None, |fetch| {
            fetch.orphaned(gone, heir, self.now, self.out)
        });
        self.hear(source, news)
    }

    /// Handles a shared entry that was read.
    pub fn looked(&mut self, source: SourceId, entry: Entry, value: Option<(&[u8], u32)>) -> Heard {
        let fetch = self.sources.get_mut(source);
        let news = fetch.map_or(News::None, |fetch| {
            fetch.looked(entry, value, self.now, self.out)
        });
        self.hear(source, news)
    }

    /// Handles the outcome of swapping a shared entry.
    pub fn swapped(&mut self, source: SourceId, entry: Entry, swap: Swap) -> Heard {
        let fetch = self.sources.get_mut(source);
        let news = fetch.map_or(News::None, |fetch| {
            fetch.swapped(entry, swap, self.now, self.out)
        });
        self.hear(source, news)
    }

    fn hear(&mut self, source: SourceId, news: News) -> Heard {
        match news {
            News::None => Heard::Nothing,
            News::Settled => Heard::Settled,
            News::Offered(document) => self.offered(source, document),
        }
    }

    /// Handles another worker's document, which may be newer than the held one.
    fn offered(&mut self, source: SourceId, document: Document) -> Heard {
        let readings = self.read(source, &document.bytes);
        let edition = document.edition;
        if let Some(error) = useless(&readings) {
            let name = self.owner_name(source);
            let error = excerpt(&error, MAX_EXPLANATION);
            let line = format!("provider {name}: shared keys cannot be used: {error}");
            say(self.out, Level::Warn, &line);
            let fetch = self.sources.get_mut(source);
            let news = fetch.map_or(News::None, |fetch| {
                fetch.pass_over(edition, self.now, self.out)
            });
            // A document is offered only after a read, and there has been none since.
            return match news {
                News::Settled => Heard::Settled,
                News::None | News::Offered(_) => Heard::Nothing,
            };
        }
        self.adopt(&readings, &document);
        if let Some(fetch) = self.sources.get_mut(source) {
            // Waiting requests are told that there is a document, which matters more than what
            // becomes of the next fetch.
            let _ = fetch.hold(document, self.now, self.out);
        }
        Heard::Changed
    }

    /// Reads a document by the rules of each root that names the source.
    fn read(&self, source: SourceId, document: &[u8]) -> Vec<Reading> {
        let readings = self.roots.values().filter_map(|root| {
            let provider = root.provider_of(source)?;
            let set = root.gate.authenticator().read_keys(provider, document);
            Some((root.id(), provider, set.map(Arc::new)))
        });
        readings.collect()
    }

    fn adopt(&mut self, readings: &[Reading], document: &Document) {
        for (id, provider, set) in readings {
            if let Some(root) = self.roots.get_mut(id) {
                // If others can use the document, it tells a root that finds no usable key in
                // it that its keys are gone.
                let set = set.as_ref().ok();
                let authenticator = root.gate.authenticator_mut();
                adopt(authenticator, *provider, set, document, self.tokens);
            }
        }
    }

    /// Handles the outcome of a fetch.
    pub fn answered(&mut self, source: SourceId, serial: u64, answer: CallOutcome<'_>) -> Heard {
        let fetch = self.sources.get(source);
        let Some(of_keys) = fetch.and_then(|fetch| fetch.awaits(serial)) else {
            return Heard::Nothing;
        };
        let came = match Received::of(answer, MAX_DOCUMENT_BYTES) {
            Ok(received) if received.other_kind().is_some() => {
                let kind = received.other_kind().unwrap_or_default();
                let result = if of_keys { "unusable" } else { "discovery" };
                Err((result, format!("the answer is {kind}, not JSON")))
            }
            Ok(received) if !of_keys => self.discovered(source, &received.bytes),
            Ok(received) => self.arrived(source, received),
            Err((result, mut what)) => {
                if result == "status" && ["status 401", "status 403"].contains(&what.as_str()) {
                    what.push_str(": does it want a credential, see jwks.authorization?");
                }
                Err((result, what))
            }
        };
        came.unwrap_or_else(|(result, what)| self.failed(source, result, &what))
    }

    fn discovered(&mut self, source: SourceId, document: &[u8]) -> Result<Heard, Failure> {
        let Some(fetch) = self.sources.get_mut(source) else {
            return Ok(Heard::Nothing);
        };
        let news = fetch.discovered(document, self.now, self.out);
        let news = news.map_err(|error| ("discovery", error.to_string()))?;
        Ok(self.hear(source, news))
    }

    fn arrived(&mut self, source: SourceId, received: Received) -> Result<Heard, Failure> {
        let Received { bytes, max_age, .. } = received;
        let readings = self.read(source, &bytes);
        if let Some(error) = useless(&readings) {
            return Err(("unusable", error));
        }
        let before = self.held_by_owner(source);
        let Some(fetch) = self.sources.get_mut(source) else {
            return Ok(Heard::Nothing);
        };
        let Some(document) = fetch.arrived(bytes, max_age, None) else {
            return Ok(Heard::Nothing);
        };
        let recovered = fetch.note_failing(false);
        self.adopt(&readings, &document);
        self.tell(source, &readings, before.as_deref(), recovered);
        if let Some(fetch) = self.sources.get_mut(source) {
            let _ = fetch.succeeded(document, self.now, self.out);
        }
        Ok(Heard::Changed)
    }

    fn failed(&mut self, source: SourceId, result: &'static str, what: &str) -> Heard {
        let name = self.owner_name(source);
        self.out.emit(Effect::Count {
            count: Count::Fetch {
                provider: &name,
                result,
            },
            about: None,
        });
        let Some(fetch) = self.sources.get_mut(source) else {
            return Heard::Nothing;
        };
        if fetch.note_failing(true) {
            let line = format!(
                "provider {name}: keys cannot be fetched from {} by cluster {}: {}",
                excerpt(&fetch.address().to_string(), MAX_EXPLANATION),
                fetch.uri().cluster,
                excerpt(what, MAX_EXPLANATION),
            );
            say(self.out, Level::Warn, &line);
        }
        let news = fetch.failed(self.now, self.out);
        self.hear(source, news)
    }

    fn owner(&self, source: SourceId) -> Option<&Root> {
        let owner = self.sources.get(source)?.owner()?;
        self.roots.get(&owner)
    }

    fn owner_name(&self, source: SourceId) -> String {
        let owner = self.owner(source);
        let name = owner.map(|root| provider_name(root, source));
        name.unwrap_or_default().to_owned()
    }

    fn held_by_owner(&self, source: SourceId) -> Option<Arc<KeySet>> {
        let root = self.owner(source)?;
        let provider = root.provider_of(source)?;
        let trusted = root.gate.authenticator().provider(provider)?;
        trusted.keys.held().cloned()
    }

    /// Logs each change once, and not each fetch.
    fn tell(
        &mut self,
        source: SourceId,
        readings: &[Reading],
        before: Option<&KeySet>,
        recovered: bool,
    ) {
        let name = self.owner_name(source);
        let owner = self.sources.get(source).and_then(DocumentFetch::owner);
        self.out.emit(Effect::Count {
            count: Count::Fetch {
                provider: &name,
                result: "ok",
            },
            about: None,
        });
        let ours = readings.iter().find(|(root, ..)| Some(*root) == owner);
        let Some((_, _, Ok(set))) = ours else { return };
        let same = before.is_some_and(|before| before.is_same(set));
        if same && !recovered {
            return;
        }
        let count = set.keys().len();
        let keys = if count == 1 { "key" } else { "keys" };
        let line = format!("provider {name}: {count} {keys} in use");
        say(self.out, Level::Info, &line);
        for skipped in set.skipped() {
            let key = skipped.key_id.as_deref().unwrap_or_default();
            let (key, reason) = (excerpt(key, MAX_NAME), skipped.reason.name());
            let line = format!("provider {name}: key {key:?} skipped: {reason}");
            say(self.out, Level::Warn, &line);
        }
        if set.surplus() > 0 {
            let line = format!(
                "provider {name}: {} usable keys are not used: a set has at most {MAX_KEYS}",
                set.surplus()
            );
            say(self.out, Level::Warn, &line);
        }
        if set.untold() > 0 {
            let line = format!("provider {name}: {} more keys skipped", set.untold());
            say(self.out, Level::Warn, &line);
        }
    }
}

/// Why no provider can use a document, if that is the case.
fn useless(readings: &[Reading]) -> Option<String> {
    if readings.iter().any(|(.., set)| set.is_ok()) {
        return None;
    }
    let mut errors = readings.iter().filter_map(|(.., set)| set.as_ref().err());
    Some(errors.next().map(ToString::to_string).unwrap_or_default())
}

/// Replaces a provider's keys with those of a document, if it is newer.
fn adopt(
    authenticator: &mut Authenticator,
    provider: ProviderIndex,
    set: Option<&Arc<KeySet>>,
    document: &Document,
    tokens: &mut TokenCache,
) {
    let keys = authenticator.keys_mut(provider);
    let held = keys.and_then(|keys| keys.edition());
    if held.is_none_or(|held| document.edition.asked.mono > held.asked.mono) {
        authenticator.adopt(provider, set, document.edition, tokens);
    }
}

/// The name that a root has for the provider whose keys come from that source.
fn provider_name(root: &Root, source: SourceId) -> &str {
    let provider = root.provider_of(source);
    provider
        .and_then(|provider| root.gate.authenticator().provider(provider))
        .map_or("", |provider| provider.rules.name.as_str())
}
