//! The `jwks` section of a provider: where its keys come from.

use std::sync::Arc;

use super::environment::Environment;
use super::reader::{Node, Section};
use super::table::{authorization, jwks};
use super::{KeySource, Remote, Start};
use crate::authn::discovery::Address;
use crate::authn::json::Value;
use crate::authn::jwks::{KeySet, MAX_KEYS};
use crate::authn::keys::Algorithm;
use crate::words::identity::Issuers;
use crate::words::secret::Secret;

pub(super) fn read_key_source(
    node: &Node<'_>,
    algorithms: &[Algorithm],
    issuers: Option<&Issuers>,
    environment: &Environment,
) -> Option<KeySource> {
    let section = node.section(&jwks::TABLE)?;
    let discovery = section.flag(&jwks::DISCOVERY)?;
    if let Some(hosts) = section.get(&jwks::HOSTS).filter(|_| !discovery) {
        hosts.problem("has no meaning without discovery: true");
    }
    let inline = section.get(&jwks::INLINE);
    match (inline, section.get(&jwks::URI), discovery) {
        (Some(inline), None, false) => {
            let nobody = Issuers::new("", []);
            read_inline(&section, &inline, algorithms, issuers.unwrap_or(&nobody))
        }
        (None, Some(uri), false) => {
            let address = uri.text().and_then(|text| {
                let address = Address::parse(text);
                if address.is_none() {
                    uri.problem("must be an http or https URL without user, spaces or fragment");
                }
                address
            });
            read_fetched(&section, address.map(Start::Document), environment)
        }
        (None, None, true) => {
            let address =
                issuers.and_then(|issuers| Address::of_discovery(issuers.first().as_str()));
            if address.is_none() && issuers.is_some() {
                section.problem("discovery needs an issuer that is an http or https URL");
            }
            let hosts = section.texts(&jwks::HOSTS)?;
            let hosts = hosts.into_iter().map(str::to_owned).collect();
            let start = address.map(|address| Start::Discovery { address, hosts });
            read_fetched(&section, start, environment)
        }
        (None, None, false) => {
            section.problem("must have one of inline, uri and discovery: true");
            None
        }
        _ => {
            section.problem("must have only one of inline, uri and discovery: true");
            None
        }
    }
}

fn read_inline(
    section: &Section<'_>,
    inline: &Node<'_>,
    algorithms: &[Algorithm],
    issuers: &Issuers,
) -> Option<KeySource> {
    for name in jwks::ONLY_FETCHED {
        if let Some(node) = section.member(name) {
            node.problem("has no meaning beside inline: nothing is fetched");
        }
    }
    let Some(document) = inline.value.as_object() else {
        inline.problem("must be a JWK Set: {keys: […]}");
        return None;
    };
    match KeySet::from_object(document, algorithms, issuers) {
        Ok(keys) => {
            for skipped in keys.skipped() {
                inline.problem(format!(
                    "key {:?} cannot be used: {}",
                    skipped.key_id.as_deref().unwrap_or("without kid"),
                    skipped.reason.name()
                ));
            }
            if keys.surplus() > 0 {
                inline.problem(format!("more than {MAX_KEYS} usable keys"));
            }
            if keys.untold() > 0 {
                inline.problem(format!("{} more keys cannot be used", keys.untold()));
            }
            Some(KeySource::Inline(Arc::new(keys)))
        }
        Err(error) => {
            inline.problem(error.to_string());
            None
        }
    }
}

/// Reads a credential of the operator. It is the value of an environment variable, so that it
/// is not in the document.
#[expect(clippy::option_option)]
pub(super) fn read_authorization(
    node: Option<Node<'_>>,
    environment: &Environment,
) -> Option<Option<Secret>> {
    let Some(node) = node else {
        return Some(None);
    };
    if let Value::String(_) = node.value {
        // The value may be the token itself, so the message must not repeat it.
        node.problem("must be {environment: NAME}, the variable that holds the token");
        return None;
    }
    let section = node.section(&authorization::TABLE)?;
    let key = &authorization::ENVIRONMENT;
    let node = section.require(key)?;
    let name = node.text()?;
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    if !name.bytes().all(word) || name.len() > key.form.of.longest {
        node.problem("must be the name of a variable: letters, digits and _");
        return None;
    }
    let Some(value) = environment.get(name) else {
        node.problem(format!(
            "the variable {name:?} is not set for the module: set it for Envoy, and name it in \
             host_env_keys of vm_config.environment_variables"
        ));
        return None;
    };
    let secret = Secret::bearer(value);
    if secret.is_none() {
        node.problem(format!(
            "the value of the variable {name:?} is no token: it must be the token alone, \
             without the word Bearer, at most 16 KiB of bytes that a header carries"
        ));
    }
    secret.map(Some)
}

fn read_fetched(
    section: &Section<'_>,
    start: Option<Start>,
    environment: &Environment,
) -> Option<KeySource> {
    let cluster = section.require(&jwks::CLUSTER).and_then(|node| node.text());
    let timeout = section.duration(&jwks::TIMEOUT);
    let refresh_interval = section.duration(&jwks::REFRESH_INTERVAL);
    let max_stale = section.duration(&jwks::MAX_STALE);
    let share = section.flag(&jwks::SHARE);
    let authorization = read_authorization(section.get(&jwks::AUTHORIZATION), environment);
    let refresh_interval = refresh_interval?;
    Some(KeySource::Uri(Remote {
        cluster: cluster?.to_owned(),
        start: start?,
        authorization: authorization?,
        share: share?,
        timeout: timeout?,
        refresh_interval,
        // A set must be usable at least until the next one is due, as the configuration
        // reference says.
        max_stale: max_stale?.max(refresh_interval),
    }))
}
