//! A caller who sees a part of a tenant gets the answers that there would be if the tenant held nothing else.
//!
//! The same question is asked twice through the gate: by a scoped caller in a tenant with everybody's data, and by
//! one without a scope in a tenant with only the data in scope. Whatever Loki and Mimir reveal about the rest, in a
//! name, a value, a count, a number of bytes or what a limit leaves out, makes the answers differ. Not compared are:
//!
//! 1. in answers of Loki, the members of `stats` that do not count what was read: times, and what caches did;
//! 2. positions in the query, which warnings and errors name, because the query with the scope is longer. For errors,
//!    only the status is compared, and that no word of another namespace is in them;
//! 3. the order of lists, and digits of numbers beyond the ninth: neither is fixed even for one server alone.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Result, ensure};
use integration::client::Reply;
use integration::drill::Random;
use integration::stack::{SOYLENT, UMBRELLA};
use integration::token;
use scopegate::authz::endpoint::{Backend, Endpoints, Scoping, Surface, TABLE};
use scopegate::words::method::Methods;
use serde_json::{Value, json};

use super::asks::request;
use super::questions::{Question, of_logs, of_metrics};
use super::twin_data::{HIDDEN, Twins};
use crate::scene::Scene;

crate::tests![
    what_is_out_of_scope_is_neither_named_nor_counted,
    random_questions_of_logs_are_answered_as_if_nothing_else_were_there,
    random_questions_of_metrics_are_answered_as_if_nothing_else_were_there,
];

type Parameters = &'static [(&'static str, &'static str)];

const ALL: (&str, &str) = ("query", "{bird=~\".+\"}");
const LABELLED: (&str, &str) = ("query", "{namespace=~\".+\"}");
const LIMIT: (&str, &str) = ("limit", "5000");

/// Of every row of Loki and Mimir that can be scoped and answers at once; times are added.
#[rustfmt::skip]
const FIXED: &[(&str, Parameters)] = &[
    ("/loki/api/v1/query", &[("query", "sum by (bird, namespace) (count_over_time({plot=~\".+\"}[20m]))")]),
    ("/loki/api/v1/query", &[("query", "sum(bytes_over_time({plot=~\".+\"}[20m]))")]),
    ("/loki/api/v1/query_range", &[ALL, LIMIT]),
    ("/loki/api/v1/query_range", &[ALL, ("limit", "40"), ("direction", "forward")]),
    ("/loki/api/v1/query_range", &[("query", "{plot=\"orchard\"} | json | logfmt | namespace=`web`"), LIMIT]),
    ("/loki/api/v1/query_range", &[("query", "sum by (detected_level) (rate({plot=~\".+\"}[1m]))")]),
    ("/loki/api/v1/labels", &[]),
    ("/loki/api/v1/labels", &[ALL]),
    ("/loki/api/v1/label", &[]),
    ("/loki/api/v1/label/bird/values", &[]),
    ("/loki/api/v1/label/namespace/values", &[]),
    ("/loki/api/v1/label/namespace/values", &[ALL]),
    ("/loki/api/v1/label/only_merlin/values", &[]),
    ("/loki/api/v1/label/k8s_namespace/values", &[ALL]),
    ("/loki/api/v1/series", &[]),
    ("/loki/api/v1/series", &[("match[]", "{bird=~\".+\"}"), ("match", "{plot=\"orchard\"}")]),
    ("/loki/api/v1/index/stats", &[]),
    ("/loki/api/v1/index/stats", &[ALL]),
    ("/loki/api/v1/index/volume", &[LABELLED]),
    ("/loki/api/v1/index/volume", &[LABELLED, ("targetLabels", "bird")]),
    ("/loki/api/v1/index/volume", &[LABELLED, ("aggregateBy", "labels")]),
    ("/loki/api/v1/index/volume_range", &[LABELLED, ("step", "60")]),
    ("/loki/api/v1/index/volume_range", &[LABELLED, ("step", "60"), ("targetLabels", "bird,resource_id")]),
    ("/loki/api/v1/patterns", &[]),
    ("/loki/api/v1/patterns", &[ALL]),
    ("/loki/api/v1/detected_labels", &[]),
    ("/loki/api/v1/detected_labels", &[ALL]),
    ("/loki/api/v1/detected_fields", &[]),
    ("/loki/api/v1/detected_fields", &[ALL]),
    ("/loki/api/v1/detected_field/plumage/values", &[]),
    ("/loki/api/v1/detected_field/ring/values", &[ALL]),
    ("/loki/api/v1/detected_field/merlin_seen/values", &[("query", "{bird=~\".+\"} | logfmt")]),
    ("/prometheus/api/v1/query", &[("query", "{bird=~\".+\"}")]),
    ("/prometheus/api/v1/query", &[("query", "sum(birds_total) + count(temperature)"), ("stats", "true")]),
    ("/prometheus/api/v1/query_range", &[("query", "sum by (namespace) (rate(birds_total[1m]))"), ("step", "15")]),
    ("/prometheus/api/v1/query_range", &[("query", "merlin_nests or kestrel_nests"), ("step", "15")]),
    ("/prometheus/api/v1/query_exemplars", &[("query", "birds_total")]),
    ("/prometheus/api/v1/query_exemplars", &[("query", "{__name__=~\".+\"}")]),
    ("/prometheus/api/v1/labels", &[]),
    ("/prometheus/api/v1/labels", &[("match[]", "temperature")]),
    ("/prometheus/api/v1/label/__name__/values", &[]),
    ("/prometheus/api/v1/label/namespace/values", &[]),
    ("/prometheus/api/v1/label/only_osprey/values", &[]),
    ("/prometheus/api/v1/label/bird/values", &[("match[]", "temperature"), ("match[]", "{plot!=\"\"}")]),
    ("/prometheus/api/v1/series", &[]),
    ("/prometheus/api/v1/series", &[("match[]", "birds_total"), ("match[]", "{bird=\"merlin\"}")]),
];

/// Rows with a test of their own.
const ELSEWHERE: &[(&str, &str)] = &[
    (
        "/loki/api/v1/tail",
        "scopes::apart::a_scoped_tail_gets_the_lines_of_its_namespace",
    ),
    (
        "/api/v1/projects/{project}/resources/{resource}/logs",
        "scopes::resources::a_resources_logs_are_its_own",
    ),
    (
        "/api/v1/projects/{project}/resources/{resource}/metrics/query_range",
        "scopes::resources::a_resources_metrics_are_its_own",
    ),
];

async fn what_is_out_of_scope_is_neither_named_nor_counted(scene: &Scene) -> Result<()> {
    let twins = Twins::of(scene).await?;
    let endpoints = Endpoints::new(&[Surface::Platform]);
    let mut asked = BTreeSet::new();
    let mut tally = Tally::default();
    for (path, parameters) in FIXED {
        for method in ["GET", "POST"] {
            let Ok(endpoint) = endpoints.find(path.as_bytes(), method.as_bytes()) else {
                continue;
            };
            asked.insert((method, endpoint.template));
            let mut pairs: Vec<(String, String)> = parameters
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect();
            let times: &[(&str, i64)] = if path.ends_with("/query") {
                &[("time", twins.to)]
            } else {
                &[("start", twins.from), ("end", twins.to)]
            };
            pairs.extend(
                times
                    .iter()
                    .map(|(name, time)| ((*name).to_owned(), time.to_string())),
            );
            let question = Question {
                method,
                path: (*path).to_owned(),
                pairs,
            };
            let told = tally.telling;
            for _ in 0..ATTEMPTS {
                tally.ask(scene, twins, &question).await?;
                if tally.telling > told || !tally.wrong.is_empty() {
                    break;
                }
                tokio::time::sleep(PAUSE).await;
                twins.settle(scene).await?;
            }
            // Otherwise the test could not fail.
            if tally.telling == told {
                let whole = send(scene, "iris", UMBRELLA, &question.of_everything()).await?;
                tally.wrong.push(format!(
                    "{question:?}: the whole tenant has the same answer: {}",
                    whole.text()
                ));
            }
        }
    }
    ensure!(
        tally.wrong.is_empty() && tally.answered == tally.asked,
        "{} of {} answered:\n{}",
        tally.answered,
        tally.asked,
        tally.wrong.join("\n")
    );
    for row in TABLE {
        let scoped =
            matches!(row.scoping, Scoping::Parameters(..)) && row.backend != Backend::Tempo;
        let elsewhere = ELSEWHERE.iter().any(|(path, _)| *path == row.template);
        for (method, named) in [("GET", Methods::GET), ("POST", Methods::POST)] {
            ensure!(
                !scoped
                    || elsewhere
                    || !row.methods.has(named)
                    || asked.contains(&(method, row.template)),
                "{method} {} is never asked",
                row.template
            );
        }
    }
    Ok(())
}

async fn random_questions_of_logs_are_answered_as_if_nothing_else_were_there(
    scene: &Scene,
) -> Result<()> {
    draw(scene, "logs", OF_LOGS, of_logs).await
}

async fn random_questions_of_metrics_are_answered_as_if_nothing_else_were_there(
    scene: &Scene,
) -> Result<()> {
    draw(scene, "metrics", OF_METRICS, of_metrics).await
}

async fn draw(
    scene: &Scene,
    what: &str,
    questions: usize,
    question: fn(&mut Random, Twins) -> Question,
) -> Result<()> {
    let twins = Twins::of(scene).await?;
    let seed = match std::env::var("SCOPEGATE_SEED") {
        Ok(seed) => seed.parse()?,
        Err(_) => u64::try_from(token::now())?,
    };
    println!("SCOPEGATE_SEED={seed} repeats the questions of {what}");
    let mut random = Random(seed | 1);
    let mut tally = Tally::default();
    for _ in 0..questions {
        let question = question(&mut random, twins);
        tally.ask(scene, twins, &question).await?;
    }
    println!(
        "{what}: {} questions, {} answered, {} of which tell; {} faulty, {} asked once more; refused by the gate alone: {:#?}",
        tally.asked, tally.answered, tally.telling, tally.faulty, tally.again, tally.refused
    );
    ensure!(
        tally.wrong.is_empty(),
        "SCOPEGATE_SEED={seed}, {} of {}:\n{}",
        tally.wrong.len(),
        tally.asked,
        tally.wrong.join("\n")
    );
    ensure!(
        tally.telling * 2 > questions,
        "only {} questions tell anything",
        tally.telling
    );
    ensure!(
        tally.refused.len() * 20 < questions,
        "{} are refused",
        tally.refused.len()
    );
    Ok(())
}

/// What came of all of them.
#[derive(Debug, Default)]
struct Tally {
    asked: usize,
    answered: usize,
    /// Asked once more, because the answers differed.
    again: usize,
    /// No query of any kind: all servers say so.
    faulty: usize,
    /// The whole tenant has another answer.
    telling: usize,
    /// The server answers it, the gate does not.
    refused: Vec<String>,
    wrong: Vec<String>,
}

impl Tally {
    async fn ask(&mut self, scene: &Scene, twins: Twins, question: &Question) -> Result<()> {
        self.asked += 1;
        let sent: Vec<&str> = question
            .pairs
            .iter()
            .map(|(_, value)| value.as_str())
            .collect();
        let sent = sent.join(" ");
        let mut difference = None;
        for attempt in 0..ATTEMPTS {
            if attempt > 0 {
                self.again += 1;
                tokio::time::sleep(PAUSE).await;
                twins.settle(scene).await?;
            }
            let here = send(scene, "wendy", UMBRELLA, question).await?;
            let there = send(scene, "iris", SOYLENT, &question.of_everything()).await?;
            let text = here.text();
            let offence = HIDDEN
                .iter()
                .find(|word| text.contains(**word) && !sent.contains(word.trim_matches('"')));
            if let Some(word) = offence {
                self.wrong
                    .push(format!("{question:?} shows {word}: {text}"));
                return Ok(());
            }
            if here.status == 400 && there.status == 200 && text.starts_with("query refused")
                || text.contains("\"error\":\"query refused")
            {
                self.refused.push(format!("{sent}: {text}"));
                return Ok(());
            }
            if here.status == there.status && comparable(&here) == comparable(&there) {
                difference = None;
                self.faulty += usize::from(here.status != 200);
                if here.status == 200 {
                    let whole = send(scene, "iris", UMBRELLA, &question.of_everything()).await?;
                    self.answered += 1;
                    self.telling += usize::from(comparable(&here) != comparable(&whole));
                }
                break;
            }
            difference = Some(format!(
                "{question:?}: {} {}\nis not {} {}",
                here.status,
                comparable(&here),
                there.status,
                comparable(&there)
            ));
        }
        self.wrong.extend(difference);
        Ok(())
    }
}

async fn send(scene: &Scene, who: &str, tenant: &str, question: &Question) -> Result<Reply> {
    let request = request(question.method, &question.path, &question.pairs);
    scene.send(who, tenant, request).await
}

/// An answer as far as it is compared; of an error nothing.
fn comparable(reply: &Reply) -> String {
    if reply.status != 200 {
        return String::new();
    }
    match serde_json::from_slice::<Value>(&reply.body) {
        Ok(value) => settled(value).to_string(),
        Err(_) => reply.text(),
    }
}

fn settled(value: Value) -> Value {
    match value {
        Value::Object(members) => members
            .into_iter()
            .filter(|(name, _)| !is_no_count(name))
            .map(|(name, value)| {
                let value = match value {
                    Value::Array(told) if ["warnings", "infos"].contains(&name.as_str()) => {
                        settled(Value::Array(told.into_iter().map(without_place).collect()))
                    }
                    other => settled(other),
                };
                (name, value)
            })
            .collect(),
        Value::Array(items) => {
            let mut items: Vec<Value> = items.into_iter().map(settled).collect();
            items.sort_by_key(Value::to_string);
            Value::Array(items)
        }
        Value::String(text) => match text.parse::<f64>() {
            // On the order of a sum depend its last digits, and whether it is a whole number. Times have more digits.
            Ok(number) if number.abs() < 1e9 => json!(format!("{number:.8e}")),
            _ => Value::String(text),
        },
        other => other,
    }
}

/// Members of `stats` that say how long something took, and what had been asked before.
fn is_no_count(name: &str) -> bool {
    let ends = ["Time", "PerSecond", "Duration", "Latency"];
    ends.iter().any(|end| name.ends_with(end)) || ["cache", "timings"].contains(&name)
}

/// Behind the text of a warning stands where in the query its reason is: `(1:5)`.
fn without_place(told: Value) -> Value {
    match told {
        Value::String(text) => match text.rsplit_once(" (") {
            Some((text, place)) if place.ends_with(')') && place.contains(':') => json!(text),
            _ => Value::String(text),
        },
        other => other,
    }
}

/// Loki takes five times as long as Mimir: half a minute for both.
const OF_LOGS: usize = 600;
const OF_METRICS: usize = 1500;
const ATTEMPTS: usize = 4;
const PAUSE: Duration = Duration::from_millis(500);
