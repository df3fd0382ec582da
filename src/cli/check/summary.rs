//! What a good document comes to, in one line.

use super::found::{Document, Kind};
use crate::authn::json::{self, Number, Value};
use crate::config::{Config, Fingerprint};

/// Deeper than any document.
const MAX_DEPTH: usize = 32;

/// What a gate says of it, and what its gauges show then, to find the gates that go by it.
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
    // It has been found good.
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

/// `1 tenant`, `2 tenants`
pub(super) fn count(number: usize, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}
