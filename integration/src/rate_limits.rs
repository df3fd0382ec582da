//! The limits of `envoy/rate-limits` put into a bootstrap, as `docs/rate-limits.md` says to do it.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::envoy::bootstrap::{Bootstrap, FILTER};
use crate::{paths, yaml};

/// Put them in, with filters (of writes, of reads) that have been edited.
///
/// # Errors
/// The bootstrap is not made as the page takes for granted.
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
