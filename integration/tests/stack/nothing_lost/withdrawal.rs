//! The writer's grant is withdrawn and given back: what was sent in the meantime is lost, and the clients say so.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use integration::client;
use integration::envoy::Update;
use integration::otlp::unix_nanos;
use integration::stack::Stack;
use serde_json::json;

use super::load::Load;
use super::signal::{Entry, Signal};
use super::stored::{self, Row};

/// Take the writer's grant away under load and give it back.
pub async fn drill(stack: &Stack) -> Result<()> {
    let granted = stack.configuration();
    let mut withdrawn = granted.clone();
    withdrawn["organizations"][0]["rbac"]["writers"] = json!([]);
    stack
        .start_envoy_with(stack.settings(granted.clone())?.dynamic())
        .await?;
    let envoy = stack.envoy()?;
    let load = Load::start(stack).await?;
    load.begin("withdrawal").await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    let early = load.sent().await?;
    for row in stored::compare(stack, &load, &early).await? {
        ensure!(
            row.lost().is_empty(),
            "{} were lost before the grant was withdrawn",
            row.signal
        );
    }

    // Under load, both times. The old listener goes on for the two seconds of its drain.
    let from = unix_nanos();
    ensure!(envoy.replace_configuration(&withdrawn).await? == Update::Accepted);
    tokio::time::sleep(DRAIN).await;
    let surely_from = unix_nanos();
    tokio::time::sleep(WITHDRAWN).await;
    let surely_to = unix_nanos();
    // What was scraped by now is refused before the grant is back.
    tokio::time::sleep(LAG).await;
    ensure!(envoy.replace_configuration(&granted).await? == Update::Accepted);
    tokio::time::sleep(DRAIN).await;
    let to = unix_nanos();
    tokio::time::sleep(Duration::from_secs(4)).await;
    let sent = load.end().await?;

    let mut rows = stored::compare(stack, &load, &sent).await?;
    for row in &mut rows {
        "403 is a verdict: this client drops what it is said about".clone_into(&mut row.why);
    }
    stored::print(&rows);
    let answers = stored::answers(&envoy.access_log());
    println!("answers to writes around the withdrawal: {answers:?}");
    for row in &rows {
        check_withdrawal(row, (from, to), (surely_from, surely_to))?;
        if row.signal != Signal::Samples {
            let lost = row.lost().len() as u64;
            ensure!(
                lost == row.given_up,
                "{} by {}: {lost} are missing, {} were given up",
                row.signal,
                row.signal.client(),
                row.given_up
            );
        }
    }
    check_series_of_the_target(stack, &load, to).await?;
    for signal in Signal::ALL {
        check_log(&load, signal)?;
    }
    ensure!(
        answers
            .keys()
            .all(|(status, details)| match details.as_str() {
                // 200 is gRPC's, which has its status in a trailer.
                "scopegate{tenant_not_granted}" => matches!(status, 403 | 200),
                details => !details.starts_with("scopegate{") && *status < 400,
            }),
        "another refusal than that of the grant: {answers:?}"
    );
    Ok(())
}

/// The client has said in its own log that it was refused, and what the gate's reason was.
fn check_log(load: &Load, signal: Signal) -> Result<()> {
    let log = load.log(signal);
    let mut about = log.lines().filter(|line| line.contains(signal.in_log()));
    let line = about
        .find(|line| line.contains(REASON))
        .with_context(|| format!("no refusal in the log of {}:\n{log}", signal.client()))?;
    let status = if signal == Signal::SpansByGrpc {
        "code = PermissionDenied"
    } else {
        "403"
    };
    let (_, error) = line
        .split_once(status)
        .with_context(|| format!("no {status} in {line}"))?;
    println!("{}, {signal}: … {status}{error}", signal.client());
    Ok(())
}

/// All that was sent surely within the withdrawal is lost, and nothing that was sent outside it.
fn check_withdrawal(row: &Row, within: (u64, u64), surely: (u64, u64)) -> Result<()> {
    let lost = row.lost();
    let outside: Vec<&Entry> = lost
        .iter()
        .filter(|entry| entry.time + MILLISECOND < within.0 - LEAD || entry.time > within.1)
        .collect();
    ensure!(
        outside.is_empty(),
        "{}: lost beyond the withdrawal: {outside:?}",
        row.signal
    );
    let passed: Vec<&Entry> = row
        .stored
        .iter()
        .filter(|entry| surely.0 <= entry.time && entry.time < surely.1)
        .collect();
    ensure!(
        passed.is_empty(),
        "{}: stored without a grant: {passed:?}",
        row.signal
    );
    ensure!(!lost.is_empty(), "{}: nothing was refused", row.signal);
    Ok(())
}

/// Prometheus counts what it gives up over all series: `up` and the like are refused with the rest.
async fn check_series_of_the_target(stack: &Stack, load: &Load, until: u64) -> Result<()> {
    let until = until / 1_000_000_000;
    let selector = load.target();
    let path = stored::up_to(&selector, until);
    let answer = client::get(load.agent.address(), path.trim_start_matches("/prometheus"))
        .await?
        .json()?;
    let series = answer["data"]["result"]
        .as_array()
        .with_context(|| answer.to_string())?;
    let sent = stored::total(series);
    let stored = stored::count(stack, &selector, until).await?;
    let given_up = load.given_up(Signal::Samples).await?;
    println!(
        "samples of all series of the target: {sent} sent, {stored} stored, {given_up} given up by the agent"
    );
    ensure!(
        sent - stored == given_up,
        "{} are missing, {given_up} were given up",
        sent - stored
    );
    Ok(())
}

/// What the gate says to a writer without a grant.
const REASON: &str = "no such tenant, or no access to it: check X-Scope-OrgID and your groups";
/// Envoy's drain of the old listener, two seconds, and room.
const DRAIN: Duration = Duration::from_secs(4);
const WITHDRAWN: Duration = Duration::from_secs(8);
/// What is scraped or handed over is sent within less.
const LAG: Duration = Duration::from_secs(6);
/// The same before the grant is withdrawn, in nanoseconds.
const LEAD: u64 = 3_000_000_000;
const MILLISECOND: u64 = 1_000_000;
