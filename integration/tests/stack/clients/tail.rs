//! `logcli query --tail`: a WebSocket that a real client opens, reads, and opens again when it is ended.

#![expect(clippy::float_cmp, reason = "what is compared is whole numbers")]

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use integration::client::RawRequest;
use integration::drill;
use integration::otlp;
use integration::process::Process;
use integration::stack::keycloak::PLATFORM;
use integration::stack::{ACME, GLOBEX, loki};
use integration::token;
use serde_json::json;

use super::{
    BOTH, INVALID_TOKEN, NO_TENANT, NOT_GRANTED, NOT_SINGLE, Said, check_status, eventually, run,
};
use crate::scene::Scene;
use crate::side_gate::SideGate;
use crate::tests;

tests![LOGCLI =>
    a_tail_gets_the_lines_of_its_tenant_as_they_come,
    a_refused_tail_is_told_why,
    a_tail_ends_with_its_token_and_at_the_longest_duration,
];

async fn a_tail_gets_the_lines_of_its_tenant_as_they_come(scene: &Scene) -> Result<()> {
    let token = scene.token("alice").await?;
    let tail = Tail::start(&scene.stack.url(), scene, Some(&token), ACME)?;
    // Loki itself shows that the other tenant's lines are there to be seen.
    let control = format!("http://{}", scene.stack.loki.http());
    let control = Tail::start(&control, scene, None, GLOBEX)?;
    push_until_seen(scene, &[&tail, &control]).await?;
    let line = push(scene).await?;
    for (tail, tenant, other) in [(&tail, ACME, GLOBEX), (&control, GLOBEX, ACME)] {
        eventually("the last line arrives", || async {
            Ok(tail.log().contains(&line))
        })
        .await?;
        let log = tail.log();
        ensure!(log.contains(&format!("{line} of {tenant}")), "{log}");
        ensure!(!log.contains(other), "{log}");
    }
    Ok(())
}

async fn a_refused_tail_is_told_why(scene: &Scene) -> Result<()> {
    let refused = [
        ("alice", Some(GLOBEX), NOT_GRANTED),
        ("alice", None, NO_TENANT),
        ("agent-acme", Some(ACME), "permission 'read'"),
        // Reads take both of carol's tenants, but Loki tails one only.
        ("carol", Some(BOTH), NOT_SINGLE),
    ];
    for (who, tenant, reason) in refused {
        let token = scene.token(who).await?;
        let said = refuse(scene, &token, tenant).await?;
        said.check_refused(reason)
            .with_context(|| format!("{who}, {tenant:?}"))?;
    }
    let token = scene.token("alice").await?;
    refuse(scene, &format!("{token}x"), Some(ACME))
        .await?
        .check_refused(INVALID_TOKEN)
}

/// A gate of its own beside the stack's: without leeway, and with a span that a test can wait for.
async fn a_tail_ends_with_its_token_and_at_the_longest_duration(scene: &Scene) -> Result<()> {
    let mut configuration = scene.stack.configuration();
    configuration["providers"][0]["clock_skew"] = json!("0s");
    configuration["limits"] = json!({"stream_duration": "20s"});
    let gate = SideGate::start(scene, configuration, |settings| settings).await?;
    gate.wait_for_keys().await?;
    let url = format!("https://{}", gate.envoy.address());

    let long = scene.stack.keycloak.user("alice").await?;
    let long = Tail::start(&url, scene, Some(&long), ACME)?;
    let short = scene
        .stack
        .keycloak
        .login_to(PLATFORM, "hasty", "alice")
        .await?;
    let expires = token::now() + HASTY;
    let short = Tail::start(&url, scene, Some(&short.access), ACME)?;
    push_until_seen(scene, &[&long, &short]).await?;
    ensure!(token::now() < expires, "too slow to begin in time");
    ensure!(!short.log().contains(CLOSED), "{}", short.log());

    // The token's end: closed within the tick, and the same token opens no other.
    eventually("the tail of the hasty client is closed", || async {
        Ok(short.log().contains(CLOSED))
    })
    .await?;
    let late = token::now() - expires;
    ensure!((-1..=3).contains(&late), "closed {late} s after its token");
    eventually("its next try is refused", || async {
        Ok(short.log().contains(INVALID_TOKEN))
    })
    .await?;
    drop(short);

    // The span's end: closed with a token that is good, which therefore opens the next one.
    eventually("the other tail is closed as well", || async {
        Ok(long.log().contains(CLOSED))
    })
    .await?;
    eventually("it goes on by itself", || async {
        let line = push(scene).await?;
        tokio::time::sleep(Duration::from_secs(1)).await;
        Ok(long.log().contains(&line))
    })
    .await?;
    let told = long.log();
    ensure!(
        !told.contains(GLOBEX) && !told.contains(INVALID_TOKEN),
        "{told}"
    );
    for reason in ["token_expired", "max_duration"] {
        let labels = [("reason", reason)];
        let ended = gate
            .envoy
            .metric("scopegate_streams_ended_total", &labels)
            .await?;
        ensure!(ended == 1.0, "{reason}: {ended}");
    }
    drill::check_health_without_reads(&gate.envoy).await
}

/// A logcli that goes on until it is dropped.
struct Tail(Process);

impl Tail {
    fn start(url: &str, scene: &Scene, token: Option<&str>, tenant: &str) -> Result<Tail> {
        let authority = token.map(|_| scene.stack.authority());
        let mut command = loki::logcli(url, authority.as_deref())?;
        command.args(token.map(|token| format!("--bearer-token={token}")));
        command.arg(format!("--org-id={tenant}")).args(TAIL);
        let folder = tempfile::Builder::new()
            .prefix("scopegate-tail-")
            .tempdir()?;
        Ok(Tail(Process::start("logcli", command, folder)?))
    }

    /// What it has printed.
    fn log(&self) -> String {
        self.0.log()
    }
}

/// A tail that is not let in, and ends by itself.
async fn refuse(scene: &Scene, token: &str, tenant: Option<&str>) -> Result<Said> {
    let mut command = loki::logcli(&scene.stack.url(), Some(&scene.stack.authority()))?;
    command.arg(format!("--bearer-token={token}"));
    command.args(tenant.map(|tenant| format!("--org-id={tenant}")));
    command.args(TAIL);
    run(command).await
}

/// Push lines for both tenants until each of the tails has shown one, and so is open.
async fn push_until_seen(scene: &Scene, tails: &[&Tail]) -> Result<()> {
    eventually("every tail shows a line", || async {
        push(scene).await?;
        tokio::time::sleep(Duration::from_millis(250)).await;
        Ok(tails.iter().all(|tail| tail.log().contains("tailed ")))
    })
    .await
}

/// One more line for each tenant; returns how they begin.
async fn push(scene: &Scene) -> Result<String> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let line = format!("tailed no. {:04}", NEXT.fetch_add(1, Ordering::Relaxed));
    for tenant in [GLOBEX, ACME] {
        let stream = json!({
            "stream": {"service_name": format!("{tenant}-tail")},
            "values": [[otlp::unix_nanos().to_string(), format!("{line} of {tenant}")]],
        });
        let request = RawRequest::post(
            "/loki/api/v1/push",
            json!({"streams": [stream]}).to_string(),
        )
        .header("content-type", "application/json");
        let reply = scene
            .send(&format!("agent-{tenant}"), tenant, request)
            .await?;
        check_status(&reply, 204)?;
    }
    Ok(line)
}

const TAIL: [&str; 3] = ["query", "--tail", r#"{service_name=~".+-tail"}"#];
/// What logcli prints when a tail is cut off.
const CLOSED: &str = "Remote websocket connection closed unexpectedly";
/// The lifetime of a token of that client, in seconds.
const HASTY: i64 = 15;
