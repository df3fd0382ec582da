//! The section `deployment:`: where a gate runs, beside what it says.

use std::collections::BTreeMap;

use serde_yaml_ng::Value;

use super::address::{Address, is_label, is_name};
use super::section::{Problems, Section};
use crate::authz::endpoint::Backend;

/// Where a gate runs.
#[derive(Debug)]
pub(super) struct Deployment {
    /// What clients call it.
    pub(super) host: Option<String>,
    pub(super) tls: Tls,
    pub(super) namespace: String,
    /// The module's image, without tag and digest.
    pub(super) image: Option<String>,
    /// Of that image: 64 digits, without `sha256:`.
    pub(super) digest: Option<String>,
    /// Envoy's image, for plain Envoy in Kubernetes.
    pub(super) envoy_image: String,
    /// The module's file, for plain Envoy.
    pub(super) module: Option<String>,
    /// What the container may have, in MiB.
    pub(super) memory: u64,
    /// Envoy's threads.
    pub(super) workers: u64,
    pub(super) replicas: u64,
    /// The file of the authorities that are believed.
    pub(super) trusted_ca: String,
    pub(super) loki: Option<Servers>,
    pub(super) mimir: Option<Servers>,
    pub(super) tempo: Option<Servers>,
    /// Where clusters lead for which the gate's own configuration does not say it.
    pub(super) clusters: BTreeMap<String, Cluster>,
}

/// The certificate.
#[derive(Debug)]
pub(super) struct Tls {
    /// Name of the Secret.
    pub(super) secret: String,
    /// File of the chain, for plain Envoy.
    pub(super) certificate: String,
    /// File of the key.
    pub(super) key: String,
}

/// Where the parts of a backend are.
#[derive(Clone, Debug)]
pub(super) struct Servers {
    /// HTTP.
    pub(super) url: Address,
    /// gRPC: OTLP for Loki and Mimir, streaming search for Tempo.
    pub(super) grpc: Option<Address>,
    /// Tempo's OTLP over HTTP.
    pub(super) otlp: Option<Address>,
    /// Tempo's OTLP over gRPC.
    pub(super) otlp_grpc: Option<Address>,
}

/// Where a cluster leads.
#[derive(Clone, Debug)]
pub(super) struct Cluster {
    pub(super) address: Address,
    /// The file of the authorities that are believed, if not those for everything.
    pub(super) trusted_ca: Option<String>,
}

impl Deployment {
    /// Reads it. What is wrong is told of, and the value is then good for finding more of it.
    pub(super) fn read(
        value: Option<&Value>,
        overrides: &Overrides<'_>,
        problems: &Problems,
    ) -> Self {
        let top = Section::new(value, "deployment".to_owned(), Some(&KNOWN), problems);
        let tls = top.section("tls", Some(&["secret", "certificate", "key"]));
        let file = |section: &Section<'_>, name: &str, default: &str| {
            let file = section.text(name, absolute);
            file.unwrap_or_else(|| default.to_owned())
        };
        let backends = top.section("backends", Some(&["loki", "mimir", "tempo"]));
        let servers = |backend| Servers::read(&backends, backend, overrides);
        let [loki, mimir, tempo] = Backend::ALL.map(servers);
        let found = Self {
            host: top.text("host", name),
            tls: Tls {
                secret: tls
                    .text("secret", name)
                    .unwrap_or_else(|| "observability-tls".to_owned()),
                certificate: file(&tls, "certificate", "/etc/envoy/tls/tls.crt"),
                key: file(&tls, "key", "/etc/envoy/tls/tls.key"),
            },
            namespace: top
                .text("namespace", label)
                .unwrap_or_else(|| "scopegate".to_owned()),
            image: top.text("image", image),
            digest: top.text("digest", digest),
            envoy_image: top
                .text("envoy_image", pinned)
                .unwrap_or_else(|| ENVOY_IMAGE.to_owned()),
            module: top.text("module", absolute),
            memory: top.text("memory", memory).unwrap_or(2304),
            workers: top.number("workers", 1..=128).unwrap_or(2),
            replicas: top.number("replicas", 1..=1000).unwrap_or(2),
            trusted_ca: file(&top, "trusted_ca", "/etc/ssl/certs/ca-certificates.crt"),
            loki,
            mimir,
            tempo,
            clusters: read_clusters(&top),
        };
        if found.heap() < LEAST_HEAP {
            let text = format!("too little for {} workers", found.workers);
            problems.add(&top.at("memory"), text);
        }
        found
    }

    /// Where a backend is, if that is said.
    pub(super) const fn servers(&self, backend: Backend) -> Option<&Servers> {
        match backend {
            Backend::Loki => self.loki.as_ref(),
            Backend::Mimir => self.mimir.as_ref(),
            Backend::Tempo => self.tempo.as_ref(),
        }
    }

    /// What Envoy's own memory may grow to, in bytes: what the container may have, less what
    /// the module holds, which Envoy's monitor does not see, and Envoy's code and stacks.
    pub(super) const fn heap(&self) -> u64 {
        let module = OUTSIDE.saturating_add(OUTSIDE_A_WORKER.saturating_mul(self.workers));
        self.memory.saturating_sub(module).saturating_mul(1 << 20)
    }
}

impl Servers {
    /// All addresses, as a file names them.
    pub(super) fn named(&self) -> impl Iterator<Item = (&'static str, &Address)> {
        let others = [
            ("grpc_url", &self.grpc),
            ("otlp_url", &self.otlp),
            ("otlp_grpc_url", &self.otlp_grpc),
        ];
        let others = others
            .into_iter()
            .filter_map(|(name, address)| Some((name, address.as_ref()?)));
        std::iter::once(("url", &self.url)).chain(others)
    }

    /// All addresses.
    pub(super) fn all(&self) -> impl Iterator<Item = &Address> {
        self.named().map(|(_, address)| address)
    }

    fn read(backends: &Section<'_>, backend: Backend, overrides: &Overrides<'_>) -> Option<Self> {
        let names = urls(backend);
        let section = backends.section(backend.name(), Some(names));
        let url = |name: &str| {
            if !names.contains(&name) {
                return None;
            }
            let variable = variable(backend, name);
            let Some(value) = overrides.get(&variable) else {
                return section.text(name, Address::of_origin);
            };
            Address::of_origin(value)
                .map_err(|problem| section.problems.add(&variable, problem))
                .ok()
        };
        let found = Self {
            grpc: url("grpc_url"),
            otlp: url("otlp_url"),
            otlp_grpc: url("otlp_grpc_url"),
            url: url("url")?,
        };
        Some(found)
    }
}

/// The variables that count for more than the file.
#[derive(Debug)]
pub(super) struct Overrides<'a>(pub(super) &'a BTreeMap<String, String>);

impl<'a> Overrides<'a> {
    pub(super) fn get(&self, name: &str) -> Option<&'a str> {
        self.0.get(name).map(String::as_str)
    }
}

/// The URLs that a backend may have.
pub(super) const fn urls(backend: Backend) -> &'static [&'static str] {
    match backend {
        Backend::Tempo => &["url", "grpc_url", "otlp_url", "otlp_grpc_url"],
        Backend::Loki | Backend::Mimir => &["url", "grpc_url"],
    }
}

/// The variables that count for more than the file, if they are set.
pub(super) fn known_variables() -> Vec<String> {
    let of = |backend: Backend| {
        let names = std::iter::once(&"enabled").chain(urls(backend));
        names.map(move |name| variable(backend, name))
    };
    Backend::ALL.into_iter().flat_map(of).collect()
}

/// Variables that look like one of those and are none.
pub(super) fn misspelt<'a>(
    variables: &'a BTreeMap<String, String>,
    known: &[String],
) -> Vec<&'a str> {
    let of_a_backend = |name: &str| {
        let mut backends = Backend::ALL.into_iter();
        backends.any(|backend| name.starts_with(&variable(backend, "")))
    };
    let like = |name: &str| {
        let distance = |known: &String| strsim::damerau_levenshtein(name, known);
        of_a_backend(name) || known.iter().any(|known| distance(known) <= MAX_SLIPS)
    };
    let names = variables.keys().map(String::as_str);
    names
        .filter(|name| {
            let known = known.iter().any(|known| known == name);
            !known && like(&name.to_ascii_uppercase())
        })
        .collect()
}

/// Most letters of a variable that are taken for slips.
const MAX_SLIPS: usize = 2;

/// `SCOPEGATE_LOKI_GRPC_URL` for `grpc_url`, `SCOPEGATE_LOKI_ENABLED` for `enabled`.
pub(super) fn variable(backend: Backend, name: &str) -> String {
    format!("SCOPEGATE_{}_{name}", backend.name()).to_ascii_uppercase()
}

fn read_clusters(top: &Section<'_>) -> BTreeMap<String, Cluster> {
    let section = top.section("clusters", None);
    let mut clusters = BTreeMap::new();
    for name in section.names() {
        let cluster = section.section(name, Some(&["url", "trusted_ca"]));
        if !is_cluster(name) {
            let text = "expected a name of letters, digits, _ and -";
            section.problems.add(&cluster.place, text);
        }
        let trusted_ca = cluster.text("trusted_ca", absolute);
        if cluster.member("url").is_none() {
            section
                .problems
                .add(&cluster.at("url"), "missing: where the cluster leads");
        }
        if let Some(address) = cluster.text("url", Address::of_origin) {
            let cluster = Cluster {
                address,
                trusted_ca,
            };
            clusters.insert(name.to_owned(), cluster);
        }
    }
    clusters
}

/// Whether it can be the name of a cluster everywhere: metrics have it in their names.
pub(super) fn is_cluster(name: &str) -> bool {
    let harmless = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    !name.is_empty() && name.len() <= 60 && name.bytes().all(harmless)
}

fn name(text: &str) -> Result<String, String> {
    if is_name(text) {
        Ok(text.to_owned())
    } else {
        Err("expected a DNS name in small letters".to_owned())
    }
}

fn label(text: &str) -> Result<String, String> {
    if is_label(text) {
        Ok(text.to_owned())
    } else {
        Err("expected at most 63 small letters, digits and hyphens".to_owned())
    }
}

fn absolute(text: &str) -> Result<String, String> {
    if text.starts_with('/') && !text.contains('\0') {
        Ok(text.to_owned())
    } else {
        Err("expected the path of a file from / on".to_owned())
    }
}

/// `registry.example.com:5000/team/scopegate`, with a tag or without one.
fn image(text: &str) -> Result<String, String> {
    if text.contains('@') {
        return Err("expected no digest in it: that is deployment.digest".to_owned());
    }
    pinned(text)
}

/// The same, and a digest may stand behind it.
fn pinned(text: &str) -> Result<String, String> {
    let harmless = |byte: u8| {
        byte.is_ascii_lowercase()
            || byte.is_ascii_digit()
            || matches!(byte, b'.' | b'_' | b'-' | b'/' | b':' | b'@')
    };
    let ends = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    if text.len() <= 400
        && bytes.iter().copied().all(harmless)
        && ends(bytes.first())
        && ends(bytes.last())
    {
        Ok(text.to_owned())
    } else {
        Err("expected a registry, a slash and the name of an image".to_owned())
    }
}

fn digest(text: &str) -> Result<String, String> {
    let digits = text.strip_prefix("sha256:").unwrap_or_default();
    if digits.len() == 64
        && digits
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    {
        Ok(digits.to_owned())
    } else {
        Err("expected sha256: and 64 digits from 0 to f, as docker push prints it".to_owned())
    }
}

/// Of `2304Mi` or `3Gi`, in MiB.
fn memory(text: &str) -> Result<u64, String> {
    let number = |text: &str| text.parse::<u64>().ok();
    let mebibytes = match (text.strip_suffix("Gi"), text.strip_suffix("Mi")) {
        (Some(gibibytes), _) => number(gibibytes).and_then(|count| count.checked_mul(1024)),
        (None, Some(mebibytes)) => number(mebibytes),
        (None, None) => None,
    };
    mebibytes
        .filter(|count| (LEAST_MEMORY..=1 << 20).contains(count))
        .ok_or_else(|| format!("expected a text from {LEAST_MEMORY}Mi to 1024Gi"))
}

/// The least that leaves Envoy something to work with, in MiB.
const LEAST_MEMORY: u64 = 512;

/// The least heap that Envoy can work with, in bytes.
const LEAST_HEAP: u64 = 128 << 20;

/// What Envoy's monitor does not see: its code, its stacks and the compiled module, in MiB.
const OUTSIDE: u64 = 128;

/// What each worker adds to that: its copy of the module's memory, 15 MiB and more for a
/// large configuration.
const OUTSIDE_A_WORKER: u64 = 64;

/// Not the `distroless` one, which has no shell: a pod that ends asks Envoy to drain.
const ENVOY_IMAGE: &str = "docker.io/envoyproxy/envoy:v1.40.0";

pub(super) const KNOWN: [&str; 13] = [
    "host",
    "tls",
    "namespace",
    "image",
    "digest",
    "envoy_image",
    "module",
    "memory",
    "workers",
    "replicas",
    "trusted_ca",
    "backends",
    "clusters",
];
