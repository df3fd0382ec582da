//! The single log line that says which configuration a process has loaded.
//!
//! Every worker loads every configuration, and so does the context in which a proxy first tries
//! it, all within moments. The first of them writes the line. They coordinate through a shared
//! entry for each configuration, which says when the line was last written.

use crate::words::time::{Monotonic, Now};
use crate::worker::effect::{Effect, Level, Sink};
use crate::worker::event::{Entry, SourceId, Swap};
use crate::worker::excerpt::say;

/// How long the others keep silent, in milliseconds. A worker that loads the configuration
/// later writes the line again.
const QUIET: u64 = 10_000;

/// The entry does not belong to a source.
const NOWHERE: SourceId = SourceId(u32::MAX);

/// A line to be written, unless another worker has written it.
#[derive(Debug)]
pub struct Announcement {
    key: String,
    line: String,
}

impl Announcement {
    /// Announces a configuration with this line. `number` distinguishes it from others.
    #[must_use]
    pub fn new(line: String, number: u64) -> Self {
        let version = crate::words::build::VERSION;
        Self {
            key: format!("scopegate/3/load/{version}/{number:012x}"),
            line,
        }
    }

    /// Starts to find out whether another worker has written the line.
    pub fn begin(&self, out: &mut dyn Sink) {
        out.emit(Effect::Look {
            source: NOWHERE,
            entry: Entry::Load,
            key: &self.key,
        });
    }

    /// Handles the entry that was read. Returns whether it asked for the entry to be swapped.
    pub fn looked(&self, value: Option<(&[u8], u32)>, now: Now, out: &mut dyn Sink) -> bool {
        let Some((bytes, swap)) = value else {
            self.say(out);
            return false;
        };
        let said = bytes.try_into().ok().map(u64::from_le_bytes);
        let said = said.map(Monotonic::from_millis);
        // A worker that read its clock a moment earlier finds what was written since.
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

    /// Handles the outcome of the swap.
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
