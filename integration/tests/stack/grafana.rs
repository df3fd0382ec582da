//! Grafana's data sources, request by request, as pkg/tsdb/{loki,tempo}, pkg/promlib and the plugins' front ends
//! (Grafana 11 and 12) put them together; the headers are those of a data source that forwards the OAuth identity.
//!
//! | module | data source |
//! |---|---|
//! | [`logs`] | Loki, with Explore, Logs Drilldown and live tailing's probe |
//! | [`metrics`] | Prometheus, on Mimir |
//! | [`traces`] | Tempo over HTTP |
//! | [`streaming`] | Tempo over gRPC |
//! | [`headers`] | what Grafana sends in addition to the question, and compressed answers |

mod headers;
mod logs;
mod metrics;
mod streaming;
mod traces;

use std::io::Read;
use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use flate2::read::GzDecoder;
use integration::client::{RawRequest, Reply};
use integration::form;
use integration::stack::{ACME, GLOBEX};

use crate::Test;
use crate::clients::{BOTH, GRANTED, NOT_GRANTED, Whose, check_status};
use crate::scene::Scene;

pub fn tests() -> Vec<Test> {
    [
        headers::tests(),
        logs::tests(),
        metrics::tests(),
        streaming::tests(),
        traces::tests(),
    ]
    .concat()
}

/// What stands behind a data source.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Source {
    Loki,
    Mimir,
    Tempo,
}

impl Source {
    fn server(self, scene: &Scene) -> SocketAddr {
        match self {
            Source::Loki => scene.stack.loki.http(),
            Source::Mimir => scene.stack.mimir.http(),
            Source::Tempo => scene.stack.tempo.http(),
        }
    }

    /// The same request as the server itself knows it.
    fn own(mut request: RawRequest) -> RawRequest {
        if let Some(path) = request.path.strip_prefix(b"/tempo") {
            request.path = path.to_vec();
        }
        request
    }

    /// The server itself answers about both tenants. Through the gate each caller gets what is theirs, and nothing
    /// when a tenant among those they ask for is not.
    async fn check(self, scene: &Scene, request: &RawRequest) -> Result<()> {
        let what = String::from_utf8_lossy(&request.path).into_owned();
        let own = Self::own(request.clone());
        let control = scene.direct(self.server(scene), BOTH, own).await?;
        check_answer(Whose::Both, &control).with_context(|| format!("{self:?} itself, {what}"))?;
        for (who, tenants) in GRANTED {
            let reply = send(scene, who, tenants, request).await?;
            check_answer(Whose::of(tenants), &reply)
                .with_context(|| format!("{who}, {tenants}, {what}"))?;
        }
        for (who, tenants) in [
            ("alice", GLOBEX),
            ("alice", BOTH),
            ("bob", ACME),
            ("nobody", ACME),
        ] {
            let reply = send(scene, who, tenants, request).await?;
            let checked = self.check_refused(&reply, 403, "forbidden", NOT_GRANTED);
            checked.with_context(|| format!("{who}, {tenants}, {what}"))?;
        }
        Ok(())
    }

    /// A refusal that this data source shows: of Mimir `errorType` and `error` of a JSON object, of the others the
    /// text, to its last byte.
    fn check_refused(self, reply: &Reply, status: u16, kind: &str, reason: &str) -> Result<()> {
        check_status(reply, status)?;
        let content_type = reply.header("content-type").unwrap_or_default();
        if self == Source::Mimir {
            let answer = reply.json()?;
            let shown = [&answer["status"], &answer["errorType"], &answer["error"]];
            ensure!(shown == ["error", kind, reason], "{answer}");
            ensure!(content_type == "application/json", "{content_type}");
        } else {
            ensure!(reply.text() == format!("{reason}\n"), "{:?}", reply.text());
            ensure!(content_type.starts_with("text/plain"), "{content_type}");
        }
        Ok(())
    }
}

/// The answer holds data of those tenants.
fn check_answer(whose: Whose, reply: &Reply) -> Result<()> {
    check_status(reply, 200)?;
    whose.check(&text(reply)?)
}

/// As Grafana's back end sends it for a person who is logged in.
async fn send(scene: &Scene, who: &str, tenants: &str, request: &RawRequest) -> Result<Reply> {
    scene
        .send(who, tenants, headers::added(request.clone()))
        .await
}

/// The body, decompressed where it is compressed.
fn text(reply: &Reply) -> Result<String> {
    if reply.header("content-encoding").as_deref() != Some("gzip") {
        return Ok(reply.text());
    }
    let mut text = String::new();
    GzDecoder::new(reply.body.as_slice()).read_to_string(&mut text)?;
    Ok(text)
}

/// A GET with these parameters.
fn get(path: &str, parameters: &[(&str, &str)]) -> RawRequest {
    match encoded(parameters) {
        query if query.is_empty() => RawRequest::get(path),
        query => RawRequest::get(&format!("{path}?{query}")),
    }
}

/// A POST with these parameters in a form.
fn post(path: &str, parameters: &[(&str, &str)]) -> RawRequest {
    RawRequest::post(path, encoded(parameters))
        .header("content-type", "application/x-www-form-urlencoded")
}

fn encoded(parameters: &[(&str, &str)]) -> String {
    let pair =
        |(name, value): &(&str, &str)| format!("{}={}", form::encode(name), form::encode(value));
    parameters.iter().map(pair).collect::<Vec<_>>().join("&")
}
