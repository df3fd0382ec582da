//! The `providers` section: which providers are trusted, and how their tokens are read.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::claims::read_mapping;
use super::environment::Environment;
use super::keys::read_key_source;
use super::reader::{Node, Section};
use super::table::{MAX_ELEMENTS, document, provider};
use super::{ConfiguredProvider, KeySource};
use crate::authn::group_source;
use crate::authn::json::Value;
use crate::authn::keys::Algorithm;
use crate::authn::token::normal_type;
use crate::authn::verifier::{Provider, TokenKind};
use crate::words::identity::Issuers;
use crate::words::time::Leeway;

pub(super) fn read_providers(
    top: &Section<'_>,
    environment: &Environment,
) -> Option<Vec<ConfiguredProvider>> {
    let node = top.require(&document::PROVIDERS)?;
    let form = &document::PROVIDERS.form.of;
    let nodes = node.elements(form.most)?;
    if nodes.len() < form.least {
        node.problem("must list at least one provider");
        return None;
    }
    let mut names = HashSet::new();
    let mut issuers = HashSet::new();
    let mut prefixes = Prefixes::default();
    let mut providers = Vec::new();
    for node in nodes.iter() {
        let Some(provider) = read_provider(&node, environment) else {
            continue;
        };
        let ReadProvider { rules, .. } = &provider;
        if !names.insert(rules.name.clone()) {
            node.problem(format!("the name {:?} is taken", rules.name));
        }
        if !rules
            .issuers
            .iter()
            .all(|issuer| issuers.insert(issuer.clone()))
        {
            node.problem("another provider has the same issuer: tokens choose by it");
        }
        prefixes.take(&node, &provider);
        providers.push(provider);
    }
    if providers.len() != nodes.len() {
        return None;
    }
    let all = prefixes.0.keys().map(String::as_str);
    let all = group_source::Prefixes::new(all);
    let apart = |mut provider: ReadProvider| {
        provider.rules.mapping.prefixes = all.clone();
        ConfiguredProvider {
            rules: Arc::new(provider.rules),
            source: provider.source,
        }
    };
    Some(providers.into_iter().map(apart).collect())
}

/// A provider whose groups have not yet been separated from those of the others.
struct ReadProvider {
    rules: Provider,
    source: KeySource,
    /// Whether it may have groups in common with other providers that set this too.
    shared_groups: bool,
}

/// The prefixes of groups, each with the provider that has it.
#[derive(Default)]
struct Prefixes(HashMap<String, Holder>);

/// The provider that has a prefix, and whether it shares the prefix.
struct Holder {
    provider: String,
    shares: bool,
}

impl Prefixes {
    /// Takes the prefixes of a provider. If two providers had the same one, each could put its
    /// users into the groups of the other.
    fn take(&mut self, node: &Node<'_>, provider: &ReadProvider) {
        let ReadProvider {
            rules,
            shared_groups,
            ..
        } = provider;
        let mut told = HashSet::new();
        for source in &rules.mapping.groups {
            let prefix = &source.prefix;
            let Some(holder) = self.0.get(prefix) else {
                let holder = Holder {
                    provider: rules.name.clone(),
                    shares: *shared_groups,
                };
                self.0.insert(prefix.clone(), holder);
                continue;
            };
            let Holder {
                provider: other,
                shares,
            } = holder;
            if *other == rules.name || (*shares && *shared_groups) || !told.insert(prefix) {
                continue;
            }
            node.problem(format!(
                "groups with {} come from the provider {other:?} too, so that each of the two \
                 could put its people into the groups of the other: give one of them a prefix \
                 in claims.groups, or set shared_groups: true in both",
                if prefix.is_empty() {
                    "no prefix".to_owned()
                } else {
                    format!("the prefix {prefix:?}")
                }
            ));
        }
    }
}

fn read_provider(node: &Node<'_>, environment: &Environment) -> Option<ReadProvider> {
    let section = node.section(&provider::TABLE)?;
    let name = read_provider_name(&section);
    let issuers = read_issuers(&section);
    let audiences = read_audiences(&section);
    let algorithms = read_algorithms(&section);
    let clock_skew = section.duration(&provider::CLOCK_SKEW);
    let max_lifetime = match section.get(&provider::MAX_LIFETIME) {
        Some(node) => node.duration(&provider::MAX_LIFETIME.form).map(Some),
        None => Some(None),
    };
    let token_types = section.texts(&provider::TOKEN_TYPES);
    let kinds = read_kinds(&section);
    let id_token_audiences = section.texts(&provider::ID_TOKEN_AUDIENCES);
    let id_token_claims = section.texts(&provider::ID_TOKEN_CLAIMS);
    let clients = section.texts(&provider::CLIENTS);
    let reject_bound_tokens = section.flag(&provider::REJECT_BOUND_TOKENS);
    let mapping = read_mapping(&section);
    let shared_groups = section.flag(&provider::SHARED_GROUPS);
    let source = section.require(&provider::JWKS).and_then(|node| {
        read_key_source(
            &node,
            algorithms
                .as_deref()
                .unwrap_or(provider::ALGORITHMS.form.default),
            issuers.as_ref(),
            environment,
        )
    });
    let owned = |texts: Vec<&str>| texts.into_iter().map(ToOwned::to_owned).collect();
    let rules = Provider {
        name: name?.to_owned(),
        issuers: issuers?,
        audiences: audiences?,
        id_token_audiences: owned(id_token_audiences?),
        algorithms: algorithms?,
        leeway: Leeway::from_secs(clock_skew? / 1000),
        max_lifetime: max_lifetime?.map(|millis| millis / 1000),
        token_types: token_types?.into_iter().map(normal_type).collect(),
        kinds: kinds?,
        id_token_claims: owned(id_token_claims?),
        clients: owned(clients?),
        reject_bound_tokens: reject_bound_tokens?,
        mapping: mapping?,
    };
    Some(ReadProvider {
        rules,
        source: source?,
        shared_groups: shared_groups?,
    })
}

fn read_provider_name<'a>(section: &Section<'a>) -> Option<&'a str> {
    let node = section.require(&provider::NAME)?;
    let name = node.text()?;
    let mut bytes = name.bytes();
    let first = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let longest = provider::NAME.form.of.longest;
    let fits = name.len() <= longest
        && bytes.next().is_some_and(first)
        && bytes.all(|byte| first(byte) || byte == b'-');
    if !fits {
        node.problem(format!(
            "must be 1 to {longest} of a-z, 0-9 and -, not starting with -"
        ));
        return None;
    }
    Some(name)
}

/// Reads `issuer`, or `issuers` for a provider that spells its own issuer in several ways.
fn read_issuers(section: &Section<'_>) -> Option<Issuers> {
    let several = match (
        section.get(&provider::ISSUER),
        section.get(&provider::ISSUERS),
    ) {
        (Some(_), Some(several)) => {
            several.problem("must stand alone: put issuer into the list, as the first");
            return None;
        }
        (Some(one), None) => return read_issuer(&one).map(|issuer| Issuers::new(issuer, [])),
        (None, Some(several)) => several,
        (None, None) => {
            section.require(&provider::ISSUER)?;
            return None;
        }
    };
    let form = &provider::ISSUERS.form;
    let nodes = several.elements(form.most)?;
    let mut issuers: Vec<&str> = Vec::new();
    for node in nodes.iter() {
        let Some(issuer) = read_issuer(&node) else {
            continue;
        };
        if issuers.contains(&issuer) {
            node.problem("stands in the list before");
            continue;
        }
        issuers.push(issuer);
    }
    if nodes.len() < form.least {
        several.problem(format!(
            "must have {} to {} spellings: write issuer for one",
            form.least, form.most
        ));
    }
    let (first, others) = issuers.split_first()?;
    (issuers.len() == nodes.len()).then(|| Issuers::new(first, others.iter().copied()))
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

/// Reads the audiences. It is an error if they are missing, unless the operator explicitly
/// switches the check off, because a token for any service of the provider would then be
/// accepted.
#[expect(clippy::option_option)]
fn read_audiences(section: &Section<'_>) -> Option<Option<Vec<String>>> {
    let off = match section.get(&provider::AUDIENCE_CHECK) {
        None => false,
        // YAML reads a bare `off` as false.
        Some(node) => match node.value {
            Value::Bool(false) => true,
            Value::String(text) if text == provider::AUDIENCE_CHECK.form.word => true,
            _ => {
                node.problem("can only be off; leave it out to check audiences");
                return None;
            }
        },
    };
    match (section.get(&provider::AUDIENCES), off) {
        (Some(node), true) => {
            node.problem("audience_check is off: remove one of the two");
            None
        }
        (Some(node), false) => {
            let form = &provider::AUDIENCES.form.of;
            let audiences = node.texts(form.most)?;
            if audiences.len() < form.least {
                node.problem("must name at least one audience, or set audience_check: off");
                return None;
            }
            Some(Some(audiences.into_iter().map(ToOwned::to_owned).collect()))
        }
        (None, true) => Some(None),
        (None, false) => {
            section.require(&provider::AUDIENCES)?;
            None
        }
    }
}

fn read_algorithms(section: &Section<'_>) -> Option<Vec<Algorithm>> {
    let form = &provider::ALGORITHMS.form;
    let Some(node) = section.get(&provider::ALGORITHMS) else {
        return Some(form.default.to_vec());
    };
    let nodes = node.elements(MAX_ELEMENTS)?;
    if nodes.len() < form.least {
        node.problem("must name at least one algorithm");
        return None;
    }
    let mut algorithms = Vec::new();
    for node in nodes.iter() {
        let Some(name) = node.text() else { continue };
        match form.find(name) {
            Some(algorithm) => algorithms.push(algorithm),
            None if is_for_anyone(name) => {
                node.problem(format!("{name:?} is never accepted: anyone could sign"));
            }
            None => {
                let known = form.names();
                node.problem(format!("{name:?} is not known: must be one of {known}"));
            }
        }
    }
    (algorithms.len() == nodes.len()).then_some(algorithms)
}

/// Whether the algorithm does not make a signature that only the provider can make: `HS256` and
/// similar ones, and `none`.
fn is_for_anyone(algorithm: &str) -> bool {
    let symmetric = algorithm
        .get(..2)
        .is_some_and(|family| family.eq_ignore_ascii_case("hs"));
    symmetric || algorithm.eq_ignore_ascii_case("none")
}

fn read_kinds(section: &Section<'_>) -> Option<Vec<TokenKind>> {
    let form = &provider::ACCEPT.form;
    let Some(node) = section.get(&provider::ACCEPT) else {
        return Some(form.default.to_vec());
    };
    let nodes = node.elements(MAX_ELEMENTS)?;
    let mut kinds = Vec::new();
    for node in nodes.iter() {
        let Some(word) = node.text() else { continue };
        match form.find(word) {
            Some(kind) => kinds.push(kind),
            None => node.problem("must be access or id"),
        }
    }
    if nodes.len() < form.least {
        node.problem("must name at least one of access, id");
    }
    (!kinds.is_empty() && kinds.len() == nodes.len()).then_some(kinds)
}
