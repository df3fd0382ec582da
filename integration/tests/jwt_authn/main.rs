//! The same tokens for the same key sets, judged by the gate and by Envoy's own `jwt_authn` in one Envoy: ten
//! thousand pairs, of which [`differences`] lists and explains all that the two judge differently.
//!
//! The pairs are drawn from a fixed seed; `SCOPEGATE_SEED` draws others. Both fetch the key sets, because the gate is
//! stricter about those in its own configuration.

#![allow(clippy::expect_used)]

mod differences;
mod documents;
mod drafts;
mod scene;
mod signers;
mod tokens;

use std::fmt::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use futures_util::future::try_join_all;
use integration::drill::Random;
use integration::token;
use tokio::sync::Semaphore;

use differences::{Difference, ONLY_BY_GATE, ONLY_BY_JWT_AUTHN};
use documents::Document;
use scene::{Filter, PROVIDERS, Scene, Verdict};
use signers::Pool;
use tokens::Pair;

const SETS: usize = 1280;
const TOKENS_PER_SET: usize = 8;
/// Fewest pairs that both let in, and that both refuse.
const LEAST_AGREED: usize = 2500;
/// The number of faults that are reported.
const MOST_TOLD: usize = 30;

/// A pair and the verdicts on it.
struct Judged {
    /// Which it is.
    set: usize,
    number: usize,
    pair: Pair,
    gate: Verdict,
    jwt_authn: Verdict,
}

impl Judged {
    /// Where its key set is.
    const fn block(&self) -> usize {
        self.set / PROVIDERS
    }

    /// Whether both have judged the token. Any other outcome could be mistaken for a refusal.
    fn is_judged(&self) -> bool {
        let by_gate = matches!(self.gate.status, 200 | 400 | 401) || self.gate.lacks_keys();
        by_gate && matches!(self.jwt_authn.status, 200 | 400 | 401 | 403)
    }
}

/// All that is drawn.
struct Corpus {
    seed: u64,
    pool: Pool,
    documents: Vec<Arc<Document>>,
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gate_and_jwt_authn_differ_only_where_the_list_says_so() -> Result<()> {
    let began = Instant::now();
    let seed = match std::env::var("SCOPEGATE_SEED") {
        Ok(seed) => seed.parse().context("SCOPEGATE_SEED")?,
        Err(_) => 1,
    };
    let corpus = Arc::new(Corpus::of(seed));
    let documents = corpus.documents.iter().map(|document| document.bytes());
    let scene = Arc::new(Scene::start(documents.collect()).await?);
    eprintln!("{:?}: the keys are there", began.elapsed());
    let mut judged = ask_all(&scene, &corpus).await?;
    eprintln!("{:?}: all have been asked", began.elapsed());
    ask_again(&scene, &mut judged).await?;
    eprintln!("{:?}: all has been answered", began.elapsed());
    scene.envoy.check_alive()?;
    let report = report(&judged);
    eprintln!("{}", report.text);
    ensure!(
        report.faults.is_empty(),
        "SCOPEGATE_SEED={seed} repeats these {} faults, the first of them being:\n{}",
        report.faults.len(),
        report.faults[..report.faults.len().min(MOST_TOLD)].join("\n")
    );
    Ok(())
}

impl Corpus {
    fn of(seed: u64) -> Corpus {
        let pool = Pool::new();
        let documents = (0..SETS).map(|set| {
            let mut random = randomness(seed, set, 0);
            Arc::new(match set {
                0 => Document::with_p521(&pool, &mut random),
                1..4 => Document::with_weak_key(&pool, &mut random),
                _ => Document::draw(&pool, &scene::issuer(set), &mut random),
            })
        });
        Corpus {
            seed,
            documents: documents.collect(),
            pool,
        }
    }

    fn pair(&self, set: usize, number: usize) -> Pair {
        if (set, number) == (0, 0) {
            return Pair::es512(&self.documents[set]);
        }
        let mut random = randomness(self.seed, set, number + 1);
        let id = format!("{}-{set}-{number}", self.seed);
        drafts::draw(
            &self.documents[set],
            &self.pool,
            &scene::issuer(set),
            &id,
            token::now(),
            &mut random,
        )
    }
}

/// Each has its own, so that one can be drawn without the others.
fn randomness(seed: u64, set: usize, number: usize) -> Random {
    let mut random = Random(seed);
    let place = (set * (TOKENS_PER_SET + 1) + number) as u64;
    Random(random.draw() ^ Random(place).draw())
}

/// Every pair once, several blocks of key sets at a time.
async fn ask_all(scene: &Arc<Scene>, corpus: &Arc<Corpus>) -> Result<Vec<Judged>> {
    let places = Arc::new(Semaphore::new(8));
    let blocks = (0..SETS.div_ceil(PROVIDERS)).map(|block| {
        let (scene, corpus, places) = (Arc::clone(scene), Arc::clone(corpus), Arc::clone(&places));
        tokio::spawn(async move {
            let _place = places.acquire().await?;
            ask_block(&scene, &corpus, block).await
        })
    });
    let blocks: Vec<Result<Vec<Judged>>> = try_join_all(blocks).await?;
    let blocks: Result<Vec<Vec<Judged>>> = blocks.into_iter().collect();
    Ok(blocks?.into_iter().flatten().collect())
}

async fn ask_block(scene: &Scene, corpus: &Corpus, block: usize) -> Result<Vec<Judged>> {
    let mut to_gate = scene.wire(Filter::Gate, block)?;
    let mut to_jwt_authn = scene.wire(Filter::JwtAuthn, block)?;
    let mut judged = Vec::new();
    for set in block * PROVIDERS..SETS.min((block + 1) * PROVIDERS) {
        for number in 0..TOKENS_PER_SET {
            let pair = corpus.pair(set, number);
            let request = pair.request(&scene::provider(set));
            let gate = to_gate.ask(&request).await;
            let jwt_authn = to_jwt_authn.ask(&request).await;
            judged.push(Judged {
                set,
                number,
                gate: gate.with_context(|| pair.story())?,
                jwt_authn: jwt_authn.with_context(|| pair.story())?,
                pair,
            });
        }
    }
    Ok(judged)
}

/// Sends every pair again on which the gate had no verdict yet, as a client would that tries again. For an unknown
/// key the gate asks the provider once in thirty seconds, which the test skips over.
async fn ask_again(scene: &Scene, judged: &mut [Judged]) -> Result<()> {
    for round in 0..8 {
        // In two steps, so that no fetch that is under way runs out of time.
        for _ in 0..2 {
            scene.clock.pass(16)?;
            tokio::time::sleep(Duration::from_millis(600)).await;
        }
        let mut unanswered: Vec<&mut Judged> = judged
            .iter_mut()
            .filter(|one| one.gate.is_pending() || (round == 0 && one.gate.lacks_keys()))
            .collect();
        // Asking once may have the keys fetched that are there when it is asked again.
        for _ in 0..4 {
            for of_block in unanswered.chunk_by_mut(|one, next| one.block() == next.block()) {
                let mut wire = scene.wire(Filter::Gate, of_block[0].block())?;
                for one in of_block {
                    let request = one.pair.request(&scene::provider(one.set));
                    one.gate = wire.ask(&request).await?;
                }
            }
            unanswered.retain(|one| one.gate.is_pending());
            if unanswered.is_empty() {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
    let pending = judged.iter().filter(|one| one.gate.is_pending());
    let pending: Vec<String> = pending.map(told).collect();
    bail!(
        "{} are never judged:\n{}",
        pending.len(),
        pending.join("\n")
    )
}

#[derive(Default)]
struct Report {
    text: String,
    faults: Vec<String>,
}

fn report(judged: &[Judged]) -> Report {
    let mut report = Report::default();
    let of = |gate: bool, jwt_authn: bool| -> Vec<&Judged> {
        let such =
            |one: &&Judged| (one.gate.lets_in(), one.jwt_authn.lets_in()) == (gate, jwt_authn);
        judged.iter().filter(such).collect()
    };
    let (both, neither) = (of(true, true).len(), of(false, false).len());
    let _ = writeln!(
        report.text,
        "{} pairs: both let {both} in, both refuse {neither}",
        judged.len()
    );
    if both.min(neither) < LEAST_AGREED {
        report
            .faults
            .push(format!("both let {both} in and refuse {neither}"));
    }
    for one in judged {
        if !one.is_judged() {
            report
                .faults
                .push(format!("neither let in nor refused: {}", told(one)));
        }
        if one.gate.lets_in() && one.pair.signer.is_none() {
            report
                .faults
                .push(format!("no published key has signed it: {}", told(one)));
        }
    }
    report.explain(
        "only jwt_authn lets in",
        &of(false, true),
        ONLY_BY_JWT_AUTHN,
    );
    report.explain("only the gate lets in", &of(true, false), ONLY_BY_GATE);
    report
}

impl Report {
    fn explain(&mut self, who: &str, differing: &[&Judged], differences: &[Difference]) {
        let _ = writeln!(self.text, "{who} {}:", differing.len());
        let mut counts = vec![(0, 0); differences.len()];
        for one in differing {
            let applying = differences.iter().enumerate();
            let applying = applying.filter(|(_, difference)| difference.applies(&one.pair));
            let applying: Vec<usize> = applying.map(|(position, _)| position).collect();
            for position in &applying {
                counts[*position].0 += 1;
            }
            match applying[..] {
                [] => self.faults.push(format!(
                    "{who}, and no difference explains it: {}",
                    told(one)
                )),
                [only] => counts[only].1 += 1,
                _ => {}
            }
        }
        for (difference, (count, alone)) in differences.iter().zip(counts) {
            let Difference { what, why, .. } = difference;
            let _ = writeln!(self.text, "{count:6} ({alone} by it alone)  {what}. {why}");
            if alone == 0 {
                let fault = format!("{who}: nothing is explained by it alone: {what}");
                self.faults.insert(0, fault);
            }
        }
    }
}

/// Everything that is known about a pair.
fn told(one: &Judged) -> String {
    let Judged {
        set,
        number,
        pair,
        gate,
        jwt_authn,
    } = one;
    let short = |text: String| text.chars().take(400).collect::<String>();
    format!(
        "{set}/{number} [{}]: the gate {} {}, jwt_authn {} {}\n    header {}\n    claims {}\n    signed with {}",
        short(pair.story()),
        gate.status,
        gate.details,
        jwt_authn.status,
        jwt_authn.details,
        short(serde_json::json!(pair.header).to_string()),
        short(serde_json::json!(pair.claims).to_string()),
        short(
            pair.signing_key()
                .map_or("none of them".to_owned(), ToString::to_string)
        ),
    )
}
