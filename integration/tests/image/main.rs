//! Images with a command, without an engine: the layer is unpacked into an empty folder, which becomes a root that nothing
//! can be written to, and the command starts there as the user of the image, with what a kubelet would mount.
//!
//! That of `serve-organizations` has the arguments of the shipped Deployment, and finds a real Kubernetes API by a name, as
//! a name server tells it. That of the native module does what the shipped init container has it do.
//!
//! `SCOPEGATE_IMAGE` and `SCOPEGATE_NATIVE_IMAGE` name the layouts, as `make images` and `make native-image` write them. It
//! needs root.

mod names;
mod root;

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use integration::authority::Authority;
use integration::client::{Protocol, RawRequest, Target};
use integration::kubernetes::{IN_A_CLUSTER as API, KubernetesApi, documents};
use integration::process::{Process, free_port};
use integration::{part, paths, served, trial};
use libtest_mimic::{Arguments, Trial};
use serde_json::json;

use names::NameServer;
use root::Root;

fn main() -> ExitCode {
    let tests = vec![organizations(), native()];
    libtest_mimic::run(&Arguments::from_args(), tests).exit_code()
}

fn organizations() -> Trial {
    const NAME: &str = "the_image_serves_organizations_from_a_read_only_root_as_nobody";
    match std::env::var("SCOPEGATE_IMAGE") {
        Err(_) => trial::skipped(NAME, "SCOPEGATE_IMAGE names no image: make test-image"),
        Ok(layout) => trial::needing(NAME, &[part::KUBERNETES], move || {
            let mut runtime = tokio::runtime::Builder::new_multi_thread();
            runtime.enable_all().build()?.block_on(serves(&layout))
        }),
    }
}

fn native() -> Trial {
    const NAME: &str = "the_image_installs_the_native_module_as_nobody";
    match std::env::var("SCOPEGATE_NATIVE_IMAGE") {
        Err(_) => trial::skipped(
            NAME,
            "SCOPEGATE_NATIVE_IMAGE names no image: make test-image",
        ),
        Ok(layout) => trial::needing(NAME, &[], move || installs(&layout)),
    }
}

/// The folder that both containers of the pod have, for Envoy's user.
fn installs(layout: &str) -> Result<()> {
    let mut root = Root::unpacked(layout.as_ref())?;
    let mut files = root.files()?;
    files.sort();
    ensure!(files == ["libscopegate.so", "scopegate"], "{files:?}");
    let module = root.read("libscopegate.so")?;
    let file = paths::repository().join("envoy/gateway/native/gateway.yaml");
    let documents = documents(&fs::read_to_string(file)?)?;
    let proxy = documents.iter().find(|it| it["kind"] == "EnvoyProxy");
    let deployment =
        &proxy.context("no EnvoyProxy")?["spec"]["provider"]["kubernetes"]["envoyDeployment"];
    let container = &deployment["initContainers"][0];
    ensure!(container["securityContext"]["runAsUser"] == NOBODY);
    let words = container["command"].as_array().context("no command")?;
    let words = words.iter().map(|it| it.as_str().map(str::to_owned));
    let words: Vec<String> = words.collect::<Option<_>>().context("not a text")?;
    ensure!(
        words.first().map(String::as_str) == Some("/scopegate"),
        "{words:?}"
    );
    let shared = root.share("opt/scopegate")?;
    let output = root.command(&words[1..], &[])?.output()?;
    ensure!(output.status.success(), "{output:?}");
    let installed = shared.join("libscopegate.so");
    ensure!(fs::read(&installed)? == module);
    // Whoever is Envoy may read it.
    ensure!(fs::metadata(&installed)?.permissions().mode() & 0o444 == 0o444);
    Ok(())
}

/// Where the name server listens: the library asks port 53.
const NAME_SERVER: Ipv4Addr = Ipv4Addr::new(127, 83, 71, 53);
const NOBODY: u32 = 65532;
const PATIENCE: Duration = Duration::from_secs(30);
const ACCOUNT: &str = "var/run/secrets/kubernetes.io/serviceaccount";

async fn serves(layout: &str) -> Result<()> {
    let api = KubernetesApi::start().await?;
    install(&api).await?;
    let root = Root::unpacked(layout.as_ref())?;
    ensure!(root.files()? == ["scopegate"], "{:?}", root.files()?);

    // What a kubelet mounts.
    let token = api
        .token("scopegate", "scopegate-organizations", None, None)
        .await?;
    root.write(&format!("{ACCOUNT}/token"), &token)?;
    root.write(&format!("{ACCOUNT}/ca.crt"), &api.authority().pem())?;
    root.write(&format!("{ACCOUNT}/namespace"), "scopegate")?;
    root.write("etc/resolv.conf", &format!("nameserver {NAME_SERVER}\n"))?;
    let authority = Authority::new()?;
    let (certificate, key) = authority.issue(&["localhost"])?;
    root.write("tls/tls.crt", &certificate)?;
    root.write("tls/tls.key", &key)?;

    let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
    let (address, health) = (at(free_port()?), at(free_port()?));
    let mut arguments = shipped_arguments()?;
    arguments.push(format!("--listen={address}"));
    arguments.push(format!("--health-listen={health}"));
    let port = api.port().to_string();
    let variables = [
        ("KUBERNETES_SERVICE_HOST", API),
        ("KUBERNETES_SERVICE_PORT", &port),
    ];
    let folder = tempfile::tempdir()?;
    let mut process = Process::start("image", root.command(&arguments, &variables)?, folder)?;
    let status = async |path: &str| {
        let asked = RawRequest::get(path)
            .send(&Target::plain(health), Protocol::H1)
            .await;
        asked.map_or(0, |reply| reply.status)
    };
    process
        .wait_until("alive", PATIENCE, async || status("/livez").await == 200)
        .await?;

    // While nobody knows the name, there is nothing to serve.
    tokio::time::sleep(Duration::from_secs(2)).await;
    ensure!(status("/readyz").await == 503, "{}", process.log());
    let names = NameServer::start(NAME_SERVER, API, Ipv4Addr::LOCALHOST).await?;
    process
        .wait_until("ready", PATIENCE, async || status("/readyz").await == 200)
        .await?;
    ensure!(names.asked() > 0);

    let target = Target::tls(address, &authority.der(), "localhost");
    let reply = RawRequest::get(served::PATH)
        .send(&target, Protocol::H1)
        .await?;
    let document: serde_json::Value = serde_json::from_slice(&reply.body)?;
    ensure!(document["organizations"][0]["name"] == "acme", "{document}");

    // Whose it is, and what it may do.
    // Each program became the next one, so that it is the same process.
    let id = process.id();
    let program = fs::read_link(format!("/proc/{id}/exe"))?;
    ensure!(program.ends_with("scopegate"), "{}", program.display());
    let state = fs::read_to_string(format!("/proc/{id}/status"))?;
    for (field, wanted) in [
        ("Uid:", format!("{NOBODY}\t{NOBODY}\t{NOBODY}\t{NOBODY}")),
        ("Gid:", format!("{NOBODY}\t{NOBODY}\t{NOBODY}\t{NOBODY}")),
        ("CapEff:", "0000000000000000".to_owned()),
        ("NoNewPrivs:", "1".to_owned()),
    ] {
        let mut found = state.lines().filter_map(|line| line.strip_prefix(field));
        let found = found.next().context("no such field")?.trim().to_owned();
        ensure!(found == wanted, "{field} {found}");
    }
    let mounts = fs::read_to_string(format!("/proc/{id}/mounts"))?;
    let options = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        (words.next()? == "/").then(|| words.nth(1))?
    });
    let options: Vec<&str> = options.collect();
    ensure!(
        options.len() == 1 && options[0].starts_with("ro"),
        "{mounts}"
    );
    process.signal("TERM")?;
    ensure!(process.wait_for_end(PATIENCE).await?.success());
    Ok(())
}

/// The definition, the shipped account with its role, and an organization.
async fn install(api: &KubernetesApi) -> Result<()> {
    let definition = paths::integration().join("control-planes/grafana-organization.yaml");
    let rbac = paths::repository().join("envoy/organizations/rbac.yaml");
    api.apply(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "scopegate"}}))
        .await?;
    for file in [definition, rbac] {
        for document in documents(&fs::read_to_string(file)?)? {
            api.apply(&document).await?;
        }
    }
    let organization = json!({
        "apiVersion": "observability.giantswarm.io/v1alpha2",
        "kind": "GrafanaOrganization",
        "metadata": {"name": "acme"},
        "spec": {
            "displayName": "acme",
            "rbac": {"admins": [], "viewers": ["team"]},
            "tenants": [{"name": "acme", "types": ["data"]}],
        },
    });
    // Served a moment after its definition is there.
    let deadline = std::time::Instant::now() + PATIENCE;
    while let Err(error) = api.apply(&organization).await {
        ensure!(std::time::Instant::now() < deadline, "{error:?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Ok(())
}

/// What the container of the shipped Deployment is started with.
fn shipped_arguments() -> Result<Vec<String>> {
    let file = paths::repository().join("envoy/organizations/deployment.yaml");
    let documents = documents(&fs::read_to_string(file)?)?;
    let container = &documents[0]["spec"]["template"]["spec"]["containers"][0];
    let arguments = container["args"].as_array().context("no arguments")?;
    let arguments = arguments.iter().map(|it| it.as_str().map(str::to_owned));
    arguments.collect::<Option<_>>().context("not a text")
}
