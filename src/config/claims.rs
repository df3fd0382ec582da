//! The `claims` section of a provider: who its tokens speak of.

use super::reader::{Node, Section, flag, shortened};
use crate::authn::claims::ClaimMapping;
use crate::authn::group_source::{GroupSource, Path, Prefixes, Shape};
use crate::authn::json::Value;

/// The mapping, without the prefixes of other providers.
pub(super) fn read_mapping(section: &Section<'_>) -> Option<ClaimMapping> {
    let default_subject = || vec![vec!["sub".to_owned()]];
    let default_groups = || vec![GroupSource::texts(vec!["groups".to_owned()], String::new())];
    let Some(node) = section.get("claims") else {
        return Some(ClaimMapping {
            subject: default_subject(),
            groups: default_groups(),
            prefixes: Prefixes::default(),
        });
    };
    let claims = node.section(&["subject", "groups"])?;
    let subject = match claims.get("subject") {
        None => Some(default_subject()),
        Some(node) if node.value.as_str().is_some() => {
            node.expected("a list of paths such as [[sub]]");
            None
        }
        Some(node) => node.list().and_then(|nodes| {
            if nodes.is_empty() {
                node.problem("must list at least one path, such as [[sub]]");
                return None;
            }
            let paths: Vec<_> = nodes.iter().map(|node| read_path(&node)).collect();
            paths.into_iter().collect()
        }),
    };
    let groups = match claims.get("groups") {
        None => Some(default_groups()),
        Some(node) if node.value.as_array().is_none() => {
            node.expected("a list such as [{path: [groups]}]");
            None
        }
        Some(node) => node.list().and_then(|nodes| {
            let sources: Vec<_> = nodes.iter().map(|node| read_group_source(&node)).collect();
            sources.into_iter().collect()
        }),
    };
    Some(ClaimMapping {
        subject: subject?,
        groups: groups?,
        prefixes: Prefixes::default(),
    })
}

fn read_path(node: &Node<'_>) -> Option<Path> {
    if let Some(text) = node.value.as_str().filter(|text| text.contains('.')) {
        let text = shortened(text);
        let several = text.replace('.', ", ");
        node.problem(format!(
            "expected a list, found a string: write [{several}], or [{text}] if that is one name"
        ));
        return None;
    }
    let segments = node.texts()?;
    if segments.is_empty() {
        node.problem("must name at least one claim");
        return None;
    }
    Some(segments.into_iter().map(ToOwned::to_owned).collect())
}

fn read_group_source(node: &Node<'_>) -> Option<GroupSource> {
    const KNOWN: [&str; 7] = ["path", "prefix", "split", "form", "keys", "having", "field"];
    if node.value.as_object().is_none() {
        node.expected("an object such as {path: [groups]}");
        return None;
    }
    let section = node.section(&KNOWN)?;
    let path = section
        .require("path", "where in the claims the groups stand")
        .and_then(|node| {
            let path = read_path(&node)?;
            if let [name] = path.as_slice()
                && DISPLAY_NAMES.contains(&name.as_str())
            {
                node.problem(
                    "people choose their display names themselves: none may decide access",
                );
                return None;
            }
            Some(path)
        });
    let text = |name| match section.get(name) {
        None => Some(None),
        Some(node) => node.text().map(Some),
    };
    let prefix = match section.get("prefix") {
        // The same as none.
        Some(node) if *node.value == Value::String(String::new()) => Some(None),
        _ => text("prefix"),
    };
    let split = text("split");
    let shape = read_shape(node, &section);
    Some(GroupSource {
        shape: shape?,
        split: split?.map(ToOwned::to_owned),
        ..GroupSource::texts(path?, prefix?.unwrap_or_default().to_owned())
    })
}

/// Claims in which people write what they like (OpenID Connect Core §5.1,
/// and what directories call them).
const DISPLAY_NAMES: [&str; 8] = [
    "cn",
    "displayName",
    "display_name",
    "family_name",
    "given_name",
    "middle_name",
    "name",
    "nickname",
];

/// How the groups of a source are written.
fn read_shape(node: &Node<'_>, section: &Section<'_>) -> Option<Shape> {
    let form = section.get("form");
    let field = section.get("field");
    let having = section.get("having");
    let keys = flag(section, "keys", false)?;
    let named = [form.is_some(), field.is_some(), keys];
    if named.into_iter().filter(|named| *named).count() > 1 {
        node.problem("must have only one of form, keys and field");
        return None;
    }
    if let Some(having) = having.as_ref().filter(|_| !keys) {
        having.problem("has no meaning without keys: true");
        return None;
    }
    if let Some(form) = form {
        if form.text()? != "list" {
            form.problem("can only be list, a list that is written into a string");
            return None;
        }
        return Some(Shape::ListInText);
    }
    if let Some(field) = field {
        return Some(Shape::Field(field.text()?.to_owned()));
    }
    if !keys {
        return Some(Shape::Texts);
    }
    let having = match having {
        Some(node) => Some(node.text()?.to_owned()),
        None => None,
    };
    Some(Shape::Keys { having })
}
