//! Queries drawn at random, sent to the real Loki and the real Mimir by a caller who sees one namespace.
//!
//! Half of them are drawn from the corpora in `tests/queries`, with selectors for the existing data in place of their
//! own; their answers never contain words of another namespace. The other half is built from templates; their answers
//! also equal the server's answer to the same query with the scope written by hand.

use anyhow::{Result, ensure};
use integration::drill::Random;
use integration::stack::INITECH;
use scopegate::authz::endpoint::Backend;

use super::asks::{marked, request};
use super::data::{EYES, Eye, TeamData};
use super::queries::{
    LOG_SELECTORS, METRIC_SELECTORS, is_log_query, log_query, metric_query, read, with_metrics,
    with_selectors,
};
use crate::reads::{server, settled};
use crate::scene::Scene;

crate::tests![
    random_logql_never_shows_another_namespace,
    random_promql_never_shows_another_namespace,
];

async fn random_logql_never_shows_another_namespace(scene: &Scene) -> Result<()> {
    run(
        scene,
        Backend::Loki,
        "logql.txt",
        |text, random| with_selectors(text, random, LOG_SELECTORS),
        log_query,
    )
    .await
}

async fn random_promql_never_shows_another_namespace(scene: &Scene) -> Result<()> {
    run(
        scene,
        Backend::Mimir,
        "promql.txt",
        |text, random| {
            let text = with_metrics(text, random);
            with_selectors(&text, random, METRIC_SELECTORS)
        },
        metric_query,
    )
    .await
}

/// What came of all of them.
#[derive(Debug, Default)]
struct Tally {
    /// The server shows to who is not scoped what the caller may not see.
    telling: usize,
    answered: usize,
    /// The server answers it, the gate does not.
    refused: Vec<String>,
    wrong: Vec<String>,
}

async fn run(
    scene: &Scene,
    backend: Backend,
    corpus: &str,
    adapt: fn(&str, &mut Random) -> String,
    build: fn(&mut Random, usize) -> String,
) -> Result<()> {
    let data = TeamData::of(scene).await?;
    let seed = match std::env::var("SCOPEGATE_SEED") {
        Ok(seed) => seed.parse()?,
        Err(_) => u64::try_from(integration::token::now())?,
    };
    println!("SCOPEGATE_SEED={seed} repeats {corpus}");
    let mut random = Random(seed | 1);
    let corpus = read(corpus)?;
    let eye = &EYES[0];
    let mut tally = Tally::default();
    for number in 0..2 * EACH {
        let templated = number % 2 == 1;
        let query = if templated {
            build(&mut random, 3)
        } else {
            adapt(&corpus[random.below(corpus.len())], &mut random)
        };
        let method = ["GET", "POST"][random.below(2)];
        let range = backend == Backend::Loki && is_log_query(&query) || random.below(2) == 0;
        one(
            scene,
            data,
            eye,
            (backend, method, range),
            &query,
            templated,
            &mut tally,
        )
        .await?;
    }
    println!(
        "{backend:?}: {} queries, {} answered, {} of which tell; refused: {:#?}",
        2 * EACH,
        tally.answered,
        tally.telling,
        tally.refused
    );
    ensure!(tally.wrong.is_empty(), "{}", tally.wrong.join("\n"));
    ensure!(
        tally.telling > EACH / 2,
        "only {} queries tell anything",
        tally.telling
    );
    ensure!(
        tally.refused.len() * 20 < EACH,
        "{} are refused: {:#?}",
        tally.refused.len(),
        tally.refused
    );
    Ok(())
}

async fn one(
    scene: &Scene,
    data: TeamData,
    eye: &Eye,
    (backend, method, range): (Backend, &str, bool),
    query: &str,
    templated: bool,
    tally: &mut Tally,
) -> Result<()> {
    let prefix = if backend == Backend::Loki {
        "/loki"
    } else {
        "/prometheus"
    };
    let path = format!(
        "{prefix}/api/v1/{}",
        if range { "query_range" } else { "query" }
    );
    let ask = |text: &str| {
        let mut pairs = vec![("query".to_owned(), text.to_owned())];
        let times = if range {
            vec![("start", data.from), ("end", data.to), ("step", 10)]
        } else {
            vec![("time", data.to)]
        };
        pairs.extend(
            times
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value.to_string())),
        );
        if backend == Backend::Loki {
            pairs.push(("limit".to_owned(), "5000".to_owned()));
        }
        request(method, &path, &pairs)
    };
    let plain = if templated {
        marked(query, backend, None)
    } else {
        query.to_owned()
    };
    let reply = scene.send(eye.who, INITECH, ask(&plain)).await?;
    let control = scene
        .direct(server(scene, backend), INITECH, ask(&plain))
        .await?;
    let text = reply.text();
    let offends = |text: &str| {
        let words = eye.hidden.iter().map(|word| word.trim_matches('"'));
        let mut words = words.filter(|word| !plain.contains(word));
        // The namespaces' own names only as whole strings: `workshop` is no secret.
        words.any(|word| {
            text.contains(word) && (word.len() > 5 || text.contains(&format!("\"{word}\"")))
        })
    };
    if offends(&text) {
        tally
            .wrong
            .push(format!("{method} {path} {plain}: {} {text}", reply.status));
    }
    if reply.status >= 500 && control.status < 500 {
        tally.wrong.push(format!(
            "{method} {path} {plain}: {} {text}, the server alone {}",
            reply.status, control.status
        ));
    }
    if reply.status == 200 {
        tally.answered += 1;
        tally.telling += usize::from(offends(&control.text()));
    } else if control.status == 200 {
        tally
            .refused
            .push(format!("{plain}: {} {text}", reply.status));
    }
    if templated {
        let scoped = ask(&marked(query, backend, Some(eye)));
        let scoped = scene
            .direct(server(scene, backend), INITECH, scoped)
            .await?;
        let same = reply.status == scoped.status
            && (reply.status != 200 || settled(&reply) == settled(&scoped));
        if !same {
            tally.wrong.push(format!(
                "{method} {path} {plain}: {} {text}\nis not {} {}",
                reply.status,
                scoped.status,
                scoped.text()
            ));
        }
    }
    Ok(())
}

/// From the corpus, and as many from templates.
const EACH: usize = 160;
