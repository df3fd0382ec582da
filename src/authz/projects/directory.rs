//! Who may read which project: a list in the configuration, or a service.

use std::collections::{HashMap, HashSet};

use super::resource::Resource;
use super::template::Template;
use crate::words::denial::Denial;
use crate::words::hash::QuickHash;
use crate::words::identity::{GroupIndex, Principal};

/// What says who may read which project.
#[derive(Debug)]
pub enum Directory {
    /// A service that is asked for each caller and resource.
    Http(Service),
    /// The list in the configuration, by the project's ID.
    Inline(HashMap<Box<str>, Project, QuickHash>),
}

/// A project of an inline directory.
#[derive(Debug, Default)]
pub struct Project {
    /// The IDs of its resources.
    pub resources: HashSet<Box<str>, QuickHash>,
    /// Groups whose members may read all of its resources, in order.
    pub readers: Vec<GroupIndex>,
}

impl Project {
    fn is_read_by(&self, principal: &Principal) -> bool {
        let (groups, readers) = (&*principal.groups, &*self.readers);
        // Goes through whichever are fewer and looks them up among the others.
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

/// A directory that is asked by HTTP.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Service {
    /// The name of Envoy's cluster that reaches it.
    pub cluster: String,
    /// The `:authority` of a request to it.
    pub authority: String,
    /// The path of a request to it, to be filled with project and resource.
    pub path: Template,
    /// The longest time that it may take to answer, in milliseconds (100 to 30,000).
    pub timeout: u64,
    /// How long an answer is remembered, in milliseconds (0 to 600,000).
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
