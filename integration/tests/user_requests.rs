//! What the users asked for first, as they wrote it: curl lines and the addresses of Alloy and Grafana, with nothing
//! filled in except host and token.

#![allow(clippy::expect_used)]

use std::ops::Deref;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use integration::client::{self, Protocol, RawRequest, Reply};
use integration::drill;
use integration::issuer::{Issuer, IssuerSettings};
use integration::remote_write;
use integration::scene::Scene;
use integration::upstream::Seen;
use pkcs8::der::pem::{LineEnding, encode_string};
use serde_json::{Value, json};
use tempfile::TempDir;

/// In the certificate of the harness.
const DOMAIN: &str = "example.com";

/// The gate at https://observability.example.com, as far as curl can tell.
struct SeedScene {
    scene: Scene,
    /// Holds a `.curlrc`: the example's host leads here, its certificate is trusted, the status is printed last.
    home: TempDir,
}

impl Deref for SeedScene {
    type Target = Scene;

    fn deref(&self) -> &Scene {
        &self.scene
    }
}

impl SeedScene {
    async fn start() -> Result<SeedScene> {
        let mut configuration = drill::configuration();
        configuration["organizations"] = json!([
            {
                "name": "giantswarm",
                "tenants": ["giantswarm", {"name": "anonymous", "allow_reserved": true}, "your-tenant"],
                "rbac": {"viewers": ["acme-viewers"], "writers": ["client:agent-acme"]},
            },
            {
                "name": "other",
                "tenants": ["other"],
                "rbac": {"viewers": ["globex-viewers"], "admins": ["other-admins"]},
            },
        ]);
        let settings = IssuerSettings::corporate()
            .client("<client_id>", "<client_secret>", "agent")
            .user("user", "password", "reader");
        let issuer = Issuer::start(settings).await?;
        let scene = Scene::start_with(drill::settings(configuration)?.tls()?, issuer).await?;
        let home = tempfile::tempdir()?;
        let certificate = home.path().join("ca.pem");
        let target = scene.envoy.target();
        let (der, _) = target.tls.as_ref().context("TLS")?;
        let pem = encode_string("CERTIFICATE", LineEnding::LF, der)?;
        std::fs::write(&certificate, pem)?;
        let curlrc = format!(
            "silent\nshow-error\nmax-time = 20\ncacert = \"{}\"\nconnect-to = \"observability.{DOMAIN}:443:{}\"\n\
             write-out = \"\\n%{{http_code}}\"\n",
            certificate.display(),
            scene.envoy.address()
        );
        std::fs::write(home.path().join(".curlrc"), curlrc)?;
        Ok(SeedScene { scene, home })
    }

    /// Run an example as a user would who pastes it: only the domain and the variable for the token are filled in.
    fn shell(&self, example: &str, token: &str) -> Result<(u16, String)> {
        let example = example
            .replace("<domain>", DOMAIN)
            .replace("<domain_name>", DOMAIN);
        let output = Command::new("sh")
            .args(["-c", &example])
            .env("OIDC_TOKEN", token)
            .env("CURL_HOME", self.home.path())
            .env("HOME", self.home.path())
            .output()?;
        let text = String::from_utf8(output.stdout)?;
        let told = || {
            format!(
                "{example}\n{text}{}",
                String::from_utf8_lossy(&output.stderr)
            )
        };
        let (body, status) = text.rsplit_once('\n').with_context(told)?;
        Ok((status.trim().parse().with_context(told)?, body.to_owned()))
    }

    /// A token from the provider's token endpoint, by the form that these clients send.
    async fn token(&self, form: &[(&str, &str)]) -> Result<String> {
        let answer = client::post_form(self.corporate.address(), "/token", form)
            .await?
            .json()?;
        Ok(answer["access_token"]
            .as_str()
            .with_context(|| answer.to_string())?
            .to_owned())
    }

    async fn machine(&self) -> Result<String> {
        self.token(&[
            ("grant_type", "client_credentials"),
            ("client_id", "<client_id>"),
            ("client_secret", "<client_secret>"),
            ("scope", "openid email profile"),
        ])
        .await
    }

    async fn person(&self) -> Result<String> {
        self.token(&[
            ("grant_type", "password"),
            ("username", "user"),
            ("password", "password"),
        ])
        .await
    }

    /// The one request that reached an upstream since the last call.
    fn reached(&self) -> Result<Seen> {
        let mut all = self.log.all();
        self.log.clear();
        ensure!(all.len() == 1, "{all:?}");
        all.pop().context("a request")
    }

    async fn send(&self, request: &RawRequest, protocol: Protocol) -> Result<Reply> {
        request.send(&self.envoy.target(), protocol).await
    }
}

/// Seed 001 and 000, "Querying logs programmatically".
const LOGS: &str = r#"curl -H "Authorization: Bearer $OIDC_TOKEN" \
     -H "X-Scope-OrgId: giantswarm" \
     "https://observability.<domain>/loki/api/v1/query_range?query={cluster_id=\"your-cluster\"}""#;

/// Seed 000, "Querying traces programmatically".
const TRACES: &str = r#"curl -H "Authorization: Bearer $OIDC_TOKEN" \
-H "X-Scope-OrgId: your-tenant" \
"https://observability.<domain>/tempo/api/search?q={service.name=\"your-service\"}""#;

/// What Grafana's plugins ask a data source: tenants, path, form body (none: GET).
type Probes = &'static [(&'static str, &'static str, &'static str)];

/// At https://host: the health check, the label browser, the query editor, rules.
const LOKI: Probes = &[
    (
        "giantswarm",
        "/loki/api/v1/query?query=vector(1)%2Bvector(1)&time=4000000000",
        "",
    ),
    ("giantswarm", "/loki/api/v1/labels?start=1&end=2", ""),
    (
        "giantswarm",
        "/loki/api/v1/label/cluster_id/values?start=1&end=2",
        "",
    ),
    (
        "giantswarm",
        "/loki/api/v1/series?match%5B%5D=%7Ba%3D%22b%22%7D",
        "",
    ),
    (
        "giantswarm",
        "/loki/api/v1/index/stats?query=%7Ba%3D%22b%22%7D",
        "",
    ),
    (
        "giantswarm|anonymous",
        "/loki/api/v1/query_range?query=%7Ba%3D%22b%22%7D&step=15s",
        "",
    ),
    (
        "giantswarm",
        "/loki/api/v1/query_range",
        "query=%7Ba%3D%22b%22%7D",
    ),
    ("giantswarm", "/loki/api/v1/rules", ""),
    ("giantswarm", "/loki/api/v1/status/buildinfo", ""),
];

/// At https://host/prometheus.
const MIMIR: Probes = &[
    ("anonymous", "/api/v1/status/buildinfo", ""),
    ("anonymous", "/api/v1/query", "query=1%2B1&time=4000000000"),
    (
        "giantswarm|anonymous",
        "/api/v1/query_range",
        "query=up&start=1&end=2&step=1",
    ),
    ("anonymous", "/api/v1/labels", "start=1&end=2"),
    ("anonymous", "/api/v1/series", "match%5B%5D=up"),
    (
        "anonymous",
        "/api/v1/label/__name__/values?start=1&end=2",
        "",
    ),
    ("anonymous", "/api/v1/metadata?limit=1000", ""),
    ("anonymous", "/api/v1/query_exemplars", "query=up"),
    ("anonymous", "/api/v1/rules", ""),
];

/// At https://host/tempo.
const TEMPO: Probes = &[
    ("giantswarm", "/api/echo", ""),
    ("giantswarm", "/api/status/buildinfo", ""),
    (
        "your-tenant|giantswarm",
        "/api/search?q=%7B%7D&limit=20&spss=3",
        "",
    ),
    ("giantswarm", "/api/v2/search/tags?scope=resource", ""),
    (
        "giantswarm",
        "/api/v2/search/tag/resource.service.name/values?q=%7B%7D",
        "",
    ),
    (
        "giantswarm",
        "/api/v2/traces/0123456789abcdef0123456789abcdef?start=1&end=2",
        "",
    ),
];

const FORM: &str = "application/x-www-form-urlencoded";

fn has_curl() -> bool {
    Command::new("curl")
        .arg("--version")
        .output()
        .is_ok_and(|output| output.status.success())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_curl_examples_work_as_printed() -> Result<()> {
    ensure!(has_curl(), "this test needs curl");
    let scene = SeedScene::start().await?;
    let token = scene.person().await?;
    for (example, path, bare, selector, tenant, cluster) in [
        (
            LOGS,
            "/loki/api/v1/query_range?query=",
            r#"cluster_id="your-cluster""#,
            r#"{cluster_id="your-cluster"}"#,
            "giantswarm",
            "loki",
        ),
        (
            TRACES,
            "/api/search?q=",
            r#"service.name="your-service""#,
            r#"{service.name="your-service"}"#,
            "your-tenant",
            "tempo",
        ),
    ] {
        // HTTP/2 as curl negotiates it, and HTTP/1.1. As printed curl reads the braces as a glob and drops them; the
        // gate passes on what it got, and the backend says what is wrong with it. With -g the braces arrive.
        for (flag, arrives) in [("curl", bare), ("curl -g", selector)] {
            for version in ["", " --http1.1"] {
                let example = example.replacen("curl", &format!("{flag}{version}"), 1);
                let (status, body) = scene.shell(&example, &token)?;
                ensure!(status == 200, "{example}: {status} {body}");
                let seen = scene.reached()?;
                ensure!(
                    seen.path == format!("{path}{arrives}"),
                    "{example}: {seen:?}"
                );
                ensure!(seen.backend == cluster, "{seen:?}");
                ensure!(
                    seen.header("x-scope-orgid") == [tenant.as_bytes()],
                    "{seen:?}"
                );
                ensure!(seen.header("authorization").is_empty(), "{seen:?}");
                ensure!(body.contains("\"status\":\"success\""), "{body}");
            }
        }
        // What curl's manual advises.
        let encoded = example
            .replacen("curl", "curl -G", 1)
            .replace("?query=", "\" --data-urlencode \"query=")
            .replace("?q=", "\" --data-urlencode \"q=");
        let (status, body) = scene.shell(&encoded, &token)?;
        ensure!(status == 200, "{encoded}: {status} {body}");
        let seen = scene.reached()?;
        let decoded = integration::form::decode(seen.path.strip_prefix(path).context("the path")?);
        ensure!(decoded == selector, "{seen:?}");

        // The three ways it goes wrong, with the words that help.
        let (status, body) = scene.shell(&example.replace(tenant, "other"), &token)?;
        ensure!(
            status == 403 && body.contains("no such tenant, or no access to it"),
            "{status} {body}"
        );
        let (status, body) = scene.shell(&example.replace(tenant, "nowhere"), &token)?;
        ensure!(
            status == 403 && body.contains("no such tenant, or no access to it"),
            "{status} {body}"
        );
        let (status, body) = scene.shell(example, "")?;
        ensure!(
            matches!(status, 400 | 401) && body.contains("Bearer <token>"),
            "{status} {body}"
        );
        ensure!(scene.log.count() == 0, "a refused example passed");
    }
    drill::check_health_without_reads(&scene.envoy).await
}

#[tokio::test(flavor = "multi_thread")]
async fn alloys_addresses_take_metrics_logs_and_traces() -> Result<()> {
    let scene = SeedScene::start().await?;
    let token = scene.machine().await?;
    // prometheus.remote_write, loki.write, and otelcol.exporter.otlphttp with its endpoint https://…/tempo, to which it
    // adds /v1/traces.
    let metrics = remote_write::request(&[("up", &[("job", "alloy")], 1.0)]);
    let logs =
        json!({"streams": [{"stream": {"app": "a"}, "values": [["1", "hello"]]}]}).to_string();
    let protobuf = "application/x-protobuf";
    for (path, arrives, cluster, body, headers) in [
        (
            "/prometheus/api/v1/push",
            "/api/v1/push",
            "mimir",
            metrics,
            vec![
                ("content-type", protobuf),
                ("content-encoding", "snappy"),
                ("x-prometheus-remote-write-version", "0.1.0"),
            ],
        ),
        (
            "/loki/api/v1/push",
            "/loki/api/v1/push",
            "loki",
            logs.into_bytes(),
            vec![("content-type", "application/json")],
        ),
        (
            "/loki/api/v1/push",
            "/loki/api/v1/push",
            "loki",
            vec![1, 2, 3],
            vec![("content-type", protobuf)],
        ),
        (
            "/tempo/v1/traces",
            "/v1/traces",
            "tempo_otlp_http",
            vec![0x0a, 0],
            vec![
                ("content-type", protobuf),
                ("content-encoding", "gzip"),
                ("accept-encoding", "gzip"),
            ],
        ),
        (
            "/tempo/v1/traces",
            "/v1/traces",
            "tempo_otlp_http",
            b"{}".to_vec(),
            vec![("content-type", "application/json")],
        ),
    ] {
        for protocol in [Protocol::H1, Protocol::H2] {
            let mut request = RawRequest::post(path, body.clone())
                .header("user-agent", "Alloy/v1.10.0 (linux)")
                .bearer(&token)
                .header("X-Scope-OrgID", "your-tenant");
            for (name, value) in &headers {
                request = request.header(name, *value);
            }
            let reply = scene.send(&request, protocol).await?;
            ensure!(
                reply.status == 200,
                "{path} {protocol:?}: {} {}",
                reply.status,
                reply.text()
            );
            let seen = scene.reached()?;
            ensure!(seen.path == arrives && seen.backend == cluster, "{seen:?}");
            ensure!(seen.body == body, "{path}: another body");
            ensure!(seen.header("x-scope-orgid") == [b"your-tenant"], "{seen:?}");
            for (name, value) in &headers {
                ensure!(seen.header(name) == [value.as_bytes()], "{name}: {seen:?}");
            }
            // An agent's credentials write and read nothing back.
            let read = RawRequest::get("/loki/api/v1/labels")
                .bearer(&token)
                .tenant("your-tenant");
            ensure!(scene.send(&read, protocol).await?.status == 403);
            let elsewhere = RawRequest::post(path, body.clone())
                .bearer(&token)
                .tenant("other");
            ensure!(scene.send(&elsewhere, protocol).await?.status == 403);
            ensure!(scene.log.count() == 0);
        }
    }
    drill::check_health_without_reads(&scene.envoy).await
}

#[tokio::test(flavor = "multi_thread")]
async fn grafanas_data_sources_work_with_forwarded_identity() -> Result<()> {
    let scene = SeedScene::start().await?;
    let token = scene.person().await?;
    for (base, cluster, prefix, probes) in [
        ("", "loki", "", LOKI),
        ("/prometheus", "mimir", "/prometheus", MIMIR),
        ("/tempo", "tempo", "", TEMPO),
    ] {
        for (tenants, path, body) in probes {
            let request = match *body {
                "" => RawRequest::get(&format!("{base}{path}")),
                body => {
                    RawRequest::post(&format!("{base}{path}"), body).header("content-type", FORM)
                }
            };
            // As Grafana forwards an identity: the user's token, a cookie, its own headers.
            let request = request
                .bearer(&token)
                .header("X-Scope-OrgID", *tenants)
                .header("user-agent", "Grafana/12.1.0")
                .header("x-id-token", token.as_str())
                .header("x-grafana-org-id", "1")
                .header("x-datasource-uid", "abc")
                .header("x-dashboard-uid", "def")
                .header("x-panel-id", "4")
                .header("cookie", "grafana_session=0123")
                .header("accept-encoding", "gzip");
            let mut sorted: Vec<&str> = tenants.split('|').collect();
            sorted.sort_unstable();
            for protocol in [Protocol::H1, Protocol::H2] {
                let reply = scene.send(&request, protocol).await?;
                let told = format!(
                    "{base}{path} {protocol:?}: {} {}",
                    reply.status,
                    reply.text()
                );
                ensure!(reply.status == 200, "{told}");
                let seen = scene.reached()?;
                ensure!(
                    seen.path == format!("{prefix}{path}") && seen.backend == cluster,
                    "{seen:?}"
                );
                ensure!(seen.body == body.as_bytes(), "{seen:?}");
                ensure!(
                    seen.header("x-scope-orgid") == [sorted.join("|").as_bytes()],
                    "{seen:?}"
                );
                for credential in ["authorization", "x-id-token"] {
                    ensure!(seen.header(credential).is_empty(), "{seen:?}");
                }
            }
        }
    }
    // Somebody else's tenant, alone or slipped in between one's own.
    for tenants in ["other", "giantswarm|other", "nowhere"] {
        let request = RawRequest::post("/prometheus/api/v1/query", "query=up")
            .header("content-type", FORM)
            .bearer(&token)
            .tenant(tenants);
        let reply = scene.send(&request, Protocol::H2).await?;
        ensure!(reply.status == 403, "{tenants}: {}", reply.text());
        let answer: Value = reply.json()?;
        ensure!(
            answer["status"] == "error" && answer["message"].is_string(),
            "{answer}"
        );
    }
    ensure!(scene.log.count() == 0, "a refused query passed");
    drill::check_health_without_reads(&scene.envoy).await
}
