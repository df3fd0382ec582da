//! The gate is put into an Envoy that somebody has already, as `docs/envoy.md` describes it.
//!
//! The page is the script. Its commands are typed into a shell, with the program `scopegate`, a real Envoy and curl,
//! and they must print what the page shows. Its fragments go where their headings say, each must be what `scopegate
//! render` prints at that place, and together they must make the whole file that the page shows and Envoy runs. Only
//! addresses and ports differ, `/etc/envoy` is another folder, and the trusted authorities are that of the run.
//!
//! | module | holds |
//! |---|---|
//! | [`bootstrap`] | a bootstrap, and the places in it where a fragment can go |
//! | [`scene`] | the machine: a provider, backends, Envoy |

mod bootstrap;
mod scene;

use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use integration::walkthrough::page::Page;
use integration::walkthrough::session::{Session, starts};
use integration::{command, drill, yaml};
use libtest_mimic::{Arguments, Failed, Trial};
use serde_json::Value;

use crate::bootstrap::{Bootstrap, PLACES};
use crate::scene::{Scene, alice};

fn main() -> ExitCode {
    if let Some(code) = command::as_command() {
        return code;
    }
    let test = Trial::test("an_envoy_gets_the_gate_by_its_page", || {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.enable_all().worker_threads(2).build();
        let done = runtime.map_err(anyhow::Error::from);
        done.and_then(|runtime| runtime.block_on(walk()))
            .map_err(|error| Failed::from(format!("{error:?}")))
    });
    libtest_mimic::run(&Arguments::from_args(), vec![test]).exit_code()
}

async fn walk() -> Result<()> {
    let mut page = Page::read("docs/envoy.md")?;
    let mut session = Session::open()?;
    session.export("ALICE", &drill::fresh(alice())?);
    let mut scene = Scene::open(session).await?;

    let own = without_a_gate(&mut scene, &mut page).await?;
    let gate = "The gate's own file";
    scene.session.save(&page.block(gate, "yaml")?)?;
    scene.session.go_on(&mut page, gate)?;
    let rendered = "scopegate render envoy deployment.yaml --only envoy.yaml";
    let rendered = scene.session.type_in(rendered)?;
    put_together(&scene, &mut page, own, &rendered)?;
    started(&mut scene, &mut page, &rendered).await?;
    reported(&scene, &mut page)?;
    enforced(&scene, &mut page)?;
    without_the_provider(&mut scene, &mut page).await?;
    page.end()
}

/// Everybody is answered: a test that began with a closed Envoy would prove little.
async fn without_a_gate(scene: &mut Scene, page: &mut Page) -> Result<Bootstrap> {
    let heading = "An Envoy without a gate";
    let own = page.block(heading, "yaml")?;
    scene.session.save(&own)?;
    let start = page.block(heading, "sh")?;
    ensure!(
        start == "envoy -c /etc/envoy/envoy.yaml >envoy.log 2>&1 &\n",
        "{start}"
    );
    scene.start().await?;
    scene.session.go_on(page, heading)?;
    let seen = scene.reached()?;
    ensure!(seen.header("x-scope-orgid") == [b"bank"], "{seen:?}");
    Bootstrap::parse(&own)
}

/// Put each fragment into its place, compare the result with the whole file of the page, and save that one.
fn put_together(scene: &Scene, page: &mut Page, mut own: Bootstrap, rendered: &str) -> Result<()> {
    let rendered = Bootstrap::parse(rendered)?;
    for (heading, place) in &PLACES {
        for fragment in page.blocks(heading, "yaml")? {
            let fragment: Value = yaml::parse(&fragment)?;
            rendered
                .has(place, &fragment)
                .and_then(|()| own.put(place, &fragment))
                .with_context(|| format!("{heading}: {fragment:#}"))?;
        }
    }
    own.has_all_of(&rendered)?;
    let whole = page.block("The whole file", "yaml")?;
    Bootstrap::parse(&whole)?.is(&own)?;
    scene.session.save(&whole)
}

async fn started(scene: &mut Scene, page: &mut Page, rendered: &str) -> Result<()> {
    let heading = "Check and start";
    scene.session.go_on(page, heading)?;
    starts(&page.block(heading, "sh")?, rendered)?;
    scene.start().await?;
    scene.session.go_on(page, heading)
}

/// What passes has the header of its route from the gate, in this mode too, and the backend does not see it.
fn reported(scene: &Scene, page: &mut Page) -> Result<()> {
    scene.session.go_on(page, "What it would refuse")?;
    let seen = scene.reached()?;
    ensure!(seen.backend == "loki", "{seen:?}");
    ensure!(seen.header("x-scope-orgid") == [b"bank"], "{seen:?}");
    ensure!(seen.header("x-scopegate-backend").is_empty(), "{seen:?}");
    Ok(())
}

fn enforced(scene: &Scene, page: &mut Page) -> Result<()> {
    // The first request may still be answered by the previous mode.
    scene.session.go_on(page, "Who gets in")?;
    scene.log.clear();

    scene.session.go_on(page, "A member")?;
    let seen = scene.log.all();
    let backends: Vec<&str> = seen.iter().map(|seen| seen.backend.as_str()).collect();
    ensure!(backends == ["loki", "mimir"], "{seen:?}");
    for seen in &seen {
        ensure!(seen.header("x-scope-orgid") == [b"shop"], "{seen:?}");
        ensure!(seen.header("authorization").is_empty(), "{seen:?}");
        ensure!(seen.header("x-scopegate-backend").is_empty(), "{seen:?}");
    }
    scene.log.clear();

    for heading in ["Another tenant", "A client that names the backend"] {
        scene.session.go_on(page, heading)?;
        ensure!(scene.log.count() == 0, "{heading}: {:?}", scene.log.all());
    }
    Ok(())
}

async fn without_the_provider(scene: &mut Scene, page: &mut Page) -> Result<()> {
    scene.door.down().await;
    scene.start().await?;
    scene.session.go_on(page, "The provider is away")?;
    ensure!(scene.log.count() == 0, "{:?}", scene.log.all());
    Ok(())
}
