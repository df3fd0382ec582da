//! Questions drawn at random, to every endpoint of Loki and Mimir that can be scoped and answers at once.
//!
//! A question is left out if the text of the query alone, and no data, distinguishes a matcher of the gate from one
//! of the caller: `absent` turns the matchers of its selector into labels. For the same reason, volumes always name
//! `namespace`.

use integration::drill::Random;
use scopegate::authz::endpoint::Backend;

use super::asks::marked;
use super::queries::{is_log_query, log_query, metric_query};
use super::twin_data::Twins;

/// A request without a scope in it.
#[derive(Clone, Debug)]
pub struct Question {
    pub method: &'static str,
    pub path: String,
    pub pairs: Vec<(String, String)>,
}

impl Question {
    /// The same of everything that is there, where a server wants to be told so and the gate puts in the scope.
    pub fn of_everything(&self) -> Question {
        const WANTED: &[(&str, &[&str])] = &[
            ("/index/stats", &["query"]),
            ("/patterns", &["query"]),
            ("/detected_fields", &["query"]),
            ("/detected_field/plumage/values", &["query"]),
            ("/prometheus/api/v1/series", &["match[]"]),
        ];
        let mut question = self.clone();
        for (path, names) in WANTED {
            let there = self
                .pairs
                .iter()
                .any(|(name, _)| names.contains(&name.as_str()));
            if self.path.ends_with(path) && !there {
                let everything = "{plot=~\".+\"}".to_owned();
                question.pairs.push((names[0].to_owned(), everything));
            }
        }
        question
    }
}

/// One to Loki.
pub fn of_logs(random: &mut Random, twins: Twins) -> Question {
    let (path, query) = match random.below(22) {
        0..=3 => (
            "query",
            one_of(random, &[log_metric, any_log_query])(random),
        ),
        4..=9 => (
            "query_range",
            one_of(random, &[lines, log_metric, any_log_query])(random),
        ),
        10 => ("labels", selector(random, STREAMS, MATCHERS)),
        11 => ("label", selector(random, STREAMS, MATCHERS)),
        12 | 13 => ("label/NAME/values", selector(random, STREAMS, MATCHERS)),
        14 => ("series", selector(random, STREAMS, MATCHERS)),
        15 => ("index/stats", selector(random, STREAMS, MATCHERS)),
        16 => (
            "index/volume",
            selector(random, &["namespace=~\".+\""], MATCHERS),
        ),
        17 => (
            "index/volume_range",
            selector(random, &["namespace!=\"\""], MATCHERS),
        ),
        18 => ("patterns", selector(random, STREAMS, MATCHERS)),
        19 => ("detected_labels", selector(random, STREAMS, MATCHERS)),
        20 => ("detected_fields", lines(random)),
        _ => ("detected_field/FIELD/values", lines(random)),
    };
    let path = if path == "query" && is_log_query(&query) {
        "query_range"
    } else {
        path
    };
    let mut pairs = Pairs::default();
    let scope_alone = ["labels", "label", "label/NAME/values", "detected_labels"].contains(&path);
    if path == "series" {
        pairs.some(random, &["match[]", "match"], &query, STREAMS);
    } else if !scope_alone || random.below(3) > 0 {
        pairs.add("query", query);
    }
    if path == "query" {
        pairs.add("time", time(random, twins));
    } else {
        pairs.range(random, twins);
    }
    match path {
        "query" | "query_range" => {
            pairs.maybe(random, "limit", &["1", "7", "30", "5000"]);
            pairs.maybe(random, "direction", &["forward", "backward"]);
        }
        "index/volume" | "index/volume_range" => {
            pairs.maybe(
                random,
                "targetLabels",
                &[
                    "bird",
                    "namespace,bird",
                    "resource_id",
                    "only_merlin",
                    "bird,resource_id",
                ],
            );
            pairs.maybe(random, "aggregateBy", &["series", "labels"]);
            pairs.maybe(random, "limit", &["1", "2", "100"]);
        }
        "detected_fields" | "detected_field/FIELD/values" => {
            // Which fields a limit of fields leaves out is a matter of chance.
            pairs.maybe(random, "line_limit", &["10", "50", "1000"]);
        }
        _ => {}
    }
    if ["query_range", "index/volume_range", "patterns"].contains(&path) {
        pairs.maybe(random, "step", &["15", "60s", "2m"]);
    }
    let path = path
        .replace("NAME", pick(random, LABELS))
        .replace("FIELD", pick(random, FIELDS));
    Question {
        method: pick(random, &["GET", "POST"]),
        path: format!("/loki/api/v1/{path}"),
        pairs: pairs.0,
    }
}

/// One to Mimir.
pub fn of_metrics(random: &mut Random, twins: Twins) -> Question {
    let (path, query) = match random.below(14) {
        0..=3 => ("query", one_of(random, &[metric, any_metric_query])(random)),
        4..=7 => (
            "query_range",
            one_of(random, &[metric, any_metric_query])(random),
        ),
        8 => ("query_exemplars", metric(random)),
        9 | 10 => ("labels", series(random)),
        11 | 12 => ("label/NAME/values", series(random)),
        _ => ("series", series(random)),
    };
    let mut pairs = Pairs::default();
    match path {
        "labels" | "label/NAME/values" | "series" => {
            if path == "series" || random.below(3) > 0 {
                pairs.some(random, &["match[]"], &query, SERIES);
            }
        }
        _ => pairs.add("query", query),
    }
    match path {
        "query" => pairs.add("time", time(random, twins)),
        "query_range" => {
            pairs.range(random, twins);
            pairs.add("step", pick(random, &["15", "30s", "1m", "97"]));
        }
        _ => pairs.range(random, twins),
    }
    if ["query", "query_range"].contains(&path) {
        pairs.maybe(random, "lookback_delta", &["20s", "10m"]);
        pairs.maybe(random, "stats", &["true"]);
    }
    let path = path.replace("NAME", pick(random, NAMES));
    Question {
        method: if path.starts_with("label/") {
            "GET"
        } else {
            pick(random, &["GET", "POST"])
        },
        path: format!("/prometheus/api/v1/{path}"),
        pairs: pairs.0,
    }
}

/// Matchers of which Loki wants one in each selector.
const STREAMS: &[&str] = &[
    "bird=~\".+\"",
    "bird=~`kestrel|wren|merlin`",
    "plot!=\"\"",
    "plot=\"orchard\"",
    "namespace=~\".+\"",
    "namespace=~\"web|shop|vault\"",
    "namespace=~\"(?i)web.*\"",
    "resource_id=~\"qu.*|b.+\"",
    "service_name=~\".+\"",
    "k8s_namespace=~\"|web\",plot!=\"\"",
];

const MATCHERS: &[&str] = &[
    "bird!=\"heron\"",
    "bird!~\"k.*\"",
    "bird=~\".*e.*\"",
    "bird=\"merlin\"",
    "resource_id=\"quartz\"",
    "resource_id!=\"basalt\"",
    "namespace!=\"shop\"",
    "namespace!=\"web\"",
    "namespace!~\"web.+\"",
    "namespace=~\"w.*\"",
    "namespace=~\"|web\"",
    "namespace=~\".*\"",
    "only_kestrel=\"\"",
    "only_merlin=\"\"",
    "only_kestrel=\"yes\"",
    "nothing=\"\"",
];

const LABELS: &[&str] = &[
    "bird",
    "namespace",
    "resource_id",
    "plot",
    "only_kestrel",
    "only_merlin",
    "k8s_namespace",
    "service_name",
    "__pattern__",
    "nothing",
];

const NAMES: &[&str] = &[
    "__name__",
    "bird",
    "namespace",
    "resource_id",
    "only_wren",
    "only_osprey",
    "k8s_namespace",
    "le",
    "of",
];

const FIELDS: &[&str] = &[
    "plumage",
    "level",
    "ms",
    "kestrel_seen",
    "merlin_seen",
    "ring",
    "nest_stone",
    "msg",
    "namespace",
];

fn pick<'text>(random: &mut Random, list: &[&'text str]) -> &'text str {
    list[random.below(list.len())]
}

type Maker = fn(&mut Random) -> String;

fn one_of(random: &mut Random, makers: &[Maker]) -> Maker {
    makers[random.below(makers.len())]
}

#[derive(Default)]
struct Pairs(Vec<(String, String)>);

impl Pairs {
    fn add(&mut self, name: &str, value: impl Into<String>) {
        self.0.push((name.to_owned(), value.into()));
    }

    fn maybe(&mut self, random: &mut Random, name: &str, values: &[&str]) {
        if random.below(2) == 0 {
            self.add(name, pick(random, values));
        }
    }

    /// One or two selectors, of which any may match.
    fn some(&mut self, random: &mut Random, names: &[&str], first: &str, others: &[&str]) {
        self.add(pick(random, names), first);
        if random.below(2) == 0 {
            let other = format!("{{{}}}", pick(random, others));
            self.add(pick(random, names), other);
        }
    }

    /// All of the time, or a part of it.
    fn range(&mut self, random: &mut Random, twins: Twins) {
        let third = (twins.to - twins.from) / 3;
        let (from, to) = match random.below(4) {
            0 => (twins.from + third, twins.to),
            1 => (twins.from, twins.to - third),
            _ => (twins.from, twins.to),
        };
        self.add("start", from.to_string());
        self.add("end", to.to_string());
    }
}

fn time(random: &mut Random, twins: Twins) -> String {
    let back = i64::try_from(random.below(3)).unwrap_or_default() * (twins.to - twins.from) / 4;
    (twins.to - back).to_string()
}

/// A selector, in braces.
fn selector(random: &mut Random, first: &[&str], others: &[&str]) -> String {
    let mut all = vec![pick(random, first)];
    for _ in 0..random.below(3) {
        all.insert(random.below(all.len() + 1), pick(random, others));
    }
    let comma = pick(random, &[",", ", ", " ,\n"]);
    format!("{{{}}}", all.join(comma))
}

/// The scope is the gate's business here.
fn any_log_query(random: &mut Random) -> String {
    marked(&log_query(random, 3), Backend::Loki, None)
}

fn any_metric_query(random: &mut Random) -> String {
    marked(&metric_query(random, 3), Backend::Mimir, None)
}

/// A query for lines.
fn lines(random: &mut Random) -> String {
    const STAGES: &[&str] = &[
        "|= \"by the\"",
        "|= `quartz` or `slate`",
        "!= \"basalt\"",
        "|~ \"a (kestrel|merlin) by\"",
        "!~ `warn|error`",
        "|> \"<_> by <_>\"",
        "| logfmt",
        "| json",
        "| json eggs=\"nest.eggs\"",
        "| logfmt plumage, ms",
        "| logfmt | ms > 20",
        "| json | nest_eggs >= 2 or plumage=\"wren\"",
        "| ring=~\".+-[13]\"",
        "| ring!=\"kestrel-1\"",
        "| detected_level=\"error\"",
        "| namespace=\"web\"",
        "| namespace!=\"web\"",
        "| namespace=~\"web2?|\"",
        "| only_merlin=\"\"",
        "| logfmt | label_format copy=plumage, namespace=`web`",
        "| line_format `{{.bird}} {{.namespace}} {{.ring}} {{ __line__ }}`",
        "| pattern `<_> /<which>/<number> <status> <_>`",
        "| regexp `by the (?P<stone>\\w+)`",
        "| drop namespace, ring",
        "| keep bird, namespace",
        "| decolorize",
    ];
    let mut lines = selector(random, STREAMS, MATCHERS);
    for _ in 0..random.below(4) {
        lines = format!("{lines} {}", pick(random, STAGES));
    }
    lines
}

const GROUPS: &[&str] = &[
    "by (bird)",
    "by (namespace)",
    "by (namespace, resource_id)",
    "by (bird, resource_id)",
    "without (bird, ring, detected_level)",
    "",
];

/// A metric of lines.
fn log_metric(random: &mut Random) -> String {
    let range = if random.below(3) == 0 {
        format!(
            "{}({} | logfmt ms | unwrap ms | __error__=\"\" [{}]) by (bird, namespace)",
            pick(
                random,
                &[
                    "max_over_time",
                    "min_over_time",
                    "avg_over_time",
                    "quantile_over_time",
                    "stddev_over_time",
                    "last_over_time"
                ]
            ),
            selector(random, STREAMS, MATCHERS),
            pick(random, &["1m", "5m"]),
        )
        .replace("quantile_over_time(", "quantile_over_time(0.8, ")
    } else {
        format!(
            "{}({} [{}]{})",
            pick(
                random,
                &["count_over_time", "rate", "bytes_over_time", "bytes_rate"]
            ),
            lines(random),
            pick(random, &["30s", "1m", "5m"]),
            pick(random, &["", "", " offset 1m"]),
        )
    };
    let summed = format!(
        "{} {} ({range})",
        pick(random, &["sum", "sum", "max", "count", "avg"]),
        pick(random, GROUPS)
    );
    match random.below(6) {
        0 => range,
        // Counts are often alike, and which of them a lower number leaves out is a matter of chance.
        1 => format!("topk({}, {summed})", 5000 + random.below(4)),
        2 => format!("{summed} > {}", random.below(6)),
        3 => {
            let by = "by (bird)";
            let one = format!("sum {by} (count_over_time({} [5m]))", lines(random));
            let operator = pick(
                random,
                &[
                    "or",
                    "and",
                    "unless",
                    "+",
                    "/ on (bird)",
                    "- ignoring (namespace)",
                ],
            );
            format!("{one} {operator} sum {by} (rate({} [1m]))", lines(random))
        }
        4 => format!("label_replace({summed}, \"copy\", \"$1\", \"namespace\", \"(.*)\")"),
        _ => summed,
    }
}

const SERIES: &[&str] = &[
    "bird!=\"\"",
    "bird=~\"kestrel|merlin\"",
    "__name__=~\"birds_total|temperature\"",
    "__name__=~\".+_nests\"",
    "namespace!=\"web\",plot!=\"\"",
    "namespace=~\"(?i)web.*\"",
    "\"plot\"=\"orchard\"",
    "k8s_namespace=\"web\"",
];

const COUNTERS: &[&str] = &[
    "birds_total",
    "flight_seconds_count",
    "flight_seconds_bucket",
];
const METRICS: &[&str] = &[
    "birds_total",
    "temperature",
    "kestrel_nests",
    "merlin_nests",
    "flight_seconds_count",
];

/// A selector of series.
fn series(random: &mut Random) -> String {
    match random.below(4) {
        0 => pick(random, METRICS).to_owned(),
        1 => format!(
            "{}{}",
            pick(random, METRICS),
            selector(random, SERIES_MATCHERS, MATCHERS)
        ),
        _ => selector(random, SERIES, MATCHERS),
    }
}

const SERIES_MATCHERS: &[&str] = &[
    "bird!=\"\"",
    "namespace=~'.+'",
    "namespace!~\"web|vault\"",
    "resource_id=~\"q.*|m.*\"",
];

/// A metric of series.
fn metric(random: &mut Random) -> String {
    let counter = |random: &mut Random| {
        let matchers = selector(random, SERIES_MATCHERS, MATCHERS);
        format!("{}{matchers}", pick(random, COUNTERS))
    };
    let gauge = |random: &mut Random| {
        let matchers = selector(random, SERIES_MATCHERS, MATCHERS);
        format!("{}{matchers}", pick(random, METRICS))
    };
    match random.below(14) {
        0 => series(random),
        1 => format!(
            "{}({}[{}])",
            pick(
                random,
                &["rate", "increase", "irate", "delta", "resets", "changes"]
            ),
            counter(random),
            pick(random, &["1m", "5m"])
        ),
        2 => format!(
            "{} {} ({})",
            pick(
                random,
                &["sum", "max", "min", "count", "avg", "group", "stddev"]
            ),
            pick(random, GROUPS),
            gauge(random)
        ),
        3 => format!("topk {} (2, {})", pick(random, GROUPS), gauge(random)),
        4 => format!(
            "histogram_quantile(0.9, sum by (le, bird) (rate(flight_seconds_bucket{}[2m])))",
            selector(random, SERIES_MATCHERS, MATCHERS)
        ),
        5 => format!(
            "{} {} {}",
            gauge(random),
            pick(
                random,
                &[
                    "or",
                    "and",
                    "unless",
                    "or on (bird)",
                    "unless on (resource_id)",
                    "and ignoring (bird)"
                ]
            ),
            gauge(random)
        ),
        6 => format!(
            "birds_total / on (bird, resource_id) group_left () max by (bird, resource_id) (temperature{})",
            selector(random, SERIES_MATCHERS, MATCHERS)
        ),
        7 => format!("max_over_time(({})[3m:30s] offset 30s)", gauge(random)),
        8 => format!("count_values by (bird) (\"value\", {})", gauge(random)),
        9 => format!(
            "label_join(({}), \"both\", \"/\", \"namespace\", \"bird\")",
            gauge(random)
        ),
        10 => format!(
            "{} > bool {} + scalar(sum(temperature))",
            gauge(random),
            random.below(30)
        ),
        11 => format!(
            "sum({} @ start()) by (namespace) or vector({})",
            gauge(random),
            random.below(9)
        ),
        12 => format!(
            "predict_linear({}[5m], 60) and {}",
            counter(random),
            gauge(random)
        ),
        _ => format!("sort_desc(sum by (bird, namespace) ({}))", gauge(random)),
    }
}
