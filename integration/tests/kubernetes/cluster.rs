//! etcd and kube-apiserver, each as a process on loopback, and what an administrator does there.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use integration::authority::Authority;
use integration::process::{Process, free_port};
use integration::served::Served;
use integration::{part, paths};
use kube::api::{
    Api, ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams,
};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::GroupVersionKind;
use kube::{Client, Config};
use rcgen::KeyPair;
use serde_json::{Value, json};
use tempfile::TempDir;

/// How long a server may take to begin.
const PATIENCE: Duration = Duration::from_secs(60);

/// The administrator's credential.
const ADMIN: &str = "administrator-of-one-test-run";

/// The handle. Fields end in this order: a graceful end of the API would hang once etcd is gone, so both are killed.
pub struct Cluster {
    api: Option<Process>,
    _etcd: Process,
    folder: TempDir,
    etcd_port: u16,
    port: u16,
    ca: String,
    admin: Client,
    /// Of the shipped service account.
    kubeconfig: String,
}

impl Cluster {
    pub async fn start() -> Result<Cluster> {
        let folder = tempfile::tempdir()?;
        let (etcd_port, peer_port, port) = (free_port()?, free_port()?, free_port()?);
        let authority = Authority::new()?;
        let (certificate, key) = authority.issue(&["localhost", "127.0.0.1"])?;
        fs::write(folder.path().join("tls.crt"), certificate)?;
        fs::write(folder.path().join("tls.key"), key)?;
        let accounts = KeyPair::generate()?;
        fs::write(folder.path().join("accounts.key"), accounts.serialize_pem())?;
        fs::write(
            folder.path().join("accounts.pub"),
            accounts.public_key_pem(),
        )?;
        let admin = format!("{ADMIN},admin,admin,system:masters\n");
        fs::write(folder.path().join("tokens.csv"), admin)?;
        let etcd = Process::start_in(
            "etcd",
            etcd(folder.path(), etcd_port, peer_port)?,
            &folder.path().join("etcd.log"),
        )?;
        let ca = authority.pem();
        let admin = client(&kubeconfig(port, &ca, ADMIN)).await?;
        let mut cluster = Cluster {
            api: None,
            _etcd: etcd,
            folder,
            etcd_port,
            port,
            ca,
            admin,
            kubeconfig: String::new(),
        };
        cluster.start_api().await?;
        cluster.put_definition(&definition()?).await?;
        cluster.install().await?;
        Ok(cluster)
    }

    /// The shipped service account, its role and a token of it.
    async fn install(&mut self) -> Result<()> {
        let namespaces: Api<DynamicObject> =
            Api::all_with(self.admin.clone(), &core("Namespace", "namespaces"));
        put(
            &namespaces,
            &json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "scopegate"}}),
        )
        .await?;
        self.bind().await?;
        let token = self.token("scopegate", "scopegate-organizations").await?;
        let file = self.folder.path().join("kubeconfig");
        fs::write(&file, kubeconfig(self.port, &self.ca, &token))?;
        self.kubeconfig = file.display().to_string();
        Ok(())
    }

    /// The account, its role, and what binds them.
    pub async fn bind(&self) -> Result<()> {
        for document in documents(&shipped("rbac.yaml")?)? {
            put(&self.api_of(&document)?, &document).await?;
        }
        Ok(())
    }

    /// Take the role from the account.
    pub async fn unbind(&self) -> Result<()> {
        for document in documents(&shipped("rbac.yaml")?)? {
            if document["kind"] == "ClusterRoleBinding" {
                let name = document["metadata"]["name"].as_str().context("no name")?;
                let api = self.api_of(&document)?;
                api.delete(name, &DeleteParams::default()).await?;
            }
        }
        Ok(())
    }

    /// Where a document belongs.
    fn api_of(&self, document: &Value) -> Result<Api<DynamicObject>> {
        let version = document["apiVersion"].as_str().context("no version")?;
        let (group, version) = version.split_once('/').unwrap_or(("", version));
        let kind = document["kind"].as_str().context("no kind")?;
        let plural = match kind {
            "NetworkPolicy" => "networkpolicies".to_owned(),
            kind => format!("{}s", kind.to_lowercase()),
        };
        let kind = GroupVersionKind::gvk(group, version, kind);
        let resource = ApiResource::from_gvk_with_plural(&kind, &plural);
        Ok(match document["metadata"]["namespace"].as_str() {
            Some(namespace) => Api::namespaced_with(self.admin.clone(), namespace, &resource),
            None => Api::all_with(self.admin.clone(), &resource),
        })
    }

    /// Has the API take a document.
    pub async fn apply(&self, document: &Value) -> Result<()> {
        put(&self.api_of(document)?, document).await?;
        Ok(())
    }

    /// The API's verdict on a document, without storing it.
    pub async fn dry_run(&self, document: &Value) -> Result<()> {
        let name = document["metadata"]["name"].as_str().context("no name")?;
        let mut parameters = PatchParams::apply("tests").force().dry_run();
        parameters.field_validation = Some(kube::api::ValidationDirective::Strict);
        let patched = self
            .api_of(document)?
            .patch(name, &parameters, &Patch::Apply(document))
            .await;
        patched.with_context(|| name.to_owned())?;
        Ok(())
    }

    async fn token(&self, namespace: &str, account: &str) -> Result<String> {
        let body = json!({
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"expirationSeconds": 3600},
        });
        let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token");
        let request = http_request("POST", &path, &body)?;
        let answer: Value = self.admin.request(request).await?;
        Ok(answer["status"]["token"]
            .as_str()
            .context("no token")?
            .to_owned())
    }

    /// Kill the API, as an outage does.
    pub fn stop_api(&mut self) {
        drop(self.api.take());
    }

    pub async fn start_api(&mut self) -> Result<()> {
        let command = api_server(self.folder.path(), self.etcd_port, self.port)?;
        let log = self.folder.path().join("apiserver.log");
        let mut process = Process::start_in("kube-apiserver", command, &log)?;
        let admin = self.admin.clone();
        let ready = async || {
            let request = http_request("GET", "/readyz", &Value::Null);
            let Ok(request) = request else { return false };
            admin
                .request_text(request)
                .await
                .is_ok_and(|text| text == "ok")
        };
        process.wait_until("ready", PATIENCE, ready).await?;
        self.api = Some(process);
        Ok(())
    }

    /// The command under test with the shipped account, following this cluster.
    pub async fn serve(&self, more: &[&str]) -> Result<Served> {
        let arguments = [&["--kubernetes", "--insecure-http"], more].concat();
        Served::start_with(&arguments, &[("KUBECONFIG", &self.kubeconfig)]).await
    }

    /// A client with the rights of the shipped account.
    pub async fn account(&self) -> Result<Client> {
        client(&fs::read_to_string(&self.kubeconfig)?).await
    }

    fn definitions(&self) -> Api<DynamicObject> {
        definitions(self.admin.clone())
    }

    /// Resources of the newer version.
    pub fn organizations(&self) -> Api<DynamicObject> {
        organizations(self.admin.clone(), "v1alpha2")
    }

    /// Create or change one; gives its resource version.
    pub async fn put(&self, resource: &Value) -> Result<u64> {
        let version = resource["apiVersion"].as_str().unwrap_or_default();
        let version = version.rsplit('/').next().unwrap_or_default();
        put(&organizations(self.admin.clone(), version), resource).await
    }

    /// Change something of one.
    pub async fn patch(&self, name: &str, patch: &Value) -> Result<DynamicObject> {
        let (api, parameters) = (self.organizations(), PatchParams::default());
        Ok(api.patch(name, &parameters, &Patch::Merge(patch)).await?)
    }

    pub async fn delete(&self, name: &str) -> Result<()> {
        self.organizations()
            .delete(name, &DeleteParams::default())
            .await?;
        Ok(())
    }

    /// Create many, sixteen at a time.
    pub async fn create_all(&self, resources: Vec<Value>) -> Result<()> {
        let api = self.organizations();
        let creations = stream::iter(resources.into_iter().map(|resource| {
            let api = api.clone();
            async move {
                let object: DynamicObject = serde_json::from_value(resource)?;
                api.create(&PostParams::default(), &object).await?;
                anyhow::Ok(())
            }
        }));
        creations.buffer_unordered(16).try_collect().await
    }

    /// Delete the definition, and wait until it has gone.
    pub async fn delete_definition(&self) -> Result<()> {
        self.start_deleting_definition().await?;
        self.until_no_definition().await
    }

    /// Ask for the definition to go.
    pub async fn start_deleting_definition(&self) -> Result<()> {
        self.definitions()
            .delete(NAME, &DeleteParams::default())
            .await?;
        Ok(())
    }

    /// Wait until it has gone.
    pub async fn until_no_definition(&self) -> Result<()> {
        self.until("the definition has gone", async |cluster| {
            Ok(cluster.definitions().get_opt(NAME).await?.is_none())
        })
        .await
    }

    /// Put it there, and wait until it serves.
    pub async fn put_definition(&self, definition: &Value) -> Result<()> {
        put(&self.definitions(), definition).await?;
        let version = &definition["spec"]["versions"][0]["name"];
        let api = organizations(self.admin.clone(), version.as_str().context("no version")?);
        self.until("the resource is served", async |_| {
            Ok(api.list(&ListParams::default().limit(1)).await.is_ok())
        })
        .await
    }

    /// The state in which each test begins.
    pub async fn clear(&mut self) -> Result<()> {
        if self.api.is_none() {
            self.start_api().await?;
        }
        if self.definitions().get_opt(NAME).await?.is_none() {
            self.put_definition(&definition()?).await?;
        }
        for object in self.organizations().list(&ListParams::default()).await? {
            let name = object.metadata.name.unwrap_or_default();
            if object.metadata.finalizers.is_some() {
                self.patch(&name, &json!({"metadata": {"finalizers": null}}))
                    .await?;
            }
            // It may have waited for that alone.
            let _ = self.delete(&name).await;
        }
        Ok(())
    }

    /// Wait until that holds.
    pub async fn until(
        &self,
        what: &str,
        holds: impl AsyncFn(&Cluster) -> Result<bool>,
    ) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !holds(self).await? {
            ensure!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }
}

const NAME: &str = "grafanaorganizations.observability.giantswarm.io";

pub fn definitions(client: Client) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("apiextensions.k8s.io", "v1", "CustomResourceDefinition");
    Api::all_with(
        client,
        &ApiResource::from_gvk_with_plural(&kind, "customresourcedefinitions"),
    )
}

pub fn organizations(client: Client, version: &str) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk(
        "observability.giantswarm.io",
        version,
        "GrafanaOrganization",
    );
    Api::all_with(
        client,
        &ApiResource::from_gvk_with_plural(&kind, "grafanaorganizations"),
    )
}

/// A resource of the core's group.
pub fn core(kind: &str, plural: &str) -> ApiResource {
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk("", "v1", kind), plural)
}

async fn put(api: &Api<DynamicObject>, document: &Value) -> Result<u64> {
    let name = document["metadata"]["name"].as_str().context("no name")?;
    let parameters = PatchParams::apply("tests").force();
    let patched = api.patch(name, &parameters, &Patch::Apply(document)).await;
    let object = patched.with_context(|| name.to_owned())?;
    Ok(object
        .metadata
        .resource_version
        .context("no version")?
        .parse()?)
}

/// The definition with all its versions.
pub fn definition() -> Result<Value> {
    let file = paths::integration().join("stack/kubernetes/definition.yaml");
    let mut documents = documents(&fs::read_to_string(file)?)?;
    documents.pop().context("no definition")
}

fn shipped(name: &str) -> Result<String> {
    Ok(fs::read_to_string(
        paths::repository().join("envoy/organizations").join(name),
    )?)
}

/// The output of kustomize for that folder.
pub fn built(folder: &str) -> Result<Vec<Value>> {
    let output = program("kustomize")?
        .arg("build")
        .arg(paths::repository().join(folder))
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{said}");
    documents(&String::from_utf8(output.stdout)?)
}

fn documents(text: &str) -> Result<Vec<Value>> {
    let documents = serde_yaml_ng::Deserializer::from_str(text);
    let documents = documents.map(serde::Deserialize::deserialize);
    Ok(documents.collect::<Result<_, serde_yaml_ng::Error>>()?)
}

fn http_request(method: &str, path: &str, body: &Value) -> Result<hyper::Request<Vec<u8>>> {
    let body = if body.is_null() {
        Vec::new()
    } else {
        serde_json::to_vec(body)?
    };
    let request = hyper::Request::builder().method(method).uri(path);
    Ok(request
        .header("content-type", "application/json")
        .body(body)?)
}

fn kubeconfig(port: u16, ca: &str, token: &str) -> String {
    use base64::Engine as _;
    let ca = base64::engine::general_purpose::STANDARD.encode(ca);
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "test", "cluster": {
            "server": format!("https://127.0.0.1:{port}"),
            "certificate-authority-data": ca,
        }}],
        "users": [{"name": "test", "user": {"token": token}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        "current-context": "test",
    });
    config.to_string()
}

async fn client(kubeconfig: &str) -> Result<Client> {
    let kubeconfig = Kubeconfig::from_yaml(kubeconfig)?;
    let options = KubeConfigOptions::default();
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &options).await?;
    config.connect_timeout = Some(Duration::from_secs(2));
    Ok(Client::try_from(config)?)
}

fn program(name: &str) -> Result<Command> {
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
        .arg("--service-cluster-ip-range=10.96.0.0/24")
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

/// Why the client was refused, by status.
pub fn refused<T>(outcome: kube::Result<T>) -> Result<u16> {
    match outcome {
        Err(kube::Error::Api(status)) => Ok(status.code),
        Err(error) => Err(error.into()),
        Ok(_) => bail!("it was not refused"),
    }
}
