//! Requests that wait for keys: let in, decided again, let go.

use super::host::{self, Pairs};
use super::root::{Root, TICK_WAITING};
use super::stream;
use crate::config::Mode;
use crate::denial::Denial;
use crate::gate::{Attempt, Outcome};
use crate::identity::ProviderIndex;
use crate::key_share::Reason;
use crate::request::Head;
use crate::time::Monotonic;

/// A request that waits for keys, with all that is needed to decide again.
#[derive(Debug)]
pub(super) struct Waiting {
    stream: u32,
    provider: ProviderIndex,
    arrived: Monotonic,
    headers: Pairs,
}

impl Root {
    /// Starts the fetch that a request wants, which belongs to the root, and goes back
    /// to the request. False when there is nothing to wait for.
    pub(super) fn ask(&mut self, stream: u32, provider: ProviderIndex) -> bool {
        let under_way = if host::act_on(self.id).is_ok() {
            self.fetch(provider, Reason::Demand)
        } else {
            let now = self.coarse_now();
            if let Some(gate) = &mut self.gate {
                gate.keys_failed(provider, now);
            }
            false
        };
        host::act_on(stream).is_ok() && under_way
    }

    /// Takes a request in that must wait; the caller pauses it.
    ///
    /// # Errors
    /// [`Denial::WaitingRoomFull`] or, if no waiting is configured,
    /// [`Denial::KeysUnavailable`].
    pub(super) fn wait(
        &mut self,
        stream: u32,
        provider: ProviderIndex,
        arrived: Monotonic,
        headers: Pairs,
    ) -> Result<(), (Denial, Pairs)> {
        let limits = match &self.gate {
            Some(gate) => gate.config().limits,
            None => return Err((Denial::GateUnavailable, headers)),
        };
        // In report mode every request passes anyway, so none is held up.
        let refusal = if limits.wait == 0 || self.mode() == Mode::Report {
            Some(Denial::KeysUnavailable)
        } else if self.waiting.len() >= limits.waiting_requests {
            Some(Denial::WaitingRoomFull)
        } else {
            None
        };
        if refusal.is_none() && self.waiting.is_empty() && host::act_on(self.id).is_ok() {
            self.set_tick(TICK_WAITING);
        }
        if host::act_on(stream).is_err() {
            return Err((Denial::GateUnavailable, headers));
        }
        if let Some(denial) = refusal {
            return Err((denial, headers));
        }
        self.waiting.push(Waiting {
            stream,
            provider,
            arrived,
            headers,
        });
        Ok(())
    }

    /// A stream is gone: it waits no more.
    pub(super) fn forget(&mut self, stream: u32) {
        self.waiting.retain(|waiting| waiting.stream != stream);
    }

    /// Decides again about requests: all of one provider after its fetch, or those
    /// whose time is up.
    pub(super) fn decide_waiting(&mut self, provider: Option<ProviderIndex>) {
        if self.waiting.is_empty() {
            return;
        }
        let now = self.coarse_now();
        let wait = match &self.gate {
            Some(gate) => gate.config().limits.wait,
            None => 0,
        };
        let again = std::mem::take(&mut self.undecided);
        let mut fetches = Vec::new();
        for waiting in std::mem::take(&mut self.waiting) {
            let last = now.mono.since(waiting.arrived) >= wait;
            let asked = again || provider.is_some_and(|provider| waiting.provider == provider);
            if !last && !asked {
                self.waiting.push(waiting);
                continue;
            }
            // The stream may have ended; then the previous context stays in effect.
            if host::act_on(waiting.stream).is_err() {
                continue;
            }
            let attempt = Attempt {
                arrived: waiting.arrived,
                last,
                coarse: false,
            };
            let subject_header = self.subject_header();
            let head = Head::read(waiting.headers.iter(), subject_header.as_deref());
            let Some(evaluation) = self.decide(&head, attempt) else {
                stream::refuse_broken(&head);
                continue;
            };
            if let Outcome::Wait { provider, fetch } = evaluation.outcome {
                drop(head);
                if fetch {
                    fetches.push(provider);
                }
                self.waiting.push(Waiting {
                    provider,
                    ..waiting
                });
                continue;
            }
            let progress = stream::settle_waiting(self, waiting.stream, &head, evaluation);
            self.settled.push((waiting.stream, progress));
        }
        if host::act_on(self.id).is_ok() {
            for provider in fetches {
                if !self.fetch(provider, Reason::Demand) {
                    // Nothing is on its way: those that would wait for it hear it at
                    // the next tick.
                    self.undecided = true;
                }
            }
        }
    }
}
