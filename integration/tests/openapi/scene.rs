//! Envoy with the gate, an issuer, real Loki and Mimir, and the data of two resources of a project.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use integration::client::{Protocol, RawRequest, Target};
use integration::envoy::Envoy;
use integration::issuer::Issuer;
use integration::stack::backend::Backend;
use integration::stack::{loki, mimir};
use integration::token::{self, Recipe};
use integration::{drill, form, otlp, remote_write};
use serde_json::{Value, json};

/// The handle.
pub struct Scene {
    pub envoy: Envoy,
    pub loki: Backend,
    pub mimir: Backend,
    /// Serves the keys for as long as Envoy may ask.
    _issuer: Issuer,
    /// When the data was written, in Unix seconds.
    pub now: i64,
}

impl Scene {
    pub async fn start() -> Result<Scene> {
        let (loki, mimir, issuer) =
            tokio::try_join!(loki::start(), mimir::start(), Issuer::corporate())?;
        let settings = drill::settings(configuration())?
            .cluster("loki", loki.http())
            .cluster("mimir", mimir.http())
            .cluster("idp", issuer.address());
        let scene = Scene {
            envoy: Envoy::start(settings).await?,
            loki,
            mimir,
            _issuer: issuer,
            now: token::now(),
        };
        for resource in [RESOURCE, HIDDEN] {
            scene.write(resource).await?;
        }
        for resource in [RESOURCE, HIDDEN] {
            scene.wait_until_found(resource).await?;
        }
        Ok(scene)
    }

    /// Lines and series of a resource, that hold its name, straight to the servers.
    async fn write(&self, resource: &str) -> Result<()> {
        let now = otlp::unix_nanos();
        let values: Vec<Value> = (0..LINES)
            .map(|number| {
                json!([
                    (now + number).to_string(),
                    format!("order {number} of {resource} failed")
                ])
            })
            .collect();
        let labels = json!({"resource_id": resource, "level": "error", "owner": resource});
        let push = json!({"streams": [{"stream": labels, "values": values}]}).to_string();
        let labels: &[(&str, &str)] = &[("resource_id", resource), ("owner", resource)];
        let samples = remote_write::request(&[
            ("cpu_usage_percent", labels, 12.5),
            ("http_requests_total", labels, 7.0),
        ]);
        let requests = [
            (
                &self.loki,
                RawRequest::post("/loki/api/v1/push", push)
                    .header("content-type", "application/json"),
            ),
            (
                &self.mimir,
                RawRequest::post("/api/v1/push", samples)
                    .header("content-type", "application/x-protobuf")
                    .header("content-encoding", "snappy"),
            ),
        ];
        for (server, request) in requests {
            let target = Target::plain(server.http());
            let reply = request.tenant(PROJECT).send(&target, Protocol::H1).await?;
            let status = reply.status;
            ensure!((200..300).contains(&status), "{status} {}", reply.text());
        }
        Ok(())
    }

    /// Past the gate: the data is there, of the one resource and of the other.
    async fn wait_until_found(&self, resource: &str) -> Result<()> {
        let lines = form::encode(&format!("{{owner=\"{resource}\"}}"));
        let series = form::encode(&format!("cpu_usage_percent{{owner=\"{resource}\"}}"));
        let questions = [
            (
                &self.loki,
                format!("/loki/api/v1/query_range?query={lines}"),
            ),
            (
                &self.mimir,
                format!("/prometheus/api/v1/query?query={series}"),
            ),
        ];
        for (server, path) in questions {
            let target = Target::plain(server.http());
            let deadline = Instant::now() + FOUND;
            loop {
                let request = RawRequest::get(&path).tenant(PROJECT);
                let reply = request.send(&target, Protocol::H1).await?;
                if reply.text().contains(resource) {
                    break;
                }
                if Instant::now() > deadline {
                    bail!("{path}: nothing within {FOUND:?}: {}", reply.text());
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        Ok(())
    }
}

/// A token of somebody who may read the project.
pub fn token() -> Result<String> {
    drill::fresh(reader())
}

/// The same, an hour after its end.
pub fn expired() -> Result<String> {
    drill::fresh(reader().exp_in(-3600.0))
}

/// Somebody who is known and may read no project.
pub fn stranger() -> Result<String> {
    drill::token_of("stranger")
}

fn reader() -> Recipe {
    Recipe::of("reader").claim("groups", json!(["team-a"]))
}

fn configuration() -> Value {
    let mut configuration = drill::configuration();
    configuration["projects"] = json!({"directory": {"inline": [
        {"project": PROJECT, "resources": [RESOURCE], "readers": ["team-a"]},
    ]}});
    configuration
}

/// Those of the document's examples.
pub const PROJECT: &str = "my-project";
pub const RESOURCE: &str = "my-resource";
/// Of the same project, and not to be seen. No request and no document has this name.
pub const HIDDEN: &str = "hidden-from-fuzzing";

const LINES: u64 = 20;
const FOUND: Duration = Duration::from_secs(30);
