//! A Kubernetes API, and what an administrator does there.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use integration::kubernetes::{KubernetesApi, documents, program};
use integration::paths;
use integration::served::Served;
use kube::api::{
    Api, ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams,
};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::GroupVersionKind;
use kube::{Client, Config};
use serde_json::{Value, json};
use tempfile::TempDir;

/// How long something may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// The handle.
pub struct Cluster {
    servers: KubernetesApi,
    folder: TempDir,
    admin: Client,
    /// Of the shipped service account.
    kubeconfig: String,
}

impl Cluster {
    pub async fn start() -> Result<Cluster> {
        let servers = KubernetesApi::start().await?;
        let admin = client(&servers.admin_kubeconfig()).await?;
        let mut cluster = Cluster {
            servers,
            folder: tempfile::tempdir()?,
            admin,
            kubeconfig: String::new(),
        };
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
        let account = "scopegate-organizations";
        let token = self.servers.token("scopegate", account, None, None).await?;
        let file = self.folder.path().join("kubeconfig");
        fs::write(&file, self.servers.kubeconfig(&token))?;
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

    /// What the API says to a document, without taking it.
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

    /// Kill the API, as an outage does.
    pub fn stop_api(&mut self) {
        self.servers.stop_api();
    }

    pub async fn start_api(&mut self) -> Result<()> {
        self.servers.start_servers().await
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
        if !self.servers.is_up() {
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
    let file = paths::integration().join("control-planes/grafana-organization.yaml");
    let mut documents = documents(&fs::read_to_string(file)?)?;
    documents.pop().context("no definition")
}

fn shipped(name: &str) -> Result<String> {
    Ok(fs::read_to_string(
        paths::repository().join("envoy/organizations").join(name),
    )?)
}

/// What kustomize makes of that folder.
pub fn built(folder: &str) -> Result<Vec<Value>> {
    let output = program("kustomize")?
        .arg("build")
        .arg(paths::repository().join(folder))
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{said}");
    documents(&String::from_utf8(output.stdout)?)
}

async fn client(kubeconfig: &str) -> Result<Client> {
    let kubeconfig = Kubeconfig::from_yaml(kubeconfig)?;
    let options = KubeConfigOptions::default();
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &options).await?;
    config.connect_timeout = Some(Duration::from_secs(2));
    Ok(Client::try_from(config)?)
}

/// Why the client was refused, by status.
pub fn refused<T>(outcome: kube::Result<T>) -> Result<u16> {
    match outcome {
        Err(kube::Error::Api(status)) => Ok(status.code),
        Err(error) => Err(error.into()),
        Ok(_) => bail!("it was not refused"),
    }
}
