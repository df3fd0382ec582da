//! The kinds of credentials: how a token reached the gate.

/// How a token reached the gate.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CredentialKind {
    /// As the password of `Authorization: Basic`.
    Basic,
    /// In `Authorization: Bearer`.
    Bearer,
    /// In a header for ID tokens.
    IdToken,
}

impl CredentialKind {
    /// The name of the kind, as records spell it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Basic => "basic",
            Self::Bearer => "bearer",
            Self::IdToken => "id_token",
        }
    }

    /// The purpose that a token sent this way is assumed to have.
    #[must_use]
    pub const fn purpose(self) -> Purpose {
        match self {
            Self::Basic | Self::Bearer => Purpose::Access,
            Self::IdToken => Purpose::Identity,
        }
    }
}

/// What a token was made for. Being valid for one purpose does not make a token valid for the
/// other.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Purpose {
    /// The token was made for this service.
    Access,
    /// The token was made to tell a client who has logged in, and the client passes it on.
    Identity,
}
