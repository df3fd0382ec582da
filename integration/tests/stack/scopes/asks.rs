//! Every read that can be scoped, both as a caller sends it and as somebody who knows the scope would write it.
//!
//! In values, `FROM` and `TO` stand for the time of the data. A mark shows where the scope belongs, and is removed
//! from what is sent through the gate: `~` behind another condition, `§` behind a bare metric name, `^` for the scope
//! alone.

use integration::client::RawRequest;
use integration::form;
use scopegate::authz::endpoint::{Backend, Endpoint, Endpoints, Rewrite, Surface};

use super::data::{Eye, TeamData};

/// What an answer says of a namespace.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Tells {
    /// The names of birds.
    Names,
    /// Numbers, which differ from those of the whole tenant.
    Numbers,
    /// Nothing: the server has nothing to say here.
    Nothing,
}

/// A question.
#[derive(Clone, Copy, Debug)]
pub struct Ask {
    pub path: &'static str,
    pub parameters: &'static [(&'static str, &'static str)],
    /// What the gate adds to those, or puts in the place of their first.
    pub implied: &'static [(&'static str, &'static str)],
    pub tells: Tells,
}

type Pairs = &'static [(&'static str, &'static str)];

const fn names(path: &'static str, parameters: Pairs) -> Ask {
    implied(path, parameters, &[])
}

const fn implied(path: &'static str, parameters: Pairs, implied: Pairs) -> Ask {
    Ask {
        path,
        parameters,
        implied,
        tells: Tells::Names,
    }
}

const fn numbers(path: &'static str, parameters: Pairs) -> Ask {
    Ask {
        tells: Tells::Numbers,
        ..names(path, parameters)
    }
}

/// The server counts what it has flushed only.
const fn nothing(path: &'static str, parameters: Pairs) -> Ask {
    Ask {
        tells: Tells::Nothing,
        ..names(path, parameters)
    }
}

const FROM: (&str, &str) = ("start", "FROM");
const TO: (&str, &str) = ("end", "TO");
const AT: (&str, &str) = ("time", "TO");
const STEP: (&str, &str) = ("step", "10");
const LOGS: (&str, &str) = ("query", "{bird=~\".+\"~}");
const SCOPE: (&str, &str) = ("query", "{^}");
const MATCH: (&str, &str) = ("match[]", "{^}");
const TRACES: (&str, &str) = ("q", "{ ^ }");

#[rustfmt::skip]
pub const ASKS: &[Ask] = &[
    names("/loki/api/v1/query", &[("query", "sum by (bird, namespace) (count_over_time({bird=~\".+\"~}[1h]))"), AT]),
    names("/loki/api/v1/query", &[("query", "count_over_time({bird=~\".+\"~} |= \"msg\"[1h]) > 0 or sum by (bird) (rate({plot!=\"\"~}[1h]))"), AT]),
    numbers("/loki/api/v1/query", &[("query", "sum(count_over_time({plot=~\".+\"~}[1h]))"), AT]),
    names("/loki/api/v1/query_range", &[LOGS, FROM, TO, ("limit", "5000")]),
    names("/loki/api/v1/query_range", &[("query", "{bird=~\".+\"~} | logfmt | label_format namespace=`web`,copy=plumage | line_format `{{.copy}} {{.msg}}`"), FROM, TO, ("limit", "5000"), ("direction", "forward")]),
    numbers("/loki/api/v1/query_range", &[("query", "sum(count_over_time({plot!=\"\"~}[5m])) / 2"), FROM, TO, STEP]),
    implied("/loki/api/v1/labels", &[FROM, TO], &[SCOPE]),
    names("/loki/api/v1/labels", &[LOGS, FROM, TO]),
    implied("/loki/api/v1/label", &[FROM, TO], &[SCOPE]),
    implied("/loki/api/v1/label/bird/values", &[FROM, TO], &[SCOPE]),
    names("/loki/api/v1/label/bird/values", &[LOGS, FROM, TO]),
    implied("/loki/api/v1/series", &[FROM, TO], &[MATCH]),
    names("/loki/api/v1/series", &[("match[]", "{bird=~\".+\"~}"), ("match[]", "{plot!=\"\",bird!=\"\"~}"), FROM, TO]),
    names("/loki/api/v1/series", &[("match", "{bird=~\".+\"~}"), FROM, TO]),
    names("/loki/api/v1/series", &[("match", "{bird=\"none\"~}"), ("match[]", "{bird=~\".+\"~}"), FROM, TO]),
    nothing("/loki/api/v1/index/stats", &[LOGS, FROM, TO]),
    names("/loki/api/v1/index/volume", &[LOGS, FROM, TO]),
    numbers("/loki/api/v1/index/volume", &[LOGS, FROM, TO, ("targetLabels", "bird"), ("aggregateBy", "labels")]),
    names("/loki/api/v1/index/volume_range", &[LOGS, FROM, TO, ("step", "60")]),
    names("/loki/api/v1/patterns", &[LOGS, FROM, TO]),
    implied("/loki/api/v1/detected_labels", &[FROM, TO], &[SCOPE]),
    names("/loki/api/v1/detected_labels", &[LOGS, FROM, TO]),
    names("/loki/api/v1/detected_fields", &[LOGS, FROM, TO]),
    names("/loki/api/v1/detected_fields", &[("query", "{bird=~\".+\"~} | logfmt"), FROM, TO]),
    names("/loki/api/v1/detected_field/plumage/values", &[LOGS, FROM, TO]),
    names("/prometheus/api/v1/query", &[("query", "birds_total§"), AT]),
    names("/prometheus/api/v1/query", &[("query", "topk(100, birds_total{bird=~\".+\"~})"), AT]),
    names("/prometheus/api/v1/query", &[("query", "{bird=~\".+\"~}"), AT]),
    numbers("/prometheus/api/v1/query", &[("query", "sum(birds_total§) + scalar(count(birds_total§ offset 1s))"), AT]),
    names("/prometheus/api/v1/query", &[("query", "birds_total{bird=~\".+\"~}[5m]"), AT]),
    names("/prometheus/api/v1/query_range", &[("query", "sum by (bird) (rate(birds_total§[1m])) or max by (bird) (max_over_time(birds_total§[1m:10s]))"), FROM, TO, STEP]),
    numbers("/prometheus/api/v1/query_range", &[("query", "sum(birds_total{plot!=\"\"~})"), FROM, TO, STEP]),
    names("/prometheus/api/v1/query_exemplars", &[("query", "birds_total§"), FROM, TO]),
    names("/prometheus/api/v1/query_exemplars", &[("query", "rate(birds_total{bird!=\"\"~}[5m])"), FROM, TO]),
    implied("/prometheus/api/v1/series", &[FROM, TO], &[MATCH]),
    names("/prometheus/api/v1/series", &[("match[]", "birds_total§"), ("match[]", "{bird!=\"\"~}"), FROM, TO]),
    implied("/prometheus/api/v1/labels", &[FROM, TO], &[MATCH]),
    names("/prometheus/api/v1/labels", &[("match[]", "birds_total§"), FROM, TO]),
    implied("/prometheus/api/v1/label/bird/values", &[FROM, TO], &[MATCH]),
    implied("/prometheus/api/v1/label/__name__/values", &[FROM, TO], &[MATCH]),
    names("/prometheus/api/v1/label/bird/values", &[("match[]", "birds_total§"), ("match[]", "{plot!=\"\"~}"), FROM, TO]),
    names("/tempo/api/search", &[("q", "{ span.kind = \"bird\"~ }"), FROM, TO]),
    implied("/tempo/api/search", &[FROM, TO], &[TRACES]),
    implied("/tempo/api/v2/search/tag/resource.bird/values", &[FROM, TO], &[TRACES]),
    numbers("/tempo/api/metrics/query", &[("q", "{ span.kind = \"bird\"~ } | count_over_time()"), FROM, TO]),
    numbers("/tempo/api/metrics/query_range", &[("query", "{ span.kind = \"bird\"~ } | count_over_time()"), FROM, TO, ("step", "60")]),
];

impl Ask {
    /// The rows of the table that it is a request of, one for each method that reads.
    pub fn endpoints(&self) -> Vec<(&'static str, &'static Endpoint)> {
        let endpoints = Endpoints::new(&[Surface::Platform]);
        let find = |method: &'static str| {
            let endpoint = endpoints.find(self.path.as_bytes(), method.as_bytes());
            Some((method, endpoint.ok()?))
        };
        ["GET", "POST"].into_iter().filter_map(find).collect()
    }

    /// As a client sends it to the gate; a POST carries its parameters as a form.
    pub fn request(&self, method: &str, data: TeamData) -> RawRequest {
        request(method, self.path, &pairs(self.parameters, data, None))
    }

    /// As the server expects it, with the scope of that eye written by hand, or without one.
    pub fn direct(
        &self,
        method: &str,
        data: TeamData,
        endpoint: &Endpoint,
        eye: Option<&Eye>,
    ) -> RawRequest {
        let marks = eye.map(|eye| Marks::of(endpoint.backend, eye));
        let mut all = pairs(self.parameters, data, marks.as_ref());
        if marks.is_some() {
            all.extend(pairs(self.implied, data, marks.as_ref()));
        }
        let path = match endpoint.rewrite {
            Rewrite::Keep => self.path,
            Rewrite::To(path) => path,
            Rewrite::WithoutPrefix(prefix) => self.path.strip_prefix(prefix).unwrap_or(self.path),
        };
        request(method, path, &all)
    }
}

/// What the marks stand for.
struct Marks {
    behind: String,
    bare: String,
    alone: String,
}

impl Marks {
    fn of(backend: Backend, eye: &Eye) -> Marks {
        if backend == Backend::Tempo {
            return Marks {
                behind: format!(" && {}", eye.filter),
                bare: String::new(),
                alone: eye.filter.to_owned(),
            };
        }
        Marks {
            behind: format!(",{}", eye.matcher),
            bare: format!("{{{}}}", eye.matcher),
            alone: eye.matcher.to_owned(),
        }
    }
}

/// A query with the scope of that eye in place of the marks, or without them.
pub fn marked(text: &str, backend: Backend, eye: Option<&Eye>) -> String {
    with_marks(text, eye.map(|eye| Marks::of(backend, eye)).as_ref())
}

fn with_marks(text: &str, marks: Option<&Marks>) -> String {
    let (behind, bare, alone) = marks.map_or(("", "", ""), |marks| {
        (
            marks.behind.as_str(),
            marks.bare.as_str(),
            marks.alone.as_str(),
        )
    });
    text.replace('~', BEHIND)
        // Of an operator it is no mark.
        .replace(&format!("={BEHIND}"), "=~")
        .replace(&format!("!{BEHIND}"), "!~")
        .replace(&format!("|{BEHIND}"), "|~")
        .replace('§', bare)
        .replace('^', alone)
        .replace(BEHIND, behind)
}

const BEHIND: &str = "\u{1}";

fn pairs(list: Pairs, data: TeamData, marks: Option<&Marks>) -> Vec<(String, String)> {
    let value = |text: &str| match text {
        "FROM" => data.from.to_string(),
        "TO" => data.to.to_string(),
        _ => with_marks(text, marks),
    };
    list.iter()
        .map(|(name, text)| ((*name).to_owned(), value(text)))
        .collect()
}

/// A request with these parameters, in the query string or as a form.
pub fn request(method: &str, path: &str, pairs: &[(String, String)]) -> RawRequest {
    let pairs: Vec<String> = pairs
        .iter()
        .map(|(name, value)| format!("{}={}", form::encode(name), form::encode(value)))
        .collect();
    let form = pairs.join("&");
    if method == "POST" {
        return RawRequest::post(path, form).header("content-type", FORM);
    }
    let mark = if form.is_empty() { "" } else { "?" };
    RawRequest::get(&format!("{path}{mark}{form}"))
}

pub const FORM: &str = "application/x-www-form-urlencoded";
