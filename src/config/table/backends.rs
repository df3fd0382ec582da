//! The keys of `backends`.

use super::{Flag, Key, MAX_ELEMENTS, Map, Object, Text, Word};
use crate::scoping::scope::MAX_NAME;

section! {
    /// Which backends there are, and their versions. The environment variables
    /// `SCOPEGATE_LOKI_ENABLED`, `SCOPEGATE_MIMIR_ENABLED` and `SCOPEGATE_TEMPO_ENABLED` of the
    /// module override `enabled`.
    section;

    /// Logs.
    LOKI: Object = "loki", Object(&loki::TABLE);

    /// Metrics, rules and alerts.
    MIMIR: Object = "mimir", Object(&mimir::TABLE);

    /// Traces.
    TEMPO: Object = "tempo", Object(&tempo::TABLE);
}

/// The keys that every backend has.
#[derive(Clone, Copy, Debug)]
pub struct Common {
    /// The section of the backend.
    pub section: Key<Object>,
    /// Whether the backend is enabled.
    pub enabled: Key<Flag>,
    /// The version of the backend.
    pub version: Key<Text>,
}

/// The keys that every backend has, in the order of
/// [`Backend::ALL`](crate::authz::endpoint::Backend::ALL).
pub const ALL: [Common; 3] = [
    Common {
        section: LOKI,
        enabled: loki::ENABLED,
        version: loki::VERSION,
    },
    Common {
        section: MIMIR,
        enabled: mimir::ENABLED,
        version: mimir::VERSION,
    },
    Common {
        section: TEMPO,
        enabled: tempo::ENABLED,
        version: tempo::VERSION,
    },
];

/// A version that consists of two or three numbers.
const VERSION: Text = Text::of("version").like(r"^[0-9]+\.[0-9]+(\.[0-9]+)?$");

/// The keys of `backends.loki`.
pub mod loki {
    use super::{Flag, Text};

    section! {
        /// Loki.
        section;

        /// Whether the backend is there. A section without this key says that it is.
        ENABLED: Flag = "enabled", Flag { default: true };

        /// Its version, such as `"3.7"` or `"3.7.8"`, in quotes. [Scoped
        /// callers](scoped-queries.md) are refused endpoints that an older server would not
        /// limit. Without this key the server is assumed to be new enough.
        VERSION: Text = "version", super::VERSION;

        /// Whether `/api/prom/…` is exposed as well.
        LEGACY_API: Flag = "legacy_api", Flag { default: false };
    }
}

/// The keys of `backends.mimir`.
pub mod mimir {
    use super::{Flag, Text};

    section! {
        /// Mimir.
        section;

        /// Whether the backend is there. A section without this key says that it is.
        ENABLED: Flag = "enabled", Flag { default: true };

        /// Its version, such as `"3.0"` or `"3.0.1"`, in quotes. [Scoped
        /// callers](scoped-queries.md) are refused endpoints that an older server would not
        /// limit. Without this key the server is assumed to be new enough.
        VERSION: Text = "version", super::VERSION;
    }
}

/// The keys of `backends.tempo`.
pub mod tempo {
    use super::{Flag, MAX_ELEMENTS, MAX_NAME, Map, Text, Word};

    section! {
        /// Tempo.
        section;

        /// Whether the backend is there. A section without this key says that it is.
        ENABLED: Flag = "enabled", Flag { default: true };

        /// Its version, such as `"2.10"` or `"2.10.1"`, in quotes. [Scoped
        /// callers](scoped-queries.md) are refused endpoints that an older server would not
        /// limit. Without this key the server is assumed to be new enough.
        VERSION: Text = "version", super::VERSION;

        /// With `deny`, scoped callers may not search for traces, because the answer reveals
        /// something about [whole traces](scoped-queries.md#the-labels-must-be-true).
        SCOPED_SEARCH: Word<Search> = "scoped_search", Word {
            words: &[("allow", Search::Allowed), ("deny", Search::Denied)],
            default: Search::Allowed,
        };

        /// The resource attributes in traces that correspond to scoped labels, such as
        /// `k8s.namespace.name`, where they have other names than the labels.
        ATTRIBUTES: Map<Text> = "attributes", Map {
            name: Text::of("label").up_to(MAX_NAME).like("^(?!__)[A-Za-z_][A-Za-z0-9_]*$"),
            of: Text::of("attribute").up_to(MAX_NAME).like("^[A-Za-z_][A-Za-z0-9_.]*$"),
            most: MAX_ELEMENTS,
            usual: Vec::new,
            or_null: false,
        };
    }

    /// Whether scoped callers may search.
    #[derive(Clone, Copy, Debug, Eq, PartialEq)]
    pub enum Search {
        /// They may.
        Allowed,
        /// They may not.
        Denied,
    }
}
