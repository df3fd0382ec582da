//! The tags whose values Tempo limits to a filter.
//!
//! Tempo limits the values of a tag to what the filter `q` selects only if it knows the level
//! of the tag. For a tag without a level (`.name`), or on the level of a parent, it searches
//! everywhere, whatever the filter says (Tempo 2.7 to 2.10). The list of tags that are known to
//! be limited is therefore closed.

/// The levels of attributes, with the separator between a level and a name.
const LEVELS: [&str; 5] = ["event.", "instrumentation.", "link.", "resource.", "span."];

/// The intrinsics of spans and traces, under their names before and after Tempo 2.6.
const INTRINSICS: [&str; 20] = [
    "duration",
    "event:name",
    "event:timeSinceStart",
    "instrumentation:name",
    "instrumentation:version",
    "kind",
    "link:spanID",
    "link:traceID",
    "name",
    "rootName",
    "rootServiceName",
    "span:duration",
    "span:kind",
    "span:name",
    "span:status",
    "span:statusMessage",
    "status",
    "statusMessage",
    "trace:rootName",
    "trace:rootService",
];

/// Whether the values of this tag are limited to a filter. `tag` is already percent-decoded.
#[must_use]
pub fn are_filtered(tag: &[u8]) -> bool {
    // Other characters in a name have a meaning in the language, or need quotes.
    let plain = |byte: &u8| {
        byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-' | b'/' | b':' | b'@')
    };
    let on_a_level = LEVELS.iter().any(|level| {
        let name = tag.strip_prefix(level.as_bytes());
        name.is_some_and(|name| !name.is_empty() && name.iter().all(plain))
    });
    on_a_level || INTRINSICS.iter().any(|known| known.as_bytes() == tag)
}

/// Whether the values of this tag describe whole traces, of which only a part may be in scope.
#[must_use]
pub fn are_of_whole_traces(tag: &[u8]) -> bool {
    matches!(
        tag,
        b"rootName" | b"rootServiceName" | b"trace:rootName" | b"trace:rootService"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_on_a_level_and_those_of_tempo_are_limited() {
        for tag in [
            "resource.service.name",
            "span.http.status_code",
            "span.a/b",
            "event.exception.message",
            "link.x",
            "instrumentation.x",
            "instrumentation:name",
            "name",
            "status",
            "rootServiceName",
        ] {
            assert!(are_filtered(tag.as_bytes()), "{tag}");
        }
    }

    #[test]
    fn others_are_not() {
        for tag in [
            "",
            ".db.password",
            "db.password",
            "parent.db.password",
            "parent.resource.db.password",
            "resource.",
            "resource",
            "Resource.x",
            " resource.x",
            "resource.x ",
            "resource.a} || {.b",
            "resource.\"a b\"",
            "resource.a=1",
            "span.a&&.b",
            "nestedSetParent",
            "names",
            "resource.\u{e9}",
        ] {
            assert!(!are_filtered(tag.as_bytes()), "{tag}");
        }
    }
}
