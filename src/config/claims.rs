//! The `claims` section of a provider: which claims name the caller and its groups.

use super::reader::{Node, Section, shortened};
use super::table::claims::{self, group};
use super::table::{MAX_ELEMENTS, Texts, provider};
use crate::authn::claims::ClaimMapping;
use crate::authn::group_source::{GroupSource, Path, Prefixes, Shape};
use crate::authn::json::Value;

/// Reads the mapping. It does not yet have the prefixes of other providers.
pub(super) fn read_mapping(section: &Section<'_>) -> Option<ClaimMapping> {
    let path = |names: &[&str]| {
        names
            .iter()
            .map(|name| (*name).to_owned())
            .collect::<Path>()
    };
    let section = section.open(&provider::CLAIMS)?;
    let form = &claims::SUBJECT.form;
    let subject = match section.get(&claims::SUBJECT) {
        None => Some(form.default.iter().map(|names| path(names)).collect()),
        Some(node) if node.value.as_str().is_some() => {
            node.expected("a list of paths such as [[sub]]");
            None
        }
        Some(node) => node.elements(MAX_ELEMENTS).and_then(|nodes| {
            if nodes.len() < form.least {
                node.problem("must list at least one path, such as [[sub]]");
                return None;
            }
            let paths: Vec<_> = nodes.iter().map(|node| read_path(&node)).collect();
            paths.into_iter().collect()
        }),
    };
    let groups = match section.get(&claims::GROUPS) {
        None => {
            let path = path(claims::GROUPS.form.default);
            Some(vec![GroupSource::texts(path, String::new())])
        }
        Some(node) if node.value.as_array().is_none() => {
            node.expected("a list such as [{path: [groups]}]");
            None
        }
        Some(node) => node.elements(MAX_ELEMENTS).and_then(|nodes| {
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
    let Texts { least, most, .. } = claims::PATH;
    let segments = node.texts(most)?;
    if segments.len() < least {
        node.problem("must name at least one claim");
        return None;
    }
    Some(segments.into_iter().map(ToOwned::to_owned).collect())
}

fn read_group_source(node: &Node<'_>) -> Option<GroupSource> {
    if node.value.as_object().is_none() {
        node.expected("an object such as {path: [groups]}");
        return None;
    }
    let section = node.section(&group::TABLE)?;
    let path = section.require(&group::PATH_OF_GROUPS).and_then(|node| {
        let path = read_path(&node)?;
        if let [name] = path.as_slice()
            && DISPLAY_NAMES.contains(&name.as_str())
        {
            node.problem("people choose their display names themselves: none may decide access");
            return None;
        }
        Some(path)
    });
    let text = |key| match section.get(key) {
        None => Some(None),
        Some(node) => node.text().map(Some),
    };
    let prefix = match section.get(&group::PREFIX) {
        // An empty prefix is the same as none.
        Some(node) if *node.value == Value::String(String::new()) => Some(None),
        _ => text(&group::PREFIX),
    };
    let split = text(&group::SPLIT);
    let shape = read_shape(node, &section);
    Some(GroupSource {
        shape: shape?,
        split: split?.map(ToOwned::to_owned),
        ..GroupSource::texts(path?, prefix?.unwrap_or_default().to_owned())
    })
}

/// Claims in which people can write what they like (OpenID Connect Core §5.1, and the names
/// that directories give them).
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

/// The form in which the groups of a source are written.
fn read_shape(node: &Node<'_>, section: &Section<'_>) -> Option<Shape> {
    let form = section.get(&group::FORM);
    let field = section.get(&group::FIELD);
    let having = section.get(&group::HAVING);
    let keys = section.flag(&group::KEYS)?;
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
        if form.text()? != group::FORM.form.word {
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
