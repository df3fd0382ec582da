//! Documents of organizations from outside, as they are served to gates.

use std::collections::BTreeSet;

use super::diagnostic::{Diagnostic, Diagnostics};
use super::fault::Fault;
use super::found::{Document, Found, Kind};
use super::tree::Node;
use crate::authn::json;
use crate::config::table::roles;
use crate::config::{Config, Environment, Problem, check_outside};

/// A stand-in provider, without which a configuration of organizations alone would not load.
const PROVIDER: &str = r#"[{"name":"none","issuer":"none","audiences":["none"],"jwks":{"uri":"https://none/","cluster":"none"}}]"#;

/// Deeper than any role is nested.
const MAX_DEPTH: usize = 8;

/// Parses the organizations of a document as a configuration that has nothing else but the roles
/// of the configuration beside it.
///
/// # Errors
/// The problems of the document.
pub(super) fn parse(document: &Document, found: &Found) -> Result<Config, Vec<Problem>> {
    let root = &document.root;
    let text = |node: Option<&Node>| node.map_or_else(|| "null".to_owned(), Node::to_json);
    let roles = configurations(found).find_map(|other| other.root.get("roles"));
    let organizations = text(root.get("organizations").map(AsRef::as_ref));
    let roles = text(roles.map(AsRef::as_ref));
    let whole =
        format!(r#"{{"providers":{PROVIDER},"roles":{roles},"organizations":{organizations}}}"#);
    let roles = format!(r#"{{"roles":{roles}}}"#);
    let roles = json::parse_object(roles.as_bytes(), MAX_DEPTH).unwrap_or_default();
    check_outside(root.to_json().as_bytes(), &roles)?;
    Config::parse(whole.as_bytes(), &Environment::default())
}

fn configurations(found: &Found) -> impl Iterator<Item = &Document> {
    let all = found.documents.iter();
    all.filter(|document| document.kind == Kind::Configuration)
}

/// Rewords the error about an unknown role if no configuration among the files could define it.
pub(super) fn about_roles(document: &Document, found: &Found, diagnostic: &mut Diagnostic) {
    let alone = document.kind == Kind::Organizations && configurations(found).next().is_none();
    let role = diagnostic.place.rsplit_once(".rbac.").map(|(_, role)| role);
    let Some(role) = role.filter(|_| alone && diagnostic.message.starts_with("unknown key")) else {
        return;
    };
    let names = roles::ROLES.default.iter();
    let names: Vec<String> = names.map(|(name, _)| roles::bound(name)).collect();
    let near = |name: &String| strsim::damerau_levenshtein(name, role) <= 1;
    if !names.iter().any(near) {
        diagnostic.message = format!("no default role: those are {}", names.join(", "));
    }
    diagnostic.help = Some(
        "if a configuration has this role, check both files together: scopegate check \
         scopegate.yaml organizations.json"
            .to_owned(),
    );
}

/// Warns of organizations that the configuration beside the document has too.
pub(super) fn judge(document: &Document, found: &Found, diagnostics: &mut Diagnostics) {
    if document.kind != Kind::Organizations {
        return;
    }
    let lists = configurations(found).flat_map(|other| other.root.list("organizations"));
    let taken: BTreeSet<&str> = lists.filter_map(|one| one.text_of("name")).collect();
    for (position, organization) in document.root.list("organizations").iter().enumerate() {
        let Some(node) = organization.get("name") else {
            continue;
        };
        let Some(name) = node.text().filter(|name| taken.contains(name)) else {
            continue;
        };
        let text =
            format!("the configuration has an organization {name:?} too, and only that counts");
        let fault = Fault::new(node.span.clone(), text)
            .help("leave out one of the two, or give this one another name");
        let place = format!("organizations[{position}].name");
        diagnostics.warning(&document.source, fault, place);
    }
}
