//! How a command ended.

use std::process::ExitCode;

/// How a command ended: its exit status.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// Everything is as it should be: 0.
    Good,
    /// There are problems, or differences where those were asked for: 1.
    Problems,
    /// The command was not understood, or a file could not be read or written: 2.
    WrongUse,
}

impl Outcome {
    /// The exit status.
    #[must_use]
    pub const fn status(self) -> u8 {
        match self {
            Self::Good => 0,
            Self::Problems => 1,
            Self::WrongUse => 2,
        }
    }
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        Self::from(outcome.status())
    }
}
