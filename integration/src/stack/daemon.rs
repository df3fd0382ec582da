//! A server of the stack. It is killed when its handle is dropped. It can also be killed on request, and then started
//! again on the same ports with the same data.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use tempfile::TempDir;

use crate::client;
use crate::process::Process;

/// How to start it, any number of times.
pub struct Recipe {
    pub name: &'static str,
    pub command: Box<dyn Fn() -> Command + Send + Sync>,
    /// An address and a path that answer 200 when the server is ready.
    pub ready: (SocketAddr, &'static str),
    pub patience: Duration,
}

/// The handle.
pub struct Daemon {
    // This field comes before the folder, so that the process ends first.
    process: Mutex<Option<Process>>,
    recipe: Recipe,
    folder: TempDir,
}

impl Daemon {
    /// Starts it and waits until it is ready. Its log is written to `folder`, which lives as long as the handle.
    pub async fn start(recipe: Recipe, folder: TempDir) -> Result<Daemon> {
        let daemon = Daemon {
            process: Mutex::new(None),
            recipe,
            folder,
        };
        daemon.restart().await?;
        Ok(daemon)
    }

    /// Kills it as the kernel or a cluster would, with a signal that it cannot handle.
    pub fn kill(&self) {
        drop(self.lock().take());
    }

    /// Asks it to end, as who operates it does, and waits until it has written what it holds.
    pub async fn end(&self) -> Result<()> {
        let process = self.lock().take();
        if let Some(mut process) = process {
            process.terminate()?;
            process.wait_for_end(END).await?;
        }
        Ok(())
    }

    /// Starts it again, and waits until it is ready.
    pub async fn restart(&self) -> Result<()> {
        self.kill();
        let process =
            Process::start_in(self.recipe.name, (self.recipe.command)(), &self.log_path())?;
        *self.lock() = Some(process);
        let (address, path) = self.recipe.ready;
        let deadline = Instant::now() + self.recipe.patience;
        loop {
            if let Some(process) = self.lock().as_mut() {
                process.check_alive()?;
            }
            let ready = tokio::time::timeout(PROBE, client::get(address, path)).await;
            if ready.is_ok_and(|reply| reply.is_ok_and(|reply| reply.status == 200)) {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(anyhow!(
                    "{} was not ready within {:?}:\n{}",
                    self.recipe.name,
                    self.recipe.patience,
                    self.log()
                ));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// The number of the process, while it runs.
    pub fn id(&self) -> Option<u32> {
        self.lock().as_ref().map(Process::id)
    }

    /// Everything that it has written since its first start.
    pub fn log(&self) -> String {
        let bytes = std::fs::read(self.log_path()).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn log_path(&self) -> PathBuf {
        self.folder.path().join(format!("{}.log", self.recipe.name))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Process>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const PROBE: Duration = Duration::from_secs(2);
const END: Duration = Duration::from_secs(30);
