//! Configurations that load but cannot be what was meant.

use std::collections::{BTreeMap, BTreeSet};

use super::diagnostic::Diagnostics;
use super::fault::Fault;
use super::found::{Document, Found, Kind};
use super::tree::{Node, Style, Value};
use super::{grants, issuers, place, scalar, variables};
use crate::config::{Config, Mode};

/// Warns of everything doubtful in a document. Some checks need a configuration that loads, and
/// are skipped without one: a configuration's own, or for organizations from outside the one
/// `beside` them.
pub(super) fn judge(
    document: &Document,
    config: Option<&Config>,
    beside: Option<&Config>,
    found: &Found,
    diagnostics: &mut Diagnostics,
) {
    words(document, diagnostics);
    organizations(document, diagnostics);
    grants::judge(document, diagnostics);
    if document.kind != Kind::Configuration {
        if let Some(beside) = beside {
            groups(document, beside, diagnostics);
        }
        return;
    }
    issuers::judge(document, diagnostics);
    grants::keys(document, diagnostics);
    if let Some(config) = config {
        mode(document, config, diagnostics);
        backends(document, config, found, diagnostics);
        groups(document, config, diagnostics);
    }
}

/// Warns of `mode: report`, in which nothing is refused.
fn mode(document: &Document, config: &Config, diagnostics: &mut Diagnostics) {
    if config.mode != Mode::Report {
        return;
    }
    let Some(member) = document.root.member("mode") else {
        return;
    };
    let text = "in mode: report every request passes, also without a token";
    let fault = Fault::new(member.value.span.clone(), text)
        .help("keep it only for as long as something else protects the backends");
    diagnostics.warning(&document.source, fault, "mode");
}

/// Warns of texts without quotes that YAML 1.1 reads as something else.
fn words(document: &Document, diagnostics: &mut Diagnostics) {
    if document.is_json {
        return;
    }
    let file = document.source.file;
    let mut doubtful: Vec<(String, Fault)> = Vec::new();
    place::walk(&document.root, &mut |node, place| {
        // `audience_check` accepts `off` as a text and as false.
        if place.ends_with(".audience_check") {
            return;
        }
        for member in node.members() {
            if member.plain
                && let Some(reading) = scalar::in_yaml_1_1(&member.name)
            {
                let fault = misread(member.key.clone(), &member.name, reading);
                let before = if place.is_empty() { "" } else { "." };
                doubtful.push((format!("{place}{before}{}", member.name), fault));
            }
        }
        if let Some(fault) = misread_value(node) {
            doubtful.push((place.to_owned(), fault));
        }
    });
    for (place, fault) in doubtful {
        let span = document.source.outer(&fault.span);
        if !diagnostics.errs_at(file, &span) {
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

/// Warns of organizations that grant nothing.
fn organizations(document: &Document, diagnostics: &mut Diagnostics) {
    let root = &document.root;
    let Some(member) = root.member("organizations") else {
        return;
    };
    let Value::List(list) = &member.value.value else {
        return;
    };
    let file = document.source.file;
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
            // Anything but a list is an error already, which has its own diagnostic.
            roles.into_iter().any(|role| match &role.value.value {
                Value::List(groups) => !groups.is_empty(),
                Value::Null => false,
                _ => true,
            })
        });
        let place = format!("organizations[{position}]");
        let below = format!("{place}.");
        if organization.is_object() && !granted && !diagnostics.errs_below(file, &below) {
            let rbac = organization.member("rbac").map(|member| member.key.clone());
            let at = rbac.unwrap_or_else(|| place::head(organization, None));
            let text = "nobody may use the tenants of this organization";
            let fault = Fault::new(at, text)
                .help("name groups under rbac, such as rbac: {viewers: [developers]}");
            diagnostics.warning(&document.source, fault, place);
        }
    }
}

fn backends(document: &Document, config: &Config, found: &Found, diagnostics: &mut Diagnostics) {
    let backends = &config.backends;
    if backends.loki || backends.mimir || backends.tempo {
        return;
    }
    // A backend may be switched on by a variable whose value is not among the files.
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

/// Warns of groups that no token can bring.
fn groups(document: &Document, config: &Config, diagnostics: &mut Diagnostics) {
    // A group may be named in many organizations; one warning, at the first, covers them all.
    let mut named: BTreeMap<&str, (Named<'_>, usize)> = BTreeMap::new();
    for one in named_groups(&document.root) {
        if let Some(group) = one.node.text() {
            let entry = named.entry(group).or_insert((one, 0));
            entry.1 = entry.1.saturating_add(1);
        }
    }
    let mappings: Vec<_> = config
        .providers
        .iter()
        .map(|provider| &provider.rules.mapping)
        .collect();
    let prefixes: BTreeSet<&str> = mappings
        .iter()
        .flat_map(|mapping| &mapping.groups)
        .map(|source| source.prefix.as_str())
        .filter(|prefix| !prefix.is_empty())
        .collect();
    for (group, (Named { node, place }, times)) in named {
        if let Some(meant) = meant(group, &prefixes) {
            let text = format!("the group {group:?} has no source's prefix, and nearly one");
            let fault =
                Fault::new(node.span.clone(), text).help(format!("did you mean {meant:?}?"));
            diagnostics.warning(&document.source, fault, place);
            continue;
        }
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
        diagnostics.warning(&document.source, fault, place);
    }
}

/// The group with its beginning replaced by the prefix that it nearly matches. The beginning ends
/// at the first occurrence of the prefix's last character. `None` if the group has a prefix
/// already, or if none is near enough.
fn meant(group: &str, prefixes: &BTreeSet<&str>) -> Option<String> {
    if prefixes.iter().any(|prefix| group.starts_with(prefix)) {
        return None;
    }
    prefixes.iter().find_map(|prefix| {
        let last = prefix
            .chars()
            .last()
            .filter(|last| !last.is_alphanumeric())?;
        let end = group.find(last)?.saturating_add(last.len_utf8());
        let (beginning, value) = group.split_at_checked(end)?;
        let near = strsim::damerau_levenshtein(beginning, prefix) <= MAX_SLIPS;
        (near && prefix.len() > MAX_SLIPS.saturating_mul(2)).then(|| format!("{prefix}{value}"))
    })
}

/// The most edits of letters between a group's beginning and a prefix for it to count as a slip.
const MAX_SLIPS: usize = 2;

/// A group, and the place where it is named.
struct Named<'a> {
    node: &'a Node,
    place: String,
}

/// All places in a document where groups are named.
fn named_groups(root: &Node) -> Vec<Named<'_>> {
    let mut all = Vec::new();
    for (position, organization) in root.list("organizations").iter().enumerate() {
        let rbac = organization.get("rbac");
        for role in rbac.map_or(&[][..], |rbac| rbac.members()) {
            for (index, binding) in role.value.elements().iter().enumerate() {
                let place = format!("organizations[{position}].rbac.{}[{index}]", role.name);
                all.push(match binding.get("group") {
                    Some(node) => Named {
                        node,
                        place: format!("{place}.group"),
                    },
                    None => Named {
                        node: binding,
                        place,
                    },
                });
            }
        }
    }
    let projects = root.at(&["projects", "directory", "inline"]);
    let projects = projects.map_or(&[][..], Node::elements);
    for (position, project) in projects.iter().enumerate() {
        for (index, node) in project.list("readers").iter().enumerate() {
            let place = format!("projects.directory.inline[{position}].readers[{index}]");
            all.push(Named { node, place });
        }
    }
    all
}
