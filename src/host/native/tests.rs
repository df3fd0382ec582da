//! The hooks of the module on several threads at once, as Envoy calls them: streams that come and
//! go, configurations that replace each other and go on whatever thread, keys that are fetched,
//! late, badly or not at all.
//!
//! `make races` runs this under ThreadSanitizer and in valgrind. `SCOPEGATE_RACE_SECONDS` says how
//! long; the default is two seconds.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jwt_simple::algorithms::{ECDSAP256KeyPairLike as _, ES256KeyPair};
use p256::ecdsa::signature::Signer as _;
use serde_json::json;

use super::abi::pretend::{self, Answer, Config, Mailbox, Stream};
use super::configurations;
use super::lock::{Mutex, lock};

const ISSUER: &str = "https://login.example.com";

/// The threads on which streams run.
const WORKERS: u64 = 3;

/// The streams that are opened between one configuration and the next.
const BETWEEN: u64 = 60;

/// The streams of a thread that wait at a time.
const WAITING: usize = 8;

fn base64url(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A key that the provider has, and one that it has not.
fn keys() -> &'static [ES256KeyPair; 2] {
    static KEYS: OnceLock<[ES256KeyPair; 2]> = OnceLock::new();
    KEYS.get_or_init(|| [ES256KeyPair::generate(), ES256KeyPair::generate()])
}

/// The keys of the provider.
fn key_set() -> Vec<u8> {
    let point = keys()[0].key_pair().public_key().to_bytes_uncompressed();
    let (x, y) = (base64url(&point[1..33]), base64url(&point[33..65]));
    json!({"keys": [{"kid": "one", "kty": "EC", "crv": "P-256", "x": x, "y": y}]})
        .to_string()
        .into_bytes()
}

fn token(key: &ES256KeyPair, number: u64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let header = json!({"alg": "ES256", "kid": "one"});
    let claims = json!({
        "iss": ISSUER, "aud": "observability", "sub": "somebody", "groups": ["readers"],
        "jti": number.to_string(), "iat": now.as_secs(), "exp": now.as_secs() + 3_600,
    });
    let parts = [header, claims].map(|part| base64url(part.to_string().as_bytes()));
    let input = parts.join(".");
    let signature: p256::ecdsa::Signature = key.key_pair().as_ref().sign(input.as_bytes());
    format!("{input}.{}", base64url(&signature.to_bytes()))
}

/// A configuration that differs from that of every other number. They share three sets of
/// keys. That of [`LAST`] is its own, and has never failed: nobody waits before it is fetched.
fn document(number: u64) -> Vec<u8> {
    let set = if number == LAST { LAST } else { number % 3 };
    let tenants = ["acme".to_owned(), format!("other-{number}")];
    json!({
        "providers": [{
            "name": "corporate",
            "issuer": ISSUER,
            "audiences": ["observability"],
            "jwks": {"uri": format!("https://login.example.com/{set}"), "cluster": "idp"},
        }],
        "organizations": [{"name": "one", "tenants": tenants, "rbac": {"viewers": ["readers"]}}],
        "backends": {"loki": {}},
    })
    .to_string()
    .into_bytes()
}

const LAST: u64 = u64::MAX;

/// What a request is, and therefore the statuses that it may get. 0 stands for a backend's own.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Good,
    Forged,
    Foreign,
}

impl Kind {
    const fn may_get(self, status: u32) -> bool {
        matches!(
            (self, status),
            (Self::Good, 0 | 503) | (Self::Forged, 401 | 503) | (Self::Foreign, 403 | 503)
        )
    }

    fn head(self, number: u64) -> Vec<(Vec<u8>, Vec<u8>)> {
        let key = match self {
            Self::Good | Self::Foreign => &keys()[0],
            Self::Forged => &keys()[1],
        };
        let tenant = match self {
            Self::Good | Self::Forged => "acme",
            Self::Foreign => "somebody-elses",
        };
        let pair = |name: &str, value: &str| (name.into(), value.into());
        vec![
            pair(":method", "GET"),
            pair(":path", "/loki/api/v1/labels"),
            pair(":authority", "gate.example.com"),
            // Some tokens are seen again.
            pair(
                "authorization",
                &format!("Bearer {}", token(key, number % 50)),
            ),
            pair("x-scope-orgid", tenant),
        ]
    }
}

/// A small generator of numbers that are all over the place (xorshift).
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// What all threads know.
#[derive(Default)]
struct World {
    config: Mutex<Option<Arc<Config>>>,
    /// Configurations that are about to go, on whatever thread takes them.
    withdrawn: Mutex<Vec<Arc<Config>>>,
    stop: AtomicBool,
    opened: AtomicU64,
    passed: AtomicU64,
    refused: AtomicU64,
    complaints: Mutex<Vec<String>>,
}

/// Whether the provider is well. If it is not, it answers as it likes.
static WELL: AtomicBool = AtomicBool::new(false);

fn serve(number: u64) -> (Answer, u32) {
    if WELL.load(Ordering::Relaxed) {
        return (Answer::Whole(200, key_set()), 1);
    }
    let late = u32::try_from(number * 7 % 40).unwrap();
    let answer = match number % 5 {
        0 => Answer::Reset,
        1 => Answer::Whole(500, Vec::new()),
        2 => Answer::Whole(200, b"nonsense".to_vec()),
        _ => Answer::Whole(200, key_set()),
    };
    (answer, late + 1)
}

impl World {
    /// Looks at a stream that has its verdict.
    fn judge(&self, kind: Kind, stream: &Stream) {
        let status = stream.status();
        if !kind.may_get(status) {
            lock(&self.complaints).push(format!("{kind:?} got {status}"));
        }
        let passed = status == 0;
        let counter = if passed { &self.passed } else { &self.refused };
        counter.fetch_add(1, Ordering::Relaxed);
        let backend = stream
            .headers()
            .iter()
            .any(|(name, value)| name == b"x-scopegate-backend" && value == b"loki");
        if passed != backend {
            lock(&self.complaints).push(format!("{kind:?}: passed {passed}, steered {backend}"));
        }
    }

    fn work(&self, seed: u64) {
        let mailbox = Arc::<Mailbox>::default();
        let mut dice = Dice(seed);
        let mut waiting: Vec<(Kind, Arc<Stream>)> = Vec::new();
        let mut number = 0;
        while !self.stop.load(Ordering::Relaxed) {
            mailbox.pump();
            let withdrawn = lock(&self.withdrawn).pop();
            drop(withdrawn);
            waiting.retain(|(kind, stream)| {
                if stream.was_resumed() || stream.is_gone() {
                    self.judge(*kind, stream);
                    stream.end(200);
                }
                !stream.is_gone()
            });
            number += 1;
            let config = lock(&self.config).clone();
            let Some(config) = config else { continue };
            let kind = match dice.below(4) {
                0 => Kind::Forged,
                1 => Kind::Foreign,
                _ => Kind::Good,
            };
            let (stream, on) = Stream::open(&config, &mailbox, kind.head(number));
            self.opened.fetch_add(1, Ordering::Relaxed);
            drop(config);
            if on || stream.is_gone() {
                self.judge(kind, &stream);
                stream.end([0, 200, 404][usize::try_from(dice.below(3)).unwrap()]);
                let record = stream.record();
                if record.is_none() {
                    lock(&self.complaints).push(format!("{kind:?}: no record"));
                }
            } else if waiting.len() < WAITING {
                waiting.push((kind, stream));
            } else {
                // The client goes.
                stream.end(0);
            }
        }
        for (_, stream) in waiting {
            stream.end(0);
        }
    }

    /// Whether a good request passes within that time.
    fn becomes_well(&self, main: &Arc<Mailbox>, within: Duration) -> bool {
        let started = Instant::now();
        while started.elapsed() < within {
            let config = lock(&self.config).clone().unwrap();
            main.pump();
            config.answer();
            let (stream, on) = Stream::open(&config, main, Kind::Good.head(1));
            stream.end(200);
            if on {
                return true;
            }
            thread::sleep(Duration::from_millis(20));
        }
        false
    }
}

/// What the module knows is one for the process, and so for the tests.
static ALONE: Mutex<()> = Mutex::new(());

/// Longer than from one flush of the metrics to the next.
const FLUSH: Duration = Duration::from_millis(150);

/// Opens a stream that ends at once, and with it what was counted is written.
fn flush(config: &Arc<Config>, mailbox: &Arc<Mailbox>) {
    thread::sleep(FLUSH);
    let (stream, _) = Stream::open(config, mailbox, Kind::Good.head(1));
    stream.end(0);
}

#[test]
fn a_thread_that_meets_an_older_configuration_leaves_the_gauges_as_they_are() {
    let _alone = lock(&ALONE);
    let main = Arc::<Mailbox>::default();
    let hash = || pretend::gauge("scopegate_config_hash");
    let older = Config::load(&main, &document(1)).expect("a good configuration");
    flush(&older, &main);
    let first = hash().expect("a hash");
    let newer = Config::load(&main, &document(2)).expect("a good configuration");
    flush(&newer, &main);
    let second = hash().expect("a hash");
    assert_ne!(first, second);
    // This thread has had no stream yet, and the older listener still drains.
    thread::scope(|scope| {
        let drains = scope.spawn(|| {
            let mailbox = Arc::default();
            for _ in 0..10 {
                flush(&older, &mailbox);
            }
        });
        while !drains.is_finished() {
            // Time passes for that thread too.
            main.pump();
            thread::sleep(Duration::from_millis(10));
        }
    });
    assert_eq!(hash(), Some(second));
    assert_eq!(pretend::fouls(), Vec::<String>::new());
}

#[test]
fn threads_streams_and_configurations_come_and_go() {
    let _alone = lock(&ALONE);
    let seconds = std::env::var("SCOPEGATE_RACE_SECONDS");
    let seconds = seconds.map_or(2, |seconds| seconds.parse().unwrap());
    pretend::serve(serve);
    let main = Arc::<Mailbox>::default();
    let world = World::default();
    let load = |number| {
        let next = Config::load(&main, &document(number)).expect("a good configuration");
        // The last one goes when no thread uses it any more.
        let before = lock(&world.config).replace(next);
        drop(before);
    };
    load(0);
    let started = Instant::now();
    thread::scope(|scope| {
        for seed in 1..=WORKERS {
            let world = &world;
            scope.spawn(move || world.work(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
        }
        let mut number = 0;
        while started.elapsed() < Duration::from_secs(seconds) {
            // Long enough for some streams, however slow the machine is.
            let enough = world.opened.load(Ordering::Relaxed) + BETWEEN;
            let mut round = 0;
            while round < 25 || world.opened.load(Ordering::Relaxed) < enough {
                if started.elapsed() > Duration::from_secs(seconds) {
                    break;
                }
                main.pump();
                let config = lock(&world.config).clone().unwrap();
                config.answer();
                thread::sleep(Duration::from_millis(2));
                round += 1;
            }
            number += 1;
            assert!(Config::load(&main, b"{").is_none());
            load(number);
            // Another listener's, which goes at once, and what it was about to fetch with it.
            let sibling = Config::load(&main, &document(number + 1)).expect("a good configuration");
            main.pump();
            lock(&world.withdrawn).push(sibling);
            main.pump();
        }
        world.stop.store(true, Ordering::Relaxed);
    });
    WELL.store(true, Ordering::Relaxed);
    load(LAST);
    assert!(
        world.becomes_well(&main, Duration::from_secs(30)),
        "never well again"
    );
    drop(std::mem::take(&mut *lock(&world.withdrawn)));
    drop(lock(&world.config).take());
    assert!(configurations::newest().is_none());
    main.pump();
    let complaints = std::mem::take(&mut *lock(&world.complaints));
    assert_eq!(complaints, Vec::<String>::new());
    assert_eq!(pretend::fouls(), Vec::<String>::new());
    let (passed, refused) = (world.passed.into_inner(), world.refused.into_inner());
    assert!(
        passed > 50 && refused > 50,
        "{passed} passed, {refused} refused"
    );
}
