//! What all configurations and streams of a worker have in common.

use crate::authn::keys::SignatureEngine;
use crate::authn::token_cache::{Owner, TokenCache};
use crate::worker::clocks::Clocks;
use crate::worker::dice::Dice;
use crate::worker::directory::Directory;
use crate::worker::event::StreamId;
use crate::worker::lifetimes::Lifetimes;
use crate::worker::room::Rooms;
use crate::worker::sources::Sources;

/// Numbers of their own for the sessions of each configuration, and of each state of it.
#[derive(Debug, Default)]
pub struct Owners(u64);

impl Owners {
    /// Another one.
    pub const fn next(&mut self) -> Owner {
        self.0 = self.0.wrapping_add(1);
        Owner(self.0)
    }
}

/// The common state.
pub struct Commons {
    /// Checks signatures.
    pub engine: Box<dyn SignatureEngine>,
    /// Verified tokens.
    pub tokens: TokenCache,
    /// Where keys and organizations come from.
    pub sources: Sources,
    /// Numbers of their own for sessions.
    pub owners: Owners,
    /// Questions to directories of projects.
    pub directory: Directory,
    /// The host's clocks.
    pub clocks: Clocks,
    /// Deadlines of streams.
    pub lifetimes: Lifetimes,
    /// Streams that wait, those first that have waited for longest.
    pub waiting: Vec<StreamId>,
    /// The places of those who wait or whose form is read.
    pub rooms: Rooms,
    /// Numbers that vary.
    pub dice: Dice,
}

impl Commons {
    /// An empty one. `seed` is a secret number.
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
            waiting: Vec::new(),
            rooms: Rooms::default(),
            dice,
        }
    }
}
