//! The command `scopegate` as a program that a shell can find. It is the test program itself, which acts as the
//! command when it is started under that name.

use std::io;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use scopegate::cli::{Arguments, Console, Disk, Network, run};

use crate::token;

/// The name of the command.
const COMMAND: &str = "scopegate";

/// Runs the command if this process was started under its name. `main` does this first.
#[must_use]
pub fn as_command() -> Option<ExitCode> {
    let program = std::env::args_os().next()?;
    if Path::new(&program).file_name()? != COMMAND {
        return None;
    }
    let mut console = Console {
        input: &mut io::stdin().lock(),
        files: &Disk,
        output: &mut io::stdout().lock(),
        errors: &mut io::stderr(),
        styled: false,
        variables: std::env::vars().collect(),
        now: u64::try_from(token::now())
            .unwrap_or_default()
            .saturating_mul(1_000_000_000),
        web: &mut Network,
    };
    Some(run(Arguments::parse(), &mut console).into())
}

/// Installs the command in that folder, for use in a `PATH`.
pub fn install(folder: &Path) -> Result<()> {
    symlink(std::env::current_exe()?, folder.join(COMMAND))?;
    Ok(())
}
