//! The files for clients: each is read as its client would read it, as far as that client is available.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use integration::{part, yaml};
use scopegate::authz::endpoint::TABLE;
use serde_json::{Value, json};

use crate::documents::{list, shipped, text};

integration::trials![
    grafana_forwards_the_users_token_and_names_a_tenant,
    the_collector_sends_only_through_what_it_configures,
    prometheus_reads_its_file needs [PROMTOOL],
    the_script_is_one,
    what_clients_are_told_to_call_is_exposed,
];

fn grafana_forwards_the_users_token_and_names_a_tenant() -> Result<()> {
    let document: Value = yaml::read(&shipped("clients/grafana-datasources.yaml"))?;
    ensure!(document["apiVersion"] == json!(1));
    let sources = list(&document["datasources"]);
    let mut kinds: Vec<&str> = Vec::new();
    let mut names: Vec<&str> = Vec::new();
    for source in sources {
        let name = text(&source["name"])?;
        names.push(text(&source["uid"])?);
        let settings = &source["jsonData"];
        ensure!(settings["oauthPassThru"] == json!(true), "{name}");
        ensure!(
            settings["httpHeaderName1"] == json!("X-Scope-OrgID"),
            "{name}"
        );
        let tenants = text(&source["secureJsonData"]["httpHeaderValue1"])?;
        ensure!(!tenants.is_empty(), "{name}");
        // Rules belong to one tenant, and Loki's stand at a path of Mimir's.
        let kind = text(&source["type"])?;
        if kind == "loki" || tenants.contains('|') {
            ensure!(settings["manageAlerts"] != json!(true), "{name}");
        }
        kinds.push(kind);
    }
    // The Alertmanager of Mimir takes one tenant, and Grafana must know that it is Mimir's.
    let alerts = sources
        .iter()
        .filter(|source| source["type"] == json!("alertmanager"));
    for source in alerts.clone() {
        let tenant = text(&source["secureJsonData"]["httpHeaderValue1"])?;
        ensure!(!tenant.contains('|'), "{tenant}");
        ensure!(
            source["jsonData"]["implementation"] == json!("mimir"),
            "{tenant}"
        );
    }
    ensure!(alerts.count() == 1, "one Alertmanager");
    for kind in ["loki", "prometheus", "tempo"] {
        ensure!(
            kinds.iter().filter(|known| **known == kind).count() == 2,
            "{kind}: one tenant, and two"
        );
    }
    names.sort_unstable();
    names.dedup();
    ensure!(names.len() == sources.len(), "a uid stands twice");
    Ok(())
}

fn the_collector_sends_only_through_what_it_configures() -> Result<()> {
    let document: Value = yaml::read(&shipped("clients/otel-collector.yaml"))?;
    for (name, exporter) in document["exporters"].as_object().context("no exporters")? {
        let authenticator = text(&exporter["auth"]["authenticator"])?;
        ensure!(
            document["extensions"][authenticator].is_object(),
            "{name}: no extension {authenticator}"
        );
        ensure!(list(&document["service"]["extensions"]).contains(&json!(authenticator)));
        let headers = exporter["headers"].as_object().context("no headers")?;
        ensure!(
            headers
                .keys()
                .any(|header| header.eq_ignore_ascii_case("x-scope-orgid")),
            "{name}: no tenant"
        );
    }
    let pipelines = document["service"]["pipelines"]
        .as_object()
        .context("no pipelines")?;
    ensure!(pipelines.len() == 3);
    for (name, pipeline) in pipelines {
        for part in ["receivers", "processors", "exporters"] {
            for used in list(&pipeline[part]) {
                let used = text(used)?;
                ensure!(
                    !document[part][used].is_null(),
                    "{name}: no {part} named {used}"
                );
            }
        }
    }
    Ok(())
}

fn prometheus_reads_its_file() -> Result<()> {
    let promtool = part::PROMTOOL.find()?;
    let check = |text: &str| -> Result<(bool, String)> {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("prometheus.yaml");
        std::fs::write(&file, text)?;
        // The files that hold secrets are not here.
        let output = Command::new(&promtool)
            .args(["check", "config", "--syntax-only"])
            .arg(&file)
            .output()
            .with_context(|| promtool.display().to_string())?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        Ok((output.status.success(), said))
    };
    let file = std::fs::read_to_string(shipped("clients/prometheus.yaml"))?;
    let (valid, said) = check(&file)?;
    ensure!(valid, "{said}");
    let broken = file.replace("client_secret_file:", "client_secret_fil:");
    ensure!(!check(&broken)?.0, "promtool took a misspelt key");
    Ok(())
}

fn the_script_is_one() -> Result<()> {
    let output = Command::new("bash")
        .arg("-n")
        .arg(shipped("clients/curl.sh"))
        .output()?;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

/// Every URL in these files leads to a row of the table: nobody copies a path that is refused.
fn what_clients_are_told_to_call_is_exposed() -> Result<()> {
    const HOST: &str = "https://observability.example.com";
    // Bases, to which the client adds a path of its own.
    const BASES: [&str; 4] = ["", "/prometheus", "/tempo", "/otlp"];
    let mut seen = 0;
    for name in [
        "grafana-datasources.yaml",
        "config.alloy",
        "otel-collector.yaml",
        "prometheus.yaml",
        "curl.sh",
    ] {
        let file = std::fs::read_to_string(shipped("clients").join(name))?;
        for rest in file.split(HOST).skip(1).chain(file.split("$gate").skip(1)) {
            let end = rest
                .find(|letter: char| !letter.is_ascii_alphanumeric() && !"/_-.".contains(letter))
                .unwrap_or(rest.len());
            let path = &rest[..end];
            seen += 1;
            // The script shows one refusal of this kind.
            if BASES.contains(&path) || path == "/config" {
                continue;
            }
            ensure!(
                TABLE.iter().any(|row| row.template == path),
                "{name}: {path} is not exposed"
            );
        }
    }
    ensure!(seen > 15, "only {seen} URLs");
    Ok(())
}
