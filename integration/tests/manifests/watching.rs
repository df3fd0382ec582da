//! The files that monitor a gate, under `envoy/monitoring`: kubeconform compares the resources with their
//! definitions, and the dashboard is compared with Grafana's own types.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use integration::issuer::Issuer;
use integration::scene::Scene;
use integration::{drill, part, paths};

use crate::documents::{Document, Set, only, read, shipped};
use crate::schemas;

integration::trials![
    the_operators_resources_satisfy_their_definitions needs [MANIFESTS],
    the_dashboard_is_one_by_grafanas_types needs [GRAFANA],
    under_envoy_gateway_the_gates_lines_are_in_the_log,
];

fn the_operators_resources_satisfy_their_definitions() -> Result<()> {
    let mut documents: Vec<Document> = read(&shipped("monitoring/podmonitor.yaml"))?;
    documents.extend(read(&shipped("monitoring/prometheusrule.yaml"))?);
    ensure!(documents.len() == 4, "{} documents", documents.len());
    schemas::are_valid(&documents)?;
    schemas::slips_are_refused(&documents, 100)
}

fn the_dashboard_is_one_by_grafanas_types() -> Result<()> {
    let dashboard = fs::read_to_string(shipped("monitoring/dashboard.json"))?;
    let told = compile(&dashboard)?;
    ensure!(told.is_empty(), "{told}");
    // And a slip would be noticed, wherever it is.
    for (right, wrong) in [
        ("\"graphTooltip\": 1", "\"graphTooltip\": 7"),
        ("\"includeAll\"", "\"includeall\""),
        ("\"gridPos\"", "\"gridpos\""),
        ("\"type\": \"stat\"", "\"type\": \"stats\""),
        ("\"unit\": \"reqps\"", "\"units\": \"reqps\""),
        ("\"graphMode\": \"area\"", "\"graphMode\": \"arena\""),
        ("\"drawStyle\": \"line\"", "\"drawStyle\": \"lines\""),
        ("\"cellHeight\"", "\"cellheight\""),
        ("\"legendFormat\"", "\"legend\""),
        ("\"expr\"", "\"expression\""),
    ] {
        ensure!(dashboard.contains(right), "no {right}");
        let told = compile(&dashboard.replacen(right, wrong, 1))?;
        ensure!(told.contains("error TS"), "nobody minds {wrong}: {told}");
    }
    Ok(())
}

/// Envoy Gateway has a default level and hands on those of components, sorted, as Envoy's flag wants them.
#[tokio::main]
async fn under_envoy_gateway_the_gates_lines_are_in_the_log() -> Result<()> {
    let documents = Set::EnvoyGateway.documents()?;
    let levels = only(&documents, "EnvoyProxy")?.spec()["logging"]["level"].clone();
    let mut levels: BTreeMap<String, String> = serde_json::from_value(levels)?;
    let default = levels.remove("default").context("no default level")?;
    let of = |levels: &BTreeMap<String, String>| -> String {
        let levels = levels.iter().map(|(name, level)| format!("{name}:{level}"));
        levels.collect::<Vec<_>>().join(",")
    };
    let said = async |levels: String| -> Result<bool> {
        let settings = drill::settings(drill::configuration())?
            .sandboxed()
            .log_level(&default)
            .component_log_levels(&levels);
        let scene = Scene::start_with(settings, Issuer::corporate().await?).await?;
        let keys = |keys| keys > 0.0;
        let within = Duration::from_secs(10);
        drill::wait_for_metric(&scene.envoy, "scopegate_jwks_keys", &[], within, keys).await?;
        ensure!(!scene.envoy.log_contains("[info][main]"), "all of Envoy is");
        Ok(scene.envoy.log_contains(", mode enforce, "))
    };
    ensure!(said(of(&levels)).await?);
    levels.remove("wasm");
    ensure!(!said(of(&levels)).await?, "it would be without that");
    Ok(())
}

/// What TypeScript says of a dashboard; nothing if it is one.
fn compile(dashboard: &str) -> Result<String> {
    let modules = part::GRAFANA.find()?.join("node_modules");
    let folder = tempfile::tempdir()?;
    std::os::unix::fs::symlink(&modules, folder.path().join("node_modules"))?;
    let shape = paths::integration().join("monitoring/shape.ts");
    fs::copy(shape, folder.path().join("shape.ts"))?;
    let text = format!(
        "import type {{ Dashboard }} from './shape';\nexport const dashboard: Dashboard = {dashboard};\n"
    );
    fs::write(folder.path().join("dashboard.ts"), text)?;
    let output = Command::new("node")
        .arg(modules.join("typescript/bin/tsc"))
        .args(["--noEmit", "--strict", "--skipLibCheck"])
        .args(["--module", "preserve", "--moduleResolution", "bundler"])
        .args(["--target", "es2022"])
        .arg(Path::new("dashboard.ts"))
        .current_dir(folder.path())
        .output()
        .context("node")?;
    let told = String::from_utf8(output.stdout)?;
    ensure!(
        output.status.success() == told.is_empty(),
        "{} {told} {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(told)
}
