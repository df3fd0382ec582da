//! The Compose file itself.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use integration::part::{self, Part};
use integration::{paths, trial, yaml};
use libtest_mimic::Trial;
use serde_json::{Value, json};

use crate::bootstrap;

integration::trials![
    every_mounted_file_exists,
    every_program_is_told_of_its_file,
    every_variable_of_a_backend_is_set,
    every_image_is_pinned,
    images_that_the_tests_run_have_the_version_of_the_tests,
    only_envoy_reaches_the_backends,
    every_cluster_leads_to_a_container,
];

/// These need the library if the plugin is not installed.
pub fn read_by_compose() -> Vec<Trial> {
    let needs: &'static [Part] = if has_plugin() { &[] } else { &[part::COMPOSE] };
    let name = |test: &str| format!("{}::{test}", module_path!());
    vec![
        trial::needing(&name("compose_reads_it"), needs, compose_reads_it),
        trial::needing(
            &name("compose_refuses_a_slip"),
            needs,
            compose_refuses_a_slip,
        ),
    ]
}

fn path() -> PathBuf {
    paths::integration().join("docker-compose.yaml")
}

/// Its services by their names, with what the file shares between them merged in.
pub fn services() -> Result<BTreeMap<String, Value>> {
    let mut value: serde_yaml_ng::Value = serde_yaml_ng::from_str(&fs::read_to_string(path())?)?;
    value.apply_merge()?;
    let services = serde_json::to_value(&value["services"])?;
    Ok(serde_json::from_value(services)?)
}

/// The members of a list; none of anything else.
pub fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// The text of a member that must be one.
pub fn text(value: &Value) -> Result<&str> {
    value
        .as_str()
        .with_context(|| format!("{value} is no text"))
}

/// Whether Compose accepts that file, and its messages: the plugin of Docker if it is installed, otherwise the
/// library that the plugin is made of.
fn check(file: &Path) -> Result<(bool, String)> {
    let mut command = if has_plugin() {
        let mut command = Command::new("docker");
        command.args(["compose", "config", "--quiet", "--file"]);
        command
    } else {
        Command::new(part::COMPOSE.find()?)
    };
    let output = command.arg(file).output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    Ok((output.status.success(), said))
}

fn has_plugin() -> bool {
    Command::new("docker")
        .args(["compose", "version"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

fn compose_reads_it() -> Result<()> {
    let (valid, said) = check(&path())?;
    ensure!(valid, "{said}");
    Ok(())
}

fn compose_refuses_a_slip() -> Result<()> {
    let text = fs::read_to_string(path())?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("docker-compose.yaml");
    for (what, from, to) in [
        (
            "an unknown key",
            "    image: grafana/loki",
            "    imgae: grafana/loki",
        ),
        (
            "a wrong type",
            "ports: [\"127.0.0.1:3000:3000\"]",
            "ports: {grafana: 3000}",
        ),
        (
            "a word for a number",
            "    healthcheck:\n      test: [CMD, wget",
            "    healthcheck:\n      retries: many\n      test: [CMD, wget",
        ),
        (
            "an undefined volume",
            "- tls:/etc/envoy/tls",
            "- tsl:/etc/envoy/tls",
        ),
        (
            "an undefined network",
            "networks: [front]",
            "networks: [frnot]",
        ),
        (
            "a dependency on nobody",
            "keycloak: {condition: service_healthy}",
            "keyclaok: {condition: service_healthy}",
        ),
        (
            "an unknown condition",
            "{condition: service_healthy}",
            "{condition: service_well}",
        ),
    ] {
        let broken = text.replacen(from, to, 1);
        ensure!(broken != text, "{what}: {from:?} is not in the file");
        fs::write(&file, broken)?;
        let (valid, said) = check(&file)?;
        ensure!(!valid, "{what} passed");
        ensure!(!said.is_empty(), "{what}: refused without a word");
    }
    Ok(())
}

/// The engine would create a missing file as an empty folder, and mount that.
fn every_mounted_file_exists() -> Result<()> {
    const MODULE: &str = "../target/scopegate.wasm";
    let mut mounted = BTreeSet::new();
    for (name, service) in services()? {
        for volume in list(&service["volumes"]) {
            let source = if let Some(short) = volume.as_str() {
                let (source, rest) = short.split_once(':').context("no target")?;
                let file = source.starts_with('.');
                ensure!(
                    !file || rest.ends_with(":ro"),
                    "{name}: {short} can be written"
                );
                source
            } else {
                ensure!(volume["read_only"] == json!(true), "{name}: {volume}");
                ensure!(
                    volume["bind"]["create_host_path"] == json!(false),
                    "{name}: {volume}"
                );
                text(&volume["source"])?
            };
            if !source.starts_with('.') {
                continue;
            }
            // The one that is built.
            if source != MODULE {
                let source = paths::integration().join(source);
                ensure!(source.exists(), "{name}: no {}", source.display());
            }
            mounted.insert(source.to_owned());
        }
    }
    ensure!(mounted.contains(MODULE), "no module");
    ensure!(mounted.len() == 10, "not the ten of before: {mounted:?}");
    Ok(())
}

/// Files that must be read are arguments of their programs, or are where the image looks for them.
fn every_program_is_told_of_its_file() -> Result<()> {
    for name in ["loki", "mimir", "tempo", "alloy", "collector"] {
        let service = services()?
            .remove(name)
            .with_context(|| format!("no {name}"))?;
        let mount = text(&service["volumes"][0])?;
        let target = mount.split(':').nth(1).context("no target")?;
        ensure!(
            list(&service["command"]).iter().any(|argument| argument
                .as_str()
                .is_some_and(|argument| argument.ends_with(target))),
            "{name}: {target} is mounted and not named"
        );
    }
    Ok(())
}

/// Every variable in the file of a backend is set, in the container as well as for the process of `make stack`.
fn every_variable_of_a_backend_is_set() -> Result<()> {
    for name in ["loki", "mimir", "tempo"] {
        let service = services()?
            .remove(name)
            .with_context(|| format!("no {name}"))?;
        let file = paths::integration().join(format!("stack/{name}/{name}.yaml"));
        let file = fs::read_to_string(file)?;
        let wanted: BTreeSet<&str> = file
            .split("${")
            .skip(1)
            .filter_map(|rest| rest.split('}').next())
            .collect();
        let given: BTreeSet<&str> = service["environment"]
            .as_object()
            .context("no environment")?
            .keys()
            .map(String::as_str)
            .collect();
        ensure!(wanted == given, "{name} wants {wanted:?}, has {given:?}");
    }
    Ok(())
}

fn every_image_is_pinned() -> Result<()> {
    for (name, service) in services()? {
        let image = text(&service["image"])?;
        let (_, tag) = image
            .rsplit_once(':')
            .with_context(|| format!("{name}: no tag"))?;
        let numbers: Vec<&str> = tag.trim_start_matches('v').split('.').collect();
        ensure!(
            numbers.len() == 3 && numbers.iter().all(|number| number.parse::<u32>().is_ok()),
            "{name}: {tag} is no full version"
        );
    }
    Ok(())
}

/// What is said there about versions.
fn images_that_the_tests_run_have_the_version_of_the_tests() -> Result<()> {
    let read = |file: &str| fs::read_to_string(paths::integration().join(file));
    let services = services()?;
    for (name, file, before) in [
        ("loki", "stack/loki/go.mod", "github.com/grafana/loki/v3 v"),
        ("collector", "stack/collector/manifest.yaml", "version: "),
        ("keycloak", "tools/part.sh", "KEYCLOAK="),
    ] {
        let text = read(file)?;
        let (_, rest) = text
            .split_once(before)
            .with_context(|| format!("{file}: no {before}"))?;
        let version: String = rest
            .chars()
            .take_while(|letter| letter.is_ascii_digit() || *letter == '.')
            .collect();
        let image = services[name]["image"].as_str().unwrap_or_default();
        ensure!(
            image.ends_with(&format!(":{version}")),
            "{name}: {image}, tested with {version}"
        );
    }
    Ok(())
}

/// Only the gate leads to a backend, and nothing at all can be reached from another machine.
fn only_envoy_reaches_the_backends() -> Result<()> {
    const BACKENDS: [&str; 3] = ["loki", "mimir", "tempo"];
    const PUBLISHED: [&str; 3] = ["envoy", "grafana", "keycloak"];
    for (name, service) in services()? {
        let name = name.as_str();
        let ports = list(&service["ports"]);
        ensure!(
            ports.is_empty() != PUBLISHED.contains(&name),
            "{name}: {ports:?}"
        );
        for port in ports {
            ensure!(text(port)?.starts_with("127.0.0.1:"), "{name}: {port}");
        }
        let networks = networks(&service["networks"]);
        ensure!(
            networks.contains("behind") == (BACKENDS.contains(&name) || name == "envoy"),
            "{name}: {networks:?}"
        );
        ensure!(
            !(BACKENDS.contains(&name) && networks.len() > 1),
            "{name}: {networks:?}"
        );
        // The agent that scrapes Envoy; nobody else may share its loopback.
        let shared = service.get("network_mode");
        ensure!(
            shared.is_none() || (name == "alloy" && shared == Some(&json!("service:envoy"))),
            "{name}: {shared:?}"
        );
    }
    let document: Value = yaml::read(&path())?;
    ensure!(document["networks"]["behind"]["internal"] == json!(true));
    Ok(())
}

fn networks(value: &Value) -> BTreeSet<&str> {
    match value {
        Value::Array(names) => names.iter().filter_map(Value::as_str).collect(),
        Value::Object(names) => names.keys().map(String::as_str).collect(),
        _ => BTreeSet::new(),
    }
}

/// Each address of a cluster is a container that listens there, but for Collectors that the shipped file has.
fn every_cluster_leads_to_a_container() -> Result<()> {
    let services = services()?;
    let bootstrap: Value = yaml::read(&bootstrap::path())?;
    let clusters = list(&bootstrap["static_resources"]["clusters"]);
    ensure!(clusters.len() == 10, "{} clusters", clusters.len());
    for cluster in clusters {
        let name = text(&cluster["name"])?;
        // Envoy itself.
        if name == "admin" {
            continue;
        }
        let endpoint = &cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"];
        let address = &endpoint["address"]["socket_address"];
        let (host, port) = (text(&address["address"])?, &address["port_value"]);
        let mut found = services.iter().filter(|(container, service)| {
            let aliases = list(&service["networks"]["behind"]["aliases"]);
            container.as_str() == host || aliases.contains(&json!(host))
        });
        // Collectors, which are not among the containers: Loki and Mimir take no OTLP over gRPC.
        if ["loki_grpc", "mimir_grpc"].contains(&name) {
            ensure!(host.starts_with("otel-collector.") && found.next().is_none());
            continue;
        }
        let (container, service) = found
            .next()
            .with_context(|| format!("{name}: nobody is called {host}"))?;
        let listens = match container.as_str() {
            "keycloak" => list(&service["ports"])
                .iter()
                .any(|published| published == &json!(format!("127.0.0.1:{port}:{port}"))),
            _ => service["environment"]
                .as_object()
                .context("no environment")?
                .iter()
                .any(|(variable, value)| variable.ends_with("_PORT") && value == port),
        };
        ensure!(listens, "{name}: {container} does not listen at {port}");
        let backend = name.split('_').next().unwrap_or_default();
        ensure!(
            container == backend || (name == "idp" && container == "keycloak"),
            "{name} leads to {container}"
        );
    }
    Ok(())
}

/// Run the command of the container `certificate` with these folders in place of its volumes.
pub fn make_certificate(folder: &Path) -> Result<()> {
    let services = services()?;
    let service = services.get("certificate").context("no certificate")?;
    ensure!(service["entrypoint"] == json!(["sh", "-ec"]));
    let mut script = text(&service["command"][0])?.to_owned();
    for volume in ["tls", "ca"] {
        let inside = folder.join(volume);
        fs::create_dir_all(&inside)?;
        script = script.replace(&format!("/{volume}/"), &format!("{}/", inside.display()));
    }
    // Twice, as a second `up` would: the first certificate stays.
    let mut certificates = BTreeSet::new();
    for _ in 0..2 {
        let output = Command::new("sh").args(["-ec", &script]).output()?;
        ensure!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        certificates.insert(fs::read(folder.join("tls/tls.crt"))?);
    }
    ensure!(certificates.len() == 1, "made anew though it was there");
    Ok(())
}
