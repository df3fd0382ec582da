//! A document of organizations, as it is served to gates.

use super::found::{Document, Found, Kind};
use super::tree::{Node, Value};
use crate::config::{Config, Environment, Problem};

/// A provider that makes a configuration of organizations alone.
const PROVIDER: &str = r#"[{"name":"none","issuer":"none","audiences":["none"],"jwks":{"uri":"https://none/","cluster":"none"}}]"#;

/// Largest number of an epoch or a revision: all that a double holds exactly.
const MAX_NUMBER: u64 = 1 << 53;

/// Its organizations as a configuration that has nothing else. Its roles are those of the
/// configuration beside it.
pub(super) fn parse(document: &Document, found: &Found) -> Result<Config, Vec<Problem>> {
    let root = &document.root;
    let mut problems = Vec::new();
    let mut problem = |place: &str, text: &str| {
        problems.push(Problem {
            place: place.to_owned(),
            text: text.to_owned(),
        });
    };
    for member in root.members() {
        if !["version", "epoch", "revision", "organizations"].contains(&member.name.as_str()) {
            let text = "unknown key: known here are version, epoch, revision, organizations";
            problem(&member.name, text);
        }
    }
    match root.get("version").map(|node| &node.value) {
        Some(Value::Number(number)) if number == "1" => {}
        Some(_) => problem("version", "must be 1"),
        None => problem("version", "missing: it is 1"),
    }
    for name in ["epoch", "revision"] {
        match root.get(name).map(|node| &node.value) {
            Some(Value::Number(number))
                if number
                    .parse::<u64>()
                    .is_ok_and(|number| number < MAX_NUMBER) => {}
            Some(_) => problem(name, "must be a whole number from 0 to 9007199254740991"),
            None => problem(
                name,
                "missing: a lower pair of epoch and revision is refused",
            ),
        }
    }
    let json = |node: Option<&Node>| node.map_or_else(|| "null".to_owned(), Node::to_json);
    let roles = found
        .documents
        .iter()
        .filter(|other| other.kind == Kind::Configuration)
        .find_map(|other| other.root.get("roles"));
    let organizations = json(root.get("organizations").map(AsRef::as_ref));
    let roles = json(roles.map(AsRef::as_ref));
    let whole =
        format!(r#"{{"providers":{PROVIDER},"roles":{roles},"organizations":{organizations}}}"#);
    match Config::parse(whole.as_bytes(), &Environment::default()) {
        Ok(config) if problems.is_empty() => Ok(config),
        Ok(_) => Err(problems),
        Err(found) => {
            // Those of the roles are told where they stand.
            problems.extend(
                found
                    .into_iter()
                    .filter(|problem| !problem.place.starts_with("roles")),
            );
            Err(problems)
        }
    }
}
