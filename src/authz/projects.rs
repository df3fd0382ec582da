//! The projects API: whose resource, who may read it, in which tenant.
//!
//! `GET /api/v1/projects/{project}/resources/{resource}/logs` and
//! `…/metrics/query_range` answer for one resource of one project. The tenant is the
//! configured template filled with the project, the scope is the configured label with
//! the resource: nothing of it comes from the caller's headers or query. Who may read a
//! project is said by a directory: a list in the configuration, or a service that is
//! asked with the caller's own token.

use std::collections::{HashMap, HashSet};

use crate::scoping::scope::{LabelName, LabelValue, Scope};
use crate::words::denial::Denial;
use crate::words::hash::QuickHash;
use crate::words::identity::{GroupIndex, Principal};
use crate::words::tenant::TenantId;
use crate::words::time::Monotonic;

/// Longest ID of a project or resource, in bytes.
const MAX_ID: usize = 128;

/// Most answers of a directory that are remembered, per worker.
const MAX_ANSWERS: usize = 4_096;

/// Most bytes of them, tokens included.
const MAX_ANSWER_BYTES: usize = 8_388_608;

/// How long a directory that failed is not asked again, in milliseconds; never longer
/// than its answers are remembered.
const BACK_OFF: u64 = 1_000;

/// The section `projects` of the configuration.
#[derive(Debug)]
pub struct Projects {
    /// The tenant of a project.
    pub tenant: Template,
    /// The label that tells resources apart.
    pub resource_label: LabelName,
    /// Who may read which project.
    pub directory: Directory,
}

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

/// A text with `{project}` and `{resource}` in it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Template(String);

impl Template {
    /// Checks a template.
    ///
    /// # Errors
    /// The rule that it breaks: it must name the project, and only what is known.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let left = text.replace("{project}", "").replace("{resource}", "");
        if left.contains(['{', '}']) {
            return Err("only {project} and {resource} can be filled in");
        }
        if !text.contains("{project}") {
            return Err("must hold {project}: else all projects would be one");
        }
        Ok(Self(text.to_owned()))
    }

    /// The text for a resource.
    #[must_use]
    pub fn fill(&self, resource: Resource<'_>) -> String {
        self.0
            .replace("{project}", resource.project)
            .replace("{resource}", resource.id)
    }

    /// Whether it depends on the resource.
    #[must_use]
    pub fn names_resource(&self) -> bool {
        self.0.contains("{resource}")
    }
}

/// A resource of a project, as its path names it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Resource<'a> {
    project: &'a str,
    id: &'a str,
}

impl<'a> Resource<'a> {
    /// From the path of the projects API; `None` for IDs that cannot exist.
    #[must_use]
    pub fn of_path(path: &'a [u8]) -> Option<Self> {
        let mut segments = path.split(|byte| *byte == b'/').skip(4);
        let project = parse_id(segments.next()?)?;
        let id = parse_id(segments.nth(1)?)?;
        Some(Self { project, id })
    }

    /// Its project.
    #[must_use]
    pub const fn project(&self) -> &'a str {
        self.project
    }

    /// Its ID.
    #[must_use]
    pub const fn id(&self) -> &'a str {
        self.id
    }
}

/// `[A-Za-z0-9][A-Za-z0-9._-]{0,127}`: nothing that a path, a header or a query would
/// have to escape.
fn parse_id(segment: &[u8]) -> Option<&str> {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    let first = segment.first().is_some_and(u8::is_ascii_alphanumeric);
    let fits = first && segment.len() <= MAX_ID && segment.iter().all(plain);
    std::str::from_utf8(segment).ok().filter(|_| fits)
}

/// Whether it is an ID of a project or resource.
#[must_use]
pub fn is_id(text: &str) -> bool {
    parse_id(text.as_bytes()).is_some()
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
        let value = LabelValue::parse(resource.id).map_err(|_| Denial::ResourceNotFound)?;
        Ok(Scope::single(self.resource_label.clone(), value))
    }
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
        .get(resource.project)
        .filter(|project| principal.groups.iter().any(|g| project.readers.contains(g)));
    let Some(project) = granted else {
        return Err(Denial::ProjectNotGranted);
    };
    if project.resources.contains(resource.id) {
        Ok(())
    } else {
        Err(Denial::ResourceNotFound)
    }
}

/// What a directory said, or that it said nothing of use.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Answer {
    /// 200
    Allowed,
    /// 403
    Forbidden,
    /// 404
    NotFound,
    /// Anything else, or nothing.
    Unavailable,
}

impl Answer {
    /// From the status of its response.
    #[must_use]
    pub const fn of_status(status: Option<u16>) -> Self {
        match status {
            Some(200) => Self::Allowed,
            Some(403) => Self::Forbidden,
            Some(404) => Self::NotFound,
            _ => Self::Unavailable,
        }
    }

    /// As a verdict.
    ///
    /// # Errors
    /// The denial that says the same.
    pub const fn verdict(self) -> Result<(), Denial> {
        match self {
            Self::Allowed => Ok(()),
            Self::Forbidden => Err(Denial::ProjectNotGranted),
            Self::NotFound => Err(Denial::ResourceNotFound),
            Self::Unavailable => Err(Denial::DirectoryUnavailable),
        }
    }
}

/// What a question to a directory depends on: the exact bytes of the token, project and
/// resource. Never shown: it holds a credential.
#[derive(Clone, Eq, Hash, PartialEq)]
pub struct Question(Box<[u8]>);

impl Question {
    /// Of a caller with that token. Neither a token nor an ID holds a NUL.
    #[must_use]
    pub fn new(token: &[u8], resource: Resource<'_>) -> Self {
        let parts = [token, resource.project.as_bytes(), resource.id.as_bytes()];
        Self(parts.join(&0).into())
    }
}

impl std::fmt::Debug for Question {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Question")
    }
}

/// Answers of a directory, for as long as they may be remembered.
#[derive(Debug, Default)]
pub struct Answers {
    entries: HashMap<Question, (Answer, Monotonic)>,
    bytes: usize,
}

impl Answers {
    /// A remembered answer.
    #[must_use]
    pub fn get(&self, question: &Question, now: Monotonic) -> Option<Answer> {
        let (answer, until) = self.entries.get(question)?;
        // At the very instant of its end it still answers those that waited for it.
        (now <= *until).then_some(*answer)
    }

    /// Remembers an answer for `cache_ttl` milliseconds, a failure for a second at most.
    pub fn insert(&mut self, question: Question, answer: Answer, now: Monotonic, cache_ttl: u64) {
        let time = match answer {
            Answer::Unavailable => cache_ttl.min(BACK_OFF),
            _ => cache_ttl,
        };
        let size = question.0.len();
        if self.entries.len() >= MAX_ANSWERS || self.bytes.saturating_add(size) > MAX_ANSWER_BYTES {
            self.entries.retain(|_, (_, until)| now <= *until);
            self.bytes = self.entries.keys().map(|key| key.0.len()).sum();
        }
        if self.entries.len() >= MAX_ANSWERS || self.bytes.saturating_add(size) > MAX_ANSWER_BYTES {
            self.entries.clear();
            self.bytes = 0;
        }
        if self
            .entries
            .insert(question, (answer, now.after(time)))
            .is_none()
        {
            self.bytes = self.bytes.saturating_add(size);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resource(path: &str) -> Option<(&str, &str)> {
        Resource::of_path(path.as_bytes()).map(|r| (r.project, r.id))
    }

    #[test]
    fn ids_are_plain() {
        let path = |project: &str, id: &str| {
            format!("/api/v1/projects/{project}/resources/{id}/metrics/query_range")
        };
        assert_eq!(
            resource(&path("my-project", "r_1.a")),
            Some(("my-project", "r_1.a"))
        );
        let long = "a".repeat(128);
        assert!(resource(&path(&long, "0")).is_some());
        for bad in [
            "",
            "-a",
            ".a",
            "_a",
            "a%20",
            "a b",
            "a:b",
            "ä",
            "a|b",
            &"a".repeat(129),
        ] {
            assert_eq!(resource(&path(bad, "r")), None, "{bad}");
            assert_eq!(resource(&path("p", bad)), None, "{bad}");
        }
    }

    #[test]
    fn templates_name_the_project() {
        let filled = |text: &str| {
            let path = b"/api/v1/projects/p/resources/r/logs";
            Template::parse(text).map(|t| t.fill(Resource::of_path(path).unwrap()))
        };
        assert_eq!(filled("{project}").as_deref(), Ok("p"));
        assert_eq!(filled("org_{project}").as_deref(), Ok("org_p"));
        assert_eq!(
            filled("/p/{project}/r/{resource}").as_deref(),
            Ok("/p/p/r/r")
        );
        for bad in [
            "",
            "x",
            "{resource}",
            "{project",
            "{project}{x}",
            "{project}}",
        ] {
            assert!(filled(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn answers_are_remembered_for_their_time_and_failures_for_less() {
        let question = |id: &str| {
            let path = format!("/api/v1/projects/p/resources/{id}/logs");
            Question::new(b"token", Resource::of_path(path.as_bytes()).unwrap())
        };
        let at = Monotonic::from_millis;
        let mut answers = Answers::default();
        answers.insert(question("a"), Answer::Allowed, at(0), 30_000);
        answers.insert(question("b"), Answer::Unavailable, at(0), 30_000);
        answers.insert(question("c"), Answer::NotFound, at(0), 0);
        assert_eq!(
            answers.get(&question("a"), at(30_000)),
            Some(Answer::Allowed)
        );
        assert_eq!(answers.get(&question("a"), at(30_001)), None);
        assert_eq!(
            answers.get(&question("b"), at(1_000)),
            Some(Answer::Unavailable)
        );
        assert_eq!(answers.get(&question("b"), at(1_001)), None);
        assert_eq!(answers.get(&question("c"), at(0)), Some(Answer::NotFound));
        assert_eq!(answers.get(&question("c"), at(1)), None);
        let path = b"/api/v1/projects/p/resources/a/logs";
        let other = Question::new(b"other", Resource::of_path(path).unwrap());
        assert_eq!(answers.get(&other, at(0)), None);
    }

    #[test]
    fn answers_do_not_pile_up() {
        let mut answers = Answers::default();
        for number in 0..20_000 {
            let path = format!("/api/v1/projects/p/resources/r{number}/logs");
            let resource = Resource::of_path(path.as_bytes()).unwrap();
            let question = Question::new(&[b'x'; 1_000], resource);
            answers.insert(question, Answer::Allowed, Monotonic::from_millis(0), 1_000);
            assert!(answers.entries.len() <= MAX_ANSWERS);
            assert!(answers.bytes <= MAX_ANSWER_BYTES);
        }
    }

    #[test]
    fn only_200_403_and_404_are_answers() {
        for status in [
            None,
            Some(0),
            Some(201),
            Some(204),
            Some(302),
            Some(401),
            Some(500),
        ] {
            assert_eq!(Answer::of_status(status), Answer::Unavailable, "{status:?}");
        }
    }
}
