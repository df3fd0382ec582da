//! The projects API: whose resource, who may read it, in which tenant.
//!
//! `GET /api/v1/projects/{project}/resources/{resource}/logs` and
//! `…/metrics/query_range` answer for one resource of one project. The tenant is the
//! configured template filled with the project, the scope is the configured label with
//! the resource: nothing of it comes from the caller's headers or query. Who may read a
//! project is said by a directory: a list in the configuration, or a service that is
//! asked with the caller's own token.

mod answers;
mod directory;
mod question;
mod resource;
mod template;

use crate::scoping::scope::{LabelName, LabelValue, Scope};
use crate::words::denial::Denial;
use crate::words::tenant::TenantId;

pub use answers::{Answers, DirectoryAnswer};
pub use directory::{Directory, Project, Service, check_inline};
pub use question::Question;
pub use resource::{MAX_ID, Resource, is_id};
pub use template::Template;

/// The projects API as the section `projects` of the configuration sets it up.
#[derive(Debug)]
pub struct Projects {
    /// Makes the name of a project's tenant.
    pub tenant: Template,
    /// The label that tells resources apart.
    pub resource_label: LabelName,
    /// Who may read which project.
    pub directory: Directory,
}

impl Projects {
    /// The tenant of a resource's project.
    ///
    /// # Errors
    /// [`Denial::ResourceNotFound`] for what the backends take for no tenant, or for
    /// one of their own: no such project can exist.
    pub fn tenant(&self, resource: Resource<'_>) -> Result<TenantId, Denial> {
        TenantId::parse(&self.tenant.fill(resource))
            .ok()
            .filter(|tenant| !tenant.is_reserved())
            .ok_or(Denial::ResourceNotFound)
    }

    /// What may be seen of that tenant.
    ///
    /// # Errors
    /// None in practice: an ID is a sound label value.
    pub fn scope(&self, resource: Resource<'_>) -> Result<Scope, Denial> {
        let value = LabelValue::parse(resource.id()).map_err(|_| Denial::ResourceNotFound)?;
        Ok(Scope::single(self.resource_label.clone(), value))
    }
}
