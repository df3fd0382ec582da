//! The keys of `health`.

use super::{Required, Text};

section! {
    /// Health checks.
    section;

    /// The path that is answered without a token, with `ok`, or with 503 and `no_keys` or
    /// `no_organizations`. It must be a plain path that is not in the endpoint table.
    PATH: Required<Text> = "path", Required::always(
        Text::of("path").up_to(256).like(r"^(/[A-Za-z0-9._~-]+)+$"),
        "the path to answer, such as /healthz",
    );
}
