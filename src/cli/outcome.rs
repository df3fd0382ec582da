//! How a command ended.

use std::process::ExitCode;

/// How a command ended, which gives its exit status.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// Everything is as it should be: exit status 0.
    Good,
    /// There are problems, or differences where the command was asked for them: exit status 1.
    Problems,
    /// The command was not understood, or a file could not be read or written: exit status 2.
    WrongUse,
}

impl Outcome {
    /// The exit status, from 0 to 2.
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
