//! What a kubelet and the controllers do for one pod of a Deployment: the Pod and its status, its volumes at their
//! paths, its variables, and the endpoints of the Services that select it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use integration::kubernetes::documents;
use integration::process::Process;
use serde_json::{Map, Value, json};

use crate::kubelet;
use crate::scene::{NODE, Scene, crane, said};

/// Which container of which Deployment, and how it runs here.
pub struct Container {
    pub namespace: String,
    pub deployment: String,
    pub name: &'static str,
    /// What its image would start.
    pub entrypoint: Vec<String>,
    /// 1 for the first pod of the Deployment.
    pub replica: u8,
    pub address: Ipv4Addr,
    /// The name of a network of its own, if it has one.
    pub network: Option<&'static str>,
}

impl Container {
    /// The pod's name.
    fn pod(&self) -> String {
        format!("{}-{}", self.deployment, self.replica)
    }

    /// Make the pod and start its container.
    pub async fn start(&self, scene: &Scene) -> Result<Process> {
        let deployment = scene
            .api
            .get(&json!({
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "metadata": {"name": self.deployment, "namespace": self.namespace},
            }))
            .await?;
        let template = &deployment["spec"]["template"];
        let pod = self.make_pod(scene, template).await?;
        // Whoever asks one pod among several knows where it is.
        if self.replica == 1 {
            self.make_endpoints(scene, template).await?;
        }
        self.tell_of_it(scene, &deployment).await?;
        let containers = template["spec"]["containers"].as_array();
        let container = containers
            .into_iter()
            .flatten()
            .find(|container| container["name"] == self.name)
            .with_context(|| format!("no container {}: {template}", self.name))?;
        let root = scene.file(&self.pod());
        let _ = fs::remove_dir_all(&root);
        let first = template["spec"]["initContainers"].as_array();
        for container in first.into_iter().flatten() {
            self.initialize(scene, (&pod, template), container, &root)
                .await?;
        }
        let mut script = self
            .mounts(scene, (&pod, template), container, &root)
            .await?;
        let variables = self.variables(container, &pod);
        let expand = |text: &str| {
            let mut text = text.to_owned();
            for (name, value) in &variables {
                text = text.replace(&format!("$({name})"), value);
            }
            text
        };
        let words = container["command"]
            .as_array()
            .map_or_else(|| self.entrypoint.clone(), |words| texts(words));
        let arguments = container["args"].as_array().map(|it| texts(it));
        script += "cd /\n";
        for (name, value) in &variables {
            writeln!(script, "export {name}={}", quoted(&expand(value)))?;
        }
        script += "exec";
        if let Some(network) = self.network {
            write!(script, " nsenter --net=/run/netns/{network}")?;
        }
        for word in words.into_iter().chain(arguments.unwrap_or_default()) {
            write!(script, " {}", quoted(&expand(&word)))?;
        }
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", &script]);
        let name = match self.replica {
            1 => self.deployment.clone(),
            _ => self.pod(),
        };
        Process::start_in(&name, command, &scene.file(&format!("{name}.log")))
    }

    /// A script that mounts a container's volumes.
    async fn mounts(
        &self,
        scene: &Scene,
        (pod, template): (&Value, &Value),
        container: &Value,
        root: &Path,
    ) -> Result<String> {
        let mut script = "set -e\nmount --make-rprivate /\n".to_owned();
        for mount in container["volumeMounts"].as_array().into_iter().flatten() {
            let place = mount["mountPath"].as_str().context("no path")?;
            let volumes = template["spec"]["volumes"].as_array();
            let volume = volumes
                .into_iter()
                .flatten()
                .find(|volume| volume["name"] == mount["name"]);
            let mut held = root.join(place.trim_start_matches('/'));
            // One for all containers of the pod.
            let shared = volume.is_some_and(|volume| volume["emptyDir"].is_object());
            if shared {
                let name = mount["name"].as_str().context("no name")?;
                held = root.join("volumes").join(name);
            }
            fs::create_dir_all(&held)?;
            if shared {
                fs::set_permissions(&held, fs::Permissions::from_mode(0o777))?;
            } else if let Some(volume) = volume {
                self.fill(scene, pod, volume, &held).await?;
            }
            let held = held.display();
            writeln!(
                script,
                "mkdir -p '{place}'\nmount --bind '{held}' '{place}'"
            )?;
            if shared && mount["readOnly"] == true {
                writeln!(script, "mount -o remount,bind,ro '{place}'")?;
            }
        }
        Ok(script)
    }

    /// Run a container that must end before the others begin. Its image is fetched by its digest, and what is in it lies
    /// over the files of this machine, of which its command is one.
    async fn initialize(
        &self,
        scene: &Scene,
        (pod, template): (&Value, &Value),
        container: &Value,
        root: &Path,
    ) -> Result<()> {
        let image = container["image"].as_str().context("no image")?;
        ensure!(image.contains("@sha256:"), "{image} is no digest");
        let (packed, files) = (root.join("image.tar"), root.join("image"));
        fs::create_dir_all(&files)?;
        said(crane()?.args(["export", image]).arg(&packed))?;
        said(
            Command::new("tar")
                .arg("-C")
                .arg(&files)
                .arg("-xf")
                .arg(&packed),
        )?;
        let mut script = self.mounts(scene, (pod, template), container, root).await?;
        let security = &container["securityContext"];
        let (user, group) = (&security["runAsUser"], &security["runAsGroup"]);
        let (user, group) = (
            user.as_u64().context("no user")?,
            group.as_u64().context("no group")?,
        );
        write!(
            script,
            "for file in '{0}'/*; do touch \"/${{file##*/}}\"; mount --bind \"$file\" \"/${{file##*/}}\"; done\n\
             exec setpriv --reuid {user} --regid {group} --clear-groups --no-new-privs --bounding-set=-all",
            files.display()
        )?;
        for word in texts(container["command"].as_array().context("no command")?) {
            write!(script, " {}", quoted(&word))?;
        }
        said(Command::new("unshare").args(["--mount", "sh", "-c", &script]))?;
        Ok(())
    }

    /// Have the API know of a container that this run starts by hand: its Deployment, as a chart has it, and its pod.
    pub async fn introduce(&self, scene: &Scene, chart: &Path) -> Result<()> {
        let documents = documents(&fs::read_to_string(chart)?)?;
        let mut documents = documents.iter();
        let deployment = documents
            .find(|it| it["kind"] == "Deployment" && it["metadata"]["name"] == *self.deployment)
            .with_context(|| format!("no {} in {}", self.deployment, chart.display()))?;
        scene.api.apply(deployment).await?;
        self.make_pod(scene, &deployment["spec"]["template"])
            .await?;
        Ok(())
    }

    async fn make_pod(&self, scene: &Scene, template: &Value) -> Result<Value> {
        let mut pod = template.clone();
        pod["apiVersion"] = json!("v1");
        pod["kind"] = json!("Pod");
        pod["metadata"]["name"] = json!(self.pod());
        pod["metadata"]["namespace"] = json!(self.namespace);
        pod["spec"]["nodeName"] = json!(kubelet::NAME);
        let path = scene.api.path_of(&pod).await?;
        let gone = format!("{path}?gracePeriodSeconds=0");
        scene.api.call("DELETE", &gone, &Value::Null).await?;
        let made = scene.api.replace(&pod).await?;
        ensure!(made.refusal().is_none(), "{made:?}");
        let created = &made.body["metadata"]["creationTimestamp"];
        let conditions = ["PodScheduled", "Initialized", "ContainersReady", "Ready"]
            .map(|kind| json!({"type": kind, "status": "True", "lastTransitionTime": created}));
        let containers = made.body["spec"]["containers"]
            .as_array()
            .into_iter()
            .flatten();
        let containers = containers.map(|container| {
            json!({
                "name": container["name"],
                "ready": true,
                "restartCount": 0,
                "image": container["image"],
                "imageID": container["image"],
                "state": {"running": {"startedAt": created}},
            })
        });
        let (address, node) = (self.address.to_string(), NODE.to_string());
        let status = json!({"status": {
            "phase": "Running",
            "podIP": address,
            "podIPs": [{"ip": address}],
            "hostIP": node,
            "hostIPs": [{"ip": node}],
            "startTime": created,
            "conditions": conditions,
            "containerStatuses": containers.collect::<Vec<_>>(),
        }});
        let told = scene
            .api
            .call("PATCH", &format!("{path}/status"), &status)
            .await?;
        ensure!(told.refusal().is_none(), "{told:?}");
        Ok(told.body)
    }

    /// Of every Service that selects the pod.
    async fn make_endpoints(&self, scene: &Scene, template: &Value) -> Result<()> {
        let path = format!("/api/v1/namespaces/{}/services", self.namespace);
        let services = scene.api.call("GET", &path, &Value::Null).await?;
        for service in services.body["items"].as_array().into_iter().flatten() {
            let selector = service["spec"]["selector"].as_object();
            let labels = &template["metadata"]["labels"];
            let selects = |selector: &Map<String, Value>| {
                !selector.is_empty() && selector.iter().all(|(name, value)| labels[name] == *value)
            };
            if !selector.is_some_and(selects) {
                continue;
            }
            let ports = service["spec"]["ports"].as_array().into_iter().flatten();
            let ports: Vec<(&str, u16)> = ports
                .map(|port| {
                    let number = port["targetPort"].as_u64().or(port["port"].as_u64());
                    let number = u16::try_from(number.unwrap_or_default()).unwrap_or_default();
                    (port["name"].as_str().unwrap_or_default(), number)
                })
                .collect();
            let name = service["metadata"]["name"].as_str().context("no name")?;
            let pod = self.pod();
            scene
                .put_endpoints(&self.namespace, name, self.address, &ports, Some(&pod))
                .await?;
            // As a load balancer would have it.
            if service["spec"]["type"] == "LoadBalancer" {
                let ingress = json!([{"ip": self.address.to_string()}]);
                let status = json!({"status": {"loadBalancer": {"ingress": ingress}}});
                let path = format!("{path}/{name}/status");
                scene.api.call("PATCH", &path, &status).await?;
            }
        }
        Ok(())
    }

    /// The Deployment's status.
    async fn tell_of_it(&self, scene: &Scene, deployment: &Value) -> Result<()> {
        let now = &deployment["metadata"]["creationTimestamp"];
        let status = json!({"status": {
            "observedGeneration": deployment["metadata"]["generation"],
            "replicas": self.replica,
            "readyReplicas": self.replica,
            "availableReplicas": self.replica,
            "updatedReplicas": self.replica,
            "conditions": [{
                "type": "Available",
                "status": "True",
                "reason": "MinimumReplicasAvailable",
                "message": "",
                "lastTransitionTime": now,
                "lastUpdateTime": now,
            }],
        }});
        let path = scene.api.path_of(deployment).await?;
        scene
            .api
            .call("PATCH", &format!("{path}/status"), &status)
            .await?;
        Ok(())
    }

    /// Write what a volume holds.
    async fn fill(&self, scene: &Scene, pod: &Value, volume: &Value, into: &Path) -> Result<()> {
        let sources = volume["projected"]["sources"].as_array();
        let sources = sources.into_iter().flatten().chain([volume]);
        for source in sources {
            for (kind, api, encoded) in [
                ("configMap", "configmaps", false),
                ("secret", "secrets", true),
            ] {
                let held = &source[kind];
                let name = held["name"].as_str().or(held["secretName"].as_str());
                let Some(name) = name else { continue };
                let path = format!("/api/v1/namespaces/{}/{api}/{name}", self.namespace);
                let document = scene.api.call("GET", &path, &Value::Null).await?;
                let items = held["items"].as_array();
                for (key, value) in document.body["data"].as_object().into_iter().flatten() {
                    let item = items.map(|items| items.iter().find(|item| item["key"] == **key));
                    let file = match item {
                        None => key.as_str(),
                        Some(Some(item)) => item["path"].as_str().context("no path")?,
                        Some(None) => continue,
                    };
                    let text = value.as_str().unwrap_or_default();
                    let content = if encoded {
                        STANDARD.decode(text)?
                    } else {
                        text.as_bytes().to_vec()
                    };
                    write(&into.join(file), &content)?;
                }
            }
            let token = &source["serviceAccountToken"];
            if let Some(file) = token["path"].as_str() {
                let account = pod["spec"]["serviceAccountName"]
                    .as_str()
                    .unwrap_or("default");
                let reference = json!({
                    "kind": "Pod",
                    "apiVersion": "v1",
                    "name": self.pod(),
                    "uid": pod["metadata"]["uid"],
                });
                let audience = token["audience"].as_str();
                let token = scene
                    .api
                    .token(&self.namespace, account, audience, Some(&reference))
                    .await?;
                write(&into.join(file), token.as_bytes())?;
            }
            for item in source["downwardAPI"]["items"]
                .as_array()
                .into_iter()
                .flatten()
            {
                let field = item["fieldRef"]["fieldPath"].as_str().unwrap_or_default();
                let held = pod["metadata"][field.trim_start_matches("metadata.")].as_object();
                let lines = held.into_iter().flatten();
                let lines = lines.map(|(name, value)| format!("{name}={value}"));
                let file = item["path"].as_str().context("no path")?;
                let text = lines.collect::<Vec<_>>().join("\n");
                write(&into.join(file), text.as_bytes())?;
            }
        }
        Ok(())
    }

    fn variables(&self, container: &Value, pod: &Value) -> BTreeMap<String, String> {
        let listed = container["env"].as_array().into_iter().flatten();
        let listed = listed.filter_map(|variable| {
            let name = variable["name"].as_str()?.to_owned();
            let from = &variable["valueFrom"];
            let value = if let Some(field) = from["fieldRef"]["fieldPath"].as_str() {
                let value = match field {
                    "status.podIP" => Some(self.address.to_string()),
                    "status.hostIP" => Some(NODE.to_string()),
                    "spec.nodeName" => Some(kubelet::NAME.to_owned()),
                    field => {
                        let pointer = format!("/{}", field.replace('.', "/"));
                        pod.pointer(&pointer)
                            .and_then(Value::as_str)
                            .map(str::to_owned)
                    }
                };
                value.unwrap_or_default()
            } else if let Some(resource) = from["resourceFieldRef"]["resource"].as_str() {
                match resource {
                    "limits.cpu" => "2".to_owned(),
                    _ => "1073741824".to_owned(),
                }
            } else {
                variable["value"].as_str().unwrap_or_default().to_owned()
            };
            Some((name, value))
        });
        listed.collect()
    }
}

fn write(file: &Path, content: &[u8]) -> Result<()> {
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(file, content)?;
    Ok(())
}

fn texts(words: &[Value]) -> Vec<String> {
    let words = words.iter().filter_map(Value::as_str);
    words.map(str::to_owned).collect()
}

/// As a shell takes it for one word.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}
