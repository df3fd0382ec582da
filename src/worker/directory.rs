//! The questions to the directory of projects that are under way.

use std::collections::BTreeMap;

use crate::authz::projects::{Question, Service};
use crate::words::time::Monotonic;
use crate::worker::effect::{Effect, Sink};
use crate::worker::event::{CallId, RootId};
use crate::worker::room::{Party, Room};

/// How long an answer is awaited beyond its timeout, in milliseconds.
const SLACK: u64 = 1_000;

/// The caller on whose behalf a question is asked.
#[derive(Clone, Copy, Debug)]
pub struct Caller {
    /// The configuration that names the directory.
    pub root: RootId,
    /// The caller as a party to the places for questions.
    pub party: Party,
}

/// The most memory that the questions under way may take, including tokens, in bytes.
const MAX_BYTES: usize = 8_388_608;

#[derive(Debug)]
struct Asked {
    root: RootId,
    party: Party,
    /// Distinguishes this question from most others without comparing their tokens.
    mark: u64,
    question: Question,
    /// When the question is taken to remain unanswered.
    until: Monotonic,
}

/// The questions to the directories. Each one is asked once at a time, however many requests
/// need it.
#[derive(Debug, Default)]
pub struct Directory {
    asked: BTreeMap<u64, Asked>,
    room: Room,
    /// The memory that the questions take, in bytes.
    bytes: usize,
    serial: u64,
    /// Whether the last question failed, so that only changes are logged.
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

    /// Asks the service with the caller's own token, if the caller may have one more of at most
    /// `most` questions. A question that is already under way is not asked again. Returns true
    /// if an answer is on its way.
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
        // A caller may not hold more of the memory than it leaves free, either.
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

    /// Whether an answer is still awaited.
    #[must_use]
    pub fn awaits(&self, serial: u64) -> bool {
        self.asked.contains_key(&serial)
    }

    /// Takes a question that has been answered, and the root that it belongs to. `None` for an
    /// answer that comes late or twice.
    pub fn take(&mut self, serial: u64) -> Option<(RootId, Question)> {
        let asked = self.asked.remove(&serial)?;
        self.room.give_back([asked.party]);
        self.bytes = self.bytes.saturating_sub(asked.question.size());
        Some((asked.root, asked.question))
    }

    /// Forgets the questions of a root that is gone.
    pub fn forget(&mut self, root: RootId) {
        self.drop_all(|asked| asked.root == root);
    }

    /// Notes whether the last question failed. Returns whether that has changed.
    pub fn note_failing(&mut self, failing: bool) -> bool {
        std::mem::replace(&mut self.failing, failing) != failing
    }
}
