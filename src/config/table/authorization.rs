//! The keys of `authorization`: a credential of the operator.

use super::{Required, Text};

section! {
    /// A credential that is sent as a bearer token to the server that is asked.
    section;

    /// The environment variable of the module that holds the token, alone and without the word
    /// Bearer, so that it is not in the document. It is an error if the variable is not set.
    ENVIRONMENT: Required<Text> = "environment", Required::always(
        Text::of("name of a variable").up_to(256).like("^[A-Za-z0-9_]+$"),
        "the name of the variable that holds a token",
    );
}
