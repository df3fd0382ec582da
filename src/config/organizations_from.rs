//! The `organizations_from` section: organizations that come in a document from outside.

use std::sync::Arc;

use super::environment::Environment;
use super::keys::read_authorization;
use super::reader::Section;
use super::table::{document, organizations_from};
use super::{OrganizationsFrom, Remote, Start};
use crate::authn::discovery::Address;
use crate::authn::jwks::{KeySet, MAX_KEYS};
use crate::authn::keys::Algorithm;
use crate::words::identity::Issuers;

/// Reads the section, or gives `Some(None)` if there is none. `document` is the configuration
/// that it is part of, which is read again together with each document from outside.
#[expect(clippy::option_option)]
pub(super) fn read_organizations_from(
    top: &Section<'_>,
    environment: &Environment,
    document: &[u8],
) -> Option<Option<OrganizationsFrom>> {
    let Some(node) = top.get(&document::ORGANIZATIONS_FROM) else {
        return Some(None);
    };
    let section = node.section(&organizations_from::TABLE)?;
    let allow_http = section.flag(&organizations_from::ALLOW_HTTP);
    let address = section.require(&organizations_from::URI).and_then(|node| {
        let address = Address::parse(node.text()?);
        let Some(address) = address else {
            node.problem("must be an http or https URL without user, spaces or fragment");
            return None;
        };
        if address.scheme != "https" && allow_http == Some(false) {
            node.problem(
                "whoever can change this document on its way can give themselves any tenant: \
                     use https, or write allow_http: true",
            );
            return None;
        }
        Some(address)
    });
    let cluster = section
        .require(&organizations_from::CLUSTER)
        .and_then(|node| node.text());
    let timeout = section.duration(&organizations_from::TIMEOUT);
    let refresh_interval = section.duration(&organizations_from::REFRESH_INTERVAL);
    let max_stale = section.duration(&organizations_from::MAX_STALE);
    let share = section.flag(&organizations_from::SHARE);
    let authorization =
        read_authorization(section.get(&organizations_from::AUTHORIZATION), environment);
    let allow_empty = section.flag(&organizations_from::ALLOW_EMPTY);
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
            // A document must be usable at least until the next one is due.
            max_stale: max_stale?.max(refresh_interval),
        },
        allow_empty: allow_empty?,
        signers: signers?,
        inline: top.get(&document::ORGANIZATIONS).is_some(),
        configuration: document.into(),
    }))
}

/// Reads `{keys: […]}`. A key may have any algorithm that the gate verifies.
#[expect(clippy::option_option)]
fn read_signers(section: &Section<'_>) -> Option<Option<Arc<KeySet>>> {
    let Some(node) = section.get(&organizations_from::SIGNED_BY) else {
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
