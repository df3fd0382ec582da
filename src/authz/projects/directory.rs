//! Who may read which project: a list in the configuration, or a service.

use std::collections::{HashMap, HashSet};

use super::resource::Resource;
use super::template::Template;
use crate::words::denial::Denial;
use crate::words::hash::QuickHash;
use crate::words::identity::{GroupIndex, Principal};

/// The source that says who may read which project.
#[derive(Debug)]
pub enum Directory {
    /// A service that is asked about each caller and resource.
    Http(Service),
    /// The list in the configuration, by the ID of the project.
    Inline(HashMap<Box<str>, Project, QuickHash>),
}

/// A project of an inline directory.
#[derive(Debug, Default)]
pub struct Project {
    /// The IDs of its resources.
    pub resources: HashSet<Box<str>, QuickHash>,
    /// The groups whose members may read all of its resources, sorted.
    pub readers: Vec<GroupIndex>,
}

impl Project {
    fn is_read_by(&self, principal: &Principal) -> bool {
        let (groups, readers) = (&*principal.groups, &*self.readers);
        // Iterates over whichever list is shorter, and looks its elements up in the other.
        if groups.len() <= readers.len() {
            groups
                .iter()
                .any(|group| readers.binary_search(group).is_ok())
        } else {
            readers
                .iter()
                .any(|reader| groups.binary_search(reader).is_ok())
        }
    }
}

/// A directory that is asked over HTTP.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Service {
    /// The name of Envoy's cluster that reaches it.
    pub cluster: String,
    /// The `:authority` of a request to it.
    pub authority: String,
    /// The template for the path of a request to it, which names the project and the resource.
    pub path: Template,
    /// The longest time that it may take to answer, in milliseconds (100 to 30,000).
    pub timeout: u64,
    /// How long an answer is remembered, in milliseconds (0 to 600,000).
    pub cache_ttl: u64,
}

/// Checks in an inline directory that the principal may read the resource.
///
/// # Errors
/// [`Denial::ProjectNotGranted`], which does not reveal whether the project exists, or
/// [`Denial::ResourceNotFound`] for callers who may read the project.
pub fn check_inline(
    projects: &HashMap<Box<str>, Project, QuickHash>,
    principal: &Principal,
    resource: Resource<'_>,
) -> Result<(), Denial> {
    let granted = projects
        .get(resource.project())
        .filter(|project| project.is_read_by(principal));
    let Some(project) = granted else {
        return Err(Denial::ProjectNotGranted);
    };
    if project.resources.contains(resource.id()) {
        Ok(())
    } else {
        Err(Denial::ResourceNotFound)
    }
}
