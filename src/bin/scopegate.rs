//! The command `scopegate`.

use std::io::{self, IsTerminal as _};
use std::process::ExitCode;

use clap::Parser as _;
use scopegate::cli::{Arguments, Console, run};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let colourless = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let mut console = Console {
        input: &mut io::stdin().lock(),
        output: &mut io::stdout().lock(),
        // Not locked: a command that serves tells of events from several threads.
        errors: &mut io::stderr(),
        styled: io::stdout().is_terminal() && !colourless,
        variables: std::env::vars().collect(),
    };
    run(arguments, &mut console).into()
}
