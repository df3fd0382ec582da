//! Nothing is lost: while agents push, what they need is taken away and given back. What they sent is compared with
//! what is stored, item by item.
//!
//! | drill | what goes away | what may be lost |
//! |---|---|---|
//! | `backends` | Loki, Mimir and Tempo are killed 15 s after each other and stay away for 60 s each, all while the provider is away | nothing: 502 and refused connections make clients wait and send again |
//! | `provider` | the provider is killed and stays away for 180 s; the gate tries in vain to fetch its keys again every minute | nothing: the last good keys remain in use, and no write is refused |
//! | `envoy` | Envoy is killed twice with pushes in flight and started again on its ports, once at once and once after 10 s | nothing: clients try again if a connection breaks or is refused |
//! | `limit` | nothing, but each tenant may write only five times per second, by the limits in `envoy/rate-limits` | nothing: 503, and UNAVAILABLE over gRPC, make clients wait and send again |
//! | `withdrawal` | the writer's grant | what is sent while it is withdrawn, and nothing else: 403 is a verdict, and both clients drop the data at once, each saying why in its log |
//!
//! For the `provider` drill, machines get tokens of 15 minutes (those of the realm last five), through the client's
//! attribute `access.token.lifespan`. The provider needs a minute or more to start, and the test is about the gate,
//! not about whether an agent's token outlives an outage. With a token that expires in the meantime, the Collector
//! would be refused with 401 and drop its data; Prometheus, which fetches its tokens itself, would wait.
//!
//! A killed backend has what it has acknowledged in its write-ahead log. What it received but could not acknowledge
//! is sent again. Loki and Mimir recognise it by its time and content, Tempo by its IDs. Tempo's stand-in is not
//! killed: it closes its ports and keeps what it has.

mod load;
mod signal;
mod stored;
mod withdrawal;

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use integration::stack::keycloak::Keycloak;
use integration::stack::{ACME, Stack};
use integration::{client, drill, rate_limits};
use serde_json::{Value, json};

use crate::scene::Scene;
use load::{Load, Sent};

crate::tests![
    envoy_is_killed_and_started_again,
    writes_meet_a_limit,
    a_grant_is_withdrawn_and_given_back,
    backends_and_the_provider_go_away_and_come_back,
];

async fn backends_and_the_provider_go_away_and_come_back(scene: &Scene) -> Result<()> {
    let stack = &scene.stack;
    set_token_lifespan(&stack.keycloak, Some(900)).await?;
    let outcome = outages(stack).await;
    let restored = restore(stack).await;
    outcome.and(restored)?;
    set_token_lifespan(&stack.keycloak, None).await
}

async fn outages(stack: &Stack) -> Result<()> {
    let mut configuration = stack.configuration();
    configuration["providers"][0]["jwks"]["refresh_interval"] = json!("1m");
    stack
        .start_envoy_with(stack.settings(configuration)?)
        .await?;
    let load = Load::start(stack).await?;
    // The agent has its token before the provider goes.
    load.begin("before").await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let before = load.end().await?;
    report(stack, &load, &before, "").await?;

    stack.keycloak.daemon().kill();
    let provider_is_away = Instant::now();
    ensure!(
        client::get(stack.keycloak.address(), "/realms/platform")
            .await
            .is_err(),
        "the provider was killed and still answers"
    );
    load.begin("backends").await;
    let (loki, mimir, tempo) = tokio::join!(
        away(stack, Backend::Loki, Duration::ZERO),
        away(stack, Backend::Mimir, STAGGER),
        away(stack, Backend::Tempo, STAGGER * 2),
    );
    let times = format!("away for {:.0?}, {:.0?}, {:.0?}", loki?, mimir?, tempo?);
    tokio::time::sleep(Duration::from_secs(3)).await;
    let sent = load.end().await?;
    report(stack, &load, &sent, &times).await?;
    let envoy = stack.envoy()?;
    let answers = stored::answers(&envoy.access_log());
    println!("answers to writes while backends were away: {answers:?}");
    ensure!(
        answers
            .keys()
            .any(|(_, details)| details == "scopegate{backend_unavailable}"),
        "no write met a backend that was away"
    );

    load.begin("provider").await;
    tokio::time::sleep_until((provider_is_away + PROVIDER_AWAY).into()).await;
    let failed = envoy.metric("scopegate_jwks_fetch_total", &[]).await?
        - envoy
            .metric("scopegate_jwks_fetch_total", &[("result", "ok")])
            .await?;
    ensure!(failed >= 1.0, "the gate has not tried to refetch its keys");
    let age = envoy.metric("scopegate_jwks_age_seconds", &[]).await?;
    ensure!(
        age > 120.0,
        "the keys are {age} s old, after {PROVIDER_AWAY:?} without a provider"
    );
    stack.keycloak.daemon().restart().await?;
    let away = provider_is_away.elapsed();
    let ok = [("result", "ok")];
    let fetched = envoy.metric("scopegate_jwks_fetch_total", &ok).await?;
    let fetched_again =
        drill::wait_for_metric(&envoy, "scopegate_jwks_fetch_total", &ok, FETCH, |count| {
            count > fetched
        });
    fetched_again.await?;
    load.renew(&stack.keycloak.machine(&writer()).await?)?;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let sent = load.end().await?;
    let times = format!("away for {away:.0?}, keys {age:.0} s old, {failed:.0} fetches in vain");
    report(stack, &load, &sent, &times).await?;
    check_refusals(stack, &["backend_unavailable"]).await
}

async fn envoy_is_killed_and_started_again(scene: &Scene) -> Result<()> {
    let stack = &scene.stack;
    let outcome = restarts(stack).await;
    let restored = restore(stack).await;
    outcome.and(restored)
}

async fn restarts(stack: &Stack) -> Result<()> {
    let load = Load::start(stack).await?;
    load.begin("envoy").await;
    let mut times = Vec::new();
    for pause in [Duration::ZERO, Duration::from_secs(10)] {
        tokio::time::sleep(Duration::from_secs(4)).await;
        // So that pushes are surely in flight: frozen backends have them and do not answer.
        freeze(stack, true)?;
        let active = wait_for_pushes_in_flight(stack).await;
        let killed = Instant::now();
        stack.kill_envoy();
        freeze(stack, false)?;
        let active = active?;
        tokio::time::sleep(pause).await;
        stack.start_envoy().await?;
        times.push(format!(
            "{:.0?} with {active} pushes in flight",
            killed.elapsed()
        ));
    }
    tokio::time::sleep(Duration::from_secs(4)).await;
    let sent = load.end().await?;
    report(
        stack,
        &load,
        &sent,
        &format!("away for {}", times.join(", ")),
    )
    .await?;
    // Of the last Envoy: the others took their logs along, and the clients' counts stand for them. It may have been
    // asked before it had keys.
    check_refusals(stack, &["backend_unavailable", "keys_unavailable"]).await
}

/// How many there are, once there are some to Loki and to Mimir.
async fn wait_for_pushes_in_flight(stack: &Stack) -> Result<i64> {
    let envoy = stack.envoy()?;
    let deadline = Instant::now() + IN_FLIGHT;
    loop {
        let stats = envoy.stats().await?;
        let active = ["loki", "mimir"].map(|name| {
            let name = format!("cluster.{name}.upstream_rq_active");
            stats.get(&name).copied().unwrap_or_default()
        });
        if active.iter().all(|&active| active > 0) {
            return Ok(active.iter().sum());
        }
        ensure!(Instant::now() < deadline, "no pushes in flight: {active:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Stop Loki and Mimir in their tracks, or let them go on.
fn freeze(stack: &Stack, still: bool) -> Result<()> {
    let signal = if still { "STOP" } else { "CONT" };
    for daemon in [stack.loki.daemon()?, stack.mimir.daemon()?] {
        if let Some(id) = daemon.id() {
            let kill = format!("kill -s {signal} {id}");
            ensure!(
                Command::new("sh").args(["-c", &kill]).status()?.success(),
                "{kill}"
            );
        }
    }
    Ok(())
}

async fn writes_meet_a_limit(scene: &Scene) -> Result<()> {
    let stack = &scene.stack;
    let outcome = limited(stack).await;
    let restored = restore(stack).await;
    outcome.and(restored)
}

async fn limited(stack: &Stack) -> Result<()> {
    let settings = stack.settings(stack.configuration())?.edit(|bootstrap| {
        rate_limits::add(bootstrap, |filters| {
            let writes = &mut filters[0]["typed_config"];
            let bucket = json!({"max_tokens": 5, "tokens_per_fill": 1, "fill_interval": "0.2s"});
            writes["descriptors"][0]["token_bucket"] = bucket;
            writes["response_headers_to_add"][0]["header"]["value"] = json!("1");
            Ok(())
        })
    });
    stack.start_envoy_with(settings).await?;
    let load = Load::start(stack).await?;
    load.begin("limit").await;
    tokio::time::sleep(LIMITED).await;
    let sent = load.end().await?;
    report(stack, &load, &sent, "more writes than the limit").await?;
    let answers = stored::answers(&stack.envoy()?.access_log());
    for status in [503, 200] {
        // 200 is gRPC's, which has its status in a trailer.
        let told = answers.get(&(status, "local_rate_limited".to_owned()));
        ensure!(told.is_some_and(|count| *count > 0), "{answers:?}");
    }
    check_refusals(stack, &["keys_unavailable"]).await
}

async fn a_grant_is_withdrawn_and_given_back(scene: &Scene) -> Result<()> {
    let stack = &scene.stack;
    let outcome = withdrawal::drill(stack).await;
    let restored = restore(stack).await;
    outcome.and(restored)
}

/// Compare, print, and demand that everything is there.
async fn report(stack: &Stack, load: &Load, sent: &Sent, why: &str) -> Result<()> {
    let mut rows = stored::compare(stack, load, sent).await?;
    for row in &mut rows {
        why.clone_into(&mut row.why);
    }
    stored::print(&rows);
    for row in &rows {
        let lost = row.lost();
        if !lost.is_empty() || row.given_up > 0 {
            let log = load.log(row.signal);
            let tail: Vec<&str> = log.lines().filter(|line| is_a_drop(line)).take(5).collect();
            bail!(
                "{}: of {} {} by {}, {} were lost and {} given up: {lost:?}\n{}\nanswers: {:?}",
                row.drill,
                row.sent.len(),
                row.signal,
                row.signal.client(),
                lost.len(),
                row.given_up,
                tail.join("\n"),
                stack
                    .envoy()
                    .map(|envoy| stored::answers(&envoy.access_log())),
            );
        }
    }
    Ok(())
}

fn is_a_drop(line: &str) -> bool {
    line.contains("Dropping data") || line.contains("non-recoverable")
}

/// Of the running Envoy: no write was refused for another reason than these, each of which clients wait out.
async fn check_refusals(stack: &Stack, expected: &[&str]) -> Result<()> {
    let envoy = stack.envoy()?;
    drill::check_health_without_reads(&envoy).await?;
    let denied = [("decision", "deny"), ("permission", "write")];
    let name = "scopegate_decisions_total";
    let mut unexpected = envoy.metric(name, &denied).await?;
    for code in expected {
        let labels = [denied[0], denied[1], ("code", *code)];
        unexpected -= envoy.metric(name, &labels).await?;
    }
    let answers = stored::answers(&envoy.access_log());
    println!("answers to writes: {answers:?}");
    ensure!(
        unexpected == 0.0,
        "{unexpected} writes were refused for another reason: {answers:?}"
    );
    let refused = answers.keys().find(|(status, details)| {
        let code = details.strip_prefix("scopegate{");
        let code = code.and_then(|rest| rest.strip_suffix('}'));
        (400..500).contains(status) || code.is_some_and(|code| !expected.contains(&code))
    });
    ensure!(refused.is_none(), "{refused:?} to a write: {answers:?}");
    Ok(())
}

enum Backend {
    Loki,
    Mimir,
    Tempo,
}

/// After that delay kill a backend for [`BACKEND_AWAY`]; how long it was really away.
async fn away(stack: &Stack, backend: Backend, delay: Duration) -> Result<Duration> {
    tokio::time::sleep(delay).await;
    match backend {
        Backend::Loki => stack.loki.daemon()?.kill(),
        Backend::Mimir => stack.mimir.daemon()?.kill(),
        Backend::Tempo => stack.tempo.down().await?,
    }
    let began = Instant::now();
    tokio::time::sleep(BACKEND_AWAY).await;
    match backend {
        Backend::Loki => stack.loki.daemon()?.restart().await?,
        Backend::Mimir => stack.mimir.daemon()?.restart().await?,
        Backend::Tempo => stack.tempo.up().await?,
    }
    Ok(began.elapsed())
}

/// The stack as the other tests want it, whatever has become of a drill.
async fn restore(stack: &Stack) -> Result<()> {
    freeze(stack, false)?;
    for daemon in [
        stack.loki.daemon()?,
        stack.mimir.daemon()?,
        stack.keycloak.daemon(),
    ] {
        if daemon.id().is_none() {
            daemon.restart().await?;
        }
    }
    stack.tempo.up().await?;
    stack.start_envoy().await
}

/// Of the writer's tokens, in seconds; `None` is the realm's.
async fn set_token_lifespan(keycloak: &Keycloak, seconds: Option<u32>) -> Result<()> {
    let path = format!("/clients?clientId={}", writer());
    let clients = keycloak.admin("GET", &path, None).await?.json()?;
    let mut client = clients[0].clone();
    let id = client["id"].as_str().context("no such client")?.to_owned();
    client["attributes"]["access.token.lifespan"] =
        seconds.map_or_else(|| json!(""), |seconds| Value::from(seconds.to_string()));
    keycloak
        .admin("PUT", &format!("/clients/{id}"), Some(client))
        .await?;
    if let Some(seconds) = seconds {
        let lifetime = lifetime(&keycloak.machine(&writer()).await?)?;
        ensure!(
            lifetime == i64::from(seconds),
            "a token lives for {lifetime} s"
        );
    }
    Ok(())
}

/// Of a token, in seconds.
fn lifetime(token: &str) -> Result<i64> {
    let payload = token.split('.').nth(1).context("no payload")?;
    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload)?)?;
    let time = |name: &str| claims[name].as_i64().with_context(|| format!("no {name}"));
    Ok(time("exp")? - time("iat")?)
}

fn writer() -> String {
    format!("agent-{ACME}")
}

const BACKEND_AWAY: Duration = Duration::from_secs(60);
const STAGGER: Duration = Duration::from_secs(15);
const PROVIDER_AWAY: Duration = Duration::from_secs(180);
/// The gate's back-off between fetches is at most a minute.
const FETCH: Duration = Duration::from_secs(90);
const LIMITED: Duration = Duration::from_secs(8);
const IN_FLIGHT: Duration = Duration::from_secs(20);
