//! GrafanaOrganization resources (`observability.giantswarm.io`), in both versions.
//!
//! | in the resource | in the configuration |
//! |---|---|
//! | `metadata.name` | `name` |
//! | `spec.displayName` | `display_name` |
//! | `spec.tenants`, names (v1alpha1) | `tenants`, with `types: [data, alerting]`, as in the operator's own conversion |
//! | `spec.tenants`, `{name, types}` (v1alpha2) | `tenants`; without `types`, `[data]` |
//! | `spec.rbac.admins`, `editors`, `viewers` | `rbac`, the same |
//!
//! A tenant or a group that is listed twice is merged, and a note says so.

use std::fmt;

use serde_json::{Map, Value};

use super::organization::{Organization, Rbac, Tenant, Types};
use super::rules::{Rules, Unknown};
use crate::words::tenant::TenantId;

/// The resource's group.
pub const GROUP: &str = "observability.giantswarm.io";

/// The resource's kind.
pub const KIND: &str = "GrafanaOrganization";

/// The resource's name in paths.
pub const PLURAL: &str = "grafanaorganizations";

/// The version of a resource's definition.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Version {
    /// Tenants are names.
    V1Alpha1,
    /// Tenants have types.
    V1Alpha2,
}

impl Version {
    /// The version of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "v1alpha1" => Some(Self::V1Alpha1),
            "v1alpha2" => Some(Self::V1Alpha2),
            _ => None,
        }
    }

    /// The name of the version.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::V1Alpha1 => "v1alpha1",
            Self::V1Alpha2 => "v1alpha2",
        }
    }
}

/// What kind of document this is, before it is converted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// It is an organization in this version.
    Organization(Version),
    /// It is an organization in an unknown version.
    OtherVersion,
    /// It is something else.
    Other,
}

/// The kind that a resource states.
#[must_use]
pub fn kind(resource: &Value) -> Kind {
    let text = |name: &str| resource.get(name).and_then(Value::as_str);
    let Some((GROUP, version)) = text("apiVersion").and_then(|it| it.split_once('/')) else {
        return Kind::Other;
    };
    match (text("kind"), Version::named(version)) {
        (Some(KIND), Some(version)) => Kind::Organization(version),
        (Some(KIND), None) => Kind::OtherVersion,
        _ => Kind::Other,
    }
}

/// The resource's name, if it has one.
#[must_use]
pub fn name(resource: &Value) -> Option<&str> {
    resource.pointer("/metadata/name").and_then(Value::as_str)
}

/// Whether the deletion of the resource has been requested, so that it no longer grants
/// anything.
#[must_use]
pub fn is_going(resource: &Value) -> bool {
    resource
        .pointer("/metadata/deletionTimestamp")
        .is_some_and(|at| !at.is_null())
}

/// Something to report about a resource, and its place.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Remark {
    /// The place, such as `spec.tenants[0].name`.
    pub field: String,
    /// What it is, and what to do about it.
    pub text: String,
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.text)
    }
}

/// An organization, and what was changed to obtain it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Converted {
    /// The organization.
    pub organization: Organization,
    /// Reports of what was merged or ignored.
    pub notes: Vec<Remark>,
}

/// Converts a resource of that version.
///
/// # Errors
/// Every reason why it cannot be converted. The list is never empty.
pub fn convert(
    resource: &Value,
    version: Version,
    rules: &Rules,
) -> Result<Converted, Vec<Remark>> {
    let mut reader = Reader {
        rules,
        notes: Vec::new(),
        problems: Vec::new(),
    };
    let organization = reader.organization(resource, version);
    match organization {
        Some(organization) if reader.problems.is_empty() => Ok(Converted {
            organization,
            notes: reader.notes,
        }),
        _ => Err(reader.problems),
    }
}

struct Reader<'a> {
    rules: &'a Rules,
    notes: Vec<Remark>,
    problems: Vec<Remark>,
}

/// The members of an object, or none if the value is something else.
type Members<'a> = Option<&'a Map<String, Value>>;

impl Reader<'_> {
    fn problem(&mut self, field: &str, text: impl Into<String>) {
        self.problems.push(remark(field, text));
    }

    fn note(&mut self, field: &str, text: impl Into<String>) {
        self.notes.push(remark(field, text));
    }

    fn organization(&mut self, resource: &Value, version: Version) -> Option<Organization> {
        let name = name(resource).filter(|name| !name.is_empty());
        if name.is_none() {
            self.problem("metadata.name", "missing: it becomes the name");
        }
        let spec = self.object(resource.get("spec"), "spec", "what the organization is");
        self.unknown(spec, "spec", &["displayName", "rbac", "tenants"]);
        let display_name = match member(spec, "displayName") {
            Some(value) => self.text(value, "spec.displayName"),
            None if spec.is_some() => {
                self.problem("spec.displayName", "missing: the name that people see");
                None
            }
            None => None,
        };
        let rbac = self.rbac(spec);
        let tenants = self.tenants(spec, version);
        let mut rbac = rbac?;
        let name = name?;
        for template in &self.rules.writers {
            let group = template.of(name);
            if !rbac.writers.contains(&group) {
                rbac.writers.push(group);
            }
        }
        Some(Organization {
            name: name.to_owned(),
            display_name: display_name?,
            tenants: tenants?,
            rbac,
        })
    }

    fn rbac(&mut self, spec: Members<'_>) -> Option<Rbac> {
        let spec = spec?;
        let rbac = self.object(spec.get("rbac"), "spec.rbac", "who holds which role");
        self.unknown(rbac, "spec.rbac", &["admins", "editors", "viewers"]);
        let rbac = rbac?;
        if member(Some(rbac), "admins").is_none() {
            self.problem(
                "spec.rbac.admins",
                "missing: write the groups that hold the role, or [] for nobody",
            );
        }
        Some(Rbac {
            admins: self.groups(rbac, "admins"),
            editors: self.groups(rbac, "editors"),
            viewers: self.groups(rbac, "viewers"),
            writers: Vec::new(),
        })
    }

    fn groups(&mut self, rbac: &Map<String, Value>, role: &str) -> Vec<String> {
        let field = format!("spec.rbac.{role}");
        let mut groups: Vec<String> = Vec::new();
        for (index, value) in self.elements(member(Some(rbac), role), &field) {
            let field = format!("{field}[{index}]");
            let Some(group) = self.text(value, &field) else {
                continue;
            };
            if groups.contains(&group) {
                self.note(&field, format!("the group {group:?} stands twice: merged"));
            } else {
                groups.push(group);
            }
        }
        groups
    }

    fn tenants(&mut self, spec: Members<'_>, version: Version) -> Option<Vec<Tenant>> {
        const FIELD: &str = "spec.tenants";
        let list = member(Some(spec?), "tenants");
        if list.is_none() {
            self.problem(FIELD, "missing: the tenants that the organization may use");
            return None;
        }
        let mut tenants: Vec<Tenant> = Vec::new();
        for (index, value) in self.elements(list, FIELD) {
            let field = format!("{FIELD}[{index}]");
            let read = match version {
                Version::V1Alpha1 => self.tenant(value, &field, Types::BOTH),
                Version::V1Alpha2 => self.typed_tenant(value, &field),
            };
            let Some(tenant) = read else { continue };
            match tenants.iter_mut().find(|known| known.name == tenant.name) {
                Some(known) => {
                    known.types = known.types.or(tenant.types);
                    let types = known.types.names().join(", ");
                    let name = &tenant.name;
                    self.note(
                        &field,
                        format!("the tenant {name:?} stands twice: merged, types [{types}]"),
                    );
                }
                None => tenants.push(tenant),
            }
        }
        Some(tenants)
    }

    fn typed_tenant(&mut self, value: &Value, field: &str) -> Option<Tenant> {
        if let Value::String(name) = value {
            self.problem(
                field,
                format!("expected {{name, types}}, found a string: write {{name: {name}}}"),
            );
            return None;
        }
        let tenant = self.object(Some(value), field, "{name, types}");
        self.unknown(tenant, field, &["name", "types"]);
        let types = self.types(tenant, &format!("{field}.types"));
        let field = format!("{field}.name");
        let Some(name) = member(Some(tenant?), "name") else {
            self.problem(&field, "missing: the tenant's ID");
            return None;
        };
        self.tenant(name, &field, types?)
    }

    fn types(&mut self, tenant: Members<'_>, field: &str) -> Option<Types> {
        let Some(list) = member(tenant, "types") else {
            return Some(Types::DATA);
        };
        let mut types: Option<Types> = None;
        let elements = self.elements(Some(list), field);
        if elements.is_empty() && list.is_array() {
            self.problem(
                field,
                "is empty: write data, alerting or both, or leave types out for [data]",
            );
        }
        for (index, value) in elements {
            let field = format!("{field}[{index}]");
            let Some(name) = self.text(value, &field) else {
                continue;
            };
            match Types::named(&name) {
                Some(named) => types = Some(types.map_or(named, |types| types.or(named))),
                None => self.problem(&field, format!("{name:?} is neither data nor alerting")),
            }
        }
        types
    }

    fn tenant(&mut self, value: &Value, field: &str, types: Types) -> Option<Tenant> {
        let name = self.text(value, field)?;
        let reserved = match TenantId::parse(&name) {
            Ok(tenant) => tenant.is_reserved(),
            Err(error) => {
                self.problem(field, format!("{name:?} is no tenant ID: {}", error.rule()));
                return None;
            }
        };
        let allowed = || self.rules.allowed.iter().any(|it| it.as_str() == name);
        if reserved && !allowed() {
            self.problem(
                field,
                format!(
                    "{name:?} is a name that a backend uses itself: \
                     if it is meant, allow it with --allow-reserved {name}"
                ),
            );
            return None;
        }
        Some(Tenant {
            name,
            types,
            reserved,
        })
    }

    fn object<'v>(&mut self, value: Option<&'v Value>, field: &str, what: &str) -> Members<'v> {
        match value {
            None | Some(Value::Null) => {
                self.problem(field, format!("missing: {what}"));
                None
            }
            Some(Value::Object(members)) => Some(members),
            Some(other) => {
                self.problem(
                    field,
                    format!("expected an object, found {}", kind_of(other)),
                );
                None
            }
        }
    }

    fn elements<'v>(&mut self, value: Option<&'v Value>, field: &str) -> Vec<(usize, &'v Value)> {
        match value {
            None => Vec::new(),
            Some(Value::Array(elements)) => elements.iter().enumerate().collect(),
            Some(Value::String(text)) => {
                self.problem(
                    field,
                    format!("expected a list, found a string: write [{text}]"),
                );
                Vec::new()
            }
            Some(other) => {
                self.problem(field, format!("expected a list, found {}", kind_of(other)));
                Vec::new()
            }
        }
    }

    fn text(&mut self, value: &Value, field: &str) -> Option<String> {
        match value {
            Value::String(text) if !text.is_empty() => Some(text.clone()),
            Value::String(_) => {
                self.problem(field, "may not be empty");
                None
            }
            Value::Number(_) | Value::Bool(_) => {
                let kind = kind_of(value);
                self.problem(
                    field,
                    format!("expected a string, found {kind}: put it in quotes"),
                );
                None
            }
            other => {
                self.problem(
                    field,
                    format!("expected a string, found {}", kind_of(other)),
                );
                None
            }
        }
    }

    fn unknown(&mut self, members: Members<'_>, field: &str, known: &[&str]) {
        for (name, _) in members.into_iter().flatten() {
            if known.contains(&name.as_str()) {
                continue;
            }
            let field = format!("{field}.{name}");
            match self.rules.unknown {
                Unknown::Refuse => {
                    let known = known.join(", ");
                    self.problem(&field, format!("unknown key: known here are {known}"));
                }
                Unknown::PassOver => self.note(&field, "is not known here: passed over"),
            }
        }
    }
}

fn remark(field: &str, text: impl Into<String>) -> Remark {
    Remark {
        field: field.to_owned(),
        text: text.into(),
    }
}

/// A member that exists and is not `null`.
fn member<'v>(members: Members<'v>, name: &str) -> Option<&'v Value> {
    members?.get(name).filter(|value| !value.is_null())
}

const fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
