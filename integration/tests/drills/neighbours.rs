//! One tenant does its worst for a minute, in all ways at once, beside another tenant's calls.
//!
//! The rates are bounded: on two cores, which also run the attackers, anybody who is let in can take processor time
//! from others. No gate can prevent that, but a rate limit can. The drill shows that nothing else can be taken: no
//! connection, window, queue, memory or key.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use integration::client::h1;
use integration::client::h2::{self, Piece};
use integration::client::{Protocol, RawRequest, Target};
use integration::drill::{self, fresh, read};
use integration::firehose::SlowReaders;
use integration::grpc::{self, EXPORT_TRACES};
use integration::token::{Recipe, Tamper};
use serde_json::{Value, json};
use tokio::task::{JoinHandle, JoinSet};

use crate::report::Row;
use crate::victim::Street;

/// The attacks, how often each is made per second, and the statuses that may result.
const ATTACKS: [(Attack, u32, &[u16]); 9] = [
    (Attack::Trailers, 10, &[200]),
    (Attack::HugePush, 1, &[200]),
    (Attack::SlowForm, 3, &[GONE]),
    (Attack::UnknownKey, 50, &[401, 503]),
    (Attack::Handshake, 10, &[200]),
    (Attack::ManyTenants, 50, &[200]),
    (Attack::Expired, 50, &[401]),
    (Attack::Forged, 50, &[401]),
    (Attack::SlowReader, 10, &[GONE]),
];

/// A kind of attack. Each request has a connection of its own.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Attack {
    /// Trailers behind the body of a gRPC call.
    Trailers,
    /// A push of 4 MiB.
    HugePush,
    /// The longest form that a scoped query may have, sent slowly for ten seconds.
    SlowForm,
    /// A token with an invented key ID.
    UnknownKey,
    /// A handshake over TLS.
    Handshake,
    /// A read of 64 tenants at once.
    ManyTenants,
    Expired,
    Forged,
    /// An answer without an end, of which nothing is read for ten seconds.
    SlowReader,
}

/// The attacker holds many tenants, and has a group that sees a part of one of them.
fn configuration() -> Value {
    let mut configuration = drill::configuration();
    let acme = &mut configuration["organizations"][0];
    acme["tenants"] = tenants().into();
    acme["rbac"]["viewers"] = json!([
        "acme-viewers",
        {"group": "acme-web", "labels": {"namespace": ["web"]}},
    ]);
    configuration
}

/// As many as a request may name.
fn tenants() -> Vec<String> {
    let others = (1..64).map(|number| format!("acme-{number}"));
    std::iter::once("acme".to_owned()).chain(others).collect()
}

pub async fn at_their_worst() -> Result<Row> {
    let street = Street::start(configuration(), true, |settings| settings).await?;
    let before = street.memory().await?;
    let attacker = Arc::new(Attacker {
        gate: Target::plain(street.gate),
        tls: street.envoy.target(),
        address: street.gate,
        push: "x".repeat(PUSH).into_bytes(),
        tenants: tenants().join("|"),
    });
    let until = Instant::now() + LASTING;
    let attacks: Vec<JoinHandle<Tally>> = ATTACKS
        .iter()
        .map(|(attack, rate, _)| {
            tokio::spawn(keep_on(Arc::clone(&attacker), *attack, *rate, until))
        })
        .collect();
    let beside = street.windows(WINDOWS).await;
    let grown = street.memory().await?.saturating_sub(before) >> 20;
    let mut done = 0;
    for ((attack, rate, expected), tally) in ATTACKS.iter().zip(attacks) {
        let tally = tally.await?;
        eprintln!("{attack:?}, {rate} a second: {tally:?}");
        let count: usize = tally.statuses.values().sum();
        let odd = tally
            .statuses
            .keys()
            .find(|status| !expected.contains(status));
        ensure!(odd.is_none(), "{attack:?}: {tally:?}");
        let due = LASTING.as_secs() * u64::from(*rate);
        ensure!(
            u64::try_from(count)? * 10 >= due * 8,
            "{attack:?}: only {count} of {due}"
        );
        done += count;
    }
    // They leave nothing behind.
    street.wait_for_silence().await?;
    drill::check_health_without_reads(&street.envoy).await?;
    let rates: Vec<String> = ATTACKS
        .iter()
        .map(|(attack, rate, _)| format!("{rate} {attack:?}"))
        .collect();
    let note = format!(
        "{done} attacks, a second {}; Envoy grew by {grown} MiB",
        rates.join(", ")
    );
    street.row(&beside, &note)
}

/// The outcomes of the requests by status, or [`GONE`] if the attacker did not wait for one.
#[derive(Debug, Default)]
struct Tally {
    statuses: BTreeMap<u16, usize>,
    error: Option<String>,
}

/// Attacks at that rate until then, whether or not earlier attacks are over.
async fn keep_on(attacker: Arc<Attacker>, attack: Attack, rate: u32, until: Instant) -> Tally {
    let mut under_way = JoinSet::new();
    let mut tally = Tally::default();
    let mut due = Instant::now();
    while due < until {
        tokio::time::sleep_until(due.into()).await;
        due += Duration::from_secs(1) / rate;
        let attacker = Arc::clone(&attacker);
        under_way.spawn(async move { attacker.attack(attack, until).await });
        while let Some(ended) = under_way.try_join_next() {
            tally.note(ended.map_err(anyhow::Error::from));
        }
    }
    while let Some(ended) = under_way.join_next().await {
        tally.note(ended.map_err(anyhow::Error::from));
    }
    tally
}

impl Tally {
    fn note(&mut self, outcome: Result<Result<u16>>) {
        let status = match outcome.and_then(|outcome| outcome) {
            Ok(status) => status,
            Err(error) => {
                self.error = Some(format!("{error:#}"));
                0
            }
        };
        *self.statuses.entry(status).or_default() += 1;
    }
}

struct Attacker {
    gate: Target,
    tls: Target,
    address: SocketAddr,
    push: Vec<u8>,
    tenants: String,
}

impl Attacker {
    /// The resulting status.
    async fn attack(&self, attack: Attack, until: Instant) -> Result<u16> {
        // Signatures of this key are cheap to make, so that it is the gate that works.
        let reader = Recipe::of("reader").key("p256-a");
        let request = match attack {
            Attack::Trailers => return self.trailers().await,
            Attack::SlowForm => return self.slow_form(reader, until).await,
            Attack::SlowReader => return self.slow_reader(reader, until).await,
            Attack::HugePush => RawRequest::post("/loki/api/v1/push", self.push.clone())
                .header("content-type", "application/x-protobuf")
                .bearer(&drill::token_of("agent")?)
                .tenant("acme"),
            Attack::UnknownKey => {
                let number = fresh(reader.clone())?;
                let invented = number.get(number.len() - 12..).unwrap_or_default();
                read(&fresh(reader.kid(invented))?, "acme")
            }
            Attack::ManyTenants => read(&fresh(reader)?, &self.tenants),
            Attack::Expired => read(&fresh(reader.exp_in(-3_600.0))?, "acme"),
            Attack::Forged => read(&fresh(reader.tamper(Tamper::FlipSignature))?, "acme"),
            Attack::Handshake => {
                let request = read(&fresh(reader)?, "acme");
                return Ok(request.send(&self.tls, Protocol::H2).await?.status);
            }
        };
        Ok(request.send(&self.gate, Protocol::H1).await?.status)
    }

    async fn trailers(&self) -> Result<u16> {
        let request = RawRequest::post(EXPORT_TRACES, "")
            .bearer(&drill::token_of("agent")?)
            .tenant("acme")
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        let pieces = [
            Piece::Data(grpc::framed(b"").to_vec(), false),
            Piece::Trailers(vec![(b"x".to_vec(), b"y".to_vec())]),
        ];
        let reply = h2::exchange_pieces(&self.gate, &request, &pieces).await?;
        ensure!(reply.grpc_status() == Some(0), "{reply:?}");
        Ok(reply.status)
    }

    async fn slow_form(&self, reader: Recipe, until: Instant) -> Result<u16> {
        let token = fresh(reader.claim("groups", json!(["acme-web"])))?;
        let request = RawRequest::post("/loki/api/v1/query", "")
            .bearer(&token)
            .tenant("acme")
            .header("content-type", "application/x-www-form-urlencoded")
            .header("content-length", FORM.to_string());
        let most = (Duration::ZERO, vec![b'a'; FORM - DROPS]);
        let drops = (1..DROPS).map(|_| (Duration::from_secs(1), b"a".to_vec()));
        let pieces: Vec<_> = std::iter::once(most).chain(drops).collect();
        let send = h1::exchange_pieces(&self.gate, &request, &pieces);
        match tokio::time::timeout_at(patience(until).into(), send).await {
            Ok(reply) => Ok(reply?.status),
            Err(_) => Ok(GONE),
        }
    }

    async fn slow_reader(&self, reader: Recipe, until: Instant) -> Result<u16> {
        let bearer = format!("Bearer {}", fresh(reader)?);
        let _slow = SlowReaders::open(self.address, &bearer, "acme", 1).await?;
        tokio::time::sleep_until(patience(until).into()).await;
        Ok(GONE)
    }
}

/// How long the slow attackers stay.
fn patience(until: Instant) -> Instant {
    until.min(Instant::now() + Duration::from_secs(10))
}

/// The attacker has left without an answer.
const GONE: u16 = 1;
const LASTING: Duration = Duration::from_secs(60);
/// Each window takes two seconds, so that the last one ends with the attack.
const WINDOWS: u32 = 30;
const PUSH: usize = 4 << 20;
/// The longest form that is accepted.
const FORM: usize = 256 * 1024;
/// Bytes that are sent one per second.
const DROPS: usize = 30;
