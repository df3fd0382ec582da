//! The groups that hold roles on a tenant. They are shown to somebody who wonders why a caller's
//! groups do not.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

/// The most organizations of a tenant, and the most groups of a role, that are listed.
const MOST: usize = 5;

/// The organizations of a configuration and of a document from outside, as they are written there.
pub(super) struct Holders(Vec<Value>);

impl Holders {
    /// Collects the organizations of a configuration and of a document from outside, if there is
    /// one.
    pub(super) fn of(configuration: &Value, outside: Option<&[u8]>) -> Self {
        let mut all = organizations(configuration);
        all.extend(outside.and_then(payload).iter().flat_map(organizations));
        Self(all)
    }

    /// One line for each organization that has the tenant, up to [`MOST`] and one that counts the
    /// rest, or one line that says that there is none.
    pub(super) fn on(&self, tenant: &str) -> Vec<String> {
        let having = self
            .0
            .iter()
            .filter(|organization| has(organization, tenant));
        let mut lines: Vec<String> = having
            .clone()
            .take(MOST)
            .map(|one| told(tenant, one))
            .collect();
        match having.count().saturating_sub(MOST) {
            0 => {}
            more => lines.push(format!("and {more} more organizations")),
        }
        if lines.is_empty() {
            lines.push(format!("no organization has a tenant {tenant}"));
        }
        lines
    }
}

fn organizations(document: &Value) -> Vec<Value> {
    let list = document.get("organizations").and_then(Value::as_array);
    list.cloned().unwrap_or_default()
}

/// The content of a document of organizations, or of its payload if it is signed. `None` if it is
/// not JSON.
fn payload(document: &[u8]) -> Option<Value> {
    if let Ok(plain) = serde_json::from_slice(document) {
        return Some(plain);
    }
    let payload = document.split(|byte| *byte == b'.').nth(1)?;
    let payload = URL_SAFE_NO_PAD.decode(payload).ok()?;
    serde_json::from_slice(&payload).ok()
}

fn has(organization: &Value, tenant: &str) -> bool {
    let tenants = organization.get("tenants").and_then(Value::as_array);
    tenants.into_iter().flatten().any(|one| {
        let name = one
            .as_str()
            .or_else(|| one.get("name").and_then(Value::as_str));
        name == Some(tenant)
    })
}

fn told(tenant: &str, organization: &Value) -> String {
    let name = organization.get("name").and_then(Value::as_str);
    let name = name.unwrap_or_default();
    let rbac = organization.get("rbac").and_then(Value::as_object);
    let roles: BTreeMap<&str, String> = rbac
        .into_iter()
        .flatten()
        .filter_map(|(role, groups)| {
            let groups = groups.as_array()?.iter();
            let mut names = groups.filter_map(|group| {
                group
                    .as_str()
                    .or_else(|| group.get("group").and_then(Value::as_str))
            });
            let mut shown: Vec<&str> = names.by_ref().take(MOST).collect();
            if names.next().is_some() {
                shown.push("…");
            }
            (!shown.is_empty()).then(|| (role.as_str(), shown.join(", ")))
        })
        .collect();
    if roles.is_empty() {
        return format!("{tenant} is of {name}, where no role names a group");
    }
    let roles = roles
        .iter()
        .map(|(role, groups)| format!("{role}: {groups}"));
    let roles: Vec<String> = roles.collect();
    format!(
        "{tenant} is of {name}, where the roles name {}",
        roles.join("; ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_groups_of_each_organization_with_the_tenant_are_told() {
        let configuration = json!({"organizations": [
            {"name": "acme", "tenants": ["acme", {"name": "acme-infra", "types": ["data"]}],
             "rbac": {"viewers": ["a", {"group": "b", "labels": {}}], "admins": []}},
            {"name": "globex", "tenants": ["globex"]},
        ]});
        let outside = json!({"organizations": [
            {"name": "hooli", "tenants": ["acme"], "rbac": {"writers": ["1", "2", "3", "4", "5", "6"]}},
        ]});
        let outside = outside.to_string();
        let signed = format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(&outside));
        for outside in [outside, signed] {
            let holders = Holders::of(&configuration, Some(outside.as_bytes()));
            assert_eq!(
                holders.on("acme"),
                [
                    "acme is of acme, where the roles name viewers: a, b",
                    "acme is of hooli, where the roles name writers: 1, 2, 3, 4, 5, …",
                ]
            );
            assert_eq!(holders.on("acme-infra").len(), 1);
            assert_eq!(
                holders.on("globex"),
                ["globex is of globex, where no role names a group"]
            );
            assert_eq!(holders.on("x"), ["no organization has a tenant x"]);
        }
    }
}
