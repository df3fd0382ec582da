//! The numbers of requests that the servers themselves have seen.

use anyhow::Result;
use integration::client;
use integration::stack::tempo::Tempo;

use crate::scene::Scene;

/// Requests over HTTP, but for those that ask for metrics or readiness.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Servers {
    pub loki: u64,
    pub mimir: u64,
    pub tempo: u64,
}

impl Servers {
    pub async fn seen(scene: &Scene) -> Result<Servers> {
        let stack = &scene.stack;
        let tempo = match &stack.tempo {
            Tempo::StandIn(stand_in) => u64::try_from(stand_in.requests())?,
            Tempo::Real(backend, ..) => {
                count(backend.http(), "tempo_request_duration_seconds_count").await?
            }
        };
        Ok(Servers {
            loki: count(stack.loki.http(), "loki_request_duration_seconds_count").await?,
            mimir: count(stack.mimir.http(), "cortex_request_duration_seconds_count").await?,
            tempo,
        })
    }
}

/// Their own counters; what the parts of a server ask of each other goes over gRPC and counts for nothing.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "Prometheus and Loki write counts and times as floats"
)]
async fn count(server: std::net::SocketAddr, name: &str) -> Result<u64> {
    let text = client::get(server, "/metrics").await?.text();
    let lines = text.lines().filter(|line| {
        line.starts_with(name)
            && !line.contains("method=\"gRPC\"")
            && !line.contains("route=\"metrics\"")
            && !line.contains("route=\"ready\"")
    });
    let seen: f64 = lines
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum();
    Ok(seen as u64)
}
