//! The providers behind TLS under their own names, the backends, and one Envoy for each file.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use integration::authority::Authority;
use integration::client::{Protocol, RawRequest};
use integration::envoy::bootstrap::SERVER_NAME;
use integration::envoy::{Envoy, EnvoySettings};
use integration::examples::asked::{Asked, status};
use integration::examples::attempt::{as_explained, attempts};
use integration::examples::example::Example;
use integration::examples::library::{Library, host};
use integration::identity::ALLOWED;
use integration::scene::BACKEND_CLUSTERS;
use integration::server::Server;
use integration::terminator::terminate;
use integration::upstream::{TEST_ID, Upstream, UpstreamLog};
use integration::{command, drill, yaml};
use serde_json::{Value, json};
use tempfile::TempDir;

pub struct Scene {
    folder: TempDir,
    authority: Arc<Authority>,
    /// Where the hosts of the providers are.
    doors: BTreeMap<String, Server>,
    _documents: Server,
    library: Arc<Library>,
    upstreams: Vec<Upstream>,
    log: UpstreamLog,
}

impl Scene {
    pub async fn open(examples: impl Iterator<Item = &Example>) -> Result<Scene> {
        let library = Library::of(examples)?;
        let documents = library.serve().await?;
        let authority = Arc::new(Authority::new()?);
        let mut doors = BTreeMap::new();
        for host in library.hosts() {
            let door = terminate(&authority, host, documents.address()).await?;
            doors.insert(host.to_owned(), door);
        }
        let folder = tempfile::tempdir()?;
        let (chain, key) = authority.issue(&[SERVER_NAME])?;
        fs::write(folder.path().join("tls.crt"), chain)?;
        fs::write(folder.path().join("tls.key"), key)?;
        fs::write(folder.path().join("ca.crt"), authority.pem())?;
        let log = UpstreamLog::new();
        let mut upstreams = Vec::new();
        for name in BACKEND_CLUSTERS {
            upstreams.push(Upstream::start(name, &log).await?);
        }
        Ok(Scene {
            folder,
            authority,
            doors,
            _documents: documents,
            library,
            upstreams,
            log,
        })
    }

    /// URLs that no gate has asked for.
    pub fn unfetched(&self) -> Vec<&str> {
        self.library.unfetched()
    }

    /// Send all requests of an example, and those that come of them; how many there were.
    pub async fn holds(&self, example: &Example, requests: &[Asked]) -> Result<usize> {
        let envoy = self.start(example).await?;
        let recipe = self.library.recipe(example)?;
        ready(&envoy).await?;
        let mut refused = BTreeMap::new();
        let mut sent = 0_usize;
        for asked in requests {
            let token = asked.token(example, recipe)?;
            let said = asked.explained(example)?;
            for attempt in attempts(asked, &token, example, recipe)? {
                sent += 1;
                let what = format!("{}: {}", asked.title, attempt.what);
                let id = format!("{} {sent}", example.name);
                let request = attempt.request.header(TEST_ID, id.as_str());
                let (got, request_id) = envoy_answers(&envoy, &request).await?;
                ensure!(
                    got == status(&attempt.code)?,
                    "{what}: {got}, not {}",
                    attempt.code
                );
                let mut seen = self.log.take(&id);
                if attempt.code != ALLOWED {
                    ensure!(seen.is_empty(), "{what} reached a backend");
                    refused.insert(request_id, (attempt.code, what));
                    continue;
                }
                ensure!(seen.len() == 1, "{what}: {seen:?}");
                let seen = seen.pop().context("nothing was seen")?;
                as_explained(&seen, &said["forwarded"], asked).context(what)?;
            }
            // No example leads OTLP over gRPC to Loki, which would not take it: the sender is told at once.
            let over_grpc = asked.over_grpc(recipe, &token)?;
            if let Some(request) = over_grpc.filter(|_| asked.expect == ALLOWED) {
                let id = format!("{} over gRPC", example.name);
                let request = request.header(TEST_ID, id.as_str());
                let reply = request.send(&envoy.target(), Protocol::H2).await?;
                ensure!(
                    reply.header("grpc-status").as_deref() == Some(UNIMPLEMENTED),
                    "{}: {reply:?}",
                    asked.title
                );
                let seen = self.log.take(&id);
                ensure!(seen.is_empty(), "{}: {seen:?}", asked.title);
            }
        }
        recorded(&envoy, &refused).await?;
        envoy.stop().await?;
        Ok(sent)
    }

    /// Envoy with what is rendered of the file. The paths of its certificate, of the module and of the authorities
    /// are others, and so are the addresses of clusters.
    async fn start(&self, example: &Example) -> Result<Envoy> {
        let at = |name: &str| json!(self.folder.path().join(name));
        let mut document = example.document.clone();
        let deployment = &mut document["deployment"];
        deployment["tls"] = json!({"certificate": at("tls.crt"), "key": at("tls.key")});
        deployment["trusted_ca"] = at("ca.crt");
        deployment["module"] = json!(drill::module()?.canonicalize()?);
        let rendered = self.folder.path().join(&example.name);
        let folder = rendered.to_str().context("no text")?;
        let words = ["render", "envoy", "-", "--output-dir", folder];
        let (good, said) = command::run(&words, document.to_string().as_bytes())?;
        ensure!(good, "{said}");

        let bootstrap = rendered.join("envoy.yaml");
        let mut settings = EnvoySettings::from_file(&bootstrap)?
            .as_rendered(self.authority.clone())
            .concurrency(1);
        let bootstrap: Value = yaml::read(&bootstrap)?;
        let clusters = bootstrap["static_resources"]["clusters"]
            .as_array()
            .context("no clusters")?;
        for upstream in &self.upstreams {
            if clusters
                .iter()
                .any(|cluster| cluster["name"] == upstream.name())
            {
                settings = settings.cluster(upstream.name(), upstream.address());
            }
        }
        let keys = &example.provider()["jwks"];
        let url = keys["uri"]
            .as_str()
            .or(example.provider()["issuer"].as_str());
        let door = self
            .doors
            .get(host(url.context("no issuer")?))
            .context("no such host")?;
        let cluster = keys["cluster"].as_str().context("no cluster")?;
        Envoy::start(settings.cluster(cluster, door.address())).await
    }
}

/// Wait until the keys have come: a load balancer sends nobody before.
async fn ready(envoy: &Envoy) -> Result<()> {
    let started = Instant::now();
    loop {
        let (health, _) = envoy_answers(envoy, &RawRequest::get("/healthz")).await?;
        if health == 200 {
            return Ok(());
        }
        let waited = started.elapsed();
        ensure!(
            health == 503 && waited < START,
            "/healthz: {health}\n{}",
            envoy.log()
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The status of an answer, and the name of the request in Envoy's log.
async fn envoy_answers(envoy: &Envoy, request: &RawRequest) -> Result<(u16, String)> {
    let reply = request.send(&envoy.target(), Protocol::H2).await?;
    let id = reply.header("x-request-id").unwrap_or_default();
    Ok((reply.status, id))
}

/// Each refusal has its record in Envoy's log, with its code, and nothing else has one.
async fn recorded(envoy: &Envoy, refused: &BTreeMap<String, (String, String)>) -> Result<()> {
    let started = Instant::now();
    let records = loop {
        let log = envoy.log();
        let lines = log.lines().filter_map(|line| line.split_once(RECORD));
        let records: Vec<Value> = lines
            .filter_map(|(_, record)| serde_json::from_str(record).ok())
            .collect();
        if records.len() >= refused.len() || started.elapsed() > PATIENCE {
            break records;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let mut codes = BTreeMap::new();
    for record in &records {
        let id = record["request_id"].as_str().context("no request id")?;
        codes.insert(id, record["code"].as_str().unwrap_or_default());
    }
    for (id, (code, what)) in refused {
        let found = codes.get(id.as_str());
        ensure!(
            found == Some(&code.as_str()),
            "{what}: {found:?}, not {code}"
        );
    }
    ensure!(
        records.len() == refused.len(),
        "{} records of {}",
        records.len(),
        refused.len()
    );
    Ok(())
}

/// How a line of the gate's begins in Envoy's log.
const RECORD: &str = "wasm log scopegate: ";
/// The status of gRPC for what nobody serves.
const UNIMPLEMENTED: &str = "12";
/// Five Envoys start at once, on two cores.
const START: Duration = Duration::from_secs(20);
/// The log is read while Envoy writes it.
const PATIENCE: Duration = Duration::from_secs(5);
