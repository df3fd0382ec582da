//! `scopegate check`: finds what is wrong in the files around a gate.
//!
//! Each file is parsed into trees whose values know where they are written ([`yaml`], [`json`]).
//! Then [`recognise`] finds what belongs to the gate: its documents, and what they depend on, such
//! as clusters, variables and routes. The gate's own reader judges each document ([`document`]),
//! and the places in its problems are turned back into lines of the file ([`place`]). What loads
//! but cannot be meant draws warnings ([`doubts`] and its neighbours).

mod clusters;
mod diagnostic;
mod document;
mod doubts;
mod dynamic;
mod embedded;
mod envoy;
mod fault;
mod filters;
mod found;
mod grants;
mod issuers;
mod json;
mod kubernetes;
mod messages;
mod organizations;
mod place;
mod recognise;
mod render;
mod routes;
mod rules;
mod scalar;
mod secrets;
mod source;
mod summary;
mod tree;
mod variables;
mod yaml;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::rc::Rc;

use clap::Args;

use super::console::{Console, Format};
use super::outcome::Outcome;
use crate::config::{Config, Environment, Problem};
use diagnostic::{Diagnostic, Severity};
use fault::Fault;
use found::Found;
use source::{File, Source};
use summary::count;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  scopegate check scopegate.yaml
  scopegate check envoy.yaml ecds/*.yaml
  kustomize build . | scopegate check --strict -

All files are looked at together: a cluster, a variable or a route may stand in another file
than the configuration that it has to do with. A file may be the configuration itself, also
with the section deployment: of `scopegate render`, which tells what is wrong in that, or a
ConfigMap, WasmPlugin, EnvoyFilter, EnvoyExtensionPolicy, Envoy bootstrap or file of Envoy's
resources that holds it, or a document of organizations. What is not the gate's is passed over.

Exit status: 0 good, 1 problems (with --strict also warnings), 2 a file could not be read, or
nothing in the files is the gate's.")]
pub(super) struct Arguments {
    /// What to check; - is standard input.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,

    /// Warnings count as problems.
    #[arg(long)]
    strict: bool,
}

/// Finds the problems in the section `deployment:` of a deployment file. It takes the whole file
/// as JSON and the environment variables by name.
pub(super) type Deployment = fn(&str, &BTreeMap<String, String>) -> Vec<Problem>;

/// Checks the files and prints what was found in them.
///
/// # Errors
/// A file could not be read, or the outcome could not be written.
pub(super) fn run(
    arguments: &Arguments,
    format: Format,
    console: &mut Console<'_>,
    deployment: Deployment,
) -> io::Result<Outcome> {
    let mut files = Vec::new();
    let mut found = Found::default();
    for path in &arguments.files {
        let bytes = console.read(path)?;
        let name = if path.as_os_str() == "-" {
            "standard input".to_owned()
        } else {
            path.display().to_string()
        };
        let position = files.len();
        let (file, broken) = file_of(name, bytes);
        let source = Rc::new(Source::of_file(position, &file));
        files.push(file);
        match broken {
            Some(fault) => found.diagnostics.error(&source, fault, ""),
            None => recognise::read(&source, &mut found),
        }
    }
    let deployment = |text: &str| deployment(text, &console.variables);
    let (diagnostics, mut good) = judge(&mut found, &deployment);
    if arguments.strict {
        good.retain(|good| !diagnostics.iter().any(|one| one.file == good.file));
    }
    let files = mask(files, &found.secrets);
    report(&diagnostics, &good, &files, format, console)?;
    let problems = diagnostics
        .iter()
        .any(|one| one.severity == Severity::Error || arguments.strict);
    if problems {
        return Ok(Outcome::Problems);
    }
    if found.documents.is_empty() && found.rules.is_empty() && diagnostics.is_empty() {
        let names: Vec<&str> = files.iter().map(|file| file.name.as_str()).collect();
        writeln!(
            console.errors,
            "scopegate: nothing of the gate's is in {}: expected its configuration, or a \
             ConfigMap, WasmPlugin, EnvoyFilter, EnvoyExtensionPolicy, Envoy bootstrap or file \
             of Envoy's resources that holds one, or a document of organizations",
            names.join(", ")
        )?;
        return Ok(Outcome::WrongUse);
    }
    Ok(Outcome::Good)
}

/// Formats problems that another command has found in the only document of a file in the way this
/// command shows its own, each with the piece of the file that it is about.
pub(super) fn shown(name: &str, text: &str, problems: Vec<Problem>) -> Vec<String> {
    let file = File::new(name.to_owned(), text);
    let source = Rc::new(Source::of_file(0, &file));
    let (documents, fault) = yaml::read(&source.text);
    let first = documents.into_iter().next();
    let (root, mut faults) = first.map_or((None, Vec::new()), |document| {
        (Some(document.root), document.faults)
    });
    faults.extend(fault);
    let document = found::Document {
        source: Rc::clone(&source),
        // A file that cannot be read has no tree, and its faults below have their own places.
        root: root.unwrap_or_else(|| {
            Rc::new(tree::Node {
                span: 0..0,
                value: tree::Value::Null,
            })
        }),
        kind: found::Kind::Configuration,
        host: found::Host::Alone,
        is_json: false,
        machine: None,
        deployment: None,
    };
    // A problem that keeps the whole file from being read comes without a place. The faults that
    // were found above say where it is, so they are shown instead.
    let (whole, problems): (Vec<_>, Vec<_>) = problems
        .into_iter()
        .partition(|problem| problem.place.is_empty() && !faults.is_empty());
    if whole.is_empty() {
        faults.clear();
    }
    let faults = faults
        .into_iter()
        .map(|fault| Diagnostic::new(Severity::Error, &source, fault, ""));
    let problems = problems
        .into_iter()
        .map(|problem| document::locate(&document, problem));
    faults
        .chain(problems)
        .map(|diagnostic| render::text(&diagnostic, &file, false))
        .collect()
}

/// The configuration in a file, for a command that works with it.
pub(super) struct Loaded {
    /// The configuration as the gate reads it.
    pub(super) json: String,
    /// The environment variables of its VM, by name.
    pub(super) environment: BTreeMap<String, String>,
    /// The outcome of parsing `json` with `environment`.
    pub(super) config: Config,
}

/// Why a command cannot use a file.
pub(super) enum Unusable {
    /// The file holds no configuration.
    Nothing,
    /// The file holds several configurations, which begin on these lines, counted from 1.
    Several(Vec<usize>),
    /// Something is wrong with the configuration: the texts of the problems, as this command shows
    /// them.
    Problems(Vec<String>),
}

/// Loads the only configuration of a file, or the `number`th of several, counted from 1. `own` has
/// the variables of the command's caller, for what the file does not set itself.
///
/// # Errors
/// [`Unusable`]
pub(super) fn load(
    name: String,
    bytes: Vec<u8>,
    number: Option<usize>,
    own: &BTreeMap<String, String>,
    styled: bool,
) -> Result<Loaded, Unusable> {
    let mut found = Found::default();
    let (file, broken) = file_of(name, bytes);
    let source = Rc::new(Source::of_file(0, &file));
    match broken {
        Some(fault) => found.diagnostics.error(&source, fault, ""),
        None => recognise::read(&source, &mut found),
    }
    let mut errors = std::mem::take(&mut found.diagnostics).sorted();
    errors.retain(|one| one.severity == Severity::Error);
    let documents = found.documents.iter();
    let mut all: Vec<&found::Document> = documents
        .filter(|document| document.kind == found::Kind::Configuration)
        .collect();
    if let Some(number) = number {
        let one = number.checked_sub(1).and_then(|at| all.get(at).copied());
        all = one.into_iter().collect();
    }
    let text = |diagnostics: Vec<Diagnostic>| {
        let masked = mask(vec![file.clone()], &found.secrets);
        let file = masked.first();
        let texts = diagnostics
            .iter()
            .filter_map(|diagnostic| file.map(|file| render::text(diagnostic, file, styled)));
        Unusable::Problems(texts.collect())
    };
    let document = match all.as_slice() {
        [] if errors.is_empty() => return Err(Unusable::Nothing),
        [] => return Err(text(errors)),
        [document] => *document,
        several => {
            let lines = several.iter().map(|document| {
                let place = document.source.outer(&document.root.span);
                file.line(place.start).0
            });
            return Err(Unusable::Several(lines.collect()));
        }
    };
    // These are faults of the file that its JSON no longer shows, such as a key that appears
    // twice.
    let whole = document.source.outer(&document.root.span);
    errors.retain(|one| whole.contains(&one.span.start));
    if !errors.is_empty() {
        return Err(text(errors));
    }
    let environment = document::environment(document, &found, own);
    let json = document::json(document);
    let pairs = environment.clone();
    match Config::parse(json.as_bytes(), &Environment::new(pairs)) {
        Ok(config) => Ok(Loaded {
            json,
            environment,
            config,
        }),
        Err(problems) => {
            let problems = problems.into_iter();
            let located = problems.map(|problem| document::locate(document, problem));
            Err(text(located.collect()))
        }
    }
}

/// Decodes a file as UTF-8, without its byte order mark. If it is not UTF-8, the fault says where
/// it stops being so.
fn file_of(name: String, bytes: Vec<u8>) -> (File, Option<Fault>) {
    let (text, broken) = match String::from_utf8(bytes) {
        Ok(text) => (text, None),
        Err(error) => {
            let at = error.utf8_error().valid_up_to();
            let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
            let end = at.saturating_add(char::REPLACEMENT_CHARACTER.len_utf8());
            let fault = Fault::new(at..end, "this is not UTF-8");
            (text, Some(fault.help("save the file as UTF-8")))
        }
    };
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    (File::new(name, text), broken)
}

/// A line about a file in which nothing is wrong.
struct Good {
    file: usize,
    text: String,
}

/// Judges everything that was found, and returns the diagnostics and the lines about good files.
fn judge(
    found: &mut Found,
    deployment: &dyn Fn(&str) -> Vec<Problem>,
) -> (Vec<Diagnostic>, Vec<Good>) {
    let mut diagnostics = std::mem::take(&mut found.diagnostics);
    let mut good = Vec::new();
    let judged: Vec<_> = found
        .documents
        .iter()
        .map(|document| (document, document::judge(document, found)))
        .collect();
    let mut configurations = judged
        .iter()
        .filter(|(document, _)| document.kind == found::Kind::Configuration);
    let beside = configurations.find_map(|(_, (config, _))| config.clone());
    for (document, (config, mut problems)) in judged {
        problems.extend(document::judge_deployment(document, deployment));
        let sound = problems.is_empty();
        for problem in problems {
            diagnostics.add(problem);
        }
        doubts::judge(
            document,
            config.as_ref(),
            beside.as_ref(),
            found,
            &mut diagnostics,
        );
        organizations::judge(document, found, &mut diagnostics);
        if let Some(config) = config.filter(|_| sound) {
            good.push(Good {
                file: document.source.file,
                text: summary::of(document, &config),
            });
        }
    }
    variables::judge(found, &mut diagnostics);
    clusters::judge(found, &mut diagnostics);
    routes::judge(found, &mut diagnostics);
    filters::judge(found, &mut diagnostics);
    dynamic::judge(found, &mut diagnostics);
    let any = !found.documents.is_empty() || !found.rules.is_empty() || found.clusters.bootstrap;
    for source in found.empty.iter().filter(|_| any) {
        let fault = Fault::new(0..0, "there is nothing in this file")
            .help("leave it out if that is meant: Envoy refuses an empty file of resources");
        diagnostics.warning(source, fault, "");
    }
    let diagnostics = diagnostics.sorted();
    for (file, routes) in routes::files(found) {
        let told = good.iter().any(|one| one.file == file)
            || diagnostics.iter().any(|one| one.file == file);
        if !told {
            let text = format!("{} of the gate's", count(routes, "route"));
            good.push(Good { file, text });
        }
    }
    (diagnostics, good)
}

/// The files with their secrets masked, so that pieces of them can be shown.
fn mask(files: Vec<File>, secrets: &[(usize, std::ops::Range<usize>)]) -> Vec<File> {
    let masked = files.into_iter().enumerate().map(|(position, file)| {
        let here = secrets.iter().filter(|(file, _)| *file == position);
        let here: Vec<_> = here.map(|(_, span)| span.clone()).collect();
        if here.is_empty() {
            return file;
        }
        File::new(file.name, &secrets::masked(&file.text, &here))
    });
    masked.collect()
}

fn report(
    diagnostics: &[Diagnostic],
    good: &[Good],
    files: &[File],
    format: Format,
    console: &mut Console<'_>,
) -> io::Result<()> {
    if format == Format::Json {
        return console
            .output
            .write_all(render::json(diagnostics, files).as_bytes());
    }
    for diagnostic in diagnostics {
        if let Some(file) = files.get(diagnostic.file) {
            let text = render::text(diagnostic, file, console.styled);
            writeln!(console.output, "{text}\n")?;
        }
    }
    for one in good {
        let name = files.get(one.file).map_or("", |file| file.name.as_str());
        writeln!(console.output, "{name}: good: {}", one.text)?;
    }
    let number = |severity| {
        let these = diagnostics.iter().filter(|one| one.severity == severity);
        these.map(|one| one.times).fold(0, usize::saturating_add)
    };
    let (errors, warnings) = (number(Severity::Error), number(Severity::Warning));
    let told: Vec<String> = [(errors, "problem"), (warnings, "warning")]
        .into_iter()
        .filter(|(number, _)| *number > 0)
        .map(|(number, what)| count(number, what))
        .collect();
    if !told.is_empty() {
        writeln!(console.output, "{}", told.join(", "))?;
    }
    Ok(())
}
