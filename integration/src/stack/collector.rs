//! A real OpenTelemetry Collector that accepts OTLP on loopback and exports it through the gate.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tokio::net::TcpStream;

use super::backend::loopback;
use super::daemon::{Daemon, Recipe};
use crate::{part, process};

/// How it reaches the gate.
pub struct CollectorSettings {
    /// `https://host:port` for exports over HTTP, to which `/otlp/v1/<signal>` is appended.
    pub url: String,
    /// `host:port` of the gate with TLS, for exports over gRPC. The extension that adds tokens requires TLS.
    pub grpc: String,
    /// The certificate that it trusts, in PEM.
    pub authority: PathBuf,
    pub tenant: String,
    /// The exports that carry each signal.
    pub exporter: Exporter,
    /// How long a batch is retried. `0s` means forever. The Collector's own default is five minutes.
    pub give_up: String,
}

/// The protocol of the exports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exporter {
    Http,
    Grpc,
    /// Metrics use Prometheus remote write, and everything else uses HTTP.
    RemoteWrite,
}

/// The handle.
pub struct Collector {
    daemon: Daemon,
    http: SocketAddr,
    grpc: SocketAddr,
    metrics: SocketAddr,
    token: PathBuf,
}

impl Collector {
    /// Starts it with that token in its file. `OTELCOL` may name the program.
    pub async fn start(settings: &CollectorSettings, token: &str) -> Result<Collector> {
        let program = part::OTELCOL.find()?;
        let folder = tempfile::Builder::new()
            .prefix("scopegate-collector-")
            .tempdir()?;
        let (http, grpc, metrics) = (
            loopback(process::free_port()?),
            loopback(process::free_port()?),
            loopback(process::free_port()?),
        );
        let token_file = folder.path().join("token");
        fs::write(&token_file, token)?;
        fs::create_dir(folder.path().join("queue"))?;
        let configuration = configuration(settings, folder.path(), http, grpc, metrics);
        let file = folder.path().join("collector.yaml");
        // JSON is valid YAML.
        fs::write(&file, serde_json::to_vec_pretty(&configuration)?)?;
        let recipe = Recipe {
            name: "collector",
            command: Box::new(move || {
                let mut command = Command::new(&program);
                command.arg("--config").arg(&file);
                command
            }),
            ready: (metrics, "/metrics"),
            patience: START,
        };
        let collector = Collector {
            daemon: Daemon::start(recipe, folder).await?,
            http,
            grpc,
            metrics,
            token: token_file,
        };
        collector.wait_for_receivers().await?;
        Ok(collector)
    }

    /// Waits for its receivers, which start after its metrics.
    async fn wait_for_receivers(&self) -> Result<()> {
        let deadline = Instant::now() + START;
        for address in [self.http, self.grpc] {
            while TcpStream::connect(address).await.is_err() {
                ensure!(
                    Instant::now() < deadline,
                    "no receiver at {address}:\n{}",
                    self.log()
                );
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        Ok(())
    }

    /// The address at which it accepts OTLP over HTTP, under `/v1/<signal>`.
    pub fn http(&self) -> SocketAddr {
        self.http
    }

    /// The address at which it accepts OTLP over gRPC.
    pub fn grpc(&self) -> SocketAddr {
        self.grpc
    }

    /// The address of its own metrics, which say what it accepted, sent and gave up.
    pub fn metrics(&self) -> SocketAddr {
        self.metrics
    }

    pub fn daemon(&self) -> &Daemon {
        &self.daemon
    }

    pub fn log(&self) -> String {
        self.daemon.log()
    }

    /// Writes a new token to its file with a rename, as a program that renews tokens would.
    pub fn renew(&self, token: &str) -> Result<()> {
        let next = self.token.with_extension("next");
        fs::write(&next, token)?;
        fs::rename(next, &self.token)?;
        Ok(())
    }
}

fn configuration(
    settings: &CollectorSettings,
    folder: &Path,
    http: SocketAddr,
    grpc: SocketAddr,
    metrics: SocketAddr,
) -> Value {
    let tls = json!({"ca_file": settings.authority});
    let retry = json!({
        "enabled": true,
        "initial_interval": "500ms",
        "max_interval": "2s",
        "max_elapsed_time": settings.give_up,
    });
    let queue = json!({"enabled": true, "queue_size": 5000, "storage": "file_storage"});
    let headers = json!({"X-Scope-OrgID": settings.tenant});
    let auth = json!({"authenticator": "bearertokenauth"});
    let exporters = json!({
        "otlp_http": {
            "endpoint": format!("{}/otlp", settings.url),
            "headers": headers, "auth": auth, "tls": tls,
            "retry_on_failure": retry, "sending_queue": queue, "timeout": "10s",
        },
        "otlp_grpc": {
            "endpoint": settings.grpc,
            "headers": headers, "auth": auth, "tls": tls,
            "retry_on_failure": retry, "sending_queue": queue, "timeout": "10s",
        },
        "prometheusremotewrite": {
            "endpoint": format!("{}/prometheus/api/v1/push", settings.url),
            "headers": headers, "auth": auth, "tls": tls,
            "retry_on_failure": retry, "timeout": "10s",
        },
    });
    let (metrics_exporter, exporter) = match settings.exporter {
        Exporter::Http => ("otlp_http", "otlp_http"),
        Exporter::Grpc => ("otlp_grpc", "otlp_grpc"),
        Exporter::RemoteWrite => ("prometheusremotewrite", "otlp_http"),
    };
    let pipeline = |exporter: &str| json!({"receivers": ["otlp"], "exporters": [exporter]});
    json!({
        "receivers": {"otlp": {"protocols": {
            "http": {"endpoint": http.to_string()},
            "grpc": {"endpoint": grpc.to_string()},
        }}},
        "exporters": exporters,
        "extensions": {
            "bearertokenauth": {"filename": folder.join("token")},
            "file_storage": {"directory": folder.join("queue")},
        },
        "service": {
            "extensions": ["bearertokenauth", "file_storage"],
            "telemetry": {"metrics": {"level": "normal", "readers": [{"pull": {"exporter": {"prometheus": {
                "host": metrics.ip().to_string(), "port": metrics.port(),
            }}}}]}},
            "pipelines": {
                "logs": pipeline(exporter),
                "metrics": pipeline(metrics_exporter),
                "traces": pipeline(exporter),
            },
        },
    })
}

const START: Duration = Duration::from_secs(60);
