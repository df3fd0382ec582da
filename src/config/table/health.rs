//! `health`

use super::{Required, Text};

section! {
    /// Health checks.
    section;

    /// The path that is answered without a token: `ok`, or 503 `no_keys` or
    /// `no_organizations`. A plain path that is
    /// none of the endpoint table.
    PATH: Required<Text> = "path", Required::always(
        Text::of("path").up_to(256).like(r"^(/[A-Za-z0-9._~-]+)+$"),
        "the path to answer, such as /healthz",
    );
}
