//! Puts the limits of `envoy/rate-limits` into a bootstrap, as `docs/rate-limits.md` describes.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::envoy::bootstrap::{Bootstrap, FILTER};
use crate::{paths, yaml};

/// Adds the limits. `edit` may change the filters (of writes, of reads) first.
///
/// # Errors
/// The bootstrap does not have the structure that the page assumes.
pub fn add(bootstrap: &mut Bootstrap, edit: impl FnOnce(&mut [Value]) -> Result<()>) -> Result<()> {
    let folder = paths::repository().join("envoy/rate-limits");
    let mut filters: Vec<Value> = yaml::read(&folder.join("filters.yaml"))?;
    let routes: Value = yaml::read(&folder.join("routes.yaml"))?;
    ensure!(filters.len() == 2, "{} filters", filters.len());
    edit(&mut filters)?;
    let manager = bootstrap.connection_manager()?;
    let chain = manager["http_filters"].as_array_mut();
    let chain = chain.context("no filters")?;
    let gate = chain.iter().position(|one| one["name"] == json!(FILTER));
    let behind = gate.context("no gate")? + 1;
    chain.splice(behind..behind, filters);
    let host = &mut manager["route_config"]["virtual_hosts"][0];
    host["rate_limits"] = routes["virtual_host"].clone();
    let mut writes = 0;
    for route in host["routes"].as_array_mut().context("no routes")? {
        let route = &mut route["route"];
        if route["timeout"] == json!("60s") {
            route["rate_limits"] = routes["writes"].clone();
            writes += 1;
        }
    }
    ensure!(writes > 6, "only {writes} routes of writes");
    Ok(())
}
