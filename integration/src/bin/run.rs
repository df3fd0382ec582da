//! What `make run` starts: an OpenID provider, a Prometheus, echoing stand-ins for Loki and Tempo, and an Envoy with
//! scopegate between them and you. It uses loopback only, free ports and no privileges, and leaves nothing behind.
//!
//! `--self-test` runs the printed commands instead of waiting, and ends with 0 if they answer as promised.

use std::io::Write;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use integration::adapter::MimirAdapter;
use integration::client::{self, Protocol, RawRequest};
use integration::envoy::{self, Envoy, EnvoySettings};
use integration::issuer::{Issuer, IssuerSettings, PublishedKey};
use integration::prometheus::{Prometheus, PrometheusSettings};
use integration::remote_write;
use integration::scene::BACKEND_CLUSTERS;
use integration::token::Recipe;
use integration::upstream::{Upstream, UpstreamLog};
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main]
async fn main() -> ExitCode {
    let self_test = match std::env::args().skip(1).collect::<Vec<_>>().as_slice() {
        [] => false,
        [flag] if flag == "--self-test" => true,
        other => {
            eprintln!("usage: scopegate-run [--self-test] (got {other:?})");
            return ExitCode::from(2);
        }
    };
    match run(self_test).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("scopegate-run: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(self_test: bool) -> Result<()> {
    // The signal is handled from the beginning, so that an early Ctrl-C cleans up too.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let demo = tokio::select! {
        demo = Demo::start() => demo?,
        _ = terminate.recv() => return Ok(()),
        _ = interrupt.recv() => return Ok(()),
    };
    if self_test {
        return demo.self_test();
    }
    demo.print()?;
    loop {
        tokio::select! {
            // Ctrl-C in a terminal reaches Envoy as well, so its end is then no reason to complain.
            biased;
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            () = tokio::time::sleep(Duration::from_secs(1)) => demo.envoy.check_alive()?,
        }
    }
    // The reader of the output may be gone, as with `| head`.
    let _ = writeln!(std::io::stdout(), "\nstopping");
    demo.envoy.stop().await
}

/// Everything that runs. Fields are dropped, and so stopped, from top to bottom.
struct Demo {
    envoy: Envoy,
    _adapter: MimirAdapter,
    _upstreams: Vec<Upstream>,
    _prometheus: Prometheus,
    issuer: Issuer,
    tokens: Tokens,
}

struct Tokens {
    fresh: String,
    expired: String,
}

/// A printed command, and the status that it should return.
struct Curl {
    what: &'static str,
    line: String,
    status: u16,
}

impl Demo {
    async fn start() -> Result<Demo> {
        let module = envoy::module()
            .context("SCOPEGATE_WASM must name the module: `make run` builds it and sets this")?;
        let issuer = Issuer::start(provider()).await?;
        let prometheus =
            Prometheus::start(PrometheusSettings::receiver().route_prefix("/prometheus")).await?;
        let adapter = MimirAdapter::start(prometheus.address()).await?;
        let log = UpstreamLog::new();
        let mut upstreams = Vec::new();
        let mut settings = EnvoySettings::shipped()?
            .wasm(module)
            .configuration(configuration(&issuer))
            .cluster("idp", issuer.address())
            .cluster("mimir", adapter.address());
        for name in BACKEND_CLUSTERS.into_iter().filter(|name| *name != "mimir") {
            let upstream = Upstream::start(name, &log).await?;
            settings = settings.cluster(name, upstream.address());
            upstreams.push(upstream);
        }
        let envoy = Envoy::start(settings).await?;
        write_samples(&envoy, &issuer).await?;
        let tokens = Tokens {
            fresh: token_of(
                &issuer,
                &[
                    ("grant_type", "password"),
                    ("username", USER),
                    ("password", USER),
                ],
            )
            .await?,
            expired: issuer.token(Recipe::of("reader").key(KEY).exp_in(-3600.0))?,
        };
        Ok(Demo {
            envoy,
            _adapter: adapter,
            _upstreams: upstreams,
            _prometheus: prometheus,
            issuer,
            tokens,
        })
    }

    fn curls(&self) -> [Curl; 3] {
        let line = |token: &str, tenant: &str| {
            format!(
                "curl -sS -w '\\n%{{http_code}}\\n' -H 'X-Scope-OrgID: {tenant}' -H 'Authorization: Bearer {token}' \
                 'http://{}/prometheus/api/v1/query?query={SAMPLE}'",
                self.envoy.address()
            )
        };
        [
            Curl {
                what: "A viewer of acme reads what an agent has just written",
                line: line(&self.tokens.fresh, "acme"),
                status: 200,
            },
            Curl {
                what: "The same caller asks for a tenant that is not theirs",
                line: line(&self.tokens.fresh, "globex"),
                status: 403,
            },
            Curl {
                what: "An hour too late",
                line: line(&self.tokens.expired, "acme"),
                status: 401,
            },
        ]
    }

    fn print(&self) -> Result<()> {
        let mut out = std::io::stdout().lock();
        let gate = self.envoy.address();
        writeln!(out, "scopegate is up. Paste these into another terminal:\n")?;
        for curl in self.curls() {
            writeln!(out, "# {}: {}\n{}\n", curl.what, curl.status, curl.line)?;
        }
        writeln!(
            out,
            "# A new token of {USER}; the agent's: grant_type=client_credentials&client_id={CLIENT}&client_secret={SECRET}\n\
             curl -sS -d 'grant_type=password&username={USER}&password={USER}' {}\n",
            self.issuer.token_url()
        )?;
        writeln!(
            out,
            "gate    http://{gate}  (metrics: Prometheus; logs and traces: an echo)"
        )?;
        let discovery = self.issuer.url("/.well-known/openid-configuration");
        writeln!(out, "issuer  {discovery}")?;
        writeln!(out, "admin   http://{}/", self.envoy.admin_address())?;
        writeln!(out, "\nCtrl-C stops everything.")?;
        Ok(())
    }

    fn self_test(&self) -> Result<()> {
        let mut wrong = 0;
        for curl in self.curls() {
            let (status, body) = run_line(&curl.line)?;
            // A read that succeeds must also return the sample; otherwise the write has gone astray.
            let good = status == curl.status && (status != 200 || body.contains(SAMPLE));
            println!(
                "{} {status}: {}",
                if good { "ok  " } else { "FAIL" },
                curl.what
            );
            if !good {
                println!(
                    "     {}\n     promised {}, got {body}",
                    curl.line, curl.status
                );
                wrong += 1;
            }
        }
        if wrong > 0 {
            bail!("{wrong} of the printed commands did not answer as promised");
        }
        Ok(())
    }
}

fn provider() -> IssuerSettings {
    let mut settings = IssuerSettings::corporate()
        .client(CLIENT, SECRET, "agent")
        .user(USER, USER, "reader")
        .user("edith", "edith", "editor")
        .user("ada", "ada", "admin");
    settings.issuer = None;
    // There is one EC key, whose tokens are short enough to skip over when reading.
    settings.keys = vec![PublishedKey::named(KEY)];
    settings.lifetime = 3600;
    settings
}

fn configuration(issuer: &Issuer) -> Value {
    json!({
        "providers": [{
            "name": "local",
            "issuer": issuer.issuer(),
            "audiences": ["observability"],
            "jwks": {"uri": issuer.jwks_url(), "cluster": "idp"},
            "claims": {"groups": [{"path": ["groups"]}, {"path": ["azp"], "prefix": "client:"}]},
        }],
        "organizations": [
            {
                "name": "acme",
                "tenants": ["acme"],
                "rbac": {
                    "admins": ["acme-admins"],
                    "editors": ["acme-editors"],
                    "viewers": ["acme-viewers"],
                    "writers": ["client:agent-acme"],
                },
            },
            {"name": "globex", "tenants": ["globex"], "rbac": {"viewers": ["globex-viewers"]}},
        ],
        "backends": {"loki": {"enabled": true}, "mimir": {"enabled": true}, "tempo": {"enabled": true}},
    })
}

/// Writes as an agent would: it gets a token from the provider, writes through the gate, and tries again while the
/// answer is 503.
async fn write_samples(envoy: &Envoy, issuer: &Issuer) -> Result<()> {
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", CLIENT),
        ("client_secret", SECRET),
    ];
    let token = token_of(issuer, &form).await?;
    let body = remote_write::request(&[
        (SAMPLE, &[("service", "checkout")], 42.0),
        (SAMPLE, &[("service", "search")], 17.0),
    ]);
    let request = RawRequest::post("/prometheus/api/v1/push", body)
        .header("content-type", "application/x-protobuf")
        .header("content-encoding", "snappy")
        .header("x-prometheus-remote-write-version", "0.1.0")
        .bearer(&token)
        .tenant("acme");
    let deadline = Instant::now() + PATIENCE;
    loop {
        let reply = request.send(&envoy.target(), Protocol::H1).await?;
        match reply.status {
            200 | 204 => return Ok(()),
            502 | 503 if Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            status => bail!("the first write was answered {status}: {}", reply.text()),
        }
    }
}

async fn token_of(issuer: &Issuer, form: &[(&str, &str)]) -> Result<String> {
    let answer = client::post_form(issuer.address(), "/token", form)
        .await?
        .json()?;
    let token = answer["access_token"].as_str();
    Ok(token
        .with_context(|| format!("no token: {answer}"))?
        .to_owned())
}

/// Runs the printed line in a shell. The status is the last line of its output.
fn run_line(line: &str) -> Result<(u16, String)> {
    let output = Command::new("sh")
        .arg("-c")
        .arg(format!("{line} --max-time 20 -w '\\n%{{http_code}}'"))
        .output()
        .context("no shell")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (body, status) = text
        .rsplit_once('\n')
        .context("curl wrote nothing: is it installed?")?;
    Ok((
        status.trim().parse().context("curl wrote no status")?,
        body.to_owned(),
    ))
}

const KEY: &str = "p256-a";
const SAMPLE: &str = "demo_requests_total";
const USER: &str = "rita";
const CLIENT: &str = "agent-acme";
const SECRET: &str = "agent-secret";
const PATIENCE: Duration = Duration::from_secs(20);
