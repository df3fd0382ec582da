//! What `make stack` starts: the platform on one machine, with the gate in front of it, until Ctrl-C.
//!
//! `--self-test` runs the printed commands instead of waiting, and ends with 0 if they answer as promised.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use integration::client::{Protocol, RawRequest};
use integration::prometheus::Prometheus;
use integration::stack::{ACME, GLOBEX, Stack, program};
use integration::{otlp, token};
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
    match run(self_test).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("scopegate-stack: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(self_test: bool) -> Result<()> {
    // Heard from the first moment on, so that an early Ctrl-C cleans up too.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let platform = tokio::select! {
        platform = Platform::start() => platform?,
        _ = terminate.recv() => return Ok(()),
        _ = interrupt.recv() => return Ok(()),
    };
    if self_test {
        return platform.self_test().await;
    }
    platform.print()?;
    let mut failed = 0;
    loop {
        tokio::select! {
            biased;
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            () = tokio::time::sleep(Duration::from_secs(2)) => {
                platform.stack.envoy()?.check_alive()?;
                // A backend that somebody stops to see what happens is no reason to end.
                match platform.traffic().await {
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
    Ok(())
}

/// The stack and what writes into it. Fields are dropped, and so stopped, from top to bottom.
struct Platform {
    _agents: Vec<Prometheus>,
    stack: Stack,
    logcli: PathBuf,
    promtool: PathBuf,
}

/// A command to paste and a piece of its answer.
struct Example {
    what: &'static str,
    line: String,
    answer: &'static str,
}

impl Platform {
    async fn start() -> Result<Platform> {
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
        let platform = Platform {
            _agents: agents,
            stack,
            logcli: program::find("LOGCLI", "loki", "bin/logcli")?,
            promtool: program::find("PROMTOOL", "prometheus", "bin/promtool")?,
        };
        platform.traffic().await?;
        Ok(platform)
    }

    /// A line and a span for each tenant, as its agent.
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
                what: "a token of alice, who may read acme; every password is the name",
                line: format!(
                    "TOKEN=$(curl -sS -d 'grant_type=password&client_id=grafana&client_secret=grafana-secret&username=alice&password=alice' {token} | sed 's/.*\"access_token\":\"\\([^\"]*\\)\".*/\\1/')"
                ),
                answer: "",
            },
            Example {
                what: "logs of acme",
                line: format!(
                    "{logcli} --quiet --addr={tls} --ca-cert={authority} --bearer-token=$TOKEN --org-id=acme query '{{service_name=\"shop\"}}'"
                ),
                answer: "an order of acme",
            },
            Example {
                what: "metrics of acme",
                line: format!(
                    "{promtool} query instant --http.config.file=<(echo \"{{authorization: {{credentials: $TOKEN}}, http_headers: {{X-Scope-OrgID: {{values: [acme]}}}}, tls_config: {{ca_file: {authority}}}}}\") {tls}/prometheus 'count(up)'"
                ),
                answer: "=> ",
            },
            Example {
                what: "traces of acme",
                line: format!(
                    "curl -sS -H \"Authorization: Bearer $TOKEN\" -H 'X-Scope-OrgID: acme' -G --data-urlencode 'q={{ resource.service.name = \"shop\" }}' http://{gate}/tempo/api/search"
                ),
                answer: "traceID",
            },
            Example {
                what: "globex is not hers: 403",
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

    async fn self_test(&self) -> Result<()> {
        let mut wrong = 0;
        let mut token = String::new();
        for example in self.examples() {
            if example.answer.is_empty() {
                token = example.line;
                continue;
            }
            let mut answer = String::new();
            // What was written needs a moment until it is found.
            for _ in 0..20 {
                let script = format!("{token}\n{}", example.line);
                let output = Command::new("bash")
                    .arg("-c")
                    .arg(script)
                    .output()
                    .context("no bash")?;
                answer = String::from_utf8_lossy(&output.stdout).into_owned()
                    + &String::from_utf8_lossy(&output.stderr);
                if answer.contains(example.answer) {
                    break;
                }
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            let good = answer.contains(example.answer);
            println!("{} {}", if good { "ok  " } else { "FAIL" }, example.what);
            if !good {
                println!("     {}\n     {answer}", example.line);
                wrong += 1;
            }
        }
        if wrong > 0 {
            bail!("{wrong} of the printed commands did not answer as promised");
        }
        Ok(())
    }
}
