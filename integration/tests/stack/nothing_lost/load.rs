//! Agents that push all the time, and the ledger of what they accepted.
//!
//! A real Prometheus scrapes a counter of the test four times per second. A real Collector is given a numbered line
//! and a numbered point four times per second, and a trace twice per second; a second Collector gets the same trace
//! and exports it over gRPC. What counts as sent is what the client has accepted: the samples in Prometheus' own
//! store, and what a Collector answered with 200.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use hyper::Response;
use integration::client::{self, Protocol, RawRequest, Target};
use integration::prometheus::Prometheus;
use integration::server::{self, Server};
use integration::stack::collector::{Collector, Exporter};
use integration::stack::{ACME, Stack};
use integration::{form, otlp};
use serde_json::Value;
use tokio::task::JoinHandle;

use super::signal::{Drill, Entry, Signal};

/// The handle; everything ends with it.
pub struct Load {
    feeds: Vec<Feed>,
    scraped: Arc<Scraped>,
    exporter: Server,
    pub agent: Prometheus,
    http: Arc<Collector>,
    grpc: Arc<Collector>,
}

/// What the clients have taken over.
pub struct Sent {
    pub drill: Drill,
    /// Whether more of it may have been sent since.
    pub goes_on: bool,
    pub entries: BTreeMap<Signal, Vec<Entry>>,
}

/// What the exporter gives away.
#[derive(Default)]
struct Scraped {
    drill: Mutex<Option<Drill>>,
    scrapes: AtomicUsize,
}

struct Feed {
    signal: Signal,
    state: Arc<tokio::sync::Mutex<FeedState>>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct FeedState {
    open: bool,
    drill: Option<Drill>,
    taken: Vec<Entry>,
}

impl Load {
    /// Start the agents of the tenant acme. They send nothing yet.
    pub async fn start(stack: &Stack) -> Result<Load> {
        let scraped = Arc::<Scraped>::default();
        let exporter = exporter(scraped.clone()).await?;
        let targets = [exporter.address()];
        let (agent, http, grpc) = tokio::try_join!(
            stack.agent(ACME, &targets),
            stack.collector(ACME, Exporter::Http),
            stack.collector(ACME, Exporter::Grpc),
        )?;
        // Prometheus takes some seconds to know its targets.
        let deadline = Instant::now() + SCRAPED;
        while scraped.scrapes.load(Ordering::SeqCst) < 2 {
            ensure!(
                Instant::now() < deadline,
                "not scraped within {SCRAPED:?}:\n{}",
                agent.log()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let (http, grpc) = (Arc::new(http), Arc::new(grpc));
        let feeds = Signal::EXPORTED.map(|signal| {
            let collector = if signal == Signal::SpansByGrpc {
                &grpc
            } else {
                &http
            };
            Feed::start(signal, collector.clone())
        });
        Ok(Load {
            feeds: feeds.into(),
            scraped,
            exporter,
            agent,
            http,
            grpc,
        })
    }

    /// Send from now on, in the name of that drill.
    pub async fn begin(&self, name: &'static str) {
        let drill = Drill {
            name,
            run: otlp::unix_nanos(),
            made: 0,
        };
        for feed in &self.feeds {
            *feed.state.lock().await = FeedState {
                open: true,
                drill: Some(drill),
                taken: Vec::new(),
            };
        }
        *self.lock() = Some(drill);
    }

    /// Send no more; what was sent in this drill.
    pub async fn end(&self) -> Result<Sent> {
        *self.lock() = None;
        for feed in &self.feeds {
            // Waits until the Collector has taken what is being handed over.
            feed.state.lock().await.open = false;
        }
        // A scrape may still be on its way into the agent.
        tokio::time::sleep(Duration::from_millis(600)).await;
        let sent = self.sent().await?;
        Ok(Sent {
            goes_on: false,
            ..sent
        })
    }

    /// What was sent up to now.
    pub async fn sent(&self) -> Result<Sent> {
        let mut drill = None;
        let mut entries = BTreeMap::new();
        for feed in &self.feeds {
            let state = feed.state.lock().await;
            drill = drill.or(state.drill);
            entries.insert(feed.signal, state.taken.clone());
        }
        let drill = drill.context("no drill")?;
        let series = self
            .agent
            .query(&format!("{}[1h]", drill.samples()))
            .await?;
        entries.insert(Signal::Samples, samples(&series)?);
        Ok(Sent {
            drill,
            goes_on: true,
            entries,
        })
    }

    /// Give both Collectors another token.
    pub fn renew(&self, token: &str) -> Result<()> {
        self.http.renew(token)?;
        self.grpc.renew(token)
    }

    /// How many things of that signal the client says it has given up. For Prometheus these are the samples of all
    /// series, with those that it makes about the scrape itself.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "Prometheus and Loki write counts and times as floats"
    )]
    pub async fn given_up(&self, signal: Signal) -> Result<u64> {
        let text = client::get(self.metrics(signal), "/metrics").await?.text();
        let names: &[&str] = match signal {
            Signal::Samples => &[
                "prometheus_remote_storage_samples_failed_total",
                "prometheus_remote_storage_samples_dropped_total",
            ],
            Signal::Lines => &[
                "otelcol_exporter_send_failed_log_records",
                "otelcol_exporter_enqueue_failed_log_records",
            ],
            Signal::Points => &[
                "otelcol_exporter_send_failed_metric_points",
                "otelcol_exporter_enqueue_failed_metric_points",
            ],
            Signal::Spans | Signal::SpansByGrpc => &[
                "otelcol_exporter_send_failed_spans",
                "otelcol_exporter_enqueue_failed_spans",
            ],
        };
        let series = text.lines().filter(|line| {
            let end = line.find(['{', ' ']).unwrap_or(line.len());
            names.contains(&&line[..end])
        });
        let values = series.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
        Ok(values.sum::<f64>() as u64)
    }

    /// What the client of that signal has written into its own log.
    pub fn log(&self, signal: Signal) -> String {
        match signal {
            Signal::Samples => self.agent.log(),
            Signal::SpansByGrpc => self.grpc.log(),
            _ => self.http.log(),
        }
    }

    /// The selector of every series that Prometheus gets or makes from the scrapes.
    pub fn target(&self) -> String {
        format!("{{instance=\"{}\"}}", self.exporter.address())
    }

    fn metrics(&self, signal: Signal) -> SocketAddr {
        match signal {
            Signal::Samples => self.agent.address(),
            Signal::SpansByGrpc => self.grpc.metrics(),
            _ => self.http.metrics(),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Drill>> {
        self.scraped
            .drill
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Feed {
    fn start(signal: Signal, collector: Arc<Collector>) -> Feed {
        let state = Arc::<tokio::sync::Mutex<FeedState>>::default();
        let task = tokio::spawn({
            let state = state.clone();
            async move {
                loop {
                    tokio::time::sleep(signal.pause()).await;
                    let mut state = state.lock().await;
                    let Some(drill) = open_drill(&mut state) else {
                        continue;
                    };
                    drill.made += 1;
                    let entry = Entry {
                        // Mimir counts in milliseconds.
                        time: otlp::unix_nanos() / MILLISECOND * MILLISECOND,
                        number: drill.made,
                    };
                    let message = drill.message(signal, entry);
                    while !hand_over(collector.http(), signal.path(), &message).await {
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                    state.taken.push(entry);
                }
            }
        });
        Feed {
            signal,
            state,
            task,
        }
    }
}

fn open_drill(state: &mut FeedState) -> Option<&mut Drill> {
    if state.open {
        state.drill.as_mut()
    } else {
        None
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Whether the Collector has taken it: from then on it is the Collector's to keep.
async fn hand_over(collector: SocketAddr, path: &str, message: &[u8]) -> bool {
    let mut request =
        RawRequest::post(path, message).header("content-type", "application/x-protobuf");
    request.authority = Some(collector.to_string().into_bytes());
    let reply = request.send(&Target::plain(collector), Protocol::H1).await;
    reply.is_ok_and(|reply| reply.status == 200)
}

/// Times and values of the first series of an answer.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "Prometheus and Loki write counts and times as floats"
)]
pub fn samples(series: &[Value]) -> Result<Vec<Entry>> {
    let values = series.first().map(|series| &series["values"]);
    let values = values
        .and_then(Value::as_array)
        .map_or(&[][..], Vec::as_slice);
    values
        .iter()
        .map(|value| {
            let time = value[0].as_f64().context("no time")?;
            let number: f64 = value[1].as_str().context("no value")?.parse()?;
            Ok(Entry {
                time: (time * 1e3).round() as u64 * MILLISECOND,
                number: number as u64,
            })
        })
        .collect()
}

/// `path` of an instant query.
pub fn instant(expression: &str) -> String {
    format!(
        "/prometheus/api/v1/query?query={}",
        form::encode(expression)
    )
}

/// Something to scrape: each scrape is one sample with a value of its own; between drills there is nothing.
async fn exporter(scraped: Arc<Scraped>) -> Result<Server> {
    Server::start(move |stream| {
        let scraped = scraped.clone();
        async move {
            let _ = server::serve_http(stream, move |_| {
                scraped.scrapes.fetch_add(1, Ordering::SeqCst);
                let mut drill = scraped.drill.lock().unwrap_or_else(PoisonError::into_inner);
                let text = drill.as_mut().map_or_else(String::new, |drill| {
                    drill.made += 1;
                    format!(
                        "# TYPE drill_scrapes counter\n{} {}\n",
                        drill.samples(),
                        drill.made
                    )
                });
                drop(drill);
                async move {
                    Ok(Response::builder()
                        .header("content-type", "text/plain; version=0.0.4")
                        .body(server::full(text))?)
                }
            })
            .await;
        }
    })
    .await
}

const MILLISECOND: u64 = 1_000_000;
const SCRAPED: Duration = Duration::from_secs(60);
