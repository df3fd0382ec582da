//! The scenario table with the core alone: no proxy, no network.
//!
//! `SCENARIO=part of a name` selects scenarios.

#![allow(clippy::expect_used)]

use integration::{replay, scenario};

#[test]
fn every_scenario_holds_in_the_core() {
    let picked = std::env::var("SCENARIO").unwrap_or_default();
    let mut scenarios = scenario::load().expect("the scenario table");
    scenarios.retain(|(_, scenario)| scenario.name.contains(&picked));
    let report = replay::native::all(&scenarios);
    for failure in &report.failures {
        eprintln!("{failure}");
    }
    eprintln!("{}", report.summary(scenarios.len()));
    assert!(
        report.failures.is_empty(),
        "the core and the scenario table disagree: see above"
    );
}
