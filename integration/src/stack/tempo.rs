//! Tempo: a real one if there is a program, otherwise the stand-in.

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
    /// A program with its configuration, which it reads again when it is started again, and the version that it states.
    Real(Backend, Ports, TempPath, String),
    StandIn(TempoStandIn),
}

impl Tempo {
    /// Starts the program that `TEMPO` names or that is found on PATH, with `integration/stack/tempo/tempo.yaml`.
    /// Without a program it starts the stand-in.
    pub async fn start() -> Result<Tempo> {
        let Some(program) = program()? else {
            return Ok(Tempo::StandIn(TempoStandIn::start().await?));
        };
        let ports = Ports::free()?;
        let version = version(&program)?;
        let configuration = configuration(&version)?.into_temp_path();
        // If a flag is given twice, the last one counts.
        let flag = format!("-config.file={}", configuration.display());
        let adjust = move |command: &mut Command| {
            command.arg(&flag);
        };
        let backend = Backend::start_own("tempo", ports, adjust, program).await?;
        Ok(Tempo::Real(backend, ports, configuration, version))
    }

    /// What the program says of its version, or `stand-in`, which the summary of a run must not conceal.
    pub fn kind(&self) -> &str {
        match self {
            Tempo::Real(_, _, _, version) => version,
            Tempo::StandIn(_) => "stand-in",
        }
    }

    /// Whether it is Tempo 2. The stand-in is as Tempo 3.
    pub fn is_2(&self) -> bool {
        matches!(self, Tempo::Real(_, _, _, version) if is_2(version))
    }

    /// The query API, whose port also serves gRPC (`stream_over_http_enabled`).
    pub fn http(&self) -> SocketAddr {
        match self {
            Tempo::Real(backend, ..) => backend.http(),
            Tempo::StandIn(stand_in) => stand_in.http(),
        }
    }

    pub fn otlp_http(&self) -> SocketAddr {
        match self {
            Tempo::Real(_, ports, ..) => backend::loopback(ports.otlp_http),
            Tempo::StandIn(stand_in) => stand_in.otlp_http(),
        }
    }

    pub fn otlp_grpc(&self) -> SocketAddr {
        match self {
            Tempo::Real(_, ports, ..) => backend::loopback(ports.otlp_grpc),
            Tempo::StandIn(stand_in) => stand_in.otlp_grpc(),
        }
    }

    /// Stops it. A real one is asked to end: Tempo acknowledges spans that it has only in memory, so that killing it would
    /// lose some that nobody else has lost.
    pub async fn down(&self) -> Result<()> {
        match self {
            Tempo::Real(backend, ..) => backend.daemon()?.end().await?,
            Tempo::StandIn(stand_in) => stand_in.down().await,
        }
        Ok(())
    }

    /// Starts it again, with what it had stored.
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

/// The first line of what the program says of its version.
fn version(program: &Path) -> Result<String> {
    let output = Command::new(program).arg("--version").output()?;
    let told = [output.stdout, output.stderr].concat();
    let told = String::from_utf8_lossy(&told);
    let line = told.lines().find(|line| line.contains("version"));
    Ok(line.unwrap_or("of an unknown version").trim().to_owned())
}

/// Programs that do not state their version are taken for the newer one.
fn is_2(version: &str) -> bool {
    version.contains("version 2.")
}

/// The configuration, with what the version of the program needs in addition.
fn configuration(version: &str) -> Result<NamedTempFile> {
    let mut file = tempfile::Builder::new()
        .prefix("scopegate-tempo-")
        .suffix(".yaml")
        .tempfile()?;
    file.write_all(&configuration_of(version)?)?;
    Ok(file)
}

/// Each version refuses what the other needs.
fn configuration_of(version: &str) -> Result<Vec<u8>> {
    let more = if is_2(version) { "2.yaml" } else { "3.yaml" };
    let read = |name: &str| {
        let path = paths::integration().join("stack/tempo").join(name);
        std::fs::read(&path).with_context(|| path.display().to_string())
    };
    Ok([read("tempo.yaml")?, read(more)?].concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml;

    #[test]
    fn each_version_is_told_what_it_needs() -> Result<()> {
        for (version, needed, other) in [
            (
                "tempo, version 2.10.8 (branch: HEAD)",
                "overrides",
                "live_store",
            ),
            (
                "tempo, version 3.0.3 (branch: HEAD)",
                "live_store",
                "overrides",
            ),
            ("tempo, version main-1234567", "live_store", "overrides"),
        ] {
            let text = String::from_utf8(configuration_of(version)?)?;
            let document: serde_json::Value = yaml::parse(&text)?;
            assert!(document[needed].is_object(), "{version}: {document}");
            assert!(document[other].is_null(), "{version}: {document}");
            assert!(document["storage"].is_object(), "{version}: {document}");
        }
        Ok(())
    }
}
