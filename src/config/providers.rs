//! The `providers` section: whom to trust, and how to read their tokens.

use std::collections::HashSet;
use std::sync::Arc;

use super::keys::read_key_source;
use super::reader::{Node, Section, flag};
use super::{ConfiguredProvider, DEFAULT_ALGORITHMS};
use crate::authn::claims::{ClaimMapping, GroupSource};
use crate::authn::json::Value;
use crate::authn::keys::Algorithm;
use crate::authn::token::normal_type;
use crate::authn::verifier::{Provider, TokenKind};
use crate::words::identity::Issuer;
use crate::words::time::Leeway;

/// Most providers: each has fetches, waiting requests and metrics of its own.
const MAX_PROVIDERS: usize = 64;

pub(super) fn read_providers(top: &Section<'_>) -> Option<Vec<ConfiguredProvider>> {
    let node = top.require("providers", "without one no token can be verified")?;
    let nodes = node.elements(MAX_PROVIDERS)?;
    if nodes.is_empty() {
        node.problem("must list at least one provider");
        return None;
    }
    let mut names = HashSet::new();
    let mut issuers = HashSet::new();
    let mut providers = Vec::new();
    for node in nodes.iter() {
        let Some(provider) = read_provider(&node) else {
            continue;
        };
        let rules = &provider.rules;
        if !names.insert(rules.name.clone()) {
            node.problem(format!("the name {:?} is taken", rules.name));
        }
        if !issuers.insert(rules.issuer.clone()) {
            node.problem("another provider has the same issuer: tokens choose by it");
        }
        providers.push(provider);
    }
    (providers.len() == nodes.len()).then_some(providers)
}

fn read_provider(node: &Node<'_>) -> Option<ConfiguredProvider> {
    const KNOWN: [&str; 13] = [
        "name",
        "issuer",
        "audiences",
        "audience_check",
        "algorithms",
        "clock_skew",
        "max_lifetime",
        "token_types",
        "accept",
        "clients",
        "reject_bound_tokens",
        "jwks",
        "claims",
    ];
    let section = node.section(&KNOWN)?;
    let name = read_provider_name(&section);
    let issuer = section
        .require("issuer", "the exact iss of its tokens")
        .and_then(|node| read_issuer(&node));
    let audiences = read_audiences(&section);
    let algorithms = read_algorithms(&section);
    let clock_skew = section
        .get("clock_skew")
        .map_or(Some(60_000), |node| node.duration("0s", "5m"));
    let max_lifetime = match section.get("max_lifetime") {
        Some(node) => node.duration("1m", "8760h").map(Some),
        None => Some(None),
    };
    let token_types = match section.get("token_types") {
        Some(node) => node.texts(),
        None => Some(vec!["JWT", "at+jwt"]),
    };
    let kinds = read_kinds(&section);
    let clients = match section.get("clients") {
        Some(node) => node.texts(),
        None => Some(Vec::new()),
    };
    let reject_bound_tokens = flag(&section, "reject_bound_tokens", false);
    let mapping = read_mapping(&section);
    let source = section
        .require("jwks", "one of inline, uri or discovery")
        .and_then(|node| {
            read_key_source(
                &node,
                algorithms.as_deref().unwrap_or(&DEFAULT_ALGORITHMS),
                issuer.unwrap_or_default(),
            )
        });
    let owned = |texts: Vec<&str>| texts.into_iter().map(ToOwned::to_owned).collect();
    let rules = Provider {
        name: name?.to_owned(),
        issuer: Issuer::new(issuer?),
        audiences: audiences?,
        algorithms: algorithms?,
        leeway: Leeway::from_secs(clock_skew? / 1000),
        max_lifetime: max_lifetime?.map(|millis| millis / 1000),
        token_types: token_types?.into_iter().map(normal_type).collect(),
        kinds: kinds?,
        clients: owned(clients?),
        reject_bound_tokens: reject_bound_tokens?,
        mapping: mapping?,
    };
    Some(ConfiguredProvider {
        rules: Arc::new(rules),
        source: source?,
    })
}

fn read_provider_name<'a>(section: &Section<'a>) -> Option<&'a str> {
    let node = section.require("name", "it stands in logs and metrics")?;
    let name = node.text()?;
    let mut bytes = name.bytes();
    let first = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let fits = name.len() <= 63
        && bytes.next().is_some_and(first)
        && bytes.all(|byte| first(byte) || byte == b'-');
    if !fits {
        node.problem("must be 1 to 63 of a-z, 0-9 and -, not starting with -");
        return None;
    }
    Some(name)
}

fn read_issuer<'a>(node: &Node<'a>) -> Option<&'a str> {
    let issuer = node.text()?;
    if issuer.contains(['{', '}']) {
        node.problem(
            "a template would trust any tenant of the provider: \
             write one provider per exact issuer",
        );
        return None;
    }
    if issuer.trim() != issuer || issuer.chars().any(char::is_control) {
        node.problem("must not begin or end with spaces or hold control characters");
        return None;
    }
    Some(issuer)
}

/// Absent audiences are an error unless the operator spells out that none are
/// checked: else a token for any service of the provider would do.
#[expect(clippy::option_option)]
fn read_audiences(section: &Section<'_>) -> Option<Option<Vec<String>>> {
    let off = match section.get("audience_check") {
        None => false,
        // YAML reads a bare `off` as false.
        Some(node) => match node.value {
            Value::Bool(false) => true,
            Value::String(text) if text == "off" => true,
            _ => {
                node.problem("can only be off; leave it out to check audiences");
                return None;
            }
        },
    };
    match (section.get("audiences"), off) {
        (Some(node), true) => {
            node.problem("audience_check is off: remove one of the two");
            None
        }
        (Some(node), false) => {
            let audiences = node.texts()?;
            if audiences.is_empty() {
                node.problem("must name at least one audience, or set audience_check: off");
                return None;
            }
            Some(Some(audiences.into_iter().map(ToOwned::to_owned).collect()))
        }
        (None, true) => Some(None),
        (None, false) => {
            section.require(
                "audiences",
                "name the accepted aud values, or set audience_check: off",
            )?;
            None
        }
    }
}

fn read_algorithms(section: &Section<'_>) -> Option<Vec<Algorithm>> {
    let Some(node) = section.get("algorithms") else {
        return Some(DEFAULT_ALGORITHMS.to_vec());
    };
    let nodes = node.list()?;
    if nodes.is_empty() {
        node.problem("must name at least one algorithm");
        return None;
    }
    let mut algorithms = Vec::new();
    for node in nodes.iter() {
        let Some(name) = node.text() else { continue };
        match Algorithm::from_name(name) {
            Some(algorithm) => algorithms.push(algorithm),
            None if name.starts_with("HS") || name.eq_ignore_ascii_case("none") => {
                node.problem(format!("{name:?} is never accepted: anyone could sign"));
            }
            None => {
                let known: Vec<&str> = Algorithm::ALL.iter().map(|a| a.name()).collect();
                node.problem(format!("must be one of {}", known.join(", ")));
            }
        }
    }
    (algorithms.len() == nodes.len()).then_some(algorithms)
}

fn read_kinds(section: &Section<'_>) -> Option<Vec<TokenKind>> {
    let Some(node) = section.get("accept") else {
        return Some(vec![TokenKind::Access]);
    };
    let nodes = node.list()?;
    let mut kinds = Vec::new();
    for node in nodes.iter() {
        match node.text() {
            Some("access") => kinds.push(TokenKind::Access),
            Some("id") => kinds.push(TokenKind::Id),
            Some(_) => node.problem("must be access or id"),
            None => {}
        }
    }
    if nodes.is_empty() {
        node.problem("must name at least one of access, id");
    }
    (!kinds.is_empty() && kinds.len() == nodes.len()).then_some(kinds)
}

fn read_path(node: &Node<'_>) -> Option<Vec<String>> {
    let segments = node.texts()?;
    if segments.is_empty() {
        node.problem("must name at least one claim");
        return None;
    }
    Some(segments.into_iter().map(ToOwned::to_owned).collect())
}

fn read_mapping(section: &Section<'_>) -> Option<ClaimMapping> {
    let default_subject = || vec![vec!["sub".to_owned()]];
    let Some(node) = section.get("claims") else {
        return Some(ClaimMapping {
            subject: default_subject(),
            groups: vec![GroupSource {
                path: vec!["groups".to_owned()],
                prefix: String::new(),
                split: None,
            }],
        });
    };
    let claims = node.section(&["subject", "groups"])?;
    let subject = match claims.get("subject") {
        None => Some(default_subject()),
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
        None => Some(vec![GroupSource {
            path: vec!["groups".to_owned()],
            prefix: String::new(),
            split: None,
        }]),
        Some(node) => node.list().and_then(|nodes| {
            let sources: Vec<_> = nodes.iter().map(|node| read_group_source(&node)).collect();
            sources.into_iter().collect()
        }),
    };
    Some(ClaimMapping {
        subject: subject?,
        groups: groups?,
    })
}

fn read_group_source(node: &Node<'_>) -> Option<GroupSource> {
    let section = node.section(&["path", "prefix", "split"])?;
    let path = section
        .require("path", "where in the claims the groups stand")
        .and_then(|node| read_path(&node));
    let text = |name| match section.get(name) {
        None => Some(None),
        Some(node) => node.text().map(Some),
    };
    let prefix = text("prefix");
    let split = text("split");
    Some(GroupSource {
        path: path?,
        prefix: prefix?.unwrap_or_default().to_owned(),
        split: split?.map(ToOwned::to_owned),
    })
}
