//! schemathesis sends requests, and the document says which answers are allowed.
//!
//! It generates requests from the document, some valid and some not, and compares each answer with the document: its
//! status, type, body and headers. Each run has a different caller. For the caller who is let in, most queries are
//! taken from lists, because random texts are seldom queries.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use integration::client::{Protocol, RawRequest, Reply};
use integration::form;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;

use crate::scene::{self, HIDDEN, PROJECT, RESOURCE, Scene};
use crate::{document, python};

integration::trials![
    no_answer_is_outside_the_document needs [OPENAPI_PYTHON, LOKI, MIMIR],
];

#[tokio::main]
async fn no_answer_is_outside_the_document() -> Result<()> {
    let scene = Scene::start().await?;
    reaches_the_data(&scene).await?;
    by_hand(&scene).await?;
    let seed = seed()?;
    println!("seed {seed}; OPENAPI_SEED sets another");

    let granted = Run::new("granted", Some(scene::token()?), EXAMPLES)
        .with_lists(&scene)
        .start(&scene, seed)
        .await?;
    for path in ["/logs", "/metrics/query_range"] {
        let found = granted.iter().filter(|exchange| {
            exchange.is_of(path) && exchange.status == 200 && exchange.body.contains(RESOURCE)
        });
        ensure!(
            found.count() > 0,
            "no data from {path}: the run shows little"
        );
        for status in [400, 405] {
            let given = granted.iter().any(|exchange| exchange.status == status);
            ensure!(given, "nothing was answered with {status}");
        }
    }

    let wide = Run::new("any project", Some(scene::token()?), FEWER)
        .start(&scene, seed)
        .await?;
    let outside = |exchange: &&Exchange| !exchange.path.contains(&format!("/{PROJECT}/"));
    ensure!(
        wide.iter().any(|exchange| outside(&exchange)),
        "one project only"
    );
    for exchange in wide.iter().filter(outside) {
        ensure!(exchange.status != 200, "{exchange:?}");
    }

    for (name, token, statuses) in [
        ("stranger", Some(scene::stranger()?), &[403, 404][..]),
        ("expired", Some(scene::expired()?), &[401]),
        ("anonymous", None, &[401]),
    ] {
        let exchanges = Run::new(name, token, FEWER).start(&scene, seed).await?;
        let given = |status| exchanges.iter().any(|exchange| exchange.status == status);
        ensure!(
            statuses.iter().any(|status| given(*status)),
            "{name}: none of {statuses:?}"
        );
        for exchange in &exchanges {
            // 400: a credential that is malformed or there twice; 405: another method; 431: too long.
            let refused = statuses.contains(&exchange.status)
                || [400, 401, 404, 405, 431].contains(&exchange.status);
            ensure!(refused, "{name}: {exchange:?}");
        }
    }
    without_a_backend(&scene).await
}

/// The curl lines of the document's readers, by hand: the data is there and can be had.
async fn reaches_the_data(scene: &Scene) -> Result<()> {
    let range = format!("start={}&end={}&step=15s", scene.now - 600, scene.now + 60);
    let lines = form::encode("|= \"failed\"");
    for path in [
        format!("logs?query={lines}&limit=100"),
        format!("metrics/query_range?query=cpu_usage_percent&{range}"),
    ] {
        let path = format!("/api/v1/projects/{PROJECT}/resources/{RESOURCE}/{path}");
        let request = RawRequest::get(&path).bearer(&scene::token()?);
        let reply = request.send(&scene.envoy.target(), Protocol::H1).await?;
        let (status, text) = (reply.status, reply.text());
        ensure!(
            status == 200 && text.contains(RESOURCE),
            "{path}: {status} {text}"
        );
    }
    Ok(())
}

/// What schemathesis does not send, with the status and type that the document gives it.
async fn by_hand(scene: &Scene) -> Result<()> {
    let logs = format!("/api/v1/projects/{PROJECT}/resources/{RESOURCE}/logs");
    let get = |path: &str| anyhow::Ok(RawRequest::get(path).bearer(&scene::token()?));
    let long = format!("{logs}?query={}", "a".repeat(61_000));
    for (request, status, kind) in [
        (
            get(&logs)?
                .header("upgrade", "websocket")
                .header("connection", "upgrade"),
            400,
            JSON,
        ),
        (get(&format!("{logs}?query=%zz"))?, 400, JSON),
        (get(&format!("{logs}?access_token=a"))?, 400, JSON),
        (
            RawRequest::get(&format!("{logs}?access_token=a")),
            401,
            JSON,
        ),
        (
            RawRequest::get(&logs).header("authorization", "Basic YTpi"),
            401,
            JSON,
        ),
        (get(&format!("{logs}/"))?, 404, TEXT),
        (get(&logs.replace(RESOURCE, "other"))?, 404, JSON),
        (
            RawRequest::post(&logs, "").bearer(&scene::token()?),
            405,
            TEXT,
        ),
        (get(&long)?, 431, TEXT),
    ] {
        let reply = request.send(&scene.envoy.target(), Protocol::H1).await?;
        let named = |(name, _): &(Vec<u8>, Vec<u8>)| String::from_utf8_lossy(name).into_owned();
        check(&reply, status, kind).with_context(|| {
            let path = String::from_utf8_lossy(&request.path);
            let headers: Vec<String> = request.headers.iter().map(named).collect();
            format!("{path:.200} with {headers:?}, expected {status} {kind}")
        })?;
    }
    Ok(())
}

/// A backend that is gone.
async fn without_a_backend(scene: &Scene) -> Result<()> {
    scene.mimir.daemon()?.kill();
    let range = format!("start={}&end={}&step=15s", scene.now - 600, scene.now);
    let path = format!(
        "/api/v1/projects/{PROJECT}/resources/{RESOURCE}/metrics/query_range?query=up&{range}"
    );
    let request = RawRequest::get(&path).bearer(&scene::token()?);
    let reply = request.send(&scene.envoy.target(), Protocol::H1).await?;
    check(&reply, 502, JSON)?;
    ensure!(reply.header("retry-after").is_some(), "no Retry-After");
    Ok(())
}

fn check(reply: &Reply, status: u16, kind: &str) -> Result<()> {
    let sent = reply.header("content-type").unwrap_or_default();
    let fits = reply.status == status && sent.starts_with(kind);
    ensure!(fits, "{} {sent} {}", reply.status, reply.text());
    Ok(())
}

const JSON: &str = "application/json";
const TEXT: &str = "text/plain";

/// One start of schemathesis.
struct Run {
    name: &'static str,
    token: Option<String>,
    examples: u32,
    configuration: String,
}

/// A request and its answer.
#[derive(Debug)]
struct Exchange {
    method: String,
    path: String,
    status: u64,
    body: String,
}

impl Exchange {
    fn is_of(&self, path: &str) -> bool {
        self.method == "GET" && self.path.ends_with(path)
    }
}

impl Run {
    fn new(name: &'static str, token: Option<String>, examples: u32) -> Run {
        Run {
            name,
            token,
            examples,
            configuration: String::new(),
        }
    }

    /// The project that there is, queries and times that find something in most requests.
    fn with_lists(mut self, scene: &Scene) -> Run {
        let times: Vec<String> = [3600, 600, 60, 0]
            .iter()
            .map(|ago| (scene.now - ago).to_string())
            .collect();
        // A string of JSON is one of TOML.
        self.configuration = format!(
            "[parameters]\n\
             \"path.projectId\" = \"{PROJECT}\"\n\
             \"path.resourceId\" = \"{RESOURCE}\"\n\
             [dictionaries]\n\
             logs = {{ values = {} }}\n\
             metrics = {{ values = {} }}\n\
             times = {{ values = {} }}\n\
             steps = {{ values = [\"15s\", \"1m\", \"60\", \"0.5\", \"0s\"] }}\n",
            json!(LOG_QUERIES),
            json!(METRIC_QUERIES),
            json!(times),
        );
        for (operation, list) in [("queryLogs", "logs"), ("queryMetrics", "metrics")] {
            let parameters = format!(
                "[[operations]]\n\
                 include-operation-id = \"{operation}\"\n\
                 [operations.parameters]\n\
                 \"query.query\" = {{ dictionary = \"{list}\", probability = 0.7 }}\n\
                 \"query.start\" = {{ dictionary = \"times\", probability = 0.7 }}\n\
                 \"query.end\" = {{ dictionary = \"times\", probability = 0.7 }}\n\
                 \"query.step\" = {{ dictionary = \"steps\", probability = 0.7 }}\n",
            );
            self.configuration += &parameters;
        }
        self
    }

    /// Run it to its end; what was asked and answered.
    ///
    /// # Errors
    /// With all that schemathesis says, if an answer is not in the document.
    async fn start(self, scene: &Scene, seed: u64) -> Result<Vec<Exchange>> {
        let name = self.name;
        let began = Instant::now();
        let folder = tempfile::tempdir()?;
        let record = folder.path().join("har.json");
        let mut command = self.command(scene, seed, &folder, &record)?;
        let output = tokio::time::timeout(PATIENCE, command.output())
            .await
            .with_context(|| format!("{name}: not done within {PATIENCE:?}"))??;
        let said = String::from_utf8_lossy(&output.stdout);
        if !output.status.success() {
            let errors = String::from_utf8_lossy(&output.stderr);
            bail!("{name}, seed {seed}:\n{said}\n{errors}");
        }
        let exchanges = read(&record).with_context(|| format!("{name}:\n{said}"))?;
        ensure!(!exchanges.is_empty(), "{name}: nothing was asked:\n{said}");
        for exchange in &exchanges {
            ensure!(!exchange.body.contains(HIDDEN), "{name}: {exchange:?}");
        }
        let mut statuses: BTreeMap<u64, usize> = BTreeMap::new();
        for exchange in &exchanges {
            *statuses.entry(exchange.status).or_default() += 1;
        }
        let seconds = began.elapsed().as_secs_f32();
        println!(
            "{name}: {} answers in {seconds:.0} s: {statuses:?}",
            exchanges.len()
        );
        Ok(exchanges)
    }

    fn command(
        &self,
        scene: &Scene,
        seed: u64,
        folder: &TempDir,
        record: &Path,
    ) -> Result<Command> {
        let configuration = folder.path().join("schemathesis.toml");
        fs::write(&configuration, format!("{METHODS}{}", self.configuration))?;
        let mut command = Command::new(python()?);
        command
            .current_dir(folder.path())
            .args(["-m", "schemathesis.cli", "--config-file"])
            .arg(configuration)
            .arg("run")
            .arg(asked(scene, folder)?)
            .args(["--url", &format!("http://{}", scene.envoy.address())])
            .args(["--checks", CHECKS])
            .args(["--phases", "examples,coverage,fuzzing", "--mode", "all"])
            .args(["--max-examples", &self.examples.to_string()])
            .args(["--seed", &seed.to_string()])
            .args(["--generation-database", "none", "--request-timeout", "30"])
            .args(["--suppress-health-check", "all", "--warnings", "off"])
            .args([
                "--no-color",
                "--continue-on-failure",
                "--output-sanitize",
                "false",
            ])
            .args(["--report", "har", "--report-har-path"])
            .arg(record)
            .env("PYTHONUTF8", "1")
            .kill_on_drop(true);
        if let Some(token) = &self.token {
            command.args(["-H", &format!("Authorization: Bearer {token}")]);
        }
        Ok(command)
    }
}

/// The document with the times of its examples set to when the data was written.
fn asked(scene: &Scene, folder: &TempDir) -> Result<PathBuf> {
    let mut text = fs::read_to_string(document())?;
    for (example, time) in [
        ("2025-01-27T10:00:00Z", scene.now - 600),
        ("2025-01-27T11:00:00Z", scene.now + 60),
    ] {
        ensure!(text.contains(example), "{example} is not in the document");
        text = text.replace(example, &time.to_string());
    }
    let file = folder.path().join("openapi.yaml");
    fs::write(&file, text)?;
    Ok(file)
}

/// The exchanges of a HAR file.
fn read(record: &Path) -> Result<Vec<Exchange>> {
    let har: Value = serde_json::from_slice(&fs::read(record)?)?;
    let entries = har["log"]["entries"].as_array().context("no entries")?;
    entries
        .iter()
        .map(|entry| {
            let url = entry["request"]["url"].as_str().context("no URL")?;
            let path = url.split_once("//").map_or(url, |(_, rest)| rest);
            let path = path.split('?').next().unwrap_or_default();
            Ok(Exchange {
                method: entry["request"]["method"]
                    .as_str()
                    .context("no method")?
                    .to_owned(),
                path: path.to_owned(),
                status: entry["response"]["status"].as_u64().context("no status")?,
                body: entry["response"]["content"]["text"]
                    .as_str()
                    .unwrap_or_default()
                    .to_owned(),
            })
        })
        .collect()
}

fn seed() -> Result<u64> {
    match std::env::var("OPENAPI_SEED") {
        Ok(text) if !text.is_empty() => text.parse().context("OPENAPI_SEED"),
        _ => Ok(SEED),
    }
}

/// Of an answer to a request that the document allows or not, and of methods that it does not have.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,\
    response_schema_conformance,response_headers_conformance,unsupported_method,ignored_auth";

/// Those that Envoy knows: another one is answered by its HTTP/1 parser, before any filter, with a bare 400.
const METHODS: &str = "[phases.coverage]\n\
    unexpected-methods = [\"POST\", \"PUT\", \"PATCH\", \"DELETE\", \"OPTIONS\", \"TRACE\"]\n";

const LOG_QUERIES: &[&str] = &[
    "",
    r#"{level="error"}"#,
    r#"{resource_id=~".+"}"#,
    r#"{resource_id="hidden"} or {level="error"}"#,
    r#"|= "failed""#,
    r#"| json | line_format "{{.level}}""#,
    r#"| logfmt | level != "info" | label_format a=b"#,
    r#"{level="error"} |~ "order (1|2)" != "x""#,
    r#"count_over_time({level="error"}[5m])"#,
    r#"sum by (level) (rate({level=~".+"} | json | __error__="" [1m]))"#,
    r#"quantile_over_time(0.9, {level="error"} | unwrap bytes(owner) [5m])"#,
    r#"topk(2, sum by (owner) (count_over_time({owner=~".*"}[1h]))) / 0"#,
    r#"label_replace(rate({level="error"}[1m]), "$", "a", "b", "(")"#,
    r#"{level="error"} | line_format "{{""#,
    r#"{level="error"} |~ "(""#,
    r#"{level="error"} | unpack | decolorize"#,
    r#"count_over_time({level="error"}[800d])"#,
    "vector(1)",
    "{}",
    "{level=\"error\"",
];

const METRIC_QUERIES: &[&str] = &[
    "cpu_usage_percent",
    r#"{__name__=~".+"}"#,
    r#"cpu_usage_percent{resource_id=~".+"} or http_requests_total"#,
    "sum by (owner) (rate(http_requests_total[5m]))",
    "histogram_quantile(0.9, http_requests_total)",
    "cpu_usage_percent / 0",
    "-cpu_usage_percent * on (owner) group_left () http_requests_total",
    "max_over_time(cpu_usage_percent[10m:1m] offset 1m)",
    "cpu_usage_percent @ end()",
    r#"label_replace(cpu_usage_percent, "$", "a", "b", "(")"#,
    r#"label_join(cpu_usage_percent, "a", "-", "owner", "owner")"#,
    r#"count_values("owner", cpu_usage_percent)"#,
    "quantile(2, cpu_usage_percent)",
    "topk(NaN, cpu_usage_percent)",
    "absent(nothing_of_this_name)",
    "1",
    "\"text\"",
    "cpu_usage_percent[5m]",
    "unknown(cpu_usage_percent)",
    "cpu_usage_percent{",
    "sum(",
];

/// Cases for each operation in the last phase of a run.
const EXAMPLES: u32 = 120;
const FEWER: u32 = 25;
const SEED: u64 = 20_261_121;
const PATIENCE: Duration = Duration::from_secs(240);
