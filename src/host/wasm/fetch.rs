//! Key fetches: callouts of the root, what the workers tell one another of them, what
//! is said about them.
//!
//! A provider with `jwks.share` is fetched by one worker for all (see
//! [`crate::authn::key_share`]): every fetch begins with a claim in shared data, and every
//! tick looks there for what another worker has brought. Without sharing, or where
//! the host has no shared data, each worker fetches for itself.

use super::host::{self, Buffer, Level, Map};
use super::root::Root;
use super::waiting::Need;
use crate::authn::discovery::{self, Address};
use crate::authn::jwks::{KeySet, MAX_DOCUMENT_BYTES};
use crate::authn::key_share::{self, Claim, Notice, Reason};
use crate::config::{KeyUri, Start};
use crate::words::identity::ProviderIndex;
use crate::words::time::{Monotonic, Now};

/// How long a discovered address is used before it is asked for again.
const DISCOVERED_FOR: u64 = 24 * 3_600_000;

/// How much longer than its timeout a fetch is believed to take, in milliseconds.
const SLACK: u64 = 1_000;

/// Tries of a compare-and-swap before it is left to the next tick.
const SWAPS: usize = 4;

/// What a callout asks for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Step {
    Discovery,
    Keys,
}

/// A callout under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call {
    pub(super) provider: ProviderIndex,
    pub(super) step: Step,
}

/// Whose a fetch is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Lease {
    /// Nobody's: it is not wanted any more, or not allowed yet.
    None,
    Ours,
    Theirs,
}

/// What this worker knows of one provider's fetches besides the keys.
#[derive(Debug, Default)]
pub(super) struct Fetched {
    /// The keys' address as discovered, and when.
    found: Option<(Address, Monotonic)>,
    /// Whether the last fetch failed, for one log line per change.
    failing: bool,
    /// How many ended fetches of the process this worker has taken note of.
    seen: u64,
}

impl Root {
    /// A fetch is due, or wanted by a request. Must run with this root in effect, so
    /// that the callout outlives the request that asked for it. False when none is
    /// under way now, here or elsewhere: who waits for one must decide again.
    pub(super) fn fetch(&mut self, provider: ProviderIndex, reason: Reason) -> bool {
        let now = self.precise_now();
        let Some(uri) = self.key_uri(provider) else {
            return false;
        };
        if uri.share {
            match self.claim(provider, &uri, now, reason) {
                Lease::Ours => {}
                Lease::Theirs => return true,
                Lease::None => return false,
            }
        }
        let first = match &uri.start {
            Start::Keys(address) => (Step::Keys, address.clone()),
            Start::Discovery { address, .. } => match self.found(provider, now) {
                Some(found) => (Step::Keys, found),
                None => (Step::Discovery, address.clone()),
            },
        };
        self.call(provider, &uri, first.0, &first.1)
    }

    /// The discovered address, unless it is old or the last fetch by it failed.
    fn found(&mut self, provider: ProviderIndex, now: Now) -> Option<Address> {
        let fetched = self.fetched.entry(provider).or_default();
        let (address, since) = fetched.found.as_ref()?;
        let fresh = !fetched.failing && now.mono.since(*since) < DISCOVERED_FOR;
        fresh.then(|| address.clone())
    }

    /// Whose the fetch is. If it is not ours, the cache has been told.
    fn claim(&mut self, provider: ProviderIndex, uri: &KeyUri, now: Now, reason: Reason) -> Lease {
        let longest = longest(uri);
        for _ in 0..SWAPS {
            let Ok((notice, swap)) = read_notice(uri, now) else {
                // No shared data here: each for itself.
                return Lease::Ours;
            };
            // What others have brought meanwhile may be all that is wanted.
            if self.take_note(provider, uri, notice) {
                return Lease::None;
            }
            let me = self.me();
            let claimed = match notice.claim(me, now, longest, reason) {
                Claim::Held(until) => {
                    self.tell(provider, |keys| keys.defer(until));
                    return Lease::Theirs;
                }
                Claim::Cooling(demanded) => {
                    self.tell(provider, |keys| keys.cool(demanded));
                    return Lease::None;
                }
                Claim::Take(claimed) => claimed,
            };
            match host::set_shared(&notice_key(uri), &claimed.to_bytes(), swap) {
                Ok(true) => return Lease::Ours,
                Ok(false) => {}
                Err(_) => return Lease::Ours,
            }
        }
        // So busy that somebody else must have it.
        self.tell(provider, |keys| keys.defer(now.mono.after(SLACK)));
        Lease::Theirs
    }

    /// Looks for what other workers have brought.
    pub(super) fn look(&mut self, now: Now) {
        let providers = self
            .gate
            .as_ref()
            .map_or(0, |gate| gate.config().providers.len());
        for position in 0..providers {
            let provider = ProviderIndex(position);
            let Some(uri) = self.key_uri(provider).filter(|uri| uri.share) else {
                continue;
            };
            let Ok((notice, _)) = read_notice(&uri, now) else {
                continue;
            };
            if self.take_note(provider, &uri, notice) {
                self.decide_waiting(Some(&Need::Keys(provider)));
            } else if notice.holder == 0 {
                self.tell(provider, |keys| keys.released(now));
            }
        }
    }

    /// This root goes, and its callouts with it: somebody else may fetch.
    pub(super) fn abandon(&mut self) {
        let me = self.me();
        let now = self.precise_now();
        for Call { provider, .. } in std::mem::take(&mut self.calls).into_values() {
            let Some(uri) = self.key_uri(provider).filter(|uri| uri.share) else {
                continue;
            };
            for _ in 0..SWAPS {
                let Ok((notice, swap)) = read_notice(&uri, now) else {
                    break;
                };
                if notice.holder != me {
                    break;
                }
                let free = Notice {
                    holder: 0,
                    ..notice
                }
                .to_bytes();
                if host::set_shared(&notice_key(&uri), &free, swap) != Ok(false) {
                    break;
                }
            }
        }
    }

    /// Takes what came of a fetch that this worker has not seen yet; says whether
    /// there was one.
    fn take_note(&mut self, provider: ProviderIndex, uri: &KeyUri, notice: Notice) -> bool {
        let fetched = self.fetched.entry(provider).or_default();
        if fetched.seen == notice.ended || self.calls.values().any(|call| call.provider == provider)
        {
            return false;
        }
        fetched.seen = notice.ended;
        if notice.failures > 0 {
            let failures = u32::try_from(notice.failures).unwrap_or(u32::MAX);
            self.tell(provider, |keys| keys.adopt_failure(failures, notice.next));
        }
        if notice.document == 0 {
            return true;
        }
        let Ok((shared, _)) = host::shared(&document_key(uri)) else {
            return true;
        };
        let Some(document) = key_share::read_document(notice.document, &shared) else {
            // Just being replaced: the next tick sees both anew.
            self.fetched.entry(provider).or_default().seen = 0;
            return true;
        };
        let Some(gate) = &mut self.gate else {
            return true;
        };
        // Of a failed fetch, what was there before it: only a new worker lacks it.
        let held = gate
            .key_cache(provider)
            .is_some_and(|keys| keys.held().is_some());
        if notice.failures == 0 || !held {
            let adopted = gate.keys_adopted(provider, document, notice.asked, notice.next);
            if let Err(error) = adopted {
                let name = self.provider_name(provider);
                let what = format!("provider {name}: shared keys cannot be used: {error}");
                host::log(Level::Warn, &what);
            }
        }
        true
    }

    fn tell(
        &mut self,
        provider: ProviderIndex,
        what: impl FnOnce(&mut crate::authn::key_cache::KeyCache),
    ) {
        let cache = self.gate.as_mut().and_then(|gate| gate.key_cache(provider));
        if let Some(keys) = cache {
            what(keys);
        }
    }

    fn call(
        &mut self,
        provider: ProviderIndex,
        uri: &KeyUri,
        step: Step,
        address: &Address,
    ) -> bool {
        let headers: [(&str, &[u8]); 6] = [
            (":method", b"GET"),
            (":scheme", address.scheme.as_bytes()),
            (":authority", address.authority.as_bytes()),
            (":path", address.path.as_bytes()),
            ("accept", b"application/json"),
            ("user-agent", b"scopegate"),
        ];
        match host::call(&uri.cluster, &headers, uri.timeout) {
            Ok(token) => {
                self.calls.insert(token, Call { provider, step });
                true
            }
            Err(status) => {
                let what = format!(
                    "the host does not take the request (status {}): does the cluster exist?",
                    status.code()
                );
                self.failed(provider, uri, "error", &what);
                false
            }
        }
    }

    /// A callout ended; this root is in effect.
    pub(super) fn on_http_call_response(&mut self, token: u32, headers: usize, body_size: usize) {
        if let Some(question) = self.asked.remove(&token) {
            self.on_directory_response(question, headers);
            return;
        }
        let Some(Call { provider, step }) = self.calls.remove(&token) else {
            return;
        };
        let now = self.precise_now();
        let Some(uri) = self.key_uri(provider) else {
            return;
        };
        match (read_answer(headers, body_size), step) {
            (Err((result, what)), _) => self.failed(provider, &uri, result, &what),
            (Ok(document), Step::Discovery) => {
                if self.discovered(provider, &uri, &document, now) {
                    return;
                }
            }
            (Ok(document), Step::Keys) => self.arrived(provider, &uri, &document, now),
        }
        self.decide_waiting(Some(&Need::Keys(provider)));
        self.rearm();
    }

    /// Goes on to the keys, if the document says where they are.
    fn discovered(
        &mut self,
        provider: ProviderIndex,
        uri: &KeyUri,
        document: &[u8],
        now: Now,
    ) -> bool {
        let Start::Discovery { hosts, .. } = &uri.start else {
            return false;
        };
        let issuer = self.gate.as_ref().and_then(|gate| {
            let (rules, _) = gate.config().providers.get(provider.0)?;
            Some(rules.issuer.as_str().to_owned())
        });
        match discovery::keys_address(document, &issuer.unwrap_or_default(), hosts) {
            Ok(address) => {
                let under_way = self.call(provider, uri, Step::Keys, &address);
                self.fetched.entry(provider).or_default().found = Some((address, now.mono));
                under_way
            }
            Err(error) => {
                self.failed(provider, uri, "discovery", &error.to_string());
                false
            }
        }
    }

    fn arrived(&mut self, provider: ProviderIndex, uri: &KeyUri, document: &[u8], now: Now) {
        let max_age = host::header(Map::CallResponse, "cache-control")
            .as_deref()
            .and_then(max_age);
        let Some(gate) = &mut self.gate else { return };
        let (before, asked) = match gate.key_cache(provider) {
            Some(keys) => (keys.held().cloned(), keys.asked().unwrap_or(now)),
            None => (None, now),
        };
        match gate.keys_arrived(provider, document, now, max_age) {
            Ok(set) => {
                let same = before.is_some_and(|before| {
                    before.keys().len() == set.keys().len()
                        && set.keys().iter().all(|key| before.holds(key))
                });
                self.publish(provider, uri, Some((asked, document)));
                self.fetch_succeeded(provider, &set, same);
            }
            Err(error) => {
                self.publish(provider, uri, None);
                self.fetch_failed(provider, uri, "unusable", &error.to_string());
            }
        }
    }

    fn failed(&mut self, provider: ProviderIndex, uri: &KeyUri, result: &str, what: &str) {
        let now = self.precise_now();
        self.tell(provider, |keys| keys.failed(now));
        self.publish(provider, uri, None);
        self.fetch_failed(provider, uri, result, what);
    }

    /// Tells the other workers what came of a fetch of this one.
    fn publish(&mut self, provider: ProviderIndex, uri: &KeyUri, loaded: Option<(Now, &[u8])>) {
        if !uri.share {
            return;
        }
        let me = self.me();
        let now = self.precise_now();
        let cache = self.gate.as_mut().and_then(|gate| gate.key_cache(provider));
        let Some((failures, next)) = cache.map(|keys| (keys.failures(), keys.next())) else {
            return;
        };
        for _ in 0..SWAPS {
            let Ok((notice, swap)) = read_notice(uri, now) else {
                return;
            };
            let asked = loaded.map(|(asked, _)| asked);
            let Some(notice) = notice.after_fetch(me, asked, failures, next) else {
                return;
            };
            // The document first: a notice must not name one that is not there.
            if let Some((_, document)) = loaded {
                let shared = key_share::document(notice.document, document);
                if host::set_shared(&document_key(uri), &shared, 0) != Ok(true) {
                    return;
                }
            }
            match host::set_shared(&notice_key(uri), &notice.to_bytes(), swap) {
                Ok(true) => {
                    self.fetched.entry(provider).or_default().seen = notice.ended;
                    return;
                }
                Ok(false) => {}
                Err(_) => return,
            }
        }
    }

    /// One log line per change, not per fetch.
    fn fetch_succeeded(&mut self, provider: ProviderIndex, set: &KeySet, same: bool) {
        let fetched = self.fetched.entry(provider).or_default();
        let recovered = std::mem::replace(&mut fetched.failing, false);
        let name = self.provider_name(provider);
        self.metrics.fetched(&name, "ok");
        if same && !recovered {
            return;
        }
        host::log(
            Level::Info,
            &format!("provider {name}: {} keys in use", set.keys().len()),
        );
        for skipped in set.skipped() {
            host::log(
                Level::Warn,
                &format!(
                    "provider {name}: key {:?} skipped: {}",
                    skipped.key_id.as_deref().map(bounded).unwrap_or_default(),
                    skipped.reason.name()
                ),
            );
        }
    }

    fn fetch_failed(&mut self, provider: ProviderIndex, uri: &KeyUri, result: &str, what: &str) {
        let name = self.provider_name(provider);
        self.metrics.fetched(&name, result);
        let fetched = self.fetched.entry(provider).or_default();
        if std::mem::replace(&mut fetched.failing, true) {
            return;
        }
        let address = match (&uri.start, &fetched.found) {
            (Start::Keys(address), _) | (_, Some((address, _))) => address,
            (Start::Discovery { address, .. }, None) => address,
        };
        host::log(
            Level::Warn,
            &format!(
                "provider {name}: keys cannot be fetched from {address} by cluster {}: {what}",
                uri.cluster
            ),
        );
    }

    fn key_uri(&self, provider: ProviderIndex) -> Option<KeyUri> {
        let gate = self.gate.as_ref()?;
        gate.key_uri(provider).cloned()
    }

    fn provider_name(&self, provider: ProviderIndex) -> String {
        let gate = self.gate.as_ref();
        gate.map_or("", |gate| gate.provider_name(provider))
            .to_owned()
    }
}

/// How long a fetch is believed to take: with discovery it is two.
const fn longest(uri: &KeyUri) -> u64 {
    let steps = match uri.start {
        Start::Discovery { .. } => 2,
        Start::Keys(_) => 1,
    };
    uri.timeout.saturating_mul(steps).saturating_add(SLACK)
}

/// The shared notice and what a swap of it needs; none yet is an empty one.
fn read_notice(uri: &KeyUri, now: Now) -> Result<(Notice, u32), host::Unshared> {
    let (bytes, swap) = host::shared(&notice_key(uri))?;
    let notice = Notice::parse(&bytes, now, longest(uri), uri.refresh_interval);
    Ok((notice.unwrap_or_default(), swap))
}

fn notice_key(uri: &KeyUri) -> String {
    shared_key("notice", uri)
}

fn document_key(uri: &KeyUri) -> String {
    shared_key("keys", uri)
}

/// Workers with the same way to the keys share them, whatever else differs.
fn shared_key(what: &str, uri: &KeyUri) -> String {
    let (step, address) = match &uri.start {
        Start::Discovery { address, .. } => ("discovery", address),
        Start::Keys(address) => ("uri", address),
    };
    format!("scopegate/1/{what}/{step}/{}/{address}", uri.cluster)
}

/// `max-age` of a `Cache-Control` header, in milliseconds (RFC 9111 §5.2.2.1); what
/// must not be kept is fresh for no time.
fn max_age(header: &[u8]) -> Option<u64> {
    let header = std::str::from_utf8(header).ok()?.to_ascii_lowercase();
    let mut age = None;
    for directive in header.split(',').map(str::trim) {
        match directive.split_once('=') {
            Some(("max-age", seconds)) => {
                let seconds: u64 = seconds.trim_matches('"').parse().ok()?;
                age = Some(seconds.saturating_mul(1000));
            }
            None if matches!(directive, "no-store" | "no-cache") => return Some(0),
            _ => {}
        }
    }
    age
}

/// Status first, then size, then the body: a failed callout has no headers at all.
fn read_answer(headers: usize, body_size: usize) -> Result<Box<[u8]>, (&'static str, String)> {
    if headers == 0 {
        return Err(("unreachable", "no answer".to_owned()));
    }
    let status = host::header(Map::CallResponse, ":status").unwrap_or_default();
    if *status != *b"200" {
        let status = String::from_utf8_lossy(&status).into_owned();
        return Err(("status", format!("status {status}")));
    }
    if body_size > MAX_DOCUMENT_BYTES {
        return Err(("unusable", format!("{body_size} bytes are too many")));
    }
    host::buffer(Buffer::CallResponseBody, body_size)
        .map_err(|status| ("error", format!("no body (status {})", status.code())))
}

fn bounded(text: &str) -> &str {
    text.get(..64).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::max_age;

    #[test]
    fn freshness_is_read_from_cache_control() {
        for (header, age) in [
            ("max-age=300", Some(300_000)),
            ("public, Max-Age=\"60\", must-revalidate", Some(60_000)),
            ("no-cache", Some(0)),
            ("max-age=300, no-store", Some(0)),
            ("s-maxage=300", None),
            ("max-age=soon", None),
            ("", None),
        ] {
            assert_eq!(max_age(header.as_bytes()), age, "{header}");
        }
        assert_eq!(max_age(b"\xff"), None);
    }
}
