//! A Kubernetes API without a cluster: etcd and kube-apiserver as processes on loopback, and an administrator there.

use std::collections::HashMap;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::KeyPair;
use serde::Deserialize as _;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::authority::Authority;
use crate::client::{RawRequest, Target, h1};
use crate::part;
use crate::process::{Process, free_port};

/// How long a server may take to begin.
const PATIENCE: Duration = Duration::from_secs(60);

/// The API's name for programs in a cluster.
pub const IN_A_CLUSTER: &str = "kubernetes.default.svc";

/// What an administrator shows.
const ADMIN: &str = "administrator-of-one-test-run";

/// The handle. Fields end in this order: a graceful end of the API would hang once etcd is gone, so both are killed.
pub struct KubernetesApi {
    api: Option<Process>,
    etcd: Option<Process>,
    folder: TempDir,
    etcd_port: u16,
    peer_port: u16,
    port: u16,
    authority: Authority,
    /// The name of a kind in paths, and whether it is in namespaces, by version and kind.
    kinds: Mutex<HashMap<(String, String), (String, bool)>>,
}

/// What the API answers.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub body: Value,
    pub warnings: Vec<String>,
}

impl Answer {
    /// Why it was refused, as the API says it; nothing if it was not.
    #[must_use]
    pub fn refusal(&self) -> Option<&str> {
        let message = self.body["message"].as_str().unwrap_or("without a message");
        (self.status >= 300).then_some(message)
    }
}

impl KubernetesApi {
    /// Start both servers.
    pub async fn start() -> Result<Self> {
        let authority = Authority::new()?;
        let folder = tempfile::tempdir()?;
        let write = |name: &str, content: String| fs::write(folder.path().join(name), content);
        let (certificate, key) = authority.issue(&["localhost", "127.0.0.1", IN_A_CLUSTER])?;
        write("tls.crt", certificate)?;
        write("tls.key", key)?;
        let accounts = KeyPair::generate()?;
        write("accounts.key", accounts.serialize_pem())?;
        write("accounts.pub", accounts.public_key_pem())?;
        write(
            "tokens.csv",
            format!("{ADMIN},admin,admin,system:masters\n"),
        )?;
        let (etcd_port, peer_port, port) = (free_port()?, free_port()?, free_port()?);
        let mut api = Self {
            api: None,
            etcd: None,
            folder,
            etcd_port,
            peer_port,
            port,
            authority,
            kinds: Mutex::default(),
        };
        api.start_servers().await?;
        Ok(api)
    }

    /// Start what does not run of the two.
    pub async fn start_servers(&mut self) -> Result<()> {
        let folder = self.folder.path();
        if self.etcd.is_none() {
            let command = etcd(folder, self.etcd_port, self.peer_port)?;
            self.etcd = Some(Process::start_in(
                "etcd",
                command,
                &folder.join("etcd.log"),
            )?);
        }
        if self.api.is_none() {
            let command = api_server(folder, self.etcd_port, self.port)?;
            let log = folder.join("apiserver.log");
            let mut process = Process::start_in("kube-apiserver", command, &log)?;
            let ready = async || {
                let answer = self.call("GET", "/readyz", &Value::Null).await;
                answer.is_ok_and(|answer| answer.status == 200)
            };
            process.wait_until("ready", PATIENCE, ready).await?;
            self.api = Some(process);
        }
        Ok(())
    }

    /// Kill the API, as an outage does.
    pub fn stop_api(&mut self) {
        drop(self.api.take());
    }

    /// Kill it with its store, which keeps what was written.
    pub fn stop(&mut self) {
        self.stop_api();
        drop(self.etcd.take());
    }

    /// Whether the API runs.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.api.is_some()
    }

    /// Where it listens on loopback.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whose certificate it shows.
    #[must_use]
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// A file for clients that show that token.
    #[must_use]
    pub fn kubeconfig(&self, token: &str) -> String {
        let ca = STANDARD.encode(self.authority.pem());
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": {
                "server": format!("https://127.0.0.1:{}", self.port),
                "certificate-authority-data": ca,
            }}],
            "users": [{"name": "test", "user": {"token": token}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
            "current-context": "test",
        });
        config.to_string()
    }

    /// The same for an administrator.
    #[must_use]
    pub fn admin_kubeconfig(&self) -> String {
        self.kubeconfig(ADMIN)
    }

    /// What the API wrote into its log.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("apiserver.log")).unwrap_or_default()
    }

    /// Ask for something, with a body of JSON or none.
    pub async fn call(&self, method: &str, path: &str, body: &Value) -> Result<Answer> {
        let kind = match method {
            "PATCH" => "application/merge-patch+json",
            _ => "application/json",
        };
        self.send(method, path, kind, body).await
    }

    async fn send(&self, method: &str, path: &str, kind: &str, body: &Value) -> Result<Answer> {
        let bytes = if body.is_null() {
            Vec::new()
        } else {
            serde_json::to_vec(body)?
        };
        let address = SocketAddr::from(([127, 0, 0, 1], self.port));
        let target = Target::tls(address, &self.authority.der(), "localhost");
        let request = RawRequest {
            authority: Some(b"localhost".to_vec()),
            body: bytes,
            ..RawRequest::new(method, path)
        };
        let request = request
            .header("authorization", format!("Bearer {ADMIN}"))
            .header("accept", "application/json")
            .header("content-type", kind);
        let reply = h1::exchange(&target, &request).await?;
        let (status, warnings) = (reply.status, reply.all("warning"));
        let bytes = reply.body;
        // Not everything that it says is JSON.
        let body = serde_json::from_slice(&bytes)
            .unwrap_or_else(|_| json!({"message": String::from_utf8_lossy(&bytes)}));
        Ok(Answer {
            status,
            body,
            warnings,
        })
    }

    /// Where a document stands.
    pub async fn path_of(&self, document: &Value) -> Result<String> {
        let collection = self.collection_of(document).await?;
        let name = document["metadata"]["name"].as_str().context("no name")?;
        Ok(format!("{collection}/{name}"))
    }

    async fn collection_of(&self, document: &Value) -> Result<String> {
        let version = document["apiVersion"].as_str().context("no version")?;
        let kind = document["kind"].as_str().context("no kind")?;
        let base = if version.contains('/') {
            format!("/apis/{version}")
        } else {
            format!("/api/{version}")
        };
        let key = (version.to_owned(), kind.to_owned());
        let known = {
            let kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
            kinds.get(&key).cloned()
        };
        let (plural, namespaced) = if let Some(known) = known {
            known
        } else {
            let answer = self.call("GET", &base, &Value::Null).await?;
            let resources = answer.body["resources"].as_array().into_iter().flatten();
            let mut found = resources.filter(|it| {
                it["kind"] == kind && it["name"].as_str().is_some_and(|name| !name.contains('/'))
            });
            let found = found
                .next()
                .with_context(|| format!("no {kind} in {version}"))?;
            let plural = found["name"].as_str().unwrap_or_default().to_owned();
            let found = (plural, found["namespaced"] == true);
            let mut kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
            kinds.insert(key, found.clone());
            found
        };
        let namespace = document["metadata"]["namespace"]
            .as_str()
            .unwrap_or("default");
        Ok(if namespaced {
            format!("{base}/namespaces/{namespace}/{plural}")
        } else {
            format!("{base}/{plural}")
        })
    }

    /// Apply a document as `kubectl apply --server-side --validate=strict` does, and say what the API answers.
    pub async fn try_apply(&self, document: &Value) -> Result<Answer> {
        let path = self.path_of(document).await?;
        let path = format!("{path}?fieldManager=tests&force=true&fieldValidation=Strict");
        self.send("PATCH", &path, "application/apply-patch+yaml", document)
            .await
    }

    /// Have the API take a document; gives its warnings.
    ///
    /// # Errors
    /// It refuses.
    pub async fn apply(&self, document: &Value) -> Result<Vec<String>> {
        let answer = self.try_apply(document).await?;
        if let Some(refusal) = answer.refusal() {
            let (kind, name) = (&document["kind"], &document["metadata"]["name"]);
            bail!("{kind} {name} is refused with {}: {refusal}", answer.status);
        }
        Ok(answer.warnings)
    }

    /// Put a document into the place of the one that is there, so that nothing of that is left.
    pub async fn replace(&self, document: &Value) -> Result<Answer> {
        const CONFLICT: u16 = 409;
        let path = self.path_of(document).await?;
        let mut document = document.clone();
        loop {
            let current = self.call("GET", &path, &Value::Null).await?;
            let answer = if current.status == 404 {
                document["metadata"]["resourceVersion"] = Value::Null;
                let path = self.collection_of(&document).await?;
                let path = format!("{path}?fieldValidation=Strict");
                self.call("POST", &path, &document).await?
            } else {
                let version = &current.body["metadata"]["resourceVersion"];
                document["metadata"]["resourceVersion"] = version.clone();
                let path = format!("{path}?fieldValidation=Strict");
                self.call("PUT", &path, &document).await?
            };
            // A controller has written its status meanwhile.
            if answer.status != CONFLICT {
                return Ok(answer);
            }
        }
    }

    /// As it stands there.
    ///
    /// # Errors
    /// It does not.
    pub async fn get(&self, document: &Value) -> Result<Value> {
        let answer = self
            .call("GET", &self.path_of(document).await?, &Value::Null)
            .await?;
        match answer.refusal() {
            None => Ok(answer.body),
            Some(refusal) => bail!("{refusal}"),
        }
    }

    /// Delete it, if it is there.
    pub async fn delete(&self, document: &Value) -> Result<()> {
        let answer = self
            .call("DELETE", &self.path_of(document).await?, &Value::Null)
            .await?;
        ensure!(
            answer.status == 404 || answer.refusal().is_none(),
            "{answer:?}"
        );
        Ok(())
    }

    /// A token of a service account, for that audience or for the API, bound to a pod if one is given as a reference.
    pub async fn token(
        &self,
        namespace: &str,
        account: &str,
        audience: Option<&str>,
        pod: Option<&Value>,
    ) -> Result<String> {
        let mut spec = json!({"expirationSeconds": 7200});
        if let Some(audience) = audience {
            spec["audiences"] = json!([audience]);
        }
        if let Some(pod) = pod {
            spec["boundObjectRef"] = pod.clone();
        }
        let request = json!({
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": spec,
        });
        let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token");
        let answer = self.call("POST", &path, &request).await?;
        let token = answer.body["status"]["token"].as_str();
        Ok(token.with_context(|| format!("{answer:?}"))?.to_owned())
    }

    /// Wait until every definition of a resource is served.
    pub async fn until_defined(&self) -> Result<()> {
        let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = self.call("GET", path, &Value::Null).await?;
            let mut items = answer.body["items"].as_array().into_iter().flatten();
            let established = items.all(|item| {
                let mut conditions = item["status"]["conditions"]
                    .as_array()
                    .into_iter()
                    .flatten();
                conditions.any(|it| it["type"] == "Established" && it["status"] == "True")
            });
            if established {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "not within {PATIENCE:?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// The documents of a file in YAML.
///
/// # Errors
/// It is no YAML.
pub fn documents(text: &str) -> Result<Vec<Value>> {
    let documents = serde_yaml_ng::Deserializer::from_str(text);
    let documents: Vec<Value> = documents
        .map(Value::deserialize)
        .collect::<Result<_, serde_yaml_ng::Error>>()?;
    Ok(documents.into_iter().filter(|it| !it.is_null()).collect())
}

/// A program of the part.
///
/// # Errors
/// The part is nowhere.
pub fn program(name: &str) -> Result<Command> {
    Ok(Command::new(
        part::KUBERNETES.find()?.join("bin").join(name),
    ))
}

fn etcd(folder: &Path, port: u16, peer_port: u16) -> Result<Command> {
    let mut command = program("etcd")?;
    let (url, peer) = (
        format!("http://127.0.0.1:{port}"),
        format!("http://127.0.0.1:{peer_port}"),
    );
    command
        .arg("--name=test")
        .arg(format!("--data-dir={}", folder.join("etcd").display()))
        .args([
            format!("--listen-client-urls={url}"),
            format!("--advertise-client-urls={url}"),
        ])
        .args([
            format!("--listen-peer-urls={peer}"),
            format!("--initial-advertise-peer-urls={peer}"),
        ])
        .arg(format!("--initial-cluster=test={peer}"))
        // Nothing here outlives the run.
        .args(["--unsafe-no-fsync", "--log-level=warn"]);
    Ok(command)
}

fn api_server(folder: &Path, etcd_port: u16, port: u16) -> Result<Command> {
    let file = |name: &str| folder.join(name).display().to_string();
    let mut command = program("kube-apiserver")?;
    command
        .arg(format!("--etcd-servers=http://127.0.0.1:{etcd_port}"))
        .args([
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            "--endpoint-reconciler-type=none",
        ])
        .arg(format!("--secure-port={port}"))
        .arg("--service-cluster-ip-range=10.96.0.0/16")
        // Webhooks are then asked at their endpoints, for which no other program is needed.
        .args(["--enable-aggregator-routing=true", "--allow-privileged"])
        .arg(format!("--tls-cert-file={}", file("tls.crt")))
        .arg(format!("--tls-private-key-file={}", file("tls.key")))
        .arg(format!("--token-auth-file={}", file("tokens.csv")))
        .arg(format!(
            "--service-account-key-file={}",
            file("accounts.pub")
        ))
        .arg(format!(
            "--service-account-signing-key-file={}",
            file("accounts.key")
        ))
        .arg("--service-account-issuer=https://kubernetes.default.svc")
        .args(["--authorization-mode=RBAC", "--profiling=false"])
        .arg(format!("--cert-dir={}", file("certificates")));
    Ok(command)
}
