//! The places in which an operator sees why a request was refused. All of them must show the same code.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use integration::client::{RawRequest, Reply};
use integration::{drill, paths, yaml};
use serde_json::{Value, json};

use crate::scene::Scene;

/// What is to be seen.
pub struct Refused {
    pub status: u16,
    pub code: &'static str,
    /// What `scopegate explain` says of the same request.
    pub explained: &'static str,
    /// Members of the record.
    pub record: Value,
    /// The alert that counts such refusals, if one does.
    pub alert: Option<&'static str>,
}

impl Refused {
    /// Send it and look at all places but the metric, which [`all_counted`] compares for all at once.
    pub async fn seen_everywhere(&self, scene: &Scene, request: &RawRequest) -> Result<()> {
        scene.log.clear();
        let reply = scene.send(request).await?;
        ensure!(reply.status == self.status, "{}: {reply:?}", self.code);
        ensure!(scene.log.count() == 0, "{} reached a backend", self.code);
        self.in_the_answer(&reply)?;
        self.in_the_explanation(scene, request)?;
        let id = reply.header("x-request-id").context("no request id")?;
        self.recorded_as(scene, &id).await
    }

    /// `scopegate explain` comes to the same by the file that Envoy has, and tells the step.
    fn in_the_explanation(&self, scene: &Scene, request: &RawRequest) -> Result<()> {
        let said: Value = serde_json::from_str(&scene.explained(request)?)?;
        ensure!(said["code"] == self.explained, "{said:#}");
        let steps = said["steps"].as_array().context("no steps")?;
        let mut refused = steps.iter().filter(|step| step["result"] == "refused");
        let step = refused
            .next()
            .with_context(|| format!("no step: {said:#}"))?;
        let found = step["found"].to_string();
        ensure!(found.contains(self.explained), "{found}");
        let members = self.record.as_object().into_iter().flatten();
        for (name, value) in members {
            ensure!(
                said["record"][name] == *value,
                "{name} is not {value}: {said:#}"
            );
        }
        Ok(())
    }

    /// The same for the last one of this kind, which somebody else has sent.
    pub async fn seen_of_another(&self, scene: &Scene) -> Result<()> {
        let records = records(&scene.envoy()?.log())?;
        let mut records = records.iter().rev();
        let record = records.find(|record| record["code"] == self.code);
        let record = record.with_context(|| format!("no {}", self.code))?;
        let id = record["request_id"].as_str().context("no request id")?;
        self.recorded_as(scene, id).await
    }

    async fn recorded_as(&self, scene: &Scene, id: &str) -> Result<()> {
        self.in_the_access_log(scene, id).await?;
        self.in_the_log(scene, id)?;
        self.in_the_alert()
    }

    /// The client learns what it can do about it. Why its token was refused is not told to it.
    fn in_the_answer(&self, reply: &Reply) -> Result<()> {
        let challenge = reply.header("www-authenticate");
        let fits = match self.status {
            401 => challenge.is_some_and(|text| text.contains("invalid_token")),
            503 => reply.header("retry-after").is_some(),
            _ => challenge.is_none(),
        };
        ensure!(fits && reply.body.len() > 10, "{}: {reply:?}", self.code);
        let told = reply.text().contains(self.code);
        ensure!(!told || self.status != 401, "{}: {reply:?}", self.code);
        Ok(())
    }

    async fn in_the_access_log(&self, scene: &Scene, id: &str) -> Result<()> {
        let started = Instant::now();
        loop {
            let log = scene.envoy()?.log();
            let mut lines = log.lines().filter(|line| line.starts_with('{'));
            if let Some(line) = lines.find(|line| line.contains(id)) {
                let line: Value = serde_json::from_str(line)?;
                let details = format!("scopegate{{{}}}", self.code);
                ensure!(line["response_code"] == self.status, "{line}");
                ensure!(line["response_code_details"] == details, "{line}");
                let record = line["scopegate"].as_str().context("no record")?;
                return self.recorded(&serde_json::from_str(record)?);
            }
            ensure!(started.elapsed() < PATIENCE, "{id} is not in\n{log}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn in_the_log(&self, scene: &Scene, id: &str) -> Result<()> {
        let records = records(&scene.envoy()?.log())?;
        let mut records = records.iter();
        let record = records.find(|record| record["request_id"] == id);
        self.recorded(record.with_context(|| format!("no record of {id}"))?)
    }

    fn recorded(&self, record: &Value) -> Result<()> {
        let mut wanted = json!({"decision": "deny", "code": self.code});
        let members = self.record.as_object().into_iter().flatten();
        for (name, value) in members {
            wanted[name] = value.clone();
        }
        for (name, value) in wanted.as_object().into_iter().flatten() {
            ensure!(record[name] == *value, "{name} is not {value}: {record}");
        }
        Ok(())
    }

    /// Which refusals an alert counts stands in its expression, by code.
    fn in_the_alert(&self) -> Result<()> {
        for alert in ["ScopegateDenials", "ScopegateUnavailable"] {
            let expression = expression(alert)?;
            ensure!(expression.contains(DECISIONS), "{expression}");
            let names = |operator: &str| -> Option<bool> {
                let (_, rest) = expression.split_once(operator)?;
                let (codes, _) = rest.split_once('"')?;
                Some(codes.split('|').any(|code| code == self.code))
            };
            let counts = names("code=~\"").or_else(|| Some(!names("code!~\"")?));
            let counts = counts.with_context(|| format!("no codes: {expression}"))?;
            ensure!(
                counts == (self.alert == Some(alert)),
                "{}: {alert}",
                self.code
            );
        }
        Ok(())
    }
}

/// Of each of these codes the metric counts as many as there are records in Envoy's log.
pub async fn all_counted(scene: &Scene, codes: &[&str]) -> Result<()> {
    let envoy = scene.envoy()?;
    for code in codes {
        let labels = [("decision", "deny"), ("code", *code)];
        let records = records(&envoy.log())?;
        let records = records.iter().filter(|record| record["code"] == *code);
        let count = u32::try_from(records.count())?;
        ensure!(count > 0, "no record of {code}");
        let all = |counted: f64| counted >= f64::from(count);
        let counted = drill::wait_for_metric(envoy, DECISIONS, &labels, PATIENCE, all).await?;
        ensure!(
            counted <= f64::from(count),
            "{code}: {counted}, not {count}"
        );
    }
    Ok(())
}

/// The records in Envoy's log, in their order.
fn records(log: &str) -> Result<Vec<Value>> {
    let lines = log.lines().filter_map(|line| line.split_once(RECORD));
    let records = lines.filter(|(_, record)| record.starts_with('{'));
    records
        .map(|(_, record)| serde_json::from_str(record).context(record.to_owned()))
        .collect()
}

/// What the alert of that name asks Prometheus.
pub fn expression(alert: &str) -> Result<String> {
    let rules: Value = yaml::read(&paths::repository().join("envoy/monitoring/rules.yaml"))?;
    let groups = rules["groups"].as_array().context("no groups")?;
    let mut rules = groups
        .iter()
        .filter_map(|group| group["rules"].as_array())
        .flatten();
    let rule = rules.find(|rule| rule["alert"] == alert);
    let expression = rule.and_then(|rule| rule["expr"].as_str());
    Ok(expression.context("no such alert")?.to_owned())
}

const DECISIONS: &str = "scopegate_decisions_total";

/// How a line of the gate's begins in Envoy's log.
const RECORD: &str = "wasm log scopegate: ";

/// Envoy counts once a second.
const PATIENCE: Duration = Duration::from_secs(5);
