//! Patterns of a Loki that writes them to its own store, and reads them from there with a second query.
//!
//! Loki 3.7 builds that second query from the caller's matchers, and pastes the value of the one on `service_name`
//! into it unchanged. A value with a quote in it ends the string and continues as LogQL of the caller's choice,
//! outside of every matcher of the first query. A scoped caller may therefore not send such a value, and the first
//! test shows why.
//!
//! Patterns are written when they are three hours old, so half of the lines are older than that.

use std::sync::{Arc, Weak};
use std::time::Duration;

use anyhow::{Result, ensure};
use integration::client::{Protocol, RawRequest, Reply, Target};
use integration::stack::backend::Backend;
use integration::stack::{HOOLI, INITECH, loki};
use integration::token;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::asks::request;
use super::data::{EYES, Eye};
use super::gates::{ask, check};
use crate::clients::{check_status, eventually};
use crate::reads::settled;
use crate::scene::Scene;
use crate::side_gate::SideGate;

crate::tests![LOKI =>
    loki_itself_puts_a_value_into_a_second_query_as_it_is,
    a_value_that_loki_could_mistake_is_refused_in_a_query_for_patterns,
    patterns_are_those_of_the_scope_whether_loki_keeps_them_or_not,
];

/// A Loki that keeps patterns of [`KEEPS`], and a gate in front of it.
struct Persisting {
    gate: SideGate,
    loki: Backend,
    /// When the two halves of the lines were written, in Unix seconds.
    old: i64,
    new: i64,
}

/// The tenant whose patterns are kept in the store, and one whose are not.
const KEEPS: &str = INITECH;
const FORGETS: &str = HOOLI;

/// Namespace and bird; the last has no label `namespace`, but says so in its lines.
const STREAMS: [(&str, &str); 6] = [
    ("web", "kestrel"),
    ("shop", "osprey"),
    ("vault", "merlin"),
    ("web2", "merlin"),
    ("myweb", "merlin"),
    ("", "merlin"),
];

/// The values of `service_name`, which name the streams that kept patterns go to.
const SERVICES: usize = 3;

impl Persisting {
    /// One for all tests that run side by side; it ends with the last of them.
    async fn of(scene: &Scene) -> Result<Arc<Persisting>> {
        static SHARED: Mutex<Weak<Persisting>> = Mutex::const_new(Weak::new());
        let mut shared = SHARED.lock().await;
        if let Some(running) = shared.upgrade() {
            return Ok(running);
        }
        let started = Arc::new(Persisting::start(scene).await?);
        *shared = Arc::downgrade(&started);
        Ok(started)
    }

    async fn start(scene: &Scene) -> Result<Persisting> {
        let loki = loki::start_with_persistence().await?;
        let address = loki.http();
        let gate = SideGate::start(scene, scene.stack.configuration(), |settings| {
            settings.concurrency(1).cluster("loki", address)
        })
        .await?;
        gate.wait_for_keys().await?;
        let new = token::now();
        let persisting = Persisting {
            gate,
            loki,
            old: new - AGE,
            new,
        };
        for tenant in [KEEPS, FORGETS] {
            // One after the other: Loki leaves out of patterns what comes out of order.
            persisting.push(tenant, persisting.old).await?;
            tokio::time::sleep(BATCH).await;
            persisting.push(tenant, persisting.new).await?;
        }
        persisting.wait().await?;
        Ok(persisting)
    }

    async fn push(&self, tenant: &str, time: i64) -> Result<()> {
        let streams: Vec<Value> = STREAMS
            .iter()
            .map(|(namespace, bird)| {
                let mut labels = json!({"bird": bird, "service_name": format!("{bird}-nest")});
                if !namespace.is_empty() {
                    labels["namespace"] = json!(namespace);
                }
                let line = |number: i64| {
                    format!("level=info namespace=web msg=\"a {bird} by the sea\" number={number}")
                };
                let nanos = |number: i64| format!("{time}{number:09}");
                let values: Vec<Value> = (0..LINES)
                    .map(|number| json!([nanos(number), line(number)]))
                    .collect();
                json!({"stream": labels, "values": values})
            })
            .collect();
        let request =
            RawRequest::post("/loki/api/v1/push", json!({"streams": streams}).to_string())
                .header("content-type", "application/json");
        check_status(&self.direct(tenant, request).await?, 204)
    }

    /// Until Loki has written the old patterns, and shows them and the new ones.
    async fn wait(&self) -> Result<()> {
        eventually("patterns are written", || async {
            let written = "loki_distributor_lines_received_total";
            let pieces = [
                "is_internal_stream=\"true\"",
                &format!("tenant=\"{KEEPS}\""),
            ];
            Ok(self.loki.counter(written, &pieces).await?
                >= f64::from(u8::try_from(STREAMS.len())?))
        })
        .await?;
        // What is old and lies in memory is not looked for.
        check_status(
            &self.direct(KEEPS, RawRequest::post("/flush", "")).await?,
            204,
        )?;
        for (tenant, time) in [(KEEPS, self.old), (KEEPS, self.new), (FORGETS, self.new)] {
            eventually(&format!("{tenant} has patterns of {time}"), || async {
                let question = self.question("GET", Some("{bird=~\".+\"}"), time);
                let text = self.direct(tenant, drilldown(question)).await?.text();
                Ok(STREAMS.iter().all(|(_, bird)| text.contains(bird)))
            })
            .await?;
        }
        Ok(())
    }

    /// About a few minutes around that time.
    fn question(&self, method: &str, query: Option<&str>, time: i64) -> RawRequest {
        // Kept patterns bear the full hour before their lines.
        let (from, to) = if time == self.old {
            (time - 3600, time + 600)
        } else {
            (time - 60, time + 60)
        };
        let mut pairs = vec![
            ("start".to_owned(), from.to_string()),
            ("end".to_owned(), to.to_string()),
            ("step".to_owned(), "60s".to_owned()),
        ];
        pairs.extend(query.map(|query| ("query".to_owned(), query.to_owned())));
        request(method, PATTERNS, &pairs)
    }

    /// Past the gate.
    async fn direct(&self, tenant: &str, request: RawRequest) -> Result<Reply> {
        request
            .tenant(tenant)
            .send(&Target::plain(self.loki.http()), Protocol::H1)
            .await
    }

    /// Through it, and the code if it was refused.
    async fn send(
        &self,
        scene: &Scene,
        eye: &Eye,
        tenant: &str,
        request: RawRequest,
    ) -> Result<(Reply, String)> {
        let request = request.bearer(&scene.token(eye.who).await?).tenant(tenant);
        ask(&self.gate.envoy, &self.gate.target, request, Protocol::H1).await
    }

    /// The answer through the gate is Loki's to the question with the scope written by hand, and holds nothing else;
    /// and so does what Loki has kept, which it shows to Logs Drilldown only.
    async fn compare(
        &self,
        scene: &Scene,
        eye: &Eye,
        tenant: &str,
        time: i64,
        method: &str,
        (query, finds): &(Option<&str>, bool),
    ) -> Result<()> {
        let sent = query.map(|query| scoped(query, ""));
        let question = self.question(method, sent.as_deref(), time);
        // The gate takes the header away, with which a scoped caller might ask for internal streams.
        let (reply, code) = self.send(scene, eye, tenant, drilldown(question)).await?;
        let by_hand = scoped(query.unwrap_or("{~}"), eye.matcher);
        let direct = || self.question(method, Some(&by_hand), time);
        let shown = self.direct(tenant, direct()).await?;
        ensure!(
            reply.status == shown.status && settled(&reply) == settled(&shown),
            "{} {code} {}\ninstead of {} {}",
            reply.status,
            reply.text(),
            shown.status,
            shown.text()
        );
        if shown.status == 400 {
            // With such a matcher alone Loki's second query is none.
            ensure!(
                tenant == KEEPS && by_hand.contains("service_name!"),
                "{}",
                shown.text()
            );
            return Ok(());
        }
        let kept = self.direct(tenant, drilldown(direct())).await?;
        for (reply, there) in [
            (&reply, time == self.new),
            (&kept, time == self.new || tenant == KEEPS),
        ] {
            let text = reply.text();
            ensure!(
                reply.status == 200
                    && eye.offence(&text).is_none()
                    && text.contains("kestrel") == (*finds && there),
                "{} {text}",
                reply.status
            );
        }
        Ok(())
    }
}

/// As Logs Drilldown asks: to others Loki does not show what it has kept.
fn drilldown(request: RawRequest) -> RawRequest {
    request.header("x-query-tags", "Source=grafana-lokiexplore-app")
}

/// It ends the string that Loki puts it into, reads lines of `merlin`, and leaves the rest of the second query well.
const BREAKS_OUT: &str = "x\"} | logfmt | unwrap count [10s])) or sum by (decoded_pattern) (count_over_time({bird=\"merlin\"} | label_format decoded_pattern=`{{__line__}}` [1h])) or sum by (decoded_pattern) (sum_over_time({a=\"b";

async fn loki_itself_puts_a_value_into_a_second_query_as_it_is(scene: &Scene) -> Result<()> {
    let persisting = Persisting::of(scene).await?;
    let quoted = json!(BREAKS_OUT).to_string();
    // With the scope written by hand, as the gate would.
    let query = format!("{{service_name={quoted},namespace=\"web\"}}");
    let question = || persisting.question("GET", Some(&query), persisting.old);
    let reply = persisting.direct(KEEPS, question()).await?;
    ensure!(
        reply.status == 200 && reply.text().contains("a merlin by the sea\\\" number=7"),
        "lines outside of the scope were to be seen, and with them the reason for a rule of the gate: {} {}",
        reply.status,
        reply.text()
    );
    let reply = persisting.direct(FORGETS, question()).await?;
    ensure!(
        reply.status == 200 && !reply.text().contains("merlin"),
        "nothing is kept of this tenant, and so there is no second query: {} {}",
        reply.status,
        reply.text()
    );
    // The same through the gate.
    for tenant in [KEEPS, FORGETS] {
        let answer = persisting.send(scene, &EYES[0], tenant, question()).await?;
        check(&answer, 400, "query_refused")?;
    }
    Ok(())
}

/// Strings as LogQL has them that stand for a quote, a backslash or a back quote.
const MISTAKEN: &[&str] = &[
    // In double quotes: escapes with a letter, as numbers to the base 16 and 8, of four and eight digits.
    r#""a\"b""#,
    r#""\"""#,
    r#""a\x22b""#,
    r#""a\u0022b""#,
    r#""a\U00000022b""#,
    r#""a\042b""#,
    r#""a\\b""#,
    r#""a\x5cb""#,
    r#""a\u005cb""#,
    r#""a\U0000005cb""#,
    r#""a\134b""#,
    "\"a`b\"",
    r#""a\x60b""#,
    r#""a\u0060b""#,
    r#""a\U00000060b""#,
    r#""a\140b""#,
    // In back quotes, where nothing is an escape.
    "`a\"b`",
    "`\"`",
    "`a\\b`",
    "`a\\\\b`",
    "`\\\"`",
];

async fn a_value_that_loki_could_mistake_is_refused_in_a_query_for_patterns(
    scene: &Scene,
) -> Result<()> {
    let persisting = Persisting::of(scene).await?;
    let breaks_out = [json!(BREAKS_OUT).to_string()];
    let values: Vec<&str> = MISTAKEN
        .iter()
        .copied()
        .chain(breaks_out.iter().map(String::as_str))
        .collect();
    let mut wrong = Vec::new();
    let mut refused = 0;
    for (number, value) in values.iter().enumerate() {
        for name in ["service_name", "bird", "namespace"] {
            for operator in ["=", "=~", "!=", "!~"] {
                let method = ["GET", "POST"][refused % 2];
                let query = match refused % 3 {
                    0 => format!("{{{name}{operator}{value}}}"),
                    1 => format!("{{service_name=~\".+\", {name} {operator} {value}}}"),
                    _ => format!("{{ {name}{operator}{value} , bird=~`.+` }}"),
                };
                let tenant = [KEEPS, FORGETS][number % 2];
                let question = persisting.question(method, Some(&query), persisting.old);
                let answer = persisting
                    .send(scene, &EYES[0], tenant, drilldown(question))
                    .await?;
                if let Err(error) = check(&answer, 400, "query_refused") {
                    wrong.push(format!("{method} {query}: {error}"));
                }
                refused += 1;
            }
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    ensure!(refused > 250, "only {refused} queries");
    Ok(())
}

/// Queries for patterns, with `~` where the scope belongs, and whether they find anything of `web`.
const ORDINARY: &[(Option<&str>, bool)] = &[
    (None, true),
    (Some("{bird=~\".+\"~}"), true),
    (Some("{service_name=~`.+`~}"), true),
    (Some("{service_name=\"kestrel-nest\"~}"), true),
    (
        Some("{ service_name = \"kestrel-nest\", service_name=~\".+\"~}"),
        true,
    ),
    (Some("{service_name=~\"(kestrel|merlin)-nest\"~}"), true),
    (Some("{service_name!=\"merlin-nest\",bird!=\"\"~}"), true),
    (Some("{service_name!~\"merlin.*\",bird=~\".+\"~}"), true),
    (Some("{namespace=~\"web|vault|web2|myweb\"~}"), true),
    (Some("{namespace!=\"vault\",bird!=\"\"~}"), true),
    (Some("{service_name=\"merlin-nest\"~}"), false),
    (Some("{bird=\"merlin\"~}"), false),
    (Some("{namespace=\"vault\"~}"), false),
    (Some("{namespace=~\"web.+\"~}"), false),
    (Some("{bird=\"merlin\",namespace=\"\"~}"), false),
];

async fn patterns_are_those_of_the_scope_whether_loki_keeps_them_or_not(
    scene: &Scene,
) -> Result<()> {
    let persisting = Persisting::of(scene).await?;
    let mut wrong = Vec::new();
    for (tenant, time) in [
        (KEEPS, persisting.old),
        (KEEPS, persisting.new),
        (FORGETS, persisting.old),
        (FORGETS, persisting.new),
    ] {
        for eye in &EYES {
            for (number, ordinary) in ORDINARY.iter().enumerate() {
                let method = ["GET", "POST"][number % 2];
                let compared = persisting.compare(scene, eye, tenant, time, method, ordinary);
                if let Err(error) = compared.await {
                    wrong.push(format!(
                        "{} {method} {tenant} {time} {:?}: {error}",
                        eye.who, ordinary.0
                    ));
                }
            }
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    // Whoever is not scoped sees the others, also in the name of the label that kept patterns have.
    let values = || {
        let range = format!("start={}&end={}", persisting.old - 3600, persisting.new);
        RawRequest::get(&format!("/loki/api/v1/label/__pattern__/values?{range}"))
    };
    let all = persisting.direct(KEEPS, values()).await?.text();
    ensure!(all.matches("-nest").count() == SERVICES, "{all}");
    let (own, _) = persisting.send(scene, &EYES[0], KEEPS, values()).await?;
    ensure!(
        own.status == 200 && !own.text().contains("-nest"),
        "{} {}",
        own.status,
        own.text()
    );
    Ok(())
}

/// With that matcher in place of the mark, or without.
fn scoped(query: &str, matcher: &str) -> String {
    let behind = if matcher.is_empty() {
        String::new()
    } else {
        format!(",{matcher}")
    };
    query
        .replace("{~}", &format!("{{{matcher}}}"))
        .replace("~}", &format!("{behind}}}"))
}

const PATTERNS: &str = "/loki/api/v1/patterns";
/// Beyond the three hours for which Loki keeps patterns in memory.
const AGE: i64 = 4 * 3600;
/// Loki hands lines to its patterns once a second.
const BATCH: Duration = Duration::from_secs(3);
const LINES: i64 = 40;
