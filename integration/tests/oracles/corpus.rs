//! The queries of `tests/queries`: which of them the gate refuses, and whether it scopes the others.

use std::fs;

use anyhow::{Context, Result, ensure};
use integration::paths;
use scopegate::scoping::query::{self, Failure, Shape};

use crate::bench::{Bench, Findings};
use crate::check;
use crate::oracle::{Answer, Oracle};
use crate::scopes::{CASES, PLAIN};

/// The fewest queries that say something about a language.
const ENOUGH: usize = 400;

/// One query a line; `⏎`, `␍` and `␉` stand for what ends or changes a line.
pub fn read(name: &str) -> Result<Vec<String>> {
    let path = paths::repository().join(format!("tests/queries/{name}.txt"));
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let queries: Vec<String> = text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with("##"))
        .map(|line| {
            line.replace('⏎', "\n")
                .replace('␍', "\r")
                .replace('␉', "\t")
        })
        .collect();
    ensure!(
        queries.len() >= ENOUGH,
        "{} has only {} queries",
        path.display(),
        queries.len()
    );
    Ok(queries)
}

/// Every query with every scope: scoped in the eyes of every oracle, and still a query if it was one.
pub fn run(bench: &Bench) -> Result<()> {
    let has_backend = bench.has_backend()?;
    let mut oracles = bench.oracles()?;
    let mut before = Vec::new();
    for oracle in &mut oracles {
        before.push(ask_all(bench, oracle, bench.corpus.iter())?);
    }

    let findings = Findings::default();
    let mut refused = Vec::new();
    for case in CASES {
        let matcher = case.matcher(bench.language)?;
        let mut scoped = Vec::new();
        for (position, text) in bench.corpus.iter().enumerate() {
            match query::scope(bench.language, Shape::Query, text, &matcher) {
                Ok(result) => {
                    if let Err(wrong) = check::original(&result, text) {
                        findings.add(format!("{wrong}\n    query  {text:?}"));
                    }
                    scoped.push((position, result));
                }
                // With another scope it is too long at most.
                Err(Failure::Refused(refusal)) if std::ptr::eq(case, PLAIN) => {
                    refused.push((position, refusal));
                }
                Err(Failure::Refused(_)) => {}
                Err(Failure::Unsound) => findings.add(format!(
                    "the second reading disagrees\n    query  {text:?}\n    scope  {}",
                    matcher.as_str()
                )),
            }
        }
        for (oracle, before) in oracles.iter_mut().zip(&before) {
            let texts = scoped.iter().map(|(_, result)| &result.text);
            let answers = ask_all(bench, oracle, texts)?;
            for ((position, result), answer) in scoped.iter().zip(&answers) {
                let found = check::selectors(bench.language, case, result.selectors, answer);
                let was_valid = before.get(*position).is_some_and(Answer::is_valid);
                let wrong = found.err().or_else(|| {
                    (was_valid && !answer.is_valid())
                        .then(|| format!("valid before, now {:?}", answer.error))
                });
                if let Some(wrong) = wrong {
                    findings.add(format!(
                        "{}: {wrong}\n    query  {:?}\n    scoped {:?}",
                        oracle.name, bench.corpus[*position], result.text
                    ));
                }
            }
        }
    }

    let mut row = bench.row();
    for (oracle, before) in oracles.iter().zip(&before) {
        let valid = before.iter().filter(|answer| answer.is_valid()).count();
        row.valid.push((oracle.name, valid));
    }
    for (position, refusal) in refused {
        // The backends' own word counts, where they have one.
        let says_valid: Vec<&str> = oracles
            .iter()
            .zip(&before)
            .filter(|(oracle, _)| oracle.is_backend || !has_backend)
            .filter(|(_, before)| before.get(position).is_some_and(Answer::is_valid))
            .map(|(oracle, _)| oracle.name)
            .collect();
        if says_valid.is_empty() {
            continue;
        }
        let (text, says_valid) = (&bench.corpus[position], says_valid.join(", "));
        row.refused
            .push((refusal.rule, format!("{refusal}: {text:?} [{says_valid}]")));
    }
    drop(row);
    findings.conclude()
}

fn ask_all<'a>(
    bench: &Bench,
    oracle: &mut Oracle,
    texts: impl Iterator<Item = &'a String>,
) -> Result<Vec<Answer>> {
    let questions: Vec<_> = texts.map(|text| bench.question(text)).collect();
    oracle.ask(&questions)
}
