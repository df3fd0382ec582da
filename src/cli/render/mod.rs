//! `scopegate render`: every manifest from one deployment file.
//!
//! A deployment file is the gate's own document with a section `deployment:` beside it. It is
//! read whole and every problem in it told of; the templates are filled in; and what comes out
//! is read again, and must hold the gate's document as it went in.

mod address;
mod deployment;
mod document;
mod files;
mod form;
mod hosted;
mod istio;
mod printer;
mod scalar;
mod section;
mod shape;
mod target;
mod templates;
mod view;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use clap::Args;
use serde_json::Value;

use self::document::Document;
use self::files::File;
use self::form::Form;
use self::target::{EXTRAS, KUSTOMIZATION, Target};
use super::check;
use super::console::{Console, Format};
use super::outcome::Outcome;
use crate::config::Problem;

#[derive(Debug, Args)]
#[command(after_help = "\
SCOPEGATE_LOKI_URL, SCOPEGATE_LOKI_GRPC_URL, SCOPEGATE_LOKI_ENABLED and the like, also for MIMIR and
TEMPO, and SCOPEGATE_TEMPO_OTLP_URL and SCOPEGATE_TEMPO_OTLP_GRPC_URL, count for more than the file.

Examples:
  scopegate render istio deployment.yaml | kubectl apply -f -
  scopegate render envoy deployment.yaml --output-dir /etc/envoy
  scopegate render envoy --native deployment.yaml --output-dir /etc/envoy
  scopegate render envoy-gateway deployment.yaml --output-dir manifests --diff
  scopegate render envoy-gateway --native deployment.yaml --output-dir manifests
  scopegate render kubernetes deployment.yaml --output-dir base && kubectl apply -k base")]
pub(super) struct Arguments {
    /// What runs the gate.
    #[arg(value_enum)]
    target: Target,

    /// The deployment file, or - for standard input.
    file: PathBuf,

    /// Where to write the files, each in its place; without it they are printed.
    #[arg(long, value_name = "FOLDER")]
    output_dir: Option<PathBuf>,

    /// Write nothing: print how the files in that folder differ. Exit status 1 if they do.
    #[arg(long, requires = "output_dir")]
    diff: bool,

    /// Load the gate as a native module, for Envoy 1.38 to 1.40 on Linux; not for Istio.
    #[arg(long)]
    native: bool,

    /// Only this file of those that there are, such as ecds/scopegate.yaml.
    #[arg(long, value_name = "FILE")]
    only: Option<String>,
}

/// What is wrong with the section `deployment:` of a deployment file, whatever it is rendered
/// for.
pub(super) fn problems_of(text: &str, variables: &BTreeMap<String, String>) -> Vec<Problem> {
    let mut problems = document::read(text, variables).err().unwrap_or_default();
    problems.retain(|problem| problem.place.starts_with("deployment"));
    problems
}

/// The section `deployment:` as JSON Schema.
pub(super) fn deployment_schema() -> Value {
    shape::schema()
}

/// Renders one file.
pub(super) fn run(
    arguments: &Arguments,
    format: Format,
    console: &mut Console<'_>,
) -> io::Result<Outcome> {
    let text = console.read(&arguments.file)?;
    let Ok(text) = String::from_utf8(text) else {
        let name = arguments.file.display();
        writeln!(console.errors, "{name}: not a text in UTF-8")?;
        return Ok(Outcome::Problems);
    };
    let target = arguments.target;
    let form = if arguments.native {
        Form::Native
    } else {
        Form::Wasm
    };
    if !target.takes(form) {
        let text = "--native is for the targets envoy and envoy-gateway alone";
        return Err(io::Error::other(text));
    }
    let document = match document::read(&text, &console.variables) {
        Ok(document) => document,
        Err(problems) => {
            tell_misspelt(&[], console)?;
            return tell(arguments, &text, problems, console);
        }
    };
    tell_misspelt(&document.variables, console)?;
    let problems = target.problems(&document, form);
    if !problems.is_empty() {
        return tell(arguments, &text, problems, console);
    }
    for said in &document.overridden {
        writeln!(console.errors, "note: {said}")?;
    }
    let mut files = render(target, form, &document)?;
    if let Some(only) = &arguments.only {
        let names: Vec<&str> = files.iter().map(|file| file.path).collect();
        let names = names.join(", ");
        files.retain(|file| file.path == only);
        if files.is_empty() {
            let text = format!("there is no file {only}; there are {names}");
            return Err(io::Error::other(text));
        }
    }
    match &arguments.output_dir {
        Some(folder) if arguments.diff => {
            let mut outcome = Outcome::Good;
            for file in &files {
                if let Some(difference) = file.difference(folder)? {
                    console.output.write_all(difference.as_bytes())?;
                    outcome = Outcome::Problems;
                }
            }
            Ok(outcome)
        }
        Some(folder) => {
            let mut stale = None;
            for file in &files {
                let place = folder.join(file.path);
                let is_new = !place.exists();
                if file.write(folder)? {
                    writeln!(console.errors, "{}", place.display())?;
                    if target.is_read_at_start(file.path) && !is_new {
                        stale = Some(file.path);
                    }
                }
            }
            if let Some(name) = stale {
                let note = "Envoy reads it at its start alone: restart Envoy";
                writeln!(console.errors, "note: {name} has changed, and {note}")?;
            }
            Ok(Outcome::Good)
        }
        None => {
            // One stream for `kubectl apply`, which knows no Kustomization.
            let stream = target.is_stream() && files.len() > 1 && format == Format::Text;
            let applied =
                |file: &File| file.path != KUSTOMIZATION && !file.path.starts_with(EXTRAS);
            files.retain(|file| !stream || applied(file));
            print(&files, format, console)
        }
    }
}

/// The files of `target`, read again.
fn render(target: Target, form: Form, document: &Document) -> io::Result<Vec<File>> {
    let view = target.view(document, form);
    let mut files = Vec::new();
    for template in target.templates() {
        let text = templates::fill(template, &view).map_err(fault)?;
        let path = template.file;
        files.push(File { path, text });
    }
    target.check(document, form, &files).map_err(fault)?;
    // Where nothing is needed of a kind, its file would hold comments alone.
    files.retain(|file| {
        file.documents()
            .is_ok_and(|documents| !documents.is_empty())
    });
    Ok(files)
}

/// What no deployment file should be able to bring about.
fn fault(error: impl std::fmt::Display) -> io::Error {
    io::Error::other(format!("this is a fault of scopegate itself: {error}"))
}

fn print(files: &[File], format: Format, console: &mut Console<'_>) -> io::Result<Outcome> {
    match (format, files) {
        (Format::Json, files) => {
            let members = files
                .iter()
                .map(|file| (file.path.to_owned(), file.text.clone().into()));
            let files: serde_json::Map<String, serde_json::Value> = members.collect();
            writeln!(console.output, "{}", serde_json::json!({ "files": files }))?;
        }
        // As it is, so that it can go into a file.
        (Format::Text, [file]) => console.output.write_all(file.text.as_bytes())?,
        (Format::Text, files) => {
            for file in files {
                write!(
                    console.output,
                    "---\n# Source: {}\n{}",
                    file.path, file.text
                )?;
            }
        }
    }
    Ok(Outcome::Good)
}

/// Variables that do nothing and look as if they did. `named` are those of the document.
fn tell_misspelt(named: &[String], console: &mut Console<'_>) -> io::Result<()> {
    let known = deployment::known_variables();
    let mut misspelt = deployment::misspelt(&console.variables, &known);
    misspelt.retain(|name| !named.iter().any(|named| named == name));
    if misspelt.is_empty() {
        return Ok(());
    }
    writeln!(
        console.errors,
        "note: {} {} nothing here: known are {}",
        misspelt.join(", "),
        if misspelt.len() == 1 { "does" } else { "do" },
        known.join(", ")
    )
}

/// On standard error: what is printed may be on its way to a cluster.
fn tell(
    arguments: &Arguments,
    text: &str,
    problems: Vec<Problem>,
    console: &mut Console<'_>,
) -> io::Result<Outcome> {
    let name = match arguments.file.display().to_string() {
        name if name == "-" => "standard input".to_owned(),
        name => name,
    };
    // What a variable says stands in no line of the file.
    let known = deployment::known_variables();
    let (of_variables, problems): (Vec<_>, Vec<_>) = problems
        .into_iter()
        .partition(|problem| known.contains(&problem.place));
    for problem in of_variables {
        writeln!(console.errors, "error: {problem}, in the environment\n")?;
    }
    for shown in check::shown(&name, text, problems) {
        writeln!(console.errors, "{shown}\n")?;
    }
    Ok(Outcome::Problems)
}
