//! The stack of a run and what the agents have written into it.
//!
//! Everything that belongs to a tenant carries the tenant's name: in names and values of labels, metric names, lines,
//! span names and attributes. The text of any answer therefore shows whose data it contains. After [`Scene::start`]
//! the data does not change, and the same question has the same answer.

#![expect(
    clippy::cast_precision_loss,
    reason = "what is counted here, also in seconds, is far below 2^53"
)]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use hyper::Response;
use integration::client::{Protocol, RawRequest, Reply, Target};
use integration::server::{self, Server};
use integration::stack::collector::{Collector, Exporter};
use integration::stack::{ACME, GLOBEX, Stack};
use integration::{form, loki_push, otlp, token};
use prost::Message;
use serde_json::{Value, json};
use tokio::sync::{Mutex, OnceCell};

/// The stack, and when it was written to.
pub struct Scene {
    pub stack: Stack,
    /// When the data was written, in Unix seconds: a little before its first and after its last piece.
    pub from: i64,
    pub to: i64,
    tokens: Mutex<BTreeMap<String, (String, Instant)>>,
    /// What the tests of Dex share, once one of them has run.
    pub dex: OnceCell<crate::dex::DexScene>,
    /// What the tests of identities share.
    pub identity: OnceCell<crate::identity::IdentityScene>,
}

impl Scene {
    /// Start the stack, and let the agents of both tenants write.
    pub async fn start() -> Result<Scene> {
        let stack = Stack::start(|what| println!("{what}")).await?;
        let mut scene = Scene {
            stack,
            from: token::now() - 60,
            to: 0,
            tokens: Mutex::default(),
            dex: OnceCell::new(),
            identity: OnceCell::new(),
        };
        let began = Instant::now();
        tokio::try_join!(scene.write(ACME), scene.write(GLOBEX))?;
        for tenant in [ACME, GLOBEX] {
            scene.wait_until_found(tenant).await?;
        }
        scene.to = token::now() + 1;
        println!(
            "what the agents wrote is there after {:.0} s",
            began.elapsed().as_secs_f32()
        );
        Ok(scene)
    }

    /// A token of that person, or of `agent-…`, with at least a minute to live.
    pub async fn token(&self, who: &str) -> Result<String> {
        let mut tokens = self.tokens.lock().await;
        if let Some((token, since)) = tokens.get(who)
            && since.elapsed() < RENEW
        {
            return Ok(token.clone());
        }
        let keycloak = &self.stack.keycloak;
        let token = if who.starts_with("agent-") {
            keycloak.machine(who).await?
        } else {
            keycloak.user(who).await?
        };
        tokens.insert(who.to_owned(), (token.clone(), Instant::now()));
        Ok(token)
    }

    /// Send it through the gate as that caller for that tenant.
    pub async fn send(&self, who: &str, tenant: &str, request: RawRequest) -> Result<Reply> {
        let token = self.token(who).await?;
        request
            .bearer(&token)
            .tenant(tenant)
            .send(&self.stack.target(), Protocol::H1)
            .await
    }

    /// Send it straight to a server, past the gate.
    pub async fn direct(
        &self,
        server: SocketAddr,
        tenant: &str,
        request: RawRequest,
    ) -> Result<Reply> {
        request
            .tenant(tenant)
            .send(&Target::plain(server), Protocol::H1)
            .await
    }

    /// Everything that one tenant has, by real clients through the gate but for the rules, which come from beside it.
    async fn write(&self, tenant: &str) -> Result<()> {
        let exporter = exporter(tenant).await?;
        let agent = self.stack.agent(tenant, &[exporter.address()]).await?;
        for way in [Exporter::Http, Exporter::Grpc] {
            let collector = self.stack.collector(tenant, way).await?;
            export(&collector, tenant, way).await?;
            let found = self.wait_until_collected(tenant, way).await;
            found.with_context(|| format!("the Collector says:\n{}", collector.log()))?;
        }
        self.push(tenant).await?;
        self.write_rules(tenant).await?;
        let found = self.wait_until_scraped(tenant).await;
        found.with_context(|| format!("Prometheus says:\n{}", agent.log()))
    }

    /// Samples, exemplars and metadata, which Prometheus sends one after the other.
    async fn wait_until_scraped(&self, tenant: &str) -> Result<()> {
        let orders = format!("{tenant}_orders_total");
        self.wait_for("Mimir", tenant, &instant(&orders), &orders)
            .await?;
        let exemplars = format!(
            "/prometheus/api/v1/query_exemplars?query={tenant}_orders_total&start={}&end={}",
            self.from,
            token::now() + 60
        );
        self.wait_for("Mimir", tenant, &exemplars, &format!("{tenant}-trace"))
            .await?;
        let metadata = "/prometheus/api/v1/metadata";
        self.wait_for("Mimir", tenant, metadata, &format!("Orders of {tenant}"))
            .await?;
        self.wait_for(
            "Mimir",
            tenant,
            "/prometheus/api/v1/rules",
            &format!("{tenant}-group"),
        )
        .await
    }

    /// Lines as promtail and as curl send them.
    ///
    /// The amounts differ, so that answers that are only numbers tell the tenants apart too.
    async fn push(&self, tenant: &str) -> Result<()> {
        let agent = format!("agent-{tenant}");
        let now = loki_push::moment();
        let line = |number: u64| format!("level=info msg=\"order {number} of {tenant}\"");
        let count = if tenant == ACME { LINES } else { 2 * LINES };
        let values: Vec<Value> = (0..count)
            .map(|number| json!([(now + number).to_string(), line(number)]))
            .collect();
        let labels = json!({"service_name": format!("{tenant}-shop"), "owner": tenant,
            format!("only_{tenant}"): "yes", "source": "json"});
        let body = json!({"streams": [{"stream": labels, "values": values}]});
        let as_json = RawRequest::post("/loki/api/v1/push", body.to_string())
            .header("content-type", "application/json");
        let selector = format!(
            "{{service_name=\"{tenant}-shop\", owner=\"{tenant}\", only_{tenant}=\"yes\", source=\"protobuf\"}}"
        );
        let lines: Vec<String> = (0..count).map(line).collect();
        let entries: Vec<(u64, &str)> = (now..).zip(lines.iter().map(String::as_str)).collect();
        let as_protobuf = RawRequest::post(
            "/loki/api/v1/push",
            loki_push::request(&[(&selector, &entries)]),
        )
        .header("content-type", "application/x-protobuf");
        for request in [as_json, as_protobuf] {
            let reply = self.send(&agent, tenant, request).await?;
            ensure!(reply.status == 204, "{} {}", reply.status, reply.text());
        }
        Ok(())
    }

    async fn write_rules(&self, tenant: &str) -> Result<()> {
        let group = |expression: String| {
            json!({"name": format!("{tenant}-group"), "rules": [{"record": format!("{tenant}:orders"), "expr": expression}]})
                .to_string()
        };
        let mimir = RawRequest::post(
            &format!("/prometheus/config/v1/rules/{tenant}-rules"),
            group(format!("sum({tenant}_orders_total)")),
        );
        let loki = RawRequest::post(
            &format!("/loki/api/v1/rules/{tenant}-rules"),
            group(format!("sum(count_over_time({{owner=\"{tenant}\"}}[1m]))")),
        );
        let remove = format!("{{owner=\"{tenant}\", gone=\"{tenant}\"}}");
        let now = token::now();
        let delete = RawRequest::post(
            &format!(
                "/loki/api/v1/delete?query={}&start={}&end={}",
                form::encode(&remove),
                now - 3600,
                now - 1800
            ),
            "",
        );
        for (server, request) in [
            (self.stack.mimir.http(), mimir),
            (self.stack.loki.http(), loki),
            (self.stack.loki.http(), delete),
        ] {
            let request = request.header("content-type", "application/yaml");
            let reply = self.direct(server, tenant, request).await?;
            ensure!(
                (200..300).contains(&reply.status),
                "{} {}",
                reply.status,
                reply.text()
            );
        }
        Ok(())
    }

    async fn wait_until_found(&self, tenant: &str) -> Result<()> {
        for source in ["json", "protobuf"] {
            let query = format!("{{owner=\"{tenant}\", source=\"{source}\"}}");
            self.wait_for("Loki", tenant, &lines(&query), "order 9 of")
                .await?;
        }
        Ok(())
    }

    /// What went through a Collector, which sends the signals each by itself.
    async fn wait_until_collected(&self, tenant: &str, way: Exporter) -> Result<()> {
        let name = form::encode(&format!("{{ name = \"{}\" }}", span_name(tenant, way)));
        let path = format!("/api/search?q={name}");
        self.wait_for("Tempo", tenant, &path, &span_name(tenant, way))
            .await?;
        if way != Exporter::Http {
            return Ok(());
        }
        let query = format!("{{service_name=\"{tenant}-shop\"}} |= \"by http\"");
        self.wait_for("Loki", tenant, &lines(&query), "by http")
            .await?;
        let collected = format!("{tenant}_collected");
        self.wait_for("Mimir", tenant, &instant(&collected), &collected)
            .await?;
        Ok(())
    }

    /// Ask a server directly until its answer holds that piece.
    async fn wait_for(&self, server: &str, tenant: &str, path: &str, piece: &str) -> Result<()> {
        let address = match server {
            "Loki" => self.stack.loki.http(),
            "Mimir" => self.stack.mimir.http(),
            _ => self.stack.tempo.http(),
        };
        let deadline = Instant::now() + FOUND;
        loop {
            let reply = self.direct(address, tenant, RawRequest::get(path)).await?;
            if reply.text().contains(piece) {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!(
                    "{server}, {tenant}, {path}: no {piece} within {FOUND:?}: {} {}",
                    reply.status,
                    reply.text()
                );
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

/// What a Collector exports: a line and a gauge where the backend takes that way, and a span always.
async fn export(collector: &Collector, tenant: &str, way: Exporter) -> Result<()> {
    let service = format!("{tenant}-shop");
    let now = otlp::unix_nanos();
    let owner = [("owner", tenant)];
    let name = span_name(tenant, way);
    let trace = trace_id(tenant, way);
    let mut bodies = vec![(
        "/v1/traces",
        otlp::traces(&service, &[(trace, &name, &owner)]).encode_to_vec(),
    )];
    // Neither Loki nor Mimir serves OTLP over gRPC.
    if way == Exporter::Http {
        let line = format!("order of {tenant} by http");
        let metric = format!("{tenant}_collected");
        bodies.push((
            "/v1/logs",
            otlp::logs(&service, &[(now, &line, &owner)]).encode_to_vec(),
        ));
        bodies.push((
            "/v1/metrics",
            otlp::metrics(&service, &[(&metric, 1.0, now, &owner)]).encode_to_vec(),
        ));
    }
    for (path, body) in bodies {
        let mut request =
            RawRequest::post(path, body).header("content-type", "application/x-protobuf");
        request.authority = Some(collector.http().to_string().into_bytes());
        let reply = request
            .send(&Target::plain(collector.http()), Protocol::H1)
            .await?;
        ensure!(
            reply.status == 200,
            "{path}: {} {}",
            reply.status,
            reply.text()
        );
    }
    Ok(())
}

pub fn span_name(tenant: &str, way: Exporter) -> String {
    let way = if way == Exporter::Grpc {
        "grpc"
    } else {
        "http"
    };
    format!("{tenant} order by {way}")
}

/// The trace that holds it; `{id:032x}` in paths.
pub fn trace_id(tenant: &str, way: Exporter) -> u128 {
    let tenant = if tenant == ACME { 0xa } else { 0xb };
    (tenant << 120) | u128::from(way == Exporter::Grpc) << 64 | 0x1234_5678
}

/// Something for Prometheus to scrape: a counter with an exemplar.
async fn exporter(tenant: &str) -> Result<Server> {
    let tenant = tenant.to_owned();
    Server::start(move |stream| {
        let tenant = tenant.clone();
        async move {
            let _ = server::serve_http(stream, move |_| {
                let now = otlp::unix_nanos() as f64 / 1e9;
                let text = format!(
                    "# TYPE {tenant}_orders counter\n# HELP {tenant}_orders Orders of {tenant}.\n\
                     {tenant}_orders_total{{owner=\"{tenant}\",only_{tenant}=\"yes\"}} 5 \
                     # {{trace_id=\"{tenant}-trace\"}} 1.0 {now:.3}\n# EOF\n"
                );
                async move {
                    Ok(Response::builder()
                        .header(
                            "content-type",
                            "application/openmetrics-text; version=1.0.0; charset=utf-8",
                        )
                        .body(server::full(text))?)
                }
            })
            .await;
        }
    })
    .await
}

fn instant(query: &str) -> String {
    format!("/prometheus/api/v1/query?query={}", form::encode(query))
}

fn lines(query: &str) -> String {
    format!(
        "/loki/api/v1/query_range?since=10m&query={}",
        form::encode(query)
    )
}

/// By each way of pushing.
const LINES: u64 = 10;
/// Keycloak's tokens live for five minutes.
const RENEW: Duration = Duration::from_secs(200);
const FOUND: Duration = Duration::from_secs(60);
