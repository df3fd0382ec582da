//! One document, judged by the gate's own reader.

use std::collections::BTreeMap;

use super::diagnostic::{Diagnostic, Severity};
use super::fault::Fault;
use super::found::{Document, Found, Kind};
use super::tree::Node;
use super::{organizations, place, variables};
use crate::config::{Config, Environment, Problem};

/// What stands for the value of a variable that is not known here.
const UNKNOWN: &str = "unknown";

/// The configuration that a document makes, and all that keeps it from making one.
pub(super) fn judge(document: &Document, files: &Found) -> (Option<Config>, Vec<Diagnostic>) {
    let mut problems = Vec::new();
    for member in merge_keys(&document.root) {
        let fault = Fault::new(member, "<< is a key of its own here, and merges nothing")
            .help("write the members out, or name the whole value by an alias");
        problems.push(Diagnostic::new(
            Severity::Error,
            &document.source,
            fault,
            "",
        ));
    }
    let parsed = match document.kind {
        Kind::Configuration => {
            let environment = Environment::new(environment(document, files, &BTreeMap::new()));
            Config::parse(json(document).as_bytes(), &environment)
        }
        Kind::Organizations => organizations::parse(document, files),
    };
    match parsed {
        Ok(config) => (Some(config), problems),
        Err(found) => {
            let merged = !problems.is_empty();
            // Both are told of with their places.
            let told = |problem: &Problem| {
                problem.text.contains("stands twice in one object")
                    || (merged && problem.place.ends_with("<<"))
            };
            let said = found.into_iter().filter(|problem| !told(problem));
            problems.extend(said.map(|problem| {
                let mut diagnostic = locate(document, problem);
                organizations::about_roles(document, files, &mut diagnostic);
                diagnostic
            }));
            (None, problems)
        }
    }
}

/// A configuration as the gate reads it.
pub(super) fn json(document: &Document) -> String {
    if document.is_json {
        document.source.text.to_string()
    } else {
        document.root.to_json()
    }
}

/// What is wrong with the rest of a deployment file: the problems that `check` finds in its JSON.
pub(super) fn judge_deployment(
    document: &Document,
    check: &dyn Fn(&str) -> Vec<Problem>,
) -> Vec<Diagnostic> {
    let Some(whole) = &document.deployment else {
        return Vec::new();
    };
    let problems = check(&whole.to_json()).into_iter();
    problems
        .map(|problem| locate_in(document, whole, problem))
        .collect()
}

/// A problem with the piece of the file that it is about.
pub(super) fn locate(document: &Document, problem: Problem) -> Diagnostic {
    locate_in(document, &document.root, problem)
}

fn locate_in(document: &Document, root: &Node, problem: Problem) -> Diagnostic {
    let Problem { place, text } = problem;
    let variable = document
        .machine
        .iter()
        .flat_map(|machine| machine.given.iter().chain(&machine.passed))
        .find(|variable| variable.name == place);
    if let Some(variable) = variable {
        let fault = Fault::new(variable.span.clone(), text);
        return Diagnostic::new(
            Severity::Error,
            &variable.source,
            fault,
            variable.place.clone(),
        );
    }
    let span = if text.starts_with("unknown key") {
        place::key(root, &place)
    } else {
        place::span(root, &place)
    };
    let meant = meant(&place, &text);
    let fault = Fault {
        help: meant.map(|name| format!("did you mean {name}?")),
        ..Fault::new(span, text)
    };
    Diagnostic::new(Severity::Error, &document.source, fault, place)
}

/// The known key that an unknown one is most like.
fn meant<'a>(place: &str, text: &'a str) -> Option<&'a str> {
    let known = text.strip_prefix("unknown key: known here are ")?;
    let name = place.rsplit('.').next().unwrap_or_default();
    let distance = |known: &str| strsim::damerau_levenshtein(name, known);
    let nearest = known.split(", ").min_by_key(|known| distance(known))?;
    // Half of a short word may be any other word.
    let near = distance(nearest).saturating_mul(3) <= nearest.len();
    near.then_some(nearest)
}

/// Where the merge keys of YAML 1.1 stand.
fn merge_keys(root: &Node) -> Vec<std::ops::Range<usize>> {
    let mut keys = Vec::new();
    root.walk(&mut |node| {
        let merging = node
            .members()
            .iter()
            .filter(|member| member.plain && member.name == "<<");
        keys.extend(merging.map(|member| member.key.clone()));
    });
    keys
}

/// The environment that the module would have. What the files do not tell is as in `own`, as
/// far as that goes.
pub(super) fn environment(
    document: &Document,
    found: &Found,
    own: &BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let mut known: BTreeMap<String, String> = BTreeMap::new();
    let or_own = |name: &str| own.get(name).cloned();
    match &document.machine {
        // Nothing is known: whoever names a variable is believed to have set it.
        None => {
            let switches = own.iter().filter(|(name, _)| variables::is_switch(name));
            known.extend(switches.map(|(name, value)| (name.clone(), value.clone())));
            for name in variables::named(&document.root) {
                let value = or_own(&name).unwrap_or_else(|| UNKNOWN.to_owned());
                known.insert(name, value);
            }
        }
        Some(machine) if machine.everything => {
            let switches = own.iter().filter(|(name, _)| variables::is_switch(name));
            known.extend(switches.map(|(name, value)| (name.clone(), value.clone())));
            for name in variables::named(&document.root) {
                let value = or_own(&name).unwrap_or_else(|| UNKNOWN.to_owned());
                known.insert(name, value);
            }
            let set = found.proxies.iter();
            known.extend(set.filter_map(|set| Some((set.name.clone(), set.value.clone()?))));
        }
        Some(machine) => {
            for variable in &machine.passed {
                let set = found.proxies.iter().find(|set| set.name == variable.name);
                let value = set.and_then(|set| set.value.clone());
                let value = value.or_else(|| or_own(&variable.name));
                // A switch that is not known does nothing.
                if value.is_some() || !variables::is_switch(&variable.name) {
                    let value = value.unwrap_or_else(|| UNKNOWN.to_owned());
                    known.insert(variable.name.clone(), value);
                }
            }
            for variable in &machine.given {
                let value = variable.value.clone().unwrap_or_default();
                known.insert(variable.name.clone(), value);
            }
        }
    }
    known
}
