//! What Loki, Mimir and Tempo have in common, as processes or as servers that are already running.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, bail};

use super::daemon::{Daemon, Recipe};
use crate::{client, part, paths, process};

/// The loopback ports of one backend.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    pub http: u16,
    pub grpc: u16,
    pub gossip: u16,
    pub otlp_http: u16,
    pub otlp_grpc: u16,
}

/// A backend that answers: either a process of this run, or one that was running before and is left running.
pub struct Backend {
    name: &'static str,
    http: SocketAddr,
    daemon: Option<(Daemon, Ports)>,
}

impl Ports {
    pub fn free() -> Result<Ports> {
        Ok(Ports {
            http: process::free_port()?,
            grpc: process::free_port()?,
            gossip: process::free_port()?,
            otlp_http: process::free_port()?,
            otlp_grpc: process::free_port()?,
        })
    }
}

impl Backend {
    /// Starts a process with `integration/stack/<name>/<name>.yaml`, and waits for its `/ready`. If
    /// `SCOPEGATE_<NAME>_ADDRESS` is set, it is the HTTP address of a server to use instead.
    pub async fn start<F>(name: &'static str, ports: Ports, program: F) -> Result<Backend>
    where
        F: FnOnce() -> Result<PathBuf>,
    {
        Self::start_with(name, ports, |_| {}, program).await
    }

    /// Does what [`Self::start`] does, after `adjust` has changed the command.
    pub async fn start_with<A, F>(
        name: &'static str,
        ports: Ports,
        adjust: A,
        program: F,
    ) -> Result<Backend>
    where
        A: Fn(&mut Command) + Send + Sync + 'static,
        F: FnOnce() -> Result<PathBuf>,
    {
        if let Some(http) = part::running(name)? {
            return Ok(Backend {
                name,
                http,
                daemon: None,
            });
        }
        Backend::start_own(name, ports, adjust, program()?).await
    }

    /// The same, but always as a process of this run, whatever is running already.
    pub async fn start_own<A>(
        name: &'static str,
        ports: Ports,
        adjust: A,
        program: PathBuf,
    ) -> Result<Backend>
    where
        A: Fn(&mut Command) + Send + Sync + 'static,
    {
        let folder = tempfile::Builder::new()
            .prefix(&format!("scopegate-{name}-"))
            .tempdir()?;
        let data = folder.path().join("data");
        std::fs::create_dir(&data)?;
        let http = loopback(ports.http);
        let recipe = Recipe {
            name,
            command: Box::new(move || {
                let mut command = command(&program, name, &data, ports);
                adjust(&mut command);
                command
            }),
            ready: (http, "/ready"),
            patience: START,
        };
        let daemon = Daemon::start(recipe, folder).await?;
        Ok(Backend {
            name,
            http,
            daemon: Some((daemon, ports)),
        })
    }

    /// The address of its API.
    pub fn http(&self) -> SocketAddr {
        self.http
    }

    /// The address of its gRPC port. For a server that was running before, it is the HTTP port, where nothing answers
    /// gRPC.
    pub fn grpc(&self) -> SocketAddr {
        self.daemon
            .as_ref()
            .map_or(self.http, |(_, ports)| loopback(ports.grpc))
    }

    pub fn ports(&self) -> Option<Ports> {
        self.daemon.as_ref().map(|(_, ports)| *ports)
    }

    /// The process, to be killed and started again.
    ///
    /// # Errors
    /// The server is not a process of this run.
    pub fn daemon(&self) -> Result<&Daemon> {
        let Some((daemon, _)) = &self.daemon else {
            bail!("this {} is not ours to restart", self.name);
        };
        Ok(daemon)
    }

    /// The sum over a counter in its `/metrics`, of the lines that contain all these texts. It is what the server
    /// itself says that it has seen.
    pub async fn counter(&self, name: &str, pieces: &[&str]) -> Result<f64> {
        let text = client::get(self.http, "/metrics").await?.text();
        Ok(text
            .lines()
            .filter(|line| {
                line.strip_prefix(name)
                    .is_some_and(|rest| rest.starts_with(['{', ' ']))
                    && pieces.iter().all(|piece| line.contains(piece))
            })
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum())
    }
}

/// The program with its configuration file, and the variables that the file refers to.
fn command(program: &Path, name: &str, data: &Path, ports: Ports) -> Command {
    let file = format!("stack/{name}/{name}.yaml");
    let mut command = Command::new(program);
    command
        .args(["-config.expand-env=true", "-config.file"])
        .arg(paths::integration().join(file))
        .current_dir(data)
        .env("LISTEN_ADDRESS", "127.0.0.1")
        .env("DATA", data)
        .env("HTTP_PORT", ports.http.to_string())
        .env("GRPC_PORT", ports.grpc.to_string())
        .env("GOSSIP_PORT", ports.gossip.to_string())
        .env("OTLP_HTTP_PORT", ports.otlp_http.to_string())
        .env("OTLP_GRPC_PORT", ports.otlp_grpc.to_string());
    command
}

#[must_use]
pub fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// Loki takes half a minute to settle its rings if the machine is busy.
const START: Duration = Duration::from_secs(180);
