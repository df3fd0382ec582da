//! `scopegate schema`: prints the keys of a configuration as JSON Schema or as a reference, from
//! the table of keys.

mod durations;
mod json_schema;
mod markdown;
mod prose;

use std::io;

use clap::Args;

use super::console::Console;
use super::outcome::Outcome;
use super::render;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  scopegate schema > scopegate.schema.json
  scopegate schema --deployment > deployment.schema.json
  scopegate schema --markdown > configuration.md

An editor with the YAML language server checks and completes a file whose first line is
  # yaml-language-server: $schema=scopegate.schema.json")]
pub(super) struct Arguments {
    /// The reference of all keys, as Markdown, rather than JSON Schema.
    #[arg(long)]
    markdown: bool,

    /// The schema of deployment files, which have the section deployment: beside the configuration.
    #[arg(long, conflicts_with = "markdown")]
    deployment: bool,
}

/// Prints the schema or the reference.
pub(super) fn run(arguments: &Arguments, console: &mut Console<'_>) -> io::Result<Outcome> {
    let text = if arguments.markdown {
        markdown::reference()
    } else {
        let schema = if arguments.deployment {
            json_schema::of_deployment_files(render::deployment_schema())
        } else {
            json_schema::of_documents()
        };
        let schema = serde_json::to_string_pretty(&schema);
        format!("{}\n", schema.map_err(io::Error::other)?)
    };
    console.output.write_all(text.as_bytes())?;
    Ok(Outcome::Good)
}
