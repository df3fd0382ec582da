//! Every reason to refuse a request: its code, its status, its words. Nowhere else.
//!
//! A code is a stable name: it appears in audit records, metrics, Envoy's
//! response-code details and the README, and outlives its text. Statuses follow
//! what the clients of Loki, Mimir and Tempo do with them: 4xx makes an agent drop
//! its data for good, so it stands only for a verdict about the request itself;
//! whatever is our or the provider's fault is 503 with `Retry-After`.

use std::borrow::Cow;

use crate::authz::endpoint::Methods;
use crate::authz::policy::Permission;
use crate::scoping::form::FormError;
use crate::scoping::query::Refusal;
use crate::words::tenant::TenantError;

/// Why a request is not forwarded.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Denial {
    // 400: the request cannot be understood in one way only.
    /// `Authorization: Bearer` not followed by one token (RFC 6750 §2.1).
    AuthorizationMalformed,
    /// A body where the scoped request of this method has none.
    BodyNotExpected,
    /// A `Connection` header nominates a header that carries the decision.
    ConnectionHeader,
    /// Two credentials: repeated `Authorization`, or one more in the query.
    CredentialRepeated,
    /// A parameter of a scoped request that would be a second way to select.
    ParameterRefused(&'static str),
    /// A parameter of a scoped request that is there twice.
    ParameterRepeated(&'static str),
    /// A parameter that the projects API does not have.
    ParameterUnknown,
    /// Parameters of a scoped request that servers would read differently.
    ParametersMalformed(FormError),
    /// No query where a scoped request needs one.
    QueryMissing,
    /// A query that cannot be scoped without doubt: the parameter, and where.
    QueryRefused(&'static str, Refusal),
    /// A pseudo-header is missing or repeated.
    RequestMalformed,
    /// `X-Scope-OrgID` breaks a rule of tenant IDs.
    TenantMalformed(TenantError),
    /// No `X-Scope-OrgID`.
    TenantMissing,
    /// Several tenants where the endpoint takes one.
    TenantNotSingle,
    /// More than one `X-Scope-OrgID` header.
    TenantRepeated,
    /// Trailers behind the body of a scoped request.
    TrailersNotExpected,
    /// An upgrade on an endpoint that has none.
    UpgradeNotSupported,

    // 401 without an error code: no credential was presented (RFC 6750 §3.1).
    /// No `Authorization` header.
    CredentialMissing,
    /// An `Authorization` scheme other than Bearer.
    SchemeNotSupported,
    /// The only credential is in the query string (RFC 6750 §2.3 advises against).
    TokenInQuery,

    // 401 invalid_token: a definitive verdict about the token.
    /// `alg` is not one that the provider's configuration allows.
    AlgorithmNotAllowed,
    /// No `aud` value is configured for the provider.
    AudienceMismatch,
    /// `cnf` binds the token to a key that a plain Bearer request does not prove.
    BoundToken,
    /// `iat` lies in the future.
    IssuedInFuture,
    /// `iss` is not a configured provider.
    IssuerUnknown,
    /// The key of that `kid` is bound to another algorithm.
    KeyAlgorithmMismatch,
    /// `exp` lies further ahead than the provider's `max_lifetime`.
    LifetimeTooLong,
    /// The signature does not verify.
    SignatureInvalid,
    /// No usable subject in the claims.
    SubjectInvalid,
    /// `exp` has passed.
    TokenExpired,
    /// A header parameter that a signed access token must not have.
    TokenHeaderRefused,
    /// Not an access token: ID, refresh, logout token and the like.
    TokenKindRefused,
    /// Not three canonical base64url parts of strict JSON with well-typed claims.
    TokenMalformed,
    /// `nbf` lies in the future.
    TokenNotYetValid,
    /// Longer than `limits.token_bytes`.
    TokenTooLarge,
    /// `typ` is not one of the provider's `token_types`.
    TokenTypeRefused,
    /// No key of that `kid`, in a set fetched after the token was seen.
    UnknownKey,

    // 403: the caller is known and may not.
    /// The provider's client allow-list does not name the token's client.
    ClientNotAllowed,
    /// The token only points at its groups (Entra overage), so they are unknown.
    GroupsOverage,
    /// More groups, or longer ones, than `limits.groups` allows.
    GroupsOverLimit,
    /// A role is held on the tenant, but without this permission.
    PermissionMissing(Permission),
    /// The project does not exist or may not be read: one answer for both.
    ProjectNotGranted,
    /// The caller's label policies do not make one that a query can carry.
    ScopeAmbiguous,
    /// The endpoint cannot be limited to a part of the tenant's data.
    ScopeUnsupported,
    /// The tenant does not exist or is not granted: one answer for both.
    TenantNotGranted,

    // 404, 405: not an endpoint of the table, or not a resource of the project.
    /// The path is an endpoint, the method is not one of its methods.
    MethodNotAllowed(Methods),
    /// The project has no such resource.
    ResourceNotFound,
    /// The path is not in the endpoint table.
    RouteNotListed,

    // 408, 413, 415: a body that cannot be read to be scoped.
    /// It did not end in time.
    BodyTimeout,
    /// Longer than what is read.
    BodyTooLarge,
    /// Not a form, or in an encoding.
    ContentTypeNotSupported,

    // 502, 503: the request may well be right; try again.
    /// The backend is switched off or not configured.
    BackendNotConfigured,
    /// Envoy could not reach the backend.
    BackendUnavailable,
    /// The directory of projects could not be asked, or gave no answer of use.
    DirectoryUnavailable,
    /// The gate has no usable configuration, or failed inside.
    GateUnavailable,
    /// The provider's keys could not be had, or not in time.
    KeysUnavailable,
    /// A scoped query that a second reading did not bear out: a fault of ours.
    ScopeUnsound,
    /// Too many requests are waiting for keys already.
    WaitingRoomFull,
}

/// The challenge a refusal carries (RFC 6750 §3).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Challenge {
    /// `error="invalid_request"`
    InvalidRequest,
    /// `error="invalid_token"`, with a description.
    InvalidToken(&'static str),
    /// `Bearer realm="…"` alone: nothing was presented.
    Plain,
}

/// One body for every refused token, so that it tells a forger nothing.
const TOKEN: &str = "the bearer token is not valid for this service: \
    request a new access token for its audience from your identity provider";

impl Denial {
    /// The stable code.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::AlgorithmNotAllowed => "algorithm_not_allowed",
            Self::AudienceMismatch => "audience_mismatch",
            Self::AuthorizationMalformed => "authorization_malformed",
            Self::BackendNotConfigured => "backend_not_configured",
            Self::BackendUnavailable => "backend_unavailable",
            Self::BodyNotExpected => "body_not_expected",
            Self::BodyTimeout => "body_timeout",
            Self::BodyTooLarge => "body_too_large",
            Self::BoundToken => "bound_token",
            Self::ClientNotAllowed => "client_not_allowed",
            Self::ConnectionHeader => "connection_header",
            Self::ContentTypeNotSupported => "content_type_not_supported",
            Self::CredentialMissing => "credential_missing",
            Self::CredentialRepeated => "credential_repeated",
            Self::DirectoryUnavailable => "directory_unavailable",
            Self::GateUnavailable => "gate_unavailable",
            Self::GroupsOverLimit => "groups_over_limit",
            Self::GroupsOverage => "groups_overage",
            Self::IssuedInFuture => "issued_in_future",
            Self::IssuerUnknown => "issuer_unknown",
            Self::KeyAlgorithmMismatch => "key_algorithm_mismatch",
            Self::KeysUnavailable => "keys_unavailable",
            Self::LifetimeTooLong => "lifetime_too_long",
            Self::MethodNotAllowed(_) => "method_not_allowed",
            Self::ParameterRefused(_) => "parameter_refused",
            Self::ParameterRepeated(_) => "parameter_repeated",
            Self::ParameterUnknown => "parameter_unknown",
            Self::ParametersMalformed(_) => "parameters_malformed",
            Self::PermissionMissing(_) => "permission_missing",
            Self::ProjectNotGranted => "project_not_granted",
            Self::QueryMissing => "query_missing",
            Self::QueryRefused(..) => "query_refused",
            Self::RequestMalformed => "request_malformed",
            Self::ResourceNotFound => "resource_not_found",
            Self::RouteNotListed => "route_not_listed",
            Self::SchemeNotSupported => "scheme_not_supported",
            Self::ScopeAmbiguous => "scope_ambiguous",
            Self::ScopeUnsound => "scope_unsound",
            Self::ScopeUnsupported => "scope_unsupported",
            Self::SignatureInvalid => "signature_invalid",
            Self::SubjectInvalid => "subject_invalid",
            Self::TenantMalformed(_) => "tenant_malformed",
            Self::TenantMissing => "tenant_missing",
            Self::TenantNotGranted => "tenant_not_granted",
            Self::TenantNotSingle => "tenant_not_single",
            Self::TenantRepeated => "tenant_repeated",
            Self::TokenExpired => "token_expired",
            Self::TokenHeaderRefused => "token_header_refused",
            Self::TokenInQuery => "token_in_query",
            Self::TokenKindRefused => "token_kind_refused",
            Self::TokenMalformed => "token_malformed",
            Self::TokenNotYetValid => "token_not_yet_valid",
            Self::TokenTooLarge => "token_too_large",
            Self::TokenTypeRefused => "token_type_refused",
            Self::TrailersNotExpected => "trailers_not_expected",
            Self::UnknownKey => "unknown_key",
            Self::UpgradeNotSupported => "upgrade_not_supported",
            Self::WaitingRoomFull => "waiting_room_full",
        }
    }

    /// The HTTP status.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::AuthorizationMalformed
            | Self::BodyNotExpected
            | Self::ConnectionHeader
            | Self::CredentialRepeated
            | Self::ParameterRefused(_)
            | Self::ParameterRepeated(_)
            | Self::ParameterUnknown
            | Self::ParametersMalformed(_)
            | Self::QueryMissing
            | Self::QueryRefused(..)
            | Self::RequestMalformed
            | Self::TenantMalformed(_)
            | Self::TenantMissing
            | Self::TenantNotSingle
            | Self::TenantRepeated
            | Self::TrailersNotExpected
            | Self::UpgradeNotSupported => 400,
            Self::AlgorithmNotAllowed
            | Self::AudienceMismatch
            | Self::BoundToken
            | Self::CredentialMissing
            | Self::IssuedInFuture
            | Self::IssuerUnknown
            | Self::KeyAlgorithmMismatch
            | Self::LifetimeTooLong
            | Self::SchemeNotSupported
            | Self::SignatureInvalid
            | Self::SubjectInvalid
            | Self::TokenExpired
            | Self::TokenHeaderRefused
            | Self::TokenInQuery
            | Self::TokenKindRefused
            | Self::TokenMalformed
            | Self::TokenNotYetValid
            | Self::TokenTooLarge
            | Self::TokenTypeRefused
            | Self::UnknownKey => 401,
            Self::ClientNotAllowed
            | Self::GroupsOverLimit
            | Self::GroupsOverage
            | Self::PermissionMissing(_)
            | Self::ProjectNotGranted
            | Self::ScopeAmbiguous
            | Self::ScopeUnsupported
            | Self::TenantNotGranted => 403,
            Self::ResourceNotFound | Self::RouteNotListed => 404,
            Self::MethodNotAllowed(_) => 405,
            Self::BodyTimeout => 408,
            Self::BodyTooLarge => 413,
            Self::ContentTypeNotSupported => 415,
            Self::BackendUnavailable => 502,
            Self::BackendNotConfigured
            | Self::DirectoryUnavailable
            | Self::GateUnavailable
            | Self::KeysUnavailable
            | Self::ScopeUnsound
            | Self::WaitingRoomFull => 503,
        }
    }

    /// What the caller can do about it, in one line without anything secret.
    #[must_use]
    #[expect(clippy::too_many_lines)]
    pub fn message(self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::AuthorizationMalformed => {
                "malformed Authorization header: send exactly 'Bearer <token>'"
            }
            Self::BackendNotConfigured => "this backend is not configured here",
            Self::BackendUnavailable => "the backend cannot be reached: try again",
            Self::BodyNotExpected => "a request of this method has no body here",
            Self::BodyTimeout => "the body did not end in time: 30 seconds",
            Self::BodyTooLarge => "the body is too large: at most 256 KiB of parameters",
            Self::ClientNotAllowed => "the token's client is not allowed here",
            Self::ConnectionHeader => {
                "the Connection header names a header that must not be dropped"
            }
            Self::ContentTypeNotSupported => {
                "send parameters as application/x-www-form-urlencoded, not encoded"
            }
            Self::CredentialMissing => "no bearer token: send 'Authorization: Bearer <token>'",
            Self::CredentialRepeated => "more than one credential: send one Authorization header",
            Self::DirectoryUnavailable => {
                "who may read the project cannot be told right now: try again"
            }
            Self::GateUnavailable => "the gate is not ready: try again",
            Self::GroupsOverLimit => "the token lists more groups than are accepted here",
            Self::GroupsOverage => {
                "the token does not list its groups because there are too many: \
                 ask for app roles or a groups filter at your identity provider"
            }
            Self::KeysUnavailable => {
                "the identity provider's keys are not available right now: try again"
            }
            Self::MethodNotAllowed(methods) => {
                return Cow::Owned(format!("method not allowed: use {methods}"));
            }
            Self::ParameterRefused(name) => {
                return Cow::Owned(format!(
                    "the parameter {name} is not accepted here: use a query"
                ));
            }
            Self::ParameterRepeated(name) => {
                return Cow::Owned(format!("the parameter {name} is there more than once"));
            }
            Self::ParameterUnknown => "unknown parameter: see the description of this API",
            Self::ParametersMalformed(error) => {
                return Cow::Owned(format!("malformed parameters: {}", error.rule()));
            }
            Self::PermissionMissing(permission) => {
                return Cow::Owned(format!(
                    "this needs the permission '{permission}' on the tenant, which you do not hold"
                ));
            }
            Self::ProjectNotGranted => "no such project, or no read access to it",
            Self::QueryMissing => "no query: send one in the parameter query",
            Self::QueryRefused(parameter, refusal) => {
                return Cow::Owned(format!("{parameter} refused {refusal}"));
            }
            Self::RequestMalformed => "malformed request head",
            Self::ResourceNotFound => "the project has no such resource",
            Self::RouteNotListed => "not found",
            Self::SchemeNotSupported => {
                "unsupported authorization scheme: send 'Authorization: Bearer <token>'"
            }
            Self::ScopeAmbiguous => {
                "your groups give different label policies here: ask for one tenant, \
                 or ask for groups whose policies differ in one label only"
            }
            Self::ScopeUnsound => "the query could not be scoped: this is a fault of the gate",
            Self::ScopeUnsupported => {
                "you may see a part of this tenant's data, and this endpoint cannot be \
                 limited to it"
            }
            Self::TenantMalformed(error) => {
                return Cow::Owned(format!("malformed X-Scope-OrgID: {}", error.rule()));
            }
            Self::TenantMissing => "no tenant: send one X-Scope-OrgID header",
            Self::TenantNotGranted => {
                "no such tenant, or no access to it: check X-Scope-OrgID and your groups"
            }
            Self::TenantNotSingle => "this endpoint takes exactly one tenant in X-Scope-OrgID",
            Self::TenantRepeated => "more than one X-Scope-OrgID header: send one",
            Self::TokenInQuery => {
                "a token in the query string is not accepted: send 'Authorization: Bearer <token>'"
            }
            Self::TrailersNotExpected => "trailers are not accepted here",
            Self::UpgradeNotSupported => "this endpoint has no protocol upgrade",
            Self::WaitingRoomFull => "too many requests wait for keys: try again",
            Self::AlgorithmNotAllowed
            | Self::AudienceMismatch
            | Self::BoundToken
            | Self::IssuedInFuture
            | Self::IssuerUnknown
            | Self::KeyAlgorithmMismatch
            | Self::LifetimeTooLong
            | Self::SignatureInvalid
            | Self::SubjectInvalid
            | Self::TokenExpired
            | Self::TokenHeaderRefused
            | Self::TokenKindRefused
            | Self::TokenMalformed
            | Self::TokenNotYetValid
            | Self::TokenTooLarge
            | Self::TokenTypeRefused
            | Self::UnknownKey => TOKEN,
        })
    }

    /// The gRPC status (google.rpc.Code), stated because Envoy's own mapping of
    /// 400 is INTERNAL.
    #[must_use]
    pub const fn grpc_status(self) -> i32 {
        match self.status() {
            400 | 413 | 415 => 3, // INVALID_ARGUMENT
            401 => 16,            // UNAUTHENTICATED
            403 => 7,             // PERMISSION_DENIED
            404 | 405 => 12,      // UNIMPLEMENTED
            _ => 14,              // UNAVAILABLE
        }
    }

    /// The `WWW-Authenticate` challenge, where RFC 9110 §11.6.1 or RFC 6750 §3 wants one.
    #[must_use]
    pub const fn challenge(self) -> Option<Challenge> {
        match self {
            Self::CredentialMissing | Self::SchemeNotSupported | Self::TokenInQuery => {
                Some(Challenge::Plain)
            }
            Self::AuthorizationMalformed | Self::CredentialRepeated => {
                Some(Challenge::InvalidRequest)
            }
            // RFC 6750's own example; the expiry of a token is no secret to its holder.
            Self::TokenExpired => Some(Challenge::InvalidToken("the access token expired")),
            _ if self.status() == 401 => Some(Challenge::InvalidToken(
                "the access token is not valid for this service",
            )),
            _ => None,
        }
    }

    /// Whether the client should try the same request again later.
    #[must_use]
    pub const fn is_retryable(self) -> bool {
        self.status() >= 500
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptions_stay_inside_rfc_6750s_alphabet() {
        for denial in [Denial::TokenExpired, Denial::UnknownKey] {
            let Some(Challenge::InvalidToken(text)) = denial.challenge() else {
                panic!("{denial:?}");
            };
            let allowed = |byte| matches!(byte, 0x20..=0x21 | 0x23..=0x5b | 0x5d..=0x7e);
            assert!(text.bytes().all(allowed));
        }
    }

    #[test]
    fn every_401_carries_a_challenge_and_no_5xx_does() {
        assert_eq!(
            Denial::CredentialMissing.challenge(),
            Some(Challenge::Plain)
        );
        assert!(Denial::UnknownKey.challenge().is_some());
        assert_eq!(Denial::KeysUnavailable.challenge(), None);
        assert_eq!(Denial::TenantNotGranted.challenge(), None);
    }
}
