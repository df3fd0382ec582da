//! What a good document comes to, in one line.

use super::found::{Document, Kind};
use crate::authz::endpoint::Backend;
use crate::config::{Config, Mode};

/// `2 providers, 12 organizations, 14 tenants, backends loki mimir tempo, mode enforce`
pub(super) fn of(document: &Document, config: &Config) -> String {
    let list = document.root.get("organizations");
    let organizations = list.map_or(0, |list| list.elements().len());
    let organizations = count(organizations, "organization");
    let tenants = count(config.policy.tenants(), "tenant");
    if document.kind == Kind::Organizations {
        return format!("{organizations}, {tenants}");
    }
    let backends: Vec<&str> = Backend::ALL
        .into_iter()
        .filter(|backend| config.backends.has(*backend))
        .map(Backend::name)
        .collect();
    let backends = if backends.is_empty() {
        "no backends".to_owned()
    } else {
        format!("backends {}", backends.join(" "))
    };
    let mode = match config.mode {
        Mode::Enforce => "enforce",
        Mode::Report => "report",
    };
    let providers = count(config.providers.len(), "provider");
    format!("{providers}, {organizations}, {tenants}, {backends}, mode {mode}")
}

/// `1 tenant`, `2 tenants`
pub(super) fn count(number: usize, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}
