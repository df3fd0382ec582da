//! A gate beside the scene's: another Envoy on ports of its own, in front of the same servers.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use integration::client::Target;
use integration::drill;
use integration::envoy::{Envoy, EnvoySettings};
use integration::process;
use integration::stack::backend;
use serde_json::{Value, json};

use crate::scene::Scene;

/// The handle; Envoy is killed when it is dropped.
pub struct SideGate {
    pub envoy: Envoy,
    /// Its listener without TLS.
    pub target: Target,
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
                moved == 2,
                "{moved} listeners, of which two were to be moved"
            );
            Ok(())
        });
        Ok(SideGate {
            envoy: Envoy::start(edit(settings)).await?,
            target: Target::plain(backend::loopback(port)),
        })
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
