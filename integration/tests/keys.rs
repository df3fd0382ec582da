//! Keys under stress: rotation, unknown key IDs, providers that misbehave, cold starts.
//!
//! The provider is an issuer under the test's control, and the gate is the module in a real Envoy. Each request has a
//! connection of its own, and the kernel distributes the connections to the workers.

#![allow(clippy::expect_used)]
#![expect(clippy::float_cmp, reason = "what is compared is whole numbers")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use futures_util::future::{join_all, try_join_all};
use integration::client::{Protocol, Reply};
use integration::drill::{self, fresh, read, send, verdict};
use integration::envoy::{self, Envoy, Update};
use integration::issuer::{AnswerMode, CORPORATE, Issuer, IssuerSettings, PublishedKey};
use integration::scene::Scene;
use integration::token::{self, Recipe, Tamper};
use integration::upstream::{Upstream, UpstreamLog};
use jsonwebtoken::{DecodingKey, Validation};
use scopegate::authn::authenticator::Lent;
use scopegate::authn::keys::InModule;
use scopegate::authn::token_cache::{Owner, TokenCache};
use scopegate::config::{Config, Environment};
use scopegate::gate::{Attempt, Gate, Outcome, Passage};
use scopegate::words::request::{Head, OwnHeaders};
use scopegate::words::time::{Monotonic, Now, Time, Timestamp};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

async fn scene_of(configuration: Value, workers: u32, answer: AnswerMode) -> Result<Scene> {
    let issuer = Issuer::corporate().await?;
    issuer.set_answer(answer);
    let settings = drill::settings(configuration)?.concurrency(workers);
    Scene::start_with(settings, issuer).await
}

/// A read, how it was answered, and how long that took.
async fn timed(envoy: &Envoy, token: &str) -> Result<(Reply, Duration)> {
    let start = Instant::now();
    let reply = send(envoy, &read(token, "acme")).await?;
    Ok((reply, start.elapsed()))
}

fn unknown_kid(kid: &str) -> Result<String> {
    fresh(Recipe::of("reader").kid(kid))
}

/// Ask with unknown kids until the gate has fetched once more, and each worker has taken note.
async fn refetch(scene: &Scene) -> Result<()> {
    let wanted = scene.corporate.fetches().jwks + 1;
    for number in 0..200 {
        if scene.corporate.fetches().jwks >= wanted {
            // The answer needs a moment to become the set in use, on other workers a second at most.
            tokio::time::sleep(Duration::from_millis(1_100)).await;
            return Ok(());
        }
        send(
            &scene.envoy,
            &read(&unknown_kid(&format!("nobody-{number}"))?, "acme"),
        )
        .await?;
    }
    bail!("no refetch: {:?}", scene.corporate.fetches())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_under_load_fails_no_valid_request() -> Result<()> {
    let scene = scene_of(drill::configuration(), 2, AnswerMode::Good).await?;
    drill::warm(&scene.envoy).await?;
    let start = Instant::now();
    let rotation = start + Duration::from_secs(2);
    let end = start + Duration::from_secs(6);
    // A key is published before it is used: not by much, but always.
    let published = AtomicBool::new(false);
    let lanes = (0..LANES).map(|lane| {
        let (scene, published) = (&scene, &published);
        async move {
            let mut statuses: BTreeMap<u16, usize> = BTreeMap::new();
            let mut slot = start + PACE * lane / LANES;
            let mut number = 0;
            while slot < end {
                tokio::time::sleep_until(slot.into()).await;
                // Old keys all the time; from the rotation on every second token is signed by the new key.
                let recipe = if published.load(Ordering::SeqCst) && number % 2 == 0 {
                    Recipe::of("reader").key("rsa-b").kid("rotated")
                } else {
                    Recipe::of("reader")
                };
                let token = if number % 4 == 3 {
                    fresh(recipe)?
                } else {
                    // One of a few tokens that are sent again and again.
                    recipe
                        .claim("lane", lane)
                        .text(token::now() / 60 * 60 + 1)?
                };
                let reply = send(&scene.envoy, &read(&token, "acme")).await?;
                *statuses.entry(reply.status).or_default() += 1;
                number += 1;
                slot += PACE;
            }
            anyhow::Ok(statuses)
        }
    });
    let rotate = async {
        tokio::time::sleep_until(rotation.into()).await;
        scene
            .corporate
            .add_key(PublishedKey::named("rsa-b").with_kid("rotated"));
        published.store(true, Ordering::SeqCst);
        anyhow::Ok(())
    };
    let (lanes, rotated) = tokio::join!(try_join_all(lanes), rotate);
    rotated?;
    let mut statuses: BTreeMap<u16, usize> = BTreeMap::new();
    for (status, count) in lanes?.into_iter().flatten() {
        *statuses.entry(status).or_default() += count;
    }
    eprintln!("rotation: {statuses:?} in {:?}", start.elapsed());
    ensure!(statuses.keys().eq([&200]), "{statuses:?}");
    ensure!(statuses[&200] >= 1_200, "too few: {statuses:?}");
    drill::check_health(&scene.envoy).await
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_kids_start_one_fetch_in_half_a_minute() -> Result<()> {
    let workers = 2;
    let mut configuration = drill::configuration();
    configuration["limits"] = json!({"wait": "2s"});
    let scene = scene_of(configuration, workers, AnswerMode::Good).await?;
    drill::warm(&scene.envoy).await?;
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let before = scene.corporate.fetches().jwks;
    eprintln!("fetches at the start: {before}");
    let first = Instant::now();
    let mut seen: BTreeMap<u16, usize> = BTreeMap::new();
    let mut slowest = Duration::ZERO;
    // A storm, then a steady drip well into the next half minute.
    for wave in 0..33 {
        let count = if wave == 0 { 60 } else { 4 };
        let tokens: Result<Vec<String>> = (0..count)
            .map(|number| unknown_kid(&format!("storm-{wave}-{number}")))
            .collect();
        let tokens = tokens?;
        for answered in join_all(tokens.iter().map(|token| timed(&scene.envoy, token))).await {
            let (reply, took) = answered?;
            slowest = slowest.max(took);
            *seen.entry(reply.status).or_default() += 1;
            match reply.status {
                401 => ensure!(reply.header("www-authenticate").is_some()),
                503 => ensure!(reply.header("retry-after").is_some()),
                other => bail!("{other}: {}", reply.text()),
            }
        }
        let reply = send(&scene.envoy, &read(&drill::token_of("reader")?, "acme")).await?;
        ensure!(
            reply.status == 200,
            "a valid token in the storm: {}",
            reply.text()
        );
        // A key that arrives while no fetch is allowed has to wait for its turn, but is never refused for good.
        if wave == 3 {
            let late = PublishedKey::named("rsa-b").with_kid("late");
            scene.corporate.add_key(late);
        } else if wave > 3 {
            let late = fresh(Recipe::of("reader").key("rsa-b").kid("late"))?;
            let reply = send(&scene.envoy, &read(&late, "acme")).await?;
            ensure!(
                matches!(reply.status, 200 | 503),
                "{wave}: {}",
                reply.status
            );
        }
        let fetches = scene.corporate.fetches().jwks - before;
        let windows = usize::try_from(first.elapsed().as_secs())? / 30 + 1;
        ensure!(
            fetches <= windows,
            "{fetches} fetches in {:?}",
            first.elapsed()
        );
        tokio::time::sleep_until((first + Duration::from_secs(wave + 1)).into()).await;
    }
    let fetches = scene.corporate.fetches().jwks - before;
    eprintln!("unknown kids: {seen:?}, {fetches} fetches, slowest {slowest:?}");
    ensure!(
        fetches >= 2,
        "the second half minute brings a fetch of its own"
    );
    ensure!(
        seen.contains_key(&401),
        "a definitive verdict for those that waited: {seen:?}"
    );
    ensure!(slowest < Duration::from_millis(4_500), "{slowest:?}");

    let late = fresh(Recipe::of("reader").key("rsa-b").kid("late"))?;
    let deadline = Instant::now() + Duration::from_secs(10);
    let mut in_a_row = 0;
    while in_a_row < 8 {
        ensure!(Instant::now() < deadline, "its turn has come long ago");
        let passed = send(&scene.envoy, &read(&late, "acme")).await?.status == 200;
        in_a_row = if passed { in_a_row + 1 } else { 0 };
    }

    // The key of an old token may be as young as that of a new one: no verdict before it has been asked for.
    let old = fresh(
        Recipe::of("reader")
            .kid("gone")
            .claim("iat", token::now() - 300),
    )?;
    let (status, details) = verdict(&scene.envoy, read(&old, "acme"), "old").await?;
    ensure!(
        (status, details.as_str()) == (503, "scopegate{key_pending}"),
        "{status} {details}"
    );
    drill::check_health(&scene.envoy).await
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_kids_wait_no_longer_than_told_while_the_provider_hangs() -> Result<()> {
    let mut configuration = drill::configuration();
    configuration["limits"] = json!({"wait": "1s"});
    let scene = scene_of(configuration, 2, AnswerMode::Good).await?;
    drill::warm(&scene.envoy).await?;
    scene.corporate.set_answer(AnswerMode::Hang);
    let tokens: Result<Vec<String>> = (0..20)
        .map(|number| unknown_kid(&format!("hang-{number}")))
        .collect();
    let tokens = tokens?;
    for answered in join_all(tokens.iter().map(|token| timed(&scene.envoy, token))).await {
        let (reply, took) = answered?;
        ensure!(reply.status == 503, "{}", reply.text());
        ensure!(reply.header("retry-after").is_some());
        ensure!(
            (Duration::from_millis(850)..Duration::from_secs(4)).contains(&took),
            "{took:?}"
        );
    }
    drill::check_health(&scene.envoy).await
}

/// Fetches that brought no keys.
async fn failures(envoy: &Envoy, provider: &str) -> Result<f64> {
    let name = "scopegate_jwks_fetch_total";
    let all = envoy.metric(name, &[("provider", provider)]).await?;
    let good = [("provider", provider), ("result", "ok")];
    Ok(all - envoy.metric(name, &good).await?)
}

/// A provider for each way to misbehave, all behind one gate.
#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::too_many_lines, reason = "one story, told in order")]
async fn a_good_set_outlives_every_kind_of_bad_answer() -> Result<()> {
    let modes = [
        ("hang", AnswerMode::Hang),
        ("reset", AnswerMode::Reset),
        ("error", AnswerMode::Status(500)),
        ("unauthorized", AnswerMode::Status(401)),
        ("html", AnswerMode::Html),
        ("empty", AnswerMode::EmptySet),
        ("huge", AnswerMode::Huge),
        ("many-keys", AnswerMode::ManyKeys(10_000)),
        ("redirect", AnswerMode::Redirect),
        ("too-many", AnswerMode::TooManyRequests),
        ("cut", AnswerMode::Cut),
        ("no-json", AnswerMode::Raw("{\"keys\": [".into())),
        ("null-keys", AnswerMode::Raw("{\"keys\": null}".into())),
        ("down", AnswerMode::Good),
    ];
    let log = UpstreamLog::new();
    let loki = Upstream::start("loki", &log).await?;
    let mut configuration = drill::configuration();
    // Whoever waited for a provider that hangs would do so for long enough to be told from a slow machine.
    configuration["limits"] = json!({"wait": "8s"});
    configuration["providers"] = json!([]);
    let mut issuers = Vec::new();
    let mut clusters = Vec::new();
    for (name, mode) in modes {
        let settings = IssuerSettings {
            issuer: Some(format!("https://{name}.example.com")),
            ..IssuerSettings::corporate()
        };
        let issuer = Issuer::start(settings).await?;
        let cluster = format!("idp_{}", name.replace('-', "_"));
        let mut provider = drill::provider(name, &issuer.issuer(), &cluster);
        provider["jwks"]["timeout"] = json!("10s");
        provider["shared_groups"] = json!(true);
        let providers = configuration["providers"]
            .as_array_mut()
            .context("a list")?;
        providers.push(provider);
        clusters.push((cluster, issuer.address()));
        issuers.push((name, mode, issuer));
    }
    let mut settings = drill::settings(configuration)?.cluster("loki", loki.address());
    for (cluster, address) in clusters {
        settings = settings.cluster(&cluster, address);
    }
    let envoy = Envoy::start(settings).await?;
    let valid = |issuer: &Issuer| {
        fresh(
            Recipe::of("reader")
                .claim("iss", issuer.issuer())
                .claim("n", issuer.fetches().jwks),
        )
    };
    let mut remembered = Vec::new();
    for (name, _, issuer) in &issuers {
        let token = valid(issuer)?;
        for _ in 0..6 {
            let reply = send(&envoy, &read(&token, "acme")).await?;
            ensure!(reply.status == 200, "{name}: {}", reply.text());
        }
        remembered.push(token);
    }
    // Give both workers their keys before anything breaks.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let mut before = Vec::new();
    for (_, mode, issuer) in &issuers {
        issuer.set_answer(mode.clone());
        before.push(issuer.fetches().jwks);
    }
    for (name, _, issuer) in &issuers {
        if *name == "down" {
            issuer.down().await;
        }
    }
    // Unknown kids make the workers ask again; valid tokens pass at once all the while.
    let mut strangers = Vec::new();
    for (name, _, issuer) in &issuers {
        for number in 0..6 {
            let stranger = Recipe::of("reader").claim("iss", issuer.issuer());
            let stranger = fresh(stranger.kid(&format!("x-{number}")))?;
            strangers.push((name, stranger));
        }
    }
    let strangers = strangers.iter().map(|(name, stranger)| {
        let envoy = &envoy;
        async move {
            let reply = send(envoy, &read(stranger, "acme")).await?;
            ensure!(
                reply.status == 503,
                "{name}: {} {}",
                reply.status,
                reply.text()
            );
            Ok(())
        }
    });
    let faithful = async {
        for round in 0..5 {
            for ((name, _, issuer), token) in issuers.iter().zip(&remembered) {
                for token in [token, &valid(issuer)?] {
                    let (reply, took) = timed(&envoy, token).await?;
                    ensure!(reply.status == 200, "{name} {round}: {}", reply.text());
                    ensure!(took < Duration::from_secs(4), "{name} {round}: {took:?}");
                }
            }
        }
        anyhow::Ok(())
    };
    let (strangers, faithful) = tokio::join!(try_join_all(strangers), faithful);
    strangers?;
    faithful?;
    for ((name, mode, issuer), before) in issuers.iter().zip(before) {
        if *name != "down" {
            ensure!(issuer.fetches().jwks > before, "{name} was not asked again");
        }
        let deadline = Instant::now() + Duration::from_secs(5);
        while failures(&envoy, name).await? < 1.0 {
            ensure!(
                Instant::now() < deadline,
                "{name} ({mode:?}): no failure counted"
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        ensure!(
            envoy.log_contains(&format!("provider {name}: keys cannot be fetched")),
            "{name}: nothing in the log"
        );
        let keys = envoy
            .metric("scopegate_jwks_keys", &[("provider", name)])
            .await?;
        ensure!(keys > 0.0, "{name}: {keys} keys");
    }
    drill::check_health_without_reads(&envoy).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_key_ends_its_tokens() -> Result<()> {
    let scene = scene_of(drill::configuration(), 2, AnswerMode::Good).await?;
    drill::warm(&scene.envoy).await?;
    let leaving = fresh(
        Recipe::of("reader")
            .key("p256-a")
            .claim("iat", token::now() - 300),
    )?;
    let staying = drill::token_of("reader")?;
    for _ in 0..8 {
        for token in [&leaving, &staying] {
            let reply = send(&scene.envoy, &read(token, "acme")).await?;
            ensure!(reply.status == 200, "{}", reply.text());
        }
    }
    scene.corporate.remove_key("p256-a");
    refetch(&scene).await?;
    for number in 0..8 {
        let id = format!("leaving-{number}");
        let (status, details) = verdict(&scene.envoy, read(&leaving, "acme"), &id).await?;
        ensure!(
            (status, details.as_str()) == (401, "scopegate{unknown_key}"),
            "{status} {details}"
        );
        let reply = send(&scene.envoy, &read(&staying, "acme")).await?;
        ensure!(reply.status == 200, "{}", reply.text());
    }
    // A token too young to be sure about is never refused for good while no fetch is allowed.
    let young = fresh(Recipe::of("reader").key("p256-a"))?;
    let reply = send(&scene.envoy, &read(&young, "acme")).await?;
    ensure!(reply.status == 503, "{} {}", reply.status, reply.text());
    drill::check_health(&scene.envoy).await
}

#[tokio::test(flavor = "multi_thread")]
async fn replaced_material_under_one_kid_ends_its_tokens() -> Result<()> {
    let scene = scene_of(drill::configuration(), 2, AnswerMode::Good).await?;
    drill::warm(&scene.envoy).await?;
    let token = fresh(Recipe::of("reader").key("p256-a"))?;
    for _ in 0..8 {
        let reply = send(&scene.envoy, &read(&token, "acme")).await?;
        ensure!(reply.status == 200, "{}", reply.text());
    }
    scene.corporate.replace_key("p256-a", "p256-b");
    refetch(&scene).await?;
    let renewed = fresh(Recipe::of("reader").key("p256-b").kid("p256-a"))?;
    for number in 0..6 {
        let id = format!("replaced-{number}");
        let (status, details) = verdict(&scene.envoy, read(&token, "acme"), &id).await?;
        ensure!(
            (status, details.as_str()) == (401, "scopegate{signature_invalid}"),
            "{status} {details}"
        );
        let reply = send(&scene.envoy, &read(&renewed, "acme")).await?;
        ensure!(reply.status == 200, "{}", reply.text());
    }
    drill::check_health(&scene.envoy).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cold_start_keeps_a_bounded_number_waiting_and_lets_them_pass() -> Result<()> {
    let mut configuration = drill::configuration();
    configuration["limits"] = json!({"waiting_requests": 4, "wait": "9s"});
    let scene = scene_of(configuration, 1, AnswerMode::Delay(4_000)).await?;
    let tokens: Result<Vec<String>> = (0..12).map(|_| drill::token_of("reader")).collect();
    let tokens = tokens?;
    let answers = join_all(tokens.iter().map(|token| timed(&scene.envoy, token))).await;
    let mut passed = 0;
    let mut full = 0;
    for answer in answers {
        let (reply, took) = answer?;
        match reply.status {
            200 => passed += 1,
            503 => {
                full += 1;
                ensure!(
                    reply.text().contains("too many requests are waiting"),
                    "{}",
                    reply.text()
                );
                ensure!(reply.header("retry-after").is_some());
                ensure!(took < Duration::from_secs(2), "refused only after {took:?}");
            }
            other => bail!("{other}: {}", reply.text()),
        }
    }
    ensure!(
        (passed, full) == (4, 8),
        "{passed} passed, {full} were too many"
    );
    ensure!(
        scene.log.count() == 4,
        "{} reached the upstream",
        scene.log.count()
    );
    drill::check_health(&scene.envoy).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cold_start_without_an_answer_ends_the_wait_in_time() -> Result<()> {
    let mut configuration = drill::configuration();
    configuration["limits"] = json!({"wait": "1s"});
    let scene = scene_of(configuration, 2, AnswerMode::Hang).await?;
    let tokens: Result<Vec<String>> = (0..10).map(|_| drill::token_of("reader")).collect();
    let tokens = tokens?;
    for answered in join_all(tokens.iter().map(|token| timed(&scene.envoy, token))).await {
        let (reply, took) = answered?;
        ensure!(reply.status == 503, "{}", reply.text());
        ensure!(reply.header("retry-after").is_some());
        ensure!(
            (Duration::from_millis(850)..Duration::from_secs(4)).contains(&took),
            "{took:?}"
        );
    }
    ensure!(scene.log.count() == 0, "something passed without keys");
    scene.corporate.set_answer(AnswerMode::Good);
    // The fetch that hangs is given up after its 5 s, then the next one brings the keys.
    let deadline = Instant::now() + Duration::from_secs(15);
    let token = drill::token_of("reader")?;
    while send(&scene.envoy, &read(&token, "acme")).await?.status != 200 {
        ensure!(Instant::now() < deadline, "the keys never came");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    drill::check_health(&scene.envoy).await
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_leave_while_waiting_leave_nothing_behind() -> Result<()> {
    let mut configuration = drill::configuration();
    configuration["limits"] = json!({"waiting_requests": 4, "wait": "20s"});
    configuration["providers"][0]["jwks"]["timeout"] = json!("20s");
    let scene = scene_of(configuration, 1, AnswerMode::Hang).await?;
    let token = drill::token_of("reader")?;
    let head = format!(
        "GET /loki/api/v1/labels HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\nx-scope-orgid: acme\r\n\r\n"
    );
    for round in 0..3 {
        let mut impatient = Vec::new();
        for _ in 0..4 {
            let mut stream = tokio::net::TcpStream::connect(scene.envoy.address()).await?;
            stream.write_all(head.as_bytes()).await?;
            impatient.push(stream);
        }
        let gauge = "scopegate_waiting_requests";
        let patience = Duration::from_secs(10);
        drill::wait_for_metric(&scene.envoy, gauge, &[], patience, |count| count == 4.0).await?;
        let reply = send(&scene.envoy, &read(&token, "acme")).await?;
        ensure!(
            reply.text().contains("too many requests are waiting"),
            "{round}: {}",
            reply.text()
        );
        // Half of them politely, half by a reset.
        for (number, stream) in impatient.into_iter().enumerate() {
            if number % 2 == 0 {
                stream.set_zero_linger()?;
            }
            drop(stream);
        }
        drill::wait_for_metric(&scene.envoy, gauge, &[], patience, |count| count == 0.0).await?;
    }
    ensure!(scene.log.count() == 0, "something passed without keys");
    drill::check_health_without_reads(&scene.envoy).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_while_requests_wait_leaves_no_waiter_in_the_count() -> Result<()> {
    let mut configuration = drill::configuration();
    configuration["limits"] = json!({"wait": "20s"});
    configuration["providers"][0]["jwks"]["timeout"] = json!("20s");
    let issuer = Issuer::corporate().await?;
    issuer.set_answer(AnswerMode::Hang);
    let settings = drill::settings(configuration.clone())?.dynamic();
    let scene = Scene::start_with(settings, issuer).await?;
    let gauge = "scopegate_waiting_requests";
    let patience = Duration::from_secs(10);
    let request = read(&drill::token_of("reader")?, "acme");
    let waiters = join_all((0..6).map(|_| send(&scene.envoy, &request)));
    let reload = async {
        drill::wait_for_metric(&scene.envoy, gauge, &[], patience, |count| count == 6.0).await?;
        scene.corporate.set_answer(AnswerMode::Good);
        configuration["realm"] = json!("the next one");
        let update = scene.envoy.replace_configuration(&configuration).await?;
        ensure!(update == Update::Accepted, "{update:?}");
        drill::warm(&scene.envoy).await
    };
    // The old listener is drained for two seconds and then closed, with what still waits in it.
    let (waiters, reloaded) = tokio::join!(waiters, reload);
    reloaded?;
    for waiter in waiters.into_iter().flatten() {
        ensure!(matches!(waiter.status, 200 | 503), "{waiter:?}");
    }
    drill::wait_for_metric(&scene.envoy, gauge, &[], patience, |count| count == 0.0).await?;
    drill::check_health(&scene.envoy).await
}

/// The waiters of a cold start that leave just as the keys arrive, again and again.
#[tokio::test(flavor = "multi_thread")]
async fn clients_that_leave_as_the_keys_arrive_do_no_harm() -> Result<()> {
    for delay in [1_000_u64, 1_300] {
        let scene = scene_of(drill::configuration(), 1, AnswerMode::Delay(delay)).await?;
        let start = Instant::now();
        let leave = |number: u64| {
            let scene = &scene;
            async move {
                let protocol = [Protocol::H1, Protocol::H2][usize::from(number % 2 == 1)];
                let request = read(&drill::token_of("reader")?, "acme");
                let target = scene.envoy.target();
                let moment = Duration::from_millis(delay - 200 + number * 10);
                let left = moment.saturating_sub(start.elapsed());
                let _ = tokio::time::timeout(left, request.send(&target, protocol)).await;
                anyhow::Ok(())
            }
        };
        try_join_all((0..40).map(leave)).await?;
        drill::check_health(&scene.envoy).await?;
        let gauge = "scopegate_waiting_requests";
        let patience = Duration::from_secs(10);
        drill::wait_for_metric(&scene.envoy, gauge, &[], patience, |count| count == 0.0).await?;
    }
    Ok(())
}

/// What an independent library says about the signature.
fn holds(token: &str, jwks: &Value) -> bool {
    let Ok(header) = jsonwebtoken::decode_header(token) else {
        return false;
    };
    let kid = header.kid.unwrap_or_default();
    let jwk = jwks["keys"]
        .as_array()
        .and_then(|keys| keys.iter().find(|key| key["kid"] == kid.as_str()))
        .and_then(|key| serde_json::from_value(key.clone()).ok());
    let Some(jwk) = jwk else { return false };
    let Ok(key) = DecodingKey::from_jwk(&jwk) else {
        return false;
    };
    let mut validation = Validation::new(header.alg);
    validation.set_audience(&["observability"]);
    validation.set_issuer(&[CORPORATE]);
    jsonwebtoken::decode::<Value>(token, &key, &validation).is_ok()
}

/// What the core says, natively and with the engine that is inside the module.
fn core_verdict(configuration: &Value, token: &str) -> Result<u16> {
    let configuration = configuration.to_string();
    let config = Config::parse(configuration.as_bytes(), &Environment::default());
    let config = config.map_err(|problems| anyhow!("{problems:?}"))?;
    let authorization = format!("Bearer {token}");
    let headers: [(&[u8], &[u8]); 4] = [
        (b":method", b"GET"),
        (b":path", b"/loki/api/v1/labels"),
        (b"authorization", authorization.as_bytes()),
        (b"x-scope-orgid", b"acme"),
    ];
    let head = Head::read(headers.into_iter(), OwnHeaders::default());
    let now = Now {
        wall: Timestamp::from_secs(token::now().unsigned_abs()),
        mono: Monotonic::from_millis(1),
    };
    let attempt = Attempt {
        arrived: now.mono,
        time: Time::Exact(now),
    };
    let mut gate = Gate::new(Arc::new(config), Owner(1), 1);
    let mut lent = Lent {
        tokens: &mut TokenCache::new(1, 1 << 16, 1),
        engine: &InModule,
    };
    match gate.decide(&head, attempt, &mut lent).outcome {
        Outcome::Forward(Passage::Enforced(_)) => Ok(200),
        Outcome::Refuse(denial) => Ok(denial.status()),
        other => bail!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn both_engines_give_the_verdict_of_the_core() -> Result<()> {
    let mut configuration = drill::configuration();
    let names = ALGORITHMS.map(|(name, ..)| name);
    configuration["providers"][0]["algorithms"] = json!(names);
    let scene = scene_of(configuration.clone(), 2, AnswerMode::Good).await?;
    drill::warm(&scene.envoy).await?;
    let jwks = scene.corporate.jwks()?;
    configuration["providers"][0]["jwks"] = json!({"inline": jwks});
    let mut checked = 0;
    for (algorithm, key, kid, engine) in ALGORITHMS {
        // The native module asks nobody.
        let engine = if envoy::native().is_some() {
            "module"
        } else {
            engine
        };
        let good = Recipe::of("reader").key(key).kid(kid).alg(algorithm);
        let stranger = match key {
            "p256-a" => "p256-stranger",
            "p384-a" => "p384-stranger",
            "ed25519-a" => "ed25519-stranger",
            _ => "rsa-stranger",
        };
        let mut recipes = vec![
            (good.clone(), 200),
            (good.clone().claim("x", "y".repeat(2_000)), 200),
            (good.clone().tamper(Tamper::FlipSignature), 401),
            (good.clone().tamper(Tamper::FlipPayload), 401),
            (good.clone().tamper(Tamper::EmptySignature), 401),
            (good.clone().tamper(Tamper::LongSignature), 401),
            (good.clone().tamper(Tamper::ZeroSignature), 401),
            (good.clone().key(stranger).kid(kid), 401),
        ];
        if algorithm.starts_with("ES") {
            recipes.push((good.clone().tamper(Tamper::DerSignature), 401));
        }
        if algorithm == "ES256" {
            recipes.push((good.clone().tamper(Tamper::HighS), 200));
        }
        for (recipe, expected) in recipes {
            let token = fresh(recipe.clone())?;
            ensure!(
                holds(&token, &jwks) == (expected == 200),
                "the recipe is off: {recipe:?}"
            );
            ensure!(
                core_verdict(&configuration, &token)? == expected,
                "{recipe:?}"
            );
            // Twice on each worker, most likely; the second time of a good one from memory.
            for _ in 0..4 {
                let reply = send(&scene.envoy, &read(&token, "acme")).await?;
                ensure!(
                    reply.status == expected,
                    "{algorithm} {recipe:?}: {}",
                    reply.status
                );
            }
            checked += 1;
        }
        drill::wait_for_metric(
            &scene.envoy,
            "scopegate_verifier",
            &[("algorithm", algorithm), ("engine", engine)],
            Duration::from_secs(5),
            |value| value == 1.0,
        )
        .await?;
        let other = if engine == "host" { "module" } else { "host" };
        let labels = [("algorithm", algorithm), ("engine", other)];
        ensure!(
            scene.envoy.metric("scopegate_verifier", &labels).await? == 0.0,
            "{labels:?}"
        );
        for result in ["ok", "bad"] {
            drill::wait_for_metric(
                &scene.envoy,
                "scopegate_verify_total",
                &[
                    ("provider", "corporate"),
                    ("algorithm", algorithm),
                    ("result", result),
                ],
                Duration::from_secs(5),
                |value| value >= 1.0,
            )
            .await?;
        }
    }
    eprintln!("{checked} tokens, the same verdict everywhere");
    drill::check_health(&scene.envoy).await
}

/// Algorithm, key, its id in the set, and who must check its signatures.
const ALGORITHMS: [(&str, &str, &str, &str); 9] = [
    ("RS256", "rsa-a", "rsa-a", "host"),
    ("RS384", "rsa-b", "rs384", "host"),
    ("RS512", "rsa-b", "rs512", "host"),
    ("ES256", "p256-a", "p256-a", "host"),
    ("ES384", "p384-a", "p384-a", "host"),
    ("PS256", "rsa-b", "ps256", "module"),
    ("PS384", "rsa-b", "ps384", "module"),
    ("PS512", "rsa-b", "ps512", "module"),
    ("EdDSA", "ed25519-a", "ed25519-a", "module"),
];

const LANES: u32 = 16;
/// 16 lanes at this pace are 266 requests a second.
const PACE: Duration = Duration::from_millis(60);
