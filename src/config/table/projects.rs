//! The keys of `projects`.

use super::{Object, Preset, Required, Text, directory};
use crate::scoping::scope::MAX_NAME;

section! {
    /// The projects API.
    section;

    /// The `X-Scope-OrgID` of a project: a template with `{project}`, such as `acme_{project}`.
    TENANT: Preset = "tenant", Preset {
        text: Text::of("template").like(r"^(?!.*\{resource\})(?=.*\{project\})[A-Za-z0-9!\-_.*'(){}]+$"),
        default: "{project}",
    };

    /// The label that distinguishes resources in logs and metrics. It must be set where the
    /// data is ingested.
    RESOURCE_LABEL: Preset = "resource_label", Preset {
        text: Text::of("label").up_to(MAX_NAME).like("^(?!__)[A-Za-z_][A-Za-z0-9_]*$"),
        default: "resource_id",
    };

    /// Who may read which project.
    DIRECTORY: Required<Object> = "directory", Required::always(
        Object(&directory::TABLE),
        "who may read a project",
    );
}
