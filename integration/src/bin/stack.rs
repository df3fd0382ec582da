//! What `make stack` starts: the platform on one machine, with the gate in front of it, until Ctrl-C.
//!
//! With `--self-test` it runs the printed commands as tests instead of waiting, and exits with 0 if none fails. They
//! are skipped if a part of the stack is not available.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use integration::client::{Protocol, RawRequest};
use integration::part::{self, Part};
use integration::prometheus::Prometheus;
use integration::stack::{self, ACME, GLOBEX, Stack};
use integration::{otlp, token, trial};
use libtest_mimic::Arguments;
use prost::Message;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main]
async fn main() -> ExitCode {
    let self_test = match std::env::args().skip(1).collect::<Vec<_>>().as_slice() {
        [] => false,
        [flag] if flag == "--self-test" => true,
        other => {
            eprintln!("usage: scopegate-stack [--self-test] (got {other:?})");
            return ExitCode::from(2);
        }
    };
    match Box::pin(run(self_test)).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("scopegate-stack: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the stack, and returns whether all was well.
async fn run(self_test: bool) -> Result<bool> {
    // The signal is handled from the beginning, so that an early Ctrl-C cleans up too.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let start = async {
        // This runs on another thread, because it may take minutes.
        let missing = tokio::task::spawn_blocking(|| part::lacking(&NEEDS)).await??;
        if let Some(reason) = missing {
            return Ok(Err(reason));
        }
        Scene::start().await.map(Ok)
    };
    let scene = tokio::select! {
        scene = start => scene?,
        _ = terminate.recv() => return Ok(true),
        _ = interrupt.recv() => return Ok(true),
    };
    let scene = match scene {
        Ok(scene) => scene,
        Err(reason) if self_test => {
            let trials = [LOGS, METRICS, TRACES, REFUSAL].map(|name| trial::skipped(name, &reason));
            let conclusion = libtest_mimic::run(&Arguments::default(), trials.into());
            return Ok(!conclusion.has_failed());
        }
        Err(reason) => bail!(reason),
    };
    if self_test {
        return Ok(tokio::task::block_in_place(|| scene.self_test()));
    }
    scene.print()?;
    let mut failed = 0;
    loop {
        tokio::select! {
            biased;
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            () = tokio::time::sleep(Duration::from_secs(2)) => {
                scene.stack.envoy()?.check_alive()?;
                // If somebody stops a backend to see what happens, that is no reason to end.
                match scene.traffic().await {
                    Ok(()) => failed = 0,
                    Err(error) if failed == 0 => {
                        eprintln!("traffic: {error:#}");
                        failed = 1;
                    }
                    Err(_) => {}
                }
            }
        }
    }
    let _ = writeln!(std::io::stdout(), "\nstopping");
    Ok(true)
}

/// The stack, and the clients that write to it. Fields are dropped, and so stopped, from top to bottom.
struct Scene {
    _agents: Vec<Prometheus>,
    stack: Stack,
    logcli: PathBuf,
    promtool: PathBuf,
}

/// A command to paste, and a part of its answer.
struct Example {
    what: &'static str,
    line: String,
    answer: &'static str,
}

impl Scene {
    async fn start() -> Result<Scene> {
        let stack = Stack::start(|what| eprintln!("{what}")).await?;
        let mut agents = Vec::new();
        for tenant in [ACME, GLOBEX] {
            let admin: SocketAddr = stack.envoy()?.admin_address();
            agents.push(
                stack
                    .agent(tenant, &[stack.loki.http(), stack.mimir.http(), admin])
                    .await?,
            );
        }
        let scene = Scene {
            _agents: agents,
            stack,
            logcli: part::LOGCLI.find()?,
            promtool: part::PROMTOOL.find()?,
        };
        scene.traffic().await?;
        Ok(scene)
    }

    /// Writes a line and a span for each tenant, as its agent does.
    async fn traffic(&self) -> Result<()> {
        for tenant in [ACME, GLOBEX] {
            let token = self
                .stack
                .keycloak
                .machine(&format!("agent-{tenant}"))
                .await?;
            let now = token::now();
            let streams = json!({"streams": [{
                "stream": {"service_name": "shop", "namespace": "web"},
                "values": [[format!("{now}000000000"), format!("an order of {tenant}, number {now}")]],
            }]});
            let push = RawRequest::post("/loki/api/v1/push", streams.to_string())
                .header("content-type", "application/json");
            let trace = u128::try_from(now)? << 8 | u128::from(tenant == ACME);
            let spans =
                otlp::traces("shop", &[(trace, "order", &[("tenant", tenant)])]).encode_to_vec();
            let export = RawRequest::post("/otlp/v1/traces", spans)
                .header("content-type", "application/x-protobuf");
            for request in [push, export] {
                let request = request.bearer(&token).tenant(tenant);
                let reply = request.send(&self.stack.target(), Protocol::H1).await?;
                if !(200..300).contains(&reply.status) {
                    bail!("{} {}", reply.status, reply.text());
                }
            }
        }
        Ok(())
    }

    fn examples(&self) -> Vec<Example> {
        let gate = self.stack.plain();
        let token = self.stack.keycloak.token_url();
        let authority = self.stack.authority().display().to_string();
        let tls = self.stack.url();
        let (logcli, promtool) = (self.logcli.display(), self.promtool.display());
        vec![
            Example {
                what: TOKEN,
                line: format!(
                    "TOKEN=$(curl -sS -d 'grant_type=password&client_id=grafana&client_secret=grafana-secret&username=alice&password=alice' {token} | sed 's/.*\"access_token\":\"\\([^\"]*\\)\".*/\\1/')"
                ),
                answer: "",
            },
            Example {
                what: LOGS,
                line: format!(
                    "{logcli} --quiet --addr={tls} --ca-cert={authority} --bearer-token=$TOKEN --org-id=acme query '{{service_name=\"shop\"}}'"
                ),
                answer: "an order of acme",
            },
            Example {
                what: METRICS,
                line: format!(
                    "{promtool} query instant --http.config.file=<(echo \"{{authorization: {{credentials: $TOKEN}}, http_headers: {{X-Scope-OrgID: {{values: [acme]}}}}, tls_config: {{ca_file: {authority}}}}}\") {tls}/prometheus 'count(up)'"
                ),
                answer: "=> ",
            },
            Example {
                what: TRACES,
                line: format!(
                    "curl -sS -H \"Authorization: Bearer $TOKEN\" -H 'X-Scope-OrgID: acme' -G --data-urlencode 'q={{ resource.service.name = \"shop\" }}' http://{gate}/tempo/api/search"
                ),
                answer: "traceID",
            },
            Example {
                what: REFUSAL,
                line: format!(
                    "curl -sS -i -H \"Authorization: Bearer $TOKEN\" -H 'X-Scope-OrgID: globex' http://{gate}/loki/api/v1/labels"
                ),
                answer: "403 Forbidden",
            },
        ]
    }

    fn print(&self) -> Result<()> {
        let stack = &self.stack;
        let mut out = std::io::stdout().lock();
        writeln!(
            out,
            "\nThe stack is up. Paste these into another terminal (bash):\n"
        )?;
        for example in self.examples() {
            writeln!(out, "# {}\n{}\n", example.what, example.line)?;
        }
        writeln!(
            out,
            "people    alice: viewer of acme, edith: editor, ada: admin; bob: viewer of globex; carol: of both"
        )?;
        writeln!(
            out,
            "machines  agent-acme, agent-globex: write; the secret is the name and -secret"
        )?;
        writeln!(
            out,
            "gate      {} (certificate of {}), http://{}",
            stack.url(),
            stack.authority().display(),
            stack.plain()
        )?;
        writeln!(
            out,
            "Keycloak  http://{}/admin (admin, admin)",
            stack.keycloak.address()
        )?;
        writeln!(out, "Envoy     http://{}/", stack.envoy()?.admin_address())?;
        writeln!(
            out,
            "behind    Loki {}, Mimir {}, Tempo ({}) {}",
            stack.loki.http(),
            stack.mimir.http(),
            stack.tempo.kind(),
            stack.tempo.http()
        )?;
        writeln!(out, "\nCtrl-C stops everything.")?;
        Ok(())
    }

    /// Runs each printed command as a test of its own.
    fn self_test(&self) -> bool {
        let (setup, examples): (Vec<_>, Vec<_>) = self
            .examples()
            .into_iter()
            .partition(|example| example.answer.is_empty());
        let setup: String = setup
            .into_iter()
            .map(|example| example.line + "\n")
            .collect();
        let trials = examples.into_iter().map(|example| {
            let setup = setup.clone();
            trial::needing(example.what, &[], move || example.check(&setup))
        });
        let arguments = Arguments {
            test_threads: Some(1),
            ..Arguments::default()
        };
        !libtest_mimic::run(&arguments, trials.collect()).has_failed()
    }
}

impl Example {
    /// Runs the command after those that were pasted before.
    fn check(&self, setup: &str) -> Result<()> {
        let script = format!("{setup}{}", self.line);
        let mut answer = String::new();
        // It takes a moment until queries find what was written.
        for _ in 0..20 {
            let output = Command::new("bash").arg("-c").arg(&script).output();
            let output = output.context("no bash")?;
            answer = String::from_utf8_lossy(&output.stdout).into_owned()
                + &String::from_utf8_lossy(&output.stderr);
            if answer.contains(self.answer) {
                return Ok(());
            }
            std::thread::sleep(Duration::from_secs(1));
        }
        bail!("{}\n{answer}", self.line)
    }
}

/// The parts that are started, and those that are needed for the commands.
const NEEDS: [Part; 7] = {
    let [keycloak, loki, mimir, agent, collector] = stack::PARTS;
    let (logcli, promtool) = (part::LOGCLI, part::PROMTOOL);
    [keycloak, loki, mimir, agent, collector, logcli, promtool]
};

const TOKEN: &str = "a token of alice, who may read acme; every password is the name";
const LOGS: &str = "logs of acme";
const METRICS: &str = "metrics of acme";
const TRACES: &str = "traces of acme";
const REFUSAL: &str = "globex is not hers: 403";
