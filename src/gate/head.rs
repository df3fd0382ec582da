//! Reads those parts of a request's head that can be read in one way only.

use std::borrow::Cow;

use crate::authn::basic;
use crate::authn::bearer::{self, BearerError};
use crate::authz::endpoint::Endpoint;
use crate::config::Credentials;
use crate::scoping::form;
use crate::words::credential::CredentialKind;
use crate::words::denial::Denial;
use crate::words::permission::Permission;
use crate::words::request::{Head, Occurrence};

/// Whether a `content-length` is a number of at most `most`.
pub(super) fn is_at_most(length: &[u8], most: usize) -> bool {
    std::str::from_utf8(length)
        .ok()
        .and_then(|length| length.parse::<usize>().ok())
        .is_some_and(|length| length <= most)
}

/// The method, the path and the query string. A head in which one of them is ambiguous is
/// refused.
#[expect(clippy::type_complexity)]
pub(super) fn request_line<'a>(
    head: &Head<'a>,
) -> Result<(&'a [u8], &'a [u8], Option<&'a [u8]>), Denial> {
    let (Occurrence::Once(method), Occurrence::Once(path)) = (head.method, head.path) else {
        return Err(Denial::RequestMalformed);
    };
    if head.connection_names_protected {
        return Err(Denial::ConnectionHeader);
    }
    match path.iter().position(|byte| *byte == b'?') {
        None => Ok((method, path, None)),
        Some(mark) => {
            let (path, query) = path.split_at(mark);
            Ok((method, path, query.get(1..)))
        }
    }
}

/// Checks that gRPC methods, and only they, are called through gRPC, and that only tails ask
/// for an upgrade.
pub(super) fn check_transport(head: &Head<'_>, endpoint: &Endpoint) -> Result<(), Denial> {
    let fits = if endpoint.is_grpc() {
        head.calls_grpc()
    } else {
        !head.resembles_grpc()
    };
    if !fits {
        return Err(Denial::RouteNotListed);
    }
    match head.upgrade {
        Occurrence::Absent => Ok(()),
        Occurrence::Once(protocol)
            if endpoint.upgrade && protocol.eq_ignore_ascii_case(b"websocket") =>
        {
            Ok(())
        }
        Occurrence::Once(_) | Occurrence::Repeated => Err(Denial::UpgradeNotSupported),
    }
}

/// Whether a request that fits its endpoint continues after its answer has begun, for as long
/// as both sides want: a WebSocket, or a method of Tempo's streaming API.
pub(super) fn opens_stream(head: &Head<'_>, endpoint: &Endpoint) -> bool {
    let upgraded = endpoint.upgrade && head.upgrade != Occurrence::Absent;
    upgraded || (endpoint.is_grpc() && endpoint.permission == Permission::Read)
}

/// The credentials that a request offers, of which there is at least one.
pub(super) struct Offer<'a> {
    /// The one in `authorization`.
    pub(super) access: Option<Credential<'a>>,
    /// The one in the header for ID tokens.
    pub(super) id_token: Option<&'a [u8]>,
}

/// A token, and how it was sent.
pub(super) struct Credential<'a> {
    pub(super) token: Cow<'a, [u8]>,
    pub(super) kind: CredentialKind,
}

/// The credentials that a request offers, of the kinds that are accepted.
pub(super) fn offer<'a>(
    head: &Head<'a>,
    query: Option<&[u8]>,
    accepted: &Credentials,
) -> Result<Offer<'a>, Denial> {
    let in_query = query.is_some_and(form::has_access_token);
    let id_token = match head.id_token {
        _ if accepted.id_token_header.is_none() => None,
        Occurrence::Repeated => return Err(Denial::CredentialRepeated),
        // No token holds a comma. It means that a proxy has joined two headers.
        Occurrence::Once(token) if token.contains(&b',') => {
            return Err(Denial::CredentialRepeated);
        }
        Occurrence::Once([]) | Occurrence::Absent => None,
        Occurrence::Once(token) => Some(token),
    };
    let value = match head.authorization {
        Occurrence::Repeated => return Err(Denial::CredentialRepeated),
        Occurrence::Once(value) => Some(value),
        Occurrence::Absent => None,
    };
    let is_given = value.is_some() || id_token.is_some();
    match (is_given, in_query) {
        (true, true) => return Err(Denial::CredentialRepeated),
        (false, true) => return Err(Denial::TokenInQuery),
        (false, false) => return Err(Denial::CredentialMissing),
        (true, false) => {}
    }
    let access = match value.map(|value| access(value, accepted)) {
        None => None,
        Some(Ok(credential)) => Some(credential),
        // The credential is meant for somebody else.
        Some(Err(BearerError::OtherScheme)) if id_token.is_some() => None,
        Some(Err(error)) => return Err(refusal(error)),
    };
    Ok(Offer { access, id_token })
}

/// The token in an `authorization` value.
fn access<'a>(value: &'a [u8], accepted: &Credentials) -> Result<Credential<'a>, BearerError> {
    match bearer::parse(value) {
        Ok(token) => Ok(Credential {
            token: Cow::Borrowed(token),
            kind: CredentialKind::Bearer,
        }),
        Err(BearerError::OtherScheme) if accepted.basic => Ok(Credential {
            token: Cow::Owned(basic::parse(value)?),
            kind: CredentialKind::Basic,
        }),
        Err(error) => Err(error),
    }
}

const fn refusal(error: BearerError) -> Denial {
    match error {
        BearerError::Malformed => Denial::AuthorizationMalformed,
        BearerError::OtherScheme => Denial::SchemeNotSupported,
        BearerError::Several => Denial::CredentialRepeated,
    }
}
