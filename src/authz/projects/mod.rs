//! The projects API: which resource is read, who may read it, and in which tenant.
//!
//! `GET /api/v1/projects/{project}/resources/{resource}/logs` and `…/metrics/query_range`
//! answer for one resource of one project. The tenant is the configured template filled with
//! the project, and the scope is the configured label with the resource as its value. Neither
//! depends on the caller's headers or query. A directory says who may read a project. It is
//! either a list in the configuration, or a service that is asked with the caller's own token.

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

/// The projects API, as the section `projects` of the configuration defines it.
#[derive(Debug)]
pub struct Projects {
    /// The template for the tenant of a project.
    pub tenant: Template,
    /// The label that distinguishes resources.
    pub resource_label: LabelName,
    /// The source that says who may read which project.
    pub directory: Directory,
}

impl Projects {
    /// The tenant of a resource's project.
    ///
    /// # Errors
    /// [`Denial::ResourceNotFound`] if the name is one that the backends do not accept, or one
    /// that they reserve. No such project can exist.
    pub fn tenant(&self, resource: Resource<'_>) -> Result<TenantId, Denial> {
        TenantId::parse(&self.tenant.fill(resource))
            .ok()
            .filter(|tenant| !tenant.is_reserved())
            .ok_or(Denial::ResourceNotFound)
    }

    /// The part of that tenant's data that may be read.
    ///
    /// # Errors
    /// None in practice, because an ID is a valid label value.
    pub fn scope(&self, resource: Resource<'_>) -> Result<Scope, Denial> {
        let value = LabelValue::parse(resource.id()).map_err(|_| Denial::ResourceNotFound)?;
        Ok(Scope::single(self.resource_label.clone(), value))
    }
}
