//! What a scoped caller sees of traces, in front of a real Tempo.
//!
//! Without one, these tests are skipped, and [`stand_in`] tries the same rules on the stand-in, with the questions
//! that it understands. About whole traces, the gate deliberately lets through the root name, the root service, the
//! start and the duration of a trace of which one span is in scope.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use integration::client::{Protocol, RawRequest, Reply};
use integration::otlp;
use integration::stack::tempo::Tempo;
use integration::stack::{NAMESPACE, UMBRELLA};
use integration::token;
use prost::Message;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use super::asks::request;
use super::gates::{ask, ask_scene, check};
use crate::clients::{check_status, eventually};
use crate::scene::Scene;
use crate::side_gate::SideGate;

crate::tests![TEMPO =>
    a_search_shows_traces_with_a_span_in_scope_and_of_them_no_other_span,
    values_of_tags_are_those_of_spans_in_scope,
    values_of_a_tag_that_tempo_looks_for_everywhere_are_refused,
    a_metric_of_spans_counts_those_in_scope,
    a_policy_that_would_switch_the_filter_off_gets_no_values_of_tags,
];

/// The same rules where there is no Tempo.
pub mod stand_in {
    use anyhow::Result;

    use super::{
        a_metric_of_spans_counts_those_in_scope,
        a_policy_that_would_switch_the_filter_off_gets_no_values_of_tags,
        a_search_shows_traces_with_a_span_in_scope_and_of_them_no_other_span, is_real,
        values_of_a_tag_that_tempo_looks_for_everywhere_are_refused,
        values_of_tags_are_those_of_spans_in_scope,
    };
    use crate::scene::Scene;

    crate::tests![scopes_of_traces_hold_on_the_stand_in];

    async fn scopes_of_traces_hold_on_the_stand_in(scene: &Scene) -> Result<()> {
        // On a real one they have been tried by their names.
        if is_real(scene) {
            return Ok(());
        }
        a_search_shows_traces_with_a_span_in_scope_and_of_them_no_other_span(scene).await?;
        values_of_tags_are_those_of_spans_in_scope(scene).await?;
        values_of_a_tag_that_tempo_looks_for_everywhere_are_refused(scene).await?;
        a_metric_of_spans_counts_those_in_scope(scene).await?;
        a_policy_that_would_switch_the_filter_off_gets_no_values_of_tags(scene).await
    }
}

/// A piece of a trace: the spans of one resource.
struct Piece {
    trace: u128,
    namespace: &'static str,
    bird: &'static str,
    /// A namespace that its spans claim, which is not where a namespace stands.
    claims: Option<&'static str>,
    spans: &'static [&'static str],
}

const fn piece(
    trace: u128,
    namespace: &'static str,
    bird: &'static str,
    spans: &'static [&'static str],
) -> Piece {
    Piece {
        // Tempo writes trace IDs without zeros at their front.
        trace: 0x5c0e << 112 | trace,
        namespace,
        bird,
        claims: None,
        spans,
    }
}

/// One trace inside, one outside, one of several namespaces whose root is outside, and two that look like `web`.
const PIECES: &[Piece] = &[
    piece(
        1,
        "web",
        "kestrel",
        &["kestrel lands", "kestrel rests", "kestrel flies"],
    ),
    piece(
        2,
        "vault",
        "merlin",
        &[
            "merlin lands",
            "merlin rests",
            "merlin hunts",
            "merlin eats",
            "merlin flies",
        ],
    ),
    piece(3, "vault", "merlin", &["merlin calls"]),
    piece(3, "web", "wren", &["wren answers"]),
    piece(3, "shop", "osprey", &["osprey answers"]),
    piece(4, "web2", "osprey", &["osprey lands", "osprey flies"]),
    Piece {
        claims: Some("web"),
        ..piece(5, "vault", "merlin", &["merlin pretends"])
    },
];

const HIDDEN: [&str; 5] = ["merlin", "osprey", "\"vault\"", "\"shop\"", "\"web2\""];

impl Piece {
    fn is_inside(&self) -> bool {
        self.namespace == "web"
    }

    fn trace_id(&self) -> String {
        format!("{:032x}", self.trace)
    }
}

fn is_real(scene: &Scene) -> bool {
    matches!(scene.stack.tempo, Tempo::Real(..))
}

/// Those, and the others where a real Tempo is asked.
fn questions<'list>(
    scene: &Scene,
    simple: &'list [&'list str],
    more: &'list [&'list str],
) -> impl Iterator<Item = &'list str> {
    let more = if is_real(scene) { more } else { &[] };
    simple.iter().chain(more).copied()
}

/// When the spans were written, in Unix seconds, by the first who asks.
async fn written(scene: &Scene) -> Result<i64> {
    static SCENE: OnceCell<i64> = OnceCell::const_new();
    let when = SCENE.get_or_try_init(|| async {
        let now = token::now();
        for (piece, place) in PIECES.iter().zip(1_u64..) {
            push(scene, piece, place).await?;
        }
        eventually("all traces are found", || async {
            let found = traces(&direct(scene, "/api/search", &[("q", "{ }")], now).await?)?;
            let known: BTreeSet<String> = PIECES.iter().map(Piece::trace_id).collect();
            Ok(known.iter().all(|id| found.contains_key(id)))
        })
        .await?;
        anyhow::Ok(now)
    });
    when.await.copied()
}

async fn push(scene: &Scene, piece: &Piece, place: u64) -> Result<()> {
    let secret = format!("{}-secret", piece.bird);
    let mut attributes = vec![("kind", "bird"), ("db.password", secret.as_str())];
    attributes.extend(piece.claims.map(|claimed| (NAMESPACE, claimed)));
    let spans: Vec<(u128, &str, otlp::Attributes<'_>)> = piece
        .spans
        .iter()
        .map(|name| (piece.trace, *name, attributes.as_slice()))
        .collect();
    let mut request = otlp::traces(&format!("{}-nest", piece.bird), &spans);
    let of_resource = [(NAMESPACE, piece.namespace), ("bird", piece.bird)];
    // The first piece of a trace has its root, and no two spans the same number.
    let root = PIECES.iter().position(|other| other.trace == piece.trace);
    for resource in &mut request.resource_spans {
        if let Some(resource) = resource.resource.as_mut() {
            let attributes = of_resource.map(|(key, value)| otlp::attribute(key, value));
            resource.attributes.extend(attributes);
        }
        let spans = resource
            .scope_spans
            .iter_mut()
            .flat_map(|scope| &mut scope.spans);
        for (span, number) in spans.zip(1_u64..) {
            span.span_id = (place << 8 | number).to_be_bytes().to_vec();
            let root = root.map_or(place, |root| root as u64 + 1);
            if (root, 1) != (place, number) {
                span.parent_span_id = (root << 8 | 1).to_be_bytes().to_vec();
            }
        }
    }
    let request = RawRequest::post("/v1/traces", request.encode_to_vec())
        .header("content-type", "application/x-protobuf");
    check_status(&scene.send("agent-acme", UMBRELLA, request).await?, 200)
}

fn question(path: &str, parameters: &[(&str, &str)], written: i64) -> RawRequest {
    let times = [("start", written - 60), ("end", written + 120)];
    let pairs: Vec<(String, String)> = parameters
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .chain(times.map(|(name, time)| (name.to_owned(), time.to_string())))
        .collect();
    request("GET", path, &pairs)
}

/// As somebody who sees the namespace `web`.
async fn scoped(
    scene: &Scene,
    path: &str,
    parameters: &[(&str, &str)],
    written: i64,
) -> Result<Reply> {
    let request = question(&format!("/tempo{path}"), parameters, written);
    let (reply, code) = ask_scene(scene, "wendy", Some(UMBRELLA), request).await?;
    ensure!(
        reply.status == 200,
        "{path} {parameters:?}: {} {code} {}",
        reply.status,
        reply.text()
    );
    Ok(reply)
}

/// Past the gate.
async fn direct(
    scene: &Scene,
    path: &str,
    parameters: &[(&str, &str)],
    written: i64,
) -> Result<Reply> {
    let request = question(path, parameters, written);
    scene
        .direct(scene.stack.tempo.http(), UMBRELLA, request)
        .await
}

fn shows_nothing_hidden(text: &str) -> Result<()> {
    let found = HIDDEN.iter().find(|word| text.contains(**word));
    ensure!(found.is_none(), "shows {found:?}: {text}");
    Ok(())
}

/// The traces that a search has found, by ID, without what is said of each as a whole.
fn traces(reply: &Reply) -> Result<BTreeMap<String, Value>> {
    let found = reply.json()?;
    let found = found["traces"].as_array().cloned().unwrap_or_default();
    found
        .into_iter()
        .map(|mut trace| {
            let members = trace.as_object_mut().context("no object")?;
            for name in ["rootServiceName", "rootTraceName", "serviceStats"] {
                members.remove(name);
            }
            let id = trace["traceID"].as_str().context("no trace ID")?.to_owned();
            Ok((id, trace))
        })
        .collect()
}

async fn a_search_shows_traces_with_a_span_in_scope_and_of_them_no_other_span(
    scene: &Scene,
) -> Result<()> {
    let written = written(scene).await?;
    let inside: BTreeSet<String> = PIECES
        .iter()
        .filter(|piece| piece.is_inside())
        .map(Piece::trace_id)
        .collect();
    let simple = ["", "{ }", "{ span.kind = \"bird\" }"];
    // Each asks for what is outside, by the words of the language that reach furthest.
    let more = [
        "{ .bird != nil }",
        "{ true } | select(resource.bird, span.db.password)",
        "{ } | by(resource.bird)",
        "{ } | count() > 0",
        "{ } || { }",
        "{ } >> { }",
        "{ } ~ { }",
        "{ resource.k8s.namespace.name = \"vault\" } || { resource.k8s.namespace.name != \"web\" }",
        "{ span.k8s.namespace.name = \"web\" }",
        "{ trace:rootName = \"merlin calls\" }",
    ];
    for query in questions(scene, &simple, &more) {
        let parameters = [("q", query)];
        let parameters = if query.is_empty() {
            &[][..]
        } else {
            &parameters[..]
        };
        let reply = scoped(scene, "/api/search", parameters, written).await?;
        let found = traces(&reply)?;
        let ids: BTreeSet<String> = found.keys().cloned().collect();
        ensure!(ids.is_subset(&inside), "{query}: {}", reply.text());
        let told = serde_json::to_string(&found)?;
        shows_nothing_hidden(&told).context(query.to_owned())?;
        if simple.contains(&query) {
            let all = ids == inside && told.contains("wren answers");
            ensure!(all, "{query}: not all that is inside: {}", reply.text());
        }
    }
    let control = direct(scene, "/api/search", &[("q", "{ }")], written).await?;
    ensure!(
        control.text().contains("merlin hunts") || traces(&control)?.len() > inside.len(),
        "the control shows nothing: {}",
        control.text()
    );
    Ok(())
}

async fn values_of_tags_are_those_of_spans_in_scope(scene: &Scene) -> Result<()> {
    let written = written(scene).await?;
    for (tag, own) in [
        ("resource.bird", "kestrel"),
        ("resource.service.name", "wren-nest"),
        ("resource.k8s.namespace.name", "web"),
        ("span.db.password", "kestrel-secret"),
        ("name", "wren answers"),
    ] {
        let path = format!("/api/v2/search/tag/{tag}/values");
        // What the caller asks for is no filter of theirs, but the scope's place.
        for query in ["{ }", "{ resource.bird = \"merlin\" }"] {
            let reply = scoped(scene, &path, &[("q", query)], written).await?;
            let text = reply.text();
            ensure!(text.contains(own), "{tag}: nothing of {own}: {text}");
            shows_nothing_hidden(&text).context(tag)?;
        }
        let control = direct(scene, &path, &[], written).await?.text();
        ensure!(
            shows_nothing_hidden(&control).is_err(),
            "{tag}: the control shows nothing: {control}"
        );
    }
    Ok(())
}

async fn values_of_a_tag_that_tempo_looks_for_everywhere_are_refused(scene: &Scene) -> Result<()> {
    let written = written(scene).await?;
    let everywhere = [
        ".db.password",
        "db.password",
        ".bird",
        "parent.db.password",
        "parent.resource.bird",
        "parent.span.db.password",
        "span.%22db.password%22",
        "resource.bird%7D%20%7C%7C%20%7B.bird",
    ];
    let mut paths: Vec<String> = everywhere
        .iter()
        .map(|tag| format!("/tempo/api/v2/search/tag/{tag}/values"))
        .collect();
    paths.extend(
        [
            "v2/search/tags",
            "search/tags",
            "search/tag/bird/values",
            "search/tag/resource.bird/values",
        ]
        .map(|path| format!("/tempo/api/{path}")),
    );
    for path in &paths {
        for parameters in [
            &[][..],
            &[("q", "{ resource.k8s.namespace.name = \"web\" }")],
        ] {
            let request = question(path, parameters, written);
            let answer = ask_scene(scene, "wendy", Some(UMBRELLA), request).await?;
            check(&answer, 403, "scope_unsupported").context(path.clone())?;
        }
    }
    if is_real(scene) {
        let filter = [("q", "{ resource.k8s.namespace.name = \"web\" }")];
        let path = "/api/v2/search/tag/.db.password/values";
        let text = direct(scene, path, &filter, written).await?.text();
        let limits = shows_nothing_hidden(&text).is_ok();
        println!("this Tempo limits the values of a tag without a level to a filter: {limits}");
    }
    Ok(())
}

/// Whether a metric has counted all spans, or those inside, in the samples of a range or the value of an instant.
fn counts(reply: &Reply, inside: bool) -> Result<bool> {
    let answer = reply.json()?;
    let series = answer["series"].as_array().cloned().unwrap_or_default();
    let samples = series.iter().flat_map(|series| {
        let samples = series["samples"].as_array().cloned().unwrap_or_default();
        samples.into_iter().chain([series.clone()])
    });
    let counted: f64 = samples.filter_map(|sample| sample["value"].as_f64()).sum();
    let pieces = PIECES.iter().filter(|piece| !inside || piece.is_inside());
    let spans: usize = pieces.map(|piece| piece.spans.len()).sum();
    Ok((counted - f64::from(u32::try_from(spans)?)).abs() < 0.5)
}

async fn a_metric_of_spans_counts_those_in_scope(scene: &Scene) -> Result<()> {
    let written = written(scene).await?;
    for (path, step) in [
        ("/api/metrics/query_range", Some(("step", "60s"))),
        ("/api/metrics/query", None),
    ] {
        let simple = [
            "{ } | count_over_time()",
            "{ span.kind = \"bird\" } | count_over_time()",
        ];
        let more = [
            "{ } | count_over_time() by (resource.bird)",
            "{ } | count_over_time() by (span.db.password, name)",
            "{ .bird != nil } | count_over_time() by (.bird)",
        ];
        for query in questions(scene, &simple, &more) {
            let parameters: Vec<(&str, &str)> = [("q", query)].into_iter().chain(step).collect();
            eventually(&format!("{path} {query} counts all spans"), || async {
                let reply = direct(scene, path, &parameters, written).await?;
                Ok(reply.status == 200 && counts(&reply, false)?)
            })
            .await?;
            let reply = scoped(scene, path, &parameters, written).await?;
            ensure!(counts(&reply, true)?, "{path} {query}: {}", reply.text());
            shows_nothing_hidden(&reply.text()).context(query.to_owned())?;
        }
    }
    Ok(())
}

/// Tempo drops a filter that has a `|` or a brace in a string, and gives the values of everything.
async fn a_policy_that_would_switch_the_filter_off_gets_no_values_of_tags(
    scene: &Scene,
) -> Result<()> {
    let written = written(scene).await?;
    let token = scene.token("wendy").await?;
    for value in ["we|b", "we{b", "we}b", "we\"b"] {
        let mut configuration = scene.stack.configuration();
        let organizations = configuration["organizations"].as_array_mut();
        let shared = organizations
            .context("no organizations")?
            .iter_mut()
            .find(|organization| organization["name"] == json!("initech"))
            .context("no initech")?;
        let viewers = shared["rbac"]["viewers"].as_array_mut();
        let web = viewers
            .context("no viewers")?
            .iter_mut()
            .find(|grant| grant["group"] == json!("initech-web"))
            .context("no grant")?;
        web["labels"] = json!({"namespace": [value]});
        let gate =
            SideGate::start(scene, configuration, |settings| settings.concurrency(1)).await?;
        gate.wait_for_keys().await?;
        let send = |request: RawRequest| {
            let request = request.bearer(&token).tenant(UMBRELLA);
            async { ask(&gate.envoy, &gate.target, request, Protocol::H1).await }
        };
        for tag in ["resource.bird", "span.db.password", "name"] {
            let path = format!("/tempo/api/v2/search/tag/{tag}/values");
            let answer = send(question(&path, &[], written)).await?;
            check(&answer, 403, "scope_unsupported").with_context(|| format!("{value} {path}"))?;
        }
        // A search takes any filter, and nothing is in this namespace.
        let (reply, code) = send(question("/tempo/api/search", &[("q", "{ }")], written)).await?;
        ensure!(
            reply.status == 200 && traces(&reply)?.is_empty(),
            "{value}: {} {code} {}",
            reply.status,
            reply.text()
        );
    }
    Ok(())
}
