//! The scenario table: request, token and configuration on one side; status, code, body and the request that the
//! backend saw on the other.
//!
//! One table has two replays: natively against the core, and over HTTP/1.1 and HTTP/2 through a real Envoy. A
//! scenario therefore names nothing that exists in only one of them. `scenarios/README.md` describes the format with
//! examples.

mod check;
mod endpoints;
mod row;

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::{paths, yaml};

pub use check::{Outcome, Upstreamed, check};
pub use endpoints::{EndpointRow, Endpoints, endpoints};
pub use row::{
    BodyFamily, Expect, ExpectUpstream, IssuerState, Prepared, RequestText, Scenario, TokenText,
    UpstreamText, config,
};

/// Something that can decide a scenario. [`crate::replay`] asks a real Envoy, and the core has a replay of its own.
pub trait Replay {
    fn replay(&mut self, scenario: &Prepared) -> Result<Outcome>;
}

/// Loads every scenario of `integration/scenarios/*.yaml`, in the order of file names, and then those that
/// `endpoints.yaml` yields. Names must be unique.
pub fn load() -> Result<Vec<(String, Scenario)>> {
    let folder = paths::integration().join("scenarios");
    let mut files: Vec<_> = fs::read_dir(&folder)
        .with_context(|| format!("no folder {}", folder.display()))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "yaml")
        })
        .filter(|path| {
            path.file_name()
                .is_some_and(|name| name != "personas.yaml" && name != endpoints::FILE)
        })
        .collect();
    files.sort();
    let mut all = Vec::new();
    let mut names = BTreeSet::new();
    for path in files {
        let file = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        for (number, value) in yaml::read::<Vec<Value>>(&path)?.into_iter().enumerate() {
            let name = value["name"]
                .as_str()
                .unwrap_or("without a name")
                .to_owned();
            let scenario: Scenario = serde_json::from_value(value)
                .with_context(|| format!("{file}: scenario {} ({name})", number + 1))?;
            if !names.insert(scenario.name.clone()) {
                bail!("{file}: there are two scenarios named {name:?}");
            }
            all.push((file.clone(), scenario));
        }
    }
    for scenario in endpoints()?.scenarios() {
        if !names.insert(scenario.name.clone()) {
            bail!(
                "{}: there are two scenarios named {:?}",
                endpoints::FILE,
                scenario.name
            );
        }
        all.push((endpoints::FILE.to_owned(), scenario));
    }
    Ok(all)
}
