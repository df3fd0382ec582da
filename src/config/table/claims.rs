//! The keys of `providers[].claims`: which claims name the caller and its groups.

use super::{Exactly, Flag, Object, Paths, Required, Sources, Text, Texts};

/// A path into the claims.
pub const PATH: Texts = Texts::of(Text::of("name")).at_least(1);

section! {
    /// Which claims of the provider's tokens name the caller and its groups.
    section;

    /// Paths to the subject. The first one that leads to a text of at most 1,024 bytes without
    /// control characters is used. A path is a list of names, so that `[realm_access, roles]`
    /// has two names and `[realm_access.roles]` has one.
    SUBJECT: Paths = "subject", Paths { of: PATH, least: 1, default: &[&["sub"]] };

    /// Where a caller's groups are found: the groups are the union of all these sources. A
    /// value that begins with the prefix of another source, of any provider, is dropped,
    /// because only that source may yield it. See [groups from several
    /// sources](configuring.md#groups-from-several-sources).
    GROUPS: Sources = "groups", Sources { of: Object(&group::TABLE), default: &["groups"] };
}

/// The keys of `providers[].claims.groups[]`.
pub mod group {
    use super::{Exactly, Flag, PATH, Required, Text, Texts};

    section! {
        /// A source of groups. Without `form`, `keys` and `field` it holds a string or a list
        /// of strings.
        section where [
            Constraint::AtMostOneOf(&[FORM.name, KEYS.name, FIELD.name]),
            Constraint::Beside(HAVING.name, KEYS.name),
        ];

        /// The path to the source among the claims: a list of names, each within the one
        /// before. A claim in which people can write what they like, such as `name`, is
        /// refused.
        PATH_OF_GROUPS: Required<Texts> = "path", Required::always(
            PATH,
            "where in the claims the groups stand",
        );

        /// The text that is put before each value.
        PREFIX: Text = "prefix", Text::of("text").or_empty();

        /// The separator at which each string is split. Spaces around the parts are removed.
        SPLIT: Text = "split", Text::of("text");

        /// `list` stands for a list that is written as a string: as JSON, otherwise as
        /// `[a, b]`, otherwise as a single value. If names may hold commas and people can
        /// choose them, use JSON only.
        FORM: Exactly = "form", Exactly { word: "list", or_false: false };

        /// Takes the names of an object's members (Zitadel's roles), except those whose value
        /// is `false` or `null`.
        KEYS: Flag = "keys", Flag { default: false };

        /// With `keys`, takes only members that are objects and have a member of this name.
        HAVING: Text = "having", Text::of("name");

        /// Takes the member of this name from each object in a list.
        FIELD: Text = "field", Text::of("name");
    }
}
