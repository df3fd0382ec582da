//! A gate beside that of the scene: another Envoy on ports of its own, in front of the same servers.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use integration::client::{Protocol, RawRequest, Reply, Target};
use integration::drill;
use integration::envoy::{Envoy, EnvoySettings};
use integration::process;
use integration::stack::backend;
use integration::upstream::TEST_ID;
use serde_json::{Value, json};

use crate::scene::Scene;

/// The handle; Envoy is killed when it is dropped.
pub struct SideGate {
    pub envoy: Envoy,
    /// Its listener without TLS.
    pub target: Target,
}

/// What came back of a request, and what is recorded about it.
#[derive(Debug)]
pub struct Asked {
    /// The `x-test-id` that it was sent with.
    pub id: String,
    pub reply: Reply,
    /// Envoy's details of the answer.
    pub details: String,
    /// The gate's audit record.
    pub record: Value,
}

impl Asked {
    /// Is it that refusal, in the answer and in the record?
    pub fn is(&self, status: u16, code: &str) -> bool {
        self.reply.status == status
            && self.details == format!("scopegate{{{code}}}")
            && self.record["code"] == json!(code)
    }
}

/// Send it to a gate's Envoy, and read what that has written about it.
pub async fn ask(envoy: &Envoy, target: &Target, request: RawRequest) -> Result<Asked> {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let id = format!("asked-{}", NEXT.fetch_add(1, Ordering::Relaxed));
    let request = request.header(TEST_ID, id.as_str());
    let reply = request.send(target, Protocol::H1).await?;
    let line = envoy.access_line(&id, RECORDED).await?;
    let record = line.scopegate.context("no record")?;
    Ok(Asked {
        id,
        reply,
        details: line.details.unwrap_or_default(),
        record: match record.as_str() {
            Some(text) => serde_json::from_str(text)?,
            None => record,
        },
    })
}

impl SideGate {
    /// Start it with that document, and with what `edit` changes of the settings.
    pub async fn start(
        scene: &Scene,
        configuration: Value,
        edit: impl FnOnce(EnvoySettings) -> EnvoySettings,
    ) -> Result<SideGate> {
        let port = process::free_port()?;
        // The scene's ports would be shared, and so would its requests: Envoy listens with SO_REUSEPORT.
        let settings = scene.stack.settings(configuration)?.edit(move |bootstrap| {
            let listeners = bootstrap.value()["static_resources"]["listeners"].as_array_mut();
            let mut moved = 0;
            for listener in listeners.context("no listeners")? {
                let plain = listener["name"] == json!("plain");
                listener["address"]["socket_address"]["port_value"] =
                    json!(if plain { port } else { 0 });
                moved += 1;
            }
            ensure!(
                moved == 3,
                "{moved} listeners, of which three were to be moved"
            );
            Ok(())
        });
        Ok(SideGate {
            envoy: Envoy::start(edit(settings)).await?,
            target: Target::plain(backend::loopback(port)),
        })
    }

    pub async fn ask(&self, request: RawRequest) -> Result<Asked> {
        ask(&self.envoy, &self.target, request).await
    }

    /// Until keys have been fetched, by one worker for all.
    pub async fn wait_for_keys(&self) -> Result<()> {
        drill::wait_for_metric(
            &self.envoy,
            "scopegate_jwks_fetch_total",
            &[("result", "ok")],
            KEYS,
            |fetches| fetches >= 1.0,
        )
        .await?;
        Ok(())
    }
}

const KEYS: Duration = Duration::from_secs(20);
const RECORDED: Duration = Duration::from_secs(5);
