//! What happens to the heavy tests if a part is not available: they are skipped by name, unless a variable names a
//! broken one.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use integration::paths;

/// A run of the heavy tests sets them; here none is set.
const VARIABLES: [&str; 11] = [
    "DEX",
    "KEYCLOAK",
    "LOGCLI",
    "LOKI",
    "MIMIR",
    "OTELCOL",
    "PROMETHEUS_AGENT",
    "PROMTOOL",
    "SCOPEGATE_LOKI_ADDRESS",
    "SCOPEGATE_MIMIR_ADDRESS",
    "TEMPO",
];

fn without_variables(mut command: Command) -> Command {
    for variable in VARIABLES {
        command.env_remove(variable);
    }
    command
}

/// No server is started, and none looked for.
fn self_test(variable: Option<(&str, &str)>) -> Result<Output> {
    let missing = "keycloak: told so\nloki: told so\nmimir: told so\nprometheus: told so\ncollector: told so\n";
    let mut command = without_variables(Command::new(env!("CARGO_BIN_EXE_scopegate-stack")));
    command
        .arg("--self-test")
        .env("SCOPEGATE_MISSING", missing)
        .envs(variable);
    Ok(command.output()?)
}

#[test]
fn what_needs_a_missing_part_is_skipped_by_name() -> Result<()> {
    let output = self_test(None)?;
    let said = String::from_utf8(output.stdout)?;
    ensure!(output.status.success(), "{said}");
    let logs = said.lines().find(|line| line.contains("logs of acme"));
    ensure!(
        logs.is_some_and(|line| line.contains("ignored (no keycloak: told so; no loki: told so")),
        "{said}"
    );
    ensure!(
        said.contains("test result: ok. 0 passed; 0 failed; 4 ignored"),
        "{said}"
    );
    Ok(())
}

#[test]
fn a_named_program_that_does_not_run_is_an_error() -> Result<()> {
    for (variable, path) in [
        ("LOKI", "/no/such/loki"),
        ("MIMIR", "/bin/false"),
        ("KEYCLOAK", "/no/such/folder"),
    ] {
        let output = self_test(Some((variable, path)))?;
        let said = String::from_utf8(output.stderr)?;
        ensure!(!output.status.success(), "{variable}={path} passes");
        ensure!(said.contains(&format!("{variable}={path}: ")), "{said}");
    }
    Ok(())
}

/// Run `parts.sh` with an empty cache, and with this script in place of all that builds and fetches.
fn parts(tool: &str, seconds: &str) -> Result<(String, Duration)> {
    let folder = tempfile::tempdir()?;
    let tools = folder.path().join("tools");
    fs::create_dir(&tools)?;
    for name in ["go", "mvn", "npm"] {
        put_program(&tools.join(name), tool)?;
    }
    let path = std::env::var("PATH").unwrap_or_default();
    let script = paths::integration().join("tools/parts.sh");
    let began = Instant::now();
    let output = without_variables(Command::new(script))
        .env("PATH", format!("{}:{path}", tools.display()))
        .env("SCOPEGATE_CACHE", folder.path().join("cache"))
        .env("SCOPEGATE_PARTS_SECONDS", seconds)
        // Named, and so not fetched.
        .envs([
            ("OPENAPI_PYTHON", "python3"),
            ("MIMIR", "mimir"),
            ("TEMPO", "tempo"),
        ])
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}: {said}", output.status);
    Ok((String::from_utf8(output.stdout)?, began.elapsed()))
}

fn put_program(file: &Path, script: &str) -> Result<()> {
    fs::write(file, format!("#!/bin/sh\n{script}\n"))?;
    fs::set_permissions(file, fs::Permissions::from_mode(0o755))?;
    Ok(())
}

#[test]
fn what_is_refused_is_listed_and_no_failure() -> Result<()> {
    let (list, _) = parts("echo 'the registry says 403' >&2; exit 1", "60")?;
    // Java, Maven and Node are not there on every machine: then that is the reason.
    let names: Vec<&str> = list
        .lines()
        .filter_map(|line| line.split(':').next())
        .collect();
    let wanted = [
        "loki",
        "prometheus",
        "oracles",
        "kubernetes",
        "control-planes",
        "keycloak",
        "collector",
        "dex",
        "manifests",
        "helm",
        "compose",
        "lezer",
        "grafana",
        "browser",
    ];
    ensure!(names == wanted, "{list}");
    ensure!(list.contains("loki: the registry says 403\n"), "{list}");
    Ok(())
}

#[test]
fn what_stands_still_holds_up_nobody_for_long() -> Result<()> {
    let (list, took) = parts("exec sleep 600", "2")?;
    ensure!(list.contains("loki: not there after 1 s\n"), "{list}");
    ensure!(list.contains("compose: "), "{list}");
    ensure!(took < Duration::from_secs(30), "{took:?}");
    Ok(())
}
