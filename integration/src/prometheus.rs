//! The real Prometheus, either as a metrics backend with its remote-write receiver, or as an agent that writes.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::process::{self, Process};
use crate::{client, envoy, form};

/// What to start.
#[derive(Clone, Debug, Default)]
pub struct PrometheusSettings {
    configuration: Value,
    route_prefix: String,
    flags: Vec<String>,
    program: Option<PathBuf>,
}

/// The handle. When it is dropped, Prometheus is killed and its data is removed.
pub struct Prometheus {
    process: Process,
    address: SocketAddr,
    route_prefix: String,
}

/// The promtool that `PROMTOOL` names, otherwise the one beside the Prometheus that is started here, otherwise the
/// one on PATH.
pub fn promtool() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("PROMTOOL").filter(|path| !path.is_empty()) {
        return Ok(PathBuf::from(path));
    }
    let beside = envoy::tool("PROMETHEUS", "prometheus.sh")?.with_file_name("promtool");
    Ok(if beside.exists() {
        beside
    } else {
        PathBuf::from("promtool")
    })
}

impl PrometheusSettings {
    /// An empty server that accepts remote writes.
    #[must_use]
    pub fn receiver() -> PrometheusSettings {
        PrometheusSettings {
            configuration: serde_json::json!({"global": {"scrape_interval": "15s"}}),
            ..PrometheusSettings::default()
        }
        .flag("--web.enable-remote-write-receiver")
    }

    /// A server with that `prometheus.yml`, given as a tree.
    #[must_use]
    pub fn with_configuration(configuration: Value) -> PrometheusSettings {
        PrometheusSettings {
            configuration,
            ..PrometheusSettings::default()
        }
    }

    /// Serves under that prefix, for example `/prometheus`.
    #[must_use]
    pub fn route_prefix(mut self, prefix: &str) -> PrometheusSettings {
        prefix.clone_into(&mut self.route_prefix);
        self
    }

    /// Starts that program instead of the one that `PROMETHEUS` names or that is found.
    #[must_use]
    pub fn program(mut self, program: PathBuf) -> PrometheusSettings {
        self.program = Some(program);
        self
    }

    #[must_use]
    pub fn flag(mut self, flag: &str) -> PrometheusSettings {
        self.flags.push(flag.to_owned());
        self
    }
}

impl Prometheus {
    /// Starts it on a free loopback port, and waits until it is ready.
    pub async fn start(settings: PrometheusSettings) -> Result<Prometheus> {
        let binary = match settings.program {
            Some(program) => program,
            None => envoy::tool("PROMETHEUS", "prometheus.sh")?,
        };
        let folder = tempfile::Builder::new()
            .prefix("scopegate-prometheus-")
            .tempdir()?;
        let config = folder.path().join("prometheus.yml");
        // JSON is valid YAML.
        fs::write(&config, settings.configuration.to_string())?;
        let address = SocketAddr::from(([127, 0, 0, 1], process::free_port()?));
        let mut command = Command::new(binary);
        command
            .arg(format!("--config.file={}", config.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                folder.path().join("data").display()
            ))
            .arg(format!("--web.listen-address={address}"))
            .args(&settings.flags);
        if !settings.route_prefix.is_empty() {
            command.arg(format!("--web.route-prefix={}", settings.route_prefix));
        }
        let mut process = Process::start("prometheus", command, folder)?;
        let ready = format!("{}/-/ready", settings.route_prefix);
        process
            .wait_until("ready", START, async || {
                client::get(address, &ready)
                    .await
                    .is_ok_and(|reply| reply.status == 200)
            })
            .await?;
        Ok(Prometheus {
            process,
            address,
            route_prefix: settings.route_prefix,
        })
    }

    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{}{path}", self.address, self.route_prefix)
    }

    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    #[must_use]
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// The result of an instant query that is sent directly, and not through a gate.
    pub async fn query(&self, expression: &str) -> Result<Vec<Value>> {
        let path = format!(
            "{}/api/v1/query?query={}",
            self.route_prefix,
            form::encode(expression)
        );
        let answer = client::get(self.address, &path).await?.json()?;
        let result = answer["data"]["result"].as_array().cloned();
        result.with_context(|| format!("{expression}: {answer}"))
    }

    /// The value of an expression with a single result, or `None` if there is no result.
    pub async fn value(&self, expression: &str) -> Result<Option<f64>> {
        let result = self.query(expression).await?;
        let text = result
            .first()
            .and_then(|sample| sample["value"][1].as_str());
        Ok(text.map(str::parse).transpose()?)
    }

    /// Waits until the expression has a value that `enough` accepts.
    pub async fn wait_for(
        &self,
        expression: &str,
        within: Duration,
        enough: impl Fn(f64) -> bool,
    ) -> Result<f64> {
        let deadline = Instant::now() + within;
        loop {
            let value = self.value(expression).await?;
            if let Some(value) = value
                && enough(value)
            {
                return Ok(value);
            }
            if Instant::now() > deadline {
                bail!("{expression} was {value:?} after {within:?}");
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

const START: Duration = Duration::from_secs(30);
