//! Requests to a cluster: for the definition and for a list, and how they fail.

use std::fmt;

use kube::api::{Api, ApiResource, DynamicObject, ListParams};
use kube::core::GroupVersionKind;
use kube::{Client, Config};
use tokio::time::{Duration, timeout};

use crate::resources::grafana::{GROUP, KIND, PLURAL, Version};

/// The longest time that a request other than a watch may take.
pub(super) const REQUEST: Duration = Duration::from_secs(30);

/// The longest time that connecting may take.
const CONNECT: Duration = Duration::from_secs(5);

/// The number of resources in one page of a list.
const PAGE: u32 = 500;

/// Creates a client for the cluster that the environment names: with `KUBECONFIG`, or the pod's
/// own.
///
/// # Errors
/// There is none, or its files cannot be used.
pub async fn client() -> Result<Client, String> {
    let mut config = Config::infer().await.map_err(|error| error.to_string())?;
    config.connect_timeout = Some(CONNECT);
    Client::try_from(config).map_err(|error| error.to_string())
}

/// The API resource of definitions.
pub(super) fn definitions() -> ApiResource {
    let kind = GroupVersionKind::gvk("apiextensions.k8s.io", "v1", "CustomResourceDefinition");
    ApiResource::from_gvk_with_plural(&kind, "customresourcedefinitions")
}

/// The API resource of organizations, in that version.
pub(super) fn resources(version: Version) -> ApiResource {
    let kind = GroupVersionKind::gvk(GROUP, version.name(), KIND);
    ApiResource::from_gvk_with_plural(&kind, PLURAL)
}

/// Why a round ends early. What is served stays.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The API does not answer, or answers something else than what was requested.
    Api(String),
    /// The definition does not exist or is being deleted. The resources that disappear with it
    /// were not withdrawn by anybody.
    Definition(&'static str),
    /// Events were missed, so everything is listed again.
    Missed,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Api(why) => f.write_str(why),
            Self::Definition(why) => f.write_str(why),
            Self::Missed => f.write_str("events were missed"),
        }
    }
}

impl From<kube::Error> for Trouble {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) if status.code == 410 => Self::Missed,
            kube::Error::Api(status) => Self::Api(format!("{} {}", status.code, status.message)),
            error => Self::Api(error.to_string()),
        }
    }
}

/// The properties of the definition that matter.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Definition {
    /// Its identity. A definition with another identity has other resources.
    pub(super) uid: String,
    /// The version to request.
    pub(super) version: Version,
}

/// The definition, if it exists and is not being deleted. `answered` is called when there is an
/// answer.
pub(super) async fn definition(
    definitions: &Api<DynamicObject>,
    answered: impl FnOnce(),
) -> Result<Definition, Trouble> {
    let name = format!("{PLURAL}.{GROUP}");
    let asked = timeout(REQUEST, definitions.get_opt(&name)).await;
    let found = asked.map_err(|_| Trouble::Api("no answer".to_owned()))??;
    let Some(found) = found else {
        return Err(Trouble::Definition("the definition is not there"));
    };
    answered();
    if found.metadata.deletion_timestamp.is_some() {
        return Err(Trouble::Definition("the definition is being deleted"));
    }
    let version = served_version(&found.data).ok_or(Trouble::Definition(
        "the definition serves no version that is known",
    ))?;
    Ok(Definition {
        uid: found.metadata.uid.unwrap_or_default(),
        version,
    })
}

/// All resources at one moment, and the resource version of that moment.
pub(super) async fn list(api: &Api<DynamicObject>) -> Result<(Vec<DynamicObject>, u64), Trouble> {
    let mut objects = Vec::new();
    let mut parameters = ListParams::default().limit(PAGE);
    loop {
        let page = timeout(REQUEST, api.list(&parameters)).await;
        let page = page.map_err(|_| Trouble::Api("no answer".to_owned()))??;
        objects.extend(page.items.into_iter().map(slim));
        let version = page.metadata.resource_version.unwrap_or_default();
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => parameters = ListParams::default().limit(PAGE).continue_token(&token),
            None => return Ok((objects, number(&version)?)),
        }
    }
}

/// Removes what nobody here reads, which is most of an object. Ten thousand objects may be held
/// for a moment.
fn slim(mut object: DynamicObject) -> DynamicObject {
    object.metadata.managed_fields = None;
    object.metadata.annotations = None;
    if let Some(members) = object.data.as_object_mut() {
        members.remove("status");
    }
    object
}

/// Resource versions are numbers that grow. Since Kubernetes 1.35 its documentation says so.
pub(super) fn number(version: &str) -> Result<u64, Trouble> {
    let number = version.parse();
    number.map_err(|_| Trouble::Api(format!("{version:?} is no resource version")))
}

/// The version to request. It is the one that is stored, because it needs no conversion;
/// otherwise it is another known one.
fn served_version(definition: &serde_json::Value) -> Option<Version> {
    let versions = definition.pointer("/spec/versions")?.as_array()?;
    let flag = |version: &serde_json::Value, name: &str| {
        version.get(name).and_then(serde_json::Value::as_bool) == Some(true)
    };
    let served = |version: &&serde_json::Value| flag(version, "served");
    let known = |version: &serde_json::Value| Version::named(version.get("name")?.as_str()?);
    let stored = versions
        .iter()
        .filter(served)
        .filter(|version| flag(version, "storage"))
        .find_map(known);
    stored.or_else(|| versions.iter().filter(served).find_map(known))
}
