//! The queries in `tests/queries`: which of them the gate refuses, and what it makes of the
//! others. They were written from the documentation of the languages, in the manner of public
//! dashboards, rules and Grafana's apps, with names and numbers of our own. The oracles of
//! `integration/` put the same files to the backends' own parsers.
//!
//! `PROPTEST_CASES` tries more recombinations. A failure prints its smallest input.
#![allow(clippy::unwrap_used)]

use std::cell::Cell;
use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::laws::{is_scoped_soundly, matchers};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::{Config as ProptestConfig, TestRunner};
use scopegate::scoping::query::{Failure, Language, MAX_TRACEQL, Shape, scope};
use scopegate::words::refusal::Rule;

const LANGUAGES: [Language; 3] = [Language::LogQl, Language::PromQl, Language::TraceQl];

const SHAPES: [Shape; 3] = [Shape::Pipeline, Shape::Query, Shape::Selector];

// The corpora

struct Query {
    text: String,
    /// Whether the heading above it says that the backend accepts it.
    valid: bool,
}

/// One query a line, `##` before headings; `⏎`, `␍` and `␉` stand for characters that
/// a line cannot hold or an editor would not keep.
fn corpus(language: Language) -> Vec<Query> {
    let lines = match language {
        Language::LogQl => include_str!("queries/logql.txt"),
        Language::PromQl => include_str!("queries/promql.txt"),
        Language::TraceQl => include_str!("queries/traceql.txt"),
    };
    let mut queries = Vec::new();
    let mut valid = true;
    for line in lines.split('\n').filter(|line| !line.is_empty()) {
        if let Some(heading) = line.strip_prefix("##") {
            valid = !heading.starts_with(" invalid");
        } else {
            let text = line.replace('⏎', "\n").replace('␍', "\r");
            let text = text.replace('␉', "\t");
            queries.push(Query { text, valid });
        }
    }
    queries
}

#[test]
fn each_corpus_has_four_hundred_queries_and_none_twice() {
    for language in LANGUAGES {
        let queries = corpus(language);
        assert!(queries.len() >= 400, "{language:?}: {}", queries.len());
        let mut seen = BTreeSet::new();
        for query in &queries {
            assert!(
                seen.insert(&query.text),
                "{language:?} twice: {}",
                query.text
            );
        }
    }
}

// What is refused

/// The percentage of queries accepted by the backend that the gate may refuse. If it refused
/// more, people would go around it.
const fn most_refused(language: Language) -> usize {
    match language {
        Language::LogQl => 0,
        Language::PromQl => 3,
        Language::TraceQl => 10,
    }
}

/// Every query of a corpus that is refused, with the rule and the place: a query that
/// is refused from now on fails the test, and so does one that no longer is.
const fn refused(language: Language) -> &'static [(&'static str, Rule, usize)] {
    match language {
        Language::LogQl => LOGQL_REFUSED,
        Language::PromQl => PROMQL_REFUSED,
        Language::TraceQl => TRACEQL_REFUSED,
    }
}

const PROMQL_REFUSED: &[(&str, Rule, usize)] = &[
    ("up # c\r+ 1", Rule::Comment, 6),
    ("rate(up[5m # five minutes\n])", Rule::Comment, 11),
    ("info(rate(http_requests_total[5m]))", Rule::Function, 0),
    ("info(up, {__name__=\"build_info\"})", Rule::Function, 0),
    (
        "sum by (k8s_cluster_name) (info(rate(app_calls_total[5m]), {k8s_cluster_name=~\".+\"}))",
        Rule::Function,
        27,
    ),
    ("{__name__=\"__internal__\"}", Rule::ReservedName, 10),
    ("__internal__{__query__=\"s\"}", Rule::ReservedName, 0),
    (
        "{__name__=~\"__internal__\",job=\"node\"}",
        Rule::ReservedName,
        11,
    ),
    ("up{__address__=\"10.0.0.1:9100\"}", Rule::ReservedName, 3),
    ("up{job=\"node\"", Rule::Unbalanced, 2),
    ("up}", Rule::Unbalanced, 2),
    ("sum(up", Rule::Unbalanced, 3),
    ("1 + ", Rule::Syntax, 4),
    ("{a=\"1\" or b=\"2\"}", Rule::Matcher, 7),
    ("up{job=node}", Rule::Matcher, 7),
    ("sum by job (up)", Rule::Syntax, 4),
    ("unknown_function(up)", Rule::Function, 0),
    ("up offset", Rule::Range, 9),
    ("\"unterminated", Rule::String, 0),
    ("rate(up[5m)", Rule::Range, 10),
    ("a + on(x) group_left (y)", Rule::Syntax, 24),
    ("up{job==\"node\"}", Rule::Matcher, 7),
    ("a bool b", Rule::Syntax, 2),
];

const LOGQL_REFUSED: &[(&str, Rule, usize)] = &[
    ("{app=\"x\"", Rule::Unbalanced, 0),
    ("{app=\"x\",}", Rule::Matcher, 9),
    ("{app=x}", Rule::Matcher, 5),
    ("{\"app\"=\"x\"}", Rule::Matcher, 1),
    ("{app=\"x\"} |= \"unterminated", Rule::String, 13),
    ("rate({app=\"x\"}[5m]", Rule::Unbalanced, 18),
    ("{app='x'}", Rule::Character, 5),
    (
        "sum by ( a , b ) ( rate ( {a=\"b\"} [ 1m ] ) )",
        Rule::Range,
        35,
    ),
];

const TRACEQL_REFUSED: &[(&str, Rule, usize)] = &[
    ("{ .a = 1 } // {}", Rule::Comment, 11),
    ("// all spans\n{ }", Rule::Comment, 0),
    ("{ .a = 1 /* {} */ && .b = 2 }", Rule::Comment, 9),
    ("{ .a = 1 } /* what\nfollows */ | rate()", Rule::Comment, 11),
    (
        "// calls that failed\n{ kind = server && status = error } | rate() by (resource.service.name)",
        Rule::Comment,
        0,
    ),
    (
        "{ resource.service.name =~ \"accounts-svc-eu|addresses-svc-eu|adverts-svc-eu|\
         audit-svc-eu|auth-svc-eu|baskets-svc-eu|billing-svc-eu|bookings-svc-eu|\
         campaigns-svc-eu|carts-svc-eu|catalogue-svc-eu|chat-svc-eu|checkout-svc-eu|\
         cms-svc-eu|colours-svc-eu|contacts-svc-eu|coupons-svc-eu|currency-svc-eu|\
         customers-svc-eu|delivery-svc-eu|discounts-svc-eu|email-svc-eu|events-svc-eu|\
         export-svc-eu|fraud-svc-eu|gateway-svc-eu|gifts-svc-eu|identity-svc-eu|\
         images-svc-eu|import-svc-eu|inventory-svc-eu|invoices-svc-eu|labels-svc-eu|\
         ledger-svc-eu|loyalty-svc-eu|mail-svc-eu|media-svc-eu|menus-svc-eu|\
         metering-svc-eu|offers-svc-eu|orders-svc-eu|outlets-svc-eu|parcels-svc-eu|\
         partners-svc-eu|payments-svc-eu|photos-svc-eu|pickup-svc-eu|plans-svc-eu|\
         points-svc-eu|pricing-svc-eu|printing-svc-eu|products-svc-eu|profiles-svc-eu|\
         promotions-svc-eu|quotes-svc-eu|ratings-svc-eu|receipts-svc-eu|refunds-svc-eu|\
         reports-svc-eu|returns-svc-eu|reviews-svc-eu|\
         rewards-svc-eu\" && kind = server } | rate() by (resource.service.name)",
        Rule::Length,
        1002,
    ),
    ("select(.a)", Rule::NoFilter, 0),
    ("by(.a)", Rule::NoFilter, 0),
    ("count() > 1", Rule::NoFilter, 0),
    ("avg(duration) > 1s", Rule::NoFilter, 0),
    ("{ .a = 1 } && (count() > 1)", Rule::NoFilter, 15),
    ("{ .a = 1", Rule::Unbalanced, 8),
    (
        "{ } | rate() by (parent.resource.service.name)",
        Rule::Parent,
        17,
    ),
    (".a = 1 }", Rule::NoFilter, 0),
    ("{ .a = \"unterminated }", Rule::String, 7),
    ("{ parent.a = 1 }", Rule::Parent, 2),
    ("{ .a = 'x' }", Rule::Character, 7),
    ("{ } | ", Rule::Syntax, 6),
    ("{ } | unknown()", Rule::Function, 6),
    ("{ } | rate(", Rule::Unbalanced, 11),
    ("{ } }", Rule::Unbalanced, 4),
    ("{ { } }", Rule::Unbalanced, 2),
    ("{ name == \"x\" }", Rule::Syntax, 8),
    ("{ } & { }", Rule::Syntax, 4),
];

/// As the lists above are written, to be copied from the failure.
fn list(entries: &[(&str, Rule, usize)]) -> String {
    let mut lines = String::new();
    for (text, rule, at) in entries {
        writeln!(lines, "    ({text:?}, Rule::{rule:?}, {at}),").unwrap();
    }
    lines
}

#[test]
fn what_is_refused_is_known() {
    for language in LANGUAGES {
        for matcher in &matchers(language) {
            let queries = corpus(language);
            let mut found = Vec::new();
            let mut valid_refused = 0;
            for query in &queries {
                match scope(language, Shape::Query, &query.text, matcher) {
                    Ok(_) => {}
                    Err(Failure::Refused(refusal)) => {
                        found.push((query.text.as_str(), refusal.rule, refusal.at));
                        valid_refused += usize::from(query.valid);
                    }
                    Err(Failure::Unsound) => panic!("{language:?} unsound: {}", query.text),
                }
            }
            assert!(
                found == refused(language),
                "{language:?} with {}: refused are now\n{}",
                matcher.as_str(),
                list(&found)
            );
            let valid = queries.iter().filter(|query| query.valid).count();
            assert!(
                valid_refused * 100 <= most_refused(language) * valid,
                "{language:?}: {valid_refused} of {valid} valid queries are refused"
            );
        }
    }
}

// What is scoped

#[test]
fn a_scoped_text_is_the_original_with_insertions_and_can_be_scoped_again() {
    for language in LANGUAGES {
        for matcher in &matchers(language) {
            for query in corpus(language) {
                for shape in SHAPES {
                    let checked = is_scoped_soundly(language, shape, &query.text, matcher);
                    assert_eq!(checked, Ok(()), "{language:?} {shape:?}: {}", query.text);
                }
            }
        }
    }
}

#[test]
fn traceql_is_not_sent_over_its_limit() {
    let [matcher, _] = matchers(Language::TraceQl);
    for length in 1..=MAX_TRACEQL {
        let text = format!("{{ .a = \"{}\" }}", "x".repeat(length));
        match scope(Language::TraceQl, Shape::Query, &text, &matcher) {
            Ok(scoped) => assert!(scoped.text.len() <= MAX_TRACEQL),
            Err(failure) => {
                let Failure::Refused(refusal) = failure else {
                    panic!("{failure:?}");
                };
                assert_eq!(refusal.rule, Rule::Length);
                let insertion = matcher.as_str().len() + "  && ()".len();
                assert!(text.len() + insertion > MAX_TRACEQL, "{}", text.len());
            }
        }
    }
}

// Recombinations

/// Words, numbers, runs of white space and single other characters.
fn tokens(text: &str) -> Vec<&str> {
    let class = |character: char| {
        if character.is_alphanumeric() || character == '_' {
            1
        } else if character.is_whitespace() {
            2
        } else {
            0
        }
    };
    let mut tokens = Vec::new();
    let mut begin = 0;
    let mut last = None;
    for (at, character) in text.char_indices() {
        let class = class(character);
        if last.is_some_and(|last| last == 0 || last != class) {
            tokens.push(&text[begin..at]);
            begin = at;
        }
        last = Some(class);
    }
    tokens.push(&text[begin..]);
    tokens
}

/// Where readers of a text disagree first.
const SHARP: &[&str] = &[
    "{", "}", "(", ")", "[", "]", "\"", "'", "`", "\\", "#", "//", "/*", "*/", "\n", "\r", "\t",
    "\u{feff}", "é", "µ", "\0", ",", "|", "&&", "||", ".", ":", "__", " or ", "{}",
];

#[derive(Clone, Debug)]
enum Edit {
    Delete(Index),
    Insert(Index, Index),
    InsertSharp(Index, &'static str),
    Replace(Index, Index),
    Swap(Index, Index),
    /// The rest comes from another query.
    Continue(Index, Index, Index),
}

fn edit() -> impl Strategy<Value = Edit> {
    let index = any::<Index>;
    prop_oneof![
        index().prop_map(Edit::Delete),
        (index(), index()).prop_map(|(at, token)| Edit::Insert(at, token)),
        (index(), select(SHARP)).prop_map(|(at, sharp)| Edit::InsertSharp(at, sharp)),
        (index(), index()).prop_map(|(at, token)| Edit::Replace(at, token)),
        (index(), index()).prop_map(|(one, other)| Edit::Swap(one, other)),
        (index(), index(), index()).prop_map(|(at, other, from)| Edit::Continue(at, other, from)),
    ]
}

fn recombine(queries: &[Query], pool: &[&str], first: Index, edits: &[Edit]) -> String {
    let mut text = tokens(&first.get(queries).text);
    for edit in edits {
        let length = text.len();
        match edit {
            Edit::Insert(at, token) => {
                text.insert(at.index(length + 1), pool[token.index(pool.len())]);
            }
            Edit::InsertSharp(at, sharp) => text.insert(at.index(length + 1), sharp),
            Edit::Continue(at, other, from) => {
                let other = tokens(&other.get(queries).text);
                text.truncate(at.index(length + 1));
                text.extend(&other[from.index(other.len())..]);
            }
            _ if length == 0 => {}
            Edit::Delete(at) => drop(text.remove(at.index(length))),
            Edit::Replace(at, token) => text[at.index(length)] = pool[token.index(pool.len())],
            Edit::Swap(one, other) => text.swap(one.index(length), other.index(length)),
        }
    }
    text.concat()
}

#[test]
fn recombined_queries_are_scoped_soundly_or_refused() {
    for language in LANGUAGES {
        let queries = corpus(language);
        let pool: Vec<&str> = queries
            .iter()
            .flat_map(|query| tokens(&query.text))
            .collect();
        let matchers = matchers(language);
        let scoped = Cell::new(0_u32);
        let recombinations = (any::<Index>(), vec(edit(), 0..6));
        let outcome = TestRunner::new(settings()).run(&recombinations, |(first, edits)| {
            let text = recombine(&queries, &pool, first, &edits);
            for matcher in &matchers {
                for shape in SHAPES {
                    let checked = is_scoped_soundly(language, shape, &text, matcher);
                    prop_assert_eq!(checked, Ok(()), "{:?}: {:?}", shape, text);
                }
                let accepted = scope(language, Shape::Query, &text, matcher).is_ok();
                scoped.set(scoped.get() + u32::from(accepted));
            }
            Ok(())
        });
        if let Err(failure) = outcome {
            panic!("{language:?}: {failure}");
        }
        // Else nothing was tried but refusals.
        assert!(
            scoped.get() > settings().cases / 5,
            "{language:?}: {}",
            scoped.get()
        );
    }
}

/// More than the usual 256 cases, which one text in a thousand would slip through.
fn settings() -> ProptestConfig {
    let usual = ProptestConfig::default();
    ProptestConfig {
        cases: usual.cases.max(5_000),
        failure_persistence: None,
        ..usual
    }
}
