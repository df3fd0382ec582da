//! Typical queries that are scoped many times. The recognisers as they are built for the module run in Node, whose
//! engine is that of Envoy (V8); `main.rs` runs them natively.

use scopegate::scoping::query::{Language, Matcher, Shape, scope};
use scopegate::scoping::scope::{Attributes, LabelName, LabelValue, Scope};

/// A language, what the query stands for, and the query.
pub const QUERIES: [(Language, &str, &str); 6] = [
    (Language::PromQl, "a metric", "up"),
    (
        Language::PromQl,
        "a panel",
        "sum by (pod, container) (rate(container_cpu_usage_seconds_total{cluster=\"prod-eu-1\", \
         pod=~\"checkout-.*\", container!=\"\", image!=\"\"}[5m])) / on (pod) group_left (node) \
         kube_pod_info{cluster=\"prod-eu-1\"}",
    ),
    (Language::LogQl, "a stream", "{app=\"checkout\"}"),
    (
        Language::LogQl,
        "a panel",
        "sum by (level) (count_over_time({cluster=\"prod-eu-1\", app=\"checkout\"} |= \"error\" \
         != \"timeout\" | json | duration > 250ms | status >= 500 | line_format \"{{.method}} \
         {{.path}}\" | label_format route=path [5m]))",
    ),
    (Language::TraceQl, "any span", "{ }"),
    (
        Language::TraceQl,
        "a search",
        "{ resource.service.name = \"checkout\" && span.http.response.status_code >= 500 && \
         duration > 250ms } >> { span.db.system = \"postgresql\" && status = error } | \
         select(span.http.route, resource.k8s.pod.name)",
    ),
];

/// Scopes one of the queries that many times; gives the bytes written.
#[unsafe(no_mangle)]
pub extern "C" fn scope_query(number: u32, rounds: u32) -> u32 {
    let Some((language, _, text)) = usize::try_from(number).ok().and_then(|n| QUERIES.get(n))
    else {
        return 0;
    };
    let (Ok(label), Ok(value)) = (LabelName::parse("namespace"), LabelValue::parse("web")) else {
        return 0;
    };
    let scope_of_caller = Scope::single(label, value);
    let mut bytes: u32 = 0;
    for _ in 0..rounds {
        // The matcher is written for each request too.
        let matcher = Matcher::new(*language, &scope_of_caller, &Attributes::default());
        if let Ok(scoped) = scope(*language, Shape::Query, text, &matcher) {
            bytes = bytes.wrapping_add(scoped.text.len() as u32);
        }
    }
    bytes
}
