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

/// Most memory that the questions under way may take, tokens included, in bytes.
const MAX_BYTES: usize = 8_388_608;

#[derive(Debug)]
struct Asked {
    root: RootId,
    party: Party,
    /// Tells most other questions apart from it without a look at their tokens.
    mark: u64,
    question: Question,
    /// When it counts as one that is never answered.
    until: Monotonic,
}

/// One question at a time to a root's directory, however many ask it.
#[derive(Debug, Default)]
pub struct Directory {
    asked: BTreeMap<u64, Asked>,
    room: Room,
    /// What the questions take.
    bytes: usize,
    serial: u64,
    /// Whether the last one failed, for one log line a change.
    failing: bool,
}

impl Directory {
    fn drop_all(&mut self, which: impl Fn(&Asked) -> bool) {
        let Self { room, bytes, .. } = self;
        self.asked.retain(|_, asked| {
            let dropped = which(asked);
            if dropped {
                room.give_back([asked.party]);
                *bytes = bytes.saturating_sub(asked.question.size());
            }
            !dropped
        });
    }

    /// Asks the service at that time with the caller's own token, unless that is under way,
    /// if the caller may have one more of at most so many questions. True: an answer is on
    /// its way then.
    pub fn ask(
        &mut self,
        caller: Caller,
        question: &Question,
        (service, now, most): (&Service, Monotonic, usize),
        request_id: Option<&[u8]>,
        out: &mut dyn Sink,
    ) -> bool {
        let Caller { root, party } = caller;
        self.drop_all(|asked| asked.until < now);
        let mark = question.mark();
        let same =
            |asked: &Asked| asked.mark == mark && asked.root == root && asked.question == *question;
        if self.asked.values().any(same) {
            return true;
        }
        // Of the memory, too, a caller may hold at most as much as it leaves.
        let own = self.asked.values().filter(|asked| asked.party == party);
        let own = own.fold(question.size(), |sum, asked| {
            sum.saturating_add(asked.question.size())
        });
        let left = MAX_BYTES.saturating_sub(self.bytes);
        if own > left || !self.room.has_place([party], most) {
            return false;
        }
        self.bytes = self.bytes.saturating_add(question.size());
        self.serial = self.serial.wrapping_add(1);
        let until = now.after(service.timeout).after(SLACK);
        let asked = Asked {
            root,
            party,
            mark,
            question: question.clone(),
            until,
        };
        self.asked.insert(self.serial, asked);
        self.room.take([party]);
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
        self.room.give_back([asked.party]);
        self.bytes = self.bytes.saturating_sub(asked.question.size());
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
