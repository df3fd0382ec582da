//! What a native module must bear, and what its sandbox bears for the one in wasm: panics, and configurations that go
//! while requests of theirs are under way.
//!
//! `make test-native` builds the modules and names them: `SCOPEGATE_NATIVE`, and `SCOPEGATE_PANICS` for one that panics
//! where it is told to.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use clap::Parser as _;
use integration::authority::Authority;
use integration::client::h2::{self, Piece};
use integration::client::{Protocol, RawRequest, Reply, h1};
use integration::drill::{self, read, send};
use integration::envoy::{Envoy, EnvoySettings, Update};
use integration::issuer::{AnswerMode, Issuer};
use integration::scene::Scene;
use integration::terminator::terminate;
use integration::token::Recipe;
use integration::upstream::{Behaviour, Upstream, UpstreamLog};
use integration::{paths, yaml};
use scopegate::cli::{Arguments, Console, Disk, Outcome, run};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

fn named(variable: &str) -> Result<PathBuf> {
    let path = std::env::var_os(variable);
    let path = path.with_context(|| format!("{variable} names no module: `make test-native`"))?;
    Ok(PathBuf::from(path))
}

/// A gate that panics in the hook that its file names, with its keys.
struct Victim {
    scene: Scene,
    orders: PathBuf,
    _folder: tempfile::TempDir,
}

impl Victim {
    async fn start() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let orders = folder.path().join("hook");
        fs::write(&orders, "")?;
        let mut configuration = drill::configuration();
        configuration["limits"] = json!({"wait": format!("{}s", WAIT.as_secs())});
        let settings = drill::settings(configuration)?
            .native(named("SCOPEGATE_PANICS")?)
            .process_environment("SCOPEGATE_PANIC_AT", &orders.display().to_string())
            .concurrency(1);
        let scene = Scene::start_with(settings, Issuer::corporate().await?).await?;
        drill::warm(&scene.envoy).await?;
        Ok(Self {
            scene,
            orders,
            _folder: folder,
        })
    }

    /// Has it panic there from now on, or no more.
    fn order(&self, hook: &str) -> Result<()> {
        write_whole(&self.orders, hook)
    }

    /// Sends a push with a body and trailers, which runs every hook of a request. `None` stands for a connection that was
    /// closed without an answer.
    async fn push(&self) -> Option<Reply> {
        let token = drill::token_of("agent").ok()?;
        let push = RawRequest::post("/loki/api/v1/push", "")
            .bearer(&token)
            .tenant("acme")
            .header("te", "trailers");
        let target = self.scene.envoy.target();
        let pieces = [
            Piece::Data(b"{}".to_vec(), false),
            Piece::Trailers(vec![(b"x-trailer".to_vec(), b"yes".to_vec())]),
        ];
        let sent = h2::exchange_pieces(&target, &push, &pieces);
        timeout(PATIENCE, sent).await.ok()?.ok()
    }

    /// Sends a request with a token of a key that nobody knows yet, which waits for as long as the provider does not
    /// answer. Gives what becomes of it.
    async fn wait_with_a_new_key(&self) -> Result<JoinHandle<Result<Reply>>> {
        self.wait_for(AnswerMode::Hang).await
    }

    /// The same, with a provider that behaves like that.
    async fn wait_for(&self, answer: AnswerMode) -> Result<JoinHandle<Result<Reply>>> {
        self.scene.corporate.set_answer(answer);
        let before = self.scene.corporate.fetches().jwks;
        let token = drill::fresh(Recipe::of("reader").key("rsa-b").kid("rotated"))?;
        let waiting = read(&token, "acme");
        let target = self.scene.envoy.target();
        let waiting = tokio::spawn(async move { waiting.send(&target, Protocol::H1).await });
        let started = Instant::now();
        while self.scene.corporate.fetches().jwks == before {
            ensure!(started.elapsed() < PATIENCE, "nobody asks for the key");
            sleep(Duration::from_millis(20)).await;
        }
        Ok(waiting)
    }

    /// Waits for the hook to have panicked.
    async fn until_panicked(&self, hook: &str) -> Result<()> {
        let line = format!("panic in {hook}");
        let started = Instant::now();
        while !self.scene.envoy.log_contains(&line) {
            ensure!(started.elapsed() < PATIENCE, "never a {line}");
            sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Waits for it to let somebody in again.
    async fn until_well(&self) -> Result<()> {
        self.order("")?;
        let started = Instant::now();
        loop {
            self.scene.envoy.check_alive()?;
            let reply = send(
                &self.scene.envoy,
                &read(&drill::token_of("reader")?, "acme"),
            )
            .await?;
            if reply.status == 200 {
                return Ok(());
            }
            ensure!(
                reply.status == 503 && started.elapsed() < PATIENCE,
                "{} {}",
                reply.status,
                reply.text()
            );
            sleep(Duration::from_millis(50)).await;
        }
    }
}

/// In one step, so that nobody reads half of it.
fn write_whole(path: &Path, text: &str) -> Result<()> {
    let part = path.with_extension("part");
    fs::write(&part, text)?;
    Ok(fs::rename(part, path)?)
}

const PATIENCE: Duration = Duration::from_secs(10);
/// How long a request may wait for keys.
const WAIT: Duration = Duration::from_secs(20);
/// Longer than from one writing of the metrics to the next.
const FLUSHED: Duration = Duration::from_millis(300);

/// Requests that are decided in a hook that panics are refused in a way that clients try again, none of them passes, and
/// Envoy lives.
#[tokio::test(flavor = "multi_thread")]
async fn a_panic_in_a_hook_of_a_request_refuses_it() -> Result<()> {
    let victim = Victim::start().await?;
    for hook in [
        "filter_new",
        "request_headers",
        "request_body",
        "request_trailers",
        "response_headers",
        "worker",
    ] {
        victim.scene.log.clear();
        victim.order(hook)?;
        let reply = victim
            .push()
            .await
            .with_context(|| format!("{hook}: no answer"))?;
        ensure!(reply.status == 503, "{hook}: {reply:?}");
        // Below the hook of the head, which is the first to get there.
        let told = if hook == "worker" {
            "request_headers"
        } else {
            hook
        };
        victim.until_panicked(told).await?;
        let seen = victim.scene.log.count();
        // The decision is made with the head, and the backend may have it when the rest comes.
        let allowed = usize::from(!["filter_new", "request_headers", "worker"].contains(&hook));
        ensure!(
            seen <= allowed,
            "{hook}: a backend has seen {seen} requests"
        );
        victim.until_well().await?;
    }
    Ok(())
}

/// A worker that has panicked knows nothing any more of the streams that it had. Those that wait are refused at once, and
/// those that are open end: nobody would end them when their token expires.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_panics_takes_its_streams_with_it() -> Result<()> {
    let victim = Victim::start().await?;
    victim.scene.log.clear();
    victim.scene.upstream("loki")?.behave(Behaviour::Hang);
    let hanging = read(&drill::token_of("reader")?, "acme");
    let target = victim.scene.envoy.target();
    let hanging = tokio::spawn(async move { hanging.send(&target, Protocol::H1).await });
    let waiting = victim.wait_with_a_new_key().await?;
    let asked = Instant::now();
    while victim.scene.log.count() == 0 {
        ensure!(asked.elapsed() < PATIENCE, "the backend has seen nothing");
        sleep(Duration::from_millis(20)).await;
    }
    victim.order("worker")?;
    let started = Instant::now();
    // A gRPC client is told so in its own way, also by the hook that panics.
    let call = RawRequest::post(
        "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
        vec![0; 5],
    )
    .bearer(&drill::token_of("agent")?)
    .tenant("acme")
    .header("content-type", "application/grpc")
    .header("te", "trailers");
    let call = call
        .send(&victim.scene.envoy.target(), Protocol::H2)
        .await?;
    ensure!(
        call.status == 200 && call.grpc_status() == Some(14),
        "{call:?}"
    );
    victim.order("")?;
    for refused in [waiting, hanging] {
        let reply = timeout(PATIENCE, refused).await???;
        ensure!(reply.status == 503, "{reply:?}");
        ensure!(reply.header("retry-after").is_some(), "{reply:?}");
    }
    ensure!(started.elapsed() < PATIENCE, "{:?}", started.elapsed());
    victim.scene.corporate.set_answer(AnswerMode::Good);
    victim.scene.upstream("loki")?.behave(Behaviour::Echo);
    victim.until_well().await?;
    // Nobody counts them any more.
    sleep(FLUSHED).await;
    victim.until_well().await?;
    let metric = "scopegate_waiting_requests";
    drill::wait_for_metric(&victim.scene.envoy, metric, &[], PATIENCE, |it| it < 1.0).await?;
    Ok(())
}

/// Who waits and is woken by a hook that panics is refused, and does not wait for ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_panic_in_a_wake_up_refuses_who_waits() -> Result<()> {
    let victim = Victim::start().await?;
    let waiting = victim.wait_with_a_new_key().await?;
    victim.order("scheduled")?;
    let reply = timeout(PATIENCE, waiting).await???;
    ensure!(reply.status == 503, "{reply:?}");
    victim.until_panicked("scheduled").await?;
    victim.scene.corporate.set_answer(AnswerMode::Good);
    victim.until_well().await
}

/// A configuration whose load panics is refused, and the one before goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_panic_while_a_configuration_loads_refuses_it() -> Result<()> {
    let victim = Victim::start().await?;
    victim.order("config_new")?;
    let mut next = drill::configuration();
    next["limits"] = json!({"cached_tokens": 7});
    let update = victim.scene.envoy.replace_configuration(&next).await?;
    ensure!(update != Update::Accepted, "{update:?}");
    victim.until_panicked("config_new").await?;
    victim.until_well().await?;
    let update = victim.scene.envoy.replace_configuration(&next).await?;
    ensure!(update == Update::Accepted, "{update:?}");
    // That of the one before is destroyed behind it.
    victim.order("config_destroy")?;
    next["limits"] = json!({"cached_tokens": 8});
    victim.scene.envoy.replace_configuration(&next).await?;
    victim.until_panicked("config_destroy").await?;
    victim.until_well().await
}

/// In Envoy each configuration has metrics of its own. What was written once and does not change is there for the next.
#[tokio::test(flavor = "multi_thread")]
async fn metrics_outlive_the_configuration_that_wrote_them() -> Result<()> {
    named("SCOPEGATE_NATIVE")?;
    let scene = drill::scene(drill::configuration()).await?;
    drill::warm(&scene.envoy).await?;
    let labelled = async || -> Result<Vec<String>> {
        let metrics = scene.envoy.prometheus_metrics().await?;
        let lines = metrics
            .lines()
            .filter(|line| line.starts_with("scopegate_") && line.contains("=\""));
        let names = lines.filter_map(|line| line.split(' ').next());
        let mut names: Vec<String> = names.map(str::to_owned).collect();
        names.sort();
        Ok(names)
    };
    sleep(Duration::from_secs(1)).await;
    let before = labelled().await?;
    ensure!(
        before
            .iter()
            .any(|name| name.starts_with("scopegate_build_info{")),
        "{before:?}"
    );
    let mut configuration = drill::configuration();
    for number in 0..3 {
        configuration["limits"] = json!({"cached_tokens": 100 + number});
        let update = scene.envoy.replace_configuration(&configuration).await?;
        ensure!(update == Update::Accepted, "{update:?}");
        drill::warm(&scene.envoy).await?;
        sleep(Duration::from_secs(1)).await;
        let after = labelled().await?;
        for name in &before {
            ensure!(after.contains(name), "{number}: {name} is gone: {after:?}");
        }
    }
    Ok(())
}

/// A provider's answer is lost if one of its hooks panics. Who waits for it is refused in a way that clients try again, or
/// told of what the next answer says, long before the time for waiting is over.
#[tokio::test(flavor = "multi_thread")]
async fn a_panic_in_an_answer_leaves_nobody_waiting() -> Result<()> {
    for hook in ["answer_head", "answer_data", "answer_complete"] {
        let victim = Victim::start().await?;
        let provider = &victim.scene.corporate;
        let held = AnswerMode::Held(Box::new(AnswerMode::Good));
        let waiting = victim.wait_for(held).await?;
        victim.order(hook)?;
        provider.release();
        victim.until_panicked(hook).await?;
        victim.order("")?;
        provider.set_answer(AnswerMode::Good);
        let reply = timeout(WAIT * 3 / 4, waiting).await;
        let reply = reply.with_context(|| format!("{hook}: it waits on"))???;
        ensure!(
            matches!(reply.status, 401 | 503),
            "{hook}: {} {}",
            reply.status,
            reply.text()
        );
        victim.until_well().await?;
    }
    Ok(())
}

/// What panics behind the decision or beside it takes nobody with it.
#[tokio::test(flavor = "multi_thread")]
async fn a_panic_beside_a_request_leaves_envoy_alive() -> Result<()> {
    let victim = Victim::start().await?;
    for hook in ["stream_complete", "filter_destroy", "config_scheduled"] {
        victim.order(hook)?;
        victim.push().await;
        victim.until_panicked(hook).await?;
        victim.until_well().await?;
    }
    // Envoy 1.38 takes metrics only when a stream ends.
    sleep(FLUSHED).await;
    victim.until_well().await?;
    drill::wait_for_metric(
        &victim.scene.envoy,
        "scopegate_panics_total",
        &[],
        PATIENCE,
        |panics| panics >= 3.0,
    )
    .await?;
    Ok(())
}

/// The record for the access log says how the request ended, which is not known when it is decided on.
#[tokio::test(flavor = "multi_thread")]
async fn a_record_in_filter_state_has_the_final_status() -> Result<()> {
    named("SCOPEGATE_NATIVE")?;
    let scene = drill::scene(drill::configuration()).await?;
    drill::warm(&scene.envoy).await?;
    let loki = scene.upstream("loki")?;
    let own = |status| Behaviour::Answer {
        status,
        headers: Vec::new(),
        body: String::new(),
    };
    let reader = drill::token_of("reader")?;
    let cases = [
        ("passed", Behaviour::Echo, "acme", 200, "allow"),
        ("missing", own(404), "acme", 404, "allow"),
        ("broken", Behaviour::Close, "acme", 502, "allow"),
        ("refused", Behaviour::Echo, "somebody-elses", 403, "deny"),
    ];
    for (id, behaviour, tenant, status, decision) in cases {
        loki.behave(behaviour);
        let request = read(&reader, tenant).header("x-test-id", id);
        let reply = send(&scene.envoy, &request).await?;
        ensure!(reply.status == status, "{id}: {reply:?}");
        let record = record(&scene.envoy, id).await?;
        ensure!(record["decision"] == decision, "{id}: {record}");
        ensure!(record["status"] == status, "{id}: {record}");
    }
    loki.behave(Behaviour::Hang);
    let request = read(&reader, "acme").header("x-test-id", "left");
    let bytes = h1::serialized(&request);
    h1::abandon(&scene.envoy.target(), &bytes, Duration::from_millis(300)).await?;
    let record = record(&scene.envoy, "left").await?;
    ensure!(record["status"] == Value::Null, "{record}");
    Ok(())
}

/// The record in the access log.
async fn record(envoy: &Envoy, id: &str) -> Result<Value> {
    let line = envoy.access_line(id, PATIENCE).await?;
    let record = line.scopegate.with_context(|| format!("{id}: no record"))?;
    let record = record.as_str().context("no text")?;
    Ok(serde_json::from_str(record)?)
}

/// Two hundred configurations, each of which replaces one whose fetch has not been answered.
#[tokio::test(flavor = "multi_thread")]
async fn configurations_go_while_their_fetches_are_under_way() -> Result<()> {
    named("SCOPEGATE_NATIVE")?;
    let scene = drill::scene(drill::configuration()).await?;
    drill::warm(&scene.envoy).await?;
    scene.corporate.set_answer(AnswerMode::Hang);
    let mut configuration = drill::configuration();
    for number in 0..SWAPS {
        // Another address is another set, which nobody has.
        configuration["providers"][0]["jwks"]["uri"] =
            json!(format!("https://corporate.example.com/jwks?{number}"));
        let update = scene.envoy.replace_configuration(&configuration).await?;
        ensure!(update == Update::Accepted, "{number}: {update:?}");
        // A request on whatever thread, which wants the keys.
        let request = read(&drill::token_of("reader")?, "acme");
        let target = scene.envoy.target();
        tokio::spawn(async move { request.send(&target, Protocol::H1).await });
        scene.envoy.check_alive()?;
    }
    scene.corporate.set_answer(AnswerMode::Good);
    let started = Instant::now();
    loop {
        let reply = send(&scene.envoy, &read(&drill::token_of("reader")?, "acme")).await?;
        if reply.status == 200 {
            break;
        }
        ensure!(started.elapsed() < 6 * PATIENCE, "{reply:?}");
        sleep(Duration::from_millis(100)).await;
    }
    drill::check_health(&scene.envoy).await
}

const SWAPS: usize = 200;

/// The files of `scopegate render envoy --native`, as they are but for the folder in which they lie.
#[tokio::test(flavor = "multi_thread")]
async fn a_rendered_gate_loads_the_native_module() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut document: Value = yaml::read(&paths::repository().join("envoy/deployment.yaml"))?;
    // That of the other form is refused.
    ensure!(render(&document, folder.path()).is_err());
    document["deployment"]["module"] = json!("/etc/envoy/libscopegate.so");
    document["organizations"][0]["tenants"] = json!(["acme"]);
    document["organizations"][0]["rbac"] = json!({"viewers": ["shop-team"]});
    render(&document, folder.path())?;
    let authority = Arc::new(Authority::new()?);
    let place = folder.path().display().to_string();
    for file in ["envoy.yaml", "ecds/scopegate.yaml"] {
        let file = folder.path().join(file);
        let text = fs::read_to_string(&file)?;
        let text = text.replace("/etc/envoy", &place);
        let text = text.replace(
            "/etc/ssl/certs/ca-certificates.crt",
            &format!("{place}/ca.crt"),
        );
        fs::write(&file, text)?;
    }
    let (chain, key) = authority.issue(&["observability.example.com"])?;
    fs::create_dir(folder.path().join("tls"))?;
    fs::write(folder.path().join("tls/tls.crt"), chain)?;
    fs::write(folder.path().join("tls/tls.key"), key)?;
    fs::write(folder.path().join("ca.crt"), authority.pem())?;
    fs::copy(
        named("SCOPEGATE_NATIVE")?,
        folder.path().join("libscopegate.so"),
    )?;

    let provider = Issuer::corporate().await?;
    let door = terminate(&authority, "login.example.com", provider.address()).await?;
    let log = UpstreamLog::new();
    let loki = Upstream::start("loki", &log).await?;
    let settings = EnvoySettings::from_file(&folder.path().join("envoy.yaml"))?
        .as_rendered(authority)
        .cluster("idp", door.address())
        .cluster("loki", loki.address());
    let envoy = Envoy::start(settings).await?;
    let member = drill::fresh(Recipe::of("reader").claim("groups", json!(["shop-team"])))?;
    let other = drill::fresh(Recipe::of("reader").claim("groups", json!(["another"])))?;
    for (token, status) in [(&member, 200), (&other, 403)] {
        let reply = send(&envoy, &read(token, "acme")).await?;
        ensure!(reply.status == status, "{reply:?}");
    }
    ensure!(log.count() == 1, "{:?}", log.all());
    ensure!(envoy.log_contains("loading natively, by version v0."));
    // By the names that dashboard and alerts ask for.
    for decision in ["allow", "deny"] {
        let labels = [("decision", decision)];
        let enough = |value| value >= 1.0;
        drill::wait_for_metric(
            &envoy,
            "scopegate_decisions_total",
            &labels,
            PATIENCE,
            enough,
        )
        .await?;
    }
    Ok(())
}

/// Renders `document` into `folder`.
fn render(document: &Value, folder: &Path) -> Result<()> {
    let folder = folder.to_str().context("no text")?;
    let arguments = [
        "scopegate",
        "render",
        "envoy",
        "--native",
        "-",
        "--output-dir",
        folder,
    ];
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
            variables: BTreeMap::new(),
        },
    );
    let said = String::from_utf8_lossy(&errors);
    ensure!(outcome == Outcome::Good, "{said}");
    Ok(())
}
