//! A directory of projects that is asked over HTTP: with the caller's token, and only once for as long as its answer
//! is valid.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use integration::client::{Protocol, RawRequest, Reply};
use integration::stack::APOLLO;
use integration::upstream::{Behaviour, Upstream, UpstreamLog};
use serde_json::json;

use super::data::TeamData;
use super::gates::{ask, check};
use super::resources::{LOGS, METRICS, path};
use crate::scene::Scene;
use crate::side_gate::SideGate;

crate::tests![
    a_directory_is_asked_with_the_callers_token,
    a_directory_that_says_nothing_of_use_lets_nobody_in,
];

/// How long an answer counts.
const TTL: Duration = Duration::from_secs(4);
/// How long a failure does.
const BACK_OFF: Duration = Duration::from_secs(1);
/// The gate's clock for what it remembers may be behind by a second.
const LAG: Duration = Duration::from_millis(1200);
/// How long the gate waits for one.
const TIMEOUT: Duration = Duration::from_millis(500);

/// A gate with one worker in front of the scene's servers, and the directory that it asks.
struct Asked {
    gate: SideGate,
    log: UpstreamLog,
    directory: Upstream,
}

impl Asked {
    async fn start(scene: &Scene) -> Result<Asked> {
        let log = UpstreamLog::new();
        let directory = Upstream::start("directory", &log).await?;
        let address = directory.address();
        let mut configuration = scene.stack.configuration();
        configuration["projects"]["directory"] = json!({"http": {
            "cluster": "directory",
            "authority": "directory.example.com",
            "path": "/projects/{project}/resources/{resource}?for=reading",
            "timeout": format!("{}ms", TIMEOUT.as_millis()),
            "cache_ttl": format!("{}s", TTL.as_secs()),
        }});
        let gate = SideGate::start(scene, configuration, |settings| {
            settings.concurrency(1).cluster("directory", address)
        })
        .await?;
        gate.wait_for_keys().await?;
        Ok(Asked {
            gate,
            log,
            directory,
        })
    }

    fn says(&self, status: u16) {
        self.directory.behave(Behaviour::Answer {
            status,
            headers: vec![("x-scope-orgid".to_owned(), "acme".to_owned())],
            body: "{}".to_owned(),
        });
    }

    async fn read(&self, scene: &Scene, who: &str, path: &str) -> Result<(Reply, String)> {
        let request = RawRequest::get(path).bearer(&scene.token(who).await?);
        ask(&self.gate.envoy, &self.gate.target, request, Protocol::H1).await
    }

    /// One of the logs of that resource.
    async fn logs(&self, scene: &Scene, who: &str, resource: &str) -> Result<(Reply, String)> {
        self.read(
            scene,
            who,
            &format!("{}?limit=1", path(APOLLO, resource, LOGS)),
        )
        .await
    }

    /// The questions since the last time.
    fn questions(&self) -> usize {
        let count = self.log.count();
        self.log.clear();
        count
    }
}

async fn a_directory_is_asked_with_the_callers_token(scene: &Scene) -> Result<()> {
    TeamData::of(scene).await?;
    let asked = Asked::start(scene).await?;
    asked.says(200);
    // iris is no reader of the configuration's list, which does not count here.
    let (reply, _) = asked.logs(scene, "iris", "quartz").await?;
    let since = Instant::now();
    ensure!(
        reply.status == 200 && reply.text().contains("quartz") && !reply.text().contains("basalt"),
        "{} {}",
        reply.status,
        reply.text()
    );
    let seen = asked.log.all();
    ensure!(seen.len() == 1, "{seen:?}");
    let token = format!("Bearer {}", scene.token("iris").await?);
    let question = &seen[0];
    ensure!(
        question.method == "GET"
            && question.path == "/projects/apollo/resources/quartz?for=reading"
            && question.authority.as_deref() == Some("directory.example.com")
            && question.header("authorization") == [token.as_bytes()],
        "{question:?}"
    );
    asked.log.clear();
    // The same caller and resource: for logs and metrics alike, and whatever the directory would say by now.
    asked.says(403);
    let metrics = format!(
        "{}?query=birds_total&start=1&end=2&step=1",
        path(APOLLO, "quartz", METRICS)
    );
    let (again, metrics) = (
        asked.logs(scene, "iris", "quartz").await?,
        asked.read(scene, "iris", &metrics).await?,
    );
    ensure!(
        again.0.status == 200 && metrics.0.status == 200,
        "{} {}",
        again.1,
        metrics.1
    );
    ensure!(since.elapsed() < TTL, "too slow to tell");
    ensure!(asked.questions() == 0, "asked again");
    // Another caller, another resource, another project: each is a question of its own.
    check(
        &asked.logs(scene, "pia", "quartz").await?,
        403,
        "project_not_granted",
    )?;
    check(
        &asked.logs(scene, "iris", "basalt").await?,
        403,
        "project_not_granted",
    )?;
    check(
        &asked.logs(scene, "iris", "basalt").await?,
        403,
        "project_not_granted",
    )?;
    ensure!(asked.questions() == 2, "{:?}", asked.log.all());
    asked.says(404);
    check(
        &asked.logs(scene, "iris", "marble").await?,
        404,
        "resource_not_found",
    )?;
    check(
        &asked.logs(scene, "iris", "marble").await?,
        404,
        "resource_not_found",
    )?;
    ensure!(asked.questions() == 1, "{:?}", asked.log.all());
    // And its answers end.
    tokio::time::sleep(TTL + LAG).await;
    check(
        &asked.logs(scene, "iris", "quartz").await?,
        404,
        "resource_not_found",
    )?;
    ensure!(asked.questions() == 1, "{:?}", asked.log.all());
    // A request that is none of the API's asks nobody.
    let bad = path(APOLLO, "-quartz", LOGS);
    check(
        &asked.read(scene, "iris", &bad).await?,
        404,
        "resource_not_found",
    )?;
    let reply = RawRequest::get(&path(APOLLO, "quartz", LOGS))
        .bearer("no.token.really")
        .send(&asked.gate.target, Protocol::H1)
        .await?;
    ensure!(reply.status == 401, "{} {}", reply.status, reply.text());
    ensure!(asked.questions() == 0, "{:?}", asked.log.all());
    Ok(())
}

async fn a_directory_that_says_nothing_of_use_lets_nobody_in(scene: &Scene) -> Result<()> {
    TeamData::of(scene).await?;
    let asked = Asked::start(scene).await?;
    // A failure is remembered too: each case has a resource of its own.
    for (number, status) in [201, 204, 302, 401, 500, 503].into_iter().enumerate() {
        asked.says(status);
        let resource = format!("quartz-{number}");
        refuses(&asked, scene, &resource)
            .await
            .with_context(|| format!("{status}"))?;
    }
    for (resource, behaviour) in [
        ("quartz-hang", Behaviour::Hang),
        ("quartz-close", Behaviour::Close),
    ] {
        asked.directory.behave(behaviour);
        refuses(&asked, scene, resource).await.context(resource)?;
    }
    asked.directory.down().await;
    refuses(&asked, scene, "quartz").await.context("down")?;
    // It is asked again a little later, and what it says counts again.
    asked.directory.up().await?;
    asked.says(200);
    tokio::time::sleep(BACK_OFF + LAG).await;
    let (reply, code) = asked.logs(scene, "pia", "quartz").await?;
    ensure!(
        reply.status == 200 && reply.text().contains("quartz"),
        "{} {code} {}",
        reply.status,
        reply.text()
    );
    Ok(())
}

async fn refuses(asked: &Asked, scene: &Scene, resource: &str) -> Result<()> {
    let began = Instant::now();
    let answer = asked.logs(scene, "pia", resource).await?;
    check(&answer, 503, "directory_unavailable")?;
    ensure!(
        answer.0.header("retry-after").is_some(),
        "{:?}",
        answer.0.headers
    );
    ensure!(
        began.elapsed() < TIMEOUT + Duration::from_secs(2),
        "after {:?}",
        began.elapsed()
    );
    Ok(())
}
