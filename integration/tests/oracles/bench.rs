//! The queries of one language before its oracles, and the results.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Result, bail};
use integration::part::{self, Part};
use scopegate::scoping::query::Language;
use scopegate::words::refusal::Rule;

use crate::corpus;
use crate::loki::Server;
use crate::oracle::{Oracle, Question};

/// Further findings say nothing new about the same fault.
const MOST_FINDINGS: usize = 20;

/// What the oracles of one language work with: its corpus, and the row of the table that they fill.
pub struct Bench {
    pub language: Language,
    pub name: &'static str,
    pub corpus: Vec<String>,
    row: Mutex<Row>,
    /// Started when it is first asked.
    loki: Mutex<Option<Server>>,
}

impl Bench {
    pub fn new(language: Language, name: &'static str) -> Result<Self> {
        Ok(Self {
            language,
            name,
            corpus: corpus::read(name)?,
            row: Mutex::default(),
            loki: Mutex::default(),
        })
    }

    /// All available oracles for this language, in processes of their own, beginning with the backends' own parsers.
    pub fn oracles(&self) -> Result<Vec<Oracle>> {
        let mut oracles = Vec::new();
        if self.has_backend()? {
            match self.language {
                Language::LogQl => oracles.push(self.loki()?),
                Language::PromQl => {
                    oracles.push(Oracle::parser("promql")?);
                    oracles.push(Oracle::parser("mimir")?);
                }
                Language::TraceQl => {}
            }
        }
        oracles.push(Oracle::grammars()?);
        Ok(oracles)
    }

    /// One server for all who ask.
    fn loki(&self) -> Result<Oracle> {
        let mut loki = self.loki.lock().unwrap_or_else(PoisonError::into_inner);
        let server = match loki.take() {
            Some(server) => server,
            None => Server::start()?,
        };
        Oracle::loki(loki.insert(server).connect()?)
    }

    /// The parts without which nothing can be said.
    pub const fn needs(&self) -> &'static [Part] {
        match self.language {
            // Its grammar takes much that no backend reads so, and alone would raise alarm for that.
            Language::PromQl => &[part::ORACLES, part::LEZER],
            Language::LogQl | Language::TraceQl => &[part::LEZER],
        }
    }

    /// The parts with which more can be said.
    pub const fn wants(&self) -> &'static [Part] {
        match self.language {
            Language::LogQl => &[part::LOKI],
            Language::PromQl | Language::TraceQl => &[],
        }
    }

    /// Whether a backend's own parser is among the oracles.
    pub fn has_backend(&self) -> Result<bool> {
        Ok(self.language != Language::TraceQl && part::lacking(self.wants())?.is_none())
    }

    pub const fn question<'a>(&self, query: &'a str) -> Question<'a> {
        Question {
            language: self.name,
            role: None,
            query,
        }
    }

    /// The table of this language.
    pub fn tell(&self) {
        let row = self.row();
        println!("==== {} ====", self.name);
        println!("corpus                   {:>9}", self.corpus.len());
        for (oracle, valid) in &row.valid {
            println!("  valid to {oracle:<15} {valid:>9}");
        }
        if !row.valid.is_empty() {
            println!("  valid, yet refused     {:>9}", row.refused.len());
        }
        let mut rules: BTreeMap<&str, usize> = BTreeMap::new();
        for (rule, _) in &row.refused {
            *rules.entry(rule.words()).or_default() += 1;
        }
        for (rule, count) in rules {
            println!("    {count:>4} {rule}");
        }
        for (_, refusal) in &row.refused {
            println!("      {refusal}");
        }
        let mutations = &row.mutations;
        if mutations.made > 0 {
            mutations.tell();
        }
        println!();
    }

    pub fn row(&self) -> MutexGuard<'_, Row> {
        self.row.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The results that are printed at the end.
#[derive(Default)]
pub struct Row {
    /// Queries of the corpus that each oracle takes.
    pub valid: Vec<(&'static str, usize)>,
    /// Queries of the corpus that a backend takes and the gate does not.
    pub refused: Vec<(Rule, String)>,
    pub mutations: Mutations,
}

/// The results of the mutations.
#[derive(Default)]
pub struct Mutations {
    pub made: u64,
    pub accepted_by_gate: u64,
    pub accepted_by_oracle: u64,
    pub by_oracle: BTreeMap<&'static str, Tally>,
    /// Unscoped for the grammars, although no backend accepts the query at all.
    pub only_grammars: u64,
    /// Some that the gate refused were shown to an oracle as they were: how many, and how many were valid.
    pub refused_asked: u64,
    pub refused_valid: BTreeMap<&'static str, (u64, String)>,
    pub refused_valid_total: u64,
    pub faults: usize,
    pub seconds: u64,
}

impl Mutations {
    fn tell(&self) {
        println!(
            "mutations                {:>9} in {} s",
            self.made, self.seconds
        );
        println!("  accepted by the gate   {:>9}", self.accepted_by_gate);
        println!("  also by an oracle        {:>9}", self.accepted_by_oracle);
        for (oracle, tally) in &self.by_oracle {
            println!(
                "    {oracle:<20} {:>9} of {} asked",
                tally.accepted, tally.asked
            );
        }
        println!("  unscoped, or wrong     {:>9}", self.faults);
        if self.only_grammars > 0 {
            println!(
                "    (and {} that only lezer reads, and reads as unscoped)",
                self.only_grammars
            );
        }
        println!(
            "  of {} refused ones shown to the first oracle {} are valid",
            self.refused_asked, self.refused_valid_total
        );
        for (rule, (count, example)) in &self.refused_valid {
            println!("    {count:>4} {rule}, e.g. {example}");
        }
    }
}

/// What one oracle was asked and took.
#[derive(Clone, Copy, Default)]
pub struct Tally {
    pub asked: u64,
    pub accepted: u64,
}

/// What is wrong.
#[derive(Default)]
pub struct Findings(Mutex<Vec<String>>);

impl Findings {
    pub fn add(&self, finding: String) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(finding);
    }

    pub fn len(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    pub fn is_enough(&self) -> bool {
        self.len() >= MOST_FINDINGS
    }

    /// # Errors
    /// There are some.
    pub fn conclude(self) -> Result<()> {
        let findings = self.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        if findings.is_empty() {
            return Ok(());
        }
        let shown = findings.get(..MOST_FINDINGS).unwrap_or(&findings);
        bail!("{} findings:\n{}", findings.len(), shown.join("\n"));
    }
}
