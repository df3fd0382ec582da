//! The files of `envoy/examples`, from which users start, do what their index says: each passes `scopegate check`, is
//! rendered for every target, and runs in a real Envoy before an issuer in the shape of the provider that it is for.
//! The requests of `requests.yaml`, and more of them, are decided by `scopegate explain` and sent to that Envoy, and
//! both say the same.
//!
//! | module | holds |
//! |---|---|
//! | [`index`] | what the index promises |
//! | [`scene`] | the providers, the backends, and one Envoy for each file |

mod index;
mod scene;

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use futures_util::future::try_join_all;
use integration::command;
use integration::examples::{everything, example, with_more};

use index::Section;
use scene::Scene;

#[test]
fn each_file_is_good_and_is_rendered_for_every_target() -> Result<()> {
    for example in example::all()? {
        let name = &example.name;
        let (good, said) = command::run(&["check", "--strict", &example.path()], b"")?;
        ensure!(good && said.lines().count() == 1, "{said}");
        for target in ["envoy", "istio", "envoy-gateway", "kubernetes"] {
            let (good, said) = command::run(&["render", target, &example.path()], b"")?;
            ensure!(good, "{name} for {target}: {said}");
        }
        let lines = example.text.lines().count();
        ensure!((40..=90).contains(&lines), "{name}: {lines} lines");
        // Neither takes OTLP over gRPC: their own ports for gRPC are for their parts among each other.
        for backend in ["loki", "mimir"] {
            let grpc = &example.document["deployment"]["backends"][backend]["grpc_url"];
            ensure!(grpc.is_null(), "{name}: {backend} over gRPC at {grpc}");
        }
    }
    Ok(())
}

#[test]
fn explain_decides_each_request_as_it_is_written_down() -> Result<()> {
    for (example, requests) in with_more()? {
        for asked in requests {
            let said = asked.explained(&example)?;
            asked.expected(&said)?;
        }
    }
    Ok(())
}

/// Whoever may gets through, as `explain` has said, and with one thing wrong nobody does.
#[tokio::test(flavor = "multi_thread")]
async fn each_file_holds_in_an_envoy() -> Result<()> {
    let everything = with_more()?;
    let scene = Scene::open(everything.iter().map(|(example, _)| example)).await?;
    let runs = everything.iter().map(async |(example, requests)| {
        let sent = scene.holds(example, requests).await;
        sent.with_context(|| example.name.clone())
    });
    let sent: usize = try_join_all(runs).await?.into_iter().sum();
    eprintln!("{sent} requests");
    ensure!(sent > 200, "{sent} requests");
    let unfetched = scene.unfetched();
    ensure!(unfetched.is_empty(), "never fetched: {unfetched:?}");
    Ok(())
}

#[test]
fn the_index_lists_every_file_and_says_what_is_in_it() -> Result<()> {
    let everything = everything()?;
    let index = index::read()?;
    let listed: Vec<&str> = index.sections.iter().map(|it| it.name.as_str()).collect();
    let there: BTreeSet<&str> = everything.iter().map(|(it, _)| it.name.as_str()).collect();
    ensure!(
        listed.len() == there.len() && listed.iter().copied().collect::<BTreeSet<_>>() == there,
        "the index lists {listed:?}, there are {there:?}"
    );
    for (example, requests) in &everything {
        let name = &example.name;
        let section = index.sections.iter().find(|it| it.name == *name);
        let section: &Section = section.context("no section")?;
        let replaced: Vec<&str> = index
            .replaced
            .iter()
            .chain(&section.replaced)
            .map(String::as_str)
            .collect();
        ensure!(section.replaced.len() > 1, "{name}: nothing to replace");
        example.marks(&replaced)?;
        let rows: Vec<(String, String)> = requests
            .iter()
            .map(|it| (it.title.clone(), it.answer()))
            .collect();
        ensure!(
            section.answers == rows,
            "{name}: {:#?} is not {rows:#?}",
            section.answers
        );
        ensure!(
            section
                .next
                .iter()
                .any(|link| link.starts_with("../../docs/")),
            "{name}: no page to read next"
        );
    }
    Ok(())
}
