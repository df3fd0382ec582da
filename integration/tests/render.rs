//! What `scopegate render envoy` prints, in a real Envoy.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use clap::Parser as _;
use integration::authority::Authority;
use integration::client::RawRequest;
use integration::envoy::EnvoySettings;
use integration::issuer::Issuer;
use integration::scene::Scene;
use integration::token::Recipe;
use integration::{drill, envoy, paths, yaml};
use scopegate::cli::{Arguments, Console, Disk, Outcome, run};
use serde_json::{Value, json};

/// The shipped deployment file.
fn shipped() -> Result<Value> {
    yaml::read(&paths::repository().join("envoy/deployment.yaml"))
}

/// Renders `document` into `folder`.
fn render(document: &Value, folder: &Path, variables: &[(&str, &str)]) -> Result<()> {
    let folder = folder.to_str().context("no text")?;
    let arguments = ["scopegate", "render", "envoy", "-", "--output-dir", folder];
    let mut errors = Vec::new();
    let outcome = run(
        Arguments::try_parse_from(arguments)?,
        &mut Console {
            input: &mut document.to_string().as_bytes(),
            files: &Disk,
            output: &mut Vec::new(),
            errors: &mut errors,
            styled: false,
            now: 0,
            web: &mut scopegate::cli::Unconnected,
            variables: variables
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect::<BTreeMap<_, _>>(),
        },
    );
    let said = String::from_utf8_lossy(&errors);
    ensure!(outcome == Outcome::Good, "{said}");
    Ok(())
}

/// A deployment that is not the shipped one: who may what follows from its file, and so does which backends there are.
#[tokio::test(flavor = "multi_thread")]
async fn a_rendered_gate_lets_the_right_people_in() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut document = shipped()?;
    document["organizations"][0]["tenants"] = json!(["acme", "it-is-{{mine}}"]);
    document["organizations"][0]["rbac"] = json!({"viewers": ["team \"a\" #1"]});
    let variables = [("SCOPEGATE_TEMPO_ENABLED", "false")];
    // Names of tenants are of another alphabet.
    ensure!(render(&document, folder.path(), &variables).is_err());
    document["organizations"][0]["tenants"] = json!(["acme"]);
    render(&document, folder.path(), &variables)?;

    let settings = EnvoySettings::from_file(&folder.path().join("envoy.yaml"))?;
    let settings = settings.wasm(drill::module()?).sandboxed();
    let scene = Scene::start_with(settings, Issuer::corporate().await?).await?;
    let token = drill::fresh(Recipe::of("reader").claim("groups", json!(["team \"a\" #1"])))?;
    let other = drill::fresh(Recipe::of("reader").claim("groups", json!(["team a"])))?;
    let traces = RawRequest::get("/tempo/api/search/tags")
        .bearer(&token)
        .tenant("acme");
    for (what, request, status) in [
        ("a reader", drill::read(&token, "acme"), 200),
        ("of another tenant", drill::read(&token, "platform"), 403),
        ("somebody else", drill::read(&other, "acme"), 403),
        ("a backend that is off", traces, 503),
    ] {
        let reply = drill::send(&scene.envoy, &request).await?;
        ensure!(reply.status == status, "{what}: {reply:?}");
    }
    ensure!(scene.log.count() == 1, "{:?}", scene.log.all());

    // A change is the same command once more, with the folder that this Envoy reads.
    let filter = scene.envoy.discovered()?;
    let running = filter.parent().and_then(Path::parent);
    document["organizations"][0]["rbac"]["viewers"] = json!(["team a"]);
    document["deployment"]["module"] = json!(drill::module()?.canonicalize()?);
    render(&document, running.context("no folder")?, &variables)?;
    let started = std::time::Instant::now();
    loop {
        let [mine, theirs] = [
            drill::send(&scene.envoy, &drill::read(&token, "acme")).await?,
            drill::send(&scene.envoy, &drill::read(&other, "acme")).await?,
        ];
        if (mine.status, theirs.status) == (403, 200) {
            break;
        }
        let waited = started.elapsed();
        ensure!(waited.as_secs() < 10, "not taken: {mine:?}, {theirs:?}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    Ok(())
}

/// With fewer backends, with TLS to them, with several providers, and with files whose names mean something to YAML.
#[test]
fn envoy_takes_every_rendered_bootstrap() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let files = folder.path().join("it's \"{{ here }}\" #1: [a]");
    fs::create_dir(&files)?;
    let authority = Authority::new()?;
    let (chain, key) = authority.issue(&["observability.example.com"])?;
    fs::write(files.join("tls.crt"), &chain)?;
    fs::write(files.join("tls.key"), key)?;
    // Any certificate does: nobody is met.
    fs::write(files.join("ca.crt"), &chain)?;

    let mut base = shipped()?;
    let deployment = &mut base["deployment"];
    deployment["tls"]["certificate"] = json!(files.join("tls.crt"));
    deployment["tls"]["key"] = json!(files.join("tls.key"));
    deployment["trusted_ca"] = json!(files.join("ca.crt"));
    let variant = |change: fn(&mut Value)| {
        let mut document = base.clone();
        change(&mut document);
        document
    };
    let variants = [
        ("as shipped", variant(|_| {})),
        (
            "nothing but Mimir, over TLS",
            variant(|document| {
                document["backends"] = json!({"mimir": {}});
                let url = |port: u16| format!("https://mimir.example.com:{port}");
                document["deployment"]["backends"] =
                    json!({"mimir": {"url": url(443), "grpc_url": url(9095)}});
            }),
        ),
        (
            "nothing but Tempo, over HTTP alone",
            variant(|document| {
                document["backends"] = json!({"tempo": {}});
                document["deployment"]["backends"] = json!({"tempo": {"url": "http://[::1]:3200"}});
            }),
        ),
        (
            "no backend",
            variant(|document| {
                document["backends"] = json!({});
                document["deployment"]["backends"] = json!({});
            }),
        ),
        (
            "more providers, and organizations from outside",
            variant(|document| {
                let partner = json!({
                    "name": "partner",
                    "issuer": "https://192.0.2.7:8443",
                    "audiences": ["observability"],
                    "jwks": {"discovery": true, "cluster": "idp_partner", "authorization": {"environment": "KEYS_TOKEN"}},
                    "claims": {"groups": [{"path": ["groups"], "prefix": "partner:"}]},
                });
                if let Some(providers) = document["providers"].as_array_mut() {
                    providers.push(partner);
                }
                document["organizations_from"] = json!({"uri": "http://organizations.scopegate.svc/v1", "cluster": "orgs", "allow_http": true});
            }),
        ),
    ];
    for (what, document) in variants {
        let rendered = folder.path().join("rendered");
        render(&document, &rendered, &[]).context(what)?;
        let (valid, said) = validate(&rendered, |text| text)?;
        ensure!(valid, "{what}: {said}");
    }
    let misspelt = |text: String| text.replace("connect_timeout:", "connect_timeuot:");
    let (valid, _) = validate(&folder.path().join("rendered"), misspelt)?;
    ensure!(!valid, "Envoy took a misspelt key");
    Ok(())
}

/// What a pod of the base does at its end: connections are told to close, and nobody is refused meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_ends_asks_its_clients_to_leave() -> Result<()> {
    let base = paths::repository().join("envoy/kustomize/envoy");
    let settings = EnvoySettings::from_file(&base.join("envoy.yaml"))?;
    let settings = settings.wasm(drill::module()?);
    let scene = Scene::start_with(settings, Issuer::corporate().await?).await?;
    let token = drill::fresh(Recipe::of("reader").claim("groups", json!(["developers"])))?;
    let read = drill::read(&token, "platform");
    let closes = async || -> Result<bool> {
        let reply = drill::send(&scene.envoy, &read).await?;
        ensure!(reply.status == 200, "{reply:?}");
        Ok(reply.header("connection").as_deref() == Some("close"))
    };
    ensure!(!closes().await?, "told to close before the end");

    let workload: Value = yaml::read(&base.join("workload.yaml"))?;
    let container = &workload["spec"]["template"]["spec"]["containers"][0];
    let last = container["lifecycle"]["preStop"]["exec"]["command"]
        .as_array()
        .context("no command")?;
    let mut command: Vec<&str> = last.iter().filter_map(Value::as_str).collect();
    let script = command.pop().context("no script")?;
    let admin = scene.envoy.admin_address();
    let script = script
        .replace(
            "127.0.0.1/9901",
            &format!("{}/{}", admin.ip(), admin.port()),
        )
        .replace("sleep 12", "");
    ensure!(
        script.contains("/dev/tcp") && !script.contains("9901"),
        "{script}"
    );
    let [program, arguments @ ..] = command.as_slice() else {
        anyhow::bail!("no program");
    };
    let output = Command::new(program)
        .args(arguments)
        .arg(&script)
        .output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success() && said.contains("200 OK"), "{said}");
    ensure!(closes().await?, "not told to close");
    Ok(())
}

/// Whether Envoy takes the bootstrap in `folder`, with the filter's file there.
fn validate(folder: &Path, change: impl Fn(String) -> String) -> Result<(bool, String)> {
    let ecds = folder.join("ecds");
    let bootstrap = fs::read_to_string(folder.join("envoy.yaml"))?
        .replace("/etc/envoy/ecds", &ecds.to_string_lossy());
    let file = folder.join("validated.yaml");
    fs::write(&file, change(bootstrap))?;
    let output = Command::new(envoy::binary()?)
        .args(["--mode", "validate", "--log-level", "warning", "-c"])
        .arg(&file)
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    Ok((output.status.success(), said))
}
