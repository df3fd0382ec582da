//! The command `scopegate`: as a program that a shell can find, which is the test program itself when it is started
//! under that name, and as a function.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Result, ensure};
use clap::Parser;
use scopegate::cli::{self, Arguments, Console, Disk, Network, Outcome, Unconnected};

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
    Some(cli::run(Arguments::parse(), &mut console).into())
}

/// Installs the command in that folder, for use in a `PATH`.
pub fn install(folder: &Path) -> Result<()> {
    symlink(std::env::current_exe()?, folder.join(COMMAND))?;
    Ok(())
}

/// Runs the command without a network. Returns whether it ends well, and what it says.
///
/// # Errors
/// There is no such command.
pub fn run(words: &[&str], input: &[u8]) -> Result<(bool, String)> {
    let (mut output, mut errors) = (Vec::new(), Vec::new());
    let mut console = Console {
        input: &mut &input[..],
        files: &Disk,
        output: &mut output,
        errors: &mut errors,
        styled: false,
        variables: BTreeMap::new(),
        now: 0,
        web: &mut Unconnected,
    };
    let words = ["scopegate"].into_iter().chain(words.iter().copied());
    let outcome = cli::run(Arguments::try_parse_from(words)?, &mut console);
    let errors = String::from_utf8(errors)?;
    ensure!(outcome != Outcome::WrongUse, "{errors}");
    let said = format!("{}{errors}", String::from_utf8(output)?);
    Ok((outcome == Outcome::Good, said))
}
