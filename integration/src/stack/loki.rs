//! A real Loki in one process, with `integration/stack/loki/loki.yaml`.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::backend::{Backend, Ports};
use crate::part;

/// Start Loki; `LOKI` may name the program.
pub async fn start() -> Result<Backend> {
    Backend::start("loki", Ports::free()?, || Ok(part::LOKI.find()?)).await
}

/// logcli against that base URL, to be given a command; for TLS with the certificate that it is to trust. `LOGCLI` may
/// name the program.
pub fn logcli(url: &str, authority: Option<&Path>) -> Result<Command> {
    let mut command = Command::new(part::LOGCLI.find()?);
    command.args(["--quiet", &format!("--addr={url}")]);
    if let Some(authority) = authority {
        command.arg("--ca-cert").arg(authority);
    }
    Ok(command)
}
