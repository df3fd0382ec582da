//! What a request's head says, where it says one thing only.

use crate::authn::bearer;
use crate::authz::endpoint::Endpoint;
use crate::scoping::form;
use crate::words::denial::Denial;
use crate::words::permission::Permission;
use crate::words::request::{Head, Occurrence};

/// Whether a `content-length` is a number that is not larger.
pub(super) fn is_at_most(length: &[u8], most: usize) -> bool {
    std::str::from_utf8(length)
        .ok()
        .and_then(|length| length.parse::<usize>().ok())
        .is_some_and(|length| length <= most)
}

/// Method, path and query string; anything ambiguous about the head is refused.
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

/// gRPC methods are called by gRPC and nothing else is; only tails upgrade.
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

/// Whether a request that fits its endpoint goes on after its answer has begun, for
/// as long as both sides like: a websocket, or a method of Tempo's streaming API.
pub(super) fn opens_stream(head: &Head<'_>, endpoint: &Endpoint) -> bool {
    let upgraded = endpoint.upgrade && head.upgrade != Occurrence::Absent;
    upgraded || (endpoint.is_grpc() && endpoint.permission == Permission::Read)
}

pub(super) fn credential<'a>(head: &Head<'a>, query: Option<&[u8]>) -> Result<&'a [u8], Denial> {
    let in_query = query.is_some_and(form::has_access_token);
    match head.authorization {
        Occurrence::Repeated => Err(Denial::CredentialRepeated),
        Occurrence::Absent if in_query => Err(Denial::TokenInQuery),
        Occurrence::Absent => Err(Denial::CredentialMissing),
        Occurrence::Once(_) if in_query => Err(Denial::CredentialRepeated),
        Occurrence::Once(value) => bearer::parse(value).map_err(|error| match error {
            bearer::BearerError::Malformed => Denial::AuthorizationMalformed,
            bearer::BearerError::OtherScheme => Denial::SchemeNotSupported,
            bearer::BearerError::Several => Denial::CredentialRepeated,
        }),
    }
}
