//! The keys of the document of organizations that comes from outside.

use super::{List, Number, Object, Required, organization};

/// The largest number that every JSON reader preserves: 2⁵³ − 1.
const MAX_NUMBER: u64 = 9_007_199_254_740_991;

/// A number that grows from one document to the next.
const GROWING: Number = Number {
    least: 0,
    most: MAX_NUMBER,
};

section! {
    /// Organizations in the form in which they are served to gates.
    section;

    /// The version of this form, which is 1.
    VERSION: Required<Number> = "version", Required::always(
        Number { least: 1, most: 1 },
        "the form of this document, 1",
    );

    /// Grows whenever `revision` starts again.
    EPOCH: Required<Number> = "epoch", Required::always(
        GROWING,
        "a number that grows where revision starts again",
    );

    /// Grows with every change. If the pair of `epoch` and `revision` is lower than one that
    /// was seen before, the document is refused unless its organizations are the same.
    REVISION: Required<Number> = "revision", Required::always(
        GROWING,
        "a number that grows with every change",
    );

    /// The organizations, in the same form as in a configuration.
    ORGANIZATIONS: Required<List<Object>> = "organizations", Required::always(
        List::of(Object(&organization::TABLE)).endless(),
        "the list, as in a configuration",
    );

    /// When the document was signed, in seconds since 1970. It is required if the document must
    /// be signed.
    SIGNED_AT: Required<Number> = "iat", Required::otherwise(
        GROWING,
        "when it was signed, in seconds since 1970",
    );
}
