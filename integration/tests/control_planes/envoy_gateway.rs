//! Envoy Gateway: its server with the rights of its chart, and an Envoy as the Deployment says, in a network of its own,
//! because both listen on the same ports.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use integration::process::Process;
use integration::{client, envoy, part};
use serde_json::{Value, json};

use crate::network::{self, NETWORK, SECOND_NETWORK};
use crate::pod::Container;
use crate::scene::{ENVOY_GATEWAY, POD, SECOND_POD, Scene};

const PATIENCE: Duration = Duration::from_secs(180);
pub const NAMESPACE: &str = "envoy-gateway-system";

pub struct EnvoyGateway {
    plane: Option<Process>,
    proxy: Option<Process>,
    second: Option<Process>,
    /// Of the proxy.
    deployment: String,
    plane_log: PathBuf,
    folder: PathBuf,
}

impl EnvoyGateway {
    pub async fn start(scene: &Scene) -> Result<Self> {
        let folder = part::CONTROL_PLANES.find()?;
        let chart = folder.join("envoy-gateway.yaml");
        scene.put_definitions(&chart).await?;
        scene.put_namespace(NAMESPACE).await?;
        scene.put_chart(&chart).await?;
        plane().introduce(scene, &chart).await?;
        network::make(NETWORK, POD)?;
        let mut gateway = Self {
            plane: None,
            proxy: None,
            second: None,
            deployment: String::new(),
            plane_log: scene.file("envoy-gateway.log"),
            folder: scene.folder.path().to_path_buf(),
        };
        // The chart's Job.
        let kubeconfig = scene
            .kubeconfig_of(NAMESPACE, "eg-gateway-helm-certgen")
            .await?;
        let made = command(&kubeconfig)?.arg("certgen").output()?;
        let said = String::from_utf8_lossy(&made.stderr);
        ensure!(made.status.success(), "{said}");
        // The volumes of its pod.
        for folder in ["/certs", "/config", "/var/lib/eg/wasm"] {
            fs::create_dir_all(folder)?;
        }
        let held = async |kind: &str, name: &str| {
            let path = format!("/api/v1/namespaces/{NAMESPACE}/{kind}/{name}");
            let answer = scene.api.call("GET", &path, &Value::Null).await?;
            let data = answer.body["data"].as_object().cloned();
            data.with_context(|| format!("{answer:?}"))
        };
        for (file, content) in held("secrets", "envoy-gateway").await? {
            let content = content.as_str().unwrap_or_default();
            fs::write(format!("/certs/{file}"), STANDARD.decode(content)?)?;
        }
        let config = held("configmaps", "envoy-gateway-config").await?;
        let config = config["envoy-gateway.yaml"].as_str().context("no file")?;
        fs::write("/config/envoy-gateway.yaml", config)?;
        let envoy = envoy::binary().context("no Envoy")?;
        let _ = fs::remove_file("/usr/local/bin/envoy");
        std::os::unix::fs::symlink(envoy, "/usr/local/bin/envoy")?;
        gateway.restart(scene).await?;
        Ok(gateway)
    }

    pub async fn restart(&mut self, scene: &Scene) -> Result<()> {
        let kubeconfig = scene.kubeconfig_of(NAMESPACE, "envoy-gateway").await?;
        let mut command = command(&kubeconfig)?;
        command.args(["server", "--config-path=/config/envoy-gateway.yaml"]);
        let mut plane = Process::start_in("envoy-gateway", command, &self.plane_log)?;
        let address = SocketAddr::from(([127, 0, 0, 1], 8081));
        let ready = async || {
            let ready = client::get(address, "/readyz").await;
            ready.is_ok_and(|reply| reply.status == 200)
        };
        plane.wait_until("ready", PATIENCE, ready).await?;
        self.plane = Some(plane);
        Ok(())
    }

    pub fn stop(&mut self) {
        drop(self.plane.take());
    }

    pub async fn start_proxy(&mut self, scene: &Scene) -> Result<()> {
        drop(self.proxy.take());
        self.deployment = deployment(scene).await?;
        let mut proxy = self.container(1, POD, NETWORK).start(scene).await?;
        until_ready(&mut proxy, POD).await?;
        self.proxy = Some(proxy);
        Ok(())
    }

    pub async fn start_second_proxy(&mut self, scene: &Scene) -> Result<()> {
        network::make(SECOND_NETWORK, SECOND_POD)?;
        let second = self.container(2, SECOND_POD, SECOND_NETWORK);
        let mut second = second.start(scene).await?;
        until_ready(&mut second, SECOND_POD).await?;
        self.second = Some(second);
        Ok(())
    }

    pub fn stop_second_proxy(&mut self) {
        drop(self.second.take());
    }

    /// As a kubelet ends the pod: first the hook of the container beside Envoy, which has Envoy's connections end.
    pub async fn end_proxy(&mut self, scene: &Scene) -> Result<()> {
        let deployment = scene
            .api
            .get(&json!({
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "metadata": {"name": self.deployment, "namespace": NAMESPACE},
            }))
            .await?;
        let containers = deployment["spec"]["template"]["spec"]["containers"].as_array();
        let mut containers = containers.into_iter().flatten();
        let beside = containers.find(|container| container["name"] == "shutdown-manager");
        let hook = beside.context("no container beside Envoy")?;
        let hook = hook["lifecycle"]["preStop"]["exec"]["command"].as_array();
        let mut words = hook.context("no hook")?.iter().filter_map(Value::as_str);
        ensure!(words.next() == Some("envoy-gateway"), "another hook");
        let mut hook = tokio::process::Command::new("nsenter");
        hook.arg(format!("--net=/run/netns/{NETWORK}"))
            .arg(part::CONTROL_PLANES.find()?.join("bin/envoy-gateway"))
            .args(words);
        let ended = tokio::time::timeout(PATIENCE, hook.output()).await??;
        let said = String::from_utf8_lossy(&ended.stderr);
        ensure!(ended.status.success(), "{said}");
        let mut proxy = self.proxy.take().context("no proxy")?;
        proxy.terminate()?;
        proxy.wait_for_end(PATIENCE).await?;
        Ok(())
    }

    fn container(&self, replica: u8, address: Ipv4Addr, network: &'static str) -> Container {
        Container {
            namespace: NAMESPACE.to_owned(),
            deployment: self.deployment.clone(),
            name: "envoy",
            entrypoint: vec!["envoy".to_owned()],
            replica,
            address,
            network: Some(network),
        }
    }

    /// The name of the proxy's Deployment.
    pub fn deployment(&self) -> &str {
        &self.deployment
    }

    pub fn proxy_log(&self) -> String {
        let file = self.folder.join(format!("{}.log", self.deployment));
        fs::read_to_string(file).unwrap_or_default()
    }

    pub fn plane_log(&self) -> String {
        fs::read_to_string(&self.plane_log).unwrap_or_default()
    }
}

/// The container of the control plane, which is started by hand.
fn plane() -> Container {
    Container {
        namespace: NAMESPACE.to_owned(),
        deployment: "envoy-gateway".to_owned(),
        name: "envoy-gateway",
        entrypoint: Vec::new(),
        replica: 1,
        address: ENVOY_GATEWAY,
        network: None,
    }
}

async fn until_ready(proxy: &mut Process, pod: Ipv4Addr) -> Result<()> {
    let address = SocketAddr::from((pod, 19003));
    let ready = async || {
        let ready = client::get(address, "/ready").await;
        ready.is_ok_and(|reply| reply.status == 200)
    };
    proxy.wait_until("ready", PATIENCE, ready).await
}

fn command(kubeconfig: &std::path::Path) -> Result<Command> {
    let mut command = Command::new(part::CONTROL_PLANES.find()?.join("bin/envoy-gateway"));
    command
        .env("KUBECONFIG", kubeconfig)
        .env("ENVOY_GATEWAY_NAMESPACE", NAMESPACE)
        .env("KUBERNETES_CLUSTER_DOMAIN", "cluster.local");
    Ok(command)
}

/// The Deployment that it has made for the Gateway.
async fn deployment(scene: &Scene) -> Result<String> {
    let label = "gateway.envoyproxy.io%2Fowning-gateway-name%3Dobservability";
    let path = format!("/apis/apps/v1/namespaces/{NAMESPACE}/deployments?labelSelector={label}");
    for _ in 0..300 {
        let answer = scene.api.call("GET", &path, &Value::Null).await?;
        if let Some(name) = answer.body["items"][0]["metadata"]["name"].as_str() {
            return Ok(name.to_owned());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    anyhow::bail!("it makes no Deployment")
}
