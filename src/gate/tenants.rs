//! The tenants that a request is for.

use super::{Gate, Grants};
use crate::authn::token_cache::Session;
use crate::authz::endpoint::{Endpoint, Tenants};
use crate::words::denial::Denial;
use crate::words::request::{Head, Occurrence};
use crate::words::tenant::{TenantError, TenantSet};

impl Gate {
    /// The tenants that the request asks for. `None` for a probe that names none.
    pub(super) fn tenants<'a>(
        &mut self,
        head: &Head<'a>,
        endpoint: &Endpoint,
        session: &Session,
    ) -> Result<Option<TenantSet<'a>>, Denial> {
        let header = match head.org_id {
            Occurrence::Once(header) => header,
            Occurrence::Absent if endpoint.tenants == Tenants::Optional => {
                // The answer is about the server, so it is for callers who may use the server.
                return if self.config.policy.grants_anything(&session.principal) {
                    Ok(None)
                } else {
                    Err(Denial::TenantNotGranted)
                };
            }
            // A tenant in another spelling of the header counts as named.
            Occurrence::Absent if head.names_tenant_otherwise() => {
                return Err(Denial::TenantMissing);
            }
            Occurrence::Absent => return self.only_tenant(session).map(Some),
            Occurrence::Repeated => return Err(Denial::TenantRepeated),
        };
        let star_is_all = self.config.entrance.tenants.star_is_all;
        if star_is_all && header == b"*" {
            return self.all_tenants(endpoint, session).map(Some);
        }
        let limit = self.config.limits.tenants_per_request;
        let tenants = TenantSet::parse(header, limit).map_err(Denial::TenantMalformed)?;
        if star_is_all && tenants.iter().any(|tenant| tenant == b"*") {
            return Err(Denial::TenantMalformed(TenantError::StarBeside));
        }
        match endpoint.tenants {
            Tenants::One if tenants.asked() > 1 => Err(Denial::TenantNotSingle),
            Tenants::One | Tenants::Many | Tenants::Optional => Ok(Some(tenants)),
        }
    }

    /// The tenant of a caller who has only one, if the configuration allows not to name it.
    fn only_tenant<'a>(&mut self, session: &Session) -> Result<TenantSet<'a>, Denial> {
        let allowed = self.config.entrance.tenants.only_one_may_be_absent;
        if !allowed || !session.principal.listing.is_whole() {
            return Err(Denial::TenantMissing);
        }
        self.all_are_known()?;
        let policy = &self.config.policy;
        let held = policy.held(&session.principal, None, 1, &mut self.remembered);
        match (held.count, &held.names) {
            (0, _) => Err(Denial::TenantNotGranted),
            (1, Some(name)) => Ok(TenantSet::of(name)),
            (count, _) => Err(Denial::TenantAmbiguous(count)),
        }
    }

    /// Checks that all organizations are known, without which a caller's tenants cannot be
    /// listed.
    const fn all_are_known(&self) -> Result<(), Denial> {
        match self.grants {
            Grants::All => Ok(()),
            Grants::Awaited | Grants::Outdated => Err(Denial::OrganizationsUnavailable),
        }
    }

    /// All tenants on which the caller holds the permission that the endpoint requires.
    fn all_tenants<'a>(
        &mut self,
        endpoint: &Endpoint,
        session: &Session,
    ) -> Result<TenantSet<'a>, Denial> {
        if endpoint.tenants == Tenants::One {
            return Err(Denial::TenantNotSingle);
        }
        if session.principal.listing.overage {
            return Err(Denial::GroupsOverage);
        }
        self.all_are_known()?;
        let policy = &self.config.policy;
        let limit = self.config.limits.tenants_per_request;
        let wanted = Some(endpoint.permission);
        let held = policy.held(&session.principal, wanted, limit, &mut self.remembered);
        match &held.names {
            Some(names) => Ok(TenantSet::of(names)),
            None if held.count > 0 => Err(Denial::TenantsOverLimit(held.count)),
            None if policy.grants_anything(&session.principal) => {
                Err(Denial::PermissionMissing(endpoint.permission))
            }
            None => Err(Denial::TenantNotGranted),
        }
    }
}
