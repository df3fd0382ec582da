//! How a request was decided, for counts and records.

use crate::words::denial::Denial;
use crate::words::own_answer::OwnAnswer;

/// What became of a request, or would have become.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// It was let through.
    Allowed,
    /// The gate answered it itself.
    Answered(OwnAnswer),
    /// It was refused.
    Denied(Denial),
}

impl Verdict {
    /// The kind, as in records and metrics.
    #[must_use]
    pub const fn decision(self) -> &'static str {
        match self {
            Self::Allowed => "allow",
            Self::Answered(_) => "answer",
            Self::Denied(_) => "deny",
        }
    }

    /// The stable code.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Answered(answer) => answer.code(),
            Self::Denied(denial) => denial.code(),
        }
    }

    /// The status of the answer, where it is the gate's.
    #[must_use]
    pub const fn status(self) -> Option<u16> {
        match self {
            Self::Allowed => None,
            Self::Answered(answer) => Some(answer.status()),
            Self::Denied(denial) => Some(denial.status()),
        }
    }
}

impl From<Option<Denial>> for Verdict {
    fn from(denial: Option<Denial>) -> Self {
        denial.map_or(Self::Allowed, Self::Denied)
    }
}
