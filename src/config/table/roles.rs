//! The `roles` section: what each role may do.

use super::{Roles, Text, Words};
use crate::words::permission::Permission;

/// The maximum number of roles that a configuration may have, each of which may occur in every
/// organization.
const MAX_ROLES: usize = 64;

/// The longest name of a role, in bytes.
const MAX_ROLE: usize = 64;

/// The form of the section.
pub const ROLES: Roles = Roles {
    name: Text::of("role").up_to(MAX_ROLE).like("^[a-z_-]+$"),
    permissions: Words {
        all: &Permission::ALL,
        name: Permission::name,
        least: 0,
        default: &[],
    },
    most: MAX_ROLES,
    default: &[
        (
            "admin",
            &[
                Permission::Read,
                Permission::Write,
                Permission::RulesRead,
                Permission::RulesWrite,
                Permission::AlertsRead,
                Permission::AlertsWrite,
                Permission::Delete,
            ],
        ),
        (
            "editor",
            &[
                Permission::Read,
                Permission::Write,
                Permission::RulesRead,
                Permission::RulesWrite,
                Permission::AlertsRead,
                Permission::AlertsWrite,
            ],
        ),
        (
            "viewer",
            &[
                Permission::Read,
                Permission::RulesRead,
                Permission::AlertsRead,
            ],
        ),
        ("writer", &[Permission::Write]),
    ],
};

/// The key under which an organization lists the groups that hold a role.
#[must_use]
pub fn bound(role: &str) -> String {
    [role, "s"].concat()
}
