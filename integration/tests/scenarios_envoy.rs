//! The scenario table through a real Envoy with two workers, over HTTP/1.1 and HTTP/2.
//!
//! This needs the module: `make test` builds it and names it in `SCOPEGATE_WASM`. `SCENARIO=part of a name` selects
//! scenarios.

#![allow(clippy::expect_used)]

use integration::{envoy, replay, scenario};

#[tokio::test(flavor = "multi_thread")]
async fn every_scenario_holds_through_envoy() {
    let wasm = envoy::module()
        .expect("SCOPEGATE_WASM names the module: `make test` builds it and sets this");
    let picked = std::env::var("SCENARIO").unwrap_or_default();
    let mut scenarios = scenario::load().expect("the scenario table");
    scenarios.retain(|(_, scenario)| scenario.name.contains(&picked));
    let report = replay::through_envoy(wasm, &scenarios)
        .await
        .expect("a replay");
    for failure in &report.failures {
        eprintln!("{failure}");
    }
    eprintln!("{}", report.summary(scenarios.len()));
    assert!(
        report.failures.is_empty(),
        "the gate and the scenario table disagree: see above"
    );
}
