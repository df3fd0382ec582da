//! An element of `organizations`, in the form that a configuration has.

use serde::{Serialize, Serializer};

/// An organization. Its members are written in the order of the reference configuration.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Organization {
    /// The resource's name.
    pub name: String,
    /// A name for people.
    pub display_name: String,
    /// The tenants, in the order of the resource.
    pub tenants: Vec<Tenant>,
    /// Who holds which role.
    pub rbac: Rbac,
}

/// The groups that hold each role, in the order of the resource.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Rbac {
    /// The groups with the role `admin`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub admins: Vec<String>,
    /// The groups with the role `editor`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub editors: Vec<String>,
    /// The groups with the role `viewer`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub viewers: Vec<String>,
    /// The groups with the role `writer`, which the resource does not have.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub writers: Vec<String>,
}

impl Rbac {
    /// The roles that somebody holds, with the names that they have in a configuration.
    #[must_use]
    pub fn held(&self) -> Vec<(&'static str, &[String])> {
        let mut roles = vec![
            ("admins", self.admins.as_slice()),
            ("editors", self.editors.as_slice()),
            ("viewers", self.viewers.as_slice()),
            ("writers", self.writers.as_slice()),
        ];
        roles.retain(|(_, groups)| !groups.is_empty());
        roles
    }
}

/// A tenant of an organization.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Tenant {
    /// The tenant's ID.
    pub name: String,
    /// What may be done with it.
    pub types: Types,
    /// Whether the name is one that backends use themselves, and is allowed nevertheless.
    pub reserved: bool,
}

impl Serialize for Tenant {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Long<'a> {
            name: &'a str,
            types: &'a [&'static str],
            #[serde(skip_serializing_if = "std::ops::Not::not")]
            allow_reserved: bool,
        }
        if self.is_plain() {
            return serializer.serialize_str(&self.name);
        }
        let long = Long {
            name: &self.name,
            types: self.types.names(),
            allow_reserved: self.reserved,
        };
        long.serialize(serializer)
    }
}

impl Tenant {
    /// Whether the name alone describes the tenant.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.types == Types::DATA && !self.reserved
    }
}

/// What may be done with a tenant. It is at least one of the two.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Types {
    data: bool,
    alerting: bool,
}

impl Types {
    /// Reading and writing.
    pub const DATA: Self = Self {
        data: true,
        alerting: false,
    };

    /// Rules and alerts.
    pub const ALERTING: Self = Self {
        data: false,
        alerting: true,
    };

    /// All of it.
    pub const BOTH: Self = Self {
        data: true,
        alerting: true,
    };

    /// The type of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "data" => Some(Self::DATA),
            "alerting" => Some(Self::ALERTING),
            _ => None,
        }
    }

    /// The types that either of the two has.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self {
            data: self.data || other.data,
            alerting: self.alerting || other.alerting,
        }
    }

    /// The names in the form in which a configuration lists them.
    #[must_use]
    pub const fn names(self) -> &'static [&'static str] {
        match (self.data, self.alerting) {
            (true, true) => &["data", "alerting"],
            (false, true) => &["alerting"],
            _ => &["data"],
        }
    }
}
