//! The command `scopegate`.

use std::io::{self, IsTerminal as _};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Parser as _;
use scopegate::cli::{Arguments, Console, Disk, Network, run};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let colourless = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let mut console = Console {
        input: &mut io::stdin().lock(),
        files: &Disk,
        output: &mut io::stdout().lock(),
        // This is not locked, because a command that serves logs from several threads.
        errors: &mut io::stderr(),
        styled: io::stdout().is_terminal() && !colourless,
        variables: std::env::vars().collect(),
        now: now.map_or(0, |now| u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)),
        web: &mut Network,
    };
    run(arguments, &mut console).into()
}
