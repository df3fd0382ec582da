//! Sums up a good document in one line.

use super::found::{Document, Kind};
use crate::authn::json::{self, Number, Value};
use crate::config::{Config, Fingerprint};

/// Deeper than any document is nested.
const MAX_DEPTH: usize = 32;

/// What a gate logs about the document, and the value that its gauge shows then, so that the gates
/// that use it can be found.
pub(super) fn of(document: &Document, config: &Config) -> String {
    match document.kind {
        Kind::Configuration => {
            let number = config.fingerprint.number();
            format!("{}, scopegate_config_hash {number}", config.summary())
        }
        Kind::Organizations => organizations(document, config),
    }
}

fn organizations(document: &Document, config: &Config) -> String {
    let organizations = count(config.policy.organization_count(), "organization");
    let tenants = count(config.policy.tenants(), "tenant");
    let text = document.root.to_json();
    // The document has been judged good, so it parses.
    let object = json::parse_object(text.as_bytes(), MAX_DEPTH).unwrap_or_default();
    let number = |name: &str| match object.get(name) {
        Some(Value::Number(Number::Unsigned(number))) => *number,
        _ => 0,
    };
    let fingerprint = Fingerprint::of_member(&object, "organizations");
    format!(
        "{organizations}, {tenants}, epoch {}, revision {}, sha256 {fingerprint}, \
         scopegate_organizations_hash {}",
        number("epoch"),
        number("revision"),
        fingerprint.number()
    )
}

/// A number with its noun: `1 tenant`, `2 tenants`.
pub(super) fn count(number: usize, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}
