//! What one tenant writes, only that tenant can read: real servers and real clients, through the gate.
//!
//! One stack is started for all tests of this binary, filled by the agents, and stopped at the end. The tests of the
//! first two parts run in parallel. Those of the last part stop and start what they need, one after the other.
//!
//! `cargo test -p integration --features stack --test stack -- NAME` runs the tests whose names contain NAME.

mod alerts;
mod clients;
mod dex;
mod differential;
mod entrance;
mod grafana;
mod identity;
mod isolation;
mod keycloak;
mod nothing_lost;
mod reads;
mod rows;
mod scene;
mod scopes;
mod servers;
mod side_gate;
mod sizes;
mod tls;
mod trailers;

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Result;
use futures_util::future::LocalBoxFuture;
use integration::part::{self, Part};
use integration::{stack, trial};
use libtest_mimic::{Arguments, Conclusion, Trial};
use tokio::runtime::{Handle, Runtime};

use scene::Scene;

/// A test: its name, what it needs beside the scene's parts, and what it does.
#[derive(Clone, Copy)]
pub struct Test {
    name: &'static str,
    needs: &'static [Part],
    run: for<'scene> fn(&'scene Scene) -> LocalBoxFuture<'scene, Result<()>>,
}

/// A list of tests from the names of functions `async fn(&Scene) -> Result<()>`. `PART => NAME, …` need that part.
#[macro_export]
macro_rules! tests {
    ($($name:ident),* $(,)?) => {
        $crate::tests![@ [] $($name)*];
    };
    ($part:ident => $($name:ident),* $(,)?) => {
        $crate::tests![@ [integration::part::$part] $($name)*];
    };
    (@ $needs:tt $($name:ident)*) => {
        pub fn tests() -> Vec<$crate::Test> {
            vec![$($crate::Test {
                name: concat!(module_path!(), "::", stringify!($name)),
                needs: &$needs,
                run: |scene| Box::pin($name(scene)),
            }),*]
        }
    };
}

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    match run(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("stack: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<bool> {
    // They read, and count on the data of the scene to stand still.
    let quiet: Vec<Test> = [
        rows::tests(),
        isolation::quiet::tests(),
        clients::quiet(),
        grafana::tests(),
        scopes::quiet(),
    ]
    .concat();
    // They write as well.
    let together: Vec<Test> = [
        alerts::tests(),
        entrance::tests(),
        clients::together(),
        keycloak::together::tests(),
        identity::together::tests(),
        dex::tests(),
        tls::tests(),
        trailers::tests(),
    ]
    .concat();
    // They stop and start servers, or count what passes.
    let alone: Vec<Test> = [
        isolation::alone::tests(),
        differential::tests(),
        scopes::alone(),
        clients::alone(),
        identity::alone::tests(),
        keycloak::alone::tests(),
        nothing_lost::tests(),
        // Last: it leaves much behind.
        sizes::tests(),
    ]
    .concat();
    let parts = [(quiet, 4), (together, 4), (alone, 1)];
    if arguments.list {
        let all = parts.into_iter().flat_map(|(tests, _)| tests);
        let _ = libtest_mimic::run(
            arguments,
            all.map(|test| Trial::test(test.name, || Ok(()))).collect(),
        );
        return Ok(true);
    }
    // Without one of these there is no scene, and without a scene no test.
    if let Some(reason) = part::lacking(&stack::PARTS)? {
        let all = parts.into_iter().flat_map(|(tests, _)| tests);
        let trials = all.map(|test| trial::skipped(test.name, &reason)).collect();
        return Ok(!libtest_mimic::run(arguments, trials).has_failed());
    }
    let runtime = Runtime::new()?;
    let scene = Arc::new(runtime.block_on(Scene::start())?);
    let tempo = scene.stack.tempo.kind().to_owned();
    let mut good = true;
    for (tests, threads) in parts {
        let arguments = Arguments {
            test_threads: Some(threads),
            ..arguments.clone()
        };
        let conclusion = conclude(&arguments, &tests, &scene, runtime.handle());
        good &= !conclusion.has_failed();
    }
    // The servers end here; what is left behind would be found by the next run.
    drop(scene);
    runtime.shutdown_background();
    println!("\n==== Tempo: {tempo} ====\n");
    Ok(good)
}

fn conclude(
    arguments: &Arguments,
    tests: &[Test],
    scene: &Arc<Scene>,
    runtime: &Handle,
) -> Conclusion {
    let trials = tests
        .iter()
        .map(|&Test { name, needs, run }| {
            let (scene, runtime) = (Arc::clone(scene), runtime.clone());
            trial::needing(name, needs, move || runtime.block_on(run(&scene)))
        })
        .collect();
    libtest_mimic::run(arguments, trials)
}
