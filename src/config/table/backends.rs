//! `backends`

use super::{Flag, Key, MAX_ELEMENTS, Map, Object, Text, Word};
use crate::scoping::scope::MAX_NAME;

section! {
    /// Which backends there are, and what they are said to be. The variables
    /// `SCOPEGATE_LOKI_ENABLED`, `SCOPEGATE_MIMIR_ENABLED` and `SCOPEGATE_TEMPO_ENABLED` of the
    /// module's environment override `enabled`.
    section;

    /// Logs.
    LOKI: Object = "loki", Object(&loki::TABLE);

    /// Metrics, rules and alerts.
    MIMIR: Object = "mimir", Object(&mimir::TABLE);

    /// Traces.
    TEMPO: Object = "tempo", Object(&tempo::TABLE);
}

/// What every backend has.
#[derive(Clone, Copy, Debug)]
pub struct Common {
    /// Its section.
    pub section: Key<Object>,
    /// Whether it is there.
    pub enabled: Key<Flag>,
    /// Its version.
    pub version: Key<Text>,
}

/// What every backend has, in the order of
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

/// A version: two or three numbers.
const VERSION: Text = Text::of("version").like(r"^[0-9]+\.[0-9]+(\.[0-9]+)?$");

/// `backends.loki`
pub mod loki {
    use super::{Flag, Text};

    section! {
        /// Loki.
        section;

        /// Whether it is there: a section without this key says so.
        ENABLED: Flag = "enabled", Flag { default: true };

        /// Its version, such as `"3.7"` or `"3.7.8"`, in quotes.
        /// [Scoped callers](scoped-queries.md) are refused what an older server would
        /// not limit; without this key it is taken for new enough.
        VERSION: Text = "version", super::VERSION;

        /// Also expose `/api/prom/…`.
        LEGACY_API: Flag = "legacy_api", Flag { default: false };
    }
}

/// `backends.mimir`
pub mod mimir {
    use super::{Flag, Text};

    section! {
        /// Mimir.
        section;

        /// Whether it is there: a section without this key says so.
        ENABLED: Flag = "enabled", Flag { default: true };

        /// Its version, such as `"3.0"` or `"3.0.1"`, in quotes.
        /// [Scoped callers](scoped-queries.md) are refused what an older server would
        /// not limit; without this key it is taken for new enough.
        VERSION: Text = "version", super::VERSION;
    }
}

/// `backends.tempo`
pub mod tempo {
    use super::{Flag, MAX_ELEMENTS, MAX_NAME, Map, Text, Word};

    section! {
        /// Tempo.
        section;

        /// Whether it is there: a section without this key says so.
        ENABLED: Flag = "enabled", Flag { default: true };

        /// Its version, such as `"2.10"` or `"2.10.1"`, in quotes.
        /// [Scoped callers](scoped-queries.md) are refused what an older server would
        /// not limit; without this key it is taken for new enough.
        VERSION: Text = "version", super::VERSION;

        /// `deny`: scoped callers may not search for traces, whose answer shows something of
        /// [whole traces](scoped-queries.md#the-labels-must-be-true).
        SCOPED_SEARCH: Word<Search> = "scoped_search", Word {
            words: &[("allow", Search::Allowed), ("deny", Search::Denied)],
            default: Search::Allowed,
        };

        /// The resource attribute that a scoped label is called in traces, such as
        /// `k8s.namespace.name`, where it is not the label's own name.
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
