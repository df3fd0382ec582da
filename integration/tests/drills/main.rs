//! Drills: a steady load of valid requests through a real Envoy while something happens to the provider, or while
//! another tenant does its worst.
//!
//! Each drill counts the outcomes of the requests and what the provider was asked, how long a request waited at most
//! and how many waited at once, and fails if it misses its target. `make drills` prints the table.

#![expect(
    clippy::cast_precision_loss,
    reason = "what is counted here, also in seconds, is far below 2^53"
)]

mod neighbours;
mod report;
mod scene;
mod slow_readers;
mod victim;

use std::process::ExitCode;
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Result, ensure};
use integration::client::{Protocol, RawRequest};
use integration::clock::Clock;
use integration::drill::{self, fresh, read, send};
use integration::envoy::{self, EnvoySettings, Update};
use integration::issuer::{AnswerMode, Issuer, PublishedKey};
use integration::part::{self, Part};
use integration::token::Recipe;
use libtest_mimic::{Arguments, Completion, Trial};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use report::Row;
use scene::{LoadedScene, Tokens};

/// The rows of all drills, in the order in which they ended.
static ROWS: Mutex<Vec<Row>> = Mutex::new(Vec::new());

fn main() -> ExitCode {
    let mut trials = vec![
        trial("one fetch for 1 worker", || workers(1)),
        trial("one fetch for 2 workers", || workers(2)),
        trial("one fetch for 8 workers", || workers(8)),
        trial_in_wasm(&[], "not shared, 2 workers", unshared),
        trial("a refresh, 8 workers", refresh),
        trial("a key used the moment it appears", new_key),
        trial("a key withdrawn", withdrawn_key),
        trial("a key withdrawn before failures", withdrawn_before_failures),
        trial("a key published in the cool-down", key_in_the_cool_down),
        trial("two sets in turn", flapping),
        trial("down from the start", down_from_the_start),
        trial("the first fetch fails", first_fetch_fails),
        trial("down for longer than max_stale", too_stale),
        trial("invented key IDs", invented_kids),
        trial("a reload each second", reloads),
        trial("reloads without a provider, not shared", || {
            reloads_without_provider(false)
        }),
        trial("reloads without a provider, shared", || {
            reloads_without_provider(true)
        }),
        trial("by discovery", discovery),
        trial("a discovery document of another issuer", wrong_discovery),
    ];
    for (name, answer) in bad_answers() {
        trials.push(trial(name, move || bad_answer(name, answer.clone())));
    }
    // They measure how long requests take, or use up memory, or build something.
    let alone = vec![
        trial_in_wasm(&[part::CRASH], "a worker's VM dies", dead_vm),
        trial_needing(&[part::CLOCK], "the clock steps", clock_steps),
        trial("slow readers", slow_readers::as_shipped),
        trial("more slow readers than memory", slow_readers::beyond_memory),
        trial("a neighbour at its worst", neighbours::at_their_worst),
    ];
    let failed = [(2, trials), (1, alone)].map(|(threads, trials)| {
        let mut arguments = Arguments::from_args();
        // The others wait for most of their time.
        arguments.test_threads = Some(threads);
        libtest_mimic::run(&arguments, trials).has_failed()
    });
    report::print(
        &ROWS
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner),
    );
    if failed.contains(&true) {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

fn trial<F, D>(name: &'static str, drill: D) -> Trial
where
    F: Future<Output = Result<Row>>,
    D: Fn() -> F + Send + 'static,
{
    trial_needing(&[], name, drill)
}

/// A drill of what the native module has not: a virtual machine and keys for each worker.
fn trial_in_wasm<F, D>(needs: &'static [Part], name: &'static str, drill: D) -> Trial
where
    F: Future<Output = Result<Row>>,
    D: Fn() -> F + Send + 'static,
{
    if envoy::native().is_none() {
        return trial_needing(needs, name, drill);
    }
    Trial::ignorable_test(name, || {
        Ok(Completion::ignored_with(
            "the native module has one set of keys, and no virtual machines",
        ))
    })
}

fn trial_needing<F, D>(needs: &'static [Part], name: &'static str, drill: D) -> Trial
where
    F: Future<Output = Result<Row>>,
    D: Fn() -> F + Send + 'static,
{
    integration::trial::needing(name, needs, move || {
        let runtime = tokio::runtime::Runtime::new()?;
        let run = || runtime.block_on(drill());
        let mut row = run()?;
        // Too few requests may be the machine's doing, and so may late ones: then it is the drill that failed.
        for _ in 0..2 {
            if row.is_too_slow() || row.is_too_long() {
                row = run()?;
            }
        }
        let verdict = row.verdict();
        ROWS.lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .push(Row { drill: name, ..row });
        verdict.map_err(anyhow::Error::msg)
    })
}

fn bad_answers() -> [(&'static str, AnswerMode); 10] {
    [
        ("answers 500", AnswerMode::Status(500)),
        ("hangs", AnswerMode::Hang),
        ("resets", AnswerMode::Reset),
        ("answers HTML", AnswerMode::Html),
        ("answers an empty set", AnswerMode::EmptySet),
        ("answers 5 MiB", AnswerMode::Huge),
        ("answers 10,000 keys", AnswerMode::ManyKeys(10_000)),
        ("redirects", AnswerMode::Redirect),
        ("answers 429", AnswerMode::TooManyRequests),
        ("breaks off", AnswerMode::Cut),
    ]
}

/// However many workers there are, they fetch once.
async fn workers(count: u32) -> Result<Row> {
    let scene = LoadedScene::start(drill::configuration(), count, |settings| settings).await?;
    sleep(Duration::from_secs(3)).await;
    let row = scene.end().await?;
    Ok(Row {
        most_fetches: 1,
        ..row
    })
}

/// After 80 % of the interval, one worker fetches again for all of them. Only then is it noticed that an old ID has
/// another key: forged signatures trigger no fetch, so neither do these.
async fn refresh() -> Result<Row> {
    let scene = LoadedScene::start(every_minute(), 8, |settings| settings).await?;
    let began = Instant::now();
    let old = fresh(Recipe::of("reader").key("p256-a"))?;
    let reply = send(&scene.envoy, &read(&old, "acme")).await?;
    ensure!(reply.status == 200, "{}", reply.text());
    scene.corporate.replace_key("p256-a", "p256-b");
    scene
        .corporate
        .wait_for_fetches(2, Duration::from_secs(60))
        .await?;
    let asked = began.elapsed();
    sleep(Duration::from_secs(1)).await;
    let new = fresh(Recipe::of("reader").key("p256-b").kid("p256-a"))?;
    for _ in 0..32 {
        let reply = send(&scene.envoy, &read(&new, "acme")).await?;
        ensure!(
            reply.status == 200,
            "the new key a second later: {}",
            reply.text()
        );
        let reply = send(&scene.envoy, &read(&old, "acme")).await?;
        ensure!(
            reply.status == 401,
            "the old key a second later: {}",
            reply.status
        );
    }
    let row = scene.end().await?;
    let note = format!(
        "again after {:.0} s, with another key under an old ID",
        asked.as_secs_f32()
    );
    Ok(Row {
        most_fetches: 2,
        note,
        ..row
    })
}

/// Without sharing, each thread fetches for itself: the workers, and Envoy's main thread.
async fn unshared() -> Result<Row> {
    let mut configuration = drill::configuration();
    configuration["providers"][0]["jwks"]["share"] = json!(false);
    let scene = LoadedScene::start(configuration, 2, |settings| settings).await?;
    sleep(Duration::from_secs(3)).await;
    let row = scene.end().await?;
    ensure!(row.fetches == 3, "{} fetches", row.fetches);
    Ok(row)
}

/// As in Dex and Keycloak, the key signs from the moment at which it is published.
async fn new_key() -> Result<Row> {
    let scene = LoadedScene::start(drill::configuration(), 2, |settings| settings).await?;
    sleep(Duration::from_secs(1)).await;
    scene
        .corporate
        .add_key(PublishedKey::named("rsa-b").with_kid("fresh"));
    scene.tokens.replace(Tokens::signed_by("rsa-b", "fresh")?);
    sleep(Duration::from_secs(3)).await;
    let row = scene.end().await?;
    Ok(Row {
        most_fetches: 2,
        ..row
    })
}

/// Within a second of the new set, every worker refuses tokens of a key that has left it.
async fn withdrawn_key() -> Result<Row> {
    let scene = LoadedScene::start(drill::configuration(), 2, |settings| settings).await?;
    let leaving = fresh(
        Recipe::of("reader")
            .key("p256-a")
            .claim("iat", json!(integration::token::now() - 600)),
    )?;
    for _ in 0..16 {
        let reply = send(&scene.envoy, &read(&leaving, "acme")).await?;
        ensure!(reply.status == 200, "{}", reply.text());
    }
    scene.corporate.remove_key("p256-a");
    let fetches = scene.corporate.fetches().jwks;
    send(
        &scene.envoy,
        &read(&fresh(Recipe::of("reader").kid("unknown"))?, "acme"),
    )
    .await?;
    scene
        .corporate
        .wait_for_fetches(fetches + 1, Duration::from_secs(2))
        .await?;
    sleep(Duration::from_secs(1)).await;
    for number in 0..32 {
        let protocol = if number % 2 == 0 {
            Protocol::H1
        } else {
            Protocol::H2
        };
        let reply = read(&leaving, "acme")
            .send(&scene.envoy.target(), protocol)
            .await?;
        ensure!(
            reply.status == 401,
            "request {number} a second later: {}",
            reply.status
        );
    }
    let row = scene.end().await?;
    Ok(Row {
        most_fetches: 2,
        ..row
    })
}

/// A refresh withdraws a key, and a fetch right after it fails. No worker may see only the latter.
async fn withdrawn_before_failures() -> Result<Row> {
    let scene = LoadedScene::start(every_minute(), 8, |settings| settings).await?;
    let corporate = &scene.corporate;
    let refresh = async |fetches| {
        corporate
            .wait_for_fetches(fetches, Duration::from_secs(60))
            .await
    };
    drill::withdraw_before_a_failure(&scene, refresh).await?;
    scene.end().await
}

/// A stranger's key ID has just triggered a fetch when a key is published and used at once, by tokens that are a few
/// minutes old. Nobody is refused permanently, and all are let in after half a minute.
async fn key_in_the_cool_down() -> Result<Row> {
    let scene = LoadedScene::start(drill::configuration(), 2, |settings| settings).await?;
    let corporate = &scene.corporate;
    let stranger = fresh(Recipe::of("reader").kid("stranger"))?;
    send(&scene.envoy, &read(&stranger, "acme")).await?;
    corporate
        .wait_for_fetches(2, Duration::from_secs(5))
        .await?;
    corporate.add_key(PublishedKey::named("rsa-b").with_kid("new"));
    let recipe = Recipe::of("reader").key("rsa-b").kid("new");
    let issued = integration::token::now() - 300;
    scene
        .tokens
        .replace(Tokens::by_recipe(&recipe.claim("iat", issued))?);
    sleep(Duration::from_secs(1)).await;
    let recovered = scene.recovered(Duration::from_secs(35)).await?;
    sleep(Duration::from_secs(1)).await;
    let row = scene.end().await?;
    Ok(Row {
        may_fail: true,
        most_fetches: 3,
        note: format!("let in after {:.1} s", recovered.as_secs_f32() + 1.0),
        ..row
    })
}

/// The provider's servers do not agree about a new key, but the old one is in every answer.
async fn flapping() -> Result<Row> {
    let scene = LoadedScene::start(drill::configuration(), 2, |settings| settings).await?;
    for turn in 0..12 {
        let corporate = &scene.corporate;
        if turn % 2 == 0 {
            corporate.add_key(PublishedKey::named("rsa-b").with_kid("sometimes"));
        } else {
            corporate.remove_key("sometimes");
        }
        let token = fresh(Recipe::of("reader").key("rsa-b").kid("sometimes"))?;
        send(&scene.envoy, &read(&token, "acme")).await?;
        sleep(Duration::from_millis(300)).await;
    }
    let row = scene.end().await?;
    Ok(Row {
        most_fetches: 2,
        ..row
    })
}

/// Nobody is refused permanently, and all are let in soon after the provider is there.
async fn down_from_the_start() -> Result<Row> {
    let scene = LoadedScene::start_without_keys(drill::configuration()).await?;
    sleep(Duration::from_secs(4)).await;
    scene.corporate.up().await?;
    let back = Instant::now();
    let recovered = scene.recovered(Duration::from_secs(15)).await?;
    sleep(Duration::from_secs(2)).await;
    let row = scene.end().await?;
    ensure!(
        recovered < Duration::from_secs(12),
        "{recovered:?} after {back:?}"
    );
    Ok(Row {
        may_fail: true,
        note: format!("let in {:.1} s after its return", recovered.as_secs_f32()),
        ..row
    })
}

/// The provider's first answer is bad and its second one good. Whoever may wait longer than that is let in.
async fn first_fetch_fails() -> Result<Row> {
    let issuer = Issuer::corporate().await?;
    issuer.answer_first([AnswerMode::Held(Box::new(AnswerMode::Status(500)))]);
    let scene = LoadedScene::start_cold(drill::configuration(), issuer).await?;
    sleep(Duration::from_millis(500)).await;
    scene.corporate.release();
    // The load makes up for what was due while it waited.
    sleep(Duration::from_secs(8)).await;
    let row = scene.end().await?;
    Ok(Row {
        most_fetches: 2,
        ..row
    })
}

/// Keys are used until `max_stale`. After that nobody is let in, and nobody is refused permanently.
async fn too_stale() -> Result<Row> {
    let mut configuration = every_minute();
    configuration["providers"][0]["jwks"]["max_stale"] = json!("1m");
    let scene = LoadedScene::start(configuration, 2, |settings| settings).await?;
    scene.corporate.down().await;
    sleep(Duration::from_secs(50)).await;
    let before = scene.load.outcome();
    ensure!(
        before.failed() == 0,
        "{:?} while the keys were fresh enough",
        before.statuses
    );
    sleep(Duration::from_secs(14)).await;
    let after = scene.load.outcome();
    ensure!(
        after.count(503) > 0,
        "{:?} when they were too old",
        after.statuses
    );
    scene.corporate.up().await?;
    let recovered = scene.recovered(Duration::from_secs(75)).await?;
    let row = scene.end().await?;
    Ok(Row {
        may_fail: true,
        note: format!("let in {:.1} s after its return", recovered.as_secs_f32()),
        ..row
    })
}

/// Strangers cannot make the gate fetch more than once in 30 s, nor delay known callers.
async fn invented_kids() -> Result<Row> {
    let scene = LoadedScene::start(drill::configuration(), 2, |settings| settings).await?;
    let deadline = Instant::now() + Duration::from_secs(6);
    let mut number = 0;
    while Instant::now() < deadline {
        number += 1;
        let token = fresh(Recipe::of("reader").kid(&format!("invented-{number}")))?;
        let reply = send(&scene.envoy, &read(&token, "acme")).await?;
        ensure!(matches!(reply.status, 401 | 503), "{}", reply.status);
    }
    let row = scene.end().await?;
    Ok(Row {
        most_fetches: 2,
        note: format!("{number} invented"),
        ..row
    })
}

/// A new configuration is loaded each second. Keys, and what is known about tokens, are kept.
async fn reloads() -> Result<Row> {
    let scene = LoadedScene::start(drill::configuration(), 2, EnvoySettings::dynamic).await?;
    // Each worker gets to know each token first.
    sleep(Duration::from_secs(1)).await;
    for number in 0..8 {
        let mut configuration = drill::configuration();
        configuration["organizations"][1]["display_name"] = json!(format!("Globex {number}"));
        let update = scene.envoy.replace_configuration(&configuration).await?;
        ensure!(update == Update::Accepted, "{update:?}");
        sleep(Duration::from_secs(1)).await;
    }
    // Each worker has verified each token of the load once, and one or two to get warm.
    let verified = scene.envoy.metric("scopegate_verify_total", &[]).await?;
    let once = (2 * (scene::KINDS + 8)) as f64;
    ensure!(
        verified <= once,
        "{verified} signatures were checked, more than {once}"
    );
    let row = scene.end().await?;
    Ok(Row {
        most_fetches: 1,
        ..row
    })
}

/// A new configuration is loaded each second while the provider answers with errors only. The held keys remain in
/// use, and no change causes a fetch.
async fn reloads_without_provider(share: bool) -> Result<Row> {
    let mut configuration = drill::configuration();
    let jwks = &mut configuration["providers"][0]["jwks"];
    jwks["share"] = json!(share);
    jwks["refresh_interval"] = json!("1h");
    let scene = LoadedScene::start(configuration.clone(), 2, EnvoySettings::dynamic).await?;
    // Each worker gets its keys first.
    sleep(Duration::from_secs(1)).await;
    let fetches = scene.corporate.fetches().jwks;
    scene.corporate.set_answer(AnswerMode::Status(500));
    for change in ["realm", "tenant", "refresh_interval", "max_stale"] {
        let jwks = &mut configuration["providers"][0]["jwks"];
        match change {
            "realm" => configuration["realm"] = json!("another"),
            "tenant" => configuration["organizations"][1]["tenants"] = json!(["globex", "initech"]),
            "refresh_interval" => jwks["refresh_interval"] = json!("1m"),
            _ => jwks["max_stale"] = json!("12h"),
        }
        let update = scene.envoy.replace_configuration(&configuration).await?;
        ensure!(update == Update::Accepted, "{change}: {update:?}");
        sleep(Duration::from_secs(1)).await;
        let failed = scene.load.outcome().failed();
        ensure!(failed == 0, "{change}: {failed} requests failed");
    }
    let row = scene.end().await?;
    Ok(Row {
        most_fetches: fetches,
        ..row
    })
}

/// The VM of the only worker dies. It comes back with the keys that the process has, and lets nobody in before.
async fn dead_vm() -> Result<Row> {
    let module = part::CRASH.find()?;
    let scene =
        LoadedScene::start(drill::configuration(), 1, |settings| settings.wasm(module)).await?;
    sleep(Duration::from_secs(1)).await;
    let before = scene.load.outcome();
    ensure!(before.failed() == 0, "{:?} before", before.statuses);
    let expired = fresh(Recipe::of("reader").exp_in(-3600.0))?;
    let token = drill::token_of("agent")?;
    let push = RawRequest::post("/loki/api/v1/push", "{}")
        .bearer(&token)
        .tenant("acme")
        .header("x-crash", "1");
    // It dies of the answer's body: whether the head of the answer comes is chance.
    let _ = send(&scene.envoy, &push).await;
    // The host makes a new VM at the next request, at once or after a back-off.
    let until = Instant::now() + Duration::from_secs(4);
    let mut seen = std::collections::BTreeSet::new();
    while Instant::now() < until {
        if let Ok(reply) = send(&scene.envoy, &read(&expired, "acme")).await {
            seen.insert(reply.status);
        }
    }
    ensure!(
        seen.is_subset(&[401, 503].into()),
        "an expired token was answered {seen:?}"
    );
    // By this name it is watched: envoy/monitoring/rules.yaml.
    let reloads = "envoy_wasm_vm_reload_success";
    let reloads = scene.envoy.metric(reloads, &[]).await?;
    ensure!(reloads > 0.0, "no VM was made anew");
    let recovered = scene.recovered(Duration::from_secs(15)).await?;
    let row = scene.end().await?;
    ensure!(recovered < Duration::from_secs(2), "{recovered:?}");
    Ok(Row {
        may_fail: true,
        most_fetches: 1,
        ..row
    })
}

/// The wall clock jumps ahead by ten minutes, and back. Schedules use the other clock.
async fn clock_steps() -> Result<Row> {
    let clock = Clock::new()?;
    let scene =
        LoadedScene::start(drill::configuration(), 2, |settings| clock.of(settings)).await?;
    let short = fresh(Recipe::of("reader").exp_in(300.0))?;
    for (seconds, status) in [(600, 401), (0, 200), (600, 401), (0, 200)] {
        clock.set_wall(seconds)?;
        sleep(Duration::from_secs(2)).await;
        // A token of five minutes tells whether the clock did step.
        let reply = send(&scene.envoy, &read(&short, "acme")).await?;
        ensure!(
            reply.status == status,
            "{seconds} s off: {} {}",
            reply.status,
            reply.text()
        );
    }
    let row = scene.end().await?;
    Ok(Row {
        most_fetches: 1,
        ..row
    })
}

async fn discovery() -> Result<Row> {
    let scene = LoadedScene::start(by_discovery(), 2, |settings| settings).await?;
    sleep(Duration::from_secs(3)).await;
    let found = scene.corporate.fetches().discovery;
    ensure!(found == 1, "{found} fetches of the discovery document");
    let row = scene.end().await?;
    Ok(Row {
        most_fetches: 1,
        ..row
    })
}

/// Its keys are not used, whatever it says, until it names the configured issuer.
async fn wrong_discovery() -> Result<Row> {
    let scene = LoadedScene::start_with_discovery_of(
        "https://login.example.com/realms/other",
        by_discovery(),
    )
    .await?;
    sleep(Duration::from_secs(3)).await;
    let outcome = scene.load.outcome();
    ensure!(outcome.count(200) == 0, "{:?}", outcome.statuses);
    ensure!(
        scene.corporate.fetches().jwks == 0,
        "its keys were asked for"
    );
    scene
        .corporate
        .set_discovery_members(serde_json::Map::new());
    let recovered = scene.recovered(Duration::from_secs(15)).await?;
    let row = scene.end().await?;
    Ok(Row {
        may_fail: true,
        note: format!(
            "let in {:.1} s after it was mended",
            recovered.as_secs_f32()
        ),
        ..row
    })
}

/// The last good set remains in use.
async fn bad_answer(name: &'static str, answer: AnswerMode) -> Result<Row> {
    let scene = LoadedScene::start(drill::configuration(), 2, |settings| settings).await?;
    scene.corporate.set_answer(answer);
    let unknown = fresh(Recipe::of("reader").kid("unknown"))?;
    let request: RawRequest = read(&unknown, "acme");
    let reply = send(&scene.envoy, &request).await?;
    ensure!(
        reply.status == 503,
        "{name}: an unknown key is in doubt, not refused: {}",
        reply.status
    );
    sleep(Duration::from_secs(3)).await;
    scene.end().await
}

fn every_minute() -> Value {
    let mut configuration = drill::configuration();
    configuration["providers"][0]["jwks"]["refresh_interval"] = json!("1m");
    configuration
}

fn by_discovery() -> Value {
    let mut configuration = drill::configuration();
    let jwks = json!({"discovery": true, "cluster": "idp", "hosts": ["127.0.0.1"]});
    configuration["providers"][0]["jwks"] = jwks;
    configuration
}
