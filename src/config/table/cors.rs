//! The keys of `cors`.

use super::{Required, Text, Texts};
use crate::words::origin::MAX_ORIGIN;

section! {
    /// Pages in browsers that may call the gate.
    section;

    /// Their origins: scheme, host and port as browsers send them, in lower case and without a
    /// path. `*` and `null` are refused, because any page can send them.
    ORIGINS: Required<Texts> = "origins", Required::always(
        Texts::of(Text::of("origin").up_to(MAX_ORIGIN).like("^https?://[^/]+$")).at_least(1),
        "the origins of pages that may call the gate",
    );
}
