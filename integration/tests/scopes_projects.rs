//! The projects API in the real Envoy, with a directory that is asked and answers, stalls or is gone. What the API
//! forwards and refuses by itself is in `scenarios/14-projects.yaml`.

#![allow(clippy::expect_used)]

use std::ops::Deref;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures_util::future::join_all;
use integration::client::h1;
use integration::client::{Protocol, RawRequest, Reply};
use integration::directory::{Answer, Directory};
use integration::drill::{self, token_of};
use integration::issuer::{AnswerMode, Issuer};
use integration::replay::denial_code;
use integration::scenario;
use integration::scene::Scene;
use serde_json::{Value, json};

/// The gate with a directory beside it.
struct ProjectsScene {
    scene: Scene,
    directory: Directory,
}

impl Deref for ProjectsScene {
    type Target = Scene;

    fn deref(&self) -> &Scene {
        &self.scene
    }
}

impl ProjectsScene {
    /// With the keys held by every worker, unless the issuer is told to be slow.
    async fn start(workers: u32, change: impl FnOnce(&mut Value)) -> Result<ProjectsScene> {
        let scene = ProjectsScene::with(Issuer::corporate().await?, workers, change).await?;
        drill::warm(&scene.envoy).await?;
        Ok(scene)
    }

    async fn with(
        issuer: Issuer,
        workers: u32,
        change: impl FnOnce(&mut Value),
    ) -> Result<ProjectsScene> {
        let directory = Directory::start().await?;
        let mut configuration = scenario::config("projects-unreachable")?;
        configuration["projects"]["directory"]["http"]["cluster"] = json!("control_plane");
        change(&mut configuration);
        let settings = drill::settings(configuration)?
            .concurrency(workers)
            .cluster("control_plane", directory.address());
        Ok(ProjectsScene {
            scene: Scene::start_with(settings, issuer).await?,
            directory,
        })
    }

    async fn send(&self, request: &RawRequest) -> Result<Reply> {
        request.send(&self.envoy.target(), Protocol::H1).await
    }

    async fn logs(&self, token: &str, resource: &str, id: &str) -> Result<Reply> {
        self.send(&logs(token, resource, id)).await
    }

    async fn check_refused(&self, id: &str, reply: &Reply, status: u16, code: &str) -> Result<()> {
        let what = format!("{id}: {} {}", reply.status, reply.text());
        ensure!(reply.status == status, "{what}");
        let line = self.envoy.access_line(id, PATIENCE).await?;
        let given = line.details.as_deref().and_then(denial_code);
        ensure!(given == Some(code), "{what} {line:?}");
        let body = reply.json()?;
        ensure!(body["status"] == "error", "{what}");
        ensure!(
            reply.header("retry-after").is_some() == (status >= 500),
            "{what}"
        );
        ensure!(self.log.seen(id).is_empty(), "{id} reached a backend");
        Ok(())
    }

    async fn check_health(&self) -> Result<()> {
        drill::check_health(&self.envoy).await
    }
}

fn logs(token: &str, resource: &str, id: &str) -> RawRequest {
    RawRequest::get(&format!("/api/v1/projects/shop/resources/{resource}/logs"))
        .bearer(token)
        .header("x-test-id", id)
}

fn service(configuration: &mut Value) -> &mut Value {
    &mut configuration["projects"]["directory"]["http"]
}

#[tokio::test(flavor = "multi_thread")]
async fn the_directory_decides() -> Result<()> {
    let scene = ProjectsScene::start(1, |it| service(it)["timeout"] = json!("500ms")).await?;
    let token = token_of("stranger")?;
    let request = logs(&token, "web-1", "allowed")
        .tenant("globex")
        .header("x-scopegate-backend", "mimir")
        .header("x-request-id", "an-id-of-a-caller");
    let reply = scene.send(&request).await?;
    ensure!(reply.status == 200, "{} {}", reply.status, reply.text());
    let seen = scene.log.wait_for("allowed", PATIENCE).await?;
    let query = "%7Bresource_id%3D%22web-1%22%7D";
    ensure!(seen.path == format!("/loki/api/v1/query_range?query={query}&limit=1000"));
    ensure!(seen.header("x-scope-orgid") == [b"acme_shop"], "{seen:?}");
    ensure!(seen.header("authorization").is_empty(), "{seen:?}");
    let asked = scene.directory.take_asked();
    let [asked] = asked.as_slice() else {
        anyhow::bail!("asked {asked:?}");
    };
    ensure!(
        asked.method == "GET"
            && asked.authority == "directory.example.com"
            && asked.path == "/projects/shop/resources/web-1"
            && asked.authorization == format!("Bearer {token}")
            && !asked.request_id.is_empty(),
        "{asked:?}"
    );
    ensure!(
        !asked.headers.iter().any(|name| name.contains("scope")),
        "{asked:?}"
    );

    for (answer, status, code) in [
        (Answer::Status(403), 403, "project_not_granted"),
        (Answer::Status(404), 404, "resource_not_found"),
        (Answer::Status(204), 503, "directory_unavailable"),
        (Answer::Status(302), 503, "directory_unavailable"),
        (Answer::Status(400), 503, "directory_unavailable"),
        (Answer::Status(401), 503, "directory_unavailable"),
        (Answer::Status(429), 503, "directory_unavailable"),
        (Answer::Status(500), 503, "directory_unavailable"),
        (Answer::Reset, 503, "directory_unavailable"),
        (Answer::Hang, 503, "directory_unavailable"),
    ] {
        scene.directory.set_answer(answer);
        let id = format!("{answer:?}");
        let since = Instant::now();
        let reply = scene.logs(&token_of("reader")?, "web-1", &id).await?;
        scene.check_refused(&id, &reply, status, code).await?;
        ensure!(since.elapsed() < Duration::from_secs(3), "{id}: {since:?}");
    }
    scene
        .directory
        .set_answer(Answer::Late(Duration::from_millis(300)));
    let reply = scene.logs(&token_of("reader")?, "web-1", "late").await?;
    ensure!(reply.status == 200, "{}", reply.text());
    scene.directory.down().await;
    let reply = scene.logs(&token_of("reader")?, "web-1", "down").await?;
    scene
        .check_refused("down", &reply, 503, "directory_unavailable")
        .await?;
    scene.directory.up().await?;
    scene.directory.set_answer(Answer::Allowed);
    let reply = scene.logs(&token_of("reader")?, "web-1", "up").await?;
    ensure!(reply.status == 200, "{}", reply.text());

    // Nobody is asked about what cannot be, nor for those who show no valid token.
    scene.directory.take_asked();
    for (id, request, status) in [
        (
            "post",
            RawRequest {
                method: b"POST".to_vec(),
                ..logs(&token, "web-1", "post")
            },
            405,
        ),
        ("dots", logs(&token, "..", "dots"), 404),
        ("escape", logs(&token, "a%2Fb", "escape"), 404),
        ("long", logs(&token, &"a".repeat(129), "long"), 404),
        ("forged", logs(&format!("{token}x"), "web-1", "forged"), 401),
    ] {
        let reply = scene.send(&request).await?;
        ensure!(
            reply.status == status || reply.status == 400,
            "{id}: {}",
            reply.status
        );
        ensure!(scene.log.seen(id).is_empty(), "{id} reached a backend");
    }
    ensure!(scene.directory.take_asked().is_empty());

    scene.upstream("loki")?.down().await;
    let reply = scene.logs(&token, "web-1", "no-backend").await?;
    scene
        .check_refused("no-backend", &reply, 502, "backend_unavailable")
        .await?;
    scene.upstream("loki")?.up().await?;
    scene.check_health().await
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_remembered_for_their_time() -> Result<()> {
    let scene = ProjectsScene::start(1, |it| {
        service(it)["cache_ttl"] = json!("3s");
        it["limits"] = json!({"cached_tokens": 0});
    })
    .await?;
    let (one, other) = (token_of("reader")?, token_of("reader")?);
    let since = Instant::now();
    for id in ["a", "b"] {
        let reply = scene.logs(&one, "web-1", id).await?;
        ensure!(reply.status == 200, "{}", reply.text());
    }
    let metrics = "/api/v1/projects/shop/resources/web-1/metrics/query_range?query=up";
    let metrics = RawRequest::get(metrics).bearer(&one);
    ensure!(scene.send(&metrics).await?.status == 200);
    let asked = scene.directory.take_asked().len();
    ensure!(since.elapsed() < Duration::from_secs(3), "too slow to tell");
    ensure!(asked == 1, "asked {asked} times");
    // Another token, another resource, another project.
    scene.directory.set_answer(Answer::Status(403));
    ensure!(scene.logs(&other, "web-1", "c").await?.status == 403);
    ensure!(scene.logs(&one, "web-2", "d").await?.status == 403);
    let project = RawRequest::get("/api/v1/projects/shop2/resources/web-1/logs").bearer(&one);
    ensure!(scene.send(&project).await?.status == 403);
    ensure!(scene.directory.take_asked().len() == 3);
    // A refusal is remembered like a grant, and both are forgotten.
    ensure!(scene.logs(&other, "web-1", "e").await?.status == 403);
    ensure!(scene.directory.take_asked().is_empty());
    tokio::time::sleep(Duration::from_millis(4_200)).await;
    ensure!(scene.logs(&one, "web-1", "f").await?.status == 403);
    ensure!(scene.directory.take_asked().len() == 1);
    // A failure is for a second.
    scene.directory.set_answer(Answer::Status(500));
    ensure!(scene.logs(&one, "web-3", "g").await?.status == 503);
    scene.directory.set_answer(Answer::Allowed);
    tokio::time::sleep(Duration::from_millis(2_200)).await;
    ensure!(scene.logs(&one, "web-3", "h").await?.status == 200);
    scene.check_health().await
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_remembered_for_no_time() -> Result<()> {
    let scene = ProjectsScene::start(1, |it| service(it)["cache_ttl"] = json!("0s")).await?;
    let token = token_of("reader")?;
    for (number, status) in [200, 403, 404, 200].into_iter().enumerate() {
        // Between two ticks of the gate's clock an answer may still be of now.
        tokio::time::sleep(Duration::from_millis(1_100)).await;
        scene.directory.set_answer(Answer::Status(status));
        let reply = scene.logs(&token, "web-1", &format!("n{number}")).await?;
        ensure!(reply.status == status, "{number}: {}", reply.status);
    }
    ensure!(scene.directory.take_asked().len() == 4);
    // Those that wait together are told together.
    scene
        .directory
        .set_answer(Answer::Late(Duration::from_millis(700)));
    let ids: Vec<String> = (0..10).map(|number| format!("together{number}")).collect();
    let replies = join_all(ids.iter().map(|id| scene.logs(&token, "web-1", id))).await;
    for reply in replies {
        ensure!(reply?.status == 200);
    }
    let asked = scene.directory.take_asked().len();
    ensure!(asked <= 2, "asked {asked} times");
    scene.check_health().await
}

#[tokio::test(flavor = "multi_thread")]
async fn one_question_is_asked_once_by_a_worker() -> Result<()> {
    for workers in [1, 2] {
        let scene = ProjectsScene::start(workers, |_| ()).await?;
        let token = token_of("reader")?;
        scene
            .directory
            .set_answer(Answer::Late(Duration::from_millis(700)));
        let ids: Vec<String> = (0..40).map(|number| format!("same{number}")).collect();
        let replies = join_all(ids.iter().map(|id| scene.logs(&token, "web-1", id))).await;
        for reply in replies {
            let reply = reply?;
            ensure!(reply.status == 200, "{} {}", reply.status, reply.text());
        }
        let asked = scene.directory.take_asked().len();
        ensure!(
            (1..=workers as usize).contains(&asked),
            "asked {asked} times"
        );
        for id in &ids {
            let seen = scene.log.seen(id);
            ensure!(
                seen.len() == 1 && seen[0].path.contains("web-1"),
                "{seen:?}"
            );
        }
        scene.check_health().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_waiting_room_has_an_end() -> Result<()> {
    // Of nine places one caller gets five, and leaves four.
    let scene = ProjectsScene::start(1, |it| it["limits"] = json!({"waiting_requests": 9})).await?;
    let token = token_of("reader")?;
    scene
        .directory
        .set_answer(Answer::Late(Duration::from_millis(1_500)));
    let ids: Vec<String> = (0..12).map(|number| format!("room{number}")).collect();
    let replies = join_all(ids.iter().map(|id| scene.logs(&token, id, id))).await;
    let mut passed = 0;
    for (id, reply) in ids.iter().zip(replies) {
        let reply = reply?;
        if reply.status == 200 {
            passed += 1;
            let seen = scene.log.seen(id);
            ensure!(
                seen.len() == 1 && seen[0].path.contains(id.as_str()),
                "{seen:?}"
            );
        } else {
            scene
                .check_refused(id, &reply, 503, "waiting_room_full")
                .await?;
        }
    }
    ensure!(passed == 5, "{passed} waited");
    // There is room again.
    let reply = scene.logs(&token, "another", "another").await?;
    ensure!(reply.status == 200, "{} {}", reply.status, reply.text());
    scene.check_health().await
}

#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_is_forgotten() -> Result<()> {
    // Three places for one caller, and two that it leaves.
    let scene = ProjectsScene::start(1, |it| it["limits"] = json!({"waiting_requests": 5})).await?;
    let token = token_of("reader")?;
    scene
        .directory
        .set_answer(Answer::Late(Duration::from_millis(900)));
    let target = scene.envoy.target();
    let pause = Duration::from_millis(200);
    let gone = (0..3).map(|number| {
        let request = logs(&token, "gone", &format!("gone{number}"));
        let bytes = h1::serialized(&request);
        let target = target.clone();
        async move { h1::abandon(&target, &bytes, pause).await }
    });
    for left in join_all(gone).await {
        left?;
    }
    tokio::time::sleep(pause).await;
    // Their seats are free while their question is still under way.
    let ids = ["stays1", "stays2", "stays3"];
    let replies = join_all(ids.iter().map(|id| scene.logs(&token, id, id))).await;
    for reply in replies {
        let reply = reply?;
        ensure!(reply.status == 200, "{} {}", reply.status, reply.text());
    }
    for number in 0..3 {
        ensure!(scene.log.seen(&format!("gone{number}")).is_empty());
    }
    scene.check_health().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_ends_before_its_answer() -> Result<()> {
    let scene = ProjectsScene::start(1, |it| {
        it["limits"] = json!({"wait": "500ms"});
        service(it)["timeout"] = json!("8s");
    })
    .await?;
    scene.directory.set_answer(Answer::Hang);
    let since = Instant::now();
    let reply = scene.logs(&token_of("reader")?, "web-1", "patient").await?;
    scene
        .check_refused("patient", &reply, 503, "directory_unavailable")
        .await?;
    let waited = since.elapsed();
    ensure!(
        waited > Duration::from_millis(400) && waited < Duration::from_secs(4),
        "{waited:?}"
    );
    scene.check_health().await
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_waited_for_first_and_then_the_directory() -> Result<()> {
    let issuer = Issuer::corporate().await?;
    issuer.set_answer(AnswerMode::Delay(4_000));
    let scene = ProjectsScene::with(issuer, 1, |it| it["limits"] = json!({"wait": "20s"})).await?;
    scene
        .directory
        .set_answer(Answer::Late(Duration::from_millis(500)));
    let token = token_of("reader")?;
    let ids: Vec<String> = (0..5).map(|number| format!("both{number}")).collect();
    let replies = join_all(ids.iter().map(|id| scene.logs(&token, "web-1", id))).await;
    for reply in replies {
        let reply = reply?;
        ensure!(reply.status == 200, "{} {}", reply.status, reply.text());
    }
    let asked = scene.directory.take_asked();
    ensure!(asked.len() == 1, "asked {} times", asked.len());
    let first = asked.first().context("a question")?;
    ensure!(first.authorization == format!("Bearer {token}"));
    scene.check_health().await
}

const PATIENCE: Duration = Duration::from_secs(10);
