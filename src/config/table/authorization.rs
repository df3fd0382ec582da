//! `authorization`: a credential of the operator's own.

use super::{Required, Text};

section! {
    /// A credential that is shown to whoever is asked, as bearer token.
    section;

    /// The variable of the module's environment that holds the token, alone and without the
    /// word Bearer, so that it does not stand in the document. It is an error if it is not set.
    ENVIRONMENT: Required<Text> = "environment", Required::always(
        Text::of("name of a variable").up_to(256).like("^[A-Za-z0-9_]+$"),
        "the name of the variable that holds a token",
    );
}
