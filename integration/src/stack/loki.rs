//! A real Loki in one process, with `integration/stack/loki/loki.yaml`.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::backend::{self, Backend, Ports};
use super::program;

/// Start Loki; `LOKI` may name the program.
pub async fn start() -> Result<Backend> {
    let program = program::find("LOKI", "loki", "bin/loki")?;
    let ports = Ports::free()?;
    Backend::start("loki", ports, move |data, ports| {
        let mut command = Command::new(&program);
        command.args(["-config.expand-env=true", "-config.file"]);
        backend::configure(&mut command, "loki/loki.yaml", data, ports);
        command
    })
    .await
}

/// logcli against that base URL, to be given a command; for TLS with the certificate that it is to trust. `LOGCLI` may
/// name the program.
pub fn logcli(url: &str, authority: Option<&Path>) -> Result<Command> {
    let mut command = Command::new(program::find("LOGCLI", "loki", "bin/logcli")?);
    command.args(["--quiet", &format!("--addr={url}")]);
    if let Some(authority) = authority {
        command.arg("--ca-cert").arg(authority);
    }
    Ok(command)
}
