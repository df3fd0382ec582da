//! The `organizations_from` section: organizations that come in a document from outside.

use std::sync::Arc;

use super::environment::Environment;
use super::keys::read_authorization;
use super::reader::{Section, flag};
use super::{OrganizationsFrom, Remote, Start};
use crate::authn::discovery::Address;
use crate::authn::jwks::{KeySet, MAX_KEYS};
use crate::authn::keys::Algorithm;
use crate::words::identity::Issuers;

/// The section; `Some(None)` if there is none. `document` is the configuration that it
/// stands in, which is read again with each document that comes.
#[expect(clippy::option_option)]
pub(super) fn read_organizations_from(
    top: &Section<'_>,
    environment: &Environment,
    document: &[u8],
) -> Option<Option<OrganizationsFrom>> {
    const KNOWN: [&str; 10] = [
        "uri",
        "cluster",
        "timeout",
        "refresh_interval",
        "max_stale",
        "share",
        "authorization",
        "allow_http",
        "allow_empty",
        "signed_by",
    ];
    let Some(node) = top.get("organizations_from") else {
        return Some(None);
    };
    let section = node.section(&KNOWN)?;
    let allow_http = flag(&section, "allow_http", false);
    let address = section
        .require("uri", "where the document is")
        .and_then(|node| {
            let address = Address::parse(node.text()?);
            let Some(address) = address else {
                node.problem("must be an http or https URL without user, spaces or fragment");
                return None;
            };
            if address.scheme == "http" && allow_http == Some(false) {
                node.problem(
                    "whoever can change this document on its way can give themselves any tenant: \
                     use https, or write allow_http: true",
                );
                return None;
            }
            Some(address)
        });
    let cluster = section
        .require("cluster", "Envoy's cluster that reaches it")
        .and_then(|node| node.text());
    let duration = |name: &str, default: u64, least: &str, most: &str| {
        section
            .get(name)
            .map_or(Some(default), |node| node.duration(least, most))
    };
    let timeout = duration("timeout", 5_000, "100ms", "30s");
    let refresh_interval = duration("refresh_interval", 15_000, "5s", "10m");
    let max_stale = duration("max_stale", 86_400_000, "1m", "168h");
    let share = flag(&section, "share", true);
    let authorization = read_authorization(&section, environment);
    let allow_empty = flag(&section, "allow_empty", false);
    let signers = read_signers(&section);
    let refresh_interval = refresh_interval?;
    Some(Some(OrganizationsFrom {
        remote: Remote {
            authorization: authorization?,
            cluster: cluster?.to_owned(),
            start: Start::Document(address?),
            share: share?,
            timeout: timeout?,
            refresh_interval,
            // A document must at least serve until the next one is due.
            max_stale: max_stale?.max(refresh_interval),
        },
        allow_empty: allow_empty?,
        signers: signers?,
        inline: top.get("organizations").is_some(),
        configuration: document.into(),
    }))
}

/// `{keys: […]}`, of any algorithm that a key may have here.
#[expect(clippy::option_option)]
fn read_signers(section: &Section<'_>) -> Option<Option<Arc<KeySet>>> {
    let Some(node) = section.get("signed_by") else {
        return Some(None);
    };
    let Some(document) = node.value.as_object() else {
        node.problem("must be a JWK Set of public keys: {keys: […]}");
        return None;
    };
    match KeySet::from_object(document, &Algorithm::ALL, &Issuers::new("", [])) {
        Ok(keys) => {
            for skipped in keys.skipped() {
                node.problem(format!(
                    "key {:?} cannot be used: {}",
                    skipped.key_id.as_deref().unwrap_or("without kid"),
                    skipped.reason.name()
                ));
            }
            if keys.surplus() > 0 {
                node.problem(format!("more than {MAX_KEYS} usable keys"));
            }
            Some(Some(Arc::new(keys)))
        }
        Err(error) => {
            node.problem(error.to_string());
            None
        }
    }
}
