//! One Envoy with one worker, in which both read the same key sets and report for each token whether they let it in.
//!
//! The gate accepts 64 providers per configuration, so the key sets are distributed over as many listeners as that
//! requires. Each of them has a twin with `jwt_authn` in place of the gate.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use hyper::{Request, Response};
use integration::client::{RawRequest, h1};
use integration::clock::Clock;
use integration::drill;
use integration::envoy::bootstrap::{self, Bootstrap};
use integration::envoy::{Envoy, EnvoySettings};
use integration::server::{self, Server};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::tokens::{AUDIENCE, SKEW};

/// Most providers of a configuration of the gate.
pub const PROVIDERS: usize = 64;

/// Which of the two is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Filter {
    Gate,
    JwtAuthn,
}

/// What one of them says of a request.
#[derive(Clone, Debug)]
pub struct Verdict {
    pub status: u16,
    /// Envoy's response-code details, where Envoy has answered by itself.
    pub details: String,
}

impl Verdict {
    pub const fn lets_in(&self) -> bool {
        self.status == 200
    }

    /// Whether the gate has found no key in the set that it could use, if it has the set.
    pub fn lacks_keys(&self) -> bool {
        self.details == "scopegate{keys_unavailable}"
    }

    /// Whether the gate will know more when it has asked the provider again.
    pub fn is_pending(&self) -> bool {
        self.details == "scopegate{key_pending}"
    }
}

/// The handle.
pub struct Scene {
    pub envoy: Envoy,
    pub clock: Clock,
    addresses: BTreeMap<(Filter, usize), SocketAddr>,
    _issuer: Server,
}

/// The name of a key set's provider.
pub fn provider(set: usize) -> String {
    format!("s{set}")
}

/// The `iss` of its tokens.
pub fn issuer(set: usize) -> String {
    format!("https://idp.example.com/s{set}")
}

fn keys_uri(set: usize) -> String {
    format!("https://idp.example.com/keys/{set}")
}

impl Scene {
    /// Both, with these key sets, which the gate has fetched already.
    pub async fn start(documents: Vec<Vec<u8>>) -> Result<Scene> {
        let sets = documents.len();
        let issuer = serve(documents).await?;
        let clock = Clock::new()?;
        let settings = EnvoySettings::shipped()?
            .wasm(drill::module()?)
            .inline()
            .concurrency(1)
            .log_level("error")
            .cluster("idp", issuer.address())
            .edit(move |bootstrap| add_listeners(bootstrap, sets));
        let envoy = Envoy::start(clock.of(settings)).await?;
        let addresses = addresses(&envoy).await?;
        let scene = Scene {
            envoy,
            clock,
            addresses,
            _issuer: issuer,
        };
        scene.wait_for_keys(sets).await?;
        Ok(scene)
    }

    /// A connection to one of them, where the key sets of that block are.
    pub fn wire(&self, filter: Filter, block: usize) -> Result<Wire> {
        let address = self.addresses.get(&(filter, block));
        let address = *address.with_context(|| format!("no listener for {filter:?} {block}"))?;
        Ok(Wire {
            address,
            stream: None,
        })
    }

    /// Until the gate has read every key set, or has found nothing in it that it could use.
    async fn wait_for_keys(&self, sets: usize) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let metrics = self.envoy.prometheus_metrics().await?;
            let fetched = metrics.lines().filter_map(|line| {
                let labels = line.strip_prefix("scopegate_jwks_fetch_total{")?;
                let (labels, count) = labels.split_once("} ")?;
                let counts = count.parse().is_ok_and(|count: u64| count > 0);
                let read = ["ok", "unusable"].map(|result| format!("result=\"{result}\""));
                let (_, provider) = labels.split_once("provider=\"")?;
                let (provider, _) = provider.split_once('"')?;
                (counts && read.iter().any(|result| labels.contains(result))).then_some(provider)
            });
            let fetched = fetched.collect::<BTreeSet<_>>().len();
            if fetched == sets {
                // What the main thread has fetched, the worker takes over on a tick of its own.
                tokio::time::sleep(SETTLED).await;
                return Ok(());
            }
            ensure!(
                Instant::now() < deadline,
                "the gate has fetched {fetched} of {sets} key sets"
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// Serves the document of each number.
async fn serve(documents: Vec<Vec<u8>>) -> Result<Server> {
    let documents = Arc::new(documents);
    Server::start(move |stream| {
        let documents = Arc::clone(&documents);
        async move {
            let answer = move |request: Request<_>| {
                let documents = Arc::clone(&documents);
                async move {
                    let set = request.uri().path().rsplit('/').next();
                    let set: usize = set.context("no path")?.parse()?;
                    let document = documents.get(set).context("no such key set")?;
                    Ok(Response::new(server::full(document.clone())))
                }
            };
            let _ = server::serve_http(stream, answer).await;
        }
    })
    .await
}

fn add_listeners(bootstrap: &mut Bootstrap, sets: usize) -> Result<()> {
    // Thousands of key sets are fetched at once.
    let issuer = bootstrap.cluster("idp")?;
    issuer["circuit_breakers"]["thresholds"] = json!([{
        "max_connections": 10_000, "max_pending_requests": 10_000, "max_requests": 10_000,
    }]);
    issuer["typed_extension_protocol_options"] = json!({
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            // The server takes 200 at a time, and what is more would fail at first.
            "explicit_http_config": {"http2_protocol_options": {"max_concurrent_streams": 100}},
        },
    });
    let manager = bootstrap.connection_manager()?;
    manager["access_log"] = json!([]);
    manager["route_config"] = json!({
        "name": "all",
        "virtual_hosts": [{
            "name": "all",
            "domains": ["*"],
            "routes": [{"match": {"prefix": "/"}, "direct_response": {"status": 200}}],
        }],
    });
    // Whoever refuses says why.
    manager["local_reply_config"]["mappers"] = json!([{
        "filter": {"status_code_filter": {"comparison": {
            "op": "GE", "value": {"default_value": 400, "runtime_key": "unused"},
        }}},
        "headers_to_add": [{"header": {"key": "x-details", "value": "%RESPONSE_CODE_DETAILS%"}}],
    }]);
    let plain = bootstrap.listener()?.clone();
    let mut listeners = Vec::new();
    for block in 0..sets.div_ceil(PROVIDERS) {
        let sets = block * PROVIDERS..sets.min((block + 1) * PROVIDERS);
        let mut gate = plain.clone();
        gate["name"] = json!(format!("gate {block}"));
        bootstrap::set_configuration(&mut gate, &configuration(sets.clone()))?;
        let mut native = plain.clone();
        native["name"] = json!(format!("jwt_authn {block}"));
        *bootstrap::scopegate(&mut native)? = jwt_authn(sets);
        listeners.extend([gate, native]);
    }
    bootstrap.value()["static_resources"]["listeners"] = json!(listeners);
    // The harness waits for a listener of that name.
    bootstrap.value()["static_resources"]["listeners"][0]["name"] = json!(bootstrap::LISTENER);
    Ok(())
}

/// Whoever has a token that is good may read, whatever the token says beside its group.
fn configuration(sets: std::ops::Range<usize>) -> Value {
    let group = |set: usize| format!("{}:readers", provider(set));
    let viewers: Vec<String> = sets.clone().map(group).collect();
    let providers: Vec<Value> = sets
        .map(|set| {
            json!({
                "name": provider(set),
                "issuer": issuer(set),
                "audiences": [AUDIENCE],
                "algorithms": ALGORITHMS,
                "clock_skew": format!("{SKEW}s"),
                "jwks": {
                    "uri": keys_uri(set),
                    "cluster": "idp",
                    "timeout": "30s",
                    "refresh_interval": "24h",
                },
                "claims": {
                    "groups": [{"path": ["groups"], "prefix": format!("{}:", provider(set))}],
                },
            })
        })
        .collect();
    json!({
        "providers": providers,
        "organizations": [
            {"name": "acme", "tenants": ["acme"], "rbac": {"viewers": viewers}},
        ],
        "backends": {"loki": {}},
        "limits": {"wait": "0s"},
        "audit": {"log": "none", "access_log": false},
    })
}

/// As the gate as far as its configuration goes: it cannot be told which algorithms are accepted.
fn jwt_authn(sets: std::ops::Range<usize>) -> Value {
    let providers: BTreeMap<String, Value> = sets
        .clone()
        .map(|set| {
            let settings = json!({
                "issuer": issuer(set),
                "audiences": [AUDIENCE],
                "clock_skew_seconds": SKEW,
                "require_expiration": true,
                "remote_jwks": {
                    "http_uri": {"uri": keys_uri(set), "cluster": "idp", "timeout": "30s"},
                    "cache_duration": "86400s",
                },
            });
            (provider(set), settings)
        })
        .collect();
    let rules: Vec<Value> = sets
        .map(|set| {
            let header = json!({"name": "x-provider", "string_match": {"exact": provider(set)}});
            json!({
                "match": {"prefix": "/", "headers": [header]},
                "requires": {"provider_name": provider(set)},
            })
        })
        .collect();
    json!({
        "name": "envoy.filters.http.jwt_authn",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication",
            "providers": providers,
            "rules": rules,
        },
    })
}

async fn addresses(envoy: &Envoy) -> Result<BTreeMap<(Filter, usize), SocketAddr>> {
    let listeners = envoy.admin_get("/listeners?format=json").await?.json()?;
    let mut addresses = BTreeMap::new();
    for status in listeners["listener_statuses"]
        .as_array()
        .context("no list")?
    {
        let name = status["name"].as_str().unwrap_or_default();
        let place = match name.split_once(' ') {
            Some(("gate", block)) => (Filter::Gate, block.parse()?),
            Some((_, block)) => (Filter::JwtAuthn, block.parse()?),
            None => (Filter::Gate, 0),
        };
        let port = &status["local_address"]["socket_address"]["port_value"];
        let port = u16::try_from(port.as_u64().context("no port")?)?;
        addresses.insert(place, SocketAddr::from(([127, 0, 0, 1], port)));
    }
    Ok(addresses)
}

/// A connection that is kept, and opened again when Envoy has closed it.
pub struct Wire {
    address: SocketAddr,
    stream: Option<TcpStream>,
}

impl Wire {
    /// The verdict on one request.
    pub async fn ask(&mut self, request: &RawRequest) -> Result<Verdict> {
        let bytes = h1::serialized(request);
        if let Some(mut kept) = self.stream.take() {
            // It may have been closed since the last answer.
            if let Ok(Some(answer)) = exchange(&mut kept, &bytes).await {
                return Ok(self.answered(kept, answer));
            }
        }
        let mut stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let answer = exchange(&mut stream, &bytes).await?;
        let answer = answer.context("the connection was closed without an answer")?;
        Ok(self.answered(stream, answer))
    }

    fn answered(&mut self, stream: TcpStream, (verdict, stays_open): (Verdict, bool)) -> Verdict {
        self.stream = stays_open.then_some(stream);
        verdict
    }
}

/// One answer, and whether another request may follow; `None` if the peer has closed.
async fn exchange(stream: &mut TcpStream, bytes: &[u8]) -> Result<Option<(Verdict, bool)>> {
    let exchange = exchange_at_leisure(stream, bytes);
    tokio::time::timeout(PATIENCE, exchange)
        .await
        .context("no answer in time")?
}

async fn exchange_at_leisure(
    stream: &mut TcpStream,
    bytes: &[u8],
) -> Result<Option<(Verdict, bool)>> {
    stream.write_all(bytes).await?;
    let mut received = Vec::with_capacity(1024);
    let end = loop {
        if stream.read_buf(&mut received).await? == 0 {
            return Ok(None);
        }
        if let Some(end) = received.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
    };
    let head = String::from_utf8_lossy(&received[..end]).into_owned();
    let field = |name: &str| {
        let mut lines = head
            .lines()
            .skip(1)
            .filter_map(|line| line.split_once(": "));
        lines
            .find(|(known, _)| *known == name)
            .map(|(_, value)| value)
    };
    let status = head.split(' ').nth(1).context("no status")?.parse()?;
    let length: usize = field("content-length").map_or(Ok(0), str::parse)?;
    while received.len() < end + length {
        if stream.read_buf(&mut received).await? == 0 {
            bail!("the answer was cut");
        }
    }
    let verdict = Verdict {
        status,
        details: field("x-details").unwrap_or_default().to_owned(),
    };
    Ok(Some((verdict, field("connection") != Some("close"))))
}

/// All that the gate can be told to accept.
const ALGORITHMS: [&str; 9] = [
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA",
];

/// Two ticks of the gate.
const SETTLED: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(30);
