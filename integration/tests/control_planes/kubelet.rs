//! The part of a kubelet that the API asks for what containers have written, so that `kubectl logs` works.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use hyper::{Response, StatusCode, Uri};
use integration::authority::Authority;
use integration::kubernetes::KubernetesApi;
use integration::server::{Body, Server, full, serve_http};
use integration::terminator::terminate_at;
use serde_json::json;

use crate::scene::NODE;

/// The name of the node on which every pod runs.
pub const NAME: &str = "node";

const PORT: u16 = 10250;

/// The containers that run here.
const CONTAINERS: [&str; 4] = ["istio-proxy", "envoy", "discovery", "envoy-gateway"];

/// It answers as long as this is there.
pub struct Kubelet {
    _server: Server,
    _door: Server,
}

impl Kubelet {
    /// Answer with the logs in that folder, and tell the API where.
    pub async fn start(api: &KubernetesApi, authority: &Authority, logs: &Path) -> Result<Self> {
        let logs = logs.to_path_buf();
        let server = Server::start(move |stream| {
            let logs = logs.clone();
            async move {
                let handler = move |request: hyper::Request<_>| {
                    let answer = answer(request.uri(), &logs);
                    async move { answer }
                };
                let _ = serve_http(stream, handler).await;
            }
        });
        let server = server.await?;
        let door = SocketAddr::from((NODE, PORT));
        let door = terminate_at(door, authority, NAME, server.address())?;
        let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": NAME}});
        api.apply(&node).await?;
        let status = json!({"status": {
            "addresses": [{"type": "InternalIP", "address": NODE.to_string()}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": PORT}},
        }});
        let path = format!("{}/status", api.path_of(&node).await?);
        let told = api.call("PATCH", &path, &status).await?;
        ensure!(told.refusal().is_none(), "{told:?}");
        Ok(Self {
            _server: server,
            _door: door,
        })
    }
}

/// `/containerLogs/NAMESPACE/POD/CONTAINER`, from its beginning or the last lines of it. Nothing else can be asked for.
fn answer(uri: &Uri, logs: &Path) -> Result<Response<Body>> {
    let said = |status: StatusCode, text: String| {
        let answer = Response::builder().status(status);
        Ok(answer.body(full(text))?)
    };
    let mut words = uri.path().trim_start_matches('/').split('/');
    let (word, _namespace, pod, container) =
        (words.next(), words.next(), words.next(), words.next());
    let runs = container.is_some_and(|name| CONTAINERS.contains(&name));
    let (Some("containerLogs"), Some(pod), true) = (word, pod, runs) else {
        return said(StatusCode::NOT_FOUND, format!("nothing at {uri}"));
    };
    let Ok(log) = fs::read_to_string(log_of(pod, logs)) else {
        return said(StatusCode::NOT_FOUND, format!("no log of {pod}"));
    };
    match uri.query().unwrap_or_default().split_once('=') {
        None => said(StatusCode::OK, log),
        Some(("tailLines", number)) => {
            let Ok(number) = number.parse::<usize>() else {
                return said(StatusCode::BAD_REQUEST, format!("no number: {number}"));
            };
            let lines: Vec<&str> = log.lines().collect();
            let last = lines.get(lines.len().saturating_sub(number)..);
            let mut text = last.unwrap_or_default().join("\n");
            if !text.is_empty() {
                text.push('\n');
            }
            said(StatusCode::OK, text)
        }
        Some(_) => said(StatusCode::BAD_REQUEST, format!("not known: {uri}")),
    }
}

/// The first pod writes where its Deployment's name is.
fn log_of(pod: &str, logs: &Path) -> PathBuf {
    let name = pod.strip_suffix("-1").unwrap_or(pod);
    logs.join(format!("{name}.log"))
}
