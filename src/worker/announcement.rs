//! The one line that says what a process has loaded.
//!
//! Every worker loads every configuration, and so does what a proxy tries it in first, all
//! within moments. The first of them says so. They agree by a shared entry for each
//! configuration, which holds when that was said last.

use crate::words::time::{Monotonic, Now};
use crate::worker::effect::{Effect, Level, Sink};
use crate::worker::event::{Entry, SourceId, Swap};
use crate::worker::excerpt::say;

/// How long others keep silent, in milliseconds: whoever loads it later does so again.
const QUIET: u64 = 10_000;

/// The entry is about no source.
const NOWHERE: SourceId = SourceId(u32::MAX);

/// What is to be said, unless somebody has.
#[derive(Debug)]
pub struct Announcement {
    key: String,
    line: String,
}

impl Announcement {
    /// Of a configuration, in words; `number` tells it from others.
    #[must_use]
    pub fn new(line: String, number: u64) -> Self {
        let version = env!("CARGO_PKG_VERSION");
        Self {
            key: format!("scopegate/3/load/{version}/{number:012x}"),
            line,
        }
    }

    /// Finds out whether somebody has said it.
    pub fn begin(&self, out: &mut dyn Sink) {
        out.emit(Effect::Look {
            source: NOWHERE,
            entry: Entry::Load,
            key: &self.key,
        });
    }

    /// The entry was read. Says whether it is to be swapped, which has been asked for then.
    pub fn looked(&self, value: Option<(&[u8], u32)>, now: Now, out: &mut dyn Sink) -> bool {
        let Some((bytes, swap)) = value else {
            self.say(out);
            return false;
        };
        let said = bytes.try_into().ok().map(u64::from_le_bytes);
        let said = said.map(Monotonic::from_millis);
        // Whoever read the clock a moment earlier meets what was written since.
        let quiet =
            said.is_some_and(|said| said <= now.mono.after(QUIET) && now.mono.since(said) < QUIET);
        if quiet {
            return false;
        }
        out.emit(Effect::Swap {
            source: NOWHERE,
            entry: Entry::Load,
            key: &self.key,
            value: &now.mono.as_millis().to_le_bytes(),
            swap,
        });
        true
    }

    /// The entry was to be swapped.
    pub fn swapped(&self, swap: Swap, out: &mut dyn Sink) {
        match swap {
            Swap::Done | Swap::Unshared => self.say(out),
            Swap::Conflict => {}
        }
    }

    fn say(&self, out: &mut dyn Sink) {
        say(out, Level::Info, &self.line);
    }
}
