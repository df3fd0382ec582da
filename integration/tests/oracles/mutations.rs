//! The corpora, changed at random: for every oracle, whatever the gate lets through is scoped.

use std::num::NonZero;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use scopegate::scoping::query::{self, Failure, Language, Matcher, Scoped, Shape};
use scopegate::words::refusal::Refusal;

use crate::bench::{Bench, Findings, Mutations, Tally};
use crate::check;
use crate::mutate::{Mutator, Random};
use crate::oracle::{Oracle, Question};
use crate::scopes::{CASES, Case};

/// Asked about at once; what a block holds depends on the seed and its number alone.
const BLOCK: u64 = 1_000;

/// Without a time in `SCOPEGATE_FUZZ_SECONDS`: so many, but no longer than that, which is about what a running Loki
/// takes.
const ENOUGH: u64 = 1_000_000;
const LONGEST: Duration = Duration::from_secs(120);

/// Shares of what is asked beside the backends' word on what the gate lets through: one in so many.
const GRAMMARS_SHARE: usize = 4;
const ORIGINALS_SHARE: usize = 32;

/// When to stop.
struct Bounds {
    blocks: u64,
    time: Duration,
}

impl Bounds {
    fn from_environment() -> Result<Self> {
        Ok(match std::env::var("SCOPEGATE_FUZZ_SECONDS") {
            Ok(seconds) => Self {
                blocks: u64::MAX,
                time: Duration::from_secs(seconds.parse().context("SCOPEGATE_FUZZ_SECONDS")?),
            },
            Err(_) => Self {
                blocks: ENOUGH / BLOCK,
                time: LONGEST,
            },
        })
    }
}

pub fn run(bench: &Bench) -> Result<()> {
    let seed = match std::env::var("SCOPEGATE_SEED") {
        Ok(seed) => seed.parse().context("SCOPEGATE_SEED")?,
        Err(_) => u64::try_from(integration::token::now())?,
    };
    println!("{}: SCOPEGATE_SEED={seed} repeats it", bench.name);
    let bounds = Bounds::from_environment()?;
    let shared = Shared {
        bench,
        has_backend: bench.has_backend()?,
        mutator: Mutator::new(bench.language, &bench.corpus),
        matchers: CASES
            .iter()
            .map(|case| case.matcher(bench.language))
            .collect::<Result<_>>()?,
        seed,
        next: AtomicU64::new(0),
        findings: Findings::default(),
        total: Mutex::default(),
    };
    let started = Instant::now();
    let workers = thread::available_parallelism().map_or(1, NonZero::get);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..workers)
            .map(|_| scope.spawn(|| shared.work(&bounds, started)))
            .collect();
        for worker in workers {
            worker.join().map_err(|_| anyhow::anyhow!("a panic"))??;
        }
        Ok::<_, anyhow::Error>(())
    })?;
    let mut total = shared
        .total
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    total.faults = shared.findings.len();
    total.seconds = started.elapsed().as_secs();
    bench.row().mutations = total;
    shared.findings.conclude()
}

struct Shared<'a> {
    bench: &'a Bench,
    has_backend: bool,
    mutator: Mutator<'a>,
    matchers: Vec<Matcher>,
    seed: u64,
    next: AtomicU64,
    findings: Findings,
    total: Mutex<Mutations>,
}

/// A mutation that the gate lets through.
struct Mutant {
    shape: Shape,
    case: &'static Case,
    text: String,
    scoped: Scoped,
    /// Which oracles of small shares are asked.
    draw: usize,
    accepted: bool,
}

impl Shared<'_> {
    fn work(&self, bounds: &Bounds, started: Instant) -> Result<()> {
        let mut oracles = self.bench.oracles()?;
        while started.elapsed() < bounds.time && !self.findings.is_enough() {
            let block = self.next.fetch_add(1, Ordering::Relaxed);
            if block >= bounds.blocks {
                break;
            }
            self.block(block, &mut oracles)?;
        }
        Ok(())
    }

    fn block(&self, block: u64, oracles: &mut [Oracle]) -> Result<()> {
        let mut random = Random::new(self.seed, block);
        let mut tally = Mutations::default();
        let mut mutants = Vec::new();
        let mut refused = Vec::new();
        let mut accepted = Vec::new();
        for _ in 0..BLOCK {
            let text = self.mutator.mutate(&accepted, &mut random);
            let number = random.below(CASES.len());
            let shape = self.shape(&mut random);
            let draw = random.below(9_600);
            tally.made += 1;
            match query::scope(self.bench.language, shape, &text, &self.matchers[number]) {
                Ok(scoped) => {
                    accepted.push(text.clone());
                    mutants.push(Mutant {
                        shape,
                        case: &CASES[number],
                        text,
                        scoped,
                        draw,
                        accepted: false,
                    });
                }
                Err(Failure::Refused(refusal)) => {
                    if shape == Shape::Query && draw.is_multiple_of(ORIGINALS_SHARE) {
                        refused.push((text, refusal));
                    }
                }
                Err(Failure::Unsound) => self.findings.add(format!(
                    "the second reading disagrees\n    query  {text:?} as {shape:?}\n    scope  {}",
                    self.matchers[number].as_str()
                )),
            }
        }
        for mutant in &mutants {
            if let Err(wrong) = check::original(&mutant.scoped, &mutant.text) {
                self.found("the gate", &wrong, mutant);
            }
        }
        for oracle in oracles.iter_mut() {
            self.ask(oracle, &mut mutants, &mut tally)?;
        }
        if let Some(oracle) = oracles.first_mut() {
            self.ask_refused(oracle, &refused, &mut tally)?;
            self.ask_originals(oracle, &mutants)?;
        }
        tally.accepted_by_gate += u64::try_from(mutants.len())?;
        let accepted = mutants.iter().filter(|mutant| mutant.accepted).count();
        tally.accepted_by_oracle += u64::try_from(accepted)?;
        self.total
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .add(tally);
        Ok(())
    }

    fn shape(&self, random: &mut Random) -> Shape {
        match self.bench.language {
            Language::LogQl if random.one_in(8) => Shape::Pipeline,
            _ if random.one_in(12) => Shape::Selector,
            _ => Shape::Query,
        }
    }

    /// Whether this oracle is asked about this mutation.
    fn is_asked(&self, oracle: &Oracle, mutant: &Mutant) -> bool {
        oracle.is_backend || !self.has_backend || mutant.draw.is_multiple_of(GRAMMARS_SHARE)
    }

    fn ask(
        &self,
        oracle: &mut Oracle,
        mutants: &mut [Mutant],
        tally: &mut Mutations,
    ) -> Result<()> {
        let mut asked = Vec::new();
        let mut questions = Vec::new();
        for (position, mutant) in mutants.iter().enumerate() {
            if !self.is_asked(oracle, mutant) {
                continue;
            }
            asked.push(position);
            questions.push(self.bench.question(&mutant.scoped.text));
            // `match[]` has a grammar of its own, though a client may send the same as a query.
            if mutant.shape == Shape::Selector && oracle.knows_selectors {
                asked.push(position);
                questions.push(Question {
                    role: Some("selector"),
                    ..self.bench.question(&mutant.scoped.text)
                });
            }
        }
        let answers = oracle.ask(&questions)?;
        let mut count = Tally::default();
        for (position, answer) in asked.into_iter().zip(&answers) {
            let mutant = &mut mutants[position];
            count.asked += 1;
            count.accepted += u64::from(answer.is_valid());
            let counted = mutant.scoped.selectors;
            let found = check::selectors(self.bench.language, mutant.case, counted, answer);
            // The grammars take much that no backend takes, and what no backend takes selects nothing. They are asked
            // last.
            if !oracle.is_backend && self.has_backend && !mutant.accepted {
                tally.only_grammars += u64::from(found.is_err());
                continue;
            }
            mutant.accepted |= answer.is_valid();
            if let Err(wrong) = found {
                self.found(oracle.name, &wrong, mutant);
            }
        }
        tally.by_oracle.insert(oracle.name, count);
        Ok(())
    }

    /// How many of the refused ones would have been queries.
    fn ask_refused(
        &self,
        oracle: &mut Oracle,
        refused: &[(String, Refusal)],
        tally: &mut Mutations,
    ) -> Result<()> {
        let questions: Vec<_> = refused
            .iter()
            .map(|(text, _)| self.bench.question(text))
            .collect();
        for ((text, refusal), answer) in refused.iter().zip(oracle.ask(&questions)?) {
            tally.refused_asked += 1;
            if answer.is_valid() {
                tally.refused_valid_total += 1;
                let (count, _) = tally
                    .refused_valid
                    .entry(refusal.rule.words())
                    .or_insert_with(|| (0, format!("{refusal}: {text:?}")));
                *count += 1;
            }
        }
        Ok(())
    }

    /// What was a query must be one with the scope too.
    fn ask_originals(&self, oracle: &mut Oracle, mutants: &[Mutant]) -> Result<()> {
        let some: Vec<&Mutant> = mutants
            .iter()
            .filter(|mutant| {
                mutant.shape == Shape::Query && mutant.draw.is_multiple_of(ORIGINALS_SHARE)
            })
            .collect();
        let ask = |oracle: &mut Oracle, texts: Vec<&str>| {
            let questions: Vec<_> = texts
                .into_iter()
                .map(|text| self.bench.question(text))
                .collect();
            oracle.ask(&questions)
        };
        let before = ask(oracle, some.iter().map(|m| m.text.as_str()).collect())?;
        let after = ask(
            oracle,
            some.iter().map(|m| m.scoped.text.as_str()).collect(),
        )?;
        for ((mutant, before), after) in some.into_iter().zip(before).zip(after) {
            if before.is_valid() && !after.is_valid() {
                let wrong = format!("valid before, now {:?}", after.error);
                self.found(oracle.name, &wrong, mutant);
            }
        }
        Ok(())
    }

    fn found(&self, who: &str, wrong: &str, mutant: &Mutant) {
        self.findings.add(format!(
            "{who}: {wrong}\n    query  {:?} as {:?}\n    scope  {}\n    scoped {:?}",
            mutant.text, mutant.shape, mutant.case.labels, mutant.scoped.text
        ));
    }
}

impl Mutations {
    fn add(&mut self, block: Self) {
        self.made += block.made;
        self.accepted_by_gate += block.accepted_by_gate;
        self.accepted_by_oracle += block.accepted_by_oracle;
        self.only_grammars += block.only_grammars;
        self.refused_asked += block.refused_asked;
        self.refused_valid_total += block.refused_valid_total;
        for (oracle, tally) in block.by_oracle {
            let sum = self.by_oracle.entry(oracle).or_default();
            sum.asked += tally.asked;
            sum.accepted += tally.accepted;
        }
        for (rule, (count, example)) in block.refused_valid {
            self.refused_valid.entry(rule).or_insert((0, example)).0 += count;
        }
    }
}
