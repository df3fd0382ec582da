//! What runs the gate, and which files it needs.

use minijinja::Value;
use serde_yaml_ng::{Mapping, Value as Yaml};

use super::document::Document;
use super::files::File;
use super::form::Form;
use super::section::Problems;
use super::templates::Template;
use super::{hosted, istio, view};
use crate::config::Problem;

/// What runs the gate.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub(super) enum Target {
    /// Plain Envoy: its bootstrap, and the file from which it takes the gate.
    Envoy,
    /// Istio, by the Gateway API.
    Istio,
    /// Envoy Gateway.
    EnvoyGateway,
    /// Plain Envoy as a Deployment, a base for kustomize.
    Kubernetes,
}

impl Target {
    pub(super) const fn templates(self) -> &'static [Template] {
        match self {
            Self::Envoy => &ENVOY,
            Self::Istio => &ISTIO,
            Self::EnvoyGateway => &GATEWAY,
            Self::Kubernetes => &KUBERNETES,
        }
    }

    /// Whether a file is one that Envoy does not look at again while it runs.
    pub(super) fn is_read_at_start(self, path: &str) -> bool {
        self == Self::Envoy && path == "envoy.yaml"
    }

    /// Whether its files are resources that can be applied in one stream.
    pub(super) const fn is_stream(self) -> bool {
        matches!(self, Self::Istio | Self::EnvoyGateway)
    }

    /// Whether it can load that form of the module.
    pub(super) const fn takes(self, form: Form) -> bool {
        matches!(
            (self, form),
            (_, Form::Wasm) | (Self::Envoy | Self::EnvoyGateway, Form::Native)
        )
    }

    /// What the templates see.
    pub(super) fn view(self, document: &Document, form: Form) -> Value {
        match self {
            Self::Envoy => view::envoy(document, form),
            Self::Istio => view::istio(document, &self.document(document, form)),
            Self::EnvoyGateway => view::gateway(document, &self.document(document, form), form),
            Self::Kubernetes => view::kubernetes(document),
        }
    }

    /// The gate's own document as this target wants it.
    fn document(self, document: &Document, form: Form) -> Mapping {
        match (self, form) {
            // Its workers are of one process, so it has nothing to share.
            (Self::Envoy | Self::Kubernetes, _) | (_, Form::Native) => document.gate.clone(),
            (Self::Istio, _) => hosted::document(document, istio::cluster),
            (Self::EnvoyGateway, _) => hosted::document(document, |cluster| cluster.name.clone()),
        }
    }

    /// What is wrong with a deployment that another target would take.
    pub(super) fn problems(self, document: &Document, form: Form) -> Vec<Problem> {
        let problems = Problems::default();
        match self {
            Self::Envoy => form.check(document, &problems),
            Self::Istio => {
                hosted::check(document, &problems);
                istio::check(document, &problems);
            }
            Self::EnvoyGateway => hosted::check(document, &problems),
            Self::Kubernetes => hosted::check_image(document, &problems),
        }
        problems.into_vec()
    }

    /// Reads again what was printed: all of it is YAML, and the gate's document in it is the
    /// one that went in.
    ///
    /// # Errors
    /// It is not, which is a fault of this program.
    pub(super) fn check(
        self,
        document: &Document,
        form: Form,
        files: &[File],
    ) -> Result<(), String> {
        let mut held = None;
        for file in files {
            let documents = file
                .documents()
                .map_err(|error| format!("{}: {error}", file.path))?;
            held = held.or_else(|| documents.iter().find_map(|it| self.gate(it)));
        }
        let gate = Yaml::Mapping(self.document(document, form));
        if held.as_ref() == Some(&gate) {
            Ok(())
        } else {
            Err("the configuration is not what went in".to_owned())
        }
    }

    /// The gate's document in a manifest, if that is the one which has it.
    fn gate(self, manifest: &Yaml) -> Option<Yaml> {
        match self {
            Self::Envoy | Self::Kubernetes => {
                let resource = manifest.get("resources")?.get(0)?;
                let typed = resource.get("typed_config")?;
                let wasm = typed.get("config").and_then(|it| it.get("configuration"));
                let configuration = wasm.or_else(|| typed.get("filter_config"))?;
                let text = configuration.get("value")?.as_str()?;
                serde_json::from_str(text).ok()
            }
            Self::Istio => manifest.get("spec")?.get("pluginConfig").cloned(),
            Self::EnvoyGateway => {
                let spec = manifest.get("spec")?;
                let module = spec.get("wasm").or_else(|| spec.get("dynamicModule"))?;
                module.get(0)?.get("config").cloned()
            }
        }
    }
}

/// The folder of what only some want: it is written, but neither part of the stream that can be
/// applied nor of the base for kustomize.
pub(super) const EXTRAS: &str = "extras/";

/// What makes a folder a base for kustomize.
pub(super) const KUSTOMIZATION: &str = "kustomization.yaml";

const BOOTSTRAP: Template = Template {
    file: "envoy.yaml",
    text: include_str!("templates/envoy/envoy.yaml"),
};

const FILTER: Template = Template {
    file: "ecds/scopegate.yaml",
    text: include_str!("templates/envoy/ecds.yaml"),
};

const ENVOY: [Template; 2] = [BOOTSTRAP, FILTER];

const KUBERNETES: [Template; 7] = [
    BOOTSTRAP,
    FILTER,
    Template {
        file: "workload.yaml",
        text: include_str!("templates/kubernetes/workload.yaml"),
    },
    Template {
        file: "service.yaml",
        text: include_str!("templates/kubernetes/service.yaml"),
    },
    Template {
        file: "disruption.yaml",
        text: include_str!("templates/kubernetes/disruption.yaml"),
    },
    Template {
        file: "network.yaml",
        text: include_str!("templates/kubernetes/network.yaml"),
    },
    Template {
        file: KUSTOMIZATION,
        text: include_str!("templates/kubernetes/kustomization.yaml"),
    },
];

// In the order in which they are applied: nothing leads to a backend before the gate is there.
const ISTIO: [Template; 11] = [
    Template {
        file: "provider.yaml",
        text: include_str!("templates/istio/provider.yaml"),
    },
    Template {
        file: "gateway.yaml",
        text: include_str!("templates/istio/gateway.yaml"),
    },
    Template {
        file: "envoyfilter.yaml",
        text: include_str!("templates/istio/envoyfilter.yaml"),
    },
    Template {
        file: "plugin.yaml",
        text: include_str!("templates/istio/plugin.yaml"),
    },
    Template {
        file: "grants.yaml",
        text: include_str!("templates/istio/grants.yaml"),
    },
    Template {
        file: "routes.yaml",
        text: include_str!("templates/istio/routes.yaml"),
    },
    Template {
        file: KUSTOMIZATION,
        text: include_str!("templates/istio/kustomization.yaml"),
    },
    Template {
        file: "extras/access-log.yaml",
        text: include_str!("templates/istio/extras/access-log.yaml"),
    },
    Template {
        file: "extras/admission.yaml",
        text: include_str!("templates/istio/extras/admission.yaml"),
    },
    Template {
        file: "extras/authorization.yaml",
        text: include_str!("templates/istio/extras/authorization.yaml"),
    },
    Template {
        file: "extras/network.yaml",
        text: include_str!("templates/istio/extras/network.yaml"),
    },
];

const GATEWAY: [Template; 8] = [
    Template {
        file: "gateway.yaml",
        text: include_str!("templates/gateway/gateway.yaml"),
    },
    Template {
        file: "policy.yaml",
        text: include_str!("templates/gateway/policy.yaml"),
    },
    Template {
        file: "backends.yaml",
        text: include_str!("templates/gateway/backends.yaml"),
    },
    Template {
        file: "traffic.yaml",
        text: include_str!("templates/gateway/traffic.yaml"),
    },
    Template {
        file: "routes.yaml",
        text: include_str!("templates/gateway/routes.yaml"),
    },
    Template {
        file: KUSTOMIZATION,
        text: include_str!("templates/gateway/kustomization.yaml"),
    },
    Template {
        file: "extras/admission.yaml",
        text: include_str!("templates/gateway/extras/admission.yaml"),
    },
    Template {
        file: "extras/network.yaml",
        text: include_str!("templates/gateway/extras/network.yaml"),
    },
];
