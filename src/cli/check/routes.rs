//! Routes that lead past the gate.

use std::collections::BTreeMap;

use super::diagnostic::Diagnostics;
use super::fault::Fault;
use super::found::{Found, RouteRule};
use crate::words::request::BACKEND_HEADER;

/// The name that the manifests give to a backend that takes no request, for when that backend is
/// not among the files.
const NOWHERE: &str = "nowhere";

/// Warns of routes that lead to a backend without requiring the header that only the gate sets.
pub(super) fn judge(found: &Found, diagnostics: &mut Diagnostics) {
    let asking = found.rules.iter().filter(|rule| rule.asks);
    let mut gateways = found.gateways.names.clone();
    gateways.extend(asking.flat_map(|rule| rule.gateways.iter().cloned()));
    for rule in &found.rules {
        let gated = rule.gateways.is_empty()
            || found.gateways.any
            || rule.gateways.iter().any(|name| gateways.contains(name));
        if rule.asks || !gated || leads_nowhere(rule, found) {
            continue;
        }
        let text = format!("this route leads to a backend without the header {BACKEND_HEADER}");
        let fault = Fault::new(rule.span.clone(), text).help(format!(
            "match {BACKEND_HEADER} too: the gate alone sets it, so that nothing passes where \
             the gate is missing"
        ));
        diagnostics.warning(&rule.source, fault, rule.place.clone());
    }
}

/// The positions of files with routes that require the header, each with the number of these
/// routes.
pub(super) fn files(found: &Found) -> BTreeMap<usize, usize> {
    let mut files = BTreeMap::new();
    for rule in found.rules.iter().filter(|rule| rule.asks) {
        let routes: &mut usize = files.entry(rule.source.file).or_default();
        *routes = routes.saturating_add(1);
    }
    files
}

fn leads_nowhere(rule: &RouteRule, found: &Found) -> bool {
    rule.backend.as_ref().is_some_and(|name| {
        found.nowhere.contains(name) || (name == NOWHERE && !found.somewhere.contains(name))
    })
}
