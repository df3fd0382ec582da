//! Tempo: a real one where there is a program, else the stand-in.

use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use tempfile::{NamedTempFile, TempPath};

use super::backend::{self, Backend, Ports};
use super::tempo_stand_in::TempoStandIn;
use crate::part::{self, Lack};
use crate::paths;

/// The handle.
pub enum Tempo {
    /// With its configuration, which it reads again when it is started again.
    Real(Backend, Ports, TempPath),
    StandIn(TempoStandIn),
}

impl Tempo {
    /// Start the program that `TEMPO` names or that is found on PATH, with `integration/stack/tempo/tempo.yaml`;
    /// without one, the stand-in.
    pub async fn start() -> Result<Tempo> {
        let Some(program) = program()? else {
            return Ok(Tempo::StandIn(TempoStandIn::start().await?));
        };
        let ports = Ports::free()?;
        let configuration = configuration(&program)?.into_temp_path();
        // Of a flag that is there twice the last counts.
        let flag = format!("-config.file={}", configuration.display());
        let backend = Backend::start_with("tempo", ports, program, vec![flag]).await?;
        Ok(Tempo::Real(backend, ports, configuration))
    }

    /// `real`, or `stand-in`: what the summary of a run must not hide.
    pub fn kind(&self) -> &'static str {
        match self {
            Tempo::Real(..) => "real",
            Tempo::StandIn(_) => "stand-in",
        }
    }

    /// The query API, also the port of its gRPC (`stream_over_http_enabled`).
    pub fn http(&self) -> SocketAddr {
        match self {
            Tempo::Real(backend, ..) => backend.http(),
            Tempo::StandIn(stand_in) => stand_in.http(),
        }
    }

    pub fn otlp_http(&self) -> SocketAddr {
        match self {
            Tempo::Real(_, ports, _) => backend::loopback(ports.otlp_http),
            Tempo::StandIn(stand_in) => stand_in.otlp_http(),
        }
    }

    pub fn otlp_grpc(&self) -> SocketAddr {
        match self {
            Tempo::Real(_, ports, _) => backend::loopback(ports.otlp_grpc),
            Tempo::StandIn(stand_in) => stand_in.otlp_grpc(),
        }
    }

    /// Take it away.
    pub async fn down(&self) -> Result<()> {
        match self {
            Tempo::Real(backend, ..) => backend.daemon()?.kill(),
            Tempo::StandIn(stand_in) => stand_in.down().await,
        }
        Ok(())
    }

    /// Bring it back with what it had stored.
    pub async fn up(&self) -> Result<()> {
        match self {
            Tempo::Real(backend, ..) => backend.daemon()?.restart().await,
            Tempo::StandIn(stand_in) => stand_in.up().await,
        }
    }
}

/// The program that `TEMPO` names or that is found on PATH.
fn program() -> Result<Option<PathBuf>> {
    match part::TEMPO.find() {
        Ok(program) => Ok(Some(program)),
        Err(Lack::Missing(_)) => Ok(None),
        Err(broken) => Err(broken.into()),
    }
}

/// The configuration with what that program's own version needs besides. Either version refuses the other's.
fn configuration(program: &Path) -> Result<NamedTempFile> {
    let output = Command::new(program).arg("--version").output()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    let more = if said.contains("version 2.") {
        "2.yaml"
    } else {
        "3.yaml"
    };
    let mut file = tempfile::Builder::new()
        .prefix("scopegate-tempo-")
        .suffix(".yaml")
        .tempfile()?;
    for name in ["tempo.yaml", more] {
        let path = paths::integration().join("stack/tempo").join(name);
        let text = std::fs::read(&path).with_context(|| path.display().to_string())?;
        file.write_all(&text)?;
    }
    Ok(file)
}
