//! What an endpoint requires and a role grants.

use std::fmt;

/// One right on a tenant.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Permission {
    /// See alerts, silences and receivers' names.
    AlertsRead,
    /// Send alerts, silence them, and see and change where they go, secrets included.
    AlertsWrite,
    /// Delete data.
    Delete,
    /// Query data.
    Read,
    /// See rules, the alerts that they have raised, and delete requests.
    RulesRead,
    /// Change rules.
    RulesWrite,
    /// Ingest data.
    Write,
}

impl Permission {
    /// Every permission, by name.
    pub const ALL: [Self; 7] = [
        Self::AlertsRead,
        Self::AlertsWrite,
        Self::Delete,
        Self::Read,
        Self::RulesRead,
        Self::RulesWrite,
        Self::Write,
    ];

    /// The name, as in the configuration, records and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::AlertsRead => "alerts-read",
            Self::AlertsWrite => "alerts-write",
            Self::Delete => "delete",
            Self::Read => "read",
            Self::RulesRead => "rules-read",
            Self::RulesWrite => "rules-write",
            Self::Write => "write",
        }
    }

    /// The permission with exactly that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|p| p.name() == name)
    }

    const fn bit(self) -> u8 {
        match self {
            Self::Delete => 1,
            Self::Read => 2,
            Self::RulesRead => 4,
            Self::RulesWrite => 8,
            Self::Write => 16,
            Self::AlertsRead => 32,
            Self::AlertsWrite => 64,
        }
    }
}

impl fmt::Display for Permission {
    /// Writes the name. The alternate form also says what is needed besides a role.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !f.alternate() {
            return f.write_str(self.name());
        }
        write!(f, "'{}' on the tenant, which you do not hold", self.name())?;
        match self {
            Self::AlertsRead | Self::AlertsWrite | Self::RulesWrite => {
                f.write_str(" (nobody does on a tenant without the type 'alerting')")
            }
            Self::Delete | Self::Read | Self::RulesRead | Self::Write => Ok(()),
        }
    }
}

/// A set of permissions.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Permissions(u8);

impl Permissions {
    /// No permission at all.
    pub const NONE: Self = Self(0);

    /// This set with one more permission.
    #[must_use]
    pub const fn with(self, permission: Permission) -> Self {
        Self(self.0 | permission.bit())
    }

    /// This set without one permission.
    #[must_use]
    pub const fn without(self, permission: Permission) -> Self {
        Self(self.0 & !permission.bit())
    }

    /// The union of both sets.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether the permission is in the set.
    #[must_use]
    pub const fn has(self, permission: Permission) -> bool {
        self.0 & permission.bit() != 0
    }

    /// Whether nothing is permitted.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}
