//! `credentials[]`, where it is an object.

use super::{Required, Text};
use crate::words::own_header::MAX_NAME;

section! {
    /// An ID token that comes in a header of its own.
    section;

    /// The header, in which Grafana (Forward OAuth Identity) passes on the ID token of whoever
    /// has logged in: `x-id-token`. It decides where the bearer token was not made for this
    /// gate, and is always removed. It may be no other header that HTTP, Envoy, a backend or
    /// the gate gives a meaning.
    ID_TOKEN_HEADER: Required<Text> = "id_token_header", Required::always(
        Text::of("name of a header").up_to(MAX_NAME).like("^[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?$"),
        "the name of the header",
    );
}
