//! `providers[].claims`: who tokens speak of.

use super::{Exactly, Flag, Object, Paths, Required, Sources, Text, Texts};

/// A path into the claims.
pub const PATH: Texts = Texts::of(Text::of("name")).at_least(1);

section! {
    /// Who tokens of the provider speak of.
    section;

    /// Paths to the subject: the first that holds a text of at most 1,024 bytes without
    /// control characters. A path is a list of names, so that `[realm_access, roles]` are two
    /// and `[realm_access.roles]` is one.
    SUBJECT: Paths = "subject", Paths { of: PATH, least: 1, default: &[&["sub"]] };

    /// Where the groups of a caller stand: the union of all these sources. A value that begins
    /// with the prefix of another source, of any provider, is dropped, since only that source
    /// may give it. See [groups from several sources](configuring.md#groups-from-several-sources).
    GROUPS: Sources = "groups", Sources { of: Object(&group::TABLE), default: &["groups"] };
}

/// `providers[].claims.groups[]`
pub mod group {
    use super::{Exactly, Flag, PATH, Required, Text, Texts};

    section! {
        /// A source of groups. Without `form`, `keys` and `field` it is a string or a list of
        /// strings.
        section where [
            Constraint::AtMostOneOf(&[FORM.name, KEYS.name, FIELD.name]),
            Constraint::Beside(HAVING.name, KEYS.name),
        ];

        /// Where in the claims it stands: a list of names, each within the one before. A claim
        /// in which people write what they like, such as `name`, is refused.
        PATH_OF_GROUPS: Required<Texts> = "path", Required::always(
            PATH,
            "where in the claims the groups stand",
        );

        /// Is put before each value.
        PREFIX: Text = "prefix", Text::of("text").or_empty();

        /// Splits each string there; spaces around the parts are left out.
        SPLIT: Text = "split", Text::of("text");

        /// `list`: a list that is written into a string, as JSON, else as `[a, b]`, else one
        /// value. Where names may hold commas and people choose them, take JSON alone.
        FORM: Exactly = "form", Exactly { word: "list", or_false: false };

        /// The names of an object's members (Zitadel's roles), but of those that are `false`
        /// or `null`.
        KEYS: Flag = "keys", Flag { default: false };

        /// With `keys`: only of members that are objects with a member of this name.
        HAVING: Text = "having", Text::of("name");

        /// This member of each object in a list.
        FIELD: Text = "field", Text::of("name");
    }
}
