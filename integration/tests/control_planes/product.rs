//! What Istio and Envoy Gateway have in common for a test: the shipped manifests, the resource that carries the gate's
//! configuration, and a gate that answers.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use integration::client::{self, Protocol, RawRequest, Reply, Target};
use integration::kubernetes::documents;
use integration::paths;
use integration::token::Recipe;
use integration::upstream::Seen;
use integration::{drill, envoy};
use serde_json::{Value, json};

use crate::envoy_gateway::EnvoyGateway;
use crate::istio::Istio;
use crate::scene::{HOST, POD, SECOND_POD, Scene};

/// How long a change may take until it is served.
pub const LIVE: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    Istio,
    EnvoyGateway,
}

impl Kind {
    pub const ALL: [Self; 2] = [Self::Istio, Self::EnvoyGateway];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Istio => "istio",
            Self::EnvoyGateway => "envoy_gateway",
        }
    }

    /// The form of the gate that it has unless a case wants the other one: that of `make HOST=native`.
    fn form(self) -> Form {
        match self {
            Self::EnvoyGateway if envoy::native().is_some() => Form::Native,
            _ => Form::Wasm,
        }
    }

    /// The folder of its manifests.
    pub const fn folder(self) -> &'static str {
        match self {
            Self::Istio => "envoy/istio",
            Self::EnvoyGateway => "envoy/gateway",
        }
    }

    /// Its files, in the order in which its page has them applied.
    pub const fn files(self) -> &'static [&'static str] {
        match self {
            Self::Istio => &[
                "provider.yaml",
                "gateway.yaml",
                "envoyfilter.yaml",
                "plugin.yaml",
                "grants.yaml",
                "routes.yaml",
            ],
            Self::EnvoyGateway => &[
                "gateway.yaml",
                "policy.yaml",
                "backends.yaml",
                "traffic.yaml",
                "routes.yaml",
            ],
        }
    }

    /// Those that only some want, and that hold after they were applied.
    pub const fn extras(self) -> &'static [&'static str] {
        match self {
            Self::Istio => &[
                "extras/network.yaml",
                "extras/authorization.yaml",
                "extras/admission.yaml",
            ],
            Self::EnvoyGateway => &["extras/network.yaml", "extras/admission.yaml"],
        }
    }

    /// The file with the resource that names the image and holds the configuration.
    const fn carrier(self) -> &'static str {
        match self {
            Self::Istio => "plugin.yaml",
            Self::EnvoyGateway => "policy.yaml",
        }
    }
}

/// The two forms of the gate.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Form {
    Wasm,
    /// A shared object in the pod.
    Native,
}

impl Form {
    /// The folder of those manifests that differ from the others, in that of the product.
    const fn folder(self) -> &'static str {
        match self {
            Self::Wasm => "",
            Self::Native => "native",
        }
    }
}

enum Plane {
    Istio(Istio),
    EnvoyGateway(EnvoyGateway),
}

/// A control plane with its proxy.
pub struct Product {
    pub kind: Kind,
    pub form: Form,
    pub scene: Scene,
    plane: Plane,
    /// The resource that holds the configuration, with the digest of the module's image: the shipped one, or one that
    /// was rendered.
    pub carrier: Value,
    /// Whether the shipped manifests have been put there.
    is_shipped: bool,
    /// What a case has measured.
    facts: Mutex<Vec<String>>,
}

impl Product {
    /// The control plane, and nothing of the gate.
    pub async fn open(kind: Kind) -> Result<Self> {
        let scene = Scene::open().await?;
        let plane = match kind {
            Kind::Istio => Plane::Istio(Istio::start(&scene).await?),
            Kind::EnvoyGateway => Plane::EnvoyGateway(EnvoyGateway::start(&scene).await?),
        };
        let form = kind.form();
        let carrier = carrier(kind, form, &scene)?;
        Ok(Self {
            kind,
            form,
            scene,
            plane,
            carrier,
            is_shipped: false,
            facts: Mutex::default(),
        })
    }

    /// The shipped manifests but for the digest, in the place of what is there, and a proxy that is ready.
    async fn put_shipped(&mut self) -> Result<()> {
        self.scene.put_certificate().await?;
        self.scene.clear_logs()?;
        for file in self.kind.files() {
            for document in self.shipped(file)? {
                self.put(&document).await?;
            }
        }
        self.start_proxy().await?;
        self.is_shipped = true;
        Ok(())
    }

    /// The documents of a shipped file, with the digest of the module's image.
    pub fn shipped(&self, file: &str) -> Result<Vec<Value>> {
        if file == self.kind.carrier() {
            return Ok(vec![self.carrier.clone()]);
        }
        shipped(self.kind, self.form, file, &self.scene)
    }

    /// Those of another form.
    pub fn shipped_for(&self, form: Form, file: &str) -> Result<Vec<Value>> {
        shipped(self.kind, form, file, &self.scene)
    }

    /// From now on the shipped manifests are those of that form. Nothing is put there yet.
    pub fn turn_to(&mut self, form: Form) -> Result<()> {
        self.form = form;
        self.carrier = carrier(self.kind, form, &self.scene)?;
        Ok(())
    }

    /// The text of a shipped file.
    pub fn text(&self, file: &str) -> Result<String> {
        text(self.kind, self.form, file)
    }

    /// The proxy's Deployment, as the control plane has made it.
    pub async fn deployment(&self) -> Result<Value> {
        self.scene
            .api
            .get(&self.made("apps/v1", "Deployment"))
            .await
    }

    /// Wait until the control plane has done with the Deployment what the manifests ask for: until it has left it alone for
    /// a while.
    pub async fn until_settled(&self) -> Result<()> {
        let (mut last, mut since) = (Value::Null, Instant::now());
        let started = Instant::now();
        while since.elapsed() < Duration::from_secs(2) {
            ensure!(started.elapsed() < LIVE, "it changes all the time");
            let version = self.deployment().await?["metadata"]["generation"].clone();
            if version != last {
                (last, since) = (version, Instant::now());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }

    /// The Service in front of it.
    pub async fn service(&self) -> Result<Value> {
        self.scene.api.get(&self.made("v1", "Service")).await
    }

    fn made(&self, version: &str, kind: &str) -> Value {
        let (namespace, name) = match &self.plane {
            Plane::Istio(_) => ("scopegate", crate::istio::DEPLOYMENT),
            Plane::EnvoyGateway(gateway) => (crate::envoy_gateway::NAMESPACE, gateway.deployment()),
        };
        json!({
            "apiVersion": version,
            "kind": kind,
            "metadata": {"name": name, "namespace": namespace},
        })
    }

    /// What Envoy's own administration answers, which listens on the pod's loopback.
    pub async fn admin(&self, path: &str) -> Result<String> {
        let script = "import sys, urllib.request; sys.stdout.buffer.write(urllib.request.urlopen(sys.argv[1]).read())";
        let (port, mut command) = match self.kind {
            Kind::Istio => (15000, Command::new("python3")),
            Kind::EnvoyGateway => {
                let mut command = Command::new("nsenter");
                command.arg(format!("--net=/run/netns/{}", crate::network::NETWORK));
                command.arg("python3");
                (19000, command)
            }
        };
        let url = format!("http://127.0.0.1:{port}{path}");
        command.args(["-c", script, &url]);
        let asked = tokio::task::spawn_blocking(move || command.output()).await??;
        let said = String::from_utf8_lossy(&asked.stderr);
        ensure!(asked.status.success(), "{url}: {said}");
        Ok(String::from_utf8(asked.stdout)?)
    }

    /// The metrics, where the shipped `PodMonitor`s have Prometheus take them.
    pub async fn metrics(&self) -> Result<String> {
        let port = match self.kind {
            Kind::Istio => 15020,
            Kind::EnvoyGateway => 19001,
        };
        let reply = client::get(SocketAddr::from((POD, port)), "/stats/prometheus").await?;
        ensure!(reply.status == 200, "{reply:?}");
        Ok(reply.text())
    }

    /// Add to the configuration of Istio's mesh, and give the `ConfigMap` as it was before.
    pub async fn change_mesh(&self, added: &str) -> Result<Value> {
        let map = json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "istio", "namespace": "istio-system"},
        });
        let mut before = self.scene.api.get(&map).await?;
        if let Some(metadata) = before["metadata"].as_object_mut() {
            metadata.remove("managedFields");
        }
        let mesh = before["data"]["mesh"].as_str().context("no mesh")?;
        let mut mesh: Value = serde_yaml_ng::from_str(mesh)?;
        let added: Value = serde_yaml_ng::from_str(added)?;
        for (name, value) in added.as_object().into_iter().flatten() {
            match (mesh[name].as_object_mut(), value.as_object()) {
                (Some(there), Some(value)) => there.extend(value.clone()),
                _ => mesh[name] = value.clone(),
            }
        }
        let mut after = before.clone();
        after["data"]["mesh"] = json!(mesh.to_string());
        self.put(&after).await?;
        Ok(before)
    }

    /// Start another pod of the proxy beside the first.
    pub async fn start_second_proxy(&mut self) -> Result<()> {
        match &mut self.plane {
            Plane::Istio(istio) => istio.start_second_proxy(&self.scene).await,
            Plane::EnvoyGateway(gateway) => gateway.start_second_proxy(&self.scene).await,
        }
    }

    pub fn stop_second_proxy(&mut self) {
        match &mut self.plane {
            Plane::Istio(istio) => istio.stop_second_proxy(),
            Plane::EnvoyGateway(gateway) => gateway.stop_second_proxy(),
        }
    }

    /// Have the first pod of the proxy end as a kubelet does; gives how long it took.
    pub async fn end_proxy_gracefully(&mut self) -> Result<Duration> {
        let started = Instant::now();
        match &mut self.plane {
            Plane::Istio(istio) => istio.end_proxy().await?,
            Plane::EnvoyGateway(gateway) => gateway.end_proxy(&self.scene).await?,
        }
        Ok(started.elapsed())
    }

    /// How long something took, for the page and for whoever looks on.
    pub fn measured(&self, what: &str, took: Duration) {
        let took = took.as_secs_f64();
        let took = if took < 1.0 {
            format!("{:.0} ms", took * 1000.0)
        } else {
            format!("{took:.1} s")
        };
        self.noted(&format!("{what} after {took}"));
    }

    /// Anything else that is worth knowing.
    pub fn noted(&self, fact: &str) {
        eprintln!("{}: {fact}", self.kind.name());
        let mut facts = self.facts.lock().unwrap_or_else(PoisonError::into_inner);
        facts.push(fact.to_owned());
    }

    pub fn take_facts(&self) -> Vec<String> {
        let mut facts = self.facts.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut facts)
    }

    /// Start the proxy anew, and wait until it says that it is ready.
    pub async fn start_proxy(&mut self) -> Result<()> {
        match &mut self.plane {
            Plane::Istio(istio) => istio.start_proxy(&self.scene).await,
            Plane::EnvoyGateway(gateway) => gateway.start_proxy(&self.scene).await,
        }
    }

    /// The control plane goes away, and its proxy stays.
    pub fn stop_control_plane(&mut self) {
        match &mut self.plane {
            Plane::Istio(istio) => istio.stop(),
            Plane::EnvoyGateway(gateway) => gateway.stop(),
        }
    }

    pub async fn start_control_plane(&mut self) -> Result<()> {
        match &mut self.plane {
            Plane::Istio(istio) => istio.restart(&self.scene).await,
            Plane::EnvoyGateway(gateway) => gateway.restart(&self.scene).await,
        }
    }

    /// As every case begins: everything as shipped, and served.
    pub async fn begin(&mut self) -> Result<()> {
        if !self.is_shipped {
            self.put_shipped().await?;
        }
        self.put(&self.carrier).await?;
        self.until_status(&reader(), 200).await?;
        self.scene.log.clear();
        Ok(())
    }

    /// After a configuration that was refused: have another one served, so that the proxy holds none that it refuses.
    pub async fn recover(&self) -> Result<()> {
        let other = self.configured(|config| {
            if let Some(tenants) = config["organizations"][0]["tenants"].as_array_mut() {
                tenants.push(json!("recovered"));
            }
        });
        self.put(&other).await?;
        let labels = RawRequest::get("/loki/api/v1/labels");
        self.until_status(&by(&["developers"], labels, "recovered"), 200)
            .await?;
        Ok(())
    }

    /// What the logs say, for a case that has failed.
    pub async fn told(&self) -> String {
        let lines: Vec<String> = self
            .proxy_log()
            .lines()
            .rev()
            .take(12)
            .map(|line| line.chars().take(400).collect())
            .collect();
        let status = self.scene.api.get(&self.carrier).await;
        let status = status.map(|it| it["status"].clone()).unwrap_or_default();
        format!(
            "the newest lines first:\n{}\nstatus: {status}",
            lines.join("\n")
        )
    }

    /// What the proxy has written.
    pub fn proxy_log(&self) -> String {
        match &self.plane {
            Plane::Istio(istio) => istio.proxy_log(),
            Plane::EnvoyGateway(gateway) => gateway.proxy_log(),
        }
    }

    /// What the control plane has written.
    pub fn plane_log(&self) -> String {
        match &self.plane {
            Plane::Istio(istio) => istio.plane_log(),
            Plane::EnvoyGateway(gateway) => gateway.plane_log(),
        }
    }

    /// The resource as shipped, changed in its configuration and around it.
    pub fn carrier_with(&self, change: impl FnOnce(&mut Value)) -> Value {
        let mut carrier = self.carrier.clone();
        change(&mut carrier);
        carrier
    }

    /// The same for the gate's configuration alone.
    pub fn configured(&self, change: impl FnOnce(&mut Value)) -> Value {
        let (kind, form) = (self.kind, self.form);
        self.carrier_with(|carrier| {
            change(match (kind, form) {
                (Kind::Istio, _) => &mut carrier["spec"]["pluginConfig"],
                (_, Form::Wasm) => &mut carrier["spec"]["wasm"][0]["config"],
                (_, Form::Native) => &mut carrier["spec"]["dynamicModule"][0]["config"],
            });
        })
    }

    /// Put it into the place of what is there.
    ///
    /// # Errors
    /// The API refuses it.
    pub async fn put(&self, document: &Value) -> Result<()> {
        let answer = self.scene.api.replace(document).await?;
        match answer.refusal() {
            None => Ok(()),
            Some(refusal) => bail!("{}: {refusal}", answer.status),
        }
    }

    pub async fn delete_carrier(&self) -> Result<()> {
        self.scene.api.delete(&self.carrier).await
    }

    /// Its type, status and reason, and whether they are of the resource as it stands; nothing if there is no status.
    pub async fn condition(&self) -> Result<Option<String>> {
        let carrier = self.scene.api.get(&self.carrier).await?;
        let condition = &carrier["status"]["ancestors"][0]["conditions"][0];
        let Some(kind) = condition["type"].as_str() else {
            return Ok(None);
        };
        let (status, reason) = (&condition["status"], &condition["reason"]);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let stale = condition["observedGeneration"] != carrier["metadata"]["generation"];
        let stale = if stale { " (stale)" } else { "" };
        Ok(Some(format!(
            "{kind}={} {}{stale}",
            text(status),
            text(reason)
        )))
    }

    pub fn target(&self) -> Target {
        self.target_at(POD)
    }

    /// The second pod.
    pub fn second_target(&self) -> Target {
        self.target_at(SECOND_POD)
    }

    fn target_at(&self, pod: Ipv4Addr) -> Target {
        let port = match self.kind {
            Kind::Istio => 443,
            // Its proxy listens without privileges.
            Kind::EnvoyGateway => 10443,
        };
        Target::tls(
            SocketAddr::from((pod, port)),
            &self.scene.authority.der(),
            HOST,
        )
    }

    pub async fn send(&self, request: &RawRequest) -> Result<Reply> {
        request.send(&self.target(), Protocol::H2).await
    }

    /// The status of the answer; none if there is no answer.
    pub async fn status(&self, request: &RawRequest) -> Option<u16> {
        self.send(request).await.ok().map(|reply| reply.status)
    }

    /// Wait until such a request is answered so, and say how long that took.
    pub async fn until_status(&self, request: &RawRequest, status: u16) -> Result<Duration> {
        self.until_status_at(&self.target(), request, status).await
    }

    /// The same, at that pod.
    pub async fn until_status_at(
        &self,
        target: &Target,
        request: &RawRequest,
        status: u16,
    ) -> Result<Duration> {
        self.until(target, LIVE, request, status).await
    }

    /// The same, for a change that may take that long.
    pub async fn until_status_within(
        &self,
        within: Duration,
        request: &RawRequest,
        status: u16,
    ) -> Result<Duration> {
        self.until(&self.target(), within, request, status).await
    }

    /// The same, at that pod.
    pub async fn until(
        &self,
        target: &Target,
        within: Duration,
        request: &RawRequest,
        status: u16,
    ) -> Result<Duration> {
        let started = Instant::now();
        loop {
            let got = request.send(target, Protocol::H2).await;
            let got = got.ok().map(|reply| reply.status);
            if got == Some(status) {
                return Ok(started.elapsed());
            }
            ensure!(
                started.elapsed() < within,
                "{got:?} instead of {status} for {within:?}"
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Send it, and give the one request that has reached a backend.
    pub async fn pass(&self, request: &RawRequest) -> Result<Seen> {
        self.scene.log.clear();
        let reply = self.send(request).await?;
        ensure!((200..300).contains(&reply.status), "{reply:?}");
        let mut all = self.scene.log.all();
        ensure!(all.len() == 1, "{all:?}");
        all.pop().context("a request")
    }

    /// Send it, and see that it is answered so and that no backend has seen it.
    pub async fn refuse(&self, request: &RawRequest, status: u16) -> Result<Reply> {
        self.scene.log.clear();
        let reply = self.send(request).await?;
        ensure!(reply.status == status, "not {status}: {reply:?}");
        let seen = self.scene.log.all();
        ensure!(seen.is_empty(), "{seen:?}");
        Ok(reply)
    }
}

fn text(kind: Kind, form: Form, file: &str) -> Result<String> {
    let folder = paths::repository().join(kind.folder());
    let mut path = folder.join(form.folder()).join(file);
    if !path.exists() {
        path = folder.join(file);
    }
    fs::read_to_string(&path).with_context(|| path.display().to_string())
}

/// With the digest of the image in which that form is.
fn shipped(kind: Kind, form: Form, file: &str, scene: &Scene) -> Result<Vec<Value>> {
    let digest = match form {
        Form::Wasm => scene.digest.as_str(),
        Form::Native => scene.native_digest()?,
    };
    let documents = documents(&text(kind, form, file)?)?.into_iter();
    let pinned = documents.map(|it| it.to_string().replace(&"0".repeat(64), digest));
    Ok(pinned
        .map(|it| serde_json::from_str(&it))
        .collect::<Result<_, _>>()?)
}

fn carrier(kind: Kind, form: Form, scene: &Scene) -> Result<Value> {
    let shipped = shipped(kind, form, kind.carrier(), scene)?;
    shipped.into_iter().next().context("it carries nothing")
}

/// The places of what stands in the one and not in the other.
pub fn lost(written: &Value, there: &Value) -> Vec<String> {
    match (written, there) {
        (Value::Object(written), Value::Object(there)) => {
            let members = written.iter().flat_map(|(name, value)| {
                let other = there.get(name).unwrap_or(&Value::Null);
                let places = lost(value, other).into_iter();
                places.map(move |place| format!(".{name}{place}"))
            });
            members.collect()
        }
        (Value::Array(written), Value::Array(there)) if written.len() == there.len() => {
            let elements = written.iter().zip(there).enumerate();
            let elements = elements.flat_map(|(position, (value, other))| {
                let places = lost(value, other).into_iter();
                places.map(move |place| format!("[{position}]{place}"))
            });
            elements.collect()
        }
        (written, there) if written == there => Vec::new(),
        _ => vec![String::new()],
    }
}

/// A token of the shipped configuration's provider.
pub fn token(groups: &[&str]) -> Result<String> {
    let recipe = Recipe::of("reader").claim("sub", "ann");
    drill::fresh(recipe.claim("groups", json!(groups)))
}

/// Somebody who may read asks for the names of labels.
pub fn reader() -> RawRequest {
    by(
        &["developers"],
        RawRequest::get("/loki/api/v1/labels"),
        "platform",
    )
}

/// A request of somebody in these groups.
pub fn by(groups: &[&str], request: RawRequest, tenant: &str) -> RawRequest {
    request
        .bearer(&token(groups).unwrap_or_default())
        .tenant(tenant)
}
