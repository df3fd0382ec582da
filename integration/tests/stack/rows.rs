//! Every row of the endpoint table, tried on the servers: the gate's answer is the server's answer.

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail, ensure};
use integration::client::{RawRequest, Reply};
use integration::grpc::{self, GrpcClient};
use integration::scenario;
use integration::stack::tempo_stand_in::wire;
use integration::stack::{ACME, GLOBEX, SCRATCH};
use integration::{form, loki_push, otlp, remote_write, token};
use prost::Message;
use scopegate::authz::endpoint::{Backend, Endpoint, Endpoints, Rewrite, Surface, TABLE};
use serde_json::json;
use tonic::Code;

use crate::reads::{READS, remote_read, remote_read_text, server, settled};
use crate::scene::Scene;

crate::tests![
    every_row_of_the_table_is_tried,
    every_read_is_answered_as_by_the_server,
    remote_read_is_answered_as_by_the_server,
    every_write_is_answered_as_by_the_server,
    rules_and_deletes_are_answered_as_by_the_server,
    every_grpc_method_is_answered_as_by_the_server,
    what_is_not_in_the_table_is_there_and_hidden,
];

/// A row that the servers of this stack do not have, and why it stays.
const NOT_HERE: &[(&str, &str)] = &[
    (
        "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
        "Loki itself has no OTLP over gRPC; for a collector in front of it",
    ),
    (
        "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
        "Mimir itself has no OTLP over gRPC; for a collector in front of it",
    ),
    ("/tempo/api/v2/traces/diff", "Tempo after 3.0 only"),
];

/// Rows with clients or tests of their own.
const ELSEWHERE: &[(&str, &str)] = &[
    ("/loki/api/v1/tail", "clients"),
    ("/api/prom/tail", "clients"),
    ("/api/v1/alerts", "alerts"),
    ("/alertmanager/api/v2/alerts", "alerts"),
    ("/alertmanager/api/v2/silences", "alerts"),
    ("/alertmanager/api/v2/silence/{id}", "alerts"),
    (
        "/prometheus/api/v1/read",
        "remote_read_is_answered_as_by_the_server",
    ),
    (
        "/api/v1/projects/{project}/resources/{resource}/logs",
        "scopes",
    ),
    (
        "/api/v1/projects/{project}/resources/{resource}/metrics/query_range",
        "scopes",
    ),
];

async fn every_row_of_the_table_is_tried(_: &Scene) -> Result<()> {
    let mut tried: BTreeSet<String> = READS
        .iter()
        .flat_map(|read| read.endpoints(ACME))
        .map(|(method, endpoint)| format!("{method} {}", endpoint.template))
        .collect();
    for read in READS {
        ensure!(!read.endpoints(ACME).is_empty(), "{} is no row", read.path);
    }
    let endpoints = Endpoints::new(&[Surface::Platform, Surface::LokiLegacy]);
    for (method, path) in WRITES.iter().chain(CHANGES) {
        let found = endpoints.find(path.as_bytes(), method.as_bytes());
        let endpoint = found.map_err(|_| anyhow::anyhow!("{method} {path} is no row"))?;
        tried.insert(format!("{method} {}", endpoint.template));
    }
    for method in grpc_methods() {
        tried.insert(format!("POST {method}"));
    }
    for (template, _) in NOT_HERE.iter().chain(ELSEWHERE) {
        for method in METHODS {
            tried.insert(format!("{method} {template}"));
        }
    }
    for endpoint in TABLE {
        for method in METHODS {
            let Some(named) = scopegate::words::method::Methods::from_name(method.as_bytes())
            else {
                bail!("{method}");
            };
            let row = format!("{method} {}", endpoint.template);
            ensure!(
                !endpoint.methods.has(named) || tried.contains(&row),
                "{row} is never tried"
            );
        }
    }
    Ok(())
}

async fn every_read_is_answered_as_by_the_server(scene: &Scene) -> Result<()> {
    let mut wrong = Vec::new();
    for read in READS {
        for (method, endpoint) in read.endpoints(ACME) {
            for (who, tenant, other) in [("ada", ACME, GLOBEX), ("bob", GLOBEX, ACME)] {
                let there = scene
                    .direct(
                        server(scene, endpoint.backend),
                        tenant,
                        read.direct(scene, method, tenant, endpoint),
                    )
                    .await?;
                let here = scene
                    .send(who, tenant, read.request(scene, method, tenant))
                    .await?;
                let what = format!("{method} {} for {tenant}", read.gate_path(scene, tenant));
                if !here_or_listed(endpoint, &there) {
                    wrong.push(format!(
                        "{what}: the server says {} {}",
                        there.status,
                        there.text()
                    ));
                } else if let Some(difference) = difference(&here, &there) {
                    wrong.push(format!("{what}: {difference}"));
                } else if read.tells && !here.text().contains(tenant) {
                    wrong.push(format!("{what}: nothing of {tenant}: {}", here.text()));
                } else if here.text().contains(other) {
                    wrong.push(format!("{what}: something of {other}: {}", here.text()));
                }
            }
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

async fn remote_read_is_answered_as_by_the_server(scene: &Scene) -> Result<()> {
    for (who, tenant, other) in [("alice", ACME, GLOBEX), ("bob", GLOBEX, ACME)] {
        let there = scene
            .direct(scene.stack.mimir.http(), tenant, remote_read(scene))
            .await?;
        let here = scene.send(who, tenant, remote_read(scene)).await?;
        ensure!(
            here.status == 200 && there.status == 200,
            "{} {}",
            here.status,
            here.text()
        );
        let (here, there) = (remote_read_text(&here)?, remote_read_text(&there)?);
        ensure!(here == there, "{here}\n{there}");
        ensure!(here.contains(tenant) && !here.contains(other), "{here}");
    }
    Ok(())
}

/// Ingest, by writers.
const WRITES: &[(&str, &str)] = &[
    ("POST", "/loki/api/v1/push"),
    ("POST", "/api/prom/push"),
    ("POST", "/otlp/v1/logs"),
    ("POST", "/v1/logs"),
    ("POST", "/prometheus/api/v1/push"),
    ("POST", "/api/v1/push"),
    ("POST", "/otlp/v1/metrics"),
    ("POST", "/v1/metrics"),
    ("POST", "/v1/traces"),
    ("POST", "/otlp/v1/traces"),
    ("POST", "/tempo/v1/traces"),
];

async fn every_write_is_answered_as_by_the_server(scene: &Scene) -> Result<()> {
    for (method, path) in WRITES {
        let endpoint = row(method, path)?;
        for variant in 0..2 {
            let (gate, there) = (
                write(path, variant),
                write(rewritten(endpoint, path), variant),
            );
            let address = match endpoint.backend {
                Backend::Tempo => scene.stack.tempo.otlp_http(),
                other => server(scene, other),
            };
            let there = scene.direct(address, SCRATCH_DIRECT, there).await?;
            let here = scene.send("agent-acme", SCRATCH, gate).await?;
            ensure!(
                (200..300).contains(&there.status),
                "{path}: the server says {} {}",
                there.status,
                there.text()
            );
            if let Some(difference) = difference(&here, &there) {
                bail!("{path}: {difference}");
            }
        }
    }
    Ok(())
}

/// A body for that path; in two encodings where the path takes two. The data are of another time and name than what
/// the other tests read.
fn write(path: &str, variant: usize) -> RawRequest {
    let now = otlp::unix_nanos();
    let protobuf = |body: Vec<u8>| {
        RawRequest::post(path, body).header("content-type", "application/x-protobuf")
    };
    let json =
        |body: String| RawRequest::post(path, body).header("content-type", "application/json");
    match path {
        "/otlp/v1/logs" | "/v1/logs" => protobuf(otlp::logs("rows", &[(now, "a line", &[])]).encode_to_vec()),
        "/otlp/v1/metrics" | "/v1/metrics" => protobuf(otlp::metrics("rows", &[("rows", 1.0, now, &[])]).encode_to_vec()),
        "/v1/traces" | "/otlp/v1/traces" | "/tempo/v1/traces" => {
            let traces = otlp::traces("rows", &[(u128::from(now), "rows", &[])]);
            if variant == 0 {
                protobuf(traces.encode_to_vec())
            } else {
                json(otlp::json::traces(&traces).to_string())
            }
        }
        "/prometheus/api/v1/push" | "/api/v1/push" => protobuf(remote_write::request(&[("rows", &[], 1.0)]))
            .header("content-encoding", "snappy")
            .header("x-prometheus-remote-write-version", "0.1.0"),
        _ if variant == 0 => protobuf(loki_push::request(&[("{rows=\"yes\"}", &[(now, "a line")])])),
        _ => json(json!({"streams": [{"stream": {"rows": "yes"}, "values": [[now.to_string(), "a line"]]}]}).to_string()),
    }
}

/// Rules and deletes: each is written by the gate and read at the server, and the other way round.
const CHANGES: &[(&str, &str)] = &[
    ("POST", "/loki/api/v1/rules/rows"),
    ("DELETE", "/loki/api/v1/rules/rows/group"),
    ("POST", "/loki/api/v1/rules/rows"),
    ("DELETE", "/loki/api/v1/rules/rows"),
    ("POST", "/api/prom/rules/rows"),
    ("DELETE", "/api/prom/rules/rows/group"),
    ("POST", "/api/prom/rules/rows"),
    ("DELETE", "/api/prom/rules/rows"),
    ("POST", "/prometheus/config/v1/rules/rows%2Fmore"),
    ("DELETE", "/prometheus/config/v1/rules/rows%2Fmore/group"),
    ("POST", "/prometheus/config/v1/rules/100%25%3Brows%5C%252F"),
    (
        "DELETE",
        "/prometheus/config/v1/rules/100%25%3Brows%5C%252F/group",
    ),
    ("POST", "/prometheus/config/v1/rules/rows"),
    ("DELETE", "/prometheus/config/v1/rules/rows"),
    ("POST", "/loki/api/v1/delete"),
    ("PUT", "/loki/api/v1/delete"),
    ("DELETE", "/loki/api/v1/delete"),
];

async fn rules_and_deletes_are_answered_as_by_the_server(scene: &Scene) -> Result<()> {
    for (method, path) in CHANGES {
        let endpoint = row(method, path)?;
        let query = if path.ends_with("/delete") {
            delete_query(scene, method).await?
        } else {
            [String::new(), String::new()]
        };
        let request = |query: &str| {
            let mut request = RawRequest::new(method, &format!("{path}{query}"));
            if *method == "POST" && path.contains("/rules/") {
                let expression = if path.contains("prometheus") {
                    "vector(1)"
                } else {
                    "sum(rate({rows=\"yes\"}[1m]))"
                };
                let group =
                    json!({"name": "group", "rules": [{"record": "rows", "expr": expression}]});
                request.body = group.to_string().into_bytes();
                request = request.header("content-type", "application/yaml");
            }
            request
        };
        let there = scene
            .direct(
                server(scene, endpoint.backend),
                SCRATCH_DIRECT,
                request(&query[0]),
            )
            .await?;
        let here = scene.send("ada", SCRATCH, request(&query[1])).await?;
        ensure!(
            (200..300).contains(&there.status),
            "{method} {path}: the server says {} {}",
            there.status,
            there.text()
        );
        if let Some(difference) = difference(&here, &there) {
            bail!("{method} {path}: {difference}");
        }
    }
    Ok(())
}

/// For a delete request: what it deletes, or, to withdraw one, the id of one; for the direct tenant and for ours.
async fn delete_query(scene: &Scene, method: &str) -> Result<[String; 2]> {
    let now = token::now();
    let selector = form::encode("{rows=\"never\"}");
    if method != "DELETE" {
        let query = format!("?query={selector}&start={}&end={}", now - 7200, now - 3600);
        return Ok([query.clone(), query]);
    }
    let mut ids = Vec::new();
    for tenant in [SCRATCH_DIRECT, SCRATCH] {
        let list = scene
            .direct(
                scene.stack.loki.http(),
                tenant,
                RawRequest::get("/loki/api/v1/delete"),
            )
            .await?
            .json()?;
        let requests = list.as_array().cloned().unwrap_or_default();
        let ours = requests.iter().find(|request| {
            request["query"]
                .as_str()
                .is_some_and(|query| query.contains("never"))
        });
        let id = ours.and_then(|request| request["request_id"].as_str());
        ids.push(format!(
            "?request_id={}",
            id.with_context(|| list.to_string())?
        ));
    }
    Ok([ids[0].clone(), ids[1].clone()])
}

async fn every_grpc_method_is_answered_as_by_the_server(scene: &Scene) -> Result<()> {
    let token = format!("Bearer {}", scene.token("alice").await?);
    let gate = GrpcClient::connect(scene.stack.plain()).await?;
    let tempo = GrpcClient::connect(scene.stack.tempo.http()).await?;
    let metadata = [("authorization", token.as_str()), ("x-scope-orgid", ACME)];
    for (method, body) in reads_by_grpc(scene) {
        let message = Opaque::from(body);
        let there: Vec<Opaque> = tempo
            .server_streaming(method, &metadata[1..], message.clone())
            .await?;
        let here: Vec<Opaque> = gate.server_streaming(method, &metadata, message).await?;
        ensure!(!here.is_empty(), "{method}: nothing");
        let (here, there) = (Opaque::all(&here), Opaque::all(&there));
        ensure!(here == there, "{method}: {here} is not {there}");
        ensure!(!here.contains(GLOBEX), "{method}: {here}");
    }
    let writer = format!("Bearer {}", scene.token("agent-acme").await?);
    let metadata = [
        ("authorization", writer.as_str()),
        ("x-scope-orgid", SCRATCH),
    ];
    let trace = otlp::traces("rows", &[(u128::from(otlp::unix_nanos()), "rows", &[])]);
    let _: grpc::ExportResponse = gate.unary(grpc::EXPORT_TRACES, &metadata, trace).await?;
    // What the servers themselves say to a method that they lack.
    for (method, address) in [
        (grpc::EXPORT_LOGS, scene.stack.loki.grpc()),
        (grpc::EXPORT_METRICS, scene.stack.mimir.grpc()),
    ] {
        let server = GrpcClient::connect(address).await?;
        let there = server
            .unary::<_, grpc::Anything>(method, &metadata[1..], grpc::Anything {})
            .await;
        let here = gate
            .unary::<_, grpc::Anything>(method, &metadata, grpc::Anything {})
            .await;
        let codes = (
            here.err().map(|status| status.code()),
            there.err().map(|status| status.code()),
        );
        ensure!(
            codes == (Some(Code::Unimplemented), Some(Code::Unimplemented)),
            "{method}: {codes:?}; if a server serves it now, it belongs into this list no longer"
        );
    }
    Ok(())
}

fn reads_by_grpc(scene: &Scene) -> Vec<(&'static str, Vec<u8>)> {
    let (start, end) = (
        u32::try_from(scene.from).unwrap_or(0),
        u32::try_from(scene.to).unwrap_or(0),
    );
    let search = grpc::SearchRequest {
        query: "{}".to_owned(),
        limit: 20,
        start,
        end,
        ..grpc::SearchRequest::default()
    };
    let values = wire::SearchTagValuesRequest {
        tag_name: "resource.service.name".to_owned(),
        ..wire::SearchTagValuesRequest::default()
    };
    let range = wire::QueryRangeRequest {
        query: "{} | count_over_time()".to_owned(),
        start: u64::from(start) * 1_000_000_000,
        end: u64::from(end) * 1_000_000_000,
        step: 60_000_000_000,
    };
    let tags = wire::SearchTagsRequest::default().encode_to_vec();
    vec![
        ("/tempopb.StreamingQuerier/Search", search.encode_to_vec()),
        ("/tempopb.StreamingQuerier/SearchTags", tags.clone()),
        ("/tempopb.StreamingQuerier/SearchTagsV2", tags),
        (
            "/tempopb.StreamingQuerier/SearchTagValues",
            values.encode_to_vec(),
        ),
        (
            "/tempopb.StreamingQuerier/SearchTagValuesV2",
            values.encode_to_vec(),
        ),
        (
            "/tempopb.StreamingQuerier/MetricsQueryRange",
            range.encode_to_vec(),
        ),
        (
            "/tempopb.StreamingQuerier/MetricsQueryInstant",
            range.encode_to_vec(),
        ),
    ]
}

fn grpc_methods() -> Vec<&'static str> {
    let mut all: Vec<&'static str> = TABLE
        .iter()
        .filter(|row| row.is_grpc())
        .map(|row| row.template)
        .collect();
    // Each of the reads must be among those above, whatever the table says.
    all.retain(|method| !method.contains("Querier") || READS_BY_GRPC.contains(method));
    all
}

const READS_BY_GRPC: [&str; 7] = [
    "/tempopb.StreamingQuerier/Search",
    "/tempopb.StreamingQuerier/SearchTags",
    "/tempopb.StreamingQuerier/SearchTagsV2",
    "/tempopb.StreamingQuerier/SearchTagValues",
    "/tempopb.StreamingQuerier/SearchTagValuesV2",
    "/tempopb.StreamingQuerier/MetricsQueryRange",
    "/tempopb.StreamingQuerier/MetricsQueryInstant",
];

/// The servers answer what the gate must hide: the control shows that hiding it is not for nothing.
async fn what_is_not_in_the_table_is_there_and_hidden(scene: &Scene) -> Result<()> {
    let mut wrong = Vec::new();
    for (backend, method, path) in HIDDEN {
        if path.starts_with("/live-store/") && scene.stack.tempo.is_2() {
            continue;
        }
        let (address, prefix) = match *backend {
            "loki" => (scene.stack.loki.http(), ""),
            "mimir" => (scene.stack.mimir.http(), ""),
            _ => (scene.stack.tempo.http(), "/tempo"),
        };
        let there = scene
            .direct(address, SCRATCH_DIRECT, RawRequest::new(method, path))
            .await?;
        if there.status == 404 {
            wrong.push(format!(
                "{backend} {method} {path}: not there, so nothing is shown"
            ));
        }
        for path in [
            format!("{prefix}{path}"),
            (*path).to_owned(),
            format!("/{backend}{path}"),
        ] {
            let here = scene
                .send("ada", ACME, RawRequest::new(method, &path))
                .await?;
            if here.status != 404 {
                wrong.push(format!("{method} {path}: {} {}", here.status, here.text()));
            }
        }
    }
    let listed = scenario::endpoints()?;
    // Loki's older paths are among them; they are switched on here.
    for line in listed
        .never
        .iter()
        .filter(|line| !line.contains(" /api/prom/"))
    {
        let (method, path) = line.split_once(' ').context("METHOD /path")?;
        let here = scene
            .send("ada", ACME, RawRequest::new(method, path))
            .await?;
        if here.status != 404 && here.status != 405 {
            wrong.push(format!("{line}: {} {}", here.status, here.text()));
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    let gate = GrpcClient::connect(scene.stack.plain()).await?;
    let token = format!("Bearer {}", scene.token("ada").await?);
    let metadata = [("authorization", token.as_str()), ("x-scope-orgid", ACME)];
    for line in &listed.never_grpc {
        let (_, method) = line.split_once(' ').context("POST /path")?;
        let answer = gate
            .unary::<_, grpc::Anything>(method, &metadata, grpc::Anything {})
            .await;
        let code = answer.err().map(|status| status.code());
        ensure!(code == Some(Code::Unimplemented), "{method}: {code:?}");
    }
    for (address, method) in [
        (scene.stack.loki.grpc(), "/grpc.health.v1.Health/Check"),
        (scene.stack.mimir.grpc(), "/grpc.health.v1.Health/Check"),
        (scene.stack.tempo.http(), "/grpc.health.v1.Health/Check"),
    ] {
        let server = GrpcClient::connect(address).await?;
        let answer = server
            .unary::<_, grpc::Anything>(method, &[], grpc::Anything {})
            .await;
        // Tempo 2.10 and 3.0 want a tenant for this method too, and have it.
        let wants_tenant = address == scene.stack.tempo.http()
            && answer
                .as_ref()
                .is_err_and(|status| status.message().contains("no org id"));
        ensure!(
            answer.is_ok() || wants_tenant,
            "{address} {method}: {answer:?}, so nothing is shown"
        );
    }
    Ok(())
}

/// Pages of class A that do no harm to ask for. Those that flush, shut down or delete are only asked for at the gate.
const HIDDEN: &[(&str, &str, &str)] = &[
    ("loki", "GET", "/config"),
    ("loki", "GET", "/services"),
    ("loki", "GET", "/metrics"),
    ("loki", "GET", "/log_level"),
    ("loki", "GET", "/debug/pprof/"),
    ("loki", "GET", "/debug/fgprof?seconds=1"),
    ("loki", "GET", "/ring"),
    ("loki", "GET", "/distributor/ring"),
    ("loki", "GET", "/ruler/ring"),
    ("loki", "GET", "/scheduler/ring"),
    ("loki", "GET", "/pattern/ring"),
    ("loki", "GET", "/compactor/ring"),
    ("loki", "GET", "/memberlist"),
    ("loki", "GET", "/ingester/prepare_shutdown"),
    ("loki", "GET", "/config/tenant/v1/limits"),
    ("loki", "GET", "/loki/api/v1/cache/generation_numbers"),
    ("mimir", "GET", "/config"),
    ("mimir", "GET", "/services"),
    ("mimir", "GET", "/metrics"),
    ("mimir", "GET", "/memberlist"),
    ("mimir", "GET", "/debug/pprof/"),
    ("mimir", "GET", "/distributor/ring"),
    ("mimir", "GET", "/distributor/all_user_stats"),
    ("mimir", "GET", "/ingester/ring"),
    ("mimir", "GET", "/ingester/tenants"),
    ("mimir", "GET", "/ingester/tsdb_metrics"),
    ("mimir", "GET", "/store-gateway/tenants"),
    ("mimir", "GET", "/compactor/tenants"),
    ("mimir", "GET", "/compactor/delete_tenant_status"),
    ("mimir", "GET", "/ruler/ring"),
    ("mimir", "GET", "/ruler/rule_groups"),
    ("mimir", "GET", "/api/v1/user_stats"),
    ("mimir", "GET", "/api/v1/status/config"),
    ("tempo", "GET", "/status"),
    ("tempo", "GET", "/status/config"),
    ("tempo", "GET", "/metrics"),
    ("tempo", "GET", "/debug/pprof/"),
    ("tempo", "GET", "/live-store/prepare-downscale"),
];

fn row(method: &str, path: &str) -> Result<&'static Endpoint> {
    let endpoints = Endpoints::new(&[Surface::Platform, Surface::LokiLegacy]);
    let found = endpoints.find(path.as_bytes(), method.as_bytes());
    found.map_err(|_| anyhow::anyhow!("{method} {path} is no row"))
}

fn rewritten<'path>(endpoint: &Endpoint, path: &'path str) -> &'path str {
    match endpoint.rewrite {
        Rewrite::To(path) => path,
        Rewrite::Keep | Rewrite::WithoutPrefix(_) => path,
    }
}

fn here_or_listed(endpoint: &Endpoint, there: &Reply) -> bool {
    let missing = there.status == 404 || there.status == 405;
    !missing
        || NOT_HERE
            .iter()
            .any(|(template, _)| *template == endpoint.template)
}

/// What tells the gate's answer from the server's, if anything does.
fn difference(here: &Reply, there: &Reply) -> Option<String> {
    let brief = |reply: &Reply| {
        format!(
            "{} {:?} {}",
            reply.status,
            reply.header("content-type"),
            settled(reply)
        )
    };
    let (here, there) = (brief(here), brief(there));
    (here != there).then(|| format!("the gate gives {here}\n  the server {there}"))
}

/// gRPC messages as they are on the wire.
#[derive(Clone, Default, Debug, PartialEq)]
struct Opaque(Vec<u8>);

impl Opaque {
    /// All of them, each with its fields in one order: Tempo tells lists of names in any.
    fn all(messages: &[Opaque]) -> String {
        messages
            .iter()
            .map(|message| String::from_utf8_lossy(&ordered(&message.0)).into_owned())
            .collect()
    }
}

/// A message with its fields sorted, and those of the messages in it. What cannot be a message stays as it is.
fn ordered(message: &[u8]) -> Vec<u8> {
    match fields(message) {
        Some(mut fields) => {
            fields.sort();
            fields.concat()
        }
        None => message.to_vec(),
    }
}

/// The fields of a message, sorted inside, each with its key.
fn fields(mut message: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut fields = Vec::new();
    while !message.is_empty() {
        let (tag, wire_type) = prost::encoding::decode_key(&mut message).ok()?;
        let mut field = Vec::new();
        prost::encoding::encode_key(tag, wire_type, &mut field);
        let size = match wire_type {
            prost::encoding::WireType::Varint => {
                let value = prost::encoding::decode_varint(&mut message).ok()?;
                prost::encoding::encode_varint(value, &mut field);
                0
            }
            prost::encoding::WireType::LengthDelimited => {
                let size = prost::encoding::decode_varint(&mut message).ok()?;
                prost::encoding::encode_varint(size, &mut field);
                usize::try_from(size).ok()?
            }
            prost::encoding::WireType::ThirtyTwoBit => 4,
            prost::encoding::WireType::SixtyFourBit => 8,
            _ => return None,
        };
        let (inside, rest) = message.split_at_checked(size)?;
        field.extend(ordered(inside));
        message = rest;
        fields.push(field);
    }
    Some(fields)
}

impl From<Vec<u8>> for Opaque {
    fn from(bytes: Vec<u8>) -> Opaque {
        Opaque(bytes)
    }
}

impl Message for Opaque {
    fn encode_raw(&self, buffer: &mut impl bytes::BufMut) {
        buffer.put_slice(&self.0);
    }

    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: prost::encoding::WireType,
        buffer: &mut impl bytes::Buf,
        context: prost::encoding::DecodeContext,
    ) -> Result<(), prost::DecodeError> {
        // Kept as found: the field's key, then its bytes.
        prost::encoding::encode_key(tag, wire_type, &mut self.0);
        match wire_type {
            prost::encoding::WireType::Varint => {
                let value = prost::encoding::decode_varint(buffer)?;
                prost::encoding::encode_varint(value, &mut self.0);
            }
            prost::encoding::WireType::LengthDelimited => {
                let length = prost::encoding::decode_varint(buffer)?;
                prost::encoding::encode_varint(length, &mut self.0);
                let bytes = buffer.copy_to_bytes(
                    usize::try_from(length)
                        .unwrap_or_default()
                        .min(buffer.remaining()),
                );
                self.0.extend_from_slice(&bytes);
            }
            other => prost::encoding::skip_field(other, tag, buffer, context)?,
        }
        Ok(())
    }

    fn encoded_len(&self) -> usize {
        self.0.len()
    }

    fn clear(&mut self) {
        self.0.clear();
    }
}

const METHODS: [&str; 4] = ["GET", "POST", "PUT", "DELETE"];
/// The tenant of what is sent past the gate for comparison.
const SCRATCH_DIRECT: &str = "scratch-direct";
