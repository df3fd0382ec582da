//! Questions to the directory of projects that are on their way.

use std::collections::BTreeMap;

use crate::authz::projects::{Question, Service};
use crate::words::time::Monotonic;
use crate::worker::effect::{Effect, Sink};
use crate::worker::event::{CallId, RootId};
use crate::worker::room::{Party, Room};

/// How much longer than its timeout an answer is waited for, in milliseconds.
const SLACK: u64 = 1_000;

/// For whom a question is asked.
#[derive(Clone, Copy, Debug)]
pub struct Caller {
    /// The configuration that names the directory.
    pub root: RootId,
    /// The caller.
    pub party: Party,
}

#[derive(Debug)]
struct Asked {
    root: RootId,
    party: Party,
    question: Question,
    /// When it counts as one that is never answered.
    until: Monotonic,
}

/// One question at a time to a root's directory, however many ask it.
#[derive(Debug, Default)]
pub struct Directory {
    asked: BTreeMap<u64, Asked>,
    room: Room,
    serial: u64,
    /// Whether the last one failed, for one log line a change.
    failing: bool,
}

impl Directory {
    /// Whether the party may have one more of so many questions that may still be answered.
    pub fn has_room(&mut self, party: Party, most: usize, now: Monotonic) -> bool {
        self.drop_all(|asked| asked.until < now);
        self.room.has_place(party, false, most)
    }

    fn drop_all(&mut self, which: impl Fn(&Asked) -> bool) {
        let room = &mut self.room;
        self.asked.retain(|_, asked| {
            let dropped = which(asked);
            if dropped {
                room.give_back(asked.party);
            }
            !dropped
        });
    }

    /// Asks the service at that time with the caller's own token, unless that is under way.
    /// True: an answer is on its way then.
    pub fn ask(
        &mut self,
        caller: Caller,
        question: &Question,
        (service, now): (&Service, Monotonic),
        request_id: Option<&[u8]>,
        out: &mut dyn Sink,
    ) -> bool {
        let Caller { root, party } = caller;
        let mut asked = self.asked.values();
        if asked.any(|asked| asked.root == root && asked.question == *question) {
            return true;
        }
        self.serial = self.serial.wrapping_add(1);
        let until = now.after(service.timeout).after(SLACK);
        let asked = Asked {
            root,
            party,
            question: question.clone(),
            until,
        };
        self.asked.insert(self.serial, asked);
        self.room.take(party);
        let path = service.path.fill(question.resource());
        let authorization = [b"Bearer ", question.token()].concat();
        let mut headers: Vec<(&str, &[u8])> = vec![
            (":method", b"GET"),
            (":scheme", b"http"),
            (":authority", service.authority.as_bytes()),
            (":path", path.as_bytes()),
            ("accept", b"application/json"),
            ("authorization", &authorization),
            ("user-agent", b"scopegate"),
        ];
        headers.extend(request_id.map(|id| ("x-request-id", id)));
        out.emit(Effect::Call {
            root,
            call: CallId::Directory(self.serial),
            cluster: &service.cluster,
            headers: &headers,
            timeout: service.timeout,
        });
        true
    }

    /// Whether an answer is still waited for.
    #[must_use]
    pub fn awaits(&self, serial: u64) -> bool {
        self.asked.contains_key(&serial)
    }

    /// A question has come back: whose it was, and which. `None` for one that comes late
    /// or twice.
    pub fn take(&mut self, serial: u64) -> Option<(RootId, Question)> {
        let asked = self.asked.remove(&serial)?;
        self.room.give_back(asked.party);
        Some((asked.root, asked.question))
    }

    /// A root is gone, and its questions with it.
    pub fn forget(&mut self, root: RootId) {
        self.drop_all(|asked| asked.root == root);
    }

    /// Notes whether the last question failed; says whether that is new.
    pub fn note_failing(&mut self, failing: bool) -> bool {
        std::mem::replace(&mut self.failing, failing) != failing
    }
}
