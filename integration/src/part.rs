//! The parts that tests need and that this checkout does not hold: servers, clients and oracles. The scripts in
//! `integration/tools` build or fetch them, and keep them outside the checkout.
//!
//! 1. A part that a variable names is used as it is. It is an error if it does not run.
//! 2. A part that cannot be built or fetched here is missing. The tests that need it are skipped by name.
//! 3. The parts that `SCOPEGATE_MISSING` lists, one `part: reason` per line, were tried before and are not tried
//!    again. `integration/tools/parts.sh` prints that list.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};

use crate::paths;

/// A program, or a folder of things that belong together.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    /// The variable that names one to use instead.
    variable: &'static str,
    /// The script that prints where the part is, and the script's argument.
    script: &'static str,
    /// The path of the part below what the script prints.
    file: &'static str,
    shows: Shows,
}

/// How a part that a variable names is recognised.
#[derive(Clone, Copy, Debug)]
enum Shows {
    /// It prints its version.
    Version,
    /// It prints its version if the only argument is `version`, without dashes.
    VersionCommand,
    /// This program in it prints its version.
    VersionOf(&'static str),
    /// It exists.
    Presence,
}

/// Why a part is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lack {
    /// It is not available on this machine, which is no reason for a test to fail.
    Missing(String),
    /// A variable names one that does not run, or it belongs to this project and does not compile.
    Broken(String),
}

pub const LOKI: Part = Part::new("LOKI", "part.sh loki", "bin/loki");
pub const LOGCLI: Part = Part::new("LOGCLI", "part.sh loki", "bin/logcli");
pub const MIMIR: Part = Part::new("MIMIR", "part.sh mimir", "bin/mimir");
/// The program, which a stand-in can replace. It is needed only for what no stand-in shows.
pub const TEMPO: Part = Part::new("TEMPO", "tempo.sh", "");
pub const OTELCOL: Part = Part::new("OTELCOL", "part.sh collector", "bin/otelcol");
/// The Prometheus that acts as an agent in the stack. The other tests use that of [`crate::prometheus`].
pub const PROMETHEUS_AGENT: Part =
    Part::new("PROMETHEUS_AGENT", "part.sh prometheus", "bin/prometheus");
pub const PROMTOOL: Part = Part::new("PROMTOOL", "part.sh prometheus", "bin/promtool");
/// The folder of an installed Keycloak.
pub const KEYCLOAK: Part =
    Part::new("KEYCLOAK", "part.sh keycloak", "").shows(Shows::VersionOf("bin/kc.sh"));
/// A second OpenID provider, of a different kind.
pub const DEX: Part = Part::new("DEX", "part.sh dex", "bin/dex").shows(Shows::VersionCommand);
/// The folder of the parsers of Prometheus and Mimir.
pub const ORACLES: Part = Part::new("", "oracles.sh", "");
/// The folder of the editors' grammars.
pub const LEZER: Part = Part::new("", "lezer.sh", "");
/// The folder of a Chromium and what drives it through the playground.
pub const BROWSER: Part = Part::new("", "browser.sh", "");
/// The page of the playground, with its module beside it.
pub const PLAYGROUND: Part = Part::new("", "playground.sh", "");
/// The folder of Grafana's types and a compiler for them.
pub const GRAFANA: Part = Part::new("", "grafana.sh", "");
/// The folder of kubeconform and the schemas.
pub const MANIFESTS: Part = Part::new("", "manifests.sh", "");
pub const HELM: Part = Part::new("HELM", "helm.sh", "bin/helm").shows(Shows::VersionCommand);
/// A program that reads Compose files.
pub const COMPOSE: Part = Part::new("", "compose.sh", "");
/// A Python with the validator of `OpenAPI` documents and schemathesis.
pub const OPENAPI_PYTHON: Part = Part::new("OPENAPI_PYTHON", "openapi.sh", "");
/// The folder of etcd, kube-apiserver and kustomize.
pub const KUBERNETES: Part = Part::new("", "kubernetes.sh", "");
/// The folder of the control planes of Istio and Envoy Gateway, with their charts and definitions.
pub const CONTROL_PLANES: Part = Part::new("", "control-planes.sh", "");
/// The library with a wall clock that can be stepped.
pub const CLOCK: Part = Part::new("SCOPEGATE_CLOCK_LIBRARY", "clock.sh", "").shows(Shows::Presence);
/// The module that a test can kill.
pub const CRASH: Part = Part::new("SCOPEGATE_CRASH_WASM", "crash.sh", "").shows(Shows::Presence);

/// Why something that needs all of these parts cannot be tried, or `None` if it can. Missing parts are built or
/// fetched, which takes minutes and reports its progress on standard error.
///
/// # Errors
/// One of the parts is broken.
pub fn lacking(parts: &[Part]) -> Result<Option<String>> {
    // An error is reported before anything is built.
    for part in parts {
        part.named()?;
    }
    let mut reasons: Vec<String> = Vec::new();
    for part in parts {
        if part.runs_elsewhere()? {
            continue;
        }
        match part.find() {
            Ok(_) => {}
            // Two programs of one part are missing for the same reason.
            Err(Lack::Missing(reason)) if reasons.contains(&reason) => {}
            Err(Lack::Missing(reason)) => reasons.push(reason),
            Err(broken) => return Err(broken.into()),
        }
    }
    Ok((!reasons.is_empty()).then(|| reasons.join("; ")))
}

impl Part {
    const fn new(variable: &'static str, script: &'static str, file: &'static str) -> Part {
        Part {
            variable,
            script,
            file,
            shows: Shows::Version,
        }
    }

    const fn shows(self, shows: Shows) -> Part {
        Part { shows, ..self }
    }

    /// The name of the part in `SCOPEGATE_MISSING`.
    fn name(&self) -> &'static str {
        let word = self.script.rsplit(' ').next().unwrap_or(self.script);
        word.strip_suffix(".sh").unwrap_or(word)
    }

    /// Where the part is. Finding out may involve building or fetching it.
    ///
    /// # Errors
    /// It is nowhere, or is not what it should be.
    pub fn find(&self) -> Result<PathBuf, Lack> {
        // This is done once per process, because two builds at once would collide in the cache.
        static FOUND: Mutex<BTreeMap<&str, Result<PathBuf, Lack>>> = Mutex::new(BTreeMap::new());

        if let Some(path) = self.named()? {
            return Ok(path);
        }
        let mut found = FOUND.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = found
            .entry(self.script)
            .or_insert_with(|| match listed(self.name()) {
                Some(reason) => Err(Lack::Missing(reason)),
                None => self.made(),
            });
        // Joining an empty path would add a slash.
        let join = |folder: &PathBuf| match self.file {
            "" => folder.clone(),
            file => folder.join(file),
        };
        folder.as_ref().map(join).map_err(Lack::clone)
    }

    /// The part that its variable names.
    fn named(&self) -> Result<Option<PathBuf>, Lack> {
        static GOOD: Mutex<BTreeMap<&str, Result<PathBuf, Lack>>> = Mutex::new(BTreeMap::new());
        if self.variable.is_empty() {
            return Ok(None);
        }
        let Some(path) = std::env::var_os(self.variable).filter(|path| !path.is_empty()) else {
            return Ok(None);
        };
        let path = PathBuf::from(path);
        let mut good = GOOD.lock().unwrap_or_else(PoisonError::into_inner);
        let verdict = good.entry(self.variable).or_insert_with(|| {
            let shown = self.shows.shown_by(&path);
            shown.map(|()| path.clone()).map_err(|error| {
                Lack::Broken(format!("{}={}: {error:#}", self.variable, path.display()))
            })
        });
        verdict.clone().map(Some)
    }

    /// Whether a server that is already running replaces the program.
    fn runs_elsewhere(&self) -> Result<bool> {
        Ok(matches!(self.variable, "LOKI" | "MIMIR") && running(self.variable)?.is_some())
    }

    /// The part that its script prints.
    fn made(&self) -> Result<PathBuf, Lack> {
        let (made, said) = self
            .run_script()
            .map_err(|error| Lack::Broken(format!("{error:#}")))?;
        made.ok_or_else(|| {
            let reason = format!("no {}: {}", self.name(), reason(&said));
            if said.contains(DOES_NOT_COMPILE) {
                Lack::Broken(reason)
            } else {
                Lack::Missing(reason)
            }
        })
    }

    /// The path that the script prints if it succeeds, and its messages, which are passed on.
    fn run_script(&self) -> Result<(Option<PathBuf>, String)> {
        let mut words = self.script.split(' ');
        let script = paths::integration()
            .join("tools")
            .join(words.next().unwrap_or_default());
        let mut child = Command::new(&script)
            .args(words)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot run {}", script.display()))?;
        let mut said = String::new();
        for line in BufReader::new(child.stderr.take().context("no stderr")?).split(b'\n') {
            let line = String::from_utf8_lossy(&line?).into_owned();
            eprintln!("{line}");
            said += &line;
            said += "\n";
        }
        // The output is a single line, which fits into the pipe.
        let output = child.wait_with_output()?;
        let path = String::from_utf8(output.stdout)?.trim().to_owned();
        let content = output.status.success() && !path.is_empty();
        Ok((content.then(|| PathBuf::from(path)), said))
    }
}

impl Shows {
    fn shown_by(self, path: &Path) -> Result<()> {
        let (program, argument) = match self {
            Shows::Version => (path.to_path_buf(), "--version"),
            Shows::VersionCommand => (path.to_path_buf(), "version"),
            Shows::VersionOf(program) => (path.join(program), "--version"),
            Shows::Presence => {
                std::fs::metadata(path)?;
                return Ok(());
            }
        };
        let output = Command::new(&program)
            .arg(argument)
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("cannot run {}", program.display()))?;
        anyhow::ensure!(
            output.status.success(),
            "it does not run: {} {}",
            output.status,
            reason(&String::from_utf8_lossy(&output.stderr))
        );
        Ok(())
    }
}

impl fmt::Display for Lack {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Lack::Missing(reason) | Lack::Broken(reason) => formatter.write_str(reason),
        }
    }
}

impl std::error::Error for Lack {}

/// The address of a server that is already running, if `SCOPEGATE_<NAME>_ADDRESS` gives one.
pub fn running(name: &str) -> Result<Option<SocketAddr>> {
    let variable = format!("SCOPEGATE_{}_ADDRESS", name.to_uppercase());
    match std::env::var(&variable) {
        Ok(text) if !text.is_empty() => {
            let address = text
                .parse()
                .with_context(|| format!("{variable}={text}: wanted IP:PORT"))?;
            Ok(Some(address))
        }
        _ => Ok(None),
    }
}

/// Why the part is on the list of those that were tried before.
fn listed(name: &str) -> Option<String> {
    on_list(&std::env::var("SCOPEGATE_MISSING").ok()?, name)
}

fn on_list(list: &str, name: &str) -> Option<String> {
    list.lines()
        .filter_map(|line| line.split_once(": "))
        .find(|(part, _)| *part == name)
        .map(|(part, reason)| format!("no {part}: {reason}"))
}

/// The reason that a script gives for its failure; otherwise the first error in the output of what it ran, or the
/// last line. `parts.sh` does the same. Maven and npm end with advice.
fn reason(said: &str) -> &str {
    let lines = || said.lines().map(str::trim).filter(|line| !line.is_empty());
    lines()
        .filter_map(|line| line.strip_prefix("error: "))
        .next_back()
        .or_else(|| lines().find(|line| line.to_lowercase().contains("error")))
        .or_else(|| lines().next_back())
        .unwrap_or("not a word about why")
}

/// Cargo's message about a crate of this project. Such a failure is never due to an unavailable part.
const DOES_NOT_COMPILE: &str = "could not compile `scopegate";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_names_parts_by_their_scripts() {
        let list = "keycloak: no mvn: install Maven 3\nopenapi: not there after 900 s\n";
        assert_eq!(
            on_list(list, KEYCLOAK.name()).as_deref(),
            Some("no keycloak: no mvn: install Maven 3")
        );
        assert_eq!(
            on_list(list, OPENAPI_PYTHON.name()).as_deref(),
            Some("no openapi: not there after 900 s")
        );
        assert_eq!(on_list(list, LOKI.name()), None);
    }

    #[test]
    fn the_reason_is_the_scripts_own_else_the_first_error_else_the_last_line() {
        assert_eq!(
            reason("a warning\nerror: no go: install it\n"),
            "no go: install it"
        );
        assert_eq!(
            reason("go: downloading\nproxy refused\n\n"),
            "proxy refused"
        );
        assert_eq!(
            reason("fetching\nnpm error code E403\nnpm error A log can be found\n"),
            "npm error code E403"
        );
        assert_eq!(reason(""), "not a word about why");
    }

    #[test]
    fn what_no_script_can_make_is_missing() -> Result<()> {
        let part = Part::new("", "part.sh no-such-part", "");
        let lack = part.find();
        assert!(matches!(&lack, Err(Lack::Missing(_))), "{lack:?}");
        let reasons = lacking(&[part, part])?.unwrap_or_default();
        assert!(
            reasons.starts_with("no no-such-part: ") && !reasons.contains("; "),
            "{reasons}"
        );
        Ok(())
    }

    #[test]
    fn what_does_not_tell_its_version_is_broken() -> Result<()> {
        Shows::Version.shown_by(Path::new("true"))?;
        Shows::VersionCommand.shown_by(Path::new("true"))?;
        for (shows, path) in [
            (Shows::Version, "false"),
            (Shows::VersionCommand, "false"),
            (Shows::Version, "/no/such/program"),
            (Shows::VersionOf("bin/kc.sh"), "/no/such/folder"),
            (Shows::Presence, "/no/such/library"),
        ] {
            assert!(shows.shown_by(Path::new(path)).is_err(), "{path}");
        }
        Ok(())
    }
}
