use super::*;
use crate::authz::endpoint::{Scoping, TABLE};
use crate::scoping::scope::{LabelName, LabelValue};

fn parameters(template: &str) -> &'static Parameters {
    let row = TABLE.iter().find(|row| row.template == template).unwrap();
    let Scoping::Parameters(parameters, _) = row.scoping else {
        panic!("{template}");
    };
    parameters
}

fn scope(value: &str) -> Scope {
    let label = LabelName::parse("ns").unwrap();
    Scope::single(label, LabelValue::parse(value).unwrap())
}

/// The form as readable text, or the code of the denial.
fn narrow(template: &str, url: &str, body: Option<&str>) -> String {
    let narrowing = Narrowing::new(
        parameters(template),
        &scope("web"),
        &Attributes::default(),
        Some(url.as_bytes()),
    );
    let form = narrowing.and_then(|narrowing| narrowing.form(body.map(str::as_bytes)));
    match form {
        Ok(form) => {
            let pairs = form::parse(form.as_bytes()).unwrap();
            let pairs: Vec<String> = pairs
                .into_iter()
                .map(|pair| format!("{}={}", pair.name, pair.value))
                .collect();
            pairs.join(" & ").replace("ns=\"web\"", "M")
        }
        Err(denial) => format!("!{}", denial.code()),
    }
}

const LOGS: &str = "/loki/api/v1/query_range";
const LABELS: &str = "/loki/api/v1/labels";
const LOG_SERIES: &str = "/loki/api/v1/series";
const PATTERNS: &str = "/loki/api/v1/patterns";
const METRICS: &str = "/prometheus/api/v1/query";
const SERIES: &str = "/prometheus/api/v1/series";
const SEARCH: &str = "/tempo/api/search";
const TAGS: &str = "/tempo/api/v2/search/tag/{tag%2F}/values";
const TRACE_METRICS: &str = "/tempo/api/metrics/query";
const RESOURCE_LOGS: &str = "/api/v1/projects/{project}/resources/{resource}/logs";
const RESOURCE_METRICS: &str =
    "/api/v1/projects/{project}/resources/{resource}/metrics/query_range";

#[rustfmt::skip]
#[test]
fn parameters_are_written_anew() {
    for (template, url, expected) in [
        // Known parameters pass, and unknown ones are left out.
        (METRICS, "query=up&time=1&x=y", "query=up{M} & time=1"),
        (METRICS, "time=1&query=up", "query=up{M} & time=1"),
        (METRICS, "%71uery=up", "query=up{M}"),
        (METRICS, "Query=up", "!query_missing"),
        (METRICS, "query[]=up", "!query_missing"),
        (METRICS, "", "!query_missing"),
        (METRICS, "query=", "!query_missing"),
        (METRICS, "query=%20", "!query_missing"),
        (METRICS, "query=1%2B1", "query=1+1"),
        (METRICS, "query=1+1", "!query_refused"),
        (LOGS, "query={a=\"b\"}&shards=0_of_2&limit=5", "query={M,a=\"b\"} & limit=5"),
        (LOGS, "query=|=`x`", "query=|=`x`"),
        // Repeats.
        (METRICS, "query=up&query=down", "!parameter_repeated"),
        (METRICS, "query=up&%71uery=up", "!parameter_repeated"),
        (METRICS, "query=up&time=1&time=1", "!parameter_repeated"),
        (METRICS, "query=up&x=1&x=2", "query=up{M}"),
        // These forms are read differently by different servers.
        (METRICS, "query=up;time=1", "!parameters_malformed"),
        (METRICS, "query=up&x=%zz", "!parameters_malformed"),
        (METRICS, "query=up%00", "!parameters_malformed"),
        // Selectors.
        (SERIES, "match[]=up&match%5b%5D={a=\"b\"}", "match[]=up{M} & match[]={M,a=\"b\"}"),
        (SERIES, "", "match[]={M}"),
        (SERIES, "match=up", "match[]={M}"),
        (SERIES, "match[]=", "!query_refused"),
        (SERIES, "match[]=up or down", "!query_refused"),
        (LOG_SERIES, "match={a=\"b\"}&match[]={}&since=1h", "match[]={M,a=\"b\"} & match[]={M} & since=1h"),
        (LOG_SERIES, "", "match[]={M}"),
        (LABELS, "start=1", "query={M} & start=1"),
        (LABELS, "query=", "query={M}"),
        (LABELS, "query={a=\"b\"}", "query={M,a=\"b\"}"),
        (LABELS, "query={a=\"b\"}|=`x`", "!query_refused"),
        (PATTERNS, "query={a=\"b\"}|=`x`", "query={M,a=\"b\"}|=`x`"),
        (PATTERNS, "query=1", "!query_refused"),
        // Tempo.
        (SEARCH, "q={.a=1}", "q={ resource.M && (.a=1)}"),
        (SEARCH, "", "q={ resource.M }"),
        (SEARCH, "tags=a%3Db", "!parameter_refused"),
        (SEARCH, "q={}&minDuration=1s", "!parameter_refused"),
        (TAGS, "q={.a=1}&scope=span", "q={ resource.M } & scope=span"),
        (TRACE_METRICS, "query={}|rate()", "q={ resource.M }|rate()"),
        (TRACE_METRICS, "query={}|rate()&q={}|rate()", "!parameter_repeated"),
        (TRACE_METRICS, "", "!query_missing"),
        // The projects API.
        (RESOURCE_LOGS, "", "query={M} & limit=1000"),
        (RESOURCE_LOGS, "query=|=`x`&limit=7", "query={M}|=`x` & limit=7"),
        (RESOURCE_LOGS, "limit=&start=", "query={M} & limit=1000"),
        (RESOURCE_LOGS, "since=1h", "!parameter_unknown"),
        (RESOURCE_METRICS, "query=up&step=15s", "query=up{M} & step=15s"),
        (RESOURCE_METRICS, "", "!query_missing"),
        (RESOURCE_METRICS, "query=up&time=1", "!parameter_unknown"),
    ] {
        let expected = expected.replace("resource.M", "resource.ns = \"web\"");
        assert_eq!(narrow(template, url, None), expected, "{template}?{url}");
    }
}

#[rustfmt::skip]
#[test]
fn a_body_and_a_query_string_become_one_form() {
    for (template, url, body, expected) in [
        (METRICS, "", "query=up&time=1", "query=up{M} & time=1"),
        (METRICS, "time=1", "query=up", "query=up{M} & time=1"),
        (METRICS, "query=up", "time=1", "query=up{M} & time=1"),
        (METRICS, "query=up", "", "query=up{M}"),
        (METRICS, "query=up", "query=up", "!parameter_repeated"),
        (METRICS, "query=up&time=1", "time=1", "!parameter_repeated"),
        (SERIES, "match[]=up", "match[]=up", "!parameter_repeated"),
        (SERIES, "match[]=up", "", "match[]=up{M}"),
        (LOG_SERIES, "match={}", "match[]={}", "!parameter_repeated"),
        (METRICS, "", "query=up;x=1", "!parameters_malformed"),
    ] {
        assert_eq!(narrow(template, url, Some(body)), expected, "{url} + {body}");
    }
}

#[test]
fn a_scope_with_spaces_is_no_filter_for_tempos_tags() {
    let narrowing = |template: &str| {
        let parameters = parameters(template);
        Narrowing::new(parameters, &scope("a b"), &Attributes::default(), None)
    };
    let named = Denial::ScopeUnsupported(Unscoped::Value(Label::new("ns")));
    assert_eq!(narrowing(TAGS).unwrap_err(), named);
    assert!(
        named.message().contains("your label ns"),
        "{}",
        named.message()
    );
    assert!(narrowing(SEARCH).is_ok());
}

#[test]
fn a_label_policy_is_a_selector_escaped() {
    let policy = label_policy(&Arc::new(scope("web")));
    assert_eq!(policy, "%7Bns%3D%22web%22%7D");
}
