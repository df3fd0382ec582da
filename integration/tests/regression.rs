//! Faults that occurred in a real Envoy, each with a test that is named by what went wrong.
//!
//! The provider is an issuer under the test's control, and the gate is the module in a real Envoy. If a rule has a
//! period of half a minute or more, the monotonic clock is advanced instead, which looks to a process as if its
//! machine had been suspended.

#![allow(clippy::expect_used)]
#![expect(
    clippy::cast_precision_loss,
    reason = "what is counted here, also in seconds, is far below 2^53"
)]
#![expect(clippy::float_cmp, reason = "what is compared is whole numbers")]

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use futures_util::future::{join_all, try_join_all};
use integration::client::h1::{self, at_once, chunk, chunked};
use integration::client::h2::{self, Piece};
use integration::client::{Protocol, RawRequest, Reply};
use integration::clock::Clock;
use integration::drill::{self, ask_every_worker, fresh, read, send, verdict};
use integration::envoy::{Envoy, EnvoySettings, Update};
use integration::firehose::{Firehose, SlowReaders};
use integration::grpc::{self, GrpcClient, SearchRequest, SearchResponse};
use integration::issuer::{AnswerMode, Issuer, IssuerSettings, PublishedKey};
use integration::scenario;
use integration::scene::Scene;
use integration::token::{self, Recipe};
use serde_json::{Value, json};
use tokio::time::sleep;

/// A gate that has its keys.
async fn warm_scene(settings: EnvoySettings) -> Result<Scene> {
    let scene = Scene::start_with(settings, Issuer::corporate().await?).await?;
    drill::warm(&scene.envoy).await?;
    // The workers that did not fetch take the keys over on their own ticks.
    sleep(SETTLED).await;
    Ok(scene)
}

fn sharing(share: bool) -> Value {
    let mut configuration = drill::configuration();
    configuration["providers"][0]["jwks"]["share"] = json!(share);
    configuration
}

/// A read by a token that no cache has seen.
fn first_seen() -> Result<RawRequest> {
    Ok(read(&drill::token_of("reader")?, "acme"))
}

fn all_are_200(what: &str, replies: &[Reply]) -> Result<()> {
    for (number, reply) in replies.iter().enumerate() {
        ensure!(
            reply.status == 200,
            "{what}: answer {number} of {}: {} {}",
            replies.len(),
            reply.status,
            reply.text()
        );
    }
    Ok(())
}

/// Every failure of a test that tries the same in several ways.
fn all_are_good<'name>(outcomes: impl IntoIterator<Item = (&'name str, Result<()>)>) -> Result<()> {
    let failures: Vec<String> = outcomes
        .into_iter()
        .filter_map(|(name, outcome)| Some(format!("{name}: {:#}", outcome.err()?)))
        .collect();
    ensure!(failures.is_empty(), "{}", failures.join("\n"));
    Ok(())
}

// ---- keys and new configurations

#[tokio::test(flavor = "multi_thread")]
async fn a_new_configuration_forgot_the_keys_of_a_provider_that_is_not_shared() -> Result<()> {
    let mut configuration = sharing(false);
    let scene = warm_scene(drill::settings(configuration.clone())?.dynamic()).await?;
    let fetches = scene.corporate.fetches().jwks;
    scene.corporate.set_answer(AnswerMode::Status(500));
    for change in ["the realm", "a tenant"] {
        match change {
            "the realm" => configuration["realm"] = json!("another"),
            _ => configuration["organizations"][1]["tenants"] = json!(["globex", "initech"]),
        }
        let update = scene.envoy.replace_configuration(&configuration).await?;
        ensure!(update == Update::Accepted, "{update:?}");
        all_are_200(change, &ask_every_worker(&scene.envoy, first_seen).await?)?;
    }
    // Whoever wanted to fetch would have done so by now.
    sleep(SETTLED).await;
    let after = scene.corporate.fetches().jwks;
    ensure!(
        after == fetches,
        "the changes have caused {} fetches",
        after - fetches
    );
    all_are_200("later", &ask_every_worker(&scene.envoy, first_seen).await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn another_refresh_interval_forgot_the_keys_while_the_provider_was_down() -> Result<()> {
    let mut configuration = sharing(true);
    configuration["providers"][0]["jwks"]["refresh_interval"] = json!("1h");
    let scene = warm_scene(drill::settings(configuration.clone())?.dynamic()).await?;
    scene.corporate.down().await;
    configuration["providers"][0]["jwks"]["refresh_interval"] = json!("1m");
    let update = scene.envoy.replace_configuration(&configuration).await?;
    ensure!(update == Update::Accepted, "{update:?}");
    let at_once = ask_every_worker(&scene.envoy, first_seen).await?;
    all_are_200("at once", &at_once)?;
    sleep(SETTLED).await;
    all_are_200("later", &ask_every_worker(&scene.envoy, first_seen).await?)
}

// ---- a withdrawn key

#[tokio::test(flavor = "multi_thread")]
async fn a_withdrawn_key_went_on_serving_on_workers_that_saw_only_the_failure_after_it()
-> Result<()> {
    let (two, eight) = tokio::join!(withdraw_and_fail(2), withdraw_and_fail(8));
    all_are_good([("two workers", two), ("eight workers", eight)])
}

async fn withdraw_and_fail(workers: u32) -> Result<()> {
    let clock = Clock::new()?;
    let mut configuration = sharing(true);
    configuration["providers"][0]["jwks"]["refresh_interval"] = json!("1m");
    let settings = clock.of(drill::settings(configuration)?.concurrency(workers));
    let scene = warm_scene(settings).await?;
    let corporate = &scene.corporate;
    let refresh = async |fetches: usize| {
        sleep(SETTLED).await;
        // It is due after 80 % of the interval, give or take a tenth; for other workers three seconds later.
        clock.pass(40)?;
        let deadline = Instant::now() + Duration::from_secs(20);
        while corporate.fetches().jwks < fetches {
            ensure!(Instant::now() < deadline, "no refresh");
            clock.pass(1)?;
            let tick = Duration::from_millis(600);
            let _ = corporate.wait_for_fetches(fetches, tick).await;
        }
        Ok(())
    };
    drill::withdraw_before_a_failure(&scene, refresh).await?;
    all_are_200(
        "the key that stays",
        &ask_every_worker(&scene.envoy, first_seen).await?,
    )
}

// ---- hosts without a clock

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_the_host_does_not_have_stood_at_zero() -> Result<()> {
    let clocks = ["proxy_get_current_time_nanoseconds", "clock_time_get"];
    let outcomes = join_all(clocks.map(without_a_clock)).await;
    all_are_good(clocks.into_iter().zip(outcomes))
}

async fn without_a_clock(function: &str) -> Result<()> {
    let settings = drill::settings(drill::configuration())?.without(function);
    let scene = Scene::start_with(settings, Issuer::corporate().await?).await?;
    let timeless = Recipe::of("reader").without("iat");
    for round in 0..12 {
        // What passes at zero, and what passes by a clock.
        for (kind, recipe) in [
            ("expired", timeless.clone().exp_in(-3600.0)),
            ("good", timeless.clone()),
        ] {
            let id = format!("{kind}-{round}");
            let request = read(&fresh(recipe)?, "acme");
            let (status, details) = verdict(&scene.envoy, request, &id).await?;
            ensure!(
                (status, details.as_str()) == (503, UNAVAILABLE),
                "{id}: {status} {details}"
            );
        }
    }
    ensure!(scene.log.count() == 0, "{:?}", scene.log.all());
    check_loud_lines(&scene.envoy)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_does_not_tick_let_tokens_outlive_themselves() -> Result<()> {
    let functions = ["proxy_set_tick_period_milliseconds", "proxy_on_tick"];
    let outcomes = join_all(functions.map(without_ticks)).await;
    all_are_good(functions.into_iter().zip(outcomes))
}

/// Expired tokens never pass, and no later than seven seconds after the load nothing does.
async fn without_ticks(function: &str) -> Result<()> {
    let mut configuration = drill::configuration();
    configuration["providers"][0]["clock_skew"] = json!("0s");
    let settings = drill::settings(configuration)?.without(function);
    let scene = Scene::start_with(settings, Issuer::corporate().await?).await?;
    let loaded = Instant::now();
    let end = token::now() + 2;
    let short = fresh(Recipe::of("reader").claim("exp", end))?;
    let expired = fresh(Recipe::of("reader").exp_in(-3600.0))?;
    while loaded.elapsed() < TICKLESS {
        // At first nothing but a token that is known, since what is new may have the clock read.
        let mut tokens = vec![short.clone()];
        if wall()? > end as f64 + 2.0 {
            tokens.extend([expired.clone(), drill::token_of("reader")?]);
        }
        for token in &tokens {
            let sent = wall()?;
            let reply = send(&scene.envoy, &read(token, "acme")).await?;
            let over = *token == expired || (*token == short && sent > end as f64 + 1.0);
            ensure!(
                !(over && reply.status == 200),
                "a token passed {:.1} s after its end, {:?} after the load",
                sent - end as f64,
                loaded.elapsed()
            );
            ensure!(matches!(reply.status, 200 | 401 | 503), "{}", reply.status);
        }
        sleep(Duration::from_millis(50)).await;
    }
    for number in 0..12 {
        let id = format!("later-{number}");
        let (status, details) = verdict(&scene.envoy, first_seen()?, &id).await?;
        ensure!(
            (status, details.as_str()) == (503, UNAVAILABLE),
            "{:?} after the load: {status} {details}",
            loaded.elapsed()
        );
    }
    check_loud_lines(&scene.envoy)
}

fn wall() -> Result<f64> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64())
}

/// The module's lines in Envoy's log that call for somebody.
fn loud_lines(envoy: &Envoy) -> Vec<String> {
    let mut lines = envoy.own_lines();
    lines.retain(|line| line.contains("[error]") || line.contains("[critical]"));
    lines
}

/// One from each of the two workers, and perhaps one from the main thread and one from the trial load.
fn check_loud_lines(envoy: &Envoy) -> Result<()> {
    let lines = loud_lines(envoy);
    ensure!(
        (1..=4).contains(&lines.len()),
        "{} loud lines, not one from each worker: {lines:#?}",
        lines.len()
    );
    Ok(())
}

/// Nothing was refused for want of a clock, and nobody was called.
fn check_quiet(envoy: &Envoy) -> Result<()> {
    let lines = loud_lines(envoy);
    ensure!(lines.is_empty(), "{lines:#?}");
    for line in envoy.access_log() {
        ensure!(line.details.as_deref() != Some(UNAVAILABLE), "{line:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_was_stopped_is_no_host_without_ticks() -> Result<()> {
    let scene = warm_scene(drill::settings(drill::configuration())?).await?;
    let tokens: Result<Vec<String>> = (0..16).map(|_| drill::token_of("reader")).collect();
    let requests: Vec<RawRequest> = tokens?.iter().map(|token| read(token, "acme")).collect();
    scene.envoy.pause()?;
    // These are there when it goes on, before any tick.
    let target = scene.envoy.target();
    let waiting = requests.iter().enumerate().map(|(number, request)| {
        let protocol = [Protocol::H1, Protocol::H2][number % 2];
        request.send(&target, protocol)
    });
    let stopped = async {
        sleep(Duration::from_secs(8)).await;
        scene.envoy.go_on()
    };
    let (answers, stopped) = tokio::join!(try_join_all(waiting), stopped);
    stopped?;
    all_are_200("waiting", &answers?)?;
    for _ in 0..10 {
        let reply = send(&scene.envoy, &first_seen()?).await?;
        all_are_200("after", &[reply])?;
        sleep(Duration::from_millis(100)).await;
    }
    check_quiet(&scene.envoy)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wall_clock_that_steps_is_a_clock() -> Result<()> {
    let clock = Clock::new()?;
    let scene = warm_scene(clock.of(drill::settings(drill::configuration())?)).await?;
    let recipe = Recipe::of("reader")
        .claim("iat", token::now() - 7200)
        .exp_in(7200.0);
    for seconds in [600, 0, -600, 0] {
        clock.set_wall(seconds)?;
        for _ in 0..8 {
            let reply = send(&scene.envoy, &read(&fresh(recipe.clone())?, "acme")).await?;
            all_are_200(&format!("{seconds} s off"), &[reply])?;
            sleep(Duration::from_millis(80)).await;
        }
    }
    check_quiet(&scene.envoy)
}

// ---- trailers

/// A request, the pieces of its body, and the backend's cluster.
struct Trailing {
    id: String,
    request: RawRequest,
    body: Vec<u8>,
    cluster: &'static str,
}

impl Trailing {
    /// gRPC of both kinds, and plain HTTP, as that round of a test.
    fn of_each_kind(round: &str) -> Result<Vec<Trailing>> {
        let reader = drill::token_of("reader")?;
        let agent = drill::token_of("agent")?;
        let kinds = [
            ("search", grpc::SEARCH, &reader, "tempo_grpc"),
            ("traces", grpc::EXPORT_TRACES, &agent, "tempo_otlp_grpc"),
            ("logs", grpc::EXPORT_LOGS, &agent, "loki_grpc"),
            ("push", "/loki/api/v1/push", &agent, "loki"),
            ("write", "/prometheus/api/v1/push", &agent, "mimir"),
        ];
        let all = kinds.map(|(kind, path, token, cluster)| {
            let id = format!("{round}-{kind}");
            let grpc = path.contains('.');
            let request = RawRequest::post(path, "")
                .bearer(token)
                .tenant("acme")
                .header("x-test-id", id.as_str())
                .header("te", "trailers");
            let (content_type, body) = if grpc {
                ("application/grpc", grpc::framed(b"").to_vec())
            } else {
                ("application/x-protobuf", b"a push".to_vec())
            };
            Trailing {
                id,
                request: request.header("content-type", content_type),
                body,
                cluster,
            }
        });
        Ok(all.into())
    }

    /// Send the body, then `x: y` behind it.
    async fn send(&self, envoy: &Envoy, protocol: Protocol) -> Result<Reply> {
        let target = envoy.target();
        match protocol {
            Protocol::H1 => {
                let request = chunked(self.request.clone());
                let pieces = [
                    at_once(chunk(&self.body)),
                    (BETWEEN, b"0\r\nx: y\r\n\r\n".to_vec()),
                ];
                h1::exchange_pieces(&target, &request, &pieces).await
            }
            Protocol::H2 => {
                let pieces = [
                    Piece::Data(self.body.clone(), false),
                    Piece::Pause(BETWEEN),
                    Piece::Trailers(vec![(b"x".to_vec(), b"y".to_vec())]),
                ];
                h2::exchange_pieces(&target, &self.request, &pieces).await
            }
        }
    }

    /// It came whole and without trailers.
    async fn check(&self, scene: &Scene, reply: &Reply) -> Result<()> {
        let id = &self.id;
        ensure!(
            reply.status == 200,
            "{id}: {} {}",
            reply.status,
            reply.text()
        );
        let grpc = self.cluster.ends_with("_grpc");
        ensure!(!grpc || reply.grpc_status() == Some(0), "{id}: {reply:?}");
        let seen = scene.log.wait_for(id, Duration::from_secs(5)).await?;
        ensure!(seen.backend == self.cluster, "{id}: {}", seen.backend);
        ensure!(seen.body == self.body, "{id}: {:?}", seen.body);
        ensure!(
            seen.trailers.is_empty(),
            "{id}: the trailers {:?} came to {}",
            seen.trailers,
            seen.backend
        );
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn trailers_of_a_request_reached_the_backend() -> Result<()> {
    let issuer = Issuer::corporate().await?;
    issuer.set_answer(AnswerMode::Held(Box::new(AnswerMode::Good)));
    let mut configuration = drill::configuration();
    configuration["providers"][0]["jwks"]["timeout"] = json!("20s");
    configuration["limits"] = json!({"wait": "20s"});
    let settings = drill::settings(configuration)?.with_trailers();
    let scene = Scene::start_with(settings, issuer).await?;
    // The first ones wait for keys, with their trailers behind them; the others find them.
    for round in ["waited", "again"] {
        let mut requests = Vec::new();
        for protocol in [Protocol::H1, Protocol::H2] {
            for trailing in Trailing::of_each_kind(&format!("{round}-{protocol:?}"))? {
                requests.push((trailing, protocol));
            }
        }
        let sent = requests
            .iter()
            .map(|(trailing, protocol)| trailing.send(&scene.envoy, *protocol));
        let keys = async {
            if round == "waited" {
                let all = requests.len() as f64;
                let gauge = "scopegate_waiting_requests";
                let within = Duration::from_secs(10);
                drill::wait_for_metric(&scene.envoy, gauge, &[], within, |count| count == all)
                    .await?;
                scene.corporate.release();
            }
            anyhow::Ok(())
        };
        let (replies, keys) = tokio::join!(try_join_all(sent), keys);
        keys?;
        for ((trailing, _), reply) in requests.iter().zip(replies?) {
            trailing.check(&scene, &reply).await?;
        }
    }
    drill::check_health(&scene.envoy).await
}

#[tokio::test(flavor = "multi_thread")]
async fn trailers_reached_the_backend_where_refusals_are_only_recorded() -> Result<()> {
    let mut configuration = drill::configuration();
    configuration["mode"] = json!("report");
    let scene = warm_scene(drill::settings(configuration)?.with_trailers()).await?;
    for protocol in [Protocol::H1, Protocol::H2] {
        let round = format!("{protocol:?}");
        let good = Trailing::of_each_kind(&format!("good-{round}"))?;
        // In this mode those without a good token are passed on as well.
        let mut bad = Trailing::of_each_kind(&format!("bad-{round}"))?;
        for trailing in &mut bad {
            let headers = &mut trailing.request.headers;
            headers.retain(|(name, _)| name != b"authorization");
        }
        for trailing in good.iter().chain(&bad) {
            let reply = trailing.send(&scene.envoy, protocol).await?;
            trailing.check(&scene, &reply).await?;
        }
    }
    drill::check_health(&scene.envoy).await
}

/// A form that is read to its end is refused for what stands behind it, or goes on without.
#[tokio::test(flavor = "multi_thread")]
async fn trailers_behind_a_scoped_form_reach_no_backend() -> Result<()> {
    let settings = drill::settings(scenario::config("scopes")?)?.with_trailers();
    let scene = warm_scene(settings).await?;
    for protocol in [Protocol::H1, Protocol::H2] {
        for path in ["/loki/api/v1/query", "/prometheus/api/v1/query"] {
            let id = format!("{protocol:?}{path}");
            let token = fresh(Recipe::of("reader").claim("groups", json!(["web"])))?;
            let query = if path.starts_with("/loki") {
                "%7Ba%3D%22b%22%7D"
            } else {
                "up"
            };
            let trailing = Trailing {
                request: RawRequest::post(path, "")
                    .bearer(&token)
                    .tenant("acme")
                    .header("x-test-id", id.as_str())
                    .header("content-type", "application/x-www-form-urlencoded"),
                body: format!("query={query}").into_bytes(),
                cluster: "",
                id,
            };
            let reply = trailing.send(&scene.envoy, protocol).await?;
            ensure!(matches!(reply.status, 200 | 400), "{reply:?}");
            for seen in scene.log.seen(&trailing.id) {
                ensure!(seen.trailers.is_empty(), "{seen:?}");
                let body = String::from_utf8_lossy(&seen.body);
                let scoped = seen.complete && body.contains("namespace");
                ensure!(
                    if reply.status == 200 {
                        scoped
                    } else {
                        body.is_empty()
                    },
                    "{}: {seen:?}",
                    reply.status
                );
            }
        }
    }
    drill::check_health(&scene.envoy).await
}

// ---- a key that is too new for what is held

#[tokio::test(flavor = "multi_thread")]
async fn a_key_published_in_the_cool_down_was_refused_for_good() -> Result<()> {
    let clock = Clock::new()?;
    let settings = clock.of(drill::settings(drill::configuration())?.concurrency(1));
    let scene = warm_scene(settings).await?;
    let corporate = &scene.corporate;
    let stranger = read(&fresh(Recipe::of("reader").kid("stranger"))?, "acme");
    let (status, details) = verdict(&scene.envoy, stranger, "stranger").await?;
    ensure!(
        (status, details.as_str()) == (401, UNKNOWN),
        "{status} {details}"
    );
    let fetches = corporate.fetches().jwks;
    ensure!(fetches == 2, "{fetches} fetches");

    corporate.add_key(PublishedKey::named("rsa-b").with_kid("new"));
    let old = |kid: &str| {
        let issued = token::now() - 300;
        fresh(
            Recipe::of("reader")
                .key("rsa-b")
                .kid(kid)
                .claim("iat", issued),
        )
    };
    let (new, nowhere) = (old("new")?, old("nowhere")?);
    for attempt in 0..3 {
        for (kind, token) in [("new", &new), ("nowhere", &nowhere)] {
            let id = format!("{kind}-{attempt}");
            let (status, details) = verdict(&scene.envoy, read(token, "acme"), &id).await?;
            ensure!(
                (status, details.as_str()) == (503, PENDING),
                "{id}: {status} {details}"
            );
        }
    }
    let early = corporate.fetches().jwks;
    ensure!(early == fetches, "{} fetches in the cool-down", early - 1);

    // The half minute goes by, and nobody asks for anything.
    clock.pass(30)?;
    let within = Duration::from_secs(5);
    let booked = corporate.wait_for_fetches(fetches + 1, within).await;
    booked.context("nobody asked for the key once that was allowed again")?;
    sleep(SETTLED).await;
    let (status, details) = verdict(&scene.envoy, read(&new, "acme"), "new-late").await?;
    ensure!(status == 200, "{status} {details}");
    let (status, details) = verdict(&scene.envoy, read(&nowhere, "acme"), "nowhere-late").await?;
    ensure!(
        (status, details.as_str()) == (401, UNKNOWN),
        "{status} {details}"
    );
    let late = corporate.fetches().jwks;
    ensure!(
        late == fetches + 1,
        "{} fetches too many",
        late - fetches - 1
    );
    drill::check_health(&scene.envoy).await
}

// ---- readers that do not read

/// Their unread answers filled the window of the connection that all tenants share.
#[tokio::test(flavor = "multi_thread")]
async fn two_slow_readers_kept_all_other_tenants_from_their_answers() -> Result<()> {
    let corporate = Issuer::corporate().await?;
    let backend = Firehose::start("acme").await?;
    // With one worker there is one connection.
    let settings = drill::settings(drill::configuration())?.concurrency(1);
    let settings = settings
        .cluster("idp", corporate.address())
        .cluster("tempo_grpc", backend.address());
    let envoy = Envoy::start(settings).await?;
    let gauge = "scopegate_jwks_keys";
    let within = Duration::from_secs(10);
    drill::wait_for_metric(&envoy, gauge, &[], within, |keys| keys > 0.0).await?;
    sleep(SETTLED).await;

    let bearer = |persona| anyhow::Ok(format!("Bearer {}", drill::token_of(persona)?));
    let _slow = SlowReaders::open(envoy.address(), &bearer("reader")?, "acme", 2).await?;
    // By then all is held that will be.
    sleep(Duration::from_secs(1)).await;
    let other = bearer("globex-reader")?;
    let metadata = [
        ("authorization", other.as_str()),
        ("x-scope-orgid", "globex"),
    ];
    let client = GrpcClient::connect(envoy.address()).await?;
    let search = client.server_streaming(grpc::SEARCH, &metadata, SearchRequest::default());
    let answer: Vec<SearchResponse> = tokio::time::timeout(Duration::from_secs(5), search)
        .await
        .context("another tenant got no answer beside two slow readers")??;
    ensure!(answer.len() == 1, "{answer:?}");
    ensure!(backend.connections() == 1, "not on one connection");
    drill::check_health_without_reads(&envoy).await
}

// ---- the first fetch fails

#[tokio::test(flavor = "multi_thread")]
async fn a_first_fetch_that_failed_sent_away_those_who_could_have_waited() -> Result<()> {
    let issuer = Issuer::corporate().await?;
    let bad = AnswerMode::Held(Box::new(AnswerMode::Status(500)));
    issuer.answer_first([bad]);
    let mut configuration = sharing(true);
    configuration["providers"][0]["jwks"]["timeout"] = json!("20s");
    let scene = Scene::start_with(drill::settings(configuration)?, issuer).await?;
    let tokens: Result<Vec<String>> = (0..16).map(|_| drill::token_of("reader")).collect();
    let requests: Vec<RawRequest> = tokens?.iter().map(|token| read(token, "acme")).collect();
    let waiting = requests.iter().map(|request| send(&scene.envoy, request));
    let fail = async {
        let gauge = "scopegate_waiting_requests";
        let within = Duration::from_secs(2);
        drill::wait_for_metric(&scene.envoy, gauge, &[], within, |count| count == 16.0).await?;
        scene.corporate.release();
        anyhow::Ok(())
    };
    let (replies, failed) = tokio::join!(try_join_all(waiting), fail);
    failed?;
    let mut statuses: BTreeMap<u16, usize> = BTreeMap::new();
    for reply in replies? {
        *statuses.entry(reply.status).or_default() += 1;
    }
    ensure!(
        statuses.keys().eq([&200]),
        "the answers of 16 requests that wait for the retry: {statuses:?}"
    );
    let fetches = scene.corporate.fetches().jwks;
    ensure!(fetches == 2, "{fetches} fetches");
    drill::check_health(&scene.envoy).await
}

// ---- what a provider says

/// A key ID, an issuer and an address of 100,001 bytes; a cut after 64 bytes would go through a character.
#[tokio::test(flavor = "multi_thread")]
async fn a_text_of_the_provider_was_logged_in_full() -> Result<()> {
    let text = format!("{}é{}", "a".repeat(63), "b".repeat(100_001 - 65));
    let address = format!("https://{}.example.com/keys", "c".repeat(100_001));
    // What stands in a discovery document, and what is said of it.
    let failed = "keys cannot be fetched";
    let cases = [
        ("kid", None, "key \"aaa"),
        ("issuer", Some(("issuer", text.as_str())), failed),
        ("host", Some(("jwks_uri", address.as_str())), failed),
    ];
    let mut configuration = drill::configuration();
    let mut providers = Vec::new();
    let mut issuers = Vec::new();
    for (name, member, _) in cases {
        let issuer = Issuer::start(IssuerSettings {
            issuer: Some(format!("https://{name}.example.com")),
            ..IssuerSettings::corporate()
        })
        .await?;
        let mut provider = drill::provider(name, &issuer.issuer(), name);
        provider["shared_groups"] = json!(true);
        if let Some((member, value)) = member {
            provider["jwks"] = json!({"discovery": true, "cluster": name});
            let members = [(member.to_owned(), json!(value))];
            issuer.set_discovery_members(members.into_iter().collect());
        } else {
            // Of an algorithm that is not allowed here, so that it is skipped by name.
            let key = PublishedKey::named("rsa-b").with_alg("PS256");
            issuer.add_key(key.with_kid(&text));
        }
        providers.push(provider);
        issuers.push((name, issuer));
    }
    configuration["providers"] = json!(providers);
    let mut settings = drill::settings(configuration)?;
    for (name, issuer) in &issuers {
        settings = settings.cluster(name, issuer.address());
    }
    let envoy = Envoy::start(settings).await?;
    let deadline = Instant::now() + Duration::from_secs(10);
    for (name, _, said) in cases {
        let said = format!("provider {name}: {said}");
        while !envoy.log_contains(&said) {
            ensure!(Instant::now() < deadline, "nothing is said of {name}");
            sleep(Duration::from_millis(50)).await;
        }
    }
    let lines = envoy.own_lines();
    // Behind what Envoy writes before them.
    let said = |line: &String| {
        let text = line.split_once("wasm log").or(line.split_once("] [:] "));
        Some(text?.1.to_owned())
    };
    let ours: Vec<String> = lines.iter().filter_map(said).collect();
    all_are_good(ours.iter().map(|line| {
        let start = line.get(..60).unwrap_or(line);
        (start, check_length(line))
    }))
}

fn check_length(line: &str) -> Result<()> {
    ensure!(line.len() <= LONGEST_LINE, "{} bytes", line.len());
    ensure!(!line.contains('\u{fffd}'), "cut in a character");
    Ok(())
}

const UNAVAILABLE: &str = "scopegate{gate_unavailable}";
const PENDING: &str = "scopegate{key_pending}";
const UNKNOWN: &str = "scopegate{unknown_key}";
/// A fetch of one worker is everywhere by then: a tick or two.
const SETTLED: Duration = Duration::from_millis(1_300);
/// A body is on its way before its trailers are.
const BETWEEN: Duration = Duration::from_millis(20);
/// The seven seconds after which a gate that is not ticked refuses all, and what a busy machine takes.
const TICKLESS: Duration = Duration::from_secs(8);
/// A KiB, and the names of plugin and root that Envoy writes before it.
const LONGEST_LINE: usize = 1_060;
