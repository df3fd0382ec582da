//! Who may read which project: a list in the configuration, or a service.

use std::collections::{HashMap, HashSet};

use super::resource::Resource;
use super::template::Template;
use crate::words::denial::Denial;
use crate::words::hash::QuickHash;
use crate::words::identity::{GroupIndex, Principal};

/// Where the answer comes from.
#[derive(Debug)]
pub enum Directory {
    /// A service.
    Http(Service),
    /// The configuration: by project.
    Inline(HashMap<Box<str>, Project, QuickHash>),
}

/// A project of an inline directory.
#[derive(Debug, Default)]
pub struct Project {
    /// Its resources.
    pub resources: HashSet<Box<str>, QuickHash>,
    /// Groups that may read it.
    pub readers: Vec<GroupIndex>,
}

/// A directory that is asked by HTTP.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Service {
    /// Envoy's cluster that reaches it.
    pub cluster: String,
    /// Its `:authority`.
    pub authority: String,
    /// Its path, to be filled with project and resource.
    pub path: Template,
    /// Longest time to answer, in milliseconds.
    pub timeout: u64,
    /// How long an answer is remembered, in milliseconds.
    pub cache_ttl: u64,
}

/// Whether the principal may read the resource by an inline directory.
///
/// # Errors
/// [`Denial::ProjectNotGranted`], which does not tell whether there is such a project,
/// and [`Denial::ResourceNotFound`] for those who may read the project.
pub fn check_inline(
    projects: &HashMap<Box<str>, Project, QuickHash>,
    principal: &Principal,
    resource: Resource<'_>,
) -> Result<(), Denial> {
    let granted = projects
        .get(resource.project())
        .filter(|project| principal.groups.iter().any(|g| project.readers.contains(g)));
    let Some(project) = granted else {
        return Err(Denial::ProjectNotGranted);
    };
    if project.resources.contains(resource.id()) {
        Ok(())
    } else {
        Err(Denial::ResourceNotFound)
    }
}
