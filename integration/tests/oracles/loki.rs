//! A running Loki as an oracle: it is asked to format queries, and prints what its parser has read.

use std::net::SocketAddr;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use http_body_util::{BodyExt, Full};
use hyper::header::CONTENT_TYPE;
use hyper::{Request, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use integration::stack::backend::Backend;
use integration::stack::loki;
use serde::Deserialize;
use tokio::runtime::{Builder, Runtime};

use crate::oracle::PATIENCE;

/// Asked side by side: enough that Loki never waits for the next question.
const IN_FLIGHT: usize = 8;

/// The server; ends with this handle.
pub struct Server(Backend);

impl Server {
    pub fn start() -> Result<Self> {
        let backend = runtime()?.block_on(loki::start_to_read_queries())?;
        Ok(Self(backend))
    }

    /// Connections to it, kept alive.
    pub fn connect(&self) -> Result<Loki> {
        Ok(Loki {
            runtime: runtime()?,
            client: Client::builder(TokioExecutor::new()).build_http(),
            address: self.0.http(),
        })
    }
}

/// Connections to a server.
pub struct Loki {
    runtime: Runtime,
    client: Client<HttpConnector, Full<Bytes>>,
    address: SocketAddr,
}

/// Loki's word on one query.
pub enum Word {
    /// It takes it, and this is how it prints it.
    Printed(String),
    Refused(String),
    /// It panics: its checks let pass some `variants` of what it cannot run, and its printer fails at these. Whether
    /// they are scoped is for the grammar alone to say.
    Unprintable,
}

impl Loki {
    /// One answer per query, in order.
    ///
    /// # Errors
    /// Loki does not answer, or not as it should.
    pub fn format(&self, queries: &[&str]) -> Result<Vec<Word>> {
        self.runtime.block_on(
            stream::iter(queries)
                .map(|query| self.format_one(query))
                .buffered(IN_FLIGHT)
                .try_collect(),
        )
    }

    async fn format_one(&self, query: &str) -> Result<Word> {
        let form = form_urlencoded::Serializer::new(String::new())
            .append_pair("query", query)
            .finish();
        let request = Request::post(format!("http://{}/loki/api/v1/format_query", self.address))
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Full::from(form))?;
        let exchange = async {
            let (parts, body) = self.client.request(request).await?.into_parts();
            Ok::<_, anyhow::Error>((parts.status, body.collect().await?.to_bytes()))
        };
        let (status, body) = tokio::time::timeout(PATIENCE, exchange)
            .await
            .with_context(|| format!("Loki does not answer to {query:?}"))?
            .with_context(|| format!("Loki fails at {query:?}"))?;
        let unexpected = || format!("Loki says {status} {body:?} to {query:?}");
        if status == StatusCode::INTERNAL_SERVER_ERROR && body.starts_with(PANIC) {
            return Ok(Word::Unprintable);
        }
        let reply: Reply = serde_json::from_slice(&body).with_context(unexpected)?;
        match (status, reply) {
            (
                StatusCode::OK,
                Reply {
                    data: Some(text),
                    error: None,
                },
            ) => Ok(Word::Printed(text)),
            (
                StatusCode::BAD_REQUEST,
                Reply {
                    error: Some(error), ..
                },
            ) => Ok(Word::Refused(error)),
            _ => bail!(unexpected()),
        }
    }
}

/// What it says when one of its handlers panics, and it goes on.
const PANIC: &[u8] = b"error while processing request: ";

#[derive(Deserialize)]
struct Reply {
    data: Option<String>,
    error: Option<String>,
}

fn runtime() -> Result<Runtime> {
    Ok(Builder::new_current_thread().enable_all().build()?)
}
