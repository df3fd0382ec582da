//! The step at which a request stops.

use crate::words::denial::Denial;
use crate::words::own_answer::OwnAnswer;
use crate::words::verdict::Verdict;

/// The steps of a decision, in order.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Stage {
    Configuration,
    Endpoint,
    Credential,
    Token,
    Groups,
    Tenants,
    Grants,
    Scope,
    Backend,
}

impl Stage {
    pub(super) const ALL: [Self; 9] = [
        Self::Configuration,
        Self::Endpoint,
        Self::Credential,
        Self::Token,
        Self::Groups,
        Self::Tenants,
        Self::Grants,
        Self::Scope,
        Self::Backend,
    ];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Configuration => "configuration",
            Self::Endpoint => "endpoint",
            Self::Credential => "credential",
            Self::Token => "token",
            Self::Groups => "groups",
            Self::Tenants => "tenants",
            Self::Grants => "grants",
            Self::Scope => "scope",
            Self::Backend => "backend",
        }
    }

    /// The step at which a verdict is reached; `None` if the request passes all of them.
    pub(super) const fn of(verdict: Verdict) -> Option<Self> {
        match verdict {
            Verdict::Allowed => None,
            Verdict::Answered(OwnAnswer::Empty(_)) => Some(Self::Scope),
            Verdict::Answered(_) => Some(Self::Endpoint),
            Verdict::Denied(denial) => Some(of_denial(denial)),
        }
    }
}

const fn of_denial(denial: Denial) -> Stage {
    match denial {
        Denial::GateUnavailable => Stage::Configuration,
        Denial::ConnectionHeader
        | Denial::MethodNotAllowed(_)
        | Denial::PathEscapeRefused(_)
        | Denial::RequestMalformed
        | Denial::ResourceNotFound
        | Denial::RouteMoved(_)
        | Denial::RouteNotListed
        | Denial::UpgradeNotSupported => Stage::Endpoint,
        Denial::AuthorizationMalformed
        | Denial::CredentialMissing
        | Denial::CredentialRepeated
        | Denial::SchemeNotSupported
        | Denial::TokenInQuery => Stage::Credential,
        Denial::AlgorithmNotAllowed
        | Denial::AudienceMismatch
        | Denial::BoundToken
        | Denial::ClientNotAllowed
        | Denial::IssuedInFuture
        | Denial::IssuerUnknown
        | Denial::KeyAlgorithmMismatch
        | Denial::KeyPending
        | Denial::KeysUnavailable
        | Denial::LifetimeTooLong
        | Denial::SignatureInvalid
        | Denial::SubjectInvalid
        | Denial::TokenExpired
        | Denial::TokenHeaderRefused
        | Denial::TokenKindRefused
        | Denial::TokenMalformed
        | Denial::TokenNotYetValid
        | Denial::TokenTooLarge
        | Denial::TokenTypeRefused
        | Denial::UnknownKey
        | Denial::WaitingRoomFull => Stage::Token,
        Denial::GroupsOverLimit => Stage::Groups,
        Denial::TenantAmbiguous(_)
        | Denial::TenantMalformed(_)
        | Denial::TenantMissing
        | Denial::TenantNotSingle
        | Denial::TenantRepeated
        | Denial::TenantsOverLimit(_) => Stage::Tenants,
        Denial::DirectoryUnavailable
        | Denial::GroupsOverage
        | Denial::OrganizationsUnavailable
        | Denial::PermissionMissing(_)
        | Denial::ProjectNotGranted
        | Denial::ScopeAmbiguous
        | Denial::TenantNotGranted => Stage::Grants,
        Denial::BodyNotExpected
        | Denial::BodyTimeout
        | Denial::BodyTooLarge
        | Denial::ContentTypeNotSupported
        | Denial::ParameterRefused(_)
        | Denial::ParameterRepeated(_)
        | Denial::ParameterUnknown
        | Denial::ParametersMalformed(_)
        | Denial::QueryMissing
        | Denial::QueryRefused(..)
        | Denial::ScopeUnsound
        | Denial::ScopeUnsupported(_)
        | Denial::TrailersNotExpected => Stage::Scope,
        Denial::BackendNotConfigured | Denial::BackendUnavailable => Stage::Backend,
    }
}
