//! The keys of `forward`.

use super::{Flag, Preset, Text, Word};
use crate::words::own_header;

section! {
    /// What is sent to a backend in addition to the request.
    section;

    /// Whether the backend receives the token.
    AUTHORIZATION: Word<Token> = "authorization", Word {
        words: &[("strip", Token::Stripped), ("keep", Token::Kept)],
        default: Token::Stripped,
    };

    /// Whether a scope is also sent as `X-Prom-Label-Policy`, for Grafana Enterprise Metrics
    /// and Logs. The header repeats the scope for each tenant, and has at most 60 KiB.
    LABEL_POLICY_HEADER: Flag = "label_policy_header", Flag { default: false };

    /// The header that carries the subject. It is always overwritten or removed; with `null`
    /// there is none. `%`, spaces at either end and characters outside ASCII are
    /// percent-encoded. The header must not be one that already has a meaning to HTTP, Envoy, a
    /// backend or the gate.
    SUBJECT_HEADER: Preset = "subject_header", Preset {
        text: Text::of("name of a header")
            .up_to(own_header::MAX_NAME)
            .like("^[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?$")
            .or_null(),
        default: own_header::STANDARD,
    };

    /// Whether the gate rewrites paths. Set it to `false` if the routes do.
    REWRITE_PATHS: Flag = "rewrite_paths", Flag { default: true };
}

/// What happens to the token.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Token {
    /// The backend receives it.
    Kept,
    /// The backend does not receive it.
    Stripped,
}
