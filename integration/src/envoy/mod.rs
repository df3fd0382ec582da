//! The real Envoy with the shipped bootstrap, moved to free loopback ports.

pub mod bootstrap;
mod capabilities;

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::authority::Authority;
use crate::client::{self, RawRequest, Reply, Target};
use crate::process::{self, Process};
use crate::{paths, yaml};
use bootstrap::Bootstrap;

type Edit = Box<dyn FnOnce(&mut Bootstrap) -> Result<()> + Send>;

/// What to start. Everything that is not set is as shipped.
pub struct EnvoySettings {
    bootstrap: Value,
    /// The content of the file from which the filter is read, and its path.
    discovered: Value,
    file: PathBuf,
    as_rendered: bool,
    wasm: Option<PathBuf>,
    native: Option<PathBuf>,
    configuration: Option<Value>,
    environment: BTreeMap<String, String>,
    process_environment: BTreeMap<String, String>,
    clusters: BTreeMap<String, SocketAddr>,
    tls: Option<Arc<Authority>>,
    inline: bool,
    dynamic: bool,
    metrics: bool,
    refused_too: bool,
    denied: Option<String>,
    concurrency: u32,
    drain: [String; 2],
    log_level: String,
    component_log_levels: Option<String>,
    edits: Vec<Edit>,
}

/// The handle. Envoy is killed when it is dropped.
pub struct Envoy {
    process: Mutex<Process>,
    folder: PathBuf,
    admin: SocketAddr,
    address: SocketAddr,
    certificate: Option<Vec<u8>>,
    /// The listener as it is in the LDS file.
    dynamic_listener: Option<Mutex<Value>>,
    /// The content of the file from which the filter is read.
    discovered: Option<Mutex<Value>>,
}

/// A line of the access log that the harness adds.
#[derive(Clone, Debug, Deserialize)]
pub struct AccessLine {
    pub test_id: Option<String>,
    pub status: Option<u16>,
    /// Envoy's response code details, such as `scopegate{token_expired}` for a refusal by the gate.
    pub details: Option<String>,
    pub flags: Option<String>,
    pub protocol: Option<String>,
    pub cluster: Option<String>,
    /// The audit record from filter state, if the gate has written one.
    pub scopegate: Option<Value>,
}

/// The outcome of a new configuration.
#[derive(Clone, Debug, PartialEq)]
pub enum Update {
    Accepted,
    /// It was rejected, for this reason.
    Rejected(String),
}

impl EnvoySettings {
    /// The shipped `envoy/envoy.yaml`, with `envoy/ecds/scopegate.yaml`, from which it reads the gate.
    pub fn shipped() -> Result<EnvoySettings> {
        EnvoySettings::from_file(&paths::repository().join("envoy/envoy.yaml"))
    }

    /// The bootstrap at that path, with `ecds/scopegate.yaml` beside it, if there is one.
    pub fn from_file(path: &Path) -> Result<EnvoySettings> {
        let file = path.with_file_name("ecds/scopegate.yaml");
        Ok(EnvoySettings {
            bootstrap: yaml::read(path)?,
            discovered: if file.exists() {
                yaml::read(&file)?
            } else {
                Value::Null
            },
            file,
            as_rendered: false,
            wasm: None,
            native: native(),
            configuration: None,
            environment: BTreeMap::new(),
            process_environment: BTreeMap::new(),
            clusters: BTreeMap::new(),
            tls: None,
            inline: false,
            dynamic: false,
            metrics: false,
            refused_too: false,
            denied: None,
            concurrency: 2,
            // A drain of ten minutes would keep old listeners, with their plugin, alive for a whole test run.
            drain: ["2".to_owned(), "immediate".to_owned()],
            log_level: "info".to_owned(),
            component_log_levels: None,
            edits: Vec::new(),
        })
    }

    /// Changes nothing except addresses and ports. The module, its file, certificates, the TLS of clusters and the
    /// access log are those of the bootstrap and of the file beside it, which Envoy watches where it is. Clients
    /// trust that authority.
    #[must_use]
    pub fn as_rendered(mut self, authority: Arc<Authority>) -> EnvoySettings {
        self.as_rendered = true;
        self.metrics().tls_from(authority)
    }

    /// Sets the module. Without one the filter is taken out, and a client that sends `x-scopegate-backend` itself
    /// reaches any backend it likes, which is useful only for tests of the harness.
    #[must_use]
    pub fn wasm(mut self, path: impl Into<PathBuf>) -> EnvoySettings {
        self.wasm = Some(path.into());
        self
    }

    /// Leaves the module in wasm in its place, for what is about its sandbox or about the files that load it.
    #[must_use]
    pub fn sandboxed(mut self) -> EnvoySettings {
        self.native = None;
        self
    }

    /// Puts that native module in its place. The default is [`native`].
    #[must_use]
    pub fn native(mut self, path: impl Into<PathBuf>) -> EnvoySettings {
        self.native = Some(path.into());
        self
    }

    /// Sets the module's configuration document.
    #[must_use]
    pub fn configuration(mut self, document: Value) -> EnvoySettings {
        self.configuration = Some(document);
        self
    }

    /// Sets a variable in the environment of the module's VM.
    #[must_use]
    pub fn environment(mut self, name: &str, value: &str) -> EnvoySettings {
        self.environment.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Sets a variable in the environment of Envoy itself.
    #[must_use]
    pub fn process_environment(mut self, name: &str, value: &str) -> EnvoySettings {
        let variables = &mut self.process_environment;
        variables.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Points a cluster to an address, in plain text. A cluster that is missing in the bootstrap is added. Clusters
    /// that are never named lead to a closed port.
    #[must_use]
    pub fn cluster(mut self, name: &str, address: SocketAddr) -> EnvoySettings {
        self.clusters.insert(name.to_owned(), address);
        self
    }

    /// Keeps the listener's TLS, with a certificate made for this run.
    pub fn tls(self) -> Result<EnvoySettings> {
        Ok(self.tls_from(Arc::new(Authority::new()?)))
    }

    /// The same, with a certificate that this authority issues.
    #[must_use]
    pub fn tls_from(mut self, authority: Arc<Authority>) -> EnvoySettings {
        self.tls = Some(authority);
        self
    }

    /// Delivers the listener, with the filter in it, in a watched file, as a control plane does. Replacing the
    /// configuration then replaces the listener, and drains the old one.
    #[must_use]
    pub fn dynamic(mut self) -> EnvoySettings {
        self.dynamic = true;
        self
    }

    /// Puts the filter into the listener, where edits of the listener see it. Nothing can be replaced then.
    #[must_use]
    pub fn inline(mut self) -> EnvoySettings {
        self.inline = true;
        self
    }

    /// Lets the listener `metrics` lead to the admin port, which is chosen in advance for this.
    #[must_use]
    pub fn metrics(mut self) -> EnvoySettings {
        self.metrics = true;
        self
    }

    /// Considers an Envoy as started even if it runs without the gate because it has refused the gate's
    /// configuration.
    #[must_use]
    pub fn refused_too(mut self) -> EnvoySettings {
        self.refused_too = true;
        self
    }

    /// Passes the trailers of HTTP/1.1 on in both directions. Envoy drops them otherwise.
    #[must_use]
    pub fn with_trailers(self) -> EnvoySettings {
        self.edit(Bootstrap::enable_trailers)
    }

    /// Gives the module everything that it uses of the host except that function: a call of it fails, or it is never
    /// called. There is a list of them for the module in wasm alone.
    #[must_use]
    pub fn without(mut self, function: &str) -> EnvoySettings {
        self.denied = Some(function.to_owned());
        self.sandboxed()
    }

    /// Sets the number of workers. The default is two.
    #[must_use]
    pub fn concurrency(mut self, workers: u32) -> EnvoySettings {
        self.concurrency = workers;
        self
    }

    /// Sets how long connections of a replaced listener are kept, in seconds, and the strategy by which Envoy asks
    /// clients to leave them. The defaults are two seconds and `immediate`.
    #[must_use]
    pub fn drain(mut self, seconds: u32, strategy: &str) -> Self {
        self.drain = [seconds.to_string(), strategy.to_owned()];
        self
    }

    /// Sets the log level, for example `info` or `warning`.
    #[must_use]
    pub fn log_level(mut self, level: &str) -> EnvoySettings {
        level.clone_into(&mut self.log_level);
        self
    }

    /// Sets the log levels of components, for example `misc:error,wasm:info`.
    #[must_use]
    pub fn component_log_levels(mut self, levels: &str) -> EnvoySettings {
        self.component_log_levels = Some(levels.to_owned());
        self
    }

    /// Makes any other change, after all others.
    #[must_use]
    pub fn edit<F>(mut self, edit: F) -> EnvoySettings
    where
        F: FnOnce(&mut Bootstrap) -> Result<()> + Send + 'static,
    {
        self.edits.push(Box::new(edit));
        self
    }
}

impl Envoy {
    /// Starts Envoy and waits until it is ready. If it refuses to start, or refuses the gate's configuration, the
    /// error holds the end of its log.
    pub async fn start(settings: EnvoySettings) -> Result<Envoy> {
        let binary = binary()?;
        let folder = tempfile::Builder::new()
            .prefix("scopegate-envoy-")
            .tempdir()?;
        let concurrency = settings.concurrency.to_string();
        let log_level = settings.log_level.clone();
        let component_log_levels = settings.component_log_levels.clone();
        let mut process_environment = settings.process_environment.clone();
        let native = settings.native.clone();
        if let Some(module) = native.filter(|_| settings.wasm.is_some()) {
            let folder = module.parent().context("no folder")?.to_path_buf();
            process_environment.extend(settings.environment.clone());
            process_environment.insert(MODULES.to_owned(), folder.display().to_string());
        }
        let [drain_time, drain_strategy] = settings.drain.clone();
        let refused_too = settings.refused_too;
        let prepared = Prepared::of(settings, folder.path())?;
        let config = folder.path().join("bootstrap.json");
        fs::write(&config, serde_json::to_vec_pretty(&prepared.bootstrap)?)?;
        let admin_file = folder.path().join("admin.address");

        let mut command = Command::new(binary);
        command
            .envs(process_environment)
            .arg("--config-path")
            .arg(&config)
            .arg("--admin-address-path")
            .arg(&admin_file)
            .args(["--concurrency", &concurrency, "--log-level", &log_level])
            .args(["--disable-hot-restart", "--file-flush-interval-msec", "20"])
            // The shipped bootstrap is meant to be started with this option.
            .arg("--reject-unknown-dynamic-fields")
            .args([
                "--drain-time-s",
                &drain_time,
                "--drain-strategy",
                &drain_strategy,
            ]);
        if let Some(levels) = component_log_levels {
            command.args(["--component-log-level", &levels]);
        }
        let path = folder.path().to_path_buf();
        let mut process = Process::start("envoy", command, folder)?;

        let mut admin: Option<SocketAddr> = None;
        process
            .wait_until("ready", START, async || {
                if admin.is_none() {
                    admin = fs::read_to_string(&admin_file)
                        .ok()
                        .and_then(|text| text.trim().parse().ok());
                }
                match admin {
                    Some(admin) => client::get(admin, "/ready")
                        .await
                        .is_ok_and(|reply| reply.status == 200),
                    None => false,
                }
            })
            .await?;
        let admin = admin.context("no admin address")?;
        let mut address = None;
        process
            .wait_until("listening", START, async || {
                address = listener_address(admin, bootstrap::LISTENER).await.ok();
                address.is_some()
            })
            .await?;
        let envoy = Envoy {
            process: Mutex::new(process),
            folder: path,
            admin,
            address: address.context("no listener address")?,
            certificate: prepared.certificate,
            dynamic_listener: prepared.listener.map(Mutex::new),
            discovered: prepared.discovered.map(Mutex::new),
        };
        if !refused_too && envoy.discovery_counts().await?.1 > 0 {
            bail!("Envoy has refused the filter:\n{}", envoy.log());
        }
        Ok(envoy)
    }

    /// The address of the listener `observability`.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn admin_address(&self) -> SocketAddr {
        self.admin
    }

    /// The address of the listener `metrics`, which needs [`EnvoySettings::metrics`].
    pub async fn metrics_address(&self) -> Result<SocketAddr> {
        listener_address(self.admin, bootstrap::METRICS).await
    }

    /// The file from which the filter is read.
    ///
    /// # Errors
    /// The filter is in the listener.
    pub fn discovered(&self) -> Result<PathBuf> {
        self.discovered.as_ref().context("not discovered")?;
        Ok(self.folder.join(bootstrap::DISCOVERED).join(FILE))
    }

    /// The target for [`RawRequest::send`].
    pub fn target(&self) -> Target {
        match &self.certificate {
            Some(certificate) => Target::tls(self.address, certificate, bootstrap::SERVER_NAME),
            None => Target::plain(self.address),
        }
    }

    pub fn id(&self) -> u32 {
        self.with_process(|process| process.id())
    }

    /// Fails, with the end of the log, if Envoy has crashed.
    pub fn check_alive(&self) -> Result<()> {
        self.with_process(Process::check_alive)
    }

    /// Stops the whole process for a moment, as a debugger does, or a machine that is suspended.
    pub fn pause(&self) -> Result<()> {
        self.with_process(|process| process.signal("STOP"))
    }

    /// Lets Envoy continue after [`Envoy::pause`].
    pub fn go_on(&self) -> Result<()> {
        self.with_process(|process| process.signal("CONT"))
    }

    /// The number of connections that each worker has accepted so far.
    pub async fn connections(&self) -> Result<Vec<i64>> {
        let stats = self.stats().await?;
        Ok(stats
            .iter()
            .filter(|(name, _)| {
                name.starts_with("listener.")
                    && !name.starts_with("listener.metrics.")
                    && name.contains(".worker_")
                    && name.ends_with(".downstream_cx_total")
            })
            .map(|(_, count)| *count)
            .collect())
    }

    pub async fn admin_get(&self, path: &str) -> Result<Reply> {
        client::get(self.admin, path).await
    }

    pub async fn admin_post(&self, path: &str) -> Result<Reply> {
        let mut request = RawRequest::post(path, "");
        request.authority = Some(self.admin.to_string().into_bytes());
        request
            .send(&Target::plain(self.admin), client::Protocol::H1)
            .await
    }

    /// All counters and gauges by their full names.
    pub async fn stats(&self) -> Result<BTreeMap<String, i64>> {
        let text = self.admin_get("/stats").await?.text();
        Ok(text
            .lines()
            .filter_map(|line| line.split_once(": "))
            .filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?)))
            .collect())
    }

    /// The metrics that a Prometheus would scrape.
    pub async fn prometheus_metrics(&self) -> Result<String> {
        Ok(self.admin_get("/stats/prometheus").await?.text())
    }

    /// The sum over all series of that name that carry all these labels, or 0 if there are none.
    pub async fn metric(&self, name: &str, labels: &[(&str, &str)]) -> Result<f64> {
        let text = self.prometheus_metrics().await?;
        let wanted: Vec<String> = labels
            .iter()
            .map(|(label, value)| format!("{label}=\"{value}\""))
            .collect();
        Ok(text
            .lines()
            .filter(|line| {
                let end = line.find(['{', ' ']).unwrap_or(line.len());
                &line[..end] == name && wanted.iter().all(|label| line.contains(label.as_str()))
            })
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum())
    }

    /// Everything that Envoy has written to its log.
    pub fn log(&self) -> String {
        self.with_process(|process| process.log())
    }

    /// The lines of it that are the gate's.
    pub fn own_lines(&self) -> Vec<String> {
        let log = self.log();
        let own = |line: &&str| line.contains("wasm log") || line.contains("[dynamic_modules]");
        log.lines().filter(own).map(str::to_owned).collect()
    }

    /// The file that holds the log.
    pub fn log_path(&self) -> PathBuf {
        self.with_process(|process| process.log_path().to_path_buf())
    }

    pub fn log_contains(&self, text: &str) -> bool {
        self.log().contains(text)
    }

    /// The lines of the access log, in the order in which the requests ended.
    pub fn access_log(&self) -> Vec<AccessLine> {
        let text = fs::read_to_string(self.folder.join(bootstrap::ACCESS_LOG)).unwrap_or_default();
        text.lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }

    /// The line of the request with that `x-test-id`.
    pub async fn access_line(&self, test_id: &str, within: Duration) -> Result<AccessLine> {
        let deadline = Instant::now() + within;
        loop {
            let mut lines = self.access_log().into_iter();
            if let Some(line) = lines.find(|line| line.test_id.as_deref() == Some(test_id)) {
                return Ok(line);
            }
            if Instant::now() > deadline {
                bail!("no access-log line for {test_id} within {within:?}");
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Replaces the configuration of the running gate, in the file from which its filter is read, or in the listener
    /// if that is what is delivered.
    pub async fn replace_configuration(&self, document: &Value) -> Result<Update> {
        let Some(discovered) = &self.discovered else {
            return self
                .replace_listener(|listener| bootstrap::set_configuration(listener, document))
                .await;
        };
        let mut next = discovered
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        bootstrap::set_discovered(&mut next, document)?;
        let path = self.discovered()?;
        self.rediscover(|| bootstrap::write_discovered(&path, &next))
            .await
    }

    /// Waits until Envoy has accepted or rejected the file with the filter, which `write` replaces.
    pub async fn rediscover(&self, write: impl FnOnce() -> Result<()>) -> Result<Update> {
        let before = self.discovery_counts().await?;
        write()?;
        let deadline = Instant::now() + START;
        loop {
            let now = self.discovery_counts().await?;
            if now.0 > before.0 {
                return Ok(Update::Accepted);
            }
            if now.1 > before.1 {
                return Ok(Update::Rejected(self.last_rejection()));
            }
            if Instant::now() > deadline {
                bail!("Envoy took no notice of the new file within {START:?}");
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Changes the listener while Envoy runs. This needs [`EnvoySettings::dynamic`].
    pub async fn replace_listener<F>(&self, edit: F) -> Result<Update>
    where
        F: FnOnce(&mut Value) -> Result<()>,
    {
        let listener = self
            .dynamic_listener
            .as_ref()
            .context("start Envoy with `dynamic` for this")?;
        let before = self.update_counts().await?;
        let mut next = listener
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        edit(&mut next)?;
        bootstrap::write_lds(&self.folder, &next)?;
        let deadline = Instant::now() + START;
        loop {
            let now = self.update_counts().await?;
            if now.0 > before.0 {
                *listener.lock().unwrap_or_else(PoisonError::into_inner) = next;
                self.wait_for_warming(deadline).await?;
                return Ok(Update::Accepted);
            }
            if now.1 > before.1 {
                return Ok(Update::Rejected(self.last_rejection()));
            }
            if Instant::now() > deadline {
                bail!("Envoy took no notice of the new listener within {START:?}");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Ends Envoy gracefully, and waits for its end.
    pub async fn stop(self) -> Result<()> {
        let _ = self.admin_post("/quitquitquit").await;
        let mut process = self
            .process
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        let status = process.wait_for_end(Duration::from_secs(10)).await?;
        if !status.success() {
            bail!("Envoy ended with {status}");
        }
        Ok(())
    }

    /// The numbers of files that Envoy has accepted and rejected so far.
    async fn discovery_counts(&self) -> Result<(i64, i64)> {
        let reply = self.admin_get("/stats?filter=^extension_config_discovery");
        let text = reply.await?.text();
        let count = |name: &str| -> i64 {
            let lines = text.lines().filter_map(|line| line.split_once(": "));
            let of = lines.filter(|(key, _)| key.ends_with(name));
            of.filter_map(|(_, value)| value.parse::<i64>().ok()).sum()
        };
        Ok((
            count(".update_success"),
            count(".update_rejected") + count(".update_failure"),
        ))
    }

    async fn update_counts(&self) -> Result<(i64, i64)> {
        let stats = self.stats().await?;
        let count = |name: &str| stats.get(name).copied().unwrap_or_default();
        Ok((
            count("listener_manager.lds.update_success"),
            count("listener_manager.lds.update_rejected"),
        ))
    }

    async fn wait_for_warming(&self, deadline: Instant) -> Result<()> {
        loop {
            let stats = self.stats().await?;
            let warming = stats
                .get("listener_manager.total_listeners_warming")
                .copied();
            if warming == Some(0) {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("the new listener does not get warm");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn last_rejection(&self) -> String {
        let log = self.log();
        log.lines()
            .rev()
            .find(|line| {
                ["rejected", "update failure", "Unable to"]
                    .iter()
                    .any(|word| line.contains(word))
            })
            .unwrap_or("no reason in the log")
            .to_owned()
    }

    fn with_process<T>(&self, act: impl FnOnce(&mut Process) -> T) -> T {
        act(&mut self.process.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The bootstrap as it will be written, and what has to be remembered about it.
struct Prepared {
    bootstrap: Value,
    listener: Option<Value>,
    discovered: Option<Value>,
    certificate: Option<Vec<u8>>,
}

impl Prepared {
    fn of(settings: EnvoySettings, folder: &Path) -> Result<Prepared> {
        let mut bootstrap = Bootstrap::new(settings.bootstrap, settings.discovered);
        if settings.inline || settings.dynamic {
            bootstrap.inline()?;
        }
        let mut clusters = settings.clusters;
        let admin = if settings.metrics {
            process::free_port()?
        } else {
            0
        };
        bootstrap.set_admin(admin);
        if settings.metrics {
            let address = SocketAddr::from(([127, 0, 0, 1], admin));
            clusters.insert(bootstrap::ADMIN.to_owned(), address);
        }
        // A listener that is replaced must keep its port, so the kernel cannot choose it.
        let port = if settings.dynamic {
            process::free_port()?
        } else {
            0
        };
        bootstrap.set_listener_port(port)?;
        if settings.as_rendered {
            bootstrap.set_addresses(&clusters)?;
            bootstrap.discover(&settings.file)?;
            return Ok(Prepared {
                bootstrap: bootstrap.into_value(),
                listener: None,
                discovered: None,
                certificate: settings.tls.map(|authority| authority.der()),
            });
        }
        bootstrap.add_access_log(&folder.join(bootstrap::ACCESS_LOG))?;
        let certificate = if let Some(authority) = &settings.tls {
            bootstrap.set_certificate(authority, folder)?;
            Some(authority.der())
        } else {
            bootstrap.remove_tls()?;
            None
        };
        bootstrap.set_clusters(&clusters)?;
        match &settings.wasm {
            Some(path) => bootstrap.set_module(path, &settings.environment)?,
            None => bootstrap.remove_module()?,
        }
        if let (Some(path), Some(denied)) = (&settings.wasm, &settings.denied) {
            bootstrap.set_capabilities(&capabilities::of_module_without(path, denied)?)?;
        }
        if let Some(document) = &settings.configuration {
            bootstrap::configure(bootstrap.scopegate()?, document);
        }
        for edit in settings.edits {
            edit(&mut bootstrap)?;
        }
        if let (Some(_), Some(module)) = (&settings.wasm, &settings.native) {
            bootstrap.make_native(module)?;
        }
        let listener = settings
            .dynamic
            .then(|| bootstrap.make_dynamic(folder))
            .transpose()?;
        let discovered = if settings.dynamic {
            None
        } else {
            bootstrap.discover_in(folder)?
        };
        Ok(Prepared {
            bootstrap: bootstrap.into_value(),
            listener,
            discovered,
            certificate,
        })
    }
}

/// The path of the module from `SCOPEGATE_WASM`, if it is set.
pub fn module() -> Option<PathBuf> {
    std::env::var_os("SCOPEGATE_WASM").map(PathBuf::from)
}

/// The path of the native module from `SCOPEGATE_NATIVE`, if the tests are to use it instead.
#[must_use]
pub fn native() -> Option<PathBuf> {
    std::env::var_os("SCOPEGATE_NATIVE").map(PathBuf::from)
}

/// The path of the native module from `SCOPEGATE_NATIVE` or `SCOPEGATE_LIBRARY`, for tests that are about it whatever the
/// others use.
#[must_use]
pub fn library() -> Option<PathBuf> {
    native().or_else(|| std::env::var_os("SCOPEGATE_LIBRARY").map(PathBuf::from))
}

/// Where Envoy looks for native modules.
const MODULES: &str = "ENVOY_DYNAMIC_MODULES_SEARCH_PATH";

/// The Envoy from `ENVOY`, or the one that `integration/tools/envoy.sh` finds or installs.
pub fn binary() -> Result<PathBuf> {
    tool("ENVOY", "envoy.sh")
}

/// A program that a variable names or, without it, the script in `integration/tools` that prints its path. The script
/// runs once per process, because it may download the program, and two downloads at once would collide in the cache.
pub fn tool(variable: &str, script: &str) -> Result<PathBuf> {
    static FOUND: Mutex<BTreeMap<String, PathBuf>> = Mutex::new(BTreeMap::new());
    let mut found = FOUND.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(path) = found.get(variable) {
        return Ok(path.clone());
    }
    let path = find_tool(variable, script)?;
    found.insert(variable.to_owned(), path.clone());
    Ok(path)
}

fn find_tool(variable: &str, script: &str) -> Result<PathBuf> {
    if let Some(path) = std::env::var_os(variable).filter(|path| !path.is_empty()) {
        return Ok(PathBuf::from(path));
    }
    let script = paths::integration().join("tools").join(script);
    let output = Command::new(&script)
        .output()
        .with_context(|| format!("cannot run {}", script.display()))?;
    let path = String::from_utf8(output.stdout)?.trim().to_owned();
    if !output.status.success() || path.is_empty() {
        let reason = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(anyhow!("{} failed: {reason}", script.display()));
    }
    Ok(PathBuf::from(path))
}

async fn listener_address(admin: SocketAddr, name: &str) -> Result<SocketAddr> {
    let listeners = client::get(admin, "/listeners?format=json").await?.json()?;
    let statuses = listeners["listener_statuses"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let listener = statuses
        .iter()
        .find(|status| status["name"] == json!(name))
        .context("the listener is not up yet")?;
    let address = &listener["local_address"]["socket_address"];
    let host = address["address"].as_str().context("no address")?;
    let port = address["port_value"].as_u64().context("no port")?;
    Ok(SocketAddr::new(host.parse()?, u16::try_from(port)?))
}

/// The name of the shipped file with the filter.
const FILE: &str = "scopegate.yaml";
/// How long a start may take, with V8 and a debug build on two busy cores.
const START: Duration = Duration::from_secs(60);
