//! `scopegate serve-organizations` as a process. It is the test program itself, which acts as the command when it is
//! started with that word. The same holds for `scopegate public-keys` and `scopegate install-module`.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::Parser;
use scopegate::cli::{Arguments, Console, Disk, run};
use serde_json::Value;
use tempfile::TempDir;

use crate::client::{Protocol, RawRequest, Reply, Target};
use crate::process::{Process, free_port, resident};

/// The word that selects the command.
const COMMAND: &str = "serve-organizations";

/// The word that selects another one.
const PUBLIC_KEYS: &str = "public-keys";

/// The word that selects the one that an init container of the native module runs.
const INSTALL_MODULE: &str = "install-module";

/// How long anything may take that a test does not wait for deliberately.
const PATIENCE: Duration = Duration::from_secs(20);

/// Runs the command if this process was started as it. `main` does this first.
#[must_use]
pub fn as_command() -> Option<ExitCode> {
    let word = std::env::args().nth(1)?;
    if ![COMMAND, PUBLIC_KEYS, INSTALL_MODULE].contains(&word.as_str()) {
        return None;
    }
    let mut console = Console {
        input: &mut io::empty(),
        files: &Disk,
        output: &mut io::stdout(),
        errors: &mut io::stderr(),
        styled: false,
        variables: std::env::vars().collect(),
        now: 0,
        web: &mut scopegate::cli::Unconnected,
    };
    Some(run(Arguments::parse(), &mut console).into())
}

/// The handle.
pub struct Served {
    process: Process,
    target: Target,
    health: SocketAddr,
}

impl Served {
    /// Starts it and waits until it listens. It looks at files ten times per second.
    pub async fn start(arguments: &[&str]) -> Result<Served> {
        Served::start_with(arguments, &[]).await
    }

    /// The same, with environment variables.
    pub async fn start_with(arguments: &[&str], variables: &[(&str, &str)]) -> Result<Served> {
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()?));
        let health = SocketAddr::from(([127, 0, 0, 1], free_port()?));
        let mut command = Command::new(std::env::current_exe()?);
        command
            .arg(COMMAND)
            .args(["--listen", &address.to_string()])
            .args(["--health-listen", &health.to_string()])
            .args(arguments)
            .envs(variables.iter().copied());
        for (name, value) in [("--poll", "100ms"), ("--drain", "0s"), ("--output", "json")] {
            if !arguments.contains(&name) {
                command.args([name, value]);
            }
        }
        let folder = tempfile::tempdir()?;
        let mut process = Process::start(COMMAND, command, folder)?;
        let alive = || async {
            let target = Target::plain(health);
            let reply = ask(&target, RawRequest::get("/livez")).await;
            reply.is_ok_and(|reply| reply.status == 200)
        };
        process
            .wait_until("listening", PATIENCE, async || alive().await)
            .await?;
        Ok(Served {
            process,
            target: Target::plain(address),
            health,
        })
    }

    /// From now on, requests use TLS and trust that certificate.
    pub fn trusting(&mut self, certificate: &[u8]) {
        self.target = Target::tls(self.target.address, certificate, "localhost");
    }

    #[must_use]
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// The answer to a request for the document.
    pub async fn ask(&self, request: RawRequest) -> Result<Reply> {
        ask(&self.target, request).await
    }

    /// The answer to the simplest request for the document.
    pub async fn get(&self) -> Result<Reply> {
        self.ask(RawRequest::get(PATH)).await
    }

    /// The document, which must be there.
    pub async fn document(&self) -> Result<Document> {
        Document::read(&self.get().await?)
    }

    /// Waits until the document satisfies `wanted`.
    pub async fn until<F>(&self, what: &str, mut wanted: F) -> Result<Document>
    where
        F: FnMut(&Document) -> bool,
    {
        self.until_within(what, PATIENCE, &mut wanted).await
    }

    /// The same, with another time limit.
    pub async fn until_within<F>(
        &self,
        what: &str,
        within: Duration,
        wanted: &mut F,
    ) -> Result<Document>
    where
        F: FnMut(&Document) -> bool,
    {
        let deadline = Instant::now() + within;
        loop {
            let last = self.document().await;
            if let Ok(document) = &last
                && wanted(document)
            {
                return last;
            }
            if Instant::now() > deadline {
                let last = last.map(|document| document.text);
                bail!("not within {within:?}: {what}; {last:?}\n{}", self.log());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The answer of the port for health and metrics.
    pub async fn health(&self, path: &str) -> Result<Reply> {
        ask(&Target::plain(self.health), RawRequest::get(path)).await
    }

    /// The value of one of its metrics, whose name ends with `name`.
    pub async fn metric(&self, name: &str) -> Result<u64> {
        let text = String::from_utf8(self.health("/metrics").await?.body)?;
        let name = format!("scopegate_organizations_{name} ");
        let value = text.lines().find_map(|line| line.strip_prefix(&name));
        let value = value.with_context(|| format!("no {name}in\n{text}"))?;
        Ok(value.parse()?)
    }

    /// Wait until a metric has that value.
    pub async fn until_metric(&self, name: &str, wanted: u64) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while self.metric(name).await? != wanted {
            ensure!(
                Instant::now() < deadline,
                "{name} is {} and not {wanted}\n{}",
                self.metric(name).await?,
                self.log()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Asks it to end, and returns its exit status.
    pub async fn terminate(&mut self) -> Result<Option<i32>> {
        self.process.signal("TERM")?;
        Ok(self.process.wait_for_end(PATIENCE).await?.code())
    }

    /// Asks it to end, without waiting.
    pub fn signal(&self) -> Result<()> {
        self.process.signal("TERM")
    }

    /// Its resident memory, in KiB.
    pub fn memory(&self) -> Result<u64> {
        Ok(resident(self.process.id())? >> 10)
    }

    /// Everything that it has written.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Its log lines about an event.
    #[must_use]
    pub fn events(&self, event: &str) -> Vec<Value> {
        let log = self.log();
        let lines = log
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok());
        lines
            .filter(|line: &Value| line["event"] == event)
            .collect()
    }
}

/// Runs it until it ends.
pub fn ended(arguments: &[&str]) -> Result<Output> {
    finished(COMMAND, arguments)
}

/// The value for `signed_by`, from the other command.
pub fn public_keys(files: &[&str]) -> Result<Value> {
    let output = finished(PUBLIC_KEYS, files)?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}: {said}", output.status);
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn finished(command: &str, arguments: &[&str]) -> Result<Output> {
    let mut process = Command::new(std::env::current_exe()?);
    let process = process.arg(command).args(arguments).stdin(Stdio::null());
    Ok(process.output()?)
}

/// The path of the document.
pub const PATH: &str = "/organizations";

async fn ask(target: &Target, request: RawRequest) -> Result<Reply> {
    request.send(target, Protocol::H1).await
}

/// A document as it was received.
#[derive(Clone, Debug)]
pub struct Document {
    pub text: String,
    pub tag: String,
    pub epoch: u64,
    pub revision: u64,
    pub organizations: Vec<Value>,
    pub signature: Option<Signature>,
}

/// What a document says about its signature.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Signature {
    pub key_id: String,
    pub issued: u64,
}

impl Document {
    fn read(reply: &Reply) -> Result<Document> {
        ensure!(reply.status == 200, "status {}", reply.status);
        let text = String::from_utf8(reply.body.clone())?;
        let tag = reply.header("etag").context("no etag")?;
        let (value, signature) = if text.starts_with('{') {
            (serde_json::from_str(&text)?, None)
        } else {
            let (header, payload) = opened(&text)?;
            let key_id = header["kid"].as_str().context("no kid")?.to_owned();
            let issued = payload["iat"].as_u64().context("no iat")?;
            (payload, Some(Signature { key_id, issued }))
        };
        ensure!(value["version"] == 1, "{text}");
        Ok(Document {
            signature,
            tag,
            epoch: value["epoch"].as_u64().context("no epoch")?,
            revision: value["revision"].as_u64().context("no revision")?,
            organizations: value["organizations"]
                .as_array()
                .context("no list")?
                .clone(),
            text,
        })
    }

    /// The mark, by which documents are ordered.
    #[must_use]
    pub fn mark(&self) -> (u64, u64) {
        (self.epoch, self.revision)
    }

    /// The names of the organizations.
    #[must_use]
    pub fn names(&self) -> Vec<&str> {
        let names = self.organizations.iter().map(|one| one["name"].as_str());
        names.map(Option::unwrap_or_default).collect()
    }
}

/// The header and the payload of a JWS.
fn opened(jws: &str) -> Result<(Value, Value)> {
    let mut parts = jws.split('.');
    let mut part = || -> Result<Value> {
        let bytes = URL_SAFE_NO_PAD.decode(parts.next().context("too few parts")?)?;
        Ok(serde_json::from_slice(&bytes)?)
    };
    Ok((part()?, part()?))
}

/// A folder of resources.
pub struct Resources {
    folder: TempDir,
}

impl Resources {
    pub fn new() -> Result<Resources> {
        Ok(Resources {
            folder: tempfile::tempdir()?,
        })
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The path of a file in it.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The same, for a command line.
    #[must_use]
    pub fn text(&self, name: &str) -> String {
        self.file(name).display().to_string()
    }

    /// Writes a file, which appears complete at once.
    pub fn write(&self, name: &str, content: &str) -> Result<()> {
        let part = self.file(&format!(".{name}.part"));
        fs::write(&part, content)?;
        Ok(fs::rename(part, self.file(name))?)
    }
}
