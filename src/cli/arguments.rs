//! The arguments of the command line.

use clap::{Parser, Subcommand};

use super::console::Format;
use super::{check, completions, explain, organizations, render, schema};
#[cfg(feature = "serve")]
use super::{install_module, public_keys, serve_organizations};

/// The command line.
#[derive(Debug, Parser)]
#[command(
    name = "scopegate",
    version,
    about = "Checks, explains and prepares what the scopegate gate runs with",
    after_help = "Exit status: 0 good, 1 problems found, 2 wrong use."
)]
pub struct Arguments {
    /// In which form results are printed.
    #[arg(long, global = true, value_enum, default_value_t)]
    pub(super) output: Format,

    #[command(subcommand)]
    pub(super) command: Command,
}

/// What there is to do.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Finds everything that is wrong in configurations, and says where and what would be right.
    Check(check::Arguments),
    /// Tells step by step what the gate makes of a request.
    Explain(Box<explain::Arguments>),
    /// Prints a script with which a shell completes the commands.
    Completions(completions::Arguments),
    /// Prints what a configuration may hold, as JSON Schema or as a reference.
    Schema(schema::Arguments),
    /// Turns GrafanaOrganization resources into organizations of a configuration.
    Organizations(organizations::Arguments),
    /// Serves organizations to gates, from files or from a cluster.
    #[cfg(feature = "serve")]
    ServeOrganizations(Box<serve_organizations::Arguments>),
    /// Prints the public halves of the keys that served organizations are signed with.
    #[cfg(feature = "serve")]
    PublicKeys(public_keys::Arguments),
    /// Puts the native module where Envoy finds it, out of its image.
    #[cfg(feature = "serve")]
    InstallModule(install_module::Arguments),
    /// Prints all manifests of a gate from one deployment file.
    Render(render::Arguments),
}
