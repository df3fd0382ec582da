//! The command in `docs/usage.md`, exactly as it is printed there, over the log of a real Envoy.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use integration::client::{Protocol, RawRequest, Reply};
use integration::scene::Scene;
use integration::token::Recipe;
use integration::upstream::Behaviour;
use integration::{drill, paths};
use serde_json::json;

/// The first block of that kind on the page.
fn block(kind: &str) -> Result<String> {
    let page = fs::read_to_string(paths::repository().join("docs/usage.md"))?;
    let (_, rest) = page
        .split_once(&format!("```{kind}\n"))
        .with_context(|| format!("no block of {kind}"))?;
    let (block, _) = rest.split_once("```").context("no end")?;
    Ok(block.to_owned())
}

/// What the command makes of that log: the numbers of each row, without its day.
fn add_up(log: &str) -> Result<BTreeMap<String, Vec<u64>>> {
    let folder = tempfile::tempdir()?;
    fs::write(folder.path().join("access.log"), log)?;
    let output = Command::new("sh")
        .args(["-c", &block("sh")?])
        .current_dir(folder.path())
        .output()?;
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success() && told.is_empty(), "{told}");
    let table = String::from_utf8(output.stdout)?;
    let mut lines = table.lines();
    let head = lines.next().context("nothing")?;
    ensure!(
        block("text")?.lines().next() == Some(head),
        "the page shows another head than {head}"
    );
    let mut rows = BTreeMap::new();
    for line in lines {
        let cells: Vec<&str> = line.split(',').collect();
        let (key, numbers) = cells.split_at_checked(4).context("four words")?;
        ensure!(key[0].len() == "2026-11-26".len(), "{line}");
        let numbers: Result<Vec<u64>, _> = numbers.iter().map(|text| text.parse()).collect();
        rows.insert(key[1..].join(","), numbers?);
    }
    Ok(rows)
}

/// What is to be found, by the bytes that a client has sent and got.
#[derive(Default)]
struct Ledger {
    rows: BTreeMap<String, Vec<u64>>,
    requests: usize,
}

impl Ledger {
    /// Send it, and write it down under that row, or nowhere.
    async fn send(
        &mut self,
        scene: &Scene,
        protocol: Protocol,
        request: &RawRequest,
        row: Option<&str>,
    ) -> Result<Reply> {
        let reply = request.send(&scene.envoy.target(), protocol).await?;
        self.requests += 1;
        if let Some(row) = row {
            let row = self.rows.entry(row.to_owned()).or_insert(vec![0; 3]);
            for (sum, more) in row
                .iter_mut()
                .zip([1, request.body.len(), reply.body.len()])
            {
                *sum += u64::try_from(more)?;
            }
        }
        Ok(reply)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_and_bytes_are_added_up_by_tenant() -> Result<()> {
    let mut configuration = drill::configuration();
    configuration["organizations"][1]["rbac"]["viewers"] = json!(["globex-viewers", "both"]);
    configuration["organizations"][0]["rbac"]["viewers"] = json!(["acme-viewers", "both"]);
    let scene = drill::scene(configuration).await?;
    drill::wait_for_metric(
        &scene.envoy,
        "scopegate_jwks_keys",
        &[],
        Duration::from_secs(10),
        |keys| keys > 0.0,
    )
    .await?;
    // Each worker takes the keys over on its own tick.
    tokio::time::sleep(Duration::from_millis(1_300)).await;
    let mut ledger = Ledger::default();
    let agent = drill::token_of("agent")?;
    let reader = drill::fresh(Recipe::of("reader").claim("groups", json!(["both"])))?;
    let push = |path: &str, bytes: usize| {
        let mut request = RawRequest::post(path, "").bearer(&agent).tenant("acme");
        request.body = vec![b' '; bytes];
        request
    };
    let (one, two) = (Protocol::H1, Protocol::H2);

    for bytes in [0, 1_000, 70_000] {
        let request = push("/loki/api/v1/push", bytes);
        let reply = ledger.send(&scene, one, &request, Some("acme,loki,write"));
        ensure!(reply.await?.status == 200);
    }
    let request = push("/api/v1/push", 500);
    let reply = ledger.send(&scene, two, &request, Some("acme,mimir,write"));
    ensure!(reply.await?.status == 200);
    for (tenants, row) in [
        ("acme", "acme,loki,read"),
        ("globex", "globex,loki,read"),
        ("globex|acme", "acme|globex,loki,read"),
        ("acme|globex", "acme|globex,loki,read"),
    ] {
        let request = drill::read(&reader, tenants);
        let reply = ledger.send(&scene, two, &request, Some(row)).await?;
        ensure!(reply.status == 200, "{tenants}: {reply:?}");
    }
    let mut export = push(
        "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
        0,
    )
    .header("content-type", "application/grpc")
    .header("te", "trailers");
    export.body = vec![0, 0, 0, 0, 0];
    let reply = ledger.send(&scene, two, &export, Some("acme,loki,write"));
    let reply = reply.await?;
    ensure!(reply.status == 200, "{reply:?}");

    // None of these has been taken or answered by a backend.
    let request = drill::read(&reader, "initech");
    let reply = ledger.send(&scene, one, &request, None).await?;
    ensure!(reply.status == 403, "{reply:?}");
    let reply = ledger
        .send(&scene, one, &RawRequest::get("/"), None)
        .await?;
    ensure!(reply.status == 404, "{reply:?}");
    scene.upstream("loki")?.behave(Behaviour::Answer {
        status: 500,
        headers: Vec::new(),
        body: "the ring is on fire".to_owned(),
    });
    let request = push("/loki/api/v1/push", 1_000);
    let reply = ledger.send(&scene, one, &request, None).await?;
    ensure!(reply.status == 500, "{reply:?}");
    scene.upstream("loki_grpc")?.down().await;
    let reply = ledger.send(&scene, two, &export, None).await?;
    ensure!(reply.status == 200 && reply.header("grpc-status").as_deref() == Some("14"));

    let deadline = Instant::now() + Duration::from_secs(10);
    let entries = || {
        let log = scene.envoy.log();
        log.lines().filter(|line| line.starts_with('{')).count()
    };
    while entries() < ledger.requests {
        ensure!(Instant::now() < deadline, "{} entries", entries());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // Envoy's own log stands in it too.
    let log = scene.envoy.log();
    ensure!(log.lines().any(|line| line.starts_with('[')));
    let found = add_up(&log)?;
    ensure!(found == ledger.rows, "{found:?}, not {:?}", ledger.rows);
    ensure!(found.len() == 5, "{found:?}");
    let other = log.replacen(r#""bytes_received":1000"#, r#""bytes_received":1001"#, 1);
    ensure!(add_up(&other)? != ledger.rows, "the bytes are not counted");
    Ok(())
}

/// A log that is cut, or of another format, ends nothing.
#[test]
fn what_is_no_entry_is_skipped() -> Result<()> {
    let odd =
        "\n{\n[]\nnull\n7\n{}\n{\"scopegate\": null}\n{\"scopegate\": 7}\n{\"scopegate\": \"x\"}\n";
    ensure!(add_up(odd)?.is_empty());
    Ok(())
}
