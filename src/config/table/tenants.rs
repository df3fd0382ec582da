//! The keys of `tenants`.

use super::{Exactly, Word};

section! {
    /// How a request may ask for tenants without naming them.
    section;

    /// With `only`, a caller who holds anything on exactly one tenant need not name it.
    WHEN_ABSENT: Word<Absent> = "when_absent", Word {
        words: &[("refuse", Absent::Refused), ("only", Absent::OnlyOne)],
        default: Absent::Refused,
    };

    /// With `"*"`, in quotes, `X-Scope-OrgID: *` stands for all tenants that the caller may
    /// read.
    ALL: Exactly = "all", Exactly { word: "*", or_false: false };
}

/// What happens to a request that names no tenant.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Absent {
    /// It is for the caller's only tenant.
    OnlyOne,
    /// It is refused.
    Refused,
}
