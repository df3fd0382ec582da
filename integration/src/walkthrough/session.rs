//! A terminal in the folder of the deployment file. The commands of the page are typed there, and their output is
//! compared with what the page shows.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use super::page::{Page, Step, shows};
use crate::authority::Authority;
use crate::envoy::bootstrap::SERVER_NAME;
use crate::{command, drill, envoy};

/// The terminal, and the machine as far as the page names its files.
pub struct Session {
    folder: TempDir,
    /// What the page says, and what it is here.
    places: Vec<(&'static str, String)>,
    variables: BTreeMap<String, String>,
    pace: Pace,
    /// When something was changed that is not served at once.
    changed: Cell<Option<Instant>>,
}

/// How soon what was changed is served.
#[derive(Clone, Copy, Debug)]
pub enum Pace {
    /// Everything that is typed within that time may be tried again.
    Within(Duration),
    /// What is typed next may be tried again for that time, and nothing behind it.
    Next(Duration),
}

impl Session {
    /// A terminal and the command `scopegate`, and no Envoy.
    pub fn bare(pace: Pace) -> Result<Session> {
        let folder = tempfile::Builder::new()
            .prefix("scopegate-path-")
            .tempdir()?;
        for name in ["bin", "machine/tls", "work"] {
            fs::create_dir_all(folder.path().join(name))?;
        }
        command::install(&folder.path().join("bin"))?;
        Ok(Session {
            folder,
            places: Vec::new(),
            variables: BTreeMap::new(),
            pace,
            changed: Cell::new(None),
        })
    }

    /// One with an Envoy, whose files are below `/etc/envoy` on the page.
    pub fn open() -> Result<Session> {
        let mut session = Session::bare(Pace::Within(CHANGES))?;
        let path = |name: &str| session.folder.path().join(name);
        let places = vec![
            ("/etc/envoy", path("machine").display().to_string()),
            // Where Envoy reads what it is to validate.
            ("/etc/envoy", path("validated").display().to_string()),
            (
                AUTHORITIES,
                path("machine/tls/ca.crt").display().to_string(),
            ),
        ];
        // The bootstrap that it is given names the gate's file by its place on the page.
        let envoy = format!(
            "#!/bin/sh\nfor file; do :; done\nmkdir -p {validated}\n\
             sed 's|/etc/envoy/|{etc}/|' \"$file\" >{validated}/envoy.yaml\n\
             exec {program} --mode validate --log-level warning -c {validated}/envoy.yaml\n",
            validated = path("validated").display(),
            etc = path("machine").display(),
            program = envoy::binary()?.display(),
        );
        session.script("envoy", &envoy)?;
        session.places = places;
        Ok(session)
    }

    /// Have that name be a program that is somewhere else.
    pub fn program(&self, name: &str, path: &Path) -> Result<()> {
        Ok(symlink(path, self.folder.path().join("bin").join(name))?)
    }

    /// Have that name be a script.
    pub fn script(&self, name: &str, text: &str) -> Result<()> {
        let program = self.folder.path().join("bin").join(name);
        fs::write(&program, text)?;
        Ok(fs::set_permissions(
            &program,
            fs::Permissions::from_mode(0o755),
        )?)
    }

    /// Put what every page begins with into its place: the module, and a certificate for [`SERVER_NAME`] from an
    /// authority that is believed.
    pub fn furnish(&self, authority: &Authority) -> Result<()> {
        let (chain, key) = authority.issue(&[SERVER_NAME])?;
        let machine = self.machine();
        fs::write(machine.join("tls/tls.crt"), chain)?;
        fs::write(machine.join("tls/tls.key"), key)?;
        fs::copy(drill::module()?, machine.join("scopegate.wasm"))?;
        self.believe(authority)
    }

    /// Have curl believe what that authority has signed.
    pub fn believe(&self, authority: &Authority) -> Result<()> {
        let file = self.machine().join("tls/ca.crt");
        Ok(fs::write(file, authority.pem())?)
    }

    /// Save a block of the page under the name in its first line, `# NAME`.
    pub fn save(&self, block: &str) -> Result<()> {
        let name = block
            .lines()
            .next()
            .and_then(|line| line.strip_prefix("# "));
        let name = self.here(name.context("a file without a name")?);
        // Of no effect on an absolute name.
        let path = self.work().join(name);
        ensure!(path.starts_with(self.folder.path()), "{}", path.display());
        fs::write(&path, self.here(block)).with_context(|| path.display().to_string())
    }

    /// What is `/etc/envoy` on the page.
    #[must_use]
    pub fn machine(&self) -> PathBuf {
        self.folder.path().join("machine")
    }

    /// Where the commands are typed.
    #[must_use]
    pub fn work(&self) -> PathBuf {
        self.folder.path().join("work")
    }

    /// Text of the page as it holds here.
    #[must_use]
    pub fn here(&self, text: &str) -> String {
        let places = self.places.iter();
        places.fold(text.to_owned(), |text, (page, here)| {
            text.replace(page, here)
        })
    }

    fn as_on_the_page(&self, text: &str) -> String {
        let places = self.places.iter().rev();
        places.fold(text.to_owned(), |text, (page, here)| {
            text.replace(here, page)
        })
    }

    pub fn export(&mut self, variable: &str, value: &str) {
        self.variables.insert(variable.to_owned(), value.to_owned());
    }

    /// Type what stands under that heading.
    pub fn go_on(&self, page: &mut Page, heading: &str) -> Result<()> {
        let started = Instant::now();
        for step in page.steps(heading)? {
            let changed = self.changed.get();
            let (Pace::Within(soon) | Pace::Next(soon)) = self.pace;
            // What only looks may look again, since Envoy logs and counts with a delay, and what was changed has a
            // while to be there.
            let patience = if step.changes() {
                Duration::ZERO
            } else if step.only_looks() {
                COUNTS.max(soon)
            } else if changed.is_some_and(|changed| changed.elapsed() < soon) {
                soon
            } else {
                Duration::ZERO
            };
            self.take(&step, patience)?;
            if step.changes() {
                self.changed.set(Some(Instant::now()));
            } else if matches!(self.pace, Pace::Next(_)) {
                self.changed.set(None);
            }
        }
        eprintln!("{heading}: {:?}", started.elapsed());
        Ok(())
    }

    fn take(&self, step: &Step, patience: Duration) -> Result<()> {
        let started = Instant::now();
        loop {
            let said = self.type_in(&step.command)?;
            if shows(&step.output, &said) {
                return Ok(());
            }
            ensure!(
                started.elapsed() < patience,
                "$ {}\n{said}---- the page shows\n{}",
                step.command,
                step.output
            );
            sleep(Duration::from_millis(50));
        }
    }

    /// What a command prints, as it would on the page.
    pub fn type_in(&self, command: &str) -> Result<String> {
        let command = format!("exec 2>&1\n{}", self.here(command));
        let programs = self.folder.path().join("bin").display().to_string();
        let path = std::env::var("PATH").unwrap_or_default();
        let output = Command::new("bash")
            .args(["-c", &command])
            .current_dir(self.work())
            .env("PATH", format!("{programs}:{path}"))
            .env("HOME", self.folder.path())
            .env("CURL_HOME", self.folder.path())
            .envs(&self.variables)
            .output()?;
        Ok(self.as_on_the_page(&String::from_utf8(output.stdout)?))
    }

    /// Have the names on the page lead to that machine.
    pub fn lead(&self, places: &[(&str, String)]) -> Result<()> {
        let certificate = self.machine().join("tls/ca.crt");
        let mut lines = vec![
            "noproxy = \"*\"".to_owned(),
            format!("cacert = \"{}\"", certificate.display()),
        ];
        for (name, address) in places {
            lines.push(format!("connect-to = \"{name}:{address}\""));
        }
        fs::write(self.folder.path().join(".curlrc"), lines.join("\n"))?;
        Ok(())
    }

    /// Envoy's log is that file.
    pub fn log(&self, file: &Path) -> Result<()> {
        let name = self.work().join("envoy.log");
        if name.is_symlink() {
            fs::remove_file(&name)?;
        }
        Ok(symlink(file, name)?)
    }
}

/// Whether the page starts Envoy with the flags that a rendered bootstrap asks for, and perhaps more.
///
/// # Errors
/// The bootstrap asks for none, or the page has others.
pub fn starts(page: &str, bootstrap: &str) -> Result<()> {
    let flags = |text: &str| -> Vec<String> {
        let words = text.split_whitespace();
        let words = words.filter(|word| !matches!(*word, "\\" | "#"));
        words.map(str::to_owned).collect()
    };
    let wanted = bootstrap
        .split_once("#       envoy -c envoy.yaml ")
        .and_then(|(_, rest)| Some(rest.split_once("\n#\n")?.0))
        .context("the bootstrap does not say how to start")?;
    let typed = page
        .strip_prefix("envoy -c /etc/envoy/envoy.yaml ")
        .context("another start")?;
    ensure!(
        flags(typed).starts_with(&flags(wanted)),
        "{typed}, not {wanted}"
    );
    Ok(())
}

/// The authorities of most Linux distributions; here, the one of the run.
const AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// The gate counts once a second.
const COUNTS: Duration = Duration::from_secs(5);

/// How soon a file that is moved into its place counts.
const CHANGES: Duration = Duration::from_secs(1);
