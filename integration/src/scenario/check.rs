//! Compares the outcome of a scenario with the expectation, by the same rules for both replays.

use serde_json::Value;

use super::row::{BodyFamily, ExpectUpstream, Prepared, UpstreamText};
use crate::client::Reply;

/// The outcome of a scenario.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    pub reply: Reply,
    /// The denial code, from response code details or from the core's `Denial`.
    pub code: Option<String>,
    /// Every request that reached a backend.
    pub upstream: Vec<Upstreamed>,
}

/// A forwarded request.
#[derive(Clone, Debug, Default)]
pub struct Upstreamed {
    /// loki, mimir or tempo.
    pub backend: String,
    /// The name of the cluster, if the replay can see it.
    pub cluster: Option<String>,
    pub method: String,
    pub path: Vec<u8>,
    /// Names in lower case.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The first 4096 bytes.
    pub body: Option<Vec<u8>>,
    /// Whether the request was complete.
    pub complete: bool,
}

/// Every way in which the outcome differs from the expectation. The list is empty if it does not.
#[must_use]
pub fn check(scenario: &Prepared, outcome: &Outcome) -> Vec<String> {
    let mut problems = Problems::default();
    let expect = &scenario.scenario.expect;
    let reply = &outcome.reply;

    let status_fits = reply.status == expect.status || expect.or_status.contains(&reply.status);
    problems.unless(status_fits, || {
        format!(
            "status {} instead of {} ({:?})",
            reply.status,
            expect.status,
            reply.text()
        )
    });
    // Answers by Envoy itself carry no code.
    let by_envoy = outcome.code.is_none() && expect.or_status.contains(&reply.status);
    let judged = reply.status == expect.status && !by_envoy;
    problems.unless(outcome.code == expect.code || !judged, || {
        format!("code {:?} instead of {:?}", outcome.code, expect.code)
    });
    if let Some(grpc_status) = expect.grpc_status {
        problems.unless(reply.grpc_status() == Some(grpc_status), || {
            format!(
                "grpc-status {:?} instead of {grpc_status}",
                reply.grpc_status()
            )
        });
    }
    if judged {
        check_reply(&mut problems, scenario, outcome);
    }
    check_upstream(&mut problems, scenario, outcome);
    check_secrecy(&mut problems, scenario, outcome);
    problems.found
}

#[derive(Default)]
struct Problems {
    found: Vec<String>,
}

impl Problems {
    fn unless(&mut self, holds: bool, problem: impl FnOnce() -> String) {
        if !holds {
            self.found.push(problem());
        }
    }
}

fn check_reply(problems: &mut Problems, scenario: &Prepared, outcome: &Outcome) {
    let expect = &scenario.scenario.expect;
    let reply = &outcome.reply;
    if let Some(family) = expect.body {
        problems.unless(is_of(family, reply), || {
            let content_type = reply.header("content-type");
            format!(
                "a body that is not {family:?}: {content_type:?} {:?}",
                reply.text()
            )
        });
    }
    if let Some(says) = &expect.says {
        problems.unless(reply.text().contains(says), || {
            format!("{says:?} is not in {:?}", reply.text())
        });
    }
    if let Some(whole) = &expect.says_only {
        problems.unless(reply.body == whole.as_bytes(), || {
            format!("the body is {:?} instead of {whole:?}", reply.text())
        });
    }
    let challenges = reply.all("www-authenticate");
    match expect.challenge.as_deref() {
        Some("none") => problems.unless(challenges.is_empty(), || {
            format!("a challenge: {challenges:?}")
        }),
        Some(part) => problems.unless(
            challenges.len() == 1 && challenges[0].contains(part),
            || format!("WWW-Authenticate is {challenges:?} without {part:?}"),
        ),
        None => {}
    }
    // RFC 9110 §15.5.2. An answer to gRPC is a 200 and needs no challenge.
    if reply.status == 401 {
        problems.unless(
            challenges.len() == 1 && challenges[0].starts_with("Bearer realm=\""),
            || format!("a 401 with the challenges {challenges:?}"),
        );
    }
    let retry_after = reply.header("retry-after");
    let in_bounds = retry_after
        .as_deref()
        .and_then(|value| value.parse().ok())
        .is_some_and(|value: u32| value <= 30);
    match expect.retry_after {
        Some(true) => problems.unless(in_bounds, || format!("Retry-After is {retry_after:?}")),
        Some(false) => problems.unless(retry_after.is_none(), || {
            format!("Retry-After is {retry_after:?}")
        }),
        None => {}
    }
    if let Some(methods) = &expect.allow {
        let mut wanted: Vec<&str> = methods.iter().map(String::as_str).collect();
        wanted.sort_unstable();
        let allow = reply.header("allow").unwrap_or_default();
        let mut given: Vec<&str> = allow.split(',').map(str::trim).collect();
        given.sort_unstable();
        problems.unless(wanted == given, || format!("Allow is {allow:?}"));
    }
    for (name, value) in &expect.headers {
        let given = reply.all(name);
        problems.unless(given == [value.as_str()], || {
            format!("{name} is {given:?} instead of {value:?}")
        });
    }
    for start in &expect.no_headers {
        let given = reply.headers.iter().map(|(name, _)| name);
        let given: Vec<_> = given.filter(|name| name.starts_with(start)).collect();
        problems.unless(given.is_empty(), || format!("there are {given:?}"));
    }
    if outcome.code.is_some() {
        let strange: Vec<&str> = reply
            .headers
            .iter()
            .map(|(name, _)| name.as_str())
            .filter(|name| !REFUSAL_HEADERS.contains(name))
            .collect();
        problems.unless(strange.is_empty(), || {
            format!("headers nobody asked for: {strange:?}")
        });
        let nosniff = reply.header("x-content-type-options");
        problems.unless(nosniff.as_deref() == Some("nosniff"), || {
            format!("X-Content-Type-Options is {nosniff:?}")
        });
    }
}

fn check_upstream(problems: &mut Problems, scenario: &Prepared, outcome: &Outcome) {
    let expect = &scenario.scenario.expect;
    let seen = &outcome.upstream;
    let brief = |seen: &[Upstreamed]| {
        let requests: Vec<String> = seen
            .iter()
            .map(|seen| {
                format!(
                    "{} {} {}",
                    seen.backend,
                    seen.method,
                    String::from_utf8_lossy(&seen.path)
                )
            })
            .collect();
        requests.join(", ")
    };
    let nothing = match &expect.upstream {
        Some(UpstreamText::Name(name)) => name == "none",
        Some(UpstreamText::Request(_)) => false,
        None => expect.code.is_some(),
    };
    if nothing {
        let harmless = |seen: &Upstreamed| {
            expect.or_head
                && !seen.complete
                && !seen.path.contains(&b'?')
                && seen.body.as_deref().is_none_or(<[u8]>::is_empty)
        };
        let nothing = seen.iter().all(harmless);
        problems.unless(nothing, || format!("a backend saw {}", brief(seen)));
        return;
    }
    let [only] = seen.as_slice() else {
        problems.found.push(format!(
            "backends saw {} requests: {}",
            seen.len(),
            brief(seen)
        ));
        return;
    };
    match &expect.upstream {
        Some(UpstreamText::Name(backend)) => {
            let wanted = ExpectUpstream {
                backend: Some(backend.clone()),
                ..ExpectUpstream::default()
            };
            check_forwarded(problems, &wanted, only);
        }
        Some(UpstreamText::Request(wanted)) => check_forwarded(problems, wanted, only),
        None => {}
    }
}

fn check_forwarded(problems: &mut Problems, wanted: &ExpectUpstream, seen: &Upstreamed) {
    if let Some(backend) = &wanted.backend {
        problems.unless(&seen.backend == backend, || {
            format!("it reached {} instead of {backend}", seen.backend)
        });
        let cluster = wanted.cluster.as_ref().unwrap_or(backend);
        let reached = seen.cluster.as_ref().unwrap_or(cluster);
        problems.unless(reached == cluster, || {
            format!("it reached cluster {reached} instead of {cluster}")
        });
    }
    if let Some(method) = &wanted.method {
        problems.unless(&seen.method == method, || {
            format!("the backend saw method {}", seen.method)
        });
    }
    if let Some(path) = &wanted.path {
        problems.unless(seen.path == path.as_bytes(), || {
            format!(
                "the backend saw path {} instead of {path}",
                String::from_utf8_lossy(&seen.path)
            )
        });
    }
    for (name, value) in &wanted.headers {
        let given = values(&seen.headers, name);
        let fits = value.bytes().is_ok_and(|value| given == [value.as_slice()]);
        problems.unless(fits, || {
            let given: Vec<String> = given
                .iter()
                .map(|value| String::from_utf8_lossy(value).into_owned())
                .collect();
            format!("the backend saw {name}: {given:?} instead of {value:?}")
        });
    }
    for name in &wanted.absent {
        problems.unless(values(&seen.headers, name).is_empty(), || {
            format!("the backend saw a header {name}")
        });
    }
    if let (Some(wanted), Some(body)) = (&wanted.body, &seen.body) {
        problems.unless(wanted.bytes().is_ok_and(|wanted| &wanted == body), || {
            format!(
                "the backend saw the body {:?}",
                String::from_utf8_lossy(body)
            )
        });
    }
}

/// Checks what must hold for every scenario, whatever it expects.
fn check_secrecy(problems: &mut Problems, scenario: &Prepared, outcome: &Outcome) {
    let keeps = scenario.config["forward"]["authorization"] == "keep";
    for seen in &outcome.upstream {
        let tenants = values(&seen.headers, "x-scope-orgid").len();
        // Probes such as buildinfo need no tenant. Two tenants are never right.
        problems.unless(tenants <= 1, || {
            format!("the backend saw {tenants} tenant headers")
        });
        let credentials = values(&seen.headers, "authorization").len();
        problems.unless(keeps || credentials == 0, || {
            "the backend saw the credential".to_owned()
        });
        problems.unless(
            values(&seen.headers, "x-scopegate-backend").is_empty(),
            || "the backend saw the routing header".to_owned(),
        );
    }
    if let (Some(token), true) = (&scenario.token, outcome.code.is_some()) {
        let signature = token
            .rsplit(|byte| *byte == b'.')
            .next()
            .unwrap_or_default();
        let telling = signature.len() >= 16;
        let shown = |text: &[u8]| {
            text.windows(signature.len().max(1))
                .any(|window| window == signature)
        };
        let in_headers = outcome.reply.headers.iter().any(|(_, value)| shown(value));
        problems.unless(
            !telling || !(shown(&outcome.reply.body) || in_headers),
            || "the refusal shows the token".to_owned(),
        );
    }
}

fn values<'headers>(headers: &'headers [(String, Vec<u8>)], name: &str) -> Vec<&'headers [u8]> {
    headers
        .iter()
        .filter(|(known, _)| known.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.as_slice())
        .collect()
}

fn is_of(family: BodyFamily, reply: &Reply) -> bool {
    let content_type = reply.header("content-type").unwrap_or_default();
    let first = content_type
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_owned();
    let json = || serde_json::from_slice::<Value>(&reply.body).ok();
    match family {
        BodyFamily::Text => {
            let one_line = reply.text().trim_end_matches('\n').lines().count() == 1;
            first == "text/plain" && one_line && reply.body.len() <= 1024
        }
        BodyFamily::PrometheusJson => {
            first == "application/json"
                && json().is_some_and(|body| {
                    body["status"] == "error"
                        && ["errorType", "error", "message"]
                            .iter()
                            .all(|field| body[field].is_string())
                })
        }
        BodyFamily::OtlpProtobuf => first == "application/x-protobuf" && is_status(&reply.body),
        BodyFamily::OtlpJson => {
            first == "application/json"
                && json().is_some_and(|body| body["code"].is_u64() && body["message"].is_string())
        }
        BodyFamily::Grpc => {
            first.starts_with("application/grpc")
                && reply.body.is_empty()
                && reply.grpc_status().is_some()
        }
        BodyFamily::Empty => reply.body.is_empty(),
    }
}

/// Whether a body is a google.rpc.Status with a code and a message, as an OTLP exporter would decode it.
fn is_status(body: &[u8]) -> bool {
    use prost::Message;
    RpcStatus::decode(body).is_ok_and(|status| status.code > 0 && !status.message.is_empty())
}

#[derive(Clone, PartialEq, prost::Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
}

/// The headers that a refusal may carry. A new one counts as a leak until somebody has examined it.
const REFUSAL_HEADERS: &[&str] = &[
    "access-control-allow-headers",
    "access-control-allow-methods",
    "access-control-allow-origin",
    "access-control-max-age",
    "allow",
    "cache-control",
    "connection",
    "content-length",
    "content-type",
    "date",
    "grpc-message",
    "grpc-status",
    "retry-after",
    "server",
    "transfer-encoding",
    "vary",
    "www-authenticate",
    "x-content-type-options",
    "x-request-id",
];
