//! Istio: pilot-discovery with the rights of its chart, and pilot-agent with an Envoy as the Deployment says.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use integration::client;
use integration::process::Process;
use integration::{envoy, part};
use serde_json::{Value, json};

use crate::network::{self, SECOND_NETWORK};
use crate::pod::Container;
use crate::scene::{ISTIOD, POD, SECOND_POD, Scene};

const PATIENCE: Duration = Duration::from_secs(180);
const NAMESPACE: &str = "istio-system";
pub const DEPLOYMENT: &str = "observability-istio";

pub struct Istio {
    plane: Option<Process>,
    proxy: Option<Process>,
    second: Option<Process>,
    plane_log: std::path::PathBuf,
    proxy_log: std::path::PathBuf,
}

impl Istio {
    pub async fn start(scene: &Scene) -> Result<Self> {
        let folder = part::CONTROL_PLANES.find()?;
        scene
            .put_definitions(&folder.join("istio-definitions.yaml"))
            .await?;
        scene
            .put_definitions(&folder.join("gateway-api.yaml"))
            .await?;
        scene.put_namespace(NAMESPACE).await?;
        for chart in ["istio-base.yaml", "istiod.yaml"] {
            scene.put_chart(&folder.join(chart)).await?;
        }
        let ports = [
            ("grpc-xds", 15010),
            ("https-dns", 15012),
            ("https-webhook", 15017),
            ("http-monitoring", 15014),
        ];
        scene
            .put_endpoints(NAMESPACE, "istiod", ISTIOD, &ports, None)
            .await?;
        plane()
            .introduce(scene, &folder.join("istiod.yaml"))
            .await?;
        let mut istio = Self {
            plane: None,
            proxy: None,
            second: None,
            plane_log: scene.file("istiod.log"),
            proxy_log: scene.file(&format!("{DEPLOYMENT}.log")),
        };
        istio.restart(scene).await?;
        // What the image of a proxy has where pilot-agent looks for it.
        for folder in [
            "/var/lib/istio/envoy",
            "/etc/istio/proxy",
            "/var/lib/istio/data",
        ] {
            fs::create_dir_all(folder)?;
        }
        fs::copy(
            folder.join("envoy_bootstrap.json"),
            "/var/lib/istio/envoy/envoy_bootstrap_tmpl.json",
        )?;
        let envoy = envoy::binary().context("no Envoy")?;
        let _ = fs::remove_file("/usr/local/bin/envoy");
        std::os::unix::fs::symlink(envoy, "/usr/local/bin/envoy")?;
        Ok(istio)
    }

    /// Start istiod, and wait until it checks what is applied.
    pub async fn restart(&mut self, scene: &Scene) -> Result<()> {
        let kubeconfig = scene.kubeconfig_of(NAMESPACE, "istiod").await?;
        let work = scene.file("istiod");
        fs::create_dir_all(&work)?;
        let mut command = Command::new(part::CONTROL_PLANES.find()?.join("bin/pilot-discovery"));
        command
            .current_dir(work)
            .arg("discovery")
            .arg("--kubeconfig")
            .arg(kubeconfig)
            .args([
                "--monitoringAddr=127.0.0.1:15014",
                "--httpAddr=127.0.0.1:18080",
            ])
            .args([
                "--domain",
                "cluster.local",
                "--log_output_level=default:info",
            ])
            .envs([
                ("REVISION", "default"),
                ("CLUSTER_ID", "Kubernetes"),
                ("PILOT_CERT_PROVIDER", "istiod"),
                ("POD_NAME", "istiod-1"),
                ("POD_NAMESPACE", NAMESPACE),
                ("SERVICE_ACCOUNT", "istiod"),
                ("PILOT_ENABLE_ANALYSIS", "true"),
                // A stock Envoy lacks Istio's own filters.
                ("PILOT_ENABLE_METADATA_EXCHANGE", "false"),
                ("PILOT_ENABLE_ALPN_FILTER", "false"),
                ("PILOT_ENABLE_TELEMETRY_LABEL", "false"),
            ]);
        let mut plane = Process::start_in("istiod", command, &self.plane_log)?;
        let address = SocketAddr::from(([127, 0, 0, 1], 18080));
        let ready = async || {
            let ready = client::get(address, "/ready").await;
            ready.is_ok_and(|reply| reply.status == 200) && closes(scene).await
        };
        plane
            .wait_until("it checks what is applied", PATIENCE, ready)
            .await?;
        self.plane = Some(plane);
        Ok(())
    }

    pub fn stop(&mut self) {
        drop(self.plane.take());
    }

    pub async fn start_proxy(&mut self, scene: &Scene) -> Result<()> {
        drop(self.proxy.take());
        until_deployed(scene, "scopegate", DEPLOYMENT).await?;
        let mut proxy = container(1, POD, None)?.start(scene).await?;
        let address = SocketAddr::from(([127, 0, 0, 1], 15021));
        until_ready(&mut proxy, address).await?;
        self.proxy = Some(proxy);
        Ok(())
    }

    /// A pod in a network of its own.
    pub async fn start_second_proxy(&mut self, scene: &Scene) -> Result<()> {
        network::make(SECOND_NETWORK, SECOND_POD)?;
        let second = container(2, SECOND_POD, Some(SECOND_NETWORK))?;
        let mut second = second.start(scene).await?;
        until_ready(&mut second, SocketAddr::from((SECOND_POD, 15021))).await?;
        self.second = Some(second);
        Ok(())
    }

    pub fn stop_second_proxy(&mut self) {
        drop(self.second.take());
    }

    /// As a kubelet ends the pod, whose only container has no hook.
    pub async fn end_proxy(&mut self) -> Result<()> {
        let mut proxy = self.proxy.take().context("no proxy")?;
        proxy.terminate()?;
        proxy.wait_for_end(PATIENCE).await?;
        Ok(())
    }

    pub fn proxy_log(&self) -> String {
        fs::read_to_string(&self.proxy_log).unwrap_or_default()
    }

    pub fn plane_log(&self) -> String {
        fs::read_to_string(&self.plane_log).unwrap_or_default()
    }
}

/// That of the control plane, which is started by hand.
fn plane() -> Container {
    Container {
        namespace: NAMESPACE.to_owned(),
        deployment: "istiod".to_owned(),
        name: "discovery",
        entrypoint: Vec::new(),
        replica: 1,
        address: ISTIOD,
        network: None,
    }
}

/// One container of the Deployment.
fn container(replica: u8, address: Ipv4Addr, network: Option<&'static str>) -> Result<Container> {
    let agent = part::CONTROL_PLANES.find()?.join("bin/pilot-agent");
    Ok(Container {
        namespace: "scopegate".to_owned(),
        deployment: DEPLOYMENT.to_owned(),
        name: "istio-proxy",
        entrypoint: vec![agent.display().to_string()],
        replica,
        address,
        network,
    })
}

async fn until_ready(proxy: &mut Process, address: SocketAddr) -> Result<()> {
    let ready = async || {
        let ready = client::get(address, "/healthz/ready").await;
        ready.is_ok_and(|reply| reply.status == 200)
    };
    proxy.wait_until("ready", PATIENCE, ready).await
}

/// Whether istiod's own checks of resources refuse when it cannot be asked.
async fn closes(scene: &Scene) -> bool {
    let path = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";
    let Ok(answer) = scene.api.call("GET", path, &Value::Null).await else {
        return false;
    };
    let items = answer.body["items"].as_array().into_iter().flatten();
    let mut hooks = items.flat_map(|item| item["webhooks"].as_array().into_iter().flatten());
    hooks.all(|hook| hook["failurePolicy"] == "Fail")
}

/// Wait until the control plane has made that Deployment.
pub async fn until_deployed(scene: &Scene, namespace: &str, name: &str) -> Result<()> {
    let deployment = json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace},
    });
    let started = Instant::now();
    while started.elapsed() < PATIENCE {
        if scene.api.get(&deployment).await.is_ok() {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    scene.api.get(&deployment).await.map(|_| ())
}
