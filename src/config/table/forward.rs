//! `forward`

use super::{Flag, Preset, Text, Word};
use crate::words::own_header;

section! {
    /// What goes on to a backend besides the request.
    section;

    /// Whether the backend gets the token.
    AUTHORIZATION: Word<Token> = "authorization", Word {
        words: &[("strip", Token::Stripped), ("keep", Token::Kept)],
        default: Token::Stripped,
    };

    /// Whether a scope is also sent as `X-Prom-Label-Policy`, for Grafana Enterprise Metrics
    /// and Logs: at most 60 KiB, once for each tenant.
    LABEL_POLICY_HEADER: Flag = "label_policy_header", Flag { default: false };

    /// The header that carries the subject, which is always overwritten or removed; with
    /// `null` there is none. `%`, blanks at the ends and what is not ASCII are percent-encoded.
    /// It may be no header that HTTP, Envoy, a backend or the gate gives a meaning.
    SUBJECT_HEADER: Preset = "subject_header", Preset {
        text: Text::of("name of a header")
            .up_to(own_header::MAX_NAME)
            .like("^[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?$")
            .or_null(),
        default: own_header::STANDARD,
    };

    /// Whether paths are rewritten here; `false` where the routes do it.
    REWRITE_PATHS: Flag = "rewrite_paths", Flag { default: true };
}

/// What becomes of the token.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Token {
    /// It goes on to the backend.
    Kept,
    /// It does not.
    Stripped,
}
