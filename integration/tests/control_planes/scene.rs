//! What stands around a control plane: the Kubernetes API, the provider, the backends, the registry, and names that lead
//! to them.

use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use integration::authority::Authority;
use integration::client::{Protocol, RawRequest, Target};
use integration::issuer::Issuer;
use integration::kubernetes::{KubernetesApi, documents};
use integration::process::Process;
use integration::server::Server;
use integration::terminator::{relay, terminate_at};
use integration::upstream::{Upstream, UpstreamLog};
use integration::{drill, envoy, part, paths};
use serde_json::{Value, json};
use sha2::Digest as _;
use tempfile::TempDir;
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

use crate::kubelet::Kubelet;

/// The media type of an index.
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// What clients call the gate.
pub const HOST: &str = "observability.example.com";
/// The proxy's pod.
pub const POD: Ipv4Addr = Ipv4Addr::new(10, 1, 1, 1);
/// Another pod of it, in a network of its own.
pub const SECOND_POD: Ipv4Addr = Ipv4Addr::new(10, 1, 3, 1);
pub const NODE: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 1);
pub const ISTIOD: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 2);
pub const ENVOY_GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 3);
/// The server of organizations.
pub const ORGANIZATIONS: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 4);
const REGISTRY: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 8);
/// The provider, and who answers for names.
const PROVIDER: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 9);
const LOKI: Ipv4Addr = Ipv4Addr::new(10, 1, 2, 1);
const MIMIR: Ipv4Addr = Ipv4Addr::new(10, 1, 2, 2);
const TEMPO: Ipv4Addr = Ipv4Addr::new(10, 1, 2, 3);

/// A Service: its namespace, name and address, and its ports by name, number and what is spoken there.
type Service = (&'static str, &'static str, Ipv4Addr, &'static [Port]);
type Port = (&'static str, u16, &'static str);

/// Services as the backends' charts have them.
const SERVICES: [Service; 8] = [
    ("loki", "loki-gateway", LOKI, &[("http", 80, "http")]),
    ("loki", "otel-collector", LOKI, &[("grpc", 4317, "grpc")]),
    ("loki", "loki-distributor", LOKI, &[("http", 3100, "http")]),
    (
        "mimir",
        "mimir-distributor",
        MIMIR,
        &[("http", 9009, "http")],
    ),
    ("mimir", "mimir-gateway", MIMIR, &[("http", 80, "http")]),
    ("mimir", "otel-collector", MIMIR, &[("grpc", 4317, "grpc")]),
    (
        "tempo",
        "tempo-query-frontend",
        TEMPO,
        &[("http", 3200, "http"), ("grpc", 9095, "grpc")],
    ),
    (
        "tempo",
        "tempo-distributor",
        TEMPO,
        &[
            ("http", 3200, "http"),
            ("otlp-http", 4318, "http"),
            ("otlp-grpc", 4317, "grpc"),
        ],
    ),
];

pub struct Scene {
    pub api: KubernetesApi,
    pub issuer: Issuer,
    pub provider: Server,
    pub log: UpstreamLog,
    pub authority: Authority,
    pub folder: TempDir,
    _kubelet: Kubelet,
    /// The digest of the module's image, in hexadecimal.
    pub digest: String,
    /// The same for the native module, if there is one.
    native: Option<String>,
    registry: Option<Process>,
    layout: PathBuf,
    /// The image of what is no module, and its digest in hexadecimal.
    pub strange: (PathBuf, String),
    upstreams: Vec<Upstream>,
    _doors: Vec<Server>,
    names: Names,
    answering: JoinHandle<()>,
}

/// Names, and the addresses to which they lead.
type Names = Arc<Mutex<Vec<(String, Ipv4Addr)>>>;

impl Scene {
    pub async fn open() -> Result<Scene> {
        let folder = tempfile::tempdir()?;
        let authority = Authority::new()?;
        trust(&authority)?;
        let names = Arc::new(Mutex::new(hosts()?));
        let answering = tokio::spawn(answer_for_names(Arc::clone(&names)));
        let api = KubernetesApi::start().await?;
        let issuer = Issuer::corporate().await?;
        let door = SocketAddr::from((PROVIDER, 443));
        let provider = terminate_at(door, &authority, "login.example.com", issuer.address())?;
        let (upstreams, doors, log) = backends().await?;
        let kubelet = Kubelet::start(&api, &authority, folder.path()).await?;
        let layout = folder.path().join("image");
        let version = scopegate::words::build::VERSION;
        let digest = image(&drill::module()?, &layout, version)?;
        let strange = strange_image(folder.path(), version)?;
        let mut scene = Scene {
            api,
            issuer,
            provider,
            log,
            authority,
            folder,
            _kubelet: kubelet,
            digest,
            native: None,
            registry: None,
            layout,
            strange,
            upstreams,
            _doors: doors,
            names,
            answering,
        };
        scene.start_registry().await?;
        scene.put_services().await?;
        Ok(scene)
    }

    /// A file of the run's own.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Where that name leads.
    pub fn address_of(&self, name: &str) -> Option<Ipv4Addr> {
        let names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let mut names = names.iter();
        names
            .find(|(known, _)| known == name)
            .map(|(_, address)| *address)
    }

    /// What control planes and proxies have written so far tells of nothing that comes.
    pub fn clear_logs(&self) -> Result<()> {
        for entry in fs::read_dir(self.folder.path())? {
            let path = entry?.path();
            if path.extension().is_some_and(|end| end == "log") {
                fs::File::options().write(true).open(&path)?.set_len(0)?;
            }
        }
        Ok(())
    }

    /// From now on that name leads to that address, which is one of this machine.
    pub fn put_name(&self, name: &str, address: Ipv4Addr) -> Result<()> {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        if names.iter().all(|(_, known)| *known != address) {
            let address = format!("{address}/32");
            let added = Command::new("ip")
                .args(["address", "add", &address, "dev", "lo"])
                .output()?;
            let said = String::from_utf8_lossy(&added.stderr);
            let there = ["exists", "assigned"]
                .iter()
                .any(|word| said.contains(word));
            ensure!(added.status.success() || there, "{said}");
        }
        names.push((name.to_owned(), address));
        Ok(())
    }

    pub fn upstream(&self, name: &str) -> Result<&Upstream> {
        let mut upstreams = self.upstreams.iter();
        let found = upstreams.find(|upstream| upstream.name() == name);
        found.with_context(|| format!("no upstream {name}"))
    }

    /// Take the registry away.
    pub fn stop_registry(&mut self) {
        drop(self.registry.take());
    }

    pub async fn start_registry(&mut self) -> Result<()> {
        let (certificate, key) = self.authority.issue(&["registry.example.com"])?;
        let (certificate_file, key_file) = (self.file("registry.crt"), self.file("registry.key"));
        fs::write(&certificate_file, certificate)?;
        fs::write(&key_file, key)?;
        let mut command = Command::new(part::CONTROL_PLANES.find()?.join("bin/registry"));
        let image = format!(
            "registry.example.com/scopegate:test={}",
            self.layout.display()
        );
        command.arg(SocketAddr::from((REGISTRY, 443)).to_string());
        let strange = format!(
            "registry.example.com/scopegate:strange={}",
            self.strange.0.display()
        );
        command.args([certificate_file, key_file]);
        command.args([image, strange]);
        let log = self.file("registry.log");
        let _ = fs::remove_file(&log);
        let pushed = format!(
            "registry.example.com/scopegate:strange sha256:{}",
            self.strange.1
        );
        let mut registry = Process::start_in("registry", command, &log)?;
        let there = async || fs::read_to_string(&log).is_ok_and(|log| log.contains(&pushed));
        registry
            .wait_until("it holds the images", Duration::from_secs(20), there)
            .await?;
        self.registry = Some(registry);
        if let Some(module) = envoy::library() {
            self.native = Some(self.push_native(&module)?);
        }
        Ok(())
    }

    /// The digest of the native module's image, in hexadecimal.
    ///
    /// # Errors
    /// Nobody has built the module.
    pub fn native_digest(&self) -> Result<&str> {
        let digest = self.native.as_deref();
        digest.context("SCOPEGATE_LIBRARY names the native module: `make test-control-planes` builds it and sets this")
    }

    /// The image of the native module, as a release has it. Its command is this program, which acts as that command.
    fn push_native(&self, module: &Path) -> Result<String> {
        let (layout, program) = (self.file("native"), std::env::current_exe()?);
        let script = paths::integration().join("tools/image.py");
        let mut writing = Command::new("python3");
        writing.arg(script).arg("--native").arg(&layout);
        writing.args([
            "0.0.0",
            &format!("amd64={},{}", program.display(), module.display()),
        ]);
        let digest = said(&mut writing)?;
        let digest = digest.trim().strip_prefix("sha256:").context("no digest")?;
        let mut push = crane()?;
        push.arg("push").arg(&layout);
        said(push.arg("registry.example.com/scopegate:native"))?;
        Ok(digest.to_owned())
    }

    /// Where images are pushed to.
    ///
    /// # Errors
    /// It has been taken away.
    pub fn registry(&self) -> Result<Target> {
        ensure!(self.registry.is_some(), "there is no registry");
        let registry = SocketAddr::from((REGISTRY, 443));
        let name = "registry.example.com";
        Ok(Target::tls(registry, &self.authority.der(), name))
    }

    /// Put an index into the registry, which names the image as builders do that add provenance; gives its digest.
    pub async fn put_index(&self) -> Result<String> {
        let manifest = self.layout.join("blobs/sha256").join(&self.digest);
        let manifest = fs::read(manifest)?;
        let kind = &serde_json::from_slice::<Value>(&manifest)?["mediaType"];
        let index = json!({
            "schemaVersion": 2,
            "mediaType": INDEX,
            "manifests": [{
                "mediaType": kind,
                "digest": format!("sha256:{}", self.digest),
                "size": manifest.len(),
                "platform": {"os": "linux", "architecture": "amd64"},
            }],
        });
        let index = index.to_string().into_bytes();
        let mut digest = String::new();
        for byte in sha2::Sha256::digest(&index) {
            write!(digest, "{byte:02x}")?;
        }
        let mut put = RawRequest::new("PUT", &format!("/v2/scopegate/manifests/sha256:{digest}"));
        put = put.header("content-type", INDEX);
        put.body = index;
        let reply = put.send(&self.registry()?, Protocol::H1).await?;
        ensure!(reply.status == 201, "{reply:?}");
        Ok(digest)
    }

    /// The backends' namespaces, and their Services with the endpoints that a controller would make.
    async fn put_services(&self) -> Result<()> {
        for name in ["loki", "mimir", "tempo"] {
            self.put_namespace(name).await?;
        }
        for (namespace, name, address, ports) in SERVICES {
            let listed = ports.iter().map(|(name, port, protocol)| {
                json!({"name": name, "port": port, "targetPort": port, "appProtocol": protocol})
            });
            self.api
                .apply(&json!({
                    "apiVersion": "v1",
                    "kind": "Service",
                    "metadata": {"name": name, "namespace": namespace},
                    "spec": {"ports": listed.collect::<Vec<_>>()},
                }))
                .await?;
            let ports: Vec<(&str, u16)> =
                ports.iter().map(|(name, port, _)| (*name, *port)).collect();
            self.put_endpoints(namespace, name, address, &ports, None)
                .await?;
        }
        Ok(())
    }

    /// The gate's namespace, and in it the certificate.
    pub async fn put_certificate(&self) -> Result<()> {
        self.put_namespace("scopegate").await?;
        let (certificate, key) = self.authority.issue(&[HOST])?;
        let secret = json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "type": "kubernetes.io/tls",
            "metadata": {"name": "observability-tls", "namespace": "scopegate"},
            "data": {"tls.crt": STANDARD.encode(certificate), "tls.key": STANDARD.encode(key)},
        });
        self.api.apply(&secret).await?;
        Ok(())
    }

    pub async fn put_namespace(&self, name: &str) -> Result<()> {
        let namespace =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        self.api.apply(&namespace).await?;
        Ok(())
    }

    /// What leads from a Service to an address.
    pub async fn put_endpoints(
        &self,
        namespace: &str,
        service: &str,
        address: Ipv4Addr,
        ports: &[(&str, u16)],
        pod: Option<&str>,
    ) -> Result<()> {
        let mut endpoint = json!({
            "addresses": [address.to_string()],
            "conditions": {"ready": true, "serving": true},
        });
        if let Some(pod) = pod {
            endpoint["targetRef"] = json!({"kind": "Pod", "name": pod, "namespace": namespace});
        }
        let ports = ports
            .iter()
            .map(|(name, port)| json!({"name": name, "port": port, "protocol": "TCP"}));
        self.api
            .apply(&json!({
                "apiVersion": "discovery.k8s.io/v1",
                "kind": "EndpointSlice",
                "metadata": {
                    "name": format!("{service}-1"),
                    "namespace": namespace,
                    "labels": {"kubernetes.io/service-name": service},
                },
                "addressType": "IPv4",
                "endpoints": [endpoint],
                "ports": ports.collect::<Vec<_>>(),
            }))
            .await?;
        Ok(())
    }

    /// A file for a client that is that service account.
    pub async fn kubeconfig_of(&self, namespace: &str, account: &str) -> Result<PathBuf> {
        let token = self.api.token(namespace, account, None, None).await?;
        let file = self.file(&format!("{account}.kubeconfig"));
        fs::write(&file, self.api.kubeconfig(&token))?;
        Ok(file)
    }

    /// Apply all of a chart but what the run does by hand: what runs, and what has been applied before.
    pub async fn put_chart(&self, file: &Path) -> Result<()> {
        let skipped = [
            "CustomResourceDefinition",
            "Deployment",
            "HorizontalPodAutoscaler",
            "Job",
            // Istio's own, for who may use which revision.
            "ValidatingAdmissionPolicy",
            "ValidatingAdmissionPolicyBinding",
        ];
        for document in documents(&fs::read_to_string(file)?)? {
            if !skipped.iter().any(|kind| document["kind"] == *kind) {
                self.api.apply(&document).await?;
            }
        }
        Ok(())
    }

    /// Apply the definitions in that file, and wait until they are served.
    pub async fn put_definitions(&self, file: &Path) -> Result<()> {
        for document in documents(&fs::read_to_string(file)?)? {
            if document["kind"] == "CustomResourceDefinition" {
                self.api.apply(&document).await?;
            }
        }
        self.api.until_defined().await
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.answering.abort();
    }
}

/// A client of the registry.
pub fn crane() -> Result<Command> {
    Ok(Command::new(part::CONTROL_PLANES.find()?.join("bin/crane")))
}

/// What a command prints.
///
/// # Errors
/// It fails; the error has what it says.
pub fn said(command: &mut Command) -> Result<String> {
    let output = command.output()?;
    let told = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {told}");
    Ok(String::from_utf8(output.stdout)?)
}

/// The program's image as `make image` writes it; gives the digest of its manifest in hexadecimal.
pub fn image(module: &Path, layout: &Path, version: &str) -> Result<String> {
    let script = paths::integration().join("tools/image.py");
    let output = Command::new("python3")
        .arg(script)
        .args([module, layout])
        .arg(version)
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{said}");
    let digest = String::from_utf8(output.stdout)?;
    let digest = digest.trim().strip_prefix("sha256:").context("no digest")?;
    Ok(digest.to_owned())
}

/// An image whose `plugin.wasm` is a text.
fn strange_image(folder: &Path, version: &str) -> Result<(PathBuf, String)> {
    let (module, layout) = (folder.join("strange.wasm"), folder.join("strange"));
    fs::write(&module, "This is no module.\n")?;
    let digest = image(&module, &layout, version)?;
    Ok((layout, digest))
}

/// Have every program here trust what the authority has issued, and no more what one of before has: all have the same
/// name, by which programs look for them.
fn trust(authority: &Authority) -> Result<()> {
    let (store, before) = (
        "/etc/ssl/certs/ca-certificates.crt",
        "/etc/ssl/certs/before.crt",
    );
    if !Path::new(before).exists() {
        fs::copy(store, before)?;
    }
    let trusted = fs::read_to_string(before)?;
    fs::write(store, trusted + &authority.pem())?;
    Ok(())
}

/// Every name that somebody here asks for, also as a file for programs that read that.
fn hosts() -> Result<Vec<(String, Ipv4Addr)>> {
    let mut names = vec![
        ("login.example.com".to_owned(), PROVIDER),
        ("registry.example.com".to_owned(), REGISTRY),
        (HOST.to_owned(), POD),
        ("istiod.istio-system.svc".to_owned(), ISTIOD),
        ("istiod.istio-system.svc.cluster.local".to_owned(), ISTIOD),
        (
            "envoy-gateway.envoy-gateway-system.svc.cluster.local".to_owned(),
            ENVOY_GATEWAY,
        ),
    ];
    for (namespace, name, address, _) in SERVICES {
        names.push((format!("{name}.{namespace}.svc.cluster.local"), address));
    }
    let mut file = "127.0.0.1 localhost\n".to_owned();
    for (name, address) in &names {
        writeln!(file, "{address} {name}")?;
    }
    fs::write("/etc/hosts", file)?;
    fs::write(
        "/etc/resolv.conf",
        format!("nameserver {PROVIDER}\noptions ndots:1\n"),
    )?;
    Ok(names)
}

/// Answer for these names, with or without a dot at their ends, and for no others.
async fn answer_for_names(names: Names) {
    let Ok(socket) = UdpSocket::bind((PROVIDER, 53)).await else {
        return;
    };
    let mut question = [0; 512];
    while let Ok((length, from)) = socket.recv_from(&mut question).await {
        let names = names.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(answer) = answer(&question[..length], &names) {
            let _ = socket.send_to(&answer, from).await;
        }
    }
}

/// RFC 1035, section 4: one question, and an address for it or none.
fn answer(question: &[u8], names: &[(String, Ipv4Addr)]) -> Option<Vec<u8>> {
    const HEADER: usize = 12;
    const ADDRESS: [u8; 2] = [0, 1];
    let mut at = HEADER;
    let mut labels = Vec::new();
    loop {
        let length = usize::from(*question.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        labels.push(String::from_utf8_lossy(question.get(at..at + length)?).to_lowercase());
        at += length;
    }
    let end = at + 4;
    let name = labels.join(".");
    let found = names.iter().find(|(known, _)| *known == name);
    let address = found.filter(|_| question.get(at..at + 2) == Some(&ADDRESS));
    let mut answer = question.get(..2)?.to_vec();
    // An answer with authority, recursion as if; 3 is "no such name".
    answer.extend([0x85, if found.is_some() { 0x80 } else { 0x83 }]);
    answer.extend([0, 1, 0, u8::from(address.is_some()), 0, 0, 0, 0]);
    answer.extend(question.get(HEADER..end)?);
    if let Some((_, address)) = address {
        // The name of the question, an address in the class of the internet, for five seconds.
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 5, 0, 4]);
        answer.extend(address.octets());
    }
    Some(answer)
}

/// One that records for each backend, behind each of its ports.
async fn backends() -> Result<(Vec<Upstream>, Vec<Server>, UpstreamLog)> {
    let log = UpstreamLog::new();
    let (mut upstreams, mut doors) = (Vec::new(), Vec::new());
    for (name, address, ports) in [
        ("loki", LOKI, &[80, 3100, 4317][..]),
        ("mimir", MIMIR, &[80, 9009, 4317]),
        ("tempo", TEMPO, &[3200, 9095, 4318, 4317]),
    ] {
        let upstream = Upstream::start(name, &log).await?;
        for port in ports {
            let door = SocketAddr::from((address, *port));
            doors.push(relay(door, upstream.address())?);
        }
        upstreams.push(upstream);
    }
    Ok((upstreams, doors, log))
}
