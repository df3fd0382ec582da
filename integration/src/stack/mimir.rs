//! A real Mimir in one process, with `integration/stack/mimir/mimir.yaml`.

use std::process::Command;

use anyhow::Result;

use super::backend::{self, Backend, Ports};
use super::program;

/// Start Mimir; `MIMIR` may name the program.
pub async fn start() -> Result<Backend> {
    let program = program::find("MIMIR", "mimir", "bin/mimir")?;
    let ports = Ports::free()?;
    Backend::start("mimir", ports, move |data, ports| {
        let mut command = Command::new(&program);
        command.args(["-config.expand-env=true", "-config.file"]);
        backend::configure(&mut command, "mimir/mimir.yaml", data, ports);
        command
    })
    .await
}
