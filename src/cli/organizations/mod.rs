//! `scopegate organizations`: turns `GrafanaOrganization` resources into organizations of a
//! configuration.

mod gather;
mod merge;
mod report;

use std::io;
use std::path::PathBuf;

use clap::Args;

use super::console::{Console, Format};
use super::outcome::Outcome;
use crate::resources::organization::Organization;
use crate::resources::rules::{NotReserved, Reserved, Rules, Template, TemplateError, Unknown};
use crate::resources::{proof, yaml};
use gather::Gathered;
use report::Report;

#[derive(Debug, Args)]
#[command(after_help = "\
Reads GrafanaOrganization resources (observability.giantswarm.io, v1alpha1 and v1alpha2) from YAML
or JSON, several documents or lists in one file, and prints the section `organizations` of a
configuration, sorted by name. Tenants of v1alpha1 get types [data, alerting], as the operator's own
conversion has it. Resources of other kinds, and those that are being deleted, are passed over; that
is said on standard error, and so is what was merged: a tenant that stands twice in a resource gets
the types of both, a group that stands twice is written once.

Whatever does not convert is told with its file, document, resource, field and remedy, all at once;
then nothing is printed.

With --merge the whole configuration is printed. An organization that has the name of a resource is
replaced by it, and that is said; the others stay, and new ones follow them. Everything else stays as
it is, byte for byte, comments too; but for a comment inside an organization that is replaced, and
for an `organizations` that is written in brackets, which is written anew. A configuration in JSON,
or with --output json, is printed as JSON with sorted keys.

Exit status: 0 printed, 1 something does not convert, 2 wrong use.

Examples:
  scopegate organizations organizations/*.yaml
  kubectl get grafanaorganizations -o yaml | scopegate organizations -
  scopegate organizations --writers 'client:{name}' --merge scopegate.yaml organizations/*.yaml")]
pub(super) struct Arguments {
    /// Files with resources; `-` is standard input.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,

    /// Print this configuration with its organizations merged.
    #[arg(long, value_name = "CONFIG")]
    merge: Option<PathBuf>,

    #[command(flatten)]
    rules: RuleArguments,
}

/// What the resources do not say.
#[derive(Clone, Debug, Args)]
pub(super) struct RuleArguments {
    /// A group that holds the role writer in each organization; {name} is the organization's.
    #[arg(long, value_name = "GROUP", value_parser = template)]
    writers: Vec<Template>,

    /// A reserved tenant that is meant where it is named: anonymous, fake, single-tenant,
    /// __mimir_cluster.
    #[arg(long, value_name = "TENANT", value_parser = reserved)]
    allow_reserved: Vec<Reserved>,
}

fn template(text: &str) -> Result<Template, TemplateError> {
    Template::parse(text)
}

fn reserved(name: &str) -> Result<Reserved, NotReserved> {
    Reserved::parse(name)
}

impl RuleArguments {
    /// The rules that the arguments stand for.
    pub(super) fn rules(&self, unknown: Unknown) -> Rules {
        Rules {
            writers: self.writers.clone(),
            allowed: self.allow_reserved.iter().copied().collect(),
            unknown,
        }
    }
}

/// Prints the organizations in the files, or a configuration with them merged.
pub(super) fn run(
    arguments: &Arguments,
    format: Format,
    console: &mut Console<'_>,
) -> io::Result<Outcome> {
    let rules = arguments.rules.rules(Unknown::Refuse);
    let mut gathered = Gathered::default();
    for file in &arguments.files {
        let content = console.read(file)?;
        gathered.file(file, &content, &rules);
    }
    let (organizations, mut report) = gathered.finish();
    let text = match &arguments.merge {
        None => section(&organizations, format, &mut report),
        Some(path) => {
            let configuration = console.read(path)?;
            let merged = merge::merge(&configuration, &organizations, format);
            report.merged(path, merged)
        }
    };
    report.write(format, console.errors)?;
    match text {
        Some(text) if report.is_good() => {
            console.output.write_all(text.as_bytes())?;
            Ok(Outcome::Good)
        }
        _ => Ok(Outcome::Problems),
    }
}

/// The section `organizations` by itself, or `None` if the report has an error already. What the
/// reader of configurations refuses is added to the report.
fn section(organizations: &[Organization], format: Format, report: &mut Report) -> Option<String> {
    if !report.is_good() {
        return None;
    }
    for problem in proof::problems(organizations, None) {
        report.refused(&problem);
    }
    match format {
        Format::Text => Some(yaml::section(organizations)),
        Format::Json => {
            let document = serde_json::json!({ "organizations": organizations });
            Some(format!("{document:#}\n"))
        }
    }
}
