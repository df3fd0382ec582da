//! A real Loki in one process, with `integration/stack/loki/loki.yaml`.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::backend::{Backend, Ports, loopback};
use crate::{part, paths};

/// Starts Loki. `LOKI` may name the program.
pub async fn start() -> Result<Backend> {
    Backend::start("loki", Ports::free()?, || Ok(part::LOKI.find()?)).await
}

/// Starts a Loki that stores nothing and only parses queries, within a second. `LOKI` may name the program.
pub async fn start_to_read_queries() -> Result<Backend> {
    let adjust = |command: &mut Command| {
        // `/loki/api/v1/format_query` exists for every target, and this target needs no other parts of Loki.
        command.arg("-target=query-scheduler");
        // Its parser copies a buffer of 128 KiB at many names. It answers a third more queries if garbage is
        // collected less often.
        command.env("GOGC", "800");
    };
    Backend::start_with("loki", Ports::free()?, adjust, || Ok(part::LOKI.find()?)).await
}

/// Starts another Loki, beside that of the scene. As `stack/loki/overrides.yaml` says, it writes the patterns of the
/// tenant `initech` back to its own store, and keeps those of other tenants in memory only.
pub async fn start_with_persistence() -> Result<Backend> {
    let ports = Ports::free()?;
    let overrides = paths::integration().join("stack/loki/overrides.yaml");
    let flags = [
        format!("-runtime-config.file={}", overrides.display()),
        format!(
            "-pattern-ingester.pattern-persistence.loki-address={}",
            loopback(ports.http)
        ),
        // Without these options, the periods are a minute each.
        "-pattern-ingester.pattern-persistence.push-period=1s".to_owned(),
        "-pattern-ingester.flush-check-period=2s".to_owned(),
    ];
    let adjust = move |command: &mut Command| {
        command.args(&flags);
    };
    Backend::start_own("loki", ports, adjust, part::LOKI.find()?).await
}

/// A logcli for that base URL, to which a command must be added. For TLS it is given the certificate to trust.
/// `LOGCLI` may name the program.
pub fn logcli(url: &str, authority: Option<&Path>) -> Result<Command> {
    let mut command = Command::new(part::LOGCLI.find()?);
    command.args(["--quiet", &format!("--addr={url}")]);
    if let Some(authority) = authority {
        command.arg("--ca-cert").arg(authority);
    }
    Ok(command)
}
