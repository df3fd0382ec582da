//! The providers behind TLS under their own names, the backends, and one Envoy for each file.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use hyper::header::HOST;
use hyper::{Request, Response};
use integration::authority::Authority;
use integration::client::{Protocol, RawRequest};
use integration::drill;
use integration::envoy::bootstrap::SERVER_NAME;
use integration::envoy::{Envoy, EnvoySettings};
use integration::identity::{ALLOWED, Recipe, Token};
use integration::scene::BACKEND_CLUSTERS;
use integration::server::{self, Server};
use integration::terminator::terminate;
use integration::upstream::{Seen, TEST_ID, Upstream, UpstreamLog};
use integration::yaml;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::asked::Asked;
use crate::example::{self, Example};
use crate::status;

pub struct Scene {
    folder: TempDir,
    authority: Arc<Authority>,
    /// The providers, by the names that the examples give them.
    recipes: BTreeMap<String, Recipe>,
    /// Where their hosts are.
    doors: BTreeMap<String, Server>,
    _documents: Server,
    library: Arc<Library>,
    upstreams: Vec<Upstream>,
    log: UpstreamLog,
}

/// What the providers publish, by URL, and what of it has been asked for.
struct Library {
    texts: BTreeMap<String, String>,
    fetched: Mutex<BTreeSet<String>>,
}

/// A request, and the code that it must come to.
struct Attempt {
    what: String,
    request: RawRequest,
    code: String,
}

impl Scene {
    pub async fn open(examples: impl Iterator<Item = &Example>) -> Result<Scene> {
        let mut recipes = BTreeMap::new();
        for example in examples {
            let name = example.provider_name()?;
            recipes.insert(name.to_owned(), Recipe::read(name)?);
        }
        let mut texts = BTreeMap::new();
        for document in recipes.values().flat_map(|recipe| &recipe.documents) {
            texts.insert(document.url.clone(), document.text()?);
        }
        let hosts: BTreeSet<String> = texts.keys().map(|url| host(url).to_owned()).collect();
        let library = Arc::new(Library {
            texts,
            fetched: Mutex::default(),
        });
        let shared = library.clone();
        let documents = Server::start(move |stream| {
            let shared = shared.clone();
            async move {
                let answer = move |request| std::future::ready(Ok(shared.answer(&request)));
                let _ = server::serve_http(stream, answer).await;
            }
        })
        .await?;
        let authority = Arc::new(Authority::new()?);
        let mut doors = BTreeMap::new();
        for host in hosts {
            let door = terminate(&authority, &host, documents.address()).await?;
            doors.insert(host, door);
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
            recipes,
            doors,
            _documents: documents,
            library,
            upstreams,
            log,
        })
    }

    /// URLs that no gate has asked for.
    pub fn unfetched(&self) -> Vec<&str> {
        let fetched = self
            .library
            .fetched
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let urls = self.library.texts.keys();
        urls.filter(|url| !fetched.contains(*url))
            .map(String::as_str)
            .collect()
    }

    /// Send all requests of an example, and those that come of them; how many there were.
    pub async fn holds(&self, example: &Example, requests: &[Asked]) -> Result<usize> {
        let envoy = self.start(example).await?;
        let recipe = self
            .recipes
            .get(example.provider_name()?)
            .context("no provider")?;
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
        let (good, said) = example::run(&words, document.to_string().as_bytes())?;
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

impl Library {
    fn answer<T>(&self, request: &Request<T>) -> Response<server::Body> {
        let host = request
            .headers()
            .get(HOST)
            .and_then(|host| host.to_str().ok());
        let url = format!("https://{}{}", host.unwrap_or_default(), request.uri());
        let text = self.texts.get(&url);
        if text.is_some() {
            self.fetched
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(url);
        }
        let mut response = Response::new(server::full(text.cloned().unwrap_or_default()));
        if text.is_none() {
            *response.status_mut() = hyper::StatusCode::NOT_FOUND;
        }
        response
    }
}

/// The request itself and, where it is let through, the same at the limits of what is.
fn attempts(
    asked: &Asked,
    token: &Token,
    example: &Example,
    recipe: &Recipe,
) -> Result<Vec<Attempt>> {
    let mut attempts = vec![Attempt {
        what: "as it is".to_owned(),
        request: asked.sent(recipe, Some(token))?,
        code: asked.expect.clone(),
    }];
    if asked.expect != ALLOWED {
        return Ok(attempts);
    }
    let mut again = |what: &str, asked: &Asked, token: Option<&Token>, code: &str| -> Result<()> {
        attempts.push(Attempt {
            what: what.to_owned(),
            request: asked.sent(recipe, token)?,
            code: code.to_owned(),
        });
        Ok(())
    };
    again("without a token", asked, None, "credential_missing")?;
    let mut foreign = asked.clone();
    foreign.tenant = Some("globex".to_owned());
    again(
        "of a foreign tenant",
        &foreign,
        Some(token),
        "tenant_not_granted",
    )?;
    let mut lasting = token.clone();
    let issued = lasting.times.get("iat").copied().context("no iat")?;
    let end = issued.saturating_add(example.max_lifetime()?);
    lasting.times.insert("exp".to_owned(), end);
    again("good for as long as may be", asked, Some(&lasting), ALLOWED)?;
    // Beyond what clocks may differ by.
    lasting
        .times
        .insert("exp".to_owned(), end.saturating_add(600));
    again(
        "good for too long",
        asked,
        Some(&lasting),
        "lifetime_too_long",
    )?;
    // Whatever else such a token is good for, this is what it is asked for.
    let defects = recipe.defects_of(token);
    ensure!(
        defects.len() == 4,
        "{}: {} defects",
        asked.title,
        defects.len()
    );
    for (defect, code) in defects {
        again(&defect.name, asked, Some(&defect), &code)?;
    }
    Ok(attempts)
}

/// What reached a backend is what `explain` has said, and there is no credential in it.
fn as_explained(seen: &Seen, forwarded: &Value, asked: &Asked) -> Result<()> {
    let backend = forwarded["backend"].as_str().context("no backend")?;
    ensure!(seen.backend.starts_with(backend), "{seen:?}");
    ensure!(forwarded["path"] == seen.path, "{seen:?}, {forwarded}");
    for header in forwarded["headers"].as_array().into_iter().flatten() {
        let name = header[0].as_str().unwrap_or_default();
        let value = header[1].as_str().unwrap_or_default();
        ensure!(seen.header(name) == [value.as_bytes()], "{name}: {seen:?}");
    }
    let subject = seen.header("x-scopegate-subject");
    ensure!(matches!(subject[..], [[_, ..]]), "no subject: {seen:?}");
    ensure!(seen.body == asked.body(), "another body: {seen:?}");
    for credential in ["authorization", "x-id-token"] {
        ensure!(seen.header(credential).is_empty(), "{credential}: {seen:?}");
    }
    Ok(())
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

/// `login.example.com` of `https://login.example.com/realms/platform`.
fn host(url: &str) -> &str {
    let rest = url.strip_prefix("https://").unwrap_or(url);
    rest.split('/').next().unwrap_or(rest)
}

/// How a line of the gate's begins in Envoy's log.
const RECORD: &str = "wasm log scopegate: ";
/// The status of gRPC for what nobody serves.
const UNIMPLEMENTED: &str = "12";
/// Five Envoys start at once, on two cores.
const START: Duration = Duration::from_secs(20);
/// The log is read while Envoy writes it.
const PATIENCE: Duration = Duration::from_secs(5);
