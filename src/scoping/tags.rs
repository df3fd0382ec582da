//! Which values of a tag Tempo limits to a filter.
//!
//! Tempo looks for the values of a tag in what the filter `q` selects only where it knows
//! on which level the tag stands. One without a level (`.name`), or on the level of a
//! parent, is looked for everywhere, whatever the filter says (Tempo 2.7 to 2.10). So
//! the list of what is known to be limited is closed.

/// Levels of attributes, with what stands between a level and a name.
const LEVELS: [&str; 5] = ["event.", "instrumentation.", "link.", "resource.", "span."];

/// What Tempo itself tells of spans and traces, by its names before and after 2.6.
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

/// Whether the values of this tag are limited to a filter. `tag` is as it is after
/// percent-decoding.
#[must_use]
pub fn are_filtered(tag: &[u8]) -> bool {
    // What else may be in a name has a meaning in the language, or needs quotes.
    let plain = |byte: &u8| {
        byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-' | b'/' | b':' | b'@')
    };
    let on_a_level = LEVELS.iter().any(|level| {
        let name = tag.strip_prefix(level.as_bytes());
        name.is_some_and(|name| !name.is_empty() && name.iter().all(plain))
    });
    on_a_level || INTRINSICS.iter().any(|known| known.as_bytes() == tag)
}

/// Whether the values of this tag are of traces as a whole, of which a part is in scope.
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
