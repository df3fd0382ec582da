//! `organizations[]`

use super::{Flag, List, Map, OrObject, Required, Text, Texts, Words, roles};
use crate::scoping::scope::{MAX_NAME, MAX_VALUE};
use crate::words::tenant::MAX_TENANT_BYTES;

/// Most labels of a policy.
const MAX_LABELS: usize = 32;

/// A tenant ID.
const TENANT: Text = Text::of("tenant")
    .up_to(MAX_TENANT_BYTES)
    .like(r"^(?!\.{1,2}$)[A-Za-z0-9!\-_.*'()]+$");

section! {
    /// An organization: which tenants it has, and who may use them.
    section;

    /// Its name, which no other has. It stands in audit records.
    NAME: Required<Text> = "name", Required::always(Text::of("name"), "it stands in audit records");

    /// A name for people.
    DISPLAY_NAME: Text = "display_name", Text::of("name");

    /// The tenants that it may use, each once.
    TENANTS: Required<List<OrObject>> = "tenants", Required::always(
        List::of(OrObject { text: TENANT, words: &[], table: &tenant::TABLE }).endless(),
        "the tenants that the organization may use",
    );

    /// Who holds which role, by the role's name with an `s`: `admins`, `editors`, `viewers`,
    /// `writers`, and those of `roles`. Nobody holds what is not here.
    RBAC: Map<Bindings> = "rbac", Map {
        name: Text::of("<role>s").like("^[a-z_-]+s$"),
        of: List::of(OrObject {
            text: Text::of("group"),
            words: &[],
            table: &binding::TABLE,
        }).endless(),
        most: usize::MAX,
        usual: || roles::ROLES.default.iter().map(|(role, _)| roles::bound(role)).collect(),
        or_null: true,
    };
}

/// Those who hold a role.
type Bindings = List<OrObject>;

/// `organizations[].tenants[]`, where it is an object
pub mod tenant {
    use super::{Flag, Required, TENANT, Text, Words};

    section! {
        /// A tenant of which there is more to say than its name.
        section;

        /// Its ID: letters, digits and `!-_.*'()`.
        NAME: Required<Text> = "name", Required::always(TENANT, "the tenant's ID");

        /// Without `alerting` rules cannot be changed and there is no Alertmanager, without
        /// `data` nothing can be read, written or deleted.
        TYPES: Words<Type> = "types", Words {
            all: &[Type::Data, Type::Alerting],
            name: Type::name,
            least: 1,
            default: &[Type::Data],
        };

        /// Whether a name is meant that backends use themselves, such as `anonymous`.
        ALLOW_RESERVED: Flag = "allow_reserved", Flag { default: false };
    }

    /// What a tenant is for.
    #[derive(Clone, Copy, Debug, Eq, PartialEq)]
    pub enum Type {
        /// Rules and alerts.
        Alerting,
        /// Logs, metrics and traces.
        Data,
    }

    impl Type {
        /// As in the document.
        #[must_use]
        pub const fn name(self) -> &'static str {
            match self {
                Self::Alerting => "alerting",
                Self::Data => "data",
            }
        }
    }
}

/// `organizations[].rbac.<role>s[]`, where it is an object
pub mod binding {
    use super::{MAX_LABELS, MAX_NAME, MAX_VALUE, Map, Required, Text, Texts};

    section! {
        /// A group that holds the role on some of the data.
        section where [Constraint::NotNull(LABELS.name)];

        /// The group, compared exactly.
        GROUP: Required<Text> = "group", Required::always(
            Text::of("group"),
            "the group that holds the role",
        );

        /// A [label policy](scoped-queries.md): only what carries one of these values
        /// under each label. It is for roles with the permission `read`; without it the group
        /// holds the role on all data.
        LABELS: Map<Texts> = "labels", Map {
            name: Text::of("label").up_to(MAX_NAME).like("^(?!__)[A-Za-z_][A-Za-z0-9_]*$"),
            of: Texts::of(Text::of("value").up_to(MAX_VALUE)).at_least(1),
            most: MAX_LABELS,
            usual: Vec::new,
            or_null: false,
        };
    }
}
