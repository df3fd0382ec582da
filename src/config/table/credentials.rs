//! The keys of an element of `credentials[]` that is an object.

use super::{Required, Text};
use crate::words::own_header::MAX_NAME;

section! {
    /// An ID token that is sent in a header of its own.
    section;

    /// The header in which Grafana (Forward OAuth Identity) passes on the ID token of whoever
    /// has logged in: `x-id-token`. The ID token decides if the bearer token was not made for
    /// this gate, and is always removed. The header must not be one that already has a meaning
    /// to HTTP, Envoy, a backend or the gate.
    ID_TOKEN_HEADER: Required<Text> = "id_token_header", Required::always(
        Text::of("name of a header").up_to(MAX_NAME).like("^[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?$"),
        "the name of the header",
    );
}
