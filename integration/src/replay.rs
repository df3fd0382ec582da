//! Plays the scenario table through a real Envoy, with one gate for each group of scenarios that can share one.

pub mod explained;
pub mod native;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Result;
use futures_util::StreamExt;
use serde_json::Value;

use crate::client::Protocol;
use crate::envoy::{AccessLine, EnvoySettings};
use crate::issuer::{AnswerMode, Issuer};
use crate::scenario::{self, Outcome, Prepared, Scenario, Upstreamed};
use crate::scene::Scene;
use crate::token;
use crate::upstream::TEST_ID;

/// What a replay does with a scene.
impl Scene {
    /// Starts the environment of a scenario, with the module at `wasm`.
    async fn start(wasm: PathBuf, scenario: &Scenario) -> Result<Scene> {
        let configuration = scenario::config(&scenario.config)?;
        let corporate = Issuer::start(scenario.issuer.settings()).await?;
        corporate.set_answer(scenario.issuer.answer.clone());
        corporate.answer_first(scenario.issuer.first.clone());
        if scenario.issuer.down {
            corporate.down().await;
        }
        let mut settings = EnvoySettings::shipped()?
            .wasm(wasm)
            .configuration(configuration.clone());
        for (name, value) in &scenario.environment {
            settings = settings.environment(name, value);
        }
        let scene = Scene::start_with(settings, corporate).await?;
        for cluster in &scenario.down {
            scene.upstream(cluster)?.down().await;
        }
        let first = scenario.issuer.first.first();
        let answer = first.unwrap_or(&scenario.issuer.answer);
        if !scenario.issuer.down && *answer == AnswerMode::Good && fetches(&configuration) {
            scene.wait_for_keys().await?;
        }
        Ok(scene)
    }

    /// Sends one scenario. [`Scene::outcome`] reads its line in the access log later.
    async fn send(&self, prepared: &Prepared, protocol: Protocol, test_id: &str) -> Result<Sent> {
        let request = prepared.request.clone().header(TEST_ID, test_id);
        let reply = request.send(&self.envoy.target(), protocol).await?;
        Ok(Sent {
            test_id: test_id.to_owned(),
            reply,
        })
    }

    fn outcome(&self, sent: Sent, lines: &BTreeMap<String, AccessLine>) -> Outcome {
        let details = lines
            .get(&sent.test_id)
            .and_then(|line| line.details.clone());
        let upstream = self
            .log
            .take(&sent.test_id)
            .into_iter()
            .map(|seen| Upstreamed {
                backend: backend_of(&seen.backend).to_owned(),
                cluster: Some(seen.backend),
                method: seen.method,
                path: seen.path.into_bytes(),
                headers: seen.headers,
                body: Some(seen.body),
                complete: seen.complete,
            });
        Outcome {
            upstream: upstream.collect(),
            code: details.as_deref().and_then(denial_code).map(str::to_owned),
            reply: sent.reply,
        }
    }

    /// Waits for the keys. Every worker fetches or takes over the keys on its own tick, so the first request must not
    /// be the one to test it.
    async fn wait_for_keys(&self) -> Result<()> {
        self.corporate
            .wait_for_fetches(1, Duration::from_secs(15))
            .await?;
        tokio::time::sleep(KEYS_SETTLE).await;
        Ok(())
    }

    /// Reads the lines, which are written a moment after the answer.
    async fn access_lines(&self, test_ids: &[String]) -> BTreeMap<String, AccessLine> {
        let deadline = Instant::now() + Duration::from_secs(3);
        loop {
            let lines: BTreeMap<String, AccessLine> = self
                .envoy
                .access_log()
                .into_iter()
                .filter_map(|line| Some((line.test_id.clone()?, line)))
                .collect();
            if test_ids.iter().all(|id| lines.contains_key(id)) || Instant::now() > deadline {
                return lines;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

struct Sent {
    test_id: String,
    reply: crate::client::Reply,
}

/// The result of a whole replay.
#[derive(Debug, Default)]
pub struct Report {
    pub replayed: usize,
    pub skipped: usize,
    /// The failures, one line each.
    pub failures: Vec<String>,
}

impl Report {
    fn add(&mut self, other: Report) {
        self.replayed += other.replayed;
        self.skipped += other.skipped;
        self.failures.extend(other.failures);
    }

    /// The closing line of a replay.
    #[must_use]
    pub fn summary(&self, scenarios: usize) -> String {
        format!(
            "{scenarios} scenarios, {} replays, {} skipped, {} failures",
            self.replayed,
            self.skipped,
            self.failures.len()
        )
    }
}

/// Plays these scenarios through Envoy, over every protocol that each of them names.
pub async fn through_envoy(wasm: PathBuf, scenarios: &[(String, Scenario)]) -> Result<Report> {
    let mut report = Report::default();
    let mut groups: BTreeMap<String, Vec<&(String, Scenario)>> = BTreeMap::new();
    for row in scenarios {
        if row.1.not_envoy.is_some() {
            report.skipped += 1;
            continue;
        }
        for protocol in &row.1.protocols {
            // A scenario that leaves traces needs a fresh gate for each protocol as well.
            let own = if row.1.alone {
                format!("{protocol:?}")
            } else {
                String::new()
            };
            groups
                .entry(format!("{}{own}", row.1.group()))
                .or_default()
                .push(row);
        }
    }
    let reports: Vec<Report> = futures_util::stream::iter(groups)
        .map(|(key, mut rows)| {
            let wasm = &wasm;
            async move {
                rows.dedup_by_key(|row| row.1.name.as_str());
                replay_group(wasm, &key, &rows).await
            }
        })
        .buffered(GATES_AT_ONCE)
        .collect()
        .await;
    for group in reports {
        report.add(group);
    }
    Ok(report)
}

async fn replay_group(wasm: &std::path::Path, key: &str, rows: &[&(String, Scenario)]) -> Report {
    let mut report = Report::default();
    let Some((_, first)) = rows.first() else {
        return report;
    };
    let scene = match Scene::start(wasm.to_path_buf(), first).await {
        Ok(scene) => scene,
        Err(error) => {
            report.replayed += rows.len();
            report
                .failures
                .push(format!("{} scenarios with {key}: {error:#}", rows.len()));
            return report;
        }
    };
    let mut jobs = Vec::new();
    for (file, scenario) in rows {
        for protocol in &scenario.protocols {
            if scenario.alone && !key.ends_with(&format!("{protocol:?}")) {
                continue;
            }
            jobs.push((file, scenario, *protocol, format!("t{}", jobs.len())));
        }
    }
    report.replayed += jobs.len();
    let shared = &scene;
    let sent: Vec<_> = futures_util::stream::iter(jobs)
        .map(|(file, scenario, protocol, test_id)| async move {
            let attempt = async {
                let prepared = scenario.prepare(file, token::now())?;
                let sent = shared.send(&prepared, protocol, &test_id).await?;
                anyhow::Ok((prepared, sent))
            };
            let title = format!("{file}: {} [{protocol:?}]", scenario.name);
            let attempt = attempt.await;
            let may_end = scenario.expect.or_reset && attempt.is_err();
            (title, attempt, may_end.then_some(test_id))
        })
        .buffered(PARALLEL)
        .collect()
        .await;
    let ids: Vec<String> = sent
        .iter()
        .filter_map(|(_, attempt, _)| Some(attempt.as_ref().ok()?.1.test_id.clone()))
        .collect();
    let lines = scene.access_lines(&ids).await;
    for (title, attempt, ended) in sent {
        if let Some(test_id) = ended {
            if !scene.log.take(&test_id).is_empty() {
                let problem = "a backend saw a request that was ended";
                report.failures.push(format!("{title}: {problem}"));
            }
            continue;
        }
        match attempt {
            Ok((prepared, sent)) => {
                let outcome = scene.outcome(sent, &lines);
                for problem in scenario::check(&prepared, &outcome) {
                    report.failures.push(format!("{title}: {problem}"));
                }
            }
            Err(error) => report.failures.push(format!("{title}: {error:#}")),
        }
    }
    if let Err(error) = scene.envoy.check_alive() {
        report.failures.push(format!("{key}: {error:#}"));
    }
    for crash in CRASHES {
        if scene.envoy.log_contains(crash) {
            report
                .failures
                .push(format!("{key}: Envoy's log says {crash:?}"));
        }
    }
    let heads_alone = rows.iter().any(|(_, scenario)| scenario.expect.or_head);
    let broken = scene.log.broken().into_iter();
    for broken in broken.filter(|broken| !(heads_alone && broken.ends_with(CUT_BODY))) {
        report.failures.push(format!(
            "{key}: an upstream could not read a request: {broken}"
        ));
    }
    report
}

/// The code, such as `token_expired` in `scopegate{token_expired}`.
#[must_use]
pub fn denial_code(details: &str) -> Option<&str> {
    details.split_once("scopegate{")?.1.split('}').next()
}

/// The backend of a cluster, such as `tempo` for `tempo_otlp_http`.
fn backend_of(cluster: &str) -> &str {
    cluster.split('_').next().unwrap_or(cluster)
}

fn fetches(configuration: &Value) -> bool {
    let providers = configuration["providers"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    providers
        .iter()
        .any(|provider| provider["jwks"]["cluster"] == "idp")
}

/// What Envoy logs when a VM has died.
const CRASHES: [&str; 2] = ["Proxy-Wasm VM failed", "Function: proxy_on"];
/// The message of an upstream that has seen a head whose body did not arrive.
const CUT_BODY: &str = "the connection ended inside a chunked body";
const KEYS_SETTLE: Duration = Duration::from_millis(1500);
/// The number of gates that run at once. A replay mostly waits: for an Envoy to start, for keys to be fetched or to
/// fail.
const GATES_AT_ONCE: usize = 3;
const PARALLEL: usize = 8;
