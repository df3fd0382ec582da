//! How a request was decided, for metrics and records.

use crate::words::denial::Denial;
use crate::words::own_answer::OwnAnswer;

/// What became of a request or, in `report` mode, would have become of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// The request was let through.
    Allowed,
    /// The gate answered the request itself.
    Answered(OwnAnswer),
    /// The request was refused.
    Denied(Denial),
}

impl Verdict {
    /// The kind of verdict, as in records and metrics.
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

    /// The status of the answer, if the gate gave it.
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
