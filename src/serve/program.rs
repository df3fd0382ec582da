//! Runs all parts together, from the start to the signal to end.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use hyper::Request;
use hyper::body::Incoming;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::block_in_place;
use tokio::time::{Duration, sleep};
use tokio_rustls::rustls::ServerConfig;

use super::counters::Counters;
use super::listener::{self, Purpose, Security};
use super::options::{Options, Source};
use super::shelf::Shelf;
use super::signer::Signer;
use super::signing_key::SigningKey;
use super::token::Tokens;
use super::{answer, api, files, kubernetes, tls};

/// Serves until SIGTERM or SIGINT.
///
/// # Errors
/// What cannot be used at the start.
pub fn run(options: Options) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| error.to_string())?;
    let outcome = runtime.block_on(serve(Arc::new(options)));
    // A read from a file that hangs must not delay the end.
    runtime.shutdown_background();
    outcome
}

async fn serve(options: Arc<Options>) -> Result<(), String> {
    let log = options.log;
    let counters = Arc::new(Counters::default());
    let (end, ending) = watch::channel(false);
    let mut signals = Signals::new()?;

    let security = match options.tls.clone() {
        None => Security::Plain,
        Some(paths) => Security::Tls(certificates(paths, &options, &counters)?),
    };
    let tokens = match options.tokens.clone() {
        None => None,
        Some(path) => Some(tokens(path, &options, &counters)?),
    };
    let shelf = match options.signing_key.clone() {
        None => Arc::default(),
        Some(path) => Arc::new(Shelf::signed_by(signer(path, &options, &counters)?)),
    };
    if let Source::Files {
        revision: Some(path),
        ..
    } = &options.source
    {
        files::revision_in(path)?;
    }
    let listener = listener::bind(options.listen)?;
    let health_listener = listener::bind(options.health_listen)?;
    let at = |listener: &tokio::net::TcpListener| {
        let address = listener.local_addr();
        address.map_or_else(|error| error.to_string(), |address| address.to_string())
    };
    let (address, health) = (at(&listener), at(&health_listener));
    log.info("listening", &[("documents", &address), ("health", &health)]);

    match options.source.clone() {
        Source::Files { paths, revision } => {
            let (options, shelf) = (Arc::clone(&options), Arc::clone(&shelf));
            let counters = Arc::clone(&counters);
            tokio::spawn(files::follow(paths, revision, options, shelf, counters));
        }
        Source::Kubernetes { resync, settle } => {
            let client = api::client().await?;
            let (options, shelf) = (Arc::clone(&options), Arc::clone(&shelf));
            let counters = Arc::clone(&counters);
            tokio::spawn(kubernetes::follow(
                client,
                [resync, settle],
                options,
                shelf,
                counters,
            ));
        }
    }

    if options.signing_key.is_some() {
        let (options, shelf) = (Arc::clone(&options), Arc::clone(&shelf));
        tokio::spawn(renew(options, shelf, Arc::clone(&counters)));
    }

    let answers = {
        let (shelf, counters) = (Arc::clone(&shelf), Arc::clone(&counters));
        move |request: &Request<Incoming>| {
            let now = tokens.as_ref().map(|tokens| {
                let tokens = tokens.read().unwrap_or_else(PoisonError::into_inner);
                tokens.clone()
            });
            let (method, path) = (request.method(), request.uri().path());
            let answer =
                answer::organizations(method, path, request.headers(), &shelf, now.as_ref());
            counters.answered(answer.status().as_u16());
            answer
        }
    };
    let health = {
        let (shelf, counters) = (Arc::clone(&shelf), Arc::clone(&counters));
        move |request: &Request<Incoming>| {
            answer::health(request.method(), request.uri().path(), &shelf, &counters)
        }
    };
    let documents = tokio::spawn(listener::serve(
        listener,
        Purpose::Documents,
        security,
        answers,
        ending.clone(),
    ));
    let watchers = tokio::spawn(listener::serve(
        health_listener,
        Purpose::Health,
        Security::Plain,
        health,
        ending,
    ));

    let name = signals.next().await;
    log.info("ending", &[("signal", &name)]);
    shelf.end();
    // A load balancer needs a moment to notice.
    sleep(options.drain).await;
    let _ = end.send(true);
    let _ = documents.await;
    let _ = watchers.await;
    log.info("ended", &[]);
    Ok(())
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> Result<Self, String> {
        let listen = |kind| signal(kind).map_err(|error| error.to_string());
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// Reads the certificate and its key, and starts a task that reads them again.
fn certificates(
    paths: (PathBuf, PathBuf),
    options: &Arc<Options>,
    counters: &Arc<Counters>,
) -> Result<watch::Receiver<Arc<ServerConfig>>, String> {
    let read = move || -> Result<Vec<Vec<u8>>, String> {
        Ok(vec![read_file(&paths.0)?, read_file(&paths.1)?])
    };
    let parse = |contents: &[Vec<u8>]| match contents {
        [certificate, key] => tls::parse(certificate, key).map_err(|error| error.to_string()),
        _ => Err("certificate and key are two files".to_owned()),
    };
    let first = parse(&read()?)?;
    let (now, receiver) = watch::channel(first);
    let taken = move |config| {
        let _ = now.send(config);
    };
    follow("certificate", read, parse, taken, options, counters)?;
    Ok(receiver)
}

/// Reads the tokens, and starts a task that reads them again.
fn tokens(
    path: PathBuf,
    options: &Arc<Options>,
    counters: &Arc<Counters>,
) -> Result<Arc<RwLock<Tokens>>, String> {
    let name = path.display().to_string();
    let read = move || Ok(vec![read_file(&path)?]);
    let parse = move |contents: &[Vec<u8>]| {
        let content = contents.first().map(Vec::as_slice).unwrap_or_default();
        Tokens::parse(content).map_err(|error| format!("{name}: {error}"))
    };
    let tokens = Arc::new(RwLock::new(parse(&read()?)?));
    let place = Arc::clone(&tokens);
    let taken = move |read| *place.write().unwrap_or_else(PoisonError::into_inner) = read;
    follow("tokens", read, parse, taken, options, counters)?;
    Ok(tokens)
}

/// Reads the key that signs, and starts a task that reads it again.
fn signer(
    path: PathBuf,
    options: &Arc<Options>,
    counters: &Arc<Counters>,
) -> Result<Arc<Signer>, String> {
    let name = path.display().to_string();
    let read = move || Ok(vec![read_file(&path)?]);
    let parse = move |contents: &[Vec<u8>]| {
        let content = contents.first().map(Vec::as_slice).unwrap_or_default();
        SigningKey::parse(content).map_err(|error| format!("{name}: {error}"))
    };
    let log = options.log;
    let told = move |key: &SigningKey| log.info("signing", &[("kid", &key.key_id())]);
    let key = parse(&read()?)?;
    told(&key);
    let signer = Arc::new(Signer::new(key, options.sign_every));
    let place = Arc::clone(&signer);
    let taken = move |key| {
        told(&key);
        place.replace(key);
    };
    follow("signing key", read, parse, taken, options, counters)?;
    Ok(signer)
}

/// Signs what is served again whenever its date or the key changes.
async fn renew(options: Arc<Options>, shelf: Arc<Shelf>, counters: Arc<Counters>) {
    let mut failing = false;
    loop {
        sleep(options.poll.min(Duration::from_secs(1))).await;
        let renewed = block_in_place(|| shelf.renew());
        if let Err(why) = &renewed
            && !failing
        {
            Counters::count(&counters.credential_errors);
            let log = options.log;
            log.error("cannot be signed: the last one stays", &[("why", why)]);
        }
        failing = renewed.is_err();
    }
}

/// Reads files again at intervals. If they cannot be used, this is logged once, and what was
/// there before stays.
fn follow<T: Send + 'static>(
    what: &'static str,
    read: impl Fn() -> Result<Vec<Vec<u8>>, String> + Send + 'static,
    parse: impl Fn(&[Vec<u8>]) -> Result<T, String> + Send + 'static,
    taken: impl Fn(T) + Send + 'static,
    options: &Arc<Options>,
    counters: &Arc<Counters>,
) -> Result<(), String> {
    let (options, counters) = (Arc::clone(options), Arc::clone(counters));
    let mut last = read();
    if let Err(error) = &last {
        return Err(error.clone());
    }
    tokio::spawn(async move {
        loop {
            sleep(options.poll).await;
            // A file system that hangs must not delay anybody's request.
            let now = block_in_place(&read);
            if now == last {
                continue;
            }
            let parsed = now.as_deref().map_err(Clone::clone).and_then(&parse);
            match parsed {
                Ok(value) => {
                    taken(value);
                    options.log.info("read again", &[("what", &what)]);
                }
                Err(why) => {
                    Counters::count(&counters.credential_errors);
                    let fields: [(&str, &dyn std::fmt::Display); 2] =
                        [("what", &what), ("why", &why)];
                    options
                        .log
                        .error("cannot be used: the last one stays", &fields);
                }
            }
            last = now;
        }
    });
    Ok(())
}

fn read_file(path: &std::path::Path) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))
}
