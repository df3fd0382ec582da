//! The keys of `projects.directory`.

use super::{Duration, List, Object, Required, Text, Texts};
use crate::authz::projects::MAX_ID;

/// The maximum number of projects in an inline directory.
const MAX_PROJECTS: usize = 10_000;

/// The ID of a project or of a resource.
const ID: Text = Text::of("ID")
    .up_to(MAX_ID)
    .like("^[A-Za-z0-9][A-Za-z0-9._-]*$");

section! {
    /// Who may read which project.
    section where [Constraint::OneOf(&[INLINE.name, HTTP.name])];

    /// The projects, listed here.
    INLINE: List<Object> = "inline", List::of(Object(&project::TABLE)).up_to(MAX_PROJECTS);

    /// A service that is asked with the caller's token. It answers 200 if the caller may read
    /// the project, 403 if not, and 404 if the project has no such resource. After any other
    /// answer, the request is answered with 503.
    HTTP: Object = "http", Object(&http::TABLE);
}

/// The keys of `projects.directory.inline[]`.
pub mod project {
    use super::{ID, Required, Text, Texts};

    section! {
        /// A project, which may be listed once.
        section;

        /// Its ID.
        PROJECT: Required<Text> = "project", Required::always(ID, "the project's ID");

        /// The IDs of its resources, each listed once.
        RESOURCES: Required<Texts> = "resources", Required::always(
            Texts::of(ID).endless(),
            "the IDs of its resources",
        );

        /// The groups that may read it.
        READERS: Required<Texts> = "readers", Required::always(
            Texts::of(Text::of("group")),
            "the groups that may read it",
        );
    }
}

/// The keys of `projects.directory.http`.
pub mod http {
    use super::{Duration, Required, Text};

    section! {
        /// The service that knows who may read which project.
        section;

        /// Envoy's cluster that reaches the service.
        CLUSTER: Required<Text> = "cluster", Required::always(
            Text::of("cluster"),
            "Envoy's cluster that reaches the directory",
        );

        /// The `Host` of the service, with a port if needed.
        AUTHORITY: Required<Text> = "authority", Required::always(
            Text::of("host").like(r"^[A-Za-z0-9.:\[\]_-]+$"),
            "the directory's host",
        );

        /// The path that is requested, with `{project}` and `{resource}` in it.
        PATH: Required<Text> = "path", Required::always(
            Text::of("path").like(r"^(?=.*\{project\})(?=.*\{resource\})/[!-\[\]-~]*$"),
            "such as /api/v1/projects/{project}/resources/{resource}",
        );

        /// How long an answer may take; a request waits no longer than `limits.wait`.
        TIMEOUT: Duration = "timeout", Duration::new("100ms", "30s", "2s");

        /// How long an answer is remembered for the same token, project and resource.
        CACHE_TTL: Duration = "cache_ttl", Duration::new("0s", "10m", "30s");
    }
}
