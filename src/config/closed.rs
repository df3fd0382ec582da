//! The configuration of a gate that has not loaded a good one.

use std::sync::Arc;

use super::fingerprint::Fingerprint;
use super::table::document;
use super::{Audit, AuditLog, Backends, Config, Credentials, Entrance, Forward, Limits, Mode};

impl Config {
    /// The configuration of a gate that has not loaded a good one. It trusts nobody, and writes
    /// no line to the log about decisions.
    #[must_use]
    pub fn closed() -> Self {
        Self {
            mode: Mode::Enforce,
            realm: document::REALM.form.default.to_owned(),
            credentials: Credentials::default(),
            providers: Vec::new(),
            policy: Arc::default(),
            left_out: Arc::default(),
            organizations_from: None,
            backends: Backends::default(),
            projects: None,
            entrance: Entrance::default(),
            forward: Forward {
                keep_authorization: false,
                label_policy_header: false,
                subject_header: None,
                rewrite_paths: true,
            },
            limits: Limits {
                token_bytes: 0,
                groups: 0,
                tenants_per_request: 0,
                cached_tokens: 0,
                waiting_requests: 0,
                wait: 0,
                stream_duration: 0,
            },
            audit: Audit {
                log: AuditLog::None,
                access_log: true,
            },
            fingerprint: Fingerprint::default(),
        }
    }
}
