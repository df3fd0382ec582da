//! The `projects` section: the projects API and who may read a project.

use std::collections::{HashMap, HashSet};

use super::reader::{Elements, Node, Section};
use super::table::directory::{self, http, project};
use super::table::{document, projects};
use crate::authz::policy::Draft;
use crate::authz::projects::{Directory, MAX_ID, Project, Projects, Service, Template, is_id};
use crate::scoping::scope::LabelName;
use crate::words::hash::QuickHash;
use crate::words::tenant::TenantId;

/// Reads the section, or gives `Some(None)` if there is none. The groups that an inline
/// directory names are added to the policy.
#[expect(clippy::option_option)]
pub(super) fn read_projects(
    top: &Section<'_>,
    policy: Option<&mut Draft>,
    hash: QuickHash,
) -> Option<Option<Projects>> {
    let Some(node) = top.get(&document::PROJECTS) else {
        return Some(None);
    };
    let section = node.section(&projects::TABLE)?;
    let tenant = match section.get(&projects::TENANT) {
        None => Template::parse(projects::TENANT.form.default).ok(),
        Some(node) => read_tenant(&node),
    };
    let resource_label = match section.get(&projects::RESOURCE_LABEL) {
        None => LabelName::parse(projects::RESOURCE_LABEL.form.default).ok(),
        Some(node) => node.text().and_then(|text| {
            let label = LabelName::parse(text);
            if let Err(rule) = label {
                node.problem(rule);
            }
            label.ok()
        }),
    };
    let directory = section
        .require(&projects::DIRECTORY)
        .and_then(|node| read_directory(&node, policy, hash));
    Some(Some(Projects {
        tenant: tenant?,
        resource_label: resource_label?,
        directory: directory?,
    }))
}

fn read_tenant(node: &Node<'_>) -> Option<Template> {
    let text = node.text()?;
    let template = match Template::parse(text) {
        Ok(template) => template,
        Err(rule) => {
            node.problem(rule);
            return None;
        }
    };
    if template.names_resource() {
        node.problem("a tenant is a project's, not a resource's");
        return None;
    }
    if let Err(error) = TenantId::parse(&text.replace("{project}", "p")) {
        node.problem(format!("makes no tenant ID: {}", error.rule()));
        return None;
    }
    Some(template)
}

fn read_directory(
    node: &Node<'_>,
    policy: Option<&mut Draft>,
    hash: QuickHash,
) -> Option<Directory> {
    let section = node.section(&directory::TABLE)?;
    match (
        section.get(&directory::INLINE),
        section.get(&directory::HTTP),
    ) {
        (Some(inline), None) => read_inline(&inline, policy, hash),
        (None, Some(http)) => read_service(&http).map(Directory::Http),
        _ => {
            section.problem("must have either inline or http");
            None
        }
    }
}

fn read_inline(node: &Node<'_>, policy: Option<&mut Draft>, hash: QuickHash) -> Option<Directory> {
    let mut policy = policy;
    let nodes = node.elements(directory::INLINE.form.most)?;
    let mut projects: HashMap<Box<str>, Project, QuickHash> = HashMap::with_hasher(hash);
    for node in nodes.iter() {
        let Some(section) = node.section(&project::TABLE) else {
            continue;
        };
        let name = section
            .require(&project::PROJECT)
            .and_then(|node| read_id(&node));
        let mut project = Project {
            resources: HashSet::with_hasher(hash),
            ..Project::default()
        };
        let resources = section
            .require(&project::RESOURCES)
            .and_then(|node| node.elements(project::RESOURCES.form.of.most));
        for id in resources.iter().flat_map(Elements::iter) {
            if let Some(resource) = read_id(&id)
                && !project.resources.insert(resource.into())
            {
                id.problem(format!("the resource {resource:?} is listed twice"));
            }
        }
        for group in section
            .require(&project::READERS)
            .and_then(|node| node.texts(project::READERS.form.of.most))
            .unwrap_or_default()
        {
            if let Some(policy) = policy.as_mut() {
                project.readers.push(policy.name_group(group));
            }
        }
        project.readers.sort_unstable();
        if let Some(name) = name
            && projects.insert(name.into(), project).is_some()
        {
            node.problem(format!("the project {name:?} is listed twice"));
        }
    }
    Some(Directory::Inline(projects))
}

fn read_id<'a>(node: &Node<'a>) -> Option<&'a str> {
    let text = node.text()?;
    if !is_id(text) {
        node.problem(format!(
            "an ID has at most {MAX_ID} letters, digits, . _ and -, and begins with neither of \
             these three"
        ));
        return None;
    }
    Some(text)
}

fn read_service(node: &Node<'_>) -> Option<Service> {
    let section = node.section(&http::TABLE)?;
    let cluster = section.require(&http::CLUSTER).and_then(|node| node.text());
    let authority = section
        .require(&http::AUTHORITY)
        .and_then(|node| read_authority(&node));
    let path = section
        .require(&http::PATH)
        .and_then(|node| read_path(&node));
    let timeout = section.duration(&http::TIMEOUT);
    let cache_ttl = section.duration(&http::CACHE_TTL);
    Some(Service {
        cluster: cluster?.to_owned(),
        authority: authority?.to_owned(),
        path: path?,
        timeout: timeout?,
        cache_ttl: cache_ttl?,
    })
}

fn read_authority<'a>(node: &Node<'a>) -> Option<&'a str> {
    let text = node.text()?;
    let plain = |byte: u8| {
        byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b':' | b'[' | b']' | b'_')
    };
    if !text.bytes().all(plain) {
        node.problem("must be a host, with a port where needed");
        return None;
    }
    Some(text)
}

fn read_path(node: &Node<'_>) -> Option<Template> {
    let text = node.text()?;
    let plain = |byte: u8| matches!(byte, 0x21..=0x7e) && !matches!(byte, b'#' | b'\\');
    if !text.starts_with('/') || !text.bytes().all(plain) {
        node.problem("must be a path: /, then printable ASCII without spaces");
        return None;
    }
    match Template::parse(text) {
        Ok(template) if template.names_resource() => Some(template),
        Ok(_) => {
            node.problem("must hold {resource}: else all resources of a project would be one");
            None
        }
        Err(rule) => {
            node.problem(rule);
            None
        }
    }
}
