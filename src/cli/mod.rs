//! The command line: what operators run at a terminal or in a pipeline.
//!
//! Every command is a function of its arguments and of a [`Console`], so tests run it without a
//! process. Its conclusion is an [`Outcome`], which becomes the exit status. All judging is left
//! to the gate's own modules: nothing here knows a rule of the configuration.

mod arguments;
mod check;
mod completions;
mod console;
mod explain;
#[cfg(feature = "serve")]
mod install_module;
#[cfg(feature = "cli")]
mod network;
mod organizations;
mod outcome;
#[cfg(feature = "serve")]
mod public_keys;
mod render;
mod schema;
#[cfg(feature = "serve")]
mod serve_organizations;

pub use arguments::Arguments;
pub use console::{Console, Disk, Fetched, Files, Format, Unconnected, Wanted, Web};
#[cfg(feature = "cli")]
pub use network::Network;
pub use outcome::Outcome;

use arguments::Command;
use clap::CommandFactory as _;

/// Runs a command, and prints an error that it ends with.
pub fn run(arguments: Arguments, console: &mut Console<'_>) -> Outcome {
    let done = match arguments.command {
        Command::Check(check) => check::run(&check, arguments.output, console, render::problems_of),
        Command::Completions(completions) => {
            completions::run(&completions, Arguments::command(), console)
        }
        Command::Explain(explain) => explain::run(&explain, arguments.output, console),
        Command::Schema(arguments) => schema::run(&arguments, console),
        Command::Organizations(organizations) => {
            organizations::run(&organizations, arguments.output, console)
        }
        #[cfg(feature = "serve")]
        Command::InstallModule(install) => install_module::run(&install, console),
        #[cfg(feature = "serve")]
        Command::PublicKeys(keys) => public_keys::run(&keys, console),
        #[cfg(feature = "serve")]
        Command::ServeOrganizations(serve) => serve_organizations::run(*serve, arguments.output),
        Command::Render(render) => render::run(&render, arguments.output, console),
    };
    done.unwrap_or_else(|error| console.give_up(&error))
}
