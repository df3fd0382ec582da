//! What the gate offers besides forwarding requests: rules for requests that name no tenant,
//! health checks, and access for browsers.

use super::reader::{Node, Section};
use super::table::{cors, document, health, tenants};
use super::{Entrance, TenantRules};
use crate::authz::endpoint::{Endpoints, Surface};
use crate::authz::policy::Draft;
use crate::words::denial::Denial;
use crate::words::origin::Origin;

pub(super) fn read_entrance(top: &Section<'_>, policy: Option<&Draft>) -> Option<Entrance> {
    let tenants = read_tenant_rules(top, policy);
    let health = read_health(top);
    let origins = read_origins(top);
    Some(Entrance {
        tenants: tenants?,
        health,
        origins: origins?,
    })
}

fn read_tenant_rules(top: &Section<'_>, policy: Option<&Draft>) -> Option<TenantRules> {
    let section = top.open(&document::TENANTS)?;
    let absent = section.word(&tenants::WHEN_ABSENT);
    let star = match section.get(&tenants::ALL) {
        None => Some(false),
        Some(node) => read_star(&node, policy),
    };
    Some(TenantRules {
        only_one_may_be_absent: absent? == tenants::Absent::OnlyOne,
        star_is_all: star?,
    })
}

fn read_star(node: &Node<'_>, policy: Option<&Draft>) -> Option<bool> {
    if node.text()? != tenants::ALL.form.word {
        node.problem("must be \"*\": that alone stands for all tenants");
        return None;
    }
    if policy.is_some_and(Draft::has_star) {
        node.problem("a tenant is named \"*\" itself: leave this out, or rename the tenant");
        return None;
    }
    Some(true)
}

/// Reads the path. `None` if there is none, or if it is a mistake, which is then reported.
fn read_health(top: &Section<'_>) -> Option<Box<str>> {
    let section = top.get(&document::HEALTH)?.section(&health::TABLE)?;
    let node = section.require(&health::PATH)?;
    let path = node.text()?;
    let plain =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    // A path that a proxy would normalise could never be requested.
    let is_segment = |segment: &str| {
        !segment.is_empty() && segment != "." && segment != ".." && segment.bytes().all(plain)
    };
    let segments = path.strip_prefix('/');
    let sound = segments.is_some_and(|segments| segments.split('/').all(is_segment));
    if !sound || path.len() > health::PATH.form.of.longest {
        node.problem("must be a plain path of letters, digits, - . _ and ~, such as /healthz");
        return None;
    }
    let all = [Surface::Platform, Surface::LokiLegacy, Surface::Projects];
    if Endpoints::new(&all).find(path.as_bytes(), b"GET").err() != Some(Denial::RouteNotListed) {
        node.problem("is a path of the endpoint table: choose another one");
        return None;
    }
    Some(path.into())
}

fn read_origins(top: &Section<'_>) -> Option<Box<[Origin]>> {
    let Some(node) = top.get(&document::CORS) else {
        return Some(Box::default());
    };
    let section = node.section(&cors::TABLE)?;
    let node = section.require(&cors::ORIGINS)?;
    let form = &cors::ORIGINS.form.of;
    let nodes = node.elements(form.most)?;
    let mut origins: Vec<Origin> = Vec::new();
    for node in nodes.iter() {
        let origin = Origin::parse(node.text()?);
        match origin {
            Ok(origin) if origins.contains(&origin) => node.problem("is listed twice"),
            Ok(origin) => origins.push(origin),
            Err(rule) => node.problem(rule),
        }
    }
    if nodes.len() < form.least {
        node.problem("must name an origin: leave cors out if there is none");
    }
    Some(origins.into())
}
