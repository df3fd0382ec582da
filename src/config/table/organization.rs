//! The keys of `organizations[]`.

use super::{Flag, List, Map, OrObject, Required, Text, Texts, Words, roles};
use crate::scoping::scope::{MAX_NAME, MAX_VALUE};
use crate::words::tenant::MAX_TENANT_BYTES;

/// The maximum number of labels that a policy may have.
const MAX_LABELS: usize = 32;

/// A tenant ID.
const TENANT: Text = Text::of("tenant")
    .up_to(MAX_TENANT_BYTES)
    .like(r"^(?!\.{1,2}$)[A-Za-z0-9!\-_.*'()]+$");

section! {
    /// An organization: which tenants it has, and who may use them.
    section;

    /// Its name, which must be unique. It appears in audit records.
    NAME: Required<Text> = "name", Required::always(Text::of("name"), "it stands in audit records");

    /// A name for people.
    DISPLAY_NAME: Text = "display_name", Text::of("name");

    /// The tenants that it may use, each listed once.
    TENANTS: Required<List<OrObject>> = "tenants", Required::always(
        List::of(OrObject { text: TENANT, words: &[], table: &tenant::TABLE }).endless(),
        "the tenants that the organization may use",
    );

    /// Who holds which role. The key is the role's name with an `s`: `admins`, `editors`,
    /// `viewers`, `writers`, and those of `roles`. A role that is not listed is held by nobody.
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

/// The groups that hold a role.
type Bindings = List<OrObject>;

/// The keys of an element of `organizations[].tenants[]` that is an object.
pub mod tenant {
    use super::{Flag, Required, TENANT, Text, Words};

    section! {
        /// A tenant that needs more than a name.
        section;

        /// Its ID: letters, digits and `!-_.*'()`.
        NAME: Required<Text> = "name", Required::always(TENANT, "the tenant's ID");

        /// What the tenant is for. Without `alerting`, rules cannot be changed and there is no
        /// Alertmanager. Without `data`, nothing can be read, written or deleted.
        TYPES: Words<Type> = "types", Words {
            all: &[Type::Data, Type::Alerting],
            name: Type::name,
            least: 1,
            default: &[Type::Data],
        };

        /// Whether the name may be one that backends use themselves, such as `anonymous`.
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
        /// The word in the document.
        #[must_use]
        pub const fn name(self) -> &'static str {
            match self {
                Self::Alerting => "alerting",
                Self::Data => "data",
            }
        }
    }
}

/// The keys of an element of `organizations[].rbac.<role>s[]` that is an object.
pub mod binding {
    use super::{MAX_LABELS, MAX_NAME, MAX_VALUE, Map, Required, Text, Texts};

    section! {
        /// A group that holds the role on a part of the data.
        section where [Constraint::NotNull(LABELS.name)];

        /// The group, compared exactly.
        GROUP: Required<Text> = "group", Required::always(
            Text::of("group"),
            "the group that holds the role",
        );

        /// A [label policy](scoped-queries.md): the group sees only data that carries one of
        /// these values under each label. It is for roles with the permission `read`. Without
        /// it, the group holds the role on all data.
        LABELS: Map<Texts> = "labels", Map {
            name: Text::of("label").up_to(MAX_NAME).like("^(?!__)[A-Za-z_][A-Za-z0-9_]*$"),
            of: Texts::of(Text::of("value").up_to(MAX_VALUE)).at_least(1),
            most: MAX_LABELS,
            usual: Vec::new,
            or_null: false,
        };
    }
}
