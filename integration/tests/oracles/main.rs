//! What the gate lets through, judged by others: the backends' own parsers and the grammars of the editors.
//!
//! | test | asks |
//! |---|---|
//! | [`canary`] | would the oracles notice a selector that is not scoped |
//! | [`corpus`] | is every query of `tests/queries` scoped and still valid; which valid ones are refused |
//! | [`mutations`] | the same for a million random changes of them, which nobody would write |
//!
//! If Loki is not available, LogQL is read by its grammar alone, and the tests count as skipped.
//!
//! `SCOPEGATE_SEED` repeats the mutations, and `SCOPEGATE_FUZZ_SECONDS` makes as many as that time allows for each
//! language. `cargo test -p integration --features stack --test oracles -- NAME` runs the tests whose names contain
//! NAME.

mod bench;
mod canary;
mod check;
mod corpus;
mod loki;
mod mutate;
mod mutations;
mod oracle;
mod scopes;
mod words;

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Result;
use integration::trial;
use libtest_mimic::{Arguments, Trial};
use scopegate::scoping::query::Language;

use bench::Bench;

const LANGUAGES: [(Language, &str); 3] = [
    (Language::PromQl, "promql"),
    (Language::LogQl, "logql"),
    (Language::TraceQl, "traceql"),
];

/// What is tried with each language.
type Test = (&'static str, fn(&Bench) -> Result<()>);

const TESTS: [Test; 3] = [
    ("canary", canary::run),
    ("corpus", corpus::run),
    ("mutations", mutations::run),
];

fn main() -> ExitCode {
    let arguments = Arguments {
        // Each takes all processors that there are.
        test_threads: Some(1),
        ..Arguments::from_args()
    };
    match run(&arguments) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("oracles: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<ExitCode> {
    if arguments.list {
        let names = LANGUAGES
            .iter()
            .flat_map(|(_, language)| TESTS.map(|(test, _)| format!("{language}::{test}")));
        let trials = names.map(|name| Trial::test(name, || Ok(()))).collect();
        return Ok(libtest_mimic::run(arguments, trials).exit_code());
    }
    let mut benches = Vec::new();
    let mut trials = Vec::new();
    for (language, name) in LANGUAGES {
        let bench = Arc::new(Bench::new(language, name)?);
        for (test, run) in TESTS {
            let bench = Arc::clone(&bench);
            let (needs, wants) = (bench.needs(), bench.wants());
            let name = format!("{name}::{test}");
            trials.push(trial::wanting(&name, needs, wants, move || run(&bench)));
        }
        benches.push(bench);
    }
    let conclusion = libtest_mimic::run(arguments, trials);
    for bench in benches {
        bench.tell();
    }
    Ok(conclusion.exit_code())
}
