//! What loads and cannot be meant.

use std::collections::BTreeMap;

use super::diagnostic::Diagnostics;
use super::fault::Fault;
use super::found::{Document, Found, Kind};
use super::tree::{Node, Style, Value};
use super::{issuers, place, scalar, variables};
use crate::config::Config;

/// Warns of all of it in a document. What needs a configuration that loads is left out
/// without one.
pub(super) fn judge(
    document: &Document,
    config: Option<&Config>,
    found: &Found,
    diagnostics: &mut Diagnostics,
) {
    words(document, diagnostics);
    organizations(document, diagnostics);
    if document.kind != Kind::Configuration {
        return;
    }
    issuers::judge(document, diagnostics);
    if let Some(config) = config {
        backends(document, config, found, diagnostics);
        groups(document, config, diagnostics);
    }
}

/// Texts without quotes that YAML 1.1 reads as something else.
fn words(document: &Document, diagnostics: &mut Diagnostics) {
    if document.is_json {
        return;
    }
    let file = document.source.file;
    let mut doubtful: Vec<(&Node, Fault)> = Vec::new();
    document.root.walk(&mut |node| {
        for member in node.members() {
            // `off` may be written either way there.
            if member.name == "audience_check" {
                continue;
            }
            if member.plain
                && let Some(reading) = scalar::in_yaml_1_1(&member.name)
            {
                let fault = misread(member.key.clone(), &member.name, reading);
                doubtful.push((&member.value, fault));
            }
            if let Some(fault) = misread_value(&member.value) {
                doubtful.push((&member.value, fault));
            }
        }
        for element in node.elements() {
            if let Some(fault) = misread_value(element) {
                doubtful.push((element, fault));
            }
        }
    });
    for (node, fault) in doubtful {
        let span = document.source.outer(&fault.span);
        if !diagnostics.errs_at(file, &span) {
            let place = place::of(&document.root, node);
            diagnostics.warning(&document.source, fault, place);
        }
    }
}

fn misread_value(node: &Node) -> Option<Fault> {
    match &node.value {
        Value::Text(text) if text.style == Style::Plain => {
            let reading = scalar::in_yaml_1_1(&text.text)?;
            Some(misread(node.span.clone(), &text.text, reading))
        }
        _ => None,
    }
}

fn misread(span: std::ops::Range<usize>, text: &str, reading: &str) -> Fault {
    let message = format!("YAML 1.1 reads {text} as {reading}, and YAML 1.2 as a text");
    Fault::new(span, message).help(format!("put it in quotes: \"{text}\""))
}

/// Organizations that grant nothing.
fn organizations(document: &Document, diagnostics: &mut Diagnostics) {
    let root = &document.root;
    let Some(member) = root.member("organizations") else {
        return;
    };
    let Value::List(list) = &member.value.value else {
        return;
    };
    let elsewhere = root.member("organizations_from").is_some();
    if list.is_empty() && !elsewhere {
        let text = "there is no organization, so nobody may use anything";
        let fault = Fault::new(member.key.clone(), text)
            .help("list at least one, with tenants and the groups that may use them");
        diagnostics.warning(&document.source, fault, "organizations");
    }
    for (position, organization) in list.iter().enumerate() {
        let granted = organization.get("rbac").is_some_and(|rbac| {
            let roles = rbac.members().iter();
            // What is no list is an error, and told as one.
            roles.into_iter().any(|role| match &role.value.value {
                Value::List(groups) => !groups.is_empty(),
                Value::Null => false,
                _ => true,
            })
        });
        if organization.is_object() && !granted {
            let rbac = organization.member("rbac").map(|member| member.key.clone());
            let at = rbac.unwrap_or_else(|| place::head(organization, None));
            let text = "nobody may use the tenants of this organization";
            let fault = Fault::new(at, text)
                .help("name groups under rbac, such as rbac: {viewers: [developers]}");
            let place = format!("organizations[{position}]");
            diagnostics.warning(&document.source, fault, place);
        }
    }
}

fn backends(document: &Document, config: &Config, found: &Found, diagnostics: &mut Diagnostics) {
    let backends = &config.backends;
    if backends.loki || backends.mimir || backends.tempo {
        return;
    }
    // One may be switched on by a variable whose value is not among the files.
    let switched = document.machine.iter().flat_map(|machine| &machine.passed);
    let mut switched = switched.filter(|variable| variables::is_switch(&variable.name));
    let known = |name: &str| found.proxies.iter().any(|set| set.name == name);
    if switched.any(|variable| !known(&variable.name)) {
        return;
    }
    let member = document.root.member("backends");
    let at = member.map(|member| member.key.clone());
    let at = at.unwrap_or_else(|| place::head(&document.root, None));
    let text = "no backend is enabled, so every request is answered with 503";
    let fault = Fault::new(at, text).help("write backends: {loki: {}, mimir: {}, tempo: {}}");
    diagnostics.warning(&document.source, fault, "backends");
}

/// Groups that no token can bring.
fn groups(document: &Document, config: &Config, diagnostics: &mut Diagnostics) {
    // A group may stand in many organizations: the first tells for all.
    let mut named: BTreeMap<&str, (&Node, usize)> = BTreeMap::new();
    for node in group_nodes(&document.root) {
        if let Some(group) = node.text() {
            let entry = named.entry(group).or_insert((node, 0));
            entry.1 = entry.1.saturating_add(1);
        }
    }
    let mappings: Vec<_> = config
        .providers
        .iter()
        .map(|provider| &provider.rules.mapping)
        .collect();
    for (group, (node, times)) in named {
        if mappings.iter().any(|mapping| mapping.may_yield(group)) {
            continue;
        }
        let more = match times.saturating_sub(1) {
            0 => String::new(),
            1 => " (named once more below)".to_owned(),
            more => format!(" (named {more} times more below)"),
        };
        let text = format!("no token can bring the group {group:?}{more}");
        let sources: Vec<String> = mappings
            .iter()
            .flat_map(|mapping| &mapping.groups)
            .map(|source| match source.prefix.as_str() {
                "" => format!("{} without a prefix", source.path.join(".")),
                prefix => format!("{} as {prefix:?} and the value", source.path.join(".")),
            })
            .collect();
        let help = if sources.is_empty() {
            "claims.groups of no provider names a claim".to_owned()
        } else {
            format!("groups come from {}", sources.join(", "))
        };
        let fault = Fault::new(node.span.clone(), text).help(help);
        let place = place::of(&document.root, node);
        diagnostics.warning(&document.source, fault, place);
    }
}

/// Where groups are named in a document.
fn group_nodes(root: &Node) -> Vec<&Node> {
    let mut nodes: Vec<&Node> = Vec::new();
    for organization in root.list("organizations") {
        let rbac = organization.get("rbac");
        for role in rbac.map_or(&[][..], |rbac| rbac.members()) {
            for binding in role.value.elements() {
                nodes.push(binding.get("group").unwrap_or(binding));
            }
        }
    }
    let projects = root.at(&["projects", "directory", "inline"]);
    for project in projects.map_or(&[][..], Node::elements) {
        let readers = project.list("readers");
        nodes.extend(readers.iter().map(AsRef::as_ref));
    }
    nodes
}
