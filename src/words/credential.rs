//! The kinds of credentials: by which way a token came.

/// By which way a token came.
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
    /// As in records.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Basic => "basic",
            Self::Bearer => "bearer",
            Self::IdToken => "id_token",
        }
    }

    /// What a token that comes by that way is taken for.
    #[must_use]
    pub const fn purpose(self) -> Purpose {
        match self {
            Self::Basic | Self::Bearer => Purpose::Access,
            Self::IdToken => Purpose::Identity,
        }
    }
}

/// What a token is taken for. One that is good for the one is not for that reason good for
/// the other.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Purpose {
    /// It was made for this service.
    Access,
    /// It was made for a client, to tell it who has logged in, and the client passes it on.
    Identity,
}
