//! Texts with a project's and a resource's ID in them.

use super::resource::Resource;

/// A text with placeholders `{project}` and `{resource}`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Template(String);

impl Template {
    /// Parses a template.
    ///
    /// # Errors
    /// The rule that it breaks: it must name the project, and must name nothing unknown.
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
            .replace("{project}", resource.project())
            .replace("{resource}", resource.id())
    }

    /// Whether the text depends on the resource.
    #[must_use]
    pub fn names_resource(&self) -> bool {
        self.0.contains("{resource}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
