//! Whether the oracles work: they must notice queries with a selector that is not scoped.

use anyhow::{Result, ensure};
use scopegate::scoping::query::{self, Language, Shape};

use crate::bench::{Bench, Findings};
use crate::check;
use crate::scopes::PLAIN;

/// How many of the made ones an oracle must take for its silence to mean something.
const ENOUGH: usize = 200;

/// `M` stands for the matcher. Each has a selector without it, and one at most with it.
const PROMQL: &[&str] = &[
    "down",
    "sum(up{M}) + down",
    "down + sum(up{M})",
    "topk(scalar(s), x{M})",
    "quantile_over_time(scalar(s), x{M}[5m])",
    "count_values without (a) (\"x\", y)",
    "max_over_time((x{M} + y)[5m:1m])",
    "x{M} * on (a) group_left (b) y",
    "x{M} # {M}\n+ y # {M}",
    "label_replace(y, \"a\", \"$1\", \"c\", \"scope_rid\") or x{M}",
    "-(-(y offset 5m @ start()))",
    "info(x{M}, {a=\"b\"})",
    "clamp(x{M}, scalar(min), 1)",
    "sum by (up) (offset)",
    "rate(y[5m] smoothed) + x{M}",
    "{M} or {\"scope_rid\"}",
    "{scope_rid!=\"r-1\", a=\"b\"}",
    "{scope_rid=~\"r-1\"}",
    "{scope_rid=\"r-11\"}",
    "{scope_rid2=\"r-1\"}",
    "{a=\"scope_rid=\\\"r-1\\\"\"}",
];

const LOGQL: &[&str] = &[
    "{a=\"b\"}",
    "{a=\"b\"} | scope_rid=\"r-1\"",
    "{a=\"b\"} |= `{M}`",
    "rate({M}[5m]) + rate({a=\"b\"}[5m])",
    "sum(count_over_time({a=\"b\"} # {M}\n[5m]))",
    "topk(5, rate({a=\"b\"} | json | unwrap c [1m]))",
    "label_replace(rate({a=\"b\"}[1m]), \"a\", \"$1\", \"b\", \"(.*)\")",
    "sum(rate({a=\"b\"}[1m])) / on () group_left () sum(rate({M}[1m]))",
    "vector(1) or sum(rate({a=\"b\"}[1m]))",
    "variants(count_over_time({M}[5m])) of ({a=\"b\"}[5m])",
    "variants(count_over_time({a=\"b\"}[5m])) of ({M}[5m])",
    "{scope_rid!=\"r-1\", a=\"b\"}",
    "{scope_rid=~\"r-1\"}",
    "{scope_rid=\"r-11\"}",
    "{scope_rid2=\"r-1\"}",
];

const TRACEQL: &[&str] = &[
    "{ }",
    "{ .a = 1 }",
    "{ M } || { .a = 1 }",
    "({ .a = 1 }) >> ({ M })",
    "{ M || .b = 1 }",
    "{ .a = 1 && M }",
    "{ M && (.a = 1) || (.b = 2) }",
    "{ M && (.a = \")\" || .b = 2) || .c = 3 }",
    "{ M } | select(.a) | { .b = 2 }",
    "({ M } | rate()) / ({ } | rate())",
    "{ M } | compare({ .x = 1 })",
    "{ resource.scope_rid != \"r-1\" }",
    "{ resource.scope_rid = \"r-11\" }",
    "{ .scope_rid = \"r-1\" }",
];

pub fn run(bench: &Bench) -> Result<()> {
    let (list, matcher) = match bench.language {
        Language::LogQl => (LOGQL, PLAIN.labels),
        Language::PromQl => (PROMQL, PLAIN.labels),
        Language::TraceQl => (TRACEQL, PLAIN.attributes),
    };
    let written: Vec<String> = list
        .iter()
        .map(|text| text.replace('M', matcher))
        .chain([once_too_often(bench.language, matcher)])
        .collect();
    let made = unscoped(bench)?;
    let findings = Findings::default();
    for oracle in &mut bench.oracles()? {
        for (text, counted) in made.iter().map(|(text, n)| (text, *n)).chain(
            // What is counted once must not be found twice.
            written.iter().map(|text| (text, 1)),
        ) {
            let answer = oracle.ask_one(bench.question(text))?;
            if answer.selectors.is_some()
                && check::selectors(bench.language, PLAIN, counted, &answer).is_ok()
            {
                findings.add(format!("{} does not notice {text:?}", oracle.name));
            }
        }
        // Silence about what it refuses proves nothing.
        let mut refused = Vec::new();
        for text in &written {
            if oracle.ask_one(bench.question(text))?.selectors.is_none() {
                refused.push(text);
            }
        }
        let few = if oracle.is_backend {
            0
        } else {
            written.len() / 3
        };
        ensure!(
            refused.len() <= few,
            "{} refuses canaries: {refused:?}",
            oracle.name
        );
        let mut taken = 0;
        for (text, _) in &made {
            taken += usize::from(oracle.ask_one(bench.question(text))?.selectors.is_some());
        }
        ensure!(
            taken >= ENOUGH,
            "{} reads only {taken} of {} queries with a selector unscoped",
            oracle.name,
            made.len()
        );
        println!(
            "{}: {} notices all of {taken} queries unscoped on purpose",
            bench.name, oracle.name
        );
    }
    findings.conclude()
}

/// Two selectors where the gate would have counted one.
fn once_too_often(language: Language, matcher: &str) -> String {
    match language {
        Language::LogQl => format!("rate({{{matcher}}}[5m]) + rate({{{matcher}}}[5m])"),
        Language::PromQl => format!("x{{{matcher}}} + y{{{matcher}}}"),
        Language::TraceQl => format!("{{ {matcher} }} || {{ {matcher} }}"),
    }
}

/// Each query of the corpus scoped, but for one of its selectors, which has another label; and how many it has.
fn unscoped(bench: &Bench) -> Result<Vec<(String, usize)>> {
    let matcher = PLAIN.matcher(bench.language)?;
    let mut made = Vec::new();
    for text in &bench.corpus {
        let Ok(scoped) = query::scope(bench.language, Shape::Query, text, &matcher) else {
            continue;
        };
        let places = scoped.insertions.iter().filter(|insertion| {
            let inserted = scoped.text.get((*insertion).clone());
            inserted.is_some_and(|inserted| inserted.contains(matcher.as_str()))
        });
        for place in places {
            let (before, rest) = scoped.text.split_at(place.start);
            let rest = rest.replacen("scope_rid", "other_rid", 1);
            made.push((format!("{before}{rest}"), scoped.selectors));
        }
    }
    Ok(made)
}
