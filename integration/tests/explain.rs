//! `scopegate explain` says of every scenario that one head or form decides what a gate makes of it; the others are
//! listed here by name.

use anyhow::{Result, ensure};
use integration::scenario::{self, Scenario};
use integration::{paths, replay};

/// What depends on more than one request and one set of keys, and why.
const OTHERS: [(&str, &str); 9] = [
    ("transport: a space after the token", NO_HTTP1),
    (
        "an unknown key id is in doubt while the set cannot be fetched again",
        TWO_SETS,
    ),
    (
        "an unknown key id is in doubt however old its token is",
        TWO_SETS,
    ),
    ("not found: a line break", NO_HTTP1),
    ("not found: an empty path", NO_HTTP1),
    ("two paths", NO_HTTP1),
    ("two methods", NO_HTTP1),
    ("tenant: blanks around one over HTTP/2", NO_HTTP1),
    ("tenant: a line break", NO_HTTP1),
];
/// It cannot be written in a file as HTTP/1.1 writes requests.
const NO_HTTP1: &str = "cannot be written as HTTP/1.1";
/// The provider answers first so and then so.
const TWO_SETS: &str = "depends on an earlier set of keys";

/// Why a scenario is not explained, if it is not.
fn reason(scenario: &Scenario) -> Option<&str> {
    let other = OTHERS.iter().find(|(name, _)| *name == scenario.name);
    let own = scenario.not_native.as_deref();
    own.or(other.map(|(_, reason)| *reason))
}

#[test]
fn explain_and_the_gate_agree() -> Result<()> {
    let scenarios = scenario::load()?;
    let all = scenarios.len();
    let mut explained = Vec::new();
    let mut others = Vec::new();
    for row in scenarios {
        if reason(&row.1).is_none() {
            explained.push(row);
        } else {
            others.push(row);
        }
    }
    let report = replay::explained::all(&explained);
    for failure in &report.failures {
        eprintln!("{failure}");
    }
    eprintln!("{}", report.summary(all));
    for (_, scenario) in &others {
        eprintln!(
            "not explained: {}: {}",
            scenario.name,
            reason(scenario).unwrap_or_default()
        );
    }
    ensure!(
        report.failures.is_empty(),
        "explain and the scenario table disagree: see above"
    );

    let names: Vec<String> = others
        .iter()
        .map(|(_, scenario)| scenario.name.clone())
        .collect();
    // Nothing stands in the list that could be explained.
    others.retain(|(_, scenario)| scenario.not_native.is_none());
    ensure!(
        others.len() == OTHERS.len(),
        "a name in the list is no scenario's"
    );
    for row in &others {
        let report = replay::explained::all(std::slice::from_ref(row));
        ensure!(
            !report.failures.is_empty(),
            "{} can be explained",
            row.1.name
        );
    }
    let page = std::fs::read_to_string(paths::repository().join("docs/explain.md"))?;
    for name in names {
        ensure!(
            page.contains(&format!("- {name}\n")),
            "{name} is not in docs/explain.md"
        );
    }
    Ok(())
}
