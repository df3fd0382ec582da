//! The `jwks` section of a provider: where its keys come from.

use super::reader::{NOT_YET, Node, Section};
use super::{KeySource, KeyUri};
use crate::jwks::KeySet;
use crate::keys::Algorithm;

pub(super) fn read_key_source(
    node: &Node<'_>,
    algorithms: &[Algorithm],
    issuer: &str,
) -> Option<KeySource> {
    const KNOWN: [&str; 8] = [
        "inline",
        "uri",
        "discovery",
        "cluster",
        "timeout",
        "refresh_interval",
        "max_stale",
        "share",
    ];
    let section = node.section(&KNOWN)?;
    for later in ["discovery", "share"] {
        if let Some(node) = section.get(later) {
            node.problem(NOT_YET);
        }
    }
    match (section.get("inline"), section.get("uri")) {
        (Some(_), Some(_)) => {
            section.problem("must have one of inline and uri, not both");
            None
        }
        (None, None) => {
            if section.get("discovery").is_none() {
                section.problem("must have one of inline and uri");
            }
            None
        }
        (Some(inline), None) => {
            for name in ["cluster", "timeout", "refresh_interval", "max_stale"] {
                if let Some(node) = section.get(name) {
                    node.problem("has no meaning beside inline: nothing is fetched");
                }
            }
            let Some(document) = inline.value.as_object() else {
                inline.problem("must be a JWK Set: {keys: […]}");
                return None;
            };
            match KeySet::from_object(document, algorithms, issuer) {
                Ok(keys) => {
                    for skipped in keys.skipped() {
                        inline.problem(format!(
                            "key {:?} cannot be used: {}",
                            skipped.key_id.as_deref().unwrap_or("without kid"),
                            skipped.reason.name()
                        ));
                    }
                    Some(KeySource::Inline(keys))
                }
                Err(error) => {
                    inline.problem(error.to_string());
                    None
                }
            }
        }
        (None, Some(uri)) => read_key_uri(&section, &uri).map(KeySource::Uri),
    }
}

fn read_key_uri(section: &Section<'_>, uri: &Node<'_>) -> Option<KeyUri> {
    let address = uri.text().and_then(|text| {
        let parts = split_uri(text);
        if parts.is_none() {
            uri.problem("must be an http or https URL without user, spaces or fragment");
        }
        parts
    });
    let cluster = section
        .require("cluster", "Envoy's cluster that reaches the provider")
        .and_then(|node| node.text());
    let duration = |name: &str, default: u64, least: &str, most: &str| {
        section
            .get(name)
            .map_or(Some(default), |node| node.duration(least, most))
    };
    let timeout = duration("timeout", 5_000, "100ms", "30s");
    let refresh_interval = duration("refresh_interval", 600_000, "1m", "24h");
    let max_stale = duration("max_stale", 86_400_000, "0s", "168h");
    let (scheme, authority, path) = address?;
    let refresh_interval = refresh_interval?;
    Some(KeyUri {
        cluster: cluster?.to_owned(),
        scheme,
        authority,
        path,
        timeout: timeout?,
        refresh_interval,
        // A set must at least live until its successor is due; the README says so.
        max_stale: max_stale?.max(refresh_interval),
    })
}

fn split_uri(uri: &str) -> Option<(String, String, String)> {
    let (scheme, rest) = uri.split_once("://")?;
    if !matches!(scheme, "http" | "https") {
        return None;
    }
    let (authority, path) = match rest.find('/') {
        Some(slash) => rest.split_at(slash),
        None => (rest, "/"),
    };
    let visible = |text: &str| text.bytes().all(|byte| matches!(byte, 0x21..=0x7e));
    let sound = !authority.is_empty()
        && visible(authority)
        && visible(path)
        && !authority.contains(['@', '?', '#', '\\'])
        && !path.contains('#');
    sound.then(|| (scheme.to_owned(), authority.to_owned(), path.to_owned()))
}
