//! Every reason to refuse a request, with its code, its status and its text. They are listed
//! nowhere else.
//!
//! A code is a stable name: it appears in audit records, metrics, Envoy's response-code details
//! and `docs/refusals.md`, and outlives its text. The statuses take into account what the
//! clients of Loki, Mimir and Tempo do with them. A 4xx makes an agent drop its data for good,
//! so it is used only for a verdict about the request itself. Whatever is the fault of the gate
//! or of the provider is answered with 503 and `Retry-After`.

use std::borrow::Cow;

use crate::words::method::Methods;
use crate::words::permission::Permission;
use crate::words::refusal::{FormError, Refusal};
use crate::words::tenant::TenantError;
use crate::words::unscoped::Unscoped;

/// The challenge that a refusal carries (RFC 6750 §3).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Challenge {
    /// A challenge with `error="invalid_request"`.
    InvalidRequest,
    /// A challenge with `error="invalid_token"` and this description.
    InvalidToken(&'static str),
    /// A challenge with only `Bearer realm="…"`, because nothing was presented.
    Plain,
}

/// What the table says about one reason, independent of the request.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The stable code.
    pub code: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// The gRPC status (google.rpc.Code), which is stated because Envoy's own mapping
    /// of 400 is INTERNAL.
    pub grpc_status: i32,
    /// The `WWW-Authenticate` challenge, where RFC 9110 §11.6.1 or RFC 6750 §3 wants one.
    pub challenge: Option<Challenge>,
    /// What the caller can do about it, with `{…}` in place of the denial's details.
    pub text: &'static str,
    /// The denial itself, unless it carries details.
    pub denial: Option<Denial>,
}

/// Generates the enum, [`ROWS`], and the functions that lead from a variant to its row and its
/// text.
///
/// A row is `Variant(detail: Type), status, gRPC status, code, challenge, text;`. The text of a
/// denial with details is a format string that names all of them.
macro_rules! denials {
    ($(
        $(#[$doc:meta])*
        $name:ident $(($($detail:ident: $type:ty),+))?,
        $status:literal, $grpc:literal, $code:literal, $challenge:ident, $text:tt;
    )*) => {
        /// Why a request is not forwarded.
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        pub enum Denial {
            $($(#[$doc])* $name $(($($type),+))?,)*
        }

        /// Every reason, in the order of the table.
        pub const ROWS: &[Row] = &[
            $(row!($name $(($($detail),+))?, $status, $grpc, $code, $challenge, $text),)*
        ];

        impl Denial {
            /// The row of the table for this denial.
            #[must_use]
            pub const fn row(self) -> &'static Row {
                match self {
                    $(Self::$name { .. } => const {
                        &row!($name $(($($detail),+))?, $status, $grpc, $code, $challenge, $text)
                    },)*
                }
            }

            /// What the caller can do about it: one line that holds nothing secret.
            #[must_use]
            pub fn message(self) -> Cow<'static, str> {
                match self {
                    $(Self::$name $(($($detail),+))? => message!($text $(, $($detail)+)?),)*
                }
            }
        }
    };
}

macro_rules! row {
    ($name:ident $(($($detail:ident),+))?, $status:literal, $grpc:literal, $code:literal, $challenge:ident, $text:tt) => {
        Row {
            code: $code,
            status: $status,
            grpc_status: $grpc,
            challenge: $challenge,
            text: $text,
            denial: plain!($name $(, $($detail)+)?),
        }
    };
}

macro_rules! plain {
    ($name:ident) => {
        Some(Denial::$name)
    };
    ($name:ident, $($detail:ident)+) => {
        None
    };
}

macro_rules! message {
    ($text:tt) => {
        Cow::Borrowed($text)
    };
    ($text:tt, $($detail:ident)+) => {
        Cow::Owned(format!($text))
    };
}

/// Every refused token gets the same text, so that it tells a forger nothing.
const TOKEN: &str = "the bearer token is not valid for this service: \
    request a new access token for its audience from your identity provider";

/// There is no challenge, because the credential is not what is wrong.
const NONE: Option<Challenge> = None;

/// Nothing was presented.
const PLAIN: Option<Challenge> = Some(Challenge::Plain);

/// Something was presented in a form that cannot be read in one way only.
const REQUEST: Option<Challenge> = Some(Challenge::InvalidRequest);

/// A token was presented and refused.
const INVALID: Option<Challenge> = Some(Challenge::InvalidToken(
    "the access token is not valid for this service",
));

/// The text is the example from RFC 6750 §3. The expiry of a token is no secret to its holder.
const EXPIRED: Option<Challenge> = Some(Challenge::InvalidToken("the access token expired"));

// The gRPC codes are 3 INVALID_ARGUMENT, 7 PERMISSION_DENIED, 12 UNIMPLEMENTED,
// 14 UNAVAILABLE and 16 UNAUTHENTICATED.
denials! {
    // 400: the request cannot be understood in one way only.
    /// `Authorization: Bearer` not followed by one token (RFC 6750 §2.1).
    AuthorizationMalformed, 400, 3, "authorization_malformed", REQUEST, "malformed Authorization header: send exactly 'Bearer <token>'";
    /// A scoped request has a body although its method takes none.
    BodyNotExpected, 400, 3, "body_not_expected", NONE, "this method takes no request body here";
    /// A `Connection` header nominates a header that carries the decision.
    ConnectionHeader, 400, 3, "connection_header", NONE, "the Connection header names a header that must not be dropped";
    /// The request holds two credentials: `Authorization` is repeated, or the query string
    /// holds another one.
    CredentialRepeated, 400, 3, "credential_repeated", REQUEST, "more than one credential: send one Authorization header";
    /// A scoped request has a parameter that would be a second way to select data.
    ParameterRefused(name: &'static str), 400, 3, "parameter_refused", NONE, "the parameter {name} is not accepted here: use a query";
    /// A scoped request has the same parameter more than once.
    ParameterRepeated(name: &'static str), 400, 3, "parameter_repeated", NONE, "the parameter {name} is there more than once";
    /// The projects API has no such parameter.
    ParameterUnknown, 400, 3, "parameter_unknown", NONE, "unknown parameter: see the description of this API";
    /// Servers would read the parameters of a scoped request differently.
    ParametersMalformed(error: FormError), 400, 3, "parameters_malformed", NONE, "malformed parameters: {error}";
    /// The name of a rule group or namespace cannot be read in one way only.
    PathEscapeRefused(without: &'static str), 400, 3, "path_escape_refused", NONE, "the server would not read this name of a rule group or namespace in one way only: name it without {without}";
    /// A scoped request that needs a query has none.
    QueryMissing, 400, 3, "query_missing", NONE, "no query: send one in the parameter query";
    /// A query cannot be scoped without doubt. The details are the parameter that holds it, and
    /// the position and the rule.
    QueryRefused(parameter: &'static str, refusal: Refusal), 400, 3, "query_refused", NONE, "{parameter} refused {refusal}";
    /// A pseudo-header is missing or repeated.
    RequestMalformed, 400, 3, "request_malformed", NONE, "malformed request head";
    /// There is no `X-Scope-OrgID` header, and the caller has more than one tenant.
    TenantAmbiguous(count: usize), 400, 3, "tenant_ambiguous", NONE, "no tenant, and you have {count} of them: name one in an X-Scope-OrgID header";
    /// `X-Scope-OrgID` breaks a rule of tenant IDs.
    TenantMalformed(error: TenantError), 400, 3, "tenant_malformed", NONE, "malformed X-Scope-OrgID: {error}";
    /// There is no `X-Scope-OrgID` header.
    TenantMissing, 400, 3, "tenant_missing", NONE, "no tenant: send one X-Scope-OrgID header";
    /// The request names several tenants where the endpoint takes one.
    TenantNotSingle, 400, 3, "tenant_not_single", NONE, "this endpoint takes exactly one tenant in X-Scope-OrgID";
    /// The caller has more tenants than one request may name.
    TenantsOverLimit(count: usize), 400, 3, "tenants_over_limit", NONE, "you may read {count} tenants, which are more than one request may name: name some of them in X-Scope-OrgID";
    /// There is more than one `X-Scope-OrgID` header.
    TenantRepeated, 400, 3, "tenant_repeated", NONE, "more than one X-Scope-OrgID header: send one";
    /// A scoped request has trailers behind its body.
    TrailersNotExpected, 400, 3, "trailers_not_expected", NONE, "trailers are not accepted here";
    /// The request asks for a protocol upgrade, which the endpoint does not have.
    UpgradeNotSupported, 400, 3, "upgrade_not_supported", NONE, "this endpoint has no protocol upgrade";

    // 401 without an error code: no credential was presented (RFC 6750 §3.1).
    /// There is no `Authorization` header.
    CredentialMissing, 401, 16, "credential_missing", PLAIN, "no bearer token: send 'Authorization: Bearer <token>'";
    /// The scheme of `Authorization` is not Bearer.
    SchemeNotSupported, 401, 16, "scheme_not_supported", PLAIN, "unsupported authorization scheme: send 'Authorization: Bearer <token>'";
    /// The only credential is in the query string (RFC 6750 §2.3 advises against).
    TokenInQuery, 401, 16, "token_in_query", PLAIN, "a token in the query string is not accepted: send 'Authorization: Bearer <token>'";

    // 401 invalid_token: a definitive verdict about the token.
    /// `alg` is not one that the provider's configuration allows.
    AlgorithmNotAllowed, 401, 16, "algorithm_not_allowed", INVALID, TOKEN;
    /// None of the token's `aud` values is one of the provider's audiences.
    AudienceMismatch, 401, 16, "audience_mismatch", INVALID, TOKEN;
    /// `cnf` binds the token to a key that a plain Bearer request does not prove.
    BoundToken, 401, 16, "bound_token", INVALID, TOKEN;
    /// `iat` lies in the future.
    IssuedInFuture, 401, 16, "issued_in_future", INVALID, TOKEN;
    /// `iss` is not a configured provider.
    IssuerUnknown, 401, 16, "issuer_unknown", INVALID, TOKEN;
    /// The key with that `kid` is bound to another algorithm.
    KeyAlgorithmMismatch, 401, 16, "key_algorithm_mismatch", INVALID, TOKEN;
    /// `exp` lies further ahead than the provider's `max_lifetime`.
    LifetimeTooLong, 401, 16, "lifetime_too_long", INVALID, TOKEN;
    /// The signature does not verify.
    SignatureInvalid, 401, 16, "signature_invalid", INVALID, TOKEN;
    /// The claims hold no usable subject.
    SubjectInvalid, 401, 16, "subject_invalid", INVALID, TOKEN;
    /// `exp` has passed.
    TokenExpired, 401, 16, "token_expired", EXPIRED, TOKEN;
    /// The token has a header parameter that a signed access token must not have.
    TokenHeaderRefused, 401, 16, "token_header_refused", INVALID, TOKEN;
    /// The token is not an access token: it is an ID, refresh or logout token, or of another
    /// kind.
    TokenKindRefused, 401, 16, "token_kind_refused", INVALID, TOKEN;
    /// The token is not three parts of canonical base64url and strict JSON (RFC 7515 §3.1),
    /// or a claim has a wrong type.
    TokenMalformed, 401, 16, "token_malformed", INVALID, TOKEN;
    /// `nbf` lies in the future.
    TokenNotYetValid, 401, 16, "token_not_yet_valid", INVALID, TOKEN;
    /// The token is longer than `limits.token_bytes`.
    TokenTooLarge, 401, 16, "token_too_large", INVALID, TOKEN;
    /// `typ` is not one of the provider's `token_types`.
    TokenTypeRefused, 401, 16, "token_type_refused", INVALID, TOKEN;
    /// A key set that was fetched after the token first arrived has no key with that `kid`.
    UnknownKey, 401, 16, "unknown_key", INVALID, TOKEN;

    // 403: the caller is known, but is not allowed to do this.
    /// The provider's client allow-list does not name the token's client.
    ClientNotAllowed, 403, 7, "client_not_allowed", NONE, "the token's client is not allowed here";
    /// The token only points at its groups (Entra overage), so they are unknown.
    GroupsOverage, 403, 7, "groups_overage", NONE, "the token does not list its groups because there are too many: ask for app roles or a groups filter at your identity provider";
    /// The token lists more groups than `limits.groups`, or one of more than 512 bytes.
    GroupsOverLimit, 403, 7, "groups_over_limit", NONE, "the token lists more groups than are accepted here";
    /// The caller holds a role on the tenant, but not one that grants this permission.
    PermissionMissing(permission: Permission), 403, 7, "permission_missing", NONE, "this needs the permission {permission:#}";
    /// The project does not exist, or the caller may not read it. The answer does not tell
    /// which.
    ProjectNotGranted, 403, 7, "project_not_granted", NONE, "no such project, or no read access to it";
    /// The caller's label policies cannot be combined into one that a query can carry.
    ScopeAmbiguous, 403, 7, "scope_ambiguous", NONE, "your groups give label policies here that do not make one: name one tenant if you named several, or ask for groups whose policies differ in one label only";
    /// The endpoint cannot be limited to a part of the tenant's data.
    ScopeUnsupported(why: Unscoped), 403, 7, "scope_unsupported", NONE, "you may see only a part of this tenant's data, and {why}";
    /// The tenant does not exist, or the caller has no access to it. The answer does not tell
    /// which.
    TenantNotGranted, 403, 7, "tenant_not_granted", NONE, "no such tenant, or no access to it: check X-Scope-OrgID and your groups";

    // 404, 405: not an endpoint of the table, or not a resource of the project.
    /// The path is an endpoint, but it does not take this method.
    MethodNotAllowed(methods: Methods), 405, 12, "method_not_allowed", NONE, "method not allowed: use {methods}";
    /// The project has no such resource.
    ResourceNotFound, 404, 12, "resource_not_found", NONE, "the project has no such resource";
    /// No server has this path. What the tool means by it is found at another one.
    RouteMoved(path: &'static str), 404, 12, "route_moved", NONE, "there is no such path: rules are written to {path} (mimirtool: without --use-legacy-routes) and read below /prometheus/api/v1 too";
    /// The path is not in the endpoint table.
    RouteNotListed, 404, 12, "route_not_listed", NONE, "not found";

    // 408, 413, 415: the body cannot be read, and so cannot be scoped.
    /// The body did not end within 30 seconds.
    BodyTimeout, 408, 14, "body_timeout", NONE, "the body did not end in time: 30 seconds";
    /// The body is longer than the 256 KiB that are read.
    BodyTooLarge, 413, 3, "body_too_large", NONE, "the body is too large: at most 256 KiB of parameters";
    /// The body is not a plain form, or it has a content encoding.
    ContentTypeNotSupported, 415, 3, "content_type_not_supported", NONE, "send parameters as application/x-www-form-urlencoded, without a Content-Encoding";

    // 502, 503: there may be nothing wrong with the request; the client should try again.
    /// The backend is switched off or not configured.
    BackendNotConfigured, 503, 14, "backend_not_configured", NONE, "this backend is not configured here";
    /// Envoy could not reach the backend.
    BackendUnavailable, 502, 14, "backend_unavailable", NONE, "the backend cannot be reached: try again";
    /// The directory of projects could not be asked, or gave no usable answer.
    DirectoryUnavailable, 503, 14, "directory_unavailable", NONE, "who may read the project cannot be told right now: try again";
    /// The gate has no usable configuration, or an internal failure.
    GateUnavailable, 503, 14, "gate_unavailable", NONE, "the gate is not ready: try again";
    /// The token's key is not known yet, and no document requested since the token first
    /// arrived has shown that it does not exist.
    KeyPending, 503, 14, "key_pending", NONE, "the token's signing key is not known yet: the provider's keys are being fetched again, try again";
    /// The provider's keys could not be fetched, or not in time.
    KeysUnavailable, 503, 14, "keys_unavailable", NONE, "the identity provider's keys are not available right now: try again";
    /// The organizations that come from outside are not known, so the gate cannot say that
    /// somebody lacks a grant.
    OrganizationsUnavailable, 503, 14, "organizations_unavailable", NONE, "who may use which tenant cannot be told completely right now: try again";
    /// A second reading of a scoped query did not confirm its scope, which is a fault of the
    /// gate.
    ScopeUnsound, 503, 14, "scope_unsound", NONE, "the query could not be scoped: this is a fault of the gate";
    /// Too many requests are already waiting for keys, for a directory or for their own forms.
    WaitingRoomFull, 503, 14, "waiting_room_full", NONE, "too many requests are waiting: try again";
}

impl Denial {
    /// The stable code.
    #[must_use]
    pub const fn code(self) -> &'static str {
        self.row().code
    }

    /// The HTTP status.
    #[must_use]
    pub const fn status(self) -> u16 {
        self.row().status
    }

    /// The gRPC status (google.rpc.Code).
    #[must_use]
    pub const fn grpc_status(self) -> i32 {
        self.row().grpc_status
    }

    /// The `WWW-Authenticate` challenge, where RFC 9110 §11.6.1 or RFC 6750 §3 wants one.
    #[must_use]
    pub const fn challenge(self) -> Option<Challenge> {
        self.row().challenge
    }

    /// Whether the client should try the same request again later.
    #[must_use]
    pub const fn is_retryable(self) -> bool {
        self.status() >= 500
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn descriptions_stay_inside_rfc_6750s_alphabet() {
        let allowed = |byte| matches!(byte, 0x20..=0x21 | 0x23..=0x5b | 0x5d..=0x7e);
        for row in ROWS {
            if let Some(Challenge::InvalidToken(text)) = row.challenge {
                assert!(text.bytes().all(allowed), "{}", row.code);
            }
        }
    }

    #[test]
    fn every_401_carries_a_challenge_and_no_5xx_does() {
        for row in ROWS {
            match row.status {
                401 => assert!(row.challenge.is_some(), "{}", row.code),
                400 => assert!(matches!(row.challenge, NONE | REQUEST), "{}", row.code),
                _ => assert_eq!(row.challenge, NONE, "{}", row.code),
            }
        }
    }

    /// Clients of gRPC get the same kind of verdict as those of HTTP.
    #[test]
    fn both_statuses_say_the_same() {
        for row in ROWS {
            let grpc = match row.status {
                400 | 413 | 415 => 3,
                401 => 16,
                403 => 7,
                404 | 405 => 12,
                408 | 502 | 503 => 14,
                other => panic!("{}: {other}", row.code),
            };
            assert_eq!(row.grpc_status, grpc, "{}", row.code);
        }
    }

    /// A code that differs from the name of its variant would be hard to find.
    #[test]
    fn codes_are_the_names_and_unique() {
        let codes: BTreeSet<&str> = ROWS.iter().map(|row| row.code).collect();
        assert_eq!(codes.len(), ROWS.len());
        for row in ROWS {
            let Some(denial) = row.denial else { continue };
            let mut snake = String::new();
            for letter in format!("{denial:?}").chars() {
                if letter.is_ascii_uppercase() && !snake.is_empty() {
                    snake.push('_');
                }
                snake.push(letter.to_ascii_lowercase());
            }
            assert_eq!(row.code, snake);
            assert_eq!(denial.code(), row.code);
        }
    }

    #[test]
    fn details_stand_in_the_message() {
        let denial = Denial::PermissionMissing(Permission::RulesWrite);
        assert_eq!(
            denial.message(),
            "this needs the permission 'rules-write' on the tenant, which you do not hold (nobody does on a tenant without the type 'alerting')"
        );
        assert_eq!(Denial::RouteNotListed.message(), "not found");
    }
}
