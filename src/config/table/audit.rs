//! `audit`

use super::{Flag, Word};
use crate::config::AuditLog;

section! {
    /// What is recorded about decisions.
    section;

    /// Which decisions get a line in Envoy's log, each as JSON.
    LOG: Word<AuditLog> = "log", Word {
        words: &[
            ("denied", AuditLog::Denied),
            ("all", AuditLog::All),
            ("none", AuditLog::None),
        ],
        default: AuditLog::Denied,
    };

    /// Whether the record is put into filter state, from where the access log takes it with
    /// `%FILTER_STATE(wasm.scopegate:PLAIN)%`.
    ACCESS_LOG: Flag = "access_log", Flag { default: true };
}
