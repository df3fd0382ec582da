//! Requests that wait for keys, or for the directory of projects: let in, decided again,
//! let go.

use super::host::{self, Level, Map, Pairs};
use super::root::{Root, TICK_WAITING};
use super::stream;
use crate::authn::key_share::Reason;
use crate::authz::projects::{Answer, Question, Resource};
use crate::gate::{Attempt, Outcome};
use crate::words::denial::Denial;
use crate::words::identity::ProviderIndex;
use crate::words::request::Head;
use crate::words::time::Monotonic;

/// What a request waits for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Need {
    /// What the directory of projects says.
    Directory(Question),
    /// A provider's keys.
    Keys(ProviderIndex),
}

/// A request that waits, with all that is needed to decide again.
#[derive(Debug)]
pub(super) struct Waiting {
    stream: u32,
    need: Need,
    arrived: Monotonic,
    headers: Pairs,
    /// Whether nothing follows the head.
    end: bool,
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

    /// Whether one more request may wait.
    pub(super) fn has_room(&self) -> bool {
        let most = self
            .gate
            .as_ref()
            .map_or(0, |gate| gate.config().limits.waiting_requests);
        self.waiting.len() < most
    }

    /// Asks the directory of projects, which belongs to the root, and goes back to the
    /// request. False when it cannot be asked; the gate knows then.
    pub(super) fn ask_directory(
        &mut self,
        stream: u32,
        question: &Question,
        head: &Head<'_>,
    ) -> bool {
        let under_way = host::act_on(self.id).is_ok() && self.call_directory(question, head);
        if !under_way {
            self.directory_failed(question, "the host does not take the request");
        }
        host::act_on(stream).is_ok() && under_way
    }

    /// Starts the callout unless the same question is on its way.
    fn call_directory(&mut self, question: &Question, head: &Head<'_>) -> bool {
        if self.asked.values().any(|asked| asked == question) {
            return true;
        }
        let path = head
            .path
            .once()
            .and_then(|path| path.split(|byte| *byte == b'?').next());
        let (Some(resource), Some(authorization)) =
            (path.and_then(Resource::of_path), head.authorization.once())
        else {
            return false;
        };
        let Some(service) = self
            .gate
            .as_ref()
            .and_then(|gate| gate.config().directory())
        else {
            return false;
        };
        let path = service.path.fill(resource);
        let mut headers: Vec<(&str, &[u8])> = vec![
            (":method", b"GET"),
            (":scheme", b"http"),
            (":authority", service.authority.as_bytes()),
            (":path", path.as_bytes()),
            ("accept", b"application/json"),
            ("authorization", authorization),
            ("user-agent", b"scopegate"),
        ];
        if let Some(id) = head.request_id.once() {
            headers.push(("x-request-id", id));
        }
        match host::call(&service.cluster, &headers, service.timeout) {
            Ok(token) => {
                self.asked.insert(token, question.clone());
                true
            }
            Err(_) => false,
        }
    }

    /// The directory answered, with a status unless it could not be reached.
    pub(super) fn on_directory_response(&mut self, question: Question, headers: usize) {
        let now = self.precise_now();
        let status = host::header(Map::CallResponse, ":status")
            .filter(|_| headers > 0)
            .and_then(|status| std::str::from_utf8(&status).ok()?.parse().ok());
        if Answer::of_status(status) == Answer::Unavailable {
            let what = match status {
                Some(status) => format!("it answered {status}"),
                None => "no answer".to_owned(),
            };
            self.directory_failed(&question, &what);
        } else {
            if self.directory_failing {
                self.directory_failing = false;
                host::log(Level::Warn, "the directory of projects answers again");
            }
            if let Some(gate) = self.gate() {
                gate.directory_answered(question.clone(), status, now);
            }
        }
        self.decide_waiting(Some(&Need::Directory(question)));
        self.rearm();
    }

    /// Notes that there is no answer; one log line per change.
    fn directory_failed(&mut self, question: &Question, what: &str) {
        if !self.directory_failing {
            self.directory_failing = true;
            host::log(
                Level::Warn,
                &format!("the directory of projects cannot be asked: {what}"),
            );
        }
        let now = self.coarse_now();
        if let Some(gate) = self.gate() {
            gate.directory_answered(question.clone(), None, now);
        }
    }

    /// Takes a request in that must wait; the caller pauses it. One that is not `held`
    /// passes whatever is decided, so it does not wait.
    ///
    /// # Errors
    /// [`Denial::WaitingRoomFull`] or, if no waiting is configured,
    /// [`Denial::KeysUnavailable`] or [`Denial::DirectoryUnavailable`].
    pub(super) fn wait(
        &mut self,
        stream: u32,
        need: Need,
        arrived: Monotonic,
        (headers, end): (Pairs, bool),
        held: bool,
    ) -> Result<(), (Denial, Pairs)> {
        let limits = match &self.gate {
            Some(gate) => gate.config().limits,
            None => return Err((Denial::GateUnavailable, headers)),
        };
        let refusal = if limits.wait == 0 || !held {
            Some(match need {
                Need::Directory(_) => Denial::DirectoryUnavailable,
                Need::Keys(_) => Denial::KeysUnavailable,
            })
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
            need,
            arrived,
            headers,
            end,
        });
        Ok(())
    }

    /// A stream is gone: it waits no more.
    pub(super) fn forget(&mut self, stream: u32) {
        self.waiting.retain(|waiting| waiting.stream != stream);
    }

    /// Decides again about requests: all that wait for something that has come, or
    /// those whose time is up.
    pub(super) fn decide_waiting(&mut self, came: Option<&Need>) {
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
        let mut questions = Vec::new();
        for waiting in std::mem::take(&mut self.waiting) {
            let last = now.mono.since(waiting.arrived) >= wait;
            let asked = again || came.is_some_and(|came| waiting.need == *came);
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
            let mut head = Head::read(waiting.headers.iter(), subject_header.as_deref());
            head.has_body = !waiting.end;
            let Some(evaluation) = self.decide(&head, attempt) else {
                stream::refuse_broken(&head);
                continue;
            };
            let need = match evaluation.outcome {
                Outcome::Ask(ref question) => {
                    questions.push((question.clone(), waiting.stream));
                    Some(Need::Directory(question.clone()))
                }
                Outcome::Wait { provider, fetch } => {
                    if fetch {
                        fetches.push(provider);
                    }
                    Some(Need::Keys(provider))
                }
                _ => None,
            };
            if let Some(need) = need {
                drop(evaluation);
                drop(head);
                self.waiting.push(Waiting { need, ..waiting });
                continue;
            }
            let progress = stream::settle_waiting(self, waiting.stream, &head, evaluation);
            drop(head);
            let progress = progress.with_headers(waiting.headers);
            self.settled.push((waiting.stream, progress));
        }
        for (question, stream) in questions {
            self.ask_for_waiting(&question, stream);
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

    /// Asks the directory for a request that has just got its keys.
    fn ask_for_waiting(&mut self, question: &Question, stream: u32) {
        let position = self.waiting.iter().position(|w| w.stream == stream);
        let Some(waiting) = position.map(|position| self.waiting.swap_remove(position)) else {
            return;
        };
        let subject_header = self.subject_header();
        let head = Head::read(waiting.headers.iter(), subject_header.as_deref());
        if !self.ask_directory(stream, question, &head) {
            // The gate knows: it is told at the next tick.
            self.undecided = true;
        }
        drop(head);
        self.waiting.push(waiting);
    }
}
