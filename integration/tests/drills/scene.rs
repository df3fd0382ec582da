//! A gate under load, with a provider under the test's control.

#![expect(
    clippy::cast_precision_loss,
    reason = "what is counted here, also in seconds, is far below 2^53"
)]

use std::ops::Deref;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use integration::drill::{self, fresh};
use integration::envoy::EnvoySettings;
use integration::issuer::Issuer;
use integration::load::Load;
use integration::scene::Scene;
use integration::token::Recipe;
use serde_json::{Map, Value, json};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::report::Row;

/// The tokens of the load, which a drill may change while it runs.
#[derive(Clone)]
pub struct Tokens {
    list: Arc<Mutex<Vec<String>>>,
    next: Arc<AtomicUsize>,
}

impl Tokens {
    /// Tokens of that key, each with an identity of its own.
    pub fn signed_by(key: &str, kid: &str) -> Result<Vec<String>> {
        Tokens::by_recipe(&Recipe::of("reader").key(key).kid(kid))
    }

    /// Tokens by that recipe, each with an identity of its own.
    pub fn by_recipe(recipe: &Recipe) -> Result<Vec<String>> {
        (0..KINDS)
            .map(|number| fresh(recipe.clone().claim("sub", format!("reader-{number}"))))
            .collect()
    }

    pub fn replace(&self, tokens: Vec<String>) {
        *self.list.lock().unwrap_or_else(PoisonError::into_inner) = tokens;
    }

    fn take(&self) -> Result<String> {
        let list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        list.get(number % list.len()).cloned().context("no token")
    }
}

/// A scene and the load on its gate.
pub struct LoadedScene {
    pub load: Load,
    pub tokens: Tokens,
    pub scene: Scene,
    waiting: Arc<AtomicU64>,
    watch: JoinHandle<()>,
    began: Instant,
}

impl Deref for LoadedScene {
    type Target = Scene;

    fn deref(&self) -> &Scene {
        &self.scene
    }
}

impl LoadedScene {
    /// A gate that has its keys, with that many workers.
    pub async fn start(
        configuration: Value,
        workers: u32,
        change: impl FnOnce(EnvoySettings) -> EnvoySettings,
    ) -> Result<LoadedScene> {
        let issuer = Issuer::corporate().await?;
        let settings = change(drill::settings(configuration)?).concurrency(workers);
        let scene = Scene::start_with(settings, issuer).await?;
        drill::warm(&scene.envoy).await?;
        LoadedScene::of(scene)
    }

    /// A gate whose provider is down.
    pub async fn start_without_keys(configuration: Value) -> Result<LoadedScene> {
        let issuer = Issuer::corporate().await?;
        issuer.down().await;
        LoadedScene::start_cold(configuration, issuer).await
    }

    /// A gate whose provider's discovery document names another issuer.
    pub async fn start_with_discovery_of(other: &str, configuration: Value) -> Result<LoadedScene> {
        let issuer = Issuer::corporate().await?;
        let mut members = Map::new();
        members.insert("issuer".to_owned(), json!(other));
        issuer.set_discovery_members(members);
        LoadedScene::start_cold(configuration, issuer).await
    }

    /// A gate of that provider that is under load before it has keys.
    pub async fn start_cold(configuration: Value, issuer: Issuer) -> Result<LoadedScene> {
        LoadedScene::of(Scene::start_with(drill::settings(configuration)?, issuer).await?)
    }

    fn of(scene: Scene) -> Result<LoadedScene> {
        let tokens = Tokens {
            list: Arc::new(Mutex::new(Tokens::signed_by("rsa-a", "rsa-a")?)),
            next: Arc::default(),
        };
        let source = tokens.clone();
        let load = Load::start(
            scene.envoy.address(),
            RATE,
            CONNECTIONS,
            Arc::new(move || source.take()),
        );
        let waiting = Arc::new(AtomicU64::new(0));
        let watch = tokio::spawn(watch(scene.envoy.admin_address(), Arc::clone(&waiting)));
        Ok(LoadedScene {
            load,
            tokens,
            scene,
            waiting,
            watch,
            began: Instant::now(),
        })
    }

    /// How long it takes until all requests are let in for a second.
    pub async fn recovered(&self, within: Duration) -> Result<Duration> {
        let since = Instant::now();
        loop {
            sleep(Duration::from_millis(100)).await;
            let outcome = self.load.outcome();
            let quiet = outcome
                .last_failure
                .is_none_or(|at| at.elapsed() > Duration::from_secs(1));
            if quiet && outcome.count(200) > 0 {
                return Ok(since.elapsed().saturating_sub(Duration::from_secs(1)));
            }
            ensure!(
                since.elapsed() < within,
                "not let in within {within:?}: {:?}",
                outcome.statuses
            );
        }
    }

    /// A busy machine delays requests, but those that are due are still made.
    async fn catch_up(&self) {
        let until = Instant::now() + Duration::from_secs(3);
        while Instant::now() < until {
            let due = self.began.elapsed().as_secs_f64() * f64::from(RATE);
            if self.load.outcome().requests as f64 >= due * 0.97 {
                return;
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Stops the load and returns the results.
    pub async fn end(self) -> Result<Row> {
        self.catch_up().await;
        let lasted = self.began.elapsed();
        let outcome = self.load.stop().await;
        self.watch.abort();
        self.scene.envoy.check_alive()?;
        let rate = outcome.requests as f64 / lasted.as_secs_f64();
        Ok(Row {
            requests: outcome.requests,
            failed: outcome.failed(),
            refused: outcome.count(401) + outcome.count(403),
            fetches: self.scene.corporate.fetches().jwks,
            longest: outcome.longest,
            waiting: self.waiting.load(Ordering::Relaxed),
            rate,
            note: other(&outcome.statuses),
            ..Row::default()
        })
    }
}

/// The statuses other than success, as text.
fn other(statuses: &std::collections::BTreeMap<u16, usize>) -> String {
    let words: Vec<String> = statuses
        .iter()
        .filter(|(status, _)| **status != 200)
        .map(|(status, count)| format!("{count} × {status}"))
        .collect();
    words.join(", ")
}

/// The maximum number of requests that waited at once, as the gauge shows it.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "Prometheus and Loki write counts and times as floats"
)]
async fn watch(admin: std::net::SocketAddr, most: Arc<AtomicU64>) {
    loop {
        sleep(Duration::from_millis(100)).await;
        let Ok(reply) =
            integration::client::get(admin, "/stats/prometheus?filter=scopegate_waiting").await
        else {
            continue;
        };
        let waiting = reply
            .text()
            .lines()
            .filter(|line| line.starts_with("scopegate_waiting_requests"))
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum::<f64>();
        most.fetch_max(waiting as u64, Ordering::Relaxed);
    }
}

/// Requests a second.
pub const RATE: u32 = 520;
const CONNECTIONS: u32 = 16;
/// Different tokens of a load.
pub const KINDS: usize = 50;
