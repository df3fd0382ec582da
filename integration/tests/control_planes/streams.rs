//! What goes on for long: tails and gRPC reads, and what becomes of them when a right is withdrawn. Beside them, what is
//! written over gRPC.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use futures_util::StreamExt as _;
use integration::client::websocket::{self, Handshake};
use integration::client::{Protocol, RawRequest, Target};
use integration::token::Recipe;
use integration::upstream::Behaviour;
use integration::{drill, grpc};
use serde_json::json;
use tokio::task::JoinHandle;

use crate::case::cases;
use crate::product::{Product, by, reader, token};

cases![ALL:
    tails_and_grpc_reach_their_backends,
    a_withdrawn_role_ends_its_streams_and_no_others,
];

/// Loki's tail, with any query.
const TAIL: &str = "/loki/api/v1/tail?query=%7Bapp%3D%22a%22%7D";

/// How long the streams of somebody whose right is withdrawn may go on.
const SOON: Duration = Duration::from_secs(4);

/// Statuses of gRPC.
const OK: i32 = 0;
const PERMISSION_DENIED: i32 = 7;
const UNAUTHENTICATED: i32 = 16;

/// A tail and a gRPC read of one caller, which go on until somebody ends them. Both are closed when it is dropped.
pub struct Streams {
    open: [(&'static str, JoinHandle<()>); 2],
}

impl Streams {
    /// Open both; Tempo must [leave its answers open](Behaviour::Open).
    pub async fn open(product: &Product, groups: &[&str], tenant: &str) -> Result<Self> {
        let target = product.target();
        let mut tail = open_tail(&target, &token(groups)?, tenant).await?;
        let tail = tokio::spawn(async move { while let Some(Ok(())) = tail.next().await {} });
        let searches = || {
            let seen = product.scene.log.all();
            seen.iter().filter(|seen| seen.path == grpc::SEARCH).count()
        };
        let before = searches();
        let request = over_grpc(grpc::SEARCH, by(groups, RawRequest::default(), tenant));
        let search = tokio::spawn(async move {
            let _ = request.send(&target, Protocol::H2).await;
        });
        // It has begun once the backend has seen it.
        let started = Instant::now();
        while searches() == before {
            ensure!(started.elapsed() < SOON, "no search begins");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(Self {
            open: [("tail", tail), ("search", search)],
        })
    }

    /// The names of those that are over.
    pub fn over(&self) -> Vec<&'static str> {
        let over = self.open.iter().filter(|(_, task)| task.is_finished());
        over.map(|(name, _)| *name).collect()
    }

    /// Wait until both are over, for which somebody keeps asking; gives how long it took.
    pub async fn until_over(&self, product: &Product, within: Duration) -> Result<Duration> {
        let started = Instant::now();
        while self.over().len() < self.open.len() {
            let waited = started.elapsed();
            ensure!(waited < within, "only {:?} after {waited:?}", self.over());
            let _ = product.status(&reader()).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(started.elapsed())
    }
}

impl Drop for Streams {
    fn drop(&mut self) {
        for (_, task) in &self.open {
            task.abort();
        }
    }
}

/// A tail on which the backend has said its first word.
async fn open_tail(
    target: &Target,
    token: &str,
    tenant: &str,
) -> Result<impl futures_util::Stream<Item = Result<(), ()>> + Send + Unpin + use<>> {
    let bearer = format!("Bearer {token}");
    let headers = [
        ("authorization", bearer.as_str()),
        ("x-scope-orgid", tenant),
    ];
    let mut tail = match websocket::open_at(target, TAIL, &headers).await? {
        Handshake::Open(tail) => tail,
        Handshake::Refused(response) => bail!("a tail was refused: {response:?}"),
    };
    let greeting = tail.next().await.context("a greeting")??.into_text()?;
    ensure!(greeting.contains("/loki/api/v1/tail"), "{greeting}");
    Ok(tail.map(|message| message.map(drop).map_err(drop)))
}

/// The request as one of gRPC to that method, with an empty message.
fn over_grpc(path: &str, request: RawRequest) -> RawRequest {
    let headers = request.headers;
    let mut request = RawRequest::post(path, grpc::framed(&[]).to_vec());
    request.headers = headers;
    request
        .header("content-type", "application/grpc")
        .header("te", "trailers")
}

async fn tails_and_grpc_reach_their_backends(product: &mut Product) -> Result<()> {
    let target = product.target();
    drop(open_tail(&target, &token(&["developers"])?, "platform").await?);
    let stranger = format!("Bearer {}", token(&["strangers"])?);
    for (headers, status) in [
        (vec![("x-scope-orgid", "platform")], 401),
        (
            vec![
                ("authorization", stranger.as_str()),
                ("x-scope-orgid", "platform"),
            ],
            403,
        ),
    ] {
        match websocket::open_at(&target, TAIL, &headers).await? {
            Handshake::Open(_) => bail!("a tail of a stranger"),
            Handshake::Refused(response) => {
                ensure!(response.status() == status, "{response:?}");
            }
        }
    }

    // What is read, in two messages.
    let search =
        |groups: &[&str]| over_grpc(grpc::SEARCH, by(groups, RawRequest::default(), "platform"));
    let reply = product.send(&search(&["developers"])).await?;
    ensure!(reply.grpc_status() == Some(OK), "{reply:?}");
    let messages = grpc::canned_replies(grpc::SEARCH, "platform");
    let expected: Vec<u8> = messages.iter().flat_map(|it| grpc::framed(it)).collect();
    ensure!(reply.body == expected, "{reply:?}");

    // What is written, each to its own backend.
    let agent = drill::fresh(Recipe::of("reader").claim("azp", "alloy"))?;
    for (method, backend) in [
        (grpc::EXPORT_LOGS, "loki"),
        (grpc::EXPORT_METRICS, "mimir"),
        (grpc::EXPORT_TRACES, "tempo"),
    ] {
        product.scene.log.clear();
        let written = RawRequest::default().bearer(&agent).tenant("platform");
        let reply = product.send(&over_grpc(method, written)).await?;
        ensure!(reply.grpc_status() == Some(OK), "{method}: {reply:?}");
        let seen = product.scene.log.all();
        ensure!(
            seen.len() == 1 && seen[0].backend == backend && seen[0].path == method,
            "{method}: {seen:?}"
        );
        ensure!(seen[0].header("x-scope-orgid") == [b"platform"], "{seen:?}");
        ensure!(seen[0].header("authorization").is_empty(), "{seen:?}");
    }
    product.scene.log.clear();
    for (request, status) in [
        (search(&["strangers"]), PERMISSION_DENIED),
        (
            over_grpc(grpc::SEARCH, RawRequest::default().tenant("platform")),
            UNAUTHENTICATED,
        ),
        // A viewer does not write.
        (
            over_grpc(
                grpc::EXPORT_TRACES,
                by(&["developers"], RawRequest::default(), "platform"),
            ),
            PERMISSION_DENIED,
        ),
    ] {
        let reply = product.send(&request).await?;
        ensure!(
            reply.grpc_status() == Some(status),
            "not {status}: {reply:?}"
        );
    }
    let seen = product.scene.log.all();
    ensure!(seen.is_empty(), "{seen:?}");
    Ok(())
}

async fn a_withdrawn_role_ends_its_streams_and_no_others(product: &mut Product) -> Result<()> {
    product.scene.upstream("tempo")?.behave(Behaviour::Open);
    let outcome = withdraw(product).await;
    product.scene.upstream("tempo")?.behave(Behaviour::Echo);
    outcome
}

async fn withdraw(product: &mut Product) -> Result<()> {
    // What the case before has changed is taken back, which must not end what is opened here.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let theirs = Streams::open(product, &["developers"], "platform").await?;
    let granted = Streams::open(product, &["sre"], "platform").await?;
    let changed = product.configured(|config| {
        config["organizations"][0]["rbac"]["viewers"] = json!(["nobody"]);
    });
    let counted = ended_for_lack_of_a_grant(product).await?;
    product.put(&changed).await?;
    product.until_status(&reader(), 403).await?;
    let took = theirs.until_over(product, SOON).await?;
    // The others have the time of a drain in Envoy Gateway, and in Istio that of their tokens.
    tokio::time::sleep(SOON).await;
    ensure!(granted.over().is_empty(), "{:?} too", granted.over());
    let counted = ended_for_lack_of_a_grant(product).await? - counted;
    ensure!((counted - 2.0).abs() < 0.5, "{counted} are counted");
    product.measured("streams of a withdrawn role are over", took);
    Ok(())
}

/// How many streams were ended so far because they are no longer granted.
async fn ended_for_lack_of_a_grant(product: &Product) -> Result<f64> {
    let metrics = product.metrics().await?;
    let lines = metrics.lines().filter(|line| {
        line.contains("scopegate_streams_ended_total") && line.contains("grant_withdrawn")
    });
    let values = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
    Ok(values.sum())
}
