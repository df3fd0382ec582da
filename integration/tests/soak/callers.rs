//! Who sends what.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use futures_util::StreamExt;
use integration::client::websocket::{self, Handshake};
use integration::client::{Protocol, RawRequest, h1};
use integration::drill::{fresh, read};
use integration::firehose::SlowReaders;
use integration::grpc::{EXPORT_TRACES, ExportRequest, ExportResponse, GrpcClient};
use integration::token::Recipe;
use tokio::task::JoinHandle;
use tonic::{Code, Status};

use crate::Site;
use crate::ledger::{Kind, Ledger};

/// Doubt, and what Envoy says for a worker that has just died.
const DOUBT: &[u16] = &[0, 500, 503];

const fn kind(name: &'static str, wanted: &'static [u16]) -> Kind {
    Kind {
        name,
        wanted,
        excused: DOUBT,
    }
}

const READS: Kind = kind("reads", &[200]);
const READS_OVER_H2: Kind = kind("reads over HTTP/2", &[200]);
const FIRST_SEEN: Kind = kind("first-seen tokens", &[200]);
const SCOPED: Kind = kind("scoped queries", &[200]);
const FORMS: Kind = kind("scoped forms", &[200]);
const PUSHES: Kind = kind("pushes", &[200]);
const OUTSIDE: Kind = kind("an organization's from outside", &[200]);
const FOREIGN: Kind = kind("foreign tenants", &[403]);
const FORGED: Kind = kind("forged tokens", &[401]);
const NOBODY: Kind = kind("no token", &[401]);
const UNKNOWN_KEYS: Kind = Kind {
    name: "unknown keys",
    wanted: &[401, 503],
    excused: &[0, 500],
};
const UNLISTED: Kind = kind("unlisted paths", &[404]);
const TAILS: Kind = kind("tails", &[101]);
const SEARCHES: Kind = kind("slow readers", &[200]);
const EXPORTS: Kind = kind("gRPC exports", &[200]);
const GONE: Kind = Kind {
    name: "gone before the answer",
    wanted: &[0],
    excused: &[],
};

/// A caller that sends one request after the other.
type Send = fn(u64) -> Result<RawRequest>;

/// One after the other, each with the pause behind it.
const CALLERS: [(Kind, Protocol, Duration, Send); 12] = [
    (READS, Protocol::H1, Duration::from_millis(15), reads),
    (
        READS_OVER_H2,
        Protocol::H2,
        Duration::from_millis(25),
        reads,
    ),
    (FIRST_SEEN, Protocol::H1, Duration::from_millis(60), |_| {
        Ok(read(&fresh(Recipe::of("reader"))?, "acme"))
    }),
    (SCOPED, Protocol::H1, Duration::from_millis(50), |number| {
        let query = "query=sum(rate(%7Bapp%3D~%22a%7Cb%22%7D%5B5m%5D))";
        let path = format!("/loki/api/v1/query?{query}&time={number}");
        as_globex(RawRequest::get(&path), number)
    }),
    (FORMS, Protocol::H1, Duration::from_millis(150), |number| {
        let many = "x".repeat(usize::try_from(number % 50_000)?);
        let body = format!("query=%7Bapp%3D%22{many}%22%7D&limit=5");
        let form = RawRequest::post("/loki/api/v1/query_range", body)
            .header("content-type", "application/x-www-form-urlencoded");
        as_globex(form, number)
    }),
    (PUSHES, Protocol::H1, Duration::from_millis(100), |number| {
        let body = vec![b'x'; usize::try_from(number * 7_919 % 200_000)?];
        let token = cached("agent", number)?;
        Ok(RawRequest::post("/loki/api/v1/push", body)
            .header("content-type", "application/x-protobuf")
            .bearer(&token)
            .tenant("acme"))
    }),
    (
        OUTSIDE,
        Protocol::H1,
        Duration::from_millis(100),
        |number| Ok(read(&cached("reader", number)?, "initech")),
    ),
    (FOREIGN, Protocol::H1, Duration::from_millis(70), |number| {
        Ok(read(&cached("reader", number)?, "globex"))
    }),
    (FORGED, Protocol::H1, Duration::from_millis(70), |_| {
        let recipe = Recipe::of("reader").key("rsa-stranger").kid("rsa-a");
        Ok(read(&fresh(recipe)?, "acme"))
    }),
    (NOBODY, Protocol::H1, Duration::from_millis(120), |_| {
        Ok(RawRequest::get("/loki/api/v1/labels").tenant("acme"))
    }),
    (
        UNKNOWN_KEYS,
        Protocol::H1,
        Duration::from_millis(900),
        |number| {
            let recipe = Recipe::of("reader").kid(&format!("invented-{number}"));
            Ok(read(&fresh(recipe)?, "acme"))
        },
    ),
    (
        UNLISTED,
        Protocol::H1,
        Duration::from_millis(200),
        |number| {
            let path = format!("/loki/api/v1/../admin/{number}");
            let token = cached("reader", number)?;
            Ok(RawRequest::get(&path).bearer(&token).tenant("acme"))
        },
    ),
];

/// A token that changes every two thousand requests, so that some are remembered and none is too old.
fn cached(persona: &str, number: u64) -> Result<String> {
    let recipe = Recipe::of(persona).claim("jti", format!("soak-{}", number / 2_000));
    recipe.text(integration::token::now() / 120 * 120)
}

fn reads(number: u64) -> Result<RawRequest> {
    Ok(read(&cached("reader", number)?, "acme"))
}

fn as_globex(request: RawRequest, number: u64) -> Result<RawRequest> {
    let token = cached("globex-reader", number)?;
    Ok(request.bearer(&token).tenant("globex"))
}

/// Starts all of them.
pub fn start(site: &Arc<Site>, ledger: &Arc<Ledger>) -> Vec<JoinHandle<Result<()>>> {
    let mut tasks = Vec::new();
    for (kind, protocol, pause, request) in CALLERS {
        let (site, ledger) = (Arc::clone(site), Arc::clone(ledger));
        tasks.push(tokio::spawn(async move {
            let mut number = 0;
            while site.goes_on() {
                number += 1;
                let reply = request(number)?.send(&site.envoy.target(), protocol).await;
                ledger.note(kind, reply.map_or(0, |reply| reply.status));
                site.pause(pause).await;
            }
            Ok(())
        }));
    }
    for number in 0..3 {
        let (site, ledger) = (Arc::clone(site), Arc::clone(ledger));
        tasks.push(tokio::spawn(
            async move { tails(&site, &ledger, number).await },
        ));
    }
    let (one, other) = (Arc::clone(site), Arc::clone(ledger));
    tasks.push(tokio::spawn(
        async move { slow_readers(&one, &other).await },
    ));
    let (one, other) = (Arc::clone(site), Arc::clone(ledger));
    tasks.push(tokio::spawn(async move { exports(&one, &other).await }));
    let (one, other) = (Arc::clone(site), Arc::clone(ledger));
    tasks.push(tokio::spawn(async move { gone(&one, &other).await }));
    tasks
}

/// Tails that stay for a while, each longer than the one before it.
async fn tails(site: &Site, ledger: &Ledger, mut number: u64) -> Result<()> {
    while site.goes_on() {
        number += 3;
        let bearer = format!("Bearer {}", cached("reader", number)?);
        let headers = [
            ("authorization", bearer.as_str()),
            ("x-scope-orgid", "acme"),
        ];
        let path = "/loki/api/v1/tail?query=%7Bapp%3D%22a%22%7D";
        match websocket::open(site.envoy.address(), path, &headers).await {
            Ok(Handshake::Open(mut socket)) => {
                ledger.note(TAILS, 101);
                let stay = Duration::from_secs(1 + number % 20);
                // It ends by itself, or is left.
                let _ = tokio::time::timeout(stay, async {
                    while let Some(Ok(_)) = socket.next().await {}
                })
                .await;
            }
            Ok(Handshake::Refused(refusal)) => ledger.note(TAILS, refusal.status().as_u16()),
            Err(_) => ledger.note(TAILS, 0),
        }
        site.pause(Duration::from_millis(500)).await;
    }
    Ok(())
}

/// Searches whose endless answers nobody reads, four at a time.
async fn slow_readers(site: &Site, ledger: &Ledger) -> Result<()> {
    while site.goes_on() {
        let bearer = format!("Bearer {}", fresh(Recipe::of("reader"))?);
        let mut slow = Vec::new();
        for _ in 0..4 {
            let opened = SlowReaders::open(site.envoy.address(), &bearer, "acme", 1).await;
            ledger.note(SEARCHES, if opened.is_ok() { 200 } else { 503 });
            slow.extend(opened);
        }
        site.pause(Duration::from_secs(8)).await;
        drop(slow);
        site.pause(Duration::from_secs(2)).await;
    }
    Ok(())
}

/// Spans of an agent, over a connection that it keeps.
async fn exports(site: &Site, ledger: &Ledger) -> Result<()> {
    let mut client = None;
    let mut number = 0;
    while site.goes_on() {
        number += 1;
        let connection = match client.take() {
            Some(client) => client,
            None => GrpcClient::connect(site.envoy.address()).await?,
        };
        let bearer = format!("Bearer {}", cached("agent", number)?);
        let metadata = [
            ("authorization", bearer.as_str()),
            ("x-scope-orgid", "acme"),
        ];
        let answer: Result<ExportResponse, Status> = connection
            .unary(EXPORT_TRACES, &metadata, ExportRequest::default())
            .await;
        match answer {
            Ok(_) => {
                ledger.note(EXPORTS, 200);
                client = Some(connection);
            }
            Err(status) => ledger.note(
                EXPORTS,
                match status.code() {
                    Code::Unauthenticated => 401,
                    Code::PermissionDenied => 403,
                    Code::Unavailable => 503,
                    _ => 500,
                },
            ),
        }
        site.pause(Duration::from_millis(80)).await;
    }
    Ok(())
}

/// Requests of which the caller does not wait for the answer.
async fn gone(site: &Site, ledger: &Ledger) -> Result<()> {
    let mut number = 0;
    while site.goes_on() {
        number += 1;
        let request = RawRequest::post("/loki/api/v1/push", "")
            .bearer(&cached("agent", number)?)
            .tenant("acme")
            .header("content-length", "1000");
        let mut bytes = h1::serialized(&request);
        bytes.extend_from_slice(b"the first of many bytes");
        let after = Duration::from_millis(number % 40);
        let _ = h1::abandon(&site.envoy.target(), &bytes, after).await;
        ledger.note(GONE, 0);
        site.pause(Duration::from_millis(200)).await;
    }
    Ok(())
}
