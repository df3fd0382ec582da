//! Networks, mounts and processes of the run's own: servers there listen on the ports that they want, and write where
//! they will. `integration/tools/namespaces.sh` makes them.

use std::env;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, bail};
use integration::paths;
use tempfile::NamedTempFile;

use crate::page;

/// Whether this process is in there.
pub fn is_inside() -> bool {
    env::var_os("SCOPEGATE_INSIDE").is_some()
}

/// Run this program again, in there.
///
/// # Errors
/// There can be none on this machine.
pub fn enter() -> Result<ExitCode> {
    let script = paths::integration().join("tools/namespaces.sh");
    let tried = Command::new(&script).arg("true").output()?;
    if !tried.status.success() {
        let why = String::from_utf8_lossy(&tried.stderr);
        bail!("no namespaces: {}", why.trim());
    }
    // Found outside, where caches are written.
    for part in super::NEEDED {
        // A part that is missing is told of by each test.
        let _ = part.find();
    }
    let program = env::current_exe().context("this program is nowhere")?;
    let mut command = Command::new(script);
    command.arg(program).args(env::args_os().skip(1));
    let table = NamedTempFile::new_in("/tmp")?;
    let wanted = env::var_os("SCOPEGATE_WRITE").is_some();
    if wanted {
        command.env(page::FILE, table.path());
    }
    let ended = command.status()?;
    if wanted {
        page::write(table.path())?;
    }
    Ok(match ended.code() {
        Some(0) => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}
