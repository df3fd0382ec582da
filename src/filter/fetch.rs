//! Key fetches: callouts of the root, their answers, what is said about them.

use super::host::{self, Buffer, Level, Map};
use super::root::Root;
use crate::identity::ProviderIndex;
use crate::jwks::{KeySet, MAX_DOCUMENT_BYTES};

impl Root {
    /// Starts a fetch. Must run with this root in effect, so that the callout
    /// outlives the request that asked for it.
    pub(super) fn fetch(&mut self, provider: ProviderIndex) {
        let now = self.coarse_now();
        let Some(gate) = &mut self.gate else { return };
        let Some(uri) = gate.key_uri(provider) else {
            return;
        };
        let headers: [(&str, &[u8]); 6] = [
            (":method", b"GET"),
            (":scheme", uri.scheme.as_bytes()),
            (":authority", uri.authority.as_bytes()),
            (":path", uri.path.as_bytes()),
            ("accept", b"application/json"),
            ("user-agent", b"scopegate"),
        ];
        match host::call(&uri.cluster, &headers, uri.timeout) {
            Ok(token) => {
                self.calls.insert(token, provider);
            }
            Err(status) => {
                let what = format!(
                    "the host does not take the request (status {}): does the cluster exist?",
                    status.code()
                );
                gate.keys_failed(provider, now);
                self.fetch_failed(provider, "error", &what);
            }
        }
    }

    /// A callout ended; this root is in effect.
    pub(super) fn on_http_call_response(&mut self, token: u32, headers: usize, body_size: usize) {
        let Some(provider) = self.calls.remove(&token) else {
            return;
        };
        let now = self.precise_now();
        let answer = read_answer(headers, body_size);
        let Some(gate) = &mut self.gate else { return };
        match answer {
            Ok(document) => {
                let before = gate
                    .key_states()
                    .nth(provider.0)
                    .and_then(|(_, keys)| keys.held().cloned());
                match gate.keys_arrived(provider, &document, now) {
                    Ok(set) => {
                        let same = before.is_some_and(|before| {
                            before.keys().len() == set.keys().len()
                                && set.keys().iter().all(|key| before.holds(key))
                        });
                        self.fetch_succeeded(provider, &set, same);
                    }
                    Err(error) => self.fetch_failed(provider, "unusable", &error.to_string()),
                }
            }
            Err((result, what)) => {
                gate.keys_failed(provider, now);
                self.fetch_failed(provider, result, &what);
            }
        }
        self.decide_waiting(Some(provider));
        self.rearm();
    }

    /// One log line per change, not per fetch.
    fn fetch_succeeded(&mut self, provider: ProviderIndex, set: &KeySet, same: bool) {
        let recovered = self.failing.insert(provider, false) == Some(true);
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

    fn fetch_failed(&mut self, provider: ProviderIndex, result: &str, what: &str) {
        let name = self.provider_name(provider);
        self.metrics.fetched(&name, result);
        if self.failing.insert(provider, true) == Some(true) {
            return;
        }
        let uri = self
            .gate
            .as_ref()
            .and_then(|gate| gate.key_uri(provider))
            .map(|uri| {
                format!(
                    "{}://{}{} by cluster {}",
                    uri.scheme, uri.authority, uri.path, uri.cluster
                )
            })
            .unwrap_or_default();
        host::log(
            Level::Warn,
            &format!("provider {name}: keys cannot be fetched from {uri}: {what}"),
        );
    }

    fn provider_name(&self, provider: ProviderIndex) -> String {
        let gate = self.gate.as_ref();
        gate.map_or("", |gate| gate.provider_name(provider))
            .to_owned()
    }
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
