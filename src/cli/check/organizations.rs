//! A document of organizations, as it is served to gates.

use super::found::{Document, Found, Kind};
use super::tree::Node;
use crate::authn::json;
use crate::config::{Config, Environment, Problem, check_outside};

/// A provider that makes a configuration of organizations alone.
const PROVIDER: &str = r#"[{"name":"none","issuer":"none","audiences":["none"],"jwks":{"uri":"https://none/","cluster":"none"}}]"#;

/// Deeper than any role.
const MAX_DEPTH: usize = 8;

/// Its organizations as a configuration that has nothing else. Its roles are those of the
/// configuration beside it.
pub(super) fn parse(document: &Document, found: &Found) -> Result<Config, Vec<Problem>> {
    let root = &document.root;
    let text = |node: Option<&Node>| node.map_or_else(|| "null".to_owned(), Node::to_json);
    let roles = found
        .documents
        .iter()
        .filter(|other| other.kind == Kind::Configuration)
        .find_map(|other| other.root.get("roles"));
    let organizations = text(root.get("organizations").map(AsRef::as_ref));
    let roles = text(roles.map(AsRef::as_ref));
    let whole =
        format!(r#"{{"providers":{PROVIDER},"roles":{roles},"organizations":{organizations}}}"#);
    let roles = format!(r#"{{"roles":{roles}}}"#);
    let roles = json::parse_object(roles.as_bytes(), MAX_DEPTH).unwrap_or_default();
    check_outside(root.to_json().as_bytes(), &roles)?;
    Config::parse(whole.as_bytes(), &Environment::default())
}
