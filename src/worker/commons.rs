//! The state that all configurations and streams of a worker share.

use crate::authn::keys::SignatureEngine;
use crate::authn::token_cache::{Owner, TokenCache};
use crate::worker::clocks::Clocks;
use crate::worker::dice::Dice;
use crate::worker::directory::Directory;
use crate::worker::event::StreamId;
use crate::worker::lifetimes::Lifetimes;
use crate::worker::room::Rooms;
use crate::worker::sources::Sources;
use crate::worker::succession::OpenStreams;

/// Gives a number to the sessions of each configuration, and of each state of a configuration.
#[derive(Debug, Default)]
pub struct Owners(u64);

impl Owners {
    /// The next number.
    pub const fn next(&mut self) -> Owner {
        self.0 = self.0.wrapping_add(1);
        Owner(self.0)
    }
}

/// The shared state.
pub struct Commons {
    /// The engine that checks signatures.
    pub engine: Box<dyn SignatureEngine>,
    /// The remembered tokens.
    pub tokens: TokenCache,
    /// The sources of keys and organizations.
    pub sources: Sources,
    /// The numbers for sessions.
    pub owners: Owners,
    /// The questions to directories of projects.
    pub directory: Directory,
    /// The host's clocks.
    pub clocks: Clocks,
    /// The deadlines of streams.
    pub lifetimes: Lifetimes,
    /// The streams whose grant may be examined again.
    pub open: OpenStreams,
    /// The streams that wait, beginning with the one that has waited longest.
    pub waiting: Vec<StreamId>,
    /// The places for requests that wait or whose form is being read.
    pub rooms: Rooms,
    /// The generator of numbers that vary.
    pub dice: Dice,
}

impl Commons {
    /// Creates the state of a new worker. `seed` is a secret number.
    #[must_use]
    pub fn new(engine: Box<dyn SignatureEngine>, seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        Self {
            engine,
            tokens: TokenCache::new(0, 0, dice.roll()),
            sources: Sources::new(dice.roll() | 1),
            owners: Owners::default(),
            directory: Directory::default(),
            clocks: Clocks::default(),
            lifetimes: Lifetimes::default(),
            open: OpenStreams::default(),
            waiting: Vec::new(),
            rooms: Rooms::default(),
            dice,
        }
    }
}
