//! Tempo: a real one where there is a program, else the stand-in.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Result;

use super::backend::{self, Backend, Ports};
use super::tempo_stand_in::TempoStandIn;

/// The handle.
pub enum Tempo {
    Real(Backend, Ports),
    StandIn(TempoStandIn),
}

impl Tempo {
    /// Start the program that `TEMPO` names or that is found on PATH, with `integration/stack/tempo/tempo.yaml`;
    /// without one, the stand-in.
    pub async fn start() -> Result<Tempo> {
        let Some(program) = program() else {
            return Ok(Tempo::StandIn(TempoStandIn::start().await?));
        };
        let ports = Ports::free()?;
        let backend = Backend::start("tempo", ports, || Ok(program)).await?;
        Ok(Tempo::Real(backend, ports))
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
            Tempo::Real(backend, _) => backend.http(),
            Tempo::StandIn(stand_in) => stand_in.http(),
        }
    }

    pub fn otlp_http(&self) -> SocketAddr {
        match self {
            Tempo::Real(_, ports) => backend::loopback(ports.otlp_http),
            Tempo::StandIn(stand_in) => stand_in.otlp_http(),
        }
    }

    pub fn otlp_grpc(&self) -> SocketAddr {
        match self {
            Tempo::Real(_, ports) => backend::loopback(ports.otlp_grpc),
            Tempo::StandIn(stand_in) => stand_in.otlp_grpc(),
        }
    }

    /// Take it away.
    pub async fn down(&self) -> Result<()> {
        match self {
            Tempo::Real(backend, _) => backend.daemon()?.kill(),
            Tempo::StandIn(stand_in) => stand_in.down().await,
        }
        Ok(())
    }

    /// Bring it back with what it had stored.
    pub async fn up(&self) -> Result<()> {
        match self {
            Tempo::Real(backend, _) => backend.daemon()?.restart().await,
            Tempo::StandIn(stand_in) => stand_in.up().await,
        }
    }
}

/// The program that `TEMPO` names or that is found on PATH.
fn program() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("TEMPO").filter(|path| !path.is_empty()) {
        return Some(PathBuf::from(path));
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join("tempo"))
        .find(|path| path.is_file())
}
