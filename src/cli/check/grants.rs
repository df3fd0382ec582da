//! Grants that are hardly what was meant: roles, labels and tenants without an effect, and keys
//! fetched over plain HTTP.

use std::collections::HashMap;
use std::ops::Range;

use super::diagnostic::Diagnostics;
use super::fault::Fault;
use super::found::Document;
use super::place;
use super::tree::Node;
use crate::config::table::roles;

/// Warns of doubtful roles, labels and tenants in a document.
pub(super) fn judge(document: &Document, diagnostics: &mut Diagnostics) {
    roles(document, diagnostics);
    let organizations = document.root.list("organizations");
    for (position, organization) in organizations.iter().enumerate() {
        let place = format!("organizations[{position}]");
        if let Some(member) = organization.member("tenants")
            && is_empty_list(&member.value)
        {
            let text = "this organization has no tenant, so its groups may use nothing";
            let fault = Fault::new(member.key.clone(), text).help("list at least one");
            diagnostics.warning(&document.source, fault, format!("{place}.tenants"));
        }
        let rbac = organization.get("rbac");
        for role in rbac.map_or(&[][..], |rbac| rbac.members()) {
            let place = format!("{place}.rbac.{}", role.name);
            bindings(document, &role.value, &place, diagnostics);
        }
    }
}

fn is_empty_list(node: &Node) -> bool {
    matches!(&node.value, super::tree::Value::List(list) if list.is_empty())
}

/// Warns of roles defined in the document that look like default roles.
fn roles(document: &Document, diagnostics: &mut Diagnostics) {
    let Some(own) = document.root.get("roles") else {
        return;
    };
    for member in own.members() {
        let mut names = roles::ROLES.default.iter().map(|(name, _)| *name);
        let default = names.find(|default| member.name == roles::bound(default));
        let Some(default) = default else { continue };
        let text = format!(
            "this is a role beside the default {default}, and changes nothing of what {} may do",
            roles::bound(default)
        );
        let fault = Fault::new(member.key.clone(), text).help(format!(
            "write {default} to change the default role, or take another name"
        ));
        let place = format!("roles.{}", member.name);
        diagnostics.warning(&document.source, fault, place);
    }
}

/// Warns of labels without an effect, and of labels that look like patterns, in the list of groups
/// that hold a role.
fn bindings(document: &Document, role: &Node, place: &str, diagnostics: &mut Diagnostics) {
    let mut plain: HashMap<&str, Range<usize>> = HashMap::new();
    for binding in role.elements() {
        let labels = binding.get("labels").is_some();
        let node = binding.get("group").unwrap_or(binding);
        if let Some(group) = node.text().filter(|_| !labels) {
            plain.entry(group).or_insert_with(|| node.span.clone());
        }
    }
    for (index, binding) in role.elements().iter().enumerate() {
        let Some(labels) = binding.member("labels") else {
            continue;
        };
        let place = format!("{place}[{index}].labels");
        let group = binding.text_of("group").unwrap_or_default();
        if let Some(span) = plain.get(group) {
            let text = format!("the labels do nothing: {group:?} holds the role without them too");
            let fault = Fault::new(labels.key.clone(), text)
                .with(span.clone(), "here")
                .help("leave out one of the two");
            diagnostics.warning(&document.source, fault, place.as_str());
        }
        for label in labels.value.members() {
            for (index, value) in label.value.elements().iter().enumerate() {
                if let Some(text) = value.text().filter(|text| is_pattern(text)) {
                    let text = format!("{text:?} is taken literally, and looks like a pattern");
                    let fault = Fault::new(value.span.clone(), text)
                        .help("list each value that is meant: a label is compared whole");
                    let place = format!("{place}.{}[{index}]", label.name);
                    diagnostics.warning(&document.source, fault, place);
                }
            }
        }
    }
}

/// Whether a value looks like a regular expression or a glob.
fn is_pattern(text: &str) -> bool {
    text.contains(['*', '|', '[']) || text.starts_with('^') || text.ends_with('$')
}

/// Warns of keys that are fetched over plain HTTP from outside the machine and the cluster.
pub(super) fn keys(document: &Document, diagnostics: &mut Diagnostics) {
    for provider in document.root.list("providers") {
        let Some(node) = provider.at(&["jwks", "uri"]) else {
            continue;
        };
        let Some(rest) = node.text().and_then(|uri| uri.strip_prefix("http://")) else {
            continue;
        };
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        if is_near(authority) {
            continue;
        }
        let text =
            "keys come over plain HTTP: anybody on the way can answer with keys of their own";
        let fault = Fault::new(node.span.clone(), text)
            .help("write https://, and let the cluster verify the server's certificate");
        let place = place::of(&document.root, node);
        diagnostics.warning(&document.source, fault, place);
    }
}

/// Whether a host is this machine or, by the form of its name, a Service of the same Kubernetes
/// cluster, such as `dex`, `dex.auth.svc` and `dex.auth.svc.cluster.local`.
fn is_near(authority: &str) -> bool {
    if authority.starts_with('[') {
        return authority.starts_with("[::1]");
    }
    let host = authority.split(':').next().unwrap_or_default();
    let mut labels = host.split('.');
    !host.contains('.') || host.starts_with("127.") || labels.nth(2) == Some("svc")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_known_by_their_signs() {
        for pattern in [".*", "web-*", "a|b", "^web", "web$", "web-[0-9]"] {
            assert!(is_pattern(pattern), "{pattern}");
        }
        for value in ["web", "web-1", "a.b", "10$ a", "a^b", "(a)", ""] {
            assert!(!is_pattern(value), "{value}");
        }
    }

    #[test]
    fn what_is_near_needs_no_tls() {
        for near in [
            "localhost:8080",
            "127.0.0.1",
            "[::1]:80",
            "dex",
            "dex:5556",
            "dex.auth.svc",
            "dex.auth.svc.cluster.local:80",
        ] {
            assert!(is_near(near), "{near}");
        }
        for far in [
            "login.example.com",
            "10.0.0.1:80",
            "[2001:db8::1]",
            "svc.example.com",
        ] {
            assert!(!is_near(far), "{far}");
        }
    }
}
