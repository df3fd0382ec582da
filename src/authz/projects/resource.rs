//! Resources of projects, and the form of the IDs that both have.

/// The longest ID of a project or resource, in bytes.
pub const MAX_ID: usize = 128;

/// A resource of a project, as its path names it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Resource<'a> {
    project: &'a str,
    id: &'a str,
}

impl<'a> Resource<'a> {
    /// Reads a path of the projects API without its query string. Returns `None` if it holds
    /// IDs that cannot exist.
    #[must_use]
    pub fn of_path(path: &'a [u8]) -> Option<Self> {
        let mut segments = path.split(|byte| *byte == b'/').skip(4);
        let project = parse_id(segments.next()?)?;
        let id = parse_id(segments.nth(1)?)?;
        Some(Self { project, id })
    }

    /// A resource whose IDs have already been checked.
    pub(super) const fn known(project: &'a str, id: &'a str) -> Self {
        Self { project, id }
    }

    /// The ID of the project.
    #[must_use]
    pub const fn project(&self) -> &'a str {
        self.project
    }

    /// The ID of the resource.
    #[must_use]
    pub const fn id(&self) -> &'a str {
        self.id
    }
}

/// Checks for `[A-Za-z0-9][A-Za-z0-9._-]{0,127}`, which never has to be escaped in a path, a
/// header or a query.
fn parse_id(segment: &[u8]) -> Option<&str> {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    let first = segment.first().is_some_and(u8::is_ascii_alphanumeric);
    let fits = first && segment.len() <= MAX_ID && segment.iter().all(plain);
    std::str::from_utf8(segment).ok().filter(|_| fits)
}

/// Whether a text can be the ID of a project or a resource: 1 to 128 letters, digits,
/// dots, underscores and hyphens, of which the first is a letter or a digit.
#[must_use]
pub fn is_id(text: &str) -> bool {
    parse_id(text.as_bytes()).is_some()
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
}
