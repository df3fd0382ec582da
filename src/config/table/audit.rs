//! The keys of `audit`.

use super::{Flag, Word};
use crate::config::AuditLog;

section! {
    /// What is recorded about decisions.
    section;

    /// Which decisions are written to Envoy's log, each as a line of JSON.
    LOG: Word<AuditLog> = "log", Word {
        words: &[
            ("denied", AuditLog::Denied),
            ("all", AuditLog::All),
            ("none", AuditLog::None),
        ],
        default: AuditLog::Denied,
    };

    /// Whether the record is put into filter state, where the access log finds it under
    /// `%FILTER_STATE(wasm.scopegate:PLAIN)%`.
    ACCESS_LOG: Flag = "access_log", Flag { default: true };
}
