//! The question that a directory is asked.

use std::fmt;
use std::hash::BuildHasher;

use super::resource::Resource;
use crate::words::hash::QuickHash;

/// Everything that a directory's answer depends on: who asks, and for what.
///
/// It holds a credential, so neither its `Debug` form nor anything else shows the token.
/// [`Question::token`] is meant for the request to the directory alone.
#[derive(Clone, Eq, Hash, PartialEq)]
pub struct Question {
    token: Box<[u8]>,
    project: Box<str>,
    resource: Box<str>,
}

impl Question {
    /// The question whether the caller with that token may read the resource.
    #[must_use]
    pub fn new(token: &[u8], resource: Resource<'_>) -> Self {
        Self {
            token: token.into(),
            project: resource.project().into(),
            resource: resource.id().into(),
        }
    }

    /// The caller's token, exactly as it was sent.
    #[must_use]
    pub const fn token(&self) -> &[u8] {
        &self.token
    }

    /// The resource that is asked about, with its project.
    #[must_use]
    pub const fn resource(&self) -> Resource<'_> {
        Resource::known(&self.project, &self.resource)
    }

    /// A hash of the question: equal for equal questions, and rarely so for others.
    #[must_use]
    pub fn mark(&self) -> u64 {
        QuickHash::default().hash_one(self)
    }

    /// How much memory the parts take, in bytes.
    #[must_use]
    pub const fn size(&self) -> usize {
        self.token
            .len()
            .saturating_add(self.project.len())
            .saturating_add(self.resource.len())
    }
}

impl fmt::Debug for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Question")
            .field("project", &self.project)
            .field("resource", &self.resource)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(token: &[u8], path: &str) -> Question {
        Question::new(token, Resource::of_path(path.as_bytes()).unwrap())
    }

    #[test]
    fn every_part_makes_a_difference_and_can_be_had() {
        let question = ask(b"t", "/api/v1/projects/p/resources/r/logs");
        assert_eq!(question.token(), b"t");
        assert_eq!(question.resource().project(), "p");
        assert_eq!(question.resource().id(), "r");
        for other in [
            ask(b"u", "/api/v1/projects/p/resources/r/logs"),
            ask(b"t", "/api/v1/projects/q/resources/r/logs"),
            ask(b"t", "/api/v1/projects/p/resources/s/logs"),
        ] {
            assert_ne!(question, other);
        }
        let metrics = ask(b"t", "/api/v1/projects/p/resources/r/metrics/query_range");
        assert_eq!(question, metrics);
    }

    #[test]
    fn the_token_is_never_shown() {
        let question = ask(b"secret", "/api/v1/projects/p/resources/r/logs");
        let shown = format!("{question:?} {question:#?}");
        assert!(!shown.contains("secret"), "{shown}");
        assert!(!shown.contains("115"), "{shown}");
    }
}
