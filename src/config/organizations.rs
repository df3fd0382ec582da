//! The `organizations` and `roles` sections, which become a
//! [`Policy`](crate::authz::policy::Policy).

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use super::reader::{Elements, Node, Section};
use super::table::organization::{self, binding, tenant};
use super::table::{MAX_ELEMENTS, document, roles};
use crate::authn::json::Value;
use crate::authz::policy::{Draft, Roll};
use crate::scoping::scope::{LabelName, LabelValue, LabelValues, Scope};
use crate::words::hash::QuickHash;
use crate::words::permission::{Permission, Permissions};
use crate::words::tenant::TenantId;

/// The permissions of each role, by its name.
pub(super) type Roles = BTreeMap<String, Permissions>;

pub(super) fn read_roles(top: &Section<'_>) -> Roles {
    let form = &document::ROLES.form;
    let set = |permissions: &[Permission]| {
        permissions
            .iter()
            .fold(Permissions::default(), |set, p| set.with(*p))
    };
    let mut roles: Roles = form
        .default
        .iter()
        .map(|(role, permissions)| ((*role).to_owned(), set(permissions)))
        .collect();
    let Some(node) = top.get(&document::ROLES) else {
        return roles;
    };
    for (role, node) in node.members(form.most).unwrap_or_default() {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte == b'-' || byte == b'_';
        if role.is_empty() || role.len() > form.name.longest || !role.bytes().all(plain) {
            node.problem(format!(
                "a role's name consists of at most {} of a-z, - and _",
                form.name.longest
            ));
            continue;
        }
        // A role that cannot be read keeps its default permissions, so that no further problems
        // are reported because of it.
        let Some(elements) = node.elements(MAX_ELEMENTS) else {
            continue;
        };
        let mut permissions = Some(Permissions::default());
        for element in elements.iter() {
            let permission = element.text().and_then(|text| {
                let permission = form.permissions.find(text);
                if permission.is_none() {
                    let known = form.permissions.names();
                    element.problem(format!("must be one of {known}"));
                }
                permission
            });
            permissions = match (permissions, permission) {
                (Some(permissions), Some(permission)) => Some(permissions.with(permission)),
                _ => None,
            };
        }
        if let Some(permissions) = permissions {
            roles.insert(role.to_owned(), permissions);
        }
    }
    roles
}

/// The keys under which roles are bound in an organization, with the permissions of each role.
pub(super) struct Bound(Vec<(String, Permissions)>);

impl Bound {
    pub(super) fn of(roles: &Roles) -> Self {
        let bound = roles
            .iter()
            .map(|(role, permissions)| (roles::bound(role), *permissions));
        Self(bound.collect())
    }
}

/// The names of the organizations that were read so far. Each may occur once.
#[derive(Default)]
pub(super) struct OrganizationNames<'a> {
    taken: HashSet<&'a str>,
    of_the_configuration: HashSet<&'a str>,
    left_out: Vec<Box<str>>,
}

/// What happens to an organization with a given name.
enum Name {
    /// It is added, because the name is free.
    Free,
    /// It is ignored. Whoever may name organizations elsewhere can neither change one of the
    /// configuration nor prevent others from being changed.
    LeftOut,
    /// It is a mistake, because the same list has another organization with this name.
    Taken,
}

impl<'a> OrganizationNames<'a> {
    /// Ends the names of the configuration. Those that follow come from outside.
    pub(super) fn are_of_the_configuration(&mut self) {
        self.of_the_configuration = std::mem::take(&mut self.taken);
    }

    /// The names that come from outside but are those of the configuration already.
    pub(super) fn left_out(self) -> Arc<[Box<str>]> {
        self.left_out.into()
    }

    /// Takes a name.
    fn take(&mut self, name: &'a str) -> Name {
        if !self.taken.insert(name) {
            return Name::Taken;
        }
        if self.of_the_configuration.contains(name) {
            self.left_out.push(name.into());
            return Name::LeftOut;
        }
        Name::Free
    }
}

pub(super) fn read_organizations(
    top: &Section<'_>,
    roles: &Roles,
    hash: QuickHash,
) -> Option<Draft> {
    let mut policy = Draft::hashed(hash);
    let node = if top.get(&document::ORGANIZATIONS_FROM).is_some() {
        top.get(&document::ORGANIZATIONS)
    } else {
        Some(top.require(&document::ORGANIZATIONS)?)
    };
    if let Some(node) = node {
        let mut names = OrganizationNames::default();
        add_organizations(&node, &Bound::of(roles), &mut policy, &mut names)?;
    }
    Some(policy)
}

/// Adds the organizations of a list to a policy. Returns `None` if the value is not a list.
pub(super) fn add_organizations<'a>(
    node: &Node<'a>,
    Bound(bound): &Bound,
    policy: &mut Draft,
    names: &mut OrganizationNames<'a>,
) -> Option<()> {
    let nodes = node.elements(document::ORGANIZATIONS.form.of.most)?;
    for node in nodes.iter() {
        let Some(section) = node.section(&organization::TABLE) else {
            continue;
        };
        let name = section
            .require(&organization::NAME)
            .and_then(|node| node.text());
        if let Some(node) = section.get(&organization::DISPLAY_NAME) {
            node.text();
        }
        let tenants = read_tenants(&section);
        let bindings = read_rbac(&section, bound);
        let Some(name) = name else { continue };
        match names.take(name) {
            Name::Free => {}
            Name::LeftOut => continue,
            Name::Taken => {
                node.problem(format!("the name {name:?} is taken"));
                continue;
            }
        }
        let organization = policy.organization(name);
        // All tenants with the same types share one roll. There are few combinations of types.
        let mut by_types: Vec<(TypeMask, Roll)> = Vec::new();
        for (tenant, mask) in &tenants {
            let known = by_types.iter().find(|(known, _)| known == mask);
            let roll = if let Some((_, roll)) = known {
                *roll
            } else {
                let grants = bindings.iter().map(|binding| {
                    let permissions = mask.apply(binding.permissions);
                    (binding.group, permissions, binding.scope.as_ref())
                });
                let roll = policy.roll(organization, grants);
                by_types.push((*mask, roll));
                roll
            };
            policy.enrol(tenant, roll);
        }
    }
    Some(())
}

/// The types of a tenant, which limit the permissions that a role gives on it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct TypeMask {
    data: bool,
    alerting: bool,
}

impl TypeMask {
    fn of(types: &[tenant::Type]) -> Self {
        Self {
            data: types.contains(&tenant::Type::Data),
            alerting: types.contains(&tenant::Type::Alerting),
        }
    }

    fn apply(self, permissions: Permissions) -> Permissions {
        use Permission::{AlertsRead, AlertsWrite, Delete, Read, RulesRead, RulesWrite, Write};
        let mut left = permissions;
        if !self.data {
            left = left.without(Read).without(Write).without(Delete);
        }
        if !self.alerting {
            left = left.without(RulesWrite);
            left = left.without(AlertsRead).without(AlertsWrite);
        }
        if !self.data && !self.alerting {
            left = left.without(RulesRead);
        }
        left
    }
}

fn read_tenants(organization: &Section<'_>) -> Vec<(TenantId, TypeMask)> {
    let Some(nodes) = organization
        .require(&organization::TENANTS)
        .and_then(|node| node.names(organization::TENANTS.form.of.most))
    else {
        return Vec::new();
    };
    let mut seen = HashSet::new();
    let mut tenants = Vec::new();
    for node in nodes.iter() {
        let Some((tenant, mask)) = read_tenant(&node) else {
            continue;
        };
        if !seen.insert(tenant.clone()) {
            node.problem(format!("the tenant {:?} is listed twice", tenant.as_str()));
        }
        tenants.push((tenant, mask));
    }
    tenants
}

fn read_tenant(node: &Node<'_>) -> Option<(TenantId, TypeMask)> {
    let by_default = TypeMask::of(tenant::TYPES.form.default);
    let (name, mask, allow_reserved) = if let Value::String(_) = node.value {
        let allow_reserved = tenant::ALLOW_RESERVED.form.default;
        (node.clone(), by_default, allow_reserved)
    } else if node.value.as_object().is_none() {
        // YAML reads a name without letters as a number.
        match node.value {
            Value::Number(_) | Value::Bool(_) => {
                node.text();
            }
            _ => node.expected("a name or {name, types}"),
        }
        return None;
    } else {
        let section = node.section(&tenant::TABLE)?;
        let name = section.require(&tenant::NAME);
        let mask = match section.get(&tenant::TYPES) {
            None => Some(by_default),
            Some(types) => read_types(&types),
        };
        let allow_reserved = section.flag(&tenant::ALLOW_RESERVED);
        (name?, mask?, allow_reserved?)
    };
    let text = name.text()?;
    let tenant = match TenantId::parse(text) {
        Ok(tenant) => tenant,
        Err(error) => {
            name.problem(format!("{text:?} is no tenant ID: {}", error.rule()));
            return None;
        }
    };
    if tenant.is_reserved() && !allow_reserved {
        name.problem(format!(
            "{text:?} is a name that a backend uses itself: \
             if it is meant, write {{name: {text}, allow_reserved: true}}"
        ));
        return None;
    }
    Some((tenant, mask))
}

fn read_types(node: &Node<'_>) -> Option<TypeMask> {
    let form = &tenant::TYPES.form;
    let nodes = node.elements(MAX_ELEMENTS)?;
    let mut types = Vec::new();
    for element in nodes.iter() {
        let Some(word) = element.text() else { continue };
        match form.find(word) {
            Some(kind) => types.push(kind),
            None => element.problem("must be data or alerting"),
        }
    }
    if nodes.len() < form.least {
        node.problem("must name at least one of data, alerting");
    }
    Some(TypeMask::of(&types))
}

/// A role in an organization, the group that holds it, and its scope.
struct Binding<'a> {
    group: &'a str,
    permissions: Permissions,
    scope: Option<Arc<Scope>>,
}

/// Reads who holds which role. `bound` has the keys of the roles, with their permissions.
fn read_rbac<'a>(organization: &Section<'a>, bound: &[(String, Permissions)]) -> Vec<Binding<'a>> {
    // Without this key the organization exists, but nobody may use it.
    let Some(node) = organization.get(&organization::RBAC) else {
        return Vec::new();
    };
    let known: Vec<&str> = bound.iter().map(|(name, _)| name.as_str()).collect();
    let Some(section) = node.section_of(&known) else {
        return Vec::new();
    };
    let mut bindings = Vec::new();
    for (name, permissions) in bound {
        let Some(node) = section.member(name) else {
            continue;
        };
        for element in node
            .names(organization::RBAC.form.of.most)
            .iter()
            .flat_map(Elements::iter)
        {
            bindings.extend(read_binding(&element, *permissions));
        }
    }
    bindings
}

fn read_binding<'a>(node: &Node<'a>, permissions: Permissions) -> Option<Binding<'a>> {
    if let Value::String(_) = node.value {
        return Some(Binding {
            group: node.text()?,
            permissions,
            scope: None,
        });
    }
    if let Value::Number(_) | Value::Bool(_) = node.value {
        // YAML reads a name without letters as a number.
        node.text();
        return None;
    }
    if node.value.as_object().is_none() {
        node.expected("a group or {group, labels}");
        return None;
    }
    let section = node.section(&binding::TABLE)?;
    let group = section
        .require(&binding::GROUP)
        .and_then(|node| node.text());
    let scope = match section.get(&binding::LABELS) {
        // A key that is written but empty would lift the limit that it was meant to set.
        None if section.is_null(&binding::LABELS) => {
            section.problem("labels may not be null: leave it out to grant the whole tenant");
            None
        }
        None => Some(None),
        Some(labels) => {
            if !permissions.is_empty() && !permissions.has(Permission::Read) {
                labels.problem("has no meaning for a role without the permission read");
            }
            read_labels(&labels).map(|scope| Some(Arc::new(scope)))
        }
    };
    Some(Binding {
        group: group?,
        permissions,
        scope: scope?,
    })
}

/// Reads `label: [value, …]`.
fn read_labels(node: &Node<'_>) -> Option<Scope> {
    let form = &binding::LABELS.form;
    let mut rules = Vec::new();
    for (name, node) in node.members(form.most)? {
        let label = match LabelName::parse(name) {
            Ok(label) => label,
            Err(rule) => {
                node.problem(rule);
                return None;
            }
        };
        let mut values = LabelValues::default();
        let mut sound = true;
        for element in node.names(form.of.most)?.iter() {
            match LabelValue::parse(element.text()?) {
                Ok(value) => values.insert(value),
                Err(rule) => {
                    sound = false;
                    element.problem(rule);
                }
            }
        }
        if !sound {
            return None;
        }
        rules.push((label, values));
    }
    match Scope::new(rules) {
        Ok(scope) => Some(scope),
        Err(rule) => {
            node.problem(rule);
            None
        }
    }
}
