//! The document of organizations from outside.

use super::{List, Number, Object, Required, organization};

/// Largest number that every JSON reader keeps exactly: 2⁵³ − 1.
const MAX_NUMBER: u64 = 9_007_199_254_740_991;

/// A number that grows.
const GROWING: Number = Number {
    least: 0,
    most: MAX_NUMBER,
};

section! {
    /// Organizations as they are served to gates.
    section;

    /// The form of this document, 1.
    VERSION: Required<Number> = "version", Required::always(
        Number { least: 1, most: 1 },
        "the form of this document, 1",
    );

    /// Grows where `revision` starts again.
    EPOCH: Required<Number> = "epoch", Required::always(
        GROWING,
        "a number that grows where revision starts again",
    );

    /// Grows with every change. A document of a lower pair of `epoch` and `revision` than was seen
    /// before is refused, unless its organizations are the same.
    REVISION: Required<Number> = "revision", Required::always(
        GROWING,
        "a number that grows with every change",
    );

    /// The organizations, as in a configuration.
    ORGANIZATIONS: Required<List<Object>> = "organizations", Required::always(
        List::of(Object(&organization::TABLE)).endless(),
        "the list, as in a configuration",
    );

    /// When the document was signed, in seconds since 1970, where it must be.
    SIGNED_AT: Required<Number> = "iat", Required::otherwise(
        GROWING,
        "when it was signed, in seconds since 1970",
    );
}
