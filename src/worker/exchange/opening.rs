//! The request that opened a stream or began a form, so that its grant can be examined again.

use std::sync::Arc;

use super::desk::{Case, Desk};
use crate::gate::{Attempt, DecisionFacts, Outcome};
use crate::scoping::scope::Scope;
use crate::words::denial::Denial;
use crate::words::request::Head;
use crate::words::tenant::TenantSet;
use crate::words::time::Time;
use crate::worker::headers::HeaderBlock;
use crate::worker::succession::Entrance;

/// The head of a request that is under way, and what it was granted.
#[derive(Debug)]
pub struct Opening {
    headers: HeaderBlock,
    end: bool,
    scope: Option<Arc<Scope>>,
    tenants: Box<[u8]>,
    entrance: Option<Entrance>,
}

/// What a configuration says of a request that another one has let in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Standing {
    /// It grants what the request is given.
    Granted,
    /// It would refuse the request.
    Withdrawn(Denial),
    /// It cannot say yet.
    Unknown,
}

impl Opening {
    /// Keeps a request that is let through.
    #[must_use]
    pub(super) fn of(case: &Case<'_>, facts: &DecisionFacts<'_>) -> Self {
        let tenants = facts.tenants.as_ref();
        Self {
            headers: case.headers.clone(),
            end: case.end,
            scope: facts.scope.clone(),
            tenants: tenants.map_or_else(Box::default, |tenants| tenants.canonical().into()),
            entrance: Entrance::ask(case.entrance),
        }
    }

    /// Keeps a request whose form is read.
    #[must_use]
    pub(super) fn of_form(
        headers: HeaderBlock,
        scope: Option<Arc<Scope>>,
        tenants: Option<Box<[u8]>>,
    ) -> Self {
        Self {
            headers,
            end: false,
            scope,
            tenants: tenants.unwrap_or_default(),
            entrance: None,
        }
    }

    /// Where the request came in, if the host has said it.
    #[must_use]
    pub const fn entrance(&self) -> Option<&Entrance> {
        self.entrance.as_ref()
    }

    /// The reason why the stream must end if the organizations now in force no longer grant it:
    /// the denial that the same request would get now. What has nothing to do with grants does
    /// not end a stream here: the expiry of the token is watched elsewhere, and keys that are
    /// missing for a moment prove nothing.
    #[must_use]
    pub fn refusal(&self, desk: &mut Desk<'_>) -> Option<Denial> {
        match self.standing(desk) {
            Standing::Withdrawn(denial) if is_about_grants(denial) => Some(denial),
            _ => None,
        }
    }

    /// What a newer configuration, that of the desk, says of the stream. It may lack more than
    /// grants: a provider, an audience, an endpoint. The expiry of the token is watched
    /// elsewhere, and a fault that the client is to wait out proves nothing.
    #[must_use]
    pub fn succession(&self, desk: &mut Desk<'_>) -> Standing {
        match self.standing(desk) {
            Standing::Withdrawn(denial) if is_about_grants(denial) => Standing::Withdrawn(denial),
            Standing::Withdrawn(denial)
                if denial.is_retryable() || denial == Denial::TokenExpired =>
            {
                Standing::Unknown
            }
            standing => standing,
        }
    }

    fn standing(&self, desk: &mut Desk<'_>) -> Standing {
        let mut head = Head::read(self.headers.iter(), desk.root.own_headers());
        head.has_body = !self.end;
        let attempt = Attempt {
            arrived: desk.now.mono,
            time: Time::Exact(desk.now),
        };
        let evaluation = desk.decide(&head, attempt);
        match evaluation.outcome {
            Outcome::Forward(_) => {
                let DecisionFacts { scope, tenants, .. } = &evaluation.facts;
                if self.is_within(scope.as_ref(), tenants.as_ref()) {
                    Standing::Granted
                } else {
                    Standing::Withdrawn(Denial::TenantNotGranted)
                }
            }
            Outcome::Refuse(denial) => Standing::Withdrawn(denial),
            Outcome::Answer(_)
            | Outcome::Ask(_)
            | Outcome::AwaitKeys { .. }
            | Outcome::NeedsClock => Standing::Unknown,
        }
    }

    /// Whether the stream shows no more than is granted now. Scopes are compared for equality
    /// only, so a client has to open a stream again if its scope has changed.
    fn is_within(&self, scope: Option<&Arc<Scope>>, tenants: Option<&TenantSet<'_>>) -> bool {
        let same = scope.is_none_or(|now| self.scope.as_ref() == Some(now));
        let mut asked = self.tenants.split(|byte| *byte == b'|');
        let held = |tenant: &[u8]| {
            tenants.is_some_and(|tenants| tenants.iter().any(|held| held == tenant))
        };
        same && (self.tenants.is_empty() || asked.all(held))
    }
}

const fn is_about_grants(denial: Denial) -> bool {
    matches!(
        denial,
        Denial::GroupsOverage
            | Denial::OrganizationsUnavailable
            | Denial::PermissionMissing(_)
            | Denial::ScopeAmbiguous
            | Denial::ScopeUnsupported(_)
            | Denial::TenantAmbiguous(_)
            | Denial::TenantNotGranted
            | Denial::TenantsOverLimit(_)
    )
}
