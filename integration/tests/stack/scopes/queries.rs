//! Queries about the data of [`super::scene`]: those of a corpus, adapted, and others from templates.

use std::fs;

use anyhow::{Context, Result, ensure};
use integration::drill::Random;
use integration::paths;

/// The queries of a corpus.
pub fn read(name: &str) -> Result<Vec<String>> {
    let path = paths::repository().join("tests/queries").join(name);
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let queries = text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with("##"));
    let queries: Vec<String> = queries
        .map(|line| {
            line.replace('⏎', "\n")
                .replace('␍', "\r")
                .replace('␉', "\t")
        })
        .collect();
    ensure!(
        queries.len() > 400,
        "{} queries in {}",
        queries.len(),
        path.display()
    );
    Ok(queries)
}

/// Loki answers those by `query_range` only.
pub fn is_log_query(query: &str) -> bool {
    query.trim_start().starts_with(['{', '(', '#'])
}

pub const LOG_SELECTORS: &[&str] = &[
    "{bird=~\".+\"}",
    "{plot!=\"\"}",
    "{ namespace != \"\" , plot=~`.*i.*` }",
    "{resource_id=\"quartz\"}",
    "{namespace!=\"web\",bird!=\"\"}",
];

pub const METRIC_SELECTORS: &[&str] = &[
    "{bird=~\".+\"}",
    "{plot!=\"\",}",
    "{ \"bird\" != \"\" }",
    "{resource_id='quartz'}",
    "{namespace!=\"web\"}",
];

/// With one of these in place of each selector.
pub fn with_selectors(text: &str, random: &mut Random, selectors: &[&str]) -> String {
    let mut out = String::new();
    let mut inside = false;
    for (piece, string) in pieces(text) {
        if string {
            if !inside {
                out.push_str(piece);
            }
            continue;
        }
        for character in piece.chars() {
            match character {
                '{' => {
                    inside = true;
                    out.push_str(selectors[random.below(selectors.len())]);
                }
                '}' => inside = false,
                other if !inside => out.push(other),
                _ => {}
            }
        }
    }
    out
}

/// The text as strings and what lies between them.
fn pieces(text: &str) -> Vec<(&str, bool)> {
    let mut pieces = Vec::new();
    let (mut start, mut quote, mut escaped) = (0, None, false);
    for (at, character) in text.char_indices() {
        match quote {
            None if "\"'`".contains(character) => {
                pieces.push((&text[start..at], false));
                (start, quote) = (at, Some(character));
            }
            Some(open) if character == open && !escaped => {
                let end = at + character.len_utf8();
                pieces.push((&text[start..end], true));
                (start, quote) = (end, None);
            }
            Some(open) => escaped = character == '\\' && open != '`' && !escaped,
            None => {}
        }
    }
    pieces.push((&text[start..], quote.is_some()));
    pieces
}

/// With a metric that is there in place of each that a corpus names: a word with an underscore or a colon, where no
/// label stands.
pub fn with_metrics(text: &str, random: &mut Random) -> String {
    const METRICS: &[&str] = &[
        "birds_total",
        "birds_total",
        "kestrel_nests",
        "{__name__=~\"birds.*\"}",
    ];
    let mut out = String::new();
    let (mut braces, mut labels) = (0_usize, false);
    for (piece, string) in pieces(text) {
        if string {
            out.push_str(piece);
            continue;
        }
        let mut rest = piece;
        while let Some(first) = rest.chars().next() {
            let length = rest
                .find(|character: char| {
                    !(character.is_ascii_alphanumeric() || "_:".contains(character))
                })
                .unwrap_or(rest.len());
            let (token, tail) = rest.split_at(if length == 0 {
                first.len_utf8()
            } else {
                length
            });
            match token {
                "{" => braces += 1,
                "}" => braces = braces.saturating_sub(1),
                ")" => labels = false,
                "by" | "without" | "on" | "ignoring" | "group_left" | "group_right" => {
                    labels = tail.trim_start().starts_with('(');
                }
                _ => {}
            }
            let next = tail.trim_start();
            let metric = braces == 0
                && !labels
                && !first.is_ascii_digit()
                && first != ':'
                && (token.contains('_') || token == "up")
                && !token.starts_with("group_")
                && !next.starts_with(['(', '{']);
            out.push_str(if metric {
                METRICS[random.below(METRICS.len())]
            } else {
                token
            });
            rest = tail;
        }
    }
    out
}

fn pick<'text>(random: &mut Random, list: &[&'text str]) -> &'text str {
    list[random.below(list.len())]
}

/// With marks for the scope; nothing in it depends on an order that a server is free to choose, such as the least of a
/// `topk`.
pub fn metric_query(random: &mut Random, depth: usize) -> String {
    const SERIES: &[&str] = &[
        "birds_total§",
        "birds_total{bird=~\".+\"~}",
        "{bird!=\"\",plot!=\"\"~}",
        "{__name__=\"birds_total\"~}",
        "birds_total{resource_id='quartz'~}",
        "birds_total{namespace!=\"web\"~}",
        "birds_total# {plot=\"x\"}\n§",
    ];
    const BY: &[&str] = &[
        "by (bird)",
        "by (namespace, resource_id)",
        "without (plot)",
        "",
    ];
    let series = pick(random, SERIES);
    if depth == 0 {
        return series.to_owned();
    }
    let inner = metric_query(random, depth - 1);
    match random.below(12) {
        0 => format!(
            "{} {} ({inner})",
            pick(random, &["sum", "max", "count", "avg", "group"]),
            pick(random, BY)
        ),
        1 => format!(
            "sum by (bird, resource_id) (rate(birds_total{{bird!=\"\"~}}[{}]))",
            pick(random, &["30s", "1m", "5m"])
        ),
        2 => format!("topk({}, {inner})", 500 + random.below(9)),
        3 => format!("label_replace({inner}, \"copy\", \"$1\", \"bird\", \"(.*)\")"),
        4 => format!("max_over_time(({inner})[1m:10s])"),
        5 => format!(
            "({inner}) {} on (bird, resource_id, __name__) {series}",
            pick(random, &["and", "unless", "or"])
        ),
        6 => format!(
            "-({inner}) {} {}",
            pick(random, &["+", "*", "> bool", "<"]),
            random.below(50)
        ),
        7 => format!("quantile(scalar(count({series})) / 100, {inner})"),
        8 => format!("count_values {} (\"amount\", {inner})", pick(random, BY)),
        9 => format!("last_over_time({series}[1m] offset {}s)", random.below(9)),
        10 => format!("{series} @ end() or {inner}"),
        _ => format!("sort_desc({inner})"),
    }
}

/// The same of logs.
pub fn log_query(random: &mut Random, depth: usize) -> String {
    const STREAMS: &[&str] = &[
        "{bird=~\".+\"~}",
        "{ plot != \"\" ~ }",
        "{namespace=~\"web|shop|vault\"~}",
        "{resource_id=`basalt`~}",
        "{bird!~\"x.*\",plot!=\"\"~} # {plot=\"x\"}\n",
    ];
    const STAGES: &[&str] = &[
        "|= \"by the\"",
        "!= \"}{\"",
        "|~ `a .* by`",
        "| logfmt",
        "| json",
        "| logfmt | plumage != \"\"",
        "| line_format `{{.bird}} {{ __line__ }}`",
        "| logfmt | label_format copy=plumage, namespace=`web`",
        "| drop namespace",
        "| keep bird, resource_id",
        "| decolorize",
        "| pattern `<_> plumage=<feather> <_>`",
        "| regexp `(?P<stone>by the \\w+)`",
    ];
    let mut logs = pick(random, STREAMS).to_owned();
    for _ in 0..random.below(4) {
        logs = format!("{logs} {}", pick(random, STAGES));
    }
    if depth == 3 && random.below(3) == 0 {
        return logs;
    }
    let range = format!(
        "{}({logs} [{}])",
        pick(random, &["count_over_time", "rate", "bytes_over_time"]),
        pick(random, &["1m", "5m"])
    );
    if depth == 0 {
        return format!("sum by (bird) ({range})");
    }
    let inner = log_query(random, depth.min(2) - 1);
    match random.below(7) {
        0 => format!("sum by (bird, namespace) ({range})"),
        1 => format!("topk({}, {inner})", 500 + random.below(9)),
        2 => format!(
            "({inner}) {} ({inner})",
            pick(random, &["+", "/", "or", "and"])
        ),
        3 => format!("{inner} > {}", random.below(9)),
        4 => format!("label_replace({inner}, \"copy\", \"$1\", \"bird\", \"(.*)\")"),
        5 => format!("max without (plot) ({range})"),
        _ => range,
    }
}
