//! What watches a gate, under `envoy/monitoring`: its resources against their definitions, and the dashboard against
//! Grafana's own types.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use integration::{part, paths};

use crate::documents::{Document, read, shipped};
use crate::schemas;

integration::trials![
    the_operators_resources_satisfy_their_definitions needs [MANIFESTS],
    the_dashboard_is_one_by_grafanas_types needs [GRAFANA],
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
