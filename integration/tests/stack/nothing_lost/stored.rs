//! What the backends have stored, asked directly, compared with what was sent.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use futures_util::future::try_join_all;
use integration::client::{Protocol, RawRequest, Target};
use integration::form;
use integration::stack::{ACME, Stack};
use serde_json::Value;

use super::load::{self, Load, Sent};
use super::signal::{Drill, Entry, Signal};

/// One line of a drill's table.
pub struct Row {
    pub drill: &'static str,
    pub signal: Signal,
    pub sent: Vec<Entry>,
    /// Each once, however often the backend has it.
    pub stored: BTreeSet<Entry>,
    pub given_up: u64,
    pub why: String,
}

impl Row {
    /// Sent and not stored.
    pub fn lost(&self) -> Vec<Entry> {
        let lost = self
            .sent
            .iter()
            .filter(|entry| !self.stored.contains(entry));
        lost.copied().collect()
    }
}

/// Wait until each backend has what was sent, but for what the client says it has given up since the load began.
/// After [`PATIENCE`] the rows hold what is there.
///
/// # Errors
/// A backend has what was not sent, or other than it was sent.
pub async fn compare(stack: &Stack, load: &Load, sent: &Sent) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for signal in Signal::ALL {
        let Some(entries) = sent.entries.get(&signal) else {
            continue;
        };
        rows.push(settle(stack, load, sent, signal, entries).await?);
    }
    Ok(rows)
}

async fn settle(
    stack: &Stack,
    load: &Load,
    of: &Sent,
    signal: Signal,
    sent: &[Entry],
) -> Result<Row> {
    let drill = of.drill;
    ensure!(!sent.is_empty(), "{}: no {signal} were sent", drill.name);
    let deadline = Instant::now() + PATIENCE;
    let wanted: BTreeSet<Entry> = sent.iter().copied().collect();
    ensure!(
        wanted.len() == sent.len(),
        "{signal} that cannot be told apart"
    );
    let mut stored = BTreeSet::new();
    loop {
        let missing: Vec<Entry> = wanted.difference(&stored).copied().collect();
        // A backend that has only just come back may not answer yet.
        match find(stack, drill, signal, sent, &missing).await {
            Ok(found) => {
                let known = found
                    .into_iter()
                    .filter(|entry| !of.goes_on || wanted.contains(entry));
                stored.extend(known);
            }
            Err(error) if Instant::now() > deadline => return Err(error),
            Err(_) => {}
        }
        if let Some(stranger) = stored.iter().find(|entry| !wanted.contains(entry)) {
            bail!(
                "{}: {signal}: {stranger:?} is stored and was not sent",
                drill.name
            );
        }
        let given_up = load.given_up(signal).await?;
        let accounted = match signal {
            // Its count is of other series as well, but it sends a series in order.
            Signal::Samples if given_up > 0 => {
                sent.last().is_some_and(|last| stored.contains(last))
            }
            _ => stored.len() as u64 + given_up >= sent.len() as u64,
        };
        if stored.len() == sent.len() || accounted || Instant::now() > deadline {
            return Ok(Row {
                drill: drill.name,
                signal,
                sent: sent.to_vec(),
                stored,
                given_up,
                why: String::new(),
            });
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// What the backend has; of spans only the missing ones are asked for.
async fn find(
    stack: &Stack,
    drill: Drill,
    signal: Signal,
    sent: &[Entry],
    missing: &[Entry],
) -> Result<Vec<Entry>> {
    match signal {
        Signal::Samples => instant(stack, &format!("{}[1h]", drill.samples())).await,
        Signal::Points => instant(stack, &format!("{}[1h]", drill.points())).await,
        Signal::Lines => lines(stack, drill, sent).await,
        Signal::Spans | Signal::SpansByGrpc => spans(stack, drill, signal, missing).await,
    }
}

async fn instant(stack: &Stack, expression: &str) -> Result<Vec<Entry>> {
    let series = query(stack, &load::instant(expression)).await?;
    ensure!(series.len() <= 1, "{} series of {expression}", series.len());
    load::samples(&series)
}

/// How many samples of those series Mimir has up to then, in Unix seconds.
pub async fn count(stack: &Stack, selector: &str, until: u64) -> Result<u64> {
    Ok(total(&query(stack, &up_to(selector, until)).await?))
}

/// The path of a query for the samples of series up to then.
pub fn up_to(selector: &str, until: u64) -> String {
    format!("{}&time={until}", load::instant(&format!("{selector}[1h]")))
}

/// How many samples its answer has.
pub fn total(series: &[Value]) -> u64 {
    let samples = series
        .iter()
        .filter_map(|series| series["values"].as_array());
    samples.map(|samples| samples.len() as u64).sum()
}

async fn query(stack: &Stack, path: &str) -> Result<Vec<Value>> {
    let answer = get(stack.mimir.http(), path).await?.1;
    let answer: Value =
        serde_json::from_str(&answer).with_context(|| format!("Mimir: {answer}"))?;
    let result = answer["data"]["result"].as_array();
    Ok(result.with_context(|| format!("Mimir: {answer}"))?.clone())
}

/// Every line with its time; an answer that repeats one fails.
async fn lines(stack: &Stack, drill: Drill, sent: &[Entry]) -> Result<Vec<Entry>> {
    let from = sent.first().map_or(0, |entry| entry.time);
    let to = sent.last().map_or(0, |entry| entry.time) + 1;
    let path = format!(
        "/loki/api/v1/query_range?query={}&start={from}&end={to}&limit={}",
        form::encode(&format!("{{service_name=\"{}\"}}", drill.service())),
        sent.len() * 2,
    );
    let (_, text) = get(stack.loki.http(), &path).await?;
    let answer: Value = serde_json::from_str(&text).with_context(|| format!("Loki: {text}"))?;
    let streams = answer["data"]["result"].as_array();
    let streams = streams.with_context(|| format!("Loki: {text}"))?;
    let mut found = Vec::new();
    for value in streams
        .iter()
        .filter_map(|stream| stream["values"].as_array())
        .flatten()
    {
        let time: u64 = value[0].as_str().context("no time")?.parse()?;
        let line = value[1].as_str().context("no line")?;
        let number = line
            .strip_prefix("line ")
            .and_then(|rest| rest.split(' ').next());
        let number = number.and_then(|number| number.parse().ok());
        let number = number.filter(|&number| line == drill.line(number));
        found.push(Entry {
            time,
            number: number.with_context(|| format!("not a line of ours: {line}"))?,
        });
    }
    let distinct: BTreeSet<Entry> = found.iter().copied().collect();
    ensure!(distinct.len() == found.len(), "Loki has lines twice");
    Ok(found)
}

/// Those of the traces that Tempo has.
async fn spans(stack: &Stack, drill: Drill, signal: Signal, asked: &[Entry]) -> Result<Vec<Entry>> {
    let mut found = Vec::new();
    for some in asked.chunks(AT_ONCE) {
        let mut answers = Vec::new();
        for &entry in some {
            answers.push(span(stack, drill, signal, entry));
        }
        found.extend(try_join_all(answers).await?.into_iter().flatten());
    }
    Ok(found)
}

async fn span(stack: &Stack, drill: Drill, signal: Signal, entry: Entry) -> Result<Option<Entry>> {
    let path = format!("/api/traces/{:032x}", drill.trace(signal, entry.number));
    let (status, text) = get(stack.tempo.http(), &path).await?;
    let there = text.contains(&format!("\"{}\"", drill.span(entry.number)));
    ensure!(there == (status == 200), "Tempo: {status} {text}");
    Ok(there.then_some(entry))
}

async fn get(server: std::net::SocketAddr, path: &str) -> Result<(u16, String)> {
    let request = RawRequest::get(path).tenant(ACME);
    let reply = request.send(&Target::plain(server), Protocol::H1).await?;
    Ok((reply.status, reply.text()))
}

/// The table of a drill, for whoever reads the run.
pub fn print(rows: &[Row]) {
    let width = |column: fn(&Row) -> usize| rows.iter().map(column).max().unwrap_or_default();
    let drill = width(|row| row.drill.len());
    println!(
        "\n{:drill$} | signal    | {:25} |  sent | stored |  lost | why",
        "drill", "client"
    );
    for row in rows {
        let (sent, stored, lost) = (row.sent.len(), row.stored.len(), row.lost().len());
        println!(
            "{:drill$} | {:9} | {:25} | {sent:5} | {stored:6} | {lost:5} | {}",
            row.drill,
            row.signal,
            row.signal.client(),
            row.why,
        );
    }
    println!();
}

/// By status and response-code details: what the gate answered. A drill is alone with it: these are its writes.
pub fn answers(lines: &[integration::envoy::AccessLine]) -> BTreeMap<(u16, String), usize> {
    let mut answers = BTreeMap::new();
    for line in lines {
        let details = line.details.clone().unwrap_or_default();
        *answers
            .entry((line.status.unwrap_or_default(), details))
            .or_default() += 1;
    }
    answers
}

/// A client that was told to come back later does so within 15 s, the longest `Retry-After` of the gate.
const PATIENCE: Duration = Duration::from_secs(120);
const AT_ONCE: usize = 8;
