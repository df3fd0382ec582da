//! A child process that writes to a file and ends with its handle, even if a test panics.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

/// The handle. It owns the child and the folder in which it works.
pub struct Process {
    name: String,
    child: Child,
    folder: Option<TempDir>,
    log: PathBuf,
}

impl Process {
    /// Starts the command, with all its output in `log` inside `folder`.
    pub fn start(name: &str, command: Command, folder: TempDir) -> Result<Process> {
        let log = folder.path().join(format!("{name}.log"));
        let mut process = Process::start_in(name, command, &log)?;
        process.folder = Some(folder);
        Ok(process)
    }

    /// Starts the command, appending all its output to the file `log`, whose folder somebody else has to remove.
    pub fn start_in(name: &str, mut command: Command, log: &Path) -> Result<Process> {
        let output = File::options().create(true).append(true).open(log)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            // A script may start the server as a child of its own; both then end together.
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {}", command.get_program().display()))?;
        Ok(Process {
            name: name.to_owned(),
            child,
            folder: None,
            log: log.to_path_buf(),
        })
    }

    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Everything that was written so far.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read(&self.log).map_or_else(
            |_| String::new(),
            |bytes| String::from_utf8_lossy(&bytes).into_owned(),
        )
    }

    #[must_use]
    pub fn log_path(&self) -> &Path {
        &self.log
    }

    /// Fails, with the end of the log, if the child is no longer running.
    pub fn check_alive(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("{} ended with {status}:\n{}", self.name, self.log_tail());
        }
        Ok(())
    }

    /// Sends a signal, named without `SIG`, to the child and to the processes that it has started.
    pub fn signal(&self, name: &str) -> Result<()> {
        let group = format!("kill -s {name} -- -{}", self.child.id());
        let status = Command::new("sh").args(["-c", &group]).status()?;
        if !status.success() {
            bail!("{}: {group} ended with {status}", self.name);
        }
        Ok(())
    }

    /// Asks the child to end, and not the processes that it has started.
    pub fn terminate(&self) -> Result<()> {
        let status = Command::new("kill")
            .args(["-s", "TERM", &self.child.id().to_string()])
            .status()?;
        if !status.success() {
            bail!("{}: it cannot be asked to end: {status}", self.name);
        }
        Ok(())
    }

    /// Calls `ready` until it returns true. Fails if the child ends first, or if the time is over.
    pub async fn wait_until<F>(&mut self, what: &str, within: Duration, mut ready: F) -> Result<()>
    where
        F: AsyncFnMut() -> bool,
    {
        let deadline = Instant::now() + within;
        loop {
            self.check_alive()?;
            if ready().await {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!(
                    "{} was not {what} within {within:?}:\n{}",
                    self.name,
                    self.log_tail()
                );
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
    }

    /// Waits for a child that has been asked to end. Kills it if it does not.
    pub async fn wait_for_end(&mut self, within: Duration) -> Result<ExitStatus> {
        let deadline = Instant::now() + within;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if Instant::now() > deadline {
                self.child.kill()?;
                return Ok(self.child.wait()?);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LOG_TAIL)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.signal("KILL");
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking()
            && let Some(folder) = self.folder.take()
        {
            eprintln!("{}: kept {} for a look", self.name, folder.keep().display());
        }
    }
}

/// The resident memory of the process with that number, in bytes.
pub fn resident(id: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{id}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = line.and_then(|line| line.split_whitespace().next());
    Ok(kibibytes.context("no VmRSS")?.parse::<u64>()? << 10)
}

/// A loopback port that is free and lies below the range that the kernel gives to outgoing connections, so that it
/// stays free until the child has taken it.
pub fn free_port() -> Result<u16> {
    for _ in 0..200 {
        let port = random_port();
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no free loopback port in {FIRST_PORT}..{LAST_PORT}")
}

fn random_port() -> u16 {
    let mut bytes = [0; 2];
    let random = ring::rand::SystemRandom::new();
    let _ = ring::rand::SecureRandom::fill(&random, &mut bytes);
    FIRST_PORT + u16::from_be_bytes(bytes) % (LAST_PORT - FIRST_PORT)
}

const LOG_TAIL: usize = 40;
const FIRST_PORT: u16 = 15_000;
/// Linux hands out ports from 32768 upwards.
const LAST_PORT: u16 = 32_000;
