//! `scopegate completions`: prints a script with which a shell completes the commands.

use std::io;

use clap::{Args, Command};
use clap_complete::Shell;

use super::console::Console;
use super::outcome::Outcome;

#[derive(Debug, Args)]
#[command(after_help = "Example:
  scopegate completions bash > /etc/bash_completion.d/scopegate")]
pub(super) struct Arguments {
    /// The shell.
    #[arg(value_enum)]
    shell: Shell,
}

/// Prints the script for `command`, which is the whole command line.
pub(super) fn run(
    arguments: &Arguments,
    mut command: Command,
    console: &mut Console<'_>,
) -> io::Result<Outcome> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut command, "scopegate", &mut script);
    console.output.write_all(&script)?;
    Ok(Outcome::Good)
}
